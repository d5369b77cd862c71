/*
 * ring_layout.h - the bytes of a ring, and the two ways in which one side
 * learns of the other.
 *
 *      +0     what never changes after init
 *      +128   producer's own     tail, limit (the tail at which it must look)
 *      +256   tail, flushed      the producer stores, the consumer loads
 *      +384   consumer's own     head, seen (the tail it knows of)
 *      +512   head               the consumer stores, exact
 *      +640   hint               the consumer stores, late: head of a while ago
 *      +768   reader, reader_at  who sleeps for items | closed, and until when;
 *             reader_bell        what it sleeps on in a shared ring
 *      +896   writer, writer_at  who sleeps for room | closed, and until when;
 *             writer_bell
 *      +1024  final              where the stream ends, once decided
 *      +1152  many               many producers: who waits behind whom
 *      +1280  slots              capacity * stride bytes
 *
 * Indices run freely in 64 bits; a slot is index & mask. In a shared ring
 * nothing is an address: reader and writer say that somebody sleeps, on the
 * bell beside them, and the producer's and the consumer's own lines say whose
 * they are.
 *
 * Invariant: an owner never loads a line that it publishes on, and
 * head <= seen <= tail <= limit <= head + capacity at all times.
 * Upstream: ring.c, ring_wait.c, ring_overwrite.c, ring_many.c, ring_bytes.c.
 * Downstream: park.h.
 */
#ifndef HYI_RING_LAYOUT_H
#define HYI_RING_LAYOUT_H

#include <hyperion/ring.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "bits.h"
#include "check.h"
#include "order.h"
#include "process.h"

enum {
    HYI_RING_MAGIC = 0x676e6972,
    HYI_RING_MAGIC_BYTES = 0x67726962, /* ring_bytes.c */
    HYI_RING_VERSION = 2
};

/* In reader and writer, below the waiter's address; or, of a shared ring,
 * beside HYI_RING_SLEEPS. */
#define HYI_RING_CLOSED ((uintptr_t)1)
#define HYI_RING_SLEEPS ((uintptr_t)2)

#define HYI_RING_UNDECIDED UINT64_MAX

/* Written by its side alone; the counters are read by anybody. */
struct hyi_ring_producer {
    uint64_t tail;
    uint64_t limit;
    uint64_t span; /* items of the last reserve */
    bool quick;    /* see hyi_ring_is_quick */
    bool fenced;
    uint32_t spins; /* pauses before it parks; adapts */
    _Atomic uint32_t busy;
    _Atomic uint64_t owner; /* of a shared ring's side (ring_shared.c); or 0 */
    _Atomic uint64_t parks, wakes;
    /* Many producers (ring_many.c): who has this side now, and whether one
     * sleeps until it is given back. On this line, so that it comes with what
     * it guards. */
    _Atomic uint32_t lock;
    _Atomic uint32_t crowd;
};

/* Many producers: those that wait for room. Guarded by producer.lock, but for
 * spins, which is the front's alone. */
struct hyi_ring_many {
    uint32_t front; /* not 0: somebody waits, and others stand behind */
    uint32_t spins;
    struct hyi_waiter *first, *last;
    _Atomic uint64_t parks; /* of those behind the front */
};

struct hyi_ring_consumer {
    uint64_t head;
    uint64_t seen;
    uint64_t span; /* items of the last peek */
    uint64_t hinted;
    bool quick;
    bool fenced;
    bool sealed; /* closed and drained: for good */
    uint32_t spins;
    uint32_t rests, rested; /* short finds to go without a wait; after that */
    _Atomic uint32_t busy;
    _Atomic uint64_t owner;
    _Atomic uint64_t parks, wakes, lost;
};

struct hy_ring {
    _Atomic uint32_t magic;
    uint32_t version;
    uint64_t mask; /* capacity - 1 */
    size_t item_bytes;
    size_t stride;                  /* bytes from slot to slot */
    size_t bytes;                   /* of all, this header included */
    uint64_t lag;                   /* pops after which hint follows head */
    uint64_t run;                   /* head start that the consumer leaves */
    uint64_t wake_items, wake_room; /* the marks, at least 1 */
    unsigned flags;
    bool placed;    /* in caller's memory */
    uint64_t slots; /* where they start: bytes from here */
    uint64_t space; /* whose process numbers it knows (os.h); or 0 */

    HYI_ALIGNED struct hyi_ring_producer producer;
    HYI_ALIGNED _Atomic uint64_t tail;
    _Atomic uint64_t flushed; /* up to here no mark holds the consumer asleep */
    HYI_ALIGNED struct hyi_ring_consumer consumer;
    HYI_ALIGNED _Atomic uint64_t head;
    HYI_ALIGNED _Atomic uint64_t hint;
    HYI_ALIGNED _Atomic uintptr_t reader;
    _Atomic uint64_t reader_at;   /* the tail that wakes it */
    _Atomic uint32_t reader_bell; /* a futex: rung for who sleeps for items */
    HYI_ALIGNED _Atomic uintptr_t writer;
    _Atomic uint64_t writer_at; /* the head that wakes it */
    _Atomic uint32_t writer_bell;
    HYI_ALIGNED _Atomic uint64_t final;
    HYI_ALIGNED struct hyi_ring_many many;
};

_Static_assert(sizeof(struct hy_ring) % HYI_LINE_BYTES == 0,
               "the slots start on a line");

static inline unsigned char *hyi_ring_slot(const hy_ring *ring, uint64_t index)
{
    return (unsigned char *)(uintptr_t)ring + sizeof(*ring) +
           (index & ring->mask) * ring->stride;
}

/*
 * Rings of 8-byte items, which neither fence nor overwrite, have a path of
 * their own through push and pop that calls nothing and saves no register:
 * half of the time that the general one takes. Debug builds check both sides
 * on the general path alone.
 */
static inline bool hyi_ring_is_quick(const hy_ring *ring, bool fenced)
{
    return HY_DEBUG == 0 && !fenced && ring->item_bytes == sizeof(uint64_t) &&
           (ring->flags & HY_RING_OVERWRITE) == 0;
}

/* The slots of such a ring. */
static inline unsigned char *hyi_ring_word(hy_ring *ring, uint64_t index)
{
    return (unsigned char *)ring + sizeof(*ring) +
           (index & ring->mask) * sizeof(uint64_t);
}

/* Counters have one writer each: no read-modify-write is needed. */
static inline void hyi_ring_count_up(_Atomic uint64_t *counter, uint64_t by)
{
    atomic_store_explicit(
        counter, atomic_load_explicit(counter, memory_order_relaxed) + by,
        memory_order_relaxed);
}

/* Two producers, or two consumers, at once: found in debug builds. */
static inline bool hyi_ring_enter(_Atomic uint32_t *busy)
{
#if HY_DEBUG
    return atomic_exchange(busy, 1) == 0;
#else
    (void)busy;
    return true;
#endif
}

static inline void hyi_ring_leave(_Atomic uint32_t *busy)
{
#if HY_DEBUG
    atomic_store(busy, 0);
#else
    (void)busy;
#endif
}

/*
 * Publishes an index, then looks at the other side's word: the light half of
 * the sleep protocol. Release: pairs with the acquire loads of the index; what
 * was done to the slots is finished. Between store and load stands nothing but
 * a barrier for the compiler, since the sleeper's hyi_ring_order is the fence
 * for both; without membarrier the two are sequentially consistent (order.h).
 */
static inline uintptr_t hyi_ring_publish(_Atomic uint64_t *index,
                                         uint64_t value,
                                         const _Atomic uintptr_t *word,
                                         bool fenced)
{
    if (HYI_UNLIKELY(fenced)) {
        hyi_store_then_look(index, value);
        return atomic_load_explicit(word, memory_order_seq_cst);
    }
    atomic_store_explicit(index, value, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst);
    return atomic_load_explicit(word, memory_order_relaxed);
}

/*
 * The heavy half of hyi_ring_publish, on the side that is about to sleep or to
 * seal, between its change of its word and its look at the other's index:
 * either that look sees the index, or the other side's sees the word.
 */
void hyi_ring_order(const hy_ring *ring);

/* The producer has found reader not zero after publishing tail, which was
 * before earlier. Wakes the sleeper whose mark it has reached; returns how many
 * of the items between before and tail are delivered: fewer than all only when
 * it is closed. */
uint64_t hyi_ring_attend_reader(hy_ring *ring, uint64_t before, uint64_t tail);

/* The consumer has found a sleeper in writer after publishing head: wakes it if
 * its mark is reached. */
void hyi_ring_attend_writer(hy_ring *ring);

/* Waits for room as one of many producers, of which one at a time may. 0 when
 * it is worth trying again, -ETIMEDOUT, -ECANCELED, -EBUSY. */
int hyi_ring_wait_for_room(hy_ring *ring, hy_deadline until);

/*
 * One sleep of the consumer on an empty ring, until its mark is reached; of the
 * producer until there is room for want, or for wake_room if that is more. 0
 * when it is worth trying again, -ETIMEDOUT, -ECANCELED, -EBUSY.
 */
int hyi_ring_wait_items(hy_ring *ring, hy_deadline until);
int hyi_ring_wait_room(hy_ring *ring, uint64_t want, hy_deadline until);

/* The consumer has found the ring empty: is it closed, too? Acquire: pairs with
 * hy_ring_close, so that hyi_ring_seal sees what was pushed before the close. A
 * membarrier orders the two as well, but not every ring has one. */
static inline bool hyi_ring_has_ended(const hy_ring *ring)
{
    return (atomic_load_explicit(&ring->writer, memory_order_acquire) &
            HYI_RING_CLOSED) != 0;
}

/* The consumer has found the ring empty and closed. True: it is drained, for
 * good. False: a push in flight has won, look again. */
bool hyi_ring_seal(hy_ring *ring);

/* --- both sides, without waiting (ring.c) --------------------------------- */

/* Makes a ring of checked options; magic tells its kinds apart. */
void hyi_ring_fill(hy_ring *ring, const hy_ring_options *o, size_t bytes,
                   size_t stride, uint32_t magic);

static inline bool hyi_ring_is_closed(const hy_ring *ring)
{
    /* Relaxed: a close that is seen late is sorted out by
     * hyi_ring_attend_reader. */
    return (atomic_load_explicit(&ring->reader, memory_order_relaxed) &
            HYI_RING_CLOSED) != 0;
}

/* How many items fit, looking at the consumer only when fewer than want. */
uint64_t hyi_ring_find_room(hy_ring *ring, uint64_t want);

/* Publishes all up to tail; returns how many of them are delivered. */
static inline uint64_t hyi_ring_publish_tail(hy_ring *ring, uint64_t before,
                                             uint64_t tail)
{
    struct hyi_ring_producer *p = &ring->producer;

    p->tail = tail;
    /* Pairs with the acquire in hyi_ring_find_items. */
    if (HYI_UNLIKELY(
            hyi_ring_publish(&ring->tail, tail, &ring->reader, p->fenced) != 0))
        return hyi_ring_attend_reader(ring, before, tail);
    return tail - before;
}

/* How many items are there, looking at the producer again. *error is 0, or
 * says why there are none. */
uint64_t hyi_ring_find_items(hy_ring *ring, int *error);

void hyi_ring_publish_hint(hy_ring *ring);

/* Gives all slots before head back. */
static inline void hyi_ring_give_back(hy_ring *ring, uint64_t head)
{
    struct hyi_ring_consumer *c = &ring->consumer;
    uintptr_t word;

    c->head = head;
    /* Pairs with the acquire in hyi_ring_find_room. */
    word = hyi_ring_publish(&ring->head, head, &ring->writer, c->fenced);
    if (HYI_UNLIKELY(head - c->hinted >= ring->lag))
        hyi_ring_publish_hint(ring);
    if (HYI_UNLIKELY(word > HYI_RING_CLOSED))
        hyi_ring_attend_writer(ring);
}

/* --- between processes (ring_shared.c) ------------------------------------ */

static inline bool hyi_ring_is_shared(const hy_ring *ring)
{
    return (ring->flags & HY_RING_SHARED) != 0;
}

/* In an owner's name: its process number means nothing to others; it is still
 * making the side's own line anew. */
#define HYI_RING_FOREIGN  ((uint64_t)1 << 63)
#define HYI_RING_CLAIMING ((uint64_t)1 << 62)

/* Acquire: pairs with the release in hyi_ring_take_side, for another thread of
 * this process. (identity changes in a child of fork, while it has one.) */
static inline bool hyi_ring_is_mine(const _Atomic uint64_t *owner)
{
    uint64_t o = atomic_load_explicit(owner, memory_order_acquire);

    return o != 0 && (o & ~HYI_RING_FOREIGN) ==
                         atomic_load_explicit(&hyi_process.identity,
                                              memory_order_relaxed);
}

/* The side, one of hy_ring_side, belongs to this process: 0, or an error. */
int hyi_ring_take_side(hy_ring *ring, unsigned side);

static inline int hyi_ring_need_producer(hy_ring *ring)
{
    if (!hyi_ring_is_shared(ring) || hyi_ring_is_mine(&ring->producer.owner))
        return 0;
    return hyi_ring_take_side(ring, HY_RING_PRODUCER);
}

static inline int hyi_ring_need_consumer(hy_ring *ring)
{
    if (!hyi_ring_is_shared(ring) || hyi_ring_is_mine(&ring->consumer.owner))
        return 0;
    return hyi_ring_take_side(ring, HY_RING_CONSUMER);
}

static inline bool hyi_ring_is_reached(uint64_t index, uint64_t mark)
{
    return (int64_t)(index - mark) >= 0;
}

/* One side as a sleeper: until index comes to mark, or flushed to least. */
struct hyi_ring_sleeper {
    _Atomic uintptr_t *word;
    _Atomic uint64_t *at;
    uint32_t *spins;
    _Atomic uint64_t *parks;
    const _Atomic uint64_t *index, *flushed; /* NULL: no mark to pass over */
    uint64_t mark;
    uint64_t least; /* the index that is good for something */
    unsigned side;  /* of hy_ring_side */
};

/* Worth a try: its mark is reached, flushed, or closed. */
bool hyi_ring_is_done(const struct hyi_ring_sleeper *s);

/* 0 when it is worth trying again, -ETIMEDOUT, -ECANCELED, -EBUSY, or
 * -EOWNERDEAD. */
int hyi_ring_shared_wait(hy_ring *ring, const struct hyi_ring_sleeper *s,
                         hy_deadline until);
void hyi_ring_shared_wake(_Atomic uint32_t *bell);

/* Before its memory goes. */
void hyi_ring_shared_leave(hy_ring *ring);

/* Of what another process has made (ring_attach.c): 0, or an error, with *why
 * saying it in words. */
int hyi_ring_check_words(const hy_ring *ring, const char **why);
int hyi_ring_check_indices(const hy_ring *ring, const char **why);

/* A close that its caller did not live to end. */
static inline void hyi_ring_end_close(hy_ring *ring)
{
    /* Relaxed: hy_ring_close has what order there is. */
    if ((atomic_load_explicit(&ring->reader, memory_order_relaxed) &
         HYI_RING_CLOSED) != 0 &&
        (atomic_load_explicit(&ring->writer, memory_order_relaxed) &
         HYI_RING_CLOSED) == 0)
        hy_ring_close(ring);
}

/* push and pop of an HY_RING_OVERWRITE ring. */
size_t hyi_ring_overwrite_bytes(size_t item_bytes);

/* Bytes from slot to slot. */
static inline size_t hyi_ring_stride(size_t item_bytes, unsigned flags)
{
    return (flags & HY_RING_OVERWRITE) != 0
               ? hyi_ring_overwrite_bytes(item_bytes)
               : item_bytes;
}

/* Of the whole ring; the caller has checked that it fits. */
static inline size_t hyi_ring_bytes(size_t stride, uint64_t capacity)
{
    return (size_t)hyi_align_up(sizeof(struct hy_ring) + stride * capacity,
                                HYI_LINE_BYTES);
}

/* Pops after which hint follows head. A 16th of the ring at most; measured at
 * 1,024 slots with contended lines: 64 pops 17 ns an item, 128 20, 256 20, each
 * pop 22. */
static inline uint64_t hyi_ring_lag(uint64_t capacity)
{
    return capacity > 16 ? capacity / 16 : 1;
}

void hyi_ring_overwrite_init(hy_ring *ring);
int hyi_ring_overwrite_push(hy_ring *ring, const void *item);
int hyi_ring_overwrite_pop(hy_ring *ring, void *item);

#endif
