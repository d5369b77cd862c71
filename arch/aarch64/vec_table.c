/*
 * vec_table.c - which kernel table serves which features: the reference first,
 * then upward. Upstream: lib/vec. Downstream: vec_neon.c.
 */
#include "vec_table.h"

const struct hy_arch_vec *hy_arch_vec_select(unsigned features)
{
    if (!(features & HY_ARCH_NEON))
        return &hy_arch_vec_scalar;
    if (!(features & HY_ARCH_DOTPROD))
        return &hy_arch_vec_neon;
    return &hy_arch_vec_dotprod;
}
