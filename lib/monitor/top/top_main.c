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

enum { FIRST_SAMPLE_MS = 2000 };

struct arguments {
    bool once, json, prometheus, list, clear;
    unsigned width;
    double interval_s;
    const char *name;
};

static const char help[] =
    "usage: hyperion-top [OPTION]... [NAME | PID]\n"
    "Shows what a process publishes by libhyperion: memory, faults, fibers,\n"
    "rings and code. Without a name: the only one there is. A process that\n"
    "was killed leaves its last sample, which can be looked at like others.\n"
    "\n"
    "  --list            names what is published, and ends\n"
    "  --clear           removes what processes that ended left behind, or\n"
    "                    what one left under this name\n"
    "  --once            one picture, and ends\n"
    "  --json            a JSON object for each sample or name, one a line\n"
    "  --prometheus      the text format of Prometheus, once\n"
    "  --interval SECONDS  between pictures; 1 unless given, at least 0.1\n"
    "  --width COLUMNS   of text that does not go to a terminal\n"
    "  -h, --help, -V, --version\n"
    "\n"
    "Keys: q quits, arrows and page keys scroll, space holds still.\n"
    "Without a terminal pictures follow each other. NO_COLOR in the\n"
    "environment switches colours off. Exit status: 0; 1 when it cannot be\n"
    "shown; 2 when the command line is wrong.\n";

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
        if (fflush(stdout) != 0 || once || v->ended)
            return 0; /* finish tells of the first */
        nanosleep(&t, NULL);
        r = view_read(v);
        if (r != 0)
            return r;
    }
}

static int show(struct view *v, const struct arguments *a)
{
    const char *no_colour = getenv("NO_COLOR"), *terminal = getenv("TERM");
    int r = -ENOTSUP;

    v->redraws = isatty(STDOUT_FILENO) && terminal != NULL &&
                 terminal[0] != '\0' && strcmp(terminal, "dumb") != 0;
    v->colour = v->redraws && (no_colour == NULL || no_colour[0] == '\0');
    if (a->json)
        return stream_json(v, a->once);
    if (a->prometheus) {
        prometheus_print(stdout, &v->now, !v->ended);
        return 0;
    }
#if TOP_CURSES
    if (!a->once && v->redraws && isatty(STDIN_FILENO))
        r = curses_run(v);
#endif
    return r == -ENOTSUP ? plain_run(v, a->width, a->once) : r;
}

static int run(const struct arguments *a)
{
    static struct view v;
    static char chosen[HY_MONITOR_NAME];
    const char *name = a->name;
    int r;

    if (a->list)
        return names_list(a->json);
    if (a->clear)
        return names_clear(name);
    if (name == NULL && names_choose(chosen) != 0)
        return FAILED;
    if (name == NULL)
        name = chosen;
    v.interval_s = a->interval_s;
    r = hy_monitor_attach(&v.reader, name);
    if (r == 0)
        r = read_first(&v);
    if (r == 0)
        r = show(&v, a);
    hy_monitor_detach(v.reader);
    return r != 0 ? complain_of(name, r) : 0;
}

/* --- arguments ------------------------------------------------------------ */

static int usage(const char *what)
{
    fprintf(stderr, "hyperion-top: %s; see hyperion-top --help\n", what);
    return USAGE;
}

/* getopt does not like this one; optopt is that of a short, or a known one. */
static int usage_option(int option, char **argv)
{
    char name[] = {'-', (char)optopt, '\0'};
    bool is_long = optopt == 0 || strchr("lcojpiwhV", optopt) != NULL;

    put_word("hyperion-top: ", is_long ? argv[optind - 1] : name);
    fputs(option == ':'             ? " needs a value after it"
          : optopt == 0 || !is_long ? ": no such option"
                                    : ": takes no value",
          stderr);
    fputs("; see hyperion-top --help\n", stderr);
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
    case 'c':
        a->clear = true;
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
    return USAGE;
}

/* What was printed must have arrived. */
static int finish(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    fputs("hyperion-top: standard output cannot be written to\n", stderr);
    return FAILED;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"list", no_argument, NULL, 'l'},
        {"clear", no_argument, NULL, 'c'},
        {"once", no_argument, NULL, 'o'},
        {"json", no_argument, NULL, 'j'},
        {"prometheus", no_argument, NULL, 'p'},
        {"interval", required_argument, NULL, 'i'},
        {"width", required_argument, NULL, 'w'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    struct arguments a = {.interval_s = 1};
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, ":hV", options, NULL)) != -1) {
        if (option == 'h' || option == 'V') {
            if (option == 'h')
                fputs(help, stdout);
            else
                printf("hyperion-top %s\n", hy_version());
            return finish(0);
        }
        if (option == '?' || option == ':')
            return usage_option(option, argv);
        if (parse_option(&a, option) != 0)
            return USAGE;
    }
    if (argc - optind > 1)
        return usage("at most one name");
    if (a.json && a.prometheus)
        return usage("either --json or --prometheus");
    if (optind < argc)
        a.name = argv[optind];
    return finish(run(&a));
}
