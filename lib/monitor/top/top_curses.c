/*
 * top_curses.c - the panels on a terminal. Built where ncurses was found.
 *
 *      q quit    arrows, page keys, home, end: scroll    space: hold still
 *
 * Upstream: top_main.c. Downstream: top_panels.c, ncurses.
 */
#include "top.h"

#include <curses.h>
#include <errno.h>

struct screen {
    struct canvas canvas;
    size_t first; /* line at the top */
    bool held;
    chtype style[STYLES];
};

static void choose_styles(struct screen *s, bool colour)
{
    static const short colours[STYLES] = {-1,          COLOR_CYAN,   -1,
                                          COLOR_GREEN, COLOR_YELLOW, COLOR_RED,
                                          COLOR_BLUE,  COLOR_YELLOW, COLOR_RED};

    s->style[TITLE] = A_BOLD;
    s->style[DIM] = A_DIM;
    s->style[BAD] = A_BOLD;
    if (!colour || !has_colors() || start_color() != OK)
        return;
    use_default_colors();
    for (int i = 0; i < STYLES; i++) {
        if (colours[i] < 0 || init_pair((short)(i + 1), colours[i], -1) != OK)
            continue;
        s->style[i] |= (chtype)COLOR_PAIR(i + 1);
    }
}

static size_t last_first(const struct screen *s)
{
    size_t height = (size_t)(LINES > 0 ? LINES : 1);

    return s->canvas.lines > height ? s->canvas.lines - height : 0;
}

static void show(struct screen *s, const struct view *v)
{
    struct canvas *c = &s->canvas;

    canvas_start(c, (unsigned)(COLS > 0 ? COLS : 1));
    panels_draw(c, v);
    if (s->first > last_first(s))
        s->first = last_first(s);
    erase();
    for (int y = 0; y < LINES && s->first + (size_t)y < c->lines; y++) {
        size_t cell = (s->first + (size_t)y) * c->width;

        for (unsigned x = 0; x < c->width; x++, cell++)
            mvaddch(y, (int)x,
                    (unsigned char)c->text[cell] | s->style[c->style[cell]]);
    }
    refresh();
}

/* False: the end. */
static bool handle_key(struct screen *s, int key)
{
    size_t page = (size_t)(LINES > 1 ? LINES - 1 : 1);

    switch (key) {
    case 'q':
    case 'Q':
        return false;
    case ' ':
        s->held = !s->held;
        break;
    case KEY_UP:
    case 'k':
        s->first -= s->first > 0;
        break;
    case KEY_DOWN:
    case 'j':
        s->first++;
        break;
    case KEY_PPAGE:
        s->first -= s->first < page ? s->first : page;
        break;
    case KEY_NPAGE:
        s->first += page;
        break;
    case KEY_HOME:
        s->first = 0;
        break;
    case KEY_END:
        s->first = last_first(s);
        break;
    default: /* KEY_RESIZE: LINES and COLS are new already */
        break;
    }
    return true;
}

static int loop(struct screen *s, struct view *v)
{
    uint64_t period = (uint64_t)(v->interval_s * 1e9);
    uint64_t next = hy_now() + period;
    int r = 0;

    for (;;) {
        uint64_t now = hy_now();
        int key;

        if (now >= next) {
            next = now + period;
            if (!s->held && !v->ended)
                r = view_read(v);
            if (r != 0)
                return r;
        }
        show(s, v);
        now = hy_now();
        timeout(now < next ? (int)((next - now) / 1000000) + 1 : 0);
        key = getch();
        if (key != ERR && !handle_key(s, key))
            return 0;
    }
}

int curses_run(struct view *v)
{
    struct screen s = {0};
    SCREEN *terminal = newterm(NULL, stdout, stdin);
    int r;

    if (terminal == NULL)
        return -ENOTSUP;
    cbreak();
    noecho();
    curs_set(0);
    keypad(stdscr, TRUE);
    choose_styles(&s, v->colour);
    r = loop(&s, v);
    endwin();
    delscreen(terminal);
    canvas_free(&s.canvas);
    return r;
}
