/*
 * query.c - a question's way: words, vector, candidates, words again.
 *
 *      text -> words, each with its rarity in the library
 *           -> vector: the sum of the words' vectors, the rare ones longer
 *           -> index: the candidates, by hashed buckets
 *           -> their texts, word by word: the score
 *           -> the best k that share a word
 *
 * Thousands of words fall into a few hundred buckets, so that among a million
 * documents some agree with any question by chance. What the index finds is
 * therefore scored again by the words themselves: BM25 (Robertson and Zaragoza,
 * "The Probabilistic Relevance Framework", 2009) with the library's counts,
 * divided by the most that a document could get.
 *
 * No lock is taken: the index is pinned meanwhile, so that what it found stays
 * readable though it be replaced or removed. The deadline is looked at every
 * few thousand words.
 *
 * Invariant: a hit has a word of the question, in a text that was its id's at
 * the time of the search.
 * Upstream: the program. Downstream: index.h, text.h, library.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lane.h"
#include "park.h"

enum {
    CANDIDATES_LEAST = 512, /* as good as all on 117,659 documents, which ... */
    CANDIDATES_SHARE = 256, /* ... is one of as many */
    CANDIDATES_EACH = 32,   /* for each hit asked for */
    WORDS_MAX = 255,        /* different ones of a question; more are ignored */
    SLOTS = 1024,           /* of their table; a power of two */
    BATCH = 64,
    DOCUMENT_WORK = 16, /* finding a document takes as long as so many words */
    WORK = 4096         /* words between two looks at the clock: 0.2 ms */
};

struct question_word {
    const char *text; /* where it stands first */
    size_t bytes;
    uint32_t count;
    double weight; /* count times rarity */
};

/* What is asked, and how far the asking has got. */
struct question {
    struct library *library;
    hy_deadline until;
    int64_t work;          /* left until the next look at the clock */
    uint64_t hash[SLOTS];  /* valid where number is not 0 */
    uint8_t number[SLOTS]; /* of a word, from 1, in the order of first use */
    struct question_word words[WORDS_MAX];
    size_t known;
    double most; /* the sum of all weights */
    struct census census;
};

/* The candidates: the documents found, and where they are. */
struct candidates {
    hy_hit *hits;
    uint64_t *payloads;
    size_t room, count;
};

/* Notes work done: 0, or -ETIMEDOUT or -ECANCELED when it is time to end. */
static int spend(struct question *q, size_t words)
{
    q->work -= (int64_t)words;
    if (q->work > 0)
        return 0;
    q->work = WORK;
    if (q->until != HY_FOREVER && q->until != HY_NOW && hyi_now() >= q->until)
        return -ETIMEDOUT;
    return hy_fiber_check();
}

/* The slot of a word, or the vacant one where it would be. */
static size_t slot_of(const struct question *q, uint64_t hash)
{
    size_t i = (hash ^ hash >> 32) & (SLOTS - 1);

    while (q->number[i] != 0 && q->hash[i] != hash)
        i = (i + 1) & (SLOTS - 1);
    return i;
}

static void add_word(struct question *q, uint64_t hash, const hy_token *token)
{
    size_t slot = slot_of(q, hash);

    if (q->number[slot] == 0) {
        if (q->known == WORDS_MAX)
            return;
        q->hash[slot] = hash;
        q->words[q->known] = (struct question_word){
            token->text, token->bytes, 0,
            hyi_library_rarity(q->library, &q->census, hash)};
        q->number[slot] = (uint8_t)++q->known;
    }
    q->words[q->number[slot] - 1].count++;
}

static int read_question(struct question *q, const char *text, size_t bytes)
{
    const hy_vectorizer *vectorizer = q->library->vectorizer;
    hy_text_cursor all, one;
    hy_token token;
    uint64_t hash;
    int r = 0;

    hy_text_cursor_init(&all, text, bytes);
    while (r == 0 && hy_text_next_token(&all, &token)) {
        hy_text_cursor_init(&one, token.text, token.bytes);
        if (hy_text_next_stems(vectorizer, &one, &hash, 1) != 0)
            add_word(q, hash, &token);
        r = spend(q, 1);
    }
    for (size_t w = 0; w < q->known; w++) {
        q->words[w].weight *= q->words[w].count;
        q->most += q->words[w].weight;
    }
    return r;
}

/* To vector; one is room for another of its length. */
static int make_vector(struct question *q, float *vector, float *one)
{
    size_t dim = q->library->dim;
    int r = 0;

    memset(vector, 0, dim * sizeof(*vector));
    for (size_t w = 0; r == 0 && w < q->known; w++) {
        float weight = (float)(q->words[w].weight / q->most);

        hy_text_vectorize(q->library->vectorizer, q->words[w].text,
                          q->words[w].bytes, one);
        for (size_t i = 0; i < dim; i++)
            vector[i] += weight * one[i];
        r = spend(q, dim / BATCH);
    }
    return r;
}

/* Counts the question's words in a document, and in *length all of them. */
static int count_words(struct question *q, const char *text, size_t bytes,
                       uint32_t *counts, uint64_t *length)
{
    uint64_t hashes[BATCH];
    hy_text_cursor cursor;
    size_t n;
    int r = spend(q, DOCUMENT_WORK);

    memset(counts, 0, q->known * sizeof(*counts));
    *length = 0;
    hy_text_cursor_init(&cursor, text, bytes);
    while (r == 0 && (n = hy_text_next_stems(q->library->vectorizer, &cursor,
                                             hashes, BATCH)) != 0) {
        for (size_t i = 0; i < n; i++) {
            uint8_t number = q->number[slot_of(q, hashes[i])];

            if (number != 0)
                counts[number - 1]++;
        }
        *length += n;
        r = spend(q, n);
    }
    return r;
}

/* 0 when the document has no word of the question, up to 1. */
static float score(const struct question *q, const uint32_t *counts,
                   uint64_t length)
{
    const double k1 = 1.2, b = 0.75;
    double relative = (double)length / q->census.mean_length;
    double damping = k1 * (1 - b + b * relative);
    double sum = 0;

    for (size_t w = 0; w < q->known; w++)
        if (counts[w] != 0)
            sum += q->words[w].weight * counts[w] / (counts[w] + damping);
    return (float)(sum / q->most);
}

static int best_first(const void *a, const void *b)
{
    const hy_hit *x = a, *y = b;

    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->id > y->id ? 1 : x->id < y->id ? -1 : 0;
}

/* Scores the candidates by their words and leaves out those without any. */
static int rank(struct question *q, struct candidates *c)
{
    uint32_t counts[WORDS_MAX];
    size_t kept = 0;

    for (size_t i = 0; i < c->count; i++) {
        uint64_t id = c->hits[i].id, length;
        size_t bytes = 0;
        const char *text =
            hyi_library_text(q->library, id, c->payloads[i], &bytes);
        float s;
        int r = count_words(q, text, bytes, counts, &length);

        if (r != 0)
            return r;
        s = score(q, counts, length);
        if (s > 0)
            c->hits[kept++] = (hy_hit){id, s};
    }
    qsort(c->hits, kept, sizeof(*c->hits), best_first);
    c->count = kept;
    return 0;
}

/* As many candidates as are worth reading for k hits. */
static size_t candidates_for(const struct library *library, size_t k)
{
    hy_index_stats stats = {.size = sizeof(stats)};
    uint64_t n = k < SIZE_MAX / CANDIDATES_EACH ? k * CANDIDATES_EACH : k;

    hy_index_stats_get(library->index, &stats);
    if (n < stats.rows / CANDIDATES_SHARE)
        n = stats.rows / CANDIDATES_SHARE;
    if (n < CANDIDATES_LEAST)
        n = CANDIDATES_LEAST;
    return (size_t)(n < stats.rows ? n : stats.rows);
}

/* From here to the end of the ranking the index is pinned. */
static int find(struct question *q, const float *vector, struct candidates *c)
{
    hy_index *index = q->library->index;
    hy_search_options options = HY_SEARCH_OPTIONS_INIT;
    uint64_t pin = hy_index_pin(index);
    int r;

    options.rerank = c->room; /* ranked by better means than floats */
    r = hy_index_search_payloads(index, vector, c->room, &options, c->hits,
                                 c->payloads, &c->count);
    q->work = 0; /* that took some time */
    if (r == 0)
        r = rank(q, c);
    hy_index_unpin(index, pin);
    return r;
}

static int ask(struct question *q, const char *text, size_t bytes,
               struct candidates *c)
{
    float *vectors = malloc(2 * q->library->dim * sizeof(*vectors));
    int r = vectors != NULL ? read_question(q, text, bytes) : -ENOMEM;

    if (r == 0 && q->known != 0)
        r = make_vector(q, vectors, vectors + q->library->dim);
    if (r == 0 && q->known != 0)
        r = find(q, vectors, c);
    free(vectors);
    return r;
}

int hy_pipeline_query(hy_pipeline *p, const char *text, size_t bytes, size_t k,
                      hy_hit *hits, size_t *count, hy_deadline until)
{
    struct candidates c = {NULL, NULL, 0, 0};
    struct question *q;
    int r = -ENOMEM;

    if (p == NULL || (text == NULL && bytes != 0) || count == NULL ||
        (hits == NULL && k != 0))
        return -EINVAL;
    if (hyi_pipeline_is_stale(p))
        return -ESTALE;
    c.room = candidates_for(&p->library, k);
    c.hits = malloc((c.room + 1) * sizeof(*c.hits));
    c.payloads = malloc((c.room + 1) * sizeof(*c.payloads));
    q = calloc(1, sizeof(*q));
    if (c.hits != NULL && c.payloads != NULL && q != NULL) {
        q->library = &p->library;
        q->until = until;
        q->census = hyi_library_census(&p->library);
        r = ask(q, text, bytes, &c);
    }
    if (r == 0) {
        *count = c.count < k ? c.count : k;
        if (*count != 0)
            memcpy(hits, c.hits, *count * sizeof(*hits));
    }
    free(q);
    free(c.payloads);
    free(c.hits);
    return r;
}
