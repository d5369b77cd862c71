/*
 * patch.c - keys and their sites: the registry of modules, switching one key,
 * and batches.
 *
 *      module ----> module          one a program or library, from malloc
 *        | sites[]: {code, head, key, next, form}
 *        |            ^                 |
 *      key.sites -----+----- next ------+---->   sites of one key, in any
 * module
 *
 * A switch goes in four steps, and may fail in the first two only:
 *
 *      1  every site of the key becomes undecided: it loads the key's byte
 *      2  all processors refetch their instructions (membarrier)
 *      3  the byte is stored: at this instant all sites take the new way
 *      4  the sites are decided anew; one that cannot be stays undecided
 *
 * Invariant: a site decided by its code agrees with the key's byte, and an
 * undecided one reads it; so no failure leaves a site wrong.
 * The lists hang on the keys, so that two copies of the library in one process
 * see the same sites; locks are taken keys first, by ascending address, then
 * one module at a time. Whoever takes any has HYI_LOCK_PATCH, which is held
 * across fork: a child finds them free, and no site half written.
 * Upstream: patch.h. Downstream: patch_write.c.
 */
#include <hyperion/patch.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "options.h"
#include "os.h"
#include "patch_write.h"
#include "process.h"

enum {
    BATCH_OPEN = 0x68795062, /* hy_patch_batch.state */
    AS_IT_IS = 2,            /* hy_patch_batch.items[].on: no change of byte */
    EDITS_INLINE = 32,       /* more of them come from malloc */
    REMAP_PAGES_MAX = 1024   /* of one module: a replaced page may cost two
                                mappings, of which a process has 65,530 */
};

struct hyi_patch_module {
    const struct hy_patch_record *start;
    struct hyi_patch_module *next; /* under HYI_LOCK_PATCH */
    _Atomic uint32_t lock;         /* the pages of this module's code */
    size_t site_count;
    struct hyi_patch_site sites[];
};

/* Private, but shared between copies of the library through the key. */
static _Atomic uint32_t *lock_of(hy_patch *key)
{
    return (_Atomic uint32_t *)&key->lock;
}

static _Atomic uint8_t *byte_of(const hy_patch *key)
{
    return (_Atomic uint8_t *)(uintptr_t)&key->on;
}

static bool is_key(const hy_patch *key)
{
    return key != NULL && key->abi == HY_PATCH_ABI;
}

static bool is_on(const hy_patch *key)
{
    /* Relaxed: a single byte that orders nothing by itself. */
    return atomic_load_explicit(byte_of(key), memory_order_relaxed) != 0;
}

/* --- edits ---------------------------------------------------------------- */

static struct hyi_patch_edit undecide(struct hyi_patch_site *site)
{
    if (hyi_patch_form_of(site) == HYI_PATCH_PASSES)
        return hyi_patch_edit_of(site, HY_ARCH_PATCH_PASSES, HY_ARCH_PATCH_ASKS,
                                 HYI_PATCH_UNDECIDED);
    return hyi_patch_edit_of(site, HY_ARCH_PATCH_TAKES, HY_ARCH_PATCH_LOADS,
                             HYI_PATCH_UNDECIDED);
}

static struct hyi_patch_edit decide(struct hyi_patch_site *site)
{
    if (is_on(site->key) == site->likely)
        return hyi_patch_edit_of(site, HY_ARCH_PATCH_ASKS, HY_ARCH_PATCH_PASSES,
                                 HYI_PATCH_PASSES);
    return hyi_patch_edit_of(site, HY_ARCH_PATCH_LOADS, HY_ARCH_PATCH_TAKES,
                             HYI_PATCH_TAKES);
}

static size_t collect_decided(const hy_patch *key, struct hyi_patch_edit *edits)
{
    size_t n = 0;

    for (struct hyi_patch_site *s = key->sites; s != NULL; s = s->next)
        if (hyi_patch_form_of(s) != HYI_PATCH_UNDECIDED)
            edits[n++] = undecide(s);
    return n;
}

/* Where pages are replaced, a site whose branch is taken stays undecided: to
 * decide it would cost a second replacement at each switch. */
static size_t collect_undecided(const hy_patch *key, unsigned way,
                                struct hyi_patch_edit *edits)
{
    size_t n = 0;

    for (struct hyi_patch_site *s = key->sites; s != NULL; s = s->next) {
        if (hyi_patch_form_of(s) != HYI_PATCH_UNDECIDED || s->fixed)
            continue;
        if (way == HY_PATCH_REMAP && is_on(key) != s->likely)
            continue;
        edits[n++] = decide(s);
    }
    return n;
}

static size_t count_sites(const hy_patch *key)
{
    size_t n = 0;

    for (const struct hyi_patch_site *s = key->sites; s != NULL; s = s->next)
        n++;
    return n;
}

/* --- switching ------------------------------------------------------------ */

/* What one commit works on; its keys ascend and are locked. */
struct change {
    const hy_patch_batch *batch;
    struct hyi_patch_edit *edits;
    struct hyi_patch_writer writer;
};

static bool changes(const struct change *c, uint32_t i)
{
    return c->batch->items[i].on != AS_IT_IS &&
           is_on(c->batch->items[i].key) != (c->batch->items[i].on != 0);
}

/* Steps 1 and 2. */
static int undecide_all(struct change *c)
{
    size_t n = 0;
    int r;

    for (uint32_t i = 0; i < c->batch->count; i++)
        if (changes(c, i))
            n += collect_decided(c->batch->items[i].key, c->edits + n);
    if (n == 0)
        return 0;
    r = hyi_patch_write(&c->writer, c->edits, n);
    if (r != 0)
        return r;
    r = hyi_os_barrier_core();
    return r == -ENOTSUP && c->writer.way == HY_PATCH_REMAP ? 0 : r;
}

/* Step 4. Its errors change nothing: an undecided site is right. */
static int decide_all(struct change *c)
{
    size_t n = 0;

    if (c->writer.way == 0)
        return 0;
    for (uint32_t i = 0; i < c->batch->count; i++)
        n += collect_undecided(c->batch->items[i].key, c->writer.way,
                               c->edits + n);
    return hyi_patch_write(&c->writer, c->edits, n);
}

static int commit_locked(const hy_patch_batch *b, struct hyi_patch_edit *edits)
{
    struct change c = {b, edits, {hyi_patch_way(), -1}};
    int r = undecide_all(&c);

    for (uint32_t i = 0; r == 0 && i < b->count; i++) {
        if (!changes(&c, i))
            continue;
        /* Sequentially consistent; its partner is the load in each site's
         * head (inline/patch.h). */
        atomic_store(byte_of(b->items[i].key), b->items[i].on != 0);
        atomic_fetch_add_explicit(&hyi_process.patch_switches, 1,
                                  memory_order_relaxed);
    }
    decide_all(&c);
    hyi_patch_writer_close(&c.writer);
    return r;
}

/* With HYI_LOCK_PATCH held. */
static int commit(const hy_patch_batch *b)
{
    struct hyi_patch_edit few[EDITS_INLINE], *edits = few;
    int saved = errno, r = 0;
    size_t sites = 0;

    for (uint32_t i = 0; i < b->count; i++) {
        hyi_patch_lock(lock_of(b->items[i].key));
        sites += count_sites(b->items[i].key);
    }
    if (sites > EDITS_INLINE) {
        edits = malloc(sites * sizeof(*edits));
        r = edits != NULL ? 0 : -ENOMEM;
    }
    if (r == 0)
        r = commit_locked(b, edits);
    for (uint32_t i = b->count; i-- > 0;)
        hyi_patch_unlock(lock_of(b->items[i].key));
    if (edits != few)
        free(edits);
    errno = saved;
    return r;
}

static int commit_timed(const hy_patch_batch *b)
{
    uint64_t start = hyi_os_now(), took;
    int r;

    hyi_patch_way(); /* which may need the lock, to find out */
    hyi_process_lock(HYI_LOCK_PATCH);
    r = commit(b);
    hyi_process_unlock(HYI_LOCK_PATCH);
    /* All counters: relaxed, they are only shown. */
    if (r != 0) {
        atomic_fetch_add_explicit(&hyi_process.patch_failures, 1,
                                  memory_order_relaxed);
        return r;
    }
    took = hyi_os_now() - start;
    atomic_store_explicit(&hyi_process.patch_last_ns, took,
                          memory_order_relaxed);
    if (took >
        atomic_load_explicit(&hyi_process.patch_max_ns, memory_order_relaxed))
        atomic_store_explicit(&hyi_process.patch_max_ns, took,
                              memory_order_relaxed);
    return 0;
}

/* --- modules -------------------------------------------------------------- */

/* Fills in a site from its record; false when it cannot be one of ours. */
static bool read_record(const struct hy_patch_record *r,
                        struct hyi_patch_site *site)
{
    uintptr_t ref = (uintptr_t)&r->key + (uintptr_t)(intptr_t)(r->key & ~1);

    site->code = (uint8_t *)(uintptr_t)&r->site + r->site;
    site->head = (uint8_t *)(uintptr_t)&r->head + r->head;
    site->key = *(hy_patch *const *)ref;
    site->likely = r->key & 1;
    return is_key(site->key) &&
           hy_arch_patch_is_pristine(site->code, site->head);
}

static void link_site(struct hyi_patch_site *site)
{
    hyi_patch_lock(lock_of(site->key));
    site->next = site->key->sites;
    site->key->sites = site;
    hyi_patch_unlock(lock_of(site->key));
}

static void unlink_site(struct hyi_patch_site *site)
{
    struct hyi_patch_site *before = NULL;

    hyi_patch_lock(lock_of(site->key));
    for (struct hyi_patch_site *s = site->key->sites; s != site; s = s->next)
        before = s;
    if (before != NULL)
        before->next = site->next;
    else
        site->key->sites = site->next;
    hyi_patch_unlock(lock_of(site->key));
}

static void read_sites(struct hyi_patch_module *m,
                       const struct hy_patch_record *stop)
{
    uintptr_t page_bytes = hyi_os_page_bytes(), page = 0;
    bool remaps = hyi_patch_way() == HY_PATCH_REMAP;
    size_t pages = 0;

    for (const struct hy_patch_record *r = m->start; r < stop; r++) {
        struct hyi_patch_site *s = &m->sites[m->site_count];

        if (!read_record(r, s))
            continue;
        if ((uintptr_t)s->code / page_bytes != page) {
            page = (uintptr_t)s->code / page_bytes;
            pages++;
        }
        s->fixed = remaps && pages > REMAP_PAGES_MAX;
        s->lock = &m->lock;
        m->site_count++;
    }
}

/* Decides the sites of a module that was just read. One switch that changes
 * nothing settles all sites of its key. Its byte is read under the lock alone:
 * another thread may be switching it. */
static void settle(struct hyi_patch_module *m)
{
    const hy_patch *settled = NULL;

    for (size_t i = 0; i < m->site_count; i++) {
        hy_patch *key = m->sites[i].key;
        hy_patch_batch b = {.count = 1};

        if (key == settled ||
            hyi_patch_form_of(&m->sites[i]) != HYI_PATCH_UNDECIDED)
            continue;
        b.items[0].key = key;
        b.items[0].on = AS_IT_IS;
        if (commit(&b) != 0)
            return;
        settled = key;
    }
}

/* Used: link-time optimisation does not see the jumps in inline/patch.h. */
__attribute__((used)) void hy_patch_attach(const struct hy_patch_record *start,
                                           const struct hy_patch_record *stop)
{
    int saved = errno;
    struct hyi_patch_module *m;

    if (start == stop || hy_arch_patch_bytes() == 0)
        return;
    /* Without memory the sites stay what they are, which is correct. */
    m = calloc(1, sizeof(*m) + (size_t)(stop - start) * sizeof(m->sites[0]));
    errno = saved;
    if (m == NULL)
        return;
    m->start = start;
    hyi_patch_way();
    hyi_process_lock(HYI_LOCK_PATCH);
    read_sites(m, stop);
    for (size_t i = m->site_count; i-- > 0;) /* so that a list ascends */
        link_site(&m->sites[i]);
    m->next = hyi_process.patch_modules;
    hyi_process.patch_modules = m;
    if (hyi_patch_way() != 0)
        settle(m);
    hyi_process_unlock(HYI_LOCK_PATCH);
}

__attribute__((used)) void hy_patch_detach(const struct hy_patch_record *start)
{
    struct hyi_patch_module **link, *m;
    int saved = errno;

    hyi_process_lock(HYI_LOCK_PATCH);
    link = &hyi_process.patch_modules;
    while (*link != NULL && (*link)->start != start)
        link = &(*link)->next;
    m = *link;
    if (m != NULL)
        *link = m->next;
    for (size_t i = 0; m != NULL && i < m->site_count; i++)
        unlink_site(&m->sites[i]);
    hyi_process_unlock(HYI_LOCK_PATCH);
    free(m);
    errno = saved;
}

/* --- the interface -------------------------------------------------------- */

unsigned hy_patch_caps(void)
{
    return hyi_patch_way();
}

int hy_patch_is_on(const hy_patch *key)
{
    return is_key(key) ? is_on(key) : -EINVAL;
}

int hy_patch_switch(hy_patch *key, int on)
{
    hy_patch_batch b = {.state = BATCH_OPEN};
    int r = hy_patch_set(&b, key, on);

    return r != 0 ? r : commit_timed(&b);
}

int hy_patch_begin(hy_patch_batch *b)
{
    if (b == NULL)
        return -EINVAL;
    b->state = BATCH_OPEN;
    b->count = 0;
    return 0;
}

static bool is_open(const hy_patch_batch *b)
{
    return b != NULL && b->state == BATCH_OPEN &&
           b->count <= HY_PATCH_BATCH_MAX;
}

int hy_patch_set(hy_patch_batch *b, hy_patch *key, int on)
{
    uint32_t at = 0;

    if (!is_open(b) || !is_key(key))
        return -EINVAL;
    while (at < b->count && (uintptr_t)b->items[at].key < (uintptr_t)key)
        at++;
    if (at == b->count || b->items[at].key != key) {
        if (b->count == HY_PATCH_BATCH_MAX)
            return -ENOSPC;
        memmove(&b->items[at + 1], &b->items[at],
                (b->count - at) * sizeof(b->items[0]));
        b->count++;
    }
    b->items[at].key = key;
    b->items[at].on = on != 0;
    return 0;
}

int hy_patch_commit(hy_patch_batch *b)
{
    int r;

    if (!is_open(b))
        return -EINVAL;
    r = commit_timed(b);
    if (r == 0)
        b->state = 0;
    return r;
}

int hy_patch_abort(hy_patch_batch *b)
{
    if (!is_open(b))
        return -EINVAL;
    b->state = 0;
    return 0;
}

/* The forms of a key's sites are read without its lock: each is a byte, and a
 * monitor may be one switch late. */
int hy_patch_stats_get(hy_patch_stats *out)
{
    hy_patch_stats s = {.size = sizeof(s), .mechanism = hyi_patch_way()};

    hyi_process_lock(HYI_LOCK_PATCH);
    for (struct hyi_patch_module *m = hyi_process.patch_modules; m != NULL;
         m = m->next) {
        s.modules++;
        s.sites += m->site_count;
        for (size_t i = 0; i < m->site_count; i++)
            s.sites_decided +=
                hyi_patch_form_of(&m->sites[i]) != HYI_PATCH_UNDECIDED;
    }
    hyi_process_unlock(HYI_LOCK_PATCH);
    s.switches = atomic_load(&hyi_process.patch_switches);
    s.failures = atomic_load(&hyi_process.patch_failures);
    s.switch_last_ns = atomic_load(&hyi_process.patch_last_ns);
    s.switch_max_ns = atomic_load(&hyi_process.patch_max_ns);
    return hyi_struct_fill(out, &s, sizeof(s));
}
