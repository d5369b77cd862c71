/*
 * expr_native.c - the steps of a plan as machine code; the instructions are
 * those of arch/<isa>/jit_encode.c.
 *
 *      eval:   hoisted leaves
 *              while a group of rows is left:   steps, vector
 *              while a row is left:             steps, one element
 *      test:   hoisted leaves, all steps, one element
 *      pool of constants
 *
 * Invariant: the code refers to nothing but its arguments and its own pool, so
 * that it may be copied to any address.
 * Upstream: expr_compile.c. Downstream: expr_plan.c, arch.h, code.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "expr_plan.h"
#include "isa.h"

enum {
    SMALL_BYTES = 6144, /* of code, built on the stack */
    LARGE_BYTES = 256 * 1024,
    ENTRY_ALIGN = 16
};

struct emission {
    struct hy_arch_jit jit;
    const hy_expr *expr;
    const struct hyi_plan *plan;
    size_t test, pool; /* where they start */
};

static void emit_load(struct emission *e, const struct hyi_step *s, int pointer)
{
    const struct hy_arch_jit_node *n = &e->expr->nodes[s->node];
    uint64_t constant = 0;

    if (n->op == HY_ARCH_JIT_CONST)
        constant = e->expr->constants[n->a];
    if (n->type == HY_ARCH_JIT_TRUTH && constant != 0)
        constant = UINT32_MAX;
    hy_arch_jit_load(&e->jit, n, pointer, constant, s->to);
}

static void emit_hoisted(struct emission *e)
{
    for (unsigned i = 0; i < e->plan->hoisted_count; i++)
        emit_load(e, &e->plan->hoisted[i], -1);
}

static void emit_step(struct emission *e, const struct hyi_step *s,
                      bool has_pointers)
{
    switch ((enum hyi_step_kind)s->kind) {
    case HYI_STEP_LOAD:
        emit_load(e, s, has_pointers ? s->pointer : -1);
        break;
    case HYI_STEP_COMPUTE:
        hy_arch_jit_compute(&e->jit, &e->expr->nodes[s->node], s->to, s->a,
                            s->b, s->c);
        break;
    case HYI_STEP_SPILL_SECOND:
        if (!e->jit.vector)
            break;
        /* fall through */
    case HYI_STEP_SPILL:
        hy_arch_jit_spill(&e->jit, s->offset, s->to.first);
        break;
    case HYI_STEP_RELOAD_SECOND:
        if (!e->jit.vector)
            break;
        /* fall through */
    case HYI_STEP_RELOAD:
        hy_arch_jit_reload(&e->jit, s->offset, s->to.first);
        break;
    }
}

static void emit_loop(struct emission *e, bool vector)
{
    unsigned type = e->expr->nodes[e->expr->root].type;

    e->jit.vector = vector;
    hy_arch_jit_loop_begin(&e->jit);
    for (unsigned i = 0; i < e->plan->eval_count; i++)
        emit_step(e, &e->plan->steps[i], true);
    hy_arch_jit_store(&e->jit, type, e->plan->root);
    hy_arch_jit_loop_end(&e->jit);
}

static void emit_eval(struct emission *e)
{
    hy_arch_jit_eval_begin(&e->jit, e->expr->columns, e->plan->pointers);
    e->jit.vector = true;
    emit_hoisted(e);
    emit_loop(e, true);
    emit_loop(e, false);
    hy_arch_jit_eval_end(&e->jit);
    hy_arch_jit_frame(&e->jit, e->plan->frame_bytes);
}

static void emit_test(struct emission *e)
{
    e->jit.vector = false;
    hy_arch_jit_test_begin(&e->jit);
    emit_hoisted(e);
    for (unsigned i = 0; i < e->plan->count; i++)
        emit_step(e, &e->plan->steps[i], false);
    hy_arch_jit_test_end(&e->jit, e->plan->truth.first);
    hy_arch_jit_frame(&e->jit, e->plan->frame_bytes);
}

/* Emits into a buffer; false when it is too small. */
static bool emit(struct emission *e, uint8_t *buffer, size_t bytes)
{
    struct hy_arch_jit *j = &e->jit;

    j->start = j->at = buffer;
    j->end = buffer + bytes;
    j->full = false;
    j->pool_count = 0;
    emit_eval(e);
    while ((j->at - j->start) % ENTRY_ALIGN != 0 && !j->full)
        *j->at++ = hy_arch_jit_trap();
    e->test = (size_t)(j->at - j->start);
    emit_test(e);
    e->pool = (size_t)(j->at - j->start);
    hy_arch_jit_finish(j);
    return !j->full;
}

static int publish(const struct emission *e, hy_code *code, struct hy_kernel *k)
{
    size_t bytes = (size_t)(e->jit.at - e->jit.start);
    const uint8_t *entry;
    int r = hyi_code_publish(code, e->jit.start, bytes, &k->span);

    if (r != 0)
        return r;
    k->code = code;
    k->test_at = (uint32_t)e->test;
    k->pool_at = (uint32_t)e->pool;
    memcpy(&k->eval, &k->span.execute, sizeof(k->eval));
    entry = k->span.execute + e->test;
    memcpy(&k->test, &entry, sizeof(k->test));
    return 0;
}

/* Tries larger and larger buffers. */
static int emit_large(struct emission *e, hy_code *code, struct hy_kernel *k)
{
    int r = -ENOTSUP; /* too many constants, then */

    /* A value takes at most 512 bytes, three times. */
    for (size_t bytes = LARGE_BYTES; bytes <= (size_t)HYI_EXPR_NODES_MAX * 2048;
         bytes *= 4) {
        uint8_t *buffer = malloc(bytes);

        if (buffer == NULL)
            return -ENOMEM;
        if (emit(e, buffer, bytes)) {
            r = publish(e, code, k);
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
    uint8_t buffer[SMALL_BYTES];
    struct hy_arch_jit_shape shape;
    struct hyi_plan plan;
    struct emission e;
    int r;

    if (!hyi_code_is_writable(code) ||
        !hy_arch_jit_shape(hyi_isa_features(), &shape))
        return -ENOTSUP;
    r = hyi_plan_make(&plan, &shape, expr);
    if (r != 0)
        return r;
    e.expr = expr;
    e.plan = &plan;
    r = emit(&e, buffer, sizeof(buffer)) ? publish(&e, code, k)
                                         : emit_large(&e, code, k);
    hyi_plan_destroy(&plan);
    return r;
}
