/*
 * bench_ring_rte.c - DPDK's rte_ring as a peer, in memory of our own: a ring
 * alone needs none of DPDK's environment. One producer and one consumer; one by
 * one, in bursts, and 64-byte items that are copied in and out.
 */
#include "bench_ring.h"

#ifdef HY_HAVE_RTE_RING

#include <rte_config.h>

#include <rte_ring.h>
#include <rte_ring_elem.h>
#include <stdlib.h>

enum { FLAGS = RING_F_SP_ENQ | RING_F_SC_DEQ };

static struct rte_ring *two[2], *wide;

/* A ring of count slots, of which one stays empty. */
static void make(struct rte_ring **ring, unsigned item_bytes, unsigned count)
{
    ssize_t bytes = rte_ring_get_memsize_elem(item_bytes, count);

    if (*ring == NULL && bytes > 0)
        *ring = aligned_alloc(4096, ((size_t)bytes + 4095) / 4096 * 4096);
    if (*ring == NULL || rte_ring_init(*ring, "bench", count, FLAGS) != 0)
        bench_wrong("rte_ring_init");
}

static void reset(void)
{
    make(&two[0], sizeof(void *), RING_CAPACITY);
    make(&two[1], sizeof(void *), RING_CAPACITY);
}

static inline bool push(int ring, uint64_t value)
{
    return rte_ring_sp_enqueue(two[ring], (void *)(uintptr_t)value) == 0;
}

static inline bool pop(int ring, uint64_t *value)
{
    void *p = NULL;

    if (rte_ring_sc_dequeue(two[ring], &p) != 0)
        return false;
    *value = (uint64_t)(uintptr_t)p;
    return true;
}

RING_LOOPS(rte, push, pop)

#define PUSH_N(values, n)                                                      \
    rte_ring_sp_enqueue_burst_elem(two[0], values, sizeof(uint64_t),           \
                                   (unsigned)(n), NULL)
#define POP_N(values, n)                                                       \
    rte_ring_sc_dequeue_burst_elem(two[0], values, sizeof(uint64_t),           \
                                   (unsigned)(n), NULL)
RING_BATCH_LOOPS(rte_burst, PUSH_N, POP_N)

static void wide_reset(void)
{
    make(&wide, sizeof(struct wide_item), WIDE_CAPACITY);
}

#define WIDE_PUSH_N(items, n)                                                  \
    rte_ring_sp_enqueue_burst_elem(wide, items, sizeof(struct wide_item),      \
                                   (unsigned)(n), NULL)
#define WIDE_POP_N(items, n)                                                   \
    rte_ring_sc_dequeue_burst_elem(wide, items, sizeof(struct wide_item),      \
                                   (unsigned)(n), NULL)
RING_COPY_LOOPS(rte_wide, WIDE_PUSH_N, WIDE_POP_N)

const struct ring_peer ring_rte = {"rte_ring",  reset,   rte_produce,
                                   rte_consume, rte_ask, rte_answer,
                                   rte_alone};
const struct ring_peer ring_rte_burst = {
    "rte_ring", reset, rte_burst_produce, rte_burst_consume, NULL, NULL, NULL};
const struct ring_peer ring_rte_wide = {
    "rte_ring", wide_reset, rte_wide_produce, rte_wide_consume, NULL,
    NULL,       NULL};

#else

const struct ring_peer ring_rte, ring_rte_burst, ring_rte_wide;

#endif
