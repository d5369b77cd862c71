/*
 * cpu.c - the portable half knows no instruction set.
 * Upstream: arch.h (cpu).
 */
#include "arch.h"

unsigned hy_arch_cpu_features(void)
{
    return 0;
}
