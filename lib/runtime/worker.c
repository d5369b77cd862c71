/*
 * worker.c - one worker: which fiber runs next, and how it gets there.
 *
 *      fiber A                  (hop: the one place where stacks change)
 *        hyi_yield / park / end
 *          pick: inbox and timers now and then; unstarted | ready
 *          hop ------------------------------------> fiber B
 *                 nothing ready: hop to the base, the thread's own stack,
 *                 whose loop searches and sleeps (idle.c)
 *
 * Fibers switch to each other directly; the base is not on the way. A fiber
 * that ends hands its stack to the next unstarted one in place, without a
 * switch: that makes spawn, run and join cheap.
 *
 * Invariant: everything in struct hyi_worker down to its counters, and every
 * started fiber of it, is touched by its own thread only. Others use the inbox.
 *
 * Upstream: fiber.c, runtime.c, parker.c. Downstream: queues.h, hop.h, inbox.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "hop.h"
#include "waits.h"

enum {
    STREAK_MOST = 32, /* picks from one queue, then the other is due */
    VIRTUAL_STEP_NS = 10,
    PUT_OFF_NS = 1000000
};

_Thread_local struct hyi_worker *hyi_worker_self
    __attribute__((tls_model("initial-exec")));

uint64_t hyi_random(struct hyi_worker *w)
{
    uint64_t z = w->random += 0x9e3779b97f4a7c15u; /* splitmix64 */

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t hyi_worker_now(struct hyi_worker *w)
{
    if (HYI_LIKELY(w->rt->seed == 0))
        return hyi_os_now();
    /* A loop that waits for the time to come must end. A deadline that means
       never may have come: time stands still, rather than begin anew. */
    if (HYI_LIKELY(w->virtual_now < HY_FOREVER - 1 - VIRTUAL_STEP_NS))
        w->virtual_now += VIRTUAL_STEP_NS;
    return w->virtual_now;
}

/* --- choosing ----------------------------------------------------------------
 */

/* Unstarted before ready: a yield lets them start. Only in a tree of forks do
   those that were woken go first: a parent may end, and give its stack to the
   next. Either way the other queue is due in the end. */
static bool wants_fresh(struct hyi_worker *w)
{
    bool due;

    if (!hyi_fresh_any(w))
        return false;
    due = ++w->streak >= STREAK_MOST;
    if (due)
        w->streak = 0;
    return w->newest_first && w->woken != 0 ? due : !due;
}

static inline bool is_service_due(struct hyi_worker *w)
{
    return --w->tick == 0 ||
           atomic_load_explicit(&w->inbox, memory_order_relaxed) != 0;
}

static inline struct hyi_fiber *choose_own(struct hyi_worker *w)
{
    struct hyi_fiber *f;

    if (wants_fresh(w) && (f = hyi_fresh_pop(w)) != NULL)
        return f;
    f = hyi_ready_pop(w);
    return f != NULL ? f : hyi_fresh_pop(w);
}

/* In turn with the others; what is left of them is for whoever is idle. */
static __attribute__((noinline)) struct hyi_fiber *
choose_roaming(struct hyi_worker *w)
{
    struct hyi_fiber *f = NULL;
    bool alone = hyi_worker_is_alone(w);

    w->roams_turn = !w->roams_turn;
    if (w->roams_turn)
        f = hyi_deque_take(&w->roaming, alone);
    if (f == NULL)
        f = choose_own(w);
    if (f == NULL)
        f = hyi_deque_take(&w->roaming, alone);
    w->roams = hyi_deque_count(&w->roaming) > 0;
    if (w->roams && !alone)
        hyi_notify(w->rt);
    return f;
}

static inline __attribute__((always_inline)) struct hyi_fiber *
choose(struct hyi_worker *w)
{
    return HYI_UNLIKELY(w->roams) ? choose_roaming(w) : choose_own(w);
}

static bool is_unstarted(const struct hyi_fiber *f)
{
    return atomic_load_explicit(&f->state, memory_order_relaxed) ==
           HY_FIBER_NEW;
}

/* Whether an unstarted fiber may take over the stack of one that has ended. */
static inline bool takes_over(const struct hyi_worker *w,
                              const struct hyi_fiber *next)
{
    unsigned some = next->flags | w->last.flags;

    if (!is_unstarted(next) || next->class != w->last.class)
        return false;
    return HYI_LIKELY(!(some & HYI_FIBER_EXTRA)) ||
           (!(some & HY_FIBER_FP_ENV) &&
            (next->flags & w->last.flags & HYI_FIBER_EXTRA));
}

/* Puts a fiber that could not start where it is found first. */
static void start_later(struct hyi_worker *w, struct hyi_fiber *f)
{
    w->plain = false;
    f->next = w->fixed_first;
    if (w->fixed_first == NULL)
        w->fixed_last = f;
    w->fixed_first = f;
}

/* As pick, when a poll has a bound, or when somebody looks on: what it gives is
   what really runs next. */
static __attribute__((noinline)) struct hyi_fiber *
pick_special(struct hyi_worker *w)
{
    struct hyi_fiber *f;

    hyi_observe_leave(w);
    if (is_service_due(w)) {
        hyi_worker_service(w);
        hyi_observe_delay(w);
    }
    if (w->bounded && w->picks_left != 0 && --w->picks_left == 0)
        w->bound_reached = true;
    f = w->bounded && w->bound_reached ? NULL : choose(w);
    if (f != NULL && w->current == &w->last && is_unstarted(f) &&
        !takes_over(w, f)) {
        start_later(w, f);
        f = NULL;
    }
    hyi_observe_resume(w, f);
    return f;
}

static struct hyi_fiber *pick(struct hyi_worker *w)
{
    if (HYI_UNLIKELY(w->special))
        return pick_special(w);
    if (HYI_UNLIKELY(is_service_due(w)))
        hyi_worker_service(w);
    return choose(w);
}

/* The choice of a tree of forks that is walked depth first, when nothing else
   is due: the newest. NULL: pick has to look. */
static inline struct hyi_fiber *pick_walking(struct hyi_worker *w)
{
    if (!w->newest_first || w->woken != 0 || w->fixed_first != NULL ||
        w->roams || w->special || w->tick <= 1 ||
        w->streak + 1 >= STREAK_MOST ||
        atomic_load_explicit(&w->inbox, memory_order_relaxed) != 0 ||
        hyi_deque_count(&w->deque) <= 0)
        return NULL;
    w->tick--;
    w->streak++;
    return hyi_deque_pop(&w->deque, hyi_worker_is_alone(w));
}

/* --- beginning ---------------------------------------------------------------
 */

/* Stores that are atomic where a hy_fiber_each may still read what the stack's
   last fiber had there. */
static __attribute__((noinline)) void begin_extra(struct hyi_worker *w,
                                                  const struct hyi_fiber *f,
                                                  const struct hyi_stack *stack)
{
    struct hyi_fiber_extra *e = hyi_extra_on(stack);

    atomic_store_explicit(&e->run_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&e->wait_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&e->delay_ns, 0, memory_order_relaxed);
    e->since = e->woken_at = 0;
    e->away = false;
    e->fp_env =
        w->current->flags & HY_FIBER_FP_ENV ? w->fp_env : hy_arch_fp_env_get();
    hyi_observe_begin(w, f, e);
}

/* An unstarted fiber gets a stack. */
static inline void settle_on(struct hyi_worker *w, struct hyi_fiber *f,
                             struct hyi_stack *stack, const char *top)
{
    if (HY_ARCH_THREADS && w->put_off == f)
        w->put_off = NULL;
    atomic_store_explicit(&stack->owner, f, memory_order_relaxed);
    f->top = (uint32_t)(uintptr_t)top;
    atomic_store_explicit(&f->peak, 0, memory_order_relaxed);
    /* Release: pairs with the acquire in hy_fiber_each. */
    atomic_store_explicit(&f->stack, stack, memory_order_release);
}

/* The same for one that may be of another worker: it stays with this one. */
static inline void settle(struct hyi_worker *w, struct hyi_fiber *f,
                          struct hyi_stack *stack, const char *top)
{
    f->error = 0;
    /* An exchange after a theft: pairs with take_post's load, so that a cancel
       which was sent to the old worker is seen by the first park here. */
    if (atomic_load_explicit(&f->worker, memory_order_relaxed) != w)
        atomic_exchange_explicit(&f->worker, w, memory_order_seq_cst);
    if (HYI_UNLIKELY(f->flags & HYI_FIBER_EXTRA))
        begin_extra(w, f, stack);
    settle_on(w, f, stack, top);
}

/* By force, for the reason that begin is not. */
static inline __attribute__((always_inline)) struct hyi_stack *
take_stack(struct hyi_worker *w, unsigned class)
{
    struct hyi_stack_pool *pool = &w->pool[class];
    struct hyi_stack *stack = pool->top;

    if (HYI_UNLIKELY(pool->count == 0 || !stack->ready))
        return hyi_stack_take(w->rt->stacks, pool, class);
    pool->top = stack->next;
    pool->count--;
    return stack;
}

/* The system has no thread for it now. It is tried again after one of those
   that are ready, if there is one, and after a rest otherwise. */
static void put_off(struct hyi_worker *w, struct hyi_fiber *f,
                    struct hyi_stack *stack)
{
    static const _Atomic uint32_t never = 0;

    if (w->put_off == NULL)
        hyi_report(w->rt, HY_REPORT_WARNING,
                   "no thread for the context of a fiber: it starts later");
    w->put_off = f;
    hyi_stack_give(w->rt->stacks, &w->pool[f->class], f->class, stack);
    start_later(w, f);
    w->tick = 1; /* time may pass */
    w->streak = w->newest_first && w->woken != 0 ? 0 : STREAK_MOST - 1;
    if (hyi_ready_count_own(&w->ready) == 0 && w->ready.spill_first == NULL)
        hyi_os_futex_wait(&never, 0, hyi_os_now() + PUT_OFF_NS, false);
}

/* The thread that a context on this stack may need; false: put off. */
static inline bool prepare(struct hyi_worker *w, struct hyi_fiber *f,
                           struct hyi_stack *stack, void *top)
{
    if (HYI_UNLIKELY(!hy_arch_hop_prepare(top))) {
        put_off(w, f, stack);
        return false;
    }
    return true;
}

/* Gives it a stack, and a thread; NULL: later. Apart, so that go is small: they
   run on the stack that is left, of which there may be little. */
static __attribute__((noinline)) void *begin(struct hyi_worker *w,
                                             struct hyi_fiber *f)
{
    struct hyi_stack *stack = take_stack(w, f->class);
    char *end = hyi_stack_top(stack), *top = end;

    if (HYI_UNLIKELY(f->flags & HYI_FIBER_EXTRA))
        top -= hyi_align_up(sizeof(struct hyi_fiber_extra), 64);
    if (!prepare(w, f, stack, top))
        return NULL;
    settle(w, f, stack, end);
    return top;
}

/* --- going on ----------------------------------------------------------------
 */

/* Runs the next fiber, or the base; returns when the caller's turn comes. */
static void go(struct hyi_worker *w, struct hyi_fiber *next)
{
    void *top = NULL;

    if (next != NULL && is_unstarted(next)) {
        top = begin(w, next);
        if (HYI_UNLIKELY(top == NULL))
            next = NULL;
    }
    if (next == NULL)
        next = &w->base;
    if (next != w->current)
        hyi_leave_for(w, next, top);
    else
        atomic_store_explicit(&next->state, HY_FIBER_RUNNING,
                              memory_order_relaxed);
}

void hyi_worker_next(struct hyi_worker *w)
{
    go(w, pick(w));
}

/* A fiber that roams leaves for the base, and is chosen or taken from there:
   nothing that puts it where others find it may run on its own stack. It may be
   continued by another worker. */
__attribute__((noinline)) void hyi_leave_for_base(struct hyi_worker *w)
{
    if (HYI_UNLIKELY(w->special))
        hyi_observe_leave(w);
    hyi_leave_for(w, &w->base, NULL);
}

void hyi_worker_run(struct hyi_worker *w)
{
    struct hyi_fiber *f;

    while (!w->rt->stale && (f = pick(w)) != NULL) {
        go(w, f);
        if (HYI_UNLIKELY(w->yielded != NULL)) {
            hyi_ready_push(w, w->yielded);
            w->yielded = NULL;
        }
    }
}

/* --- a fiber's end -----------------------------------------------------------
 */

/* The same when the worker has enough of stacks or claims. */
static __attribute__((noinline)) void
give_stack(struct hyi_worker *w, unsigned class, struct hyi_stack *stack)
{
    struct hyi_stack_pool *pool = &w->pool[class];

    hyi_stack_give(w->rt->stacks, pool, class, stack);
    if (++pool->claims > pool->most) {
        hyi_stack_unclaim(w->rt->stacks, class, (pool->most + 1) / 2);
        pool->claims -= (pool->most + 1) / 2;
    }
}

static inline void put_stack(struct hyi_stack_pool *pool,
                             struct hyi_stack *stack)
{
    stack->next = pool->top;
    pool->top = stack;
    pool->count++;
}

/* Gives back what a fiber held, but for its stack: false when that has gone
   too. Otherwise the caller, who still runs on it, has it in hand, and the
   worker's pool has room for it. */
static inline bool finish(struct hyi_worker *w, struct hyi_fiber *f,
                          struct hyi_stack *stack)
{
    unsigned class = f->class;
    struct hyi_stack_pool *pool = &w->pool[class];
    bool in_hand = true;

    hyi_turn_end_of(w, f);
    atomic_store_explicit(&f->stack, NULL, memory_order_relaxed);
    if (HYI_UNLIKELY(pool->count >= pool->most || pool->claims >= pool->most)) {
        give_stack(w, class, stack);
        in_hand = false;
    } else {
        atomic_store_explicit(&stack->owner, NULL, memory_order_relaxed);
        pool->claims++;
    }
    hyi_fiber_end(w->rt, w, f);
    hyi_count(&w->ended);
    return in_hand;
}

/* The next unstarted fiber takes over this very stack, if it is like it. */
static HYI_INSTRUMENTED bool take_over(struct hyi_worker *w,
                                       struct hyi_fiber *next)
{
    unsigned class = w->last.class;
    struct hyi_stack *stack = w->in_hand;

    if (next == NULL || !takes_over(w, next)) {
        if (stack != NULL)
            put_stack(&w->pool[class], stack);
        return false;
    }
    if (HYI_UNLIKELY(stack == NULL))
        stack = take_stack(w, class);
    settle(w, next, stack, hyi_stack_top(stack));
    atomic_store_explicit(&next->state, HY_FIBER_RUNNING, memory_order_relaxed);
    hyi_count(&next->switches);
    *w->errno_at = 0;
    hyi_current_set(w, next);
    return true;
}

/* Whom the end of the fiber on this stack continues: the one who began it by a
   join, if he still waits. The waiter is this thread's alone. */
static struct hyi_fiber *end_start(struct hyi_worker *w,
                                   struct hyi_stack *stack)
{
    struct hyi_waiter *waiter = stack->starter;
    bool waits = atomic_load_explicit(&waiter->state, memory_order_relaxed) ==
                 HYI_WAITER_PARKED;

    stack->starter = NULL;
    atomic_store_explicit(&waiter->state, HYI_WAITER_WOKEN,
                          memory_order_relaxed);
    if (HYI_LIKELY(waits && !w->special))
        return waiter->sleeper;
    if (waits)
        hyi_ready_push_woken(w, waiter->sleeper, NULL);
    return NULL;
}

/* Apart: what asks for its frame's address has a frame pointer. */
static __attribute__((noinline)) void check_end(const struct hyi_worker *w,
                                                struct hyi_fiber *f)
{
    if (w->rt->stale) /* as a plain thread, which counts no sections */
        f->flags &= (uint8_t)~HYI_FIBER_CRITICAL;
    hyi_check_leave(f, true);
}

/* Ends the current fiber and gives the next, or NULL for the base. The slot of
   one that has ended may be in use again at once: from here on the worker's
   "last" stands for it. */
static HYI_INSTRUMENTED struct hyi_fiber *end_current(struct hyi_worker *w)
{
    struct hyi_fiber *f = w->current, *next = NULL;
    struct hyi_stack *stack =
        atomic_load_explicit(&f->stack, memory_order_relaxed);

    if (HYI_UNLIKELY(f->flags & (HYI_FIBER_CANARY | HYI_FIBER_CRITICAL)))
        check_end(w, f);
    w->last.class = f->class;
    w->last.flags = f->flags;
    atomic_store_explicit(&w->last.stack, stack, memory_order_relaxed);
    if (HYI_UNLIKELY(w->special)) {
        if (w->rt->stale) {
            hyi_current_set(w, &w->last);
            w->in_hand = NULL;
            return NULL;
        }
        hyi_observe_end(w, f);
    }
    w->in_hand = finish(w, f, stack) ? stack : NULL;
    hyi_current_set(w, &w->last);
    if (stack->starter != NULL)
        next = end_start(w, stack);
    if (next == NULL)
        next = pick_walking(w);
    return next != NULL ? next : pick(w);
}

/* The worker whose fiber begins here. */
static struct hyi_worker *begin_stack(void)
{
    if (!HY_ARCH_THREADS)
        return hyi_worker_self;
    hyi_worker_come(hy_arch_hop_carried());
    hyi_fault_thread_prepare(); /* without it, overflows are not reported */
    return hyi_worker_self;
}

/* What the fiber's function has left undone: ends its values. Gives the worker
   that does so in the end. */
static __attribute__((noinline)) struct hyi_worker *
after_entry(struct hyi_worker *w, const struct hyi_fiber *f,
            struct hyi_stack *stack)
{
    if (HYI_UNLIKELY(stack->locals != NULL))
        hyi_locals_end(&stack->locals);
    if (HYI_LIKELY(!(f->flags & HY_FIBER_MIGRATE)))
        return w;
    /* Where it is by now. A child of fork has none of its own. */
    return atomic_load_explicit(&f->worker, memory_order_relaxed);
}

/* The usual end of one that a join has begun: it has nothing but its slot and
   its stack, and who joins it goes on, if he still waits. Gives where, or NULL:
   then nothing is done. */
static HYI_INSTRUMENTED void *
end_straight(struct hyi_worker *w, struct hyi_fiber *f, struct hyi_stack *stack)
{
    struct hyi_waiter *waiter = stack->starter;
    struct hyi_stack_pool *pool = &w->pool[f->class];
    struct hyi_fiber *next;

    if (waiter == NULL || w->special ||
        atomic_load_explicit(&waiter->state, memory_order_relaxed) !=
            HYI_WAITER_PARKED)
        return NULL;
    next = waiter->sleeper;
    stack->starter = NULL;
    atomic_store_explicit(&waiter->state, HYI_WAITER_WOKEN,
                          memory_order_relaxed);
    if (HYI_NOTES)
        atomic_store_explicit(&w->last.stack, stack, memory_order_relaxed);
    if (HYI_LIKELY(finish(w, f, stack)))
        put_stack(pool, stack);
    hyi_see_depth(next);
    atomic_store_explicit(&next->state, HY_FIBER_RUNNING, memory_order_relaxed);
    hyi_count(&next->switches);
    hyi_count(&w->switches);
    *w->errno_at = next->error;
    hyi_current_set(w, next);
    return next->sp;
}

/* Who is continued when the last fiber of a stack has ended. */
static HYI_INSTRUMENTED void *leave_stack(struct hyi_worker *w,
                                          struct hyi_fiber *next)
{
    /* Starting it here might take the stack that this runs on: the base does.
     */
    if (next != NULL && is_unstarted(next)) {
        start_later(w, next);
        next = NULL;
    }
    if (next == NULL)
        next = &w->base;
    hyi_see_depth(next);
    hyi_turn_to(w, &w->last, next);
    return next->sp;
}

/* What stands at the beginning of each stack: the fibers that run on it, one
   after another. Tools must not see its return, which is on another stack. */
HYI_NOT_INSTRUMENTED void *hyi_fiber_main(void)
{
    struct hyi_worker *w = begin_stack();
    struct hyi_fiber *f, *next;
    struct hyi_stack *stack;
    void *sp = NULL;

    hyi_hop_note_arrive(w, NULL);
    do {
        f = w->current;
        stack = atomic_load_explicit(&f->stack, memory_order_relaxed);
        f->entry(f->arg);
        if (HYI_LIKELY(f->flags == 0 && stack->locals == NULL))
            sp = end_straight(w, f, stack);
        else
            w = after_entry(w, f, stack);
        if (sp != NULL)
            break;
        next = end_current(w);
    } while (take_over(w, next));
    if (HY_ARCH_THREADS && w->rt->stale)
        pthread_exit(NULL); /* a child of fork has no other thread */
    if (sp == NULL)
        sp = leave_stack(w, next);
    hyi_hop_note_leave(w, NULL, &w->last, w->current, true);
    if (HY_ARCH_THREADS)
        hyi_worker_forget();
    return sp;
}

/* --- joins in place ----------------------------------------------------------
 */

/* At a tick: the cell of the newest once more, if nobody else is due. */
static __attribute__((noinline)) const struct hyi_deque_cell *
look_around(struct hyi_worker *w, uint64_t id)
{
    hyi_worker_service(w);
    if (hyi_ready_count_own(&w->ready) == 0 && w->ready.spill_first == NULL &&
        w->fixed_first == NULL && !w->roams && hyi_deque_count(&w->deque) == 1)
        return hyi_deque_newest(&w->deque, id);
    w->streak = STREAK_MOST - 1;
    return NULL;
}

/* May the current fiber begin the newest one, which it joins, instead of a
   pick? Not when a pick would have to look at more. */
static inline bool may_begin(const struct hyi_worker *w)
{
    const struct hyi_fiber *self = w->current;

    return !w->special &&
           !(self->flags &
             (HYI_FIBER_EXTRA | HY_FIBER_MIGRATE | HYI_FIBER_BASE)) &&
           atomic_load_explicit(&w->inbox, memory_order_relaxed) == 0 &&
           !hyi_fiber_is_cancelled(self);
}

/* The books of a park that has no queue and no deadline. Nobody wakes it by
   hyi_wake; a cancel looks at its state, and the end of the joined one. */
static inline void park_here(struct hyi_worker *w, struct hyi_fiber *f,
                             struct hyi_waiter *waiter)
{
    atomic_init(&waiter->state, HYI_WAITER_PARKED);
    waiter->sleeper = f;
    f->result = 0;
    f->cancellable = true;
    atomic_store_explicit(&f->waiter, waiter, memory_order_relaxed);
    atomic_store_explicit(&f->wait, HYI_WAIT_JOIN, memory_order_relaxed);
    /* Release: pairs with the acquire in is_parked_here. */
    atomic_store_explicit(&f->state, HY_FIBER_PARKED, memory_order_release);
    hyi_count(&w->parked[HYI_WAIT_JOIN]);
}

/* The usual change to one that begins: nothing of either is special. */
static inline void hop_straight(struct hyi_worker *w, struct hyi_fiber *self,
                                struct hyi_fiber *f, void *top)
{
    atomic_store_explicit(&f->state, HY_FIBER_RUNNING, memory_order_relaxed);
    atomic_store_explicit(&f->switches, 1, memory_order_relaxed);
    hyi_count(&w->switches);
    self->error = *w->errno_at;
    *w->errno_at = 0;
    hyi_current_set(w, f);
    hy_arch_hop(&self->sp, top, hyi_fiber_main);
}

static __attribute__((noinline)) void hop_slowly(struct hyi_worker *w,
                                                 struct hyi_fiber *f, void *top)
{
    f->error = 0;
    hyi_leave_for(w, f, top);
}

/* Begins the fiber from a join of it; returns when it has ended, or when the
   caller gave up. Nobody else knows the waiter: so it needs no lock, and its
   state no exchange. A fiber that has not started waits for nothing, so joining
   it closes no cycle; what it will wait for it publishes on this thread, after
   this. */
static inline int begin_joined(struct hyi_worker *w, struct hyi_fiber *f,
                               uint64_t id)
{
    struct hyi_fiber *self = w->current;
    struct hyi_agent *agent = hyi_fiber_agent_of(
        self, atomic_load_explicit(&self->life, memory_order_relaxed));
    struct hyi_stack *stack = take_stack(w, f->class);
    void *top = hyi_stack_top(stack);
    struct hyi_waiter waiter;
    int r = 0;

    w->tick--;
    if (!prepare(w, f, stack, top))
        return hyi_join_any((hy_fiber){id}, HY_FOREVER);
    settle_on(w, f, stack, top);
    hyi_waits_join_known(agent, id);
    park_here(w, self, &waiter);
    stack->starter = &waiter;
    if (HYI_NOTES || HY_ARCH_THREADS ||
        HYI_UNLIKELY((self->flags | f->flags) != 0 || hyi_has_exceptions(w)))
        hop_slowly(w, f, top);
    else
        hop_straight(w, self, f, top);
    if (HYI_UNLIKELY(
            atomic_load_explicit(&waiter.state, memory_order_relaxed) !=
            HYI_WAITER_WOKEN)) {
        stack->starter = NULL; /* the fiber is still on its stack */
        r = -self->result;
    }
    hyi_waits_end_join_known(agent);
    return r;
}

/* The one that was spawned last runs at once, and its end continues the caller,
   past all queues. Only this thread puts fibers into the deque, each with its
   id: what is found there is that very fiber, alive, unstarted, and of this
   worker. Each 32 times others are looked for, so that nobody starves; among
   many unstarted ones the newest are first (see_oldest in inbox.c). */
int hyi_join_newest(struct hyi_worker *w, const struct hyi_deque_cell *newest,
                    hy_fiber fiber)
{
    struct hyi_fiber *f;

    if (!may_begin(w))
        return hyi_join_any(fiber, HY_FOREVER);
    if (HYI_UNLIKELY(w->tick <= 1)) {
        newest = look_around(w, fiber.id);
        return newest != NULL ? hyi_join_newest(w, newest, fiber)
                              : hyi_join_any(fiber, HY_FOREVER);
    }
    if (HYI_LIKELY(hyi_worker_is_alone(w)))
        return begin_joined(w, hyi_deque_pop_newest(&w->deque, newest, true),
                            fiber.id);
    f = hyi_deque_pop_newest(&w->deque, newest, false);
    return f != NULL ? begin_joined(w, f, fiber.id)
                     : hyi_join_any(fiber, HY_FOREVER);
}

/* --- coming and going --------------------------------------------------------
 */

void hyi_worker_enter(struct hyi_worker *w, struct hyi_entry *before)
{
    before->worker = hyi_worker_self;
    before->parker = hyi_parker_self;
    hyi_current_set(w, &w->base);
    w->tick = 1;
    hyi_queues_begin(w);
    hyi_worker_look(w); /* a tracer that is there already sees the first pick */
    hyi_worker_come(w);
    hyi_note_thread(&w->base_note);
}

void hyi_worker_leave(struct hyi_worker *w, const struct hyi_entry *before)
{
    HYI_ASSERT(w->current == &w->base);
    /* The parker first: with it, whoever asks for the time needs a worker, a
       signal handler between the two as well. */
    hyi_parker_self = w->rt->stale ? NULL : before->parker;
    atomic_signal_fence(memory_order_seq_cst);
    hyi_worker_self = w->rt->stale ? NULL : before->worker;
    hy_arch_hop_carry(hyi_worker_self);
}

void hyi_worker_init(struct hyi_worker *w, hy_runtime *rt, unsigned index)
{
    HYI_ASSERT(w->rt == rt && w->index == index);
    memset((char *)w + offsetof(struct hyi_worker, here), 0,
           sizeof(*w) - offsetof(struct hyi_worker, here));
    hyi_current_set(w, &w->base);
    w->base.flags = HYI_FIBER_BASE;
    hyi_worker_look(w);
    w->random = rt->seed + index * 0x632be59bd9b4e019u + 1;
    w->virtual_now = 1000000000u;
    for (unsigned class = 0; class < HYI_STACK_CLASSES; class ++)
        w->pool[class].most = hyi_stack_pool_most(class);
    w->usual = &w->pool[rt->class];
}

void hyi_worker_deinit(struct hyi_worker *w)
{
    hyi_deque_free(&w->deque);
    hyi_deque_free(&w->roaming);
    hyi_observer_deinit(w);
    free(w->ready.ring);
}
