/*
 * bench_pager.c - first touches over a terabyte, trapped fills, isolated pages,
 * dirty tracking and durable checkpoints, beside the kernel's own pages, a
 * handler that opens what was touched, and LMDB.
 *
 *      1 TB  |....[ touched ].............|   each run in a fresh reservation
 *            |.x....x....x....x....x....x.|   isolated pages
 *      100 MiB file: all pages written and durable, then some dirtied
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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define TB       ((uint64_t)1 << 40)
#define PAGE     4096u
#define HUGE     ((uint64_t)2 << 20)

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
    touch((char *)hy_pager_base(pager) + TB / 3 / HUGE * HUGE, dense_pages(),
          PAGE);
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
    touch(p + TB / 3 / HUGE * HUGE, dense_pages(), PAGE);
    start = bench_now() - start;
    munmap(p, TB);
    return (double)start / (double)dense_pages();
}

/* The usual handler: what was touched is made accessible, by so much at once.
 */
static size_t handler_bytes;

static void open_page(int signal, siginfo_t *info, void *context)
{
    uintptr_t at = (uintptr_t)info->si_addr & ~(uintptr_t)(handler_bytes - 1);

    (void)signal;
    (void)context;
    if (mprotect((void *)at, handler_bytes, PROT_READ | PROT_WRITE) != 0)
        _exit(1);
}

static struct sigaction before;

static void install_handler(size_t bytes)
{
    struct sigaction action;

    handler_bytes = bytes;
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

    if (p == MAP_FAILED)
        bench_wrong("mmap of 1 TB");
    madvise(p, TB, MADV_NOHUGEPAGE);
    install_handler(((const struct way *)arg)->cluster_bytes);
    start = bench_now();
    touch((char *)(((uintptr_t)p + TB / 3) & ~(uintptr_t)(HUGE - 1)),
          dense_pages(), PAGE);
    start = bench_now() - start;
    sigaction(SIGSEGV, &before, NULL);
    munmap(p, TB);
    return (double)start / (double)dense_pages();
}

/* --- isolated pages ------------------------------------------------------- */

/*
 * One page a MiB in the full form. Each takes a page, and a page of the page
 * table with one neighbour: half of the memory at most.
 */
static uint64_t isolated_wanted(void)
{
    uint64_t wanted = bench_is_quick() ? 50000 : 1000000;
    uint64_t free_kib = bench_field("/proc/meminfo", "MemAvailable:");

    return wanted < free_kib / 16 ? wanted : free_kib / 16;
}

struct isolated {
    struct way way;
    double mappings; /* that the last run took */
};

static double isolated_pages(void *arg)
{
    struct isolated *t = (struct isolated *)arg;
    hy_pager *pager =
        reserve(TB, t->way.mechanism, t->way.flags, t->way.cluster_bytes, NULL);
    uint64_t pages = isolated_wanted();
    uint64_t maps = bench_count_lines("/proc/self/maps");

    if (pager == NULL)
        bench_wrong("reservation of 1 TB");
    touch((char *)hy_pager_base(pager), pages, TB / pages / PAGE * PAGE);
    t->mappings = (double)(bench_count_lines("/proc/self/maps") - maps);
    hy_pager_release(pager);
    return (double)pages;
}

static double isolated_maps(void *arg)
{
    return ((const struct isolated *)arg)->mappings;
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
    install_handler(PAGE);
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

/* --- killed ---------------------------------------------------------------
 *
 * A child fills every page of a small file with the number of its step and
 * checkpoints, step after step, until it is killed. What the next open finds
 * must be one step in all pages.
 */

enum { KILLED_PAGES = 64 };

static void write_steps(hy_pager *pager)
{
    char *base = (char *)hy_pager_base(pager);

    for (unsigned char step = base[0];; step++) {
        memset(base, step, (size_t)KILLED_PAGES * PAGE);
        if (hy_pager_checkpoint(pager) != 0)
            _exit(1);
    }
}

static void write_and_be_killed(const struct timespec *life)
{
    pid_t child = fork();
    int status = 0;

    if (child == 0) {
        hy_pager *pager = reserve((uint64_t)KILLED_PAGES * PAGE, HY_PAGER_AUTO,
                                  HY_PAGER_CREATE, 0, file_path);

        if (pager == NULL)
            _exit(1);
        write_steps(pager);
    }
    nanosleep(life, NULL);
    kill(child, SIGKILL);
    if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status))
        bench_wrong("the child to be killed");
}

static bool is_torn(void)
{
    hy_pager *pager = reserve((uint64_t)KILLED_PAGES * PAGE, HY_PAGER_AUTO,
                              HY_PAGER_CREATE, 0, file_path);
    const char *base;
    bool torn = false;

    if (pager == NULL)
        return true;
    base = (const char *)hy_pager_base(pager);
    for (size_t i = 0; i < (size_t)KILLED_PAGES * PAGE; i++)
        torn |= base[i] != base[0];
    hy_pager_release(pager);
    return torn;
}

static double torn(void *arg)
{
    uint64_t kills = *(uint64_t *)arg, state = 5;
    double found = 0;

    unlink(file_path);
    fflush(stdout);
    for (uint64_t i = 0; i < kills; i++) {
        struct timespec life = {0, 0};

        state = state * 6364136223846793005u + 1442695040888963407u;
        life.tv_nsec = (long)(500000 + (state >> 33) % 8000000);
        write_and_be_killed(&life);
        found += is_torn();
    }
    unlink(file_path);
    return found;
}

/* --- the table ------------------------------------------------------------ */

static const char no_uffd[] = "HY_PAGER_UFFD is not offered yet";

static const struct way automatic = {HY_PAGER_AUTO, 0, 0};
static const struct way huge = {HY_PAGER_AUTO, HY_PAGER_HUGE, 0};
static const struct way trapped = {HY_PAGER_SIGNAL, 0, 0};
static const struct way clusters = {HY_PAGER_SIGNAL, 0, 65536};
static const struct way single = {HY_PAGER_SIGNAL, 0, PAGE};

static struct bench_contender way(const char *name, double (*run)(void *),
                                  const struct way *w)
{
    struct bench_contender c = {name, run, (void *)(uintptr_t)w, NULL};

    return c;
}

static void rows_touch(void)
{
    struct bench_row row = {
        .what = "first touch over 1 TB, dense",
        .unit = "ns/page",
        .target = "1.05x the kernel's time; signal 0.8x, huge pages 0.25x"};
    struct bench_contender c[] = {way("auto", touch_pager, &automatic),
                                  way("kernel's own", touch_kernel, NULL),
                                  way("ours, huge pages", touch_pager, &huge),
                                  way("ours, signal", touch_pager, &trapped),
                                  {"ours, uffd", NULL, NULL, no_uffd}};
    hy_pager *pager = reserve(TB, HY_PAGER_AUTO, HY_PAGER_HUGE, 0, NULL);

    if (pager == NULL)
        c[2].absent = "no huge pages here";
    hy_pager_release(pager);
    bench_row_run(&row, c, COUNT(c));
}

static void row_fill(const char *what, const struct way *w, const char *target)
{
    struct bench_row row = {.what = what, .unit = "ns/page", .target = target};
    struct bench_contender c[] = {
        way("signal", touch_pager, w),
        way("kernel's own", touch_kernel, NULL),
        way("handler and mprotect", touch_by_handler, w),
        {"ours, uffd", NULL, NULL, no_uffd}};

    bench_row_run(&row, c, COUNT(c));
}

static void rows_isolated(void)
{
    static struct isolated by_kernel = {{HY_PAGER_AUTO, 0, 0}, 0};
    static struct isolated by_signal = {{HY_PAGER_SIGNAL, 0, 0}, 0};
    struct bench_row row = {.what = "isolated pages over 1 TB",
                            .unit = "pages",
                            .target = "1,000,000; mprotect dies at 32,754",
                            .more_is_better = true,
                            .counted = true};
    struct bench_row maps = {.what = "mappings that this took",
                             .unit = "mappings",
                             .target = "64 at most",
                             .counted = true};
    struct bench_contender c[] = {
        {"auto", isolated_pages, &by_kernel, NULL},
        {"ours, signal", isolated_pages, &by_signal, NULL}};
    struct bench_contender m[] = {
        {"auto", isolated_maps, &by_kernel, NULL},
        {"ours, signal", isolated_maps, &by_signal, NULL}};

    bench_row_run(&row, c, COUNT(c));
    bench_row_run(&maps, m, COUNT(m));
}

static void rows_file(void)
{
    struct bench_row row = {.what = "first write to a clean page of a file",
                            .unit = "ns",
                            .target = "900 at most, 8x mprotect",
                            .repeats = 5};
    struct bench_row durable = {.what = "1,000 dirty pages made durable",
                                .unit = "ms",
                                .target = "1.5x LMDB's time at most",
                                .repeats = 5};
    struct bench_contender c[] = {
        {"hy_pager", first_writes, NULL, NULL},
        {"handler and mprotect", first_writes_by_handler, NULL, NULL}};
    struct bench_contender d[] = {
        {"hy_pager_checkpoint", checkpoint, NULL, NULL},
        {"LMDB", checkpoint_lmdb, NULL, NULL}};

    bench_row_run(&row, c, COUNT(c));
#ifndef HY_HAVE_LMDB
    d[1].absent = BENCH_ABSENT;
#endif
    bench_row_run(&durable, d, COUNT(d));
    durable.what = "the same, to the durable point alone";
    durable.target = "a tenth of LMDB";
    bench_row_skip(&durable, "a checkpoint returns when its pages are home");
}

static void row_killed(void)
{
    static char what[64];
    uint64_t kills = bench_is_quick() ? 20 : 500;
    struct bench_row row = {
        .what = what, .unit = "torn", .target = "0 in 10,000", .counted = true};
    struct bench_contender c = {"hy_pager", torn, &kills, NULL};

    snprintf(what, sizeof(what), "checkpoints torn by %u kill -9",
             (unsigned)kills);
    bench_row_run(&row, &c, 1);
}

static void rows_later(void)
{
    static const char no_budget[] = "budgets are not offered yet";
    static const struct {
        const char *what, *unit, *target, *why;
    } rows[] = {
        {"2 GiB file, 256 MiB budget, random reads", "operations/s",
         "1.0x an explicit pool", no_budget},
        {"the same, 90 % of them in 10 % of it", "operations/s",
         "0.7x an explicit pool", no_budget},
        {"the same, half of them writes", "operations/s",
         "0.7x an explicit pool", no_budget},
        {"random reads, O_DIRECT, one thread", "operations/s",
         "0.95x a pread pool", no_budget},
        {"the same, 32 fibers that park", "operations/s",
         "4x one thread, or 80 % of fio", "HY_PAGER_PARK is not offered yet"},
        {"resident set over its budget", "percent", "1 at most", no_budget},
        {"refault of a softly evicted page", "us", "6 at most", no_budget}};

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct bench_row row = {.what = rows[i].what,
                                .unit = rows[i].unit,
                                .target = rows[i].target};

        bench_row_skip(&row, rows[i].why);
    }
}

int main(int argc, char **argv)
{
    bench_begin(argc, argv, "pager");
    rows_touch();
    row_fill("trapped fill, clusters of 64 KiB", &clusters,
             "0.80x the kernel's time");
    row_fill("trapped fill, single pages of 4 KiB", &single,
             "3.3x the kernel's time");
    rows_isolated();
    rows_file();
    row_killed();
    rows_later();
    bench_note("A store of 100 MiB in the current directory; LMDB keeps 4,000 "
               "bytes of each page by number, so that a page of its own holds "
               "them, in one transaction, with its defaults. Debian does not "
               "package umap.");
    return bench_end();
}
