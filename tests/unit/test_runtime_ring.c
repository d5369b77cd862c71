/*
 * test_runtime_ring.c - a ring whose sides are fibers: of one worker, of two,
 * and a fiber with a plain thread; many that push, beside threads; and a fiber
 * that is cancelled in its sleep.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>

#include <hyperion/fiber.h>
#include <hyperion/ring.h>
#include <hyperion/runtime.h>

#include "arch.h"
#include "fail.h"
#include "process.h"
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

/* --- many producers ------------------------------------------------------- */

enum { FIBERS = 4, THREADS = 2, EACH = 4000 };

struct pusher {
    struct stream *s;
    uint64_t id;
    int result;
    pthread_t thread;
};

static void push_own(void *arg)
{
    struct pusher *p = arg;

    for (uint64_t i = 0; i < EACH && p->result == 0; i++) {
        uint64_t item = p->id << 32 | i;

        p->result = hy_ring_push_mp_wait(p->s->ring, &item, HY_FOREVER);
    }
}

static void *push_own_in_thread(void *arg)
{
    push_own(arg);
    return NULL;
}

/* Each one's items in its order, and as many as all have. */
static void consume_many(void *arg)
{
    struct stream *s = arg;
    uint64_t next[FIBERS + THREADS] = {0}, item;

    while (s->popped < (uint64_t)s->pushed * EACH && s->end == 0) {
        s->end = hy_ring_pop_wait(s->ring, &item, HY_FOREVER);
        if (s->end == 0 && (item & UINT32_MAX) != next[item >> 32]++)
            s->end = -EILSEQ;
        s->popped++;
    }
}

static void check_many(unsigned workers, unsigned threads, size_t capacity,
                       unsigned flags)
{
    struct stream s = {.ring = ring_of(capacity, flags)};
    struct pusher p[FIBERS + THREADS] = {0};
    hy_runtime *rt = make(.workers = workers);

    s.pushed = (int)(FIBERS + threads);
    for (unsigned i = 0; i < FIBERS + threads; i++) {
        p[i].s = &s;
        p[i].id = i;
        if (i < FIBERS)
            spawn_on(rt, (int)(i % workers) + 1, push_own, &p[i]);
        else
            HY_CHECK_EQ(
                pthread_create(&p[i].thread, NULL, push_own_in_thread, &p[i]),
                0);
    }
    spawn_on(rt, 1, consume_many, &s);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    for (unsigned i = FIBERS; i < FIBERS + threads; i++)
        pthread_join(p[i].thread, NULL);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    HY_CHECK_EQ(s.end, 0);
    for (unsigned i = 0; i < FIBERS + threads; i++)
        HY_CHECK_EQ(p[i].result, 0);
    hy_ring_destroy(s.ring);
}

HY_TEST(runtime_ring, many_fibers_and_threads_push)
{
    check_many(1, 0, 1, HY_RING_LOCAL);
    check_many(1, 0, 16, 0);
    check_many(2, 0, 4, 0);
    check_many(1, THREADS, 16, 0);
    check_many(2, THREADS, 1, 0);
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

/* --- shared rings --------------------------------------------------------- */

/* Both sides on one worker: one that blocked it would wait for ever. */
HY_TEST(runtime_ring, shared_between_fibers)
{
    check_between_fibers(1, 16, HY_RING_SHARED);
    check_between_fibers(2, 64, HY_RING_SHARED);
}

HY_TEST(runtime_ring, shared_where_the_system_cannot_wait_for_several)
{
    hy_fail_syscall(449, 1, ENOSYS);
    check_between_fibers(1, 1024, HY_RING_SHARED);
    HY_CHECK_EQ(hy_fail_hits(), 1);
    hy_fail_none();
}

/* For the one that watches. Where contexts are threads, the fibers need one
   each, before it and after. */
static void refuse_thread(void)
{
    if (HY_ARCH_THREADS)
        hy_fail_at(HY_FAIL_PTHREAD_CREATE, 2, EAGAIN);
    else
        hy_fail_from(HY_FAIL_PTHREAD_CREATE, 1, EAGAIN);
}

HY_TEST(runtime_ring, shared_where_no_thread_can_be_had)
{
    refuse_thread();
    check_between_fibers(1, 4096, HY_RING_SHARED);
    hy_fail_none();
}

/* Whoever could not have one does not keep those of later runtimes. */
HY_TEST(runtime_ring, the_last_runtime_ends_the_thread_that_watches)
{
    refuse_thread();
    check_between_fibers(1, 16, HY_RING_SHARED);
    HY_CHECK(hy_fail_hits() > 0);
    hy_fail_none();
    HY_CHECK(!hyi_process.words.runs);
    check_between_fibers(1, 16, HY_RING_SHARED);
    HY_CHECK(!hyi_process.words.runs);
    HY_CHECK_EQ(hyi_process.words.users, 0);
}

HY_TEST(runtime_ring, shared_in_virtual_time)
{
    struct stream s = {.ring = ring_of(64, HY_RING_SHARED)};
    hy_runtime *rt = make(.workers = 1, .seed = 5);

    spawn_on(rt, 1, consume, &s);
    spawn_on(rt, 1, produce, &s);
    run_to_the_end(rt);
    check_stream(&s);
    hy_ring_destroy(s.ring);
}

/* More sleepers than one call waits for; each gets its item and no other. */
enum { MANY = 200 };

struct many {
    hy_ring *rings[MANY];
    _Atomic unsigned asleep, right;
};

static struct many many;

static void pop_own(void *arg)
{
    uint64_t item = 0, own = (uint64_t)(uintptr_t)arg;

    many.asleep++;
    if (hy_ring_pop_wait(many.rings[own], &item, HY_FOREVER) == 0 &&
        item == own)
        many.right++;
}

static void push_all(void *arg)
{
    (void)arg;
    while (many.asleep < MANY)
        hy_fiber_yield();
    hy_fiber_sleep(hy_after(20 * MS));
    for (uint64_t i = MANY; i-- > 0;)
        hy_ring_push(many.rings[i], &i);
}

HY_TEST(runtime_ring, many_fibers_sleep_on_shared_rings_of_their_own)
{
    hy_runtime *rt = make(.workers = 1, .flags = HY_RUNTIME_CLOSED);

    many.asleep = many.right = 0;
    for (uintptr_t i = 0; i < MANY; i++) {
        many.rings[i] = ring_of(1, HY_RING_SHARED);
        spawn_on(rt, 1, pop_own, (void *)i);
    }
    spawn_on(rt, 1, push_all, NULL);
    run_to_the_end(rt);
    HY_CHECK_EQ(many.right, MANY);
    for (unsigned i = 0; i < MANY; i++)
        hy_ring_destroy(many.rings[i]);
}

struct given_up {
    hy_ring *ring;
    int late, cancelled;
};

static void give_up(void *arg)
{
    struct given_up *g = arg;
    uint64_t item;

    g->late = hy_ring_pop_wait(g->ring, &item, hy_after(25 * MS));
    g->cancelled = hy_ring_pop_wait(g->ring, &item, HY_FOREVER);
}

static void cancel_later(void *arg)
{
    hy_fiber_sleep(hy_after(40 * MS));
    hy_fiber_cancel(*(hy_fiber *)arg);
}

HY_TEST(runtime_ring, a_sleep_on_a_shared_ring_ends_by_deadline_and_by_cancel)
{
    struct given_up g = {ring_of(1, HY_RING_SHARED), 0, 0};
    hy_runtime *rt = make(.workers = 1);
    hy_fiber f = spawn(rt, give_up, &g);
    uint64_t item = 3;

    spawn(rt, cancel_later, &f);
    run_to_the_end(rt);
    HY_CHECK_EQ(g.late, -ETIMEDOUT);
    HY_CHECK_EQ(g.cancelled, -ECANCELED);
    /* Its side is free for another sleep. */
    HY_CHECK_EQ(hy_ring_push(g.ring, &item), 0);
    HY_CHECK_EQ(hy_ring_pop_wait(g.ring, &item, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_ring_pop_wait(g.ring, &item, hy_after(MS)), -ETIMEDOUT);
    hy_ring_destroy(g.ring);
}

static void echo(void *arg)
{
    (*(unsigned *)arg)++;
    hy_fiber_sleep(hy_after(MS));
}

/* The other side is a process; and this worker has other fibers. */
HY_TEST(runtime_ring, from_a_process_to_a_fiber)
{
    struct stream s = {.ring = ring_of(8, HY_RING_SHARED)};
    hy_runtime *rt;
    unsigned ran = 0;
    int status;
    pid_t child = fork();

    if (child == 0) {
        hy_test_expect_no_leaks();
        produce(&s);
        _exit(s.pushed != 0);
    }
    rt = make(.workers = 1);
    spawn_on(rt, 1, consume, &s);
    for (int i = 0; i < 10; i++)
        spawn_on(rt, 1, echo, &ran);
    run_to_the_end(rt);
    while (waitpid(child, &status, 0) < 0)
        ;
    HY_CHECK_EQ(status, 0);
    HY_CHECK_EQ(ran, 10);
    check_stream(&s);
    hy_ring_destroy(s.ring);
}
