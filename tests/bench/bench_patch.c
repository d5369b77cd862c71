/*
 * bench_patch.c - switching patch sites while another thread runs through them,
 * and what a site that is off costs.
 *
 *      thread 1:  while (!stop) { sites }      counts how often each way is
 * taken thread 0:  hy_patch_switch, again and again
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

static _Atomic uint64_t passed;
static _Atomic int stop;

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
            unsigned on = one_site();

            BENCH_USE(on);
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

static double switch_one(void *arg)
{
    uint64_t n = bench_scale(2000), start;
    pthread_t t = start_running();

    (void)arg;
    start = bench_now();
    for (uint64_t i = 0; i < n; i++) {
        if (hy_patch_switch(&bench_one, i % 2 == 0) != 0 ||
            one_site() != (i % 2 == 0))
            bench_wrong("switched");
    }
    start = bench_now() - start;
    end_running(t);
    hy_patch_switch(&bench_one, 0);
    return (double)start / (double)n;
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
    struct bench_row row = {
        .what = "switch one site that another thread runs",
        .unit = "ns",
        .target = "10,000 at most (30,000 by int3 or rendezvous)"};
    struct bench_contender one[] = {
        {"hy_patch_switch", switch_one, NULL, NULL},
        {"mprotect there and back", switch_by_protection, NULL, NULL}};
    struct bench_contender further = {"hy_patch_switch", further_site, NULL,
                                      NULL};
    struct bench_contender thousand = {"hy_patch_switch", switch_thousand, NULL,
                                       NULL};

    bench_row_run(&row, one, COUNT(one));
    row.what = "each further site of the same switch";
    row.target = "60 at most";
    bench_row_run(&row, &further, 1);
    row.what = "1,000 sites in one switch";
    row.target = "130,000 at most";
    bench_row_run(&row, &thousand, 1);
}

int main(int argc, char **argv)
{
    static char note[96];

    bench_begin(argc, argv, "patch");
    if (bench_cpu_count() >= 2)
        rows_switch();
    row_cost();
    snprintf(note, sizeof(note), "Code is rewritten by %s here.",
             hy_patch_caps() & HY_PATCH_STORE   ? "single stores"
             : hy_patch_caps() & HY_PATCH_REMAP ? "replacing pages"
                                                : "nothing: sites load");
    bench_note(note);
    return bench_end();
}
