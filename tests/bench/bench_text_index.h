/*
 * bench_text_index.h - C++ peers of bench_text_index.c: a tokeniser over the
 * standard library, and faiss's exact indexes. Upstream: bench_text_index.c.
 * Downstream: bench_text_index_peers.cpp.
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

/* What the peers say of one query: the best ids. */
struct faiss_peer;

/* kind 0: floats, 1: scaled bytes. NULL where faiss is absent. */
BENCH_CXX_PEER(struct faiss_peer *(*const faiss_make)(int kind,
                                                      const float *rows,
                                                      size_t count));
BENCH_CXX_PEER(void (*const faiss_search)(struct faiss_peer *peer,
                                          const float *query, int64_t *ids,
                                          float *scores));
BENCH_CXX_PEER(void (*const faiss_free)(struct faiss_peer *peer));

#ifdef __cplusplus
}
#endif

#endif
