/*
 * weak.h - what a weak-memory model stands on, in place of the system: GenMC
 * reads it before anything else (run_weak.sh has the command), and then the
 * library's own sources, unchanged.
 *
 *      weak_<subject>.c   scenarios: a few threads that call the real code
 *        lib/...          included whole
 *          weak.h         futex, clock, membarrier, threads
 *
 * What is left out of the real thing: pauses, and the processor's own
 * instructions. What is stronger: malloc never fails.
 *
 * Invariant: whatever waits is a loop without side effects that ends in GenMC's
 * eyes only by another thread's store, so that a lost wake is a thread that
 * waits for ever, which --check-liveness reports.
 */
#ifndef WEAK_H
#define WEAK_H

/* All in one function: GenMC loses track of stack memory that one call has
   left and the next one uses again. */
#define noinline

#include <assert.h>
#include <genmc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* GenMC has its own types of threads; those of the C library stay away. What
   it lacks, nothing calls here. */
#define _BITS_PTHREADTYPES_COMMON_H 1
#define __have_pthread_attr_t       1
typedef int pthread_key_t;
typedef struct {
    int unused;
} pthread_cond_t;
#define snprintf(...) 0

/* --- check.h, arch.h, trace.h ---------------------------------------------
 * Every check of the library is one that GenMC makes. */

#define HYI_CHECK_H
#define HY_DEBUG            0
#define HYI_LIKELY(x)       (x)
#define HYI_UNLIKELY(x)     (x)
#define HYI_ASSERT(cond)    assert(cond)
#define HYI_DEBUG(cond)     assert(cond)
#define HYI_EXPENSIVE(cond) ((void)sizeof(cond))

#define HYI_TRACE_H
#define HYI_TRACE(hop, what) ((void)(what))

#define hy_arch_pause hy_arch_pause_unused
#include "arch.h"
#undef hy_arch_pause
/* Lets no loop that only passes time go round. */
#define hy_arch_pause() break

/* Orders that are not written down, weakened (weak_orders.awk). */
#define weaker_atomic_load(object)                                             \
    __c11_atomic_load(object, memory_order_acquire)
#define weaker_atomic_store(object, value)                                     \
    __c11_atomic_store(object, value, memory_order_release)
#define weaker_atomic_exchange(object, value)                                  \
    __c11_atomic_exchange(object, value, memory_order_acq_rel)
#define weaker_atomic_fetch_and(object, value)                                 \
    __c11_atomic_fetch_and(object, value, memory_order_acq_rel)
#define weaker_atomic_fetch_or(object, value)                                  \
    __c11_atomic_fetch_or(object, value, memory_order_acq_rel)
#define weaker_atomic_fetch_add(object, value)                                 \
    __c11_atomic_fetch_add(object, value, memory_order_acq_rel)
#define weaker_atomic_fetch_sub(object, value)                                 \
    __c11_atomic_fetch_sub(object, value, memory_order_acq_rel)
#define weaker_atomic_compare_exchange_strong(object, expected, value)         \
    __c11_atomic_compare_exchange_strong(                                      \
        object, expected, value, memory_order_acq_rel, memory_order_acquire)
#define weaker_atomic_compare_exchange_weak                                    \
    weaker_atomic_compare_exchange_strong

/* GenMC has no copy of bytes: all items here are words. */
#define memcpy(to, from, bytes)                                                \
    (assert((bytes) == 8),                                                     \
     *(uint64_t *)(void *)(to) = *(const uint64_t *)(const void *)(from))

/* GenMC fences for it; a processor does not. */
#undef atomic_signal_fence
#define atomic_signal_fence(order) ((void)0)

#include <errno.h>
#ifndef ECANCELED
#define ECANCELED 125
#endif
#ifndef EOWNERDEAD
#define EOWNERDEAD 130
#endif
#ifndef ENOTSUP
#define ENOTSUP 95
#endif
#undef errno
#define errno weak_errno
static _Thread_local int weak_errno;

#include "os.h"
#include "park.h"

#ifdef WEAK_LOCK
/* weak_lock.c has shown what lock.h does; here it only costs time. */
#define HYI_LOCK_H
struct hyi_lock {
    _Atomic uint32_t word;
};

static inline void hyi_lock(struct hyi_lock *lock)
{
    uint32_t free = 0;

    while (!__c11_atomic_compare_exchange_strong(
        &lock->word, &free, 1, memory_order_acquire, memory_order_relaxed))
        free = 0;
}

static inline void hyi_unlock(struct hyi_lock *lock)
{
    __c11_atomic_store(&lock->word, 0, memory_order_release);
}
#else
#include "lock.h"
#endif

/* Who pauses has read what will change, and may as well have read it later. */
#undef hy_arch_pause
#define hy_arch_pause()       __VERIFIER_assume(false)
#define hyi_os_thread_yield() ((void)0)

_Thread_local unsigned hyi_locks_held; /* of builds that check more */

/* --- threads ---------------------------------------------------------------
 * Numbered by the model, for membarrier. */

enum { WEAK_THREADS = 4 };

static _Thread_local unsigned weak_self;

/* --- membarrier ------------------------------------------------------------
 * The kernel sends an interrupt to whoever runs, whose handler fences, and
 * waits for all of them. A model that wants it in full says WEAK_INTERRUPTS:
 * then each atomic load or store of a thread is a moment at which the interrupt
 * may come first, or may not have come yet. A thread that sleeps in the kernel,
 * or has ended, is quiet: it fenced on its way.
 */
#ifdef WEAK_INTERRUPTS

static _Atomic unsigned weak_asked[WEAK_THREADS][WEAK_THREADS]; /* by, of */
static _Atomic unsigned weak_acked[WEAK_THREADS][WEAK_THREADS];
static _Atomic bool weak_quiet[WEAK_THREADS];
static unsigned weak_rounds[WEAK_THREADS]; /* that each has asked for */
static unsigned weak_seen[WEAK_THREADS][WEAK_THREADS]; /* of, by */
static _Thread_local bool weak_interruptible;

static inline void weak_interrupt(void)
{
    if (!weak_interruptible)
        return;
    for (unsigned by = 0; by < WEAK_THREADS; by++) {
        unsigned asked;

        if (by == weak_self || !(WEAK_INTERRUPTS & 1u << by))
            continue;
        asked =
            __c11_atomic_load(&weak_asked[by][weak_self], memory_order_relaxed);
        if (asked == weak_seen[weak_self][by])
            continue;
        weak_seen[weak_self][by] = asked;
        __c11_atomic_thread_fence(memory_order_seq_cst);
        __c11_atomic_store(&weak_acked[by][weak_self], asked,
                           memory_order_relaxed);
    }
}

static inline void weak_be_quiet(void)
{
    __c11_atomic_thread_fence(memory_order_seq_cst);
    __c11_atomic_store(&weak_quiet[weak_self], true, memory_order_relaxed);
}

static inline void weak_be_back(void)
{
    __c11_atomic_store(&weak_quiet[weak_self], false, memory_order_relaxed);
    __c11_atomic_thread_fence(memory_order_seq_cst);
}

static inline void weak_begin(unsigned self)
{
    weak_self = self;
    weak_interruptible = true;
}

static inline void weak_end(void)
{
    weak_interruptible = false;
    weak_be_quiet();
}

int hyi_os_barrier(void)
{
    unsigned asked;

    __c11_atomic_thread_fence(memory_order_seq_cst);
    for (unsigned of = 0; of < WEAK_OTHERS; of++) {
        if (of == weak_self)
            continue;
        asked = weak_rounds[weak_self] + 1;
        __c11_atomic_store(&weak_asked[weak_self][of], asked,
                           memory_order_relaxed);
    }
    weak_rounds[weak_self]++;
    __c11_atomic_thread_fence(memory_order_seq_cst);
    for (unsigned of = 0; of < WEAK_OTHERS; of++) {
        if (of == weak_self)
            continue;
        while (__c11_atomic_load(&weak_acked[weak_self][of],
                                 memory_order_relaxed) !=
                   weak_rounds[weak_self] &&
               !__c11_atomic_load(&weak_quiet[of], memory_order_relaxed))
            ;
        /* A store, so that a loop around this one is not taken for a part of
           it: GenMC ends a round without one. */
        __c11_atomic_store(&weak_asked[weak_self][weak_self],
                           weak_rounds[weak_self], memory_order_relaxed);
    }
    __c11_atomic_thread_fence(memory_order_seq_cst);
    return 0;
}

#undef atomic_load_explicit
#define atomic_load_explicit(object, order)                                    \
    (weak_interrupt(), __c11_atomic_load(object, order))
#undef atomic_load
#define atomic_load(object)                                                    \
    (weak_interrupt(), __c11_atomic_load(object, memory_order_seq_cst))
#undef atomic_store_explicit
#define atomic_store_explicit(object, value, order)                            \
    (weak_interrupt(), __c11_atomic_store(object, value, order))

#else

/* A store, so that GenMC does not take a loop around a sleep, each round of
   which waits for another wake, for one that waits for nothing. */
static _Atomic bool weak_quiet[WEAK_THREADS];

static inline void weak_be_quiet(void)
{
    __c11_atomic_store(&weak_quiet[weak_self], true, memory_order_relaxed);
}

static inline void weak_be_back(void)
{
    __c11_atomic_store(&weak_quiet[weak_self], false, memory_order_relaxed);
}

static inline void weak_begin(unsigned self)
{
    weak_self = self;
}

static inline void weak_end(void)
{
}

#ifndef WEAK_BARRIER
#define WEAK_BARRIER 0
#endif

/* There and without effect, where a model must not need it; or refused. */
int hyi_os_barrier(void)
{
    return WEAK_BARRIER;
}

#endif

/* --- clock -----------------------------------------------------------------
 * One step, from WEAK_EARLY to WEAK_LATE, at any moment: that of weak_clock's
 * store. A deadline of WEAK_DUE lies between. */

enum { WEAK_EARLY = 2, WEAK_DUE = 3, WEAK_LATE = 4 };

static _Atomic bool weak_late;

static inline void *weak_clock(void *unused)
{
    __c11_atomic_store(&weak_late, true, memory_order_relaxed);
    return unused;
}

uint64_t hyi_os_now(void)
{
    return __c11_atomic_load(&weak_late, memory_order_relaxed) ? WEAK_LATE
                                                               : WEAK_EARLY;
}

/* --- futex -----------------------------------------------------------------
 * Queues and compares as the kernel does, with a full barrier on each side.
 * Orders nothing else: what is read after a wait needs its own acquire. */

static _Atomic unsigned weak_wakes;

int hyi_os_futex_wait(const _Atomic uint32_t *word, uint32_t expected,
                      hy_deadline until, bool shared)
{
    unsigned seen = __c11_atomic_load(&weak_wakes, memory_order_relaxed);
    int r = 0;

    (void)shared;
    __c11_atomic_thread_fence(memory_order_seq_cst);
    if (__c11_atomic_load(word, memory_order_relaxed) != expected)
        return -EAGAIN;
    weak_be_quiet();
    if (until == HY_FOREVER) {
        while (__c11_atomic_load(&weak_wakes, memory_order_relaxed) == seen)
            ;
    } else {
        while (__c11_atomic_load(&weak_wakes, memory_order_relaxed) == seen)
            if (__c11_atomic_load(&weak_late, memory_order_relaxed)) {
                r = -ETIMEDOUT;
                break;
            }
    }
    weak_be_back();
    return r;
}

void hyi_os_futex_wake(const _Atomic uint32_t *word, unsigned count,
                       bool shared)
{
    (void)word;
    (void)count;
    (void)shared;
    __c11_atomic_thread_fence(memory_order_seq_cst);
    __c11_atomic_fetch_add(&weak_wakes, 1u, memory_order_relaxed);
}

unsigned hyi_os_cpu_count(void)
{
    return 1;
}

#endif
