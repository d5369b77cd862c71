/*
 * slab_layout.h - what a slab is made of, beside inline/slab.h.
 *
 *      slab   id | lock | table of chunks by address | lists | memory
 *                                   |
 *               chunk   owner | left | base | words: free, remote
 *
 * Who owns a chunk decides who writes its free bits and where it stands:
 *
 *      a cache     the thread's current chunk, or in its list of chunks with
 *                  room; every free bit that is not current's was freed here
 *      ORPHAN      used up by its owner; in no list. The first thread that
 *                  frees in it becomes its owner
 *      POOL        has room, in the slab's list; frees are remote
 *      EMPTY       all free, in the slab's list
 *      VACANT      its memory is given back; the header waits
 *
 *          grow, reuse                       free
 *      EMPTY ---------> cache <--------------------------- ORPHAN
 *        ^                | | used up                        ^
 *        |  all free      | +--------------------------------+
 *        +----------------+ too many, thread ended   alloc
 *        ^                +------------------------> POOL ---> cache
 *        +------------------------------------------- (trim)
 *
 * Invariant: free bits are written by the owner, or under the lock when the
 * owner is POOL, EMPTY or VACANT; remote bits are set by anybody else and taken
 * by whom the free bits belong to. An object is live when both its bits are
 * clear and it is nobody's front.
 *
 * The race that matters: an owner leaves a chunk (ORPHAN) while another thread,
 * which still saw the owner, sets a remote bit. The owner stores ORPHAN, then
 * reads the remote bits; the other sets the bit, then reads the owner; all four
 * are sequentially consistent, so one of them sees the other and takes the
 * chunk back into use.
 *
 * Locks: registry (process.h), then slab. Neither is held while a visitor, or
 * an object's owner, runs; a backing is called under the slab's.
 */
#ifndef HYI_SLAB_LAYOUT_H
#define HYI_SLAB_LAYOUT_H

#define HY_SLAB_NO_INLINE
#include <hyperion/slab.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "bits.h"
#include "check.h"
#include "process.h"

/* Owners that are no cache. ORPHAN is NULL. */
#define HYI_SLAB_ORPHAN ((struct hy_slab_cache *)0)
#define HYI_SLAB_POOL   ((struct hy_slab_cache *)8)
#define HYI_SLAB_EMPTY  ((struct hy_slab_cache *)16)
#define HYI_SLAB_VACANT ((struct hy_slab_cache *)24)

enum {
    /* left of a current chunk: it is not emptied while it is allocated from */
    HYI_SLAB_CURRENT = 1 << 30,
    /* Chunks with room that a thread keeps beside its current one. */
    HYI_SLAB_KEEP = 8,
    HYI_SLAB_KEEP_LIMITED = 1
};

struct hyi_slab_list {
    struct hy_slab_chunk *first, *last;
    uint64_t count;
};

struct hyi_slab_cache {
    struct hy_slab_cache hot; /* first: both have one address */
    struct hy_slab *slab;
    struct hy_slab_chunk *current;
    unsigned at;               /* index of the word that hot.word is in */
    struct hyi_slab_list room; /* owned, not current, something free */
    bool idle;                 /* no thread's */
    struct hyi_slab_cache *all, *next_idle;
};

/* Chunks by address: linear probing. Caches keep pointers to older ones. */
struct hyi_slab_table {
    struct hyi_slab_table *older;
    uint64_t capacity, used; /* used: entries that were ever taken */
    struct hy_slab_entry entries[];
};

/* Memory of the system or the backing that is not one chunk. */
struct hyi_slab_piece {
    struct hyi_slab_piece *next;
    void *memory; /* as it was acquired */
    size_t bytes;
    char *cursor, *end; /* what is not handed out yet */
};

struct hy_slab {
    uint64_t id; /* first: inline/slab.h reads it */

    /* constant */
    uint64_t stride, chunk_bytes, header_bytes, limit_bytes;
    unsigned shift, words;
    unsigned count; /* objects of a chunk */
    uint32_t inverse;
    unsigned keep;
    bool has_backing;
    hy_backing backing;
    hy_report report;
    char name[32];

    pthread_mutex_t lock; /* of all below */
    struct hyi_slab_table *_Atomic table;
    struct hy_slab_chunk *chunks; /* every header, by all */
    struct hyi_slab_list pool, empty, vacant;
    struct hy_slab_chunk *spare; /* headers without memory, by next */
    struct hyi_slab_piece *segments, *metadata;
    struct hyi_slab_cache *caches, *idle;
    uint64_t chunk_count, held_bytes, peak_held_bytes, metadata_bytes;

    _Atomic uint64_t refused_frees, failed_allocs, remote_frees, adopted;

    struct hy_slab *next, **link; /* in the registry, under its lock */
};

/* Where the race would strike if it were lost: a debug build lets others run
 * there, so that the tests meet it often. */
#if HY_DEBUG >= 2
#include <sched.h>
#define HYI_SLAB_WIDEN() ((void)sched_yield())
#else
#define HYI_SLAB_WIDEN() ((void)0)
#endif

/* --- bits ----------------------------------------------------------------- */

static inline struct hy_slab_word *hyi_slab_words(struct hy_slab_chunk *chunk)
{
    return (struct hy_slab_word *)(void *)(chunk + 1);
}

/* Bits of a word that stand for no object: set in remote for ever. */
static inline uint64_t hyi_slab_dead(const hy_slab *slab, unsigned word)
{
    unsigned objects = slab->count - word * 64;

    return slab->count >= word * 64 + 64 ? 0 : ~(uint64_t)0 << objects;
}

static inline struct hy_slab_cache *
hyi_slab_owner(const struct hy_slab_chunk *chunk)
{
    /* Sequentially consistent: see above; and acquire of what the owner before
     * did to the free bits. */
    return __atomic_load_n(&chunk->owner, __ATOMIC_SEQ_CST);
}

static inline void hyi_slab_owner_set(struct hy_slab_chunk *chunk,
                                      struct hy_slab_cache *owner)
{
    __atomic_store_n(&chunk->owner, owner, __ATOMIC_SEQ_CST);
}

static inline bool hyi_slab_is_cache(const struct hy_slab_cache *owner)
{
    return (uintptr_t)owner > (uintptr_t)HYI_SLAB_VACANT;
}

/* Turns remote bits into free ones; gives their number. By the owner. */
unsigned hyi_slab_collect(const hy_slab *slab, struct hy_slab_chunk *chunk);

/* Words with a live object. */
unsigned hyi_slab_words_left(const hy_slab *slab, struct hy_slab_chunk *chunk);

/* Objects that are free. */
unsigned hyi_slab_free_count(const hy_slab *slab, struct hy_slab_chunk *chunk);

/* All free, nothing remote. */
void hyi_slab_bits_reset(const hy_slab *slab, struct hy_slab_chunk *chunk);

/* The word and bit of an object by its address; false between objects. */
bool hyi_slab_bit_of(const hy_slab *slab, struct hy_slab_chunk *chunk,
                     const void *object, struct hy_slab_word **word,
                     uint64_t *bit);

/* --- lists ---------------------------------------------------------------- */

void hyi_slab_list_push(struct hyi_slab_list *list,
                        struct hy_slab_chunk *chunk); /* at the end */
void hyi_slab_list_remove(struct hyi_slab_list *list,
                          struct hy_slab_chunk *chunk);

/* --- memory (slab_memory.c); under the lock ------------------------------- */

/* The chunk of an address, or NULL. Also without the lock. */
struct hy_slab_chunk *hyi_slab_find(const hy_slab *slab, const void *p);

/* A chunk that is all free and in no list, owner EMPTY; NULL. */
struct hy_slab_chunk *hyi_slab_grow(hy_slab *slab);

/* Gives the memory of a chunk back that is in no list. 0, or what the system
 * returned: then it stays as it was. */
int hyi_slab_shrink(hy_slab *slab, struct hy_slab_chunk *chunk);

/* True when the limit, if any, holds one chunk. */
bool hyi_slab_limit_suffices(const hy_slab *slab);

void hyi_slab_memory_destroy(hy_slab *slab);

/* --- caches (slab_cache.c) ------------------------------------------------ */

/* Takes a chunk out of no list into POOL or EMPTY. Under the lock; the caller
 * is its owner. */
void hyi_slab_settle(hy_slab *slab, struct hy_slab_chunk *chunk);

/* Gives all that a cache holds back to the slab. Under the lock; by its thread,
 * or when that is no more. */
void hyi_slab_cache_drain(struct hyi_slab_cache *cache);

/* Makes the cache new. */
void hyi_slab_cache_init(struct hyi_slab_cache *cache);

/* --- threads (slab_thread.c) ---------------------------------------------- */

/* The calling thread's cache, made when it has none; NULL without memory. */
struct hyi_slab_cache *hyi_slab_cache_get(hy_slab *slab);

/* The calling thread's cache, or NULL. */
struct hyi_slab_cache *hyi_slab_cache_peek(const hy_slab *slab);

/* Gives the slab its id and the registry's care. */
int hyi_slab_register(hy_slab *slab);
void hyi_slab_unregister(hy_slab *slab);

#endif
