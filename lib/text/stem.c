/*
 * stem.c - cutting English endings, lightly: enough that inflected forms of a
 * word meet, too little to be a grammar.
 *
 *      dogs -> dog       boxes -> box      flies -> fli      glass, bus, this
 *      cutting -> cut    baked -> bak      tried -> tri        keep their s
 *      baking -> bak     bake -> bak       carry -> carri
 *
 * The steps are those of Porter, "An algorithm for suffix stripping" (1980), 1a
 * to 1c and 5a, without his measure: where he asks for a vowel, so do we, among
 * the first 8 bytes.
 *
 * A word is looked at from its end, in a register:
 *
 *      low, high  | c u t t i n g 0 0 ... |      lowest byte first
 *      tail       | 0 c u t t i n g |            its last 8 bytes, g on top
 *
 * Branches stand only where they are mostly not taken: endings come as they
 * please, and a branch predictor would pay for it at every other word.
 *
 * Invariant: a stem has at least 3 bytes and is the beginning of its word, but
 * for an i in place of a final y. Upstream: vectorize.c. Downstream: word.h.
 */
#include "stem.h"

#define END2(a, b)       ((uint64_t)(a) | (uint64_t)(b) << 8)
#define END3(a, b, c)    (END2(a, b) | (uint64_t)(c) << 16)
#define END4(a, b, c, d) (END3(a, b, c) | (uint64_t)(d) << 24)

/* The last 8 bytes of n, at most 15; what a shift by 64 would do never counts.
 */
static uint64_t tail_of(uint64_t low, uint64_t high, size_t n)
{
    uint64_t fits = 0 - (uint64_t)(n <= 8), shift = 8 * n % 64;
    uint64_t one = low << (64 - shift) % 64;
    uint64_t two = low >> shift | high << (64 - shift) % 64;

    return (one & fits) | (two & ~fits);
}

/* How much a plural or third person loses. */
static unsigned plural_ending(uint64_t tail, size_t n)
{
    uint64_t two = tail >> 48, three = tail >> 40, four = tail >> 32;
    unsigned is_s = (n >= 4) & (tail >> 56 == 's');
    unsigned keeps = (two == END2('s', 's')) | (two == END2('u', 's')) |
                     (two == END2('i', 's'));
    unsigned loses_es =
        ((three == END3('i', 'e', 's')) & (n >= 5)) |
        (three == END3('x', 'e', 's')) | (four == END4('s', 's', 'e', 's')) |
        (four == END4('c', 'h', 'e', 's')) | (four == END4('s', 'h', 'e', 's'));

    return (is_s & ~keeps) << loses_es;
}

/* Not 0 when a byte of x is c. */
static uint64_t has_byte(uint64_t x, unsigned char c)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t zero_where = x ^ ones * c;

    return (zero_where - ones) & ~zero_where & ones << 7;
}

/* Among the first n bytes, of at most 8. */
static bool has_vowel(uint64_t low, size_t n)
{
    low &= hyi_byte_masks[n][0];
    return (has_byte(low, 'a') | has_byte(low, 'e') | has_byte(low, 'i') |
            has_byte(low, 'o') | has_byte(low, 'u') | has_byte(low, 'y')) != 0;
}

/* "cutt" is "cut", but "fill" and "pass" stay. */
static unsigned double_letter(uint64_t tail, size_t n)
{
    unsigned last = tail >> 56, before = tail >> 48 & 0xff;

    return (n > 3) & (last == before) & (last != 'l') & (last != 's') &
           (last != 'z') & (last != 'e');
}

/* How much -ing, -ed and -ied lose; the i of the last stays. */
static unsigned verb_ending(uint64_t tail, uint64_t low, size_t n)
{
    unsigned ing = (tail >> 40 == END3('i', 'n', 'g')) & (n >= 6);
    unsigned ed = (tail >> 48 == END2('e', 'd')) & (n >= 5);
    unsigned cut = 2 + ing;

    if (HYI_LIKELY((ing | ed) == 0))
        return 0;
    if (tail >> 40 == END3('i', 'e', 'd'))
        return 2;
    if (!has_vowel(low, n - cut))
        return 0;
    return cut + double_letter(tail << 8 * cut, n - cut);
}

void hyi_stem(struct hyi_word *w)
{
    size_t n = w->bytes;
    uint64_t tail, y_to_i, in_low;
    unsigned cut;

    if (!w->is_short || n < 3 || n > 15)
        return;
    tail = tail_of(w->low, w->high, n);
    cut = plural_ending(tail, n);
    tail <<= 8 * cut;
    n -= cut;
    cut = verb_ending(tail, w->low, n);
    tail <<= 8 * cut;
    n -= cut;
    cut = (n > 3) & (tail >> 56 == 'e');
    tail <<= 8 * cut;
    n -= cut;
    y_to_i = (uint64_t)(tail >> 56 == 'y') * ('y' ^ 'i') << 8 * (n - 1) % 64;
    in_low = 0 - (uint64_t)(n <= 8);
    w->low = (w->low & hyi_byte_masks[n][0]) ^ (y_to_i & in_low);
    w->high = (w->high & hyi_byte_masks[n][1]) ^ (y_to_i & ~in_low);
    w->hash = hyi_hash_round(0, w->low, w->high);
}
