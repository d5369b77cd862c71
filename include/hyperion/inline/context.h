/*
 * inline/context.h - raw contexts whose switch is compiled into its caller: no
 * call, nothing pushed, and of the registers only what is alive at that place.
 * For generators and state machines that switch every few nanoseconds.
 *
 *      suspended:   hy_inline_context | sp | ip | fp | bp |
 *                                       |    |
 *                     its stack <-------'    `--> the instruction after the
 *                     (what was alive lies        switch that suspended it
 *                     in the caller's frame)
 *
 * The switch stores these four words, loads those of the other context, and
 * jumps. Every other register is declared as changed, so that the compiler
 * keeps in its frame what it still needs, at most places next to nothing.
 *
 * It is a type of its own: what hy_inline_context_switch suspended by a jump
 * cannot be resumed by hy_context_switch (hyperion/context.h), which returns;
 * that would put the processor's prediction of returns out of step for every
 * frame above. Use this switch where the code on both sides is C or C++ and is
 * compiled together; use the other one from other languages, through function
 * pointers, and in builds that forbid indirect jumps.
 *
 * What is kept: the stack, and what the program can see of its own variables.
 * What is not: the signal mask, errno, the floating-point environment (MXCSR,
 * x87 control word, FPCR: whoever changes it puts it back before switching),
 * AMX and SME state, the C++ exceptions in flight (do not switch inside a catch
 * block). Exceptions that are thrown and caught on one context, with switches
 * between, work. Unwind information is true at every instruction, so signals
 * may arrive, debuggers look, and profilers sample at any time; nothing is
 * written below the stack pointer.
 *
 * Threads and signals: a context belongs to the thread it was first switched
 * to, unless the code on it keeps nothing of that thread; compilers keep
 * addresses of thread-local variables across a switch. A signal handler must
 * not switch away from the code that it interrupted. Inside a fiber
 * (hyperion/fiber.h) contexts work as long as the fiber does not park on a
 * context's stack.
 *
 * Sanitizers: ASan and TSan must be told of the stacks by the caller
 * (__sanitizer_start_switch_fiber, __tsan_switch_to_fiber). Shadow stacks are
 * not switched: with one, hy_inline_context_make gives -ENOTSUP.
 *
 * AVX-512: in a file compiled for it (-mavx512f) all is well. With gcc, a
 * function that has AVX-512 by a target attribute alone must call
 * hy_inline_context_switch_avx512 instead, because gcc does not let others name
 * the registers that such a function has besides.
 *
 * x86-64 and AArch64 on ELF systems. Elsewhere, and with HY_NO_ASM, the same
 * functions stand over hy_context_switch. All files of a program that hand a
 * context to each other must agree in that.
 *
 * C11 and C++11, gcc and clang.
 */
#ifndef HYPERION_INLINE_CONTEXT_H
#define HYPERION_INLINE_CONTEXT_H

#include <hyperion/context.h>

/** HY_INLINE_CONTEXT_NATIVE is 1 where the switch is a jump, and 0 where it
 * stands over hy_context_switch. */
#if defined(__GNUC__) && defined(__ELF__) && defined(__LP64__) &&              \
    !defined(HY_NO_ASM) && (defined(__x86_64__) || defined(__AARCH64EL__))
#define HY_INLINE_CONTEXT_NATIVE 1
#else
#define HY_INLINE_CONTEXT_NATIVE 0
#endif

#define HY_INLINE_CONTEXT_LAYOUT_OUTER 0x100u /**< sp as in hy_context */
#define HY_INLINE_CONTEXT_LAYOUT_JUMP  0x101u /**< four words, as above */

/** What this header uses: told to the library, which refuses what it does not
 * know. */
#define HY_INLINE_CONTEXT_LAYOUT                                               \
    (HY_INLINE_CONTEXT_LAYOUT_OUTER + HY_INLINE_CONTEXT_NATIVE)

HY_BEGIN_DECLS

/** A suspended flow of control. It may be moved while it is suspended. */
typedef struct hy_inline_context {
    void *sp; /**< private: stack pointer */
    void *ip; /**< private: where it goes on */
    void *fp; /**< private: rbp, x29 */
    void *bp; /**< private: rbx, x19, which compilers use as a second frame
                   pointer in some functions and then cannot spill */
} hy_inline_context;

/**
 * What hy_inline_context_make calls; layout is HY_INLINE_CONTEXT_LAYOUT.
 * @return as hy_inline_context_make, and -EPROTO when the library does not
 * know the layout: it is older than the header, or for another machine.
 */
HY_API int hy_inline_context_prepare(hy_inline_context *ctx, void *stack,
                                     size_t bytes,
                                     void (*entry)(void *arg, void *value),
                                     void *arg, unsigned layout);

/**
 * Prepares a context: the first switch to it calls entry(arg, value), value
 * being what was passed to the switch. entry must never return; it ends by
 * switching away for good. Backtraces end at entry. The memory stays the
 * caller's, and may be used again when nobody will switch to the context any
 * more. Any thread; not from a signal handler.
 * @param stack lowest address of the stack.
 * @param bytes its size, 2,048 at least (16 KiB with HY_NO_ASM). Signal
 * handlers run on it, unless they have a stack of their own: then think of at
 * least 8 KiB.
 * @return 0; -EINVAL for a missing pointer or too small a stack; -ENOTSUP when
 * the thread runs with a shadow stack; -EPROTO when the library does not know
 * this header's layout.
 */
static inline int hy_inline_context_make(hy_inline_context *ctx, void *stack,
                                         size_t bytes,
                                         void (*entry)(void *arg, void *value),
                                         void *arg)
{
    return hy_inline_context_prepare(ctx, stack, bytes, entry, arg,
                                     HY_INLINE_CONTEXT_LAYOUT);
}

/** @cond what the switch is made of */

#if HY_INLINE_CONTEXT_NATIVE

/* inline: the compiler counts the switch as one instruction when it decides
 * what to inline; it would take each line for one. */
#if defined(__clang__)
#if __clang_major__ >= 11
#define HY_INLINE_CONTEXT_ASM_ __asm__ __inline__ __volatile__
#endif
#elif __GNUC__ >= 9
#define HY_INLINE_CONTEXT_ASM_ __asm__ __inline__ __volatile__
#endif
#ifndef HY_INLINE_CONTEXT_ASM_
#define HY_INLINE_CONTEXT_ASM_ __asm__ __volatile__
#endif

/* Unwind directives only where the compiler writes some itself. */
#ifdef __GCC_HAVE_DWARF2_CFI_ASM
#define HY_INLINE_CONTEXT_CFI_(text) text
#else
#define HY_INLINE_CONTEXT_CFI_(text) ""
#endif

/* The labels of this machine's half below: store ours and take the other's
 * stack; take the rest and jump; where the next switch to us lands. */
#define HY_INLINE_CONTEXT_SWITCH_                                              \
    HY_INLINE_CONTEXT_SAVE_                                                    \
    HY_INLINE_CONTEXT_CFI_(HY_INLINE_CONTEXT_THERE_)                           \
    HY_INLINE_CONTEXT_LOAD_                                                    \
    HY_INLINE_CONTEXT_CFI_(".cfi_restore_state\n")                             \
    ".Lhy_switched%=:\n" HY_INLINE_CONTEXT_PAD_

#if defined(__x86_64__)

/*
 * Between the load of the stack pointer and the jump, this code runs on the
 * stack of the context that it resumes. The directives describe it as a
 * function called from there, whose frame is empty:
 *
 *      .cfi_def_cfa rsp, 0
 *      rip = *(rsi + 8) + 1   (unwinders look up the address before)
 *      rbp at rsi + 16, rbx at rsi + 24, r12-r15 untouched
 */
#define HY_INLINE_CONTEXT_THERE_                                               \
    ".cfi_remember_state\n"                                                    \
    ".cfi_def_cfa 7, 0\n"                                                      \
    ".cfi_escape 0x16, 16, 5, 0x74, 8, 0x06, 0x23, 1\n"                        \
    ".cfi_escape 0x10, 6, 2, 0x74, 16\n"                                       \
    ".cfi_escape 0x10, 3, 2, 0x74, 24\n"                                       \
    ".cfi_same_value 12\n"                                                     \
    ".cfi_same_value 13\n"                                                     \
    ".cfi_same_value 14\n"                                                     \
    ".cfi_same_value 15\n"

#if defined(__CET__) && (__CET__ & 1)
#define HY_INLINE_CONTEXT_PAD_ ".byte 0xf3, 0x0f, 0x1e, 0xfa\n" /* endbr64 */
#else
#define HY_INLINE_CONTEXT_PAD_ ""
#endif

#define HY_INLINE_CONTEXT_SAVE_                                                \
    "{leaq .Lhy_switched%=(%%rip), %%rdx|"                                     \
    "lea rdx, .Lhy_switched%=[rip]}\n"                                         \
    "{movq %%rsp, (%%rdi)|mov [rdi], rsp}\n"                                   \
    "{movq %%rdx, 8(%%rdi)|mov [rdi + 8], rdx}\n"                              \
    "{movq %%rbp, 16(%%rdi)|mov [rdi + 16], rbp}\n"                            \
    "{movq %%rbx, 24(%%rdi)|mov [rdi + 24], rbx}\n"                            \
    "{movq (%%rsi), %%rsp|mov rsp, [rsi]}\n"
#define HY_INLINE_CONTEXT_LOAD_                                                \
    "{movq 16(%%rsi), %%rbp|mov rbp, [rsi + 16]}\n"                            \
    "{movq 24(%%rsi), %%rbx|mov rbx, [rsi + 24]}\n"                            \
    "{jmpq *8(%%rsi)|jmp [rsi + 8]}\n"

#if defined(__SSE__)
#define HY_INLINE_CONTEXT_SSE_                                                 \
    , "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",  \
        "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
#else
#define HY_INLINE_CONTEXT_SSE_
#endif
#if defined(__MMX__)
#define HY_INLINE_CONTEXT_MMX_                                                 \
    , "mm0", "mm1", "mm2", "mm3", "mm4", "mm5", "mm6", "mm7"
#else
#define HY_INLINE_CONTEXT_MMX_
#endif
#if defined(__SSE__) || defined(__MMX__)
#define HY_INLINE_CONTEXT_X87_                                                 \
    , "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)"
#else
#define HY_INLINE_CONTEXT_X87_
#endif
#define HY_INLINE_CONTEXT_AVX512_                                              \
    , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23",  \
        "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30",         \
        "xmm31", "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"
/* clang takes these names everywhere, and minds them where they mean
 * something. */
#if defined(__AVX512F__) || defined(__clang__)
#define HY_INLINE_CONTEXT_EVEX_ HY_INLINE_CONTEXT_AVX512_
#else
#define HY_INLINE_CONTEXT_EVEX_
#endif
#if defined(__APX_F__)
#define HY_INLINE_CONTEXT_APX_                                                 \
    , "r16", "r17", "r18", "r19", "r20", "r21", "r22", "r23", "r24", "r25",    \
        "r26", "r27", "r28", "r29", "r30", "r31"
#else
#define HY_INLINE_CONTEXT_APX_
#endif

#define HY_INLINE_CONTEXT_CLOBBERS_                                            \
    "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "cc",  \
        "memory" HY_INLINE_CONTEXT_SSE_ HY_INLINE_CONTEXT_MMX_                 \
            HY_INLINE_CONTEXT_X87_ HY_INLINE_CONTEXT_EVEX_                     \
                HY_INLINE_CONTEXT_APX_

#define HY_INLINE_CONTEXT_BODY_(clobbers)                                      \
    HY_INLINE_CONTEXT_ASM_(HY_INLINE_CONTEXT_SWITCH_                           \
                           : "+a"(value), "+D"(from), "+S"(to)                 \
                           :                                                   \
                           : clobbers);                                        \
    return value

#else /* AArch64 */

/*
 * Between the load of the stack pointer and the jump, this code runs on the
 * stack of the context that it resumes: a backtrace from there ends at once.
 */
#define HY_INLINE_CONTEXT_THERE_                                               \
    ".cfi_remember_state\n"                                                    \
    ".cfi_undefined 30\n"

#if defined(__ARM_FEATURE_BTI_DEFAULT)
#define HY_INLINE_CONTEXT_PAD_ "hint #36\n" /* bti j */
#else
#define HY_INLINE_CONTEXT_PAD_ ""
#endif

#define HY_INLINE_CONTEXT_SAVE_                                                \
    "adr x10, .Lhy_switched%=\n"                                               \
    "mov x9, sp\n"                                                             \
    "stp x9, x10, [x1]\n"                                                      \
    "stp x29, x19, [x1, #16]\n"                                                \
    "ldp x9, x16, [x2]\n"                                                      \
    "mov sp, x9\n"
#define HY_INLINE_CONTEXT_LOAD_                                                \
    "ldp x29, x19, [x2, #16]\n"                                                \
    "br x16\n"

/* x18 is an ordinary register but where the platform reserves it. */
#if defined(__ANDROID__) || defined(__Fuchsia__)
#define HY_INLINE_CONTEXT_X18_
#else
#define HY_INLINE_CONTEXT_X18_ , "x18"
#endif
#if defined(__ARM_FEATURE_SVE)
#define HY_INLINE_CONTEXT_SVE_                                                 \
    , "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9", "p10",       \
        "p11", "p12", "p13", "p14", "p15"
#else
#define HY_INLINE_CONTEXT_SVE_
#endif

#define HY_INLINE_CONTEXT_CLOBBERS_                                            \
    "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13",      \
        "x14", "x15", "x16", "x17", "x20", "x21", "x22", "x23", "x24", "x25",  \
        "x26", "x27", "x28", "x30", "v0", "v1", "v2", "v3", "v4", "v5", "v6",  \
        "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16",     \
        "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26",  \
        "v27", "v28", "v29", "v30", "v31", "cc",                               \
        "memory" HY_INLINE_CONTEXT_X18_ HY_INLINE_CONTEXT_SVE_

#define HY_INLINE_CONTEXT_BODY_(clobbers)                                      \
    register void *x0 __asm__("x0") = value;                                   \
    register hy_inline_context *x1 __asm__("x1") = from;                       \
    register hy_inline_context *x2 __asm__("x2") = to;                         \
                                                                               \
    HY_INLINE_CONTEXT_ASM_(HY_INLINE_CONTEXT_SWITCH_                           \
                           : "+r"(x0), "+r"(x1), "+r"(x2)                      \
                           :                                                   \
                           : clobbers);                                        \
    return x0

#endif

#else

#define HY_INLINE_CONTEXT_BODY_(clobbers)                                      \
    return hy_context_switch((hy_context *)&from->sp, (hy_context *)&to->sp,   \
                             value)

#endif

/** @endcond */

/**
 * Suspends the caller into *from and resumes *to, which must be suspended by
 * this switch or made by hy_inline_context_make, and which goes on with value.
 * Threads and signals as said above.
 * @return the value passed by the switch that resumes the caller.
 */
static inline __attribute__((always_inline)) void *
hy_inline_context_switch(hy_inline_context *from, hy_inline_context *to,
                         void *value)
{
    HY_INLINE_CONTEXT_BODY_(HY_INLINE_CONTEXT_CLOBBERS_);
}

/**
 * hy_inline_context_switch for a function that has AVX-512 by an attribute of
 * its own, target("avx512f"), in a file that is not compiled for it.
 */
#if HY_INLINE_CONTEXT_NATIVE && defined(__x86_64__) &&                         \
    !defined(__AVX512F__) && !defined(__clang__)
__attribute__((target("avx512f")))
#endif
static inline __attribute__((always_inline)) void *
hy_inline_context_switch_avx512(hy_inline_context *from, hy_inline_context *to,
                                void *value)
{
#if HY_INLINE_CONTEXT_NATIVE && defined(__x86_64__) &&                         \
    !defined(__AVX512F__) && !defined(__clang__)
    HY_INLINE_CONTEXT_BODY_(
        HY_INLINE_CONTEXT_CLOBBERS_ HY_INLINE_CONTEXT_AVX512_);
#else
    return hy_inline_context_switch(from, to, value);
#endif
}

HY_END_DECLS

#endif
