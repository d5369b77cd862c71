/*
 * pager.h - a range of addresses, far larger than memory, whose pages come
 * when they are touched, and which survives a crash when it has a file.
 *
 *      hy_pager_options o = HY_PAGER_OPTIONS_INIT;
 *      o.path = "store.hyp";
 *      o.flags = HY_PAGER_CREATE;
 *      hy_pager *pager;
 *      int r = hy_pager_reserve(&pager, (uint64_t)64 << 30, &o);
 *      ... write into hy_pager_base(pager) ...
 *      r = hy_pager_checkpoint(pager);     // durable from here on
 *      hy_pager_release(pager);
 *
 * Memory never written reads as zero. Offsets and lengths are in bytes.
 *
 * Threads: the memory may be used from any thread, and the functions below may
 * be called from any thread at the same time, except hy_pager_release, after
 * which nothing of the pager may be used. None of them may be called from a
 * signal handler. Under the signal mechanism, and with a file, the library
 * handles SIGSEGV and SIGBUS for its own addresses and hands all others to the
 * handlers that were there before; a thread that blocks these signals must not
 * touch the memory.
 *
 * System calls that write into the memory (read, recv) do not trap: they fail
 * with EFAULT where a page is not there or is held. That can happen under the
 * signal mechanism, and with a file while a checkpoint holds its writers; pin
 * the range around such a call. Anonymous memory under the kernel mechanism
 * needs no pin.
 *
 * Files: pages become the file's by hy_pager_checkpoint alone, so a disk that
 * is full, or a file size limit (RLIMIT_FSIZE), is an error of that call
 * (-ENOSPC, -EDQUOT, -EFBIG; no SIGXFSZ) and never of an access. What an access
 * cannot survive is a file that another program truncates, in spite of the
 * lock, or a disk that cannot be read: that is reported at HY_REPORT_FATAL and
 * then a SIGBUS for the handler that was there before, or the process's end.
 *
 * fork: the child does not have the memory (touching it is a fault there).
 * Every call on a pager of its parent is -ESTALE there, but for the three that
 * tell its base, its bytes and its page size, and for hy_pager_release, which
 * closes the child's copies of its descriptors: as long as one is open, in the
 * parent or in a child, the file stays locked. A child may reserve its own.
 */
#ifndef HYPERION_PAGER_H
#define HYPERION_PAGER_H

#include <hyperion/base.h>

HY_BEGIN_DECLS

/** A reserved range of addresses. */
typedef struct hy_pager hy_pager;

/** How pages are brought in: hy_pager_options.mechanism. */
enum hy_pager_mechanism {
    HY_PAGER_AUTO = 0,   /**< the best that is usable for what was asked */
    HY_PAGER_KERNEL = 1, /**< one read-write mapping; the kernel fills it */
    HY_PAGER_SIGNAL = 2, /**< no access until a trapped fault opens a cluster */
    HY_PAGER_UFFD = 3    /**< userfaultfd: refused with -ENOTSUP */
};

/** hy_pager_options.flags. What cannot be had is refused, never ignored. */
enum hy_pager_flag {
    /** Huge pages (2 MiB), base aligned to them. Anonymous memory only;
        -ENOTSUP where the system has switched them off. */
    HY_PAGER_HUGE = 1u << 0,
    /** Memory is accounted for when it is committed: -ENOTSUP. */
    HY_PAGER_STRICT_COMMIT = 1u << 1,
    /** System calls may always use the memory: anonymous memory under the
        kernel mechanism; -EPERM otherwise. */
    HY_PAGER_SYSCALL_SAFE = 1u << 2,
    /** A file is mapped for reading. Writing into it is a fault. */
    HY_PAGER_READ_ONLY = 1u << 3,
    /** The file is created when there is none, or it is empty. */
    HY_PAGER_CREATE = 1u << 4,
    /** A fiber that traps parks: -ENOTSUP. */
    HY_PAGER_PARK = 1u << 5
};

/**
 * Where pages come from and go to, by functions of the caller; offsets and
 * lengths in bytes, page-aligned; never called in a signal handler. A pager
 * with a store is refused with -ENOTSUP.
 */
typedef struct hy_pager_store {
    size_t size; /**< sizeof(hy_pager_store) */
    int (*read)(void *ctx, uint64_t offset, void *buffer, size_t bytes);
    int (*write)(void *ctx, uint64_t offset, const void *buffer, size_t bytes);
    int (*flush)(void *ctx);
    void (*close)(void *ctx);
    void *ctx;
} hy_pager_store;

/** How a pager is made; see hy_pager_reserve. */
typedef struct hy_pager_options {
    size_t size;
    unsigned mechanism;   /**< enum hy_pager_mechanism; 0 = AUTO */
    unsigned flags;       /**< enum hy_pager_flag */
    size_t budget_bytes;  /**< 0 = no limit; anything else is -ENOTSUP */
    size_t cluster_bytes; /**< bytes that one trapped fault opens: a power of
                               two, one page to 2 MiB; 0 = adaptive. Where
                               mappings grow scarce, clusters grow too */
    const char *path;     /**< file; NULL = anonymous memory */
    const hy_pager_store *store; /**< own backing: -ENOTSUP; excludes path */
    void *base;       /**< address wanted, page-aligned (2 MiB for HUGE);
                           NULL = any */
    hy_report report; /**< diagnostics, base.h. At HY_REPORT_FATAL it runs in
                           a signal handler */
} hy_pager_options;

/** Warning-free in C11 and C++11 alike. */
#define HY_PAGER_OPTIONS_INIT                                                  \
    {                                                                          \
        sizeof(hy_pager_options), 0, 0, 0, 0, NULL, NULL, NULL,                \
        {                                                                      \
            NULL, NULL                                                         \
        }                                                                      \
    }

/** Bits of hy_pager_caps(). */
enum hy_pager_cap {
    HY_PAGER_CAP_KERNEL = 1u << 1, /**< HY_PAGER_KERNEL for anonymous memory */
    HY_PAGER_CAP_SIGNAL = 1u << 2, /**< HY_PAGER_SIGNAL */
    HY_PAGER_CAP_UFFD = 1u << 3,   /**< HY_PAGER_UFFD */
    /** HY_PAGER_KERNEL with a path: written pages can be told apart. */
    HY_PAGER_CAP_KERNEL_FILE = 1u << 4,
    /** The kernel keeps track of writes by itself, so that a checkpoint looks
        at pages written since the last one, not since the file was opened. */
    HY_PAGER_CAP_WRITE_TRACKING = 1u << 5,
    HY_PAGER_CAP_HUGE = 1u << 6 /**< HY_PAGER_HUGE */
};

/** What this system offers, found by trying; the answer is kept. Any thread. */
HY_API unsigned hy_pager_caps(void);

/**
 * Reserves bytes (rounded up to whole pages) of addresses.
 *
 * With a path, the file is opened and locked: one writer, or any number of
 * readers. A checkpoint that a crash interrupted is completed or discarded as
 * a whole. An existing file must be of the same size, or it grows; bytes 0
 * takes it as it is, and hy_pager_bytes tells how large that is.
 *
 * -EINVAL        out NULL, contradicting or malformed options, a smaller size
 *                than the file's, bytes 0 without a path or, with
 *                HY_PAGER_CREATE, where there is no file yet or an empty one
 * -ENOMEM        the addresses or the memory are refused; the report says what
 *                to do
 * -EADDRNOTAVAIL options.base is taken
 * -ENOTSUP       what this version or this system does not have
 * -EPERM         HY_PAGER_SYSCALL_SAFE cannot be had with the rest
 * -ENOENT        no such file, and no HY_PAGER_CREATE
 * -EBUSY         another process or pager has the file open for writing, or, if
 *                this one is to write, for reading
 * -EBADMSG       not a pager file (it is left untouched), or a damaged one; the
 *                report names the place
 * or the error of a system call on the file (-EACCES, -EISDIR, -ENOSPC, -EFBIG,
 * ...); a file that was being created is gone again, and one that could not
 * grow is as it was.
 */
HY_API int hy_pager_reserve(hy_pager **out, uint64_t bytes,
                            const hy_pager_options *options);

/**
 * Gives everything back. What was not checkpointed is discarded. NULL is
 * allowed. 0, or -EBUSY while the pager is frozen.
 */
HY_API int hy_pager_release(hy_pager *pager);

/** The first address; valid until the release. */
HY_API void *hy_pager_base(const hy_pager *pager);

/** The size in bytes, a multiple of the page size. */
HY_API uint64_t hy_pager_bytes(const hy_pager *pager);

/** Bytes of a page: the unit of alignment, and of durability. */
HY_API size_t hy_pager_page_bytes(const hy_pager *pager);

/*
 * Ranges. Offset and bytes of hy_pager_commit, decommit and advise are
 * multiples of the page size; the other functions widen to whole pages. All
 * return -EINVAL for a NULL pager or a misaligned range, -ERANGE for one that
 * does not lie inside, -ESTALE in a child of fork; an empty range inside is 0.
 */

/**
 * Touches ahead in one call: pages of anonymous memory are allocated, those of
 * a file are read. -ENOMEM, or -ENOSPC when too few mappings are left in the
 * process for another isolated range.
 */
HY_API int hy_pager_commit(hy_pager *pager, uint64_t offset, uint64_t bytes);

/**
 * Gives memory back; the range reads as zero afterwards, and, with a file, is
 * zero in the next checkpoint. -EBUSY when a page of it is pinned, -EROFS.
 * Nobody may use the range meanwhile.
 */
HY_API int hy_pager_decommit(hy_pager *pager, uint64_t offset, uint64_t bytes);

/**
 * Returns when the pages are present. The kernel reads them, and a read that
 * it has begun is not cut short by the deadline. -ETIMEDOUT, -ENOMEM.
 */
HY_API int hy_pager_touch(hy_pager *pager, uint64_t offset, uint64_t bytes,
                          hy_deadline until);

/** Starts reading from the file and returns at once; else it does nothing. */
HY_API int hy_pager_prefetch(hy_pager *pager, uint64_t offset, uint64_t bytes);

/** hy_pager_advise. */
enum hy_pager_advice {
    HY_PAGER_ADVICE_NORMAL = 0,
    HY_PAGER_ADVICE_SEQUENTIAL = 1,
    HY_PAGER_ADVICE_RANDOM = 2,
    HY_PAGER_ADVICE_WILL_NEED = 3,
    HY_PAGER_ADVICE_COLD = 4
};

/**
 * Says how a range will be used. Sequential, random and normal are read-ahead
 * hints for the pager as a whole: for a part of it they change nothing, since
 * each part would cost mappings. -EINVAL for an unknown advice.
 */
HY_API int hy_pager_advise(hy_pager *pager, uint64_t offset, uint64_t bytes,
                           int advice);

/**
 * Makes the pages present and, until the matching unpin, safe for system
 * calls: they are neither decommitted nor held by a checkpoint. Pins count. A
 * pinned page that is written during a checkpoint may go into it torn; its
 * later content goes into the next. -ENOMEM, -ENOSPC as hy_pager_commit.
 */
HY_API int hy_pager_pin(hy_pager *pager, uint64_t offset, uint64_t bytes);

/** Takes one pin off each page. -EINVAL when one has none; nothing changes. */
HY_API int hy_pager_unpin(hy_pager *pager, uint64_t offset, uint64_t bytes);

/**
 * Makes the memory's content durable, all or nothing: after a crash at any
 * point the file holds this checkpoint or the one before. Writes that happened
 * before the call are in it. The content is that of one instant: a thread that
 * writes while the changed pages are copied waits in its fault until its page
 * is done. The cost follows the pages written since the last checkpoint, not
 * the size.
 *
 * On an error the previous checkpoint stands, the memory keeps its content, and
 * a later call may succeed. Once durable, the result is 0 even when copying the
 * pages to their places in the file failed; that is reported, and repeated by
 * the next checkpoint or the next open.
 *
 * -ENOTSUP without a file, -EROFS, or the error of a system call: -ENOSPC,
 * -EFBIG, -EIO, ...
 */
HY_API int hy_pager_checkpoint(hy_pager *pager);

/**
 * Holds every writer, so that several checkpoints, or a checkpoint and
 * something else, see the same content: a thread that writes waits until the
 * thaw. The caller itself must not write meanwhile: that is a fault. -ENOTSUP
 * without a file, -EROFS, -EBUSY when it is frozen or has pins.
 */
HY_API int hy_pager_freeze(hy_pager *pager);

/** Ends hy_pager_freeze. -EINVAL when it is not frozen. */
HY_API int hy_pager_thaw(hy_pager *pager);

/** Rows of the fault histogram: row n counts those of 2^n to 2^(n+1) - 1 ns. */
#define HY_PAGER_LATENCY_ROWS 32

/** What hy_pager_stats_get fills. */
typedef struct hy_pager_stats {
    size_t size;             /**< set by the caller */
    unsigned mechanism;      /**< in use: enum hy_pager_mechanism */
    unsigned write_tracking; /**< 1: HY_PAGER_CAP_WRITE_TRACKING is in use */
    uint64_t reserved_bytes;
    uint64_t resident_bytes; /**< pages mapped now, as the kernel tells */
    uint64_t dirty_bytes;    /**< written and not checkpointed; an upper bound:
                                  in whole clusters under the signal mechanism,
                                  all pages ever written under the kernel
                                  mechanism without write tracking */
    uint64_t pinned_bytes;
    uint64_t page_bytes;
    uint64_t cluster_bytes; /**< that the next isolated fault would open; 0 when
                                 faults are the kernel's */
    uint64_t faults;        /**< trapped by the library; the kernel's own are
                                 not counted */
    uint64_t commits;       /**< pages opened by faults and commits */
    uint64_t decommits;     /**< pages given back */
    uint64_t evictions;     /**< pages evicted */
    uint64_t write_backs;   /**< pages written to the file */
    uint64_t checkpoints;   /**< that succeeded */
    uint64_t log_bytes;     /**< of the log that wait to be copied home */
    uint64_t mappings;      /**< kernel mappings of this pager */
    uint64_t process_mappings; /**< of the process, when last counted */
    uint64_t mappings_limit;   /**< that the system allows a process */
    uint64_t held_ns;          /**< that the last checkpoint held writers */
    uint64_t fault_ns[HY_PAGER_LATENCY_ROWS]; /**< trapped faults by duration */
} hy_pager_stats;

/**
 * Fills *out, whose size is set. Counting resident pages takes time in
 * proportion to them. -EINVAL.
 */
HY_API int hy_pager_stats_get(const hy_pager *pager, hy_pager_stats *out);

/**
 * Cuts the range into buckets and sets heat[i] to the part of bucket i that is
 * resident: 0 nothing, 255 all, at least 1 when any page is. -EINVAL when
 * buckets is 0 or more than the bytes, -ENOTSUP where the kernel does not tell.
 */
HY_API int hy_pager_heat(const hy_pager *pager, uint64_t offset, uint64_t bytes,
                         uint8_t *heat, size_t buckets);

HY_END_DECLS

#endif
