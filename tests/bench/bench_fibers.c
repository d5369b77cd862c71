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

#include <errno.h>
#include <hyperion/context.h>
#include <hyperion/fiber.h>
#include <hyperion/runtime.h>
#include <hyperion/sync.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

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

/* Both contexts run this: every switch returns to the same instruction. Each
   counts in a register: a switch takes as long as its stores, one in a cycle,
   and a counter in memory would be one more. */
static void bounce(void *arg, void *value)
{
    hy_context *self = (hy_context *)arg;
    hy_context *other = self == &pair[0] ? &pair[1] : &pair[0];

    (void)value;
    for (;;) {
        for (uint64_t i = switches_left / 2; i > 0; i--)
            hy_context_switch(self, other, NULL);
        hy_context_switch(self, &main_context, NULL);
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

/* As bounce. */
static void bounce_fp_env(void *arg, void *value)
{
    hy_context *self = (hy_context *)arg;
    hy_context *other = self == &pair[0] ? &pair[1] : &pair[0];

    (void)value;
    for (;;) {
        for (uint64_t i = switches_left / 2; i > 0; i--)
            hy_context_switch_fp_env(self, other, NULL);
        hy_context_switch(self, &main_context, NULL);
    }
}

static double same_site_fp_env(void *count)
{
    uint64_t n = *(uint64_t *)count, start;

    make(&pair[0], 0, bounce_fp_env, &pair[0]);
    make(&pair[1], 1, bounce_fp_env, &pair[1]);
    switches_left = n;
    start = bench_now();
    hy_context_switch(&main_context, &pair[0], NULL);
    return per_switch(start, n);
}

static void answer_fp_env(void *arg, void *value)
{
    (void)arg;
    (void)value;
    for (;;)
        hy_context_switch_fp_env(&pair[0], &main_context, NULL);
}

static double two_sites_fp_env(void *count)
{
    uint64_t n = *(uint64_t *)count, start;

    make(&pair[0], 0, answer_fp_env, NULL);
    start = bench_now();
    for (uint64_t i = 0; i < n; i += 2)
        hy_context_switch_fp_env(&main_context, &pair[0], NULL);
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

/* worker 0: any; flags: HY_FIBER_... */
static void spawn(hy_runtime *rt, void (*entry)(void *), void *arg, int worker,
                  unsigned flags)
{
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;

    o.worker = worker;
    o.flags = flags;
    if (hy_fiber_spawn(rt, entry, arg, &o, NULL) != 0)
        bench_wrong("no fiber");
}

static void run(hy_runtime *rt)
{
    if (hy_runtime_run(rt) != 0 || hy_runtime_destroy(rt) != 0)
        bench_wrong("run");
}

static struct {
    uint64_t fibers, begun, rounds, ready, start, end, ran;
    hy_runtime *rt;
} shared;

static void yielder(void *arg)
{
    (void)arg;
    for (shared.begun++; shared.begun < shared.fibers;)
        hy_fiber_yield();
    hy_fiber_yield();
    if (shared.ready++ == 0)
        shared.start = bench_now();
    for (uint64_t i = 0; i < shared.rounds; i++)
        hy_fiber_yield();
    shared.end = bench_now();
}

/* From the first round of the first fiber to the last of the last one, once all
   have begun: what a stack costs when it is first touched is another row. */
static double yields_under(const struct fiber_load *l, unsigned flags)
{
    hy_runtime *rt = runtime_of(1, flags);

    memset(&shared, 0, sizeof(shared));
    shared.fibers = l->fibers;
    shared.rounds = l->count / l->fibers + 1;
    for (unsigned i = 0; i < l->fibers; i++)
        spawn(rt, yielder, NULL, 0, l->flags);
    run(rt);
    return (double)(shared.end - shared.start) /
           (double)(shared.rounds * l->fibers);
}

static double yields(void *load)
{
    return yields_under((const struct fiber_load *)load, 0);
}

struct observed_load {
    struct fiber_load load;
    unsigned flags; /* HY_RUNTIME_... */
};

static double yields_observed(void *load)
{
    const struct observed_load *l = (const struct observed_load *)load;

    return yields_under(&l->load, l->flags);
}

/* Two fibers pass a token back and forth, each wait with a deadline that does
   not come, while the deadlines of many others are pending. */
struct timed_load {
    unsigned pending;
    uint64_t rounds;
};

static hy_sem token[2];

static void sleep_for_long(void *arg)
{
    (void)arg;
    hy_fiber_sleep(hy_after(UINT64_C(3600000000000) + shared.ran++ * 977));
}

static void pass_token(void *arg)
{
    const struct timed_load *l = (const struct timed_load *)arg;
    hy_deadline until = hy_after(UINT64_C(3600000000000));

    while (shared.ran < l->pending)
        hy_fiber_yield();
    shared.start = bench_now();
    for (uint64_t i = 0; i < l->rounds; i++) {
        hy_sem_post(&token[1], 1);
        if (hy_sem_wait(&token[0], until) != 0)
            bench_wrong("timed wait");
    }
    shared.end = bench_now();
    hy_runtime_stop(shared.rt);
}

static void return_token(void *arg)
{
    hy_deadline until = hy_after(UINT64_C(3600000000000));

    (void)arg;
    while (hy_sem_wait(&token[1], until) == 0)
        hy_sem_post(&token[0], 1);
}

/* A wait of the two; the stop that ends the others is not in the time. */
static double timed_waits(void *load)
{
    struct timed_load *l = (struct timed_load *)load;
    hy_runtime *rt = runtime_of(1, 0);

    memset(&shared, 0, sizeof(shared));
    memset(token, 0, sizeof(token));
    shared.rt = rt;
    spawn(rt, pass_token, l, 0, 0);
    spawn(rt, return_token, NULL, 0, 0);
    for (unsigned i = 0; i < l->pending; i++)
        spawn(rt, sleep_for_long, NULL, 0, 0);
    if (hy_runtime_run(rt) != -ECANCELED || hy_runtime_destroy(rt) != 0)
        bench_wrong("runtime");
    return (double)(shared.end - shared.start) / (double)(2 * l->rounds);
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
    spawn(rt, spawner, count, 0, 0);
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

    spawn(rt, skynet_node, &root, 0, 0);
    start = bench_now();
    run(rt);
    if (root.sum != l->count * (l->count - 1) / 2)
        bench_wrong("skynet sum");
    return (double)(bench_now() - start) / (double)l->count;
}

/* How many times faster two workers are than one. */
static double skynet_gain(void *count)
{
    struct fiber_load load = {0, *(uint64_t *)count, 1, 0};
    double one = skynet(&load);

    load.workers = 2;
    return one / skynet(&load);
}

/* --- many fibers ---------------------------------------------------------- */

static struct {
    hy_event gate;
    uint64_t spawned, parked, counted;
    uint64_t kib_before, kib_parked, maps_before, maps_parked;
    uint64_t overflows; /* this one uses more stack than it has */
} crowd;

/* Goes down by 512 bytes a call, so that no guard page is leapt over. */
static __attribute__((noinline)) unsigned go_down(unsigned calls)
{
    volatile char frame[512];

    frame[0] = (char)calls;
    if (calls == 0)
        return 0;
    return go_down(calls - 1) + (unsigned)frame[0];
}

static void park(void *arg)
{
    unsigned deep;

    (void)arg;
    if (++crowd.parked == crowd.overflows) {
        deep = go_down(2 * STACK_BYTES / 512);
        BENCH_USE(deep);
    }
    hy_event_wait(&crowd.gate, HY_FOREVER);
}

/* When all others are parked, or no more of them come. */
static void count_crowd(void *arg)
{
    uint64_t before = 0;

    (void)arg;
    for (int idle = 0; crowd.parked < crowd.spawned && idle < 1000; idle++) {
        if (crowd.parked != before)
            idle = 0;
        before = crowd.parked;
        hy_fiber_yield();
    }
    crowd.counted = crowd.parked;
    crowd.kib_parked = bench_field("/proc/self/status", "VmRSS:");
    crowd.maps_parked = bench_count_lines("/proc/self/maps");
    hy_event_set(&crowd.gate);
}

static void gather(uint64_t wanted, uint64_t overflows)
{
    hy_runtime *rt = runtime_of(1, 0);

    memset(&crowd, 0, sizeof(crowd));
    crowd.overflows = overflows;
    crowd.kib_before = bench_field("/proc/self/status", "VmRSS:");
    crowd.maps_before = bench_count_lines("/proc/self/maps");
    while (crowd.spawned < wanted &&
           hy_fiber_spawn(rt, park, NULL, NULL, NULL) == 0)
        crowd.spawned++;
    spawn(rt, count_crowd, NULL, 0, 0);
    run(rt);
}

static double crowd_fibers(void *arg)
{
    uint64_t free_kib = bench_field("/proc/meminfo", "MemAvailable:");
    uint64_t wanted = bench_is_quick() ? 50000 : 1000000;

    (void)arg;
    /* 8 KiB each, and half of the memory at most. */
    gather(wanted < free_kib / 16 ? wanted : free_kib / 16, 0);
    return (double)crowd.counted;
}

/* Of the crowd that was gathered last. */
static double crowd_bytes(void *arg)
{
    (void)arg;
    return (double)(crowd.kib_parked - crowd.kib_before) * 1024.0 /
           (double)crowd.counted;
}

static double crowd_maps(void *arg)
{
    (void)arg;
    return (double)(crowd.maps_parked - crowd.maps_before);
}

enum { OVERFLOWS = 8 };

/* In a process of its own, which must die at the guard. */
static bool is_caught(uint64_t wanted, uint64_t overflows)
{
    struct rlimit no_core = {0, 0};
    pid_t child;
    int status = 0;

    fflush(stdout);
    child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &no_core);
        gather(wanted, overflows);
        _exit(0);
    }
    return child > 0 && waitpid(child, &status, 0) == child &&
           WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

static double overflows_caught(void *arg)
{
    uint64_t wanted = bench_is_quick() ? 20000 : 100000;
    double caught = 0;

    (void)arg;
    for (uint64_t i = 0; i < OVERFLOWS; i++)
        caught += is_caught(wanted, 1 + i * (wanted - 1) / (OVERFLOWS - 1));
    return caught;
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

/* Half of a round trip between fibers of two workers that never sleep. */
static double wake_spinning(void *arg)
{
    hy_runtime *rt = runtime_of(2, HY_RUNTIME_PIN | HY_RUNTIME_SPIN);

    (void)arg;
    memset(&bell, 0, sizeof(bell));
    bell.rounds = bench_scale(50000);
    spawn(rt, ring_bell, NULL, 1, 0);
    spawn(rt, answer_bell, NULL, 2, 0);
    run(rt);
    return (double)(shared.end - shared.start) / (double)bell.rounds / 2;
}

static double half_pingpong(void *arg)
{
    (void)arg;
    return bench_pingpong() / 2;
}

/*
 * Waking one that sleeps in the kernel: from just before the wake to the first
 * instruction of the sleeper. The waker waits first, for longer than anyone
 * spins before he sleeps.
 */
enum { DOZE_NS = 200000 };

static struct {
    hy_sem sem;
    _Atomic uint32_t futex;
    _Atomic uint64_t woken; /* pairs with wake_one's wait for it */
    uint64_t rounds, at, total;
} nap;

static void wake_one(uint64_t round, void (*wake)(void))
{
    uint64_t until = bench_now() + DOZE_NS;

    while (bench_now() < until)
        ;
    nap.at = bench_now();
    wake();
    while (atomic_load(&nap.woken) != round)
        ;
}

static void was_woken(uint64_t round)
{
    nap.total += bench_now() - nap.at;
    atomic_store(&nap.woken, round);
}

static void post_sem(void)
{
    hy_sem_post(&nap.sem, 1);
}

static void post_futex(void)
{
    atomic_fetch_add(&nap.futex, 1);
    syscall(SYS_futex, &nap.futex, FUTEX_WAKE_PRIVATE, 1);
}

static void waker(void *arg)
{
    (void)arg;
    for (uint64_t i = 1; i <= nap.rounds; i++)
        wake_one(i, post_sem);
}

static void sleeper(void *arg)
{
    (void)arg;
    for (uint64_t i = 1; i <= nap.rounds; i++) {
        hy_sem_wait(&nap.sem, HY_FOREVER);
        was_woken(i);
    }
}

static void *futex_sleeper(void *arg)
{
    bench_pin(1);
    for (uint64_t i = 1; i <= nap.rounds; i++) {
        while (atomic_load(&nap.futex) < i)
            syscall(SYS_futex, &nap.futex, FUTEX_WAIT_PRIVATE,
                    (uint32_t)(i - 1), NULL);
        was_woken(i);
    }
    return arg;
}

static double wake_sleeping(void *arg)
{
    hy_runtime *rt = runtime_of(2, HY_RUNTIME_PIN);

    (void)arg;
    memset(&nap, 0, sizeof(nap));
    nap.rounds = bench_scale(1000);
    spawn(rt, waker, NULL, 1, 0);
    spawn(rt, sleeper, NULL, 2, 0);
    run(rt);
    return (double)nap.total / (double)nap.rounds;
}

static double wake_futex(void *arg)
{
    pthread_t t;

    (void)arg;
    memset(&nap, 0, sizeof(nap));
    nap.rounds = bench_scale(1000);
    bench_pin(0);
    if (pthread_create(&t, NULL, futex_sleeper, NULL) != 0)
        bench_wrong("no thread");
    for (uint64_t i = 1; i <= nap.rounds; i++)
        wake_one(i, post_futex);
    pthread_join(t, NULL);
    return (double)nap.total / (double)nap.rounds;
}

/* --- the table ------------------------------------------------------------ */

static struct bench_contender peer(const char *name, double (*run_)(void *),
                                   void *arg)
{
    struct bench_contender c = {name, run_, arg, NULL};

    if (run_ == NULL)
        c.absent = BENCH_ABSENT;
    return c;
}

static void rows_switch(void)
{
    uint64_t n = bench_scale(10000000), fewer = bench_scale(2000000);
    struct bench_row row = {
        .what = "inline switch, two contexts, different call sites",
        .unit = "ns",
        .target = "5x fcontext, one indirect call at most"};
    struct bench_contender c[] = {
        {"hy_inline_context_switch", inline_two_sites, &n, NULL},
        peer("fcontext", fcontext_two_sites, &n),
        {"indirect call", indirect_call, &n, NULL}};
    struct bench_contender deep[] = {
        {"hy_inline_context_switch", inline_nested, &fewer, NULL},
        {"hy_context_switch", nested, &fewer, NULL},
        peer("fcontext", fcontext_nested, &fewer)};
    struct bench_contender same[] = {{"hy_context_switch", same_site, &n, NULL},
                                     peer("fcontext", fcontext_same_site, &n)};
    struct bench_contender two[] = {{"hy_context_switch", two_sites, &n, NULL},
                                    peer("fcontext", fcontext_two_sites, &n)};

    bench_row_run(&row, c, COUNT(c));
    struct bench_contender same_env[] = {
        {"hy_context_switch_fp_env", same_site_fp_env, &n, NULL},
        peer("fcontext", fcontext_same_site, &n)};
    struct bench_contender two_env[] = {
        {"hy_context_switch_fp_env", two_sites_fp_env, &n, NULL},
        peer("fcontext", fcontext_two_sites, &n)};

    row.what = "out-of-line switch, same call site";
    row.target = "2.3 ns at most";
    bench_row_run(&row, same, COUNT(same));
    row.what = "the same, with the floating-point environment";
    row.target = "at most fcontext";
    bench_row_run(&row, same_env, COUNT(same_env));
    row.what = "out-of-line switch, different call sites";
    row.target = "";
    bench_row_run(&row, two, COUNT(two));
    row.what = "the same, with the floating-point environment too";
    bench_row_run(&row, two_env, COUNT(two_env));
    row.what = "64 contexts, each yielding through 5 nested calls";
    row.target = "3.5x fcontext";
    bench_row_run(&row, deep, COUNT(deep));
}

static void row_yield(unsigned fibers, uint64_t count, const char *what,
                      const char *target)
{
    struct bench_row row = {.what = what, .unit = "ns", .target = target};
    struct fiber_load load = {fibers, bench_scale(count), 1, 0};
    struct bench_contender c[] = {
        {"hy_fiber_yield", yields, &load, NULL},
        peer("Boost.Fiber", boost_fiber_yield, &load)};

    row.repeats = fibers > 10000 ? 5 : 0;
    bench_row_run(&row, c, COUNT(c));
}

/* Boost.Fiber always keeps the environment. */
static void row_environment(void)
{
    struct bench_row row = {
        .what = "yield, 2 fibers that keep a floating-point environment",
        .unit = "ns",
        .target = "4x Boost.Fiber"};
    struct fiber_load with = {2, bench_scale(4000000), 1, HY_FIBER_FP_ENV};
    struct fiber_load without = {2, bench_scale(4000000), 1, 0};
    struct bench_contender c[] = {
        {"HY_FIBER_FP_ENV", yields, &with, NULL},
        {"hy_fiber_yield without", yields, &without, NULL},
        peer("Boost.Fiber", boost_fiber_yield, &without)};

    bench_row_run(&row, c, COUNT(c));
}

static void row_spawn(void)
{
    uint64_t n = bench_scale(200000);
    struct bench_row row = {.what = "spawn, run, join",
                            .unit = "ns",
                            .target = "8x Boost.Fiber, 1.7x argobots"};
    struct bench_contender c[] = {{"hy_fiber_spawn", spawns, &n, NULL},
                                  peer("Boost.Fiber", boost_fiber_spawn, &n)};

    bench_row_run(&row, c, COUNT(c));
}

static void rows_skynet(void)
{
    uint64_t leaves = bench_is_quick() ? 10000 : 1000000;
    struct bench_row row = {.what = "skynet, one worker",
                            .unit = "ns/fiber",
                            .target = "30 ns at most",
                            .repeats = 5};
    struct bench_row gain = {.what = "skynet, gain of a second worker",
                             .unit = "times",
                             .target = "1.6",
                             .more_is_better = true,
                             .gated = true,
                             .repeats = 5};
    struct fiber_load one = {0, leaves, 1, 0}, two = {0, leaves, 2, 0};
    struct fiber_load small = {0, 10000, 1, 0};
    struct bench_contender a[] = {
        {"hy_fiber", skynet, &one, NULL},
        peer("Boost.Fiber, 10,000", boost_fiber_skynet, &small)};
    struct bench_contender b = {"hy_fiber", skynet, &two, NULL};
    struct bench_contender c = {"hy_fiber", skynet_gain, &leaves, NULL};

    bench_row_run(&row, a, COUNT(a));
    row.what = "skynet, two workers";
    row.target = "";
    row.gated = true;
    if (bench_cpu_count() < 2) {
        bench_row_skip(&row, "one processor only");
        return;
    }
    bench_row_run(&row, &b, 1);
    bench_row_run(&gain, &c, 1);
}

static void rows_crowd(void)
{
    static char what[64];
    struct bench_row row = {.what = "live guarded fibers",
                            .unit = "fibers",
                            .target = "1,000,000",
                            .more_is_better = true,
                            .counted = true};
    struct bench_row bytes = {.what = "memory of an idle guarded fiber",
                              .unit = "bytes",
                              .target = "4,400 at most",
                              .counted = true};
    struct bench_row maps = {.what = "mappings that hold all of them",
                             .unit = "mappings",
                             .target = "40 at most",
                             .counted = true};
    struct bench_row overflow = {.what = what,
                                 .unit = "of 8",
                                 .target = "all",
                                 .more_is_better = true,
                                 .counted = true};
    struct bench_contender c = {"hy_fiber", crowd_fibers, NULL, NULL};
    struct bench_contender b[] = {
        {"hy_fiber", crowd_bytes, NULL, NULL},
        peer("Boost.Fiber, no guard", boost_fiber_bytes, NULL)};
    struct bench_contender m = {"hy_fiber", crowd_maps, NULL, NULL};
    struct bench_contender o = {"hy_fiber", overflows_caught, NULL, NULL};

    snprintf(what, sizeof(what), "overflows caught, one among %s fibers",
             bench_is_quick() ? "20,000" : "100,000");
    bench_row_run(&row, &c, 1);
    bench_row_run(&bytes, b, COUNT(b));
    bytes.what = "the same, compacted while parked";
    bytes.target = "350 (stretch)";
    bench_row_skip(&bytes, "parked stacks are not compacted yet");
    bench_row_run(&maps, &m, 1);
    bench_row_run(&overflow, &o, 1);
}

static void rows_wake(void)
{
    struct bench_row row = {.what = "wake a fiber on another core, spinning",
                            .unit = "ns",
                            .target = "150 ns at most",
                            .gated = true};
    struct bench_contender a[] = {{"hy_sem_post", wake_spinning, NULL, NULL},
                                  {"one line", half_pingpong, NULL, NULL}};
    struct bench_contender b[] = {{"hy_sem_post", wake_sleeping, NULL, NULL},
                                  {"bare futex", wake_futex, NULL, NULL}};

    if (bench_cpu_count() < 2) {
        bench_row_skip(&row, "one processor only");
        return;
    }
    bench_row_run(&row, a, COUNT(a));
    row.what = "the same, asleep in the kernel";
    row.target = "1.2x a bare futex at most";
    bench_row_run(&row, b, COUNT(b));
}

static bool has_huge_stacks(void)
{
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;
    hy_runtime *rt = runtime_of(1, 0);
    int r;

    o.flags = HY_FIBER_HUGE_STACK;
    r = hy_fiber_spawn(rt, nothing, NULL, &o, NULL);
    run(rt);
    return r == 0;
}

/* As many fibers as in the row before it. */
static void row_yield_huge(void)
{
    struct bench_row row = {.what = "the same, 16 KiB stacks in huge pages",
                            .unit = "ns",
                            .target = "6x Photon",
                            .repeats = 5};
    unsigned fibers = bench_is_quick() ? 10000 : 100000;
    uint64_t count = bench_scale(1000000);
    struct fiber_load huge = {fibers, count, 1, HY_FIBER_HUGE_STACK};
    struct fiber_load bare = {fibers, count, 1,
                              HY_FIBER_HUGE_STACK | HY_FIBER_UNGUARDED};
    struct fiber_load small = {fibers, count, 1, 0};
    struct bench_contender c[] = {
        {"HY_FIBER_HUGE_STACK", yields, &huge, NULL},
        {"no look at canaries", yields, &bare, NULL},
        {"hy_fiber_yield, 64 KiB, guarded", yields, &small, NULL}};

    if (has_huge_stacks())
        bench_row_run(&row, c, COUNT(c));
    else
        bench_row_skip(&row, "no huge pages here");
}

/* Probes without a tracer are in all of these. */
static void row_observed(unsigned fibers, const char *what)
{
    struct bench_row row = {
        .what = what, .unit = "ns", .target = "off: as without; on: measured"};
    uint64_t count = bench_scale(2000000);
    struct observed_load load[] = {
        {{fibers, count, 1, 0}, 0},
        {{fibers, count, 1, 0}, HY_RUNTIME_MEASURE},
        {{fibers, count, 1, 0}, HY_RUNTIME_TRACE},
        {{fibers, count, 1, 0}, HY_RUNTIME_MEASURE | HY_RUNTIME_TRACE}};
    struct bench_contender c[] = {
        {"hy_fiber_yield, all off", yields_observed, &load[0], NULL},
        {"HY_RUNTIME_MEASURE", yields_observed, &load[1], NULL},
        {"HY_RUNTIME_TRACE", yields_observed, &load[2], NULL},
        {"both", yields_observed, &load[3], NULL}};

    bench_row_run(&row, c, COUNT(c));
}

static void rows_yield(void)
{
    row_yield(2, 4000000, "yield, 2 fibers", "1.4x argobots and neco");
    row_yield(1000, 4000000, "yield, 1,000 fibers",
              "4x Boost.Fiber, 1.4x Photon");
    if (bench_is_quick())
        row_yield(10000, 1000000, "yield, 10,000 fibers", "");
    else
        row_yield(100000, 1000000, "yield, 100,000 fibers", "2.3x Photon");
    row_yield_huge();
    row_environment();
    row_observed(2, "yield, 2 fibers, observed beside not");
    row_observed(1000, "yield, 1,000 fibers, observed beside not");
}

static void row_timed(void)
{
    struct bench_row row = {.what = "wait with a deadline, woken by a fiber",
                            .unit = "ns",
                            .target = "constant, however many are pending",
                            .repeats = 5};
    uint64_t rounds = bench_scale(1000000);
    struct timed_load few = {0, rounds};
    struct timed_load many = {bench_is_quick() ? 10000 : 1000000, rounds};
    struct bench_contender c[] = {
        {"2 pending", timed_waits, &few, NULL},
        {bench_is_quick() ? "10,000 more pending" : "1,000,000 more pending",
         timed_waits, &many, NULL}};

    bench_row_run(&row, c, COUNT(c));
}

int main(int argc, char **argv)
{
    bench_begin(argc, argv, "fibers");
    rows_crowd(); /* first: resident memory, and no heap in use yet */
    rows_switch();
    rows_yield();
    row_spawn();
    rows_skynet();
    rows_wake();
    row_timed();
    rows_chan();
    bench_note("fcontext keeps the floating-point environment, "
               "hy_context_switch does not. Boost.Fiber runs on one thread "
               "with 16 KiB stacks from malloc, without guards; ours are 64 "
               "KiB and guarded. Debian does not package argobots, Photon, "
               "neco, marl, libaco and minicoro.");
    return bench_end();
}
