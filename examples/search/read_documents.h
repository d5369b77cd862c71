/*
 * read_documents.h - files and folders in, documents out.
 *
 * A document is a paragraph: lines up to a blank one, cut at DOCUMENT_MAX
 * bytes. Files ending in .gz are read through zlib. WordNet's data.* files give
 * one document a line: "word, word: its gloss".
 */
#ifndef READ_DOCUMENTS_H
#define READ_DOCUMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DOCUMENT_MAX = 64 * 1024 };

struct file {
    char *path; /* absolute */
    uint64_t bytes;
};

struct file_list {
    struct file *files;
    size_t count, capacity;
    uint64_t bytes_total;
    uint64_t except_device, except_inode; /* a file to leave out */
};

/* Called with each path that is left out on the way, and why: a negative errno
 * value, -ELOOP for what is neither a file nor a folder, as links are. */
typedef void (*leave_out_function)(void *arg, const char *path, int error);

/* Adds a file, or all files below a folder. 0, -ENOMEM, or why the path itself
 * cannot be followed. */
int file_list_add(struct file_list *list, const char *path,
                  leave_out_function leave_out, void *arg);

/* In the order of their names, each once. */
void file_list_sort(struct file_list *list);

/* Leaves this file out of what is added from now on, if it exists. */
void file_list_except(struct file_list *list, const char *path);
void file_list_free(struct file_list *list);

struct paragraph {
    const char *text; /* valid until the next call */
    size_t bytes;
    uint64_t line;       /* of its first line, from 1 */
    uint64_t file_bytes; /* of the file, read so far (packed, for .gz) */
};

typedef struct document_reader document_reader;

/* 0; -EILSEQ for a binary file; -ENOTSUP for .gz without zlib; a negative errno
 * value. */
int document_reader_open(document_reader **out, const char *path);

/* 1, 0 at the end, or a negative errno value (-EBADMSG: damaged .gz). */
int document_reader_next(document_reader *reader, struct paragraph *out);
void document_reader_close(document_reader *reader);

#endif
