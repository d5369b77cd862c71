/*
 * histogram.c - the arithmetic of hy_histogram: which bucket a value falls
 * into, and what can be said of the values afterwards.
 *
 *      value   0 1 2 3 | 4 5 6 7 | 8-9 10-11 12-13 14-15 | 16-19 20-23 ...
 *      bucket  0 1 2 3 | 4 5 6 7 |  8    9    10    11   |  12    13   ...
 *
 * Invariant: buckets are in the order of their values, none is missing, and
 * each is at most a quarter of its floor wide.
 * Upstream: observer.c, users. Downstream: nothing.
 */
#include "histogram.h"

#include <hyperion/observe.h>

uint64_t hy_histogram_floor(size_t bucket)
{
    size_t octave = bucket / HYI_HISTOGRAM_PARTS;

    if (bucket >= HY_HISTOGRAM_BUCKETS)
        return UINT64_MAX;
    if (octave <= 1)
        return bucket;
    return (uint64_t)(HYI_HISTOGRAM_PARTS + bucket % HYI_HISTOGRAM_PARTS)
           << (octave - 1);
}

static uint64_t last_of(size_t bucket)
{
    return hy_histogram_floor(bucket + 1) - (bucket + 1 < HY_HISTOGRAM_BUCKETS);
}

uint64_t hy_histogram_quantile(const hy_histogram *h, double part)
{
    uint64_t sum = 0;

    if (h == NULL || h->count == 0)
        return 0;
    for (size_t i = 0; i < HY_HISTOGRAM_BUCKETS; i++) {
        sum += h->bucket[i];
        if (h->bucket[i] != 0 && (double)sum >= part * (double)h->count)
            return last_of(i) < h->max ? last_of(i) : h->max;
    }
    return h->max;
}

void hy_histogram_subtract(hy_histogram *later, const hy_histogram *earlier)
{
    uint64_t most = 0;

    if (later == NULL || earlier == NULL)
        return;
    later->count = 0;
    for (size_t i = 0; i < HY_HISTOGRAM_BUCKETS; i++) {
        later->bucket[i] -= earlier->bucket[i];
        later->count += later->bucket[i];
        if (later->bucket[i] != 0)
            most = last_of(i);
    }
    later->sum -= earlier->sum;
    if (most < later->max)
        later->max = most;
}
