/*
 * analyse.c - one document's way, hop by hop. docs/tour.md follows it.
 *
 *      ring -> message -> tokens -> vector -> codes -> paged memory -> index
 *
 * Invariant: everything up to the lock is this fiber's own; behind it one fiber
 * at a time writes.
 * Upstream: lane.c (the ring). Downstream: text.h, vec.h, library.h.
 */
#include <errno.h>
#include <stdlib.h>

#include "lane.h"
#include "trace.h"

/* The lock is taken in spite of a cancel: what was accepted is not dropped. */
static int keep(struct hy_pipeline *p, const struct entry *entry, bool removes)
{
    int r;

    hy_fiber_shield(1);
    r = hy_mutex_lock(&p->library_lock, HY_FOREVER);
    if (r == 0) {
        r = removes ? hyi_library_remove(&p->library, entry->id)
                    : hyi_library_put(&p->library, entry);
        hy_mutex_unlock(&p->library_lock);
    }
    hy_fiber_shield(0);
    return r;
}

static int analyse(struct lane *lane, const struct message *m)
{
    struct hy_pipeline *p = lane->pipeline;
    struct library *library = &p->library;
    struct entry entry = {
        m->id,         m->data,        m->data + m->text_bytes,
        m->text_bytes, m->label_bytes, lane->vector,
        {0, 0, 0, 0},  lane->codes,    &lane->words};
    int r;

    if (m->removes)
        return keep(p, &entry, true);
    hyi_words_clear(&lane->words);
    r = hy_text_vectorize_stems(library->vectorizer, m->data, m->text_bytes,
                                lane->vector, hyi_words_add, &lane->words);
    if (r != 0)
        return r;
    entry.sq8 = hy_vec_sq8_encode(lane->vector, library->dim, lane->codes);
    return keep(p, &entry, false);
}

static void note(struct lane *lane, int result)
{
    struct hy_pipeline *p = lane->pipeline;
    int none = 0;

    if (result != 0) {
        atomic_fetch_add_explicit(&p->failed, 1, memory_order_relaxed);
        atomic_compare_exchange_strong(&p->first_error, &none, result);
    }
    hy_fiber_shield(1);
    hy_mutex_lock(&lane->done_lock, HY_FOREVER);
    lane->done++;
    hy_cond_broadcast(&lane->done_cond);
    hy_mutex_unlock(&lane->done_lock);
    hy_fiber_shield(0);
}

static void leave(struct lane *lane, int why)
{
    hy_fiber_shield(1);
    hy_mutex_lock(&lane->done_lock, HY_FOREVER);
    lane->ended = why == -EPIPE ? -ECANCELED : why;
    hy_cond_broadcast(&lane->done_cond);
    hy_mutex_unlock(&lane->done_lock);
    hy_fiber_shield(0);
    hy_ring_close(lane->ring);
}

void hyi_analyse_run(void *arg)
{
    struct lane *lane = arg;
    struct message *message;
    int r;

    while ((r = hy_ring_pop_wait(lane->ring, &message, HY_FOREVER)) == 0) {
        HYI_TRACE("resume", message->id);
        note(lane, analyse(lane, message));
        free(message);
    }
    leave(lane, r);
}
