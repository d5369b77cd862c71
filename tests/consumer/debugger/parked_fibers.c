/*
 * parked_fibers.c - a program for gdb to look at: fibers that wait in several
 * ways, one that only yields, one that runs beside the one that stops, one that
 * has not started, and as many more as the first argument says. Others: "abort"
 * dumps core where it would stop, "signal" stops in a signal handler that has a
 * stack of its own, "unguarded" makes stacks without guards, "dense" ones in
 * huge pages. Ends them all and says so.
 */
#include <hyperion/hyperion.h>

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static hy_runtime *rt;
static hy_mutex mutex;
static hy_event gate;
static atomic_int parked, spinning, over, ran;
static hy_fiber ended;
static unsigned flags;
static _Thread_local volatile int own; /* of the thread: 100 + its worker */

__attribute__((noinline)) void stop_here(void)
{
    __asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) int descend(int depth, int *under)
{
    volatile int here = depth * 11;

    if (depth == 0) {
        parked++;
        hy_event_wait(&gate, HY_FOREVER);
    } else {
        descend(depth - 1, under);
    }
    *under += here;
    return here;
}

static void deep(void *arg)
{
    int under = 0;

    (void)arg;
    descend(3, &under);
    ran += under == 66;
}

static void locks(void *arg)
{
    (void)arg;
    parked++;
    hy_mutex_lock(&mutex, HY_FOREVER);
    hy_mutex_unlock(&mutex);
    ran++;
}

static void sleeps(void *arg)
{
    parked++;
    hy_fiber_sleep(hy_after(3600000000000u));
    ran += hy_fiber_check() != 0 && arg == NULL;
}

static void ends(void *arg)
{
    *(hy_fiber *)arg = hy_fiber_self();
}

static void waits(void *arg)
{
    (void)arg;
    parked++;
    hy_event_wait(&gate, HY_FOREVER);
    ran++;
}

__attribute__((noinline)) void spin(int number)
{
    spinning = number;
    while (!over)
        __asm__ volatile("" ::: "memory");
}

static void spins(void *arg)
{
    (void)arg;
    own = 101;
    spin(1);
    ran++;
}

__attribute__((noinline)) void turn(volatile int *turns)
{
    hy_fiber_yield();
    ++*turns;
}

static void turns(void *arg)
{
    volatile int count = 0;

    (void)arg;
    while (!over)
        turn(&count);
    ran += count >= 20;
}

static hy_fiber spawn(void (*entry)(void *), void *arg, const char *name,
                      int worker)
{
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;
    hy_fiber fiber = {0};

    o.name = name;
    o.worker = worker;
    o.stack_bytes = 16384;
    o.flags = flags;
    if (hy_fiber_spawn(rt, entry, arg, &o, &fiber) != 0)
        abort();
    return fiber;
}

struct order {
    int more, dump, signal;
};

static void handle(int number)
{
    stop_here();
    own = own + number - number; /* it returns here */
}

static void stop_in_handler(void)
{
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_ONSTACK};
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};

    if (sigaltstack(&stack, NULL) != 0 ||
        sigaction(SIGUSR1, &action, NULL) != 0)
        abort();
    raise(SIGUSR1);
    stack.ss_flags = SS_DISABLE;
    sigaltstack(&stack, NULL);
    free(stack.ss_sp);
}

static void leads(void *arg)
{
    struct order *order = arg;
    hy_fiber sleeper;

    own = 100;
    hy_mutex_lock(&mutex, HY_FOREVER);
    spawn(ends, &ended, NULL, 1);
    spawn(deep, NULL, "deep", 1);
    spawn(locks, NULL, "locks", 1);
    sleeper = spawn(sleeps, NULL, "sleeps", 1);
    spawn(spins, NULL, "spins", 2);
    for (int i = 0; i < order->more; i++)
        spawn(waits, NULL, i % 2 ? NULL : "one of many", 1);
    while (parked < 3 + order->more || !spinning || ended.id == 0)
        hy_fiber_yield();
    spawn(turns, NULL, "turns", 1);
    for (int i = 0; i < 20; i++) /* some of them plain */
        hy_fiber_yield();
    spawn(waits, order, "unstarted", 1);
    if (order->dump)
        abort();
    if (order->signal)
        stop_in_handler();
    else
        stop_here();
    hy_fiber_yield();
    over = 1;
    hy_mutex_unlock(&mutex);
    hy_fiber_cancel(sleeper);
    hy_event_set(&gate);
    ran++;
}

int main(int argc, char **argv)
{
    struct order order = {argc > 1 ? atoi(argv[1]) : 0, 0, 0};
    hy_runtime_options o = HY_RUNTIME_OPTIONS_INIT;

    for (int i = 2; i < argc; i++) {
        order.dump |= strcmp(argv[i], "abort") == 0;
        order.signal |= strcmp(argv[i], "signal") == 0;
        if (strcmp(argv[i], "unguarded") == 0)
            flags = HY_FIBER_UNGUARDED;
        if (strcmp(argv[i], "dense") == 0)
            flags = HY_FIBER_HUGE_STACK;
    }

    o.workers = 2;
    o.name = "looked at";
    if (hy_runtime_init(&rt, &o) != 0)
        return 1;
    spawn(leads, &order, "leads", 1);
    if (hy_runtime_run(rt) != 0 || hy_runtime_destroy(rt) != 0)
        return 2;
    printf("%d of %d ran to their end\n", ran, 7 + order.more);
    return ran != 7 + order.more;
}
