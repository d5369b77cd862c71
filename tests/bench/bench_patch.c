/*
 * bench_patch.c - switching patch sites while another thread runs through them,
 * and what a site that is off costs.
 *
 *      thread 0   hy_patch_switch, again and again
 *      thread 1   while (!stop) { sites }
 *
 * A wrong way is one that thread 1 took between two switches, in peace: the
 * number that thread 0 changes before and after each switch was even, and the
 * same before and after the site.
 *
 * Upstream: bench.h. Downstream: patch.h.
 */
#include "bench.h"

#include <hyperion/patch.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

HY_PATCH_DEFINE(bench_one, 0);
HY_PATCH_DEFINE(bench_thousand, 0);
HY_PATCH_DEFINE(bench_off, 0);

#define TWICE(x) x x
#define TEN(x)   x x x x x x x x x x

static _Atomic uint64_t passed, wrong_ways;
static _Atomic int stop;

/* Odd while a site is being switched; its second bit says which way it is. */
static _Atomic uint64_t epoch;

static __attribute__((noinline)) unsigned one_site(void)
{
    if (HY_PATCH_IF(bench_one))
        return 1;
    return 0;
}

#define SITE                                                                   \
    if (HY_PATCH_IF(bench_thousand))                                           \
        on++;

/* A thousand sites of one key. */
static __attribute__((noinline)) unsigned thousand_sites(void)
{
    unsigned on = 0;

    TEN(TEN(TEN(SITE)))
    return on;
}

static void *run_sites(void *arg)
{
    bench_pin(1);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        for (int i = 0; i < 100; i++) {
            uint64_t before = atomic_load(&epoch);
            unsigned on = one_site();

            if (atomic_load(&epoch) == before && before % 2 == 0 &&
                on != before / 2 % 2)
                atomic_fetch_add(&wrong_ways, 1);
        }
        atomic_fetch_add(&passed, 1);
    }
    return arg;
}

static pthread_t start_running(void)
{
    pthread_t t;

    atomic_store(&stop, 0);
    atomic_store(&passed, 0);
    if (pthread_create(&t, NULL, run_sites, NULL) != 0)
        bench_wrong("no thread");
    while (atomic_load(&passed) == 0)
        ;
    return t;
}

static void end_running(pthread_t t)
{
    atomic_store(&stop, 1);
    pthread_join(t, NULL);
}

/* Tells thread 1 before and after, so that it knows what to expect. */
static void switch_it(int on)
{
    atomic_fetch_add(&epoch, 1);
    if (hy_patch_switch(&bench_one, on) != 0)
        bench_wrong("switch");
    atomic_fetch_add(&epoch, 1);
    if (one_site() != (unsigned)on)
        bench_wrong("switched");
}

static double switch_one(void *arg)
{
    uint64_t n = bench_scale(2000) / 2 * 2, start;
    pthread_t t;

    (void)arg;
    atomic_store(&epoch, 0);
    atomic_store(&wrong_ways, 0);
    t = start_running();
    start = bench_now();
    for (uint64_t i = 0; i < n; i++)
        switch_it(i % 2 == 0);
    start = bench_now() - start;
    end_running(t);
    if (atomic_load(&wrong_ways) != 0)
        bench_wrong("the running thread went the wrong way");
    return (double)start / (double)n;
}

/* As many flips as fit into a while; how often thread 1 went wrong. */
static uint64_t flips;

static double wrong_ways_of_flips(void *arg)
{
    uint64_t end = bench_now() + (bench_is_quick() ? 1 : 10) * 1000000000ull;
    pthread_t t;

    (void)arg;
    atomic_store(&epoch, 0);
    atomic_store(&wrong_ways, 0);
    t = start_running();
    for (flips = 0; bench_now() < end; flips += 2) {
        switch_it(1);
        switch_it(0);
    }
    end_running(t);
    return (double)atomic_load(&wrong_ways);
}

static double flips_done(void *arg)
{
    (void)arg;
    return (double)flips;
}

/* A page of code made writable and executable again: the usual way. */
static double switch_by_protection(void *arg)
{
    uint64_t n = bench_scale(2000), start;
    pthread_t t = start_running();
    char *p = mmap(NULL, 4096, PROT_READ | PROT_EXEC,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)arg;
    if (p == MAP_FAILED)
        bench_wrong("mmap");
    start = bench_now();
    for (uint64_t i = 0; i < n; i++) {
        if (mprotect(p, 4096, PROT_READ | PROT_WRITE) != 0)
            bench_wrong("mprotect");
        *(volatile char *)p = (char)i;
        if (mprotect(p, 4096, PROT_READ | PROT_EXEC) != 0)
            bench_wrong("mprotect");
    }
    start = bench_now() - start;
    end_running(t);
    munmap(p, 4096);
    return (double)start / (double)n;
}

static double switch_thousand(void *arg)
{
    uint64_t n = bench_scale(200), start;
    pthread_t t = start_running();

    (void)arg;
    start = bench_now();
    for (uint64_t i = 0; i < n; i++)
        if (hy_patch_switch(&bench_thousand, i % 2 == 0) != 0 ||
            thousand_sites() != (i % 2 == 0 ? 1000 : 0))
            bench_wrong("switched a thousand");
    start = bench_now() - start;
    end_running(t);
    hy_patch_switch(&bench_thousand, 0);
    return (double)start / (double)n;
}

static double further_site(void *arg)
{
    return (switch_thousand(arg) - switch_one(arg)) / 999;
}

/* --- a site that is off --------------------------------------------------- */

static int plain_off;

/*
 * Throughput-bound code: eight independent additions an iteration, with eight
 * questions among them, or none. A run gives the difference, per question.
 */
#define LOOP(name, QUESTION)                                                   \
    static __attribute__((noinline)) uint64_t name(uint64_t n)                 \
    {                                                                          \
        uint64_t a = n, b = n, c = n, d = n;                                   \
        for (uint64_t i = 0; i < n; i++) {                                     \
            TWICE(a += i; QUESTION b ^= a; QUESTION c += i; QUESTION d ^= c;   \
                  QUESTION)                                                    \
            __asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d));         \
        }                                                                      \
        return a ^ b ^ c ^ d;                                                  \
    }

#define ASK_NOTHING
#define ASK_SITE                                                               \
    if (HY_PATCH_IF(bench_off))                                                \
        a ^= n * 3;
#define ASK_VARIABLE                                                           \
    if (__atomic_load_n(&plain_off, __ATOMIC_RELAXED))                         \
        a ^= n * 3;

LOOP(loop_bare, ASK_NOTHING)
LOOP(loop_site, ASK_SITE)
LOOP(loop_variable, ASK_VARIABLE)

static double time_loop(uint64_t (*loop)(uint64_t))
{
    uint64_t n = bench_scale(3000000), start = bench_now();

    BENCH_USE(loop(n));
    return (double)(bench_now() - start) / (double)n;
}

static double difference(void *arg)
{
    uint64_t (*loop)(uint64_t) = *(uint64_t(**)(uint64_t))arg;
    double bare = time_loop(loop_bare), asking = time_loop(loop);

    return asking > bare ? (asking - bare) / 8 : 0.001;
}

static void row_cost(void)
{
    static uint64_t (*site)(uint64_t) = loop_site;
    static uint64_t (*variable)(uint64_t) = loop_variable;
    struct bench_row row = {.what = "a site that is off, throughput-bound code",
                            .unit = "ns",
                            .target = "0.2 at most",
                            .repeats = 11};
    struct bench_contender c[] = {
        {"HY_PATCH_IF", difference, &site, NULL},
        {"load and branch", difference, &variable, NULL}};

    if (loop_site(99) != loop_bare(99) || loop_variable(99) != loop_bare(99))
        bench_wrong("loops");
    bench_row_run(&row, c, COUNT(c));
}

static void rows_switch(void)
{
    struct bench_row row = {.what = "switch one site that another thread runs",
                            .unit = "ns",
                            .target =
                                "10,000 at most (30,000 by int3 or rendezvous)",
                            .gated = true};
    struct bench_contender one[] = {
        {"hy_patch_switch", switch_one, NULL, NULL},
        {"mprotect there and back", switch_by_protection, NULL, NULL}};
    struct bench_contender further = {"hy_patch_switch", further_site, NULL,
                                      NULL};
    struct bench_contender thousand = {"hy_patch_switch", switch_thousand, NULL,
                                       NULL};
    struct bench_row errors = {.what = "wrong ways of a running thread",
                               .unit = "of all flips",
                               .target = "0",
                               .counted = true};
    struct bench_contender wrong = {"hy_patch_switch", wrong_ways_of_flips,
                                    NULL, NULL};
    struct bench_row many = {.what = "the flips of that row",
                             .unit = "flips",
                             .target = "10,000,000",
                             .more_is_better = true,
                             .counted = true};
    struct bench_contender done = {"hy_patch_switch", flips_done, NULL, NULL};

    if (bench_cpu_count() < 2) {
        bench_row_skip(&row, "one processor only");
        return;
    }
    bench_row_run(&row, one, COUNT(one));
    row.what = "each further site of the same switch";
    row.target = "60 at most";
    bench_row_run(&row, &further, 1);
    row.what = "1,000 sites in one switch";
    row.target = "130,000 at most";
    bench_row_run(&row, &thousand, 1);
    bench_row_run(&errors, &wrong, 1);
    bench_row_run(&many, &done, 1);
}

int main(int argc, char **argv)
{
    static char note[96];

    bench_begin(argc, argv, "patch");
    rows_switch();
    row_cost();
    snprintf(note, sizeof(note), "Code is rewritten by %s here.",
             hy_patch_caps() & HY_PATCH_STORE   ? "single stores"
             : hy_patch_caps() & HY_PATCH_REMAP ? "replacing pages"
                                                : "nothing: sites load");
    bench_note(note);
    return bench_end();
}
