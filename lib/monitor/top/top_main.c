/*
 * top_main.c - hyperion-top: shows what a process publishes by libhyperion.
 * Arguments, the choice of a segment, and one way of showing it.
 * Upstream: the shell. Downstream: hyperion/monitor.h, the other files here.
 */
#define _POSIX_C_SOURCE 200809L
#include "top.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef TOP_CURSES
#define TOP_CURSES 0
#endif

enum { FAILED = 1, USAGE = 2, FIRST_SAMPLE_MS = 2000 };

struct arguments {
    bool once, json, prometheus, list;
    unsigned width;
    double interval_s;
    const char *name;
};

static const char help[] =
    "usage: hyperion-top [OPTION]... [NAME | PID]\n"
    "Shows what a process publishes by libhyperion: memory, faults, fibers,\n"
    "rings and code. Without a name: the only one there is.\n"
    "\n"
    "  --list            names what is published, and ends\n"
    "  --once            one picture, and ends\n"
    "  --json            a JSON object for each sample, one a line\n"
    "  --prometheus      the text format of Prometheus, once\n"
    "  --interval SECONDS  between pictures; 1 unless given, at least 0.1\n"
    "  --width COLUMNS   of text that does not go to a terminal\n"
    "  --help, --version\n"
    "\n"
    "Keys: q quits, arrows and page keys scroll, space holds still.\n"
    "NO_COLOR in the environment switches colours off.\n";

/* --- messages ------------------------------------------------------------- */

static int fail(const char *name, int error)
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
    case -EINVAL:
        what = "is no name: letters, digits, '.', '_' and '-', at most 31";
        break;
    case -ENOTSUP:
        what = "shared memory cannot be listed on this system; give a name";
        break;
    }
    fprintf(stderr, "hyperion-top: %s: %s\n", name, what);
    return FAILED;
}

/* --- choosing ------------------------------------------------------------- */

static int print_info(const hy_monitor_info *info, void *arg)
{
    unsigned *count = arg;

    ++*count;
    printf("%-31s  pid %llu%s\n", info->name, (unsigned long long)info->pid,
           info->alive ? "" : "  ended");
    return 0;
}

static int list(void)
{
    unsigned count = 0;
    int r = hy_monitor_each(print_info, &count);

    if (r != 0)
        return fail("list", r);
    if (count == 0)
        fputs("hyperion-top: nothing is published by this user; a program does "
              "so with hy_monitor_publish\n",
              stderr);
    return count != 0 ? 0 : FAILED;
}

struct choice {
    unsigned count;
    char name[HY_MONITOR_NAME];
};

static int choose_alive(const hy_monitor_info *info, void *arg)
{
    struct choice *c = arg;

    if (!info->alive)
        return 0;
    c->count++;
    snprintf(c->name, sizeof(c->name), "%s", info->name);
    return 0;
}

/* The only living segment. */
static int choose(struct choice *c)
{
    int r = hy_monitor_each(choose_alive, c);

    if (r != 0)
        return fail("no name", r);
    if (c->count == 1)
        return 0;
    if (c->count == 0)
        fputs("hyperion-top: nothing is published by this user; a program does "
              "so with hy_monitor_publish\n",
              stderr);
    else
        fprintf(stderr,
                "hyperion-top: %u processes publish; name one "
                "(hyperion-top --list)\n",
                c->count);
    return FAILED;
}

/* --- reading -------------------------------------------------------------- */

int view_read(struct view *v)
{
    static hy_monitor_sample next; /* too large for a stack */
    int r;

    next.size = sizeof(next);
    r = hy_monitor_read(v->reader, &next);
    if (r < 0)
        return r;
    v->ended = r == 1;
    if (next.number == v->now.number && v->now.size != 0)
        return 0; /* nothing new: the rates stay */
    v->has_before = v->now.size != 0;
    v->before = v->now;
    v->now = next;
    return 0;
}

/* A segment that was just made has no sample for a moment. */
static int read_first(struct view *v)
{
    struct timespec t = {0, 1000000};
    int r = -EAGAIN;

    for (int i = 0; r == -EAGAIN && i < FIRST_SAMPLE_MS; i++) {
        r = view_read(v);
        if (r == -EAGAIN)
            nanosleep(&t, NULL);
    }
    return r;
}

/* --- showing -------------------------------------------------------------- */

static int stream_json(struct view *v, bool once)
{
    int r = 0;

    for (;;) {
        struct timespec t = {
            (time_t)v->interval_s,
            (long)((v->interval_s - (double)(time_t)v->interval_s) * 1e9)};

        json_print(stdout, &v->now, !v->ended);
        if (fflush(stdout) != 0)
            return -errno;
        if (once || v->ended)
            return 0;
        nanosleep(&t, NULL);
        r = view_read(v);
        if (r != 0)
            return r;
    }
}

static int show(struct view *v, const struct arguments *a)
{
    bool terminal = isatty(STDOUT_FILENO) && isatty(STDIN_FILENO);
    const char *no_colour = getenv("NO_COLOR");
    int r = -ENOTSUP;

    v->colour =
        isatty(STDOUT_FILENO) && (no_colour == NULL || no_colour[0] == '\0');
    if (a->json)
        return stream_json(v, a->once);
    if (a->prometheus) {
        prometheus_print(stdout, &v->now, !v->ended);
        return fflush(stdout) != 0 ? -errno : 0;
    }
#if TOP_CURSES
    if (!a->once && terminal)
        r = curses_run(v);
#else
    (void)terminal;
#endif
    return r == -ENOTSUP ? plain_run(v, a->width, a->once) : r;
}

static int run(const struct arguments *a)
{
    static struct view v;
    struct choice c = {0, ""};
    int r;

    if (a->list)
        return list();
    if (a->name == NULL && choose(&c) != 0)
        return FAILED;
    if (a->name != NULL)
        snprintf(c.name, sizeof(c.name), "%s", a->name);
    v.interval_s = a->interval_s;
    r = hy_monitor_attach(&v.reader, a->name != NULL ? a->name : c.name);
    if (r == 0)
        r = read_first(&v);
    if (r == 0)
        r = show(&v, a);
    hy_monitor_detach(v.reader);
    return r != 0 ? fail(c.name, r) : 0;
}

/* --- arguments ------------------------------------------------------------ */

static int usage(const char *what)
{
    fprintf(stderr, "hyperion-top: %s; --help tells more\n", what);
    return USAGE;
}

static bool parse_number(const char *text, double least, double most,
                         double *out)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end != '\0' || !(value >= least && value <= most))
        return false;
    *out = value;
    return true;
}

static int parse_option(struct arguments *a, int option)
{
    double value;

    switch (option) {
    case 'l':
        a->list = true;
        return 0;
    case 'o':
        a->once = true;
        return 0;
    case 'j':
        a->json = true;
        return 0;
    case 'p':
        a->prometheus = true;
        return 0;
    case 'i':
        if (!parse_number(optarg, 0.1, 3600, &a->interval_s))
            return usage("--interval takes 0.1 to 3600 seconds");
        return 0;
    case 'w':
        if (!parse_number(optarg, 10, 500, &value))
            return usage("--width takes 10 to 500 columns");
        a->width = (unsigned)value;
        return 0;
    }
    return usage("unknown option, or one without its value");
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"list", no_argument, NULL, 'l'},
        {"once", no_argument, NULL, 'o'},
        {"json", no_argument, NULL, 'j'},
        {"prometheus", no_argument, NULL, 'p'},
        {"interval", required_argument, NULL, 'i'},
        {"width", required_argument, NULL, 'w'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},
        {NULL, 0, NULL, 0},
    };
    struct arguments a = {.interval_s = 1};
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'h')
            return fputs(help, stdout) < 0;
        if (option == 'v')
            return printf("hyperion-top %s\n", hy_version()) < 0;
        if (parse_option(&a, option) != 0)
            return USAGE;
    }
    if (argc - optind > 1)
        return usage("at most one name");
    if (a.json && a.prometheus)
        return usage("either --json or --prometheus");
    if (optind < argc)
        a.name = argv[optind];
    return run(&a);
}
