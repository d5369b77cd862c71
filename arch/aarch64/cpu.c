/*
 * cpu.c - which instruction sets this processor has.
 * Upstream: arch.h (cpu). Downstream: the auxiliary vector on Linux, sysctl on
 * macOS. NEON is part of every AArch64 that runs an operating system.
 */
#include "arch.h"

const struct hy_arch_level hy_arch_levels[] = {
    {"scalar", 0},
    {"neon", HY_ARCH_NEON},
    {"neon+dotprod", HY_ARCH_NEON | HY_ARCH_DOTPROD},
    {NULL, 0},
};

#if defined(__linux__)
#include <sys/auxv.h>

enum { HWCAP_DOTPROD = 1 << 20 }; /* HWCAP_ASIMDDP */

unsigned hy_arch_cpu_features(void)
{
    unsigned features = HY_ARCH_NEON;

    if (getauxval(AT_HWCAP) & HWCAP_DOTPROD)
        features |= HY_ARCH_DOTPROD;
    return features;
}
#else
#include <sys/sysctl.h>

unsigned hy_arch_cpu_features(void)
{
    int has = 0;
    size_t bytes = sizeof(has);

    if (sysctlbyname("hw.optional.arm.FEAT_DotProd", &has, &bytes, NULL, 0) ==
            0 &&
        has)
        return HY_ARCH_NEON | HY_ARCH_DOTPROD;
    return HY_ARCH_NEON;
}
#endif

/* The generic timer, of every processor alike (Arm ARM, D11.1.2). */
bool hy_arch_ticks_steady(uint64_t *rate)
{
    __asm__("mrs %0, cntfrq_el0" : "=r"(*rate));
    return true;
}
