/*
 * test_runtime_cancel.c - a cancel that comes at a moment when little of the
 * fiber is there: between its coming to life and its hand-over, and while its
 * runtime ends.
 *
 *      spawner                              another thread
 *      -------                              --------------
 *      the slot is live
 *      *out = id      traps, and waits      hy_fiber_each, hy_fiber_cancel
 *      hand over to the worker
 *
 * The fault function of the page that out lies in is this moment.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include <hyperion/fiber.h>
#include <hyperion/runtime.h>

#include "core.h"
#include "fault.h"
#include "runtime_test.h"
#include "os.h"

/* --- before the hand-over ---------------------------------------------------
 */

static struct {
    hy_runtime *rt;
    hy_fiber *out; /* on a page of its own, closed at first */
    hy_fiber victim;
    _Atomic int open, cancelled; /* the window; by the other thread */
    int result, slept;           /* of cancel, of sleep */
    /* As the window showed it after the cancel. */
    struct hyi_worker *worker;
    unsigned posted;
} window;

static int cancel_victim(const hy_fiber_info *info, void *arg)
{
    (void)arg;
    if (strcmp(info->name, "victim") != 0)
        return 0;
    window.victim = info->fiber;
    window.result = hy_fiber_cancel(info->fiber);
    return 1;
}

static void *cancel_in_window(void *arg)
{
    window.result = 1; /* nobody was found */
    while (!atomic_load(&window.open))
        hyi_os_thread_yield();
    hy_fiber_each(window.rt, cancel_victim, NULL);
    atomic_store(&window.cancelled, 1);
    return arg;
}

static bool be_in_window(void *ctx, const struct hyi_fault *fault)
{
    struct hyi_fiber *f;
    hy_runtime *rt;

    (void)fault;
    atomic_store(&window.open, 1);
    while (!atomic_load(&window.cancelled))
        hyi_os_thread_yield();
    f = hyi_fiber_find(window.victim, &rt);
    if (f != NULL) {
        window.worker = atomic_load(&f->worker);
        window.posted = atomic_load(&f->posted);
    }
    return hyi_os_protect(ctx, hyi_os_page_bytes(),
                          HYI_OS_READ | HYI_OS_WRITE) == 0;
}

static void sleep_until_cancelled(void *arg)
{
    (void)arg;
    window.slept = hy_fiber_sleep(HY_FOREVER);
}

/* Memcheck, in this thread. */
static void watch_for_errors(bool on)
{
#if defined(VALGRIND_DISABLE_ERROR_REPORTING)
    if (on)
        VALGRIND_ENABLE_ERROR_REPORTING;
    else
        VALGRIND_DISABLE_ERROR_REPORTING;
#else
    (void)on;
#endif
}

static void spawn_victim(void *arg)
{
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;
    int r;

    (void)arg;
    o.name = "victim";
    o.worker = 1;
    watch_for_errors(false); /* of the access that traps */
    r = hy_fiber_spawn(window.rt, sleep_until_cancelled, NULL, &o, window.out);
    watch_for_errors(true);
    HY_CHECK_EQ(r, 0);
}

/* Leaves behind a slot whose last fiber was another worker's. */
static void use_slot(void)
{
    spawn_on(window.rt, 2, nothing, NULL);
    HY_CHECK_EQ(hy_runtime_run(window.rt), 0);
}

static void spawn_in_window(bool used_slot, bool from_fiber)
{
    size_t page = hyi_os_page_bytes();
    pthread_t thread;
    void *memory;

    memset(&window, 0, sizeof(window));
    HY_CHECK_EQ(hyi_os_reserve(&memory, page, HYI_OS_NONE, NULL, false), 0);
    HY_CHECK_EQ(hyi_fault_attach(memory, page, be_in_window, memory), 0);
    window.out = memory;
    /* So few that a slot is used again at once. */
    window.rt = make(.workers = used_slot ? 2 : 1, .fibers_max = 4);
    if (used_slot)
        use_slot();
    HY_CHECK_EQ(pthread_create(&thread, NULL, cancel_in_window, NULL), 0);
    if (from_fiber) /* of the victim's worker, which cannot look meanwhile */
        spawn_on(window.rt, 1, spawn_victim, NULL);
    else
        spawn_victim(NULL);
    HY_CHECK_EQ(hy_runtime_run(window.rt), 0);
    pthread_join(thread, NULL);
    HY_CHECK_EQ(window.out->id, window.victim.id);
    HY_CHECK_EQ(window.result, 0);
    HY_CHECK_EQ(window.slept, -ECANCELED);
    /* It did not rest on what the fiber happens to see when it begins. */
    HY_CHECK(window.worker == &window.rt->worker[0]);
    HY_CHECK((window.posted & HYI_POST_CANCEL) != 0);
    HY_CHECK_EQ(hy_runtime_destroy(window.rt), 0);
    HY_CHECK_EQ(hyi_fault_detach(memory), 0);
    hyi_os_release(memory, page);
}

HY_TEST(runtime_cancel, before_the_hand_over_it_reaches_the_worker)
{
    spawn_in_window(false, false);
    spawn_in_window(false, true);
    spawn_in_window(true, false);
    spawn_in_window(true, true);
}

/* --- while the runtime ends -------------------------------------------------
 */

enum { SLEEPERS = 200, ROUNDS = 500, CANCELLERS = 2 };
#define ROUNDS_NS UINT64_C(2000000000) /* enough where everything is slow */

static uint64_t _Atomic handles[SLEEPERS];
static _Atomic int over, wrong;

static void sleep_long(void *arg)
{
    (void)arg;
    hy_fiber_sleep(HY_FOREVER);
}

static void *cancel_for_ever(void *arg)
{
    while (!atomic_load(&over))
        for (int i = 0; i < SLEEPERS; i++) {
            hy_fiber f = {atomic_load(&handles[i])};
            int r = hy_fiber_cancel(f);

            if (r != 0 && r != -ESRCH)
                atomic_store(&wrong, r);
        }
    return arg;
}

static void count(void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1);
}

/* The slots of the last round, which must be as new. */
static void check_slots(hy_runtime *rt)
{
    static _Atomic int counted;

    atomic_store(&counted, 0);
    for (int i = 0; i < SLEEPERS; i++)
        HY_CHECK_EQ(hy_fiber_spawn(rt, count, (void *)&counted, NULL, NULL), 0);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(atomic_load(&counted), SLEEPERS);
}

static void end_among_cancels(void)
{
    hy_runtime *rt = make(.workers = 1);
    hy_fiber f[SLEEPERS];

    check_slots(rt);
    for (int i = 0; i < SLEEPERS; i++)
        HY_CHECK_EQ(hy_fiber_spawn(rt, sleep_long, NULL, NULL, &f[i]), 0);
    for (int i = 0; i < SLEEPERS; i++) /* from the end: they meet */
        atomic_store_explicit(&handles[SLEEPERS - 1 - i], f[i].id,
                              memory_order_relaxed);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

static void *destroy(void *rt)
{
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    atomic_store(&over, 1);
    return NULL;
}

/* The moment between the two steps of a cancel, held. */
HY_TEST(runtime_cancel, a_runtime_does_not_end_inside_a_cancel)
{
    static const _Atomic uint32_t never = 0;
    hy_runtime *rt = make(.workers = 1), *same;
    struct hyi_fiber *slot;
    pthread_t thread;
    hy_fiber f;

    atomic_store(&over, 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, sleep_long, NULL, NULL, &f), 0);
    slot = hyi_fiber_find(f, &same);
    atomic_fetch_add(&rt->cancelling, 1);
    HY_CHECK_EQ(pthread_create(&thread, NULL, destroy, rt), 0);
    for (int i = 0; i < 20; i++)
        hyi_os_futex_wait(&never, 0, hyi_os_now() + 1000000, false);
    HY_CHECK_EQ(atomic_load(&over), 0);
    hyi_post(slot, HYI_POST_CANCEL);
    atomic_fetch_sub(&rt->cancelling, 1);
    pthread_join(thread, NULL);
    HY_CHECK_EQ(hy_fiber_cancel(f), -ESRCH);
    rt = make(.workers = 1);
    check_slots(rt);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

/* A signal stops a thread wherever it is; and lets it go on a while later. */
static struct {
    _Atomic int began, stopped, go, left;
    hy_fiber fiber;
    _Atomic int over;
} held;

static void hold(int sig)
{
    const struct timespec a_while = {0, 20 * MS}, moment = {0, MS / 10};
    int saved = errno;

    (void)sig;
    atomic_store(&held.stopped, 1);
    while (!atomic_load(&held.go))
        nanosleep(&moment, NULL);
    nanosleep(&a_while, NULL);
    atomic_store(&held.left, 1);
    errno = saved;
}

static void *cancel_again_and_again(void *arg)
{
    int r = 0;

    atomic_store(&held.began, 1);
    while (!atomic_load(&held.over) && (r = hy_fiber_cancel(held.fiber)) == 0)
        ;
    HY_CHECK(r == 0 || r == -ESRCH);
    return arg;
}

/* True when the thread was inside of a cancel. */
static bool end_while_it_is_held(void)
{
    hy_runtime *rt = make(.workers = 1);
    pthread_t thread;
    bool inside;

    held.began = held.stopped = held.go = held.left = held.over = 0;
    held.fiber = spawn(rt, sleep_long, NULL);
    HY_CHECK_EQ(pthread_create(&thread, NULL, cancel_again_and_again, NULL), 0);
    AWAIT(atomic_load(&held.began));
    HY_CHECK_EQ(pthread_kill(thread, SIGUSR1), 0);
    AWAIT(atomic_load(&held.stopped));
    inside = atomic_load(&rt->cancelling) != 0;
    atomic_store(&held.go, 1);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    HY_CHECK(!inside || atomic_load(&held.left));
    atomic_store(&held.over, 1);
    pthread_join(thread, NULL);
    return inside;
}

/* Sanitizers, until a thread makes a call of the system; valgrind, until it is
   another thread's turn. Either is outside of a cancel. */
static bool keeps_signals_back(void)
{
#if defined(RUNNING_ON_VALGRIND)
    if (RUNNING_ON_VALGRIND)
        return true;
#endif
    return HY_TEST_SANITIZER;
}

HY_TEST(runtime_cancel, a_runtime_waits_for_a_cancel_that_was_stopped)
{
    struct sigaction stops = {.sa_handler = hold}, before;
    hy_runtime *rt;
    int inside = 0;

    if (keeps_signals_back())
        return;
    HY_CHECK_EQ(sigaction(SIGUSR1, &stops, &before), 0);
    for (int i = 0; i < 20 && inside < 3; i++)
        inside += end_while_it_is_held();
    HY_CHECK_EQ(sigaction(SIGUSR1, &before, NULL), 0);
    HY_CHECK(inside > 0);
    rt = make(.workers = 1);
    check_slots(rt);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

HY_TEST(runtime_cancel, while_the_runtime_ends_it_leaves_nothing_behind)
{
    uint64_t start = hyi_os_now();
    pthread_t thread[CANCELLERS];

    atomic_store(&over, 0);
    atomic_store(&wrong, 0);
    for (int i = 0; i < CANCELLERS; i++)
        HY_CHECK_EQ(pthread_create(&thread[i], NULL, cancel_for_ever, NULL), 0);
    for (int i = 0; i < ROUNDS && hyi_os_now() - start < ROUNDS_NS; i++)
        end_among_cancels();
    atomic_store(&over, 1);
    for (int i = 0; i < CANCELLERS; i++)
        pthread_join(thread[i], NULL);
    HY_CHECK_EQ(atomic_load(&wrong), 0);
}
