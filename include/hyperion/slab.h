/*
 * slab.h - where allocators get their memory from.
 */
#ifndef HYPERION_SLAB_H
#define HYPERION_SLAB_H

#include <hyperion/base.h>

HY_BEGIN_DECLS

/**
 * Where memory comes from, in place of the system. Both functions may be
 * called from any thread that uses the object, one at a time for each object.
 */
typedef struct hy_backing {
    size_t size; /**< sizeof(hy_backing) */
    /**
     * Gives bytes of readable and writable memory aligned to align, a power of
     * two, or NULL. What it holds does not matter.
     */
    void *(*acquire)(void *ctx, size_t bytes, size_t align);
    /** Takes back what acquire gave, whole. */
    void (*release)(void *ctx, void *p, size_t bytes);
    void *ctx; /**< handed to both */
} hy_backing;

/** Starts a backing: size set, all else zero. */
#define HY_BACKING_INIT                                                        \
    {                                                                          \
        sizeof(hy_backing), NULL, NULL, NULL                                   \
    }

HY_END_DECLS

#endif
