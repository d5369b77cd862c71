/*
 * wheel.c - a timing wheel of eleven levels with 64 slots.
 *
 *      a deadline in base 64:   d10 ... d3 d2 d1 d0
 *      current in base 64:      c10 ... c3 c2 c1 c0
 *                                       ^
 *      level = the highest digit that differs, slot = the deadline's digit
 *
 *      level 0   |.|x|.|...|.|   one nanosecond a slot
 *      level 1   |.|.|x|...|.|   64 ns a slot
 *      level 2   |x|.|.|...|.|   4,096 ns a slot ...
 *
 * Invariant: a timer's level and slot follow from its deadline and current at
 * any moment, not only when it was inserted: current never passes the start of
 * a slot that holds something without emptying it downwards. So no timer
 * stores where it is, and the lowest level holds the earliest.
 *
 * Upstream: inbox.c, parker.c. Downstream: nothing.
 */
#include "wheel.h"

#include "check.h"

enum { DIGIT_BITS = 6, SCAN_MOST = 32 };

static unsigned level_of(const struct hyi_wheel *wheel, uint64_t deadline)
{
    uint64_t differing = deadline ^ wheel->current;

    return differing == 0
               ? 0
               : (63u - (unsigned)__builtin_clzll(differing)) / DIGIT_BITS;
}

static unsigned slot_of(uint64_t deadline, unsigned level)
{
    return (unsigned)(deadline >> (level * DIGIT_BITS)) & (HYI_WHEEL_SLOTS - 1);
}

/* The first moment of a slot: current's digits above it, its own, then 0. */
static uint64_t slot_start(const struct hyi_wheel *wheel, unsigned level,
                           unsigned slot)
{
    unsigned shift = level * DIGIT_BITS;
    uint64_t above = level + 1 < HYI_WHEEL_LEVELS
                         ? wheel->current >> (shift + DIGIT_BITS)
                                                 << (shift + DIGIT_BITS)
                         : 0;

    return above | (uint64_t)slot << shift;
}

static void link_in(struct hyi_wheel *wheel, struct hyi_timer *timer)
{
    unsigned level = level_of(wheel, timer->deadline);
    unsigned slot = slot_of(timer->deadline, level);
    struct hyi_timer **head = &wheel->slot[level][slot];

    timer->next = NULL;
    if (*head == NULL) {
        *head = timer;
        timer->prev = timer;
        wheel->occupied[level] |= (uint64_t)1 << slot;
        wheel->levels |= 1u << level;
        return;
    }
    timer->prev = (*head)->prev;
    timer->prev->next = timer;
    (*head)->prev = timer;
}

static void mark_empty(struct hyi_wheel *wheel, unsigned level, unsigned slot)
{
    wheel->slot[level][slot] = NULL;
    wheel->occupied[level] &= ~((uint64_t)1 << slot);
    if (wheel->occupied[level] == 0)
        wheel->levels &= ~(1u << level);
}

/* Others read it. */
static void count_by(struct hyi_wheel *wheel, size_t change)
{
    atomic_store_explicit(&wheel->count, hyi_wheel_count(wheel) + change,
                          memory_order_relaxed);
}

void hyi_wheel_insert(struct hyi_wheel *wheel, struct hyi_timer *timer)
{
    HYI_DEBUG(!hyi_timer_is_armed(timer));
    if (timer->deadline < wheel->current)
        timer->deadline = wheel->current;
    link_in(wheel, timer);
    count_by(wheel, 1);
}

void hyi_wheel_remove(struct hyi_wheel *wheel, struct hyi_timer *timer)
{
    unsigned level, slot;
    struct hyi_timer *head;

    if (!hyi_timer_is_armed(timer))
        return;
    level = level_of(wheel, timer->deadline);
    slot = slot_of(timer->deadline, level);
    head = wheel->slot[level][slot];
    HYI_ASSERT(head != NULL);
    if (head == timer) {
        if (timer->next == NULL)
            mark_empty(wheel, level, slot);
        else
            timer->next->prev = timer->prev;
        if (timer->next != NULL)
            wheel->slot[level][slot] = timer->next;
    } else {
        timer->prev->next = timer->next;
        if (timer->next != NULL)
            timer->next->prev = timer->prev;
        else
            head->prev = timer->prev;
    }
    timer->next = timer->prev = NULL;
    count_by(wheel, (size_t)-1);
}

/* Empties a slot into the levels below it. */
static void cascade(struct hyi_wheel *wheel, unsigned level, unsigned slot)
{
    struct hyi_timer *timer = wheel->slot[level][slot];

    mark_empty(wheel, level, slot);
    while (timer != NULL) {
        struct hyi_timer *next = timer->next;

        link_in(wheel, timer);
        timer = next;
    }
}

struct hyi_timer *hyi_wheel_pop(struct hyi_wheel *wheel, uint64_t now)
{
    while (wheel->levels != 0) {
        unsigned level = (unsigned)__builtin_ctz(wheel->levels);
        unsigned slot = (unsigned)__builtin_ctzll(wheel->occupied[level]);
        struct hyi_timer *head = wheel->slot[level][slot];
        uint64_t start = slot_start(wheel, level, slot);

        /* One alone, or equal ones, need no sorting further down. */
        if ((level == 0 || head->next == NULL) && head->deadline <= now) {
            hyi_wheel_remove(wheel, head);
            wheel->current = head->deadline;
            return head;
        }
        if (start > now)
            break;
        wheel->current = start;
        cascade(wheel, level, slot);
    }
    if (now > wheel->current)
        wheel->current = now;
    return NULL;
}

uint64_t hyi_wheel_next(const struct hyi_wheel *wheel)
{
    unsigned level, slot, seen = 0;
    uint64_t earliest = UINT64_MAX;

    if (wheel->levels == 0)
        return UINT64_MAX;
    level = (unsigned)__builtin_ctz(wheel->levels);
    slot = (unsigned)__builtin_ctzll(wheel->occupied[level]);
    for (const struct hyi_timer *t = wheel->slot[level][slot]; t != NULL;
         t = t->next) {
        if (++seen > SCAN_MOST)
            return slot_start(wheel, level, slot);
        if (t->deadline < earliest)
            earliest = t->deadline;
    }
    return earliest;
}
