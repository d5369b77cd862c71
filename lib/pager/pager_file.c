/*
 * pager_file.c - opening, creating, locking and growing a pager's file
 * (pager_file.h has the picture).
 *
 * Invariant: a file that is not ours, or that another has open, is not written.
 * Upstream: pager_reserve.c. Downstream: pager_log.c, checksum.c, os.h.
 */
#include "pager_file.h"

#include <errno.h>
#include <fcntl.h>
#include <hyperion/pager.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bits.h"
#include "check.h"
#include "checksum.h"
#include "options.h"
#include "os.h"

#define MAGIC_HEADER UINT64_C(0x314741507950480a) /* "\nHPyPAG1" */
#define MAGIC_SLOT   UINT64_C(0x544f4c5379504850)

enum { VERSION = 1, HOME_PAGES = 16, CREATE_TRIES = 16 };

/* Beyond this much log, one sync more is cheaper than the space. */
enum { WRAP_BYTES = 16 << 20 };

void hyi_file_report(const struct hyi_file *file, int level, const char *format,
                     ...)
{
    char text[768];
    va_list list;
    int n;

    if (file->report.write == NULL)
        return;
    n = snprintf(text, sizeof(text), "pager: %s: ", file->path);
    va_start(list, format);
    vsnprintf(text + n, sizeof(text) - (size_t)n, format, list);
    va_end(list);
    file->report.write(file->report.ctx, level, text);
}

/* --- reading, writing, sums ----------------------------------------------- */

int hyi_file_read(const struct hyi_file *file, uint64_t offset, void *buffer,
                  size_t bytes)
{
    char *at = buffer;

    while (bytes != 0) {
        ssize_t n = pread(file->fd, at, bytes, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -ENODATA;
        at += n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return 0;
}

int hyi_file_write(struct hyi_file *file, uint64_t offset, const void *buffer,
                   size_t bytes)
{
    const char *at = buffer;

    while (bytes != 0) {
        ssize_t n = pwrite(file->fd, at, bytes, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        at += n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return 0;
}

static uint64_t sum_of(const struct hyi_file *file, struct hyi_block *block)
{
    uint64_t kept = block->sum, sum;

    block->sum = 0;
    sum = hyi_checksum(block, file->page_bytes, file->id);
    block->sum = kept;
    return sum;
}

void hyi_block_seal(const struct hyi_file *file, struct hyi_block *block)
{
    block->sum = sum_of(file, block);
}

bool hyi_block_is_whole(const struct hyi_file *file, struct hyi_block *block)
{
    return sum_of(file, block) == block->sum;
}

static struct hyi_block *clean_block(struct hyi_file *file)
{
    memset(file->stage, 0, file->page_bytes);
    return (struct hyi_block *)file->stage;
}

/* --- header and slots ----------------------------------------------------- */

static int header_write(struct hyi_file *file)
{
    struct hyi_block *b = clean_block(file);
    uint64_t id = file->id;

    b->magic = MAGIC_HEADER;
    b->sequence = VERSION;
    b->number = file->page_bytes;
    b->count = file->home;
    b->fold = id;
    file->id = 0; /* the header's own sum cannot need what it tells */
    hyi_block_seal(file, b);
    file->id = id;
    return hyi_file_write(file, 0, b, file->page_bytes);
}

static int header_read(struct hyi_file *file)
{
    struct hyi_block *b = clean_block(file);
    int r = hyi_file_read(file, 0, b, file->page_bytes);

    if (r != 0 && r != -ENODATA)
        return r;
    if (r != 0 || b->magic != MAGIC_HEADER) {
        hyi_file_report(file, HY_REPORT_ERROR, "not a pager file");
        return -EBADMSG;
    }
    if (b->number != file->page_bytes) {
        hyi_file_report(file, HY_REPORT_ERROR,
                        "made on a machine with other pages than %zu bytes",
                        file->page_bytes);
        return -ENOTSUP;
    }
    file->id = 0;
    if (!hyi_block_is_whole(file, b) || b->count != file->home) {
        hyi_file_report(file, HY_REPORT_ERROR, "damaged header (bytes 0-%zu)",
                        file->page_bytes - 1);
        return -EBADMSG;
    }
    if (b->sequence != VERSION) {
        hyi_file_report(file, HY_REPORT_ERROR,
                        "format version %llu, this library knows %d",
                        (unsigned long long)b->sequence, VERSION);
        return -ENOTSUP;
    }
    file->id = b->fold;
    return 0;
}

int hyi_file_sync(struct hyi_file *file)
{
    int r = hyi_os_file_sync(file->fd);

    if (r == 0)
        file->slot_unsynced = false;
    return r;
}

int hyi_file_slot_write(struct hyi_file *file)
{
    struct hyi_block *b = clean_block(file);
    uint64_t generation = file->generation + 1;
    int r = file->slot_unsynced ? hyi_file_sync(file) : 0;

    if (r != 0)
        return r;
    b->magic = MAGIC_SLOT;
    b->sequence = file->sequence;
    b->number = generation;
    b->count = file->bytes;
    b->fold = file->log_at;
    hyi_block_seal(file, b);
    r = hyi_file_write(file, (1 + generation % 2) * file->page_bytes, b,
                       file->page_bytes);
    if (r != 0)
        return r; /* torn at worst: the other one is whole, and on the disk */
    file->generation = generation;
    file->slot_unsynced = true;
    return 0;
}

/* One slot: 1 when it is whole and newer than what is known. */
static int slot_read(struct hyi_file *file, unsigned which)
{
    struct hyi_block *b = clean_block(file);
    int r = hyi_file_read(file, (1 + which) * file->page_bytes, b,
                          file->page_bytes);

    if (r != 0 && r != -ENODATA)
        return r;
    if (r != 0 || b->magic != MAGIC_SLOT || !hyi_block_is_whole(file, b) ||
        b->number % 2 != which || b->count == 0 ||
        !hyi_is_aligned(b->count, file->page_bytes) ||
        !hyi_is_aligned(b->fold, file->page_bytes)) {
        hyi_file_report(file, HY_REPORT_WARNING,
                        "one of two state blocks is torn or damaged (byte "
                        "%zu)",
                        (1 + which) * file->page_bytes);
        return 0;
    }
    if (b->number <= file->generation)
        return 1;
    file->generation = b->number;
    file->sequence = b->sequence;
    file->bytes = b->count;
    file->log_at = b->fold;
    return 1;
}

static int slots_read(struct hyi_file *file)
{
    int first, second;

    file->generation = 0;
    file->slot_unsynced = true; /* who wrote it may have been killed */
    first = slot_read(file, 0);
    if (first < 0)
        return first;
    second = slot_read(file, 1);
    if (second < 0)
        return second;
    if (first == 1 || second == 1)
        return 0;
    hyi_file_report(file, HY_REPORT_ERROR, "both state blocks are damaged");
    return -EBADMSG;
}

/* --- creating ------------------------------------------------------------- */

static uint64_t new_id(const struct hyi_file *file)
{
    struct stat s = {0};
    uint64_t mix[4];

    fstat(file->fd, &s);
    mix[0] = hyi_os_now();
    mix[1] = (uint64_t)getpid();
    mix[2] = (uint64_t)s.st_ino;
    mix[3] = (uint64_t)time(NULL);
    return hyi_checksum(mix, sizeof(mix), 0) | 1;
}

/* The header comes last and alone: what lacks it is no pager file. */
static int fill_new(struct hyi_file *file, uint64_t bytes)
{
    int r;

    file->bytes = bytes;
    file->sequence = 0;
    file->log_at = 0;
    file->generation = 0;
    file->id = new_id(file);
    if (ftruncate(file->fd, (off_t)(file->home + bytes)) != 0)
        return -errno;
    for (int i = 0; i < 2; i++) {
        r = hyi_file_slot_write(file);
        if (r != 0)
            return r;
    }
    r = hyi_file_sync(file);
    if (r == 0)
        r = header_write(file);
    if (r == 0)
        r = hyi_file_sync(file);
    return r;
}

/* open, but never in place of a closed standard file: what the program prints
 * would be written into the store. */
static int open_above_standard(const char *path, int flags)
{
    int fd = open(path, flags, 0666);
    int higher;

    if (fd < 0 || fd > STDERR_FILENO)
        return fd;
    higher = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    close(fd);
    return higher;
}

/* A new file appears under its name when it is complete: -EEXIST when somebody
 * else's did first. */
static int create(struct hyi_file *file, const char *path, uint64_t bytes)
{
    size_t room = strlen(path) + 48;
    char *name = malloc(room);
    int r;

    if (name == NULL)
        return -ENOMEM;
    snprintf(name, room, "%s.new-%lld-%llx", path, (long long)getpid(),
             (unsigned long long)hyi_os_now());
    file->fd = open_above_standard(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC);
    r = file->fd < 0 ? -errno : hyi_os_file_lock(file->fd, true);
    if (r == 0)
        r = fill_new(file, bytes);
    if (r == 0 && link(name, path) != 0)
        r = -errno;
    if (file->fd >= 0)
        unlink(name);
    free(name);
    if (r == 0)
        r = hyi_os_directory_sync(path);
    return r;
}

/* --- opening -------------------------------------------------------------- */

static int open_existing(struct hyi_file *file, const char *path, bool *empty)
{
    struct stat s;
    int r;

    file->fd = open_above_standard(path, (file->read_only ? O_RDONLY : O_RDWR) |
                                             O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file->fd < 0)
        return -errno;
    if (fstat(file->fd, &s) != 0)
        return -errno;
    if (S_ISDIR(s.st_mode))
        return -EISDIR;
    if (!S_ISREG(s.st_mode)) {
        hyi_file_report(file, HY_REPORT_ERROR, "not a regular file");
        return -EBADMSG;
    }
    r = hyi_os_file_lock(file->fd, !file->read_only);
    if (r == -EBUSY)
        hyi_file_report(file, HY_REPORT_ERROR,
                        "open elsewhere: one writer, or readers");
    /* What counts is its size now that it is locked. */
    if (r == 0 && fstat(file->fd, &s) != 0)
        return -errno;
    *empty = s.st_size == 0;
    return r;
}

static int check_existing(struct hyi_file *file, uint64_t bytes)
{
    struct stat s;
    int r = header_read(file);

    if (r == 0)
        r = slots_read(file);
    if (r != 0)
        return r;
    if (fstat(file->fd, &s) != 0)
        return -errno;
    if ((uint64_t)s.st_size < file->home ||
        (uint64_t)s.st_size - file->home < file->bytes) {
        hyi_file_report(file, HY_REPORT_ERROR,
                        "truncated: %lld bytes where %llu are needed",
                        (long long)s.st_size,
                        (unsigned long long)(file->home + file->bytes));
        return -EBADMSG;
    }
    if (bytes != 0 &&
        (bytes < file->bytes || (file->read_only && bytes > file->bytes))) {
        hyi_file_report(
            file, HY_REPORT_ERROR, "has %llu bytes, and %llu were asked for",
            (unsigned long long)file->bytes, (unsigned long long)bytes);
        return -EINVAL;
    }
    return 0;
}

static int open_or_create(struct hyi_file *file, const char *path,
                          uint64_t bytes, bool may_create)
{
    bool empty = false;
    int r = -EEXIST;

    for (int i = 0; i < CREATE_TRIES && r == -EEXIST; i++) {
        r = open_existing(file, path, &empty);
        if (r == -ENOENT && may_create) {
            r = bytes != 0 ? create(file, path, bytes) : -EINVAL;
            if (r == 0)
                return 0;
        }
        if (r != 0 && file->fd >= 0) {
            close(file->fd);
            file->fd = -1;
        }
    }
    if (r == -EEXIST)
        return -ENOENT; /* a link that leads nowhere */
    if (r == 0 && empty && may_create && bytes == 0)
        return -EINVAL;
    if (r == 0 && empty && may_create) {
        r = fill_new(file, bytes);
        if (r != 0 && ftruncate(file->fd, 0) != 0)
            hyi_file_report(file, HY_REPORT_WARNING,
                            "could not be emptied again");
        return r;
    }
    return r == 0 ? check_existing(file, bytes) : r;
}

int hyi_file_open(struct hyi_file *file, const char *path, uint64_t bytes,
                  unsigned flags, const hy_report *report)
{
    void *stage;
    int r;

    memset(file, 0, sizeof(*file));
    file->fd = -1;
    file->read_only = flags & HY_PAGER_READ_ONLY;
    file->page_bytes = hyi_os_page_bytes();
    file->home = HOME_PAGES * file->page_bytes;
    file->wrap_bytes = WRAP_BYTES;
    file->report = *report;
    hyi_name_copy(file->path, sizeof(file->path), path);
    if (bytes > (uint64_t)INT64_MAX / 2)
        return -EFBIG;
    r = hyi_os_reserve(&stage, HYI_STAGE_BYTES + file->page_bytes,
                       HYI_OS_READ | HYI_OS_WRITE, NULL, false);
    if (r != 0)
        return -ENOMEM;
    file->stage = stage;
    r = open_or_create(file, path, bytes, flags & HY_PAGER_CREATE);
    if (r != 0)
        hyi_file_close(file);
    return r;
}

void hyi_file_close(struct hyi_file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    if (file->stage != NULL)
        hyi_os_release(file->stage, HYI_STAGE_BYTES + file->page_bytes);
    file->fd = -1;
    file->stage = NULL;
}

int hyi_file_wrap(struct hyi_file *file)
{
    int r;

    /* A slot that could not be written may be on the disk all the same: there
     * is no way back, and no transaction before one is known to be there. */
    file->log_at = 0;
    file->slot_stale = true;
    r = hyi_file_slot_write(file);
    if (r == 0)
        r = hyi_file_sync(file);
    file->slot_stale = r != 0;
    return r;
}

int hyi_file_trim(struct hyi_file *file)
{
    struct stat s;
    int r;

    HYI_ASSERT(!file->pending);
    if (fstat(file->fd, &s) != 0)
        return -errno;
    if (file->log_at == 0 && !file->slot_stale &&
        (uint64_t)s.st_size == file->home + file->bytes)
        return 0;
    r = hyi_file_wrap(file);
    if (r != 0)
        return r;
    return ftruncate(file->fd, (off_t)(file->home + file->bytes)) == 0 ? 0
                                                                       : -errno;
}

/* The log is empty and cut off, so that the new pages are zero. */
int hyi_file_grow(struct hyi_file *file, uint64_t bytes)
{
    int r;

    HYI_ASSERT(file->log_at == 0 && bytes > file->bytes);
    if (ftruncate(file->fd, (off_t)(file->home + bytes)) != 0)
        return -errno;
    r = hyi_file_sync(file);
    if (r != 0)
        return r;
    file->bytes = bytes;
    r = hyi_file_slot_write(file);
    return r != 0 ? r : hyi_file_sync(file);
}
