/*
 * bench_vec_faiss.cpp - faiss's distance kernels as peers.
 */
#include "bench_vec.h"

#ifdef HY_HAVE_FAISS

#include <faiss/utils/distances.h>

static float dot(const float *a, const float *b, size_t n)
{
    return faiss::fvec_inner_product(a, b, n);
}

static float l2sq(const float *a, const float *b, size_t n)
{
    return faiss::fvec_L2sqr(a, b, n);
}

extern "C" {
extern float (*const faiss_dot)(const float *, const float *, size_t) = dot;
extern float (*const faiss_l2sq)(const float *, const float *, size_t) = l2sq;
}

#else

extern "C" {
extern float (*const faiss_dot)(const float *, const float *, size_t) = nullptr;
extern float (*const faiss_l2sq)(const float *, const float *,
                                 size_t) = nullptr;
}

#endif
