/*
 * forget_files.c - a file's documents, found again by their ids and removed
 * (search.h). Nothing but the ids says which file they came from.
 *
 *      path -> first_id: the first paragraph, + 1: the second, ... until there
 *      is no such document
 */
#include "search.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "read_documents.h"
#include "show.h"

/* FNV-1a of the path. */
uint64_t first_id(const char *path)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (; *path != '\0'; path++)
        hash = (hash ^ (unsigned char)*path) * 0x100000001b3u;
    return hash;
}

/* From the end: what an error leaves is still found from its first id. */
int forget_from(hy_pipeline *p, uint64_t id, uint64_t *count)
{
    uint64_t end = id;
    size_t none = 0;
    int r;

    for (;; none = 0, end++) {
        r = hy_pipeline_document(p, end, NULL, &none);
        if (r != 0 && r != -ENOBUFS)
            break;
    }
    if (r != -ENOENT)
        return r;
    while (end != id) {
        r = hy_pipeline_remove(p, --end, HY_FOREVER);
        if (r != 0)
            return r;
        ++*count;
    }
    return 0;
}

/* The path as index wrote it down, also when the file is there no more. NULL:
 * no memory, or no such folder. */
static char *absolute_path(const char *path)
{
    char *absolute = realpath(path, NULL), *folder, *above;
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;

    if (absolute != NULL || strcmp(path, ".") == 0 || strcmp(path, "/") == 0)
        return absolute;
    folder = slash == NULL   ? strdup(".")
             : slash == path ? strdup("/")
                             : strndup(path, (size_t)(slash - path));
    above = folder != NULL ? absolute_path(folder) : NULL;
    free(folder);
    if (above == NULL || *name == '\0')
        return above;
    absolute = malloc(strlen(above) + strlen(name) + 2);
    if (absolute != NULL)
        sprintf(absolute, "%s/%s", above[1] != '\0' ? above : "", name);
    free(above);
    return absolute;
}

/* A file's documents, or those of all files below a folder. -ENOENT: there is
 * no such file, and the store has nothing of it. */
static int forget_path(hy_pipeline *p, const char *path,
                       struct left_out *left_out, uint64_t *count)
{
    char *absolute = absolute_path(path);
    struct file_list list = {0};
    uint64_t before = *count;
    int r = absolute != NULL ? 0 : -ENOENT;
    bool exists = r == 0 && access(absolute, F_OK) == 0;

    if (exists)
        r = file_list_add(&list, absolute, leave_out, left_out);
    if (r == 0 && list.count == 0)
        r = forget_from(p, first_id(absolute), count);
    for (size_t i = 0; r == 0 && i < list.count; i++)
        r = forget_from(p, first_id(list.files[i].path), count);
    if (r == 0) /* so that a path named twice counts once */
        r = hy_pipeline_flush(p, HY_FOREVER);
    if (r == 0 && !exists && *count == before)
        r = -ENOENT;
    if (r != 0) /* what is not durable is not forgotten */
        *count = before;
    file_list_free(&list);
    free(absolute);
    return r;
}

int run_forget(struct session *session)
{
    const struct request *request = &session->request;
    struct left_out left_out = {.verbose = request->verbose};
    uint64_t count = 0;
    bool failed = false;
    int status = open_store(session, false);

    if (status != DONE)
        return status;
    for (int i = 0; i < request->word_count && !failed; i++) {
        int r = forget_path(session->pipeline, request->words[i], &left_out,
                            &count);

        if (r == -ENOENT)
            status = complain(
                request->words[i],
                "there is no such file, neither here nor in the store");
        else if (r != 0)
            status = complain_of_store(session, r);
        failed = r != 0 && r != -ENOENT;
    }
    status |= left_out_end(&left_out);
    if (request->json)
        printf("{\"forgotten\":%" PRIu64 "}\n", count);
    else
        printf("%" PRIu64 " document%s forgotten\n", count, plural(count));
    return status | (failed ? abandon_store(session) : close_store(session));
}
