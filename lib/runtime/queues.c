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
    struct hyi_fiber **ring = malloc(count * sizeof(struct hyi_fiber *));

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

void hyi_ready_append(struct hyi_worker *w, struct hyi_fiber *f)
{
    struct hyi_ready *q = &w->ready;
    bool full = q->ring == NULL || hyi_ready_count_own(q) > q->mask;

    if (HYI_UNLIKELY(q->spill_first != NULL || (full && !grow_ready(q)))) {
        w->plain = false;
        f->next = NULL;
        if (q->spill_first == NULL)
            q->spill_first = f;
        else
            q->spill_last->next = f;
        q->spill_last = f;
        return;
    }
    q->ring[hyi_index_advance(&q->tail) & q->mask] = f;
}

bool hyi_roaming_offer(struct hyi_worker *w, struct hyi_fiber *f)
{
    HYI_ASSERT(f != w->current);
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
    struct hyi_fiber *f = q->ring[other & q->mask];

    q->ring[other & q->mask] = q->ring[head & q->mask];
    q->ring[head & q->mask] = f;
}

void hyi_worker_fix(struct hyi_worker *w, struct hyi_fiber *f)
{
    w->plain = false;
    f->next = NULL;
    if (w->fixed_first == NULL)
        w->fixed_first = f;
    else
        w->fixed_last->next = f;
    w->fixed_last = f;
}
