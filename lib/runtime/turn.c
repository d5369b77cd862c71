/*
 * turn.c - the yield (turn.h has the picture).
 *
 *      hyi_yield     plain: to a fiber that yielded too, nothing else is due
 *        `- other    anything else; makes the next ones plain, if they can be
 *             `- slowly    as a park does: queue, pick, hop
 *
 * A yield is straight code, with nothing on the stack but what the switch puts
 * there, and what is rare is behind calls that a jump ends in.
 *
 * Invariant: whatever makes a yield not plain is looked at here, or takes
 * w->plain back.
 *
 * Upstream: fiber.c. Downstream: hop.h, queues.h, worker.c.
 */
#include "turn.h"

#include "hop.h"

enum {
    /* Each of these has more to be seen to when it is switched to or from. */
    SEEN_TO = HY_FIBER_MIGRATE | HY_FIBER_FP_ENV | HYI_FIBER_CRITICAL
};

/* Nothing but ready fibers to choose from, in their order: no unstarted fiber,
   no bound, no seed, nobody who looks on, none that roam. Whatever of these
   comes to be takes "plain" back. */
static inline bool is_plain(const struct hyi_worker *w)
{
    return !w->special && !w->roams && !hyi_fresh_any(w) &&
           w->ready.spill_first == NULL;
}

/* From the slot of the running fiber into w->here. */
static bool hold(struct hyi_worker *w, struct hyi_fiber *f)
{
    bool held = w->here.fiber == (uintptr_t)f;

    if (w->here.fiber != 0)
        hyi_turn_end(w);
    if (!held && (f->flags & SEEN_TO) != 0)
        return false;
    /* Of one that has left its stack by plain yields alone the slot would have
       its entry for ever, where others look for where it is. */
    atomic_store_explicit(&f->sp_seen, __builtin_frame_address(0),
                          memory_order_relaxed);
    hyi_turn_begin(&w->here, f);
    return true;
}

/* From its slot into its turn: the next one. */
static bool lift(struct hyi_worker *w, struct hyi_turn *t)
{
    struct hyi_fiber *f = hyi_turn_fiber(t);

    if (!(t->fiber & HYI_TURN_IN_SLOT))
        return true;
    if ((f->flags & SEEN_TO) != 0)
        return false;
    hyi_ready_left(w, f);
    hyi_turn_begin(t, f);
    t->sp = f->sp;
    t->error = f->error;
    atomic_store_explicit(&f->state, HY_FIBER_RUNNING, memory_order_relaxed);
    return true;
}

/* What is left of a plain yield: the running fiber's turn into the ring, the
   next one's out of it, and the switch. There is room in the ring. */
static inline void take_turns(struct hyi_worker *w, uint32_t head,
                              uint32_t tail)
{
    struct hyi_ready *q = &w->ready;
    uint32_t mask = q->mask;
    struct hyi_turn *ring = q->ring, *here = &w->here;
    struct hyi_turn *next = &ring[head & mask], *mine = &ring[tail & mask];
    void *sp = next->sp;

    HYI_DEBUG(is_plain(w)); /* whoever changed that has taken plain back */
    w->tick--;
    atomic_store_explicit(&q->tail, tail + 1, memory_order_relaxed);
    if (tail - head > HYI_TURNS_AHEAD)
        hyi_turn_prefetch(&ring[(head + HYI_TURNS_AHEAD) & mask]);
    mine->fiber = here->fiber;
    mine->error = *w->errno_at;
    mine->switches = here->switches;
    mine->depths = here->depths;
    here->fiber = next->fiber;
    *w->errno_at = next->error;
    here->switches = next->switches + 1;
    here->depths = next->depths;
    if (HYI_UNLIKELY(
            (int32_t)(hyi_turn_deepest(next) - (uint32_t)(uintptr_t)sp) > 0))
        here->depths =
            (next->depths & ~(uint64_t)UINT32_MAX) | (uint32_t)(uintptr_t)sp;
    atomic_store_explicit(&q->head, head + 1, memory_order_relaxed);
    hyi_count(&w->switches);
    hyi_hop_plainly(w, (struct hyi_fiber *)next->fiber, &mine->sp, sp);
}

/* The same from elsewhere: it looks at the canary of the stack, if it has one.
   Apart: what asks for its frame's address has a frame pointer. */
static __attribute__((noinline)) void take_turns_seen_to(struct hyi_worker *w)
{
    const struct hyi_ready *q = &w->ready;
    uint32_t end = hyi_turn_end_of_stack(&w->here);

    if (end != 0)
        hyi_check_canary(w->current, end & ~(uint32_t)1);
    take_turns(w, hyi_index_of(&q->head), hyi_index_of(&q->tail));
}

/* As at a park. By force: a frame less, where compilers do not optimise, on
   stacks that may be small. */
static inline __attribute__((always_inline)) void
yield_slowly(struct hyi_worker *w)
{
    struct hyi_fiber *f = w->current;

    if (hyi_roams(w, f)) {
        w->yielded = f;
        hyi_leave_for_base(w);
        return;
    }
    hyi_ready_push(w, f);
    hyi_worker_next(w);
}

/* The next fiber and this one, each from its slot into its turn. */
static bool hold_both(struct hyi_worker *w)
{
    struct hyi_ready *q = &w->ready;
    uint32_t count = hyi_ready_count_own(q);

    return count != 0 && count <= q->mask && hold(w, w->current) &&
           lift(w, &q->ring[hyi_index_of(&q->head) & q->mask]);
}

/* Of one with a floating-point environment, through its slot, when nothing else
   is due: without a pick. */
static __attribute__((noinline)) void yield_with_env(struct hyi_worker *w,
                                                     struct hyi_fiber *f)
{
    struct hyi_fiber *next = hyi_ready_take(w);

    w->tick--;
    hyi_ready_push(w, f);
    hyi_hop(w, next, NULL);
}

static inline bool may_yield_with_env(const struct hyi_worker *w,
                                      const struct hyi_fiber *f)
{
    return w->plain && w->tick > 1 &&
           (f->flags & (HY_FIBER_FP_ENV | HY_FIBER_MIGRATE)) ==
               HY_FIBER_FP_ENV &&
           hyi_ready_count_own(&w->ready) != 0 && !hyi_has_exceptions(w);
}

/* Apart, so that a plain yield keeps no register for it. */
static __attribute__((noinline)) void yield_other(struct hyi_worker *w)
{
    bool posted = atomic_load_explicit(&w->inbox, memory_order_relaxed) != 0;

    if (!posted && may_yield_with_env(w, w->current)) {
        yield_with_env(w, w->current);
        return;
    }
    if (w->tick <= 1 && !posted && !w->special)
        hyi_worker_service(w);
    w->plain = is_plain(w);
    if (!w->plain || posted || hyi_has_exceptions(w) || !hold_both(w))
        yield_slowly(w);
    else
        take_turns_seen_to(w);
}

void hyi_yield(struct hyi_worker *w)
{
    struct hyi_ready *q = &w->ready;
    uint32_t head = hyi_index_of(&q->head), tail = hyi_index_of(&q->tail);

    /* The ring is neither empty nor full. */
    if (HYI_UNLIKELY(
            w->tick <= 1 || !w->plain || tail - head - 1 >= q->mask ||
            (uintptr_t)w->current != w->here.fiber ||
            w->here.switches >= HYI_TURN_SWITCHES || hyi_has_exceptions(w) ||
            atomic_load_explicit(&w->inbox, memory_order_relaxed) != 0 ||
            (q->ring[head & q->mask].fiber & HYI_TURN_IN_SLOT) != 0))
        yield_other(w);
    else if (HYI_UNLIKELY(hyi_turn_end_of_stack(&w->here) != 0))
        take_turns_seen_to(w);
    else
        take_turns(w, head, tail);
}

void hyi_turns_to_slots(struct hyi_worker *w)
{
    struct hyi_ready *q = &w->ready;

    if (w->here.fiber != 0)
        hyi_turn_book(&w->here);
    for (uint32_t i = hyi_index_of(&q->head); i != hyi_index_of(&q->tail); i++)
        hyi_turn_to_slot(&q->ring[i & q->mask]);
}
