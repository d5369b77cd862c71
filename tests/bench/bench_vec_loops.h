/*
 * bench_vec_loops.h - the plain loops, compiled once for each SUFFIX. Scaled
 * bytes are made as a first C programmer would: a pass for the range, a pass
 * for the codes.
 */
#include "bench_vec.h"

#include <math.h>

#define JOIN_(a, b) a##b
#define JOIN(a, b)  JOIN_(a, b)

float JOIN(vec_dot_, SUFFIX)(const float *a, const float *b, size_t n)
{
    float sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

float JOIN(vec_l2sq_, SUFFIX)(const float *a, const float *b, size_t n)
{
    float sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sum;
}

int32_t JOIN(vec_dot_i8_, SUFFIX)(const int8_t *a, const int8_t *b, size_t n)
{
    int32_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

void JOIN(vec_sq8_encode_, SUFFIX)(const float *x, size_t n, int8_t *codes)
{
    float low = x[0], high = x[0], scale;

    for (size_t i = 0; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    scale = high > low ? 255.0f / (high - low) : 0;
    for (size_t i = 0; i < n; i++)
        codes[i] = (int8_t)(rintf((x[i] - low) * scale) - 128);
}
