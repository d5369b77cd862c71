/*
 * mix_plugin.c - a plug-in that has libhyperion for itself, in a host that has
 * it too. It is linked with the library that its host is not linked with.
 */
#include <hyperion/pager.h>

#include "mix.h"

static hy_pager *pager;

static int open_pager(void)
{
    hy_pager_options options = HY_PAGER_OPTIONS_INIT;

    options.mechanism = HY_PAGER_SIGNAL;
    return hy_pager_reserve(&pager, 64 << 20, &options);
}

static int touch(size_t page)
{
    volatile char *base = hy_pager_base(pager);

    base[page << 12] = 'p';
    return base[page << 12] == 'p' ? 0 : -1;
}

static int close_pager(void)
{
    return hy_pager_release(pager);
}

static void *library(void)
{
    int (*function)(hy_pager **, uint64_t, const hy_pager_options *) =
        hy_pager_reserve;

    return (void *)function;
}

extern const struct mix_plugin mix_plugin;
const struct mix_plugin mix_plugin = {open_pager, touch, close_pager, library};
