/*
 * patch_write.c - two ways of writing a patch site while other threads run
 * through it, and how one of them is chosen.
 *
 *   store   edits, by address:   |e e e|        |e|  |e e|
 *           one pwrite to /proc/self/mem a group: only bytes of edits change,
 *           and each site changes by one byte (x86-64) or one word (AArch64,
 *           written alone). The mapping stays as it is: never writable.
 *
 *   remap   a copy of the pages is changed and put in their place as a whole
 *           (hyi_os_code_replace): no byte of executable memory changes.
 *
 * Invariant: at every instant a site holds one form or another, complete.
 * Upstream: patch.c. Downstream: arch/<isa>/jit_patch.c and os.h.
 */
#include "patch_write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "check.h"
#include "os.h"
#include "process.h"

enum {
    GROUP_GAP = 256,     /* unchanged bytes that one write may span */
    GROUP_BYTES = 2048,  /* on the stack */
    RUN_BYTES = 64 << 10 /* pages replaced at once */
};

void hyi_patch_lock(_Atomic uint32_t *word)
{
    uint32_t seen = 0;

    /* Acquire, here and below: pairs with the release in unlock. 2 says that
     * somebody may sleep. */
    if (atomic_compare_exchange_strong_explicit(
            word, &seen, 1, memory_order_acquire, memory_order_relaxed))
        return;
    while (atomic_exchange_explicit(word, 2, memory_order_acquire) != 0)
        hyi_os_futex_wait(word, 2, HY_FOREVER, false);
}

void hyi_patch_unlock(_Atomic uint32_t *word)
{
    if (atomic_exchange_explicit(word, 0, memory_order_release) == 2)
        hyi_os_futex_wake(word, 1, false);
}

/* The bytes of a site are one or four: no call to compare or copy them. */
static bool holds(const struct hyi_patch_edit *e, uint32_t code, size_t bytes)
{
    uint32_t word;

    if (bytes == 1)
        return *e->at == (uint8_t)code;
    memcpy(&word, e->at, sizeof(word));
    return word == code;
}

/* -EBUSY when one holds something foreign, such as a breakpoint. */
static int check_edits(const struct hyi_patch_edit *edits, size_t count)
{
    size_t bytes = hy_arch_patch_bytes();

    for (size_t i = 0; i < count; i++)
        if (!holds(&edits[i], edits[i].from, bytes) &&
            !holds(&edits[i], edits[i].to, bytes))
            return -EBUSY;
    return 0;
}

/* Changes a copy of the bytes that start at base. */
static void change_copy(uint8_t *copy, const uint8_t *base,
                        const struct hyi_patch_edit *edits, size_t count)
{
    size_t bytes = hy_arch_patch_bytes();

    for (size_t i = 0; i < count; i++) {
        uint8_t *to = copy + (edits[i].at - base);

        if (bytes == 1)
            *to = (uint8_t)edits[i].to;
        else
            memcpy(to, &edits[i].to, sizeof(edits[i].to));
    }
}

/* A refused or short write leaves some done: the code itself tells. */
static void note_forms(const struct hyi_patch_edit *edits, size_t count)
{
    size_t bytes = hy_arch_patch_bytes();

    for (size_t i = 0; i < count; i++)
        if (holds(&edits[i], edits[i].to, bytes))
            atomic_store_explicit(&edits[i].site->form, (uint8_t)edits[i].form,
                                  memory_order_relaxed);
}

/* --- store ---------------------------------------------------------------- */

static size_t span_of(const struct hyi_patch_edit *edits, size_t count)
{
    return (size_t)(edits[count - 1].at - edits[0].at) + hy_arch_patch_bytes();
}

/* How many of the edits one write makes. Words are written alone: only then is
 * each store to be seen as one. */
static size_t group_of(const struct hyi_patch_edit *edits, size_t count)
{
    size_t n = 1;

    if (hy_arch_patch_bytes() > 1)
        return 1;
    while (n < count && edits[n].site->lock == edits[0].site->lock &&
           edits[n].at - edits[n - 1].at <= GROUP_GAP &&
           span_of(edits, n + 1) <= GROUP_BYTES)
        n++;
    return n;
}

static int store_group(int fd, const struct hyi_patch_edit *edits, size_t count)
{
    size_t bytes = span_of(edits, count);
    uint8_t copy[GROUP_BYTES];
    int r;

    r = check_edits(edits, count);
    if (r != 0)
        return r;
    memcpy(copy, edits[0].at, bytes);
    change_copy(copy, edits[0].at, edits, count);
    r = hyi_os_code_write(fd, edits[0].at, copy, bytes);
    note_forms(edits, count);
    return r;
}

static int store(struct hyi_patch_writer *w, const struct hyi_patch_edit *edits,
                 size_t count)
{
    int r = w->fd < 0 ? hyi_os_code_open(&w->fd) : 0;

    for (size_t i = 0, n; r == 0 && i < count; i += n) {
        n = group_of(edits + i, count - i);
        hyi_patch_lock(edits[i].site->lock);
        r = store_group(w->fd, edits + i, n);
        hyi_patch_unlock(edits[i].site->lock);
    }
    return r;
}

/* --- remap ---------------------------------------------------------------- */

static uint8_t *page_of(const uint8_t *at)
{
    return (uint8_t *)hyi_align_down((uintptr_t)at, hyi_os_page_bytes());
}

/* How many of the edits lie in one run of pages without a gap. */
static size_t run_of(const struct hyi_patch_edit *edits, size_t count)
{
    uint8_t *first = page_of(edits[0].at);
    size_t page = hyi_os_page_bytes(), n = 1;

    while (n < count && edits[n].site->lock == edits[0].site->lock &&
           (size_t)(page_of(edits[n].at) - page_of(edits[n - 1].at)) <= page &&
           (size_t)(page_of(edits[n].at) - first) + page <= RUN_BYTES)
        n++;
    return n;
}

static int remap_run(const struct hyi_patch_edit *edits, size_t count)
{
    size_t page = hyi_os_page_bytes();
    uint8_t *first = page_of(edits[0].at), *copy;
    size_t bytes = (size_t)(page_of(edits[count - 1].at) - first) + page;
    int r;

    r = check_edits(edits, count);
    if (r != 0)
        return r;
    copy = malloc(bytes);
    if (copy == NULL)
        return -ENOMEM;
    memcpy(copy, first, bytes);
    change_copy(copy, first, edits, count);
    __builtin___clear_cache((char *)copy, (char *)copy + bytes);
    r = hyi_os_code_replace(first, copy, bytes);
    note_forms(edits, count);
    free(copy);
    return r;
}

static int remap(const struct hyi_patch_edit *edits, size_t count)
{
    int r = 0;

    for (size_t i = 0, n; r == 0 && i < count; i += n) {
        n = run_of(edits + i, count - i);
        hyi_patch_lock(edits[i].site->lock);
        r = remap_run(edits + i, n);
        hyi_patch_unlock(edits[i].site->lock);
    }
    return r;
}

static int by_address(const void *a, const void *b)
{
    const struct hyi_patch_edit *x = a, *y = b;

    return (x->at > y->at) - (x->at < y->at);
}

/* The sites of one key come in order (patch.c links them so); those of several
 * keys may not. */
static bool ascend(const struct hyi_patch_edit *edits, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (edits[i].at < edits[i - 1].at)
            return false;
    return true;
}

int hyi_patch_write(struct hyi_patch_writer *w, struct hyi_patch_edit *edits,
                    size_t count)
{
    if (count == 0)
        return 0;
    if (!ascend(edits, count))
        qsort(edits, count, sizeof(*edits), by_address);
    return w->way == HY_PATCH_STORE ? store(w, edits, count)
                                    : remap(edits, count);
}

void hyi_patch_writer_close(struct hyi_patch_writer *w)
{
    if (w->fd >= 0)
        hyi_os_code_close(w->fd);
    w->fd = -1;
}

/* --- which way ------------------------------------------------------------ */

#if HY_PATCH_SITES

/* A site of our own to try on. It is on, so that passing shows. */
HY_PATCH_DEFINE(hyi_patch_trial, 1);

extern const struct hy_patch_record __start_hy_patch_sites[]
    __attribute__((visibility("hidden")));
extern const struct hy_patch_record __stop_hy_patch_sites[]
    __attribute__((visibility("hidden")));

__attribute__((noinline)) static int trial_runs(void)
{
    if (HY_PATCH_IF(hyi_patch_trial))
        return 1;
    return 0;
}

static const struct hy_patch_record *trial_record(void)
{
    for (const struct hy_patch_record *r = __start_hy_patch_sites;
         r < __stop_hy_patch_sites; r++) {
        uintptr_t ref = (uintptr_t)&r->key + (uintptr_t)(intptr_t)(r->key & ~1);

        if (*(hy_patch *const *)ref == &hyi_patch_trial)
            return r;
    }
    return NULL;
}

/* The file must show the memory we see: an emulator's shows its own. */
static bool sees_our_memory(const uint8_t *code)
{
    uint8_t bytes[64];
    int fd = -1, r;

    if (hyi_os_code_open(&fd) != 0)
        return false;
    r = hyi_os_code_read(fd, code, bytes, sizeof(bytes));
    hyi_os_code_close(fd);
    return r == 0 && memcmp(bytes, code, sizeof(bytes)) == 0;
}

/* Rewrites the trial's site, and sees whether it then runs the new way: a
 * translator that does not notice runs the old. */
static bool passes_and_asks(struct hyi_patch_site *site,
                            struct hyi_patch_writer *w)
{
    struct hyi_patch_edit pass = hyi_patch_edit_of(
        site, HY_ARCH_PATCH_ASKS, HY_ARCH_PATCH_PASSES, HYI_PATCH_PASSES);
    struct hyi_patch_edit ask = hyi_patch_edit_of(
        site, HY_ARCH_PATCH_PASSES, HY_ARCH_PATCH_ASKS, HYI_PATCH_UNDECIDED);
    bool passed;

    if (trial_runs() != 1 || hyi_patch_write(w, &pass, 1) != 0)
        return false;
    if (hyi_os_barrier_core() != 0 && w->way == HY_PATCH_STORE)
        return false;
    passed = trial_runs() == 0;
    if (hyi_patch_write(w, &ask, 1) != 0)
        return false;
    hyi_os_barrier_core();
    return passed && trial_runs() == 1;
}

/* Rewrites the trial's site, and sees whether it then runs the new way: a
 * translator that does not notice runs the old. */
static bool works(struct hyi_patch_site *site, unsigned way)
{
    struct hyi_patch_writer w = {way, -1};
    bool yes = passes_and_asks(site, &w);

    hyi_patch_writer_close(&w);
    return yes;
}

static unsigned try_ways(void)
{
    const char *wanted = getenv("HY_PATCH");
    const struct hy_patch_record *record = trial_record();
    _Atomic uint32_t lock = 0;
    struct hyi_patch_site site = {.lock = &lock};

    if (record == NULL || (wanted != NULL && strcmp(wanted, "off") == 0))
        return 0;
    site.code = (uint8_t *)(uintptr_t)&record->site + record->site;
    site.head = (uint8_t *)(uintptr_t)&record->head + record->head;
    if (!hy_arch_patch_is_pristine(site.code, site.head))
        return 0;
    if ((wanted == NULL || strcmp(wanted, "remap") != 0) &&
        hy_arch_patch_in_place() && sees_our_memory(site.code) &&
        hyi_os_barrier_core() == 0 && works(&site, HY_PATCH_STORE))
        return HY_PATCH_STORE;
    if ((wanted == NULL || strcmp(wanted, "store") != 0) &&
        works(&site, HY_PATCH_REMAP))
        return HY_PATCH_REMAP;
    return 0;
}

#else

static unsigned try_ways(void)
{
    return 0;
}

#endif

unsigned hyi_patch_way(void)
{
    /* Acquire and release: the trial's writes come before its outcome. */
    int way =
        atomic_load_explicit(&hyi_process.patch_way, memory_order_acquire);

    if (way == 0) {
        int saved = errno;

        hyi_process_lock(HYI_LOCK_PATCH);
        way =
            atomic_load_explicit(&hyi_process.patch_way, memory_order_relaxed);
        if (way == 0) {
            way = 1 + (int)try_ways();
            atomic_store_explicit(&hyi_process.patch_way, way,
                                  memory_order_release);
        }
        hyi_process_unlock(HYI_LOCK_PATCH);
        errno = saved;
    }
    return (unsigned)way - 1;
}
