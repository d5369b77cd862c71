/*
 * test_ring_marks.c - rings whose sleepers are woken at a mark: not before, not
 * too late, and whatever else ends a sleep: a close, a deadline, a flush, the
 * other side going to sleep.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>

#include <hyperion/ring.h>

#include "arch.h"
#include "hy_test.h"
#include "os.h"
#include "process.h"
#include "ring_layout.h"

/* Long against any scheduling delay; and what is waited for to see that nothing
 * happens. */
#define PATIENCE_NS UINT64_C(20000000000)
#define WHILE_NS    UINT64_C(20000000)

static hy_ring *make(size_t capacity, size_t wake_items, size_t wake_room)
{
    hy_ring_options o = HY_RING_OPTIONS_INIT;
    hy_ring *ring = NULL;

    o.item_bytes = 8;
    o.capacity = capacity;
    o.wake_items = wake_items;
    o.wake_room = wake_room;
    HY_CHECK_EQ(hy_ring_create(&ring, &o), 0);
    return ring;
}

static hy_ring_stats stats_of(const hy_ring *ring)
{
    hy_ring_stats s = {.size = sizeof(s)};

    hy_ring_stats_get(ring, &s);
    return s;
}

static void pass_time(uint64_t ns)
{
    static const _Atomic uint32_t never = 0;

    hyi_os_futex_wait(&never, 0, hyi_os_now() + ns, false);
}

static void push(hy_ring *ring, uint64_t item)
{
    HY_CHECK_EQ(hy_ring_push(ring, &item), 0);
}

static void pop(hy_ring *ring, uint64_t expected)
{
    uint64_t item = ~expected;

    HY_CHECK_EQ(hy_ring_pop(ring, &item), 0);
    HY_CHECK_EQ(item, expected);
}

/* --- one sleeper ---------------------------------------------------------- */

struct sleeper {
    hy_ring *ring;
    hy_deadline until;
    int result;
    uint64_t item, count; /* in the ring when it came back */
    _Atomic int is_back;
    pthread_t thread;
};

static void *sleep_for_items(void *arg)
{
    struct sleeper *s = arg;

    s->result = hy_ring_pop_wait(s->ring, &s->item, s->until);
    s->count = hy_ring_count(s->ring);
    atomic_store(&s->is_back, 1);
    return NULL;
}

static void *sleep_for_room(void *arg)
{
    struct sleeper *s = arg;

    s->result = hy_ring_push_wait(s->ring, &s->item, s->until);
    s->count = hy_ring_count(s->ring);
    atomic_store(&s->is_back, 1);
    return NULL;
}

/* Its thread is parked when this returns. */
static void put_to_sleep(struct sleeper *s, void *(*entry)(void *))
{
    if (s->until == 0)
        s->until = hy_after(PATIENCE_NS);
    HY_CHECK_EQ(hyi_os_thread_start(&s->thread, entry, s), 0);
    while (stats_of(s->ring).pop_parks + stats_of(s->ring).push_parks == 0)
        pass_time(WHILE_NS / 20);
    pass_time(WHILE_NS);
    HY_CHECK_EQ(atomic_load(&s->is_back), 0);
}

static void check_asleep(struct sleeper *s)
{
    pass_time(WHILE_NS);
    HY_CHECK_EQ(atomic_load(&s->is_back), 0);
}

static void check_result(struct sleeper *s, int result)
{
    pthread_join(s->thread, NULL);
    HY_CHECK_EQ(s->result, result);
    /* What took until the deadline was not woken. */
    HY_CHECK(hy_now() < s->until || result == -ETIMEDOUT);
}

HY_TEST(ring_marks, above_the_capacity_are_refused)
{
    hy_ring_options o = HY_RING_OPTIONS_INIT;
    hy_ring *ring = NULL;
    size_t bytes = 5;

    o.item_bytes = 8;
    o.capacity = 60;
    o.wake_items = 65;
    HY_CHECK_EQ(hy_ring_create(&ring, &o), -EINVAL);
    HY_CHECK_EQ(hy_ring_placement(&bytes, &o), -EINVAL);
    o.wake_items = 64; /* the capacity, rounded up */
    o.wake_room = 65;
    HY_CHECK_EQ(hy_ring_create(&ring, &o), -EINVAL);
    o.wake_room = SIZE_MAX;
    HY_CHECK_EQ(hy_ring_create(&ring, &o), -EINVAL);
    HY_CHECK(ring == NULL);
    HY_CHECK_EQ(bytes, 5);
    o.wake_room = 64;
    HY_CHECK_EQ(hy_ring_create(&ring, &o), 0);
    hy_ring_destroy(ring);
}

HY_TEST(ring_marks, a_consumer_is_woken_once_at_its_mark)
{
    struct sleeper s = {.ring = make(16, 4, 0)};

    put_to_sleep(&s, sleep_for_items);
    for (uint64_t i = 0; i < 3; i++)
        push(s.ring, i);
    check_asleep(&s);
    HY_CHECK_EQ(stats_of(s.ring).push_wakes, 0);
    push(s.ring, 3);
    check_result(&s, 0);
    HY_CHECK_EQ(s.item, 0);
    HY_CHECK_EQ(s.count, 3);
    push(s.ring, 4); /* nobody sleeps any more */
    HY_CHECK_EQ(stats_of(s.ring).push_wakes, 1);
    HY_CHECK_EQ(stats_of(s.ring).pop_parks, 1);
    hy_ring_destroy(s.ring);
}

HY_TEST(ring_marks, a_batch_over_the_mark_wakes)
{
    struct sleeper s = {.ring = make(16, 4, 0)};
    uint64_t items[7] = {10, 11, 12, 13, 14, 15, 16};
    size_t got;

    put_to_sleep(&s, sleep_for_items);
    HY_CHECK_EQ(hy_ring_push_n(s.ring, items, 3), 3);
    check_asleep(&s);
    HY_CHECK(hy_ring_reserve(s.ring, 4, &got) != NULL);
    hy_ring_commit(s.ring, 4);
    check_result(&s, 0);
    HY_CHECK_EQ(s.item, 10);
    HY_CHECK_EQ(stats_of(s.ring).push_wakes, 1);
    hy_ring_destroy(s.ring);
}

/* An item that is in already is taken at once, whatever the mark. */
HY_TEST(ring_marks, hold_no_side_that_need_not_sleep)
{
    hy_ring *ring = make(4, 4, 4);
    uint64_t item = 9;

    push(ring, 1);
    HY_CHECK_EQ(hy_ring_pop_wait(ring, &item, HY_FOREVER), 0);
    HY_CHECK_EQ(item, 1);
    for (uint64_t i = 0; i < 3; i++)
        push(ring, i);
    HY_CHECK_EQ(hy_ring_push_wait(ring, &item, HY_FOREVER), 0);
    pop(ring, 0);
    HY_CHECK_EQ(hy_ring_push_wait(ring, &item, HY_FOREVER), 0);
    HY_CHECK_EQ(stats_of(ring).pop_parks + stats_of(ring).push_parks, 0);
    hy_ring_destroy(ring);
}

HY_TEST(ring_marks, a_producer_is_woken_once_at_its_mark)
{
    struct sleeper s = {.ring = make(8, 0, 4), .item = 8};

    for (uint64_t i = 0; i < 8; i++)
        push(s.ring, i);
    put_to_sleep(&s, sleep_for_room);
    for (uint64_t i = 0; i < 3; i++)
        pop(s.ring, i);
    check_asleep(&s);
    HY_CHECK_EQ(stats_of(s.ring).pop_wakes, 0);
    pop(s.ring, 3);
    check_result(&s, 0);
    HY_CHECK_EQ(s.count, 5);
    HY_CHECK_EQ(stats_of(s.ring).pop_wakes, 1);
    HY_CHECK_EQ(stats_of(s.ring).push_parks, 1);
    for (uint64_t i = 4; i < 9; i++)
        pop(s.ring, i);
    hy_ring_destroy(s.ring);
}

HY_TEST(ring_marks, a_close_wakes_below_them)
{
    struct sleeper s = {.ring = make(8, 4, 0)};
    struct sleeper p = {.ring = make(8, 0, 4)};
    uint64_t item;

    put_to_sleep(&s, sleep_for_items);
    push(s.ring, 7);
    hy_ring_close(s.ring);
    check_result(&s, 0);
    HY_CHECK_EQ(s.item, 7);
    HY_CHECK_EQ(hy_ring_pop_wait(s.ring, &item, HY_FOREVER), -EPIPE);
    hy_ring_destroy(s.ring);

    for (uint64_t i = 0; i < 8; i++)
        push(p.ring, i);
    put_to_sleep(&p, sleep_for_room);
    pop(p.ring, 0);
    hy_ring_close(p.ring);
    check_result(&p, -EPIPE);
    hy_ring_destroy(p.ring);
}

HY_TEST(ring_marks, a_deadline_takes_what_is_there)
{
    struct sleeper s = {.ring = make(8, 4, 0)};
    struct sleeper p = {.ring = make(8, 0, 4), .item = 8};
    struct sleeper none = {.ring = make(8, 4, 0)};

    s.until = hy_after(50 * WHILE_NS);
    put_to_sleep(&s, sleep_for_items);
    push(s.ring, 7);
    pthread_join(s.thread, NULL);
    HY_CHECK_EQ(s.result, 0);
    HY_CHECK_EQ(s.item, 7);
    HY_CHECK(hy_now() >= s.until);
    HY_CHECK_EQ(stats_of(s.ring).push_wakes, 0);
    hy_ring_destroy(s.ring);

    for (uint64_t i = 0; i < 8; i++)
        push(p.ring, i);
    p.until = hy_after(50 * WHILE_NS);
    put_to_sleep(&p, sleep_for_room);
    pop(p.ring, 0);
    pthread_join(p.thread, NULL);
    HY_CHECK_EQ(p.result, 0);
    HY_CHECK(hy_now() >= p.until);
    hy_ring_destroy(p.ring);

    none.until = hy_after(25 * WHILE_NS);
    put_to_sleep(&none, sleep_for_items);
    check_result(&none, -ETIMEDOUT);
    hy_ring_destroy(none.ring);
}

HY_TEST(ring_marks, a_flush_wakes_below_them)
{
    struct sleeper s = {.ring = make(8, 4, 0)};

    put_to_sleep(&s, sleep_for_items);
    hy_ring_flush(s.ring); /* nothing is in */
    check_asleep(&s);
    HY_CHECK_EQ(stats_of(s.ring).push_wakes, 0);
    push(s.ring, 7);
    check_asleep(&s);
    hy_ring_flush(s.ring);
    check_result(&s, 0);
    HY_CHECK_EQ(s.item, 7);
    HY_CHECK_EQ(stats_of(s.ring).push_wakes, 1);
    hy_ring_flush(s.ring);
    HY_CHECK_EQ(stats_of(s.ring).push_wakes, 1);
    hy_ring_destroy(s.ring);
}

/* What was flushed before does not count for what comes later. */
HY_TEST(ring_marks, a_flush_is_for_what_is_in)
{
    struct sleeper s = {.ring = make(8, 2, 0)};

    push(s.ring, 1);
    hy_ring_flush(s.ring);
    pop(s.ring, 1);
    put_to_sleep(&s, sleep_for_items);
    push(s.ring, 2);
    check_asleep(&s);
    push(s.ring, 3);
    check_result(&s, 0);
    HY_CHECK_EQ(s.item, 2);
    hy_ring_destroy(s.ring);
}

/* A flush between a consumer's look and its sleep finds nobody to wake: the
 * consumer itself looks for it, or it would sleep below its mark. */
static void check_flush_before_the_sleep(unsigned flags)
{
    hy_ring_options o = HY_RING_OPTIONS_INIT;
    hy_ring *ring = NULL;
    uint64_t item = 0;

    o.item_bytes = 8;
    o.capacity = 8;
    o.wake_items = 4;
    o.flags = flags;
    HY_CHECK_EQ(hy_ring_create(&ring, &o), 0);
    HY_CHECK_EQ(hy_ring_pop(ring, &item), -EAGAIN);
    push(ring, 7);
    hy_ring_flush(ring);
    HY_CHECK_EQ(stats_of(ring).push_wakes, 0);
    HY_CHECK_EQ(hyi_ring_wait_items(ring, hy_after(5 * WHILE_NS)), 0);
    pop(ring, 7);
    /* That flush was for that item. */
    push(ring, 8);
    HY_CHECK_EQ(hyi_ring_wait_items(ring, hy_after(WHILE_NS)), -ETIMEDOUT);
    pop(ring, 8);
    hy_ring_destroy(ring);
}

HY_TEST(ring_marks, a_flush_before_the_sleep_is_seen)
{
    check_flush_before_the_sleep(0);
    check_flush_before_the_sleep(HY_RING_LOCAL); /* no spinning before */
    check_flush_before_the_sleep(HY_RING_SHARED);
}

/*
 * A producer that waits for more room than one slot, as that of records does,
 * with items in that are below the consumer's mark: each would wait for ever.
 */
static void *sleep_for_all_room(void *arg)
{
    struct sleeper *s = arg;

    do
        s->result = hyi_ring_wait_room(s->ring, 8, s->until);
    while (s->result == 0 && hy_ring_count(s->ring) != 0);
    atomic_store(&s->is_back, 1);
    return NULL;
}

HY_TEST(ring_marks, who_waits_for_room_wakes_the_consumer)
{
    struct sleeper s = {.ring = make(8, 4, 0)};
    struct sleeper p = {.ring = s.ring, .until = hy_after(PATIENCE_NS)};

    put_to_sleep(&s, sleep_for_items);
    push(s.ring, 7);
    check_asleep(&s);
    HY_CHECK_EQ(hyi_os_thread_start(&p.thread, sleep_for_all_room, &p), 0);
    check_result(&s, 0);
    HY_CHECK_EQ(s.item, 7);
    check_result(&p, 0);
    hy_ring_destroy(s.ring);
}

/* --- two sides that sleep on each other ----------------------------------- */

enum { ITEMS = 30000 };

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void *push_all(void *arg)
{
    struct sleeper *p = arg;
    uint64_t state = 77, start = hyi_os_now(), i;

    for (i = 0; i < ITEMS && p->result == 0; i++) {
        hy_deadline until = hy_after(PATIENCE_NS);

        p->ring->producer.spins = 1; /* parks almost at once */
        p->result = hy_ring_push_wait(p->ring, &i, until);
        if (hy_now() >= until)
            p->result = -ETIMEDOUT;
        /* Below the mark, and the consumer's turn. */
        if (random_next(&state) % 64 == 0)
            hy_ring_flush(p->ring);
        for (uint64_t k = random_next(&state) % 32; k != 0; k--)
            hy_arch_pause();
        if (i % 64 == 63 && hyi_os_now() - start > 2 * WHILE_NS * 25) {
            i++;
            break;
        }
    }
    p->count = i;
    hy_ring_close(p->ring);
    return NULL;
}

static void check_stream(size_t capacity, size_t wake_items, size_t wake_room)
{
    struct sleeper p = {.ring = make(capacity, wake_items, wake_room)};
    uint64_t item = 0, next = 0;
    hy_ring_stats s;
    int r;

    HY_CHECK_EQ(hyi_os_thread_start(&p.thread, push_all, &p), 0);
    for (;; next++) {
        hy_deadline until = hy_after(PATIENCE_NS);

        p.ring->consumer.spins = 1; /* parks almost at once */
        r = hy_ring_pop_wait(p.ring, &item, until);
        if (r != 0 || item != next || hy_now() >= until)
            break;
    }
    hy_ring_close(p.ring);
    pthread_join(p.thread, NULL);
    HY_CHECK_EQ(r, -EPIPE);
    HY_CHECK_EQ(p.result, 0);
    HY_CHECK_EQ(next, p.count);
    s = stats_of(p.ring);
    HY_CHECK(s.push_wakes <= s.pop_parks);
    HY_CHECK(s.pop_wakes <= s.push_parks);
    hy_ring_destroy(p.ring);
}

static void check_streams(void)
{
    check_stream(8, 8, 8);
    check_stream(8, 3, 5);
    check_stream(1, 1, 1);
    check_stream(64, 16, 48);
    check_stream(64, 0, 64);
}

HY_TEST(ring_marks, both_at_once_lose_no_wake)
{
    check_streams();
}

HY_TEST(ring_marks, both_at_once_lose_no_wake_with_fences)
{
    int probe = atomic_load(&hyi_process.barrier);

    atomic_store(&hyi_process.barrier, HYI_PROBE_NO);
    check_streams();
    atomic_store(&hyi_process.barrier, probe);
}

/* --- many producers ------------------------------------------------------- */

enum { PRODUCERS = 3, EACH = 5000 };

static void *push_many(void *arg)
{
    struct sleeper *p = arg;

    for (uint64_t i = 0; i < EACH && p->result == 0; i++) {
        hy_deadline until = hy_after(PATIENCE_NS);

        p->result = hy_ring_push_mp_wait(p->ring, &i, until);
        if (hy_now() >= until)
            p->result = -ETIMEDOUT;
        if (i % 7 == 0)
            hy_ring_flush(p->ring);
    }
    hy_ring_flush(p->ring);
    return NULL;
}

HY_TEST(ring_marks, hold_for_many_producers)
{
    hy_ring *ring = make(16, 5, 12);
    struct sleeper p[PRODUCERS] = {0};
    uint64_t item, taken = 0;
    int r = 0;

    for (int i = 0; i < PRODUCERS; i++) {
        p[i].ring = ring;
        HY_CHECK_EQ(hyi_os_thread_start(&p[i].thread, push_many, &p[i]), 0);
    }
    while (taken < PRODUCERS * EACH && r == 0) {
        hy_deadline until = hy_after(PATIENCE_NS);

        r = hy_ring_pop_wait(ring, &item, until);
        if (hy_now() >= until)
            r = -ETIMEDOUT;
        taken += r == 0;
    }
    hy_ring_close(ring);
    for (int i = 0; i < PRODUCERS; i++) {
        pthread_join(p[i].thread, NULL);
        HY_CHECK_EQ(p[i].result, 0);
    }
    HY_CHECK_EQ(r, 0);
    hy_ring_destroy(ring);
}
