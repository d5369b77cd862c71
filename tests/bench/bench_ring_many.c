/*
 * bench_ring_many.c - one, two, and four producers on one ring, beside queues
 * of many producers.
 *
 *      consumer on processor 0, producer k on processor k + 1 (of two: 1 and 0
 *      in turn), from a common start
 *
 * With two and four producers on two processors, producers lose theirs to each
 * other and to the consumer in the middle of a push.
 * Upstream: bench_ring.c. Downstream: bench_ring_many.h, ring.h.
 */
#include "bench_ring_many.h"

#include <hyperion/ring.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

static hy_ring *ring;

static void reset(void)
{
    hy_ring_options o = HY_RING_OPTIONS_INIT;

    o.item_bytes = sizeof(uint64_t);
    o.capacity = RING_CAPACITY;
    hy_ring_destroy(ring);
    ring = NULL;
    if (hy_ring_create(&ring, &o) != 0)
        bench_wrong("no ring");
}

static inline bool push(uint64_t value)
{
    return hy_ring_push_mp(ring, &value) == 0;
}

static inline bool push_single(uint64_t value)
{
    return hy_ring_push(ring, &value) == 0;
}

static inline bool pop(uint64_t *value)
{
    return hy_ring_pop(ring, value) == 0;
}

MANY_LOOPS(ours, push, pop)
MANY_LOOPS(single, push_single, pop)

/* Batches of RING_BATCH, or what is left of one. */
static void batch_produce(unsigned id, uint64_t count)
{
    uint64_t v[RING_BATCH], n, done;
    unsigned times = 0;

    for (uint64_t i = 0; i < count; i += n) {
        n = count - i < RING_BATCH ? count - i : RING_BATCH;
        for (uint64_t k = 0; k < n; k++)
            v[k] = many_value(id, i + k);
        for (done = 0; done < n;) {
            size_t went = hy_ring_push_mp_n(ring, v + done, (size_t)(n - done));

            done += went;
            if (went == 0)
                many_pause(&times);
        }
    }
}

static void batch_consume(unsigned producers, uint64_t each)
{
    uint64_t v[RING_BATCH], next[MANY_MOST] = {0};
    unsigned times = 0;
    size_t n;

    for (uint64_t i = 0; i < producers * each; i += n) {
        n = hy_ring_pop_n(ring, v, RING_BATCH);
        for (size_t k = 0; k < n; k++)
            many_check(v[k], next, producers);
        if (n == 0)
            many_pause(&times);
    }
}

static const struct many_peer many_ours = {"hy_ring, push_mp", reset,
                                           ours_produce, ours_consume};
static const struct many_peer many_single = {"hy_ring, push", reset,
                                             single_produce, single_consume};
static const struct many_peer many_batch = {"hy_ring, push_mp_n of 32", reset,
                                            batch_produce, batch_consume};

/* --- threads -------------------------------------------------------------- */

static struct {
    const struct many_peer *peer;
    uint64_t each;
    _Atomic unsigned ready;
    _Atomic int go;
} run;

static void *produce(void *arg)
{
    unsigned id = (unsigned)(uintptr_t)arg, times = 0;

    bench_pin((id + 1) % bench_cpu_count());
    atomic_fetch_add(&run.ready, 1);
    while (!atomic_load(&run.go))
        many_pause(&times);
    run.peer->produce(id, run.each);
    return arg;
}

/* ns an item: from the common start until the last item has been checked. */
static double stream(const struct many_peer *peer, unsigned producers,
                     uint64_t items)
{
    pthread_t t[MANY_MOST];
    unsigned times = 0;
    uint64_t start;

    peer->reset();
    run.peer = peer;
    run.each = items / producers;
    atomic_store(&run.ready, 0);
    atomic_store(&run.go, 0);
    for (unsigned i = 0; i < producers; i++)
        if (pthread_create(&t[i], NULL, produce, (void *)(uintptr_t)i) != 0)
            bench_wrong("no thread");
    bench_pin(0);
    while (atomic_load(&run.ready) != producers)
        many_pause(&times);
    start = bench_now();
    atomic_store(&run.go, 1);
    peer->consume(producers, run.each);
    start = bench_now() - start;
    for (unsigned i = 0; i < producers; i++)
        pthread_join(t[i], NULL);
    return (double)start / (double)(run.each * producers);
}

static double by_one(void *arg)
{
    return stream((const struct many_peer *)arg, 1, bench_scale(2000000));
}

static double by_two(void *arg)
{
    return stream((const struct many_peer *)arg, 2, bench_scale(1000000));
}

static double by_four(void *arg)
{
    return stream((const struct many_peer *)arg, 4, bench_scale(1000000));
}

/* --- rows ----------------------------------------------------------------- */

static struct bench_contender contender(const struct many_peer *peer,
                                        const char *name, double (*how)(void *))
{
    struct bench_contender c = {name, how, (void *)(uintptr_t)peer, NULL};

    if (peer->name == NULL)
        c.absent = BENCH_ABSENT;
    return c;
}

static void row_of(struct bench_row row, double (*how)(void *))
{
    struct bench_contender c[] = {
        contender(&many_ours, "hy_ring, push_mp", how),
        contender(&many_batch, "the same, batches of 32", how),
        contender(&many_ck, "ck_ring, mpsc", how),
        contender(&many_rte, "rte_ring, mp/sc", how),
        contender(&many_boost, "boost lockfree::queue", how),
        contender(&many_moodycamel, "concurrentqueue", how),
        contender(&many_single, "hy_ring, push", how),
        contender(&many_atomic, "atomic_queue", how),
    };
    size_t count = sizeof(c) / sizeof(c[0]);

    /* The last two are for one producer, or keep no order beside others. */
    bench_row_run(&row, c, how == by_one ? count : count - 2);
}

void many_rows(void)
{
    struct bench_row row = {.what = "push_mp, one producer, 8 B, capacity "
                                    "1,024",
                            .unit = "ns/item",
                            .target = "2.5x the best peer",
                            .gated = true};

    row_of(row, by_one);
    row.what = "the same, two producers";
    row.target = "";
    row_of(row, by_two);
    row.what = "the same, four producers";
    row_of(row, by_four);
    bench_note("Many producers, two processors: all give theirs away every "
               "32nd try. atomic_queue does not keep a producer's order "
               "beside others: an item that comes a whole ring later can take "
               "the place of one whose producer lost its processor.");
}
