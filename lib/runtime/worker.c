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
 * Upstream: fiber.c, runtime.c. Downstream: arch.h (switch.S), idle.c.
 */
#include "core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch.h"
#include "fault.h"
#include "observer.h"
#include "probes.h"
#include "waits.h"

enum {
    TICK = 32,         /* picks between two looks at the clock: under 1 ns each,
                          where a read of it takes 25 */
    STREAK_MOST = 32,  /* picks from one queue, then the other is due */
    NEWEST_ABOVE = 32, /* unstarted fibers; fewer are taken oldest first */
    READY_FIRST = 64,
    STACKS_AHEAD = 3,
    SLOTS_AHEAD = 6,
    FRAME_BYTES = 256 /* of the switch, of hop, of who called it */
};
enum { VIRTUAL_STEP_NS = 10, PUT_OFF_NS = 1000000 };

_Thread_local struct hyi_worker *hyi_worker_self
    __attribute__((tls_model("initial-exec")));

extern void *__cxa_get_globals(void) __attribute__((weak));

static void *fiber_main(void);

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
    /* A loop that waits for the time to come must end. */
    return w->virtual_now += VIRTUAL_STEP_NS;
}

/* --- ready fibers -----------------------------------------------------------
 */

/* The owner's own indices, which others read: plain moves. */
static inline uint32_t index_of(const _Atomic uint32_t *index)
{
    return atomic_load_explicit(index, memory_order_relaxed);
}

/* Where it was. */
static inline uint32_t advance(_Atomic uint32_t *index)
{
    uint32_t at = index_of(index);

    atomic_store_explicit(index, at + 1, memory_order_relaxed);
    return at;
}

static inline uint32_t count_in(const struct hyi_ready *q)
{
    return index_of(&q->tail) - index_of(&q->head);
}

static bool grow_ready(struct hyi_ready *q)
{
    uint32_t count = q->ring == NULL ? READY_FIRST : (q->mask + 1) * 2;
    uint32_t tail = index_of(&q->tail);
    int saved = errno;
    struct hyi_fiber **ring = malloc(count * sizeof(struct hyi_fiber *));

    errno = saved;
    if (ring == NULL)
        return false;
    for (uint32_t i = index_of(&q->head); i != tail; i++)
        ring[i & (count - 1)] = q->ring[i & q->mask];
    free(q->ring);
    q->ring = ring;
    q->mask = count - 1;
    return true;
}

/* Never fails: a fiber that was woken must not be lost for want of memory. */
static __attribute__((noinline)) void enqueue(struct hyi_ready *q,
                                              struct hyi_fiber *f)
{
    bool full = q->ring == NULL || count_in(q) > q->mask;

    if (HYI_UNLIKELY(q->spill_first != NULL || (full && !grow_ready(q)))) {
        f->next = NULL;
        if (q->spill_first == NULL)
            q->spill_first = f;
        else
            q->spill_last->next = f;
        q->spill_last = f;
        return;
    }
    q->ring[advance(&q->tail) & q->mask] = f;
}

static inline bool is_alone(const struct hyi_worker *w)
{
    return atomic_load_explicit(&w->rt->active, memory_order_relaxed) == 1;
}

/* May another worker take the fiber whenever it is ready? */
static inline bool roams(const struct hyi_worker *w, const struct hyi_fiber *f)
{
    return HYI_UNLIKELY(f->flags & HY_FIBER_MIGRATE) && !is_alone(w);
}

/* Where others may take it at once: it is on its stack no more, and nothing of
   this worker refers to it. False for want of memory. */
static __attribute__((noinline)) bool offer(struct hyi_worker *w,
                                            struct hyi_fiber *f)
{
    HYI_ASSERT(f != w->current);
    hyi_wheel_remove(&w->wheel, &f->timer);
    if (hyi_deque_push(&w->roaming, f) != 0)
        return false;
    w->roams = true;
    if (w->current != &w->base) /* which may go on for long */
        hyi_notify(w->rt);
    return true;
}

static void push_ready(struct hyi_worker *w, struct hyi_fiber *f)
{
    atomic_store_explicit(&f->state, HY_FIBER_READY, memory_order_relaxed);
    if (roams(w, f) && offer(w, f))
        return;
    enqueue(&w->ready, f);
}

/* Partner of the exchange: take_post's load, as in settle. It goes to those
   that stay, so that it has a turn here before anybody takes it away. */
void hyi_worker_adopt(struct hyi_worker *w, struct hyi_fiber *f)
{
    atomic_exchange_explicit(&f->worker, w, memory_order_seq_cst);
    enqueue(&w->ready, f);
}

/* The lower end of a dense stack, found by an address of it without a look at
   its descriptor. */
static inline const char *low_of(const struct hyi_fiber *f, const void *sp)
{
    uint32_t low = f->top - ((uint32_t)1 << (f->class - HYI_STACK_DENSE +
                                             HYI_STACK_DENSE_LOG2_MIN));

    return (const char *)sp - (int32_t)((uint32_t)(uintptr_t)sp - low);
}

/* Not above the top, where a neighbour's unused stack is: so many fibers need
   what room there is in the caches. */
static inline __attribute__((always_inline)) void
prefetch_dense(const struct hyi_fiber *f, const char *sp)
{
    uint32_t room = f->top - (uint32_t)(uintptr_t)sp;

    for (uint32_t i = 0; i < FRAME_BYTES; i += 64)
        __builtin_prefetch(sp + (i < room ? i : 0));
    __builtin_prefetch(low_of(f, sp) - HYI_STACK_CANARY_BYTES);
}

/* The slot of a fiber six turns ahead, and the frames on the stack of the one
   three ahead, whose slot has arrived by then. An unstarted fiber has a code
   address there, which is harmless. Inlined by force: gcc takes a function that
   only prefetches for one without effect, and removes its call. */
static inline __attribute__((always_inline)) void
prefetch_ahead(const struct hyi_ready *q)
{
    uint32_t head = index_of(&q->head);
    const struct hyi_fiber *near;
    const char *sp;

    if (index_of(&q->tail) - head <= SLOTS_AHEAD)
        return;
    __builtin_prefetch(q->ring[(head + SLOTS_AHEAD) & q->mask]);
    near = q->ring[(head + STACKS_AHEAD) & q->mask];
    sp = near->sp;
    if (HYI_UNLIKELY(near->flags & HYI_FIBER_CANARY)) {
        prefetch_dense(near, sp);
        return;
    }
    for (unsigned i = 0; i < FRAME_BYTES; i += 64)
        __builtin_prefetch(sp + i);
}

/* waker: the fiber of this worker that does it, if it is one. */
static void push_woken(struct hyi_worker *w, struct hyi_fiber *f,
                       const struct hyi_fiber *waker)
{
    if (HYI_UNLIKELY(w->special))
        hyi_observe_wake(w, f, waker);
    if (!roams(w, f)) {
        f->woken = true;
        w->woken++;
    }
    push_ready(w, f);
}

/* The longest ready; there is one in the ring. */
static inline struct hyi_fiber *take_first(struct hyi_worker *w)
{
    struct hyi_ready *q = &w->ready;
    struct hyi_fiber *f = q->ring[advance(&q->head) & q->mask];

    prefetch_ahead(q);
    if (f->woken) {
        f->woken = false;
        w->woken--;
    }
    return f;
}

/* Simulated: any of those in the ring may be first. */
static void draw_first(struct hyi_worker *w)
{
    struct hyi_ready *q = &w->ready;
    uint32_t head = index_of(&q->head);
    uint32_t other = head + (uint32_t)(hyi_random(w) % count_in(q));
    struct hyi_fiber *f = q->ring[other & q->mask];

    q->ring[other & q->mask] = q->ring[head & q->mask];
    q->ring[head & q->mask] = f;
}

static struct hyi_fiber *pop_ready(struct hyi_worker *w)
{
    struct hyi_ready *q = &w->ready;
    struct hyi_fiber *f = q->spill_first;

    if (HYI_LIKELY(count_in(q) != 0)) {
        if (HYI_UNLIKELY(w->rt->seed != 0))
            draw_first(w);
        return take_first(w);
    }
    if (f == NULL)
        return NULL;
    q->spill_first = f->next;
    if (f->woken) {
        f->woken = false;
        w->woken--;
    }
    return f;
}

/* --- unstarted fibers -------------------------------------------------------
 */

void hyi_worker_fix(struct hyi_worker *w, struct hyi_fiber *f)
{
    f->next = NULL;
    if (w->fixed_first == NULL)
        w->fixed_first = f;
    else
        w->fixed_last->next = f;
    w->fixed_last = f;
}

/* Simulated, an unstarted fiber is drawn from among the ready ones. */
static inline void push_fresh(struct hyi_worker *w, struct hyi_fiber *f)
{
    if (HYI_UNLIKELY(w->rt->seed != 0))
        enqueue(&w->ready, f);
    else if (HYI_UNLIKELY(f->pinned || hyi_deque_push(&w->deque, f) != 0))
        hyi_worker_fix(w, f);
}

/* Oldest first while there are few, so that siblings run in the order of their
   spawning; newest first from the moment there are many until none is left, so
   that a tree of forks is walked depth first and its leaves share a few warm
   stacks. */
static struct hyi_fiber *pop_fresh(struct hyi_worker *w)
{
    struct hyi_fiber *f = w->fixed_first;
    bool alone = is_alone(w);
    int64_t count;

    if (f != NULL) {
        w->fixed_first = f->next;
        return f;
    }
    count = hyi_deque_count(&w->deque);
    if (count > NEWEST_ABOVE)
        w->newest_first = true;
    else if (count <= 0)
        w->newest_first = false;
    if (count <= 0)
        return NULL;
    return w->newest_first ? hyi_deque_pop(&w->deque, alone)
                           : hyi_deque_take(&w->deque, alone);
}

static bool has_fresh(const struct hyi_worker *w)
{
    return w->fixed_first != NULL || hyi_deque_count(&w->deque) > 0;
}

/* --- inbox ------------------------------------------------------------------
 */

/* Polled, a runtime has its first worker alone. What is read is there for ever,
   so a poster may be late. */
static bool has_thread(const struct hyi_worker *w)
{
    return w->index == 0 ||
           atomic_load_explicit(&w->rt->active, memory_order_seq_cst) >
               w->index;
}

void hyi_post(struct hyi_fiber *f, unsigned reason)
{
    struct hyi_worker *w;
    struct hyi_fiber *first;

    /* Release, and acquire in drain: what the poster did is seen by the fiber.
       Not zero before: it stands in an inbox, and the drain will see this. */
    if (atomic_fetch_or_explicit(&f->posted, (uint8_t)reason,
                                 memory_order_acq_rel) != 0)
        return;
    w = atomic_load_explicit(&f->worker, memory_order_seq_cst);
    first = atomic_load_explicit(&w->inbox, memory_order_relaxed);
    do {
        f->inbox_next = first;
        /* Sequentially consistent, as the sleep in idle.c: either this finds
           the worker asleep, or the worker finds its inbox filled. */
    } while (!atomic_compare_exchange_weak_explicit(
        &w->inbox, &first, f, memory_order_seq_cst, memory_order_relaxed));
    hyi_worker_kick(w);
    /* Partner: adopt in runtime.c. A poll that began meanwhile left this worker
       without a thread: either it finds the post, or this finds it. */
    if (HYI_UNLIKELY(!has_thread(w)))
        hyi_worker_redirect(w);
}

/* Makes a parked fiber run with a result, unless a wake was faster. */
static void give_up(struct hyi_worker *w, struct hyi_fiber *f, int error)
{
    struct hyi_waiter *waiter =
        atomic_load_explicit(&f->waiter, memory_order_relaxed);
    uint32_t parked = HYI_WAITER_PARKED;

    if (!atomic_compare_exchange_strong_explicit(
            &waiter->state, &parked, HYI_WAITER_ARMED, memory_order_acq_rel,
            memory_order_acquire))
        return;
    f->result = (uint8_t)error;
    if (HYI_TRACED(wake))
        hyi_observe_wake_probed(f);
    push_woken(w, f, NULL);
}

/* An unstarted fiber, or one that roams, may be stolen at any moment, and be
   parked at its new worker by the time that its state is looked at: so the
   worker is looked at once more after the state, and the life around both, lest
   the slot be used again between them. Only this worker makes it ready again,
   and so open to theft. Acquire: pairs with the release in parker_park. */
static bool is_parked_here(const struct hyi_worker *w,
                           const struct hyi_fiber *f)
{
    uint64_t life = atomic_load_explicit(&f->life, memory_order_acquire);

    return atomic_load_explicit(&f->state, memory_order_acquire) ==
               HY_FIBER_PARKED &&
           atomic_load_explicit(&f->worker, memory_order_acquire) == w &&
           hyi_generation(life) == hyi_generation(atomic_load_explicit(
                                       &f->life, memory_order_relaxed));
}

static void take_post(struct hyi_worker *w, struct hyi_fiber *f,
                      unsigned reasons)
{
    /* A slot may have been used again meanwhile, by another worker. Partner:
       the exchange in start, for a cancel that meets a theft. */
    if (atomic_load_explicit(&f->worker, memory_order_seq_cst) != w) {
        hyi_post(f, reasons);
        return;
    }
    if (reasons & HYI_POST_SPAWN) {
        if (HYI_UNLIKELY(w->special))
            hyi_observe_arrived(w, f);
        push_fresh(w, f);
        return;
    }
    if (reasons & HYI_POST_WAKE) {
        push_woken(w, f, NULL);
        return;
    }
    if (is_parked_here(w, f) && f->cancellable && hyi_fiber_is_cancelled(f))
        give_up(w, f, ECANCELED);
}

static void drain(struct hyi_worker *w)
{
    struct hyi_fiber *f =
        atomic_exchange_explicit(&w->inbox, NULL, memory_order_acquire);
    struct hyi_fiber *list = NULL;

    while (f != NULL) { /* newest first: turned round */
        struct hyi_fiber *next = f->inbox_next;

        f->inbox_next = list;
        list = f;
        f = next;
    }
    while (list != NULL) {
        f = list;
        list = f->inbox_next; /* read before others may post it again */
        take_post(
            w, f,
            atomic_exchange_explicit(&f->posted, 0, memory_order_acq_rel));
    }
    if (atomic_load_explicit(&w->rt->active, memory_order_relaxed) > 1 &&
        hyi_deque_count(&w->deque) > 1)
        hyi_notify(w->rt);
}

/* --- timers, stop -----------------------------------------------------------
 */

static void fire_timers(struct hyi_worker *w)
{
    uint64_t now = w->rt->seed != 0 ? w->virtual_now : hyi_os_now();
    struct hyi_timer *timer;

    while ((timer = hyi_wheel_pop(&w->wheel, now)) != NULL) {
        struct hyi_fiber *f =
            (struct hyi_fiber *)(void *)((char *)timer -
                                         offsetof(struct hyi_fiber, timer));

        give_up(w, f, ETIMEDOUT);
    }
}

void hyi_worker_look(struct hyi_worker *w)
{
    w->special = w->bounded || w->rt->seed != 0 || hyi_is_observed(w);
}

void hyi_worker_service(struct hyi_worker *w)
{
    int asked = 1;

    w->tick = TICK;
    hyi_worker_look(w); /* a tracer may have come, or gone */
    if (atomic_load_explicit(&w->inbox, memory_order_relaxed) != NULL)
        drain(w);
    if (hyi_wheel_count(&w->wheel) != 0)
        fire_timers(w);
    if (atomic_load_explicit(&w->rt->stop, memory_order_relaxed) == 1 &&
        atomic_compare_exchange_strong(&w->rt->stop, &asked, 2))
        hyi_cancel_all(w->rt);
    if (w->bounded && w->poll_until != HY_FOREVER && w->picks_left == 0 &&
        hyi_worker_now(w) >= w->poll_until)
        w->bound_reached = true;
}

/* --- choosing ---------------------------------------------------------------
 */

/* Unstarted before ready: a yield lets them start. Only in a tree of forks do
   those that were woken go first: a parent may end, and give its stack to the
   next. Either way the other queue is due in the end. */
static bool wants_fresh(struct hyi_worker *w)
{
    bool due;

    if (!has_fresh(w))
        return false;
    due = ++w->streak >= STREAK_MOST;
    if (due)
        w->streak = 0;
    return w->newest_first && w->woken != 0 ? due : !due;
}

static inline bool is_service_due(struct hyi_worker *w)
{
    return --w->tick == 0 ||
           atomic_load_explicit(&w->inbox, memory_order_relaxed) != NULL;
}

static inline struct hyi_fiber *choose_own(struct hyi_worker *w)
{
    struct hyi_fiber *f;

    if (wants_fresh(w) && (f = pop_fresh(w)) != NULL)
        return f;
    f = pop_ready(w);
    return f != NULL ? f : pop_fresh(w);
}

/* In turn with the others; what is left of them is for whoever is idle. */
static __attribute__((noinline)) struct hyi_fiber *
choose_roaming(struct hyi_worker *w)
{
    struct hyi_fiber *f = NULL;
    bool alone = is_alone(w);

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

static inline struct hyi_fiber *choose(struct hyi_worker *w)
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

/* --- changing stacks --------------------------------------------------------
 */

static struct hyi_stack_note *note_of(struct hyi_worker *w,
                                      const struct hyi_fiber *f)
{
    return f == &w->base
               ? &w->base_note
               : &atomic_load_explicit(&f->stack, memory_order_relaxed)->note;
}

/* Tells the tools, if there are any, that stacks are about to change. */
static void note_leave(struct hyi_worker *w, void **fake,
                       const struct hyi_fiber *from, const struct hyi_fiber *to,
                       bool for_good)
{
    if (!HYI_NOTES)
        return;
    w->left = note_of(w, from);
    hyi_note_leave(fake, note_of(w, to), for_good);
}

static void note_arrive(struct hyi_worker *w, void *fake)
{
    if (HYI_NOTES)
        hyi_note_arrive(fake, w->left);
}

/* The worker of the thread that this runs on by now. Not inlined: compilers
   keep the addresses of thread-local variables across calls. */
static __attribute__((noinline)) struct hyi_worker *worker_again(void)
{
    return hyi_worker_self;
}

/* What a worker has of the thread that it is on. */
static void come_to_thread(struct hyi_worker *w)
{
    hyi_worker_self = w;
    hyi_parker_self = &hyi_worker_parker;
    w->errno_at = &errno;
    w->cxx = __cxa_get_globals != NULL ? __cxa_get_globals() : &w->no_cxx;
    hy_arch_hop_carry(w);
}

/* The worker whose fiber begins here. */
static struct hyi_worker *begin_stack(void)
{
    if (!HY_ARCH_THREADS)
        return hyi_worker_self;
    come_to_thread(hy_arch_hop_carried());
    hyi_fault_thread_prepare(); /* without it, overflows are not reported */
    return hyi_worker_self;
}

void hyi_worker_forget(void)
{
    hyi_worker_self = NULL;
    hyi_parker_self = NULL;
}

/* Floating-point environments, for the fibers that have one of their own. */
static __attribute__((noinline)) void
hop_fp_env(struct hyi_worker *w, struct hyi_fiber *from, struct hyi_fiber *to)
{
    uint64_t env = hy_arch_fp_env_get();

    if (from->flags & HY_FIBER_FP_ENV)
        hyi_extra_of(from)->fp_env = env;
    else
        w->fp_env = env;
    hy_arch_fp_env_set(to->flags & HY_FIBER_FP_ENV ? hyi_extra_of(to)->fp_env
                                                   : w->fp_env);
}

/* The books of a change of fibers. */
static inline void turn_to(struct hyi_worker *w, struct hyi_fiber *from,
                           struct hyi_fiber *to)
{
    if (HYI_UNLIKELY((from->flags | to->flags) & HY_FIBER_FP_ENV))
        hop_fp_env(w, from, to);
    atomic_store_explicit(&to->state, HY_FIBER_RUNNING, memory_order_relaxed);
    hyi_count(&to->switches);
    hyi_count(&w->switches);
    from->error = *w->errno_at;
    *w->errno_at = to->error;
    w->current = to;
}

/* How deep a fiber's stack is, seen when it is continued. */
static inline void see_depth(struct hyi_fiber *f)
{
    uint32_t used = f->top - (uint32_t)(uintptr_t)f->sp;

    if (used > atomic_load_explicit(&f->peak, memory_order_relaxed))
        atomic_store_explicit(&f->peak, used, memory_order_relaxed);
}

/* The fiber is about to leave its stack: has it kept to it? */
static inline void check_canary(const struct hyi_fiber *f)
{
    const char *sp = __builtin_frame_address(0), *low = low_of(f, sp);

    if (HYI_UNLIKELY(sp < low || !hyi_canary_is_intact(low)))
        hyi_dense_fail(atomic_load_explicit(&f->stack, memory_order_relaxed));
}

/* The one place where a worker leaves a stack that it will come back to: one
   call site for all switches keeps the return predictor right. top: of the new
   stack that the fiber begins on; NULL: it was left here. */
static inline __attribute__((always_inline)) void
hop_here(struct hyi_worker *w, struct hyi_fiber *to, void *top)
{
    struct hyi_fiber *from = w->current;
    void *fake = NULL;

    if (HYI_UNLIKELY(from->flags & HYI_FIBER_CANARY))
        check_canary(from);
    if (HYI_LIKELY(top == NULL))
        see_depth(to);
    turn_to(w, from, to);
    note_leave(w, &fake, from, to, false);
    if (HYI_LIKELY(top == NULL))
        hy_arch_hop(&from->sp, to->sp, NULL);
    else
        hy_arch_hop(&from->sp, top, fiber_main);
    if (HYI_NOTES)
        note_arrive(worker_again(), fake);
    if (HY_ARCH_THREADS)
        come_to_thread(hy_arch_hop_carried());
}

static __attribute__((noinline)) void hop(struct hyi_worker *w,
                                          struct hyi_fiber *to, void *top)
{
    hop_here(w, to, top);
}

/* Between hops the thread has no exceptions: who has some takes them along. */
static __attribute__((noinline)) void
hop_with_exceptions(struct hyi_worker *w, struct hyi_fiber *to, void *top)
{
    struct hyi_cxx_globals cxx = *w->cxx;

    *w->cxx = (struct hyi_cxx_globals){NULL, 0};
    hop(w, to, top);
    *worker_again()->cxx = cxx;
}

static inline bool has_exceptions(const struct hyi_worker *w)
{
    return w->cxx->caught != NULL || w->cxx->uncaught != 0;
}

static inline void leave_for(struct hyi_worker *w, struct hyi_fiber *to,
                             void *top)
{
    if (HYI_UNLIKELY(has_exceptions(w)))
        hop_with_exceptions(w, to, top);
    else
        hop(w, to, top);
}

static __attribute__((noinline)) void begin_extra(struct hyi_worker *w,
                                                  struct hyi_fiber *f)
{
    *hyi_extra_of(f) = (struct hyi_fiber_extra){
        .fp_env = w->current->flags & HY_FIBER_FP_ENV ? w->fp_env
                                                      : hy_arch_fp_env_get()};
    hyi_observe_begin(w, f);
}

/* An unstarted fiber gets a stack, and stays with this worker. */
static inline void settle(struct hyi_worker *w, struct hyi_fiber *f,
                          struct hyi_stack *stack, const char *top)
{
    w->start_entry = f->entry;
    w->start_arg = f->arg;
    f->error = 0;
    atomic_store_explicit(&f->waiter, NULL, memory_order_relaxed);
    /* An exchange after a theft: pairs with take_post's load, so that a cancel
       which was sent to the old worker is seen by the first park here. */
    if (atomic_load_explicit(&f->worker, memory_order_relaxed) != w)
        atomic_exchange_explicit(&f->worker, w, memory_order_seq_cst);
    atomic_store_explicit(&stack->owner, f, memory_order_relaxed);
    f->top = (uint32_t)(uintptr_t)top;
    atomic_store_explicit(&f->peak, 0, memory_order_relaxed);
    /* Release: pairs with the acquire in hy_fiber_each. */
    atomic_store_explicit(&f->stack, stack, memory_order_release);
    if (HYI_UNLIKELY(f->flags & HYI_FIBER_EXTRA))
        begin_extra(w, f);
}

static inline struct hyi_stack *take_stack(struct hyi_worker *w, unsigned class)
{
    struct hyi_stack_pool *pool = &w->pool[class];
    struct hyi_stack *stack = pool->top;

    if (HYI_UNLIKELY(pool->count == 0 || !stack->ready))
        return hyi_stack_take(w->rt->stacks, pool, class);
    pool->top = stack->next;
    pool->count--;
    return stack;
}

/* Gives the fiber a stack, and that stack's upper end. */
static inline void *start(struct hyi_worker *w, struct hyi_fiber *f)
{
    struct hyi_stack *stack = take_stack(w, f->class);
    char *top = hyi_stack_top(stack);

    settle(w, f, stack, top);
    if (f->flags & HYI_FIBER_EXTRA)
        top -= hyi_align_up(sizeof(struct hyi_fiber_extra), 64);
    return top;
}

/* The system has no thread for it now. It is tried again after one of those
   that are ready, if there is one, and after a rest otherwise. */
static void put_off(struct hyi_worker *w, struct hyi_fiber *f)
{
    static const _Atomic uint32_t never = 0;
    struct hyi_stack *stack =
        atomic_load_explicit(&f->stack, memory_order_relaxed);

    if (!w->put_off)
        hyi_report(w->rt, HY_REPORT_WARNING,
                   "no thread for the context of a fiber: it starts later");
    w->put_off = true;
    atomic_store_explicit(&f->stack, NULL, memory_order_relaxed);
    hyi_stack_give(w->rt->stacks, &w->pool[f->class], f->class, stack);
    f->entry = w->start_entry; /* what a started fiber has no room for */
    f->arg = w->start_arg;
    start_later(w, f);
    w->tick = 1; /* time may pass */
    w->streak = w->newest_first && w->woken != 0 ? 0 : STREAK_MOST - 1;
    if (count_in(&w->ready) == 0 && w->ready.spill_first == NULL)
        hyi_os_futex_wait(&never, 0, hyi_os_now() + PUT_OFF_NS, false);
}

/* Gives it a stack, and the thread that this may need; NULL: later. */
static void *begin(struct hyi_worker *w, struct hyi_fiber *f)
{
    void *top = start(w, f);

    if (HYI_UNLIKELY(!hy_arch_hop_prepare(top))) {
        put_off(w, f);
        return NULL;
    }
    if (HY_ARCH_THREADS)
        w->put_off = false;
    return top;
}

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
        leave_for(w, next, top);
    else
        atomic_store_explicit(&next->state, HY_FIBER_RUNNING,
                              memory_order_relaxed);
}

/* A fiber that roams leaves for the base, and is chosen or taken from there:
   nothing that puts it where others find it may run on its own stack. It may be
   continued by another worker. */
static __attribute__((noinline)) void leave_for_base(struct hyi_worker *w)
{
    if (HYI_UNLIKELY(w->special))
        hyi_observe_leave(w);
    leave_for(w, &w->base, NULL);
}

/* Nothing but ready fibers to choose from, in their order: no service due, no
   unstarted fiber, no bound, no seed, nobody who looks on, none that roam. */
static inline bool is_plain(const struct hyi_worker *w,
                            const struct hyi_fiber *f)
{
    return w->tick > 1 && !w->special && !w->roams &&
           !(f->flags & HY_FIBER_MIGRATE) && !has_fresh(w) &&
           count_in(&w->ready) != 0 && w->ready.spill_first == NULL &&
           atomic_load_explicit(&w->inbox, memory_order_relaxed) == NULL;
}

/* Apart, so that a plain yield keeps no register for it. */
static __attribute__((noinline)) void yield_slowly(struct hyi_worker *w,
                                                   struct hyi_fiber *f)
{
    if (roams(w, f)) {
        w->yielded = f;
        leave_for_base(w);
        return;
    }
    push_ready(w, f);
    go(w, pick(w));
}

void hyi_yield(struct hyi_worker *w)
{
    struct hyi_fiber *f = w->current, *next;
    struct hyi_ready *q = &w->ready;

    if (HYI_UNLIKELY(!is_plain(w, f))) {
        yield_slowly(w, f);
        return;
    }
    w->tick--;
    next = take_first(w);
    atomic_store_explicit(&f->state, HY_FIBER_READY, memory_order_relaxed);
    q->ring[advance(&q->tail) & q->mask] =
        f; /* into the room that next has left */
    leave_for(w, next, NULL);
}

void hyi_worker_run(struct hyi_worker *w)
{
    struct hyi_fiber *f;

    while (!w->rt->stale && (f = pick(w)) != NULL) {
        go(w, f);
        if (HYI_UNLIKELY(w->yielded != NULL)) {
            push_ready(w, w->yielded);
            w->yielded = NULL;
        }
    }
}

/* --- a fiber's life ---------------------------------------------------------
 */

/* Gives back what a fiber held. Its stack stays on top of the pool: this still
   runs on it. */
static inline void finish(struct hyi_worker *w, struct hyi_fiber *f,
                          struct hyi_stack *stack)
{
    unsigned class = f->class;
    struct hyi_stack_pool *pool = &w->pool[class];

    atomic_store_explicit(&f->stack, NULL, memory_order_relaxed);
    if (HYI_LIKELY(pool->count < pool->most)) {
        atomic_store_explicit(&stack->owner, NULL, memory_order_relaxed);
        stack->next = pool->top;
        pool->top = stack;
        pool->count++;
    } else {
        hyi_stack_give(w->rt->stacks, pool, class, stack);
    }
    if (HYI_UNLIKELY(++pool->claims > pool->most)) {
        hyi_stack_unclaim(w->rt->stacks, class, (pool->most + 1) / 2);
        pool->claims -= (pool->most + 1) / 2;
    }
    hyi_fiber_end(w->rt, w, f);
    hyi_count(&w->ended);
}

/* The next unstarted fiber takes over this very stack, if it is like it. */
static inline bool take_over(struct hyi_worker *w, struct hyi_fiber *next)
{
    unsigned class = w->last.class;
    struct hyi_stack *stack;

    if (next == NULL || !takes_over(w, next))
        return false;
    stack = take_stack(w, class);
    settle(w, next, stack, hyi_stack_top(stack));
    atomic_store_explicit(&next->state, HY_FIBER_RUNNING, memory_order_relaxed);
    hyi_count(&next->switches);
    *w->errno_at = 0;
    w->current = next;
    return true;
}

/* Whom the end of the fiber on this stack continues: the one who began it by a
   join, if he still waits. The waiter is this thread's alone. */
static __attribute__((noinline)) struct hyi_fiber *
end_start(struct hyi_worker *w, struct hyi_stack *stack)
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
        push_woken(w, waiter->sleeper, NULL);
    return NULL;
}

/* Ends the current fiber and gives the next, or NULL for the base. The slot of
   one that has ended may be in use again at once: from here on the worker's
   "last" stands for it. */
static inline struct hyi_fiber *end_current(struct hyi_worker *w)
{
    struct hyi_fiber *f = w->current, *next = NULL;
    struct hyi_stack *stack =
        atomic_load_explicit(&f->stack, memory_order_relaxed);

    if (HYI_UNLIKELY(f->flags & HYI_FIBER_CANARY))
        check_canary(f);
    if (HYI_UNLIKELY(w->special && !w->rt->stale))
        hyi_observe_end(w, f);
    w->last.class = f->class;
    w->last.flags = f->flags;
    atomic_store_explicit(&w->last.stack, stack, memory_order_relaxed);
    if (HYI_UNLIKELY(w->rt->stale)) {
        w->current = &w->last;
        return NULL;
    }
    finish(w, f, stack);
    w->current = &w->last;
    if (stack->starter != NULL)
        next = end_start(w, stack);
    return next != NULL ? next : pick(w);
}

/* Calls the fiber's function, and ends its values. Gives the worker that does
   so in the end. */
static inline struct hyi_worker *call_entry(struct hyi_worker *w)
{
    struct hyi_fiber *f = w->current;
    struct hyi_stack *stack =
        atomic_load_explicit(&f->stack, memory_order_relaxed);

    w->start_entry(w->start_arg);
    if (HYI_UNLIKELY(stack->locals != NULL))
        hyi_locals_end(&stack->locals);
    return HYI_UNLIKELY(f->flags & HY_FIBER_MIGRATE) ? worker_again() : w;
}

/* Who is continued when the last fiber of a stack has ended. */
static void *leave_stack(struct hyi_worker *w, struct hyi_fiber *next)
{
    /* Starting it here might take the stack that this runs on: the base does.
     */
    if (next != NULL && is_unstarted(next)) {
        start_later(w, next);
        next = NULL;
    }
    if (next == NULL)
        next = &w->base;
    see_depth(next);
    turn_to(w, &w->last, next);
    note_leave(w, NULL, &w->last, next, true);
    return next->sp;
}

/* What stands at the beginning of each stack: the fibers that run on it, one
   after another. Tools must not see its return, which is on another stack. */
static HYI_NOT_INSTRUMENTED void *fiber_main(void)
{
    struct hyi_worker *w = begin_stack();
    struct hyi_fiber *next;
    void *sp;

    note_arrive(w, NULL);
    do {
        w = call_entry(w);
        next = end_current(w);
    } while (take_over(w, next));
    if (HY_ARCH_THREADS && w->rt->stale)
        pthread_exit(NULL); /* a child of fork has no other thread */
    sp = leave_stack(w, next);
    if (HY_ARCH_THREADS)
        hyi_worker_forget();
    return sp;
}

/* --- parking ----------------------------------------------------------------
 */

static uint64_t parker_now(void)
{
    return hyi_worker_now(hyi_worker_self);
}

static void wake_fiber(struct hyi_waiter *waiter)
{
    struct hyi_fiber *f = waiter->sleeper;
    struct hyi_worker *w = hyi_worker_self;

    /* Release: pairs with the acquire in park. Found parked, the fiber stays
       where it is until this has made it ready. */
    if (atomic_exchange_explicit(&waiter->state, HYI_WAITER_WOKEN,
                                 memory_order_acq_rel) != HYI_WAITER_PARKED)
        return;
    if (HYI_TRACED(wake))
        hyi_observe_wake_probed(f);
    if (w != NULL &&
        atomic_load_explicit(&f->worker, memory_order_relaxed) == w) {
        push_woken(w, f, w->current);
        return;
    }
    if (HYI_UNLIKELY(f->flags & HYI_FIBER_EXTRA))
        hyi_observe_wake_sent(f);
    hyi_post(f, HYI_POST_WAKE);
}

static void parker_init(struct hyi_waiter *waiter)
{
    struct hyi_worker *w = hyi_worker_self;

    HYI_ASSERT(w->current != &w->base);
    waiter->wake = wake_fiber;
    waiter->sleeper = w->current;
}

/* An error, unless the wake came first. */
static int unless_woken(struct hyi_waiter *waiter, int error)
{
    return atomic_load_explicit(&waiter->state, memory_order_acquire) ==
                   HYI_WAITER_WOKEN
               ? 0
               : error;
}

static int parker_park(struct hyi_waiter *waiter, hy_deadline until,
                       bool cancellable)
{
    struct hyi_worker *w = hyi_worker_self;
    struct hyi_fiber *f = w->current;
    uint32_t armed = HYI_WAITER_ARMED;

    if (cancellable && hyi_fiber_is_cancelled(f))
        return unless_woken(waiter, -ECANCELED);
    if (until != HY_FOREVER && (until == HY_NOW || until <= hyi_worker_now(w)))
        return unless_woken(waiter, -ETIMEDOUT);
    f->result = 0;
    f->cancellable = cancellable;
    atomic_store_explicit(&f->waiter, waiter, memory_order_relaxed);
    atomic_store_explicit(&f->wait, (uint8_t)waiter->wait,
                          memory_order_relaxed);
    /* Acquire: pairs with the release of the wake that came first. Release:
       the waker's exchange finds the fiber's fields in place. */
    if (!atomic_compare_exchange_strong_explicit(
            &waiter->state, &armed, HYI_WAITER_PARKED, memory_order_acq_rel,
            memory_order_acquire))
        return 0;
    /* Release: pairs with the acquire in is_parked_here. */
    atomic_store_explicit(&f->state, HY_FIBER_PARKED, memory_order_release);
    hyi_count(&w->parked[waiter->wait]);
    if (until != HY_FOREVER) {
        f->timer.deadline = until;
        hyi_wheel_insert(&w->wheel, &f->timer);
    }
    if (roams(w, f))
        leave_for_base(w);
    else
        go(w, pick(w));
    if (until != HY_FOREVER) /* nothing, when another worker continues it */
        hyi_wheel_remove(&w->wheel, &f->timer);
    /* Acquire: pairs with the release of a wake from this very thread or, by
       way of the inbox, of another. */
    atomic_thread_fence(memory_order_acquire);
    return -f->result;
}

/* May the current fiber begin one that it joins, instead of a pick? Not for too
   many in a row, nor when a pick would have to look at more. */
static inline bool may_begin(struct hyi_worker *w, const struct hyi_fiber *self,
                             const struct hyi_fiber *f)
{
    return w->tick > 1 && w->streak + 1 < STREAK_MOST && !w->special &&
           !((self->flags | f->flags) & (HYI_FIBER_EXTRA | HY_FIBER_MIGRATE)) &&
           atomic_load_explicit(&w->inbox, memory_order_relaxed) == NULL &&
           !hyi_fiber_is_cancelled(self);
}

/* The books of a park that has no queue and no deadline. */
static inline void park_here(struct hyi_worker *w, struct hyi_fiber *f,
                             struct hyi_waiter *waiter)
{
    atomic_init(&waiter->state, HYI_WAITER_PARKED);
    waiter->wake = wake_fiber;
    waiter->sleeper = f;
    waiter->wait = HYI_WAIT_JOIN;
    f->result = 0;
    f->cancellable = true;
    atomic_store_explicit(&f->waiter, waiter, memory_order_relaxed);
    atomic_store_explicit(&f->wait, HYI_WAIT_JOIN, memory_order_relaxed);
    /* Release: pairs with the acquire in is_parked_here. */
    atomic_store_explicit(&f->state, HY_FIBER_PARKED, memory_order_release);
    hyi_count(&w->parked[HYI_WAIT_JOIN]);
}

/* Begins the fiber from a join of it; returns when it has ended, or when the
   caller gave up. Nobody else knows the waiter: so it needs no lock, and its
   state no exchange. A fiber that has not started waits for nothing, so joining
   it closes no cycle; what it will wait for it publishes on this thread, after
   this. */
static int begin_joined(struct hyi_worker *w, struct hyi_fiber *f, uint64_t id)
{
    struct hyi_fiber *self = w->current;
    struct hyi_agent *agent = hyi_fiber_agent(self);
    struct hyi_waiter waiter;
    struct hyi_stack *stack;
    void *top;
    int r = 0;

    w->tick--;
    w->streak++;
    top = begin(w, f);
    if (HYI_UNLIKELY(top == NULL))
        return hyi_join_parked(f, id, HY_FOREVER);
    hyi_waits_join(agent, id);
    park_here(w, self, &waiter);
    stack = atomic_load_explicit(&f->stack, memory_order_relaxed);
    stack->starter = &waiter;
    if (HYI_UNLIKELY(has_exceptions(w)))
        hop_with_exceptions(w, f, top);
    else
        hop_here(w, f, top);
    if (HYI_UNLIKELY(
            atomic_load_explicit(&waiter.state, memory_order_relaxed) !=
            HYI_WAITER_WOKEN)) {
        stack->starter = NULL; /* the fiber is still on its stack */
        r = -self->result;
    }
    hyi_waits_end_join(agent);
    return r;
}

/* The one that was spawned last runs at once, and its end continues the caller,
   past all queues. The generation was compared by the caller, and only this
   thread puts fibers into the deque: what is found there is that very fiber. */
int hyi_join_unstarted(struct hyi_worker *w, struct hyi_fiber *f, uint64_t id)
{
    return HYI_LIKELY(may_begin(w, w->current, f) &&
                      hyi_deque_pop_this(&w->deque, f, is_alone(w)))
               ? begin_joined(w, f, id)
               : hyi_join_parked(f, id, HY_FOREVER);
}

const struct hyi_parker hyi_worker_parker = {parker_now, parker_init,
                                             parker_park};

/* --- coming and going -------------------------------------------------------
 */

/* Nobody has started here, so a cancel alone finds nobody parked: whom it was
   meant for has ended, or will see it at its first wait. */
static bool is_of_no_use(const struct hyi_worker *w, const struct hyi_fiber *f,
                         unsigned reasons)
{
    return reasons == HYI_POST_CANCEL && !has_thread(w) &&
           atomic_load_explicit(&f->worker, memory_order_seq_cst) == w;
}

void hyi_worker_redirect(struct hyi_worker *w)
{
    struct hyi_fiber *f =
        atomic_exchange_explicit(&w->inbox, NULL, memory_order_seq_cst);

    while (f != NULL) {
        struct hyi_fiber *next = f->inbox_next;
        unsigned reasons =
            atomic_exchange_explicit(&f->posted, 0, memory_order_acq_rel);

        if (reasons & HYI_POST_SPAWN)
            atomic_store_explicit(&f->worker, &w->rt->worker[0],
                                  memory_order_seq_cst);
        if (!is_of_no_use(w, f, reasons))
            hyi_post(f, reasons);
        f = next;
    }
}

struct hyi_worker *hyi_worker_for(hy_runtime *rt, struct hyi_worker *w,
                                  int target)
{
    if (target >= 0)
        return &rt->worker[(unsigned)target % rt->active];
    return w != NULL ? w : &rt->worker[hyi_idle_worker(rt)];
}

static inline void hand_over(struct hyi_worker *w, struct hyi_fiber *f)
{
    hyi_count(&w->spawned);
    push_fresh(w, f);
    if (atomic_load_explicit(&w->rt->active, memory_order_relaxed) > 1)
        hyi_notify(w->rt);
}

void hyi_worker_spawned_here(struct hyi_worker *w, struct hyi_fiber *f)
{
    f->pinned = false;
    hand_over(w, f);
}

void hyi_worker_spawned(hy_runtime *rt, struct hyi_worker *w,
                        struct hyi_fiber *f)
{
    if (w != NULL &&
        atomic_load_explicit(&f->worker, memory_order_relaxed) == w) {
        hand_over(w, f);
        return;
    }
    atomic_fetch_add_explicit(&rt->foreign_spawned, 1, memory_order_relaxed);
    hyi_post(f, HYI_POST_SPAWN);
}

void hyi_worker_enter(struct hyi_worker *w, struct hyi_entry *before)
{
    before->worker = hyi_worker_self;
    before->parker = hyi_parker_self;
    w->current = &w->base;
    w->tick = 1;
    hyi_worker_look(w); /* a tracer that is there already sees the first pick */
    come_to_thread(w);
    hyi_note_thread(&w->base_note);
}

void hyi_worker_leave(struct hyi_worker *w, const struct hyi_entry *before)
{
    HYI_ASSERT(w->current == &w->base);
    hyi_worker_self = w->rt->stale ? NULL : before->worker;
    hyi_parker_self = w->rt->stale ? NULL : before->parker;
    hy_arch_hop_carry(hyi_worker_self);
}

void hyi_worker_init(struct hyi_worker *w, hy_runtime *rt, unsigned index)
{
    HYI_ASSERT(w->rt == rt && w->index == index);
    memset((char *)w + offsetof(struct hyi_worker, current), 0,
           sizeof(*w) - offsetof(struct hyi_worker, current));
    w->current = &w->base;
    hyi_worker_look(w);
    w->random = rt->seed + index * 0x632be59bd9b4e019u + 1;
    w->virtual_now = 1000000000u;
    for (unsigned class = 0; class < HYI_STACK_CLASSES; class ++)
        w->pool[class].most = hyi_stack_pool_most(class);
}

void hyi_worker_deinit(struct hyi_worker *w)
{
    hyi_deque_free(&w->deque);
    hyi_deque_free(&w->roaming);
    hyi_observer_deinit(w);
    free(w->ready.ring);
}
