/*
 * search.h - the parts of hyperion-search.
 *
 *      06_search_documents.c  the command line
 *      open_store.c           a store opened and closed; what is complained of
 *      index_files.c          files -> documents in the store
 *      left_out.c             files that gave none, and why
 *      forget_files.c         a file's documents removed from the store
 *      answer.c               questions -> hits
 *      read_documents.c       paths -> paragraphs
 *      show.c                 text for people, JSON for programs
 */
#ifndef SEARCH_H
#define SEARCH_H

#include <hyperion/hyperion.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a command ends with; 128 + n: signal n stopped it. */
enum { DONE = 0, FAILED = 1, USAGE = 2, SIGNALLED = 128 };

struct request {
    const char *store;
    size_t hits;
    const char *watch; /* the name that hyperion-top finds it by; or NULL */
    bool json, verbose;
    char **words; /* paths, or the words of a query */
    int word_count;
};

/* A request while it is carried out. */
struct session {
    struct request request;
    hy_monitor *monitor;   /* NULL without --watch */
    hy_pipeline *pipeline; /* while the store is open */
    char reason[256];      /* what the library last said of it, or "" */
};

int run_index(struct session *session);
int run_query(struct session *session);
int run_repl(struct session *session);
int run_forget(struct session *session);

/* --- open_store.c --------------------------------------------------------- */

/* One line on standard error: "hyperion-search: about: what". Returns FAILED.
 */
int complain(const char *about, const char *what);
int complain_errno(const char *about, int error);
int complain_of_store(const struct session *session, int error);

/* Before any work is done: DONE, or USAGE or FAILED after a complaint. */
int start_watching(struct session *session);

/* DONE, or FAILED after a complaint. */
int open_store(struct session *session, bool create);
int close_store(struct session *session);

/* After a complaint of the store: closes it without another. FAILED. */
int abandon_store(struct session *session);

/* --- forget_files.c ------------------------------------------------------- */

/* A file's documents have consecutive ids from here. */
uint64_t first_id(const char *path);

/* Removes a file's documents from this id on, and counts them. */
int forget_from(hy_pipeline *p, uint64_t id, uint64_t *count);

/* --- left_out.c ----------------------------------------------------------- */

enum why { UNREADABLE, BINARY, EMPTY, ELSEWHERE, WHYS };

/* Files that gave no documents. Few are named: there may be thousands. */
struct left_out {
    bool verbose; /* name them all */
    uint64_t count[WHYS];
    char *first[WHYS];
};

/* arg is the struct left_out; an error as document_reader_open and
 * file_list_add tell it. */
void leave_out(void *arg, const char *path, int error);

/* A line of each kind; frees what is left. DONE, or FAILED: some were
 * unreadable. */
int left_out_end(struct left_out *left_out);

#endif
