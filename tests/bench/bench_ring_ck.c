/*
 * bench_ring_ck.c - Concurrency Kit's ck_ring as a peer. Its header is C only.
 */
#include "bench_ring.h"

#ifdef HY_HAVE_CK

#include <ck_ring.h>

static struct {
    ck_ring_t ring;
    ck_ring_buffer_t slots[RING_CAPACITY];
} two[2];

static void reset(void)
{
    ck_ring_init(&two[0].ring, RING_CAPACITY);
    ck_ring_init(&two[1].ring, RING_CAPACITY);
}

static inline bool push(int ring, uint64_t value)
{
    return ck_ring_enqueue_spsc(&two[ring].ring, two[ring].slots,
                                (void *)(uintptr_t)value);
}

static inline bool pop(int ring, uint64_t *value)
{
    void *p = NULL;

    if (!ck_ring_dequeue_spsc(&two[ring].ring, two[ring].slots, &p))
        return false;
    *value = (uint64_t)(uintptr_t)p;
    return true;
}

RING_LOOPS(ck, push, pop)

const struct ring_peer ring_ck = {"ck_ring", reset,     ck_produce, ck_consume,
                                  ck_ask,    ck_answer, ck_alone};

#else

const struct ring_peer ring_ck;

#endif
