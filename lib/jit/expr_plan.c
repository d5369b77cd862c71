/*
 * expr_plan.c - registers and stack for the values of an expression, in one
 * pass over its nodes.
 *
 * A value is in registers, in the frame, in both, or in neither. Leaves
 * (columns, constants, parameters) are loaded when they are first needed and
 * dropped without a store; some constants and parameters are loaded before the
 * loop and stay. When registers run out, a leaf gives way, else the value whose
 * last use is farthest. A result takes over the registers of an operand that
 * ends with it.
 *
 * Invariant: every vector register that may hold a value is either free, or
 * hoisted, or owned by exactly one node.
 * Upstream: expr_native.c. Downstream: arch.h (the shape).
 */
#include "expr_plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "check.h"

enum { REGISTERS = 32, PLACES_SMALL = 128, SLOTS_MAX = 64, NOWHERE = 0xffff };

typedef struct hy_arch_jit_node node;
typedef struct hy_arch_jit_reg reg;

/* Where a value is. */
struct place {
    uint16_t registers; /* first | second << 8, or NOWHERE */
    uint16_t offset;    /* in the frame, or 0 */
    int8_t pointer;     /* of a column: which register has its address, or -1 */
    bool hoisted;
};

struct planner {
    struct hyi_plan *plan;
    const node *nodes;
    struct place *places;
    uint32_t registers; /* that may hold values */
    uint32_t unused;    /* those that hold nothing */
    uint32_t locked;    /* operands of the node at hand */
    unsigned slot_bytes;
    unsigned slot_count;
    uint16_t slots[SLOTS_MAX]; /* free stretches of the frame */
    uint16_t owner[REGISTERS];
};

static bool is_leaf(const node *n)
{
    return n->op <= HY_ARCH_JIT_CONST;
}

static bool is_wide(unsigned type)
{
    return type == HY_ARCH_JIT_F64 || type == HY_ARCH_JIT_I64;
}

/* The same in all rows: one register, even of 8 bytes an element. */
static bool is_uniform(const node *n)
{
    return n->op == HY_ARCH_JIT_PARAM || n->op == HY_ARCH_JIT_CONST;
}

static bool takes_two(const node *n)
{
    return is_wide(n->type) && !is_uniform(n);
}

static uint32_t mask_of(const struct place *p)
{
    return 1u << (p->registers & 0xff) | 1u << (p->registers >> 8);
}

static reg registers_at(const struct planner *p, unsigned i)
{
    unsigned registers = p->places[i].registers;

    return (reg){(uint8_t)registers, (uint8_t)(registers >> 8)};
}

/* ---- steps --------------------------------------------------------------- */

/* The next step to fill in. After an error it is a place that nobody reads. */
static struct hyi_step *next_step(struct planner *p)
{
    struct hyi_plan *plan = p->plan;
    struct hyi_step *more;
    bool is_small = plan->steps == plan->small;

    if (HYI_LIKELY(plan->count < plan->capacity))
        return &plan->steps[plan->count++];
    more = realloc(is_small ? NULL : plan->steps,
                   2 * plan->capacity * sizeof(*more));
    if (more == NULL) {
        plan->error = -ENOMEM;
        return &plan->steps[plan->count - 1];
    }
    if (is_small)
        memcpy(more, plan->small, sizeof(plan->small));
    plan->steps = more;
    plan->capacity *= 2;
    return &plan->steps[plan->count++];
}

static void step_move(struct planner *p, unsigned kind, const struct place *v,
                      bool two)
{
    struct hyi_step *s = next_step(p);

    *s = (struct hyi_step){.kind = (uint8_t)kind,
                           .offset = v->offset,
                           .to = {(uint8_t)v->registers, 0}};
    if (!two)
        return;
    s = next_step(p);
    *s = (struct hyi_step){
        .kind = (uint8_t)(kind + HYI_STEP_SPILL_SECOND - HYI_STEP_SPILL),
        .offset = (uint16_t)(v->offset + p->slot_bytes),
        .to = {(uint8_t)(v->registers >> 8), 0}};
}

/* ---- the frame ----------------------------------------------------------- */

/* Room for a pair; every slot has that size. */
static uint16_t slot_take(struct planner *p)
{
    struct hyi_plan *plan = p->plan;
    unsigned offset = plan->frame_bytes;

    if (p->slot_count != 0)
        return p->slots[--p->slot_count];
    if (offset + 2 * p->slot_bytes > plan->shape.frame_max) {
        plan->error = -ENOTSUP;
        return (uint16_t)plan->shape.scratch;
    }
    plan->frame_bytes = offset + 2 * p->slot_bytes;
    return (uint16_t)offset;
}

static void slot_free(struct planner *p, uint16_t offset)
{
    if (p->slot_count < SLOTS_MAX)
        p->slots[p->slot_count++] = offset;
}

/* ---- registers ----------------------------------------------------------- */

static void drop_registers(struct planner *p, struct place *v)
{
    if (v->registers == NOWHERE || v->hoisted)
        return;
    p->unused |= mask_of(v);
    v->registers = NOWHERE;
}

static void evict(struct planner *p, unsigned victim)
{
    const node *n = &p->nodes[victim];
    struct place *v = &p->places[victim];

    if (!is_leaf(n) && v->offset == 0) {
        v->offset = slot_take(p);
        step_move(p, HYI_STEP_SPILL, v, takes_two(n));
    }
    drop_registers(p, v);
}

/* Among those in registers and not locked: a leaf, else the last one needed. */
static unsigned choose_victim(const struct planner *p)
{
    uint32_t held = p->registers & ~p->unused & ~p->locked;
    unsigned best = 0, best_score = 0;

    for (; held != 0; held &= held - 1) {
        unsigned i = p->owner[__builtin_ctz(held)];
        const node *n = &p->nodes[i];
        unsigned score = n->last + 1u + (is_leaf(n) ? 1u << 16 : 0);

        if (!p->places[i].hoisted && score > best_score) {
            best = i;
            best_score = score;
        }
    }
    HYI_ASSERT(best_score != 0);
    return best;
}

static unsigned take_register(struct planner *p, unsigned i)
{
    unsigned r;

    if (HYI_UNLIKELY(p->unused == 0))
        evict(p, choose_victim(p));
    r = (unsigned)__builtin_ctz(p->unused);
    p->unused &= ~(1u << r);
    p->locked |= 1u << r;
    p->owner[r] = (uint16_t)i;
    return r;
}

static void take_registers(struct planner *p, unsigned i)
{
    unsigned first = take_register(p, i), second = first;

    if (takes_two(&p->nodes[i]))
        second = take_register(p, i);
    p->places[i].registers = (uint16_t)(first | second << 8);
}

/* Brings operand i into registers and keeps it there for the node at hand. */
static void need(struct planner *p, unsigned i)
{
    struct place *v = &p->places[i];
    const node *n = &p->nodes[i];

    if (v->registers != NOWHERE) {
        p->locked |= mask_of(v);
        return;
    }
    take_registers(p, i);
    if (is_leaf(n)) {
        *next_step(p) = (struct hyi_step){.kind = HYI_STEP_LOAD,
                                          .pointer = v->pointer,
                                          .node = (uint16_t)i,
                                          .to = registers_at(p, i)};
        return;
    }
    HYI_ASSERT(v->offset != 0);
    step_move(p, HYI_STEP_RELOAD, v, takes_two(n));
}

/* Behind its last use a value leaves its registers and its slot. */
static void release(struct planner *p, unsigned operand, unsigned user)
{
    struct place *v = &p->places[operand];

    if (p->nodes[operand].last != user)
        return;
    drop_registers(p, v);
    if (v->offset != 0)
        slot_free(p, v->offset);
    v->offset = 0;
}

/* Whether node i may take over the registers of an operand that ends here. */
static bool inherits(struct planner *p, unsigned i, unsigned operand)
{
    const node *o = &p->nodes[operand];
    struct place *v = &p->places[operand];
    unsigned registers = v->registers;

    if (o->last != i || v->hoisted || registers == NOWHERE ||
        is_wide(p->nodes[i].type) != is_wide(o->type) ||
        (is_wide(o->type) && is_uniform(o)))
        return false;
    p->places[i].registers = (uint16_t)registers;
    p->owner[registers & 0xff] = p->owner[registers >> 8] = (uint16_t)i;
    v->registers = NOWHERE;
    return true;
}

/* ---- nodes --------------------------------------------------------------- */

static void plan_node(struct planner *p, unsigned i)
{
    const node *n = &p->nodes[i];
    /* Unused operands repeat the one before. */
    const bool two = n->b != n->a, three = n->c != n->b;
    struct hyi_step step = {.kind = HYI_STEP_COMPUTE, .node = (uint16_t)i};

    p->locked = 0;
    need(p, n->a);
    if (two)
        need(p, n->b);
    if (three)
        need(p, n->c);
    step.a = registers_at(p, n->a);
    step.b = registers_at(p, n->b);
    step.c = registers_at(p, n->c);
    if (!inherits(p, i, n->a) && !(two && inherits(p, i, n->b)) &&
        !(three && inherits(p, i, n->c)))
        take_registers(p, i);
    step.to = registers_at(p, i);
    *next_step(p) = step;
    release(p, n->a, i);
    if (two)
        release(p, n->b, i);
    if (three)
        release(p, n->c, i);
}

static reg plan_up_to(struct planner *p, unsigned from, unsigned end)
{
    for (unsigned i = from; i <= end && p->plan->error == 0; i++)
        if (!is_leaf(&p->nodes[i]))
            plan_node(p, i);
    p->locked = 0;
    if (p->plan->error == 0)
        need(p, end);
    return registers_at(p, end);
}

static void hoist(struct planner *p, unsigned root)
{
    struct hyi_plan *plan = p->plan;

    HYI_ASSERT(plan->shape.hoist <= HYI_HOISTED_MAX);
    for (unsigned i = 0; i <= root && plan->hoisted_count < plan->shape.hoist;
         i++) {
        if (!is_uniform(&p->nodes[i]))
            continue;
        take_registers(p, i);
        p->places[i].hoisted = true;
        plan->hoisted[plan->hoisted_count++] =
            (struct hyi_step){.kind = HYI_STEP_LOAD,
                              .pointer = -1,
                              .node = (uint16_t)i,
                              .to = registers_at(p, i)};
    }
}

static void place_all(struct planner *p, unsigned count)
{
    struct hyi_plan *plan = p->plan;

    for (unsigned i = 0; i < count; i++) {
        p->places[i] = (struct place){.registers = NOWHERE, .pointer = -1};
        if (p->nodes[i].op == HY_ARCH_JIT_COLUMN &&
            plan->pointers < plan->shape.pointers)
            p->places[i].pointer = (int8_t)plan->pointers++;
    }
}

int hyi_plan_make(struct hyi_plan *plan, const struct hy_arch_jit_shape *shape,
                  const hy_expr *expr)
{
    struct place small[PLACES_SMALL];
    struct planner p = {.plan = plan,
                        .nodes = expr->nodes,
                        .places = small,
                        .registers = shape->registers,
                        .unused = shape->registers,
                        .slot_bytes = shape->lanes * 4};

    plan->shape = *shape;
    plan->steps = plan->small;
    plan->capacity = HYI_STEPS_SMALL;
    plan->count = plan->hoisted_count = plan->pointers = 0;
    plan->frame_bytes = shape->scratch;
    plan->error = 0;
    if (expr->count > PLACES_SMALL)
        p.places = malloc(expr->count * sizeof(*p.places));
    if (p.places == NULL)
        return -ENOMEM;
    place_all(&p, expr->count);
    hoist(&p, expr->root);
    plan->root = plan_up_to(&p, 0, expr->root);
    plan->eval_count = plan->count;
    plan->truth = plan_up_to(&p, expr->root + 1u, expr->truth);
    if (p.places != small)
        free(p.places);
    if (plan->error != 0)
        hyi_plan_destroy(plan);
    return plan->error;
}

void hyi_plan_destroy(struct hyi_plan *plan)
{
    if (plan->steps != plan->small)
        free(plan->steps);
}
