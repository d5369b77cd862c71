/*
 * vec_avx2.c - kernels for AVX2 and FMA.
 *
 *      32 floats a step:  |  a  |  b  |  c  |  d  |   four sums of 8 lanes
 *      what is left:      steps of 8 into a, the last one masked
 *
 * Batches take three rows at once: twelve sums, and room for the loads, in
 * sixteen registers. Bytes are widened to 16 bits and multiplied in pairs; the
 * shorter way over unsigned bytes saturates and is not exact.
 *
 * Invariant: a masked lane is neither read nor faults, and bytes are never
 * loaded beyond the end, so nothing outside the arrays is touched. Upstream:
 * vec_table.c. Downstream: the compiler.
 */
#include "vec_table.h"

#include <immintrin.h>
#include <string.h>

#define AVX2   __attribute__((target("avx2,fma")))
#define INLINE static inline __attribute__((always_inline))

enum op { DOT, L2SQ };

struct sums {
    __m256 a, b, c, d;
};

AVX2 INLINE struct sums zero_sums(void)
{
    const __m256 z = _mm256_setzero_ps();

    return (struct sums){z, z, z, z};
}

AVX2 INLINE __m256 fold(enum op op, __m256 s, __m256 x, __m256 y)
{
    if (op == L2SQ)
        x = y = _mm256_sub_ps(x, y);
    return _mm256_fmadd_ps(x, y, s);
}

AVX2 INLINE struct sums step(enum op op, struct sums s, const float *q,
                             const float *r)
{
    s.a = fold(op, s.a, _mm256_loadu_ps(q), _mm256_loadu_ps(r));
    s.b = fold(op, s.b, _mm256_loadu_ps(q + 8), _mm256_loadu_ps(r + 8));
    s.c = fold(op, s.c, _mm256_loadu_ps(q + 16), _mm256_loadu_ps(r + 16));
    s.d = fold(op, s.d, _mm256_loadu_ps(q + 24), _mm256_loadu_ps(r + 24));
    return s;
}

/* All ones in the first left lanes, at most eight. */
AVX2 INLINE __m256i mask8(size_t left)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);

    return _mm256_cmpgt_epi32(_mm256_set1_epi32(left < 8 ? (int)left : 8),
                              lane);
}

AVX2 INLINE struct sums step_masked(enum op op, struct sums s, const float *q,
                                    const float *r, __m256i m)
{
    s.a = fold(op, s.a, _mm256_maskload_ps(q, m), _mm256_maskload_ps(r, m));
    return s;
}

AVX2 INLINE float reduce(struct sums s)
{
    __m256 t = _mm256_add_ps(_mm256_add_ps(s.a, s.b), _mm256_add_ps(s.c, s.d));
    __m128 v =
        _mm_add_ps(_mm256_castps256_ps128(t), _mm256_extractf128_ps(t, 1));

    v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)));
}

AVX2 INLINE float fold_row(enum op op, const float *a, const float *b, size_t n)
{
    struct sums s = zero_sums();
    size_t i = 0;

    for (; n - i >= 32; i += 32)
        s = step(op, s, a + i, b + i);
    for (; i < n; i += 8)
        s = step_masked(op, s, a + i, b + i, mask8(n - i));
    return reduce(s);
}

AVX2 INLINE void fold_rows(enum op op, const float *q, const float *r,
                           size_t stride, size_t n, float *out)
{
    struct sums s0 = zero_sums(), s1 = s0, s2 = s0;
    const float *r1 = r + stride, *r2 = r1 + stride;
    size_t i = 0;

    for (; n - i >= 32; i += 32) {
        s0 = step(op, s0, q + i, r + i);
        s1 = step(op, s1, q + i, r1 + i);
        s2 = step(op, s2, q + i, r2 + i);
    }
    for (; i < n; i += 8) {
        __m256i m = mask8(n - i);

        s0 = step_masked(op, s0, q + i, r + i, m);
        s1 = step_masked(op, s1, q + i, r1 + i, m);
        s2 = step_masked(op, s2, q + i, r2 + i, m);
    }
    out[0] = reduce(s0);
    out[1] = reduce(s1);
    out[2] = reduce(s2);
}

AVX2 INLINE void fold_batch(enum op op, const float *q, const float *rows,
                            size_t stride, size_t count, size_t n, float *out)
{
    size_t i = 0;

    for (; count - i >= 3; i += 3)
        fold_rows(op, q, rows + i * stride, stride, n, out + i);
    for (; i < count; i++)
        out[i] = fold_row(op, q, rows + i * stride, n);
}

AVX2 static float dot_f32(const float *a, const float *b, size_t n)
{
    return fold_row(DOT, a, b, n);
}

AVX2 static float l2sq_f32(const float *a, const float *b, size_t n)
{
    return fold_row(L2SQ, a, b, n);
}

AVX2 static void dot_f32_batch(const float *q, const float *rows, size_t stride,
                               size_t count, size_t n, float *out)
{
    fold_batch(DOT, q, rows, stride, count, n, out);
}

AVX2 static void l2sq_f32_batch(const float *q, const float *rows,
                                size_t stride, size_t count, size_t n,
                                float *out)
{
    fold_batch(L2SQ, q, rows, stride, count, n, out);
}

AVX2 static void moments_f32(const float *a, const float *b, size_t n,
                             float out[3])
{
    struct sums s = zero_sums(), sa = s, sb = s;
    size_t i = 0;

    for (; n - i >= 32; i += 32) {
        s = step(DOT, s, a + i, b + i);
        sa = step(DOT, sa, a + i, a + i);
        sb = step(DOT, sb, b + i, b + i);
    }
    for (; i < n; i += 8) {
        __m256i m = mask8(n - i);

        s = step_masked(DOT, s, a + i, b + i, m);
        sa = step_masked(DOT, sa, a + i, a + i, m);
        sb = step_masked(DOT, sb, b + i, b + i, m);
    }
    out[0] = reduce(s);
    out[1] = reduce(sa);
    out[2] = reduce(sb);
}

/* A row at a time: its own product shares the loads, which is what bounds. */
AVX2 static void moments_f32_batch(const float *q, const float *rows,
                                   size_t stride, size_t count, size_t n,
                                   float *dots, float *norms)
{
    for (size_t row = 0; row < count; row++) {
        const float *r = rows + row * stride;
        struct sums d = zero_sums(), s = d;
        size_t i = 0;

        for (; n - i >= 32; i += 32) {
            d = step(DOT, d, q + i, r + i);
            s = step(DOT, s, r + i, r + i);
        }
        for (; i < n; i += 8) {
            __m256i m = mask8(n - i);

            d = step_masked(DOT, d, q + i, r + i, m);
            s = step_masked(DOT, s, r + i, r + i, m);
        }
        dots[row] = reduce(d);
        norms[row] = reduce(s);
    }
}

/* --- bytes ---------------------------------------------------------------- */

AVX2 INLINE __m256i widen(const int8_t *p)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)p));
}

/* The first left < 16 bytes, then zeros. */
AVX2 INLINE __m256i widen_tail(const int8_t *p, size_t left)
{
    int8_t padded[16] = {0};

    memcpy(padded, p, left);
    return widen(padded);
}

AVX2 INLINE __m256i fold_i8(__m256i s, __m256i x, __m256i y)
{
    return _mm256_add_epi32(s, _mm256_madd_epi16(x, y));
}

/* The four sums of four registers' lanes. */
AVX2 INLINE __m128i reduce4_i32(__m256i a, __m256i b, __m256i c, __m256i d)
{
    a = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    return _mm_add_epi32(_mm256_castsi256_si128(a),
                         _mm256_extracti128_si256(a, 1));
}

AVX2 static int32_t dot_i8(const int8_t *a, const int8_t *b, size_t n)
{
    const __m256i z = _mm256_setzero_si256();
    __m256i s = z, t = z;
    size_t i = 0;

    for (; n - i >= 32; i += 32) {
        s = fold_i8(s, widen(a + i), widen(b + i));
        t = fold_i8(t, widen(a + i + 16), widen(b + i + 16));
    }
    if (n - i >= 16) {
        s = fold_i8(s, widen(a + i), widen(b + i));
        i += 16;
    }
    if (i < n)
        t = fold_i8(t, widen_tail(a + i, n - i), widen_tail(b + i, n - i));
    return _mm_cvtsi128_si32(reduce4_i32(_mm256_add_epi32(s, t), z, z, z));
}

AVX2 INLINE int32_t lane_sum(__m256i s)
{
    const __m256i z = _mm256_setzero_si256();

    return _mm_cvtsi128_si32(reduce4_i32(s, z, z, z));
}

AVX2 static void dot_i8_batch(const int8_t *q, const int8_t *rows,
                              size_t stride, size_t count, size_t n,
                              int32_t *out)
{
    size_t row = 0;

    for (; count - row >= 4; row += 4) {
        const int8_t *r = rows + row * stride;
        const int8_t *r1 = r + stride, *r2 = r1 + stride, *r3 = r2 + stride;
        __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
        size_t i = 0, left = n % 16;

        for (; n - i >= 16; i += 16) {
            __m256i x = widen(q + i);

            a = fold_i8(a, x, widen(r + i));
            b = fold_i8(b, x, widen(r1 + i));
            c = fold_i8(c, x, widen(r2 + i));
            d = fold_i8(d, x, widen(r3 + i));
        }
        if (left != 0) {
            __m256i x = widen_tail(q + i, left);

            a = fold_i8(a, x, widen_tail(r + i, left));
            b = fold_i8(b, x, widen_tail(r1 + i, left));
            c = fold_i8(c, x, widen_tail(r2 + i, left));
            d = fold_i8(d, x, widen_tail(r3 + i, left));
        }
        _mm_storeu_si128((void *)(out + row), reduce4_i32(a, b, c, d));
    }
    for (; row < count; row++)
        out[row] = dot_i8(q, rows + row * stride, n);
}

/* --- quantisation --------------------------------------------------------- */

AVX2 static bool range_f32(const float *x, size_t n, float *low, float *high)
{
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256 first = _mm256_set1_ps(x[0]), lowest = first, highest = first;
    __m256i largest = _mm256_setzero_si256();
    float low8[8], high8[8];
    uint32_t largest8[8];

    for (size_t i = 0; i < n; i += 8) {
        __m256i m = mask8(n - i);
        __m256 v = _mm256_blendv_ps(first, _mm256_maskload_ps(x + i, m),
                                    _mm256_castsi256_ps(m));

        lowest = _mm256_min_ps(lowest, v);
        highest = _mm256_max_ps(highest, v);
        largest = _mm256_max_epu32(
            largest, _mm256_and_si256(_mm256_castps_si256(v), magnitude));
    }
    _mm256_storeu_ps(low8, lowest);
    _mm256_storeu_ps(high8, highest);
    _mm256_storeu_si256((void *)largest8, largest);
    for (int j = 1; j < 8; j++) {
        low8[0] = low8[j] < low8[0] ? low8[j] : low8[0];
        high8[0] = high8[j] > high8[0] ? high8[j] : high8[0];
        largest8[0] = largest8[j] > largest8[0] ? largest8[j] : largest8[0];
    }
    if (largest8[0] >= 0x7f800000u)
        return false;
    *low = low8[0];
    *high = high8[0];
    return true;
}

AVX2 INLINE __m256i quantise(__m256 v, __m256 bias, __m256 inverse)
{
    v = _mm256_mul_ps(_mm256_sub_ps(v, bias), inverse);
    return _mm256_sub_epi32(_mm256_cvtps_epi32(v), _mm256_set1_epi32(128));
}

/* Sixteen codes of 32 bits to bytes, in order; they fit, nothing saturates. */
AVX2 INLINE __m128i narrow(__m256i c, __m256i d)
{
    __m256i p = _mm256_packs_epi32(c, d);

    p = _mm256_permute4x64_epi64(p, _MM_SHUFFLE(3, 1, 2, 0));
    return _mm_packs_epi16(_mm256_castsi256_si128(p),
                           _mm256_extracti128_si256(p, 1));
}

AVX2 static int32_t sq8_encode(const float *x, size_t n, float bias,
                               float inverse, int8_t *codes)
{
    const __m256 b = _mm256_set1_ps(bias), f = _mm256_set1_ps(inverse);
    __m256i sum = _mm256_setzero_si256(), c, d;
    size_t i = 0;

    for (; n - i >= 16; i += 16) {
        c = quantise(_mm256_loadu_ps(x + i), b, f);
        d = quantise(_mm256_loadu_ps(x + i + 8), b, f);
        sum = _mm256_add_epi32(sum, _mm256_add_epi32(c, d));
        _mm_storeu_si128((void *)(codes + i), narrow(c, d));
    }
    if (i < n) {
        __m256i m = mask8(n - i), m2 = mask8(n - i < 8 ? 0 : n - i - 8);
        int8_t tail[16];

        c = quantise(_mm256_maskload_ps(x + i, m), b, f);
        d = n - i < 8 ? c : quantise(_mm256_maskload_ps(x + i + 8, m2), b, f);
        sum = _mm256_add_epi32(sum, _mm256_and_si256(c, m));
        sum = _mm256_add_epi32(sum, _mm256_and_si256(d, m2));
        _mm_storeu_si128((void *)tail, narrow(c, d));
        memcpy(codes + i, tail, n - i);
    }
    return lane_sum(sum);
}

AVX2 INLINE __m256 restore(__m128i codes, __m256 bias, __m256 scale)
{
    __m256i c =
        _mm256_add_epi32(_mm256_cvtepi8_epi32(codes), _mm256_set1_epi32(128));

    return _mm256_add_ps(bias, _mm256_mul_ps(scale, _mm256_cvtepi32_ps(c)));
}

AVX2 static void sq8_decode(const int8_t *codes, size_t n, float bias,
                            float scale, float *x)
{
    const __m256 b = _mm256_set1_ps(bias), s = _mm256_set1_ps(scale);
    size_t i = 0;

    for (; n - i >= 8; i += 8)
        _mm256_storeu_ps(
            x + i, restore(_mm_loadl_epi64((const void *)(codes + i)), b, s));
    if (i < n) {
        int8_t tail[16] = {0};

        memcpy(tail, codes + i, n - i);
        _mm256_maskstore_ps(x + i, mask8(n - i),
                            restore(_mm_loadl_epi64((const void *)tail), b, s));
    }
}

/* --- text ----------------------------------------------------------------- */

/* Bytes in [from, from + range] become all ones. */
AVX2 INLINE __m256i at_most(__m256i x, char from, char range)
{
    x = _mm256_sub_epi8(x, _mm256_set1_epi8(from));
    return _mm256_cmpeq_epi8(_mm256_min_epu8(x, _mm256_set1_epi8(range)), x);
}

AVX2 INLINE uint64_t word_bits(__m256i x)
{
    __m256i lower = _mm256_or_si256(x, _mm256_set1_epi8(0x20));

    return (uint32_t)_mm256_movemask_epi8(
        _mm256_or_si256(at_most(lower, 'a', 25), at_most(x, '0', 9)));
}

AVX2 static void classify(const char *text, uint64_t *word, uint64_t *high)
{
    const __m256i x = _mm256_loadu_si256((const void *)text);
    const __m256i y = _mm256_loadu_si256((const void *)(text + 32));

    *word = word_bits(x) | word_bits(y) << 32;
    *high = (uint32_t)_mm256_movemask_epi8(x) |
            (uint64_t)(uint32_t)_mm256_movemask_epi8(y) << 32;
}

const struct hy_arch_vec hy_arch_vec_avx2 = {
    .dot_f32 = dot_f32,
    .l2sq_f32 = l2sq_f32,
    .moments_f32 = moments_f32,
    .dot_i8 = dot_i8,
    .dot_f32_batch = dot_f32_batch,
    .l2sq_f32_batch = l2sq_f32_batch,
    .moments_f32_batch = moments_f32_batch,
    .dot_i8_batch = dot_i8_batch,
    .range_f32 = range_f32,
    .sq8_encode = sq8_encode,
    .sq8_decode = sq8_decode,
    .classify = classify,
};
