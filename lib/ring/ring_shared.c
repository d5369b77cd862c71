/*
 * ring_shared.c - a ring between processes: whose each side is, how it sleeps,
 * and what comes after a process that was killed.
 *
 *      reader, writer:   [ 0 | sleeps | closed ]       bell beside it: a futex
 *      owner of a side:  [ foreign | claiming | start of the process | number ]
 *                        or 0
 *
 *      sleeper                               the other side
 *      -------                               --------------
 *      looks at its bell                     publishes its index   (fenced)
 *      sets sleeps in its word   (fenced)    looks at the word
 *      looks at the index again              sleeps: takes it out, adds 1 to
 *      waits while the bell is the same      the bell, wakes its futex
 *
 * Either the sleeper sees the index, or the other side sees the bit. A process
 * may be killed between any two of these steps; so nobody sleeps longer than a
 * slice of time without a look at the ring and at whether the other side's
 * process is still there.
 *
 * Invariant: what is published, tail and head, is the truth. A side's own line
 * is made anew from it by whoever takes the side, and nobody takes one whose
 * owner may be alive. Upstream: ring.c, ring_wait.c. Downstream: park.h, os.h.
 */
#include "ring_layout.h"

#include <errno.h>
#include <stddef.h>

#include "os.h"
#include "park.h"

/* How long a sleeper goes without a look: doubles from the first to the last.
 * A look costs some 20 us, for which /proc is read. */
#define SLICE_FIRST_NS UINT64_C(10000000)
#define SLICE_LAST_NS  UINT64_C(500000000)

/* An owner's name: process numbers have 22 bits at most; starts are in ticks of
 * 10 ms, of which the lower 40 bits do. */
#define NUMBER_BITS 22u
#define NUMBER_MASK (((uint64_t)1 << NUMBER_BITS) - 1)
#define START_MASK  ((HYI_RING_CLAIMING - 1) >> NUMBER_BITS)

_Static_assert(offsetof(hy_ring, tail) == 256 && offsetof(hy_ring, head) == 512,
               "as ring.h says");
_Static_assert(offsetof(hy_ring, reader) == 768 &&
                   offsetof(hy_ring, reader_at) == 776 &&
                   offsetof(hy_ring, reader_bell) == 784,
               "as ring.h says");
_Static_assert(offsetof(hy_ring, writer) == 896 &&
                   offsetof(hy_ring, writer_at) == 904 &&
                   offsetof(hy_ring, writer_bell) == 912,
               "as ring.h says");
_Static_assert(sizeof(uintptr_t) == sizeof(uint64_t), "words of 64 bits");

/* --- who is who ----------------------------------------------------------- */

static uint64_t name_of(uint64_t number, uint64_t start)
{
    return (start & START_MASK) << NUMBER_BITS | (number & NUMBER_MASK);
}

/* 0, or -ENOMEM when this process could not know of being forked. */
static int identify(uint64_t *name)
{
    uint64_t number, start = 0;

    /* Relaxed: threads that race store the same. */
    *name = atomic_load_explicit(&hyi_process.identity, memory_order_relaxed);
    if (*name != 0)
        return 0;
    if (hyi_process_watch_fork() != 0)
        return -ENOMEM;
    number = hyi_os_process_id();
    hyi_os_process_look(number, &start);
    *name = name_of(number, start);
    atomic_store_explicit(&hyi_process.identity, *name, memory_order_relaxed);
    return 0;
}

/* In doubt alive. */
static bool is_dead(uint64_t owner)
{
    uint64_t number = owner & NUMBER_MASK, start = 0;
    int r;

    owner &= ~HYI_RING_CLAIMING;
    if (owner == 0 || (owner & HYI_RING_FOREIGN) != 0)
        return false;
    r = hyi_os_process_look(number, &start);
    if (r != 0)
        return r == -ESRCH;
    /* A start that its process was not told says nothing. */
    return owner != number && name_of(number, start) != owner;
}

/* --- taking a side -------------------------------------------------------- */

static _Atomic uint64_t *owner_of(const hy_ring *ring, unsigned side)
{
    hy_ring *r = (hy_ring *)(uintptr_t)ring;

    return side == HY_RING_PRODUCER ? &r->producer.owner : &r->consumer.owner;
}

static unsigned other(unsigned side)
{
    return side ^ (HY_RING_PRODUCER | HY_RING_CONSUMER);
}

static void renew_producer(hy_ring *ring)
{
    struct hyi_ring_producer *p = &ring->producer;
    /* Relaxed: stored by this side alone, and it was acquired. */
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    /* Acquire: as in find_room. */
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);

    p->tail = tail;
    p->limit =
        (ring->flags & HY_RING_OVERWRITE) != 0 ? tail : head + ring->mask + 1;
    p->span = 0;
    p->quick = false;
    p->fenced = true;
    atomic_store_explicit(&p->busy, 0, memory_order_relaxed);
    /* Of many producers none is in the middle. */
    atomic_store_explicit(&p->lock, 0, memory_order_relaxed);
    atomic_store_explicit(&p->crowd, 0, memory_order_relaxed);
    ring->many.front = 0;
    ring->many.first = ring->many.last = NULL;
}

static void renew_consumer(hy_ring *ring)
{
    struct hyi_ring_consumer *c = &ring->consumer;
    uint64_t final = atomic_load(&ring->final);

    c->head = c->seen = atomic_load_explicit(&ring->head, memory_order_relaxed);
    c->hinted = atomic_load_explicit(&ring->hint, memory_order_relaxed);
    c->span = 0;
    c->quick = false;
    c->fenced = true;
    /* What was refused after that may stand behind it. */
    c->sealed = final == c->head;
    atomic_store_explicit(&c->busy, 0, memory_order_relaxed);
}

/* Its last owner may have published something without coming to ring for it, or
 * have closed one word of two. */
static void make_up_for(hy_ring *ring, unsigned dead_side)
{
    bool producer = dead_side == HY_RING_PRODUCER;

    atomic_fetch_and(producer ? &ring->reader : &ring->writer, HYI_RING_CLOSED);
    hyi_ring_shared_wake(producer ? &ring->reader_bell : &ring->writer_bell);
    hyi_ring_end_close(ring);
}

/* The side's own line says what is published, and nobody sleeps there. */
static void renew(hy_ring *ring, unsigned side)
{
    if (side == HY_RING_PRODUCER) {
        renew_producer(ring);
        atomic_fetch_and(&ring->writer, HYI_RING_CLOSED);
    } else {
        renew_consumer(ring);
        atomic_fetch_and(&ring->reader, HYI_RING_CLOSED);
    }
}

int hyi_ring_take_side(hy_ring *ring, unsigned side)
{
    _Atomic uint64_t *owner = owner_of(ring, side);
    uint64_t self, old;
    int r = identify(&self);

    if (r != 0)
        return r;
    if (ring->space != 0 && ring->space != hyi_os_process_space())
        self |= HYI_RING_FOREIGN;
    /* Acquire, here and below: pairs with the release in leave_side. */
    old = atomic_load_explicit(owner, memory_order_acquire);
    while (old != self) {
        if (old == (self | HYI_RING_CLAIMING)) { /* by another thread */
            hyi_os_thread_yield();
            old = atomic_load_explicit(owner, memory_order_acquire);
            continue;
        }
        if (old != 0 && !is_dead(old))
            return -EBUSY;
        if (!atomic_compare_exchange_strong_explicit(
                owner, &old, self | HYI_RING_CLAIMING, memory_order_acquire,
                memory_order_acquire))
            continue;
        renew(ring, side);
        /* Release: pairs with the acquire in hyi_ring_is_mine. */
        atomic_store_explicit(owner, self, memory_order_release);
        if (old != 0)
            make_up_for(ring, side);
        return 0;
    }
    return 0;
}

static void leave_side(hy_ring *ring, unsigned side)
{
    _Atomic uint64_t *owner = owner_of(ring, side);

    if (!hyi_ring_is_mine(owner))
        return;
    /* Release: pairs with the acquire in hyi_ring_take_side. */
    atomic_store_explicit(owner, 0, memory_order_release);
}

/* --- sleeping ------------------------------------------------------------- */

void hyi_ring_shared_wake(_Atomic uint32_t *bell)
{
    /* Release: pairs with the acquire in hyi_ring_shared_wait. */
    atomic_fetch_add_explicit(bell, 1, memory_order_release);
    hyi_os_futex_wake(bell, INT32_MAX, true);
}

/* After a slice without a wake. 0 to go on, 1 when there is something. */
static int look_around(hy_ring *ring, const struct hyi_ring_sleeper *s)
{
    _Atomic uint64_t *owner = owner_of(ring, other(s->side));
    uint64_t old = atomic_load_explicit(owner, memory_order_relaxed);
    bool dead = is_dead(old);

    /* Of a mark that a dead one will not reach what there is has to do. */
    if (hyi_ring_is_done(s) ||
        (dead && hyi_ring_is_reached(atomic_load(s->index), s->least)))
        return 1;
    /* Told once: the side is free from now on. Relaxed: its next owner acquires
     * nothing from a dead one. */
    if (dead && atomic_compare_exchange_strong_explicit(
                    owner, &old, 0, memory_order_relaxed, memory_order_relaxed))
        return -EOWNERDEAD;
    return 0;
}

/* Once, for at most until. 1 when there is something, or 0, or an error. */
static int sleep_once(hy_ring *ring, const struct hyi_ring_sleeper *s,
                      hy_deadline until)
{
    _Atomic uint32_t *bell =
        s->side == HY_RING_PRODUCER ? &ring->writer_bell : &ring->reader_bell;
    /* Acquire: who has seen a ring of the bell sees what was published before
     * it. Not after the exchange that follows, which releases: a ring in answer
     * to it is another bell. */
    uint32_t before = atomic_load_explicit(bell, memory_order_acquire);
    int r;

    /* Relaxed: the exchange publishes it. */
    atomic_store_explicit(s->at, s->mark, memory_order_relaxed);
    /* Sequentially consistent: pairs with hyi_ring_publish. Each time anew: who
     * took it out may have been killed before he rang. */
    atomic_fetch_or(s->word, HYI_RING_SLEEPS);
    if (hyi_ring_is_done(s))
        return 1;
    r = hyi_wait_word(bell, before, until);
    return r == 0 && hyi_ring_is_done(s) ? 1 : r;
}

int hyi_ring_shared_wait(hy_ring *ring, const struct hyi_ring_sleeper *s,
                         hy_deadline until)
{
    uint64_t slice = SLICE_FIRST_NS;
    int r = 0;

    /* Relaxed: a side is one at a time, and it finds what it stored. */
    if ((atomic_load_explicit(s->word, memory_order_relaxed) &
         HYI_RING_SLEEPS) != 0)
        return -EBUSY;
    hyi_ring_count_up(s->parks, 1);
    while (r == 0) {
        hy_deadline end = hy_after(slice);

        r = sleep_once(ring, s, end < until ? end : until);
        if (r != -ETIMEDOUT || end >= until)
            continue;
        r = look_around(ring, s);
        slice = slice < SLICE_LAST_NS / 2 ? slice * 2 : SLICE_LAST_NS;
    }
    atomic_fetch_and(s->word, ~HYI_RING_SLEEPS);
    return r == 1 ? 0 : r;
}

/* --- the calls ------------------------------------------------------------ */

static int check_sides(const hy_ring *ring, unsigned sides)
{
    if (ring == NULL || sides == 0 || !hyi_ring_is_shared(ring) ||
        (sides & ~(unsigned)(HY_RING_PRODUCER | HY_RING_CONSUMER)) != 0)
        return -EINVAL;
    return 0;
}

int hy_ring_claim(hy_ring *ring, unsigned sides)
{
    int r = check_sides(ring, sides);
    bool had;

    if (r != 0)
        return r;
    had = hyi_ring_is_mine(&ring->producer.owner);
    if ((sides & HY_RING_PRODUCER) != 0)
        r = hyi_ring_take_side(ring, HY_RING_PRODUCER);
    if (r != 0 || (sides & HY_RING_CONSUMER) == 0)
        return r;
    r = hyi_ring_take_side(ring, HY_RING_CONSUMER);
    if (r != 0 && (sides & HY_RING_PRODUCER) != 0 && !had)
        leave_side(ring, HY_RING_PRODUCER);
    return r;
}

int hy_ring_detach(hy_ring *ring, unsigned sides)
{
    int r = check_sides(ring, sides);

    if (r != 0)
        return r;
    if ((sides & HY_RING_PRODUCER) != 0)
        leave_side(ring, HY_RING_PRODUCER);
    if ((sides & HY_RING_CONSUMER) != 0)
        leave_side(ring, HY_RING_CONSUMER);
    return 0;
}

int hy_ring_owner(const hy_ring *ring, unsigned side, uint64_t *pid)
{
    uint64_t owner;
    int r = check_sides(ring, side);

    if (r != 0 || (side & (side - 1)) != 0)
        return -EINVAL;
    owner = atomic_load_explicit(owner_of(ring, side), memory_order_relaxed);
    if (owner == 0)
        return -ESRCH;
    if (pid != NULL)
        *pid = owner & NUMBER_MASK;
    if ((owner & HYI_RING_FOREIGN) != 0)
        return hyi_ring_is_mine(owner_of(ring, side)) ? 0 : -EXDEV;
    return is_dead(owner) ? -EOWNERDEAD : 0;
}

int hy_ring_recover(hy_ring *ring, unsigned side)
{
    uint64_t old;
    int r = check_sides(ring, side);

    if (r != 0 || (side & (side - 1)) != 0)
        return -EINVAL;
    /* Relaxed: as in look_around. */
    old = atomic_load_explicit(owner_of(ring, side), memory_order_relaxed);
    if (old == 0)
        return 0;
    if ((old & HYI_RING_FOREIGN) != 0 ? hyi_ring_is_mine(owner_of(ring, side))
                                      : !is_dead(old))
        return -EBUSY;
    if (!atomic_compare_exchange_strong_explicit(owner_of(ring, side), &old, 0,
                                                 memory_order_relaxed,
                                                 memory_order_relaxed))
        return -EBUSY;
    make_up_for(ring, side);
    return 0;
}

void hyi_ring_shared_leave(hy_ring *ring)
{
    bool placed = ring->placed;
    size_t page = hyi_os_page_bytes();

    hy_ring_detach(ring, HY_RING_PRODUCER | HY_RING_CONSUMER);
    if (placed)
        atomic_store_explicit(&ring->magic, 0, memory_order_relaxed);
    else
        hyi_os_release(ring, (size_t)hyi_align_up(ring->bytes, page));
}
