/*
 * test_jit_fuzz.c - random typed expressions over special values: interpreter
 * and native code against an evaluator that walks the tree one row at a time
 * and knows the rules of api.md from itself.
 *
 * HY_FUZZ_COUNT in the environment makes it longer, HY_FUZZ_SEED another.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>

#include <hyperion/jit.h>

#include "hy_test.h"

enum { ROWS = 43, NODES = 64, TEXT = 8192, COLUMNS = 8, PARAMS = 5 };

enum type { NONE, F32, F64, I32, I64, U8, TRUTH, INTEGER, FLOATING };

/* A value with its type; INTEGER and FLOATING are literals without one. */
struct value {
    enum type type;
    union {
        float f;
        double d;
        int32_t i;
        int64_t k;
    };
};

struct tree {
    char op; /* c column, p parameter, l literal, ? select, f call, or sign */
    const char *sign; /* operator or function, as it is written */
    int which;
    struct value literal;
    char text[32];
    struct tree *a, *b, *c;
};

static struct tree nodes[NODES];
static int node_count;
static char text[TEXT];
static size_t text_length;
static uint64_t state;

static float f32s[2][ROWS];
static double f64s[ROWS];
static int32_t i32s[2][ROWS];
static int64_t i64s[2][ROWS];
static uint8_t u8s[ROWS];
static const hy_column columns[COLUMNS] = {
    {"f", HY_F32}, {"g", HY_F32}, {"d", HY_F64}, {"i", HY_I32},
    {"j", HY_I32}, {"k", HY_I64}, {"l", HY_I64}, {"u", HY_U8}};
static const void *const data[COLUMNS] = {f32s[0], f32s[1], f64s,    i32s[0],
                                          i32s[1], i64s[0], i64s[1], u8s};
static float param_f;
static double param_d;
static int32_t param_i;
static int64_t param_k;
static uint8_t param_u;
static const hy_type param_types[PARAMS] = {HY_F32, HY_F64, HY_I32, HY_I64,
                                            HY_U8};
static const void *const params[PARAMS] = {&param_f, &param_d, &param_i,
                                           &param_k, &param_u};
static const hy_schema schema = {sizeof(hy_schema), columns, COLUMNS,
                                 param_types, PARAMS};

static uint64_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static unsigned pick(unsigned count)
{
    return (unsigned)(next_random() >> 33) % count;
}

/* ---- the rules ----------------------------------------------------------- */

static struct value of_f32(float f)
{
    return (struct value){.type = F32, .f = f};
}

static struct value of_f64(double d)
{
    return (struct value){.type = F64, .d = d};
}

static struct value of_i64(int64_t k)
{
    return (struct value){.type = I64, .k = k};
}

/* u8 and truth values are kept in i as well. */
static struct value of_i32(enum type type, int32_t i)
{
    return (struct value){.type = type, .i = i};
}

static bool holds(enum type type, const struct value *literal)
{
    if (literal->type == FLOATING)
        return type == F64 ||
               (type == F32 && (double)(float)literal->d == literal->d);
    switch (type) {
    case F32: /* __int128: 2^63 as a float does not fit int64_t */
        return (__int128)(float)literal->k == literal->k;
    case F64:
        return (__int128)(double)literal->k == literal->k;
    case U8:
        return literal->k == (uint8_t)literal->k;
    case I64:
        return true;
    default:
        return literal->k == (int32_t)literal->k;
    }
}

static int64_t saturated(double d, int64_t min, int64_t max)
{
    if (isnan(d))
        return 0;
    if (d <= (double)min)
        return min;
    return d >= (double)max ? max : (int64_t)d;
}

static struct value promoted(struct value v)
{
    if (v.type == U8 || v.type == TRUTH)
        v.type = I32;
    return v;
}

static double as_double(struct value v)
{
    return v.type == F64   ? v.d
           : v.type == F32 ? (double)v.f
           : v.type == I64 ? (double)v.k
                           : (double)v.i;
}

static int64_t as_whole(struct value v, int64_t min, int64_t max)
{
    if (v.type == F32 || v.type == F64)
        return saturated(as_double(v), min, max);
    return v.type == I64 ? v.k : v.i;
}

static struct value converted(struct value v, enum type to)
{
    switch (to) {
    case F32:
        return of_f32(v.type == F64   ? (float)v.d
                      : v.type == F32 ? v.f
                      : v.type == I64 ? (float)v.k
                                      : (float)v.i);
    case F64:
        return of_f64(as_double(v));
    case I64:
        return of_i64(as_whole(v, INT64_MIN, INT64_MAX));
    case U8:
        return of_i32(U8, (uint8_t)as_whole(v, 0, 255));
    default:
        return of_i32(I32, (int32_t)as_whole(v, INT32_MIN, INT32_MAX));
    }
}

static bool is_literal(struct value v)
{
    return v.type == INTEGER || v.type == FLOATING;
}

static struct value settled(struct value v, enum type other)
{
    enum type to;

    if (!is_literal(v))
        return v;
    if (other == FLOATING)
        other = F64;
    to = v.type == INTEGER ? I64 : F64;
    if (other != NONE && other != INTEGER && holds(other, &v))
        to = other == TRUTH ? I32 : other;
    v.type = v.type == INTEGER ? I64 : F64;
    return converted(v, to);
}

static bool truth_of(struct value v)
{
    v = settled(v, NONE);
    return v.type == F32   ? v.f != 0
           : v.type == F64 ? v.d != 0
           : v.type == I64 ? v.k != 0
                           : v.i != 0;
}

static enum type common(enum type x, enum type y)
{
    if (x == F64 || y == F64)
        return F64;
    if (x == F32 || y == F32)
        return F32;
    return x == I64 || y == I64 ? I64 : I32;
}

static void balance(struct value *x, struct value *y)
{
    enum type of_x = x->type, of_y = y->type, to;

    *x = promoted(settled(*x, of_y));
    *y = promoted(settled(*y, of_x));
    to = common(x->type, y->type);
    *x = converted(*x, to);
    *y = converted(*y, to);
}

static struct value float_operation(const char *sign, float x, float y)
{
    switch (sign[0]) {
    case '+':
        return of_f32(x + y);
    case '-':
        return of_f32(x - y);
    case '*':
        return of_f32(x * y);
    case '/':
        return of_f32(x / y);
    default:
        return of_f32(sign[1] == 'i' ? (x < y ? x : y) : (x > y ? x : y));
    }
}

static struct value double_operation(const char *sign, double x, double y)
{
    switch (sign[0]) {
    case '+':
        return of_f64(x + y);
    case '-':
        return of_f64(x - y);
    case '*':
        return of_f64(x * y);
    case '/':
        return of_f64(x / y);
    default:
        return of_f64(sign[1] == 'i' ? (x < y ? x : y) : (x > y ? x : y));
    }
}

/* Exact in 128 bits but for products, and cut to the type by the caller. */
static int64_t whole_operation(const char *sign, int64_t x, int64_t y)
{
    switch (sign[0]) {
    case '+':
        return (int64_t)((uint64_t)x + (uint64_t)y);
    case '-':
        return (int64_t)((uint64_t)x - (uint64_t)y);
    case '*':
        return (int64_t)((uint64_t)x * (uint64_t)y);
    case '/':
        return y == 0 ? 0 : (int64_t)((__int128)x / y);
    case '%':
        return y == 0 ? 0 : (int64_t)((__int128)x % y);
    default:
        return sign[1] == 'i' ? (x < y ? x : y) : (x > y ? x : y);
    }
}

static bool compared(const char *sign, bool less, bool equal, bool greater)
{
    if (strcmp(sign, "<") == 0)
        return less;
    if (strcmp(sign, "<=") == 0)
        return less || equal;
    if (strcmp(sign, ">") == 0)
        return greater;
    if (strcmp(sign, ">=") == 0)
        return greater || equal;
    return strcmp(sign, "==") == 0 ? equal : !equal;
}

static bool is_comparison(const char *sign)
{
    return strchr("<>=!", sign[0]) != NULL;
}

static struct value binary(const char *sign, struct value x, struct value y)
{
    balance(&x, &y);
    if (is_comparison(sign)) {
        /* Not through f64: integers of 64 bits would be rounded. */
        bool whole = x.type == I64 || x.type == I32;
        int64_t k = as_whole(x, INT64_MIN, INT64_MAX);
        int64_t l = as_whole(y, INT64_MIN, INT64_MAX);
        double d = as_double(x), e = as_double(y);

        return of_i32(TRUTH, whole ? compared(sign, k<l, k == l, k> l)
                                   : compared(sign, d<e, d == e, d> e));
    }
    if (x.type == F32)
        return float_operation(sign, x.f, y.f);
    if (x.type == F64)
        return double_operation(sign, x.d, y.d);
    if (x.type == I64)
        return of_i64(whole_operation(sign, x.k, y.k));
    return of_i32(I32, (int32_t)whole_operation(sign, x.i, y.i));
}

static struct value negated(struct value v)
{
    switch (v.type) {
    case F32:
        return of_f32(-v.f);
    case F64:
    case FLOATING:
        v.d = -v.d;
        return v;
    case I64:
    case INTEGER:
        v.k = (int64_t)(0 - (uint64_t)v.k);
        return v;
    default:
        return of_i32(I32, (int32_t)(0 - (uint32_t)v.i));
    }
}

static struct value called(const char *name, struct value v)
{
    if (strcmp(name, "f32") == 0)
        return converted(settled(v, F32), F32);
    if (strcmp(name, "f64") == 0)
        return converted(settled(v, F64), F64);
    if (strcmp(name, "i32") == 0)
        return converted(settled(v, I32), I32);
    if (strcmp(name, "i64") == 0)
        return converted(settled(v, I64), I64);
    if (strcmp(name, "u8") == 0)
        return converted(settled(v, U8), U8);
    v = promoted(settled(v, NONE));
    if (strcmp(name, "sqrt") == 0)
        return v.type == F32 ? of_f32(sqrtf(v.f)) : of_f64(sqrt(as_double(v)));
    if (v.type == F32)
        return of_f32(fabsf(v.f));
    if (v.type == F64)
        return of_f64(fabs(v.d));
    return as_whole(v, INT64_MIN, INT64_MAX) < 0 ? negated(v) : v;
}

static struct value leaf(const hy_type type, const void *at)
{
    struct value v = {.type = (enum type)type};

    switch (type) {
    case HY_F32:
        v.f = *(const float *)at;
        break;
    case HY_F64:
        v.d = *(const double *)at;
        break;
    case HY_I32:
        v.i = *(const int32_t *)at;
        break;
    case HY_I64:
        v.k = *(const int64_t *)at;
        break;
    default:
        v.i = *(const uint8_t *)at;
    }
    return v;
}

static struct value walk(const struct tree *t, unsigned row)
{
    struct value x, y;

    switch (t->op) {
    case 'c':
        return leaf(columns[t->which].type,
                    (const char *)data[t->which] +
                        row * hy_type_bytes(columns[t->which].type));
    case 'p':
        return leaf(param_types[t->which], params[t->which]);
    case 'l':
        return t->literal;
    case '-':
        x = walk(t->a, row);
        return negated(x);
    case '+':
        x = walk(t->a, row);
        return is_literal(x) ? x : promoted(x);
    case '!':
        return of_i32(TRUTH, !truth_of(walk(t->a, row)));
    case 'f':
        return called(t->sign, walk(t->a, row));
    case '?':
        x = walk(t->b, row);
        y = walk(t->c, row);
        balance(&x, &y);
        return truth_of(walk(t->a, row)) ? x : y;
    case '&':
        x = walk(t->a, row);
        y = walk(t->b, row);
        return of_i32(TRUTH, t->sign[0] == '&' ? truth_of(x) && truth_of(y)
                                               : truth_of(x) || truth_of(y));
    default:
        return binary(t->sign, walk(t->a, row), walk(t->b, row));
    }
}

/* ---- random trees, and their text ---------------------------------------- */

static struct tree *make(int depth);

static struct tree *node(char op)
{
    struct tree *t = &nodes[node_count++];

    memset(t, 0, sizeof(*t));
    t->op = op;
    return t;
}

static struct tree *make_literal(void)
{
    static const char *const floats[] = {"0.5",   "0.1",       "2.0",  "1e10",
                                         "1.5",   "1e-40",     "3e38", "0.0",
                                         "255.5", "16777217.0"};
    static const int64_t whole[] = {0,
                                    1,
                                    2,
                                    3,
                                    10,
                                    255,
                                    256,
                                    300,
                                    16777217,
                                    INT32_MAX,
                                    2147483648,
                                    4294967296,
                                    (1LL << 53) + 1,
                                    INT64_MAX,
                                    1000000007,
                                    7};
    struct tree *t = node('l');

    if (pick(3) == 0) {
        strcpy(t->text, floats[pick(10)]);
        t->literal =
            (struct value){.type = FLOATING, .d = strtod(t->text, NULL)};
    } else {
        t->literal = (struct value){.type = INTEGER, .k = whole[pick(16)]};
        snprintf(t->text, sizeof(t->text), pick(4) ? "%" PRId64 : "0x%" PRIx64,
                 t->literal.k);
    }
    return t;
}

static struct tree *make_leaf(void)
{
    unsigned kind = pick(8);
    struct tree *t;

    if (kind == 0)
        return make_literal();
    t = node(kind == 1 ? 'p' : 'c');
    t->which = (int)pick(kind == 1 ? PARAMS : COLUMNS);
    return t;
}

static struct tree *make_binary(int depth)
{
    static const char *const signs[] = {"+",   "-",  "*",  "/",  "%",  "<",
                                        ">",   "<=", ">=", "==", "!=", "min",
                                        "max", "+",  "*",  "/"};
    struct tree *t = node('b');
    enum type x, y;

    t->sign = signs[pick(16)];
    t->a = make(depth - 1);
    t->b = make(depth - 1);
    if (t->sign[0] == '%') {
        struct value v = walk(t->a, 0), w = walk(t->b, 0);

        balance(&v, &w);
        x = v.type;
        y = w.type;
        if (x == F32 || x == F64 || y == F32 || y == F64)
            t->sign = "*";
    }
    return t;
}

static struct tree *make(int depth)
{
    static const char *const calls[] = {"abs", "sqrt", "f32", "f64",
                                        "i32", "i64",  "u8"};
    struct tree *t;

    if (depth == 0 || node_count > NODES - 24)
        return make_leaf();
    switch (pick(12)) {
    case 0:
        return make_leaf();
    case 1:
        t = node("-+!"[pick(3)]);
        t->a = make(depth - 1);
        return t;
    case 2:
        t = node('f');
        t->sign = calls[pick(7)];
        t->a = make(depth - 1);
        return t;
    case 3:
        t = node('?');
        t->a = make(depth - 1);
        t->b = make(depth - 1);
        t->c = make(depth - 1);
        return t;
    case 4:
        t = node('&');
        t->sign = pick(2) ? "&&" : "||";
        t->a = make(depth - 1);
        t->b = make(depth - 1);
        return t;
    default:
        return make_binary(depth);
    }
}

static void say(const char *s)
{
    size_t n = strlen(s);

    if (text_length + n < TEXT) {
        memcpy(text + text_length, s, n + 1);
        text_length += n;
    }
}

static int binds(const struct tree *t)
{
    static const char *const levels[] = {
        "?:", "||", "&&", "== !=", "< > <= >=", "+ -", "* / %"};

    if (t->op == '?')
        return 0;
    if (strchr("-+!", t->op) != NULL)
        return 7;
    if (t->op != 'b' && t->op != '&')
        return 8;
    if (t->sign[0] == 'm')
        return 8;
    for (int n = 1; n < 7; n++) {
        char sign[8], level[16];

        snprintf(sign, sizeof(sign), " %s ", t->sign);
        snprintf(level, sizeof(level), " %s ", levels[n]);
        if (strstr(level, sign) != NULL)
            return n;
    }
    abort();
}

static void write_tree(const struct tree *t);

/* In parentheses when it has to be, and now and then without need. */
static void write_child(const struct tree *t, int least)
{
    bool parens = binds(t) < least || pick(6) == 0;

    if (parens)
        say("(");
    write_tree(t);
    if (parens)
        say(")");
}

static void write_call(const char *name, const struct tree *a,
                       const struct tree *b)
{
    say(name);
    say("(");
    write_child(a, 0);
    if (b != NULL) {
        say(",");
        write_child(b, 0);
    }
    say(")");
}

static void write_tree(const struct tree *t)
{
    char short_text[16];

    switch (t->op) {
    case 'c':
        say(columns[t->which].name);
        break;
    case 'p':
        snprintf(short_text, sizeof(short_text), "$%d", t->which);
        say(short_text);
        break;
    case 'l':
        say(t->text);
        break;
    case '-':
    case '+':
    case '!':
        snprintf(short_text, sizeof(short_text), "%c", t->op);
        say(short_text);
        write_child(t->a, 7);
        break;
    case '?':
        write_child(t->a, 1);
        say(" ? ");
        write_child(t->b, 0);
        say(" : ");
        write_child(t->c, 0);
        break;
    case 'f':
        write_call(t->sign, t->a, NULL);
        break;
    default:
        if (t->sign[0] == 'm') {
            write_call(t->sign, t->a, t->b);
            break;
        }
        write_child(t->a, binds(t));
        say(pick(2) ? " " : "");
        say(t->sign);
        say(pick(2) ? " " : "");
        write_child(t->b, binds(t) + 1);
    }
}

/* ---- data, comparison ---------------------------------------------------- */

static double random_real(void)
{
    static const double special[] = {
        0.0,    -0.0,     1.0,           -1.0,         0.5,    2.0,
        NAN,    INFINITY, -INFINITY,     1e-40,        1e-310, 3e38,
        -1e300, 255.0,    255.9,         -0.9,         0x1p31, -0x1p31,
        0x1p63, -0x1p63,  0x1.fffffep62, 2147483647.5, 4e9,    1e19,
        0x1p24, 0.1};
    int64_t bits = (int64_t)next_random();
    double d;

    if (pick(3) != 0)
        return special[pick(26)];
    if (pick(2))
        return (double)bits * 0x1p-40;
    memcpy(&d, &bits, sizeof(d));
    return d;
}

static int64_t random_whole(void)
{
    static const int64_t special[] = {0,
                                      1,
                                      -1,
                                      2,
                                      -2,
                                      255,
                                      256,
                                      INT32_MAX,
                                      INT32_MIN,
                                      INT64_MAX,
                                      INT64_MIN,
                                      1LL << 32,
                                      1LL << 53,
                                      -(1LL << 53) - 1,
                                      (1LL << 24) + 1,
                                      10};

    if (pick(3) != 0)
        return special[pick(16)];
    return (int64_t)next_random() >> pick(64);
}

static void fill(void)
{
    for (unsigned n = 0; n < ROWS; n++) {
        f32s[0][n] = (float)random_real();
        f32s[1][n] = (float)random_real();
        f64s[n] = random_real();
        i32s[0][n] = (int32_t)random_whole();
        i32s[1][n] = (int32_t)random_whole();
        i64s[0][n] = random_whole();
        i64s[1][n] = random_whole();
        u8s[n] = (uint8_t)random_whole();
    }
    param_f = (float)random_real();
    param_d = random_real();
    param_i = (int32_t)random_whole();
    param_k = random_whole();
    param_u = (uint8_t)random_whole();
}

static bool agrees(struct value expected, const void *out)
{
    float single;
    double twice;
    int32_t whole;
    int64_t large;

    switch (expected.type) {
    case F32:
        memcpy(&single, out, 4);
        return (isnan(single) && isnan(expected.f)) ||
               memcmp(&single, &expected.f, 4) == 0;
    case F64:
        memcpy(&twice, out, 8);
        return (isnan(twice) && isnan(expected.d)) ||
               memcmp(&twice, &expected.d, 8) == 0;
    case I32:
        memcpy(&whole, out, 4);
        return whole == expected.i;
    case I64:
        memcpy(&large, out, 8);
        return large == expected.k;
    default:
        return *(const uint8_t *)out == expected.i;
    }
}

static unsigned natives;

static void check_kernel(const hy_kernel *kernel, const struct tree *t,
                         hy_type type)
{
    unsigned char out[ROWS * 8 + 8];
    const size_t bytes = hy_type_bytes(type);
    const bool native = hy_kernel_backend(kernel) == HY_EXPR_NATIVE;

    memset(out, 0xa5, sizeof(out));
    HY_CHECK_EQ(hy_kernel_eval(kernel, data, params, out, ROWS), 0);
    for (unsigned row = 0; row < ROWS; row++) {
        struct value expected = settled(walk(t, row), NONE);

        HY_CHECK_MSG(agrees(expected, out + row * bytes),
                     "%s, row %u of: %s\nf %a g %a d %a i %d j %d k %" PRId64
                     " l %" PRId64 " u %d expects %a or %" PRId64,
                     native ? "native" : "interpreter", row, text,
                     (double)f32s[0][row], (double)f32s[1][row], f64s[row],
                     i32s[0][row], i32s[1][row], i64s[0][row], i64s[1][row],
                     u8s[row], as_double(expected), expected.k);
        HY_CHECK_MSG(hy_kernel_test(kernel, data, params, row) ==
                         truth_of(expected),
                     "%s test, row %u of: %s",
                     native ? "native" : "interpreter", row, text);
    }
    for (unsigned n = 0; n < 8; n++)
        HY_CHECK_EQ(out[ROWS * bytes + n], 0xa5);
}

static void check_one(hy_code *code)
{
    struct tree *t;
    hy_expr_error error;
    hy_expr *e;
    enum type type;

    node_count = 0;
    text_length = 0;
    fill();
    t = make(2 + (int)pick(5));
    write_tree(t);
    HY_CHECK_MSG(hy_expr_parse(&e, text, &schema, &error) == 0, "%s: %s", text,
                 error.message);
    type = settled(walk(t, 0), NONE).type;
    HY_CHECK_MSG((int)hy_expr_type(e) == (type == TRUTH ? U8 : (int)type),
                 "%s: type %d, not %d", text, hy_expr_type(e), type);
    for (unsigned b = HY_EXPR_AUTO; b <= HY_EXPR_INTERPRETER; b++) {
        hy_expr_options o = {sizeof(o), b};
        hy_kernel *kernel;

        HY_CHECK_EQ(hy_expr_compile(&kernel, code, e, &o), 0);
        natives += hy_kernel_backend(kernel) == HY_EXPR_NATIVE;
        check_kernel(kernel, t, hy_expr_type(e));
        hy_kernel_release(kernel);
    }
    hy_expr_destroy(e);
}

HY_TEST(jit_fuzz, random_expressions_agree_with_a_tree_walk)
{
    const char *count = getenv("HY_FUZZ_COUNT"), *seed = getenv("HY_FUZZ_SEED");
    unsigned rounds = count != NULL ? (unsigned)atoi(count) : 4000;
    hy_code *code;

    state = 0x9e3779b97f4a7c15u ^ (seed != NULL ? strtoull(seed, NULL, 0) : 0);
    HY_CHECK_EQ(hy_code_create(&code, NULL), 0);
    natives = 0;
    for (unsigned n = 0; n < rounds; n++)
        check_one(code);
    /* None of them is too large for native code. */
    if (hy_code_caps() & HY_CODE_NATIVE)
        HY_CHECK_EQ(natives, rounds);
    hy_code_destroy(code);
}
