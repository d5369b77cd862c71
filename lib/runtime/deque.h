/*
 * deque.h - a worker's unstarted fibers: its owner pushes and takes at either
 * end, thieves take the oldest. Chase and Lev (SPAA 2005) with the orderings of
 * Le, Pop, Cohen and Nardelli (PPoPP 2013).
 *
 *      top                      bottom
 *       v                         v
 *       | oldest | ... | newest |      in an array used as a ring; a larger one
 *       thieves, owner   owner         replaces a full one, and the old is kept
 *                                      until the end for thieves still in it
 */
#ifndef HYI_DEQUE_H
#define HYI_DEQUE_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "bits.h"
#include "check.h"

struct hyi_fiber;

/* mark: the owner's alone, to know the newest again without a look at it. */
struct hyi_deque_cell {
    _Atomic(struct hyi_fiber *) fiber;
    uint64_t mark;
};

struct hyi_deque_array {
    struct hyi_deque_array *older;
    size_t mask;
    struct hyi_deque_cell cell[];
};

struct hyi_deque {
    _Atomic int64_t top; /* written by thieves: alone on its line */
    char pad[HYI_LINE_BYTES - sizeof(int64_t)];
    _Atomic int64_t bottom; /* written by the owner */
    _Atomic(struct hyi_deque_array *) array;
};

/* Elements that were there a moment ago. */
static inline int64_t hyi_deque_count(const struct hyi_deque *q)
{
    int64_t bottom = atomic_load_explicit(&q->bottom, memory_order_relaxed);

    return bottom - atomic_load_explicit(&q->top, memory_order_relaxed);
}

static inline struct hyi_deque_cell *hyi_deque_at(struct hyi_deque_array *a,
                                                  int64_t index)
{
    return &a->cell[(size_t)index & a->mask];
}

static __attribute__((noinline, unused)) struct hyi_deque_array *
hyi_deque_grow(struct hyi_deque *q, struct hyi_deque_array *old, int64_t top,
               int64_t bottom)
{
    size_t count = old != NULL ? (old->mask + 1) * 2 : 256;
    int saved = errno;
    struct hyi_deque_array *a = malloc(sizeof(*a) + count * sizeof(a->cell[0]));

    errno = saved;
    if (a == NULL)
        return NULL;
    a->older = old;
    a->mask = count - 1;
    for (int64_t i = top; i < bottom; i++) {
        const struct hyi_deque_cell *from = hyi_deque_at(old, i);
        struct hyi_deque_cell *to = hyi_deque_at(a, i);

        atomic_init(&to->fiber,
                    atomic_load_explicit(&from->fiber, memory_order_relaxed));
        to->mark = from->mark;
    }
    /* Release: pairs with the acquire of array in hyi_deque_steal. */
    atomic_store_explicit(&q->array, a, memory_order_release);
    return a;
}

/* Owner only: when there is room. */
static inline bool hyi_deque_try_push(struct hyi_deque *q, struct hyi_fiber *f,
                                      uint64_t mark)
{
    int64_t bottom = atomic_load_explicit(&q->bottom, memory_order_relaxed);
    /* Acquire: the cell a thief has read may be overwritten only after. */
    int64_t top = atomic_load_explicit(&q->top, memory_order_acquire);
    struct hyi_deque_array *a =
        atomic_load_explicit(&q->array, memory_order_relaxed);
    struct hyi_deque_cell *cell;

    if (HYI_UNLIKELY(a == NULL || bottom - top > (int64_t)a->mask))
        return false;
    cell = hyi_deque_at(a, bottom);
    cell->mark = mark;
    atomic_store_explicit(&cell->fiber, f, memory_order_relaxed);
    /* Release: pairs with the acquire of bottom in hyi_deque_steal. */
    atomic_store_explicit(&q->bottom, bottom + 1, memory_order_release);
    return true;
}

/* Owner only. 0 or -ENOMEM. */
static inline int hyi_deque_push(struct hyi_deque *q, struct hyi_fiber *f,
                                 uint64_t mark)
{
    if (HYI_LIKELY(hyi_deque_try_push(q, f, mark)))
        return 0;
    if (hyi_deque_grow(
            q, atomic_load_explicit(&q->array, memory_order_relaxed),
            atomic_load_explicit(&q->top, memory_order_acquire),
            atomic_load_explicit(&q->bottom, memory_order_relaxed)) == NULL)
        return -ENOMEM;
    return hyi_deque_try_push(q, f, mark) ? 0 : -ENOMEM;
}

/* The oldest, by anybody; NULL when empty or another was faster. */
static inline struct hyi_fiber *hyi_deque_steal(struct hyi_deque *q)
{
    int64_t top = atomic_load_explicit(&q->top, memory_order_relaxed);
    int64_t bottom;
    struct hyi_deque_array *a;
    struct hyi_fiber *f;

    /* Orders the load of top before that of bottom, against the fence in
       hyi_deque_pop. */
    atomic_thread_fence(memory_order_seq_cst);
    bottom = atomic_load_explicit(&q->bottom, memory_order_acquire);
    if (top >= bottom)
        return NULL;
    a = atomic_load_explicit(&q->array, memory_order_acquire);
    f = atomic_load_explicit(&hyi_deque_at(a, top)->fiber,
                             memory_order_relaxed);
    if (!atomic_compare_exchange_strong_explicit(
            &q->top, &top, top + 1, memory_order_seq_cst, memory_order_relaxed))
        return NULL;
    return f;
}

/* The oldest, by the owner, who wrote bottom and all cells himself. alone:
   there are no thieves. */
static inline struct hyi_fiber *hyi_deque_take(struct hyi_deque *q, bool alone)
{
    int64_t bottom = atomic_load_explicit(&q->bottom, memory_order_relaxed);
    int64_t top = atomic_load_explicit(&q->top, memory_order_relaxed);

    while (top < bottom) {
        struct hyi_deque_array *a =
            atomic_load_explicit(&q->array, memory_order_relaxed);
        struct hyi_fiber *f = atomic_load_explicit(&hyi_deque_at(a, top)->fiber,
                                                   memory_order_relaxed);

        if (alone) {
            atomic_store_explicit(&q->top, top + 1, memory_order_relaxed);
            return f;
        }
        if (atomic_compare_exchange_weak_explicit(&q->top, &top, top + 1,
                                                  memory_order_seq_cst,
                                                  memory_order_relaxed))
            return f;
    }
    return NULL;
}

/* The newest; owner only. */
static inline struct hyi_fiber *hyi_deque_pop(struct hyi_deque *q, bool alone)
{
    int64_t bottom = atomic_load_explicit(&q->bottom, memory_order_relaxed) - 1;
    struct hyi_deque_array *a =
        atomic_load_explicit(&q->array, memory_order_relaxed);
    struct hyi_fiber *f = NULL;
    int64_t top;

    if (alone) {
        if (bottom < atomic_load_explicit(&q->top, memory_order_relaxed))
            return NULL;
        atomic_store_explicit(&q->bottom, bottom, memory_order_relaxed);
        return atomic_load_explicit(&hyi_deque_at(a, bottom)->fiber,
                                    memory_order_relaxed);
    }
    /* Release: a thief that reads this bottom, and not the one of a push, sees
       what was pushed all the same. */
    atomic_store_explicit(&q->bottom, bottom, memory_order_release);
    /* Orders the store of bottom before the load of top, against the fence in
       hyi_deque_steal: one of the two sees the other. */
    atomic_thread_fence(memory_order_seq_cst);
    top = atomic_load_explicit(&q->top, memory_order_relaxed);
    if (top <= bottom) {
        f = atomic_load_explicit(&hyi_deque_at(a, bottom)->fiber,
                                 memory_order_relaxed);
        if (top < bottom)
            return f;
        if (!atomic_compare_exchange_strong_explicit(&q->top, &top, top + 1,
                                                     memory_order_seq_cst,
                                                     memory_order_relaxed))
            f = NULL;
    }
    atomic_store_explicit(&q->bottom, bottom + 1, memory_order_relaxed);
    return f;
}

/* The cell of the newest, if that has this mark; owner only. It may be stolen
   at any moment. */
static inline struct hyi_deque_cell *hyi_deque_newest(const struct hyi_deque *q,
                                                      uint64_t mark)
{
    int64_t bottom = atomic_load_explicit(&q->bottom, memory_order_relaxed);
    struct hyi_deque_cell *cell;

    if (bottom <= atomic_load_explicit(&q->top, memory_order_relaxed))
        return NULL;
    cell = hyi_deque_at(atomic_load_explicit(&q->array, memory_order_relaxed),
                        bottom - 1);
    return cell->mark == mark ? cell : NULL;
}

/* Pops that cell; NULL when a thief was faster. alone: there are none. */
static inline struct hyi_fiber *
hyi_deque_pop_newest(struct hyi_deque *q, const struct hyi_deque_cell *cell,
                     bool alone)
{
    int64_t bottom;

    if (!alone)
        return hyi_deque_pop(q, false);
    bottom = atomic_load_explicit(&q->bottom, memory_order_relaxed);
    atomic_store_explicit(&q->bottom, bottom - 1, memory_order_relaxed);
    return atomic_load_explicit(&cell->fiber, memory_order_relaxed);
}

static inline void hyi_deque_free(struct hyi_deque *q)
{
    struct hyi_deque_array *a =
        atomic_load_explicit(&q->array, memory_order_relaxed);

    while (a != NULL) {
        struct hyi_deque_array *older = a->older;

        free(a);
        a = older;
    }
}

#endif
