/*
 * bench_jit.c - writing machine code, publishing it, compiling expressions and
 * running them, beside assemblers, the interpreter and the compiler.
 *
 * Emission and publication have no public call: this program links the
 * component itself and calls its private headers.
 *
 * Upstream: bench.h, bench_jit.h. Downstream: jit.h, code.h, arch.h.
 */
#include "bench_jit.h"

#include "bench.h"

#include <dlfcn.h>
#include <elf.h>
#include <hyperion/jit.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "arch.h"
#include "code.h"
#include "isa.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum { ROWS = 1024, CODE_BYTES = 96 };

static _Alignas(64) float table[JIT_COLUMNS][ROWS];
static _Alignas(64) float out[ROWS], expected[ROWS];
static const void *columns[JIT_COLUMNS];
static hy_code *code;

static void fill(void)
{
    for (int c = 0; c < JIT_COLUMNS; c++) {
        columns[c] = table[c];
        for (int i = 0; i < ROWS; i++)
            table[c][i] = (float)rand() / (float)RAND_MAX;
    }
    jit_expression_o3(columns, expected, ROWS);
}

static hy_expr *parse(const char *source)
{
    static const hy_column names[JIT_COLUMNS] = {
        {"a", HY_F32}, {"b", HY_F32}, {"c", HY_F32}, {"d", HY_F32},
        {"e", HY_F32}, {"f", HY_F32}, {"g", HY_F32}, {"h", HY_F32}};
    hy_schema schema = HY_SCHEMA_INIT;
    hy_expr_error error = {0};
    hy_expr *expr = NULL;

    schema.columns = names;
    schema.column_count = JIT_COLUMNS;
    if (hy_expr_parse(&expr, source, &schema, &error) != 0)
        bench_wrong(error.message);
    return expr;
}

/* NULL where there is no such back end. */
static hy_kernel *compile(const char *source, unsigned backend)
{
    hy_expr_options o = HY_EXPR_OPTIONS_INIT;
    hy_expr *expr = parse(source);
    hy_kernel *kernel = NULL;

    o.backend = backend;
    if (hy_expr_compile(&kernel, code, expr, &o) != 0)
        kernel = NULL;
    hy_expr_destroy(expr);
    return kernel;
}

/* --- emission ------------------------------------------------------------- */

static double emit_ours(void *count)
{
    static uint8_t buffer[32 * EMITTED];
    static const struct hy_arch_jit_node node = {.op = HY_ARCH_JIT_ADD,
                                                 .type = HY_ARCH_JIT_F32,
                                                 .from = HY_ARCH_JIT_F32};
    uint64_t n = *(uint64_t *)count, start = bench_now();
    struct hy_arch_jit jit;

    for (uint64_t i = 0; i < n; i++) {
        memset(&jit, 0, sizeof(jit));
        jit.start = jit.at = buffer;
        jit.end = buffer + sizeof(buffer);
        jit.vector = true;
        for (int k = 0; k < EMITTED; k++) {
            struct hy_arch_jit_reg a = {(uint8_t)(k % 8), 0}, b = {1, 0};
            struct hy_arch_jit_reg to = {3, 0};

            hy_arch_jit_compute(&jit, &node, to, a, b, b);
        }
    }
    start = bench_now() - start;
    if (jit.full || jit.at - jit.start < 4 * EMITTED)
        bench_wrong("emitted");
    return (double)start / (double)(n * EMITTED);
}

/* --- publication ---------------------------------------------------------- */

static double publish_ours(void *count)
{
    uint64_t n = *(uint64_t *)count, start;
    struct hyi_code_span span;
    uint8_t bytes[CODE_BYTES];

    memset(bytes, hy_arch_jit_trap(), sizeof(bytes));
    hy_arch_jit_constant(bytes, 7);
    start = bench_now();
    for (uint64_t i = 0; i < n; i++) {
        if (hyi_code_publish(code, bytes, sizeof(bytes), &span) != 0)
            bench_wrong("publish");
        if (i == 0 && ((int (*)(void))(uintptr_t)span.execute)() != 7)
            bench_wrong("published");
        hyi_code_retract(code, &span);
    }
    return (double)(bench_now() - start) / (double)n;
}

static double publish_by_protection(void *count)
{
    uint64_t n = *(uint64_t *)count / 20 + 1, start = bench_now();

    for (uint64_t i = 0; i < n; i++) {
        uint8_t *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED)
            bench_wrong("mmap");
        hy_arch_jit_constant(p, 7);
        if (mprotect(p, 4096, PROT_READ | PROT_EXEC) != 0 ||
            ((int (*)(void))(uintptr_t)p)() != 7)
            bench_wrong("mprotect");
        munmap(p, 4096);
    }
    return (double)(bench_now() - start) / (double)n;
}

/* --- compiling and running ------------------------------------------------ */

static double compile_ours(void *count)
{
    hy_expr_options o = HY_EXPR_OPTIONS_INIT;
    uint64_t n = *(uint64_t *)count, start;
    hy_expr *expr = parse(JIT_EXPRESSION);

    o.backend = HY_EXPR_NATIVE;
    start = bench_now();
    for (uint64_t i = 0; i < n; i++) {
        hy_kernel *k = NULL;

        if (hy_expr_compile(&k, code, expr, &o) != 0)
            bench_wrong("compile");
        hy_kernel_release(k);
    }
    start = bench_now() - start;
    hy_expr_destroy(expr);
    return (double)start / (double)n;
}

static double parse_ours(void *count)
{
    uint64_t n = *(uint64_t *)count, start = bench_now();

    for (uint64_t i = 0; i < n; i++)
        hy_expr_destroy(parse(JIT_EXPRESSION));
    return (double)(bench_now() - start) / (double)n;
}

/* One of a kernel and a function. */
struct runner {
    const hy_kernel *kernel;
    jit_function function;
    int (*test)(const void *const *columns, uint64_t row);
};

static double run_eval(void *arg)
{
    const struct runner *r = (const struct runner *)arg;
    uint64_t n = bench_scale(40000), start;

    memset(out, 0, sizeof(out));
    start = bench_now();
    for (uint64_t i = 0; i < n; i++) {
        if (r->kernel != NULL)
            hy_kernel_eval(r->kernel, columns, NULL, out, ROWS);
        else
            r->function(columns, out, ROWS);
        BENCH_USE(out);
    }
    start = bench_now() - start;
    if (memcmp(out, expected, sizeof(out)) != 0)
        bench_wrong("expression");
    return (double)start / (double)(n * ROWS);
}

static double run_test(void *arg)
{
    const struct runner *r = (const struct runner *)arg;
    uint64_t n = bench_scale(3000000), start, passed = 0,
             x = 88172645463325252u;

    for (uint64_t row = 0; r->kernel != NULL && row < ROWS; row++)
        if (hy_kernel_test(r->kernel, columns, NULL, row) !=
            r->test(columns, row))
            bench_wrong("predicate");
    start = bench_now();
    for (uint64_t i = 0; i < n; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        passed +=
            (uint64_t)(r->kernel != NULL
                           ? hy_kernel_test(r->kernel, columns, NULL, x >> 54)
                           : r->test(columns, x >> 54));
    }
    BENCH_USE(passed);
    return (double)(bench_now() - start) / (double)n;
}

/* --- size ----------------------------------------------------------------- */

/* Adds the library's executable bytes to what arg points to. */
static int add_text(struct dl_phdr_info *info, size_t bytes, void *arg)
{
    double *kilobytes = (double *)arg;

    (void)bytes;
    if (strstr(info->dlpi_name, "libhyperion-jit") == NULL)
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD &&
            (info->dlpi_phdr[i].p_flags & PF_X) != 0)
            *kilobytes += (double)info->dlpi_phdr[i].p_memsz / 1024;
    return 1;
}

/* KB of code that -lhyperion-jit brings, base and all. */
static double text_size(void *arg)
{
    void *library = dlopen(HY_BENCH_JIT_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    double kilobytes = 0;

    (void)arg;
    if (library == NULL)
        bench_wrong("libhyperion-jit cannot be loaded");
    dl_iterate_phdr(add_text, &kilobytes);
    dlclose(library);
    return kilobytes;
}

static void row_size(void)
{
    struct bench_row row = {.what = "code of libhyperion-jit.so",
                            .unit = "KB",
                            .target = "64 at most",
                            .counted = true};
    struct bench_contender c = {"libhyperion-jit", text_size, NULL, NULL};

    bench_row_run(&row, &c, 1);
}

/* --- the table ------------------------------------------------------------ */

static struct bench_contender maybe(const char *name, double (*run)(void *),
                                    void *arg, bool there, const char *why)
{
    struct bench_contender c = {name, run, arg, there ? NULL : why};

    return c;
}

static const char no_code[] = "no native back end here";

static void rows_code(bool native)
{
    uint64_t some = bench_scale(1000), many = bench_scale(200000);
    struct bench_row row = {.what = "emission, operands checked",
                            .unit = "ns/instruction",
                            .target = "1.4 at most, 10x asmjit"};
    struct bench_contender emit[] = {
        maybe("hy_arch_jit_compute", emit_ours, &some, native, no_code),
        maybe("asmjit", asmjit_emit, &some, asmjit_emit != NULL, BENCH_ABSENT),
        maybe("xbyak", xbyak_emit, &some, xbyak_emit != NULL, BENCH_ABSENT)};
    struct bench_contender publish[] = {
        maybe("hyi_code_publish and retract", publish_ours, &many, native,
              no_code),
        maybe("mmap, mprotect, munmap", publish_by_protection, &many, native,
              no_code)};
    struct bench_contender tree[] = {
        maybe("hy_expr_compile", compile_ours, &some, native, no_code),
        maybe("asmjit", asmjit_compile, &some, asmjit_compile != NULL,
              BENCH_ABSENT),
        {"(parsing it first)", parse_ours, &some, NULL}};

    bench_row_run(&row, emit, COUNT(emit));
    row.what = "publish a function, and take it back";
    row.unit = "ns";
    row.target = "60 at most";
    bench_row_run(&row, publish, COUNT(publish));
    some = bench_scale(20000);
    row.what = "expression of 10 operations, tree to callable";
    row.target = "700 at most";
    bench_row_run(&row, tree, COUNT(tree));
    row.what = "the same, from a cache";
    row.target = "50 at most";
    bench_row_skip(&row, "compiled kernels are not cached yet");
}

static void row_eval(void)
{
    struct bench_row row = {.what = "running it, f32, in L1",
                            .unit = "ns/element",
                            .target =
                                "3.5x the interpreter, within 3 % of -O3"};
    struct runner native = {compile(JIT_EXPRESSION, HY_EXPR_NATIVE), NULL,
                            NULL};
    struct runner slow = {compile(JIT_EXPRESSION, HY_EXPR_INTERPRETER), NULL,
                          NULL};
    struct runner o3 = {NULL, jit_expression_o3, NULL};
    struct runner asmjit = {NULL, NULL, NULL};
    struct bench_contender c[] = {
        maybe("native", run_eval, &native, native.kernel != NULL, no_code),
        {"interpreter", run_eval, &slow, NULL},
        {"-O3", run_eval, &o3, NULL},
        maybe("asmjit by hand", run_eval, &asmjit, asmjit_expression != NULL,
              BENCH_ABSENT)};

    if (asmjit_expression != NULL)
        asmjit.function = asmjit_expression();
    bench_row_run(&row, c, COUNT(c));
    hy_kernel_release((hy_kernel *)(uintptr_t)native.kernel);
    hy_kernel_release((hy_kernel *)(uintptr_t)slow.kernel);
}

static void row_predicate(const char *what, const char *target,
                          const char *source,
                          int (*test)(const void *const *, uint64_t))
{
    struct bench_row row = {.what = what, .unit = "ns", .target = target};
    struct runner native = {compile(source, HY_EXPR_NATIVE), NULL, test};
    struct runner slow = {compile(source, HY_EXPR_INTERPRETER), NULL, test};
    struct runner o3 = {NULL, NULL, test};
    struct bench_contender c[] = {
        maybe("native", run_test, &native, native.kernel != NULL, no_code),
        {"interpreter", run_test, &slow, NULL},
        {"-O3", run_test, &o3, NULL}};

    bench_row_run(&row, c, COUNT(c));
    hy_kernel_release((hy_kernel *)(uintptr_t)native.kernel);
    hy_kernel_release((hy_kernel *)(uintptr_t)slow.kernel);
}

int main(int argc, char **argv)
{
    bool native;

    fill();
    bench_begin(argc, argv, "jit");
    native = (hy_code_caps() & HY_CODE_NATIVE) != 0;
    if (hy_code_create(&code, NULL) != 0)
        bench_wrong("no code");
    rows_code(native);
    row_eval();
    row_predicate(
        "predicate of 8 terms on a random row", "8x the interpreter",
        "a < 0.875 && b < 0.875 && c < 0.875 && d < 0.875 && e < 0.875 && "
        "f < 0.875 && g < 0.875 && h < 0.875",
        jit_test8_o3);
    row_predicate("predicate of 2 terms on a random row", "-O3 at most",
                  "a < 0.875 && b < 0.875", jit_test2_o3);
    row_size();
    hy_code_destroy(code);
    bench_note("Results are compared bit for bit with the compiler's (-O3 "
               "-march=native -ffp-contract=off). asmjit's expression is "
               "written out by hand: it has no tree to go through and no "
               "registers to choose.");
    return bench_end();
}
