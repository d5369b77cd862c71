/*
 * rows.h - where an index keeps its vectors: rows in segments that double in
 * size, all inside one heap, found again from one head block.
 *
 *      head --+-- segment 0: rows 0 .. 4095
 *             +-- segment 1: rows 4096 .. 12287          (8192 rows)
 *             +-- segment 2: rows 12288 .. 28671         (16384 rows)
 *             +-- map: id -> row + 1
 *
 *      a segment, five arrays by row:
 *             ids | payloads | lives | terms | codes (SQ8 only) | floats
 *
 * Every change has a version number; a row remembers the version that it was
 * born in and the one that it was killed in. A reader takes the version of the
 * moment and sees the rows that lived in it, whatever the writer does
 * meanwhile. A row never moves, and a killed one is used again only when every
 * reader that could see it has ended. In paged memory the untouched part of a
 * segment costs addresses only.
 */
#ifndef HYI_INDEX_ROWS_H
#define HYI_INDEX_ROWS_H

#include <hyperion/heap.h>
#include <hyperion/index.h>
#include <hyperion/vec.h>
#include <stdatomic.h>

#include "id_map.h"

enum {
    SEGMENT_COUNT = 32,
    SEGMENT_FIRST_LOG2 = 12 /* rows of segment 0 */
};

/* What turns an int8 dot product into a score (scan.c has the formula). */
struct row_term {
    float scale;
    float base; /* bias + 128 * scale */
    float sum;  /* of the codes; exact below 2^24 */
    float norm; /* squared length of the floats */
};

/*
 * Written in the order killed (as it dies), born, then killed = 0 (as it is
 * used again), and read in the order killed, born: so a row that is being
 * written is never taken for the one that was there before.
 */
struct row_life {
    _Atomic uint64_t born;
    _Atomic uint64_t killed; /* 0: lives */
};

/* In the heap: one segment's arrays, as heap offsets; 0 is none. */
struct segment_place {
    uint64_t ids, payloads, lives, terms, codes, floats;
};

/* In the heap, at its root slot. */
struct index_head {
    uint64_t magic;
    uint32_t version;
    uint32_t dim;
    uint32_t metric;
    uint32_t storage;
    _Atomic uint64_t row_count; /* rows ever used */
    _Atomic uint64_t now;       /* the version; release: all of it is written */
    _Atomic uint64_t live_count; /* relaxed: a figure for anybody */
    uint64_t free_first;         /* row + 1; the next is in its id */
    uint64_t free_count;
    uint64_t map, map_capacity;
    struct segment_place segments[SEGMENT_COUNT];
};

/* In this process: the same as pointers. */
struct segment {
    uint64_t *ids;
    uint64_t *payloads;
    struct row_life *lives;
    struct row_term *terms;
    int8_t *codes;
    float *floats;
};

enum { EPOCHS = 3 };

/* Rows taken out while readers may still look at them. */
struct retired {
    uint64_t *rows;
    size_t count, capacity;
};

struct rows {
    hy_heap *heap;
    struct index_head *head;
    struct hyi_id_map map;
    size_t code_stride;  /* bytes; 0 without codes */
    size_t float_stride; /* floats */
    struct segment segments[SEGMENT_COUNT];

    /*
     * Readers count themselves in under the current epoch, modulo 3. The
     * writer goes to the next one when nobody is left in the one before, and
     * then rows retired two epochs ago are free (epoch-based reclamation,
     * Fraser 2004).
     */
    _Atomic uint64_t epoch;
    _Atomic uint64_t readers[EPOCHS];
    struct retired retired[EPOCHS];

    /* Told of each payload that no reader can come upon any more; or NULL. */
    hy_index_release release;
    void *release_ctx;
};

/* Bytes of a heap that is sure to have room for segment 0 and its map. */
uint64_t hyi_rows_bytes_min(const hy_index_options *options);

/* Opens what the root slot holds, or makes it. Errors as hy_index_create. */
int hyi_rows_open(struct rows *rows, hy_heap *heap,
                  const hy_index_options *options);

/* Gives back what hangs on this process; the heap's content stays. */
void hyi_rows_close(struct rows *rows);

/* What a row is made of. */
struct row_content {
    uint64_t id;
    uint64_t payload;
    const float *vector; /* normalised if the metric asks */
    const int8_t *codes; /* NULL without codes */
    hy_sq8 sq8;
};

int hyi_rows_insert(struct rows *rows, const struct row_content *content);
int hyi_rows_remove(struct rows *rows, uint64_t id);

/* 0, -ENOENT or -EBADMSG. The writer's. */
int hyi_rows_payload(const struct rows *rows, uint64_t id, uint64_t *payload);

/* The writer's: hands on what no reader can see any more, as far as that is so
 * by now. */
void hyi_rows_reclaim(struct rows *rows);

/* A reader's brackets: rows seen in between are not used again meanwhile. */
uint64_t hyi_rows_enter(const struct rows *rows);
void hyi_rows_leave(const struct rows *rows, uint64_t epoch);

/* Whether a row lived in version now (of which the caller is a reader). */
static inline bool has_lived(const struct row_life *life, uint64_t now)
{
    /* Acquire: pairs with the releases in rows.c. */
    uint64_t killed = atomic_load_explicit(&life->killed, memory_order_acquire);
    uint64_t born = atomic_load_explicit(&life->born, memory_order_acquire);

    return born <= now && (killed == 0 || killed > now);
}

static inline uint64_t segment_rows(unsigned segment)
{
    return (uint64_t)1 << (SEGMENT_FIRST_LOG2 + segment);
}

/* The first row of a segment. */
static inline uint64_t segment_first(unsigned segment)
{
    return segment_rows(segment) - segment_rows(0);
}

static inline unsigned segment_of(uint64_t row)
{
    return 63u - (unsigned)__builtin_clzll(row + segment_rows(0)) -
           SEGMENT_FIRST_LOG2;
}

#endif
