/*
 * queues.c - what is rare about a worker's queues (queues.h has their picture):
 * growing, want of memory, fibers from and for other workers.
 *
 * Upstream: worker.c, inbox.c, parker.c, idle.c. Downstream: deque.h.
 */
#include "queues.h"

#include <errno.h>
#include <stdlib.h>

enum { READY_FIRST = 64 };

static bool grow_ready(struct hyi_ready *q)
{
    uint32_t count = q->ring == NULL ? READY_FIRST : (q->mask + 1) * 2;
    uint32_t tail = hyi_index_of(&q->tail);
    int saved = errno;
    struct hyi_turn *ring = malloc(count * sizeof(*ring));

    errno = saved;
    if (ring == NULL)
        return false;
    for (uint32_t i = hyi_index_of(&q->head); i != tail; i++)
        ring[i & (count - 1)] = q->ring[i & q->mask];
    free(q->ring);
    q->ring = ring;
    q->mask = count - 1;
    return true;
}

/* At the end of a list. */
static void list_append(struct hyi_fiber **first, struct hyi_fiber **last,
                        struct hyi_fiber *f)
{
    f->next = NULL;
    if (*first == NULL)
        *first = f;
    else
        (*last)->next = f;
    *last = f;
}

/* Is there little of the stack that this runs on? Tools' malloc takes 3 KiB. */
static bool is_on_small_stack(const struct hyi_worker *w)
{
    return w->current->class >= HYI_STACK_DENSE;
}

static bool has_room(const struct hyi_ready *q)
{
    return q->ring != NULL && hyi_ready_count_own(q) <= q->mask;
}

static void ring_put(struct hyi_ready *q, struct hyi_fiber *f)
{
    struct hyi_turn *t = &q->ring[hyi_index_advance(&q->tail) & q->mask];

    t->fiber = (uintptr_t)f | HYI_TURN_IN_SLOT;
    t->sp = f->sp;
    t->depths = 0;
}

void hyi_queues_begin(struct hyi_worker *w)
{
    struct hyi_deque *q = &w->deque;

    if (w->ready.ring == NULL)
        grow_ready(&w->ready);
    if (atomic_load_explicit(&q->array, memory_order_relaxed) == NULL)
        hyi_deque_grow(q, NULL, 0, 0);
}

void hyi_ready_append(struct hyi_worker *w, struct hyi_fiber *f)
{
    struct hyi_ready *q = &w->ready;

    if (HYI_UNLIKELY(
            q->spill_first != NULL ||
            (!has_room(q) && (is_on_small_stack(w) || !grow_ready(q))))) {
        w->plain = false;
        list_append(&q->spill_first, &q->spill_last, f);
        return;
    }
    ring_put(q, f);
}

struct hyi_fiber *hyi_ready_pop_spilled(struct hyi_worker *w)
{
    struct hyi_ready *q = &w->ready;
    struct hyi_fiber *f = q->spill_first;
    bool small = is_on_small_stack(w);

    /* Nobody else to run: the base comes next, and does this. */
    if (small && !w->roams && !hyi_fresh_any(w))
        return NULL;
    for (; f != NULL && (has_room(q) || (!small && grow_ready(q)));
         f = q->spill_first) {
        q->spill_first = f->next;
        ring_put(q, f);
    }
    if (hyi_ready_count_own(q) != 0)
        return hyi_ready_take(w);
    q->spill_first = f->next;
    hyi_ready_left(w, f);
    return f;
}

bool hyi_roaming_offer(struct hyi_worker *w, struct hyi_fiber *f)
{
    /* It is on its stack still: a report of its wait has woken it. */
    if (HYI_UNLIKELY(f == w->current))
        return false;
    hyi_wheel_remove(&w->wheel, &f->timer);
    if (hyi_deque_push(&w->roaming, f, 0) != 0)
        return false;
    w->roams = true;
    w->plain = false;
    if (w->current != &w->base) /* which may go on for long */
        hyi_notify(w->rt);
    return true;
}

/* Partner of the exchange: take_post's load, as in settle. It goes to those
   that stay, so that it has a turn here before anybody takes it away. */
void hyi_worker_adopt(struct hyi_worker *w, struct hyi_fiber *f)
{
    atomic_exchange_explicit(&f->worker, w, memory_order_seq_cst);
    hyi_ready_append(w, f);
}

void hyi_ready_draw(struct hyi_worker *w)
{
    struct hyi_ready *q = &w->ready;
    uint32_t head = hyi_index_of(&q->head);
    uint32_t other = head + (uint32_t)(hyi_random(w) % hyi_ready_count_own(q));
    struct hyi_turn t = q->ring[other & q->mask];

    q->ring[other & q->mask] = q->ring[head & q->mask];
    q->ring[head & q->mask] = t;
}

void hyi_worker_fix(struct hyi_worker *w, struct hyi_fiber *f)
{
    w->plain = false;
    list_append(&w->fixed_first, &w->fixed_last, f);
}
