/*
 * check_runtime_inline.c - whatever a function keeps in registers is there
 * after an inline switch to a context that fills all of them. Each test keeps
 * more values of one kind than there are registers for them: of a register that
 * the switch does not declare as changed the compiler would make use.
 *
 *      values in -> registers, stack | switch, all registers filled | out,
 * equal
 */
#include <stdint.h>

#include <hyperion/inline/context.h>

#include "arch.h"
#include "hy_test.h"

enum { VALUES = 40, ROUNDS = 20, STACK_BYTES = 16 << 10 };

/* As check_runtime_inline.S knows it. */
static struct {
    hy_inline_context filler, here;
    uint64_t wide, wrong;
} probe;

static char stack[STACK_BYTES] __attribute__((aligned(64)));

#if HY_INLINE_CONTEXT_NATIVE
void check_inline_fill(void *arg, void *value);
#else
static void check_inline_fill(void *arg, void *value)
{
    (void)arg;
    for (;;)
        value = hy_inline_context_switch(&probe.filler, &probe.here,
                                         (void *)((uintptr_t)value + 1));
}
#endif

static void start(int wide)
{
    probe.wide = (uint64_t)wide;
    probe.wrong = 0;
    HY_CHECK_EQ(hy_inline_context_make(&probe.filler, stack, STACK_BYTES,
                                       check_inline_fill, &probe),
                0);
}

static uint64_t draw(void)
{
    static uint64_t state = 7;

    state = state * 6364136223846793005u + 1442695040888963407u;
    return state;
}

/* Stands between a value and the compiler: it must be in a register, and what
 * it is cannot be known. */
#if defined(__x86_64__)
#define FLOAT_REGISTER "x"
#else
#define FLOAT_REGISTER "w"
#endif

#define EIGHT(X, base)                                                         \
    X(base##0)                                                                 \
    X(base##1) X(base##2) X(base##3) X(base##4) X(base##5) X(base##6) X(base##7)
#define FORTY(X) EIGHT(X, a) EIGHT(X, b) EIGHT(X, c) EIGHT(X, d) EIGHT(X, e)

static void keep_integers(const uint64_t *in, uint64_t *out, void **value)
{
#define IN(v)                                                                  \
    uint64_t v = *in++;                                                        \
    __asm__ volatile("" : "+r"(v));
#define OUT(v)                                                                 \
    __asm__ volatile("" : "+r"(v));                                            \
    *out++ = v;
    FORTY(IN)
    *value = hy_inline_context_switch(&probe.here, &probe.filler, *value);
    FORTY(OUT)
#undef IN
#undef OUT
}

static void keep_floats(const double *in, double *out, void **value)
{
#define IN(v)                                                                  \
    double v = *in++;                                                          \
    __asm__ volatile("" : "+" FLOAT_REGISTER(v));
#define OUT(v)                                                                 \
    __asm__ volatile("" : "+" FLOAT_REGISTER(v));                              \
    *out++ = v;
    FORTY(IN)
    *value = hy_inline_context_switch(&probe.here, &probe.filler, *value);
    FORTY(OUT)
#undef IN
#undef OUT
}

HY_TEST(check_inline, integers_are_kept)
{
    uint64_t in[VALUES], out[VALUES];
    void *value = NULL;

    start(0);
    for (int round = 1; round <= ROUNDS; round++) {
        for (int i = 0; i < VALUES; i++) {
            in[i] = draw();
            out[i] = 0;
        }
        keep_integers(in, out, &value);
        for (int i = 0; i < VALUES; i++)
            HY_CHECK_MSG(in[i] == out[i], "value %d", i);
        HY_CHECK_EQ((uintptr_t)value, round);
        HY_CHECK_EQ(probe.wrong, 0);
    }
}

HY_TEST(check_inline, floats_are_kept)
{
    double in[VALUES], out[VALUES];
    void *value = NULL;

    start(0);
    for (int round = 1; round <= ROUNDS; round++) {
        for (int i = 0; i < VALUES; i++) {
            in[i] = (double)draw();
            out[i] = 0;
        }
        keep_floats(in, out, &value);
        for (int i = 0; i < VALUES; i++)
            HY_CHECK_MSG(in[i] == out[i], "value %d", i);
        HY_CHECK_EQ((uintptr_t)value, round);
    }
}

/* One that lives in the frame pointer's register, and frames that move. */
static __attribute__((noinline)) uint64_t keep_frame(size_t bytes, uint64_t x)
{
    _Alignas(64) volatile char aligned[64];
    volatile char *block = __builtin_alloca(bytes);

    aligned[0] = (char)x;
    block[0] = (char)(x + 1);
    hy_inline_context_switch(&probe.here, &probe.filler, NULL);
    if (((uintptr_t)aligned & 63) != 0 || aligned[0] != (char)x)
        return 0;
    return block[0] == (char)(x + 1) ? x : 0;
}

HY_TEST(check_inline, frames_are_kept)
{
    start(0);
    for (uint64_t i = 1; i < 100; i++)
        HY_CHECK_EQ(keep_frame(i * 9, i), i);
    HY_CHECK_EQ(probe.wrong, 0);
}

#if defined(__x86_64__)

/* The x87 stack, and the MMX registers that lie over it. */
static long double keep_x87(const long double *in, void **value)
{
    long double a = in[0], b = in[1], c = in[2], d = in[3], e = in[4];

    __asm__ volatile("" : "+t"(a));
    __asm__ volatile("" : "+t"(b));
    __asm__ volatile("" : "+t"(c));
    __asm__ volatile("" : "+t"(d));
    __asm__ volatile("" : "+t"(e));
    *value = hy_inline_context_switch(&probe.here, &probe.filler, *value);
    __asm__ volatile("" : "+t"(e));
    __asm__ volatile("" : "+t"(d));
    __asm__ volatile("" : "+t"(c));
    __asm__ volatile("" : "+t"(b));
    __asm__ volatile("" : "+t"(a));
    return a + b * 10 + c * 100 + d * 1000 + e * 10000;
}

HY_TEST(check_inline, x87_is_kept)
{
    static const long double in[] = {1, 2, 3, 4, 5};
    void *value = NULL;

    start(0);
    HY_CHECK(keep_x87(in, &value) == 54321);
    HY_CHECK_EQ((uintptr_t)value, 1);
}

typedef int two_ints __attribute__((vector_size(8)));

static void keep_mmx(const uint64_t *in, uint64_t *out, void **value)
{
#define IN(v)                                                                  \
    two_ints v;                                                                \
    __asm__ volatile("movq %1, %0" : "=y"(v) : "m"(*in++));
#define OUT(v) __asm__ volatile("movq %1, %0" : "=m"(*out++) : "y"(v));
    EIGHT(IN, a)
    *value = hy_inline_context_switch(&probe.here, &probe.filler, *value);
    EIGHT(OUT, a)
    __asm__ volatile("emms");
#undef IN
#undef OUT
}

HY_TEST(check_inline, mmx_is_kept)
{
    uint64_t in[8], out[8] = {0};
    void *value = NULL;

    start(0);
    for (int i = 0; i < 8; i++)
        in[i] = draw();
    keep_mmx(in, out, &value);
    for (int i = 0; i < 8; i++)
        HY_CHECK_MSG(in[i] == out[i], "value %d", i);
}

/* What a function compiled for AVX-512 has besides: 16 more vectors, and the
 * upper halves of all; and masks. */
typedef uint64_t wide __attribute__((vector_size(64), aligned(8)));

__attribute__((target("avx512f"))) static void
keep_wide(const wide *in, wide *out, void **value)
{
#define IN(v)                                                                  \
    wide v = *in++;                                                            \
    __asm__ volatile("" : "+v"(v));
#define OUT(v)                                                                 \
    __asm__ volatile("" : "+v"(v));                                            \
    *out++ = v;
    FORTY(IN)
    *value =
        hy_inline_context_switch_avx512(&probe.here, &probe.filler, *value);
    FORTY(OUT)
#undef IN
#undef OUT
}

__attribute__((target("avx512f"))) static void
keep_masks(const uint64_t *in, uint64_t *out, void **value)
{
#define IN(v)                                                                  \
    uint16_t v;                                                                \
    __asm__ volatile("kmovw %1, %0" : "=Yk"(v) : "m"(*in++));
#define OUT(v)                                                                 \
    __asm__ volatile("kmovw %1, %0" : "=m"(*(uint16_t *)out++) : "Yk"(v));
    EIGHT(IN, a)
    *value =
        hy_inline_context_switch_avx512(&probe.here, &probe.filler, *value);
    EIGHT(OUT, a)
#undef IN
#undef OUT
}

HY_TEST(check_inline, avx512_is_kept)
{
    static wide in[VALUES], out[VALUES];
    uint64_t masks[8], masks_out[8] = {0};
    void *value = NULL;

    if ((hy_arch_cpu_features() & HY_ARCH_AVX512) == 0)
        return;
    start(1);
    for (int i = 0; i < VALUES; i++)
        for (int k = 0; k < 8; k++)
            in[i][k] = draw();
    keep_wide(in, out, &value);
    HY_CHECK_EQ(memcmp(in, out, sizeof(in)), 0);
    for (int i = 0; i < 8; i++)
        masks[i] = draw() & 0x7fff;
    keep_masks(masks, masks_out, &value);
    HY_CHECK_EQ(memcmp(masks, masks_out, sizeof(masks)), 0);
    HY_CHECK_EQ((uintptr_t)value, 2);
}

#endif
