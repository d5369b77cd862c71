/*
 * heap.h - a heap: blocks of any size inside one region of memory.
 *
 *      region   | header | map of tags in use | tags      | payload           |
 *      offset   0                             (1.6 %)     first payload ... end
 *
 * All that the allocator knows lies in tags before the payload, where a block
 * that overflows cannot reach them; the payload itself is never read or written
 * (but for hy_heap_realloc, which copies). Alloc, free and the merge of free
 * neighbours take constant time whatever the heap holds: two-level segregated
 * fit (M. Masmano, I. Ripoll, A. Crespo, J. Real, "TLSF: a New Dynamic Memory
 * Allocator for Real-Time Systems", ECRTS 2004), with the boundary tags of
 * D. Knuth (TAOCP vol. 1, 2.5) replaced by bits in a table.
 *
 * Inside the region everything is an offset. It may be copied, saved, or mapped
 * at another address, and attached there: a heap in the memory of a pager with
 * a file survives restarts. Nothing is logged: the region is consistent
 * whenever no call is running, which is when hy_pager_checkpoint must be called
 * (or between hy_pager_freeze and hy_pager_thaw). Untouched parts of a large
 * region stay untouched: formatting 256 GiB writes to less than ten pages, and
 * attaching reads as few. The region's content before hy_heap_format does not
 * matter.
 *
 * Threads. A heap is used by one thread or fiber at a time, unless it is made
 * with HY_HEAP_SHARED: then any thread may call anything but hy_heap_destroy
 * and hy_heap_reset at any time, and a child of fork may use its copy, unless
 * the memory is a pager's, which children do not have. No function is for
 * signal handlers. hy_heap_pointer and hy_heap_offset take no lock and may be
 * called by anybody.
 *
 * Damage. Tags that contradict each other are found by hy_heap_check, and by
 * whichever call meets them: it changes nothing more, reports, and from then on
 * this handle allocates NULL and frees with -EBADMSG. No damage of the region
 * makes a call crash or hang.
 */
#ifndef HYPERION_HEAP_H
#define HYPERION_HEAP_H

#include <hyperion/base.h>
#include <hyperion/slab.h>

HY_BEGIN_DECLS

/** A heap's handle: small, from malloc, pointing at the region. */
typedef struct hy_heap hy_heap;

#define HY_HEAP_ALIGN 64 /**< of every payload, at least; bytes */
#define HY_HEAP_ROOTS 64 /**< slots of hy_heap_root_set */

/** The largest region, in bytes. */
#define HY_HEAP_BYTES_MAX ((uint64_t)1 << 42)

/** Flags of hy_heap_options. */
enum hy_heap_flags {
    HY_HEAP_SHARED = 1u << 0 /**< any thread at any time: an internal lock */
};

/** How a heap is made. */
typedef struct hy_heap_options {
    size_t size; /**< sizeof(hy_heap_options) */
    /**
     * hy_heap_create: the region's bytes; 0 = 1 GiB. Addresses are reserved,
     * memory is used as it is touched. It never grows.
     */
    uint64_t bytes;
    unsigned flags; /**< of hy_heap_flags */
    /** hy_heap_create: where the region comes from, in one piece; NULL = the
     * system. Copied. */
    const hy_backing *backing;
    const char *name; /**< for the statistics, up to 31 characters; copied */
    hy_report report; /**< tells of damage and refused frees */
} hy_heap_options;

/** Starts an options struct: size set, all else zero. */
#define HY_HEAP_OPTIONS_INIT                                                   \
    {                                                                          \
        sizeof(hy_heap_options), 0, 0, NULL, NULL,                             \
        {                                                                      \
            NULL, NULL                                                         \
        }                                                                      \
    }

/**
 * Makes a heap in a region of its own, from the system or options->backing.
 * @param out      gets the handle; hy_heap_destroy ends it and the region
 * @param options  NULL = all defaults
 * @return 0; -EINVAL for NULL, unknown flags, a backing without both functions
 *         or that gives misaligned memory, or a region too small to hold a
 *         block; -E2BIG above HY_HEAP_BYTES_MAX (or base.h, Options); -ENOMEM.
 */
HY_API int hy_heap_create(hy_heap **out, const hy_heap_options *options);

/**
 * Makes an empty heap inside the caller's memory, which must stay until
 * hy_heap_destroy. Whatever it held is lost.
 * @param memory  aligned to HY_HEAP_ALIGN
 * @param bytes   of memory; about 2 KiB hold one block
 * @return 0; -EINVAL for NULL or misaligned memory, or bytes too small to hold
 *         a block; -E2BIG above HY_HEAP_BYTES_MAX; -ENOMEM.
 */
HY_API int hy_heap_format(hy_heap **out, void *memory, size_t bytes);

/** hy_heap_format with flags, name and report; bytes and backing must be zero:
 * -EINVAL. */
HY_API int hy_heap_format_with(hy_heap **out, void *memory, size_t bytes,
                               const hy_heap_options *options);

/**
 * Finds the heap that hy_heap_format made in this memory, in this process or
 * another, at this address or another. What is validated is the header and the
 * heads of its lists; hy_heap_check validates all. One region is attached once
 * at a time.
 * @param memory  aligned to HY_HEAP_ALIGN
 * @param bytes   at least what the heap was formatted with; more is not used
 * @return 0; -EINVAL for NULL or misaligned memory; -EBADMSG when no heap is
 *         there, it is damaged, or larger than bytes; -EPROTO when it was made
 *         by another version of the library; -ENOMEM.
 */
HY_API int hy_heap_attach(hy_heap **out, void *memory, size_t bytes);

/** hy_heap_attach with flags, name and report; bytes and backing must be zero:
 * -EINVAL. */
HY_API int hy_heap_attach_with(hy_heap **out, void *memory, size_t bytes,
                               const hy_heap_options *options);

/**
 * Ends the handle; NULL is allowed. A region of hy_heap_create goes with it; a
 * formatted or attached heap's memory keeps its content and can be attached
 * again. Returns 0.
 */
HY_API int hy_heap_destroy(hy_heap *heap);

/**
 * A block of at least bytes bytes, aligned to HY_HEAP_ALIGN, its content
 * undefined; 0 bytes count as 1. NULL when no free block is large enough, or
 * the heap is damaged. Constant time.
 */
HY_API void *hy_heap_alloc(hy_heap *heap, size_t bytes);

/**
 * hy_heap_alloc aligned to align, a power of two up to 64 GiB (else NULL). The
 * address is aligned as long as the region stays where it is, or moves by a
 * multiple of align.
 */
HY_API void *hy_heap_alloc_aligned(hy_heap *heap, size_t align, size_t bytes);

/**
 * Makes the block larger or smaller, in place where that is possible; else its
 * content moves. The alignment it was allocated with is kept. p NULL allocates;
 * 0 bytes count as 1.
 * @return the block; NULL when there is no room, p is no live block of this
 *         heap, or the heap is damaged: the old block stays as it is.
 */
HY_API void *hy_heap_realloc(hy_heap *heap, void *p, size_t bytes);

/**
 * Frees a block and merges it with its free neighbours. Constant time. NULL is
 * allowed.
 * @return 0; -EINVAL for what is not the start of a live block: a free block, a
 *         pointer into a block or from elsewhere. Neither it nor any byte near
 *         it is read. -EBADMSG when the heap is damaged.
 */
HY_API int hy_heap_free(hy_heap *heap, void *p);

/** The bytes that a live block really has, at least what was asked for; 0 for
 * what is no live block. */
HY_API size_t hy_heap_block_bytes(const hy_heap *heap, const void *p);

/**
 * Where p lies from the start of the region: stays valid wherever the region is
 * mapped. 0 for what does not lie in the payload, NULL among it. Anybody.
 */
HY_API uint64_t hy_heap_offset(const hy_heap *heap, const void *p);

/** The address of an offset; NULL for 0 and for what does not lie in the
 * payload. Anybody. */
HY_API void *hy_heap_pointer(const hy_heap *heap, uint64_t offset);

/**
 * Keeps an offset in the region under a number below HY_HEAP_ROOTS, to find the
 * data again after hy_heap_attach. 0 empties the slot.
 * @return 0; -EINVAL for a slot that does not exist, or an offset that is
 *         neither 0 nor in the payload.
 */
HY_API int hy_heap_root_set(hy_heap *heap, unsigned slot, uint64_t offset);

/** What hy_heap_root_set put there; 0 when it is empty, does not exist, or
 * is damaged. */
HY_API uint64_t hy_heap_root_get(const hy_heap *heap, unsigned slot);

/**
 * Validates every tag, list and count. Time is proportional to the blocks and
 * to the part of the region that was ever used.
 * @return 0 or -EBADMSG.
 */
HY_API int hy_heap_check(const hy_heap *heap);

/** What hy_heap_walk finds in a place. */
enum hy_heap_block_state {
    HY_HEAP_FREE = 0,
    HY_HEAP_USED = 1,
    HY_HEAP_DAMAGED = 2 /**< the tags make no sense from here on */
};

/** One block, as hy_heap_walk shows it. */
typedef struct hy_heap_block {
    size_t size;         /**< of this struct, as the library knows it */
    int state;           /**< of hy_heap_block_state */
    uint64_t offset;     /**< of the payload; hy_heap_pointer gives it */
    uint64_t bytes;      /**< of the payload; 0 when damaged */
    const char *problem; /**< what is wrong with it when damaged, else NULL */
} hy_heap_block;

/**
 * Calls visit for each block, in order of address, until it returns non-zero.
 * visit must not change the heap; the struct is valid during the call. The
 * first damaged block is shown with its state HY_HEAP_DAMAGED, and ends the
 * walk.
 * @return 0 at the end, what visit returned, -EBADMSG after a damaged block,
 *         -EINVAL for NULL.
 */
HY_API int hy_heap_walk(const hy_heap *heap,
                        int (*visit)(void *ctx, const hy_heap_block *block),
                        void *ctx);

/**
 * Frees all blocks at once and empties the roots, in constant time; heals a
 * damaged heap whose geometry is intact. Every pointer into it becomes invalid.
 * Returns 0.
 */
HY_API int hy_heap_reset(hy_heap *heap);

/**
 * Gives the whole pages inside free blocks back. Their content is lost, which
 * nobody sees. Time is proportional to the free blocks of a page or more.
 * @param give_back  called for each range, page-aligned; returns 0 or a
 *                   negative errno value that ends the trim. NULL: the system
 *                   takes them, possible only when hy_heap_create got the
 *                   region from it.
 * @param trimmed    gets the bytes given back, among them what was never used;
 *                   may be NULL
 * @return 0, -ENOTSUP when give_back is needed and missing, -EBADMSG, or what
 *         give_back or the system returned.
 */
HY_API int hy_heap_trim(hy_heap *heap,
                        int (*give_back)(void *ctx, void *p, size_t bytes),
                        void *ctx, uint64_t *trimmed);

/** Figures of a heap. */
typedef struct hy_heap_stats {
    size_t size;             /**< set by the caller */
    char name[32];           /**< of the handle */
    uint64_t region_bytes;   /**< all of it */
    uint64_t metadata_bytes; /**< header and tags */
    uint64_t used_bytes;     /**< live blocks, rounded up to HY_HEAP_ALIGN */
    uint64_t free_bytes;     /**< used + free + metadata = region, but for less
                                  than HY_HEAP_ALIGN */
    /**
     * hy_heap_alloc of this much succeeds, if nothing happens before; the
     * largest free block is at most 3.2 % larger.
     */
    uint64_t largest_free_bytes;
    uint64_t peak_used_bytes; /**< highest used_bytes since format or reset */
    uint64_t allocations;     /**< live blocks */
    uint64_t free_blocks;
    uint64_t allocs;        /**< successful, through this handle */
    uint64_t frees;         /**< successful, through this handle */
    uint64_t failed_allocs; /**< NULL returned, through this handle */
    uint64_t refused_frees; /**< -EINVAL returned, through this handle */
    int damaged;            /**< 1 when this handle has met damage */
} hy_heap_stats;

/** Starts a stats struct: size set. */
#define HY_HEAP_STATS_INIT                                                     \
    {                                                                          \
        sizeof(hy_heap_stats), {0}, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0      \
    }

/** Fills *out. Constant time. 0, or -EINVAL for NULL or a bad size. */
HY_API int hy_heap_stats_get(const hy_heap *heap, hy_heap_stats *out);

HY_END_DECLS

#endif
