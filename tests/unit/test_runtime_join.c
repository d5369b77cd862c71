/*
 * test_runtime_join.c - joining a fiber that has not started: it begins at
 * once, and its end continues who joined it, whatever happens between.
 */
#include <errno.h>
#include <stdatomic.h>

#include <hyperion/fiber.h>
#include <hyperion/runtime.h>
#include <hyperion/sync.h>

#include "runtime_test.h"

enum { ROUNDS = 2000, DEPTH = 12 };

static char order[16];
static unsigned at;

static void note(char c)
{
    HY_CHECK(at < sizeof(order) - 1);
    order[at++] = c;
    order[at] = '\0';
}

static void run(void (*entry)(void *), void *arg, unsigned workers)
{
    hy_runtime *rt = make(.workers = workers);

    at = 0;
    HY_CHECK_EQ(hy_fiber_spawn(rt, entry, arg, NULL, NULL), 0);
    run_to_the_end(rt);
}

static void write_name(void *arg)
{
    note(*(char *)arg);
}

/* --- order ------------------------------------------------------------------
 */

static void joins_newest_first(void *arg)
{
    hy_fiber a = spawn(NULL, write_name, "a"), b = spawn(NULL, write_name, "b");

    (void)arg;
    HY_CHECK_EQ(hy_fiber_join(b, HY_FOREVER), 0);
    note('-');
    HY_CHECK_EQ(hy_fiber_join(a, HY_FOREVER), 0);
    note('.');
}

HY_TEST(runtime_join, the_newest_runs_when_it_is_joined)
{
    run(joins_newest_first, NULL, 1);
    HY_CHECK_STR(order, "b-a.");
}

static void joins_oldest_first(void *arg)
{
    hy_fiber a = spawn(NULL, write_name, "a"), b = spawn(NULL, write_name, "b");

    (void)arg;
    HY_CHECK_EQ(hy_fiber_join(a, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_fiber_join(b, HY_FOREVER), 0);
    note('.');
}

HY_TEST(runtime_join, siblings_start_in_their_order)
{
    run(joins_oldest_first, NULL, 1);
    HY_CHECK_STR(order, "ab.");
}

/* --- it waits before it ends ------------------------------------------------
 */

static void yields_between(void *arg)
{
    (void)arg;
    note('1');
    hy_fiber_yield();
    note('2');
    HY_CHECK_EQ(hy_fiber_sleep(hy_after(MS)), 0);
    note('3');
}

static void joins_a_yielder(void *arg)
{
    hy_fiber other = spawn(NULL, write_name, "o"),
             f = spawn(NULL, yields_between, NULL);

    (void)arg;
    HY_CHECK_EQ(hy_fiber_join(f, HY_FOREVER), 0);
    note('.');
    HY_CHECK_EQ(hy_fiber_join(other, HY_FOREVER), 0);
}

HY_TEST(runtime_join, who_joined_waits_while_the_fiber_yields_and_sleeps)
{
    run(joins_a_yielder, NULL, 1);
    HY_CHECK_STR(order, "1o23.");
}

/* --- cancelling who joined --------------------------------------------------
 */

static hy_fiber joiner;
static hy_event gate;

static void cancels_and_waits(void *arg)
{
    (void)arg;
    HY_CHECK_EQ(hy_fiber_cancel(joiner), 0);
    hy_fiber_shield(1);
    HY_CHECK_EQ(hy_event_wait(&gate, HY_FOREVER), 0);
    note('e');
}

/* Where the waiter lay there is something else by the time of the end. */
static __attribute__((noinline)) void cover(hy_fiber f)
{
    volatile unsigned char frame[1024];

    for (unsigned i = 0; i < sizeof(frame); i++)
        frame[i] = 2; /* a waiter that looks parked */
    hy_event_set(&gate);
    while (hy_fiber_cancel(f) == 0)
        hy_fiber_yield();
    for (unsigned i = 0; i < sizeof(frame); i++)
        HY_CHECK_EQ(frame[i], 2);
}

static void is_cancelled(void *arg)
{
    hy_fiber f = spawn(NULL, cancels_and_waits, NULL);

    (void)arg;
    joiner = hy_fiber_self();
    HY_CHECK_EQ(hy_fiber_join(f, HY_FOREVER), -ECANCELED);
    note('c');
    cover(f);
    note('.');
}

HY_TEST(runtime_join, who_is_cancelled_leaves_and_the_fiber_goes_on)
{
    hy_event_reset(&gate);
    run(is_cancelled, NULL, 1);
    HY_CHECK_STR(order, "ce.");
}

/* The yield takes the cancel in, and the end comes before its turn. */
static void cancels_and_ends(void *arg)
{
    HY_CHECK_EQ(hy_fiber_cancel(joiner), 0);
    if (arg != NULL)
        hy_fiber_yield();
}

static void is_cancelled_too_late(void *yields)
{
    hy_fiber f = spawn(NULL, cancels_and_ends, yields);

    joiner = hy_fiber_self();
    HY_CHECK_EQ(hy_fiber_join(f, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_fiber_check(), -ECANCELED);
    note('.');
}

HY_TEST(runtime_join, an_end_after_the_cancel_is_still_a_join)
{
    char yields;

    run(is_cancelled_too_late, NULL, 1);
    HY_CHECK_STR(order, ".");
    run(is_cancelled_too_late, &yields, 1);
    HY_CHECK_STR(order, ".");
}

static void cancelled_before(void *arg)
{
    hy_fiber f;

    (void)arg;
    HY_CHECK_EQ(hy_fiber_cancel(hy_fiber_self()), 0);
    hy_fiber_yield(); /* the worker has seen it */
    f = spawn(NULL, write_name, "x");
    HY_CHECK_EQ(hy_fiber_join(f, HY_FOREVER), -ECANCELED);
    note('.');
}

HY_TEST(runtime_join, a_cancelled_fiber_does_not_join)
{
    run(cancelled_before, NULL, 1);
    HY_CHECK_STR(order, ".x");
}

/* --- cycles -----------------------------------------------------------------
 */

static void joins_its_joiner(void *arg)
{
    (void)arg;
    HY_CHECK_EQ(hy_fiber_join(joiner, HY_FOREVER), -EDEADLK);
    note('d');
}

static void begins_a_cycle(void *arg)
{
    (void)arg;
    joiner = hy_fiber_self();
    HY_CHECK_EQ(hy_fiber_join(spawn(NULL, joins_its_joiner, NULL), HY_FOREVER),
                0);
    note('.');
}

HY_TEST(runtime_join, a_cycle_through_it_is_found)
{
    run(begins_a_cycle, NULL, 1);
    HY_CHECK_STR(order, "d.");
}

/* --- nobody starves ---------------------------------------------------------
 */

static unsigned turns;
static bool slept, done;

static void takes_turns(void *arg)
{
    (void)arg;
    while (!done) {
        turns++;
        hy_fiber_yield();
    }
}

static void sleeps(void *arg)
{
    (void)arg;
    HY_CHECK_EQ(hy_fiber_sleep(hy_after(MS)), 0);
    slept = true;
}

static void joins_for_long(void *arg)
{
    uint64_t rounds = 0;

    (void)arg;
    spawn(NULL, takes_turns, NULL);
    spawn(NULL, sleeps, NULL);
    hy_fiber_yield();
    for (; rounds < ROUNDS || !slept; rounds++) {
        HY_CHECK(rounds < 1000000000u);
        HY_CHECK_EQ(hy_fiber_join(spawn(NULL, nothing, NULL), HY_FOREVER), 0);
    }
    HY_CHECK(turns >= rounds / 64);
    done = true;
}

HY_TEST(runtime_join, who_joins_in_a_loop_starves_nobody)
{
    turns = 0;
    slept = done = false;
    run(joins_for_long, NULL, 1);
}

/* Natively 1,000; a few tell the same where time is short. */
#ifdef HY_TEST_PLAIN
enum { OLD = 20 };
#else
enum { OLD = 1000 };
#endif
/* Picks after which the oldest one begins, and a few that come between. */
enum { OLD_TURNS = 16384 + 64 };

static unsigned begun;

static void begins(void *arg)
{
    (void)arg;
    begun++;
}

static void joins_beside_old(void *worker)
{
    uint64_t rounds = 0;

    begun = 0;
    for (int i = 0; i < 1000; i++)
        spawn(NULL, begins, NULL);
    while (begun < (unsigned)OLD) {
        hy_fiber f = worker != NULL ? spawn_on(NULL, 1, nothing, NULL)
                                    : spawn(NULL, nothing, NULL);

        HY_CHECK_EQ(hy_fiber_join(f, HY_FOREVER), 0);
        rounds++;
        HY_CHECK_MSG(rounds <= (begun + 2) * (uint64_t)OLD_TURNS,
                     "%u have begun", begun);
    }
}

HY_TEST(runtime_join, who_joins_in_a_loop_leaves_no_unstarted_one_for_ever)
{
    run(joins_beside_old, NULL, 1);
    HY_CHECK_EQ(begun, 1000);
}

HY_TEST(runtime_join, nor_does_a_stream_of_fibers_for_this_worker_alone)
{
    static int worker;

    run(joins_beside_old, &worker, 1);
    HY_CHECK_EQ(begun, 1000);
}

/* --- two workers ------------------------------------------------------------
 */

struct tree {
    unsigned depth, sum;
};

/* The right half is usually still unstarted, and sometimes stolen. */
static void add_up(void *arg)
{
    struct tree *t = (struct tree *)arg, left, right;
    hy_fiber l, r;

    t->sum = 1;
    if (t->depth == 0)
        return;
    left = right = (struct tree){t->depth - 1, 0};
    l = spawn(NULL, add_up, &left);
    r = spawn(NULL, add_up, &right);
    HY_CHECK_EQ(hy_fiber_join(r, HY_FOREVER), 0);
    if (t->depth % 4 == 0)
        hy_fiber_yield();
    HY_CHECK_EQ(hy_fiber_join(l, HY_FOREVER), 0);
    t->sum += left.sum + right.sum;
}

HY_TEST(runtime_join, trees_on_two_workers_add_up)
{
    for (unsigned workers = 1; workers <= 2; workers++) {
        struct tree root = {DEPTH, 0};

        run(add_up, &root, workers);
        HY_CHECK_EQ(root.sum, (2u << DEPTH) - 1);
    }
}
