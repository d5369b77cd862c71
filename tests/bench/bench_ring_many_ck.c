/*
 * bench_ring_many_ck.c - Concurrency Kit's ck_ring with many producers, as a
 * peer. Its header is C only.
 */
#include "bench_ring_many.h"

#ifdef HY_HAVE_CK

#include <ck_ring.h>

static struct {
    ck_ring_t ring;
    ck_ring_buffer_t slots[RING_CAPACITY];
} one;

static void reset(void)
{
    ck_ring_init(&one.ring, RING_CAPACITY);
}

static inline bool push(uint64_t value)
{
    return ck_ring_enqueue_mpsc(&one.ring, one.slots, (void *)(uintptr_t)value);
}

static inline bool pop(uint64_t *value)
{
    void *p = NULL;

    if (!ck_ring_dequeue_mpsc(&one.ring, one.slots, &p))
        return false;
    *value = (uint64_t)(uintptr_t)p;
    return true;
}

MANY_LOOPS(ck, push, pop)

const struct many_peer many_ck = {"ck_ring", reset, ck_produce, ck_consume};

#else

const struct many_peer many_ck;

#endif
