/*
 * bench_jit_o3.c - what the compiler makes of the same expressions: -O3 for
 * this processor, no contraction.
 */
#include "bench_jit.h"

void jit_expression_o3(const void *const *columns, float *restrict out,
                       size_t count)
{
    const float *restrict a = (const float *)columns[0];
    const float *restrict b = (const float *)columns[1];
    const float *restrict c = (const float *)columns[2];

    for (size_t i = 0; i < count; i++)
        out[i] = (a[i] + b[i]) * (a[i] - b[i]) + c[i] * (a[i] * b[i] + c[i]) -
                 (b[i] - c[i]) * a[i];
}

#define IS_BELOW(n) (((const float *)columns[n])[row] < 0.875f)

int jit_test8_o3(const void *const *columns, uint64_t row)
{
    return IS_BELOW(0) && IS_BELOW(1) && IS_BELOW(2) && IS_BELOW(3) &&
           IS_BELOW(4) && IS_BELOW(5) && IS_BELOW(6) && IS_BELOW(7);
}

int jit_test2_o3(const void *const *columns, uint64_t row)
{
    return IS_BELOW(0) && IS_BELOW(1);
}
