/*
 * slab.h - object caches: objects of one size, allocated and freed by any
 * thread, a few nanoseconds each.
 *
 *      thread A                       thread B
 *      takes from its own chunk,      frees what is A's: a bit, atomically;
 *      frees into it: a bit;          frees the first object of a chunk that
 *      a full chunk: nobody's         is nobody's: the chunk is B's now
 *               \                               /
 *                chunks with room, empty chunks          (shared, by a lock)
 *                              |
 *                     the system, or a hy_backing
 *
 * A chunk's objects lie one after another; what is known of them, two bits for
 * each, lies elsewhere, where an overflow cannot reach it. A free object's
 * bytes stay as they were left and are never read. The overhead is 0.5 % for
 * objects of 64 bytes, and less for larger ones.
 *
 * Freeing looks the chunk up by address, then at the object's bits: an object
 * that is free already and a pointer that is no object are refused, and not one
 * byte at or near the pointer is read. Two frees of one object that race are
 * undefined unless something orders them; ordered, the second is refused
 * whichever threads they come from.
 *
 * Memory. Empty chunks are kept for the next thread that needs one and given
 * back by hy_slab_trim. Chunks with room that a thread has many of, and all
 * those of a thread that ends, go to whoever needs memory next. What the others
 * cannot use of a living thread's memory is at most nine chunks (a chunk is
 * 256 KiB, less with a limit or a backing), or two under a limit.
 *
 * Threads. Any thread or fiber may call hy_slab_alloc, hy_slab_free,
 * hy_slab_stats_get and hy_slab_trim at any time. hy_slab_reset, hy_slab_walk
 * and hy_slab_destroy need that nobody else uses the slab meanwhile. A child of
 * fork may use its copy, unless its memory is a backing's that children do not
 * have (a pager's). What a thread did before it freed an object is seen by
 * the thread that allocates it next. No function is for signal handlers.
 *
 * The idea of object caches is J. Bonwick's, "The Slab Allocator" (USENIX
 * Summer 1994); that each chunk belongs to a thread, and others free into a
 * list (here: bits) of its own, is from D. Leijen, B. Zorn, L. de Moura,
 * "Mimalloc: Free List Sharding in Action" (2019).
 */
#ifndef HYPERION_SLAB_H
#define HYPERION_SLAB_H

#include <hyperion/base.h>
#include <hyperion/inline/slab.h>

HY_BEGIN_DECLS

/**
 * Where memory comes from, in place of the system. Both functions may be
 * called from any thread that uses the object, one at a time for each object,
 * and must not call back into it.
 */
typedef struct hy_backing {
    size_t size; /**< sizeof(hy_backing) */
    /**
     * Gives bytes of readable and writable memory aligned to align, a power of
     * two, or NULL. What it holds does not matter.
     */
    void *(*acquire)(void *ctx, size_t bytes, size_t align);
    /** Takes back what acquire gave, whole. */
    void (*release)(void *ctx, void *p, size_t bytes);
    void *ctx; /**< handed to both */
} hy_backing;

/** Starts a backing: size set, all else zero. */
#define HY_BACKING_INIT                                                        \
    {                                                                          \
        sizeof(hy_backing), NULL, NULL, NULL                                   \
    }

/** An object cache. */
typedef struct hy_slab hy_slab;

/** The largest object, in bytes. */
#define HY_SLAB_OBJECT_BYTES_MAX ((size_t)1 << 30)

/** How a slab is made. */
typedef struct hy_slab_options {
    size_t size;    /**< sizeof(hy_slab_options) */
    size_t align;   /**< of each object, a power of two; 0 = 64 */
    unsigned flags; /**< none yet: 0 */
    /** Bytes taken from the system or the backing at most; 0 = no limit. */
    size_t limit_bytes;
    const hy_backing *backing; /**< NULL = the system; copied */
    const char *name; /**< for the statistics, up to 31 characters; copied */
    hy_report report; /**< tells of refused frees */
} hy_slab_options;

/** Starts an options struct: size set, all else zero. */
#define HY_SLAB_OPTIONS_INIT                                                   \
    {                                                                          \
        sizeof(hy_slab_options), 0, 0, 0, NULL, NULL,                          \
        {                                                                      \
            NULL, NULL                                                         \
        }                                                                      \
    }

/**
 * Makes a slab. Memory is taken with the first object.
 * @param out           gets the slab; hy_slab_destroy ends it
 * @param object_bytes  1 to HY_SLAB_OBJECT_BYTES_MAX; rounded up to the
 *                      alignment and to 8
 * @param options       NULL = all defaults
 * @return 0; -EINVAL for NULL, an object_bytes of zero, an alignment that is no
 *         power of two, unknown flags, a backing without both functions, or a
 *         limit that holds no object; -E2BIG when object_bytes or the alignment
 *         is above HY_SLAB_OBJECT_BYTES_MAX (or base.h, Options); -ENOMEM;
 *         -EPROTO when inline/slab.h belongs to another version of the library.
 */
HY_API int hy_slab_create(hy_slab **out, size_t object_bytes,
                          const hy_slab_options *options);

/** hy_slab_create for a caller that inlines this version of the fast path. */
HY_API int hy_slab_create_version(hy_slab **out, size_t object_bytes,
                                  const hy_slab_options *options,
                                  unsigned version);

/**
 * An object, its content undefined. NULL: no memory, or the limit.
 */
HY_API void *hy_slab_alloc(hy_slab *slab);

/**
 * Frees an object of this slab, from any thread. NULL is allowed.
 * @return 0; -EINVAL for an object that is free, or a pointer that is no object
 *         of this slab. Neither it nor any byte near it is read.
 */
HY_API int hy_slab_free(hy_slab *slab, void *object);

/** Ends the slab and gives all its memory back, live objects too. NULL is
 * allowed. Returns 0. */
HY_API int hy_slab_destroy(hy_slab *slab);

/** Frees all objects at once and keeps the memory for the next ones. Returns 0,
 * or -EINVAL for NULL. */
HY_API int hy_slab_reset(hy_slab *slab);

/**
 * Gives empty chunks back to the system or the backing: those that nobody
 * holds, and the calling thread's.
 * @param trimmed  gets the bytes given back; may be NULL
 * @return 0; -EINVAL for NULL; what the system returned.
 */
HY_API int hy_slab_trim(hy_slab *slab, uint64_t *trimmed);

/**
 * Calls visit for each live object, in no order, until it returns non-zero.
 * @return 0 at the end, what visit returned, -EINVAL for NULL.
 */
HY_API int hy_slab_walk(hy_slab *slab, int (*visit)(void *ctx, void *object),
                        void *ctx);

/** Figures of a slab. */
typedef struct hy_slab_stats {
    size_t size;              /**< set by the caller */
    char name[32];            /**< of the slab */
    uint64_t object_bytes;    /**< from object to object */
    uint64_t chunk_bytes;     /**< of one chunk */
    uint64_t live_objects;    /**< of a moment ago */
    uint64_t held_bytes;      /**< chunks and metadata */
    uint64_t peak_held_bytes; /**< highest held_bytes */
    uint64_t metadata_bytes;  /**< of these, what describes the chunks */
    uint64_t limit_bytes;     /**< of held_bytes; 0 = none */
    uint64_t chunks;          /**< held */
    uint64_t empty_chunks;    /**< of these, empty and nobody's */
    uint64_t caches;          /**< threads that use it, or did and live on */
    uint64_t remote_frees;    /**< frees of objects in another's chunk */
    uint64_t adopted_chunks;  /**< chunks that came to whoever freed in them */
    uint64_t failed_allocs;   /**< NULL returned */
    uint64_t refused_frees;   /**< -EINVAL returned */
} hy_slab_stats;

/** Starts a stats struct: size set. */
#define HY_SLAB_STATS_INIT                                                     \
    {                                                                          \
        sizeof(hy_slab_stats), {0}, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0   \
    }

/** Fills *out; counting the live objects takes time proportional to the
 * memory held. 0, or -EINVAL for NULL or a bad size. */
HY_API int hy_slab_stats_get(hy_slab *slab, hy_slab_stats *out);

HY_END_DECLS

/** @cond the inline forms of the functions above */
#ifndef HY_SLAB_NO_INLINE
#define hy_slab_alloc(slab)        hy_slab_alloc_inline(slab)
#define hy_slab_free(slab, object) hy_slab_free_inline(slab, object)
#define hy_slab_create(out, object_bytes, options)                             \
    hy_slab_create_version(out, object_bytes, options, HY_SLAB_INLINE_VERSION)
#endif
/** @endcond */

#endif
