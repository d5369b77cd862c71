/*
 * probes.h - static probes for tracers outside the process (SystemTap's format,
 * which perf, bpftrace and gdb read), of the provider "hyperion".
 *
 *      spawn(fiber, name, parent)      parent: a fiber, or 0
 *      start(fiber, worker)
 *      switch(from, to, worker)        0: the worker itself, or an ended fiber
 *      park(fiber, reason, worker)     reason: a string
 *      wake(fiber, by)                 by: a fiber, or 0
 *      end(fiber, worker)
 *      steal(fiber, worker)
 *      sleep(worker), awake(worker)
 *
 * Each has a counter of tracers, its semaphore: without one a probe is a look
 * at it. start, switch, park and end are not even that: a worker looks at their
 * counters together with its timers, and fires them on the special way that it
 * then takes (observer.h), as it does for wake, lest a join hand over past it.
 * So all of these begin up to 32 choices after a tracer came.
 *
 * Without <sys/sdt.h> there are none, and the conditions are constants.
 */
#ifndef HYI_PROBES_H
#define HYI_PROBES_H

#include <stdbool.h>
#include <stdint.h>

#include "check.h"

#define HYI_PROBES(X)                                                          \
    X(spawn)                                                                   \
    X(start)                                                                   \
    X(switch)                                                                  \
    X(park)                                                                    \
    X(wake)                                                                    \
    X(end)                                                                     \
    X(steal)                                                                   \
    X(sleep)                                                                   \
    X(awake)

#if defined(HY_HAVE_SDT)
#define HYI_DECLARE(name) extern volatile unsigned short hyi_tracers_##name;
HYI_PROBES(HYI_DECLARE)
#undef HYI_DECLARE
#define HYI_TRACED(name) HYI_UNLIKELY(hyi_tracers_##name != 0)
#else
#define HYI_TRACED(name) false
#endif

/* To be called when HYI_TRACED. */
void hyi_probe_spawn(uint64_t fiber, const char *name, uint64_t parent);
void hyi_probe_start(uint64_t fiber, unsigned worker);
void hyi_probe_switch(uint64_t from, uint64_t to, unsigned worker);
void hyi_probe_park(uint64_t fiber, const char *reason, unsigned worker);
void hyi_probe_wake(uint64_t fiber, uint64_t by);
void hyi_probe_end(uint64_t fiber, unsigned worker);
void hyi_probe_steal(uint64_t fiber, unsigned worker);
void hyi_probe_sleep(unsigned worker);
void hyi_probe_awake(unsigned worker);

/* Is there a tracer of those that fire on the special way? */
static inline bool hyi_probes_are_special(void)
{
    return HYI_TRACED(start) || HYI_TRACED(switch) || HYI_TRACED(park) ||
           HYI_TRACED(wake) || HYI_TRACED(end);
}

#endif
