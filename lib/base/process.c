/*
 * process.c - the closed list of process-wide state (process.h), and the
 * version and clock that belong to the process as a whole; and fork, which has
 * its one place here:
 *
 *      before        every lock is taken, outer first, each one's hook called
 *      in parent     hooks, and the locks are given back, inner first
 *      in child      the same; what cannot be the child's is marked
 *
 * Invariant: nothing here needs initialising at run time, but for the look-out
 * for fork, which the library's constructor begins.
 * Upstream: every component. Downstream: park.h for the clock.
 */
#include "process.h"

#include <errno.h>
#include <hyperion/base.h>
#include <stdlib.h>

#include "park.h"
#include "trace.h"

struct hyi_process hyi_process = {
    .lock = {[HYI_LOCK_SLAB] = {PTHREAD_MUTEX_INITIALIZER, NULL},
             [HYI_LOCK_RUNTIME] = {PTHREAD_MUTEX_INITIALIZER, NULL},
             [HYI_LOCK_OFFLOAD] = {PTHREAD_MUTEX_INITIALIZER, NULL},
             [HYI_LOCK_WORDS] = {PTHREAD_MUTEX_INITIALIZER, NULL},
             [HYI_LOCK_WAITS] = {PTHREAD_MUTEX_INITIALIZER, NULL},
             [HYI_LOCK_CODE] = {PTHREAD_MUTEX_INITIALIZER, NULL},
             [HYI_LOCK_PATCH] = {PTHREAD_MUTEX_INITIALIZER, NULL},
             [HYI_LOCK_FAULT] = {PTHREAD_MUTEX_INITIALIZER, NULL}},
    .offload = {.ran_one = PTHREAD_COND_INITIALIZER},
};

/* --- locks, and fork ------------------------------------------------------ */

void hyi_process_lock(enum hyi_process_lock which)
{
    pthread_mutex_lock(&hyi_process.lock[which].mutex);
}

void hyi_process_unlock(enum hyi_process_lock which)
{
    pthread_mutex_unlock(&hyi_process.lock[which].mutex);
}

static void before_fork(void)
{
    for (int i = 0; i < HYI_LOCK_COUNT; i++) {
        const struct hyi_fork_hooks *hooks;

        hyi_process_lock((enum hyi_process_lock)i);
        hooks = hyi_process.lock[i].hooks;
        if (hooks != NULL && hooks->prepare != NULL)
            hooks->prepare();
    }
}

static void after_fork(bool in_child)
{
    for (int i = HYI_LOCK_COUNT; i-- > 0;) {
        const struct hyi_fork_hooks *hooks = hyi_process.lock[i].hooks;
        void (*hook)(void) = NULL;

        if (hooks != NULL)
            hook = in_child ? hooks->child : hooks->parent;
        if (hook != NULL)
            hook();
        hyi_process_unlock((enum hyi_process_lock)i);
    }
}

static void in_parent(void)
{
    after_fork(false);
}

static void in_child(void)
{
    atomic_fetch_add_explicit(&hyi_process.forks, 1, memory_order_relaxed);
    atomic_store_explicit(&hyi_process.identity, 0, memory_order_relaxed);
    after_fork(true);
}

int hyi_process_watch_fork(void)
{
    if (atomic_exchange(&hyi_process.watches_fork, true))
        return 0;
    if (pthread_atfork(before_fork, in_parent, in_child) == 0)
        return 0;
    atomic_store(&hyi_process.watches_fork, false);
    return -ENOMEM;
}

/*
 * At the first use would be too late: a lock that is taken while another
 * thread is in fork already would be held in the child for ever. An allocator
 * that watches fork itself must begin before us, so that its locks are taken
 * after ours, under which memory is allocated: it begins with an allocation.
 */
__attribute__((constructor)) static void watch_fork_early(void)
{
    void *volatile memory = malloc(1);

    free(memory);
    hyi_process_watch_fork();
}

/* --- version, clock, trace ------------------------------------------------ */

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
    if (atomic_exchange_explicit(&hyi_process.trace, function,
                                 memory_order_acq_rel) != NULL)
        hyi_trace_listen(-1);
    if (function != NULL)
        hyi_trace_listen(1);
}

void hyi_trace_listen(int change)
{
    atomic_fetch_add_explicit(&hyi_process.tracing, (unsigned)change,
                              memory_order_relaxed);
}

void hyi_trace_emit(const char *hop, uint64_t what)
{
    hy_trace_function function =
        atomic_load_explicit(&hyi_process.trace, memory_order_acquire);
    void (*event)(const char *, uint64_t) =
        atomic_load_explicit(&hyi_process.trace_event, memory_order_relaxed);

    if (event != NULL)
        event(hop, what);
    if (function != NULL)
        function(
            atomic_load_explicit(&hyi_process.trace_ctx, memory_order_relaxed),
            hop, what);
}
