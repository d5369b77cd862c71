/*
 * expr_lex.c - the tokens of an expression.
 *
 * Numbers are read without regard to the locale: the digits are handed to
 * strtod as an integer with an exponent, so no decimal point ever is.
 *
 *      12.50e3  ->  digits "1250", exponent 3 - 2  ->  strtod("1250e1")
 *
 * Invariant: no byte behind the terminating zero is read.
 * Upstream: expr_parse.c. Downstream: libc's strtod.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "expr.h"

enum { DIGITS_MAX = 400 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool starts_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (unsigned char)c >= 128;
}

static bool continues_name(char c)
{
    return starts_name(c) || is_digit(c) || c == '.';
}

static size_t name_length(const char *text)
{
    size_t n = 0;

    if (!starts_name(text[0]))
        return 0;
    while (continues_name(text[n]))
        n++;
    return n;
}

bool hyi_expr_is_name(const char *text)
{
    size_t n = name_length(text);

    return n != 0 && text[n] == '\0';
}

static void bad(struct hyi_token *t, size_t length, const char *message)
{
    t->kind = HYI_TOKEN_BAD;
    t->length = length;
    t->message = message;
}

/* Digits of the given base; false when they exceed 64 bits. */
static bool read_integer(const char *p, size_t length, unsigned base,
                         uint64_t *out)
{
    uint64_t value = 0;

    for (size_t i = 0; i < length; i++) {
        unsigned c = (unsigned char)p[i];
        unsigned digit = c <= '9' ? c - '0' : (c | 32) - 'a' + 10;

        if (__builtin_mul_overflow(value, base, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return false;
    }
    *out = value;
    return true;
}

static bool is_hex_digit(char c)
{
    return is_digit(c) || ((c | 32) >= 'a' && (c | 32) <= 'f');
}

static void lex_hex(const char *p, struct hyi_token *t)
{
    size_t n = 2;

    while (is_hex_digit(p[n]))
        n++;
    t->length = n;
    t->kind = HYI_TOKEN_INTEGER;
    if (n == 2 || continues_name(p[n]))
        bad(t, n, "this is no hexadecimal number");
    else if (!read_integer(p + 2, n - 2, 16, &t->integer))
        bad(t, n, "the number is too large");
}

/* The span of a decimal number and its parts. */
struct decimal {
    size_t whole, fraction; /* digits before and behind the point */
    size_t length;
    long exponent;
    bool is_float;
};

static bool scan_decimal(const char *p, struct decimal *d)
{
    size_t n = 0;

    *d = (struct decimal){0};
    while (is_digit(p[n]))
        n++;
    d->whole = n;
    if (p[n] == '.') {
        d->is_float = true;
        n++;
        while (is_digit(p[n]))
            n++;
        d->fraction = n - d->whole - 1;
    }
    if (p[n] == 'e' || p[n] == 'E') {
        bool minus = p[n + 1] == '-';

        n += p[n + 1] == '-' || p[n + 1] == '+' ? 2 : 1;
        if (!is_digit(p[n]))
            return false;
        for (; is_digit(p[n]); n++)
            if (d->exponent < 100000)
                d->exponent = d->exponent * 10 + (p[n] - '0');
        if (minus)
            d->exponent = -d->exponent;
        d->is_float = true;
    }
    d->length = n;
    return d->whole + d->fraction <= DIGITS_MAX;
}

/* single: rounded once, to float. */
static double decimal_value(const char *p, const struct decimal *d, bool single)
{
    char text[DIGITS_MAX + 32];
    size_t n = d->whole;
    int saved = errno;
    double value;

    memcpy(text, p, n);
    if (d->fraction != 0)
        memcpy(text + n, p + n + 1, d->fraction);
    n += d->fraction;
    snprintf(text + n, sizeof(text) - n, "e%ld",
             d->exponent - (long)d->fraction);
    value = single ? (double)strtof(text, NULL) : strtod(text, NULL);
    errno = saved;
    return value;
}

static void lex_number(const char *p, struct hyi_token *t)
{
    struct decimal d;
    bool single;

    if (p[0] == '0' && (p[1] | 32) == 'x') {
        lex_hex(p, t);
        return;
    }
    if (!scan_decimal(p, &d)) {
        bad(t, 1, "this is no number");
        return;
    }
    single = d.is_float && (p[d.length] | 32) == 'f';
    t->length = d.length + single;
    if (continues_name(p[t->length])) {
        bad(t, t->length, "this is no number");
        return;
    }
    if (!d.is_float) {
        t->kind = HYI_TOKEN_INTEGER;
        if (d.whole > 1 && p[0] == '0')
            bad(t, t->length, "a whole number does not start with 0");
        else if (!read_integer(p, d.whole, 10, &t->integer))
            bad(t, t->length, "the number is too large");
        return;
    }
    t->kind = single ? HYI_TOKEN_SINGLE : HYI_TOKEN_FLOAT;
    t->number = decimal_value(p, &d, single);
    if (isinf(t->number))
        bad(t, t->length, "the number is too large");
}

static void lex_param(const char *p, struct hyi_token *t)
{
    size_t n = 1;

    while (is_digit(p[n]))
        n++;
    t->kind = HYI_TOKEN_PARAM;
    t->length = n;
    if (n == 1)
        bad(t, n, "a parameter is $ and a number");
    else if (!read_integer(p + 1, n - 1, 10, &t->integer))
        t->integer = UINT64_MAX;
}

static void lex_sign(const char *p, struct hyi_token *t)
{
    static const struct {
        char text[3];
        int sign;
    } twos[] = {{"<=", HYI_SIGN_LE}, {">=", HYI_SIGN_GE},  {"==", HYI_SIGN_EQ},
                {"!=", HYI_SIGN_NE}, {"&&", HYI_SIGN_AND}, {"||", HYI_SIGN_OR}};

    t->kind = HYI_TOKEN_SIGN;
    for (size_t i = 0; i < HYI_ARRAY_COUNT(twos); i++) {
        if (p[0] == twos[i].text[0] && p[1] == twos[i].text[1]) {
            t->sign = twos[i].sign;
            t->length = 2;
            return;
        }
    }
    t->sign = (unsigned char)p[0];
    t->length = 1;
    if (p[0] == '=')
        bad(t, 1, "nothing can be assigned; equality is ==");
    else if (p[0] == '&')
        bad(t, 1, "there is no &; logic is &&");
    else if (p[0] == '|')
        bad(t, 1, "there is no |; logic is ||");
    else if (strchr("+-*/%!<>()?:,", p[0]) == NULL)
        bad(t, 1, "no expression holds this character");
}

void hyi_expr_lex(const char *source, size_t *position, struct hyi_token *out)
{
    size_t at = *position;
    const char *p;

    while (source[at] == ' ' || (source[at] >= '\t' && source[at] <= '\r'))
        at++;
    p = source + at;
    memset(out, 0, sizeof(*out));
    out->position = at;
    if (*p == '\0') {
        out->kind = HYI_TOKEN_END;
    } else if (is_digit(*p) || (*p == '.' && is_digit(p[1]))) {
        lex_number(p, out);
    } else if (starts_name(*p)) {
        out->kind = HYI_TOKEN_NAME;
        out->length = name_length(p);
    } else if (*p == '$') {
        lex_param(p, out);
    } else {
        lex_sign(p, out);
    }
    *position = at + out->length;
}
