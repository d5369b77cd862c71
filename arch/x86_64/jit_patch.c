/*
 * jit_patch.c - the forms of a patch site on x86-64: one byte decides between
 * a jump and a test with an immediate, both five bytes long.
 *
 *      e9 rel32   jmp    asks, takes
 *      a9 imm32   test   passes, loads      (the flags are clobbered anyway)
 *
 * Invariant: the four bytes behind the opcode never change.
 * Upstream: arch.h (jit_patch). Downstream: AMD64 APM volume 2, 7.6.1; Intel
 * SDM volume 3A, 9.1.3 (docs/decisions/0001-patching-live-code.md).
 */
#include "arch.h"

#include <cpuid.h>
#include <string.h>

enum { JUMP = 0xe9, TEST = 0xa9, LENGTH = 5 };

size_t hy_arch_patch_bytes(void)
{
    return 1;
}

uint32_t hy_arch_patch_code(enum hy_arch_patch form, const void *site,
                            const void *head)
{
    (void)site;
    (void)head;
    return form == HY_ARCH_PATCH_ASKS || form == HY_ARCH_PATCH_TAKES ? JUMP
                                                                     : TEST;
}

static bool lies_in_one_quadword(const void *instruction)
{
    return ((uintptr_t)instruction & 7) + LENGTH <= 8;
}

bool hy_arch_patch_is_pristine(const void *site, const void *head)
{
    const unsigned char *s = site, *h = head;
    int32_t displacement;

    if (!lies_in_one_quadword(site) || !lies_in_one_quadword(head))
        return false;
    memcpy(&displacement, s + 1, sizeof(displacement));
    return s[0] == JUMP && h[0] == TEST && s + LENGTH + displacement == h;
}

/* AMD, and Hygon, whose cores are AMD's. */
bool hy_arch_patch_in_place(void)
{
    static const char vendors[2][13] = {"AuthenticAMD", "HygonGenuine"};
    uint32_t a, b, c, d;
    char name[13] = "";

    if (!__get_cpuid(0, &a, &b, &c, &d))
        return false;
    memcpy(name, &b, 4);
    memcpy(name + 4, &d, 4);
    memcpy(name + 8, &c, 4);
    return strcmp(name, vendors[0]) == 0 || strcmp(name, vendors[1]) == 0;
}
