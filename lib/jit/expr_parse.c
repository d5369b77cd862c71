/*
 * expr_parse.c - from source text to typed nodes, by two stacks and without
 * recursion, so that no input can exhaust the caller's stack.
 *
 *      a * ( b +  | c          open:   *  (  +
 *                              values: a  b
 *
 * An operation that waits for its right operand is open. A token that binds
 * less tightly closes it: its operands are taken from values and its result is
 * put there (expr_build.c types it).
 *
 * Invariant: between tokens, each open operation has all operands but its last
 * on values, in order.
 * Upstream: hy_expr_parse's callers. Downstream: expr_lex.c, expr_build.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "check.h"
#include "expr.h"
#include "options.h"

enum { ITEMS_MAX = 65535 };

enum open_kind {
    OPEN_BINARY,
    OPEN_UNARY,
    OPEN_COLON,    /* c ? a : | */
    OPEN_QUESTION, /* c ? | : */
    OPEN_PAREN,
    OPEN_CALL
};

/* How tightly an operator holds its operands; a higher one closes first. */
enum {
    BINDS_COLON = 1,
    BINDS_OR,
    BINDS_AND,
    BINDS_EQUAL,
    BINDS_LESS,
    BINDS_ADD,
    BINDS_MUL,
    BINDS_UNARY
};

struct open {
    uint8_t kind, binds;
    uint8_t which; /* index into the table of its kind */
    uint8_t arguments;
    size_t position;
};

struct parser {
    struct hyi_builder build;
    const char *source;
    const hy_schema *schema;
    uint32_t *names; /* open addressing: index of a column + 1, or 0 */
    size_t names_mask;
    size_t at;
    unsigned open_count, value_count;
    struct open open[HYI_EXPR_OPEN_MAX];
    struct hyi_operand values[2 * HYI_EXPR_OPEN_MAX + 4];
};

static const struct binary {
    int sign;
    uint8_t binds;
    uint8_t op;
    uint8_t swap; /* a > b is b < a, for NaN too */
} binaries[] = {
    {'+', BINDS_ADD, HY_ARCH_JIT_ADD, 0},
    {'-', BINDS_ADD, HY_ARCH_JIT_SUB, 0},
    {'*', BINDS_MUL, HY_ARCH_JIT_MUL, 0},
    {'/', BINDS_MUL, HY_ARCH_JIT_DIV, 0},
    {'%', BINDS_MUL, HY_ARCH_JIT_MOD, 0},
    {'<', BINDS_LESS, HY_ARCH_JIT_LT, 0},
    {'>', BINDS_LESS, HY_ARCH_JIT_LT, 1},
    {HYI_SIGN_LE, BINDS_LESS, HY_ARCH_JIT_LE, 0},
    {HYI_SIGN_GE, BINDS_LESS, HY_ARCH_JIT_LE, 1},
    {HYI_SIGN_EQ, BINDS_EQUAL, HY_ARCH_JIT_EQ, 0},
    {HYI_SIGN_NE, BINDS_EQUAL, HY_ARCH_JIT_NE, 0},
    {HYI_SIGN_AND, BINDS_AND, HY_ARCH_JIT_AND, 0},
    {HYI_SIGN_OR, BINDS_OR, HY_ARCH_JIT_OR, 0},
};

static const struct function {
    const char *name;
    uint8_t arguments, op, type;
} functions[] = {
    {"min", 2, HY_ARCH_JIT_MIN, 0},      {"max", 2, HY_ARCH_JIT_MAX, 0},
    {"abs", 1, HY_ARCH_JIT_ABS, 0},      {"sqrt", 1, HY_ARCH_JIT_SQRT, 0},
    {"f32", 1, HY_ARCH_JIT_CVT, HY_F32}, {"f64", 1, HY_ARCH_JIT_CVT, HY_F64},
    {"i32", 1, HY_ARCH_JIT_CVT, HY_I32}, {"i64", 1, HY_ARCH_JIT_CVT, HY_I64},
    {"u8", 1, HY_ARCH_JIT_CVT, HY_U8},
};

static void fail(struct parser *p, size_t position, const char *message)
{
    hyi_expr_fail(&p->build, -EINVAL, position, "%s", message);
}

/* ---- the schema ---------------------------------------------------------- */

static uint64_t hash_name(const char *name, size_t length)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */

    for (size_t i = 0; i < length; i++)
        h = (h ^ (unsigned char)name[i]) * 0x100000001b3u;
    return h ^ h >> 32;
}

/* The slot of a name: it holds the name's column + 1, or 0. */
static uint32_t *find_name(const struct parser *p, const char *name,
                           size_t length)
{
    size_t i = hash_name(name, length) & p->names_mask;

    for (; p->names[i] != 0; i = (i + 1) & p->names_mask) {
        const char *other = p->schema->columns[p->names[i] - 1].name;

        if (strncmp(other, name, length) == 0 && other[length] == '\0')
            break;
    }
    return &p->names[i];
}

static void add_name(struct parser *p, size_t column)
{
    const hy_column *c = &p->schema->columns[column];
    uint32_t *slot;

    if (hy_type_bytes(c->type) == 0) {
        hyi_expr_fail(&p->build, -EINVAL, 0,
                      "schema: column %zu has no known type", column);
        return;
    }
    if (c->name == NULL || !hyi_expr_is_name(c->name)) {
        hyi_expr_fail(&p->build, -EINVAL, 0,
                      "schema: the name of column %zu is no identifier",
                      column);
        return;
    }
    slot = find_name(p, c->name, strlen(c->name));
    if (*slot != 0)
        hyi_expr_fail(&p->build, -EINVAL, 0,
                      "schema: columns %u and %zu have one name", *slot - 1,
                      column);
    else
        *slot = (uint32_t)column + 1;
}

static void read_schema(struct parser *p)
{
    const hy_schema *s = p->schema;
    size_t slots = hyi_power_of_two_ceil(2 * s->column_count + 1);

    if (s->column_count > ITEMS_MAX || s->param_count > ITEMS_MAX) {
        hyi_expr_fail(&p->build, -E2BIG, 0,
                      "schema: more than 65,535 columns or parameters");
        return;
    }
    if ((s->columns == NULL && s->column_count != 0) ||
        (s->params == NULL && s->param_count != 0)) {
        fail(p, 0, "schema: a count without its array");
        return;
    }
    p->names = calloc(slots, sizeof(*p->names));
    p->names_mask = slots - 1;
    if (p->names == NULL) {
        p->build.error = -ENOMEM;
        return;
    }
    for (size_t i = 0; i < s->column_count && p->build.error == 0; i++)
        add_name(p, i);
    for (size_t i = 0; i < s->param_count && p->build.error == 0; i++)
        if (hy_type_bytes(s->params[i]) == 0)
            hyi_expr_fail(&p->build, -EINVAL, 0,
                          "schema: parameter %zu has no known type", i);
}

/* ---- the stacks ---------------------------------------------------------- */

static void push_value(struct parser *p, struct hyi_operand v, size_t position)
{
    /* Each open operation holds at most two, and one is on its way. */
    HYI_ASSERT(p->value_count < HYI_ARRAY_COUNT(p->values));
    v.position = position;
    p->values[p->value_count++] = v;
}

static struct hyi_operand pop_value(struct parser *p)
{
    HYI_ASSERT(p->value_count > 0);
    return p->values[--p->value_count];
}

static void push_open(struct parser *p, enum open_kind kind, unsigned binds,
                      size_t which, size_t position)
{
    if (p->open_count == HYI_EXPR_OPEN_MAX) {
        hyi_expr_fail(&p->build, -E2BIG, position,
                      "more than %d operators and parentheses are open here",
                      HYI_EXPR_OPEN_MAX);
        return;
    }
    p->open[p->open_count++] = (struct open){(uint8_t)kind, (uint8_t)binds,
                                             (uint8_t)which, 1, position};
}

static const struct open *top(const struct parser *p)
{
    return p->open_count != 0 ? &p->open[p->open_count - 1] : NULL;
}

static void close_binary(struct parser *p, const struct open *o)
{
    const struct binary *op = &binaries[o->which];
    struct hyi_operand right = pop_value(p), left = pop_value(p);
    size_t position = left.position;
    struct hyi_operand result;

    if (op->op == HY_ARCH_JIT_AND || op->op == HY_ARCH_JIT_OR)
        result = hyi_expr_logic(&p->build, op->op, left, right);
    else if (op->swap)
        result = hyi_expr_binary(&p->build, op->op, right, left);
    else
        result = hyi_expr_binary(&p->build, op->op, left, right);
    push_value(p, result, position);
}

static void close_unary(struct parser *p, const struct open *o)
{
    struct hyi_operand a = pop_value(p), result;

    if (o->which == '!')
        result = hyi_expr_not(&p->build, a);
    else if (o->which == '+')
        result = hyi_expr_plus(&p->build, a);
    else
        result = hyi_expr_unary(&p->build, HY_ARCH_JIT_NEG, a);
    push_value(p, result, o->position);
}

/* Computes the innermost open operation. */
static void close_top(struct parser *p)
{
    struct open o = p->open[--p->open_count];

    p->build.position = o.position;
    if (o.kind == OPEN_BINARY) {
        close_binary(p, &o);
    } else if (o.kind == OPEN_UNARY) {
        close_unary(p, &o);
    } else {
        struct hyi_operand no = pop_value(p), yes = pop_value(p);
        struct hyi_operand condition = pop_value(p);

        HYI_ASSERT(o.kind == OPEN_COLON);
        push_value(p, hyi_expr_select(&p->build, condition, yes, no),
                   condition.position);
    }
}

/* Computes what is open and binds at least this tightly. */
static void close_above(struct parser *p, unsigned binds)
{
    while (p->build.error == 0 && p->open_count != 0 &&
           top(p)->kind <= OPEN_COLON && top(p)->binds >= binds)
        close_top(p);
}

/* ---- tokens -------------------------------------------------------------- */

static void take_name(struct parser *p, const struct hyi_token *t)
{
    const char *name = p->source + t->position;
    int shown = t->length < 60 ? (int)t->length : 60;
    size_t next = p->at;
    struct hyi_token paren;
    uint32_t column;

    hyi_expr_lex(p->source, &next, &paren);
    if (paren.kind == HYI_TOKEN_SIGN && paren.sign == '(') {
        for (size_t i = 0; i < HYI_ARRAY_COUNT(functions); i++) {
            if (strlen(functions[i].name) == t->length &&
                memcmp(functions[i].name, name, t->length) == 0) {
                p->at = next;
                push_open(p, OPEN_CALL, 0, i, t->position);
                return;
            }
        }
        hyi_expr_fail(&p->build, -EINVAL, t->position,
                      "there is no function '%.*s'", shown, name);
        return;
    }
    column = *find_name(p, name, t->length);
    if (column == 0) {
        hyi_expr_fail(&p->build, -EINVAL, t->position,
                      "there is no column '%.*s'", shown, name);
        return;
    }
    column--;
    push_value(p,
               hyi_expr_leaf(&p->build, HY_ARCH_JIT_COLUMN,
                             p->schema->columns[column].type, column),
               t->position);
}

static void take_param(struct parser *p, const struct hyi_token *t)
{
    if (t->integer >= p->schema->param_count) {
        hyi_expr_fail(&p->build, -EINVAL, t->position,
                      "there is no such parameter; the schema has %zu",
                      p->schema->param_count);
        return;
    }
    push_value(p,
               hyi_expr_leaf(&p->build, HY_ARCH_JIT_PARAM,
                             p->schema->params[t->integer],
                             (unsigned)t->integer),
               t->position);
}

static void take_number(struct parser *p, const struct hyi_token *t)
{
    struct hyi_operand v = {.kind = HYI_OPERAND_INTEGER, .integer = t->integer};

    if (t->kind == HYI_TOKEN_SINGLE)
        v = hyi_expr_single(&p->build, (float)t->number);
    else if (t->kind == HYI_TOKEN_FLOAT)
        v = (struct hyi_operand){.kind = HYI_OPERAND_FLOAT,
                                 .number = t->number};
    push_value(p, v, t->position);
}

/* A token where a value should start; true when the value is complete. */
static bool take_operand(struct parser *p, const struct hyi_token *t)
{
    unsigned calls = p->open_count;

    p->build.position = t->position;
    switch (t->kind) {
    case HYI_TOKEN_INTEGER:
    case HYI_TOKEN_FLOAT:
    case HYI_TOKEN_SINGLE:
        take_number(p, t);
        return true;
    case HYI_TOKEN_NAME:
        take_name(p, t);
        return p->open_count == calls;
    case HYI_TOKEN_PARAM:
        take_param(p, t);
        return true;
    case HYI_TOKEN_END:
        fail(p, t->position, "the expression ends where a value should be");
        return false;
    default:
        break;
    }
    if (t->sign == '(')
        push_open(p, OPEN_PAREN, 0, 0, t->position);
    else if (t->sign == '-' || t->sign == '+' || t->sign == '!')
        push_open(p, OPEN_UNARY, BINDS_UNARY, (size_t)t->sign, t->position);
    else
        fail(p, t->position, "a value should be here");
    return false;
}

static void close_call(struct parser *p, const struct open *o)
{
    const struct function *f = &functions[o->which];
    struct hyi_operand a, b = {0};

    if (o->arguments != f->arguments) {
        hyi_expr_fail(&p->build, -EINVAL, o->position,
                      "%s takes %d argument%s, not %d", f->name, f->arguments,
                      f->arguments == 1 ? "" : "s", o->arguments);
        return;
    }
    p->build.position = o->position;
    if (f->arguments == 2)
        b = pop_value(p);
    a = pop_value(p);
    if (f->op == HY_ARCH_JIT_CVT)
        a = hyi_expr_convert(&p->build, f->type, a);
    else if (f->arguments == 2)
        a = hyi_expr_binary(&p->build, f->op, a, b);
    else
        a = hyi_expr_unary(&p->build, f->op, a);
    push_value(p, a, o->position);
}

static void take_close(struct parser *p, size_t position)
{
    struct open o;

    close_above(p, 0);
    if (p->build.error != 0)
        return;
    if (p->open_count == 0) {
        fail(p, position, "this ')' closes nothing");
        return;
    }
    o = p->open[--p->open_count];
    if (o.kind == OPEN_QUESTION)
        fail(p, o.position, "this '?' has no ':'");
    else if (o.kind == OPEN_CALL)
        close_call(p, &o);
}

static void take_comma(struct parser *p, size_t position)
{
    close_above(p, 0);
    if (p->build.error != 0)
        return;
    if (p->open_count == 0 || top(p)->kind != OPEN_CALL)
        fail(p, position, "a ',' stands between the arguments of a function");
    else if (p->open[p->open_count - 1].arguments++ == 2)
        fail(p, position, "no function takes more than two arguments");
}

static void take_colon(struct parser *p, size_t position)
{
    struct open *o;

    close_above(p, 0);
    if (p->build.error != 0)
        return;
    if (p->open_count == 0 || top(p)->kind != OPEN_QUESTION) {
        fail(p, position, "this ':' has no '?'");
        return;
    }
    o = &p->open[p->open_count - 1];
    o->kind = OPEN_COLON;
    o->binds = BINDS_COLON;
}

static void take_end(struct parser *p)
{
    close_above(p, 0);
    if (p->build.error != 0 || p->open_count == 0)
        return;
    fail(p, top(p)->position,
         top(p)->kind == OPEN_QUESTION ? "this '?' has no ':'"
                                       : "the parenthesis opened here is never "
                                         "closed");
}

/* A token behind a value; true when a value follows it. */
static bool take_operator(struct parser *p, const struct hyi_token *t)
{
    if (t->kind != HYI_TOKEN_SIGN) {
        fail(p, t->position, "an operator should be here");
        return false;
    }
    for (size_t i = 0; i < HYI_ARRAY_COUNT(binaries); i++) {
        if (binaries[i].sign != t->sign)
            continue;
        close_above(p, binaries[i].binds);
        push_open(p, OPEN_BINARY, binaries[i].binds, i, t->position);
        return true;
    }
    if (t->sign == '?') {
        close_above(p, BINDS_COLON + 1);
        push_open(p, OPEN_QUESTION, 0, 0, t->position);
        return true;
    }
    if (t->sign == ')') {
        take_close(p, t->position);
        return false;
    }
    if (t->sign == ',')
        take_comma(p, t->position);
    else if (t->sign == ':')
        take_colon(p, t->position);
    else
        fail(p, t->position, "an operator should be here");
    return true;
}

static void parse(struct parser *p)
{
    bool wants_value = true;
    struct hyi_token t;

    while (p->build.error == 0) {
        hyi_expr_lex(p->source, &p->at, &t);
        if (t.kind == HYI_TOKEN_BAD) {
            fail(p, t.position, t.message);
        } else if (wants_value) {
            wants_value = !take_operand(p, &t);
        } else if (t.kind == HYI_TOKEN_END) {
            take_end(p);
            return;
        } else {
            wants_value = take_operator(p, &t);
        }
    }
}

int hy_expr_parse(hy_expr **out, const char *source, const hy_schema *schema,
                  hy_expr_error *error)
{
    hy_expr_error unheard;
    struct parser *p;
    hy_schema s;
    int saved = errno;
    int r = hyi_options_read(&s, sizeof(s), schema);

    if (error == NULL)
        error = &unheard;
    p = r == 0 ? malloc(sizeof(*p)) : NULL;
    errno = saved;
    if (p == NULL && r == 0)
        return -ENOMEM;
    if (r != 0 || out == NULL || source == NULL) {
        struct hyi_builder b = {.message = error};

        hyi_expr_fail(&b, r != 0 ? r : -EINVAL, 0, "%s",
                      r != 0 ? "schema: its size is wrong"
                             : "there is no source, or nowhere to return");
        free(p);
        return b.error;
    }
    /* The stacks behind need no zeroes. */
    memset(p, 0, offsetof(struct parser, open));
    p->build.message = error;
    p->source = source;
    p->schema = &s;
    read_schema(p);
    parse(p);
    r = p->build.error;
    if (r == 0)
        r = hyi_expr_finish(&p->build, p->values[0], out);
    free(p->build.nodes);
    free(p->build.constants);
    free(p->names);
    free(p);
    errno = saved;
    return r;
}
