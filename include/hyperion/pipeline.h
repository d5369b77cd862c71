/*
 * pipeline.h - documents in, answers out: the whole of the library at work.
 *
 *      hy_pipeline_ingest -> ring -> fiber: tokens -> vector -> codes
 *                                           -> paged memory -> index
 *      hy_pipeline_query  -> vector -> index -> texts -> hits
 *
 * A document is a text with an id and, if wanted, a label. On a path the
 * documents and their index live in one file, survive restarts and kill -9,
 * and a flush makes them durable all at once or not at all. What is found is
 * what shares words, or their stems, with the query: it is lexical, and nothing
 * in it is learnt.
 *
 * Threads: every call may come from any thread or fiber, at the same time as
 * any other but close.
 *
 * fork: the child has neither the fibers nor the memory. Every call on a
 * pipeline of its parent is -ESTALE, but for hy_pipeline_close, which closes
 * the file there.
 */
#ifndef HYPERION_PIPELINE_H
#define HYPERION_PIPELINE_H

#include <hyperion/base.h>
#include <hyperion/index.h>
#include <hyperion/ring.h>
#include <hyperion/runtime.h>

HY_BEGIN_DECLS

#define HY_PIPELINE_TEXT_MAX  ((size_t)16 << 20) /**< bytes of one document */
#define HY_PIPELINE_LABEL_MAX ((size_t)64 << 10) /**< bytes of its label */

/** How a pipeline is made; see hy_pipeline_open. */
typedef struct hy_pipeline_options {
    size_t size;
    const char *path;      /**< the store; NULL: memory only */
    size_t dim;            /**< components of a vector; 0: those of the store,
                                or 256 for a new one */
    size_t queue_capacity; /**< documents that may wait; 0: 1024 a lane */
    unsigned lanes;        /**< analysing fibers; 0: one per usable processor;
                                fewer, which is reported, if the runtime has
                                room for fewer */
    unsigned flags;        /**< HY_PIPELINE_... */
    hy_report report;      /**< diagnostics */
    /**
     * Addresses that a new store reserves, in bytes, for all the texts and
     * vectors that it can ever hold, and the errors of that, as
     * hy_index_options.reserve_bytes. 0: 256 GiB, or the next smaller of 64,
     * 16, 4 and 1 GiB that is to be had.
     */
    uint64_t reserve_bytes;
} hy_pipeline_options;

#define HY_PIPELINE_OPTIONS_INIT                                               \
    {                                                                          \
        sizeof(hy_pipeline_options), NULL, 0, 0, 0, 0, {NULL, NULL}, 0         \
    }

/** Flags of hy_pipeline_options. */
enum hy_pipeline_flags {
    HY_PIPELINE_EXISTING = 1u << 0 /**< the store must exist: -ENOENT */
};

/** Documents and their index. Every call but close from any thread or fiber. */
typedef struct hy_pipeline hy_pipeline;

/** A document on its way in; text and label are copied. */
typedef struct hy_document {
    size_t size;
    uint64_t id;
    const char *text;
    size_t bytes;
    const char *label; /**< what the caller wants to know it by; may be NULL */
    size_t label_bytes;
} hy_document;

/** What hy_pipeline_stats_get fills. */
typedef struct hy_pipeline_stats {
    size_t size;
    uint64_t documents;      /**< stored and searchable */
    uint64_t text_bytes;     /**< of their texts */
    uint64_t ingested;       /**< accepted since open */
    uint64_t waiting;        /**< of those, not analysed yet */
    uint64_t failed;         /**< of those, lost to an error that flush told */
    uint64_t used_bytes;     /**< of the store: documents, vectors, index */
    uint64_t reserved_bytes; /**< addresses reserved for it */
    uint64_t resident_bytes; /**< in memory now */
    uint64_t faults;         /**< page faults that the pager answered */
    size_t dim;
} hy_pipeline_stats;

#define HY_PIPELINE_STATS_INIT                                                 \
    {                                                                          \
        sizeof(hy_pipeline_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0                \
    }

/**
 * Opens a pipeline whose fibers run on rt; with rt NULL it has a runtime of
 * its own. A runtime of the caller's must be running, or be run, for documents
 * to get through and for close to return.
 *
 * 0; -EINVAL (reserve_bytes too small for a new store, too: the report tells
 * what would do); -E2BIG; -ENOMEM (also when what the store reserves is more
 * addresses than are to be had); -ENOENT; -EBADMSG when path is no store or is
 * damaged; -EEXIST when the store has another dim, or was made by
 * a version that turns text into other words or vectors; -EBUSY when another
 * process has it open; other errors of the file. *out is untouched on failure.
 */
HY_API int hy_pipeline_open(hy_pipeline **out, hy_runtime *rt,
                            const hy_pipeline_options *options);

/**
 * Takes in a document; an id that exists is replaced. Two documents with one
 * id keep their order when they come from one thread. 0 means accepted:
 * searchable soon, durable after a flush.
 * -EINVAL; -EMSGSIZE (too long); -ENOMEM; -ETIMEDOUT when the queue stayed
 * full until the deadline; -ECANCELED when the caller or the pipeline's runtime
 * was cancelled. On an error nothing was taken in.
 */
HY_API int hy_pipeline_ingest(hy_pipeline *p, uint64_t id, const char *text,
                              size_t bytes, hy_deadline until);

/** The same with a label. Also -E2BIG for a document struct too new. */
HY_API int hy_pipeline_ingest_document(hy_pipeline *p,
                                       const hy_document *document,
                                       hy_deadline until);

/** Removes a document, in order with the ingests; no error when there is none.
 */
HY_API int hy_pipeline_remove(hy_pipeline *p, uint64_t id, hy_deadline until);

/**
 * Waits until all that was ingested before is searchable, and makes it
 * durable. 0; -ETIMEDOUT; -ECANCELED; else the first error that a document
 * met since the last flush (-ENOMEM: the store is full; -EBADMSG: the store
 * is damaged where the document was to go), or that of writing
 * (-ENOSPC, -EIO): what was durable before is so still, and a later flush
 * tries again.
 */
HY_API int hy_pipeline_flush(hy_pipeline *p, hy_deadline until);

/**
 * The k documents most like the text, best first, equal ones by id; *count says
 * how many, hits has room for k. A hit shares a word, or the stem of one, with
 * the text. Its score, above 0 and up to 1, is BM25's (Robertson and Zaragoza,
 * 2009; k1 1.2, b 0.75) divided by the most that a document could get; how rare
 * a word is comes from counts over all documents. The index proposes
 * candidates, 512, or 32 for each hit, or one in 256 of all documents if that
 * is more, and the words decide. Only the first 255 different words of the text
 * count.
 *
 * It waits for nobody and makes nobody wait: documents may come and go
 * meanwhile. A hit's text at the time of the search had those words; what
 * hy_pipeline_document then gives may be newer, or -ENOENT. Needs some 20 KB
 * and 13 bytes a component besides the candidates, and little stack.
 *
 * 0, also without a hit; -EINVAL; -ENOMEM; -ETIMEDOUT when the deadline passed
 * meanwhile, which is looked at after the scan and every 0.2 ms from then on
 * (with HY_NOW there is nothing to wait for, and no deadline); -ECANCELED in a
 * cancelled fiber. *count and hits are untouched on an error.
 */
HY_API int hy_pipeline_query(hy_pipeline *p, const char *text, size_t bytes,
                             size_t k, hy_hit *hits, size_t *count,
                             hy_deadline until);

/**
 * A document's text as it was ingested. *bytes is the room in buffer at first
 * and the text's length afterwards; buffer may be NULL when it is 0.
 * 0; -EINVAL; -ENOENT; -ENOBUFS (*bytes tells the length, buffer is
 * untouched); -EBADMSG (the store is damaged here); -ECANCELED in a cancelled
 * fiber.
 */
HY_API int hy_pipeline_document(hy_pipeline *p, uint64_t id, char *buffer,
                                size_t *bytes);

/** A document's label, likewise. */
HY_API int hy_pipeline_label(hy_pipeline *p, uint64_t id, char *buffer,
                             size_t *bytes);

/**
 * What a pipeline is made of, for monitors: its runtime, the paged memory of
 * its store, and the queue of its nth lane (NULL when there are not so many).
 * They belong to the pipeline; use them to look only.
 */
HY_API hy_runtime *hy_pipeline_runtime(const hy_pipeline *p);
/** Likewise. */
HY_API hy_pager *hy_pipeline_pager(const hy_pipeline *p);
/** Likewise. */
HY_API hy_ring *hy_pipeline_ring(const hy_pipeline *p, unsigned lane);

/** Fills *out. 0; -EINVAL; -ECANCELED in a cancelled fiber. */
HY_API int hy_pipeline_stats_get(hy_pipeline *p, hy_pipeline_stats *out);

/**
 * Flushes and ends the pipeline; NULL is allowed. The result is that of the
 * flush; the pipeline is gone in any case. No other call may be running.
 */
HY_API int hy_pipeline_close(hy_pipeline *p);

HY_END_DECLS

#endif
