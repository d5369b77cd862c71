/*
 * patch_far.c - defines the key, and has sites; linked to patch_near.c, put
 * into a library, or both.
 */
#include "patch_sites.h"

HY_PATCH_DEFINE(far_key, 0);

static int never_called(int x)
{
    return HY_PATCH_IF(far_key) ? x + 1 : x;
}

#ifdef __cplusplus
extern "C" HY_API int hidden_use(int x);
#endif
HY_API int hidden_use(int x);
int hidden_use(int x)
{
    return never_called(x);
}

HY_API int far_sites(void)
{
    return in_a_static_inline_function() + CPP_SITES();
}
