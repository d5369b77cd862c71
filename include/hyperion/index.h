/*
 * index.h - a vector index: the k most similar of many vectors.
 *
 * Vectors are kept as 8-bit codes with a scale of their own each (HY_STORE_SQ8)
 * beside the full floats; a search scans the codes and ranks the best again by
 * the floats, so scores are those of the floats. Memory a vector: dim bytes of
 * codes, 4 * dim of floats, about 50 more.
 *
 * Threads: one writer (insert, remove, checkpoint) at a time and any number of
 * readers (search) at once, which never wait for it. A search that runs beside
 * a replacement sees the vector before or after it, never both, never none.
 *
 * fork: the child has nothing of an index of its parent's that was made without
 * a heap: its memory is a pager's (pager.h). Calls that return an int are
 * -ESTALE, but for hy_index_destroy, which closes the file there.
 */
#ifndef HYPERION_INDEX_H
#define HYPERION_INDEX_H

#include <hyperion/base.h>
#include <hyperion/heap.h>
#include <hyperion/pager.h>
#include <hyperion/vec.h>

HY_BEGIN_DECLS

/** A vector index. One writer, any number of readers. */
typedef struct hy_index hy_index;

/** What "similar" means; a larger score is always better. */
typedef enum hy_metric {
    HY_METRIC_DOT = 1, /**< score: the dot product */
    HY_METRIC_COSINE,  /**< score: the cosine; 0 when either vector is zero */
    HY_METRIC_L2       /**< score: the squared distance, negated */
} hy_metric;

/** How vectors are kept. */
enum hy_index_storage {
    HY_STORE_SQ8 = 0, /**< 8-bit codes to scan, floats to rank */
    HY_STORE_F32 = 1  /**< floats alone */
};

/** How a search finds them. */
enum hy_index_search_kind {
    HY_SEARCH_AUTO = 0,
    HY_SEARCH_EXACT = 1, /**< scans every vector */
    HY_SEARCH_GRAPH = 2  /**< not in this version: -ENOTSUP */
};

/** Flags of hy_index_options. */
enum hy_index_flags {
    HY_INDEX_EXISTING = 1u << 0 /**< the file of path must exist: -ENOENT */
};

#define HY_INDEX_DIM_MAX 65536 /**< components of a vector at most */

/** How an index is made; see hy_index_create. */
typedef struct hy_index_options {
    size_t size;
    size_t dim;       /**< components of each vector, 1 to HY_INDEX_DIM_MAX;
                           0: those of the index that is there already */
    hy_metric metric; /**< 0: HY_METRIC_COSINE */
    unsigned storage; /**< HY_STORE_... */
    unsigned search;  /**< HY_SEARCH_... */
    const char *path; /**< a file that keeps the index; NULL: memory only */
    hy_heap *heap;    /**< instead of path: a heap to live in, which outlives
                           the index; the writer allocates from it */
    unsigned root;    /**< the heap's root slot that leads to the index */
    unsigned flags;   /**< HY_INDEX_... */
    hy_report report; /**< diagnostics */
    /**
     * Addresses that a new index reserves, in bytes: all that it can ever hold,
     * since it does not grow; memory and disk are used as vectors come. At
     * least what 4,096 vectors take, about 4096 * (5 * dim + 250): the report
     * tells. 0: 256 GiB, or where the system refuses so many, 64, 16, 4 or
     * 1 GiB. A file that exists keeps what it was made with; another number
     * here is reported, and no error.
     */
    uint64_t reserve_bytes;
} hy_index_options;

#define HY_INDEX_OPTIONS_INIT                                                  \
    {                                                                          \
        sizeof(hy_index_options), 0, (hy_metric)0, 0, 0, NULL, NULL, 0, 0,     \
            {NULL, NULL}, 0                                                    \
    }

/** How a search goes; see hy_index_search. */
typedef struct hy_search_options {
    size_t size;
    size_t rerank; /**< candidates ranked by floats; 0: max(8 * k, 128) */
    size_t effort; /**< for graphs; no meaning to an exact search */
    int (*accept)(void *ctx, uint64_t id); /**< 0: leave this id out; called
                                                from inside the search */
    void *ctx;
} hy_search_options;

#define HY_SEARCH_OPTIONS_INIT                                                 \
    {                                                                          \
        sizeof(hy_search_options), 0, 0, NULL, NULL                            \
    }

/** One answer. */
typedef struct hy_hit {
    uint64_t id;
    float score;
} hy_hit;

/** What hy_index_stats_get fills. */
typedef struct hy_index_stats {
    size_t size;
    uint64_t count;      /**< vectors that a search can find */
    uint64_t rows;       /**< rows in use, removed ones among them */
    uint64_t scan_bytes; /**< bytes that one search reads */
    size_t dim;
    hy_metric metric;
    unsigned storage;
} hy_index_stats;

/**
 * Creates an index, or opens the one that path or the heap's root slot holds.
 *
 * 0; -EINVAL (no dim for a new index, unknown metric, storage or search, path
 * and heap both, reserve_bytes with a heap or too small for a new index);
 * -E2BIG; -ENOTSUP (HY_SEARCH_GRAPH); -ENOMEM; -EEXIST when what is there has
 * another dim, metric or storage; -EBADMSG when it is no index or damaged; the
 * errors of hy_pager_reserve for path (-ENOMEM also when what an existing file
 * reserves is more addresses than are to be had). *out is untouched on
 * failure, and no file is made by a call that is refused with -EINVAL.
 */
HY_API int hy_index_create(hy_index **out, const hy_index_options *options);

/**
 * Ends an index; NULL is allowed. With a path everything is made durable first
 * and the error of that is returned (the index is gone all the same). No other
 * call may be running.
 */
HY_API int hy_index_destroy(hy_index *index);

/**
 * Inserts a vector of dim floats, which is copied; an id that exists is
 * replaced. 0; -EINVAL for a NULL or non-finite vector; -ENOMEM (nothing has
 * changed; a replaced vector's room is used again once the searches that were
 * running have ended); -EBADMSG when the index was found damaged. The writer's
 * call.
 */
HY_API int hy_index_insert(hy_index *index, uint64_t id, const float *vector);

/**
 * The same for a vector whose codes the caller has made already with
 * hy_vec_sq8_encode, on another thread perhaps, and with a number of the
 * caller's that stays beside it. For HY_METRIC_COSINE the vector and its codes
 * must be of unit length, or zero. codes may be NULL with HY_STORE_F32. The
 * writer's call.
 */
HY_API int hy_index_insert_encoded(hy_index *index, uint64_t id,
                                   const float *vector, hy_sq8 q,
                                   const int8_t *codes, uint64_t payload);

/**
 * The number that stands beside a vector; 0 after hy_index_insert. 0; -ENOENT;
 * -EBADMSG when the index was found damaged. The writer's call.
 */
HY_API int hy_index_payload(const hy_index *index, uint64_t id,
                            uint64_t *payload);

/** Removes a vector. 0; -ENOENT; -ENOMEM (nothing has changed); -EBADMSG when
 * the index was found damaged. The writer's call. */
HY_API int hy_index_remove(hy_index *index, uint64_t id);

/**
 * The k best by score, best first; ties by the smaller id. hits has room for k;
 * *count says how many there are. options may be NULL. 0; -EINVAL (NULL, or a
 * non-finite query); -E2BIG; -ENOMEM. Any thread, beside the writer.
 */
HY_API int hy_index_search(const hy_index *index, const float *query, size_t k,
                           const hy_search_options *options, hy_hit *hits,
                           size_t *count);

/**
 * The same, with the payload of each hit to payloads, which has room for k or
 * is NULL. A payload that leads somewhere, to a text perhaps, can be followed
 * beside the writer between a pin and its unpin: see hy_index_release_set.
 */
HY_API int hy_index_search_payloads(const hy_index *index, const float *query,
                                    size_t k, const hy_search_options *options,
                                    hy_hit *hits, uint64_t *payloads,
                                    size_t *count);

/**
 * Between the two, no payload that a search of this time finds is released.
 * A pin costs an atomic addition and makes nobody wait; but rows and payloads
 * that are removed meanwhile stay until its unpin, so keep it short. The result
 * is what unpin wants. Any thread; unpin may come from another.
 */
HY_API uint64_t hy_index_pin(const hy_index *index);
/** Ends a pin; once for each. */
HY_API void hy_index_unpin(const hy_index *index, uint64_t pin);

/** Told of a payload, other than 0, that no search can find any more and that
 * nobody has pinned; so is free what it leads to. */
typedef void (*hy_index_release)(void *ctx, uint64_t id, uint64_t payload);

/**
 * From now on release is called once for each payload whose vector was removed
 * or replaced: by the writer's calls and by hy_index_destroy, at a later
 * change, checkpoint or reclaim, never by the change itself. It must not call
 * the index. Where the process ended in between, it is called for the rest
 * after the reopening; so set it before the first of these calls. NULL: nobody
 * is told. 0, or -EINVAL. The writer's call.
 */
HY_API int hy_index_release_set(hy_index *index, hy_index_release release,
                                void *ctx);

/**
 * Calls release now for all that it would be called for later, but for what is
 * pinned: for who needs the room. 0, or -EINVAL. The writer's call.
 */
HY_API int hy_index_reclaim(hy_index *index);

/**
 * Makes all that was inserted and removed durable, all or none of it. 0 (also
 * for an index in memory or in a caller's heap, whose owner does this); the
 * errors of hy_pager_checkpoint. The writer's call.
 */
HY_API int hy_index_checkpoint(hy_index *index);

/**
 * The heap that the index lives in, for what belongs beside it: its own, with
 * root slots other than the index's free for the caller, or the caller's. What
 * is put there is durable with the next checkpoint. Only the writer may use it.
 */
HY_API hy_heap *hy_index_heap(const hy_index *index);

/** The paged memory under a heap of its own; NULL in a caller's heap. */
HY_API hy_pager *hy_index_pager(const hy_index *index);

/** Fills *out. 0, or -EINVAL. Any thread. */
HY_API int hy_index_stats_get(const hy_index *index, hy_index_stats *out);

HY_END_DECLS

#endif
