/*
 * sample.h - reading the figures of what a monitor watches.
 * Upstream: monitor.c. Downstream: the public ..._stats_get functions.
 */
#ifndef HYI_SAMPLE_H
#define HYI_SAMPLE_H

#include <hyperion/monitor.h>
#include <stdbool.h>

struct hyi_watched {
    hy_monitor_kind kind;
    const void *object;
    char name[HY_MONITOR_NAME]; /* "" = the object's own, or its kind */
};

/* How many of a kind a sample holds; 0 for what is no kind. */
unsigned hyi_sample_room(hy_monitor_kind kind);

/* Adds the figures of one object; they fit, since no more are watched. Without
 * costly, what takes longer is left out: the heat of pagers, and slabs. */
void hyi_sample_add(hy_monitor_sample *s, const struct hyi_watched *w,
                    bool costly);

/* Those of the process: faults, memory, patch sites, version. */
void hyi_sample_process(hy_monitor_sample *s);

#endif
