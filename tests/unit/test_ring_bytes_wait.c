/*
 * test_ring_bytes_wait.c - records between two threads: lengths, content and
 * order under every way of moving them; sleepers on both sides, with and
 * without marks; closes against commits in flight.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>

#include <hyperion/byte_ring.h>

#include "arch.h"
#include "hy_test.h"
#include "os.h"
#include "process.h"
#include "ring_layout.h"

/* Long against any scheduling delay; and what is waited for to see that nothing
 * happens. */
#define PATIENCE_NS UINT64_C(20000000000)
#define WHILE_NS    UINT64_C(20000000)
#define STRESS_NS   UINT64_C(700000000)

/* Records of up to this many bytes, which carry their number and a checksum. */
enum { LONGEST = 700 };

static hy_byte_ring *make(size_t capacity, size_t wake_bytes, size_t wake_room)
{
    hy_byte_ring_options o = HY_BYTE_RING_OPTIONS_INIT;
    hy_byte_ring *ring = NULL;

    o.capacity = capacity;
    o.wake_bytes = wake_bytes;
    o.wake_room = wake_room;
    HY_CHECK_EQ(hy_byte_ring_create(&ring, &o), 0);
    return ring;
}

static hy_byte_ring_stats stats_of(const hy_byte_ring *ring)
{
    hy_byte_ring_stats s = {.size = sizeof(s)};

    hy_byte_ring_stats_get(ring, &s);
    return s;
}

static void pass_time(uint64_t ns)
{
    static const _Atomic uint32_t never = 0;

    hyi_os_futex_wait(&never, 0, hyi_os_now() + ns, false);
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
    i = (i + 1) * 0x9e3779b97f4a7c15u;
    return i ^ i >> 29;
}

/* Both sides know how long record number i is, and what is in it. */
static size_t length_of(uint64_t i)
{
    uint64_t x = scramble(i);

    return (size_t)(x % 16 == 0 ? x >> 32 : x >> 40) %
           (x % 16 == 0 ? LONGEST : 80);
}

static void write_record(unsigned char *to, uint64_t i)
{
    size_t bytes = length_of(i);

    for (size_t k = 0; k < bytes; k++)
        to[k] = (unsigned char)(scramble(i) >> (k % 8 * 8)) ^ (unsigned char)k;
}

static bool is_record(const unsigned char *from, size_t bytes, uint64_t i)
{
    if (bytes != length_of(i))
        return false;
    for (size_t k = 0; k < bytes; k++)
        if (from[k] !=
            (unsigned char)((unsigned char)(scramble(i) >> (k % 8 * 8)) ^
                            (unsigned char)k))
            return false;
    return true;
}

/* --- streams -------------------------------------------------------------- */

struct stream {
    hy_byte_ring *ring;
    uint64_t count;
    int result;
    pthread_t thread;
};

/* What came only with the deadline was not woken. */
static hy_deadline soon(void)
{
    return hy_after(PATIENCE_NS);
}

/* Record i in one of four ways. */
static int put(struct stream *s, uint64_t i, uint64_t way)
{
    unsigned char copy[LONGEST];
    hy_deadline until = soon();
    void *span;
    int r;

    if (way == 0) {
        write_record(copy, i);
        r = hy_byte_ring_push_wait(s->ring, copy, length_of(i), until);
    } else {
        r = hy_byte_ring_reserve_wait(s->ring, LONGEST, &span, until);
        if (r != 0)
            return r;
        write_record(span, i);
        r = way == 1 ? hy_byte_ring_stage(s->ring, length_of(i))
                     : hy_byte_ring_commit(s->ring, length_of(i));
    }
    return r == 0 && hy_now() >= until ? -ETIMEDOUT : r;
}

static void *produce(void *arg)
{
    struct stream *s = arg;
    uint64_t state = 77, start = hyi_os_now(), i;

    for (i = 0; s->result == 0; i++) {
        if (i % 64 == 63 && hyi_os_now() - start > STRESS_NS)
            break;
        s->result = put(s, i, random_next(&state) % 4);
        if (random_next(&state) % 256 == 0)
            for (uint64_t k = random_next(&state) % 3000; k != 0; k--)
                hy_arch_pause();
        if (s->result == 0 && random_next(&state) % 64 == 0)
            s->result = hy_byte_ring_flush(s->ring);
    }
    s->count = i;
    if (s->result == 0)
        s->result = hy_byte_ring_publish(s->ring);
    hy_byte_ring_close(s->ring);
    return NULL;
}

/* The next record in one of three ways; -EILSEQ when it is not what was put. */
static int take(struct stream *s, uint64_t *i, uint64_t way)
{
    unsigned char copy[LONGEST];
    hy_deadline until = soon();
    const void *record = copy;
    size_t bytes = 0;
    int r;

    if (way == 0)
        r = hy_byte_ring_pop_wait(s->ring, copy, LONGEST, &bytes, until);
    else
        r = hy_byte_ring_peek_wait(s->ring, &record, &bytes, until);
    if (r != 0)
        return r;
    do {
        if (!is_record(record, bytes, *i))
            return -EILSEQ;
        ++*i;
    } while (way == 2 && hy_byte_ring_next(s->ring, &record, &bytes) == 0);
    if (way != 0)
        hy_byte_ring_release(s->ring);
    return hy_now() >= until ? -ETIMEDOUT : 0;
}

static void check_stream(size_t wake_bytes, size_t wake_room)
{
    struct stream s = {.ring = make(1, wake_bytes, wake_room)};
    uint64_t state = 4711, next = 0;
    hy_byte_ring_stats stats;
    int r = 0;

    HY_CHECK_EQ(hyi_os_thread_start(&s.thread, produce, &s), 0);
    while (r == 0) {
        r = take(&s, &next, random_next(&state) % 3);
        if (random_next(&state) % 256 == 0)
            for (uint64_t k = random_next(&state) % 3000; k != 0; k--)
                hy_arch_pause();
    }
    hy_byte_ring_close(s.ring);
    pthread_join(s.thread, NULL);
    HY_CHECK_MSG(r == -EPIPE, "%d after %llu records", r,
                 (unsigned long long)next);
    HY_CHECK_EQ(s.result, 0);
    HY_CHECK_EQ(next, s.count);
    stats = stats_of(s.ring);
    HY_CHECK_EQ(stats.pushed, next);
    HY_CHECK_EQ(stats.popped, next);
    HY_CHECK_EQ(stats.popped_bytes, stats.pushed_bytes);
    HY_CHECK(stats.push_wakes <= stats.pop_parks);
    HY_CHECK(stats.pop_wakes <= stats.push_parks);
    hy_byte_ring_destroy(s.ring);
}

HY_TEST(ring_bytes_wait, records_arrive_whole_and_no_wake_is_lost)
{
    check_stream(0, 0);
}

HY_TEST(ring_bytes_wait, with_marks_too)
{
    check_stream(hyi_os_page_bytes(), hyi_os_page_bytes());
    check_stream(1000, 2000);
}

HY_TEST(ring_bytes_wait, with_fences_too)
{
    int probe = atomic_load(&hyi_process.barrier);

    atomic_store(&hyi_process.barrier, HYI_PROBE_NO);
    check_stream(0, 0);
    check_stream(hyi_os_page_bytes(), 0);
    atomic_store(&hyi_process.barrier, probe);
}

/* --- one sleeper ---------------------------------------------------------- */

struct sleeper {
    hy_byte_ring *ring;
    size_t bytes;
    int result;
    _Atomic int is_back;
    pthread_t thread;
};

static void *sleep_for_room(void *arg)
{
    struct sleeper *s = arg;
    hy_deadline until = soon();
    void *span;

    s->result = hy_byte_ring_reserve_wait(s->ring, s->bytes, &span, until);
    if (s->result == 0)
        s->result = hy_byte_ring_commit(s->ring, s->bytes);
    if (hy_now() >= until)
        s->result = -ETIMEDOUT;
    atomic_store(&s->is_back, 1);
    return NULL;
}

static void *sleep_for_record(void *arg)
{
    struct sleeper *s = arg;
    hy_deadline until = soon();
    const void *record;

    s->result = hy_byte_ring_peek_wait(s->ring, &record, &s->bytes, until);
    if (hy_now() >= until)
        s->result = -ETIMEDOUT;
    atomic_store(&s->is_back, 1);
    return NULL;
}

static void put_to_sleep(struct sleeper *s, void *(*entry)(void *))
{
    HY_CHECK_EQ(hyi_os_thread_start(&s->thread, entry, s), 0);
    while (stats_of(s->ring).pop_parks + stats_of(s->ring).push_parks == 0)
        pass_time(WHILE_NS / 20);
    pass_time(WHILE_NS);
    HY_CHECK_EQ(atomic_load(&s->is_back), 0);
}

static void check_result(struct sleeper *s, int result)
{
    pthread_join(s->thread, NULL);
    HY_CHECK_EQ(s->result, result);
}

static void push(hy_byte_ring *ring, size_t bytes)
{
    void *span;

    HY_CHECK_EQ(hy_byte_ring_reserve(ring, bytes, &span), 0);
    HY_CHECK_EQ(hy_byte_ring_commit(ring, bytes), 0);
}

static void pop(hy_byte_ring *ring)
{
    const void *record;
    size_t bytes;

    HY_CHECK_EQ(hy_byte_ring_peek(ring, &record, &bytes), 0);
    hy_byte_ring_release(ring);
}

/* Not for room that is not enough: one wake, and one sleep. */
HY_TEST(ring_bytes_wait, a_producer_is_woken_when_its_record_fits)
{
    struct sleeper s = {.ring = make(1, 0, 0)};
    size_t capacity = hy_byte_ring_capacity(s.ring);

    s.bytes = capacity / 2;
    for (int i = 0; i < 8; i++)
        push(s.ring, capacity / 8 - 8);
    put_to_sleep(&s, sleep_for_room);
    for (int i = 0; i < 4; i++)
        pop(s.ring);
    pass_time(WHILE_NS);
    HY_CHECK_EQ(atomic_load(&s.is_back), 0);
    pop(s.ring);
    check_result(&s, 0);
    HY_CHECK_EQ(stats_of(s.ring).pop_wakes, 1);
    HY_CHECK_EQ(stats_of(s.ring).push_parks, 1);
    hy_byte_ring_destroy(s.ring);
}

HY_TEST(ring_bytes_wait, a_consumer_is_woken_at_its_mark)
{
    struct sleeper s = {.ring = make(1, 1000, 0)};

    put_to_sleep(&s, sleep_for_record);
    push(s.ring, 400);
    push(s.ring, 400);
    pass_time(WHILE_NS);
    HY_CHECK_EQ(atomic_load(&s.is_back), 0);
    push(s.ring, 180);
    check_result(&s, 0);
    HY_CHECK_EQ(s.bytes, 400);
    HY_CHECK_EQ(stats_of(s.ring).push_wakes, 1);
    hy_byte_ring_destroy(s.ring);
}

/* The next record is long, and what is in is below the consumer's mark. */
HY_TEST(ring_bytes_wait, two_sides_that_wait_do_not_wait_for_each_other)
{
    struct sleeper s = {.ring = make(1, hyi_os_page_bytes(), 0)};
    size_t longest = hy_byte_ring_longest(s.ring);
    hy_deadline until = soon();
    void *span;

    put_to_sleep(&s, sleep_for_record);
    push(s.ring, 100);
    HY_CHECK_EQ(hy_byte_ring_reserve_wait(s.ring, longest, &span,
                                          hy_after(5 * WHILE_NS)),
                -ETIMEDOUT); /* it only peeked */
    check_result(&s, 0);
    HY_CHECK_EQ(s.bytes, 100);
    hy_byte_ring_release(s.ring);
    HY_CHECK_EQ(hy_byte_ring_reserve_wait(s.ring, longest, &span, until), 0);
    HY_CHECK(hy_now() < until);
    hy_byte_ring_destroy(s.ring);
}

HY_TEST(ring_bytes_wait, a_close_wakes_both)
{
    struct sleeper s = {.ring = make(1, 0, 0)};
    struct sleeper p = {.ring = make(1, 0, 0)};

    put_to_sleep(&s, sleep_for_record);
    hy_byte_ring_close(s.ring);
    check_result(&s, -EPIPE);
    hy_byte_ring_destroy(s.ring);

    p.bytes = hy_byte_ring_longest(p.ring);
    push(p.ring, 0);
    put_to_sleep(&p, sleep_for_room);
    hy_byte_ring_close(p.ring);
    check_result(&p, -EPIPE);
    hy_byte_ring_destroy(p.ring);
}

/* A commit that races with a close is in, or is told that it is not. */
static void *push_until_closed(void *arg)
{
    struct stream *s = arg;
    int r;

    do {
        r = hy_byte_ring_push(s->ring, "0123456789", 10);
        s->count += r == 0;
    } while (r == 0 || r == -EAGAIN);
    s->result = r;
    return NULL;
}

HY_TEST(ring_bytes_wait, what_was_accepted_is_read_to_the_end)
{
    uint64_t start = hyi_os_now();

    for (int round = 0; round < 400; round++) {
        struct stream s = {.ring = make(1, 0, 0)};
        uint64_t state = (uint64_t)round + 9, taken = 0;
        char out[16];
        size_t bytes;
        int r;

        HY_CHECK_EQ(hyi_os_thread_start(&s.thread, push_until_closed, &s), 0);
        for (uint64_t k = random_next(&state) % 200; k != 0; k--)
            taken += hy_byte_ring_pop(s.ring, out, 16, &bytes) == 0;
        hy_byte_ring_close(s.ring);
        while ((r = hy_byte_ring_pop(s.ring, out, 16, &bytes)) == 0)
            taken++;
        HY_CHECK_EQ(r, -EPIPE);
        pthread_join(s.thread, NULL);
        HY_CHECK_EQ(s.result, -EPIPE);
        HY_CHECK_EQ(taken, s.count);
        hy_byte_ring_destroy(s.ring);
        if (hyi_os_now() - start > STRESS_NS)
            break;
    }
}
