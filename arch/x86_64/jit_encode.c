/*
 * jit_encode.c - AVX2 out of typed values. Each function appends the
 * instructions of one value; VEX encoding throughout, three bytes of prefix:
 *
 *      C4 | ~R ~X ~B map | W ~vvvv L pp | opcode | modrm [sib] [disp] [imm]
 *
 *      vector registers  0-3 scratch of one value, 4-15 values
 *      rdi columns  rsi parameters  r9 out  rcx count  r8 row  r10 end of
 * groups rbx rbp r12-r15 column addresses  rax rdx r11 scratch stack  [0, 144)
 * scratch of one value, then spilled values
 *
 * One element is computed by the same instructions at 128 bits. What AVX2 lacks
 * for 64-bit integers (division, conversion to f32 and from f64) goes through
 * the stack an element at a time.
 *
 * Invariant: every public function leaves at <= end, or sets full.
 * Upstream: arch.h (jit_encode). Downstream: Intel SDM vol. 2.
 */
#include "arch.h"

#include <string.h>

typedef struct hy_arch_jit jit;
typedef struct hy_arch_jit_reg reg;

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, NO_INDEX = 4 };
enum { ROW = R8, OUT = R9, COUNT = RCX, GROUPS_END = R10 };
enum { T0, T1, T2, T3 };

enum {
    ROOM_BYTES = 512, /* more than any one value takes */
    LANES = 8,
    SCRATCH_BYTES = 144,
    SCRATCH_SECOND = 64, /* where a second operand is put */
    SCRATCH_COUNT = 128, /* where rcx is kept */
    POINTERS = 6
};

static const uint8_t pointer_registers[POINTERS] = {RBX, 12, 13, 14, 15, RBP};

/* An opcode with its mandatory prefix, its map, and VEX.W. */
#define OP(pp, map, w, code)                                                   \
    ((uint32_t)(pp) | (uint32_t)(map) << 8 | (uint32_t)(w) << 16 |             \
     (uint32_t)(code) << 24)
enum { P0, P66, PF3, PF2 };
enum { M0F = 1, M0F38, M0F3A };

#define MOVUPS       OP(P0, M0F, 0, 0x10)
#define MOVUPS_STORE OP(P0, M0F, 0, 0x11)
#define MOVSS        OP(PF3, M0F, 0, 0x10)
#define MOVSS_STORE  OP(PF3, M0F, 0, 0x11)
#define MOVSD        OP(PF2, M0F, 0, 0x10)
#define MOVSD_STORE  OP(PF2, M0F, 0, 0x11)
#define MOVDDUP      OP(PF2, M0F, 0, 0x12)
#define MOVAPS       OP(P0, M0F, 0, 0x28)
#define MOVD         OP(P66, M0F, 0, 0x6e)
#define MOVD_STORE   OP(P66, M0F, 0, 0x7e)
#define MOVQ_STORE   OP(P66, M0F, 0, 0xd6)
#define BROADCASTSS  OP(P66, M0F38, 0, 0x18)
#define BROADCASTSD  OP(P66, M0F38, 0, 0x19)
#define PBROADCASTB  OP(P66, M0F38, 0, 0x78)
#define PMOVZXBD     OP(P66, M0F38, 0, 0x31)
#define PMOVSXDQ     OP(P66, M0F38, 0, 0x25)
#define EXTRACTI128  OP(P66, M0F3A, 0, 0x39)
#define INSERTI128   OP(P66, M0F3A, 0, 0x38)
#define PERMQ        OP(P66, M0F3A, 1, 0x00)
#define SHUFPS       OP(P0, M0F, 0, 0xc6)
#define PEXTRB       OP(P66, M0F3A, 0, 0x14)
#define PBLENDD      OP(P66, M0F3A, 0, 0x02)
#define BLENDVPS     OP(P66, M0F3A, 0, 0x4a)
#define BLENDVPD     OP(P66, M0F3A, 0, 0x4b)
#define PACKUSDW     OP(P66, M0F38, 0, 0x2b)
#define PACKSSDW     OP(P66, M0F, 0, 0x6b)
#define PACKUSWB     OP(P66, M0F, 0, 0x67)
#define PACKSSWB     OP(P66, M0F, 0, 0x63)
#define PABSB        OP(P66, M0F38, 0, 0x1c)
#define PABSD        OP(P66, M0F38, 0, 0x1e)
#define PXOR         OP(P66, M0F, 0, 0xef)
#define PAND         OP(P66, M0F, 0, 0xdb)
#define PANDN        OP(P66, M0F, 0, 0xdf)
#define POR          OP(P66, M0F, 0, 0xeb)
#define PADDQ        OP(P66, M0F, 0, 0xd4)
#define PSUBD        OP(P66, M0F, 0, 0xfa)
#define PSUBQ        OP(P66, M0F, 0, 0xfb)
#define PMULUDQ      OP(P66, M0F, 0, 0xf4)
#define PMULLD       OP(P66, M0F38, 0, 0x40)
#define PCMPEQD      OP(P66, M0F, 0, 0x76)
#define PCMPEQQ      OP(P66, M0F38, 0, 0x29)
#define PCMPGTD      OP(P66, M0F, 0, 0x66)
#define PCMPGTQ      OP(P66, M0F38, 0, 0x37)
#define SHIFTD_IMM   OP(P66, M0F, 0, 0x72)
#define SHIFTQ_IMM   OP(P66, M0F, 0, 0x73)
#define CMPPS        OP(P0, M0F, 0, 0xc2)
#define CMPPD        OP(P66, M0F, 0, 0xc2)
#define ANDPS        OP(P0, M0F, 0, 0x54)
#define XORPS        OP(P0, M0F, 0, 0x57)
#define MINPS        OP(P0, M0F, 0, 0x5d)
#define MAXPS        OP(P0, M0F, 0, 0x5f)
#define ADDPD        OP(P66, M0F, 0, 0x58)
#define SUBPD        OP(P66, M0F, 0, 0x5c)
#define MINPD        OP(P66, M0F, 0, 0x5d)
#define DIVPD        OP(P66, M0F, 0, 0x5e)
#define MAXPD        OP(P66, M0F, 0, 0x5f)
#define CVTDQ2PS     OP(P0, M0F, 0, 0x5b)
#define CVTDQ2PD     OP(PF3, M0F, 0, 0xe6)
#define CVTTPS2DQ    OP(PF3, M0F, 0, 0x5b)
#define CVTTPD2DQ    OP(P66, M0F, 0, 0xe6)
#define CVTPS2PD     OP(P0, M0F, 0, 0x5a)
#define CVTPD2PS     OP(P66, M0F, 0, 0x5a)
#define CVTSI2SS     OP(PF3, M0F, 1, 0x2a)
#define CVTTSD2SI    OP(PF2, M0F, 1, 0x2c)

/* Predicates of CMPPS: quiet, and false for NaN but for NE. */
enum { EQ_OQ = 0, NEQ_UQ = 4, ORD_Q = 7, LT_OQ = 17, LE_OQ = 18, GE_OQ = 29 };

/* Which halves shufps and permq take to put two pairs of halves in order. */
enum { EVEN_WORDS = 0x88, MIDDLE_SWAPPED = 0xd8, ODD_DWORDS = 0xaa };

/* ---- instructions -------------------------------------------------------- */

static bool has_room(jit *j)
{
    if (j->end - j->at < ROOM_BYTES)
        j->full = true;
    return !j->full;
}

static void put8(jit *j, unsigned byte)
{
    *j->at++ = (uint8_t)byte;
}

static void put32(jit *j, uint32_t value)
{
    memcpy(j->at, &value, 4);
    j->at += 4;
}

static void put_bytes(jit *j, const void *bytes, size_t count)
{
    memcpy(j->at, bytes, count);
    j->at += count;
}

#define PUT(j, ...)                                                            \
    put_bytes(j, (const uint8_t[]){__VA_ARGS__},                               \
              sizeof((const uint8_t[]){__VA_ARGS__}))

/* Prefix and opcode; r, x, b: the upper bit of register, index, base. */
static void put_vex(jit *j, uint32_t op, unsigned l, unsigned r, unsigned x,
                    unsigned b, unsigned vvvv)
{
    uint32_t one =
        (~r & 8) << 4 | (~x & 8) << 3 | (~b & 8) << 2 | (op >> 8 & 31);
    uint32_t two = (op >> 16 & 1) << 7 | (~vvvv & 15) << 3 | l << 2 | (op & 3);

    put32(j, 0xc4 | one << 8 | two << 16 | (op & 0xff000000));
}

/* to = op(a, b); l: 1 for 256 bits. Instructions of two operands have a 0. */
static void put_rrr(jit *j, uint32_t op, unsigned l, unsigned to, unsigned a,
                    unsigned b)
{
    put_vex(j, op, l, to, 0, b, a);
    put8(j, 0xc0 | (to & 7) << 3 | (b & 7));
}

static void put_rrri(jit *j, uint32_t op, unsigned l, unsigned to, unsigned a,
                     unsigned b, unsigned immediate)
{
    put_rrr(j, op, l, to, a, b);
    put8(j, immediate);
}

/* modrm, sib and displacement of [base + index << scale + offset]. */
static void put_address(jit *j, unsigned r, unsigned base, unsigned index,
                        unsigned scale, int32_t offset)
{
    bool is_short = offset >= -128 && offset < 128;

    put8(j, (is_short ? 0x44 : 0x84) | (r & 7) << 3);
    put8(j, scale << 6 | (index & 7) << 3 | (base & 7));
    if (is_short)
        put8(j, (uint8_t)offset);
    else
        put32(j, (uint32_t)offset);
}

static void put_memory(jit *j, uint32_t op, unsigned l, unsigned r,
                       unsigned base, unsigned index, unsigned scale,
                       int32_t offset)
{
    put_vex(j, op, l, r, index, base, 0);
    put_address(j, r, base, index, scale, offset);
}

static void put_stack(jit *j, uint32_t op, unsigned l, unsigned r,
                      unsigned offset)
{
    put_memory(j, op, l, r, RSP, NO_INDEX, 0, (int32_t)offset);
}

/* A 64-bit integer instruction with one byte of opcode and an address. */
static void put_integer(jit *j, unsigned code, unsigned r, unsigned base,
                        unsigned index, unsigned scale, int32_t offset)
{
    put8(j, 0x48 | (r & 8) >> 1 | (index & 8) >> 2 | (base & 8) >> 3);
    put8(j, code);
    put_address(j, r, base, index, scale, offset);
}

static void load_pointer(jit *j, unsigned to, unsigned base, unsigned index)
{
    put_integer(j, 0x8b, to, base, NO_INDEX, 0, (int32_t)(index * 8));
}

/* r = r op r with 64 bits: 0x89 mov, 0x39 cmp, 0x31 xor, 0x85 test. */
static void put_integer_rr(jit *j, unsigned code, unsigned to, unsigned from)
{
    put8(j, 0x48 | (from & 8) >> 1 | (to & 8) >> 3);
    put8(j, code);
    put8(j, 0xc0 | (from & 7) << 3 | (to & 7));
}

/* A vector instruction whose operand is a constant of the pool. */
static void put_pool(jit *j, uint32_t op, unsigned l, unsigned to,
                     uint64_t value)
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
    put_vex(j, op, l, to, 0, 0, 0);
    put8(j, 0x05 | (to & 7) << 3);
    put32(j, j->pool_use[n]);
    j->pool_use[n] = (uint32_t)(j->at - j->start) - 4;
}

/* ---- constants ----------------------------------------------------------- */

static void broadcast32(jit *j, unsigned to, uint32_t value)
{
    if (value == 0)
        put_rrr(j, PXOR, j->vector, to, to, to);
    else
        put_pool(j, BROADCASTSS, j->vector, to, value);
}

static void broadcast64(jit *j, unsigned to, uint64_t value)
{
    if (value == 0)
        put_rrr(j, PXOR, j->vector, to, to, to);
    else
        put_pool(j, j->vector ? BROADCASTSD : MOVDDUP, j->vector, to, value);
}

static bool is_wide(unsigned type)
{
    return type == HY_ARCH_JIT_F64 || type == HY_ARCH_JIT_I64;
}

static bool is_float(unsigned type)
{
    return type == HY_ARCH_JIT_F32 || type == HY_ARCH_JIT_F64;
}

/* The same value in every element of the type's width. */
static void broadcast(jit *j, unsigned type, unsigned to, uint64_t value)
{
    if (is_wide(type))
        broadcast64(j, to, value);
    else
        broadcast32(j, to, (uint32_t)value);
}

static unsigned parts_of(const jit *j, unsigned type)
{
    return j->vector && is_wide(type) ? 2 : 1;
}

static unsigned part(reg r, unsigned n)
{
    return n == 0 ? r.first : r.second;
}

static void ones(jit *j, unsigned to)
{
    put_rrr(j, PCMPEQD, j->vector, to, to, to);
}

static void move(jit *j, unsigned to, unsigned from)
{
    if (to != from)
        put_rrr(j, MOVAPS, j->vector, to, 0, from);
}

/* The upper half of a vector register in the lower half of another. */
static void upper_half(jit *j, unsigned to, unsigned from)
{
    put_rrri(j, EXTRACTI128, 1, from, 0, to, 1);
}

/* Every second 4 bytes of two registers, in order, in one. */
static void pack_pair(jit *j, unsigned to, unsigned first, unsigned second)
{
    put_rrri(j, SHUFPS, 1, to, first, second, EVEN_WORDS);
    put_rrri(j, PERMQ, 1, to, 0, to, MIDDLE_SWAPPED);
}

/* ---- entries and loops --------------------------------------------------- */

bool hy_arch_jit_shape(unsigned features, struct hy_arch_jit_shape *out)
{
    if (!(features & HY_ARCH_AVX2))
        return false;
    *out = (struct hy_arch_jit_shape){.registers = 0xfff0,
                                      .lanes = LANES,
                                      .hoist = 5,
                                      .pointers = POINTERS,
                                      .frame_max = 4000,
                                      .scratch = SCRATCH_BYTES};
    return true;
}

static void enter(jit *j)
{
    PUT(j, 0xf3, 0x0f, 0x1e, 0xfa); /* endbr64 */
}

static void frame_open(jit *j)
{
    PUT(j, 0x48, 0x81, 0xec); /* sub rsp, imm32 */
    j->frame_at = (unsigned)(j->at - j->start);
    put32(j, 0);
}

static void frame_close(jit *j)
{
    PUT(j, 0x48, 0x81, 0xc4); /* add rsp, imm32 */
    j->frame_end_at = (unsigned)(j->at - j->start);
    put32(j, 0);
}

void hy_arch_jit_frame(jit *j, unsigned bytes)
{
    if (j->full)
        return;
    memcpy(j->start + j->frame_at, &bytes, 4);
    memcpy(j->start + j->frame_end_at, &bytes, 4);
}

void hy_arch_jit_eval_begin(jit *j, const uint16_t *columns, unsigned count)
{
    if (!has_room(j))
        return;
    enter(j);
    j->pointers = (uint8_t)count;
    for (unsigned n = 0; n < count; n++) {
        if (pointer_registers[n] >= R8)
            put8(j, 0x41);
        put8(j, 0x50 | (pointer_registers[n] & 7)); /* push */
    }
    frame_open(j);
    put_integer_rr(j, 0x89, OUT, RDX);
    PUT(j, 0x45, 0x31, 0xc0); /* xor r8d, r8d */
    for (unsigned n = 0; n < count; n++)
        load_pointer(j, pointer_registers[n], RDI, columns[n]);
}

void hy_arch_jit_eval_end(jit *j)
{
    if (!has_room(j))
        return;
    PUT(j, 0xc5, 0xf8, 0x77); /* vzeroupper */
    PUT(j, 0x31, 0xc0);       /* xor eax, eax */
    frame_close(j);
    for (unsigned n = j->pointers; n-- > 0;) {
        if (pointer_registers[n] >= R8)
            put8(j, 0x41);
        put8(j, 0x58 | (pointer_registers[n] & 7)); /* pop */
    }
    put8(j, 0xc3);
}

void hy_arch_jit_loop_begin(jit *j)
{
    if (!has_room(j))
        return;
    if (j->vector) {
        put_integer_rr(j, 0x89, GROUPS_END, COUNT);
        PUT(j, 0x49, 0x83, 0xe2, (uint8_t)-LANES); /* and r10, -8 */
        put_integer_rr(j, 0x39, ROW, GROUPS_END);
    } else {
        put_integer_rr(j, 0x39, ROW, COUNT);
    }
    PUT(j, 0x0f, 0x83, 0, 0, 0, 0); /* jae behind the loop */
    j->skip = j->at;
    while (j->vector && (j->at - j->start) % 32 != 0)
        put8(j, 0x90);
    j->loop = j->at;
}

void hy_arch_jit_loop_end(jit *j)
{
    uint32_t distance;

    if (!has_room(j))
        return;
    PUT(j, 0x49, 0x83, 0xc0, j->vector ? LANES : 1); /* add r8, imm8 */
    put_integer_rr(j, 0x39, ROW, j->vector ? GROUPS_END : COUNT);
    PUT(j, 0x0f, 0x82); /* jb */
    put32(j, (uint32_t)(j->loop - j->at - 4));
    distance = (uint32_t)(j->at - j->skip);
    memcpy(j->skip - 4, &distance, 4);
}

void hy_arch_jit_test_begin(jit *j)
{
    if (!has_room(j))
        return;
    enter(j);
    frame_open(j);
    put_integer_rr(j, 0x89, ROW, RDX);
}

void hy_arch_jit_test_end(jit *j, unsigned truth)
{
    if (!has_room(j))
        return;
    put_rrr(j, MOVD_STORE, 0, truth, 0, RAX);
    PUT(j, 0x83, 0xe0, 0x01); /* and eax, 1 */
    frame_close(j);
    put8(j, 0xc3);
}

void hy_arch_jit_finish(jit *j)
{
    while ((j->at - j->start) % 8 != 0)
        put8(j, 0xcc);
    if (j->full || j->end - j->at < (ptrdiff_t)(8 * j->pool_count)) {
        j->full = true;
        return;
    }
    for (unsigned n = 0; n < j->pool_count; n++) {
        uint32_t here = (uint32_t)(j->at - j->start);

        for (uint32_t at = j->pool_use[n], next; at != 0; at = next) {
            uint32_t distance = here - at - 4;

            memcpy(&next, j->start + at, 4);
            memcpy(j->start + at, &distance, 4);
        }
        put_bytes(j, &j->pool[n], 8);
    }
}

size_t hy_arch_jit_constant(uint8_t *to, uint32_t value)
{
    static const uint8_t head[] = {0xf3, 0x0f, 0x1e, 0xfa, 0xb8};

    memcpy(to, head, sizeof(head)); /* endbr64; mov eax, imm32; ret */
    memcpy(to + sizeof(head), &value, 4);
    to[sizeof(head) + 4] = 0xc3;
    return sizeof(head) + 5;
}

uint8_t hy_arch_jit_trap(void)
{
    return 0xcc; /* int3 */
}

/* ---- loads and stores ---------------------------------------------------- */

static void load_column(jit *j, unsigned type, unsigned base, reg to)
{
    if (type == HY_ARCH_JIT_U8 && j->vector) {
        put_memory(j, PMOVZXBD, 1, to.first, base, ROW, 0, 0);
    } else if (type == HY_ARCH_JIT_U8) {
        /* movzx eax, byte [base + r8] */
        PUT(j, 0x42 | (base & 8) >> 3, 0x0f, 0xb6);
        put_address(j, RAX, base, ROW, 0, 0);
        put_rrr(j, MOVD, 0, to.first, 0, RAX);
    } else if (!is_wide(type)) {
        put_memory(j, j->vector ? MOVUPS : MOVSS, j->vector, to.first, base,
                   ROW, 2, 0);
    } else if (!j->vector) {
        put_memory(j, MOVSD, 0, to.first, base, ROW, 3, 0);
    } else {
        put_memory(j, MOVUPS, 1, to.first, base, ROW, 3, 0);
        put_memory(j, MOVUPS, 1, to.second, base, ROW, 3, 32);
    }
}

static void load_param(jit *j, unsigned type, unsigned to)
{
    if (type == HY_ARCH_JIT_U8) {
        put_memory(j, PBROADCASTB, 0, to, RAX, NO_INDEX, 0, 0);
        put_rrr(j, PMOVZXBD, j->vector, to, 0, to);
    } else if (!is_wide(type)) {
        put_memory(j, BROADCASTSS, j->vector, to, RAX, NO_INDEX, 0, 0);
    } else {
        put_memory(j, j->vector ? BROADCASTSD : MOVDDUP, j->vector, to, RAX,
                   NO_INDEX, 0, 0);
    }
}

void hy_arch_jit_load(jit *j, const struct hy_arch_jit_node *node, int pointer,
                      uint64_t constant, reg to)
{
    if (!has_room(j))
        return;
    if (node->op == HY_ARCH_JIT_CONST) {
        broadcast(j, node->type, to.first, constant);
    } else if (node->op == HY_ARCH_JIT_PARAM) {
        load_pointer(j, RAX, RSI, node->a);
        load_param(j, node->type, to.first);
    } else if (pointer >= 0) {
        load_column(j, node->type, pointer_registers[pointer], to);
    } else {
        load_pointer(j, RAX, RDI, node->a);
        load_column(j, node->type, RAX, to);
    }
}

/* Eight values of 4 bytes, narrowed to one byte each, in T0. */
static void narrow_to_bytes(jit *j, unsigned type, unsigned from)
{
    bool is_truth = type == HY_ARCH_JIT_TRUTH;

    upper_half(j, T0, from);
    put_rrr(j, is_truth ? PACKSSDW : PACKUSDW, 0, T0, from, T0);
    put_rrr(j, is_truth ? PACKSSWB : PACKUSWB, 0, T0, T0, T0);
    if (is_truth)
        put_rrr(j, PABSB, 0, T0, 0, T0);
}

void hy_arch_jit_store(jit *j, unsigned type, reg from)
{
    if (!has_room(j))
        return;
    if (is_wide(type)) {
        put_memory(j, j->vector ? MOVUPS_STORE : MOVSD_STORE, j->vector,
                   from.first, OUT, ROW, 3, 0);
        if (j->vector)
            put_memory(j, MOVUPS_STORE, 1, from.second, OUT, ROW, 3, 32);
    } else if (type == HY_ARCH_JIT_F32 || type == HY_ARCH_JIT_I32) {
        put_memory(j, j->vector ? MOVUPS_STORE : MOVSS_STORE, j->vector,
                   from.first, OUT, ROW, 2, 0);
    } else if (j->vector) {
        narrow_to_bytes(j, type, from.first);
        put_memory(j, MOVQ_STORE, 0, T0, OUT, ROW, 0, 0);
    } else {
        unsigned byte = from.first;

        if (type == HY_ARCH_JIT_TRUTH) {
            put_rrr(j, PABSB, 0, T0, 0, from.first);
            byte = T0;
        }
        put_memory(j, PEXTRB, 0, byte, OUT, ROW, 0, 0);
        put8(j, 0);
    }
}

void hy_arch_jit_spill(jit *j, unsigned offset, unsigned r)
{
    if (has_room(j))
        put_stack(j, MOVUPS_STORE, j->vector, r, offset);
}

void hy_arch_jit_reload(jit *j, unsigned offset, unsigned r)
{
    if (has_room(j))
        put_stack(j, MOVUPS, j->vector, r, offset);
}

/* ---- arithmetic ---------------------------------------------------------- */

/* Operations of one instruction, by the type they work on; 0 where there is
 * none. */
static const uint32_t singles[HY_ARCH_JIT_OPS][HY_ARCH_JIT_TYPES] = {
    [HY_ARCH_JIT_ADD] = {0, OP(P0, M0F, 0, 0x58), OP(P66, M0F, 0, 0x58),
                         OP(P66, M0F, 0, 0xfe), PADDQ},
    [HY_ARCH_JIT_SUB] = {0, OP(P0, M0F, 0, 0x5c), SUBPD, PSUBD, PSUBQ},
    [HY_ARCH_JIT_MUL] = {0, OP(P0, M0F, 0, 0x59), OP(P66, M0F, 0, 0x59),
                         PMULLD},
    [HY_ARCH_JIT_DIV] = {0, OP(P0, M0F, 0, 0x5e), DIVPD},
    [HY_ARCH_JIT_MIN] = {0, MINPS, MINPD, OP(P66, M0F38, 0, 0x39)},
    [HY_ARCH_JIT_MAX] = {0, MAXPS, MAXPD, OP(P66, M0F38, 0, 0x3d)},
    [HY_ARCH_JIT_AND] = {[HY_ARCH_JIT_TRUTH] = PAND},
    [HY_ARCH_JIT_OR] = {[HY_ARCH_JIT_TRUTH] = POR},
};

static void multiply_i64(jit *j, unsigned to, unsigned a, unsigned b)
{
    unsigned l = j->vector;

    put_rrri(j, SHIFTQ_IMM, l, 2, T0, a, 32); /* logical right */
    put_rrr(j, PMULUDQ, l, T0, T0, b);
    put_rrri(j, SHIFTQ_IMM, l, 2, T1, b, 32);
    put_rrr(j, PMULUDQ, l, T1, T1, a);
    put_rrr(j, PADDQ, l, T0, T0, T1);
    put_rrri(j, SHIFTQ_IMM, l, 6, T0, T0, 32); /* left */
    put_rrr(j, PMULUDQ, l, T1, a, b);
    put_rrr(j, PADDQ, l, to, T0, T1);
}

/*
 * 32-bit quotients are exact in f64: a quotient that is no integer lies at
 * least 1/b from one, and the rounding error is below 2^-22/b.
 */
static void divide_i32(jit *j, unsigned op, unsigned to, unsigned a, unsigned b)
{
    unsigned l = j->vector;

    put_rrr(j, CVTDQ2PD, l, T0, 0, a);
    put_rrr(j, CVTDQ2PD, l, T1, 0, b);
    put_rrr(j, DIVPD, l, T0, T0, T1);
    put_rrr(j, CVTTPD2DQ, l, T0, 0, T0);
    if (j->vector) {
        upper_half(j, T1, a);
        upper_half(j, T2, b);
        put_rrr(j, CVTDQ2PD, l, T1, 0, T1);
        put_rrr(j, CVTDQ2PD, l, T2, 0, T2);
        put_rrr(j, DIVPD, l, T1, T1, T2);
        put_rrr(j, CVTTPD2DQ, l, T1, 0, T1);
        put_rrri(j, INSERTI128, l, T0, T0, T1, 1);
    }
    if (op == HY_ARCH_JIT_MOD) {
        put_rrr(j, PMULLD, l, T0, T0, b);
        put_rrr(j, PSUBD, l, T0, a, T0);
    }
    put_rrr(j, PXOR, l, T1, T1, T1);
    put_rrr(j, PCMPEQD, l, T1, T1, b);
    put_rrr(j, PANDN, l, to, T1, T0); /* division by 0 gives 0 */
}

static void store_pair(jit *j, reg from, unsigned offset)
{
    put_stack(j, MOVUPS_STORE, j->vector, from.first, offset);
    if (j->vector)
        put_stack(j, MOVUPS_STORE, 1, from.second, offset + 32);
}

static void load_pair(jit *j, reg to, unsigned offset)
{
    put_stack(j, MOVUPS, j->vector, to.first, offset);
    if (j->vector)
        put_stack(j, MOVUPS, 1, to.second, offset + 32);
}

/* An element at a time. For b of 0 or -1, a * b is the quotient that is
 * promised, and the remainder is 0. */
static void divide_i64(jit *j, unsigned op, reg to, reg a, reg b)
{
    uint8_t *loop;

    store_pair(j, a, 0);
    store_pair(j, b, SCRATCH_SECOND);
    put_integer(j, 0x89, RCX, RSP, NO_INDEX, 0, SCRATCH_COUNT);
    put8(j, 0xb9); /* mov ecx, elements */
    put32(j, j->vector ? LANES : 1);
    loop = j->at;
    put_integer(j, 0x8b, RAX, RSP, RCX, 3, -8);
    put_integer(j, 0x8b, R11, RSP, RCX, 3, SCRATCH_SECOND - 8);
    PUT(j, 0x49, 0x8d, 0x53, 0x01);       /* lea rdx, [r11 + 1] */
    PUT(j, 0x48, 0x83, 0xfa, 0x01);       /* cmp rdx, 1 */
    PUT(j, 0x77, 0x08);                   /* ja divide */
    PUT(j, 0x49, 0x0f, 0xaf, 0xc3);       /* imul rax, r11 */
    PUT(j, 0x31, 0xd2);                   /* xor edx, edx */
    PUT(j, 0xeb, 0x05);                   /* jmp store */
    PUT(j, 0x48, 0x99, 0x49, 0xf7, 0xfb); /* divide: cqo; idiv r11 */
    put_integer(j, 0x89, op == HY_ARCH_JIT_DIV ? RAX : RDX, RSP, RCX, 3, -8);
    PUT(j, 0xff, 0xc9); /* dec ecx */
    PUT(j, 0x75, (uint8_t)(loop - j->at - 2));
    put_integer(j, 0x8b, RCX, RSP, NO_INDEX, 0, SCRATCH_COUNT);
    load_pair(j, to, 0);
}

static void negate(jit *j, unsigned type, unsigned to, unsigned a)
{
    if (is_float(type)) {
        broadcast(j, type, T0,
                  is_wide(type) ? (uint64_t)1 << 63 : (uint64_t)1 << 31);
        put_rrr(j, XORPS, j->vector, to, a, T0);
    } else {
        put_rrr(j, PXOR, j->vector, T0, T0, T0);
        put_rrr(j, is_wide(type) ? PSUBQ : PSUBD, j->vector, to, T0, a);
    }
}

static void absolute(jit *j, unsigned type, unsigned to, unsigned a)
{
    if (is_float(type)) {
        broadcast(j, type, T0, is_wide(type) ? UINT64_MAX >> 1 : 0x7fffffff);
        put_rrr(j, ANDPS, j->vector, to, a, T0);
    } else if (type == HY_ARCH_JIT_I32) {
        put_rrr(j, PABSD, j->vector, to, 0, a);
    } else {
        put_rrr(j, PXOR, j->vector, T0, T0, T0);
        put_rrr(j, PCMPGTQ, j->vector, T0, T0, a);
        put_rrr(j, PXOR, j->vector, T1, a, T0);
        put_rrr(j, PSUBQ, j->vector, to, T1, T0);
    }
}

/* b where the mask in T0 is clear, a where it is set. */
static void extreme_i64(jit *j, unsigned op, unsigned to, unsigned a,
                        unsigned b)
{
    if (op == HY_ARCH_JIT_MIN)
        put_rrr(j, PCMPGTQ, j->vector, T0, b, a);
    else
        put_rrr(j, PCMPGTQ, j->vector, T0, a, b);
    put_rrri(j, BLENDVPD, j->vector, to, b, a, T0 << 4);
}

static void compute_part(jit *j, const struct hy_arch_jit_node *n, unsigned to,
                         unsigned a, unsigned b)
{
    uint32_t single = singles[n->op][n->from];

    if (single != 0) {
        put_rrr(j, single, j->vector, to, a, b);
        return;
    }
    switch (n->op) {
    case HY_ARCH_JIT_MUL:
        multiply_i64(j, to, a, b);
        break;
    case HY_ARCH_JIT_DIV:
    case HY_ARCH_JIT_MOD:
        divide_i32(j, n->op, to, a, b);
        break;
    case HY_ARCH_JIT_MIN:
    case HY_ARCH_JIT_MAX:
        extreme_i64(j, n->op, to, a, b);
        break;
    case HY_ARCH_JIT_NEG:
        negate(j, n->from, to, a);
        break;
    case HY_ARCH_JIT_ABS:
        absolute(j, n->from, to, a);
        break;
    case HY_ARCH_JIT_SQRT:
        put_rrr(j, OP(is_wide(n->from) ? P66 : P0, M0F, 0, 0x51), j->vector, to,
                0, a);
        break;
    default: /* HY_ARCH_JIT_NOT */
        ones(j, T0);
        put_rrr(j, PXOR, j->vector, to, a, T0);
        break;
    }
}

/* ---- comparison and selection -------------------------------------------- */

static void compare_part(jit *j, const struct hy_arch_jit_node *n, unsigned to,
                         unsigned a, unsigned b)
{
    static const uint8_t predicates[] = {EQ_OQ, NEQ_UQ, LT_OQ, LE_OQ};
    bool wide = is_wide(n->from);

    if (is_float(n->from))
        put_rrri(j, wide ? CMPPD : CMPPS, j->vector, to, a, b,
                 predicates[n->op - HY_ARCH_JIT_EQ]);
    else if (n->op == HY_ARCH_JIT_EQ || n->op == HY_ARCH_JIT_NE)
        put_rrr(j, wide ? PCMPEQQ : PCMPEQD, j->vector, to, a, b);
    else if (n->op == HY_ARCH_JIT_LT)
        put_rrr(j, wide ? PCMPGTQ : PCMPGTD, j->vector, to, b, a);
    else
        put_rrr(j, wide ? PCMPGTQ : PCMPGTD, j->vector, to, a, b);
}

static void compare(jit *j, const struct hy_arch_jit_node *n, reg to, reg a,
                    reg b)
{
    if (parts_of(j, n->from) == 2) {
        compare_part(j, n, T0, a.first, b.first);
        compare_part(j, n, T1, a.second, b.second);
        pack_pair(j, to.first, T0, T1);
    } else {
        compare_part(j, n, to.first, a.first, b.first);
    }
    /* Integers are compared for EQ and GT only: NE and LE are the inverse. */
    if (!is_float(n->from) &&
        (n->op == HY_ARCH_JIT_NE || n->op == HY_ARCH_JIT_LE)) {
        ones(j, T0);
        put_rrr(j, PXOR, j->vector, to.first, to.first, T0);
    }
}

static void choose(jit *j, const struct hy_arch_jit_node *n, reg to, reg mask,
                   reg yes, reg no)
{
    if (!is_wide(n->type)) {
        put_rrri(j, BLENDVPS, j->vector, to.first, no.first, yes.first,
                 (unsigned)mask.first << 4);
        return;
    }
    put_rrr(j, PMOVSXDQ, j->vector, T0, 0, mask.first);
    if (j->vector) {
        upper_half(j, T1, mask.first);
        put_rrr(j, PMOVSXDQ, 1, T1, 0, T1);
    }
    for (unsigned p = 0; p < parts_of(j, n->type); p++)
        put_rrri(j, BLENDVPD, j->vector, part(to, p), part(no, p), part(yes, p),
                 (T0 + p) << 4);
}

/* ---- conversion ---------------------------------------------------------- */

/* One instruction that widens 4 bytes to 8. */
static void widen(jit *j, uint32_t op, reg to, unsigned a)
{
    put_rrr(j, op, j->vector, to.first, 0, a);
    if (j->vector) {
        upper_half(j, T0, a);
        put_rrr(j, op, 1, to.second, 0, T0);
    }
}

/* One that narrows 8 bytes to 4 and leaves them in the lower half. */
static void narrow(jit *j, uint32_t op, unsigned to, unsigned first,
                   unsigned second)
{
    if (!j->vector) {
        put_rrr(j, op, 0, to, 0, first);
        return;
    }
    put_rrr(j, op, 1, T0, 0, first);
    put_rrr(j, op, 1, T1, 0, second);
    put_rrri(j, INSERTI128, 1, to, T0, T1, 1);
}

/*
 * The halves of the integer as doubles: (2^84 + 2^63 + high * 2^32) and
 * (2^52 + low); the first less (2^84 + 2^63 + 2^52) is exact, and their sum
 * rounds once.
 */
static void f64_of_i64(jit *j, unsigned to, unsigned a)
{
    unsigned l = j->vector;

    put_rrri(j, SHIFTQ_IMM, l, 2, T0, a, 32);
    broadcast64(j, T2, 0x4530000080000000);
    put_rrr(j, PXOR, l, T0, T0, T2);
    broadcast64(j, T2, 0x4330000000000000);
    put_rrri(j, PBLENDD, l, T1, a, T2, ODD_DWORDS);
    broadcast64(j, T2, 0x4530000080100000);
    put_rrr(j, SUBPD, l, T0, T0, T2);
    put_rrr(j, ADDPD, l, to, T0, T1);
}

static void f32_of_i64(jit *j, unsigned to, reg a)
{
    unsigned elements = j->vector ? LANES : 1;

    store_pair(j, a, 0);
    put_rrr(j, PXOR, 0, T0, T0, T0); /* the upper part is an input */
    for (unsigned n = 0; n < elements; n++) {
        put_stack(j, CVTSI2SS, 0, T1, 8 * n); /* vvvv is register 0: T0 */
        put_stack(j, MOVSS_STORE, 0, T1, SCRATCH_SECOND + 4 * n);
    }
    put_stack(j, j->vector ? MOVUPS : MOVSS, j->vector, to, SCRATCH_SECOND);
}

/* Too large gives 0x80..0, which the mask of too large inverts; NaN gives 0. */
static void saturate(jit *j, bool wide, unsigned to, unsigned from,
                     unsigned converted)
{
    unsigned l = j->vector;

    if (wide)
        broadcast64(j, T1, 0x43e0000000000000); /* 2^63 */
    else
        broadcast32(j, T1, 0x4f000000); /* 2^31 */
    put_rrri(j, wide ? CMPPD : CMPPS, l, T1, from, T1, GE_OQ);
    put_rrr(j, PXOR, l, converted, converted, T1);
    put_rrri(j, wide ? CMPPD : CMPPS, l, T1, from, from, ORD_Q);
    put_rrr(j, PAND, l, to, converted, T1);
}

static void i32_of_f32(jit *j, unsigned to, unsigned a)
{
    put_rrr(j, CVTTPS2DQ, j->vector, T0, 0, a);
    saturate(j, false, to, a, T0);
}

/* One part of 64-bit integers out of doubles in a, which is none of T0, T1. */
static void i64_of_f64(jit *j, unsigned to, unsigned a)
{
    unsigned elements = j->vector ? LANES / 2 : 1;

    put_stack(j, MOVUPS_STORE, j->vector, a, 0);
    for (unsigned n = 0; n < elements; n++) {
        put_stack(j, CVTTSD2SI, 0, RAX, 8 * n);
        put_integer(j, 0x89, RAX, RSP, NO_INDEX, 0, (int32_t)(8 * n));
    }
    put_stack(j, MOVUPS, j->vector, T0, 0);
    saturate(j, true, to, a, T0);
}

static void i64_of_f32(jit *j, reg to, unsigned a)
{
    put_rrr(j, CVTPS2PD, j->vector, T2, 0, a);
    i64_of_f64(j, to.first, T2);
    if (j->vector) {
        upper_half(j, T2, a);
        put_rrr(j, CVTPS2PD, 1, T2, 0, T2);
        i64_of_f64(j, to.second, T2);
    }
}

/* NaN becomes 0, and the rest is held within bounds. */
static void clamp_f64(jit *j, unsigned to, unsigned a, uint64_t low,
                      uint64_t high)
{
    unsigned l = j->vector;

    put_rrri(j, CMPPD, l, T3, a, a, ORD_Q);
    put_rrr(j, PAND, l, to, a, T3);
    broadcast64(j, T3, high);
    put_rrr(j, MINPD, l, to, to, T3);
    broadcast64(j, T3, low);
    put_rrr(j, MAXPD, l, to, to, T3);
}

static void narrow_of_f64(jit *j, unsigned type, unsigned to, reg a)
{
    bool is_byte = type == HY_ARCH_JIT_U8;
    uint64_t low = is_byte ? 0 : 0xc1e0000000000000; /* -2^31 */
    uint64_t high = is_byte ? 0x406fe00000000000 : 0x41dfffffffc00000;

    clamp_f64(j, T1, a.first, low, high);
    if (j->vector)
        clamp_f64(j, T2, a.second, low, high);
    if (!j->vector) {
        put_rrr(j, CVTTPD2DQ, 0, to, 0, T1);
        return;
    }
    put_rrr(j, CVTTPD2DQ, 1, T0, 0, T1);
    put_rrr(j, CVTTPD2DQ, 1, T1, 0, T2);
    put_rrri(j, INSERTI128, 1, to, T0, T1, 1);
}

static void u8_of_f32(jit *j, unsigned to, unsigned a)
{
    unsigned l = j->vector;

    put_rrri(j, CMPPS, l, T0, a, a, ORD_Q);
    put_rrr(j, PAND, l, T0, a, T0);
    broadcast32(j, T1, 0x437f0000); /* 255 */
    put_rrr(j, MINPS, l, T0, T0, T1);
    put_rrr(j, PXOR, l, T1, T1, T1);
    put_rrr(j, MAXPS, l, T0, T0, T1);
    put_rrr(j, CVTTPS2DQ, l, to, 0, T0);
}

static void convert_i32(jit *j, unsigned type, reg to, reg a)
{
    switch (type) {
    case HY_ARCH_JIT_F32:
        put_rrr(j, CVTDQ2PS, j->vector, to.first, 0, a.first);
        break;
    case HY_ARCH_JIT_F64:
        widen(j, CVTDQ2PD, to, a.first);
        break;
    case HY_ARCH_JIT_I64:
        widen(j, PMOVSXDQ, to, a.first);
        break;
    default: /* U8 */
        broadcast32(j, T0, 0xff);
        put_rrr(j, PAND, j->vector, to.first, a.first, T0);
        break;
    }
}

static void convert_i64(jit *j, unsigned type, reg to, reg a)
{
    if (type == HY_ARCH_JIT_F32) {
        f32_of_i64(j, to.first, a);
    } else if (type == HY_ARCH_JIT_F64) {
        for (unsigned p = 0; p < parts_of(j, type); p++)
            f64_of_i64(j, part(to, p), part(a, p));
    } else if (j->vector) {
        pack_pair(j, to.first, a.first, a.second);
    } else {
        move(j, to.first, a.first);
    }
}

static void convert_f32(jit *j, unsigned type, reg to, reg a)
{
    if (type == HY_ARCH_JIT_F64)
        widen(j, CVTPS2PD, to, a.first);
    else if (type == HY_ARCH_JIT_I32)
        i32_of_f32(j, to.first, a.first);
    else if (type == HY_ARCH_JIT_I64)
        i64_of_f32(j, to, a.first);
    else
        u8_of_f32(j, to.first, a.first);
}

static void convert(jit *j, const struct hy_arch_jit_node *n, reg to, reg a)
{
    switch (n->from) {
    case HY_ARCH_JIT_TRUTH:
        put_rrri(j, SHIFTD_IMM, j->vector, 2, to.first, a.first, 31);
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
    default: /* F64 */
        if (n->type == HY_ARCH_JIT_F32)
            narrow(j, CVTPD2PS, to.first, a.first, a.second);
        else if (n->type != HY_ARCH_JIT_I64)
            narrow_of_f64(j, n->type, to.first, a);
        else
            for (unsigned p = 0; p < parts_of(j, n->from); p++)
                i64_of_f64(j, part(to, p), part(a, p));
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
    else if (n->from == HY_ARCH_JIT_I64 &&
             (n->op == HY_ARCH_JIT_DIV || n->op == HY_ARCH_JIT_MOD))
        divide_i64(j, n->op, to, a, b);
    else
        for (unsigned p = 0; p < parts_of(j, n->type); p++)
            compute_part(j, n, part(to, p), part(a, p), part(b, p));
}
