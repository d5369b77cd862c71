/*
 * top_figures.c - the figures of each kind, by name and place.
 * Upstream: top_json.c, top_prometheus.c. Downstream: hyperion/monitor.h.
 */
#include "top.h"

#include <stddef.h>
#include <string.h>

#define GAUGE(type, member)                                                    \
    {                                                                          \
#member, offsetof(type, member), false                                 \
    }
#define COUNTER(type, member)                                                  \
    {                                                                          \
#member, offsetof(type, member), true                                  \
    }

static const struct figure process_figures[] = {
    GAUGE(hy_monitor_sample, resident_bytes),
    COUNTER(hy_monitor_sample, minor_faults),
    COUNTER(hy_monitor_sample, major_faults),
    GAUGE(hy_monitor_sample, patch_modules),
    GAUGE(hy_monitor_sample, patch_sites),
    GAUGE(hy_monitor_sample, patch_decided),
    COUNTER(hy_monitor_sample, patch_switches),
    COUNTER(hy_monitor_sample, patch_failures),
    GAUGE(hy_monitor_sample, patch_max_ns),
};

static const struct figure runtime_figures[] = {
    GAUGE(hy_monitor_runtime, workers),
    GAUGE(hy_monitor_runtime, workers_idle),
    COUNTER(hy_monitor_runtime, spawned),
    COUNTER(hy_monitor_runtime, ended),
    COUNTER(hy_monitor_runtime, switches),
    COUNTER(hy_monitor_runtime, parks),
    COUNTER(hy_monitor_runtime, steals),
    GAUGE(hy_monitor_runtime, ready),
    GAUGE(hy_monitor_runtime, timers),
    GAUGE(hy_monitor_runtime, stacks),
    GAUGE(hy_monitor_runtime, stack_maps),
    GAUGE(hy_monitor_runtime, guards_installed),
    GAUGE(hy_monitor_runtime, guards_protected),
    GAUGE(hy_monitor_runtime, stacks_kept),
    COUNTER(hy_monitor_runtime, stacks_trimmed),
    GAUGE(hy_monitor_runtime, huge_stack_bytes),
    GAUGE(hy_monitor_runtime, huge_page_bytes),
    COUNTER(hy_monitor_runtime, events),
    COUNTER(hy_monitor_runtime, events_dropped),
};

static const struct figure ring_figures[] = {
    GAUGE(hy_monitor_ring, capacity),     GAUGE(hy_monitor_ring, item_bytes),
    GAUGE(hy_monitor_ring, depth),        COUNTER(hy_monitor_ring, pushed),
    COUNTER(hy_monitor_ring, popped),     COUNTER(hy_monitor_ring, lost),
    COUNTER(hy_monitor_ring, push_parks), COUNTER(hy_monitor_ring, pop_parks),
    COUNTER(hy_monitor_ring, push_wakes), COUNTER(hy_monitor_ring, pop_wakes),
};

static const struct figure pager_figures[] = {
    GAUGE(hy_monitor_pager, reserved_bytes),
    GAUGE(hy_monitor_pager, resident_bytes),
    GAUGE(hy_monitor_pager, dirty_bytes),
    GAUGE(hy_monitor_pager, pinned_bytes),
    GAUGE(hy_monitor_pager, page_bytes),
    GAUGE(hy_monitor_pager, cluster_bytes),
    COUNTER(hy_monitor_pager, faults),
    COUNTER(hy_monitor_pager, commits),
    COUNTER(hy_monitor_pager, decommits),
    COUNTER(hy_monitor_pager, evictions),
    COUNTER(hy_monitor_pager, write_backs),
    COUNTER(hy_monitor_pager, checkpoints),
    GAUGE(hy_monitor_pager, log_bytes),
    GAUGE(hy_monitor_pager, mappings),
    GAUGE(hy_monitor_pager, process_mappings),
    GAUGE(hy_monitor_pager, mappings_limit),
};

static const struct figure slab_figures[] = {
    GAUGE(hy_monitor_slab, object_bytes),
    GAUGE(hy_monitor_slab, chunk_bytes),
    GAUGE(hy_monitor_slab, live_objects),
    GAUGE(hy_monitor_slab, held_bytes),
    GAUGE(hy_monitor_slab, peak_held_bytes),
    GAUGE(hy_monitor_slab, metadata_bytes),
    GAUGE(hy_monitor_slab, limit_bytes),
    GAUGE(hy_monitor_slab, chunks),
    GAUGE(hy_monitor_slab, empty_chunks),
    GAUGE(hy_monitor_slab, caches),
    COUNTER(hy_monitor_slab, remote_frees),
    COUNTER(hy_monitor_slab, adopted_chunks),
    COUNTER(hy_monitor_slab, failed_allocs),
    COUNTER(hy_monitor_slab, refused_frees),
};

static const struct figure pipeline_figures[] = {
    GAUGE(hy_monitor_pipeline, documents),
    GAUGE(hy_monitor_pipeline, text_bytes),
    COUNTER(hy_monitor_pipeline, ingested),
    GAUGE(hy_monitor_pipeline, waiting),
    COUNTER(hy_monitor_pipeline, failed),
    GAUGE(hy_monitor_pipeline, used_bytes),
    GAUGE(hy_monitor_pipeline, reserved_bytes),
    GAUGE(hy_monitor_pipeline, resident_bytes),
    COUNTER(hy_monitor_pipeline, faults),
    GAUGE(hy_monitor_pipeline, dim),
};

static const struct figure heap_figures[] = {
    GAUGE(hy_monitor_heap, region_bytes),
    GAUGE(hy_monitor_heap, metadata_bytes),
    GAUGE(hy_monitor_heap, used_bytes),
    GAUGE(hy_monitor_heap, free_bytes),
    GAUGE(hy_monitor_heap, largest_free_bytes),
    GAUGE(hy_monitor_heap, peak_used_bytes),
    GAUGE(hy_monitor_heap, allocations),
    COUNTER(hy_monitor_heap, allocs),
    COUNTER(hy_monitor_heap, frees),
    COUNTER(hy_monitor_heap, failed_allocs),
    COUNTER(hy_monitor_heap, refused_frees),
    GAUGE(hy_monitor_heap, damaged),
};

static const struct figure code_figures[] = {
    GAUGE(hy_monitor_code, regions),
    GAUGE(hy_monitor_code, mapped_bytes),
    GAUGE(hy_monitor_code, used_bytes),
    GAUGE(hy_monitor_code, kernels),
    COUNTER(hy_monitor_code, published),
    COUNTER(hy_monitor_code, emitted_bytes),
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define KIND(name, plural)                                                     \
    {                                                                          \
#name, #plural, offsetof(hy_monitor_sample, plural),                   \
            sizeof(hy_monitor_##name),                                         \
            offsetof(hy_monitor_sample, name##_count), name##_figures,         \
            COUNT(name##_figures)                                              \
    }

const struct kind top_kinds[] = {
    KIND(runtime, runtimes),   KIND(ring, rings),
    KIND(pager, pagers),       KIND(heap, heaps),
    KIND(code, codes),         KIND(slab, slabs),
    KIND(pipeline, pipelines), {NULL, NULL, 0, 0, 0, NULL, 0},
};

const struct kind top_process = {
    "process", NULL, 0, 0, 0, process_figures, COUNT(process_figures)};

uint32_t kind_count(const struct kind *k, const hy_monitor_sample *s)
{
    uint32_t n;

    memcpy(&n, (const char *)s + k->count, sizeof(n));
    return n;
}

const char *kind_row(const struct kind *k, const hy_monitor_sample *s,
                     uint32_t i)
{
    return (const char *)s + k->rows + i * k->row_bytes;
}

uint64_t figure_of(const struct figure *f, const char *row)
{
    uint64_t value;

    memcpy(&value, row + f->offset, sizeof(value));
    return value;
}

const char *fiber_state(uint32_t state)
{
    static const char *const names[] = {"?", "new", "ready", "running",
                                        "parked"};

    return names[state < COUNT(names) ? state : 0];
}

const char *patch_way(uint64_t mechanism)
{
    static const char *const names[] = {"load and branch", "store", "remap"};

    return mechanism < COUNT(names) ? names[mechanism] : "?";
}
