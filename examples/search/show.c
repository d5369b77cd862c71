/*
 * show.c - writing for people and for programs (show.h).
 */
#include "show.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

unsigned show_columns(FILE *file)
{
    struct winsize size;

    if (ioctl(fileno(file), TIOCGWINSZ, &size) == 0 && size.ws_col != 0)
        return size.ws_col;
    return 80;
}

const char *plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

/* --- progress -------------------------------------------------------------
 */

static unsigned progress_shown; /* columns in use */

void show_progress(uint64_t done, uint64_t total, uint64_t documents)
{
    char figures[64];
    unsigned columns, width, filled;
    int length;

    if (!isatty(STDERR_FILENO))
        return;
    columns = show_columns(stderr);
    if (done > total)
        done = total;
    length = snprintf(figures, sizeof(figures), " %3u %%  %llu document%s",
                      total != 0 ? (unsigned)(done * 100 / total) : 100,
                      (unsigned long long)documents, plural(documents));
    if ((unsigned)length + 12 > columns)
        length = 6; /* a narrow terminal: the percentage alone */
    if (columns < 10)
        return;
    width = columns > (unsigned)length + 3 ? columns - (unsigned)length - 3 : 0;
    if (width > 50)
        width = 50;
    filled = total != 0 ? (unsigned)(done * width / total) : width;
    fputs("\r[", stderr);
    for (unsigned i = 0; i < width; i++)
        fputc(i < filled ? '#' : '.', stderr);
    fprintf(stderr, "]%.*s", length, figures);
    fflush(stderr);
    progress_shown = width + 2 + (unsigned)length;
}

/* Blanks, for a terminal need not know any escape sequence. */
void show_progress_end(void)
{
    if (progress_shown != 0)
        fprintf(stderr, "\r%*s\r", (int)progress_shown, "");
    progress_shown = 0;
}

/* --- text -------------------------------------------------------------------
 */

/*
 * The length of the well-formed UTF-8 character at text, or 0 (The Unicode
 * Standard, table 3-7).
 */
static size_t utf8_length(const unsigned char *s, size_t bytes)
{
    size_t n = s[0] < 0x80   ? 1
               : s[0] < 0xc2 ? 0
               : s[0] < 0xe0 ? 2
               : s[0] < 0xf0 ? 3
               : s[0] < 0xf5 ? 4
                             : 0;

    if (n == 0 || n > bytes)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

static bool is_control(const unsigned char *s, size_t n)
{
    return (n == 1 && (s[0] < ' ' || s[0] == 0x7f)) ||
           (n == 2 && s[0] == 0xc2 && s[1] < 0xa0); /* U+0080 to U+009F */
}

void show_name(FILE *file, const char *name)
{
    const unsigned char *s = (const unsigned char *)name;
    size_t left = strlen(name), n;

    for (; left != 0; s += n, left -= n) {
        n = utf8_length(s, left);
        if (n == 0 || is_control(s, n))
            n = 1; /* one byte after the other */
        else if (*s != '\\') {
            fwrite(s, 1, n, file);
            continue;
        }
        if (*s == '\n')
            fputs("\\n", file);
        else if (*s == '\t')
            fputs("\\t", file);
        else if (*s == '\\')
            fputs("\\\\", file);
        else
            fprintf(file, "\\x%02x", *s);
    }
}

void show_text(FILE *file, const char *text, size_t bytes, unsigned columns)
{
    const unsigned char *s = (const unsigned char *)text;
    bool space = false;
    unsigned used = 0;

    for (size_t i = 0; i < bytes;) {
        size_t n = utf8_length(s + i, bytes - i);

        if (s[i] == ' ' || is_control(s + i, n)) {
            space = used != 0;
            i += n;
            continue;
        }
        if (columns != 0 && used + space + 1 > columns - 1) {
            fputs("\xe2\x80\xa6", file);
            return;
        }
        if (space)
            fputc(' ', file);
        used += space + 1;
        space = false;
        if (n == 0)
            fputc('?', file);
        else
            fwrite(s + i, 1, n, file);
        i += n != 0 ? n : 1;
    }
}

void show_json_string(FILE *file, const char *text, size_t bytes)
{
    const unsigned char *s = (const unsigned char *)text;

    fputc('"', file);
    for (size_t i = 0; i < bytes;) {
        size_t n = utf8_length(s + i, bytes - i);

        if (n == 0)
            fputs("\\ufffd", file);
        else if (s[i] == '"' || s[i] == '\\')
            fprintf(file, "\\%c", s[i]);
        else if (s[i] < ' ' || s[i] == 0x7f)
            fprintf(file, "\\u%04x", s[i]);
        else
            fwrite(s + i, 1, n, file);
        i += n != 0 ? n : 1;
    }
    fputc('"', file);
}
