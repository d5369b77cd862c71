/*
 * ticks.c - how many nanoseconds a tick is, found once for the process.
 *
 *      counter --a---------b--      the tightest of some pairs of reads at each
 *      clock   --a---------b--      end: scale = (b - a of clock) / (of
 * counter)
 *
 * Invariant: the process's tick_scale goes from 0 to one value, for ever.
 * Upstream: what measures. Downstream: arch.h, os.h.
 */
#include "ticks.h"

#include <stdatomic.h>

#include "process.h"

enum { PAIRS = 8, SPAN_NS = 2000000 };

/* Values of hyi_process.tick_scale that are no scale. */
enum { UNKNOWN = 0, BY_CLOCK = 1 };

#define ONE ((uint64_t)1 << 32)

struct pair {
    uint64_t ticks, ns;
};

static struct pair read_pair(void)
{
    struct pair best = {0, 0};
    uint64_t width = UINT64_MAX;

    for (int i = 0; i < PAIRS; i++) {
        uint64_t before = hy_arch_ticks(), ns = hyi_os_now();
        uint64_t after = hy_arch_ticks();

        if (after - before < width) {
            width = after - before;
            best = (struct pair){before + width / 2, ns};
        }
    }
    return best;
}

/* A counter slower than 10 MHz or faster than 64 GHz is not believed. */
static bool is_likely(uint64_t scale)
{
    return scale <= ONE * 100 && scale >= ONE / 64;
}

static uint64_t measure(void)
{
    static const _Atomic uint32_t never = 0;
    struct pair a = read_pair(), b;

    do
        hyi_os_futex_wait(&never, 0, a.ns + SPAN_NS, false);
    while (hyi_os_now() < a.ns + SPAN_NS);
    b = read_pair();
    if (b.ticks <= a.ticks)
        return BY_CLOCK;
    return (uint64_t)((double)(b.ns - a.ns) * (double)ONE /
                      (double)(b.ticks - a.ticks));
}

static uint64_t find(void)
{
    uint64_t rate, scale;

    if (!hy_arch_ticks_steady(&rate))
        return BY_CLOCK;
    scale =
        rate != 0 ? (uint64_t)(1e9 * (double)ONE / (double)rate) : measure();
    return is_likely(scale) ? scale : BY_CLOCK;
}

struct hyi_ticks hyi_ticks_find(void)
{
    uint64_t scale =
        atomic_load_explicit(&hyi_process.tick_scale, memory_order_relaxed);
    uint64_t found;

    if (scale == UNKNOWN) {
        found = find();
        /* Two that measure at once: all use the first one's. */
        if (atomic_compare_exchange_strong(&hyi_process.tick_scale, &scale,
                                           found))
            scale = found;
    }
    if (scale == BY_CLOCK)
        return (struct hyi_ticks){ONE, false};
    return (struct hyi_ticks){scale, true};
}
