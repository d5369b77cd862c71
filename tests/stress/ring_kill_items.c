/*
 * ring_kill_items.c - items of one size, for stress_ring_kill.c: each is its
 * number, scrambled words, and their sum.
 *
 * Upstream: ring_kill.h. Downstream: ring.h.
 */
#include "ring_kill.h"

#include <errno.h>
#include <string.h>

enum { WORDS = 5, CAPACITY = 16 };

struct item {
    uint64_t word[WORDS];
};

static hy_ring *ring;

static hy_ring_stats stats_of_ring(void)
{
    hy_ring_stats s = {.size = sizeof(s)};

    hy_ring_stats_get(ring, &s);
    return s;
}

static void fill(struct item *item, uint64_t number)
{
    uint64_t sum = item->word[0] = number;

    for (int i = 1; i < WORDS - 1; i++)
        sum += item->word[i] = (number + (uint64_t)i) * 0x9e3779b97f4a7c15u;
    item->word[WORDS - 1] = sum;
}

static void check(const struct item *item, uint64_t number)
{
    struct item wanted;

    fill(&wanted, number);
    EXPECT(item->word[0] == number, item->word[0] - number);
    EXPECT(memcmp(item, &wanted, sizeof(wanted)) == 0, number);
}

/* --- the producer --------------------------------------------------------- */

static uint64_t push_span(uint64_t next, size_t want)
{
    size_t got;
    struct item *span = hy_ring_reserve(ring, want, &got);

    for (size_t i = 0; i < got; i++)
        fill(&span[i], next + i);
    hy_ring_commit(ring, got);
    return got;
}

/* One way of pushing; returns how many went in. */
static uint64_t push_somehow(uint64_t way, uint64_t next)
{
    hy_deadline until = hy_after(PATIENCE_NS);
    struct item items[BATCH];
    size_t want = 1 + (size_t)(way >> 8) % BATCH;

    if (way % 4 == 0)
        return push_span(next, want);
    for (size_t i = 0; i < want; i++)
        fill(&items[i], next + i);
    if (way % 4 == 1)
        return hy_ring_push_n(ring, items, want);
    if (way % 8 == 2)
        return hy_ring_push_mp_n(ring, items, want);
    if (way % 16 != 3)
        return hy_ring_push(ring, items) == 0;
    return (uint64_t)is_over(hy_ring_push_wait(ring, items, until), until);
}

static void produce(uint64_t seed)
{
    uint64_t next;
    int r = hy_ring_claim(ring, HY_RING_PRODUCER);

    EXPECT(r == 0, r);
    next = stats_of_ring().pushed;
    check_pushed(next);
    for (;;) {
        atomic_store(&board->reported, next);
        if (atomic_load(&board->stop))
            break;
        next += push_somehow(random_next(&seed), next);
    }
    hy_ring_close(ring);
}

/* --- the consumer --------------------------------------------------------- */

static uint64_t pop_span(uint64_t next)
{
    size_t count_of = 0;
    const struct item *span = hy_ring_peek(ring, &count_of);

    if (count_of > BATCH)
        count_of = BATCH;
    for (size_t i = 0; i < count_of; i++) {
        check(&span[i], next + i);
        atomic_store(&board->seen, next + i + 1);
    }
    hy_ring_release(ring, count_of);
    return count_of;
}

/* One way of popping; returns how many came out. */
static uint64_t pop_somehow(uint64_t way, uint64_t next)
{
    hy_deadline until = hy_after(PATIENCE_NS);
    struct item items[BATCH];
    uint64_t n;

    if (way % 4 == 0)
        return pop_span(next);
    if (way % 4 == 1)
        n = hy_ring_pop_n(ring, items, 1 + (size_t)(way >> 8) % BATCH);
    else if (way % 16 != 3)
        n = hy_ring_pop(ring, items) == 0;
    else
        n = (uint64_t)is_over(hy_ring_pop_wait(ring, items, until), until);
    for (uint64_t i = 0; i < n; i++)
        check(&items[i], next + i);
    return n;
}

static void consume(uint64_t seed)
{
    uint64_t next;
    struct item item;
    int r = hy_ring_claim(ring, HY_RING_CONSUMER);

    EXPECT(r == 0, r);
    next = stats_of_ring().popped;
    check_popped(next);
    do {
        atomic_store(&board->taken, next);
        next += pop_somehow(random_next(&seed), next);
    } while (hy_ring_state(ring) != -EPIPE);
    while ((r = hy_ring_pop(ring, &item)) == 0)
        check(&item, next++);
    EXPECT(r == -EPIPE, r);
    atomic_store(&board->taken, next);
}

/* --- the kind ------------------------------------------------------------- */

static const hy_ring *make(void)
{
    hy_ring_options o = HY_RING_OPTIONS_INIT;

    o.item_bytes = sizeof(struct item);
    o.capacity = CAPACITY;
    o.flags = HY_RING_SHARED;
    return hy_ring_create(&ring, &o) == 0 ? ring : NULL;
}

static void destroy(void)
{
    hy_ring_destroy(ring);
}

static uint64_t index_of(uint64_t number)
{
    return number;
}

const struct kind kill_items = {"items", "items", make,    destroy,
                                produce, consume, index_of};
