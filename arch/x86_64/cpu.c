/*
 * cpu.c - which instruction sets this processor has and its system saves.
 * Upstream: arch.h (cpu). Downstream: CPUID and XGETBV (Intel SDM vol. 1, 13),
 * and for the time stamp counter vol. 3, 18.17.1.
 */
#include "arch.h"

#include <cpuid.h>

const struct hy_arch_level hy_arch_levels[] = {
    {"scalar", 0},
    {"avx2", HY_ARCH_AVX2},
    {"avx512", HY_ARCH_AVX2 | HY_ARCH_AVX512},
    {"avx512vnni", HY_ARCH_AVX2 | HY_ARCH_AVX512 | HY_ARCH_AVX512VNNI},
    {NULL, 0},
};

static uint64_t saved_by_system(void)
{
    uint32_t low, high;

    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

unsigned hy_arch_cpu_features(void)
{
    const uint64_t ymm = 0x6, zmm = 0xe6; /* XCR0: SSE, AVX; opmask, ZMM */
    const uint32_t basic = bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C;
    const uint32_t avx512 =
        bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    uint32_t a, b, c, d;
    unsigned features = 0;
    uint64_t saved;

    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & basic) != basic)
        return 0;
    saved = saved_by_system();
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (saved & ymm) != ymm)
        return 0;
    if ((b & bit_AVX2) && (b & bit_BMI2))
        features |= HY_ARCH_AVX2;
    if (features != 0 && (saved & zmm) == zmm && (b & avx512) == avx512) {
        features |= HY_ARCH_AVX512;
        if (c & bit_AVX512VNNI)
            features |= HY_ARCH_AVX512VNNI;
    }
    return features;
}

bool hy_arch_ticks_steady(uint64_t *rate)
{
    const uint32_t leaf = 0x80000007, invariant_tsc = 1u << 8;
    uint32_t a, b, c, d;

    if (!__get_cpuid(leaf, &a, &b, &c, &d) || !(d & invariant_tsc))
        return false;
    *rate = 0;
    return true;
}
