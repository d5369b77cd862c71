/*
 * patch_write.h - writing the forms of patch sites into code.
 * Upstream: patch.c. Downstream: patch_write.c.
 */
#ifndef HYI_PATCH_WRITE_H
#define HYI_PATCH_WRITE_H

#include <hyperion/patch.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "arch.h"

/* What the code of a site says now. */
enum hyi_patch_form {
    HYI_PATCH_UNDECIDED, /* asks, and the head loads */
    HYI_PATCH_PASSES,    /* passes, and the head loads */
    HYI_PATCH_TAKES      /* asks, and the head takes */
};

struct hyi_patch_site {
    uint8_t *code, *head;
    hy_patch *key;
    _Atomic uint32_t *lock;      /* of the pages of its module's code */
    struct hyi_patch_site *next; /* of the same key, under its lock */
    _Atomic uint8_t form;        /* written under the lock of the key */
    bool likely;                 /* passes when the key is on */
    bool fixed;                  /* is never decided */
};

/* One form of one site to be written. */
struct hyi_patch_edit {
    struct hyi_patch_site *site;
    uint8_t *at;              /* the site or its head */
    uint32_t from, to;        /* the code that stands there, and that shall */
    enum hyi_patch_form form; /* the site's, once it does */
};

/* The edit of one site from one form of its code, or its head's, to another. */
static inline struct hyi_patch_edit
hyi_patch_edit_of(struct hyi_patch_site *site, enum hy_arch_patch from,
                  enum hy_arch_patch to, enum hyi_patch_form form)
{
    bool is_site = from == HY_ARCH_PATCH_ASKS || from == HY_ARCH_PATCH_PASSES;
    struct hyi_patch_edit e = {site, is_site ? site->code : site->head,
                               hy_arch_patch_code(from, site->code, site->head),
                               hy_arch_patch_code(to, site->code, site->head),
                               form};

    return e;
}

/* A lock in one word, zero when free; works between two copies of the library
 * in one process. */
void hyi_patch_lock(_Atomic uint32_t *word);
void hyi_patch_unlock(_Atomic uint32_t *word);

/* What the writes of one switch share. Starts as {way, -1}. */
struct hyi_patch_writer {
    unsigned way; /* HY_PATCH_STORE or HY_PATCH_REMAP */
    int fd;       /* of hyi_os_code_open, or -1: not yet opened */
};

/* HY_PATCH_STORE, HY_PATCH_REMAP or 0; finds out at its first call. */
unsigned hyi_patch_way(void);

/*
 * Makes the edits, in ascending order of address. The keys of their sites are
 * locked by the caller. 0, or the error of the first that could not be made;
 * the form of every site is what its code says either way.
 */
int hyi_patch_write(struct hyi_patch_writer *w, struct hyi_patch_edit *edits,
                    size_t count);
void hyi_patch_writer_close(struct hyi_patch_writer *w);

/* Relaxed: ordered by the lock of the key; a monitor may be a switch late. */
static inline enum hyi_patch_form
hyi_patch_form_of(const struct hyi_patch_site *site)
{
    return (enum hyi_patch_form)atomic_load_explicit(&site->form,
                                                     memory_order_relaxed);
}

#endif
