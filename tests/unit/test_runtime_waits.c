/*
 * test_runtime_waits.c - cycles of joins and owners of mutexes are found,
 * nothing else is taken for one, and reports name who waits for whom.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include <hyperion/fiber.h>
#include <hyperion/runtime.h>
#include <hyperion/sync.h>

#include "fail.h"
#include "runtime_test.h"
#include "lock.h"

enum { LINKS_MOST = 1000, WORKERS_MOST = 2 };

/* --- cycles of any length ---------------------------------------------------
 */

/* Each link holds its mutex, and waits for the next link's mutex, or end; or it
   waits for a condition, and the next link holds the mutex of that. */
static struct link {
    hy_mutex mutex;
    hy_mutex guard; /* of the condition */
    hy_cond changed;
    hy_event has_guard;
    hy_fiber fiber; /* id 0: a thread */
    bool joins, waits;
    int result;
} chain[LINKS_MOST];

static unsigned links;
static hy_deadline patience;
static hy_wait_group arrivals;
static _Atomic int refused;

static struct link *link_from(const struct link *me, unsigned steps)
{
    return &chain[((unsigned)(me - chain) + steps) % links];
}

static void take_mutexes(struct link *me, struct link *before)
{
    hy_mutex_lock(&me->mutex, HY_FOREVER);
    if (before->waits) {
        hy_event_wait(&before->has_guard, HY_FOREVER);
        hy_mutex_lock(&before->guard, HY_FOREVER);
    }
    if (me->waits) {
        hy_mutex_lock(&me->guard, HY_FOREVER);
        hy_event_set(&me->has_guard);
    }
}

static void let_go(struct link *me, struct link *before)
{
    if (me->waits)
        hy_mutex_unlock(&me->guard);
    if (before->waits) {
        hy_cond_signal(&before->changed);
        hy_mutex_unlock(&before->guard);
    }
    hy_mutex_unlock(&me->mutex);
}

static void wait_for_next(struct link *me, struct link *next)
{
    if (me->waits) {
        me->result = hy_cond_wait(&me->changed, &me->guard, patience);
        return;
    }
    hy_wait_group_wait(&arrivals, HY_FOREVER);
    if (me->joins) {
        me->result = hy_fiber_join(next->fiber, patience);
        return;
    }
    me->result = hy_mutex_lock(&next->mutex, patience);
    if (me->result == 0)
        hy_mutex_unlock(&next->mutex);
}

static void *be_a_link(void *arg)
{
    struct link *me = arg, *before = link_from(me, links - 1);

    take_mutexes(me, before);
    hy_wait_group_done(&arrivals);
    wait_for_next(me, link_from(me, 1));
    if (me->result == -EDEADLK)
        refused++;
    let_go(me, before);
    return NULL;
}

static void be_a_fiber(void *arg)
{
    be_a_link(arg);
}

static void prepare(unsigned count)
{
    memset(chain, 0, sizeof(chain));
    memset(&arrivals, 0, sizeof(arrivals));
    links = count;
    refused = 0;
    patience = HY_FOREVER;
    HY_CHECK_EQ(hy_wait_group_add(&arrivals, count), 0);
}

/* One call was refused, and so all the others ended well. */
static void check_chain(void)
{
    HY_CHECK_EQ(refused, 1);
    for (unsigned i = 0; i < links; i++)
        if (chain[i].result != -EDEADLK)
            HY_CHECK_EQ(chain[i].result, 0);
    for (unsigned i = 0; i < links; i++)
        for (int k = 0; k < 4; k++)
            HY_CHECK_EQ(chain[i].mutex.word[k] | chain[i].guard.word[k], 0);
}

/* every: 0 joins nobody, 1 all, n each nth link. */
static void choose_joins(unsigned every)
{
    for (unsigned i = 0; i < links; i++)
        chain[i].joins = every != 0 && i % every == 0;
}

/* All of the links that joins leaves, but those that a divides; 0: none. */
static void choose_conditions(unsigned a)
{
    for (unsigned i = 0; i < links; i++)
        chain[i].waits = a != 0 && i % a != 0 && !chain[i].joins;
}

static void spawn_link(hy_runtime *rt, unsigned i)
{
    HY_CHECK_EQ(
        hy_fiber_spawn(rt, be_a_fiber, &chain[i], NULL, &chain[i].fiber), 0);
}

static void cycle_of_fibers(unsigned count, unsigned every, unsigned conditions,
                            unsigned workers, uint64_t seed)
{
    hy_runtime *rt = make(.workers = workers, .seed = seed);

    prepare(count);
    choose_joins(every);
    choose_conditions(conditions);
    for (unsigned i = 0; i < count; i++)
        spawn_link(rt, i);
    run_to_the_end(rt);
    check_chain();
}

HY_TEST(runtime_waits, a_cycle_of_fibers_is_refused_once)
{
    static const unsigned counts[] = {2, 3, 31, 32, 33, 50, 65, LINKS_MOST};

    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        for (unsigned every = 0; every < 4; every++)
            for (unsigned workers = 1; workers <= WORKERS_MOST; workers++)
                cycle_of_fibers(counts[i], every, 0, workers, 0);
}

HY_TEST(runtime_waits, in_every_simulated_schedule)
{
    for (uint64_t seed = 1; seed <= 100; seed++) {
        cycle_of_fibers(2, 0, 0, 1, seed);
        cycle_of_fibers(7, (unsigned)(seed % 3), 0, 1, seed);
        cycle_of_fibers(2, 0, 2, 1, seed);
        cycle_of_fibers(7, seed % 2 * 3, 2 + (unsigned)(seed % 6), 1, seed);
    }
}

/* Without a signal: nobody could come to give one. */
HY_TEST(runtime_waits, a_cycle_through_conditions_is_refused_once)
{
    static const unsigned counts[] = {2, 3, 33, 50, LINKS_MOST};

    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        for (unsigned workers = 1; workers <= WORKERS_MOST; workers++) {
            cycle_of_fibers(counts[i], 0, 2, workers, 0);
            cycle_of_fibers(counts[i], 3, 2, workers, 0);
            cycle_of_fibers(counts[i], 0, LINKS_MOST, workers, 0);
            cycle_of_fibers(counts[i], LINKS_MOST, LINKS_MOST, workers, 0);
        }
}

HY_TEST(runtime_waits, with_a_deadline_too)
{
    hy_runtime *rt = make(.workers = 1);
    uint64_t start = hy_now();

    prepare(3);
    choose_joins(2);
    patience = hy_after(60 * SECOND);
    for (unsigned i = 0; i < links; i++)
        spawn_link(rt, i);
    run_to_the_end(rt);
    check_chain();
    HY_CHECK(hy_now() - start < 30 * SECOND);
}

static void *run(void *rt)
{
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    return NULL;
}

HY_TEST(runtime_waits, through_two_runtimes)
{
    for (unsigned every = 0; every < 4; every++) {
        hy_runtime *rt[2] = {make(.workers = 1), make(.workers = 2)};
        pthread_t other;

        prepare(50);
        choose_joins(every);
        for (unsigned i = 0; i < links; i++)
            spawn_link(rt[i % 2], i);
        HY_CHECK_EQ(pthread_create(&other, NULL, run, rt[1]), 0);
        HY_CHECK_EQ(hy_runtime_run(rt[0]), 0);
        pthread_join(other, NULL);
        HY_CHECK_EQ(hy_runtime_destroy(rt[0]), 0);
        HY_CHECK_EQ(hy_runtime_destroy(rt[1]), 0);
        check_chain();
    }
}

/* The first links are threads, which nobody joins. */
static void cycle_with_threads(unsigned threads, unsigned fibers,
                               unsigned conditions)
{
    hy_runtime *rt = make(.workers = WORKERS_MOST);
    pthread_t thread[8];

    prepare(threads + fibers);
    choose_joins(2);
    for (unsigned i = 0; i < links; i++)
        if ((i + 1) % links < threads)
            chain[i].joins = false;
    choose_conditions(conditions);
    for (unsigned i = threads; i < links; i++)
        spawn_link(rt, i);
    for (unsigned i = 0; i < threads; i++)
        HY_CHECK_EQ(pthread_create(&thread[i], NULL, be_a_link, &chain[i]), 0);
    run_to_the_end(rt);
    for (unsigned i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    check_chain();
}

HY_TEST(runtime_waits, of_threads_and_of_both)
{
    for (int round = 0; round < 50; round++) {
        for (unsigned conditions = 0; conditions < 4; conditions++) {
            cycle_with_threads(2, 0, conditions != 1 ? conditions : 0);
            cycle_with_threads(1, 1, conditions != 1 ? conditions : 0);
            cycle_with_threads(3, 2, conditions != 1 ? conditions : 0);
        }
    }
    cycle_with_threads(8, 42, 0);
    cycle_with_threads(8, 42, 3);
}

/* Both are awake and close it within nanoseconds of each other. */
static _Atomic unsigned arrived;

enum { COLLISIONS = 1000 };

static void meet(unsigned all)
{
    arrived++;
    for (unsigned spins = 1; arrived < all; spins++)
        if (spins % 256 == 0)
            hy_fiber_yield();
}

static void *collide(void *arg)
{
    struct link *me = arg, *next = &chain[(me - chain + 1) % links];

    for (unsigned round = 1; round <= COLLISIONS; round++) {
        hy_mutex_lock(&me->mutex, HY_FOREVER);
        meet(links * (2 * round - 1));
        if (hy_mutex_lock(&next->mutex, HY_FOREVER) == 0)
            hy_mutex_unlock(&next->mutex);
        else
            refused++;
        hy_mutex_unlock(&me->mutex);
        meet(links * 2 * round);
    }
    return NULL;
}

HY_TEST(runtime_waits, of_two_who_close_it_together_one_is_refused)
{
    pthread_t thread[2];

    prepare(2);
    arrived = 0;
    for (int i = 0; i < 2; i++)
        HY_CHECK_EQ(pthread_create(&thread[i], NULL, collide, &chain[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    HY_CHECK(refused <= COLLISIONS);
}

/* --- what is none -----------------------------------------------------------
 */

static hy_mutex first, second;
static hy_event go, done;
static int results[4];

static void reset(void)
{
    memset(&first, 0, sizeof(first));
    memset(&second, 0, sizeof(second));
    memset(&go, 0, sizeof(go));
    memset(&done, 0, sizeof(done));
    memset(results, 0, sizeof(results));
}

static void hold_first_want_second(void *arg)
{
    (void)arg;
    hy_mutex_lock(&first, HY_FOREVER);
    results[0] = hy_mutex_lock(&second, HY_FOREVER);
    hy_mutex_unlock(&second);
    hy_mutex_unlock(&first);
}

static void hold_second_try_first(void *arg)
{
    (void)arg;
    hy_mutex_lock(&second, HY_FOREVER);
    hy_fiber_sleep(hy_after(MS));
    results[1] = hy_mutex_lock(&first, HY_NOW);
    results[2] = hy_fiber_join(*(hy_fiber *)arg, HY_NOW);
    hy_mutex_unlock(&second);
}

HY_TEST(runtime_waits, who_only_tries_closes_nothing)
{
    hy_runtime *rt = make(.workers = 1, .seed = 7);
    hy_fiber holder;

    reset();
    HY_CHECK_EQ(hy_fiber_spawn(rt, hold_second_try_first, &holder, NULL, NULL),
                0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, hold_first_want_second, NULL, NULL, &holder),
                0);
    run_to_the_end(rt);
    HY_CHECK_EQ(results[0], 0);
    HY_CHECK_EQ(results[1], -ETIMEDOUT);
    HY_CHECK_EQ(results[2], -ETIMEDOUT);
}

static void join_oneself_by_way_of(void *arg)
{
    int r = hy_fiber_join(*(hy_fiber *)arg, HY_FOREVER);

    results[r == 0 ? 0 : r == -EDEADLK ? 1 : 2]++;
}

/* A slot is used again: the waits of its earlier fibers are no one's. */
static void spawn_and_join(void *arg)
{
    (void)arg;
    for (int i = 0; i < 2000; i++) {
        hy_fiber f;

        HY_CHECK_EQ(hy_fiber_spawn(NULL, nothing, NULL, NULL, &f), 0);
        HY_CHECK_EQ(hy_mutex_lock(&first, HY_FOREVER), 0);
        if (i % 3 == 0)
            hy_fiber_yield();
        HY_CHECK_EQ(hy_mutex_unlock(&first), 0);
        HY_CHECK_EQ(hy_fiber_join(f, HY_FOREVER), 0);
    }
}

HY_TEST(runtime_waits, slots_that_are_used_again_close_nothing)
{
    for (unsigned workers = 1; workers <= WORKERS_MOST; workers++) {
        hy_runtime *rt = make(.workers = workers);

        reset();
        for (int i = 0; i < 6; i++)
            HY_CHECK_EQ(hy_fiber_spawn(rt, spawn_and_join, NULL, NULL, NULL),
                        0);
        run_to_the_end(rt);
    }
}

/* The joiner of the slot's former fiber owns first and is ready to run, but did
   not run yet, when the slot's next fiber wants it. */
static void want_first_of_joiner(void *arg)
{
    (void)arg;
    results[1] = hy_mutex_lock(&first, HY_FOREVER);
    hy_mutex_unlock(&first);
}

static void spawn_into_slot(void *arg)
{
    hy_fiber *former = arg, f;

    HY_CHECK_EQ(hy_fiber_spawn(NULL, want_first_of_joiner, NULL, NULL, &f), 0);
    results[2] = (f.id ^ former->id) << 42 == 0;
}

static void own_first_and_join(void *arg)
{
    static hy_fiber f;

    (void)arg;
    hy_mutex_lock(&first, HY_FOREVER);
    HY_CHECK_EQ(hy_fiber_spawn(NULL, nothing, NULL, NULL, &f), 0);
    HY_CHECK_EQ(hy_fiber_spawn(NULL, spawn_into_slot, &f, NULL, NULL), 0);
    results[0] = hy_fiber_join(f, HY_FOREVER);
    hy_mutex_unlock(&first);
}

HY_TEST(runtime_waits, a_join_that_is_over_closes_nothing)
{
    hy_runtime *rt = make(.workers = 1);

    reset();
    results[1] = 1;
    HY_CHECK_EQ(hy_fiber_spawn(rt, own_first_and_join, NULL, NULL, NULL), 0);
    run_to_the_end(rt);
    HY_CHECK_EQ(results[0], 0);
    HY_CHECK_EQ(results[1], 0);
    HY_CHECK_EQ(results[2], 1); /* it was the same slot */
}

HY_TEST(runtime_waits, two_who_join_each_other)
{
    hy_runtime *rt = make(.workers = 1);
    hy_fiber a, b;

    reset();
    HY_CHECK_EQ(hy_fiber_spawn(rt, join_oneself_by_way_of, &b, NULL, &a), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, join_oneself_by_way_of, &a, NULL, &b), 0);
    run_to_the_end(rt);
    HY_CHECK_EQ(results[0], 1);
    HY_CHECK_EQ(results[1], 1);
}

/* --- hy_cond_wait -----------------------------------------------------------
 */

static hy_cond changed;
static hy_fiber waiting;

/* Holds first; waits for the condition with second. */
static void wait_with_another(void *arg)
{
    uint64_t ns = *(uint64_t *)arg;

    hy_mutex_lock(&first, HY_FOREVER);
    hy_mutex_lock(&second, HY_FOREVER);
    results[0] = hy_cond_wait(&changed, &second, hy_after(ns));
    /* Held on every return. */
    results[3] = hy_mutex_unlock(&second);
    hy_mutex_unlock(&first);
}

static void want_first_with_second(void *arg)
{
    bool *early = arg;

    hy_fiber_sleep(hy_after(MS));
    hy_mutex_lock(&second, HY_FOREVER);
    if (early != NULL)
        hy_cond_signal(&changed);
    hy_fiber_sleep(hy_after(MS));
    results[1] = hy_mutex_lock(&first, HY_FOREVER);
    results[2] = hy_fiber_join(waiting, hy_after(SECOND));
    hy_cond_signal(&changed);
    hy_mutex_unlock(&second);
}

static void condition_with(uint64_t ns, void *early, int result)
{
    hy_runtime *rt = make(.workers = 1, .seed = 5);

    reset();
    memset(&changed, 0, sizeof(changed));
    HY_CHECK_EQ(hy_fiber_spawn(rt, wait_with_another, &ns, NULL, &waiting), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, want_first_with_second, early, NULL, NULL),
                0);
    run_to_the_end(rt);
    HY_CHECK_EQ(results[0], result);
    HY_CHECK_EQ(results[1], -EDEADLK);
    HY_CHECK_EQ(results[2], -EDEADLK);
    HY_CHECK_EQ(results[3], 0);
}

HY_TEST(runtime_waits, a_condition_waits_for_the_owner_of_its_mutex)
{
    bool early = true;

    condition_with(HY_FOREVER, &early, 0); /* it locks again by then */
    condition_with(HY_FOREVER, NULL, 0);   /* it is not yet signalled */
    condition_with(3 * MS / 2, NULL, -ETIMEDOUT);
}

static void cancel_and_want_first(void *arg)
{
    (void)arg;
    hy_fiber_sleep(hy_after(MS));
    hy_mutex_lock(&second, HY_FOREVER);
    hy_fiber_cancel(waiting);
    hy_fiber_sleep(hy_after(MS));
    results[1] = hy_mutex_lock(&first, HY_FOREVER);
    hy_mutex_unlock(&second);
}

HY_TEST(runtime_waits, a_cancelled_condition_too)
{
    hy_runtime *rt = make(.workers = 1, .seed = 6);
    uint64_t ns = HY_FOREVER;

    reset();
    memset(&changed, 0, sizeof(changed));
    HY_CHECK_EQ(hy_fiber_spawn(rt, wait_with_another, &ns, NULL, &waiting), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, cancel_and_want_first, NULL, NULL, NULL), 0);
    run_to_the_end(rt);
    HY_CHECK_EQ(results[0], -ECANCELED);
    HY_CHECK_EQ(results[1], -EDEADLK);
    HY_CHECK_EQ(results[3], 0);
}

/* The usual use: who signals holds the mutex, and waits for nobody. A wait that
   is over is nobody's edge any more. */
static void want_first_then_second(void *arg)
{
    (void)arg;
    hy_fiber_sleep(hy_after(MS));
    hy_mutex_lock(&second, HY_FOREVER);
    hy_cond_signal(&changed);
    hy_mutex_unlock(&second);
    results[1] = hy_mutex_lock(&first, HY_FOREVER);
    results[2] = hy_mutex_lock(&second, HY_FOREVER);
    hy_mutex_unlock(&second);
    hy_mutex_unlock(&first);
}

HY_TEST(runtime_waits, a_condition_that_is_over_closes_nothing)
{
    hy_runtime *rt = make(.workers = 1, .seed = 8);
    uint64_t ns = HY_FOREVER;

    reset();
    memset(&changed, 0, sizeof(changed));
    HY_CHECK_EQ(hy_fiber_spawn(rt, wait_with_another, &ns, NULL, NULL), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, want_first_then_second, NULL, NULL, NULL),
                0);
    run_to_the_end(rt);
    for (int i = 0; i < 4; i++)
        HY_CHECK_EQ(results[i], 0);
}

/* --- mutexes that are freed at once -----------------------------------------
 */

enum { FREED = 1000 };

static hy_mutex *_Atomic brief; /* the mutex of the round */
static hy_sem made, held;
static _Atomic bool over;

static void hold_briefly(void *arg)
{
    (void)arg;
    for (int i = 0; i < FREED; i++) {
        hy_mutex *m;

        hy_sem_wait(&made, HY_FOREVER);
        m = brief;
        hy_mutex_lock(m, HY_FOREVER);
        hy_sem_post(&held, 1);
        for (int turn = 0; turn < i % 8; turn++)
            hy_fiber_yield();
        hy_mutex_unlock(m);
    }
}

static void *wait_and_free(void *arg)
{
    (void)arg;
    for (int i = 0; i < FREED; i++) {
        hy_mutex *m = calloc(1, sizeof(*m));

        HY_CHECK_EQ(hy_mutex_lock(&first, HY_FOREVER), 0);
        brief = m;
        hy_sem_post(&made, 1);
        hy_sem_wait(&held, HY_FOREVER);
        HY_CHECK_EQ(hy_mutex_lock(m, HY_FOREVER), 0);
        hy_mutex_unlock(m);
        free(m);
        HY_CHECK_EQ(hy_mutex_unlock(&first), 0);
    }
    over = true;
    return NULL;
}

/* Looks again and again: its walks lead from first through whoever holds it to
   the mutex that he waits for. */
static void want_first(void *arg)
{
    (void)arg;
    while (!over) {
        if (hy_mutex_lock(&first, hy_after(5000)) == 0)
            hy_mutex_unlock(&first);
        hy_fiber_yield();
    }
}

static void *want_first_too(void *arg)
{
    want_first(arg);
    return NULL;
}

HY_TEST(runtime_waits, a_mutex_may_be_freed_after_its_last_unlock)
{
    hy_runtime *rt = make(.workers = 1);
    pthread_t waiter, thread;

    reset();
    memset(&made, 0, sizeof(made));
    memset(&held, 0, sizeof(held));
    over = false;
    HY_CHECK_EQ(hy_fiber_spawn(rt, hold_briefly, NULL, NULL, NULL), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, want_first, NULL, NULL, NULL), 0);
    HY_CHECK_EQ(pthread_create(&waiter, NULL, wait_and_free, NULL), 0);
    HY_CHECK_EQ(pthread_create(&thread, NULL, want_first_too, NULL), 0);
    run_to_the_end(rt);
    pthread_join(waiter, NULL);
    pthread_join(thread, NULL);
}

/* --- a storm, and one who knows all -----------------------------------------
 */

enum { THINGS = 5, AGENTS = 10, AGENT_THREADS = 3, STORM_ROUNDS = 1500 };

static struct {
    pthread_mutex_t lock;
    int owner[THINGS]; /* agent and 1 */
    int wants[AGENTS]; /* thing and 1 */
    hy_mutex thing[THINGS];
    hy_cond changed[THINGS];
    unsigned refusals, false_refusals;
} storm = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Under the lock. Who is stuck has noted all that he holds and wants. */
static bool is_in_cycle(int agent)
{
    int at = agent;

    for (int steps = 0; steps <= AGENTS; steps++) {
        if (storm.wants[at] == 0 || storm.owner[storm.wants[at] - 1] == 0)
            return false;
        at = storm.owner[storm.wants[at] - 1] - 1;
        if (at == agent)
            return true;
    }
    return false;
}

static int lock_in_storm(int agent, int thing)
{
    int r;

    pthread_mutex_lock(&storm.lock);
    storm.wants[agent] = thing + 1;
    pthread_mutex_unlock(&storm.lock);
    r = hy_mutex_lock(&storm.thing[thing], HY_FOREVER);
    pthread_mutex_lock(&storm.lock);
    if (r == 0)
        storm.owner[thing] = agent + 1;
    else {
        storm.refusals++;
        storm.false_refusals += !is_in_cycle(agent);
    }
    storm.wants[agent] = 0;
    pthread_mutex_unlock(&storm.lock);
    return r;
}

static void unlock_in_storm(int thing)
{
    pthread_mutex_lock(&storm.lock);
    storm.owner[thing] = 0;
    pthread_mutex_unlock(&storm.lock);
    hy_mutex_unlock(&storm.thing[thing]);
}

/* One of what he holds, for a moment; with the rest in his hands. */
static void wait_in_storm(int agent, int thing, hy_deadline until)
{
    pthread_mutex_lock(&storm.lock);
    storm.wants[agent] = thing + 1;
    storm.owner[thing] = 0;
    pthread_mutex_unlock(&storm.lock);
    hy_cond_wait(&storm.changed[thing], &storm.thing[thing], until);
    pthread_mutex_lock(&storm.lock);
    storm.owner[thing] = agent + 1;
    storm.wants[agent] = 0;
    pthread_mutex_unlock(&storm.lock);
}

static unsigned draw(unsigned *state, unsigned below)
{
    *state = *state * 1103515245u + 12345u;
    return (*state >> 16) % below;
}

static void *be_in_storm(void *arg)
{
    int agent = (int)(intptr_t)arg;
    unsigned state = (unsigned)agent * 77 + 1;

    for (int round = 0; round < STORM_ROUNDS; round++) {
        unsigned mine = 0, tries = 1 + draw(&state, 3);

        while (tries-- > 0) {
            int thing = (int)draw(&state, THINGS);

            if (mine & 1u << thing)
                continue;
            if (lock_in_storm(agent, thing) != 0)
                break;
            mine |= 1u << thing;
            switch (draw(&state, 8)) {
            case 0:
            case 1:
                hy_fiber_yield();
                break;
            case 2:
                wait_in_storm(agent, thing, hy_after(draw(&state, 20000)));
                break;
            case 3:
                hy_cond_broadcast(&storm.changed[thing]);
                break;
            default:
                break;
            }
        }
        for (int i = 0; i < THINGS; i++)
            if (mine & 1u << i)
                unlock_in_storm(i);
    }
    return NULL;
}

static void be_in_storm_as_a_fiber(void *arg)
{
    be_in_storm(arg);
}

static void rage(unsigned workers, uint64_t seed, int threads)
{
    hy_runtime *rt = make(.workers = workers, .seed = seed);
    pthread_t thread[AGENT_THREADS];

    memset(storm.thing, 0, sizeof(storm.thing));
    memset(storm.changed, 0, sizeof(storm.changed));
    storm.refusals = storm.false_refusals = 0;
    for (int i = threads; i < AGENTS; i++)
        HY_CHECK_EQ(hy_fiber_spawn(rt, be_in_storm_as_a_fiber,
                                   (void *)(intptr_t)i, NULL, NULL),
                    0);
    for (int i = 0; i < threads; i++)
        HY_CHECK_EQ(
            pthread_create(&thread[i], NULL, be_in_storm, (void *)(intptr_t)i),
            0);
    run_to_the_end(rt);
    for (int i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    HY_CHECK(storm.refusals > 0);
    HY_CHECK_EQ(storm.false_refusals, 0);
    for (int i = 0; i < THINGS; i++)
        for (int k = 0; k < 4; k++)
            HY_CHECK_EQ(storm.thing[i].word[k], 0);
}

HY_TEST(runtime_waits, a_storm_leaves_no_cycle_and_refuses_nobody_else)
{
    rage(1, 0, 0);
    rage(2, 0, AGENT_THREADS);
    for (uint64_t seed = 1; seed <= 10; seed++)
        rage(1, seed, 0);
}

/* --- threads ----------------------------------------------------------------
 */

static pthread_key_t key;

static void *lock_second(void *arg)
{
    hy_mutex_lock(&second, HY_FOREVER);
    hy_event_set(&go);
    hy_event_wait(&done, HY_FOREVER);
    hy_mutex_unlock(&second);
    return arg;
}

/* Another thread comes and would take over what this one has given back. */
static void unlock_at_exit(void *arg)
{
    pthread_t thread;

    HY_CHECK_EQ(pthread_create(&thread, NULL, lock_second, NULL), 0);
    hy_event_wait(&go, HY_FOREVER);
    results[0] = hy_mutex_unlock(arg);
    hy_event_set(&done);
    pthread_join(thread, NULL);
}

static void *leave_it_to_a_destructor(void *arg)
{
    HY_CHECK_EQ(hy_mutex_lock(arg, HY_FOREVER), 0);
    HY_CHECK_EQ(pthread_setspecific(key, arg), 0);
    return NULL;
}

HY_TEST(runtime_waits, a_thread_owns_until_its_last_destructor)
{
    pthread_t thread;

    for (int later = 0; later < 2; later++) {
        reset();
        results[0] = -1;
        HY_CHECK_EQ(pthread_key_create(&key, unlock_at_exit), 0);
        HY_CHECK_EQ(
            pthread_create(&thread, NULL, leave_it_to_a_destructor, &first), 0);
        pthread_join(thread, NULL);
        HY_CHECK_EQ(results[0], 0);
        HY_CHECK_EQ(pthread_key_delete(key), 0);
    }
}

static void *lock_and_unlock(void *arg)
{
    HY_CHECK_EQ(hy_mutex_lock(arg, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_mutex_lock(arg, HY_FOREVER), -EDEADLK);
    HY_CHECK_EQ(hy_mutex_unlock(arg), 0);
    HY_CHECK_EQ(hy_mutex_unlock(arg), -EPERM);
    return NULL;
}

/* A mutex needs no memory: without any, a thread is no part of cycles. */
HY_TEST(runtime_waits, a_thread_locks_without_memory)
{
    pthread_t thread[40];

    reset();
    hy_fail_from(HY_FAIL_ALIGNED_ALLOC, 1, ENOMEM);
    for (int i = 0; i < 40; i++)
        HY_CHECK_EQ(pthread_create(&thread[i], NULL, lock_and_unlock, &first),
                    0);
    for (int i = 0; i < 40; i++)
        pthread_join(thread[i], NULL);
    hy_fail_none();
    for (int i = 0; i < 40; i++)
        HY_CHECK_EQ(pthread_create(&thread[i], NULL, lock_and_unlock, &first),
                    0);
    for (int i = 0; i < 40; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < 4; i++)
        HY_CHECK_EQ(first.word[i], 0);
}

/* --- reports ----------------------------------------------------------------
 */

static char told[8][256];
static unsigned tales;

static void hear(void *ctx, int level, const char *message)
{
    (void)ctx;
    HY_CHECK_EQ(level, HY_REPORT_ERROR);
    if (tales < 8)
        snprintf(told[tales++], sizeof(told[0]), "%s", message);
}

static bool was_told(const char *part)
{
    for (unsigned i = 0; i < tales; i++)
        if (strstr(told[i], part) != NULL)
            return true;
    return false;
}

static void own_first(void *arg)
{
    (void)arg;
    hy_mutex_lock(&first, HY_FOREVER);
    hy_event_wait(&go, HY_FOREVER);
}

static void want_mutex(void *arg)
{
    hy_fiber_yield();
    hy_mutex_lock(arg, HY_FOREVER);
}

static void want_end(void *arg)
{
    hy_fiber_join(*(hy_fiber *)arg, HY_FOREVER);
}

static hy_fiber spawn_named(hy_runtime *rt, const char *name,
                            void (*entry)(void *), void *arg)
{
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;
    hy_fiber f;

    o.name = name;
    HY_CHECK_EQ(hy_fiber_spawn(rt, entry, arg, &o, &f), 0);
    return f;
}

HY_TEST(runtime_waits, a_deadlock_is_told_by_name)
{
    hy_runtime *rt =
        make(.workers = 1, .flags = HY_RUNTIME_CLOSED, .report.write = hear);
    hy_fiber owner, waiter;
    char part[160];

    reset();
    tales = 0;
    HY_CHECK_EQ(hy_mutex_lock(&second, HY_FOREVER), 0);
    owner = spawn_named(rt, "owner", own_first, NULL);
    waiter = spawn_named(rt, "waiter", want_mutex, &first);
    spawn_named(rt, "joiner", want_end, &waiter);
    spawn_named(rt, "guest", want_mutex, &second);
    HY_CHECK_EQ(hy_runtime_run(rt), -EDEADLK);
    HY_CHECK_EQ(tales, 4);
    HY_CHECK(was_told("fiber \"owner\""));
    HY_CHECK(was_told("waits: event"));
    snprintf(part, sizeof(part),
             "waits: mutex, owned by fiber \"owner\" (%#llx)",
             (unsigned long long)owner.id);
    HY_CHECK_MSG(was_told(part), "%s", part);
    snprintf(part, sizeof(part), "waits: join, of fiber \"waiter\" (%#llx)",
             (unsigned long long)waiter.id);
    HY_CHECK_MSG(was_told(part), "%s", part);
    HY_CHECK(was_told("waits: mutex, owned by a thread"));
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    memset(&first, 0, sizeof(first));
}

/* --- small locks ------------------------------------------------------------
 */

static void park_under_lock(void *arg)
{
    struct hyi_lock lock = {0};

    (void)arg;
    hyi_lock(&lock);
    hyi_unlock(&lock);
    hy_fiber_sleep(hy_after(1000));
    hyi_lock(&lock);
    hy_fiber_sleep(hy_after(1000));
    hyi_unlock(&lock);
}

HY_TEST(runtime_waits, debug_builds_trap_a_park_under_a_small_lock)
{
    int status = hy_test_child(park_under_lock, NULL);

    HY_CHECK_EQ(status != 0, HY_DEBUG >= 1);
}
