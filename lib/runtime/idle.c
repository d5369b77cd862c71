/*
 * idle.c - a worker without work: it searches, then sleeps; the last one to
 * lie down looks whether all is over.
 *
 *      spawner                          idle worker
 *      -------                          -----------
 *      deque.bottom + 1                 idle + 1, sleep = ASLEEP
 *      (nothing: the other side's       membarrier
 *       barrier orders these two)       look at every deque and the own inbox
 *      idle != 0? wake one              futex wait while ASLEEP
 *
 * Either the spawner sees the idle worker or the worker sees the fiber; without
 * membarrier in the kernel the spawner fences as well. Posts to an inbox are
 * sequentially consistent on both sides.
 *
 * At most one worker is on its way to search (waking); it wakes the next when
 * it found something and left more behind.
 *
 * Invariant: between raising and lowering idle, under idle_lock, a worker
 * touches none of its queues; so when all are idle they hold still.
 *
 * Upstream: worker.c, inbox.c, runtime.c. Downstream: os.h.
 */
#include "core.h"

#include <errno.h>
#include <stdio.h>

#include "arch.h"
#include "observer.h"
#include "order.h"
#include "waits.h"

enum {
    SPINS = 100, /* looks before the sleep: a microsecond or so, a tenth of
                    what the sleep itself costs the waker */
    REPORTED_MOST = 64,
    MESSAGE_BYTES = 256,
    GRACE_NS = 1000000 /* no store stays unseen for as long */
};

void hyi_report(const hy_runtime *rt, int level, const char *message)
{
    int saved = errno;

    if (rt->report.write != NULL)
        rt->report.write(rt->report.ctx, level, message);
    errno = saved;
}

/* --- waking -----------------------------------------------------------------
 */

/* The descriptor may be closed by hy_runtime_destroy at any moment: it clears
   has_event and then waits for signalling, which is raised before the look. */
static void signal_event(hy_runtime *rt)
{
    if (rt->stale)
        return; /* what it writes to is the parent's too */
    atomic_fetch_add_explicit(&rt->signalling, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&rt->has_event, memory_order_seq_cst))
        hyi_os_event_signal(&rt->event);
    atomic_fetch_sub_explicit(&rt->signalling, 1, memory_order_release);
}

/* The runtime may have ended meanwhile: only what is there for ever is used. */
bool hyi_worker_kick(struct hyi_worker *w)
{
    uint32_t found =
        atomic_exchange_explicit(&w->sleep, HYI_AWAKE, memory_order_seq_cst);

    if (found == HYI_ASLEEP)
        hyi_os_futex_wake(&w->sleep, 1, false);
    if (found != HYI_AWAKE && w->index == 0)
        signal_event(w->rt);
    return found == HYI_ASLEEP;
}

static bool is_asleep(const struct hyi_worker *w)
{
    return atomic_load_explicit(&w->sleep, memory_order_relaxed) == HYI_ASLEEP;
}

void hyi_notify(hy_runtime *rt)
{
    unsigned none = 0;

    /* For the compiler, which might load idle before what the caller stored;
       the processor's order is lie_down's barrier, or the fence. */
    atomic_signal_fence(memory_order_seq_cst);
    if (rt->need_fence)
        atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&rt->idle, memory_order_relaxed) == 0 ||
        atomic_load_explicit(&rt->waking, memory_order_relaxed) != 0 ||
        !atomic_compare_exchange_strong(&rt->waking, &none, 1))
        return;
    for (unsigned i = 0; i < rt->active; i++)
        if (is_asleep(&rt->worker[i]) && hyi_worker_kick(&rt->worker[i]))
            return;
    atomic_store(&rt->waking, 0);
}

/* Where the kernel refuses what it granted at init (want of memory), nobody
   fences on the other side: time does it. */
void hyi_barrier(const hy_runtime *rt)
{
    static const _Atomic uint32_t never = 0;

    if (hyi_os_barrier() == 0)
        return;
    atomic_thread_fence(memory_order_seq_cst);
    if (!rt->need_fence)
        hyi_os_futex_wait(&never, 0, hyi_os_now() + GRACE_NS, false);
}

unsigned hyi_idle_worker(hy_runtime *rt)
{
    unsigned next;

    if (atomic_load_explicit(&rt->idle, memory_order_relaxed) != 0)
        for (unsigned i = 0; i < rt->active; i++)
            if (is_asleep(&rt->worker[i]))
                return i;
    next = atomic_fetch_add_explicit(&rt->next_worker, 1, memory_order_relaxed);
    return next % rt->active;
}

/* --- searching --------------------------------------------------------------
 */

static bool has_something(const struct hyi_worker *w)
{
    return hyi_deque_count(&w->deque) > 0 || hyi_deque_count(&w->roaming) > 0;
}

static bool something_to_steal(const hy_runtime *rt)
{
    for (unsigned i = 0; i < rt->active; i++)
        if (has_something(&rt->worker[i]))
            return true;
    return false;
}

/* Unstarted ones first: they have nothing in the victim's caches. */
static struct hyi_fiber *steal_from(struct hyi_worker *w,
                                    struct hyi_worker *victim)
{
    struct hyi_fiber *f = hyi_deque_steal(&victim->deque);

    if (f != NULL) {
        hyi_worker_fix(w, f);
        return f;
    }
    f = hyi_deque_steal(&victim->roaming);
    if (f != NULL)
        hyi_worker_adopt(w, f);
    return f;
}

static bool steal(struct hyi_worker *w)
{
    hy_runtime *rt = w->rt;
    unsigned first = (unsigned)hyi_random(w);

    for (unsigned i = 0; i < rt->active; i++) {
        struct hyi_worker *victim = &rt->worker[(first + i) % rt->active];
        struct hyi_fiber *f;

        if (victim == w || !has_something(victim))
            continue;
        f = steal_from(w, victim);
        if (f == NULL)
            continue;
        hyi_observe_steal(w, f);
        hyi_count(&w->steals);
        if (has_something(victim))
            hyi_notify(rt);
        return true;
    }
    return false;
}

static bool has_post(const struct hyi_worker *w)
{
    return atomic_load_explicit(&w->inbox, memory_order_seq_cst) != 0 ||
           atomic_load_explicit(&w->rt->stop, memory_order_seq_cst) == 1;
}

/* --- the end of it ----------------------------------------------------------
 */

uint64_t hyi_runtime_live(const hy_runtime *rt)
{
    uint64_t ended = 0, spawned;

    /* Ends first: a fiber that is counted as ended is counted as spawned. */
    for (unsigned i = 0; i < rt->worker_count; i++)
        ended +=
            atomic_load_explicit(&rt->worker[i].ended, memory_order_acquire);
    spawned = atomic_load_explicit(&rt->foreign_spawned, memory_order_acquire);
    for (unsigned i = 0; i < rt->worker_count; i++)
        spawned +=
            atomic_load_explicit(&rt->worker[i].spawned, memory_order_acquire);
    return spawned - ended;
}

void hyi_report_deadlock(hy_runtime *rt)
{
    size_t used = atomic_load_explicit(&rt->used_visible, memory_order_acquire);
    unsigned reported = 0;
    char message[MESSAGE_BYTES], what[MESSAGE_BYTES / 2];

    for (size_t i = 0; i < used && rt->report.write != NULL; i++) {
        struct hyi_fiber *f = hyi_fiber_at(rt, i);
        uint64_t life = atomic_load_explicit(&f->life, memory_order_acquire);

        if (!(life & HYI_LIFE_LIVE) || ++reported > REPORTED_MOST)
            continue;
        hyi_waits_describe(f, what, sizeof(what));
        snprintf(message, sizeof(message),
                 "deadlock in runtime \"%s\": fiber \"%s\" (%#llx) waits: %s",
                 rt->name, f->name != NULL ? f->name : "",
                 (unsigned long long)hyi_fiber_id(rt, life).id, what);
        hyi_report(rt, HY_REPORT_ERROR, message);
    }
}

/* What the last worker to become idle sees, under idle_lock: 0 go on waiting,
   1 all fibers ended, -EDEADLK none can run again. */
static int verdict(hy_runtime *rt)
{
    int stop = atomic_load(&rt->stop);
    int phase = atomic_load_explicit(&rt->phase, memory_order_relaxed);
    size_t timers = 0;

    if (stop == 1 || something_to_steal(rt))
        return 0;
    for (unsigned i = 0; i < rt->active; i++) {
        if (atomic_load(&rt->worker[i].inbox) != 0)
            return 0;
        timers += hyi_wheel_count(&rt->worker[i].wheel);
    }
    if (hyi_runtime_live(rt) == 0)
        return phase == HYI_PHASE_RUN || stop != 0;
    if (timers == 0 && atomic_load(&rt->outside) == 0 &&
        phase == HYI_PHASE_RUN && (rt->flags & HY_RUNTIME_CLOSED))
        return -EDEADLK;
    return 0;
}

void hyi_worker_trim(struct hyi_worker *w, hy_deadline until)
{
    struct hyi_stacks *stacks = w->rt->stacks;

    while (is_asleep(w) && (until == HY_FOREVER || hyi_os_now() < until) &&
           hyi_stack_trim(stacks, stacks->keep_bytes))
        continue;
}

static void sleep_until_kicked(struct hyi_worker *w)
{
    hy_deadline until = hyi_wheel_next(&w->wheel);
    bool spins = (w->rt->flags & HY_RUNTIME_SPIN) != 0;

    while (atomic_load_explicit(&w->sleep, memory_order_acquire) ==
           HYI_ASLEEP) {
        if (spins && (until == HY_FOREVER || hyi_os_now() < until))
            hy_arch_pause();
        else if (spins || hyi_os_futex_wait(&w->sleep, HYI_ASLEEP, until,
                                            false) == -ETIMEDOUT)
            return;
    }
}

/* Registers as idle; false when there is work after all, or all is over. */
static bool lie_down(struct hyi_worker *w)
{
    hy_runtime *rt = w->rt;
    bool down = true;

    hyi_lock(&rt->idle_lock);
    atomic_store_explicit(&w->sleep, HYI_ASLEEP, memory_order_seq_cst);
    if (atomic_fetch_add_explicit(&rt->idle, 1, memory_order_seq_cst) + 1 ==
        rt->active) {
        int v = verdict(rt);

        if (v != 0)
            atomic_store(&rt->over, v);
        down = v == 0;
    }
    hyi_unlock(&rt->idle_lock);
    hyi_barrier(rt);
    return down && atomic_load(&rt->over) == 0 && !has_post(w) &&
           !something_to_steal(rt);
}

static void stand_up(struct hyi_worker *w)
{
    hy_runtime *rt = w->rt;

    hyi_lock(&rt->idle_lock);
    atomic_fetch_sub_explicit(&rt->idle, 1, memory_order_seq_cst);
    atomic_store_explicit(&w->sleep, HYI_AWAKE, memory_order_seq_cst);
    hyi_unlock(&rt->idle_lock);
    /* Whoever was sent to search is up: before its search, so that a spawner
       who found this set has nothing that the search does not see. */
    hyi_store_then_look(&rt->waking, 0);
}

/* Simulated: time jumps to the next deadline. */
static bool jump(struct hyi_worker *w)
{
    uint64_t next = hyi_wheel_next(&w->wheel);

    if (w->rt->seed == 0 || hyi_wheel_count(&w->wheel) == 0)
        return false;
    if (next > w->virtual_now)
        w->virtual_now = next;
    w->tick = 1;
    return true;
}

/* Has fibers of its own to run, after a sleep. */
static bool is_busy(const struct hyi_worker *w)
{
    return has_post(w) || (hyi_wheel_count(&w->wheel) != 0 &&
                           hyi_wheel_next(&w->wheel) <= hyi_os_now());
}

bool hyi_worker_idle(struct hyi_worker *w)
{
    hy_runtime *rt = w->rt;

    if (rt->stale)
        return false;
    if (jump(w) || steal(w))
        return true;
    for (int i = 0; i < SPINS && rt->active > 1; i++) {
        hy_arch_pause();
        if (has_post(w) || something_to_steal(rt))
            break;
    }
    if (!has_post(w) && !something_to_steal(rt)) {
        hyi_observe_sleep(w);
        if (lie_down(w)) {
            hyi_worker_trim(w, hyi_wheel_next(&w->wheel));
            sleep_until_kicked(w);
        }
        stand_up(w);
        hyi_observe_awake(w);
        /* It may be the one that was sent to search, and will not. */
        if (rt->active > 1 && something_to_steal(rt) && is_busy(w))
            hyi_notify(rt);
    }
    w->tick = 1;
    if (atomic_load(&rt->over) == 0)
        return true;
    for (unsigned i = 0; i < rt->active; i++)
        if (&rt->worker[i] != w)
            hyi_worker_kick(&rt->worker[i]);
    return false;
}
