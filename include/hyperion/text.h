/*
 * text.h - from text to tokens to vectors.
 *
 * Tokens. Text is UTF-8 (RFC 3629) and may hold anything: a byte that is not
 * part of a well-formed character separates, as do NUL and punctuation. A token
 * is a longest run of letters, digits and marks:
 *
 *      U+0000..007F   letters and digits of ASCII; nothing else, so that
 *                     "don't" is two tokens and "a_b" too
 *      U+0080..       everything, but for controls, the signs of Latin-1, the
 *                     blocks of punctuation, symbols, arrows, pictographs and
 *                     private use, and the punctuation of the larger scripts:
 *                     the table in lib/text/unicode.c
 *      Han, Hiragana, Katakana, Bopomofo: each character is a token, since
 *                     their words are not set apart
 *
 * A run of more than HY_TOKEN_BYTES_MAX bytes is cut, between characters, into
 * tokens of at most that many; so a line of a gigabyte needs no memory either.
 *
 * A token's text points into the input; its hash is that of the same token in
 * lower case: ASCII, Latin-1, Latin Extended-A and Additional, Greek (final
 * sigma too), Cyrillic, Armenian and full-width letters are folded one to one.
 * Combined and decomposed accents differ: normalise first if that matters. The
 * hash is the same on every machine and in every version of this library.
 *
 * Vectors. A hy_vectorizer hashes tokens into a vector of fixed length
 * (Weinberger et al., "Feature Hashing for Large Scale Multitask Learning",
 * 2009): no vocabulary, no training, one pass. What it finds alike is alike in
 * its words: this is lexical, not semantic; synonyms are strangers.
 */
#ifndef HYPERION_TEXT_H
#define HYPERION_TEXT_H

#include <hyperion/base.h>

HY_BEGIN_DECLS

#define HY_TOKEN_BYTES_MAX 128 /**< a longer run is cut */

/** One token. text points into the input and is not terminated. */
typedef struct hy_token {
    const char *text; /**< its first byte, in the input */
    size_t bytes;     /**< its length there */
    uint64_t hash;    /**< of the folded token */
} hy_token;

/**
 * Where a reader of tokens stands. It lies wherever the caller wants, needs no
 * clean-up and may be copied; its members are private. One thread at a time.
 */
typedef struct hy_text_cursor {
    /** @cond private */
    const char *begin;
    const char *end;
    const char *block;
    uint64_t rest;
    uint64_t word;
    uint64_t high;
    void (*classify)(const char *text, uint64_t *word, uint64_t *high);
    uint64_t reserved;
    /** @endcond */
} hy_text_cursor;

/**
 * Starts reading text, which must stay unchanged while it is read. text may be
 * NULL when bytes is 0. 0, or -EINVAL for a NULL cursor or text. Any context.
 */
HY_API int hy_text_cursor_init(hy_text_cursor *cursor, const char *text,
                               size_t bytes);

/**
 * The next token: 1, or 0 at the end, when *out is left alone. Allocates
 * nothing and cannot fail. Any context.
 */
HY_API int hy_text_next_token(hy_text_cursor *cursor, hy_token *out);

/**
 * Up to max tokens at once: as many calls of hy_text_next_token, faster.
 * Returns how many; fewer than max only at the end.
 */
HY_API size_t hy_text_next_tokens(hy_text_cursor *cursor, hy_token *out,
                                  size_t max);

/** What a vectorizer knows about words. */
enum hy_language {
    HY_LANGUAGE_ENGLISH = 1, /**< common words are left out, endings cut */
    HY_LANGUAGE_NONE = 2     /**< every token counts as it is */
};

/** Turns text into vectors. Immutable: any number of threads at a time. */
typedef struct hy_vectorizer hy_vectorizer;

/** See hy_vectorizer_create. */
typedef struct hy_vectorizer_options {
    size_t size;       /**< of this struct */
    size_t dim;        /**< floats in a vector, up to 65,536; 0 = 256 */
    uint64_t seed;     /**< another seed, other buckets and signs */
    unsigned language; /**< enum hy_language; 0 = HY_LANGUAGE_ENGLISH */
    unsigned ngrams;   /**< sequences of 2 to this many (up to 4) kept tokens
                            count as features too; 0 = 1: tokens only */
    unsigned probes;   /**< buckets a feature goes to, 1 or 2; 0 = 2 */
    unsigned reserved; /**< 0 */
    const char *const *stop_words; /**< to leave out as well, each one token;
                                        compared after folding */
    size_t stop_word_count;        /**< how many they are */
} hy_vectorizer_options;

/** All defaults. */
#define HY_VECTORIZER_OPTIONS_INIT                                             \
    {                                                                          \
        sizeof(hy_vectorizer_options), 0, 0, 0, 0, 0, 0, 0, 0                  \
    }

/**
 * Creates a vectorizer; options NULL gives 256 dimensions and English. The stop
 * words are not referred to after the call.
 *
 * English leaves out some 150 function words ("the", "of", "with"), and cuts
 * the endings of words of 3 to 15 ASCII bytes so that inflected forms meet:
 * plurals and third person (-s, -es, -ies), past (-ed, -ied), participle
 * (-ing), a final e, and i for a final y. That is lighter than
 * Porter's rules and sometimes wrong; it serves matching, not display.
 *
 * 0, or -EINVAL for a NULL out, a value out of range or a stop word that is not
 * one token; -E2BIG (base.h, Options); -ENOMEM.
 */
HY_API int hy_vectorizer_create(hy_vectorizer **out,
                                const hy_vectorizer_options *options);

/** NULL is allowed. */
HY_API void hy_vectorizer_destroy(hy_vectorizer *vectorizer);

/** Floats in each vector. */
HY_API size_t hy_vectorizer_dim(const hy_vectorizer *vectorizer);

/** 1 when the vectorizer leaves this token out, else 0. Any context. */
HY_API int hy_vectorizer_is_stop_word(const hy_vectorizer *vectorizer,
                                      const hy_token *token);

/**
 * The vector of a text, dim floats, to out. Each feature adds +1 or -1, by its
 * hash, to `probes` of its buckets; a bucket's sum s becomes
 * sign(s) * sqrt(|s|), so that a word said four times weighs twice as much;
 * then all is scaled to Euclidean length 1. All zero when no token is left, or
 * in the rare case that all cancel each other. The same bits on every machine.
 * A bucket counts exactly to 16,777,216.
 *
 * Memory does not grow with the text. 0, or -EINVAL for a NULL argument (text
 * may be NULL when bytes is 0). Any thread, any context.
 */
HY_API int hy_text_vectorize(const hy_vectorizer *vectorizer, const char *text,
                             size_t bytes, float *out);

/** Takes the next count stems of a text, as hy_text_next_stems gives them. */
typedef void (*hy_stem_sink)(void *ctx, const uint64_t *hashes, size_t count);

/**
 * The same, with the words that went into the vector to sink, in their order,
 * some dozens at a time: for who needs both from one reading. Also -EINVAL for
 * a NULL sink.
 */
HY_API int hy_text_vectorize_stems(const hy_vectorizer *vectorizer,
                                   const char *text, size_t bytes, float *out,
                                   hy_stem_sink sink, void *ctx);

/**
 * The next words of a text as the vectorizer counts them: without stop words,
 * as hashes of their stems. At most max of them go to hashes; the result is how
 * many, 0 at the end. For comparing texts word by word where the buckets of
 * their vectors are too coarse. Any thread, any context.
 */
HY_API size_t hy_text_next_stems(const hy_vectorizer *vectorizer,
                                 hy_text_cursor *cursor, uint64_t *hashes,
                                 size_t max);

HY_END_DECLS

#endif
