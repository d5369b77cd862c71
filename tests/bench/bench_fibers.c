/*
 * bench_fibers.c - switches, yields, spawns, many fibers and wakes, beside
 * Boost.Context and Boost.Fiber.
 *
 *      raw contexts:  bounce on two stacks; 64 in a ring, each 5 calls deep
 *      a runtime:     one worker, or two, made anew for each run
 *
 * Upstream: bench.h, bench_fibers.h. Downstream: runtime.h, context.h.
 */
#include "bench_fibers.h"

#include <hyperion/context.h>
#include <hyperion/fiber.h>
#include <hyperion/runtime.h>
#include <hyperion/sync.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__has_include)
#if __has_include(<hyperion/inline/context.h>)
#include <hyperion/inline/context.h>
#endif
#endif

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* --- raw contexts --------------------------------------------------------- */

static uint64_t switches_left;
static hy_context main_context, pair[2], ring[RING_CONTEXTS];

static void *stack_of(unsigned nth)
{
    static char *all;

    if (all == NULL)
        all = malloc((size_t)RING_CONTEXTS * STACK_BYTES);
    if (all == NULL)
        bench_wrong("no memory");
    return all + (size_t)nth * STACK_BYTES;
}

static void make(hy_context *c, unsigned nth, void (*entry)(void *, void *),
                 void *arg)
{
    if (hy_context_make(c, stack_of(nth), STACK_BYTES, entry, arg) != 0)
        bench_wrong("no context");
}

static double per_switch(uint64_t start, uint64_t count)
{
    return (double)(bench_now() - start) / (double)count;
}

/* Both contexts run this: every switch returns to the same instruction. */
static void bounce(void *arg, void *value)
{
    hy_context *self = (hy_context *)arg;
    hy_context *other = self == &pair[0] ? &pair[1] : &pair[0];

    (void)value;
    for (;;) {
        if (switches_left-- == 0)
            hy_context_switch(self, &main_context, NULL);
        hy_context_switch(self, other, NULL);
    }
}

static double same_site(void *count)
{
    uint64_t n = *(uint64_t *)count, start;

    make(&pair[0], 0, bounce, &pair[0]);
    make(&pair[1], 1, bounce, &pair[1]);
    switches_left = n;
    start = bench_now();
    hy_context_switch(&main_context, &pair[0], NULL);
    return per_switch(start, n);
}

static void answer(void *arg, void *value)
{
    (void)arg;
    (void)value;
    for (;;)
        hy_context_switch(&pair[0], &main_context, NULL);
}

static double two_sites(void *count)
{
    uint64_t n = *(uint64_t *)count, start;

    make(&pair[0], 0, answer, NULL);
    start = bench_now();
    for (uint64_t i = 0; i < n; i += 2)
        hy_context_switch(&main_context, &pair[0], NULL);
    return per_switch(start, n);
}

static __attribute__((noinline)) int ring_nested(unsigned self, int depth)
{
    int r = 0;

    if (depth == 0) {
        if (switches_left-- == 0)
            hy_context_switch(&ring[self], &main_context, NULL);
        hy_context_switch(&ring[self], &ring[(self + 1) % RING_CONTEXTS], NULL);
    } else {
        r = ring_nested(self, depth - 1) + 1;
    }
    BENCH_USE(r);
    return r;
}

static void ring_entry(void *arg, void *value)
{
    unsigned self = (unsigned)((hy_context *)arg - ring);

    (void)value;
    for (;;)
        ring_nested(self, NESTED_CALLS);
}

static double nested(void *count)
{
    uint64_t n = *(uint64_t *)count, start;

    for (unsigned i = 0; i < RING_CONTEXTS; i++)
        make(&ring[i], i, ring_entry, &ring[i]);
    switches_left = n;
    start = bench_now();
    hy_context_switch(&main_context, &ring[0], NULL);
    return per_switch(start, n);
}

#ifdef HYPERION_INLINE_CONTEXT_H

/* The inline switch, two contexts, each at its own place in the code. */
static void answer_inline(void *arg, void *value)
{
    (void)arg;
    (void)value;
    for (;;)
        hy_context_switch_inline(&pair[0], &main_context, NULL);
}

static double two_sites_inline(void *count)
{
    uint64_t n = *(uint64_t *)count, start;

    make(&pair[0], 0, answer_inline, NULL);
    start = bench_now();
    for (uint64_t i = 0; i < n; i += 2)
        hy_context_switch_inline(&main_context, &pair[0], NULL);
    return per_switch(start, n);
}

#endif

/* --- a runtime ------------------------------------------------------------ */

static hy_runtime *runtime_of(unsigned workers, unsigned flags)
{
    hy_runtime_options o = HY_RUNTIME_OPTIONS_INIT;
    hy_runtime *rt = NULL;

    o.workers = workers;
    o.flags = flags;
    if (hy_runtime_init(&rt, &o) != 0)
        bench_wrong("no runtime");
    return rt;
}

static void spawn(hy_runtime *rt, void (*entry)(void *), void *arg, int worker)
{
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;

    o.worker = worker;
    if (hy_fiber_spawn(rt, entry, arg, worker != 0 ? &o : NULL, NULL) != 0)
        bench_wrong("no fiber");
}

static void run(hy_runtime *rt)
{
    if (hy_runtime_run(rt) != 0 || hy_runtime_destroy(rt) != 0)
        bench_wrong("run");
}

static struct {
    uint64_t rounds, ready, start, end, ran;
} shared;

static void yielder(void *arg)
{
    (void)arg;
    hy_fiber_yield();
    if (shared.ready++ == 0)
        shared.start = bench_now();
    for (uint64_t i = 0; i < shared.rounds; i++)
        hy_fiber_yield();
    shared.end = bench_now();
}

/* From the first round of the first fiber to the last of the last one. */
static double yields(void *load)
{
    const struct fiber_load *l = (const struct fiber_load *)load;
    hy_runtime *rt = runtime_of(1, 0);

    memset(&shared, 0, sizeof(shared));
    shared.rounds = l->count / l->fibers + 1;
    for (unsigned i = 0; i < l->fibers; i++)
        spawn(rt, yielder, NULL, 0);
    run(rt);
    return (double)(shared.end - shared.start) /
           (double)(shared.rounds * l->fibers);
}

static void nothing(void *arg)
{
    (void)arg;
    shared.ran++;
}

static void spawner(void *arg)
{
    uint64_t n = *(uint64_t *)arg;
    hy_fiber f;

    shared.start = bench_now();
    for (uint64_t i = 0; i < n; i++)
        if (hy_fiber_spawn(NULL, nothing, NULL, NULL, &f) != 0 ||
            hy_fiber_join(f, HY_FOREVER) != 0)
            bench_wrong("spawn and join");
    shared.end = bench_now();
}

static double spawns(void *count)
{
    hy_runtime *rt = runtime_of(1, 0);
    uint64_t n = *(uint64_t *)count;

    memset(&shared, 0, sizeof(shared));
    spawn(rt, spawner, count, 0);
    run(rt);
    if (shared.ran != n)
        bench_wrong("spawned");
    return (double)(shared.end - shared.start) / (double)n;
}

struct node {
    uint64_t first, leaves, sum;
};

static void skynet_node(void *arg)
{
    struct node *self = (struct node *)arg, below[SKYNET_WIDTH];
    hy_fiber children[SKYNET_WIDTH];
    uint64_t share = self->leaves / SKYNET_WIDTH;

    self->sum = self->first;
    if (self->leaves == 1)
        return;
    for (uint64_t i = 0; i < SKYNET_WIDTH; i++) {
        below[i] = (struct node){self->first + i * share, share, 0};
        if (hy_fiber_spawn(NULL, skynet_node, &below[i], NULL, &children[i]) !=
            0)
            bench_wrong("skynet spawn");
    }
    self->sum = 0;
    for (uint64_t i = 0; i < SKYNET_WIDTH; i++) {
        hy_fiber_join(children[i], HY_FOREVER);
        self->sum += below[i].sum;
    }
}

static double skynet(void *load)
{
    const struct fiber_load *l = (const struct fiber_load *)load;
    hy_runtime *rt = runtime_of(l->workers, 0);
    struct node root = {0, l->count, 0};
    uint64_t start;

    spawn(rt, skynet_node, &root, 0);
    start = bench_now();
    run(rt);
    if (root.sum != l->count * (l->count - 1) / 2)
        bench_wrong("skynet sum");
    return (double)(bench_now() - start) / (double)l->count;
}

/* --- many fibers ---------------------------------------------------------- */

static uint64_t field_of(const char *path, const char *field)
{
    FILE *file = fopen(path, "r");
    char line[256];
    uint64_t value = 0, lines = 0;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        lines++;
        if (field != NULL && strncmp(line, field, strlen(field)) == 0)
            value = strtoull(line + strlen(field), NULL, 10);
    }
    if (file != NULL)
        fclose(file);
    return field != NULL ? value : lines;
}

static struct {
    hy_event gate;
    uint64_t parked, kib_before, kib_parked, maps_before, maps_parked;
    double bytes_each, maps;
} crowd;

static void park(void *arg)
{
    (void)arg;
    crowd.parked++;
    hy_event_wait(&crowd.gate, HY_FOREVER);
}

/* Runs last: all others are parked by then. */
static void count_crowd(void *arg)
{
    uint64_t wanted = *(uint64_t *)arg;

    while (crowd.parked < wanted)
        hy_fiber_yield();
    crowd.kib_parked = field_of("/proc/self/status", "VmRSS:");
    crowd.maps_parked = field_of("/proc/self/maps", NULL);
    hy_event_set(&crowd.gate);
}

static uint64_t crowd_wanted(void)
{
    uint64_t free_kib = field_of("/proc/meminfo", "MemAvailable:");
    uint64_t wanted = bench_is_quick() ? 50000 : 1000000;

    /* 8 KiB each, and half of the memory at most. */
    return wanted < free_kib / 16 ? wanted : free_kib / 16;
}

static double crowd_fibers(void *arg)
{
    uint64_t wanted = crowd_wanted();
    hy_runtime *rt = runtime_of(1, 0);

    (void)arg;
    memset(&crowd, 0, sizeof(crowd));
    crowd.kib_before = field_of("/proc/self/status", "VmRSS:");
    crowd.maps_before = field_of("/proc/self/maps", NULL);
    for (uint64_t i = 0; i < wanted; i++)
        if (hy_fiber_spawn(rt, park, NULL, NULL, NULL) != 0)
            break;
    spawn(rt, count_crowd, &wanted, 0);
    run(rt);
    crowd.bytes_each = (double)(crowd.kib_parked - crowd.kib_before) * 1024.0 /
                       (double)crowd.parked;
    crowd.maps = (double)(crowd.maps_parked - crowd.maps_before);
    return (double)crowd.parked;
}

static double crowd_bytes(void *arg)
{
    (void)arg;
    return crowd.bytes_each;
}

static double crowd_maps(void *arg)
{
    (void)arg;
    return crowd.maps;
}

/* --- waking another processor --------------------------------------------- */

static struct {
    hy_sem there, back;
    uint64_t rounds;
} bell;

static void ring_bell(void *arg)
{
    (void)arg;
    shared.start = bench_now();
    for (uint64_t i = 0; i < bell.rounds; i++) {
        hy_sem_post(&bell.there, 1);
        hy_sem_wait(&bell.back, HY_FOREVER);
    }
    shared.end = bench_now();
}

static void answer_bell(void *arg)
{
    (void)arg;
    for (uint64_t i = 0; i < bell.rounds; i++) {
        hy_sem_wait(&bell.there, HY_FOREVER);
        hy_sem_post(&bell.back, 1);
    }
}

/* Half of a round trip between fibers of two workers. */
static double wake_fibers(void *flags)
{
    hy_runtime *rt = runtime_of(2, HY_RUNTIME_PIN | *(unsigned *)flags);

    memset(&bell, 0, sizeof(bell));
    bell.rounds = bench_scale(*(unsigned *)flags != 0 ? 50000 : 5000);
    spawn(rt, ring_bell, NULL, 1);
    spawn(rt, answer_bell, NULL, 2);
    run(rt);
    return (double)(shared.end - shared.start) / (double)bell.rounds / 2;
}

static double half_pingpong(void *arg)
{
    (void)arg;
    return bench_pingpong() / 2;
}

static _Atomic uint32_t futex_word;

static void futex_hand_over(uint32_t mine, uint64_t rounds)
{
    for (uint64_t i = 0; i < rounds; i++) {
        while (atomic_load(&futex_word) != mine)
            syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 1 - mine, NULL);
        atomic_store(&futex_word, 1 - mine);
        syscall(SYS_futex, &futex_word, FUTEX_WAKE_PRIVATE, 1);
    }
}

static void *futex_other(void *arg)
{
    bench_pin(1);
    futex_hand_over(1, *(uint64_t *)arg);
    return NULL;
}

static double futex_wake(void *arg)
{
    uint64_t rounds = bench_scale(5000), start;
    pthread_t t;

    (void)arg;
    atomic_store(&futex_word, 0);
    bench_pin(0);
    if (pthread_create(&t, NULL, futex_other, &rounds) != 0)
        bench_wrong("no thread");
    start = bench_now();
    futex_hand_over(0, rounds);
    pthread_join(t, NULL);
    return (double)(bench_now() - start) / (double)rounds / 2;
}

/* --- the table ------------------------------------------------------------ */

static struct bench_contender peer(const char *name, double (*run_)(void *),
                                   void *arg)
{
    struct bench_contender c = {name, run_, arg, NULL};

    if (run_ == NULL)
        c.absent = "not on this system";
    return c;
}

static void rows_switch(void)
{
    uint64_t n = bench_scale(10000000), fewer = bench_scale(2000000);
    struct bench_row row = {
        .what = "inline switch, two contexts, different call sites",
        .unit = "ns",
        .target = "5x fcontext, one indirect call at most"};
#ifdef HYPERION_INLINE_CONTEXT_H
    struct bench_contender c[] = {{"inline", two_sites_inline, &n, NULL},
                                  peer("fcontext", fcontext_two_sites, &n)};

    bench_row_run(&row, c, COUNT(c));
#else
    bench_row_skip(&row, "no inline switch yet");
#endif
    struct bench_contender same[] = {{"hy_context_switch", same_site, &n, NULL},
                                     peer("fcontext", fcontext_same_site, &n)};
    struct bench_contender two[] = {{"hy_context_switch", two_sites, &n, NULL},
                                    peer("fcontext", fcontext_two_sites, &n)};
    struct bench_contender deep[] = {
        {"hy_context_switch", nested, &fewer, NULL},
        peer("fcontext", fcontext_nested, &fewer)};

    row.what = "out-of-line switch, same call site";
    row.target = "2.3 ns at most";
    bench_row_run(&row, same, COUNT(same));
    row.what = "out-of-line switch, different call sites";
    row.target = "";
    bench_row_run(&row, two, COUNT(two));
    row.what = "64 contexts, each yielding through 5 nested calls";
    row.target = "3.5x fcontext";
    bench_row_run(&row, deep, COUNT(deep));
}

static void row_yield(unsigned fibers, uint64_t count, const char *what,
                      const char *target)
{
    struct bench_row row = {.what = what, .unit = "ns", .target = target};
    struct fiber_load load = {fibers, bench_scale(count), 1};
    struct bench_contender c[] = {
        {"hy_fiber_yield", yields, &load, NULL},
        peer("Boost.Fiber", boost_fiber_yield, &load)};

    row.repeats = fibers > 10000 ? 5 : 0;
    bench_row_run(&row, c, COUNT(c));
}

static void row_spawn(void)
{
    uint64_t n = bench_scale(200000);
    struct bench_row row = {
        .what = "spawn, run, join", .unit = "ns", .target = "8x Boost.Fiber"};
    struct bench_contender c[] = {{"hy_fiber_spawn", spawns, &n, NULL},
                                  peer("Boost.Fiber", boost_fiber_spawn, &n)};

    bench_row_run(&row, c, COUNT(c));
}

static void row_skynet(unsigned workers, const char *what, const char *target)
{
    struct bench_row row = {
        .what = what, .unit = "ns/fiber", .target = target, .repeats = 5};
    struct fiber_load load = {0, bench_is_quick() ? 10000 : 1000000, workers};
    struct fiber_load small = {0, 10000, 1};
    struct bench_contender c[] = {
        {"hy_fiber", skynet, &load, NULL},
        peer("Boost.Fiber, 10,000", boost_fiber_skynet, &small)};

    bench_row_run(&row, c, workers == 1 ? 2 : 1);
}

static void rows_crowd(void)
{
    struct bench_row row = {.what = "live guarded fibers",
                            .unit = "fibers",
                            .target = "1,000,000",
                            .more_is_better = true,
                            .repeats = 5};
    struct bench_row bytes = {.what = "memory of an idle guarded fiber",
                              .unit = "bytes",
                              .target = "4,400 at most"};
    struct bench_row maps = {.what = "mappings that hold all of them",
                             .unit = "mappings",
                             .target = "40 at most"};
    struct bench_contender c = {"hy_fiber", crowd_fibers, NULL, NULL};
    struct bench_contender b = {"hy_fiber", crowd_bytes, NULL, NULL};
    struct bench_contender m = {"hy_fiber", crowd_maps, NULL, NULL};

    bench_row_run(&row, &c, 1);
    bench_row_run(&bytes, &b, 1);
    bench_row_run(&maps, &m, 1);
}

static void rows_wake(void)
{
    static unsigned spin = HY_RUNTIME_SPIN, sleeping = 0;
    struct bench_row row = {.what = "wake a fiber on another core, spinning",
                            .unit = "ns",
                            .target = "150 ns at most",
                            .gated = true};
    struct bench_contender a[] = {{"hy_sem_post", wake_fibers, &spin, NULL},
                                  {"one line", half_pingpong, NULL, NULL}};
    struct bench_contender b[] = {{"hy_sem_post", wake_fibers, &sleeping, NULL},
                                  {"bare futex", futex_wake, NULL, NULL}};

    bench_row_run(&row, a, COUNT(a));
    row.what = "the same, asleep";
    row.target = "1.2x a bare futex at most";
    bench_row_run(&row, b, COUNT(b));
}

int main(int argc, char **argv)
{
    bench_begin(argc, argv, "fibers");
    rows_switch();
    row_yield(2, 4000000, "yield, 2 fibers", "4x Boost.Fiber");
    row_yield(1000, 4000000, "yield, 1,000 fibers", "4x Boost.Fiber");
    if (bench_is_quick())
        row_yield(10000, 1000000, "yield, 10,000 fibers", "");
    else
        row_yield(100000, 1000000, "yield, 100,000 fibers", "2.3x Photon");
    row_spawn();
    row_skynet(1, "skynet, one worker", "30 ns at most");
    if (bench_cpu_count() >= 2) {
        row_skynet(2, "skynet, two workers", "1.6x one worker");
        rows_wake();
    }
    rows_crowd();
    bench_note("fcontext keeps the floating-point environment, "
               "hy_context_switch does not. Boost.Fiber runs on one thread "
               "with 16 KiB stacks from malloc, without guards; ours are 64 "
               "KiB and guarded.");
    return bench_end();
}
