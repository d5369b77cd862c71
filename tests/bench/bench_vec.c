/*
 * bench_vec.c - distance kernels and SQ8 beside the compiler's loops, hnswlib's
 * and faiss's, in the first-level cache and over memory.
 *
 *      in L1   two vectors of 1,536, again and again
 *      memory  one query over 1,000,000 rows of 256 bytes; only reading them
 *
 * Every contender's result is compared with a sum in double precision first.
 * Upstream: bench.h, bench_vec.h. Downstream: vec.h.
 */
#include "bench_vec.h"

#include "bench.h"

#include <hyperion/vec.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum { DIM = 1536, ROW = 256, ROWS = 1000000, ROWS_QUICK = 200000 };

static _Alignas(128) float a[DIM], b[DIM];
static _Alignas(128) int8_t ia[DIM], ib[DIM], codes[DIM];

typedef float (*f32_kernel)(const float *, const float *, size_t);
typedef int32_t (*i8_kernel)(const int8_t *, const int8_t *, size_t);

struct f32_case {
    f32_kernel kernel;
    bool is_l2, is_check;
};

struct i8_case {
    i8_kernel kernel;
};

static uint64_t seed = 88172645463325252u;

static uint64_t random_next(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void fill(void)
{
    for (int i = 0; i < DIM; i++) {
        a[i] = (float)(random_next() % 2001) / 1000.0f - 1.0f;
        b[i] = (float)(random_next() % 2001) / 1000.0f - 1.0f;
        ia[i] = (int8_t)random_next();
        ib[i] = (int8_t)random_next();
    }
}

static void check_f32(const struct f32_case *c)
{
    double sum = 0, got = c->kernel(a, b, DIM);

    for (int i = 0; i < DIM; i++)
        sum += c->is_l2 ? ((double)a[i] - b[i]) * ((double)a[i] - b[i])
                        : (double)a[i] * b[i];
    if (c->is_check && fabs(got - sum) > 1e-3 * (1 + fabs(sum)))
        bench_wrong("f32 kernel");
}

static double run_f32(void *arg)
{
    const struct f32_case *c = (const struct f32_case *)arg;
    f32_kernel volatile kernel = c->kernel;
    uint64_t n = bench_scale(400000), start;

    check_f32(c);
    start = bench_now();
    for (uint64_t i = 0; i < n; i++)
        BENCH_USE(kernel(a, b, DIM));
    return (double)(bench_now() - start) / (double)n;
}

static double run_i8(void *arg)
{
    i8_kernel volatile kernel = ((const struct i8_case *)arg)->kernel;
    uint64_t n = bench_scale(800000), start;
    int32_t sum = 0;

    for (int i = 0; i < DIM; i++)
        sum += ia[i] * ib[i];
    if (kernel(ia, ib, DIM) != sum)
        bench_wrong("i8 kernel");
    start = bench_now();
    for (uint64_t i = 0; i < n; i++)
        BENCH_USE(kernel(ia, ib, DIM));
    return (double)(bench_now() - start) / (double)n;
}

/* A query prepared once, over 16 rows that stay in L1. */
static double run_i8_batch(void *arg)
{
    static _Alignas(128) int8_t rows[16 * DIM];
    int32_t out[16];
    uint64_t n = bench_scale(50000), start;

    (void)arg;
    for (int r = 0; r < 16; r++)
        memcpy(rows + r * DIM, ib, DIM);
    start = bench_now();
    for (uint64_t i = 0; i < n; i++) {
        hy_vec_dot_i8_batch(ia, rows, DIM, 16, DIM, out);
        BENCH_USE(out[15]);
    }
    start = bench_now() - start;
    if (out[0] != hy_vec_dot_i8(ia, ib, DIM) || out[15] != out[0])
        bench_wrong("i8 batch");
    return (double)start / (double)(n * 16);
}

/* --- SQ8 ------------------------------------------------------------------ */

static void encode_ours(const float *x, size_t n, int8_t *out)
{
    hy_vec_sq8_encode(x, n, out);
}

struct encode_case {
    void (*encode)(const float *x, size_t n, int8_t *codes);
};

static double run_encode(void *arg)
{
    void (*volatile encode)(const float *, size_t, int8_t *) =
        ((const struct encode_case *)arg)->encode;
    uint64_t n = bench_scale(200000), start;

    start = bench_now();
    for (uint64_t i = 0; i < n; i++) {
        encode(a, DIM, codes);
        BENCH_USE(codes[7]);
    }
    start = bench_now() - start;
    for (int i = 0; i < DIM; i++) /* -1..1 became -128..127 */
        if (abs(codes[i] - (int)lrintf((a[i] + 1.0f) * 127.5f - 128.0f)) > 1)
            bench_wrong("codes");
    return (double)start / (double)n;
}

/* --- over memory ---------------------------------------------------------- */

static int8_t *table;
static int32_t *scores;

static size_t row_count(void)
{
    return bench_is_quick() ? ROWS_QUICK : ROWS;
}

static void make_table(void)
{
    size_t bytes = row_count() * ROW;

    table = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    scores = malloc(row_count() * sizeof(*scores));
    if (table == MAP_FAILED || scores == NULL)
        bench_wrong("no memory");
    madvise(table, bytes, MADV_HUGEPAGE);
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t x = random_next();

        memcpy(table + i, &x, 8);
    }
}

static double gbs(uint64_t start)
{
    return (double)(row_count() * ROW) / (double)(bench_now() - start);
}

static double scan_ours(void *arg)
{
    uint64_t start = bench_now();
    double r;
    size_t at = row_count() / 3;

    (void)arg;
    hy_vec_dot_i8_batch(ia, table, ROW, row_count(), ROW, scores);
    r = gbs(start);
    if (scores[at] != hy_vec_dot_i8(ia, table + at * ROW, ROW))
        bench_wrong("scan");
    return r;
}

static double scan_compiler(void *arg)
{
    uint64_t start = bench_now();

    (void)arg;
    for (size_t i = 0; i < row_count(); i++)
        scores[i] = vec_dot_i8_fast(ia, table + i * ROW, ROW);
    return gbs(start);
}

static double scan_reads(void *arg)
{
    uint64_t start = bench_now();

    (void)arg;
    bench_read(table, row_count() * ROW);
    return gbs(start);
}

/* --- the table ------------------------------------------------------------ */

static struct bench_contender f32(const char *name, struct f32_case *c)
{
    struct bench_contender out = {name, run_f32, c, NULL};

    if (c->kernel == NULL)
        out.absent = BENCH_ABSENT;
    return out;
}

static void rows_f32(void)
{
    struct bench_row row = {.what = "dot f32, 1,536, in L1",
                            .unit = "ns",
                            .target = "95 % of L1 read, 1.2x hnswlib"};
    struct f32_case ours = {hy_vec_dot_f32, false, true};
    struct f32_case hnswlib = {hnswlib_dot, false, true};
    struct f32_case faiss = {faiss_dot, false, true};
    struct f32_case o3 = {vec_dot_o3, false, true};
    struct f32_case fast = {vec_dot_fast, false, true};
    struct f32_case reads = {vec_read_both, false, false};
    struct bench_contender c[] = {
        f32("hy_vec_dot_f32", &ours), f32("only reading", &reads),
        f32("hnswlib", &hnswlib),     f32("faiss", &faiss),
        f32("-Ofast", &fast),         f32("-O3", &o3)};
    struct bench_contender l2[] = {
        f32("hy_vec_l2sq_f32", &ours), f32("only reading", &reads),
        f32("hnswlib", &hnswlib),      f32("faiss", &faiss),
        f32("-Ofast", &fast),          f32("-O3", &o3)};

    bench_row_run(&row, c, COUNT(c));
    ours = (struct f32_case){hy_vec_l2sq_f32, true, true};
    hnswlib = (struct f32_case){hnswlib_l2sq, true, true};
    faiss = (struct f32_case){faiss_l2sq, true, true};
    o3 = (struct f32_case){vec_l2sq_o3, true, true};
    fast = (struct f32_case){vec_l2sq_fast, true, true};
    row.what = "squared L2 f32, 1,536, in L1";
    bench_row_run(&row, l2, COUNT(l2));
}

static void row_i8(void)
{
    struct bench_row row = {.what = "dot i8, 1,536, in L1, prepared query",
                            .unit = "ns",
                            .target = "5x -O3, 2.5x SimSIMD"};
    struct i8_case ours = {hy_vec_dot_i8}, o3 = {vec_dot_i8_o3};
    struct bench_contender c[] = {
        {"hy_vec_dot_i8_batch", run_i8_batch, NULL, NULL},
        {"hy_vec_dot_i8", run_i8, &ours, NULL},
        {"-O3", run_i8, &o3, NULL}};

    bench_row_run(&row, c, COUNT(c));
}

static void row_encode(void)
{
    struct bench_row row = {.what = "SQ8 encode, 1,536, in L1",
                            .unit = "ns",
                            .target = "1.4x -Ofast"};
    struct encode_case ours = {encode_ours}, o3 = {vec_sq8_encode_o3};
    struct encode_case fast = {vec_sq8_encode_fast};
    struct bench_contender c[] = {
        {"hy_vec_sq8_encode", run_encode, &ours, NULL},
        {"-Ofast", run_encode, &fast, NULL},
        {"-O3", run_encode, &o3, NULL}};

    bench_row_run(&row, c, COUNT(c));
}

static void row_scan(void)
{
    struct bench_row row = {.what = "dot i8 over 1,000,000 rows of 256",
                            .unit = "GB/s",
                            .target = "93 % of memory read",
                            .more_is_better = true};
    struct bench_contender c[] = {
        {"hy_vec_dot_i8_batch", scan_ours, NULL, NULL},
        {"only reading", scan_reads, NULL, NULL},
        {"-Ofast", scan_compiler, NULL, NULL}};

    if (bench_is_quick())
        row.what = "dot i8 over 200,000 rows of 256";
    make_table();
    bench_row_run(&row, c, COUNT(c));
}

int main(int argc, char **argv)
{
    static char note[256];

    fill();
    bench_begin(argc, argv, "vec");
    rows_f32();
    row_i8();
    row_encode();
    row_scan();
    snprintf(note, sizeof(note),
             "hy_vec_isa() is %s. The compiler's loops and hnswlib are built "
             "with -march=native; faiss is Debian's generic build: no win over "
             "it counts. Debian does not package SimSIMD.",
             hy_vec_isa());
    bench_note(note);
    return bench_end();
}
