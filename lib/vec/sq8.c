/*
 * sq8.c - scalar quantisation to 8 bits with a scale for each vector.
 *
 *      x     bias                                     largest
 *             |---+---+---+---  ...  ---+---+---+-------|
 *      code -128 -127 ...                              127
 *             <--->  scale = (largest - bias) / 255
 *
 * Every step is a single correctly rounded operation of float or double, or
 * integer arithmetic, so codes and head are the same bits everywhere.
 *
 * Invariant: (x - bias) * inverse rounds to 0..255 for every element that
 * reaches a kernel. Upstream: index. Downstream: arch.h (range_f32, sq8_*).
 */
#include <hyperion/vec.h>

#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels.h"
#include "trace.h"

enum { BLOCK = 256, SUM_BLOCK = 1 << 20 };

/* What one pass needs to know: the range, and how x must be changed first. */
struct range {
    float low, high;
    bool is_finite; /* false: NaN and infinities are to be replaced */
};

static float replaced(float x, const struct range *r)
{
    if (isnan(x))
        return 0;
    return x > r->high ? r->high : x < r->low ? r->low : x;
}

/* The range of what is finite, a NaN counting as 0; {0, 0} without any. */
static struct range range_of_finite(const float *x, size_t n)
{
    struct range r = {INFINITY, -INFINITY, false};

    for (size_t i = 0; i < n; i++) {
        float v = isnan(x[i]) ? 0 : x[i];

        if (isinf(v))
            continue;
        r.low = v < r.low ? v : r.low;
        r.high = v > r.high ? v : r.high;
    }
    if (r.low > r.high)
        r.low = r.high = 0;
    return r;
}

static struct range range_of(const float *x, size_t n)
{
    struct range r = {0, 0, true};

    if (n > 0 && !hyi_vec_kernels()->range_f32(x, n, &r.low, &r.high))
        r = range_of_finite(x, n);
    r.low += 0.0f; /* -0 becomes 0: which zero came first must not show */
    return r;
}

/*
 * The slow way for input that is not finite, or whose range is beyond float:
 * halved, so that differences fit, and block by block.
 */
static int64_t encode_copied(const float *x, size_t n, const struct range *r,
                             float inverse, int8_t *codes)
{
    float copy[BLOCK];
    int64_t sum = 0;

    for (size_t i = 0, rest; i < n; i += rest) {
        rest = n - i < BLOCK ? n - i : BLOCK;
        for (size_t j = 0; j < rest; j++)
            copy[j] = replaced(x[i + j], r) * 0.5f;
        sum += hyi_vec_kernels()->sq8_encode(copy, rest, r->low * 0.5f, inverse,
                                             codes + i);
    }
    return sum;
}

static int64_t encode_direct(const float *x, size_t n, float bias,
                             float inverse, int8_t *codes)
{
    int64_t sum = 0;

    for (size_t i = 0, rest; i < n; i += rest) {
        rest = n - i < SUM_BLOCK ? n - i : SUM_BLOCK;
        sum += hyi_vec_kernels()->sq8_encode(x + i, rest, bias, inverse,
                                             codes + i);
    }
    return sum;
}

hy_sq8 hy_vec_sq8_encode(const float *x, size_t n, int8_t *codes)
{
    const struct range r = range_of(x, n);
    const double width = (double)r.high - r.low;
    hy_sq8 q = {0, r.low, 0, 0};
    float inverse = 0;
    int64_t sum;

    if (width > 0) {
        /* Below FLT_MIN the scale would lose bits and its inverse overflow. */
        double scale = fmax(width / 255, FLT_MIN);

        q.scale = (float)scale;
        inverse = (float)(1 / scale);
    }
    if (HYI_LIKELY(r.is_finite && width <= FLT_MAX))
        sum = encode_direct(x, n, r.low, inverse, codes);
    else
        sum = encode_copied(x, n, &r, inverse * 2, codes);
    q.sum = hyi_saturate(sum);
    HYI_TRACE("encode", n);
    return q;
}

/* Near the end of the range of float, where scale * 255 alone may overflow. */
static void decode_halved(hy_sq8 q, const int8_t *codes, size_t n, float *x)
{
    hyi_vec_kernels()->sq8_decode(codes, n, q.bias * 0.5f, q.scale * 0.5f, x);
    for (size_t i = 0; i < n; i++) {
        x[i] *= 2;
        x[i] = x[i] > FLT_MAX ? FLT_MAX : x[i] < -FLT_MAX ? -FLT_MAX : x[i];
    }
}

void hy_vec_sq8_decode(hy_sq8 q, const int8_t *codes, size_t n, float *x)
{
    if (HYI_UNLIKELY(fabsf(q.bias) > 0x1p126f || fabsf(q.scale) > 0x1p118f))
        decode_halved(q, codes, n, x);
    else
        hyi_vec_kernels()->sq8_decode(codes, n, q.bias, q.scale, x);
}

float hy_vec_sq8_score(hy_sq8 q, hy_sq8 x, int32_t dot, size_t n)
{
    const double mq = q.bias + 128.0 * q.scale, mx = x.bias + 128.0 * x.scale;

    return (float)((double)n * mq * mx + mq * x.scale * x.sum +
                   mx * q.scale * q.sum + (double)q.scale * x.scale * dot);
}

float hy_vec_sq8_dot(hy_sq8 q, const int8_t *qcodes, hy_sq8 x,
                     const int8_t *xcodes, size_t n)
{
    return hy_vec_sq8_score(q, x, hy_vec_dot_i8(qcodes, xcodes, n), n);
}

void hy_vec_sq8_dot_batch(hy_sq8 q, const int8_t *qcodes, const hy_sq8 *heads,
                          const int8_t *rows, size_t stride, size_t count,
                          size_t n, float *out)
{
    int32_t dots[BLOCK];

    while (count > 0) {
        size_t rest = count < BLOCK ? count : BLOCK;

        hy_vec_dot_i8_batch(qcodes, rows, stride, rest, n, dots);
        for (size_t i = 0; i < rest; i++)
            out[i] = hy_vec_sq8_score(q, heads[i], dots[i], n);
        count -= rest;
        rows += rest * stride;
        heads += rest;
        out += rest;
    }
}
