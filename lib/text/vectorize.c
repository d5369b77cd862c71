/*
 * vectorize.c - feature hashing: text to a vector of fixed length.
 *
 *      text --tokens--> stop? --stem--> hash --+--> bucket 1: +1 or -1
 *                        |                     +--> bucket 2: +1 or -1
 *                        +-> out
 *      then each bucket s becomes sign(s) sqrt(|s| / sum |s|)
 *
 * The square root stands for a logarithm of the count: it is rounded correctly
 * everywhere, needs no count for each word, and makes the squared length the
 * sum of the |s|, which are integers. So no order of additions shows, and the
 * result is the same bits on every machine.
 *
 * Two buckets a feature (Kane and Nelson, "Sparser Johnson-Lindenstrauss
 * Transforms", 2014) because one collision then costs half a word, not a whole
 * one; docs/design/text.md has what that is worth.
 *
 * Stop words are found in a table of hashes, each within two slots of its home,
 * so that finding takes no branch: whether the next word is a stop word is a
 * coin toss to a branch predictor.
 *
 * Invariant: a vectorizer never changes after its creation. Upstream: pipeline.
 * Downstream: word.h, stem.h, stop_words.h.
 */
#include <hyperion/text.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "bits.h"
#include "options.h"
#include "stem.h"
#include "stop_words.h"
#include "word.h"
#include "trace.h"

enum {
    DIM_MAX = 65536,
    NGRAMS_MAX = 4,
    BATCH = 64,          /* words between two stages */
    TOUCHED_MAX = 512,   /* buckets up to which a text counts as short */
    FEATURE_BUCKETS = 2, /* what one feature may touch */
};

struct hy_vectorizer {
    size_t dim;
    uint64_t seed;
    unsigned ngrams, probes;
    bool stems;
    size_t stop_mask;
    uint64_t *stops; /* stop_mask + 2 hashes: the last home has two slots */
};

/* A vector being made. */
struct features {
    const hy_vectorizer *v;
    float *out;
    uint32_t buckets[TOUCHED_MAX]; /* what was touched, while it fits */
    size_t touched;
    uint64_t last[NGRAMS_MAX - 1]; /* kept tokens, the newest first */
    unsigned seen;                 /* how many of last are there */
};

/* --- stop words ----------------------------------------------------------- */

/* In slot i, a hash whose home is neither i nor i - 1: it is never looked for
 * there. The table has at least 8 slots. */
static uint64_t vacant(size_t i)
{
    return i + 3;
}

static bool is_stop(const hy_vectorizer *v, uint64_t hash)
{
    const uint64_t *home = v->stops + (hash & v->stop_mask);

    return (home[0] == hash) | (home[1] == hash);
}

/* False when neither slot is free. */
static bool stop_insert(hy_vectorizer *v, uint64_t hash)
{
    size_t home = hash & v->stop_mask;

    if (is_stop(v, hash))
        return true;
    for (size_t i = home; i < home + 2; i++) {
        if (v->stops[i] == vacant(i)) {
            v->stops[i] = hash;
            return true;
        }
    }
    return false;
}

static bool stop_fill(hy_vectorizer *v, const uint64_t *hashes, size_t count)
{
    for (size_t i = 0; i < v->stop_mask + 2; i++)
        v->stops[i] = vacant(i);
    for (size_t i = 0; i < count; i++)
        if (!stop_insert(v, hashes[i]))
            return false;
    return true;
}

/* Doubles the table until each hash lies within two slots of its home. */
static int stop_build(hy_vectorizer *v, const uint64_t *hashes, size_t count)
{
    uint64_t slots = hyi_power_of_two_ceil(4 * count + 8);

    for (;; slots *= 2) {
        v->stops = malloc((size_t)(slots + 1) * sizeof(*v->stops));
        if (v->stops == NULL)
            return -ENOMEM;
        v->stop_mask = (size_t)slots - 1;
        if (stop_fill(v, hashes, count))
            return 0;
        free(v->stops);
    }
}

/* 0, or -EINVAL when the word is not one token from end to end. */
static int stop_hash(const char *word, uint64_t *hash)
{
    size_t bytes = word != NULL ? strlen(word) : 0;
    hy_text_cursor cursor;
    hy_token token;

    hy_text_cursor_init(&cursor, word, bytes);
    if (!hy_text_next_token(&cursor, &token) || token.bytes != bytes)
        return -EINVAL;
    *hash = token.hash;
    return 0;
}

static int stops_create(hy_vectorizer *v, const hy_vectorizer_options *o)
{
    size_t own = v->stems ? hyi_stop_words_english_count : 0, count;
    uint64_t *hashes;
    int error = 0;

    if (o->stop_word_count > SIZE_MAX / 64 - own)
        return -ENOMEM;
    count = own + o->stop_word_count;
    hashes = malloc((count + 1) * sizeof(*hashes));
    if (hashes == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < count && error == 0; i++)
        error = stop_hash(i < own ? hyi_stop_words_english[i]
                                  : o->stop_words[i - own],
                          &hashes[i]);
    if (error == 0)
        error = stop_build(v, hashes, count);
    free(hashes);
    return error;
}

/* --- life ----------------------------------------------------------------- */

static int check_options(hy_vectorizer_options *o)
{
    if (o->dim == 0)
        o->dim = 256;
    if (o->language == 0)
        o->language = HY_LANGUAGE_ENGLISH;
    if (o->ngrams == 0)
        o->ngrams = 1;
    if (o->probes == 0)
        o->probes = 2;
    if (o->dim > DIM_MAX || o->ngrams > NGRAMS_MAX || o->probes > 2 ||
        o->language > HY_LANGUAGE_NONE || o->reserved != 0 ||
        (o->stop_words == NULL && o->stop_word_count != 0))
        return -EINVAL;
    return 0;
}

int hy_vectorizer_create(hy_vectorizer **out,
                         const hy_vectorizer_options *options)
{
    hy_vectorizer_options o;
    hy_vectorizer *v;
    int error;

    if (out == NULL)
        return -EINVAL;
    error = hyi_options_read(&o, sizeof(o), options);
    if (error == 0)
        error = check_options(&o);
    if (error != 0)
        return error;
    v = calloc(1, sizeof(*v));
    if (v == NULL)
        return -ENOMEM;
    v->dim = o.dim;
    v->seed = hyi_mix(o.seed ^ HYI_MIX_0, HYI_MIX_1);
    v->ngrams = o.ngrams;
    v->probes = o.dim > 1 ? o.probes : 1;
    v->stems = o.language == HY_LANGUAGE_ENGLISH;
    error = stops_create(v, &o);
    if (error != 0) {
        free(v);
        return error;
    }
    *out = v;
    return 0;
}

void hy_vectorizer_destroy(hy_vectorizer *v)
{
    if (v == NULL)
        return;
    free(v->stops);
    free(v);
}

size_t hy_vectorizer_dim(const hy_vectorizer *v)
{
    return v->dim;
}

int hy_vectorizer_is_stop_word(const hy_vectorizer *v, const hy_token *token)
{
    return is_stop(v, token->hash);
}

/* --- features ------------------------------------------------------------- */

/* By 32 bits of a hash: its bucket from the top, its sign from the bottom. */
static size_t bucket(uint32_t bits, size_t dim)
{
    return (size_t)((uint64_t)bits * dim >> 32);
}

/* 1 or -1, without a branch: signs are random. */
static float sign_of(uint32_t bits)
{
    uint32_t one = 0x3f800000u | bits << 31;
    float sign;

    memcpy(&sign, &one, sizeof(sign));
    return sign;
}

/* Adds a feature, notes its buckets from f->buckets[touched] on, and returns
 * how many are noted; once that is too many it stays so. */
static inline size_t add_feature(struct features *f, size_t touched,
                                 uint64_t hash)
{
    const size_t dim = f->v->dim;
    uint64_t mixed = hyi_mix(hash ^ f->v->seed, HYI_MIX_2);
    uint32_t one = (uint32_t)(mixed >> 32), two = (uint32_t)mixed;
    size_t first = bucket(one, dim), second = bucket(two, dim);

    if (HYI_UNLIKELY(touched > TOUCHED_MAX - FEATURE_BUCKETS))
        touched = TOUCHED_MAX - FEATURE_BUCKETS;
    f->out[first] += sign_of(one);
    f->buckets[touched++] = (uint32_t)first;
    if (f->v->probes < 2)
        return touched;
    if (HYI_UNLIKELY(second == first)) /* else they might cancel */
        second = first + 1 < dim ? first + 1 : 0;
    f->out[second] += sign_of(two);
    f->buckets[touched++] = (uint32_t)second;
    return touched;
}

/* All sequences of 2 to ngrams tokens that end with this one. */
static size_t add_sequences(struct features *f, size_t touched, uint64_t hash)
{
    unsigned keep = f->v->ngrams - 1;
    uint64_t sequence = hash;

    for (unsigned i = 0; i < f->seen; i++) {
        sequence = hyi_mix(sequence ^ HYI_MIX_1, f->last[i] ^ HYI_MIX_2);
        touched = add_feature(f, touched, sequence);
    }
    for (unsigned i = keep; i-- > 1;)
        f->last[i] = f->last[i - 1];
    f->last[0] = hash;
    f->seen += f->seen < keep;
    return touched;
}

/* Up to BATCH words that are no stop words, without a branch on that. */
static size_t next_kept(const hy_vectorizer *v, hy_text_cursor *c,
                        struct hyi_word *words)
{
    size_t count = 0;

    while (count < BATCH && hyi_next_word(c, &words[count]))
        count += !is_stop(v, words[count].hash);
    return count;
}

/* A count's weight in a vector whose counts sum up to 1 / inverse. */
static float weight(float count, float inverse)
{
    return copysignf(sqrtf(fabsf(count) * inverse), count);
}

/* Weights for long texts: every bucket is looked at. Sums of 64 counts fit. */
static void finish_dense(const hy_vectorizer *v, float *out)
{
    uint64_t sum = 0;
    float inverse;

    for (size_t i = 0, rest; i < v->dim; i += rest) {
        uint32_t part = 0;

        rest = v->dim - i < 64 ? v->dim - i : 64;
        for (size_t j = i; j < i + rest; j++)
            part += (uint32_t)(int32_t)fabsf(out[j]);
        sum += part;
    }
    if (sum == 0)
        return;
    inverse = (float)(1.0 / (double)sum);
    for (size_t i = 0; i < v->dim; i++)
        out[i] = weight(out[i], inverse);
}

/*
 * Weights for short texts: only the buckets that were touched. Each is taken
 * out of the vector first, which leaves 0 behind, so that one touched twice is
 * taken once; then it is put back with its weight. Small counts are by far the
 * most frequent: their weights come from a table.
 */
static void finish_sparse(struct features *f)
{
    enum { SMALL = 16 };
    float counts[TOUCHED_MAX], small[SMALL], inverse;
    size_t taken = 0;
    uint64_t sum = 0;

    for (size_t i = 0; i < f->touched; i++) {
        float count = f->out[f->buckets[i]];

        f->out[f->buckets[i]] = 0;
        counts[taken] = count;
        f->buckets[taken] = f->buckets[i];
        sum += (uint64_t)(int32_t)fabsf(count);
        taken += count != 0;
    }
    if (sum == 0)
        return;
    inverse = (float)(1.0 / (double)sum);
    for (int k = 0; k < SMALL; k++)
        small[k] = weight((float)k, inverse);
    for (size_t i = 0; i < taken; i++) {
        float size = fabsf(counts[i]);

        f->out[f->buckets[i]] = HYI_LIKELY(size < SMALL)
                                    ? copysignf(small[(int32_t)size], counts[i])
                                    : weight(counts[i], inverse);
    }
}

/*
 * Stems first, then adds: were they one loop, each addition would wait to see
 * that the one before, whose bucket is known only after its stem, goes to
 * another place. In two loops they overlap.
 */
static void add_words(struct features *f, struct hyi_word *words, size_t count)
{
    size_t touched = f->touched;

    for (size_t i = 0; f->v->stems && i < count; i++)
        hyi_stem(&words[i]);
    for (size_t i = 0; i < count; i++) {
        touched = add_feature(f, touched, words[i].hash);
        if (f->v->ngrams > 1)
            touched = add_sequences(f, touched, words[i].hash);
    }
    f->touched = touched;
}

static void hand_on(const struct hyi_word *words, size_t count,
                    hy_stem_sink sink, void *ctx)
{
    uint64_t hashes[BATCH];

    for (size_t i = 0; i < count; i++)
        hashes[i] = words[i].hash;
    if (count != 0)
        sink(ctx, hashes, count);
}

static int vectorize(const hy_vectorizer *v, const char *text, size_t bytes,
                     float *out, hy_stem_sink sink, void *ctx)
{
    struct hyi_word words[BATCH];
    struct features f;
    hy_text_cursor cursor;
    size_t count;

    if (v == NULL || out == NULL ||
        hy_text_cursor_init(&cursor, text, bytes) != 0)
        return -EINVAL;
    memset(out, 0, v->dim * sizeof(*out));
    f.v = v;
    f.out = out;
    f.touched = f.seen = 0;
    do {
        count = next_kept(v, &cursor, words);
        HYI_TRACE("token", count);
        add_words(&f, words, count);
        if (sink != NULL)
            hand_on(words, count, sink, ctx);
    } while (count == BATCH);
    if (f.touched <= TOUCHED_MAX - FEATURE_BUCKETS)
        finish_sparse(&f);
    else
        finish_dense(v, out);
    HYI_TRACE("vectorize", v->dim);
    return 0;
}

int hy_text_vectorize(const hy_vectorizer *v, const char *text, size_t bytes,
                      float *out)
{
    return vectorize(v, text, bytes, out, NULL, NULL);
}

int hy_text_vectorize_stems(const hy_vectorizer *v, const char *text,
                            size_t bytes, float *out, hy_stem_sink sink,
                            void *ctx)
{
    return sink == NULL ? -EINVAL : vectorize(v, text, bytes, out, sink, ctx);
}

size_t hy_text_next_stems(const hy_vectorizer *v, hy_text_cursor *cursor,
                          uint64_t *hashes, size_t max)
{
    struct hyi_word word;
    size_t count = 0;

    while (count < max && hyi_next_word(cursor, &word)) {
        if (is_stop(v, word.hash))
            continue;
        if (v->stems)
            hyi_stem(&word);
        hashes[count++] = word.hash;
    }
    return count;
}
