/*
 * test_jit_native.c - the machine code itself, read back by objdump: every byte
 * decodes, both entries are landing pads, the vector instructions of the
 * expression are there, and no register is used that must be kept.
 */
#include <ctype.h>
#include <errno.h>

#include <hyperion/jit.h>

#include "expr.h"
#include "hy_test.h"

static const hy_column columns[] = {
    {"f", HY_F32}, {"g", HY_F32}, {"d", HY_F64}, {"e", HY_F64}, {"i", HY_I32},
    {"j", HY_I32}, {"k", HY_I64}, {"l", HY_I64}, {"u", HY_U8},  {"v", HY_U8}};
static const hy_type param_types[] = {HY_F32, HY_F64, HY_I32, HY_I64, HY_U8};
static const hy_schema schema = {sizeof(hy_schema), columns, 10, param_types,
                                 5};

/* Instructions that must be there, by architecture. */
static const struct {
    const char *source, *x86, *arm;
} cases[] = {
    {"f + g", "vaddps ymm vmovups", "fadd .4s ldr str"},
    {"f * (1 - g) > $0 && u == 3",
     "vsubps vmulps vcmplt_oqps vpmovzxbd vpcmpeqd vpand vbroadcastss vmovq",
     "fsub fmul fcmgt cmeq and .4s dup"},
    {"d * e - d / e", "vmulpd vdivpd vsubpd ymm", "fmul fdiv fsub .2d"},
    {"sqrt(d) + abs(e)", "vsqrtpd vandps", "fsqrt fabs"},
    {"i * j - i", "vpmulld vpsubd", "mul sub .4s"},
    {"i / j", "vcvtdq2pd vdivpd vcvttpd2dq", "sdiv"},
    {"i % j", "vcvtdq2pd vdivpd vcvttpd2dq vpmulld", "sdiv msub"},
    {"k * l + k", "vpmuludq vpaddq", "mul add .2d"},
    {"k / l", "idiv", "sdiv"},
    {"k % l", "idiv", "sdiv msub"},
    {"k < l", "vpcmpgtq vshufps vpermq", "cmgt .2d uzp1"},
    {"f < g ? d : e", "vcmplt_oqps vpmovsxdq vblendvpd", "fcmgt bsl"},
    {"f64(k)", "vsubpd vaddpd vpblendd", "scvtf .2d"},
    {"f32(k)", "vcvtsi2ss", "scvtf"},
    {"i64(d)", "vcvttsd2si", "fcvtzs .2d"},
    {"i32(f)", "vcvttps2dq", "fcvtzs .4s"},
    {"i32(d)", "vcvttpd2dq vinserti128", "fcvtzs sqxtn"},
    {"u8(f)", "vminps vmaxps vcvttps2dq vpackuswb", "fcvtzu .4s xtn"},
    {"f32(d)", "vcvtpd2ps", "fcvtn"},
    {"f64(f)", "vcvtps2pd", "fcvtl"},
    {"i64(i) + k", "vpmovsxdq vpaddq", "sxtl sxtl2 add"},
    {"min(i, j) + max(i, j)", "vpminsd vpmaxsd", "smin smax"},
    {"min(k, l)", "vpcmpgtq vblendvpd", "cmgt bsl"},
    {"abs(i) + abs(k)", "vpabsd vpcmpgtq", "abs .4s .2d"},
    {"!(f != g) || i <= j", "vpor vpxor vpcmpgtd", "orr cmge .4s"},
    {"(f < g) + $4 + $2 * $3 - $1", "vpsrld vpbroadcastb", "ushr ldrb"},
};

static void compile(const char *source, hy_code *code, hy_kernel **k)
{
    hy_expr_options o = {sizeof(o), HY_EXPR_NATIVE};
    hy_expr_error error;
    hy_expr *e;

    HY_CHECK_MSG(hy_expr_parse(&e, source, &schema, &error) == 0, "%s: %s",
                 source, error.message);
    HY_CHECK_EQ(hy_expr_compile(k, code, e, &o), 0);
    hy_expr_destroy(e);
}

#if defined(__x86_64__)
#define OBJDUMPS "objdump"
#define MACHINE  "i386:x86-64"
#define PAD      "endbr64"
#define WANTED   x86
#else
#define OBJDUMPS "aarch64-linux-gnu-objdump", "objdump"
#define MACHINE  "aarch64"
#define PAD      "bti"
#define WANTED   arm
#endif

/* The listing of code; objdump has to be there. */
static char *disassemble(const hy_kernel *k)
{
    static const char *const tools[] = {OBJDUMPS};
    static char listing[1 << 20];
    char path[] = "/tmp/hy_jit_XXXXXX", command[256];
    int fd = mkstemp(path);
    size_t length = 0;

    HY_CHECK(fd >= 0);
    HY_CHECK(write(fd, k->span.execute, k->pool_at) == (ssize_t)k->pool_at);
    close(fd);
    for (size_t n = 0; n < sizeof(tools) / sizeof(tools[0]); n++) {
        FILE *pipe;

        snprintf(command, sizeof(command),
                 "%s -D -w -b binary -m " MACHINE " %s 2>&1", tools[n], path);
        pipe = popen(command, "r");
        HY_CHECK(pipe != NULL);
        length = fread(listing, 1, sizeof(listing) - 1, pipe);
        listing[length] = '\0';
        if (pclose(pipe) == 0)
            break;
        length = 0;
    }
    unlink(path);
    HY_CHECK_MSG(length != 0, "objdump (binutils) is needed: %s", listing);
    return listing;
}

/* The instruction at an offset, or NULL when none starts there. */
static const char *instruction_at(const char *listing, unsigned offset)
{
    char label[32];
    const char *line;

    snprintf(label, sizeof(label), "\n%4x:\t", offset);
    line = strstr(listing, label);
    if (line == NULL) {
        snprintf(label, sizeof(label), "\n%8x:\t", offset);
        line = strstr(listing, label);
    }
    return line != NULL ? strchr(line + strlen(label), '\t') : NULL;
}

/* d8 to d15, by whatever name; "d8:" is an offset. */
static bool is_kept_register(const char *p)
{
    size_t digits = 1;

    if (isalnum((unsigned char)p[-1]) || strchr("vqdsb", p[0]) == NULL)
        return false;
    if (p[1] == '1' && p[2] >= '0' && p[2] <= '5')
        digits = 2;
    else if (p[1] != '8' && p[1] != '9')
        return false;
    return !isalnum((unsigned char)p[1 + digits]) && p[1 + digits] != ':';
}

static void check_listing(const char *source, const char *wanted,
                          const char *listing, const hy_kernel *k)
{
    char word[32];
    int used;

    HY_CHECK_MSG(strstr(listing, "(bad)") == NULL &&
                     strstr(listing, "undefined") == NULL &&
                     strstr(listing, ".inst") == NULL &&
                     strstr(listing, ".byte") == NULL,
                 "%s: bytes that do not decode\n%s", source, listing);
    while (sscanf(wanted, "%31s%n", word, &used) == 1) {
        HY_CHECK_MSG(strstr(listing, word) != NULL, "%s: no %s in\n%s", source,
                     word, listing);
        wanted += used;
    }
    for (unsigned n = 0; n < 2; n++) {
        const char *at = instruction_at(listing, n == 0 ? 0 : k->test_at);

        HY_CHECK_MSG(at != NULL && strncmp(at + 1, PAD, strlen(PAD)) == 0,
                     "%s: entry %u is no landing pad\n%s", source, n, listing);
    }
#if defined(__aarch64__)
    for (const char *p = listing + 1; *p != '\0'; p++)
        HY_CHECK_MSG(!is_kept_register(p), "%s uses %.4s", source, p);
#endif
}

HY_TEST(jit_native, objdump_reads_what_was_emitted)
{
    hy_code *code;

    (void)is_kept_register;
    if (!(hy_code_caps() & HY_CODE_NATIVE))
        return;
    HY_CHECK_EQ(hy_code_create(&code, NULL), 0);
    for (size_t n = 0; n < sizeof(cases) / sizeof(cases[0]); n++) {
        hy_kernel *k;

        compile(cases[n].source, code, &k);
        check_listing(cases[n].source, cases[n].WANTED, disassemble(k), k);
        hy_kernel_release(k);
    }
    hy_code_destroy(code);
}

/* More values alive than registers: they go through the frame. */
HY_TEST(jit_native, pressure_spills)
{
    static const char *const terms[] = {"(f*g)", "(d*e)", "(i*j)", "(k*l)",
                                        "(f+d)", "(i-j)", "(k-l)", "(d-e)"};
    hy_code *code;

    HY_CHECK_EQ(hy_code_create(&code, NULL), 0);
    for (unsigned depth = 1; depth <= 60; depth += 7) {
        char source[4096] = "";
        float f[11], g[11];
        double d[11], e[11], native[11], interpreted[11];
        int32_t i[11], j[11];
        int64_t k[11], l[11];
        const void *const data[] = {f, g, d, e, i, j, k, l, NULL, NULL};
        hy_expr_options o = {sizeof(o), HY_EXPR_INTERPRETER};
        hy_expr *x;
        hy_kernel *kernel;
        int r;

        for (unsigned n = 0; n < 11; n++) {
            f[n] = (float)n + 1, g[n] = (float)n * 2, d[n] = n * 0.5;
            e[n] = 3.0 - n, i[n] = (int32_t)n, j[n] = 5, k[n] = n, l[n] = 9;
        }
        for (unsigned n = 0; n < depth; n++) {
            char term[64];

            snprintf(term, sizeof(term), "(%s+%u)+(", terms[n % 8], n);
            strcat(source, term);
        }
        strcat(source, "f");
        for (unsigned n = 0; n < depth; n++)
            strcat(source, ")");
        HY_CHECK_EQ(hy_expr_parse(&x, source, &schema, NULL), 0);
        HY_CHECK_EQ(hy_expr_type(x),
                    HY_F64 * (depth > 1) + HY_F32 * (depth < 2));
        HY_CHECK_EQ(hy_expr_compile(&kernel, code, x, &o), 0);
        HY_CHECK_EQ(hy_kernel_eval(kernel, data, NULL, interpreted, 11), 0);
        hy_kernel_release(kernel);
        o.backend = HY_EXPR_NATIVE;
        r = hy_expr_compile(&kernel, code, x, &o);
        if (r == 0) {
            HY_CHECK_EQ(hy_kernel_eval(kernel, data, NULL, native, 11), 0);
            HY_CHECK(memcmp(native, interpreted,
                            11 * hy_type_bytes(hy_expr_type(x))) == 0);
            hy_kernel_release(kernel);
        }
        if (hy_code_caps() & HY_CODE_NATIVE)
            HY_CHECK_MSG(r == 0 || (r == -ENOTSUP && depth > 40),
                         "depth %u: %d", depth, r);
        hy_expr_destroy(x);
    }
    hy_code_destroy(code);
}

/* A long chain: the code does not fit the first buffer. */
HY_TEST(jit_native, long_expressions_compile)
{
    enum { TERMS = 250 };
    static char source[TERMS * 24];
    float f[19], g[19], out[2][19];
    const void *const data[] = {f, g};
    hy_expr *x;
    hy_code *code;

    for (unsigned n = 0; n < 19; n++) {
        f[n] = (float)n + 0.5f;
        g[n] = 1.0f / (float)(n + 3);
    }
    strcpy(source, "f");
    for (unsigned n = 0; n < TERMS; n++)
        sprintf(source + strlen(source), "%cf*g*%u.5", "+-*"[n % 3], n % 100);
    HY_CHECK_EQ(hy_expr_parse(&x, source, &schema, NULL), 0);
    HY_CHECK_EQ(hy_code_create(&code, NULL), 0);
    for (unsigned b = 0; b < 2; b++) {
        hy_expr_options o = {sizeof(o),
                             b == 0 ? HY_EXPR_INTERPRETER : HY_EXPR_AUTO};
        hy_kernel *k;

        HY_CHECK_EQ(hy_expr_compile(&k, code, x, &o), 0);
        if (b == 1 && (hy_code_caps() & HY_CODE_NATIVE))
            HY_CHECK_EQ(hy_kernel_backend(k), HY_EXPR_NATIVE);
        HY_CHECK_EQ(hy_kernel_eval(k, data, NULL, out[b], 19), 0);
        hy_kernel_release(k);
    }
    for (unsigned n = 0; n < 19; n++)
        HY_CHECK(memcmp(&out[0][n], &out[1][n], 4) == 0 ||
                 (out[0][n] != out[0][n] && out[1][n] != out[1][n]));
    hy_expr_destroy(x);
    hy_code_destroy(code);
}

/* More columns than there are registers for addresses. */
HY_TEST(jit_native, many_columns_are_read)
{
    enum { MANY = 40 };
    static hy_column many[MANY];
    static char names[MANY][8], source[MANY * 12];
    static int32_t values[MANY][21], out[21];
    const void *data[MANY];
    hy_schema s = {sizeof(s), many, MANY, NULL, 0};
    hy_expr *x;
    hy_code *code;
    hy_kernel *k;

    for (int n = 0; n < MANY; n++) {
        snprintf(names[n], sizeof(names[n]), "c%d", n);
        many[n] = (hy_column){names[n], HY_I32};
        data[n] = values[n];
        for (int row = 0; row < 21; row++)
            values[n][row] = n * 1000 + row;
        if (n != 0)
            strcat(source, "+");
        strcat(source, names[n]);
    }
    HY_CHECK_EQ(hy_expr_parse(&x, source, &s, NULL), 0);
    HY_CHECK_EQ(hy_code_create(&code, NULL), 0);
    HY_CHECK_EQ(hy_expr_compile(&k, code, x, NULL), 0);
    HY_CHECK_EQ(hy_kernel_eval(k, data, NULL, out, 21), 0);
    for (int row = 0; row < 21; row++)
        HY_CHECK_EQ(out[row], 1000 * (MANY * (MANY - 1) / 2) + MANY * row);
    hy_kernel_release(k);
    hy_expr_destroy(x);
    hy_code_destroy(code);
}

HY_TEST(jit_native, a_column_may_be_overwritten_in_place)
{
    hy_expr *x;
    hy_code *code;
    hy_kernel *k;
    float f[33], g[33];
    const void *const data[] = {f, g};

    HY_CHECK_EQ(hy_expr_parse(&x, "f * g + f", &schema, NULL), 0);
    HY_CHECK_EQ(hy_code_create(&code, NULL), 0);
    for (unsigned b = 0; b < 2; b++) {
        hy_expr_options o = {sizeof(o), b};

        for (int n = 0; n < 33; n++)
            f[n] = (float)n, g[n] = 2;
        HY_CHECK_EQ(hy_expr_compile(&k, code, x, &o), 0);
        HY_CHECK_EQ(hy_kernel_eval(k, data, NULL, f, 33), 0);
        for (int n = 0; n < 33; n++)
            HY_CHECK(f[n] == (float)n * 3);
        hy_kernel_release(k);
    }
    hy_expr_destroy(x);
    hy_code_destroy(code);
}
