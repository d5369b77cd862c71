/*
 * pager_stats.c - what a pager has done and what of it is in memory, by
 * counting and by asking the kernel, never by guessing.
 *
 * Invariant: reading statistics changes nothing and waits for no checkpoint.
 * Upstream: the caller, monitor. Downstream: pager_cursor.c, pager_pins.c.
 */
#include <errno.h>
#include <string.h>

#include "bits.h"
#include "options.h"
#include "pager_impl.h"

static uint64_t read_counter(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void read_counters(const struct hy_pager *pager, hy_pager_stats *s)
{
    const struct hyi_counters *c = &pager->counters;

    s->faults = read_counter(&c->faults);
    s->commits = read_counter(&c->commits);
    s->decommits = read_counter(&c->decommits);
    s->write_backs = read_counter(&c->write_backs);
    s->checkpoints = read_counter(&c->checkpoints);
    s->held_ns = read_counter(&c->held_ns);
    for (int i = 0; i < HY_PAGER_LATENCY_ROWS; i++)
        s->fault_ns[i] = read_counter(&c->fault_ns[i]);
}

static void read_governor(struct hy_pager *pager, hy_pager_stats *s)
{
    struct hyi_governor *g = &pager->governor;
    sigset_t old;

    if (pager->table.words == NULL) {
        struct hyi_governor fresh;

        hyi_governor_init(&fresh, pager->seams + 1);
        s->mappings = fresh.own;
        s->process_mappings = fresh.others + fresh.own;
        s->mappings_limit = fresh.system;
        return;
    }
    hyi_layout_enter(pager, &old);
    s->mappings = g->own;
    s->process_mappings = g->own + g->others;
    s->mappings_limit = g->system;
    s->cluster_bytes = hyi_governor_units(pager) * pager->unit_bytes;
    hyi_layout_leave(pager, &old);
}

int hy_pager_stats_get(const hy_pager *pager, hy_pager_stats *out)
{
    hy_pager_stats s;

    if (pager == NULL || out == NULL)
        return -EINVAL;
    if (hyi_pager_is_stale(pager))
        return -ESTALE;
    memset(&s, 0, sizeof(s));
    s.mechanism = pager->mechanism->id;
    s.write_tracking = pager->watch >= 0;
    s.reserved_bytes = pager->bytes;
    s.page_bytes = pager->page_bytes;
    hyi_scan_bytes(pager, HYI_OS_SCAN_RESIDENT, 0, pager->bytes,
                   &s.resident_bytes);
    s.dirty_bytes = pager->mechanism->dirty_bytes(pager);
    /* The locks inside are the pager's, which the caller does not change. */
    s.pinned_bytes = hyi_pins_bytes(&((struct hy_pager *)pager)->pins);
    if (pager->file.pending)
        s.log_bytes = pager->file.at - pager->file.log_at;
    read_counters(pager, &s);
    read_governor((struct hy_pager *)pager, &s);
    return hyi_struct_fill(out, &s, sizeof(s));
}

/* --- heat ----------------------------------------------------------------- */

/* Bucket i begins here. The products stay below 2^64 in pieces of a page. */
static uint64_t bucket_start(uint64_t bytes, size_t buckets, size_t i)
{
    uint64_t each = bytes / buckets, rest = bytes % buckets;

    return each * i + (i < rest ? i : rest);
}

static int heat_of(const struct hy_pager *pager, uint64_t start, uint64_t end,
                   uint8_t *heat)
{
    uint64_t page = pager->page_bytes, resident = 0, all;
    int r;

    start = hyi_align_down(start, page);
    end = hyi_align_up(end, page);
    r = hyi_scan_bytes(pager, HYI_OS_SCAN_RESIDENT, start, end, &resident);
    if (r != 0)
        return r;
    all = (end - start) / page;
    resident /= page;
    *heat = (uint8_t)(resident * 255 / all);
    if (*heat == 0 && resident != 0)
        *heat = 1;
    return 0;
}

int hy_pager_heat(const hy_pager *pager, uint64_t offset, uint64_t bytes,
                  uint8_t *heat, size_t buckets)
{
    int r = hyi_pager_range(pager, offset, bytes, false);

    if (r != 0)
        return r;
    if (heat == NULL || buckets == 0 || buckets > bytes)
        return -EINVAL;
    for (size_t i = 0; i < buckets; i++) {
        uint64_t start = offset + bucket_start(bytes, buckets, i);
        uint64_t end = offset + bucket_start(bytes, buckets, i + 1);

        r = heat_of(pager, start, end, &heat[i]);
        if (r != 0)
            return r;
    }
    return 0;
}
