/*
 * pager_range.c - what can be asked of a part of a pager: be there, be gone, be
 * pinned, be used in a certain way.
 *
 * Invariant: a range is checked before anything happens to it.
 * Upstream: the caller. Downstream: mech_*.c, pager_pins.c, os.h.
 */
#include <errno.h>
#include <string.h>

#include "bits.h"
#include "pager_impl.h"

/* Whole pages around a range that lies inside. */
static void widen(const struct hy_pager *pager, uint64_t *offset,
                  uint64_t *bytes)
{
    uint64_t end = hyi_align_up(*offset + *bytes, pager->page_bytes);

    *offset = hyi_align_down(*offset, pager->page_bytes);
    *bytes = end - *offset;
}

/* For kernels without MADV_POPULATE. Adding nothing atomically is a write that
 * changes nothing, also beside another writer. */
static void touch_pages(struct hy_pager *pager, uint64_t offset, uint64_t bytes,
                        bool write)
{
    for (uint64_t at = offset; at < offset + bytes; at += pager->page_bytes) {
        char *byte = pager->base + at;

        if (write)
            __atomic_fetch_or(byte, 0, __ATOMIC_RELAXED);
        else
            __atomic_load_n(byte, __ATOMIC_RELAXED);
    }
}

/* Anonymous pages are allocated; pages of a file are read, which leaves them
 * clean. */
static int bring_in(struct hy_pager *pager, uint64_t offset, uint64_t bytes,
                    bool for_system_calls)
{
    bool write = !pager->has_file;
    int r = pager->mechanism->open(pager, offset, bytes, for_system_calls);

    if (r != 0)
        return r;
    r = hyi_os_populate(pager->base + offset, bytes, write);
    if (r == -ENOTSUP) {
        touch_pages(pager, offset, bytes, write);
        r = 0;
    }
    return r;
}

int hy_pager_commit(hy_pager *pager, uint64_t offset, uint64_t bytes)
{
    int r = hyi_pager_range(pager, offset, bytes, true);

    if (r != 0 || bytes == 0)
        return r;
    return bring_in(pager, offset, bytes, false);
}

int hy_pager_touch(hy_pager *pager, uint64_t offset, uint64_t bytes,
                   hy_deadline until)
{
    enum { PIECE = 4 << 20 };
    int r = hyi_pager_range(pager, offset, bytes, false);

    if (r != 0 || bytes == 0)
        return r;
    widen(pager, &offset, &bytes);
    while (bytes != 0) {
        uint64_t piece = bytes < PIECE ? bytes : PIECE;

        r = bring_in(pager, offset, piece, false);
        offset += piece;
        bytes -= piece;
        if (r != 0)
            return r;
        if (bytes != 0 && until != HY_FOREVER && hy_now() >= until)
            return -ETIMEDOUT;
    }
    return 0;
}

int hy_pager_prefetch(hy_pager *pager, uint64_t offset, uint64_t bytes)
{
    int r = hyi_pager_range(pager, offset, bytes, false);

    if (r != 0 || bytes == 0 || !pager->has_file)
        return r;
    widen(pager, &offset, &bytes);
    return hyi_os_advise(pager->base + offset, bytes, HYI_OS_WILL_NEED);
}

/* --- giving back ---------------------------------------------------------- */

static bool is_zero(const char *page, size_t bytes)
{
    const uint64_t *words = (const uint64_t *)page;
    uint64_t any = 0;

    for (size_t i = 0; i < bytes / sizeof(*words); i++)
        any |= words[i];
    return any == 0;
}

static void zero_pages(struct hy_pager *pager, uint64_t at, uint64_t end)
{
    for (; at < end; at += pager->page_bytes)
        if (!is_zero(pager->base + at, pager->page_bytes))
            memset(pager->base + at, 0, pager->page_bytes);
}

/* Pages that the file has anything for. */
static int zero_homes(struct hy_pager *pager, uint64_t at, uint64_t end)
{
    uint64_t start, stop;
    int r;

    while ((r = hyi_extent_next(pager, &at, end, &start, &stop)) == 1)
        zero_pages(pager, start, stop);
    return r;
}

/* Pages written and not saved yet: private copies. */
static int zero_copies(struct hy_pager *pager, uint64_t at, uint64_t end)
{
    struct hyi_os_run runs[16];
    uintptr_t base = (uintptr_t)pager->base, next = base + at;
    int count;

    if (pager->scanner < 0) {
        zero_pages(pager, at, end);
        return 0;
    }
    while (next < base + end) {
        count = hyi_os_scan(pager->scanner, HYI_OS_SCAN_PRIVATE, next,
                            base + end, runs, HYI_ARRAY_COUNT(runs), &next);
        if (count < 0)
            return count;
        for (int i = 0; i < count; i++)
            zero_pages(pager, runs[i].start - base, runs[i].end - base);
    }
    return 0;
}

/* The file would come back if its pages were dropped: they are overwritten,
 * and the next checkpoint makes that durable. */
static int zero_range(struct hy_pager *pager, uint64_t offset, uint64_t bytes)
{
    int r = zero_homes(pager, offset, offset + bytes);

    return r != 0 ? r : zero_copies(pager, offset, offset + bytes);
}

static int decommit_locked(struct hy_pager *pager, uint64_t offset,
                           uint64_t bytes)
{
    if (hyi_pins_overlap(&pager->pins, offset, offset + bytes))
        return -EBUSY;
    if (!pager->has_file)
        return pager->mechanism->discard(pager, offset, bytes);
    if (pager->hold.frozen)
        return -EBUSY;
    return zero_range(pager, offset, bytes);
}

int hy_pager_decommit(hy_pager *pager, uint64_t offset, uint64_t bytes)
{
    int r = hyi_pager_range(pager, offset, bytes, true);

    if (r != 0 || bytes == 0)
        return r;
    if (pager->read_only)
        return -EROFS;
    pthread_mutex_lock(&pager->command);
    r = decommit_locked(pager, offset, bytes);
    pthread_mutex_unlock(&pager->command);
    if (r == 0)
        atomic_fetch_add_explicit(&pager->counters.decommits,
                                  bytes / pager->page_bytes,
                                  memory_order_relaxed);
    return r;
}

/* --- hints and pins ------------------------------------------------------- */

int hy_pager_advise(hy_pager *pager, uint64_t offset, uint64_t bytes,
                    int advice)
{
    static const int native[] = {
        [HY_PAGER_ADVICE_NORMAL] = HYI_OS_NORMAL,
        [HY_PAGER_ADVICE_SEQUENTIAL] = HYI_OS_SEQUENTIAL,
        [HY_PAGER_ADVICE_RANDOM] = HYI_OS_RANDOM,
        [HY_PAGER_ADVICE_WILL_NEED] = HYI_OS_WILL_NEED,
        [HY_PAGER_ADVICE_COLD] = HYI_OS_COLD,
    };
    int r = hyi_pager_range(pager, offset, bytes, true);

    if (r != 0)
        return r;
    if (advice < 0 || (size_t)advice >= HYI_ARRAY_COUNT(native))
        return -EINVAL;
    if (bytes == 0)
        return 0;
    if (advice == HY_PAGER_ADVICE_WILL_NEED)
        return hy_pager_prefetch(pager, offset, bytes);
    if (advice == HY_PAGER_ADVICE_COLD) {
        hyi_os_advise(pager->base + offset, bytes, HYI_OS_COLD);
        return 0; /* old kernels lack it, and a hint may be of no use */
    }
    if (offset != 0 || bytes != pager->bytes)
        return 0;
    return hyi_os_advise(pager->base, pager->bytes, native[advice]);
}

int hy_pager_pin(hy_pager *pager, uint64_t offset, uint64_t bytes)
{
    int r = hyi_pager_range(pager, offset, bytes, false);

    if (r != 0 || bytes == 0)
        return r;
    widen(pager, &offset, &bytes);
    r = hyi_pins_add(&pager->pins, offset, offset + bytes);
    if (r != 0)
        return r;
    /* With the fence in hyi_hold_begin: it sees the pin, or we see the hold. */
    atomic_thread_fence(memory_order_seq_cst);
    r = bring_in(pager, offset, bytes, true);
    if (r != 0)
        hyi_pins_remove(&pager->pins, offset, offset + bytes);
    return r;
}

int hy_pager_unpin(hy_pager *pager, uint64_t offset, uint64_t bytes)
{
    int r = hyi_pager_range(pager, offset, bytes, false);

    if (r != 0 || bytes == 0)
        return r;
    widen(pager, &offset, &bytes);
    return hyi_pins_remove(&pager->pins, offset, offset + bytes);
}
