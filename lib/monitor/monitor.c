/*
 * monitor.c - a monitor: what it watches, the thread that samples it, and the
 * segment in which the samples are published.
 *
 *      hy_monitor: lock | watched[] | sample -----> segment (shared)
 *                          ^             ^
 *             watch, unwatch             thread, every period; snapshot
 *
 * Invariant: an object is touched only under the lock, and only while it
 * stands in watched[]; so after hy_monitor_unwatch nobody touches it.
 * Upstream: monitor.h. Downstream: sample.c, segment.c.
 */
#include <hyperion/fiber.h>
#include <hyperion/monitor.h>
#include <hyperion/sync.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "os.h"
#include "process.h"
#include "sample.h"
#include "segment.h"
#include "trace.h"

enum {
    PERIOD_DEFAULT_NS = 100000000,
    PERIOD_LEAST_NS = 1000000,
    COSTLY_EVERY = 5, /* samples: heat may need a scan of page tables */
    REST_EACH = 19,   /* times what a sample took: 5 % of a processor at most */
    WATCHED_MAX = HY_MONITOR_RUNTIMES + HY_MONITOR_RINGS + HY_MONITOR_PAGERS +
                  HY_MONITOR_SLABS + HY_MONITOR_HEAPS + HY_MONITOR_CODES +
                  HY_MONITOR_PIPELINES
};

struct hy_monitor {
    hy_mutex lock; /* all that changes, but for stop */
    struct hyi_watched watched[WATCHED_MAX];
    unsigned count;
    uint64_t number, started_ns, period_ns;
    char name[HY_MONITOR_NAME];
    struct hyi_segment *segment; /* NULL: not published */
    pthread_t thread;
    uint32_t forks;        /* a forked child has no thread, and no segment */
    _Atomic uint32_t stop; /* the thread sleeps on it */
    hy_report report;
    bool changed; /* what is watched, since the last costly sample */
    hy_monitor_sample sample;
    hy_monitor_pager pagers[HY_MONITOR_PAGERS]; /* of the last costly one */
    hy_monitor_slab slabs[HY_MONITOR_SLABS];
    uint32_t slab_count;
};

/* In a child of fork: the lock may be held for ever. */
static bool is_stale(const hy_monitor *m)
{
    return m->forks != hyi_process_forks();
}

static void say(const hy_monitor *m, const char *message)
{
    if (m->report.write != NULL)
        m->report.write(m->report.ctx, HY_REPORT_ERROR, message);
}

/*
 * Fibers park: the sampling thread may wait, with the lock, for something that
 * a fiber of the caller's worker holds. Whoever unwatches an object must not
 * be turned away because it is cancelled.
 */
static void lock(hy_monitor *m)
{
    hy_fiber_shield(1);
    while (hy_mutex_lock(&m->lock, HY_FOREVER) != 0)
        hyi_os_thread_yield();
    hy_fiber_shield(0);
}

static void unlock(hy_monitor *m)
{
    hy_mutex_unlock(&m->lock);
}

/* --- sampling ------------------------------------------------------------- */

/* What is costly is measured less often; between, it is what it was. */
static void keep_costly(hy_monitor *m, bool measured)
{
    hy_monitor_sample *s = &m->sample;

    if (measured) {
        memcpy(m->pagers, s->pagers, sizeof(m->pagers));
        memcpy(m->slabs, s->slabs, sizeof(m->slabs));
        m->slab_count = s->slab_count;
        m->changed = false;
        return;
    }
    memcpy(s->slabs, m->slabs, sizeof(m->slabs));
    s->slab_count = m->slab_count;
    for (uint32_t i = 0; i < s->pager_count; i++) {
        s->pagers[i].heat_count = m->pagers[i].heat_count;
        memcpy(s->pagers[i].heat, m->pagers[i].heat, sizeof(s->pagers[i].heat));
    }
}

/* Under the lock. */
static void take_sample(hy_monitor *m, bool costly)
{
    hy_monitor_sample *s = &m->sample;
    uint64_t start = hyi_os_now();

    costly = costly || m->changed;
    memset(s, 0, sizeof(*s));
    s->size = sizeof(*s);
    memcpy(s->name, m->name, sizeof(s->name));
    hyi_sample_process(s);
    for (unsigned i = 0; i < m->count; i++)
        hyi_sample_add(s, &m->watched[i], costly);
    keep_costly(m, costly);
    s->number = ++m->number;
    s->started_ns = m->started_ns;
    s->period_ns = m->period_ns;
    s->time_ns = start;
    s->took_ns = hyi_os_now() - start;
}

/* Acquire: partner of the exchange in hy_monitor_destroy. */
static bool goes_on(const hy_monitor *m)
{
    return atomic_load_explicit(&m->stop, memory_order_acquire) == 0;
}

static void *publish_samples(void *arg)
{
    hy_monitor *m = arg;
    uint64_t next = hyi_os_now(), rest;

    for (unsigned n = 0; goes_on(m); n++) {
        lock(m);
        take_sample(m, n % COSTLY_EVERY == 0);
        hyi_segment_write(m->segment, &m->sample);
        unlock(m);
        next += m->period_ns;
        rest = hyi_os_now() + REST_EACH * m->sample.took_ns;
        if (next < rest) /* late, or samples are dear: no burst to catch up */
            next = rest;
        while (goes_on(m) && hyi_os_now() < next)
            hyi_os_futex_wait(&m->stop, 0, next, false);
    }
    return NULL;
}

/* --- making and ending ---------------------------------------------------- */

static int publish(hy_monitor *m)
{
    int r = hyi_segment_create(&m->segment, m->name);

    if (r != 0) {
        say(m, r == -EEXIST
                   ? "monitor: a living process publishes under this name"
                   : "monitor: the shared segment was refused");
        return r;
    }
    r = hyi_os_thread_start(&m->thread, publish_samples, m);
    if (r != 0) {
        say(m, "monitor: the publishing thread was refused");
        hyi_segment_close(m->segment, true);
    }
    return r;
}

int hy_monitor_create(hy_monitor **out, const hy_monitor_options *options)
{
    hy_monitor_options o;
    int saved = errno, r;
    hy_monitor *m;

    r = hyi_options_read(&o, sizeof(o), options);
    if (r != 0)
        return r;
    if (out == NULL || (o.name != NULL && !hyi_segment_is_name(o.name)) ||
        (o.period_ns != 0 && o.period_ns < PERIOD_LEAST_NS))
        return -EINVAL;
    m = calloc(1, sizeof(*m));
    errno = saved;
    if (m == NULL)
        return -ENOMEM;
    m->period_ns = o.period_ns != 0 ? o.period_ns : PERIOD_DEFAULT_NS;
    m->report = o.report;
    m->started_ns = hyi_os_now();
    m->forks = hyi_process_forks();
    hyi_name_copy(m->name, sizeof(m->name), o.name);
    r = o.name != NULL ? publish(m) : 0;
    if (r != 0) {
        free(m);
        errno = saved;
        return r;
    }
    *out = m;
    return 0;
}

int hy_monitor_destroy(hy_monitor *m)
{
    int saved = errno;
    bool own;

    if (m == NULL)
        return 0;
    own = !is_stale(m);
    if (m->segment != NULL && own) {
        /* Partner of the load in goes_on. */
        atomic_exchange(&m->stop, 1);
        hyi_os_futex_wake(&m->stop, 1, false);
        pthread_join(m->thread, NULL);
    }
    if (m->segment != NULL)
        hyi_segment_close(m->segment, own);
    free(m);
    errno = saved;
    return 0;
}

/* --- watching ------------------------------------------------------------- */

static int add_watched(hy_monitor *m, hy_monitor_kind kind, const void *object,
                       const char *name)
{
    unsigned of_kind = 0;

    for (unsigned i = 0; i < m->count; i++) {
        if (m->watched[i].object == object)
            return -EEXIST;
        of_kind += m->watched[i].kind == kind;
    }
    if (of_kind == hyi_sample_room(kind))
        return -ENOSPC;
    m->watched[m->count].kind = kind;
    m->watched[m->count].object = object;
    hyi_name_copy(m->watched[m->count].name, HY_MONITOR_NAME, name);
    m->count++;
    m->changed = true;
    return 0;
}

int hy_monitor_watch(hy_monitor *m, hy_monitor_kind kind, const void *object,
                     const char *name)
{
    int r;

    if (m == NULL || object == NULL || hyi_sample_room(kind) == 0)
        return -EINVAL;
    if (is_stale(m))
        return -ESTALE;
    lock(m);
    r = add_watched(m, kind, object, name);
    unlock(m);
    return r;
}

static int remove_watched(hy_monitor *m, const void *object)
{
    unsigned i = 0;

    while (i < m->count && m->watched[i].object != object)
        i++;
    if (i == m->count)
        return -ENOENT;
    m->count--;
    m->changed = true;
    memmove(&m->watched[i], &m->watched[i + 1],
            (m->count - i) * sizeof(m->watched[0]));
    return 0;
}

int hy_monitor_unwatch(hy_monitor *m, const void *object)
{
    int r;

    if (m == NULL || object == NULL)
        return -EINVAL;
    if (is_stale(m))
        return -ESTALE;
    lock(m);
    r = remove_watched(m, object);
    unlock(m);
    return r;
}

int hy_monitor_snapshot(hy_monitor *m, hy_monitor_sample *out)
{
    int r;

    if (m == NULL || out == NULL)
        return -EINVAL;
    if (is_stale(m))
        return -ESTALE;
    lock(m);
    take_sample(m, true);
    r = hyi_struct_fill(out, &m->sample, sizeof(m->sample));
    HYI_TRACE("snapshot", m->sample.number);
    unlock(m);
    return r;
}

/* --- the shorthand -------------------------------------------------------- */

static void end_publication(void *arg)
{
    hy_monitor_destroy(arg);
}

int hy_monitor_publish(hy_runtime *rt, const char *name)
{
    hy_monitor_options o = HY_MONITOR_OPTIONS_INIT;
    hy_runtime_stats t = {.size = sizeof(t)};
    char own[HY_MONITOR_NAME];
    hy_monitor *m = NULL;
    int r;

    r = hy_runtime_stats_get(rt, &t);
    if (r != 0)
        return r;
    snprintf(own, sizeof(own), "pid-%llu",
             (unsigned long long)hyi_os_process_id());
    if (name == NULL)
        name = hyi_segment_is_name(t.name) ? t.name : own;
    o.name = name;
    r = hy_monitor_create(&m, &o);
    if (r != 0)
        return r;
    r = hy_monitor_watch(m, HY_MONITOR_RUNTIME, rt, NULL);
    if (r == 0)
        r = hy_runtime_at_destroy(rt, end_publication, m);
    if (r != 0)
        hy_monitor_destroy(m);
    return r;
}
