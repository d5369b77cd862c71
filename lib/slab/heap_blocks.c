/*
 * heap_blocks.c - alloc, free and what they do to the tags (heap_layout.h).
 *
 *      alloc   class of the size -> first list that holds enough -> its first
 *              window -> the free block in it that fits best
 *              [ free g .................. e ]
 *              [ used g ... ][ free m .... e ]     start bit at m, links of m
 *
 *      free    [ free p ][ used g ][ free e ] f    start bits at g, e cleared:
 *              [ free p ..................... f    one block, one class
 *
 * Each is a fixed number of steps over at most six tags. Lists are changed only
 * where the class of a window's largest free block changes.
 *
 * Invariant: between two calls, a window stands in the list of the class of its
 * largest free block and in no other; free neighbours do not exist.
 * Upstream: heap.h. Downstream: heap_layout.h.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "heap_layout.h"
#include "poison.h"
#include "trace.h"

enum { ALIGN_SHIFT_MAX = 36 };

/* --- lists ---------------------------------------------------------------- */

static bool list_remove(hy_heap *heap, uint32_t w)
{
    struct hyi_heap_header *header = heap->header;
    struct hyi_heap_tag *tag = &heap->tags[w];
    unsigned class = hyi_tag_class(tag);
    uint32_t next = tag->next, prev = tag->prev;

    if (next >= heap->shape.windows || prev >= heap->shape.windows ||
        class >= heap->shape.classes)
        return false;
    if (prev != 0 ? heap->tags[prev].next != w : header->heads[class] != w)
        return false;
    if (next != 0 && heap->tags[next].prev != w)
        return false;
    tag->list = (uint16_t)(tag->list & ~HYI_CLASS_MASK);
    if (next != 0)
        heap->tags[next].prev = prev;
    if (prev != 0) {
        heap->tags[prev].next = next;
        return true;
    }
    header->heads[class] = next;
    if (next == 0) {
        header->class_map[class / 64] &= ~((uint64_t)1 << class % 64);
        if (header->class_map[class / 64] == 0)
            header->summary &= ~((uint64_t)1 << class / 64);
    }
    return true;
}

static bool list_insert(hy_heap *heap, uint32_t w, unsigned class)
{
    struct hyi_heap_header *header = heap->header;
    struct hyi_heap_tag *tag = &heap->tags[w];
    uint32_t head;

    if (class >= heap->shape.classes)
        return false;
    head = header->heads[class];
    if (head >= heap->shape.windows || head == w)
        return false;
    tag->list = (uint16_t)((tag->list & ~HYI_CLASS_MASK) | class);
    tag->prev = 0;
    tag->next = head;
    header->heads[class] = w;
    if (head != 0)
        heap->tags[head].prev = w;
    header->class_map[class / 64] |= (uint64_t)1 << class % 64;
    header->summary |= (uint64_t)1 << class / 64;
    return true;
}

static bool list_move(hy_heap *heap, uint32_t w, unsigned class)
{
    unsigned old = hyi_tag_class(&heap->tags[w]);

    if (old == class)
        return true;
    if (old != 0 && !list_remove(heap, w))
        return false;
    return class == 0 || list_insert(heap, w, class);
}

/* A free block of n granules has come to start in the window, or has grown. */
static bool list_grown(hy_heap *heap, uint32_t w, uint64_t n)
{
    unsigned class = hyi_heap_class(n);

    if (class <= hyi_tag_class(&heap->tags[w]))
        return true;
    return list_move(heap, w, class);
}

/* A free block that starts in the window is gone, or has shrunk. */
static bool list_shrunk(hy_heap *heap, uint32_t w)
{
    uint64_t n = hyi_heap_largest_in(heap, w);

    return list_move(heap, w, n != 0 ? hyi_heap_class(n) : 0);
}

/* The lowest class from class on whose list is not empty; 0 for none. */
static unsigned list_find(const hy_heap *heap, unsigned class)
{
    const struct hyi_heap_header *header = heap->header;
    unsigned word = class / 64;
    uint64_t bits;

    if (class >= heap->shape.classes)
        return 0;
    bits = header->class_map[word] & ~(uint64_t)0 << class % 64;
    if (bits == 0) {
        /* Twice, because a shift by 64 is undefined. */
        uint64_t words = header->summary >> word >> 1 << word << 1;

        words &= ((uint64_t)1 << HYI_CLASSES_MAX / 64) - 1;
        if (words == 0)
            return 0;
        word = (unsigned)__builtin_ctzll(words);
        bits = header->class_map[word];
        if (bits == 0)
            return 0;
    }
    return word * 64 + (unsigned)__builtin_ctzll(bits);
}

/* --- tags ----------------------------------------------------------------- */

/* Clears the tags of the window's zone, which were never written. */
static __attribute__((noinline)) void zone_make(hy_heap *heap, uint32_t window)
{
    uint32_t zone = window >> HYI_ZONE_SHIFT;
    uint32_t page = zone >> HYI_ZONE_PAGE_SHIFT;
    uint64_t *pages = &heap->header->zone_pages[page >> 6];
    uint64_t at = (uint64_t)page * HYI_ZONE_PAGE_BYTES;
    uint32_t from = zone << HYI_ZONE_SHIFT;
    uint64_t count = heap->shape.windows - from;

    if ((*pages >> (page & 63) & 1) == 0) {
        uint64_t bytes = heap->shape.zones_bytes - at;

        if (bytes > HYI_ZONE_PAGE_BYTES)
            bytes = HYI_ZONE_PAGE_BYTES;
        memset(heap->zones + at, 0, bytes);
        *pages |= (uint64_t)1 << (page & 63);
    }
    if (count > HYI_ZONE_WINDOWS)
        count = HYI_ZONE_WINDOWS;
    memset(&heap->tags[from], 0, count * sizeof(heap->tags[0]));
    heap->zones[zone >> 3] |= (unsigned char)(1u << (zone & 7));
}

static inline struct hyi_heap_tag *tag_of(hy_heap *heap, uint32_t window)
{
    if (HYI_UNLIKELY(!hyi_zone_is_known(heap, window)))
        zone_make(heap, window);
    return &heap->tags[window];
}

/* Records where the block [from, to) lies in the windows that it spans. */
static inline void span_set(hy_heap *heap, uint64_t from, uint64_t to)
{
    uint32_t a = hyi_window_of(from), z = hyi_window_of(to);

    if (z - a < 2)
        return;
    tag_of(heap, a + 1)->next = z;
    tag_of(heap, z - 1)->prev = a;
}

static inline void start_set(hy_heap *heap, uint64_t granule, bool used)
{
    struct hyi_heap_tag *tag = tag_of(heap, hyi_window_of(granule));
    unsigned bit = hyi_bit_of(granule);

    if (tag->starts == 0)
        tag->list = 0;
    tag->starts |= (uint16_t)(1u << bit);
    if (used)
        tag->used |= (uint16_t)(1u << bit);
}

static bool start_clear(hy_heap *heap, uint64_t granule)
{
    uint32_t w = hyi_window_of(granule);
    struct hyi_heap_tag *tag = &heap->tags[w];
    uint16_t mask = (uint16_t) ~(1u << hyi_bit_of(granule));

    tag->starts &= mask;
    tag->used &= mask;
    tag->kept &= mask;
    if (tag->starts == 0 && hyi_tag_class(tag) != 0)
        return list_remove(heap, w);
    return true;
}

/* --- finding -------------------------------------------------------------- */

/* Granules from granule to the next one whose address is a multiple of align
 * granules. */
static uint64_t skip_to_align(const hy_heap *heap, uint64_t granule,
                              uint64_t align)
{
    uint64_t address = ((uintptr_t)heap->base >> HYI_GRANULE_SHIFT) + granule;

    return (0 - address) & (align - 1);
}

uint64_t hyi_heap_fit(const hy_heap *heap, uint32_t window, uint64_t n,
                      uint64_t align, uint64_t *end, uint64_t *skip)
{
    const struct hyi_heap_tag *tag = &heap->tags[window];
    unsigned left = (unsigned)(tag->starts & ~tag->used);
    uint64_t best = 0, best_bytes = UINT64_MAX;

    for (; left != 0; left &= left - 1) {
        uint64_t from = hyi_granule_at(window, (unsigned)__builtin_ctz(left));
        uint64_t to = hyi_heap_after(heap, from);
        uint64_t before = skip_to_align(heap, from, align);

        if (to - from < best_bytes && to > from && to - from >= n &&
            to - from - n >= before) {
            best = from;
            best_bytes = to - from;
            *end = to;
            *skip = before;
        }
    }
    return best;
}

uint64_t hyi_heap_largest_in(const hy_heap *heap, uint32_t window)
{
    const struct hyi_heap_tag *tag = &heap->tags[window];
    unsigned left = (unsigned)(tag->starts & ~tag->used);
    uint64_t largest = 0;

    for (; left != 0; left &= left - 1) {
        uint64_t from = hyi_granule_at(window, (unsigned)__builtin_ctz(left));
        uint64_t to = hyi_heap_after(heap, from);

        if (to > from && to - from > largest)
            largest = to - from;
    }
    return largest;
}

/* The fit in the first list from *class on that has a window; 0 when it has
 * none that fits. *class becomes that list's, or 0. */
static uint64_t find_from(hy_heap *heap, unsigned *class, uint64_t n,
                          uint64_t align, uint64_t *end, uint64_t *skip)
{
    uint32_t head;

    *class = list_find(heap, *class);
    if (*class == 0 || *class >= heap->shape.classes)
        return 0;
    head = heap->header->heads[*class];
    if (head == 0 || head >= heap->shape.windows ||
        hyi_tag_class(&heap->tags[head]) != *class) {
        hyi_heap_damage(heap, "list");
        return 0;
    }
    return hyi_heap_fit(heap, head, n, align, end, skip);
}

/*
 * The free block for n granules at this alignment, or 0. A size's own class may
 * hold less than it, every higher class has enough; with room for the worst
 * alignment, whatever has enough fits.
 */
static uint64_t find(hy_heap *heap, uint64_t n, uint64_t align, uint64_t *end,
                     uint64_t *skip)
{
    uint64_t room = n;

    for (;;) {
        unsigned class = hyi_heap_class(room);
        uint64_t granule = find_from(heap, &class, n, align, end, skip);

        if (granule != 0 || class == 0)
            return granule;
        class ++;
        granule = find_from(heap, &class, n, align, end, skip);
        if (granule != 0 || class == 0 || room != n || align == 1)
            return granule;
        room = n + align - 1;
    }
}

/* The window and granule of a live block; false for anything else. */
static bool block_of(const hy_heap *heap, const void *p, uint64_t *granule)
{
    uint64_t offset = (uintptr_t)p - (uintptr_t)heap->base;
    uint64_t g = offset >> HYI_GRANULE_SHIFT;
    uint32_t w = hyi_window_of(g);
    unsigned bit = hyi_bit_of(g);

    if ((offset & (HYI_GRANULE_BYTES - 1)) != 0 || g < heap->shape.first ||
        g >= heap->shape.end || !hyi_zone_is_known(heap, w))
        return false;
    *granule = g;
    return hyi_tag_starts(&heap->tags[w], bit) &&
           hyi_tag_is_used(&heap->tags[w], bit);
}

/* --- changing ------------------------------------------------------------- */

/* Makes [granule, granule + n) of the free block [granule, end) a block in
 * use. */
static bool take(hy_heap *heap, uint64_t granule, uint64_t end, uint64_t n)
{
    struct hyi_heap_header *header = heap->header;
    uint32_t w = hyi_window_of(granule);
    uint64_t middle = granule + n;

    heap->tags[w].used |= (uint16_t)(1u << hyi_bit_of(granule));
    header->used_granules += n;
    header->used_blocks++;
    if (header->used_granules > header->peak_granules)
        header->peak_granules = header->used_granules;
    if (middle == end) {
        header->free_blocks--;
        return list_shrunk(heap, w);
    }
    start_set(heap, middle, false);
    span_set(heap, granule, middle);
    span_set(heap, middle, end);
    if (hyi_window_of(middle) != w &&
        !list_grown(heap, hyi_window_of(middle), end - middle))
        return false;
    return list_shrunk(heap, w);
}

/* Leaves the first skip granules of the free block free, as one of its own. */
static void cut(hy_heap *heap, uint64_t granule, uint64_t skip, uint64_t end)
{
    start_set(heap, granule + skip, false);
    span_set(heap, granule, granule + skip);
    span_set(heap, granule + skip, end);
    heap->header->free_blocks++;
}

static void kept_set(hy_heap *heap, uint64_t granule, uint64_t align)
{
    struct hyi_heap_tag *tag = &heap->tags[hyi_window_of(granule)];
    unsigned shift = hyi_log2_floor(align);

    if (tag->kept == 0 || (unsigned)tag->list >> HYI_KEPT_SHIFT < shift)
        tag->list =
            (uint16_t)((tag->list & HYI_CLASS_MASK) | shift << HYI_KEPT_SHIFT);
    tag->kept |= (uint16_t)(1u << hyi_bit_of(granule));
}

/* The alignment of a block in granules: what its address has, up to the most
 * that was asked for in its window. */
static uint64_t kept_get(const hy_heap *heap, uint64_t granule)
{
    const struct hyi_heap_tag *tag = &heap->tags[hyi_window_of(granule)];
    uint64_t address = ((uintptr_t)heap->base >> HYI_GRANULE_SHIFT) + granule;
    uint64_t asked = (uint64_t)1 << (tag->list >> HYI_KEPT_SHIFT);
    uint64_t natural = address & (0 - address);

    if ((tag->kept >> hyi_bit_of(granule) & 1) == 0)
        return 1;
    return natural < asked ? natural : asked;
}

/* Removes the start of the free block at granule: it belongs to what comes
 * before. */
static bool swallow(hy_heap *heap, uint64_t granule)
{
    heap->header->free_blocks--;
    return start_clear(heap, granule);
}

/* Makes the block in use [granule, end) free, with its neighbours. */
static bool give(hy_heap *heap, uint64_t granule, uint64_t end)
{
    struct hyi_heap_header *header = heap->header;
    uint64_t before = hyi_heap_before(heap, granule), begin = granule;
    uint32_t w = hyi_window_of(granule), z = hyi_window_of(end);
    uint16_t mask = (uint16_t) ~(1u << hyi_bit_of(granule));
    bool merged = false;

    if (before == 0)
        return false;
    header->used_granules -= end - granule;
    header->used_blocks--;
    header->free_blocks++;
    heap->tags[w].used &= mask;
    heap->tags[w].kept &= mask;
    if (!hyi_tag_is_used(&heap->tags[z], hyi_bit_of(end))) {
        uint64_t after = end < heap->shape.end ? hyi_heap_after(heap, end) : 0;

        if (after == 0 || !swallow(heap, end))
            return false;
        end = after;
        merged = true;
    }
    if (!hyi_tag_is_used(&heap->tags[hyi_window_of(before)],
                         hyi_bit_of(before))) {
        if (before < heap->shape.first || !swallow(heap, granule))
            return false;
        begin = before;
    }
    span_set(heap, begin, end);
    if (merged && z != hyi_window_of(begin) && heap->tags[z].starts != 0 &&
        !list_shrunk(heap, z))
        return false;
    return list_grown(heap, hyi_window_of(begin), end - begin);
}

void hyi_heap_empty(hy_heap *heap)
{
    uint64_t first = heap->shape.first, end = heap->shape.end;
    bool listed;

    start_set(heap, first - 1, true);
    start_set(heap, end, true);
    start_set(heap, first, false);
    span_set(heap, first, end);
    heap->header->free_blocks = 1;
    listed = list_grown(heap, hyi_window_of(first), end - first);
    HYI_ASSERT(listed);
}

/* --- the calls ------------------------------------------------------------ */

static uint64_t granules_for(const hy_heap *heap, size_t bytes)
{
    uint64_t n = ((uint64_t)bytes >> HYI_GRANULE_SHIFT) +
                 ((bytes & (HYI_GRANULE_BYTES - 1)) != 0);

    if (n > heap->shape.end - heap->shape.first)
        return 0;
    return n != 0 ? n : 1;
}

/* What follows the bytes asked for is out of bounds. */
static void bounds_set(hy_heap *heap, void *p, size_t bytes, uint64_t n)
{
    if (!HYI_POISONS)
        return;
    if (bytes == 0)
        bytes = 1;
    hyi_heap_unpoison(heap, p, bytes);
    hyi_poison((char *)p + bytes, (size_t)(n << HYI_GRANULE_SHIFT) - bytes);
}

static void *alloc_block(hy_heap *heap, uint64_t align, size_t bytes)
{
    uint64_t n = granules_for(heap, bytes), end = 0, skip = 0, granule;
    void *p;

    if (n == 0 || heap->damaged)
        return NULL;
    granule = find(heap, n, align, &end, &skip);
    if (granule == 0)
        return NULL;
    if (skip != 0) {
        cut(heap, granule, skip, end);
        granule += skip;
    }
    if (!take(heap, granule, end, n) ||
        (skip != 0 && !list_shrunk(heap, hyi_window_of(granule - skip)))) {
        hyi_heap_damage(heap, "list");
        return NULL;
    }
    if (align > 1)
        kept_set(heap, granule, align);
    p = hyi_granule_address(heap, granule);
    bounds_set(heap, p, bytes, n);
    return p;
}

static void *alloc_counted(hy_heap *heap, uint64_t align, size_t bytes)
{
    void *p = alloc_block(heap, align, bytes);

    if (HYI_LIKELY(p != NULL))
        heap->allocs++;
    else
        heap->failed_allocs++;
    return p;
}

void *hy_heap_alloc(hy_heap *heap, size_t bytes)
{
    void *p;

    if (heap == NULL)
        return NULL;
    hyi_heap_lock(heap);
    p = alloc_counted(heap, 1, bytes);
    hyi_heap_unlock(heap);
    HYI_TRACE("alloc", bytes);
    return p;
}

void *hy_heap_alloc_aligned(hy_heap *heap, size_t align, size_t bytes)
{
    void *p;

    if (heap == NULL || !hyi_is_power_of_two(align) ||
        align > (uint64_t)1 << ALIGN_SHIFT_MAX)
        return NULL;
    align = align < HYI_GRANULE_BYTES ? 1 : align >> HYI_GRANULE_SHIFT;
    hyi_heap_lock(heap);
    p = alloc_counted(heap, align, bytes);
    hyi_heap_unlock(heap);
    return p;
}

static int free_block(hy_heap *heap, void *p)
{
    uint64_t granule, end;

    if (heap->damaged)
        return -EBADMSG;
    if (HYI_UNLIKELY(!block_of(heap, p, &granule))) {
        heap->refused_frees++;
        return -EINVAL;
    }
    end = hyi_heap_after(heap, granule);
    if (end <= granule || !give(heap, granule, end)) {
        hyi_heap_damage(heap, "tags");
        return -EBADMSG;
    }
    hyi_heap_poison(heap, granule, end);
    heap->frees++;
    return 0;
}

/* Without the lock: the callback may use the heap. */
static void report_refused(hy_heap *heap, const void *p)
{
    char line[128];

    if (heap->report.write == NULL)
        return;
    snprintf(line, sizeof(line),
             "heap %s: %p is no block in use; it is not freed", heap->name, p);
    heap->report.write(heap->report.ctx, HY_REPORT_ERROR, line);
}

int hy_heap_free(hy_heap *heap, void *p)
{
    int r;

    if (heap == NULL)
        return -EINVAL;
    if (p == NULL)
        return 0;
    hyi_heap_lock(heap);
    r = free_block(heap, p);
    hyi_heap_unlock(heap);
    if (HYI_UNLIKELY(r == -EINVAL))
        report_refused(heap, p);
    return r;
}

/* Ends the block in use after n granules and frees the rest of [granule, end).
 */
static bool shrink(hy_heap *heap, uint64_t granule, uint64_t n, uint64_t end)
{
    uint64_t middle = granule + n;

    start_set(heap, middle, true);
    span_set(heap, granule, middle);
    span_set(heap, middle, end);
    heap->header->used_blocks++;
    return give(heap, middle, end);
}

/* Adds the free block at *end to the block in use, if that makes it large
 * enough. False when the tags are damaged. */
static bool grow(hy_heap *heap, uint64_t granule, uint64_t n, uint64_t *end)
{
    uint32_t z = hyi_window_of(*end);
    uint64_t after;

    if (*end >= heap->shape.end ||
        hyi_tag_is_used(&heap->tags[z], hyi_bit_of(*end)))
        return true;
    after = hyi_heap_after(heap, *end);
    if (after <= *end)
        return false;
    if (after - granule < n)
        return true;
    heap->header->used_granules += after - *end;
    if (!swallow(heap, *end))
        return false;
    span_set(heap, granule, after);
    *end = after;
    return heap->tags[z].starts == 0 || list_shrunk(heap, z);
}

static void *move(hy_heap *heap, void *p, uint64_t old_bytes, uint64_t align,
                  size_t bytes)
{
    void *q = alloc_block(heap, align, bytes);

    if (q == NULL)
        return NULL;
    hyi_heap_unpoison(heap, p, old_bytes);
    memcpy(q, p, (size_t)(old_bytes < bytes ? old_bytes : bytes));
    if (free_block(heap, p) != 0)
        return NULL;
    heap->frees--; /* one block moved, none was freed */
    return q;
}

static void *realloc_block(hy_heap *heap, void *p, size_t bytes)
{
    struct hyi_heap_header *header = heap->header;
    uint64_t n = granules_for(heap, bytes), granule, end, old_end;

    if (heap->damaged || !block_of(heap, p, &granule) || n == 0)
        return NULL;
    end = old_end = hyi_heap_after(heap, granule);
    if (end <= granule ||
        (end - granule < n && !grow(heap, granule, n, &end)) ||
        (end - granule > n && !shrink(heap, granule, n, end))) {
        hyi_heap_damage(heap, "tags");
        return NULL;
    }
    if (end - granule < n)
        return move(heap, p, (end - granule) << HYI_GRANULE_SHIFT,
                    kept_get(heap, granule), bytes);
    if (header->used_granules > header->peak_granules)
        header->peak_granules = header->used_granules;
    if (granule + n < old_end)
        hyi_heap_poison(heap, granule + n, old_end);
    bounds_set(heap, p, bytes, n);
    return p;
}

void *hy_heap_realloc(hy_heap *heap, void *p, size_t bytes)
{
    void *q;

    if (heap == NULL)
        return NULL;
    hyi_heap_lock(heap);
    if (p == NULL) {
        q = alloc_counted(heap, 1, bytes);
    } else {
        q = realloc_block(heap, p, bytes);
        heap->failed_allocs += q == NULL;
    }
    hyi_heap_unlock(heap);
    return q;
}

size_t hy_heap_block_bytes(const hy_heap *heap, const void *p)
{
    uint64_t granule, end, bytes = 0;

    if (heap == NULL)
        return 0;
    hyi_heap_lock(heap);
    if (block_of(heap, p, &granule)) {
        end = hyi_heap_after(heap, granule);
        if (end > granule)
            bytes = (end - granule) << HYI_GRANULE_SHIFT;
    }
    hyi_heap_unlock(heap);
    return (size_t)bytes;
}
