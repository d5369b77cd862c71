/*
 * lock.h - the small lock under queues and tables: held for a few dozen
 * instructions, never across a park (debug builds count it), so it may block
 * the thread. After
 * U. Drepper, "Futexes Are Tricky", mutex 2.
 *
 *      0 free    1 held    2 held, and somebody may sleep
 */
#ifndef HYI_LOCK_H
#define HYI_LOCK_H

#include <stdatomic.h>

#include "arch.h"
#include "check.h"
#include "os.h"
#include "park.h"

struct hyi_lock {
    _Atomic uint32_t word;
};

#if HY_DEBUG >= 1
#define HYI_LOCKS_HELD(change) hyi_locks_change(change)
#else
#define HYI_LOCKS_HELD(change) ((void)0)
#endif

static inline bool hyi_lock_try(struct hyi_lock *lock)
{
    uint32_t free = 0;

    /* Acquire: pairs with the release in hyi_unlock. */
    return atomic_compare_exchange_strong_explicit(
        &lock->word, &free, 1, memory_order_acquire, memory_order_relaxed);
}

static inline void hyi_lock(struct hyi_lock *lock)
{
    HYI_LOCKS_HELD(1u);
    if (HYI_LIKELY(hyi_lock_try(lock)))
        return;
    for (int i = 0; i < 64; i++) {
        hy_arch_pause();
        if (hyi_lock_try(lock))
            return;
    }
    while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0)
        hyi_os_futex_wait(&lock->word, 2, HY_FOREVER, false);
}

static inline void hyi_unlock(struct hyi_lock *lock)
{
    HYI_LOCKS_HELD(-1u);
    /* The lock's memory may be gone right after the exchange: what follows
       uses its address alone. */
    if (atomic_exchange_explicit(&lock->word, 0, memory_order_release) == 2)
        hyi_os_futex_wake(&lock->word, 1, false);
}

#endif
