/*
 * turn.h - what a ready fiber takes its turn with: its stack pointer and the
 * little else that a yield changes, in the queue itself.
 *
 *      ready ring  | fiber sp errno counts | fiber sp errno counts | ...
 *                    |     `---------> its frames, on its stack
 *                    `---------------> its slot, left alone by a plain turn
 *
 * Fibers that do nothing but yield go round in this way: a turn touches two
 * turns, which follow each other in memory, and the stack. With 100,000 fibers
 * the slots would be a third of all that has to come from memory. The turn of
 * the one that runs is w->here. What it counts goes into the slot now and then,
 * and whenever the fiber leaves otherwise than by a plain yield.
 *
 * A fiber that was woken, begins, or needs to be seen to when it is switched
 * from or to, has all that in its slot, as ever; its turn says so
 * (HYI_TURN_IN_SLOT).
 *
 * Invariant: of a fiber in a turn that is not IN_SLOT, the slot's sp, error,
 * switches and peak are those of an earlier moment, and its state is RUNNING;
 * everything else in the slot is true.
 *
 * Upstream: turn.c, queues.h, hop.h. Downstream: core.h.
 */
#ifndef HYI_TURN_H
#define HYI_TURN_H

#include "core.h"
#include "stack.h"

enum {
    HYI_TURN_IN_SLOT = 1,
    HYI_TURN_SWITCHES = 64, /* as many wait to be counted, at most */
    /* Measured at 100,000 fibers (docs/design/runtime.md). */
    HYI_TURNS_AHEAD = 8,
    HYI_TURN_BYTES = 128 /* of a stack: of the switch, and of who called it */
};

static inline struct hyi_fiber *hyi_turn_fiber(const struct hyi_turn *t)
{
    return (struct hyi_fiber *)(t->fiber & ~(uintptr_t)HYI_TURN_IN_SLOT);
}

/* The low half of a dense stack's lower end. */
static inline uint32_t hyi_dense_low(const struct hyi_fiber *f)
{
    return f->top - ((uint32_t)1 << (f->class - HYI_STACK_DENSE +
                                     HYI_STACK_DENSE_LOG2_MIN));
}

/* An address of which the low half is known, below another, near by. */
static inline const char *hyi_address_near(const void *sp, uint32_t low)
{
    return (const char *)sp - (int32_t)((uint32_t)(uintptr_t)sp - low);
}

static inline uint32_t hyi_turn_deepest(const struct hyi_turn *t)
{
    return (uint32_t)t->depths;
}

/* Zero: there is none to look at. Else with bit 0 set, since the low half of an
   end may be 0. */
static inline uint32_t hyi_turn_end_of_stack(const struct hyi_turn *t)
{
    return (uint32_t)(t->depths >> 32);
}

static inline __attribute__((always_inline)) void
hyi_turn_prefetch(const struct hyi_turn *t)
{
    uint32_t end = hyi_turn_end_of_stack(t);
    const char *sp = t->sp;

    for (unsigned i = 0; i < HYI_TURN_BYTES; i += 64)
        __builtin_prefetch(sp + i);
    if (HYI_UNLIKELY(end != 0))
        __builtin_prefetch(hyi_address_near(sp, end) - HYI_STACK_CANARY_BYTES);
}

/* The books of a fiber whose slot is up to date. */
static inline void hyi_turn_begin(struct hyi_turn *t, struct hyi_fiber *f)
{
    t->fiber = (uintptr_t)f;
    t->switches = 0;
    t->depths = f->top;
    if (f->flags & HYI_FIBER_CANARY)
        t->depths |= (uint64_t)(hyi_dense_low(f) | 1) << 32;
}

/* Counts in the slot what the turn has counted. */
static inline void hyi_turn_book(struct hyi_turn *t)
{
    struct hyi_fiber *f = hyi_turn_fiber(t);
    uint64_t before = atomic_load_explicit(&f->switches, memory_order_relaxed);
    uint32_t used = f->top - hyi_turn_deepest(t);

    atomic_store_explicit(&f->switches, before + t->switches,
                          memory_order_relaxed);
    t->switches = 0;
    if (used > atomic_load_explicit(&f->peak, memory_order_relaxed))
        atomic_store_explicit(&f->peak, used, memory_order_relaxed);
}

/* The one in w->here leaves otherwise, or has to. */
static inline void hyi_turn_end(struct hyi_worker *w)
{
    hyi_turn_book(&w->here);
    w->here.fiber = 0;
}

static inline void hyi_turn_end_of(struct hyi_worker *w,
                                   const struct hyi_fiber *f)
{
    if (w->here.fiber == (uintptr_t)f)
        hyi_turn_end(w);
}

/* Brings the slot of a ready fiber up to date. */
static inline void hyi_turn_to_slot(struct hyi_turn *t)
{
    struct hyi_fiber *f = hyi_turn_fiber(t);

    if (t->fiber & HYI_TURN_IN_SLOT)
        return;
    atomic_store_explicit(&f->sp_seen, t->sp, memory_order_relaxed);
    f->error = t->error;
    hyi_turn_book(t);
    atomic_store_explicit(&f->state, HY_FIBER_READY, memory_order_relaxed);
    t->fiber |= HYI_TURN_IN_SLOT;
}

/* The same for all that are ready on the worker: by itself, or when it is no
   more driven. */
void hyi_turns_to_slots(struct hyi_worker *w);

#endif
