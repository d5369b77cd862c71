/*
 * weak_park.c - a plain thread that waits (lib/base/park.c) and a waker, a late
 * one included. The waiter's memory goes as soon as the sleeper returns.
 *
 *      sleeper: publish the waiter, park        waker: claim it, wake
 *      WEAK_CASE 1: for ever      2: until a deadline
 */
#include "weak.h"

#include "../../lib/base/park.c"

static struct hyi_waiter *_Atomic slot;
static int given; /* not atomic: seen by who was woken */

static void *waker(void *unused)
{
    struct hyi_waiter *w = atomic_exchange(&slot, NULL);

    if (w != NULL) {
        given = 1;
        hyi_wake(w);
    }
    return unused;
}

static void *sleeper(void *unused)
{
    struct hyi_waiter *w = malloc(sizeof(*w));
    int r;

    hyi_waiter_init(w, HYI_WAIT_SLEEP);
    atomic_exchange(&slot, w);
    r = hyi_park(w, WEAK_CASE == 2 ? WEAK_DUE : HY_FOREVER);
    if (r != 0) {
        assert(r == -ETIMEDOUT);
        if (atomic_exchange(&slot, NULL) == NULL) {
            hyi_park_claimed(w);
            r = 0;
        }
    }
    if (r == 0)
        assert(given == 1);
    free(w);
    return unused;
}

int main(void)
{
    pthread_t t[3];

    pthread_create(&t[0], NULL, sleeper, NULL);
    while (WEAK_CASE == 1 && atomic_load(&slot) == NULL)
        ;
    pthread_create(&t[1], NULL, waker, NULL);
    if (WEAK_CASE == 2)
        pthread_create(&t[2], NULL, weak_clock, NULL);
    for (int i = 0; i < (WEAK_CASE == 2 ? 3 : 2); i++)
        pthread_join(t[i], NULL);
    return 0;
}
