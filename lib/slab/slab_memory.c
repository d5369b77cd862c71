/*
 * slab_memory.c - where chunks come from, and how one is found by address.
 *
 *      segment (system)   | chunk | chunk | chunk | not handed out yet |
 *      metadata piece     | header, words | header, words | ...         |
 *      table              address / chunk bytes -> header
 *
 * From the system chunks are cut out of segments of reserved addresses; one
 * that is given back is decommitted and keeps its place and its header. From a
 * backing they come one by one; one that is given back leaves the table.
 *
 * Headers and tables are never freed before the slab is: whoever looks up a
 * pointer reads them without a lock.
 *
 * Invariant: held_bytes is what the backing gave and did not get back, or the
 * committed chunks of the segments, plus the metadata; never above the limit.
 * Upstream: slab_cache.c. Downstream: os.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "os.h"
#include "poison.h"
#include "slab_layout.h"

enum {
    SEGMENT_BYTES = 32 << 20,
    PIECE_BYTES = 4096, /* of metadata, at least */
    TABLE_MIN = 64,
    /* Entries for each chunk, so that the first probe, which is all that the
     * fast path does, nearly always finds it. */
    TABLE_SHARE = 4
};

#define KEY_NONE UINT64_MAX
#define KEY_GONE (UINT64_MAX - 1)

/* --- the table ------------------------------------------------------------ */

static struct hyi_slab_table *table_create(uint64_t capacity,
                                           struct hyi_slab_table *older)
{
    struct hyi_slab_table *table;
    int saved = errno;

    table = malloc(sizeof(*table) + capacity * sizeof(table->entries[0]));
    errno = saved;
    if (table == NULL)
        return NULL;
    table->older = older;
    table->capacity = capacity;
    table->used = 0;
    for (uint64_t i = 0; i < capacity; i++) {
        table->entries[i].key = KEY_NONE;
        table->entries[i].chunk = NULL;
    }
    return table;
}

static void table_insert(struct hyi_slab_table *table, uint64_t key,
                         struct hy_slab_chunk *chunk)
{
    uint64_t mask = table->capacity - 1, i = key & mask;

    while (table->entries[i].key != KEY_NONE)
        i = (i + 1) & mask;
    __atomic_store_n(&table->entries[i].chunk, chunk, __ATOMIC_RELAXED);
    /* Release: pairs with the acquire in every look-up. */
    __atomic_store_n(&table->entries[i].key, key, __ATOMIC_RELEASE);
    table->used++;
}

static struct hy_slab_entry *table_find(struct hyi_slab_table *table,
                                        uint64_t key)
{
    uint64_t mask = table->capacity - 1;

    for (uint64_t i = key & mask;; i = (i + 1) & mask) {
        uint64_t found =
            __atomic_load_n(&table->entries[i].key, __ATOMIC_ACQUIRE);

        if (found == key)
            return &table->entries[i];
        if (found == KEY_NONE)
            return NULL;
    }
}

/* Makes sure that one more chunk can be inserted. */
static bool table_has_room(hy_slab *slab)
{
    struct hyi_slab_table *old = atomic_load(&slab->table), *table;
    uint64_t capacity = TABLE_MIN;

    if (old != NULL && (old->used + 1) * TABLE_SHARE <= old->capacity)
        return true;
    while (capacity < (slab->chunk_count + 1) * TABLE_SHARE * 2)
        capacity *= 2;
    table = table_create(capacity, old);
    if (table == NULL)
        return false;
    for (uint64_t i = 0; old != NULL && i < old->capacity; i++)
        if (old->entries[i].key < KEY_GONE)
            table_insert(table, old->entries[i].key, old->entries[i].chunk);
    /* Release: pairs with the acquire in hyi_slab_find. */
    atomic_store(&slab->table, table);
    return true;
}

struct hy_slab_chunk *hyi_slab_find(const hy_slab *slab, const void *p)
{
    struct hyi_slab_table *table = atomic_load(&slab->table);
    struct hy_slab_entry *entry;

    if (table == NULL)
        return NULL;
    entry = table_find(table, (uintptr_t)p >> slab->shift);
    if (entry == NULL)
        return NULL;
    return __atomic_load_n(&entry->chunk, __ATOMIC_RELAXED);
}

/* --- taking and giving ---------------------------------------------------- */

static bool may_hold(const hy_slab *slab, uint64_t bytes)
{
    return slab->limit_bytes == 0 ||
           hyi_range_fits(slab->held_bytes, bytes, slab->limit_bytes);
}

static void hold(hy_slab *slab, uint64_t bytes)
{
    slab->held_bytes += bytes;
    if (slab->held_bytes > slab->peak_held_bytes)
        slab->peak_held_bytes = slab->held_bytes;
}

static void *memory_acquire(hy_slab *slab, size_t bytes, size_t align)
{
    void *p = NULL;

    if (!slab->has_backing)
        return hyi_os_reserve(&p, bytes, HYI_OS_READ | HYI_OS_WRITE, NULL,
                              false) == 0
                   ? p
                   : NULL;
    p = slab->backing.acquire(slab->backing.ctx, bytes, align);
    if (p == NULL || hyi_is_aligned((uintptr_t)p, align))
        return p;
    slab->backing.release(slab->backing.ctx, p, bytes);
    return NULL;
}

static void memory_release(hy_slab *slab, void *p, size_t bytes)
{
    if (slab->has_backing)
        slab->backing.release(slab->backing.ctx, p, bytes);
    else
        hyi_os_release(p, bytes);
}

static struct hyi_slab_piece *piece_create(hy_slab *slab, size_t bytes,
                                           size_t align)
{
    int saved = errno;
    struct hyi_slab_piece *piece = malloc(sizeof(*piece));

    errno = saved;
    if (piece == NULL)
        return NULL;
    piece->memory = memory_acquire(slab, bytes, align);
    if (piece->memory == NULL) {
        free(piece);
        return NULL;
    }
    piece->bytes = bytes;
    piece->cursor = piece->memory;
    piece->end = piece->cursor + bytes;
    return piece;
}

/* --- headers -------------------------------------------------------------- */

/* Metadata for an eighth more chunks. */
static size_t metadata_piece_bytes(const hy_slab *slab)
{
    uint64_t chunks = slab->chunk_count / 8 + 1;

    return (size_t)hyi_align_up(chunks * slab->header_bytes, PIECE_BYTES);
}

bool hyi_slab_limit_suffices(const hy_slab *slab)
{
    return slab->limit_bytes == 0 ||
           slab->chunk_bytes + metadata_piece_bytes(slab) <= slab->limit_bytes;
}

static struct hy_slab_chunk *header_create(hy_slab *slab)
{
    struct hyi_slab_piece *piece = slab->metadata;
    struct hy_slab_chunk *chunk = slab->spare;

    if (chunk != NULL) {
        slab->spare = chunk->next;
        return chunk;
    }
    if (piece == NULL ||
        (uint64_t)(piece->end - piece->cursor) < slab->header_bytes) {
        size_t bytes = metadata_piece_bytes(slab);

        if (!may_hold(slab, bytes))
            return NULL;
        piece = piece_create(slab, bytes, 64);
        if (piece == NULL)
            return NULL;
        piece->next = slab->metadata;
        slab->metadata = piece;
        slab->metadata_bytes += bytes;
        hold(slab, bytes);
    }
    chunk = (struct hy_slab_chunk *)(void *)piece->cursor;
    piece->cursor += slab->header_bytes;
    memset(chunk, 0, slab->header_bytes);
    chunk->owner = HYI_SLAB_VACANT;
    chunk->all = slab->chunks;
    slab->chunks = chunk;
    return chunk;
}

static void header_destroy(hy_slab *slab, struct hy_slab_chunk *chunk)
{
    chunk->base = NULL;
    chunk->next = slab->spare;
    slab->spare = chunk;
}

/* --- chunks --------------------------------------------------------------- */

/* Reserves addresses for chunks, fewer when there are not enough. */
static struct hyi_slab_piece *segment_create(hy_slab *slab)
{
    uint64_t chunk = slab->chunk_bytes, bytes = SEGMENT_BYTES;
    struct hyi_slab_piece *piece = NULL;

    if (slab->limit_bytes != 0 && slab->limit_bytes < bytes)
        bytes = hyi_align_up(slab->limit_bytes, chunk);
    if (bytes < chunk)
        bytes = chunk;
    for (; piece == NULL && bytes >= chunk; bytes /= 2)
        piece = piece_create(slab, (size_t)(bytes + chunk), 1);
    if (piece == NULL)
        return NULL;
    piece->cursor += (0 - (uintptr_t)piece->cursor) & (chunk - 1);
    piece->next = slab->segments;
    slab->segments = piece;
    return piece;
}

static char *chunk_memory_acquire(hy_slab *slab)
{
    struct hyi_slab_piece *piece = slab->segments;
    char *base;

    if (slab->has_backing)
        return memory_acquire(slab, (size_t)slab->chunk_bytes,
                              (size_t)slab->chunk_bytes);
    if (piece == NULL ||
        (uint64_t)(piece->end - piece->cursor) < slab->chunk_bytes)
        piece = segment_create(slab);
    if (piece == NULL)
        return NULL;
    base = piece->cursor;
    piece->cursor += slab->chunk_bytes;
    return base;
}

static struct hy_slab_chunk *chunk_create(hy_slab *slab)
{
    struct hy_slab_chunk *chunk;

    if (!table_has_room(slab))
        return NULL;
    chunk = header_create(slab);
    if (chunk == NULL)
        return NULL;
    /* Asked again: the header may have needed a piece. */
    if (may_hold(slab, slab->chunk_bytes))
        chunk->base = chunk_memory_acquire(slab);
    if (chunk->base == NULL) {
        header_destroy(slab, chunk);
        return NULL;
    }
    hyi_slab_bits_reset(slab, chunk);
    hyi_slab_owner_set(chunk, HYI_SLAB_EMPTY);
    table_insert(atomic_load(&slab->table),
                 (uintptr_t)chunk->base >> slab->shift, chunk);
    return chunk;
}

struct hy_slab_chunk *hyi_slab_grow(hy_slab *slab)
{
    struct hy_slab_chunk *chunk = slab->vacant.first;

    if (!may_hold(slab, slab->chunk_bytes))
        return NULL;
    if (chunk != NULL) {
        hyi_slab_list_remove(&slab->vacant, chunk);
        hyi_slab_owner_set(chunk, HYI_SLAB_EMPTY);
    } else {
        chunk = chunk_create(slab);
        if (chunk == NULL)
            return NULL;
    }
    slab->chunk_count++;
    hold(slab, slab->chunk_bytes);
    hyi_poison(chunk->base, (size_t)slab->chunk_bytes);
    return chunk;
}

int hyi_slab_shrink(hy_slab *slab, struct hy_slab_chunk *chunk)
{
    struct hy_slab_entry *entry;
    int r = 0;

    if (!slab->has_backing)
        r = hyi_os_decommit(chunk->base, (size_t)slab->chunk_bytes);
    if (r != 0)
        return r;
    hyi_unpoison(chunk->base, (size_t)slab->chunk_bytes);
    hyi_slab_owner_set(chunk, HYI_SLAB_VACANT);
    slab->chunk_count--;
    slab->held_bytes -= slab->chunk_bytes;
    if (!slab->has_backing) {
        hyi_slab_list_push(&slab->vacant, chunk);
        return 0;
    }
    entry = table_find(atomic_load(&slab->table),
                       (uintptr_t)chunk->base >> slab->shift);
    HYI_ASSERT(entry != NULL);
    __atomic_store_n(&entry->key, KEY_GONE, __ATOMIC_RELAXED);
    memory_release(slab, chunk->base, (size_t)slab->chunk_bytes);
    header_destroy(slab, chunk);
    return 0;
}

/* --- the end -------------------------------------------------------------- */

static void pieces_destroy(hy_slab *slab, struct hyi_slab_piece *piece)
{
    while (piece != NULL) {
        struct hyi_slab_piece *next = piece->next;

        memory_release(slab, piece->memory, piece->bytes);
        free(piece);
        piece = next;
    }
}

void hyi_slab_memory_destroy(hy_slab *slab)
{
    struct hyi_slab_table *table = atomic_load(&slab->table);

    for (struct hy_slab_chunk *c = slab->chunks; c != NULL; c = c->all) {
        if (c->base == NULL)
            continue;
        hyi_unpoison(c->base, (size_t)slab->chunk_bytes);
        if (slab->has_backing)
            memory_release(slab, c->base, (size_t)slab->chunk_bytes);
    }
    pieces_destroy(slab, slab->segments);
    pieces_destroy(slab, slab->metadata);
    while (table != NULL) {
        struct hyi_slab_table *older = table->older;

        free(table);
        table = older;
    }
}
