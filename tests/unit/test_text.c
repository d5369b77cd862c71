/*
 * test_text.c - the tokeniser: against a plain one that reads character by
 * character, on texts by hand and on random bytes; what UTF-8 allows; lengths;
 * hashes that are the same everywhere.
 */
#include "hy_test.h"

#include <hyperion/text.h>

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>

#include "unicode.h"
#include "word.h"

static uint64_t seed = 1;

static uint32_t draw(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 32);
}

/* The tokeniser as text.h words it, without blocks or masks. */
static const char *plain_token(const char *p, const char *end, hy_token *out)
{
    char folded[HY_TOKEN_BYTES_MAX];
    size_t used = 0;

    out->text = NULL;
    out->bytes = 0;
    while (p < end) {
        uint32_t code;
        unsigned bytes = hyi_utf8_decode(p, end, &code);
        enum hyi_class class = bytes ? hyi_class_of(code) : HYI_SEPARATOR;

        if (class == HYI_SEPARATOR && out->bytes != 0)
            break;
        if (class == HYI_SEPARATOR) {
            p += bytes ? bytes : 1;
            continue;
        }
        if (out->bytes != 0 &&
            (class == HYI_IDEOGRAPH || out->bytes + bytes > HY_TOKEN_BYTES_MAX))
            break;
        if (out->bytes == 0)
            out->text = p;
        used += hyi_utf8_encode(hyi_fold(code), folded + used);
        out->bytes += bytes;
        p += bytes;
        if (class == HYI_IDEOGRAPH)
            break;
    }
    out->hash = hyi_hash(folded, used);
    return p;
}

static void check_against_plain(const char *text, size_t bytes)
{
    const char *p = text, *end = text + bytes;
    hy_text_cursor cursor, many;
    hy_token got, want, some[7];
    size_t held = 0, next = 0;

    HY_CHECK_EQ(hy_text_cursor_init(&cursor, text, bytes), 0);
    many = cursor;
    for (;;) {
        int more;

        p = plain_token(p, end, &want);
        more = hy_text_next_token(&cursor, &got);
        HY_CHECK_EQ(more, want.bytes != 0);
        if (next == held) {
            held = hy_text_next_tokens(&many, some, 7);
            next = 0;
        }
        HY_CHECK_EQ(next < held, more);
        if (!more)
            break;
        HY_CHECK_EQ(got.text - text, want.text - text);
        HY_CHECK_EQ(got.bytes, want.bytes);
        HY_CHECK(got.hash == want.hash);
        HY_CHECK(memcmp(&some[next], &got, sizeof(got)) == 0);
        next++;
    }
    HY_CHECK_EQ(hy_text_next_token(&cursor, &got), 0);
}

/* The tokens of a text, joined by '|'. */
static const char *split(const char *text, size_t bytes)
{
    static char joined[4096];
    hy_text_cursor cursor;
    hy_token token;
    size_t used = 0;

    HY_CHECK_EQ(hy_text_cursor_init(&cursor, text, bytes), 0);
    while (hy_text_next_token(&cursor, &token)) {
        if (used != 0)
            joined[used++] = '|';
        memcpy(joined + used, token.text, token.bytes);
        used += token.bytes;
    }
    joined[used] = '\0';
    return joined;
}

#define SPLIT(literal) split(literal, sizeof(literal) - 1)

HY_TEST(text, tokens)
{
    HY_CHECK_STR(SPLIT("The quick, brown fox's 2nd (jump)!"),
                 "The|quick|brown|fox|s|2nd|jump");
    HY_CHECK_STR(SPLIT(""), "");
    HY_CHECK_STR(SPLIT(" \t\r\n.,;"), "");
    HY_CHECK_STR(SPLIT("a"), "a");
    HY_CHECK_STR(SPLIT("snake_case CamelCase x86-64"),
                 "snake|case|CamelCase|x86|64");
    HY_CHECK_STR(SPLIT("nul\0nul"), "nul|nul");
    HY_CHECK_STR(SPLIT("Zürich — Ærøskøbing… naïve"),
                 "Zürich|Ærøskøbing|naïve");
    HY_CHECK_STR(SPLIT("Привет, мир! Καλημέρα·κόσμε;"),
                 "Привет|мир|Καλημέρα|κόσμε");
    HY_CHECK_STR(SPLIT("漢字かなABC한국어"), "漢|字|か|な|ABC한국어");
    HY_CHECK_STR(SPLIT("smile\xf0\x9f\x98\x80smile"), "smile|smile");
    HY_CHECK_STR(SPLIT("e\xcc\x81t\xcc\x81"), "e\xcc\x81t\xcc\x81");
}

HY_TEST(text, bad_bytes_separate)
{
    HY_CHECK_STR(SPLIT("ab\xff"
                       "cd"),
                 "ab|cd");
    HY_CHECK_STR(SPLIT("ab\x80"
                       "cd"),
                 "ab|cd");
    HY_CHECK_STR(SPLIT("ab\xc3"
                       "cd"),
                 "ab|cd"); /* cut short */
    HY_CHECK_STR(SPLIT("ab\xe2\x82"
                       "cd"),
                 "ab|cd"); /* cut short */
    HY_CHECK_STR(SPLIT("ab\xc1\xa1"
                       "cd"),
                 "ab|cd"); /* overlong */
    HY_CHECK_STR(SPLIT("ab\xe0\x81\xa1"
                       "cd"),
                 "ab|cd"); /* overlong */
    HY_CHECK_STR(SPLIT("ab\xf0\x80\x81\xa1"
                       "cd"),
                 "ab|cd"); /* overlong */
    HY_CHECK_STR(SPLIT("ab\xed\xa0\x80"
                       "cd"),
                 "ab|cd"); /* surrogate */
    HY_CHECK_STR(SPLIT("ab\xf4\x90\x80\x80"
                       "cd"),
                 "ab|cd"); /* too large */
    HY_CHECK_STR(SPLIT("ab\xf5\x80\x80\x80"
                       "cd"),
                 "ab|cd"); /* too large */
    HY_CHECK_STR(SPLIT("\xc3"), "");
    HY_CHECK_STR(SPLIT("x\xc3"), "x");
    HY_CHECK_STR(SPLIT("\xbf\xbf\xbfx"), "x");
}

HY_TEST(text, bad_arguments)
{
    hy_text_cursor cursor;
    hy_token token = {NULL, 7, 7};

    HY_CHECK_EQ(hy_text_cursor_init(NULL, "a", 1), -EINVAL);
    HY_CHECK_EQ(hy_text_cursor_init(&cursor, NULL, 1), -EINVAL);
    HY_CHECK_EQ(hy_text_cursor_init(&cursor, NULL, 0), 0);
    HY_CHECK_EQ(hy_text_next_token(&cursor, &token), 0);
    HY_CHECK_EQ(token.bytes, 7);
    HY_CHECK_EQ(hy_text_next_tokens(&cursor, &token, 1), 0);
}

static uint64_t hash_of(const char *word)
{
    hy_text_cursor cursor;
    hy_token token;

    HY_CHECK_EQ(hy_text_cursor_init(&cursor, word, strlen(word)), 0);
    HY_CHECK_EQ(hy_text_next_token(&cursor, &token), 1);
    HY_CHECK_EQ(token.bytes, strlen(word));
    return token.hash;
}

HY_TEST(text, case_is_folded)
{
    static const char *const pairs[][2] = {
        {"HELLO", "hello"},
        {"Zürich", "zÜRICH"},
        {"ŁÓDŹ", "łódź"},
        {"ПРИВЕТ", "привет"},
        {"ЁЖИК", "ёжик"},
        {"ΚΌΣΜΟΣ", "κόσμος"},
        {"ΣΊΣΥΦΟΣ", "σίσυφος"},
        {"Ÿ", "ÿ"},
        {"ſ", "S"},
        {"ԱԲԳ", "աբգ"},
        {"ＡＢＣ", "ａｂｃ"},
        {"ẞ", "ß"},
        {"Ạ", "ạ"},
        {"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
         "abcdefghijklmnopqrstuvwxyz0123456789"},
    };

    for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++)
        HY_CHECK_MSG(hash_of(pairs[i][0]) == hash_of(pairs[i][1]), "%s",
                     pairs[i][0]);
    HY_CHECK(hash_of("resume") != hash_of("résumé"));
    HY_CHECK(hash_of("a") != hash_of("aa"));
}

/* Every character: decoding undoes encoding, folding is final and no longer. */
HY_TEST(text, every_character)
{
    char bytes[4], folded[4];
    uint32_t code;

    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        unsigned n = hyi_utf8_encode(c, bytes);
        uint32_t f = hyi_fold(c);

        if (c >= 0xd800 && c <= 0xdfff) {
            HY_CHECK_EQ(hyi_utf8_decode(bytes, bytes + n, &code), 0);
            continue;
        }
        HY_CHECK_EQ(hyi_utf8_decode(bytes, bytes + n, &code), n);
        HY_CHECK_EQ(code, c);
        for (unsigned cut = 1; cut < n; cut++)
            HY_CHECK_EQ(hyi_utf8_decode(bytes, bytes + cut, &code), 0);
        HY_CHECK(hyi_utf8_encode(f, folded) <= n);
        HY_CHECK_EQ(hyi_fold(f), f);
        HY_CHECK_EQ(hyi_class_of(f), hyi_class_of(c));
    }
}

/* All pairs of bytes that could begin a character, with tails good and bad. */
HY_TEST(text, every_start_of_a_character)
{
    static const unsigned char tails[] = {0x00, 0x41, 0x7f, 0x80, 0x8f,
                                          0x90, 0x9f, 0xa0, 0xbf, 0xc0};
    char text[12] = "ab";

    for (int a = 0x80; a < 0x100; a++) {
        for (int b = 0x70; b < 0x100; b++) {
            for (size_t t = 0; t < sizeof(tails); t++) {
                text[2] = (char)a;
                text[3] = (char)b;
                text[4] = text[5] = (char)tails[t];
                text[6] = 'x';
                check_against_plain(text, 7);
                check_against_plain(text, 4);
            }
        }
    }
}

/* Text of words, with what a mutation or a file from anywhere would hold. */
static size_t random_text(char *text, size_t max, unsigned kind)
{
    static const char *const pieces[] = {
        "the",  "a",  "of ", " ",  ", ",   "x",        "internationalisation",
        "ß",    "é",  "Ж",   "漢", "\xff", "\xe2\x82", "0123456789abcdef",
        "word", "\0", "-"};
    size_t used = 0;

    while (used < max) {
        const char *piece = pieces[draw() % 17];
        size_t bytes = *piece ? strlen(piece) : 1;

        if (kind == 0 || (kind == 1 && draw() % 8 == 0)) {
            text[used++] = (char)draw();
        } else if (kind == 2) {
            text[used++] = draw() % 64 == 0 ? ' ' : 'w';
        } else if (used + bytes <= max) {
            memcpy(text + used, piece, bytes);
            used += bytes;
        } else {
            break;
        }
    }
    return used;
}

HY_TEST(text, random_bytes)
{
    static char text[700];

    for (int round = 0; round < 6000; round++) {
        size_t max = round < 300 ? (size_t)round : draw() % sizeof(text);

        check_against_plain(text, random_text(text, max, draw() % 4));
    }
}

/* Text between pages that must not be touched: nothing around it is read. */
HY_TEST(text, reads_nothing_around)
{
    enum { PAGE = 65536 };
    char *p =
        mmap(NULL, 3 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    static char text[300];

    HY_CHECK(p != MAP_FAILED);
    HY_CHECK(mprotect(p + PAGE, PAGE, PROT_READ | PROT_WRITE) == 0);
    for (size_t n = 0; n < sizeof(text); n++) {
        for (unsigned kind = 0; kind < 4; kind++) {
            size_t bytes = random_text(text, n, kind);

            memcpy(p + 2 * PAGE - bytes, text, bytes);
            check_against_plain(p + 2 * PAGE - bytes, bytes);
            memcpy(p + PAGE, text, bytes);
            check_against_plain(p + PAGE, bytes);
        }
    }
    munmap(p, 3 * PAGE);
}

HY_TEST(text, long_runs_are_cut)
{
    enum { BYTES = 1 << 20 };
    char *text = malloc(BYTES);
    hy_text_cursor cursor;
    hy_token token;
    size_t total = 0;

    memset(text, 'a', BYTES);
    hy_text_cursor_init(&cursor, text, BYTES);
    while (hy_text_next_token(&cursor, &token)) {
        HY_CHECK(token.bytes == HY_TOKEN_BYTES_MAX);
        total += token.bytes;
    }
    HY_CHECK_EQ(total, BYTES);
    for (size_t i = 0; i + 3 <= BYTES; i += 3)
        memcpy(text + i, "\xe0\xa4\x85", 3); /* Devanagari a */
    hy_text_cursor_init(&cursor, text, BYTES);
    HY_CHECK_EQ(hy_text_next_token(&cursor, &token), 1);
    HY_CHECK_EQ(token.bytes, HY_TOKEN_BYTES_MAX / 3 * 3);
    free(text);
}

/* These values are part of the interface: indexes are built on them. */
HY_TEST(text, golden_hashes)
{
    static const struct {
        const char *word;
        uint64_t hash;
    } golden[] = {
        {"a", 0x6e2fbd941936c089u},
        {"hyperion", 0xc48036f8518686u},
        {"internationally", 0x8fd5d7d2be459222u},
        {"0123456789abcdef", 0x9cd476c1ec54006du},
        {"0123456789abcdefg", 0xd3028950c27d8ff1u},
        {"Zürich", 0xd51e4e4dd723c015u},
        {"漢", 0xd26861472f1ae55cu},
    };

    for (size_t i = 0; i < sizeof(golden) / sizeof(*golden); i++)
        HY_CHECK_MSG(hash_of(golden[i].word) == golden[i].hash, "%s: 0x%llx",
                     golden[i].word,
                     (unsigned long long)hash_of(golden[i].word));
}
