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

/* ==== switch.S: contexts ================================================= */

/* ==== vec_<isa>.c: kernels =============================================== */

/* ==== jit_encode.c: machine code out of expressions ====================== */

/* ==== jit_patch.c: rewriting a patch site ================================ */

#endif
