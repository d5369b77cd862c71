/*
 * test_vec.c - the public distances: values, special values, magnitudes at
 * both ends of float, the choice of instruction set.
 */
#include "hy_test.h"

#include <hyperion/vec.h>

#include <float.h>
#include <math.h>

#include "arch.h"
#include "isa.h"
#include "process.h"

static uint64_t seed = 1;

static float draw(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(seed >> 32) / 2147483648.0 - 1.0);
}

static void fill(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = draw();
}

HY_TEST(vec, known_values)
{
    const float a[] = {1, 2, 3, 4, 5}, b[] = {5, 4, 3, 2, 1};
    const int8_t c[] = {1, -2, 3, -4}, d[] = {-128, 127, 5, 6};

    HY_CHECK(hy_vec_dot_f32(a, b, 5) == 35);
    HY_CHECK(hy_vec_l2sq_f32(a, b, 5) == 40);
    HY_CHECK(fabsf(hy_vec_cos_f32(a, b, 5) - 35.0f / 55.0f) < 1e-6f);
    HY_CHECK_EQ(hy_vec_dot_i8(c, d, 4), -128 - 254 + 15 - 24);
    HY_CHECK_EQ(hy_vec_dot_i8_wide(c, d, 4), -128 - 254 + 15 - 24);
}

HY_TEST(vec, nothing_is_zero)
{
    float out = 1;

    HY_CHECK(hy_vec_dot_f32(NULL, NULL, 0) == 0);
    HY_CHECK(hy_vec_l2sq_f32(NULL, NULL, 0) == 0);
    HY_CHECK(hy_vec_cos_f32(NULL, NULL, 0) == 0);
    HY_CHECK_EQ(hy_vec_dot_i8(NULL, NULL, 0), 0);
    hy_vec_dot_f32_batch(NULL, NULL, 0, 0, 0, NULL);
    hy_vec_cos_f32_batch(NULL, NULL, 0, 0, 0, NULL);
    hy_vec_dot_i8_batch(NULL, NULL, 0, 0, 0, NULL);
    hy_vec_cos_f32_batch(&out, &out, 0, 1, 0, &out);
    HY_CHECK(out == 0);
}

HY_TEST(vec, cosine_of_zero_is_zero)
{
    const float zero[40] = {0};
    float x[40], out[2];

    fill(x, 40);
    HY_CHECK(hy_vec_cos_f32(zero, x, 40) == 0);
    HY_CHECK(hy_vec_cos_f32(x, zero, 40) == 0);
    HY_CHECK(hy_vec_cos_f32(zero, zero, 40) == 0);
    hy_vec_cos_f32_batch(zero, x, 0, 2, 40, out);
    HY_CHECK(out[0] == 0 && out[1] == 0);
    x[7] = NAN;
    HY_CHECK(isnan(hy_vec_cos_f32(zero, x, 40)));
    x[7] = INFINITY;
    HY_CHECK(isnan(hy_vec_cos_f32(zero, x, 40)));
    HY_CHECK(isnan(hy_vec_cos_f32(x, zero, 40)));
}

HY_TEST(vec, cosine_stays_in_its_range)
{
    float a[333], b[333];

    for (int round = 0; round < 2000; round++) {
        size_t n = 1 + (size_t)round % 333;
        float c;

        fill(a, n);
        for (size_t i = 0; i < n; i++)
            b[i] = a[i] * (round & 1 ? 3.3f : -0.7f);
        c = hy_vec_cos_f32(a, b, n);
        HY_CHECK(c >= -1 && c <= 1);
        HY_CHECK(fabs(c - (round & 1 ? 1.0 : -1.0)) <
                 ((double)n / 8 + 24) * 0x1p-24);
    }
}

HY_TEST(vec, cosine_at_any_magnitude)
{
    static const float scales[] = {FLT_MAX, 1e30f, 1, 1e-22f, 1e-40f};
    const float base_a[] = {0.5f, -1, 0.25f}, base_b[] = {1, 0.5f, -0.75f};
    const double want = -0.1875 / sqrt(1.3125 * 1.8125);
    float a[3], b[3], batch;

    for (size_t s = 0; s < 5; s++) {
        for (size_t t = 0; t < 5; t++) {
            for (int i = 0; i < 3; i++) {
                a[i] = base_a[i] * scales[s];
                b[i] = base_b[i] * scales[t];
            }
            HY_CHECK(fabs(hy_vec_cos_f32(a, b, 3) - want) < 1e-4);
            hy_vec_cos_f32_batch(a, b, 3, 1, 3, &batch);
            HY_CHECK(fabs(batch - want) < 1e-4);
        }
    }
}

HY_TEST(vec, nan_propagates)
{
    float a[100], b[100];

    for (size_t at = 0; at < 100; at++) {
        fill(a, 100);
        fill(b, 100);
        b[at] = NAN;
        HY_CHECK(isnan(hy_vec_dot_f32(a, b, 100)));
        HY_CHECK(isnan(hy_vec_l2sq_f32(a, b, 100)));
        HY_CHECK(isnan(hy_vec_cos_f32(a, b, 100)));
        HY_CHECK(isnan(hy_vec_cos_f32(b, a, 100)));
    }
}

HY_TEST(vec, cosine_within_its_bound)
{
    static float a[3000], b[3000], batch[1];

    for (int round = 0; round < 300; round++) {
        size_t n = 1 + (size_t)(seed >> 33) % 3000;
        double dot = 0, aa = 0, bb = 0;
        float got;

        fill(a, n);
        fill(b, n);
        for (size_t i = 0; i < n; i++) {
            dot += (double)a[i] * b[i];
            aa += (double)a[i] * a[i];
            bb += (double)b[i] * b[i];
        }
        got = hy_vec_cos_f32(a, b, n);
        HY_CHECK(fabs(got - dot / sqrt(aa * bb)) <=
                 ((double)n / 8 + 24) * 0x1p-24);
        hy_vec_cos_f32_batch(a, b, n, 1, n, batch);
        HY_CHECK(memcmp(&got, batch, sizeof(got)) == 0);
    }
}

/* More rows than one block of the portable half. */
HY_TEST(vec, long_batches)
{
    enum { COUNT = 150, N = 20 };
    static float rows[COUNT * N], q[N], out[COUNT];

    fill(rows, COUNT * N);
    fill(q, N);
    hy_vec_cos_f32_batch(q, rows, N, COUNT, N, out);
    for (int i = 0; i < COUNT; i++) {
        float one = hy_vec_cos_f32(q, rows + i * N, N);

        HY_CHECK(memcmp(&one, &out[i], sizeof(one)) == 0);
    }
}

HY_TEST(vec, bytes_beyond_the_exact_length)
{
    enum { N = 300000 };
    static int8_t a[N], b[N];
    int32_t out[2];

    memset(a, -128, N);
    memset(b, -128, N);
    HY_CHECK_EQ(hy_vec_dot_i8(a, b, 131071), 131071 * 16384);
    HY_CHECK_EQ(hy_vec_dot_i8(a, b, 131072), INT32_MAX);
    HY_CHECK_EQ(hy_vec_dot_i8_wide(a, b, 131072), 131072ll * 16384);
    HY_CHECK_EQ(hy_vec_dot_i8_wide(a, b, N), N * 16384ll);
    hy_vec_dot_i8_batch(a, b, 0, 2, 131072, out);
    HY_CHECK_EQ(out[1], INT32_MAX);
    memset(b, 127, N);
    HY_CHECK_EQ(hy_vec_dot_i8(a, b, N), INT32_MIN);
    memset(b, 1, N);
    HY_CHECK_EQ(hy_vec_dot_i8(a, b, N), N * -128ll);
    hy_vec_dot_i8_batch(a, b, 0, 2, N, out);
    HY_CHECK_EQ(out[1], N * -128ll);
}

HY_TEST(vec, isa_cap)
{
    unsigned have = hy_arch_cpu_features();

    HY_CHECK_EQ(hyi_isa_cap(have, NULL), have);
    HY_CHECK_EQ(hyi_isa_cap(have, ""), have);
    HY_CHECK_EQ(hyi_isa_cap(have, "scalar"), 0);
    HY_CHECK_EQ(hyi_isa_cap(have, "z80"), have);
    for (const struct hy_arch_level *l = hy_arch_levels; l->name != NULL; l++)
        HY_CHECK_EQ(hyi_isa_cap(have, l->name), have & l->features);
}

/* What a process started with HY_ISA would find, for each level. */
static void capped(void *level)
{
    const struct hy_arch_level *l = level;
    unsigned have = hy_arch_cpu_features();
    const float x[3] = {1, 2, 3};

    setenv("HY_ISA", l->name, 1);
    hyi_process.isa = 0;
    hyi_process.vec = NULL;
    if (hy_vec_dot_f32(x, x, 3) != 14)
        _exit(1);
    if (hyi_process.vec != hy_arch_vec_select(have & l->features))
        _exit(2);
    if ((have & l->features) == l->features &&
        strcmp(hy_vec_isa(), l->name) != 0)
        _exit(3);
}

HY_TEST(vec, isa_from_environment)
{
    for (const struct hy_arch_level *l = hy_arch_levels; l->name != NULL; l++)
        HY_CHECK_EQ(hy_test_child(capped, (void *)l), 0);
}

/* Nobody falls back to scalar in silence. */
HY_TEST(vec, isa_is_the_best_there_is)
{
    unsigned have = hy_arch_cpu_features();
    const char *best = NULL;

    if (getenv("HY_ISA") != NULL)
        return;
    for (const struct hy_arch_level *l = hy_arch_levels; l->name != NULL; l++)
        if ((have & l->features) == l->features)
            best = l->name;
    HY_CHECK_STR(hy_vec_isa(), best);
}
