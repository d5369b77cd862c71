/*
 * top.h - the parts of hyperion-top.
 *
 *      top_main.c        arguments, choosing a segment, one mode or another
 *      top_names.c       what there is: listed, chosen, removed; complaints
 *      top_figures.c     what is shown of each kind: tables
 *      top_json.c        a sample as one JSON object
 *      top_prometheus.c  a sample in the text format of Prometheus
 *      top_panels.c      a sample as text, for any width
 *      top_canvas.c      the text: cells with a style
 *      top_plain.c       shows it on standard output
 *      top_curses.c      shows it on a terminal, with keys
 *
 * The program uses the public headers of libhyperion only.
 */
#ifndef TOP_H
#define TOP_H

#include <hyperion/fiber.h>
#include <hyperion/monitor.h>
#include <stdbool.h>
#include <stdio.h>

/* --- the state of a run --------------------------------------------------- */

struct view {
    hy_monitor_reader *reader;
    hy_monitor_sample now, before;
    bool has_before; /* rates can be told */
    bool ended;      /* the process is gone: now is its last sample */
    bool colour;
    bool redraws; /* a terminal that can go back over what it shows */
    double interval_s;
};

/* Reads the next sample; the one before moves to before. 0 or an error. */
int view_read(struct view *v);

/* --- names ---------------------------------------------------------------- */

enum { FAILED = 1, USAGE = 2 }; /* exit statuses */

/* A word of the user's on standard error: control characters are escaped. */
void put_word(const char *before, const char *word);

/* One line on standard error; returns the exit status. */
int complain_of(const char *name, int error);

/* All return an exit status. */
int names_list(bool json);
int names_choose(char *out); /* the only living one; HY_MONITOR_NAME bytes */
int names_clear(const char *name); /* NULL: all whose process ended */

/* --- figures -------------------------------------------------------------- */

struct figure {
    const char *name;
    size_t offset;
    bool counts; /* only ever rises */
};

/* One kind of row in a sample. */
struct kind {
    const char *name, *plural;
    size_t rows, row_bytes; /* where they lie, and how large each is */
    size_t count;           /* where their number lies */
    const struct figure *figures;
    size_t figure_count;
};

extern const struct kind top_kinds[]; /* ends with a name of NULL */
extern const struct kind top_process; /* one row: the sample itself */

/* Rows of a kind in a sample, and one of them; its name comes first in it. */
uint32_t kind_count(const struct kind *k, const hy_monitor_sample *s);
const char *kind_row(const struct kind *k, const hy_monitor_sample *s,
                     uint32_t i);
uint64_t figure_of(const struct figure *f, const char *row);

const char *fiber_state(uint32_t state);
const char *patch_way(uint64_t mechanism);

/* --- formats -------------------------------------------------------------- */

void json_print(FILE *out, const hy_monitor_sample *s, bool alive);
void prometheus_print(FILE *out, const hy_monitor_sample *s, bool alive);

/* --- text ----------------------------------------------------------------- */

enum style { PLAIN, TITLE, DIM, GOOD, WARN, BAD, COLD, WARM, HOT, STYLES };

struct canvas {
    unsigned width;
    size_t lines, room;
    unsigned column; /* in the last line */
    char *text;      /* lines x width, blanks where nothing is */
    unsigned char *style;
};

/* All end the program with a message when there is no memory. */
void canvas_start(struct canvas *c, unsigned width);
void canvas_line(struct canvas *c);
__attribute__((format(printf, 3, 4))) void
canvas_put(struct canvas *c, enum style style, const char *format, ...);

/* "label value" in cells of equal width, as many in a line as fit. */
__attribute__((format(printf, 4, 5))) void canvas_item(struct canvas *c,
                                                       enum style style,
                                                       const char *label,
                                                       const char *format, ...);
void canvas_free(struct canvas *c);

void panels_draw(struct canvas *c, const struct view *v);

int plain_run(struct view *v, unsigned width, bool once);
int curses_run(struct view *v); /* -ENOTSUP: no such terminal */

#endif
