/*
 * isa.c - the instruction set features in use (isa.h).
 *
 *      processor's features  &  features of the level that HY_ISA names
 *
 * Invariant: the answer never changes once given; racing first callers compute
 * the same one. Upstream: vec, text, jit. Downstream: arch cpu.c.
 */
#include "isa.h"

#include "arch.h"
#include "process.h"

#include <stdlib.h>
#include <string.h>

#define KNOWN 0x80000000u

unsigned hyi_isa_cap(unsigned features, const char *name)
{
    if (name == NULL)
        return features;
    for (const struct hy_arch_level *l = hy_arch_levels; l->name != NULL; l++)
        if (strcmp(l->name, name) == 0)
            return features & l->features;
    return features;
}

unsigned hyi_isa_features(void)
{
    /* Relaxed, here and below: the word carries all there is to know. */
    unsigned known =
        atomic_load_explicit(&hyi_process.isa, memory_order_relaxed);

    if (known == 0) {
        known = KNOWN | hyi_isa_cap(hy_arch_cpu_features(), getenv("HY_ISA"));
        atomic_store_explicit(&hyi_process.isa, known, memory_order_relaxed);
    }
    return known & ~KNOWN;
}

const char *hyi_isa_name(void)
{
    unsigned features = hyi_isa_features();
    const char *name = "scalar";

    for (const struct hy_arch_level *l = hy_arch_levels; l->name != NULL; l++)
        if ((features & l->features) == l->features)
            name = l->name;
    return name;
}
