/*
 * fiber.h - fibers: functions with a stack of their own that take turns on the
 * workers of a runtime.
 *
 * A fiber runs until it waits, yields or returns. Once started it stays on its
 * thread (unless spawned with HY_FIBER_MIGRATE), and shares thread-local
 * variables with the other fibers there. Calls of this library that wait keep
 * errno and the C++ exception state for the fiber. Where contexts are threads
 * (context.h) a fiber has a thread, and thread-local variables, of its own or
 * of the fibers that ended before it; destructors of those run with no fiber at
 * the thread's end, and clean-up handlers (pthread_cleanup_push) of a fiber
 * that is discarded when its runtime ends.
 *
 * C++: exceptions may be thrown and caught in a fiber with any waiting between,
 * in catch blocks and destructors too. One that leaves the fiber's function has
 * nobody above it: std::terminate is called where it was thrown, and no frame
 * is unwound. pthread_exit has no place in a fiber. The exception state is that
 * of the C++ runtime which is there when this library is loaded; a C program
 * that loads C++ later, in a plug-in, links -lstdc++ (or -lc++abi) itself.
 *
 * A handle is a number. It stays safe for ever: a fiber that has ended, even
 * one whose runtime is gone, is simply known to have ended.
 *
 * Deadlines are absolute (hy_after). A call that would have to wait in a
 * cancelled fiber returns -ECANCELED; one that need not wait succeeds. Outside
 * a fiber the same calls block the thread.
 *
 * Memory order: what happened before hy_fiber_spawn is seen by the fiber; what
 * the fiber did is seen by whoever has joined it.
 */
#ifndef HYPERION_FIBER_H
#define HYPERION_FIBER_H

#include <hyperion/base.h>
#include <hyperion/runtime.h>

HY_BEGIN_DECLS

/** Names a fiber, and its runtime; id 0 is no fiber. */
typedef struct hy_fiber {
    uint64_t id;
} hy_fiber;

/** Flags of hy_fiber_options. */
enum hy_fiber_flag {
    /** Permits the fiber to change threads whenever it yields or waits: an idle
     *  worker takes it when it is ready and others are before it. It keeps its
     *  mutexes, local values, errno and exceptions. Its yields and waits cost a
     *  switch more.
     *
     *  Thread-local variables are those of the thread that it is on. Compilers
     *  assume that a function stays on one: they may keep the address of such a
     *  variable, what `errno` or pthread_self() gave, or what was inlined of a
     *  call that uses one (of hy_slab_alloc, say) across a call that waits. So
     *  let a function use thread-local things, or wait, but not both, and keep
     *  the former from being inlined into the latter. What must be given back
     *  by the thread that took it (a host's own mutex) must not be held across
     *  a wait. Where contexts are threads the flag does nothing. */
    HY_FIBER_MIGRATE = 1u << 0,
    /** The fiber has rounding mode and exception masks of its own; it starts
     *  with those of the spawning fiber's worker. Doubles what a switch costs.
     */
    HY_FIBER_FP_ENV = 1u << 1,
    /** A small stack, 4 to 64 KiB (portable builds: 16 at least), 16 KiB when
     *  stack_bytes is 0, next to others in huge pages: for very many fibers
     * that take turns often, which then cost fewer misses when addresses are
     * looked up. All of it is memory from the start, 2 MiB at a time. Instead
     * of a guard there is a canary below it, 64 bytes: an overflow is found
     * when the fiber next waits, yields or ends, and is then as fatal as a
     * guard that is hit (HY_REPORT_FATAL, and a fault that goes to the
     * process's own handler); what it has overwritten till then belonged to
     * another fiber. One that leaps over the canary is not found. Signal
     * handlers without SA_ONSTACK run on these stacks, too, and need 4 KiB
     * themselves. Whether the system has had huge pages to give is told by
     * hy_runtime_stats. */
    HY_FIBER_HUGE_STACK = 1u << 2,
    /** No guard page: an overflow goes undetected. Where guards cost mappings
     *  this is how to have more than some 25,000 fibers. With
     *  HY_FIBER_HUGE_STACK: nobody looks at the canary. */
    HY_FIBER_UNGUARDED = 1u << 3
};

/** How a fiber is made. Zero means default. */
typedef struct hy_fiber_options {
    size_t size;
    /** 0 = the runtime's; limits as there. With HY_FIBER_HUGE_STACK others. */
    size_t stack_bytes;
    const char *name; /**< copied, 31 characters of it */
    unsigned flags;   /**< HY_FIBER_..., or-ed */
    int worker;       /**< 0 = any, n = worker n-1 */
} hy_fiber_options;

/** All defaults. */
#define HY_FIBER_OPTIONS_INIT                                                  \
    {                                                                          \
        sizeof(hy_fiber_options), 0, NULL, 0, 0                                \
    }

/**
 * Makes a fiber that will call entry(arg), and ends when that returns. It needs
 * no join and leaves nothing behind. Any thread, any fiber.
 * @param rt NULL = the calling fiber's own.
 * @param out may be NULL.
 * @return 0; -EINVAL (no runtime, no entry, stack_bytes out of range, no such
 * worker, unknown flag); -E2BIG; -EAGAIN (fibers_max fibers live, or guards
 * would exhaust the process's mappings); -ENOMEM (no memory or addresses for a
 * stack; the others live on); -ENOTSUP (HY_FIBER_HUGE_STACK where the system
 * has no huge pages, or has them switched off, or where contexts are threads).
 */
HY_API int hy_fiber_spawn(hy_runtime *rt, void (*entry)(void *), void *arg,
                          const hy_fiber_options *options, hy_fiber *out);

/** Lets the others run first. Outside a fiber: the thread yields. */
HY_API void hy_fiber_yield(void);

/** The calling fiber; id 0 outside one. */
HY_API hy_fiber hy_fiber_self(void);

/**
 * Waits until the fiber has ended. Any thread, any fiber, any number of them.
 * -EDEADLK: it is the caller itself; or it waits, directly or through others,
 * for the caller to end or to unlock a mutex (see hy_mutex_lock).
 * One that the caller has just spawned, and that has not started, may start at
 * once, before others that are ready.
 * @return 0, also for one that ended long ago, or never was, or whose runtime
 * is gone; -ETIMEDOUT; -ECANCELED; -EDEADLK; -EINVAL for id 0; -ESTALE in a
 * child of fork, for its parent's fibers.
 */
HY_API int hy_fiber_join(hy_fiber fiber, hy_deadline until);

/**
 * Waits until the deadline.
 * @return 0 at or after it; -ECANCELED in a cancelled fiber, also when the
 * deadline has passed.
 */
HY_API int hy_fiber_sleep(hy_deadline until);

/**
 * Cancels a fiber: the call it waits in returns -ECANCELED, and so does each
 * later call in which it would wait. It cannot be undone. Any thread.
 * @return 0, -ESRCH when it has ended or never was.
 */
HY_API int hy_fiber_cancel(hy_fiber fiber);

/** 0, or -ECANCELED in a cancelled fiber that is not shielded: for loops that
 * never wait. */
HY_API int hy_fiber_check(void);

/**
 * While on, a cancel has no effect on the calling fiber's waits: for clean-up.
 * It nests: on (not 0) counts up, off counts down. Nothing outside a fiber.
 */
HY_API void hy_fiber_shield(int on);

/**
 * Between these two the calling fiber holds what the other fibers of its thread
 * must not meet half way: a lock of the host that belongs to a thread (a
 * pthread mutex), a thread-local variable in use. It must not wait or yield
 * there, nor end: the next fiber of the thread that wants the lock would wait
 * for ever. If it does so all the same, that is told to the runtime's report
 * callback, at each wait, with the fiber's name and what it waits for
 * (HY_REPORT_ERROR, on the fiber's stack; the callback must not wait, but may
 * wake it), and the fiber goes on. A wait that finds at once what it wants is
 * none. Costs a byte's change; a switch pays nothing for it. They nest, 255
 * deep; a leave without an enter does nothing, nor does either outside a fiber.
 */
HY_API void hy_fiber_critical_enter(void);
HY_API void hy_fiber_critical_leave(void); /**< the end of one */

/** What a fiber is doing. */
typedef enum hy_fiber_state {
    HY_FIBER_NEW = 1, /**< spawned, not started, without a stack */
    HY_FIBER_READY,   /**< waits for its turn */
    HY_FIBER_RUNNING, /**< runs */
    HY_FIBER_PARKED   /**< waits for reason */
} hy_fiber_state;

/** What hy_fiber_each tells of a fiber; valid during the visit. */
typedef struct hy_fiber_info {
    size_t size;
    hy_fiber fiber;
    hy_fiber_state state;
    int worker;              /**< its worker from 0; of a new one the likely */
    const char *name;        /**< "" when it has none */
    const char *reason;      /**< of a park: "sleep", "join", "mutex", ... */
    size_t stack_bytes;      /**< of its stack, without guard */
    size_t stack_used_bytes; /**< at its last switch */
    size_t stack_peak_bytes; /**< most seen at any of its switches */
    uint64_t switches;       /**< how often it was given the processor; of one
                                  that only yields, up to 64 too few when seen
                                  from another thread, and stack bytes of then */
    uint64_t run_ns;         /**< HY_RUNTIME_MEASURE: time on a processor, */
    uint64_t wait_ns;        /**< time parked, */
    uint64_t delay_ns;       /**< time ready but not running */
    unsigned cancelled;      /**< 1 after hy_fiber_cancel */
} hy_fiber_info;

/**
 * Visits all live fibers, while they go on; what a visit sees was true a moment
 * ago. visit must not wait, and not call the runtime's functions. It ends early
 * when visit returns something else than 0, and returns that. Any thread.
 * @return 0, visit's result, or -EINVAL.
 */
HY_API int hy_fiber_each(hy_runtime *rt,
                         int (*visit)(const hy_fiber_info *info, void *arg),
                         void *arg);

HY_END_DECLS

#endif
