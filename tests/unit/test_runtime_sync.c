/*
 * test_runtime_sync.c - mutexes, conditions, semaphores, events and wait
 * groups, between fibers and plain threads.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <hyperion/fiber.h>
#include <hyperion/runtime.h>
#include <hyperion/sync.h>

#include "fail.h"
#include "runtime_test.h"

enum { ROUNDS = 300, FIBERS = 8, THREADS = 2 };

/* --- mutex ------------------------------------------------------------------
 */

static hy_mutex mutex;
static long guarded; /* under mutex */

static void add_under_lock(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        long before;

        HY_CHECK_EQ(hy_mutex_lock(&mutex, HY_FOREVER), 0);
        before = guarded;
        if (i % 7 == 0)
            hy_fiber_yield();
        guarded = before + 1;
        HY_CHECK_EQ(hy_mutex_unlock(&mutex), 0);
    }
}

static void *add_in_a_thread(void *arg)
{
    add_under_lock(arg);
    return NULL;
}

HY_TEST(runtime_sync, a_mutex_excludes_fibers_and_threads)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        hy_runtime *rt = make(.workers = workers);
        pthread_t thread[THREADS];

        memset(&mutex, 0, sizeof(mutex));
        guarded = 0;
        for (int i = 0; i < FIBERS; i++)
            HY_CHECK_EQ(hy_fiber_spawn(rt, add_under_lock, NULL, NULL, NULL),
                        0);
        for (int i = 0; i < THREADS; i++)
            HY_CHECK_EQ(pthread_create(&thread[i], NULL, add_in_a_thread, NULL),
                        0);
        run_to_the_end(rt);
        for (int i = 0; i < THREADS; i++)
            pthread_join(thread[i], NULL);
        HY_CHECK_EQ(guarded, ROUNDS * (FIBERS + THREADS));
        for (int i = 0; i < 4; i++)
            HY_CHECK_EQ(mutex.word[i], 0);
    }
}

static void try_a_held_mutex(void *arg)
{
    (void)arg;
    HY_CHECK_EQ(hy_mutex_unlock(&mutex), -EPERM);
    HY_CHECK_EQ(hy_mutex_lock(&mutex, HY_NOW), -ETIMEDOUT);
    HY_CHECK_EQ(hy_mutex_lock(&mutex, hy_after(2 * MS)), -ETIMEDOUT);
    HY_CHECK_EQ(hy_fiber_cancel(hy_fiber_self()), 0);
    HY_CHECK_EQ(hy_mutex_lock(&mutex, HY_FOREVER), -ECANCELED);
    hy_fiber_shield(1);
    HY_CHECK_EQ(hy_mutex_lock(&mutex, hy_after(MS)), -ETIMEDOUT);
    guarded++;
}

HY_TEST(runtime_sync, a_mutex_knows_its_owner)
{
    hy_runtime *rt = make(.workers = 1);

    memset(&mutex, 0, sizeof(mutex));
    guarded = 0;
    HY_CHECK_EQ(hy_mutex_lock(NULL, HY_NOW), -EINVAL);
    HY_CHECK_EQ(hy_mutex_unlock(NULL), -EINVAL);
    HY_CHECK_EQ(hy_mutex_unlock(&mutex), -EPERM);
    HY_CHECK_EQ(hy_mutex_lock(&mutex, HY_NOW), 0);
    HY_CHECK_EQ(hy_mutex_lock(&mutex, HY_FOREVER), -EDEADLK);
    HY_CHECK_EQ(hy_fiber_spawn(rt, try_a_held_mutex, NULL, NULL, NULL), 0);
    run_to_the_end(rt);
    HY_CHECK_EQ(guarded, 1);
    HY_CHECK_EQ(hy_mutex_unlock(&mutex), 0);
    for (int i = 0; i < 4; i++)
        HY_CHECK_EQ(mutex.word[i], 0);
}

static char sequence[16];

static void lock_and_note(void *arg)
{
    HY_CHECK_EQ(hy_mutex_lock(&mutex, HY_FOREVER), 0);
    strcat(sequence, arg);
    hy_fiber_yield();
    HY_CHECK_EQ(hy_mutex_unlock(&mutex), 0);
}

static void give_up_soon(void *arg)
{
    (void)arg;
    HY_CHECK_EQ(hy_mutex_lock(&mutex, hy_after(MS)), -ETIMEDOUT);
    strcat(sequence, "-");
}

static void hold_a_while(void *arg)
{
    (void)arg;
    HY_CHECK_EQ(hy_mutex_lock(&mutex, HY_FOREVER), 0);
    do
        HY_CHECK_EQ(hy_fiber_sleep(hy_after(4 * MS)), 0);
    while (sequence[0] == '\0'); /* until one has given up */
    HY_CHECK_EQ(hy_mutex_unlock(&mutex), 0);
}

HY_TEST(runtime_sync, waiters_are_served_in_order)
{
    hy_runtime *rt = make(.workers = 1);

    memset(&mutex, 0, sizeof(mutex));
    sequence[0] = '\0';
    HY_CHECK_EQ(hy_fiber_spawn(rt, hold_a_while, NULL, NULL, NULL), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, lock_and_note, "a", NULL, NULL), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, give_up_soon, NULL, NULL, NULL), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, lock_and_note, "b", NULL, NULL), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, lock_and_note, "c", NULL, NULL), 0);
    run_to_the_end(rt);
    HY_CHECK_STR(sequence, "-abc");
}

/* --- cond -------------------------------------------------------------------
 */

static hy_cond cond;
static int turn, turns_taken; /* under mutex */

struct player {
    int own, next, rounds;
};

static void play(void *arg)
{
    struct player *p = arg;

    HY_CHECK_EQ(hy_mutex_lock(&mutex, HY_FOREVER), 0);
    for (int i = 0; i < p->rounds; i++) {
        while (turn != p->own)
            HY_CHECK_EQ(hy_cond_wait(&cond, &mutex, HY_FOREVER), 0);
        turn = p->next;
        turns_taken++;
        HY_CHECK_EQ(hy_cond_broadcast(&cond), 0);
    }
    HY_CHECK_EQ(hy_mutex_unlock(&mutex), 0);
}

static void *play_in_a_thread(void *arg)
{
    play(arg);
    return NULL;
}

HY_TEST(runtime_sync, a_condition_passes_the_turn_around)
{
    for (unsigned workers = 1; workers <= 2; workers++) {
        struct player fiber[2] = {{0, 1, 100}, {1, 2, 100}};
        struct player thread = {2, 0, 100};
        hy_runtime *rt = make(.workers = workers);
        pthread_t t;

        memset(&mutex, 0, sizeof(mutex));
        memset(&cond, 0, sizeof(cond));
        turn = turns_taken = 0;
        HY_CHECK_EQ(hy_fiber_spawn(rt, play, &fiber[0], NULL, NULL), 0);
        HY_CHECK_EQ(hy_fiber_spawn(rt, play, &fiber[1], NULL, NULL), 0);
        HY_CHECK_EQ(pthread_create(&t, NULL, play_in_a_thread, &thread), 0);
        run_to_the_end(rt);
        pthread_join(t, NULL);
        HY_CHECK_EQ(turns_taken, 300);
    }
}

static _Atomic bool waits_for_ever;

static void wait_in_vain(void *arg)
{
    (void)arg;
    HY_CHECK_EQ(hy_cond_wait(&cond, &mutex, HY_FOREVER), -EPERM);
    HY_CHECK_EQ(hy_mutex_lock(&mutex, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_cond_wait(&cond, &mutex, hy_after(MS)), -ETIMEDOUT);
    HY_CHECK_EQ(hy_mutex_lock(&mutex, HY_NOW), -EDEADLK);
    atomic_store(&waits_for_ever, true); /* once the mutex is free */
    HY_CHECK_EQ(hy_cond_wait(&cond, &mutex, HY_FOREVER), -ECANCELED);
    HY_CHECK_EQ(hy_mutex_unlock(&mutex), 0);
    turns_taken++;
}

static void cancel_it(void *arg)
{
    AWAIT(atomic_load(&waits_for_ever));
    /* Held by the canceller: the waiter must wait for it even so. */
    HY_CHECK_EQ(hy_mutex_lock(&mutex, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_fiber_cancel(*(hy_fiber *)arg), 0);
    for (int i = 0; i < 10; i++)
        hy_fiber_yield();
    HY_CHECK_EQ(turns_taken, 0);
    HY_CHECK_EQ(hy_mutex_unlock(&mutex), 0);
}

HY_TEST(runtime_sync, a_condition_holds_the_mutex_on_every_return)
{
    hy_runtime *rt = make(.workers = 1);
    hy_fiber waiter;

    memset(&mutex, 0, sizeof(mutex));
    memset(&cond, 0, sizeof(cond));
    turns_taken = 0;
    atomic_store(&waits_for_ever, false);
    HY_CHECK_EQ(hy_cond_wait(NULL, &mutex, HY_NOW), -EINVAL);
    HY_CHECK_EQ(hy_cond_signal(NULL), -EINVAL);
    HY_CHECK_EQ(hy_cond_broadcast(NULL), -EINVAL);
    HY_CHECK_EQ(hy_fiber_spawn(rt, wait_in_vain, NULL, NULL, &waiter), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, cancel_it, &waiter, NULL, NULL), 0);
    run_to_the_end(rt);
    HY_CHECK_EQ(turns_taken, 1);
    for (int i = 0; i < 4; i++)
        HY_CHECK(mutex.word[i] == 0 && cond.word[i] == 0);
}

/* --- late wakes -------------------------------------------------------------
 */

static hy_sem sem;
static atomic_int taken, missed, waiters;

/* Keeps the worker busy, so that some time passes between the deadline of a
   waiter and its turn: posts then meet waiters that have given up. */
static void delay_the_others(void *arg)
{
    (void)arg;
    while (atomic_load(&waiters) > 0) {
        uint64_t end = hy_now() + 20000;

        while (hy_now() < end)
            ;
        hy_fiber_yield();
    }
}

static void wait_briefly(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        int r = hy_sem_wait(&sem, hy_after((uintptr_t)arg * 500));

        if (r == 0)
            atomic_fetch_add(&taken, 1);
        else if (r == -ETIMEDOUT)
            atomic_fetch_add(&missed, 1);
    }
    atomic_fetch_sub(&waiters, 1);
}

static void *post_often(void *arg)
{
    for (int i = 0; i < *(int *)arg; i++) {
        HY_CHECK_EQ(hy_sem_post(&sem, 1), 0);
        if (i % 3 == 0)
            hy_fiber_sleep(hy_after(1000));
    }
    return NULL;
}

/* Deadlines and posts race; no unit may be lost or given twice. */
HY_TEST(runtime_sync, a_wake_that_is_late_is_not_lost)
{
    for (unsigned workers = 1; workers <= 2; workers++) {
        hy_runtime *rt = make(.workers = workers);
        int posts = 400, left = 0;
        pthread_t thread[THREADS];

        memset(&sem, 0, sizeof(sem));
        taken = missed = 0;
        waiters = 4;
        HY_CHECK_EQ(hy_fiber_spawn(rt, delay_the_others, NULL, NULL, NULL), 0);
        for (uintptr_t i = 0; i < 4; i++)
            HY_CHECK_EQ(hy_fiber_spawn(rt, wait_briefly, (void *)i, NULL, NULL),
                        0);
        for (int i = 0; i < THREADS; i++)
            HY_CHECK_EQ(pthread_create(&thread[i], NULL, post_often, &posts),
                        0);
        run_to_the_end(rt);
        for (int i = 0; i < THREADS; i++)
            pthread_join(thread[i], NULL);
        while (hy_sem_wait(&sem, HY_NOW) == 0)
            left++;
        HY_CHECK_EQ(taken + left, posts * THREADS);
        HY_CHECK_EQ(taken + missed, 4 * ROUNDS);
    }
}

/* --- what reaches a busy worker -------------------------------------------
 */

enum { SLEEPERS = 5, CANCELLED = 1, TWICE = 4, NEWCOMER = SLEEPERS };

static struct {
    hy_sem sem[SLEEPERS];
    hy_fiber fiber[SLEEPERS];
    int result[SLEEPERS];
    int order[SLEEPERS + 1], count;
    atomic_int parked, told;
} crowd;

static void sleep_in_the_crowd(void *arg)
{
    int i = (int)(uintptr_t)arg;

    atomic_fetch_add(&crowd.parked, 1);
    crowd.result[i] = hy_sem_wait(&crowd.sem[i], HY_FOREVER);
    crowd.order[crowd.count++] = i;
}

static void come_late(void *arg)
{
    (void)arg;
    crowd.order[crowd.count++] = NEWCOMER;
}

/* Keeps its worker from everything until all has been sent. */
static void keep_busy(void *arg)
{
    (void)arg;
    while (atomic_load(&crowd.parked) != SLEEPERS)
        hy_fiber_yield();
    atomic_store(&crowd.told, 1);
    while (atomic_load(&crowd.told) != 2)
        ;
}

static void *tell_them(void *arg)
{
    hy_fiber newcomer;

    while (atomic_load(&crowd.told) != 1)
        hy_fiber_sleep(hy_after(1000));
    HY_CHECK_EQ(hy_sem_post(&crowd.sem[3], 1), 0);
    HY_CHECK_EQ(hy_fiber_cancel(crowd.fiber[CANCELLED]), 0);
    HY_CHECK_EQ(hy_sem_post(&crowd.sem[0], 1), 0);
    HY_CHECK_EQ(hy_fiber_cancel(crowd.fiber[TWICE]), 0);
    HY_CHECK_EQ(hy_fiber_spawn(arg, come_late, NULL, NULL, &newcomer), 0);
    HY_CHECK_EQ(hy_sem_post(&crowd.sem[2], 1), 0);
    HY_CHECK_EQ(hy_sem_post(&crowd.sem[TWICE], 1), 0);
    atomic_store(&crowd.told, 2);
    return NULL;
}

/* Wakes, cancels and a spawn that a worker finds all at once: nothing is lost,
   and fibers go on in the order in which they were told. Who was cancelled and
   woken before either was seen has been served. */
HY_TEST(runtime_sync, letters_are_opened_in_the_order_of_sending)
{
    static const int woken[SLEEPERS] = {3, CANCELLED, 0, 2, TWICE};
    hy_runtime *rt = make(1);
    pthread_t thread;
    int came = 0;

    memset(&crowd, 0, sizeof(crowd));
    for (uintptr_t i = 0; i < SLEEPERS; i++)
        HY_CHECK_EQ(hy_fiber_spawn(rt, sleep_in_the_crowd, (void *)i, NULL,
                                   &crowd.fiber[i]),
                    0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, keep_busy, NULL, NULL, NULL), 0);
    HY_CHECK_EQ(pthread_create(&thread, NULL, tell_them, rt), 0);
    run_to_the_end(rt);
    pthread_join(thread, NULL);
    HY_CHECK_EQ(crowd.count, SLEEPERS + 1);
    for (int i = 0; i < crowd.count; i++)
        if (crowd.order[i] == NEWCOMER)
            came++;
        else
            HY_CHECK_EQ(crowd.order[i], woken[i - came]);
    HY_CHECK_EQ(came, 1);
    for (int i = 0; i < SLEEPERS; i++)
        HY_CHECK_EQ(crowd.result[i], i == CANCELLED ? -ECANCELED : 0);
}

/* --- event, wait group, semaphore -------------------------------------------
 */

static hy_event event;
static hy_wait_group group;

static void wait_then_finish(void *arg)
{
    HY_CHECK_EQ(hy_event_wait(&event, HY_FOREVER), 0);
    atomic_fetch_add((atomic_int *)arg, 1);
    HY_CHECK_EQ(hy_wait_group_done(&group), 0);
}

static void *open_and_wait(void *arg)
{
    HY_CHECK_EQ(hy_event_wait(&event, hy_after(MS)), -ETIMEDOUT);
    HY_CHECK_EQ(hy_event_set(&event), 0);
    HY_CHECK_EQ(hy_wait_group_wait(&group, HY_FOREVER), 0);
    HY_CHECK_EQ(atomic_load((atomic_int *)arg), 10);
    return NULL;
}

HY_TEST(runtime_sync, an_event_and_a_wait_group)
{
    hy_runtime *rt = make(.workers = 2);
    atomic_int count = 0;
    pthread_t t;

    memset(&event, 0, sizeof(event));
    memset(&group, 0, sizeof(group));
    HY_CHECK_EQ(hy_wait_group_wait(&group, HY_NOW), 0);
    HY_CHECK_EQ(hy_wait_group_done(&group), -EPERM);
    HY_CHECK_EQ(hy_wait_group_add(&group, 10), 0);
    HY_CHECK_EQ(hy_wait_group_wait(&group, HY_NOW), -ETIMEDOUT);
    HY_CHECK_EQ(hy_wait_group_add(&group, 0x7fffffff), -EOVERFLOW);
    for (int i = 0; i < 10; i++)
        HY_CHECK_EQ(hy_fiber_spawn(rt, wait_then_finish, &count, NULL, NULL),
                    0);
    HY_CHECK_EQ(pthread_create(&t, NULL, open_and_wait, &count), 0);
    run_to_the_end(rt);
    pthread_join(t, NULL);
    HY_CHECK_EQ(hy_event_wait(&event, HY_NOW), 0);
    HY_CHECK_EQ(hy_event_reset(&event), 0);
    HY_CHECK_EQ(hy_event_wait(&event, HY_NOW), -ETIMEDOUT);
    HY_CHECK_EQ(hy_event_wait(NULL, HY_NOW), -EINVAL);
    HY_CHECK_EQ(hy_event_set(NULL), -EINVAL);
    HY_CHECK_EQ(hy_event_reset(NULL), -EINVAL);
    HY_CHECK_EQ(hy_wait_group_add(NULL, 1), -EINVAL);
    HY_CHECK_EQ(hy_wait_group_done(NULL), -EINVAL);
    HY_CHECK_EQ(hy_wait_group_wait(NULL, HY_NOW), -EINVAL);
}

HY_TEST(runtime_sync, a_semaphore_counts)
{
    hy_sem s = {{0}};

    HY_CHECK_EQ(hy_sem_wait(&s, HY_NOW), -ETIMEDOUT);
    HY_CHECK_EQ(hy_sem_post(&s, 2), 0);
    HY_CHECK_EQ(hy_sem_post(&s, 0x7fffffff), -EOVERFLOW);
    HY_CHECK_EQ(hy_sem_wait(&s, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_sem_wait(&s, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_sem_wait(&s, hy_after(MS)), -ETIMEDOUT);
    HY_CHECK_EQ(hy_sem_wait(NULL, HY_NOW), -EINVAL);
    HY_CHECK_EQ(hy_sem_post(NULL, 1), -EINVAL);
}
