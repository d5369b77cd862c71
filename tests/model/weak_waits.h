/*
 * weak_waits.h - the process's locks, of which waits.c takes one: by whoever
 * confirms a cycle of waits.
 *
 * Upstream: weak_join.c, weak_sync.c. Downstream: weak.h.
 */
#ifndef WEAK_WAITS_H
#define WEAK_WAITS_H

static pthread_mutex_t confirming;

void hyi_process_lock(enum hyi_process_lock which)
{
    (void)which;
    pthread_mutex_lock(&confirming);
}

void hyi_process_unlock(enum hyi_process_lock which)
{
    (void)which;
    pthread_mutex_unlock(&confirming);
}

#endif
