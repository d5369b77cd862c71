/*
 * patch_plugin.c - a plug-in with sites of a key of its host and of a key of
 * its own, loaded and unloaded by test_jit_patch.c.
 */
#include <hyperion/patch.h>

HY_PATCH_DECLARE(test_shared);
HY_PATCH_DEFINE(test_plugin_own, 1);

HY_API int plugin_sees_shared(void);
HY_API int plugin_sees_own(void);
HY_API int plugin_early(void);
HY_API hy_patch *plugin_key(void);

static int early = -1;

/* Before the module's sites are registered. */
__attribute__((constructor(102))) static void run_early(void)
{
    early = HY_PATCH_IF(test_plugin_own) ? 1 : 0;
}

int plugin_sees_shared(void)
{
    if (HY_PATCH_IF(test_shared))
        return 1;
    return 0;
}

int plugin_sees_own(void)
{
    if (HY_PATCH_IF_LIKELY(test_plugin_own))
        return 1;
    return 0;
}

int plugin_early(void)
{
    return early;
}

hy_patch *plugin_key(void)
{
    return &test_plugin_own;
}
