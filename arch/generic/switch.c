/*
 * switch.c - contexts in portable C, by ucontext: what HY_NO_ASM builds use
 * where there is one (else switch_threads.c).
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
    int rounding, error; /* as the one who switches here leaves them */
    void (*entry)(void *arg, void *value);
    void *arg;
};

/* ucontext brings back an old rounding mode and changes errno; a switch leaves
   both alone. */
static void leave_for(struct context *there)
{
    there->rounding = fegetround();
    there->error = errno;
}

static void arrive(const struct context *here)
{
    fesetround(here->rounding);
    errno = here->error;
}

/* makecontext passes ints: a pointer travels in two halves. */
static void *joined(unsigned high, unsigned low)
{
    return (void *)(((uintptr_t)high << 16 << 16) | (uintptr_t)low);
}

static void first_step(unsigned high, unsigned low)
{
    struct context *c = joined(high, low);

    arrive(c);
    c->entry(c->arg, c->value);
    __builtin_trap();
}

static void begin_at(ucontext_t *machine, void (*first)(unsigned, unsigned),
                     const void *arg)
{
    makecontext(machine, (void (*)(void))first, 2,
                (unsigned)((uintptr_t)arg >> 16 >> 16),
                (unsigned)(uintptr_t)arg);
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
    begin_at(&c->machine, first_step, c);
    return c;
}

void *hy_arch_switch(void **from, void *to, void *value)
{
    struct context here;
    struct context *there = to;

    *from = &here;
    there->value = value;
    leave_for(there);
    swapcontext(&here.machine, &there->machine);
    arrive(&here);
    return here.value;
}

/* --- hops ----------------------------------------------------------------- */

enum { HOP_STACK_BYTES = 8192 }; /* libc wants to know; any stack has more */

const unsigned char hy_arch_hop_resumed[] = {0};

struct hop {
    struct context context; /* to continue here */
    struct context begin;   /* of the new stack, until it has begun */
    void *(*main)(void);
};

static void first_hop(unsigned high, unsigned low)
{
    const struct hop *from = joined(high, low);
    struct context *there;

    arrive(&from->begin);
    there = from->main();
    leave_for(there);
    setcontext(&there->machine);
    __builtin_trap();
}

void hy_arch_hop(void **from, void *to, void *(*main)(void))
{
    struct hop here;
    ucontext_t *begin = &here.begin.machine;

    if (main == NULL) {
        hy_arch_switch(from, to, NULL);
        return;
    }
    *from = &here;
    here.main = main;
    leave_for(&here.begin);
    getcontext(begin);
    begin->uc_link = NULL;
    begin->uc_stack.ss_sp = (char *)to - HOP_STACK_BYTES;
    begin->uc_stack.ss_size = HOP_STACK_BYTES;
    begin_at(begin, first_hop, &here);
    swapcontext(&here.context.machine, begin);
    arrive(&here.context);
}

bool hy_arch_inline_make(void *words[4], void *stack, size_t bytes,
                         void (*entry)(void *arg, void *value), void *arg)
{
    (void)words;
    (void)stack;
    (void)bytes;
    (void)entry;
    (void)arg;
    return false;
}
