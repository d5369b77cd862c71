/*
 * mech_signal.c - the signal mechanism: memory is closed until an access traps,
 * and is opened by clusters.
 *
 *      anonymous   closed = no access            open = read and write
 *      file        closed = read, as in the file open = read and write, dirty
 *
 *      words   | 0 | open | open | 0 | 0 | ...      one a cluster (unit)
 *      mapping |---| rw          |---------...      one for each run of equals
 *
 * The mapping is private and the kernel fills its pages, each whole: opening
 * changes a protection and nothing else, so no thread sees half a page.
 *
 * How much one fault opens: one unit; more where a stream runs into closed
 * units one after the other; and what the governor asks for when mappings grow
 * scarce.
 *
 * Invariant: a unit's word has OPEN if and only if its pages are writable; and
 * with a file, one that was open since the last checkpoint has DIRTY or SAVING.
 * Upstream: fault.c by pager_hold.c. Downstream: pager_table.c,
 * pager_governor.c, os.h.
 */
#include <errno.h>

#include "bits.h"
#include "check.h"
#include "pager_impl.h"

/* The longest run that a stream opens at once: as large as a huge page. */
#define STREAM_BYTES HYI_HUGE_BYTES

static int start(struct hy_pager *pager)
{
    uint64_t units = (pager->bytes + pager->unit_bytes - 1) / pager->unit_bytes;

    if (pager->read_only)
        return 0;
    hyi_governor_init(&pager->governor, pager->seams + 1);
    return hyi_table_init(&pager->table, units);
}

static void stop(struct hy_pager *pager)
{
    hyi_table_destroy(&pager->table);
}

static bool is_open(const struct hy_pager *pager, uint64_t unit)
{
    return hyi_table_get(&pager->table, unit) & HYI_OPEN;
}

/* Changes of protection between the units of [a - 1, b], ends included. */
static uint64_t edges(const struct hy_pager *pager, uint64_t a, uint64_t b)
{
    uint64_t count = 0;

    for (uint64_t i = a == 0 ? 1 : a; i <= b && i < pager->table.count; i++)
        count += is_open(pager, i - 1) != is_open(pager, i);
    return count;
}

static uint64_t end_of(const struct hy_pager *pager, uint64_t unit)
{
    uint64_t end = unit * pager->unit_bytes;

    return end < pager->bytes ? end : pager->bytes;
}

/* Gives the units [a, b) this protection and word. Layout lock. */
static int change(struct hy_pager *pager, uint64_t a, uint64_t b,
                  int protection, uint32_t word)
{
    uint64_t at = a * pager->unit_bytes;
    uint64_t before = edges(pager, a, b);
    int r = hyi_os_protect(pager->base + at, end_of(pager, b) - at, protection);

    if (r != 0)
        return r;
    for (uint64_t i = a; i < b; i++)
        hyi_table_set(&pager->table, i,
                      word == 0 ? 0 : hyi_table_get(&pager->table, i) | word);
    pager->governor.own += edges(pager, a, b) - before;
    HYI_DEBUG(pager->governor.own >= 1);
    return 0;
}

static int open_units(struct hy_pager *pager, uint64_t a, uint64_t b)
{
    uint32_t word = pager->has_file ? HYI_OPEN | HYI_DIRTY : HYI_OPEN;
    int r = change(pager, a, b, HYI_OS_READ | HYI_OS_WRITE, word);

    if (r == 0)
        atomic_fetch_add_explicit(&pager->counters.commits,
                                  (end_of(pager, b) - a * pager->unit_bytes) /
                                      pager->page_bytes,
                                  memory_order_relaxed);
    return r;
}

/* --- faults --------------------------------------------------------------- */

/* Units for a fault at unit that goes on where the last one ended. */
static uint64_t stream_units(struct hy_pager *pager, uint64_t unit)
{
    /* Hints: a lost update opens less, or more, and harms nobody. */
    uint64_t end =
        atomic_load_explicit(&pager->stream_end, memory_order_relaxed);
    uint64_t units =
        atomic_load_explicit(&pager->stream_units, memory_order_relaxed);

    units = pager->adaptive && unit == end ? units * 2 : 1;
    if (units > STREAM_BYTES / pager->unit_bytes)
        units = STREAM_BYTES / pager->unit_bytes;
    while (units > 1 && !hyi_is_aligned(unit, units))
        units /= 2; /* runs stay inside one huge page */
    return units == 0 ? 1 : units;
}

/*
 * Opens a run around unit. Units that are held stay closed, whatever a stream
 * or the governor would like: what lies in them has not been copied yet.
 * -EAGAIN when mappings are too scarce for a run that ends before those.
 */
static int open_around(struct hy_pager *pager, uint64_t unit, uint64_t *a,
                       uint64_t *b)
{
    uint64_t from = atomic_load(&pager->hold.from);
    uint64_t units = hyi_governor_units(pager), limit = pager->table.count;
    int r;

    if (from != UINT64_MAX)
        limit = from / pager->unit_bytes;
    if (units == 1)
        units = stream_units(pager, unit);
    while (units > 1 && hyi_align_down(unit, units) + units > limit &&
           from != UINT64_MAX)
        units /= 2;
    for (;;) {
        *a = hyi_align_down(unit, units);
        *b = *a + units < pager->table.count ? *a + units : pager->table.count;
        if (*b > limit)
            return -EAGAIN;
        r = open_units(pager, *a, *b);
        /* The host has taken the mappings that we counted on: a larger run
         * joins what lies around it. */
        if (r != -ENOMEM || units >= pager->table.count)
            return r;
        units *= 4;
        if (units > pager->table.count)
            units = hyi_power_of_two_ceil(pager->table.count);
    }
}

/* 0 opened, or nothing to do; -EAGAIN: after the hold; else not served. */
static int fault_locked(struct hy_pager *pager, uint64_t offset, uint64_t *a,
                        uint64_t *b)
{
    uint64_t unit = offset / pager->unit_bytes;

    /* A hold that began after our look at it: trap again and wait. */
    if (offset >= atomic_load(&pager->hold.from))
        return 0;
    if (is_open(pager, unit))
        return hyi_pager_may_retry(pager, offset) ? 0 : -EFAULT;
    return open_around(pager, unit, a, b);
}

static bool fault(struct hy_pager *pager, uint64_t offset)
{
    uint64_t a = 0, b = 0;
    int r;

    hyi_layout_lock(pager);
    r = fault_locked(pager, offset, &a, &b);
    hyi_layout_unlock(pager);
    if (r == -EAGAIN)
        return hyi_hold_wait(pager, pager->bytes);
    if (r != 0 || b == 0)
        return r == 0;
    atomic_store_explicit(&pager->stream_end, b, memory_order_relaxed);
    atomic_store_explicit(&pager->stream_units, b - a, memory_order_relaxed);
    /* A stream will come by: fill its run in one call. It is a gift; what
     * cannot be had comes page by page. */
    if (!pager->has_file && b - a > 1 &&
        (b - a) * pager->unit_bytes <= STREAM_BYTES)
        hyi_os_populate(pager->base + a * pager->unit_bytes,
                        end_of(pager, b) - a * pager->unit_bytes, true);
    return true;
}

/* --- ranges --------------------------------------------------------------- */

static int open_locked(struct hy_pager *pager, uint64_t a, uint64_t b)
{
    struct hyi_governor *g = &pager->governor;
    uint64_t i = a;
    int r;

    while (i < b && is_open(pager, i))
        i++;
    if (i == b)
        return 0;
    hyi_governor_units(pager); /* counts again when due */
    if (hyi_governor_room(g) < 2 && edges(pager, a, b) == 0)
        return -ENOSPC;
    r = open_units(pager, a, b);
    if (r == -ENOMEM) {
        hyi_governor_count(g);
        if (hyi_governor_room(g) < 2)
            r = -ENOSPC;
    }
    return r;
}

static int open_range(struct hy_pager *pager, uint64_t offset, uint64_t bytes,
                      bool for_system_calls)
{
    uint64_t a = offset / pager->unit_bytes;
    uint64_t b = (offset + bytes + pager->unit_bytes - 1) / pager->unit_bytes;
    sigset_t old;
    bool held;
    int r = 0;

    if (pager->read_only || (pager->has_file && !for_system_calls))
        return 0;
    do {
        if (!hyi_hold_wait(pager, pager->bytes))
            return -EBUSY;
        hyi_layout_enter(pager, &old);
        held = atomic_load(&pager->hold.from) != UINT64_MAX;
        if (!held)
            r = open_locked(pager, a, b);
        hyi_layout_leave(pager, &old);
    } while (held);
    return r;
}

/* Closing is given up where it would cost mappings that are scarce: the pages
 * go all the same. */
static int discard(struct hy_pager *pager, uint64_t offset, uint64_t bytes)
{
    uint64_t a = (offset + pager->unit_bytes - 1) / pager->unit_bytes;
    uint64_t b = (offset + bytes) / pager->unit_bytes;
    sigset_t old;

    if (offset + bytes == pager->bytes)
        b = pager->table.count;
    hyi_layout_enter(pager, &old);
    if (a < b && hyi_governor_units(pager) == 1)
        change(pager, a, b, HYI_OS_NONE, 0);
    hyi_layout_leave(pager, &old);
    return hyi_os_decommit(pager->base + offset, bytes);
}

/* --- checkpoints ---------------------------------------------------------- */

/* The words of [start, end) follow its protection. */
static void close_words(struct hy_pager *pager, uint64_t start_at, uint64_t end)
{
    struct hyi_table *table = &pager->table;
    uint64_t unit = start_at / pager->unit_bytes;

    for (;;) {
        unit = hyi_table_find(table, unit, HYI_OPEN);
        if (unit >= table->count || unit * pager->unit_bytes >= end)
            return;
        hyi_table_set(table, unit, hyi_table_get(table, unit) & ~HYI_OPEN);
        unit++;
    }
}

/* Runs of equal protection, when few units are open. */
static uint64_t count_runs(const struct hy_pager *pager)
{
    const struct hyi_table *table = &pager->table;
    uint64_t runs = 1, unit = 0, end = UINT64_MAX;

    while ((unit = hyi_table_find(table, unit, HYI_OPEN)) < table->count) {
        if (unit != end)
            runs += (unit != 0) + (end != UINT64_MAX);
        end = ++unit;
    }
    return runs + (end < table->count);
}

static int protect(struct hy_pager *pager)
{
    uint64_t at = 0, start_at, end;
    sigset_t old;
    int r = 0;

    hyi_layout_enter(pager, &old);
    while (r == 0 &&
           hyi_gap_next(pager, pager->unit_bytes, &at, &start_at, &end)) {
        r = hyi_os_protect(pager->base + start_at, end - start_at, HYI_OS_READ);
        if (r == 0)
            close_words(pager, start_at, end);
    }
    pager->governor.own = count_runs(pager) + pager->seams;
    hyi_layout_leave(pager, &old);
    return r;
}

/* Closed units open by a trap, each when it is written. */
static void unprotect(struct hy_pager *pager, uint64_t from, uint64_t upto)
{
    (void)pager;
    (void)from;
    (void)upto;
}

/* The next run of dirty units becomes one that is being saved. One that is
 * still open, for a pin, stays dirty: it may be written after it was copied. */
static bool take_units(struct hy_pager *pager, uint64_t at, uint64_t *start_at,
                       uint64_t *end)
{
    struct hyi_table *table = &pager->table;
    uint64_t a = (at + pager->unit_bytes - 1) / pager->unit_bytes, b;
    uint32_t word;
    sigset_t old;

    hyi_layout_enter(pager, &old);
    a = hyi_table_find(table, a, HYI_DIRTY);
    for (b = a; b < table->count; b++) {
        word = hyi_table_get(table, b);
        if (!(word & HYI_DIRTY))
            break;
        word |= HYI_SAVING;
        if (!(word & HYI_OPEN))
            word &= ~(uint32_t)HYI_DIRTY;
        hyi_table_set(table, b, word);
    }
    hyi_layout_leave(pager, &old);
    *start_at = a * pager->unit_bytes;
    *end = end_of(pager, b);
    return a < table->count;
}

static int next_dirty(struct hy_pager *pager, uint64_t *at, uint64_t *end,
                      bool *compare)
{
    struct hyi_cursor *cursor = &pager->cursor;
    uint64_t from = *at;
    int r;

    *compare = true;
    if (from == 0)
        hyi_cursor_start(cursor, 0, 0);
    for (;;) {
        /* Inside a run, only what is a private copy can have been written. */
        if (pager->scanner >= 0) {
            r = hyi_cursor_next(pager, HYI_OS_SCAN_PRIVATE, at, end);
            if (r != 0)
                return r;
        }
        if (from < cursor->end)
            from = cursor->end;
        if (!take_units(pager, from, at, end))
            return 0;
        if (pager->scanner < 0)
            return 1;
        hyi_cursor_start(cursor, *at, *end);
        from = *end;
    }
}

/* Every word that is being saved gets these bits instead. */
static void settle(struct hy_pager *pager, uint32_t bits)
{
    struct hyi_table *table = &pager->table;
    uint64_t unit = 0;
    sigset_t old;

    hyi_layout_enter(pager, &old);
    while ((unit = hyi_table_find(table, unit, HYI_SAVING)) < table->count) {
        uint32_t word = hyi_table_get(table, unit);

        hyi_table_set(table, unit, (word & ~(uint32_t)HYI_SAVING) | bits);
        unit++;
    }
    hyi_layout_leave(pager, &old);
}

static void dirty_again(struct hy_pager *pager)
{
    settle(pager, HYI_DIRTY);
}

static void dirty_done(struct hy_pager *pager)
{
    settle(pager, 0);
}

static uint64_t dirty_bytes(const struct hy_pager *pager)
{
    const uint32_t bits = HYI_DIRTY | HYI_SAVING;
    uint64_t unit = 0, bytes = 0;

    if (!pager->has_file || pager->read_only)
        return 0;
    while ((unit = hyi_table_find(&pager->table, unit, bits)) <
           pager->table.count) {
        bytes += end_of(pager, unit + 1) - unit * pager->unit_bytes;
        unit++;
    }
    return bytes;
}

const struct hyi_mechanism hyi_mechanism_signal = {
    .id = HY_PAGER_SIGNAL,
    .start = start,
    .stop = stop,
    .fault = fault,
    .open = open_range,
    .discard = discard,
    .protect = protect,
    .unprotect = unprotect,
    .next_dirty = next_dirty,
    .dirty_again = dirty_again,
    .dirty_done = dirty_done,
    .dirty_bytes = dirty_bytes,
};
