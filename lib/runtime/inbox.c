/*
 * inbox.c - what reaches a worker from elsewhere: posts, timers, a stop.
 *
 *      any thread                            the worker
 *        hyi_post: fiber.posted |= reason
 *        hyi_post_wake                         drain, every look:
 *          inbox = letter -> letter ... <----- the oldest first: take_post
 *          kick, if it sleeps                  SPAWN   to the unstarted
 *                                              CANCEL  gives the wait up
 *                                              a wake  to the ready
 *
 *      a letter:  | address of the fiber | WAKE | LAST |
 *
 * A letter's link to the one before it stands in the fiber or, of a wake, in
 * the waiter; of the last one it is not looked at. So what the waker of one
 * fiber writes and its worker reads is the inbox alone.
 *
 * Invariant: a fiber stands in one inbox at most, once, from the moment that
 * its posted word leaves zero until drain has set it back; later reasons are
 * added to the word. Beside this it stands once in that of the worker where it
 * is parked, from its wake on until drain makes it ready.
 *
 * Upstream: parker.c, fiber.c, runtime.c, worker.c. Downstream: queues.h,
 * idle.c.
 */
#include <errno.h>

#include "probes.h"
#include "queues.h"

enum {
    TICK = 32, /* picks between two looks at the clock: under 1 ns each, where a
                  read of it takes 25 */
    /* Services before newer ones are taken no more. A skynet of a million takes
       7 % longer with 32, 3 % with 128, as long as without with 512. With other
       workers, who take the oldest anyway: large parts of a tree are left to
       them. */
    OLDEST_WAITS = 512,
    OLDEST_WAITS_SHARED = 2048
};

/* In a letter: it is a wake; nothing stands behind it. */
#define WAKE ((uintptr_t)1)
#define LAST ((uintptr_t)2)

/* --- posts -------------------------------------------------------------------
 */

/* Polled, a runtime has its first worker alone. What is read is there for ever,
   so a poster may be late. */
static bool has_thread(const struct hyi_worker *w)
{
    return w->index == 0 ||
           atomic_load_explicit(&w->rt->active, memory_order_seq_cst) >
               w->index;
}

/* The inbox is guessed to be empty: a look before the exchange would have its
   line come twice. */
static inline void put(struct hyi_worker *w, uintptr_t letter, uintptr_t *link)
{
    uintptr_t first = 0, sent;

    do {
        *link = first;
        sent = first == 0 ? letter | LAST : letter;
        /* Sequentially consistent, as the sleep in idle.c: either the kick
           finds the worker asleep, or the worker finds its inbox filled. */
    } while (!atomic_compare_exchange_weak_explicit(
        &w->inbox, &first, sent, memory_order_seq_cst, memory_order_relaxed));
}

void hyi_post(struct hyi_fiber *f, unsigned reason)
{
    struct hyi_worker *w;

    /* Release, and acquire in drain: what the poster did is seen by the fiber.
       Not zero before: it stands in an inbox, and the drain will see this. */
    if (atomic_fetch_or_explicit(&f->posted, (uint8_t)reason,
                                 memory_order_acq_rel) != 0)
        return;
    /* Any worker that it was at will do: take_post looks again. Acquire: what
       has_thread looks at is of the time when the fiber was there. */
    w = atomic_load_explicit(&f->worker, memory_order_acquire);
    put(w, (uintptr_t)f, &f->link);
    hyi_worker_kick(w);
    /* Partner: adopt in runtime.c. A poll that began meanwhile left this worker
       without a thread: either it finds the post, or this finds it. */
    if (HYI_UNLIKELY(!has_thread(w)))
        hyi_worker_redirect(w);
}

/* Where a fiber has parked there is a thread: adopt in runtime.c sees to it. */
void hyi_post_wake(struct hyi_waiter *waiter)
{
    struct hyi_worker *w = waiter->home;

    put(w, (uintptr_t)waiter->sleeper | WAKE, &waiter->link);
    hyi_worker_kick(w);
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
    hyi_ready_push_woken(w, f, NULL);
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
        hyi_fresh_push(w, f);
        return;
    }
    if (is_parked_here(w, f) && f->cancellable && hyi_fiber_is_cancelled(f))
        give_up(w, f, ECANCELED);
}

static struct hyi_fiber *fiber_of(uintptr_t letter)
{
    return (struct hyi_fiber *)(letter & ~(WAKE | LAST));
}

static uintptr_t *link_of(uintptr_t letter)
{
    struct hyi_fiber *f = fiber_of(letter);

    if (!(letter & WAKE))
        return &f->link;
    /* The waiter that it is parked on: it has not run since its wake. */
    return &atomic_load_explicit(&f->waiter, memory_order_relaxed)->link;
}

/* From here on the letter's link may be in use again. */
static void open_letter(struct hyi_worker *w, uintptr_t letter)
{
    struct hyi_fiber *f = fiber_of(letter);

    if (letter & WAKE)
        hyi_ready_push_woken(w, f, NULL);
    else
        take_post(
            w, f,
            atomic_exchange_explicit(&f->posted, 0, memory_order_acq_rel));
}

/* Newest first: turned round. */
static void open_all(struct hyi_worker *w, uintptr_t letter)
{
    uintptr_t list = 0;

    while (letter != 0) {
        uintptr_t *link = link_of(letter);
        uintptr_t next = letter & LAST ? 0 : *link;

        *link = list;
        list = letter;
        letter = next;
    }
    while (list != 0) {
        letter = list;
        list = *link_of(letter);
        open_letter(w, letter);
    }
}

static void drain(struct hyi_worker *w)
{
    uintptr_t newest =
        atomic_exchange_explicit(&w->inbox, 0, memory_order_acquire);

    if (HYI_LIKELY(newest & LAST))
        open_letter(w, newest);
    else
        open_all(w, newest);
    if (atomic_load_explicit(&w->rt->active, memory_order_relaxed) > 1 &&
        hyi_deque_count(&w->deque) > 1)
        hyi_notify(w->rt);
}

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
    uintptr_t letter =
        atomic_exchange_explicit(&w->inbox, 0, memory_order_seq_cst);

    while (letter != 0) {
        struct hyi_fiber *f = fiber_of(letter);
        uintptr_t wake = letter & WAKE ? letter & ~(uintptr_t)LAST : 0;
        uintptr_t *link = link_of(letter);
        unsigned reasons;

        letter = letter & LAST ? 0 : *link;
        if (HYI_UNLIKELY(wake != 0)) { /* this is late: it has a thread again */
            put(w, wake, link);
            hyi_worker_kick(w);
            continue;
        }
        reasons = atomic_exchange_explicit(&f->posted, 0, memory_order_acq_rel);
        if (reasons & HYI_POST_SPAWN)
            atomic_store_explicit(&f->worker, &w->rt->worker[0],
                                  memory_order_seq_cst);
        if (!is_of_no_use(w, f, reasons))
            hyi_post(f, reasons);
    }
}

/* --- timers, stop ------------------------------------------------------------
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

/* The newest unstarted ones may be taken first for ever (a tree of forks, a
   loop that joins what it spawns), or those for this worker alone. Whoever has
   been the oldest in the deque for long is put to the latter, and so begins. */
static void see_oldest(struct hyi_worker *w)
{
    int64_t top = atomic_load_explicit(&w->deque.top, memory_order_relaxed);
    bool alone = hyi_worker_is_alone(w);
    struct hyi_fiber *f;

    if (top != w->oldest || hyi_deque_count(&w->deque) <= 0) {
        w->oldest = top;
        w->oldest_waits = 0;
        return;
    }
    if (++w->oldest_waits < (alone ? OLDEST_WAITS : OLDEST_WAITS_SHARED))
        return;
    w->oldest_waits = 0;
    f = hyi_deque_take(&w->deque, alone);
    if (f != NULL)
        hyi_worker_fix(w, f);
}

void hyi_worker_look(struct hyi_worker *w)
{
    w->special =
        w->bounded || w->rt->seed != 0 || hyi_is_observed(w) || w->rt->stale;
    w->plain = false;
}

void hyi_worker_service(struct hyi_worker *w)
{
    int asked = 1;

    w->tick = TICK;
    hyi_worker_look(w); /* a tracer may have come, or gone */
    if (atomic_load_explicit(&w->inbox, memory_order_relaxed) != 0)
        drain(w);
    if (hyi_wheel_count(&w->wheel) != 0)
        fire_timers(w);
    see_oldest(w);
    if (atomic_load_explicit(&w->rt->stop, memory_order_relaxed) == 1 &&
        atomic_compare_exchange_strong(&w->rt->stop, &asked, 2))
        hyi_cancel_all(w->rt);
    if (w->bounded && w->poll_until != HY_FOREVER && w->picks_left == 0 &&
        hyi_worker_now(w) >= w->poll_until)
        w->bound_reached = true;
}

/* --- spawned fibers ----------------------------------------------------------
 */

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
    hyi_fresh_push(w, f);
    if (atomic_load_explicit(&w->rt->active, memory_order_relaxed) > 1)
        hyi_notify(w->rt);
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
