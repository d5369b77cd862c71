/*
 * fiber.c - the public calls on fibers (fiber.h): validation, then the few
 * steps on the fiber's slot that each needs.
 *
 *      spawn   take a slot, claim a stack, LIVE | hand it to a worker
 *      join    lock the slot, hang a waiter into joiners, park
 *      cancel  CANCELLED into life, then a post to its worker, which alone may
 *              look at what the fiber waits on
 *
 * Invariant: nothing here touches a slot's owner-only fields unless the caller
 * is the fiber itself.
 * Upstream: users. Downstream: table.c, worker.c, inbox.c.
 */
#include "core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "observer.h"
#include "options.h"
#include "probes.h"
#include "queues.h"
#include "waits.h"

static const unsigned flags_known = HY_FIBER_MIGRATE | HY_FIBER_FP_ENV |
                                    HY_FIBER_HUGE_STACK | HY_FIBER_UNGUARDED;

enum { DENSE_BYTES_DEFAULT = 16 << 10 };

/* --- spawn ------------------------------------------------------------------
 */

/* The class of the stack that the options ask for, or -1. */
static int class_of(const hy_runtime *rt, const hy_fiber_options *o)
{
    size_t bytes = o->stack_bytes;

    if (o->flags & HY_FIBER_HUGE_STACK)
        return hyi_stack_class(bytes != 0 ? bytes : DENSE_BYTES_DEFAULT,
                               HYI_STACK_DENSE);
    return hyi_stack_class(bytes != 0 ? bytes : rt->stack_bytes,
                           o->flags & HY_FIBER_UNGUARDED ? HYI_STACK_UNGUARDED
                                                         : 0);
}

static int read_options(const hy_runtime *rt, const hy_fiber_options *src,
                        hy_fiber_options *o, unsigned *class)
{
    int r, c;

    if (HYI_LIKELY(src == NULL)) {
        *o = (hy_fiber_options){.size = sizeof(*o)};
        *class = rt->class;
        return 0;
    }
    r = hyi_options_read(o, sizeof(*o), src);
    if (r != 0)
        return r;
    if ((o->flags & ~flags_known) != 0 || o->worker < 0 ||
        (unsigned)o->worker > rt->worker_count)
        return -EINVAL;
    c = class_of(rt, o);
    if (c < 0)
        return -EINVAL;
    *class = (unsigned)c;
    return 0;
}

static int claim_stack(hy_runtime *rt, struct hyi_worker *w, unsigned class)
{
    unsigned chunk = (hyi_stack_pool_most(class) + 1) / 2;
    struct hyi_stack_pool *pool;

    if (w == NULL)
        return hyi_stack_claim(rt->stacks, class, 1);
    pool = &w->pool[class];
    if (pool->claims == 0) {
        if (chunk > 1 && hyi_stack_claim(rt->stacks, class, chunk) == 0)
            pool->claims = chunk;
        else
            return hyi_stack_claim(rt->stacks, class, 1);
    }
    pool->claims--;
    return 0;
}

static char *copy_name(const char *name)
{
    int saved = errno;
    char *copy = malloc(HYI_NAME_BYTES);

    errno = saved;
    if (copy != NULL)
        hyi_name_copy(copy, HYI_NAME_BYTES, name);
    return copy;
}

/* Everything but the hand-over; nothing is kept on failure. */
static int make(hy_runtime *rt, struct hyi_worker *w, unsigned class,
                const char *name, struct hyi_fiber **out)
{
    char *copy = NULL;
    int r;

    if (name != NULL && (copy = copy_name(name)) == NULL)
        return -ENOMEM;
    r = hyi_slot_take(rt, w, out);
    if (r == 0) {
        r = claim_stack(rt, w, class);
        if (r != 0)
            hyi_slot_give(rt, w, *out);
    }
    if (r != 0) {
        free(copy);
        return r;
    }
    (*out)->name = copy;
    (*out)->class = (uint8_t) class;
    return 0;
}

/* Before it is handed over: nobody waits for it, nor is it posted. */
static void cancel_new(struct hyi_fiber *f)
{
    uint64_t life;

    do {
        life = hyi_fiber_unlocked(f);
    } while (!atomic_compare_exchange_weak(&f->life, &life,
                                           life | HYI_LIFE_CANCELLED));
}

/* All flags of a fiber for which these are asked. */
static unsigned flags_of(const hy_runtime *rt, unsigned flags)
{
    flags |= rt->fiber_flags;
    if (flags & HY_FIBER_FP_ENV)
        flags |= HYI_FIBER_EXTRA;
    if ((flags & (HY_FIBER_HUGE_STACK | HY_FIBER_UNGUARDED)) ==
        HY_FIBER_HUGE_STACK)
        flags |= HYI_FIBER_CANARY;
    return flags;
}

/* A new fiber comes to life; it has a slot and a claim to a stack, and is about
   to be handed over to a worker. Gives its id. */
static inline uint64_t enliven(hy_runtime *rt, struct hyi_fiber *f,
                               struct hyi_worker *to, void (*entry)(void *),
                               void *arg, unsigned flags)
{
    uint64_t life =
        atomic_load_explicit(&f->life, memory_order_relaxed) | HYI_LIFE_LIVE;

    HYI_DEBUG(f->joiners == NULL);
    f->entry = entry;
    f->arg = arg;
    f->flags = (uint8_t)flags;
    f->critical = 0;
    /* Before it is live: who finds it live may post to it, and a cancel that
       knew no worker, or one of a life before, could be lost in the moment in
       which the fiber looks for it and parks. Release: pairs with
       is_parked_here, of a life before this. */
    atomic_store_explicit(&f->worker, to, memory_order_release);
    atomic_store_explicit(&f->switches, 0, memory_order_relaxed);
    atomic_store_explicit(&f->state, HY_FIBER_NEW, memory_order_relaxed);
    /* Release: pairs with the acquires of hyi_fiber_unlocked and
       hyi_fiber_lock. Either this sees a stop, or the stop's walk sees the
       fiber: the barrier in hyi_cancel_all orders the store before the load. */
    atomic_store_explicit(&f->life, life, memory_order_release);
    /* For the compiler, which might load stop before; the processor's order is
       the barrier's, or look_for_stop's. */
    atomic_signal_fence(memory_order_seq_cst);
    return hyi_fiber_id(rt, life).id;
}

/* Between its coming to life and its hand-over: a stop that was asked for. */
static inline void look_for_stop(hy_runtime *rt, struct hyi_fiber *f)
{
    if (HYI_UNLIKELY(rt->need_fence))
        atomic_thread_fence(memory_order_seq_cst);
    if (HYI_UNLIKELY(atomic_load_explicit(&rt->stop, memory_order_relaxed)))
        cancel_new(f);
}

static __attribute__((noinline)) int
spawn_slowly(hy_runtime *rt, void (*entry)(void *), void *arg,
             const hy_fiber_options *options, hy_fiber *out)
{
    struct hyi_worker *w = hyi_fiber_running() ? hyi_worker_self : NULL;
    struct hyi_fiber *f;
    hy_fiber_options o;
    unsigned class;
    uint64_t id;
    int r;

    if (rt == NULL && w != NULL)
        rt = w->rt;
    if (rt == NULL || entry == NULL)
        return -EINVAL;
    if (HYI_UNLIKELY(rt->stale))
        return -ESTALE;
    if (w != NULL && w->rt != rt)
        w = NULL;
    r = read_options(rt, options, &o, &class);
    if (r == 0)
        r = make(rt, w, class, o.name, &f);
    if (r != 0)
        return r;
    f->shield = 0;
    f->pinned = o.worker != 0;
    id = enliven(rt, f, hyi_worker_for(rt, w, o.worker - 1), entry, arg,
                 flags_of(rt, o.flags));
    look_for_stop(rt, f);
    if (out != NULL)
        out->id = id;
    if (HYI_UNLIKELY(f->flags & HYI_FIBER_EXTRA) || HYI_TRACED(spawn))
        hyi_observe_spawn(rt, w, f);
    hyi_worker_spawned(rt, w, f);
    return 0;
}

/* The rest of a spawn that is not straight to its end. The stop is looked at
   once more, which does no harm. */
static __attribute__((noinline)) int hand_over_slowly(struct hyi_worker *w,
                                                      struct hyi_fiber *f)
{
    look_for_stop(w->rt, f);
    if ((f->flags & HYI_FIBER_EXTRA) || HYI_TRACED(spawn))
        hyi_observe_spawn(w->rt, w, f);
    hyi_fresh_push(w, f);
    if (!hyi_worker_is_alone(w))
        hyi_notify(w->rt);
    return 0;
}

static __attribute__((noinline)) int tell_others(hy_runtime *rt)
{
    hyi_notify(rt);
    return 0;
}

/* The usual case alone: from a fiber, without options, from the worker's own
   slots and claims, into a deque that has room. Nothing is called before the
   end, so nothing is saved. */
int hy_fiber_spawn(hy_runtime *rt, void (*entry)(void *), void *arg,
                   const hy_fiber_options *options, hy_fiber *out)
{
    struct hyi_worker *w = hyi_worker_self;
    struct hyi_stack_pool *pool;
    struct hyi_fiber *f;
    uint64_t id;

    if (HYI_UNLIKELY(w == NULL || w->current == &w->base || options != NULL ||
                     entry == NULL || (rt != NULL && rt != w->rt) ||
                     w->special))
        return spawn_slowly(rt, entry, arg, options, out);
    rt = w->rt;
    f = w->free;
    pool = w->usual;
    if (HYI_UNLIKELY(f == NULL || pool->claims == 0))
        return spawn_slowly(rt, entry, arg, options, out);
    w->free = f->next;
    w->free_count--;
    pool->claims--;
    f->class = (uint8_t)rt->class;
    f->shield = 0;
    f->pinned = f->cancellable = false;
    id = enliven(rt, f, w, entry, arg, rt->fiber_flags);
    if (out != NULL)
        out->id = id;
    hyi_count(&w->spawned);
    w->plain = false; /* or yields would pass it by */
    if (HYI_UNLIKELY(
            rt->spawns_slowly ||
            atomic_load_explicit(&rt->stop, memory_order_relaxed) != 0 ||
            HYI_TRACED(spawn) || !hyi_deque_try_push(&w->deque, f, id)))
        return hand_over_slowly(w, f);
    if (atomic_load_explicit(&rt->active, memory_order_relaxed) > 1)
        return tell_others(rt);
    return 0;
}

/* --- self -------------------------------------------------------------------
 */

void hy_fiber_yield(void)
{
    struct hyi_worker *w = hyi_worker_self;

    if (w != NULL && w->current != &w->base)
        hyi_yield(w);
    else
        hyi_os_thread_yield();
}

hy_fiber hy_fiber_self(void)
{
    struct hyi_fiber *f = hyi_fiber_running();

    if (f == NULL)
        return (hy_fiber){0};
    return hyi_fiber_id(hyi_worker_self->rt,
                        atomic_load_explicit(&f->life, memory_order_relaxed));
}

int hy_fiber_sleep(hy_deadline until)
{
    struct hyi_waiter waiter HYI_ONE_LINE;
    int r;

    hyi_waiter_init(&waiter, HYI_WAIT_SLEEP);
    r = hyi_park(&waiter, until);
    return r == -ETIMEDOUT ? 0 : r;
}

int hy_fiber_check(void)
{
    struct hyi_fiber *f = hyi_fiber_running();

    return f != NULL && hyi_fiber_is_cancelled(f) ? -ECANCELED : 0;
}

void hy_fiber_shield(int on)
{
    struct hyi_fiber *f = hyi_fiber_running();

    if (f == NULL)
        return;
    if (on)
        f->shield++;
    else if (f->shield > 0)
        f->shield--;
}

void hy_fiber_critical_enter(void)
{
    struct hyi_fiber *f = hyi_fiber_running();

    if (f == NULL || f->critical == UINT8_MAX)
        return;
    f->critical++;
    f->flags |= HYI_FIBER_CRITICAL;
    hyi_turn_end_of(hyi_worker_self, f);
}

void hy_fiber_critical_leave(void)
{
    struct hyi_fiber *f = hyi_fiber_running();

    if (f != NULL && f->critical != 0 && --f->critical == 0)
        f->flags &= (uint8_t)~HYI_FIBER_CRITICAL;
}

/* --- others -----------------------------------------------------------------
 */

/* Takes the waiter out of joiners; false when it was claimed. */
static bool leave_joiners(struct hyi_fiber *f, uint64_t generation,
                          struct hyi_waiter *waiter)
{
    if (!hyi_fiber_lock(f, generation))
        return false;
    if (waiter->prev != NULL)
        waiter->prev->next = waiter->next;
    else
        f->joiners = waiter->next;
    if (waiter->next != NULL)
        waiter->next->prev = waiter->prev;
    hyi_fiber_unlock(f);
    return true;
}

/* Whether to look for a cycle. Not when the joined fiber is of this thread and
   does not wait: when it does it looks itself, and sees what this thread has
   published before. */
static inline bool may_close_cycle(const struct hyi_fiber *f)
{
    const struct hyi_worker *w = hyi_worker_self;

    if (w == NULL ||
        atomic_load_explicit(&w->rt->active, memory_order_relaxed) != 1 ||
        atomic_load_explicit(&f->worker, memory_order_relaxed) != w)
        hyi_waits_fence();
    return hyi_waits_any(hyi_fiber_agent(f));
}

/* Whether the caller, who stands among the joiners, closes a cycle; it stands
   there no more then. */
static __attribute__((noinline)) bool
join_closes_cycle(struct hyi_fiber *f, uint64_t generation,
                  struct hyi_waiter *waiter, uintptr_t me)
{
    bool closes;

    /* The joined one waits, perhaps for one of another thread. */
    hyi_waits_fence();
    if (!hyi_waits_return(me, (uintptr_t)f))
        return false;
    hyi_waits_confirm_begin();
    closes = hyi_waits_confirm(me) && leave_joiners(f, generation, waiter);
    if (closes)
        hyi_waits_end_join(hyi_token_agent(me));
    hyi_waits_confirm_end();
    return closes;
}

/* Parks the caller, who stands among the joiners. */
static int await_end(struct hyi_fiber *f, uint64_t generation,
                     struct hyi_waiter *waiter, hy_deadline until)
{
    int r = hyi_park(waiter, until);

    if (r != 0 && !leave_joiners(f, generation, waiter)) {
        hyi_park_claimed(waiter);
        r = 0;
    }
    return r;
}

static int join_parked(struct hyi_fiber *f, uint64_t id, hy_deadline until)
{
    uint64_t generation = hyi_generation(id);
    struct hyi_agent *agent;
    struct hyi_waiter waiter HYI_ONE_LINE;
    uintptr_t me;
    int r;

    if (!hyi_fiber_lock(f, generation))
        return 0;
    hyi_waiter_init(&waiter, HYI_WAIT_JOIN);
    waiter.next = f->joiners;
    if (f->joiners != NULL)
        f->joiners->prev = &waiter;
    f->joiners = &waiter;
    hyi_fiber_unlock(f);
    if (until == HY_NOW)
        return await_end(f, generation, &waiter, until);
    me = hyi_token_self();
    agent = hyi_token_agent(me);
    hyi_waits_join(agent, id);
    if (HYI_UNLIKELY(may_close_cycle(f)) &&
        join_closes_cycle(f, generation, &waiter, me))
        r = -EDEADLK;
    else
        r = await_end(f, generation, &waiter, until);
    hyi_waits_end_join(agent);
    return r;
}

/* Whether the fiber lives; with 0, or an error, it does not. */
static inline bool joins(hy_fiber fiber, struct hyi_fiber **f, int *r)
{
    hy_runtime *rt;
    uint64_t life;

    *f = hyi_fiber_find(fiber, &rt);
    *r = 0;
    if (*f == NULL)
        return false;
    if (HYI_UNLIKELY(rt->stale)) {
        *r = -ESTALE;
        return false;
    }
    /* Acquire: pairs with the release of its end. */
    life = atomic_load_explicit(&(*f)->life, memory_order_acquire);
    return hyi_generation(life) == hyi_generation(fiber.id) &&
           (life & HYI_LIFE_LIVE);
}

static __attribute__((noinline)) int join_live(struct hyi_fiber *f, uint64_t id,
                                               hy_deadline until)
{
    return f == hyi_fiber_running() ? -EDEADLK : join_parked(f, id, until);
}

int hyi_join_any(hy_fiber fiber, hy_deadline until)
{
    struct hyi_fiber *f;
    int r;

    return joins(fiber, &f, &r) ? join_live(f, fiber.id, until) : r;
}

int hy_fiber_join(hy_fiber fiber, hy_deadline until)
{
    struct hyi_worker *w = hyi_worker_self;
    struct hyi_fiber *f;
    int r;

    if (fiber.id == 0)
        return -EINVAL;
    if (HYI_LIKELY(w != NULL && until == HY_FOREVER)) {
        const struct hyi_deque_cell *newest =
            hyi_deque_newest(&w->deque, fiber.id);

        if (newest != NULL)
            return hyi_join_newest(w, newest, fiber);
    }
    return joins(fiber, &f, &r) ? join_live(f, fiber.id, until) : r;
}

/* Marks one generation of a slot; 0 or -ESRCH. */
static int cancel(struct hyi_fiber *f, uint64_t generation)
{
    uint64_t life;

    do {
        life = hyi_fiber_unlocked(f);
        if (hyi_generation(life) != generation || !(life & HYI_LIFE_LIVE))
            return -ESRCH;
        /* Partner: hyi_fiber_is_cancelled, in the fiber's worker. */
    } while (!atomic_compare_exchange_weak_explicit(
        &f->life, &life, life | HYI_LIFE_CANCELLED, memory_order_seq_cst,
        memory_order_relaxed));
    /* Also to the current fiber: a walk may run inside its park. */
    if (!(life & HYI_LIFE_CANCELLED))
        hyi_post(f, HYI_POST_CANCEL);
    return 0;
}

int hy_fiber_cancel(hy_fiber fiber)
{
    struct hyi_fiber *f;
    hy_runtime *rt;
    int r;

    f = fiber.id != 0 ? hyi_fiber_find(fiber, &rt) : NULL;
    if (f == NULL)
        return -ESRCH;
    if (rt->stale)
        return -ESTALE;
    /* Partner: hyi_table_reset. Either it waits, or this finds a fiber that has
       ended. */
    atomic_fetch_add(&rt->cancelling, 1);
    r = cancel(f, hyi_generation(fiber.id));
    atomic_fetch_sub_explicit(&rt->cancelling, 1, memory_order_release);
    return r;
}

void hyi_cancel_all(hy_runtime *rt)
{
    size_t used;

    /* Partner: the store of life, then the load of stop, in hy_fiber_spawn. */
    hyi_barrier(rt);
    used = atomic_load_explicit(&rt->used_visible, memory_order_acquire);

    for (size_t i = 0; i < used; i++) {
        struct hyi_fiber *f = hyi_fiber_at(rt, i);
        /* Relaxed, as in hy_fiber_each: both look again, and acquire. */
        uint64_t life = atomic_load_explicit(&f->life, memory_order_relaxed);

        if (life & HYI_LIFE_LIVE)
            cancel(f, hyi_generation(life));
    }
}

/* --- each -------------------------------------------------------------------
 */

/* The slot of a fiber that only yields says RUNNING (turn.h). */
static hy_fiber_state state_of(const struct hyi_fiber *f,
                               const struct hyi_worker *w)
{
    unsigned state = atomic_load_explicit(&f->state, memory_order_relaxed);

    if (state == HY_FIBER_RUNNING &&
        atomic_load_explicit(&w->current_seen, memory_order_relaxed) != f)
        return HY_FIBER_READY;
    /* 0: it is about to end, and waits for the lock that the caller holds. */
    return state != 0 ? (hy_fiber_state)state : HY_FIBER_RUNNING;
}

/* Of one that does not run. The first time that it leaves its stack it is seen
   to leave before its slot has more than its entry: then it is not known. */
static uint64_t stack_used(const struct hyi_fiber *f, uint64_t most)
{
    uint32_t used = f->top - (uint32_t)(uintptr_t)atomic_load_explicit(
                                 &f->sp_seen, memory_order_relaxed);

    return used <= most ? used : 0;
}

static void describe(hy_runtime *rt, struct hyi_fiber *f, uint64_t life,
                     hy_fiber_info *info)
{
    struct hyi_stack *stack =
        atomic_load_explicit(&f->stack, memory_order_acquire);
    struct hyi_worker *w =
        atomic_load_explicit(&f->worker, memory_order_relaxed);
    struct hyi_fiber_extra *e;

    info->fiber = hyi_fiber_id(rt, life);
    info->state = state_of(f, w);
    info->worker = w != NULL ? (int)w->index : 0;
    info->reason = info->state == HY_FIBER_PARKED
                       ? hyi_wait_name((enum hyi_wait)atomic_load_explicit(
                             &f->wait, memory_order_relaxed))
                       : "";
    info->cancelled = (life & HYI_LIFE_CANCELLED) != 0;
    info->switches = atomic_load_explicit(&f->switches, memory_order_relaxed);
    info->stack_bytes = hyi_stack_class_bytes(f->class);
    if (stack == NULL)
        return;
    info->stack_peak_bytes =
        atomic_load_explicit(&f->peak, memory_order_relaxed);
    if (info->state == HY_FIBER_PARKED || info->state == HY_FIBER_READY)
        info->stack_used_bytes = stack_used(f, info->stack_bytes);
    /* The switch measures before it saves its registers. */
    if (info->stack_peak_bytes < info->stack_used_bytes)
        info->stack_peak_bytes = info->stack_used_bytes;
    if (!(rt->flags & HY_RUNTIME_MEASURE))
        return;
    e = hyi_extra_on(stack);
    info->run_ns = atomic_load_explicit(&e->run_ns, memory_order_relaxed);
    info->wait_ns = atomic_load_explicit(&e->wait_ns, memory_order_relaxed);
    info->delay_ns = atomic_load_explicit(&e->delay_ns, memory_order_relaxed);
}

int hy_fiber_each(hy_runtime *rt,
                  int (*visit)(const hy_fiber_info *info, void *arg), void *arg)
{
    size_t used;
    int r = 0;

    if (rt == NULL || visit == NULL)
        return -EINVAL;
    if (rt->stale)
        return -ESTALE;
    if (hyi_worker_self != NULL && hyi_worker_self->rt == rt)
        hyi_turns_to_slots(hyi_worker_self);
    used = atomic_load_explicit(&rt->used_visible, memory_order_acquire);
    for (size_t i = 0; i < used && r == 0; i++) {
        struct hyi_fiber *f = hyi_fiber_at(rt, i);
        uint64_t life = atomic_load_explicit(&f->life, memory_order_relaxed);
        hy_fiber_info info = {.size = sizeof(info)};
        char name[HYI_NAME_BYTES] = "";

        if (!(life & HYI_LIFE_LIVE) || !hyi_fiber_lock(f, hyi_generation(life)))
            continue;
        if (f->name != NULL)
            memcpy(name, f->name, sizeof(name));
        describe(rt, f, life, &info);
        hyi_fiber_unlock(f);
        info.name = name;
        r = visit(&info, arg);
    }
    return r;
}
