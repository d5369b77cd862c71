/*
 * 01_fibers.c - a kitchen: three cooks take orders from a shelf that a waiter
 * fills, until the kitchen closes.
 *
 * Shown: spawning fibers on two workers, a mutex and a condition between them,
 * deadlines, joining, cancelling, and what the runtime counted.
 */
#include <errno.h>
#include <stdio.h>

#include <hyperion/hyperion.h>

enum { ORDERS = 12, COOKS = 3, SHELF = 4 };

static struct {
    hy_mutex lock;
    hy_cond changed;
    int orders[SHELF], count; /* under lock */
} shelf;

static int cooked[COOKS];

/* Puts an order on the shelf, waiting while it is full. */
static int put(int order)
{
    int r = hy_mutex_lock(&shelf.lock, HY_FOREVER);

    if (r != 0)
        return r;
    while (r == 0 && shelf.count == SHELF)
        r = hy_cond_wait(&shelf.changed, &shelf.lock, HY_FOREVER);
    if (r == 0)
        shelf.orders[shelf.count++] = order;
    hy_cond_broadcast(&shelf.changed);
    hy_mutex_unlock(&shelf.lock);
    return r;
}

/* Takes one. -ETIMEDOUT when none comes in time, -ECANCELED at closing time. */
static int take(int *order, hy_deadline until)
{
    int r = hy_mutex_lock(&shelf.lock, until);

    if (r != 0)
        return r;
    while (r == 0 && shelf.count == 0)
        r = hy_cond_wait(&shelf.changed, &shelf.lock, until);
    if (r == 0)
        *order = shelf.orders[--shelf.count];
    hy_cond_broadcast(&shelf.changed);
    hy_mutex_unlock(&shelf.lock);
    return r;
}

static void wait_until_empty(void)
{
    hy_mutex_lock(&shelf.lock, HY_FOREVER);
    while (shelf.count > 0)
        hy_cond_wait(&shelf.changed, &shelf.lock, HY_FOREVER);
    hy_mutex_unlock(&shelf.lock);
}

static void cook(void *arg)
{
    int *dishes = arg, order, r;

    for (;;) {
        r = take(&order, hy_after(50 * 1000000ull));
        if (r == -ECANCELED)
            return;
        if (r == -ETIMEDOUT)
            continue;       /* nothing to do: look again */
        hy_fiber_shield(1); /* what was begun is finished */
        hy_fiber_sleep(hy_after(2 * 1000000ull));
        hy_fiber_shield(0);
        ++*dishes;
    }
}

static void waiter(void *arg)
{
    const hy_fiber *cooks = arg;

    for (int order = 1; order <= ORDERS; order++)
        put(order);
    wait_until_empty();
    for (int i = 0; i < COOKS; i++)
        hy_fiber_cancel(cooks[i]);
    for (int i = 0; i < COOKS; i++)
        hy_fiber_join(cooks[i], HY_FOREVER);
}

int main(void)
{
    hy_runtime_options options = HY_RUNTIME_OPTIONS_INIT;
    hy_runtime_stats stats = {.size = sizeof(stats)};
    hy_fiber cooks[COOKS];
    hy_runtime *rt;
    int r;

    options.workers = 2;
    options.name = "kitchen";
    r = hy_runtime_init(&rt, &options);
    if (r != 0) {
        fprintf(stderr, "no runtime: error %d\n", -r);
        return 1;
    }
    for (int i = 0; i < COOKS; i++)
        r = r != 0 ? r : hy_fiber_spawn(rt, cook, &cooked[i], NULL, &cooks[i]);
    r = r != 0 ? r : hy_fiber_spawn(rt, waiter, cooks, NULL, NULL);
    r = r != 0 ? r : hy_runtime_run(rt);
    for (int i = 0; i < COOKS; i++)
        printf("cook %d made %d dishes\n", i + 1, cooked[i]);
    hy_runtime_stats_get(rt, &stats);
    printf("%llu fibers on %u workers, %llu switches, %llu waits, "
           "%llu stacks\n",
           (unsigned long long)stats.spawned, stats.workers,
           (unsigned long long)stats.switches, (unsigned long long)stats.parks,
           (unsigned long long)stats.stacks);
    hy_runtime_destroy(rt);
    return r == 0 ? 0 : 1;
}
