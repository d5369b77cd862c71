/*
 * test_jit_values.c - what kernels compute, against the same expressions
 * compiled by the C compiler, bit for bit, by every back end that there is.
 *
 * Columns hold special values in all combinations and random bits besides.
 */
#include <errno.h>
#include <math.h>

#include <hyperion/jit.h>

#include "hy_test.h"

enum { ROWS = 1000, GUARD = 64 };

static float f[ROWS], g[ROWS];
static double d[ROWS], e[ROWS];
static int32_t i[ROWS], j[ROWS];
static int64_t k[ROWS], l[ROWS];
static uint8_t u[ROWS], v[ROWS];
static const float p0 = 2.5f;
static const int64_t p1 = -7;

static const hy_column columns[] = {
    {"f", HY_F32}, {"g", HY_F32}, {"d", HY_F64}, {"e", HY_F64}, {"i", HY_I32},
    {"j", HY_I32}, {"k", HY_I64}, {"l", HY_I64}, {"u", HY_U8},  {"v", HY_U8}};
static const hy_type param_types[] = {HY_F32, HY_I64};
static const hy_schema schema = {sizeof(hy_schema), columns, 10, param_types,
                                 2};
static const void *const data[] = {f, g, d, e, i, j, k, l, u, v};
static const void *const params[] = {&p0, &p1};

static uint64_t next_random(void)
{
    static uint64_t state = 88172645463325252u;

    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static void fill(void)
{
    static const double reals[] = {
        0.0,     -0.0,     1.0,      -1.0,      0.5,      1.5,
        -2.5,    NAN,      INFINITY, -INFINITY, 1e-40,    -1e-310,
        1e38,    3e38,     -1e300,   255.0,     255.5,    256.0,
        -0.5,    1e10,     -1e10,    0x1p31,    -0x1p31,  0x1p63,
        -0x1p63, 0x1.8p62, 16777217, 0.1,       0x1p-149, 127.99999};
    static const int64_t whole[] = {0,
                                    1,
                                    -1,
                                    2,
                                    -2,
                                    7,
                                    255,
                                    256,
                                    -128,
                                    65536,
                                    INT32_MAX,
                                    INT32_MIN,
                                    INT64_MAX,
                                    INT64_MIN,
                                    1LL << 32,
                                    -(1LL << 32),
                                    1LL << 53,
                                    (1LL << 53) + 1,
                                    (1LL << 24) + 1,
                                    0x7fffffbfffffffff,
                                    1000000007};
    const unsigned nr = sizeof(reals) / sizeof(reals[0]);
    const unsigned nw = sizeof(whole) / sizeof(whole[0]);

    for (unsigned n = 0; n < ROWS; n++) {
        uint64_t r = next_random(), s = next_random();
        bool special = n < nr * nr;

        f[n] = special ? (float)reals[n % nr] : (float)(int32_t)r / 65536;
        g[n] = special ? (float)reals[n / nr] : (float)(int32_t)s * 1e-20f;
        d[n] = special ? reals[n % nr] : (double)(int64_t)r * 1e-9;
        e[n] = special ? reals[n / nr] : (double)(int64_t)s * 1e-17;
        special = n < nw * nw;
        k[n] = special ? whole[n % nw] : (int64_t)r;
        l[n] = special ? whole[n / nw] : (int64_t)s >> (r & 63);
        i[n] = special ? (int32_t)whole[n % nw] : (int32_t)r;
        j[n] = special ? (int32_t)whole[n / nw] : (int32_t)s >> (r & 31);
        u[n] = (uint8_t)(n * 7);
        v[n] = (uint8_t)(n / 13);
    }
}

/* Integers wrap; the compiler is told so by unsigned arithmetic. */
static int32_t add32(int32_t x, int32_t y)
{
    return (int32_t)((uint32_t)x + (uint32_t)y);
}

static int32_t sub32(int32_t x, int32_t y)
{
    return (int32_t)((uint32_t)x - (uint32_t)y);
}

static int32_t mul32(int32_t x, int32_t y)
{
    return (int32_t)((uint32_t)x * (uint32_t)y);
}

static int64_t add64(int64_t x, int64_t y)
{
    return (int64_t)((uint64_t)x + (uint64_t)y);
}

static int64_t sub64(int64_t x, int64_t y)
{
    return (int64_t)((uint64_t)x - (uint64_t)y);
}

static int64_t mul64(int64_t x, int64_t y)
{
    return (int64_t)((uint64_t)x * (uint64_t)y);
}

static int32_t div32(int32_t x, int32_t y)
{
    return y == 0 ? 0 : y == -1 ? sub32(0, x) : x / y;
}

static int64_t div64(int64_t x, int64_t y)
{
    return y == 0 ? 0 : y == -1 ? sub64(0, x) : x / y;
}

static int32_t mod32(int32_t x, int32_t y)
{
    return y == 0 || y == -1 ? 0 : x % y;
}

static int64_t mod64(int64_t x, int64_t y)
{
    return y == 0 || y == -1 ? 0 : x % y;
}

static int64_t to_integer(double x, int64_t min, int64_t max)
{
    if (x != x)
        return 0;
    if (x <= (double)min)
        return min;
    return x >= (double)max ? max : (int64_t)x;
}

static float fmin32(float x, float y)
{
    return x < y ? x : y;
}

static double fmax64(double x, double y)
{
    return x > y ? x : y;
}

/* type of the result, source, and the same in C for row n. */
#define F32(X)                                                                 \
    X(float, "f + g", f[n] + g[n])                                             \
    X(float, "f - g", f[n] - g[n])                                             \
    X(float, "f * g", f[n] * g[n])                                             \
    X(float, "f / g", f[n] / g[n])                                             \
    X(float, "-f", -f[n])                                                      \
    X(float, "f * g + f", f[n] * g[n] + f[n])                                  \
    X(float, "f * (1 - g) * $0", f[n] * (1 - g[n]) * p0)                       \
    X(float, "abs(f)", fabsf(f[n]))                                            \
    X(float, "sqrt(f)", sqrtf(f[n]))                                           \
    X(float, "min(f, g)", fmin32(f[n], g[n]))                                  \
    X(float, "max(f, g)", f[n] > g[n] ? f[n] : g[n])                           \
    X(float, "f < g ? f + 1 : g * 2", f[n] < g[n] ? f[n] + 1 : g[n] * 2)       \
    X(float, "f", f[n])                                                        \
    X(float, "u * f + v", u[n] * f[n] + v[n])                                  \
    X(float, "i + f", (float)i[n] + f[n])                                      \
    X(float, "k + f", (float)k[n] + f[n])                                      \
    X(float, "f32(k)", (float)k[n])                                            \
    X(float, "f32(i)", (float)i[n])                                            \
    X(float, "f32(d)", (float)d[n])                                            \
    X(float, "f32(u)", (float)u[n])                                            \
    X(float, "0.25f - f", 0.25f - f[n])                                        \
    X(float, "(f+g)*(f-g)+(f*g)/(f+1)-(g-f)*0.5",                              \
      (f[n] + g[n]) * (f[n] - g[n]) + (f[n] * g[n]) / (f[n] + 1) -             \
          (g[n] - f[n]) * 0.5f)

#define F64(X)                                                                 \
    X(double, "d + e", d[n] + e[n])                                            \
    X(double, "d - e", d[n] - e[n])                                            \
    X(double, "d * e", d[n] * e[n])                                            \
    X(double, "d / e", d[n] / e[n])                                            \
    X(double, "d * e + d", d[n] * e[n] + d[n])                                 \
    X(double, "-d", -d[n])                                                     \
    X(double, "abs(d)", fabs(d[n]))                                            \
    X(double, "sqrt(d)", sqrt(d[n]))                                           \
    X(double, "min(d, e)", d[n] < e[n] ? d[n] : e[n])                          \
    X(double, "max(d, e)", fmax64(d[n], e[n]))                                 \
    X(double, "f * 0.1", f[n] * 0.1)                                           \
    X(double, "f + d", f[n] + d[n])                                            \
    X(double, "i + d", i[n] + d[n])                                            \
    X(double, "k + d", (double)k[n] + d[n])                                    \
    X(double, "f64(k)", (double)k[n])                                          \
    X(double, "f64(i)", (double)i[n])                                          \
    X(double, "f64(f)", (double)f[n])                                          \
    X(double, "u / 2.0", u[n] / 2.0)                                           \
    X(double, "sqrt(i)", sqrt((double)i[n]))                                   \
    X(double, "d > 1 ? d : e", d[n] > 1 ? d[n] : e[n])                         \
    X(double, "f < 1 ? d : i", f[n] < 1 ? d[n] : (double)i[n])                 \
    X(double, "d", d[n])                                                       \
    X(double, "2.5", 2.5)                                                      \
    X(double, "k * d + l / e - f",                                             \
      (double)k[n] * d[n] + (double)l[n] / e[n] - (double)f[n])

#define I32(X)                                                                 \
    X(int32_t, "i + j", add32(i[n], j[n]))                                     \
    X(int32_t, "i - j", sub32(i[n], j[n]))                                     \
    X(int32_t, "i * j", mul32(i[n], j[n]))                                     \
    X(int32_t, "i / j", div32(i[n], j[n]))                                     \
    X(int32_t, "i % j", mod32(i[n], j[n]))                                     \
    X(int32_t, "i / u", div32(i[n], u[n]))                                     \
    X(int32_t, "i / 10 % 3", i[n] / 10 % 3)                                    \
    X(int32_t, "-i", sub32(0, i[n]))                                           \
    X(int32_t, "abs(i)", i[n] < 0 ? sub32(0, i[n]) : i[n])                     \
    X(int32_t, "min(i, j)", i[n] < j[n] ? i[n] : j[n])                         \
    X(int32_t, "max(i, j)", i[n] > j[n] ? i[n] : j[n])                         \
    X(int32_t, "u + v", u[n] + v[n])                                           \
    X(int32_t, "u - v * 3", u[n] - v[n] * 3)                                   \
    X(int32_t, "-u", -u[n])                                                    \
    X(int32_t, "(f < g) + (i == j) * 2", (f[n] < g[n]) + (i[n] == j[n]) * 2)   \
    X(int32_t, "i32(k)", (int32_t)k[n])                                        \
    X(int32_t, "i32(f)", (int32_t)to_integer(f[n], INT32_MIN, INT32_MAX))      \
    X(int32_t, "i32(d)", (int32_t)to_integer(d[n], INT32_MIN, INT32_MAX))      \
    X(int32_t, "i > j ? i : u", i[n] > j[n] ? i[n] : u[n])                     \
    X(int32_t, "d < e ? i : j", d[n] < e[n] ? i[n] : j[n])                     \
    X(int32_t, "i ? 1 < u : 2 < u", i[n] ? 1 < u[n] : 2 < u[n])                \
    X(int32_t, "i", i[n])

#define I64(X)                                                                 \
    X(int64_t, "k + l", add64(k[n], l[n]))                                     \
    X(int64_t, "k - l", sub64(k[n], l[n]))                                     \
    X(int64_t, "k * l", mul64(k[n], l[n]))                                     \
    X(int64_t, "k / l", div64(k[n], l[n]))                                     \
    X(int64_t, "k % l", mod64(k[n], l[n]))                                     \
    X(int64_t, "k / i", div64(k[n], i[n]))                                     \
    X(int64_t, "-k", sub64(0, k[n]))                                           \
    X(int64_t, "abs(k)", k[n] < 0 ? sub64(0, k[n]) : k[n])                     \
    X(int64_t, "min(k, l)", k[n] < l[n] ? k[n] : l[n])                         \
    X(int64_t, "max(k, l)", k[n] > l[n] ? k[n] : l[n])                         \
    X(int64_t, "i + k", add64(i[n], k[n]))                                     \
    X(int64_t, "u * k + $1", add64(mul64(u[n], k[n]), p1))                     \
    X(int64_t, "i64(f)", to_integer(f[n], INT64_MIN, INT64_MAX))               \
    X(int64_t, "i64(d)", to_integer(d[n], INT64_MIN, INT64_MAX))               \
    X(int64_t, "i64(i) * i", mul64(i[n], i[n]))                                \
    X(int64_t, "f < g ? k : l", f[n] < g[n] ? k[n] : l[n])                     \
    X(int64_t, "k < l ? k : i", k[n] < l[n] ? k[n] : i[n])                     \
    X(int64_t, "i + 5000000000", add64(i[n], 5000000000))                      \
    X(int64_t, "0x7fffffffffffffff + k", add64(INT64_MAX, k[n]))               \
    X(int64_t, "7 - 9", -2)

#define U8(X)                                                                  \
    X(uint8_t, "f < g", f[n] < g[n])                                           \
    X(uint8_t, "f <= g", f[n] <= g[n])                                         \
    X(uint8_t, "f > g", f[n] > g[n])                                           \
    X(uint8_t, "f >= g", f[n] >= g[n])                                         \
    X(uint8_t, "f == g", f[n] == g[n])                                         \
    X(uint8_t, "f != g", f[n] != g[n])                                         \
    X(uint8_t, "d < e", d[n] < e[n])                                           \
    X(uint8_t, "d >= e", d[n] >= e[n])                                         \
    X(uint8_t, "d == e", d[n] == e[n])                                         \
    X(uint8_t, "d != e", d[n] != e[n])                                         \
    X(uint8_t, "i < j", i[n] < j[n])                                           \
    X(uint8_t, "i <= j", i[n] <= j[n])                                         \
    X(uint8_t, "i != j", i[n] != j[n])                                         \
    X(uint8_t, "k < l", k[n] < l[n])                                           \
    X(uint8_t, "k >= l", k[n] >= l[n])                                         \
    X(uint8_t, "k == l", k[n] == l[n])                                         \
    X(uint8_t, "u == 3", u[n] == 3)                                            \
    X(uint8_t, "u > v", u[n] > v[n])                                           \
    X(uint8_t, "u < 1000", 1)                                                  \
    X(uint8_t, "!f", !f[n])                                                    \
    X(uint8_t, "!(f < g)", !(f[n] < g[n]))                                     \
    X(uint8_t, "f && d", f[n] != 0 && d[n] != 0)                               \
    X(uint8_t, "k || i", k[n] || i[n])                                         \
    X(uint8_t, "f * (1 - g) > $0 && u == 3",                                   \
      f[n] * (1 - g[n]) > p0 && u[n] == 3)                                     \
    X(uint8_t, "f < 1 || d > 2 && !(i == j) || k != l",                        \
      f[n] < 1 || (d[n] > 2 && !(i[n] == j[n])) || k[n] != l[n])               \
    X(uint8_t, "1 < 2 && i > j", i[n] > j[n])                                  \
    X(uint8_t, "2 < 1 || 0.0 == -0.0", 1)                                      \
    X(uint8_t, "(i > j) == (k > l)", (i[n] > j[n]) == (k[n] > l[n]))           \
    X(uint8_t, "u8(i)", (uint8_t)i[n])                                         \
    X(uint8_t, "u8(k)", (uint8_t)k[n])                                         \
    X(uint8_t, "u8(f)", (uint8_t)to_integer(f[n], 0, 255))                     \
    X(uint8_t, "u8(d)", (uint8_t)to_integer(d[n], 0, 255))                     \
    X(uint8_t, "u8(u + v)", (uint8_t)(u[n] + v[n]))                            \
    X(uint8_t, "u", u[n])                                                      \
    X(uint8_t, "u8(7)", 7)

static bool same_float(const void *x, const void *y)
{
    float a, b;

    memcpy(&a, x, 4);
    memcpy(&b, y, 4);
    return (a != a && b != b) || memcmp(x, y, 4) == 0;
}

static bool same_double(const void *x, const void *y)
{
    double a, b;

    memcpy(&a, x, 8);
    memcpy(&b, y, 8);
    return (a != a && b != b) || memcmp(x, y, 8) == 0;
}

static bool same_bits(hy_type type, const void *x, const void *y)
{
    if (type == HY_F32)
        return same_float(x, y);
    if (type == HY_F64)
        return same_double(x, y);
    return memcmp(x, y, hy_type_bytes(type)) == 0;
}

static bool is_true(hy_type type, const void *x)
{
    float single = 0;
    double twice = 0;
    int64_t whole = 0;

    if (type == HY_F32) {
        memcpy(&single, x, 4);
        return single != 0;
    }
    if (type == HY_F64) {
        memcpy(&twice, x, 8);
        return twice != 0;
    }
    memcpy(&whole, x, hy_type_bytes(type));
    return whole != 0;
}

static void compare(const hy_kernel *kernel, const char *source, hy_type type,
                    const unsigned char *expected)
{
    static unsigned char out[ROWS * 8 + GUARD];
    size_t bytes = hy_type_bytes(type);
    const char *name =
        hy_kernel_backend(kernel) == HY_EXPR_NATIVE ? "native" : "interpreter";

    memset(out, 0xa5, sizeof(out));
    HY_CHECK_EQ(hy_kernel_eval(kernel, data, params, out, ROWS), 0);
    for (unsigned n = 0; n < ROWS; n++) {
        HY_CHECK_MSG(same_bits(type, out + n * bytes, expected + n * bytes),
                     "%s of %s, row %u: f %a g %a d %a e %a i %d j %d k %lld "
                     "l %lld u %d",
                     name, source, n, (double)f[n], (double)g[n], d[n], e[n],
                     i[n], j[n], (long long)k[n], (long long)l[n], u[n]);
        HY_CHECK_MSG(hy_kernel_test(kernel, data, params, n) ==
                         is_true(type, expected + n * bytes),
                     "%s, test of %s, row %u", name, source, n);
    }
    for (unsigned n = 0; n < GUARD; n++)
        HY_CHECK_EQ(out[ROWS * bytes + n], 0xa5);
}

/* Each count up to some groups, written to an odd address. */
static void compare_counts(const hy_kernel *kernel, const char *source,
                           hy_type type, const unsigned char *expected)
{
    unsigned char out[64 * 8 + 1 + GUARD];
    size_t bytes = hy_type_bytes(type);

    for (unsigned count = 0; count <= 40; count++) {
        memset(out, 0xa5, sizeof(out));
        HY_CHECK_EQ(hy_kernel_eval(kernel, data, params, out + 1, count), 0);
        for (unsigned n = 0; n < count; n++)
            HY_CHECK_MSG(
                same_bits(type, out + 1 + n * bytes, expected + n * bytes),
                "%s, row %u of %u", source, n, count);
        HY_CHECK_EQ(out[0], 0xa5);
        for (unsigned n = 0; n < GUARD; n++)
            HY_CHECK_MSG(out[1 + count * bytes + n] == 0xa5, "%s: %u", source,
                         count);
    }
}

static void check(const char *source, size_t bytes, const void *expected)
{
    hy_expr_error error;
    hy_expr *expr;
    hy_code *code;
    hy_kernel *kernel;
    int r = hy_expr_parse(&expr, source, &schema, &error);

    HY_CHECK_MSG(r == 0, "%s: %s", source, error.message);
    HY_CHECK_MSG(hy_type_bytes(hy_expr_type(expr)) == bytes, "%s", source);
    HY_CHECK_EQ(hy_code_create(&code, NULL), 0);
    for (unsigned b = HY_EXPR_INTERPRETER; b <= HY_EXPR_NATIVE; b++) {
        hy_expr_options o = HY_EXPR_OPTIONS_INIT;

        o.backend = b;
        r = hy_expr_compile(&kernel, code, expr, &o);
        if (b == HY_EXPR_NATIVE && !(hy_code_caps() & HY_CODE_NATIVE)) {
            HY_CHECK_EQ(r, -ENOTSUP);
            continue;
        }
        HY_CHECK_MSG(r == 0, "%s: %d", source, r);
        HY_CHECK_EQ(hy_kernel_backend(kernel), b);
        compare(kernel, source, hy_expr_type(expr), expected);
        compare_counts(kernel, source, hy_expr_type(expr), expected);
        hy_kernel_release(kernel);
    }
    hy_expr_destroy(expr);
    hy_code_destroy(code);
}

#define CHECK_ONE(type, source, expression)                                    \
    {                                                                          \
        static type expected[ROWS];                                            \
                                                                               \
        for (unsigned n = 0; n < ROWS; n++)                                    \
            expected[n] = (type)(expression);                                  \
        check(source, sizeof(type), expected);                                 \
    }

HY_TEST(jit_values, f32_agrees_with_the_compiler)
{
    fill();
    F32(CHECK_ONE)
}

HY_TEST(jit_values, f64_agrees_with_the_compiler)
{
    fill();
    F64(CHECK_ONE)
}

HY_TEST(jit_values, i32_agrees_with_the_compiler)
{
    fill();
    I32(CHECK_ONE)
}

HY_TEST(jit_values, i64_agrees_with_the_compiler)
{
    fill();
    I64(CHECK_ONE)
}

HY_TEST(jit_values, u8_agrees_with_the_compiler)
{
    fill();
    U8(CHECK_ONE)
}
