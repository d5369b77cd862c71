/*
 * park.h - the one place where a thread or a fiber waits.
 *
 * A waiter lies on the sleeper's stack. It is put into some queue (a mutex's,
 * a ring's single slot), and whoever takes it out of that queue, and nobody
 * else, wakes it:
 *
 *      sleeper                              waker
 *      -------                              -----
 *      hyi_waiter_init(&w)
 *      publish &w in the queue
 *      check the condition once more
 *      hyi_park(&w, until)                  claim &w from the queue
 *        0: woken                           hyi_wake(&w)
 *        -ETIMEDOUT, -ECANCELED:
 *          take &w out of the queue;
 *          not there any more? then a
 *          waker has claimed it and is
 *          late: hyi_park_claimed(&w)
 *
 * The rule for a late waker: a waiter that was claimed is woken exactly once,
 * and its stack frame must not go before that. hyi_wake reads what it needs
 * from the waiter before its exchange of state, and touches only the address
 * of the waiter (never its bytes) after it; but a parker's wake that has found
 * its fiber parked may use it until it has made the fiber ready.
 *
 * States of waiter.state, all transitions by atomic read-modify-write:
 *
 *      ARMED --park--> PARKED --wake--> WOKEN
 *        |               |  \--deadline--> ARMED    (sleeper gives up)
 *        +------wake-----+---------------> WOKEN
 *
 * A thread waits on a futex; a runtime's worker installs its own hyi_parker,
 * whose park switches to another fiber. hyi_wake works from any thread, for
 * either kind: the waiter carries its own wake function.
 */
#ifndef HYI_PARK_H
#define HYI_PARK_H

#include <hyperion/base.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { HYI_WAITER_ARMED, HYI_WAITER_WOKEN, HYI_WAITER_PARKED };

/* What is waited for; a byte, because each fiber's slot keeps one. */
enum hyi_wait {
    HYI_WAIT_NONE,
    HYI_WAIT_SLEEP,
    HYI_WAIT_JOIN,
    HYI_WAIT_MUTEX,
    HYI_WAIT_COND,
    HYI_WAIT_SEM,
    HYI_WAIT_EVENT,
    HYI_WAIT_GROUP,
    HYI_WAIT_CHAN_SEND,
    HYI_WAIT_CHAN_RECV,
    HYI_WAIT_CHAN_SELECT,
    HYI_WAIT_RING,
    HYI_WAIT_RUNTIME,
    HYI_WAIT_OFFLOAD,
    HYI_WAITS
};

/* As monitors and debuggers show it: "mutex", "ring", ...; "" for
   HYI_WAIT_NONE. */
extern const char *const hyi_wait_names[HYI_WAITS];
const char *hyi_wait_name(enum hyi_wait wait);

struct hyi_waiter {
    _Atomic uint32_t state;
    uint8_t wait;                            /* enum hyi_wait */
    bool observed;                           /* the parker's, */
    void (*wake)(struct hyi_waiter *waiter); /* called by hyi_wake alone */
    void *sleeper;                           /* whom it wakes; the parker's, */
    void *home;                              /* where it is told, */
    uintptr_t link;                          /* and behind whom, there */
    struct hyi_waiter *next, *prev; /* belong to the queue it stands in */
    uintptr_t user;                 /* belongs to who published it */
};

_Static_assert(sizeof(struct hyi_waiter) <= 64, "a waiter fills one line");

/* Of a waiter that other processors wake: it goes to them as one line, and
   takes nothing of the sleeper's frames along, which is 13 ns of a wake. */
#define HYI_ONE_LINE __attribute__((aligned(64)))

/*
 * What a worker installs for its thread. init fills wake and sleeper; park
 * returns 0, -ETIMEDOUT, or -ECANCELED when the fiber is cancelled and
 * cancellable is true.
 */
struct hyi_parker {
    uint64_t (*now)(void);
    void (*init)(struct hyi_waiter *waiter);
    int (*park)(struct hyi_waiter *waiter, hy_deadline until, bool cancellable);
    /* As hyi_wait_word; NULL: as a thread waits. */
    int (*wait_word)(const _Atomic uint32_t *word, uint32_t expected,
                     hy_deadline until);
};

/* NULL means: this thread is a plain one and waits on a futex. */
extern _Thread_local const struct hyi_parker *hyi_parker_self
    __attribute__((tls_model("initial-exec")));

/* Small locks (lib/runtime/lock.h) that this thread holds: none, when it parks.
   Counted in debug builds, and defined there alone. */
extern _Thread_local unsigned hyi_locks_held
    __attribute__((tls_model("initial-exec")));
void hyi_locks_change(unsigned change);

/* What uses a thread-local variable is not inlined into what waits: a fiber may
   wake on another thread, and compilers keep such variables' addresses. */
uint64_t hyi_now(void);
void hyi_waiter_init(struct hyi_waiter *waiter, enum hyi_wait wait);

/* 0, -ETIMEDOUT, -ECANCELED (fibers only). Leaves errno alone. */
int hyi_park(struct hyi_waiter *waiter, hy_deadline until);

/* Waits for the wake of a waiter that was claimed; neither late nor cancelled.
 */
void hyi_park_claimed(struct hyi_waiter *waiter);

/*
 * Waits while *word, in memory that other processes may share, is as expected:
 * who changes it calls hyi_os_futex_wake for it, as shared. 0: it may be
 * another; also now and then for nothing. -ETIMEDOUT, -ECANCELED (fibers only).
 * The word stays in place until this returns. Acquires nothing.
 */
int hyi_wait_word(const _Atomic uint32_t *word, uint32_t expected,
                  hy_deadline until);

/* Once for each claimed waiter. Release: pairs with the acquire of park. */
void hyi_wake(struct hyi_waiter *waiter);

#endif
