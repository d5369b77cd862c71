/*
 * expr_native.c - whether this processor has a native back end, and emission.
 * Upstream: expr_compile.c. Downstream: arch.h (jit_encode).
 */
#include <errno.h>

#include "expr.h"

bool hyi_expr_native_usable(void)
{
    struct hy_arch_jit_shape shape;

    return hy_arch_jit_shape(&shape);
}

int hyi_expr_emit(const hy_expr *expr, hy_code *code, struct hy_kernel *k)
{
    (void)expr, (void)code, (void)k;
    return -ENOTSUP;
}
