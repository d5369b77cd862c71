/*
 * test_runtime_sim.c - hy_sim_run: which runs fail and how they are told, that
 * a seed gives the same run again, bad input, calls that fail.
 */
#include <errno.h>
#include <pthread.h>

#include <hyperion/chan.h>
#include <hyperion/fiber.h>
#include <hyperion/runtime.h>
#include <hyperion/sim.h>
#include <hyperion/sync.h>

#include "fail.h"
#include "runtime_test.h"

enum { DRAWS = 8, TAKERS = 3 };

static hy_sim_result run(int (*test)(void *), void *arg, uint64_t seed,
                         uint64_t count, int expected)
{
    hy_sim_options o = HY_SIM_OPTIONS_INIT;
    hy_sim_result r = {.size = sizeof(r)};

    o.seed = seed;
    o.count = count;
    o.switches_max = 10000;
    HY_CHECK_EQ(hy_sim_run(test, arg, &o, &r), expected);
    HY_CHECK_EQ(r.seed != 0, expected == 1);
    HY_CHECK_EQ(r.error != 0, expected == 1);
    HY_CHECK_EQ(r.why[0] != '\0', expected == 1);
    return r;
}

/* --- a race between two waits -----------------------------------------------
 */

struct account {
    int sum, runs;
    hy_mutex lock;
    bool locks;
};

static void deposit(void *arg)
{
    struct account *a = arg;
    int sum;

    if (a->locks)
        hy_mutex_lock(&a->lock, HY_FOREVER);
    sum = a->sum;
    hy_fiber_yield();
    a->sum = sum + 1;
    if (a->locks)
        hy_mutex_unlock(&a->lock);
}

static int two_deposits(void *arg)
{
    struct account *a = arg;
    hy_fiber fiber[2];

    a->sum = 0;
    a->runs++;
    for (int i = 0; i < 2; i++)
        HY_CHECK_EQ(hy_fiber_spawn(NULL, deposit, a, NULL, &fiber[i]), 0);
    for (int i = 0; i < 2; i++)
        HY_CHECK_EQ(hy_fiber_join(fiber[i], HY_FOREVER), 0);
    HY_SIM_CHECK(a->sum == 2);
    return 0;
}

HY_TEST(sim, finds_a_lost_update_and_replays_it)
{
    struct account a = {0};
    hy_sim_result first = run(two_deposits, &a, 0, 0, 1), again;

    HY_CHECK_EQ(first.error, -EINTR);
    HY_CHECK(strstr(first.why, "test_runtime_sim.c:") != NULL);
    HY_CHECK(strncmp(first.why, "a->sum == 2 at ", 15) == 0);
    HY_CHECK_EQ(first.ran, first.seed);
    HY_CHECK_EQ(a.runs, first.ran);
    again = run(two_deposits, &a, first.seed, 1, 1);
    HY_CHECK_EQ(again.ran, 1);
    HY_CHECK_EQ(again.seed, first.seed);
    HY_CHECK_STR(again.why, first.why);
}

static void *find_in_thread(void *arg)
{
    hy_sim_result *r = arg;
    struct account a = {.sum = 0};

    *r = (hy_sim_result){.size = sizeof(*r)};
    return hy_sim_run(two_deposits, &a, NULL, r) == 1 ? arg : NULL;
}

HY_TEST(sim, several_threads_at_once)
{
    hy_sim_result r[2];
    pthread_t thread[2];
    void *found;

    for (int i = 0; i < 2; i++)
        HY_CHECK_EQ(pthread_create(&thread[i], NULL, find_in_thread, &r[i]), 0);
    for (int i = 0; i < 2; i++) {
        HY_CHECK_EQ(pthread_join(thread[i], &found), 0);
        HY_CHECK(found == &r[i]);
    }
    HY_CHECK_EQ(r[0].seed, r[1].seed);
    HY_CHECK_EQ(r[0].switches, r[1].switches);
}

HY_TEST(sim, passes_what_is_right)
{
    struct account a = {.locks = true};
    hy_sim_result r = run(two_deposits, &a, 100, 500, 0);

    HY_CHECK_EQ(r.ran, 500);
    HY_CHECK_EQ(a.runs, 500);
    HY_CHECK(r.switches > 500);
}

/* Which fiber takes which place depends on the schedule. */
static int order_of_three(void *arg);
static char *place;

static void take_place(void *arg)
{
    for (int i = 0; i < 3; i++) {
        *place++ = *(const char *)arg;
        hy_fiber_yield();
    }
}

static int order_of_three(void *arg)
{
    place = arg;
    for (int i = 0; i < TAKERS; i++)
        HY_CHECK_EQ(hy_fiber_spawn(NULL, take_place, &"abc"[i], NULL, NULL), 0);
    return 0;
}

HY_TEST(sim, a_seed_is_a_schedule)
{
    char first[32][16] = {{0}}, again[16] = {0};
    int different = 0;

    for (unsigned i = 0; i < 32; i++) {
        run(order_of_three, first[i], i + 1, 1, 0);
        HY_CHECK_EQ(strlen(first[i]), 9);
        different += strcmp(first[i], first[0]) != 0;
    }
    HY_CHECK(different > 16);
    for (unsigned i = 0; i < 32; i++) {
        run(order_of_three, again, i + 1, 1, 0);
        HY_CHECK_STR(again, first[i]);
    }
}

/* --- other failures ---------------------------------------------------------
 */

static int wait_for_nobody(void *arg)
{
    return hy_event_wait(arg, HY_FOREVER);
}

static void keep_last(void *ctx, int level, const char *message)
{
    HY_CHECK_EQ(level, HY_REPORT_ERROR);
    snprintf(ctx, 256, "%s", message);
}

HY_TEST(sim, a_deadlock_names_who_waits)
{
    hy_sim_options o = HY_SIM_OPTIONS_INIT;
    hy_sim_result r = {.size = sizeof(r)};
    hy_event event = {{0}};
    char told[256] = "";

    o.seed = 7;
    o.report.write = keep_last;
    o.report.ctx = told;
    HY_CHECK_EQ(hy_sim_run(wait_for_nobody, &event, &o, &r), 1);
    HY_CHECK_EQ(r.error, -EDEADLK);
    HY_CHECK_EQ(r.seed, 7);
    HY_CHECK(strstr(r.why, "waits: event") != NULL);
    HY_CHECK(strncmp(told, "seed 7 failed: deadlock", 23) == 0);
}

static int leave_a_spinner(void *arg)
{
    return hy_fiber_spawn(NULL, yield_for_ever, arg, NULL, NULL);
}

HY_TEST(sim, a_livelock_meets_the_limit)
{
    hy_sim_result r = run(leave_a_spinner, NULL, 3, 5, 1);

    HY_CHECK_EQ(r.error, -ELOOP);
    HY_CHECK_STR(r.why, "no end after 10000 switches");
    HY_CHECK_EQ(r.ran, 1);
}

static int return_three(void *arg)
{
    leave_a_spinner(arg);
    return 3;
}

HY_TEST(sim, what_the_test_returns_ends_the_run)
{
    hy_sim_result r = run(return_three, NULL, 0, 0, 1);

    HY_CHECK_EQ(r.error, 3);
    HY_CHECK_STR(r.why, "the test returned 3");
}

static int fail_twice(void *arg)
{
    leave_a_spinner(arg);
    hy_sim_fail("first");
    hy_sim_fail("second");
    hy_fiber_yield();
    *(bool *)arg = true; /* nobody comes here */
    return 0;
}

HY_TEST(sim, the_first_why_counts_and_ends_the_run)
{
    bool went_on = false;
    hy_sim_result r = run(fail_twice, &went_on, 0, 0, 1);

    HY_CHECK_STR(r.why, "first");
    HY_CHECK(!went_on);
    HY_CHECK(r.switches < 10);
}

/* --- time and numbers -------------------------------------------------------
 */

static int sleep_a_year(void *arg)
{
    uint64_t begin = hy_now(), year = (uint64_t)365 * 24 * 3600 * 1000 * MS;

    (void)arg;
    HY_CHECK_EQ(hy_fiber_sleep(hy_after(year)), 0);
    HY_SIM_CHECK(hy_now() - begin >= year);
    return 0;
}

HY_TEST(sim, time_is_virtual)
{
    run(sleep_a_year, NULL, 0, 10, 0);
}

static int sleep_beyond_time(void *arg)
{
    uint64_t end;

    (void)arg;
    HY_CHECK_EQ(hy_fiber_sleep(hy_after(UINT64_MAX)), 0);
    end = hy_now();
    HY_SIM_CHECK(end == HY_FOREVER - 1);
    for (int i = 0; i < 10; i++) {
        HY_CHECK_EQ(hy_fiber_sleep(hy_after(1000)), 0);
        HY_SIM_CHECK(hy_now() >= end);
    }
    return 0;
}

/* As long as "never", and others wait for nothing else. */
HY_TEST(sim, time_does_not_begin_anew)
{
    run(sleep_beyond_time, NULL, 0, 10, 0);
}

static int draw_some(void *arg)
{
    uint64_t *drawn = arg;

    drawn[0] = hy_sim_draw(0);
    for (int i = 1; i < DRAWS; i++) {
        drawn[i] = hy_sim_draw((uint64_t)i);
        HY_SIM_CHECK(drawn[i] < (uint64_t)i);
    }
    return 0;
}

HY_TEST(sim, numbers_come_from_the_seed)
{
    uint64_t a[DRAWS], b[DRAWS];

    run(draw_some, a, 11, 1, 0);
    run(draw_some, b, 11, 1, 0);
    HY_CHECK(memcmp(a, b, sizeof(a)) == 0);
    run(draw_some, b, 12, 1, 0);
    HY_CHECK(a[0] != b[0]);
    HY_CHECK_EQ(hy_sim_draw(5), 0);
    hy_sim_fail("nobody hears this");
}

/* --- bad input, failing calls -----------------------------------------------
 */

static int pass(void *arg)
{
    if (arg != NULL)
        ++*(int *)arg;
    return 0;
}

HY_TEST(sim, bad_input)
{
    hy_sim_options o = HY_SIM_OPTIONS_INIT;
    hy_sim_result r = {.size = sizeof(r), .ran = 42};
    struct {
        hy_sim_options o;
        uint64_t more;
    } newer = {HY_SIM_OPTIONS_INIT, 1};

    newer.o.size = sizeof(newer);
    HY_CHECK_EQ(hy_sim_run(NULL, NULL, NULL, &r), -EINVAL);
    HY_CHECK_EQ(hy_sim_run(pass, NULL, &newer.o, &r), -E2BIG);
    o.seed = UINT64_MAX;
    HY_CHECK_EQ(hy_sim_run(pass, NULL, &o, &r), -EINVAL);
    o.count = 1;
    o.stack_bytes = 1;
    HY_CHECK_EQ(hy_sim_run(pass, NULL, &o, &r), -EINVAL);
    HY_CHECK_EQ(r.ran, 42);
    o.stack_bytes = 0;
    HY_CHECK_EQ(hy_sim_run(pass, NULL, &o, &r), 0);
    HY_CHECK_EQ(r.ran, 1);
    r.size = 0;
    HY_CHECK_EQ(hy_sim_run(pass, NULL, &o, &r), -EINVAL);
}

HY_TEST(sim, defaults)
{
    int runs = 0;

    HY_CHECK_EQ(hy_sim_run(pass, &runs, NULL, NULL), 0);
    HY_CHECK_EQ(runs, 1000);
}

static int run_inside(void *arg)
{
    return hy_sim_run(pass, arg, NULL, NULL);
}

HY_TEST(sim, not_inside_a_fiber)
{
    HY_CHECK_EQ(run(run_inside, NULL, 0, 0, 1).error, -EBUSY);
}

HY_TEST(sim, no_memory)
{
    hy_sim_result r = {.size = sizeof(r), .ran = 42};

    hy_fail_at(HY_FAIL_CALLOC, 1, ENOMEM);
    HY_CHECK_EQ(hy_sim_run(pass, NULL, NULL, &r), -ENOMEM);
    HY_CHECK_EQ(hy_fail_hits(), 1);
    hy_fail_none();
    /* Tables are kept from runtime to runtime: then it is the stacks' turn. */
    hy_fail_from(HY_FAIL_MMAP, 1, ENOMEM);
    HY_CHECK_EQ(hy_sim_run(pass, NULL, NULL, &r), -ENOMEM);
    HY_CHECK(hy_fail_hits() >= 1);
    hy_fail_none();
    HY_CHECK_EQ(r.ran, 42);
    HY_CHECK_EQ(hy_sim_run(pass, NULL, NULL, &r), 0);
}
