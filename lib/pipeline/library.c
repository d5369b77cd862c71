/*
 * library.c - opening the store and keeping documents in it (library.h has the
 * picture).
 *
 * Invariant: a vector's payload is the offset of its document, which is freed
 * only after no vector leads to it.
 * Upstream: pipeline.c, analyse.c. Downstream: pager.h, heap.h, index.h.
 */
#include "library.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "check.h"

static const uint64_t library_magic = 0x736b6f6f62797248u; /* "Hrybooks" */

enum {
    LIBRARY_VERSION = 1,
    ROOT_INDEX = 0,
    ROOT_LIBRARY = 1,
    DIM_DEFAULT = 256
};

/* In the heap: a document; the text and the label follow. */
struct document {
    uint32_t text_bytes;
    uint32_t label_bytes;
    char data[];
};

static void report(const hy_pipeline_options *options, const char *what)
{
    char line[512];

    if (options->report.write == NULL)
        return;
    snprintf(line, sizeof(line), "pipeline store %s: %s",
             options->path != NULL ? options->path : "(memory)", what);
    options->report.write(options->report.ctx, HY_REPORT_ERROR, line);
}

/* FNV-1a over the floats that a fixed text becomes. */
static int fingerprint_of(const hy_vectorizer *vectorizer, size_t dim,
                          uint64_t *out)
{
    static const char text[] = "A small, striped animal that runs at night; "
                               "42 na\xc3\xafve r\xc3\xa9sum\xc3\xa9s.";
    float *vector = malloc(dim * sizeof(float));
    const unsigned char *bytes = (const unsigned char *)vector;
    uint64_t hash = 0xcbf29ce484222325u;
    int r;

    if (vector == NULL)
        return -ENOMEM;
    r = hy_text_vectorize(vectorizer, text, sizeof(text) - 1, vector);
    for (size_t i = 0; r == 0 && i < dim * sizeof(float); i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    free(vector);
    if (r == 0)
        *out = hash;
    return r;
}

static int open_index(struct library *library,
                      const hy_pipeline_options *options, size_t dim)
{
    hy_index_options o = HY_INDEX_OPTIONS_INIT;
    hy_index_stats stats = {.size = sizeof(stats)};
    int r;

    o.dim = dim;
    o.metric = HY_METRIC_DOT; /* of unit vectors: the cosine */
    o.path = options->path;
    o.root = ROOT_INDEX;
    o.flags = options->flags & HY_PIPELINE_EXISTING ? HY_INDEX_EXISTING : 0;
    o.report = options->report;
    o.reserve_bytes = options->reserve_bytes;
    r = hy_index_create(&library->index, &o);
    if (r != 0)
        return r;
    hy_index_stats_get(library->index, &stats);
    library->dim = stats.dim;
    library->pager = hy_index_pager(library->index);
    library->heap = hy_index_heap(library->index);
    return 0;
}

static int open_vectorizer(struct library *library)
{
    hy_vectorizer_options o = HY_VECTORIZER_OPTIONS_INIT;

    o.dim = library->dim;
    return hy_vectorizer_create(&library->vectorizer, &o);
}

static int make_head(struct library *library, uint64_t fingerprint)
{
    struct library_head *head = hy_heap_alloc(library->heap, sizeof(*head));

    if (head == NULL)
        return -ENOMEM;
    *head =
        (struct library_head){library_magic, LIBRARY_VERSION, fingerprint, 0};
    library->head = head;
    return hy_heap_root_set(library->heap, ROOT_LIBRARY,
                            hy_heap_offset(library->heap, head));
}

static int open_head(struct library *library,
                     const hy_pipeline_options *options)
{
    uint64_t at = hy_heap_root_get(library->heap, ROOT_LIBRARY);
    struct library_head *head = hy_heap_pointer(library->heap, at);
    uint64_t fingerprint = 0;
    int r = fingerprint_of(library->vectorizer, library->dim, &fingerprint);

    if (r != 0)
        return r;
    if (at == 0)
        return make_head(library, fingerprint);
    if (hy_heap_block_bytes(library->heap, head) < sizeof(*head) ||
        head->magic != library_magic || head->version != LIBRARY_VERSION) {
        report(options, "holds no documents of this version");
        return -EBADMSG;
    }
    library->head = head;
    if (head->fingerprint == fingerprint)
        return 0;
    report(options, "made by a version that turns text into other vectors: "
                    "index the documents into a new store");
    return -EEXIST;
}

int hyi_library_open(struct library *library,
                     const hy_pipeline_options *options)
{
    int r;

    memset(library, 0, sizeof(*library));
    r = open_index(library, options, options->dim);
    if (r == -EINVAL && options->dim == 0) /* a new one */
        r = open_index(library, options, DIM_DEFAULT);
    if (r == 0)
        r = open_vectorizer(library);
    if (r == 0)
        r = open_head(library, options);
    if (r != 0)
        hyi_library_close(library);
    return r;
}

int hyi_library_close(struct library *library)
{
    int r;

    hy_vectorizer_destroy(library->vectorizer);
    r = hy_index_destroy(library->index);
    memset(library, 0, sizeof(*library));
    return r;
}

/* The document that an id leads to; NULL in *out when there is none. What it
 * says of its length is believed no further than its block reaches. */
static int find_document(struct library *library, uint64_t id,
                         struct document **out)
{
    uint64_t offset = 0;
    int r = hy_index_payload(library->index, id, &offset);
    struct document *document;
    size_t room;

    *out = NULL;
    if (r == -ENOENT)
        return 0;
    if (r != 0)
        return r;
    document = hy_heap_pointer(library->heap, offset);
    room = hy_heap_block_bytes(library->heap, document);
    if (room < sizeof(*document) ||
        room - sizeof(*document) <
            (uint64_t)document->text_bytes + document->label_bytes)
        return -EBADMSG;
    *out = document;
    return 0;
}

static void free_document(struct library *library, struct document *document)
{
    if (document == NULL)
        return;
    library->head->text_bytes -= document->text_bytes;
    hy_heap_free(library->heap, document);
}

int hyi_library_put(struct library *library, const struct entry *entry)
{
    struct document *old, *document;
    int r = find_document(library, entry->id, &old);

    if (r != 0)
        return r;
    document =
        hy_heap_alloc(library->heap, sizeof(*document) + entry->text_bytes +
                                         entry->label_bytes);
    if (document == NULL)
        return -ENOMEM;
    document->text_bytes = (uint32_t)entry->text_bytes;
    document->label_bytes = (uint32_t)entry->label_bytes;
    memcpy(document->data, entry->text, entry->text_bytes);
    if (entry->label_bytes != 0)
        memcpy(document->data + entry->text_bytes, entry->label,
               entry->label_bytes);
    r = hy_index_insert_encoded(library->index, entry->id, entry->vector,
                                entry->sq8, entry->codes,
                                hy_heap_offset(library->heap, document));
    if (r != 0) {
        hy_heap_free(library->heap, document);
        return r;
    }
    library->head->text_bytes += entry->text_bytes;
    free_document(library, old);
    return 0;
}

int hyi_library_remove(struct library *library, uint64_t id)
{
    struct document *document;
    int r = find_document(library, id, &document);

    if (r != 0 || document == NULL)
        return r;
    r = hy_index_remove(library->index, id);
    if (r == 0)
        free_document(library, document);
    return r;
}

const char *hyi_library_text(struct library *library, uint64_t id,
                             size_t *bytes)
{
    struct document *document;

    if (find_document(library, id, &document) != 0 || document == NULL)
        return NULL;
    *bytes = document->text_bytes;
    return document->data;
}

int hyi_library_read(struct library *library, uint64_t id,
                     enum library_part part, char *buffer, size_t *bytes)
{
    struct document *document;
    size_t room = *bytes;
    const char *from;
    int r = find_document(library, id, &document);

    if (r != 0)
        return r;
    if (document == NULL)
        return -ENOENT;
    from = document->data;
    *bytes = document->text_bytes;
    if (part == LIBRARY_LABEL) {
        from += document->text_bytes;
        *bytes = document->label_bytes;
    }
    if (*bytes > room)
        return -ENOBUFS;
    if (*bytes != 0)
        memcpy(buffer, from, *bytes);
    return 0;
}
