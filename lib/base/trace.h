/*
 * trace.h - tracepoints: one at each hop of a document's way, silent until
 * hy_trace_set gives them a listener. A silent one costs a load of a line that
 * nobody writes, and a branch.
 */
#ifndef HYI_TRACE_H
#define HYI_TRACE_H

#include <hyperion/base.h>

#include "check.h"
#include "process.h"

void hyi_trace_emit(const char *hop, uint64_t what);

/* Acquire in emit pairs with the release in hy_trace_set. */
#define HYI_TRACE(hop, what)                                                   \
    do {                                                                       \
        if (HYI_UNLIKELY(atomic_load_explicit(&hyi_process.trace,              \
                                              memory_order_relaxed) != NULL))  \
            hyi_trace_emit(hop, what);                                         \
    } while (0)

#endif
