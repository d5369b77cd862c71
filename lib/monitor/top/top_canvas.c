/*
 * top_canvas.c - text in cells, each with a style; what does not fit into the
 * width is cut off. Control characters and bytes beyond ASCII become '?': names
 * come from other programs.
 *
 * Invariant: text and style hold lines x width cells.
 * Upstream: top_panels.c. Downstream: top_plain.c, top_curses.c.
 */
#include "top.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { ITEM_COLUMNS = 19, TEXT_BYTES = 512 };

static void grow(struct canvas *c)
{
    size_t room = c->room != 0 ? c->room * 2 : 64;
    char *text = realloc(c->text, room * c->width);
    unsigned char *style;

    if (text != NULL)
        c->text = text;
    style = realloc(c->style, room * c->width);
    if (style != NULL)
        c->style = style;
    if (text == NULL || style == NULL) {
        fputs("hyperion-top: no memory\n", stderr);
        exit(1);
    }
    c->room = room;
}

void canvas_start(struct canvas *c, unsigned width)
{
    if (width != c->width) {
        canvas_free(c);
        c->width = width;
    }
    c->lines = 0;
    c->column = 0;
}

void canvas_line(struct canvas *c)
{
    if (c->lines == c->room)
        grow(c);
    memset(c->text + c->lines * c->width, ' ', c->width);
    memset(c->style + c->lines * c->width, PLAIN, c->width);
    c->lines++;
    c->column = 0;
}

static void put_text(struct canvas *c, enum style style, const char *text)
{
    size_t start;

    if (c->lines == 0)
        canvas_line(c);
    start = (c->lines - 1) * c->width;
    for (; *text != '\0' && c->column < c->width; text++, c->column++) {
        bool prints = *text >= ' ' && *text <= '~';

        c->text[start + c->column] = prints ? *text : '?';
        c->style[start + c->column] = (unsigned char)style;
    }
}

void canvas_put(struct canvas *c, enum style style, const char *format, ...)
{
    char text[TEXT_BYTES];
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    put_text(c, style, text);
}

void canvas_item(struct canvas *c, enum style style, const char *label,
                 const char *format, ...)
{
    char text[TEXT_BYTES];
    unsigned needs, cell;
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    needs = (unsigned)(strlen(label) + 1 + strlen(text));
    cell = (c->column + ITEM_COLUMNS - 1) / ITEM_COLUMNS * ITEM_COLUMNS;
    if (cell != 0 && cell + needs > c->width) {
        canvas_line(c);
        cell = 0;
    }
    while (c->column < cell)
        put_text(c, PLAIN, " ");
    put_text(c, DIM, label);
    put_text(c, PLAIN, " ");
    put_text(c, style, text);
    put_text(c, PLAIN, " ");
}

void canvas_free(struct canvas *c)
{
    free(c->text);
    free(c->style);
    memset(c, 0, sizeof(*c));
}
