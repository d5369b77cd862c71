/*
 * bench_text_index.h - C++ peers of bench_text_index.c: a tokeniser over the
 * standard library, faiss's exact indexes and hnswlib's graph.
 * Upstream: bench_text_index.c. Downstream: bench_text_index_peers.cpp,
 * bench_text_index_hnswlib.cpp.
 */
#ifndef HY_BENCH_TEXT_INDEX_H
#define HY_BENCH_TEXT_INDEX_H

#include "bench.h"

#include <stddef.h>
#include <stdint.h>

enum { INDEX_DIM = 256, TOP = 10 };

#ifdef __cplusplus
extern "C" {
#endif

/* Tokens that are no stop words; NULL without a C++ compiler. */
BENCH_CXX_PEER(uint64_t (*const tokens_by_set)(const char *text, size_t bytes,
                                               const char *const *stop_words,
                                               size_t stop_word_count));

struct faiss_peer;

/* kind 0: floats, 1: scaled bytes. NULL where faiss is absent. */
BENCH_CXX_PEER(struct faiss_peer *(*const faiss_make)(int kind,
                                                      const float *rows,
                                                      size_t count));
/* For each query its TOP best ids and scores. */
BENCH_CXX_PEER(void (*const faiss_search)(struct faiss_peer *peer,
                                          const float *queries, size_t count,
                                          int64_t *ids, float *scores));
BENCH_CXX_PEER(void (*const faiss_free)(struct faiss_peer *peer));

/* A graph over floats; more effort finds more. NULL where it is absent. */
struct graph_peer;
BENCH_CXX_PEER(struct graph_peer *(*const graph_make)(const float *rows,
                                                      size_t count));
BENCH_CXX_PEER(void (*const graph_search)(struct graph_peer *peer,
                                          const float *query, size_t effort,
                                          float *scores));
BENCH_CXX_PEER(void (*const graph_free)(struct graph_peer *peer));

#ifdef __cplusplus
}
#endif

#endif
