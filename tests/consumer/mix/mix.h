/*
 * mix.h - what a plug-in offers its host (mix_plugin.c, mix_host.c).
 */
#ifndef MIX_H
#define MIX_H

#include <stddef.h>

struct mix_plugin {
    int (*open)(void);         /* reserves a pager of its own */
    int (*touch)(size_t page); /* writes a page of it and reads it back */
    int (*close)(void);
    void *(*library)(void); /* the copy of hy_pager_reserve that it calls */
};

#endif
