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

struct file_list {
    char **paths; /* absolute */
    uint64_t *bytes;
    size_t count, capacity;
    uint64_t bytes_total;
    size_t skipped; /* neither a file nor a folder, or unreadable */
    uint64_t except_device, except_inode; /* a file to leave out */
};

/* Called with each problem on the way: a path and what is wrong with it. */
typedef void (*complain_function)(const char *path, const char *what);

/* Adds a file, or all files below a folder, in the order of their names.
 * 0 or a negative errno value; unreadable parts are complained of. */
int file_list_add(struct file_list *list, const char *path,
                  complain_function complain);

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

/* 0; -EILSEQ for a binary file; a negative errno value. */
int document_reader_open(document_reader **out, const char *path);

/* 1, 0 at the end, or a negative errno value (-EBADMSG: damaged .gz). */
int document_reader_next(document_reader *reader, struct paragraph *out);
void document_reader_close(document_reader *reader);

#endif
