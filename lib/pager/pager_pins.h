/*
 * pager_pins.h - which pages are pinned, and how often.
 *
 *      pages   0 ....... 8 ...... 12 ........ 20 .........
 *      spans             |  1     |    2      |              sorted, apart or
 *                                                            of unlike counts
 */
#ifndef HYI_PINS_H
#define HYI_PINS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hyi_span {
    uint64_t start, end; /* offsets in bytes */
    uint64_t pins;       /* never 0 */
};

struct hyi_pins {
    pthread_mutex_t lock;
    struct hyi_span *spans;
    size_t count, capacity;
};

int hyi_pins_init(struct hyi_pins *pins);
void hyi_pins_destroy(struct hyi_pins *pins);

int hyi_pins_add(struct hyi_pins *pins, uint64_t start, uint64_t end);
/* -EINVAL when a part of it is not pinned; then nothing changes. */
int hyi_pins_remove(struct hyi_pins *pins, uint64_t start, uint64_t end);

/* The first pinned part at or after at: its start and end; false for none. */
bool hyi_pins_next(struct hyi_pins *pins, uint64_t at, uint64_t *start,
                   uint64_t *end);
bool hyi_pins_overlap(struct hyi_pins *pins, uint64_t start, uint64_t end);
uint64_t hyi_pins_bytes(struct hyi_pins *pins);

#endif
