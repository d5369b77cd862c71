/*
 * test_runtime_fork.c - fibers that fork: the child goes on in the fiber that
 * forked, as a plain thread, none of the others runs there, and the call that
 * drove the runtime ends with an error.
 */
#include <errno.h>
#include <hyperion/fiber.h>
#include <hyperion/runtime.h>
#include <hyperion/sync.h>
#include <signal.h>
#include <stdatomic.h>

#include "core.h"
#include "runtime_test.h"
#include "os.h"

enum { OTHERS = 8 };

static pid_t parent;
static int result; /* of the child, or what went wrong before it */
static hy_sem woken;
static hy_mutex locked;
static _Atomic int done, others_ended;

static bool is_child(void)
{
    return getpid() != parent;
}

/* What must not happen in a child. */
static void other(void *arg)
{
    (void)arg;
    hy_fiber_yield();
    if (hy_sem_wait(&woken, HY_FOREVER) != 0 || is_child())
        _exit(90);
    atomic_fetch_add(&others_ended, 1);
}

static void fresh(void *arg)
{
    (void)arg;
    if (is_child())
        _exit(91);
}

static void add_to_done(void *arg)
{
    (void)arg;
    hy_fiber_yield();
    atomic_fetch_add(&done, 1);
}

static void try_everything(hy_fiber self)
{
    hy_runtime *rt = NULL;
    hy_runtime_options o = HY_RUNTIME_OPTIONS_INIT;
    uint64_t before = hy_now();

    if (hy_fiber_self().id != 0 ||
        hy_fiber_spawn(NULL, fresh, NULL, NULL, NULL) != -EINVAL ||
        hy_fiber_join(self, HY_FOREVER) != -ESTALE ||
        hy_fiber_cancel(self) != -ESTALE)
        _exit(92);
    hy_fiber_yield();
    if (hy_fiber_sleep(hy_after(2 * MS)) != 0 || hy_now() - before < 2 * MS)
        _exit(93);
    /* Posts to fibers that are not there. */
    if (hy_sem_post(&woken, OTHERS) != 0)
        _exit(94);
    if (hy_mutex_lock(&locked, hy_after(MS)) != 0 ||
        hy_mutex_unlock(&locked) != 0)
        _exit(95);
    o.workers = 1;
    if (hy_runtime_init(&rt, &o) != 0 ||
        hy_fiber_spawn(rt, add_to_done, NULL, NULL, NULL) != 0 ||
        hy_runtime_run(rt) != 0 || hy_runtime_destroy(rt) != 0 ||
        atomic_load(&done) != 1)
        _exit(96);
    hy_fiber_yield();
}

/* The threads of a runtime block what is not a fault. */
static void limit_time(void)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_UNBLOCK, &all, NULL);
    alarm(20);
}

/* As they are when another thread was inside at the fork, if none was. */
static void hold_locks(hy_runtime *rt)
{
    hyi_lock_try(&rt->table_lock);
    hyi_lock_try(&rt->idle_lock);
    hyi_lock_try(&rt->wait_lock);
    hyi_lock_try(&rt->stacks->lock);
}

static int count_waiting(const hy_fiber_info *info, void *count)
{
    *(int *)count +=
        info->state == HY_FIBER_PARKED && strcmp(info->reason, "sleep") != 0;
    return 0;
}

/* In the semaphore, and out of its lock, which a child would never get. */
static void await_others(hy_runtime *rt)
{
    int waiting = 0;

    while (waiting != OTHERS) {
        hy_fiber_sleep(hy_after(2 * MS));
        waiting = 0;
        hy_fiber_each(rt, count_waiting, &waiting);
    }
}

/* Nothing that its parent has begun is told in a child. */
static void tell(void *ctx, int level, const char *message)
{
    (void)ctx;
    (void)level;
    (void)message;
    if (is_child())
        _exit(97);
}

/* Forks among others that wait, are ready, and have not begun. */
static void forker(void *arg)
{
    hy_fiber self = hy_fiber_self();
    hy_runtime *rt = arg;
    pid_t child;

    await_others(rt);
    for (int i = 0; i < OTHERS; i++)
        hy_fiber_spawn(rt, fresh, NULL, NULL, NULL);
    fflush(stdout);
    fflush(stderr);
    hy_fiber_critical_enter();
    child = fork();
    if (child == 0) {
        limit_time();
        hy_fiber_critical_leave();
        try_everything(self);
        hold_locks(rt);
        if (HY_TEST_SANITIZER) /* the thread one loses sight of it */
            _exit(0);
        return;
    }
    while (waitpid(child, &result, 0) < 0 && errno == EINTR)
        continue;
    hy_fiber_critical_leave();
    hy_sem_post(&woken, OTHERS);
}

static hy_runtime *begin(unsigned workers, unsigned flags)
{
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;
    /* So few that each end takes a lock. */
    hy_runtime *rt = make(.workers = workers, .fibers_max = 8 * OTHERS,
                          .report.write = tell);

    memset(&woken, 0, sizeof(woken));
    memset(&locked, 0, sizeof(locked));
    atomic_store(&done, 0);
    atomic_store(&others_ended, 0);
    parent = getpid();
    result = -1;
    for (int i = 0; i < OTHERS; i++)
        HY_CHECK_EQ(hy_fiber_spawn(rt, other, NULL, NULL, NULL), 0);
    o.flags = flags;
    HY_CHECK_EQ(hy_fiber_spawn(rt, forker, rt, &o, NULL), 0);
    return rt;
}

static void end(hy_runtime *rt)
{
    HY_CHECK_MSG(result == 0, "child: %x", (unsigned)result);
    HY_CHECK_EQ(atomic_load(&others_ended), OTHERS);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

static void check_run(unsigned workers, unsigned flags)
{
    hy_runtime *rt = begin(workers, flags);
    int r = hy_runtime_run(rt);

    if (is_child()) /* back on the stack that called */
        _exit(r != -ESTALE || hy_runtime_destroy(rt) != -ESTALE);
    HY_CHECK_EQ(r, 0);
    end(rt);
}

HY_TEST(runtime_fork, a_fiber_of_one_worker_forks)
{
    check_run(1, 0);
}

/* The fiber may be on a thread of the runtime: as with a started one. */
HY_TEST(runtime_fork, a_fiber_of_several_workers_forks)
{
    check_run(4, 0);
}

HY_TEST(runtime_fork, a_fiber_that_migrates_forks)
{
    check_run(1, HY_FIBER_MIGRATE);
    check_run(2, HY_FIBER_MIGRATE);
}

HY_TEST(runtime_fork, a_fiber_with_an_environment_of_its_own_forks)
{
    check_run(1, HY_FIBER_FP_ENV);
}

/* As a C++ runtime would have them. */
struct exceptions {
    void *caught;
    unsigned uncaught;
};
void *__cxa_get_globals(void);

void *__cxa_get_globals(void)
{
    static _Thread_local struct exceptions mine;

    return &mine;
}

/* The runtime is run where an exception is being handled. */
HY_TEST(runtime_fork, a_child_has_the_exceptions_of_who_called)
{
    struct exceptions *mine = (struct exceptions *)__cxa_get_globals();
    hy_runtime *rt = begin(1, 0);
    int r;

    *mine = (struct exceptions){&woken, 3};
    r = hy_runtime_run(rt);
    if (is_child())
        _exit(r != -ESTALE || mine->caught != (void *)&woken ||
              mine->uncaught != 3);
    HY_CHECK_EQ(r, 0);
    HY_CHECK_EQ(mine->uncaught, 3);
    *mine = (struct exceptions){NULL, 0};
    end(rt);
}

HY_TEST(runtime_fork, a_fiber_that_is_polled_forks)
{
    hy_runtime *rt = begin(1, 0);
    int r;

    do
        r = hy_runtime_poll(rt, hy_after(20 * MS));
    while (r >= 0 && atomic_load(&others_ended) < OTHERS && !is_child());
    if (is_child())
        _exit(r != -ESTALE || hy_runtime_poll(rt, HY_NOW) != -ESTALE);
    HY_CHECK_EQ(r, 0);
    end(rt);
}

/* On one of the threads of the runtime the child ends with the fiber. */
HY_TEST(runtime_fork, a_fiber_of_a_started_runtime_forks)
{
    hy_runtime *rt = begin(2, 0);

    HY_CHECK_EQ(hy_runtime_start(rt), 0);
    while (atomic_load(&others_ended) < OTHERS)
        hy_fiber_sleep(hy_after(MS));
    HY_CHECK_EQ(hy_runtime_stop(rt), 0);
    HY_CHECK_EQ(hy_runtime_wait(rt, HY_FOREVER), 0);
    end(rt);
}
