/*
 * sync.c - waiting for each other (sync.h), over park.h alone: fibers and
 * threads are the same to it.
 *
 *      hy_mutex    | owner | W | lock, - | first | last |   W: queue not empty
 *      hy_cond     |     -     | lock, - | first | last |
 *      hy_sem      |   count   | lock, - | first | last |   likewise event and
 *                                                           wait group
 *      first -> waiter <-> waiter <-> waiter <- last   on the sleepers' stacks
 *
 * Whoever unlocks, signals or posts takes a waiter out of the queue and gives
 * it what it waits for, before the wake: nobody can take it away again, and a
 * waiter that gives up knows by its absence from the queue that it was served.
 *
 * Invariant: a waiter is in the queue, under its lock, or it was claimed and
 * is woken exactly once. The object is not touched after the last wake's lock
 * was released: the woken one may free it.
 *
 * Upstream: users. Downstream: park.h, lock.h, waits.h.
 */
#include <hyperion/sync.h>

#include <errno.h>

#include "core.h"
#include "waits.h"

#define HYI_OVERLAY __attribute__((may_alias))

struct queue {
    struct hyi_lock lock;
    uint32_t unused;
    struct hyi_waiter *first, *last;
} HYI_OVERLAY;

/* All five types have this shape. */
struct object {
    _Atomic uintptr_t value;
    struct queue queue;
} HYI_OVERLAY;

_Static_assert(sizeof(struct object) <= sizeof(hy_mutex) &&
                   sizeof(hy_mutex) == sizeof(hy_cond) &&
                   sizeof(hy_mutex) == sizeof(hy_sem) &&
                   sizeof(hy_mutex) == sizeof(hy_event) &&
                   sizeof(hy_mutex) == sizeof(hy_wait_group),
               "the public types hold an object");

enum { WAITED_FOR = 1, COUNT_MOST = 0x7fffffff };

/* --- queue; its lock is held ------------------------------------------------
 */

static void append(struct queue *q, struct hyi_waiter *waiter, uintptr_t user)
{
    waiter->user = user;
    waiter->next = NULL;
    waiter->prev = q->last;
    if (q->last != NULL)
        q->last->next = waiter;
    else
        q->first = waiter;
    q->last = waiter;
}

static void cut(struct queue *q, struct hyi_waiter *waiter)
{
    if (waiter->prev != NULL)
        waiter->prev->next = waiter->next;
    else
        q->first = waiter->next;
    if (waiter->next != NULL)
        waiter->next->prev = waiter->prev;
    else
        q->last = waiter->prev;
    waiter->user = 0; /* claimed, or gone */
}

static struct hyi_waiter *take_first(struct queue *q)
{
    struct hyi_waiter *waiter = q->first;

    if (waiter != NULL)
        cut(q, waiter);
    return waiter;
}

static struct hyi_waiter *take_all(struct queue *q)
{
    struct hyi_waiter *first = q->first;

    for (struct hyi_waiter *w = first; w != NULL; w = w->next)
        w->user = 0;
    q->first = q->last = NULL;
    return first;
}

static void wake_all(struct hyi_waiter *waiter)
{
    while (waiter != NULL) {
        struct hyi_waiter *next = waiter->next;

        hyi_wake(waiter);
        waiter = next;
    }
}

/* Takes a waiter that gives up out of the queue; false when it was claimed. */
static bool leave(struct object *o, struct hyi_waiter *waiter)
{
    bool stood;

    hyi_lock(&o->queue.lock);
    stood = waiter->user != 0;
    if (stood)
        cut(&o->queue, waiter);
    hyi_unlock(&o->queue.lock);
    return stood;
}

/* Parks a waiter that stands in the queue. When it gives up it leaves the
   queue; when it was claimed meanwhile it waits for the wake and was served. */
static int wait_in(struct object *o, struct hyi_waiter *waiter,
                   hy_deadline until)
{
    int r = hyi_park(waiter, until);

    if (r == 0 || leave(o, waiter))
        return r;
    hyi_park_claimed(waiter);
    return 0;
}

/* --- mutex ------------------------------------------------------------------
 */

static bool try_lock(struct object *m, uintptr_t me)
{
    uintptr_t free = 0;

    /* Acquire: pairs with the release in unlock. */
    return atomic_compare_exchange_strong_explicit(
        &m->value, &free, me, memory_order_acquire, memory_order_relaxed);
}

/* Enqueues, unless the mutex came free; true when it is the caller's now. */
static bool lock_or_append(struct object *m, struct hyi_waiter *waiter,
                           uintptr_t me)
{
    uintptr_t value = atomic_load_explicit(&m->value, memory_order_relaxed);

    for (;;) {
        uintptr_t wanted = value == 0 ? me : value | WAITED_FOR;

        /* Acquire: pairs with the release in unlock. */
        if (!atomic_compare_exchange_weak_explicit(&m->value, &value, wanted,
                                                   memory_order_acquire,
                                                   memory_order_relaxed))
            continue;
        if (value == 0)
            return true;
        append(&m->queue, waiter, me);
        return false;
    }
}

/* The last to give up takes the mark off. */
static void unmark(struct object *m)
{
    hyi_lock(&m->queue.lock);
    if (m->queue.first == NULL)
        atomic_fetch_and_explicit(&m->value, ~(uintptr_t)WAITED_FOR,
                                  memory_order_relaxed);
    hyi_unlock(&m->queue.lock);
}

/* Whether the caller, who stands in the queue, closes a cycle of waits; it
   stands there no more then. */
static bool lock_closes_cycle(struct object *m, struct hyi_waiter *waiter,
                              uintptr_t me)
{
    uintptr_t owner;
    bool closes;

    hyi_waits_fence();
    owner = atomic_load_explicit(&m->value, memory_order_acquire) &
            ~(uintptr_t)WAITED_FOR;
    if (HYI_LIKELY(!hyi_waits_any(hyi_token_agent(owner))) ||
        !hyi_waits_return(me, owner))
        return false;
    hyi_waits_confirm_begin();
    closes = hyi_waits_confirm(me) && leave(m, waiter);
    if (closes)
        hyi_waits_end(hyi_token_agent(me));
    hyi_waits_confirm_end();
    return closes;
}

static int lock_slowly(struct object *m, uintptr_t me, hy_deadline until)
{
    struct hyi_agent *agent = hyi_token_agent(me);
    struct hyi_waiter waiter HYI_ONE_LINE;
    bool mine;
    int r;

    hyi_waiter_init(&waiter, HYI_WAIT_MUTEX);
    hyi_lock(&m->queue.lock);
    mine = lock_or_append(m, &waiter, me);
    hyi_unlock(&m->queue.lock);
    if (mine)
        return 0;
    hyi_waits_mutex(agent, &m->value);
    if (lock_closes_cycle(m, &waiter, me))
        r = -EDEADLK;
    else
        r = wait_in(m, &waiter, until);
    hyi_waits_end(agent);
    if (r != 0)
        unmark(m);
    return r;
}

int hy_mutex_lock(hy_mutex *mutex, hy_deadline until)
{
    struct object *m = (struct object *)mutex;
    uintptr_t me = hyi_token_self();

    if (m == NULL)
        return -EINVAL;
    if (HYI_LIKELY(try_lock(m, me)))
        return 0;
    if ((atomic_load_explicit(&m->value, memory_order_relaxed) &
         ~(uintptr_t)WAITED_FOR) == me)
        return -EDEADLK;
    if (until == HY_NOW)
        return hy_fiber_check() != 0 ? -ECANCELED : -ETIMEDOUT;
    return lock_slowly(m, me, until);
}

/* Gives the mutex to the first in the queue. False: the queue was empty, the
   mark is off, and the caller still owns the mutex; it was not freed under the
   lock, since who gets it then may end its life before the lock is left. */
static bool hand_over(struct object *m)
{
    struct hyi_waiter *waiter;
    uintptr_t next;

    hyi_lock(&m->queue.lock);
    waiter = m->queue.first;
    if (waiter == NULL) {
        atomic_fetch_and_explicit(&m->value, ~(uintptr_t)WAITED_FOR,
                                  memory_order_relaxed);
        hyi_unlock(&m->queue.lock);
        return false;
    }
    next = waiter->user;
    cut(&m->queue, waiter);
    if (m->queue.first != NULL)
        next |= WAITED_FOR;
    /* Release: pairs with the acquires above; the new owner has its own by the
       wake. */
    atomic_store_explicit(&m->value, next, memory_order_release);
    hyi_unlock(&m->queue.lock);
    hyi_wake(waiter);
    return true;
}

int hy_mutex_unlock(hy_mutex *mutex)
{
    struct object *m = (struct object *)mutex;
    uintptr_t me = hyi_token_self(), value;

    if (m == NULL)
        return -EINVAL;
    do {
        value = me;
        if (HYI_LIKELY(atomic_compare_exchange_strong_explicit(
                &m->value, &value, 0, memory_order_release,
                memory_order_relaxed)))
            return 0;
        if ((value & ~(uintptr_t)WAITED_FOR) != me)
            return -EPERM;
    } while (!hand_over(m));
    return 0;
}

/* --- cond -------------------------------------------------------------------
 */

/* Whatever happens, the mutex is the caller's again. */
static void lock_for_certain(struct object *m, uintptr_t me)
{
    struct hyi_waiter waiter HYI_ONE_LINE;
    bool mine;

    if (try_lock(m, me))
        return;
    hyi_waiter_init(&waiter, HYI_WAIT_MUTEX);
    hyi_lock(&m->queue.lock);
    mine = lock_or_append(m, &waiter, me);
    hyi_unlock(&m->queue.lock);
    if (!mine)
        hyi_park_claimed(&waiter);
}

/* The caller will not return without the mutex, so from before it lets go of
   it, it waits for whoever owns it: published by then, the edge is seen by
   everybody who does (waits.c). It closes no cycle itself. */
int hy_cond_wait(hy_cond *cond, hy_mutex *mutex, hy_deadline until)
{
    struct object *c = (struct object *)cond;
    struct object *m = (struct object *)mutex;
    uintptr_t me = hyi_token_self();
    struct hyi_agent *agent = hyi_token_agent(me);
    struct hyi_waiter waiter HYI_ONE_LINE;
    int r;

    if (c == NULL || m == NULL)
        return -EINVAL;
    if ((atomic_load_explicit(&m->value, memory_order_relaxed) &
         ~(uintptr_t)WAITED_FOR) != me)
        return -EPERM;
    hyi_waiter_init(&waiter, HYI_WAIT_COND);
    hyi_lock(&c->queue.lock);
    append(&c->queue, &waiter, 1);
    hyi_unlock(&c->queue.lock);
    hyi_waits_mutex(agent, &m->value);
    hy_mutex_unlock(mutex);
    r = wait_in(c, &waiter, until);
    lock_for_certain(m, me);
    hyi_waits_end(agent);
    return r;
}

int hy_cond_signal(hy_cond *cond)
{
    struct object *c = (struct object *)cond;
    struct hyi_waiter *waiter;

    if (c == NULL)
        return -EINVAL;
    hyi_lock(&c->queue.lock);
    waiter = take_first(&c->queue);
    hyi_unlock(&c->queue.lock);
    if (waiter != NULL)
        hyi_wake(waiter);
    return 0;
}

int hy_cond_broadcast(hy_cond *cond)
{
    struct object *c = (struct object *)cond;
    struct hyi_waiter *waiter;

    if (c == NULL)
        return -EINVAL;
    hyi_lock(&c->queue.lock);
    waiter = take_all(&c->queue);
    hyi_unlock(&c->queue.lock);
    wake_all(waiter);
    return 0;
}

/* --- semaphore --------------------------------------------------------------
 */

static uintptr_t value_of(const struct object *o)
{
    return atomic_load_explicit(&o->value, memory_order_relaxed);
}

static void set_value(struct object *o, uintptr_t value)
{
    atomic_store_explicit(&o->value, value, memory_order_relaxed);
}

/* Under the lock: is what the caller waits for here? It takes it then. */
typedef bool (*is_here)(struct object *o);

static bool take_unit(struct object *o)
{
    if (value_of(o) == 0 || o->queue.first != NULL)
        return false;
    set_value(o, value_of(o) - 1);
    return true;
}

static bool is_set(struct object *o)
{
    return value_of(o) != 0;
}

static bool is_zero(struct object *o)
{
    return value_of(o) == 0;
}

static int wait_for(struct object *o, is_here here, enum hyi_wait wait,
                    hy_deadline until)
{
    struct hyi_waiter waiter HYI_ONE_LINE;
    bool done;

    if (o == NULL)
        return -EINVAL;
    hyi_waiter_init(&waiter, wait);
    hyi_lock(&o->queue.lock);
    done = here(o);
    if (!done)
        append(&o->queue, &waiter, 1);
    hyi_unlock(&o->queue.lock);
    return done ? 0 : wait_in(o, &waiter, until);
}

int hy_sem_wait(hy_sem *s, hy_deadline until)
{
    return wait_for((struct object *)s, take_unit, HYI_WAIT_SEM, until);
}

int hy_sem_post(hy_sem *sem, unsigned count)
{
    struct object *s = (struct object *)sem;
    struct hyi_waiter *served = NULL, **tail = &served, *waiter;

    if (s == NULL)
        return -EINVAL;
    hyi_lock(&s->queue.lock);
    if (count > COUNT_MOST - value_of(s)) {
        hyi_unlock(&s->queue.lock);
        return -EOVERFLOW;
    }
    while (count > 0 && (waiter = take_first(&s->queue)) != NULL) {
        waiter->next = NULL;
        *tail = waiter;
        tail = &waiter->next;
        count--;
    }
    set_value(s, value_of(s) + count);
    hyi_unlock(&s->queue.lock);
    wake_all(served);
    return 0;
}

/* --- event ------------------------------------------------------------------
 */

int hy_event_wait(hy_event *e, hy_deadline until)
{
    return wait_for((struct object *)e, is_set, HYI_WAIT_EVENT, until);
}

/* Sets the value and lets everybody through. */
static void open_to_all(struct object *o, uintptr_t value)
{
    struct hyi_waiter *waiters;

    set_value(o, value);
    waiters = take_all(&o->queue);
    hyi_unlock(&o->queue.lock);
    wake_all(waiters);
}

int hy_event_set(hy_event *event)
{
    struct object *e = (struct object *)event;

    if (e == NULL)
        return -EINVAL;
    hyi_lock(&e->queue.lock);
    open_to_all(e, 1);
    return 0;
}

int hy_event_reset(hy_event *event)
{
    struct object *e = (struct object *)event;

    if (e == NULL)
        return -EINVAL;
    hyi_lock(&e->queue.lock);
    set_value(e, 0);
    hyi_unlock(&e->queue.lock);
    return 0;
}

/* --- wait group -------------------------------------------------------------
 */

int hy_wait_group_add(hy_wait_group *group, unsigned count)
{
    struct object *g = (struct object *)group;
    int r = 0;

    if (g == NULL)
        return -EINVAL;
    hyi_lock(&g->queue.lock);
    if (count > COUNT_MOST - value_of(g))
        r = -EOVERFLOW;
    else
        set_value(g, value_of(g) + count);
    hyi_unlock(&g->queue.lock);
    return r;
}

int hy_wait_group_done(hy_wait_group *group)
{
    struct object *g = (struct object *)group;
    int r = 0;

    if (g == NULL)
        return -EINVAL;
    hyi_lock(&g->queue.lock);
    if (value_of(g) == 1) {
        open_to_all(g, 0);
        return 0;
    }
    if (value_of(g) == 0)
        r = -EPERM;
    else
        set_value(g, value_of(g) - 1);
    hyi_unlock(&g->queue.lock);
    return r;
}

int hy_wait_group_wait(hy_wait_group *g, hy_deadline until)
{
    return wait_for((struct object *)g, is_zero, HYI_WAIT_GROUP, until);
}
