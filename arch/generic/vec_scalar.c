/*
 * vec_scalar.c - every kernel in portable C: the oracle of the others, and all
 * there is under HY_NO_ASM.
 *
 *      a  | 0 1 2 ... 15 | 16 17 ... 31 | ... | tail |
 *           | | |     |     |  |      |
 *      s  [ 0 1 2 ... 15 ]<-+--+------+     sixteen partial sums, then a tree
 *
 * Sixteen sums because a compiler may keep them in vector registers without
 * being allowed to reorder anything, and because the error of a sum grows with
 * the length of its chain.
 *
 * Invariant: each f32 sum takes the same path whether it is asked for singly
 * or in a batch. Upstream: lib/vec through arch.h. Downstream: nothing.
 */
#include "arch.h"

#include <string.h>

enum { LANES = 16 };

static float sum_lanes(float *s)
{
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            s[j] += s[j + half];
    return s[0];
}

static float dot_f32(const float *a, const float *b, size_t n)
{
    float s[LANES] = {0};
    size_t i = 0;

    for (; n - i >= LANES; i += LANES)
        for (int j = 0; j < LANES; j++)
            s[j] += a[i + j] * b[i + j];
    for (int j = 0; i < n; i++, j++)
        s[j] += a[i] * b[i];
    return sum_lanes(s);
}

static float l2sq_f32(const float *a, const float *b, size_t n)
{
    float s[LANES] = {0}, d;
    size_t i = 0;

    for (; n - i >= LANES; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            float e = a[i + j] - b[i + j];

            s[j] += e * e;
        }
    }
    for (int j = 0; i < n; i++, j++) {
        d = a[i] - b[i];
        s[j] += d * d;
    }
    return sum_lanes(s);
}

static void moments_f32(const float *a, const float *b, size_t n, float out[3])
{
    out[0] = dot_f32(a, b, n);
    out[1] = dot_f32(a, a, n);
    out[2] = dot_f32(b, b, n);
}

static int32_t dot_i8(const int8_t *a, const int8_t *b, size_t n)
{
    uint32_t sum = 0; /* unsigned: wraps */

    for (size_t i = 0; i < n; i++)
        sum += (uint32_t)(a[i] * b[i]);
    return (int32_t)sum;
}

static void dot_f32_batch(const float *q, const float *rows, size_t stride,
                          size_t count, size_t n, float *out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = dot_f32(q, rows + i * stride, n);
}

static void l2sq_f32_batch(const float *q, const float *rows, size_t stride,
                           size_t count, size_t n, float *out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = l2sq_f32(q, rows + i * stride, n);
}

static void moments_f32_batch(const float *q, const float *rows, size_t stride,
                              size_t count, size_t n, float *dots, float *norms)
{
    for (size_t i = 0; i < count; i++) {
        const float *row = rows + i * stride;

        dots[i] = dot_f32(q, row, n);
        norms[i] = dot_f32(row, row, n);
    }
}

static void dot_i8_batch(const int8_t *q, const int8_t *rows, size_t stride,
                         size_t count, size_t n, int32_t *out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = dot_i8(q, rows + i * stride, n);
}

static uint32_t bits_of(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

static bool range_f32(const float *x, size_t n, float *low, float *high)
{
    uint32_t largest = 0; /* of the magnitudes' bits: finite ones are below */
    float lowest = x[0], highest = x[0];

    for (size_t i = 0; i < n; i++) {
        uint32_t magnitude = bits_of(x[i]) & 0x7fffffffu;

        largest = magnitude > largest ? magnitude : largest;
        lowest = x[i] < lowest ? x[i] : lowest;
        highest = x[i] > highest ? x[i] : highest;
    }
    if (largest >= 0x7f800000u)
        return false;
    *low = lowest;
    *high = highest;
    return true;
}

static int32_t sq8_encode(const float *x, size_t n, float bias, float inverse,
                          int8_t *codes)
{
    const float shift =
        12582912.0f; /* 1.5 * 2^23: adding it rounds to an
                        integer, ties to even, in the low bits */
    int32_t sum = 0;

    for (size_t i = 0; i < n; i++) {
        float t = (x[i] - bias) * inverse + shift;
        int32_t code = (int32_t)(bits_of(t) - bits_of(shift)) - 128;

        codes[i] = (int8_t)code;
        sum += code;
    }
    return sum;
}

static void sq8_decode(const int8_t *codes, size_t n, float bias, float scale,
                       float *x)
{
    for (size_t i = 0; i < n; i++)
        x[i] = bias + scale * (float)(codes[i] + 128);
}

/* The top bits of eight bytes. */
static uint64_t top_bits(uint64_t x)
{
    return (x & 0x8080808080808080u) * 0x0002040810204081u >> 56;
}

/* Each byte of x, below 0x80, in [from, to] gets its top bit set. */
static uint64_t between(uint64_t x, unsigned from, unsigned to)
{
    const uint64_t ones = 0x0101010101010101u;

    return (x + ones * (0x80 - from)) & ~(x + ones * (0x7f - to));
}

static void classify(const char *text, uint64_t *word, uint64_t *high)
{
    *word = *high = 0;
    for (unsigned i = 0; i < 64; i += 8) {
        uint64_t x, low, found;

        memcpy(&x, text + i, sizeof(x));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        x = __builtin_bswap64(x);
#endif
        low = x & 0x7f7f7f7f7f7f7f7fu;
        found = between(low | 0x2020202020202020u, 'a', 'z') |
                between(low, '0', '9');
        *word |= top_bits(found & ~x) << i;
        *high |= top_bits(x) << i;
    }
}

const struct hy_arch_vec hy_arch_vec_scalar = {
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
