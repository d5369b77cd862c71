/*
 * pager_table.h - one word a cluster, sparse.
 *
 *      used   1 bit a leaf:  0 1 0 0 1 ...      level 1: what to look at
 *      words  |leaf 0|leaf 1|leaf 2| ...        level 2: reserved for all
 *                                               clusters, a page of memory a
 *                                               leaf, there once written
 *
 * A word that was never written is 0: closed and clean. Words change under the
 * layout lock; they are atomic because statistics read them without.
 */
#ifndef HYI_TABLE_H
#define HYI_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HYI_OPEN = 1 << 0,  /* its pages can be written without a trap */
    HYI_DIRTY = 1 << 1, /* may have been written since the last checkpoint */
    HYI_SAVING = 1 << 2 /* handed out to the checkpoint that is running */
};

struct hyi_table {
    _Atomic uint32_t *words;
    _Atomic uint64_t *used;
    uint64_t count;      /* of words */
    uint64_t leaf_words; /* a power of two */
    size_t words_bytes, used_bytes;
};

int hyi_table_init(struct hyi_table *table, uint64_t count);
void hyi_table_destroy(struct hyi_table *table);

uint32_t hyi_table_get(const struct hyi_table *table, uint64_t at);
void hyi_table_set(struct hyi_table *table, uint64_t at, uint32_t word);

/* The first at or after at with any of these bits; count when there is none.
 * Skips leaves that were never written. */
uint64_t hyi_table_find(const struct hyi_table *table, uint64_t at,
                        uint32_t bits);

#endif
