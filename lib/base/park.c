/*
 * park.c - waiting for plain threads, and the entry points that a runtime's
 * worker redirects to its own parker (park.h has the protocol and the states).
 *
 *      waiter.state is the futex word: a thread sleeps while it is PARKED.
 *
 * Invariant: after the exchange in wake_thread the waiter's bytes are not
 * touched; its address alone goes to the futex, where a stale one is harmless.
 * Upstream: ring, pager, sync. Downstream: os.h.
 */
#include "park.h"

#include <errno.h>

#include "check.h"
#include "os.h"

_Thread_local const struct hyi_parker *hyi_parker_self
    __attribute__((tls_model("initial-exec")));

#if HY_DEBUG >= 1
_Thread_local unsigned hyi_locks_held
    __attribute__((tls_model("initial-exec")));

__attribute__((noinline)) void hyi_locks_change(unsigned change)
{
    hyi_locks_held += change;
}
#endif

static void wake_thread(struct hyi_waiter *waiter)
{
    _Atomic uint32_t *word = &waiter->state;

    /* Release: what the waker did is seen by the acquire in park_thread. */
    if (atomic_exchange_explicit(word, HYI_WAITER_WOKEN,
                                 memory_order_release) == HYI_WAITER_PARKED)
        hyi_os_futex_wake(word, 1, false);
}

static int park_thread(struct hyi_waiter *waiter, hy_deadline until)
{
    uint32_t state = HYI_WAITER_ARMED;

    /* Acquire, here and below: pairs with the exchange in wake_thread. */
    if (!atomic_compare_exchange_strong_explicit(
            &waiter->state, &state, HYI_WAITER_PARKED, memory_order_acquire,
            memory_order_acquire))
        return 0;
    for (;;) {
        int r =
            hyi_os_futex_wait(&waiter->state, HYI_WAITER_PARKED, until, false);

        state = atomic_load_explicit(&waiter->state, memory_order_acquire);
        if (state == HYI_WAITER_WOKEN)
            return 0;
        if (r != -ETIMEDOUT)
            continue;
        state = HYI_WAITER_PARKED;
        if (atomic_compare_exchange_strong_explicit(
                &waiter->state, &state, HYI_WAITER_ARMED, memory_order_acquire,
                memory_order_acquire))
            return -ETIMEDOUT;
        return 0;
    }
}

__attribute__((noinline)) uint64_t hyi_now(void)
{
    const struct hyi_parker *parker = hyi_parker_self;

    return parker != NULL ? parker->now() : hyi_os_now();
}

const char *const hyi_wait_names[HYI_WAITS] = {
    "",        "sleep",      "join",      "mutex",     "cond",        "sem",
    "event",   "wait group", "chan send", "chan recv", "chan select", "ring",
    "runtime", "offload"};

const char *hyi_wait_name(enum hyi_wait wait)
{
    return (unsigned)wait < HYI_WAITS ? hyi_wait_names[wait] : "";
}

__attribute__((noinline)) void hyi_waiter_init(struct hyi_waiter *waiter,
                                               enum hyi_wait wait)
{
    const struct hyi_parker *parker = hyi_parker_self;

    atomic_init(&waiter->state, HYI_WAITER_ARMED);
    waiter->wake = wake_thread;
    waiter->sleeper = waiter->home = NULL;
    waiter->link = 0;
    waiter->observed = false;
    waiter->wait = (uint8_t)wait;
    waiter->next = waiter->prev = NULL;
    waiter->user = 0;
    if (parker != NULL)
        parker->init(waiter);
}

static __attribute__((noinline)) int park(struct hyi_waiter *waiter,
                                          hy_deadline until, bool cancellable)
{
    const struct hyi_parker *parker = hyi_parker_self;

    HYI_DEBUG(hyi_locks_held == 0);
    if (parker != NULL)
        return parker->park(waiter, until, cancellable);
    return park_thread(waiter, until);
}

int hyi_park(struct hyi_waiter *waiter, hy_deadline until)
{
    return park(waiter, until, true);
}

void hyi_park_claimed(struct hyi_waiter *waiter)
{
    int r = park(waiter, HY_FOREVER, false);

    HYI_ASSERT(r == 0);
}

__attribute__((noinline)) int hyi_wait_word(const _Atomic uint32_t *word,
                                            uint32_t expected,
                                            hy_deadline until)
{
    const struct hyi_parker *parker = hyi_parker_self;
    int r;

    if (parker != NULL && parker->wait_word != NULL)
        return parker->wait_word(word, expected, until);
    r = hyi_os_futex_wait(word, expected, until, true);
    return r == -ETIMEDOUT ? r : 0;
}

void hyi_wake(struct hyi_waiter *waiter)
{
    waiter->wake(waiter);
}
