/*
 * bench_fibers_chan_peers.cpp - the channels of Boost.Fiber (Oliver Kowalke,
 * Boost Software License), when they are found on this system.
 *
 * Upstream: bench_fibers.h. Downstream: the system's packages.
 */
#include "bench_fibers.h"

#ifdef HY_HAVE_BOOST_FIBER

#include <boost/fiber/all.hpp>

namespace
{

namespace fibers = boost::fibers;

using buffered = fibers::buffered_channel<uint64_t>;
using unbuffered = fibers::unbuffered_channel<uint64_t>;

/* A channel of 64 holds one less. */
double one(void *count)
{
    uint64_t n = *static_cast<uint64_t *>(count), sum = 0, item = 0, start;
    buffered chan(64);

    start = bench_now();
    for (uint64_t i = 0; i < n; i++) {
        chan.push(i);
        chan.pop(item);
        sum += item;
    }
    if (sum != n * (n - 1) / 2)
        bench_wrong("boost channel");
    return static_cast<double>(bench_now() - start) / static_cast<double>(n);
}

template <class Channel> double through(Channel &chan, uint64_t n)
{
    uint64_t sum = 0, start = bench_now();
    fibers::fiber producer([&] {
        for (uint64_t i = 0; i < n; i++)
            chan.push(i);
        chan.close();
    });
    fibers::fiber consumer([&] {
        uint64_t item = 0;

        while (chan.pop(item) == fibers::channel_op_status::success)
            sum += item;
    });

    producer.join();
    consumer.join();
    if (sum != n * (n - 1) / 2)
        bench_wrong("boost channel");
    return static_cast<double>(bench_now() - start) / static_cast<double>(n);
}

double two(void *count)
{
    buffered chan(64);

    return through(chan, *static_cast<uint64_t *>(count));
}

double hand_over(void *count)
{
    unbuffered chan;

    return through(chan, *static_cast<uint64_t *>(count));
}

} // namespace

extern "C" {
extern double (*const boost_chan_one)(void *) = one;
extern double (*const boost_chan_two)(void *) = two;
extern double (*const boost_chan_hand_over)(void *) = hand_over;
}

#else

extern "C" {
extern double (*const boost_chan_one)(void *) = nullptr;
extern double (*const boost_chan_two)(void *) = nullptr;
extern double (*const boost_chan_hand_over)(void *) = nullptr;
}

#endif
