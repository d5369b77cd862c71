/*
 * ring.c - making a ring, and moving items through it without waiting.
 *
 *            head        seen            tail          limit
 *             |           |               |              |
 *      slots  [ known to the consumer | new ][ free, known  | given back ]
 *
 * Each side keeps what it last knew of the other (seen, limit) on its own line
 * and looks again only when that is used up. The consumer publishes twice: head
 * at each pop, and hint once in lag pops. The producer looks at hint first and
 * at head only when hint says full, so that under load the line of head stays
 * with the consumer, and full is exact all the same.
 *
 * Invariant: a slot belongs to the producer from tail up to head + capacity,
 * and to the consumer from head up to tail; the owner alone touches it.
 * Upstream: ring.h. Downstream: ring_wait.c (sleepers), ring_overwrite.c.
 */
#include "ring_layout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch.h"
#include "options.h"
#include "os.h"

enum { KNOWN_FLAGS = HY_RING_SHARED | HY_RING_OVERWRITE | HY_RING_LOCAL };

/* A consumer that knows of this many items peeks without a look at the
 * producer's line, whose transfer costs as much as reading some 16 items. */
enum { PEEK_ENOUGH = 64 };

/*
 * A consumer on the heels of a producer slows both: its reads and its
 * processor's prefetches take lines that the producer is about to write, and
 * each look takes the producer's tail. When it finds less than a head start
 * (a quarter of the ring, at most 16 KiB) it lets the producer run ahead, for
 * at most RUN_LOOKS * RUN_PAUSES pauses (1 to 3 us), and at most once in
 * RUN_RESTS_MAX + 1 short finds while that does not pay. 64-byte items read in
 * place: 1.6 ns each instead of 7 to 18.
 */
enum {
    RUN_BYTES = 16384,
    RUN_SHARE = 4,
    RUN_LOOKS = 4,
    RUN_PAUSES = 8,
    RUN_RESTS_MAX = 255
};

/* --- making one ----------------------------------------------------------- */

/* Reads and checks the options; gives the ring's size and its slots'. */
static int plan(hy_ring_options *o, const hy_ring_options *options,
                size_t *bytes, size_t *stride)
{
    int r = hyi_options_read(o, sizeof(*o), options);
    size_t room = SIZE_MAX / 2 - sizeof(struct hy_ring);
    uint64_t capacity;

    if (r != 0)
        return r;
    if (o->item_bytes == 0 || o->capacity == 0 ||
        (o->flags & ~(unsigned)KNOWN_FLAGS) != 0)
        return -EINVAL;
    if ((o->flags & HY_RING_SHARED) != 0 && (o->flags & HY_RING_LOCAL) != 0)
        return -EINVAL;
    capacity = hyi_power_of_two_ceil(o->capacity);
    if (capacity == 0 || capacity > room || o->item_bytes > room)
        return -EOVERFLOW;
    *stride = hyi_ring_stride(o->item_bytes, o->flags);
    if (*stride > room / capacity)
        return -EOVERFLOW;
    if (o->wake_items > capacity || o->wake_room > capacity)
        return -EINVAL;
    o->capacity = (size_t)capacity;
    *bytes = hyi_ring_bytes(*stride, capacity);
    return 0;
}

/* The head start that a consumer leaves, in items; 0: none. */
static uint64_t run_of(const hy_ring_options *o)
{
    uint64_t most = RUN_BYTES / o->item_bytes, share = o->capacity / RUN_SHARE;

    if ((o->flags & HY_RING_LOCAL) != 0)
        return 0;
    return most < share ? most : share;
}

static void report_fenced(const hy_report *report)
{
    if (report->write != NULL)
        report->write(report->ctx, HY_REPORT_WARNING,
                      "ring: no membarrier here; each push and pop fences");
}

void hyi_ring_fill(hy_ring *ring, const hy_ring_options *o, size_t bytes,
                   size_t stride, uint32_t magic)
{
    bool shared = (o->flags & HY_RING_SHARED) != 0, fenced = shared;

    /* The first call registers the process, so that a sleeper's is quick. It
     * reaches no other process. */
    if ((o->flags & (HY_RING_LOCAL | HY_RING_SHARED)) == 0)
        fenced = hyi_os_barrier() != 0;
    memset(ring, 0, sizeof(*ring));
    ring->version = HYI_RING_VERSION;
    ring->mask = o->capacity - 1;
    ring->item_bytes = o->item_bytes;
    ring->stride = stride;
    ring->bytes = bytes;
    ring->lag = hyi_ring_lag(o->capacity);
    ring->run = run_of(o);
    ring->wake_items = o->wake_items > 1 ? o->wake_items : 1;
    ring->wake_room = o->wake_room > 1 ? o->wake_room : 1;
    ring->flags = o->flags;
    ring->slots = sizeof(*ring);
    if (shared)
        ring->space = hyi_os_process_space();
    ring->producer.limit = o->capacity;
    ring->producer.fenced = ring->consumer.fenced = fenced;
    ring->producer.quick = ring->consumer.quick =
        hyi_ring_is_quick(ring, fenced);
    atomic_init(&ring->final, HYI_RING_UNDECIDED);
    if ((o->flags & HY_RING_OVERWRITE) != 0)
        hyi_ring_overwrite_init(ring);
    /* Release: pairs with the acquire in hy_ring_attach. */
    atomic_store_explicit(&ring->magic, magic, memory_order_release);
    if (fenced && !shared)
        report_fenced(&o->report);
}

/* In memory of its own. NULL: none. */
static hy_ring *allocate(size_t bytes, bool shared)
{
    int saved = errno;
    void *memory;

    if (shared)
        return hyi_os_map_shared(&memory, bytes) == 0 ? memory : NULL;
    memory = aligned_alloc(HYI_LINE_BYTES, bytes);
    errno = saved;
    return memory;
}

int hy_ring_create(hy_ring **out, const hy_ring_options *options)
{
    hy_ring_options o;
    size_t bytes, stride;
    hy_ring *ring;
    int r;

    if (out == NULL || options == NULL)
        return -EINVAL;
    r = plan(&o, options, &bytes, &stride);
    if (r != 0)
        return r;
    ring = allocate(bytes, (o.flags & HY_RING_SHARED) != 0);
    if (ring == NULL)
        return -ENOMEM;
    hyi_ring_fill(ring, &o, bytes, stride, HYI_RING_MAGIC);
    *out = ring;
    return 0;
}

void hy_ring_destroy(hy_ring *ring)
{
    if (ring == NULL)
        return;
    if (hyi_ring_is_shared(ring)) {
        hyi_ring_shared_leave(ring);
        return;
    }
    HYI_DEBUG((ring->reader & ~HYI_RING_CLOSED) == 0);
    HYI_DEBUG((ring->writer & ~HYI_RING_CLOSED) == 0);
    atomic_store_explicit(&ring->magic, 0, memory_order_relaxed);
    if (!ring->placed)
        free(ring);
}

int hy_ring_placement(size_t *bytes, const hy_ring_options *options)
{
    hy_ring_options o;
    size_t stride;

    if (bytes == NULL || options == NULL)
        return -EINVAL;
    return plan(&o, options, bytes, &stride);
}

int hy_ring_init(hy_ring **out, void *memory, size_t bytes,
                 const hy_ring_options *options)
{
    hy_ring_options o;
    size_t needed, stride;
    hy_ring *ring = memory;
    int r;

    if (out == NULL || options == NULL || memory == NULL ||
        !hyi_is_aligned((uintptr_t)memory, HYI_LINE_BYTES))
        return -EINVAL;
    r = plan(&o, options, &needed, &stride);
    if (r != 0)
        return r;
    if (bytes < needed)
        return -ENOSPC;
    hyi_ring_fill(ring, &o, needed, stride, HYI_RING_MAGIC);
    ring->placed = true;
    *out = ring;
    return 0;
}

/* --- the producer's side -------------------------------------------------- */

static inline bool is_overwriting(const hy_ring *ring)
{
    return (ring->flags & HY_RING_OVERWRITE) != 0;
}

uint64_t hyi_ring_find_room(hy_ring *ring, uint64_t want)
{
    struct hyi_ring_producer *p = &ring->producer;
    uint64_t capacity = ring->mask + 1, head;

    /* Acquire, twice: pairs with the releases in hyi_ring_give_back and
     * hyi_ring_publish_hint; the consumer has finished with the slots. hint may
     * be behind what head told before. */
    head = atomic_load_explicit(&ring->hint, memory_order_acquire);
    if ((int64_t)(head + capacity - p->limit) > 0)
        p->limit = head + capacity;
    if (p->limit - p->tail < want) {
        head = atomic_load_explicit(&ring->head, memory_order_acquire);
        p->limit = head + capacity;
    }
    /* Of a shared ring another process may have written anything. */
    HYI_DEBUG((ring->flags & HY_RING_SHARED) != 0 ||
              p->limit - p->tail <= capacity);
    return p->limit - p->tail;
}

static inline uint64_t room_of(hy_ring *ring, uint64_t want)
{
    uint64_t room = ring->producer.limit - ring->producer.tail;

    return HYI_LIKELY(room >= want) ? room : hyi_ring_find_room(ring, want);
}

static __attribute__((noinline)) int push_any(hy_ring *ring, const void *item)
{
    uint64_t tail;
    int r;

    if (hyi_ring_is_closed(ring)) {
        if (hyi_ring_is_shared(ring))
            hyi_ring_end_close(ring);
        return -EPIPE;
    }
    r = hyi_ring_need_producer(ring);
    if (r != 0)
        return r;
    if (!hyi_ring_enter(&ring->producer.busy))
        return -EBUSY;
    tail = ring->producer.tail;
    if (is_overwriting(ring)) {
        r = hyi_ring_overwrite_push(ring, item);
    } else if (room_of(ring, 1) == 0) {
        r = -EAGAIN;
    } else {
        memcpy(hyi_ring_slot(ring, tail), item, ring->item_bytes);
        if (hyi_ring_publish_tail(ring, tail, tail + 1) == 0)
            r = -EPIPE;
    }
    hyi_ring_leave(&ring->producer.busy);
    return r;
}

static __attribute__((noinline)) int push_attended(hy_ring *ring, uint64_t tail)
{
    return hyi_ring_attend_reader(ring, tail - 1, tail) != 0 ? 0 : -EPIPE;
}

int hy_ring_push(hy_ring *ring, const void *item)
{
    struct hyi_ring_producer *p = &ring->producer;
    uint64_t tail = p->tail;

    if (HYI_UNLIKELY(!p->quick || tail == p->limit || hyi_ring_is_closed(ring)))
        return push_any(ring, item);
    memcpy(hyi_ring_word(ring, tail), item, sizeof(uint64_t));
    p->tail = ++tail;
    /* As in hyi_ring_publish_tail. */
    if (HYI_UNLIKELY(
            hyi_ring_publish(&ring->tail, tail, &ring->reader, false) != 0))
        return push_attended(ring, tail);
    return 0;
}

/* Bytes of the first piece of count items from index on: they wrap after it. */
static size_t first_piece(const hy_ring *ring, uint64_t index, uint64_t count)
{
    uint64_t end = ring->mask + 1 - (index & ring->mask);

    return (size_t)(count < end ? count : end) * ring->stride;
}

/* Words one by one: they were mostly stored a moment ago, and a load that spans
 * several stores waits until all of them have left the store buffer, behind
 * those to slots whose lines are still on their way. */
static void put(unsigned char *slots, const char *items, size_t bytes,
                size_t stride)
{
    uint64_t word;

    if (stride != sizeof(word)) {
        memcpy(slots, items, bytes);
        return;
    }
    for (size_t at = 0; at < bytes; at += sizeof(word)) {
        memcpy(&word, items + at, sizeof(word));
        __asm__("" : "+r"(word)); /* keeps the compiler from joining loads */
        memcpy(slots + at, &word, sizeof(word));
    }
}

static void copy_in(hy_ring *ring, uint64_t index, const char *items,
                    uint64_t count)
{
    size_t first = first_piece(ring, index, count);
    size_t rest = (size_t)count * ring->stride - first;

    put(hyi_ring_slot(ring, index), items, first, ring->stride);
    if (HYI_UNLIKELY(rest != 0))
        put(hyi_ring_slot(ring, 0), items + first, rest, ring->stride);
}

static void copy_out(const hy_ring *ring, uint64_t index, char *items,
                     uint64_t count)
{
    size_t first = first_piece(ring, index, count);
    size_t rest = (size_t)count * ring->stride - first;

    memcpy(items, hyi_ring_slot(ring, index), first);
    if (HYI_UNLIKELY(rest != 0))
        memcpy(items + first, hyi_ring_slot(ring, 0), rest);
}

static size_t overwrite_push_n(hy_ring *ring, const void *items, size_t count)
{
    size_t done = 0;

    while (done < count && hy_ring_push(ring, (const char *)items +
                                                  done * ring->item_bytes) == 0)
        done++;
    return done;
}

size_t hy_ring_push_n(hy_ring *ring, const void *items, size_t count)
{
    uint64_t tail, room, done = 0;

    if (count == 0 || hyi_ring_is_closed(ring))
        return 0;
    if (is_overwriting(ring))
        return overwrite_push_n(ring, items, count);
    if (hyi_ring_need_producer(ring) != 0 ||
        !hyi_ring_enter(&ring->producer.busy))
        return 0;
    tail = ring->producer.tail;
    room = room_of(ring, count);
    if (room > count)
        room = count;
    if (room != 0) {
        copy_in(ring, tail, items, room);
        done = hyi_ring_publish_tail(ring, tail, tail + room);
    }
    hyi_ring_leave(&ring->producer.busy);
    return (size_t)done;
}

void *hy_ring_reserve(hy_ring *ring, size_t want, size_t *got)
{
    uint64_t tail, end, span;

    if (got != NULL)
        *got = 0;
    if (hyi_ring_need_producer(ring) != 0)
        return NULL;
    ring->producer.span = 0;
    if (want == 0 || is_overwriting(ring) || hyi_ring_is_closed(ring))
        return NULL;
    tail = ring->producer.tail;
    end = ring->mask + 1 - (tail & ring->mask);
    if (end > want)
        end = want;
    span = room_of(ring, end);
    if (span > end)
        span = end;
    if (span == 0 || (got == NULL && span < want))
        return NULL;
    ring->producer.span = span;
    if (got != NULL)
        *got = (size_t)span;
    return hyi_ring_slot(ring, tail);
}

void hy_ring_commit(hy_ring *ring, size_t count)
{
    uint64_t tail = ring->producer.tail, span = ring->producer.span;
    bool alone;

    if (hyi_ring_is_shared(ring) && !hyi_ring_is_mine(&ring->producer.owner))
        return;
    ring->producer.span = 0;
    if (count < span)
        span = count;
    if (span == 0)
        return;
    alone = hyi_ring_enter(&ring->producer.busy);
    HYI_ASSERT(alone);
    hyi_ring_publish_tail(ring, tail, tail + span);
    hyi_ring_leave(&ring->producer.busy);
}

/* --- the consumer's side -------------------------------------------------- */

void hyi_ring_publish_hint(hy_ring *ring)
{
    struct hyi_ring_consumer *c = &ring->consumer;

    if (c->hinted == c->head)
        return;
    c->hinted = c->head;
    /* Release: pairs with the acquire in hyi_ring_find_room. */
    atomic_store_explicit(&ring->hint, c->head, memory_order_release);
}

/* The consumer has found something, but less than a head start. */
static __attribute__((noinline)) void let_run(hy_ring *ring)
{
    struct hyi_ring_consumer *c = &ring->consumer;
    uint64_t first = c->seen;

    if (c->rests != 0) {
        c->rests--;
        return;
    }
    for (int looks = 0; looks < RUN_LOOKS; looks++) {
        for (int pauses = 0; pauses < RUN_PAUSES; pauses++)
            hy_arch_pause();
        /* Acquire: as in hyi_ring_find_items. */
        c->seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
        if (c->seen - c->head >= ring->run || c->seen == first)
            break;
    }
    if (c->seen - c->head >= ring->run / 2)
        c->rested = 0;
    else if (c->rested < RUN_RESTS_MAX)
        c->rested = c->rested * 2 + 1;
    c->rests = c->rested;
}

uint64_t hyi_ring_find_items(hy_ring *ring, int *error)
{
    struct hyi_ring_consumer *c = &ring->consumer;

    hyi_ring_publish_hint(ring);
    *error = -EPIPE;
    if (c->sealed)
        return 0;
    for (;;) {
        /* Acquire: pairs with the release in hyi_ring_publish_tail. */
        c->seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
        if (c->seen != c->head) {
            if (c->seen - c->head < ring->run)
                let_run(ring);
            *error = 0;
            return c->seen - c->head;
        }
        if (!hyi_ring_has_ended(ring)) {
            *error = -EAGAIN;
            return 0;
        }
        if (hyi_ring_seal(ring))
            return 0;
    }
}

static inline uint64_t items_of(hy_ring *ring, uint64_t want)
{
    uint64_t items = ring->consumer.seen - ring->consumer.head;
    int error;

    return HYI_LIKELY(items >= want) ? items
                                     : hyi_ring_find_items(ring, &error);
}

static __attribute__((noinline)) int pop_any(hy_ring *ring, void *item)
{
    struct hyi_ring_consumer *c = &ring->consumer;
    int r = hyi_ring_need_consumer(ring);

    if (r != 0)
        return r;
    if (!hyi_ring_enter(&c->busy))
        return -EBUSY;
    if (is_overwriting(ring)) {
        r = hyi_ring_overwrite_pop(ring, item);
    } else if (c->head != c->seen || hyi_ring_find_items(ring, &r) != 0) {
        memcpy(item, hyi_ring_slot(ring, c->head), ring->item_bytes);
        hyi_ring_give_back(ring, c->head + 1);
    }
    hyi_ring_leave(&c->busy);
    return r;
}

/* The rare ends of a pop: the hint is due, or the producer sleeps. */
static __attribute__((noinline)) int pop_attended(hy_ring *ring, uintptr_t word)
{
    if (ring->consumer.head - ring->consumer.hinted >= ring->lag)
        hyi_ring_publish_hint(ring);
    if (word > HYI_RING_CLOSED)
        hyi_ring_attend_writer(ring);
    return 0;
}

int hy_ring_pop(hy_ring *ring, void *item)
{
    struct hyi_ring_consumer *c = &ring->consumer;
    uint64_t head = c->head;
    uintptr_t word;

    if (HYI_UNLIKELY(!c->quick || head == c->seen))
        return pop_any(ring, item);
    memcpy(item, hyi_ring_word(ring, head), sizeof(uint64_t));
    c->head = ++head;
    /* As in hyi_ring_give_back. */
    word = hyi_ring_publish(&ring->head, head, &ring->writer, false);
    if (HYI_UNLIKELY(word > HYI_RING_CLOSED || head - c->hinted >= ring->lag))
        return pop_attended(ring, word);
    return 0;
}

static size_t overwrite_pop_n(hy_ring *ring, void *items, size_t count)
{
    size_t done = 0;

    while (done < count &&
           hy_ring_pop(ring, (char *)items + done * ring->item_bytes) == 0)
        done++;
    return done;
}

size_t hy_ring_pop_n(hy_ring *ring, void *items, size_t count)
{
    uint64_t head, there;

    if (count == 0)
        return 0;
    if (is_overwriting(ring))
        return overwrite_pop_n(ring, items, count);
    if (hyi_ring_need_consumer(ring) != 0 ||
        !hyi_ring_enter(&ring->consumer.busy))
        return 0;
    head = ring->consumer.head;
    there = items_of(ring, count);
    if (there > count)
        there = count;
    if (there != 0) {
        copy_out(ring, head, items, there);
        hyi_ring_give_back(ring, head + there);
    }
    hyi_ring_leave(&ring->consumer.busy);
    return (size_t)there;
}

const void *hy_ring_peek(hy_ring *ring, size_t *count)
{
    struct hyi_ring_consumer *c = &ring->consumer;
    uint64_t end, span = 0;

    if (count != NULL)
        *count = 0;
    if (hyi_ring_need_consumer(ring) != 0)
        return NULL;
    end = ring->mask + 1 - (c->head & ring->mask);
    if (!is_overwriting(ring))
        span = items_of(ring, end < PEEK_ENOUGH ? end : PEEK_ENOUGH);
    if (span > end)
        span = end;
    c->span = span;
    if (count != NULL)
        *count = (size_t)span;
    return span != 0 ? hyi_ring_slot(ring, c->head) : NULL;
}

void hy_ring_release(hy_ring *ring, size_t count)
{
    struct hyi_ring_consumer *c = &ring->consumer;
    uint64_t span = c->span;
    bool alone;

    if (hyi_ring_is_shared(ring) && !hyi_ring_is_mine(&c->owner))
        return;
    c->span = 0;
    if (count < span)
        span = count;
    if (span == 0)
        return;
    alone = hyi_ring_enter(&c->busy);
    HYI_ASSERT(alone);
    hyi_ring_give_back(ring, c->head + span);
    hyi_ring_leave(&c->busy);
}

/* --- anybody -------------------------------------------------------------- */

size_t hy_ring_count(const hy_ring *ring)
{
    /* head first: it never overtakes a tail that is read later. */
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    uint64_t count = tail - head;

    return (size_t)(count <= ring->mask ? count : ring->mask + 1);
}

size_t hy_ring_capacity(const hy_ring *ring)
{
    return (size_t)(ring->mask + 1);
}

int hy_ring_state(const hy_ring *ring)
{
    /* Acquire: what was pushed before the close is seen after -EPIPE. */
    if ((atomic_load_explicit(&ring->writer, memory_order_acquire) &
         HYI_RING_CLOSED) != 0)
        return -EPIPE;
    return hy_ring_count(ring) != 0 ? 0 : -EAGAIN;
}

int hy_ring_stats_get(const hy_ring *ring, hy_ring_stats *out)
{
    const struct hyi_ring_producer *p = &ring->producer;
    const struct hyi_ring_consumer *c = &ring->consumer;
    hy_ring_stats s = {0};

    s.capacity = hy_ring_capacity(ring);
    s.item_bytes = ring->item_bytes;
    s.flags = ring->flags;
    s.fenced = p->fenced;
    s.popped = atomic_load_explicit(&ring->head, memory_order_acquire);
    s.pushed = atomic_load_explicit(&ring->tail, memory_order_acquire);
    s.lost = atomic_load_explicit(&c->lost, memory_order_relaxed);
    s.push_parks =
        atomic_load_explicit(&p->parks, memory_order_relaxed) +
        atomic_load_explicit(&ring->many.parks, memory_order_relaxed);
    s.pop_parks = atomic_load_explicit(&c->parks, memory_order_relaxed);
    s.push_wakes = atomic_load_explicit(&p->wakes, memory_order_relaxed);
    s.pop_wakes = atomic_load_explicit(&c->wakes, memory_order_relaxed);
    return hyi_struct_fill(out, &s, sizeof(s));
}
