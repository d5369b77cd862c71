/*
 * pager_impl.h - what the files of the pager share.
 *
 *      hy_pager ---- mechanism   kernel | signal: how accesses come to pages
 *          |-------- table       one word a cluster: open, dirty (signal)
 *          |-------- governor    how many mappings are left
 *          |-------- hold        writers that wait for a checkpoint
 *          |-------- pins        counted ranges that nobody may take away
 *          `-------- file        home pages and log (pager_file.h)
 *
 * Locks, outer first: command (calls that change the pager as a whole; never
 * taken by a handler), pins, layout (protections and words; taken by handlers,
 * so everybody else takes it with signals blocked).
 */
#ifndef HYI_PAGER_IMPL_H
#define HYI_PAGER_IMPL_H

#include <hyperion/pager.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "fault.h"
#include "pager_file.h"
#include "os.h"
#include "pager_pins.h"
#include "pager_table.h"
#include "process.h"

#define HYI_HUGE_BYTES ((size_t)2 << 20)

/* One instance for each mechanism; the only place where they differ. */
struct hyi_mechanism {
    unsigned id;
    /* After the mapping is made. */
    int (*start)(struct hy_pager *pager);
    void (*stop)(struct hy_pager *pager);
    /* In the handler: an access to offset. False: not ours to answer. */
    bool (*fault)(struct hy_pager *pager, uint64_t offset);
    /* Accesses to the range do not trap; for_system_calls: writes neither. */
    int (*open)(struct hy_pager *pager, uint64_t offset, uint64_t bytes,
                bool for_system_calls);
    /* Anonymous memory: the range is given back. */
    int (*discard)(struct hy_pager *pager, uint64_t offset, uint64_t bytes);
    /* With a file, between hyi_hold_begin and hyi_hold_end: no unpinned page
     * can be written. What lies below upto may be written again. */
    int (*protect)(struct hy_pager *pager);
    void (*unprotect)(struct hy_pager *pager, uint64_t from, uint64_t upto);
    /*
     * The next pages at or after *at, in order, that may differ from the file:
     * 1, and *end is their end; 0 when there are none. compare tells that they
     * may also be equal. What is handed out counts as clean from now on, until
     * dirty_again says that it did not reach the file.
     */
    int (*next_dirty)(struct hy_pager *pager, uint64_t *at, uint64_t *end,
                      bool *compare);
    void (*dirty_again)(struct hy_pager *pager);
    void (*dirty_done)(struct hy_pager *pager);
    uint64_t (*dirty_bytes)(const struct hy_pager *pager);
};

extern const struct hyi_mechanism hyi_mechanism_kernel;
extern const struct hyi_mechanism hyi_mechanism_signal;

/* How many mappings this pager has, and how many it may still make. */
struct hyi_governor {
    uint64_t limit;   /* of the process, that we stay below; UINT64_MAX: none */
    uint64_t system;  /* what the system allows; 0: it does not tell */
    uint64_t own;     /* ours, or a few more; under the layout lock */
    uint64_t others;  /* of the process, when last counted */
    uint64_t counted; /* own at that time */
};

/* Writers that wait: those of addresses at or above from. */
struct hyi_hold {
    _Atomic uint64_t from;   /* offset; UINT64_MAX: none wait */
    _Atomic uint32_t turn;   /* futex: rises when from changes */
    _Atomic uint64_t holder; /* the thread that must not wait; 0: none */
    bool frozen;             /* command lock */
    uint64_t began_ns;
};

/* Runs found by a scan and not handed out yet. */
enum { HYI_CURSOR_RUNS = 64 };
struct hyi_cursor {
    struct hyi_os_run runs[HYI_CURSOR_RUNS];
    int count, index;
    uint64_t at, end; /* offsets: what is still to be scanned */
};

struct hyi_counters {
    _Atomic uint64_t faults, commits, decommits, write_backs, checkpoints;
    _Atomic uint64_t held_ns;
    _Atomic uint64_t fault_ns[HY_PAGER_LATENCY_ROWS];
};

struct hy_pager {
    const struct hyi_mechanism *mechanism;
    char *base;
    uint64_t bytes;
    size_t page_bytes;
    size_t unit_bytes; /* of a cluster, the unit of the table */
    bool adaptive;     /* clusters grow with streams */
    bool read_only;
    bool has_file;
    bool attached;  /* to the fault registry */
    uint32_t forks; /* of the process that it belongs to */
    /* With a file, between pages that are its own and anonymous ones: */
    uint64_t seams;  /* how many borders, each a mapping more */
    bool has_copies; /* and some that are its own were read, not mapped */
    hy_report report;

    _Atomic uint32_t layout; /* futex lock: 0 free, 1 held, 2 waited for */
    struct hyi_table table;  /* signal mechanism */
    struct hyi_governor governor;
    _Atomic uint64_t stream_end;   /* hint: where the last fault's run ended */
    _Atomic uint64_t stream_units; /* hint: and how long it was */

    int scanner;              /* hyi_os_scan; -1 */
    int watch;                /* hyi_os_watch; -1 */
    bool compare_all;         /* the watch does not know of every change */
    struct hyi_cursor cursor; /* of next_dirty; command lock */

    pthread_mutex_t command;
    struct hyi_hold hold;
    struct hyi_pins pins;
    struct hyi_file file;
    char *compare; /* HYI_STAGE_BYTES: home content beside the memory's */
    struct hyi_counters counters;
};

/* --- pager_reserve.c
 * ------------------------------------------------------------ */

/* In a child of fork, which has neither the memory nor who holds the locks. */
static inline bool hyi_pager_is_stale(const struct hy_pager *pager)
{
    return pager->forks != hyi_process_forks();
}

/* 0, -EINVAL, -ESTALE, -ERANGE; aligned: misaligned ranges are refused. */
int hyi_pager_range(const struct hy_pager *pager, uint64_t offset,
                    uint64_t bytes, bool aligned);

/* --- pager_extents.c
 * ------------------------------------------------------------ */

/* Lays the file over anonymous memory, where it holds anything. */
int hyi_extents_map(struct hy_pager *pager, int protection);

/*
 * For the signal mechanism, one write before a mapping is ever split: all its
 * parts then share the kernel's reverse map (anon_vma), without which parts
 * that were written apart never join again, and the governor's runs swallow
 * nothing. The page at offset is dropped again.
 */
int hyi_extents_prime(const struct hy_pager *pager, uint64_t offset,
                      int protection);

/* The next pages from *at to limit that the file holds anything of: 1, and *at
 * is their end; 0 when there are none, or an error. */
int hyi_extent_next(const struct hy_pager *pager, uint64_t *at, uint64_t limit,
                    uint64_t *start, uint64_t *end);

/* --- fault entry, pager_hold.c
 * -------------------------------------------------- */

/* The fault function of every pager that traps. */
bool hyi_pager_fault(void *ctx, const struct hyi_fault *fault);

/*
 * Whether it is worth running the instruction again: false when the same
 * access has faulted many times with nothing changed in between.
 */
bool hyi_pager_may_retry(struct hy_pager *pager, uint64_t offset);

/* True: waited for, or nothing to wait for. False: this thread holds it. */
bool hyi_hold_wait(struct hy_pager *pager, uint64_t offset);
int hyi_hold_begin(struct hy_pager *pager);
void hyi_hold_release(struct hy_pager *pager, uint64_t upto);
void hyi_hold_end(struct hy_pager *pager);

/* The next part at or after *at without pins, pins rounded out to align: true
 * and *start, *end; *at moves on. */
bool hyi_gap_next(struct hy_pager *pager, uint64_t align, uint64_t *at,
                  uint64_t *start, uint64_t *end);

/* --- pager_cursor.c
 * ------------------------------------------------------------- */

void hyi_cursor_start(struct hyi_cursor *cursor, uint64_t at, uint64_t end);
/* 1 and the next run of pages of this kind, 0 at the end, or an error. */
int hyi_cursor_next(struct hy_pager *pager, enum hyi_os_scan_kind kind,
                    uint64_t *start, uint64_t *end);
/* Bytes of this kind in a range, by a cursor of its own. */
int hyi_scan_bytes(const struct hy_pager *pager, enum hyi_os_scan_kind kind,
                   uint64_t at, uint64_t end, uint64_t *bytes);

/* --- pager_layout.c
 * ------------------------------------------------------------- */

void hyi_layout_lock(struct hy_pager *pager); /* in the handler */
void hyi_layout_unlock(struct hy_pager *pager);
void hyi_layout_enter(struct hy_pager *pager, sigset_t *old); /* elsewhere */
void hyi_layout_leave(struct hy_pager *pager, const sigset_t *old);

/* --- pager_governor.c (layout lock)
 * --------------------------------------------- */

void hyi_governor_init(struct hyi_governor *g, uint64_t own);
void hyi_governor_count(struct hyi_governor *g);
/* Mappings that may still be made. */
uint64_t hyi_governor_room(const struct hyi_governor *g);
/* Units that one isolated access should open, a power of two. */
uint64_t hyi_governor_units(struct hy_pager *pager);

/* --- pager_checkpoint.c
 * --------------------------------------------------------- */

/* A page that others may be writing, in pieces of 8 bytes. */
void hyi_page_copy(void *to, const void *from, size_t bytes);

#endif
