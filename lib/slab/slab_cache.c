/*
 * slab_cache.c - the slow half of alloc and free: from word to word, chunk to
 * chunk, thread to thread (slab_layout.h draws the states).
 *
 *      alloc   next word of the current chunk | remote frees of it
 *              | a chunk with room of one's own | of the pool | empty | new
 *      free    own chunk: a bit | nobody's: becomes one's own
 *              | another's: a remote bit, one atomic operation
 *
 * Invariant: a chunk that is used up leaves its owner only after its remote
 * bits were read once more.
 * Upstream: inline/slab.h. Downstream: slab_memory.c, slab_thread.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "poison.h"
#include "slab_layout.h"

/* What hot.word points at when there is no current chunk. */
static uint64_t no_word;

/* --- bits ----------------------------------------------------------------- */

unsigned hyi_slab_collect(const hy_slab *slab, struct hy_slab_chunk *chunk)
{
    struct hy_slab_word *words = hyi_slab_words(chunk);
    unsigned collected = 0;

    for (unsigned i = 0; i < slab->words; i++) {
        uint64_t dead = hyi_slab_dead(slab, i), free, bits;

        /* Sequentially consistent: slab_layout.h, the race. */
        if ((__atomic_load_n(&words[i].remote, __ATOMIC_SEQ_CST) & ~dead) == 0)
            continue;
        /* Acquire: what was done to the objects before they were freed. */
        bits = __atomic_exchange_n(&words[i].remote, dead, __ATOMIC_ACQ_REL);
        free = __atomic_load_n(&words[i].free, __ATOMIC_RELAXED);
        bits &= ~dead & ~free;
        __atomic_store_n(&words[i].free, free | bits, __ATOMIC_RELAXED);
        collected += (unsigned)__builtin_popcountll(bits);
    }
    return collected;
}

static bool has_remote(const hy_slab *slab, struct hy_slab_chunk *chunk)
{
    struct hy_slab_word *words = hyi_slab_words(chunk);

    for (unsigned i = 0; i < slab->words; i++)
        if ((__atomic_load_n(&words[i].remote, __ATOMIC_SEQ_CST) &
             ~hyi_slab_dead(slab, i)) != 0)
            return true;
    return false;
}

unsigned hyi_slab_words_left(const hy_slab *slab, struct hy_slab_chunk *chunk)
{
    struct hy_slab_word *words = hyi_slab_words(chunk);
    unsigned left = 0;

    for (unsigned i = 0; i < slab->words; i++)
        left +=
            (__atomic_load_n(&words[i].free, __ATOMIC_RELAXED) |
             __atomic_load_n(&words[i].remote, __ATOMIC_RELAXED)) != UINT64_MAX;
    return left;
}

unsigned hyi_slab_free_count(const hy_slab *slab, struct hy_slab_chunk *chunk)
{
    struct hy_slab_word *words = hyi_slab_words(chunk);
    unsigned count = 0;

    for (unsigned i = 0; i < slab->words; i++)
        count += (unsigned)__builtin_popcountll(
            (__atomic_load_n(&words[i].free, __ATOMIC_RELAXED) |
             __atomic_load_n(&words[i].remote, __ATOMIC_RELAXED)) &
            ~hyi_slab_dead(slab, i));
    return count;
}

void hyi_slab_bits_reset(const hy_slab *slab, struct hy_slab_chunk *chunk)
{
    struct hy_slab_word *words = hyi_slab_words(chunk);

    for (unsigned i = 0; i < slab->words; i++) {
        uint64_t dead = hyi_slab_dead(slab, i);

        __atomic_store_n(&words[i].free, ~dead, __ATOMIC_RELAXED);
        __atomic_store_n(&words[i].remote, dead, __ATOMIC_RELAXED);
    }
}

bool hyi_slab_bit_of(const hy_slab *slab, struct hy_slab_chunk *chunk,
                     const void *object, struct hy_slab_word **word,
                     uint64_t *bit)
{
    uint64_t offset = (uintptr_t)object & (slab->chunk_bytes - 1);
    uint64_t index = offset * slab->inverse >> 32;

    *word = &hyi_slab_words(chunk)[index / 64];
    *bit = (uint64_t)1 << index % 64;
    return index * slab->stride == offset;
}

/* --- lists ---------------------------------------------------------------- */

void hyi_slab_list_push(struct hyi_slab_list *list, struct hy_slab_chunk *chunk)
{
    chunk->next = NULL;
    chunk->prev = list->last;
    if (list->last != NULL)
        list->last->next = chunk;
    else
        list->first = chunk;
    list->last = chunk;
    list->count++;
}

void hyi_slab_list_remove(struct hyi_slab_list *list,
                          struct hy_slab_chunk *chunk)
{
    if (chunk->prev != NULL)
        chunk->prev->next = chunk->next;
    else
        list->first = chunk->next;
    if (chunk->next != NULL)
        chunk->next->prev = chunk->prev;
    else
        list->last = chunk->prev;
    list->count--;
}

/* --- a cache and its chunks ----------------------------------------------- */

static void current_set(struct hyi_slab_cache *cache,
                        struct hy_slab_chunk *chunk)
{
    cache->current = chunk;
    cache->at = 0;
    cache->hot.word = &no_word;
    cache->hot.group = NULL;
    if (chunk != NULL)
        chunk->left = HYI_SLAB_CURRENT;
}

void hyi_slab_cache_init(struct hyi_slab_cache *cache)
{
    hy_slab *slab = cache->slab;
    struct hyi_slab_list none = {NULL, NULL, 0};

    __atomic_store_n(&cache->hot.front, (void *)NULL, __ATOMIC_RELAXED);
    cache->hot.shift = slab->shift;
    cache->hot.within = slab->chunk_bytes - 1;
    cache->hot.inverse = slab->inverse;
    cache->hot.stride = (uint32_t)slab->stride;
    cache->room = none;
    current_set(cache, NULL);
}

/* Puts the front among the free bits of its chunk, which is this cache's. */
static void front_flush(struct hyi_slab_cache *cache)
{
    void *front = __atomic_load_n(&cache->hot.front, __ATOMIC_RELAXED);
    struct hy_slab_chunk *chunk;
    struct hy_slab_word *word;
    uint64_t bit;

    if (front == NULL)
        return;
    chunk = hyi_slab_find(cache->slab, front);
    HYI_ASSERT(chunk != NULL &&
               hyi_slab_bit_of(cache->slab, chunk, front, &word, &bit));
    __atomic_store_n(&word->free, word->free | bit, __ATOMIC_RELAXED);
    __atomic_store_n(&cache->hot.front, (void *)NULL, __ATOMIC_RELAXED);
}

void hyi_slab_settle(hy_slab *slab, struct hy_slab_chunk *chunk)
{
    hyi_slab_collect(slab, chunk);
    if (hyi_slab_free_count(slab, chunk) == slab->count) {
        hyi_slab_owner_set(chunk, HYI_SLAB_EMPTY);
        hyi_slab_list_push(&slab->empty, chunk);
    } else {
        hyi_slab_owner_set(chunk, HYI_SLAB_POOL);
        hyi_slab_list_push(&slab->pool, chunk);
    }
}

void hyi_slab_cache_drain(struct hyi_slab_cache *cache)
{
    struct hy_slab_chunk *chunk = cache->current;

    front_flush(cache);
    current_set(cache, NULL);
    if (chunk != NULL)
        hyi_slab_settle(cache->slab, chunk);
    while ((chunk = cache->room.first) != NULL) {
        hyi_slab_list_remove(&cache->room, chunk);
        hyi_slab_settle(cache->slab, chunk);
    }
}

/* Gives a chunk with room away: one too many, or all free. */
static void room_leave(struct hyi_slab_cache *cache,
                       struct hy_slab_chunk *chunk)
{
    hy_slab *slab = cache->slab;

    hyi_slab_list_remove(&cache->room, chunk);
    if (hyi_slab_find(slab, cache->hot.front) == chunk)
        front_flush(cache);
    pthread_mutex_lock(&slab->lock);
    hyi_slab_settle(slab, chunk);
    pthread_mutex_unlock(&slab->lock);
}

/* A chunk that has just become this cache's. */
static void room_enter(struct hyi_slab_cache *cache,
                       struct hy_slab_chunk *chunk)
{
    hyi_slab_collect(cache->slab, chunk);
    hyi_slab_list_push(&cache->room, chunk);
    chunk->left = hyi_slab_words_left(cache->slab, chunk);
    if (chunk->left == 0)
        room_leave(cache, chunk);
    else if (cache->room.count > cache->slab->keep)
        room_leave(cache, cache->room.first);
}

/* Makes an orphan this cache's, or the pool's when there is no cache. */
static bool adopt(hy_slab *slab, struct hyi_slab_cache *cache,
                  struct hy_slab_chunk *chunk)
{
    struct hy_slab_cache *expected = HYI_SLAB_ORPHAN;
    struct hy_slab_cache *owner = cache != NULL ? &cache->hot : HYI_SLAB_POOL;

    if (cache == NULL)
        pthread_mutex_lock(&slab->lock);
    if (!__atomic_compare_exchange_n(&chunk->owner, &expected, owner, false,
                                     __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        owner = NULL;
    else if (cache == NULL)
        hyi_slab_list_push(&slab->pool, chunk);
    if (cache == NULL)
        pthread_mutex_unlock(&slab->lock);
    return owner != NULL;
}

/* --- alloc ---------------------------------------------------------------- */

/* The next object of the current chunk, or NULL. */
static void *take_current(struct hyi_slab_cache *cache)
{
    const hy_slab *slab = cache->slab;
    struct hy_slab_word *words;

    if (cache->current == NULL)
        return NULL;
    words = hyi_slab_words(cache->current);
    for (unsigned n = 0; n < slab->words; n++) {
        uint64_t bits =
            __atomic_load_n(&words[cache->at].free, __ATOMIC_RELAXED);

        if (bits != 0) {
            __atomic_store_n(&words[cache->at].free, bits & (bits - 1),
                             __ATOMIC_RELAXED);
            cache->hot.word = &words[cache->at].free;
            cache->hot.group =
                cache->current->base + (size_t)cache->at * 64 * slab->stride;
            return cache->hot.group +
                   (size_t)(unsigned)__builtin_ctzll(bits) * slab->stride;
        }
        if (++cache->at == slab->words)
            cache->at = 0;
    }
    return NULL;
}

/* Leaves the current chunk, in which nothing is free, to whoever frees in it
 * first. False when something has become free meanwhile. */
static bool abandon(struct hyi_slab_cache *cache)
{
    struct hy_slab_chunk *chunk = cache->current;
    struct hy_slab_cache *expected = HYI_SLAB_ORPHAN;

    if (chunk == NULL)
        return true;
    if (hyi_slab_collect(cache->slab, chunk) != 0)
        return false;
    HYI_SLAB_WIDEN();
    current_set(cache, NULL);
    /* Sequentially consistent, and an exchange: order.h. */
    (void)__atomic_exchange_n(&chunk->owner, HYI_SLAB_ORPHAN, __ATOMIC_SEQ_CST);
    if (!has_remote(cache->slab, chunk) ||
        !__atomic_compare_exchange_n(&chunk->owner, &expected, &cache->hot,
                                     false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        return true;
    hyi_slab_collect(cache->slab, chunk);
    current_set(cache, chunk);
    return false;
}

/* A chunk of the slab's for this cache, with something free in it; or NULL. */
static struct hy_slab_chunk *chunk_obtain(struct hyi_slab_cache *cache)
{
    hy_slab *slab = cache->slab;
    struct hy_slab_chunk *chunk;

    pthread_mutex_lock(&slab->lock);
    while ((chunk = slab->pool.first) != NULL) {
        hyi_slab_list_remove(&slab->pool, chunk);
        hyi_slab_owner_set(chunk, &cache->hot);
        hyi_slab_collect(slab, chunk);
        if (hyi_slab_free_count(slab, chunk) != 0)
            break;
        current_set(cache, chunk);
        if (!abandon(cache))
            break;
    }
    if (chunk == NULL) {
        chunk = slab->empty.last;
        if (chunk != NULL)
            hyi_slab_list_remove(&slab->empty, chunk);
        else
            chunk = hyi_slab_grow(slab);
        if (chunk != NULL)
            hyi_slab_owner_set(chunk, &cache->hot);
    }
    pthread_mutex_unlock(&slab->lock);
    return chunk;
}

static void table_refresh(struct hyi_slab_cache *cache)
{
    struct hyi_slab_table *table = atomic_load(&cache->slab->table);

    if (table == NULL)
        return;
    cache->hot.entries = table->entries;
    cache->hot.mask = (uint32_t)(table->capacity - 1);
}

/* A chunk with room may have none: its only free object may have been front. */
static void *take(struct hyi_slab_cache *cache)
{
    struct hy_slab_chunk *chunk;
    void *object = __atomic_load_n(&cache->hot.front, __ATOMIC_RELAXED);

    if (object != NULL) {
        __atomic_store_n(&cache->hot.front, (void *)NULL, __ATOMIC_RELAXED);
        return object;
    }
    while ((object = take_current(cache)) == NULL) {
        if (!abandon(cache))
            continue;
        chunk = cache->room.last;
        if (chunk != NULL)
            hyi_slab_list_remove(&cache->room, chunk);
        else
            chunk = chunk_obtain(cache);
        table_refresh(cache);
        current_set(cache, chunk);
        if (chunk == NULL)
            return NULL;
    }
    return object;
}

void *hy_slab_alloc_slow(hy_slab *slab)
{
    struct hyi_slab_cache *cache;
    void *object = NULL;

    if (slab == NULL)
        return NULL;
    cache = hyi_slab_cache_get(slab);
    if (cache != NULL)
        object = take(cache);
    if (object == NULL)
        atomic_fetch_add_explicit(&slab->failed_allocs, 1,
                                  memory_order_relaxed);
    else
        hyi_unpoison(object, (size_t)slab->stride);
    return object;
}

/* --- free ----------------------------------------------------------------- */

static int refuse(hy_slab *slab, const void *object)
{
    char line[112];

    atomic_fetch_add_explicit(&slab->refused_frees, 1, memory_order_relaxed);
    if (slab->report.write != NULL) {
        snprintf(line, sizeof(line), "slab %s: free of %p, which is not live",
                 slab->name, object);
        slab->report.write(slab->report.ctx, HY_REPORT_ERROR, line);
    }
    return -EINVAL;
}

int hy_slab_free_last(hy_slab *slab, struct hy_slab_chunk *chunk)
{
    struct hyi_slab_cache *cache = (struct hyi_slab_cache *)chunk->owner;

    (void)slab;
    if (chunk == cache->current)
        chunk->left = HYI_SLAB_CURRENT;
    else
        room_leave(cache, chunk);
    return 0;
}

static bool is_free(const struct hy_slab_word *word, uint64_t bit)
{
    return ((__atomic_load_n(&word->free, __ATOMIC_RELAXED) |
             __atomic_load_n(&word->remote, __ATOMIC_RELAXED)) &
            bit) != 0;
}

static int free_remote(hy_slab *slab, struct hyi_slab_cache *cache,
                       struct hy_slab_chunk *chunk, void *object,
                       struct hy_slab_word *word, uint64_t bit)
{
    hyi_poison(object, (size_t)slab->stride);
    /* Sequentially consistent: slab_layout.h, the race; release of what was
     * done to the object, for hyi_slab_collect. */
    if ((__atomic_fetch_or(&word->remote, bit, __ATOMIC_SEQ_CST) & bit) != 0)
        return -EINVAL;
    atomic_fetch_add_explicit(&slab->remote_frees, 1, memory_order_relaxed);
    if (hyi_slab_owner(chunk) == HYI_SLAB_ORPHAN && adopt(slab, cache, chunk) &&
        cache != NULL)
        room_enter(cache, chunk);
    return 0;
}

static int free_owned(struct hyi_slab_cache *cache, struct hy_slab_chunk *chunk,
                      void *object, struct hy_slab_word *word, uint64_t bit)
{
    uint64_t free = __atomic_load_n(&word->free, __ATOMIC_RELAXED);
    uint64_t remote = __atomic_load_n(&word->remote, __ATOMIC_RELAXED);
    void *front = __atomic_load_n(&cache->hot.front, __ATOMIC_RELAXED);

    if (((free | remote) & bit) != 0 || front == object)
        return -EINVAL;
    hyi_poison(object, (size_t)cache->slab->stride);
    if (front == NULL) {
        __atomic_store_n(&cache->hot.front, object, __ATOMIC_RELAXED);
        return 0;
    }
    free |= bit;
    __atomic_store_n(&word->free, free, __ATOMIC_RELAXED);
    if ((free | remote) == UINT64_MAX && --chunk->left == 0)
        return hy_slab_free_last(cache->slab, chunk);
    return 0;
}

/* Whose chunk it is decides; when that changes meanwhile, it is asked again. */
static int free_object(hy_slab *slab, struct hyi_slab_cache *cache,
                       struct hy_slab_chunk *chunk, void *object)
{
    struct hy_slab_word *word;
    uint64_t bit;

    if (!hyi_slab_bit_of(slab, chunk, object, &word, &bit))
        return -EINVAL;
    for (;;) {
        struct hy_slab_cache *owner = hyi_slab_owner(chunk);

        if (cache != NULL && owner == &cache->hot)
            return free_owned(cache, chunk, object, word, bit);
        if (is_free(word, bit))
            return -EINVAL;
        if (owner == HYI_SLAB_ORPHAN) {
            if (!adopt(slab, cache, chunk) || cache == NULL)
                continue;
            atomic_fetch_add_explicit(&slab->adopted, 1, memory_order_relaxed);
            room_enter(cache, chunk);
            continue;
        }
        if (hyi_slab_is_cache(owner) &&
            __atomic_load_n(&owner->front, __ATOMIC_RELAXED) == object)
            return -EINVAL;
        HYI_SLAB_WIDEN();
        return free_remote(slab, cache, chunk, object, word, bit);
    }
}

int hy_slab_free_slow(hy_slab *slab, void *object)
{
    struct hyi_slab_cache *cache;
    struct hy_slab_chunk *chunk;
    int r = -EINVAL;

    if (slab == NULL)
        return -EINVAL;
    if (object == NULL)
        return 0;
    chunk = hyi_slab_find(slab, object);
    if (chunk != NULL) {
        cache = hyi_slab_cache_get(slab);
        if (cache != NULL)
            table_refresh(cache);
        r = free_object(slab, cache, chunk, object);
    }
    return r == 0 ? 0 : refuse(slab, object);
}
