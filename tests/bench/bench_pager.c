/*
 * bench_pager.c - first touches over a terabyte, isolated pages, dirty tracking
 * and durable checkpoints, beside the kernel's own pages, a handler that opens
 * one page at a time, and LMDB.
 *
 *      1 TB  |....[ touched ].............|   each run in a fresh reservation
 *
 * Upstream: bench.h, bench_pager.h. Downstream: pager.h.
 */
#include "bench_pager.h"

#include "bench.h"

#include <hyperion/pager.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define TB       ((uint64_t)1 << 40)
#define PAGE     4096u

enum { FILE_PAGES = 25600, DIRTY_PAGES = 1000 };

static const char file_path[] = "bench_pager.store";
static const char lmdb_path[] = "bench_pager.mdb";

/* --- reservations --------------------------------------------------------- */

static hy_pager *reserve(uint64_t bytes, unsigned mechanism, unsigned flags,
                         size_t cluster_bytes, const char *path)
{
    hy_pager_options o = HY_PAGER_OPTIONS_INIT;
    hy_pager *pager = NULL;

    o.mechanism = mechanism;
    o.flags = flags;
    o.cluster_bytes = cluster_bytes;
    o.path = path;
    return hy_pager_reserve(&pager, bytes, &o) == 0 ? pager : NULL;
}

static void touch(char *base, uint64_t pages, uint64_t stride)
{
    for (uint64_t i = 0; i < pages; i++)
        *(volatile uint64_t *)(base + i * stride) = i + 1;
    for (uint64_t i = 0; i < pages; i++)
        if (*(volatile uint64_t *)(base + i * stride) != i + 1)
            bench_wrong("page");
}

static uint64_t mappings(void)
{
    FILE *file = fopen("/proc/self/maps", "r");
    uint64_t lines = 0;
    int c;

    while (file != NULL && (c = fgetc(file)) != EOF)
        lines += c == '\n';
    if (file != NULL)
        fclose(file);
    return lines;
}

/* --- first touch ---------------------------------------------------------- */

struct way {
    unsigned mechanism, flags;
    size_t cluster_bytes;
};

static uint64_t dense_pages(void)
{
    return bench_scale(40000) / 512 * 512; /* whole huge pages */
}

static double touch_pager(void *arg)
{
    const struct way *w = (const struct way *)arg;
    hy_pager *pager =
        reserve(TB, w->mechanism, w->flags, w->cluster_bytes, NULL);
    uint64_t start;

    if (pager == NULL)
        bench_wrong("reservation of 1 TB");
    start = bench_now();
    touch((char *)hy_pager_base(pager) + TB / 3 / (2 << 20) * (2 << 20),
          dense_pages(), PAGE);
    start = bench_now() - start;
    hy_pager_release(pager);
    return (double)start / (double)dense_pages();
}

static double touch_kernel(void *arg)
{
    char *p = mmap(NULL, TB, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    uint64_t start;

    (void)arg;
    if (p == MAP_FAILED)
        bench_wrong("mmap of 1 TB");
    madvise(p, TB, MADV_NOHUGEPAGE);
    start = bench_now();
    touch(p + TB / 3 / (2 << 20) * (2 << 20), dense_pages(), PAGE);
    start = bench_now() - start;
    munmap(p, TB);
    return (double)start / (double)dense_pages();
}

/* The usual handler: the page that was touched is made accessible. */
static void open_page(int signal, siginfo_t *info, void *context)
{
    uintptr_t page = (uintptr_t)info->si_addr & ~(uintptr_t)(PAGE - 1);

    (void)signal;
    (void)context;
    if (mprotect((void *)page, PAGE, PROT_READ | PROT_WRITE) != 0)
        _exit(1);
}

static struct sigaction before;

static void install_handler(void)
{
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_sigaction = open_page;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, &before);
}

static double touch_by_handler(void *arg)
{
    char *p = mmap(NULL, TB, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    uint64_t start;

    (void)arg;
    if (p == MAP_FAILED)
        bench_wrong("mmap of 1 TB");
    install_handler();
    start = bench_now();
    touch(p + TB / 3 / PAGE * PAGE, dense_pages(), PAGE);
    start = bench_now() - start;
    sigaction(SIGSEGV, &before, NULL);
    munmap(p, TB);
    return (double)start / (double)dense_pages();
}

/* --- isolated pages ------------------------------------------------------- */

static double isolated;

static double isolated_pages(void *arg)
{
    const struct way *w = (const struct way *)arg;
    hy_pager *pager =
        reserve(TB, w->mechanism, w->flags, w->cluster_bytes, NULL);
    uint64_t pages = bench_is_quick() ? 50000 : 1000000, maps = mappings();

    if (pager == NULL)
        bench_wrong("reservation of 1 TB");
    touch((char *)hy_pager_base(pager), pages, TB / pages / PAGE * PAGE);
    isolated = (double)(mappings() - maps);
    hy_pager_release(pager);
    return (double)pages;
}

static double isolated_maps(void *arg)
{
    (void)arg;
    return isolated;
}

/* --- a file --------------------------------------------------------------- */

static hy_pager *open_file(void)
{
    hy_pager *pager;

    unlink(file_path);
    pager = reserve((uint64_t)FILE_PAGES * PAGE, HY_PAGER_AUTO, HY_PAGER_CREATE,
                    0, file_path);
    if (pager == NULL)
        bench_wrong("store");
    touch((char *)hy_pager_base(pager), FILE_PAGES, PAGE);
    if (hy_pager_checkpoint(pager) != 0)
        bench_wrong("first checkpoint");
    return pager;
}

static void close_file(hy_pager *pager)
{
    hy_pager_release(pager);
    unlink(file_path);
}

/* The first write to each of many clean pages that are present. */
static double first_writes(void *arg)
{
    hy_pager *pager = open_file();
    char *base = (char *)hy_pager_base(pager);
    uint64_t start = bench_now();

    (void)arg;
    for (uint64_t i = 0; i < FILE_PAGES; i++)
        *(volatile uint64_t *)(base + i * PAGE) = i + 2;
    start = bench_now() - start;
    close_file(pager);
    return (double)start / FILE_PAGES;
}

static double first_writes_by_handler(void *arg)
{
    char *p = mmap(NULL, (size_t)FILE_PAGES * PAGE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t start;

    (void)arg;
    if (p == MAP_FAILED)
        bench_wrong("mmap");
    touch(p, FILE_PAGES, PAGE);
    mprotect(p, (size_t)FILE_PAGES * PAGE, PROT_READ);
    install_handler();
    start = bench_now();
    for (uint64_t i = 0; i < FILE_PAGES; i++)
        *(volatile uint64_t *)(p + i * PAGE) = i + 2;
    start = bench_now() - start;
    sigaction(SIGSEGV, &before, NULL);
    munmap(p, (size_t)FILE_PAGES * PAGE);
    return (double)start / FILE_PAGES;
}

static uint64_t random_page(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (*state >> 33) % FILE_PAGES;
}

/* ms from the first write to the durable point. */
static double checkpoint(void *arg)
{
    hy_pager *pager = open_file();
    char *base = (char *)hy_pager_base(pager);
    uint64_t state = 3, start = bench_now();

    (void)arg;
    for (uint64_t i = 0; i < DIRTY_PAGES; i++)
        memset(base + random_page(&state) * PAGE, (int)i, PAGE);
    if (hy_pager_checkpoint(pager) != 0)
        bench_wrong("checkpoint");
    start = bench_now() - start;
    close_file(pager);
    return (double)start / 1e6;
}

static double checkpoint_lmdb(void *arg)
{
    static char page[PAGE];
    uint64_t state = 3, start;

    (void)arg;
    lmdb_open(lmdb_path, (uint64_t)FILE_PAGES * PAGE * 4);
    for (uint64_t i = 0; i < FILE_PAGES; i++)
        lmdb_put(i, page);
    lmdb_commit();
    start = bench_now();
    for (uint64_t i = 0; i < DIRTY_PAGES; i++) {
        memset(page, (int)i, PAGE);
        lmdb_put(random_page(&state), page);
    }
    lmdb_commit();
    start = bench_now() - start;
    lmdb_close(lmdb_path);
    return (double)start / 1e6;
}

/* --- the table ------------------------------------------------------------ */

static void rows_touch(void)
{
    static const struct way automatic = {HY_PAGER_AUTO, 0, 0};
    static const struct way huge = {HY_PAGER_AUTO, HY_PAGER_HUGE, 0};
    static const struct way trapped = {HY_PAGER_SIGNAL, 0, 0};
    static const struct way single = {HY_PAGER_SIGNAL, 0, PAGE};
    struct bench_row row = {
        .what = "first touch over 1 TB, dense",
        .unit = "ns/page",
        .target = "1.05x the kernel at most; signal 0.8x, huge 0.25x"};
    struct bench_contender c[] = {
        {"auto", touch_pager, (void *)(uintptr_t)&automatic, NULL},
        {"kernel's own", touch_kernel, NULL, NULL},
        {"ours, huge pages", touch_pager, (void *)(uintptr_t)&huge, NULL},
        {"ours, signal", touch_pager, (void *)(uintptr_t)&trapped, NULL},
        {"ours, signal, 4 KiB clusters", touch_pager,
         (void *)(uintptr_t)&single, NULL},
        {"handler and mprotect", touch_by_handler, NULL, NULL}};
    hy_pager *pager = reserve(TB, HY_PAGER_AUTO, HY_PAGER_HUGE, 0, NULL);

    if (pager == NULL)
        c[2].absent = "no huge pages here";
    hy_pager_release(pager);
    bench_row_run(&row, c, COUNT(c));
}

static void rows_isolated(void)
{
    static const struct way automatic = {HY_PAGER_AUTO, 0, 0};
    struct bench_row row = {.what = "isolated pages over 1 TB",
                            .unit = "pages",
                            .target = "1,000,000",
                            .more_is_better = true,
                            .repeats = 5};
    struct bench_row maps = {.what = "mappings that this took",
                             .unit = "mappings",
                             .target = "64 at most"};
    struct bench_contender c = {"auto", isolated_pages,
                                (void *)(uintptr_t)&automatic, NULL};
    struct bench_contender m = {"auto", isolated_maps, NULL, NULL};

    bench_row_run(&row, &c, 1);
    bench_row_run(&maps, &m, 1);
}

static void rows_file(void)
{
    struct bench_row row = {.what = "first write to a clean page of a file",
                            .unit = "ns",
                            .target = "900 at most, 8x mprotect",
                            .repeats = 5};
    struct bench_row durable = {.what = "1,000 dirty pages made durable",
                                .unit = "ms",
                                .target = "a tenth of LMDB, 1.5x in total",
                                .repeats = 5};
    struct bench_contender c[] = {
        {"hy_pager", first_writes, NULL, NULL},
        {"handler and mprotect", first_writes_by_handler, NULL, NULL}};
    struct bench_contender d[] = {
        {"hy_pager_checkpoint", checkpoint, NULL, NULL},
        {"LMDB", checkpoint_lmdb, NULL, NULL}};

    bench_row_run(&row, c, COUNT(c));
#ifndef HY_HAVE_LMDB
    d[1].absent = "not on this system";
#endif
    bench_row_run(&durable, d, COUNT(d));
}

static void rows_later(void)
{
    struct bench_row row = {.what = "2 GiB file, 256 MiB budget, random reads",
                            .unit = "operations/s",
                            .target = "1.0x an explicit pool"};
    hy_pager_options o = HY_PAGER_OPTIONS_INIT;
    hy_pager *pager = NULL;
    int r;

    o.budget_bytes = 64 << 20;
    r = hy_pager_reserve(&pager, 1 << 30, &o);
    if (r != 0)
        bench_row_skip(&row, "budgets are not offered yet");
    hy_pager_release(pager);
}

int main(int argc, char **argv)
{
    bench_begin(argc, argv, "pager");
    rows_touch();
    rows_isolated();
    rows_file();
    rows_later();
    bench_note("A store of 100 MiB in the current directory; LMDB keeps the "
               "same pages by number, one transaction, its defaults.");
    return bench_end();
}
