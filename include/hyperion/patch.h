/*
 * patch.h - branches that are switched by rewriting code, not by testing a
 * variable.
 *
 *      HY_PATCH_DEFINE(audit, 0);             in one file, at file scope
 *      HY_PATCH_DECLARE(audit);               in any other, or in a header
 *
 *      if (HY_PATCH_IF(audit))                any number of sites
 *          write_audit_record(order);
 *
 *      hy_patch_switch(&audit, 1);            all of them, while threads run
 *
 * A site that is off costs one instruction that falls through and reads no
 * memory. How a site looks, and where the code for it is, stands in
 * inline/patch.h; why rewriting it under running threads is safe, in
 * docs/decisions/0001-patching-live-code.md.
 *
 * Where code cannot be written (hy_patch_caps() is 0), a site stays what it is
 * before its first rewrite: a jump to an out-of-line load and branch. It is
 * correct from the first instruction of the process, before any constructor
 * has run. The environment variable HY_PATCH caps what is used: "off" leaves
 * every site so, "remap" and "store" name one way.
 *
 * Keys have C linkage and belong to one program: a plug-in may declare a key
 * of its host and the reverse, when the key's visibility allows it. A module
 * (program or shared library) registers its sites when it is loaded and takes
 * them out when it is unloaded.
 */
#ifndef HYPERION_PATCH_H
#define HYPERION_PATCH_H

#include <hyperion/base.h>

HY_BEGIN_DECLS

/** Identifies a key; changes when the layout of hy_patch does. */
#define HY_PATCH_ABI 0x48795001u

struct hy_patch_record;

/**
 * A key: one switch with its sites. Made by HY_PATCH_DEFINE alone; its members
 * belong to the library. Any thread may switch it and run through its sites.
 */
typedef struct hy_patch {
    uint8_t on;          /**< what an undecided site reads: offset 0 is ABI */
    uint8_t reserved[3]; /**< zero */
    uint32_t abi;        /**< HY_PATCH_ABI */
    uint32_t lock;       /**< guards sites, and the form of each of them */
    uint32_t unused;     /**< zero */
    void *sites;         /**< list of the sites registered so far */
    void (*attach)(const struct hy_patch_record *start,
                   const struct hy_patch_record *stop); /**< keeps it linked */
    const char *name;                                   /**< as defined */
} hy_patch;

/** Keys that one batch can hold. */
#define HY_PATCH_BATCH_MAX 64

/** Switches to be made together. On the caller's stack; one thread. */
typedef struct hy_patch_batch {
    uint32_t state; /**< the library's */
    uint32_t count; /**< keys in it */
    struct {
        hy_patch *key;
        int on;
    } items[HY_PATCH_BATCH_MAX]; /**< ascending by address of the key */
} hy_patch_batch;

/** How code is rewritten here: what hy_patch_caps() returns, or 0. */
enum {
    HY_PATCH_STORE = 1, /**< in place, one byte or word a site, which this
                             processor's manual permits */
    HY_PATCH_REMAP = 2  /**< a page of code is replaced by a changed copy */
};

/**
 * The way in which code is rewritten in this process, found by trying it on a
 * site of the library's own; 0: every site loads and branches. Any thread.
 */
HY_API unsigned hy_patch_caps(void);

/**
 * Switches every site of key; on != 0 means on. On return every later
 * execution of a site takes the new way. Until then each execution takes the
 * old or the new one, and for one key all sites change over at the same
 * instant where code is written in place.
 *
 * 0; -EINVAL when key is NULL or no key; -ENOMEM; -EBUSY when a site holds an
 * instruction that is not ours, such as a debugger's breakpoint; or the error
 * of the system call that was refused. After an error the key has not been
 * switched, and no site disagrees with it.
 *
 * Any thread, not a signal handler; blocks the thread for microseconds. A child
 * of fork has the sites as they were, and switches its own. Sequentially
 * consistent: what the caller did before is seen by whoever sees a site take
 * the new way by way of its load; a site decided by code alone orders nothing.
 */
HY_API int hy_patch_switch(hy_patch *key, int on);

/** 1 when key is on, 0 when off; -EINVAL for no key. Any thread, any signal
 * handler. */
HY_API int hy_patch_is_on(const hy_patch *key);

/** Starts a batch. 0, or -EINVAL for NULL. */
HY_API int hy_patch_begin(hy_patch_batch *b);

/**
 * Adds a switch to a batch; a key that is in it already gets the new value.
 * 0; -EINVAL when b was not begun or key is no key; -ENOSPC when the batch
 * holds HY_PATCH_BATCH_MAX other keys (it is left as it was).
 */
HY_API int hy_patch_set(hy_patch_batch *b, hy_patch *key, int on);

/**
 * Makes all switches of a batch and ends it: all of them or, with an error of
 * hy_patch_switch, none, and the batch may be committed again or aborted. It
 * costs little more than one switch: the expensive part is done once.
 */
HY_API int hy_patch_commit(hy_patch_batch *b);

/** Ends a batch without switching anything. 0, or -EINVAL if not begun. */
HY_API int hy_patch_abort(hy_patch_batch *b);

/** Counters of all sites in this process; size is set by the caller. */
typedef struct hy_patch_stats {
    size_t size;
    unsigned mechanism;      /**< the one in use: HY_PATCH_STORE, ..., or 0 */
    unsigned modules;        /**< programs and libraries registered */
    uint64_t sites;          /**< registered sites */
    uint64_t sites_decided;  /**< of which now decided by code alone */
    uint64_t switches;       /**< keys switched since the start */
    uint64_t failures;       /**< switches refused */
    uint64_t switch_last_ns; /**< time that the last switch or batch took */
    uint64_t switch_max_ns;  /**< and the longest one */
} hy_patch_stats;

/** Fills *out. 0, or -EINVAL for NULL or a size too small. Any thread. */
HY_API int hy_patch_stats_get(hy_patch_stats *out);

/**
 * Registers and removes the sites of one module. Called by the constructor and
 * the destructor that a site carries along, never by hand.
 */
HY_API void hy_patch_attach(const struct hy_patch_record *start,
                            const struct hy_patch_record *stop);
/** Likewise. */
HY_API void hy_patch_detach(const struct hy_patch_record *start);

HY_END_DECLS

#ifdef __cplusplus
#define HY_PATCH_EXTERN_ extern "C"
#else
#define HY_PATCH_EXTERN_ extern
#endif

/* used: sites name the key in assembly, where link-time optimisation does not
 * see it. */
#if defined(__GNUC__)
#define HY_PATCH_USED_ __attribute__((used))
#else
#define HY_PATCH_USED_
#endif

/** Makes a key known that another file defines; may be repeated. */
#define HY_PATCH_DECLARE(name) HY_PATCH_EXTERN_ hy_patch name

/** Defines a key that starts as initially, 0 or 1. At file scope, in one file
 * of the program. */
#define HY_PATCH_DEFINE(name, initially) HY_PATCH_DEFINE_(name, initially)
#define HY_PATCH_DEFINE_(name, initially)                                      \
    HY_PATCH_EXTERN_ hy_patch name;                                            \
    hy_patch name HY_PATCH_USED_ = {                                           \
        (initially) ? 1 : 0, {0, 0, 0}, HY_PATCH_ABI, 0, 0, 0,                 \
        hy_patch_attach,     #name}

#include <hyperion/inline/patch.h>

#endif
