/*
 * parker.c - how a fiber waits: the parker (park.h) of threads that are
 * workers.
 *
 *      parker_park:  ARMED -> PARKED, state, timer, then the next fiber runs
 *      hyi_wake_fiber:   -> WOKEN; here: to the ready, elsewhere: hyi_post_wake
 *      give_up:      PARKED -> ARMED, with an error (inbox.c)
 *
 * Invariant: whoever takes the waiter's state from PARKED makes the fiber
 * ready, and nobody else does.
 *
 * Upstream: park.h's users. Downstream: worker.c, queues.h, inbox.c.
 */
#include <errno.h>

#include "probes.h"
#include "queues.h"

static uint64_t parker_now(void)
{
    return hyi_worker_now(hyi_worker_self);
}

void hyi_wake_fiber(struct hyi_waiter *waiter)
{
    struct hyi_worker *w = hyi_worker_self;
    struct hyi_fiber *f;

    /* Release: pairs with the acquire in park. Found parked, the fiber stays
       where it is until this has made it ready. Of one at home elsewhere
       nothing but the waiter is touched: each line more takes as long as a
       processor needs to get it from another. */
    if (atomic_exchange_explicit(&waiter->state, HYI_WAITER_WOKEN,
                                 memory_order_acq_rel) != HYI_WAITER_PARKED)
        return;
    f = waiter->sleeper;
    if (HYI_TRACED(wake))
        hyi_observe_wake_probed(f);
    if (waiter->home == w) {
        hyi_ready_push_woken(w, f, w->current);
        return;
    }
    if (HYI_UNLIKELY(waiter->observed))
        hyi_observe_wake_sent(f);
    hyi_post_wake(waiter);
}

static void parker_init(struct hyi_waiter *waiter)
{
    struct hyi_worker *w = hyi_worker_self;

    HYI_ASSERT(w->current != &w->base);
    waiter->wake = hyi_wake_fiber;
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
    waiter->home = w;
    waiter->observed = (f->flags & HYI_FIBER_EXTRA) != 0;
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
    if (hyi_roams(w, f))
        hyi_leave_for_base(w);
    else
        hyi_worker_next(w);
    if (until != HY_FOREVER) /* nothing, when another worker continues it */
        hyi_wheel_remove(&w->wheel, &f->timer);
    /* No acquire: the wake came from this very thread, or through the inbox or
       a deque, which acquire. */
    return -f->result;
}

const struct hyi_parker hyi_worker_parker = {parker_now, parker_init,
                                             parker_park, hyi_words_wait};
