/*
 * unicode.h - what the tokeniser needs of Unicode: well-formed UTF-8, which
 * characters make tokens, and simple lower case. Pure functions.
 */
#ifndef HYI_UNICODE_H
#define HYI_UNICODE_H

#include <stddef.h>
#include <stdint.h>

enum hyi_class {
    HYI_SEPARATOR, /* belongs to no token */
    HYI_LETTER,    /* letters, digits, marks */
    HYI_IDEOGRAPH  /* a token by itself */
};

/*
 * The character at p < end: its bytes (1 to 4) and code point, or 0 when the
 * byte there begins no well-formed character (RFC 3629: overlong forms,
 * surrogates, beyond U+10FFFF, cut short).
 */
unsigned hyi_utf8_decode(const char *p, const char *end, uint32_t *code);

/* Writes the character; at most as many bytes as decoding took. Its length. */
unsigned hyi_utf8_encode(uint32_t code, char *out);

enum hyi_class hyi_class_of(uint32_t code);

/* Lower case, one to one; never longer in UTF-8. */
uint32_t hyi_fold(uint32_t code);

#endif
