/*
 * runtime.h - a scheduler: workers (threads) that run fibers.
 *
 *      hy_runtime *rt;
 *      hy_runtime_init(&rt, NULL);
 *      hy_fiber_spawn(rt, entry, arg, NULL, NULL);
 *      hy_runtime_run(rt);          until the last fiber has ended
 *      hy_runtime_destroy(rt);
 *
 * A runtime is driven in one of three ways, one at a time: hy_runtime_run
 * (the caller is worker 0), hy_runtime_start (threads of its own), or
 * hy_runtime_poll (inside a loop that the caller has already). Several runtimes
 * live side by side in one process, at most 256 at once.
 *
 * Threads: every function may be called from any thread, or any fiber, unless
 * it says otherwise; hy_runtime_stop from a signal handler as well. Creating
 * and destroying happen once each, with nothing else in progress at the latter.
 *
 * fork: the child has none of the worker threads. Every call on a runtime of
 * its parent, or on a fiber there, is -ESTALE, hy_runtime_destroy included; it
 * may make its own. A fiber that forks goes on in the child as a plain thread
 * on the same stack: hy_fiber_self is {0}, and waiting blocks the thread. It
 * has that thread's signal mask, and the threads of a runtime block all but
 * faults: reset it before an exec. When
 * its function returns, hy_runtime_run or hy_runtime_poll returns -ESTALE in
 * the child; on a thread of hy_runtime_start, or with contexts that are threads
 * (see context.h), the child ends, with status 0.
 */
#ifndef HYPERION_RUNTIME_H
#define HYPERION_RUNTIME_H

#include <hyperion/base.h>

HY_BEGIN_DECLS

/** Workers, their fibers and timers; several in a process. */
typedef struct hy_runtime hy_runtime;

/** Flags of hy_runtime_options. */
enum hy_runtime_flag {
    /** Each worker thread is bound to one processor (the caller of
     *  hy_runtime_run or hy_runtime_poll is not). */
    HY_RUNTIME_PIN = 1u << 0,
    /** An idle worker spins for new work and never sleeps: wakes cost
     *  nanoseconds, a processor is busy all the time. */
    HY_RUNTIME_SPIN = 1u << 1,
    /** Nothing outside wakes its fibers: no thread, no descriptor, no other
     *  process. Then "nothing can run" is a deadlock, and hy_runtime_run
     *  returns -EDEADLK. */
    HY_RUNTIME_CLOSED = 1u << 2,
    /** Measures run, wait and delay time of each fiber (hy_fiber_each), and
     *  keeps histograms of them (observe.h): one or two reads of a clock a
     *  switch. Without it those members are 0. The first such runtime of a
     *  process may take 2 ms to make, to find the rate of the processor's
     *  tick counter. */
    HY_RUNTIME_MEASURE = 1u << 3,
    /** Each worker keeps a record of its latest events: hy_runtime_trace. */
    HY_RUNTIME_TRACE = 1u << 4
};

/** How a runtime is made. Zero means default; see base.h, Options. */
typedef struct hy_runtime_options {
    size_t size;
    /** Threads that run fibers, at most 256; 0 = one per usable CPU. */
    unsigned workers;
    /** HY_RUNTIME_PIN and others, or-ed. */
    unsigned flags;
    /** Default stack of a fiber in bytes; 0 = 64 KiB. Rounded up to a power of
     *  two, the guard page comes on top. At least 8 KiB, at most 1 GiB. */
    size_t stack_bytes;
    /** Live fibers at most; 0 = 4,194,304, which is also the most. When it is
     *  1,024 for each worker or more, a worker may hold back up to 64. */
    size_t fibers_max;
    /** Not 0: deterministic simulation. One worker, virtual time that jumps to
     *  the next deadline when nothing can run, and a schedule drawn from this
     *  number: the same seed gives the same run. Implies HY_RUNTIME_CLOSED. */
    uint64_t seed;
    /** For reports and debuggers; copied, 31 characters of it. */
    const char *name;
    /** Where diagnostics go; none = silent. */
    hy_report report;
    /** The watermark of free stacks: of each size, so many bytes of them keep
     *  the memory that they had in use; an idle worker gives that of the others
     *  back, and so does hy_runtime_poll, a few at each call that finds nothing
     *  to do. 0 = 64 MiB: 1,024 stacks of 64 KiB. SIZE_MAX: all keep theirs.
     *  Besides, each worker has up to 64 free stacks of a size for itself, but
     *  4 MiB of them at most. */
    size_t stack_keep_bytes;
    /** With HY_RUNTIME_TRACE: events that each worker keeps, of 40 bytes, at
     *  most 16,777,216; rounded up to a power of two; 0 = 4,096. */
    size_t trace_events;
} hy_runtime_options;

/** All defaults. */
#define HY_RUNTIME_OPTIONS_INIT                                                \
    {                                                                          \
        sizeof(hy_runtime_options), 0, 0, 0, 0, 0, NULL, {NULL, NULL}, 0, 0    \
    }

/**
 * Makes a runtime; no thread is started yet and no stack reserved.
 * @param out gets the runtime, which the caller owns until hy_runtime_destroy.
 * @return 0, -EINVAL (out NULL, an unknown flag, more than 256 workers, seed
 * with more than one worker, stack_bytes or fibers_max out of range), -E2BIG
 * (options from a newer library), -EAGAIN (256 runtimes exist), -ENOMEM,
 * -ENOTSUP (the thread runs with a shadow stack, which no switch exchanges).
 */
HY_API int hy_runtime_init(hy_runtime **out, const hy_runtime_options *options);

/**
 * Runs fibers; the caller becomes worker 0, the other workers are threads that
 * end before it returns. May be called again afterwards; fibers that are still
 * parked then continue on new threads.
 * @return 0 when no live fiber is left; -ECANCELED when none is left after
 * hy_runtime_stop; -EDEADLK when in a closed runtime none can ever run again
 * (who waits for what goes to the report callback; the fibers stay parked, and
 * hy_runtime_destroy discards them); -EBUSY when it runs already; -EINVAL for
 * NULL; -EAGAIN or -ENOMEM when a thread can't be had.
 */
HY_API int hy_runtime_run(hy_runtime *rt);

/**
 * Starts background workers, which run fibers as they come and sleep when there
 * are none, until hy_runtime_stop. Returns at once.
 * @return 0, -EBUSY when it runs already, -ENOTSUP in a simulated runtime,
 * -EINVAL, -EAGAIN or -ENOMEM when a thread can't be had.
 */
HY_API int hy_runtime_start(hy_runtime *rt);

/**
 * Cancels all fibers, those spawned from now on included, so that the runtime
 * comes to its end once they have returned. A fiber that was not started yet
 * still runs, cancelled. Holds until the end of the run; before one, it applies
 * to the next. Any thread, any fiber, any signal handler.
 * @return 0 or -EINVAL.
 */
HY_API int hy_runtime_stop(hy_runtime *rt);

/**
 * Waits until the workers of hy_runtime_start have ended. From any thread or
 * any fiber of another runtime.
 * @return 0 (at once when it was not started), -ETIMEDOUT, -ECANCELED, -EDEADLK
 * from a fiber of this runtime, -EINVAL.
 */
HY_API int hy_runtime_wait(hy_runtime *rt, hy_deadline until);

/**
 * Runs fibers on the calling thread for a while, for programs that have a loop
 * of their own. The runtime then has this one worker only; calls come from one
 * thread, always the same while fibers live. Until the deadline it runs what is
 * ready and waits for more; with HY_NOW it runs what is ready now, once. When
 * nothing is, a simulated runtime's time jumps to the next deadline.
 * @return 1 when more can run at once, 0 when all fibers wait or none is left,
 * -EBUSY when the runtime runs otherwise, or when fibers are parked that other
 * workers have started (after -EDEADLK: run again instead), -EDEADLK as
 * hy_runtime_run, -EINVAL.
 */
HY_API int hy_runtime_poll(hy_runtime *rt, hy_deadline until);

/**
 * A descriptor that is readable when hy_runtime_poll has something to do, a
 * timer that is due included. It belongs to the runtime; only wait on it.
 * @return the descriptor, or -EINVAL, -EMFILE, -ENFILE, -ENOMEM, -ENOTSUP where
 * the system has none.
 */
HY_API int hy_runtime_fd(hy_runtime *rt);

/**
 * Ends a runtime and gives back all it holds. Fibers that still live are
 * discarded with their stacks, no code of theirs runs; handles of its fibers
 * stay safe: joining one is 0, cancelling it -ESRCH.
 * @return 0 (also for NULL), -EBUSY while it runs.
 */
HY_API int hy_runtime_destroy(hy_runtime *rt);

/**
 * Has function(arg) called when the runtime is being destroyed, before anything
 * of it is given back, in the thread that destroys it: for what looks at the
 * runtime from outside, such as a monitor. The latest first. It may call
 * hy_fiber_each, hy_runtime_stats_get and the functions of observe.h, nothing
 * else of the runtime.
 * @return 0, -EINVAL, -ENOMEM.
 */
HY_API int hy_runtime_at_destroy(hy_runtime *rt, void (*function)(void *arg),
                                 void *arg);

/**
 * Gives the memory of all free stacks back to the system at once, also of those
 * that stack_keep_bytes would keep, but for the few that each worker has for
 * itself. Takes a microsecond or two a stack. Any thread, any fiber.
 * @return 0 or -EINVAL.
 */
HY_API int hy_runtime_trim(hy_runtime *rt);

/** Kinds of waits that hy_runtime_stats has room for. */
#define HY_PARK_REASONS 32

/** Counters since the runtime was made; filled by hy_runtime_stats_get. */
typedef struct hy_runtime_stats {
    size_t size;               /**< set by the caller */
    unsigned workers;          /**< threads that run fibers */
    unsigned workers_idle;     /**< of them asleep now */
    uint64_t spawned;          /**< fibers ever spawned */
    uint64_t ended;            /**< of them ended */
    uint64_t switches;         /**< changes from one stack to another */
    uint64_t parks;            /**< times a fiber waited */
    uint64_t steals;           /**< unstarted fibers that changed workers */
    uint64_t ready;            /**< fibers ready to run now */
    uint64_t timers;           /**< deadlines pending now */
    uint64_t stacks;           /**< stacks that exist, in use or pooled: made in
                                    batches, without memory until used */
    uint64_t stack_maps;       /**< mappings that hold them, without guards */
    uint64_t guards_installed; /**< guards that needed no mapping */
    uint64_t guards_protected; /**< guards by page protection, two mappings */
    char name[32];             /**< of the runtime */
    uint64_t stacks_kept;      /**< free stacks that have memory, but for those
                                    that workers keep */
    uint64_t stacks_trimmed;   /**< times that a free one's was given back */
    uint64_t huge_stack_bytes; /**< memory of HY_FIBER_HUGE_STACK stacks, free
                                    ones included */
    uint64_t huge_page_bytes;  /**< of it, now really in huge pages; 0 where the
                                    system does not tell (before Linux 6.7) */
    uint64_t parked[HY_PARK_REASONS]; /**< parks by reason: hy_park_reason */
    uint64_t events;                  /**< recorded with HY_RUNTIME_TRACE */
    uint64_t events_dropped; /**< of them overwritten before they were read */
    uint64_t flags;          /**< HY_RUNTIME_..., as it was made */
} hy_runtime_stats;

/**
 * Fills *out; the numbers are taken one after another while the runtime runs.
 * @return 0 or -EINVAL (NULL, or size not set).
 */
HY_API int hy_runtime_stats_get(const hy_runtime *rt, hy_runtime_stats *out);

HY_END_DECLS

#endif
