/*
 * cpu.c - the portable half knows no instruction set.
 * Upstream: arch.h (cpu).
 */
#include "arch.h"

const struct hy_arch_level hy_arch_levels[] = {{"scalar", 0}, {NULL, 0}};

unsigned hy_arch_cpu_features(void)
{
    return 0;
}

bool hy_arch_ticks_steady(uint64_t *rate)
{
    (void)rate;
    return false;
}
