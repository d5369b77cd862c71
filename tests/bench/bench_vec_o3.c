/*
 * bench_vec_o3.c - the plain loops at -O3 for this processor, and loops that
 * only read: as fast as any kernel can be.
 */
#define SUFFIX o3
#include "bench_vec_loops.h"

#include <string.h>

typedef uint64_t wide __attribute__((vector_size(64)));

static wide load(const void *p)
{
    wide w;

    memcpy(&w, p, sizeof(w));
    return w;
}

float vec_read_both(const float *a, const float *b, size_t n)
{
    wide w = {0}, x = {0}, y = {0}, z = {0};

    for (size_t i = 0; i + 32 <= n; i += 32) {
        w |= load(a + i);
        x |= load(b + i);
        y |= load(a + i + 16);
        z |= load(b + i + 16);
    }
    w |= x | y | z;
    return (float)(w[0] | w[1] | w[2] | w[3] | w[4] | w[5] | w[6] | w[7]);
}
