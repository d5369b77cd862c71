/*
 * top_plain.c - the panels on standard output: once, or again and again. On a
 * terminal each picture replaces the one before; in a file they follow.
 * Upstream: top_main.c. Downstream: top_panels.c.
 */
#define _POSIX_C_SOURCE 200809L
#include "top.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { WIDTH_DEFAULT = 80, WIDTH_LEAST = 10, WIDTH_MOST = 500 };

/* ANSI sequences by style. */
static const char *const colours[STYLES] = {
    "",         "\033[1;36m", "\033[2m",  "\033[32m", "\033[33m",
    "\033[31m", "\033[34m",   "\033[33m", "\033[31m"};

static unsigned width_of_output(void)
{
    const char *columns = getenv("COLUMNS");
    struct winsize size;
    unsigned long width = WIDTH_DEFAULT;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col != 0)
        width = size.ws_col;
    else if (columns != NULL && columns[0] != '\0')
        width = strtoul(columns, NULL, 10);
    if (width < WIDTH_LEAST)
        width = WIDTH_LEAST;
    return (unsigned)(width > WIDTH_MOST ? WIDTH_MOST : width);
}

static void print_line(const char *text, const unsigned char *style,
                       unsigned width, bool colour)
{
    unsigned last = PLAIN;

    while (width > 0 && text[width - 1] == ' ')
        width--;
    for (unsigned i = 0; i < width; i++) {
        if (colour && style[i] != last) {
            fputs("\033[0m", stdout);
            fputs(colours[style[i]], stdout);
            last = style[i];
        }
        fputc(text[i], stdout);
    }
    if (last != PLAIN)
        fputs("\033[0m", stdout);
    fputc('\n', stdout);
}

static void wait_for(double seconds)
{
    struct timespec t = {(time_t)seconds,
                         (long)((seconds - (double)(time_t)seconds) * 1e9)};

    nanosleep(&t, NULL);
}

int plain_run(struct view *v, unsigned width, bool once)
{
    bool replaces = !once && v->redraws;
    struct canvas c = {0};
    int r = 0;

    for (;;) {
        canvas_start(&c, width != 0 ? width : width_of_output());
        panels_draw(&c, v);
        if (replaces)
            fputs("\033[H\033[J", stdout);
        for (size_t i = 0; i < c.lines; i++)
            print_line(c.text + i * c.width, c.style + i * c.width, c.width,
                       v->colour);
        if (fflush(stdout) != 0 || once || v->ended)
            break;
        wait_for(v->interval_s);
        r = view_read(v);
        if (r != 0)
            break;
        if (!replaces)
            fputc('\n', stdout);
    }
    canvas_free(&c);
    return r;
}
