/*
 * ring_wait.c - sleeping on a ring, waking who sleeps, and ending the stream.
 *
 *      reader, writer:   [ address of a waiter, on its stack | closed ]
 *
 *      sleeper                               the other side
 *      -------                               --------------
 *      puts its waiter into its word         publishes its index, and
 *      hyi_ring_order                        looks at the word, in
 *      looks at the index once more          hyi_ring_publish; a waiter:
 *      parks                                 takes it out, wakes it
 *
 * Either the sleeper sees the index, or the other side sees the waiter.
 * Whoever takes the waiter out of the word, by one read-modify-write, decides
 * its fate: the other side wakes it, once; the sleeper itself is not woken.
 * A sleep therefore costs at most one wake, and a ring whose consumer keeps up
 * none. final is decided in the same way between a consumer that finds the ring
 * closed and empty and a producer whose push was in flight.
 *
 * Invariant: a word holds a waiter only while its owner is between putting it
 * in and returning from wait_on; the frame outlives its use.
 * Upstream: ring.c. Downstream: park.h, os.h; ring_shared.c for rings between
 * processes, whose words hold a bit in the place of an address.
 */
#include "ring_layout.h"

#include <errno.h>
#include <stddef.h>

#include "arch.h"
#include "os.h"
#include "park.h"
#include "trace.h"

/* Pauses before parking: at the most about what a park and its wake cost
 * (10-20 us), at the least what finds out that spinning would pay again. */
enum { SPINS_MIN = 16, SPINS_FIRST = 128, SPINS_MAX = 512 };

/* How long a store can stay unseen where the barrier is refused after it was
 * granted at init: far less than this. */
enum { GRACE_NS = 1000000 };

void hyi_ring_order(const hy_ring *ring)
{
    static const _Atomic uint32_t never = 0;

    atomic_signal_fence(memory_order_seq_cst);
    if ((ring->flags & HY_RING_LOCAL) != 0 || ring->producer.fenced)
        return;
    if (hyi_os_barrier() == 0)
        return;
    hyi_os_futex_wait(&never, 0, hyi_os_now() + GRACE_NS, false);
}

/* --- taking waiters out --------------------------------------------------- */

/* Sequentially consistent: with fences on both sides it is one half. */
static uintptr_t take_waiter(_Atomic uintptr_t *word)
{
    return atomic_fetch_and(word, HYI_RING_CLOSED);
}

static void wake_taken(hy_ring *ring, uintptr_t word, _Atomic uint32_t *bell,
                       _Atomic uint64_t *wakes)
{
    word &= ~HYI_RING_CLOSED;
    if (word == 0)
        return;
    if (wakes != NULL)
        hyi_ring_count_up(wakes, 1);
    if (hyi_ring_is_shared(ring))
        hyi_ring_shared_wake(bell);
    else
        hyi_wake((struct hyi_waiter *)word);
}

/* The waiter, once index has come to its mark, and the closed bit. */
static uintptr_t take_ripe(_Atomic uintptr_t *word, const _Atomic uint64_t *at,
                           uint64_t index)
{
    /* Acquire: pairs with put_waiter, before which the mark was stored; an
     * older one would wake too early. Never too late: who sees another sleep's
     * mark is seen by this one's look at index. */
    uintptr_t there = atomic_load_explicit(word, memory_order_acquire);

    if ((there & HYI_RING_CLOSED) == 0 &&
        !hyi_ring_is_reached(index,
                             atomic_load_explicit(at, memory_order_relaxed)))
        return 0;
    return take_waiter(word);
}

uint64_t hyi_ring_attend_reader(hy_ring *ring, uint64_t before, uint64_t tail)
{
    uintptr_t word = ring->wake_items == 1
                         ? take_waiter(&ring->reader)
                         : take_ripe(&ring->reader, &ring->reader_at, tail);
    uint64_t final = HYI_RING_UNDECIDED;

    wake_taken(ring, word, &ring->reader_bell, &ring->producer.wakes);
    if ((word & HYI_RING_CLOSED) == 0)
        return tail - before;
    /* Pairs with the exchange in hyi_ring_seal: one of the two decides. */
    if (atomic_compare_exchange_strong(&ring->final, &final, tail))
        return tail - before;
    HYI_DEBUG(final >= before);
    return final < tail ? final - before : tail - before;
}

void hyi_ring_attend_writer(hy_ring *ring)
{
    struct hyi_ring_consumer *c = &ring->consumer;

    wake_taken(ring, take_ripe(&ring->writer, &ring->writer_at, c->head),
               &ring->writer_bell, &c->wakes);
}

void hy_ring_flush(hy_ring *ring)
{
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    uint64_t flushed =
        atomic_load_explicit(&ring->flushed, memory_order_relaxed);

    if (ring->wake_items == 1)
        return;
    /* Sequentially consistent, both: pairs with the look at flushed in
     * hyi_ring_is_done. Of many producers that flush, none takes back what
     * another has. */
    while (!hyi_ring_is_reached(flushed, tail) &&
           !atomic_compare_exchange_weak(&ring->flushed, &flushed, tail))
        ;
    if (atomic_load(&ring->reader) == 0)
        return;
    /* Ripe with one item in. */
    wake_taken(
        ring,
        take_ripe(&ring->reader, &ring->reader_at, tail + ring->wake_items - 1),
        &ring->reader_bell, &ring->producer.wakes);
}

bool hyi_ring_seal(hy_ring *ring)
{
    struct hyi_ring_consumer *c = &ring->consumer;
    uint64_t final = HYI_RING_UNDECIDED;

    hyi_ring_order(ring);
    if (atomic_load(&ring->tail) != c->head)
        return false;
    /* Pairs with the exchange in hyi_ring_attend_reader. */
    c->sealed = atomic_compare_exchange_strong(&ring->final, &final, c->head) ||
                final == c->head;
    return c->sealed;
}

void hy_ring_close(hy_ring *ring)
{
    /* reader first: a consumer that sees writer closed may rely on it. */
    uintptr_t reader = atomic_fetch_or(&ring->reader, HYI_RING_CLOSED);

    atomic_fetch_or(&ring->writer, HYI_RING_CLOSED);
    if ((reader & ~HYI_RING_CLOSED) != 0)
        wake_taken(ring, take_waiter(&ring->reader), &ring->reader_bell, NULL);
    if (atomic_load(&ring->writer) != HYI_RING_CLOSED)
        wake_taken(ring, take_waiter(&ring->writer), &ring->writer_bell, NULL);
}

/* --- sleeping ------------------------------------------------------------- */

/* Sequentially consistent, as the stores in hyi_ring_publish if fenced. */
bool hyi_ring_is_done(const struct hyi_ring_sleeper *s)
{
    return hyi_ring_is_reached(atomic_load(s->index), s->mark) ||
           (s->flushed != NULL &&
            hyi_ring_is_reached(atomic_load(s->flushed), s->least)) ||
           (atomic_load(s->word) & HYI_RING_CLOSED) != 0;
}

/* Fibers do not spin: what they wait for may need their worker. */
static bool spin(const hy_ring *ring, const struct hyi_ring_sleeper *side)
{
    uint32_t limit = *side->spins;

    if (limit == 0)
        limit = hyi_os_cpu_count() > 1 ? SPINS_FIRST : SPINS_MIN;
    if (hyi_parker_self != NULL || (ring->flags & HY_RING_LOCAL) != 0)
        return false;
    for (uint32_t i = 0; i < limit; i++) {
        if (hyi_ring_is_done(side)) {
            *side->spins = limit < SPINS_MAX ? limit * 2 : SPINS_MAX;
            return true;
        }
        hy_arch_pause();
    }
    *side->spins = limit > SPINS_MIN ? limit / 2 : SPINS_MIN;
    return false;
}

/* -EBUSY when somebody sleeps there already: one side is used by two. */
static int put_waiter(const struct hyi_ring_sleeper *side,
                      struct hyi_waiter *waiter)
{
    uintptr_t old = atomic_load_explicit(side->word, memory_order_relaxed);

    if ((old & ~HYI_RING_CLOSED) != 0)
        return -EBUSY;
    /* Relaxed: the exchange publishes it. */
    atomic_store_explicit(side->at, side->mark, memory_order_relaxed);
    do
        if ((old & ~HYI_RING_CLOSED) != 0)
            return -EBUSY;
    /* Sequentially consistent: with fences on both sides it is one half. */
    while (!atomic_compare_exchange_weak(side->word, &old,
                                         old | (uintptr_t)waiter));
    return 0;
}

/* 0 when it is worth trying again, -ETIMEDOUT, -ECANCELED, -EBUSY. */
static int wait_on(hy_ring *ring, const struct hyi_ring_sleeper *side,
                   hy_deadline until)
{
    struct hyi_waiter waiter HYI_ONE_LINE;
    int r;

    if (until == HY_NOW)
        return -ETIMEDOUT;
    if (hyi_ring_is_shared(ring))
        hyi_ring_end_close(ring); /* with one word closed nobody could sleep */
    if (spin(ring, side))
        return 0;
    if (hyi_ring_is_shared(ring))
        return hyi_ring_shared_wait(ring, side, until);
    hyi_waiter_init(&waiter, HYI_WAIT_RING);
    r = put_waiter(side, &waiter);
    if (r != 0)
        return r;
    hyi_ring_count_up(side->parks, 1);
    hyi_ring_order(ring);
    if (!hyi_ring_is_done(side)) {
        r = hyi_park(&waiter, until);
        if (r == 0)
            return 0;
    }
    /* Not there any more: it was taken, and its wake is on the way. */
    if ((take_waiter(side->word) & ~HYI_RING_CLOSED) == 0)
        hyi_park_claimed(&waiter);
    return r;
}

int hyi_ring_wait_room(hy_ring *ring, uint64_t want, hy_deadline until)
{
    struct hyi_ring_producer *p = &ring->producer;
    uint64_t room = want > ring->wake_room ? want : ring->wake_room;
    struct hyi_ring_sleeper side = {.word = &ring->writer,
                                    .at = &ring->writer_at,
                                    .spins = &p->spins,
                                    .parks = &p->parks,
                                    .index = &ring->head,
                                    .mark = p->tail + room - ring->mask - 1,
                                    .least = p->tail + want - ring->mask - 1,
                                    .side = HY_RING_PRODUCER};

    /* Who waits for room lets nobody wait for more items. */
    hy_ring_flush(ring);
    return wait_on(ring, &side, until);
}

int hyi_ring_wait_for_room(hy_ring *ring, hy_deadline until)
{
    uint64_t tail = atomic_load(&ring->tail);
    /* Other producers move tail on, and the mark with it: that of a tail which
     * was read too early comes too early, never too late. */
    struct hyi_ring_sleeper side = {.word = &ring->writer,
                                    .at = &ring->writer_at,
                                    .spins = &ring->many.spins,
                                    .parks = &ring->producer.parks,
                                    .index = &ring->head,
                                    .mark =
                                        tail + ring->wake_room - ring->mask - 1,
                                    .least = tail - ring->mask,
                                    .side = HY_RING_PRODUCER};

    return wait_on(ring, &side, until);
}

int hyi_ring_wait_items(hy_ring *ring, hy_deadline until)
{
    struct hyi_ring_consumer *c = &ring->consumer;
    struct hyi_ring_sleeper side = {
        .word = &ring->reader,
        .at = &ring->reader_at,
        .spins = &c->spins,
        .parks = &c->parks,
        .index = &ring->tail,
        .flushed = ring->wake_items > 1 ? &ring->flushed : NULL,
        .mark = c->head + ring->wake_items,
        .least = c->head + 1,
        .side = HY_RING_CONSUMER};

    return wait_on(ring, &side, until);
}

int hy_ring_push_wait(hy_ring *ring, const void *item, hy_deadline until)
{
    int r = hy_ring_push(ring, item), waited = 0;

    while (r == -EAGAIN) {
        if (waited != 0)
            return waited;
        waited = hyi_ring_wait_room(ring, 1, until);
        if (waited == -ECANCELED || waited == -EBUSY)
            return waited;
        /* After -ETIMEDOUT once more: room may have come with it. */
        r = hy_ring_push(ring, item);
    }
    if (r == 0)
        HYI_TRACE("push", ring->producer.tail);
    return r;
}

int hy_ring_pop_wait(hy_ring *ring, void *item, hy_deadline until)
{
    int r = hy_ring_pop(ring, item), waited = 0;

    while (r == -EAGAIN) {
        if (waited != 0)
            return waited;
        waited = hyi_ring_wait_items(ring, until);
        if (waited == -ECANCELED || waited == -EBUSY)
            return waited;
        r = hy_ring_pop(ring, item);
    }
    if (r == 0)
        HYI_TRACE("pop", ring->consumer.head);
    return r;
}
