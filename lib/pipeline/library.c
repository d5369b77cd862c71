/*
 * library.c - opening the store and keeping documents in it (library.h has the
 * picture).
 *
 * Invariant: a vector's payload is the offset of its document, which is freed
 * only when no vector leads to it and no query can still be reading it.
 * Upstream: pipeline.c, analyse.c, query.c. Downstream: heap.h, index.h,
 * words.h.
 */
#include "library.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "check.h"

static const uint64_t library_magic = 0x736b6f6f62797248u; /* "Hrybooks" */

enum {
    LIBRARY_VERSION = 2, /* counts words */
    ROOT_INDEX = 0,
    ROOT_LIBRARY = 1,
    DIM_DEFAULT = 256
};

/* In the heap: a document. Its text, its label and, at an even place, the
 * buckets of its words follow, to be taken off the counts when it goes. */
struct document {
    uint32_t text_bytes;
    uint32_t label_bytes;
    uint64_t id;
    uint32_t word_count;
    uint32_t bucket_count;
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
    void *holders =
        hy_heap_alloc(library->heap, WORD_BUCKETS * sizeof(uint32_t));

    if (head == NULL || holders == NULL) {
        hy_heap_free(library->heap, head);
        hy_heap_free(library->heap, holders);
        return -ENOMEM;
    }
    memset(head, 0, sizeof(*head));
    memset(holders, 0, WORD_BUCKETS * sizeof(uint32_t));
    head->magic = library_magic;
    head->version = LIBRARY_VERSION;
    head->fingerprint = fingerprint;
    head->holders = hy_heap_offset(library->heap, holders);
    library->head = head;
    library->holders = holders;
    return hy_heap_root_set(library->heap, ROOT_LIBRARY,
                            hy_heap_offset(library->heap, head));
}

/* What stands in the store, if this version can go on with it. */
static int check_head(struct library *library, struct library_head *head,
                      uint64_t fingerprint, const hy_pipeline_options *options)
{
    void *holders;

    if (hy_heap_block_bytes(library->heap, head) < sizeof(*head) ||
        head->magic != library_magic) {
        report(options, "holds no documents");
        return -EBADMSG;
    }
    if (head->version != LIBRARY_VERSION || head->fingerprint != fingerprint) {
        report(options, "made by a version that turns text into other vectors "
                        "or counts other words: index the documents into a "
                        "new store");
        return -EEXIST;
    }
    holders = hy_heap_pointer(library->heap, head->holders);
    if (hy_heap_block_bytes(library->heap, holders) <
        WORD_BUCKETS * sizeof(uint32_t)) {
        report(options, "damaged where it counts words");
        return -EBADMSG;
    }
    library->head = head;
    library->holders = holders;
    return 0;
}

static int open_head(struct library *library,
                     const hy_pipeline_options *options)
{
    uint64_t at = hy_heap_root_get(library->heap, ROOT_LIBRARY);
    uint64_t fingerprint = 0;
    int r = fingerprint_of(library->vectorizer, library->dim, &fingerprint);

    if (r != 0)
        return r;
    if (at == 0)
        return make_head(library, fingerprint);
    return check_head(library, hy_heap_pointer(library->heap, at), fingerprint,
                      options);
}

/* The index tells of a document that nobody can come upon any more. The id
 * must agree: in a damaged store the payload may lead anywhere. */
static void free_document(void *ctx, uint64_t id, uint64_t payload)
{
    struct library *library = ctx;
    struct document *document = hy_heap_pointer(library->heap, payload);

    if (hy_heap_block_bytes(library->heap, document) >= sizeof(*document) &&
        document->id == id)
        hy_heap_free(library->heap, document);
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
    if (r == 0)
        r = hy_index_release_set(library->index, free_document, library);
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

/* Where the buckets are, from data. */
static size_t buckets_at(const struct document *document)
{
    size_t end = (size_t)document->text_bytes + document->label_bytes;

    return hyi_align_up(end, sizeof(uint16_t));
}

static size_t document_bytes(const struct document *document)
{
    return sizeof(*document) + buckets_at(document) +
           (size_t)document->bucket_count * sizeof(uint16_t);
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
    if (room < sizeof(*document) || document->id != id ||
        room < document_bytes(document))
        return -EBADMSG;
    *out = document;
    return 0;
}

/* --- words -----------------------------------------------------------------
 */

/* Relaxed, all of it: see library.h. Only the holder of library_lock writes,
 * so that a load and a store make an addition. */
static void count_bucket(struct library *library, unsigned bucket, int one)
{
    _Atomic uint32_t *holders = &library->holders[bucket % WORD_BUCKETS];
    uint32_t n = atomic_load_explicit(holders, memory_order_relaxed);

    if (one > 0 || n != 0) /* 0 only in a damaged store */
        atomic_store_explicit(holders, n + (uint32_t)one, memory_order_relaxed);
}

/* A document has come (1) or gone (-1). */
static void count_words(struct library *library,
                        const struct document *document, int one)
{
    _Atomic uint64_t *total = &library->head->word_count;
    const char *at = document->data + buckets_at(document);
    uint64_t n = atomic_load_explicit(total, memory_order_relaxed);
    uint16_t bucket;

    for (uint32_t i = 0; i < document->bucket_count; i++) {
        memcpy(&bucket, at + i * sizeof(bucket), sizeof(bucket));
        count_bucket(library, bucket, one);
    }
    n = one > 0 ? n + document->word_count : n - document->word_count;
    atomic_store_explicit(total, n, memory_order_relaxed);
    if (one > 0)
        library->head->text_bytes += document->text_bytes;
    else
        library->head->text_bytes -= document->text_bytes;
}

struct census hyi_library_census(const struct library *library)
{
    struct census census = {0, 1};
    hy_index_stats stats = {.size = sizeof(stats)};
    uint64_t words =
        atomic_load_explicit(&library->head->word_count, memory_order_relaxed);

    hy_index_stats_get(library->index, &stats);
    census.documents = (double)stats.count;
    if (words > stats.count && stats.count != 0)
        census.mean_length = (double)words / census.documents;
    return census;
}

double hyi_library_rarity(const struct library *library,
                          const struct census *census, uint64_t hash)
{
    double holders = atomic_load_explicit(&library->holders[word_bucket(hash)],
                                          memory_order_relaxed);

    if (holders > census->documents)
        holders = census->documents;
    return log(1 + (census->documents - holders + 0.5) / (holders + 0.5));
}

/* --- documents -------------------------------------------------------------
 */

static struct document *make_document(struct library *library,
                                      const struct entry *entry)
{
    const struct words *words = entry->words;
    struct document head = {.text_bytes = (uint32_t)entry->text_bytes,
                            .label_bytes = (uint32_t)entry->label_bytes,
                            .id = entry->id,
                            .word_count = words->length,
                            .bucket_count = words->count};
    struct document *document =
        hy_heap_alloc(library->heap, document_bytes(&head));

    if (document == NULL)
        return NULL;
    *document = head;
    if (entry->text_bytes != 0)
        memcpy(document->data, entry->text, entry->text_bytes);
    if (entry->label_bytes != 0)
        memcpy(document->data + entry->text_bytes, entry->label,
               entry->label_bytes);
    memcpy(document->data + buckets_at(document), words->buckets,
           words->count * sizeof(*words->buckets));
    return document;
}

int hyi_library_put(struct library *library, const struct entry *entry)
{
    struct document *old, *document;
    int r = find_document(library, entry->id, &old);

    if (r != 0)
        return r;
    document = make_document(library, entry);
    if (document == NULL) { /* what has just gone may leave the room */
        hy_index_reclaim(library->index);
        document = make_document(library, entry);
    }
    if (document == NULL)
        return -ENOMEM;
    r = hy_index_insert_encoded(library->index, entry->id, entry->vector,
                                entry->sq8, entry->codes,
                                hy_heap_offset(library->heap, document));
    if (r != 0) {
        hy_heap_free(library->heap, document);
        return r;
    }
    if (old != NULL) /* released by a later call at the earliest */
        count_words(library, old, -1);
    count_words(library, document, 1);
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
        count_words(library, document, -1);
    return r;
}

/*
 * What the document says of itself is believed no further than that it is the
 * id's and ends inside the heap: the heap's own word for it is the writer's.
 */
const char *hyi_library_text(const struct library *library, uint64_t id,
                             uint64_t payload, size_t *bytes)
{
    const struct document *document = hy_heap_pointer(library->heap, payload);
    uint64_t last = payload + sizeof(*document) - 1;

    if (document == NULL || payload % HY_HEAP_ALIGN != 0 ||
        document->id != id || document->text_bytes > HY_PIPELINE_TEXT_MAX ||
        hy_heap_pointer(library->heap, last + document->text_bytes) == NULL)
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
