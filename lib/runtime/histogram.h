/*
 * histogram.h - the bucket of a value (hyperion/observe.h has the scheme).
 */
#ifndef HYI_HISTOGRAM_H
#define HYI_HISTOGRAM_H

#include <hyperion/observe.h>

#include "bits.h"

enum { HYI_HISTOGRAM_PARTS_LOG2 = 2, HYI_HISTOGRAM_PARTS = 4 };

static inline unsigned hyi_histogram_bucket(uint64_t value)
{
    unsigned log2, bucket;

    if (value < HYI_HISTOGRAM_PARTS)
        return (unsigned)value;
    log2 = hyi_log2_floor(value);
    bucket = (log2 - 1) * HYI_HISTOGRAM_PARTS +
             (value >> (log2 - HYI_HISTOGRAM_PARTS_LOG2) &
              (HYI_HISTOGRAM_PARTS - 1));
    return bucket < HY_HISTOGRAM_BUCKETS ? bucket : HY_HISTOGRAM_BUCKETS - 1;
}

#endif
