/*
 * sample.c - one function for each kind of object that can be watched: its
 * statistics, copied into a row of the sample.
 *
 * Invariant: a row holds what was measured; a call that fails adds no row.
 * Upstream: monitor.c. Downstream: the public ..._stats_get functions.
 */
#include "sample.h"

#include <hyperion/fiber.h>
#include <hyperion/heap.h>
#include <hyperion/jit.h>
#include <hyperion/pager.h>
#include <hyperion/patch.h>
#include <hyperion/pipeline.h>
#include <hyperion/ring.h>
#include <hyperion/slab.h>
#include <string.h>

#include "isa.h"
#include "options.h"
#include "os.h"

_Static_assert(HY_MONITOR_LATENCY == HY_PAGER_LATENCY_ROWS,
               "the rows of the histogram are copied");

unsigned hyi_sample_room(hy_monitor_kind kind)
{
    switch (kind) {
    case HY_MONITOR_RUNTIME:
        return HY_MONITOR_RUNTIMES;
    case HY_MONITOR_RING:
        return HY_MONITOR_RINGS;
    case HY_MONITOR_PAGER:
        return HY_MONITOR_PAGERS;
    case HY_MONITOR_HEAP:
        return HY_MONITOR_HEAPS;
    case HY_MONITOR_CODE:
        return HY_MONITOR_CODES;
    case HY_MONITOR_SLAB:
        return HY_MONITOR_SLABS;
    case HY_MONITOR_PIPELINE:
        return HY_MONITOR_PIPELINES;
    }
    return 0;
}

static void set_name(char *name, const struct hyi_watched *w, const char *own,
                     const char *kind)
{
    const char *chosen = w->name;

    if (chosen[0] == '\0')
        chosen = own != NULL && own[0] != '\0' ? own : kind;
    hyi_name_copy(name, HY_MONITOR_NAME, chosen);
}

/* --- a runtime and its fibers --------------------------------------------- */

static int add_fiber(const hy_fiber_info *info, void *arg)
{
    hy_monitor_sample *s = arg;
    hy_monitor_fiber *f;

    if (s->fiber_count == HY_MONITOR_FIBERS)
        return 1; /* enough: a million fibers cost no more than these */
    f = &s->fibers[s->fiber_count++];
    f->id = info->fiber.id;
    hyi_name_copy(f->name, sizeof(f->name), info->name);
    if (info->state == HY_FIBER_PARKED)
        hyi_name_copy(f->reason, sizeof(f->reason), info->reason);
    f->state = info->state;
    f->worker = (uint32_t)info->worker;
    f->stack_bytes = info->stack_bytes;
    f->stack_used_bytes = info->stack_used_bytes;
    f->stack_peak_bytes = info->stack_peak_bytes;
    f->switches = info->switches;
    f->run_ns = info->run_ns;
    f->wait_ns = info->wait_ns;
    f->delay_ns = info->delay_ns;
    return 0;
}

static void add_measures(hy_monitor_runtime *row, const hy_runtime *rt)
{
    for (int i = 0; i < HY_MEASURES; i++) {
        row->measure[i].size = sizeof(row->measure[i]);
        if (hy_runtime_histogram_get(rt, (hy_measure)(i + 1),
                                     &row->measure[i]) != 0)
            row->measure[i].size = 0;
    }
}

static void add_runtime(hy_monitor_sample *s, const struct hyi_watched *w)
{
    hy_runtime *rt = (hy_runtime *)(uintptr_t)w->object;
    hy_runtime_stats t = {.size = sizeof(t)};
    hy_monitor_runtime *row = &s->runtimes[s->runtime_count];

    if (hy_runtime_stats_get(rt, &t) != 0)
        return;
    set_name(row->name, w, t.name, "runtime");
    row->workers = t.workers;
    row->workers_idle = t.workers_idle;
    row->spawned = t.spawned;
    row->ended = t.ended;
    row->switches = t.switches;
    row->parks = t.parks;
    row->steals = t.steals;
    row->ready = t.ready;
    row->timers = t.timers;
    row->stacks = t.stacks;
    row->stack_maps = t.stack_maps;
    row->guards_installed = t.guards_installed;
    row->guards_protected = t.guards_protected;
    row->stacks_kept = t.stacks_kept;
    row->stacks_trimmed = t.stacks_trimmed;
    row->huge_stack_bytes = t.huge_stack_bytes;
    row->huge_page_bytes = t.huge_page_bytes;
    row->flags = t.flags;
    row->events = t.events;
    row->events_dropped = t.events_dropped;
    memcpy(row->parked, t.parked, sizeof(row->parked));
    add_measures(row, rt);
    row->fiber_index = s->fiber_count;
    hy_fiber_each(rt, add_fiber, s);
    row->fiber_count = s->fiber_count - row->fiber_index;
    s->runtime_count++;
}

/* --- the others ----------------------------------------------------------- */

static void add_ring(hy_monitor_sample *s, const struct hyi_watched *w)
{
    hy_ring_stats t = {.size = sizeof(t)};
    hy_monitor_ring *row = &s->rings[s->ring_count];

    if (hy_ring_stats_get(w->object, &t) != 0)
        return;
    set_name(row->name, w, NULL, "ring");
    row->capacity = t.capacity;
    row->item_bytes = t.item_bytes;
    /* The two counters are read one after the other while both move. */
    row->depth = t.pushed > t.popped ? t.pushed - t.popped : 0;
    if (row->depth > t.capacity)
        row->depth = t.capacity;
    row->pushed = t.pushed;
    row->popped = t.popped;
    row->lost = t.lost;
    row->push_parks = t.push_parks;
    row->pop_parks = t.pop_parks;
    row->push_wakes = t.push_wakes;
    row->pop_wakes = t.pop_wakes;
    s->ring_count++;
}

static const char *pager_mechanism(unsigned mechanism)
{
    switch (mechanism) {
    case HY_PAGER_KERNEL:
        return "kernel";
    case HY_PAGER_SIGNAL:
        return "signal";
    case HY_PAGER_UFFD:
        return "userfaultfd";
    }
    return "unknown";
}

static void add_heat(hy_monitor_pager *row, const hy_pager *pager)
{
    uint64_t pages = row->reserved_bytes / row->page_bytes;
    uint32_t count =
        (uint32_t)(pages < HY_MONITOR_HEAT ? pages : HY_MONITOR_HEAT);

    if (count != 0 &&
        hy_pager_heat(pager, 0, row->reserved_bytes, row->heat, count) == 0)
        row->heat_count = count;
}

static void add_pager(hy_monitor_sample *s, const struct hyi_watched *w,
                      bool heat)
{
    hy_pager_stats t = {.size = sizeof(t)};
    hy_monitor_pager *row = &s->pagers[s->pager_count];

    if (hy_pager_stats_get(w->object, &t) != 0)
        return;
    set_name(row->name, w, NULL, "pager");
    hyi_name_copy(row->mechanism, sizeof(row->mechanism),
                  pager_mechanism(t.mechanism));
    row->reserved_bytes = t.reserved_bytes;
    row->resident_bytes = t.resident_bytes;
    row->dirty_bytes = t.dirty_bytes;
    row->pinned_bytes = t.pinned_bytes;
    row->page_bytes = t.page_bytes;
    row->cluster_bytes = t.cluster_bytes;
    row->faults = t.faults;
    row->commits = t.commits;
    row->decommits = t.decommits;
    row->evictions = t.evictions;
    row->write_backs = t.write_backs;
    row->checkpoints = t.checkpoints;
    row->log_bytes = t.log_bytes;
    row->mappings = t.mappings;
    row->process_mappings = t.process_mappings;
    row->mappings_limit = t.mappings_limit;
    memcpy(row->fault_ns, t.fault_ns, sizeof(row->fault_ns));
    if (heat && t.page_bytes != 0)
        add_heat(row, w->object);
    s->pager_count++;
}

static void add_heap(hy_monitor_sample *s, const struct hyi_watched *w)
{
    hy_heap_stats t = HY_HEAP_STATS_INIT;
    hy_monitor_heap *row = &s->heaps[s->heap_count];

    if (hy_heap_stats_get(w->object, &t) != 0)
        return;
    set_name(row->name, w, t.name, "heap");
    row->region_bytes = t.region_bytes;
    row->metadata_bytes = t.metadata_bytes;
    row->used_bytes = t.used_bytes;
    row->free_bytes = t.free_bytes;
    row->largest_free_bytes = t.largest_free_bytes;
    row->peak_used_bytes = t.peak_used_bytes;
    row->allocations = t.allocations;
    row->allocs = t.allocs;
    row->frees = t.frees;
    row->failed_allocs = t.failed_allocs;
    row->refused_frees = t.refused_frees;
    row->damaged = (uint64_t)t.damaged;
    s->heap_count++;
}

static void add_code(hy_monitor_sample *s, const struct hyi_watched *w)
{
    hy_code_stats t = {.size = sizeof(t)};
    hy_monitor_code *row = &s->codes[s->code_count];
    const char *mechanism = "none";

    if (hy_code_stats_get(w->object, &t) != 0)
        return;
    if (t.mechanism == HY_CODE_DUAL)
        mechanism = "dual";
    else if (t.mechanism == HY_CODE_TOGGLE)
        mechanism = "toggle";
    set_name(row->name, w, NULL, "code");
    hyi_name_copy(row->mechanism, sizeof(row->mechanism), mechanism);
    row->regions = t.regions;
    row->mapped_bytes = t.mapped_bytes;
    row->used_bytes = t.used_bytes;
    row->kernels = t.kernels;
    row->published = t.published;
    row->emitted_bytes = t.emitted_bytes;
    s->code_count++;
}

static void add_slab(hy_monitor_sample *s, const struct hyi_watched *w)
{
    hy_slab_stats t = HY_SLAB_STATS_INIT;
    hy_monitor_slab *row = &s->slabs[s->slab_count];

    if (hy_slab_stats_get((hy_slab *)(uintptr_t)w->object, &t) != 0)
        return;
    set_name(row->name, w, t.name, "slab");
    row->object_bytes = t.object_bytes;
    row->chunk_bytes = t.chunk_bytes;
    row->live_objects = t.live_objects;
    row->held_bytes = t.held_bytes;
    row->peak_held_bytes = t.peak_held_bytes;
    row->metadata_bytes = t.metadata_bytes;
    row->limit_bytes = t.limit_bytes;
    row->chunks = t.chunks;
    row->empty_chunks = t.empty_chunks;
    row->caches = t.caches;
    row->remote_frees = t.remote_frees;
    row->adopted_chunks = t.adopted_chunks;
    row->failed_allocs = t.failed_allocs;
    row->refused_frees = t.refused_frees;
    s->slab_count++;
}

static void add_pipeline(hy_monitor_sample *s, const struct hyi_watched *w)
{
    hy_pipeline_stats t = HY_PIPELINE_STATS_INIT;
    hy_monitor_pipeline *row = &s->pipelines[s->pipeline_count];

    if (hy_pipeline_stats_get((hy_pipeline *)(uintptr_t)w->object, &t) != 0)
        return;
    set_name(row->name, w, NULL, "pipeline");
    row->documents = t.documents;
    row->text_bytes = t.text_bytes;
    row->ingested = t.ingested;
    row->waiting = t.waiting;
    row->failed = t.failed;
    row->used_bytes = t.used_bytes;
    row->reserved_bytes = t.reserved_bytes;
    row->resident_bytes = t.resident_bytes;
    row->faults = t.faults;
    row->dim = t.dim;
    s->pipeline_count++;
}

void hyi_sample_add(hy_monitor_sample *s, const struct hyi_watched *w,
                    bool costly)
{
    switch (w->kind) {
    case HY_MONITOR_RUNTIME:
        add_runtime(s, w);
        break;
    case HY_MONITOR_RING:
        add_ring(s, w);
        break;
    case HY_MONITOR_PAGER:
        add_pager(s, w, costly);
        break;
    case HY_MONITOR_HEAP:
        add_heap(s, w);
        break;
    case HY_MONITOR_CODE:
        add_code(s, w);
        break;
    case HY_MONITOR_SLAB:
        if (costly)
            add_slab(s, w);
        break;
    case HY_MONITOR_PIPELINE:
        add_pipeline(s, w);
        break;
    }
}

void hyi_sample_process(hy_monitor_sample *s)
{
    hy_patch_stats p = {.size = sizeof(p)};
    struct hyi_os_usage u;

    hyi_name_copy(s->version, sizeof(s->version), hy_version());
    hyi_name_copy(s->isa, sizeof(s->isa), hyi_isa_name());
    s->pid = hyi_os_process_id();
    hyi_os_usage(&u);
    s->resident_bytes = u.resident_bytes;
    s->minor_faults = u.minor_faults;
    s->major_faults = u.major_faults;
    if (hy_patch_stats_get(&p) != 0)
        return;
    s->patch_mechanism = p.mechanism;
    s->patch_modules = p.modules;
    s->patch_sites = p.sites;
    s->patch_decided = p.sites_decided;
    s->patch_switches = p.switches;
    s->patch_failures = p.failures;
    s->patch_max_ns = p.switch_max_ns;
}
