/*
 * context.c - the raw context layer (context.h): the two functions of arch.h,
 * with their arguments checked.
 * Upstream: users. Downstream: arch.h (switch.S).
 */
#include <hyperion/context.h>

#include <errno.h>

#include "arch.h"

enum { STACK_BYTES_MIN = 2048 };

int hy_context_make(hy_context *ctx, void *stack, size_t bytes,
                    void (*entry)(void *arg, void *value), void *arg)
{
    if (ctx == NULL || stack == NULL || entry == NULL ||
        bytes < STACK_BYTES_MIN)
        return -EINVAL;
    ctx->sp = hy_arch_context_make(stack, bytes, entry, arg);
    return 0;
}

void *hy_context_switch(hy_context *from, hy_context *to, void *value)
{
    return hy_arch_switch(&from->sp, to->sp, value);
}
