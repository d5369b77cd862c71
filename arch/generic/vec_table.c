/*
 * vec_table.c - which kernel table serves which features. The portable half
 * has one. Upstream: lib/vec. Downstream: vec_scalar.c.
 */
#include "arch.h"

const struct hy_arch_vec *hy_arch_vec_select(unsigned features)
{
    (void)features;
    return &hy_arch_vec_scalar;
}
