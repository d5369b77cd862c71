/*
 * switch.c - contexts in portable C, by ucontext: what HY_NO_ASM builds use.
 * Slower by two system calls a switch, which save and restore the signal mask.
 *
 *      upper end of a made stack:   | struct context | (sp points at it)
 *      a suspended stack:           a struct context in the frame of its
 *                                   hy_arch_switch (sp points at it)
 *
 * Invariant: sp always points to the struct that the next swapcontext to it
 * resumes. Upstream: lib/runtime. Downstream: libc.
 */
#if defined(__APPLE__)
#define _XOPEN_SOURCE 600 /* declares ucontext, which is deprecated there */
#endif
#include "arch.h"

#include <errno.h>
#include <fenv.h>
#include <ucontext.h>

struct context {
    ucontext_t machine;
    void *value;
    int rounding; /* as the one who switches here leaves it */
    void (*entry)(void *arg, void *value);
    void *arg;
};

/* makecontext passes ints: a pointer travels in two halves. */
static void first_step(unsigned high, unsigned low)
{
    struct context *c =
        (struct context *)(((uintptr_t)high << 16 << 16) | (uintptr_t)low);

    fesetround(c->rounding);
    c->entry(c->arg, c->value);
    __builtin_trap();
}

void *hy_arch_context_make(void *stack, size_t bytes,
                           void (*entry)(void *arg, void *value), void *arg)
{
    uintptr_t end = ((uintptr_t)stack + bytes) & ~(uintptr_t)63;
    struct context *c = (struct context *)((end - sizeof(*c)) & ~(uintptr_t)63);
    int saved = errno;

    getcontext(&c->machine);
    errno = saved;
    c->entry = entry;
    c->arg = arg;
    c->machine.uc_link = NULL;
    c->machine.uc_stack.ss_sp = stack;
    c->machine.uc_stack.ss_size = (size_t)((uintptr_t)c - (uintptr_t)stack);
    makecontext(&c->machine, (void (*)(void))first_step, 2,
                (unsigned)((uintptr_t)c >> 16 >> 16), (unsigned)(uintptr_t)c);
    return c;
}

void *hy_arch_switch(void **from, void *to, void *value)
{
    struct context here;
    struct context *there = to;
    int saved = errno;

    *from = &here;
    there->value = value;
    /* ucontext brings back an old rounding mode; a switch leaves it alone. */
    there->rounding = fegetround();
    swapcontext(&here.machine, &there->machine);
    fesetround(here.rounding);
    errno = saved;
    return here.value;
}
