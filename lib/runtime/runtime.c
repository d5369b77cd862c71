/*
 * runtime.c - a runtime's life: made, driven in one of three ways, destroyed.
 *
 *      NONE --run----> RUN ----> NONE          the caller is worker 0
 *      NONE --start--> START --> ENDED --> NONE  after a stop; threads joined
 *      NONE --poll---> POLL ---> NONE          for each call
 *
 *      over: 0 while it goes on; 1 or -EDEADLK from the last idle worker
 *
 * Invariant: whoever moves phase away from NONE or ENDED owns the workers until
 * it moves it back.
 *
 * Upstream: users. Downstream: worker.c, idle.c, table.c, stack.c.
 */
#include "core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch.h"
#include "fault.h"
#include "observer.h"
#include "options.h"
#include "order.h"
#include "process.h"
#include "turn.h"

enum {
    STACK_BYTES_DEFAULT = 64 << 10,
    STACK_KEEP_DEFAULT = 64 << 20,
    STATS_BYTES_MIN = 16
};
enum { EVENTS_DEFAULT = 4096, EVENTS_MOST = 1 << 24 };

static const unsigned flags_known = HY_RUNTIME_PIN | HY_RUNTIME_SPIN |
                                    HY_RUNTIME_CLOSED | HY_RUNTIME_MEASURE |
                                    HY_RUNTIME_TRACE;

/* --- init -------------------------------------------------------------------
 */

static int read_options(const hy_runtime_options *src, hy_runtime_options *o)
{
    int r = hyi_options_read(o, sizeof(*o), src);

    if (r != 0)
        return r;
    if (o->seed != 0 && o->workers > 1)
        return -EINVAL;
    if (o->seed != 0) {
        o->workers = 1;
        o->flags |= HY_RUNTIME_CLOSED;
    }
    if (o->workers == 0)
        o->workers = hyi_os_cpu_count() < HYI_WORKERS_MOST ? hyi_os_cpu_count()
                                                           : HYI_WORKERS_MOST;
    if (o->stack_bytes == 0)
        o->stack_bytes = STACK_BYTES_DEFAULT;
    if (o->stack_keep_bytes == 0)
        o->stack_keep_bytes = STACK_KEEP_DEFAULT;
    if (o->fibers_max == 0)
        o->fibers_max = HYI_FIBERS_MOST;
    if (o->trace_events == 0)
        o->trace_events = EVENTS_DEFAULT;
    if ((o->flags & ~flags_known) != 0 || o->workers > HYI_WORKERS_MOST ||
        o->fibers_max > HYI_FIBERS_MOST || o->trace_events > EVENTS_MOST ||
        hyi_stack_class(o->stack_bytes, 0) < 0)
        return -EINVAL;
    return 0;
}

/*
 * A child of fork has none of the threads that drive its parent's runtimes, and
 * their locks may be held for ever: every call on them is refused before it
 * takes one. The thread that forked goes on in its fiber, as a plain thread.
 */
static void fork_child(void)
{
    for (unsigned i = 0; i < HYI_RUNTIMES_MOST; i++) {
        hy_runtime *rt =
            atomic_load_explicit(&hyi_process.runtime[i], memory_order_relaxed);

        if (rt == NULL || !rt->in_use)
            continue;
        rt->stale = true;
        for (unsigned k = 0; k < rt->worker_count; k++) {
            rt->worker[k].special = true;
            rt->worker[k].plain = false;
        }
    }
    hyi_worker_forget();
}

static const struct hyi_fork_hooks fork_hooks = {.child = fork_child};

/* A runtime that was destroyed, or a new one. */
static int take_slot(hy_runtime **out)
{
    hy_runtime *rt = NULL;
    int r = -EAGAIN;

    hyi_process_lock(HYI_LOCK_RUNTIME);
    hyi_process.lock[HYI_LOCK_RUNTIME].hooks = &fork_hooks;
    for (unsigned i = 0; i < HYI_RUNTIMES_MOST; i++) {
        rt =
            atomic_load_explicit(&hyi_process.runtime[i], memory_order_relaxed);
        if (rt != NULL &&
            (rt->in_use || rt->generation_first >= HYI_GENERATION_LAST / 2))
            continue;
        r = 0;
        if (rt == NULL) {
            rt = aligned_alloc(HYI_LINE_BYTES, sizeof(*rt));
            r = rt != NULL ? 0 : -ENOMEM;
            if (rt == NULL)
                break;
            memset(rt, 0, sizeof(*rt));
            rt->slot = i;
            rt->debugger = hyi_debugger_words;
            rt->generation_first = 1;
            /* Release: pairs with the acquire in hyi_fiber_find. */
            atomic_store_explicit(&hyi_process.runtime[i], rt,
                                  memory_order_release);
        }
        rt->in_use = true;
        *out = rt;
        break;
    }
    hyi_process_unlock(HYI_LOCK_RUNTIME);
    return r;
}

static void give_slot(hy_runtime *rt)
{
    hyi_process_lock(HYI_LOCK_RUNTIME);
    rt->in_use = false;
    hyi_process_unlock(HYI_LOCK_RUNTIME);
}

/* Workers are kept from one runtime of this slot to the next. When more are
   needed the old array stays where it is, for wakers that are late. */
static int allocate_workers(hy_runtime *rt, unsigned count)
{
    struct hyi_worker *w;

    if (count <= rt->worker_room)
        return 0;
    w = aligned_alloc(HYI_LINE_BYTES, count * sizeof(*w));
    if (w == NULL)
        return -ENOMEM;
    memset(w, 0, count * sizeof(*w));
    for (unsigned i = 0; i < count; i++) {
        w[i].rt = rt;
        w[i].index = i;
    }
    w[0].older = rt->worker;
    rt->worker = w;
    rt->worker_room = count;
    return 0;
}

static int allocate(hy_runtime *rt, unsigned workers)
{
    int r = allocate_workers(rt, workers);

    if (r != 0)
        return r;
    rt->stacks = calloc(1, sizeof(*rt->stacks));
    return rt->stacks != NULL ? 0 : -ENOMEM;
}

/* What allocate, and this, have taken is given back on failure. */
static int observe(hy_runtime *rt, size_t events)
{
    int r = 0;

    if (!(rt->flags & (HY_RUNTIME_MEASURE | HY_RUNTIME_TRACE)))
        return 0;
    rt->fiber_flags = HYI_FIBER_EXTRA;
    for (unsigned i = 0; i < rt->worker_count && r == 0; i++)
        r = hyi_observer_init(&rt->worker[i], events);
    if (r == 0)
        return 0;
    for (unsigned i = 0; i < rt->worker_count; i++)
        hyi_observer_deinit(&rt->worker[i]);
    free(rt->stacks);
    rt->stacks = NULL;
    rt->worker_count = 0;
    rt->active = 0;
    return r;
}

/* In the fault handler: only what is async-signal-safe. */
static void report_overflow(void *owner)
{
    struct hyi_fiber *f = owner;
    struct hyi_worker *w =
        atomic_load_explicit(&f->worker, memory_order_relaxed);
    char message[96] = "stack overflow in fiber \"";
    size_t at = strlen(message);

    for (const char *c = f->name; c != NULL && *c != '\0'; c++)
        message[at++] = *c;
    message[at++] = '"';
    message[at] = '\0';
    hyi_report(w->rt, HY_REPORT_FATAL, message);
}

int hy_runtime_init(hy_runtime **out, const hy_runtime_options *options)
{
    hy_runtime_options o;
    hy_runtime *rt = NULL;
    int r, saved = errno;

    if (out == NULL)
        return -EINVAL;
    r = read_options(options, &o);
    if (r == 0 && hy_arch_shadow_stack())
        r = -ENOTSUP;
    if (r == 0)
        r = hyi_process_watch_fork();
    if (r == 0)
        r = take_slot(&rt);
    errno = saved;
    if (r != 0)
        return r;
    r = allocate(rt, o.workers);
    errno = saved;
    if (r != 0) {
        give_slot(rt);
        return r;
    }
    rt->worker_count = o.workers;
    rt->active = o.workers;
    rt->flags = o.flags;
    rt->stack_bytes = o.stack_bytes;
    rt->class = (unsigned)hyi_stack_class(o.stack_bytes, 0);
    rt->fibers_max = o.fibers_max;
    rt->slots_kept = hyi_slots_kept(o.fibers_max, o.workers);
    rt->seed = o.seed;
    rt->report = o.report;
    hyi_name_copy(rt->name, sizeof(rt->name), o.name);
    rt->stacks->workers = o.workers;
    rt->stacks->keep_bytes = o.stack_keep_bytes;
    rt->stacks->overflowed = report_overflow;
    rt->need_fence = hyi_os_barrier() != 0;
    for (unsigned i = 0; i < o.workers; i++)
        hyi_worker_init(&rt->worker[i], rt, i);
    rt->fiber_flags = 0;
    r = observe(rt, o.trace_events);
    errno = saved;
    if (r != 0) {
        give_slot(rt);
        return r;
    }
    rt->spawns_slowly = rt->fiber_flags != 0 || rt->need_fence;
    *out = rt;
    return 0;
}

/* --- threads ----------------------------------------------------------------
 */

static void work(struct hyi_worker *w)
{
    struct hyi_entry before;

    if (hyi_fault_thread_prepare() != 0)
        hyi_report(w->rt, HY_REPORT_WARNING,
                   "no signal stack: a stack overflow will not be reported");
    hyi_worker_enter(w, &before);
    do
        hyi_worker_run(w);
    while (hyi_worker_idle(w));
    hyi_worker_leave(w, &before);
}

/* So many threads of hy_runtime_start are no more: the last one tells those who
   wait, and leaves the phase behind. */
static void threads_end(hy_runtime *rt, unsigned count, int phase)
{
    struct hyi_waiter *waiter = NULL;

    hyi_lock(&rt->wait_lock);
    rt->threads_left -= count;
    if (rt->threads_left == 0) {
        if (phase == HYI_PHASE_ENDED) /* from here on it is for the next run */
            atomic_store(&rt->stop, 0);
        atomic_store(&rt->phase, phase);
        waiter = rt->waiters;
        rt->waiters = NULL;
    }
    hyi_unlock(&rt->wait_lock);
    while (waiter != NULL) {
        struct hyi_waiter *next = waiter->next;

        hyi_wake(waiter);
        waiter = next;
    }
}

static void *thread_main(void *arg)
{
    struct hyi_worker *w = arg;
    hy_runtime *rt = w->rt;

    if ((rt->flags & HY_RUNTIME_PIN) && hyi_os_cpu_pin(w->index) != 0)
        hyi_report(rt, HY_REPORT_WARNING, "a worker could not be pinned");
    work(w);
    if (!rt->stale && atomic_load(&rt->phase) == HYI_PHASE_START)
        threads_end(rt, 1, HYI_PHASE_ENDED);
    return NULL;
}

static void join_threads(hy_runtime *rt)
{
    for (unsigned i = 0; i < rt->worker_count; i++) {
        if (rt->worker[i].thread_runs)
            pthread_join(rt->worker[i].thread, NULL);
        rt->worker[i].thread_runs = false;
    }
}

static void kick_all(hy_runtime *rt)
{
    for (unsigned i = 0; i < rt->worker_count; i++)
        hyi_worker_kick(&rt->worker[i]);
}

/* Threads for the workers from first on; none is left when one is refused. */
static int start_threads(hy_runtime *rt, unsigned first)
{
    int r = 0;

    for (unsigned i = first; i < rt->worker_count && r == 0; i++) {
        r = hyi_os_thread_start(&rt->worker[i].thread, thread_main,
                                &rt->worker[i]);
        rt->worker[i].thread_runs = r == 0;
    }
    if (r == 0)
        return 0;
    atomic_store(&rt->over, 1);
    kick_all(rt);
    join_threads(rt);
    return r;
}

/* --- run, start, wait, stop -------------------------------------------------
 */

/* Takes the workers for one way of driving them. */
static int begin(hy_runtime *rt, int phase)
{
    int found = HYI_PHASE_NONE;

    if (rt->stale)
        return -ESTALE;
    if (!atomic_compare_exchange_strong(&rt->phase, &found, phase) &&
        (found != HYI_PHASE_ENDED ||
         !atomic_compare_exchange_strong(&rt->phase, &found, phase)))
        return -EBUSY;
    if (found == HYI_PHASE_ENDED)
        join_threads(rt);
    atomic_store(&rt->over, 0);
    return 0;
}

int hy_runtime_run(hy_runtime *rt)
{
    int r, over;

    if (rt == NULL)
        return -EINVAL;
    r = begin(rt, HYI_PHASE_RUN);
    if (r != 0)
        return r;
    rt->active = rt->worker_count;
    r = start_threads(rt, 1);
    if (r == 0) {
        work(&rt->worker[0]);
        if (rt->stale)
            return -ESTALE;
        join_threads(rt);
        over = atomic_load(&rt->over);
        if (over < 0)
            hyi_report_deadlock(rt);
        r = over < 0 ? over : atomic_load(&rt->stop) != 0 ? -ECANCELED : 0;
        atomic_store(&rt->stop, 0);
    }
    atomic_store(&rt->phase, HYI_PHASE_NONE);
    return r;
}

int hy_runtime_start(hy_runtime *rt)
{
    int r;

    if (rt == NULL)
        return -EINVAL;
    if (rt->seed != 0)
        return -ENOTSUP;
    r = begin(rt, HYI_PHASE_START);
    if (r != 0)
        return r;
    rt->active = rt->worker_count;
    /* One more, so that the threads of a start that fails end silently. */
    rt->threads_left = rt->worker_count + 1;
    r = start_threads(rt, 0);
    if (r != 0)
        threads_end(rt, rt->threads_left, HYI_PHASE_NONE);
    else
        threads_end(rt, 1, HYI_PHASE_ENDED);
    return r;
}

int hy_runtime_stop(hy_runtime *rt)
{
    int none = 0;

    if (rt == NULL)
        return -EINVAL;
    if (rt->stale)
        return -ESTALE;
    /* Partners: the services of the workers, and has_post in idle.c. */
    if (atomic_compare_exchange_strong(&rt->stop, &none, 1))
        kick_all(rt);
    return 0;
}

static bool leave_waiters(hy_runtime *rt, struct hyi_waiter *waiter)
{
    struct hyi_waiter **link = &rt->waiters;

    while (*link != NULL && *link != waiter)
        link = &(*link)->next;
    if (*link == NULL)
        return false;
    *link = waiter->next;
    return true;
}

int hy_runtime_wait(hy_runtime *rt, hy_deadline until)
{
    struct hyi_waiter waiter HYI_ONE_LINE;
    bool claimed;
    int r;

    if (rt == NULL)
        return -EINVAL;
    if (rt->stale)
        return -ESTALE;
    if (hyi_fiber_running() != NULL && hyi_worker_self->rt == rt)
        return -EDEADLK;
    hyi_waiter_init(&waiter, HYI_WAIT_RUNTIME);
    hyi_lock(&rt->wait_lock);
    if (atomic_load(&rt->phase) != HYI_PHASE_START) {
        hyi_unlock(&rt->wait_lock);
        return 0;
    }
    waiter.next = rt->waiters;
    rt->waiters = &waiter;
    hyi_unlock(&rt->wait_lock);
    r = hyi_park(&waiter, until);
    if (r == 0)
        return 0;
    hyi_lock(&rt->wait_lock);
    claimed = !leave_waiters(rt, &waiter);
    hyi_unlock(&rt->wait_lock);
    if (claimed) {
        hyi_park_claimed(&waiter);
        r = 0;
    }
    return r;
}

/* --- poll -------------------------------------------------------------------
 */

/* A fiber that another worker has started stays with it. */
static bool has_started_elsewhere(hy_runtime *rt)
{
    size_t used = atomic_load_explicit(&rt->used_visible, memory_order_acquire);

    for (size_t i = 0; i < used; i++) {
        struct hyi_fiber *f = hyi_fiber_at(rt, i);
        uint64_t life = atomic_load_explicit(&f->life, memory_order_acquire);

        if ((life & HYI_LIFE_LIVE) != 0 &&
            atomic_load_explicit(&f->stack, memory_order_relaxed) != NULL &&
            atomic_load_explicit(&f->worker, memory_order_relaxed) !=
                &rt->worker[0])
            return true;
    }
    return false;
}

/* From now on worker 0 is the only one: it gets what was sent to the others.
   Partner: the look at active in hyi_post. */
static int adopt(hy_runtime *rt)
{
    if (rt->active == 1)
        return 0;
    if (has_started_elsewhere(rt))
        return -EBUSY;
    atomic_store(&rt->active, 1);
    for (unsigned i = 1; i < rt->worker_count; i++)
        hyi_worker_redirect(&rt->worker[i]);
    return 0;
}

static void wait_for_work(struct hyi_worker *w, hy_deadline until)
{
    hy_deadline timer = hyi_wheel_next(&w->wheel);

    until = until < timer ? until : timer;
    hyi_store_then_look(&w->sleep, HYI_ASLEEP);
    /* Partner: hyi_post, then hyi_worker_kick. */
    if (atomic_load_explicit(&w->inbox, memory_order_seq_cst) == 0 &&
        atomic_load(&w->rt->stop) != 1) {
        hyi_worker_trim(w, until);
        hyi_os_futex_wait(&w->sleep, HYI_ASLEEP, until, false);
    }
    atomic_store_explicit(&w->sleep, HYI_AWAKE, memory_order_seq_cst);
    w->tick = 1;
}

static size_t ready_count(const struct hyi_worker *w)
{
    int64_t fresh = hyi_deque_count(&w->deque);
    int64_t roaming = hyi_deque_count(&w->roaming);

    return (size_t)hyi_ready_count(&w->ready) +
           (fresh > 0 ? (size_t)fresh : 0) +
           (roaming > 0 ? (size_t)roaming : 0) + (w->fixed_first != NULL) +
           (w->ready.spill_first != NULL);
}

/* One call's worth of work: 1 more at once, 0 nothing now, -EDEADLK. */
static int poll_once(struct hyi_worker *w, hy_deadline until)
{
    hy_runtime *rt = w->rt;

    for (;;) {
        hyi_worker_service(w);
        w->picks_left = until == HY_NOW ? (unsigned)ready_count(w) + 1 : 0;
        w->poll_until = until;
        w->bound_reached = false;
        w->special = w->bounded = true;
        hyi_worker_run(w);
        w->bounded = false;
        hyi_worker_look(w);
        if (rt->stale)
            return -ESTALE;
        if (ready_count(w) != 0)
            return 1;
        if (hyi_runtime_live(rt) == 0)
            return 0;
        if (rt->seed != 0 && hyi_wheel_count(&w->wheel) != 0) {
            hyi_worker_idle(w);
            if (until == HY_NOW)
                return 1; /* the time has come for somebody */
            continue;
        }
        if ((rt->flags & HY_RUNTIME_CLOSED) &&
            hyi_wheel_count(&w->wheel) == 0 && atomic_load(&rt->outside) == 0 &&
            atomic_load(&w->inbox) == 0 && atomic_load(&rt->stop) != 1)
            return -EDEADLK;
        if (until == HY_NOW || hyi_worker_now(w) >= until)
            return atomic_load(&rt->stop) == 1;
        wait_for_work(w, until);
    }
}

/* The descriptor tells what this call leaves behind. */
static void tell_event(struct hyi_worker *w, bool more)
{
    hy_runtime *rt = w->rt;

    if (!atomic_load(&rt->has_event))
        return;
    hyi_os_event_clear(&rt->event);
    hyi_os_event_alarm(&rt->event, hyi_wheel_next(&w->wheel));
    hyi_store_then_look(&w->sleep, HYI_OUTSIDE);
    /* Partners: hyi_post and hy_runtime_stop. Either they find OUTSIDE, or this
       finds what they left. */
    if (more || atomic_load_explicit(&w->inbox, memory_order_seq_cst) != 0 ||
        atomic_load(&rt->stop) == 1)
        hyi_os_event_signal(&rt->event);
}

int hy_runtime_poll(hy_runtime *rt, hy_deadline until)
{
    struct hyi_worker *w;
    struct hyi_entry before;
    int r;

    if (rt == NULL)
        return -EINVAL;
    r = begin(rt, HYI_PHASE_POLL);
    if (r != 0)
        return r;
    r = adopt(rt);
    if (r != 0) {
        atomic_store(&rt->phase, HYI_PHASE_NONE);
        return r;
    }
    if (hyi_fault_thread_prepare() != 0)
        hyi_report(rt, HY_REPORT_WARNING,
                   "no signal stack: a stack overflow will not be reported");
    w = &rt->worker[0];
    atomic_store_explicit(&w->sleep, HYI_AWAKE, memory_order_seq_cst);
    hyi_worker_enter(w, &before);
    r = poll_once(w, until);
    hyi_worker_leave(w, &before);
    if (rt->stale)
        return -ESTALE;
    if (r == -EDEADLK)
        hyi_report_deadlock(rt);
    if (r == 0)
        hyi_stack_trim(rt->stacks, rt->stacks->keep_bytes);
    tell_event(w, r == 1);
    if (hyi_runtime_live(rt) == 0)
        atomic_store(&rt->stop, 0);
    atomic_store(&rt->phase, HYI_PHASE_NONE);
    return r;
}

int hy_runtime_fd(hy_runtime *rt)
{
    int r = 0;

    if (rt == NULL)
        return -EINVAL;
    if (rt->stale)
        return -ESTALE;
    hyi_lock(&rt->wait_lock);
    if (!atomic_load(&rt->has_event)) {
        r = hyi_os_event_open(&rt->event);
        if (r == 0) {
            hyi_os_event_signal(&rt->event); /* the first poll arranges it */
            /* Release: pairs with signal_event in idle.c. */
            atomic_store_explicit(&rt->has_event, true, memory_order_release);
        }
    }
    hyi_unlock(&rt->wait_lock);
    return r != 0 ? r : rt->event.fd;
}

/* --- destroy, trim, stats ---------------------------------------------------
 */

/* Partner: signal_event in idle.c. */
static void close_event(hy_runtime *rt)
{
    if (!atomic_exchange(&rt->has_event, false))
        return;
    while (atomic_load(&rt->signalling) != 0)
        hyi_os_thread_yield();
    hyi_os_event_close(&rt->event);
}

int hy_runtime_at_destroy(hy_runtime *rt, void (*function)(void *arg),
                          void *arg)
{
    struct hyi_at_destroy *d;
    int saved = errno;

    if (rt == NULL || function == NULL)
        return -EINVAL;
    if (rt->stale)
        return -ESTALE;
    d = malloc(sizeof(*d));
    errno = saved;
    if (d == NULL)
        return -ENOMEM;
    d->function = function;
    d->arg = arg;
    hyi_lock(&rt->wait_lock);
    d->next = rt->at_destroy;
    rt->at_destroy = d;
    hyi_unlock(&rt->wait_lock);
    return 0;
}

/* The phase is taken, so nobody adds any more that would be missed. */
static void call_at_destroy(hy_runtime *rt)
{
    while (rt->at_destroy != NULL) {
        struct hyi_at_destroy *d = rt->at_destroy;

        rt->at_destroy = d->next;
        d->function(d->arg);
        free(d);
    }
}

int hy_runtime_destroy(hy_runtime *rt)
{
    int r;

    if (rt == NULL)
        return 0;
    r = begin(rt, HYI_PHASE_POLL);
    if (r != 0)
        return r;
    call_at_destroy(rt);
    for (unsigned i = 0; i < rt->worker_count; i++)
        hyi_turns_to_slots(&rt->worker[i]);
    hyi_table_reset(rt);
    hyi_stacks_release(rt->stacks);
    for (unsigned i = 0; i < rt->worker_count; i++) {
        atomic_exchange(&rt->worker[i].sleep, HYI_AWAKE);
        hyi_worker_deinit(&rt->worker[i]);
    }
    close_event(rt);
    free(rt->stacks);
    rt->stacks = NULL;
    rt->worker_count = 0;
    rt->active = 0;
    atomic_store(&rt->foreign_spawned, 0);
    atomic_store(&rt->stop, 0);
    atomic_store(&rt->phase, HYI_PHASE_NONE);
    give_slot(rt);
    return 0;
}

int hy_runtime_trim(hy_runtime *rt)
{
    if (rt == NULL)
        return -EINVAL;
    if (rt->stale)
        return -ESTALE;
    while (hyi_stack_trim(rt->stacks, 0))
        continue;
    return 0;
}

static uint64_t get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

int hy_runtime_stats_get(const hy_runtime *rt, hy_runtime_stats *out)
{
    hy_runtime_stats s = {.size = sizeof(s)};
    unsigned segments;

    if (rt == NULL || out == NULL || out->size < STATS_BYTES_MIN)
        return -EINVAL;
    if (rt->stale)
        return -ESTALE;
    s.workers = rt->active;
    s.workers_idle = atomic_load_explicit(&rt->idle, memory_order_relaxed);
    s.spawned = get(&rt->foreign_spawned);
    for (unsigned i = 0; i < rt->worker_count; i++) {
        const struct hyi_worker *w = &rt->worker[i];
        int64_t fresh = hyi_deque_count(&w->deque);

        s.spawned += get(&w->spawned);
        s.ended += get(&w->ended);
        s.switches += get(&w->switches);
        for (unsigned k = 0; k < HYI_WAITS; k++) {
            s.parked[k] += get(&w->parked[k]);
            s.parks += get(&w->parked[k]);
        }
        s.steals += get(&w->steals);
        s.ready +=
            hyi_ready_count(&w->ready) + (uint64_t)(fresh > 0 ? fresh : 0);
        s.timers += hyi_wheel_count(&w->wheel);
    }
    s.flags = rt->flags;
    s.events = hyi_observer_events(rt, &s.events_dropped);
    hyi_lock(&rt->stacks->lock);
    for (unsigned i = 0; i < HYI_STACK_CLASSES; i++)
        s.stacks += rt->stacks->class[i].ready;
    s.stack_maps = rt->stacks->segment_count;
    s.guards_installed = rt->stacks->guards_installed;
    s.guards_protected = rt->stacks->guards_protected;
    for (unsigned i = 0; i < HYI_STACK_CLASSES; i++)
        s.stacks_kept += rt->stacks->class[i].warm_count;
    s.stacks_trimmed = rt->stacks->trimmed;
    s.huge_stack_bytes = hyi_dense_bytes(rt->stacks);
    segments = rt->stacks->segment_count;
    hyi_unlock(&rt->stacks->lock);
    s.huge_page_bytes = hyi_dense_huge(rt->stacks, segments);
    memcpy(s.name, rt->name, sizeof(s.name));
    return hyi_struct_fill(out, &s, sizeof(s));
}
