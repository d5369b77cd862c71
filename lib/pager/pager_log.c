/*
 * pager_log.c - transactions of a pager's file: written, found again, copied
 * home (pager_file.h has the format and the reasons).
 *
 *      stage   | index block | page | page | page | ...     one chunk
 *              ^ entries     ^ filled by the caller
 *
 * Invariant: nothing is written home before the whole transaction, and the ack
 * that says so, are known to be on the disk.
 * Upstream: pager_checkpoint.c, pager_reserve.c. Downstream: pager_file.c,
 * os.h.
 */
#include <errno.h>
#include <string.h>

#include "check.h"
#include "checksum.h"
#include "os.h"
#include "pager_file.h"

#define MAGIC_ACK    UINT64_C(0x31304b4341504850)
#define MAGIC_CHUNK  UINT64_C(0x4b4e554843504850)
#define MAGIC_COMMIT UINT64_C(0x54494d4d43504850)

static struct hyi_block *index_of(struct hyi_file *file)
{
    return (struct hyi_block *)file->stage;
}

static struct hyi_entry *entries_of(struct hyi_file *file)
{
    return (struct hyi_entry *)(file->stage + sizeof(struct hyi_block));
}

static uint64_t log_offset(const struct hyi_file *file, uint64_t at)
{
    return file->home + file->bytes + at;
}

/* Order matters: swapped chunks give another fold. */
static uint64_t fold(uint64_t so_far, uint64_t sum)
{
    return (so_far << 7 | so_far >> 57) ^ sum;
}

size_t hyi_log_chunk_pages(const struct hyi_file *file)
{
    size_t fits = (file->page_bytes - sizeof(struct hyi_block)) /
                  sizeof(struct hyi_entry);
    size_t staged = HYI_STAGE_BYTES / file->page_bytes;

    return fits < staged ? fits : staged;
}

/* --- writing -------------------------------------------------------------- */

int hyi_log_begin(struct hyi_file *file)
{
    HYI_ASSERT(!file->pending);
    if (file->log_at > file->wrap_bytes || file->slot_stale) {
        int r = hyi_file_wrap(file);

        if (r != 0)
            return r;
    }
    file->at = file->log_at + file->page_bytes; /* behind the ack */
    file->chunks = file->pages = file->fold = 0;
    file->staged = 0;
    return 0;
}

void *hyi_log_stage(struct hyi_file *file)
{
    return file->stage + (1 + file->staged) * file->page_bytes;
}

static int write_chunk(struct hyi_file *file)
{
    struct hyi_block *b = index_of(file);
    size_t bytes = (1 + file->staged) * file->page_bytes;
    size_t used = sizeof(*b) + file->staged * sizeof(struct hyi_entry);
    int r;

    memset(b, 0, sizeof(*b));
    memset((char *)b + used, 0, file->page_bytes - used);
    b->magic = MAGIC_CHUNK;
    b->sequence = file->sequence + 1;
    b->number = file->chunks;
    b->count = file->staged;
    hyi_block_seal(file, b);
    r = hyi_file_write(file, log_offset(file, file->at), b, bytes);
    if (r != 0)
        return r;
    file->fold = fold(file->fold, b->sum);
    file->at += bytes;
    file->chunks++;
    file->pages += file->staged;
    file->staged = 0;
    return 0;
}

int hyi_log_add(struct hyi_file *file, uint64_t page)
{
    struct hyi_entry *entry = &entries_of(file)[file->staged];

    entry->page = page;
    entry->sum =
        hyi_checksum(hyi_log_stage(file), file->page_bytes, file->id ^ page);
    if (++file->staged < hyi_log_chunk_pages(file))
        return 0;
    return write_chunk(file);
}

static void clean_stage(struct hyi_file *file, uint64_t magic)
{
    struct hyi_block *b = index_of(file);

    memset(b, 0, file->page_bytes);
    b->magic = magic;
    b->sequence = file->sequence + 1;
    b->number = file->chunks;
    b->count = file->pages;
    b->fold = file->fold;
    hyi_block_seal(file, b);
}

/* Disk space at home, so that a durable transaction never lacks it. Each chunk
 * lists its pages in order: neighbours are asked for together. */
static int allocate_home(struct hyi_file *file)
{
    uint64_t at = file->log_at + file->page_bytes, first = 0, count = 0;
    struct hyi_entry *entries = entries_of(file);
    int r = 0;

    for (uint64_t chunk = 0; chunk < file->chunks && r == 0; chunk++) {
        r = hyi_file_read(file, log_offset(file, at), file->stage,
                          file->page_bytes);
        if (r != 0)
            return r;
        for (uint64_t i = 0; i < index_of(file)->count && r == 0; i++) {
            if (count != 0 && entries[i].page == first + count) {
                count++;
                continue;
            }
            if (count != 0)
                r = hyi_os_file_allocate(file->fd,
                                         file->home + first * file->page_bytes,
                                         count * file->page_bytes);
            first = entries[i].page;
            count = 1;
        }
        at += (1 + index_of(file)->count) * file->page_bytes;
    }
    if (r == 0 && count != 0)
        r = hyi_os_file_allocate(file->fd,
                                 file->home + first * file->page_bytes,
                                 count * file->page_bytes);
    return r == -ENOTSUP ? 0 : r;
}

int hyi_log_commit(struct hyi_file *file)
{
    int r = file->staged != 0 ? write_chunk(file) : 0;

    if (r == 0)
        r = allocate_home(file);
    if (r != 0)
        return r;
    clean_stage(file, MAGIC_COMMIT);
    r = hyi_file_write(file, log_offset(file, file->at), file->stage,
                       file->page_bytes);
    if (r == 0)
        r = hyi_file_sync(file); /* the durable point */
    if (r != 0)
        return r;
    file->at += file->page_bytes;
    file->pending = true;
    return 0;
}

/* A commit block that was written, but not known to be durable, must not be
 * found by the next open: the caller was told that it failed. */
void hyi_log_abort(struct hyi_file *file)
{
    memset(file->stage, 0, file->page_bytes);
    if (hyi_file_write(file, log_offset(file, file->at), file->stage,
                       file->page_bytes) != 0 &&
        hyi_file_trim(file) != 0)
        hyi_file_report(file, HY_REPORT_WARNING,
                        "a checkpoint that failed could not be taken back");
    file->staged = 0;
}

/* --- finding -------------------------------------------------------------- */

/* A block of the next transaction at file->at: 1, or 0 when it is none. */
static int read_block(struct hyi_file *file, uint64_t at)
{
    struct hyi_block *b = index_of(file);
    int r = hyi_file_read(file, log_offset(file, at), b, file->page_bytes);

    if (r != 0)
        return r == -ENODATA ? 0 : r;
    return b->sequence == file->sequence + 1 && hyi_block_is_whole(file, b);
}

/* The pages of the chunk whose index block is staged: 1, or 0 when one of them
 * is not what the index says. */
static int read_pages(struct hyi_file *file)
{
    struct hyi_block *b = index_of(file);
    struct hyi_entry *entries = entries_of(file);
    const char *page = file->stage + file->page_bytes;
    int r;

    if (b->count == 0 || b->count > hyi_log_chunk_pages(file))
        return 0;
    r = hyi_file_read(file, log_offset(file, file->at + file->page_bytes),
                      file->stage + file->page_bytes,
                      b->count * file->page_bytes);
    if (r != 0)
        return r == -ENODATA ? 0 : r;
    for (uint64_t i = 0; i < b->count; i++, page += file->page_bytes)
        if (entries[i].page >= file->bytes / file->page_bytes ||
            hyi_checksum(page, file->page_bytes, file->id ^ entries[i].page) !=
                entries[i].sum)
            return 0;
    return 1;
}

/* The staged chunk, neighbouring pages together. */
static int place_chunk(struct hyi_file *file, hyi_log_place place, void *ctx)
{
    struct hyi_entry *entries = entries_of(file);
    uint64_t count = index_of(file)->count, first = 0;
    int r = 0;

    for (uint64_t i = 1; i <= count && r == 0; i++) {
        if (i < count && entries[i].page == entries[i - 1].page + 1)
            continue;
        r = place(ctx, entries[first].page, i - first,
                  file->stage + (1 + first) * file->page_bytes);
        first = i;
    }
    return r;
}

/* From log_at to the commit: 1 when all of it is whole, 0 when not. */
static int walk(struct hyi_file *file, hyi_log_place place, void *ctx)
{
    struct hyi_block *b = index_of(file);
    int r;

    file->at = file->log_at + file->page_bytes;
    file->chunks = file->pages = file->fold = 0;
    for (;;) {
        r = read_block(file, file->at);
        if (r != 1)
            return r;
        if (b->magic == MAGIC_COMMIT) {
            file->at += file->page_bytes;
            return b->number == file->chunks && b->count == file->pages &&
                   b->fold == file->fold && file->pages != 0;
        }
        if (b->magic != MAGIC_CHUNK || b->number != file->chunks)
            return 0;
        r = read_pages(file);
        if (r != 1)
            return r;
        r = place != NULL ? place_chunk(file, place, ctx) : 0;
        if (r != 0)
            return r;
        file->chunks++;
        file->pages += b->count;
        file->fold = fold(file->fold, b->sum);
        file->at += (1 + b->count) * file->page_bytes;
    }
}

int hyi_log_find(struct hyi_file *file)
{
    bool acknowledged;
    int r = read_block(file, file->log_at);

    if (r < 0)
        return r;
    acknowledged = r == 1 && index_of(file)->magic == MAGIC_ACK;
    r = walk(file, NULL, NULL);
    if (r == 0 && acknowledged) {
        hyi_file_report(file, HY_REPORT_ERROR,
                        "damaged log: checkpoint %llu was durable and is not "
                        "whole near byte %llu",
                        (unsigned long long)file->sequence + 1,
                        (unsigned long long)log_offset(file, file->at));
        return -EBADMSG;
    }
    file->pending = r == 1;
    return r;
}

int hyi_log_each(struct hyi_file *file, hyi_log_place place, void *ctx)
{
    int r = walk(file, place, ctx);

    HYI_ASSERT(file->pending);
    if (r == 0) {
        hyi_file_report(file, HY_REPORT_ERROR,
                        "the log changed while it was read, near byte %llu",
                        (unsigned long long)log_offset(file, file->at));
        return -EBADMSG;
    }
    return r < 0 ? r : 0;
}

/* --- applying ------------------------------------------------------------- */

static int write_home(void *ctx, uint64_t page, uint64_t count,
                      const void *content)
{
    struct hyi_file *file = ctx;

    return hyi_file_write(file, file->home + page * file->page_bytes, content,
                          count * file->page_bytes);
}

static int acknowledge(struct hyi_file *file)
{
    int r;

    clean_stage(file, MAGIC_ACK);
    r = hyi_file_write(file, log_offset(file, file->log_at), file->stage,
                       file->page_bytes);
    return r != 0 ? r : hyi_file_sync(file);
}

int hyi_log_apply(struct hyi_file *file)
{
    uint64_t kept = file->log_at;
    int r = acknowledge(file);

    if (r == 0)
        r = hyi_log_each(file, write_home, file);
    if (r == 0)
        r = hyi_file_sync(file);
    if (r != 0)
        return r;
    file->sequence++;
    file->log_at = file->at;
    r = hyi_file_slot_write(file);
    if (r != 0) {
        file->sequence--;
        file->log_at = kept;
        return r;
    }
    file->pending = false;
    return 0;
}
