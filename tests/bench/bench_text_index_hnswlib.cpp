/*
 * bench_text_index_hnswlib.cpp - hnswlib's graph as a peer, built for this
 * processor: M 16, ef_construction 200, the inner product.
 */
#include "bench_text_index.h"

#ifdef HY_HAVE_HNSWLIB

#include <hnswlib.h>

struct graph_peer {
    hnswlib::InnerProductSpace space;
    hnswlib::HierarchicalNSW<float> graph;

    explicit graph_peer(size_t count)
        : space(INDEX_DIM), graph(&space, count, 16, 200)
    {
    }
};

static graph_peer *make(const float *rows, size_t count)
{
    auto peer = new graph_peer(count);

    for (size_t i = 0; i < count; i++)
        peer->graph.addPoint(rows + i * INDEX_DIM, i);
    return peer;
}

/* hnswlib gives the worst first, and one minus the product. */
static void search(graph_peer *peer, const float *query, size_t effort,
                   float *scores)
{
    peer->graph.setEf(effort);
    auto found = peer->graph.searchKnn(query, TOP);
    for (size_t i = found.size(); i-- > 0; found.pop())
        scores[i] = 1.0f - found.top().first;
}

static void free_graph(graph_peer *peer)
{
    delete peer;
}

extern "C" {
extern graph_peer *(*const graph_make)(const float *, size_t) = make;
extern void (*const graph_search)(graph_peer *, const float *, size_t,
                                  float *) = search;
extern void (*const graph_free)(graph_peer *) = free_graph;
}

#else

extern "C" {
extern graph_peer *(*const graph_make)(const float *, size_t) = nullptr;
extern void (*const graph_search)(graph_peer *, const float *, size_t,
                                  float *) = nullptr;
extern void (*const graph_free)(graph_peer *) = nullptr;
}

#endif
