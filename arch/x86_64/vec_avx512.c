/*
 * vec_avx512.c - kernels for AVX-512 F, BW, DQ, VL, and the byte dot products
 * of VNNI.
 *
 *      64 floats a step:  |  a  |  b  |  c  |  d  |   four sums of 16 lanes:
 *                           v     v     v     v       enough to hide the four
 *      x, y ------------>  fma   fma   fma   fma      cycles of an fma behind
 *                                                     two loads for each
 *      what is left:      masked steps of 16 into a
 *
 * Batches do the same for four rows at once, which share the query's loads.
 *
 * Bytes. VNNI multiplies unsigned by signed, so one side is biased:
 * (a ^ 0x80) as unsigned is a + 128, and sum a b = sum (a + 128) b - 128 sum b.
 * In a batch b is the query, whose sum is taken once.
 *
 * Invariant: a masked lane is neither read nor faults, so nothing beyond the
 * arrays is touched. Upstream: vec_table.c. Downstream: the compiler.
 */
#include "vec_table.h"

#include <immintrin.h>

#define AVX512                                                                 \
    __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")))
#define VNNI                                                                   \
    __attribute__((                                                            \
        target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define INLINE static inline __attribute__((always_inline))

enum op { DOT, L2SQ };

struct sums {
    __m512 a, b, c, d;
};

AVX512 INLINE struct sums zero_sums(void)
{
    const __m512 z = _mm512_setzero_ps();

    return (struct sums){z, z, z, z};
}

AVX512 INLINE __m512 fold(enum op op, __m512 s, __m512 x, __m512 y)
{
    if (op == L2SQ)
        x = y = _mm512_sub_ps(x, y);
    return _mm512_fmadd_ps(x, y, s);
}

/* One step of 64 floats; q is loaded once for all rows by the compiler. */
AVX512 INLINE struct sums step(enum op op, struct sums s, const float *q,
                               const float *r)
{
    s.a = fold(op, s.a, _mm512_loadu_ps(q), _mm512_loadu_ps(r));
    s.b = fold(op, s.b, _mm512_loadu_ps(q + 16), _mm512_loadu_ps(r + 16));
    s.c = fold(op, s.c, _mm512_loadu_ps(q + 32), _mm512_loadu_ps(r + 32));
    s.d = fold(op, s.d, _mm512_loadu_ps(q + 48), _mm512_loadu_ps(r + 48));
    return s;
}

AVX512 INLINE __mmask16 mask16(size_t left)
{
    return left >= 16 ? (__mmask16)0xffff : (__mmask16)((1u << left) - 1);
}

AVX512 INLINE struct sums step_masked(enum op op, struct sums s, const float *q,
                                      const float *r, __mmask16 m)
{
    s.a =
        fold(op, s.a, _mm512_maskz_loadu_ps(m, q), _mm512_maskz_loadu_ps(m, r));
    return s;
}

AVX512 INLINE float reduce(struct sums s)
{
    __m512 t = _mm512_add_ps(_mm512_add_ps(s.a, s.b), _mm512_add_ps(s.c, s.d));
    __m256 u =
        _mm256_add_ps(_mm512_castps512_ps256(t), _mm512_extractf32x8_ps(t, 1));
    __m128 v =
        _mm_add_ps(_mm256_castps256_ps128(u), _mm256_extractf128_ps(u, 1));

    v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)));
}

AVX512 INLINE float fold_row(enum op op, const float *a, const float *b,
                             size_t n)
{
    struct sums s = zero_sums();
    size_t i = 0;

    for (; n - i >= 64; i += 64)
        s = step(op, s, a + i, b + i);
    for (; i < n; i += 16)
        s = step_masked(op, s, a + i, b + i, mask16(n - i));
    return reduce(s);
}

AVX512 INLINE void fold_rows(enum op op, const float *q, const float *r,
                             size_t stride, size_t n, float *out)
{
    struct sums s0 = zero_sums(), s1 = s0, s2 = s0, s3 = s0;
    const float *r1 = r + stride, *r2 = r1 + stride, *r3 = r2 + stride;
    size_t i = 0;

    for (; n - i >= 64; i += 64) {
        s0 = step(op, s0, q + i, r + i);
        s1 = step(op, s1, q + i, r1 + i);
        s2 = step(op, s2, q + i, r2 + i);
        s3 = step(op, s3, q + i, r3 + i);
    }
    for (; i < n; i += 16) {
        __mmask16 m = mask16(n - i);

        s0 = step_masked(op, s0, q + i, r + i, m);
        s1 = step_masked(op, s1, q + i, r1 + i, m);
        s2 = step_masked(op, s2, q + i, r2 + i, m);
        s3 = step_masked(op, s3, q + i, r3 + i, m);
    }
    out[0] = reduce(s0);
    out[1] = reduce(s1);
    out[2] = reduce(s2);
    out[3] = reduce(s3);
}

AVX512 INLINE void fold_batch(enum op op, const float *q, const float *rows,
                              size_t stride, size_t count, size_t n, float *out)
{
    size_t i = 0;

    for (; count - i >= 4; i += 4)
        fold_rows(op, q, rows + i * stride, stride, n, out + i);
    for (; i < count; i++)
        out[i] = fold_row(op, q, rows + i * stride, n);
}

AVX512 static float dot_f32(const float *a, const float *b, size_t n)
{
    return fold_row(DOT, a, b, n);
}

AVX512 static float l2sq_f32(const float *a, const float *b, size_t n)
{
    return fold_row(L2SQ, a, b, n);
}

AVX512 static void dot_f32_batch(const float *q, const float *rows,
                                 size_t stride, size_t count, size_t n,
                                 float *out)
{
    fold_batch(DOT, q, rows, stride, count, n, out);
}

AVX512 static void l2sq_f32_batch(const float *q, const float *rows,
                                  size_t stride, size_t count, size_t n,
                                  float *out)
{
    fold_batch(L2SQ, q, rows, stride, count, n, out);
}

struct moments {
    __m512 dot, aa, bb;
};

AVX512 INLINE struct moments fold_moments(struct moments m, __m512 x, __m512 y)
{
    m.dot = _mm512_fmadd_ps(x, y, m.dot);
    m.aa = _mm512_fmadd_ps(x, x, m.aa);
    m.bb = _mm512_fmadd_ps(y, y, m.bb);
    return m;
}

AVX512 static void moments_f32(const float *a, const float *b, size_t n,
                               float out[3])
{
    const __m512 z = _mm512_setzero_ps();
    struct moments s = {z, z, z}, t = s, u = s, v = s;
    size_t i = 0;

    for (; n - i >= 64; i += 64) {
        s = fold_moments(s, _mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i));
        t = fold_moments(t, _mm512_loadu_ps(a + i + 16),
                         _mm512_loadu_ps(b + i + 16));
        u = fold_moments(u, _mm512_loadu_ps(a + i + 32),
                         _mm512_loadu_ps(b + i + 32));
        v = fold_moments(v, _mm512_loadu_ps(a + i + 48),
                         _mm512_loadu_ps(b + i + 48));
    }
    for (; i < n; i += 16) {
        __mmask16 m = mask16(n - i);

        s = fold_moments(s, _mm512_maskz_loadu_ps(m, a + i),
                         _mm512_maskz_loadu_ps(m, b + i));
    }
    out[0] = reduce((struct sums){s.dot, t.dot, u.dot, v.dot});
    out[1] = reduce((struct sums){s.aa, t.aa, u.aa, v.aa});
    out[2] = reduce((struct sums){s.bb, t.bb, u.bb, v.bb});
}

/* Two rows at once: four of them would need all 32 registers for sums. */
AVX512 static void moments_f32_batch(const float *q, const float *rows,
                                     size_t stride, size_t count, size_t n,
                                     float *dots, float *norms)
{
    size_t row = 0;

    for (; count - row >= 2; row += 2) {
        const float *r0 = rows + row * stride, *r1 = r0 + stride;
        struct sums d0 = zero_sums(), d1 = d0, n0 = d0, n1 = d0;
        size_t i = 0;

        for (; n - i >= 64; i += 64) {
            d0 = step(DOT, d0, q + i, r0 + i);
            n0 = step(DOT, n0, r0 + i, r0 + i);
            d1 = step(DOT, d1, q + i, r1 + i);
            n1 = step(DOT, n1, r1 + i, r1 + i);
        }
        for (; i < n; i += 16) {
            __mmask16 m = mask16(n - i);

            d0 = step_masked(DOT, d0, q + i, r0 + i, m);
            n0 = step_masked(DOT, n0, r0 + i, r0 + i, m);
            d1 = step_masked(DOT, d1, q + i, r1 + i, m);
            n1 = step_masked(DOT, n1, r1 + i, r1 + i, m);
        }
        dots[row] = reduce(d0);
        dots[row + 1] = reduce(d1);
        norms[row] = reduce(n0);
        norms[row + 1] = reduce(n1);
    }
    for (; row < count; row++) {
        const float *r = rows + row * stride;

        dots[row] = fold_row(DOT, q, r, n);
        norms[row] = fold_row(DOT, r, r, n);
    }
}

/* --- bytes ---------------------------------------------------------------- */

AVX512 INLINE __mmask64 mask64(size_t left)
{
    return left >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << left) - 1;
}

/* The four sums of four registers' lanes. */
AVX512 INLINE __m128i reduce4_i32(__m512i a, __m512i b, __m512i c, __m512i d)
{
    __m256i x = _mm256_add_epi32(_mm512_castsi512_si256(a),
                                 _mm512_extracti64x4_epi64(a, 1));
    __m256i y = _mm256_add_epi32(_mm512_castsi512_si256(b),
                                 _mm512_extracti64x4_epi64(b, 1));
    __m256i z = _mm256_add_epi32(_mm512_castsi512_si256(c),
                                 _mm512_extracti64x4_epi64(c, 1));
    __m256i w = _mm256_add_epi32(_mm512_castsi512_si256(d),
                                 _mm512_extracti64x4_epi64(d, 1));

    x = _mm256_hadd_epi32(_mm256_hadd_epi32(x, y), _mm256_hadd_epi32(z, w));
    return _mm_add_epi32(_mm256_castsi256_si128(x),
                         _mm256_extracti128_si256(x, 1));
}

AVX512 INLINE __m512i widen(const int8_t *p, size_t left)
{
    if (left >= 32)
        return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const void *)p));
    return _mm512_cvtepi8_epi16(
        _mm256_maskz_loadu_epi8((__mmask32)((1ull << left) - 1), p));
}

AVX512 static int32_t dot_i8_bw(const int8_t *a, const int8_t *b, size_t n)
{
    __m512i s = _mm512_setzero_si512(), t = s;
    size_t i = 0;

    for (; n - i >= 64; i += 64) {
        s = _mm512_add_epi32(
            s, _mm512_madd_epi16(widen(a + i, 32), widen(b + i, 32)));
        t = _mm512_add_epi32(
            t, _mm512_madd_epi16(widen(a + i + 32, 32), widen(b + i + 32, 32)));
    }
    for (; i < n; i += 32)
        s = _mm512_add_epi32(
            s, _mm512_madd_epi16(widen(a + i, n - i), widen(b + i, n - i)));
    return _mm512_reduce_add_epi32(_mm512_add_epi32(s, t));
}

AVX512 static void dot_i8_batch_bw(const int8_t *q, const int8_t *rows,
                                   size_t stride, size_t count, size_t n,
                                   int32_t *out)
{
    size_t row = 0;

    for (; count - row >= 4; row += 4) {
        const int8_t *r = rows + row * stride;
        const int8_t *r1 = r + stride, *r2 = r1 + stride, *r3 = r2 + stride;
        __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;

        for (size_t i = 0; i < n; i += 32) {
            size_t left = n - i;
            __m512i x = widen(q + i, left);

            a = _mm512_add_epi32(a, _mm512_madd_epi16(x, widen(r + i, left)));
            b = _mm512_add_epi32(b, _mm512_madd_epi16(x, widen(r1 + i, left)));
            c = _mm512_add_epi32(c, _mm512_madd_epi16(x, widen(r2 + i, left)));
            d = _mm512_add_epi32(d, _mm512_madd_epi16(x, widen(r3 + i, left)));
        }
        _mm_storeu_si128((void *)(out + row), reduce4_i32(a, b, c, d));
    }
    for (; row < count; row++)
        out[row] = dot_i8_bw(q, rows + row * stride, n);
}

VNNI INLINE __m512i biased(__m512i x)
{
    return _mm512_xor_si512(x, _mm512_set1_epi8(-128));
}

/* One step of a row against a query; sums the query too, by the same
 * instruction: the two loads pay for both. */
struct sums_pair {
    __m512i dot, sum;
};

VNNI INLINE struct sums_pair step_pair(struct sums_pair s, __m512i row,
                                       __m512i q)
{
    s.dot = _mm512_dpbusd_epi32(s.dot, biased(row), q);
    s.sum = _mm512_dpbusd_epi32(s.sum, _mm512_set1_epi8(1), q);
    return s;
}

VNNI static int32_t dot_i8_vnni(const int8_t *a, const int8_t *b, size_t n)
{
    const struct sums_pair zero = {_mm512_setzero_si512(),
                                   _mm512_setzero_si512()};
    struct sums_pair s = zero, t = zero, u = zero, v = zero;
    size_t i = 0;

    for (; n - i >= 256; i += 256) {
        s = step_pair(s, _mm512_loadu_si512(a + i), _mm512_loadu_si512(b + i));
        t = step_pair(t, _mm512_loadu_si512(a + i + 64),
                      _mm512_loadu_si512(b + i + 64));
        u = step_pair(u, _mm512_loadu_si512(a + i + 128),
                      _mm512_loadu_si512(b + i + 128));
        v = step_pair(v, _mm512_loadu_si512(a + i + 192),
                      _mm512_loadu_si512(b + i + 192));
    }
    for (; i < n; i += 64) {
        __mmask64 m = mask64(n - i);

        s = step_pair(s, _mm512_maskz_loadu_epi8(m, a + i),
                      _mm512_maskz_loadu_epi8(m, b + i));
    }
    s.dot = _mm512_add_epi32(_mm512_add_epi32(s.dot, t.dot),
                             _mm512_add_epi32(u.dot, v.dot));
    s.sum = _mm512_add_epi32(_mm512_add_epi32(s.sum, t.sum),
                             _mm512_add_epi32(u.sum, v.sum));
    return _mm512_reduce_add_epi32(
        _mm512_sub_epi32(s.dot, _mm512_slli_epi32(s.sum, 7)));
}

VNNI INLINE int32_t sum_i8(const int8_t *x, size_t n)
{
    const __m512i ones = _mm512_set1_epi8(1);
    __m512i s = _mm512_setzero_si512(), t = s;
    size_t i = 0;

    for (; n - i >= 128; i += 128) {
        s = _mm512_dpbusd_epi32(s, ones, _mm512_loadu_si512(x + i));
        t = _mm512_dpbusd_epi32(t, ones, _mm512_loadu_si512(x + i + 64));
    }
    for (; i < n; i += 64)
        s = _mm512_dpbusd_epi32(s, ones,
                                _mm512_maskz_loadu_epi8(mask64(n - i), x + i));
    return _mm512_reduce_add_epi32(_mm512_add_epi32(s, t));
}

struct sums_i32 {
    __m512i a, b, c, d;
};

VNNI INLINE struct sums_i32 step_i8(struct sums_i32 s, __m512i q,
                                    const int8_t *r, size_t stride)
{
    const int8_t *r2 = r + 2 * stride;

    s.a = _mm512_dpbusd_epi32(s.a, biased(_mm512_loadu_si512(r)), q);
    s.b = _mm512_dpbusd_epi32(s.b, biased(_mm512_loadu_si512(r + stride)), q);
    s.c = _mm512_dpbusd_epi32(s.c, biased(_mm512_loadu_si512(r2)), q);
    s.d = _mm512_dpbusd_epi32(s.d, biased(_mm512_loadu_si512(r2 + stride)), q);
    return s;
}

/* Masked lanes of q are zero, so what stands for the row there is no matter. */
VNNI INLINE struct sums_i32 step_i8_masked(struct sums_i32 s, const int8_t *q,
                                           const int8_t *r, size_t stride,
                                           __mmask64 m)
{
    const int8_t *r1 = r + stride, *r2 = r1 + stride, *r3 = r2 + stride;
    __m512i x = _mm512_maskz_loadu_epi8(m, q);

    s.a = _mm512_dpbusd_epi32(s.a, biased(_mm512_maskz_loadu_epi8(m, r)), x);
    s.b = _mm512_dpbusd_epi32(s.b, biased(_mm512_maskz_loadu_epi8(m, r1)), x);
    s.c = _mm512_dpbusd_epi32(s.c, biased(_mm512_maskz_loadu_epi8(m, r2)), x);
    s.d = _mm512_dpbusd_epi32(s.d, biased(_mm512_maskz_loadu_epi8(m, r3)), x);
    return s;
}

/* excess: 128 times the sum of q */
VNNI INLINE int32_t row_i8(const int8_t *q, const int8_t *r, size_t n,
                           uint32_t excess)
{
    const __m512i z = _mm512_setzero_si512();
    __m512i s = z, t = z;
    size_t i = 0;

    for (; n - i >= 128; i += 128) {
        s = _mm512_dpbusd_epi32(s, biased(_mm512_loadu_si512(r + i)),
                                _mm512_loadu_si512(q + i));
        t = _mm512_dpbusd_epi32(t, biased(_mm512_loadu_si512(r + i + 64)),
                                _mm512_loadu_si512(q + i + 64));
    }
    for (; i < n; i += 64) {
        __mmask64 m = mask64(n - i);

        s = _mm512_dpbusd_epi32(s, biased(_mm512_maskz_loadu_epi8(m, r + i)),
                                _mm512_maskz_loadu_epi8(m, q + i));
    }
    return (int32_t)((uint32_t)_mm512_reduce_add_epi32(_mm512_add_epi32(s, t)) -
                     excess);
}

VNNI static void dot_i8_batch_vnni(const int8_t *q, const int8_t *rows,
                                   size_t stride, size_t count, size_t n,
                                   int32_t *out)
{
    const __m512i z = _mm512_setzero_si512();
    uint32_t excess;
    __m128i excess4;
    size_t row = 0;

    if (count == 1) {
        out[0] = dot_i8_vnni(rows, q, n);
        return;
    }
    excess = (uint32_t)sum_i8(q, n) << 7;
    excess4 = _mm_set1_epi32((int32_t)excess);
    for (; count - row >= 4; row += 4) {
        const int8_t *r = rows + row * stride;
        struct sums_i32 s = {z, z, z, z};
        size_t i = 0;

        for (; n - i >= 64; i += 64)
            s = step_i8(s, _mm512_loadu_si512(q + i), r + i, stride);
        if (i < n)
            s = step_i8_masked(s, q + i, r + i, stride, mask64(n - i));
        _mm_storeu_si128(
            (void *)(out + row),
            _mm_sub_epi32(reduce4_i32(s.a, s.b, s.c, s.d), excess4));
    }
    for (; row < count; row++)
        out[row] = row_i8(q, rows + row * stride, n, excess);
}

/* --- quantisation --------------------------------------------------------- */

struct range {
    __m512 low, high;
    __m512i size; /* the largest magnitude, as bits */
};

AVX512 INLINE struct range widen_range(struct range r, __m512 v)
{
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);

    r.low = _mm512_min_ps(r.low, v);
    r.high = _mm512_max_ps(r.high, v);
    r.size = _mm512_max_epu32(
        r.size, _mm512_and_si512(_mm512_castps_si512(v), magnitude));
    return r;
}

AVX512 static bool range_f32(const float *x, size_t n, float *low, float *high)
{
    const __m512 first = _mm512_set1_ps(x[0]);
    struct range r = {first, first, _mm512_setzero_si512()}, s = r;
    size_t i = 0;

    for (; n - i >= 32; i += 32) {
        r = widen_range(r, _mm512_loadu_ps(x + i));
        s = widen_range(s, _mm512_loadu_ps(x + i + 16));
    }
    for (; i < n; i += 16)
        r = widen_range(r, _mm512_mask_loadu_ps(first, mask16(n - i), x + i));
    if (_mm512_reduce_max_epu32(_mm512_max_epu32(r.size, s.size)) >=
        0x7f800000u)
        return false;
    *low = _mm512_reduce_min_ps(_mm512_min_ps(r.low, s.low));
    *high = _mm512_reduce_max_ps(_mm512_max_ps(r.high, s.high));
    return true;
}

/* Codes 0..255, before 128 is taken off. */
AVX512 INLINE __m512i quantise(__m512 v, __m512 bias, __m512 inverse)
{
    return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_sub_ps(v, bias), inverse));
}

/*
 * Takes 128 off bytes by flipping their top bit, and sums them as they were:
 * the sum of n codes is that less 128 n.
 */
AVX512 static int32_t sq8_encode(const float *x, size_t n, float bias,
                                 float inverse, int8_t *codes)
{
    const __m512 b = _mm512_set1_ps(bias), f = _mm512_set1_ps(inverse);
    const __m128i middle = _mm_set1_epi8(-128);
    __m512i sum = _mm512_setzero_si512(), c;
    size_t i = 0;

    for (; n - i >= 16; i += 16) {
        c = quantise(_mm512_loadu_ps(x + i), b, f);
        sum = _mm512_add_epi32(sum, c);
        _mm_storeu_si128((void *)(codes + i),
                         _mm_xor_si128(_mm512_cvtepi32_epi8(c), middle));
    }
    if (i < n) {
        __mmask16 m = mask16(n - i);

        c = quantise(_mm512_maskz_loadu_ps(m, x + i), b, f);
        sum = _mm512_mask_add_epi32(sum, m, sum, c);
        _mm_mask_storeu_epi8(codes + i, m,
                             _mm_xor_si128(_mm512_cvtepi32_epi8(c), middle));
    }
    return (int32_t)((uint32_t)_mm512_reduce_add_epi32(sum) -
                     128u * (uint32_t)n);
}

AVX512 INLINE __m512 restore(__m128i codes, __m512 bias, __m512 scale)
{
    codes = _mm_xor_si128(codes, _mm_set1_epi8(-128));
    return _mm512_add_ps(
        bias,
        _mm512_mul_ps(scale, _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(codes))));
}

AVX512 static void sq8_decode(const int8_t *codes, size_t n, float bias,
                              float scale, float *x)
{
    const __m512 b = _mm512_set1_ps(bias), s = _mm512_set1_ps(scale);
    size_t i = 0;

    for (; n - i >= 16; i += 16)
        _mm512_storeu_ps(
            x + i, restore(_mm_loadu_si128((const void *)(codes + i)), b, s));
    if (i < n) {
        __mmask16 m = mask16(n - i);

        _mm512_mask_storeu_ps(
            x + i, m, restore(_mm_maskz_loadu_epi8(m, codes + i), b, s));
    }
}

/* --- text ----------------------------------------------------------------- */

AVX512 INLINE __mmask64 at_most(__m512i x, char from, char range)
{
    return _mm512_cmple_epu8_mask(_mm512_sub_epi8(x, _mm512_set1_epi8(from)),
                                  _mm512_set1_epi8(range));
}

AVX512 static void classify(const char *text, uint64_t *word, uint64_t *high)
{
    const __m512i x = _mm512_loadu_si512(text);

    *word = at_most(_mm512_or_si512(x, _mm512_set1_epi8(0x20)), 'a', 25) |
            at_most(x, '0', 9);
    *high = _mm512_movepi8_mask(x);
}

#define SHARED                                                                 \
    .dot_f32 = dot_f32, .l2sq_f32 = l2sq_f32, .moments_f32 = moments_f32,      \
    .dot_f32_batch = dot_f32_batch, .l2sq_f32_batch = l2sq_f32_batch,          \
    .moments_f32_batch = moments_f32_batch, .range_f32 = range_f32,            \
    .sq8_encode = sq8_encode, .sq8_decode = sq8_decode, .classify = classify

const struct hy_arch_vec hy_arch_vec_avx512 = {
    SHARED,
    .dot_i8 = dot_i8_bw,
    .dot_i8_batch = dot_i8_batch_bw,
};

const struct hy_arch_vec hy_arch_vec_avx512vnni = {
    SHARED,
    .dot_i8 = dot_i8_vnni,
    .dot_i8_batch = dot_i8_batch_vnni,
};
