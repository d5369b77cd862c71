/*
 * stack.h - the stacks of a runtime: reserved in growing segments, guarded in
 * batches, pooled last in, first out.
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
    HYI_STACK_CLASSES = 2 * HYI_STACK_SIZES, /* guarded ones, then unguarded */
    HYI_STACK_SEGMENTS = 256
};

struct hyi_stack {
    struct hyi_stack *next;     /* in a pool */
    char *low;                  /* lowest usable address */
    void *_Atomic owner;        /* the fiber on it; read by the fault handler */
    uint32_t color;             /* bytes left free at the top */
    bool noted;                 /* note was created */
    struct hyi_locals *locals;  /* of the fiber on it (locals.h) */
    struct hyi_waiter *starter; /* who began that fiber by joining it */
    struct hyi_stack_note note;
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
    bool watched; /* registered for faults */
};

struct hyi_stack_class {
    struct hyi_stack *warm; /* free ones; their memory is kept */
    struct hyi_stack *cold; /* free ones; their memory was given back */
    size_t warm_count;
    size_t ready;   /* stacks prepared, free or not */
    size_t claimed; /* promised to workers and fibers */
    size_t slack;   /* that workers' pools may hold back */
    struct hyi_stack_segment *newest;
};

struct hyi_stacks {
    struct hyi_lock lock; /* all below */
    struct hyi_stack_class class[HYI_STACK_CLASSES];
    unsigned segment_count;
    size_t maps_known;  /* mappings of the process when last counted */
    size_t maps_budget; /* guards by protection until the next count */
    uint64_t guards_installed, guards_protected;
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

/* The class of a stack; -1 when the size is out of range. */
int hyi_stack_class(size_t bytes, bool guarded);
static inline unsigned hyi_stack_class_log2(unsigned class)
{
    return HYI_STACK_BYTES_LOG2_MIN +
           (class < HYI_STACK_SIZES ? class : class - HYI_STACK_SIZES);
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
 * use up the process's mappings).
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

/* Gives memory of pooled stacks above the watermark back to the system. */
void hyi_stack_trim(struct hyi_stacks *s);

/* Releases everything. Nobody runs on any of the stacks. */
void hyi_stacks_release(struct hyi_stacks *s);

/* Above what was asked for: room for the colors, and then some, so that the
   whole of it is usable. */
enum { HYI_STACK_HEADROOM = 4096 };

/* The bytes from low up that a fiber may use: as many as asked for at least. */
static inline size_t hyi_stack_usable(const struct hyi_stack *stack,
                                      unsigned class)
{
    return hyi_stack_class_bytes(class) + HYI_STACK_HEADROOM - stack->color;
}

static inline char *hyi_stack_top(const struct hyi_stack *stack, unsigned class)
{
    return stack->low + hyi_stack_usable(stack, class);
}

#endif
