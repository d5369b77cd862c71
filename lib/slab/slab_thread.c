/*
 * slab_thread.c - which cache a thread has of which slab; what happens to it
 * when the thread ends, and to all of them in a child of fork.
 *
 *      registry (process.h)    slab -> slab -> slab       by id
 *      thread's record         | id cache | id cache | ...
 *      thread's slots          the last one of each id modulo 8
 *
 * A record and a slot may name a slab that is gone: ids are never used again,
 * so nobody follows the pointer beside it. When a thread ends, its caches'
 * chunks go to their slabs, and the caches to the next threads. What a
 * destructor of another key frees or allocates after that makes a new record,
 * and the key's destructor runs again.
 *
 * Fork takes every lock before and gives it back on both sides. In the child
 * the caches of the threads that are not there are taken apart by the owners
 * that their chunks name, since their lists may be half changed; an object that
 * such a thread was about to get or to free stays live.
 *
 * Invariant: a cache that is not idle belongs to one record.
 * Upstream: slab_cache.c. Downstream: process.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "heap_layout.h"
#include "os.h"
#include "poison.h"
#include "slab_layout.h"

enum { RECORD_MIN = 8 };

struct entry {
    uint64_t id;
    struct hyi_slab_cache *cache;
};

struct hyi_slab_thread {
    struct hyi_slab_thread *next, **link; /* in the registry */
    size_t count, capacity;
    struct entry *entries;
};

static _Thread_local struct hyi_slab_thread *self
    __attribute__((tls_model("initial-exec")));

__thread struct hy_slab_slot hy_slab_slots[HY_SLAB_SLOTS];

/* --- the registry --------------------------------------------------------- */

static struct hy_slab *slab_by_id(uint64_t id)
{
    struct hy_slab *slab = hyi_process.slab.slabs;

    while (slab != NULL && slab->id != id)
        slab = slab->next;
    return slab;
}

/* Under the slab's lock. */
static void cache_retire(struct hyi_slab_cache *cache)
{
    hyi_slab_cache_init(cache);
    cache->idle = true;
    cache->next_idle = cache->slab->idle;
    cache->slab->idle = cache;
}

static void record_destroy(struct hyi_slab_thread *record)
{
    *record->link = record->next;
    if (record->next != NULL)
        record->next->link = record->link;
    free(record->entries);
    free(record);
}

static void thread_end(void *value)
{
    struct hyi_slab_thread *record = value;

    memset(hy_slab_slots, 0, sizeof(hy_slab_slots));
    self = NULL;
    hyi_process_lock(HYI_LOCK_SLAB);
    for (size_t i = 0; i < record->count; i++) {
        struct hy_slab *slab = slab_by_id(record->entries[i].id);

        if (slab == NULL)
            continue;
        pthread_mutex_lock(&slab->lock);
        hyi_slab_cache_drain(record->entries[i].cache);
        cache_retire(record->entries[i].cache);
        pthread_mutex_unlock(&slab->lock);
    }
    record_destroy(record);
    hyi_process_unlock(HYI_LOCK_SLAB);
}

/* --- fork ----------------------------------------------------------------- */

static void fork_prepare(void)
{
    for (struct hy_slab *s = hyi_process.slab.slabs; s != NULL; s = s->next)
        pthread_mutex_lock(&s->lock);
    for (struct hy_heap *h = hyi_process.slab.heaps; h != NULL; h = h->next)
        pthread_mutex_lock(&h->lock);
}

static void fork_done(void)
{
    for (struct hy_heap *h = hyi_process.slab.heaps; h != NULL; h = h->next)
        pthread_mutex_unlock(&h->lock);
    for (struct hy_slab *s = hyi_process.slab.slabs; s != NULL; s = s->next)
        pthread_mutex_unlock(&s->lock);
}

static void front_free(struct hyi_slab_cache *cache)
{
    void *front = cache->hot.front;
    struct hy_slab_chunk *chunk = hyi_slab_find(cache->slab, front);
    struct hy_slab_word *word;
    uint64_t bit;

    if (chunk != NULL &&
        hyi_slab_bit_of(cache->slab, chunk, front, &word, &bit))
        word->free |= bit;
}

static void slab_in_child(struct hy_slab *slab)
{
    struct hyi_slab_cache *mine = hyi_slab_cache_peek(slab);
    struct hy_slab_cache *hot = mine != NULL ? &mine->hot : NULL;

    for (struct hyi_slab_cache *c = slab->caches; c != NULL; c = c->all)
        if (c != mine && !c->idle)
            front_free(c);
    for (struct hy_slab_chunk *c = slab->chunks; c != NULL; c = c->all)
        if (hyi_slab_is_cache(c->owner) && c->owner != hot)
            hyi_slab_settle(slab, c);
    for (struct hyi_slab_cache *c = slab->caches; c != NULL; c = c->all)
        if (c != mine && !c->idle)
            cache_retire(c);
}

/* Memory of a backing need not be there in a child: a pager's is not. */
static bool is_inherited(const struct hy_slab *slab)
{
    return !slab->has_backing || slab->chunks == NULL ||
           hyi_os_is_mapped(slab->chunks, sizeof(*slab->chunks));
}

static void fork_child(void)
{
    struct hyi_slab_thread *record = hyi_process.slab.threads, *next;

    for (struct hy_slab *s = hyi_process.slab.slabs; s != NULL; s = s->next)
        if (is_inherited(s))
            slab_in_child(s);
    for (; record != NULL; record = next) {
        next = record->next;
        if (record != self)
            record_destroy(record);
    }
    fork_done();
}

static const struct hyi_fork_hooks fork_hooks = {fork_prepare, fork_done,
                                                 fork_child};

/* Under the registry's lock. */
static int registry_prepare(void)
{
    struct hyi_slab_registry *registry = &hyi_process.slab;
    int r;

    if (registry->has_key)
        return 0;
    r = -pthread_key_create(&registry->key, thread_end);
    if (r != 0)
        return r;
    registry->has_key = true;
    hyi_process.lock[HYI_LOCK_SLAB].hooks = &fork_hooks;
    return 0;
}

int hyi_slab_register(hy_slab *slab)
{
    struct hyi_slab_registry *registry = &hyi_process.slab;
    int r = hyi_process_watch_fork();

    if (r != 0)
        return r;
    hyi_process_lock(HYI_LOCK_SLAB);
    r = registry_prepare();
    if (r == 0) {
        slab->id = ++registry->last_id;
        slab->next = registry->slabs;
        slab->link = &registry->slabs;
        if (slab->next != NULL)
            slab->next->link = &slab->next;
        registry->slabs = slab;
    }
    hyi_process_unlock(HYI_LOCK_SLAB);
    return r;
}

void hyi_slab_unregister(hy_slab *slab)
{
    hyi_process_lock(HYI_LOCK_SLAB);
    *slab->link = slab->next;
    if (slab->next != NULL)
        slab->next->link = slab->link;
    hyi_process_unlock(HYI_LOCK_SLAB);
}

int hyi_heap_register(hy_heap *heap)
{
    struct hyi_slab_registry *registry = &hyi_process.slab;
    int r = hyi_process_watch_fork();

    if (r != 0)
        return r;
    hyi_process_lock(HYI_LOCK_SLAB);
    r = registry_prepare();
    if (r == 0) {
        heap->next = registry->heaps;
        heap->link = &registry->heaps;
        if (heap->next != NULL)
            heap->next->link = &heap->next;
        registry->heaps = heap;
    }
    hyi_process_unlock(HYI_LOCK_SLAB);
    return r;
}

void hyi_heap_unregister(hy_heap *heap)
{
    hyi_process_lock(HYI_LOCK_SLAB);
    *heap->link = heap->next;
    if (heap->next != NULL)
        heap->next->link = heap->link;
    hyi_process_unlock(HYI_LOCK_SLAB);
}

/* --- a thread's caches ---------------------------------------------------- */

static struct hyi_slab_thread *record_get(void)
{
    struct hyi_slab_registry *registry = &hyi_process.slab;
    struct hyi_slab_thread *record = self;

    if (record != NULL)
        return record;
    record = calloc(1, sizeof(*record));
    if (record == NULL)
        return NULL;
    if (pthread_setspecific(registry->key, record) != 0) {
        free(record);
        return NULL;
    }
    hyi_process_lock(HYI_LOCK_SLAB);
    record->next = registry->threads;
    record->link = &registry->threads;
    if (record->next != NULL)
        record->next->link = &record->next;
    registry->threads = record;
    hyi_process_unlock(HYI_LOCK_SLAB);
    self = record;
    return record;
}

/* Drops what names slabs that are gone. */
static void record_purge(struct hyi_slab_thread *record)
{
    size_t kept = 0;

    hyi_process_lock(HYI_LOCK_SLAB);
    for (size_t i = 0; i < record->count; i++)
        if (slab_by_id(record->entries[i].id) != NULL)
            record->entries[kept++] = record->entries[i];
    hyi_process_unlock(HYI_LOCK_SLAB);
    record->count = kept;
}

static bool record_has_room(struct hyi_slab_thread *record)
{
    struct entry *entries;
    size_t capacity;

    if (record->count < record->capacity)
        return true;
    record_purge(record);
    if (record->count < record->capacity / 2)
        return true;
    capacity = record->capacity != 0 ? record->capacity * 2 : RECORD_MIN;
    entries = realloc(record->entries, capacity * sizeof(*entries));
    if (entries == NULL)
        return record->count < record->capacity;
    record->entries = entries;
    record->capacity = capacity;
    return true;
}

/* Lines of its own: each thread writes its cache at every call. */
static struct hyi_slab_cache *cache_create(hy_slab *slab)
{
    struct hyi_slab_cache *cache;

    pthread_mutex_lock(&slab->lock);
    cache = slab->idle;
    if (cache != NULL) {
        slab->idle = cache->next_idle;
        cache->idle = false;
    } else {
        cache = aligned_alloc(HYI_LINE_BYTES,
                              hyi_align_up(sizeof(*cache), HYI_LINE_BYTES));
        if (cache != NULL) {
            memset(cache, 0, sizeof(*cache));
            cache->slab = slab;
            hyi_slab_cache_init(cache);
            cache->all = slab->caches;
            slab->caches = cache;
        }
    }
    pthread_mutex_unlock(&slab->lock);
    return cache;
}

struct hyi_slab_cache *hyi_slab_cache_peek(const hy_slab *slab)
{
    for (size_t i = 0; self != NULL && i < self->count; i++)
        if (self->entries[i].id == slab->id)
            return self->entries[i].cache;
    return NULL;
}

/* Not in a build that poisons: the fast path, compiled elsewhere, does not. And
 * not before there is a table, which the fast path reads. */
static void slot_fill(hy_slab *slab, struct hyi_slab_cache *cache)
{
    struct hy_slab_slot *slot = &hy_slab_slots[slab->id % HY_SLAB_SLOTS];

    if (HYI_POISONS || cache->hot.entries == NULL)
        return;
    slot->id = slab->id;
    slot->cache = &cache->hot;
}

static struct hyi_slab_cache *cache_add(hy_slab *slab)
{
    struct hyi_slab_thread *record = record_get();
    struct hyi_slab_cache *cache;

    if (record == NULL || !record_has_room(record))
        return NULL;
    cache = cache_create(slab);
    if (cache == NULL)
        return NULL;
    record->entries[record->count].id = slab->id;
    record->entries[record->count++].cache = cache;
    return cache;
}

struct hyi_slab_cache *hyi_slab_cache_get(hy_slab *slab)
{
    struct hy_slab_slot *slot = &hy_slab_slots[slab->id % HY_SLAB_SLOTS];
    struct hyi_slab_cache *cache;

    if (slot->id == slab->id)
        return (struct hyi_slab_cache *)slot->cache;
    cache = hyi_slab_cache_peek(slab);
    if (cache == NULL) {
        int saved = errno;

        cache = cache_add(slab);
        errno = saved;
    }
    if (cache != NULL)
        slot_fill(slab, cache);
    return cache;
}
