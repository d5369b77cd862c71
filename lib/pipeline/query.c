/*
 * query.c - a question's way: vector, candidates, words.
 *
 *      text -> vector -> index: the candidates, by hashed buckets
 *                        -> their texts, word by word: the score
 *                        -> the best k that share a word
 *
 *      occurrences   | candidate 0: length | of word 0, of word 1, ... |
 *                    | candidate 1: length | ...
 *
 * Thousands of words fall into a few hundred buckets, so that among a million
 * documents some agree with any question by chance. What the index finds is
 * therefore scored again by the words themselves: BM25 (Robertson and Zaragoza,
 * "The Probabilistic Relevance Framework", 2009), with the candidates for a
 * collection, divided by the most that a document could get.
 *
 * Invariant: a hit has a word of the question.
 * Upstream: the program. Downstream: index.h, text.h, library.h.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lane.h"

enum {
    CANDIDATES_LEAST = 2048, /* one in a thousand of two million documents */
    CANDIDATES_EACH = 32,    /* for each hit asked for */
    WORDS_MAX = 64, /* different ones of a question; more are ignored */
    SLOTS = 256,    /* of their table; a power of two */
    BATCH = 64
};

/* The question's words; each has a number, in the order of its first use. */
struct words {
    uint64_t hash[SLOTS];      /* valid where number is not 0 */
    uint8_t number[SLOTS];     /* from 1 */
    uint32_t count[WORDS_MAX]; /* in the question */
    size_t known;
};

/* What the candidates hold of them. */
struct occurrences {
    uint32_t *lengths; /* in words; 0: the document has gone */
    uint32_t *counts;  /* words.known for each candidate */
    size_t documents;
    double mean_length;
    double rarity[WORDS_MAX];
};

/* The slot of a word, or the vacant one where it would be. */
static size_t slot_of(const struct words *words, uint64_t hash)
{
    size_t i = (hash ^ hash >> 32) & (SLOTS - 1);

    while (words->number[i] != 0 && words->hash[i] != hash)
        i = (i + 1) & (SLOTS - 1);
    return i;
}

static void add_word(struct words *words, uint64_t hash)
{
    size_t slot = slot_of(words, hash);

    if (words->number[slot] == 0) {
        if (words->known == WORDS_MAX)
            return;
        words->hash[slot] = hash;
        words->number[slot] = (uint8_t)++words->known;
    }
    words->count[words->number[slot] - 1]++;
}

static void read_question(const hy_vectorizer *vectorizer, const char *text,
                          size_t bytes, struct words *words)
{
    uint64_t hashes[BATCH];
    hy_text_cursor cursor;
    size_t n;

    memset(words, 0, sizeof(*words));
    hy_text_cursor_init(&cursor, text, bytes);
    while ((n = hy_text_next_stems(vectorizer, &cursor, hashes, BATCH)) != 0)
        for (size_t i = 0; i < n; i++)
            add_word(words, hashes[i]);
}

/* Counts the question's words in a document; gives its length in words. */
static uint32_t read_document(const hy_vectorizer *vectorizer, const char *text,
                              size_t bytes, const struct words *words,
                              uint32_t *counts)
{
    uint64_t hashes[BATCH];
    hy_text_cursor cursor;
    uint32_t length = 0;
    size_t n;

    hy_text_cursor_init(&cursor, text, bytes);
    while ((n = hy_text_next_stems(vectorizer, &cursor, hashes, BATCH)) != 0) {
        length += (uint32_t)n;
        for (size_t i = 0; i < n; i++) {
            uint8_t number = words->number[slot_of(words, hashes[i])];

            if (number != 0)
                counts[number - 1]++;
        }
    }
    return length;
}

static void read_documents(struct library *library, const struct words *words,
                           const hy_hit *hits, struct occurrences *o)
{
    for (size_t i = 0; i < o->documents; i++) {
        size_t bytes = 0;
        const char *text = hyi_library_text(library, hits[i].id, &bytes);

        if (text != NULL)
            o->lengths[i] = read_document(library->vectorizer, text, bytes,
                                          words, o->counts + i * words->known);
    }
}

/* The fewer candidates hold a word, the more it says. */
static void weigh_words(const struct words *words, struct occurrences *o)
{
    double length = 0;

    for (size_t i = 0; i < o->documents; i++)
        length += o->lengths[i];
    o->mean_length = o->documents != 0 ? length / (double)o->documents : 0;
    for (size_t w = 0; w < words->known; w++) {
        double holders = 0;

        for (size_t i = 0; i < o->documents; i++)
            holders += o->counts[i * words->known + w] != 0;
        o->rarity[w] =
            log(1 + ((double)o->documents - holders + 0.5) / (holders + 0.5));
    }
}

/* 0 when the candidate has no word of the question, up to 1. */
static float score(const struct words *words, const struct occurrences *o,
                   size_t candidate)
{
    const double k1 = 1.2, b = 0.75;
    const uint32_t *counts = o->counts + candidate * words->known;
    double damping = k1 * (1 - b + b * o->lengths[candidate] / o->mean_length);
    double sum = 0, most = 0;

    for (size_t w = 0; w < words->known; w++) {
        double weight = o->rarity[w] * words->count[w];

        most += weight;
        if (counts[w] != 0)
            sum += weight * counts[w] / (counts[w] + damping);
    }
    return most > 0 ? (float)(sum / most) : 0;
}

static int best_first(const void *a, const void *b)
{
    const hy_hit *x = a, *y = b;

    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->id > y->id ? 1 : x->id < y->id ? -1 : 0;
}

/* Scores the candidates by their words and leaves out those without any. */
static int rank(struct library *library, const struct words *words,
                hy_hit *hits, size_t *count)
{
    struct occurrences o = {.documents = *count};
    size_t kept = 0;

    o.lengths = calloc(*count + 1, sizeof(*o.lengths));
    o.counts = calloc(*count * words->known + 1, sizeof(*o.counts));
    if (o.lengths == NULL || o.counts == NULL) {
        free(o.lengths);
        free(o.counts);
        return -ENOMEM;
    }
    read_documents(library, words, hits, &o);
    weigh_words(words, &o);
    for (size_t i = 0; i < o.documents; i++) {
        float s = o.lengths[i] != 0 ? score(words, &o, i) : 0;

        if (s > 0)
            hits[kept++] = (hy_hit){hits[i].id, s};
    }
    qsort(hits, kept, sizeof(*hits), best_first);
    *count = kept;
    free(o.lengths);
    free(o.counts);
    return 0;
}

/* As many candidates as are worth reading for k hits. */
static size_t candidates_for(const struct library *library, size_t k)
{
    hy_index_stats stats = {.size = sizeof(stats)};
    uint64_t n = k < SIZE_MAX / CANDIDATES_EACH ? k * CANDIDATES_EACH : k;

    hy_index_stats_get(library->index, &stats);
    if (n < CANDIDATES_LEAST)
        n = CANDIDATES_LEAST;
    return (size_t)(n < stats.rows ? n : stats.rows);
}

static int find(hy_pipeline *p, const char *text, size_t bytes, float *vector,
                hy_hit *candidates, size_t room, size_t *found,
                hy_deadline until)
{
    struct library *library = &p->library;
    hy_search_options options = HY_SEARCH_OPTIONS_INIT;
    struct words words;
    int r = hy_text_vectorize(library->vectorizer, text, bytes, vector);

    options.rerank = room; /* ranked below, by better means than floats */
    if (r == 0)
        r = hy_index_search(library->index, vector, room, &options, candidates,
                            found);
    if (r != 0)
        return r;
    read_question(library->vectorizer, text, bytes, &words);
    r = hy_mutex_lock(&p->library_lock, until);
    if (r != 0)
        return r;
    r = rank(library, &words, candidates, found);
    hy_mutex_unlock(&p->library_lock);
    return r;
}

int hy_pipeline_query(hy_pipeline *p, const char *text, size_t bytes, size_t k,
                      hy_hit *hits, size_t *count, hy_deadline until)
{
    size_t room, found = 0;
    hy_hit *candidates;
    float *vector;
    int r = -ENOMEM;

    if (p == NULL || (text == NULL && bytes != 0) || count == NULL ||
        (hits == NULL && k != 0))
        return -EINVAL;
    room = candidates_for(&p->library, k);
    vector = malloc(p->library.dim * sizeof(*vector));
    candidates = malloc((room + 1) * sizeof(*candidates));
    if (vector != NULL && candidates != NULL)
        r = find(p, text, bytes, vector, candidates, room, &found, until);
    if (r == 0) {
        *count = found < k ? found : k;
        if (*count != 0)
            memcpy(hits, candidates, *count * sizeof(*hits));
    }
    free(candidates);
    free(vector);
    return r;
}
