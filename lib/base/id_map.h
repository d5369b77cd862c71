/*
 * id_map.h - a hash table from 64-bit ids to non-zero 64-bit values over an
 * array that the caller owns: open addressing, linear probing, removal by
 * shifting back (Knuth, TAOCP vol. 3, 6.4, algorithm R). The array holds no
 * pointer, so it may live in a file; its owner makes it larger by copying.
 *
 *      entries  | id value | - 0 | id value | id value | ...   capacity = 2^n
 *
 * Invariant: an entry stands between its home place and the next empty one,
 * and at least a quarter of the places are empty. One thread at a time.
 */
#ifndef HYI_ID_MAP_H
#define HYI_ID_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hyi_id_entry {
    uint64_t id;
    uint64_t value; /* 0: the place is empty */
};

struct hyi_id_map {
    struct hyi_id_entry *entries; /* all zero at first */
    uint64_t capacity;            /* a power of two, or 0 */
    uint64_t count;
};

/* True when an insert must be preceded by hyi_id_map_copy to a larger one. */
static inline bool hyi_id_map_is_full(const struct hyi_id_map *map)
{
    return (map->count + 1) * 4 > map->capacity * 3;
}

/* The value of id, or 0; UINT64_MAX when the table is damaged: no place is
 * empty. Then nothing may be put or removed. */
uint64_t hyi_id_map_find(const struct hyi_id_map *map, uint64_t id);

/* Inserts or replaces; value is not 0. Gives the value it had, or 0. */
uint64_t hyi_id_map_put(struct hyi_id_map *map, uint64_t id, uint64_t value);

/* Gives the value it had, or 0 when there was none. */
uint64_t hyi_id_map_remove(struct hyi_id_map *map, uint64_t id);

/* Puts every entry of from into to, which has room. */
void hyi_id_map_copy(struct hyi_id_map *to, const struct hyi_id_map *from);

#endif
