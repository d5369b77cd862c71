/*
 * probes.c - the probes themselves. They stand in functions of their own, out
 * of the way of those who call them when a tracer is there.
 *
 *      hyperion_park_semaphore   written by the tracer; in section .probes
 *      hyi_tracers_park          the same bytes, by the name that others read
 *
 * Invariant: a probe's name, and the order of its arguments, are an interface.
 * Upstream: observer.c, fiber.c, worker.c, idle.c. Downstream: <sys/sdt.h>.
 */
#include "probes.h"

#if defined(HY_HAVE_SDT)

#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>

/* Two names, so that the library's own keeps to the library's prefix. */
#define DEFINE(name)                                                           \
    static volatile unsigned short hyperion_##name##_semaphore                 \
        __attribute__((section(".probes"), used));                             \
    extern volatile unsigned short hyi_tracers_##name                          \
        __attribute__((alias("hyperion_" #name "_semaphore")));
HYI_PROBES(DEFINE)

#else

#define STAP_PROBE1(...) ((void)0)
#define STAP_PROBE2(...) ((void)0)
#define STAP_PROBE3(...) ((void)0)

#endif

void hyi_probe_spawn(uint64_t fiber, const char *name, uint64_t parent)
{
    STAP_PROBE3(hyperion, spawn, fiber, name, parent);
    (void)fiber, (void)name, (void)parent;
}

void hyi_probe_start(uint64_t fiber, unsigned worker)
{
    STAP_PROBE2(hyperion, start, fiber, worker);
    (void)fiber, (void)worker;
}

void hyi_probe_switch(uint64_t from, uint64_t to, unsigned worker)
{
    STAP_PROBE3(hyperion, switch, from, to, worker);
    (void)from, (void)to, (void)worker;
}

void hyi_probe_park(uint64_t fiber, const char *reason, unsigned worker)
{
    STAP_PROBE3(hyperion, park, fiber, reason, worker);
    (void)fiber, (void)reason, (void)worker;
}

void hyi_probe_wake(uint64_t fiber, uint64_t by)
{
    STAP_PROBE2(hyperion, wake, fiber, by);
    (void)fiber, (void)by;
}

void hyi_probe_end(uint64_t fiber, unsigned worker)
{
    STAP_PROBE2(hyperion, end, fiber, worker);
    (void)fiber, (void)worker;
}

void hyi_probe_steal(uint64_t fiber, unsigned worker)
{
    STAP_PROBE2(hyperion, steal, fiber, worker);
    (void)fiber, (void)worker;
}

void hyi_probe_sleep(unsigned worker)
{
    STAP_PROBE1(hyperion, sleep, worker);
    (void)worker;
}

void hyi_probe_awake(unsigned worker)
{
    STAP_PROBE1(hyperion, awake, worker);
    (void)worker;
}
