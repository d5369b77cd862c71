/*
 * hop.h - how a worker goes from stack to stack.
 *
 *      fiber A: hyi_leave_for -> hyi_hop ------> fiber B: back from its hyi_hop
 *                                        +-----> hyi_fiber_main, on a new stack
 *
 * Invariant: whatever belongs to a fiber and not to its registers (errno, the
 * floating-point environment, exceptions under way, the tools' notes) is
 * changed here, with the stack.
 *
 * Upstream: worker.c. Downstream: hop.c, arch.h (switch.S).
 */
#ifndef HYI_HOP_H
#define HYI_HOP_H

#include "arch.h"
#include "queues.h"

/* The worker of the thread that this runs on by now. Not inlined: compilers
   keep the addresses of thread-local variables across calls. */
struct hyi_worker *hyi_worker_again(void);

/* The same after a hop that w began: a child of fork has w alone. */
static inline struct hyi_worker *hyi_worker_here(struct hyi_worker *w)
{
    struct hyi_worker *again = hyi_worker_again();

    return HYI_LIKELY(again != NULL) ? again : w;
}

/* What a worker has of the thread that it is on. */
void hyi_worker_come(struct hyi_worker *w);

/* Floating-point environments, for the fibers that have one of their own. */
void hyi_hop_fp_env(struct hyi_worker *w, struct hyi_fiber *from,
                    struct hyi_fiber *to);

/* Tells of a fiber that leaves its stack inside a critical section. */
HYI_COLD void hyi_report_critical(struct hyi_fiber *f, bool ends);

/* What stands at the beginning of each stack. */
void *hyi_fiber_main(void);

static inline struct hyi_stack_note *hyi_note_of(struct hyi_worker *w,
                                                 const struct hyi_fiber *f)
{
    return f == &w->base
               ? &w->base_note
               : &atomic_load_explicit(&f->stack, memory_order_relaxed)->note;
}

/* Tells the tools, if there are any, that stacks are about to change. */
static inline void hyi_hop_note_leave(struct hyi_worker *w, void **fake,
                                      const struct hyi_fiber *from,
                                      const struct hyi_fiber *to, bool for_good)
{
    if (!HYI_NOTES)
        return;
    w->left = hyi_note_of(w, from);
    hyi_note_leave(fake, hyi_note_of(w, to), for_good);
}

static inline void hyi_hop_note_arrive(struct hyi_worker *w, void *fake)
{
    if (HYI_NOTES)
        hyi_note_arrive(fake, w->left);
}

/* The books of a change of fibers. */
static inline void hyi_turn_plainly(struct hyi_worker *w,
                                    struct hyi_fiber *from,
                                    struct hyi_fiber *to)
{
    hyi_turn_end_of(w, from);
    atomic_store_explicit(&to->state, HY_FIBER_RUNNING, memory_order_relaxed);
    hyi_count(&to->switches);
    hyi_count(&w->switches);
    from->error = *w->errno_at;
    *w->errno_at = to->error;
    hyi_current_set(w, to);
}

static inline void hyi_turn_to(struct hyi_worker *w, struct hyi_fiber *from,
                               struct hyi_fiber *to)
{
    if (HYI_UNLIKELY((from->flags | to->flags) & HY_FIBER_FP_ENV))
        hyi_hop_fp_env(w, from, to);
    hyi_turn_plainly(w, from, to);
}

/* How deep a fiber's stack is, seen when it is continued. */
static inline void hyi_see_depth(struct hyi_fiber *f)
{
    uint32_t used = f->top - (uint32_t)(uintptr_t)f->sp;

    if (used > atomic_load_explicit(&f->peak, memory_order_relaxed))
        atomic_store_explicit(&f->peak, used, memory_order_relaxed);
}

/* The fiber is about to leave its stack: has it kept to it? end: the low half
   of the stack's lower end. */
static inline void hyi_check_canary(const struct hyi_fiber *f, uint32_t end)
{
    const char *sp = __builtin_frame_address(0);
    const char *low = hyi_address_near(sp, end);

    if (HYI_UNLIKELY(sp < low || !hyi_canary_is_intact(low)))
        hyi_dense_fail(atomic_load_explicit(&f->stack, memory_order_relaxed));
}

/* What is looked at when a fiber leaves its stack. */
static inline __attribute__((always_inline)) void
hyi_check_leave(struct hyi_fiber *f, bool ends)
{
    if (HYI_LIKELY(!(f->flags & (HYI_FIBER_CANARY | HYI_FIBER_CRITICAL))))
        return;
    if (f->flags & HYI_FIBER_CRITICAL)
        hyi_report_critical(f, ends);
    if (f->flags & HYI_FIBER_CANARY)
        hyi_check_canary(f, hyi_dense_low(f));
}

/* The one place where a worker leaves a stack that it will come back to: one
   call site for all switches keeps the return predictor right. top: of the new
   stack that the fiber begins on; NULL: it was left here. */
static inline __attribute__((always_inline)) void
hyi_hop_here(struct hyi_worker *w, struct hyi_fiber *to, void *top)
{
    struct hyi_fiber *from = w->current;
    void *fake = NULL;

    hyi_check_leave(from, false);
    if (HYI_LIKELY(top == NULL))
        hyi_see_depth(to);
    hyi_turn_to(w, from, to);
    hyi_hop_note_leave(w, &fake, from, to, false);
    if (HYI_LIKELY(top == NULL))
        hy_arch_hop(&from->sp, to->sp, NULL);
    else
        hy_arch_hop(&from->sp, top, hyi_fiber_main);
    if (HYI_NOTES)
        hyi_hop_note_arrive(hyi_worker_here(w), fake);
    if (HY_ARCH_THREADS)
        hyi_worker_come(hy_arch_hop_carried());
}

/* The switch of a plain yield (turn.h), to sp, which is the last thing that is
   read of it: save may be where that was. As a call that a jump ends in. */
static inline __attribute__((always_inline)) void
hyi_hop_plainly(struct hyi_worker *w, struct hyi_fiber *to, void **save,
                void *sp)
{
    struct hyi_fiber *from = w->current;
    void *fake = NULL;

    hyi_current_set(w, to);
    hyi_hop_note_leave(w, &fake, from, to, false);
    hy_arch_hop(save, sp, NULL);
    if (HYI_NOTES)
        hyi_hop_note_arrive(hyi_worker_here(w), fake);
    if (HY_ARCH_THREADS)
        hyi_worker_come(hy_arch_hop_carried());
}

/* The one call site of all switches but those of a join in place
   and of plain yields. */
void hyi_hop(struct hyi_worker *w, struct hyi_fiber *to, void *top);

/* Between hops the thread has no exceptions: who has some takes them along. */
void hyi_hop_with_exceptions(struct hyi_worker *w, struct hyi_fiber *to,
                             void *top);

static inline bool hyi_has_exceptions(const struct hyi_worker *w)
{
    return ((uintptr_t)w->cxx->caught | w->cxx->uncaught) != 0;
}

static inline void hyi_leave_for(struct hyi_worker *w, struct hyi_fiber *to,
                                 void *top)
{
    if (HYI_UNLIKELY(hyi_has_exceptions(w)))
        hyi_hop_with_exceptions(w, to, top);
    else
        hyi_hop(w, to, top);
}

#endif
