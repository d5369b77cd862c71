/*
 * sim.h - a test run under many schedules, each drawn from a seed, until one
 * fails; that seed fails again, in the same way, whenever it is run.
 *
 *      static int test(void *arg)              a fiber of a simulated runtime
 *      {
 *          ... spawn, lock, send, sleep ...
 *          HY_SIM_CHECK(sum == 3);
 *          return 0;
 *      }
 *
 *      hy_sim_result r = {.size = sizeof(r)};
 *      if (hy_sim_run(test, NULL, NULL, &r) == 1)
 *          printf("seed %llu: %s\n", (unsigned long long)r.seed, r.why);
 *
 * A run has one worker and virtual time, which jumps to the next deadline when
 * nothing can run. Which of the ready fibers is next is drawn from the seed at
 * every wait and yield: what lies between two of them is one step. (Races below
 * that, between the atomics of this library itself, are explored by its own
 * tests.) A run fails when test returns something else than 0; at a
 * hy_sim_fail; at a deadlock; and at the limit of switches.
 *
 * A run depends on its seed alone as long as the test does: all it uses is made
 * inside it, other threads have no part in it, and it takes its time from
 * hy_now and its random numbers from hy_sim_draw. hy_offload calls the function
 * in the fiber.
 */
#ifndef HYPERION_SIM_H
#define HYPERION_SIM_H

#include <hyperion/base.h>

HY_BEGIN_DECLS

/** How a test is run. Zero means default; see base.h, Options. */
typedef struct hy_sim_options {
    size_t size;
    /** The first seed; 0 = 1. To run one again: it, and count 1. */
    uint64_t seed;
    /** How many seeds, one after another; 0 = 1,000. */
    uint64_t count;
    /** Changes of fibers that one run may take, so that fibers which yield to
     *  each other for ever are found; 0 = 1,000,000. */
    uint64_t switches_max;
    /** Of each fiber, as in hy_runtime_options; 0 = 64 KiB. */
    size_t stack_bytes;
    /** Gets what the runtime reports, such as who waits for what in a deadlock,
     *  and one line for the seed that failed; none = silent. */
    hy_report report;
} hy_sim_options;

/** All defaults. */
#define HY_SIM_OPTIONS_INIT                                                    \
    {                                                                          \
        sizeof(hy_sim_options), 0, 0, 0, 0,                                    \
        {                                                                      \
            NULL, NULL                                                         \
        }                                                                      \
    }

/** What came of it; filled by hy_sim_run. */
typedef struct hy_sim_result {
    size_t size;       /**< set by the caller */
    uint64_t ran;      /**< runs, the one that failed included */
    uint64_t switches; /**< changes of fibers in all of them */
    uint64_t seed;     /**< of the run that failed; 0 = none did */
    /** Why it failed: what test returned; -EDEADLK; -ELOOP at the limit of
     *  switches; -EINTR at a hy_sim_fail. 0 = none failed. */
    int error;
    char why[160]; /**< the same in words: hy_sim_fail's, or a report's */
} hy_sim_result;

/**
 * Runs test(arg) once for each seed, in a new runtime each time, and stops at
 * the first that fails. A run is over when all its fibers have ended, those
 * that test left behind included. Fibers that still live when one fails are
 * discarded with their stacks, and no code of theirs runs: what they had
 * allocated is lost. From a plain thread; several may do so at once.
 * @param test begins as the first fiber of a run; 0 = all is well.
 * @param out filled when this returns 0 or 1; may be NULL.
 * @return 0 when no run failed, 1 when one did; -EBUSY inside a fiber; -EINVAL
 * (test NULL, size of out not set, stack_bytes out of range, seeds beyond 2^64
 * - 1), -E2BIG, -EAGAIN or -ENOMEM as hy_runtime_init and hy_fiber_spawn.
 */
HY_API int hy_sim_run(int (*test)(void *arg), void *arg,
                      const hy_sim_options *options, hy_sim_result *out);

/**
 * The run of the calling fiber has failed. It ends when the fiber next waits or
 * yields, or test returns; the first why counts, and is copied. Does nothing
 * outside of hy_sim_run.
 */
HY_API void hy_sim_fail(const char *why);

/**
 * A random number below limit (below 2^64 for 0), drawn from the run's seed.
 * In any simulated runtime; 0 outside of one.
 */
HY_API uint64_t hy_sim_draw(uint64_t limit);

/** hy_sim_fail with the condition and the place, unless it holds. */
#define HY_SIM_CHECK(cond)                                                     \
    ((cond) ? (void)0                                                          \
            : hy_sim_fail(#cond " at " __FILE__ ":" HY_SIM_LINE_(__LINE__)))
#define HY_SIM_LINE_(line)  HY_SIM_LINE2_(line) /**< private */
#define HY_SIM_LINE2_(line) #line               /**< private */

HY_END_DECLS

#endif
