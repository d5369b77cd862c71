/*
 * expr_compile.c - kernels: an expression together with what runs it.
 *
 *      hy_kernel --hold--> hy_expr      its nodes, for the interpreter
 *          |
 *          +-----span----> hy_code      its machine code, if it has some
 *
 * Invariant: a kernel is immutable from the moment it is returned.
 * Upstream: jit.h. Downstream: expr_interp.c, expr_native.c, code.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "expr.h"
#include "options.h"

size_t hy_type_bytes(hy_type type)
{
    return (int)type >= HY_F32 && type <= HY_U8 ? hyi_expr_bytes(type) : 0;
}

hy_type hy_expr_type(const hy_expr *expr)
{
    unsigned type;

    if (expr == NULL)
        return (hy_type)0;
    type = expr->nodes[expr->root].type;
    return type == HY_ARCH_JIT_TRUTH ? HY_U8 : (hy_type)type;
}

static void expr_drop(hy_expr *expr)
{
    /* Release and acquire: the last holder sees what others did with it.
     * Partner: the same decrement in other threads. */
    if (atomic_fetch_sub_explicit(&expr->holds, 1, memory_order_acq_rel) == 1)
        free(expr);
}

void hy_expr_destroy(hy_expr *expr)
{
    if (expr != NULL)
        expr_drop(expr);
}

int hy_expr_compile(hy_kernel **out, hy_code *code, const hy_expr *expr,
                    const hy_expr_options *options)
{
    hy_expr_options o;
    struct hy_kernel *k;
    int saved = errno;
    int r = hyi_options_read(&o, sizeof(o), options);

    if (r != 0)
        return r;
    if (out == NULL || expr == NULL || o.backend > HY_EXPR_NATIVE)
        return -EINVAL;
    k = calloc(1, sizeof(*k));
    if (k == NULL) {
        errno = saved;
        return -ENOMEM;
    }
    if (o.backend != HY_EXPR_INTERPRETER)
        r = code != NULL ? hyi_expr_emit(expr, code, k) : -ENOTSUP;
    errno = saved;
    if (r != 0 && o.backend == HY_EXPR_NATIVE) {
        free(k);
        return r;
    }
    k->expr = expr;
    /* Relaxed: the caller holds expr already. The hold is all that changes. */
    atomic_fetch_add_explicit(&((hy_expr *)expr)->holds, 1,
                              memory_order_relaxed);
    *out = k;
    return 0;
}

int hy_kernel_backend(const hy_kernel *k)
{
    if (k == NULL)
        return -EINVAL;
    return k->eval != NULL ? HY_EXPR_NATIVE : HY_EXPR_INTERPRETER;
}

static bool all_there(const void *const *list, const uint16_t *which,
                      unsigned count)
{
    if (list == NULL)
        return count == 0;
    for (unsigned i = 0; i < count; i++)
        if (list[which[i]] == NULL)
            return false;
    return true;
}

int hy_kernel_eval(const hy_kernel *k, const void *const *columns,
                   const void *const *params, void *out, size_t count)
{
    const hy_expr *e;

    if (k == NULL)
        return -EINVAL;
    if (count == 0)
        return 0;
    e = k->expr;
    if (out == NULL || !all_there(columns, e->columns, e->column_count) ||
        !all_there(params, e->params, e->param_count))
        return -EINVAL;
    if (k->eval != NULL)
        return k->eval(columns, params, out, count);
    hyi_expr_interpret(e, e->root, columns, params, out, 0, count);
    return 0;
}

int hy_kernel_test(const hy_kernel *k, const void *const *columns,
                   const void *const *params, uint64_t row)
{
    uint8_t truth;

    if (HYI_UNLIKELY(k == NULL))
        return -EINVAL;
    if (HYI_LIKELY(k->test != NULL))
        return k->test(columns, params, row);
    hyi_expr_interpret(k->expr, k->expr->truth, columns, params, &truth,
                       (size_t)row, 1);
    return truth;
}

void hy_kernel_release(hy_kernel *k)
{
    if (k == NULL)
        return;
    if (k->eval != NULL)
        hyi_code_retract(k->code, &k->span);
    expr_drop((hy_expr *)k->expr);
    free(k);
}
