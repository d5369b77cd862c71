/*
 * pager_layout.c - the lock under which protections and cluster words change.
 *
 *      0 free --lock--> 1 held --second locker--> 2 held, others sleep on it
 *
 * A handler takes it, so its holder must never trap, nor be interrupted by a
 * signal whose handler traps: handlers run with asynchronous signals blocked
 * (fault.c), and everybody else blocks them first.
 *
 * Invariant: between lock and unlock there is nothing but changes of protection
 * and of words.
 * Upstream: mech_signal.c, pager_stats.c. Downstream: os.h (futex).
 */
#include "pager_impl.h"

void hyi_layout_lock(struct hy_pager *pager)
{
    uint32_t free = 0;

    /* Acquire, here and below: pairs with the release in unlock. */
    if (atomic_compare_exchange_strong_explicit(&pager->layout, &free, 1,
                                                memory_order_acquire,
                                                memory_order_relaxed))
        return;
    while (atomic_exchange_explicit(&pager->layout, 2, memory_order_acquire) !=
           0)
        hyi_os_futex_wait(&pager->layout, 2, HY_FOREVER, false);
}

void hyi_layout_unlock(struct hy_pager *pager)
{
    /* Release: pairs with the acquire in lock. */
    if (atomic_exchange_explicit(&pager->layout, 0, memory_order_release) == 2)
        hyi_os_futex_wake(&pager->layout, 1, false);
}

void hyi_layout_enter(struct hy_pager *pager, sigset_t *old)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, old);
    hyi_layout_lock(pager);
}

void hyi_layout_leave(struct hy_pager *pager, const sigset_t *old)
{
    hyi_layout_unlock(pager);
    pthread_sigmask(SIG_SETMASK, old, NULL);
}
