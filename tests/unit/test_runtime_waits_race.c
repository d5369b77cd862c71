/*
 * test_runtime_waits_race.c - a cycle over two runtimes, closed by two threads
 * at the same moment: one of the two is told, whatever the processors keep back
 * in their store buffers.
 *
 *      runtime 1:  A --joins--> B --joins--+
 *                  ^                       v
 *      runtime 2:  +--------------joins--- C       B waits already
 */
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <hyperion/fiber.h>
#include <hyperion/runtime.h>

#include "runtime_test.h"

enum { TRIOS = 14, SKEW_MOST = 15, SPINS = 10000 };
#define AT_MOST    (1500 * (uint64_t)MS)
#define LONG_AFTER (10000 * (uint64_t)MS) /* seen only when nobody was told */

static struct {
    hy_fiber a[TRIOS], b[TRIOS], c[TRIOS];
    atomic_int a_came, c_came, told;
    unsigned a_skew, c_skew;
} race;

static void count_if_told(int result)
{
    if (result == -EDEADLK)
        atomic_fetch_add(&race.told, 1);
}

/* Both leave at the same time, but for the skew. */
static void meet(atomic_int *mine, atomic_int *other, unsigned skew)
{
    int turn = atomic_fetch_add(mine, 1) + 1;

    for (int i = 0; atomic_load(other) < turn; i++)
        if (i > SPINS)
            sched_yield();
    for (volatile unsigned i = 0; i < skew;)
        i++;
}

static void join_b(void *arg)
{
    meet(&race.a_came, &race.c_came, race.a_skew);
    count_if_told(hy_fiber_join(*(hy_fiber *)arg, hy_after(LONG_AFTER)));
}

static void join_a(void *arg)
{
    meet(&race.c_came, &race.a_came, race.c_skew);
    count_if_told(hy_fiber_join(*(hy_fiber *)arg, hy_after(LONG_AFTER)));
}

static void join_c(void *arg)
{
    count_if_told(hy_fiber_join(*(hy_fiber *)arg, hy_after(2 * LONG_AFTER)));
}

/* Who waits for it reads the handle as soon as the fiber runs. */
static void spawn_into(hy_fiber *out, hy_runtime *rt, void (*entry)(void *),
                       void *arg)
{
    HY_CHECK_EQ(hy_fiber_spawn(rt, entry, arg, NULL, out), 0);
}

/* As many as are told, one for each trio. */
static int race_once(hy_runtime *first, hy_runtime *second, unsigned skew)
{
    race.a_came = race.c_came = race.told = 0;
    race.a_skew = skew < SKEW_MOST ? skew : 0;
    race.c_skew = skew < SKEW_MOST ? 0 : skew - SKEW_MOST;
    for (int i = 0; i < TRIOS; i++)
        spawn_into(&race.c[i], second, join_a, &race.a[i]);
    for (int i = 0; i < TRIOS; i++)
        spawn_into(&race.b[i], first, join_c, &race.c[i]);
    for (int i = 0; i < TRIOS; i++)
        spawn_into(&race.a[i], first, join_b, &race.b[i]);
    for (int i = 0; i < TRIOS; i++) {
        HY_CHECK_EQ(hy_fiber_join(race.a[i], HY_FOREVER), 0);
        HY_CHECK_EQ(hy_fiber_join(race.b[i], HY_FOREVER), 0);
        HY_CHECK_EQ(hy_fiber_join(race.c[i], HY_FOREVER), 0);
    }
    return race.told;
}

HY_TEST(runtime_waits_race, two_threads_that_close_a_cycle_at_once)
{
    hy_deadline end = hy_after(AT_MOST);
    hy_runtime *rt[2];

    for (int i = 0; i < 2; i++) {
        rt[i] = make(.workers = 1);
        HY_CHECK_EQ(hy_runtime_start(rt[i]), 0);
    }
    do
        HY_CHECK_EQ(race_once(rt[0], rt[1], (unsigned)rand() % (2 * SKEW_MOST)),
                    TRIOS);
    while (hy_now() < end);
    for (int i = 0; i < 2; i++) {
        HY_CHECK_EQ(hy_runtime_stop(rt[i]), 0);
        HY_CHECK_EQ(hy_runtime_wait(rt[i], HY_FOREVER), 0);
        HY_CHECK_EQ(hy_runtime_destroy(rt[i]), 0);
    }
}
