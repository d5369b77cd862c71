/*
 * 05_generated_code.c - an expression typed by the user becomes machine code.
 *
 *      05_generated_code ["price * (1 - discount) > $0 && lang == 3"]
 *
 * It is parsed and checked against a schema, compiled, and run over a million
 * rows by the interpreter and by the generated code, with the same answer.
 */
#include <hyperion/jit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 1000000 };

static float price[ROWS], discount[ROWS];
static uint8_t lang[ROWS];
static unsigned char out[ROWS * 8]; /* room for any type of result */

static const hy_column columns[] = {
    {"price", HY_F32}, {"discount", HY_F32}, {"lang", HY_U8}};
static const hy_type param_types[] = {HY_F32};

static unsigned next_random(void)
{
    static unsigned state = 1;

    state = state * 1664525 + 1013904223;
    return state >> 16;
}

static void fill(void)
{
    for (int i = 0; i < ROWS; i++) {
        price[i] = (float)next_random() / 100;
        discount[i] = (float)(next_random() % 50) / 100;
        lang[i] = (uint8_t)(next_random() % 8);
    }
}

/* Shows an error under the place that it is about. */
static void explain(const char *source, const hy_expr_error *error)
{
    fprintf(stderr, "%s\n%*s^ %s\n", source, (int)error->position, "",
            error->message);
}

/* Evaluates all rows a few times and returns the best time in ns. */
static double run(const hy_kernel *kernel, const void *const *params)
{
    const void *const data[] = {price, discount, lang};
    uint64_t best = UINT64_MAX;

    for (int round = 0; round < 10; round++) {
        uint64_t start = hy_now(), took;

        if (hy_kernel_eval(kernel, data, params, out, ROWS) != 0)
            exit(1);
        took = hy_now() - start;
        best = took < best ? took : best;
    }
    return (double)best;
}

/* How many of the results are not zero. */
static size_t count_matches(hy_type type)
{
    size_t bytes = hy_type_bytes(type), matches = 0;
    static const unsigned char zero[8];

    for (size_t i = 0; i < ROWS; i++)
        matches += memcmp(out + i * bytes, zero, bytes) != 0;
    return matches;
}

int main(int argc, char **argv)
{
    const char *source =
        argc > 1 ? argv[1] : "price * (1 - discount) > $0 && lang == 3";
    hy_schema schema = {sizeof(schema), columns, 3, param_types, 1};
    float limit = 300;
    const void *const params[] = {&limit};
    hy_code *code;
    hy_expr *expr;
    hy_expr_error error;

    if (hy_expr_parse(&expr, source, &schema, &error) != 0) {
        explain(source, &error);
        return 1;
    }
    if (hy_code_create(&code, NULL) != 0)
        return 1;
    fill();
    printf("%s\n", source);
    for (unsigned backend = HY_EXPR_INTERPRETER; backend <= HY_EXPR_NATIVE;
         backend++) {
        hy_expr_options options = HY_EXPR_OPTIONS_INIT;
        hy_kernel *kernel;
        uint64_t start, compile_ns;
        double row_ns;
        int r;

        /* The first one maps the code memory; the second is timed. */
        options.backend = backend;
        if (hy_expr_compile(&kernel, code, expr, &options) == 0)
            hy_kernel_release(kernel);
        start = hy_now();
        r = hy_expr_compile(&kernel, code, expr, &options);
        compile_ns = hy_now() - start;
        if (r != 0) {
            printf("  native:      not here (%s)\n", strerror(-r));
            continue;
        }
        row_ns = run(kernel, params) / ROWS;
        printf("  %-12s compiled in %5.1f us, %6.3f ns a row, %zu rows match\n",
               backend == HY_EXPR_NATIVE ? "native:" : "interpreter:",
               (double)compile_ns / 1000, row_ns,
               count_matches(hy_expr_type(expr)));
        hy_kernel_release(kernel);
    }
    hy_expr_destroy(expr);
    hy_code_destroy(code);
    return 0;
}
