/*
 * bench_text_index_peers.cpp - std::unordered_set as a stop-word table behind a
 * tokeniser as one writes it in C++, and faiss.
 */
#include "bench_text_index.h"

#include <cctype>
#include <functional>
#include <string>
#include <unordered_set>

static uint64_t by_set(const char *text, size_t bytes,
                       const char *const *stop_words, size_t stop_word_count)
{
    static const std::unordered_set<std::string> stop(
        stop_words, stop_words + stop_word_count);
    std::string token;
    uint64_t kept = 0, hashes = 0;

    for (size_t i = 0; i <= bytes; i++) {
        unsigned char c = i < bytes ? (unsigned char)text[i] : ' ';

        if (std::isalnum(c) || c >= 0x80) {
            token += (char)std::tolower(c);
        } else if (!token.empty()) {
            if (stop.find(token) == stop.end()) {
                kept++;
                hashes ^= std::hash<std::string>()(token);
            }
            token.clear();
        }
    }
    __asm__ volatile("" : : "g"(hashes) : "memory");
    return kept;
}

extern "C" {
extern uint64_t (*const tokens_by_set)(const char *, size_t,
                                       const char *const *, size_t) = by_set;
}

#ifdef HY_HAVE_FAISS

#include <faiss/IndexFlat.h>
#include <faiss/IndexScalarQuantizer.h>
#include <memory>
#include <omp.h>

struct faiss_peer {
    std::unique_ptr<faiss::Index> index;
};

static faiss_peer *make(int kind, const float *rows, size_t count)
{
    auto peer = new faiss_peer;

    omp_set_num_threads(1); /* as ours */
    if (kind == 0)
        peer->index.reset(new faiss::IndexFlatIP(INDEX_DIM));
    else
        peer->index.reset(new faiss::IndexScalarQuantizer(
            INDEX_DIM, faiss::ScalarQuantizer::QT_8bit_uniform,
            faiss::METRIC_INNER_PRODUCT));
    peer->index->train((faiss::Index::idx_t)(count < 10000 ? count : 10000),
                       rows);
    peer->index->add((faiss::Index::idx_t)count, rows);
    return peer;
}

static void search(faiss_peer *peer, const float *queries, size_t count,
                   int64_t *ids, float *scores)
{
    static_assert(sizeof(faiss::Index::idx_t) == sizeof(*ids), "ids");

    peer->index->search((faiss::Index::idx_t)count, queries, TOP, scores,
                        reinterpret_cast<faiss::Index::idx_t *>(ids));
}

static void free_peer(faiss_peer *peer)
{
    delete peer;
}

extern "C" {
extern faiss_peer *(*const faiss_make)(int, const float *, size_t) = make;
extern void (*const faiss_search)(faiss_peer *, const float *, size_t,
                                  int64_t *, float *) = search;
extern void (*const faiss_free)(faiss_peer *) = free_peer;
}

#else

extern "C" {
extern faiss_peer *(*const faiss_make)(int, const float *, size_t) = nullptr;
extern void (*const faiss_search)(faiss_peer *, const float *, size_t,
                                  int64_t *, float *) = nullptr;
extern void (*const faiss_free)(faiss_peer *) = nullptr;
}

#endif
