/*
 * inline/slab.h - the fast half of hy_slab_alloc and hy_slab_free, which
 * hyperion/slab.h puts in the place of the calls. Everything in this file is
 * ABI: hy_slab_create passes HY_SLAB_INLINE_VERSION, and refuses with -EPROTO
 * when the library has another. Define HY_SLAB_NO_INLINE before the include to
 * call the library instead.
 *
 *      thread's slots      cache of (slab, thread)    chunk, out of band
 *      | id | cache | -->  | front | word | ... | --> | owner | left | words |
 *
 *      alloc   front, if there is one; else the lowest set bit of the word that
 *              is being used up. Else the slow half.
 *      free    the chunk by its address in a table; its owner must be this
 *              cache; the object's two bits must be clear; then it becomes
 *              front, or its bit is set. Else the slow half, which refuses what
 *              is free already or not from here. The object is never read.
 *
 * Budget, x86-64, gcc -O3: alloc 9 instructions and no call when front serves
 * it, free 25. A word is written by its chunk's owner alone, so nothing here is
 * a locked instruction.
 *
 * C11 and C++11; the atomics are the __atomic builtins of gcc and clang.
 */
#ifndef HYPERION_INLINE_SLAB_H
#define HYPERION_INLINE_SLAB_H

#include <hyperion/base.h>

#define HY_SLAB_INLINE_VERSION 1u /**< of what this file lays out */
#define HY_SLAB_SLOTS          8  /**< slabs that a thread finds at once */

HY_BEGIN_DECLS

struct hy_slab;
struct hy_slab_cache;

/** 64 objects of a chunk, one bit each. Both clear: the object is live. */
struct hy_slab_word {
    uint64_t free;   /**< set and cleared by the owner alone */
    uint64_t remote; /**< set by any other thread that frees, atomically */
};

/** What is known of a run of objects; its words follow. What is not the fast
 * path's is private. */
struct hy_slab_chunk {
    struct hy_slab_cache *owner; /**< or a small number: nobody's */
    uint32_t left;               /**< owner's: words with a live object */
    uint32_t state;              /**< private */
    char *base;                  /**< of the first object */
    struct hy_slab_chunk *next;  /**< private */
    struct hy_slab_chunk *prev;  /**< private */
    struct hy_slab_chunk *all;   /**< private */
    uint64_t reserved[2];        /**< 0 */
};

/** Where a chunk is; key is its address divided by the bytes of a chunk. */
struct hy_slab_entry {
    uint64_t key;                /**< UINT64_MAX: none */
    struct hy_slab_chunk *chunk; /**< with this key */
};

/** What a thread knows of a slab. */
struct hy_slab_cache {
    void *front;    /**< a free object whose bits still say live, or NULL */
    uint64_t *word; /**< free bits being used up; never NULL */
    char *group;    /**< the object of bit 0 of *word */
    struct hy_slab_entry *entries; /**< table of chunks */
    uint32_t mask;                 /**< entries - 1 */
    uint32_t shift;                /**< log2 of the bytes of a chunk */
    uint32_t inverse;              /**< 2^32 / stride, rounded up */
    uint32_t stride;               /**< bytes from object to object */
    uint64_t within;               /**< bytes of a chunk - 1 */
};

/** One place where a thread finds its cache of a slab. */
struct hy_slab_slot {
    uint64_t id;                 /**< of the slab, never used again; 0: none */
    struct hy_slab_cache *cache; /**< when id fits */
};

/** The calling thread's slots: a slab uses the one of id modulo their number.
 */
extern HY_API __thread struct hy_slab_slot hy_slab_slots[HY_SLAB_SLOTS]
    __attribute__((tls_model("initial-exec")));

/** The slow half of hy_slab_alloc. */
HY_API void *hy_slab_alloc_slow(struct hy_slab *slab);

/** The slow half of hy_slab_free. */
HY_API int hy_slab_free_slow(struct hy_slab *slab, void *object);

/** The last live object of an owned chunk but the front is gone. Returns 0. */
HY_API int hy_slab_free_last(struct hy_slab *slab, struct hy_slab_chunk *chunk);

/** The calling thread's slot for a slab, whose first member is its id. The
 * cache in it is the slab's when the ids agree. */
static inline const struct hy_slab_slot *hy_slab_slot_of(uint64_t id)
{
    return &hy_slab_slots[id % HY_SLAB_SLOTS];
}

/** hy_slab_alloc. */
static inline void *hy_slab_alloc_inline(struct hy_slab *slab)
{
    const struct hy_slab_slot *slot;
    struct hy_slab_cache *cache;
    uint64_t bits, id;
    void *object;

    if (__builtin_expect(slab == NULL, 0))
        return NULL;
    id = *(const uint64_t *)(const void *)slab;
    slot = hy_slab_slot_of(id);
    if (__builtin_expect(slot->id != id, 0))
        return hy_slab_alloc_slow(slab);
    cache = slot->cache;
    /* Relaxed: this thread's own; others read them for checks and figures. */
    object = __atomic_load_n(&cache->front, __ATOMIC_RELAXED);
    if (object != NULL) {
        __atomic_store_n(&cache->front, (void *)NULL, __ATOMIC_RELAXED);
        return object;
    }
    bits = __atomic_load_n(cache->word, __ATOMIC_RELAXED);
    if (__builtin_expect(bits == 0, 0))
        return hy_slab_alloc_slow(slab);
    __atomic_store_n(cache->word, bits & (bits - 1), __ATOMIC_RELAXED);
    return cache->group +
           (uint64_t)(unsigned)__builtin_ctzll(bits) * cache->stride;
}

/** Marks the object of this chunk of the cache free; the second half of
 * hy_slab_free. */
static inline int hy_slab_free_owned(struct hy_slab *slab,
                                     struct hy_slab_cache *cache,
                                     struct hy_slab_chunk *chunk, void *object)
{
    uint64_t offset = (uintptr_t)object & cache->within;
    uint64_t index = offset * cache->inverse >> 32;
    struct hy_slab_word *word =
        (struct hy_slab_word *)(void *)(chunk + 1) + index / 64;
    uint64_t bit = (uint64_t)1 << index % 64, bits, remote;
    void *front;

    if (__builtin_expect(index * cache->stride != offset, 0))
        return hy_slab_free_slow(slab, object);
    /* Relaxed: that the other free is seen when it happened before this one is
     * coherence. */
    bits = __atomic_load_n(&word->free, __ATOMIC_RELAXED);
    remote = __atomic_load_n(&word->remote, __ATOMIC_RELAXED);
    if (__builtin_expect(((bits | remote) & bit) != 0, 0))
        return hy_slab_free_slow(slab, object);
    front = __atomic_load_n(&cache->front, __ATOMIC_RELAXED);
    if (front == NULL) {
        __atomic_store_n(&cache->front, object, __ATOMIC_RELAXED);
        return 0;
    }
    if (__builtin_expect(front == object, 0))
        return hy_slab_free_slow(slab, object);
    bits |= bit;
    __atomic_store_n(&word->free, bits, __ATOMIC_RELAXED);
    if (__builtin_expect((bits | remote) == UINT64_MAX, 0) &&
        --chunk->left == 0)
        return hy_slab_free_last(slab, chunk);
    return 0;
}

/** hy_slab_free. */
static inline int hy_slab_free_inline(struct hy_slab *slab, void *object)
{
    const struct hy_slab_slot *slot;
    struct hy_slab_cache *cache;
    struct hy_slab_entry *entry;
    struct hy_slab_chunk *chunk;
    uint64_t id, key;

    if (__builtin_expect(slab == NULL, 0))
        return hy_slab_free_slow(slab, object);
    id = *(const uint64_t *)(const void *)slab;
    slot = hy_slab_slot_of(id);
    if (__builtin_expect(slot->id != id, 0))
        return hy_slab_free_slow(slab, object);
    cache = slot->cache;
    key = (uintptr_t)object >> cache->shift;
    entry = &cache->entries[key & cache->mask];
    /* Acquire: pairs with the release that put the chunk into the table. */
    if (__builtin_expect(__atomic_load_n(&entry->key, __ATOMIC_ACQUIRE) != key,
                         0))
        return hy_slab_free_slow(slab, object);
    chunk = __atomic_load_n(&entry->chunk, __ATOMIC_RELAXED);
    /* Relaxed: only this thread makes itself the owner, or ends that. */
    if (__builtin_expect(
            __atomic_load_n(&chunk->owner, __ATOMIC_RELAXED) != cache, 0))
        return hy_slab_free_slow(slab, object);
    return hy_slab_free_owned(slab, cache, chunk, object);
}

HY_END_DECLS

#endif
