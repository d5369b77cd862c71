/*
 * bench_ring_peers.cpp - boost::lockfree::spsc_queue and readerwriterqueue as
 * peers, behind the C interface of bench_ring.h.
 */
#include "bench_ring.h"

extern "C" {

#ifdef HY_HAVE_BOOST_LOCKFREE
}
#include <boost/lockfree/spsc_queue.hpp>
extern "C" {

using boost_queue =
    boost::lockfree::spsc_queue<uint64_t,
                                boost::lockfree::capacity<RING_CAPACITY>>;
using boost_wide_queue =
    boost::lockfree::spsc_queue<wide_item,
                                boost::lockfree::capacity<WIDE_CAPACITY>>;

static boost_queue boost_two[2];
static boost_wide_queue boost_wide_one;

static void boost_reset(void)
{
    boost_two[0].reset();
    boost_two[1].reset();
}

#define BOOST_PUSH(ring, value) boost_two[ring].push(value)
#define BOOST_POP(ring, out)    boost_two[ring].pop(*(out))
RING_LOOPS(boost_one, BOOST_PUSH, BOOST_POP)

#define BOOST_PUSH_N(values, n) boost_two[0].push(values, n)
#define BOOST_POP_N(values, n)  boost_two[0].pop(values, n)
RING_BATCH_LOOPS(boost_batch, BOOST_PUSH_N, BOOST_POP_N)

static void boost_wide_reset(void)
{
    boost_wide_one.reset();
}

#define WIDE_PUSH_N(items, n) boost_wide_one.push(items, n)
#define WIDE_POP_N(items, n)  boost_wide_one.pop(items, n)
RING_COPY_LOOPS(boost_wide, WIDE_PUSH_N, WIDE_POP_N)

/* Records as bytes, the length before each; made where it can be pushed from in
 * one piece. */
using boost_byte_queue =
    boost::lockfree::spsc_queue<char,
                                boost::lockfree::capacity<RECORD_CAPACITY>>;
/* And as slots of the longest record's size, copied whole. */
struct record_slot {
    uint64_t bytes;
    uint64_t words[RECORD_WORDS];
};
using boost_slot_queue = boost::lockfree::spsc_queue<
    record_slot,
    boost::lockfree::capacity<RECORD_CAPACITY / sizeof(record_slot)>>;

static boost_byte_queue boost_bytes;
static boost_slot_queue boost_slots;

static void boost_bytes_reset(void)
{
    boost_bytes.reset();
}

static void boost_bytes_produce(uint64_t count)
{
    record_slot slot;

    for (uint64_t i = 0; i < count; i++) {
        slot.bytes = record_bytes(i);
        record_fill(slot.words, i);
        while (boost_bytes.write_available() < sizeof(uint64_t) + slot.bytes)
            ring_pause();
        boost_bytes.push(reinterpret_cast<const char *>(&slot),
                         sizeof(uint64_t) + slot.bytes);
    }
}

/* A record is pushed by one call: with its length all of it is there. */
static void boost_bytes_consume(uint64_t count)
{
    record_slot slot;

    for (uint64_t i = 0; i < count; i++) {
        while (boost_bytes.pop(reinterpret_cast<char *>(&slot.bytes),
                               sizeof(uint64_t)) == 0)
            ring_pause();
        boost_bytes.pop(reinterpret_cast<char *>(slot.words), slot.bytes);
        if (slot.bytes != record_bytes(i) || !record_is(slot.words, i))
            bench_wrong("boost record");
    }
}

static void boost_slots_reset(void)
{
    boost_slots.reset();
}

static void boost_slots_produce(uint64_t count)
{
    static record_slot slot;

    for (uint64_t i = 0; i < count; i++) {
        slot.bytes = record_bytes(i);
        record_fill(slot.words, i);
        while (!boost_slots.push(slot))
            ring_pause();
    }
}

static void boost_slots_consume(uint64_t count)
{
    static record_slot slot;

    for (uint64_t i = 0; i < count; i++) {
        while (!boost_slots.pop(slot))
            ring_pause();
        if (slot.bytes != record_bytes(i) || !record_is(slot.words, i))
            bench_wrong("boost slot");
    }
}

extern const struct ring_peer ring_boost_bytes = {"boost::lockfree::spsc_queue",
                                                  boost_bytes_reset,
                                                  boost_bytes_produce,
                                                  boost_bytes_consume,
                                                  nullptr,
                                                  nullptr,
                                                  nullptr};
extern const struct ring_peer ring_boost_slots = {"boost::lockfree::spsc_queue",
                                                  boost_slots_reset,
                                                  boost_slots_produce,
                                                  boost_slots_consume,
                                                  nullptr,
                                                  nullptr,
                                                  nullptr};

extern const struct ring_peer ring_boost = {"boost::lockfree::spsc_queue",
                                            boost_reset,
                                            boost_one_produce,
                                            boost_one_consume,
                                            boost_one_ask,
                                            boost_one_answer,
                                            boost_one_alone};
extern const struct ring_peer ring_boost_batch = {"boost::lockfree::spsc_queue",
                                                  boost_reset,
                                                  boost_batch_produce,
                                                  boost_batch_consume,
                                                  nullptr,
                                                  nullptr,
                                                  nullptr};
extern const struct ring_peer ring_boost_wide = {"boost::lockfree::spsc_queue",
                                                 boost_wide_reset,
                                                 boost_wide_produce,
                                                 boost_wide_consume,
                                                 nullptr,
                                                 nullptr,
                                                 nullptr};

#else

extern const struct ring_peer ring_boost = {};
extern const struct ring_peer ring_boost_batch = {};
extern const struct ring_peer ring_boost_wide = {};
extern const struct ring_peer ring_boost_bytes = {};
extern const struct ring_peer ring_boost_slots = {};

#endif

#ifdef HY_HAVE_READERWRITERQUEUE
}
#include <readerwriterqueue/readerwriterqueue.h>
#include <new>
extern "C" {

using rwq = moodycamel::ReaderWriterQueue<uint64_t>;

static rwq *rwq_two[2];

static void rwq_reset(void)
{
    for (auto &queue : rwq_two) {
        delete queue;
        queue = new rwq(RING_CAPACITY);
    }
}

#define RWQ_PUSH(ring, value) rwq_two[ring]->try_enqueue(value)
#define RWQ_POP(ring, out)    rwq_two[ring]->try_dequeue(*(out))
RING_LOOPS(rwq_one, RWQ_PUSH, RWQ_POP)

extern const struct ring_peer ring_readerwriter = {
    "readerwriterqueue", rwq_reset,      rwq_one_produce, rwq_one_consume,
    rwq_one_ask,         rwq_one_answer, rwq_one_alone};

#else

extern const struct ring_peer ring_readerwriter = {};

#endif
}
