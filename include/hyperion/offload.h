/*
 * offload.h - calls that block the thread, made elsewhere.
 *
 *      fiber                         helper thread
 *      hy_offload(fn, arg, until) -> fn(arg)            read(2), getaddrinfo(3)
 *        parks                       ...
 *        goes on  <----------------- returns
 *
 * Helper threads are the process's. They are started as calls come, one for
 * each while none is idle, up to a limit; further calls wait in a queue, first
 * in, first out. A helper ends after a while without work; and the destruction
 * of the last runtime that has offloaded anything ends and joins those that are
 * idle. Signals that are not faults are blocked in them.
 *
 * fork: the child has no helpers, and starts its own. Where fn itself forks and
 * returns, the child ends with status 0: no fiber of its own waits for it.
 */
#ifndef HYPERION_OFFLOAD_H
#define HYPERION_OFFLOAD_H

#include <hyperion/base.h>

HY_BEGIN_DECLS

/**
 * Calls fn(arg) in a helper thread while the calling fiber waits and the others
 * run. 0: fn has run to its end. An error: it has not begun, and will not.
 *
 * A deadline, or a cancel, withdraws a call that waits for a helper. Once fn
 * runs nothing stops it, and this returns only when it has: fn may use what is
 * on the fiber's stack. So give fn a deadline of its own where it can take one,
 * and look at hy_fiber_check after. HY_NOW, and a cancelled fiber, never call.
 *
 * fn is outside of any fiber: calls of this library that wait block the helper,
 * a mutex that the fiber owns is another's to it, and it has the local values
 * (local.h) of the thread. It must not throw an exception or call longjmp out.
 *
 * On a plain thread this calls fn(arg), whatever the deadline. In a simulated
 * runtime it calls fn(arg) in the fiber, so that the run depends on nothing but
 * its seed. In a closed runtime a call under way is no deadlock.
 *
 * hy_runtime_destroy discards fibers whose call is queued, and waits for those
 * that run.
 *
 * Any thread, any fiber; no signal handler. Memory order: what happened before
 * the call is seen by fn, and what fn did is seen after it.
 * @return 0; -ETIMEDOUT; -ECANCELED; -EAGAIN (there is no helper, and no thread
 * can be had); -ENOMEM; -EINVAL for fn NULL.
 */
HY_API int hy_offload(void (*fn)(void *arg), void *arg, hy_deadline until);

/**
 * Sets how many helpers there may be, and how long one waits for work before it
 * ends. Helpers above a lower limit end when they have nothing to do.
 * @param threads 1 to 1,024; 0 = 64, which it is at first.
 * @param idle_ns 0 = 10 seconds, which it is at first.
 * @return 0 or -EINVAL.
 */
HY_API int hy_offload_limit(unsigned threads, uint64_t idle_ns);

/** What the helpers do; filled by hy_offload_stats_get. */
typedef struct hy_offload_stats {
    size_t size;           /**< set by the caller */
    unsigned threads;      /**< helpers that exist */
    unsigned threads_idle; /**< of them without work */
    unsigned threads_most; /**< the limit */
    unsigned queued;       /**< calls that wait for a helper */
    uint64_t ran;          /**< calls that have ended, ever */
} hy_offload_stats;

/** Fills *out. @return 0 or -EINVAL (NULL, or size not set). */
HY_API int hy_offload_stats_get(hy_offload_stats *out);

HY_END_DECLS

#endif
