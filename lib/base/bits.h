/*
 * bits.h - small integer arithmetic: alignment, powers of two, overflow.
 * Pure functions without state; any context.
 */
#ifndef HYI_BITS_H
#define HYI_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Two lines of 64 bytes: the adjacent-line prefetcher pairs them. */
#define HYI_LINE_BYTES 128
#define HYI_ALIGNED    __attribute__((aligned(HYI_LINE_BYTES)))

#define HYI_ARRAY_COUNT(a) (sizeof(a) / sizeof((a)[0]))

static inline bool hyi_is_power_of_two(uint64_t x)
{
    return x != 0 && (x & (x - 1)) == 0;
}

/* Index of the highest set bit; x must not be 0. */
static inline unsigned hyi_log2_floor(uint64_t x)
{
    return 63u - (unsigned)__builtin_clzll(x);
}

/* The smallest power of two >= x; 0 when it does not fit. */
static inline uint64_t hyi_power_of_two_ceil(uint64_t x)
{
    if (x <= 1)
        return 1;
    if (x > (uint64_t)1 << 63)
        return 0;
    return (uint64_t)1 << (hyi_log2_floor(x - 1) + 1);
}

static inline uint64_t hyi_align_down(uint64_t x, uint64_t align)
{
    return x & ~(align - 1);
}

/* align is a power of two; the caller has checked that x + align fits. */
static inline uint64_t hyi_align_up(uint64_t x, uint64_t align)
{
    return (x + align - 1) & ~(align - 1);
}

static inline bool hyi_is_aligned(uint64_t x, uint64_t align)
{
    return (x & (align - 1)) == 0;
}

/* offset + bytes <= limit, without overflow. */
static inline bool hyi_range_fits(uint64_t offset, uint64_t bytes,
                                  uint64_t limit)
{
    return offset <= limit && bytes <= limit - offset;
}

#endif
