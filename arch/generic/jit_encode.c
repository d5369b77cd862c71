/*
 * jit_encode.c - the portable half generates no machine code: hy_arch_jit_shape
 * says so, and the functions that emit are then never called.
 * Upstream: arch.h (jit_encode).
 */
#include "arch.h"

bool hy_arch_jit_shape(unsigned features, struct hy_arch_jit_shape *out)
{
    (void)features, (void)out;
    return false;
}

void hy_arch_jit_eval_begin(struct hy_arch_jit *jit, const uint16_t *columns,
                            unsigned count)
{
    (void)columns, (void)count;
    jit->full = true;
}

void hy_arch_jit_eval_end(struct hy_arch_jit *jit)
{
    jit->full = true;
}

void hy_arch_jit_loop_begin(struct hy_arch_jit *jit)
{
    jit->full = true;
}

void hy_arch_jit_loop_end(struct hy_arch_jit *jit)
{
    jit->full = true;
}

void hy_arch_jit_test_begin(struct hy_arch_jit *jit)
{
    jit->full = true;
}

void hy_arch_jit_test_end(struct hy_arch_jit *jit, unsigned truth)
{
    (void)truth;
    jit->full = true;
}

void hy_arch_jit_frame(struct hy_arch_jit *jit, unsigned bytes)
{
    (void)bytes;
    jit->full = true;
}

void hy_arch_jit_load(struct hy_arch_jit *jit,
                      const struct hy_arch_jit_node *node, int pointer,
                      uint64_t constant, struct hy_arch_jit_reg to)
{
    (void)node, (void)pointer, (void)constant, (void)to;
    jit->full = true;
}

void hy_arch_jit_store(struct hy_arch_jit *jit, unsigned type,
                       struct hy_arch_jit_reg from)
{
    (void)type, (void)from;
    jit->full = true;
}

void hy_arch_jit_spill(struct hy_arch_jit *jit, unsigned offset, unsigned reg)
{
    (void)offset, (void)reg;
    jit->full = true;
}

void hy_arch_jit_reload(struct hy_arch_jit *jit, unsigned offset, unsigned reg)
{
    (void)offset, (void)reg;
    jit->full = true;
}

void hy_arch_jit_compute(struct hy_arch_jit *jit,
                         const struct hy_arch_jit_node *node,
                         struct hy_arch_jit_reg to, struct hy_arch_jit_reg a,
                         struct hy_arch_jit_reg b, struct hy_arch_jit_reg c)
{
    (void)node, (void)to, (void)a, (void)b, (void)c;
    jit->full = true;
}

void hy_arch_jit_finish(struct hy_arch_jit *jit)
{
    jit->full = true;
}

uint8_t hy_arch_jit_trap(void)
{
    return 0;
}

size_t hy_arch_jit_constant(uint8_t *to, uint32_t value)
{
    (void)to, (void)value;
    return 0;
}
