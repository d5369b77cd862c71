/*
 * test_runtime_ring.c - a ring whose sides are fibers: of one worker, of two,
 * and a fiber with a plain thread; and a fiber that is cancelled in its sleep.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>

#include <hyperion/fiber.h>
#include <hyperion/ring.h>
#include <hyperion/runtime.h>

#include "runtime_test.h"

enum { ITEMS = 20000 };

struct stream {
    hy_ring *ring;
    uint64_t popped;
    int pushed, end;
};

static hy_ring *ring_of(size_t capacity, unsigned flags)
{
    hy_ring_options o = HY_RING_OPTIONS_INIT;
    hy_ring *ring = NULL;

    o.item_bytes = sizeof(uint64_t);
    o.capacity = capacity;
    o.flags = flags;
    HY_CHECK_EQ(hy_ring_create(&ring, &o), 0);
    return ring;
}

static void produce(void *arg)
{
    struct stream *s = arg;

    for (uint64_t i = 0; i < ITEMS && s->pushed == 0; i++)
        s->pushed = hy_ring_push_wait(s->ring, &i, HY_FOREVER);
    hy_ring_close(s->ring);
}

static void consume(void *arg)
{
    struct stream *s = arg;
    uint64_t item;

    while ((s->end = hy_ring_pop_wait(s->ring, &item, HY_FOREVER)) == 0)
        if (item != s->popped++)
            return;
}

static void *consume_in_thread(void *arg)
{
    consume(arg);
    return NULL;
}

static void check_stream(const struct stream *s)
{
    HY_CHECK_EQ(s->pushed, 0);
    HY_CHECK_EQ(s->end, -EPIPE);
    HY_CHECK_EQ(s->popped, ITEMS);
}

static void check_between_fibers(unsigned workers, size_t capacity,
                                 unsigned flags)
{
    struct stream s = {.ring = ring_of(capacity, flags)};
    hy_runtime *rt = make(.workers = workers);

    spawn_on(rt, 1, consume, &s);
    spawn_on(rt, (int)workers, produce, &s);
    run_to_the_end(rt);
    check_stream(&s);
    hy_ring_destroy(s.ring);
}

HY_TEST(runtime_ring, between_fibers_of_one_worker)
{
    check_between_fibers(1, 1, HY_RING_LOCAL);
    check_between_fibers(1, 64, HY_RING_LOCAL);
    check_between_fibers(1, 64, 0);
}

HY_TEST(runtime_ring, between_fibers_of_two_workers)
{
    check_between_fibers(2, 1, 0);
    check_between_fibers(2, 64, 0);
}

HY_TEST(runtime_ring, from_a_fiber_to_a_thread)
{
    struct stream s = {.ring = ring_of(8, 0)};
    hy_runtime *rt = make(.workers = 1);
    pthread_t t;

    HY_CHECK_EQ(pthread_create(&t, NULL, consume_in_thread, &s), 0);
    spawn_on(rt, 1, produce, &s);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    pthread_join(t, NULL);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    check_stream(&s);
    hy_ring_destroy(s.ring);
}

static void check_marks(unsigned workers, unsigned flags)
{
    hy_ring_options o = HY_RING_OPTIONS_INIT;
    hy_ring_stats stats = {.size = sizeof(stats)};
    struct stream s = {0};
    hy_runtime *rt = make(.workers = workers);

    o.item_bytes = sizeof(uint64_t);
    o.capacity = 64;
    o.flags = flags;
    o.wake_items = 48;
    o.wake_room = 40;
    HY_CHECK_EQ(hy_ring_create(&s.ring, &o), 0);
    spawn_on(rt, 1, consume, &s);
    spawn_on(rt, (int)workers, produce, &s);
    run_to_the_end(rt);
    check_stream(&s);
    HY_CHECK_EQ(hy_ring_stats_get(s.ring, &stats), 0);
    if (workers == 1) /* each sleep passed 40 items at least */
        HY_CHECK(stats.push_parks + stats.pop_parks <= 2 * ITEMS / 40 + 2);
    hy_ring_destroy(s.ring);
}

HY_TEST(runtime_ring, marks_between_fibers)
{
    check_marks(1, HY_RING_LOCAL);
    check_marks(1, 0);
    check_marks(2, 0);
}

HY_TEST(runtime_ring, a_cancelled_fiber_leaves_the_ring_usable)
{
    struct stream s = {.ring = ring_of(8, 0)};
    hy_runtime *rt = make(.workers = 1);
    hy_ring_stats stats = {.size = sizeof(stats)};
    uint64_t item = 7;
    hy_fiber f;

    f = spawn_on(rt, 1, consume, &s);
    HY_CHECK_EQ(hy_runtime_start(rt), 0);
    do {
        HY_CHECK_EQ(hy_ring_stats_get(s.ring, &stats), 0);
    } while (stats.pop_parks == 0);
    HY_CHECK_EQ(hy_fiber_cancel(f), 0);
    HY_CHECK_EQ(hy_fiber_join(f, hy_after(60 * SECOND)), 0);
    HY_CHECK_EQ(s.end, -ECANCELED);
    HY_CHECK_EQ(hy_ring_push(s.ring, &item), 0);
    item = 0;
    HY_CHECK_EQ(hy_ring_pop(s.ring, &item), 0);
    HY_CHECK_EQ(item, 7);
    HY_CHECK_EQ(hy_runtime_stop(rt), 0);
    HY_CHECK_EQ(hy_runtime_wait(rt, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    hy_ring_destroy(s.ring);
}
