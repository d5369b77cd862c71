/*
 * bench_ring.c - the ring beside other rings: items one by one, in batches and
 * in place, there and back, within one thread, and what a push costs when its
 * reader may sleep.
 *
 *      peer: { produce, consume } on processors 1 and 0, from a common start
 *
 * Upstream: bench.h, bench_ring.h, bench_ring_many.h. Downstream: ring.h,
 * inline/ring.h.
 */
#include "bench_ring_many.h"

#include <hyperion/inline/ring.h>
#include <hyperion/ring.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

/* --- our rings ------------------------------------------------------------ */

HY_RING_DEFINE(word_ring, uint64_t, RING_CAPACITY);
HY_RING_DEFINE_LOCAL(local_ring, uint64_t, RING_CAPACITY);
HY_RING_DEFINE(wide_ring, struct wide_item, WIDE_CAPACITY);

static word_ring typed[2];
static local_ring local;
static wide_ring wide;
static hy_ring *opaque[2];
static hy_ring *wide_opaque;

static void typed_reset(void)
{
    word_ring_init(&typed[0]);
    word_ring_init(&typed[1]);
}

#define TYPED_PUSH(ring, value) (word_ring_push(&typed[ring], value) == 0)
#define TYPED_POP(ring, out)    (word_ring_pop(&typed[ring], out) == 0)
RING_LOOPS(typed, TYPED_PUSH, TYPED_POP)

#define TYPED_PUSH_N(values, n) word_ring_push_n(&typed[0], values, n)
#define TYPED_POP_N(values, n)  word_ring_pop_n(&typed[0], values, n)
RING_BATCH_LOOPS(typed_batch, TYPED_PUSH_N, TYPED_POP_N)

static void remake(hy_ring **ring, size_t item_bytes, size_t capacity,
                   unsigned flags)
{
    hy_ring_options o = HY_RING_OPTIONS_INIT;

    o.item_bytes = item_bytes;
    o.capacity = capacity;
    o.flags = flags;
    hy_ring_destroy(*ring);
    *ring = NULL;
    if (hy_ring_create(ring, &o) != 0)
        bench_wrong("no ring");
}

static void opaque_reset(void)
{
    remake(&opaque[0], sizeof(uint64_t), RING_CAPACITY, 0);
    remake(&opaque[1], sizeof(uint64_t), RING_CAPACITY, 0);
}

static void opaque_local_reset(void)
{
    remake(&opaque[0], sizeof(uint64_t), RING_CAPACITY, HY_RING_LOCAL);
}

static inline bool opaque_push(int ring, uint64_t value)
{
    return hy_ring_push(opaque[ring], &value) == 0;
}

#define OPAQUE_POP(ring, out) (hy_ring_pop(opaque[ring], out) == 0)
RING_LOOPS(opaque, opaque_push, OPAQUE_POP)

#define OPAQUE_PUSH_N(values, n) hy_ring_push_n(opaque[0], values, n)
#define OPAQUE_POP_N(values, n)  hy_ring_pop_n(opaque[0], values, n)
RING_BATCH_LOOPS(opaque_batch, OPAQUE_PUSH_N, OPAQUE_POP_N)

static void local_reset(void)
{
    local_ring_init(&local);
}

#define LOCAL_PUSH(ring, value) (local_ring_push(&local, value) == 0)
#define LOCAL_POP(ring, out)    (local_ring_pop(&local, out) == 0)

static void local_alone(uint64_t count)
{
    uint64_t value = 0;

    for (uint64_t i = 0; i < count; i += RING_BURST) {
        for (uint64_t k = 0; k < RING_BURST; k++)
            if (!LOCAL_PUSH(0, i + k))
                bench_wrong("local full");
        for (uint64_t k = 0; k < RING_BURST; k++)
            if (!LOCAL_POP(0, &value) || value != i + k)
                bench_wrong("local order");
    }
}

/* Spans, written and read in place. */
#define WIDE_LOOPS(name, RESERVE, COMMIT, PEEK, RELEASE)                       \
    static void name##_produce(uint64_t count)                                 \
    {                                                                          \
        for (uint64_t i = 0; i < count;) {                                     \
            size_t got = 0;                                                    \
            uint64_t left = count - i;                                         \
            struct wide_item *span = (struct wide_item *)RESERVE(              \
                left < RING_BATCH ? (size_t)left : RING_BATCH, &got);          \
            for (size_t k = 0; k < got; k++)                                   \
                wide_fill(&span[k], i++);                                      \
            if (span != NULL)                                                  \
                COMMIT(got);                                                   \
            else                                                               \
                ring_pause();                                                  \
        }                                                                      \
    }                                                                          \
    static void name##_consume(uint64_t count)                                 \
    {                                                                          \
        for (uint64_t i = 0; i < count;) {                                     \
            size_t n = 0;                                                      \
            const struct wide_item *span = (const struct wide_item *)PEEK(&n); \
            n = n < 256 ? n : 256;                                             \
            for (size_t k = 0; k < n; k++)                                     \
                if (wide_sum(&span[k]) != wide_expected(i++))                  \
                    bench_wrong(#name " payload");                             \
            if (span != NULL)                                                  \
                RELEASE(n);                                                    \
            else                                                               \
                ring_pause();                                                  \
        }                                                                      \
    }

#define WT_RESERVE(want, got) wide_ring_reserve(&wide, want, got)
#define WT_COMMIT(n)          wide_ring_commit(&wide, n)
#define WT_PEEK(n)            wide_ring_peek(&wide, n)
#define WT_RELEASE(n)         wide_ring_release(&wide, n)
WIDE_LOOPS(wide_typed, WT_RESERVE, WT_COMMIT, WT_PEEK, WT_RELEASE)

#define WO_RESERVE(want, got) hy_ring_reserve(wide_opaque, want, got)
#define WO_COMMIT(n)          hy_ring_commit(wide_opaque, n)
#define WO_PEEK(n)            hy_ring_peek(wide_opaque, n)
#define WO_RELEASE(n)         hy_ring_release(wide_opaque, n)
WIDE_LOOPS(wide_opaque, WO_RESERVE, WO_COMMIT, WO_PEEK, WO_RELEASE)

static void wide_typed_reset(void)
{
    wide_ring_init(&wide);
}

static void wide_opaque_reset(void)
{
    remake(&wide_opaque, sizeof(struct wide_item), WIDE_CAPACITY, 0);
}

/*
 * The ceiling of a stream from one processor to the other: the same memory in
 * blocks of 64 KiB, and one flag a block instead of a ring.
 */
enum { BLOCK_ITEMS = 1024, BLOCKS = WIDE_CAPACITY / BLOCK_ITEMS };

static struct {
    _Alignas(64) struct wide_item items[BLOCKS][BLOCK_ITEMS];
    struct {
        _Alignas(128) _Atomic int is_full;
    } flags[BLOCKS];
} blocks;

static void blocks_reset(void)
{
    for (int b = 0; b < BLOCKS; b++)
        atomic_store(&blocks.flags[b].is_full, 0);
}

static void blocks_await(uint64_t b, int full)
{
    while (atomic_load_explicit(&blocks.flags[b].is_full,
                                memory_order_acquire) != full)
        ring_pause();
}

static void blocks_produce(uint64_t count)
{
    for (uint64_t i = 0; i < count;) {
        uint64_t b = i / BLOCK_ITEMS % BLOCKS;

        blocks_await(b, 0);
        for (int k = 0; k < BLOCK_ITEMS; k++)
            wide_fill(&blocks.items[b][k], i++);
        atomic_store_explicit(&blocks.flags[b].is_full, 1,
                              memory_order_release);
    }
}

static void blocks_consume(uint64_t count)
{
    for (uint64_t i = 0; i < count;) {
        uint64_t b = i / BLOCK_ITEMS % BLOCKS;

        blocks_await(b, 1);
        for (int k = 0; k < BLOCK_ITEMS; k++)
            if (wide_sum(&blocks.items[b][k]) != wide_expected(i++))
                bench_wrong("block payload");
        atomic_store_explicit(&blocks.flags[b].is_full, 0,
                              memory_order_release);
    }
}

static const struct ring_peer bare_blocks = {
    "blocks", blocks_reset, blocks_produce, blocks_consume, NULL, NULL, NULL};

static const struct ring_peer our_typed = {
    "typed ring", typed_reset,  typed_produce, typed_consume,
    typed_ask,    typed_answer, typed_alone};
static const struct ring_peer our_typed_batch = {
    "typed ring", typed_reset, typed_batch_produce, typed_batch_consume, NULL,
    NULL,         NULL};
static const struct ring_peer our_opaque = {
    "hy_ring",  opaque_reset,  opaque_produce, opaque_consume,
    opaque_ask, opaque_answer, opaque_alone};
static const struct ring_peer our_opaque_batch = {
    "hy_ring", opaque_reset, opaque_batch_produce, opaque_batch_consume, NULL,
    NULL,      NULL};
static const struct ring_peer our_wide = {"typed ring",
                                          wide_typed_reset,
                                          wide_typed_produce,
                                          wide_typed_consume,
                                          NULL,
                                          NULL,
                                          NULL};
static const struct ring_peer our_wide_opaque = {"hy_ring",
                                                 wide_opaque_reset,
                                                 wide_opaque_produce,
                                                 wide_opaque_consume,
                                                 NULL,
                                                 NULL,
                                                 NULL};
static const struct ring_peer our_local = {
    "typed local ring", local_reset, NULL, NULL, NULL, NULL, local_alone};
static const struct ring_peer our_opaque_local = {"hy_ring, HY_RING_LOCAL",
                                                  opaque_local_reset,
                                                  NULL,
                                                  NULL,
                                                  NULL,
                                                  NULL,
                                                  opaque_alone};

/* --- two threads ---------------------------------------------------------- */

static struct {
    _Atomic int go;
    void (*run)(uint64_t count);
    uint64_t count;
} other;

static void *run_other(void *arg)
{
    bench_pin(1);
    atomic_store(&other.go, 1);
    while (atomic_load(&other.go) != 2)
        ring_pause();
    other.run(other.count);
    return arg;
}

/* ns an item: from the common start until the last item has been checked. */
static double run_two(void (*here)(uint64_t), void (*there)(uint64_t),
                      uint64_t count)
{
    pthread_t t;
    uint64_t start;

    other.run = there;
    other.count = count;
    atomic_store(&other.go, 0);
    if (pthread_create(&t, NULL, run_other, NULL) != 0)
        bench_wrong("no thread");
    bench_pin(0);
    while (atomic_load(&other.go) != 1)
        ring_pause();
    start = bench_now();
    atomic_store(&other.go, 2);
    here(count);
    start = bench_now() - start;
    pthread_join(t, NULL);
    return (double)start / (double)count;
}

static double stream(void *arg)
{
    const struct ring_peer *p = (const struct ring_peer *)arg;

    p->reset();
    return run_two(p->consume, p->produce, bench_scale(4000000));
}

static double stream_wide(void *arg)
{
    const struct ring_peer *p = (const struct ring_peer *)arg;

    p->reset();
    return run_two(p->consume, p->produce,
                   bench_scale(4000000) / BLOCK_ITEMS * BLOCK_ITEMS);
}

static double round_trip(void *arg)
{
    const struct ring_peer *p = (const struct ring_peer *)arg;

    p->reset();
    return run_two(p->ask, p->answer, bench_scale(200000));
}

static double bare_lines(void *arg)
{
    (void)arg;
    return bench_pingpong();
}

static double alone(void *arg)
{
    const struct ring_peer *p = (const struct ring_peer *)arg;
    uint64_t count = bench_scale(6400000) / RING_BURST * RING_BURST, start;

    p->reset();
    bench_pin(0);
    start = bench_now();
    p->alone(count);
    return (double)(bench_now() - start) / (double)count;
}

/* --- a push whose reader may sleep ---------------------------------------- */

/* All three through one pointer, so that each pays one call. */
static __attribute__((noinline)) int push_plain(void *ring, const void *value)
{
    return word_ring_push((word_ring *)ring, *(const uint64_t *)value);
}

static __attribute__((noinline)) int push_fenced(void *ring, const void *value)
{
    int r = word_ring_push((word_ring *)ring, *(const uint64_t *)value);

    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return r;
}

static size_t drain_typed(uint64_t *values, size_t count)
{
    return word_ring_pop_n(&typed[0], values, count);
}

static size_t drain_opaque(uint64_t *values, size_t count)
{
    return hy_ring_pop_n(opaque[0], values, count);
}

struct pusher {
    int (*push)(void *ring, const void *value);
    void *(*ring)(void);
    size_t (*drain)(uint64_t *values, size_t count);
};

static void *the_opaque(void)
{
    return opaque[0];
}

static void *the_typed(void)
{
    return &typed[0];
}

static const struct pusher waking = {NULL, the_opaque, drain_opaque};
static const struct pusher plain = {push_plain, the_typed, drain_typed};
static const struct pusher fenced = {push_fenced, the_typed, drain_typed};

/* Pushes alone are timed: bursts of a ring's capacity, drained in between. */
static double push_only(void *arg)
{
    const struct pusher *p = (const struct pusher *)arg;
    uint64_t values[RING_CAPACITY], sent[RING_CAPACITY], total = 0, start;
    uint64_t rounds = bench_scale(4000);
    int (*push)(void *, const void *) = p->push;
    void *ring;

    /* The library's own function, not a wrapper around it. */
    if (push == NULL)
        push = (int (*)(void *, const void *))(void (*)(void))hy_ring_push;
    typed_reset();
    opaque_reset();
    ring = p->ring();
    /* Not the loop's counter: its address would keep it in memory, and its
     * round through there is what would be measured. */
    for (uint64_t i = 0; i < RING_CAPACITY; i++)
        sent[i] = i;
    bench_pin(0);
    for (uint64_t r = 0; r < rounds; r++) {
        start = bench_now();
        for (uint64_t i = 0; i < RING_CAPACITY; i++)
            if (push(ring, &sent[i]) != 0)
                bench_wrong("full");
        total += bench_now() - start;
        if (p->drain(values, RING_CAPACITY) != RING_CAPACITY ||
            values[RING_CAPACITY - 1] != RING_CAPACITY - 1)
            bench_wrong("drained");
    }
    return (double)total / (double)(rounds * RING_CAPACITY);
}

/* --- waiting under load --------------------------------------------------- */

static void produce_waiting(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t value = ring_value(i);

        if (hy_ring_push_wait(opaque[0], &value, HY_FOREVER) != 0)
            bench_wrong("push_wait");
    }
}

static void consume_waiting(uint64_t count)
{
    uint64_t value = 0;

    for (uint64_t i = 0; i < count; i++)
        if (hy_ring_pop_wait(opaque[0], &value, HY_FOREVER) != 0 ||
            value != ring_value(i))
            bench_wrong("pop_wait");
}

static double wakes;

static double stream_waiting(void *arg)
{
    hy_ring_stats s = {0};
    uint64_t count = bench_scale(2000000);
    double ns;

    (void)arg;
    s.size = sizeof(s);
    opaque_reset();
    ns = run_two(consume_waiting, produce_waiting, count);
    hy_ring_stats_get(opaque[0], &s);
    wakes = (double)(s.push_wakes + s.pop_wakes) * 1e6 / (double)count;
    return ns;
}

static double last_wakes(void *arg)
{
    stream_waiting(arg);
    return wakes;
}

/* --- dropping the oldest -------------------------------------------------- */

static void overwriting_reset(void)
{
    remake(&opaque[0], sizeof(uint64_t), RING_CAPACITY, HY_RING_OVERWRITE);
}

static void overwriting_produce(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        if (!opaque_push(0, i))
            bench_wrong("a push that overwrites");
}

static double lost;

/* Each item is later than the one before, and none but the lost is missing. */
static void overwriting_consume(uint64_t count)
{
    uint64_t taken = 0, next = 0, value = 0;
    hy_ring_stats s = {0};

    while (next < count) {
        if (!OPAQUE_POP(0, &value)) {
            ring_pause();
            continue;
        }
        if (value < next)
            bench_wrong("an item that was overwritten");
        next = value + 1;
        taken++;
    }
    s.size = sizeof(s);
    hy_ring_stats_get(opaque[0], &s);
    if (s.lost != count - taken)
        bench_wrong("items lost");
    lost = 100 * (double)s.lost / (double)count;
}

static const struct ring_peer our_overwriting = {"hy_ring, HY_RING_OVERWRITE",
                                                 overwriting_reset,
                                                 overwriting_produce,
                                                 overwriting_consume,
                                                 NULL,
                                                 NULL,
                                                 NULL};

static double last_lost(void *arg)
{
    stream(arg);
    return lost;
}

/* --- the table ------------------------------------------------------------ */

static struct bench_contender contender(const struct ring_peer *peer,
                                        const char *name, double (*run)(void *))
{
    struct bench_contender c = {name, run, (void *)(uintptr_t)peer, NULL};

    if (peer->name == NULL)
        c.absent = BENCH_ABSENT;
    return c;
}

static void row_one_by_one(void)
{
    struct bench_row row = {.what = "8 B items, capacity 1,024, one by one",
                            .unit = "ns/item",
                            .target = "3.5x rigtorp, 3.2x ck",
                            .gated = true};
    struct bench_contender c[] = {
        contender(&our_typed, "typed ring", stream),
        contender(&our_opaque, "hy_ring", stream),
        contender(&ring_ck, "ck_ring", stream),
        contender(&ring_boost, "boost spsc_queue", stream),
        contender(&ring_rte, "rte_ring", stream),
        contender(&ring_readerwriter, "readerwriterqueue", stream),
    };

    bench_row_run(&row, c, sizeof(c) / sizeof(c[0]));
}

static void row_batches(void)
{
    struct bench_row row = {.what = "8 B items, batches of 32",
                            .unit = "ns/item",
                            .target = "12x rigtorp, 2.5x rte and boost",
                            .gated = true};
    struct bench_contender c[] = {
        contender(&our_typed_batch, "typed ring", stream),
        contender(&our_opaque_batch, "hy_ring", stream),
        contender(&ring_boost_batch, "boost spsc_queue", stream),
        contender(&ring_rte_burst, "rte_ring, bursts", stream),
    };

    bench_row_run(&row, c, sizeof(c) / sizeof(c[0]));
}

static void row_spans(void)
{
    struct bench_row row = {.what = "64 B items in place, ring of 4 MiB",
                            .unit = "ns/item",
                            .target = "12x rigtorp, 5x rte, 75 % of bare "
                                      "blocks",
                            .gated = true};
    struct bench_contender c[] = {
        contender(&our_wide, "typed ring", stream_wide),
        contender(&our_wide_opaque, "hy_ring", stream_wide),
        contender(&ring_boost_wide, "boost spsc_queue (copies)", stream_wide),
        contender(&ring_rte_wide, "rte_ring, bursts (copies)", stream_wide),
        contender(&bare_blocks, "bare blocks of 64 KiB", stream_wide),
    };

    bench_row_run(&row, c, sizeof(c) / sizeof(c[0]));
}

static void row_records(void)
{
    struct bench_row row = {.what = "records of 16-256 B, ring of 64 KiB",
                            .unit = "ns/record",
                            .target = "up to 1.3x boost",
                            .gated = true};
    struct bench_contender c[] = {
        contender(&ring_bytes, "hy_byte_ring in place", stream),
        contender(&ring_bytes_batch, "the same, 16 staged", stream),
        contender(&ring_bytes_copy, "hy_byte_ring, copies", stream),
        contender(&ring_boost_bytes, "boost spsc_queue of bytes", stream),
        contender(&ring_boost_slots, "boost spsc_queue of 264 B", stream),
    };

    bench_row_run(&row, c, sizeof(c) / sizeof(c[0]));
}

static void row_round_trip(void)
{
    struct bench_row row = {.what = "round trip over two rings",
                            .unit = "ns",
                            .target = "1.45x rigtorp, 1.15x two lines at most",
                            .gated = true};
    struct bench_contender c[] = {
        contender(&our_typed, "typed ring", round_trip),
        contender(&our_opaque, "hy_ring", round_trip),
        {"two bare lines", bare_lines, NULL, NULL},
        contender(&ring_ck, "ck_ring", round_trip),
        contender(&ring_boost, "boost spsc_queue", round_trip),
        contender(&ring_rte, "rte_ring", round_trip),
        contender(&ring_readerwriter, "readerwriterqueue", round_trip),
    };

    bench_row_run(&row, c, sizeof(c) / sizeof(c[0]));
}

static void row_alone(void)
{
    struct bench_row row = {.what = "same thread, push and pop in bursts of 32",
                            .unit = "ns/item",
                            .target = "at most 1.3 ns"};
    struct bench_contender c[] = {
        contender(&our_local, "typed local ring", alone),
        contender(&our_typed, "typed ring", alone),
        contender(&our_opaque_local, "hy_ring, HY_RING_LOCAL", alone),
        contender(&ring_ck, "ck_ring", alone),
        contender(&ring_boost, "boost spsc_queue", alone),
        contender(&ring_rte, "rte_ring", alone),
        contender(&ring_readerwriter, "readerwriterqueue", alone),
    };

    bench_row_run(&row, c, sizeof(c) / sizeof(c[0]));
}

static void row_push(void)
{
    struct bench_row row = {.what = "push by a call, the reader may sleep",
                            .unit = "ns",
                            .target =
                                "within 0.1 ns of the ring that only spins"};
    struct bench_contender c[] = {
        {"hy_ring", push_only, (void *)(uintptr_t)&waking, NULL},
        {"typed ring, only spins", push_only, (void *)(uintptr_t)&plain, NULL},
        {"the same and a full fence", push_only, (void *)(uintptr_t)&fenced,
         NULL},
    };

    bench_row_run(&row, c, sizeof(c) / sizeof(c[0]));
}

static void rows_waiting(void)
{
    struct bench_row row = {.what = "push_wait and pop_wait under load",
                            .unit = "ns/item",
                            .target = "",
                            .gated = true};
    struct bench_row count = {.what = "system calls that wake, the same load",
                              .unit = "in 1,000,000 items",
                              .target = "none under load",
                              .gated = true};
    struct bench_contender a = {"hy_ring", stream_waiting, NULL, NULL};
    struct bench_contender b = {"hy_ring", last_wakes, NULL, NULL};

    bench_row_run(&row, &a, 1);
    bench_row_run(&count, &b, 1);
}

static void rows_overwriting(void)
{
    struct bench_row row = {.what = "8 B items, the oldest dropped when full",
                            .unit = "ns/item",
                            .target = "",
                            .gated = true};
    struct bench_row count = {.what = "items dropped, the same load",
                              .unit = "percent",
                              .target = "",
                              .gated = true};
    struct bench_contender c[] = {
        contender(&our_overwriting, "hy_ring, HY_RING_OVERWRITE", stream),
        contender(&our_opaque, "hy_ring that refuses", stream),
    };
    struct bench_contender l =
        contender(&our_overwriting, "hy_ring, HY_RING_OVERWRITE", last_lost);

    bench_row_run(&row, c, sizeof(c) / sizeof(c[0]));
    bench_row_run(&count, &l, 1);
}

int main(int argc, char **argv)
{
    struct bench_row two = {.what = "rows of two threads", .unit = "ns"};

    bench_begin(argc, argv, "ring");
    if (bench_cpu_count() >= 2) {
        row_one_by_one();
        row_batches();
        row_spans();
        row_records();
        row_round_trip();
        rows_waiting();
        many_rows();
        rows_overwriting();
    } else {
        bench_row_skip(&two, "one processor only");
    }
    row_alone();
    row_push();
    bench_note("Two threads on two processors; every item's value is checked. "
               "Wait policy of all: one pause between tries (none in the round "
               "trip). Debian does not package rigtorp's SPSCQueue, with "
               "which the targets compare.");
    return bench_end();
}
