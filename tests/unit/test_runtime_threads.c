/*
 * test_runtime_threads.c - what a runtime has of the system's threads: none is
 * left of fibers that ended, or that a runtime's end found parked; and where
 * each context is a thread (arch.h), one that cannot be had is waited for.
 */
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <sys/mman.h>

#include <hyperion/context.h>
#include <hyperion/fiber.h>
#include <hyperion/observe.h>
#include <hyperion/runtime.h>

#include "arch.h"
#include "fail.h"
#include "runtime_test.h"

enum { FIBERS = 50, STACK_BYTES = 32 << 10 };

static int warnings;

static void count_warning(void *ctx, int level, const char *message)
{
    (void)ctx;
    (void)message;
    warnings += level == HY_REPORT_WARNING;
    errno = 99; /* a report changes nothing for who runs into it */
}

static hy_runtime *make_warning(void)
{
    return make(.workers = 1, .report.write = count_warning);
}

/* Of the process; 0 where the system does not tell. */
static int count_threads(void)
{
    DIR *tasks = opendir("/proc/self/task");
    int count = 0;

    if (tasks == NULL)
        return 0;
    while (readdir(tasks) != NULL)
        count++;
    closedir(tasks);
    return count - 2; /* "." and ".." */
}

/* The system forgets a thread a little after it was joined. */
static void check_threads(int expected)
{
    AWAIT(count_threads() == expected);
}

static void note(void *arg)
{
    ++*(int *)arg;
    hy_fiber_yield();
    ++*(int *)arg;
}

static void sleep_for_ever(void *arg)
{
    ++*(int *)arg;
    hy_fiber_sleep(HY_FOREVER);
    *(int *)arg = -1000;
}

HY_TEST(runtime_threads, ended_fibers_leave_none)
{
    int before = count_threads(), count = 0;
    hy_runtime *rt = make_warning();

    for (int i = 0; i < FIBERS; i++)
        HY_CHECK_EQ(hy_fiber_spawn(rt, note, &count, NULL, NULL), 0);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(count, 2 * FIBERS);
    check_threads(before);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

HY_TEST(runtime_threads, parked_fibers_leave_none_when_their_runtime_ends)
{
    int before = count_threads(), count = 0;
    hy_runtime *rt = make_warning();

    for (int i = 0; i < FIBERS; i++)
        HY_CHECK_EQ(hy_fiber_spawn(rt, sleep_for_ever, &count, NULL, NULL), 0);
    while (count < FIBERS)
        HY_CHECK(hy_runtime_poll(rt, HY_NOW) >= 0);
    if (before != 0)
        HY_CHECK_EQ(count_threads(), before + HY_ARCH_THREADS * FIBERS);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    check_threads(before);
    HY_CHECK_EQ(count, FIBERS);
}

/* It is told, and nothing is lost. */
HY_TEST(runtime_threads, a_fiber_without_a_thread_starts_later)
{
    hy_runtime *rt = make_warning();
    int count = 0;

    warnings = 0;
    HY_CHECK_EQ(hy_fiber_spawn(rt, note, &count, NULL, NULL), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, note, &count, NULL, NULL), 0);
    hy_fail_at(HY_FAIL_PTHREAD_CREATE, 1, EAGAIN);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(hy_fail_hits(), HY_ARCH_THREADS);
    hy_fail_none();
    HY_CHECK_EQ(warnings, HY_ARCH_THREADS);
    HY_CHECK_EQ(count, 4);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

static hy_context home, away;

static void go_home(void *arg, void *value)
{
    (void)value;
    for (;;)
        hy_context_switch(&away, &home, arg);
}

HY_TEST(runtime_threads, a_context_without_a_thread_is_refused)
{
    static char stack[STACK_BYTES] __attribute__((aligned(64)));
    hy_context context = {&home};
    int r;

    hy_fail_at(HY_FAIL_PTHREAD_CREATE, 1, EAGAIN);
    errno = 7;
    r = hy_context_make(&context, stack, sizeof(stack), go_home, stack);
    HY_CHECK_EQ(errno, 7);
    hy_fail_none();
    HY_CHECK_EQ(r, HY_ARCH_THREADS ? -EAGAIN : 0);
    HY_CHECK(r == 0 || context.sp == &home);
    HY_CHECK_EQ(hy_context_make(&context, stack, sizeof(stack), go_home, stack),
                0);
    HY_CHECK(hy_context_switch(&home, &context, NULL) == stack);
}

/* As many turns as it likes, whatever another has to wait for. */
static void take_turns(void *arg)
{
    errno = 77;
    for (int i = 0; i < 100; i++)
        hy_fiber_yield();
    *(bool *)arg = errno == 77;
    hy_fail_none();
}

HY_TEST(runtime_threads, others_go_on_while_one_waits_for_a_thread)
{
    hy_runtime *rt = make_warning();
    bool kept = false;
    int count = 0;

    HY_CHECK_EQ(hy_fiber_spawn(rt, take_turns, &kept, NULL, NULL), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, note, &count, NULL, NULL), 0);
    hy_fail_from(HY_FAIL_PTHREAD_CREATE, 2, EAGAIN);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK(kept);
    HY_CHECK_EQ(count, 2);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

static int count_starts(const hy_trace_event *event, void *count)
{
    *(int *)count += event->kind == HY_TRACE_START;
    return 0;
}

/* However often it was tried. */
HY_TEST(runtime_threads, a_late_start_is_observed_once)
{
    hy_runtime *rt =
        make(.workers = 1, .flags = HY_RUNTIME_MEASURE | HY_RUNTIME_TRACE);
    hy_histogram delay = HY_HISTOGRAM_INIT;
    int count = 0, starts = 0;
    bool kept = false;

    spawn(rt, take_turns, &kept);
    spawn(rt, note, &count);
    hy_fail_from(HY_FAIL_PTHREAD_CREATE, 2, EAGAIN);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(count, 2);
    HY_CHECK_EQ(hy_runtime_trace(rt, count_starts, &starts, NULL), 0);
    HY_CHECK_EQ(starts, 2);
    HY_CHECK_EQ(hy_runtime_histogram_get(rt, HY_MEASURE_DELAY, &delay), 0);
    HY_CHECK_EQ(delay.count, 101 + 2);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

enum { STARTS = 3, WITHOUT = 20 /* turns of others without a thread */ };

static int times_told[STARTS];
static uint64_t start_of[STARTS];

static int see_start(const hy_trace_event *event, void *arg)
{
    (void)arg;
    for (int i = 0; i < STARTS; i++)
        times_told[i] +=
            event->kind == HY_TRACE_START && event->fiber == start_of[i];
    return 0;
}

/* Its stack, and its thread, go to the next one. */
static void yield_without_threads(void *arg)
{
    (void)arg;
    hy_fail_from(HY_FAIL_PTHREAD_CREATE, 1, EAGAIN);
    for (int i = 0; i < WITHOUT; i++)
        hy_fiber_yield();
}

HY_TEST(runtime_threads, each_start_is_told_once)
{
    static void (*const entry[STARTS])(void *) = {yield_without_threads,
                                                  nothing, nothing};
    hy_runtime *rt = make(.workers = 1, .flags = HY_RUNTIME_TRACE,
                          .report.write = count_warning);

    warnings = 0;
    memset(times_told, 0, sizeof(times_told));
    for (int i = 0; i < STARTS; i++)
        start_of[i] = spawn(rt, entry[i], NULL).id;
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK(!HY_ARCH_THREADS || hy_fail_hits() >= WITHOUT / 2);
    hy_fail_none();
    HY_CHECK_EQ(warnings, HY_ARCH_THREADS);
    HY_CHECK_EQ(hy_runtime_trace(rt, see_start, NULL, NULL), 0);
    for (int i = 0; i < STARTS; i++)
        HY_CHECK_MSG(times_told[i] == 1, "%d: %d", i, times_told[i]);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

/* Made and never begun: its memory is the caller's again at once. */
HY_TEST(runtime_threads, a_context_may_be_given_up_before_it_begins)
{
    for (int i = 0; i < 20; i++) {
        char *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        hy_context context;

        HY_CHECK(stack != MAP_FAILED);
        HY_CHECK_EQ(
            hy_context_make(&context, stack, STACK_BYTES, go_home, NULL), 0);
        HY_CHECK_EQ(munmap(stack, STACK_BYTES), 0);
    }
}

/* A stack may be given to a new context while an old one was left on it. */
HY_TEST(runtime_threads, a_stack_serves_again_after_a_context_was_left)
{
    static char stack[STACK_BYTES] __attribute__((aligned(64)));
    int told[20];

    for (int i = 0; i < 20; i++) {
        HY_CHECK_EQ(
            hy_context_make(&away, stack, sizeof(stack), go_home, &told[i]), 0);
        for (int k = 0; k < 3; k++)
            HY_CHECK(hy_context_switch(&home, &away, NULL) == &told[i]);
    }
}
