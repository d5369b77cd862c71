/*
 * json_lines.c - reads standard input and tells whether each line of it is one
 * JSON value (RFC 8259) in well-formed UTF-8: exit status 0, or 1 after the
 * number of the line that is none. Without a line: 1.
 *
 * Each skip_... function returns where its thing ends, or NULL when it is none.
 */
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 64 };

static const char *skip_space(const char *p)
{
    return p + strspn(p, " \t\r");
}

/* The Unicode Standard, table 3-7. */
static const char *skip_utf8(const char *p)
{
    const unsigned char *s = (const unsigned char *)p;
    int n = s[0] < 0x80                   ? 1
            : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
            : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
            : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                          : 0;

    for (int i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return NULL;
    if (n == 0 || (s[0] == 0xe0 && s[1] < 0xa0) ||
        (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return NULL;
    return p + n;
}

static const char *skip_escape(const char *p)
{
    if (*p != 'u')
        return *p != '\0' && strchr("\"\\/bfnrt", *p) != NULL ? p + 1 : NULL;
    for (int i = 1; i <= 4; i++)
        if (!isxdigit((unsigned char)p[i]))
            return NULL;
    return p + 5;
}

static const char *skip_string(const char *p)
{
    if (*p++ != '"')
        return NULL;
    while (p != NULL && *p != '"') {
        if ((unsigned char)*p < 0x20)
            return NULL;
        p = *p == '\\' ? skip_escape(p + 1) : skip_utf8(p);
    }
    return p != NULL ? p + 1 : NULL;
}

static const char *skip_digits(const char *p)
{
    size_t n = strspn(p, "0123456789");

    return n != 0 ? p + n : NULL;
}

static const char *skip_number(const char *p)
{
    p += *p == '-';
    p = *p == '0' ? p + 1 : skip_digits(p);
    if (p != NULL && *p == '.')
        p = skip_digits(p + 1);
    if (p != NULL && (*p == 'e' || *p == 'E')) {
        p++;
        p = skip_digits(p + (*p == '+' || *p == '-'));
    }
    return p;
}

static const char *skip_value(const char *p, int depth);

static const char *skip_members(const char *p, char end, int depth)
{
    p = skip_space(p);
    if (*p == end)
        return p + 1;
    for (;;) {
        if (end == '}') {
            p = skip_string(skip_space(p));
            if (p == NULL || *(p = skip_space(p)) != ':')
                return NULL;
            p++;
        }
        p = skip_value(p, depth);
        if (p == NULL)
            return NULL;
        p = skip_space(p);
        if (*p == end)
            return p + 1;
        if (*p++ != ',')
            return NULL;
    }
}

static const char *skip_value(const char *p, int depth)
{
    static const char *const words[] = {"true", "false", "null"};

    p = skip_space(p);
    if (depth == DEPTH_MAX)
        return NULL;
    if (*p == '{' || *p == '[')
        return skip_members(p + 1, *p == '{' ? '}' : ']', depth + 1);
    if (*p == '"')
        return skip_string(p);
    for (int i = 0; i < 3; i++)
        if (strncmp(p, words[i], strlen(words[i])) == 0)
            return p + strlen(words[i]);
    return skip_number(p);
}

static bool is_json(const char *line, size_t bytes)
{
    const char *end = skip_value(line, 0);

    return end != NULL && skip_space(end) == line + bytes;
}

int main(void)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t bytes;
    unsigned count = 0;

    while ((bytes = getline(&line, &room, stdin)) > 0) {
        count++;
        if (line[bytes - 1] == '\n')
            line[--bytes] = '\0';
        if (!is_json(line, (size_t)bytes)) {
            printf("line %u is no JSON\n", count);
            free(line);
            return 1;
        }
    }
    free(line);
    return count == 0;
}
