/*
 * stress_runtime.c - everything of the runtime at once, for as long as one
 * likes: rounds with one runtime each, drawn from a seed.
 *
 *      stress_runtime [SECONDS [SEED]]
 *
 *      round: 1..8 workers, or a simulation; measured, traced, spinning or not
 *        ground (fiber)  spawns actors while there is time
 *        threads         spawn, cancel, wait, list, trim from outside
 *        a signal        every 200 us, on whatever stack is current
 *      and then: all ended? every sum right?
 *
 * Prints what was done, ends with 0; or says what is wrong and ends with 1. A
 * round that does not end is reported with who waits for what, and the seed.
 *
 * Upstream: a person with ten minutes, ctest with five seconds. Downstream:
 * stress_kinds.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "stress.h"

enum { MS = 1000000, THREADS = 2, CROWD = 200, SIGNAL_US = 200 };
#define ROUND_MOST_NS ((uint64_t)60000 * MS)

static struct round round_now;
static _Atomic uint64_t round_began; /* 0: between rounds */
static _Atomic unsigned signals;

/* A clock that no simulation turns. */
static uint64_t real_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 * MS + (uint64_t)t.tv_nsec;
}

_Noreturn void stress_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: not so: %s (round with seed %" PRIu64 ")\n", file,
            line, what, round_now.seed);
    _exit(1);
}

/* As a host's handler might: no stack of its own, and it uses some. */
static void on_signal(int number)
{
    volatile char scribble[512];
    int saved = errno;

    for (size_t i = 0; i < sizeof(scribble); i++)
        scribble[i] = (char)number;
    atomic_fetch_add(&signals, 1);
    errno = saved;
}

static void ring_alarm(long us)
{
    struct itimerval t = {{0, us}, {0, us}};

    setitimer(ITIMER_REAL, &t, NULL);
}

/* --- actors ----------------------------------------------------------------
 */

struct spawned {
    struct actor actor;
    unsigned kind;
};

static void act(void *arg)
{
    struct spawned *s = arg;
    struct round *r = s->actor.round;

    for (uint64_t n = 1 + draw(&s->actor, 20); n > 0; n--) {
        kinds[s->kind].move(&s->actor);
        atomic_fetch_add(&moves[s->kind], 1);
    }
    free(s);
    atomic_fetch_add(&r->done, 1);
}

int stress_spawn(struct actor *by, hy_fiber *out)
{
    struct round *r = by->round;
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;
    struct spawned *s = malloc(sizeof(*s));
    int e;

    EXPECT(s != NULL);
    if (atomic_load(&r->over) ||
        atomic_load(&r->spawned) - atomic_load(&r->done) > CROWD) {
        free(s);
        return -EAGAIN;
    }
    do
        s->kind = (unsigned)draw(by, KINDS);
    while (r->simulated && kinds[s->kind].real);
    s->actor = (struct actor){r, draw(by, UINT64_MAX)};
    o.name = kinds[s->kind].name;
    o.flags = kinds[s->kind].flags;
    atomic_fetch_add(&r->spawned, 1); /* or it might be done before */
    e = hy_fiber_spawn(r->rt, act, s, &o, out);
    if (e != 0) {
        EXPECT(e == -EAGAIN && r->bounded);
        atomic_fetch_sub(&r->spawned, 1);
        free(s);
        return e;
    }
    atomic_store(&r->recent[draw(by, RECENT)], out->id);
    return 0;
}

/* Spawns while there is time, then waits for the threads, so that none comes
   too late. */
static void ground(void *arg)
{
    struct actor *a = arg;
    uint64_t end = hy_now() + (20 + draw(a, 100)) * MS;
    hy_fiber f;

    while (hy_now() < end && hy_fiber_check() == 0)
        if (stress_spawn(a, &f) != 0)
            hy_fiber_sleep(hy_after(MS / 4));
    atomic_store(&a->round->over, true);
    hy_fiber_shield(1);
    EXPECT(hy_wait_group_wait(&a->round->threads, HY_FOREVER) == 0);
}

static int look(const hy_fiber_info *info, void *arg)
{
    (void)arg;
    EXPECT(info->state >= HY_FIBER_NEW && info->state <= HY_FIBER_PARKED);
    return 0;
}

static void *outsider(void *arg)
{
    struct actor *a = arg;
    struct round *r = a->round;
    hy_fiber f;

    while (!atomic_load(&r->over)) {
        unsigned kind = (unsigned)draw(a, KINDS + 2);

        if (kind == KINDS)
            EXPECT(hy_fiber_each(r->rt, look, NULL) == 0);
        else if (kind > KINDS)
            EXPECT(hy_runtime_trim(r->rt) == 0);
        else if (kinds[kind].outside)
            kinds[kind].move(a);
        else
            stress_spawn(a, &f);
    }
    EXPECT(hy_wait_group_done(&r->threads) == 0);
    return NULL;
}

/* --- a round ---------------------------------------------------------------
 */

static void open_round(struct round *r, struct actor *a)
{
    hy_runtime_options o = HY_RUNTIME_OPTIONS_INIT;
    hy_chan_options c = HY_CHAN_OPTIONS_INIT;

    r->simulated = draw(a, 5) == 0;
    r->bounded = draw(a, 4) == 0;
    o.name = "stress";
    o.workers = r->simulated ? 1 : 1 + (unsigned)draw(a, 8);
    o.seed = r->simulated ? r->seed : 0;
    o.fibers_max = r->bounded ? 150 : 0;
    o.flags = draw(a, 3) == 0 ? HY_RUNTIME_MEASURE : 0;
    o.flags |= draw(a, 3) == 0 ? HY_RUNTIME_TRACE : 0;
    EXPECT(hy_runtime_init(&r->rt, &o) == 0);
    c.item_bytes = sizeof(uint64_t);
    for (unsigned i = 0; i < CHANS; i++) {
        c.capacity = i * 4; /* the first hands over only */
        EXPECT(hy_chan_create(&r->chan[i], &c) == 0);
    }
    EXPECT(hy_sem_post(&r->permits, PERMITS) == 0);
}

static void check_round(struct round *r)
{
    int64_t sum = 0;
    uint64_t item;

    for (unsigned i = 0; i < ACCOUNTS; i++) {
        EXPECT(hy_mutex_lock(&r->lock[i], HY_NOW) == 0);
        EXPECT(hy_mutex_unlock(&r->lock[i]) == 0);
        sum += r->account[i];
    }
    EXPECT(sum == 0);
    for (unsigned i = 0; i < CHANS; i++) {
        while (hy_chan_recv(r->chan[i], &item, HY_NOW) == 0)
            r->received += item;
        EXPECT(hy_chan_destroy(r->chan[i]) == 0);
    }
    EXPECT(r->sent == r->received);
    for (unsigned i = 0; i < PERMITS; i++)
        EXPECT(hy_sem_wait(&r->permits, HY_NOW) == 0);
    EXPECT(hy_sem_wait(&r->permits, HY_NOW) == -ETIMEDOUT);
    EXPECT(r->spawned == r->done);
}

static bool has_fibers(const struct round *r)
{
    hy_runtime_stats s = {.size = sizeof(s)};

    EXPECT(hy_runtime_stats_get(r->rt, &s) == 0);
    return s.spawned != s.ended;
}

static void close_round(struct round *r)
{
    EXPECT(!has_fibers(r));
    check_round(r);
    EXPECT(hy_runtime_destroy(r->rt) == 0);
}

/* In one of the three ways that there are. */
static void drive(struct round *r, struct actor *a)
{
    unsigned way = r->simulated ? 0 : (unsigned)draw(a, 3);
    int e;

    if (way == 1) {
        EXPECT(hy_runtime_start(r->rt) == 0);
        EXPECT(hy_fiber_sleep(hy_after(draw(a, 100) * MS)) == 0);
        EXPECT(hy_runtime_stop(r->rt) == 0);
        EXPECT(hy_runtime_wait(r->rt, HY_FOREVER) == 0);
        return;
    }
    if (draw(a, 3) == 0)
        EXPECT(hy_runtime_stop(r->rt) == 0); /* before it has begun */
    if (way == 0) {
        e = hy_runtime_run(r->rt);
        EXPECT(e == 0 || e == -ECANCELED);
        return;
    }
    while (has_fibers(r)) {
        e = hy_runtime_poll(r->rt, hy_after(draw(a, 3) * MS));
        EXPECT(e == 0 || e == 1);
    }
}

static void play_round(uint64_t seed)
{
    struct round *r = &round_now;
    struct actor a[THREADS + 2];
    pthread_t thread[THREADS];
    unsigned threads;

    memset(r, 0, sizeof(*r));
    r->seed = seed;
    for (unsigned i = 0; i < THREADS + 2; i++)
        a[i] = (struct actor){r, seed * (THREADS + 2) + i};
    atomic_store(&round_began, real_now());
    open_round(r, &a[0]);
    threads = r->simulated ? 0 : THREADS;
    if (threads != 0)
        EXPECT(hy_wait_group_add(&r->threads, threads) == 0);
    EXPECT(hy_fiber_spawn(r->rt, ground, &a[1], NULL, NULL) == 0);
    for (unsigned i = 0; i < threads; i++)
        EXPECT(pthread_create(&thread[i], NULL, outsider, &a[2 + i]) == 0);
    ring_alarm(r->simulated ? 0 : SIGNAL_US);
    drive(r, &a[0]);
    ring_alarm(0);
    for (unsigned i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    close_round(r);
    atomic_store(&round_began, 0);
}

/* --- the whole -------------------------------------------------------------
 */

static int tell_fiber(const hy_fiber_info *info, void *arg)
{
    (void)arg;
    fprintf(stderr, "  %#" PRIx64 " %s: state %d, %s\n", info->fiber.id,
            info->name, (int)info->state, info->reason);
    return 0;
}

static void *watch(void *arg)
{
    for (;;) {
        struct timespec second = {1, 0};
        uint64_t began;

        nanosleep(&second, NULL);
        began = atomic_load(&round_began);
        if (began == 0 || real_now() < began + ROUND_MOST_NS)
            continue;
        fprintf(stderr, "no end of the round with seed %" PRIu64 "\n",
                round_now.seed);
        hy_fiber_each(round_now.rt, tell_fiber, NULL);
        abort();
    }
    return arg;
}

static void tell_all(unsigned rounds, uint64_t ns)
{
    printf("%u rounds in %.0f s, %u signals, %" PRIu64 " waits ended early\n",
           rounds, (double)ns / 1e9, atomic_load(&signals),
           atomic_load(&early));
    for (unsigned i = 0; i < KINDS; i++)
        printf("%10s %12" PRIu64 " moves\n", kinds[i].name,
               atomic_load(&moves[i]));
}

int main(int argc, char **argv)
{
    uint64_t seconds = argc > 1 ? strtoull(argv[1], NULL, 10) : 600;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    uint64_t began = real_now();
    unsigned rounds = 0;
    pthread_t watcher;

    sigaction(SIGALRM, &action, NULL);
    EXPECT(pthread_create(&watcher, NULL, watch, NULL) == 0);
    do
        play_round(seed + rounds++);
    while (real_now() < began + seconds * 1000 * MS);
    tell_all(rounds, real_now() - began);
    for (unsigned i = 0; i < KINDS; i++)
        EXPECT(atomic_load(&moves[i]) != 0);
    return 0;
}
