/*
 * cursor.c - tokens one by one or by the dozen (text.h).
 *
 *      | begin ... | block: 64 bytes, classified | ... end |
 *                     ^ rest: the bits not yet read
 *
 * Invariant: every byte before the first bit of rest has been dealt with.
 * Upstream: programs, pipeline. Downstream: word.h, arch.h (classify).
 */
#include <hyperion/text.h>

#include <errno.h>

#include "arch.h"
#include "isa.h"
#include "word.h"

int hy_text_cursor_init(hy_text_cursor *cursor, const char *text, size_t bytes)
{
    if (cursor == NULL || (text == NULL && bytes != 0))
        return -EINVAL;
    if (text == NULL)
        text = "";
    memset(cursor, 0, sizeof(*cursor));
    cursor->begin = text;
    cursor->end = text + bytes;
    cursor->classify = hy_arch_vec_select(hyi_isa_features())->classify;
    hyi_cursor_load(cursor, text);
    return 0;
}

int hy_text_next_token(hy_text_cursor *cursor, hy_token *out)
{
    struct hyi_word word;

    if (!hyi_next_word(cursor, &word))
        return 0;
    *out = (hy_token){word.text, word.bytes, word.hash};
    return 1;
}

size_t hy_text_next_tokens(hy_text_cursor *cursor, hy_token *out, size_t max)
{
    hy_text_cursor c = *cursor; /* lives in registers meanwhile */
    struct hyi_word word;
    size_t count = 0;

    while (count < max && hyi_next_word(&c, &word))
        out[count++] = (hy_token){word.text, word.bytes, word.hash};
    *cursor = c;
    return count;
}
