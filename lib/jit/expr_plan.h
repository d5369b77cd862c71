/*
 * expr_plan.h - the steps that compute an expression, with registers and frame
 * assigned: made once (expr_plan.c), emitted three times (expr_native.c): for
 * groups of rows, for the rows that are left, and for hy_kernel_test.
 *
 *      hoisted        leaves loaded once, before the loop
 *      steps          | load | load | compute | spill | ... | reload | compute
 * | ^ eval and test                       ^ eval_count: test
 *
 * Registers are those of a group. For one element the second of a pair is
 * unused, and steps that only move a second register are left out.
 */
#ifndef HYI_EXPR_PLAN_H
#define HYI_EXPR_PLAN_H

#include "expr.h"

enum hyi_step_kind {
    HYI_STEP_LOAD,
    HYI_STEP_COMPUTE,
    HYI_STEP_SPILL, /* to.first, to offset */
    HYI_STEP_RELOAD,
    HYI_STEP_SPILL_SECOND, /* likewise, of the second register of a pair */
    HYI_STEP_RELOAD_SECOND
};

struct hyi_step {
    uint8_t kind;
    int8_t pointer; /* of a column: the register with its address, or -1 */
    uint16_t node;
    uint16_t offset;
    struct hy_arch_jit_reg to, a, b, c;
};

enum { HYI_STEPS_SMALL = 160, HYI_HOISTED_MAX = 16 };

struct hyi_plan {
    struct hy_arch_jit_shape shape;
    struct hyi_step *steps; /* small, or from malloc */
    unsigned count, eval_count, capacity;
    unsigned hoisted_count;
    unsigned pointers; /* column addresses in registers */
    unsigned frame_bytes;
    struct hy_arch_jit_reg root, truth; /* where the results are */
    int error;
    struct hyi_step hoisted[HYI_HOISTED_MAX];
    struct hyi_step small[HYI_STEPS_SMALL];
};

/*
 * Plans expr for a shape. 0; -ENOTSUP when the frame would be too large;
 * -ENOMEM. After success, free with hyi_plan_destroy.
 */
int hyi_plan_make(struct hyi_plan *plan, const struct hy_arch_jit_shape *shape,
                  const hy_expr *expr);
void hyi_plan_destroy(struct hyi_plan *plan);

#endif
