/*
 * weak_fiber.c - a fiber that waits (parker.c), and who ends its wait: a wake
 * by another thread, a deadline, a cancel, in any order, late wakers included.
 * The real worker runs: parker_park, its inbox, its timers, and its sleep
 * (idle.c); only the change of stacks is left out, since there is one fiber and
 * the base, which runs inside of the fiber's hop.
 *
 *      WEAK_CASE   sleeper             others
 *      1           for ever            a waker
 *      2           until a deadline    a waker, the clock
 *      3           for ever            a waker, a canceller
 *      4           until a deadline    a canceller, the clock
 */
#define WEAK_WORKERS 1
#if WEAK_CASE == 3
#define WEAK_SLEEPLESS
#endif
#include "weak_worker.h"

static struct hyi_waiter *_Atomic slot;
static int given; /* not atomic: seen by who was woken */

static void *waker(void *unused)
{
    struct hyi_waiter *w;

    weak_begin(1);
    w = atomic_exchange(&slot, NULL);
    if (w != NULL) {
        given = 1;
        hyi_wake(w);
    }
    weak_end();
    return unused;
}

static void *canceller(void *unused)
{
    weak_begin(2);
    assert(cancel(&weak_fiber[0], 1) == 0);
    weak_end();
    return unused;
}

static void *sleeper(void *unused)
{
    struct hyi_waiter *w = malloc(sizeof(*w));
    bool timed = WEAK_CASE == 2 || WEAK_CASE == 4;
    int r;

    weak_worker_begin(0);
    hyi_waiter_init(w, HYI_WAIT_SLEEP);
    atomic_exchange(&slot, w);
    r = hyi_park(w, timed ? WEAK_DUE : HY_FOREVER);
    if (r != 0) {
        assert((r == -ETIMEDOUT && timed) ||
               (r == -ECANCELED && WEAK_CASE > 2));
        if (atomic_exchange(&slot, NULL) == NULL) {
            hyi_park_claimed(w);
            r = 0;
        }
    }
    if (r == 0)
        assert(given == 1);
    free(w);
    weak_worker_end(0);
    return unused;
}

int main(void)
{
    pthread_t t[3];
    int n = 0;

    weak_runtime_init();
    pthread_create(&t[n++], NULL, sleeper, NULL);
    while (WEAK_CASE == 1 && atomic_load(&slot) == NULL)
        ;
    if (WEAK_CASE != 4)
        pthread_create(&t[n++], NULL, waker, NULL);
    if (WEAK_CASE > 2)
        pthread_create(&t[n++], NULL, canceller, NULL);
    if (WEAK_CASE == 2 || WEAK_CASE == 4)
        pthread_create(&t[n++], NULL, weak_clock, NULL);
    while (n > 0)
        pthread_join(t[--n], NULL);
    return 0;
}
