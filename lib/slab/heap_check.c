/*
 * heap_check.c - reading a whole heap: walk, check, trim.
 *
 *      first                                            end
 *      | block | block | block | ............... | block |
 *        |---- hyi_heap_after ---->                the start after each; every
 *                                                  tag in between must agree
 *
 * Invariant: nothing is changed, but by what trim's caller gives back.
 * Upstream: heap.h. Downstream: heap_layout.h.
 */
#include <errno.h>
#include <string.h>

#include "heap_layout.h"
#include "os.h"

/* --- blocks --------------------------------------------------------------- */

/* Bits that no block of the window may have. */
static const char *problem_of_window(const hy_heap *heap, uint32_t window)
{
    const struct hyi_heap_tag *tag = &heap->tags[window];

    if ((tag->used & ~tag->starts) != 0 || (tag->kept & ~tag->used) != 0)
        return "bits without a block";
    if ((tag->starts & ~tag->used) != 0 && hyi_tag_class(tag) == 0)
        return "a free block in no list";
    if ((tag->starts & ~tag->used) == 0 && tag->starts != 0 &&
        hyi_tag_class(tag) != 0)
        return "in a list without a free block";
    return NULL;
}

/* The tags between the window where the block starts and the one where it
 * ends. Zones that were never written are skipped. */
static const char *problem_of_span(const hy_heap *heap, uint64_t from,
                                   uint64_t to)
{
    uint32_t a = hyi_window_of(from), z = hyi_window_of(to), w = a + 1;

    if (z - a < 2)
        return NULL;
    if (!hyi_zone_is_known(heap, w) || !hyi_zone_is_known(heap, z - 1))
        return "a span without tags";
    if (heap->tags[w].next != z || heap->tags[z - 1].prev != a)
        return "the two ends disagree";
    while (w < z) {
        if (!hyi_zone_is_known(heap, w)) {
            w = (w | (HYI_ZONE_WINDOWS - 1)) + 1;
            continue;
        }
        if (heap->tags[w].starts != 0)
            return "a block inside a block";
        w++;
    }
    return NULL;
}

static const char *problem_of_block(const hy_heap *heap, uint64_t granule,
                                    uint64_t after, bool free_before)
{
    uint32_t w = hyi_window_of(granule);
    bool used;

    if (!hyi_zone_is_known(heap, w))
        return "no tag";
    used = hyi_tag_is_used(&heap->tags[w], hyi_bit_of(granule));
    if (!hyi_tag_starts(&heap->tags[w], hyi_bit_of(granule)))
        return "no start";
    if (after <= granule || after > heap->shape.end)
        return "no end";
    if (!hyi_zone_is_known(heap, hyi_window_of(after)))
        return "no tag at its end";
    if (hyi_heap_before(heap, after) != granule)
        return "not found from its end";
    if (free_before && !used)
        return "two free neighbours";
    if (problem_of_window(heap, w) != NULL)
        return problem_of_window(heap, w);
    return problem_of_span(heap, granule, after);
}

/* What a check counts on its way. */
struct totals {
    uint64_t used_granules, used_blocks, free_blocks;
    uint64_t free_windows; /* with a free block's start */
};

static int walk(const hy_heap *heap, struct totals *totals,
                int (*visit)(void *, const hy_heap_block *), void *ctx)
{
    uint64_t granule = heap->shape.first, after;
    uint32_t last_free_window = 0;
    hy_heap_block block = {.size = sizeof(block)};
    bool free_before = false;
    int r;

    for (; granule < heap->shape.end; granule = after) {
        uint32_t w = hyi_window_of(granule);

        after = hyi_heap_after(heap, granule);
        block.problem = problem_of_block(heap, granule, after, free_before);
        block.offset = granule << HYI_GRANULE_SHIFT;
        block.bytes = (after - granule) << HYI_GRANULE_SHIFT;
        block.state = hyi_tag_is_used(&heap->tags[w], hyi_bit_of(granule));
        if (block.problem != NULL) {
            block.bytes = 0;
            block.state = HY_HEAP_DAMAGED;
        }
        r = visit != NULL ? visit(ctx, &block) : 0;
        if (block.problem != NULL)
            return r != 0 ? r : -EBADMSG;
        if (r != 0)
            return r;
        free_before = block.state == HY_HEAP_FREE;
        totals->free_windows += free_before && w != last_free_window;
        last_free_window = free_before ? w : last_free_window;
        totals->free_blocks += free_before;
        totals->used_blocks += !free_before;
        totals->used_granules += free_before ? 0 : after - granule;
    }
    return 0;
}

int hy_heap_walk(const hy_heap *heap,
                 int (*visit)(void *ctx, const hy_heap_block *block), void *ctx)
{
    struct totals totals = {0};
    int r;

    if (heap == NULL || visit == NULL)
        return -EINVAL;
    hyi_heap_lock(heap);
    r = walk(heap, &totals, visit, ctx);
    hyi_heap_unlock(heap);
    return r;
}

/* --- lists ---------------------------------------------------------------- */

static bool has_list(const hy_heap *heap, unsigned class)
{
    return (heap->header->class_map[class / 64] >> class % 64 & 1) != 0;
}

static bool sentinel_is_sound(const hy_heap *heap, uint64_t granule)
{
    const struct hyi_heap_tag *tag = &heap->tags[hyi_window_of(granule)];

    return hyi_zone_is_known(heap, hyi_window_of(granule)) &&
           hyi_tag_starts(tag, hyi_bit_of(granule)) &&
           hyi_tag_is_used(tag, hyi_bit_of(granule));
}

bool hyi_heap_lists_are_sound(const hy_heap *heap)
{
    const struct hyi_heap_header *header = heap->header;

    for (unsigned word = 0; word < HYI_CLASSES_MAX / 64; word++)
        if ((header->class_map[word] != 0) != (header->summary >> word & 1))
            return false;
    if (header->summary >> HYI_CLASSES_MAX / 64 != 0)
        return false;
    for (unsigned class = 0; class < HYI_CLASSES_MAX; class ++) {
        bool listed = has_list(heap, class);

        if (class >= heap->shape.classes) {
            if (listed)
                return false;
            continue;
        }
        if ((header->heads[class] != 0) != listed ||
            header->heads[class] >= heap->shape.windows)
            return false;
    }
    return sentinel_is_sound(heap, heap->shape.first - 1) &&
           sentinel_is_sound(heap, heap->shape.end);
}

/* Windows in the list; 0 when one does not belong there. */
static uint64_t list_count(const hy_heap *heap, unsigned class, uint64_t limit)
{
    uint32_t w = heap->header->heads[class], before = 0;
    uint64_t count = 0;

    for (; w != 0; w = heap->tags[w].next) {
        uint64_t largest;

        if (w >= heap->shape.windows || count++ >= limit ||
            !hyi_zone_is_known(heap, w) || heap->tags[w].prev != before ||
            hyi_tag_class(&heap->tags[w]) != class)
            return 0;
        largest = hyi_heap_largest_in(heap, w);
        if (largest == 0 || hyi_heap_class(largest) != class)
            return 0;
        before = w;
    }
    return count;
}

static bool lists_hold(const hy_heap *heap, uint64_t windows)
{
    uint64_t sum = 0;

    for (unsigned class = 1; class < heap->shape.classes; class ++) {
        uint64_t count;

        if (!has_list(heap, class))
            continue;
        count = list_count(heap, class, windows);
        if (count == 0)
            return false;
        sum += count;
    }
    return sum == windows;
}

static bool is_whole(const hy_heap *heap)
{
    const struct hyi_heap_header *header = heap->header;
    struct totals totals = {0};

    return hyi_heap_header_is_sound(heap) &&
           walk(heap, &totals, NULL, NULL) == 0 &&
           totals.used_granules == header->used_granules &&
           totals.used_blocks == header->used_blocks &&
           totals.free_blocks == header->free_blocks &&
           lists_hold(heap, totals.free_windows);
}

int hy_heap_check(const hy_heap *heap)
{
    bool whole;

    if (heap == NULL)
        return -EINVAL;
    hyi_heap_lock(heap);
    whole = is_whole(heap);
    hyi_heap_unlock(heap);
    return whole ? 0 : -EBADMSG;
}

/* --- giving memory back --------------------------------------------------- */

struct trim {
    int (*give_back)(void *ctx, void *p, size_t bytes);
    void *ctx;
    uint64_t page_bytes;
    uint64_t trimmed;
};

static int give_to_system(void *ctx, void *p, size_t bytes)
{
    (void)ctx;
    return hyi_os_decommit(p, bytes);
}

static int trim_block(const hy_heap *heap, struct trim *trim, uint64_t from,
                      uint64_t to)
{
    uintptr_t base = (uintptr_t)heap->base;
    uint64_t a =
        hyi_align_up(base + (from << HYI_GRANULE_SHIFT), trim->page_bytes);
    uint64_t z =
        hyi_align_down(base + (to << HYI_GRANULE_SHIFT), trim->page_bytes);
    int r;

    if (a >= z)
        return 0;
    r = trim->give_back(trim->ctx, heap->base + (a - base), (size_t)(z - a));
    if (r == 0)
        trim->trimmed += z - a;
    return r;
}

static int trim_window(const hy_heap *heap, struct trim *trim, uint32_t w)
{
    const struct hyi_heap_tag *tag = &heap->tags[w];
    unsigned left = (unsigned)(tag->starts & ~tag->used);
    int r = 0;

    for (; left != 0 && r == 0; left &= left - 1) {
        uint64_t from = hyi_granule_at(w, (unsigned)__builtin_ctz(left));
        uint64_t to = hyi_heap_after(heap, from);

        if (to <= from)
            return -EBADMSG;
        r = trim_block(heap, trim, from, to);
    }
    return r;
}

static int trim_all(const hy_heap *heap, struct trim *trim)
{
    unsigned class = hyi_heap_class(trim->page_bytes >> HYI_GRANULE_SHIFT);
    uint64_t limit = heap->shape.windows;
    int r = 0;

    for (; class < heap->shape.classes && r == 0; class ++) {
        uint32_t w = heap->header->heads[class];

        if (!has_list(heap, class))
            continue;
        for (; w != 0 && r == 0; w = heap->tags[w].next) {
            if (w >= heap->shape.windows || limit-- == 0)
                return -EBADMSG;
            r = trim_window(heap, trim, w);
        }
    }
    return r;
}

int hy_heap_trim(hy_heap *heap,
                 int (*give_back)(void *ctx, void *p, size_t bytes), void *ctx,
                 uint64_t *trimmed)
{
    struct trim trim = {give_back, ctx, hyi_os_page_bytes(), 0};
    int r;

    if (heap == NULL)
        return -EINVAL;
    if (give_back == NULL && heap->origin != HYI_HEAP_SYSTEM)
        return -ENOTSUP;
    if (give_back == NULL)
        trim.give_back = give_to_system;
    hyi_heap_lock(heap);
    r = heap->damaged ? -EBADMSG : trim_all(heap, &trim);
    if (r == -EBADMSG)
        hyi_heap_damage(heap, "list");
    hyi_heap_unlock(heap);
    if (trimmed != NULL)
        *trimmed = trim.trimmed;
    return r;
}
