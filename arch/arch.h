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

#include <fenv.h>
#include <stdatomic.h>
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

/*
 * One more, in a counter that one thread alone writes and others may read at
 * any time: a relaxed load and store, in one instruction where there is one.
 */
static inline void hy_arch_count(_Atomic uint64_t *counter)
{
#if !defined(HY_NO_ASM) && defined(__x86_64__)
    uint64_t *word = (uint64_t *)(void *)counter;

    __asm__("addq $1, %0" : "+m"(*word) : : "cc");
#else
    atomic_store_explicit(
        counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
        memory_order_relaxed);
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

/*
 * Whether hy_arch_ticks may serve as a clock: it rises at one rate on all
 * processors, whatever their frequency, and goes on while they sleep. True:
 * *rate is its ticks in a second, or 0 where the machine does not say.
 */
bool hy_arch_ticks_steady(uint64_t *rate);

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

/*
 * Where libc has no ucontext, the portable half makes each context a thread
 * (generic/switch_threads.c), which keeps its own thread-local variables and
 * its own signal mask.
 */
#if defined(HY_CONTEXT_THREADS)
enum { HY_ARCH_THREADS = 1 };
#else
enum { HY_ARCH_THREADS = 0 };
#endif

/*
 * Prepares a context on the stack [stack, stack + bytes), bytes >= 512: the
 * first switch to it calls entry(arg, value), which never returns. Gives the
 * stack pointer to switch to. Writes only to the stack's upper end. (generic:
 * keeps a ucontext_t there, and needs 16 KiB; NULL when it cannot have a
 * thread.)
 */
void *hy_arch_context_make(void *stack, size_t bytes,
                           void (*entry)(void *arg, void *value), void *arg);

/*
 * Saves what a called function must keep on the current stack, its pointer in
 * *from, and continues what was saved at to; there the switch returns value.
 * Before: to came from hy_arch_context_make or from an earlier switch, and has
 * not been continued since. A signal may arrive at any instruction: all that
 * is live lies above the stack pointer.
 */
void *hy_arch_switch(void **from, void *to, void *value);

/*
 * The same between the fibers of a scheduler, without a value. main NULL: to
 * is what an earlier hop saved. Otherwise to is the upper end, a multiple of
 * 64, of a stack nobody is on: main() is called there, and what it returns, an
 * earlier hop's, is continued when it does. So a stack begins with a call that
 * a return answers, and the return predictor stays in step from a hop to a new
 * stack until the hop back.
 */
void hy_arch_hop(void **from, void *to, void *(*main)(void));

#if defined(HY_CONTEXT_THREADS)
/*
 * Comes before a hop to a new stack with the upper end top. False: there is no
 * thread to be had now.
 */
bool hy_arch_hop_prepare(void *top);

/* What a thread carries, whoever it makes run carries too. */
void hy_arch_hop_carry(void *word);
void *hy_arch_hop_carried(void);

/* Ends the thread of what a hop saved at sp, after a call of last() there. */
void hy_arch_hop_drop(void *sp, void (*last)(void));
#else
static inline bool hy_arch_hop_prepare(void *top)
{
    (void)top;
    return true;
}

static inline void hy_arch_hop_carry(void *word)
{
    (void)word;
}

static inline void *hy_arch_hop_carried(void)
{
    return NULL;
}

static inline void hy_arch_hop_drop(void *sp, void (*last)(void))
{
    (void)sp;
    (void)last;
}
#endif

/*
 * The place in hy_arch_hop where a context goes on that an earlier hop saved,
 * with its stack pointer in place and no other register loaded. A debugger that
 * sets these two has the context before it: the unwind information knows the
 * rest. (generic: a zero byte, no code.)
 */
extern const unsigned char hy_arch_hop_resumed[];

/* The smallest stack that is of use, with what a suspended fiber keeps on it.
   (generic: two ucontext_t, which are 9 KiB on some machines.) */
#if !defined(HY_NO_ASM) && (defined(__x86_64__) || defined(__aarch64__))
enum { HY_ARCH_STACK_BYTES_LEAST = 4 << 10 };
#else
enum { HY_ARCH_STACK_BYTES_LEAST = 16 << 10 };
#endif

/*
 * Prepares a context for the switch of include/hyperion/inline/context.h on the
 * same kind of stack: writes the four words of a hy_inline_context. False where
 * there is no such switch; nothing is written then.
 */
bool hy_arch_inline_make(void *words[4], void *stack, size_t bytes,
                         void (*entry)(void *arg, void *value), void *arg);

/*
 * True when the processor keeps a second stack of return addresses for this
 * thread, which no switch here exchanges.
 */
static inline bool hy_arch_shadow_stack(void)
{
#if !defined(HY_NO_ASM) && defined(__x86_64__)
    uint64_t shadow = 0;

    /* rdsspq %rax: does nothing unless there is one. */
    __asm__ volatile(".byte 0xf3, 0x48, 0x0f, 0x1e, 0xc8" : "+a"(shadow));
    return shadow != 0;
#elif !defined(HY_NO_ASM) && defined(__aarch64__)
    register uint64_t feature __asm__("x16") = 1;

    /* chkfeat x16: clears the bit of what is enabled, here GCS. */
    __asm__ volatile("hint #40" : "+r"(feature));
    return feature == 0;
#else
    return false;
#endif
}

/*
 * The floating-point environment: rounding and exception masks (and the flags
 * that MXCSR has besides); of the portable half, rounding alone. It stays in
 * memory, where the processor wants it: a word put together out of its parts
 * costs 2 ns.
 */
struct hy_arch_fp_env {
    uint32_t control; /* MXCSR, FPCR, or what fegetround says */
    uint16_t x87;
};

static inline void hy_arch_fp_env_save(struct hy_arch_fp_env *env)
{
#if !defined(HY_NO_ASM) && defined(__x86_64__)
    __asm__ volatile("stmxcsr %0\n"
                     "fnstcw %1"
                     : "=m"(env->control), "=m"(env->x87));
#elif !defined(HY_NO_ASM) && defined(__aarch64__)
    uint64_t fpcr;

    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    env->control = (uint32_t)fpcr;
#else
    env->control = (uint32_t)fegetround();
#endif
}

static inline void hy_arch_fp_env_load(const struct hy_arch_fp_env *env)
{
#if !defined(HY_NO_ASM) && defined(__x86_64__)
    uint16_t now;

    __asm__ volatile("ldmxcsr %1\n"
                     "fnstcw %0"
                     : "=m"(now)
                     : "m"(env->control));
    if (__builtin_expect(now != env->x87,
                         0)) /* a load is dear, a look is not */
        __asm__ volatile("fldcw %0" : : "m"(env->x87));
#elif !defined(HY_NO_ASM) && defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)env->control));
#else
    fesetround((int)env->control);
#endif
}

/* The same in one word. */
static inline uint64_t hy_arch_fp_env_get(void)
{
    struct hy_arch_fp_env env = {0, 0};

    hy_arch_fp_env_save(&env);
    return (uint64_t)env.x87 << 32 | env.control;
}

static inline void hy_arch_fp_env_set(uint64_t word)
{
    struct hy_arch_fp_env env = {(uint32_t)word, (uint16_t)(word >> 32)};

    hy_arch_fp_env_load(&env);
}

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

    /* A bit for each of 64 bytes, the first lowest. word: letters and digits of
     * ASCII; high: bytes above 0x7f. */
    void (*classify)(const char *text, uint64_t *word, uint64_t *high);
};

extern const struct hy_arch_vec hy_arch_vec_scalar; /* the oracle */

/* The best table for these features, a subset of hy_arch_cpu_features(). */
const struct hy_arch_vec *hy_arch_vec_select(unsigned features);

/* ==== jit_encode.c: machine code out of expressions ====================== */

/*
 * An expression is a list of typed values in the order in which they are
 * computed; lib/jit makes it, assigns registers, and calls the functions below
 * once for each value. A port knows encodings, and nothing of parsing, lifetime
 * or spilling.
 *
 * A kernel computes a group of elements at a time, one vector register for
 * four bytes an element, a pair for eight:
 *
 *      F32 I32 U8 TRUTH   | e0 e1 .. e(lanes-1) |          U8 as 0..255 in 32
 *      F64 I64            | first half | second half |     bits, TRUTH as 0 or
 *                                                          all ones in 32 bits
 *
 * With jit->vector false the same code computes one element, in lane 0 of one
 * register; what the other lanes hold is never seen.
 */
enum hy_arch_jit_type {
    HY_ARCH_JIT_F32 = 1, /* as enum hy_type */
    HY_ARCH_JIT_F64,
    HY_ARCH_JIT_I32,
    HY_ARCH_JIT_I64,
    HY_ARCH_JIT_U8,
    HY_ARCH_JIT_TRUTH,
    HY_ARCH_JIT_TYPES
};

enum hy_arch_jit_op {
    HY_ARCH_JIT_COLUMN, /* a: which; u8 columns give U8 */
    HY_ARCH_JIT_PARAM,  /* a: which */
    HY_ARCH_JIT_CONST,  /* a: which of the constants */
    HY_ARCH_JIT_ADD,    /* from here on a, b, c: values; F32 F64 I32 I64 */
    HY_ARCH_JIT_SUB,
    HY_ARCH_JIT_MUL,
    HY_ARCH_JIT_DIV,
    HY_ARCH_JIT_MOD, /* I32 I64 */
    HY_ARCH_JIT_MIN, /* a < b ? a : b */
    HY_ARCH_JIT_MAX, /* a > b ? a : b */
    HY_ARCH_JIT_NEG,
    HY_ARCH_JIT_ABS,
    HY_ARCH_JIT_SQRT, /* F32 F64 */
    HY_ARCH_JIT_EQ,   /* from: the operands' type; gives TRUTH */
    HY_ARCH_JIT_NE,
    HY_ARCH_JIT_LT,
    HY_ARCH_JIT_LE,
    HY_ARCH_JIT_AND, /* of TRUTH */
    HY_ARCH_JIT_OR,
    HY_ARCH_JIT_NOT,
    HY_ARCH_JIT_SELECT, /* a (TRUTH) ? b : c */
    HY_ARCH_JIT_CVT,    /* from: the operand's type */
    HY_ARCH_JIT_OPS
};

struct hy_arch_jit_node {
    uint8_t op, type, from;
    uint8_t uses;     /* 0, 1, or 2 for more */
    uint16_t a, b, c; /* operands; unused ones repeat a */
    uint16_t last;    /* the last value that uses this one; itself if none */
};

/* Registers of one value; second is unused for 4-byte types and elements. */
struct hy_arch_jit_reg {
    uint8_t first, second;
};

enum { HY_ARCH_JIT_POOL = 128 };

/* One emission. The caller sets start, at, end and zeroes the rest. */
struct hy_arch_jit {
    uint8_t *start, *at, *end;
    bool vector;       /* a group, or one element */
    bool full;         /* something did not fit: the code is useless */
    uint8_t pointers;  /* columns whose addresses stay in registers */
    unsigned frame_at; /* where the frame's size is patched in, twice */
    unsigned frame_end_at;
    uint8_t *loop, *skip; /* of the loop being emitted */
    unsigned pool_count;
    uint64_t pool[HY_ARCH_JIT_POOL];     /* constants, behind the code */
    uint32_t pool_use[HY_ARCH_JIT_POOL]; /* the last place that refers to one;
                                            it holds the place before; 0 ends */
};

/* What registers there are. */
struct hy_arch_jit_shape {
    uint32_t registers; /* bit n: vector register n may hold a value */
    unsigned lanes;     /* elements of a group: 8 or 4 */
    unsigned hoist;     /* of them for constants and parameters in a loop */
    unsigned pointers;  /* column addresses kept in registers */
    unsigned frame_max; /* bytes of stack that the frame may have */
    unsigned scratch;   /* the first bytes of a frame, for the port itself */
};

/* False when features hold no back end; *out is untouched then. */
bool hy_arch_jit_shape(unsigned features, struct hy_arch_jit_shape *out);

/*
 * int eval(columns, params, out, count): entry with landing pad; loads the
 * addresses of columns[0 .. count) into registers. The caller then emits
 * hoisted values, a vector loop and an element loop.
 */
void hy_arch_jit_eval_begin(struct hy_arch_jit *jit, const uint16_t *columns,
                            unsigned count);
void hy_arch_jit_eval_end(struct hy_arch_jit *jit);

/* A loop over what is left of count, by groups or by elements. */
void hy_arch_jit_loop_begin(struct hy_arch_jit *jit);
void hy_arch_jit_loop_end(struct hy_arch_jit *jit);

/* int test(columns, params, row): entry; then one element; returns truth. */
void hy_arch_jit_test_begin(struct hy_arch_jit *jit);
void hy_arch_jit_test_end(struct hy_arch_jit *jit, unsigned truth);

/* After begin and end: the frame they share is this large. */
void hy_arch_jit_frame(struct hy_arch_jit *jit, unsigned bytes);

/* pointer: which of the addresses in registers, or -1 to fetch column a's. */
void hy_arch_jit_load(struct hy_arch_jit *jit,
                      const struct hy_arch_jit_node *node, int pointer,
                      uint64_t constant, struct hy_arch_jit_reg to);
void hy_arch_jit_store(struct hy_arch_jit *jit, unsigned type,
                       struct hy_arch_jit_reg from);
void hy_arch_jit_spill(struct hy_arch_jit *jit, unsigned offset, unsigned reg);
void hy_arch_jit_reload(struct hy_arch_jit *jit, unsigned offset, unsigned reg);

/*
 * Computes node into to: registers apart from those of the operands, or the
 * very pair of one operand as wide as the result. A constant or parameter of
 * 8 bytes has both halves in one register, and to is never that one.
 */
void hy_arch_jit_compute(struct hy_arch_jit *jit,
                         const struct hy_arch_jit_node *node,
                         struct hy_arch_jit_reg to, struct hy_arch_jit_reg a,
                         struct hy_arch_jit_reg b, struct hy_arch_jit_reg c);

/* Puts the pool behind the code; afterwards start .. at is complete. */
void hy_arch_jit_finish(struct hy_arch_jit *jit);

/* A byte that, repeated, stops whoever runs into it. */
uint8_t hy_arch_jit_trap(void);

/*
 * A function that returns value, for trying out code memory: at most 32 bytes
 * at to. Returns its length, 0 when there is no back end.
 */
size_t hy_arch_jit_constant(uint8_t *to, uint32_t value);

/* ==== jit_patch.c: rewriting a patch site ================================ */

/*
 * The four forms of include/hyperion/inline/patch.h: a site asks its head or
 * passes it by; a head loads the key or takes the branch.
 */
enum hy_arch_patch {
    HY_ARCH_PATCH_ASKS,
    HY_ARCH_PATCH_PASSES,
    HY_ARCH_PATCH_LOADS,
    HY_ARCH_PATCH_TAKES
};

/* Bytes by which two forms differ, at the address of the site or of the head;
 * 0 where a site is no code that could be rewritten. */
size_t hy_arch_patch_bytes(void);

/* Those bytes, little-endian, for the site or head of a pair. */
uint32_t hy_arch_patch_code(enum hy_arch_patch form, const void *site,
                            const void *head);

/* True when the pair is as the compiler leaves it (asks, loads) and lies so
 * that rewriting it is safe. Reads both. */
bool hy_arch_patch_is_pristine(const void *site, const void *head);

/* True when the vendor permits that one processor stores those bytes while
 * another executes them: it then runs the old form or the new one. */
bool hy_arch_patch_in_place(void);

#endif
