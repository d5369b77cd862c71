/*
 * vec_table.c - which kernel table serves which features: the reference first,
 * then upward. Upstream: lib/vec. Downstream: vec_avx2.c, vec_avx512.c.
 */
#include "vec_table.h"

const struct hy_arch_vec *hy_arch_vec_select(unsigned features)
{
    if (!(features & HY_ARCH_AVX2))
        return &hy_arch_vec_scalar;
    if (!(features & HY_ARCH_AVX512))
        return &hy_arch_vec_avx2;
    if (!(features & HY_ARCH_AVX512VNNI))
        return &hy_arch_vec_avx512;
    return &hy_arch_vec_avx512vnni;
}
