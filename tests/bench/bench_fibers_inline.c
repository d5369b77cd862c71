/*
 * bench_fibers_inline.c - the inline switch: two contexts at two places of the
 * code, and 64 in a ring, each five calls deep. Beside them a call through a
 * pointer, which is what a generator costs that keeps its state by hand.
 *
 * Every switch carries a number, one higher each time.
 * Upstream: bench_fibers.h. Downstream: inline/context.h.
 */
#include "bench_fibers.h"

#include <hyperion/inline/context.h>
#include <stdlib.h>

static hy_inline_context home, other, ring[RING_CONTEXTS];
static uint64_t switches_left;

static void *stack_of(unsigned nth)
{
    static char *all;

    if (all == NULL)
        all = (char *)malloc((size_t)RING_CONTEXTS * STACK_BYTES);
    if (all == NULL)
        bench_wrong("no memory");
    return all + (size_t)nth * STACK_BYTES;
}

static void make(hy_inline_context *c, unsigned nth,
                 void (*entry)(void *, void *), void *arg)
{
    if (hy_inline_context_make(c, stack_of(nth), STACK_BYTES, entry, arg) != 0)
        bench_wrong("no context");
}

static void answer(void *arg, void *value)
{
    (void)arg;
    for (;;)
        value = hy_inline_context_switch(&other, &home, (char *)value + 1);
}

double inline_two_sites(void *count)
{
    uint64_t n = *(uint64_t *)count, start;
    char *value = NULL;

    make(&other, 0, answer, NULL);
    start = bench_now();
    for (uint64_t i = 0; i < n; i += 2)
        value = (char *)hy_inline_context_switch(&home, &other, value + 1);
    start = bench_now() - start;
    if ((uintptr_t)value != (n + 1) / 2 * 2)
        bench_wrong("inline switch");
    return (double)start / (double)n;
}

/* As ring_nested of bench_fibers.c. */
static __attribute__((noinline)) int ring_nested(unsigned self, int depth)
{
    int r = 0;

    if (depth == 0) {
        if (switches_left-- == 0)
            hy_inline_context_switch(&ring[self], &home, NULL);
        hy_inline_context_switch(&ring[self], &ring[(self + 1) % RING_CONTEXTS],
                                 NULL);
    } else {
        r = ring_nested(self, depth - 1) + 1;
    }
    BENCH_USE(r);
    return r;
}

static void ring_entry(void *arg, void *value)
{
    unsigned self = (unsigned)((hy_inline_context *)arg - ring);

    (void)value;
    for (;;)
        ring_nested(self, NESTED_CALLS);
}

double inline_nested(void *count)
{
    uint64_t n = *(uint64_t *)count, start;

    for (unsigned i = 0; i < RING_CONTEXTS; i++)
        make(&ring[i], i, ring_entry, &ring[i]);
    switches_left = n;
    start = bench_now();
    hy_inline_context_switch(&home, &ring[0], NULL);
    return (double)(bench_now() - start) / (double)n;
}

static __attribute__((noinline)) char *next_of(char *value)
{
    return value + 1;
}

double indirect_call(void *count)
{
    static char *(*volatile next)(char *) = next_of;
    uint64_t n = *(uint64_t *)count, start = bench_now();
    char *value = NULL;

    for (uint64_t i = 0; i < n; i++)
        value = next(value);
    start = bench_now() - start;
    if ((uintptr_t)value != n)
        bench_wrong("calls");
    return (double)start / (double)n;
}
