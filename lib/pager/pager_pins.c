/*
 * pager_pins.c - counted ranges (pager_pins.h has the picture).
 *
 * Invariant: spans are sorted, do not overlap, none is empty or has 0 pins, and
 * neighbours that touch have different counts.
 * Upstream: pager_range.c, pager_hold.c, mech_*.c. Downstream: libc.
 */
#include "pager_pins.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

int hyi_pins_init(struct hyi_pins *pins)
{
    memset(pins, 0, sizeof(*pins));
    return -pthread_mutex_init(&pins->lock, NULL);
}

void hyi_pins_destroy(struct hyi_pins *pins)
{
    free(pins->spans);
    pthread_mutex_destroy(&pins->lock);
}

/* The first span that ends after at. */
static size_t first_after(const struct hyi_pins *pins, uint64_t at)
{
    size_t low = 0, high = pins->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (pins->spans[middle].end > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void insert_at(struct hyi_pins *pins, size_t i, uint64_t start,
                      uint64_t end, uint64_t count)
{
    HYI_ASSERT(pins->count < pins->capacity);
    memmove(&pins->spans[i + 1], &pins->spans[i],
            (pins->count - i) * sizeof(pins->spans[0]));
    pins->spans[i] = (struct hyi_span){start, end, count};
    pins->count++;
}

/* Spans begin or end at at, so that no span crosses it. */
static void split_at(struct hyi_pins *pins, uint64_t at)
{
    size_t i = first_after(pins, at);

    if (i == pins->count || pins->spans[i].start >= at)
        return;
    insert_at(pins, i, pins->spans[i].start, at, pins->spans[i].pins);
    pins->spans[i + 1].start = at;
}

/* Restores the invariant: drops spans of 0 pins, joins equal neighbours. */
static void tidy(struct hyi_pins *pins)
{
    size_t to = 0;

    for (size_t i = 0; i < pins->count; i++) {
        struct hyi_span *last = to == 0 ? NULL : &pins->spans[to - 1];

        if (pins->spans[i].pins == 0)
            continue;
        if (last != NULL && last->end == pins->spans[i].start &&
            last->pins == pins->spans[i].pins)
            last->end = pins->spans[i].end;
        else
            pins->spans[to++] = pins->spans[i];
    }
    pins->count = to;
}

static int make_room(struct hyi_pins *pins, size_t more)
{
    size_t capacity = pins->capacity == 0 ? 16 : pins->capacity;
    struct hyi_span *spans;

    while (capacity < pins->count + more)
        capacity *= 2;
    if (capacity == pins->capacity)
        return 0;
    spans = realloc(pins->spans, capacity * sizeof(*spans));
    if (spans == NULL)
        return -ENOMEM;
    pins->spans = spans;
    pins->capacity = capacity;
    return 0;
}

static int add_locked(struct hyi_pins *pins, uint64_t start, uint64_t end)
{
    size_t gaps = 1;
    uint64_t at = start;

    for (size_t i = first_after(pins, start);
         i < pins->count && pins->spans[i].start < end; i++)
        gaps++;
    if (make_room(pins, gaps + 2) != 0)
        return -ENOMEM;
    split_at(pins, start);
    split_at(pins, end);
    for (size_t i = first_after(pins, start); at < end; i++) {
        if (i == pins->count || pins->spans[i].start > at) {
            uint64_t gap_end = i == pins->count || pins->spans[i].start > end
                                   ? end
                                   : pins->spans[i].start;

            insert_at(pins, i, at, gap_end, 0);
        }
        pins->spans[i].pins++;
        at = pins->spans[i].end;
    }
    tidy(pins);
    return 0;
}

int hyi_pins_add(struct hyi_pins *pins, uint64_t start, uint64_t end)
{
    int r;

    pthread_mutex_lock(&pins->lock);
    r = add_locked(pins, start, end);
    pthread_mutex_unlock(&pins->lock);
    return r;
}

static bool covers(const struct hyi_pins *pins, uint64_t start, uint64_t end)
{
    for (size_t i = first_after(pins, start); start < end; i++) {
        if (i == pins->count || pins->spans[i].start > start)
            return false;
        start = pins->spans[i].end;
    }
    return true;
}

int hyi_pins_remove(struct hyi_pins *pins, uint64_t start, uint64_t end)
{
    int r = -EINVAL;

    pthread_mutex_lock(&pins->lock);
    if (covers(pins, start, end))
        r = make_room(pins, 2);
    if (r == 0) {
        split_at(pins, start);
        split_at(pins, end);
        for (size_t i = first_after(pins, start);
             i < pins->count && pins->spans[i].start < end; i++)
            pins->spans[i].pins--;
        tidy(pins);
    }
    pthread_mutex_unlock(&pins->lock);
    return r;
}

bool hyi_pins_next(struct hyi_pins *pins, uint64_t at, uint64_t *start,
                   uint64_t *end)
{
    bool found = false;
    size_t i;

    pthread_mutex_lock(&pins->lock);
    i = first_after(pins, at);
    if (i < pins->count) {
        *start = pins->spans[i].start > at ? pins->spans[i].start : at;
        *end = pins->spans[i].end;
        found = true;
    }
    pthread_mutex_unlock(&pins->lock);
    return found;
}

bool hyi_pins_overlap(struct hyi_pins *pins, uint64_t start, uint64_t end)
{
    uint64_t pinned_start, pinned_end;

    return hyi_pins_next(pins, start, &pinned_start, &pinned_end) &&
           pinned_start < end;
}

uint64_t hyi_pins_bytes(struct hyi_pins *pins)
{
    uint64_t bytes = 0;

    pthread_mutex_lock(&pins->lock);
    for (size_t i = 0; i < pins->count; i++)
        bytes += pins->spans[i].end - pins->spans[i].start;
    pthread_mutex_unlock(&pins->lock);
    return bytes;
}
