/*
 * test_vec_sq8.c - quantisation: its error, its exact cases, input at both ends
 * of float and beyond it, scores, and codes that are the same on every machine.
 */
#include "hy_test.h"

#include <hyperion/vec.h>

#include <float.h>
#include <math.h>

enum { N = 777 };

static uint64_t seed = 1;

static uint32_t draw_bits(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 32);
}

static float draw(void)
{
    return (float)((double)draw_bits() / 2147483648.0 - 1.0);
}

/* Encodes, checks the head and the published error, for finite x. */
static void check_round_trip(const float *x, size_t n)
{
    static int8_t codes[N];
    static float back[N];
    hy_sq8 q = hy_vec_sq8_encode(x, n, codes);
    double largest = 0;
    int32_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += codes[i];
    for (size_t i = 0; i < n; i++)
        if (fabs(x[i]) > largest)
            largest = fabs(x[i]);
    HY_CHECK_EQ(q.sum, sum);
    HY_CHECK_EQ(q.reserved, 0);
    HY_CHECK(q.scale == 0 || q.scale >= FLT_MIN);
    hy_vec_sq8_decode(q, codes, n, back);
    for (size_t i = 0; i < n; i++) {
        double error = fabs((double)x[i] - back[i]);

        HY_CHECK(isfinite(back[i]));
        HY_CHECK_MSG(error <= q.scale * 0.5001 + 0x1p-21 * largest,
                     "%g became %g, scale %g", x[i], back[i], q.scale);
    }
}

HY_TEST(vec_sq8, error_is_half_a_step)
{
    static const float scales[] = {1,      1e-3f,   1e10f, 1e-35f,
                                   1e-40f, FLT_MAX, 3e38f, 1e38f};
    float x[N];

    for (size_t s = 0; s < sizeof(scales) / sizeof(*scales); s++) {
        for (size_t n = 1; n < N; n += 1 + n / 8) {
            float shift = n & 1 ? draw() : 0;

            for (size_t i = 0; i < n; i++)
                x[i] = (draw() * 0.5f + shift * 0.5f) * scales[s];
            check_round_trip(x, n);
        }
    }
}

HY_TEST(vec_sq8, the_whole_of_float)
{
    float x[] = {FLT_MAX, -FLT_MAX, 0, FLT_MIN, 1e-45f, -1, FLT_MAX / 2};

    check_round_trip(x, 7);
    check_round_trip(x, 1);
    check_round_trip(x + 1, 1);
    check_round_trip(x + 3, 2);
    check_round_trip(x + 4, 1);
}

HY_TEST(vec_sq8, constants_are_exact)
{
    static const float constants[] = {0,     -0.0f,    1.1f,  -3.7e-5f,
                                      1e38f, -FLT_MAX, 1e-45f};
    float x[100], back[100];
    int8_t codes[100];

    for (size_t c = 0; c < sizeof(constants) / sizeof(*constants); c++) {
        for (int i = 0; i < 100; i++)
            x[i] = constants[c];
        hy_vec_sq8_decode(hy_vec_sq8_encode(x, 100, codes), codes, 100, back);
        for (int i = 0; i < 100; i++)
            HY_CHECK(back[i] == constants[c]);
    }
}

HY_TEST(vec_sq8, ends_get_the_end_codes)
{
    float x[N];
    int8_t codes[N];

    for (int round = 0; round < 500; round++) {
        size_t low = 0, high = 0;

        for (size_t i = 0; i < N; i++) {
            x[i] = draw() * (float)round + draw();
            low = x[i] < x[low] ? i : low;
            high = x[i] > x[high] ? i : high;
        }
        HY_CHECK(hy_vec_sq8_encode(x, N, codes).bias == x[low]);
        HY_CHECK_EQ(codes[low], -128);
        HY_CHECK_EQ(codes[high], 127);
    }
}

HY_TEST(vec_sq8, what_is_not_finite)
{
    float x[300], back[300];
    int8_t codes[300];
    hy_sq8 q;

    for (int i = 0; i < 300; i++)
        x[i] = draw() + 3;
    x[0] = 2;
    x[1] = 4;
    x[255] = INFINITY;
    x[256] = -INFINITY;
    q = hy_vec_sq8_encode(x, 300, codes);
    hy_vec_sq8_decode(q, codes, 300, back);
    HY_CHECK(fabsf(back[255] - 4) < 1e-5f && back[256] == 2);
    HY_CHECK(fabsf(back[77] - x[77]) < 0.005f);
    x[299] = NAN; /* counts as 0, and so as the smallest */
    q = hy_vec_sq8_encode(x, 300, codes);
    hy_vec_sq8_decode(q, codes, 300, back);
    HY_CHECK(back[299] == 0 && q.bias == 0);
    HY_CHECK(fabsf(back[77] - x[77]) < 0.01f);
    for (int i = 0; i < 300; i++)
        x[i] = i & 1 ? INFINITY : -INFINITY;
    q = hy_vec_sq8_encode(x, 300, codes);
    HY_CHECK(q.scale == 0 && q.bias == 0);
    HY_CHECK_EQ(q.sum, -128 * 300);
}

/* Which of two zeros came first must not show. */
HY_TEST(vec_sq8, zero_has_no_sign)
{
    const float x[4] = {-0.0f, 0.0f, 1, -0.0f};
    int8_t codes[3];

    HY_CHECK(!signbit(hy_vec_sq8_encode(x, 3, codes).bias));
    HY_CHECK(!signbit(hy_vec_sq8_encode(x + 1, 3, codes).bias));
    HY_CHECK(!signbit(hy_vec_sq8_encode(x + 3, 1, codes).bias));
}

HY_TEST(vec_sq8, nothing)
{
    hy_sq8 q = hy_vec_sq8_encode(NULL, 0, NULL);

    HY_CHECK(q.scale == 0 && q.bias == 0 && q.sum == 0 && q.reserved == 0);
    hy_vec_sq8_decode(q, NULL, 0, NULL);
}

HY_TEST(vec_sq8, scores_are_products_of_what_is_decoded)
{
    enum { DIM = 300, ROWS = 270 };
    static float x[ROWS][DIM], back[ROWS][DIM], scores[ROWS];
    static int8_t codes[ROWS][DIM];
    static hy_sq8 heads[ROWS];

    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < DIM; i++)
            x[r][i] = draw() + (float)(r % 7);
        heads[r] = hy_vec_sq8_encode(x[r], DIM, codes[r]);
        hy_vec_sq8_decode(heads[r], codes[r], DIM, back[r]);
    }
    hy_vec_sq8_dot_batch(heads[0], codes[0], heads, codes[0], DIM, ROWS, DIM,
                         scores);
    for (int r = 0; r < ROWS; r++) {
        double want = 0, size = 0;
        float one = hy_vec_sq8_dot(heads[0], codes[0], heads[r], codes[r], DIM);

        for (int i = 0; i < DIM; i++) {
            want += (double)back[0][i] * back[r][i];
            size += fabs((double)back[0][i] * back[r][i]);
        }
        HY_CHECK(fabs(scores[r] - want) <= 1e-6 * size + 1e-6);
        HY_CHECK(memcmp(&one, &scores[r], sizeof(one)) == 0);
    }
}

static uint64_t fnv(uint64_t hash, const void *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ ((const unsigned char *)data)[i]) * 0x100000001b3u;
    return hash;
}

/* Codes, heads and scores from integers alone, on every machine the same. */
HY_TEST(vec_sq8, golden)
{
    static float x[N], back[N];
    static int8_t codes[N], first[N];
    uint64_t hash = 0xcbf29ce484222325u;
    hy_sq8 head = {0, 0, 0, 0};

    seed = 42;
    for (int round = 0; round < 200; round++) {
        size_t n = 1 + draw_bits() % N;
        hy_sq8 q;
        float score;

        for (size_t i = 0; i < n; i++) {
            x[i] = draw();
            x[i] = ldexpf(x[i], (int)(draw_bits() % 9) - 4);
        }
        q = hy_vec_sq8_encode(x, n, codes);
        hy_vec_sq8_decode(q, codes, n, back);
        score = hy_vec_sq8_dot(head, first, q, codes, n);
        hash = fnv(hash, codes, n);
        hash = fnv(hash, &q.scale, 4);
        hash = fnv(hash, &q.bias, 4);
        hash = fnv(hash, &q.sum, 4);
        hash = fnv(hash, back, n * sizeof(*back));
        hash = fnv(hash, &score, sizeof(score));
        head = q;
        memcpy(first, codes, N);
    }
    HY_CHECK_MSG(hash == 0x32829a0b8a3a1156u, "0x%llx",
                 (unsigned long long)hash);
}
