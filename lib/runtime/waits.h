/*
 * waits.h - who waits for whom, so that the call that would close a cycle can
 * say so instead of waiting for ever.
 *
 *      fiber A --waits--> mutex --owner--> thread B --joins--> fiber C --> ...
 *
 * A fiber or thread (an agent, named by its token) publishes what it waits for
 * before it parks, and then follows the graph from itself. Nobody waits for
 * more than one owner at a time, so there is one way to go. Each publishes
 * before it looks: of those who close a cycle together, the last one to publish
 * sees all of it. In hy_cond_wait an agent waits for the mutex all the time: it
 * will not return without.
 *
 * A mutex may be freed as soon as its last user has returned. So it is looked
 * at only while somebody who waits for it is held in place: HELD in his waits
 * keeps him from returning.
 *
 * What a walk has seen need not have been true at one time. A cycle that was
 * seen is therefore confirmed, by one thread at a time (hyi_waits_confirm);
 * whoever confirms one takes himself out of it before he lets the next one
 * look, so one call alone ends with -EDEADLK.
 */
#ifndef HYI_WAITS_H
#define HYI_WAITS_H

#include "core.h"
#include "thread.h"

/* Bits of agent.waits beside a mutex's address. */
enum { HYI_WAITS_JOIN = 1, HYI_WAITS_HELD = 2 };

/* Whoever calls, as an owner of mutexes. */
static inline uintptr_t hyi_token_self(void)
{
    struct hyi_fiber *f = hyi_fiber_running();

    return f != NULL ? (uintptr_t)f : hyi_thread_token();
}

/* NULL for a token that tells nothing: nobody can see what it waits for. 0, the
   owner of a free mutex, is such a one. */
static inline struct hyi_agent *hyi_token_agent(uintptr_t token)
{
#if defined(HYI_TSAN)
    /* Which knows no fences, that of hyi_thread_token_find neither: the same by
       what publishes the record's block. */
    (void)atomic_load_explicit(&hyi_process.threads, memory_order_acquire);
#endif
    if (HYI_UNLIKELY(token & HYI_TOKEN_FLAGS))
        return token & HYI_TOKEN_OPAQUE
                   ? NULL
                   : (struct hyi_agent *)(token & ~(uintptr_t)HYI_TOKEN_FLAGS);
    return token != 0 ? hyi_fiber_agent((const struct hyi_fiber *)token) : NULL;
}

/* The agent waits for a mutex, whose first word is its owner's token and
   bit 0. A look at the others must come after hyi_waits_fence. */
static inline void hyi_waits_mutex(struct hyi_agent *a,
                                   const _Atomic uintptr_t *owner)
{
    /* Release: pairs with the acquire of whoever follows the edge. */
    if (a != NULL)
        atomic_store_explicit(&a->waits, (uintptr_t)owner,
                              memory_order_release);
}

/* Of an agent that is there. */
static inline void hyi_waits_join_known(struct hyi_agent *a, uint64_t id)
{
    atomic_store_explicit(&a->joined, id, memory_order_relaxed);
    atomic_store_explicit(&a->waits, HYI_WAITS_JOIN, memory_order_release);
}

static inline void hyi_waits_join(struct hyi_agent *a, uint64_t id)
{
    if (a != NULL)
        hyi_waits_join_known(a, id);
}

/* Between one's own publishing and one's look at the others'. Partner: the same
   fence of the others. */
static inline void hyi_waits_fence(void)
{
    atomic_thread_fence(memory_order_seq_cst);
}

/* Ends a wait for a fiber; nobody holds the agent for that. */
static inline void hyi_waits_end_join_known(struct hyi_agent *a)
{
    atomic_store_explicit(&a->waits, 0, memory_order_release);
}

static inline void hyi_waits_end_join(struct hyi_agent *a)
{
    if (a != NULL)
        hyi_waits_end_join_known(a);
}

/* Ends a wait for a mutex, before the call returns: once nobody looks at the
   mutex. */
void hyi_waits_end(struct hyi_agent *a);

/* Does the agent wait for anything? */
static inline bool hyi_waits_any(const struct hyi_agent *a)
{
    return a != NULL &&
           atomic_load_explicit(&a->waits, memory_order_acquire) != 0;
}

/* Whom a waiting agent waits for, at this moment; 0 when it does not wait, or
   was just given what it waited for, or its mutex is free. */
uintptr_t hyi_waits_next(uintptr_t token);

/* Does the way from whom the caller waits for lead back to him? False when
   there is no cycle; true when there may be one, or was while others came and
   went.
 */
bool hyi_waits_return(uintptr_t me, uintptr_t first);

/* Between the two: true when all edges of a cycle through the caller exist
   together. */
void hyi_waits_confirm_begin(void);
bool hyi_waits_confirm(uintptr_t me);
void hyi_waits_confirm_end(void);

/* "fiber "x" (0x...)", for reports. */
enum { HYI_FIBER_TEXT = HYI_NAME_BYTES + 48 };
void hyi_fiber_describe(struct hyi_fiber *f, char *out, size_t bytes);

/* "for a mutex of fiber "x" (0x...)", for reports; the fiber is parked and its
   runtime does not run. */
void hyi_waits_describe(const struct hyi_fiber *f, char *out, size_t bytes);

#endif
