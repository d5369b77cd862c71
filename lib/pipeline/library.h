/*
 * library.h - where a pipeline keeps its documents: texts and index in one
 * heap, in one paged memory, on one file.
 *
 *      index (with paged memory of its own, on a file or not)
 *        heap
 *          root 0 -> the index; the payload of a vector is the heap offset of
 *                    its document: | sizes | id | text | label | words |
 *          root 1 -> library_head: fingerprint, counts
 *                    -> holders: for each bucket of words, how many documents
 *                       have a word of it (words.h)
 *
 * One thread or fiber at a time (the pipeline's library_lock), but for what a
 * query does: it pins the index, searches it, reads the documents that the
 * payloads lead to, and waits for nobody. A document is freed when the index
 * says that no pin can come upon it any more.
 */
#ifndef HYI_PIPELINE_LIBRARY_H
#define HYI_PIPELINE_LIBRARY_H

#include <hyperion/heap.h>
#include <hyperion/index.h>
#include <hyperion/pager.h>
#include <hyperion/pipeline.h>
#include <hyperion/text.h>
#include <stdatomic.h>

#include "words.h"

/* In the heap, at root 1. */
struct library_head {
    uint64_t magic;
    uint64_t version;
    uint64_t fingerprint; /* of what the vectoriser makes of a fixed text */
    uint64_t text_bytes;  /* of all documents */
    _Atomic uint64_t word_count; /* likewise; relaxed: a figure for queries */
    uint64_t holders;            /* heap offset of WORD_BUCKETS counters */
};

struct library {
    hy_index *index;
    hy_pager *pager; /* the index's */
    hy_heap *heap;   /* the index's */
    hy_vectorizer *vectorizer;
    struct library_head *head;
    _Atomic uint32_t *holders; /* relaxed: a query may see half a change */
    size_t dim;
};

/* A document ready to be kept. */
struct entry {
    uint64_t id;
    const char *text, *label;
    size_t text_bytes, label_bytes;
    const float *vector;
    hy_sq8 sq8;
    const int8_t *codes;
    const struct words *words;
};

enum library_part { LIBRARY_TEXT, LIBRARY_LABEL };

/* Errors as hy_pipeline_open. */
int hyi_library_open(struct library *library,
                     const hy_pipeline_options *options);

/* The error of making the rest durable, or 0. */
int hyi_library_close(struct library *library);

/* 0, -ENOMEM or -EBADMSG; on an error the old document is still there. */
int hyi_library_put(struct library *library, const struct entry *entry);
int hyi_library_remove(struct library *library, uint64_t id);

/* What a query asks, beside the writer, of the documents as a whole. */
struct census {
    double documents;
    double mean_length; /* in words; not 0 */
};

struct census hyi_library_census(const struct library *library);

/* How much a word says, from its hash: the fewer have it, the more. Above 0. */
double hyi_library_rarity(const struct library *library,
                          const struct census *census, uint64_t hash);

/* The text that a search's payload leads to, while the index is pinned; NULL
 * when the store is damaged here. Beside the writer. */
const char *hyi_library_text(const struct library *library, uint64_t id,
                             uint64_t payload, size_t *bytes);

/* As hy_pipeline_document. */
int hyi_library_read(struct library *library, uint64_t id,
                     enum library_part part, char *buffer, size_t *bytes);

#endif
