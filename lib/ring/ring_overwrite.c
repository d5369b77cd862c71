/*
 * ring_overwrite.c - the ring that drops its oldest item when it is full.
 *
 *      slot   | sequence | word | word | ...    item_bytes, padded to words
 *
 *      sequence of index i:  2i + 1 while it is written, 2i + 2 when whole
 *
 * The producer never looks at the consumer: it writes the next slot, whatever
 * stands there. The consumer copies a slot between two looks at its sequence
 * and throws the copy away when they differ; then the item is lost, as if it
 * had been dropped before, and the next one is tried. Neither side waits for
 * the other, and the producer does not consume (dropping by moving the
 * consumer's index would make two consumers).
 *
 * limit == tail and seen == head always, which sends every push and pop of such
 * a ring here.
 *
 * Invariant: an item is given out only if its sequence was 2i + 2 before and
 * after the copy. Words are stored with release and loaded with acquire: who
 * has seen a word of a later item also sees that item's odd sequence.
 * Upstream: ring.c. Downstream: ring_wait.c.
 * H.-J. Boehm, "Can Seqlocks Get Along With Programming Language Memory
 * Models?" (2012).
 */
#include "ring_layout.h"

#include <errno.h>
#include <string.h>

enum { WORD = sizeof(uint64_t) };

struct slot {
    _Atomic uint64_t sequence;
    _Atomic uint64_t words[];
};

static struct slot *slot_of(const hy_ring *ring, uint64_t index)
{
    return (struct slot *)(void *)hyi_ring_slot(ring, index);
}

size_t hyi_ring_overwrite_bytes(size_t item_bytes)
{
    return (size_t)hyi_align_up(item_bytes, WORD) + sizeof(struct slot);
}

void hyi_ring_overwrite_init(hy_ring *ring)
{
    ring->producer.limit = 0;
    for (uint64_t i = 0; i <= ring->mask; i++)
        atomic_init(&slot_of(ring, i)->sequence, 0);
}

static void store_words(struct slot *slot, const unsigned char *item,
                        size_t bytes)
{
    uint64_t word;
    size_t i = 0;

    for (; bytes >= WORD; bytes -= WORD, item += WORD, i++) {
        memcpy(&word, item, WORD);
        atomic_store_explicit(&slot->words[i], word, memory_order_release);
    }
    if (bytes != 0) {
        word = 0;
        memcpy(&word, item, bytes);
        atomic_store_explicit(&slot->words[i], word, memory_order_release);
    }
}

static void load_words(struct slot *slot, unsigned char *item, size_t bytes)
{
    uint64_t word;
    size_t i = 0;

    for (; bytes >= WORD; bytes -= WORD, item += WORD, i++) {
        word = atomic_load_explicit(&slot->words[i], memory_order_acquire);
        memcpy(item, &word, WORD);
    }
    if (bytes != 0) {
        word = atomic_load_explicit(&slot->words[i], memory_order_acquire);
        memcpy(item, &word, bytes);
    }
}

int hyi_ring_overwrite_push(hy_ring *ring, const void *item)
{
    struct hyi_ring_producer *p = &ring->producer;
    uint64_t tail = p->tail;
    struct slot *slot = slot_of(ring, tail);

    /* Relaxed: carried to the consumer by the release of the first word. */
    atomic_store_explicit(&slot->sequence, 2 * tail + 1, memory_order_relaxed);
    store_words(slot, item, ring->item_bytes);
    /* Release: pairs with the first acquire in copy_whole. */
    atomic_store_explicit(&slot->sequence, 2 * tail + 2, memory_order_release);
    p->tail = p->limit = tail + 1;
    if (hyi_ring_publish(&ring->tail, tail + 1, &ring->reader, p->fenced) !=
            0 &&
        hyi_ring_attend_reader(ring, tail, tail + 1) == 0)
        return -EPIPE;
    return 0;
}

static bool copy_whole(const hy_ring *ring, uint64_t index, void *item)
{
    struct slot *slot = slot_of(ring, index);
    uint64_t whole = 2 * index + 2;

    if (atomic_load_explicit(&slot->sequence, memory_order_acquire) != whole)
        return false;
    load_words(slot, item, ring->item_bytes);
    /* Relaxed: the acquire loads of the words keep it behind them. */
    return atomic_load_explicit(&slot->sequence, memory_order_relaxed) == whole;
}

/* The next index to try, or one at which the ring is empty. Items that the
 * producer has passed by a whole ring are lost. */
static uint64_t skip_lost(hy_ring *ring, uint64_t head, uint64_t tail)
{
    uint64_t capacity = ring->mask + 1;

    if (tail - head <= capacity)
        return head;
    hyi_ring_count_up(&ring->consumer.lost, tail - capacity - head);
    return tail - capacity;
}

int hyi_ring_overwrite_pop(hy_ring *ring, void *item)
{
    struct hyi_ring_consumer *c = &ring->consumer;
    uint64_t tail;

    if (c->sealed)
        return -EPIPE;
    for (;;) {
        /* Acquire: pairs with the release in hyi_ring_publish. */
        tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
        c->head = skip_lost(ring, c->head, tail);
        c->seen = c->head;
        if (tail == c->head) {
            if (!hyi_ring_has_ended(ring))
                return -EAGAIN;
            if (hyi_ring_seal(ring))
                return -EPIPE;
            continue;
        }
        if (copy_whole(ring, c->head, item))
            break;
        c->head++;
        hyi_ring_count_up(&c->lost, 1);
    }
    c->seen = ++c->head;
    /* Release: for hy_ring_count alone; the producer never looks. */
    atomic_store_explicit(&ring->head, c->head, memory_order_release);
    return 0;
}
