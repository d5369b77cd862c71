/*
 * sim_fibers.c - fibers between workers and threads: posts to an inbox, theft,
 * slots that are used again, timers, stops, polls, calls made elsewhere.
 */
#include <stdatomic.h>

#include "sim_help.h"

enum { FIBERS = 6 };

struct tally {
    hy_runtime *rt;
    hy_wait_group all;
    hy_event gate;
    atomic_int ran[FIBERS * 2];
    atomic_int count;
};

struct one {
    struct tally *tally;
    int index;
};

static void end_runtime(hy_runtime *rt)
{
    SIM_CHECK_EQ(hy_runtime_stop(rt), 0);
    SIM_CHECK_EQ(hy_runtime_wait(rt, HY_FOREVER), 0);
    SIM_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

static void count_one(void *arg)
{
    struct tally *t = arg;

    atomic_fetch_add(&t->count, 1);
    hy_wait_group_done(&t->all);
}

/* --- inbox: foreign threads spawn and wake ----------------------------------
 */

static void wait_and_count(void *arg)
{
    struct tally *t = arg;

    SIM_CHECK_EQ(hy_event_wait(&t->gate, HY_FOREVER), 0);
    count_one(arg);
}

static void spawn_some(void *arg)
{
    struct tally *t = arg;

    for (int i = 0; i < 2; i++)
        SIM_CHECK_EQ(
            sim_spawn(t->rt, sim_draw(2) ? count_one : wait_and_count, t, NULL),
            0);
    hy_event_set(&t->gate);
}

void sim_test_inbox(void)
{
    struct tally t = {.rt = sim_runtime(2, 0)};
    int thread[2];

    hy_wait_group_add(&t.all, 4);
    SIM_CHECK_EQ(hy_runtime_start(t.rt), 0);
    for (int i = 0; i < 2; i++)
        thread[i] = sim_start(spawn_some, &t);
    SIM_CHECK_EQ(hy_wait_group_wait(&t.all, HY_FOREVER), 0);
    for (int i = 0; i < 2; i++)
        sim_join(thread[i]);
    SIM_CHECK_EQ(t.count, 4);
    end_runtime(t.rt);
}

/* --- steal: each unstarted fiber runs once, whoever takes it ----------------
 */

static void mark(void *arg)
{
    struct one *o = arg;

    SIM_CHECK_EQ(atomic_fetch_add(&o->tally->ran[o->index], 1), 0);
    if (sim_draw(2) == 0)
        hy_fiber_yield();
    SIM_CHECK_EQ(hy_wait_group_done(&o->tally->all), 0);
}

static void spawn_marks(void *arg)
{
    struct tally *t = arg;
    struct one *o = malloc(sizeof(*o) * FIBERS); /* outlives this fiber */

    for (int i = 0; i < FIBERS; i++) {
        o[i] = (struct one){t, i};
        SIM_CHECK_EQ(sim_spawn(NULL, mark, &o[i], NULL), 0);
        if (sim_draw(3) == 0)
            hy_fiber_yield();
    }
    SIM_CHECK_EQ(hy_wait_group_wait(&t->all, HY_FOREVER), 0);
}

void sim_test_steal(void)
{
    struct tally t = {.rt = sim_runtime(2, HY_RUNTIME_CLOSED)};

    hy_wait_group_add(&t.all, FIBERS);
    SIM_CHECK_EQ(sim_spawn(t.rt, spawn_marks, &t, NULL), 0);
    SIM_CHECK_EQ(hy_runtime_run(t.rt), 0);
    for (int i = 0; i < FIBERS; i++)
        SIM_CHECK_EQ(t.ran[i], 1);
    SIM_CHECK_EQ(hy_runtime_destroy(t.rt), 0);
}

/* --- help: a worker that is busy is helped by one that is not ---------------
 */

static void keep_busy(void *arg)
{
    struct tally *t = arg;

    for (int i = 0; i < 2; i++) {
        hy_wait_group_add(&t->all, 1);
        SIM_CHECK_EQ(sim_spawn(NULL, count_one, t, NULL), 0);
        while (atomic_load(&t->count) <= i)
            sim_pause("sim_fibers.c"); /* it neither waits nor yields */
    }
}

void sim_test_help(void)
{
    struct tally t = {.rt = sim_runtime(2, 0)};

    SIM_CHECK_EQ(sim_spawn(t.rt, keep_busy, &t, NULL), 0);
    SIM_CHECK_EQ(hy_runtime_run(t.rt), 0);
    SIM_CHECK_EQ(hy_runtime_destroy(t.rt), 0);
}

/* --- tree: forks and joins, the last child first or last --------------------
 */

struct node {
    int depth, leaves;
    atomic_int *live;
    hy_fiber parent;
};

/* What the fiber uses lies on the caller's stack. Where the frames of the first
   join were, nobody may write any more. */
static __attribute__((noinline)) void join_for_certain(hy_fiber fiber)
{
    volatile char frames[1024];

    for (unsigned i = 0; i < sizeof(frames); i++)
        frames[i] = 0x5a;
    hy_fiber_shield(1);
    SIM_CHECK_EQ(hy_fiber_join(fiber, HY_FOREVER), 0);
    hy_fiber_shield(0);
    for (unsigned i = 0; i < sizeof(frames); i++)
        SIM_CHECK_EQ(frames[i], 0x5a);
}

static void join_one(hy_fiber fiber)
{
    int r = hy_fiber_join(fiber, HY_FOREVER);

    SIM_CHECK(r == 0 || r == -ECANCELED);
    if (r != 0)
        join_for_certain(fiber);
}

static void grow(void *arg)
{
    struct node *n = arg, child[2];
    hy_fiber fiber[2];
    bool last_first = sim_draw(4) != 0;

    atomic_fetch_add(n->live, 1);
    if (n->depth > 0) {
        for (int i = 0; i < 2; i++) {
            child[i] = (struct node){n->depth - 1, 0, n->live, hy_fiber_self()};
            SIM_CHECK_EQ(sim_spawn(NULL, grow, &child[i], &fiber[i]), 0);
        }
        for (int i = 0; i < 2; i++)
            join_one(fiber[last_first ? 1 - i : i]);
    } else if (sim_draw(4) == 0) {
        SIM_CHECK_EQ(hy_fiber_cancel(n->parent), 0);
        hy_fiber_sleep(hy_after(sim_draw(200)));
    }
    n->leaves = n->depth > 0 ? child[0].leaves + child[1].leaves : 1;
    atomic_fetch_sub(n->live, 1);
}

static void cancel_it(void *arg)
{
    int r = hy_fiber_cancel(*(hy_fiber *)arg);

    SIM_CHECK(r == 0 || r == -ESRCH);
}

void sim_test_tree(void)
{
    struct tally t = {.rt = sim_runtime(2, 0)};
    struct node root = {2, 0, &t.count, {0}};
    hy_fiber fiber;
    int thread = -1;

    SIM_CHECK_EQ(hy_runtime_start(t.rt), 0);
    SIM_CHECK_EQ(sim_spawn(t.rt, grow, &root, &fiber), 0);
    if (sim_draw(2) == 0)
        thread = sim_start(cancel_it, &fiber);
    SIM_CHECK_EQ(hy_fiber_join(fiber, HY_FOREVER), 0);
    SIM_CHECK_EQ(root.leaves, 4);
    SIM_CHECK_EQ(t.count, 0);
    if (thread >= 0)
        sim_join(thread);
    end_runtime(t.rt);
}

/* --- reuse: an old handle does nothing to the fiber that has its slot -------
 */

struct handles {
    hy_runtime *rt;
    hy_fiber old[2];
    bool waits; /* the old ones end while the thread is at it */
    atomic_int begun, ended;
};

static void end_soon(void *arg)
{
    struct handles *h = arg;

    while (h->waits && !atomic_load(&h->begun)) {
        hy_fiber_yield();
        sim_pause("sim_fibers.c");
    }
    atomic_fetch_add(&h->ended, 1);
}

static void must_not_be_cancelled(void *arg)
{
    SIM_CHECK_EQ(hy_fiber_check(), 0);
    hy_fiber_yield();
    SIM_CHECK_EQ(hy_fiber_sleep(hy_after(sim_draw(200))), 0);
    atomic_fetch_add((atomic_int *)arg, 1);
}

static void cancel_old(void *arg)
{
    struct handles *h = arg;

    atomic_store(&h->begun, 1);
    for (int i = 0; i < 2; i++) {
        int r = sim_draw(2) ? hy_fiber_cancel(h->old[i])
                            : hy_fiber_join(h->old[i], sim_deadline());

        SIM_CHECK(r == 0 || r == -ESRCH || r == -ETIMEDOUT);
    }
}

void sim_test_reuse(void)
{
    struct handles h = {.rt = sim_runtime(2, 0), .waits = sim_draw(2) == 0};
    hy_fiber fresh[3];
    int thread;

    for (int i = 0; i < 2; i++)
        SIM_CHECK_EQ(sim_spawn(h.rt, end_soon, &h, &h.old[i]), 0);
    SIM_CHECK_EQ(hy_runtime_start(h.rt), 0);
    thread = sim_start(cancel_old, &h);
    for (int n = (int)sim_draw(3); h.ended < n;)
        sim_pause("sim_fibers.c"); /* slots are free by now */
    for (int i = 0; i < 3; i++)
        SIM_CHECK_EQ(
            sim_spawn(h.rt, must_not_be_cancelled, &h.ended, &fresh[i]), 0);
    for (int i = 0; i < 3; i++)
        SIM_CHECK_EQ(hy_fiber_join(fresh[i], HY_FOREVER), 0);
    sim_join(thread);
    for (int i = 0; i < 2; i++)
        SIM_CHECK_EQ(hy_fiber_join(h.old[i], HY_FOREVER), 0);
    SIM_CHECK_EQ(h.ended, 5);
    end_runtime(h.rt);
}

/* --- timers: a deadline against a wake, and against a cancel ----------------
 */

static void sleep_or_be_woken(void *arg)
{
    struct tally *t = arg;
    hy_deadline until = hy_after(sim_draw(400));
    int r = hy_event_wait(&t->gate, until);

    SIM_CHECK(r == 0 || r == -ETIMEDOUT || r == -ECANCELED);
    SIM_CHECK(r != -ETIMEDOUT || hy_now() >= until);
    if (r != -ECANCELED)
        r = hy_fiber_sleep(hy_after(sim_draw(400)));
    SIM_CHECK(r == 0 || r == -ECANCELED);
    count_one(t);
}

void sim_test_timers(void)
{
    struct tally t = {.rt = sim_runtime(2, 0)};
    hy_fiber fiber[3];

    hy_wait_group_add(&t.all, 3);
    SIM_CHECK_EQ(hy_runtime_start(t.rt), 0);
    for (int i = 0; i < 3; i++)
        SIM_CHECK_EQ(sim_spawn(t.rt, sleep_or_be_woken, &t, &fiber[i]), 0);
    if (sim_draw(2) == 0)
        hy_fiber_cancel(fiber[0]);
    hy_event_set(&t.gate);
    SIM_CHECK_EQ(hy_wait_group_wait(&t.all, HY_FOREVER), 0);
    SIM_CHECK_EQ(t.count, 3);
    end_runtime(t.rt);
}

/* --- stop: whoever waits is cancelled, whoever is spawned as well -----------
 */

static void wait_for_stop(void *arg)
{
    struct tally *t = arg;

    SIM_CHECK_EQ(hy_event_wait(&t->gate, HY_FOREVER), -ECANCELED);
    atomic_fetch_add(&t->count, 1);
}

static void spawn_and_wait(void *arg)
{
    struct tally *t = arg;

    SIM_CHECK_EQ(sim_spawn(NULL, wait_for_stop, t, NULL), 0);
    wait_for_stop(arg);
}

static void stop_it(void *arg)
{
    struct tally *t = arg;

    SIM_CHECK_EQ(hy_runtime_stop(t->rt), 0);
}

void sim_test_stop(void)
{
    struct tally t = {.rt = sim_runtime(2, 0)};
    int thread, r;

    for (int i = 0; i < 2; i++)
        SIM_CHECK_EQ(sim_spawn(t.rt, spawn_and_wait, &t, NULL), 0);
    thread = sim_start(stop_it, &t);
    r = hy_runtime_run(t.rt);
    SIM_CHECK_EQ(r, -ECANCELED);
    sim_join(thread);
    SIM_CHECK_EQ(t.count, 4);
    SIM_CHECK_EQ(hy_runtime_destroy(t.rt), 0);
}

/* --- cancel: whoever is cancelled hears of it, wherever it is by then, also
 * one in a slot whose last fiber was cancelled as well ----------------------
 */

static void wait_for_cancel(void *arg)
{
    struct tally *t = arg;

    if (sim_draw(4) == 0)
        hy_fiber_yield();
    SIM_CHECK_EQ(hy_event_wait(&t->gate, HY_FOREVER), -ECANCELED);
    atomic_fetch_add(&t->count, 1);
}

static void spawn_waiters(void *arg)
{
    struct one *o = arg;
    hy_fiber *fiber = (hy_fiber *)(void *)(o + 1);

    for (int i = 0; i < o->index; i++)
        SIM_CHECK_EQ(sim_spawn(NULL, wait_for_cancel, o->tally, &fiber[i]), 0);
}

static void cancel_waiters(void *arg)
{
    struct tally *t = arg;
    struct {
        struct one one;
        hy_fiber fiber[2];
    } s = {{t, 1 + (int)sim_draw(2)}, {{0}, {0}}};
    hy_fiber spawner;

    for (int round = 0; round < 2; round++) {
        SIM_CHECK_EQ(sim_spawn(t->rt, spawn_waiters, &s.one, &spawner), 0);
        SIM_CHECK_EQ(hy_fiber_join(spawner, HY_FOREVER), 0);
        for (int i = 0; i < s.one.index; i++) {
            SIM_CHECK_EQ(hy_fiber_cancel(s.fiber[i]), 0);
            if (sim_draw(2) == 0)
                SIM_CHECK_EQ(hy_fiber_join(s.fiber[i], HY_FOREVER), 0);
        }
        for (int i = 0; i < s.one.index; i++)
            SIM_CHECK_EQ(hy_fiber_join(s.fiber[i], HY_FOREVER), 0);
    }
}

void sim_test_cancel(void)
{
    struct tally t = {.rt = sim_runtime(2, 0)};
    int thread[2];

    SIM_CHECK_EQ(hy_runtime_start(t.rt), 0);
    for (int i = 0; i < 2; i++)
        thread[i] = sim_start(cancel_waiters, &t);
    for (int i = 0; i < 2; i++)
        sim_join(thread[i]);
    SIM_CHECK(t.count >= 4);
    end_runtime(t.rt);
}

/* --- closed: a deadlock is told, and nothing else is taken for one ----------
 */

static void sleep_and_set(void *arg)
{
    struct tally *t = arg;

    SIM_CHECK_EQ(hy_fiber_sleep(hy_after(sim_draw(400))), 0);
    SIM_CHECK_EQ(hy_event_set(&t->gate), 0);
}

static void wait_at_gate(void *arg)
{
    struct tally *t = arg;
    int r = hy_event_wait(&t->gate, sim_deadline());

    SIM_CHECK(r == 0 || r == -ETIMEDOUT);
    atomic_fetch_add(&t->count, 1);
}

void sim_test_closed(void)
{
    struct tally t = {.rt = sim_runtime(2, HY_RUNTIME_CLOSED)};
    bool is_stuck = sim_draw(2) == 0;
    void *never = NULL;

    for (int i = 0; i < 2; i++)
        SIM_CHECK_EQ(sim_spawn(t.rt, wait_at_gate, &t, NULL), 0);
    SIM_CHECK_EQ(sim_spawn(t.rt, sleep_and_set, &t, NULL), 0);
    if (is_stuck) {
        never = calloc(1, sizeof(struct tally));
        SIM_CHECK_EQ(sim_spawn(t.rt, wait_for_cancel, never, NULL), 0);
    }
    SIM_CHECK_EQ(hy_runtime_run(t.rt), is_stuck ? -EDEADLK : 0);
    SIM_CHECK_EQ(t.count, 2);
    SIM_CHECK_EQ(hy_runtime_destroy(t.rt), 0);
}

/* --- poll: a loop of the caller's, after a run, with others who wake --------
 */

void sim_test_poll(void)
{
    struct tally t = {.rt = sim_runtime(2, 0)};
    int thread;

    hy_wait_group_add(&t.all, 2);
    thread = sim_start(spawn_some, &t);
    if (sim_draw(2) == 0)
        SIM_CHECK_EQ(hy_runtime_run(t.rt), 0);
    while (hy_wait_group_wait(&t.all, HY_NOW) != 0) {
        int r = hy_runtime_poll(t.rt, sim_deadline());

        SIM_CHECK(r == 0 || r == 1);
        if (r == 0)
            hy_fiber_yield();
    }
    sim_join(thread);
    while (hy_runtime_poll(t.rt, HY_NOW) == 1)
        ;
    SIM_CHECK_EQ(t.count, 2);
    SIM_CHECK_EQ(hy_runtime_destroy(t.rt), 0);
}

/* --- offload ----------------------------------------------------------------
 */

static void add_one(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

static void offload_one(void *arg)
{
    struct tally *t = arg;
    int r = hy_offload(add_one, &t->ran[0], sim_deadline());

    SIM_CHECK(r == 0 || r == -ETIMEDOUT);
    if (r == 0)
        atomic_fetch_add(&t->ran[1], 1);
}

void sim_test_offload(void)
{
    struct tally t = {.rt = sim_runtime(1, HY_RUNTIME_CLOSED)};

    SIM_CHECK_EQ(hy_offload_limit(1 + (unsigned)sim_draw(2), 500), 0);
    for (int i = 0; i < 3; i++)
        SIM_CHECK_EQ(sim_spawn(t.rt, offload_one, &t, NULL), 0);
    SIM_CHECK_EQ(hy_runtime_run(t.rt), 0);
    SIM_CHECK_EQ(t.ran[0], t.ran[1]);
    SIM_CHECK_EQ(hy_runtime_destroy(t.rt), 0);
}
