/*
 * bench_text_index.c - tokens, vectors, exact search and the whole chain, on
 * real English: WordNet's glosses where they are installed, else the licences
 * that every Debian has.
 *
 * Upstream: bench.h, bench_text_index.h. Downstream: text.h, index.h,
 * pipeline.h.
 */
#include "bench_text_index.h"

#include "bench.h"

#include <ctype.h>
#include <errno.h>
#include <glob.h>
#include <hyperion/index.h>
#include <hyperion/text.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef HY_HAVE_PIPELINE
#include <hyperion/pipeline.h>
#include <hyperion/runtime.h>
#endif

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* --- the text ------------------------------------------------------------- */

enum { CORPUS_BYTES = 16 << 20, CORPUS_QUICK = 4 << 20 };

static struct {
    char *text;
    size_t bytes, limit, paragraphs;
    size_t *starts; /* of each paragraph, and the end */
} corpus;

static void add_paragraph(const char *line)
{
    size_t length = strlen(line);

    if (corpus.bytes + length > corpus.limit)
        return;
    if (corpus.paragraphs % 4096 == 0) {
        corpus.starts = realloc(corpus.starts, (corpus.paragraphs + 4098) *
                                                   sizeof(*corpus.starts));
        if (corpus.starts == NULL)
            bench_wrong("no memory");
    }
    corpus.starts[corpus.paragraphs++] = corpus.bytes;
    memcpy(corpus.text + corpus.bytes, line, length);
    corpus.bytes += length;
}

/* A line of WordNet's data files has its gloss behind a bar. */
static void read_lines(const char *pattern, bool behind_bar)
{
    static char line[65536];
    glob_t found;

    if (glob(pattern, 0, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        FILE *file = fopen(found.gl_pathv[i], "r");

        while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
            const char *bar = strstr(line, " | ");

            if (!behind_bar)
                add_paragraph(line);
            else if (line[0] != ' ' && bar != NULL)
                add_paragraph(bar + 3);
        }
        if (file != NULL)
            fclose(file);
    }
    globfree(&found);
}

static void read_corpus(void)
{
    size_t before;

    corpus.limit = bench_is_quick() ? CORPUS_QUICK : CORPUS_BYTES;
    corpus.text = malloc(corpus.limit + 64);
    if (corpus.text == NULL)
        bench_wrong("no memory");
    read_lines("/usr/share/wordnet/data.*", true);
    while (corpus.bytes < corpus.limit / 2) {
        before = corpus.bytes;
        read_lines("/usr/share/common-licenses/*", false);
        if (corpus.bytes == before)
            break;
    }
    if (corpus.bytes == 0)
        bench_wrong("no text on this system");
    corpus.starts[corpus.paragraphs] = corpus.bytes;
}

/* --- tokens --------------------------------------------------------------- */

static const char *const stop_words[] = {
    "a",    "an",   "and", "are",  "as",   "at",   "be",   "by",
    "for",  "from", "has", "have", "he",   "in",   "is",   "it",
    "its",  "not",  "of",  "on",   "or",   "she",  "that", "the",
    "they", "this", "to",  "was",  "were", "will", "with", "you"};

static hy_vectorizer *vectorizer;

static double gbs(uint64_t start)
{
    return (double)corpus.bytes / (double)(bench_now() - start);
}

/* Tokens, their hashes, and without stop words. */
static double tokens_ours(void *arg)
{
    hy_token tokens[64];
    hy_text_cursor cursor;
    uint64_t kept = 0, hashes = 0, start = bench_now();
    size_t n;
    double r;

    (void)arg;
    hy_text_cursor_init(&cursor, corpus.text, corpus.bytes);
    do {
        n = hy_text_next_tokens(&cursor, tokens, COUNT(tokens));
        for (size_t i = 0; i < n; i++) {
            if (hy_vectorizer_is_stop_word(vectorizer, &tokens[i]))
                continue;
            kept++;
            hashes ^= tokens[i].hash;
        }
    } while (n == COUNT(tokens));
    r = gbs(start);
    BENCH_USE(hashes);
    if (kept < corpus.bytes / 20 || kept > corpus.bytes / 4)
        bench_wrong("tokens");
    return r;
}

static int compare_words(const void *key, const void *word)
{
    return strcmp((const char *)key, *(const char *const *)word);
}

static uint64_t naive_tokens;

/* As one writes it in C: a byte at a time, FNV-1a, a sorted table. */
static double tokens_naive(void *arg)
{
    uint64_t kept = 0, hashes = 0, hash = 14695981039346656037u;
    uint64_t start = bench_now();
    char token[256];
    size_t length = 0;
    double r;

    (void)arg;
    for (size_t i = 0; i <= corpus.bytes; i++) {
        unsigned char c =
            i < corpus.bytes ? (unsigned char)corpus.text[i] : ' ';

        if (isalnum(c) || c >= 0x80) {
            c = (unsigned char)tolower(c);
            hash = (hash ^ c) * 1099511628211u;
            if (length < sizeof(token) - 1)
                token[length++] = (char)c;
        } else if (length != 0) {
            token[length] = '\0';
            if (bsearch(token, stop_words, COUNT(stop_words),
                        sizeof(stop_words[0]), compare_words) == NULL) {
                kept++;
                hashes ^= hash;
            }
            length = 0;
            hash = 14695981039346656037u;
        }
    }
    r = gbs(start);
    BENCH_USE(hashes);
    naive_tokens = kept;
    return r;
}

#ifdef HY_HAVE_CXX

static double tokens_set(void *arg)
{
    uint64_t start = bench_now(), kept;
    double r;

    (void)arg;
    kept =
        tokens_by_set(corpus.text, corpus.bytes, stop_words, COUNT(stop_words));
    r = gbs(start);
    if (kept != naive_tokens)
        bench_wrong("tokens by set");
    return r;
}

#else

#define tokens_set NULL

#endif

static double vectorize(void *arg)
{
    static float vector[INDEX_DIM];
    uint64_t start = bench_now();
    double r, norm = 0;

    (void)arg;
    for (size_t i = 0; i < corpus.paragraphs; i++)
        if (hy_text_vectorize(vectorizer, corpus.text + corpus.starts[i],
                              corpus.starts[i + 1] - corpus.starts[i],
                              vector) != 0)
            bench_wrong("vectorize");
    r = gbs(start);
    for (int i = 0; i < INDEX_DIM; i++)
        norm += (double)vector[i] * vector[i];
    if (norm != 0 && fabs(norm - 1) > 1e-3)
        bench_wrong("vector");
    return r;
}

static void rows_text(void)
{
    struct bench_row row = {.what = "tokens, stop words, hashes",
                            .unit = "GB/s",
                            .target = "1.0 and 2.7x naive C",
                            .more_is_better = true};
    struct bench_row vectors = {.what = "text to vectors of 256",
                                .unit = "GB/s",
                                .target = "",
                                .more_is_better = true};
    struct bench_contender c[] = {
        {"hy_text_next_tokens", tokens_ours, NULL, NULL},
        {"naive C", tokens_naive, NULL, NULL},
        {"std::unordered_set", tokens_set, NULL, NULL}};
    struct bench_contender v = {"hy_text_vectorize", vectorize, NULL, NULL};

    if (c[2].run == NULL)
        c[2].absent = "no C++ compiler";
    bench_row_run(&row, c, COUNT(c));
    bench_row_run(&vectors, &v, 1);
}

/* --- exact search --------------------------------------------------------- */

enum { INDEX_ROWS = 1000000, INDEX_QUICK = 100000, QUERIES = 8 };

static struct {
    size_t count;
    float *rows;
    float queries[QUERIES][INDEX_DIM];
    float best[QUERIES]; /* by plain sums */
    hy_index *sq8, *f32;
    struct faiss_peer *faiss[2];
} data;

static void random_vector(float *v, uint64_t *state)
{
    float sum = 0;

    for (int i = 0; i < INDEX_DIM; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        v[i] = (float)(int32_t)(*state >> 32) / 2147483648.0f;
        sum += v[i] * v[i];
    }
    sum = 1 / sqrtf(sum);
    for (int i = 0; i < INDEX_DIM; i++)
        v[i] *= sum;
}

static void make_data(void)
{
    uint64_t state = 42;

    data.count = bench_is_quick() ? INDEX_QUICK : INDEX_ROWS;
    data.rows = malloc(data.count * INDEX_DIM * sizeof(float));
    if (data.rows == NULL)
        bench_wrong("no memory");
    for (size_t i = 0; i < data.count; i++)
        random_vector(data.rows + i * INDEX_DIM, &state);
    for (int q = 0; q < QUERIES; q++) {
        random_vector(data.queries[q], &state);
        data.best[q] = -2;
        for (size_t i = 0; i < data.count; i++) {
            float s = hy_vec_dot_f32(data.queries[q], data.rows + i * INDEX_DIM,
                                     INDEX_DIM);

            data.best[q] = s > data.best[q] ? s : data.best[q];
        }
    }
}

static hy_index *make_index(unsigned storage, const char *path)
{
    hy_index_options o = HY_INDEX_OPTIONS_INIT;
    hy_index *index = NULL;

    o.dim = INDEX_DIM;
    o.metric = HY_METRIC_DOT;
    o.storage = storage;
    o.path = path;
    if (hy_index_create(&index, &o) != 0)
        return NULL;
    for (size_t i = 0; i < data.count; i++)
        if (hy_index_insert(index, i, data.rows + i * INDEX_DIM) != 0)
            bench_wrong("insert");
    return index;
}

/* Queries a second. */
static double search_ours(void *arg)
{
    const hy_index *index = *(hy_index *const *)arg;
    hy_hit hits[TOP];
    size_t n;
    uint64_t start = bench_now();

    for (int q = 0; q < QUERIES; q++) {
        n = TOP;
        if (hy_index_search(index, data.queries[q], TOP, NULL, hits, &n) != 0 ||
            n != TOP || fabsf(hits[0].score - data.best[q]) > 1e-3f)
            bench_wrong("search");
    }
    return QUERIES * 1e9 / (double)(bench_now() - start);
}

static double search_faiss(void *arg)
{
    struct faiss_peer *peer = *(struct faiss_peer *const *)arg;
    float scores[TOP];
    int64_t ids[TOP];
    uint64_t start = bench_now();

    for (int q = 0; q < QUERIES; q++) {
        faiss_search(peer, data.queries[q], ids, scores);
        if (fabsf(scores[0] - data.best[q]) > 2e-2f)
            bench_wrong("faiss search");
    }
    return QUERIES * 1e9 / (double)(bench_now() - start);
}

/* What reading the codes once would allow. */
static double search_ceiling(void *arg)
{
    size_t bytes = data.count * INDEX_DIM;
    uint64_t sum = 0, start = bench_now();
    const uint64_t *p = (const uint64_t *)data.rows;

    (void)arg;
    for (size_t i = 0; i < bytes / 8; i++)
        sum |= p[i];
    BENCH_USE(sum);
    return 1e9 / (double)(bench_now() - start);
}

static const char index_path[] = "bench_index.store";

/* ms from opening the file to the first answer. */
static double reopen(void *arg)
{
    hy_index_options o = HY_INDEX_OPTIONS_INIT;
    hy_hit hits[TOP];
    size_t n = TOP;
    hy_index *index = NULL;
    uint64_t start = bench_now();

    (void)arg;
    o.dim = INDEX_DIM;
    o.path = index_path;
    o.flags = HY_INDEX_EXISTING;
    o.metric = HY_METRIC_DOT;
    if (hy_index_create(&index, &o) != 0 ||
        hy_index_search(index, data.queries[0], TOP, NULL, hits, &n) != 0 ||
        n != TOP)
        bench_wrong("reopen");
    start = bench_now() - start;
    hy_index_destroy(index);
    return (double)start / 1e6;
}

static void row_search(void)
{
    static char what[96];
    struct bench_row row = {.what = what,
                            .unit = "queries/s",
                            .target = "1.25x faiss direct_signed, 4x faiss f32",
                            .more_is_better = true,
                            .repeats = 5};
    struct bench_contender c[] = {
        {"hy_index, SQ8 and rerank", search_ours, &data.sq8, NULL},
        {"only reading the codes", search_ceiling, NULL, NULL},
        {"hy_index, f32", search_ours, &data.f32, NULL},
        {"faiss SQ8", search_faiss, &data.faiss[1], NULL},
        {"faiss f32", search_faiss, &data.faiss[0], NULL}};

    snprintf(what, sizeof(what), "exact top 10 of %zu x 256, one query",
             data.count);
    data.sq8 = make_index(HY_STORE_SQ8, NULL);
    data.f32 = make_index(HY_STORE_F32, NULL);
    if (data.sq8 == NULL || data.f32 == NULL)
        bench_wrong("index");
#ifdef HY_HAVE_FAISS
    data.faiss[0] = faiss_make(0, data.rows, data.count);
    data.faiss[1] = faiss_make(1, data.rows, data.count);
#else
    c[3].absent = c[4].absent = "not on this system";
#endif
    bench_row_run(&row, c, COUNT(c));
#ifdef HY_HAVE_FAISS
    faiss_free(data.faiss[0]);
    faiss_free(data.faiss[1]);
#endif
    hy_index_destroy(data.sq8);
    hy_index_destroy(data.f32);
}

static void row_reopen(void)
{
    struct bench_row row = {.what =
                                "open a file of 20,000 vectors, first query",
                            .unit = "ms",
                            .target = "1 at most"};
    struct bench_contender c = {"hy_index", reopen, NULL, NULL};
    size_t count = data.count;
    hy_index *index;

    unlink(index_path);
    data.count = 20000;
    index = make_index(HY_STORE_SQ8, index_path);
    if (index == NULL) {
        bench_row_skip(&row, "no file-backed index here");
    } else {
        hy_index_destroy(index);
        bench_row_run(&row, &c, 1);
    }
    data.count = count;
    unlink(index_path);
}

/* --- the whole chain ------------------------------------------------------ */

#ifdef HY_HAVE_PIPELINE

/* Paragraphs a second, from text to searchable, in memory. */
static double chain(void *arg)
{
    hy_pipeline_options o = HY_PIPELINE_OPTIONS_INIT;
    hy_runtime *rt = NULL;
    hy_pipeline *p = NULL;
    size_t n = corpus.paragraphs < 20000 ? corpus.paragraphs : 20000, hits = 1;
    hy_hit hit;
    uint64_t start;

    (void)arg;
    if (hy_runtime_init(&rt, NULL) != 0 || hy_runtime_start(rt) != 0 ||
        hy_pipeline_open(&p, rt, &o) != 0)
        bench_wrong("pipeline");
    start = bench_now();
    for (size_t i = 0; i < n; i++)
        if (hy_pipeline_ingest(p, i, corpus.text + corpus.starts[i],
                               corpus.starts[i + 1] - corpus.starts[i],
                               HY_FOREVER) != 0)
            bench_wrong("ingest");
    if (hy_pipeline_flush(p, HY_FOREVER) != 0)
        bench_wrong("flush");
    start = bench_now() - start;
    if (hy_pipeline_query(p, corpus.text + corpus.starts[n / 2],
                          corpus.starts[n / 2 + 1] - corpus.starts[n / 2], 1,
                          &hit, &hits, HY_FOREVER) != 0 ||
        hits != 1 || hit.score < 0.99f)
        bench_wrong("query");
    hy_pipeline_close(p);
    hy_runtime_stop(rt);
    hy_runtime_wait(rt, HY_FOREVER);
    hy_runtime_destroy(rt);
    return (double)n * 1e9 / (double)start;
}

static void row_chain(void)
{
    struct bench_row row = {.what =
                                "text to searchable record, the whole chain",
                            .unit = "paragraphs/s",
                            .target = "3,000,000",
                            .more_is_better = true,
                            .repeats = 5};
    struct bench_contender c = {"hy_pipeline", chain, NULL, NULL};

    bench_row_run(&row, &c, 1);
}

#endif

int main(int argc, char **argv)
{
    struct bench_row batch = {.what = "the same, 32 queries at once",
                              .unit = "queries/s",
                              .target = "4.5x faiss direct_signed"};
    struct bench_row recall = {.what = "recall 0.99 at 60,000 vectors",
                               .unit = "queries/s",
                               .target = "2x the best graph"};

    bench_begin(argc, argv, "text and index");
    read_corpus();
    if (hy_vectorizer_create(&vectorizer, NULL) != 0)
        bench_wrong("vectorizer");
    rows_text();
    make_data();
    row_search();
    bench_row_skip(&batch, "one query a call today");
    bench_row_skip(&recall, "needs a graph peer, which Debian has not");
    row_reopen();
#ifdef HY_HAVE_PIPELINE
    row_chain();
#endif
    hy_vectorizer_destroy(vectorizer);
    bench_note("faiss is Debian's generic build, scaled bytes are its "
               "QT_8bit_uniform; one thread a query everywhere. Every answer's "
               "best score is compared with that of a plain scan.");
    return bench_end();
}
