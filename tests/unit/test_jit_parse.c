/*
 * test_jit_parse.c - what the expression parser accepts, what it says about the
 * rest and where, and the types that it gives.
 */
#include <errno.h>
#include <locale.h>

#include <hyperion/jit.h>

#include "fail.h"
#include "hy_test.h"

static const hy_column columns[] = {{"f", HY_F32},
                                    {"d", HY_F64},
                                    {"i", HY_I32},
                                    {"k", HY_I64},
                                    {"u", HY_U8},
                                    {"price", HY_F32},
                                    {"t.x_1", HY_I32},
                                    {"min", HY_F32},
                                    {"gr\xc3\xb6\xc3\x9f"
                                     "e",
                                     HY_F64}};
static const hy_type params[] = {HY_F32, HY_I64};
static const hy_schema schema = {sizeof(hy_schema), columns,
                                 sizeof(columns) / sizeof(columns[0]), params,
                                 2};

struct wrong {
    const char *source;
    size_t position;
    const char *message;
};

static const struct wrong wrongs[] = {
    {"", 0, "ends where a value"},
    {"   ", 3, "ends where a value"},
    {"f +", 3, "ends where a value"},
    {"f + * d", 4, "a value should be here"},
    {"f d", 2, "an operator should be here"},
    {"f 1", 2, "an operator should be here"},
    {"(f", 0, "never closed"},
    {"f * (d + (i)", 4, "never closed"},
    {"f)", 1, "closes nothing"},
    {"()", 1, "a value should be here"},
    {"nothere", 0, "no column 'nothere'"},
    {"f + nothere * 2", 4, "no column 'nothere'"},
    {"what(f)", 0, "no function 'what'"},
    {"max(f)", 0, "max takes 2 arguments, not 1"},
    {"sqrt(f, d)", 0, "sqrt takes 1 argument, not 2"},
    {"max(f, d, i)", 8, "no function takes more"},
    {"max()", 4, "a value should be here"},
    {"max(f,)", 6, "a value should be here"},
    {"f, d", 1, "between the arguments"},
    {"(f, d)", 2, "between the arguments"},
    {"$2", 0, "no such parameter; the schema has 2"},
    {"$", 0, "a parameter is $"},
    {"f + $99999999999999999999999", 4, "no such parameter"},
    {"f ? d", 2, "this '?' has no ':'"},
    {"(f ? d)", 3, "this '?' has no ':'"},
    {"f : d", 2, "this ':' has no '?'"},
    {"f ? d : i : k", 10, "this ':' has no '?'"},
    {"f % 2", 2, "% is for integers"},
    {"i % 2.0", 2, "% is for integers"},
    {"f = 2", 2, "equality is =="},
    {"f & 2", 2, "logic is &&"},
    {"f | 2", 2, "logic is ||"},
    {"f # 2", 2, "no expression holds this character"},
    {"f + \"x\"", 4, "no expression holds this character"},
    {"12abc", 0, "this is no number"},
    {"1.2.3", 0, "this is no number"},
    {"1e", 0, "this is no number"},
    {"0x", 0, "no hexadecimal number"},
    {"0xfg", 0, "no hexadecimal number"},
    {"i + 007", 4, "does not start with 0"},
    {"99999999999999999999", 0, "too large"},
    {"i + 9223372036854775808", 4, "does not fit 64 bits"},
    {"1e999", 0, "too large"},
    {"1e40f", 0, "too large"},
};

HY_TEST(jit_parse, errors_say_what_and_where)
{
    for (size_t n = 0; n < sizeof(wrongs) / sizeof(wrongs[0]); n++) {
        const struct wrong *w = &wrongs[n];
        hy_expr *e = (hy_expr *)&e;
        hy_expr_error error = {77, ""};
        int r = hy_expr_parse(&e, w->source, &schema, &error);

        HY_CHECK_MSG(r == -EINVAL, "'%s': %d", w->source, r);
        HY_CHECK_MSG(e == (hy_expr *)&e, "'%s' wrote its output", w->source);
        HY_CHECK_MSG(error.position == w->position, "'%s': position %zu: %s",
                     w->source, error.position, error.message);
        HY_CHECK_MSG(strstr(error.message, w->message) != NULL, "'%s': %s",
                     w->source, error.message);
        HY_CHECK_EQ(hy_expr_parse(&e, w->source, &schema, NULL), -EINVAL);
    }
}

static const struct {
    const char *source;
    hy_type type;
} typed[] = {
    {"f", HY_F32},
    {"u", HY_U8},
    {"gr\xc3\xb6\xc3\x9f"
     "e",
     HY_F64},
    {"t.x_1", HY_I32},
    {"u + u", HY_I32},
    {"-u", HY_I32},
    {"+u", HY_I32},
    {"u + 1", HY_I32},
    {"u + 300", HY_I64},
    {"i + 300", HY_I32},
    {"i + 3000000000", HY_I64},
    {"i + -2147483648", HY_I32},
    {"i + -2147483649", HY_I64},
    {"i + k", HY_I64},
    {"i + f", HY_F32},
    {"k + f", HY_F32},
    {"k + d", HY_F64},
    {"f + d", HY_F64},
    {"f * 0.5", HY_F32},
    {"f * 0.1", HY_F64},
    {"f * 0.1f", HY_F32},
    {"i * 2.0", HY_F64},
    {"f * 3", HY_F32},
    {"f * 16777217", HY_F32},
    {"d * 9007199254740993", HY_F64},
    {"1 + 2", HY_I64},
    {"1 + 2.0", HY_F64},
    {"5", HY_I64},
    {"-9223372036854775808", HY_I64},
    {".5", HY_F64},
    {"0xff", HY_I64},
    {"f < d", HY_U8},
    {"(f < d) + 1", HY_I32},
    {"!f", HY_U8},
    {"f && d || i", HY_U8},
    {"f ? u : u", HY_I32},
    {"f ? i : d", HY_F64},
    {"f ? f < d : d < f", HY_I32},
    {"sqrt(f)", HY_F32},
    {"sqrt(i)", HY_F64},
    {"abs(u)", HY_I32},
    {"max(i, k)", HY_I64},
    {"min(min, 2)", HY_F32},
    {"min", HY_F32},
    {"u8(f)", HY_U8},
    {"i32(d) + 1", HY_I32},
    {"$0", HY_F32},
    {"$1 * i", HY_I64},
    {"\tf\n+\rf ", HY_F32},
};

HY_TEST(jit_parse, types_are_as_promised)
{
    for (size_t n = 0; n < sizeof(typed) / sizeof(typed[0]); n++) {
        hy_expr *e;
        hy_expr_error error;
        int r = hy_expr_parse(&e, typed[n].source, &schema, &error);

        HY_CHECK_MSG(r == 0, "'%s': %s", typed[n].source, error.message);
        HY_CHECK_MSG(hy_expr_type(e) == typed[n].type, "'%s' is of type %d",
                     typed[n].source, hy_expr_type(e));
        hy_expr_destroy(e);
    }
    HY_CHECK_EQ(hy_expr_type(NULL), 0);
    HY_CHECK_EQ(hy_type_bytes(HY_I64), 8);
    HY_CHECK_EQ(hy_type_bytes((hy_type)0), 0);
    HY_CHECK_EQ(hy_type_bytes((hy_type)6), 0);
    hy_expr_destroy(NULL);
}

static int parse_repeated(const char *head, const char *middle, size_t count,
                          const char *tail, hy_expr_error *error)
{
    size_t h = strlen(head), m = strlen(middle);
    char *source = malloc(h + m * count + strlen(tail) + 1);
    hy_expr *e = NULL;
    int r;

    memcpy(source, head, h);
    for (size_t i = 0; i < count; i++)
        memcpy(source + h + i * m, middle, m);
    strcpy(source + h + m * count, tail);
    r = hy_expr_parse(&e, source, &schema, error);
    hy_expr_destroy(e);
    free(source);
    return r;
}

HY_TEST(jit_parse, size_and_depth_are_limited)
{
    hy_expr_error error;

    HY_CHECK_EQ(parse_repeated("", "(", 100000, "f", &error), -E2BIG);
    HY_CHECK_EQ(error.position, 128);
    HY_CHECK_EQ(parse_repeated("", "-", 100000, "f", &error), -E2BIG);
    HY_CHECK_EQ(parse_repeated("", "f?f:", 100000, "f", &error), -E2BIG);
    HY_CHECK_EQ(parse_repeated("", "max(f,", 100000, "f", &error), -E2BIG);
    HY_CHECK_EQ(parse_repeated("", "(", 128, "f", &error), -EINVAL);
    HY_CHECK_EQ(parse_repeated("f", "+f*(f", 40, "", &error), -EINVAL);
    /* A long chain is not deep; what it computes is limited. */
    HY_CHECK_EQ(parse_repeated("f", "+i", 1500, "", &error), 0);
    HY_CHECK_EQ(parse_repeated("f", "+i*i", 3000, "", &error), -E2BIG);
    HY_CHECK(strstr(error.message, "2048") != NULL);
    /* Constants are computed at once. */
    HY_CHECK_EQ(parse_repeated("1", "+1", 900, "", &error), 0);
    HY_CHECK_EQ(parse_repeated("", "1", 100000, "", &error), -EINVAL);
    HY_CHECK_EQ(parse_repeated("0.", "1", 100000, "", &error), -EINVAL);
    HY_CHECK_EQ(parse_repeated("", "x", 100000, "", &error), -EINVAL);
    HY_CHECK_EQ(parse_repeated("f", " ", 100000, "", &error), 0);
}

static int parse_with(const hy_schema *s, const char *message)
{
    hy_expr *e = NULL;
    hy_expr_error error = {1, ""};
    int r = hy_expr_parse(&e, "1", s, &error);

    if (r != 0)
        HY_CHECK_MSG(strstr(error.message, message) != NULL, "%s",
                     error.message);
    if (r != 0)
        HY_CHECK_EQ(error.position, 0);
    hy_expr_destroy(e);
    return r;
}

HY_TEST(jit_parse, schemas_are_checked)
{
    hy_column two[2] = {{"a", HY_F32}, {"b", HY_U8}};
    hy_type type = HY_F32;
    hy_schema s = HY_SCHEMA_INIT;

    HY_CHECK_EQ(parse_with(NULL, ""), 0);
    HY_CHECK_EQ(parse_with(&s, ""), 0);
    s.column_count = 2;
    HY_CHECK_EQ(parse_with(&s, "a count without its array"), -EINVAL);
    s.columns = two;
    HY_CHECK_EQ(parse_with(&s, ""), 0);
    two[1].name = NULL;
    HY_CHECK_EQ(parse_with(&s, "column 1 is no identifier"), -EINVAL);
    two[1].name = "a b";
    HY_CHECK_EQ(parse_with(&s, "column 1 is no identifier"), -EINVAL);
    two[1].name = "";
    HY_CHECK_EQ(parse_with(&s, "column 1 is no identifier"), -EINVAL);
    two[1].name = "a";
    HY_CHECK_EQ(parse_with(&s, "columns 0 and 1 have one name"), -EINVAL);
    two[1] = (hy_column){"b", (hy_type)6};
    HY_CHECK_EQ(parse_with(&s, "column 1 has no known type"), -EINVAL);
    two[1].type = HY_U8;
    s.param_count = 1;
    HY_CHECK_EQ(parse_with(&s, "a count without its array"), -EINVAL);
    s.params = &type;
    HY_CHECK_EQ(parse_with(&s, ""), 0);
    type = (hy_type)0;
    HY_CHECK_EQ(parse_with(&s, "parameter 0 has no known type"), -EINVAL);
    type = HY_F32;
    s.column_count = SIZE_MAX;
    HY_CHECK_EQ(parse_with(&s, "65,535"), -E2BIG);
    s.column_count = 2;
    s.size = 3;
    HY_CHECK_EQ(parse_with(&s, "size is wrong"), -EINVAL);
}

HY_TEST(jit_parse, nulls_are_refused)
{
    hy_expr *e;
    hy_expr_error error;

    HY_CHECK_EQ(hy_expr_parse(NULL, "1", NULL, &error), -EINVAL);
    HY_CHECK_EQ(hy_expr_parse(&e, NULL, NULL, &error), -EINVAL);
    HY_CHECK_EQ(hy_expr_parse(&e, NULL, NULL, NULL), -EINVAL);
}

HY_TEST(jit_parse, many_columns_are_found)
{
    enum { COUNT = 5000 };
    hy_column *many = malloc(COUNT * sizeof(*many));
    char(*names)[16] = malloc(COUNT * sizeof(*names));
    hy_schema s = {sizeof(s), many, COUNT, NULL, 0};
    hy_expr *e;

    for (int i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof(names[i]), "c%d", i);
        many[i] = (hy_column){names[i], i == 4321 ? HY_I64 : HY_F32};
    }
    HY_CHECK_EQ(hy_expr_parse(&e, "c4321", &s, NULL), 0);
    free(many);
    free(names);
    HY_CHECK_EQ(hy_expr_type(e), HY_I64);
    hy_expr_destroy(e);
}

HY_TEST(jit_parse, no_memory_is_an_error)
{
    static const enum hy_fail_call calls[] = {HY_FAIL_MALLOC, HY_FAIL_CALLOC,
                                              HY_FAIL_REALLOC};

    for (unsigned c = 0; c < 3; c++) {
        for (unsigned nth = 1;; nth++) {
            hy_expr *e = NULL;
            int r;

            errno = 55;
            hy_fail_at(calls[c], nth, ENOMEM);
            r = hy_expr_parse(&e, "f*d+i*k-u", &schema, NULL);
            if (hy_fail_hits() == 0) {
                HY_CHECK_EQ(r, 0);
                hy_expr_destroy(e);
                hy_fail_none();
                HY_CHECK(nth > 1);
                break;
            }
            hy_fail_none();
            HY_CHECK_EQ(r, -ENOMEM);
            HY_CHECK_EQ(errno, 55);
            HY_CHECK(e == NULL);
        }
    }
}

HY_TEST(jit_parse, the_locale_does_not_matter)
{
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "C"};
    hy_expr *e;

    for (unsigned i = 0; i < 3; i++)
        if (setlocale(LC_NUMERIC, names[i]) != NULL)
            break;
    HY_CHECK_EQ(hy_expr_parse(&e, "1.5 + d", &schema, NULL), 0);
    hy_expr_destroy(e);
    setlocale(LC_NUMERIC, "C");
}
