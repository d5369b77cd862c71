/*
 * bench_ring.h - how a ring takes part: the same loops for every one, made by a
 * macro so that each compiler sees its own ring's calls inline.
 *
 *      RING_LOOPS(mine, reset(), push(&item) succeeded, pop(&item) succeeded)
 *
 * Wait policy of all loops: one pause between tries (none in the round trip).
 * Every item's value is checked. Upstream: bench_ring.c. Downstream: bench.h.
 */
#ifndef HY_BENCH_RING_H
#define HY_BENCH_RING_H

#include "bench.h"

enum { RING_CAPACITY = 1024, RING_BATCH = 32, RING_BURST = 32 };

/* 64-byte items in rings larger than the second-level cache. */
enum { WIDE_CAPACITY = 65536, WIDE_WORDS = 8 };

struct wide_item {
    uint64_t words[WIDE_WORDS];
};

/* Records of 16 to 256 bytes, whole words, whose lengths are mixed. */
enum { RECORD_CAPACITY = 65536, RECORD_WORDS = 32 };

/* Two rings of one kind; ring 1 is the way back of the round trip. */
struct ring_peer {
    const char *name;
    void (*reset)(void);
    void (*produce)(uint64_t count);
    void (*consume)(uint64_t count);
    void (*ask)(uint64_t count);    /* push to ring 0, pop from ring 1 */
    void (*answer)(uint64_t count); /* pop from ring 0, push to ring 1 */
    void (*alone)(uint64_t count);  /* one thread, in bursts */
};

#ifdef __cplusplus
extern "C" {
#endif

/* From bench_ring_*.c and bench_ring_peers.cpp; absent ones have no name. */
BENCH_CXX_PEER(const struct ring_peer ring_boost);
BENCH_CXX_PEER(const struct ring_peer ring_boost_batch);
BENCH_CXX_PEER(const struct ring_peer ring_boost_wide);
BENCH_CXX_PEER(const struct ring_peer ring_boost_bytes);
BENCH_CXX_PEER(const struct ring_peer ring_boost_slots);
BENCH_CXX_PEER(const struct ring_peer ring_readerwriter);
extern const struct ring_peer ring_bytes, ring_bytes_batch, ring_bytes_copy;
extern const struct ring_peer ring_ck;
extern const struct ring_peer ring_rte, ring_rte_burst, ring_rte_wide;

#ifdef __cplusplus
}
#endif

static inline void ring_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

static inline uint64_t ring_value(uint64_t i)
{
    return i * 0x9e3779b97f4a7c15u + 1;
}

static inline size_t record_words(uint64_t i)
{
    return 2 + (size_t)((i * 0x9e3779b97f4a7c15u >> 40) % (RECORD_WORDS - 1));
}

static inline size_t record_bytes(uint64_t i)
{
    return record_words(i) * sizeof(uint64_t);
}

static inline void record_fill(uint64_t *words, uint64_t i)
{
    for (size_t k = 0, n = record_words(i); k < n; k++)
        words[k] = i + k;
}

/* Read whole. */
static inline bool record_is(const uint64_t *words, uint64_t i)
{
    uint64_t wrong = 0;

    for (size_t k = 0, n = record_words(i); k < n; k++)
        wrong |= words[k] ^ (i + k);
    return wrong == 0;
}

/* PUSH(ring, value) and POP(ring, pointer) are true when they succeeded. */
#define RING_LOOPS(name, PUSH, POP)                                            \
    static void name##_produce(uint64_t count)                                 \
    {                                                                          \
        for (uint64_t i = 0; i < count; i++)                                   \
            while (!(PUSH(0, ring_value(i))))                                  \
                ring_pause();                                                  \
    }                                                                          \
    static void name##_consume(uint64_t count)                                 \
    {                                                                          \
        uint64_t value = 0;                                                    \
        for (uint64_t i = 0; i < count; i++) {                                 \
            while (!(POP(0, &value)))                                          \
                ring_pause();                                                  \
            if (value != ring_value(i))                                        \
                bench_wrong(#name " payload");                                 \
        }                                                                      \
    }                                                                          \
    static void name##_ask(uint64_t count)                                     \
    {                                                                          \
        uint64_t value = 0;                                                    \
        for (uint64_t i = 0; i < count; i++) {                                 \
            while (!(PUSH(0, i)))                                              \
                ;                                                              \
            while (!(POP(1, &value)))                                          \
                ;                                                              \
            if (value != ~i)                                                   \
                bench_wrong(#name " answer");                                  \
        }                                                                      \
    }                                                                          \
    static void name##_answer(uint64_t count)                                  \
    {                                                                          \
        uint64_t value = 0;                                                    \
        for (uint64_t i = 0; i < count; i++) {                                 \
            while (!(POP(0, &value)))                                          \
                ;                                                              \
            while (!(PUSH(1, ~value)))                                         \
                ;                                                              \
        }                                                                      \
    }                                                                          \
    static void name##_alone(uint64_t count)                                   \
    {                                                                          \
        uint64_t value = 0;                                                    \
        for (uint64_t i = 0; i < count; i += RING_BURST) {                     \
            for (uint64_t k = 0; k < RING_BURST; k++)                          \
                if (!(PUSH(0, i + k)))                                         \
                    bench_wrong(#name " full");                                \
            for (uint64_t k = 0; k < RING_BURST; k++)                          \
                if (!(POP(0, &value)) || value != i + k)                       \
                    bench_wrong(#name " order");                               \
        }                                                                      \
    }

/* PUSH_N(values, n) and POP_N(values, n) give how many went. */
#define RING_BATCH_LOOPS(name, PUSH_N, POP_N)                                  \
    static void name##_produce(uint64_t count)                                 \
    {                                                                          \
        uint64_t v[RING_BATCH];                                                \
        for (uint64_t i = 0; i < count;) {                                     \
            uint64_t n = RING_BATCH;                                           \
            uint64_t done = 0;                                                 \
            if (n > count - i)                                                 \
                n = count - i;                                                 \
            for (uint64_t k = 0; k < n; k++)                                   \
                v[k] = ring_value(i + k);                                      \
            while ((done += (uint64_t)PUSH_N(v + done, n - done)) < n)         \
                ring_pause();                                                  \
            i += n;                                                            \
        }                                                                      \
    }                                                                          \
    static void name##_consume(uint64_t count)                                 \
    {                                                                          \
        uint64_t v[RING_BATCH], n;                                             \
        for (uint64_t i = 0; i < count; i += n) {                              \
            n = (uint64_t)POP_N(v, RING_BATCH);                                \
            for (uint64_t k = 0; k < n; k++)                                   \
                if (v[k] != ring_value(i + k))                                 \
                    bench_wrong(#name " payload");                             \
            if (n == 0)                                                        \
                ring_pause();                                                  \
        }                                                                      \
    }

static inline void wide_fill(struct wide_item *item, uint64_t i)
{
    for (uint64_t w = 0; w < WIDE_WORDS; w++)
        item->words[w] = i + w;
}

/* The sum of its words, all of them read. */
static inline uint64_t wide_sum(const struct wide_item *item)
{
    uint64_t sum = 0;

    for (int w = 0; w < WIDE_WORDS; w++)
        sum += item->words[w];
    return sum;
}

static inline uint64_t wide_expected(uint64_t i)
{
    return WIDE_WORDS * i + WIDE_WORDS * (WIDE_WORDS - 1) / 2;
}

/* For rings that copy wide items in and out, in batches. */
#define RING_COPY_LOOPS(name, PUSH_N, POP_N)                                   \
    static void name##_produce(uint64_t count)                                 \
    {                                                                          \
        struct wide_item items[RING_BATCH];                                    \
        for (uint64_t i = 0; i < count; i += RING_BATCH) {                     \
            uint64_t done = 0;                                                 \
            for (uint64_t k = 0; k < RING_BATCH; k++)                          \
                wide_fill(&items[k], i + k);                                   \
            while ((done += (uint64_t)PUSH_N(items + done,                     \
                                             RING_BATCH - done)) < RING_BATCH) \
                ring_pause();                                                  \
        }                                                                      \
    }                                                                          \
    static void name##_consume(uint64_t count)                                 \
    {                                                                          \
        struct wide_item items[RING_BATCH];                                    \
        uint64_t n;                                                            \
        for (uint64_t i = 0; i < count; i += n) {                              \
            n = (uint64_t)POP_N(items, RING_BATCH);                            \
            for (uint64_t k = 0; k < n; k++)                                   \
                if (wide_sum(&items[k]) != wide_expected(i + k))               \
                    bench_wrong(#name " payload");                             \
            if (n == 0)                                                        \
                ring_pause();                                                  \
        }                                                                      \
    }

#endif
