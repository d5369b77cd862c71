/*
 * left_out.c - files that gave no documents: counted, the first few named
 * (search.h).
 *
 *      leave_out(path, error) -> a line at once, or a count
 *      left_out_end           -> a line for each kind
 */
#include "search.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "show.h"

enum { NAMED_MOST = 3 }; /* of the unreadable, at once */

static enum why why_of(int error)
{
    switch (error) {
    case -EILSEQ:
        return BINARY;
    case -ENODATA:
        return EMPTY;
    case -ELOOP:
        return ELSEWHERE;
    }
    return UNREADABLE;
}

static const char *what_of(int error)
{
    switch (error) {
    case -EILSEQ:
        return "looks binary, left out";
    case -ENODATA:
        return "has no text in it";
    case -ELOOP:
        return "a link, a device or the like, left out";
    case -EBADMSG:
        return "damaged: the packed file ends early or is no such file";
    case -ENOTSUP:
        return "packed, and this program was built without zlib";
    }
    return strerror(-error);
}

void leave_out(void *arg, const char *path, int error)
{
    struct left_out *l = arg;
    enum why why = why_of(error);

    if (l->verbose || (why == UNREADABLE && l->count[why] < NAMED_MOST))
        complain(path, what_of(error));
    if (l->count[why]++ == 0)
        l->first[why] = strdup(path); /* NULL is shown as no name */
}

static void show_kind(const struct left_out *l, enum why why, const char *one,
                      const char *many)
{
    uint64_t count = l->count[why];

    if (l->verbose || count == 0)
        return;
    fprintf(stderr, "hyperion-search: %" PRIu64 " file%s, left out: ", count,
            count == 1 ? one : many);
    if (l->first[why] != NULL)
        show_name(stderr, l->first[why]);
    fputs(count > 1 ? " and others (--verbose names all)\n" : "\n", stderr);
}

int left_out_end(struct left_out *l)
{
    uint64_t unreadable = l->count[UNREADABLE];

    show_progress_end();
    show_kind(l, BINARY, " looks binary", "s look binary");
    show_kind(l, EMPTY, " has no text in it", "s have no text in them");
    if (!l->verbose && unreadable > NAMED_MOST)
        fprintf(stderr,
                "hyperion-search: %" PRIu64 " more could not be read "
                "(--verbose names all)\n",
                unreadable - NAMED_MOST);
    for (int why = 0; why < WHYS; why++)
        free(l->first[why]);
    return unreadable != 0 ? FAILED : DONE;
}
