/*
 * test_text_vectorize.c - feature hashing: lengths, stop words, endings,
 * options, failures of memory, vectors that are the same everywhere.
 */
#include "hy_test.h"

#include <hyperion/text.h>

#include <errno.h>
#include <math.h>
#include <stdint.h>

#include "fail.h"
#include "stem.h"
#include "stop_words.h"

enum { DIM = 256 };

static hy_vectorizer *english(void)
{
    hy_vectorizer *v = NULL;

    HY_CHECK_EQ(hy_vectorizer_create(&v, NULL), 0);
    return v;
}

static void vectorize(const hy_vectorizer *v, const char *text, float *out)
{
    HY_CHECK_EQ(hy_text_vectorize(v, text, strlen(text), out), 0);
}

static double dot(const float *a, const float *b, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

static double similarity(const hy_vectorizer *v, const char *s, const char *t)
{
    float a[DIM], b[DIM];

    vectorize(v, s, a);
    vectorize(v, t, b);
    return dot(a, b, DIM);
}

HY_TEST(text_vectorize, length_is_one)
{
    hy_vectorizer *v = english();
    float out[DIM];

    HY_CHECK_EQ(hy_vectorizer_dim(v), DIM);
    vectorize(v,
              "An embeddable library that gives one process its own small "
              "operating system: fibers, fibers, pages and kernels",
              out);
    HY_CHECK(fabs(dot(out, out, DIM) - 1) < 1e-5);
    vectorize(v, "x", out);
    HY_CHECK(fabs(dot(out, out, DIM) - 1) < 1e-6);
    hy_vectorizer_destroy(v);
}

HY_TEST(text_vectorize, zero_without_tokens)
{
    static const char *const texts[] = {
        "", " ", "...", "the of and", "\xff", "isn't it? You've had yours"};
    hy_vectorizer *v = english();
    float out[DIM];

    for (size_t t = 0; t < sizeof(texts) / sizeof(*texts); t++) {
        memset(out, 0x55, sizeof(out));
        vectorize(v, texts[t], out);
        for (int i = 0; i < DIM; i++)
            HY_CHECK_MSG(out[i] == 0 && !signbit(out[i]), "\"%s\"", texts[t]);
    }
    hy_vectorizer_destroy(v);
}

HY_TEST(text_vectorize, what_is_alike)
{
    hy_vectorizer *v = english();

    HY_CHECK(similarity(v, "a dog barks", "The DOG, barks!") > 0.9999);
    HY_CHECK(similarity(v, "dogs barked", "the dog is barking") > 0.9999);
    HY_CHECK(fabs(similarity(v, "purple submarine", "annual budget")) < 0.3);
    HY_CHECK(similarity(v, "small domesticated animal", "domesticated cat") >
             0.2);
    hy_vectorizer_destroy(v);
}

HY_TEST(text_vectorize, counts_are_dampened)
{
    hy_vectorizer *v = english();
    float once[DIM], often[DIM];
    int same = 0;

    vectorize(v, "tiger zebra", once);
    vectorize(v, "tiger tiger tiger tiger zebra", often);
    for (int i = 0; i < DIM; i++) /* tiger has twice the weight of zebra */
        same += once[i] != 0 &&
                fabsf(often[i] - once[i] * sqrtf(16.0f / 10)) < 1e-5f;
    HY_CHECK_EQ(same, 2);
    HY_CHECK(fabs(dot(once, often, DIM) - 3 / sqrt(2 * 5)) < 1e-5);
    hy_vectorizer_destroy(v);
}

/* Short and long texts against the definition, from their words one by one. */
HY_TEST(text_vectorize, counts_add_up)
{
    static const int lengths[] = {1, 40, 254, 255, 256, 257, 300, 2000};
    static char text[40000];
    hy_vectorizer *v = english();
    float counts[DIM] = {0}, one[DIM], out[DIM];
    size_t used = 0;
    int words = 0;

    for (size_t l = 0; l < sizeof(lengths) / sizeof(*lengths); l++) {
        double sum = 0;

        for (; words < lengths[l]; words++) {
            size_t start = used;

            used += (size_t)sprintf(text + used, "q%dx ", words % 700);
            vectorize(v, text + start, one);
            for (int i = 0; i < DIM; i++)
                counts[i] += (float)((one[i] > 0) - (one[i] < 0));
        }
        vectorize(v, text, out);
        for (int i = 0; i < DIM; i++)
            sum += fabsf(counts[i]);
        for (int i = 0; i < DIM; i++) {
            double want = copysign(sqrt(fabsf(counts[i]) / sum), counts[i]);

            HY_CHECK_MSG(fabs(out[i] - want) < 1e-6, "%d words, %d: %g, not %g",
                         words, i, out[i], want);
        }
    }
    hy_vectorizer_destroy(v);
}

HY_TEST(text_vectorize, options)
{
    static const char *const more[] = {"Gloss", "Ünsinn"};
    hy_vectorizer_options o = HY_VECTORIZER_OPTIONS_INIT;
    hy_vectorizer *v, *w = english();
    float out[4096], other[DIM];

    o.dim = 4096;
    o.stop_words = more;
    o.stop_word_count = 2;
    HY_CHECK_EQ(hy_vectorizer_create(&v, &o), 0);
    HY_CHECK_EQ(hy_vectorizer_dim(v), 4096);
    vectorize(v, "GLOSS ünsinn the", out);
    HY_CHECK(dot(out, out, 4096) == 0);
    hy_vectorizer_destroy(v);

    o = (hy_vectorizer_options)HY_VECTORIZER_OPTIONS_INIT;
    o.language = HY_LANGUAGE_NONE;
    HY_CHECK_EQ(hy_vectorizer_create(&v, &o), 0);
    vectorize(v, "the", out);
    HY_CHECK(dot(out, out, DIM) > 0.99);
    HY_CHECK(fabs(similarity(v, "dogs", "dog")) < 0.9);
    hy_vectorizer_destroy(v);

    o = (hy_vectorizer_options)HY_VECTORIZER_OPTIONS_INIT;
    o.seed = 7;
    HY_CHECK_EQ(hy_vectorizer_create(&v, &o), 0);
    vectorize(v, "elephant giraffe zebra tiger lion", out);
    vectorize(w, "elephant giraffe zebra tiger lion", other);
    HY_CHECK(fabs(dot(out, other, DIM)) < 0.6);
    hy_vectorizer_destroy(v);

    o = (hy_vectorizer_options)HY_VECTORIZER_OPTIONS_INIT;
    o.probes = 1;
    HY_CHECK_EQ(hy_vectorizer_create(&v, &o), 0);
    vectorize(v, "elephant", out);
    for (int i = 0; i < DIM; i++)
        HY_CHECK(out[i] == 0 || fabsf(out[i]) == 1);
    hy_vectorizer_destroy(v);
    hy_vectorizer_destroy(w);
    hy_vectorizer_destroy(NULL);
}

HY_TEST(text_vectorize, tiny_dimensions)
{
    hy_vectorizer_options o = HY_VECTORIZER_OPTIONS_INIT;
    hy_vectorizer *v;
    float out[3];

    for (o.dim = 1; o.dim <= 3; o.dim++) {
        HY_CHECK_EQ(hy_vectorizer_create(&v, &o), 0);
        for (char c = 'a'; c <= 'z'; c++) {
            char word[] = {c, 'q', '\0'};

            vectorize(v, word, out);
            HY_CHECK(fabs(dot(out, out, o.dim) - 1) < 1e-6);
        }
        hy_vectorizer_destroy(v);
    }
}

HY_TEST(text_vectorize, sequences)
{
    hy_vectorizer_options o = HY_VECTORIZER_OPTIONS_INIT;
    hy_vectorizer *one = english(), *two, *four;

    o.ngrams = 2;
    HY_CHECK_EQ(hy_vectorizer_create(&two, &o), 0);
    o.ngrams = 4;
    HY_CHECK_EQ(hy_vectorizer_create(&four, &o), 0);
    HY_CHECK(similarity(one, "man bites dog", "dog bites man") > 0.999);
    HY_CHECK(similarity(two, "man bites dog", "dog bites man") < 0.9);
    HY_CHECK(similarity(four, "man bites dog", "dog bites man") < 0.9);
    HY_CHECK(similarity(two, "bites the dog", "bites dog") > 0.999);
    hy_vectorizer_destroy(one);
    hy_vectorizer_destroy(two);
    hy_vectorizer_destroy(four);
}

/* More tokens than a batch: sequences go on across its end. */
HY_TEST(text_vectorize, batches_join)
{
    hy_vectorizer_options o = HY_VECTORIZER_OPTIONS_INIT;
    hy_vectorizer *v;
    char text[2000] = "";
    float whole[DIM];
    double sum = 0;

    o.ngrams = 3;
    o.probes = 1;
    o.dim = 1; /* with one bucket and one word, every sequence has one sign */
    HY_CHECK_EQ(hy_vectorizer_create(&v, &o), 0);
    hy_vectorizer_destroy(v);
    o.dim = DIM;
    HY_CHECK_EQ(hy_vectorizer_create(&v, &o), 0);
    for (int i = 0; i < 200; i++)
        strcat(text, "tiger ");
    vectorize(v, text, whole);
    for (int i = 0; i < DIM; i++) { /* 200 words, 199 pairs, 198 triples */
        double share = (double)whole[i] * whole[i] * 597;

        HY_CHECK(share == 0 || fabs(share - 200) < 0.01 ||
                 fabs(share - 199) < 0.01 || fabs(share - 198) < 0.01);
        sum += share;
    }
    HY_CHECK(fabs(sum - 597) < 0.01);
    hy_vectorizer_destroy(v);
}

struct stems {
    uint64_t hashes[1000];
    size_t count;
};

static void take_stems(void *ctx, const uint64_t *hashes, size_t count)
{
    struct stems *stems = ctx;

    HY_CHECK(count != 0 && stems->count + count <= 1000);
    memcpy(stems->hashes + stems->count, hashes, count * sizeof(*hashes));
    stems->count += count;
}

HY_TEST(text_vectorize, hands_on_the_words_it_counts)
{
    hy_vectorizer *v = english();
    struct stems stems;
    char text[6000] = "";
    float one[DIM], two[DIM];

    /* None, some, exactly a batch or two, and more. */
    for (int words = 0; words < 300; words += words < 140 ? 1 : 53) {
        uint64_t expected[1000];
        hy_text_cursor cursor;
        size_t n, at = 0;

        for (int i = 0; i < words; i++)
            at += (size_t)snprintf(text + at, sizeof(text) - at,
                                   "running%d the ", i);
        stems.count = 0;
        HY_CHECK_EQ(
            hy_text_vectorize_stems(v, text, at, two, take_stems, &stems), 0);
        HY_CHECK_EQ(hy_text_vectorize(v, text, at, one), 0);
        HY_CHECK(memcmp(one, two, sizeof(one)) == 0);
        hy_text_cursor_init(&cursor, text, at);
        n = hy_text_next_stems(v, &cursor, expected, 1000);
        HY_CHECK(n == (size_t)words && n == stems.count);
        HY_CHECK(memcmp(expected, stems.hashes, n * sizeof(*expected)) == 0);
    }
    HY_CHECK_EQ(hy_text_vectorize_stems(v, "a", 1, one, NULL, &stems), -EINVAL);
    HY_CHECK_EQ(hy_text_vectorize_stems(NULL, "a", 1, one, take_stems, &stems),
                -EINVAL);
    hy_vectorizer_destroy(v);
}

HY_TEST(text_vectorize, bad_arguments)
{
    static const char *const bad[] = {"two words", "", "-", "end.", NULL};
    hy_vectorizer_options o = HY_VECTORIZER_OPTIONS_INIT;
    hy_vectorizer *v = NULL, *good = english();
    struct {
        hy_vectorizer_options known;
        uint64_t unknown;
    } newer = {HY_VECTORIZER_OPTIONS_INIT, 1};
    float out[DIM];

    HY_CHECK_EQ(hy_vectorizer_create(NULL, &o), -EINVAL);
    o.size = 3;
    HY_CHECK_EQ(hy_vectorizer_create(&v, &o), -EINVAL);
    newer.known.size = sizeof(newer);
    HY_CHECK_EQ(hy_vectorizer_create(&v, &newer.known), -E2BIG);
#define REFUSED(member, value)                                                 \
    o = (hy_vectorizer_options)HY_VECTORIZER_OPTIONS_INIT;                     \
    o.member = value;                                                          \
    HY_CHECK_EQ(hy_vectorizer_create(&v, &o), -EINVAL)
    REFUSED(dim, 65537);
    REFUSED(dim, SIZE_MAX);
    REFUSED(language, 3);
    REFUSED(ngrams, 5);
    REFUSED(probes, 3);
    REFUSED(reserved, 1);
    REFUSED(stop_word_count, 1);
    o.stop_words = bad;
    o.stop_word_count = SIZE_MAX;
    HY_CHECK_EQ(hy_vectorizer_create(&v, &o), -ENOMEM);
    for (size_t i = 0; i < 5; i++) {
        o.stop_words = bad + i;
        o.stop_word_count = 1;
        HY_CHECK_EQ(hy_vectorizer_create(&v, &o), -EINVAL);
    }
    HY_CHECK(v == NULL);
    HY_CHECK_EQ(hy_text_vectorize(NULL, "a", 1, out), -EINVAL);
    HY_CHECK_EQ(hy_text_vectorize(good, NULL, 1, out), -EINVAL);
    HY_CHECK_EQ(hy_text_vectorize(good, "a", 1, NULL), -EINVAL);
    HY_CHECK_EQ(hy_text_vectorize(good, NULL, 0, out), 0);
    hy_vectorizer_destroy(good);
}

HY_TEST(text_vectorize, no_memory)
{
    hy_vectorizer *v = NULL;

    hy_fail_at(HY_FAIL_CALLOC, 1, ENOMEM);
    HY_CHECK_EQ(hy_vectorizer_create(&v, NULL), -ENOMEM);
    for (unsigned nth = 1; nth <= 2; nth++) {
        hy_fail_at(HY_FAIL_MALLOC, nth, ENOMEM);
        HY_CHECK_EQ(hy_vectorizer_create(&v, NULL), -ENOMEM);
    }
    HY_CHECK_EQ(hy_fail_hits(), 3);
    hy_fail_none();
    HY_CHECK(v == NULL);
}

HY_TEST(text_vectorize, stop_words)
{
    hy_vectorizer *v = english();
    const char *const *words = hyi_stop_words_english;
    hy_text_cursor cursor;
    hy_token token;

    for (size_t i = 0; i < hyi_stop_words_english_count; i++) {
        HY_CHECK(i == 0 || strcmp(words[i - 1], words[i]) < 0);
        hy_text_cursor_init(&cursor, words[i], strlen(words[i]));
        HY_CHECK_EQ(hy_text_next_token(&cursor, &token), 1);
        HY_CHECK_EQ(token.bytes, strlen(words[i]));
        HY_CHECK_EQ(hy_vectorizer_is_stop_word(v, &token), 1);
    }
    for (uint64_t hash = 0; hash < 5000; hash++) {
        token.hash = hash * 0x9e3779b97f4a7c15u;
        HY_CHECK_EQ(hy_vectorizer_is_stop_word(v, &token), 0);
        token.hash = hash;
        HY_CHECK_EQ(hy_vectorizer_is_stop_word(v, &token), 0);
    }
    hy_vectorizer_destroy(v);
}

/* Many more stop words than the built-in ones: the table grows. */
HY_TEST(text_vectorize, many_stop_words)
{
    enum { COUNT = 3000 };
    static char text[COUNT][8];
    static const char *words[COUNT];
    hy_vectorizer_options o = HY_VECTORIZER_OPTIONS_INIT;
    hy_vectorizer *v;
    float out[DIM];

    for (int i = 0; i < COUNT; i++) {
        snprintf(text[i], sizeof(text[i]), "w%dx", i);
        words[i] = text[i];
    }
    o.stop_words = words;
    o.stop_word_count = COUNT;
    HY_CHECK_EQ(hy_vectorizer_create(&v, &o), 0);
    for (int i = 0; i < COUNT; i++) {
        vectorize(v, words[i], out);
        HY_CHECK(dot(out, out, DIM) == 0);
    }
    vectorize(v, "w3000x", out);
    HY_CHECK(dot(out, out, DIM) > 0.99);
    hy_vectorizer_destroy(v);
}

/* The stem of one word, as text. */
static const char *stem(const char *word)
{
    static char text[17];
    hy_text_cursor cursor;
    struct hyi_word w;
    uint64_t halves[2];

    hy_text_cursor_init(&cursor, word, strlen(word));
    HY_CHECK(hyi_next_word(&cursor, &w));
    hyi_stem(&w);
    halves[0] = w.low;
    halves[1] = w.high;
    for (int i = 0; i < 16; i++)
        text[i] = (char)(halves[i / 8] >> 8 * (i % 8));
    HY_CHECK(w.hash == hyi_hash(text, strlen(text)));
    return text;
}

HY_TEST(text_vectorize, endings)
{
    static const char *const stems[][2] = {
        {"dogs", "dog"},
        {"boxes", "box"},
        {"churches", "church"},
        {"wishes", "wish"},
        {"glasses", "glass"},
        {"glass", "glass"},
        {"bus", "bus"},
        {"virus", "virus"},
        {"analysis", "analysis"},
        {"flies", "fli"},
        {"dies", "die"},
        {"stories", "stori"},
        {"story", "stori"},
        {"cutting", "cut"},
        {"filling", "fill"},
        {"baking", "bak"},
        {"bake", "bak"},
        {"baked", "bak"},
        {"bakes", "bak"},
        {"sing", "sing"},
        {"string", "string"},
        {"bring", "bring"},
        {"tried", "tri"},
        {"stopped", "stop"},
        {"bed", "bed"},
        {"shred", "shred"},
        {"softly", "softli"},
        {"family", "famili"},
        {"only", "onli"},
        {"fly", "fli"},
        {"cat", "cat"},
        {"is", "is"},
        {"seeing", "see"},
        {"1980s", "1980"},
        {"a", "a"},
        {"WALKING", "walk"},
        {"characteristics", "characteristic"},
        {"responsibility", "responsibiliti"},
        {"responsibilities", "responsibilities"},
    };

    for (size_t i = 0; i < sizeof(stems) / sizeof(*stems); i++)
        HY_CHECK_STR(stem(stems[i][0]), stems[i][1]);
}

/* Words of every length and ending: a stem is 3 bytes at least, no longer than
 * its word, and made of the word's own beginning but for one letter. */
HY_TEST(text_vectorize, endings_of_anything)
{
    static const char letters[] = "seingdly aeos";
    uint64_t seed = 1;
    char word[17];

    for (int round = 0; round < 200000; round++) {
        size_t n = 0, m;

        seed = seed * 6364136223846793005u + 1442695040888963407u;
        for (uint64_t bits = seed >> 8; n < 16 && bits > 13; bits /= 13)
            if (letters[bits % 13] != ' ')
                word[n++] = letters[bits % 13];
        word[n] = '\0';
        if (n == 0)
            continue;
        m = strlen(stem(word));
        HY_CHECK_MSG(m <= n && (m >= 3 || m == n), "%s", word);
        HY_CHECK_MSG(memcmp(stem(word), word, m - 1) == 0, "%s", word);
    }
}

static uint64_t fnv(const void *data, size_t bytes)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ ((const unsigned char *)data)[i]) * 0x100000001b3u;
    return hash;
}

/* Vectors that are stored must stay comparable: the same bits on every machine
 * and in every version. */
HY_TEST(text_vectorize, golden)
{
    static const char text[] =
        "Any of several small carnivorous mammals of the genus Mustela; "
        "weasels, ferrets (Frettchen), \xd0\xbb\xd0\xb0\xd1\x81\xd0\xba\xd0\xb0"
        " and minks. The weasels, weasels everywhere! "
        "internationalisations 1234567890123456789";
    hy_vectorizer_options o = HY_VECTORIZER_OPTIONS_INIT;
    hy_vectorizer *v = english();
    static float out[1000];

    vectorize(v, text, out);
    HY_CHECK_MSG(fnv(out, DIM * 4) == 0xc7fc9b8dacc67633u, "0x%llx",
                 (unsigned long long)fnv(out, DIM * 4));
    hy_vectorizer_destroy(v);
    o.dim = 1000;
    o.ngrams = 3;
    o.seed = 42;
    HY_CHECK_EQ(hy_vectorizer_create(&v, &o), 0);
    vectorize(v, text, out);
    HY_CHECK_MSG(fnv(out, 4000) == 0xec50b766f472686au, "0x%llx",
                 (unsigned long long)fnv(out, 4000));
    hy_vectorizer_destroy(v);
}

/* What follows another text in the same buffer leaves no trace. */
HY_TEST(text_vectorize, any_place_gives_the_same)
{
    static const char text[] = "flightless cold-water bird of the Antarctic "
                               "with webbed feet and wings modified as "
                               "flippers; hunts underwater for krill";
    hy_vectorizer *v = english();
    char buffer[400];
    float want[DIM], out[DIM];

    vectorize(v, text, want);
    for (size_t at = 0; at < 130; at++) {
        memset(buffer, 'z', sizeof(buffer));
        memcpy(buffer + at, text, sizeof(text) - 1);
        HY_CHECK_EQ(hy_text_vectorize(v, buffer + at, sizeof(text) - 1, out),
                    0);
        HY_CHECK(memcmp(out, want, sizeof(out)) == 0);
        memset(buffer, ' ', at);
        HY_CHECK_EQ(hy_text_vectorize(v, buffer, at + sizeof(text) - 1, out),
                    0);
        HY_CHECK(memcmp(out, want, sizeof(out)) == 0);
    }
    hy_vectorizer_destroy(v);
}
