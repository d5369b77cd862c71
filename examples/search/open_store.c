/*
 * open_store.c - a store opened, watched and closed, and every complaint that
 * a store gives cause for (search.h).
 */
#include "search.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "show.h"

int complain(const char *about, const char *what)
{
    show_progress_end();
    fputs("hyperion-search: ", stderr);
    show_name(stderr, about);
    fprintf(stderr, ": %s\n", what);
    return FAILED;
}

int complain_errno(const char *about, int error)
{
    return complain(about, strerror(-error));
}

/* What an error of a store means, and what to do. */
static const char *meaning_of(int error)
{
    static const struct {
        int error;
        const char *what;
    } table[] = {
        {-EBADMSG, "no store, or a damaged one: name another file, or, if it "
                   "was one, delete it and index again"},
        {-ENOTSUP, "made on another machine, or by another version: index "
                   "again into a new store"},
        {-EEXIST, "made by another version: index again into a new store"},
        {-EBUSY, "another process uses it: wait until it has ended, or name "
                 "another store"},
        {-EISDIR, "is a folder: --store takes the name of a file"},
        {-EACCES, "permission denied: a store is written to, even by a query"},
        {-ENOSPC, "the disk is full: make room and run this again; what was "
                  "stored before is intact"},
        {-EFBIG, "no file may grow so large here: see ulimit -f, or use "
                 "another file system"},
        {-ENOMEM, "out of memory, or of addresses (see ulimit -v)"},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
        if (table[i].error == error)
            return table[i].what;
    return strerror(-error);
}

int complain_of_store(const struct session *session, int error)
{
    char what[512];
    int used = snprintf(what, sizeof(what), "%s", meaning_of(error));

    if (error == -EBADMSG || error == -ENOTSUP)
        if (session->reason[0] != '\0')
            snprintf(what + used, sizeof(what) - (size_t)used, " (%s)",
                     session->reason);
    return complain(session->request.store, what);
}

/* The library says "who: path: what"; the path is told already. */
static void note_reason(void *ctx, int level, const char *message)
{
    struct session *session = ctx;
    char path[PATH_MAX];
    const char *told;
    int length = snprintf(path, sizeof(path), " %s: ", session->request.store);

    if (level != HY_REPORT_ERROR)
        return;
    told = strstr(message, path);
    snprintf(session->reason, sizeof(session->reason), "%s",
             told != NULL ? told + length : message);
}

int start_watching(struct session *session)
{
    hy_monitor_options options = HY_MONITOR_OPTIONS_INIT;
    int r;

    options.name = session->request.watch;
    if (options.name == NULL)
        return DONE;
    r = hy_monitor_create(&session->monitor, &options);
    if (r == 0)
        return DONE;
    fputs("hyperion-search: --watch ", stderr);
    show_name(stderr, options.name);
    if (r == -EINVAL)
        fputs(": a name is 1 to 31 letters, digits, '.', '_' and '-'\n",
              stderr);
    else
        fprintf(stderr, ": %s\n",
                r == -EEXIST ? "another process has this name: choose another"
                             : strerror(-r));
    return r == -EINVAL ? USAGE : FAILED;
}

/* Lets hyperion-top see the store's memory, the fibers and the queues. */
static void watch_pipeline(hy_monitor *m, hy_pipeline *p)
{
    hy_ring *ring;
    char name[16];

    hy_monitor_watch(m, HY_MONITOR_PIPELINE, p, "documents");
    hy_monitor_watch(m, HY_MONITOR_RUNTIME, hy_pipeline_runtime(p), "pipeline");
    hy_monitor_watch(m, HY_MONITOR_PAGER, hy_pipeline_pager(p), "store");
    for (unsigned i = 0; (ring = hy_pipeline_ring(p, i)) != NULL; i++) {
        snprintf(name, sizeof(name), "lane %u", i);
        hy_monitor_watch(m, HY_MONITOR_RING, ring, name);
    }
}

int open_store(struct session *session, bool create)
{
    hy_pipeline_options options = HY_PIPELINE_OPTIONS_INIT;
    const char *path = session->request.store;
    int r;

    options.path = path;
    options.flags = create ? 0 : HY_PIPELINE_EXISTING;
    options.report = (hy_report){note_reason, session};
    r = hy_pipeline_open(&session->pipeline, NULL, &options);
    if (r == -ENOENT)
        return complain(path, create ? "the folder that it is to be in does "
                                       "not exist: make it first (mkdir)"
                                     : "there is no such store: "
                                       "hyperion-search index makes one");
    if (r != 0)
        return complain_of_store(session, r);
    if (session->monitor != NULL)
        watch_pipeline(session->monitor, session->pipeline);
    return DONE;
}

static int close_both(struct session *session)
{
    int r;

    hy_monitor_destroy(session->monitor); /* it looks at the pipeline */
    session->monitor = NULL;
    r = hy_pipeline_close(session->pipeline);
    session->pipeline = NULL;
    return r;
}

int close_store(struct session *session)
{
    int r = close_both(session);

    return r != 0 ? complain_of_store(session, r) : DONE;
}

int abandon_store(struct session *session)
{
    close_both(session);
    return FAILED;
}
