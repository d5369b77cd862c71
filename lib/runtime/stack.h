/*
 * stack.h - the stacks of a runtime: reserved in growing segments, guarded in
 * batches, pooled last in, first out.
 *
 * Three kinds: guarded; unguarded; and dense ones, small, next to each other in
 * huge pages, each above a canary (dense.c).
 *
 * Promise: a stack that was claimed is there when it is taken. So a fiber
 * claims at spawn, where an error can be told, and takes when it first runs; an
 * unstarted fiber costs addresses but no memory.
 */
#ifndef HYI_STACK_H
#define HYI_STACK_H

#include <hyperion/base.h>

#include "annotate.h"
#include "locals.h"
#include "lock.h"

enum {
    HYI_STACK_BYTES_LOG2_MIN = 13, /* 8 KiB */
    HYI_STACK_BYTES_LOG2_MAX = 30, /* 1 GiB */
    HYI_STACK_SIZES = HYI_STACK_BYTES_LOG2_MAX - HYI_STACK_BYTES_LOG2_MIN + 1,
    HYI_STACK_DENSE_LOG2_MIN = 12, /* 4 KiB */
    HYI_STACK_DENSE_LOG2_MAX = 16, /* 64 KiB */
    /* Classes: the guarded ones, the unguarded ones, the dense ones. */
    HYI_STACK_UNGUARDED = HYI_STACK_SIZES,
    HYI_STACK_DENSE = 2 * HYI_STACK_SIZES,
    HYI_STACK_CLASSES = HYI_STACK_DENSE + HYI_STACK_DENSE_LOG2_MAX -
                        HYI_STACK_DENSE_LOG2_MIN + 1,
    HYI_STACK_SEGMENTS = 256,
    HYI_STACK_CANARY_BYTES = 64 /* right below a dense stack */
};

struct hyi_stack_block;

struct hyi_stack {
    struct hyi_stack *next;     /* in a pool */
    char *low;                  /* lowest usable address */
    void *_Atomic owner;        /* the fiber on it; read by the fault handler */
    uint32_t usable;            /* bytes from low up */
    bool noted;                 /* note was created */
    bool ready;                 /* may be taken as it is */
    struct hyi_locals *locals;  /* of the fiber on it (locals.h) */
    struct hyi_waiter *starter; /* who began that fiber by joining it */
    struct hyi_stack_note note;
    struct hyi_stack_block *block; /* of a dense one */
};

struct hyi_stacks;

struct hyi_stack_segment {
    struct hyi_stacks *stacks; /* whose it is */
    char *base;                /* of the mapping; NULL: not there */
    size_t bytes;              /* of the mapping */
    char *first;               /* the lowest guard, or stack when unguarded */
    size_t stride;             /* from one stack to the next */
    size_t guard;              /* bytes of it that are guarded */
    size_t count;              /* stacks in it */
    size_t prepared;           /* of them guarded and handed to the pool */
    unsigned class;
    bool watched;                   /* registered for faults */
    struct hyi_stack_block *blocks; /* of a dense one; count / a block's */
    void *_Atomic broken; /* owner of a stack whose canary was overwritten */
};

struct hyi_stack_class {
    struct hyi_stack *warm; /* free ones; their memory is kept */
    struct hyi_stack *cold; /* free ones; their memory was given back */
    size_t warm_count;
    size_t ready;   /* stacks prepared, free or not */
    size_t claimed; /* promised to workers and fibers */
    size_t slack;   /* that workers' pools may hold back */
    struct hyi_stack_segment *newest;
    /* Dense ones are free in their blocks: of which some are out; none, but
       they have memory; none, and they have no memory. */
    struct hyi_stack_block *partial, *whole, *bare;
};

struct hyi_stacks {
    struct hyi_lock lock; /* all below */
    struct hyi_stack_class class[HYI_STACK_CLASSES];
    unsigned segment_count;
    size_t maps_known;  /* mappings of the process when last counted */
    size_t maps_budget; /* guards by protection until the next count */
    uint64_t guards_installed, guards_protected;
    uint64_t trimmed;  /* stacks whose memory was given back */
    size_t keep_bytes; /* the watermark that workers trim to */
    unsigned workers;
    /* Called in the fault handler when the guard of a stack was hit. */
    void (*overflowed)(void *owner);
    struct hyi_stack_segment segment[HYI_STACK_SEGMENTS];
};

/* A worker's share of one class: free stacks, and claims not yet used. */
struct hyi_stack_pool {
    struct hyi_stack *top;
    unsigned count;
    unsigned claims;
    unsigned most; /* of either: hyi_stack_pool_most */
};

/* The class of a stack, of the kind that begins with the class first; -1 when
   the size is out of range. */
int hyi_stack_class(size_t bytes, unsigned first);

static inline bool hyi_stack_is_dense(unsigned class)
{
    return class >= HYI_STACK_DENSE;
}

static inline unsigned hyi_stack_class_log2(unsigned class)
{
    if (hyi_stack_is_dense(class))
        return HYI_STACK_DENSE_LOG2_MIN + class - HYI_STACK_DENSE;
    return HYI_STACK_BYTES_LOG2_MIN +
           (class < HYI_STACK_UNGUARDED ? class : class - HYI_STACK_UNGUARDED);
}

static inline size_t hyi_stack_class_bytes(unsigned class)
{
    return (size_t)1 << hyi_stack_class_log2(class);
}

/* Stacks, and claims, that a worker keeps of a class at most: 4 MiB of them,
   but 64 at most and one at least. */
static inline unsigned hyi_stack_pool_most(unsigned class)
{
    unsigned log2 = hyi_stack_class_log2(class);

    return log2 <= 16 ? 64 : log2 >= 22 ? 1 : 1u << (22 - log2);
}

/*
 * Promises count more stacks. 0, -ENOMEM (no addresses), -EAGAIN (guards would
 * use up the process's mappings), -ENOTSUP (dense ones, without huge pages).
 */
int hyi_stack_claim(struct hyi_stacks *s, unsigned class, unsigned count);
void hyi_stack_unclaim(struct hyi_stacks *s, unsigned class, unsigned count);

/* A claimed stack; never NULL. */
struct hyi_stack *hyi_stack_take(struct hyi_stacks *s,
                                 struct hyi_stack_pool *pool, unsigned class);

/*
 * Gives one back. The caller may still be running on it: it stays the top of
 * the pool, so that nobody else gets it before the caller's next take.
 */
void hyi_stack_give(struct hyi_stacks *s, struct hyi_stack_pool *pool,
                    unsigned class, struct hyi_stack *stack);

/* Gives memory of free stacks back to the system, a little of it: of each
   class, those above so many bytes of addresses. False: there is no more. */
bool hyi_stack_trim(struct hyi_stacks *s, size_t keep_bytes);

/* Releases everything. Nobody runs on any of the stacks. */
void hyi_stacks_release(struct hyi_stacks *s);

static inline char *hyi_stack_top(const struct hyi_stack *stack)
{
    return stack->low + stack->usable;
}

/* --- dense.c; s->lock is held in those marked (L) --------------------------
 */

/* Maps a segment for count stacks at least, which it sets. */
int hyi_dense_map(struct hyi_stack_segment *g, size_t count);

/* (L) Makes the next block of the segment available; how many stacks. */
size_t hyi_dense_prepare(struct hyi_stack_class *c,
                         struct hyi_stack_segment *g);

/* (L) A free one, or NULL; and one comes back. */
struct hyi_stack *hyi_dense_take(struct hyi_stack_class *c);
void hyi_dense_give(struct hyi_stack_class *c, struct hyi_stack *stack);

/* (L) Gives back the memory of a block that is free: how many stacks; 0. */
size_t hyi_dense_trim(struct hyi_stack_class *c);

/* In the fault handler, for an address in the guard below the segment: whom
   to report. */
void *hyi_dense_culprit(struct hyi_stack_segment *g);

/* (L) Memory that the blocks of a runtime have. */
uint64_t hyi_dense_bytes(const struct hyi_stacks *s);

/* How much of the first so many segments is in huge pages. */
uint64_t hyi_dense_huge(const struct hyi_stacks *s, unsigned segments);

/* Writes the canary. */
void hyi_dense_seal(const struct hyi_stack *stack);

/* The canary is damaged: reports the owner as if a guard was hit. */
void hyi_dense_fail(const struct hyi_stack *stack)
    __attribute__((noreturn, cold));

/* What each word of the canary below a stack holds. */
static inline uintptr_t hyi_canary_word(const char *low)
{
    return (uintptr_t)low ^ (uintptr_t)0x9e3779b97f4a7c15u;
}

static inline bool hyi_canary_is_intact(const char *low)
{
    const uintptr_t *word =
        (const uintptr_t *)(const void *)(low - HYI_STACK_CANARY_BYTES);
    uintptr_t damage = 0;

    for (size_t i = 0; i < HYI_STACK_CANARY_BYTES / sizeof(*word); i++)
        damage |= word[i] ^ hyi_canary_word(low);
    return damage == 0;
}

#endif
