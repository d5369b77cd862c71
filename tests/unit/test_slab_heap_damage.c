/*
 * test_slab_heap_damage.c - regions whose metadata is damaged: whatever the
 * bits say, no call crashes, hangs, or leaves the region; and what is damaged
 * is named.
 */
#include <errno.h>
#include <hyperion/heap.h>
#include <string.h>
#include <sys/mman.h>

#include "hy_test.h"
#include "poison.h"

enum { REGION_BYTES = 1 << 18, BLOCKS = 400 };

static uint64_t random_state;

static uint64_t random_below(uint64_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % n;
}

/* The region lies between pages that must not be touched. */
static char *fenced_region(void)
{
    char *p = mmap(NULL, REGION_BYTES + 8192, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    HY_CHECK(p != MAP_FAILED);
    HY_CHECK_EQ(mprotect(p + 4096, REGION_BYTES, PROT_READ | PROT_WRITE), 0);
    return p + 4096;
}

static void fence_destroy(char *region)
{
    munmap(region - 4096, REGION_BYTES + 8192);
}

/* A heap with blocks and holes of many sizes; gives the metadata's bytes. */
static size_t fill(char *region, char **blocks)
{
    hy_heap_stats s = HY_HEAP_STATS_INIT;
    hy_heap *heap;

    memset(region, 0, REGION_BYTES);
    HY_CHECK_EQ(hy_heap_format(&heap, region, REGION_BYTES), 0);
    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = hy_heap_alloc(heap, random_below(random_below(20) + 1) *
                                            random_below(100));
    for (int i = 0; i < BLOCKS; i += 1 + (int)random_below(3)) {
        HY_CHECK_EQ(hy_heap_free(heap, blocks[i]), 0);
        blocks[i] = NULL;
    }
    HY_CHECK_EQ(hy_heap_root_set(heap, 1, hy_heap_offset(heap, blocks[1])), 0);
    HY_CHECK_EQ(hy_heap_stats_get(heap, &s), 0);
    HY_CHECK_EQ(hy_heap_check(heap), 0);
    hy_heap_destroy(heap);
    return s.metadata_bytes;
}

struct last {
    hy_heap_block block;
    int count;
};

static int remember(void *ctx, const hy_heap_block *block)
{
    struct last *last = ctx;

    last->block = *block;
    return ++last->count > REGION_BYTES / 64;
}

static bool is_inside(const char *region, const char *p, size_t bytes)
{
    return p >= region && p + bytes <= region + REGION_BYTES;
}

/* Everything that can be done with it, none of which may leave the region. */
static void use(char *region, hy_heap *heap, char **blocks)
{
    hy_heap_stats s = HY_HEAP_STATS_INIT;
    struct last last = {.count = 0};
    int r = hy_heap_check(heap);

    HY_CHECK(r == 0 || r == -EBADMSG);
    r = hy_heap_walk(heap, remember, &last);
    HY_CHECK(r == 0 || r == -EBADMSG);
    if (r == -EBADMSG)
        HY_CHECK(last.block.state == HY_HEAP_DAMAGED &&
                 last.block.problem != NULL);
    HY_CHECK_EQ(hy_heap_stats_get(heap, &s), 0);
    for (int i = 0; i < BLOCKS; i++) {
        size_t bytes = random_below(2000);
        char *p = NULL;

        switch (random_below(4)) {
        case 0:
            p = hy_heap_alloc_aligned(heap, (size_t)64 << random_below(8),
                                      bytes);
            break;
        case 1:
            p = hy_heap_alloc(heap, bytes);
            break;
        case 2:
            bytes = 0;
            r = hy_heap_free(heap, blocks[i]);
            HY_CHECK(r == 0 || r == -EINVAL || r == -EBADMSG);
            break;
        default:
            /* Copies what the tags call the block; inside the region. */
            bytes = 1;
            p = hy_heap_realloc(heap, blocks[i], random_below(3000));
            break;
        }
        HY_CHECK(p == NULL || is_inside(region, p, bytes));
        HY_CHECK(hy_heap_block_bytes(heap, blocks[i]) <= REGION_BYTES);
    }
    r = hy_heap_check(heap);
    HY_CHECK(r == 0 || r == -EBADMSG);
    HY_CHECK_EQ(hy_heap_reset(heap), 0);
    HY_CHECK_EQ(hy_heap_check(heap), 0);
    HY_CHECK(hy_heap_alloc(heap, REGION_BYTES / 2) != NULL);
}

static void damage(char *region, size_t metadata)
{
    size_t count = 1 + random_below(3), at = random_below(metadata);

    switch (random_below(4)) {
    case 0: /* a run of one value */
        count = 1 + random_below(64);
        if (count > metadata - at)
            count = metadata - at;
        memset(region + at, (int)random_below(3) - 1, count);
        break;
    case 1: /* a piece copied from elsewhere */
        count = 4 * (1 + random_below(8));
        if (at + count <= metadata)
            memmove(region + at, region + random_below(metadata - count),
                    count);
        break;
    default: /* some bits */
        for (; count != 0; count--)
            region[random_below(metadata)] ^= (char)(1 << random_below(8));
        break;
    }
}

HY_TEST(slab_heap_damage, random_damage_before_attaching)
{
    static char image[REGION_BYTES];
    char *region = fenced_region(), *blocks[BLOCKS];
    int refused = 0, found = 0;
    size_t metadata;

    random_state = 12345;
    metadata = fill(region, blocks);
    memcpy(image, region, REGION_BYTES);
    for (int i = 0; i < 2000; i++) {
        hy_heap *heap = NULL;
        int r;

        memcpy(region, image, REGION_BYTES);
        /* Half of it where it matters most: the header and the heads. */
        damage(region, i % 2 == 0 ? metadata : 2000);
        r = hy_heap_attach(&heap, region, REGION_BYTES);
        if (r != 0) {
            HY_CHECK(r == -EBADMSG && heap == NULL);
            refused++;
            continue;
        }
        found += hy_heap_check(heap) == -EBADMSG;
        use(region, heap, blocks);
        hy_heap_destroy(heap);
    }
    HY_CHECK_MSG(refused > 500 && found > 200, "%d refused, %d found", refused,
                 found);
    fence_destroy(region);
}

HY_TEST(slab_heap_damage, random_damage_under_a_handle)
{
    static char image[REGION_BYTES];
    char *region = fenced_region(), *blocks[BLOCKS];
    size_t metadata;

    random_state = 777;
    metadata = fill(region, blocks);
    memcpy(image, region, REGION_BYTES);
    for (int i = 0; i < 1000; i++) {
        hy_heap *heap;

        memcpy(region, image, REGION_BYTES);
        HY_CHECK_EQ(hy_heap_attach(&heap, region, REGION_BYTES), 0);
        damage(region, metadata);
        use(region, heap, blocks);
        hy_heap_destroy(heap);
    }
    fence_destroy(region);
}

/* The region filled with noise behind an intact geometry. */
HY_TEST(slab_heap_damage, noise)
{
    char *region = fenced_region(), *blocks[BLOCKS];
    size_t metadata;

    random_state = 99;
    metadata = fill(region, blocks);
    for (int i = 0; i < 300; i++) {
        hy_heap *heap;

        HY_CHECK_EQ(hy_heap_format(&heap, region, REGION_BYTES), 0);
        for (size_t at = 64; at < metadata; at++)
            region[at] = (char)random_below(256);
        use(region, heap, blocks);
        hy_heap_destroy(heap);
    }
    fence_destroy(region);
}

/* Each kind of damage is found, and the walk stops at its place. */
HY_TEST(slab_heap_damage, is_named)
{
    char *region = fenced_region(), *p[20];
    hy_heap *heap;
    struct last last = {.count = 0};
    hy_heap_stats s = HY_HEAP_STATS_INIT;
    int found = 0;

    HY_CHECK_EQ(hy_heap_format(&heap, region, REGION_BYTES), 0);
    for (int i = 0; i < 20; i++)
        p[i] = hy_heap_alloc(heap, 5000);
    for (int i = 1; i < 20; i += 2)
        HY_CHECK_EQ(hy_heap_free(heap, p[i]), 0);
    HY_CHECK_EQ(hy_heap_stats_get(heap, &s), 0);
    /* Each bit of the tags of the payload's first ten blocks. */
    for (size_t bit = 0; bit < 50 * 16 * 8; bit++) {
        size_t windows = REGION_BYTES / 1024 + 1;
        char *tags = region + s.metadata_bytes - (windows + 3) / 4 * 64;
        char *at = tags + (s.metadata_bytes / 1024 + 1) * 16 + bit / 8;

        *at ^= (char)(1 << bit % 8);
        if (hy_heap_check(heap) == -EBADMSG)
            found++;
        last = (struct last){.count = 0};
        if (hy_heap_walk(heap, remember, &last) == -EBADMSG) {
            HY_CHECK(last.block.problem != NULL);
            HY_CHECK_EQ(last.block.bytes, 0);
            HY_CHECK(last.block.offset <= hy_heap_offset(heap, p[11]) + 5000);
        }
        *at ^= (char)(1 << bit % 8);
        HY_CHECK_EQ(hy_heap_check(heap), 0);
    }
    /* What is left over are links in the middle of large blocks, and the
     * alignment of windows that keep none: they say nothing. */
    HY_CHECK_MSG(found > 1000, "%d of %d", found, 50 * 16 * 8);
    hy_heap_destroy(heap);
    fence_destroy(region);
}

/* Every bit of the class and the links of a window that stands in a list. */
HY_TEST(slab_heap_damage, check_reads_the_lists)
{
    char *region = fenced_region(), *p[20];
    hy_heap_stats s = HY_HEAP_STATS_INIT;
    uint64_t window;
    char *tag;
    hy_heap *heap;

    HY_CHECK_EQ(hy_heap_format(&heap, region, REGION_BYTES), 0);
    for (int i = 0; i < 20; i++)
        p[i] = hy_heap_alloc(heap, 5000);
    for (int i = 1; i < 20; i += 2)
        HY_CHECK_EQ(hy_heap_free(heap, p[i]), 0);
    HY_CHECK_EQ(hy_heap_stats_get(heap, &s), 0);
    window = (uint64_t)(p[7] - region) / 1024;
    tag = region + s.metadata_bytes - (REGION_BYTES / 1024 + 1 + 3) / 4 * 64 +
          window * 16;
    for (int bit = 48; bit < 128; bit++) {
        if (bit >= 48 + 10 && bit < 64)
            continue; /* an alignment that no block of the window keeps */
        tag[bit / 8] ^= (char)(1 << bit % 8);
        HY_CHECK_MSG(hy_heap_check(heap) == -EBADMSG, "bit %d", bit);
        tag[bit / 8] ^= (char)(1 << bit % 8);
    }
    HY_CHECK_EQ(hy_heap_check(heap), 0);
    hy_heap_destroy(heap);
    fence_destroy(region);
}

struct reports {
    int count, refused;
};

static void write_report(void *ctx, int level, const char *message)
{
    struct reports *r = ctx;

    r->count += level == HY_REPORT_ERROR && strstr(message, "damaged") != NULL;
    r->refused += level == HY_REPORT_ERROR &&
                  strstr(message, "is no block in use") != NULL;
}

/* A handle that has met damage stops, says so once, and can be reset. */
HY_TEST(slab_heap_damage, stops_a_handle)
{
    char *region = fenced_region(), *p, *q;
    hy_heap_options o = HY_HEAP_OPTIONS_INIT;
    hy_heap_stats s = HY_HEAP_STATS_INIT;
    struct reports reports = {0};
    hy_heap *heap;

    o.report.write = write_report;
    o.report.ctx = &reports;
    HY_CHECK_EQ(hy_heap_format_with(&heap, region, REGION_BYTES, &o), 0);
    p = hy_heap_alloc(heap, 100);
    q = hy_heap_alloc(heap, 100);
    HY_CHECK_EQ(hy_heap_stats_get(heap, &s), 0);
    /* Every class's list starts nowhere. */
    for (size_t at = 1048; at < 3000; at++)
        if (region[at] != 0)
            region[at] = 1;
    HY_CHECK(hy_heap_alloc(heap, 100) == NULL);
    HY_CHECK_EQ(hy_heap_free(heap, p), -EBADMSG);
    HY_CHECK(hy_heap_realloc(heap, q, 10) == NULL);
    HY_CHECK_EQ(hy_heap_trim(heap, NULL, NULL, NULL), -ENOTSUP);
    HY_CHECK_EQ(hy_heap_stats_get(heap, &s), 0);
    HY_CHECK(s.damaged == 1 && s.failed_allocs == 2);
    HY_CHECK_EQ(reports.count, 1);
    HY_CHECK_EQ(hy_heap_reset(heap), 0);
    HY_CHECK(hy_heap_alloc(heap, 100) != NULL);
    HY_CHECK_EQ(hy_heap_check(heap), 0);
    hy_heap_destroy(heap);
    fence_destroy(region);
}

HY_TEST(slab_heap_damage, tells_of_refused_frees)
{
    char *region = fenced_region(), *p;
    hy_heap_options o = HY_HEAP_OPTIONS_INIT;
    struct reports reports = {0};
    hy_heap *heap;

    o.report.write = write_report;
    o.report.ctx = &reports;
    HY_CHECK_EQ(hy_heap_format_with(&heap, region, REGION_BYTES, &o), 0);
    p = hy_heap_alloc(heap, 100);
    HY_CHECK_EQ(hy_heap_free(heap, p + 1), -EINVAL);
    HY_CHECK_EQ(hy_heap_free(heap, p), 0);
    HY_CHECK_EQ(reports.refused, 1);
    HY_CHECK_EQ(hy_heap_free(heap, p), -EINVAL);
    HY_CHECK_EQ(reports.refused, 2);
    HY_CHECK_EQ(reports.count, 0);
    hy_heap_destroy(heap);
    fence_destroy(region);
}

/* With AddressSanitizer: what is free, and what follows a block's bytes. */
HY_TEST(slab_heap_damage, poisons_what_is_not_in_use)
{
#if HYI_POISONS
    char *region = fenced_region(), *p, *q;
    hy_heap *heap;

    HY_CHECK_EQ(hy_heap_format(&heap, region, REGION_BYTES), 0);
    p = hy_heap_alloc(heap, 100);
    q = hy_heap_alloc(heap, 3000);
    HY_CHECK(!__asan_address_is_poisoned(p + 99));
    HY_CHECK(__asan_address_is_poisoned(p + 100));
    HY_CHECK(!__asan_address_is_poisoned(q + 2999));
    HY_CHECK(__asan_address_is_poisoned(q + 3000));
    HY_CHECK(__asan_address_is_poisoned(q + 4000));
    HY_CHECK_EQ(hy_heap_free(heap, p), 0);
    HY_CHECK(__asan_address_is_poisoned(p));
    q = hy_heap_realloc(heap, q, 1000);
    HY_CHECK(__asan_address_is_poisoned(q + 1000));
    hy_heap_destroy(heap);
    HY_CHECK(__asan_region_is_poisoned(region, REGION_BYTES) == NULL);
    fence_destroy(region);
#endif
}
