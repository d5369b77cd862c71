/*
 * jit_patch.c - the portable half: a site is a load and a branch for good.
 * Upstream: arch.h (jit_patch).
 */
#include "arch.h"

size_t hy_arch_patch_bytes(void)
{
    return 0;
}

uint32_t hy_arch_patch_code(enum hy_arch_patch form, const void *site,
                            const void *head)
{
    (void)form;
    (void)site;
    (void)head;
    return 0;
}

bool hy_arch_patch_is_pristine(const void *site, const void *head)
{
    (void)site;
    (void)head;
    return false;
}

bool hy_arch_patch_in_place(void)
{
    return false;
}
