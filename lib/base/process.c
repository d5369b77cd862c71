/*
 * process.c - the closed list of process-wide state (process.h), and the
 * version and clock that belong to the process as a whole.
 *
 * Invariant: nothing here needs initialising at run time; zero is the start.
 * Upstream: every component. Downstream: park.h for the clock.
 */
#include "process.h"

#include <hyperion/base.h>

#include "park.h"

struct hyi_process hyi_process;

const char *hy_version(void)
{
    return HY_VERSION_STRING;
}

uint64_t hy_now(void)
{
    return hyi_now();
}

hy_deadline hy_after(uint64_t ns)
{
    uint64_t now = hyi_now();

    return ns < HY_FOREVER - 1 - now ? now + ns : HY_FOREVER - 1;
}
