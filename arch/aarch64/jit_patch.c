/*
 * jit_patch.c - the forms of a patch site on AArch64: a B or a NOP.
 *
 *      site:  b head        asks       nop   passes
 *      head:  nop           loads      b .+24   takes: to its own last
 *                                               instruction, b yes
 *
 * Invariant: only B and NOP are exchanged for one another, which the
 * architecture permits under execution (Arm ARM, B2.2.5).
 * Upstream: arch.h (jit_patch). Downstream: inline/patch.h has the layout.
 */
#include "arch.h"

#include <string.h>

#define NOP      0xd503201fu
#define B        0x14000000u
#define B_MASK   0x03ffffffu
#define HEAD_END 6 /* words from the head to its last instruction */

size_t hy_arch_patch_bytes(void)
{
    return 4;
}

uint32_t hy_arch_patch_code(enum hy_arch_patch form, const void *site,
                            const void *head)
{
    intptr_t words = ((intptr_t)head - (intptr_t)site) / 4;

    if (form == HY_ARCH_PATCH_ASKS)
        return B | ((uint32_t)words & B_MASK);
    if (form == HY_ARCH_PATCH_TAKES)
        return B | HEAD_END;
    return NOP;
}

static uint32_t word_at(const void *p)
{
    uint32_t word;

    memcpy(&word, p, sizeof(word));
    return word;
}

bool hy_arch_patch_is_pristine(const void *site, const void *head)
{
    if (((uintptr_t)site | (uintptr_t)head) & 3)
        return false;
    return word_at(site) ==
               hy_arch_patch_code(HY_ARCH_PATCH_ASKS, site, head) &&
           word_at(head) == NOP;
}

bool hy_arch_patch_in_place(void)
{
    return true;
}
