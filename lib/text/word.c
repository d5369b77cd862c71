/*
 * word.c - the parts of the tokeniser that are not in its inner loop: blocks
 * classified, long tokens and characters beyond ASCII, hashing.
 *
 *      p                 end of a token: a separator, a bad byte, an
 *      |                 ideograph, the end of text, or 128 bytes
 *      v                      v
 *      Z u r i c h  ...  -->  folded | z u r i c h |  -->  hash
 *
 * Invariant: a token is never longer than HY_TOKEN_BYTES_MAX, and folding never
 * lengthens, so the folded copy fits. Upstream: word.h. Downstream: unicode.h.
 */
#include "word.h"

#include "unicode.h"

#define ROW(n)                                                                 \
    {                                                                          \
        (n) == 0   ? 0                                                         \
        : (n) >= 8 ? ~0ull                                                     \
                   : ~0ull >> (64 - 8 * ((n) % 8)) % 64,                       \
            (n) <= 8    ? 0                                                    \
            : (n) == 16 ? ~0ull                                                \
                        : ~0ull >> (64 - 8 * ((n) % 8)) % 64                   \
    }

const uint64_t hyi_byte_masks[17][2] = {
    ROW(0),  ROW(1),  ROW(2),  ROW(3),  ROW(4),  ROW(5),
    ROW(6),  ROW(7),  ROW(8),  ROW(9),  ROW(10), ROW(11),
    ROW(12), ROW(13), ROW(14), ROW(15), ROW(16),
};

uint64_t hyi_hash(const char *folded, size_t bytes)
{
    uint64_t hash = 0;

    for (size_t i = 0; i < bytes; i += 16) {
        char chunk[16] = {0};

        memcpy(chunk, folded + i, bytes - i < 16 ? bytes - i : 16);
        hash = hyi_hash_round(hash, hyi_load8(chunk), hyi_load8(chunk + 8));
    }
    return hash;
}

const char *hyi_word_slow(const char *p, const char *end, struct hyi_word *out)
{
    char folded[HY_TOKEN_BYTES_MAX];
    const char *start = p;
    size_t used = 0;

    out->bytes = 0;
    while (p < end) {
        uint32_t code;
        unsigned bytes = hyi_utf8_decode(p, end, &code);
        enum hyi_class class = bytes == 0 ? HYI_SEPARATOR : hyi_class_of(code);

        if (p == start && class == HYI_SEPARATOR)
            return p + (bytes == 0 ? 1 : bytes);
        if ((p != start && class != HYI_LETTER) ||
            (size_t)(p - start) + bytes > HY_TOKEN_BYTES_MAX)
            break;
        used += hyi_utf8_encode(hyi_fold(code), folded + used);
        p += bytes;
        if (class == HYI_IDEOGRAPH)
            break;
    }
    HYI_DEBUG(used <= (size_t)(p - start));
    out->text = start;
    out->bytes = (size_t)(p - start);
    out->hash = hyi_hash(folded, used);
    out->is_short = false;
    return p;
}

void hyi_cursor_load(hy_text_cursor *c, const char *p)
{
    size_t left = (size_t)(c->end - p);

    HYI_DEBUG(p >= c->begin && p <= c->end);
    c->block = p;
    if (left >= 64) {
        c->classify(p, &c->word, &c->high);
    } else if (left > 0 && c->end - c->begin >= 64) {
        c->classify(c->end - 64, &c->word, &c->high);
        c->word >>= 64 - left;
        c->high >>= 64 - left;
    } else {
        char copy[64] = {0};

        if (left > 0)
            memcpy(copy, p, left);
        c->classify(copy, &c->word, &c->high);
    }
    c->rest = c->word | c->high;
}
