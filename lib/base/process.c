/*
 * process.c - the closed list of process-wide state (process.h), and the
 * version and clock that belong to the process as a whole.
 *
 * Invariant: nothing here needs initialising at run time.
 * Upstream: every component. Downstream: park.h for the clock.
 */
#include "process.h"

#include <hyperion/base.h>

#include "park.h"
#include "trace.h"

struct hyi_process hyi_process = {
    .fault = {.lock = PTHREAD_MUTEX_INITIALIZER},
    .slab = {.lock = PTHREAD_MUTEX_INITIALIZER},
    .code_lock = PTHREAD_MUTEX_INITIALIZER,
};

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

void hy_trace_set(hy_trace_function function, void *ctx)
{
    atomic_store_explicit(&hyi_process.trace_ctx, ctx, memory_order_relaxed);
    /* Release: pairs with the acquire in hyi_trace_emit. */
    atomic_store_explicit(&hyi_process.trace, function, memory_order_release);
}

void hyi_trace_emit(const char *hop, uint64_t what)
{
    hy_trace_function function =
        atomic_load_explicit(&hyi_process.trace, memory_order_acquire);

    if (function != NULL)
        function(
            atomic_load_explicit(&hyi_process.trace_ctx, memory_order_relaxed),
            hop, what);
}
