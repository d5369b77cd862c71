/*
 * vec_table.h - the kernel tables of this folder. Upstream: vec_table.c.
 */
#ifndef HY_ARCH_VEC_TABLE_H
#define HY_ARCH_VEC_TABLE_H

#include "arch.h"

extern const struct hy_arch_vec hy_arch_vec_avx2;
extern const struct hy_arch_vec hy_arch_vec_avx512;
extern const struct hy_arch_vec hy_arch_vec_avx512vnni;

#endif
