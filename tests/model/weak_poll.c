/*
 * weak_poll.c - a runtime that is polled (runtime.c), and the ends of runtimes:
 * a poll that takes over what was sent to a worker that has no thread any more,
 * the descriptor, a worker that lies down.
 *
 *      WEAK_CASE   one                           another
 *      1           a poll takes over             spawns for worker 1
 *      2           the same; the fiber parks     cancels the fiber
 *      3           starts a fiber, which parks   spawns it; a third cancels it
 *      4           ends the runtime's event      posts, and signals it
 *      5           a poll returns: OUTSIDE       posts
 *      6           a poll waits                  posts
 *      7           a poll waits                  stops
 *      8           a worker lies down            stops
 *      9           a worker lies down            is the start that has begun
 *                                                it, and fails at the next one
 *      10          a worker lies down            another one, too: both end
 *      11          sees a stop                   sees the stop, too
 *      12          a run begins after a poll:    cancels the fiber
 *                  worker 1 starts a fiber
 */
#define WEAK_TABLE   2
#define WEAK_WORKERS (WEAK_CASE >= 3 && WEAK_CASE <= 7 ? 1 : 2)
#if WEAK_CASE == 3
#define WEAK_SLEEPLESS
#endif
#include "weak_worker.h"

#undef hy_arch_pause
#define hy_arch_pause() __VERIFIER_assume(false)
#define begin           runtime_begin /* worker.c and fiber.c have theirs */
#define flags_known     runtime_flags_known
#define read_options    runtime_read_options
#include "../../lib/runtime/runtime.c"

static struct hyi_fiber *f;
static _Atomic int signalled; /* the event */
static int given;             /* not atomic */

static void entry(void *unused)
{
    (void)unused;
}

#if WEAK_CASE == 4 || WEAK_CASE == 5
/* Where no worker runs: GenMC looks at each path through a loop, and would not
   come to the end of those through that of a worker. */
void hyi_os_event_signal(struct hyi_os_event *event)
{
    assert(event->fd == 1);
    atomic_store_explicit(&signalled, 1, memory_order_relaxed);
}
#endif

void hyi_os_event_clear(struct hyi_os_event *event)
{
    (void)event;
}

void hyi_os_event_alarm(struct hyi_os_event *event, hy_deadline at)
{
    (void)event;
    (void)at;
}

void hyi_os_event_close(struct hyi_os_event *event)
{
    event->fd = 0;
}

static void *one(void *unused);

/* There is one for the first worker alone. */
int hyi_os_thread_start(void *thread, void *(*start)(void *), void *arg)
{
    (void)start;
    if (arg != &weak_worker[0])
        return -EAGAIN;
    pthread_create(thread, NULL, one, NULL);
    return 0;
}

/* For a given worker. */
static void spawn(struct hyi_worker *to)
{
    given = 1;
    enliven(&weak_rt, f, to, entry, NULL, 0);
    look_for_stop(&weak_rt, f);
    hyi_worker_spawned(&weak_rt, NULL, f);
}

static struct hyi_fiber *next(struct hyi_worker *w)
{
    struct hyi_fiber *found;

    while ((found = pick(w)) == NULL)
        if (WEAK_CASE == 3)
            weak_idle(w);
        else
            wait_for_work(w, HY_FOREVER);
    return found;
}

/* The fiber starts, and parks until it is cancelled. */
static void run(struct hyi_worker *w)
{
    static struct hyi_stack stack;
    struct hyi_waiter waiter;

    settle(w, f, &stack, (const char *)&stack);
    atomic_store_explicit(&f->state, HY_FIBER_RUNNING, memory_order_relaxed);
    w->current = f;
    hyi_waiter_init(&waiter, HYI_WAIT_SLEEP);
    assert(hyi_park(&waiter, HY_FOREVER) == -ECANCELED);
}

/* A poll: the fiber is there, wherever it was posted. */
static void poll(struct hyi_worker *w)
{
    w->current = &w->base;
    if (WEAK_CASE <= 2)
        assert(adopt(&weak_rt) == 0);
    assert(next(w) == f && given == 1);
    given = 2;
    if (WEAK_CASE == 2 || WEAK_CASE == 3)
        run(w);
}

static void lie(struct hyi_worker *w)
{
    w->current = &w->base;
    while (atomic_load_explicit(&weak_rt.stop, memory_order_relaxed) != 2) {
        if (!hyi_worker_idle(w))
            break;
        hyi_worker_service(w);
    }
}

/* Sees a stop, and what whoever asked for it did before. */
static void see_stop(struct hyi_worker *w)
{
    while (atomic_load_explicit(&weak_rt.stop, memory_order_relaxed) == 0)
        ;
    hyi_worker_service(w);
    while (!hyi_fiber_is_cancelled(f))
        ;
    assert(given == 1);
}

static void *one(void *unused)
{
    struct hyi_worker *w = &weak_worker[0];

#if WEAK_CASE == 4
    weak_begin(0);
    close_event(&weak_rt);
#elif WEAK_CASE == 5
    weak_begin(0);
    tell_event(w, false);
#elif WEAK_CASE == 12
    weak_worker_begin(1);
    atomic_store(&weak_rt.active, 2);
    run(&weak_worker[1]);
#else
    weak_worker_begin(0);
#endif
#if WEAK_CASE <= 3 || WEAK_CASE == 6
    poll(w);
#elif WEAK_CASE == 7
    while (atomic_load_explicit(&weak_rt.stop, memory_order_relaxed) != 2) {
        wait_for_work(w, HY_FOREVER);
        hyi_worker_service(w);
    }
#elif WEAK_CASE == 11
    see_stop(w);
#elif WEAK_CASE >= 8 && WEAK_CASE <= 10
    lie(w);
#endif
    (void)w;
    weak_end();
    return unused;
}

static void *another(void *unused)
{
    weak_begin(1);
#if WEAK_CASE == 1
    spawn(&weak_worker[1]);
#elif WEAK_CASE == 2 || WEAK_CASE == 12
    assert(cancel(f, 1) == 0);
#elif WEAK_CASE >= 3 && WEAK_CASE <= 6
    spawn(&weak_worker[0]);
#elif WEAK_CASE == 7 || WEAK_CASE == 8
    assert(hy_runtime_stop(&weak_rt) == 0);
#elif WEAK_CASE == 9
    assert(start_threads(&weak_rt, 0) == -EAGAIN);
#elif WEAK_CASE == 10
    weak_worker_begin(1);
    lie(&weak_worker[1]);
#else
    weak_worker_begin(1);
    see_stop(&weak_worker[1]);
#endif
    weak_end();
    return unused;
}

/* As soon as there is somebody. */
static void *canceller(void *unused)
{
    weak_begin(2);
    while (
        !(atomic_load_explicit(&f->life, memory_order_acquire) & HYI_LIFE_LIVE))
        ;
    assert(cancel(f, 1) == 0);
    weak_end();
    return unused;
}

static void init(void)
{
    weak_runtime_init();
    weak_rt.generation_first = 1;
    f = &weak_fiber[0];
    atomic_init(&f->worker, NULL);
    atomic_init(&f->life, weak_life(1, 0) & ~(uint64_t)HYI_LIFE_LIVE);
    atomic_init(&f->state, 0);
    if (WEAK_CASE <= 7)
        atomic_init(&weak_rt.phase, HYI_PHASE_POLL);
    atomic_init(&weak_rt.has_event, WEAK_CASE == 4 || WEAK_CASE == 5);
    weak_rt.event.fd = 1;
    if (WEAK_CASE == 4)
        atomic_init(&weak_worker[0].sleep, HYI_OUTSIDE);
    for (unsigned i = 0; i < WEAK_WORKERS; i++)
        atomic_init(&weak_worker[i].spawned, 0);
    if (WEAK_CASE == 2) /* it stands in the inbox of worker 1 */
        spawn(&weak_worker[1]);
    if (WEAK_CASE == 11 || WEAK_CASE == 12) {
        atomic_init(&f->worker, &weak_worker[0]);
        atomic_init(&f->life, weak_life(1, 0));
        atomic_init(&weak_rt.used_visible, 1);
    }
    if (WEAK_CASE == 12) {
        atomic_init(&f->worker, &weak_worker[1]);
        atomic_init(&weak_rt.active, 1);
    }
}

int main(void)
{
    pthread_t t[3];

    init();
    if (WEAK_CASE != 9)
        pthread_create(&t[0], NULL, one, NULL);
    pthread_create(&t[1], NULL, another, NULL);
    if (WEAK_CASE == 3) {
        pthread_create(&t[2], NULL, canceller, NULL);
        pthread_join(t[2], NULL);
    }
    if (WEAK_CASE == 11) {
        given = 1;
        assert(hy_runtime_stop(&weak_rt) == 0);
    }
    if (WEAK_CASE != 9)
        pthread_join(t[0], NULL);
    pthread_join(t[1], NULL);
    if (WEAK_CASE == 5)
        assert(atomic_load(&signalled));
    return 0;
}
