/*
 * context.h - raw contexts: two stacks and the switch between them, without
 * scheduler, waiting or bookkeeping. For those who write a runtime of their
 * own, generators, or bindings of another language.
 *
 * A switch keeps what the calling convention says a called function must keep
 * (general registers; on AArch64 d8-d15 as well), and nothing else: not the
 * signal mask, not errno, not the floating-point environment (but see
 * hy_context_switch_fp_env), not the state of C++ exceptions in flight. The
 * stack pointer is valid at every instruction, so signals may arrive at any
 * time. A context belongs to the thread it was first switched to, unless the
 * code on it keeps nothing of that thread.
 *
 * Hardware shadow stacks are not switched: a thread that runs with one cannot
 * make contexts. Sanitizers must be told of the stacks by the caller; the
 * fibers of fiber.h do that themselves.
 *
 * With HY_NO_ASM, where the C library has no ucontext (musl), a context is a
 * thread that waits for its turn. It keeps thread-local variables and a signal
 * mask of its own, runs on a stack of its own of that size, and stays until the
 * process ends. On it no fiber is running (hy_fiber_self is {0}), and a child
 * of fork can switch to none but the one that forked.
 */
#ifndef HYPERION_CONTEXT_H
#define HYPERION_CONTEXT_H

#include <hyperion/base.h>

HY_BEGIN_DECLS

/** A suspended flow of control; all of it is on its stack. */
typedef struct hy_context {
    void *sp; /**< private */
} hy_context;

/**
 * Prepares a context: the first switch to it calls entry(arg, value), value
 * being what was passed to the switch. entry must never return; it ends by
 * switching away for good. The memory stays the caller's.
 * @param stack lowest address of the stack.
 * @param bytes its size, 2,048 at least (16 KiB with the portable switch).
 * @return 0; -EINVAL for a missing pointer or too small a stack; -ENOTSUP when
 * the thread runs with a shadow stack; -EAGAIN when contexts are threads and
 * there is none to be had.
 */
HY_API int hy_context_make(hy_context *ctx, void *stack, size_t bytes,
                           void (*entry)(void *arg, void *value), void *arg);

/**
 * Suspends the caller into *from and resumes *to, which must be suspended.
 * @return the value passed by the switch that resumes the caller.
 */
HY_API HY_NO_PLT void *hy_context_switch(hy_context *from, hy_context *to,
                                         void *value);

/**
 * hy_context_switch for code that changes the floating-point environment: the
 * rounding mode and exception masks (MXCSR and the x87 control word; FPCR; with
 * HY_NO_ASM the rounding mode alone) that the caller has now are back when the
 * call returns. Exception flags are the thread's, but for those in MXCSR, which
 * come along. A context that starts finds what whoever switched to it had.
 * Setting them costs as much as the switch itself. Both switches may be used on
 * one context.
 */
HY_API HY_NO_PLT void *hy_context_switch_fp_env(hy_context *from,
                                                hy_context *to, void *value);

HY_END_DECLS

#endif
