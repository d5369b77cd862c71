/*
 * observe.h - what a runtime measures of its fibers: histograms of times and
 * stacks, why fibers wait, and a record of events.
 *
 *      HY_RUNTIME_MEASURE   histograms, and the times of hy_fiber_each
 *      HY_RUNTIME_TRACE     the record of events
 *      (always)             counts of waits by reason, in hy_runtime_stats
 *
 * Each worker writes its own histograms and its own record, without locks; they
 * are put together when they are read. A runtime without the flags pays nothing
 * for them. Tracers from outside the process (perf, bpftrace, SystemTap, gdb)
 * find static probes of the provider "hyperion" in the library, which need no
 * flag: spawn, start, switch, park, wake, end, steal, sleep, awake.
 */
#ifndef HYPERION_OBSERVE_H
#define HYPERION_OBSERVE_H

#include <hyperion/base.h>
#include <hyperion/runtime.h>

HY_BEGIN_DECLS

/* --- histograms ----------------------------------------------------------- */

/** What is measured. Times are in nanoseconds, of virtual time in a simulated
 * runtime. */
typedef enum hy_measure {
    HY_MEASURE_RUN = 1, /**< a turn: from getting the worker to leaving it */
    HY_MEASURE_WAIT,    /**< a wait: from leaving the worker to the wake */
    HY_MEASURE_DELAY,   /**< from the spawn, the wake or the end of a turn to
                             the beginning of the next: what others' turns and
                             the scheduler cost this one */
    HY_MEASURE_STACK    /**< bytes of stack of a fiber that has ended: the most
                             seen at any of its switches, so 0 of one that never
                             left its worker; how deep calls went between
                             switches is not seen */
} hy_measure;

/** How many there are; they are numbered from 1. */
#define HY_MEASURES 4

/** Buckets of a histogram. */
#define HY_HISTOGRAM_BUCKETS 160

/**
 * Counts of values by size: four buckets for each power of two, so that a value
 * is known to a quarter of itself, and up to 3 one bucket a value. Values from
 * 2^41 on (36 minutes) count in the last bucket. The scheme is that of
 * HdrHistogram (G. Tene, hdrhistogram.org) with two bits of precision.
 */
typedef struct hy_histogram {
    size_t size;    /**< set by the caller */
    uint64_t count; /**< values, the sum of all buckets */
    uint64_t sum;   /**< of the values */
    uint64_t max;   /**< the largest */
    uint64_t bucket[HY_HISTOGRAM_BUCKETS];
} hy_histogram;

/** An empty histogram. */
#define HY_HISTOGRAM_INIT                                                      \
    {                                                                          \
        sizeof(hy_histogram), 0, 0, 0,                                         \
        {                                                                      \
            0                                                                  \
        }                                                                      \
    }

/**
 * Fills *out with a histogram of all workers since the runtime was made, while
 * it goes on: what is counted meanwhile may be in it in part. Any thread.
 * @return 0; -EINVAL (NULL, no such measure, size not set); -ENODATA (the
 * runtime was made without HY_RUNTIME_MEASURE); -ESTALE in a forked child.
 */
HY_API int hy_runtime_histogram_get(const hy_runtime *rt, hy_measure which,
                                    hy_histogram *out);

/** The least value that counts in a bucket; UINT64_MAX from
 * HY_HISTOGRAM_BUCKETS on. */
HY_API uint64_t hy_histogram_floor(size_t bucket);

/**
 * The value that this part of the values do not exceed: 0.5 gives the median,
 * 1 the largest. Told up to a quarter too large, never too small (up to 2^41).
 * @return 0 when the histogram is empty, or NULL.
 */
HY_API uint64_t hy_histogram_quantile(const hy_histogram *h, double part);

/**
 * Takes an earlier state of the same histogram out of a later one: what is left
 * is what was counted between them. Its max is the end of its last bucket, when
 * that is less than the later one's.
 */
HY_API void hy_histogram_subtract(hy_histogram *later,
                                  const hy_histogram *earlier);

/** "run", "wait", "delay", "stack"; "" for no measure. */
HY_API const char *hy_measure_name(hy_measure which);

/** What fibers wait for, by the index of hy_runtime_stats.parked: "mutex",
 * "sleep", ...; "" for an index that is not in use. */
HY_API const char *hy_park_reason(unsigned index);

/* --- events --------------------------------------------------------------- */

/** Kinds of hy_trace_event. */
typedef enum hy_trace_kind {
    HY_TRACE_SPAWN = 1, /**< fiber was spawned; value: by which one, or 0 */
    HY_TRACE_START,     /**< it began to run */
    HY_TRACE_RUN,       /**< it was given the worker again */
    HY_TRACE_PARK,      /**< it began to wait; name: for what */
    HY_TRACE_WAKE,      /**< it was made ready; value: by which fiber of the
                             worker, or 0: by another thread, a deadline or a
                             cancel */
    HY_TRACE_END,       /**< it ended */
    HY_TRACE_STEAL,     /**< the worker took it over, unstarted */
    HY_TRACE_SLEEP,     /**< the worker found nothing to do */
    HY_TRACE_AWAKE,     /**< and looks again */
    HY_TRACE_HOP        /**< fiber passed a tracepoint; name and value: what
                             hy_trace_set's listeners hear */
} hy_trace_kind;

/** One event in a worker. A fiber leaves its worker when it parks or ends, or,
 * when it yields, with the next RUN or START of another. */
typedef struct hy_trace_event {
    uint64_t time_ns; /**< of hy_now() */
    uint64_t fiber;   /**< its id; 0 for SLEEP, AWAKE */
    uint64_t value;   /**< see the kinds */
    const char *name; /**< see the kinds, else ""; it stays for ever */
    hy_trace_kind kind;
    unsigned worker; /**< from 0 */
} hy_trace_event;

/**
 * Visits the events that were recorded since the last call, of all workers in
 * the order of their times, and forgets them. Each worker keeps so many events
 * as hy_runtime_options.trace_events says and then overwrites the oldest;
 * *dropped gets how many were overwritten before this call came to them (NULL
 * is allowed). It ends early when visit returns something else than 0; the
 * event of that visit counts as seen. visit must neither wait nor call the
 * runtime's functions. Any thread, one at a time; the runtime goes on
 * meanwhile.
 * @return 0; visit's result; -EINVAL; -EBUSY (another call is under way);
 * -ENODATA (the runtime was made without HY_RUNTIME_TRACE); -ESTALE.
 */
HY_API int hy_runtime_trace(hy_runtime *rt,
                            int (*visit)(const hy_trace_event *event,
                                         void *arg),
                            void *arg, uint64_t *dropped);

/** "spawn", "start", ...; "" for no kind. */
HY_API const char *hy_trace_kind_name(hy_trace_kind kind);

HY_END_DECLS

#endif
