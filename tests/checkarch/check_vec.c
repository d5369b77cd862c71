/*
 * check_vec.c - every kernel table that this processor can run against the
 * scalar oracle, on random lengths, alignments and values. Each array ends at
 * or near a page that must not be touched:
 *
 *      | no access | ....... data | poison | no access |
 *                                   0..63 bytes, NaN or 0x55
 */
#include "hy_test.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <sys/mman.h>

#include "arch.h"

enum { PAGE = 65536, BUFFERS = 3, LENGTH_MAX = 700, ROWS_MAX = 11 };

static uint64_t seed = 1;

static uint32_t draw(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 32);
}

static unsigned below(unsigned n)
{
    return (unsigned)((uint64_t)draw() * n >> 32);
}

static float draw_float(void)
{
    float x = (float)((double)draw() / 2147483648.0 - 1.0);

    return ldexpf(x, (int)below(13) - 6);
}

static char *pages[BUFFERS];

/* bytes of memory that end 0..63 poisoned bytes before the forbidden page */
static void *guarded(int buffer, size_t bytes, size_t align)
{
    size_t pad = below(3) == 0 ? 0 : below(64) / align * align;
    char *end;

    HY_CHECK(bytes + 64 <= PAGE);
    if (pages[buffer] == NULL) {
        char *p =
            mmap(NULL, 3 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        HY_CHECK(p != MAP_FAILED);
        HY_CHECK(mprotect(p + PAGE, PAGE, PROT_READ | PROT_WRITE) == 0);
        pages[buffer] = p + PAGE;
    }
    end = pages[buffer] + PAGE;
    memset(end - 64, align == 4 ? 0xff : 0x55, 64); /* 0xffffffff: a NaN */
    return end - pad - bytes;
}

/* From here to the forbidden page nothing was written. */
static bool is_poison(int buffer, const void *from)
{
    const char *end = pages[buffer] + PAGE;

    for (const char *p = from; p < end; p++)
        if (*p != end[-1])
            return false;
    return end == from || end[-1] == '\xff' || end[-1] == 0x55;
}

static float *guarded_floats(int buffer, size_t n)
{
    float *x = guarded(buffer, n * sizeof(*x), sizeof(*x));

    for (size_t i = 0; i < n; i++)
        x[i] = draw_float();
    return x;
}

static int8_t *guarded_bytes(int buffer, size_t n)
{
    int8_t *x = guarded(buffer, n, 1);
    unsigned extreme = below(4);

    for (size_t i = 0; i < n; i++)
        x[i] = extreme == 0 ? -128 : (int8_t)draw();
    return x;
}

static size_t draw_length(int round)
{
    return round < 300 ? (size_t)round : below(LENGTH_MAX);
}

/* Calls check for every table that this processor has. */
static void each_table(void (*check)(const struct hy_arch_vec *k,
                                     const char *isa))
{
    unsigned have = hy_arch_cpu_features();

    for (const struct hy_arch_level *l = hy_arch_levels; l->name != NULL; l++)
        if ((have & l->features) == l->features)
            check(hy_arch_vec_select(l->features), l->name);
}

static bool same_bits(float a, float b)
{
    return memcmp(&a, &b, sizeof(a)) == 0;
}

static double bound(size_t n)
{
    return ((double)n / 16 + 12) * 0x1p-24;
}

static void check_f32(const struct hy_arch_vec *k, const char *isa)
{
    for (int round = 0; round < 600; round++) {
        size_t n = draw_length(round);
        const float *a = guarded_floats(0, n), *b = guarded_floats(1, n);
        double dot = 0, size = 0, l2sq = 0;
        float got = k->dot_f32(a, b, n), m[3];

        for (size_t i = 0; i < n; i++) {
            double d = (double)a[i] - b[i];

            dot += (double)a[i] * b[i];
            size += fabs((double)a[i] * b[i]);
            l2sq += d * d;
        }
        HY_CHECK_MSG(fabs(got - dot) <= bound(n) * size, "%s dot n %zu: %g %g",
                     isa, n, got, dot);
        got = k->l2sq_f32(a, b, n);
        HY_CHECK_MSG(fabs(got - l2sq) <= bound(n) * l2sq,
                     "%s l2sq n %zu: %g %g", isa, n, got, l2sq);
        k->moments_f32(a, b, n, m);
        HY_CHECK_MSG(same_bits(m[0], k->dot_f32(a, b, n)), "%s %zu", isa, n);
        HY_CHECK_MSG(same_bits(m[1], k->dot_f32(a, a, n)), "%s %zu", isa, n);
        HY_CHECK_MSG(same_bits(m[2], k->dot_f32(b, b, n)), "%s %zu", isa, n);
    }
}

HY_TEST(check_vec, f32)
{
    each_table(check_f32);
}

/* A NaN or infinity at any place comes through; so does it not from outside. */
static void check_special(const struct hy_arch_vec *k, const char *isa)
{
    for (int round = 0; round < 300; round++) {
        size_t n = 1 + draw_length(round), at = below((unsigned)n);
        float *a = guarded_floats(0, n), *b = guarded_floats(1, n), low, high;

        HY_CHECK(k->range_f32(a, n, &low, &high));
        a[at] = round & 1 ? NAN : -NAN;
        HY_CHECK_MSG(isnan(k->dot_f32(a, b, n)), "%s n %zu", isa, n);
        HY_CHECK_MSG(isnan(k->dot_f32(b, a, n)), "%s n %zu", isa, n);
        HY_CHECK_MSG(isnan(k->l2sq_f32(a, b, n)), "%s n %zu", isa, n);
        HY_CHECK(!k->range_f32(a, n, &low, &high));
        a[at] = round & 1 ? INFINITY : -INFINITY;
        b[at] = 1;
        HY_CHECK_MSG(same_bits(k->dot_f32(a, b, n), a[at]), "%s %zu", isa, n);
        HY_CHECK_MSG(same_bits(k->l2sq_f32(a, b, n), INFINITY), "%s", isa);
        HY_CHECK(!k->range_f32(a, n, &low, &high));
        b[at] = 0;
        HY_CHECK_MSG(isnan(k->dot_f32(a, b, n)), "%s n %zu", isa, n);
    }
}

HY_TEST(check_vec, special_values)
{
    each_table(check_special);
}

static void check_batch(const struct hy_arch_vec *k, const char *isa)
{
    float out[ROWS_MAX + 1], norms[ROWS_MAX + 1];

    for (int round = 0; round < 400; round++) {
        size_t n = draw_length(round), count = below(ROWS_MAX + 1);
        size_t stride = below(4) == 0 ? below(9) : n + below(5);
        size_t total = count == 0 ? 0 : (count - 1) * stride + n;
        const float *q = guarded_floats(0, n), *rows = guarded_floats(1, total);

        out[count] = norms[count] = 7;
        k->dot_f32_batch(q, rows, stride, count, n, out);
        for (size_t i = 0; i < count; i++)
            HY_CHECK_MSG(same_bits(out[i], k->dot_f32(q, rows + i * stride, n)),
                         "%s dot n %zu row %zu of %zu", isa, n, i, count);
        k->l2sq_f32_batch(q, rows, stride, count, n, out);
        for (size_t i = 0; i < count; i++)
            HY_CHECK_MSG(
                same_bits(out[i], k->l2sq_f32(q, rows + i * stride, n)),
                "%s l2sq n %zu row %zu of %zu", isa, n, i, count);
        k->moments_f32_batch(q, rows, stride, count, n, out, norms);
        for (size_t i = 0; i < count; i++) {
            const float *r = rows + i * stride;

            HY_CHECK_MSG(same_bits(out[i], k->dot_f32(q, r, n)), "%s", isa);
            HY_CHECK_MSG(same_bits(norms[i], k->dot_f32(r, r, n)), "%s", isa);
        }
        HY_CHECK_MSG(out[count] == 7 && norms[count] == 7, "%s", isa);
    }
}

HY_TEST(check_vec, f32_batch)
{
    each_table(check_batch);
}

static int32_t exact_i8(const int8_t *a, const int8_t *b, size_t n)
{
    int64_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return (int32_t)sum;
}

static void check_i8(const struct hy_arch_vec *k, const char *isa)
{
    int32_t out[ROWS_MAX + 1];

    for (int round = 0; round < 600; round++) {
        size_t n = draw_length(round), count = below(ROWS_MAX + 1);
        size_t stride = below(4) == 0 ? below(9) : n + below(5);
        size_t total = count == 0 ? 0 : (count - 1) * stride + n;
        const int8_t *a = guarded_bytes(0, n), *b = guarded_bytes(1, n);
        const int8_t *rows = guarded_bytes(2, total);
        int32_t got = k->dot_i8(a, b, n), want = exact_i8(a, b, n);

        HY_CHECK_MSG(got == want, "%s n %zu: %d, not %d", isa, n, got, want);
        out[count] = 7;
        k->dot_i8_batch(a, rows, stride, count, n, out);
        for (size_t i = 0; i < count; i++)
            HY_CHECK_MSG(out[i] == exact_i8(a, rows + i * stride, n),
                         "%s n %zu row %zu of %zu", isa, n, i, count);
        HY_CHECK_MSG(out[count] == 7, "%s", isa);
    }
}

HY_TEST(check_vec, i8)
{
    each_table(check_i8);
}

/* The largest sums there are, in every lane. */
static void check_i8_extreme(const struct hy_arch_vec *k, const char *isa)
{
    enum { N = 131071 };
    static const int8_t ends[] = {-128, 127};
    static int8_t a[N], b[N];

    for (int round = 0; round < 4; round++) {
        int8_t x = ends[round & 1], y = ends[round >> 1];
        int32_t out;

        memset(a, x, N);
        memset(b, y, N);
        HY_CHECK_MSG(k->dot_i8(a, b, N) == x * y * N, "%s", isa);
        k->dot_i8_batch(a, b, 0, 1, N, &out);
        HY_CHECK_MSG(out == x * y * N, "%s", isa);
    }
}

HY_TEST(check_vec, i8_extreme)
{
    each_table(check_i8_extreme);
}

static void check_sq8(const struct hy_arch_vec *k, const char *isa)
{
    const struct hy_arch_vec *oracle = &hy_arch_vec_scalar;
    static int8_t want[LENGTH_MAX + 1];
    static float back[LENGTH_MAX + 1];

    for (int round = 1; round < 500; round++) {
        size_t n = 1 + draw_length(round - 1);
        const float *x = guarded_floats(0, n);
        int8_t *codes = guarded(1, n, 1);
        float *decoded = guarded(2, n * sizeof(*decoded), sizeof(*decoded));
        float low, high, low_want, high_want, inverse;
        int32_t sum;

        HY_CHECK(k->range_f32(x, n, &low, &high));
        HY_CHECK(oracle->range_f32(x, n, &low_want, &high_want));
        HY_CHECK_MSG(low == low_want && high == high_want, "%s %zu", isa, n);
        inverse = high > low ? 255 / (high - low) : 0;
        sum = k->sq8_encode(x, n, low, inverse, codes);
        HY_CHECK_MSG(sum == oracle->sq8_encode(x, n, low, inverse, want),
                     "%s n %zu", isa, n);
        HY_CHECK_MSG(memcmp(codes, want, n) == 0, "%s n %zu", isa, n);
        k->sq8_decode(codes, n, low, (high - low) / 255, decoded);
        oracle->sq8_decode(codes, n, low, (high - low) / 255, back);
        HY_CHECK_MSG(memcmp(decoded, back, n * sizeof(*back)) == 0, "%s n %zu",
                     isa, n);
        HY_CHECK_MSG(is_poison(1, codes + n), "%s n %zu", isa, n);
        HY_CHECK_MSG(is_poison(2, decoded + n), "%s n %zu", isa, n);
    }
}

HY_TEST(check_vec, sq8)
{
    each_table(check_sq8);
}

/* Ties: halves go to the even code on every instruction set. */
static void check_ties(const struct hy_arch_vec *k, const char *isa)
{
    float x[256];
    int8_t codes[256], want[256];

    for (int i = 0; i < 255; i++)
        x[i] = (float)i + 0.5f;
    x[255] = 255;
    k->sq8_encode(x, 256, 0, 1, codes);
    for (int i = 0; i < 255; i++)
        want[i] = (int8_t)(i + (i & 1) - 128);
    want[254] = 254 - 128;
    want[255] = 127;
    HY_CHECK_MSG(memcmp(codes, want, sizeof(codes)) == 0, "%s", isa);
}

HY_TEST(check_vec, sq8_ties)
{
    each_table(check_ties);
}

static void check_classify(const struct hy_arch_vec *k, const char *isa)
{
    for (int round = 0; round < 3000; round++) {
        char *text = guarded(0, 64, 1);
        uint64_t word, high, word_want = 0, high_want = 0;

        for (int i = 0; i < 64; i++) {
            unsigned char c =
                (unsigned char)(round < 256 ? round + i : (int)draw());
            uint64_t is_word = (c >= 'a' && c <= 'z') ||
                               (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

            text[i] = (char)c;
            word_want |= is_word << i;
            high_want |= (uint64_t)(c >> 7) << i;
        }
        k->classify(text, &word, &high);
        HY_CHECK_MSG(word == word_want && high == high_want, "%s", isa);
    }
}

HY_TEST(check_vec, classify)
{
    each_table(check_classify);
}
