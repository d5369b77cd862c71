/*
 * bench_slab_heap_peers.c - finds glibc's, mimalloc's, jemalloc's and
 * tcmalloc's functions.
 */
#include "bench_slab_heap.h"

#include <dlfcn.h>
#include <stdlib.h>

static struct allocator peers[PEERS] = {
    {"glibc", true, malloc, free},
    {"mimalloc", false, NULL, NULL},
    {"jemalloc", false, NULL, NULL},
    {"tcmalloc", false, NULL, NULL},
};

static const struct {
    const char *libraries[2], *alloc, *free;
} where[PEERS] = {
    {{NULL, NULL}, NULL, NULL},
    {{"libmimalloc.so.2", "libmimalloc.so"}, "mi_malloc", "mi_free"},
    {{"libjemalloc.so.2", "libjemalloc.so"}, "malloc", "free"},
    {{"libtcmalloc_minimal.so.4", "libtcmalloc_minimal.so"},
     "tc_malloc",
     "tc_free"},
};

static void look_up(struct allocator *peer, int i)
{
    void *library = NULL;

    for (int k = 0; k < 2 && library == NULL; k++)
        library = dlopen(where[i].libraries[k], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return;
    *(void **)&peer->alloc = dlsym(library, where[i].alloc);
    *(void **)&peer->free = dlsym(library, where[i].free);
    peer->is_there =
        peer->alloc != NULL && peer->free != NULL && peer->alloc != malloc;
}

const struct allocator *peer_allocators(void)
{
    static bool known;

    for (int i = 1; i < PEERS && !known; i++)
        look_up(&peers[i], i);
    known = true;
    return peers;
}
