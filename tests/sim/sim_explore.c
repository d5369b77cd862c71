/*
 * sim_explore.c - runs the tests of sim_tests.h under many schedules, and names
 * the first that fails.
 *
 *      sim_explore [--count N] [--first SEED] [--test NAME] [--jobs N]
 *                  [--trials N] [--trace]
 *
 * Schedule number k is test k modulo their number, with seed first + k divided
 * by it; jobs are processes, which take turns. A seed that failed is run again
 * in this process: if it does not fail the same way, that is said, and worse.
 *
 * --trials N is for planted bugs: N times, with other seeds each time, it
 * counts the schedules up to the first that fails, and fails when none does.
 *
 * Upstream: ctest, .ci/run, mutants.sh. Downstream: sim_engine.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim_engine.h"
#include "sim_tests.h"

enum { JOBS_MOST = 64, TRIALS_MOST = 100, TWICE_EACH = 512 };

#define SIM_ROW(name) {#name, sim_test_##name},
static const struct sim_test tests[] = {SIM_TESTS(SIM_ROW)};
enum { TESTS = sizeof(tests) / sizeof(tests[0]) };

struct figures {
    uint64_t runs, points, switches;
};

/* What the processes share. */
struct shared {
    _Atomic uint64_t failed; /* the lowest number of a schedule that did */
    struct figures figures[JOBS_MOST][TESTS];
};

static struct {
    uint64_t count, first;
    unsigned jobs, trials;
    bool trace;
    const struct sim_test *test[TESTS];
    unsigned tests;
} o = {.count = 16000, .first = 1, .jobs = 1};

static const struct sim_test *test_of(uint64_t k)
{
    return o.test[k % o.tests];
}

static uint64_t seed_of(uint64_t k)
{
    return o.first + k / o.tests;
}

static bool is_same(const struct sim_result *a, const struct sim_result *b)
{
    return a->failed == b->failed && a->points == b->points &&
           a->hash == b->hash && strcmp(a->why, b->why) == 0;
}

static void note_failure(struct shared *s, uint64_t k)
{
    uint64_t lowest = atomic_load(&s->failed);

    while (k < lowest && !atomic_compare_exchange_weak(&s->failed, &lowest, k))
        ;
}

/* One process's share. */
static void explore(struct shared *s, unsigned job)
{
    struct sim_result r, again;

    for (uint64_t k = job; k < o.count && k < atomic_load(&s->failed);
         k += o.jobs) {
        struct figures *f = &s->figures[job][k % o.tests];

        sim_run(test_of(k), seed_of(k), false, &r);
        f->runs++;
        f->points += r.points;
        f->switches += r.switches;
        if (r.failed)
            note_failure(s, k);
        if (!r.failed && k / o.jobs % TWICE_EACH != 0)
            continue;
        sim_run(test_of(k), seed_of(k), false, &again);
        if (!is_same(&r, &again)) {
            printf("%s, seed %" PRIu64 ": not the same again: %s | %s\n",
                   test_of(k)->name, seed_of(k), r.why, again.why);
            note_failure(s, k);
        }
    }
}

/* Gives the number of the first schedule that failed, or count. */
static uint64_t explore_all(struct shared *s)
{
    int status, bad = 0;

    memset((void *)s, 0, sizeof(*s));
    atomic_store(&s->failed, o.count);
    fflush(stdout);
    for (unsigned job = 0; job < o.jobs; job++) {
        pid_t child = fork();

        if (child < 0) {
            perror("fork");
            exit(2);
        }
        if (child == 0) {
            sim_init();
            explore(s, job);
            fflush(stdout);
            _exit(0);
        }
    }
    while (wait(&status) > 0)
        bad += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    if (bad != 0) {
        printf("%d processes did not end well\n", bad);
        exit(2);
    }
    return atomic_load(&s->failed);
}

static void show_figures(const struct shared *s)
{
    printf("%-10s %10s %14s %16s\n", "test", "schedules", "points each",
           "switches each");
    for (unsigned i = 0; i < o.tests; i++) {
        struct figures sum = {0, 0, 0};

        for (unsigned job = 0; job < o.jobs; job++) {
            sum.runs += s->figures[job][i].runs;
            sum.points += s->figures[job][i].points;
            sum.switches += s->figures[job][i].switches;
        }
        if (sum.runs != 0)
            printf("%-10s %10" PRIu64 " %14" PRIu64 " %16" PRIu64 "\n",
                   o.test[i]->name, sum.runs, sum.points / sum.runs,
                   sum.switches / sum.runs);
    }
}

static void show_failure(const char *program, uint64_t k)
{
    struct sim_result r;

    sim_init();
    sim_run(test_of(k), seed_of(k), o.trace, &r);
    printf("FAILED after %" PRIu64 " schedules: %s, seed %" PRIu64 ": %s\n",
           k + 1, test_of(k)->name, seed_of(k),
           r.failed ? r.why : "but not when it is run again");
    printf("again: %s --test %s --first %" PRIu64 " --count 1 --trace\n",
           program, test_of(k)->name, seed_of(k));
}

/* --- planted bugs -----------------------------------------------------------
 */

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static int try_often(const char *program, struct shared *s)
{
    uint64_t took[TRIALS_MOST], first = o.first;

    for (unsigned i = 0; i < o.trials; i++) {
        uint64_t k;

        o.first = first + i * o.count;
        k = explore_all(s);
        if (k == o.count) {
            printf("trial %u: no schedule of %" PRIu64 " failed\n", i, k);
            return 1;
        }
        if (i == 0)
            show_failure(program, k);
        took[i] = k + 1;
    }
    qsort(took, o.trials, sizeof(took[0]), compare);
    printf("found in %u of %u trials; schedules it took: least %" PRIu64
           ", median %" PRIu64 ", most %" PRIu64 "\n",
           o.trials, o.trials, took[0], took[o.trials / 2], took[o.trials - 1]);
    return 0;
}

/* --- main -------------------------------------------------------------------
 */

static bool choose_test(const char *name)
{
    for (unsigned i = 0; i < TESTS; i++)
        if (name == NULL || strcmp(tests[i].name, name) == 0)
            o.test[o.tests++] = &tests[i];
    return o.tests != 0;
}

static bool read_options(int argc, char **argv)
{
    const char *name = NULL;

    for (int i = 1; i < argc; i++) {
        uint64_t value = i + 1 < argc ? strtoull(argv[i + 1], NULL, 10) : 0;

        if (strcmp(argv[i], "--trace") == 0) {
            o.trace = true;
            continue;
        }
        if (++i == argc)
            return false;
        if (strcmp(argv[i - 1], "--test") == 0)
            name = argv[i];
        else if (strcmp(argv[i - 1], "--count") == 0)
            o.count = value;
        else if (strcmp(argv[i - 1], "--first") == 0)
            o.first = value;
        else if (strcmp(argv[i - 1], "--jobs") == 0)
            o.jobs = (unsigned)value;
        else if (strcmp(argv[i - 1], "--trials") == 0)
            o.trials = (unsigned)value;
        else
            return false;
    }
    return choose_test(name) && o.jobs >= 1 && o.jobs <= JOBS_MOST &&
           o.trials <= TRIALS_MOST;
}

/* The same addresses in each process: some random numbers begin with one. */
static void fix_addresses(char **argv)
{
    int now = personality(0xffffffff);

    if (now < 0 || (now & ADDR_NO_RANDOMIZE) != 0)
        return;
    if (personality((unsigned long)now | ADDR_NO_RANDOMIZE) >= 0)
        execv("/proc/self/exe", argv);
}

int main(int argc, char **argv)
{
    struct timespec begin, end;
    struct shared *s;
    uint64_t k;

    fix_addresses(argv);
    if (!read_options(argc, argv)) {
        fprintf(stderr, "%s: no such option; the file's head names them\n",
                argv[0]);
        return 2;
    }
    s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (s == MAP_FAILED)
        return 2;
    if (o.trials != 0)
        return try_often(argv[0], s);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    k = explore_all(s);
    clock_gettime(CLOCK_MONOTONIC, &end);
    show_figures(s);
    printf("%" PRIu64 " schedules in %.1f s\n", k,
           (double)(end.tv_sec - begin.tv_sec) +
               (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
    if (k == o.count)
        return 0;
    show_failure(argv[0], k);
    return 1;
}
