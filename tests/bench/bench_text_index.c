/*
 * bench_text_index.c - tokens, vectors, search, opening an index after a kill,
 * and the whole chain.
 *
 * Text is real English: WordNet's glosses where they are installed, else the
 * licences that every Debian has. Exact search runs over random vectors, which
 * are no worse for a scan; recall over vectors of the text, since a graph lives
 * on likeness.
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
#include <hyperion/pipeline.h>
#include <hyperion/runtime.h>
#include <hyperion/text.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

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

    if (tokens_by_set == NULL)
        c[2].absent = "no C++ compiler";
    bench_row_run(&row, c, COUNT(c));
    bench_row_run(&vectors, &v, 1);
}

/* --- exact search --------------------------------------------------------- */

enum { INDEX_ROWS = 1000000, INDEX_QUICK = 100000, QUERIES = 32, SINGLE = 4 };

static struct {
    size_t count;
    float *rows;
    float queries[QUERIES][INDEX_DIM];
    float best[QUERIES]; /* by plain sums */
    void *codes;         /* as many bytes as there are codes, only read */
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

static hy_index *index_of(const float *rows, size_t count, unsigned storage,
                          const char *path)
{
    hy_index_options o = HY_INDEX_OPTIONS_INIT;
    hy_index *index = NULL;

    o.dim = INDEX_DIM;
    o.metric = HY_METRIC_DOT;
    o.storage = storage;
    o.path = path;
    if (hy_index_create(&index, &o) != 0)
        return NULL;
    for (size_t i = 0; i < count; i++)
        if (hy_index_insert(index, i, rows + i * INDEX_DIM) != 0)
            bench_wrong("insert");
    return index;
}

/* Queries a second, the first count of them one by one. */
static double search_ours(const hy_index *index, int count)
{
    hy_hit hits[TOP];
    uint64_t start = bench_now();

    for (int q = 0; q < count; q++) {
        size_t n = TOP;

        if (hy_index_search(index, data.queries[q], TOP, NULL, hits, &n) != 0 ||
            n != TOP || fabsf(hits[0].score - data.best[q]) > 1e-3f)
            bench_wrong("search");
    }
    return count * 1e9 / (double)(bench_now() - start);
}

static double search_single(void *arg)
{
    return search_ours(*(hy_index *const *)arg, SINGLE);
}

static double search_batch(void *arg)
{
    return search_ours(*(hy_index *const *)arg, QUERIES);
}

static double search_faiss(struct faiss_peer *peer, int count, int at_once)
{
    static float scores[QUERIES][TOP];
    static int64_t ids[QUERIES][TOP];
    uint64_t start = bench_now();

    for (int q = 0; q < count; q += at_once)
        faiss_search(peer, data.queries[q], (size_t)at_once, ids[q], scores[q]);
    start = bench_now() - start;
    for (int q = 0; q < count; q++)
        if (fabsf(scores[q][0] - data.best[q]) > 2e-2f)
            bench_wrong("faiss search");
    return count * 1e9 / (double)start;
}

static double faiss_single(void *arg)
{
    return search_faiss(*(struct faiss_peer *const *)arg, SINGLE, 1);
}

static double faiss_batch(void *arg)
{
    return search_faiss(*(struct faiss_peer *const *)arg, QUERIES, QUERIES);
}

/* What reading so many bytes once would allow. */
static double search_ceiling(void *arg)
{
    uint64_t start = bench_now();

    bench_read(*(void **)arg, data.count * INDEX_DIM);
    return 1e9 / (double)(bench_now() - start);
}

/* As many bytes as there are codes, in huge pages as the index's are. */
static void make_codes(void)
{
    size_t bytes = data.count * INDEX_DIM;

    data.codes = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data.codes == MAP_FAILED)
        bench_wrong("no memory");
    madvise(data.codes, bytes, MADV_HUGEPAGE);
    memset(data.codes, 1, bytes);
}

static void make_contestants(void)
{
    make_codes();
    data.sq8 = index_of(data.rows, data.count, HY_STORE_SQ8, NULL);
    data.f32 = index_of(data.rows, data.count, HY_STORE_F32, NULL);
    if (data.sq8 == NULL || data.f32 == NULL)
        bench_wrong("index");
    for (int kind = 0; kind < 2 && faiss_make != NULL; kind++)
        data.faiss[kind] = faiss_make(kind, data.rows, data.count);
}

static void free_contestants(void)
{
    for (int i = 0; i < 2 && data.faiss[i] != NULL; i++)
        faiss_free(data.faiss[i]);
    hy_index_destroy(data.sq8);
    hy_index_destroy(data.f32);
    munmap(data.codes, data.count * INDEX_DIM);
}

static void rows_search(void)
{
    static char what[96];
    struct bench_row row = {.what = what,
                            .unit = "queries/s",
                            .target = "1.25x faiss direct_signed, 4x faiss "
                                      "f32, 93 % of reading",
                            .more_is_better = true,
                            .repeats = 5};
    struct bench_contender c[] = {
        {"hy_index, SQ8 and rerank", search_single, &data.sq8, NULL},
        {"only reading the codes", search_ceiling, &data.codes, NULL},
        {"hy_index, f32", search_single, &data.f32, NULL},
        {"faiss SQ8", faiss_single, &data.faiss[1], NULL},
        {"faiss f32", faiss_single, &data.faiss[0], NULL}};
    /* Scaled bytes are scanned query by query in faiss, too. */
    struct bench_contender many[] = {
        {"hy_index_search, one after the other", search_batch, &data.sq8, NULL},
        {"faiss SQ8", faiss_single, &data.faiss[1], NULL},
        {"faiss f32", faiss_batch, &data.faiss[0], NULL}};

    if (faiss_make == NULL) {
        c[3].absent = c[4].absent = BENCH_ABSENT;
        many[1].absent = many[2].absent = BENCH_ABSENT;
    }
    make_contestants();
    snprintf(what, sizeof(what), "exact top 10 of %zu x 256, one query",
             data.count);
    bench_row_run(&row, c, COUNT(c));
    snprintf(what, sizeof(what),
             "the same, 32 queries at once (ours has no such call yet)");
    row.target = "4.5x faiss direct_signed";
    bench_row_run(&row, many, COUNT(many));
    free_contestants();
}

/* --- recall --------------------------------------------------------------- */

enum { RECALL_ROWS = 60000, RECALL_QUICK = 10000, ASKED = 200 };

static struct {
    size_t count, effort;
    float *rows;        /* of text; the queries behind them */
    float worst[ASKED]; /* score of each query's last true answer */
    float scores[TOP];  /* of the last search */
    hy_index *index;
    struct graph_peer *graph;
} recall;

static const float *recall_query(size_t q)
{
    return recall.rows + (recall.count + q) * INDEX_DIM;
}

/* Vectors of paragraphs that have a word left, queries included. */
static void make_recall_rows(void)
{
    size_t wanted = (bench_is_quick() ? RECALL_QUICK : RECALL_ROWS) + ASKED;
    size_t found = 0;

    recall.rows = malloc((wanted + 1) * INDEX_DIM * sizeof(float));
    if (recall.rows == NULL)
        bench_wrong("no memory");
    for (size_t i = 0; i < corpus.paragraphs && found < wanted; i++) {
        float *row = recall.rows + found * INDEX_DIM;

        hy_text_vectorize(vectorizer, corpus.text + corpus.starts[i],
                          corpus.starts[i + 1] - corpus.starts[i], row);
        found += hy_vec_dot_f32(row, row, INDEX_DIM) > 0;
    }
    recall.count = found > 2 * ASKED ? found - ASKED : 0;
}

static int compare_scores(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x < y) - (x > y);
}

static void find_true_answers(void)
{
    float *all = malloc(recall.count * sizeof(*all));

    if (all == NULL)
        bench_wrong("no memory");
    for (size_t q = 0; q < ASKED; q++) {
        hy_vec_dot_f32_batch(recall_query(q), recall.rows, INDEX_DIM,
                             recall.count, INDEX_DIM, all);
        qsort(all, recall.count, sizeof(*all), compare_scores);
        recall.worst[q] = all[TOP - 1];
    }
    free(all);
}

static void ask_index(size_t q)
{
    hy_hit hits[TOP];
    size_t n = TOP;

    if (hy_index_search(recall.index, recall_query(q), TOP, NULL, hits, &n) !=
            0 ||
        n != TOP)
        bench_wrong("search");
    for (int i = 0; i < TOP; i++)
        recall.scores[i] = hits[i].score;
}

static void ask_graph(size_t q)
{
    graph_search(recall.graph, recall_query(q), recall.effort, recall.scores);
}

/* By score, not by number: of equals, any will do. */
static double recall_of(void (*ask)(size_t q))
{
    size_t right = 0;

    for (size_t q = 0; q < ASKED; q++) {
        ask(q);
        for (int i = 0; i < TOP; i++)
            right += recall.scores[i] >= recall.worst[q] - 1e-5f;
    }
    return (double)right / (ASKED * TOP);
}

static double time_asking(void (*ask)(size_t q))
{
    uint64_t start = bench_now();

    for (size_t q = 0; q < ASKED; q++)
        ask(q);
    return ASKED * 1e9 / (double)(bench_now() - start);
}

static double recall_ours(void *arg)
{
    (void)arg;
    return time_asking(ask_index);
}

static double recall_graph(void *arg)
{
    (void)arg;
    return time_asking(ask_graph);
}

/* The least effort that finds 99 of 100; why it takes no part, else NULL. */
static const char *prepare_graph(void)
{
    if (graph_make == NULL)
        return BENCH_ABSENT;
    recall.graph = graph_make(recall.rows, recall.count);
    for (recall.effort = 10; recall.effort < 20000; recall.effort *= 2)
        if (recall_of(ask_graph) >= 0.99)
            return NULL;
    return "does not reach 0.99";
}

static void row_recall(void)
{
    static char what[96], name[64];
    struct bench_row row = {.what = what,
                            .unit = "queries/s",
                            .target = "2x the best graph",
                            .more_is_better = true};
    struct bench_contender c[] = {{"hy_index, exact", recall_ours, NULL, NULL},
                                  {name, recall_graph, NULL, NULL}};

    make_recall_rows();
    snprintf(what, sizeof(what), "top 10 of %zu vectors of text, recall 0.99",
             recall.count);
    if (recall.count == 0) {
        bench_row_skip(&row, "too little text on this system");
        return;
    }
    find_true_answers();
    recall.index = index_of(recall.rows, recall.count, HY_STORE_SQ8, NULL);
    if (recall.index == NULL || recall_of(ask_index) < 0.99)
        bench_wrong("recall");
    c[1].absent = prepare_graph();
    snprintf(name, sizeof(name),
             c[1].absent == NULL ? "hnswlib, ef %zu" : "hnswlib",
             recall.effort);
    bench_row_run(&row, c, COUNT(c));
    snprintf(what, sizeof(what), "the same at 1,000,000 vectors");
    row.target = "1.5x the best graph";
    bench_row_skip(&row, "HY_SEARCH_GRAPH is not offered yet");
    if (recall.graph != NULL)
        graph_free(recall.graph);
    hy_index_destroy(recall.index);
    free(recall.rows);
}

/* --- opening -------------------------------------------------------------- */

enum { REOPENED = 20000 };

static const char index_path[] = "bench_index.store";

static hy_index *open_index(void)
{
    hy_index_options o = HY_INDEX_OPTIONS_INIT;
    hy_index *index = NULL;

    o.dim = INDEX_DIM;
    o.path = index_path;
    o.flags = HY_INDEX_EXISTING;
    o.metric = HY_METRIC_DOT;
    return hy_index_create(&index, &o) == 0 ? index : NULL;
}

/* ms from opening the file to the first answer. */
static double reopen(void *arg)
{
    hy_hit hits[TOP];
    size_t n = TOP;
    uint64_t start = bench_now();
    hy_index *index = open_index();

    if (index == NULL ||
        hy_index_search(index, data.queries[0], TOP, NULL, hits, &n) != 0 ||
        n != TOP || fabsf(hits[0].score - *(float *)arg) > 1e-3f)
        bench_wrong("reopen");
    start = bench_now() - start;
    hy_index_destroy(index);
    return (double)start / 1e6;
}

/* The same vectors again and again, durable every 100, until the end. */
static void write_for_ever(int started)
{
    hy_index *index = open_index();

    for (size_t i = 0; index != NULL; i = (i + 1) % REOPENED) {
        if (hy_index_insert(index, i, data.rows + i * INDEX_DIM) != 0)
            break;
        if (i % 100 != 99)
            continue;
        if (hy_index_checkpoint(index) != 0 || write(started, "", 1) != 1)
            break;
    }
    _exit(1);
}

/* The same, the last writer having been killed in the middle of it. */
static double reopen_killed(void *arg)
{
    static uint64_t state = 9;
    struct timespec life = {0, 0};
    int fds[2], status = 0;
    pid_t child;
    char c;

    if (pipe(fds) != 0)
        bench_wrong("pipe");
    fflush(stdout);
    child = fork();
    if (child == 0)
        write_for_ever(fds[1]);
    close(fds[1]);
    if (read(fds[0], &c, 1) != 1)
        bench_wrong("no writer");
    state = state * 6364136223846793005u + 1442695040888963407u;
    life.tv_nsec = (long)((state >> 33) % 20000000);
    nanosleep(&life, NULL);
    kill(child, SIGKILL);
    if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status))
        bench_wrong("the writer was to be killed");
    close(fds[0]);
    return reopen(arg);
}

static void rows_reopen(void)
{
    struct bench_row row = {.what = "open a file of 20,000 vectors after kill "
                                    "-9, first query",
                            .unit = "ms",
                            .target = "1 at most"};
    float best = -2;
    struct bench_contender killed = {"hy_index", reopen_killed, &best, NULL};
    struct bench_contender c = {"hy_index", reopen, &best, NULL};
    hy_index *index;

    for (size_t i = 0; i < REOPENED; i++) {
        float s = hy_vec_dot_f32(data.queries[0], data.rows + i * INDEX_DIM,
                                 INDEX_DIM);

        best = s > best ? s : best;
    }
    unlink(index_path);
    index = index_of(data.rows, REOPENED, HY_STORE_SQ8, index_path);
    if (index == NULL)
        bench_wrong("index in a file");
    hy_index_destroy(index);
    bench_row_run(&row, &killed, 1);
    row.what = "the same, after a clean end";
    bench_row_run(&row, &c, 1);
    unlink(index_path);
}

/* --- the whole chain ------------------------------------------------------ */

enum { CHAIN_PARAGRAPHS = 20000 };

static struct {
    double paragraphs, gigabytes; /* a second, of the last run */
} chain;

/* The best answer to a paragraph's own text must be that text. */
static void check_chain(hy_pipeline *p, size_t id)
{
    const char *text = corpus.text + corpus.starts[id];
    size_t bytes = corpus.starts[id + 1] - corpus.starts[id];
    static char found[65536];
    size_t hits = 1, length = sizeof(found);
    hy_hit hit = {0};

    if (hy_pipeline_query(p, text, bytes, 1, &hit, &hits, HY_FOREVER) != 0 ||
        hits != 1 || hy_pipeline_document(p, hit.id, found, &length) != 0 ||
        length != bytes || memcmp(found, text, bytes) != 0)
        bench_wrong("query");
}

/* Paragraphs a second, from text to searchable, in memory. */
static double run_chain(void *arg)
{
    hy_pipeline_options o = HY_PIPELINE_OPTIONS_INIT;
    hy_runtime *rt = NULL;
    hy_pipeline *p = NULL;
    size_t n = corpus.paragraphs < CHAIN_PARAGRAPHS ? corpus.paragraphs
                                                    : CHAIN_PARAGRAPHS;
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
    check_chain(p, n / 2);
    hy_pipeline_close(p);
    hy_runtime_stop(rt);
    hy_runtime_wait(rt, HY_FOREVER);
    hy_runtime_destroy(rt);
    chain.gigabytes = (double)corpus.starts[n] / (double)start;
    chain.paragraphs = (double)n * 1e9 / (double)start;
    return chain.paragraphs;
}

static double chain_gigabytes(void *arg)
{
    run_chain(arg);
    return chain.gigabytes;
}

static void rows_chain(void)
{
    struct bench_row row = {.what = "text to stored record, the whole chain",
                            .unit = "paragraphs/s",
                            .target = "3,000,000",
                            .more_is_better = true,
                            .repeats = 5};
    struct bench_contender c = {"hy_pipeline", run_chain, NULL, NULL};

    bench_row_run(&row, &c, 1);
    row.what = "the same";
    row.unit = "GB/s";
    row.target = "30x sklearn's HashingVectorizer (0.023)";
    c.run = chain_gigabytes;
    bench_row_run(&row, &c, 1);
}

int main(int argc, char **argv)
{
    bench_begin(argc, argv, "text and index");
    read_corpus();
    if (hy_vectorizer_create(&vectorizer, NULL) != 0)
        bench_wrong("vectorizer");
    rows_text();
    rows_chain();
    row_recall();
    make_data();
    rows_search();
    rows_reopen();
    hy_vectorizer_destroy(vectorizer);
    bench_note("faiss is Debian's generic build: no win over it counts; its "
               "scaled bytes are QT_8bit_uniform, direct_signed being newer. "
               "hnswlib is built for this processor, M 16, ef_construction "
               "200. One thread a query everywhere; every answer's best score "
               "is compared with that of a plain scan. Debian does not "
               "package usearch.");
    return bench_end();
}
