/*
 * expr_build.c - types operations and lays out their nodes.
 *
 *      i32 column * 2.5  ->  0 COLUMN i32
 *                            1 CVT i32 -> f64 (0)
 *                            2 CONST f64 2.5
 *                            3 MUL f64 (1, 2)
 *
 * A literal stays without a type until it meets another operand. An operation
 * that stands there already is used again, and one of constants only is
 * computed at once, by the interpreter's own function.
 *
 * Invariant: a node's operands are of the type that its operation works on.
 * Upstream: expr_parse.c. Downstream: expr_interp.c (constants).
 */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "check.h"
#include "expr.h"

enum {
    SAME_WINDOW = 64, /* how far back an equal node is looked for */
    INT64_LIMIT_LOG2 = 63
};

typedef struct hy_arch_jit_node node;

void hyi_expr_fail(struct hyi_builder *b, int error, size_t position,
                   const char *format, ...)
{
    va_list list;

    if (b->error != 0)
        return;
    b->error = error;
    b->message->position = position;
    va_start(list, format);
    vsnprintf(b->message->message, sizeof(b->message->message), format, list);
    va_end(list);
}

/* ---- nodes --------------------------------------------------------------- */

static bool grow(struct hyi_builder *b)
{
    uint32_t capacity = b->capacity != 0 ? 2 * b->capacity : 32;
    node *nodes;
    uint64_t *constants;

    if (b->count == HYI_EXPR_NODES_MAX) {
        hyi_expr_fail(b, -E2BIG, b->position,
                      "the expression computes more than %d values",
                      HYI_EXPR_NODES_MAX);
        return false;
    }
    nodes = realloc(b->nodes, capacity * sizeof(*nodes));
    if (nodes != NULL)
        b->nodes = nodes;
    constants = realloc(b->constants, capacity * sizeof(*constants));
    if (constants != NULL)
        b->constants = constants;
    if (nodes == NULL || constants == NULL) {
        b->error = -ENOMEM;
        return false;
    }
    b->capacity = capacity;
    return true;
}

static bool is_same(const node *x, const node *y)
{
    return x->op == y->op && x->type == y->type && x->from == y->from &&
           x->a == y->a && x->b == y->b && x->c == y->c;
}

/* The index of n, which is appended unless it is there. */
static uint16_t put(struct hyi_builder *b, node n)
{
    uint32_t first = b->count > SAME_WINDOW ? b->count - SAME_WINDOW : 0;

    if (b->error != 0)
        return 0;
    /* Leaves are looked for everywhere, so that each is loaded once. */
    if (n.op <= HY_ARCH_JIT_CONST)
        first = 0;
    for (uint32_t i = b->count; i-- > first;)
        if (is_same(&b->nodes[i], &n))
            return (uint16_t)i;
    if (b->count == b->capacity && !grow(b))
        return 0;
    b->nodes[b->count] = n;
    return (uint16_t)b->count++;
}

static uint16_t put_constant(struct hyi_builder *b, unsigned type,
                             uint64_t bits)
{
    uint32_t i = 0;

    if (b->error != 0)
        return 0;
    while (i < b->constant_count && b->constants[i] != bits)
        i++;
    if (i == b->constant_count) {
        /* As many as nodes at most, and each has the same capacity. */
        if (b->constant_count == b->capacity && !grow(b))
            return 0;
        b->constants[b->constant_count++] = bits;
    }
    return put(b, (node){.op = HY_ARCH_JIT_CONST,
                         .type = (uint8_t)type,
                         .a = (uint16_t)i});
}

static bool is_constant(const struct hyi_builder *b, uint16_t i)
{
    return b->nodes[i].op == HY_ARCH_JIT_CONST;
}

static uint16_t fold(struct hyi_builder *b, const node *n)
{
    const void *a = &b->constants[b->nodes[n->a].a];
    const void *second = &b->constants[b->nodes[n->b].a];
    const void *third = &b->constants[b->nodes[n->c].a];
    uint64_t bits = 0;

    hyi_expr_operation(n)(&bits, a, second, third, 1);
    return put_constant(b, n->type, bits);
}

static uint16_t put_operation(struct hyi_builder *b, unsigned op, unsigned type,
                              unsigned from, uint16_t a, uint16_t second,
                              uint16_t third)
{
    node n = {.op = (uint8_t)op,
              .type = (uint8_t)type,
              .from = (uint8_t)from,
              .a = a,
              .b = second,
              .c = third};

    if (b->error != 0)
        return 0;
    if (is_constant(b, a) && is_constant(b, second) && is_constant(b, third))
        return fold(b, &n);
    return put(b, n);
}

static struct hyi_operand of_node(uint16_t i)
{
    return (struct hyi_operand){.kind = HYI_OPERAND_NODE, .node = i};
}

/* ---- types --------------------------------------------------------------- */

static unsigned type_of(const struct hyi_builder *b, uint16_t i)
{
    return b->error == 0 ? b->nodes[i].type : HY_ARCH_JIT_I32;
}

static unsigned promoted(unsigned type)
{
    return type == HY_ARCH_JIT_U8 || type == HY_ARCH_JIT_TRUTH ? HY_ARCH_JIT_I32
                                                               : type;
}

/* C's usual arithmetic conversions. */
static unsigned common(unsigned x, unsigned y)
{
    static const uint8_t order[] = {HY_ARCH_JIT_F64, HY_ARCH_JIT_F32,
                                    HY_ARCH_JIT_I64};

    for (size_t i = 0; i < HYI_ARRAY_COUNT(order); i++)
        if (x == order[i] || y == order[i])
            return order[i];
    return HY_ARCH_JIT_I32;
}

static uint16_t convert(struct hyi_builder *b, unsigned type, uint16_t i)
{
    unsigned from = type_of(b, i);

    if (from == type || b->error != 0)
        return i;
    if (from == HY_ARCH_JIT_U8 || from == HY_ARCH_JIT_TRUTH) {
        i = put_operation(b, HY_ARCH_JIT_CVT, HY_ARCH_JIT_I32, from, i, i, i);
        return convert(b, type, i);
    }
    if (from == HY_ARCH_JIT_I64 && type == HY_ARCH_JIT_U8)
        return convert(b, type, convert(b, HY_ARCH_JIT_I32, i));
    return put_operation(b, HY_ARCH_JIT_CVT, type, from, i, i, i);
}

/* ---- literals ------------------------------------------------------------ */

/* A value in the first bytes of a constant, where operations look for it. */
static uint64_t bits_of(const void *value, size_t bytes)
{
    uint64_t bits = 0;

    memcpy(&bits, value, bytes);
    return bits;
}

static uint16_t put_single(struct hyi_builder *b, float value)
{
    return put_constant(b, HY_ARCH_JIT_F32, bits_of(&value, sizeof(value)));
}

static uint16_t put_double(struct hyi_builder *b, double value)
{
    return put_constant(b, HY_ARCH_JIT_F64, bits_of(&value, sizeof(value)));
}

/* The value of an integer literal, which fits; what it means when negated. */
static int64_t literal_value(const struct hyi_operand *v)
{
    return (int64_t)(v->negative ? 0 - v->integer : v->integer);
}

static bool holds_integer(unsigned type, const struct hyi_operand *v)
{
    int64_t value = literal_value(v);
    /* The bits between the highest and the lowest that is set. */
    unsigned bits = v->integer == 0 ? 0
                                    : hyi_log2_floor(v->integer) + 1 -
                                          (unsigned)__builtin_ctzll(v->integer);

    switch (type) {
    case HY_ARCH_JIT_F32:
        return bits <= 24;
    case HY_ARCH_JIT_F64:
        return bits <= 53;
    case HY_ARCH_JIT_U8:
        return value >= 0 && value <= UINT8_MAX;
    case HY_ARCH_JIT_I64:
        return true;
    default:
        return value >= INT32_MIN && value <= INT32_MAX;
    }
}

static uint16_t integer_constant(struct hyi_builder *b, unsigned type,
                                 const struct hyi_operand *v)
{
    int64_t value = literal_value(v);
    int32_t narrow;

    switch (type) {
    case HY_ARCH_JIT_F32:
        return put_single(b, (float)value);
    case HY_ARCH_JIT_F64:
        return put_double(b, (double)value);
    case HY_ARCH_JIT_I64:
        return put_constant(b, type, bits_of(&value, sizeof(value)));
    default: /* u8 would be promoted at once */
        narrow = (int32_t)value;
        return put_constant(b, HY_ARCH_JIT_I32,
                            bits_of(&narrow, sizeof(narrow)));
    }
}

/* A node for v; other is the type of the operand that it meets, or 0. */
static uint16_t settle(struct hyi_builder *b, const struct hyi_operand *v,
                       unsigned other)
{
    if (v->kind == HYI_OPERAND_NODE)
        return v->node;
    if (v->kind == HYI_OPERAND_FLOAT) {
        if (other == HY_ARCH_JIT_F32 && (double)(float)v->number == v->number)
            return put_single(b, (float)v->number);
        return put_double(b, v->number);
    }
    if (v->integer >> INT64_LIMIT_LOG2 != 0 &&
        !(v->negative && v->integer == (uint64_t)1 << INT64_LIMIT_LOG2)) {
        hyi_expr_fail(b, -EINVAL, v->position,
                      "the number does not fit 64 bits with a sign");
        return 0;
    }
    if (other != 0 && holds_integer(other, v))
        return integer_constant(b, other, v);
    return integer_constant(b, HY_ARCH_JIT_I64, v);
}

/* Both operands as nodes, before promotion. */
static void settle_pair(struct hyi_builder *b, struct hyi_operand *left,
                        struct hyi_operand *right)
{
    unsigned of_left = 0, of_right = 0;

    if (left->kind == HYI_OPERAND_NODE)
        of_left = type_of(b, left->node);
    else if (left->kind == HYI_OPERAND_FLOAT)
        of_left = HY_ARCH_JIT_F64;
    if (right->kind == HYI_OPERAND_NODE)
        of_right = type_of(b, right->node);
    else if (right->kind == HYI_OPERAND_FLOAT)
        of_right = HY_ARCH_JIT_F64;
    left->node = settle(b, left, of_right);
    right->node = settle(b, right, of_left);
    left->kind = right->kind = HYI_OPERAND_NODE;
}

/* ---- operations ---------------------------------------------------------- */

struct hyi_operand hyi_expr_leaf(struct hyi_builder *b, unsigned op,
                                 unsigned type, unsigned which)
{
    return of_node(put(b, (node){.op = (uint8_t)op,
                                 .type = (uint8_t)type,
                                 .a = (uint16_t)which}));
}

struct hyi_operand hyi_expr_single(struct hyi_builder *b, float value)
{
    return of_node(put_single(b, value));
}

static struct hyi_operand negated(struct hyi_operand a)
{
    a.negative = !a.negative;
    a.number = -a.number;
    return a;
}

struct hyi_operand hyi_expr_unary(struct hyi_builder *b, unsigned op,
                                  struct hyi_operand a)
{
    unsigned type;
    uint16_t i;

    if (op == HY_ARCH_JIT_NEG && a.kind != HYI_OPERAND_NODE)
        return negated(a);
    i = settle(b, &a, 0);
    type = promoted(type_of(b, i));
    if (op == HY_ARCH_JIT_SQRT && type != HY_ARCH_JIT_F32)
        type = HY_ARCH_JIT_F64;
    i = convert(b, type, i);
    return of_node(put_operation(b, op, type, type, i, i, i));
}

struct hyi_operand hyi_expr_plus(struct hyi_builder *b, struct hyi_operand a)
{
    if (a.kind != HYI_OPERAND_NODE)
        return a;
    return of_node(convert(b, promoted(type_of(b, a.node)), a.node));
}

/* Not equal to zero. */
static uint16_t truth(struct hyi_builder *b, const struct hyi_operand *v,
                      unsigned op)
{
    uint16_t i = settle(b, v, 0), zero;
    unsigned type = type_of(b, i);

    if (type == HY_ARCH_JIT_TRUTH)
        return i;
    type = promoted(type);
    i = convert(b, type, i);
    zero = put_constant(b, type, 0);
    return put_operation(b, op, HY_ARCH_JIT_TRUTH, type, i, zero, zero);
}

struct hyi_operand hyi_expr_not(struct hyi_builder *b, struct hyi_operand a)
{
    uint16_t i;

    if (a.kind != HYI_OPERAND_NODE || type_of(b, a.node) != HY_ARCH_JIT_TRUTH)
        return of_node(truth(b, &a, HY_ARCH_JIT_EQ));
    i = a.node;
    return of_node(put_operation(b, HY_ARCH_JIT_NOT, HY_ARCH_JIT_TRUTH,
                                 HY_ARCH_JIT_TRUTH, i, i, i));
}

struct hyi_operand hyi_expr_binary(struct hyi_builder *b, unsigned op,
                                   struct hyi_operand left,
                                   struct hyi_operand right)
{
    bool compares = op >= HY_ARCH_JIT_EQ && op <= HY_ARCH_JIT_LE;
    unsigned type;
    uint16_t x, y;

    settle_pair(b, &left, &right);
    type = common(promoted(type_of(b, left.node)),
                  promoted(type_of(b, right.node)));
    if (op == HY_ARCH_JIT_MOD &&
        (type == HY_ARCH_JIT_F32 || type == HY_ARCH_JIT_F64)) {
        hyi_expr_fail(b, -EINVAL, b->position,
                      "%% is for integers, as in C; i64(x) makes one");
        return of_node(0);
    }
    x = convert(b, type, left.node);
    y = convert(b, type, right.node);
    return of_node(put_operation(b, op, compares ? HY_ARCH_JIT_TRUTH : type,
                                 type, x, y, y));
}

struct hyi_operand hyi_expr_logic(struct hyi_builder *b, unsigned op,
                                  struct hyi_operand left,
                                  struct hyi_operand right)
{
    uint16_t x = truth(b, &left, HY_ARCH_JIT_NE);
    uint16_t y = truth(b, &right, HY_ARCH_JIT_NE);

    return of_node(
        put_operation(b, op, HY_ARCH_JIT_TRUTH, HY_ARCH_JIT_TRUTH, x, y, y));
}

struct hyi_operand hyi_expr_select(struct hyi_builder *b,
                                   struct hyi_operand condition,
                                   struct hyi_operand yes,
                                   struct hyi_operand no)
{
    uint16_t c = truth(b, &condition, HY_ARCH_JIT_NE), x, y;
    unsigned type;

    settle_pair(b, &yes, &no);
    type =
        common(promoted(type_of(b, yes.node)), promoted(type_of(b, no.node)));
    x = convert(b, type, yes.node);
    y = convert(b, type, no.node);
    return of_node(put_operation(b, HY_ARCH_JIT_SELECT, type, type, c, x, y));
}

struct hyi_operand hyi_expr_convert(struct hyi_builder *b, unsigned type,
                                    struct hyi_operand a)
{
    return of_node(convert(b, type, settle(b, &a, type)));
}

/* ---- layout -------------------------------------------------------------- */

/* Marks what truth needs, in uses, and drops the rest; root moves along. */
static void compact(struct hyi_builder *b, uint16_t *root, uint16_t *end)
{
    uint16_t moved[HYI_EXPR_NODES_MAX];
    uint32_t kept = 0;

    b->nodes[*end].uses = 1;
    b->nodes[*root].uses = 1;
    for (uint32_t i = b->count; i-- > 0;) {
        node *n = &b->nodes[i];

        if (n->uses == 0 || n->op <= HY_ARCH_JIT_CONST)
            continue;
        b->nodes[n->a].uses = 1;
        b->nodes[n->b].uses = 1;
        b->nodes[n->c].uses = 1;
    }
    for (uint32_t i = 0; i < b->count; i++) {
        node n = b->nodes[i];

        if (n.uses == 0)
            continue;
        if (n.op > HY_ARCH_JIT_CONST) {
            n.a = moved[n.a];
            n.b = moved[n.b];
            n.c = moved[n.c];
        }
        n.uses = 0;
        n.last = (uint16_t)kept;
        moved[i] = (uint16_t)kept;
        b->nodes[kept++] = n;
    }
    b->count = kept;
    *root = moved[*root];
    *end = moved[*end];
}

static void use(struct hyi_builder *b, uint16_t operand, uint32_t user)
{
    node *n = &b->nodes[operand];

    n->last = (uint16_t)user;
    n->uses = n->uses < 2 ? n->uses + 1 : 2;
}

static void count_uses(struct hyi_builder *b)
{
    for (uint32_t i = 0; i < b->count; i++) {
        const node *n = &b->nodes[i];

        if (n->op <= HY_ARCH_JIT_CONST)
            continue;
        use(b, n->a, i);
        if (n->b != n->a)
            use(b, n->b, i);
        if (n->c != n->b && n->c != n->a)
            use(b, n->c, i);
    }
}

static bool is_leaf(const node *n)
{
    return n->op <= HY_ARCH_JIT_CONST;
}

/*
 * Buffers of the interpreter: constants and parameters keep theirs, since they
 * are filled once; others are free again behind their last use. Returns how
 * many there are.
 */
static uint16_t assign_slots(const struct hyi_builder *b, uint16_t *slots)
{
    uint16_t unused[HYI_EXPR_NODES_MAX];
    uint16_t count = 0, unused_count = 0;

    for (uint32_t i = 0; i < b->count; i++) {
        const node *n = &b->nodes[i];

        slots[i] = HYI_EXPR_NO_SLOT;
        if (n->op == HY_ARCH_JIT_COLUMN)
            continue;
        slots[i] =
            !is_leaf(n) && unused_count != 0 ? unused[--unused_count] : count++;
        if (is_leaf(n))
            continue;
        const uint16_t operands[] = {n->a, n->b, n->c};

        for (int k = 0; k < 3; k++) {
            const node *o = &b->nodes[operands[k]];

            if (is_leaf(o) || o->last != i ||
                (k > 0 && operands[k] == operands[k - 1]) ||
                (k > 1 && operands[k] == operands[0]))
                continue;
            unused[unused_count++] = slots[operands[k]];
        }
    }
    return count;
}

static uint16_t list_leaves(const struct hyi_builder *b, unsigned op,
                            uint16_t *list)
{
    uint16_t count = 0;

    for (uint32_t i = 0; i < b->count; i++)
        if (b->nodes[i].op == op)
            list[count++] = b->nodes[i].a;
    return count;
}

int hyi_expr_finish(struct hyi_builder *b, struct hyi_operand root,
                    struct hy_expr **out)
{
    struct hyi_operand whole = of_node(settle(b, &root, 0));
    uint16_t end = truth(b, &whole, HY_ARCH_JIT_NE);
    size_t bytes;
    struct hy_expr *e;

    if (b->error != 0)
        return b->error;
    compact(b, &whole.node, &end);
    count_uses(b);
    bytes = sizeof(*e) + b->constant_count * sizeof(uint64_t) +
            b->count * (sizeof(node) + 3 * sizeof(uint16_t));
    e = malloc(bytes);
    if (e == NULL)
        return -ENOMEM;
    uint64_t *constants = (uint64_t *)(e + 1);
    node *nodes = (node *)(constants + b->constant_count);
    uint16_t *slots = (uint16_t *)(nodes + b->count);
    uint16_t *columns = slots + b->count, *params = columns + b->count;

    memcpy(constants, b->constants, b->constant_count * sizeof(uint64_t));
    memcpy(nodes, b->nodes, b->count * sizeof(node));
    *e = (struct hy_expr){
        .count = (uint16_t)b->count,
        .root = whole.node,
        .truth = end,
        .column_count = list_leaves(b, HY_ARCH_JIT_COLUMN, columns),
        .param_count = list_leaves(b, HY_ARCH_JIT_PARAM, params),
        .slot_count = assign_slots(b, slots),
        .nodes = nodes,
        .constants = constants,
        .columns = columns,
        .params = params,
        .slots = slots};
    atomic_init(&e->holds, 1);
    *out = e;
    return 0;
}
