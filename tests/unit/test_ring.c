/*
 * test_ring.c - one thread: order, exact full and empty, batches, spans,
 * closing, overwriting, placement, and every bad input.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include <hyperion/ring.h>

#include "fail.h"
#include "hy_test.h"
#include "os.h"
#include "process.h"
#include "ring_layout.h"

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

static int push(hy_ring *ring, uint64_t value)
{
    return hy_ring_push(ring, &value);
}

static void check_pop(hy_ring *ring, uint64_t expected)
{
    uint64_t value = 0;

    HY_CHECK_EQ(hy_ring_pop(ring, &value), 0);
    HY_CHECK_EQ(value, expected);
}

static uint64_t head_start(size_t item_bytes, size_t capacity, unsigned flags)
{
    hy_ring *ring = make(item_bytes, capacity, flags);
    uint64_t run = ring->run;

    hy_ring_destroy(ring);
    return run;
}

/* A wait that cannot pay is tried after 1, 3, 7, ... and 255 short finds. */
HY_TEST(ring, a_consumer_seldom_waits_for_a_producer_that_adds_nothing)
{
    hy_ring *ring = make(8, 1024, 0);
    struct hyi_ring_consumer *c = &ring->consumer;
    uint32_t tried = 0;

    HY_CHECK_EQ(ring->run, 256);
    for (uint64_t i = 0; i < 1000; i++) {
        uint32_t rests = c->rests;

        HY_CHECK_EQ(push(ring, i), 0);
        check_pop(ring, i);
        tried += rests == 0;
        HY_CHECK(rests == 0 || c->rests == rests - 1);
    }
    HY_CHECK_EQ(c->rested, 255);
    HY_CHECK_EQ(tried, 10);
    /* More than a head start ends no rest, and needs no wait. */
    for (uint64_t i = 0; i < 256; i++)
        HY_CHECK_EQ(push(ring, i), 0);
    tried = c->rests;
    check_pop(ring, 0);
    HY_CHECK_EQ(c->rests, tried);
    hy_ring_destroy(ring);
    HY_CHECK_EQ(head_start(64, 65536, 0), 256);
    HY_CHECK_EQ(head_start(100000, 64, 0), 0);
    HY_CHECK_EQ(head_start(8, 2, 0), 0);
    HY_CHECK_EQ(head_start(8, 1024, HY_RING_LOCAL), 0);
}

HY_TEST(ring, items_come_out_in_order_and_full_is_exact)
{
    hy_ring *ring = make(8, 1000, 0);
    uint64_t value = 7, next = 0, taken = 0;

    HY_CHECK_EQ(hy_ring_capacity(ring), 1024);
    HY_CHECK_EQ(hy_ring_state(ring), -EAGAIN);
    HY_CHECK_EQ(hy_ring_pop(ring, &value), -EAGAIN);
    HY_CHECK_EQ(value, 7);
    for (int round = 0; round < 100; round++) {
        while (push(ring, next) == 0)
            next++;
        HY_CHECK_EQ(next - taken, 1024);
        HY_CHECK_EQ(hy_ring_count(ring), 1024);
        /* One pop makes room for one push, published late or not. */
        check_pop(ring, taken++);
        HY_CHECK_EQ(push(ring, next++), 0);
        HY_CHECK_EQ(push(ring, next), -EAGAIN);
        for (int i = 0; i < round * 10; i++)
            check_pop(ring, taken++);
        HY_CHECK_EQ(hy_ring_state(ring), 0);
    }
    while (taken < next)
        check_pop(ring, taken++);
    HY_CHECK_EQ(hy_ring_pop(ring, &value), -EAGAIN);
    hy_ring_destroy(ring);
}

HY_TEST(ring, any_item_size_and_a_single_slot)
{
    static const size_t sizes[] = {1, 3, 4, 8, 12, 16, 64, 100, 4096};
    unsigned char in[4096], out[4097];

    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        hy_ring *ring = make(sizes[s], 1, 0);

        for (int i = 0; i < 10; i++) {
            memset(in, 'a' + i, sizeof(in));
            memset(out, '.', sizeof(out));
            HY_CHECK_EQ(hy_ring_push(ring, in), 0);
            HY_CHECK_EQ(hy_ring_push(ring, in), -EAGAIN);
            HY_CHECK_EQ(hy_ring_pop(ring, out), 0);
            HY_CHECK(memcmp(in, out, sizes[s]) == 0);
            HY_CHECK_EQ(out[sizes[s]], '.');
        }
        hy_ring_destroy(ring);
    }
}

HY_TEST(ring, batches_are_cut_at_full_and_empty)
{
    hy_ring *ring = make(4, 16, 0);
    uint32_t in[40], out[40], next = 0, taken = 0;

    HY_CHECK_EQ(hy_ring_push_n(ring, in, 0), 0);
    HY_CHECK_EQ(hy_ring_pop_n(ring, out, 40), 0);
    for (int round = 0; round < 200; round++) {
        size_t want = (size_t)(round * 7 % 21);
        size_t room = 16 - (next - taken), n;

        for (size_t i = 0; i < want; i++)
            in[i] = next + (uint32_t)i;
        n = hy_ring_push_n(ring, in, want);
        HY_CHECK_EQ(n, want < room ? want : room);
        next += (uint32_t)n;
        want = (size_t)(round * 5 % 19);
        n = hy_ring_pop_n(ring, out, want);
        HY_CHECK_EQ(n, want < next - taken ? want : next - taken);
        for (size_t i = 0; i < n; i++)
            HY_CHECK_EQ(out[i], taken++);
    }
    hy_ring_destroy(ring);
}

HY_TEST(ring, spans_are_written_and_read_in_place)
{
    hy_ring *ring = make(8, 8, 0);
    const uint64_t *read;
    uint64_t *span;
    size_t n = 99;

    HY_CHECK(hy_ring_peek(ring, &n) == NULL && n == 0);
    span = hy_ring_reserve(ring, 5, &n);
    HY_CHECK_EQ(n, 5);
    HY_CHECK_EQ((uintptr_t)span % 128, 0);
    for (uint64_t i = 0; i < 5; i++)
        span[i] = i;
    HY_CHECK_EQ(hy_ring_state(ring), -EAGAIN);
    hy_ring_commit(ring, 0);
    HY_CHECK_EQ(hy_ring_state(ring), -EAGAIN);
    hy_ring_commit(ring, 5); /* that span is gone */
    HY_CHECK_EQ(hy_ring_state(ring), -EAGAIN);
    HY_CHECK(hy_ring_reserve(ring, 5, &n) == span);
    hy_ring_commit(ring, 99);
    HY_CHECK_EQ(hy_ring_count(ring), 5);
    HY_CHECK(hy_ring_reserve(ring, 4, NULL) == NULL);
    HY_CHECK(hy_ring_reserve(ring, 4, &n) == span + 5);
    HY_CHECK_EQ(n, 3); /* up to the end of the slots */
    span[5] = 5;
    hy_ring_commit(ring, 1);
    read = hy_ring_peek(ring, &n);
    HY_CHECK_EQ(n, 6);
    for (uint64_t i = 0; i < 6; i++)
        HY_CHECK_EQ(read[i], i);
    hy_ring_release(ring, 2);
    hy_ring_release(ring, 2); /* that span is gone */
    HY_CHECK_EQ(hy_ring_count(ring), 4);
    HY_CHECK_EQ(push(ring, 6), 0);
    HY_CHECK_EQ(*(const uint64_t *)hy_ring_peek(ring, &n), 2);
    HY_CHECK_EQ(n, 5);
    hy_ring_release(ring, 99);
    HY_CHECK_EQ(hy_ring_state(ring), -EAGAIN);
    hy_ring_destroy(ring);
}

HY_TEST(ring, reserve_sees_all_the_room_there_is)
{
    hy_ring *ring = make(8, 64, 0);
    size_t n;

    for (uint64_t i = 0; i < 64; i++)
        HY_CHECK_EQ(push(ring, i), 0);
    HY_CHECK(hy_ring_reserve(ring, 1, &n) == NULL);
    check_pop(ring, 0);
    HY_CHECK(hy_ring_reserve(ring, SIZE_MAX, &n) != NULL);
    HY_CHECK_EQ(n, 1);
    HY_CHECK(hy_ring_reserve(ring, 0, &n) == NULL);
    HY_CHECK_EQ(n, 0);
    hy_ring_destroy(ring);
}

HY_TEST(ring, closed_refuses_pushes_and_drains_pops)
{
    hy_ring *ring = make(8, 8, 0);
    uint64_t value = 1;
    size_t n;

    HY_CHECK_EQ(push(ring, 41), 0);
    HY_CHECK_EQ(push(ring, 42), 0);
    hy_ring_close(ring);
    hy_ring_close(ring);
    HY_CHECK_EQ(push(ring, 43), -EPIPE);
    HY_CHECK_EQ(hy_ring_push_n(ring, &value, 1), 0);
    HY_CHECK(hy_ring_reserve(ring, 1, &n) == NULL);
    HY_CHECK_EQ(hy_ring_push_wait(ring, &value, HY_FOREVER), -EPIPE);
    HY_CHECK_EQ(hy_ring_state(ring), -EPIPE);
    check_pop(ring, 41);
    HY_CHECK_EQ(hy_ring_pop_wait(ring, &value, HY_FOREVER), 0);
    HY_CHECK_EQ(value, 42);
    HY_CHECK_EQ(hy_ring_pop(ring, &value), -EPIPE);
    HY_CHECK_EQ(hy_ring_pop_wait(ring, &value, HY_FOREVER), -EPIPE);
    HY_CHECK_EQ(hy_ring_pop_n(ring, &value, 1), 0);
    HY_CHECK(hy_ring_peek(ring, &n) == NULL);
    hy_ring_destroy(ring);
}

/*
 * A push in flight: it has published when the close and the consumer's last
 * look are over, or just before. Its result must be what the consumer saw.
 */
HY_TEST(ring, a_push_that_races_with_the_close_is_told_the_truth)
{
    hy_ring *ring = make(8, 8, 0);
    uint64_t value;

    /* The consumer decides first: the push is refused. */
    hy_ring_close(ring);
    HY_CHECK_EQ(hy_ring_pop(ring, &value), -EPIPE);
    HY_CHECK_EQ(hyi_ring_attend_reader(ring, 0, 1), 0);
    atomic_store(&ring->tail, 1);
    HY_CHECK_EQ(hy_ring_pop(ring, &value), -EPIPE);
    hy_ring_destroy(ring);

    /* The producer decides first: the item is delivered. */
    ring = make(8, 8, 0);
    value = 5;
    memcpy(hyi_ring_slot(ring, 0), &value, 8);
    hy_ring_close(ring);
    atomic_store(&ring->tail, 1);
    HY_CHECK_EQ(hyi_ring_attend_reader(ring, 0, 1), 1);
    check_pop(ring, 5);
    HY_CHECK_EQ(hy_ring_pop(ring, &value), -EPIPE);
    hy_ring_destroy(ring);
}

HY_TEST(ring, overwriting_drops_the_oldest)
{
    static const size_t sizes[] = {1, 8, 13, 64};
    unsigned char in[64], out[64];
    hy_ring_stats stats = {.size = sizeof(stats)};
    size_t n;

    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        hy_ring *ring = make(sizes[s], 4, HY_RING_OVERWRITE);

        HY_CHECK_EQ(hy_ring_pop(ring, out), -EAGAIN);
        for (unsigned i = 0; i < 11; i++) {
            memset(in, (int)i, sizeof(in));
            HY_CHECK_EQ(hy_ring_push(ring, in), 0);
        }
        HY_CHECK_EQ(hy_ring_count(ring), 4);
        for (unsigned i = 7; i < 11; i++) {
            memset(in, (int)i, sizeof(in));
            HY_CHECK_EQ(hy_ring_pop(ring, out), 0);
            HY_CHECK(memcmp(in, out, sizes[s]) == 0);
        }
        HY_CHECK_EQ(hy_ring_pop(ring, out), -EAGAIN);
        HY_CHECK_EQ(hy_ring_stats_get(ring, &stats), 0);
        HY_CHECK_EQ(stats.lost, 7);
        HY_CHECK_EQ(stats.pushed, 11);
        HY_CHECK_EQ(stats.popped, 11);
        HY_CHECK(hy_ring_reserve(ring, 1, &n) == NULL);
        HY_CHECK(hy_ring_peek(ring, &n) == NULL);
        HY_CHECK_EQ(hy_ring_push_wait(ring, in, HY_NOW), 0);
        hy_ring_close(ring);
        HY_CHECK_EQ(hy_ring_push(ring, in), -EPIPE);
        HY_CHECK_EQ(hy_ring_pop_wait(ring, out, HY_NOW), 0);
        HY_CHECK_EQ(hy_ring_pop(ring, out), -EPIPE);
        hy_ring_destroy(ring);
    }
}

HY_TEST(ring, overwriting_takes_batches_too)
{
    hy_ring *ring = make(2, 4, HY_RING_OVERWRITE);
    uint16_t in[6] = {1, 2, 3, 4, 5, 6}, out[6] = {0};

    HY_CHECK_EQ(hy_ring_push_n(ring, in, 6), 6);
    HY_CHECK_EQ(hy_ring_pop_n(ring, out, 6), 4);
    HY_CHECK_EQ(out[0], 3);
    HY_CHECK_EQ(out[3], 6);
    hy_ring_destroy(ring);
}

HY_TEST(ring, a_full_or_empty_ring_times_out)
{
    hy_ring *ring = make(8, 1, 0);
    uint64_t value = 3;

    errno = 77;
    HY_CHECK_EQ(hy_ring_pop_wait(ring, &value, HY_NOW), -ETIMEDOUT);
    HY_CHECK_EQ(hy_ring_pop_wait(ring, &value, 1), -ETIMEDOUT);
    HY_CHECK_EQ(hy_ring_pop_wait(ring, &value, hy_after(2000000)), -ETIMEDOUT);
    HY_CHECK_EQ(push(ring, 1), 0);
    HY_CHECK_EQ(hy_ring_push_wait(ring, &value, HY_NOW), -ETIMEDOUT);
    HY_CHECK_EQ(hy_ring_push_wait(ring, &value, hy_after(2000000)), -ETIMEDOUT);
    HY_CHECK_EQ(errno, 77);
    check_pop(ring, 1);
    HY_CHECK_EQ(atomic_load(&ring->reader), 0);
    HY_CHECK_EQ(atomic_load(&ring->writer), 0);
    hy_ring_destroy(ring);
}

HY_TEST(ring, placement_in_the_callers_memory)
{
    hy_ring_options o = HY_RING_OPTIONS_INIT;
    hy_ring *ring = NULL, *again = NULL;
    unsigned char *memory;
    size_t bytes = 0;

    o.item_bytes = 24;
    o.capacity = 30;
    HY_CHECK_EQ(hy_ring_placement(&bytes, &o), 0);
    HY_CHECK(bytes >= sizeof(*ring) + 24 * 32);
    memory = aligned_alloc(128, bytes + 128);
    memset(memory, 0xa5, bytes + 128);
    HY_CHECK_EQ(hy_ring_attach(&ring, memory, bytes), -EBADMSG);
    HY_CHECK_EQ(hy_ring_init(&ring, memory + 64, bytes, &o), -EINVAL);
    HY_CHECK_EQ(hy_ring_init(&ring, memory, bytes - 1, &o), -ENOSPC);
    HY_CHECK_EQ(hy_ring_init(&ring, NULL, bytes, &o), -EINVAL);
    HY_CHECK_EQ(hy_ring_init(NULL, memory, bytes, &o), -EINVAL);
    HY_CHECK_EQ(hy_ring_init(&ring, memory, bytes, NULL), -EINVAL);
    HY_CHECK(ring == NULL);
    HY_CHECK_EQ(hy_ring_init(&ring, memory, bytes, &o), 0);
    HY_CHECK_EQ(hy_ring_attach(&again, memory, bytes), 0);
    HY_CHECK(again == ring);
    for (int i = 0; i < 32; i++)
        HY_CHECK_EQ(hy_ring_push(ring, memory + bytes), 0);
    HY_CHECK_EQ(hy_ring_push(ring, memory + bytes), -EAGAIN);
    HY_CHECK_EQ(hy_ring_count(again), 32);
    for (size_t i = 0; i < 128; i++)
        HY_CHECK_EQ(memory[bytes + i], 0xa5);
    HY_CHECK_EQ(hy_ring_attach(NULL, memory, bytes), -EINVAL);
    HY_CHECK_EQ(hy_ring_attach(&again, NULL, bytes), -EINVAL);
    HY_CHECK_EQ(hy_ring_attach(&again, memory + 1, bytes), -EINVAL);
    HY_CHECK_EQ(hy_ring_attach(&again, memory, bytes - 1), -ENOSPC);
    HY_CHECK_EQ(hy_ring_attach(&again, memory, 64), -EBADMSG);
    ring->version++;
    HY_CHECK_EQ(hy_ring_attach(&again, memory, bytes), -EPROTO);
    ring->version--;
    ring->mask--;
    HY_CHECK_EQ(hy_ring_attach(&again, memory, bytes), -EBADMSG);
    ring->mask++;
    ring->stride = SIZE_MAX / 4;
    HY_CHECK_EQ(hy_ring_attach(&again, memory, bytes), -EBADMSG);
    hy_ring_destroy(ring);
    HY_CHECK_EQ(hy_ring_attach(&again, memory, bytes), -EBADMSG);
    free(memory);
}

HY_TEST(ring, bad_options_are_named)
{
    static const struct {
        size_t item_bytes, capacity;
        unsigned flags;
        int error;
    } rows[] = {
        {0, 8, 0, -EINVAL},
        {8, 0, 0, -EINVAL},
        {8, 8, 1u << 31, -EINVAL},
        {8, 8, HY_RING_SHARED | HY_RING_LOCAL, -EINVAL},
        {SIZE_MAX, 8, 0, -EOVERFLOW},
        {SIZE_MAX / 8, 8, 0, -EOVERFLOW},
        {8, SIZE_MAX, 0, -EOVERFLOW},
        {8, SIZE_MAX / 2, 0, -EOVERFLOW},
        {1, SIZE_MAX / 2 + 2, 0, -EOVERFLOW},
        {SIZE_MAX - 3, 1, HY_RING_OVERWRITE, -EOVERFLOW},
    };
    hy_ring_options o = HY_RING_OPTIONS_INIT;
    hy_ring_stats stats = {.size = 1};
    hy_ring *ring = NULL;
    size_t bytes = 77;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        o.item_bytes = rows[i].item_bytes;
        o.capacity = rows[i].capacity;
        o.flags = rows[i].flags;
        HY_CHECK_EQ(hy_ring_create(&ring, &o), rows[i].error);
        HY_CHECK_EQ(hy_ring_placement(&bytes, &o), rows[i].error);
    }
    HY_CHECK_EQ(hy_ring_create(&ring, NULL), -EINVAL);
    HY_CHECK_EQ(hy_ring_create(NULL, &o), -EINVAL);
    HY_CHECK_EQ(hy_ring_placement(NULL, &o), -EINVAL);
    HY_CHECK_EQ(hy_ring_placement(&bytes, NULL), -EINVAL);
    o.size = 3;
    HY_CHECK_EQ(hy_ring_create(&ring, &o), -EINVAL);
    HY_CHECK(ring == NULL && bytes == 77);
    hy_ring_destroy(NULL);
    ring = make(8, 8, 0);
    HY_CHECK_EQ(hy_ring_stats_get(ring, &stats), -EINVAL);
    HY_CHECK_EQ(hy_ring_stats_get(ring, NULL), -EINVAL);
    hy_ring_destroy(ring);
}

HY_TEST(ring, no_memory_is_an_error)
{
    hy_ring_options o = HY_RING_OPTIONS_INIT;
    hy_ring *ring = NULL;

    o.item_bytes = o.capacity = 8;
    hy_fail_at(HY_FAIL_ALIGNED_ALLOC, 1, ENOMEM);
    errno = 77;
    HY_CHECK_EQ(hy_ring_create(&ring, &o), -ENOMEM);
    HY_CHECK_EQ(errno, 77);
    HY_CHECK_EQ(hy_fail_hits(), 1);
    hy_fail_none();
    HY_CHECK(ring == NULL);
}

static void note(void *ctx, int level, const char *message)
{
    (void)message;
    *(int *)ctx += level == HY_REPORT_WARNING;
}

HY_TEST(ring, without_membarrier_both_sides_fence_and_it_is_reported)
{
    hy_ring_options o = HY_RING_OPTIONS_INIT;
    hy_ring_stats stats = {.size = sizeof(stats)};
    int probe = atomic_load(&hyi_process.barrier), reports = 0;
    hy_ring *ring = NULL;

    o.item_bytes = o.capacity = 8;
    o.report.write = note;
    o.report.ctx = &reports;
    atomic_store(&hyi_process.barrier, HYI_PROBE_NO);
    HY_CHECK_EQ(hy_ring_create(&ring, &o), 0);
    atomic_store(&hyi_process.barrier, probe);
    HY_CHECK_EQ(reports, 1);
    HY_CHECK_EQ(hy_ring_stats_get(ring, &stats), 0);
    HY_CHECK_EQ(stats.fenced, 1);
    HY_CHECK_EQ(stats.capacity, 8);
    HY_CHECK_EQ(push(ring, 1), 0);
    check_pop(ring, 1);
    hy_ring_destroy(ring);
}
