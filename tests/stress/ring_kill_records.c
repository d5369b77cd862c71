/*
 * ring_kill_records.c - records of any length, for stress_ring_kill.c.
 *
 *      number   0        1                 2     ..     PERIOD
 *      index    0        16                56           index_of(PERIOD)
 *               | length | record, padded | length | ..
 *
 * How long a record is, and every byte of it, follows from its number; so where
 * it begins, too. An index at which none begins is of a torn one.
 *
 * Upstream: ring_kill.h. Downstream: byte_ring.h.
 */
#include "ring_kill.h"

#include <errno.h>
#include <hyperion/byte_ring.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ring_layout.h"

/* Of the records' lengths: none, all within a word, some that fill a quarter of
 * a ring of one page. */
enum { PERIOD = 61, LONGEST = 1000, MOST = BATCH - 1 };

static hy_byte_ring *ring;
static hy_ring *header; /* its first page, mapped for looking at */

static size_t length_of(uint64_t number)
{
    uint64_t k = number % PERIOD;

    if (k % 8 == 0)
        return (size_t)(k / 8);
    return (size_t)(k * k * 7919) % (k % 5 == 0 ? LONGEST : 90);
}

static uint64_t bytes_of(uint64_t number)
{
    return 8 + (length_of(number) + 7) / 8 * 8;
}

static uint64_t index_of(uint64_t number)
{
    uint64_t rest = 0, all = 0;

    for (uint64_t i = 0; i < PERIOD; i++) {
        if (i < number % PERIOD)
            rest += bytes_of(i);
        all += bytes_of(i);
    }
    return number / PERIOD * all + rest;
}

/* The record that begins at an index, one of those from first on. */
static uint64_t number_at(uint64_t index, uint64_t first)
{
    uint64_t number = first;

    while (number - first < BATCH && index_of(number) < index)
        number++;
    EXPECT(index_of(number) == index, index - index_of(first));
    return number;
}

static unsigned char byte_of(uint64_t number, size_t at)
{
    return (unsigned char)((number * 0x9e3779b97f4a7c15u + at * 0x9e3779b9u) >>
                           24);
}

static void fill(void *record, uint64_t number)
{
    unsigned char *to = record;

    for (size_t i = 0; i < length_of(number); i++)
        to[i] = byte_of(number, i);
}

static void check(const void *record, size_t bytes, uint64_t number)
{
    const unsigned char *from = record;

    EXPECT(bytes == length_of(number), bytes);
    for (size_t i = 0; i < bytes; i++)
        EXPECT(from[i] == byte_of(number, i), i);
}

/* Of a call that does not wait. */
static int is_done(int r)
{
    EXPECT(r == 0 || r == -EAGAIN || r == -EOWNERDEAD || r == -EPIPE, r);
    if (r == -EOWNERDEAD)
        count(&board->told, 1);
    return r == 0;
}

/* --- the producer --------------------------------------------------------- */

/* Several that become visible at once, or when there is no room for more. */
static uint64_t push_staged(uint64_t next, uint64_t want)
{
    uint64_t n = 0;
    void *span;

    while (n < want &&
           is_done(hy_byte_ring_reserve(ring, length_of(next + n), &span))) {
        fill(span, next + n);
        EXPECT(hy_byte_ring_stage(ring, length_of(next + n)) == 0, n);
        n++;
    }
    EXPECT(hy_byte_ring_publish(ring) == 0, n);
    return n;
}

static uint64_t push_in_place(uint64_t next, hy_deadline until)
{
    void *span;
    int r = hy_byte_ring_reserve_wait(ring, LONGEST, &span, until);

    if (!is_over(r, until))
        return 0;
    fill(span, next);
    EXPECT(hy_byte_ring_commit(ring, length_of(next)) == 0, next);
    return 1;
}

/* One way of pushing; returns how many went in. */
static uint64_t push_somehow(uint64_t way, uint64_t next)
{
    hy_deadline until = hy_after(PATIENCE_NS);
    unsigned char record[LONGEST];
    size_t bytes = length_of(next);

    if (way % 4 == 0)
        return push_staged(next, 1 + (way >> 8) % MOST);
    if (way % 4 == 1)
        return push_in_place(next, until);
    fill(record, next);
    if (way % 4 == 2)
        return (uint64_t)is_done(hy_byte_ring_push(ring, record, bytes));
    return (uint64_t)is_over(hy_byte_ring_push_wait(ring, record, bytes, until),
                             until);
}

static void produce(uint64_t seed)
{
    uint64_t next;
    int r = hy_byte_ring_claim(ring, HY_RING_PRODUCER);

    EXPECT(r == 0, r);
    next = number_at(atomic_load(&header->tail), atomic_load(&board->reported));
    check_pushed(next);
    for (;;) {
        atomic_store(&board->reported, next);
        if (atomic_load(&board->stop))
            break;
        next += push_somehow(random_next(&seed), next);
    }
    hy_byte_ring_close(ring);
}

/* --- the consumer --------------------------------------------------------- */

static uint64_t pop_in_place(uint64_t next, uint64_t want)
{
    const void *record;
    size_t bytes;
    uint64_t n = 0;

    while (n < want && is_done(hy_byte_ring_next(ring, &record, &bytes))) {
        check(record, bytes, next + n);
        atomic_store(&board->seen, next + ++n);
    }
    hy_byte_ring_release(ring);
    return n;
}

/* One way of popping; returns how many came out. */
static uint64_t pop_somehow(uint64_t way, uint64_t next)
{
    hy_deadline until = hy_after(PATIENCE_NS);
    unsigned char record[LONGEST];
    const void *at;
    size_t bytes;

    if (way % 4 == 0)
        return pop_in_place(next, 1 + (way >> 8) % MOST);
    if (way % 4 == 1) {
        if (!is_done(hy_byte_ring_pop(ring, record, sizeof(record), &bytes)))
            return 0;
        check(record, bytes, next);
        return 1;
    }
    if (!is_over(hy_byte_ring_peek_wait(ring, &at, &bytes, until), until))
        return 0;
    check(at, bytes, next);
    hy_byte_ring_release(ring);
    return 1;
}

static void consume(uint64_t seed)
{
    int r = hy_byte_ring_claim(ring, HY_RING_CONSUMER);
    uint64_t next;

    EXPECT(r == 0, r);
    next = number_at(atomic_load(&header->head), atomic_load(&board->taken));
    check_popped(next);
    do {
        atomic_store(&board->taken, next);
        next += pop_somehow(random_next(&seed), next);
    } while (hy_byte_ring_state(ring) != -EPIPE);
    for (uint64_t n = 1; n != 0; next += n)
        n = pop_in_place(next, MOST);
    atomic_store(&board->taken, next);
}

/* --- the kind ------------------------------------------------------------- */

static const hy_ring *make(void)
{
    hy_byte_ring_options o = HY_BYTE_RING_OPTIONS_INIT;
    void *page;

    o.capacity = 1;
    o.flags = HY_RING_SHARED;
    if (hy_byte_ring_create(&ring, &o) != 0)
        return NULL;
    page = mmap(NULL, sizeof(*header), PROT_READ, MAP_SHARED,
                hy_byte_ring_fd(ring), 0);
    header = page != MAP_FAILED ? page : NULL;
    return header;
}

static void destroy(void)
{
    munmap(header, sizeof(*header));
    hy_byte_ring_destroy(ring);
}

const struct kind kill_records = {"records", "records", make,    destroy,
                                  produce,   consume,   index_of};
