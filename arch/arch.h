/*
 * arch.h - the contract that every instruction set fulfils. A port is a folder
 * beside this file with the same file names in it; README.md shows the grid.
 * arch/generic fulfils the contract in portable C: it is the oracle that every
 * kernel is tested against, and all there is under HY_NO_ASM.
 *
 * One section a subject. Each function states what must hold before and what
 * holds after. Nothing here keeps state of its own, and nothing includes more
 * than libc, so that base may stand on it.
 */
#ifndef HY_ARCH_H
#define HY_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ==== cpu.c: what this processor can do ================================== */

/* Bits of hy_arch_cpu_features; names of one set never mean another's. */
enum {
    HY_ARCH_AVX2 = 1u << 0,   /* AVX2, FMA, F16C and BMI2, saved by the OS */
    HY_ARCH_AVX512 = 1u << 1, /* AVX-512 F, BW, DQ, VL, saved by the OS */
    HY_ARCH_AVX512VNNI = 1u << 2, /* the byte dot products of AVX-512 */
    HY_ARCH_NEON = 1u << 3,
    HY_ARCH_DOTPROD = 1u << 4 /* NEON's byte dot products */
};

/* Asks the processor each time; callers keep the answer. Any context. */
unsigned hy_arch_cpu_features(void);

/*
 * The levels of this architecture by name, lowest first, each with all the
 * features of those before it; a NULL name ends the list.
 */
struct hy_arch_level {
    const char *name;
    unsigned features;
};

extern const struct hy_arch_level hy_arch_levels[];

/* A hint in a spinning loop. */
static inline void hy_arch_pause(void)
{
#if !defined(HY_NO_ASM) && defined(__x86_64__)
    __asm__ volatile("pause" ::: "memory");
#elif !defined(HY_NO_ASM) && defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory"); /* yield is a no-op on most cores */
#else
    __asm__ volatile("" ::: "memory");
#endif
}

/* A counter that rises at a constant rate, cheaper than the clock; 0 where
 * there is none. */
static inline uint64_t hy_arch_ticks(void)
{
#if !defined(HY_NO_ASM) && defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif !defined(HY_NO_ASM) && defined(__aarch64__)
    uint64_t t;

    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(t));
    return t;
#else
    return 0;
#endif
}

/* ==== fault.c: reading a signal's machine context ======================== */

struct hy_arch_fault {
    void *address; /* that was accessed */
    void *pc, *sp; /* NULL where the machine does not tell */
    bool write;    /* false where the machine does not tell */
};

/*
 * Before: info and context are the siginfo_t and ucontext_t of a SIGSEGV or
 * SIGBUS that the processor raised. After: *out is filled. Async-signal-safe.
 */
void hy_arch_fault_read(struct hy_arch_fault *out, const void *info,
                        const void *context);

/* ==== switch.S: contexts ================================================= */

/* ==== vec_<isa>.c: kernels =============================================== */

/*
 * Before: pointers to n elements (rows: to n at each of count * stride) with
 * the alignment of their type. After: no other byte was read, none but the
 * output written. A batch gives for each row the bits of the single form. f32
 * sums keep to the bound in vec.h and let NaN through; all else is bit for bit
 * what hy_arch_vec_scalar gives.
 */
struct hy_arch_vec {
    float (*dot_f32)(const float *a, const float *b, size_t n);
    float (*l2sq_f32)(const float *a, const float *b, size_t n);

    /* out: a.b, a.a, b.b, each the bits of dot_f32 */
    void (*moments_f32)(const float *a, const float *b, size_t n, float out[3]);

    /* modulo 2^32 */
    int32_t (*dot_i8)(const int8_t *a, const int8_t *b, size_t n);

    void (*dot_f32_batch)(const float *q, const float *rows, size_t stride,
                          size_t count, size_t n, float *out);
    void (*l2sq_f32_batch)(const float *q, const float *rows, size_t stride,
                           size_t count, size_t n, float *out);

    /* dots: q.row; norms: row.row */
    void (*moments_f32_batch)(const float *q, const float *rows, size_t stride,
                              size_t count, size_t n, float *dots,
                              float *norms);
    void (*dot_i8_batch)(const int8_t *q, const int8_t *rows, size_t stride,
                         size_t count, size_t n, int32_t *out);

    /* True when all are finite, and then their smallest and largest (a zero of
     * either sign). Before: n > 0. */
    bool (*range_f32)(const float *x, size_t n, float *low, float *high);

    /* codes[i] = round((x[i] - bias) * inverse) - 128, ties to even; returns
     * their sum. Before: the rounded values lie in 0..255, n <= 2^24. */
    int32_t (*sq8_encode)(const float *x, size_t n, float bias, float inverse,
                          int8_t *codes);

    /* x[i] = bias + scale * (codes[i] + 128), rounded twice */
    void (*sq8_decode)(const int8_t *codes, size_t n, float bias, float scale,
                       float *x);
};

extern const struct hy_arch_vec hy_arch_vec_scalar; /* the oracle */

/* The best table for these features, a subset of hy_arch_cpu_features(). */
const struct hy_arch_vec *hy_arch_vec_select(unsigned features);

/* ==== jit_encode.c: machine code out of expressions ====================== */

/* ==== jit_patch.c: rewriting a patch site ================================ */

#endif
