/*
 * test_runtime.c - a runtime's life and its fibers: order, results, limits,
 * cancellation, several workers, stops, polling, simulation.
 */
#include <errno.h>
#include <fenv.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include <hyperion/fiber.h>
#include <hyperion/runtime.h>
#include <hyperion/sync.h>

#include "core.h"
#include "fail.h"
#include "runtime_test.h"
#include "arch.h"
#include "os.h"

/* --- one after another ------------------------------------------------------
 */

static char trail[64];

static void write_twice(void *arg)
{
    strcat(trail, arg);
    hy_fiber_yield();
    strcat(trail, arg);
}

HY_TEST(runtime, fibers_take_turns_in_the_order_of_spawning)
{
    hy_runtime *rt = make(.workers = 1);

    trail[0] = '\0';
    HY_CHECK_EQ(hy_fiber_spawn(rt, write_twice, "a", NULL, NULL), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, write_twice, "b", NULL, NULL), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, write_twice, "c", NULL, NULL), 0);
    run_to_the_end(rt);
    HY_CHECK_STR(trail, "abcabc");
}

enum { CROWD = 500 };
static int rounds_of[CROWD], widest_lead;

static void keep_step(void *arg)
{
    int *own = arg;

    for (int i = 0; i < 20; i++) {
        ++*own;
        for (int k = 0; k < CROWD; k++)
            if (*own - rounds_of[k] > widest_lead)
                widest_lead = *own - rounds_of[k];
        hy_fiber_yield();
    }
}

/* A yield lets all others run first, those too that have not started. */
HY_TEST(runtime, no_fiber_runs_ahead_of_a_crowd)
{
    hy_runtime *rt = make(.workers = 1);

    memset(rounds_of, 0, sizeof(rounds_of));
    widest_lead = 0;
    for (int i = 0; i < CROWD; i++)
        HY_CHECK_EQ(hy_fiber_spawn(rt, keep_step, &rounds_of[i], NULL, NULL),
                    0);
    run_to_the_end(rt);
    HY_CHECK(widest_lead <= 3);
}

static unsigned begun;
static bool all_spawned;

static void count_begun(void *arg)
{
    (void)arg;
    begun++;
}

/* Whatever yields came before. Two yields: now and then those that are ready
   are first. */
static void spawn_between_yields(void *arg)
{
    const hy_fiber_options *o = arg;

    for (unsigned yields = 0; yields < 70; yields++) {
        for (unsigned i = 0; i < yields; i++)
            hy_fiber_yield();
        begun = 0;
        HY_CHECK_EQ(hy_fiber_spawn(NULL, count_begun, NULL, o, NULL), 0);
        hy_fiber_yield();
        hy_fiber_yield();
        HY_CHECK_EQ(begun, 1);
    }
    all_spawned = true;
}

static void yield_until_spawned(void *arg)
{
    (void)arg;
    while (!all_spawned)
        hy_fiber_yield();
}

HY_TEST(runtime, a_yield_lets_a_new_fiber_start)
{
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;

    for (o.worker = 0; o.worker <= 2; o.worker++) {
        hy_runtime *rt = make(.workers = 1);

        all_spawned = false;
        spawn(rt, spawn_between_yields, o.worker <= 1 ? &o : NULL);
        spawn(rt, yield_until_spawned, NULL);
        run_to_the_end(rt);
    }
}

HY_TEST(runtime, an_empty_runtime_ends_at_once_and_runs_again)
{
    hy_runtime *rt = make(.workers = 2);

    trail[0] = '\0';
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, write_twice, "x", NULL, NULL), 0);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    run_to_the_end(rt);
    HY_CHECK_STR(trail, "xx");
}

static int joined;

static void sleep_a_little(void *arg)
{
    uint64_t start = hy_now();

    HY_CHECK_EQ(hy_fiber_sleep(hy_after(2 * MS)), 0);
    HY_CHECK(hy_now() - start >= 2 * MS);
    *(int *)arg = 1;
}

static void spawn_and_join(void *arg)
{
    hy_fiber child;
    int done = 0;

    (void)arg;
    HY_CHECK_EQ(hy_fiber_spawn(NULL, sleep_a_little, &done, NULL, &child), 0);
    HY_CHECK_EQ(hy_fiber_join(child, HY_NOW), -ETIMEDOUT);
    HY_CHECK_EQ(hy_fiber_join(child, hy_after(MS / 10)), -ETIMEDOUT);
    HY_CHECK_EQ(done, 0);
    HY_CHECK_EQ(hy_fiber_join(child, HY_FOREVER), 0);
    HY_CHECK_EQ(done, 1);
    HY_CHECK_EQ(hy_fiber_join(child, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_fiber_cancel(child), -ESRCH);
    HY_CHECK_EQ(hy_fiber_join(hy_fiber_self(), HY_FOREVER), -EDEADLK);
    joined++;
}

HY_TEST(runtime, join_waits_for_the_end)
{
    hy_runtime *rt = make(.workers = 1);

    joined = 0;
    HY_CHECK_EQ(hy_fiber_spawn(rt, spawn_and_join, NULL, NULL, NULL), 0);
    run_to_the_end(rt);
    HY_CHECK_EQ(joined, 1);
}

HY_TEST(runtime, handles_of_a_destroyed_runtime_are_safe)
{
    hy_fiber old[3], young;
    hy_runtime *rt = make(.workers = 1);

    for (int i = 0; i < 3; i++)
        HY_CHECK_EQ(hy_fiber_spawn(rt, nothing, NULL, NULL, &old[i]), 0);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    rt = make(.workers = 1);
    HY_CHECK_EQ(hy_fiber_spawn(rt, nothing, NULL, NULL, &young), 0);
    for (int i = 0; i < 3; i++) {
        HY_CHECK(old[i].id != young.id);
        HY_CHECK_EQ(hy_fiber_join(old[i], HY_FOREVER), 0);
        HY_CHECK_EQ(hy_fiber_cancel(old[i]), -ESRCH);
    }
    HY_CHECK_EQ(hy_fiber_join(young, HY_NOW), -ETIMEDOUT);
    run_to_the_end(rt);
}

/* --- bad input --------------------------------------------------------------
 */

static void try_the_limit(void *arg)
{
    (void)arg;
    for (int i = 0; i < 4; i++)
        HY_CHECK_EQ(hy_fiber_spawn(NULL, nothing, NULL, NULL, NULL), 0);
    HY_CHECK_EQ(hy_fiber_spawn(NULL, nothing, NULL, NULL, NULL), -EAGAIN);
    hy_fiber_yield();
    HY_CHECK_EQ(hy_fiber_spawn(NULL, nothing, NULL, NULL, NULL), 0);
    joined++;
}

HY_TEST(runtime, spawning_past_the_limit)
{
    hy_runtime *rt = make(.workers = 1, .fibers_max = 5);

    joined = 0;
    HY_CHECK_EQ(hy_fiber_spawn(rt, try_the_limit, NULL, NULL, NULL), 0);
    run_to_the_end(rt);
    HY_CHECK_EQ(joined, 1);
}

HY_TEST(runtime, bad_options_are_refused)
{
    hy_runtime_options o = HY_RUNTIME_OPTIONS_INIT;
    hy_fiber_options f = HY_FIBER_OPTIONS_INIT;
    hy_runtime *rt = (hy_runtime *)1;

    HY_CHECK_EQ(hy_runtime_init(NULL, NULL), -EINVAL);
    o.stack_bytes = 100;
    HY_CHECK_EQ(hy_runtime_init(&rt, &o), -EINVAL);
    o.stack_bytes = (size_t)2 << 30;
    HY_CHECK_EQ(hy_runtime_init(&rt, &o), -EINVAL);
    o.stack_bytes = 0;
    o.workers = 257;
    HY_CHECK_EQ(hy_runtime_init(&rt, &o), -EINVAL);
    o.workers = 2;
    o.seed = 1;
    HY_CHECK_EQ(hy_runtime_init(&rt, &o), -EINVAL);
    o.seed = 0;
    o.flags = 1u << 30;
    HY_CHECK_EQ(hy_runtime_init(&rt, &o), -EINVAL);
    o.flags = 0;
    o.fibers_max = (size_t)1 << 23;
    HY_CHECK_EQ(hy_runtime_init(&rt, &o), -EINVAL);
    o.size = 4;
    HY_CHECK_EQ(hy_runtime_init(&rt, &o), -EINVAL);
    HY_CHECK(rt == (hy_runtime *)1);
    HY_CHECK_EQ(hy_runtime_destroy(NULL), 0);
    HY_CHECK_EQ(hy_runtime_run(NULL), -EINVAL);
    HY_CHECK_EQ(hy_runtime_start(NULL), -EINVAL);
    HY_CHECK_EQ(hy_runtime_stop(NULL), -EINVAL);
    HY_CHECK_EQ(hy_runtime_wait(NULL, HY_NOW), -EINVAL);
    HY_CHECK_EQ(hy_runtime_poll(NULL, HY_NOW), -EINVAL);
    HY_CHECK_EQ(hy_runtime_fd(NULL), -EINVAL);
    HY_CHECK_EQ(hy_runtime_trim(NULL), -EINVAL);
    rt = make(.workers = 1);
    HY_CHECK_EQ(hy_fiber_spawn(NULL, nothing, NULL, NULL, NULL), -EINVAL);
    HY_CHECK_EQ(hy_fiber_spawn(rt, NULL, NULL, NULL, NULL), -EINVAL);
    f.stack_bytes = 1000;
    HY_CHECK_EQ(hy_fiber_spawn(rt, nothing, NULL, &f, NULL), -EINVAL);
    f.stack_bytes = 0;
    f.worker = 2;
    HY_CHECK_EQ(hy_fiber_spawn(rt, nothing, NULL, &f, NULL), -EINVAL);
    f.worker = -1;
    HY_CHECK_EQ(hy_fiber_spawn(rt, nothing, NULL, &f, NULL), -EINVAL);
    f.worker = 0;
    f.flags = 1u << 4;
    HY_CHECK_EQ(hy_fiber_spawn(rt, nothing, NULL, &f, NULL), -EINVAL);
    HY_CHECK_EQ(hy_fiber_join((hy_fiber){0}, HY_NOW), -EINVAL);
    HY_CHECK_EQ(hy_fiber_cancel((hy_fiber){0}), -ESRCH);
    HY_CHECK_EQ(hy_fiber_join((hy_fiber){UINT64_MAX}, HY_NOW), 0);
    HY_CHECK_EQ(hy_fiber_cancel((hy_fiber){UINT64_MAX}), -ESRCH);
    HY_CHECK_EQ(hy_fiber_each(NULL, NULL, NULL), -EINVAL);
    run_to_the_end(rt);
}

HY_TEST(runtime, outside_a_fiber_the_thread_waits)
{
    uint64_t start = hy_now();

    HY_CHECK_EQ(hy_fiber_sleep(hy_after(2 * MS)), 0);
    HY_CHECK(hy_now() - start >= 2 * MS);
    hy_fiber_yield();
    hy_fiber_shield(1);
    HY_CHECK_EQ(hy_fiber_check(), 0);
    HY_CHECK_EQ(hy_fiber_self().id, 0);
}

/* --- cancellation -----------------------------------------------------------
 */

static void wait_for_cancel(void *arg)
{
    *(int *)arg = hy_fiber_sleep(HY_FOREVER);
    HY_CHECK_EQ(hy_fiber_check(), -ECANCELED);
    HY_CHECK_EQ(hy_fiber_sleep(hy_after(MS)), -ECANCELED);
    hy_fiber_shield(1);
    HY_CHECK_EQ(hy_fiber_check(), 0);
    HY_CHECK_EQ(hy_fiber_sleep(hy_after(MS)), 0);
    hy_fiber_shield(0);
    HY_CHECK_EQ(hy_fiber_sleep(hy_after(MS)), -ECANCELED);
}

static void cancel_a_child(void *arg)
{
    hy_fiber child, unstarted;
    int result = 1, other = 1;

    (void)arg;
    HY_CHECK_EQ(hy_fiber_spawn(NULL, wait_for_cancel, &result, NULL, &child),
                0);
    hy_fiber_yield();
    HY_CHECK_EQ(hy_fiber_spawn(NULL, wait_for_cancel, &other, NULL, &unstarted),
                0);
    HY_CHECK_EQ(hy_fiber_cancel(unstarted), 0);
    HY_CHECK_EQ(hy_fiber_cancel(child), 0);
    HY_CHECK_EQ(hy_fiber_cancel(child), 0);
    HY_CHECK_EQ(hy_fiber_join(child, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_fiber_join(unstarted, HY_FOREVER), 0);
    HY_CHECK_EQ(result, -ECANCELED);
    HY_CHECK_EQ(other, -ECANCELED);
    joined++;
}

HY_TEST(runtime, cancel_ends_each_wait)
{
    joined = 0;
    for (unsigned workers = 1; workers <= 2; workers++) {
        hy_runtime *rt = make(.workers = workers);

        HY_CHECK_EQ(hy_fiber_spawn(rt, cancel_a_child, NULL, NULL, NULL), 0);
        run_to_the_end(rt);
    }
    HY_CHECK_EQ(joined, 2);
}

static void sleep_for_ever(void *arg)
{
    if (hy_fiber_sleep(HY_FOREVER) == -ECANCELED)
        atomic_fetch_add((atomic_int *)arg, 1);
}

static void stop_own(void *arg)
{
    hy_fiber_sleep(hy_after(MS));
    HY_CHECK_EQ(hy_runtime_destroy(arg), -EBUSY);
    HY_CHECK_EQ(hy_runtime_run(arg), -EBUSY);
    HY_CHECK_EQ(hy_runtime_poll(arg, HY_NOW), -EBUSY);
    HY_CHECK_EQ(hy_runtime_wait(arg, HY_NOW), -EDEADLK);
    HY_CHECK_EQ(hy_runtime_stop(arg), 0);
    HY_CHECK_EQ(hy_fiber_sleep(hy_after(MS)), -ECANCELED);
}

HY_TEST(runtime, stop_cancels_all)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        hy_runtime *rt = make(.workers = workers);
        atomic_int cancelled = 0;

        for (int i = 0; i < 20; i++)
            HY_CHECK_EQ(
                hy_fiber_spawn(rt, sleep_for_ever, &cancelled, NULL, NULL), 0);
        HY_CHECK_EQ(hy_fiber_spawn(rt, stop_own, rt, NULL, NULL), 0);
        HY_CHECK_EQ(hy_runtime_run(rt), -ECANCELED);
        HY_CHECK_EQ(cancelled, 20);
        HY_CHECK_EQ(hy_runtime_stop(rt), 0);
        HY_CHECK_EQ(hy_fiber_spawn(rt, sleep_for_ever, &cancelled, NULL, NULL),
                    0);
        HY_CHECK_EQ(hy_runtime_run(rt), -ECANCELED);
        HY_CHECK_EQ(cancelled, 21);
        HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    }
}

static hy_runtime *stopped_by_signal;

static void on_alarm(int sig)
{
    (void)sig;
    hy_runtime_stop(stopped_by_signal);
}

static void yield_until_cancelled(void *arg)
{
    (void)arg;
    while (hy_fiber_check() == 0)
        hy_fiber_yield();
}

HY_TEST(runtime, a_signal_handler_may_stop)
{
    struct sigaction new = {.sa_handler = on_alarm}, old;
    atomic_int cancelled = 0;

    stopped_by_signal = make(.workers = 1);
    sigaction(SIGALRM, &new, &old);
    HY_CHECK_EQ(hy_fiber_spawn(stopped_by_signal, yield_until_cancelled, NULL,
                               NULL, NULL),
                0);
    HY_CHECK_EQ(hy_fiber_spawn(stopped_by_signal, sleep_for_ever, &cancelled,
                               NULL, NULL),
                0);
    ualarm(5000, 0);
    HY_CHECK_EQ(hy_runtime_run(stopped_by_signal), -ECANCELED);
    HY_CHECK_EQ(cancelled, 1);
    sigaction(SIGALRM, &old, NULL);
    HY_CHECK_EQ(hy_runtime_destroy(stopped_by_signal), 0);
}

/* --- several workers --------------------------------------------------------
 */

static void tree(void *arg)
{
    uintptr_t depth = (uintptr_t)arg;
    hy_fiber child[4];
    static atomic_int *const none = NULL;

    (void)none;
    if (depth == 0)
        return;
    for (int i = 0; i < 4; i++)
        HY_CHECK_EQ(
            hy_fiber_spawn(NULL, tree, (void *)(depth - 1), NULL, &child[i]),
            0);
    for (int i = 0; i < 4; i++)
        HY_CHECK_EQ(hy_fiber_join(child[i], HY_FOREVER), 0);
}

HY_TEST(runtime, a_tree_of_forks_and_joins)
{
    for (unsigned workers = 1; workers <= 4; workers++) {
        hy_runtime *rt = make(.workers = workers);
        hy_runtime_stats s = {.size = sizeof(s)};

        HY_CHECK_EQ(hy_fiber_spawn(rt, tree, (void *)5, NULL, NULL), 0);
        HY_CHECK_EQ(hy_runtime_run(rt), 0);
        HY_CHECK_EQ(hy_runtime_stats_get(rt, &s), 0);
        HY_CHECK_EQ(s.spawned, 1365);
        HY_CHECK_EQ(s.ended, 1365);
        HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    }
}

static void stay_on_one_thread(void *arg)
{
    uint64_t thread = hyi_os_thread_id();

    for (int i = 0; i < 50; i++) {
        if (i % 10 == 9)
            hy_fiber_sleep(hy_after(10000));
        else
            hy_fiber_yield();
        HY_CHECK_EQ(hyi_os_thread_id(), thread);
    }
    atomic_fetch_add((atomic_int *)arg, 1);
}

HY_TEST(runtime, a_started_fiber_keeps_its_thread)
{
    hy_runtime *rt = make(.workers = 3);
    atomic_int done = 0;

    for (int i = 0; i < 60; i++)
        HY_CHECK_EQ(hy_fiber_spawn(rt, stay_on_one_thread, &done, NULL, NULL),
                    0);
    run_to_the_end(rt);
    HY_CHECK_EQ(done, 60);
}

static uint64_t threads_seen[3];

static void note_thread(void *arg)
{
    *(uint64_t *)arg = hyi_os_thread_id();
}

HY_TEST(runtime, a_fiber_may_ask_for_its_worker)
{
    hy_runtime *rt = make(.workers = 3);
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;

    for (int i = 0; i < 3; i++) {
        o.worker = i + 1;
        HY_CHECK_EQ(hy_fiber_spawn(rt, note_thread, &threads_seen[i], &o, NULL),
                    0);
    }
    run_to_the_end(rt);
    if (!HY_ARCH_THREADS)
        HY_CHECK_EQ(threads_seen[0], hyi_os_thread_id());
    HY_CHECK(threads_seen[1] != threads_seen[0]);
    HY_CHECK(threads_seen[2] != threads_seen[0]);
    HY_CHECK(threads_seen[2] != threads_seen[1]);
}

static void add_one(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

HY_TEST(runtime, started_in_the_background)
{
    hy_runtime *rt = make(.workers = 2);
    atomic_int count = 0;
    hy_fiber last;

    HY_CHECK_EQ(hy_runtime_wait(rt, HY_NOW), 0);
    HY_CHECK_EQ(hy_runtime_start(rt), 0);
    HY_CHECK_EQ(hy_runtime_start(rt), -EBUSY);
    HY_CHECK_EQ(hy_runtime_destroy(rt), -EBUSY);
    HY_CHECK_EQ(hy_runtime_wait(rt, hy_after(MS)), -ETIMEDOUT);
    for (int i = 0; i < 200; i++) {
        HY_CHECK_EQ(hy_fiber_spawn(rt, add_one, &count, NULL, &last), 0);
        if (i % 20 == 0)
            HY_CHECK_EQ(hy_fiber_join(last, HY_FOREVER), 0);
    }
    HY_CHECK_EQ(hy_fiber_spawn(rt, sleep_for_ever, &count, NULL, &last), 0);
    HY_CHECK_EQ(hy_fiber_join(last, hy_after(MS)), -ETIMEDOUT);
    HY_CHECK_EQ(hy_runtime_stop(rt), 0);
    HY_CHECK_EQ(hy_runtime_wait(rt, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_fiber_join(last, HY_FOREVER), 0);
    HY_CHECK_EQ(count, 201);
    HY_CHECK_EQ(hy_runtime_start(rt), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, add_one, &count, NULL, &last), 0);
    HY_CHECK_EQ(hy_fiber_join(last, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_runtime_stop(rt), 0);
    HY_CHECK_EQ(hy_runtime_wait(rt, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

static void note_cancelled(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, hy_fiber_check() != 0);
}

/* What comes between two runs is for the next one. */
HY_TEST(runtime, a_stop_holds_until_the_end_of_the_run)
{
    hy_runtime *rt = make(.workers = 2);
    atomic_int cancelled = 0;

    HY_CHECK_EQ(hy_runtime_start(rt), 0);
    HY_CHECK_EQ(hy_runtime_stop(rt), 0);
    HY_CHECK_EQ(hy_runtime_wait(rt, HY_FOREVER), 0);
    spawn(rt, note_cancelled, &cancelled);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(cancelled, 0);

    HY_CHECK_EQ(hy_runtime_start(rt), 0);
    HY_CHECK_EQ(hy_runtime_stop(rt), 0);
    HY_CHECK_EQ(hy_runtime_wait(rt, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_runtime_stop(rt), 0);
    spawn(rt, sleep_for_ever, &cancelled);
    HY_CHECK_EQ(hy_runtime_start(rt), 0);
    HY_CHECK_EQ(hy_runtime_wait(rt, hy_after(60 * SECOND)), 0);
    HY_CHECK_EQ(cancelled, 1);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

/* --- a yielding fiber starves nobody ----------------------------------------
 */

static atomic_int stage;

static void yield_until_stage_2(void *arg)
{
    (void)arg;
    while (atomic_load(&stage) < 2)
        hy_fiber_yield();
}

static void next_stage(void *arg)
{
    hy_fiber_sleep(hy_after(MS));
    HY_CHECK_EQ(hy_event_wait(arg, HY_FOREVER), 0);
    atomic_store(&stage, 2);
}

static void *set_soon(void *arg)
{
    hy_fiber_sleep(hy_after(3 * MS));
    hy_event_set(arg);
    return NULL;
}

HY_TEST(runtime, yielding_fibers_let_timers_and_threads_in)
{
    hy_runtime *rt = make(.workers = 1);
    hy_event event = {{0}};
    pthread_t thread;

    stage = 0;
    HY_CHECK_EQ(hy_fiber_spawn(rt, yield_until_stage_2, NULL, NULL, NULL), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, next_stage, &event, NULL, NULL), 0);
    HY_CHECK_EQ(pthread_create(&thread, NULL, set_soon, &event), 0);
    run_to_the_end(rt);
    HY_CHECK_EQ(stage, 2);
    pthread_join(thread, NULL);
}

/* --- deadlock, simulation ---------------------------------------------------
 */

static int reports;
static char last_report[200];

static void keep_report(void *ctx, int level, const char *message)
{
    (void)ctx;
    if (level == HY_REPORT_ERROR)
        reports++;
    strncpy(last_report, message, sizeof(last_report) - 1);
}

HY_TEST(runtime, total_deadlock_of_a_closed_runtime)
{
    hy_fiber_options f = HY_FIBER_OPTIONS_INIT;
    atomic_int none = 0;
    hy_fiber stuck;

    for (unsigned workers = 1; workers <= 2; workers++) {
        hy_runtime *rt = make(.workers = workers, .flags = HY_RUNTIME_CLOSED,
                              .report.write = keep_report);

        reports = 0;
        f.name = "stuck";
        HY_CHECK_EQ(hy_fiber_spawn(rt, sleep_for_ever, &none, &f, &stuck), 0);
        HY_CHECK_EQ(hy_runtime_run(rt), -EDEADLK);
        HY_CHECK_EQ(reports, 1);
        HY_CHECK(strstr(last_report, "stuck") != NULL);
        HY_CHECK(strstr(last_report, "sleep") != NULL);
        HY_CHECK_EQ(hy_fiber_cancel(stuck), 0);
        HY_CHECK_EQ(hy_runtime_run(rt), 0);
        HY_CHECK_EQ(none, (int)workers);
        HY_CHECK_EQ(hy_fiber_spawn(rt, sleep_for_ever, &none, &f, &stuck), 0);
        HY_CHECK_EQ(hy_runtime_run(rt), -EDEADLK);
        HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
        HY_CHECK_EQ(hy_fiber_join(stuck, HY_FOREVER), 0);
    }
}

static char order[64];

static void sleep_long(void *arg)
{
    for (int i = 0; i < 3; i++) {
        HY_CHECK_EQ(hy_fiber_sleep(hy_after(3600ull * 1000 * MS)), 0);
        strcat(order, arg);
        hy_fiber_yield();
    }
}

static void simulate(uint64_t seed, char *into)
{
    hy_runtime *rt = make(.seed = seed);

    order[0] = '\0';
    HY_CHECK_EQ(hy_runtime_start(rt), -ENOTSUP);
    for (const char *name = "abcde"; *name != '\0'; name++) {
        static char names[5][2];
        char *own = names[name[0] - 'a'];

        own[0] = *name;
        HY_CHECK_EQ(hy_fiber_spawn(rt, sleep_long, own, NULL, NULL), 0);
    }
    run_to_the_end(rt);
    strcpy(into, order);
}

HY_TEST(runtime, a_seed_gives_virtual_time_and_one_schedule)
{
    char first[64], again[64], other[64];
    uint64_t start = hyi_os_now();
    int different = 0;

    simulate(7, first);
    simulate(7, again);
    HY_CHECK_STR(first, again);
    HY_CHECK_EQ(strlen(first), 15);
    for (uint64_t seed = 8; seed < 12; seed++) {
        simulate(seed, other);
        different += strcmp(first, other) != 0;
    }
    HY_CHECK(different > 0);
    HY_CHECK(hyi_os_now() - start < 3600 * SECOND); /* less than one sleep */
}

/* --- poll -------------------------------------------------------------------
 */

static void count_rounds(void *arg)
{
    for (int i = 0; i < 3; i++) {
        ++*(int *)arg;
        hy_fiber_yield();
    }
    hy_fiber_sleep(hy_after(3 * MS));
    ++*(int *)arg;
}

static hy_event may_sleep;

static void count_rounds_when_told(void *arg)
{
    for (int i = 0; i < 3; i++) {
        ++*(int *)arg;
        hy_fiber_yield();
    }
    HY_CHECK_EQ(hy_event_wait(&may_sleep, HY_FOREVER), 0);
    hy_fiber_sleep(hy_after(3 * MS));
    ++*(int *)arg;
}

HY_TEST(runtime, polled_by_a_loop)
{
    hy_runtime *rt = make(.workers = 2);
    int rounds = 0, more;
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;

    o.worker = 2;
    HY_CHECK_EQ(hy_runtime_poll(rt, HY_NOW), 0);
    may_sleep = (hy_event){{0}};
    HY_CHECK_EQ(hy_fiber_spawn(rt, count_rounds_when_told, &rounds, &o, NULL),
                0);
    HY_CHECK(hy_runtime_fd(rt) >= 0);
    more = hy_runtime_poll(rt, HY_NOW);
    HY_CHECK_EQ(more, 1);
    HY_CHECK_EQ(rounds, 1);
    while (hy_runtime_poll(rt, HY_NOW) == 1)
        ;
    HY_CHECK_EQ(rounds, 3);
    HY_CHECK_EQ(hy_event_set(&may_sleep), 0);
    HY_CHECK_EQ(hy_runtime_poll(rt, hy_after(60 * SECOND)), 0);
    HY_CHECK_EQ(rounds, 4);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

static void stop_at_once(void *arg)
{
    HY_CHECK_EQ(hy_runtime_stop(arg), 0);
}

/* A stop that comes after the last look at it is told, not lost. */
HY_TEST(runtime, a_stop_from_within_a_poll)
{
    hy_runtime *rt = make(.workers = 1);
    struct pollfd readable = {.events = POLLIN};
    atomic_int cancelled = 0;

    HY_CHECK_EQ(hy_fiber_spawn(rt, sleep_for_ever, &cancelled, NULL, NULL), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, stop_at_once, rt, NULL, NULL), 0);
    readable.fd = hy_runtime_fd(rt);
    HY_CHECK_EQ(hy_runtime_poll(rt, HY_NOW), 1);
    HY_CHECK_EQ(poll(&readable, 1, 0), 1);
    HY_CHECK_EQ(cancelled, 0);
    while (hy_runtime_poll(rt, HY_NOW) == 1)
        ;
    HY_CHECK_EQ(cancelled, 1);
    HY_CHECK_EQ(poll(&readable, 1, 0), 0);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

static void wait_for_event(void *arg)
{
    HY_CHECK_EQ(hy_event_wait(arg, HY_FOREVER), 0);
}

/* A loop that only ever polls at once is told all the same. */
HY_TEST(runtime, a_poll_at_once_finds_a_deadlock)
{
    hy_runtime *rt = make(.workers = 1, .flags = HY_RUNTIME_CLOSED);
    hy_event event = {{0}};

    HY_CHECK_EQ(hy_fiber_spawn(rt, wait_for_event, &event, NULL, NULL), 0);
    HY_CHECK_EQ(hy_runtime_poll(rt, HY_NOW), -EDEADLK);
    HY_CHECK_EQ(hy_event_set(&event), 0);
    HY_CHECK_EQ(hy_runtime_poll(rt, HY_NOW), 0);
    HY_CHECK_EQ(hy_runtime_poll(rt, HY_NOW), 0);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

HY_TEST(runtime, a_poll_at_once_lets_virtual_time_jump)
{
    int rounds = 0, calls = 0;
    hy_runtime *rt = make(.seed = 1);

    HY_CHECK_EQ(hy_fiber_spawn(rt, count_rounds, &rounds, NULL, NULL), 0);
    while (hy_runtime_poll(rt, HY_NOW) == 1 && calls < 100)
        calls++;
    HY_CHECK_EQ(rounds, 4);
    HY_CHECK(calls < 100);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

/* A started fiber keeps its worker; a poll has the first one only. */
HY_TEST(runtime, a_poll_leaves_the_fibers_of_other_workers)
{
    hy_runtime *rt = make(.workers = 2, .flags = HY_RUNTIME_CLOSED);
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;
    hy_event event = {{0}};

    o.worker = 2;
    HY_CHECK_EQ(hy_fiber_spawn(rt, wait_for_event, &event, &o, NULL), 0);
    HY_CHECK_EQ(hy_runtime_run(rt), -EDEADLK);
    HY_CHECK_EQ(hy_event_set(&event), 0);
    HY_CHECK_EQ(hy_runtime_poll(rt, HY_NOW), -EBUSY);
    run_to_the_end(rt);
}

/* A cancel whose thread came too late: the fiber has ended, its worker's thread
   too, and now it posts. The fibers to come in that slot are none the worse. */
HY_TEST(runtime, a_poll_after_a_late_post_to_another_worker)
{
    /* One slot for all. */
    hy_runtime *rt = make(.workers = 2, .fibers_max = 1);
    hy_fiber_options second = HY_FIBER_OPTIONS_INIT;
    atomic_int cancelled = 0;
    hy_fiber fiber;

    second.worker = 2;
    HY_CHECK_EQ(hy_fiber_spawn(rt, nothing, NULL, &second, NULL), 0);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(hy_runtime_poll(rt, HY_NOW), 0);
    hyi_post(hyi_fiber_at(rt, 0), HYI_POST_CANCEL);
    HY_CHECK_EQ(hy_fiber_spawn(rt, sleep_for_ever, &cancelled, NULL, &fiber),
                0);
    HY_CHECK_EQ(hy_runtime_poll(rt, HY_NOW), 0);
    HY_CHECK_EQ(hy_fiber_cancel(fiber), 0);
    while (hy_runtime_poll(rt, HY_NOW) == 1)
        ;
    HY_CHECK_EQ(cancelled, 1);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

static atomic_int holding, may_go;

/* So that its worker looks at no inbox. */
static void hold_worker(void *arg)
{
    (void)arg;
    atomic_store(&holding, 1);
    while (atomic_load(&may_go) == 0)
        hyi_os_thread_yield();
}

static void wait_and_tell(void *arg)
{
    atomic_store(&holding, -1);
    HY_CHECK_EQ(hy_event_wait(arg, HY_FOREVER), 0);
    atomic_store(&holding, 2);
}

/* Another of the kind: it has seen a poll, so it empties the inbox of a worker
   that has a thread by now. A wake in there goes on. */
HY_TEST(runtime, a_wake_that_a_late_post_finds_is_not_lost)
{
    hy_runtime *rt = make(.workers = 2);
    hy_event event = {{0}};

    atomic_store(&may_go, 0);
    spawn_on(rt, 2, wait_and_tell, &event);
    HY_CHECK_EQ(hy_runtime_start(rt), 0);
    AWAIT(atomic_load(&holding) == -1 && stats_of(rt).parks == 1);
    spawn_on(rt, 2, hold_worker, NULL);
    AWAIT(atomic_load(&holding) == 1);
    HY_CHECK_EQ(hy_event_set(&event), 0);
    hyi_worker_redirect(&rt->worker[1]);
    atomic_store(&may_go, 1);
    AWAIT(atomic_load(&holding) == 2);
    HY_CHECK_EQ(hy_runtime_stop(rt), 0);
    HY_CHECK_EQ(hy_runtime_wait(rt, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

/* --- what is refused --------------------------------------------------------
 */

HY_TEST(runtime, want_of_memory_leaves_errno)
{
    static const enum hy_fail_call calls[] = {HY_FAIL_ALIGNED_ALLOC,
                                              HY_FAIL_CALLOC};
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;
    hy_runtime *rt = NULL;

    for (int i = 0; i < 2; i++) {
        hy_runtime_options many = HY_RUNTIME_OPTIONS_INIT;

        many.workers = 200; /* more than any slot has room for */
        hy_fail_at(calls[i], 1, ENOMEM);
        errno = 17;
        HY_CHECK_EQ(hy_runtime_init(&rt, &many), -ENOMEM);
        HY_CHECK_EQ(errno, 17);
        HY_CHECK_EQ(hy_fail_hits(), 1);
        HY_CHECK(rt == NULL);
        hy_fail_none();
    }
    rt = make(.workers = 1);
    o.name = "named";
    hy_fail_at(HY_FAIL_MALLOC, 1, ENOMEM);
    errno = 17;
    HY_CHECK_EQ(hy_fiber_spawn(rt, nothing, NULL, &o, NULL), -ENOMEM);
    HY_CHECK_EQ(errno, 17);
    HY_CHECK_EQ(hy_fail_hits(), 1);
    hy_fail_none();
    run_to_the_end(rt);
}

/* The ring of those that are ready has room for 64 at first. */
enum { WOKEN = 300 };

static struct {
    hy_event event;
    int waiting, woken;
    bool in_order;
} crowd;

static void wait_in_crowd(void *arg)
{
    int me = crowd.waiting++;

    (void)arg;
    HY_CHECK_EQ(hy_event_wait(&crowd.event, HY_FOREVER), 0);
    crowd.in_order = crowd.in_order && crowd.woken == me;
    crowd.woken++;
    hy_fiber_yield();
    hy_fiber_yield();
}

static void yield_till_all_are_woken(void *arg)
{
    (void)arg;
    while (crowd.woken < WOKEN)
        hy_fiber_yield();
}

static void wake_crowd(void *arg)
{
    int before = *(const int *)arg;

    while (crowd.waiting < WOKEN || before-- > 0)
        hy_fiber_yield();
    hy_fail_from(HY_FAIL_MALLOC, 1, ENOMEM);
    HY_CHECK_EQ(hy_event_set(&crowd.event), 0);
    yield_till_all_are_woken(NULL);
}

/* Whatever yields came before. */
HY_TEST(runtime, no_memory_for_all_that_are_ready_loses_none)
{
    for (int before = 0; before < 40; before++) {
        hy_runtime *rt = make(.workers = 1);

        memset(&crowd, 0, sizeof(crowd));
        crowd.in_order = true;
        for (int i = 0; i < WOKEN; i++)
            spawn(rt, wait_in_crowd, NULL);
        spawn(rt, wake_crowd, &before);
        spawn(rt, yield_till_all_are_woken, NULL);
        HY_CHECK_EQ(hy_runtime_run(rt), 0);
        HY_CHECK(hy_fail_hits() > 0);
        hy_fail_none();
        HY_CHECK_EQ(crowd.woken, WOKEN);
        HY_CHECK(crowd.in_order);
        HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    }
}

/* Where memory is locked, a runtime's slots cannot be given back. */
HY_TEST(runtime, slots_that_cannot_be_given_back_are_clean_all_the_same)
{
    hy_runtime *rt = make(.workers = 1, .flags = HY_RUNTIME_CLOSED);
    atomic_int count = 0;
    hy_fiber old;

    HY_CHECK_EQ(hy_fiber_spawn(rt, nothing, NULL, NULL, &old), 0);
    hy_fail_from(HY_FAIL_MADVISE, 1, EINVAL);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    HY_CHECK(hy_fail_hits() > 0);
    hy_fail_none();
    HY_CHECK_EQ(hy_fiber_join(old, HY_FOREVER), 0);
    rt = make(.workers = 1, .flags = HY_RUNTIME_CLOSED);
    HY_CHECK_EQ(hy_fiber_spawn(rt, add_one, &count, NULL, NULL), 0);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(count, 1);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

/* --- what each tells --------------------------------------------------------
 */

static int look(const hy_fiber_info *info, void *arg)
{
    int *seen = arg;

    if (strcmp(info->name, "looker") == 0) {
        HY_CHECK_EQ(info->state, HY_FIBER_RUNNING);
        HY_CHECK_EQ(info->fiber.id, hy_fiber_self().id);
        ++*seen;
    } else if (info->state == HY_FIBER_PARKED) {
        HY_CHECK_STR(info->reason, "sleep");
        HY_CHECK(info->stack_used_bytes > 0 && info->stack_used_bytes < 8192);
        HY_CHECK(info->stack_peak_bytes >= 3000);
        HY_CHECK_EQ(info->switches, 1);
        ++*seen;
    } else {
        HY_CHECK_EQ(info->state, HY_FIBER_NEW);
        ++*seen;
    }
    return 0;
}

static void use_stack_and_sleep(void *arg)
{
    volatile char block[3000];

    memset((char *)block, 1, sizeof(block));
    __asm__ volatile("" : : "r"(block) : "memory"); /* all of it is needed */
    sleep_for_ever(arg);
    HY_CHECK_EQ(block[100], 1);
}

static void look_at_all(void *arg)
{
    int seen = 0;

    hy_fiber_yield();
    HY_CHECK_EQ(hy_fiber_spawn(NULL, nothing, NULL, NULL, NULL), 0);
    HY_CHECK_EQ(hy_fiber_each(arg, look, &seen), 0);
    HY_CHECK_EQ(seen, 3);
    joined++;
    hy_runtime_stop(arg);
}

HY_TEST(runtime, each_fiber_is_shown)
{
    hy_runtime *rt = make(.workers = 1);
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;
    atomic_int count = 0;

    joined = 0;
    HY_CHECK_EQ(hy_fiber_spawn(rt, use_stack_and_sleep, &count, NULL, NULL), 0);
    o.name = "looker";
    HY_CHECK_EQ(hy_fiber_spawn(rt, look_at_all, rt, &o, NULL), 0);
    HY_CHECK_EQ(hy_runtime_run(rt), -ECANCELED);
    HY_CHECK_EQ(joined, 1);
    HY_CHECK_EQ(count, 1);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

static int errno_seen;

static void set_errno(void *arg)
{
    errno = (int)(intptr_t)arg;
    hy_fiber_yield();
    hy_fiber_sleep(hy_after(1000));
    errno_seen += errno == (int)(intptr_t)arg;
}

enum { COUNTED = 20, COUNTED_TURNS = 3000 };

static _Atomic int counting;

static void yield_and_sleep(void *arg)
{
    (void)arg;
    for (int i = 0; i < COUNTED_TURNS; i++) {
        hy_fiber_yield();
        if (i % 16 == 0)
            hy_fiber_sleep(hy_after(1000));
    }
}

static void *read_counts(void *arg)
{
    hy_runtime_stats s = {.size = sizeof(s)};
    int wrong = 0;

    while (atomic_load(&counting)) {
        wrong |= hy_runtime_stats_get(arg, &s) != 0;
        wrong |= s.timers > COUNTED || s.spawned > COUNTED;
        wrong |= s.ready > COUNTED * COUNTED_TURNS; /* not below zero */
    }
    return wrong ? arg : NULL;
}

HY_TEST(runtime, counts_are_read_while_workers_run)
{
    hy_runtime_stats s = {.size = sizeof(s)};
    hy_runtime *rt = make(.workers = 2);
    pthread_t thread;
    void *wrong;

    atomic_store(&counting, 1);
    HY_CHECK_EQ(pthread_create(&thread, NULL, read_counts, rt), 0);
    for (int i = 0; i < COUNTED; i++)
        HY_CHECK_EQ(hy_fiber_spawn(rt, yield_and_sleep, NULL, NULL, NULL), 0);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    atomic_store(&counting, 0);
    pthread_join(thread, &wrong);
    HY_CHECK(wrong == NULL);
    HY_CHECK_EQ(hy_runtime_stats_get(rt, &s), 0);
    HY_CHECK_EQ(s.ready + s.timers, 0);
    HY_CHECK_EQ(s.ended, COUNTED);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

HY_TEST(runtime, errno_belongs_to_the_fiber)
{
    hy_runtime *rt = make(.workers = 1);

    errno_seen = 0;
    errno = 55;
    HY_CHECK_EQ(hy_fiber_spawn(rt, set_errno, (void *)3, NULL, NULL), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, set_errno, (void *)4, NULL, NULL), 0);
    run_to_the_end(rt);
    HY_CHECK_EQ(errno_seen, 2);
    HY_CHECK_EQ(errno, 55);
}

/* --- measured, and with a floating-point environment ------------------------
 */

static hy_fiber measured;

static int check_times(const hy_fiber_info *info, void *arg)
{
    if (info->fiber.id != ((hy_fiber *)arg)->id)
        return 0;
    HY_CHECK(info->run_ns >= 2 * MS && info->run_ns < 2000ull * MS);
    if (info->wait_ns < 3 * MS)
        return 2;
    HY_CHECK(info->delay_ns > 0);
    return 1;
}

static void busy_then_wait(void *arg)
{
    uint64_t end = hy_now() + 2 * MS;

    (void)arg;
    while (hy_now() < end)
        ;
    hy_fiber_yield();
    while (hy_fiber_sleep(hy_after(3 * MS)) == 0)
        ;
}

/* A sleep may be over before it has begun, where others want the processor. */
static void look_at_times(void *arg)
{
    int r;

    do {
        hy_fiber_sleep(hy_after(20 * MS));
        r = hy_fiber_each(arg, check_times, &measured);
    } while (r == 2);
    HY_CHECK_EQ(r, 1);
    joined++;
    hy_runtime_stop(arg);
}

HY_TEST(runtime, times_are_measured_when_asked_for)
{
    hy_runtime *rt = make(.workers = 1, .flags = HY_RUNTIME_MEASURE);

    joined = 0;
    HY_CHECK_EQ(hy_fiber_spawn(rt, busy_then_wait, NULL, NULL, &measured), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, look_at_times, rt, NULL, NULL), 0);
    HY_CHECK_EQ(hy_runtime_run(rt), -ECANCELED);
    HY_CHECK_EQ(joined, 1);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

static void round_up(void *arg)
{
    fesetround(FE_UPWARD);
    for (int i = 0; i < 3; i++) {
        hy_fiber_yield();
        *(int *)arg += fegetround() == FE_UPWARD;
    }
}

static void round_to_nearest(void *arg)
{
    for (int i = 0; i < 4; i++) {
        *(int *)arg += fegetround() == FE_TONEAREST;
        hy_fiber_yield();
    }
}

HY_TEST(runtime, a_floating_point_environment_of_its_own)
{
    hy_runtime *rt = make(.workers = 1);
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;
    int up = 0, nearest = 0, own = 0;

    o.flags = HY_FIBER_FP_ENV;
    HY_CHECK_EQ(hy_fiber_spawn(rt, round_up, &up, &o, NULL), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, round_to_nearest, &nearest, NULL, NULL), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, round_to_nearest, &own, &o, NULL), 0);
    run_to_the_end(rt);
    HY_CHECK_EQ(up, 3);
    HY_CHECK_EQ(nearest, 4);
    HY_CHECK_EQ(own, 4);
    HY_CHECK_EQ(fegetround(), FE_TONEAREST);
}

/* --- one runtime inside another ---------------------------------------------
 */

static void run_another(void *arg)
{
    hy_runtime *inner = make(.workers = 1);
    hy_fiber self = hy_fiber_self();
    atomic_int *count = arg;

    for (int i = 0; i < 5; i++)
        HY_CHECK_EQ(hy_fiber_spawn(inner, add_one, count, NULL, NULL), 0);
    run_to_the_end(inner);
    HY_CHECK_EQ(hy_fiber_self().id, self.id);
    HY_CHECK_EQ(hy_fiber_sleep(hy_after(MS)), 0);
}

HY_TEST(runtime, a_fiber_may_run_another_runtime)
{
    hy_runtime *rt = make(.workers = 1);
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;
    atomic_int count = 0;

    o.stack_bytes = 1 << 20;
    HY_CHECK_EQ(hy_fiber_spawn(rt, run_another, &count, &o, NULL), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, run_another, &count, &o, NULL), 0);
    run_to_the_end(rt);
    HY_CHECK_EQ(count, 10);
}
