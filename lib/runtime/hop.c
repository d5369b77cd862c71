/*
 * hop.c - going from stack to stack: what is not inlined (hop.h has the
 * picture).
 *
 * Upstream: worker.c. Downstream: arch.h (switch.S).
 */
#include "hop.h"

#include <errno.h>
#include <stdio.h>

#include "waits.h"

extern void *__cxa_get_globals(void) __attribute__((weak));

struct hyi_worker *hyi_worker_again(void)
{
    return hyi_worker_self;
}

void hyi_worker_come(struct hyi_worker *w)
{
    hyi_worker_self = w;
    atomic_signal_fence(memory_order_seq_cst); /* as in hyi_worker_leave */
    hyi_parker_self = &hyi_worker_parker;
    w->errno_at = &errno;
    w->cxx = __cxa_get_globals != NULL ? __cxa_get_globals() : &w->no_cxx;
    hy_arch_hop_carry(w);
}

void hyi_worker_forget(void)
{
    hyi_parker_self = NULL; /* first, as in hyi_worker_leave */
    atomic_signal_fence(memory_order_seq_cst);
    hyi_worker_self = NULL;
}

void hyi_hop_fp_env(struct hyi_worker *w, struct hyi_fiber *from,
                    struct hyi_fiber *to)
{
    uint64_t env = hy_arch_fp_env_get();

    if (from->flags & HY_FIBER_FP_ENV)
        hyi_extra_of(from)->fp_env = env;
    else
        w->fp_env = env;
    hy_arch_fp_env_set(to->flags & HY_FIBER_FP_ENV ? hyi_extra_of(to)->fp_env
                                                   : w->fp_env);
}

void hyi_report_critical(struct hyi_fiber *f, bool ends)
{
    struct hyi_worker *w =
        atomic_load_explicit(&f->worker, memory_order_relaxed);
    char who[HYI_FIBER_TEXT], message[HYI_FIBER_TEXT + 64];
    const char *does = ends ? "end" : "yield";

    /* Woken: by the look at inbox and timers that its own wait has made. */
    if (f->woken || atomic_load_explicit(&f->state, memory_order_relaxed) ==
                        HY_FIBER_PARKED)
        does = hyi_wait_name((enum hyi_wait)atomic_load_explicit(
            &f->wait, memory_order_relaxed));
    hyi_fiber_describe(f, who, sizeof(who));
    snprintf(message, sizeof(message), "%s is in a critical section: %s", who,
             does);
    hyi_report(w->rt, HY_REPORT_ERROR, message);
}

void hyi_hop(struct hyi_worker *w, struct hyi_fiber *to, void *top)
{
    hyi_hop_here(w, to, top);
}

void hyi_hop_with_exceptions(struct hyi_worker *w, struct hyi_fiber *to,
                             void *top)
{
    struct hyi_cxx_globals cxx = *w->cxx;

    *w->cxx = (struct hyi_cxx_globals){NULL, 0};
    hyi_hop(w, to, top);
    *hyi_worker_here(w)->cxx = cxx;
}
