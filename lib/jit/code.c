/*
 * code.c - executable memory that is never writable where it is executable.
 *
 *      hy_code --> region --> region --> ...        newest first
 *
 *      dual: a memfd of 256 KiB, mapped twice         spans of 64-byte units,
 *        execute  r-x |k0 |k1 |..|  free  |           a bit for each unit
 *        write    rw- |k0 |k1 |..|  free  |
 *      toggle: one region for each span, written and then made executable
 *
 * fork. A shared mapping stays shared: a span that is freed and written again
 * by one process would change the code under the other. So every fork starts a
 * new epoch in both, counted by hyi_process.code_forks, and a region of an
 * earlier epoch is never written again. Its writable view is not inherited,
 * and the child does not unmap at that address, where by then something else
 * may be.
 *
 * Invariant: a span is written only between its allocation and its publication,
 * in the process and the epoch that mapped its region.
 * Upstream: expr_compile.c. Downstream: os.h.
 */
#include "code.h"

#include <hyperion/patch.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arch.h"
#include "bits.h"
#include "check.h"
#include "options.h"
#include "os.h"
#include "process.h"

enum {
    UNIT_BYTES = 64,
    REGION_BYTES = 256 * 1024,
    DEFAULT_LIMIT_BYTES = 64 * 1024 * 1024,
    CAPS_KNOWN = 1u << 31
};

struct hyi_code_region {
    struct hyi_code_region *next;
    struct hyi_code_view view;
    uint32_t forks; /* the epoch that may write */
    uint32_t units, used;
    uint32_t hint; /* where the last search ended */
    uint64_t taken[];
};

struct hy_code {
    _Atomic uint64_t holds; /* the caller's and one for each span */
    unsigned mechanism;
    size_t limit_bytes;
    /* The rest is under HYI_LOCK_CODE. */
    struct hyi_code_region *regions;
    hy_code_stats stats;
    hy_report report;
    char name[32];
};

/* ---- the lock, and fork -------------------------------------------------- */

static void lock(void)
{
    hyi_process_lock(HYI_LOCK_CODE);
}

static void unlock(void)
{
    hyi_process_unlock(HYI_LOCK_CODE);
}

static void after_fork(void)
{
    hyi_process.code_forks++;
}

static const struct hyi_fork_hooks fork_hooks = {NULL, after_fork, after_fork};

static int watch_fork(void)
{
    int r = hyi_process_watch_fork();

    lock();
    hyi_process.lock[HYI_LOCK_CODE].hooks = &fork_hooks;
    unlock();
    return r;
}

/* ---- views --------------------------------------------------------------- */

int hyi_code_view_map(struct hyi_code_view *out, const char *name, size_t bytes)
{
    void *execute, *write;
    int saved = errno;
    int fd, r = hyi_os_memory_file(&fd, name, bytes);

    if (r != 0)
        return r;
    r = hyi_os_map_file(&execute, fd, 0, bytes, HYI_OS_READ | HYI_OS_EXECUTE,
                        true);
    if (r == 0) {
        r = hyi_os_map_file(&write, fd, 0, bytes, HYI_OS_READ | HYI_OS_WRITE,
                            true);
        if (r != 0)
            hyi_os_release(execute, bytes);
    }
    close(fd);
    errno = saved;
    if (r != 0)
        return r;
    r = hyi_os_exclude_from_fork(write, bytes);
    if (r != 0) {
        hyi_os_release(execute, bytes);
        hyi_os_release(write, bytes);
        return r;
    }
    *out = (struct hyi_code_view){execute, write, bytes, getpid()};
    return 0;
}

void hyi_code_view_unmap(const struct hyi_code_view *view)
{
    hyi_os_release(view->execute, view->bytes);
    if (view->write != view->execute && view->process == getpid())
        hyi_os_release(view->write, view->bytes);
}

void hyi_code_sync(void *execute, size_t bytes)
{
    __builtin___clear_cache((char *)execute, (char *)execute + bytes);
}

/* Pages that are written once and executable from then on. */
static int toggle_map(struct hyi_code_view *out, const void *code, size_t count)
{
    size_t bytes = hyi_align_up(count, hyi_os_page_bytes());
    void *p;
    int r = hyi_os_reserve(&p, bytes, HYI_OS_READ | HYI_OS_WRITE, NULL, false);

    if (r != 0)
        return r;
    memcpy(p, code, count);
    r = hyi_os_protect(p, bytes, HYI_OS_READ | HYI_OS_EXECUTE);
    if (r != 0) {
        hyi_os_release(p, bytes);
        return r;
    }
    hyi_code_sync(p, count);
    *out = (struct hyi_code_view){p, p, bytes, getpid()};
    return 0;
}

/* ---- probing ------------------------------------------------------------- */

static bool runs_as(const void *execute, uint32_t value)
{
    uint32_t (*function)(void);

    memcpy(&function, &execute, sizeof(function));
    return function() == value;
}

/* Writing twice finds emulators that keep running the first version. */
static bool dual_works(void)
{
    struct hyi_code_view view;
    uint8_t code[32];
    bool works = true;

    if (hyi_code_view_map(&view, "hyperion probe", hyi_os_page_bytes()) != 0)
        return false;
    for (uint32_t value = 1; value <= 2 && works; value++) {
        size_t count = hy_arch_jit_constant(code, value);

        memcpy(view.write, code, count);
        hyi_code_sync(view.execute, count);
        works = count != 0 && runs_as(view.execute, value);
    }
    hyi_code_view_unmap(&view);
    return works;
}

static bool toggle_works(void)
{
    bool works = true;

    for (uint32_t value = 1; value <= 2 && works; value++) {
        struct hyi_code_view view;
        uint8_t code[32];
        size_t count = hy_arch_jit_constant(code, value);

        if (count == 0 || toggle_map(&view, code, count) != 0)
            return false;
        works = runs_as(view.execute, value);
        hyi_code_view_unmap(&view);
    }
    return works;
}

unsigned hyi_code_probe(void)
{
    unsigned caps = 0;

    if (dual_works())
        caps |= HY_CODE_DUAL;
    if (toggle_works())
        caps |= HY_CODE_TOGGLE;
    if (caps == 0)
        return HY_CODE_NONE;
    if (hyi_expr_native_usable())
        caps |= HY_CODE_NATIVE;
    return caps;
}

unsigned hy_code_caps(void)
{
    /* Relaxed: the word is all there is; racing probes find the same. */
    unsigned caps =
        atomic_load_explicit(&hyi_process.code_caps, memory_order_relaxed);

    if (caps == 0) {
        caps = hyi_code_probe() | CAPS_KNOWN;
        if (hy_patch_caps() != 0)
            caps |= HY_CODE_PATCH;
        atomic_store_explicit(&hyi_process.code_caps, caps,
                              memory_order_relaxed);
    }
    return caps & ~(unsigned)CAPS_KNOWN;
}

/* ---- regions and spans (under the lock) ---------------------------------- */

static bool is_taken(const struct hyi_code_region *r, uint32_t unit)
{
    return r->taken[unit / 64] >> (unit % 64) & 1;
}

static void mark(struct hyi_code_region *r, uint32_t first, uint32_t units,
                 bool taken)
{
    for (uint32_t u = first; u < first + units; u++) {
        uint64_t bit = (uint64_t)1 << (u % 64);

        HYI_ASSERT(is_taken(r, u) != taken);
        r->taken[u / 64] ^= bit;
    }
    r->used = taken ? r->used + units : r->used - units;
}

/* Finds count free units in [from, to); false when there are none. */
static bool find_run(const struct hyi_code_region *r, uint32_t from,
                     uint32_t to, uint32_t count, uint32_t *first)
{
    uint32_t length = 0;

    for (uint32_t u = from; u < to; u++) {
        if (u % 64 == 0 && r->taken[u / 64] == UINT64_MAX) {
            length = 0;
            u += 63;
            continue;
        }
        length = is_taken(r, u) ? 0 : length + 1;
        if (length == count) {
            *first = u + 1 - count;
            return true;
        }
    }
    return false;
}

static bool take(struct hyi_code_region *r, uint32_t count, uint32_t *first)
{
    if (r->forks != hyi_process.code_forks || r->units - r->used < count)
        return false;
    if (!find_run(r, r->hint, r->units, count, first) &&
        !find_run(r, 0, r->units, count, first))
        return false;
    mark(r, *first, count, true);
    r->hint = *first + count;
    return true;
}

/* Puts a mapped view among the regions of code. */
static int region_add(hy_code *code, const struct hyi_code_view *view,
                      struct hyi_code_region **out)
{
    size_t units = view->bytes / UNIT_BYTES;
    size_t words = (units + 63) / 64;
    struct hyi_code_region *r = calloc(1, sizeof(*r) + words * 8);

    if (r == NULL)
        return -ENOMEM;
    r->view = *view;
    r->forks = hyi_process.code_forks;
    r->units = (uint32_t)units;
    r->next = code->regions;
    code->regions = r;
    code->stats.regions++;
    code->stats.mapped_bytes += view->bytes;
    *out = r;
    return 0;
}

static void region_remove(hy_code *code, struct hyi_code_region *r)
{
    struct hyi_code_region **link = &code->regions;

    while (*link != r)
        link = &(*link)->next;
    *link = r->next;
    code->stats.regions--;
    code->stats.mapped_bytes -= r->view.bytes;
    hyi_code_view_unmap(&r->view);
    free(r);
}

static int region_map(hy_code *code, size_t count, const void *bytes,
                      struct hyi_code_region **out)
{
    size_t room = code->limit_bytes - code->stats.mapped_bytes;
    size_t wanted = hyi_align_up(count, hyi_os_page_bytes());
    struct hyi_code_view view;
    int r;

    if (wanted > room)
        return -ENOSPC;
    if (code->mechanism == HY_CODE_TOGGLE) {
        r = toggle_map(&view, bytes, count);
    } else {
        if (wanted < REGION_BYTES)
            wanted = room < REGION_BYTES
                         ? hyi_align_down(room, hyi_os_page_bytes())
                         : REGION_BYTES;
        r = hyi_code_view_map(&view, code->name, wanted);
    }
    if (r != 0)
        return r;
    r = region_add(code, &view, out);
    if (r != 0)
        hyi_code_view_unmap(&view);
    return r;
}

/* A region with room, and where; mapped when there is none. Toggled pages are
 * written as they are mapped, and hold one span. */
static int region_find(hy_code *code, const void *bytes, size_t count,
                       uint32_t units, struct hyi_code_region **out,
                       uint32_t *first)
{
    int r;

    if (code->mechanism == HY_CODE_DUAL) {
        for (*out = code->regions; *out != NULL; *out = (*out)->next)
            if (take(*out, units, first))
                return 0;
    }
    r = region_map(code, count, bytes, out);
    if (r == 0)
        HYI_ASSERT(take(*out, units, first));
    return r;
}

static int span_take(hy_code *code, const void *bytes, size_t count,
                     struct hyi_code_span *out)
{
    uint32_t units = (uint32_t)((count + UNIT_BYTES - 1) / UNIT_BYTES);
    struct hyi_code_region *region;
    uint32_t first = 0;
    int r = region_find(code, bytes, count, units, &region, &first);

    if (r != 0)
        return r;
    *out = (struct hyi_code_span){
        region, first, units, region->view.execute + (size_t)first * UNIT_BYTES,
        count};
    code->stats.used_bytes += (size_t)units * UNIT_BYTES;
    code->stats.kernels++;
    code->stats.published++;
    code->stats.emitted_bytes += count;
    return 0;
}

/* ---- lifetime ------------------------------------------------------------ */

static void hold_drop(hy_code *code)
{
    /* Release: what was done with code comes before its end; acquire: the
     * last one sees it all. Partner: the same decrement in other threads. */
    if (atomic_fetch_sub_explicit(&code->holds, 1, memory_order_acq_rel) != 1)
        return;
    lock();
    while (code->regions != NULL)
        region_remove(code, code->regions);
    unlock();
    free(code);
}

const struct hyi_code_view *hyi_code_span_view(const struct hyi_code_span *span)
{
    return &span->region->view;
}

bool hyi_code_is_writable(const hy_code *code)
{
    return code->mechanism != HY_CODE_NONE;
}

int hyi_code_publish(hy_code *code, const void *bytes, size_t count,
                     struct hyi_code_span *out)
{
    struct hyi_code_span span;
    int r;

    HYI_ASSERT(count != 0);
    if (code->mechanism == HY_CODE_NONE)
        return -ENOTSUP;
    if (count > code->limit_bytes)
        return -ENOSPC;
    lock();
    r = span_take(code, bytes, count, &span);
    unlock();
    if (r != 0)
        return r;
    if (code->mechanism == HY_CODE_DUAL) {
        memcpy(span.region->view.write + (size_t)span.first * UNIT_BYTES, bytes,
               count);
        hyi_code_sync(span.execute, count);
    }
    /* Relaxed: the caller holds code by another hold. */
    atomic_fetch_add_explicit(&code->holds, 1, memory_order_relaxed);
    *out = span;
    return 0;
}

void hyi_code_retract(hy_code *code, const struct hyi_code_span *span)
{
    struct hyi_code_region *r = span->region;
    size_t bytes = (size_t)span->units * UNIT_BYTES;

    lock();
    /* A kernel run after its release stops here instead of running another. */
    if (code->mechanism == HY_CODE_DUAL && r->forks == hyi_process.code_forks)
        memset(r->view.write + (size_t)span->first * UNIT_BYTES,
               hy_arch_jit_trap(), bytes);
    mark(r, span->first, span->units, false);
    code->stats.used_bytes -= bytes;
    code->stats.kernels--;
    if (r->used == 0 &&
        (code->mechanism == HY_CODE_TOGGLE || r != code->regions ||
         r->forks != hyi_process.code_forks))
        region_remove(code, r);
    unlock();
    hold_drop(code);
}

static void report(const hy_code *code, int level, const char *message)
{
    if (code->report.write != NULL)
        code->report.write(code->report.ctx, level, message);
}

/* The mechanism to use; 0 when the one asked for does not work. */
static unsigned choose(unsigned wanted)
{
    unsigned caps = hy_code_caps();

    if (wanted == HY_CODE_NONE)
        return HY_CODE_NONE;
    if (wanted != HY_CODE_AUTO)
        return caps & wanted;
    if (caps & HY_CODE_DUAL)
        return HY_CODE_DUAL;
    return caps & HY_CODE_TOGGLE ? HY_CODE_TOGGLE : HY_CODE_NONE;
}

int hy_code_create(hy_code **out, const hy_code_options *options)
{
    hy_code_options o;
    hy_code *code;
    int saved = errno;
    int r = hyi_options_read(&o, sizeof(o), options);

    if (r != 0)
        return r;
    if (out == NULL ||
        (o.mechanism != HY_CODE_AUTO && o.mechanism != HY_CODE_DUAL &&
         o.mechanism != HY_CODE_TOGGLE && o.mechanism != HY_CODE_NONE))
        return -EINVAL;
    unsigned mechanism = choose(o.mechanism);

    if (mechanism == 0)
        return -ENOTSUP;
    r = watch_fork();
    if (r != 0)
        return r;
    code = calloc(1, sizeof(*code));
    errno = saved;
    if (code == NULL)
        return -ENOMEM;
    atomic_init(&code->holds, 1);
    code->mechanism = mechanism;
    code->limit_bytes =
        o.limit_bytes != 0 ? o.limit_bytes : (size_t)DEFAULT_LIMIT_BYTES;
    code->report = o.report;
    hyi_name_copy(code->name, sizeof(code->name),
                  o.name != NULL ? o.name : "hyperion");
    if (o.mechanism == HY_CODE_AUTO && mechanism == HY_CODE_TOGGLE)
        report(code, HY_REPORT_NOTE,
               "code memory cannot be mapped twice here: each kernel takes "
               "pages of its own");
    if (o.mechanism == HY_CODE_AUTO && mechanism == HY_CODE_NONE)
        report(code, HY_REPORT_WARNING,
               "no executable memory can be had here: expressions interpret");
    *out = code;
    return 0;
}

int hy_code_destroy(hy_code *code)
{
    if (code != NULL)
        hold_drop(code);
    return 0;
}

int hy_code_stats_get(const hy_code *code, hy_code_stats *out)
{
    hy_code_stats stats;

    if (code == NULL || out == NULL)
        return -EINVAL;
    lock();
    stats = code->stats;
    unlock();
    stats.mechanism = code->mechanism;
    return hyi_struct_fill(out, &stats, sizeof(stats));
}
