/*
 * library.h - where a pipeline keeps its documents: texts and index in one
 * heap, in one paged memory, on one file.
 *
 *      index (with paged memory of its own, on a file or not)
 *        heap
 *          root 0 -> the index; the payload of a vector is the heap offset of
 *                    its document: | text_bytes | label_bytes | text | label |
 *          root 1 -> library_head: fingerprint, counts
 *
 * One thread or fiber at a time (the pipeline's library_lock), but for searches
 * of the index.
 */
#ifndef HYI_PIPELINE_LIBRARY_H
#define HYI_PIPELINE_LIBRARY_H

#include <hyperion/heap.h>
#include <hyperion/index.h>
#include <hyperion/pager.h>
#include <hyperion/pipeline.h>
#include <hyperion/text.h>

/* In the heap, at root 1. */
struct library_head {
    uint64_t magic;
    uint64_t version;
    uint64_t fingerprint; /* of what the vectoriser makes of a fixed text */
    uint64_t text_bytes;  /* of all documents */
};

struct library {
    hy_index *index;
    hy_pager *pager; /* the index's */
    hy_heap *heap;   /* the index's */
    hy_vectorizer *vectorizer;
    struct library_head *head;
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

/* The text of a document where it lies, until the next put or remove; NULL when
 * there is none. */
const char *hyi_library_text(struct library *library, uint64_t id,
                             size_t *bytes);

/* As hy_pipeline_document. */
int hyi_library_read(struct library *library, uint64_t id,
                     enum library_part part, char *buffer, size_t *bytes);

#endif
