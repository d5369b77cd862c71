/*
 * observer.h - what a worker writes down of its fibers, beside
 * hyperion/observe.h: histograms (HY_RUNTIME_MEASURE) and events
 * (HY_RUNTIME_TRACE), and where the probes for tracers outside fire (probes.h).
 *
 *      leave          settle           resume                  wake
 *      fiber A ------ pick ----------> fiber B --- leave ...   (B made ready)
 *        run time of A's turn            delay of B              wait of B
 *
 * A worker that observes has its special flag set, so that every choice of the
 * next fiber goes through pick_special in worker.c, which calls leave and
 * resume; who does not observe has no instruction of it on the way of a yield.
 */
#ifndef HYI_OBSERVER_H
#define HYI_OBSERVER_H

#include <hyperion/observe.h>

#include "core.h"
#include "ticks.h"

/* Out of the way of those who do not observe: gcc then saves no register on
   their way for the call's sake, which is worth 1 ns of a wake. */
#define HYI_COLD __attribute__((cold))

struct hyi_histogram {
    _Atomic uint64_t bucket[HY_HISTOGRAM_BUCKETS];
    _Atomic uint64_t sum, max;
};

struct hyi_event {
    _Atomic uint64_t ticks, fiber, value;
    const char *_Atomic name;
    _Atomic unsigned kind;
};

/* One worker's; allocated when the runtime has one of the flags. */
struct hyi_observer {
    struct hyi_ticks ticks;
    uint64_t now;                    /* ticks: of the choice under way */
    struct hyi_histogram *histogram; /* [hy_measure - 1]; NULL: none measured */
    struct hyi_event *event;         /* a ring; NULL: none recorded */
    uint64_t mask;
    _Atomic uint64_t recorded; /* partner: read_event in observer.c */

    /* Of hy_runtime_trace, one at a time. */
    _Atomic uint64_t seen;    /* how far it has come */
    _Atomic uint64_t dropped; /* overwritten before it came to them */
    uint64_t end;             /* how far this call goes */
};

/* For options that were checked: 0 or -ENOMEM. */
int hyi_observer_init(struct hyi_worker *w, size_t events);
void hyi_observer_deinit(struct hyi_worker *w);

/* Does anybody observe this worker now? */
bool hyi_is_observed(const struct hyi_worker *w);

/* A fiber was spawned by the worker, or by a thread: NULL, then arrived follows
   in the worker. */
HYI_COLD void hyi_observe_spawn(hy_runtime *rt, struct hyi_worker *w,
                                struct hyi_fiber *f);
HYI_COLD void hyi_observe_arrived(struct hyi_worker *w, struct hyi_fiber *f);

/* The current fiber leaves the worker, if it is one. */
HYI_COLD void hyi_observe_leave(struct hyi_worker *w);
/* Something that takes time came between leave and resume. */
HYI_COLD void hyi_observe_delay(struct hyi_worker *w);
/* The next one gets it; NULL: the worker itself. */
HYI_COLD void hyi_observe_resume(struct hyi_worker *w,
                                 const struct hyi_fiber *next);
/* A fiber has got a stack, and its extra is empty. */
HYI_COLD void hyi_observe_begin(struct hyi_worker *w, const struct hyi_fiber *f,
                                struct hyi_fiber_extra *e);
HYI_COLD void hyi_observe_end(struct hyi_worker *w, struct hyi_fiber *f);

/* A parked fiber is made ready by its worker; waker: NULL when no fiber of the
   worker does it. */
HYI_COLD void hyi_observe_wake(struct hyi_worker *w, struct hyi_fiber *f,
                               const struct hyi_fiber *waker);
/* Another thread is about to post the wake. */
HYI_COLD void hyi_observe_wake_sent(struct hyi_fiber *f);
/* A tracer wants to know: from whichever thread wakes. */
HYI_COLD void hyi_observe_wake_probed(const struct hyi_fiber *f);

HYI_COLD void hyi_observe_steal(struct hyi_worker *w,
                                const struct hyi_fiber *f);
HYI_COLD void hyi_observe_sleep(struct hyi_worker *w);
HYI_COLD void hyi_observe_awake(struct hyi_worker *w);

uint64_t hyi_observer_events(const hy_runtime *rt, uint64_t *dropped);

#endif
