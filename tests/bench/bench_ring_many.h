/*
 * bench_ring_many.h - how a queue of many producers and one consumer takes
 * part: the same loops for every one, made by a macro so that each compiler
 * sees its own queue's calls inline.
 *
 *      MANY_LOOPS(mine, push(value) succeeded, pop(&value) succeeded)
 *
 * Wait policy of all loops: one pause between tries, and every 32nd time the
 * processor is given to others. The consumer checks every item, and that the
 * items of each producer come in its order.
 * Upstream: bench_ring_many.c. Downstream: bench_ring.h.
 */
#ifndef HY_BENCH_RING_MANY_H
#define HY_BENCH_RING_MANY_H

#include <sched.h>

#include "bench_ring.h"

enum { MANY_MOST = 4, MANY_YIELDS = 32 };

struct many_peer {
    const char *name;
    void (*reset)(void);
    void (*produce)(unsigned id, uint64_t count);
    void (*consume)(unsigned producers, uint64_t each);
};

#ifdef __cplusplus
extern "C" {
#endif

extern const struct many_peer many_ck, many_rte;
BENCH_CXX_PEER(const struct many_peer many_boost);
BENCH_CXX_PEER(const struct many_peer many_moodycamel);
BENCH_CXX_PEER(const struct many_peer many_atomic);

#ifdef __cplusplus
}
#endif

/* Whose it is, and 56 bits of what a single producer's items are; never 0. */
static inline uint64_t many_value(unsigned id, uint64_t i)
{
    return (uint64_t)(id + 1) << 56 | ring_value(i) >> 8;
}

static inline void many_pause(unsigned *times)
{
    if (++*times % MANY_YIELDS == 0)
        sched_yield();
    else
        ring_pause();
}

static inline void many_check(uint64_t value, uint64_t *next,
                              unsigned producers)
{
    unsigned id = (unsigned)(value >> 56) - 1;

    if (id >= producers || value != many_value(id, next[id]))
        bench_wrong("payload or order of many producers");
    next[id]++;
}

/* PUSH(value) and POP(pointer) are true when they succeeded. */
#define MANY_LOOPS(name, PUSH, POP)                                            \
    static void name##_produce(unsigned id, uint64_t count)                    \
    {                                                                          \
        unsigned times = 0;                                                    \
        for (uint64_t i = 0; i < count; i++) {                                 \
            uint64_t value = many_value(id, i);                                \
            while (!(PUSH(value)))                                             \
                many_pause(&times);                                            \
        }                                                                      \
    }                                                                          \
    static void name##_consume(unsigned producers, uint64_t each)              \
    {                                                                          \
        uint64_t next[MANY_MOST] = {0}, value = 0;                             \
        unsigned times = 0;                                                    \
        for (uint64_t i = 0; i < producers * each; i++) {                      \
            while (!(POP(&value)))                                             \
                many_pause(&times);                                            \
            many_check(value, next, producers);                                \
        }                                                                      \
    }

void many_rows(void); /* of bench_ring.c's table */

#endif
