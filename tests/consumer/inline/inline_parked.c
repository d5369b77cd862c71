/*
 * inline_parked.c - a context for a debugger to look at (inline_all.sh): first
 * stopped while it runs, then while it is suspended.
 */
#include <hyperion/inline/context.h>

static hy_inline_context home, parked;
static char stack[64 << 10] __attribute__((aligned(16)));

__attribute__((noinline)) void stop_here(void)
{
    __asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) static void inner_work(int depth)
{
    stop_here();
    hy_inline_context_switch(&parked, &home, 0);
    __asm__ volatile("" ::"r"(depth) : "memory");
}

__attribute__((noinline)) static void outer_work(int depth)
{
    inner_work(depth + 1);
    __asm__ volatile("" ::"r"(depth) : "memory");
}

static void begin(void *arg, void *value)
{
    (void)arg;
    (void)value;
    for (;;)
        outer_work(1);
}

int main(void)
{
    if (hy_inline_context_make(&parked, stack, sizeof(stack), begin, 0) != 0)
        return 1;
    hy_inline_context_switch(&home, &parked, 0);
    stop_here();
    return 0;
}
