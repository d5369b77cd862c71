/*
 * bench_vec.h - loops that the compiler makes into code, as peers of the
 * kernels: the same source at -O3 and at -Ofast, both for this processor.
 * Upstream: bench_vec.c. Downstream: bench_vec_o3.c, bench_vec_fast.c,
 * bench_vec_faiss.cpp, bench_vec_hnswlib.cpp.
 */
#ifndef HY_BENCH_VEC_H
#define HY_BENCH_VEC_H

#include "bench.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VEC_PEERS(suffix)                                                      \
    float vec_dot_##suffix(const float *a, const float *b, size_t n);          \
    float vec_l2sq_##suffix(const float *a, const float *b, size_t n);         \
    int32_t vec_dot_i8_##suffix(const int8_t *a, const int8_t *b, size_t n);   \
    void vec_sq8_encode_##suffix(const float *x, size_t n, int8_t *codes);

VEC_PEERS(o3)
VEC_PEERS(fast)

/* Reads both arrays and does next to nothing else: the ceiling. */
float vec_read_both(const float *a, const float *b, size_t n);

/* NULL where the peer is absent. */
BENCH_CXX_PEER(float (*const hnswlib_dot)(const float *a, const float *b,
                                          size_t n));
BENCH_CXX_PEER(float (*const hnswlib_l2sq)(const float *a, const float *b,
                                           size_t n));
BENCH_CXX_PEER(float (*const faiss_dot)(const float *a, const float *b,
                                        size_t n));
BENCH_CXX_PEER(float (*const faiss_l2sq)(const float *a, const float *b,
                                         size_t n));

#ifdef __cplusplus
}
#endif

#endif
