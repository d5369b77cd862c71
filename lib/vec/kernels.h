/*
 * kernels.h - the kernel table in use. Upstream: vec.c, sq8.c.
 */
#ifndef HYI_KERNELS_H
#define HYI_KERNELS_H

#include <stdatomic.h>
#include <stdint.h>

#include "arch.h"
#include "check.h"
#include "process.h"

const struct hy_arch_vec *hyi_vec_choose(void);

static inline const struct hy_arch_vec *hyi_vec_kernels(void)
{
    const struct hy_arch_vec *table =
        atomic_load_explicit(&hyi_process.vec, memory_order_relaxed);

    return HYI_LIKELY(table != NULL) ? table : hyi_vec_choose();
}

static inline int32_t hyi_saturate(int64_t x)
{
    return x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : (int32_t)x;
}

#endif
