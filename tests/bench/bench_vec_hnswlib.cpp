/*
 * bench_vec_hnswlib.cpp - hnswlib's distance kernels as peers, built for this
 * processor: the header chooses by what the compiler may use.
 */
#include "bench_vec.h"

#ifdef HY_HAVE_HNSWLIB

#include <hnswlib.h>

static float dot(const float *a, const float *b, size_t n)
{
    static const hnswlib::DISTFUNC<float> distance =
        hnswlib::InnerProductSpace(1536).get_dist_func();

    return 1.0f - distance(a, b, &n);
}

static float l2sq(const float *a, const float *b, size_t n)
{
    static const hnswlib::DISTFUNC<float> distance =
        hnswlib::L2Space(1536).get_dist_func();

    return distance(a, b, &n);
}

extern "C" {
extern float (*const hnswlib_dot)(const float *, const float *, size_t) = dot;
extern float (*const hnswlib_l2sq)(const float *, const float *, size_t) = l2sq;
}

#else

extern "C" {
extern float (*const hnswlib_dot)(const float *, const float *,
                                  size_t) = nullptr;
extern float (*const hnswlib_l2sq)(const float *, const float *,
                                   size_t) = nullptr;
}

#endif
