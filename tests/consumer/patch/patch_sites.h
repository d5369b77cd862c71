/*
 * patch_sites.h - sites where compilers and linkers lose things: in static and
 * external inline functions, in templates, in functions that nobody calls.
 */
#ifndef PATCH_SITES_H
#define PATCH_SITES_H

#include <hyperion/patch.h>

HY_PATCH_DECLARE(far_key);

#ifdef __cplusplus
extern "C" {
#endif
int far_sites(void); /* in the other file, or in a library */
#ifdef __cplusplus
}

namespace deep
{
template <class T> T in_a_template(T x)
{
    if (HY_PATCH_IF(far_key))
        return x + 1;
    return x;
}

inline int in_an_inline_function()
{
    if (HY_PATCH_IF_LIKELY(far_key))
        return 1;
    return 0;
}

struct object {
    int in_a_method()
    {
        auto f = [] { return HY_PATCH_IF(far_key) ? 1 : 0; };
        return f();
    }
};
} /* namespace deep */

#define CPP_SITES()                                                            \
    (deep::in_a_template<int>(0) + (int)deep::in_a_template<long>(0) +         \
     deep::in_an_inline_function() + deep::object().in_a_method())
#else
#define CPP_SITES() (4 * hy_patch_is_on(&far_key))
#endif

static inline int in_a_static_inline_function(void)
{
    return HY_PATCH_IF(far_key) ? 1 : 0;
}

#endif
