/*
 * weak_lock.c - the small lock (lib/runtime/lock.h): one at a time, what was
 * written under it is seen by the next, and nobody sleeps while it is free.
 *
 *      WEAK_CASE 1: two threads, twice each      2: three threads, once each
 */
#include "weak.h"

static struct hyi_lock lock;
static int count; /* not atomic */

static void *user(void *unused)
{
    for (int i = 0; i < (WEAK_CASE == 1 ? 2 : 1); i++) {
        hyi_lock(&lock);
        count++;
        hyi_unlock(&lock);
    }
    return unused;
}

int main(void)
{
    pthread_t t[3];
    int n = 0;

    for (; n < (WEAK_CASE == 1 ? 2 : 3); n++)
        pthread_create(&t[n], NULL, user, NULL);
    while (n > 0)
        pthread_join(t[--n], NULL);
    assert(count == (WEAK_CASE == 1 ? 4 : 3));
    return 0;
}
