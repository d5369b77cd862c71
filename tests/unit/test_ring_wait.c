/*
 * test_ring_wait.c - two threads: payload and order under every way of moving
 * items, sleeping and waking without a lost wake-up, one wake a sleep, closing
 * against pushes in flight, and a parker that misbehaves on cue.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/syscall.h>

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

/* Words of an item that takes long enough to copy to be torn. */
enum { LONG_ITEM = 64 };

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

/*
 * Stress ends early where everything is slow: under valgrind, in an emulator,
 * on a crowded machine. Asked once in 64 rounds.
 */
#define STRESS_NS UINT64_C(1500000000)

static bool is_over(uint64_t start, uint64_t round)
{
    return round % 64 == 63 && hyi_os_now() - start > STRESS_NS;
}

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static uint64_t scramble(uint64_t i)
{
    return i * 0x9e3779b97f4a7c15u + 1;
}

/* Now and then long enough for the other side to spin out and park. */
static void delay(uint64_t *state)
{
    uint64_t x = random_next(state);
    unsigned pauses = 0;

    if (x % 4 == 0)
        pauses = (unsigned)(x >> 32) % 100;
    if (x % 64 == 1)
        pauses = (unsigned)(x >> 32) % 2000;
    while (pauses-- != 0)
        hy_arch_pause();
}

/*
 * A sleeper that times out looks once more and may find the item whose wake was
 * lost: what took so long was no success.
 */
static int pop_in_time(hy_ring *ring, uint64_t *item)
{
    hy_deadline until = hy_after(PATIENCE_NS);
    int r = hy_ring_pop_wait(ring, item, until);

    return r == 0 && hy_now() >= until ? -ETIMEDOUT : r;
}

static int push_in_time(hy_ring *ring, const uint64_t *item)
{
    hy_deadline until = hy_after(PATIENCE_NS);
    int r = hy_ring_push_wait(ring, item, until);

    return r == 0 && hy_now() >= until ? -ETIMEDOUT : r;
}

/* --- sleeping and waking -------------------------------------------------- */

struct pair {
    hy_ring *ring;
    uint64_t count;
    uint64_t seed;
    int result;
    _Atomic uint64_t done;
};

static void *push_slowly(void *arg)
{
    struct pair *p = arg;
    uint64_t state = p->seed, start = hyi_os_now(), i;

    for (i = 0; i < p->count && p->result == 0 && !is_over(start, i); i++) {
        uint64_t item = scramble(i);

        delay(&state);
        p->result = push_in_time(p->ring, &item);
    }
    p->count = i;
    hy_ring_close(p->ring);
    return NULL;
}

static void check_no_wake_is_lost(size_t capacity, uint64_t count)
{
    struct pair p = {.ring = make(8, capacity, 0), .count = count, .seed = 99};
    uint64_t state = 12345, item = 0, i = 0;
    hy_ring_stats s;
    pthread_t t;
    int r;

    HY_CHECK_EQ(hyi_os_thread_start(&t, push_slowly, &p), 0);
    for (;; i++) {
        delay(&state);
        r = pop_in_time(p.ring, &item);
        if (r != 0 || item != scramble(i))
            break;
    }
    pthread_join(t, NULL);
    HY_CHECK_MSG(r == -EPIPE, "%s after %llu items",
                 r == -ETIMEDOUT ? "a wake was lost" : "wrong",
                 (unsigned long long)i);
    HY_CHECK_EQ(p.result, 0);
    HY_CHECK_EQ(i, p.count);
    s = stats_of(p.ring);
    HY_CHECK_EQ(s.pushed, i);
    HY_CHECK_EQ(s.popped, i);
    /* At most one wake a sleep. */
    HY_CHECK(s.push_wakes <= s.pop_parks);
    HY_CHECK(s.pop_wakes <= s.push_parks);
    hy_ring_destroy(p.ring);
}

HY_TEST(ring_wait, no_wake_is_lost)
{
    check_no_wake_is_lost(1, 40000);
    check_no_wake_is_lost(4, 40000);
    check_no_wake_is_lost(64, 40000);
}

HY_TEST(ring_wait, no_wake_is_lost_with_fences)
{
    int probe = atomic_load(&hyi_process.barrier);

    atomic_store(&hyi_process.barrier, HYI_PROBE_NO);
    check_no_wake_is_lost(1, 20000);
    check_no_wake_is_lost(16, 20000);
    atomic_store(&hyi_process.barrier, probe);
}

/*
 * Two rings, there and back. Who asks goes to sleep, almost without spinning,
 * at about the time at which the one who is awake answers: that is where a
 * wake-up can be lost, and nothing comes after it that would make up for it.
 */
struct answer {
    hy_ring *there, *back;
    uint64_t count;
};

/* Any time from none to twice that of a line on its way between processors. */
static void tarry(uint64_t *state)
{
    uint64_t x = random_next(state);

    for (uint64_t i = (x >> 16) % (1u << x % 13); i != 0; i--)
        atomic_signal_fence(memory_order_seq_cst);
}

static void *answer(void *arg)
{
    struct answer *a = arg;
    uint64_t state = 31, item, idle = 0;
    int r;

    while ((r = hy_ring_pop(a->there, &item)) != -EPIPE) {
        if (r != 0) {
            if (++idle % 1024 == 0)
                sched_yield(); /* one processor */
            continue;
        }
        tarry(&state);
        item = ~item;
        hy_ring_push(a->back, &item);
    }
    return NULL;
}

static void check_answers(uint64_t count)
{
    struct answer a = {make(8, 1, 0), make(8, 1, 0), count};
    uint64_t state = 77, item = 0, start = hyi_os_now(), i;
    int r = 0;
    pthread_t t;

    HY_CHECK_EQ(hyi_os_thread_start(&t, answer, &a), 0);
    for (i = 0; i < count && r == 0 && !is_over(start, i); i++) {
        item = i;
        hy_ring_push(a.there, &item);
        tarry(&state);
        a.back->consumer.spins = 1;
        r = pop_in_time(a.back, &item);
        if (r == 0 && item != ~i)
            r = 1;
    }
    hy_ring_close(a.there);
    pthread_join(t, NULL);
    HY_CHECK_MSG(r == 0, "%s at %llu",
                 r == -ETIMEDOUT ? "a wake was lost" : "wrong",
                 (unsigned long long)i);
    hy_ring_destroy(a.there);
    hy_ring_destroy(a.back);
}

HY_TEST(ring_wait, no_wake_is_lost_between_question_and_answer)
{
    check_answers(150000);
}

HY_TEST(ring_wait, no_wake_is_lost_between_fenced_question_and_answer)
{
    int probe = atomic_load(&hyi_process.barrier);

    atomic_store(&hyi_process.barrier, HYI_PROBE_NO);
    check_answers(150000);
    atomic_store(&hyi_process.barrier, probe);
}

static void *pop_one(void *arg)
{
    struct pair *p = arg;
    uint64_t item;

    p->result = hy_ring_pop_wait(p->ring, &item, hy_after(5 * PATIENCE_NS));
    atomic_store(&p->done, 1);
    return NULL;
}

static void *push_one(void *arg)
{
    struct pair *p = arg;
    uint64_t item = 9;

    p->result = hy_ring_push_wait(p->ring, &item, hy_after(5 * PATIENCE_NS));
    atomic_store(&p->done, 1);
    return NULL;
}

static void sleep_until_parked(const hy_ring *ring)
{
    static const _Atomic uint32_t never = 0;
    hy_ring_stats s;

    do {
        hyi_os_futex_wait(&never, 0, hy_after(1000000), false);
        s = stats_of(ring);
    } while (s.pop_parks + s.push_parks == 0);
}

HY_TEST(ring_wait, one_push_wakes_a_sleeping_consumer_once)
{
    struct pair p = {.ring = make(8, 8, 0), .result = 1};
    uint64_t item = 1;
    pthread_t t;

    HY_CHECK_EQ(hyi_os_thread_start(&t, pop_one, &p), 0);
    sleep_until_parked(p.ring);
    for (int i = 0; i < 4; i++)
        HY_CHECK_EQ(hy_ring_push(p.ring, &item), 0);
    pthread_join(t, NULL);
    HY_CHECK_EQ(p.result, 0);
    HY_CHECK_EQ(stats_of(p.ring).push_wakes, 1);
    HY_CHECK_EQ(stats_of(p.ring).pop_wakes, 0);
    hy_ring_destroy(p.ring);
}

/* Misuse: the second is told, the first sleeps on, and nothing is lost. */
HY_TEST(ring_wait, a_second_sleeper_on_one_side_is_refused)
{
    struct pair p = {.ring = make(8, 1, 0), .result = 1};
    uint64_t item = 1;
    pthread_t t;

    HY_CHECK_EQ(hyi_os_thread_start(&t, pop_one, &p), 0);
    sleep_until_parked(p.ring);
    HY_CHECK(atomic_load(&p.ring->reader) != 0); /* after all it did before */
    HY_CHECK_EQ(hy_ring_pop_wait(p.ring, &item, hy_after(PATIENCE_NS)), -EBUSY);
    HY_CHECK_EQ(stats_of(p.ring).pop_parks, 1);
    HY_CHECK_EQ(atomic_load(&p.done), 0);
    HY_CHECK_EQ(hy_ring_push(p.ring, &item), 0);
    pthread_join(t, NULL);
    HY_CHECK_EQ(p.result, 0);
    HY_CHECK_EQ(stats_of(p.ring).push_wakes, 1);

    HY_CHECK_EQ(hy_ring_push(p.ring, &item), 0);
    HY_CHECK_EQ(hyi_os_thread_start(&t, push_one, &p), 0);
    while (atomic_load(&p.ring->writer) == 0)
        sched_yield();
    HY_CHECK_EQ(hy_ring_push_wait(p.ring, &item, hy_after(PATIENCE_NS)),
                -EBUSY);
    HY_CHECK_EQ(hy_ring_pop(p.ring, &item), 0);
    HY_CHECK_EQ(item, 1);
    pthread_join(t, NULL);
    HY_CHECK_EQ(p.result, 0);
    HY_CHECK_EQ(hy_ring_pop(p.ring, &item), 0);
    HY_CHECK_EQ(item, 9);
    HY_CHECK_EQ(hy_ring_pop(p.ring, &item), -EAGAIN);
    hy_ring_destroy(p.ring);
}

HY_TEST(ring_wait, a_batch_and_a_span_wake_too)
{
    struct pair p = {.ring = make(8, 8, 0), .result = 1};
    uint64_t items[8] = {0};
    pthread_t t;
    size_t n;

    HY_CHECK_EQ(hyi_os_thread_start(&t, pop_one, &p), 0);
    sleep_until_parked(p.ring);
    HY_CHECK_EQ(hy_ring_push_n(p.ring, items, 8), 8);
    pthread_join(t, NULL);
    hy_ring_destroy(p.ring);

    p.ring = make(8, 8, 0);
    HY_CHECK_EQ(hyi_os_thread_start(&t, pop_one, &p), 0);
    sleep_until_parked(p.ring);
    HY_CHECK(hy_ring_reserve(p.ring, 1, &n) != NULL);
    hy_ring_commit(p.ring, 1);
    pthread_join(t, NULL);
    hy_ring_destroy(p.ring);

    p.ring = make(8, 8, 0);
    HY_CHECK_EQ(hy_ring_push_n(p.ring, items, 8), 8);
    HY_CHECK_EQ(hyi_os_thread_start(&t, push_one, &p), 0);
    sleep_until_parked(p.ring);
    HY_CHECK(hy_ring_peek(p.ring, &n) != NULL);
    hy_ring_release(p.ring, 1);
    pthread_join(t, NULL);
    HY_CHECK_EQ(stats_of(p.ring).pop_wakes, 1);
    hy_ring_destroy(p.ring);
}

HY_TEST(ring_wait, close_wakes_both_sides)
{
    struct pair p = {.ring = make(8, 1, 0), .result = 1};
    uint64_t item = 1, before;
    pthread_t t;

    HY_CHECK_EQ(hyi_os_thread_start(&t, pop_one, &p), 0);
    sleep_until_parked(p.ring);
    before = hy_now();
    hy_ring_close(p.ring);
    pthread_join(t, NULL);
    HY_CHECK_EQ(p.result, -EPIPE);
    HY_CHECK(hy_now() - before < PATIENCE_NS);
    hy_ring_destroy(p.ring);

    p.ring = make(8, 1, 0);
    HY_CHECK_EQ(hy_ring_push(p.ring, &item), 0);
    HY_CHECK_EQ(hyi_os_thread_start(&t, push_one, &p), 0);
    sleep_until_parked(p.ring);
    before = hy_now();
    hy_ring_close(p.ring);
    pthread_join(t, NULL);
    HY_CHECK_EQ(p.result, -EPIPE);
    HY_CHECK(hy_now() - before < PATIENCE_NS);
    HY_CHECK_EQ(hy_ring_pop(p.ring, &item), 0);
    HY_CHECK_EQ(item, 1);
    HY_CHECK_EQ(hy_ring_pop(p.ring, &item), -EPIPE);
    hy_ring_destroy(p.ring);
}

/* The kernel may refuse later what it granted when the ring was made. */
HY_TEST(ring_wait, a_barrier_that_is_refused_late_is_waited_out)
{
    struct pair p = {.ring = make(8, 1, 0), .result = 1};
    uint64_t item = 1;
    pthread_t t;

    if (stats_of(p.ring).fenced) { /* no membarrier on this system */
        hy_ring_destroy(p.ring);
        return;
    }
    hy_fail_syscall(SYS_membarrier, 1, EPERM);
    HY_CHECK_EQ(hyi_os_thread_start(&t, pop_one, &p), 0);
    sleep_until_parked(p.ring);
    HY_CHECK_EQ(hy_fail_hits(), 1);
    hy_fail_none();
    HY_CHECK_EQ(hy_ring_push(p.ring, &item), 0);
    pthread_join(t, NULL);
    HY_CHECK_EQ(p.result, 0);
    hy_ring_destroy(p.ring);
}

/* --- a parker on cue ------------------------------------------------------ */

static hy_ring *cue_ring;
static int cue_result;
static int cue_claims; /* the other side has taken the waiter out meanwhile */
static int cue_waits;

static void cue_init(struct hyi_waiter *waiter)
{
    waiter->sleeper = NULL;
}

static int cue_park(struct hyi_waiter *waiter, hy_deadline until,
                    bool cancellable)
{
    uint64_t item = 6;

    (void)until;
    if (!cancellable) { /* the late wake is waited for */
        cue_waits++;
        HY_CHECK_EQ(atomic_load(&waiter->state), HYI_WAITER_WOKEN);
        return 0;
    }
    if (cue_claims)
        HY_CHECK_EQ(hy_ring_push(cue_ring, &item), 0);
    return cue_result;
}

static const struct hyi_parker cue = {hyi_os_now, cue_init, cue_park, NULL};

HY_TEST(ring_wait, a_cancelled_sleeper_takes_nothing_and_leaves_nothing)
{
    uint64_t item = 5;

    cue_ring = make(8, 1, 0);
    cue_result = -ECANCELED;
    cue_claims = cue_waits = 0;
    hyi_parker_self = &cue;
    HY_CHECK_EQ(hy_ring_pop_wait(cue_ring, &item, HY_FOREVER), -ECANCELED);
    HY_CHECK_EQ(atomic_load(&cue_ring->reader), 0);
    HY_CHECK_EQ(cue_waits, 0);
    /* An item arrives while the cancel is on its way: it stays in. */
    cue_claims = 1;
    HY_CHECK_EQ(hy_ring_pop_wait(cue_ring, &item, HY_FOREVER), -ECANCELED);
    HY_CHECK_EQ(cue_waits, 1);
    HY_CHECK_EQ(item, 5);
    HY_CHECK_EQ(hy_ring_count(cue_ring), 1);
    cue_claims = 0;
    HY_CHECK_EQ(hy_ring_push_wait(cue_ring, &item, HY_FOREVER), -ECANCELED);
    HY_CHECK_EQ(atomic_load(&cue_ring->writer), 0);
    hyi_parker_self = NULL;
    hy_ring_destroy(cue_ring);
}

HY_TEST(ring_wait, an_item_that_comes_with_the_deadline_is_taken)
{
    uint64_t item = 5;

    cue_ring = make(8, 1, 0);
    cue_result = -ETIMEDOUT;
    cue_claims = 1;
    cue_waits = 0;
    hyi_parker_self = &cue;
    HY_CHECK_EQ(hy_ring_pop_wait(cue_ring, &item, 1), 0);
    hyi_parker_self = NULL;
    HY_CHECK_EQ(item, 6);
    HY_CHECK_EQ(cue_waits, 1);
    hy_ring_destroy(cue_ring);
}

/* --- moving items --------------------------------------------------------- */

static void push_span(hy_ring *ring, uint64_t *next, uint64_t end)
{
    size_t got = 0;
    uint64_t *span = hy_ring_reserve(ring, (size_t)(end - *next), &got);

    for (size_t i = 0; i < got; i++)
        span[i] = scramble((*next)++);
    hy_ring_commit(ring, got);
}

static void push_batch(hy_ring *ring, uint64_t *next, uint64_t end)
{
    uint64_t items[7];
    size_t n = end - *next < 7 ? (size_t)(end - *next) : 7;

    for (size_t i = 0; i < n; i++)
        items[i] = scramble(*next + i);
    *next += hy_ring_push_n(ring, items, n);
}

static void *push_in_all_ways(void *arg)
{
    struct pair *p = arg;
    uint64_t state = p->seed, next = 0, item, start = hyi_os_now();

    for (uint64_t i = 0; next < p->count && !is_over(start, i); i++) {
        if (hy_ring_count(p->ring) == hy_ring_capacity(p->ring))
            sched_yield();
        switch (random_next(&state) % 4) {
        case 0:
            push_span(p->ring, &next, p->count);
            break;
        case 1:
            push_batch(p->ring, &next, p->count);
            break;
        default:
            item = scramble(next);
            if (hy_ring_push(p->ring, &item) == 0)
                next++;
        }
    }
    p->count = next;
    hy_ring_close(p->ring);
    return NULL;
}

static uint64_t check_items(const uint64_t *items, size_t n, uint64_t next)
{
    for (size_t i = 0; i < n; i++)
        HY_CHECK_EQ(items[i], scramble(next + i));
    return next + n;
}

/* One way of popping; returns the number after the last item. */
static uint64_t pop_somehow(hy_ring *ring, uint64_t way, uint64_t next)
{
    const uint64_t *span;
    uint64_t items[9];
    size_t n;

    if (way == 0) {
        span = hy_ring_peek(ring, &n);
        next = check_items(span, n, next);
        hy_ring_release(ring, n);
        return next;
    }
    if (way == 1)
        n = hy_ring_pop_n(ring, items, 9);
    else
        n = hy_ring_pop(ring, items) == 0;
    return check_items(items, n, next);
}

HY_TEST(ring_wait, every_way_keeps_order_and_payload)
{
    for (size_t capacity = 1; capacity <= 1024; capacity *= 32) {
        struct pair p = {.ring = make(8, capacity, 0), .count = 300000};
        uint64_t state = 5, next = 0, item;
        pthread_t t;

        p.seed = 17;
        HY_CHECK_EQ(hyi_os_thread_start(&t, push_in_all_ways, &p), 0);
        while (hy_ring_state(p.ring) != -EPIPE || hy_ring_count(p.ring) != 0) {
            if (hy_ring_count(p.ring) == 0)
                sched_yield();
            next = pop_somehow(p.ring, random_next(&state) % 4, next);
        }
        pthread_join(t, NULL);
        HY_CHECK_EQ(next, p.count);
        HY_CHECK_EQ(hy_ring_pop(p.ring, &item), -EPIPE);
        hy_ring_destroy(p.ring);
    }
}

static void *push_until_closed(void *arg)
{
    struct pair *p = arg;
    uint64_t item, n = 0;
    int r;

    do {
        item = scramble(n);
        r = n % 2 ? hy_ring_push(p->ring, &item)
            : hy_ring_push_n(p->ring, &item, 1) == 1 ? 0
            : hy_ring_state(p->ring) == -EPIPE       ? -EPIPE
                                                     : -EAGAIN;
        n += r == 0;
        if (r == -EAGAIN)
            sched_yield();
    } while (r != -EPIPE);
    p->count = n;
    return NULL;
}

/* What was accepted is delivered, what was refused is not; whoever closes. */
HY_TEST(ring_wait, a_close_against_pushes_in_flight_loses_nothing)
{
    uint64_t state = 3, start = hyi_os_now();

    for (int round = 0; round < 1500; round++) {
        if (is_over(start, (uint64_t)round))
            break;

        struct pair p = {.ring = make(8, 4, 0)};
        uint64_t item, taken = 0;
        uint64_t end = random_next(&state) % 40;
        pthread_t t;
        int r;

        HY_CHECK_EQ(hyi_os_thread_start(&t, push_until_closed, &p), 0);
        while (taken < end) {
            if (hy_ring_pop(p.ring, &item) == 0)
                HY_CHECK_EQ(item, scramble(taken++));
            else
                sched_yield();
        }
        hy_ring_close(p.ring);
        while ((r = hy_ring_pop(p.ring, &item)) == 0)
            HY_CHECK_EQ(item, scramble(taken++));
        HY_CHECK_EQ(r, -EPIPE);
        pthread_join(t, NULL);
        HY_CHECK_EQ(p.count, taken);
        HY_CHECK_EQ(hy_ring_pop(p.ring, &item), -EPIPE);
        hy_ring_destroy(p.ring);
    }
}

static void *push_without_looking(void *arg)
{
    struct pair *p = arg;
    uint64_t item[LONG_ITEM], i = 0;

    for (; atomic_load_explicit(&p->done, memory_order_relaxed) == 0; i++) {
        for (int w = 0; w < LONG_ITEM; w++)
            item[w] = scramble(i) + (uint64_t)w;
        if (hy_ring_push(p->ring, item) != 0)
            p->result = 1;
    }
    p->count = i;
    hy_ring_close(p->ring);
    return NULL;
}

HY_TEST(ring_wait, overwriting_never_shows_a_torn_item)
{
    struct pair p = {.ring = make(8 * LONG_ITEM, 2, HY_RING_OVERWRITE)};
    uint64_t item[LONG_ITEM], taken = 0, next = 0, start = hyi_os_now();
    pthread_t t;
    int r;

    HY_CHECK_EQ(hyi_os_thread_start(&t, push_without_looking, &p), 0);
    while ((r = hy_ring_pop(p.ring, item)) != -EPIPE) {
        if (r != 0)
            continue;
        for (int w = 1; w < LONG_ITEM; w++)
            HY_CHECK_EQ(item[w], item[0] + (uint64_t)w);
        while (scramble(next) != item[0]) /* a real one, after the last */
            HY_CHECK(++next < UINT32_MAX);
        next++;
        taken++;
        atomic_store(&p.done, taken >= 100000 || is_over(start, taken));
    }
    pthread_join(t, NULL);
    HY_CHECK_EQ(p.result, 0);
    HY_CHECK(next <= p.count);
    HY_CHECK_EQ(taken + stats_of(p.ring).lost, p.count);
    hy_ring_destroy(p.ring);
}
