/*
 * probe_fibers.c - a few fibers for a tracer to watch: "sleeper" sleeps and is
 * woken by its deadline, "opener" wakes "waiter". One worker, so that their
 * order is known. Says "done" at its end.
 */
#include <hyperion/hyperion.h>
#include <stdio.h>

static hy_event gate;

static void sleeper(void *arg)
{
    (void)arg;
    /* Longer than all that comes before its worker sleeps, with gdb's stops. */
    hy_fiber_sleep(hy_after(1000000000));
}

static void waiter(void *arg)
{
    (void)arg;
    hy_event_wait(&gate, HY_FOREVER);
}

static void opener(void *arg)
{
    (void)arg;
    hy_event_set(&gate);
}

static int spawn(hy_runtime *rt, void (*entry)(void *), const char *name)
{
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;

    o.name = name;
    return hy_fiber_spawn(rt, entry, NULL, &o, NULL);
}

int main(void)
{
    hy_runtime_options o = HY_RUNTIME_OPTIONS_INIT;
    hy_runtime *rt = NULL;

    o.workers = 1;
    if (hy_runtime_init(&rt, &o) != 0 || spawn(rt, sleeper, "sleeper") != 0 ||
        spawn(rt, waiter, "waiter") != 0 || spawn(rt, opener, "opener") != 0 ||
        hy_runtime_run(rt) != 0 || hy_runtime_destroy(rt) != 0)
        return 1;
    puts("done");
    return 0;
}
