/*
 * vec_table.h - the kernel tables of this folder. Upstream: vec_table.c.
 */
#ifndef HY_ARCH_VEC_TABLE_H
#define HY_ARCH_VEC_TABLE_H

#include "arch.h"

extern const struct hy_arch_vec hy_arch_vec_neon;
extern const struct hy_arch_vec hy_arch_vec_dotprod;

#endif
