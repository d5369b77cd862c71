/*
 * test_jit_code.c - code memory: never writable and executable at one address,
 * its mechanisms and their failures, lifetime, limits, and fork.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

#include <hyperion/jit.h>

#include "code.h"
#include "expr.h"
#include "fail.h"
#include "hy_test.h"
#include "isa.h"
#include "process.h"

static const hy_column columns[] = {{"a", HY_F32}, {"b", HY_I32}};
static const hy_schema schema = {sizeof(hy_schema), columns, 2, NULL, 0};
static const unsigned mechanisms[] = {HY_CODE_DUAL, HY_CODE_TOGGLE};

static bool is_native(void)
{
    return (hy_code_caps() & HY_CODE_NATIVE) != 0;
}

static hy_expr *parse(const char *source)
{
    hy_expr *e = NULL;

    HY_CHECK_EQ(hy_expr_parse(&e, source, &schema, NULL), 0);
    return e;
}

static int create(hy_code **code, unsigned mechanism, size_t limit_bytes)
{
    hy_code_options o = HY_CODE_OPTIONS_INIT;

    o.mechanism = mechanism;
    o.limit_bytes = limit_bytes;
    return hy_code_create(code, &o);
}

static int compile(hy_kernel **k, hy_code *code, const hy_expr *e)
{
    hy_expr_options o = {sizeof(o), HY_EXPR_NATIVE};

    return hy_expr_compile(k, code, e, &o);
}

/* b + addend of one row. */
static int32_t run(const hy_kernel *k, int32_t b)
{
    const void *const data[] = {NULL, &b};
    int32_t out = 0;

    HY_CHECK_EQ(hy_kernel_eval(k, data, NULL, &out, 1), 0);
    return out;
}

static hy_code_stats stats_of(const hy_code *code)
{
    hy_code_stats s = {.size = sizeof(s)};

    HY_CHECK_EQ(hy_code_stats_get(code, &s), 0);
    return s;
}

/* The rights of the mapping that holds address, as /proc shows them. */
static bool rights_of(const void *address, char rights[5])
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    bool found = false;

    while (maps != NULL && !found && fgets(line, sizeof(line), maps) != NULL) {
        unsigned long from, to;

        if (sscanf(line, "%lx-%lx %4s", &from, &to, rights) == 3)
            found =
                (unsigned long)address >= from && (unsigned long)address < to;
    }
    if (maps != NULL)
        fclose(maps);
    return found;
}

static unsigned mappings_both_writable_and_executable(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512], rights[5];
    unsigned both = 0;

    HY_CHECK(maps != NULL);
    while (fgets(line, sizeof(line), maps) != NULL)
        if (sscanf(line, "%*s %4s", rights) == 1)
            both += rights[1] == 'w' && rights[2] == 'x';
    fclose(maps);
    return both;
}

HY_TEST(jit_code, no_page_is_writable_and_executable)
{
    unsigned before = mappings_both_writable_and_executable();
    hy_expr *e = parse("b + 1");

    for (unsigned m = 0; m < 2; m++) {
        hy_code *code;
        hy_kernel *k;
        char rights[5];

        if (!is_native() || !(hy_code_caps() & mechanisms[m]))
            continue;
        HY_CHECK_EQ(create(&code, mechanisms[m], 0), 0);
        HY_CHECK_EQ(compile(&k, code, e), 0);
        HY_CHECK_EQ(run(k, 41), 42);
        HY_CHECK(rights_of(k->span.execute, rights));
        HY_CHECK_MSG(strncmp(rights, "r-x", 3) == 0, "%s", rights);
        HY_CHECK_EQ(mappings_both_writable_and_executable(), before);
        hy_kernel_release(k);
        hy_code_destroy(code);
    }
    hy_expr_destroy(e);
}

HY_TEST(jit_code, this_machine_writes_code)
{
    unsigned caps = hy_code_caps();

    HY_CHECK(caps != 0);
    HY_CHECK((caps & HY_CODE_NONE) == 0 ||
             (caps & (HY_CODE_DUAL | HY_CODE_TOGGLE | HY_CODE_NATIVE)) == 0);
    /* Every machine that these tests run on allows one or the other. */
    if (hyi_isa_features() & (HY_ARCH_AVX2 | HY_ARCH_NEON))
        HY_CHECK_MSG(caps & HY_CODE_NATIVE, "caps are %#x", caps);
    for (unsigned m = 0; m < 2; m++) {
        hy_code *code = NULL;
        int r = create(&code, mechanisms[m], 0);

        HY_CHECK_EQ(r, caps & mechanisms[m] ? 0 : -ENOTSUP);
        HY_CHECK_EQ(hy_code_destroy(code), 0);
    }
}

HY_TEST(jit_code, bad_options_are_refused)
{
    struct {
        hy_code_options o;
        long more;
    } newer = {HY_CODE_OPTIONS_INIT, 1};
    hy_code *code = NULL;
    hy_code_stats s = {.size = 2};

    HY_CHECK_EQ(create(&code, 3, 0), -EINVAL);
    HY_CHECK_EQ(create(&code, HY_CODE_NATIVE, 0), -EINVAL);
    HY_CHECK_EQ(hy_code_create(NULL, NULL), -EINVAL);
    newer.o.size = sizeof(newer);
    HY_CHECK_EQ(hy_code_create(&code, &newer.o), -E2BIG);
    HY_CHECK(code == NULL);
    HY_CHECK_EQ(hy_code_destroy(NULL), 0);
    HY_CHECK_EQ(hy_code_stats_get(NULL, &s), -EINVAL);
    HY_CHECK_EQ(hy_code_create(&code, NULL), 0);
    HY_CHECK_EQ(hy_code_stats_get(code, &s), -EINVAL);
    hy_code_destroy(code);
}

HY_TEST(jit_code, bad_kernels_are_refused)
{
    hy_expr *e = parse("b + a");
    hy_expr_options o = {sizeof(o), 3};
    hy_kernel *k = NULL;
    float a[2] = {1, 2}, out[2];
    int32_t b[2] = {3, 4};
    const void *data[] = {a, b};

    HY_CHECK_EQ(hy_expr_compile(&k, NULL, e, &o), -EINVAL);
    HY_CHECK_EQ(hy_expr_compile(NULL, NULL, e, NULL), -EINVAL);
    HY_CHECK_EQ(hy_expr_compile(&k, NULL, NULL, NULL), -EINVAL);
    o.backend = HY_EXPR_NATIVE;
    HY_CHECK_EQ(hy_expr_compile(&k, NULL, e, &o), -ENOTSUP);
    HY_CHECK_EQ(hy_kernel_backend(NULL), -EINVAL);
    HY_CHECK_EQ(hy_kernel_test(NULL, data, NULL, 0), -EINVAL);
    HY_CHECK_EQ(hy_kernel_eval(NULL, data, NULL, out, 2), -EINVAL);
    hy_kernel_release(NULL);
    HY_CHECK_EQ(hy_expr_compile(&k, NULL, e, NULL), 0);
    HY_CHECK_EQ(hy_kernel_backend(k), HY_EXPR_INTERPRETER);
    hy_expr_destroy(e);
    HY_CHECK_EQ(hy_kernel_eval(k, NULL, NULL, NULL, 0), 0);
    HY_CHECK_EQ(hy_kernel_eval(k, NULL, NULL, out, 2), -EINVAL);
    HY_CHECK_EQ(hy_kernel_eval(k, data, NULL, NULL, 2), -EINVAL);
    data[1] = NULL;
    HY_CHECK_EQ(hy_kernel_eval(k, data, NULL, out, 2), -EINVAL);
    data[1] = b;
    HY_CHECK_EQ(hy_kernel_eval(k, data, NULL, out, 2), 0);
    HY_CHECK(out[0] == 4 && out[1] == 6);
    hy_kernel_release(k);
}

HY_TEST(jit_code, a_code_of_no_mechanism_interprets)
{
    hy_expr *e = parse("b + 1");
    hy_code *code;
    hy_kernel *k;

    HY_CHECK_EQ(create(&code, HY_CODE_NONE, 0), 0);
    HY_CHECK_EQ(compile(&k, code, e), -ENOTSUP);
    HY_CHECK_EQ(hy_expr_compile(&k, code, e, NULL), 0);
    HY_CHECK_EQ(hy_kernel_backend(k), HY_EXPR_INTERPRETER);
    HY_CHECK_EQ(run(k, 1), 2);
    HY_CHECK_EQ(stats_of(code).mechanism, HY_CODE_NONE);
    hy_kernel_release(k);
    hy_code_destroy(code);
    hy_expr_destroy(e);
}

static int worst_report;

static void note_report(void *ctx, int level, const char *message)
{
    HY_CHECK(ctx == &worst_report && message[0] != '\0');
    worst_report = level > worst_report ? level : worst_report;
}

/* As on a machine where the probe found only these. */
static void check_with_caps(unsigned caps, unsigned mechanism, int level)
{
    hy_code_options o = HY_CODE_OPTIONS_INIT;
    unsigned known = 1u << 31;
    unsigned before = atomic_exchange(&hyi_process.code_caps, caps | known);
    hy_expr *e = parse("b + 1");
    hy_code *code;
    hy_kernel *k;
    int r;

    worst_report = -1;
    o.report = (hy_report){note_report, &worst_report};
    r = hy_code_create(&code, &o);
    atomic_store(&hyi_process.code_caps, before);
    HY_CHECK_EQ(r, 0);
    HY_CHECK_EQ(worst_report, level);
    HY_CHECK_EQ(stats_of(code).mechanism, mechanism);
    HY_CHECK_EQ(hy_expr_compile(&k, code, e, NULL), 0);
    HY_CHECK_EQ(run(k, 1), 2);
    hy_kernel_release(k);
    hy_code_destroy(code);
    hy_expr_destroy(e);
}

HY_TEST(jit_code, a_lesser_mechanism_is_reported)
{
    check_with_caps(HY_CODE_NONE, HY_CODE_NONE, HY_REPORT_WARNING);
    if (hy_code_caps() & HY_CODE_TOGGLE)
        check_with_caps(HY_CODE_TOGGLE, HY_CODE_TOGGLE, HY_REPORT_NOTE);
    if (hy_code_caps() & HY_CODE_DUAL)
        check_with_caps(HY_CODE_DUAL, HY_CODE_DUAL, -1);
}

HY_TEST(jit_code, it_lives_until_its_last_kernel)
{
    hy_expr *e = parse("b + 1");
    char rights[5];

    for (unsigned m = 0; m < 2; m++) {
        hy_code *code;
        hy_kernel *k;
        const void *execute;

        if (!is_native() || !(hy_code_caps() & mechanisms[m]))
            continue;
        HY_CHECK_EQ(create(&code, mechanisms[m], 0), 0);
        HY_CHECK_EQ(compile(&k, code, e), 0);
        HY_CHECK_EQ(hy_code_destroy(code), 0);
        execute = k->span.execute;
        HY_CHECK_EQ(run(k, 6), 7);
        hy_kernel_release(k);
        HY_CHECK(!rights_of(execute, rights) || strncmp(rights, "r-x", 3) != 0);
    }
    hy_expr_destroy(e);
}

HY_TEST(jit_code, spans_are_used_again_and_apart)
{
    enum { COUNT = 600 };
    hy_expr *e = parse("b * 3 + 7");
    static hy_kernel *k[COUNT];

    for (unsigned m = 0; m < 2 && is_native(); m++) {
        hy_code *code;
        size_t used = 0;

        if (!(hy_code_caps() & mechanisms[m]))
            continue;
        HY_CHECK_EQ(create(&code, mechanisms[m], 0), 0);
        for (unsigned round = 0; round < 3; round++) {
            for (unsigned n = 0; n < COUNT; n++)
                HY_CHECK_EQ(compile(&k[n], code, e), 0);
            for (unsigned n = 0; n < COUNT; n++)
                HY_CHECK_EQ(run(k[n], (int32_t)n), (int32_t)(n * 3 + 7));
            if (round == 0)
                used = stats_of(code).used_bytes;
            HY_CHECK_EQ(stats_of(code).used_bytes, used);
            HY_CHECK_EQ(stats_of(code).kernels, COUNT);
            /* Every other one first, so that there are gaps. */
            for (unsigned n = 0; n < COUNT; n += 2)
                hy_kernel_release(k[n]);
            for (unsigned n = 1; n < COUNT; n += 2)
                HY_CHECK_EQ(run(k[n], 1), 10);
            for (unsigned n = 1; n < COUNT; n += 2)
                hy_kernel_release(k[n]);
        }
        HY_CHECK_EQ(stats_of(code).kernels, 0);
        HY_CHECK_EQ(stats_of(code).used_bytes, 0);
        HY_CHECK_EQ(stats_of(code).published, 3 * COUNT);
        HY_CHECK(stats_of(code).regions <= 1);
        hy_code_destroy(code);
    }
    hy_expr_destroy(e);
}

HY_TEST(jit_code, the_limit_holds)
{
    hy_expr *e = parse("b + 1");

    for (unsigned m = 0; m < 2 && is_native(); m++) {
        hy_code *code;
        hy_kernel *k[64], *more;
        unsigned n = 0;
        int r = 0;

        if (!(hy_code_caps() & mechanisms[m]))
            continue;
        HY_CHECK_EQ(create(&code, mechanisms[m], 8192), 0);
        while (n < 64 && (r = compile(&k[n], code, e)) == 0)
            n++;
        HY_CHECK_EQ(r, -ENOSPC);
        HY_CHECK(n >= 2 && stats_of(code).mapped_bytes <= 8192);
        HY_CHECK_EQ(hy_expr_compile(&more, code, e, NULL), 0);
        HY_CHECK_EQ(hy_kernel_backend(more), HY_EXPR_INTERPRETER);
        hy_kernel_release(more);
        hy_kernel_release(k[0]);
        HY_CHECK_EQ(compile(&k[0], code, e), 0);
        while (n-- > 0)
            hy_kernel_release(k[n]);
        hy_code_destroy(code);
        HY_CHECK_EQ(create(&code, mechanisms[m], 100), 0);
        HY_CHECK_EQ(compile(&more, code, e), -ENOSPC);
        hy_code_destroy(code);
    }
    hy_expr_destroy(e);
}

/* ---- failing calls ------------------------------------------------------- */

HY_TEST(jit_code, probing_finds_what_is_refused)
{
    unsigned caps = hyi_code_probe() & (HY_CODE_DUAL | HY_CODE_TOGGLE);

    if (caps == 0)
        return;
    hy_fail_from(HY_FAIL_MEMFD_CREATE, 1, ENOSYS);
    HY_CHECK_EQ(hyi_code_probe() & HY_CODE_DUAL, 0);
    hy_fail_none();
    hy_fail_from(HY_FAIL_FTRUNCATE, 1, EINVAL);
    HY_CHECK_EQ(hyi_code_probe() & HY_CODE_DUAL, 0);
    hy_fail_none();
    hy_fail_from(HY_FAIL_MADVISE, 1, EINVAL);
    HY_CHECK_EQ(hyi_code_probe() & HY_CODE_DUAL, 0);
    hy_fail_none();
    hy_fail_from(HY_FAIL_MPROTECT, 1, EACCES);
    HY_CHECK_EQ(hyi_code_probe() & HY_CODE_TOGGLE, 0);
    hy_fail_none();
    hy_fail_from(HY_FAIL_MMAP, 1, EPERM);
    HY_CHECK_EQ(hyi_code_probe(), HY_CODE_NONE);
    hy_fail_none();
    for (unsigned nth = 1; nth <= 4; nth++) {
        unsigned found;

        hy_fail_at(HY_FAIL_MMAP, nth, ENOMEM);
        found = hyi_code_probe();
        if (hy_fail_hits() != 0 && nth <= 2)
            HY_CHECK_EQ(found & HY_CODE_DUAL, 0);
        hy_fail_none();
    }
    HY_CHECK_EQ(hyi_code_probe() & caps, caps);
}

static void check_failing(unsigned mechanism, enum hy_fail_call call, int error)
{
    hy_expr *e = parse("b + 1");

    for (unsigned nth = 1; nth <= 6; nth++) {
        hy_code *code;
        hy_kernel *k = NULL;
        int r;

        HY_CHECK_EQ(create(&code, mechanism, 0), 0);
        errno = 55;
        hy_fail_at(call, nth, error);
        r = compile(&k, code, e);
        HY_CHECK_EQ(errno, 55);
        HY_CHECK_EQ(r, hy_fail_hits() != 0 ? -error : 0);
        HY_CHECK((k != NULL) == (r == 0));
        hy_fail_none();
        hy_kernel_release(k);
        hy_fail_at(call, nth, error);
        HY_CHECK_EQ(hy_expr_compile(&k, code, e, NULL),
                    call == HY_FAIL_CALLOC && nth == 1 ? -ENOMEM : 0);
        hy_fail_none();
        if (!(call == HY_FAIL_CALLOC && nth == 1)) {
            HY_CHECK_EQ(run(k, 4), 5);
            hy_kernel_release(k);
        }
        hy_code_destroy(code);
    }
    hy_expr_destroy(e);
}

HY_TEST(jit_code, refused_system_calls_are_errors)
{
    if (!is_native())
        return;
    if (hy_code_caps() & HY_CODE_DUAL) {
        check_failing(HY_CODE_DUAL, HY_FAIL_MEMFD_CREATE, EMFILE);
        check_failing(HY_CODE_DUAL, HY_FAIL_FTRUNCATE, ENOSPC);
        check_failing(HY_CODE_DUAL, HY_FAIL_MMAP, ENOMEM);
        check_failing(HY_CODE_DUAL, HY_FAIL_MADVISE, EINVAL);
        check_failing(HY_CODE_DUAL, HY_FAIL_CALLOC, ENOMEM);
    }
    if (hy_code_caps() & HY_CODE_TOGGLE) {
        check_failing(HY_CODE_TOGGLE, HY_FAIL_MMAP, ENOMEM);
        check_failing(HY_CODE_TOGGLE, HY_FAIL_MPROTECT, EACCES);
        check_failing(HY_CODE_TOGGLE, HY_FAIL_CALLOC, ENOMEM);
    }
}

HY_TEST(jit_code, no_memory_for_a_code)
{
    hy_code *code = NULL;

    hy_fail_at(HY_FAIL_CALLOC, 1, ENOMEM);
    errno = 55;
    HY_CHECK_EQ(hy_code_create(&code, NULL), -ENOMEM);
    HY_CHECK_EQ(errno, 55);
    hy_fail_none();
    HY_CHECK(code == NULL);
}

/* ---- fork ---------------------------------------------------------------- */

struct family {
    hy_expr *expr;
    hy_code *code;
    hy_kernel *kernel;
    hy_expr *other;
    const void *write;
};

/* Where a leak checker in the child finds what the parent still has. */
static struct family *volatile held;

/*
 * Compiles beside the inherited kernel, puts something else where the writable
 * view was, and gives everything back.
 */
static void be_a_child(void *arg)
{
    struct family *f = arg;
    const bool is_dual = f->write != f->kernel->span.execute;
    void *write = (void *)(uintptr_t)f->write;
    hy_kernel *k[8];
    char rights[5];

    if (run(f->kernel, 1) != 8)
        _exit(2);
    if (is_dual && rights_of(f->write, rights))
        _exit(3);
    if (is_dual &&
        mmap(write, 4096, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != write)
        _exit(4);
    for (unsigned n = 0; n < 8; n++)
        if (compile(&k[n], f->code, f->other) != 0 || run(k[n], 9) != 1009)
            _exit(5);
    if (run(f->kernel, 1) != 8)
        _exit(6);
    hy_kernel_release(f->kernel);
    for (unsigned n = 0; n < 8; n++)
        hy_kernel_release(k[n]);
    hy_code_destroy(f->code);
    if (is_dual && !rights_of(f->write, rights))
        _exit(7);
}

HY_TEST(jit_code, a_child_does_not_change_its_parents_code)
{
    hy_expr *e = parse("b * 7 + 1");

    for (unsigned m = 0; m < 2 && is_native(); m++) {
        static struct family f;

        if (!(hy_code_caps() & mechanisms[m]))
            continue;
        f.expr = e;
        f.other = parse("b + 1000");
        held = &f;
        HY_CHECK_EQ(create(&f.code, mechanisms[m], 0), 0);
        HY_CHECK_EQ(compile(&f.kernel, f.code, e), 0);
        f.write = hyi_code_span_view(&f.kernel->span)->write;
        HY_CHECK_EQ(hy_test_child(be_a_child, &f), 0);
        for (int32_t b = 0; b < 100; b++)
            HY_CHECK_EQ(run(f.kernel, b), b * 7 + 1);
        hy_kernel_release(f.kernel);
        hy_code_destroy(f.code);
        hy_expr_destroy(f.other);
    }
    hy_expr_destroy(e);
}

static int to_parent[2], to_child[2];

static void wait_and_run(void *arg)
{
    struct family *f = arg;
    char c = 'r';

    if (write(to_parent[1], &c, 1) != 1 || read(to_child[0], &c, 1) != 1)
        _exit(5);
    for (int32_t b = 0; b < 100; b++)
        if (run(f->kernel, b) != b * 7 + 1)
            _exit(6);
}

/* The other way round: the parent releases what the child still runs. */
HY_TEST(jit_code, a_parent_does_not_change_its_childs_code)
{
    hy_expr *e = parse("b * 7 + 1");

    for (unsigned m = 0; m < 2 && is_native(); m++) {
        static struct family f;
        enum { MORE = 600 }; /* more than a region holds */
        static hy_kernel *k[MORE];
        int status;
        char c;
        pid_t child;

        if (!(hy_code_caps() & mechanisms[m]))
            continue;
        f.expr = e;
        f.other = parse("b + 1000");
        held = &f;
        HY_CHECK_EQ(create(&f.code, mechanisms[m], 0), 0);
        HY_CHECK_EQ(compile(&f.kernel, f.code, e), 0);
        HY_CHECK(pipe(to_parent) == 0 && pipe(to_child) == 0);
        child = fork();
        if (child == 0) {
            wait_and_run(&f);
            _exit(0);
        }
        HY_CHECK_EQ(read(to_parent[0], &c, 1), 1);
        hy_kernel_release(f.kernel);
        for (unsigned n = 0; n < MORE; n++)
            HY_CHECK_EQ(compile(&k[n], f.code, f.other), 0);
        for (unsigned n = 0; n < MORE; n++)
            HY_CHECK_EQ(run(k[n], 9), 1009);
        HY_CHECK_EQ(write(to_child[1], "g", 1), 1);
        HY_CHECK(waitpid(child, &status, 0) == child);
        HY_CHECK_EQ(status, 0);
        for (unsigned n = 0; n < MORE; n++)
            hy_kernel_release(k[n]);
        hy_code_destroy(f.code);
        hy_expr_destroy(f.other);
        for (int n = 0; n < 2; n++)
            close(to_parent[n]), close(to_child[n]);
    }
    hy_expr_destroy(e);
}

/* ---- threads ------------------------------------------------------------- */

static hy_code *shared_code;
static hy_expr *shared_expr;

static void *compile_and_run(void *arg)
{
    intptr_t bad = 0;

    for (int n = 0; n < 2000; n++) {
        hy_kernel *k[4];

        for (int i = 0; i < 4; i++)
            bad += hy_expr_compile(&k[i], shared_code, shared_expr, NULL) != 0;
        for (int i = 0; i < 4; i++) {
            bad += run(k[i], n) != n * 7 + 1;
            hy_kernel_release(k[i]);
        }
    }
    return arg = (void *)bad;
}

HY_TEST(jit_code, threads_share_code_and_expressions)
{
    pthread_t t[3];

    HY_CHECK_EQ(hy_code_create(&shared_code, NULL), 0);
    shared_expr = parse("b * 7 + 1");
    for (int n = 0; n < 3; n++)
        HY_CHECK_EQ(pthread_create(&t[n], NULL, compile_and_run, NULL), 0);
    for (int n = 0; n < 3; n++) {
        void *bad;

        pthread_join(t[n], &bad);
        HY_CHECK(bad == NULL);
    }
    HY_CHECK_EQ(stats_of(shared_code).kernels, 0);
    hy_expr_destroy(shared_expr);
    hy_code_destroy(shared_code);
}
