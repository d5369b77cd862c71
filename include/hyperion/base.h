/*
 * base.h - what every header of libhyperion shares: versions, time, errors,
 * and the conventions, stated once.
 *
 * Return values. Constructors and commands return int: 0, or a negative errno
 * value. Allocators return NULL on failure. Counts are size_t. Iterators
 * return 1, then 0 at the end, or a negative errno value. errno itself is left
 * alone. An output comes through a leading pointer and is untouched on failure.
 *
 * Options. A struct hy_x_options starts with its own size and is initialised
 * with HY_X_OPTIONS_INIT; a member that is zero means its default, a NULL
 * pointer to the struct means all defaults. A struct from a newer header works
 * with an older library as long as the members that the library does not know
 * are zero; otherwise the call fails with -E2BIG. A size too small to hold
 * itself is -EINVAL. Names are copied.
 *
 * Filled structs. The caller sets size first; the library fills at most that
 * many bytes.
 *
 * Threads. Each type states its own rule. What is not said to be callable from
 * a signal handler is not.
 */
#ifndef HYPERION_BASE_H
#define HYPERION_BASE_H

#include <stddef.h>
#include <stdint.h>

#define HY_VERSION_MAJOR  0       /**< of the header; hy_version() asks the */
#define HY_VERSION_MINOR  1       /**< library; both agree in major and minor */
#define HY_VERSION_PATCH  0       /**< when they belong together */
#define HY_VERSION_STRING "0.1.0" /**< "major.minor.patch" */

#ifdef __cplusplus
#define HY_BEGIN_DECLS extern "C" {
#define HY_END_DECLS   }
#else
#define HY_BEGIN_DECLS
#define HY_END_DECLS
#endif

#if defined(__GNUC__)
#define HY_API __attribute__((visibility("default")))
#else
#define HY_API
#endif

/* Called through the table of addresses: of a shared library without a jump in
   between, which costs a cycle; of a static one directly. */
#if defined(__has_attribute)
#if __has_attribute(noplt)
#define HY_NO_PLT __attribute__((noplt))
#endif
#endif
#ifndef HY_NO_PLT
#define HY_NO_PLT
#endif

HY_BEGIN_DECLS

/** The library's version, "major.minor.patch". Any thread, any signal handler.
 */
HY_API const char *hy_version(void);

/**
 * An absolute point in time, in nanoseconds of hy_now(). A relative time in
 * its place is a bug that shows at once: it lies in the past, and the call
 * returns without waiting.
 */
typedef uint64_t hy_deadline;

#define HY_FOREVER UINT64_MAX /**< wait without limit */
#define HY_NOW     0          /**< try once, never wait */

/**
 * The time in nanoseconds: CLOCK_MONOTONIC, or virtual time inside a simulated
 * runtime. Any thread, any signal handler.
 */
HY_API uint64_t hy_now(void);

/** hy_now() + ns, saturating at HY_FOREVER - 1. */
HY_API hy_deadline hy_after(uint64_t ns);

/** How grave a report is. */
enum hy_report_level {
    HY_REPORT_NOTE = 0,    /**< something worth knowing */
    HY_REPORT_WARNING = 1, /**< it works, but less well than was asked */
    HY_REPORT_ERROR = 2,   /**< something was refused or lost */
    HY_REPORT_FATAL = 3    /**< from a fault handler: only async-signal-safe
                                functions may be called */
};

/**
 * Where diagnostics go. The library never prints; without a callback it is
 * silent. The message is one line without a newline, valid during the call.
 * The callback may be called from any thread that uses the object, and must
 * not call back into it; at HY_REPORT_FATAL it runs in a signal handler.
 */
typedef struct hy_report {
    /** Gets one line; level is a hy_report_level. */
    void (*write)(void *ctx, int level, const char *message);
    void *ctx; /**< handed to write */
} hy_report;

/**
 * A listener to tracepoints. hop names the step ("push", "vectorize"); what is
 * the step's own number: a document's id, a count, an address.
 */
typedef void (*hy_trace_function)(void *ctx, const char *hop, uint64_t what);

/**
 * Lets function hear every tracepoint of this library in this process; NULL
 * silences them. (A runtime with HY_RUNTIME_TRACE records those that its fibers
 * pass, with or without a listener: observe.h.) It is called by whichever
 * thread or fiber passes the point and must neither block nor call back into
 * the library. The listener of before may still be running in another thread
 * when this returns. Any thread.
 */
HY_API void hy_trace_set(hy_trace_function function, void *ctx);

HY_END_DECLS

#endif
