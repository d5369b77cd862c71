/*
 * patch_near.c - switches the key and counts the sites that follow; fails when
 * one does not, when the table of sites was lost, or when sites could be
 * decided and are not.
 */
#include <stdio.h>

#include "patch_sites.h"

static int near_sites(void)
{
    int n = in_a_static_inline_function() + CPP_SITES();

    if (HY_PATCH_IF(far_key))
        n++;
    /* C++ must not jump past this from the site above. */
    const int one = n >= 0 ? 1 : 0;
    if (HY_PATCH_IF_LIKELY(far_key))
        n += one;
    return n;
}

int main(void)
{
    hy_patch_stats stats = {sizeof(stats), 0, 0, 0, 0, 0, 0, 0, 0};

    for (int i = 0; i < 6; i++) {
        int on = i & 1;
        int near, far;

        if (hy_patch_switch(&far_key, on) != 0)
            return 1;
        near = near_sites();
        far = far_sites();
        if (near != 7 * on || far != 5 * on) {
            printf("key is %d, sites say %d and %d\n", on, near, far);
            return 2;
        }
    }
    if (hy_patch_switch(&far_key, 0) != 0 || hy_patch_stats_get(&stats) != 0)
        return 3;
    printf("way %u, %u modules, %u sites, %u decided\n", stats.mechanism,
           stats.modules, (unsigned)stats.sites, (unsigned)stats.sites_decided);
    if (HY_PATCH_SITES && stats.sites < 4)
        return 4;
    if (stats.mechanism == HY_PATCH_STORE && stats.sites_decided != stats.sites)
        return 5;
    return 0;
}
