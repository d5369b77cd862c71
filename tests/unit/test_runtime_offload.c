/*
 * test_runtime_offload.c - blocking calls in helper threads: deadlines and
 * cancels while queued and while running, limits, failures, ends of runtimes
 * and of processes.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hyperion/fiber.h>
#include <hyperion/offload.h>
#include <hyperion/runtime.h>
#include <hyperion/sync.h>

#include "fail.h"
#include "runtime_test.h"

enum { CALLERS = 60, CALLS = 20 };

static hy_offload_stats stats(void)
{
    hy_offload_stats s = {.size = sizeof(s)};

    HY_CHECK_EQ(hy_offload_stats_get(&s), 0);
    return s;
}

/* The last runtime takes the helpers along; a thread that found nothing to do
   from the start may need a moment. */
static void run_without_helpers(hy_runtime *rt)
{
    run_to_the_end(rt);
    AWAIT(stats().threads == 0);
    HY_CHECK_EQ(stats().queued, 0);
    HY_CHECK_EQ(hy_offload_limit(0, 0), 0);
}

static _Atomic int wrong, ran, begun, withdrawn;
static sem_t gate;
static pthread_t worker_thread;

static void reset(void)
{
    wrong = ran = begun = withdrawn = 0;
    sem_init(&gate, 0, 0);
}

static void note(void *arg)
{
    (void)arg;
    ran++;
}

static void pass_gate(void *arg)
{
    (void)arg;
    begun++;
    while (sem_wait(&gate) != 0)
        ;
    ran++;
}

/* --- where it runs ----------------------------------------------------------
 */

static void look_around(void *arg)
{
    sigset_t blocked;

    wrong += hy_fiber_self().id != 0;
    wrong += pthread_equal(pthread_self(), worker_thread) != 0;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    wrong += !sigismember(&blocked, SIGTERM);
    wrong += !sigismember(&blocked, SIGALRM);
    wrong += sigismember(&blocked, SIGSEGV) != 0;
    wrong += sigismember(&blocked, SIGBUS) != 0;
    *(int *)arg = 42;
    errno = 5;
}

static void offload_a_look(void *arg)
{
    int on_my_stack = 0;

    (void)arg;
    worker_thread = pthread_self();
    errno = 77;
    wrong += hy_offload(look_around, &on_my_stack, HY_FOREVER) != 0;
    wrong += errno != 77;
    wrong += on_my_stack != 42;
}

HY_TEST(runtime_offload, runs_in_another_thread)
{
    hy_runtime *rt = make(.workers = 1);

    reset();
    spawn(rt, offload_a_look, NULL);
    run_without_helpers(rt);
    HY_CHECK_EQ(wrong, 0);
}

static void offload_gate(void *arg)
{
    (void)arg;
    wrong += hy_offload(pass_gate, NULL, HY_FOREVER) != 0;
}

static void open_gate(void *arg)
{
    for (int i = 0; i < *(int *)arg; i++)
        sem_post(&gate);
}

HY_TEST(runtime_offload, other_fibers_run_meanwhile)
{
    /* And it is no deadlock. */
    hy_runtime *rt = make(.workers = 1, .flags = HY_RUNTIME_CLOSED);
    int many = 10;

    reset();
    for (int i = 0; i < many; i++)
        spawn(rt, offload_gate, NULL);
    spawn(rt, open_gate, &many);
    run_without_helpers(rt);
    HY_CHECK_EQ(ran, many);
    HY_CHECK_EQ(wrong, 0);
}

static void note_thread(void *arg)
{
    *(pthread_t *)arg = pthread_self();
}

HY_TEST(runtime_offload, a_thread_calls_for_itself)
{
    pthread_t seen;

    HY_CHECK_EQ(hy_offload(NULL, NULL, HY_FOREVER), -EINVAL);
    HY_CHECK_EQ(hy_offload(note_thread, &seen, HY_NOW), 0);
    HY_CHECK(pthread_equal(seen, pthread_self()));
}

static void note_fiber(void *arg)
{
    *(uint64_t *)arg = hy_fiber_self().id;
}

static void offload_in_simulation(void *arg)
{
    uint64_t seen = 0;

    (void)arg;
    wrong += hy_offload(note_fiber, &seen, hy_after(MS)) != 0;
    wrong += seen != hy_fiber_self().id;
    ran++;
}

HY_TEST(runtime_offload, a_simulation_calls_in_place)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        hy_runtime *rt = make(.seed = seed);

        reset();
        for (int i = 0; i < 5; i++)
            spawn(rt, offload_in_simulation, NULL);
        run_without_helpers(rt);
        HY_CHECK_EQ(wrong, 0);
        HY_CHECK_EQ(ran, 5);
    }
}

/* --- deadlines, cancels -----------------------------------------------------
 */

static void never_begin(void *arg)
{
    (void)arg;
    wrong += hy_offload(NULL, NULL, HY_FOREVER) != -EINVAL;
    wrong += hy_offload(note, NULL, HY_NOW) != -ETIMEDOUT;
    wrong += hy_offload(note, NULL, 1) != -ETIMEDOUT;
    hy_fiber_cancel(hy_fiber_self());
    wrong += hy_offload(note, NULL, HY_FOREVER) != -ECANCELED;
    hy_fiber_shield(1);
    wrong += hy_offload(note, NULL, HY_FOREVER) != 0;
}

HY_TEST(runtime_offload, who_may_not_wait_does_not_call)
{
    hy_runtime *rt = make(.workers = 1);

    reset();
    spawn(rt, never_begin, NULL);
    run_without_helpers(rt);
    HY_CHECK_EQ(wrong, 0);
    HY_CHECK_EQ(ran, 1);
}

static void time_out_in_queue(void *arg)
{
    (void)arg;
    while (begun == 0)
        hy_fiber_sleep(hy_after(MS));
    wrong += hy_offload(note, NULL, hy_after(5 * MS)) != -ETIMEDOUT;
    withdrawn++;
}

static void be_cancelled_in_queue(void *arg)
{
    (void)arg;
    while (begun == 0)
        hy_fiber_sleep(hy_after(MS));
    wrong += hy_offload(note, NULL, HY_FOREVER) != -ECANCELED;
    withdrawn++;
}

static void cancel_then_open(void *arg)
{
    int one = 1;

    /* The call at the gate is in the queue, too, until a helper is there. */
    while (begun == 0 || stats().queued == 0)
        hy_fiber_sleep(hy_after(MS));
    wrong += hy_fiber_cancel(*(hy_fiber *)arg) != 0;
    AWAIT(withdrawn == 2);
    wrong += stats().queued != 0;
    open_gate(&one);
}

HY_TEST(runtime_offload, a_queued_call_is_withdrawn)
{
    hy_runtime *rt = make(.workers = 1);
    hy_fiber victim;

    reset();
    HY_CHECK_EQ(hy_offload_limit(1, 0), 0);
    spawn(rt, offload_gate, NULL);
    victim = spawn(rt, be_cancelled_in_queue, NULL);
    spawn(rt, time_out_in_queue, NULL);
    spawn(rt, cancel_then_open, &victim);
    run_without_helpers(rt);
    HY_CHECK_EQ(wrong, 0);
    HY_CHECK_EQ(ran, 1);
}

static _Atomic bool in_time; /* it began before its deadline */
static hy_deadline outlasted;

static void pass_gate_in_time(void *arg)
{
    in_time = true;
    pass_gate(arg);
}

/* Where others want the processor it may have to be asked again. */
static void offload_gate_with_deadline(void *arg)
{
    int r;

    in_time = false;
    do {
        outlasted = hy_after(200 * MS);
        r = hy_offload(pass_gate_in_time, arg, outlasted);
    } while (r == -ETIMEDOUT && !in_time);
    wrong += r != 0;
    wrong += ran == 0;
}

static void cancel_and_outlast(void *arg)
{
    int many = 2;

    while (begun < 2)
        hy_fiber_sleep(hy_after(MS));
    wrong += hy_fiber_cancel(*(hy_fiber *)arg) != 0;
    hy_fiber_sleep(outlasted + 50 * MS);
    wrong += ran != 0;
    open_gate(&many);
}

HY_TEST(runtime_offload, a_running_call_is_waited_for)
{
    hy_runtime *rt = make(.workers = 1);
    hy_fiber victim;

    reset();
    spawn(rt, offload_gate_with_deadline, NULL);
    victim = spawn(rt, offload_gate, NULL);
    spawn(rt, cancel_and_outlast, &victim);
    run_without_helpers(rt);
    HY_CHECK_EQ(wrong, 0);
    HY_CHECK_EQ(ran, 2);
}

/* --- limits -----------------------------------------------------------------
 */

static _Atomic int at_once, most_at_once;

static void be_counted(void *arg)
{
    int now = ++at_once, most = most_at_once;

    (void)arg;
    while (now > most &&
           !atomic_compare_exchange_weak(&most_at_once, &most, now))
        ;
    hy_fiber_sleep(hy_after(50000));
    at_once--;
    ran++;
}

static _Atomic int succeeded;

static void call_often(void *arg)
{
    unsigned state = (unsigned)(intptr_t)arg;

    for (int i = 0; i < CALLS; i++) {
        int r;

        state = state * 1103515245u + 12345u;
        r = hy_offload(be_counted, NULL,
                       state >> 16 & 1 ? hy_after((state >> 17 & 15) * 100000)
                                       : HY_FOREVER);
        wrong += r != 0 && r != -ETIMEDOUT;
        succeeded += r == 0;
    }
}

HY_TEST(runtime_offload, a_storm_within_the_limit)
{
    hy_runtime *rt = make(.workers = 2, .flags = HY_RUNTIME_CLOSED);

    reset();
    at_once = most_at_once = succeeded = 0;
    HY_CHECK_EQ(hy_offload_limit(1025, 0), -EINVAL);
    HY_CHECK_EQ(hy_offload_limit(4, 0), 0);
    HY_CHECK_EQ(stats().threads_most, 4);
    for (int i = 0; i < CALLERS; i++)
        spawn(rt, call_often, (void *)(intptr_t)i);
    run_without_helpers(rt);
    HY_CHECK_EQ(wrong, 0);
    HY_CHECK_EQ(ran, succeeded);
    HY_CHECK(most_at_once <= 4);
}

static void offload_and_see_it_end(void *arg)
{
    (void)arg;
    wrong += hy_offload(note, NULL, HY_FOREVER) != 0;
    AWAIT(stats().threads == 0);
    wrong += hy_offload(note, NULL, HY_FOREVER) != 0;
}

HY_TEST(runtime_offload, a_helper_without_work_ends)
{
    hy_runtime *rt = make(.workers = 1);

    reset();
    HY_CHECK_EQ(hy_offload_limit(0, MS), 0);
    spawn(rt, offload_and_see_it_end, NULL);
    run_without_helpers(rt);
    HY_CHECK_EQ(wrong, 0);
    HY_CHECK_EQ(ran, 2);
}

/* --- failures ---------------------------------------------------------------
 */

static void offload_without_threads(void *arg)
{
    (void)arg;
    hy_fail_at(HY_FAIL_PTHREAD_CREATE, 1, EAGAIN);
    wrong += hy_offload(note, NULL, HY_FOREVER) != -EAGAIN;
    wrong += hy_fail_hits() != 1;
    hy_fail_none();
    hy_fail_at(HY_FAIL_CALLOC, 1, ENOMEM);
    errno = 77;
    wrong += hy_offload(note, NULL, HY_FOREVER) != -ENOMEM;
    wrong += errno != 77;
    wrong += hy_fail_hits() != 1;
    hy_fail_none();
    wrong += ran != 0;
    wrong += hy_offload(note, NULL, HY_FOREVER) != 0;
}

HY_TEST(runtime_offload, no_thread_is_told)
{
    hy_runtime *rt = make(.workers = 1, .flags = HY_RUNTIME_CLOSED);
    hy_offload_stats small = {.size = 1};

    reset();
    HY_CHECK_EQ(hy_offload_stats_get(NULL), -EINVAL);
    HY_CHECK_EQ(hy_offload_stats_get(&small), -EINVAL);
    spawn(rt, offload_without_threads, NULL);
    run_without_helpers(rt);
    HY_CHECK_EQ(wrong, 0);
    HY_CHECK_EQ(ran, 1);
}

static void offload_without_memory(void *arg)
{
    (void)arg;
    hy_fail_at(HY_FAIL_MALLOC, 1, ENOMEM);
    wrong += hy_offload(note, NULL, HY_FOREVER) != -ENOMEM;
    hy_fail_none();
    wrong += hy_offload(note, NULL, HY_FOREVER) != 0;
}

HY_TEST(runtime_offload, no_memory_is_told)
{
    hy_runtime *rt = make(.workers = 1);

    reset();
    spawn(rt, offload_without_memory, NULL);
    run_without_helpers(rt);
    HY_CHECK_EQ(ran, 1);
}

static void be_served_by_another(void *arg)
{
    (void)arg;
    while (begun == 0)
        hy_fiber_sleep(hy_after(MS));
    hy_fail_at(HY_FAIL_PTHREAD_CREATE, 1, EAGAIN);
    sem_post(&gate);
    wrong += hy_offload(note, NULL, HY_FOREVER) != 0;
    hy_fail_none();
}

HY_TEST(runtime_offload, a_helper_serves_when_no_other_can_be_had)
{
    hy_runtime *rt = make(.workers = 1);

    reset();
    spawn(rt, offload_gate, NULL);
    spawn(rt, be_served_by_another, NULL);
    run_without_helpers(rt);
    HY_CHECK_EQ(wrong, 0);
    HY_CHECK_EQ(ran, 2);
}

/* --- ends -------------------------------------------------------------------
 */

static void *open_later(void *arg)
{
    int one = 1;

    (void)arg;
    AWAIT(stats().queued == 0); /* the end is under way */
    hy_fiber_sleep(hy_after(20 * MS));
    open_gate(&one);
    return NULL;
}

/* One call runs, one is queued, and the runtime goes. */
HY_TEST(runtime_offload, a_runtime_that_goes_waits_for_its_calls)
{
    hy_runtime *rt = make(.workers = 1);
    pthread_t opener;

    reset();
    HY_CHECK_EQ(hy_offload_limit(1, 0), 0);
    spawn(rt, offload_gate, NULL);
    spawn(rt, offload_gate, NULL);
    while (begun == 0 || stats().queued == 0)
        HY_CHECK(hy_runtime_poll(rt, HY_NOW) >= 0);
    HY_CHECK_EQ(pthread_create(&opener, NULL, open_later, NULL), 0);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    HY_CHECK_EQ(ran, 1);
    HY_CHECK_EQ(begun, 1);
    HY_CHECK_EQ(stats().queued, 0);
    HY_CHECK_EQ(stats().threads, 0);
    pthread_join(opener, NULL);
    HY_CHECK_EQ(hy_offload_limit(0, 0), 0);
}

static void wait_for_ever(void *arg)
{
    static hy_event never;

    (void)arg;
    wrong += hy_offload(note, NULL, HY_FOREVER) != 0;
    hy_event_wait(&never, HY_FOREVER);
}

HY_TEST(runtime_offload, a_deadlock_after_a_call_is_found)
{
    hy_runtime *rt = make(.workers = 2, .flags = HY_RUNTIME_CLOSED);

    reset();
    spawn(rt, wait_for_ever, NULL);
    HY_CHECK_EQ(hy_runtime_run(rt), -EDEADLK);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    HY_CHECK_EQ(ran, 1);
}

static void rest(void *arg)
{
    hy_fiber_sleep(hy_after(20 * MS));
    note(arg);
}

static void offload_a_rest(void *arg)
{
    wrong += hy_offload(rest, arg, HY_FOREVER) != 0;
}

HY_TEST(runtime_offload, a_call_under_way_is_no_deadlock_of_a_poll)
{
    hy_runtime *rt = make(.workers = 1, .flags = HY_RUNTIME_CLOSED);

    reset();
    spawn(rt, offload_a_rest, NULL);
    HY_CHECK_EQ(hy_runtime_poll(rt, hy_after(60 * SECOND)), 0);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    HY_CHECK_EQ(ran, 1);
    HY_CHECK_EQ(wrong, 0);
}

/* In the child the helper is the only thread, so its end is the child's. */
static void fork_and_return(void *arg)
{
    int status = -1;
    pid_t pid;

    (void)arg;
    fflush(stdout); /* or the child's exit writes it once more */
    pid = fork();
    if (pid != 0)
        wrong += pid < 0 || waitpid(pid, &status, 0) != pid || status != 0;
}

static void offload_a_fork(void *arg)
{
    wrong += hy_offload(fork_and_return, arg, HY_FOREVER) != 0;
}

HY_TEST(runtime_offload, a_call_may_fork)
{
    hy_runtime *rt = make(.workers = 1);

    if (HY_TEST_SANITIZER) {
        HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
        return; /* no threads after a fork */
    }
    reset();
    spawn(rt, offload_a_fork, NULL);
    run_without_helpers(rt);
    HY_CHECK_EQ(wrong, 0);
}

#ifndef HY_TEST_PLAIN /* emulators and sanitizers: no threads after a fork */

static void offload_in_child(void *arg)
{
    hy_runtime *rt = make(.workers = 1);

    (void)arg;
    alarm(20);
    ran = 0;
    spawn(rt, offload_a_look, NULL);
    if (hy_runtime_run(rt) != 0 || hy_runtime_destroy(rt) != 0 || wrong != 0)
        _exit(1);
}

static void offload_and_fork(void *arg)
{
    (void)arg;
    wrong += hy_offload(note, NULL, HY_FOREVER) != 0;
}

HY_TEST(runtime_offload, the_child_of_a_fork_has_its_own_helpers)
{
    hy_runtime *rt = make(.workers = 1);

    reset();
    spawn(rt, offload_and_fork, NULL);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(stats().threads, 1);
    HY_CHECK_EQ(hy_test_child(offload_in_child, NULL), 0);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    HY_CHECK_EQ(stats().threads, 0);
}

#endif
