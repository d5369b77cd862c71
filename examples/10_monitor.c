/*
 * 10_monitor.c - showing from outside what runs inside.
 *
 * Some fibers pass numbers through a ring and touch paged memory; a monitor
 * watches them. The program prints what a snapshot says and ends, or goes on
 * for as many seconds as its argument says, so that there is time for
 *
 *      $ hyperion-top example
 */
#include <hyperion/hyperion.h>

#include <stdio.h>
#include <stdlib.h>

struct shop {
    hy_ring *ring;
    hy_pager *pager;
    hy_deadline until;
    uint64_t sum;
};

static void produce(void *arg)
{
    struct shop *shop = arg;
    uint64_t n = 0;

    while (hy_now() < shop->until) {
        n++;
        if (hy_ring_push_wait(shop->ring, &n, shop->until) != 0)
            break;
        if (n % 1000 == 0)
            hy_fiber_sleep(hy_after(1000000));
    }
    hy_ring_close(shop->ring);
}

static void consume(void *arg)
{
    struct shop *shop = arg;
    uint8_t *memory = hy_pager_base(shop->pager);
    uint64_t n;

    while (hy_ring_pop_wait(shop->ring, &n, HY_FOREVER) == 0) {
        shop->sum += n;
        memory[n * 64 % (64 << 20)]++;
    }
}

static void idle(void *arg)
{
    const struct shop *shop = arg;

    hy_fiber_sleep(shop->until);
}

static int set_up(struct shop *shop, hy_runtime **rt, hy_monitor **m)
{
    hy_monitor_options watch = HY_MONITOR_OPTIONS_INIT;
    hy_runtime_options run = HY_RUNTIME_OPTIONS_INIT;
    hy_ring_options ring = HY_RING_OPTIONS_INIT;
    int r;

    watch.name = "example";
    run.name = "shop";
    run.workers = 1;
    run.flags = HY_RUNTIME_MEASURE; /* how long fibers run, wait, are late */
    ring.item_bytes = sizeof(uint64_t);
    ring.capacity = 256;
    if ((r = hy_runtime_init(rt, &run)) != 0 ||
        (r = hy_ring_create(&shop->ring, &ring)) != 0 ||
        (r = hy_pager_reserve(&shop->pager, 1ull << 30, NULL)) != 0 ||
        (r = hy_monitor_create(m, &watch)) != 0 ||
        (r = hy_monitor_watch(*m, HY_MONITOR_RUNTIME, *rt, NULL)) != 0 ||
        (r = hy_monitor_watch(*m, HY_MONITOR_RING, shop->ring, "work")) != 0 ||
        (r = hy_monitor_watch(*m, HY_MONITOR_PAGER, shop->pager, "store")) != 0)
        return r;
    return 0;
}

static void start(struct shop *shop, hy_runtime *rt)
{
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;

    o.name = "producer";
    hy_fiber_spawn(rt, produce, shop, &o, NULL);
    o.name = "consumer";
    hy_fiber_spawn(rt, consume, shop, &o, NULL);
    o.name = "idle";
    for (int i = 0; i < 3; i++)
        hy_fiber_spawn(rt, idle, shop, &o, NULL);
}

int main(int argc, char **argv)
{
    static hy_monitor_sample s; /* too large for a stack */
    double seconds = argc > 1 ? atof(argv[1]) : 0.1;
    struct shop shop = {0};
    hy_runtime *rt;
    hy_monitor *m;
    int r;

    r = set_up(&shop, &rt, &m);
    if (r != 0) {
        fprintf(stderr, "10_monitor: error %d (does it run already?)\n", r);
        return 1;
    }
    shop.until = hy_after((uint64_t)(seconds * 1e9));
    start(&shop, rt);
    hy_runtime_run(rt);

    s.size = sizeof(s);
    hy_monitor_snapshot(m, &s);
    printf("ring %s: %llu pushed, %llu popped\n", s.rings[0].name,
           (unsigned long long)s.rings[0].pushed,
           (unsigned long long)s.rings[0].popped);
    printf("runtime %s: %llu fibers ended after %llu switches\n",
           s.runtimes[0].name, (unsigned long long)s.runtimes[0].ended,
           (unsigned long long)s.runtimes[0].switches);
    printf("pager %s (%s): %llu KiB resident of %llu MiB reserved\n",
           s.pagers[0].name, s.pagers[0].mechanism,
           (unsigned long long)s.pagers[0].resident_bytes >> 10,
           (unsigned long long)s.pagers[0].reserved_bytes >> 20);

    hy_monitor_destroy(m); /* before what it watches */
    hy_pager_release(shop.pager);
    hy_ring_destroy(shop.ring);
    hy_runtime_destroy(rt);
    return 0;
}
