/*
 * monitor.h - what runs inside a process, shown to the outside.
 *
 *      hy_monitor_publish(rt, "search");        in the program
 *      $ hyperion-top search                    in another terminal
 *
 * or, with everything named:
 *
 *      hy_monitor_create(&m, &options);
 *      hy_monitor_watch(m, HY_MONITOR_PAGER, pager, "store");
 *      ...
 *      hy_monitor_destroy(m);
 *
 * A monitor has a thread that samples what it watches some ten times a second,
 * through the public ..._stats_get functions, and puts the sample into a
 * segment of shared memory that only its owner can open. Nothing that is
 * watched does anything for it: no counter is shared, nothing is slowed down
 * but by the sampling itself. A sample counts the resident pages of pagers; the
 * more there are, the longer that takes, and the thread then samples less
 * often, so that it works at most a twentieth of the time. hy_monitor_attach
 * reads such a segment in another process, hy_monitor_snapshot takes a sample
 * in one's own.
 *
 * A sample is one plain struct. Every figure in it was measured; what could
 * not be is absent, by a count of 0 or a member that says so.
 *
 * What is watched must be taken out of the monitor (hy_monitor_unwatch) before
 * it is destroyed; only a runtime that was given to hy_monitor_publish ends its
 * publication by itself.
 */
#ifndef HYPERION_MONITOR_H
#define HYPERION_MONITOR_H

#include <hyperion/base.h>
#include <hyperion/observe.h>
#include <hyperion/runtime.h>

HY_BEGIN_DECLS

/** Characters of a name in a sample, the zero at the end included. */
#define HY_MONITOR_NAME 32

/* How many objects of a kind, and fibers, a sample holds. */
#define HY_MONITOR_RUNTIMES  4   /**< runtimes in a sample */
#define HY_MONITOR_FIBERS    256 /**< fibers */
#define HY_MONITOR_RINGS     16  /**< rings */
#define HY_MONITOR_PAGERS    4   /**< pagers */
#define HY_MONITOR_SLABS     16  /**< slabs */
#define HY_MONITOR_HEAPS     16  /**< heaps */
#define HY_MONITOR_CODES     4   /**< code memories */
#define HY_MONITOR_PIPELINES 4   /**< pipelines */

/** Pieces of a pager's range whose heat is shown. */
#define HY_MONITOR_HEAT 128
/** Rows of its histogram: row n counts faults of 2^n to 2^(n+1) - 1 ns. */
#define HY_MONITOR_LATENCY 32

/** What can be watched. */
typedef enum hy_monitor_kind {
    HY_MONITOR_RUNTIME = 1, /**< hy_runtime */
    HY_MONITOR_RING,        /**< hy_ring */
    HY_MONITOR_PAGER,       /**< hy_pager */
    HY_MONITOR_HEAP,        /**< hy_heap made with HY_HEAP_SHARED */
    HY_MONITOR_CODE,        /**< hy_code */
    HY_MONITOR_SLAB,        /**< hy_slab */
    HY_MONITOR_PIPELINE     /**< hy_pipeline */
} hy_monitor_kind;

/** A runtime; see hy_runtime_stats. */
typedef struct hy_monitor_runtime {
    char name[HY_MONITOR_NAME];
    uint64_t workers, workers_idle;
    uint64_t spawned, ended;
    uint64_t switches, parks, steals;
    uint64_t ready, timers;
    uint64_t stacks, stack_maps;
    uint64_t guards_installed, guards_protected;
    uint64_t stacks_kept;    /**< free ones with memory: what idle workers trim
                                  to the watermark stack_keep_bytes */
    uint64_t stacks_trimmed; /**< times that a free one's was given back */
    uint64_t huge_stack_bytes, huge_page_bytes;
    uint32_t fiber_index; /**< of its first row in fibers */
    uint32_t fiber_count; /**< its rows there; spawned - ended fibers live */
    uint64_t flags;       /**< HY_RUNTIME_..., as it was made */
    uint64_t events, events_dropped;   /**< 0 unless HY_RUNTIME_TRACE */
    uint64_t parked[HY_PARK_REASONS];  /**< by hy_park_reason */
    hy_histogram measure[HY_MEASURES]; /**< by hy_measure - 1; with size 0 when
                                            it is not measured */
} hy_monitor_runtime;

/** A fiber; see hy_fiber_info. */
typedef struct hy_monitor_fiber {
    uint64_t id;
    char name[HY_MONITOR_NAME];
    char reason[16]; /**< of a park, else "" */
    uint32_t state;  /**< hy_fiber_state */
    uint32_t worker;
    uint64_t stack_bytes, stack_used_bytes, stack_peak_bytes;
    uint64_t switches;
    uint64_t run_ns, wait_ns, delay_ns; /**< 0 unless HY_RUNTIME_MEASURE */
} hy_monitor_fiber;

/** A ring; see hy_ring_stats. */
typedef struct hy_monitor_ring {
    char name[HY_MONITOR_NAME];
    uint64_t capacity, item_bytes;
    uint64_t depth; /**< items in it */
    uint64_t pushed, popped, lost;
    uint64_t push_parks, pop_parks;
    uint64_t push_wakes, pop_wakes;
} hy_monitor_ring;

/** A pager; see hy_pager_stats. */
typedef struct hy_monitor_pager {
    char name[HY_MONITOR_NAME];
    char mechanism[16];
    uint64_t reserved_bytes, resident_bytes, dirty_bytes, pinned_bytes;
    uint64_t page_bytes, cluster_bytes;
    uint64_t faults, commits, decommits, evictions;
    uint64_t write_backs, checkpoints, log_bytes;
    uint64_t mappings, process_mappings, mappings_limit;
    uint64_t fault_ns[HY_MONITOR_LATENCY];
    uint32_t heat_count; /**< pieces in heat; 0: not known here */
    uint32_t reserved;   /**< zero */
    uint8_t heat[HY_MONITOR_HEAT];
} hy_monitor_pager;

/** A slab; see hy_slab_stats. Counting its objects takes time in proportion to
 * the memory held, so the thread does it with every fifth sample. */
typedef struct hy_monitor_slab {
    char name[HY_MONITOR_NAME];
    uint64_t object_bytes, chunk_bytes;
    uint64_t live_objects;
    uint64_t held_bytes, peak_held_bytes, metadata_bytes;
    uint64_t limit_bytes; /**< 0: none */
    uint64_t chunks, empty_chunks;
    uint64_t caches, remote_frees, adopted_chunks;
    uint64_t failed_allocs, refused_frees;
} hy_monitor_slab;

/** A heap; see hy_heap_stats. */
typedef struct hy_monitor_heap {
    char name[HY_MONITOR_NAME];
    uint64_t region_bytes, metadata_bytes, used_bytes, free_bytes;
    uint64_t largest_free_bytes, peak_used_bytes;
    uint64_t allocations, allocs, frees, failed_allocs, refused_frees;
    uint64_t damaged;
} hy_monitor_heap;

/** Code memory; see hy_code_stats. */
typedef struct hy_monitor_code {
    char name[HY_MONITOR_NAME];
    char mechanism[16];
    uint64_t regions, mapped_bytes, used_bytes;
    uint64_t kernels, published, emitted_bytes;
} hy_monitor_code;

/** A pipeline; see hy_pipeline_stats. Its pager, rings and runtime are watched
 * on their own (hy_pipeline_pager and others). */
typedef struct hy_monitor_pipeline {
    char name[HY_MONITOR_NAME];
    uint64_t documents, text_bytes;
    uint64_t ingested, waiting, failed;
    uint64_t used_bytes, reserved_bytes, resident_bytes;
    uint64_t faults;
    uint64_t dim;
} hy_monitor_pipeline;

/** Everything at one moment. size is set by the caller; the arrays hold as
 * many rows as the count before them says. */
typedef struct hy_monitor_sample {
    size_t size;
    char name[HY_MONITOR_NAME]; /**< of the monitor */
    char version[16];           /**< of the library */
    char isa[32];               /**< of the kernels in use */
    uint64_t pid;
    uint64_t number;         /**< samples since the monitor was made */
    uint64_t time_ns;        /**< when it was taken: CLOCK_MONOTONIC */
    uint64_t period_ns;      /**< between samples of the thread */
    uint64_t took_ns;        /**< that taking it took */
    uint64_t started_ns;     /**< when the monitor was made */
    uint64_t resident_bytes; /**< of the process; 0 where it is not told */
    uint64_t minor_faults;   /**< of the process, answered by the kernel */
    uint64_t major_faults;   /**< of these, with a read from a device */

    uint64_t patch_mechanism; /**< hy_patch_caps() */
    uint64_t patch_modules, patch_sites, patch_decided;
    uint64_t patch_switches, patch_failures, patch_max_ns;

    uint32_t runtime_count, fiber_count, ring_count;
    uint32_t pager_count, slab_count, heap_count;
    uint32_t code_count, pipeline_count;
    hy_monitor_runtime runtimes[HY_MONITOR_RUNTIMES];
    hy_monitor_fiber fibers[HY_MONITOR_FIBERS];
    hy_monitor_ring rings[HY_MONITOR_RINGS];
    hy_monitor_pager pagers[HY_MONITOR_PAGERS];
    hy_monitor_slab slabs[HY_MONITOR_SLABS];
    hy_monitor_heap heaps[HY_MONITOR_HEAPS];
    hy_monitor_code codes[HY_MONITOR_CODES];
    hy_monitor_pipeline pipelines[HY_MONITOR_PIPELINES];
} hy_monitor_sample;

/** A monitor. Any thread calls any function of it, hy_monitor_destroy once and
 * last. */
typedef struct hy_monitor hy_monitor;

/** How a monitor is made. Zero means default. */
typedef struct hy_monitor_options {
    size_t size;
    /** Of the segment: 1 to 31 letters, digits, '.', '_' and '-'. NULL: no
     *  segment and no thread, samples by hy_monitor_snapshot only. */
    const char *name;
    uint64_t period_ns; /**< between samples; 0 = 100 ms, at least 1 ms */
    hy_report report;   /**< diagnostics */
} hy_monitor_options;

/** All defaults. */
#define HY_MONITOR_OPTIONS_INIT                                                \
    {                                                                          \
        sizeof(hy_monitor_options), NULL, 0,                                   \
        {                                                                      \
            NULL, NULL                                                         \
        }                                                                      \
    }

/**
 * Makes a monitor that watches nothing yet. Its segment is called
 * hyperion.USER.NAME and belongs to the calling user alone (mode 0600). One
 * that a process left behind when it died is removed.
 * @param out gets the monitor; the caller owns it until hy_monitor_destroy.
 * @return 0; -EINVAL (out NULL, a name with other characters or too long, a
 * period below 1 ms); -E2BIG; -EEXIST (a living process publishes under that
 * name); -EACCES (something of that name belongs to somebody else); -ENOMEM,
 * -ENOSPC, -EMFILE, -EAGAIN (no memory, descriptor or thread); -ENOTSUP where
 * there is no shared memory.
 */
HY_API int hy_monitor_create(hy_monitor **out,
                             const hy_monitor_options *options);

/**
 * Ends the monitor and removes its segment; readers that are attached keep its
 * last sample. In a forked child it frees memory only. NULL is allowed.
 * @return 0
 */
HY_API int hy_monitor_destroy(hy_monitor *m);

/**
 * Starts to watch an object, which must live until hy_monitor_unwatch.
 * @param kind what object points to.
 * @param name shown for it, copied, 31 characters of it; NULL: the object's
 * own where it has one, else its kind.
 * @return 0; -EINVAL (NULL, no such kind); -EEXIST (it is watched already);
 * -ENOSPC (as many of that kind as a sample holds); -ESTALE (in a forked
 * child, a monitor of its parent).
 */
HY_API int hy_monitor_watch(hy_monitor *m, hy_monitor_kind kind,
                            const void *object, const char *name);

/**
 * Ends watching it; on return the monitor does not touch it any more.
 * @return 0, -EINVAL, -ENOENT when it is not watched, -ESTALE as above.
 */
HY_API int hy_monitor_unwatch(hy_monitor *m, const void *object);

/**
 * Publishes one runtime and its fibers, with the process's code and faults,
 * under a name: a monitor of its own, which ends when the runtime is
 * destroyed.
 * @param name of the segment; NULL: the runtime's own name.
 * @return as hy_monitor_create and hy_monitor_watch.
 */
HY_API int hy_monitor_publish(hy_runtime *rt, const char *name);

/**
 * Takes a sample now, in the caller's thread, and fills *out.
 * @return 0, -EINVAL (NULL, or size not set), or -ESTALE as above.
 */
HY_API int hy_monitor_snapshot(hy_monitor *m, hy_monitor_sample *out);

/** The reading side, usually in another process. One thread at a time. */
typedef struct hy_monitor_reader hy_monitor_reader;

/**
 * Opens what a process publishes. Everything in the segment is checked before
 * it is believed.
 * @param name of a monitor, or the number of a process; with a number the
 * first segment of that process is taken.
 * @return 0; -EINVAL; -ENOENT (nobody publishes so); -EACCES (another user's);
 * -EBADMSG (damaged, or no segment); -EPROTO (of another version of the
 * library); -ENOMEM, -EMFILE; -ENOTSUP.
 */
HY_API int hy_monitor_attach(hy_monitor_reader **out, const char *name);

/** Closes it; NULL is allowed. */
HY_API void hy_monitor_detach(hy_monitor_reader *r);

/**
 * Copies the last complete sample into *out. A writer that died in the middle
 * of one does no harm: the sample before it is read.
 * @return 0; 1 when its process has ended or stopped publishing, and this is
 * its last sample; -EINVAL; -EAGAIN (none is complete yet); -EBADMSG.
 */
HY_API int hy_monitor_read(hy_monitor_reader *r, hy_monitor_sample *out);

/** One published segment, as hy_monitor_each finds it. */
typedef struct hy_monitor_info {
    size_t size;
    const char *name; /**< valid during the visit */
    uint64_t pid;
    int alive; /**< 0: its process is gone; hy_monitor_remove, or the next
                    monitor of that name, removes it */
} hy_monitor_info;

/**
 * Visits what the calling user's processes publish; ends early when visit
 * returns something else than 0, and returns that.
 * @return 0, visit's result, -EINVAL, or -ENOTSUP.
 */
HY_API int hy_monitor_each(int (*visit)(const hy_monitor_info *info, void *arg),
                           void *arg);

/**
 * Removes what a process that ended without hy_monitor_destroy left behind
 * under a name, or what is damaged and has no maker. Any thread; not from a
 * visit of hy_monitor_each.
 * @return 0; -EINVAL; -ENOENT (there is none); -EEXIST (its process lives);
 * -EBUSY (it is being made, or a forked child of its process lives); -EACCES
 * (another user's); -EPROTO (of another version of the library); -EMFILE;
 * -ENOTSUP.
 */
HY_API int hy_monitor_remove(const char *name);

HY_END_DECLS

#endif
