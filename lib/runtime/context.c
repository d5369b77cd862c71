/*
 * context.c - the raw context layers (context.h, inline/context.h): the
 * functions of arch.h, with their arguments checked.
 * Upstream: users. Downstream: arch.h (switch.S).
 */
#include <hyperion/inline/context.h>

#include <errno.h>

#include "arch.h"

enum { STACK_BYTES_MIN = 2048 };

/* 0 when a context can be made out of these. */
static int check(const void *ctx, const void *stack, size_t bytes,
                 void (*entry)(void *arg, void *value))
{
    if (ctx == NULL || stack == NULL || entry == NULL ||
        bytes < STACK_BYTES_MIN)
        return -EINVAL;
    return hy_arch_shadow_stack() ? -ENOTSUP : 0;
}

int hy_context_make(hy_context *ctx, void *stack, size_t bytes,
                    void (*entry)(void *arg, void *value), void *arg)
{
    int err = check(ctx, stack, bytes, entry);
    void *sp;

    if (err != 0)
        return err;
    sp = hy_arch_context_make(stack, bytes, entry, arg);
    if (sp == NULL)
        return -EAGAIN;
    ctx->sp = sp;
    return 0;
}

void *hy_context_switch(hy_context *from, hy_context *to, void *value)
{
    return hy_arch_switch(&from->sp, to->sp, value);
}

void *hy_context_switch_fp_env(hy_context *from, hy_context *to, void *value)
{
    struct hy_arch_fp_env mine;

    hy_arch_fp_env_save(&mine);
    value = hy_arch_switch(&from->sp, to->sp, value);
    hy_arch_fp_env_load(&mine);
    return value;
}

/* A file compiled with HY_NO_ASM may use a library that was not. */
int hy_inline_context_prepare(hy_inline_context *ctx, void *stack, size_t bytes,
                              void (*entry)(void *arg, void *value), void *arg,
                              unsigned layout)
{
    int err = check(ctx, stack, bytes, entry);
    hy_context outer;
    void *words[4];

    if (err != 0)
        return err;
    switch (layout) {
    case HY_INLINE_CONTEXT_LAYOUT_OUTER:
        err = hy_context_make(&outer, stack, bytes, entry, arg);
        if (err == 0)
            *ctx = (hy_inline_context){.sp = outer.sp};
        return err;
    case HY_INLINE_CONTEXT_LAYOUT_JUMP:
        if (!hy_arch_inline_make(words, stack, bytes, entry, arg))
            return -EPROTO;
        *ctx = (hy_inline_context){words[0], words[1], words[2], words[3]};
        return 0;
    default:
        return -EPROTO;
    }
}
