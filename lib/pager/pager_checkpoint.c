/*
 * pager_checkpoint.c - the way of a page from memory into the file.
 *
 *      hold begins: writers trap          the content is that of this moment
 *      for each run of dirty pages
 *          copy, compare, log             pager_log.c
 *          writers below may go on
 *      hold ends
 *      commit: one sync                   durable
 *      apply: ack, home, slot             the file is as the next open wants it
 *
 * A page handed out by next_dirty counts as clean from that moment; when it did
 * not become durable, dirty_again takes that back for all of them.
 *
 * Invariant: a page that differs from its home in the file is dirty for the
 * mechanism, or in the transaction that is being written, or in one that is
 * pending.
 * Upstream: the caller. Downstream: pager_hold.c, mech_*.c, pager_log.c.
 */
#include <errno.h>
#include <string.h>

#include "check.h"
#include "pager_impl.h"

/*
 * Others may write a pinned page meanwhile, and the kernel, which no sanitizer
 * sees, keeps them from the rest: relaxed loads, not instrumented. Nor is it an
 * error to copy what an allocator in this memory has poisoned.
 */
__attribute__((no_sanitize("thread", "address"))) void
hyi_page_copy(void *to, const void *from, size_t bytes)
{
    const uint64_t *source = from;
    uint64_t *target = to;

    for (size_t i = 0; i < bytes / sizeof(*source); i++)
        target[i] = __atomic_load_n(&source[i], __ATOMIC_RELAXED);
}

/* A pinned page is copied until it holds still, but not for ever. */
static void copy_steady(const struct hy_pager *pager, void *to, uint64_t offset)
{
    enum { TRIES = 8 };
    uint64_t check[64];
    const char *from = pager->base + offset;

    for (int i = 0; i < TRIES; i++) {
        size_t at = 0;

        hyi_page_copy(to, from, pager->page_bytes);
        for (; at < pager->page_bytes; at += sizeof(check)) {
            hyi_page_copy(check, from + at, sizeof(check));
            if (memcmp(check, (char *)to + at, sizeof(check)) != 0)
                break;
        }
        if (at == pager->page_bytes)
            return;
    }
}

/* The pages of [start, start + bytes), at most a stage full, into the log. */
static int log_pages(struct hy_pager *pager, uint64_t start, size_t bytes,
                     bool compare)
{
    struct hyi_file *file = &pager->file;
    size_t page = pager->page_bytes;
    bool pinned = hyi_pins_overlap(&pager->pins, start, start + bytes);
    int r = 0;

    if (compare)
        r = hyi_file_read(file, file->home + start, pager->compare, bytes);
    for (size_t at = 0; at < bytes && r == 0; at += page) {
        void *staged = hyi_log_stage(file);

        if (pinned)
            copy_steady(pager, staged, start + at);
        else
            hyi_page_copy(staged, pager->base + start + at, page);
        if (compare && memcmp(staged, pager->compare + at, page) == 0)
            continue;
        r = hyi_log_add(file, (start + at) / page);
    }
    return r;
}

/* All that is dirty, into the log. */
static int log_dirty(struct hy_pager *pager)
{
    uint64_t at = 0, end = 0;
    bool compare;
    int r = hyi_os_keep_apart(pager->base, pager->bytes);

    if (r != 0)
        return r;
    while ((r = pager->mechanism->next_dirty(pager, &at, &end, &compare)) ==
           1) {
        for (; at < end && r >= 0; at += HYI_STAGE_BYTES) {
            uint64_t left = end - at;

            r = log_pages(pager, at,
                          left < HYI_STAGE_BYTES ? left : HYI_STAGE_BYTES,
                          compare);
            if (r == 0)
                hyi_hold_release(
                    pager, left < HYI_STAGE_BYTES ? end : at + HYI_STAGE_BYTES);
        }
        if (r < 0)
            return r;
        at = end;
    }
    return r;
}

static int hold_and_log(struct hy_pager *pager)
{
    bool frozen = pager->hold.frozen;
    int r = frozen ? 0 : hyi_hold_begin(pager);

    if (r != 0)
        return r;
    r = log_dirty(pager);
    hyi_hold_end(pager);
    return r;
}

static int apply(struct hy_pager *pager)
{
    uint64_t pages;
    int r = hyi_log_apply(&pager->file);

    if (r != 0)
        return r;
    pages = pager->file.pages;
    atomic_fetch_add_explicit(&pager->counters.write_backs, pages,
                              memory_order_relaxed);
    return 0;
}

static int checkpoint_locked(struct hy_pager *pager)
{
    struct hyi_file *file = &pager->file;
    int r = file->pending ? apply(pager) : 0;

    if (r == 0)
        r = hyi_log_begin(file);
    if (r != 0)
        return r;
    r = hold_and_log(pager);
    if (r == 0 && file->pages == 0 && file->staged == 0) {
        pager->mechanism->dirty_done(pager);
        return 0;
    }
    if (r == 0)
        r = hyi_log_commit(file);
    if (r != 0) {
        pager->mechanism->dirty_again(pager);
        hyi_log_abort(file);
        return r;
    }
    pager->mechanism->dirty_done(pager);
    r = apply(pager);
    if (r != 0)
        hyi_file_report(file, HY_REPORT_WARNING,
                        "the checkpoint is durable, but copying it to its "
                        "place failed: %s",
                        strerror(-r));
    return 0;
}

int hy_pager_checkpoint(hy_pager *pager)
{
    struct hyi_os_size_limit limit;
    int saved = errno, r;

    if (pager == NULL)
        return -EINVAL;
    if (hyi_pager_is_stale(pager))
        return -ESTALE;
    if (!pager->has_file)
        return -ENOTSUP;
    if (pager->read_only)
        return -EROFS;
    pthread_mutex_lock(&pager->command);
    hyi_os_size_limit_enter(&limit);
    r = checkpoint_locked(pager);
    hyi_os_size_limit_leave(&limit);
    pthread_mutex_unlock(&pager->command);
    if (r == 0)
        atomic_fetch_add_explicit(&pager->counters.checkpoints, 1,
                                  memory_order_relaxed);
    errno = saved;
    return r;
}
