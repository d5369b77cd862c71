/*
 * sync.h - waiting for each other, between fibers and plain threads alike.
 *
 * Each type is used by value and starts as all zero bytes:
 *
 *      static hy_mutex lock;
 *      hy_cond changed = {{0}};
 *
 * It must not be moved while somebody uses it, and needs no destroying. Every
 * waiting call takes an absolute deadline; with HY_NOW it only tries. Results:
 * 0, -ETIMEDOUT, -ECANCELED (a cancelled fiber that would have to wait),
 * -EDEADLK, -EPERM (not the owner), -EINVAL for NULL. Waiters are served first
 * in, first out. Any thread, any fiber; no signal handler. A runtime that is
 * destroyed with a fiber waiting leaves what it waits in unusable, and what it
 * had locked is locked for ever; so is what a fiber or a thread still holds
 * when it ends. fork: as with POSIX mutexes, what another thread held or was
 * waiting in is that way in the child for ever, and what a fiber had locked is
 * not the child's to unlock.
 *
 * Memory order: an unlock, signal, post, set or done happens before the return
 * of the wait it ends.
 */
#ifndef HYPERION_SYNC_H
#define HYPERION_SYNC_H

#include <hyperion/base.h>

HY_BEGIN_DECLS

/** A lock with an owner, a fiber or a thread. */
typedef struct hy_mutex {
    uint64_t word[4];
} hy_mutex;

/** Waiting for a condition that a mutex guards. */
typedef struct hy_cond {
    uint64_t word[4];
} hy_cond;

/** A counting semaphore. */
typedef struct hy_sem {
    uint64_t word[4];
} hy_sem;

/** A flag that is waited for: set, it lets everybody through. */
typedef struct hy_event {
    uint64_t word[4];
} hy_event;

/** Counts things in progress; waited for until there are none. */
typedef struct hy_wait_group {
    uint64_t word[4];
} hy_wait_group;

/**
 * Locks. When the mutex is free this never waits, not even when cancelled.
 * -EDEADLK: the caller holds it; or it would wait for somebody who, directly or
 * through others, waits for the caller: owners of mutexes and fibers that are
 * joined, of all runtimes, and plain threads. (Who is in hy_cond_wait waits for
 * the owner of its mutex.) Of those who close such a cycle
 * at the same time exactly one is told. A deadline, here or in the others'
 * calls, makes no difference; a call with HY_NOW closes nothing. What the
 * caller holds it still holds: it should let go of some of it. It costs a look
 * at each of those in the way, and nothing when the mutex is free.
 * @return 0, -ETIMEDOUT, -ECANCELED, -EDEADLK, -EINVAL.
 */
HY_API int hy_mutex_lock(hy_mutex *m, hy_deadline until);

/**
 * Unlocks; the first in the queue becomes the owner.
 * @return 0, -EPERM when the caller does not hold it, -EINVAL.
 */
HY_API int hy_mutex_unlock(hy_mutex *m);

/**
 * Unlocks m, waits for a signal, locks m again: it is held on every return
 * (but -EPERM and -EINVAL), and locking it again neither times out nor is
 * cancelled, nor is it refused. A return of 0 follows a signal meant for this
 * waiter, yet the condition may have changed since: check it in a loop.
 *
 * Who holds another mutex meanwhile can be in a cycle of waits: until this call
 * returns it waits for the owner of m, before the signal too. So the others are
 * refused: hy_mutex_lock and hy_fiber_join return -EDEADLK to who holds m and
 * would wait, directly or through others, for one who waits here with m.
 * @return 0, -ETIMEDOUT, -ECANCELED, -EPERM when the caller does not hold m,
 * -EINVAL.
 */
HY_API int hy_cond_wait(hy_cond *c, hy_mutex *m, hy_deadline until);

/** Wakes the longest waiter, if any. @return 0 or -EINVAL. */
HY_API int hy_cond_signal(hy_cond *c);

/** Wakes all that wait now. @return 0 or -EINVAL. */
HY_API int hy_cond_broadcast(hy_cond *c);

/**
 * Takes one unit, waiting for it.
 * @return 0, -ETIMEDOUT, -ECANCELED, -EINVAL.
 */
HY_API int hy_sem_wait(hy_sem *s, hy_deadline until);

/** Adds count units. @return 0, -EOVERFLOW above 2^31-1 units, -EINVAL. */
HY_API int hy_sem_post(hy_sem *s, unsigned count);

/** Waits until the event is set. @return 0, -ETIMEDOUT, -ECANCELED, -EINVAL. */
HY_API int hy_event_wait(hy_event *e, hy_deadline until);

/** Sets the event and wakes all its waiters. @return 0 or -EINVAL. */
HY_API int hy_event_set(hy_event *e);

/** Unsets it, for waits from now on. @return 0 or -EINVAL. */
HY_API int hy_event_reset(hy_event *e);

/**
 * Adds count things in progress (before the thing that will call done starts).
 * @return 0, -EOVERFLOW above 2^31-1, -EINVAL.
 */
HY_API int hy_wait_group_add(hy_wait_group *g, unsigned count);

/** One of them is done; the last wakes all waiters. @return 0, -EPERM when none
 * was in progress, -EINVAL. */
HY_API int hy_wait_group_done(hy_wait_group *g);

/** Waits until none is in progress. @return 0, -ETIMEDOUT, -ECANCELED, -EINVAL.
 */
HY_API int hy_wait_group_wait(hy_wait_group *g, hy_deadline until);

HY_END_DECLS

#endif
