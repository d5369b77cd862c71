/*
 * local.c - values of fibers and threads (local.h).
 *
 *      hyi_process.fls   | version | destructor |    by index; odd: in use
 *
 *      stack, or thread -> locals | value version | x 8 | more -> | ... |
 *
 * Invariant: a value belongs to a key exactly when their versions agree; the
 * version of an index only rises.
 *
 * Upstream: users, worker.c, thread.c. Downstream: core.h, process.h.
 */
#include <hyperion/local.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "locals.h"
#include "process.h"

enum { NEAR = 8, FIBER_ROUNDS = 4 };

_Static_assert((int)HYI_FLS_KEYS == (int)HY_FLS_KEYS_MOST,
               "process.h has room for all keys");

struct local {
    void *value;
    uint32_t version;
};

struct hyi_locals {
    struct local near[NEAR];
    struct local *more; /* from index NEAR on */
    uint32_t more_count;
};

/* --- keys -------------------------------------------------------------------
 */

/* Even, and not the last there is. */
static bool is_free(uint32_t version)
{
    return version % 2 == 0 && version < UINT32_MAX - 1;
}

int hy_fls_create(hy_fls_key *out, void (*destructor)(void *value))
{
    if (out == NULL)
        return -EINVAL;
    for (uint32_t i = 0; i < HYI_FLS_KEYS; i++) {
        struct hyi_fls *key = &hyi_process.fls[i];
        uint32_t version =
            atomic_load_explicit(&key->version, memory_order_relaxed);

        if (!is_free(version) ||
            !atomic_compare_exchange_strong_explicit(
                &key->version, &version, version + 1, memory_order_acq_rel,
                memory_order_relaxed))
            continue;
        /* Release: pairs with the acquire in destructor_of. */
        atomic_store_explicit(&key->destructor, destructor,
                              memory_order_release);
        *out = (hy_fls_key){i, version + 1};
        return 0;
    }
    return -EAGAIN;
}

static bool exists(hy_fls_key key)
{
    return key.index < HYI_FLS_KEYS && key.version % 2 != 0 &&
           atomic_load_explicit(&hyi_process.fls[key.index].version,
                                memory_order_acquire) == key.version;
}

int hy_fls_delete(hy_fls_key key)
{
    uint32_t version = key.version;

    if (!exists(key))
        return -EINVAL;
    return atomic_compare_exchange_strong_explicit(
               &hyi_process.fls[key.index].version, &version, version + 1,
               memory_order_acq_rel, memory_order_relaxed)
               ? 0
               : -EINVAL;
}

/* NULL also when the key went meanwhile. */
static void (*destructor_of(hy_fls_key key))(void *)
{
    void (*destructor)(void *);

    if (!exists(key))
        return NULL;
    destructor = atomic_load_explicit(&hyi_process.fls[key.index].destructor,
                                      memory_order_acquire);
    return exists(key) ? destructor : NULL;
}

/* --- values -----------------------------------------------------------------
 */

static struct hyi_locals **fiber_locals(const struct hyi_fiber *f)
{
    return &atomic_load_explicit(&f->stack, memory_order_relaxed)->locals;
}

static struct local *find(struct hyi_locals *locals, uint32_t index)
{
    if (HYI_LIKELY(index < NEAR))
        return &locals->near[index];
    index -= NEAR;
    return index < locals->more_count ? &locals->more[index] : NULL;
}

static const struct hyi_locals *locals_of_caller(void)
{
    struct hyi_fiber *f = hyi_fiber_running();
    struct hyi_thread *t;

    if (HYI_LIKELY(f != NULL))
        return *fiber_locals(f);
    t = hyi_thread_record_known();
    return t != NULL ? t->locals : NULL;
}

void *hy_fls_get(hy_fls_key key)
{
    const struct hyi_locals *locals = locals_of_caller();
    const struct local *l;

    if (locals == NULL)
        return NULL;
    l = find((struct hyi_locals *)locals, key.index);
    return l != NULL && l->version == key.version ? l->value : NULL;
}

/* Room for the index; 0 or -ENOMEM. */
static int make_room(struct hyi_locals **at, uint32_t index)
{
    struct hyi_locals *locals = *at;
    uint32_t count;
    struct local *more;

    if (locals == NULL) {
        locals = calloc(1, sizeof(*locals));
        if (locals == NULL)
            return -ENOMEM;
        *at = locals;
    }
    if (index < NEAR || index - NEAR < locals->more_count)
        return 0;
    count = (uint32_t)hyi_power_of_two_ceil(index - NEAR + 1);
    more = realloc(locals->more, count * sizeof(*more));
    if (more == NULL)
        return -ENOMEM;
    memset(&more[locals->more_count], 0,
           (count - locals->more_count) * sizeof(*more));
    locals->more = more;
    locals->more_count = count;
    return 0;
}

static int set_at(struct hyi_locals **at, hy_fls_key key, void *value)
{
    struct local *l = *at != NULL ? find(*at, key.index) : NULL;
    int r, saved = errno;

    if (l == NULL) {
        if (value == NULL)
            return 0;
        r = make_room(at, key.index);
        errno = saved;
        if (r != 0)
            return r;
        l = find(*at, key.index);
    }
    *l = (struct local){value, key.version};
    return 0;
}

int hy_fls_set(hy_fls_key key, void *value)
{
    struct hyi_fiber *f = hyi_fiber_running();
    struct hyi_thread *t;
    int r;

    if (!exists(key))
        return -EINVAL;
    if (f != NULL)
        return set_at(fiber_locals(f), key, value);
    if (value == NULL && hyi_thread_record_known() == NULL)
        return 0;
    r = hyi_thread_record(&t);
    return r != 0 ? r : set_at(&t->locals, key, value);
}

/* --- the end ----------------------------------------------------------------
 */

/* A destructor may move the array, so it is found anew each time. */
static bool end_value(struct hyi_locals *locals, uint32_t index)
{
    struct local *l = find(locals, index);
    void *value = l->value;
    void (*destructor)(void *);

    if (value == NULL)
        return false;
    l->value = NULL;
    destructor = destructor_of((hy_fls_key){index, l->version});
    if (destructor == NULL)
        return false;
    destructor(value);
    return true;
}

bool hyi_locals_round(struct hyi_locals **at)
{
    struct hyi_locals *locals = *at;
    bool called = false;

    for (uint32_t i = 0; locals != NULL && i < NEAR + locals->more_count; i++)
        called |= end_value(locals, i);
    return called;
}

void hyi_locals_discard(struct hyi_locals **at)
{
    int saved = errno;

    if (*at == NULL)
        return;
    free((*at)->more);
    free(*at);
    *at = NULL;
    errno = saved;
}

void hyi_locals_end(struct hyi_locals **at)
{
    for (int i = 0; i < FIBER_ROUNDS && hyi_locals_round(at); i++)
        ;
    hyi_locals_discard(at);
}
