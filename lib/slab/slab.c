/*
 * slab.c - making and ending a slab, and looking at it as a whole.
 *
 *      object_bytes, align  ->  stride            object to object
 *      limit, backing       ->  chunk             a power of two, aligned to it
 *      both                 ->  count, words      objects and their bits
 *
 * Invariant: what is computed here never changes; stride is at least 8, and a
 * chunk holds at least one object.
 * Upstream: slab.h. Downstream: slab_cache.c, slab_memory.c, slab_thread.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "os.h"
#include "poison.h"
#include "slab_layout.h"

enum {
    DEFAULT_ALIGN = 64,
    STRIDE_MIN = 8,
    CHUNK_BACKED = 64 << 10,
    CHUNK_DEFAULT = 256 << 10,
    CHUNK_MOST = 4 << 20, /* grown up to, for a better fit */
    LIMIT_SHARE = 64,     /* chunks of a limited slab, at least */
    WASTE_SHARE = 64      /* of a chunk, at its end, at most */
};

/* --- options -------------------------------------------------------------- */

/* A chunk that wastes little at its end, as small as that allows. */
static unsigned chunk_shift(uint64_t stride, const hy_slab_options *o)
{
    uint64_t bytes = o->backing != NULL ? CHUNK_BACKED : CHUNK_DEFAULT;
    uint64_t most = CHUNK_MOST, share = o->limit_bytes / LIMIT_SHARE;
    uint64_t least = hyi_os_page_bytes(); /* what trim can give back */

    if (o->limit_bytes != 0) {
        share = share < least ? least : share;
        most = share < most ? share : most;
        while (bytes > share)
            bytes /= 2;
    }
    if (bytes < stride)
        bytes = hyi_power_of_two_ceil(stride);
    while (bytes % stride > bytes / WASTE_SHARE && bytes * 2 <= most)
        bytes *= 2;
    return hyi_log2_floor(bytes);
}

static int read_options(hy_slab *slab, size_t object_bytes,
                        const hy_slab_options *options)
{
    hy_slab_options o;
    uint64_t align;
    int r = hyi_options_read(&o, sizeof(o), options);

    if (r != 0)
        return r;
    align = o.align != 0 ? o.align : DEFAULT_ALIGN;
    if (object_bytes == 0 || o.flags != 0 || !hyi_is_power_of_two(align))
        return -EINVAL;
    if (object_bytes > HY_SLAB_OBJECT_BYTES_MAX ||
        align > HY_SLAB_OBJECT_BYTES_MAX)
        return -E2BIG;
    if (o.backing != NULL) {
        r = hyi_options_read(&slab->backing, sizeof(slab->backing), o.backing);
        if (r != 0)
            return r;
        if (slab->backing.acquire == NULL || slab->backing.release == NULL)
            return -EINVAL;
        slab->has_backing = true;
    }
    slab->stride = hyi_align_up(hyi_align_up(object_bytes, STRIDE_MIN), align);
    slab->shift = chunk_shift(slab->stride, &o);
    slab->limit_bytes = o.limit_bytes;
    slab->keep = o.limit_bytes != 0 ? HYI_SLAB_KEEP_LIMITED : HYI_SLAB_KEEP;
    slab->report = o.report;
    hyi_name_copy(slab->name, sizeof(slab->name), o.name);
    return 0;
}

static int shape(hy_slab *slab)
{
    uint64_t last;

    slab->chunk_bytes = (uint64_t)1 << slab->shift;
    last = (slab->chunk_bytes - 1) / slab->stride;
    slab->count = (unsigned)(slab->chunk_bytes / slab->stride);
    slab->words = (unsigned)(last / 64 + 1);
    slab->inverse = (uint32_t)((((uint64_t)1 << 32) - 1) / slab->stride + 1);
    slab->header_bytes =
        hyi_align_up(sizeof(struct hy_slab_chunk) +
                         slab->words * sizeof(struct hy_slab_word),
                     64);
    return hyi_slab_limit_suffices(slab) ? 0 : -EINVAL;
}

/* --- making and ending ---------------------------------------------------- */

int hy_slab_create_version(hy_slab **out, size_t object_bytes,
                           const hy_slab_options *options, unsigned version)
{
    hy_slab *slab;
    int r, saved = errno;

    if (out == NULL)
        return -EINVAL;
    if (version != HY_SLAB_INLINE_VERSION)
        return -EPROTO;
    slab = calloc(1, sizeof(*slab));
    errno = saved;
    if (slab == NULL)
        return -ENOMEM;
    r = read_options(slab, object_bytes, options);
    if (r == 0)
        r = shape(slab);
    if (r == 0)
        r = -pthread_mutex_init(&slab->lock, NULL);
    if (r == 0)
        r = hyi_slab_register(slab);
    if (r != 0) {
        free(slab);
        return r;
    }
    *out = slab;
    return 0;
}

int hy_slab_create(hy_slab **out, size_t object_bytes,
                   const hy_slab_options *options)
{
    return hy_slab_create_version(out, object_bytes, options,
                                  HY_SLAB_INLINE_VERSION);
}

void *hy_slab_alloc(hy_slab *slab)
{
    return hy_slab_alloc_inline(slab);
}

int hy_slab_free(hy_slab *slab, void *object)
{
    return hy_slab_free_inline(slab, object);
}

int hy_slab_destroy(hy_slab *slab)
{
    struct hyi_slab_cache *cache;

    if (slab == NULL)
        return 0;
    hyi_slab_unregister(slab);
    hyi_slab_memory_destroy(slab);
    while ((cache = slab->caches) != NULL) {
        slab->caches = cache->all;
        free(cache);
    }
    pthread_mutex_destroy(&slab->lock);
    free(slab);
    return 0;
}

/* --- as a whole ----------------------------------------------------------- */

int hy_slab_reset(hy_slab *slab)
{
    struct hyi_slab_list none = {NULL, NULL, 0};

    if (slab == NULL)
        return -EINVAL;
    pthread_mutex_lock(&slab->lock);
    for (struct hyi_slab_cache *c = slab->caches; c != NULL; c = c->all)
        hyi_slab_cache_init(c);
    slab->pool = slab->empty = none;
    for (struct hy_slab_chunk *c = slab->chunks; c != NULL; c = c->all) {
        if (hyi_slab_owner(c) == HYI_SLAB_VACANT)
            continue;
        hyi_slab_bits_reset(slab, c);
        hyi_slab_owner_set(c, HYI_SLAB_EMPTY);
        hyi_slab_list_push(&slab->empty, c);
        hyi_poison(c->base, (size_t)slab->chunk_bytes);
    }
    pthread_mutex_unlock(&slab->lock);
    return 0;
}

/* Chunks of the pool that have become empty since they were put there. */
static void pool_sift(hy_slab *slab)
{
    uint64_t count = slab->pool.count;

    while (count-- != 0) {
        struct hy_slab_chunk *chunk = slab->pool.first;

        hyi_slab_list_remove(&slab->pool, chunk);
        hyi_slab_settle(slab, chunk);
    }
}

int hy_slab_trim(hy_slab *slab, uint64_t *trimmed)
{
    struct hyi_slab_cache *mine;
    struct hy_slab_chunk *chunk;
    uint64_t bytes = 0;
    int r = 0;

    if (slab == NULL)
        return -EINVAL;
    mine = hyi_slab_cache_peek(slab);
    pthread_mutex_lock(&slab->lock);
    if (mine != NULL)
        hyi_slab_cache_drain(mine);
    pool_sift(slab);
    while (r == 0 && (chunk = slab->empty.first) != NULL) {
        hyi_slab_list_remove(&slab->empty, chunk);
        r = hyi_slab_shrink(slab, chunk);
        if (r == 0)
            bytes += slab->chunk_bytes;
        else
            hyi_slab_list_push(&slab->empty, chunk);
    }
    pthread_mutex_unlock(&slab->lock);
    if (trimmed != NULL)
        *trimmed = bytes;
    return r;
}

static int walk_chunk(hy_slab *slab, struct hy_slab_chunk *chunk,
                      int (*visit)(void *ctx, void *object), void *ctx)
{
    struct hy_slab_word *words = hyi_slab_words(chunk);
    struct hy_slab_cache *owner = hyi_slab_owner(chunk);
    void *front = hyi_slab_is_cache(owner) ? owner->front : NULL;

    for (unsigned i = 0; i < slab->words; i++) {
        uint64_t live = ~(words[i].free | words[i].remote);

        for (; live != 0; live &= live - 1) {
            size_t index = i * 64u + (unsigned)__builtin_ctzll(live);
            void *object = chunk->base + index * slab->stride;
            int r = object != front ? visit(ctx, object) : 0;

            if (r != 0)
                return r;
        }
    }
    return 0;
}

int hy_slab_walk(hy_slab *slab, int (*visit)(void *ctx, void *object),
                 void *ctx)
{
    int r = 0;

    if (slab == NULL || visit == NULL)
        return -EINVAL;
    for (struct hy_slab_chunk *c = slab->chunks; c != NULL && r == 0;
         c = c->all)
        if (hyi_slab_owner(c) != HYI_SLAB_VACANT)
            r = walk_chunk(slab, c, visit, ctx);
    return r;
}

/* --- figures -------------------------------------------------------------- */

static uint64_t live_objects(hy_slab *slab)
{
    uint64_t live = 0, fronts = 0;

    for (struct hy_slab_chunk *c = slab->chunks; c != NULL; c = c->all)
        if (hyi_slab_owner(c) != HYI_SLAB_VACANT)
            live += slab->count - hyi_slab_free_count(slab, c);
    for (struct hyi_slab_cache *c = slab->caches; c != NULL; c = c->all)
        fronts += __atomic_load_n(&c->hot.front, __ATOMIC_RELAXED) != NULL;
    return live > fronts ? live - fronts : 0;
}

int hy_slab_stats_get(hy_slab *slab, hy_slab_stats *out)
{
    hy_slab_stats s = HY_SLAB_STATS_INIT;

    if (slab == NULL || out == NULL)
        return -EINVAL;
    pthread_mutex_lock(&slab->lock);
    memcpy(s.name, slab->name, sizeof(s.name));
    s.object_bytes = slab->stride;
    s.chunk_bytes = slab->chunk_bytes;
    s.live_objects = live_objects(slab);
    s.held_bytes = slab->held_bytes;
    s.peak_held_bytes = slab->peak_held_bytes;
    s.metadata_bytes = slab->metadata_bytes;
    s.limit_bytes = slab->limit_bytes;
    s.chunks = slab->chunk_count;
    s.empty_chunks = slab->empty.count;
    for (struct hyi_slab_cache *c = slab->caches; c != NULL; c = c->all)
        s.caches += !c->idle;
    s.remote_frees = atomic_load(&slab->remote_frees);
    s.adopted_chunks = atomic_load(&slab->adopted);
    s.failed_allocs = atomic_load(&slab->failed_allocs);
    s.refused_frees = atomic_load(&slab->refused_frees);
    pthread_mutex_unlock(&slab->lock);
    return hyi_struct_fill(out, &s, sizeof(s));
}
