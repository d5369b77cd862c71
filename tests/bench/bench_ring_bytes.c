/*
 * bench_ring_bytes.c - records of 16 to 256 bytes through the byte ring: in
 * place one by one, in place in batches, and copied.
 *
 * Upstream: bench_ring.h. Downstream: byte_ring.h.
 */
#include <hyperion/byte_ring.h>
#include <string.h>

#include "bench_ring.h"

/* Records staged before they are published. */
enum { STAGED = 16 };

static hy_byte_ring *ring;

static void bytes_reset(void)
{
    hy_byte_ring_options o = HY_BYTE_RING_OPTIONS_INIT;

    o.capacity = RECORD_CAPACITY;
    hy_byte_ring_destroy(ring);
    ring = NULL;
    if (hy_byte_ring_create(&ring, &o) != 0)
        bench_wrong("no byte ring");
}

static uint64_t *reserve(size_t bytes)
{
    void *span = NULL;

    while (hy_byte_ring_reserve(ring, bytes, &span) != 0)
        ring_pause();
    return (uint64_t *)span;
}

static void check(const void *record, size_t bytes, uint64_t i)
{
    if (bytes != record_bytes(i) || !record_is((const uint64_t *)record, i))
        bench_wrong("record");
}

static void one_produce(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        record_fill(reserve(record_bytes(i)), i);
        hy_byte_ring_commit(ring, record_bytes(i));
    }
}

static void one_consume(uint64_t count)
{
    const void *record = NULL;
    size_t bytes = 0;

    for (uint64_t i = 0; i < count; i++) {
        while (hy_byte_ring_peek(ring, &record, &bytes) != 0)
            ring_pause();
        check(record, bytes, i);
        hy_byte_ring_release(ring);
    }
}

static void batch_produce(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        record_fill(reserve(record_bytes(i)), i);
        hy_byte_ring_stage(ring, record_bytes(i));
        if (i % STAGED == STAGED - 1)
            hy_byte_ring_publish(ring);
    }
    hy_byte_ring_publish(ring);
}

static void batch_consume(uint64_t count)
{
    const void *record = NULL;
    size_t bytes = 0;

    for (uint64_t i = 0; i < count;) {
        unsigned n = 0;

        while (hy_byte_ring_peek(ring, &record, &bytes) != 0)
            ring_pause();
        do
            check(record, bytes, i++);
        while (++n < STAGED && hy_byte_ring_next(ring, &record, &bytes) == 0);
        hy_byte_ring_release(ring);
    }
}

static void copy_produce(uint64_t count)
{
    uint64_t words[RECORD_WORDS];

    for (uint64_t i = 0; i < count; i++) {
        record_fill(words, i);
        while (hy_byte_ring_push(ring, words, record_bytes(i)) != 0)
            ring_pause();
    }
}

static void copy_consume(uint64_t count)
{
    uint64_t words[RECORD_WORDS];
    size_t bytes = 0;

    for (uint64_t i = 0; i < count; i++) {
        while (hy_byte_ring_pop(ring, words, sizeof(words), &bytes) != 0)
            ring_pause();
        check(words, bytes, i);
    }
}

const struct ring_peer ring_bytes = {
    "hy_byte_ring", bytes_reset, one_produce, one_consume, NULL, NULL, NULL};
const struct ring_peer ring_bytes_batch = {
    "hy_byte_ring", bytes_reset, batch_produce, batch_consume,
    NULL,           NULL,        NULL};
const struct ring_peer ring_bytes_copy = {
    "hy_byte_ring", bytes_reset, copy_produce, copy_consume, NULL, NULL, NULL};
