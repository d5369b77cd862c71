/*
 * bench_fibers.h - what bench_fibers.c does not measure itself: the inline
 * switch, and the peers behind a C interface. Each run returns nanoseconds an
 * operation. Upstream: bench_fibers.c. Downstream: bench_fibers_peers.cpp,
 * bench_fibers_inline.c.
 */
#ifndef HY_BENCH_FIBERS_H
#define HY_BENCH_FIBERS_H

#include "bench.h"

enum { STACK_BYTES = 65536, RING_CONTEXTS = 64, NESTED_CALLS = 5 };

/* Skynet: a tree of fibers, ten below each, whose leaves are counted. */
enum { SKYNET_WIDTH = 10 };

struct fiber_load {
    unsigned fibers;
    uint64_t count; /* of yields, or of leaves */
    unsigned workers;
    unsigned flags; /* HY_FIBER_... of each fiber; peers have none */
};

#ifdef __cplusplus
extern "C" {
#endif

/* bench_fibers_inline.c */
double inline_two_sites(void *count);
double inline_nested(void *count);
double indirect_call(void *count);

/* NULL where the peer is absent. */
BENCH_CXX_PEER(double (*const fcontext_same_site)(void *count));
BENCH_CXX_PEER(double (*const fcontext_two_sites)(void *count));
BENCH_CXX_PEER(double (*const fcontext_nested)(void *count));
BENCH_CXX_PEER(double (*const boost_fiber_yield)(void *load));
BENCH_CXX_PEER(double (*const boost_fiber_spawn)(void *count));
BENCH_CXX_PEER(double (*const boost_fiber_skynet)(void *load));
BENCH_CXX_PEER(double (*const boost_chan_one)(void *count));
BENCH_CXX_PEER(double (*const boost_chan_two)(void *count));
BENCH_CXX_PEER(double (*const boost_chan_hand_over)(void *count));

void rows_chan(void); /* bench_fibers_chan.c */
BENCH_CXX_PEER(double (*const boost_fiber_bytes)(void *arg));

#ifdef __cplusplus
}
#endif

#endif
