/*
 * jit_encode.c - NEON out of typed values. Each function appends the
 * instructions of one value; a template holds all of an instruction but its
 * registers:
 *
 *      template | rm << 16 | rn << 5 | rd
 *
 *      vector registers  0-3 scratch of one value, 4-7 and 16-31 values;
 *                        8-15 belong to the caller and are never touched
 *      x0 columns  x1 parameters  x2 out  x3 count  x4 row  x5 end of groups
 *      x6-x8 scratch  x9-x15 column addresses
 *      stack  [0, 16) unused, then spilled values
 *
 * One element is computed by the same instructions, in lane 0. What NEON lacks
 * (integer division, products of 64 bits, i64 to f32) goes through general
 * registers an element at a time. AArch64's own rules are those promised for
 * division by zero and for conversions that do not fit.
 *
 * Invariant: every public function leaves at <= end, or sets full.
 * Upstream: arch.h (jit_encode). Downstream: Arm ARM (DDI 0487), C6 and C7.
 */
#include "arch.h"

#include <string.h>

typedef struct hy_arch_jit jit;
typedef struct hy_arch_jit_reg reg;

enum {
    COLUMNS,
    PARAMS,
    OUT,
    COUNT,
    ROW,
    GROUPS_END,
    X6,
    X7,
    X8,
    X9,
    ZERO = 31
};
enum { T0, T1 };

enum {
    ROOM_BYTES = 512, /* more than any one value takes */
    LANES = 4,
    SCRATCH_BYTES = 16, /* so that no spilled value is at 0 */
    POINTERS = 7,
    LITERAL_AT = 5, /* where a literal's or branch's distance stands */
    FRAME_AT = 10   /* where the frame's size stands */
};

/* The 64-bit form of an instruction on 32-bit lanes. */
#define WIDE 0x00400000u

#define FADD        0x4e20d400u
#define FSUB        0x4ea0d400u
#define FMUL        0x6e20dc00u
#define FDIV        0x6e20fc00u
#define FNEG        0x6ea0f800u
#define FABS        0x4ea0f800u
#define FSQRT       0x6ea1f800u
#define ADD         0x4ea08400u
#define SUB         0x6ea08400u
#define MUL         0x4ea09c00u
#define SMIN        0x4ea06c00u
#define SMAX        0x4ea06400u
#define UMIN        0x6ea06c00u
#define NEG         0x6ea0b800u
#define ABS         0x4ea0b800u
#define FCMEQ       0x4e20e400u
#define FCMGT       0x6ea0e400u
#define FCMGE       0x6e20e400u
#define CMEQ        0x6ea08c00u
#define CMGT        0x4ea03400u
#define CMGE        0x4ea03c00u
#define AND         0x4e201c00u
#define ORR         0x4ea01c00u
#define MVN         0x6e205800u
#define BSL         0x6e601c00u
#define UZP1        0x4e801800u
#define SXTL        0x0f20a400u
#define SXTL2       0x4f20a400u
#define UXTL_8H     0x2f08a400u
#define UXTL_4S     0x2f10a400u
#define SCVTF       0x4e21d800u
#define FCVTZS      0x4ea1b800u
#define FCVTZU      0x6ea1b800u
#define FCVTL       0x0e617800u
#define FCVTL2      0x4e617800u
#define FCVTN       0x0e616800u
#define FCVTN2      0x4e616800u
#define SQXTN       0x0ea14800u
#define SQXTN2      0x4ea14800u
#define UQXTN       0x2ea14800u
#define UQXTN2      0x6ea14800u
#define XTN_4H      0x0e612800u
#define XTN_8B      0x0e212800u
#define USHR_4S_31  0x6f210400u
#define USHR_16B_7  0x6f090400u
#define MOVI_0      0x4f000400u
#define MOVI_4S_255 0x4f0707e0u
#define DUP_4S      0x4e040400u
#define DUP_2D      0x4e080400u
#define DUP_4S_W    0x4e040c00u
#define UMOV_W      0x0e043c00u /* | lane << 19 */
#define UMOV_X      0x4e083c00u /* | lane << 20 */
#define INS_W       0x4e041c00u /* | lane << 19 */
#define INS_X       0x4e081c00u /* | lane << 20 */
#define INS_S       0x6e040400u /* | lane << 19, from lane 0 */
#define SCVTF_S_X   0x9e220000u
#define FMOV_W_S    0x1e260000u

#define LDR_Q       0x3dc00000u /* | offset / 16 << 10 */
#define STR_Q       0x3d800000u
#define LDR_S_INDEX 0xbc607800u /* [rn, rm, lsl 2] */
#define LDR_D_INDEX 0xfc607800u
#define STR_S_INDEX 0xbc207800u
#define STR_D_INDEX 0xfc207800u
#define LDR_S_BYTES 0xbc606800u /* [rn, rm] */
#define STR_S_BYTES 0xbc206800u
#define LDR_B_BYTES 0x3c606800u
#define STR_B_BYTES 0x3c206800u
#define LD1R_4S     0x4d40c800u
#define LD1R_2D     0x4d40cc00u
#define LDR_S_POOL  0x1c000000u
#define LDR_D_POOL  0x5c000000u
#define LDR_X_INDEX 0xf8607800u
#define LDRB        0x39400000u

#define ADD_X      0x8b000000u /* | shift << 10 */
#define ADD_X_IMM  0x91000000u
#define SUB_SP     0xd10003ffu
#define ADD_SP     0x910003ffu
#define SDIV_W     0x1ac00c00u
#define MSUB_W     0x1b008000u /* | ra << 10 */
#define MUL_X      0x9b007c00u
#define CMP_W_0    0x7100001fu
#define CSEL_W_NE  0x1a801000u
#define CMP_X      0xeb00001fu
#define SIXTY_FOUR 0x80000000u /* the 64-bit form of an integer instruction */
#define AND_X_M4   0x927ef400u
#define AND_W_1    0x12000000u
#define MOVZ_X     0xd2800000u /* | value << 5 */
#define MOVZ_W     0x52800000u
#define MOVK_W_16  0x72a00000u
#define B_HS       0x54000002u
#define B_LO       0x54000003u
#define BTI_C      0xd503245fu
#define RET        0xd65f03c0u

/* ---- instructions -------------------------------------------------------- */

static bool has_room(jit *j)
{
    if (j->end - j->at < ROOM_BYTES)
        j->full = true;
    return !j->full;
}

static void put(jit *j, uint32_t word)
{
    memcpy(j->at, &word, 4);
    j->at += 4;
}

static void put2(jit *j, uint32_t op, unsigned rd, unsigned rn)
{
    put(j, op | rn << 5 | rd);
}

static void put3(jit *j, uint32_t op, unsigned rd, unsigned rn, unsigned rm)
{
    put(j, op | rm << 16 | rn << 5 | rd);
}

static uint32_t load_word(const uint8_t *at)
{
    uint32_t word;

    memcpy(&word, at, 4);
    return word;
}

static void store_word(uint8_t *at, uint32_t word)
{
    memcpy(at, &word, 4);
}

static bool is_wide(unsigned type)
{
    return type == HY_ARCH_JIT_F64 || type == HY_ARCH_JIT_I64;
}

static bool is_float(unsigned type)
{
    return type == HY_ARCH_JIT_F32 || type == HY_ARCH_JIT_F64;
}

static uint32_t width(unsigned type)
{
    return is_wide(type) ? WIDE : 0;
}

static unsigned parts_of(const jit *j, unsigned type)
{
    return j->vector && is_wide(type) ? 2 : 1;
}

static unsigned part(reg r, unsigned n)
{
    return n == 0 ? r.first : r.second;
}

static void move(jit *j, unsigned to, unsigned from)
{
    if (to != from)
        put3(j, ORR, to, from, from);
}

/* x = list[index] */
static void load_pointer(jit *j, unsigned x, unsigned list, unsigned index)
{
    put(j, MOVZ_X | index << 5 | X7);
    put3(j, LDR_X_INDEX, x, list, X7);
}

/* A constant of the pool in the lowest lane. */
static void load_pool(jit *j, uint32_t op, unsigned to, uint64_t value)
{
    unsigned n = 0;

    while (n < j->pool_count && j->pool[n] != value)
        n++;
    if (n == HY_ARCH_JIT_POOL) {
        j->full = true;
        return;
    }
    if (n == j->pool_count) {
        j->pool[n] = value;
        j->pool_use[n] = 0;
        j->pool_count++;
    }
    put(j, op | j->pool_use[n] / 4 << LITERAL_AT | to);
    j->pool_use[n] = (uint32_t)(j->at - j->start) - 4;
}

/* ---- entries and loops --------------------------------------------------- */

bool hy_arch_jit_shape(unsigned features, struct hy_arch_jit_shape *out)
{
    if (!(features & HY_ARCH_NEON))
        return false;
    *out = (struct hy_arch_jit_shape){.registers = 0xffff00f0,
                                      .lanes = LANES,
                                      .hoist = 12,
                                      .pointers = POINTERS,
                                      .frame_max = 4000,
                                      .scratch = SCRATCH_BYTES};
    return true;
}

static void frame_open(jit *j)
{
    j->frame_at = (unsigned)(j->at - j->start);
    put(j, SUB_SP);
}

static void frame_close(jit *j)
{
    j->frame_end_at = (unsigned)(j->at - j->start);
    put(j, ADD_SP);
    put(j, RET);
}

void hy_arch_jit_frame(jit *j, unsigned bytes)
{
    if (j->full)
        return;
    store_word(j->start + j->frame_at, SUB_SP | bytes << FRAME_AT);
    store_word(j->start + j->frame_end_at, ADD_SP | bytes << FRAME_AT);
}

void hy_arch_jit_eval_begin(jit *j, const uint16_t *columns, unsigned count)
{
    if (!has_room(j))
        return;
    put(j, BTI_C);
    frame_open(j);
    put(j, MOVZ_X | ROW);
    for (unsigned n = 0; n < count; n++)
        load_pointer(j, X9 + n, COLUMNS, columns[n]);
}

void hy_arch_jit_eval_end(jit *j)
{
    if (!has_room(j))
        return;
    put(j, MOVZ_W);
    frame_close(j);
}

void hy_arch_jit_loop_begin(jit *j)
{
    if (!has_room(j))
        return;
    if (j->vector)
        put2(j, AND_X_M4, GROUPS_END, COUNT);
    put3(j, CMP_X, 0, ROW, j->vector ? GROUPS_END : COUNT);
    j->skip = j->at;
    put(j, B_HS);
    j->loop = j->at;
}

/* The distance in instructions, as branches and literals hold it. */
static uint32_t distance(const uint8_t *from, const uint8_t *to)
{
    return ((uint32_t)((to - from) / 4) & 0x7ffff) << LITERAL_AT;
}

void hy_arch_jit_loop_end(jit *j)
{
    if (!has_room(j))
        return;
    put2(j, ADD_X_IMM | (j->vector ? LANES : 1) << 10, ROW, ROW);
    put3(j, CMP_X, 0, ROW, j->vector ? GROUPS_END : COUNT);
    put(j, B_LO | distance(j->at, j->loop));
    store_word(j->skip, B_HS | distance(j->skip, j->at));
}

void hy_arch_jit_test_begin(jit *j)
{
    if (!has_room(j))
        return;
    put(j, BTI_C);
    frame_open(j);
    put3(j, ADD_X, ROW, ZERO, OUT); /* the third argument is the row */
}

void hy_arch_jit_test_end(jit *j, unsigned truth)
{
    if (!has_room(j))
        return;
    put2(j, FMOV_W_S, 0, truth);
    put2(j, AND_W_1, 0, 0);
    frame_close(j);
}

void hy_arch_jit_finish(jit *j)
{
    while ((j->at - j->start) % 8 != 0)
        put(j, 0);
    if (j->full || j->end - j->at < (ptrdiff_t)(8 * j->pool_count)) {
        j->full = true;
        return;
    }
    for (unsigned n = 0; n < j->pool_count; n++) {
        for (uint32_t at = j->pool_use[n], next; at != 0; at = next) {
            uint32_t word = load_word(j->start + at);
            uint32_t field = 0x7ffffu << LITERAL_AT;

            next = (word & field) >> LITERAL_AT << 2;
            store_word(j->start + at,
                       (word & ~field) | distance(j->start + at, j->at));
        }
        memcpy(j->at, &j->pool[n], 8);
        j->at += 8;
    }
}

size_t hy_arch_jit_constant(uint8_t *to, uint32_t value)
{
    const uint32_t words[] = {BTI_C, MOVZ_W | (value & 0xffff) << 5,
                              MOVK_W_16 | value >> 16 << 5, RET};

    memcpy(to, words, sizeof(words));
    return sizeof(words);
}

uint8_t hy_arch_jit_trap(void)
{
    return 0; /* udf #0 */
}

/* ---- loads and stores ---------------------------------------------------- */

static void load_elements(jit *j, unsigned type, unsigned base, unsigned to)
{
    if (type == HY_ARCH_JIT_U8)
        put3(j, LDR_B_BYTES, to, base, ROW);
    else
        put3(j, is_wide(type) ? LDR_D_INDEX : LDR_S_INDEX, to, base, ROW);
}

static void load_column(jit *j, unsigned type, unsigned base, reg to)
{
    if (!j->vector) {
        load_elements(j, type, base, to.first);
    } else if (type == HY_ARCH_JIT_U8) {
        put3(j, LDR_S_BYTES, to.first, base, ROW);
        put2(j, UXTL_8H, to.first, to.first);
        put2(j, UXTL_4S, to.first, to.first);
    } else if (!is_wide(type)) {
        put3(j, ADD_X | 2 << 10, X6, base, ROW);
        put2(j, LDR_Q, to.first, X6);
    } else {
        put3(j, ADD_X | 3 << 10, X6, base, ROW);
        put2(j, LDR_Q, to.first, X6);
        put2(j, LDR_Q | 1 << 10, to.second, X6);
    }
}

static void load_constant(jit *j, unsigned type, unsigned to, uint64_t value)
{
    if (value == 0) {
        put(j, MOVI_0 | to);
    } else if (is_wide(type)) {
        load_pool(j, LDR_D_POOL, to, value);
        put2(j, DUP_2D, to, to);
    } else {
        load_pool(j, LDR_S_POOL, to, (uint32_t)value);
        put2(j, DUP_4S, to, to);
    }
}

static void load_param(jit *j, unsigned type, unsigned to)
{
    if (type == HY_ARCH_JIT_U8) {
        put2(j, LDRB, X6, X6);
        put2(j, DUP_4S_W, to, X6);
    } else {
        put2(j, is_wide(type) ? LD1R_2D : LD1R_4S, to, X6);
    }
}

void hy_arch_jit_load(jit *j, const struct hy_arch_jit_node *node, int pointer,
                      uint64_t constant, reg to)
{
    if (!has_room(j))
        return;
    if (node->op == HY_ARCH_JIT_CONST) {
        load_constant(j, node->type, to.first, constant);
    } else if (node->op == HY_ARCH_JIT_PARAM) {
        load_pointer(j, X6, PARAMS, node->a);
        load_param(j, node->type, to.first);
    } else if (pointer >= 0) {
        load_column(j, node->type, X9 + (unsigned)pointer, to);
    } else {
        load_pointer(j, X6, COLUMNS, node->a);
        load_column(j, node->type, X6, to);
    }
}

static void store_bytes(jit *j, unsigned type, unsigned from)
{
    unsigned bytes = from;

    if (j->vector) {
        put2(j, XTN_4H, T0, from);
        put2(j, XTN_8B, T0, T0);
        bytes = T0;
    }
    if (type == HY_ARCH_JIT_TRUTH) {
        put2(j, USHR_16B_7, T0, bytes);
        bytes = T0;
    }
    put3(j, j->vector ? STR_S_BYTES : STR_B_BYTES, bytes, OUT, ROW);
}

void hy_arch_jit_store(jit *j, unsigned type, reg from)
{
    if (!has_room(j))
        return;
    if (type == HY_ARCH_JIT_U8 || type == HY_ARCH_JIT_TRUTH) {
        store_bytes(j, type, from.first);
    } else if (!j->vector) {
        put3(j, is_wide(type) ? STR_D_INDEX : STR_S_INDEX, from.first, OUT,
             ROW);
    } else {
        put3(j, ADD_X | (is_wide(type) ? 3u : 2u) << 10, X6, OUT, ROW);
        put2(j, STR_Q, from.first, X6);
        if (is_wide(type))
            put2(j, STR_Q | 1 << 10, from.second, X6);
    }
}

void hy_arch_jit_spill(jit *j, unsigned offset, unsigned r)
{
    if (has_room(j))
        put2(j, STR_Q | offset / 16 << 10, r, ZERO);
}

void hy_arch_jit_reload(jit *j, unsigned offset, unsigned r)
{
    if (has_room(j))
        put2(j, LDR_Q | offset / 16 << 10, r, ZERO);
}

/* ---- arithmetic ---------------------------------------------------------- */

/* Operations of one instruction, by the type they work on; 0 where there is
 * none. */
static const uint32_t singles[HY_ARCH_JIT_OPS][HY_ARCH_JIT_TYPES] = {
    [HY_ARCH_JIT_ADD] = {0, FADD, FADD | WIDE, ADD, ADD | WIDE},
    [HY_ARCH_JIT_SUB] = {0, FSUB, FSUB | WIDE, SUB, SUB | WIDE},
    [HY_ARCH_JIT_MUL] = {0, FMUL, FMUL | WIDE, MUL},
    [HY_ARCH_JIT_DIV] = {0, FDIV, FDIV | WIDE},
    [HY_ARCH_JIT_MIN] = {[HY_ARCH_JIT_I32] = SMIN},
    [HY_ARCH_JIT_MAX] = {[HY_ARCH_JIT_I32] = SMAX},
    [HY_ARCH_JIT_AND] = {[HY_ARCH_JIT_TRUTH] = AND},
    [HY_ARCH_JIT_OR] = {[HY_ARCH_JIT_TRUTH] = ORR},
};

/* Likewise of one operand. */
static const uint32_t unaries[HY_ARCH_JIT_OPS][HY_ARCH_JIT_TYPES] = {
    [HY_ARCH_JIT_NEG] = {0, FNEG, FNEG | WIDE, NEG, NEG | WIDE},
    [HY_ARCH_JIT_ABS] = {0, FABS, FABS | WIDE, ABS, ABS | WIDE},
    [HY_ARCH_JIT_SQRT] = {0, FSQRT, FSQRT | WIDE},
    [HY_ARCH_JIT_NOT] = {[HY_ARCH_JIT_TRUTH] = MVN},
};

/* x6 = x6 op x7; division by 0 gives 0 for both, by the machine's own rule and
 * by selection. */
static void whole_operation(jit *j, unsigned op, uint32_t size)
{
    if (op == HY_ARCH_JIT_MUL) {
        put3(j, MUL_X, X6, X6, X7);
        return;
    }
    put3(j, SDIV_W | size, X8, X6, X7);
    if (op == HY_ARCH_JIT_MOD) {
        put3(j, MSUB_W | size | X6 << 10, X8, X8, X7);
        put2(j, CMP_W_0 | size, 0, X7);
        put3(j, CSEL_W_NE | size, X8, X8, ZERO);
    }
    put3(j, ADD_X, X6, ZERO, X8);
}

/* An element at a time, through general registers. */
static void by_element(jit *j, unsigned op, bool wide, unsigned to, unsigned a,
                       unsigned b)
{
    unsigned lanes = j->vector ? (wide ? LANES / 2 : LANES) : 1;
    unsigned shift = wide ? 20 : 19;

    for (unsigned n = 0; n < lanes; n++) {
        put2(j, (wide ? UMOV_X : UMOV_W) | n << shift, X6, a);
        put2(j, (wide ? UMOV_X : UMOV_W) | n << shift, X7, b);
        whole_operation(j, op, wide ? SIXTY_FOUR : 0);
        put2(j, (wide ? INS_X : INS_W) | n << shift, to, X6);
    }
}

/* a where it is smaller (or greater), else b: for NaN too. */
static void extreme(jit *j, const struct hy_arch_jit_node *n, unsigned to,
                    unsigned a, unsigned b)
{
    uint32_t greater = (is_float(n->from) ? FCMGT : CMGT) | width(n->from);

    if (n->op == HY_ARCH_JIT_MIN)
        put3(j, greater, T0, b, a);
    else
        put3(j, greater, T0, a, b);
    put3(j, BSL, T0, a, b);
    move(j, to, T0);
}

static void compute_part(jit *j, const struct hy_arch_jit_node *n, unsigned to,
                         unsigned a, unsigned b)
{
    if (singles[n->op][n->from] != 0)
        put3(j, singles[n->op][n->from], to, a, b);
    else if (unaries[n->op][n->from] != 0)
        put2(j, unaries[n->op][n->from], to, a);
    else if (n->op == HY_ARCH_JIT_MIN || n->op == HY_ARCH_JIT_MAX)
        extreme(j, n, to, a, b);
    else
        by_element(j, n->op, is_wide(n->from), to, a, b);
}

/* ---- comparison and selection -------------------------------------------- */

static void compare_part(jit *j, const struct hy_arch_jit_node *n, unsigned to,
                         unsigned a, unsigned b)
{
    bool floats = is_float(n->from);
    uint32_t size = width(n->from);

    if (n->op == HY_ARCH_JIT_LT)
        put3(j, (floats ? FCMGT : CMGT) | size, to, b, a);
    else if (n->op == HY_ARCH_JIT_LE)
        put3(j, (floats ? FCMGE : CMGE) | size, to, b, a);
    else
        put3(j, (floats ? FCMEQ : CMEQ) | size, to, a, b);
}

static void compare(jit *j, const struct hy_arch_jit_node *n, reg to, reg a,
                    reg b)
{
    if (parts_of(j, n->from) == 2) {
        compare_part(j, n, T0, a.first, b.first);
        compare_part(j, n, T1, a.second, b.second);
        put3(j, UZP1, to.first, T0, T1);
    } else {
        compare_part(j, n, to.first, a.first, b.first);
    }
    if (n->op == HY_ARCH_JIT_NE)
        put2(j, MVN, to.first, to.first);
}

static void choose(jit *j, const struct hy_arch_jit_node *n, reg to, reg mask,
                   reg yes, reg no)
{
    if (is_wide(n->type)) {
        put2(j, SXTL, T0, mask.first);
        put2(j, SXTL2, T1, mask.first);
    } else {
        move(j, T0, mask.first);
    }
    for (unsigned p = 0; p < parts_of(j, n->type); p++) {
        put3(j, BSL, T0 + p, part(yes, p), part(no, p));
        move(j, part(to, p), T0 + p);
    }
}

/* ---- conversion ---------------------------------------------------------- */

/* Two instructions that narrow 8 bytes to 4: lower half, upper half. */
static void narrow(jit *j, uint32_t lower, uint32_t upper, unsigned to,
                   unsigned first, unsigned second)
{
    put2(j, lower, to, first);
    if (j->vector)
        put2(j, upper, to, second);
}

static void convert_i32(jit *j, unsigned type, reg to, reg a)
{
    if (type == HY_ARCH_JIT_F32) {
        put2(j, SCVTF, to.first, a.first);
        return;
    }
    if (type == HY_ARCH_JIT_U8) {
        put(j, MOVI_4S_255 | T0);
        put3(j, AND, to.first, a.first, T0);
        return;
    }
    put2(j, SXTL, to.first, a.first);
    if (j->vector)
        put2(j, SXTL2, to.second, a.first);
    for (unsigned p = 0; type == HY_ARCH_JIT_F64 && p < parts_of(j, type); p++)
        put2(j, SCVTF | WIDE, part(to, p), part(to, p));
}

static void f32_of_i64(jit *j, unsigned to, reg a)
{
    for (unsigned n = 0; n < (j->vector ? LANES : 1u); n++) {
        put2(j, UMOV_X | n % 2 << 20, X6, part(a, n / 2));
        put2(j, SCVTF_S_X, T0, X6);
        put2(j, INS_S | n << 19, to, T0);
    }
}

static void convert_i64(jit *j, unsigned type, reg to, reg a)
{
    if (type == HY_ARCH_JIT_F32)
        f32_of_i64(j, to.first, a);
    else if (type == HY_ARCH_JIT_I32)
        put3(j, UZP1, to.first, a.first, j->vector ? a.second : a.first);
    else
        for (unsigned p = 0; p < parts_of(j, type); p++)
            put2(j, SCVTF | WIDE, part(to, p), part(a, p));
}

static void convert_f32(jit *j, unsigned type, reg to, reg a)
{
    if (type == HY_ARCH_JIT_I32) {
        put2(j, FCVTZS, to.first, a.first);
        return;
    }
    if (type == HY_ARCH_JIT_U8) {
        put2(j, FCVTZU, to.first, a.first);
        put(j, MOVI_4S_255 | T0);
        put3(j, UMIN, to.first, to.first, T0);
        return;
    }
    put2(j, FCVTL, to.first, a.first);
    if (j->vector)
        put2(j, FCVTL2, to.second, a.first);
    for (unsigned p = 0; type == HY_ARCH_JIT_I64 && p < parts_of(j, type); p++)
        put2(j, FCVTZS | WIDE, part(to, p), part(to, p));
}

static void convert_f64(jit *j, unsigned type, reg to, reg a)
{
    bool is_byte = type == HY_ARCH_JIT_U8;

    if (type == HY_ARCH_JIT_F32) {
        narrow(j, FCVTN, FCVTN2, to.first, a.first, a.second);
        return;
    }
    if (type == HY_ARCH_JIT_I64) {
        for (unsigned p = 0; p < parts_of(j, type); p++)
            put2(j, FCVTZS | WIDE, part(to, p), part(a, p));
        return;
    }
    for (unsigned p = 0; p < parts_of(j, HY_ARCH_JIT_F64); p++)
        put2(j, (is_byte ? FCVTZU : FCVTZS) | WIDE, T0 + p, part(a, p));
    if (!is_byte) {
        narrow(j, SQXTN, SQXTN2, to.first, T0, T1);
        return;
    }
    narrow(j, UQXTN, UQXTN2, to.first, T0, T1);
    put(j, MOVI_4S_255 | T0);
    put3(j, UMIN, to.first, to.first, T0);
}

static void convert(jit *j, const struct hy_arch_jit_node *n, reg to, reg a)
{
    switch (n->from) {
    case HY_ARCH_JIT_TRUTH:
        put2(j, USHR_4S_31, to.first, a.first);
        break;
    case HY_ARCH_JIT_U8:
        move(j, to.first, a.first);
        break;
    case HY_ARCH_JIT_I32:
        convert_i32(j, n->type, to, a);
        break;
    case HY_ARCH_JIT_I64:
        convert_i64(j, n->type, to, a);
        break;
    case HY_ARCH_JIT_F32:
        convert_f32(j, n->type, to, a);
        break;
    default:
        convert_f64(j, n->type, to, a);
        break;
    }
}

void hy_arch_jit_compute(jit *j, const struct hy_arch_jit_node *n, reg to,
                         reg a, reg b, reg c)
{
    if (!has_room(j))
        return;
    if (n->op == HY_ARCH_JIT_CVT)
        convert(j, n, to, a);
    else if (n->op == HY_ARCH_JIT_SELECT)
        choose(j, n, to, a, b, c);
    else if (n->op >= HY_ARCH_JIT_EQ && n->op <= HY_ARCH_JIT_LE)
        compare(j, n, to, a, b);
    else
        for (unsigned p = 0; p < parts_of(j, n->type); p++)
            compute_part(j, n, part(to, p), part(a, p), part(b, p));
}
