/*
 * vec.c - distances: the choice of kernels, and what of the distances is
 * portable.
 *
 *      hy_vec_dot_f32 ---> table in use ---> kernel of one instruction set
 *                             ^
 *      first call: processor's features, capped by HY_ISA (base isa.c)
 *
 *      hy_vec_cos_f32 ---> kernel: a.b, a.a, b.b ---> finish: one division,
 *                          or the sums again in double when a square is out of
 *                          the range in which float is safe
 *
 * Invariant: the table in use never changes once chosen. Upstream: text, index.
 * Downstream: arch.h (kernels), isa.h.
 */
#include <hyperion/vec.h>

#include <math.h>
#include <string.h>

#include "bits.h"
#include "isa.h"
#include "kernels.h"

/* 16,384 n is the largest magnitude of a sum of n products of bytes. */
#define EXACT_I8 131071u

const struct hy_arch_vec *hyi_vec_choose(void)
{
    const struct hy_arch_vec *table = hy_arch_vec_select(hyi_isa_features());

    /* Relaxed, as the load in hyi_vec_kernels: tables are constants. */
    atomic_store_explicit(&hyi_process.vec, table, memory_order_relaxed);
    return table;
}

const char *hy_vec_isa(void)
{
    return hyi_isa_name();
}

float hy_vec_dot_f32(const float *a, const float *b, size_t n)
{
    return hyi_vec_kernels()->dot_f32(a, b, n);
}

float hy_vec_l2sq_f32(const float *a, const float *b, size_t n)
{
    return hyi_vec_kernels()->l2sq_f32(a, b, n);
}

/*
 * The similarity in double, where no square of a float overflows or vanishes.
 * A zero vector gives 0 unless the other one is not finite.
 */
static float cos_in_double(const float *a, const float *b, size_t n)
{
    double dot = 0, aa = 0, bb = 0, result;

    for (size_t i = 0; i < n; i++) {
        dot += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    if (!isfinite(aa) || !isfinite(bb))
        return NAN;
    if (aa == 0 || bb == 0)
        return 0;
    result = dot / (sqrt(aa) * sqrt(bb));
    return (float)fmin(fmax(result, -1.0), 1.0);
}

/* Between these no sum of squares has lost more than its rounding, and by
 * Cauchy and Schwarz no partial product has overflowed. False for NaN. */
static bool is_safe(float square)
{
    return square > 0x1p-60f && square < 0x1p120f;
}

static float cos_finish(const float *a, const float *b, size_t n, float dot,
                        float aa, float bb)
{
    float result;

    if (HYI_UNLIKELY(!is_safe(aa) || !is_safe(bb)))
        return cos_in_double(a, b, n);
    result = dot / (sqrtf(aa) * sqrtf(bb));
    return result > 1 ? 1 : result < -1 ? -1 : result;
}

float hy_vec_cos_f32(const float *a, const float *b, size_t n)
{
    float m[3];

    hyi_vec_kernels()->moments_f32(a, b, n, m);
    return cos_finish(a, b, n, m[0], m[1], m[2]);
}

int64_t hy_vec_dot_i8_wide(const int8_t *a, const int8_t *b, size_t n)
{
    const struct hy_arch_vec *k = hyi_vec_kernels();
    int64_t sum = 0;

    for (; n > EXACT_I8; n -= EXACT_I8, a += EXACT_I8, b += EXACT_I8)
        sum += k->dot_i8(a, b, EXACT_I8);
    return sum + k->dot_i8(a, b, n);
}

int32_t hy_vec_dot_i8(const int8_t *a, const int8_t *b, size_t n)
{
    int64_t sum;

    if (HYI_LIKELY(n <= EXACT_I8))
        return hyi_vec_kernels()->dot_i8(a, b, n);
    sum = hy_vec_dot_i8_wide(a, b, n);
    return hyi_saturate(sum);
}

void hy_vec_dot_f32_batch(const float *q, const float *rows, size_t stride,
                          size_t count, size_t n, float *out)
{
    hyi_vec_kernels()->dot_f32_batch(q, rows, stride, count, n, out);
}

void hy_vec_l2sq_f32_batch(const float *q, const float *rows, size_t stride,
                           size_t count, size_t n, float *out)
{
    hyi_vec_kernels()->l2sq_f32_batch(q, rows, stride, count, n, out);
}

void hy_vec_cos_f32_batch(const float *q, const float *rows, size_t stride,
                          size_t count, size_t n, float *out)
{
    enum { BLOCK = 64 }; /* rows whose norms fit on the stack */
    const struct hy_arch_vec *k = hyi_vec_kernels();
    float norms[BLOCK], qq = k->dot_f32(q, q, n);

    while (count > 0) {
        size_t rest = count < BLOCK ? count : BLOCK;

        k->moments_f32_batch(q, rows, stride, rest, n, out, norms);
        for (size_t i = 0; i < rest; i++)
            out[i] = cos_finish(q, rows + i * stride, n, out[i], qq, norms[i]);
        count -= rest;
        rows += rest * stride;
        out += rest;
    }
}

void hy_vec_dot_i8_batch(const int8_t *q, const int8_t *rows, size_t stride,
                         size_t count, size_t n, int32_t *out)
{
    if (HYI_LIKELY(n <= EXACT_I8)) {
        hyi_vec_kernels()->dot_i8_batch(q, rows, stride, count, n, out);
        return;
    }
    for (size_t i = 0; i < count; i++)
        out[i] = hy_vec_dot_i8(q, rows + i * stride, n);
}
