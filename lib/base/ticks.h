/*
 * ticks.h - a clock for short times: the processor's tick counter where it is
 * steady, which costs half of a read of the system's clock, and that clock
 * where it is not.
 *
 *      nanoseconds = ticks * scale / 2^32
 *
 * Ticks of two processors may be apart by some nanoseconds: a difference that
 * spans threads may come out below zero, and its user must expect it.
 */
#ifndef HYI_TICKS_H
#define HYI_TICKS_H

#include <stdbool.h>
#include <stdint.h>

#include "arch.h"
#include "os.h"

struct hyi_ticks {
    uint64_t scale;
    bool counter; /* hy_arch_ticks; else the system's clock */
};

/* The first call in a process measures the rate where the machine does not tell
   it, which takes 2 ms. Any thread. */
struct hyi_ticks hyi_ticks_find(void);

static inline uint64_t hyi_ticks_now(const struct hyi_ticks *t)
{
    return t->counter ? hy_arch_ticks() : hyi_os_now();
}

/* In two halves, so that no time overflows. */
static inline uint64_t hyi_ticks_ns(const struct hyi_ticks *t, uint64_t ticks)
{
    return (ticks >> 32) * t->scale +
           (((ticks & UINT32_MAX) * (t->scale >> 8)) >> 24);
}

#endif
