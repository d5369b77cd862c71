/*
 * mech_kernel.c - the kernel mechanism: one read-write mapping, which the
 * kernel fills. Nothing traps, but for writers while a checkpoint holds them.
 *
 *      anonymous   zero on demand
 *      file        a private mapping of what the file holds, zero on demand for
 *                  the rest: a page is as in the file until it is written, and
 *                  a private copy from then on
 *
 * What was written is asked of the kernel: private pages; and with a watch
 * (userfaultfd's asynchronous write protection), only those written since they
 * were last taken. Without one a private page may equal its home, and is
 * compared with it.
 *
 * Invariant: with compare_all false, every page that differs from its home
 * counts as written in the watch.
 * Upstream: pager_reserve.c, pager_hold.c, pager_checkpoint.c. Downstream:
 * pager_cursor.c.
 */
#include <errno.h>

#include "pager_impl.h"

/* Whatever was written so far does not count as written any more. */
static int take_all(struct hy_pager *pager)
{
    uint64_t start_at, end;
    int r;

    hyi_cursor_start(&pager->cursor, 0, pager->bytes);
    while ((r = hyi_cursor_next(pager, HYI_OS_SCAN_TAKE, &start_at, &end)) == 1)
        continue;
    return r;
}

static int start(struct hy_pager *pager)
{
    if (!pager->has_file || pager->read_only)
        return 0;
    if (pager->scanner < 0)
        return -ENOTSUP;
    if (hyi_os_watch(&pager->watch, pager->base, pager->bytes) != 0 ||
        (pager->has_copies && take_all(pager) != 0))
        pager->compare_all = true;
    return 0;
}

static void stop(struct hy_pager *pager)
{
    (void)pager;
}

static bool fault(struct hy_pager *pager, uint64_t offset)
{
    if (!hyi_pager_may_retry(pager, offset))
        return false;
    return true;
}

static int open_range(struct hy_pager *pager, uint64_t offset, uint64_t bytes,
                      bool for_system_calls)
{
    (void)offset;
    (void)bytes;
    /* A hold that began before the pin was seen has protected its pages. */
    if (for_system_calls && !hyi_hold_wait(pager, pager->bytes))
        return -EBUSY;
    return 0;
}

static int discard(struct hy_pager *pager, uint64_t offset, uint64_t bytes)
{
    return hyi_os_decommit(pager->base + offset, bytes);
}

static int protect(struct hy_pager *pager)
{
    uint64_t at = 0, start_at, end;
    int r = 0;

    while (r == 0 &&
           hyi_gap_next(pager, pager->page_bytes, &at, &start_at, &end))
        r = hyi_os_protect(pager->base + start_at, end - start_at, HYI_OS_READ);
    return r;
}

/* Joining mappings cannot need another one; what fails is the memory for it. */
static void unprotect(struct hy_pager *pager, uint64_t from, uint64_t upto)
{
    while (hyi_os_protect(pager->base + from, upto - from,
                          HYI_OS_READ | HYI_OS_WRITE) != 0)
        from = 0;
}

static int next_dirty(struct hy_pager *pager, uint64_t *at, uint64_t *end,
                      bool *compare)
{
    int r = 0;

    if (*at == 0) {
        /* Taken before they are copied: a later write is found again. */
        if (pager->compare_all && pager->watch >= 0)
            r = take_all(pager);
        hyi_cursor_start(&pager->cursor, 0, pager->bytes);
    }
    *compare = pager->compare_all;
    if (r != 0)
        return r;
    return hyi_cursor_next(
        pager, pager->compare_all ? HYI_OS_SCAN_PRIVATE : HYI_OS_SCAN_TAKE, at,
        end);
}

static void dirty_again(struct hy_pager *pager)
{
    pager->compare_all = true;
}

static void dirty_done(struct hy_pager *pager)
{
    if (pager->watch >= 0)
        pager->compare_all = false;
}

static uint64_t dirty_bytes(const struct hy_pager *pager)
{
    uint64_t bytes = 0;

    if (pager->has_file && !pager->read_only)
        hyi_scan_bytes(pager,
                       pager->compare_all ? HYI_OS_SCAN_PRIVATE
                                          : HYI_OS_SCAN_WRITTEN,
                       0, pager->bytes, &bytes);
    return bytes;
}

const struct hyi_mechanism hyi_mechanism_kernel = {
    .id = HY_PAGER_KERNEL,
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
