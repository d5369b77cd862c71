/*
 * test_runtime_critical.c - who waits in a critical section is told of, by
 * name, at each wait; who does not is not.
 */
#include <errno.h>

#include <hyperion/fiber.h>
#include <hyperion/runtime.h>
#include <hyperion/sync.h>

#include "runtime_test.h"

enum { TEXTS = 4 };

static struct {
    char text[TEXTS][200];
    int count;
} told;

static void keep_text(void *ctx, int level, const char *message)
{
    (void)ctx;
    if (level == HY_REPORT_ERROR && told.count < TEXTS)
        snprintf(told.text[told.count], sizeof(told.text[0]), "%s", message);
    told.count += level == HY_REPORT_ERROR;
}

/* False where its kind of stack is not to be had. */
static bool run(void (*entry)(void *), void *arg, unsigned flags,
                unsigned workers)
{
    hy_runtime *rt = make(.workers = workers, .report.write = keep_text);
    hy_fiber_options f = HY_FIBER_OPTIONS_INIT;
    int r;

    memset(&told, 0, sizeof(told));
    f.name = "teller";
    f.flags = flags;
    r = hy_fiber_spawn(rt, entry, arg, &f, NULL);
    HY_CHECK(r == 0 || (r == -ENOTSUP && flags == HY_FIBER_HUGE_STACK));
    run_to_the_end(rt);
    return r == 0;
}

static void has_told(int nth, const char *what)
{
    const char *text = told.text[nth];
    size_t length = strlen(text), tail = strlen(what);

    HY_CHECK_MSG(strstr(text, "fiber \"teller\"") != NULL, "%s", text);
    HY_CHECK_MSG(length > tail && strcmp(text + length - tail, what) == 0, "%s",
                 text);
}

/* So long that no sleep is over before it has begun. */
static void wait_inside(void *arg)
{
    (void)arg;
    hy_fiber_critical_enter();
    hy_fiber_sleep(hy_after(20 * MS));
    HY_CHECK_EQ(hy_fiber_spawn(NULL, nothing, NULL, NULL, NULL), 0);
    hy_fiber_yield(); /* to that one */
    hy_fiber_critical_enter();
    hy_fiber_critical_leave();
    hy_fiber_sleep(hy_after(20 * MS)); /* still in the outer one */
}

static void expect_four(void)
{
    HY_CHECK_EQ(told.count, 4);
    has_told(0, ": sleep");
    has_told(1, ": yield");
    has_told(2, ": sleep");
    has_told(3, ": end");
}

HY_TEST(runtime_critical, each_wait_inside_is_told)
{
    run(wait_inside, NULL, 0, 1);
    expect_four();
}

HY_TEST(runtime_critical, on_a_stack_with_a_canary_too)
{
    if (run(wait_inside, NULL, HY_FIBER_HUGE_STACK, 1))
        expect_four();
}

HY_TEST(runtime_critical, and_of_a_fiber_that_migrates)
{
    run(wait_inside, NULL, HY_FIBER_MIGRATE, 2);
    expect_four();
}

static void yield_often(void *arg)
{
    for (int i = 0; i < 40; i++)
        hy_fiber_yield();
    (void)arg;
}

/* Where both have done nothing but yield. */
static void turn_inside(void *arg)
{
    HY_CHECK_EQ(hy_fiber_spawn(NULL, yield_often, NULL, NULL, NULL), 0);
    for (int i = 0; i < 10; i++)
        hy_fiber_yield();
    hy_fiber_critical_enter();
    hy_fiber_yield();
    hy_fiber_critical_leave();
    yield_often(arg);
}

HY_TEST(runtime_critical, a_turn_inside_is_told)
{
    run(turn_inside, NULL, 0, 1);
    HY_CHECK_EQ(told.count, 1);
    has_told(0, ": yield");
}

static void wait_outside(void *arg)
{
    hy_sem *sem = arg;

    hy_fiber_critical_leave(); /* without an enter: nothing */
    hy_fiber_yield();
    hy_fiber_critical_enter();
    hy_sem_wait(sem, HY_FOREVER); /* finds it at once */
    hy_fiber_sleep(HY_NOW);       /* no wait, either */
    for (int i = 0; i < 300; i++) /* deeper than it counts */
        hy_fiber_critical_enter();
    for (int i = 0; i < 301; i++)
        hy_fiber_critical_leave();
    hy_fiber_sleep(hy_after(20 * MS));
    hy_fiber_yield();
}

HY_TEST(runtime_critical, what_does_not_wait_is_not)
{
    hy_sem sem = {0};

    HY_CHECK_EQ(hy_sem_post(&sem, 1), 0);
    hy_fiber_critical_enter(); /* no fiber: nothing */
    hy_fiber_critical_leave();
    run(wait_outside, &sem, 0, 1);
    HY_CHECK_EQ(told.count, 0);
}

static void end_inside(void *arg)
{
    (void)arg;
    hy_fiber_critical_enter();
}

static void wait_behind_it(void *arg)
{
    (void)arg;
    hy_fiber_critical_enter();
    hy_fiber_critical_leave();
    hy_fiber_sleep(hy_after(20 * MS));
}

static void wait_after_others(void *arg)
{
    hy_fiber f;

    (void)arg;
    HY_CHECK_EQ(hy_fiber_spawn(NULL, end_inside, NULL, NULL, &f), 0);
    HY_CHECK_EQ(hy_fiber_join(f, HY_FOREVER), 0);
    HY_CHECK_EQ(told.count, 1);
    /* In the slot and on the stack of the one that ended inside. */
    HY_CHECK_EQ(hy_fiber_spawn(NULL, wait_behind_it, NULL, NULL, &f), 0);
    HY_CHECK_EQ(hy_fiber_join(f, HY_FOREVER), 0);
}

HY_TEST(runtime_critical, the_next_fiber_of_a_slot_begins_outside)
{
    run(wait_after_others, NULL, 0, 1);
    HY_CHECK_EQ(told.count, 1);
}

static void join_inside(void *arg)
{
    hy_fiber f;

    HY_CHECK_EQ(hy_fiber_spawn(NULL, wait_outside, arg, NULL, &f), 0);
    hy_fiber_critical_enter();
    HY_CHECK_EQ(hy_fiber_join(f, HY_FOREVER), 0);
    hy_fiber_critical_leave();
}

HY_TEST(runtime_critical, a_join_that_begins_its_fiber_is_a_wait)
{
    hy_sem sem = {0};

    HY_CHECK_EQ(hy_sem_post(&sem, 1), 0);
    run(join_inside, &sem, 0, 1);
    HY_CHECK_EQ(told.count, 1);
    has_told(0, ": join");
}

/* --- a wait that is over before the next one runs ---------------------------
 */

enum { SHORT_SLEEPS = 20000 };

static int told_of_yields, told_of_sleeps;
static bool stop_yielding;

static void count_texts(void *ctx, int level, const char *message)
{
    (void)ctx;
    if (level == HY_REPORT_ERROR) {
        told_of_yields += strstr(message, ": yield") != NULL;
        told_of_sleeps += strstr(message, ": sleep") != NULL;
    }
}

static void take_turns(void *arg)
{
    (void)arg;
    while (!stop_yielding)
        hy_fiber_yield();
}

/* The look at the timers that a wait itself makes, which is due at each 32nd
   turn, may find it over. */
static void sleep_shortly(void *arg)
{
    (void)arg;
    for (int i = 0; i < SHORT_SLEEPS; i++) {
        for (int k = 0; k < i % 32; k++)
            hy_fiber_yield();
        hy_fiber_critical_enter();
        hy_fiber_sleep(hy_after(20 + (uint64_t)i % 401));
        hy_fiber_critical_leave();
    }
    stop_yielding = true;
}

HY_TEST(runtime_critical, a_wait_that_is_soon_over_is_told_as_one)
{
    hy_runtime *rt = make(.workers = 1, .report.write = count_texts);

    told_of_yields = told_of_sleeps = 0;
    stop_yielding = false;
    spawn(rt, sleep_shortly, NULL);
    spawn(rt, take_turns, NULL);
    spawn(rt, take_turns, NULL);
    run_to_the_end(rt);
    HY_CHECK_EQ(told_of_yields, 0);
    HY_CHECK(told_of_sleeps <= SHORT_SLEEPS);
}

/* --- a callback that ends the wait ------------------------------------------
 */

static hy_sem waited_for;

static void post_what_is_waited_for(void *ctx, int level, const char *message)
{
    (void)message;
    if (level == HY_REPORT_ERROR) {
        told.count++;
        HY_CHECK_EQ(hy_sem_post(ctx, 1), 0);
    }
}

static void wait_for_the_callback(void *arg)
{
    hy_fiber_critical_enter();
    for (int i = 0; i < 100; i++)
        HY_CHECK_EQ(hy_sem_wait(arg, hy_after(60 * SECOND)), 0);
    hy_fiber_critical_leave();
}

HY_TEST(runtime_critical, the_callback_may_wake_the_fiber)
{
    static const unsigned flags[] = {0, HY_FIBER_MIGRATE};

    for (unsigned i = 0; i < 4; i++) {
        hy_runtime *rt = make(.workers = 1 + i / 2,
                              .report = {post_what_is_waited_for, &waited_for});
        hy_fiber_options f = HY_FIBER_OPTIONS_INIT;

        told.count = 0;
        waited_for = (hy_sem){{0}};
        f.flags = flags[i % 2];
        HY_CHECK_EQ(
            hy_fiber_spawn(rt, wait_for_the_callback, &waited_for, &f, NULL),
            0);
        run_to_the_end(rt);
        HY_CHECK_EQ(told.count, 100);
    }
}
