/*
 * vec_neon.c - kernels for NEON, and for its byte dot products (Armv8.2
 * FEAT_DotProd).
 *
 *      16 floats a step:  |  a  |  b  |  c  |  d  |   four sums of 4 lanes
 *      what is left:      steps of 4 into a, the last one padded with zeros
 *
 * Batches do the same for four rows at once, which share the query's loads.
 * sdot is written as assembly, because clang's header hides the intrinsic from
 * functions of files that are not built for it as a whole.
 *
 * Invariant: a tail is copied, never loaded beyond the end. Upstream:
 * vec_table.c. Downstream: the compiler.
 */
#include "vec_table.h"

#include <arm_neon.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum op { DOT, L2SQ };

struct sums {
    float32x4_t a, b, c, d;
};

INLINE struct sums zero_sums(void)
{
    const float32x4_t z = vdupq_n_f32(0);

    return (struct sums){z, z, z, z};
}

INLINE float32x4_t fold(enum op op, float32x4_t s, float32x4_t x, float32x4_t y)
{
    if (op == L2SQ)
        x = y = vsubq_f32(x, y);
    return vfmaq_f32(s, x, y);
}

INLINE struct sums step(enum op op, struct sums s, const float *q,
                        const float *r)
{
    s.a = fold(op, s.a, vld1q_f32(q), vld1q_f32(r));
    s.b = fold(op, s.b, vld1q_f32(q + 4), vld1q_f32(r + 4));
    s.c = fold(op, s.c, vld1q_f32(q + 8), vld1q_f32(r + 8));
    s.d = fold(op, s.d, vld1q_f32(q + 12), vld1q_f32(r + 12));
    return s;
}

/* The first left floats, at most four, then zeros. */
INLINE float32x4_t load_tail(const float *p, size_t left)
{
    float padded[4] = {0};

    if (left >= 4)
        return vld1q_f32(p);
    memcpy(padded, p, left * sizeof(*p));
    return vld1q_f32(padded);
}

INLINE struct sums step_tail(enum op op, struct sums s, const float *q,
                             const float *r, size_t left)
{
    s.a = fold(op, s.a, load_tail(q, left), load_tail(r, left));
    return s;
}

INLINE float reduce(struct sums s)
{
    float32x4_t t = vaddq_f32(vaddq_f32(s.a, s.b), vaddq_f32(s.c, s.d));

    return vaddvq_f32(t);
}

INLINE float fold_row(enum op op, const float *a, const float *b, size_t n)
{
    struct sums s = zero_sums();
    size_t i = 0;

    for (; n - i >= 16; i += 16)
        s = step(op, s, a + i, b + i);
    for (; i < n; i += 4)
        s = step_tail(op, s, a + i, b + i, n - i);
    return reduce(s);
}

INLINE void fold_rows(enum op op, const float *q, const float *r, size_t stride,
                      size_t n, float *out)
{
    struct sums s0 = zero_sums(), s1 = s0, s2 = s0, s3 = s0;
    const float *r1 = r + stride, *r2 = r1 + stride, *r3 = r2 + stride;
    size_t i = 0;

    for (; n - i >= 16; i += 16) {
        s0 = step(op, s0, q + i, r + i);
        s1 = step(op, s1, q + i, r1 + i);
        s2 = step(op, s2, q + i, r2 + i);
        s3 = step(op, s3, q + i, r3 + i);
    }
    for (; i < n; i += 4) {
        s0 = step_tail(op, s0, q + i, r + i, n - i);
        s1 = step_tail(op, s1, q + i, r1 + i, n - i);
        s2 = step_tail(op, s2, q + i, r2 + i, n - i);
        s3 = step_tail(op, s3, q + i, r3 + i, n - i);
    }
    out[0] = reduce(s0);
    out[1] = reduce(s1);
    out[2] = reduce(s2);
    out[3] = reduce(s3);
}

INLINE void fold_batch(enum op op, const float *q, const float *rows,
                       size_t stride, size_t count, size_t n, float *out)
{
    size_t i = 0;

    for (; count - i >= 4; i += 4)
        fold_rows(op, q, rows + i * stride, stride, n, out + i);
    for (; i < count; i++)
        out[i] = fold_row(op, q, rows + i * stride, n);
}

static float dot_f32(const float *a, const float *b, size_t n)
{
    return fold_row(DOT, a, b, n);
}

static float l2sq_f32(const float *a, const float *b, size_t n)
{
    return fold_row(L2SQ, a, b, n);
}

static void dot_f32_batch(const float *q, const float *rows, size_t stride,
                          size_t count, size_t n, float *out)
{
    fold_batch(DOT, q, rows, stride, count, n, out);
}

static void l2sq_f32_batch(const float *q, const float *rows, size_t stride,
                           size_t count, size_t n, float *out)
{
    fold_batch(L2SQ, q, rows, stride, count, n, out);
}

static void moments_f32(const float *a, const float *b, size_t n, float out[3])
{
    struct sums s = zero_sums(), sa = s, sb = s;
    size_t i = 0;

    for (; n - i >= 16; i += 16) {
        s = step(DOT, s, a + i, b + i);
        sa = step(DOT, sa, a + i, a + i);
        sb = step(DOT, sb, b + i, b + i);
    }
    for (; i < n; i += 4) {
        s = step_tail(DOT, s, a + i, b + i, n - i);
        sa = step_tail(DOT, sa, a + i, a + i, n - i);
        sb = step_tail(DOT, sb, b + i, b + i, n - i);
    }
    out[0] = reduce(s);
    out[1] = reduce(sa);
    out[2] = reduce(sb);
}

/* A row at a time: its own product shares the loads, which is what bounds. */
static void moments_f32_batch(const float *q, const float *rows, size_t stride,
                              size_t count, size_t n, float *dots, float *norms)
{
    for (size_t row = 0; row < count; row++) {
        const float *r = rows + row * stride;
        struct sums d = zero_sums(), s = d;
        size_t i = 0;

        for (; n - i >= 16; i += 16) {
            d = step(DOT, d, q + i, r + i);
            s = step(DOT, s, r + i, r + i);
        }
        for (; i < n; i += 4) {
            d = step_tail(DOT, d, q + i, r + i, n - i);
            s = step_tail(DOT, s, r + i, r + i, n - i);
        }
        dots[row] = reduce(d);
        norms[row] = reduce(s);
    }
}

/* --- bytes ---------------------------------------------------------------- */

#if defined(__clang__)
#define DOTPROD __attribute__((target("dotprod")))
#else
#define DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))
#endif

typedef int32x4_t fold_i8(int32x4_t s, int8x16_t x, int8x16_t y);

/* Two products may exceed 16 bits, so each is widened by itself. */
static inline int32x4_t fold_plain(int32x4_t s, int8x16_t x, int8x16_t y)
{
    s = vpadalq_s16(s, vmull_s8(vget_low_s8(x), vget_low_s8(y)));
    return vpadalq_s16(s, vmull_high_s8(x, y));
}

DOTPROD static inline int32x4_t fold_dotprod(int32x4_t s, int8x16_t x,
                                             int8x16_t y)
{
    __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(s) : "w"(x), "w"(y));
    return s;
}

INLINE int8x16_t load_i8(const int8_t *p, size_t left)
{
    int8_t padded[16] = {0};

    if (left >= 16)
        return vld1q_s8(p);
    memcpy(padded, p, left);
    return vld1q_s8(padded);
}

INLINE int32_t row_i8(fold_i8 *add, const int8_t *a, const int8_t *b, size_t n)
{
    int32x4_t s = vdupq_n_s32(0), t = s;
    size_t i = 0;

    for (; n - i >= 32; i += 32) {
        s = add(s, vld1q_s8(a + i), vld1q_s8(b + i));
        t = add(t, vld1q_s8(a + i + 16), vld1q_s8(b + i + 16));
    }
    for (; i < n; i += 16)
        s = add(s, load_i8(a + i, n - i), load_i8(b + i, n - i));
    return vaddvq_s32(vaddq_s32(s, t));
}

INLINE void rows_i8(fold_i8 *add, const int8_t *q, const int8_t *rows,
                    size_t stride, size_t count, size_t n, int32_t *out)
{
    size_t row = 0;

    for (; count - row >= 4; row += 4) {
        const int8_t *r = rows + row * stride;
        const int8_t *r1 = r + stride, *r2 = r1 + stride, *r3 = r2 + stride;
        int32x4_t a = vdupq_n_s32(0), b = a, c = a, d = a;

        for (size_t i = 0; i < n; i += 16) {
            size_t left = n - i;
            int8x16_t x = load_i8(q + i, left);

            a = add(a, x, load_i8(r + i, left));
            b = add(b, x, load_i8(r1 + i, left));
            c = add(c, x, load_i8(r2 + i, left));
            d = add(d, x, load_i8(r3 + i, left));
        }
        vst1q_s32(out + row, vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d)));
    }
    for (; row < count; row++)
        out[row] = row_i8(add, q, rows + row * stride, n);
}

static int32_t dot_i8(const int8_t *a, const int8_t *b, size_t n)
{
    return row_i8(fold_plain, a, b, n);
}

static void dot_i8_batch(const int8_t *q, const int8_t *rows, size_t stride,
                         size_t count, size_t n, int32_t *out)
{
    rows_i8(fold_plain, q, rows, stride, count, n, out);
}

DOTPROD static int32_t dot_i8_dotprod(const int8_t *a, const int8_t *b,
                                      size_t n)
{
    return row_i8(fold_dotprod, a, b, n);
}

DOTPROD static void dot_i8_batch_dotprod(const int8_t *q, const int8_t *rows,
                                         size_t stride, size_t count, size_t n,
                                         int32_t *out)
{
    rows_i8(fold_dotprod, q, rows, stride, count, n, out);
}

/* --- quantisation --------------------------------------------------------- */

static bool range_f32(const float *x, size_t n, float *low, float *high)
{
    const uint32x4_t magnitude = vdupq_n_u32(0x7fffffff);
    float32x4_t lowest = vdupq_n_f32(x[0]), highest = lowest;
    uint32x4_t largest = vdupq_n_u32(0);
    size_t i = 0;

    for (; i < n; i += 4) {
        float32x4_t v;

        if (n - i >= 4) {
            v = vld1q_f32(x + i);
        } else {
            float padded[4] = {x[0], x[0], x[0], x[0]};

            memcpy(padded, x + i, (n - i) * sizeof(*x));
            v = vld1q_f32(padded);
        }
        lowest = vminq_f32(lowest, v);
        highest = vmaxq_f32(highest, v);
        largest =
            vmaxq_u32(largest, vandq_u32(vreinterpretq_u32_f32(v), magnitude));
    }
    if (vmaxvq_u32(largest) >= 0x7f800000u)
        return false;
    *low = vminvq_f32(lowest);
    *high = vmaxvq_f32(highest);
    return true;
}

INLINE int32x4_t quantise(float32x4_t v, float32x4_t bias, float32x4_t inverse)
{
    v = vmulq_f32(vsubq_f32(v, bias), inverse);
    return vsubq_s32(vcvtnq_s32_f32(v), vdupq_n_s32(128));
}

static int32_t sq8_encode(const float *x, size_t n, float bias, float inverse,
                          int8_t *codes)
{
    const float32x4_t b = vdupq_n_f32(bias), f = vdupq_n_f32(inverse);
    int32x4_t sum = vdupq_n_s32(0), c, d;
    int32_t total;
    size_t i = 0;

    for (; n - i >= 8; i += 8) {
        c = quantise(vld1q_f32(x + i), b, f);
        d = quantise(vld1q_f32(x + i + 4), b, f);
        sum = vaddq_s32(sum, vaddq_s32(c, d));
        vst1_s8(codes + i, vmovn_s16(vcombine_s16(vmovn_s32(c), vmovn_s32(d))));
    }
    total = vaddvq_s32(sum);
    for (; i < n; i++) {
        int32_t lanes[4];

        vst1q_s32(lanes, quantise(vdupq_n_f32(x[i]), b, f));
        codes[i] = (int8_t)lanes[0];
        total += lanes[0];
    }
    return total;
}

static void sq8_decode(const int8_t *codes, size_t n, float bias, float scale,
                       float *x)
{
    const float32x4_t b = vdupq_n_f32(bias), s = vdupq_n_f32(scale);
    const int16x8_t middle = vdupq_n_s16(128);
    size_t i = 0;

    for (; n - i >= 8; i += 8) {
        int16x8_t c = vaddq_s16(vmovl_s8(vld1_s8(codes + i)), middle);
        float32x4_t v = vcvtq_f32_s32(vmovl_s16(vget_low_s16(c)));
        float32x4_t w = vcvtq_f32_s32(vmovl_high_s16(c));

        vst1q_f32(x + i, vaddq_f32(b, vmulq_f32(s, v)));
        vst1q_f32(x + i + 4, vaddq_f32(b, vmulq_f32(s, w)));
    }
    for (; i < n; i++)
        x[i] = bias + scale * (float)(codes[i] + 128);
}

/* --- text ----------------------------------------------------------------- */

/* Bytes in [from, from + range] become all ones. */
INLINE uint8x16_t at_most(uint8x16_t x, uint8_t from, uint8_t range)
{
    return vcleq_u8(vsubq_u8(x, vdupq_n_u8(from)), vdupq_n_u8(range));
}

/* One bit for each of 64 bytes that are all ones or zero. */
INLINE uint64_t bits_of(const uint8x16_t m[4])
{
    static const uint8_t places[16] = {1, 2, 4, 8, 16, 32, 64, 128,
                                       1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t place = vld1q_u8(places);
    uint8x16_t low = vpaddq_u8(vandq_u8(m[0], place), vandq_u8(m[1], place));
    uint8x16_t high = vpaddq_u8(vandq_u8(m[2], place), vandq_u8(m[3], place));

    low = vpaddq_u8(low, high);
    low = vpaddq_u8(low, low);
    return vgetq_lane_u64(vreinterpretq_u64_u8(low), 0);
}

static void classify(const char *text, uint64_t *word, uint64_t *high)
{
    uint8x16_t words[4], highs[4];

    for (int i = 0; i < 4; i++) {
        uint8x16_t x = vld1q_u8((const uint8_t *)text + 16 * i);

        words[i] = vorrq_u8(at_most(vorrq_u8(x, vdupq_n_u8(0x20)), 'a', 25),
                            at_most(x, '0', 9));
        highs[i] = vcgeq_u8(x, vdupq_n_u8(0x80));
    }
    *word = bits_of(words);
    *high = bits_of(highs);
}

#define SHARED                                                                 \
    .dot_f32 = dot_f32, .l2sq_f32 = l2sq_f32, .moments_f32 = moments_f32,      \
    .dot_f32_batch = dot_f32_batch, .l2sq_f32_batch = l2sq_f32_batch,          \
    .moments_f32_batch = moments_f32_batch, .range_f32 = range_f32,            \
    .sq8_encode = sq8_encode, .sq8_decode = sq8_decode, .classify = classify

const struct hy_arch_vec hy_arch_vec_neon = {
    SHARED,
    .dot_i8 = dot_i8,
    .dot_i8_batch = dot_i8_batch,
};

const struct hy_arch_vec hy_arch_vec_dotprod = {
    SHARED,
    .dot_i8 = dot_i8_dotprod,
    .dot_i8_batch = dot_i8_batch_dotprod,
};
