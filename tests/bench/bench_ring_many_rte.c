/*
 * bench_ring_many_rte.c - DPDK's rte_ring with many producers, as a peer, in
 * its default way of ordering them, the fastest of its three here.
 */
#include "bench_ring_many.h"

#ifdef HY_HAVE_RTE_RING

#include <rte_config.h>

#include <rte_ring.h>
#include <stdlib.h>

static struct rte_ring *one;

/* A ring of RING_CAPACITY slots, of which one stays empty. */
static void reset(void)
{
    ssize_t bytes = rte_ring_get_memsize(RING_CAPACITY);

    if (one == NULL && bytes > 0)
        one = aligned_alloc(4096, ((size_t)bytes + 4095) / 4096 * 4096);
    if (one == NULL ||
        rte_ring_init(one, "many", RING_CAPACITY, RING_F_SC_DEQ) != 0)
        bench_wrong("rte_ring_init");
}

static inline bool push(uint64_t value)
{
    return rte_ring_mp_enqueue(one, (void *)(uintptr_t)value) == 0;
}

static inline bool pop(uint64_t *value)
{
    void *p = NULL;

    if (rte_ring_sc_dequeue(one, &p) != 0)
        return false;
    *value = (uint64_t)(uintptr_t)p;
    return true;
}

MANY_LOOPS(rte, push, pop)

const struct many_peer many_rte = {"rte_ring", reset, rte_produce, rte_consume};

#else

const struct many_peer many_rte;

#endif
