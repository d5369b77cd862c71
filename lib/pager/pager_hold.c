/*
 * pager_hold.c - the fault function of the pager, and the writers that it lets
 * wait while a checkpoint copies what they would change.
 *
 *      hold.from   0 .... copied .... | .... still held ....       UINT64_MAX
 *                                     ^ rises page run by page run; no hold
 *
 * from is set before anything is protected, and the protection is lifted before
 * from rises. A writer that traps therefore finds either a from that tells it
 * to wait, or memory that it may try again.
 *
 * Invariant: between begin and end, an unpinned page at or above from does not
 * change, and its content is that of the moment when protect returned.
 * Upstream: pager_checkpoint.c, fault.c. Downstream: mech_*.c (protect, fault).
 */
#include <errno.h>
#include <string.h>

#include "bits.h"
#include "check.h"
#include "pager_impl.h"

/* The last access of this thread that was sent back to try again. */
static _Thread_local struct {
    const struct hy_pager *pager;
    uint64_t offset;
    uint32_t turn;
    unsigned count;
} again __attribute__((tls_model("initial-exec")));

enum { RETRIES_MAX = 100 };

bool hyi_pager_may_retry(struct hy_pager *pager, uint64_t offset)
{
    uint32_t turn =
        atomic_load_explicit(&pager->hold.turn, memory_order_relaxed);

    if (again.pager != pager || again.offset != offset || again.turn != turn) {
        again.pager = pager;
        again.offset = offset;
        again.turn = turn;
        again.count = 0;
    }
    return again.count++ < RETRIES_MAX;
}

/* --- the handler ---------------------------------------------------------- */

static char *put_text(char *to, const char *text)
{
    while (*text != '\0')
        *to++ = *text++;
    *to = '\0';
    return to;
}

static char *put_number(char *to, uint64_t number)
{
    char digits[24];
    size_t n = 0;

    do
        digits[n++] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    while (n != 0)
        *to++ = digits[--n];
    *to = '\0';
    return to;
}

/* Without stdio: the interrupted code may be inside of it. */
static void report_lost(const struct hy_pager *pager, uint64_t offset,
                        int signal, bool is_held)
{
    char text[160], *at = text;

    if (pager->report.write == NULL)
        return;
    at = put_text(at, "pager: an access to offset ");
    at = put_number(at, offset);
    if (is_held)
        put_text(at, " by the thread that froze or checkpoints the pager");
    else if (signal == SIGBUS)
        put_text(at, " failed: the file was truncated or cannot be read");
    else if (pager->read_only)
        put_text(at, " failed: the pager is read-only");
    else
        put_text(at, " cannot be served");
    pager->report.write(pager->report.ctx, HY_REPORT_FATAL, text);
}

static void count_fault(struct hy_pager *pager, uint64_t ns)
{
    unsigned row = ns <= 1 ? 0 : 63u - (unsigned)__builtin_clzll(ns);

    if (row >= HY_PAGER_LATENCY_ROWS)
        row = HY_PAGER_LATENCY_ROWS - 1;
    atomic_fetch_add_explicit(&pager->counters.faults, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&pager->counters.fault_ns[row], 1,
                              memory_order_relaxed);
}

bool hyi_pager_fault(void *ctx, const struct hyi_fault *fault)
{
    struct hy_pager *pager = ctx;
    uint64_t offset = (uint64_t)((char *)fault->address - pager->base);
    uint64_t began = hyi_os_now();
    bool waited, resolved = false;

    waited = hyi_hold_wait(pager, offset);
    if (waited && !pager->read_only)
        resolved = pager->mechanism->fault(pager, offset);
    if (resolved)
        count_fault(pager, hyi_os_now() - began);
    else
        report_lost(pager, offset, fault->signal, !waited);
    return resolved;
}

/* --- holding -------------------------------------------------------------- */

bool hyi_hold_wait(struct hy_pager *pager, uint64_t offset)
{
    for (;;) {
        /* Acquire: pairs with the release in move; turn first, so that a
         * change after it ends the sleep. */
        uint32_t turn =
            atomic_load_explicit(&pager->hold.turn, memory_order_acquire);

        if (offset < atomic_load(&pager->hold.from))
            return true;
        /* Its own write would wait for itself. Relaxed: only the holder could
         * find its own number here. */
        if (atomic_load_explicit(&pager->hold.holder, memory_order_relaxed) ==
            hyi_os_thread_id())
            return false;
        hyi_os_futex_wait(&pager->hold.turn, turn, HY_FOREVER, false);
    }
}

bool hyi_gap_next(struct hy_pager *pager, uint64_t align, uint64_t *at,
                  uint64_t *start, uint64_t *end)
{
    uint64_t pin_start, pin_end;

    while (*at < pager->bytes) {
        *start = *at;
        *end = pager->bytes;
        if (hyi_pins_next(&pager->pins, *at, &pin_start, &pin_end)) {
            *end = hyi_align_down(pin_start, align);
            *at = hyi_align_up(pin_end, align);
        } else {
            *at = pager->bytes;
        }
        if (*start < *end)
            return true;
    }
    return false;
}

static void move(struct hy_pager *pager, uint64_t from)
{
    atomic_store(&pager->hold.from, from); /* with hyi_hold_wait */
    atomic_fetch_add_explicit(&pager->hold.turn, 1, memory_order_release);
    hyi_os_futex_wake(&pager->hold.turn, INT32_MAX, false);
}

int hyi_hold_begin(struct hy_pager *pager)
{
    int r;

    atomic_store_explicit(&pager->hold.holder, hyi_os_thread_id(),
                          memory_order_relaxed);
    pager->hold.began_ns = hyi_os_now();
    move(pager, 0);
    /* With the fence in hy_pager_pin: a pin is seen here, or sees from. */
    atomic_thread_fence(memory_order_seq_cst);
    r = pager->mechanism->protect(pager);
    if (r != 0)
        hyi_hold_end(pager);
    return r;
}

void hyi_hold_release(struct hy_pager *pager, uint64_t upto)
{
    uint64_t from = atomic_load(&pager->hold.from);

    /* A trap opens whole units, so a unit waits for its last page. */
    upto = hyi_align_down(upto, pager->unit_bytes);
    if (pager->hold.frozen || upto <= from)
        return;
    HYI_ASSERT(from != UINT64_MAX);
    pager->mechanism->unprotect(pager, from, upto);
    move(pager, upto);
}

void hyi_hold_end(struct hy_pager *pager)
{
    uint64_t from = atomic_load(&pager->hold.from);

    if (pager->hold.frozen)
        return;
    if (from < pager->bytes)
        pager->mechanism->unprotect(pager, from, pager->bytes);
    move(pager, UINT64_MAX);
    atomic_store_explicit(&pager->hold.holder, 0, memory_order_relaxed);
    atomic_store_explicit(&pager->counters.held_ns,
                          hyi_os_now() - pager->hold.began_ns,
                          memory_order_relaxed);
}

/* --- public --------------------------------------------------------------- */

static int freeze_locked(struct hy_pager *pager)
{
    int r;

    if (pager->hold.frozen || hyi_pins_bytes(&pager->pins) != 0)
        return -EBUSY;
    r = hyi_hold_begin(pager);
    pager->hold.frozen = r == 0;
    return r;
}

int hy_pager_freeze(hy_pager *pager)
{
    int r;

    if (pager == NULL)
        return -EINVAL;
    if (hyi_pager_is_stale(pager))
        return -ESTALE;
    if (!pager->has_file)
        return -ENOTSUP;
    if (pager->read_only)
        return -EROFS;
    pthread_mutex_lock(&pager->command);
    r = freeze_locked(pager);
    pthread_mutex_unlock(&pager->command);
    return r;
}

int hy_pager_thaw(hy_pager *pager)
{
    int r = -EINVAL;

    if (pager == NULL)
        return -EINVAL;
    if (hyi_pager_is_stale(pager))
        return -ESTALE;
    pthread_mutex_lock(&pager->command);
    if (pager->hold.frozen) {
        pager->hold.frozen = false;
        hyi_hold_end(pager);
        r = 0;
    }
    pthread_mutex_unlock(&pager->command);
    return r;
}
