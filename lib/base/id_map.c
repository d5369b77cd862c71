/*
 * id_map.c - the hash table of id_map.h.
 * Upstream: index and pipeline, whose tables live in paged memory.
 */
#include "id_map.h"

#include "bits.h"
#include "check.h"

/* The finaliser of MurmurHash3: ids are often consecutive. */
static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdu;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53u;
    return x ^ x >> 33;
}

/* The place of id, or the empty place where it would go; NULL when there is
 * neither, which takes damage. */
static struct hyi_id_entry *place_of(const struct hyi_id_map *map, uint64_t id)
{
    uint64_t mask = map->capacity - 1;
    uint64_t i = mix(id) & mask;

    for (uint64_t n = 0; n < map->capacity; n++, i = (i + 1) & mask)
        if (map->entries[i].value == 0 || map->entries[i].id == id)
            return &map->entries[i];
    return NULL;
}

uint64_t hyi_id_map_find(const struct hyi_id_map *map, uint64_t id)
{
    const struct hyi_id_entry *entry;

    if (map->capacity == 0)
        return 0;
    entry = place_of(map, id);
    return entry != NULL ? entry->value : UINT64_MAX;
}

uint64_t hyi_id_map_put(struct hyi_id_map *map, uint64_t id, uint64_t value)
{
    struct hyi_id_entry *entry = place_of(map, id);
    uint64_t old;

    HYI_ASSERT(entry != NULL);
    old = entry->value;
    HYI_ASSERT(value != 0 && (old != 0 || !hyi_id_map_is_full(map)));
    map->count += old == 0;
    entry->id = id;
    entry->value = value;
    return old;
}

uint64_t hyi_id_map_remove(struct hyi_id_map *map, uint64_t id)
{
    uint64_t mask = map->capacity - 1;
    const struct hyi_id_entry *entry;
    uint64_t hole, value;

    if (map->capacity == 0)
        return 0;
    entry = place_of(map, id);
    if (entry == NULL || entry->value == 0)
        return 0;
    hole = (uint64_t)(entry - map->entries);
    value = entry->value;
    for (uint64_t n = 1, i = (hole + 1) & mask;
         n < map->capacity && map->entries[i].value != 0;
         n++, i = (i + 1) & mask) {
        uint64_t home = mix(map->entries[i].id) & mask;

        /* It may move back only if its home is not beyond the hole. */
        if (((i - home) & mask) < ((i - hole) & mask))
            continue;
        map->entries[hole] = map->entries[i];
        hole = i;
    }
    map->entries[hole] = (struct hyi_id_entry){0, 0};
    map->count--;
    return value;
}

void hyi_id_map_copy(struct hyi_id_map *to, const struct hyi_id_map *from)
{
    HYI_ASSERT(hyi_is_power_of_two(to->capacity));
    for (uint64_t i = 0; i < from->capacity; i++)
        if (from->entries[i].value != 0)
            hyi_id_map_put(to, from->entries[i].id, from->entries[i].value);
}
