/*
 * heap.c - making, attaching and ending a heap; offsets, roots, figures.
 *
 *      region at any address            handle (malloc)
 *      | header | heads | ...  <------- base, and a copy of the geometry
 *
 * The handle's copy of the geometry is what every bound is taken from: it was
 * computed from the region's size, and no later damage of the region changes
 * it.
 *
 * Invariant: header.check is the hash of the geometry, which never changes
 * after format; all that changes is validated where it is used.
 * Upstream: heap.h. Downstream: heap_blocks.c (blocks), os.h (memory).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heap_layout.h"
#include "options.h"
#include "os.h"
#include "poison.h"

enum { KNOWN_FLAGS = HY_HEAP_SHARED, DEFAULT_BYTES = 1 << 30 };

/* --- geometry ------------------------------------------------------------- */

bool hyi_heap_shape_of(struct hyi_heap_shape *shape, uint64_t bytes)
{
    uint64_t end = bytes >> HYI_GRANULE_SHIFT;
    uint64_t windows = (end >> HYI_WINDOW_SHIFT) + 1;
    uint64_t zones = (windows + HYI_ZONE_WINDOWS - 1) >> HYI_ZONE_SHIFT;
    uint64_t at;

    if (end == 0)
        return false;
    shape->bytes = end << HYI_GRANULE_SHIFT;
    shape->end = end;
    shape->windows = (uint32_t)windows;
    shape->classes = hyi_heap_class(end) + 1;
    at = sizeof(struct hyi_heap_header) +
         shape->classes * sizeof(((struct hyi_heap_header *)0)->heads[0]);
    shape->zones_at = hyi_align_up(at, HYI_GRANULE_BYTES);
    shape->zones_bytes = (zones + 7) / 8;
    shape->tags_at =
        hyi_align_up(shape->zones_at + shape->zones_bytes, HYI_GRANULE_BYTES);
    at = shape->tags_at + windows * sizeof(struct hyi_heap_tag);
    shape->first = hyi_align_up(at, HYI_GRANULE_BYTES) >> HYI_GRANULE_SHIFT;
    return shape->first < end;
}

static bool is_in_payload(const hy_heap *heap, uint64_t offset)
{
    return offset >> HYI_GRANULE_SHIFT >= heap->shape.first &&
           offset >> HYI_GRANULE_SHIFT < heap->shape.end;
}

/* FNV-1a over the words of the header before check. */
static uint64_t geometry_hash(const struct hyi_heap_header *header)
{
    const unsigned char *p = (const unsigned char *)header;
    uint64_t hash = 0xcbf29ce484222325u;

    for (size_t i = 0; i < offsetof(struct hyi_heap_header, check); i++)
        hash = (hash ^ p[i]) * 0x100000001b3u;
    return hash;
}

/* --- the handle ----------------------------------------------------------- */

void hyi_heap_damage(hy_heap *heap, const char *where)
{
    char line[96];

    if (heap->damaged)
        return;
    heap->damaged = true;
    if (heap->report.write == NULL)
        return;
    snprintf(line, sizeof(line), "heap %s: damaged %s; it allocates no more",
             heap->name, where);
    heap->report.write(heap->report.ctx, HY_REPORT_ERROR, line);
}

static hy_heap *handle_create(void *memory, const struct hyi_heap_shape *shape,
                              const hy_heap_options *options)
{
    int saved = errno;
    hy_heap *heap = calloc(1, sizeof(*heap));

    errno = saved;
    if (heap == NULL)
        return NULL;
    heap->base = memory;
    heap->shape = *shape;
    heap->header = memory;
    heap->zones = (unsigned char *)memory + shape->zones_at;
    heap->tags = (struct hyi_heap_tag *)(heap->base + shape->tags_at);
    heap->shared = (options->flags & HY_HEAP_SHARED) != 0;
    heap->report = options->report;
    hyi_name_copy(heap->name, sizeof(heap->name), options->name);
    pthread_mutex_init(&heap->lock, NULL);
    if (heap->shared && hyi_heap_register(heap) != 0) {
        free(heap);
        return NULL;
    }
    return heap;
}

static void handle_destroy(hy_heap *heap)
{
    if (heap->shared)
        hyi_heap_unregister(heap);
    pthread_mutex_destroy(&heap->lock);
    free(heap);
}

/* Reads the options of the calls that get their memory from the caller. */
static int read_options(hy_heap_options *o, const hy_heap_options *options,
                        const void *memory)
{
    int r = hyi_options_read(o, sizeof(*o), options);

    if (r != 0)
        return r;
    if ((o->flags & ~(unsigned)KNOWN_FLAGS) != 0 || o->bytes != 0 ||
        o->backing != NULL || memory == NULL ||
        !hyi_is_aligned((uintptr_t)memory, HY_HEAP_ALIGN))
        return -EINVAL;
    return 0;
}

/* --- formatting ----------------------------------------------------------- */

static void format_header(hy_heap *heap)
{
    struct hyi_heap_header *header = heap->header;

    memset(header, 0, sizeof(*header));
    header->magic = HYI_HEAP_MAGIC;
    header->version = HYI_HEAP_VERSION;
    header->tag_bytes = sizeof(struct hyi_heap_tag);
    header->bytes = heap->shape.bytes;
    header->first = heap->shape.first;
    header->end = heap->shape.end;
    header->windows = heap->shape.windows;
    header->classes = heap->shape.classes;
    header->check = geometry_hash(header);
}

/* Empties the heap: nothing is known of any tag, then there is one free block.
 */
static void format(hy_heap *heap)
{
    format_header(heap);
    memset(heap->header->heads, 0,
           heap->shape.classes * sizeof(heap->header->heads[0]));
    hyi_heap_empty(heap);
    hyi_heap_poison_all(heap);
}

static int format_with(hy_heap **out, void *memory, uint64_t bytes,
                       const hy_heap_options *o)
{
    struct hyi_heap_shape shape;
    hy_heap *heap;

    if (bytes > HY_HEAP_BYTES_MAX)
        return -E2BIG;
    if (!hyi_heap_shape_of(&shape, bytes))
        return -EINVAL;
    heap = handle_create(memory, &shape, o);
    if (heap == NULL)
        return -ENOMEM;
    format(heap);
    *out = heap;
    return 0;
}

int hy_heap_format_with(hy_heap **out, void *memory, size_t bytes,
                        const hy_heap_options *options)
{
    hy_heap_options o;
    int r = read_options(&o, options, memory);

    if (r != 0)
        return r;
    if (out == NULL)
        return -EINVAL;
    return format_with(out, memory, bytes, &o);
}

int hy_heap_format(hy_heap **out, void *memory, size_t bytes)
{
    return hy_heap_format_with(out, memory, bytes, NULL);
}

/* --- attaching ------------------------------------------------------------ */

/* What can be wrong with the header without a look at any tag but the two at
 * the ends of the payload. */
bool hyi_heap_header_is_sound(const hy_heap *heap)
{
    const struct hyi_heap_header *header = heap->header;
    const struct hyi_heap_shape *shape = &heap->shape;
    uint64_t granules = shape->end - shape->first;

    if (header->first != shape->first || header->end != shape->end ||
        header->windows != shape->windows || header->classes != shape->classes)
        return false;
    if (header->used_granules > granules ||
        header->peak_granules < header->used_granules ||
        header->peak_granules > granules ||
        header->used_blocks > header->used_granules ||
        header->free_blocks > granules - header->used_granules ||
        (header->free_blocks == 0) != (header->used_granules == granules))
        return false;
    for (unsigned i = 0; i < HY_HEAP_ROOTS; i++)
        if (header->roots[i] != 0 && !is_in_payload(heap, header->roots[i]))
            return false;
    return hyi_heap_lists_are_sound(heap);
}

static int attach(hy_heap **out, void *memory, uint64_t bytes,
                  const hy_heap_options *o)
{
    const struct hyi_heap_header *header = memory;
    struct hyi_heap_shape shape;
    hy_heap *heap;

    if (bytes < sizeof(*header) || header->magic != HYI_HEAP_MAGIC ||
        header->check != geometry_hash(header))
        return -EBADMSG;
    if (header->version != HYI_HEAP_VERSION ||
        header->tag_bytes != sizeof(struct hyi_heap_tag))
        return -EPROTO;
    if (header->bytes > bytes || header->bytes > HY_HEAP_BYTES_MAX ||
        !hyi_heap_shape_of(&shape, header->bytes))
        return -EBADMSG;
    heap = handle_create(memory, &shape, o);
    if (heap == NULL)
        return -ENOMEM;
    if (!hyi_heap_header_is_sound(heap)) {
        handle_destroy(heap);
        return -EBADMSG;
    }
    *out = heap;
    return 0;
}

int hy_heap_attach_with(hy_heap **out, void *memory, size_t bytes,
                        const hy_heap_options *options)
{
    hy_heap_options o;
    int r = read_options(&o, options, memory);

    if (r != 0)
        return r;
    if (out == NULL)
        return -EINVAL;
    return attach(out, memory, bytes, &o);
}

int hy_heap_attach(hy_heap **out, void *memory, size_t bytes)
{
    return hy_heap_attach_with(out, memory, bytes, NULL);
}

/* --- a region of its own -------------------------------------------------- */

static int region_acquire(void **memory, hy_backing *backing, uint64_t bytes,
                          const hy_heap_options *o)
{
    int r;

    if (o->backing == NULL)
        return hyi_os_reserve(memory, bytes, HYI_OS_READ | HYI_OS_WRITE, NULL,
                              false);
    r = hyi_options_read(backing, sizeof(*backing), o->backing);
    if (r != 0)
        return r;
    if (backing->acquire == NULL || backing->release == NULL)
        return -EINVAL;
    *memory = backing->acquire(backing->ctx, (size_t)bytes, HY_HEAP_ALIGN);
    if (*memory == NULL)
        return -ENOMEM;
    if (hyi_is_aligned((uintptr_t)*memory, HY_HEAP_ALIGN))
        return 0;
    backing->release(backing->ctx, *memory, (size_t)bytes);
    return -EINVAL;
}

static void region_release(void *memory, const hy_backing *backing,
                           uint64_t bytes)
{
    if (backing->release != NULL)
        backing->release(backing->ctx, memory, (size_t)bytes);
    else
        hyi_os_release(memory, (size_t)bytes);
}

int hy_heap_create(hy_heap **out, const hy_heap_options *options)
{
    struct hyi_heap_shape shape;
    hy_backing backing = HY_BACKING_INIT;
    hy_heap_options o;
    void *memory = NULL;
    uint64_t bytes;
    int r = hyi_options_read(&o, sizeof(o), options);

    if (r != 0)
        return r;
    if (out == NULL || (o.flags & ~(unsigned)KNOWN_FLAGS) != 0)
        return -EINVAL;
    bytes = o.bytes != 0 ? o.bytes : DEFAULT_BYTES;
    if (bytes > HY_HEAP_BYTES_MAX || bytes > SIZE_MAX / 2)
        return -E2BIG;
    if (!hyi_heap_shape_of(&shape, bytes))
        return -EINVAL;
    r = region_acquire(&memory, &backing, bytes, &o);
    if (r != 0)
        return r;
    r = format_with(out, memory, bytes, &o);
    if (r != 0) {
        region_release(memory, &backing, bytes);
        return r;
    }
    (*out)->origin = o.backing != NULL ? HYI_HEAP_BACKING : HYI_HEAP_SYSTEM;
    (*out)->origin_bytes = bytes;
    (*out)->backing = backing;
    return 0;
}

int hy_heap_destroy(hy_heap *heap)
{
    if (heap == NULL)
        return 0;
    hyi_heap_unpoison(heap, heap->base, heap->shape.bytes);
    if (heap->origin != HYI_HEAP_CALLER)
        region_release(heap->base, &heap->backing, heap->origin_bytes);
    handle_destroy(heap);
    return 0;
}

int hy_heap_reset(hy_heap *heap)
{
    if (heap == NULL)
        return -EINVAL;
    hyi_heap_lock(heap);
    hyi_heap_unpoison(heap, heap->base, heap->shape.bytes);
    format(heap);
    heap->damaged = false;
    hyi_heap_unlock(heap);
    return 0;
}

/* --- offsets and roots ---------------------------------------------------- */

uint64_t hy_heap_offset(const hy_heap *heap, const void *p)
{
    uint64_t offset;

    if (heap == NULL)
        return 0;
    offset = (uintptr_t)p - (uintptr_t)heap->base;
    return is_in_payload(heap, offset) ? offset : 0;
}

void *hy_heap_pointer(const hy_heap *heap, uint64_t offset)
{
    if (heap == NULL || !is_in_payload(heap, offset))
        return NULL;
    return heap->base + offset;
}

int hy_heap_root_set(hy_heap *heap, unsigned slot, uint64_t offset)
{
    if (heap == NULL || slot >= HY_HEAP_ROOTS ||
        (offset != 0 && !is_in_payload(heap, offset)))
        return -EINVAL;
    hyi_heap_lock(heap);
    heap->header->roots[slot] = offset;
    hyi_heap_unlock(heap);
    return 0;
}

uint64_t hy_heap_root_get(const hy_heap *heap, unsigned slot)
{
    uint64_t offset;

    if (heap == NULL || slot >= HY_HEAP_ROOTS)
        return 0;
    hyi_heap_lock(heap);
    offset = heap->header->roots[slot];
    hyi_heap_unlock(heap);
    return is_in_payload(heap, offset) ? offset : 0;
}

/* --- figures -------------------------------------------------------------- */

/* What the search for its own size finds first. */
static uint64_t largest_free(const hy_heap *heap)
{
    const struct hyi_heap_header *header = heap->header;

    for (unsigned word = HYI_CLASSES_MAX / 64; word-- > 0;) {
        uint64_t bits = header->class_map[word];
        unsigned class = word * 64;

        if (bits == 0)
            continue;
        class += hyi_log2_floor(bits);
        if (class >= heap->shape.classes ||
            header->heads[class] >= heap->shape.windows)
            return 0;
        return hyi_heap_largest_in(heap, header->heads[class])
               << HYI_GRANULE_SHIFT;
    }
    return 0;
}

int hy_heap_stats_get(const hy_heap *heap, hy_heap_stats *out)
{
    hy_heap_stats s = HY_HEAP_STATS_INIT;
    const struct hyi_heap_header *header;

    if (heap == NULL || out == NULL)
        return -EINVAL;
    header = heap->header;
    hyi_heap_lock(heap);
    memcpy(s.name, heap->name, sizeof(s.name));
    s.region_bytes = heap->shape.bytes;
    s.metadata_bytes = heap->shape.first << HYI_GRANULE_SHIFT;
    s.used_bytes = header->used_granules << HYI_GRANULE_SHIFT;
    s.free_bytes = s.region_bytes - s.metadata_bytes - s.used_bytes;
    s.largest_free_bytes = largest_free(heap);
    s.peak_used_bytes = header->peak_granules << HYI_GRANULE_SHIFT;
    s.allocations = header->used_blocks;
    s.free_blocks = header->free_blocks;
    s.allocs = heap->allocs;
    s.frees = heap->frees;
    s.failed_allocs = heap->failed_allocs;
    s.refused_frees = heap->refused_frees;
    s.damaged = heap->damaged;
    hyi_heap_unlock(heap);
    return hyi_struct_fill(out, &s, sizeof(s));
}
