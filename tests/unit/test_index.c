/*
 * test_index.c - the vector index against a plain scan in double precision:
 * every metric and storage, replacing and removing, files, readers beside the
 * writer.
 */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/stat.h>

#include <hyperion/index.h>

#include "fail.h"
#include "hy_test.h"

/* Addresses of an index: the size is the point of one test only, and valgrind
 * and emulators pay for each. */
enum { RESERVE = 64 << 20 };

static float random_float(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(*seed >> 32) / 2147483648.0f;
}

static void random_vector(uint64_t *seed, float *out, size_t dim)
{
    for (size_t i = 0; i < dim; i++)
        out[i] = random_float(seed);
}

static double plain_score(hy_metric metric, const float *a, const float *b,
                          size_t dim)
{
    double dot = 0, aa = 0, bb = 0, l2 = 0;

    for (size_t i = 0; i < dim; i++) {
        dot += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
        l2 += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    }
    if (metric == HY_METRIC_DOT)
        return dot;
    if (metric == HY_METRIC_L2)
        return -l2;
    return aa == 0 || bb == 0 ? 0 : dot / sqrt(aa * bb);
}

static hy_index *make_of(size_t dim, hy_metric metric, unsigned storage,
                         uint64_t reserve)
{
    hy_index_options o = HY_INDEX_OPTIONS_INIT;
    hy_index *index = NULL;

    o.dim = dim;
    o.metric = metric;
    o.storage = storage;
    o.reserve_bytes = reserve;
    HY_CHECK_EQ(hy_index_create(&index, &o), 0);
    return index;
}

static hy_index *make(size_t dim, hy_metric metric, unsigned storage)
{
    return make_of(dim, metric, storage, RESERVE);
}

static void compare_with_plain(hy_metric metric, unsigned storage, size_t dim,
                               size_t n)
{
    enum { K = 10 };
    hy_index *index = make(dim, metric, storage);
    float *all = malloc(n * dim * sizeof(float));
    float *query = malloc(dim * sizeof(float));
    hy_hit hits[K];
    size_t count, wrong = 0;
    uint64_t seed = dim * 31 + n;

    random_vector(&seed, all, n * dim);
    for (size_t i = 0; i < n; i++)
        HY_CHECK_EQ(hy_index_insert(index, i * 7, all + i * dim), 0);
    for (int turn = 0; turn < 20; turn++) {
        size_t better = 0;
        double worst;

        random_vector(&seed, query, dim);
        HY_CHECK_EQ(hy_index_search(index, query, K, NULL, hits, &count), 0);
        HY_CHECK_EQ(count, n < K ? n : K);
        for (size_t i = 0; i < count; i++) {
            double s =
                plain_score(metric, query, all + hits[i].id / 7 * dim, dim);

            HY_CHECK(fabs(s - hits[i].score) < 1e-4 * (1 + fabs(s)));
            HY_CHECK(i == 0 || hits[i].score <= hits[i - 1].score);
        }
        worst = hits[count - 1].score;
        for (size_t i = 0; i < n; i++)
            better += plain_score(metric, query, all + i * dim, dim) >
                      worst + 1e-4 * (1 + fabs(worst));
        wrong += better >= count ? better - count + 1 : 0;
    }
    /* Of 200 hits: floats are exact, codes with their rerank nearly so. */
    HY_CHECK(wrong <= (storage == HY_STORE_F32 ? 0 : 2));
    free(all);
    free(query);
    HY_CHECK_EQ(hy_index_destroy(index), 0);
}

HY_TEST(index, every_metric_and_storage_agrees_with_a_plain_scan)
{
    static const size_t dims[] = {1, 3, 64, 100, 257};

    for (size_t d = 0; d < sizeof(dims) / sizeof(*dims); d++)
        for (unsigned storage = HY_STORE_SQ8; storage <= HY_STORE_F32;
             storage++)
            for (int metric = HY_METRIC_DOT; metric <= HY_METRIC_L2; metric++)
                compare_with_plain((hy_metric)metric, storage, dims[d], 1500);
}

HY_TEST(index, rows_beyond_the_first_segments_are_found)
{
    enum { N = 30000 };
    hy_index *index = make(2, HY_METRIC_L2, HY_STORE_SQ8);
    hy_hit hit;
    size_t count;

    for (uint64_t i = 0; i < N; i++)
        HY_CHECK_EQ(hy_index_insert(index, i, (float[]){(float)i, 1}), 0);
    for (uint64_t i = 0; i < N; i += 997) {
        hy_search_options all = HY_SEARCH_OPTIONS_INIT;

        all.rerank = N;
        HY_CHECK_EQ(hy_index_search(index, (float[]){(float)i, 1}, 1, &all,
                                    &hit, &count),
                    0);
        HY_CHECK_EQ(hit.id, i);
        HY_CHECK(hit.score == 0.0f);
    }
    HY_CHECK_EQ(hy_index_destroy(index), 0);
}

HY_TEST(index, wrong_options_are_refused)
{
    hy_index_options o = HY_INDEX_OPTIONS_INIT;
    hy_index *index = (hy_index *)&o;

    HY_CHECK_EQ(hy_index_create(NULL, &o), -EINVAL);
    HY_CHECK_EQ(hy_index_create(&index, NULL), -EINVAL);
    HY_CHECK_EQ(hy_index_create(&index, &o), -EINVAL);
    o.dim = HY_INDEX_DIM_MAX + 1;
    HY_CHECK_EQ(hy_index_create(&index, &o), -EINVAL);
    o.dim = 4;
    o.metric = (hy_metric)9;
    HY_CHECK_EQ(hy_index_create(&index, &o), -EINVAL);
    o.metric = HY_METRIC_DOT;
    o.storage = 2;
    HY_CHECK_EQ(hy_index_create(&index, &o), -EINVAL);
    o.storage = HY_STORE_F32;
    o.search = HY_SEARCH_GRAPH;
    HY_CHECK_EQ(hy_index_create(&index, &o), -ENOTSUP);
    o.search = HY_SEARCH_EXACT;
    o.path = "/nonexistent/folder/index";
    o.reserve_bytes = RESERVE;
    HY_CHECK_EQ(hy_index_create(&index, &o), -ENOENT);
    o.path = NULL;
    o.reserve_bytes = (uint64_t)1 << 62;
    HY_CHECK_EQ(hy_index_create(&index, &o), -ENOMEM);
    HY_CHECK(index == (hy_index *)&o);
    HY_CHECK_EQ(hy_index_destroy(NULL), 0);
}

HY_TEST(index, what_is_not_finite_is_refused_and_changes_nothing)
{
    hy_index *index = make(3, HY_METRIC_COSINE, HY_STORE_SQ8);
    hy_hit hit;
    size_t count = 77;

    HY_CHECK_EQ(hy_index_insert(index, 1, (float[]){1, NAN, 0}), -EINVAL);
    HY_CHECK_EQ(hy_index_insert(index, 1, (float[]){INFINITY, 0, 0}), -EINVAL);
    HY_CHECK_EQ(hy_index_insert(index, 1, NULL), -EINVAL);
    HY_CHECK_EQ(
        hy_index_search(index, (float[]){NAN, 0, 0}, 1, NULL, &hit, &count),
        -EINVAL);
    HY_CHECK_EQ(count, 77);
    HY_CHECK_EQ(
        hy_index_search(index, (float[]){1, 0, 0}, 1, NULL, &hit, &count), 0);
    HY_CHECK_EQ(count, 0);
    HY_CHECK_EQ(hy_index_destroy(index), 0);
}

HY_TEST(index, extremes_of_length_keep_their_cosine)
{
    hy_index *index = make(2, HY_METRIC_COSINE, HY_STORE_SQ8);
    hy_hit hits[4];
    size_t count;

    HY_CHECK_EQ(hy_index_insert(index, 1, (float[]){3e38f, 0}), 0);
    HY_CHECK_EQ(hy_index_insert(index, 2, (float[]){1e-38f, 1e-38f}), 0);
    HY_CHECK_EQ(hy_index_insert(index, 3, (float[]){0, 0}), 0);
    HY_CHECK_EQ(
        hy_index_search(index, (float[]){2e38f, 0}, 9, NULL, hits, &count), 0);
    HY_CHECK_EQ(count, 3);
    HY_CHECK(hits[0].id == 1 && fabsf(hits[0].score - 1.0f) < 1e-6f);
    HY_CHECK(hits[1].id == 2 && fabsf(hits[1].score - 0.70711f) < 1e-4f);
    HY_CHECK(hits[2].id == 3 && hits[2].score == 0.0f);
    HY_CHECK_EQ(hy_index_destroy(index), 0);
}

HY_TEST(index, replaced_and_removed_vectors_are_gone)
{
    enum { N = 500, ROUNDS = 40 };
    hy_index *index = make(1, HY_METRIC_L2, HY_STORE_F32);
    hy_index_stats stats = {.size = sizeof(stats)};
    hy_hit hits[N + 1];
    size_t count;

    for (int round = 0; round < ROUNDS; round++)
        for (uint64_t i = 0; i < N; i++)
            HY_CHECK_EQ(
                hy_index_insert(index, i, (float[]){(float)(i * 1000) + round}),
                0);
    for (uint64_t i = 0; i < N; i += 2)
        HY_CHECK_EQ(hy_index_remove(index, i), 0);
    HY_CHECK_EQ(hy_index_remove(index, 0), -ENOENT);
    HY_CHECK_EQ(hy_index_search(index, (float[]){0}, N + 1, NULL, hits, &count),
                0);
    HY_CHECK_EQ(count, N / 2);
    for (size_t i = 0; i < count; i++) {
        float at = (float)((2 * i + 1) * 1000 + ROUNDS - 1);

        HY_CHECK_EQ(hits[i].id, 2 * i + 1);
        HY_CHECK(hits[i].score == -(at * at));
    }
    HY_CHECK_EQ(hy_index_stats_get(index, &stats), 0);
    HY_CHECK_EQ(stats.count, N / 2);
    /* Rows are used again: 20,000 writes did not take 20,000 rows. */
    HY_CHECK(stats.rows < N + 16);
    HY_CHECK_EQ(hy_index_destroy(index), 0);
}

static int odd_only(void *ctx, uint64_t id)
{
    ++*(size_t *)ctx;
    return id % 2 != 0;
}

HY_TEST(index, a_filter_leaves_ids_out)
{
    hy_index *index = make(1, HY_METRIC_DOT, HY_STORE_SQ8);
    hy_search_options o = HY_SEARCH_OPTIONS_INIT;
    hy_hit hits[100];
    size_t count, asked = 0;

    o.accept = odd_only;
    o.ctx = &asked;
    for (uint64_t i = 0; i < 100; i++)
        HY_CHECK_EQ(hy_index_insert(index, i, (float[]){(float)i}), 0);
    HY_CHECK_EQ(hy_index_search(index, (float[]){1}, 100, &o, hits, &count), 0);
    HY_CHECK_EQ(count, 50);
    HY_CHECK_EQ(asked, 100);
    HY_CHECK_EQ(hits[0].id, 99);
    HY_CHECK_EQ(hy_index_search(index, (float[]){1}, 0, &o, NULL, &count), 0);
    HY_CHECK_EQ(count, 0);
    HY_CHECK_EQ(hy_index_destroy(index), 0);
}

HY_TEST(index, equal_scores_come_by_id)
{
    hy_index *index = make(2, HY_METRIC_DOT, HY_STORE_SQ8);
    hy_hit hits[5];
    size_t count;

    for (uint64_t i = 1000; i-- > 0;)
        HY_CHECK_EQ(hy_index_insert(index, i, (float[]){1, 2}), 0);
    HY_CHECK_EQ(hy_index_search(index, (float[]){1, 1}, 5, NULL, hits, &count),
                0);
    for (size_t i = 0; i < 5; i++)
        HY_CHECK_EQ(hits[i].id, i);
    HY_CHECK_EQ(hy_index_destroy(index), 0);
}

/* --- files -------------------------------------------------------------------
 */

static void file_name(char *out, size_t bytes)
{
    snprintf(out, bytes, "/tmp/hy-index-%d", (int)getpid());
    unlink(out);
}

static void remove_file(const char *path)
{
    char log[300];

    snprintf(log, sizeof(log), "%s.log", path);
    unlink(log);
    unlink(path);
}

HY_TEST(index, a_file_keeps_the_index)
{
    hy_index_options o = HY_INDEX_OPTIONS_INIT;
    hy_index *index = NULL;
    char path[200];
    hy_hit hit;
    size_t count;

    file_name(path, sizeof(path));
    o.metric = HY_METRIC_L2;
    o.path = path;
    o.reserve_bytes = RESERVE;
    HY_CHECK_EQ(hy_index_create(&index, &o), -EINVAL); /* no dim, no file */
    HY_CHECK(access(path, F_OK) != 0);
    o.dim = 2;
    HY_CHECK_EQ(hy_index_create(&index, &o), 0);
    for (uint64_t i = 0; i < 5000; i++)
        HY_CHECK_EQ(hy_index_insert(index, i, (float[]){(float)i, 0}), 0);
    HY_CHECK_EQ(hy_index_remove(index, 4000), 0);
    HY_CHECK_EQ(hy_index_checkpoint(index), 0);
    HY_CHECK_EQ(hy_index_destroy(index), 0);

    o.dim = 3;
    HY_CHECK_EQ(hy_index_create(&index, &o), -EEXIST);
    o.dim = 0; /* the file's own */
    HY_CHECK_EQ(hy_index_create(&index, &o), 0);
    HY_CHECK_EQ(
        hy_index_search(index, (float[]){4321, 0}, 1, NULL, &hit, &count), 0);
    HY_CHECK_EQ(hit.id, 4321);
    HY_CHECK_EQ(hy_index_destroy(index), 0);
    o.dim = 2;
    o.metric = HY_METRIC_DOT;
    HY_CHECK_EQ(hy_index_create(&index, &o), -EEXIST);
    o.metric = HY_METRIC_L2;
    o.dim = 0; /* that of the file */
    HY_CHECK_EQ(hy_index_create(&index, &o), 0);
    HY_CHECK_EQ(
        hy_index_search(index, (float[]){4321, 0}, 1, NULL, &hit, &count), 0);
    HY_CHECK_EQ(hit.id, 4321);
    HY_CHECK_EQ(hy_index_remove(index, 4000), -ENOENT);
    HY_CHECK_EQ(hy_index_insert(index, 4000, (float[]){4000, 0}), 0);
    HY_CHECK_EQ(hy_index_destroy(index), 0);
    remove_file(path);
}

HY_TEST(index, a_file_of_another_kind_is_refused_and_left_alone)
{
    hy_index_options o = HY_INDEX_OPTIONS_INIT;
    hy_index *index = NULL;
    char path[200], text[64] = "";
    FILE *f;

    file_name(path, sizeof(path));
    f = fopen(path, "w");
    fputs("this is a letter, not an index\n", f);
    fclose(f);
    o.dim = 2;
    o.path = path;
    HY_CHECK_EQ(hy_index_create(&index, &o), -EBADMSG);
    f = fopen(path, "r");
    HY_CHECK(fgets(text, sizeof(text), f) != NULL);
    fclose(f);
    HY_CHECK_STR(text, "this is a letter, not an index\n");
    remove_file(path);
}

/* --- how much is reserved ------------------------------------------------- */

static int reports_at[4];
static char reported[512];

static void keep_report(void *ctx, int level, const char *message)
{
    (void)ctx;
    reports_at[level]++;
    snprintf(reported, sizeof(reported), "%s", message);
}

static void forget_reports(void)
{
    memset(reports_at, 0, sizeof(reports_at));
    reported[0] = '\0';
}

/* What a new index of these options must reserve, by its own word. */
static uint64_t least_of(hy_index_options o)
{
    hy_index *index = NULL;
    const char *word;

    forget_reports();
    o.report.write = keep_report;
    o.reserve_bytes = 1;
    HY_CHECK_EQ(hy_index_create(&index, &o), -EINVAL);
    HY_CHECK(index == NULL);
    HY_CHECK_EQ(reports_at[HY_REPORT_ERROR], 1);
    word = strstr(reported, " take ");
    HY_CHECK_MSG(word != NULL, "%s", reported);
    return strtoull(word + 6, NULL, 10);
}

HY_TEST(index, the_least_reserve_holds_the_first_vectors)
{
    static const struct {
        size_t dim;
        unsigned storage;
    } rows[] = {{1, HY_STORE_F32},
                {1, HY_STORE_SQ8},
                {17, HY_STORE_SQ8},
                {64, HY_STORE_F32},
                {300, HY_STORE_SQ8}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        hy_index_options o = HY_INDEX_OPTIONS_INIT;
        uint64_t seed = 3, least, n = 0;
        float vector[300];
        hy_index *index = NULL;
        int r;

        o.dim = rows[i].dim;
        o.storage = rows[i].storage;
        least = least_of(o);
        HY_CHECK(least <= 4096 * (5 * (uint64_t)o.dim + 600));
        o.reserve_bytes = least - 1;
        HY_CHECK_EQ(hy_index_create(&index, &o), -EINVAL);
        o.reserve_bytes = least;
        HY_CHECK_EQ(hy_index_create(&index, &o), 0);
        HY_CHECK(hy_pager_bytes(hy_index_pager(index)) - least <
                 hy_pager_page_bytes(hy_index_pager(index)));
        random_vector(&seed, vector, o.dim);
        while ((r = hy_index_insert(index, n, vector)) == 0)
            n++;
        HY_CHECK_EQ(r, -ENOMEM);
        HY_CHECK_MSG(n >= 4096, "%llu vectors", (unsigned long long)n);
        HY_CHECK_EQ(hy_index_destroy(index), 0);
    }
}

HY_TEST(index, a_reserve_is_for_new_files_and_kept)
{
    hy_index_options o = HY_INDEX_OPTIONS_INIT;
    hy_index *index = NULL;
    char path[200];
    uint64_t least;

    file_name(path, sizeof(path));
    o.dim = 2;
    o.path = path;
    least = least_of(o);
    HY_CHECK(access(path, F_OK) != 0); /* a refused call makes none */
    o.report.write = keep_report;
    o.reserve_bytes = least + 1;
    forget_reports();
    for (int turn = 0; turn < 2; turn++) { /* new, and there already */
        HY_CHECK_EQ(hy_index_create(&index, &o), 0);
        HY_CHECK(hy_pager_bytes(hy_index_pager(index)) - least <= 4096 * 16);
        HY_CHECK_EQ(hy_index_insert(index, 1, (float[]){1, 2}), 0);
        HY_CHECK_EQ(hy_index_destroy(index), 0);
    }
    HY_CHECK_STR(reported, "");
    for (int turn = 0; turn < 3; turn++) {
        static const uint64_t other[] = {(uint64_t)1 << 33, 1, 0};

        o.reserve_bytes = other[turn];
        HY_CHECK_EQ(hy_index_create(&index, &o), 0);
        HY_CHECK(hy_pager_bytes(hy_index_pager(index)) - least <= 4096 * 16);
        HY_CHECK_EQ(hy_index_destroy(index), 0);
        /* Larger is a wish that is not met, smaller is had and more. */
        HY_CHECK_EQ(reports_at[HY_REPORT_WARNING], 1);
        HY_CHECK_EQ(reports_at[HY_REPORT_NOTE], turn > 0);
    }
    HY_CHECK(strstr(reported, path) != NULL);
    remove_file(path);
}

HY_TEST(index, an_empty_file_becomes_an_index)
{
    hy_index_options o = HY_INDEX_OPTIONS_INIT;
    hy_index *index = NULL;
    char path[200];

    file_name(path, sizeof(path));
    fclose(fopen(path, "w"));
    o.path = path;
    o.reserve_bytes = 4 << 20;
    HY_CHECK_EQ(hy_index_create(&index, &o), -EINVAL); /* no dim */
    o.dim = 2;
    o.flags = HY_INDEX_EXISTING;
    HY_CHECK_EQ(hy_index_create(&index, &o), -EBADMSG);
    o.flags = 0;
    HY_CHECK_EQ(hy_index_create(&index, &o), 0);
    HY_CHECK_EQ(hy_index_insert(index, 1, (float[]){1, 2}), 0);
    HY_CHECK_EQ(hy_index_destroy(index), 0);
    o.dim = 0;
    HY_CHECK_EQ(hy_index_create(&index, &o), 0);
    HY_CHECK_EQ(hy_index_remove(index, 1), 0);
    HY_CHECK_EQ(hy_index_destroy(index), 0);
    remove_file(path);
}

#ifndef HY_TEST_PLAIN /* emulators and sanitizers pay for each address */
HY_TEST(index, without_a_wish_a_quarter_terabyte_is_reserved)
{
    hy_index_options o = HY_INDEX_OPTIONS_INIT;
    hy_index *index = NULL;
    char path[200];

    file_name(path, sizeof(path));
    o.dim = 2;
    for (int turn = 0; turn < 3; turn++) { /* memory, a new file, an old one */
        o.path = turn == 0 ? NULL : path;
        HY_CHECK_EQ(hy_index_create(&index, &o), 0);
        HY_CHECK(hy_pager_bytes(hy_index_pager(index)) == (uint64_t)1 << 38);
        HY_CHECK_EQ(hy_index_insert(index, 1, (float[]){1, 2}), 0);
        HY_CHECK_EQ(hy_index_destroy(index), 0);
    }
    remove_file(path);
}
#endif

HY_TEST(index, a_callers_heap_keeps_it_at_any_address)
{
    enum { BYTES = 8 << 20 };
    hy_index_options o = HY_INDEX_OPTIONS_INIT;
    void *here = aligned_alloc(4096, BYTES),
         *there = aligned_alloc(4096, BYTES);
    uint64_t payload = 0;
    hy_heap *heap = NULL;
    hy_index *index = NULL;
    hy_hit hit;
    size_t count;

    memset(here, 0xee, BYTES);
    HY_CHECK_EQ(hy_heap_format(&heap, here, BYTES), 0);
    o.dim = 1;
    o.metric = HY_METRIC_L2;
    o.storage = HY_STORE_F32;
    o.heap = heap;
    o.root = 3;
    o.reserve_bytes = BYTES; /* its size is its owner's matter */
    HY_CHECK_EQ(hy_index_create(&index, &o), -EINVAL);
    o.reserve_bytes = 0;
    HY_CHECK_EQ(hy_index_create(&index, &o), 0);
    for (uint64_t i = 0; i < 300; i++)
        HY_CHECK_EQ(hy_index_insert_encoded(index, i, (float[]){(float)i},
                                            (hy_sq8){0, 0, 0, 0}, NULL, i + 5),
                    0);
    HY_CHECK_EQ(hy_index_destroy(index), 0);
    HY_CHECK_EQ(hy_heap_check(heap), 0);
    HY_CHECK_EQ(hy_heap_destroy(heap), 0);

    memcpy(there, here, BYTES);
    memset(here, 0, BYTES);
    HY_CHECK_EQ(hy_heap_attach(&heap, there, BYTES), 0);
    o.heap = heap;
    HY_CHECK_EQ(hy_index_create(&index, &o), 0);
    HY_CHECK_EQ(hy_index_search(index, (float[]){123}, 1, NULL, &hit, &count),
                0);
    HY_CHECK_EQ(hit.id, 123);
    HY_CHECK_EQ(hy_index_payload(index, 123, &payload), 0);
    HY_CHECK_EQ(payload, 128);
    HY_CHECK_EQ(hy_index_payload(index, 300, &payload), -ENOENT);
    HY_CHECK_EQ(hy_index_destroy(index), 0);
    HY_CHECK_EQ(hy_heap_destroy(heap), 0);
    free(here);
    free(there);
}

HY_TEST(index, a_full_heap_is_an_error_and_loses_nothing)
{
    enum { BYTES = 1 << 20 };
    hy_index_options o = HY_INDEX_OPTIONS_INIT;
    void *memory = aligned_alloc(4096, BYTES);
    hy_heap *heap = NULL;
    hy_index *index = NULL;
    hy_index_stats stats = {.size = sizeof(stats)};
    hy_hit hit;
    size_t count;
    uint64_t i = 0;
    int r;

    HY_CHECK_EQ(hy_heap_format(&heap, memory, BYTES), 0);
    o.dim = 1;
    o.metric = HY_METRIC_L2;
    o.storage = HY_STORE_F32;
    o.heap = heap;
    HY_CHECK_EQ(hy_index_create(&index, &o), 0);
    while ((r = hy_index_insert(index, i, (float[]){(float)i})) == 0)
        i++;
    HY_CHECK_EQ(r, -ENOMEM);
    HY_CHECK(i >= 4096);
    HY_CHECK_EQ(hy_index_stats_get(index, &stats), 0);
    HY_CHECK_EQ(stats.count, i);
    HY_CHECK_EQ(hy_index_search(index, (float[]){9}, 1, NULL, &hit, &count), 0);
    HY_CHECK_EQ(hit.id, 9);
    HY_CHECK_EQ(hy_heap_check(heap), 0);
    HY_CHECK_EQ(hy_index_destroy(index), 0);
    HY_CHECK_EQ(hy_heap_destroy(heap), 0);
    free(memory);
}

HY_TEST(index, what_is_there_is_replaced_though_no_id_has_room)
{
    enum { BYTES = 1 << 20 };
    hy_index_options o = HY_INDEX_OPTIONS_INIT;
    void *memory = aligned_alloc(4096, BYTES);
    hy_heap *heap = NULL;
    hy_index *index = NULL;
    uint64_t i = 0;
    int r;

    HY_CHECK_EQ(hy_heap_format(&heap, memory, BYTES), 0);
    o.dim = 1;
    o.metric = HY_METRIC_L2;
    o.storage = HY_STORE_F32;
    o.heap = heap;
    HY_CHECK_EQ(hy_index_create(&index, &o), 0);
    HY_CHECK_EQ(hy_index_insert(index, i++, (float[]){0}), 0);
    for (size_t bytes = BYTES; bytes >= 16; bytes /= 2)
        while (hy_heap_alloc(heap, bytes) != NULL)
            continue;
    while ((r = hy_index_insert(index, i, (float[]){(float)i})) == 0)
        i++;
    HY_CHECK_EQ(r, -ENOMEM);
    HY_CHECK(i < 4096); /* there are rows, but the map of ids is full */
    for (uint64_t id = 0; id < i; id++)
        HY_CHECK_EQ(hy_index_insert(index, id, (float[]){-1}), 0);
    HY_CHECK_EQ(hy_index_insert(index, i, (float[]){0}), -ENOMEM);
    HY_CHECK_EQ(hy_index_remove(index, 0), 0);
    HY_CHECK_EQ(hy_index_insert(index, i, (float[]){0}), 0);
    HY_CHECK_EQ(hy_index_destroy(index), 0);
    HY_CHECK_EQ(hy_heap_destroy(heap), 0);
    free(memory);
}

HY_TEST(index, no_memory_is_an_error)
{
    hy_index_options o = HY_INDEX_OPTIONS_INIT;
    hy_index *index = NULL;
    hy_hit hit;
    size_t count;

    o.dim = 2;
    o.reserve_bytes = RESERVE;
    hy_fail_at(HY_FAIL_CALLOC, 1, ENOMEM);
    HY_CHECK_EQ(hy_index_create(&index, &o), -ENOMEM);
    hy_fail_at(HY_FAIL_MALLOC, 1, ENOMEM);
    HY_CHECK_EQ(hy_index_create(&index, &o), -ENOMEM);
    HY_CHECK_EQ(hy_fail_hits(), 2);
    hy_fail_none();
    HY_CHECK_EQ(hy_index_create(&index, &o), 0);
    HY_CHECK_EQ(hy_index_insert(index, 1, (float[]){1, 2}), 0);
    for (unsigned nth = 1; nth <= 2; nth++) {
        hy_fail_at(HY_FAIL_MALLOC, nth, ENOMEM);
        HY_CHECK_EQ(
            hy_index_search(index, (float[]){1, 2}, 1, NULL, &hit, &count),
            -ENOMEM);
    }
    hy_fail_at(HY_FAIL_REALLOC, 1, ENOMEM);
    HY_CHECK_EQ(hy_index_insert(index, 2, (float[]){1, 2}), -ENOMEM);
    HY_CHECK_EQ(hy_index_insert(index, 2, (float[]){1, 2}), 0);
    hy_fail_none();
    HY_CHECK_EQ(hy_index_destroy(index), 0);
}

/* --- readers beside the writer
 * ------------------------------------------------ */

#ifdef HY_TEST_PLAIN /* emulators and sanitizers are slow */
enum { SHARED_IDS = 64, SEARCHES = 100 };
#else
enum { SHARED_IDS = 64, SEARCHES = 500 };
#endif

struct shared {
    hy_index *index;
    _Atomic int stop;
    _Atomic int wrong;
    _Atomic uint64_t searches;
};

/* Gives the processor away in the middle of a scan. */
static int dawdle(void *ctx, uint64_t id)
{
    if (id % 16 == (uint64_t)(uintptr_t)ctx)
        sched_yield();
    return 1;
}

/* Every search must find each of the ids exactly once. */
static void *search_always(void *arg)
{
    hy_search_options o = HY_SEARCH_OPTIONS_INIT;
    struct shared *shared = arg;

    o.accept = dawdle;
    while (!atomic_load(&shared->stop)) {
        hy_hit hits[SHARED_IDS * 2];
        uint64_t seen = 0;
        size_t count = 0;
        int r = hy_index_search(shared->index, (float[]){1, 1}, SHARED_IDS * 2,
                                &o, hits, &count);

        for (size_t i = 0; i < count; i++)
            seen |= (uint64_t)1 << (hits[i].id % 64);
        if (r != 0 || count != SHARED_IDS || seen != UINT64_MAX)
            atomic_fetch_add(&shared->wrong, 1);
        atomic_fetch_add(&shared->searches, 1);
    }
    return NULL;
}

static void replace_beside_searches(unsigned storage)
{
    /* Room for some thousand replaced rows: each search looks at all. */
    struct shared shared = {make_of(2, HY_METRIC_L2, storage, 4 << 20), 0, 0,
                            0};
    pthread_t readers[2];
    uint64_t seed = 5, writes = 0;

    for (uint64_t i = 0; i < SHARED_IDS; i++)
        HY_CHECK_EQ(hy_index_insert(shared.index, i, (float[]){0, 0}), 0);
    for (int i = 0; i < 2; i++)
        HY_CHECK_EQ(pthread_create(&readers[i], NULL, search_always, &shared),
                    0);
    while (atomic_load(&shared.searches) < SEARCHES && writes < 30000000) {
        float v[2] = {random_float(&seed), random_float(&seed)};
        int r = hy_index_insert(shared.index, seed >> 58, v);

        if (r == -ENOMEM)
            sched_yield(); /* room comes when a reader has woken up */
        else
            HY_CHECK_EQ(r, 0);
        writes++;
    }
    atomic_store(&shared.stop, 1);
    for (int i = 0; i < 2; i++)
        pthread_join(readers[i], NULL);
    HY_CHECK(atomic_load(&shared.searches) > 0);
    HY_CHECK_EQ(atomic_load(&shared.wrong), 0);
    HY_CHECK_EQ(hy_index_destroy(shared.index), 0);
}

/* Replaces from inside a search until there is no room. */
static int replace_until_full(void *ctx, uint64_t id)
{
    struct shared *shared = ctx;
    int r = 0;

    (void)id;
    while (r == 0) {
        r = hy_index_insert(shared->index, 1, (float[]){1, 2});
        atomic_fetch_add(&shared->searches, 1);
    }
    atomic_fetch_add(&shared->wrong, r != -ENOMEM);
    return 1;
}

HY_TEST(index, rows_that_a_search_kept_are_used_again)
{
    hy_search_options so = HY_SEARCH_OPTIONS_INIT;
    struct shared shared = {make_of(2, HY_METRIC_L2, HY_STORE_SQ8, 4 << 20), 0,
                            0, 0};
    hy_hit hit;
    size_t count;

    HY_CHECK_EQ(hy_index_insert(shared.index, 1, (float[]){1, 1}), 0);
    so.accept = replace_until_full;
    so.ctx = &shared;
    HY_CHECK_EQ(
        hy_index_search(shared.index, (float[]){1, 1}, 1, &so, &hit, &count),
        0);
    HY_CHECK(count == 1 && hit.score == 0.0f); /* the row of its version */
    HY_CHECK_EQ(atomic_load(&shared.wrong), 0);
    HY_CHECK(atomic_load(&shared.searches) >= 4096);
    for (int i = 0; i < 10000; i++)
        HY_CHECK_EQ(hy_index_insert(shared.index, 1, (float[]){3, 1}), 0);
    HY_CHECK_EQ(hy_index_destroy(shared.index), 0);
}

HY_TEST(index, a_search_beside_replacements_finds_each_id_once)
{
    replace_beside_searches(HY_STORE_F32);
    replace_beside_searches(HY_STORE_SQ8);
}
