/*
 * bench_slab_heap.h - allocators as pairs of functions. Peers come by dlopen
 * with local symbols, so that none of them replaces malloc for the others; each
 * is called through a pointer, as in any program that links it.
 * Upstream: bench_slab_heap.c. Downstream: bench_slab_heap_peers.c.
 */
#ifndef HY_BENCH_SLAB_HEAP_H
#define HY_BENCH_SLAB_HEAP_H

#include "bench.h"

struct allocator {
    const char *name;
    bool is_there;
    void *(*alloc)(size_t bytes);
    void (*free)(void *p);
};

enum { PEERS = 4 };

/* glibc, mimalloc, jemalloc, tcmalloc; looked up once. */
const struct allocator *peer_allocators(void);

#endif
