/*
 * read_documents.c - from paths to paragraphs (read_documents.h).
 *
 *      path -> file_list -> lines -> paragraphs
 *
 * Memory is constant: a line or paragraph longer than DOCUMENT_MAX is cut at
 * white space if there is any, else where it must be.
 */
#include "read_documents.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#ifdef HAVE_ZLIB
#include <zlib.h>
#endif

/* --- which files ------------------------------------------------------------
 */

/* What a walk through folders carries along. */
struct walk {
    struct file_list *list;
    leave_out_function leave_out;
    void *arg;
};

static int append(struct file_list *list, const char *path, uint64_t bytes)
{
    char *copy;

    if (list->count == list->capacity) {
        size_t capacity = list->capacity * 2 + 64;
        struct file *files =
            realloc(list->files, capacity * sizeof(list->files[0]));

        if (files == NULL)
            return -ENOMEM;
        list->files = files;
        list->capacity = capacity;
    }
    copy = strdup(path);
    if (copy == NULL)
        return -ENOMEM;
    list->files[list->count++] = (struct file){copy, bytes};
    list->bytes_total += bytes;
    return 0;
}

static int add_path(const struct walk *w, const char *path);

/* The path is not on the stack: folders may be two thousand deep. */
static int add_below(const struct walk *w, const char *path, const char *name)
{
    size_t room = strlen(path) + strlen(name) + 2;
    char *below = malloc(room);
    int r = 0;

    if (below == NULL)
        return -ENOMEM;
    stpcpy(stpcpy(stpcpy(below, path[1] != '\0' ? path : ""), "/"), name);
    if (room > PATH_MAX)
        w->leave_out(w->arg, below, -ENAMETOOLONG);
    else
        r = add_path(w, below);
    free(below);
    return r;
}

/* scandir closes the folder before those below it are opened. */
static int add_folder(const struct walk *w, const char *path)
{
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, NULL);
    int r = 0;

    if (count < 0) {
        r = -errno;
        w->leave_out(w->arg, path, r);
        return r == -ENOMEM ? r : 0;
    }
    for (int i = 0; i < count; i++) {
        if (r == 0 && entries[i]->d_name[0] != '.')
            r = add_below(w, path, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return r;
}

/* Symbolic links below a folder are not followed, so that nothing is read
 * twice and no loop is entered. */
static int add_path(const struct walk *w, const char *path)
{
    struct file_list *list = w->list;
    struct stat st;

    if (lstat(path, &st) != 0) {
        w->leave_out(w->arg, path, -errno);
        return 0;
    }
    if (S_ISDIR(st.st_mode))
        return add_folder(w, path);
    if (st.st_dev == list->except_device && st.st_ino == list->except_inode)
        return 0;
    if (S_ISREG(st.st_mode))
        return append(list, path, (uint64_t)st.st_size);
    w->leave_out(w->arg, path, -ELOOP);
    return 0;
}

int file_list_add(struct file_list *list, const char *path,
                  leave_out_function leave_out, void *arg)
{
    const struct walk walk = {list, leave_out, arg};
    char absolute[PATH_MAX];

    if (realpath(path, absolute) == NULL)
        return -errno;
    return add_path(&walk, absolute);
}

static int compare_files(const void *a, const void *b)
{
    const struct file *one = a, *other = b;

    return strcmp(one->path, other->path);
}

void file_list_sort(struct file_list *list)
{
    size_t kept = 0;

    if (list->count != 0)
        qsort(list->files, list->count, sizeof(list->files[0]), compare_files);
    for (size_t i = 0; i < list->count; i++) {
        struct file *file = &list->files[i];

        if (kept != 0 && compare_files(&list->files[kept - 1], file) == 0) {
            list->bytes_total -= file->bytes;
            free(file->path);
        } else {
            list->files[kept++] = *file;
        }
    }
    list->count = kept;
}

void file_list_except(struct file_list *list, const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return;
    list->except_device = st.st_dev;
    list->except_inode = st.st_ino;
}

void file_list_free(struct file_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->files[i].path);
    free(list->files);
    memset(list, 0, sizeof(*list));
}

/* --- bytes -------------------------------------------------------------------
 */

#ifdef HAVE_ZLIB
typedef gzFile stream; /* reads plain files as they are */
#else
typedef FILE *stream;
#endif

struct document_reader {
    stream file;
    bool is_wordnet;
    bool at_end;
    uint64_t line; /* lines begun so far */
    char buffer[128 * 1024];
    size_t start, end;       /* what of it is unread */
    char text[DOCUMENT_MAX]; /* the paragraph under construction */
};

static stream stream_open(const char *path)
{
#ifdef HAVE_ZLIB
    stream file = gzopen(path, "rbe");

    if (file != NULL)
        gzbuffer(file, 128 * 1024);
    return file;
#else
    return fopen(path, "rbe");
#endif
}

static int stream_read(stream file, char *buffer, size_t bytes)
{
#ifdef HAVE_ZLIB
    int n = gzread(file, buffer, (unsigned)bytes);
    int e = Z_OK;

    gzerror(file, &e);
    if (n >= 0 && e != Z_BUF_ERROR) /* Z_BUF_ERROR: the file was cut short */
        return n;
    return e == Z_ERRNO && errno != 0 ? -errno : -EBADMSG;
#else
    size_t n = fread(buffer, 1, bytes, file);

    return ferror(file) ? -EIO : (int)n;
#endif
}

static uint64_t stream_offset(stream file)
{
#ifdef HAVE_ZLIB
    z_off_t at = gzoffset(file);
#else
    long at = ftell(file);
#endif
    return at > 0 ? (uint64_t)at : 0;
}

/* More bytes into the buffer: 1, 0 at the end, or an error. */
static int fill(struct document_reader *r)
{
    int n;

    if (r->at_end)
        return 0;
    memmove(r->buffer, r->buffer + r->start, r->end - r->start);
    r->end -= r->start;
    r->start = 0;
    n = stream_read(r->file, r->buffer + r->end, sizeof(r->buffer) - r->end);
    if (n < 0)
        return n;
    r->at_end = n == 0;
    r->end += (size_t)n;
    return n != 0;
}

static bool ends_with(const char *s, const char *end)
{
    size_t a = strlen(s), b = strlen(end);

    return a >= b && strcmp(s + a - b, end) == 0;
}

static bool is_wordnet_name(const char *path)
{
    return ends_with(path, "/data.noun") || ends_with(path, "/data.verb") ||
           ends_with(path, "/data.adj") || ends_with(path, "/data.adv");
}

int document_reader_open(document_reader **out, const char *path)
{
    struct document_reader *r;
    int n;

#ifndef HAVE_ZLIB
    if (ends_with(path, ".gz"))
        return -ENOTSUP;
#endif
    r = calloc(1, sizeof(*r));
    if (r == NULL)
        return -ENOMEM;
    errno = 0;
    r->file = stream_open(path);
    if (r->file == NULL) {
        n = errno != 0 ? -errno : -ENOMEM;
        free(r);
        return n;
    }
    n = fill(r);
    if (n >= 0 && memchr(r->buffer, '\0', r->end) != NULL)
        n = -EILSEQ;
    r->is_wordnet =
        is_wordnet_name(path) && r->end > 2 && memcmp(r->buffer, "  1", 3) == 0;
    if (n < 0) {
        document_reader_close(r);
        return n;
    }
    *out = r;
    return 0;
}

void document_reader_close(document_reader *r)
{
#ifdef HAVE_ZLIB
    gzclose(r->file);
#else
    fclose(r->file);
#endif
    free(r);
}

/* --- paragraphs --------------------------------------------------------------
 */

static bool is_blank(const char *line, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (!isspace((unsigned char)line[i]))
            return false;
    return true;
}

/*
 * A whole line with its newline, or as much of a longer one as the buffer
 * holds: 1, 0 at the end, or an error. It stays in the buffer.
 */
static int peek_line(struct document_reader *r, size_t *bytes)
{
    for (;;) {
        char *from = r->buffer + r->start;
        char *newline = memchr(from, '\n', r->end - r->start);
        int n;

        *bytes = r->end - r->start;
        if (newline != NULL) {
            *bytes = (size_t)(newline - from) + 1;
            return 1;
        }
        if (*bytes >= DOCUMENT_MAX)
            return 1;
        n = fill(r);
        if (n < 0)
            return n;
        if (n == 0)
            return r->end != r->start;
    }
}

/* How much of text fits a document: up to white space if there is any. */
static size_t cut(const char *text, size_t bytes, size_t room)
{
    size_t n;

    if (bytes <= room)
        return bytes;
    for (n = room; n > room / 2; n--)
        if (isspace((unsigned char)text[n - 1]))
            return n;
    /* Not in the middle of a UTF-8 character, if it is one. */
    for (n = room; n > room - 3; n--)
        if (((unsigned char)text[n] & 0xc0) != 0x80)
            break;
    return n;
}

/* *more: something was read, if only white space. */
static int read_paragraph(struct document_reader *r, struct paragraph *out,
                          bool *more)
{
    size_t length = 0, bytes;
    int n;

    while ((n = peek_line(r, &bytes)) == 1) {
        const char *line = r->buffer + r->start;
        bool whole = line[bytes - 1] == '\n' || r->at_end;
        size_t take;

        if (is_blank(line, bytes) && whole) {
            r->start += bytes;
            r->line++;
            if (length != 0)
                break;
            continue;
        }
        if (length != 0 && length + bytes > DOCUMENT_MAX)
            break; /* the line begins the next document */
        take = cut(line, bytes, DOCUMENT_MAX);
        if (length == 0)
            out->line = r->line + 1;
        memcpy(r->text + length, line, take);
        length += take;
        r->start += take;
        r->line += take == bytes && whole;
        if (take < bytes || !whole)
            break;
    }
    if (n < 0)
        return n;
    *more = length != 0;
    while (length != 0 && isspace((unsigned char)r->text[length - 1]))
        length--;
    out->text = r->text;
    out->bytes = length;
    return length != 0;
}

/* A document's worth of white space is none, and not the end either. */
static int next_paragraph(struct document_reader *r, struct paragraph *out)
{
    bool more = false;
    int n;

    do
        n = read_paragraph(r, out, &more);
    while (n == 0 && more);
    return n;
}

/* --- WordNet -----------------------------------------------------------------
 */

/*
 * "00001740 03 n 01 entity 0 003 ~ ... | the gloss": the number of words in
 * hexadecimal is the fourth field; each word is followed by one more field
 * (wndb(5WN)).
 */
static size_t wordnet_text(const char *line, size_t bytes, char *out)
{
    const char *end = line + bytes;
    const char *gloss = memchr(line, '|', bytes);
    const char *at = line;
    unsigned words = 0;
    size_t length = 0;

    for (unsigned field = 0; gloss != NULL && at < gloss; field++) {
        const char *stop = memchr(at, ' ', (size_t)(gloss - at));

        if (stop == NULL)
            break;
        if (field == 3)
            words = (unsigned)strtoul(at, NULL, 16);
        if (field >= 4 && field % 2 == 0 && field < 4 + 2 * words) {
            if (field > 4)
                out[length++] = ',', out[length++] = ' ';
            for (; at < stop && *at != '('; at++)
                out[length++] = *at == '_' ? ' ' : *at;
        }
        at = stop + 1;
    }
    if (length == 0)
        return 0;
    out[length++] = ':';
    memcpy(out + length, gloss + 1, (size_t)(end - gloss - 1));
    return length + (size_t)(end - gloss - 1);
}

static int next_gloss(struct document_reader *r, struct paragraph *out)
{
    size_t bytes, length = 0;
    int n;

    while (length == 0 && (n = peek_line(r, &bytes)) == 1) {
        const char *line = r->buffer + r->start;

        r->line++;
        if (line[0] != ' ' && bytes < DOCUMENT_MAX) /* ' ': the licence */
            length = wordnet_text(line, bytes, r->text);
        r->start += bytes;
    }
    if (length == 0)
        return n;
    while (length != 0 && isspace((unsigned char)r->text[length - 1]))
        length--;
    *out = (struct paragraph){r->text, length, r->line, 0};
    return 1;
}

int document_reader_next(document_reader *r, struct paragraph *out)
{
    int n = r->is_wordnet ? next_gloss(r, out) : next_paragraph(r, out);

    if (n == 1)
        out->file_bytes = stream_offset(r->file);
    return n;
}
