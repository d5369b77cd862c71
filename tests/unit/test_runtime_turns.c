/*
 * test_runtime_turns.c - fibers that do nothing but yield: what belongs to each
 * stays with it, and what is told of them is true, though a turn leaves their
 * slots alone.
 */
#include <errno.h>
#include <stdlib.h>

#include <hyperion/fiber.h>
#include <hyperion/observe.h>
#include <hyperion/runtime.h>
#include <hyperion/sync.h>

#include "runtime_test.h"

enum {
    FIBERS = 93, /* one of 31 turns is not plain: mostly of the same three */
    ROUNDS = 1000,
    DEEP = 3 << 10,
    LATE = 64 /* switches of a yielding fiber that others may not see yet */
};

static struct {
    unsigned turn[FIBERS], out_of_turn, begun, arrived;
    hy_runtime *rt;
    atomic_bool over;
} run;

static hy_runtime *begin(void (*entry)(void *))
{
    hy_runtime *rt = make(.workers = 1);

    memset(&run, 0, sizeof(run));
    for (intptr_t i = 0; i < FIBERS; i++)
        HY_CHECK_EQ(hy_fiber_spawn(rt, entry, (void *)i, NULL, NULL), 0);
    return rt;
}

static void wait_for_all(void)
{
    for (run.begun++; run.begun < FIBERS;)
        hy_fiber_yield();
    hy_fiber_yield();
}

/* --- what belongs to each --------------------------------------------------
 */

static void keeps_errno(void *arg)
{
    int mine = 1 + (int)(intptr_t)arg;

    errno = mine;
    for (int i = 0; i < ROUNDS; i++) {
        hy_fiber_yield();
        run.out_of_turn += errno != mine;
        errno = mine += FIBERS;
    }
}

HY_TEST(runtime_turns, each_keeps_its_errno)
{
    run_to_the_end(begin(keeps_errno));
    HY_CHECK_EQ(run.out_of_turn, 0);
}

/* --- the order --------------------------------------------------------------
 */

/* Each turn of one comes after a turn of all the others. */
static void goes_round(void *arg)
{
    unsigned *turn = &run.turn[(intptr_t)arg];

    wait_for_all();
    for (int i = 0; i < ROUNDS; i++) {
        ++*turn;
        for (int k = 0; k < FIBERS; k++)
            run.out_of_turn +=
                *turn - run.turn[k] + 1 > 2; /* one more, or one less */
        hy_fiber_yield();
    }
}

HY_TEST(runtime_turns, all_others_come_between)
{
    run_to_the_end(begin(goes_round));
    HY_CHECK_EQ(run.out_of_turn, 0);
    for (int i = 0; i < FIBERS; i++)
        HY_CHECK_EQ(run.turn[i], ROUNDS);
}

/* --- what is told -----------------------------------------------------------
 */

struct seen {
    uint64_t least, most, peak_least, used_least;
    int running, ready, others, beyond; /* its stack: as many bytes in use */
};

static int look_at(const hy_fiber_info *info, void *arg)
{
    struct seen *s = arg;

    s->running += info->state == HY_FIBER_RUNNING;
    s->ready += info->state == HY_FIBER_READY;
    s->others +=
        info->state != HY_FIBER_RUNNING && info->state != HY_FIBER_READY;
    s->beyond += info->stack_used_bytes > info->stack_bytes ||
                 info->stack_peak_bytes > info->stack_bytes;
    if (info->switches < s->least)
        s->least = info->switches;
    if (info->switches > s->most)
        s->most = info->switches;
    if (info->stack_peak_bytes < s->peak_least)
        s->peak_least = info->stack_peak_bytes;
    if (info->state == HY_FIBER_READY && info->stack_used_bytes < s->used_least)
        s->used_least = info->stack_used_bytes;
    return 0;
}

static struct seen look(hy_runtime *rt)
{
    struct seen s = {UINT64_MAX, 0, UINT64_MAX, UINT64_MAX, 0, 0, 0, 0};

    HY_CHECK_EQ(hy_fiber_each(rt, look_at, &s), 0);
    return s;
}

static __attribute__((noinline)) void yield_deep(int rounds)
{
    volatile char *room = __builtin_alloca(DEEP);

    for (int i = 0; i < rounds; i++) {
        room[i % DEEP] = 1;
        hy_fiber_yield();
    }
}

/* The last of them looks, after as many yields of each. */
static void yields_and_looks(void *arg)
{
    struct seen s;

    (void)arg;
    wait_for_all();
    yield_deep(LATE / 2);
    hy_fiber_yield();
    if (++run.arrived < FIBERS) {
        while (!atomic_load(&run.over))
            hy_fiber_yield();
        return;
    }
    s = look(run.rt);
    atomic_store(&run.over, true);
    HY_CHECK_EQ(s.running, 1);
    HY_CHECK_EQ(s.others, 0);
    HY_CHECK_EQ(s.ready, FIBERS - 1);
    HY_CHECK(s.least > LATE / 2);
    /* A context in portable C alone takes 3 KiB. */
    HY_CHECK(s.peak_least >= s.used_least + DEEP);
}

HY_TEST(runtime_turns, one_of_them_sees_all_as_they_are)
{
    hy_runtime *rt = begin(yields_and_looks);

    run.rt = rt;
    run_to_the_end(rt);
    HY_CHECK_EQ(run.arrived, FIBERS);
}

static void until_over(void *arg)
{
    (void)arg;
    while (!atomic_load(&run.over))
        yield_deep(LATE);
}

/* From another thread: nothing is more than a few turns late. */
HY_TEST(runtime_turns, another_thread_sees_them_yield)
{
    hy_runtime *rt = begin(until_over);
    uint64_t patience = hy_after(20 * SECOND);
    struct seen s, later;

    HY_CHECK_EQ(hy_runtime_start(rt), 0);
    do
        s = look(rt);
    while ((s.least < 2 * LATE || s.peak_least < DEEP) && hy_now() < patience);
    HY_CHECK(s.least >= 2 * LATE && s.peak_least >= DEEP);
    /* Each is seen at a moment of its own. */
    HY_CHECK(s.running < FIBERS / 2 && s.others == 0);
    HY_CHECK_EQ(s.beyond, 0); /* nor the last one, which has only yielded */
    do
        later = look(rt);
    while (later.least < s.most + LATE && hy_now() < patience);
    HY_CHECK(later.least >= s.most + LATE);
    atomic_store(&run.over, true);
    HY_CHECK_EQ(hy_runtime_stop(rt), 0);
    HY_CHECK_EQ(hy_runtime_wait(rt, hy_after(20 * SECOND)), 0);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}
