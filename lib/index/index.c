/*
 * index.c - the public face of the index: its memory, its checks, its calls.
 *
 *      path or nothing -> a pager of its own -> a heap of its own -> rows
 *      heap            -> the caller's heap                       -> rows
 *
 * Invariant: what reaches rows.c and scan.c is finite, and of unit length (or
 * zero) when the metric is the cosine, whose score is then the dot product.
 * Upstream: the program, pipeline. Downstream: rows.h, scan.h, pager.h, heap.h.
 */
#include <hyperion/index.h>

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hyperion/pager.h>

#include "options.h"
#include "process.h"
#include "rows.h"
#include "scan.h"
#include "trace.h"

struct hy_index {
    struct rows rows;
    hy_pager *pager; /* NULL in a caller's heap */
    hy_heap *heap;
    float *scratch; /* the writer's: a vector on its way in, and its codes */
    int8_t *codes;
    bool durable;
    _Atomic bool cold; /* opened from a file, and not searched yet */
    uint32_t forks;    /* of the process that it belongs to */
};

/* In a child of fork, which has nothing of the pager's memory. */
static bool is_stale(const hy_index *index)
{
    return index->pager != NULL && index->forks != hyi_process_forks();
}

/* Addresses asked for where the caller does not say, largest first: what is
 * not touched costs nothing. */
static const uint64_t memory_sizes[] = {(uint64_t)1 << 38, (uint64_t)1 << 36,
                                        (uint64_t)1 << 34, (uint64_t)1 << 32,
                                        (uint64_t)1 << 30};

static void report(const hy_index_options *o, int level, const char *format,
                   ...) __attribute__((format(printf, 3, 4)));

static void report(const hy_index_options *o, int level, const char *format,
                   ...)
{
    char line[512];
    va_list list;

    if (o->report.write == NULL)
        return;
    va_start(list, format);
    vsnprintf(line, sizeof(line), format, list);
    va_end(list);
    o->report.write(o->report.ctx, level, line);
}

/* A heap never grows, and a file keeps the size that it was made with. */
static void compare_sizes(const hy_index_options *o, const hy_pager *pager)
{
    uint64_t bytes = hy_pager_bytes(pager);

    if (o->reserve_bytes == 0 ||
        bytes - o->reserve_bytes < hy_pager_page_bytes(pager))
        return; /* whole pages are reserved */
    report(o, o->reserve_bytes > bytes ? HY_REPORT_WARNING : HY_REPORT_NOTE,
           "index: %s: made with %llu bytes reserved, which it keeps; "
           "reserve_bytes of %llu is for a new one",
           o->path, (unsigned long long)bytes,
           (unsigned long long)o->reserve_bytes);
}

static int reserve_new(struct hy_index *index, const hy_index_options *o,
                       const hy_pager_options *options)
{
    uint64_t least = hyi_rows_bytes_min(o);
    int r = -ENOMEM;

    if (o->reserve_bytes != 0 && o->reserve_bytes < least) {
        report(o, HY_REPORT_ERROR,
               "index: reserve_bytes of %llu is too small: the first vectors "
               "of %zu components take %llu",
               (unsigned long long)o->reserve_bytes, o->dim,
               (unsigned long long)least);
        return -EINVAL;
    }
    if (o->reserve_bytes != 0)
        return hy_pager_reserve(&index->pager, o->reserve_bytes, options);
    for (size_t i = 0; i < sizeof(memory_sizes) / sizeof(*memory_sizes); i++) {
        r = hy_pager_reserve(&index->pager, memory_sizes[i], options);
        if (r != -ENOMEM && r != -EFBIG)
            break;
    }
    return r;
}

static int reserve_memory(struct hy_index *index, const hy_index_options *o)
{
    hy_pager_options options = HY_PAGER_OPTIONS_INIT;
    bool may_create = !(o->flags & HY_INDEX_EXISTING);
    int r;

    options.path = o->path;
    options.report = o->report;
    if (o->path == NULL) {
        options.flags = hy_pager_caps() & HY_PAGER_CAP_HUGE ? HY_PAGER_HUGE : 0;
        return reserve_new(index, o, &options);
    }
    options.flags = may_create ? HY_PAGER_CREATE : 0;
    r = hy_pager_reserve(&index->pager, 0, &options);
    if (r == 0)
        compare_sizes(o, index->pager);
    else if (r == -EINVAL && may_create && o->dim != 0)
        r = reserve_new(index, o, &options); /* there is none yet */
    return r; /* -EINVAL: a new file needs a dim, and none is made */
}

/* A file is new when nothing was ever written to its first page. */
static bool is_blank(const void *base)
{
    const uint64_t *words = base;

    for (size_t i = 0; i < 512; i++)
        if (words[i] != 0)
            return false;
    return true;
}

static int make_memory(struct hy_index *index, const hy_index_options *o)
{
    int r = reserve_memory(index, o);
    void *base;
    size_t bytes;

    if (r != 0)
        return r;
    base = hy_pager_base(index->pager);
    bytes = (size_t)hy_pager_bytes(index->pager);
    index->durable = o->path != NULL;
    atomic_store_explicit(&index->cold, index->durable, memory_order_relaxed);
    if (is_blank(base))
        return hy_heap_format(&index->heap, base, bytes);
    return hy_heap_attach(&index->heap, base, bytes);
}

static int check_options(hy_index_options *o)
{
    if (o->metric == 0)
        o->metric = HY_METRIC_COSINE;
    if (o->dim > HY_INDEX_DIM_MAX || (o->flags & ~HY_INDEX_EXISTING) != 0 ||
        o->metric < HY_METRIC_DOT || o->metric > HY_METRIC_L2 ||
        o->storage > HY_STORE_F32 || o->search > HY_SEARCH_GRAPH ||
        (o->heap != NULL && (o->path != NULL || o->reserve_bytes != 0)))
        return -EINVAL;
    if (o->dim == 0 && o->path == NULL && o->heap == NULL)
        return -EINVAL; /* there is none that could tell */
    return o->search == HY_SEARCH_GRAPH ? -ENOTSUP : 0;
}

static void free_index(struct hy_index *index)
{
    if (index->rows.head != NULL)
        hyi_rows_close(&index->rows);
    if (index->pager != NULL && index->heap != NULL)
        hy_heap_destroy(index->heap);
    free(index->scratch);
    free(index->codes);
    free(index);
}

static int make_scratch(struct hy_index *index)
{
    index->scratch = malloc(index->rows.head->dim * sizeof(float));
    index->codes = malloc(index->rows.head->dim);
    return index->scratch != NULL && index->codes != NULL ? 0 : -ENOMEM;
}

int hy_index_create(hy_index **out, const hy_index_options *options)
{
    hy_index_options o;
    hy_index *index;
    int r;

    if (out == NULL)
        return -EINVAL;
    r = hyi_options_read(&o, sizeof(o), options);
    if (r == 0)
        r = check_options(&o);
    if (r != 0)
        return r;
    index = calloc(1, sizeof(*index));
    if (index == NULL)
        return -ENOMEM;
    index->forks = hyi_process_forks();
    index->heap = o.heap;
    if (o.heap == NULL)
        r = make_memory(index, &o);
    if (r == 0)
        r = hyi_rows_open(&index->rows, index->heap, &o);
    if (r == 0)
        r = make_scratch(index);
    if (r != 0) {
        hy_pager *pager = index->pager;

        free_index(index);
        if (pager != NULL)
            hy_pager_release(pager);
        return r;
    }
    *out = index;
    return 0;
}

int hy_index_destroy(hy_index *index)
{
    hy_pager *pager;
    bool durable;
    int r = 0;

    if (index == NULL)
        return 0;
    pager = index->pager;
    if (is_stale(index))
        return hy_pager_release(pager);
    durable = index->durable;
    free_index(index);
    if (pager == NULL)
        return 0;
    if (durable)
        r = hy_pager_checkpoint(pager);
    hy_pager_release(pager);
    return r;
}

/*
 * The vector as it is stored: checked, and of unit length for the cosine. The
 * largest component is scaled to 1 first, so that no square overflows.
 */
static int prepare(const struct rows *rows, const float *in, float *out)
{
    size_t dim = rows->head->dim;
    float largest = 0, length;

    for (size_t i = 0; i < dim; i++) {
        if (!isfinite(in[i]))
            return -EINVAL;
        if (fabsf(in[i]) > largest)
            largest = fabsf(in[i]);
    }
    memcpy(out, in, dim * sizeof(float));
    if (rows->head->metric != HY_METRIC_COSINE || largest == 0)
        return 0;
    for (size_t i = 0; i < dim; i++)
        out[i] = in[i] / largest;
    length = sqrtf(hy_vec_dot_f32(out, out, dim));
    for (size_t i = 0; i < dim; i++)
        out[i] /= length;
    return 0;
}

int hy_index_insert(hy_index *index, uint64_t id, const float *vector)
{
    hy_sq8 q = {0, 0, 0, 0};
    int r;

    if (index == NULL || vector == NULL)
        return -EINVAL;
    if (is_stale(index))
        return -ESTALE;
    r = prepare(&index->rows, vector, index->scratch);
    if (r != 0)
        return r;
    if (index->rows.code_stride != 0)
        q = hy_vec_sq8_encode(index->scratch, index->rows.head->dim,
                              index->codes);
    return hy_index_insert_encoded(index, id, index->scratch, q, index->codes,
                                   0);
}

int hy_index_insert_encoded(hy_index *index, uint64_t id, const float *vector,
                            hy_sq8 q, const int8_t *codes, uint64_t payload)
{
    struct row_content content = {id, payload, vector, codes, q};

    if (index == NULL || vector == NULL ||
        (codes == NULL && index->rows.code_stride != 0))
        return -EINVAL;
    if (is_stale(index))
        return -ESTALE;
    for (size_t i = 0; i < index->rows.head->dim; i++)
        if (!isfinite(vector[i]))
            return -EINVAL;
    HYI_TRACE("insert", id);
    return hyi_rows_insert(&index->rows, &content);
}

int hy_index_payload(const hy_index *index, uint64_t id, uint64_t *payload)
{
    if (index == NULL || payload == NULL)
        return -EINVAL;
    if (is_stale(index))
        return -ESTALE;
    return hyi_rows_payload(&index->rows, id, payload);
}

int hy_index_remove(hy_index *index, uint64_t id)
{
    if (index == NULL)
        return -EINVAL;
    if (is_stale(index))
        return -ESTALE;
    return hyi_rows_remove(&index->rows, id);
}

int hy_index_release_set(hy_index *index, hy_index_release release, void *ctx)
{
    if (index == NULL)
        return -EINVAL;
    index->rows.release = release;
    index->rows.release_ctx = ctx;
    return 0;
}

int hy_index_reclaim(hy_index *index)
{
    if (index == NULL)
        return -EINVAL;
    hyi_rows_reclaim(&index->rows);
    return 0;
}

static void warm_array(const struct hy_index *index, const void *array,
                       uint64_t bytes)
{
    uint64_t base = (uint64_t)(uintptr_t)hy_pager_base(index->pager);

    if (array != NULL)
        hy_pager_touch(index->pager, (uint64_t)(uintptr_t)array - base, bytes,
                       HY_FOREVER);
}

/*
 * What the first search after an opening reads is mapped ahead, since there the
 * kernel maps page by page: 0.8 us each instead of 1.2 for a fault. A failure
 * leaves it to the faults.
 */
static void warm(const struct hy_index *index)
{
    const struct rows *rows = &index->rows;
    uint64_t end =
        atomic_load_explicit(&rows->head->row_count, memory_order_acquire);

    for (unsigned i = 0; i < SEGMENT_COUNT && segment_first(i) < end; i++) {
        const struct segment *s = &rows->segments[i];
        uint64_t rest = end - segment_first(i);
        uint64_t n = rest < segment_rows(i) ? rest : segment_rows(i);

        if (rows->code_stride == 0) {
            warm_array(index, s->floats,
                       n * rows->float_stride * sizeof(*s->floats));
            continue;
        }
        warm_array(index, s->codes, n * rows->code_stride);
        warm_array(index, s->terms, n * sizeof(*s->terms));
    }
}

/* Whether this is the first search. The note is the reader's business even
 * where the index is constant. Relaxed: who comes second at worst finds faults.
 */
static bool is_first_search(const struct hy_index *index)
{
    struct hy_index *mine = (struct hy_index *)(uintptr_t)index;

    return atomic_load_explicit(&mine->cold, memory_order_relaxed) &&
           atomic_exchange_explicit(&mine->cold, false, memory_order_relaxed);
}

uint64_t hy_index_pin(const hy_index *index)
{
    return hyi_rows_enter(&index->rows);
}

void hy_index_unpin(const hy_index *index, uint64_t pin)
{
    hyi_rows_leave(&index->rows, pin);
}

int hy_index_search(const hy_index *index, const float *query, size_t k,
                    const hy_search_options *options, hy_hit *hits,
                    size_t *count)
{
    return hy_index_search_payloads(index, query, k, options, hits, NULL,
                                    count);
}

int hy_index_search_payloads(const hy_index *index, const float *query,
                             size_t k, const hy_search_options *options,
                             hy_hit *hits, uint64_t *payloads, size_t *count)
{
    hy_search_options o;
    float *prepared;
    int r;

    if (index == NULL || query == NULL || count == NULL ||
        (hits == NULL && k != 0))
        return -EINVAL;
    if (is_stale(index))
        return -ESTALE;
    r = hyi_options_read(&o, sizeof(o), options);
    if (r != 0)
        return r;
    prepared = malloc(index->rows.head->dim * sizeof(float));
    if (prepared == NULL)
        return -ENOMEM;
    if (is_first_search(index))
        warm(index);
    r = prepare(&index->rows, query, prepared);
    if (r == 0 && k == 0)
        *count = 0;
    else if (r == 0)
        r = hyi_scan(&index->rows, prepared, k, &o, hits, payloads, count);
    free(prepared);
    return r;
}

int hy_index_checkpoint(hy_index *index)
{
    if (index == NULL)
        return -EINVAL;
    if (is_stale(index))
        return -ESTALE;
    hyi_rows_reclaim(&index->rows);
    return index->durable ? hy_pager_checkpoint(index->pager) : 0;
}

hy_heap *hy_index_heap(const hy_index *index)
{
    return index->heap;
}

hy_pager *hy_index_pager(const hy_index *index)
{
    return index->pager;
}

int hy_index_stats_get(const hy_index *index, hy_index_stats *out)
{
    hy_index_stats stats = {.size = sizeof(stats)};
    const struct index_head *head;

    if (index == NULL)
        return -EINVAL;
    if (is_stale(index))
        return -ESTALE;
    head = index->rows.head;
    stats.rows = atomic_load_explicit(&head->row_count, memory_order_relaxed);
    stats.count = atomic_load_explicit(&head->live_count, memory_order_relaxed);
    stats.dim = head->dim;
    stats.metric = (hy_metric)head->metric;
    stats.storage = head->storage;
    stats.scan_bytes =
        stats.rows * (index->rows.code_stride != 0
                          ? index->rows.code_stride + sizeof(struct row_term)
                          : index->rows.float_stride * sizeof(float));
    return hyi_struct_fill(out, &stats, sizeof(stats));
}
