/*
 * top_names.c - which segments there are: listed, chosen, removed; and what to
 * say when one cannot be shown.
 * Upstream: top_main.c. Downstream: hyperion/monitor.h.
 */
#define _POSIX_C_SOURCE 200809L
#include "top.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- messages ------------------------------------------------------------- */

void put_word(const char *before, const char *word)
{
    fputs(before, stderr);
    for (; *word != '\0'; word++)
        if ((unsigned char)*word < ' ' || *word == 0x7f)
            fprintf(stderr, "\\x%02x", (unsigned)*word);
        else
            fputc(*word, stderr);
}

int complain_of(const char *name, int error)
{
    const char *what = strerror(-error);

    switch (error) {
    case -ENOENT:
        what = "nobody publishes under this name; hyperion-top --list names "
               "what there is";
        break;
    case -EACCES:
        what = "belongs to another user";
        break;
    case -EBADMSG:
        what = "is damaged, or no segment of libhyperion";
        break;
    case -EPROTO:
        what = "was written by another version of libhyperion; use the "
               "hyperion-top that belongs to it";
        break;
    case -EAGAIN:
        what = "has no sample yet; try again";
        break;
    case -EEXIST:
        what = "its process has not ended: nothing is removed";
        break;
    case -EBUSY:
        what = "a child of its process still has it; it can be removed when "
               "that has ended";
        break;
    case -EINVAL:
        what = "is no name: 1 to 31 letters, digits, '.', '_' and '-'";
        break;
    case -ENOTSUP:
        what = "shared memory cannot be listed on this system; give a name";
        break;
    }
    put_word("hyperion-top: ", name);
    fprintf(stderr, ": %s\n", what);
    return error == -EINVAL ? USAGE : FAILED;
}

/* --- choosing ------------------------------------------------------------- */

struct found {
    unsigned alive, ended;
    bool json;
    char name[HY_MONITOR_NAME]; /* of the last one alive */
};

static int count_info(const hy_monitor_info *info, void *arg)
{
    struct found *f = arg;

    if (info->alive)
        snprintf(f->name, sizeof(f->name), "%s", info->name);
    f->alive += info->alive != 0;
    f->ended += info->alive == 0;
    return 0;
}

static int print_info(const hy_monitor_info *info, void *arg)
{
    struct found *f = arg;
    unsigned long long pid = info->pid;

    count_info(info, f);
    if (f->json) /* a name needs no escapes */
        printf("{\"name\":\"%s\",\"pid\":%llu,\"alive\":%s}\n", info->name, pid,
               info->alive ? "true" : "false");
    else
        printf("%-31s  pid %llu%s\n", info->name, pid,
               info->alive ? "" : "  ended");
    return 0;
}

static int complain_of_nothing(unsigned ended)
{
    fputs("hyperion-top: nothing is published by this user", stderr);
    if (ended == 0)
        fputs("; a program does so with hy_monitor_publish, hyperion-search "
              "with --watch NAME\n",
              stderr);
    else
        fprintf(stderr,
                " now; %u that ended left a last sample: --list names, --clear "
                "removes them\n",
                ended);
    return FAILED;
}

int names_list(bool json)
{
    struct found f = {.json = json};
    int r = hy_monitor_each(print_info, &f);

    if (r != 0)
        return complain_of("list", r);
    if (f.alive + f.ended == 0)
        return json ? 0 : complain_of_nothing(0);
    return 0;
}

int names_choose(char *out)
{
    struct found f = {0};
    int r = hy_monitor_each(count_info, &f);

    if (r != 0)
        return complain_of("no name", r);
    if (f.alive == 1) {
        memcpy(out, f.name, sizeof(f.name));
        return 0;
    }
    if (f.alive == 0)
        return complain_of_nothing(f.ended);
    fprintf(stderr,
            "hyperion-top: %u processes publish; name one "
            "(hyperion-top --list)\n",
            f.alive);
    return FAILED;
}

/* --- clearing ------------------------------------------------------------- */

struct ended {
    unsigned count, room;
    char (*names)[HY_MONITOR_NAME];
};

static int collect_ended(const hy_monitor_info *info, void *arg)
{
    struct ended *e = arg;

    if (info->alive)
        return 0;
    if (e->count == e->room) {
        unsigned room = e->room * 2 + 16;
        void *names = realloc(e->names, room * sizeof(e->names[0]));

        if (names == NULL)
            return -ENOMEM;
        e->names = names;
        e->room = room;
    }
    snprintf(e->names[e->count++], HY_MONITOR_NAME, "%s", info->name);
    return 0;
}

/* One that another process removes meanwhile is no error. */
int names_clear(const char *name)
{
    struct ended e = {0, 0, NULL};
    unsigned removed = 0;
    int r, status = 0;

    r = name != NULL ? hy_monitor_remove(name)
                     : hy_monitor_each(collect_ended, &e);
    if (r != 0)
        status = complain_of(name != NULL ? name : "list", r);
    else
        removed = name != NULL;
    for (unsigned i = 0; i < e.count; i++) {
        r = hy_monitor_remove(e.names[i]);
        removed += r == 0;
        if (r != 0 && r != -ENOENT && r != -EEXIST)
            status = complain_of(e.names[i], r);
    }
    free(e.names);
    if (status == 0)
        printf("%u removed\n", removed);
    return status;
}
