/*
 * unicode.c - UTF-8, character classes and case, from small sorted tables of
 * ranges.
 *
 *      classes | 0080-00a9 | 00ab-00b4 | ... : first, last, class; gaps:
 * letters folds   | 00c0-00d6 | 0100-012f | ... : first, last, distance, every
 * 1st or 2nd
 *
 * Invariant: tables are sorted and do not overlap, so a binary search decides;
 * and folding never lengthens a character. Upstream: word.c. Downstream:
 * nothing.
 */
#include "unicode.h"

#include <stdbool.h>

#include "bits.h"

struct class_range {
    uint32_t first, last;
    enum hyi_class class;
};

struct fold_range {
    uint32_t first, last;
    int32_t distance;
    uint32_t step; /* 2: every second, from first; the others are lower case */
};

#define SEP HYI_SEPARATOR
#define IDE HYI_IDEOGRAPH

static const struct class_range classes[] = {
    {0x0080, 0x00a9, SEP},    /* C1 controls, signs */
    {0x00ab, 0x00b4, SEP},    /* signs; not a ordinal before, micro after */
    {0x00b6, 0x00b9, SEP},    /* signs */
    {0x00bb, 0x00bf, SEP},    /* signs; not o ordinal before */
    {0x00d7, 0x00d7, SEP},    /* multiplication */
    {0x00f7, 0x00f7, SEP},    /* division */
    {0x037e, 0x037e, SEP},    /* Greek */
    {0x0387, 0x0387, SEP},    /* Greek */
    {0x055a, 0x055f, SEP},    /* Armenian */
    {0x0589, 0x058a, SEP},    /* Armenian */
    {0x05be, 0x05be, SEP},    /* Hebrew */
    {0x05c0, 0x05c0, SEP},    /* Hebrew */
    {0x05c3, 0x05c3, SEP},    /* Hebrew */
    {0x05c6, 0x05c6, SEP},    /* Hebrew */
    {0x05f3, 0x05f4, SEP},    /* Hebrew */
    {0x0609, 0x060d, SEP},    /* Arabic */
    {0x061b, 0x061f, SEP},    /* Arabic */
    {0x066a, 0x066d, SEP},    /* Arabic */
    {0x06d4, 0x06d4, SEP},    /* Arabic */
    {0x0964, 0x0965, SEP},    /* Devanagari */
    {0x0970, 0x0970, SEP},    /* Devanagari */
    {0x0e4f, 0x0e4f, SEP},    /* Thai */
    {0x0e5a, 0x0e5b, SEP},    /* Thai */
    {0x0f04, 0x0f14, SEP},    /* Tibetan */
    {0x0f3a, 0x0f3d, SEP},    /* Tibetan */
    {0x104a, 0x104f, SEP},    /* Myanmar */
    {0x1360, 0x1368, SEP},    /* Ethiopic */
    {0x1680, 0x1680, SEP},    /* Ogham space */
    {0x17d4, 0x17da, SEP},    /* Khmer */
    {0x1800, 0x180a, SEP},    /* Mongolian */
    {0x2000, 0x2bff, SEP},    /* punctuation, symbols, arrows, boxes */
    {0x2e00, 0x2e7f, SEP},    /* supplemental punctuation */
    {0x2e80, 0x2fdf, IDE},    /* radicals */
    {0x2ff0, 0x303f, SEP},    /* description characters, CJK punctuation */
    {0x3040, 0x309f, IDE},    /* Hiragana */
    {0x30a0, 0x30a0, SEP},    /* double hyphen */
    {0x30a1, 0x30fa, IDE},    /* Katakana */
    {0x30fb, 0x30fb, SEP},    /* middle dot */
    {0x30fc, 0x312f, IDE},    /* Katakana, Bopomofo */
    {0x31a0, 0x31bf, IDE},    /* Bopomofo */
    {0x31c0, 0x31ef, SEP},    /* strokes */
    {0x31f0, 0x31ff, IDE},    /* Katakana */
    {0x3200, 0x33ff, SEP},    /* enclosed, squared */
    {0x3400, 0x4dbf, IDE},    /* Han */
    {0x4dc0, 0x4dff, SEP},    /* hexagrams */
    {0x4e00, 0x9fff, IDE},    /* Han */
    {0xd800, 0xf8ff, SEP},    /* surrogates, private use */
    {0xf900, 0xfaff, IDE},    /* Han */
    {0xfe00, 0xfe1f, SEP},    /* variation selectors, vertical forms */
    {0xfe30, 0xfe6f, SEP},    /* compatibility forms */
    {0xfeff, 0xff0f, SEP},    /* byte order mark, full-width signs */
    {0xff1a, 0xff20, SEP},    /* full-width signs */
    {0xff3b, 0xff40, SEP},    /* full-width signs */
    {0xff5b, 0xff65, SEP},    /* full-width signs */
    {0xff66, 0xff9d, IDE},    /* half-width Katakana */
    {0xffe0, 0xffff, SEP},    /* signs, specials */
    {0x1b000, 0x1b16f, IDE},  /* Kana */
    {0x1d000, 0x1d3ff, SEP},  /* music, counting rods */
    {0x1f000, 0x1fbff, SEP},  /* tiles, emoji, pictographs */
    {0x20000, 0x3ffff, IDE},  /* Han */
    {0xe0000, 0x10ffff, SEP}, /* tags, private use */
};

static const struct fold_range folds[] = {
    {0x00b5, 0x00b5, 775, 1},   /* micro to mu */
    {0x00c0, 0x00d6, 32, 1},    /* Latin-1 */
    {0x00d8, 0x00de, 32, 1},    /* Latin-1 */
    {0x0100, 0x012f, 1, 2},     /* Latin Extended-A */
    {0x0132, 0x0137, 1, 2},     /* Latin Extended-A */
    {0x0139, 0x0148, 1, 2},     /* Latin Extended-A */
    {0x014a, 0x0177, 1, 2},     /* Latin Extended-A */
    {0x0178, 0x0178, -121, 1},  /* Y with diaeresis */
    {0x0179, 0x017e, 1, 2},     /* Latin Extended-A */
    {0x017f, 0x017f, -268, 1},  /* long s */
    {0x0386, 0x0386, 38, 1},    /* Greek */
    {0x0388, 0x038a, 37, 1},    /* Greek */
    {0x038c, 0x038c, 64, 1},    /* Greek */
    {0x038e, 0x038f, 63, 1},    /* Greek */
    {0x0391, 0x03a1, 32, 1},    /* Greek */
    {0x03a3, 0x03ab, 32, 1},    /* Greek */
    {0x03c2, 0x03c2, 1, 1},     /* final sigma */
    {0x0400, 0x040f, 80, 1},    /* Cyrillic */
    {0x0410, 0x042f, 32, 1},    /* Cyrillic */
    {0x0460, 0x0481, 1, 2},     /* Cyrillic */
    {0x048a, 0x04bf, 1, 2},     /* Cyrillic */
    {0x04c0, 0x04c0, 15, 1},    /* Cyrillic */
    {0x04c1, 0x04ce, 1, 2},     /* Cyrillic */
    {0x04d0, 0x052f, 1, 2},     /* Cyrillic */
    {0x0531, 0x0556, 48, 1},    /* Armenian */
    {0x1e00, 0x1e95, 1, 2},     /* Latin Extended Additional */
    {0x1e9e, 0x1e9e, -7615, 1}, /* sharp s */
    {0x1ea0, 0x1eff, 1, 2},     /* Latin Extended Additional */
    {0xff21, 0xff3a, 32, 1},    /* full-width */
};

static bool is_tail(const char *p)
{
    return ((unsigned char)*p & 0xc0) == 0x80;
}

static uint32_t tail(const char *p)
{
    return (unsigned char)*p & 0x3fu;
}

unsigned hyi_utf8_decode(const char *p, const char *end, uint32_t *code)
{
    uint32_t c = (unsigned char)p[0];

    if (c < 0x80) {
        *code = c;
        return 1;
    }
    if (c < 0xc2 || c > 0xf4 || end - p < 2 || !is_tail(p + 1))
        return 0;
    if (c < 0xe0) {
        *code = (c & 0x1f) << 6 | tail(p + 1);
        return 2;
    }
    if (end - p < 3 || !is_tail(p + 2))
        return 0;
    if (c < 0xf0) {
        c = (c & 0xf) << 12 | tail(p + 1) << 6 | tail(p + 2);
        if (c < 0x800 || (c >= 0xd800 && c <= 0xdfff))
            return 0;
        *code = c;
        return 3;
    }
    if (end - p < 4 || !is_tail(p + 3))
        return 0;
    c = (c & 7) << 18 | tail(p + 1) << 12 | tail(p + 2) << 6 | tail(p + 3);
    if (c < 0x10000 || c > 0x10ffff)
        return 0;
    *code = c;
    return 4;
}

unsigned hyi_utf8_encode(uint32_t code, char *out)
{
    unsigned bytes = code < 0x80      ? 1
                     : code < 0x800   ? 2
                     : code < 0x10000 ? 3
                                      : 4;
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};

    for (unsigned i = bytes; i-- > 1; code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(lead[bytes] | code);
    return bytes;
}

static bool is_ascii_letter(uint32_t code)
{
    return (code | 0x20) - 'a' < 26;
}

enum hyi_class hyi_class_of(uint32_t code)
{
    size_t low = 0, high = HYI_ARRAY_COUNT(classes);

    if (code < 0x80)
        return is_ascii_letter(code) || code - '0' < 10 ? HYI_LETTER
                                                        : HYI_SEPARATOR;
    while (low < high) {
        size_t middle = (low + high) / 2;

        if (code > classes[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < HYI_ARRAY_COUNT(classes) && code >= classes[low].first)
        return classes[low].class;
    return HYI_LETTER;
}

uint32_t hyi_fold(uint32_t code)
{
    size_t low = 0, high = HYI_ARRAY_COUNT(folds);
    const struct fold_range *f;

    if (code < 0x80)
        return is_ascii_letter(code) ? code | 0x20 : code;
    while (low < high) {
        size_t middle = (low + high) / 2;

        if (code > folds[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    f = &folds[low];
    if (low == HYI_ARRAY_COUNT(folds) || code < f->first ||
        (code - f->first) % f->step != 0)
        return code;
    return (uint32_t)((int32_t)code + f->distance);
}
