/*
 * expr_native.c - registers and stack for the values of an expression, in one
 * pass over its nodes; the instructions are those of arch/<isa>/jit_encode.c.
 *
 *      eval:   hoisted constants and parameters
 *              while a group of rows is left:   body, vector
 *              while a row is left:             body, one element
 *      test:                                    body, one element
 *      pool of constants
 *
 * A value is in registers, in the frame, in both, or in neither. Leaves
 * (columns, constants, parameters) are loaded when they are first needed and
 * dropped without a store. When registers run out, the value whose last use is
 * farthest gives way.
 *
 * Invariant: every vector register that may hold a value is either free, or
 * hoisted, or owned by exactly one node.
 * Upstream: expr_compile.c. Downstream: arch.h (jit_encode), code.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "check.h"
#include "expr.h"
#include "isa.h"

enum {
    REGISTERS = 32,
    SMALL_NODES = 128,
    SMALL_BYTES = 6144, /* of code, built on the stack */
    LARGE_BYTES = 256 * 1024,
    ENTRY_ALIGN = 16,
    NOWHERE = 0xff
};

typedef struct hy_arch_jit_node node;
typedef struct hy_arch_jit_reg reg;

/* Where a value is. */
struct place {
    uint8_t first, second; /* registers, or NOWHERE */
    bool hoisted;
    bool pointed; /* a column whose address is in register `pointer` */
    uint8_t pointer;
    uint16_t offset; /* in the frame, or 0 */
};

struct emission {
    struct hy_arch_jit jit;
    struct hy_arch_jit_shape shape;
    const hy_expr *expr;
    struct place *places;
    uint32_t unused; /* registers that hold nothing */
    uint32_t locked; /* operands of the node at hand */
    uint16_t owner[REGISTERS];
    unsigned frame_bytes; /* of the body being emitted */
    unsigned frame_peak;  /* of the function */
    uint16_t slots[64];   /* free stretches of the frame */
    unsigned slot_count;
    bool refused;
};

static bool is_leaf(const node *n)
{
    return n->op <= HY_ARCH_JIT_CONST;
}

static bool is_wide(unsigned type)
{
    return type == HY_ARCH_JIT_F64 || type == HY_ARCH_JIT_I64;
}

static const node *node_at(const struct emission *e, unsigned i)
{
    return &e->expr->nodes[i];
}

/* The same in all rows: one register, even of 8 bytes an element. */
static bool is_uniform(const node *n)
{
    return n->op == HY_ARCH_JIT_PARAM || n->op == HY_ARCH_JIT_CONST;
}

static unsigned registers_of(const struct emission *e, const node *n)
{
    return e->jit.vector && is_wide(n->type) && !is_uniform(n) ? 2 : 1;
}

/* ---- the frame ----------------------------------------------------------- */

static unsigned slot_bytes(const struct emission *e)
{
    return e->jit.vector ? e->shape.lanes * 4 : 16;
}

/* Room for up to two registers; every slot has that size. */
static uint16_t slot_take(struct emission *e)
{
    unsigned offset;

    if (e->slot_count != 0)
        return e->slots[--e->slot_count];
    offset = e->frame_bytes;
    if (offset + 2 * slot_bytes(e) > e->shape.frame_max) {
        e->refused = true;
        return (uint16_t)e->shape.scratch;
    }
    e->frame_bytes = offset + 2 * slot_bytes(e);
    if (e->frame_bytes > e->frame_peak)
        e->frame_peak = e->frame_bytes;
    return (uint16_t)offset;
}

static void slot_free(struct emission *e, uint16_t offset)
{
    if (e->slot_count < HYI_ARRAY_COUNT(e->slots))
        e->slots[e->slot_count++] = offset;
}

/* ---- registers ----------------------------------------------------------- */

static void drop_registers(struct emission *e, struct place *p)
{
    if (p->first == NOWHERE || p->hoisted)
        return;
    e->unused |= 1u << p->first | 1u << p->second;
    p->first = p->second = NOWHERE;
}

static void evict(struct emission *e, unsigned victim)
{
    const node *n = node_at(e, victim);
    struct place *p = &e->places[victim];

    if (!is_leaf(n) && p->offset == 0) {
        p->offset = slot_take(e);
        hy_arch_jit_spill(&e->jit, p->offset, p->first);
        if (registers_of(e, n) == 2)
            hy_arch_jit_spill(&e->jit, p->offset + slot_bytes(e), p->second);
    }
    drop_registers(e, p);
}

/* Among those in registers and not locked: a leaf, else the last one needed. */
static unsigned choose_victim(const struct emission *e)
{
    uint32_t held = e->shape.registers & ~e->unused & ~e->locked;
    unsigned best = 0, best_score = 0;

    for (; held != 0; held &= held - 1) {
        unsigned i = e->owner[__builtin_ctz(held)];
        const node *n = node_at(e, i);
        unsigned score = n->last + 1u + (is_leaf(n) ? 1u << 16 : 0);

        if (!e->places[i].hoisted && score > best_score) {
            best = i;
            best_score = score;
        }
    }
    HYI_ASSERT(best_score != 0);
    return best;
}

static uint8_t take_register(struct emission *e, unsigned i)
{
    unsigned r;

    if (e->unused == 0)
        evict(e, choose_victim(e));
    r = (unsigned)__builtin_ctz(e->unused);
    e->unused &= ~(1u << r);
    e->locked |= 1u << r;
    e->owner[r] = (uint16_t)i;
    return (uint8_t)r;
}

static void take_registers(struct emission *e, unsigned i)
{
    struct place *p = &e->places[i];

    p->first = take_register(e, i);
    p->second =
        registers_of(e, node_at(e, i)) == 2 ? take_register(e, i) : p->first;
}

static reg registers_at(const struct emission *e, unsigned i)
{
    return (reg){e->places[i].first, e->places[i].second};
}

static void load_leaf(struct emission *e, unsigned i)
{
    const node *n = node_at(e, i);
    const struct place *p = &e->places[i];
    uint64_t constant = 0;

    if (n->op == HY_ARCH_JIT_CONST)
        constant = e->expr->constants[n->a];
    if (n->type == HY_ARCH_JIT_TRUTH && constant != 0)
        constant = UINT32_MAX;
    hy_arch_jit_load(&e->jit, n, p->pointed ? p->pointer : -1, constant,
                     registers_at(e, i));
}

/* Brings operand i into registers and keeps it there for the node at hand. */
static void need(struct emission *e, unsigned i)
{
    struct place *p = &e->places[i];
    const node *n = node_at(e, i);

    if (p->first != NOWHERE) {
        e->locked |= 1u << p->first | 1u << p->second;
        return;
    }
    take_registers(e, i);
    if (is_leaf(n)) {
        load_leaf(e, i);
        return;
    }
    HYI_ASSERT(p->offset != 0 || e->jit.full);
    hy_arch_jit_reload(&e->jit, p->offset, p->first);
    if (p->second != p->first)
        hy_arch_jit_reload(&e->jit, p->offset + slot_bytes(e), p->second);
}

/* Behind its last use a value leaves its registers and its slot. */
static void release(struct emission *e, unsigned operand, unsigned user)
{
    struct place *p = &e->places[operand];

    if (node_at(e, operand)->last != user)
        return;
    drop_registers(e, p);
    if (p->offset != 0)
        slot_free(e, p->offset);
    p->offset = 0;
}

/* Whether node i may take over the registers of an operand that ends here. */
static bool inherits(struct emission *e, unsigned i, unsigned operand)
{
    const node *n = node_at(e, i), *o = node_at(e, operand);
    struct place *p = &e->places[operand], *to = &e->places[i];

    if (o->last != i || p->hoisted || p->first == NOWHERE ||
        is_wide(n->type) != is_wide(o->type) ||
        (is_wide(o->type) && is_uniform(o)))
        return false;
    to->first = p->first;
    to->second = p->second;
    e->owner[to->first] = e->owner[to->second] = (uint16_t)i;
    return true;
}

/* Registers for node i: those of the operand that is returned, or new ones. */
static unsigned give_registers(struct emission *e, unsigned i)
{
    const node *n = node_at(e, i);
    const uint16_t operands[] = {n->a, n->b, n->c};

    for (unsigned k = 0; k < 3; k++)
        if (inherits(e, i, operands[k]))
            return operands[k];
    take_registers(e, i);
    return i;
}

/* ---- bodies -------------------------------------------------------------- */

static void emit_node(struct emission *e, unsigned i)
{
    const node *n = node_at(e, i);
    reg a, b, c;
    unsigned heir;

    e->locked = 0;
    need(e, n->a);
    need(e, n->b);
    need(e, n->c);
    a = registers_at(e, n->a);
    b = registers_at(e, n->b);
    c = registers_at(e, n->c);
    heir = give_registers(e, i);
    hy_arch_jit_compute(&e->jit, n, registers_at(e, i), a, b, c);
    if (heir != i)
        e->places[heir].first = e->places[heir].second = NOWHERE;
    release(e, n->a, i);
    release(e, n->b, i);
    release(e, n->c, i);
}

/* Computes nodes up to root; returns its registers. */
static reg emit_body(struct emission *e, unsigned root)
{
    e->slot_count = 0;
    e->frame_bytes = e->shape.scratch;
    for (unsigned i = 0; i <= root && !e->jit.full; i++)
        if (!is_leaf(node_at(e, i)))
            emit_node(e, i);
    e->locked = 0;
    need(e, root);
    return registers_at(e, root);
}

/* Forgets what a body left behind; hoisted values stay. */
static void forget(struct emission *e)
{
    for (unsigned i = 0; i < e->expr->count; i++) {
        drop_registers(e, &e->places[i]);
        e->places[i].offset = 0;
    }
}

static void hoist(struct emission *e)
{
    unsigned left = e->shape.hoist;

    e->jit.vector = true;
    for (unsigned i = 0; i <= e->expr->root && left != 0; i++) {
        if (!is_uniform(node_at(e, i)))
            continue;
        need(e, i);
        e->places[i].hoisted = true;
        left--;
    }
}

static void emit_loop(struct emission *e, bool vector)
{
    unsigned root = e->expr->root;

    e->jit.vector = vector;
    hy_arch_jit_loop_begin(&e->jit);
    hy_arch_jit_store(&e->jit, node_at(e, root)->type, emit_body(e, root));
    hy_arch_jit_loop_end(&e->jit);
    forget(e);
}

/* Ends a function: its frame is as large as its bodies needed. */
static void emit_frame(struct emission *e)
{
    hy_arch_jit_frame(&e->jit, e->frame_peak);
    e->frame_peak = e->shape.scratch;
}

static void emit_eval(struct emission *e)
{
    unsigned pointed = 0;

    for (unsigned i = 0; i < e->expr->count; i++) {
        struct place *p = &e->places[i];

        *p = (struct place){.first = NOWHERE, .second = NOWHERE};
        if (node_at(e, i)->op != HY_ARCH_JIT_COLUMN ||
            pointed == e->shape.pointers)
            continue;
        p->pointed = true;
        p->pointer = (uint8_t)pointed++;
    }
    hy_arch_jit_eval_begin(&e->jit, e->expr->columns, pointed);
    hoist(e);
    emit_loop(e, true);
    emit_loop(e, false);
    hy_arch_jit_eval_end(&e->jit);
    emit_frame(e);
}

static void emit_test(struct emission *e)
{
    for (unsigned i = 0; i < e->expr->count; i++) {
        e->places[i].hoisted = false;
        e->places[i].pointed = false;
    }
    forget(e);
    e->jit.vector = false;
    hy_arch_jit_test_begin(&e->jit);
    hy_arch_jit_test_end(&e->jit, emit_body(e, e->expr->truth).first);
    emit_frame(e);
}

/* Emits into a buffer; where test starts and the pool. False: too small. */
static bool emit(struct emission *e, uint8_t *buffer, size_t bytes,
                 size_t *test, size_t *pool)
{
    struct hy_arch_jit *j = &e->jit;

    j->start = j->at = buffer;
    j->end = buffer + bytes;
    j->full = false;
    j->pool_count = 0;
    e->refused = false;
    e->unused = e->shape.registers;
    e->frame_peak = e->shape.scratch;
    emit_eval(e);
    while ((j->at - j->start) % ENTRY_ALIGN != 0 && !j->full)
        *j->at++ = hy_arch_jit_trap();
    *test = (size_t)(j->at - j->start);
    emit_test(e);
    *pool = (size_t)(j->at - j->start);
    hy_arch_jit_finish(j);
    return !j->full;
}

static int publish(const struct emission *e, hy_code *code, size_t test,
                   size_t pool, struct hy_kernel *k)
{
    size_t bytes = (size_t)(e->jit.at - e->jit.start);
    struct hyi_code_span span;
    const uint8_t *entry;
    int r;

    if (e->refused)
        return -ENOTSUP;
    r = hyi_code_publish(code, e->jit.start, bytes, &span);
    if (r != 0)
        return r;
    k->code = code;
    k->span = span;
    k->test_at = (uint32_t)test;
    k->pool_at = (uint32_t)pool;
    memcpy(&k->eval, &span.execute, sizeof(k->eval));
    entry = span.execute + test;
    memcpy(&k->test, &entry, sizeof(k->test));
    return 0;
}

static int emit_large(struct emission *e, hy_code *code, struct hy_kernel *k)
{
    size_t bytes = LARGE_BYTES, test, pool;
    int r = -ENOTSUP;

    /* A value takes at most 512 bytes, three times. */
    for (; bytes <= (size_t)HYI_EXPR_NODES_MAX * 2048; bytes *= 4) {
        uint8_t *buffer = malloc(bytes);

        if (buffer == NULL)
            return -ENOMEM;
        if (emit(e, buffer, bytes, &test, &pool)) {
            r = publish(e, code, test, pool, k);
            free(buffer);
            return r;
        }
        free(buffer);
    }
    return r;
}

bool hyi_expr_native_usable(void)
{
    struct hy_arch_jit_shape shape;

    return hy_arch_jit_shape(hyi_isa_features(), &shape);
}

int hyi_expr_emit(const hy_expr *expr, hy_code *code, struct hy_kernel *k)
{
    struct place small[SMALL_NODES];
    uint8_t buffer[SMALL_BYTES];
    struct emission e;
    size_t test, pool;
    int r;

    if (!hyi_code_is_writable(code) ||
        !hy_arch_jit_shape(hyi_isa_features(), &e.shape))
        return -ENOTSUP;
    e.expr = expr;
    e.places = small;
    if (expr->count > SMALL_NODES)
        e.places = malloc(expr->count * sizeof(*e.places));
    if (e.places == NULL)
        return -ENOMEM;
    if (emit(&e, buffer, sizeof(buffer), &test, &pool))
        r = publish(&e, code, test, pool, k);
    else
        r = emit_large(&e, code, k);
    if (e.places != small)
        free(e.places);
    return r;
}
