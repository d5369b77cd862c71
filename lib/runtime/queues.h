/*
 * queues.h - what a worker has to run, and in which order it is taken.
 *
 *      ready      ring: started, in their order -----> hyi_ready_take
 *                 spill: a list, while the ring cannot grow
 *      deque      unstarted; others steal the oldest -> hyi_fresh_pop
 *      fixed      unstarted, for this worker alone ---> hyi_fresh_pop
 *      roaming    deque: ready, with HY_FIBER_MIGRATE; others take them
 *
 * Invariant: a fiber is in one of them at most, and in none while it runs or is
 * parked. All are their worker's; others touch the deques alone.
 *
 * Upstream: worker.c, inbox.c, parker.c. Downstream: queues.c, deque.h, turn.h.
 */
#ifndef HYI_QUEUES_H
#define HYI_QUEUES_H

#include "core.h"
#include "observer.h"
#include "turn.h"

enum {
    HYI_NEWEST_ABOVE = 32, /* unstarted fibers; fewer are taken oldest first */
    HYI_SLOTS_AHEAD = 2 * HYI_TURNS_AHEAD
};

/* --- ready -------------------------------------------------------------------
 */

/* The owner's own indices, which others read: plain moves. */
static inline uint32_t hyi_index_of(const _Atomic uint32_t *index)
{
    return atomic_load_explicit(index, memory_order_relaxed);
}

/* Where it was. */
static inline uint32_t hyi_index_advance(_Atomic uint32_t *index)
{
    uint32_t at = hyi_index_of(index);

    atomic_store_explicit(index, at + 1, memory_order_relaxed);
    return at;
}

static inline uint32_t hyi_ready_count_own(const struct hyi_ready *q)
{
    return hyi_index_of(&q->tail) - hyi_index_of(&q->head);
}

static inline bool hyi_worker_is_alone(const struct hyi_worker *w)
{
    return atomic_load_explicit(&w->rt->active, memory_order_relaxed) == 1;
}

/* May another worker take the fiber whenever it is ready? */
static inline bool hyi_roams(const struct hyi_worker *w,
                             const struct hyi_fiber *f)
{
    return HYI_UNLIKELY(f->flags & HY_FIBER_MIGRATE) && !hyi_worker_is_alone(w);
}

/* The first room in them. Without memory, what needs it asks again. */
void hyi_queues_begin(struct hyi_worker *w);

/* Never fails: a fiber that was woken must not be lost for want of memory. */
void hyi_ready_append(struct hyi_worker *w, struct hyi_fiber *f);

/* Where others may take it at once: it is on its stack no more, and nothing of
   this worker refers to it. False for want of memory. */
bool hyi_roaming_offer(struct hyi_worker *w, struct hyi_fiber *f);

/* The ring is empty, the spill is not: it goes into the ring, which may grow,
   but not on a small stack. NULL: the base is to do it. */
struct hyi_fiber *hyi_ready_pop_spilled(struct hyi_worker *w);

/* Simulated: any of those in the ring may be first. */
void hyi_ready_draw(struct hyi_worker *w);

static inline void hyi_ready_push(struct hyi_worker *w, struct hyi_fiber *f)
{
    atomic_store_explicit(&f->state, HY_FIBER_READY, memory_order_relaxed);
    if (hyi_roams(w, f) && hyi_roaming_offer(w, f))
        return;
    hyi_ready_append(w, f);
}

/* The frames of a fiber some turns after the next, and the slot of one that
   comes later, if it has to be looked at. Inlined by force: gcc takes a
   function that only prefetches for one without effect, and removes its call.
 */
static inline __attribute__((always_inline)) void
hyi_prefetch_ahead(const struct hyi_ready *q, uint32_t head, uint32_t tail)
{
    const struct hyi_turn *t;

    if (tail - head <= HYI_SLOTS_AHEAD)
        return;
    t = &q->ring[(head + HYI_SLOTS_AHEAD) & q->mask];
    if (t->fiber & HYI_TURN_IN_SLOT)
        __builtin_prefetch(hyi_turn_fiber(t));
    hyi_turn_prefetch(&q->ring[(head + HYI_TURNS_AHEAD) & q->mask]);
}

/* waker: the fiber of this worker that does it, if it is one. */
static inline void hyi_ready_push_woken(struct hyi_worker *w,
                                        struct hyi_fiber *f,
                                        const struct hyi_fiber *waker)
{
    if (HYI_UNLIKELY(w->special))
        hyi_observe_wake(w, f, waker);
    if (!hyi_roams(w, f)) {
        f->woken = true;
        w->woken++;
    }
    hyi_ready_push(w, f);
}

static inline void hyi_ready_left(struct hyi_worker *w, struct hyi_fiber *f)
{
    if (f->woken) {
        f->woken = false;
        w->woken--;
    }
}

/* The longest ready; there is one in the ring. */
static inline struct hyi_fiber *hyi_ready_take(struct hyi_worker *w)
{
    struct hyi_ready *q = &w->ready;
    struct hyi_turn *t = &q->ring[hyi_index_advance(&q->head) & q->mask];
    struct hyi_fiber *f = hyi_turn_fiber(t);

    hyi_turn_to_slot(t);
    hyi_prefetch_ahead(q, hyi_index_of(&q->head), hyi_index_of(&q->tail));
    hyi_ready_left(w, f);
    return f;
}

static inline struct hyi_fiber *hyi_ready_pop(struct hyi_worker *w)
{
    if (HYI_UNLIKELY(hyi_ready_count_own(&w->ready) == 0))
        return HYI_LIKELY(w->ready.spill_first == NULL)
                   ? NULL
                   : hyi_ready_pop_spilled(w);
    if (HYI_UNLIKELY(w->rt->seed != 0))
        hyi_ready_draw(w);
    return hyi_ready_take(w);
}

/* --- unstarted ---------------------------------------------------------------
 */

/* By which its join finds it in the deque: its id; 0 when it is not begun in
   place. */
static inline uint64_t hyi_mark_of(const struct hyi_worker *w,
                                   const struct hyi_fiber *f)
{
    if (f->flags & (HYI_FIBER_EXTRA | HY_FIBER_MIGRATE))
        return 0;
    return hyi_fiber_id(w->rt,
                        atomic_load_explicit(&f->life, memory_order_relaxed))
        .id;
}

/* Simulated, an unstarted fiber is drawn from among the ready ones. */
static inline void hyi_fresh_push(struct hyi_worker *w, struct hyi_fiber *f)
{
    w->plain = false;
    if (HYI_UNLIKELY(w->rt->seed != 0))
        hyi_ready_append(w, f);
    else if (HYI_UNLIKELY(f->pinned ||
                          hyi_deque_push(&w->deque, f, hyi_mark_of(w, f)) != 0))
        hyi_worker_fix(w, f);
}

/* Oldest first while there are few, so that siblings run in the order of their
   spawning; newest first from the moment there are many until none is left, so
   that a tree of forks is walked depth first and its leaves share a few warm
   stacks. */
static inline struct hyi_fiber *hyi_fresh_pop(struct hyi_worker *w)
{
    struct hyi_fiber *f = w->fixed_first;
    bool alone = hyi_worker_is_alone(w);
    int64_t count;

    if (f != NULL) {
        w->fixed_first = f->next;
        return f;
    }
    count = hyi_deque_count(&w->deque);
    if (count > HYI_NEWEST_ABOVE)
        w->newest_first = true;
    else if (count <= 0)
        w->newest_first = false;
    if (count <= 0)
        return NULL;
    return w->newest_first ? hyi_deque_pop(&w->deque, alone)
                           : hyi_deque_take(&w->deque, alone);
}

static inline bool hyi_fresh_any(const struct hyi_worker *w)
{
    return w->fixed_first != NULL || hyi_deque_count(&w->deque) > 0;
}

#endif
