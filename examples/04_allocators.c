/*
 * 04_allocators.c - the two allocators: a slab for objects of one size, a heap
 * for blocks of any size inside memory of one's own.
 *
 *      ./04_allocators
 */
#include <errno.h>
#include <hyperion/heap.h>
#include <hyperion/slab.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POINTS = 100000, REGION_BYTES = 1 << 20 };

struct point {
    double x, y, z;
    struct point *next;
};

/* --- a slab --------------------------------------------------------------- */

static int with_a_slab(void)
{
    hy_slab_stats stats = HY_SLAB_STATS_INIT;
    hy_slab_options options = HY_SLAB_OPTIONS_INIT;
    struct point *first = NULL, *p;
    uint64_t trimmed = 0;
    hy_slab *points;
    int once, twice, local;

    options.name = "points";
    options.align = 32; /* 64 unless one says otherwise */
    if (hy_slab_create(&points, sizeof(struct point), &options) != 0)
        return 1;
    for (int i = 0; i < POINTS; i++) {
        p = hy_slab_alloc(points);
        if (p == NULL)
            return 1;
        *p = (struct point){i, 0, 0, first};
        first = p;
    }
    hy_slab_stats_get(points, &stats);
    printf("slab: %d points of %zu bytes in %.2f MiB, %.2f %% of them for "
           "what is known of each\n",
           POINTS, sizeof(struct point), (double)stats.held_bytes / (1 << 20),
           100.0 * (double)stats.metadata_bytes / (double)stats.held_bytes);

    /* A second free is refused, and so is what never was a point. */
    p = first;
    first = p->next;
    once = hy_slab_free(points, p);
    twice = hy_slab_free(points, p);
    local = hy_slab_free(points, &stats);
    printf("slab: free gives %d, again %d, of a local variable %d "
           "(-EINVAL is %d)\n",
           once, twice, local, -EINVAL);

    while ((p = first) != NULL) {
        first = p->next; /* before: the point is gone afterwards */
        hy_slab_free(points, p);
    }
    hy_slab_trim(points, &trimmed);
    printf("slab: all freed; %.2f MiB given back to the system\n",
           (double)trimmed / (1 << 20));
    return hy_slab_destroy(points);
}

/* --- a heap --------------------------------------------------------------- */

/* A list of words whose links are offsets, so that it can move. */
struct word {
    uint64_t next;
    char text[];
};

static uint64_t word_add(hy_heap *heap, const char *text, uint64_t next)
{
    struct word *w = hy_heap_alloc(heap, sizeof(*w) + strlen(text) + 1);

    if (w == NULL)
        return 0;
    w->next = next;
    strcpy(w->text, text);
    return hy_heap_offset(heap, w);
}

static int show_block(void *ctx, const hy_heap_block *block)
{
    (void)ctx;
    printf("heap:   %8llu  %8llu bytes %s\n", (unsigned long long)block->offset,
           (unsigned long long)block->bytes,
           block->state == HY_HEAP_USED ? "used" : "free");
    return 0;
}

static int with_a_heap(void)
{
    void *region = aligned_alloc(HY_HEAP_ALIGN, REGION_BYTES);
    void *elsewhere = aligned_alloc(HY_HEAP_ALIGN, REGION_BYTES);
    hy_heap_stats stats = HY_HEAP_STATS_INIT;
    uint64_t list = 0;
    hy_heap *heap;

    if (region == NULL || elsewhere == NULL ||
        hy_heap_format(&heap, region, REGION_BYTES) != 0)
        return 1;
    list = word_add(heap, "was", list);
    list = word_add(heap, "here", list);
    hy_heap_free(heap, hy_heap_alloc(heap, 5000)); /* leaves no hole */
    list = word_add(heap, "hyperion", list);
    hy_heap_root_set(heap, 0, list);
    hy_heap_stats_get(heap, &stats);
    printf("heap: %llu blocks, %llu bytes used, %llu free, largest %llu\n",
           (unsigned long long)stats.allocations,
           (unsigned long long)stats.used_bytes,
           (unsigned long long)stats.free_bytes,
           (unsigned long long)stats.largest_free_bytes);
    hy_heap_walk(heap, show_block, NULL);
    hy_heap_destroy(heap); /* the region keeps what is in it */

    /* A file, a pager, another process: here, just another address. */
    memcpy(elsewhere, region, REGION_BYTES);
    free(region);
    if (hy_heap_attach(&heap, elsewhere, REGION_BYTES) != 0)
        return 1;
    printf("heap: attached at another address, check gives %d:",
           hy_heap_check(heap));
    for (list = hy_heap_root_get(heap, 0); list != 0;) {
        struct word *w = hy_heap_pointer(heap, list);

        printf(" %s", w->text);
        list = w->next;
    }
    printf("\n");
    hy_heap_destroy(heap);
    free(elsewhere);
    return 0;
}

int main(void)
{
    return with_a_slab() != 0 || with_a_heap() != 0;
}
