/*
 * word.h - a token as the tokeniser hands it on inside this component, its
 * hash, and the scanner that finds it.
 *
 *      text   | The quick brown fox jumps ...                 | 64 bytes
 *      word   | 111 11111 11111 111 11111 ...                 | ASCII alnum
 *      high   | 000 00000 00000 000 00000 ...                 | bytes >= 0x80
 *      rest   | .........  11111 111 11111 ...                | not yet read
 *                          ^ first bit: the next token begins
 *
 * A token of ASCII that lies in one block takes a few instructions: two
 * trailing-zero counts, two loads, a mask and a multiplication. One that
 * touches the end of its block moves the block to its own start. All others
 * (long, or with a byte above 0x7f) go to hyi_word_slow.
 *
 * The bytes of a token of up to 16, folded and padded with zeros, are the two
 * words low and high; no token holds a NUL, so they tell tokens apart.
 *
 * Invariant: no byte before begin or from end on is read; whatever the path, a
 * token's hash is hyi_hash of its folded bytes. Upstream: cursor.c,
 * vectorize.c. Downstream: word.c, unicode.h.
 */
#ifndef HYI_WORD_H
#define HYI_WORD_H

#include <hyperion/text.h>
#include <stdbool.h>
#include <string.h>

#include "check.h"

struct hyi_word {
    const char *text;
    size_t bytes;
    uint64_t hash;
    uint64_t low, high; /* when is_short: the folded bytes, zeros behind */
    bool is_short;      /* ASCII of at most 16 bytes */
};

/* Odd constants without structure: digits of pi. */
#define HYI_MIX_0 0x243f6a8885a308d3u
#define HYI_MIX_1 0x13198a2e03707345u
#define HYI_MIX_2 0xa4093822299f31d1u

/* Both halves of a 128-bit product, folded (the mixer of wyhash). */
static inline uint64_t hyi_mix(uint64_t a, uint64_t b)
{
#ifdef __SIZEOF_INT128__
    unsigned __int128 p = (unsigned __int128)a * b;

    return (uint64_t)p ^ (uint64_t)(p >> 64);
#else
    uint64_t al = (uint32_t)a, ah = a >> 32, bl = (uint32_t)b, bh = b >> 32;
    uint64_t ll = al * bl, lh = al * bh, hl = ah * bl, hh = ah * bh;
    uint64_t middle = (ll >> 32) + (uint32_t)lh + (uint32_t)hl;

    return (middle << 32 | (uint32_t)ll) ^
           (hh + (lh >> 32) + (hl >> 32) + (middle >> 32));
#endif
}

/* One round for 16 bytes; the first starts from 0. */
static inline uint64_t hyi_hash_round(uint64_t hash, uint64_t low,
                                      uint64_t high)
{
    return hyi_mix(low ^ HYI_MIX_0 ^ hash, high ^ HYI_MIX_1);
}

/* Eight bytes as a number whose lowest byte is the first. */
static inline uint64_t hyi_load8(const char *p)
{
    uint64_t x;

    memcpy(&x, p, sizeof(x));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = __builtin_bswap64(x);
#endif
    return x;
}

/* Masks of the first n bytes, n up to 16. */
extern const uint64_t hyi_byte_masks[17][2];

/* The hash of folded bytes of any number. */
uint64_t hyi_hash(const char *folded, size_t bytes);

/*
 * Reads the token at p, or what is none: bytes 0 then. Returns where to go on,
 * beyond p.
 */
const char *hyi_word_slow(const char *p, const char *end, struct hyi_word *out);

/* Makes p the block of the cursor and classifies it. */
void hyi_cursor_load(hy_text_cursor *c, const char *p);

/* Fills out for a short token of ASCII at p. */
static inline void hyi_word_fast(const char *p, size_t bytes, const char *end,
                                 struct hyi_word *out)
{
    const uint64_t lower = 0x2020202020202020u; /* a digit has that bit */
    char copy[16] = {0};
    const char *from = p;

    if (HYI_UNLIKELY(end - p < 16)) {
        memcpy(copy, p, (size_t)(end - p));
        from = copy;
    }
    out->text = p;
    out->bytes = bytes;
    out->low = (hyi_load8(from) | lower) & hyi_byte_masks[bytes][0];
    out->high = (hyi_load8(from + 8) | lower) & hyi_byte_masks[bytes][1];
    out->hash = hyi_hash_round(0, out->low, out->high);
    out->is_short = true;
}

/* Everything before p has been read. */
static inline void hyi_cursor_advance(hy_text_cursor *c, const char *p)
{
    size_t offset = (size_t)(p - c->block);

    if (offset < 64)
        c->rest &= ~0ull << offset;
    else
        hyi_cursor_load(c, p);
}

/* The next token; false at the end. */
static inline bool hyi_next_word(hy_text_cursor *c, struct hyi_word *out)
{
    for (;;) {
        unsigned at, length;

        if (c->rest == 0) {
            if (c->end - c->block <= 64)
                return false;
            hyi_cursor_load(c, c->block + 64);
            continue;
        }
        at = (unsigned)__builtin_ctzll(c->rest);
        /* 63 stands for 63 and more; either is long. */
        length = (unsigned)__builtin_ctzll(~(c->word >> at) | 1ull << 63);
        if (at + length == 64 && c->end - c->block > 64) {
            hyi_cursor_load(c, c->block + at); /* it may go on */
            continue;
        }
        if (HYI_LIKELY(length <= 16 && !(c->high >> at >> length & 1))) {
            hyi_word_fast(c->block + at, length, c->end, out);
            c->rest &= ~0ull << at << length;
            return true;
        }
        hyi_cursor_advance(c, hyi_word_slow(c->block + at, c->end, out));
        if (out->bytes != 0)
            return true;
    }
}

#endif
