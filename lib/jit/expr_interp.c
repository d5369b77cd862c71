/*
 * expr_interp.c - evaluates an expression without generating code, a block of
 * rows at a time, so that each operation is a loop that the compiler
 * vectorises.
 *
 *      16 KiB of stack: | slot 0 | slot 1 | ... |   each holds one block
 *
 *      COLUMN: read where it is     CONST, PARAM: filled once
 *      root:   written to out
 *
 * This file is where the values of api.md are defined; native code agrees with
 * it bit for bit. Columns may have any alignment, so elements are accessed
 * through types of alignment 1.
 *
 * Invariant: an operation writes a slot that none of its operands is in, or
 * (root only) out, which may be the column of the same rows.
 * Upstream: expr_compile.c, expr_build.c (constants). Downstream: libm.
 */
#include <math.h>
#include <string.h>

#include "bits.h"
#include "check.h"
#include "expr.h"

#define ANY __attribute__((aligned(1), may_alias))
typedef float f32 ANY;
typedef double f64 ANY;
typedef int32_t i32 ANY;
typedef int64_t i64 ANY;
typedef uint8_t u8 ANY;
typedef uint8_t truth ANY;

/* An element depends on the same element of its operands and no other. */
#if defined(__GNUC__) && !defined(__clang__)
#define EACH(i, n) _Pragma("GCC ivdep") for (size_t i = 0; i < (n); i++)
#else
#define EACH(i, n) for (size_t i = 0; i < (n); i++)
#endif

/* name: T of A's; x, y and z are the operands' elements. */
#define OPERATION(name, T, A, B, expression)                                   \
    static void name(void *to, const void *pa, const void *pb, const void *pc, \
                     size_t n)                                                 \
    {                                                                          \
        T *d = to;                                                             \
        const A *a = pa;                                                       \
        const B *b = pb, *c = pc;                                              \
                                                                               \
        (void)b, (void)c;                                                      \
        EACH(i, n)                                                             \
        {                                                                      \
            A x = a[i];                                                        \
                                                                               \
            d[i] = (expression);                                               \
        }                                                                      \
    }

/* Integers wrap: the sum of what they are modulo 2^n. */
#define WRAP32(x, op, y)   ((int32_t)((uint32_t)(x)op(uint32_t)(y)))
#define WRAP64(x, op, y)   ((int64_t)((uint64_t)(x)op(uint64_t)(y)))
#define IDENTITY(x, op, y) ((x)op(y))

#define ARITHMETIC(T, OP)                                                      \
    OPERATION(add_##T, T, T, T, OP(x, +, b[i]))                                \
    OPERATION(sub_##T, T, T, T, OP(x, -, b[i]))                                \
    OPERATION(mul_##T, T, T, T, OP(x, *, b[i]))                                \
    OPERATION(min_##T, T, T, T, x < b[i] ? x : b[i])                           \
    OPERATION(max_##T, T, T, T, x > b[i] ? x : b[i])                           \
    OPERATION(eq_##T, truth, T, T, x == b[i])                                  \
    OPERATION(ne_##T, truth, T, T, x != b[i])                                  \
    OPERATION(lt_##T, truth, T, T, x < b[i])                                   \
    OPERATION(le_##T, truth, T, T, x <= b[i])                                  \
    OPERATION(select_##T, T, truth, T, x ? b[i] : c[i])

ARITHMETIC(f32, IDENTITY)
ARITHMETIC(f64, IDENTITY)
ARITHMETIC(i32, WRAP32)
ARITHMETIC(i64, WRAP64)

OPERATION(div_f32, f32, f32, f32, x / b[i])
OPERATION(div_f64, f64, f64, f64, x / b[i])
OPERATION(neg_f32, f32, f32, f32, -x)
OPERATION(neg_f64, f64, f64, f64, -x)
OPERATION(abs_f32, f32, f32, f32, fabsf(x))
OPERATION(abs_f64, f64, f64, f64, fabs(x))
OPERATION(sqrt_f32, f32, f32, f32, sqrtf(x))
OPERATION(sqrt_f64, f64, f64, f64, sqrt(x))

/* Division by 0 gives 0; by -1 the negation, which wraps. */
OPERATION(div_i32, i32, i32, i32,
          b[i] == 0    ? 0
          : b[i] == -1 ? WRAP32(0, -, x)
                       : x / b[i])
OPERATION(div_i64, i64, i64, i64,
          b[i] == 0    ? 0
          : b[i] == -1 ? WRAP64(0, -, x)
                       : x / b[i])
OPERATION(mod_i32, i32, i32, i32, b[i] == 0 || b[i] == -1 ? 0 : x % b[i])
OPERATION(mod_i64, i64, i64, i64, b[i] == 0 || b[i] == -1 ? 0 : x % b[i])
OPERATION(neg_i32, i32, i32, i32, WRAP32(0, -, x))
OPERATION(neg_i64, i64, i64, i64, WRAP64(0, -, x))
OPERATION(abs_i32, i32, i32, i32, x < 0 ? WRAP32(0, -, x) : x)
OPERATION(abs_i64, i64, i64, i64, x < 0 ? WRAP64(0, -, x) : x)

OPERATION(and_truth, truth, truth, truth, x &b[i])
OPERATION(or_truth, truth, truth, truth, x | b[i])
OPERATION(not_truth, truth, truth, truth, x ^ 1)

/* Out of range saturates; NaN is 0. high is one above the largest value. */
#define SATURATE(T, x, low, high, min, max)                                    \
    ((x) >= (high) ? (max) : (x) <= (low) ? (min) : (x) == (x) ? (T)(x) : 0)

OPERATION(i32_of_truth, i32, truth, truth, x)
OPERATION(i32_of_u8, i32, u8, u8, x)
OPERATION(f32_of_i32, f32, i32, i32, (float)x)
OPERATION(f64_of_i32, f64, i32, i32, (double)x)
OPERATION(i64_of_i32, i64, i32, i32, x)
OPERATION(u8_of_i32, u8, i32, i32, (uint8_t)x)
OPERATION(f32_of_i64, f32, i64, i64, (float)x)
OPERATION(f64_of_i64, f64, i64, i64, (double)x)
OPERATION(i32_of_i64, i32, i64, i64, (int32_t)x)
OPERATION(f64_of_f32, f64, f32, f32, (double)x)
OPERATION(i32_of_f32, i32, f32, f32,
          SATURATE(int32_t, x, -0x1p31f, 0x1p31f, INT32_MIN, INT32_MAX))
OPERATION(i64_of_f32, i64, f32, f32,
          SATURATE(int64_t, x, -0x1p63f, 0x1p63f, INT64_MIN, INT64_MAX))
OPERATION(u8_of_f32, u8, f32, f32, SATURATE(uint8_t, x, 0, 255, 0, 255))
OPERATION(f32_of_f64, f32, f64, f64, (float)x)
OPERATION(i32_of_f64, i32, f64, f64,
          SATURATE(int32_t, x, -0x1p31, 0x1p31, INT32_MIN, INT32_MAX))
OPERATION(i64_of_f64, i64, f64, f64,
          SATURATE(int64_t, x, -0x1p63, 0x1p63, INT64_MIN, INT64_MAX))
OPERATION(u8_of_f64, u8, f64, f64, SATURATE(uint8_t, x, 0, 255, 0, 255))

#define BY_TYPE(op)                                                            \
    {                                                                          \
        [HY_ARCH_JIT_F32] = op##_f32, [HY_ARCH_JIT_F64] = op##_f64,            \
        [HY_ARCH_JIT_I32] = op##_i32, [HY_ARCH_JIT_I64] = op##_i64             \
    }

/* By operation and the type it works on. */
static const hyi_expr_function operations[HY_ARCH_JIT_OPS][HY_ARCH_JIT_TYPES] =
    {
        [HY_ARCH_JIT_ADD] = BY_TYPE(add),
        [HY_ARCH_JIT_SUB] = BY_TYPE(sub),
        [HY_ARCH_JIT_MUL] = BY_TYPE(mul),
        [HY_ARCH_JIT_DIV] = BY_TYPE(div),
        [HY_ARCH_JIT_MOD] =
            {[HY_ARCH_JIT_I32] = mod_i32, [HY_ARCH_JIT_I64] = mod_i64},
        [HY_ARCH_JIT_MIN] = BY_TYPE(min),
        [HY_ARCH_JIT_MAX] = BY_TYPE(max),
        [HY_ARCH_JIT_NEG] = BY_TYPE(neg),
        [HY_ARCH_JIT_ABS] = BY_TYPE(abs),
        [HY_ARCH_JIT_SQRT] =
            {[HY_ARCH_JIT_F32] = sqrt_f32, [HY_ARCH_JIT_F64] = sqrt_f64},
        [HY_ARCH_JIT_EQ] = BY_TYPE(eq),
        [HY_ARCH_JIT_NE] = BY_TYPE(ne),
        [HY_ARCH_JIT_LT] = BY_TYPE(lt),
        [HY_ARCH_JIT_LE] = BY_TYPE(le),
        [HY_ARCH_JIT_AND] = {[HY_ARCH_JIT_TRUTH] = and_truth},
        [HY_ARCH_JIT_OR] = {[HY_ARCH_JIT_TRUTH] = or_truth},
        [HY_ARCH_JIT_NOT] = {[HY_ARCH_JIT_TRUTH] = not_truth},
        [HY_ARCH_JIT_SELECT] = BY_TYPE(select),
};

/* By the types converted from and to. */
static const hyi_expr_function
    conversions[HY_ARCH_JIT_TYPES][HY_ARCH_JIT_TYPES] = {
        [HY_ARCH_JIT_TRUTH] = {[HY_ARCH_JIT_I32] = i32_of_truth},
        [HY_ARCH_JIT_U8] = {[HY_ARCH_JIT_I32] = i32_of_u8},
        [HY_ARCH_JIT_I32] = {[HY_ARCH_JIT_F32] = f32_of_i32,
                             [HY_ARCH_JIT_F64] = f64_of_i32,
                             [HY_ARCH_JIT_I64] = i64_of_i32,
                             [HY_ARCH_JIT_U8] = u8_of_i32},
        [HY_ARCH_JIT_I64] = {[HY_ARCH_JIT_F32] = f32_of_i64,
                             [HY_ARCH_JIT_F64] = f64_of_i64,
                             [HY_ARCH_JIT_I32] = i32_of_i64},
        [HY_ARCH_JIT_F32] = {[HY_ARCH_JIT_F64] = f64_of_f32,
                             [HY_ARCH_JIT_I32] = i32_of_f32,
                             [HY_ARCH_JIT_I64] = i64_of_f32,
                             [HY_ARCH_JIT_U8] = u8_of_f32},
        [HY_ARCH_JIT_F64] = {[HY_ARCH_JIT_F32] = f32_of_f64,
                             [HY_ARCH_JIT_I32] = i32_of_f64,
                             [HY_ARCH_JIT_I64] = i64_of_f64,
                             [HY_ARCH_JIT_U8] = u8_of_f64},
};

hyi_expr_function hyi_expr_operation(const struct hy_arch_jit_node *n)
{
    hyi_expr_function f = n->op == HY_ARCH_JIT_CVT
                              ? conversions[n->from][n->type]
                              : operations[n->op][n->from];

    HYI_ASSERT(f != NULL);
    return f;
}

unsigned hyi_expr_bytes(unsigned type)
{
    static const uint8_t bytes[HY_ARCH_JIT_TYPES] = {
        [HY_ARCH_JIT_F32] = 4, [HY_ARCH_JIT_F64] = 8, [HY_ARCH_JIT_I32] = 4,
        [HY_ARCH_JIT_I64] = 8, [HY_ARCH_JIT_U8] = 1,  [HY_ARCH_JIT_TRUTH] = 1};

    return type < HY_ARCH_JIT_TYPES ? bytes[type] : 0;
}

/* One evaluation: where slots are and how long a block is. */
struct run {
    const hy_expr *expr;
    const void *const *columns;
    size_t row; /* first of the block */
    size_t block;
    unsigned char *scratch;
};

static void *slot(const struct run *r, unsigned i)
{
    return r->scratch + (size_t)r->expr->slots[i] * r->block * 8;
}

static const void *value(const struct run *r, unsigned i)
{
    const struct hy_arch_jit_node *n = &r->expr->nodes[i];

    if (n->op != HY_ARCH_JIT_COLUMN)
        return slot(r, i);
    return (const unsigned char *)r->columns[n->a] +
           r->row * hyi_expr_bytes(n->type);
}

/* Repeats the first value of a buffer: by doubling what is there. */
static void repeat(void *to, size_t bytes, size_t count)
{
    size_t total = bytes * count;

    for (size_t done = bytes; done < total;) {
        size_t more = done < total - done ? done : total - done;

        memcpy((char *)to + done, to, more);
        done += more;
    }
}

static void fill_leaves(const struct run *r, unsigned root,
                        const void *const *params, size_t count)
{
    for (unsigned i = 0; i <= root; i++) {
        const struct hy_arch_jit_node *n = &r->expr->nodes[i];
        unsigned bytes = hyi_expr_bytes(n->type);

        if (n->op != HY_ARCH_JIT_PARAM && n->op != HY_ARCH_JIT_CONST)
            continue;
        memcpy(slot(r, i),
               n->op == HY_ARCH_JIT_CONST
                   ? (const void *)&r->expr->constants[n->a]
                   : params[n->a],
               bytes);
        repeat(slot(r, i), bytes, count);
    }
}

static void run_block(const struct run *r, unsigned root, void *out,
                      size_t count)
{
    const struct hy_arch_jit_node *nodes = r->expr->nodes;

    for (unsigned i = 0; i <= root; i++) {
        const struct hy_arch_jit_node *n = &nodes[i];

        if (n->op <= HY_ARCH_JIT_CONST)
            continue;
        hyi_expr_operation(n)(i == root ? out : slot(r, i), value(r, n->a),
                              value(r, n->b), value(r, n->c), count);
    }
    if (nodes[root].op <= HY_ARCH_JIT_CONST)
        memmove(out, value(r, root), count * hyi_expr_bytes(nodes[root].type));
}

void hyi_expr_interpret(const hy_expr *expr, unsigned root,
                        const void *const *columns, const void *const *params,
                        void *out, size_t first, size_t count)
{
    unsigned char scratch[HYI_EXPR_SCRATCH_BYTES] __attribute__((aligned(64)));
    size_t slots = expr->slot_count != 0 ? expr->slot_count : 1;
    size_t block = HYI_EXPR_SCRATCH_BYTES / 8 / slots;
    unsigned bytes = hyi_expr_bytes(expr->nodes[root].type);
    struct run r = {expr, columns, first, block, scratch};

    _Static_assert(HYI_EXPR_NODES_MAX * 8 <= HYI_EXPR_SCRATCH_BYTES,
                   "a block of one row must fit");
    if (block >= 16)
        block = hyi_align_down(block, 8);
    r.block = block;
    fill_leaves(&r, root, params, count < block ? count : block);
    while (count != 0) {
        size_t n = count < block ? count : block;

        run_block(&r, root, out, n);
        r.row += n;
        count -= n;
        out = (char *)out + n * bytes;
    }
}
