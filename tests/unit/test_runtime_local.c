/*
 * test_runtime_local.c - fiber-local values: keys, destructors, threads, and
 * what happens without memory.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include <hyperion/fiber.h>
#include <hyperion/local.h>
#include <hyperion/runtime.h>
#include <hyperion/sync.h>

#include "fail.h"
#include "runtime_test.h"

enum { FIBERS = 200 };

static hy_fls_key key, other;
static _Atomic int ended, wrong;

static void count_end(void *value)
{
    wrong += value == NULL;
    ended++;
}

static void make_keys(void)
{
    ended = wrong = 0;
    HY_CHECK_EQ(hy_fls_create(&key, count_end), 0);
    HY_CHECK_EQ(hy_fls_create(&other, NULL), 0);
}

static void delete_keys(void)
{
    HY_CHECK_EQ(hy_fls_delete(key), 0);
    HY_CHECK_EQ(hy_fls_delete(other), 0);
}

/* --- keys -------------------------------------------------------------------
 */

HY_TEST(runtime_local, keys_are_made_and_deleted)
{
    static hy_fls_key all[HY_FLS_KEYS_MOST];
    const hy_fls_key none = {0, 0}, far = {HY_FLS_KEYS_MOST, 1};
    int x;

    HY_CHECK_EQ(hy_fls_create(NULL, NULL), -EINVAL);
    for (int i = 0; i < HY_FLS_KEYS_MOST; i++) {
        HY_CHECK_EQ(hy_fls_create(&all[i], NULL), 0);
        HY_CHECK(hy_fls_get(all[i]) == NULL);
    }
    HY_CHECK_EQ(hy_fls_create(&key, NULL), -EAGAIN);
    for (int i = 0; i < HY_FLS_KEYS_MOST; i++)
        HY_CHECK_EQ(hy_fls_set(all[i], &all[i]), 0);
    for (int i = 0; i < HY_FLS_KEYS_MOST; i++)
        HY_CHECK(hy_fls_get(all[i]) == &all[i]);
    HY_CHECK_EQ(hy_fls_delete(all[3]), 0);
    HY_CHECK_EQ(hy_fls_delete(all[3]), -EINVAL);
    HY_CHECK_EQ(hy_fls_set(all[3], &x), -EINVAL);
    HY_CHECK_EQ(hy_fls_create(&key, NULL), 0);
    HY_CHECK_EQ(key.index, all[3].index);
    HY_CHECK(hy_fls_get(key) == NULL);
    HY_CHECK_EQ(hy_fls_delete(key), 0);
    HY_CHECK_EQ(hy_fls_delete(none), -EINVAL);
    HY_CHECK_EQ(hy_fls_delete(far), -EINVAL);
    HY_CHECK_EQ(hy_fls_set(none, &x), -EINVAL);
    HY_CHECK_EQ(hy_fls_set(far, &x), -EINVAL);
    HY_CHECK(hy_fls_get(none) == NULL);
    HY_CHECK(hy_fls_get(far) == NULL);
    for (int i = 0; i < HY_FLS_KEYS_MOST; i++) {
        hy_fls_set(all[i], NULL);
        HY_CHECK_EQ(hy_fls_delete(all[i]), i == 3 ? -EINVAL : 0);
    }
}

/* --- fibers -----------------------------------------------------------------
 */

static void keep_own_value(void *arg)
{
    wrong += hy_fls_get(key) != NULL;
    wrong += hy_fls_set(key, arg) != 0;
    wrong += hy_fls_set(other, &key) != 0;
    for (int i = 0; i < 5; i++) {
        hy_fiber_yield();
        wrong += hy_fls_get(key) != arg;
        wrong += hy_fls_get(other) != &key;
    }
}

static void *keep_own_value_in_thread(void *arg)
{
    keep_own_value(arg);
    return NULL;
}

HY_TEST(runtime_local, each_fiber_has_its_own)
{
    static char values[FIBERS];

    for (unsigned workers = 1; workers <= 2; workers++) {
        hy_runtime *rt = make(.workers = workers, .flags = HY_RUNTIME_CLOSED);

        make_keys();
        for (int i = 0; i < FIBERS; i++)
            spawn(rt, keep_own_value, &values[i]);
        run_to_the_end(rt);
        HY_CHECK_EQ(wrong, 0);
        HY_CHECK_EQ(ended, FIBERS);
        HY_CHECK(hy_fls_get(key) == NULL);
        delete_keys();
    }
}

HY_TEST(runtime_local, each_thread_has_its_own)
{
    static char values[4];
    pthread_t thread[4];

    make_keys();
    for (int i = 0; i < 4; i++)
        HY_CHECK_EQ(pthread_create(&thread[i], NULL, keep_own_value_in_thread,
                                   &values[i]),
                    0);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    HY_CHECK_EQ(wrong, 0);
    HY_CHECK_EQ(ended, 4);
    delete_keys();
}

/* The thread that runs a runtime keeps its own beside those of the fibers. */
HY_TEST(runtime_local, the_thread_of_a_worker_has_its_own)
{
    hy_runtime *rt = make(.workers = 1, .flags = HY_RUNTIME_CLOSED);
    char mine, theirs;

    make_keys();
    HY_CHECK_EQ(hy_fls_set(key, &mine), 0);
    spawn(rt, keep_own_value, &theirs);
    run_to_the_end(rt);
    HY_CHECK_EQ(wrong, 0);
    HY_CHECK(hy_fls_get(key) == &mine);
    HY_CHECK_EQ(hy_fls_set(key, NULL), 0);
    HY_CHECK_EQ(ended, 1);
    delete_keys();
}

/* --- destructors ------------------------------------------------------------
 */

static int rounds;
static hy_mutex lock;
static hy_event go;

/* Waits, is still in its fiber, and sets itself again. */
static void set_again(void *value)
{
    hy_fiber *self = value;

    rounds++;
    hy_fiber_sleep(hy_after(1000));
    wrong += hy_fiber_self().id != self->id;
    wrong += hy_fls_get(key) != NULL;
    wrong += hy_fls_set(key, value) != 0;
}

static void name_itself(void *arg)
{
    hy_fiber *self = arg;

    *self = hy_fiber_self();
    wrong += hy_fls_set(key, self) != 0;
}

static void join_and_count(void *arg)
{
    wrong += hy_fiber_join(*(hy_fiber *)arg, HY_FOREVER) != 0;
    wrong += rounds != 4;
}

HY_TEST(runtime_local, destructors_run_in_the_fiber_four_rounds_at_most)
{
    hy_runtime *rt = make(.workers = 1, .flags = HY_RUNTIME_CLOSED);
    hy_fiber f;

    wrong = rounds = 0;
    HY_CHECK_EQ(hy_fls_create(&key, set_again), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, name_itself, &f, NULL, &f), 0);
    spawn(rt, join_and_count, &f);
    run_to_the_end(rt);
    HY_CHECK_EQ(wrong, 0);
    HY_CHECK_EQ(rounds, 4);
    HY_CHECK_EQ(hy_fls_delete(key), 0);
}

static void set_and_delete(void *arg)
{
    wrong += hy_fls_set(key, arg) != 0;
    wrong += hy_fls_delete(key) != 0;
    wrong += hy_fls_create(&other, count_end) != 0;
    wrong += other.index != key.index;
}

HY_TEST(runtime_local, a_deleted_key_has_no_destructor)
{
    hy_runtime *rt = make(.workers = 1, .flags = HY_RUNTIME_CLOSED);

    wrong = ended = 0;
    HY_CHECK_EQ(hy_fls_create(&key, count_end), 0);
    spawn(rt, set_and_delete, &key);
    run_to_the_end(rt);
    HY_CHECK_EQ(wrong, 0);
    HY_CHECK_EQ(ended, 0);
    HY_CHECK_EQ(hy_fls_delete(other), 0);
}

static void set_and_stay(void *arg)
{
    static hy_fls_key many[20];

    (void)arg;
    for (int i = 0; i < 20; i++) {
        wrong += hy_fls_create(&many[i], count_end) != 0;
        wrong += hy_fls_set(many[i], many) != 0;
    }
    for (int i = 0; i < 20; i++)
        wrong += hy_fls_delete(many[i]) != 0;
    wrong += hy_fls_set(key, &key) != 0;
    hy_event_wait(&go, HY_FOREVER);
}

/* Its memory goes; a leak checker sees to that. */
HY_TEST(runtime_local, a_discarded_fiber_runs_none)
{
    hy_runtime *rt = make(.workers = 1, .flags = HY_RUNTIME_CLOSED);

    make_keys();
    memset(&go, 0, sizeof(go));
    spawn(rt, set_and_stay, NULL);
    HY_CHECK_EQ(hy_runtime_run(rt), -EDEADLK);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    HY_CHECK_EQ(wrong, 0);
    HY_CHECK_EQ(ended, 0);
    delete_keys();
    memset(&go, 0, sizeof(go));
}

/* --- without memory ---------------------------------------------------------
 */

static void set_without_memory(void *arg)
{
    hy_fls_key many[20];

    (void)arg;
    for (int i = 0; i < 20; i++)
        wrong += hy_fls_create(&many[i], NULL) != 0;
    hy_fail_at(HY_FAIL_CALLOC, 1, ENOMEM);
    errno = 77;
    wrong += hy_fls_set(many[0], NULL) != 0;
    wrong += hy_fls_set(many[0], many) != -ENOMEM;
    wrong += errno != 77;
    wrong += hy_fls_get(many[0]) != NULL;
    wrong += hy_fail_hits() != 1;
    hy_fail_none();
    wrong += hy_fls_set(many[0], many) != 0;
    hy_fail_at(HY_FAIL_REALLOC, 1, ENOMEM);
    wrong += hy_fls_set(many[19], NULL) != 0;
    wrong += hy_fls_set(many[19], many) != -ENOMEM;
    wrong += hy_fail_hits() != 1;
    hy_fail_none();
    wrong += hy_fls_get(many[0]) != many;
    wrong += hy_fls_get(many[19]) != NULL;
    wrong += hy_fls_set(many[19], many) != 0;
    wrong += hy_fls_get(many[19]) != many;
    for (int i = 0; i < 20; i++)
        wrong += hy_fls_delete(many[i]) != 0;
}

static void *set_in_thread_without_memory(void *arg)
{
    hy_fail_from(HY_FAIL_ALIGNED_ALLOC, 1, ENOMEM);
    hy_fail_from(HY_FAIL_CALLOC, 1, ENOMEM);
    wrong += hy_fls_set(key, NULL) != 0;
    wrong += hy_fls_set(key, arg) != -ENOMEM;
    hy_fail_none();
    wrong += hy_fls_set(key, arg) != 0;
    wrong += hy_fls_get(key) != arg;
    return NULL;
}

HY_TEST(runtime_local, no_memory_is_told_and_changes_nothing)
{
    hy_runtime *rt = make(.workers = 1, .flags = HY_RUNTIME_CLOSED);
    pthread_t thread;

    make_keys();
    spawn(rt, set_without_memory, NULL);
    run_to_the_end(rt);
    HY_CHECK_EQ(wrong, 0);
    HY_CHECK_EQ(
        pthread_create(&thread, NULL, set_in_thread_without_memory, &key), 0);
    pthread_join(thread, NULL);
    HY_CHECK_EQ(wrong, 0);
    HY_CHECK_EQ(ended, 1);
    delete_keys();
}

/* A thread's destructor uses what others have already given up. */
static void lock_and_set(void *value)
{
    rounds++;
    wrong += hy_mutex_lock(&lock, HY_FOREVER) != 0;
    wrong += hy_mutex_unlock(&lock) != 0;
    if (rounds < 2)
        wrong += hy_fls_set(key, value) != 0;
}

static void *set_in_thread(void *arg)
{
    wrong += hy_fls_set(key, arg) != 0;
    return NULL;
}

HY_TEST(runtime_local, destructors_of_a_thread_may_lock_and_set)
{
    pthread_t thread;

    wrong = rounds = 0;
    memset(&lock, 0, sizeof(lock));
    HY_CHECK_EQ(hy_fls_create(&key, lock_and_set), 0);
    HY_CHECK_EQ(pthread_create(&thread, NULL, set_in_thread, &key), 0);
    pthread_join(thread, NULL);
    HY_CHECK_EQ(wrong, 0);
    HY_CHECK_EQ(rounds, 2);
    HY_CHECK_EQ(hy_fls_delete(key), 0);
}
