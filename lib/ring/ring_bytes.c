/*
 * ring_bytes.c - records of any length, in a ring whose bytes are mapped twice.
 *
 *      file     | header: struct hy_ring, counts | data                |
 *      mapped   | header                         | data | data again   |
 *
 *      data     .. ][ length | record, padded ][ length | record .. ][
 *                  head                                             tail
 *
 * Indices, sleeping, closing and figures are those of a ring of single bytes
 * whose slots lie elsewhere (ring_layout.h). A record begins where the last one
 * ends, and runs on into the second mapping where the first one ends: at the
 * same addresses for who writes it and who reads it.
 *
 * What another process may write to, lengths and indices, is read once and
 * checked before it is used; where the data lies and how much of it there is,
 * each process keeps to itself.
 *
 * Invariant: between head and tail stand whole records, each with its length
 * before it; indices are multiples of 8. What is staged lies behind tail and
 * before limit.
 * Upstream: byte_ring.h. Downstream: ring.c, ring_wait.c, os.h.
 */
#include <errno.h>
#include <hyperion/byte_ring.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "os.h"
#include "process.h"
#include "ring_layout.h"

enum { BYTE_FLAGS = HY_RING_SHARED | HY_RING_LOCAL };

/* A length, and what all is aligned to. */
enum { PREFIX_BYTES = sizeof(uint64_t) };

/* Memory is taken in pieces, since a signal undoes the piece under way. */
#define PIECE_BYTES ((uint64_t)1 << 22)

/* The first page of the file. */
struct header {
    struct hy_ring ring;
    HYI_ALIGNED _Atomic uint64_t pushed; /* records; the producer's */
    HYI_ALIGNED _Atomic uint64_t popped; /* the consumer's */
};

struct hy_byte_ring {
    struct header *header;
    hy_ring *ring; /* in header */
    unsigned char *data;
    uint64_t mask; /* capacity - 1 */
    size_t mapped; /* bytes from header on */
    int fd;
    uint32_t forks; /* of the process that mapped it */
    bool shared;

    HYI_ALIGNED struct {
        uint64_t staged;  /* bytes behind the producer's tail */
        uint64_t records; /* in them */
        uint64_t span;    /* longest record that may be ended; */
        bool is_open;     /* if one is reserved */
    } writer;
    HYI_ALIGNED struct {
        uint64_t peeked; /* bytes from the consumer's head on */
        uint64_t records;
    } reader;
};

/* --- the memory ----------------------------------------------------------- */

static int take_memory(int fd, uint64_t bytes)
{
    int r = 0;

    if (bytes > hyi_os_memory_bytes())
        return -ENOMEM;
    for (uint64_t at = 0; at < bytes && r == 0; at += PIECE_BYTES)
        r = hyi_os_file_allocate(
            fd, at, bytes - at < PIECE_BYTES ? bytes - at : PIECE_BYTES);
    return r == -ENOTSUP ? 0 : r;
}

/* The header and the data, and the data once more behind them. */
static int map_twice(hy_byte_ring *b, uint64_t capacity)
{
    size_t page = hyi_os_page_bytes();
    size_t first = page + (size_t)capacity, all = first + (size_t)capacity;
    void *base = NULL;
    int r = hyi_os_reserve(&base, all, HYI_OS_NONE, NULL, false);

    if (r != 0)
        return r;
    r = hyi_os_map_shared_at(base, b->fd, 0, first);
    if (r == 0)
        r = hyi_os_map_shared_at((char *)base + first, b->fd, page,
                                 (size_t)capacity);
    if (r == 0 && !b->shared)
        r = hyi_os_exclude_from_fork(base, all);
    if (r != 0) {
        hyi_os_release(base, all);
        return r;
    }
    b->header = base;
    b->ring = &b->header->ring;
    b->data = (unsigned char *)base + page;
    b->mask = capacity - 1;
    b->mapped = all;
    b->forks = hyi_process_forks();
    return 0;
}

static hy_byte_ring *new_handle(void)
{
    int saved = errno;
    hy_byte_ring *b = aligned_alloc(HYI_LINE_BYTES, sizeof(*b));

    errno = saved;
    if (b != NULL)
        memset(b, 0, sizeof(*b));
    return b;
}

static int check_options(hy_byte_ring_options *o,
                         const hy_byte_ring_options *options)
{
    int r = hyi_options_read(o, sizeof(*o), options);
    size_t page = hyi_os_page_bytes();
    uint64_t capacity;

    if (r != 0)
        return r;
    if (o->capacity == 0 || (o->flags & ~(unsigned)BYTE_FLAGS) != 0 ||
        o->flags == BYTE_FLAGS)
        return -EINVAL;
    capacity = hyi_power_of_two_ceil(o->capacity > page ? o->capacity : page);
    if (capacity == 0 || capacity > (SIZE_MAX / 2 - page) / 2)
        return -EOVERFLOW;
    if (o->wake_bytes > capacity || o->wake_room > capacity)
        return -EINVAL;
    o->capacity = (size_t)capacity;
    return 0;
}

int hy_byte_ring_create(hy_byte_ring **out, const hy_byte_ring_options *options)
{
    size_t page = hyi_os_page_bytes();
    hy_byte_ring_options o;
    hy_ring_options bytes = HY_RING_OPTIONS_INIT;
    hy_byte_ring *b;
    int r;

    if (out == NULL || options == NULL)
        return -EINVAL;
    r = check_options(&o, options);
    if (r != 0)
        return r;
    b = new_handle();
    if (b == NULL)
        return -ENOMEM;
    b->shared = (o.flags & HY_RING_SHARED) != 0;
    r = hyi_os_memory_file(&b->fd, "hy_byte_ring", page + o.capacity);
    if (r != 0) {
        free(b);
        return r;
    }
    r = take_memory(b->fd, page + o.capacity);
    if (r == 0)
        r = map_twice(b, o.capacity);
    if (r != 0) {
        hyi_os_file_close(b->fd);
        free(b);
        return r;
    }
    bytes.item_bytes = 1;
    bytes.capacity = o.capacity;
    bytes.flags = o.flags;
    bytes.report = o.report;
    bytes.wake_items = o.wake_bytes;
    bytes.wake_room = o.wake_room;
    hyi_ring_fill(b->ring, &bytes, page + o.capacity, 1, HYI_RING_MAGIC_BYTES);
    b->ring->slots = page;
    *out = b;
    return 0;
}

/* What never changes in a header that another process has made: of a copy of
 * it, from a file of bytes. */
static int check_header(const struct header *h, uint64_t bytes)
{
    const hy_ring *ring = &h->ring;
    size_t page = hyi_os_page_bytes();
    uint64_t capacity = ring->mask + 1;

    /* Relaxed: who has the descriptor got it after the ring was made. */
    if (atomic_load_explicit(&ring->magic, memory_order_relaxed) !=
        HYI_RING_MAGIC_BYTES)
        return -EBADMSG;
    if (ring->version != HYI_RING_VERSION)
        return -EPROTO;
    if (!hyi_is_power_of_two(capacity) || capacity < page ||
        capacity > (SIZE_MAX / 2 - page) / 2 || bytes != page + capacity ||
        ring->bytes != bytes || ring->slots != page || ring->item_bytes != 1 ||
        ring->stride != 1 || ring->lag != hyi_ring_lag(capacity) ||
        ring->wake_items - 1 >= capacity || ring->wake_room - 1 >= capacity ||
        (ring->flags & ~(unsigned)BYTE_FLAGS) != 0 || ring->flags == BYTE_FLAGS)
        return -EBADMSG;
    return hyi_ring_is_shared(ring) ? 0 : -EPROTOTYPE;
}

/* What changes, where it is: both sides may be at work. */
static int check_state(const hy_ring *ring)
{
    const char *why;
    int r = hyi_ring_check_words(ring, &why);

    if (r == 0)
        r = hyi_ring_check_indices(ring, &why);
    if (r != 0)
        return r;
    if ((atomic_load_explicit(&ring->head, memory_order_relaxed) |
         atomic_load_explicit(&ring->tail, memory_order_relaxed)) %
            PREFIX_BYTES !=
        0)
        return -ERANGE;
    return 0;
}

int hy_byte_ring_attach(hy_byte_ring **out, int fd)
{
    struct hyi_os_shm info;
    struct header header;
    hy_byte_ring *b;
    int r;

    if (out == NULL)
        return -EINVAL;
    r = hyi_os_shm_info(fd, &info);
    if (r == 0 && info.bytes < sizeof(header))
        r = -EBADMSG;
    if (r == 0)
        r = hyi_os_shm_read(fd, 0, &header, sizeof(header));
    if (r == 0)
        r = check_header(&header, info.bytes);
    if (r != 0)
        return r;
    b = new_handle();
    if (b == NULL)
        return -ENOMEM;
    b->shared = true;
    r = hyi_os_file_copy(fd, &b->fd);
    if (r != 0) {
        free(b);
        return r;
    }
    r = map_twice(b, header.ring.mask + 1);
    if (r == 0) {
        r = check_state(b->ring);
        if (r != 0)
            hyi_os_release(b->header, b->mapped);
    }
    if (r != 0) {
        hyi_os_file_close(b->fd);
        free(b);
        return r;
    }
    *out = b;
    return 0;
}

void hy_byte_ring_destroy(hy_byte_ring *b)
{
    if (b == NULL)
        return;
    if (b->shared)
        hy_byte_ring_detach(b, HY_RING_PRODUCER | HY_RING_CONSUMER);
    /* A child of fork has no mapping of a ring that is not shared: other memory
     * may have come to its place. */
    if (b->shared || b->forks == hyi_process_forks())
        hyi_os_release(b->header, b->mapped);
    hyi_os_file_close(b->fd);
    free(b);
}

int hy_byte_ring_fd(const hy_byte_ring *b)
{
    return b->fd;
}

/* --- whose a side is ------------------------------------------------------ */

static void forget_writing(hy_byte_ring *b)
{
    b->writer.staged = b->writer.records = 0;
    b->writer.is_open = false;
}

static void forget_reading(hy_byte_ring *b)
{
    b->reader.peeked = b->reader.records = 0;
}

static inline bool has_producer(const hy_byte_ring *b)
{
    return !b->shared || hyi_ring_is_mine(&b->ring->producer.owner);
}

static inline bool has_consumer(const hy_byte_ring *b)
{
    return !b->shared || hyi_ring_is_mine(&b->ring->consumer.owner);
}

/* 0 when it is this process's from now on: nothing of before counts. */
static __attribute__((noinline)) int take_side(hy_byte_ring *b, unsigned side)
{
    if (side == HY_RING_PRODUCER)
        forget_writing(b);
    else
        forget_reading(b);
    return hyi_ring_take_side(b->ring, side);
}

int hy_byte_ring_claim(hy_byte_ring *b, unsigned sides)
{
    if (b == NULL)
        return -EINVAL;
    if (!has_producer(b))
        forget_writing(b);
    if (!has_consumer(b))
        forget_reading(b);
    return hy_ring_claim(b->ring, sides);
}

int hy_byte_ring_detach(hy_byte_ring *b, unsigned sides)
{
    if (b == NULL)
        return -EINVAL;
    if ((sides & HY_RING_PRODUCER) != 0)
        forget_writing(b);
    if ((sides & HY_RING_CONSUMER) != 0)
        forget_reading(b);
    return hy_ring_detach(b->ring, sides);
}

int hy_byte_ring_owner(const hy_byte_ring *b, unsigned side, uint64_t *pid)
{
    return b == NULL ? -EINVAL : hy_ring_owner(b->ring, side, pid);
}

int hy_byte_ring_recover(hy_byte_ring *b, unsigned side)
{
    return b == NULL ? -EINVAL : hy_ring_recover(b->ring, side);
}

/* --- records -------------------------------------------------------------- */

static inline uint64_t bytes_of(uint64_t length)
{
    return PREFIX_BYTES + hyi_align_up(length, PREFIX_BYTES);
}

/* Whatever the index is, a length and a record of up to a whole ring there lie
 * within the two mappings. */
static inline unsigned char *place_of(const hy_byte_ring *b, uint64_t index)
{
    return b->data + (index & b->mask & ~(uint64_t)(PREFIX_BYTES - 1));
}

static inline _Atomic uint64_t *length_at(const hy_byte_ring *b, uint64_t index)
{
    return (_Atomic uint64_t *)(void *)place_of(b, index);
}

/* --- the producer's side -------------------------------------------------- */

/* Publishes what is staged. */
static inline int publish_staged(hy_byte_ring *b)
{
    hy_ring *ring = b->ring;
    uint64_t tail = ring->producer.tail, staged = b->writer.staged;
    uint64_t records = b->writer.records;
    uint64_t delivered;
    bool alone;

    if (staged == 0 || !has_producer(b))
        return 0;
    b->writer.staged = b->writer.records = 0;
    alone = hyi_ring_enter(&ring->producer.busy);
    HYI_ASSERT(alone);
    /* All or nothing: a consumer ends at an index that was published. */
    delivered = hyi_ring_publish_tail(ring, tail, tail + staged);
    if (delivered != 0)
        hyi_ring_count_up(&b->header->pushed, records);
    hyi_ring_leave(&ring->producer.busy);
    return delivered != 0 ? 0 : -EPIPE;
}

/* There is less room than for need bytes behind tail, as far as is known. */
static __attribute__((noinline)) int find_room(hy_byte_ring *b, uint64_t need)
{
    uint64_t room = hyi_ring_find_room(b->ring, need);
    int r;

    if (room > b->mask + 1)
        return -EBADMSG;
    if (room >= need)
        return 0;
    r = publish_staged(b);
    return r != 0 ? r : -EAGAIN;
}

static __attribute__((noinline)) int refuse_closed(hy_byte_ring *b)
{
    if (b->shared)
        hyi_ring_end_close(b->ring);
    return -EPIPE;
}

/* Room for one record of bytes behind what is staged. */
static inline int open_span(hy_byte_ring *b, size_t bytes)
{
    struct hyi_ring_producer *p = &b->ring->producer;
    uint64_t need;
    int r;

    if (HYI_UNLIKELY(!has_producer(b))) {
        r = take_side(b, HY_RING_PRODUCER);
        if (r != 0)
            return r;
    }
    b->writer.is_open = false;
    if (HYI_UNLIKELY(bytes > b->mask + 1 - PREFIX_BYTES))
        return -EMSGSIZE;
    if (HYI_UNLIKELY(hyi_ring_is_closed(b->ring)))
        return refuse_closed(b);
    need = b->writer.staged + bytes_of(bytes);
    if (HYI_UNLIKELY(p->limit - p->tail < need)) {
        r = find_room(b, need);
        if (r != 0)
            return r;
    }
    b->writer.span = bytes;
    b->writer.is_open = true;
    return 0;
}

static inline uint64_t open_at(const hy_byte_ring *b)
{
    return b->ring->producer.tail + b->writer.staged;
}

static inline int end_record(hy_byte_ring *b, size_t bytes)
{
    if (HYI_UNLIKELY(!b->writer.is_open || bytes > b->writer.span ||
                     !has_producer(b)))
        return -EINVAL;
    /* Relaxed: published with tail. */
    atomic_store_explicit(length_at(b, open_at(b)), bytes,
                          memory_order_relaxed);
    b->writer.staged += bytes_of(bytes);
    b->writer.records++;
    b->writer.is_open = false;
    return 0;
}

int hy_byte_ring_reserve(hy_byte_ring *b, size_t bytes, void **span)
{
    int r = open_span(b, bytes);

    if (r == 0)
        *span = place_of(b, open_at(b)) + PREFIX_BYTES;
    return r;
}

int hy_byte_ring_stage(hy_byte_ring *b, size_t bytes)
{
    return end_record(b, bytes);
}

int hy_byte_ring_publish(hy_byte_ring *b)
{
    return publish_staged(b);
}

int hy_byte_ring_commit(hy_byte_ring *b, size_t bytes)
{
    int r = end_record(b, bytes);

    return r != 0 ? r : publish_staged(b);
}

void hy_byte_ring_abort(hy_byte_ring *b)
{
    b->writer.is_open = false;
}

int hy_byte_ring_push(hy_byte_ring *b, const void *record, size_t bytes)
{
    int r = open_span(b, bytes);

    if (r != 0)
        return r;
    if (bytes != 0)
        memcpy(place_of(b, open_at(b)) + PREFIX_BYTES, record, bytes);
    end_record(b, bytes);
    return publish_staged(b);
}

int hy_byte_ring_flush(hy_byte_ring *b)
{
    int r = publish_staged(b);

    hy_ring_flush(b->ring);
    return r;
}

int hy_byte_ring_reserve_wait(hy_byte_ring *b, size_t bytes, void **span,
                              hy_deadline until)
{
    int r = hy_byte_ring_reserve(b, bytes, span), waited = 0;

    while (r == -EAGAIN) {
        if (waited != 0)
            return waited;
        waited = hyi_ring_wait_room(b->ring, bytes_of(bytes), until);
        if (waited == -ECANCELED || waited == -EBUSY)
            return waited;
        /* After -ETIMEDOUT once more: room may have come with it. */
        r = hy_byte_ring_reserve(b, bytes, span);
    }
    return r;
}

int hy_byte_ring_push_wait(hy_byte_ring *b, const void *record, size_t bytes,
                           hy_deadline until)
{
    void *span;
    int r = hy_byte_ring_reserve_wait(b, bytes, &span, until);

    if (r != 0)
        return r;
    if (bytes != 0)
        memcpy(span, record, bytes);
    return hy_byte_ring_commit(b, bytes);
}

/* --- the consumer's side -------------------------------------------------- */

/* The record that begins offset bytes behind head. */
static inline int look(hy_byte_ring *b, uint64_t offset, const void **record,
                       size_t *bytes)
{
    struct hyi_ring_consumer *c = &b->ring->consumer;
    uint64_t there, length;
    int r = 0;

    there = c->seen - c->head;

    if (HYI_UNLIKELY(there <= offset)) {
        there = hyi_ring_find_items(b->ring, &r);
        if (there <= offset)
            return r != 0 ? r : -EAGAIN;
    }
    if (HYI_UNLIKELY(there > b->mask + 1 || there % PREFIX_BYTES != 0))
        return -EBADMSG;
    there -= offset;
    /* Relaxed: published with tail. Read once: it may change behind our back.
     */
    length = atomic_load_explicit(length_at(b, c->head + offset),
                                  memory_order_relaxed);
    if (HYI_UNLIKELY(length > there - PREFIX_BYTES))
        return -EBADMSG;
    *record = place_of(b, c->head + offset) + PREFIX_BYTES;
    *bytes = (size_t)length;
    b->reader.peeked = offset + bytes_of(length);
    return 0;
}

int hy_byte_ring_peek(hy_byte_ring *b, const void **record, size_t *bytes)
{
    int r;

    if (HYI_UNLIKELY(!has_consumer(b))) {
        r = take_side(b, HY_RING_CONSUMER);
        if (r != 0)
            return r;
    }
    forget_reading(b);
    r = look(b, 0, record, bytes);
    b->reader.records = r == 0;
    return r;
}

int hy_byte_ring_next(hy_byte_ring *b, const void **record, size_t *bytes)
{
    int r;

    if (HYI_UNLIKELY(b->reader.peeked == 0 || !has_consumer(b)))
        return hy_byte_ring_peek(b, record, bytes);
    r = look(b, b->reader.peeked, record, bytes);
    b->reader.records += r == 0;
    return r;
}

void hy_byte_ring_release(hy_byte_ring *b)
{
    hy_ring *ring = b->ring;
    uint64_t peeked = b->reader.peeked;
    bool alone;

    if (peeked == 0 || !has_consumer(b))
        return;
    alone = hyi_ring_enter(&ring->consumer.busy);
    HYI_ASSERT(alone);
    hyi_ring_count_up(&b->header->popped, b->reader.records);
    b->reader.peeked = b->reader.records = 0;
    hyi_ring_give_back(ring, ring->consumer.head + peeked);
    hyi_ring_leave(&ring->consumer.busy);
}

int hy_byte_ring_pop(hy_byte_ring *b, void *buffer, size_t room, size_t *bytes)
{
    const void *record;
    size_t length;
    int r = hy_byte_ring_peek(b, &record, &length);

    if (r != 0)
        return r;
    *bytes = length;
    if (HYI_UNLIKELY(length > room)) {
        forget_reading(b);
        return -ENOBUFS;
    }
    if (length != 0)
        memcpy(buffer, record, length);
    hy_byte_ring_release(b);
    return 0;
}

int hy_byte_ring_peek_wait(hy_byte_ring *b, const void **record, size_t *bytes,
                           hy_deadline until)
{
    int r = hy_byte_ring_peek(b, record, bytes), waited = 0;

    while (r == -EAGAIN) {
        if (waited != 0)
            return waited;
        waited = hyi_ring_wait_items(b->ring, until);
        if (waited == -ECANCELED || waited == -EBUSY)
            return waited;
        r = hy_byte_ring_peek(b, record, bytes);
    }
    return r;
}

int hy_byte_ring_pop_wait(hy_byte_ring *b, void *buffer, size_t room,
                          size_t *bytes, hy_deadline until)
{
    const void *record;
    size_t length;
    int r = hy_byte_ring_peek_wait(b, &record, &length, until);

    return r != 0 ? r : hy_byte_ring_pop(b, buffer, room, bytes);
}

/* --- anybody -------------------------------------------------------------- */

void hy_byte_ring_close(hy_byte_ring *b)
{
    hy_ring_close(b->ring);
}

int hy_byte_ring_state(const hy_byte_ring *b)
{
    return hy_ring_state(b->ring);
}

size_t hy_byte_ring_used(const hy_byte_ring *b)
{
    return hy_ring_count(b->ring);
}

size_t hy_byte_ring_capacity(const hy_byte_ring *b)
{
    return (size_t)(b->mask + 1);
}

size_t hy_byte_ring_longest(const hy_byte_ring *b)
{
    return (size_t)(b->mask + 1 - PREFIX_BYTES);
}

int hy_byte_ring_stats_get(const hy_byte_ring *b, hy_byte_ring_stats *out)
{
    hy_ring_stats ring = {.size = sizeof(ring)};
    hy_byte_ring_stats s = {0};

    hy_ring_stats_get(b->ring, &ring);
    s.capacity = hy_byte_ring_capacity(b);
    s.flags = ring.flags;
    s.fenced = ring.fenced;
    s.popped = atomic_load_explicit(&b->header->popped, memory_order_relaxed);
    s.pushed = atomic_load_explicit(&b->header->pushed, memory_order_relaxed);
    s.popped_bytes = ring.popped;
    s.pushed_bytes = ring.pushed;
    s.push_parks = ring.push_parks;
    s.pop_parks = ring.pop_parks;
    s.push_wakes = ring.push_wakes;
    s.pop_wakes = ring.pop_wakes;
    return hyi_struct_fill(out, &s, sizeof(s));
}
