/*
 * local.h - values that each fiber has for itself, under keys that the whole
 * process shares; what pthread_setspecific(3) is to threads.
 *
 *      static hy_fls_key request;
 *
 *      hy_fls_create(&request, free);               once
 *      hy_fls_set(request, malloc(100));            in a fiber
 *      struct request *r = hy_fls_get(request);     later, in the same fiber
 *
 * On a plain thread the same calls keep the thread's own values. A function run
 * by hy_offload is on a plain thread: it does not see those of the fiber.
 *
 * Destructors run when a fiber's function has returned, still in that fiber,
 * before its joiners wake: for each value that is not NULL and whose key has
 * one, in no order. They may wait, and set values again: then there is another
 * round, four in all (three at a thread's end, where POSIX sets the limit). A
 * fiber discarded by hy_runtime_destroy runs none. The thread that main runs on
 * runs none when the process exits.
 *
 * A fiber that sets nothing has no memory for this. The first value allocates
 * room for 8 keys, later ones for more.
 */
#ifndef HYPERION_LOCAL_H
#define HYPERION_LOCAL_H

#include <hyperion/base.h>

HY_BEGIN_DECLS

/** Keys that may exist at once in a process. */
#define HY_FLS_KEYS_MOST 256

/** Names a value of each fiber; all zero is no key. */
typedef struct hy_fls_key {
    uint32_t index, version;
} hy_fls_key;

/**
 * Makes a key; every fiber and thread has NULL under it. Any thread, any fiber.
 * @param destructor gets a fiber's value when the fiber ends; NULL = none.
 * @return 0, -EAGAIN (HY_FLS_KEYS_MOST exist), -EINVAL for out NULL.
 */
HY_API int hy_fls_create(hy_fls_key *out, void (*destructor)(void *value));

/**
 * Ends a key. Values that are set stay what they are, and no destructor is
 * called for them any more. A key that comes later has NULL everywhere.
 * @return 0, -EINVAL when there is no such key.
 */
HY_API int hy_fls_delete(hy_fls_key key);

/**
 * Sets the value of the calling fiber, or thread; the one before is forgotten,
 * without a destructor.
 * @return 0; -EINVAL when there is no such key; -ENOMEM; -EAGAIN on a thread
 * when the process has no pthread key left. Setting what is set already, and
 * NULL, never fail for want of memory.
 */
HY_API int hy_fls_set(hy_fls_key key, void *value);

/** The value of the calling fiber, or thread; NULL when it has set none, or
 * there never was such a key. Under a key that was deleted it stays what it
 * was, so do not ask for that. Takes some 2 ns. */
HY_API void *hy_fls_get(hy_fls_key key);

HY_END_DECLS

#endif
