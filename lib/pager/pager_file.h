/*
 * pager_file.h - a pager's file.
 *
 *      0        header   what this is; never changes
 *      P        slot     } how far it got: two, written in turn, so that a torn
 *      2 P      slot     } one leaves the other
 *      16 P     home     every page at its place, sparse
 *      16 P + B log      transactions
 *
 * P is the page size, B the bytes of the pager. Numbers are in the byte order
 * of the machine; the magic tells a foreign one.
 *
 * The newest slot says: home holds transaction `sequence`, whole. The next one,
 * sequence + 1, if there is any, begins in the log at log_at:
 *
 *      ack      written when the rest is known to be on the disk
 *      chunk    index block (page numbers and sums), then the pages
 *      ...
 *      commit   how many chunks, and a fold of their sums
 *
 * One sync after the commit makes it durable. Then the ack is written and
 * synced, then the pages go home and are synced, then a slot is written. So:
 *
 *      complete              -> it is copied home (again)
 *      incomplete, no ack    -> the crash came first: it never was
 *      incomplete, but ack   -> it was durable and is damaged: -EBADMSG
 *
 * A slot may be lost in a crash until the next sync; the transaction that it
 * confirms must be intact until then. So the next one is written behind it, and
 * the log begins at its start again only after a sync (hyi_log_begin).
 */
#ifndef HYI_PAGER_FILE_H
#define HYI_PAGER_FILE_H

#include <hyperion/base.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HYI_STAGE_BYTES = 1 << 20 };

/* A block of the file: one page, its sum over all of it with sum = 0. */
struct hyi_block {
    uint64_t magic;
    uint64_t sequence; /* header: version */
    uint64_t number;   /* header: page bytes; slot: generation; chunk: its
                          place; commit: chunks */
    uint64_t count;    /* header: home offset; slot: bytes of the pager; chunk:
                          pages; commit: pages */
    uint64_t fold;     /* header: id; slot: log_at; commit: fold of the sums */
    uint64_t sum;
    uint64_t reserved[2];
};

struct hyi_entry {
    uint64_t page; /* number of the page */
    uint64_t sum;
};

struct hyi_file {
    int fd; /* -1: none */
    bool read_only;
    size_t page_bytes;
    uint64_t bytes;      /* of the pager */
    uint64_t home;       /* offset of the home pages */
    uint64_t id;         /* seeds every sum: blocks of another file never fit */
    uint64_t generation; /* of the newest slot */
    uint64_t sequence;   /* home holds it */
    uint64_t log_at;     /* where the next transaction begins */
    uint64_t wrap_bytes; /* the log begins again behind this */
    bool pending;        /* transaction sequence + 1 is durable, not home */
    bool slot_stale;     /* no slot on the disk says where log_at is */
    bool slot_unsynced;  /* the newest slot may be in the page cache alone */
    /* The transaction that is being written or read. */
    uint64_t at; /* next block, relative to the log */
    uint64_t chunks, pages, fold;
    size_t staged; /* pages in stage, behind its index block */
    char *stage;   /* HYI_STAGE_BYTES and a page */
    hy_report report;
    char path[512]; /* for reports; shortened */
};

/* --- pager_file.c --------------------------------------------------------- */

/* Opens, creates, locks, checks. bytes 0: as many as the file has, and -EINVAL
 * where there is none to tell. *file is complete but for recovery. */
int hyi_file_open(struct hyi_file *file, const char *path, uint64_t bytes,
                  unsigned flags, const hy_report *report);
void hyi_file_close(struct hyi_file *file);

/* The log is done with and empty: the file ends with the home pages. */
int hyi_file_trim(struct hyi_file *file);
int hyi_file_grow(struct hyi_file *file, uint64_t bytes);

int hyi_file_sync(struct hyi_file *file);
/* Not synced: until the next sync a crash may bring the older one back. Syncs
 * first when that one is not known to be on the disk: never are both at stake.
 */
int hyi_file_slot_write(struct hyi_file *file);
/* The log begins at its start again, and a slot on the disk says so. */
int hyi_file_wrap(struct hyi_file *file);
int hyi_file_read(const struct hyi_file *file, uint64_t offset, void *buffer,
                  size_t bytes);
int hyi_file_write(struct hyi_file *file, uint64_t offset, const void *buffer,
                   size_t bytes);
void hyi_block_seal(const struct hyi_file *file, struct hyi_block *block);
bool hyi_block_is_whole(const struct hyi_file *file, struct hyi_block *block);
void hyi_file_report(const struct hyi_file *file, int level, const char *format,
                     ...) __attribute__((format(printf, 3, 4)));

/* --- pager_log.c
 * ---------------------------------------------------------------- */

size_t hyi_log_chunk_pages(const struct hyi_file *file);

/* Writing: begin, add each page, commit; or abort at any point before. */
int hyi_log_begin(struct hyi_file *file);
/* The place in the stage for the next page's content. */
void *hyi_log_stage(struct hyi_file *file);
int hyi_log_add(struct hyi_file *file, uint64_t page); /* what is staged */
int hyi_log_commit(struct hyi_file *file);             /* 0: durable */
void hyi_log_abort(struct hyi_file *file);

/* Looks for a transaction: 1 complete, 0 none, -EBADMSG damaged. */
int hyi_log_find(struct hyi_file *file);

/* Hands the transaction that was found or committed to place, in runs of
 * neighbouring pages. */
typedef int (*hyi_log_place)(void *ctx, uint64_t page, uint64_t count,
                             const void *content);
int hyi_log_each(struct hyi_file *file, hyi_log_place place, void *ctx);

/* Copies it home and confirms that. */
int hyi_log_apply(struct hyi_file *file);

#endif
