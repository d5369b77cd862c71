/*
 * heap_poison.c - which bytes of a heap AddressSanitizer is to let through.
 *
 *      | 100 bytes asked for | 28 | free ............ | never used ........ |
 *        allowed               no   no, 1 MiB at most   no, in a small region
 *
 * Shadow memory is an eighth of what it describes and is written byte by byte,
 * so a large region must not be poisoned as a whole, nor cleared as a whole: of
 * a free block the first POISON_MOST bytes are poisoned, and clearing skips
 * the zones that no block ever started in or close before.
 *
 * Invariant: in a region above REGION_MOST, poisoned bytes lie at most
 * POISON_MOST after the start of a zone that is marked in the zone map.
 * Upstream: heap.c, heap_blocks.c. Downstream: poison.h.
 */
#include "poison.h"

#include "heap_layout.h"

enum {
    REGION_MOST = 64 << 20,
    POISON_MOST = 1 << 20,
    ZONE_BYTES = HYI_GRANULE_BYTES * HYI_WINDOW_GRANULES * HYI_ZONE_WINDOWS
};

void hyi_heap_poison(const hy_heap *heap, uint64_t from, uint64_t to)
{
    uint64_t bytes = (to - from) << HYI_GRANULE_SHIFT;

    if (bytes > POISON_MOST && heap->shape.bytes > REGION_MOST)
        bytes = POISON_MOST;
    hyi_poison(hyi_granule_address(heap, from), (size_t)bytes);
}

void hyi_heap_poison_all(const hy_heap *heap)
{
    if (heap->shape.bytes <= REGION_MOST)
        hyi_heap_poison(heap, heap->shape.first, heap->shape.end);
}

void hyi_heap_unpoison(const hy_heap *heap, const void *p, uint64_t bytes)
{
    uint64_t at = (uint64_t)((const char *)p - heap->base), end = at + bytes;
    uint64_t zone = at / ZONE_BYTES, reach = POISON_MOST / ZONE_BYTES + 1;

    if (!HYI_POISONS)
        return;
    if (heap->shape.bytes <= REGION_MOST || bytes <= POISON_MOST) {
        hyi_unpoison(p, (size_t)bytes);
        return;
    }
    /* Zones that a poisoned block before p may reach into count as well. */
    for (uint64_t z = zone < reach ? 0 : zone - reach, known = z - reach - 1;
         z * ZONE_BYTES < end; z++) {
        uint64_t from = z * ZONE_BYTES < at ? at : z * ZONE_BYTES;
        uint64_t to = (z + 1) * ZONE_BYTES < end ? (z + 1) * ZONE_BYTES : end;

        if (hyi_zone_is_known(heap, (uint32_t)(z << HYI_ZONE_SHIFT)))
            known = z;
        if (z - known <= reach && from < to)
            hyi_unpoison(heap->base + from, (size_t)(to - from));
    }
}
