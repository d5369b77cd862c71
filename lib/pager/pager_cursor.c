/*
 * pager_cursor.c - runs of pages of one kind, a batch of them for each system
 * call.
 *
 *      [at, end)   still to be scanned
 *      runs[index .. count)   found, not yet handed out
 *
 * Invariant: runs are handed out in order, each page once.
 * Upstream: mech_kernel.c, mech_signal.c, pager_stats.c. Downstream: os.h
 * (scan).
 */
#include <errno.h>

#include "pager_impl.h"

void hyi_cursor_start(struct hyi_cursor *cursor, uint64_t at, uint64_t end)
{
    cursor->count = cursor->index = 0;
    cursor->at = at;
    cursor->end = end;
}

static int next(const struct hy_pager *pager, struct hyi_cursor *cursor,
                enum hyi_os_scan_kind kind, uint64_t *start, uint64_t *end)
{
    uintptr_t base = (uintptr_t)pager->base, upto;

    while (cursor->index == cursor->count) {
        if (cursor->at >= cursor->end)
            return 0;
        cursor->index = 0;
        cursor->count = hyi_os_scan(pager->scanner, kind, base + cursor->at,
                                    base + cursor->end, cursor->runs,
                                    HYI_CURSOR_RUNS, &upto);
        if (cursor->count < 0) {
            int r = cursor->count;

            cursor->count = 0;
            return r;
        }
        cursor->at = upto - base;
    }
    *start = cursor->runs[cursor->index].start - base;
    *end = cursor->runs[cursor->index].end - base;
    cursor->index++;
    return 1;
}

int hyi_cursor_next(struct hy_pager *pager, enum hyi_os_scan_kind kind,
                    uint64_t *start, uint64_t *end)
{
    return next(pager, &pager->cursor, kind, start, end);
}

int hyi_scan_bytes(const struct hy_pager *pager, enum hyi_os_scan_kind kind,
                   uint64_t at, uint64_t end, uint64_t *bytes)
{
    struct hyi_cursor cursor;
    uint64_t start, stop, sum = 0;
    int r;

    if (pager->scanner < 0)
        return -ENOTSUP;
    hyi_cursor_start(&cursor, at, end);
    while ((r = next(pager, &cursor, kind, &start, &stop)) == 1)
        sum += stop - start;
    if (r == 0)
        *bytes = sum;
    return r;
}
