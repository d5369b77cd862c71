/*
 * test_slab_heap.c - the heap: a random run against a shadow, edges of the
 * interface, attaching elsewhere, memory that fails.
 */
#include <errno.h>
#include <hyperion/heap.h>
#include <string.h>
#include <sys/mman.h>

#include "fail.h"
#include "hy_test.h"

enum { REGION_BYTES = 1 << 20 };

static uint64_t random_state;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static uint64_t random_below(uint64_t n)
{
    return random_next() % n;
}

/* Anonymous memory that holds garbage, so that nothing counts on zeros. */
static void *region_of(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    HY_CHECK(p != MAP_FAILED);
    if (bytes <= 16 << 20)
        memset(p, 0xa5, bytes);
    return p;
}

static hy_heap_stats stats_of(const hy_heap *heap)
{
    hy_heap_stats s = HY_HEAP_STATS_INIT;

    HY_CHECK_EQ(hy_heap_stats_get(heap, &s), 0);
    return s;
}

/* --- the model ------------------------------------------------------------ */

enum { BLOCKS = 1500 };

struct block {
    unsigned char *p;
    size_t bytes, align;
    unsigned char fill;
};

struct model {
    hy_heap *heap;
    struct block blocks[BLOCKS];
    uint64_t used_bytes, live;
};

static uint64_t rounded(uint64_t bytes)
{
    return bytes == 0 ? 64 : (bytes + 63) / 64 * 64;
}

static size_t random_size(void)
{
    switch (random_below(8)) {
    case 0:
        return random_below(40000);
    case 1:
        return random_below(5000);
    case 2:
        return 64 * random_below(40);
    default:
        return random_below(400);
    }
}

static void check_content(const struct block *b, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        HY_CHECK_MSG(b->p[i] == b->fill, "byte %zu of %zu at %p", i, b->bytes,
                     (void *)b->p);
}

static void check_overlap(const struct model *m, const struct block *new)
{
    for (const struct block *b = m->blocks; b < m->blocks + BLOCKS; b++) {
        if (b == new || b->p == NULL)
            continue;
        HY_CHECK(b->p + rounded(b->bytes) <= new->p ||
                 new->p + rounded(new->bytes) <= b->p);
    }
}

static void adopt(struct model *m, struct block *b, void *p, size_t bytes)
{
    b->p = p;
    b->bytes = bytes;
    b->fill = (unsigned char)random_next();
    HY_CHECK((uintptr_t)p % b->align == 0);
    HY_CHECK_EQ(hy_heap_block_bytes(m->heap, p), rounded(bytes));
    check_overlap(m, b);
    memset(p, b->fill, bytes);
    m->used_bytes += rounded(bytes);
    m->live++;
}

static void step_alloc(struct model *m, struct block *b)
{
    size_t bytes = random_size();
    hy_heap_stats s = stats_of(m->heap);
    void *p;

    b->align = random_below(4) == 0 ? (size_t)1 << random_below(14) : 64;
    if (b->align <= 64) {
        p = hy_heap_alloc(m->heap, bytes);
        b->align = 64;
    } else {
        p = hy_heap_alloc_aligned(m->heap, b->align, bytes);
    }
    if (p != NULL)
        adopt(m, b, p, bytes);
    else
        HY_CHECK(bytes + b->align > s.largest_free_bytes);
}

static void step_free(struct model *m, struct block *b)
{
    check_content(b, b->bytes);
    HY_CHECK_EQ(hy_heap_free(m->heap, b->p), 0);
    HY_CHECK_EQ(hy_heap_free(m->heap, b->p), -EINVAL);
    m->used_bytes -= rounded(b->bytes);
    m->live--;
    b->p = NULL;
}

static void step_realloc(struct model *m, struct block *b)
{
    size_t bytes = random_size();
    void *p = hy_heap_realloc(m->heap, b->p, bytes);

    if (p == NULL) {
        check_content(b, b->bytes);
        return;
    }
    m->used_bytes -= rounded(b->bytes);
    m->live--;
    b->p = p;
    check_content(b, bytes < b->bytes ? bytes : b->bytes);
    adopt(m, b, p, bytes);
}

static void check_stats(const struct model *m)
{
    hy_heap_stats s = stats_of(m->heap);

    HY_CHECK_EQ(s.used_bytes, m->used_bytes);
    HY_CHECK_EQ(s.allocations, m->live);
    HY_CHECK_EQ(s.used_bytes + s.free_bytes + s.metadata_bytes, s.region_bytes);
    HY_CHECK(s.largest_free_bytes <= s.free_bytes);
    HY_CHECK(s.peak_used_bytes >= s.used_bytes);
    HY_CHECK_EQ(hy_heap_check(m->heap), 0);
}

static void check_all_free(struct model *m)
{
    hy_heap_stats s;
    void *p;

    for (int i = 0; i < BLOCKS; i++)
        if (m->blocks[i].p != NULL)
            step_free(m, &m->blocks[i]);
    s = stats_of(m->heap);
    HY_CHECK_EQ(s.used_bytes, 0);
    HY_CHECK_EQ(s.free_blocks, 1);
    HY_CHECK_EQ(s.largest_free_bytes, s.free_bytes);
    p = hy_heap_alloc(m->heap, s.free_bytes);
    HY_CHECK(p != NULL);
    HY_CHECK(hy_heap_alloc(m->heap, 0) == NULL);
    HY_CHECK_EQ(hy_heap_free(m->heap, p), 0);
    HY_CHECK_EQ(hy_heap_check(m->heap), 0);
}

static void run_model(size_t region_bytes, uint64_t seed, int steps)
{
    static struct model m;
    void *memory = region_of(region_bytes);

    memset(&m, 0, sizeof(m));
    random_state = seed;
    HY_CHECK_EQ(hy_heap_format(&m.heap, memory, region_bytes), 0);
    for (int i = 0; i < steps; i++) {
        /* Fills, then drains, and again. */
        bool filling = i / 4000 % 2 == 0;
        struct block *b = &m.blocks[random_below(BLOCKS)];

        if (b->p == NULL && (filling || random_below(3) == 0))
            step_alloc(&m, b);
        else if (b->p != NULL && random_below(4) == 0)
            step_realloc(&m, b);
        else if (b->p != NULL && (!filling || random_below(2) == 0))
            step_free(&m, b);
        if (i % 500 == 0)
            check_stats(&m);
    }
    check_all_free(&m);
    HY_CHECK_EQ(hy_heap_destroy(m.heap), 0);
    munmap(memory, region_bytes);
}

HY_TEST(slab_heap, random_run_against_a_shadow)
{
    run_model(REGION_BYTES, 1, 20000);
    run_model(4 << 20, 2, 20000);
    run_model(100000, 3, 8000);
}

/* Every size of region, full of every small size. */
HY_TEST(slab_heap, small_regions)
{
    static unsigned char memory[1 << 14] __attribute__((aligned(64)));
    size_t fitting = 0;

    for (size_t bytes = 0; bytes <= sizeof(memory); bytes += 63) {
        hy_heap *heap = NULL;
        hy_heap_stats s;
        int r;

        memset(memory, 0xff, sizeof(memory));
        r = hy_heap_format(&heap, memory, bytes);
        if (r != 0) {
            HY_CHECK_EQ(r, -EINVAL);
            HY_CHECK(heap == NULL && fitting == 0);
            continue;
        }
        fitting += fitting == 0 ? bytes : 0;
        while (hy_heap_alloc(heap, 1) != NULL)
            continue;
        s = stats_of(heap);
        HY_CHECK(s.free_bytes == 0 && s.largest_free_bytes == 0);
        HY_CHECK(s.allocations != 0);
        HY_CHECK_EQ(hy_heap_check(heap), 0);
        hy_heap_destroy(heap);
        for (size_t i = bytes; i < sizeof(memory); i++)
            HY_CHECK(memory[i] == 0xff);
    }
    HY_CHECK(fitting != 0 && fitting <= 2048);
}

/* --- the interface -------------------------------------------------------- */

HY_TEST(slab_heap, refuses_bad_arguments)
{
    char *memory = region_of(REGION_BYTES);
    hy_heap_options o = HY_HEAP_OPTIONS_INIT;
    hy_heap_stats s = {.size = 1};
    hy_heap *heap = NULL;

    HY_CHECK_EQ(hy_heap_format(&heap, NULL, REGION_BYTES), -EINVAL);
    HY_CHECK_EQ(hy_heap_format(&heap, memory + 8, 1000), -EINVAL);
    HY_CHECK_EQ(hy_heap_format(NULL, memory, REGION_BYTES), -EINVAL);
    HY_CHECK_EQ(hy_heap_format(&heap, memory, HY_HEAP_BYTES_MAX + 1), -E2BIG);
    HY_CHECK_EQ(hy_heap_attach(&heap, memory, REGION_BYTES), -EBADMSG);
    HY_CHECK_EQ(hy_heap_attach(&heap, NULL, REGION_BYTES), -EINVAL);
    o.flags = 1u << 31;
    HY_CHECK_EQ(hy_heap_create(&heap, &o), -EINVAL);
    HY_CHECK_EQ(hy_heap_format_with(&heap, memory, REGION_BYTES, &o), -EINVAL);
    o.flags = 0;
    o.bytes = 100;
    HY_CHECK_EQ(hy_heap_create(&heap, &o), -EINVAL);
    HY_CHECK_EQ(hy_heap_format_with(&heap, memory, REGION_BYTES, &o), -EINVAL);
    o.bytes = HY_HEAP_BYTES_MAX + 1;
    HY_CHECK_EQ(hy_heap_create(&heap, &o), -E2BIG);
    o.size = 1;
    HY_CHECK_EQ(hy_heap_create(&heap, &o), -EINVAL);
    HY_CHECK(heap == NULL);

    HY_CHECK_EQ(hy_heap_format(&heap, memory, REGION_BYTES), 0);
    HY_CHECK_EQ(hy_heap_stats_get(heap, &s), -EINVAL);
    HY_CHECK_EQ(hy_heap_stats_get(NULL, &s), -EINVAL);
    HY_CHECK_EQ(hy_heap_walk(heap, NULL, NULL), -EINVAL);
    HY_CHECK_EQ(hy_heap_trim(heap, NULL, NULL, NULL), -ENOTSUP);
    HY_CHECK_EQ(hy_heap_check(NULL), -EINVAL);
    HY_CHECK_EQ(hy_heap_reset(NULL), -EINVAL);
    HY_CHECK_EQ(hy_heap_free(NULL, memory), -EINVAL);
    HY_CHECK(hy_heap_alloc(NULL, 1) == NULL);
    HY_CHECK(hy_heap_alloc_aligned(NULL, 64, 1) == NULL);
    HY_CHECK(hy_heap_realloc(NULL, NULL, 1) == NULL);
    HY_CHECK(hy_heap_alloc(heap, SIZE_MAX) == NULL);
    HY_CHECK(hy_heap_alloc(heap, REGION_BYTES) == NULL);
    HY_CHECK(hy_heap_alloc_aligned(heap, 0, 1) == NULL);
    HY_CHECK(hy_heap_alloc_aligned(heap, 96, 1) == NULL);
    HY_CHECK(hy_heap_alloc_aligned(heap, SIZE_MAX / 2 + 1, 1) == NULL);
    HY_CHECK(hy_heap_alloc_aligned(heap, 64, SIZE_MAX) == NULL);
    HY_CHECK_EQ(hy_heap_free(heap, NULL), 0);
    HY_CHECK_EQ(hy_heap_destroy(NULL), 0);
    hy_heap_destroy(heap);
    munmap(memory, REGION_BYTES);
}

/* What is no live block is refused, and no byte of it is read: much of it is
 * not even mapped. */
HY_TEST(slab_heap, refuses_what_is_no_live_block)
{
    char *memory = region_of(REGION_BYTES), *a, *b;
    char *nowhere =
        mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int on_stack = 0;
    hy_heap *heap;

    HY_CHECK_EQ(hy_heap_format(&heap, memory, REGION_BYTES), 0);
    a = hy_heap_alloc(heap, 5000);
    b = hy_heap_alloc(heap, 100);
    mprotect(memory + REGION_BYTES / 2, REGION_BYTES / 2, PROT_NONE);
    HY_CHECK_EQ(hy_heap_free(heap, nowhere), -EINVAL);
    HY_CHECK_EQ(hy_heap_free(heap, &on_stack), -EINVAL);
    HY_CHECK_EQ(hy_heap_free(heap, (void *)1), -EINVAL);
    HY_CHECK_EQ(hy_heap_free(heap, (void *)UINTPTR_MAX), -EINVAL);
    HY_CHECK_EQ(hy_heap_free(heap, memory), -EINVAL);
    HY_CHECK_EQ(hy_heap_free(heap, memory + REGION_BYTES), -EINVAL);
    HY_CHECK_EQ(hy_heap_free(heap, memory + REGION_BYTES - 64), -EINVAL);
    HY_CHECK_EQ(hy_heap_free(heap, memory - 64), -EINVAL);
    HY_CHECK_EQ(hy_heap_free(heap, a + 1), -EINVAL);
    for (int at = 64; at < 5000; at += 64)
        HY_CHECK_EQ(hy_heap_free(heap, a + at), -EINVAL);
    HY_CHECK_EQ(hy_heap_free(heap, b + 128), -EINVAL); /* the free rest */
    for (char *p = memory; p < a; p += 64)
        HY_CHECK_EQ(hy_heap_free(heap, p), -EINVAL);
    HY_CHECK(hy_heap_realloc(heap, nowhere, 10) == NULL);
    HY_CHECK(hy_heap_realloc(heap, a + 64, 10) == NULL);
    HY_CHECK_EQ(hy_heap_block_bytes(heap, a + 64), 0);
    HY_CHECK(stats_of(heap).refused_frees > 80);
    HY_CHECK_EQ(hy_heap_free(heap, a), 0);
    HY_CHECK_EQ(hy_heap_free(heap, a), -EINVAL);
    HY_CHECK_EQ(hy_heap_free(heap, b), 0);
    HY_CHECK_EQ(hy_heap_free(heap, b), -EINVAL);
    HY_CHECK_EQ(hy_heap_check(heap), 0);
    hy_heap_destroy(heap);
    munmap(nowhere, 4096);
    munmap(memory, REGION_BYTES);
}

HY_TEST(slab_heap, merges_with_both_neighbours)
{
    char *memory = region_of(REGION_BYTES), *p[3];
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    hy_heap *heap;

    for (int order = 0; order < 6; order++) {
        /* From blocks of one window to blocks that span many. */
        for (size_t bytes = 64; bytes <= 8192; bytes += 192) {
            HY_CHECK_EQ(hy_heap_format(&heap, memory, REGION_BYTES), 0);
            for (int i = 0; i < 3; i++)
                p[i] = hy_heap_alloc(heap, bytes);
            HY_CHECK(p[2] != NULL);
            for (int i = 0; i < 3; i++) {
                HY_CHECK_EQ(hy_heap_free(heap, p[orders[order][i]]), 0);
                HY_CHECK_EQ(hy_heap_check(heap), 0);
            }
            HY_CHECK_EQ(stats_of(heap).free_blocks, 1);
            hy_heap_destroy(heap);
        }
    }
    munmap(memory, REGION_BYTES);
}

HY_TEST(slab_heap, realloc_keeps_alignment_and_content)
{
    char *memory = region_of(8 << 20);
    hy_heap *heap;

    HY_CHECK_EQ(hy_heap_format(&heap, memory, 8 << 20), 0);
    for (size_t align = 64; align <= 65536; align *= 2) {
        unsigned char *p = hy_heap_alloc_aligned(heap, align, 100);

        HY_CHECK(p != NULL);
        memset(p, 7, 100);
        for (int i = 0; i < 12; i++) {
            /* The block behind makes it move. */
            void *wall = hy_heap_alloc(heap, 64);

            p = hy_heap_realloc(heap, p, 200 + (size_t)i * 500);
            HY_CHECK(p != NULL && (uintptr_t)p % align == 0);
            for (int k = 0; k < 100; k++)
                HY_CHECK(p[k] == 7);
            HY_CHECK_EQ(hy_heap_free(heap, wall), 0);
        }
        p = hy_heap_realloc(heap, p, 0);
        HY_CHECK_EQ(hy_heap_block_bytes(heap, p), 64);
        HY_CHECK_EQ(hy_heap_free(heap, p), 0);
    }
    HY_CHECK_EQ(stats_of(heap).free_blocks, 1);
    hy_heap_destroy(heap);
    munmap(memory, 8 << 20);
}

/* A block that happens to lie at a multiple of 64 KiB, and was to be aligned to
 * 128, moves to where that is had. */
HY_TEST(slab_heap, alignment_does_not_drift)
{
    char *memory = region_of(REGION_BYTES), *p, *filler, *at;
    hy_heap *heap;
    hy_heap_stats s;

    HY_CHECK_EQ(hy_heap_format(&heap, memory, REGION_BYTES), 0);
    at = hy_heap_alloc_aligned(heap, 65536, 64);
    filler = hy_heap_alloc(heap, 0); /* the payload's first granule */
    HY_CHECK(at != NULL && filler < at);
    HY_CHECK_EQ(hy_heap_free(heap, at), 0);
    filler = hy_heap_realloc(heap, filler, (size_t)(at - filler));
    p = hy_heap_alloc_aligned(heap, 128, 64);
    HY_CHECK(p == at && hy_heap_alloc(heap, 64) != NULL);
    s = stats_of(heap);
    HY_CHECK(hy_heap_alloc(heap, s.largest_free_bytes - 2048) != NULL);
    p = hy_heap_realloc(heap, p, 1000);
    HY_CHECK(p != NULL && p != at && (uintptr_t)p % 128 == 0);
    HY_CHECK_EQ(hy_heap_check(heap), 0);
    hy_heap_destroy(heap);
    munmap(memory, REGION_BYTES);
}

HY_TEST(slab_heap, offsets_and_roots)
{
    char *memory = region_of(REGION_BYTES), *p;
    hy_heap *heap;

    HY_CHECK_EQ(hy_heap_format(&heap, memory, REGION_BYTES), 0);
    p = hy_heap_alloc(heap, 1000);
    HY_CHECK(hy_heap_offset(heap, p) != 0);
    HY_CHECK(hy_heap_pointer(heap, hy_heap_offset(heap, p)) == p);
    HY_CHECK(hy_heap_pointer(heap, hy_heap_offset(heap, p + 3)) == p + 3);
    HY_CHECK(hy_heap_pointer(heap, 0) == NULL);
    HY_CHECK(hy_heap_pointer(heap, 1) == NULL);
    HY_CHECK(hy_heap_pointer(heap, REGION_BYTES) == NULL);
    HY_CHECK(hy_heap_pointer(heap, UINT64_MAX) == NULL);
    HY_CHECK(hy_heap_pointer(NULL, 64) == NULL);
    HY_CHECK_EQ(hy_heap_offset(heap, NULL), 0);
    HY_CHECK_EQ(hy_heap_offset(heap, memory), 0);
    HY_CHECK_EQ(hy_heap_offset(heap, memory - 1), 0);
    HY_CHECK_EQ(hy_heap_offset(heap, memory + REGION_BYTES), 0);
    HY_CHECK_EQ(hy_heap_offset(NULL, p), 0);

    for (unsigned slot = 0; slot < HY_HEAP_ROOTS; slot++) {
        HY_CHECK_EQ(hy_heap_root_get(heap, slot), 0);
        HY_CHECK_EQ(
            hy_heap_root_set(heap, slot, hy_heap_offset(heap, p + slot)), 0);
    }
    for (unsigned slot = 0; slot < HY_HEAP_ROOTS; slot++)
        HY_CHECK_EQ(hy_heap_root_get(heap, slot),
                    hy_heap_offset(heap, p + slot));
    HY_CHECK_EQ(hy_heap_root_set(heap, 3, 0), 0);
    HY_CHECK_EQ(hy_heap_root_get(heap, 3), 0);
    HY_CHECK_EQ(hy_heap_root_set(heap, HY_HEAP_ROOTS, 0), -EINVAL);
    HY_CHECK_EQ(hy_heap_root_get(heap, HY_HEAP_ROOTS), 0);
    HY_CHECK_EQ(hy_heap_root_set(heap, 0, 1), -EINVAL);
    HY_CHECK_EQ(hy_heap_root_set(heap, 0, REGION_BYTES), -EINVAL);
    HY_CHECK_EQ(hy_heap_root_get(heap, 0), hy_heap_offset(heap, p));
    hy_heap_destroy(heap);
    munmap(memory, REGION_BYTES);
}

/* --- attaching ------------------------------------------------------------ */

HY_TEST(slab_heap, attaches_a_copy_at_another_address)
{
    char *memory = region_of(REGION_BYTES), *other, *p[200];
    hy_heap *heap, *copy = NULL;
    hy_heap_stats s;

    HY_CHECK_EQ(hy_heap_format(&heap, memory, REGION_BYTES), 0);
    for (int i = 0; i < 200; i++) {
        p[i] = hy_heap_alloc(heap, (size_t)i * 20 + 4);
        HY_CHECK(p[i] != NULL);
        memcpy(p[i], &i, sizeof(i));
    }
    for (int i = 0; i < 200; i += 2)
        HY_CHECK_EQ(hy_heap_free(heap, p[i]), 0);
    HY_CHECK_EQ(hy_heap_root_set(heap, 9, hy_heap_offset(heap, p[1])), 0);
    s = stats_of(heap);
    hy_heap_destroy(heap);

    /* The copy may be larger than the heap; its rest stays as it is. */
    other = region_of(REGION_BYTES + 8192);
    memcpy(other + 4096, memory, REGION_BYTES);
    HY_CHECK_EQ(hy_heap_attach(&copy, other + 4096, REGION_BYTES - 64),
                -EBADMSG);
    HY_CHECK(copy == NULL);
    HY_CHECK_EQ(hy_heap_attach(&copy, other + 4096, REGION_BYTES + 4096), 0);
    HY_CHECK_EQ(hy_heap_check(copy), 0);
    HY_CHECK_EQ(stats_of(copy).used_bytes, s.used_bytes);
    HY_CHECK_EQ(stats_of(copy).free_blocks, s.free_blocks);
    HY_CHECK_EQ(hy_heap_root_get(copy, 9), p[1] - memory);
    for (int i = 1; i < 200; i += 2) {
        char *q = hy_heap_pointer(copy, (uint64_t)(p[i] - memory));

        HY_CHECK(memcmp(q, &i, sizeof(i)) == 0);
        HY_CHECK_EQ(hy_heap_free(copy, q), 0);
    }
    HY_CHECK_EQ(stats_of(copy).free_blocks, 1);
    HY_CHECK((unsigned char)other[REGION_BYTES + 4096] == 0xa5);
    hy_heap_destroy(copy);
    munmap(memory, REGION_BYTES);
    munmap(other, REGION_BYTES + 8192);
}

static uint64_t resident_pages(char *memory, size_t bytes)
{
    static unsigned char present[1 << 16];
    uint64_t count = 0;

    for (size_t at = 0; at < bytes; at += sizeof(present) * 4096) {
        size_t part = bytes - at;

        if (part > sizeof(present) * 4096)
            part = sizeof(present) * 4096;
        HY_CHECK_EQ(mincore(memory + at, part, present), 0);
        for (size_t i = 0; i < part / 4096; i++)
            count += present[i] & 1;
    }
    return count;
}

/* Formatting, a block of almost all of it, and attaching touch few pages. */
HY_TEST(slab_heap, leaves_a_huge_region_untouched)
{
    size_t bytes = (size_t)256 << 30;
    char *memory = MAP_FAILED, *p, *q;
    hy_heap *heap;

    for (; bytes >= (size_t)1 << 30 && memory == MAP_FAILED; bytes /= 2)
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    HY_CHECK(memory != MAP_FAILED);
    bytes *= 2;
    /* Huge pages would hide what is touched. */
    madvise(memory, bytes, MADV_NOHUGEPAGE);
    HY_CHECK_EQ(hy_heap_format(&heap, memory, bytes), 0);
    if (bytes <= (size_t)8 << 30)
        HY_CHECK(resident_pages(memory, bytes) <= 10);
    p = hy_heap_alloc(heap, bytes / 4 * 3);
    q = hy_heap_alloc(heap, 100);
    HY_CHECK(p != NULL && q != NULL);
    HY_CHECK_EQ(hy_heap_free(heap, p + 4096), -EINVAL);
    HY_CHECK_EQ(hy_heap_free(heap, p + bytes / 2), -EINVAL);
    p[0] = p[bytes / 2] = 1;
    HY_CHECK_EQ(hy_heap_check(heap), 0);
    hy_heap_destroy(heap);
    HY_CHECK_EQ(hy_heap_attach(&heap, memory, bytes), 0);
    HY_CHECK_EQ(hy_heap_free(heap, q), 0);
    p = hy_heap_realloc(heap, p, 1000);
    HY_CHECK(p != NULL && p[0] == 1);
    HY_CHECK_EQ(hy_heap_free(heap, p), 0);
    HY_CHECK_EQ(hy_heap_check(heap), 0);
    HY_CHECK_EQ(stats_of(heap).free_blocks, 1);
    hy_heap_destroy(heap);
    munmap(memory, bytes);
}

/* Old tags of a heap that was formatted over never show through. */
HY_TEST(slab_heap, formats_over_an_older_heap)
{
    char *memory = region_of(REGION_BYTES), *p;
    hy_heap *heap;

    HY_CHECK_EQ(hy_heap_format(&heap, memory, REGION_BYTES), 0);
    while (hy_heap_alloc(heap, 100) != NULL)
        continue;
    for (int way = 0; way < 2; way++) {
        if (way == 0) {
            HY_CHECK_EQ(hy_heap_reset(heap), 0);
        } else {
            hy_heap_destroy(heap);
            HY_CHECK_EQ(hy_heap_format(&heap, memory, REGION_BYTES), 0);
        }
        HY_CHECK_EQ(stats_of(heap).free_blocks, 1);
        HY_CHECK_EQ(stats_of(heap).allocations, 0);
        p = hy_heap_alloc(heap, REGION_BYTES / 2);
        HY_CHECK(p != NULL);
        for (int at = 64; at < REGION_BYTES / 2; at += 64)
            HY_CHECK_EQ(hy_heap_free(heap, p + at), -EINVAL);
        HY_CHECK_EQ(hy_heap_check(heap), 0);
        HY_CHECK_EQ(hy_heap_free(heap, p), 0);
    }
    hy_heap_destroy(heap);
    munmap(memory, REGION_BYTES);
}

/* --- walk, trim ----------------------------------------------------------- */

struct seen {
    int count, stop_at;
    uint64_t used, free;
};

static int see(void *ctx, const hy_heap_block *block)
{
    struct seen *seen = ctx;

    HY_CHECK(block->problem == NULL && block->size == sizeof(*block));
    if (block->state == HY_HEAP_USED)
        seen->used += block->bytes;
    else
        seen->free += block->bytes;
    return ++seen->count == seen->stop_at ? 42 : 0;
}

HY_TEST(slab_heap, walks_all_blocks)
{
    char *memory = region_of(REGION_BYTES), *p[50];
    struct seen seen = {0};
    hy_heap_stats s;
    hy_heap *heap;

    HY_CHECK_EQ(hy_heap_format(&heap, memory, REGION_BYTES), 0);
    for (int i = 0; i < 50; i++)
        p[i] = hy_heap_alloc(heap, 64 + (size_t)i * 100);
    for (int i = 0; i < 50; i += 2)
        hy_heap_free(heap, p[i]);
    HY_CHECK_EQ(hy_heap_walk(heap, see, &seen), 0);
    s = stats_of(heap);
    HY_CHECK_EQ(seen.used, s.used_bytes);
    HY_CHECK_EQ(seen.free, s.free_bytes);
    HY_CHECK_EQ(seen.count, 51);
    seen = (struct seen){.stop_at = 7};
    HY_CHECK_EQ(hy_heap_walk(heap, see, &seen), 42);
    HY_CHECK_EQ(seen.count, 7);
    hy_heap_destroy(heap);
    munmap(memory, REGION_BYTES);
}

static int refuse(void *ctx, void *p, size_t bytes)
{
    (void)p;
    (void)bytes;
    ++*(int *)ctx;
    return -EIO;
}

HY_TEST(slab_heap, trim_gives_free_pages_back)
{
    hy_heap_options o = HY_HEAP_OPTIONS_INIT;
    char *p, *q;
    uint64_t trimmed = 0;
    int calls = 0;
    hy_heap *heap;

    o.bytes = 8 << 20;
    HY_CHECK_EQ(hy_heap_create(&heap, &o), 0);
    p = hy_heap_alloc(heap, 1 << 20);
    q = hy_heap_alloc(heap, 1 << 20);
    HY_CHECK(p != NULL && q != NULL);
    memset(p, 1, 1 << 20);
    memset(q, 2, 1 << 20);
    HY_CHECK_EQ(hy_heap_free(heap, p), 0);
    HY_CHECK_EQ(hy_heap_trim(heap, refuse, &calls, &trimmed), -EIO);
    HY_CHECK_EQ(calls, 1);
    HY_CHECK_EQ(trimmed, 0);
    hy_fail_at(HY_FAIL_MADVISE, 1, ENOMEM);
    HY_CHECK_EQ(hy_heap_trim(heap, NULL, NULL, &trimmed), -ENOMEM);
    hy_fail_none();
    HY_CHECK_EQ(hy_heap_trim(heap, NULL, NULL, &trimmed), 0);
    HY_CHECK(trimmed > 6 << 20);
    HY_CHECK(hy_heap_alloc(heap, 1 << 20) == p);
    HY_CHECK(p[8192] == 0 && q[0] == 2 && q[(1 << 20) - 1] == 2);
    HY_CHECK_EQ(hy_heap_check(heap), 0);
    hy_heap_destroy(heap);
}

/* --- memory of its own ---------------------------------------------------- */

struct lender {
    int acquired, released;
    size_t bytes, shift;
    void *memory;
};

static void *lend(void *ctx, size_t bytes, size_t align)
{
    struct lender *l = ctx;

    HY_CHECK_EQ(align, HY_HEAP_ALIGN);
    l->acquired++;
    l->bytes = bytes;
    l->memory = region_of(bytes + 4096);
    return (char *)l->memory + l->shift;
}

static void *lend_nothing(void *ctx, size_t bytes, size_t align)
{
    (void)ctx;
    (void)bytes;
    (void)align;
    return NULL;
}

static void take_back(void *ctx, void *p, size_t bytes)
{
    struct lender *l = ctx;

    HY_CHECK(p == (char *)l->memory + l->shift && bytes == l->bytes);
    munmap(l->memory, bytes + 4096);
    l->released++;
}

HY_TEST(slab_heap, takes_memory_from_a_backing)
{
    struct lender lender = {0};
    hy_backing backing = HY_BACKING_INIT;
    hy_heap_options o = HY_HEAP_OPTIONS_INIT;
    hy_heap *heap = NULL;

    o.bytes = 100000;
    o.backing = &backing;
    HY_CHECK_EQ(hy_heap_create(&heap, &o), -EINVAL);
    backing.acquire = lend_nothing;
    backing.release = take_back;
    backing.ctx = &lender;
    HY_CHECK_EQ(hy_heap_create(&heap, &o), -ENOMEM);
    backing.acquire = lend;
    lender.shift = 8;
    HY_CHECK_EQ(hy_heap_create(&heap, &o), -EINVAL);
    lender.shift = 64;
    hy_fail_at(HY_FAIL_CALLOC, 1, ENOMEM);
    HY_CHECK_EQ(hy_heap_create(&heap, &o), -ENOMEM);
    hy_fail_none();
    HY_CHECK(heap == NULL && lender.acquired == 2 && lender.released == 2);
    HY_CHECK_EQ(hy_heap_create(&heap, &o), 0);
    HY_CHECK(hy_heap_alloc(heap, 50000) != NULL);
    HY_CHECK_EQ(hy_heap_check(heap), 0);
    hy_heap_destroy(heap);
    HY_CHECK_EQ(lender.released, 3);
}

HY_TEST(slab_heap, survives_failing_calls)
{
    void *memory = region_of(REGION_BYTES);
    hy_heap *heap = NULL;

    hy_fail_at(HY_FAIL_MMAP, 1, ENOMEM);
    HY_CHECK_EQ(hy_heap_create(&heap, NULL), -ENOMEM);
    HY_CHECK_EQ(hy_fail_hits(), 1);
    hy_fail_none();
    hy_fail_at(HY_FAIL_CALLOC, 1, ENOMEM);
    HY_CHECK_EQ(hy_heap_create(&heap, NULL), -ENOMEM);
    HY_CHECK_EQ(hy_fail_hits(), 1);
    hy_fail_at(HY_FAIL_CALLOC, 1, ENOMEM);
    HY_CHECK_EQ(hy_heap_format(&heap, memory, REGION_BYTES), -ENOMEM);
    HY_CHECK_EQ(hy_heap_format(&heap, memory, REGION_BYTES), 0);
    hy_heap_destroy(heap);
    heap = NULL;
    hy_fail_at(HY_FAIL_CALLOC, 1, ENOMEM);
    HY_CHECK_EQ(hy_heap_attach(&heap, memory, REGION_BYTES), -ENOMEM);
    hy_fail_none();
    HY_CHECK(heap == NULL);
    HY_CHECK_EQ(hy_heap_create(&heap, NULL), 0);
    HY_CHECK(hy_heap_alloc(heap, 512 << 20) != NULL);
    hy_heap_destroy(heap);
    munmap(memory, REGION_BYTES);
}
