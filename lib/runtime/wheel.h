/*
 * wheel.h - the deadlines of one worker: a hierarchical timing wheel (Varghese
 * and Lauck, SOSP 1987) with a tick of one nanosecond, so that nothing is
 * rounded. Insert and remove take constant time; a timer moves at most ten
 * times before it is due.
 *
 * Threads: one at a time, but for hyi_wheel_count. A struct of zero bytes
 * is an empty wheel at time 0.
 */
#ifndef HYI_WHEEL_H
#define HYI_WHEEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HYI_WHEEL_LEVELS = 11, HYI_WHEEL_SLOTS = 64 };

/* Lies in what it belongs to; all zero when in no wheel. */
struct hyi_timer {
    uint64_t deadline;
    struct hyi_timer *next; /* NULL at the tail */
    struct hyi_timer *prev; /* the head's is the tail */
};

struct hyi_wheel {
    uint64_t current; /* no timer in the wheel is due before this */
    _Atomic size_t count;
    uint32_t levels;                     /* bit l: level l is not empty */
    uint64_t occupied[HYI_WHEEL_LEVELS]; /* bit s: slot s is not empty */
    struct hyi_timer *slot[HYI_WHEEL_LEVELS][HYI_WHEEL_SLOTS];
};

/* By any thread. */
static inline size_t hyi_wheel_count(const struct hyi_wheel *wheel)
{
    return atomic_load_explicit(&wheel->count, memory_order_relaxed);
}

static inline bool hyi_timer_is_armed(const struct hyi_timer *timer)
{
    return timer->prev != NULL;
}

/* timer->deadline is set; one in the past is due at once. */
void hyi_wheel_insert(struct hyi_wheel *wheel, struct hyi_timer *timer);

/* Nothing when it is not armed. */
void hyi_wheel_remove(struct hyi_wheel *wheel, struct hyi_timer *timer);

/* Takes out the earliest timer that is due at now, or NULL. Timers come out in
   order of deadline, equal ones first in, first out. */
struct hyi_timer *hyi_wheel_pop(struct hyi_wheel *wheel, uint64_t now);

/* When to look again: the earliest deadline, or a little before it when many
   stand in one slot; UINT64_MAX when empty. */
uint64_t hyi_wheel_next(const struct hyi_wheel *wheel);

#endif
