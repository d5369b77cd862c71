/*
 * heap_layout.h - what a heap's region holds, and how its tags are read.
 *
 *      | header | heads | zone map | tags, 16 bytes a window | payload ... |
 *
 * The whole region, metadata included, is counted in granules of 64 bytes; 16
 * of them, 1 KiB, are a window, and each window has one tag. A block is a run
 * of granules; its tag is one bit in the window where it starts:
 *
 *      granule   0 1 2 3 4 5 6 7 8 9 a b c d e f | 0 1 2 ...  next window
 *      starts    1 0 0 1 1 0 0 0 0 1 0 0 0 0 0 0 | 0 0 1
 *      used      1 . . 0 1 . . . . 0 . . . . . . | . . 1
 *                A     b C         d d d d d d d   d d E      capitals: in use
 *
 * A block ends where the next one starts. Between the window where a block
 * starts and the one where it ends no other block starts, so those tags have
 * starts == 0 and room: the first keeps the window where the block ends (in
 * next), the last the one where it starts (in prev). This is the boundary tag;
 * blocks that span less need none.
 *
 * A window in which a free block starts stands in one list, by the class of the
 * largest of them, linked through next and prev. At most eight free blocks
 * start in a window (neighbours merge), so finding one in it takes bounded
 * time.
 *
 * Tags count as zero until their zone (64 windows) is marked in the zone map,
 * and the zone map's pages until they are marked in the header. So the former
 * content of the region does not matter, and what is not used is not touched.
 *
 * Invariant: starts has a bit for the last granule before the payload and for
 * the first one after it, both used, so that every block has neighbours; and no
 * two free blocks are neighbours.
 *
 * Every index that comes out of the region is compared with the handle's own
 * copy of the geometry before it is followed, and every loop is bounded: damage
 * can lead to wrong answers, never out of the region.
 *
 * Upstream: heap.c (changes), heap_check.c (walks). Downstream: base.
 */
#ifndef HYI_HEAP_LAYOUT_H
#define HYI_HEAP_LAYOUT_H

#include <hyperion/heap.h>
#include <pthread.h>

#include "bits.h"
#include "check.h"

#define HYI_HEAP_MAGIC 0x31706165482d5948u /* "HY-Heap1", little endian */

enum {
    HYI_HEAP_VERSION = 1,
    HYI_GRANULE_SHIFT = 6,
    HYI_GRANULE_BYTES = 1 << HYI_GRANULE_SHIFT,
    HYI_WINDOW_SHIFT = 4, /* granules of a window */
    HYI_WINDOW_GRANULES = 1 << HYI_WINDOW_SHIFT,
    HYI_ZONE_SHIFT = 6, /* windows of a zone: 1 KiB of tags */
    HYI_ZONE_WINDOWS = 1 << HYI_ZONE_SHIFT,
    HYI_ZONE_PAGE_SHIFT = 15, /* zones in 4 KiB of the zone map */
    HYI_ZONE_PAGE_BYTES = 4096,

    /* Sizes below 32 granules have a class each; above, 32 classes share a
     * power of two, so that a fit wastes at most 1/32. */
    HYI_CLASS_SHIFT = 5,
    HYI_CLASS_STEPS = 1 << HYI_CLASS_SHIFT,
    HYI_CLASSES_MAX = 1024,
    HYI_CLASS_MASK = HYI_CLASSES_MAX - 1,
    HYI_KEPT_SHIFT = 10 /* in list: log2 of granules of alignment */
};

struct hyi_heap_tag {
    uint16_t starts; /* bit i: a block starts at granule i of the window */
    uint16_t used;   /* of those, the ones in use */
    uint16_t kept;   /* of those, the ones whose alignment is to be kept */
    uint16_t list;   /* class whose list it stands in, 0 none; kept alignment */
    uint32_t next;   /* in the list; or the window where the block ends */
    uint32_t prev;   /* in the list; or the window where the block starts */
};

struct hyi_heap_header {
    uint64_t magic;
    uint32_t version;
    uint32_t tag_bytes;
    uint64_t bytes; /* of the region, a multiple of the granule */
    uint64_t first; /* granule of the payload */
    uint64_t end;   /* granule after the payload */
    uint32_t windows;
    uint32_t classes;
    uint64_t check; /* hash of all above */

    uint64_t used_granules, peak_granules; /* of the payload */
    uint64_t used_blocks, free_blocks;
    uint64_t roots[HY_HEAP_ROOTS];

    uint64_t summary;                         /* bit i: class_map[i] is not 0 */
    uint64_t class_map[HYI_CLASSES_MAX / 64]; /* bit: heads[class] is not 0 */
    uint64_t zone_pages[32];                  /* bit: page of the zone map */
    uint32_t heads[];                         /* windows, by class */
};

/* Where the parts lie: pure arithmetic on the region's size. */
struct hyi_heap_shape {
    uint64_t bytes, first, end;
    uint64_t zones_at, zones_bytes, tags_at;
    uint32_t windows, classes;
};

enum hyi_heap_origin {
    HYI_HEAP_CALLER, /* formatted or attached memory */
    HYI_HEAP_SYSTEM,
    HYI_HEAP_BACKING
};

struct hy_heap {
    char *base;
    struct hyi_heap_header *header;
    unsigned char *zones;
    struct hyi_heap_tag *tags;
    struct hyi_heap_shape shape;
    bool shared, damaged;
    enum hyi_heap_origin origin;
    uint64_t origin_bytes;
    hy_backing backing;
    uint64_t allocs, frees, failed_allocs, refused_frees;
    hy_report report;
    char name[32];
    pthread_mutex_t lock;         /* when shared */
    struct hy_heap *next, **link; /* when shared: in the registry */
};

/* --- geometry ------------------------------------------------------------- */

/* n is not 0. */
static inline unsigned hyi_heap_class(uint64_t n)
{
    unsigned k;

    if (n < HYI_CLASS_STEPS)
        return (unsigned)n;
    k = hyi_log2_floor(n) - HYI_CLASS_SHIFT;
    return HYI_CLASS_STEPS + k * HYI_CLASS_STEPS +
           (unsigned)((n >> k) & (HYI_CLASS_STEPS - 1));
}

static inline uint32_t hyi_window_of(uint64_t granule)
{
    return (uint32_t)(granule >> HYI_WINDOW_SHIFT);
}

static inline unsigned hyi_bit_of(uint64_t granule)
{
    return (unsigned)granule & (HYI_WINDOW_GRANULES - 1);
}

static inline uint64_t hyi_granule_at(uint32_t window, unsigned bit)
{
    return ((uint64_t)window << HYI_WINDOW_SHIFT) + bit;
}

static inline char *hyi_granule_address(const hy_heap *heap, uint64_t granule)
{
    return heap->base + (granule << HYI_GRANULE_SHIFT);
}

/* False when the region is too small to hold a block. */
bool hyi_heap_shape_of(struct hyi_heap_shape *shape, uint64_t bytes);

/* --- tags ----------------------------------------------------------------- */

static inline bool hyi_zone_is_known(const hy_heap *heap, uint32_t window)
{
    uint32_t zone = window >> HYI_ZONE_SHIFT;
    uint32_t page = zone >> HYI_ZONE_PAGE_SHIFT;

    if ((heap->header->zone_pages[page >> 6] >> (page & 63) & 1) == 0)
        return false;
    return (heap->zones[zone >> 3] >> (zone & 7) & 1) != 0;
}

static inline bool hyi_tag_starts(const struct hyi_heap_tag *tag, unsigned bit)
{
    return (tag->starts >> bit & 1) != 0;
}

static inline bool hyi_tag_is_used(const struct hyi_heap_tag *tag, unsigned bit)
{
    return (tag->used >> bit & 1) != 0;
}

static inline unsigned hyi_tag_class(const struct hyi_heap_tag *tag)
{
    return tag->list & HYI_CLASS_MASK;
}

static inline unsigned hyi_tag_lowest(const struct hyi_heap_tag *tag)
{
    return (unsigned)__builtin_ctz(tag->starts);
}

static inline unsigned hyi_tag_highest(const struct hyi_heap_tag *tag)
{
    return 31u - (unsigned)__builtin_clz(tag->starts);
}

/*
 * Where the block after the one at granule starts, which is the payload's end
 * after the last one. 0 when the tags are damaged. Before: granule < end.
 */
static inline uint64_t hyi_heap_after(const hy_heap *heap, uint64_t granule)
{
    uint32_t w = hyi_window_of(granule);
    uint32_t above = (uint32_t)heap->tags[w].starts >> hyi_bit_of(granule) >> 1;
    const struct hyi_heap_tag *tag;

    if (above != 0) {
        granule += 1 + (unsigned)__builtin_ctz(above);
    } else {
        if (++w >= heap->shape.windows)
            return 0;
        tag = &heap->tags[w];
        if (tag->starts == 0) {
            if (tag->next <= w || tag->next >= heap->shape.windows)
                return 0;
            w = tag->next;
            tag = &heap->tags[w];
            if (tag->starts == 0)
                return 0;
        }
        granule = hyi_granule_at(w, hyi_tag_lowest(tag));
    }
    return HYI_LIKELY(granule <= heap->shape.end) ? granule : 0;
}

/*
 * Where the block before granule starts, the last granule of the metadata when
 * it is the first one. 0 when the tags are damaged. Before: granule >= first.
 */
static inline uint64_t hyi_heap_before(const hy_heap *heap, uint64_t granule)
{
    uint32_t w = hyi_window_of(granule);
    unsigned below = heap->tags[w].starts & ((1u << hyi_bit_of(granule)) - 1);
    const struct hyi_heap_tag *tag;

    if (below != 0)
        return hyi_granule_at(w, 31u - (unsigned)__builtin_clz(below));
    if (w == 0)
        return 0;
    tag = &heap->tags[--w];
    if (tag->starts == 0) {
        if (tag->prev >= w)
            return 0;
        w = tag->prev;
        tag = &heap->tags[w];
        if (tag->starts == 0)
            return 0;
    }
    granule = hyi_granule_at(w, hyi_tag_highest(tag));
    return HYI_LIKELY(granule >= heap->shape.first - 1) ? granule : 0;
}

/* --- between the files ---------------------------------------------------- */

static inline void hyi_heap_lock(const hy_heap *heap)
{
    if (heap->shared)
        pthread_mutex_lock(&((hy_heap *)(uintptr_t)heap)->lock);
}

static inline void hyi_heap_unlock(const hy_heap *heap)
{
    if (heap->shared)
        pthread_mutex_unlock(&((hy_heap *)(uintptr_t)heap)->lock);
}

/* Marks the handle and reports, once. */
void hyi_heap_damage(hy_heap *heap, const char *where);

/* Has the lock held across fork (slab_thread.c). 0 or a negative errno value.
 */
int hyi_heap_register(hy_heap *heap);
void hyi_heap_unregister(hy_heap *heap);

/* Makes the payload one free block. Before: the header is new. */
void hyi_heap_empty(hy_heap *heap);

/* Validates what can be seen without reading the tags. */
bool hyi_heap_header_is_sound(const hy_heap *heap);
bool hyi_heap_lists_are_sound(const hy_heap *heap);

/* For AddressSanitizer (heap_poison.c): free blocks and what follows a block's
 * bytes; and the reverse, which reads no shadow where nothing was poisoned. */
void hyi_heap_poison(const hy_heap *heap, uint64_t from, uint64_t to);
void hyi_heap_poison_all(const hy_heap *heap);
void hyi_heap_unpoison(const hy_heap *heap, const void *p, uint64_t bytes);

/* The free block of the window that fits best: at least n granules from a
 * start aligned to align granules. Gives its end and the granules to skip; 0
 * when none fits. Damaged tags count as not fitting. */
uint64_t hyi_heap_fit(const hy_heap *heap, uint32_t window, uint64_t n,
                      uint64_t align, uint64_t *end, uint64_t *skip);

/* The largest free block that starts in the window; 0 when there is none. */
uint64_t hyi_heap_largest_in(const hy_heap *heap, uint32_t window);

#endif
