/*
 * test_index_damage.c - an index whose bytes have changed under it: every call
 * ends in an answer or an error, and no access leaves the heap.
 *
 *      | heap, 1 MiB: head, rows, map | a page that nobody may touch |
 *        ^ a few bytes changed, or a stretch of it overwritten
 */
#include <sys/mman.h>
#include <sys/wait.h>

#include <hyperion/index.h>

#include "hy_test.h"

enum { BYTES = 1 << 20, DIM = 8, VECTORS = 4000, ROUNDS = 120 };

struct region {
    unsigned char *base;
    unsigned char *head; /* of the index: where most leads from */
    size_t head_bytes;
    uint64_t seed;
};

static uint64_t draw(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static const float *vector_of(uint64_t id)
{
    static float vector[DIM];

    for (uint64_t i = 0; i < DIM; i++)
        vector[i] = (float)((id * 7 + i * 3) % 11) - 5.0f;
    return vector;
}

static int open_index(struct region *region, hy_heap **heap, hy_index **index)
{
    hy_index_options o = HY_INDEX_OPTIONS_INIT;
    int r = hy_heap_attach(heap, region->base, BYTES);

    if (r != 0)
        return r;
    o.dim = DIM;
    o.heap = *heap;
    return hy_index_create(index, &o);
}

static void make_index(struct region *region)
{
    hy_index *index = NULL;
    hy_heap *heap = NULL;

    region->base = mmap(NULL, BYTES + 4096, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    HY_CHECK(region->base != MAP_FAILED);
    HY_CHECK_EQ(mprotect(region->base + BYTES, 4096, PROT_NONE), 0);
    HY_CHECK_EQ(hy_heap_format(&heap, region->base, BYTES), 0);
    hy_heap_destroy(heap);
    HY_CHECK_EQ(open_index(region, &heap, &index), 0);
    for (uint64_t id = 0; id < VECTORS; id++)
        HY_CHECK_EQ(hy_index_insert(index, id, vector_of(id)), 0);
    for (uint64_t id = 0; id < VECTORS; id += 3)
        HY_CHECK_EQ(hy_index_remove(index, id), 0);
    region->head = hy_heap_pointer(heap, hy_heap_root_get(heap, 0));
    region->head_bytes = hy_heap_block_bytes(heap, region->head);
    HY_CHECK_EQ(hy_index_destroy(index), 0);
    hy_heap_destroy(heap);
}

/* A bit of a number that is there, among those that its size leaves it. */
static void change_number(struct region *region)
{
    size_t words = region->head_bytes / 8, at;
    uint64_t word;

    do {
        at = draw(&region->seed) % words * 8;
        memcpy(&word, region->head + at, sizeof(word));
    } while (word == 0);
    word ^= (uint64_t)1 << draw(&region->seed) % 21;
    memcpy(region->head + at, &word, sizeof(word));
}

static void damage(struct region *region)
{
    uint64_t *seed = &region->seed;
    uint64_t kind = draw(seed) % 4, at = draw(seed) % BYTES;
    uint64_t n = draw(seed);

    if (kind == 0)
        for (n %= BYTES / 2; n != 0 && at < BYTES; n--)
            region->base[at++] = 0xff;
    else if (kind == 1)
        region->base[at] ^= (unsigned char)(1 + n % 255);
    else
        for (n = 1 + n % 3; n != 0; n--)
            change_number(region);
}

static void use_damaged(void *arg)
{
    struct region *region = arg;
    hy_index *index = NULL;
    hy_heap *heap = NULL;
    hy_hit hits[64];
    uint64_t payload;
    size_t count;

    alarm(60);
    damage(region);
    if (open_index(region, &heap, &index) != 0)
        _exit(0);
    hy_index_search(index, vector_of(5), 64, NULL, hits, &count);
    for (uint64_t id = 0; id < VECTORS; id++)
        hy_index_payload(index, id, &payload);
    for (uint64_t id = 0; id < VECTORS + 600; id++)
        hy_index_insert(index, id, vector_of(id + 1));
    for (uint64_t id = 0; id < VECTORS + 600; id += 2)
        hy_index_remove(index, id);
    hy_index_search(index, vector_of(6), 64, NULL, hits, &count);
    hy_index_destroy(index);
    hy_heap_destroy(heap);
    _exit(0);
}

HY_TEST(index_damage, changed_bytes_never_lead_out_of_the_heap)
{
    struct region region = {NULL, NULL, 0, 1};

    make_index(&region);
    for (int i = 0; i < ROUNDS; i++) {
        int status;

        region.seed = (uint64_t)i + 1;
        status = hy_test_child(use_damaged, &region);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            fprintf(stderr, "round %d: status %#x\n", i, (unsigned)status);
        HY_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    munmap(region.base, BYTES + 4096);
}
