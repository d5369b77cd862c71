/*
 * thread.h - what the library keeps of a plain thread: its part in the graph of
 * waits (waits.h) and its local values (locals.h).
 *
 * A record is made when a thread first needs one and is used again after the
 * thread's end; its memory is never freed, so that others may look at it at any
 * time.
 */
#ifndef HYI_THREAD_H
#define HYI_THREAD_H

#include <hyperion/base.h>

#include <stdatomic.h>
#include <stdbool.h>

#include "bits.h"
#include "check.h"
#include "locals.h"

/* Who waits for whom: a fiber's is beside its slot, a thread's in its record.
   Written by its agent; waits.h says how others read it. */
struct hyi_agent {
    _Atomic uintptr_t waits; /* 0, a mutex with flags, or HYI_WAITS_JOIN */
    _Atomic uint64_t joined; /* with HYI_WAITS_JOIN: the fiber's id */
};

struct hyi_thread {
    struct hyi_agent agent HYI_ALIGNED;
    _Atomic bool in_use;
    struct hyi_locals *locals; /* its own (locals.h) */
    unsigned exits; /* rounds of destructors that the thread's end has seen */
};

/*
 * Who locks. Of a fiber: the address of its slot. Of a thread: the address of
 * its record and HYI_TOKEN_THREAD; where none could be had, an address that
 * only tells threads apart, and HYI_TOKEN_OPAQUE as well. Bit 0 is the mutex's.
 */
enum {
    HYI_TOKEN_THREAD = 2,
    HYI_TOKEN_OPAQUE = 4,
    HYI_TOKEN_FLAGS = HYI_TOKEN_THREAD | HYI_TOKEN_OPAQUE
};

/* 0: not yet known. */
extern _Thread_local uintptr_t hyi_thread_token_known
    __attribute__((tls_model("initial-exec")));

/* The same until the thread ends. */
uintptr_t hyi_thread_token_find(void);

static inline uintptr_t hyi_thread_token(void)
{
    uintptr_t token = hyi_thread_token_known;

    return HYI_LIKELY(token != 0) ? token : hyi_thread_token_find();
}

/* The calling thread's record; 0, -ENOMEM, or -EAGAIN (no key is left in the
   process). */
int hyi_thread_record(struct hyi_thread **out);

/* The same, or NULL when it has none. */
struct hyi_thread *hyi_thread_record_known(void);

#endif
