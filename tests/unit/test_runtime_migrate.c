/*
 * test_runtime_migrate.c - fibers with HY_FIBER_MIGRATE: an idle worker
 * continues them, and what they had is still theirs.
 *
 *      worker 1   | roamer | busy, until the roamer was seen elsewhere ...
 *      worker 2                   | roamer ...
 */
#include <errno.h>
#include <fenv.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <hyperion/chan.h>
#include <hyperion/fiber.h>
#include <hyperion/local.h>
#include <hyperion/observe.h>
#include <hyperion/runtime.h>
#include <hyperion/sync.h>

#include "arch.h"
#include "core.h"
#include "runtime_test.h"

enum { PATIENCE_MS = 30000 };

static _Atomic unsigned moves; /* of the roamer, as it was seen */
static int home;               /* the worker that it is on, counted from 1 */
static unsigned yields;        /* of it */
static hy_sem sem, second;

/* Compilers keep what pthread_self() gave. */
/* Where each context is a thread, its worker is what changes. */
static long thread_now(void)
{
    return HY_ARCH_THREADS ? (long)hyi_worker_self->index : syscall(SYS_gettid);
}

/* As home. */
static __attribute__((noinline)) int worker_now(void)
{
    return (int)hyi_worker_self->index + 1;
}

static __attribute__((noinline)) void set_errno(int value)
{
    errno = value;
}

static __attribute__((noinline)) int get_errno(void)
{
    return errno;
}

static int spawn_first(hy_runtime *rt, void (*entry)(void *), void *arg,
                       unsigned flags)
{
    hy_fiber_options f = HY_FIBER_OPTIONS_INIT;

    sem = second = (hy_sem){0};
    atomic_store(&moves, 0);
    home = 1;
    f.flags = flags;
    f.worker = home;
    f.name = "first";
    f.stack_bytes = flags & HY_FIBER_HUGE_STACK ? 64 << 10 : 0;
    return hy_fiber_spawn(rt, entry, arg, &f, NULL);
}

static void run(void (*entry)(void *), void *arg, unsigned flags)
{
    hy_runtime *rt = make(.workers = 2);

    HY_CHECK_EQ(spawn_first(rt, entry, arg, flags), 0);
    run_to_the_end(rt);
}

/* On the roamer's worker, and there to stay. */
static hy_fiber beside(void (*entry)(void *), void *arg)
{
    return spawn_on(NULL, home, entry, arg);
}

static void spin_until_moved(unsigned before, uint64_t ms)
{
    hy_deadline until = hy_after(ms * MS);

    while (atomic_load(&moves) == before && hy_now() < until)
        ;
}

/* Until the other worker has nothing to look for any more, and sleeps. */
static void let_the_other_sleep(void)
{
    hy_deadline until = hy_after(20 * MS);

    while (hy_now() < until)
        ;
}

static void busy(void *before)
{
    spin_until_moved((unsigned)(uintptr_t)before, PATIENCE_MS);
}

/* Leaves its worker by a yield, and says whether it has. */
static bool goes_elsewhere(void)
{
    long before = thread_now();
    bool moved = false;

    home = worker_now(); /* a join or a wait may have moved it before */
    beside(busy, (void *)(uintptr_t)atomic_load(&moves));
    let_the_other_sleep();
    for (int i = 0; i < 1000 && !moved; i++) {
        hy_fiber_yield();
        yields++;
        moved = thread_now() != before;
    }
    home = worker_now();
    atomic_fetch_add(&moves, 1);
    return moved;
}

/* --- it moves ---------------------------------------------------------------
 */

static void yields_away(void *arg)
{
    (void)arg;
    set_errno(77);
    HY_CHECK(goes_elsewhere());
    HY_CHECK_EQ(get_errno(), 77);
}

HY_TEST(runtime_migrate, a_yield_beside_a_busy_fiber_moves_it)
{
    run(yields_away, NULL, HY_FIBER_MIGRATE);
    HY_CHECK_EQ(atomic_load(&moves), 1);
}

static void busy_for_a_while(void *arg)
{
    (void)arg;
    spin_until_moved(0, 20);
}

static void stays(void *arg)
{
    long before = thread_now();

    (void)arg;
    beside(busy_for_a_while, NULL);
    hy_fiber_yield();
    HY_CHECK_EQ(thread_now(), before);
}

HY_TEST(runtime_migrate, others_stay_where_they_are)
{
    run(stays, NULL, 0);
}

static void posts_and_is_busy(void *arg)
{
    (void)arg;
    let_the_other_sleep();
    HY_CHECK_EQ(hy_sem_post(&sem, 1), 0);
    spin_until_moved(0, PATIENCE_MS);
}

static void is_woken_away(void *arg)
{
    long before = thread_now();

    (void)arg;
    beside(posts_and_is_busy, NULL);
    HY_CHECK_EQ(hy_sem_wait(&sem, HY_FOREVER), 0);
    HY_CHECK(thread_now() != before);
    atomic_fetch_add(&moves, 1);
}

HY_TEST(runtime_migrate, a_wake_by_a_fiber_that_goes_on_moves_it)
{
    run(is_woken_away, NULL, HY_FIBER_MIGRATE);
}

/* --- what it takes along ----------------------------------------------------
 */

/* The first wait's deadline passes during the second, in whose worker's wheel
   it never was. */
static void outlives_a_deadline(void *arg)
{
    hy_deadline deadline = hy_after(SECOND), later = deadline + 100 * MS;
    hy_fiber other;

    (void)arg;
    other = beside(posts_and_is_busy, NULL);
    HY_CHECK_EQ(hy_sem_wait(&sem, deadline), 0);
    atomic_fetch_add(&moves, 1);
    HY_CHECK_EQ(hy_fiber_join(other, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_sem_wait(&second, later), -ETIMEDOUT);
    HY_CHECK(hy_now() >= later);
}

HY_TEST(runtime_migrate, a_deadline_is_left_behind_with_its_wait)
{
    run(outlives_a_deadline, NULL, HY_FIBER_MIGRATE);
}

static hy_mutex mutex;
static hy_fls_key key;
static _Atomic int destroyed;

static void destroy_value(void *value)
{
    HY_CHECK(value == (void *)&key);
    HY_CHECK(goes_elsewhere());
    atomic_fetch_add(&destroyed, 1);
}

static void keeps_what_it_has(void *arg)
{
    (void)arg;
    HY_CHECK_EQ(hy_mutex_lock(&mutex, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_fls_set(key, &key), 0);
    HY_CHECK(goes_elsewhere());
    HY_CHECK(hy_fls_get(key) == (void *)&key);
    HY_CHECK_EQ(hy_mutex_unlock(&mutex), 0);
}

HY_TEST(runtime_migrate, mutexes_and_local_values_stay_its_own)
{
    mutex = (hy_mutex){0};
    atomic_store(&destroyed, 0);
    HY_CHECK_EQ(hy_fls_create(&key, destroy_value), 0);
    run(keeps_what_it_has, NULL, HY_FIBER_MIGRATE);
    HY_CHECK_EQ(atomic_load(&destroyed), 1);
    HY_CHECK_EQ(hy_fls_delete(key), 0);
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

/* Compilers keep what it gave, when they see its text. */
static struct exceptions *exceptions_now(void)
{
    static void *(*volatile get)(void) = __cxa_get_globals;

    return (struct exceptions *)get();
}

static _Atomic unsigned exceptions_seen;

static void sees_no_exceptions(void *arg)
{
    const struct exceptions *e = exceptions_now();

    (void)arg;
    atomic_fetch_add(&exceptions_seen, e->caught != NULL || e->uncaught != 0);
}

static void catches(void *arg)
{
    struct exceptions *e = exceptions_now();

    (void)arg;
    *e = (struct exceptions){&sem, 3};
    HY_CHECK(goes_elsewhere());
    e = exceptions_now();
    HY_CHECK(e->caught == (void *)&sem);
    HY_CHECK_EQ(e->uncaught, 3);
    for (home = 1; home <= 2; home++)
        HY_CHECK_EQ(hy_fiber_join(beside(sees_no_exceptions, NULL), HY_FOREVER),
                    0);
    e = exceptions_now();
    HY_CHECK_EQ(e->uncaught, 3);
    *e = (struct exceptions){NULL, 0};
    home = 1;
}

HY_TEST(runtime_migrate, exceptions_stay_its_own)
{
    atomic_store(&exceptions_seen, 0);
    run(catches, NULL, HY_FIBER_MIGRATE);
    HY_CHECK_EQ(atomic_load(&exceptions_seen), 0);
}

static void cancels(void *roamer)
{
    spin_until_moved(0, PATIENCE_MS);
    hy_fiber_sleep(hy_after(MS));
    HY_CHECK_EQ(hy_fiber_cancel(*(hy_fiber *)roamer), 0);
}

static void is_cancelled_there(void *arg)
{
    hy_fiber self = hy_fiber_self();

    (void)arg;
    beside(cancels, &self);
    HY_CHECK(goes_elsewhere());
    HY_CHECK_EQ(hy_sem_wait(&sem, HY_FOREVER), -ECANCELED);
}

HY_TEST(runtime_migrate, a_cancel_finds_it)
{
    run(is_cancelled_there, NULL, HY_FIBER_MIGRATE);
}

/* --- with other flags -------------------------------------------------------
 */

static void looks_at_its_rounding(void *seen)
{
    *(int *)seen = fegetround();
}

/* Neither its own is left behind, nor what others of the new worker have is
   taken over. */
static void rounds_up_everywhere(void *arg)
{
    int others = -1;

    (void)arg;
    HY_CHECK_EQ(fegetround(), FE_TONEAREST);
    fesetround(FE_UPWARD);
    for (int i = 0; i < 4; i++) {
        HY_CHECK(goes_elsewhere());
        HY_CHECK_EQ(fegetround(), FE_UPWARD);
        HY_CHECK_EQ(
            hy_fiber_join(beside(looks_at_its_rounding, &others), HY_FOREVER),
            0);
        HY_CHECK_EQ(others, FE_TONEAREST);
    }
}

HY_TEST(runtime_migrate, with_a_floating_point_environment)
{
    run(rounds_up_everywhere, NULL, HY_FIBER_MIGRATE | HY_FIBER_FP_ENV);
    HY_CHECK_EQ(fegetround(), FE_TONEAREST);
}

/* But for what a spawn, a join and a dynamic linker take. */
static void fills_its_stack(void *arg)
{
    char *low = atomic_load(&hyi_fiber_running()->stack)->low;
    size_t bytes =
        (size_t)((char *)__builtin_frame_address(0) - low) - (24 << 10);
    volatile char *p = __builtin_alloca(bytes);

    (void)arg;
    for (size_t i = 0; i < bytes; i++)
        p[i] = (char)(i * 7);
    for (int round = 0; round < 4; round++) {
        HY_CHECK(goes_elsewhere());
        for (size_t i = 0; i < bytes; i++)
            HY_CHECK(p[i] == (char)(i * 7));
    }
}

/* Its stack comes from one worker's pool, and goes to another's. */
HY_TEST(runtime_migrate, with_a_dense_stack)
{
    hy_runtime *rt = make(.workers = 2);

    for (int i = 0; i < 3; i++) {
        int r = spawn_first(rt, fills_its_stack, NULL,
                            HY_FIBER_MIGRATE | HY_FIBER_HUGE_STACK);

        if (r == -ENOTSUP)
            break; /* no huge pages */
        HY_CHECK_EQ(r, 0);
        HY_CHECK_EQ(hy_runtime_run(rt), 0);
        HY_CHECK_EQ(atomic_load(&moves), 4);
    }
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

/* --- measured ---------------------------------------------------------------
 */

static struct {
    uint64_t spawned, seen;         /* the times before */
    uint64_t spawned_end, seen_end; /* and after */
    hy_fiber_info info;
    unsigned waits;
} life;

static int keep_info(const hy_fiber_info *info, void *arg)
{
    if (strcmp(info->name, "first") != 0)
        return 0;
    *(hy_fiber_info *)arg = *info;
    return 1;
}

static void lives_on_two_workers(void *arg)
{
    uint64_t end = hy_now() + 3 * MS;

    while (hy_now() < end)
        ;
    for (int i = 0; i < 4; i++)
        HY_CHECK(goes_elsewhere());
    beside(posts_and_is_busy, NULL);
    HY_CHECK_EQ(hy_sem_wait(&sem, HY_FOREVER), 0);
    atomic_fetch_add(&moves, 1);
    life.seen = hy_now();
    hy_fiber_yield();
    yields++;
    HY_CHECK_EQ(hy_fiber_each(arg, keep_info, &life.info), 1);
    life.seen_end = hy_now();
}

static hy_histogram histogram_of(const hy_runtime *rt, hy_measure which)
{
    hy_histogram h = HY_HISTOGRAM_INIT;

    HY_CHECK_EQ(hy_runtime_histogram_get(rt, which, &h), 0);
    return h;
}

/* Each turn, delay and wait once, whichever worker saw it begin; and together
   they are the fiber's life. */
static void measure(unsigned flags)
{
    hy_runtime *rt = make(.workers = 2, .flags = HY_RUNTIME_MEASURE);
    enum { BUSY = 5 };
    uint64_t sum;
    int r;

    yields = 0;
    life.spawned = hy_now();
    r = spawn_first(rt, lives_on_two_workers, rt, HY_FIBER_MIGRATE | flags);
    life.spawned_end = hy_now();
    if (r == 0) {
        HY_CHECK_EQ(hy_runtime_run(rt), 0);
        HY_CHECK_EQ(histogram_of(rt, HY_MEASURE_WAIT).count, 1);
        HY_CHECK_EQ(histogram_of(rt, HY_MEASURE_RUN).count, yields + 2 + BUSY);
        HY_CHECK_EQ(histogram_of(rt, HY_MEASURE_DELAY).count,
                    yields + 2 + BUSY);
        HY_CHECK_EQ(histogram_of(rt, HY_MEASURE_STACK).count, 1 + BUSY);
        sum = life.info.run_ns + life.info.wait_ns + life.info.delay_ns;
        HY_CHECK(life.info.run_ns >= 3 * MS * 9 / 10);
        /* Clocks of two processors, and ticks that are counted in ns. */
        HY_CHECK(sum + sum / 50 >= life.seen - life.spawned_end);
        HY_CHECK(sum <= (life.seen_end - life.spawned) * 51 / 50);
    } else {
        HY_CHECK_EQ(r, -ENOTSUP);
    }
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

HY_TEST(runtime_migrate, measured)
{
    measure(0);
}

HY_TEST(runtime_migrate, measured_with_all_flags)
{
    measure(HY_FIBER_FP_ENV | HY_FIBER_HUGE_STACK);
}

/* --- woken while it parks ---------------------------------------------------
 */

enum { WAKES = HY_TEST_SANITIZER ? 500 : 5000, SLEEPS = 6 * WAKES };

static _Atomic unsigned about_to_wait;

static void posts_at_once(void *arg)
{
    (void)arg;
    for (unsigned i = 1; i <= WAKES; i++) {
        while (atomic_load(&about_to_wait) != i)
            hy_fiber_yield();
        for (volatile unsigned k = 0; k < i * 7 % 64; k++)
            ;
        HY_CHECK_EQ(hy_sem_post(&sem, 1), 0);
    }
}

static void waits_again_and_again(void *arg)
{
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;

    (void)arg;
    o.worker = 2;
    HY_CHECK_EQ(hy_fiber_spawn(NULL, posts_at_once, NULL, &o, NULL), 0);
    for (unsigned i = 1; i <= WAKES; i++) {
        atomic_store(&about_to_wait, i);
        HY_CHECK_EQ(hy_sem_wait(&sem, hy_after((uint64_t)10000 * MS)), 0);
    }
}

HY_TEST(runtime_migrate, a_wake_that_meets_the_park)
{
    atomic_store(&about_to_wait, 0);
    run(waits_again_and_again, NULL, HY_FIBER_MIGRATE);
}

/* Now and then the worker looks at its timers right after the wait began. */
static void yields_until_over(void *arg)
{
    while (!atomic_load((_Atomic bool *)arg))
        hy_fiber_yield();
}

static void sleeps_for_an_instant(void *arg)
{
    _Atomic bool over = false;
    hy_fiber others[2];

    (void)arg;
    for (home = 1; home <= 2; home++)
        others[home - 1] = beside(yields_until_over, &over);
    for (unsigned i = 0; i < SLEEPS; i++)
        HY_CHECK_EQ(hy_fiber_sleep(hy_after(i % 128)), 0);
    atomic_store(&over, true);
    for (int i = 0; i < 2; i++)
        HY_CHECK_EQ(hy_fiber_join(others[i], HY_FOREVER), 0);
}

HY_TEST(runtime_migrate, a_deadline_that_meets_the_park)
{
    run(sleeps_for_an_instant, NULL, HY_FIBER_MIGRATE);
}

/* --- many of them -----------------------------------------------------------
 */

enum { ROAMERS = 12, ROUNDS = 200 * (HY_TEST_SANITIZER ? 1 : 5) };

static struct {
    hy_mutex mutex;
    hy_cond cond;
    hy_chan *chan;
    long guarded, signals; /* under mutex */
    _Atomic long sent, received, cancelled, ended;
    _Atomic bool over;
} storm;

static void leaf(void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1);
    hy_fiber_yield();
}

static void forks(void)
{
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;
    _Atomic int ran = 0;
    hy_fiber f[3];

    for (unsigned i = 0; i < 3; i++) {
        o.flags = i == 0 ? 0 : HY_FIBER_MIGRATE;
        HY_CHECK_EQ(hy_fiber_spawn(NULL, leaf, &ran, &o, &f[i]), 0);
    }
    for (unsigned i = 3; i-- > 0;)
        while (hy_fiber_join(f[i], HY_FOREVER) == -ECANCELED)
            hy_fiber_shield(1);
    HY_CHECK_EQ(ran, 3);
}

static void signals_or_waits(unsigned round)
{
    while (hy_mutex_lock(&storm.mutex, HY_FOREVER) != 0)
        hy_fiber_shield(1);
    storm.guarded++;
    if (round % 2) {
        storm.signals++;
        hy_cond_signal(&storm.cond);
    } else {
        hy_cond_wait(&storm.cond, &storm.mutex, hy_after(MS / 20));
    }
    HY_CHECK_EQ(hy_mutex_unlock(&storm.mutex), 0);
}

static void roams(void *arg)
{
    unsigned self = (unsigned)(uintptr_t)arg;
    uint64_t item = self;

    for (unsigned i = 0; i < ROUNDS; i++) {
        switch ((i + self) % 5) {
        case 0:
            hy_fiber_yield();
            break;
        case 1:
            hy_fiber_sleep(hy_after(MS / 50));
            break;
        case 2:
            signals_or_waits(i / 5 + self);
            break;
        case 3:
            if (self % 2 ? hy_chan_send(storm.chan, &item, hy_after(MS)) == 0
                         : hy_chan_recv(storm.chan, &item, hy_after(MS)) == 0)
                atomic_fetch_add(self % 2 ? &storm.sent : &storm.received, 1);
            break;
        default:
            forks();
        }
        if (hy_fiber_check() != 0) {
            atomic_fetch_add(&storm.cancelled, 1);
            hy_fiber_shield(1);
        }
    }
    atomic_fetch_add(&storm.ended, 1);
}

static void starts_the_storm(void *arg)
{
    hy_fiber f[ROAMERS];
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;

    (void)arg;
    for (uintptr_t i = 0; i < ROAMERS; i++) {
        o.flags = i % 4 == 3 ? 0 : HY_FIBER_MIGRATE;
        HY_CHECK_EQ(hy_fiber_spawn(NULL, roams, (void *)i, &o, &f[i]), 0);
    }
    for (unsigned i = 0; i < ROAMERS; i += 3) {
        hy_fiber_sleep(hy_after(MS));
        hy_fiber_cancel(f[i]);
    }
    for (unsigned i = 0; i < ROAMERS; i++)
        HY_CHECK_EQ(hy_fiber_join(f[i], HY_FOREVER), 0);
}

HY_TEST(runtime_migrate, a_storm_of_them_loses_nothing)
{
    hy_chan_options c = HY_CHAN_OPTIONS_INIT;
    uint64_t item;

    memset((void *)&storm, 0, sizeof(storm));
    c.capacity = 2;
    c.item_bytes = sizeof(uint64_t);
    HY_CHECK_EQ(hy_chan_create(&storm.chan, &c), 0);
    run(starts_the_storm, NULL, 0);
    while (hy_chan_recv(storm.chan, &item, HY_NOW) == 0)
        atomic_fetch_add(&storm.received, 1);
    HY_CHECK_EQ(atomic_load(&storm.ended), ROAMERS);
    HY_CHECK_EQ(atomic_load(&storm.sent), atomic_load(&storm.received));
    HY_CHECK_EQ(hy_chan_destroy(storm.chan), 0);
}
