/*
 * ring_many.c - many producers on one ring: they take turns on its one
 * producer's side, and wait for room behind one another.
 *
 *      lock     0 free | mark of who has the producer's side
 *      crowd    1: somebody sleeps until lock is given back
 *
 *      front -> first -> ... -> last      who waits for room; the front alone
 *                                         sleeps where the consumer looks
 *                                         (writer), the others where the one
 *                                         before them wakes them
 *
 * Within its turn a producer is the single producer of ring.c: nothing there
 * or on the consumer's side knows of this file. Giving a turn back costs no
 * fence: it stores lock and looks at crowd, and who goes to sleep pays for both
 * (hyi_ring_order), as consumers do.
 *
 * A mark tells which process took the lock: a child of fork finds one of a
 * thread that it does not have, and takes it over.
 *
 * Invariant: what ring_layout.h calls the producer's own is touched by who
 * stored the mark, alone. Whoever stands in the queue has a front before it,
 * who wakes the first of the queue when it leaves, whatever the reason.
 * Upstream: ring.h. Downstream: ring.c, ring_wait.c, park.h.
 */
#include "ring_layout.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "arch.h"
#include "os.h"
#include "park.h"
#include "process.h"
#include "trace.h"

/* Tries before a producer sleeps, every YIELDS-th after letting others run. A
 * turn takes some ten nanoseconds: who waits for longer waits for one that has
 * lost its processor. */
enum { TRIES = 256, YIELDS = 32 };

#if HY_DEBUG >= 1
#define TURN_HELD(change) hyi_locks_change(change)
#else
#define TURN_HELD(change) ((void)0)
#endif

/* --- turns ---------------------------------------------------------------- */

static inline uint32_t own_mark(void)
{
    return hyi_process_forks() * 2 + 1;
}

static inline bool try_turn(struct hyi_ring_producer *p)
{
    uint32_t free = 0;

    /* Acquire: pairs with the release in free_turn. */
    return atomic_compare_exchange_strong_explicit(&p->lock, &free, own_mark(),
                                                   memory_order_acquire,
                                                   memory_order_relaxed);
}

/*
 * Takes over from a thread of the parent, which this process has not. Of its
 * push counts what was published; limit needs no repair, since it is what head
 * allowed at some time. Relaxed: the fork has ordered all that was before it.
 */
static bool inherit_turn(hy_ring *ring)
{
    struct hyi_ring_producer *p = &ring->producer;
    uint32_t mark = atomic_load_explicit(&p->lock, memory_order_relaxed);

    if (mark == 0 || mark == own_mark() ||
        !atomic_compare_exchange_strong_explicit(&p->lock, &mark, own_mark(),
                                                 memory_order_relaxed,
                                                 memory_order_relaxed))
        return false;
    p->tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    p->span = 0;
    hyi_ring_leave(&p->busy);
    return true;
}

/* Until the turn may be free. Whoever clears crowd wakes all, and each of them
 * sets it again before it sleeps again. A shared ring may be mapped twice in
 * one process: then the two sleep and wake at different addresses. */
static void sleep_until_free(hy_ring *ring)
{
    struct hyi_ring_producer *p = &ring->producer;

    hyi_store_then_look(&p->crowd, 1);
    hyi_ring_order(ring);
    /* Sequentially consistent, as the store in free_turn if fenced. */
    if (atomic_load(&p->lock) != 0)
        hyi_os_futex_wait(&p->crowd, 1, HY_FOREVER, hyi_ring_is_shared(ring));
}

static __attribute__((noinline)) void await_turn(hy_ring *ring)
{
    struct hyi_ring_producer *p = &ring->producer;

    while (!inherit_turn(ring)) {
        for (unsigned i = 1; i <= TRIES; i++) {
            if (atomic_load_explicit(&p->lock, memory_order_relaxed) == 0 &&
                try_turn(p))
                return;
            if (i % YIELDS == 0)
                hyi_os_thread_yield();
            hy_arch_pause();
        }
        sleep_until_free(ring);
    }
}

/* Stores lock, then looks at crowd: as hyi_ring_publish does. */
static inline uint32_t free_turn(struct hyi_ring_producer *p, bool fenced)
{
    if (HYI_UNLIKELY(fenced)) {
        hyi_store_then_look(&p->lock, 0);
        return atomic_load(&p->crowd);
    }
    /* Release: pairs with the acquire in try_turn. */
    atomic_store_explicit(&p->lock, 0, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst);
    return atomic_load_explicit(&p->crowd, memory_order_relaxed);
}

static __attribute__((noinline)) void wake_crowd(hy_ring *ring)
{
    _Atomic uint32_t *crowd = &ring->producer.crowd;

    /* Cleared first, so that nobody who compares it falls asleep after the
     * wake. Relaxed: the futex orders it. */
    if (atomic_exchange_explicit(crowd, 0, memory_order_relaxed) != 0)
        hyi_os_futex_wake(crowd, INT32_MAX, hyi_ring_is_shared(ring));
}

static inline void begin_turn(hy_ring *ring)
{
    TURN_HELD(1u);
    if (HYI_UNLIKELY(!try_turn(&ring->producer)))
        await_turn(ring);
}

static inline void end_turn(hy_ring *ring)
{
    TURN_HELD(-1u);
    if (HYI_UNLIKELY(free_turn(&ring->producer, ring->producer.fenced) != 0))
        wake_crowd(ring);
}

static __attribute__((noinline)) int push_in_turn(hy_ring *ring,
                                                  const void *item)
{
    int r = hyi_ring_need_producer(ring);

    if (r != 0)
        return r;
    begin_turn(ring);
    r = hy_ring_push(ring, item);
    end_turn(ring);
    return r;
}

/* The rare ends of a quick push, with the turn: it is the ring's last free slot
 * as far as is known, or closed; or somebody looks at reader. */
static __attribute__((noinline)) int push_as_single(hy_ring *ring,
                                                    const void *item)
{
    int r = hy_ring_push(ring, item);

    end_turn(ring);
    return r;
}

static __attribute__((noinline)) int attend_in_turn(hy_ring *ring,
                                                    uint64_t tail)
{
    int r = hyi_ring_attend_reader(ring, tail - 1, tail) != 0 ? 0 : -EPIPE;

    end_turn(ring);
    return r;
}

int hy_ring_push_mp(hy_ring *ring, const void *item)
{
    struct hyi_ring_producer *p = &ring->producer;
    uint64_t tail;

    if (HYI_UNLIKELY(!p->quick || !try_turn(p)))
        return push_in_turn(ring, item);
    tail = p->tail;
    if (HYI_UNLIKELY(tail == p->limit || hyi_ring_is_closed(ring)))
        return push_as_single(ring, item);
    /* As hy_ring_push does. */
    memcpy(hyi_ring_word(ring, tail), item, sizeof(uint64_t));
    p->tail = ++tail;
    if (HYI_UNLIKELY(
            hyi_ring_publish(&ring->tail, tail, &ring->reader, false) != 0))
        return attend_in_turn(ring, tail);
    if (HYI_UNLIKELY(free_turn(p, false) != 0))
        wake_crowd(ring);
    return 0;
}

size_t hy_ring_push_mp_n(hy_ring *ring, const void *items, size_t count)
{
    size_t done;

    if (count == 0 || hyi_ring_need_producer(ring) != 0)
        return 0;
    begin_turn(ring);
    done = hy_ring_push_n(ring, items, count);
    end_turn(ring);
    return done;
}

/* --- waiting for room ----------------------------------------------------- */

/* One that waits behind the front; in waiter.user. */
enum { PROMOTED, QUEUED };

static void append(struct hyi_ring_many *m, struct hyi_waiter *waiter)
{
    waiter->user = QUEUED;
    waiter->next = NULL;
    waiter->prev = m->last;
    if (m->last != NULL)
        m->last->next = waiter;
    else
        m->first = waiter;
    m->last = waiter;
}

static void take_out(struct hyi_ring_many *m, struct hyi_waiter *waiter)
{
    if (waiter->prev != NULL)
        waiter->prev->next = waiter->next;
    else
        m->first = waiter->next;
    if (waiter->next != NULL)
        waiter->next->prev = waiter->prev;
    else
        m->last = waiter->prev;
    waiter->user = PROMOTED;
}

/* True: the caller is the front. Else its waiter stands in the queue. */
static bool join_queue(hy_ring *ring, struct hyi_waiter *waiter)
{
    struct hyi_ring_many *m = &ring->many;
    bool is_front;

    begin_turn(ring);
    if (m->front != own_mark()) { /* nobody, or the parent's of a fork */
        m->front = own_mark();
        m->first = m->last = NULL;
        is_front = true;
    } else {
        append(m, waiter);
        hyi_ring_count_up(&m->parks, 1);
        is_front = false;
    }
    end_turn(ring);
    return is_front;
}

/* After a park that failed. False: somebody has made it the front. */
static bool leave_queue(hy_ring *ring, struct hyi_waiter *waiter)
{
    bool was_queued;

    begin_turn(ring);
    was_queued = waiter->user == QUEUED;
    if (was_queued)
        take_out(&ring->many, waiter);
    end_turn(ring);
    return was_queued;
}

/* The front goes; who stands behind it is the next one. */
static void leave_front(hy_ring *ring)
{
    struct hyi_ring_many *m = &ring->many;
    struct hyi_waiter *next;

    begin_turn(ring);
    next = m->first;
    if (next != NULL)
        take_out(m, next);
    else
        m->front = 0;
    end_turn(ring);
    if (next != NULL)
        hyi_wake(next);
}

/* Until the caller is the front, or gives up: then *is_front is false, or true
 * if it came too late for that. 0, -ETIMEDOUT, -ECANCELED. */
static int become_front(hy_ring *ring, hy_deadline until, bool *is_front)
{
    struct hyi_waiter waiter HYI_ONE_LINE;
    int r;

    *is_front = true;
    hyi_waiter_init(&waiter, HYI_WAIT_RING);
    if (join_queue(ring, &waiter))
        return 0;
    r = hyi_park(&waiter, until);
    if (r == 0)
        return 0;
    if (leave_queue(ring, &waiter))
        *is_front = false;
    else
        hyi_park_claimed(&waiter);
    return r;
}

int hy_ring_push_mp_wait(hy_ring *ring, const void *item, hy_deadline until)
{
    int r = hy_ring_push_mp(ring, item), waited;
    bool is_front;

    if (r == -EAGAIN && until == HY_NOW)
        return -ETIMEDOUT;
    if (r == -EAGAIN) {
        waited = become_front(ring, until, &is_front);
        /* After -ETIMEDOUT once more: room may have come with it. */
        while (waited == 0 || waited == -ETIMEDOUT) {
            r = hy_ring_push_mp(ring, item);
            if (r != -EAGAIN || waited != 0)
                break;
            waited = hyi_ring_wait_for_room(ring, until);
        }
        if (r == -EAGAIN)
            r = waited;
        if (is_front)
            leave_front(ring);
    }
    if (r == 0)
        HYI_TRACE("push",
                  atomic_load_explicit(&ring->tail, memory_order_relaxed));
    return r;
}
