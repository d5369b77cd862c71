/*
 * bench_ring_many_peers.cpp - boost::lockfree::queue, concurrentqueue, and
 * atomic_queue as peers with many producers, behind the C interface of
 * bench_ring_many.h.
 */
#include "bench_ring_many.h"

#ifdef HY_HAVE_BOOST_LOCKFREE
#include <boost/lockfree/queue.hpp>
#endif
#ifdef HY_HAVE_CONCURRENTQUEUE
#include <concurrentqueue/concurrentqueue.h>
#endif
#ifdef HY_HAVE_ATOMIC_QUEUE
#include <atomic_queue/atomic_queue.h>
#endif

/* The same three functions for each: one queue, made anew by reset. */
#define MANY_CXX_PEER(peer, name_, queue, MAKE, PUSH_CALL, POP_CALL)           \
    static queue *peer##_one;                                                  \
    static void peer##_reset()                                                 \
    {                                                                          \
        delete peer##_one;                                                     \
        peer##_one = new queue MAKE;                                           \
    }                                                                          \
    static inline bool peer##_push(uint64_t value)                             \
    {                                                                          \
        return peer##_one->PUSH_CALL(value);                                   \
    }                                                                          \
    static inline bool peer##_pop(uint64_t *value)                             \
    {                                                                          \
        return peer##_one->POP_CALL(*value);                                   \
    }                                                                          \
    MANY_LOOPS(peer, peer##_push, peer##_pop)                                  \
    extern "C" const struct many_peer many_##peer = {                          \
        name_, peer##_reset, peer##_produce, peer##_consume}

#ifdef HY_HAVE_BOOST_LOCKFREE
using boost_many =
    boost::lockfree::queue<uint64_t, boost::lockfree::capacity<RING_CAPACITY>>;
MANY_CXX_PEER(boost, "boost::lockfree::queue", boost_many, (), bounded_push,
              pop);
#else
extern "C" const struct many_peer many_boost = {};
#endif

#ifdef HY_HAVE_CONCURRENTQUEUE
using moodycamel_many = moodycamel::ConcurrentQueue<uint64_t>;
MANY_CXX_PEER(moodycamel, "concurrentqueue", moodycamel_many,
              (RING_CAPACITY, 0, MANY_MOST), try_enqueue, try_dequeue);
#else
extern "C" const struct many_peer many_moodycamel = {};
#endif

#ifdef HY_HAVE_ATOMIC_QUEUE
using atomic_many = atomic_queue::AtomicQueue<uint64_t, RING_CAPACITY>;
MANY_CXX_PEER(atomic, "atomic_queue", atomic_many, (), try_push, try_pop);
#else
extern "C" const struct many_peer many_atomic = {};
#endif
