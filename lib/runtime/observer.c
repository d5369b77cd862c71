/*
 * observer.c - the books of a worker that observes its fibers (observer.h), and
 * how they are read.
 *
 *      event ring   | 8 | 9 | 2 | 3 | 4 | 5 | 6 | 7 |    recorded = 10, mask =
 * 7 ^ the oldest; "2" goes next
 *
 * Invariant: a worker's histograms, ring and recorded are written by its own
 * thread alone. A reader believes an event only if the worker had not come
 * round to its place by the time that it was copied.
 *
 * Upstream: worker.c, queues.h, inbox.c, fiber.c, idle.c, users. Downstream:
 * histogram.c, probes.c, ticks.h.
 */
#include "observer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "histogram.h"
#include "options.h"
#include "probes.h"
#include "trace.h"

enum { HISTOGRAM_BYTES_MIN = 32 };

/* --- writing: helpers ----------------------------------------------------- */

bool hyi_is_observed(const struct hyi_worker *w)
{
    return w->observer != NULL || hyi_probes_are_special();
}

/* Virtual time is looked at, not moved: a simulated run is the same, measured
   or not. */
static uint64_t now_of(const struct hyi_worker *w)
{
    return w->rt->seed != 0 ? w->virtual_now
                            : hyi_ticks_now(&w->observer->ticks);
}

/* From one time to another, of perhaps another processor. */
static uint64_t ns_between(const struct hyi_worker *w, uint64_t from,
                           uint64_t to)
{
    if (to <= from)
        return 0;
    return w->rt->seed != 0 ? to - from
                            : hyi_ticks_ns(&w->observer->ticks, to - from);
}

static void add(_Atomic uint64_t *sum, uint64_t value)
{
    atomic_store_explicit(
        sum, atomic_load_explicit(sum, memory_order_relaxed) + value,
        memory_order_relaxed);
}

static void count(struct hyi_worker *w, hy_measure which, uint64_t value)
{
    struct hyi_histogram *h = &w->observer->histogram[which - 1];

    hyi_count(&h->bucket[hyi_histogram_bucket(value)]);
    add(&h->sum, value);
    if (value > atomic_load_explicit(&h->max, memory_order_relaxed))
        atomic_store_explicit(&h->max, value, memory_order_relaxed);
}

static bool measures(const struct hyi_worker *w)
{
    return w->observer != NULL && w->observer->histogram != NULL;
}

static uint64_t id_of(const struct hyi_worker *w, const struct hyi_fiber *f)
{
    if (f == NULL || f == &w->base || f == &w->last)
        return 0;
    return hyi_fiber_id(w->rt,
                        atomic_load_explicit(&f->life, memory_order_relaxed))
        .id;
}

static void record(struct hyi_worker *w, hy_trace_kind kind, uint64_t ticks,
                   uint64_t fiber, uint64_t value, const char *name)
{
    struct hyi_observer *o = w->observer;
    uint64_t nth;
    struct hyi_event *e;

    if (o == NULL || o->event == NULL)
        return;
    nth = atomic_load_explicit(&o->recorded, memory_order_relaxed);
    e = &o->event[nth & o->mask];
    /* What is written next is not seen before the recorded of now. Partner: the
       fence in read_event. */
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&e->ticks, ticks, memory_order_relaxed);
    atomic_store_explicit(&e->fiber, fiber, memory_order_relaxed);
    atomic_store_explicit(&e->value, value, memory_order_relaxed);
    atomic_store_explicit(&e->name, name, memory_order_relaxed);
    atomic_store_explicit(&e->kind, kind, memory_order_relaxed);
    /* Release: pairs with the acquires in read_event and oldest. */
    atomic_store_explicit(&o->recorded, nth + 1, memory_order_release);
}

/* --- writing: a fiber's life ---------------------------------------------- */

/* An unstarted fiber has no timer yet: the time of its spawn stands there. */
void hyi_observe_spawn(hy_runtime *rt, struct hyi_worker *w,
                       struct hyi_fiber *f)
{
    const struct hyi_worker *clock = w != NULL ? w : &rt->worker[0];
    uint64_t now;

    if (HYI_TRACED(spawn))
        hyi_probe_spawn(hyi_fiber_id(rt, atomic_load(&f->life)).id, f->name,
                        hy_fiber_self().id);
    if (clock->observer == NULL)
        return;
    now = now_of(clock);
    f->spawned = now << 1 | (w != NULL);
    if (w != NULL)
        record(w, HY_TRACE_SPAWN, now, id_of(w, f), id_of(w, w->current), "");
}

void hyi_observe_arrived(struct hyi_worker *w, struct hyi_fiber *f)
{
    if (w->observer != NULL && !(f->spawned & 1))
        record(w, HY_TRACE_SPAWN, f->spawned >> 1, id_of(w, f), 0, "");
}

/* False: it has ended already, and what was chosen then could not start. */
static bool end_turn(struct hyi_worker *w, struct hyi_fiber *f)
{
    struct hyi_fiber_extra *e = hyi_extra_of(f);
    uint64_t ns;

    if (e->away)
        return false;
    e->away = true;
    if (!measures(w))
        return true;
    ns = ns_between(w, e->since, w->observer->now);
    add(&e->run_ns, ns);
    count(w, HY_MEASURE_RUN, ns);
    e->since = w->observer->now;
    return true;
}

static void begin_turn(struct hyi_worker *w, const struct hyi_fiber *f)
{
    struct hyi_fiber_extra *e = hyi_extra_of(f);
    uint64_t ns;

    e->away = false;
    if (!measures(w))
        return;
    ns = ns_between(w, e->since, w->observer->now);
    add(&e->delay_ns, ns);
    count(w, HY_MEASURE_DELAY, ns);
    e->since = w->observer->now;
}

void hyi_observe_leave(struct hyi_worker *w)
{
    struct hyi_fiber *f = w->current;
    bool parks;

    if (w->observer != NULL)
        w->observer->now = now_of(w);
    if (f == &w->base || f == &w->last)
        return;
    if (w->observer != NULL && !end_turn(w, f))
        return;
    parks = atomic_load_explicit(&f->state, memory_order_relaxed) ==
            HY_FIBER_PARKED;
    if (parks && (w->observer != NULL || HYI_TRACED(park))) {
        const char *reason = hyi_wait_name((enum hyi_wait)atomic_load_explicit(
            &f->wait, memory_order_relaxed));

        if (w->observer != NULL)
            record(w, HY_TRACE_PARK, w->observer->now, id_of(w, f), 0, reason);
        if (HYI_TRACED(park))
            hyi_probe_park(id_of(w, f), reason, w->index);
    }
}

void hyi_observe_delay(struct hyi_worker *w)
{
    if (w->observer != NULL)
        w->observer->now = now_of(w);
}

void hyi_observe_resume(struct hyi_worker *w, const struct hyi_fiber *next)
{
    bool starts = next != NULL &&
                  atomic_load_explicit(&next->state, memory_order_relaxed) ==
                      HY_FIBER_NEW;

    if (starts && next == w->put_off)
        return; /* it was told at the first try */
    if (next != NULL && w->observer != NULL)
        record(w, starts ? HY_TRACE_START : HY_TRACE_RUN, w->observer->now,
               id_of(w, next), 0, "");
    if (next != NULL && !starts && w->observer != NULL)
        begin_turn(w, next);
    if (HYI_TRACED(start) && starts)
        hyi_probe_start(id_of(w, next), w->index);
    if (HYI_TRACED(switch) && next != w->current &&
        (next != NULL || w->current != &w->base))
        hyi_probe_switch(id_of(w, w->current), id_of(w, next), w->index);
}

void hyi_observe_begin(struct hyi_worker *w, const struct hyi_fiber *f,
                       struct hyi_fiber_extra *e)
{
    uint64_t ns;

    if (!measures(w))
        return;
    ns = ns_between(w, f->spawned >> 1, w->observer->now);
    e->since = w->observer->now;
    atomic_store_explicit(&e->delay_ns, ns, memory_order_relaxed);
    count(w, HY_MEASURE_DELAY, ns);
}

void hyi_observe_end(struct hyi_worker *w, struct hyi_fiber *f)
{
    uint64_t now = w->observer != NULL ? now_of(w) : 0;

    if (measures(w)) {
        struct hyi_fiber_extra *e = hyi_extra_of(f);

        count(w, HY_MEASURE_RUN, ns_between(w, e->since, now));
        count(w, HY_MEASURE_STACK,
              atomic_load_explicit(&f->peak, memory_order_relaxed));
    }
    record(w, HY_TRACE_END, now, id_of(w, f), 0, "");
    if (HYI_TRACED(end))
        hyi_probe_end(id_of(w, f), w->index);
}

/* --- writing: wakes, workers ---------------------------------------------- */

void hyi_observe_wake(struct hyi_worker *w, struct hyi_fiber *f,
                      const struct hyi_fiber *waker)
{
    struct hyi_fiber_extra *e;
    uint64_t now, ns;

    if (w->observer == NULL)
        return;
    e = hyi_extra_of(f);
    now = e->woken_at != 0 ? e->woken_at : now_of(w);
    e->woken_at = 0;
    if (measures(w)) {
        ns = ns_between(w, e->since, now);
        add(&e->wait_ns, ns);
        count(w, HY_MEASURE_WAIT, ns);
        if (now > e->since)
            e->since = now;
    }
    record(w, HY_TRACE_WAKE, now, id_of(w, f), id_of(w, waker), "");
}

/* The fiber stands still until it was posted, so its extra is the caller's for
   the moment. */
void hyi_observe_wake_sent(struct hyi_fiber *f)
{
    const struct hyi_worker *w =
        atomic_load_explicit(&f->worker, memory_order_relaxed);

    if (w->observer != NULL && w->rt->seed == 0)
        hyi_extra_of(f)->woken_at = now_of(w);
}

void hyi_observe_wake_probed(const struct hyi_fiber *f)
{
    hyi_probe_wake(id_of(atomic_load(&f->worker), f), hy_fiber_self().id);
}

void hyi_observe_steal(struct hyi_worker *w, const struct hyi_fiber *f)
{
    if (w->observer != NULL)
        record(w, HY_TRACE_STEAL, now_of(w), id_of(w, f), 0, "");
    if (HYI_TRACED(steal))
        hyi_probe_steal(id_of(w, f), w->index);
}

void hyi_observe_sleep(struct hyi_worker *w)
{
    if (w->observer != NULL)
        record(w, HY_TRACE_SLEEP, now_of(w), 0, 0, "");
    if (HYI_TRACED(sleep))
        hyi_probe_sleep(w->index);
}

void hyi_observe_awake(struct hyi_worker *w)
{
    if (w->observer != NULL)
        record(w, HY_TRACE_AWAKE, now_of(w), 0, 0, "");
    if (HYI_TRACED(awake))
        hyi_probe_awake(w->index);
}

/* Whoever passes a tracepoint: of interest when it is a fiber of a runtime that
   records. */
static void hear_hop(const char *hop, uint64_t what)
{
    struct hyi_worker *w = hyi_worker_self;

    if (w != NULL && w->observer != NULL && w->current != &w->base)
        record(w, HY_TRACE_HOP, now_of(w), id_of(w, w->current), what, hop);
}

/* --- coming and going ----------------------------------------------------- */

int hyi_observer_init(struct hyi_worker *w, size_t events)
{
    unsigned flags = w->rt->flags;
    struct hyi_observer *o = calloc(1, sizeof(*o));

    w->observer = o;
    if (o == NULL)
        return -ENOMEM;
    o->ticks = hyi_ticks_find();
    if (flags & HY_RUNTIME_MEASURE)
        o->histogram = calloc(HY_MEASURES, sizeof(*o->histogram));
    if (flags & HY_RUNTIME_TRACE) {
        o->mask = hyi_power_of_two_ceil(events) - 1;
        o->event = calloc(o->mask + 1, sizeof(*o->event));
    }
    if (((flags & HY_RUNTIME_MEASURE) && o->histogram == NULL) ||
        ((flags & HY_RUNTIME_TRACE) && o->event == NULL)) {
        free(o->event); /* nobody has begun to listen */
        o->event = NULL;
        hyi_observer_deinit(w);
        return -ENOMEM;
    }
    if (o->event != NULL) {
        atomic_store_explicit(&hyi_process.trace_event, hear_hop,
                              memory_order_relaxed);
        hyi_trace_listen(1);
    }
    w->special = true;
    return 0;
}

void hyi_observer_deinit(struct hyi_worker *w)
{
    struct hyi_observer *o = w->observer;

    if (o == NULL)
        return;
    if (o->event != NULL)
        hyi_trace_listen(-1);
    free(o->histogram);
    free(o->event);
    free(o);
    w->observer = NULL;
}

/* --- reading: histograms -------------------------------------------------- */

static void gather(hy_histogram *out, const struct hyi_histogram *h)
{
    uint64_t max = atomic_load_explicit(&h->max, memory_order_relaxed);

    for (size_t i = 0; i < HY_HISTOGRAM_BUCKETS; i++) {
        uint64_t n = atomic_load_explicit(&h->bucket[i], memory_order_relaxed);

        out->bucket[i] += n;
        out->count += n;
    }
    out->sum += atomic_load_explicit(&h->sum, memory_order_relaxed);
    if (max > out->max)
        out->max = max;
}

int hy_runtime_histogram_get(const hy_runtime *rt, hy_measure which,
                             hy_histogram *out)
{
    hy_histogram h = HY_HISTOGRAM_INIT;

    if (rt == NULL || out == NULL || out->size < HISTOGRAM_BYTES_MIN ||
        which < HY_MEASURE_RUN || which > HY_MEASURE_STACK)
        return -EINVAL;
    if (rt->stale)
        return -ESTALE;
    if (!(rt->flags & HY_RUNTIME_MEASURE))
        return -ENODATA;
    for (unsigned i = 0; i < rt->worker_count; i++)
        gather(&h, &rt->worker[i].observer->histogram[which - 1]);
    return hyi_struct_fill(out, &h, sizeof(h));
}

const char *hy_measure_name(hy_measure which)
{
    static const char *const names[HY_MEASURES + 1] = {"", "run", "wait",
                                                       "delay", "stack"};

    return (unsigned)which <= HY_MEASURES ? names[which] : "";
}

const char *hy_park_reason(unsigned index)
{
    _Static_assert(HYI_WAITS <= HY_PARK_REASONS, "a row for each reason");

    return hyi_wait_name((enum hyi_wait)index);
}

/* --- reading: events ------------------------------------------------------ */

/* Whether a worker has an event that was recorded before this reading began and
   is still there; those that went unseen are counted. */
static bool has_event(struct hyi_observer *o)
{
    uint64_t recorded =
        atomic_load_explicit(&o->recorded, memory_order_acquire);
    uint64_t seen = atomic_load_explicit(&o->seen, memory_order_relaxed);
    uint64_t room = o->mask + 1;

    if (recorded - seen > room) {
        add(&o->dropped, recorded - room - seen);
        seen = recorded - room;
        atomic_store_explicit(&o->seen, seen, memory_order_relaxed);
    }
    return seen < o->end;
}

/* The event that comes next; false when it was overwritten meanwhile. */
static bool read_event(const struct hyi_observer *o, uint64_t *ticks,
                       hy_trace_event *out)
{
    uint64_t seen = atomic_load_explicit(&o->seen, memory_order_relaxed);
    const struct hyi_event *e = &o->event[seen & o->mask];

    *ticks = atomic_load_explicit(&e->ticks, memory_order_relaxed);
    out->fiber = atomic_load_explicit(&e->fiber, memory_order_relaxed);
    out->value = atomic_load_explicit(&e->value, memory_order_relaxed);
    out->name = atomic_load_explicit(&e->name, memory_order_relaxed);
    out->kind =
        (hy_trace_kind)atomic_load_explicit(&e->kind, memory_order_relaxed);
    /* Partner: the fence in record. If any of these is of a later event, that
       one's number is seen here; it may be on its way, hence not the whole
       ring. */
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&o->recorded, memory_order_relaxed) - seen <=
           o->mask;
}

struct reading {
    struct hyi_observer *observer; /* whose event comes next */
    uint64_t ticks;
    hy_trace_event event;
};

/* The earliest of the workers' next events; false: there is none. */
static bool earliest(const hy_runtime *rt, struct reading *found)
{
    found->observer = NULL;
    for (unsigned i = 0; i < rt->worker_count; i++) {
        struct hyi_observer *o = rt->worker[i].observer;
        uint64_t ticks = 0;
        hy_trace_event event;
        bool has;

        while ((has = has_event(o)) && !read_event(o, &ticks, &event)) {
            add(&o->dropped, 1);
            add(&o->seen, 1);
        }
        if (!has || (found->observer != NULL && ticks >= found->ticks))
            continue;
        event.worker = i;
        *found = (struct reading){o, ticks, event};
    }
    return found->observer != NULL;
}

static int visit_all(hy_runtime *rt,
                     int (*visit)(const hy_trace_event *, void *), void *arg)
{
    const struct hyi_worker *w = &rt->worker[0];
    struct reading next;
    uint64_t ticks, now;
    int r = 0;

    /* What comes while this goes on is for the next call: else it might never
       end. */
    for (unsigned i = 0; i < rt->worker_count; i++)
        rt->worker[i].observer->end = atomic_load_explicit(
            &rt->worker[i].observer->recorded, memory_order_acquire);
    /* Read together here, the two clocks agree on what was a moment ago,
       however long they have run. */
    ticks = rt->seed != 0 ? 0 : now_of(w);
    now = hyi_os_now();
    while (r == 0 && earliest(rt, &next)) {
        next.event.time_ns =
            rt->seed != 0 ? next.ticks : now - ns_between(w, next.ticks, ticks);
        add(&next.observer->seen, 1);
        r = visit(&next.event, arg);
    }
    return r;
}

static uint64_t sum_dropped(const hy_runtime *rt)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < rt->worker_count; i++)
        sum += atomic_load_explicit(&rt->worker[i].observer->dropped,
                                    memory_order_relaxed);
    return sum;
}

int hy_runtime_trace(hy_runtime *rt,
                     int (*visit)(const hy_trace_event *event, void *arg),
                     void *arg, uint64_t *dropped)
{
    uint64_t before;
    int r;

    if (rt == NULL || visit == NULL)
        return -EINVAL;
    if (rt->stale)
        return -ESTALE;
    if (!(rt->flags & HY_RUNTIME_TRACE))
        return -ENODATA;
    /* Acquire: pairs with the release below. */
    if (atomic_exchange_explicit(&rt->tracing, true, memory_order_acquire))
        return -EBUSY;
    before = sum_dropped(rt);
    r = visit_all(rt, visit, arg);
    if (dropped != NULL)
        *dropped = sum_dropped(rt) - before;
    atomic_store_explicit(&rt->tracing, false, memory_order_release);
    return r;
}

/* Those that are overwritten already are dropped, though no reading has come to
   them. */
uint64_t hyi_observer_events(const hy_runtime *rt, uint64_t *dropped)
{
    uint64_t events = 0;

    *dropped = 0;
    for (unsigned i = 0; i < rt->worker_count; i++) {
        const struct hyi_observer *o = rt->worker[i].observer;
        uint64_t recorded, seen;

        if (o == NULL || o->event == NULL)
            continue;
        seen = atomic_load_explicit(&o->seen, memory_order_relaxed);
        recorded = atomic_load_explicit(&o->recorded, memory_order_relaxed);
        events += recorded;
        *dropped += atomic_load_explicit(&o->dropped, memory_order_relaxed);
        if (recorded > seen && recorded - seen > o->mask + 1)
            *dropped += recorded - seen - (o->mask + 1);
    }
    return events;
}

const char *hy_trace_kind_name(hy_trace_kind kind)
{
    static const char *const names[] = {"",      "spawn", "start", "run",
                                        "park",  "wake",  "end",   "steal",
                                        "sleep", "awake", "hop"};

    return (unsigned)kind < HYI_ARRAY_COUNT(names) ? names[kind] : "";
}
