/*
 * pipeline.c - the public face of the pipeline: opening, taking documents in,
 * asking, closing (pipeline.h has the picture, lane.h the inside).
 *
 * Invariant: a call that failed has taken nothing in.
 * Upstream: the program. Downstream: lane.h, library.h, text.h, index.h.
 */
#include <hyperion/pipeline.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lane.h"
#include "options.h"
#include "os.h"
#include "trace.h"

/*
 * All that can fail comes before the first fiber: on a runtime that is not run
 * yet there would be no waiting for one to end. So a second fiber that is not
 * to be had means fewer lanes.
 */
static int spawn_fibers(struct hy_pipeline *p, const hy_pipeline_options *o)
{
    char line[96];
    unsigned started = 0;
    int r = 0;

    for (; started < p->lane_count; started++) {
        r = hyi_lane_start(&p->lanes[started]);
        if (r != 0)
            break;
    }
    if (started == 0 || r == 0)
        return r;
    snprintf(line, sizeof(line),
             "pipeline: %u of %u lanes: no more fibers (error %d)", started,
             p->lane_count, -r);
    if (o->report.write != NULL)
        o->report.write(o->report.ctx, HY_REPORT_WARNING, line);
    while (p->lane_count > started)
        hyi_lane_destroy(&p->lanes[--p->lane_count]);
    return 0;
}

static int start_lanes(struct hy_pipeline *p, const hy_pipeline_options *o)
{
    unsigned count = o->lanes != 0 ? o->lanes : hyi_os_cpu_count();

    if (count > LANES_MAX)
        count = LANES_MAX;
    p->lanes =
        aligned_alloc(HYI_LINE_BYTES, hyi_align_up(count * sizeof(struct lane),
                                                   HYI_LINE_BYTES));
    if (p->lanes == NULL)
        return -ENOMEM;
    for (; p->lane_count < count; p->lane_count++) {
        int r = hyi_lane_init(&p->lanes[p->lane_count], p, o->queue_capacity);

        if (r != 0)
            return r;
    }
    return spawn_fibers(p, o);
}

/* The runtime last: it must outlive the lanes' fibers. Gives the error of
 * making the rest durable. */
static int free_pipeline(struct hy_pipeline *p)
{
    int r;

    hy_fiber_shield(1); /* a cancelled caller waits too */
    for (unsigned i = 0; i < p->lane_count; i++)
        hyi_lane_destroy(&p->lanes[i]);
    free(p->lanes);
    if (p->owns_runtime) {
        hy_runtime_stop(p->runtime);
        hy_runtime_wait(p->runtime, HY_FOREVER);
        hy_runtime_destroy(p->runtime);
    }
    hy_fiber_shield(0);
    r = hyi_library_close(&p->library);
    free(p);
    return r;
}

static int make_runtime(struct hy_pipeline *p)
{
    hy_runtime_options o = HY_RUNTIME_OPTIONS_INIT;
    int r;

    o.name = "pipeline";
    r = hy_runtime_init(&p->runtime, &o);
    if (r != 0)
        return r;
    r = hy_runtime_start(p->runtime);
    if (r != 0) {
        hy_runtime_destroy(p->runtime);
        return r;
    }
    p->owns_runtime = true;
    return 0;
}

int hy_pipeline_open(hy_pipeline **out, hy_runtime *rt,
                     const hy_pipeline_options *options)
{
    hy_pipeline_options o;
    struct hy_pipeline *p;
    int r;

    if (out == NULL)
        return -EINVAL;
    r = hyi_options_read(&o, sizeof(o), options);
    if (r != 0)
        return r;
    if (o.dim > HY_INDEX_DIM_MAX || (o.flags & ~HY_PIPELINE_EXISTING) != 0)
        return -EINVAL;
    p = calloc(1, sizeof(*p));
    if (p == NULL)
        return -ENOMEM;
    p->forks = hyi_process_forks();
    r = hyi_library_open(&p->library, &o);
    p->runtime = rt;
    if (r == 0 && rt == NULL)
        r = make_runtime(p);
    if (r == 0)
        r = start_lanes(p, &o);
    if (r != 0) {
        free_pipeline(p);
        return r;
    }
    *out = p;
    return 0;
}

/* Sends a message down the lane of its id. */
static int send(struct hy_pipeline *p, const hy_document *document,
                bool removes, hy_deadline until)
{
    /* Fibonacci hashing: neighbouring ids spread over the lanes. */
    uint64_t hash = (document->id * 0x9e3779b97f4a7c15u) >> 32;
    struct lane *lane = &p->lanes[hash % p->lane_count];
    struct message *m;
    int r;

    if (hyi_pipeline_is_stale(p))
        return -ESTALE;
    if (document->bytes > HY_PIPELINE_TEXT_MAX ||
        document->label_bytes > HY_PIPELINE_LABEL_MAX)
        return -EMSGSIZE;
    m = malloc(sizeof(*m) + document->bytes + document->label_bytes);
    if (m == NULL)
        return -ENOMEM;
    *m = (struct message){document->id, document->bytes, document->label_bytes,
                          removes};
    if (document->bytes != 0)
        memcpy(m->data, document->text, document->bytes);
    if (document->label_bytes != 0)
        memcpy(m->data + document->bytes, document->label,
               document->label_bytes);
    HYI_TRACE("ingest", document->id);
    r = hyi_lane_push(lane, m, until);
    if (r != 0)
        free(m);
    else
        atomic_fetch_add_explicit(&p->ingested, 1, memory_order_relaxed);
    return r;
}

int hy_pipeline_ingest(hy_pipeline *p, uint64_t id, const char *text,
                       size_t bytes, hy_deadline until)
{
    hy_document document = {sizeof(document), id, text, bytes, NULL, 0};

    return hy_pipeline_ingest_document(p, &document, until);
}

int hy_pipeline_ingest_document(hy_pipeline *p, const hy_document *document,
                                hy_deadline until)
{
    hy_document d;
    int r;

    if (p == NULL || document == NULL)
        return -EINVAL;
    r = hyi_options_read(&d, sizeof(d), document);
    if (r != 0)
        return r;
    if ((d.text == NULL && d.bytes != 0) ||
        (d.label == NULL && d.label_bytes != 0))
        return -EINVAL;
    return send(p, &d, false, until);
}

int hy_pipeline_remove(hy_pipeline *p, uint64_t id, hy_deadline until)
{
    hy_document document = {sizeof(document), id, NULL, 0, NULL, 0};

    return p == NULL ? -EINVAL : send(p, &document, true, until);
}

int hy_pipeline_flush(hy_pipeline *p, hy_deadline until)
{
    int r = 0;

    if (p == NULL)
        return -EINVAL;
    if (hyi_pipeline_is_stale(p))
        return -ESTALE;
    for (unsigned i = 0; r == 0 && i < p->lane_count; i++)
        r = hyi_lane_drain(&p->lanes[i], until);
    if (r == 0)
        r = hy_mutex_lock(&p->library_lock, until);
    if (r != 0)
        return r;
    r = hy_index_checkpoint(p->library.index);
    hy_mutex_unlock(&p->library_lock);
    return r != 0 ? r : atomic_exchange(&p->first_error, 0);
}

static int read_part(hy_pipeline *p, uint64_t id, enum library_part part,
                     char *buffer, size_t *bytes)
{
    int r;

    if (p == NULL || bytes == NULL || (buffer == NULL && *bytes != 0))
        return -EINVAL;
    if (hyi_pipeline_is_stale(p))
        return -ESTALE;
    r = hy_mutex_lock(&p->library_lock, HY_FOREVER);
    if (r != 0)
        return r;
    r = hyi_library_read(&p->library, id, part, buffer, bytes);
    hy_mutex_unlock(&p->library_lock);
    return r;
}

int hy_pipeline_document(hy_pipeline *p, uint64_t id, char *buffer,
                         size_t *bytes)
{
    return read_part(p, id, LIBRARY_TEXT, buffer, bytes);
}

int hy_pipeline_label(hy_pipeline *p, uint64_t id, char *buffer, size_t *bytes)
{
    return read_part(p, id, LIBRARY_LABEL, buffer, bytes);
}

hy_runtime *hy_pipeline_runtime(const hy_pipeline *p)
{
    return p->runtime;
}

hy_pager *hy_pipeline_pager(const hy_pipeline *p)
{
    return p->library.pager;
}

hy_ring *hy_pipeline_ring(const hy_pipeline *p, unsigned lane)
{
    return lane < p->lane_count ? p->lanes[lane].ring : NULL;
}

int hy_pipeline_stats_get(hy_pipeline *p, hy_pipeline_stats *out)
{
    hy_pipeline_stats stats = HY_PIPELINE_STATS_INIT;
    hy_pager_stats pager = {.size = sizeof(pager)};
    hy_heap_stats heap = {.size = sizeof(heap)};
    hy_index_stats index = {.size = sizeof(index)};
    int r;

    if (p == NULL || out == NULL)
        return -EINVAL;
    if (hyi_pipeline_is_stale(p))
        return -ESTALE;
    r = hy_mutex_lock(&p->library_lock, HY_FOREVER);
    if (r != 0)
        return r;
    hy_index_stats_get(p->library.index, &index);
    hy_pager_stats_get(p->library.pager, &pager);
    hy_heap_stats_get(p->library.heap, &heap);
    stats.text_bytes = p->library.head->text_bytes;
    hy_mutex_unlock(&p->library_lock);
    stats.documents = index.count;
    stats.ingested = atomic_load_explicit(&p->ingested, memory_order_relaxed);
    stats.failed = atomic_load_explicit(&p->failed, memory_order_relaxed);
    for (unsigned i = 0; i < p->lane_count; i++)
        stats.waiting += hyi_lane_waiting(&p->lanes[i]);
    stats.used_bytes = heap.used_bytes;
    stats.reserved_bytes = pager.reserved_bytes;
    stats.resident_bytes = pager.resident_bytes;
    stats.faults = pager.faults;
    stats.dim = index.dim;
    return hyi_struct_fill(out, &stats, sizeof(stats));
}

int hy_pipeline_close(hy_pipeline *p)
{
    int r, kept;

    if (p == NULL)
        return 0;
    if (hyi_pipeline_is_stale(p))
        return hy_index_destroy(p->library.index);
    r = hy_pipeline_flush(p, HY_FOREVER);
    kept = free_pipeline(p); /* what got through is kept in spite of r */
    return r != 0 ? r : kept;
}
