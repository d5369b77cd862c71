/*
 * test_ring_many.c - many producers on one ring: what each call says, nothing
 * lost and nothing twice, each producer's order, batches in one piece, sleeping
 * for room and closing with many asleep, a producer that is stopped in the
 * middle of its turn, and a child of fork.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

#include <hyperion/ring.h>

#include "arch.h"
#include "fail.h"
#include "hy_test.h"
#include "os.h"
#include "park.h"
#include "process.h"
#include "ring_layout.h"

/* Long against any scheduling delay, short against a test's patience. */
#define PATIENCE_NS UINT64_C(20000000000)
#define STRESS_NS   UINT64_C(1000000000)

enum { PRODUCERS_MOST = 6 };

static hy_ring *make(size_t item_bytes, size_t capacity, unsigned flags)
{
    hy_ring_options o = HY_RING_OPTIONS_INIT;
    hy_ring *ring = NULL;

    o.item_bytes = item_bytes;
    o.capacity = capacity;
    o.flags = flags;
    HY_CHECK_EQ(hy_ring_create(&ring, &o), 0);
    return ring;
}

static hy_ring_stats stats_of(const hy_ring *ring)
{
    hy_ring_stats s = {.size = sizeof(s)};

    hy_ring_stats_get(ring, &s);
    return s;
}

static void nap(uint64_t ns)
{
    static const _Atomic uint32_t never = 0;

    hyi_os_futex_wait(&never, 0, hyi_os_now() + ns, false);
}

/* --- what each call says -------------------------------------------------- */

HY_TEST(ring_many, one_by_one_until_full_and_closed)
{
    static const unsigned flags[] = {0, HY_RING_LOCAL};

    for (int f = 0; f < 2; f++) {
        hy_ring *ring = make(8, 4, flags[f]);
        uint64_t item = 0, out;

        for (uint64_t round = 0; round < 5; round++) {
            for (uint64_t i = 0; i < 4; i++, item++)
                HY_CHECK_EQ(hy_ring_push_mp(ring, &item), 0);
            HY_CHECK_EQ(hy_ring_push_mp(ring, &item), -EAGAIN);
            HY_CHECK_EQ(hy_ring_push_mp_wait(ring, &item, HY_NOW), -ETIMEDOUT);
            HY_CHECK_EQ(hy_ring_pop(ring, &out), 0);
            HY_CHECK_EQ(hy_ring_push_mp_wait(ring, &item, HY_NOW), 0);
            item++;
            for (uint64_t i = 0; i < 4; i++) {
                HY_CHECK_EQ(hy_ring_pop(ring, &out), 0);
                HY_CHECK_EQ(out, item - 4 + i);
            }
            HY_CHECK_EQ(hy_ring_pop(ring, &out), -EAGAIN);
        }
        HY_CHECK_EQ(hy_ring_push_mp(ring, &item), 0);
        hy_ring_close(ring);
        HY_CHECK_EQ(hy_ring_push_mp(ring, &item), -EPIPE);
        HY_CHECK_EQ(hy_ring_push_mp_wait(ring, &item, HY_FOREVER), -EPIPE);
        HY_CHECK_EQ(hy_ring_push_mp_n(ring, &item, 1), 0);
        HY_CHECK_EQ(hy_ring_pop(ring, &out), 0);
        HY_CHECK_EQ(hy_ring_pop(ring, &out), -EPIPE);
        HY_CHECK_EQ(stats_of(ring).pushed, 26);
        hy_ring_destroy(ring);
    }
}

HY_TEST(ring_many, batches_go_in_as_far_as_there_is_room)
{
    hy_ring *ring = make(8, 8, 0);
    uint64_t items[8] = {1, 2, 3, 4, 5, 6, 7, 8}, out[8];

    HY_CHECK_EQ(hy_ring_push_mp_n(ring, items, 0), 0);
    HY_CHECK_EQ(hy_ring_push_mp_n(ring, items, 5), 5);
    HY_CHECK_EQ(hy_ring_push_mp_n(ring, items + 5, 3), 3);
    HY_CHECK_EQ(hy_ring_push_mp_n(ring, items, 1), 0);
    HY_CHECK_EQ(hy_ring_pop_n(ring, out, 3), 3);
    HY_CHECK_EQ(hy_ring_push_mp_n(ring, items, 8), 3);
    HY_CHECK_EQ(hy_ring_pop_n(ring, out, 8), 8);
    for (uint64_t i = 0; i < 8; i++)
        HY_CHECK_EQ(out[i], i < 5 ? i + 4 : i - 4);
    hy_ring_destroy(ring);
}

HY_TEST(ring_many, items_of_any_size_and_placed_rings)
{
    static const size_t sizes[] = {1, 3, 8, 24, 200};
    static _Alignas(128) unsigned char memory[4096];

    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        hy_ring_options o = HY_RING_OPTIONS_INIT;
        unsigned char in[200], out[200] = {0};
        hy_ring *ring = NULL;

        o.item_bytes = sizes[s];
        o.capacity = 2;
        HY_CHECK_EQ(hy_ring_init(&ring, memory, sizeof(memory), &o), 0);
        for (int i = 0; i < 5; i++) {
            memset(in, i + 1, sizeof(in));
            HY_CHECK_EQ(hy_ring_push_mp(ring, in), 0);
            HY_CHECK_EQ(hy_ring_pop(ring, out), 0);
            HY_CHECK_EQ(memcmp(in, out, sizes[s]), 0);
        }
        hy_ring_destroy(ring);
    }
}

HY_TEST(ring_many, overwriting_drops_the_oldest)
{
    hy_ring *ring = make(8, 4, HY_RING_OVERWRITE);
    uint64_t out, i = 0;

    for (; i < 6; i++)
        HY_CHECK_EQ(hy_ring_push_mp(ring, &i), 0);
    HY_CHECK_EQ(hy_ring_push_mp_n(ring, (uint64_t[]){6, 7}, 2), 2);
    HY_CHECK_EQ(hy_ring_push_mp_wait(ring, &(uint64_t){8}, HY_FOREVER), 0);
    for (i = 5; i < 9; i++) {
        HY_CHECK_EQ(hy_ring_pop(ring, &out), 0);
        HY_CHECK_EQ(out, i);
    }
    HY_CHECK_EQ(hy_ring_pop(ring, &out), -EAGAIN);
    HY_CHECK_EQ(stats_of(ring).lost, 5);
    hy_ring_destroy(ring);
}

/* One at a time, with a hand-over: the two kinds of call may follow another. */
HY_TEST(ring_many, single_and_many_after_one_another)
{
    hy_ring *ring = make(8, 4, 0);
    uint64_t out, i;

    for (i = 0; i < 40; i++) {
        HY_CHECK_EQ(i % 2 ? hy_ring_push(ring, &i) : hy_ring_push_mp(ring, &i),
                    0);
        HY_CHECK_EQ(hy_ring_pop(ring, &out), 0);
        HY_CHECK_EQ(out, i);
    }
    hy_ring_destroy(ring);
}

/* --- many at once --------------------------------------------------------- */

/* An item: who pushed it (8 bits), the number of its batch's items that follow
 * (8), and its own number (48). */
static uint64_t item_of(unsigned id, unsigned follow, uint64_t number)
{
    return (uint64_t)id << 56 | (uint64_t)follow << 48 | number;
}

struct producer {
    struct crowd *crowd;
    unsigned id;
    uint64_t pushed;
    int result;
    pthread_t thread;
};

struct crowd {
    hy_ring *ring;
    unsigned producers;
    uint64_t each;     /* items of each, at the most */
    bool waits;        /* else tries again */
    bool batches;      /* now and then */
    _Atomic bool stop; /* it takes too long here */
    _Atomic unsigned running, begun;
    struct producer producer[PRODUCERS_MOST];
};

static int push_one(struct producer *p)
{
    uint64_t item = item_of(p->id, 0, p->pushed);
    hy_deadline until;
    int r;

    if (!p->crowd->waits)
        return hy_ring_push_mp(p->crowd->ring, &item);
    until = hy_after(PATIENCE_NS);
    r = hy_ring_push_mp_wait(p->crowd->ring, &item, until);
    /* What took so long was no success: a wake was lost. */
    return r == 0 && hy_now() >= until ? -ETIMEDOUT : r;
}

static void push_batch(struct producer *p)
{
    uint64_t items[5];
    size_t n, done;

    n = 1 + p->pushed % 5;
    if (n > p->crowd->each - p->pushed)
        n = (size_t)(p->crowd->each - p->pushed);
    for (size_t i = 0; i < n; i++)
        items[i] = item_of(p->id, (unsigned)(n - i - 1), p->pushed + i);
    /* What did not fit is pushed later, as another batch. */
    done = hy_ring_push_mp_n(p->crowd->ring, items, n);
    p->pushed += done;
    if (done == 0)
        sched_yield();
}

static void *push_all(void *arg)
{
    struct producer *p = arg;
    struct crowd *c = p->crowd;

    /* All at once: a few thousand pushes take less than a thread's start. */
    atomic_fetch_add(&c->begun, 1);
    while (atomic_load(&c->begun) < c->producers)
        sched_yield();
    while (p->pushed < c->each && !atomic_load(&c->stop) && p->result == 0) {
        if (c->batches && p->pushed % 3 == 0) {
            push_batch(p);
            continue;
        }
        p->result = push_one(p);
        if (p->result == 0)
            p->pushed++;
        if (p->result == -EAGAIN) {
            p->result = 0;
            sched_yield();
        }
    }
    if (atomic_fetch_sub(&c->running, 1) == 1)
        hy_ring_close(c->ring);
    return NULL;
}

static void start(struct crowd *c, void *(*entry)(void *))
{
    atomic_store(&c->running, c->producers);
    for (unsigned i = 0; i < c->producers; i++) {
        struct producer *p = &c->producer[i];

        p->crowd = c;
        p->id = i;
        HY_CHECK_EQ(hyi_os_thread_start(&p->thread, entry, p), 0);
    }
}

static void join(struct crowd *c)
{
    for (unsigned i = 0; i < c->producers; i++)
        pthread_join(c->producer[i].thread, NULL);
}

/* An item must be its producer's next. */
static void check_item(uint64_t item, uint64_t *next)
{
    unsigned id = (unsigned)(item >> 56);

    HY_CHECK(id < PRODUCERS_MOST);
    HY_CHECK_EQ(item << 16 >> 16, next[id]);
    next[id]++;
}

static int pop_somehow(struct crowd *c, uint64_t way, uint64_t *items,
                       size_t *count)
{
    const uint64_t *span;

    if (way % 4 == 0) {
        *count = hy_ring_pop_n(c->ring, items, 16);
        return *count != 0 ? 0 : -EAGAIN;
    }
    if (way % 4 == 1) {
        span = hy_ring_peek(c->ring, count);
        if (*count > 16)
            *count = 16;
        for (size_t i = 0; i < *count; i++)
            items[i] = span[i];
        hy_ring_release(c->ring, *count);
        return *count != 0 ? 0 : -EAGAIN;
    }
    *count = 1;
    return hy_ring_pop_wait(c->ring, items, hy_after(PATIENCE_NS));
}

static void check_crowd(struct crowd *c)
{
    uint64_t next[PRODUCERS_MOST] = {0}, items[16], total = 0;
    uint64_t begin = hyi_os_now();
    hy_ring_stats s;
    size_t n;
    int r;

    start(c, push_all);
    for (uint64_t way = 0;; way++) {
        r = pop_somehow(c, way, items, &n);
        if (r == -EPIPE || r == -ETIMEDOUT)
            break;
        for (size_t i = 0; r == 0 && i < n; i++, total++)
            check_item(items[i], next);
        if (hyi_os_now() - begin > STRESS_NS)
            atomic_store(&c->stop, true);
    }
    join(c);
    HY_CHECK_EQ(r, -EPIPE);
    for (unsigned i = 0; i < c->producers; i++) {
        HY_CHECK_EQ(c->producer[i].result, 0);
        HY_CHECK_EQ(next[i], c->producer[i].pushed);
    }
    s = stats_of(c->ring);
    HY_CHECK_EQ(s.pushed, total);
    HY_CHECK_EQ(s.popped, total);
    HY_CHECK(s.push_wakes <= s.pop_parks);
    HY_CHECK(s.pop_wakes <= s.push_parks);
    HY_CHECK_EQ(c->ring->many.front, 0);
    HY_CHECK_EQ(atomic_load(&c->ring->writer), HYI_RING_CLOSED);
    hy_ring_destroy(c->ring);
}

static void check_crowds(uint64_t each)
{
    static const size_t capacities[] = {1, 4, 64, 1024};

    for (unsigned n = 1; n <= PRODUCERS_MOST; n += n)
        for (size_t k = 0; k < 4; k++)
            for (int way = 0; way < 4; way++) {
                struct crowd c = {.producers = n, .each = each};

                c.waits = way & 1;
                c.batches = way & 2;
                c.ring = make(8, capacities[k], 0);
                check_crowd(&c);
            }
}

HY_TEST(ring_many, nothing_lost_and_each_in_order)
{
    check_crowds(10000);
}

HY_TEST(ring_many, nothing_lost_and_each_in_order_with_fences)
{
    int probe = atomic_load(&hyi_process.barrier);

    atomic_store(&hyi_process.barrier, HYI_PROBE_NO);
    check_crowds(1000);
    atomic_store(&hyi_process.barrier, probe);
}

/* With room for all, a batch goes in whole and comes out in one piece. */
static void *push_whole_batches(void *arg)
{
    struct producer *p = arg;
    uint64_t items[5];

    while (p->pushed < p->crowd->each) {
        for (unsigned i = 0; i < 5; i++)
            items[i] = item_of(p->id, 4 - i, p->pushed + i);
        p->pushed += 5;
        if (hy_ring_push_mp_n(p->crowd->ring, items, 5) != 5)
            p->result = 1;
    }
    return NULL;
}

HY_TEST(ring_many, a_batch_stays_in_one_piece)
{
    struct crowd c = {.producers = 4, .each = 1000, .ring = make(8, 4096, 0)};
    uint64_t item, before = 0;
    unsigned pieces = 0;

    start(&c, push_whole_batches);
    while (pieces < 4000) {
        if (hy_ring_pop(c.ring, &item) != 0) {
            sched_yield();
            continue;
        }
        if ((before >> 48 & 255) != 0)
            HY_CHECK_EQ(item, item_of((unsigned)(before >> 56),
                                      (unsigned)(before >> 48 & 255) - 1,
                                      (before << 16 >> 16) + 1));
        before = item;
        pieces++;
    }
    join(&c);
    for (int i = 0; i < 4; i++)
        HY_CHECK_EQ(c.producer[i].result, 0);
    hy_ring_destroy(c.ring);
}

/* What was accepted is delivered, what was refused is not. */
static void *push_until_closed(void *arg)
{
    struct producer *p = arg;

    do {
        p->result = push_one(p);
        p->pushed += p->result == 0;
        if (p->result == -EAGAIN)
            sched_yield();
    } while (p->result == 0 || p->result == -EAGAIN);
    return NULL;
}

static void close_against_pushes(bool waits, uint64_t taken_first)
{
    struct crowd c = {.producers = 3, .waits = waits, .ring = make(8, 4, 0)};
    uint64_t next[PRODUCERS_MOST] = {0}, item;
    int r;

    start(&c, push_until_closed);
    for (uint64_t i = 0; i < taken_first; i++) {
        HY_CHECK_EQ(hy_ring_pop_wait(c.ring, &item, hy_after(PATIENCE_NS)), 0);
        check_item(item, next);
    }
    hy_ring_close(c.ring);
    while ((r = hy_ring_pop(c.ring, &item)) == 0)
        check_item(item, next);
    HY_CHECK_EQ(r, -EPIPE);
    join(&c);
    for (unsigned i = 0; i < c.producers; i++) {
        HY_CHECK_EQ(c.producer[i].result, -EPIPE);
        HY_CHECK_EQ(c.producer[i].pushed, next[i]);
    }
    HY_CHECK_EQ(hy_ring_pop(c.ring, &item), -EPIPE);
    HY_CHECK_EQ(c.ring->many.front, 0);
    hy_ring_destroy(c.ring);
}

HY_TEST(ring_many, a_close_against_pushes_in_flight_loses_nothing)
{
    uint64_t begin = hyi_os_now();

    for (unsigned i = 0; i < 600 && hyi_os_now() - begin < STRESS_NS; i++)
        close_against_pushes(i % 2, i * 7 % 40);
}

/* --- waiting for room ----------------------------------------------------- */

static void *push_one_waiting(void *arg)
{
    struct producer *p = arg;
    uint64_t item = item_of(p->id, 0, 0);

    p->result =
        hy_ring_push_mp_wait(p->crowd->ring, &item, hy_after(p->crowd->each));
    return NULL;
}

/* Until count producers wait; the front is asleep, too. */
static void until_waiting(hy_ring *ring, unsigned count)
{
    while (stats_of(ring).push_parks < count ||
           atomic_load(&ring->writer) <= HYI_RING_CLOSED)
        nap(1000000);
}

static struct crowd *waiting(struct crowd *c, unsigned count, uint64_t patience)
{
    uint64_t item = 99;

    *c = (struct crowd){.producers = count, .each = patience};
    c->ring = make(8, 1, 0);
    HY_CHECK_EQ(hy_ring_push_mp(c->ring, &item), 0);
    start(c, push_one_waiting);
    if (patience == PATIENCE_NS)
        until_waiting(c->ring, count);
    return c;
}

HY_TEST(ring_many, each_that_waits_wakes_the_next)
{
    struct crowd c;
    uint64_t item, seen = 0, begin;

    waiting(&c, 4, PATIENCE_NS);
    begin = hy_now();
    for (int i = 0; i < 5; i++) {
        HY_CHECK_EQ(hy_ring_pop_wait(c.ring, &item, hy_after(PATIENCE_NS)), 0);
        seen |= UINT64_C(1) << (i == 0 ? 63 : item >> 56);
    }
    join(&c);
    HY_CHECK(hy_now() - begin < PATIENCE_NS);
    HY_CHECK_EQ(seen, UINT64_C(1) << 63 | 15);
    for (int i = 0; i < 4; i++)
        HY_CHECK_EQ(c.producer[i].result, 0);
    HY_CHECK_EQ(c.ring->many.front, 0);
    hy_ring_destroy(c.ring);
}

/* Room for all of them comes by one wake; the rest is passed on. */
HY_TEST(ring_many, one_wake_is_enough_for_all)
{
    struct crowd c = {.producers = 4, .each = PATIENCE_NS};
    uint64_t items[8] = {0};

    c.ring = make(8, 8, 0);
    HY_CHECK_EQ(hy_ring_push_mp_n(c.ring, items, 8), 8);
    start(&c, push_one_waiting);
    until_waiting(c.ring, 4);
    HY_CHECK_EQ(hy_ring_pop_n(c.ring, items, 8), 8);
    join(&c);
    for (int i = 0; i < 4; i++)
        HY_CHECK_EQ(c.producer[i].result, 0);
    HY_CHECK_EQ(hy_ring_count(c.ring), 4);
    HY_CHECK_EQ(stats_of(c.ring).pop_wakes, 1);
    hy_ring_destroy(c.ring);
}

HY_TEST(ring_many, close_wakes_all_that_wait)
{
    struct crowd c;
    uint64_t begin;

    waiting(&c, 5, PATIENCE_NS);
    begin = hy_now();
    hy_ring_close(c.ring);
    join(&c);
    HY_CHECK(hy_now() - begin < PATIENCE_NS / 2);
    for (int i = 0; i < 5; i++)
        HY_CHECK_EQ(c.producer[i].result, -EPIPE);
    HY_CHECK_EQ(c.ring->many.front, 0);
    hy_ring_destroy(c.ring);
}

HY_TEST(ring_many, deadlines_pass_for_front_and_queue)
{
    struct crowd c;
    uint64_t item;

    waiting(&c, 4, 20000000);
    join(&c);
    for (int i = 0; i < 4; i++)
        HY_CHECK_EQ(c.producer[i].result, -ETIMEDOUT);
    HY_CHECK_EQ(c.ring->many.front, 0);
    HY_CHECK_EQ(atomic_load(&c.ring->writer), 0);
    HY_CHECK_EQ(hy_ring_pop(c.ring, &item), 0);
    HY_CHECK_EQ(item, 99);
    HY_CHECK_EQ(hy_ring_pop(c.ring, &item), -EAGAIN);
    hy_ring_destroy(c.ring);
}

/* One that gives up in the queue's middle leaves it whole. */
HY_TEST(ring_many, giving_up_leaves_the_queue_whole)
{
    for (int which = 0; which < 3; which++) {
        struct crowd c = {.producers = 3, .each = PATIENCE_NS};
        struct crowd brief = {.producers = 1, .each = 30000000};
        uint64_t item = 99;

        c.ring = brief.ring = make(8, 1, 0);
        HY_CHECK_EQ(hy_ring_push_mp(c.ring, &item), 0);
        atomic_store(&c.running, 3);
        for (int i = 0, n = 0; i < 4; i++) {
            if (i == which + 1) {
                start(&brief, push_one_waiting);
            } else {
                c.producer[n].crowd = &c;
                HY_CHECK_EQ(hyi_os_thread_start(&c.producer[n].thread,
                                                push_one_waiting,
                                                &c.producer[n]),
                            0);
                n++;
            }
            until_waiting(c.ring, (unsigned)i + 1);
        }
        join(&brief);
        HY_CHECK_EQ(brief.producer[0].result, -ETIMEDOUT);
        for (int i = 0; i < 4; i++)
            HY_CHECK_EQ(hy_ring_pop_wait(c.ring, &item, hy_after(PATIENCE_NS)),
                        0);
        join(&c);
        for (int i = 0; i < 3; i++)
            HY_CHECK_EQ(c.producer[i].result, 0);
        HY_CHECK_EQ(c.ring->many.front, 0);
        hy_ring_destroy(c.ring);
    }
}

/* Misuse: a single producer sleeps where the front would. */
static void *push_single(void *arg)
{
    struct producer *p = arg;
    uint64_t item = 7;

    p->result = hy_ring_push_wait(p->crowd->ring, &item, hy_after(PATIENCE_NS));
    return NULL;
}

HY_TEST(ring_many, beside_a_single_sleeper_it_is_refused)
{
    struct crowd c = {.producers = 1, .ring = make(8, 1, 0)};
    uint64_t item = 1;

    HY_CHECK_EQ(hy_ring_push_mp(c.ring, &item), 0);
    start(&c, push_single);
    until_waiting(c.ring, 1);
    HY_CHECK_EQ(hy_ring_push_mp_wait(c.ring, &item, hy_after(PATIENCE_NS)),
                -EBUSY);
    HY_CHECK_EQ(c.ring->many.front, 0);
    HY_CHECK_EQ(hy_ring_pop(c.ring, &item), 0);
    join(&c);
    HY_CHECK_EQ(c.producer[0].result, 0);
    hy_ring_destroy(c.ring);
}

/* --- a parker on cue: cancelled, or woken while it gives up ----------------
 */

static hy_ring *cue_ring;
static int cue_result, cue_promotes, cue_waits;

static void cue_init(struct hyi_waiter *waiter)
{
    waiter->sleeper = NULL;
}

static int cue_park(struct hyi_waiter *waiter, hy_deadline until,
                    bool cancellable)
{
    struct hyi_ring_many *m = &cue_ring->many;

    (void)until;
    if (!cancellable) { /* the late wake is waited for */
        cue_waits++;
        HY_CHECK_EQ(atomic_load(&waiter->state), HYI_WAITER_WOKEN);
        return 0;
    }
    if (cue_promotes) { /* what leave_front does */
        HY_CHECK(m->first == waiter && m->last == waiter);
        m->first = m->last = NULL;
        waiter->user = 0;
        hyi_wake(waiter);
    }
    return cue_result;
}

static const struct hyi_parker cue = {hyi_os_now, cue_init, cue_park, NULL};

static int wait_on_cue(int result, int promotes)
{
    uint64_t item = 5;
    int r;

    cue_result = result;
    cue_promotes = promotes;
    cue_waits = 0;
    hyi_parker_self = &cue;
    r = hy_ring_push_mp_wait(cue_ring, &item, HY_FOREVER);
    hyi_parker_self = NULL;
    return r;
}

HY_TEST(ring_many, cancelled_as_front_and_in_the_queue)
{
    uint64_t item = 1;

    cue_ring = make(8, 1, 0);
    HY_CHECK_EQ(hy_ring_push_mp(cue_ring, &item), 0);
    HY_CHECK_EQ(wait_on_cue(-ECANCELED, 0), -ECANCELED);
    HY_CHECK_EQ(atomic_load(&cue_ring->writer), 0);
    HY_CHECK_EQ(cue_ring->many.front, 0);

    /* In the queue, behind a front that stays. */
    cue_ring->many.front = hyi_process_forks() * 2 + 1;
    HY_CHECK_EQ(wait_on_cue(-ECANCELED, 0), -ECANCELED);
    HY_CHECK(cue_ring->many.first == NULL && cue_ring->many.last == NULL);
    HY_CHECK(cue_ring->many.front != 0);

    /* The front goes while the cancel is on its way: the wake is waited for,
     * and passed on, since nobody else would. */
    HY_CHECK_EQ(wait_on_cue(-ECANCELED, 1), -ECANCELED);
    HY_CHECK_EQ(cue_waits, 1);
    HY_CHECK_EQ(cue_ring->many.front, 0);

    /* The same with a deadline: it tries once more, and is full. */
    cue_ring->many.front = hyi_process_forks() * 2 + 1;
    HY_CHECK_EQ(wait_on_cue(-ETIMEDOUT, 1), -ETIMEDOUT);
    HY_CHECK_EQ(cue_waits, 1);
    HY_CHECK_EQ(cue_ring->many.front, 0);
    HY_CHECK_EQ(hy_ring_count(cue_ring), 1);
    hy_ring_destroy(cue_ring);
}

/* --- a producer that is stopped in the middle of its turn ------------------
 */

/*
 * It pushes, finds a sleeper, and stays in that sleeper's wake until it is let
 * go: the item is published, and the turn not given back.
 */
struct stopper {
    struct hyi_waiter waiter; /* first: wake gets its address */
    _Atomic uint32_t is_in, go;
    struct producer producer;
    struct crowd crowd;
};

static void wake_and_stay(struct hyi_waiter *waiter)
{
    struct stopper *s = (struct stopper *)(void *)waiter;

    atomic_store(&s->is_in, 1);
    hyi_os_futex_wake(&s->is_in, 1, false);
    while (atomic_load(&s->go) == 0)
        hyi_os_futex_wait(&s->go, 0, HY_FOREVER, false);
}

static void stop_one(struct stopper *s, hy_ring *ring)
{
    memset(s, 0, sizeof(*s));
    s->waiter.wake = wake_and_stay;
    atomic_store(&ring->reader, (uintptr_t)&s->waiter);
    s->crowd.ring = ring;
    s->crowd.producers = 1;
    s->crowd.each = 1;
    s->crowd.stop = false;
    start(&s->crowd, push_one_waiting);
    while (atomic_load(&s->is_in) == 0)
        hyi_os_futex_wait(&s->is_in, 0, HY_FOREVER, false);
}

static void let_go(struct stopper *s)
{
    atomic_store(&s->go, 1);
    hyi_os_futex_wake(&s->go, 1, false);
    join(&s->crowd);
    HY_CHECK_EQ(s->crowd.producer[0].result, 0);
}

static _Atomic uint64_t burned_ns; /* by those who waited for a turn */

static void *push_and_account(void *arg)
{
    struct timespec t;

    push_one_waiting(arg);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    atomic_fetch_add(&burned_ns,
                     (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec);
    return NULL;
}

static void check_a_stopped_one(unsigned flags, bool refuse)
{
    struct crowd c = {.producers = 3, .each = PATIENCE_NS};
    struct stopper s;
    uint64_t begin;

    c.ring = make(8, 16, flags);
    stop_one(&s, c.ring);
    HY_CHECK(atomic_load(&c.ring->producer.lock) != 0);
    atomic_store(&burned_ns, 0);
    begin = hy_now();
    if (refuse)
        hy_fail_syscall(SYS_membarrier, 1, EPERM);
    start(&c, push_and_account);
    nap(300000000);
    hy_fail_none();
    HY_CHECK_EQ(hy_ring_count(c.ring), 1); /* nobody got past it */
    HY_CHECK_EQ(atomic_load(&c.ring->producer.crowd), 1);
    let_go(&s);
    join(&c);
    HY_CHECK(hy_now() - begin < PATIENCE_NS);
    for (int i = 0; i < 3; i++)
        HY_CHECK_EQ(c.producer[i].result, 0);
    HY_CHECK_EQ(hy_ring_count(c.ring), 4);
    HY_CHECK_EQ(atomic_load(&c.ring->producer.lock), 0);
    /* Each could have burned 300 ms. */
    HY_CHECK(atomic_load(&burned_ns) < 150000000);
    hy_ring_destroy(c.ring);
}

HY_TEST(ring_many, a_stopped_producer_burns_nobody_elses_time)
{
    check_a_stopped_one(0, false);
    check_a_stopped_one(HY_RING_OVERWRITE, false);
}

HY_TEST(ring_many, the_same_with_fences_and_with_a_barrier_refused_late)
{
    int probe = atomic_load(&hyi_process.barrier);

    check_a_stopped_one(0, true);
    atomic_store(&hyi_process.barrier, HYI_PROBE_NO);
    check_a_stopped_one(0, false);
    atomic_store(&hyi_process.barrier, probe);
}

/* Debug builds find it; in others it is the caller's to avoid. */
HY_TEST(ring_many, single_and_many_at_once_is_found)
{
    hy_ring *ring = make(8, 4, 0);
    uint64_t item = 1;
    struct stopper s;

    stop_one(&s, ring);
    if (HY_DEBUG >= 1) {
        HY_CHECK_EQ(hy_ring_push(ring, &item), -EBUSY);
        HY_CHECK_EQ(hy_ring_push_n(ring, &item, 1), 0);
    }
    let_go(&s);
    HY_CHECK_EQ(hy_ring_push(ring, &item), 0);
    HY_CHECK_EQ(hy_ring_count(ring), 2);
    hy_ring_destroy(ring);
}

/* --- fork ----------------------------------------------------------------- */

/* The thread whose turn it is, and those that wait, are the parent's. */
static void push_in_child(void *arg)
{
    hy_ring *ring = arg;
    uint64_t item = 40, out;

    alarm(20);
    atomic_store(&ring->reader, 0);
    /* As if it had begun another one, and not got to publish it. */
    ring->producer.tail++;
    for (uint64_t i = 0; i < 6; i++) {
        item++;
        if (hy_ring_push_mp_wait(ring, &item, hy_after(PATIENCE_NS)) != 0)
            _exit(1);
    }
    for (uint64_t i = 0; i < 7; i++)
        if (hy_ring_pop(ring, &out) != 0 || (i > 0 && out != 40 + i))
            _exit(2);
    if (hy_ring_pop(ring, &out) != -EAGAIN)
        _exit(3);
}

HY_TEST(ring_many, a_child_takes_a_turn_over_that_nobody_has)
{
    static const unsigned flags[] = {0, HY_RING_OVERWRITE};

    for (int f = 0; f < 2; f++) {
        hy_ring *ring = make(8, 8, flags[f]);
        struct stopper s;

        stop_one(&s, ring);
        HY_CHECK_EQ(hy_test_child(push_in_child, ring), 0);
        let_go(&s);
        hy_ring_destroy(ring);
    }
}

static void wait_in_child(void *arg)
{
    hy_ring *ring = arg;
    uint64_t item = 1;

    alarm(20);
    /* The parent's front sleeps in the word: told, and not joined. */
    if (hy_ring_push_mp_wait(ring, &item, hy_after(PATIENCE_NS)) != -EBUSY)
        _exit(1);
    if (hy_ring_push_mp_wait(ring, &item, hy_after(PATIENCE_NS)) != -EBUSY)
        _exit(2);
    atomic_store(&ring->writer, 0);
    if (hy_ring_push_mp_wait(ring, &item, hy_after(1000000)) != -ETIMEDOUT)
        _exit(3);
    if (hy_ring_pop(ring, &item) != 0 || hy_ring_push_mp(ring, &item) != 0)
        _exit(4);
}

HY_TEST(ring_many, a_child_does_not_stand_behind_its_parents_producers)
{
    struct crowd c;

    waiting(&c, 3, PATIENCE_NS);
    HY_CHECK_EQ(hy_test_child(wait_in_child, c.ring), 0);
    hy_ring_close(c.ring);
    join(&c);
    hy_ring_destroy(c.ring);
}
