/*
 * pager_reserve.c - a pager's life: options, addresses, file, mechanism; and
 * what this system can do.
 *
 *      anonymous   |<- bytes ->|                     aligned to 2 MiB
 *      file        |<- bytes ->|  the same, and the file over it where it holds
 *                                 anything (pager_extents.c)
 *
 * Invariant: a pager that was handed out is whole; one that could not be made
 * leaves nothing behind.
 * Upstream: the caller. Downstream: pager_file.c, mech_*.c, fault.h, os.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bits.h"
#include "check.h"
#include "options.h"
#include "pager_impl.h"
#include "process.h"

#define KNOWN_FLAGS                                                            \
    (HY_PAGER_HUGE | HY_PAGER_STRICT_COMMIT | HY_PAGER_SYSCALL_SAFE |          \
     HY_PAGER_READ_ONLY | HY_PAGER_CREATE | HY_PAGER_PARK)

enum { UNIT_BYTES = 64 << 10, CAPS_KNOWN = 1u << 31 };

/* --- what this system can do ---------------------------------------------- */

/* Does a scan of a private file mapping find the page that was written, and
 * only that? Emulators and filters may have the call and answer nonsense. */
static bool scan_is_true(int scanner, char *base, size_t page)
{
    struct hyi_os_run runs[4];
    uintptr_t next, at = (uintptr_t)base;
    int count;

    (void)*(volatile char *)base;
    *(volatile char *)(base + page) = 1;
    count = hyi_os_scan(scanner, HYI_OS_SCAN_PRIVATE, at, at + 3 * page, runs,
                        HYI_ARRAY_COUNT(runs), &next);
    return count == 1 && runs[0].start == at + page &&
           runs[0].end == at + 2 * page && next == at + 3 * page;
}

static bool watch_is_true(int scanner, char *base, size_t page)
{
    struct hyi_os_run runs[4];
    uintptr_t next, at = (uintptr_t)base, end = at + 3 * page;
    int watch, first, second, third;

    if (hyi_os_watch(&watch, base, 3 * page) != 0)
        return false;
    first = hyi_os_scan(scanner, HYI_OS_SCAN_TAKE, at, end, runs, 4, &next);
    second = hyi_os_scan(scanner, HYI_OS_SCAN_TAKE, at, end, runs, 4, &next);
    *(volatile char *)(base + page) = 2;
    third = hyi_os_scan(scanner, HYI_OS_SCAN_TAKE, at, end, runs, 4, &next);
    close(watch);
    return first == 1 && second == 0 && third == 1 &&
           runs[0].start == at + page;
}

static unsigned probe_file_scan(void)
{
    size_t page = hyi_os_page_bytes();
    unsigned caps = 0;
    int fd, scanner;
    void *base;

    if (hyi_os_scan_open(&scanner) != 0)
        return 0;
    if (hyi_os_memory_file(&fd, "hy-probe", 3 * page) == 0) {
        if (hyi_os_map_file(&base, fd, 0, 3 * page, HYI_OS_READ | HYI_OS_WRITE,
                            false) == 0) {
            if (scan_is_true(scanner, base, page))
                caps |= HY_PAGER_CAP_KERNEL_FILE;
            if (caps != 0 && watch_is_true(scanner, base, page))
                caps |= HY_PAGER_CAP_WRITE_TRACKING;
            hyi_os_release(base, 3 * page);
        }
        close(fd);
    }
    close(scanner);
    return caps;
}

static unsigned probe(void)
{
    unsigned caps = HY_PAGER_CAP_KERNEL | HY_PAGER_CAP_SIGNAL;
    size_t page = hyi_os_page_bytes();
    void *base;

    caps |= probe_file_scan();
    if (hyi_os_reserve(&base, page, HYI_OS_NONE, NULL, false) == 0) {
        if (hyi_os_huge(base, page) == 0)
            caps |= HY_PAGER_CAP_HUGE;
        hyi_os_release(base, page);
    }
    return caps;
}

unsigned hy_pager_caps(void)
{
    int saved = errno;
    unsigned caps =
        atomic_load_explicit(&hyi_process.pager_caps, memory_order_relaxed);

    if (caps == 0) {
        caps = probe() | CAPS_KNOWN;
        atomic_store_explicit(&hyi_process.pager_caps, caps,
                              memory_order_relaxed);
    }
    errno = saved;
    return caps & ~(unsigned)CAPS_KNOWN;
}

/* --- options -------------------------------------------------------------- */

static int check_values(const hy_pager_options *o)
{
    size_t page = hyi_os_page_bytes();
    size_t align = o->flags & HY_PAGER_HUGE ? HYI_HUGE_BYTES : page;

    if ((o->flags & ~(unsigned)KNOWN_FLAGS) || o->mechanism > HY_PAGER_UFFD)
        return -EINVAL;
    if (o->path != NULL && (o->store != NULL || o->path[0] == '\0'))
        return -EINVAL;
    if (o->path == NULL && (o->flags & (HY_PAGER_READ_ONLY | HY_PAGER_CREATE)))
        return -EINVAL;
    if ((o->flags & HY_PAGER_READ_ONLY) && (o->flags & HY_PAGER_CREATE))
        return -EINVAL;
    if (o->cluster_bytes != 0 &&
        (!hyi_is_power_of_two(o->cluster_bytes) || o->cluster_bytes < page ||
         o->cluster_bytes > HYI_HUGE_BYTES))
        return -EINVAL;
    return hyi_is_aligned((uintptr_t)o->base, align) ? 0 : -EINVAL;
}

/* What cannot be had is refused here, by name. */
static int check_supported(const hy_pager_options *o)
{
    const unsigned not_yet = HY_PAGER_STRICT_COMMIT | HY_PAGER_PARK;
    unsigned caps = hy_pager_caps();

    if (o->store != NULL || o->budget_bytes != 0 || (o->flags & not_yet) ||
        o->mechanism == HY_PAGER_UFFD)
        return -ENOTSUP;
    if ((o->flags & HY_PAGER_HUGE) &&
        (o->path != NULL || !(caps & HY_PAGER_CAP_HUGE)))
        return -ENOTSUP;
    if ((o->flags & HY_PAGER_SYSCALL_SAFE) &&
        (o->path != NULL || o->mechanism == HY_PAGER_SIGNAL))
        return -EPERM;
    if (o->mechanism == HY_PAGER_KERNEL && o->path != NULL &&
        !(o->flags & HY_PAGER_READ_ONLY) && !(caps & HY_PAGER_CAP_KERNEL_FILE))
        return -ENOTSUP;
    return 0;
}

static const struct hyi_mechanism *choose(const hy_pager_options *o)
{
    if (o->mechanism == HY_PAGER_SIGNAL)
        return &hyi_mechanism_signal;
    if (o->mechanism == HY_PAGER_KERNEL || o->path == NULL ||
        (o->flags & HY_PAGER_READ_ONLY) ||
        (hy_pager_caps() & HY_PAGER_CAP_KERNEL_FILE))
        return &hyi_mechanism_kernel;
    return &hyi_mechanism_signal;
}

static void report(const struct hy_pager *pager, int level, const char *text)
{
    if (pager->report.write != NULL)
        pager->report.write(pager->report.ctx, level, text);
}

static void report_refused(const struct hy_pager *pager)
{
    char text[200];

    snprintf(text, sizeof(text),
             "pager: %llu bytes of addresses are refused: raise `ulimit -v`, "
             "set vm.overcommit_memory to 0 or 1, or reserve less",
             (unsigned long long)pager->bytes);
    report(pager, HY_REPORT_ERROR, text);
}

/* --- addresses ------------------------------------------------------------ */

static int native_protection(const struct hy_pager *pager)
{
    if (pager->mechanism == &hyi_mechanism_kernel)
        return pager->read_only ? HYI_OS_READ : HYI_OS_READ | HYI_OS_WRITE;
    return pager->has_file ? HYI_OS_READ : HYI_OS_NONE;
}

/* Aligned to huge pages: more is reserved, and what stands out is given back.
 */
static int reserve_aligned(struct hy_pager *pager, int protection)
{
    size_t bytes = pager->bytes + HYI_HUGE_BYTES, before;
    char *start, *base;
    void *memory;
    int r;

    if (bytes < pager->bytes)
        return -ENOMEM;
    r = hyi_os_reserve(&memory, bytes, protection, NULL, false);
    if (r != 0)
        return r;
    start = memory;
    base = (char *)hyi_align_up((uintptr_t)start, HYI_HUGE_BYTES);
    before = (size_t)(base - start);
    if (before != 0)
        hyi_os_release(start, before);
    if (before != HYI_HUGE_BYTES)
        hyi_os_release(base + pager->bytes, HYI_HUGE_BYTES - before);
    pager->base = base;
    return 0;
}

static int map(struct hy_pager *pager, void *wanted)
{
    int protection = native_protection(pager), r;
    void *memory;

    if (wanted != NULL) {
        r = hyi_os_reserve(&memory, pager->bytes, protection, wanted, true);
        if (r == 0)
            pager->base = memory;
    } else {
        r = reserve_aligned(pager, protection);
    }
    if (r != 0)
        return r;
    /* One page that is written must not make hundreds to be saved. */
    if (pager->has_file)
        hyi_os_small_pages(pager->base, pager->bytes);
    r = hyi_extents_prime(pager, 0, protection);
    if (r == 0 && pager->has_file)
        r = hyi_extents_map(pager, protection);
    if (r != 0) {
        hyi_os_release(pager->base, pager->bytes);
        pager->base = NULL;
        return r;
    }
    hyi_os_exclude(pager->base, pager->bytes);
    return 0;
}

/* Where memory is accounted for in advance, a read-write mapping of a terabyte
 * is refused, and one that is opened by clusters is not. */
static int map_by_choice(struct hy_pager *pager, const hy_pager_options *o)
{
    int r;

    pager->mechanism = choose(o);
    r = map(pager, o->base);
    if (r == -ENOMEM && o->mechanism == HY_PAGER_AUTO &&
        !(o->flags & HY_PAGER_SYSCALL_SAFE) &&
        pager->mechanism == &hyi_mechanism_kernel) {
        pager->mechanism = &hyi_mechanism_signal;
        r = map(pager, o->base);
        if (r == 0)
            report(pager, HY_REPORT_NOTE,
                   "pager: memory is accounted for in advance here: using the "
                   "signal mechanism");
    }
    if (r == -ENOMEM)
        report_refused(pager);
    return r;
}

/* --- file ----------------------------------------------------------------- */

static int place_in_memory(void *ctx, uint64_t page, uint64_t count,
                           const void *content)
{
    struct hy_pager *pager = ctx;
    char *to = pager->base + page * pager->page_bytes;
    size_t bytes = count * pager->page_bytes;
    int r = hyi_os_protect(to, bytes, HYI_OS_READ | HYI_OS_WRITE);

    if (r != 0)
        return r;
    memcpy(to, content, bytes);
    return hyi_os_protect(to, bytes, HYI_OS_READ);
}

/* An interrupted checkpoint is completed, or forgotten, before anything is
 * mapped. */
static int recover(struct hy_pager *pager)
{
    struct hyi_file *file = &pager->file;
    int r = hyi_log_find(file);

    if (r < 0 || file->read_only)
        return r < 0 ? r : 0;
    if (r == 1) {
        hyi_file_report(file, HY_REPORT_NOTE,
                        "completing checkpoint %llu, which a crash interrupted",
                        (unsigned long long)file->sequence + 1);
        /* It may be in the page cache alone: the ack must come after it. */
        r = hyi_file_sync(file);
        if (r == 0)
            r = hyi_log_apply(file);
        if (r != 0)
            return r;
    }
    r = hyi_file_trim(file);
    if (r == 0 && file->bytes < pager->bytes)
        r = hyi_file_grow(file, pager->bytes);
    return r;
}

static int open_file(struct hy_pager *pager, const hy_pager_options *o)
{
    void *compare;
    int r = hyi_file_open(&pager->file, o->path, pager->bytes, o->flags,
                          &pager->report);

    if (r != 0)
        return r;
    pager->has_file = true;
    r = recover(pager);
    if (r != 0)
        return r;
    pager->bytes = pager->file.bytes; /* 0 asks for the file's own */
    r = hyi_os_reserve(&compare, HYI_STAGE_BYTES, HYI_OS_READ | HYI_OS_WRITE,
                       NULL, false);
    if (r == 0)
        pager->compare = compare;
    return r;
}

/* --- life ----------------------------------------------------------------- */

/* All that a child may do: where the memory was something else may be by now,
 * and what threads were changing at the fork is half changed for ever. */
static void close_all(const struct hy_pager *pager)
{
    if (pager->watch >= 0)
        close(pager->watch);
    if (pager->scanner >= 0)
        close(pager->scanner);
    if (pager->has_file && pager->file.fd >= 0)
        close(pager->file.fd);
}

static void tear_down(struct hy_pager *pager)
{
    if (pager->attached)
        hyi_fault_detach(pager->base);
    if (pager->watch >= 0)
        close(pager->watch);
    if (pager->scanner >= 0)
        close(pager->scanner);
    if (pager->base != NULL)
        hyi_os_release(pager->base, pager->bytes);
    if (pager->mechanism != NULL)
        pager->mechanism->stop(pager);
    if (pager->compare != NULL)
        hyi_os_release(pager->compare, HYI_STAGE_BYTES);
    if (pager->has_file)
        hyi_file_close(&pager->file);
    hyi_pins_destroy(&pager->pins);
    pthread_mutex_destroy(&pager->command);
    free(pager);
}

/* Addresses that are refused are refused before a file is made for them. */
static int try_addresses(struct hy_pager *pager)
{
    void *memory;
    int r = hyi_os_reserve(&memory, pager->bytes, HYI_OS_NONE, NULL, false);

    if (r != 0)
        report_refused(pager);
    return r != 0 ? r : hyi_os_release(memory, pager->bytes);
}

static int set_up(struct hy_pager *pager, const hy_pager_options *o)
{
    bool traps;
    int r = 0;

    if (o->path != NULL && pager->bytes != 0 &&
        !(o->flags & HY_PAGER_READ_ONLY))
        r = try_addresses(pager);
    if (r == 0 && o->path != NULL)
        r = open_file(pager, o);
    if (r == 0)
        r = map_by_choice(pager, o);
    if (r != 0)
        return r;
    if (o->flags & HY_PAGER_HUGE)
        r = hyi_os_huge(pager->base, pager->bytes);
    if (r == 0 && pager->read_only && pager->file.pending)
        r = hyi_log_each(&pager->file, place_in_memory, pager);
    if (r == 0)
        r = pager->mechanism->start(pager);
    traps = pager->has_file || pager->mechanism == &hyi_mechanism_signal;
    if (r == 0 && traps) {
        r = hyi_fault_attach_unforked(pager->base, pager->bytes,
                                      hyi_pager_fault, pager);
        pager->attached = r == 0;
    }
    return r;
}

static void set_units(struct hy_pager *pager, const hy_pager_options *o)
{
    pager->adaptive = o->cluster_bytes == 0;
    pager->unit_bytes = o->cluster_bytes;
    if (pager->unit_bytes != 0)
        return;
    pager->unit_bytes = o->flags & HY_PAGER_HUGE ? HYI_HUGE_BYTES : UNIT_BYTES;
    if (pager->unit_bytes < pager->page_bytes)
        pager->unit_bytes = pager->page_bytes;
}

static int new_pager(struct hy_pager **out, uint64_t bytes,
                     const hy_pager_options *o)
{
    struct hy_pager *pager = calloc(1, sizeof(*pager));

    if (pager == NULL)
        return -ENOMEM;
    if (hyi_pins_init(&pager->pins) != 0) {
        free(pager);
        return -ENOMEM;
    }
    pthread_mutex_init(&pager->command, NULL);
    atomic_init(&pager->hold.from, UINT64_MAX);
    pager->page_bytes = hyi_os_page_bytes();
    pager->bytes = hyi_align_up(bytes, pager->page_bytes);
    pager->read_only = o->flags & HY_PAGER_READ_ONLY;
    pager->report = o->report;
    pager->forks = hyi_process_forks();
    pager->watch = pager->scanner = -1;
    if (hy_pager_caps() & HY_PAGER_CAP_KERNEL_FILE)
        hyi_os_scan_open(&pager->scanner);
    set_units(pager, o);
    *out = pager;
    return 0;
}

int hy_pager_reserve(hy_pager **out, uint64_t bytes,
                     const hy_pager_options *options)
{
    struct hyi_os_size_limit limit;
    struct hy_pager *pager;
    hy_pager_options o;
    int saved = errno, r;

    if (out == NULL)
        return -EINVAL;
    r = hyi_options_read(&o, sizeof(o), options);
    if (r == 0)
        r = bytes == 0 && o.path == NULL ? -EINVAL : check_values(&o);
    if (r == 0)
        r = check_supported(&o);
    if (r != 0)
        return r;
    if (bytes > SIZE_MAX / 2)
        return -ENOMEM; /* no machine has as many addresses */
    r = new_pager(&pager, bytes, &o);
    if (r != 0)
        return r;
    hyi_os_size_limit_enter(&limit);
    r = set_up(pager, &o);
    hyi_os_size_limit_leave(&limit);
    if (r == 0)
        *out = pager;
    else
        tear_down(pager);
    errno = saved;
    return r;
}

int hy_pager_release(hy_pager *pager)
{
    struct hyi_os_size_limit limit;
    int saved = errno;

    if (pager == NULL)
        return 0;
    if (hyi_pager_is_stale(pager)) {
        close_all(pager);
        errno = saved;
        return 0;
    }
    if (pager->hold.frozen)
        return -EBUSY;
    /* A log that waits to be copied home is left to the next open; else the
     * file ends with its pages. It is as good with a tail. */
    if (pager->has_file && !pager->read_only && !pager->file.pending) {
        hyi_os_size_limit_enter(&limit);
        hyi_file_trim(&pager->file);
        hyi_os_size_limit_leave(&limit);
    }
    tear_down(pager);
    errno = saved;
    return 0;
}

void *hy_pager_base(const hy_pager *pager)
{
    return pager->base;
}

uint64_t hy_pager_bytes(const hy_pager *pager)
{
    return pager->bytes;
}

size_t hy_pager_page_bytes(const hy_pager *pager)
{
    return pager->page_bytes;
}

int hyi_pager_range(const struct hy_pager *pager, uint64_t offset,
                    uint64_t bytes, bool aligned)
{
    if (pager == NULL)
        return -EINVAL;
    if (hyi_pager_is_stale(pager))
        return -ESTALE;
    if (aligned && (!hyi_is_aligned(offset, pager->page_bytes) ||
                    !hyi_is_aligned(bytes, pager->page_bytes)))
        return -EINVAL;
    return hyi_range_fits(offset, bytes, pager->bytes) ? 0 : -ERANGE;
}
