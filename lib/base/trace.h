/*
 * trace.h - tracepoints: one at each hop of a document's way, silent until
 * hy_trace_set gives them a listener, or a runtime keeps a record of events
 * (HY_RUNTIME_TRACE). A silent one costs a load of a line that nobody writes,
 * and a branch.
 */
#ifndef HYI_TRACE_H
#define HYI_TRACE_H

#include <hyperion/base.h>

#include "check.h"
#include "process.h"

void hyi_trace_emit(const char *hop, uint64_t what);

/* One listener more, or one less. */
void hyi_trace_listen(int change);

/* hop: a string that stays. Acquire in emit pairs with the release in
   hy_trace_set. */
#define HYI_TRACE(hop, what)                                                   \
    do {                                                                       \
        if (HYI_UNLIKELY(atomic_load_explicit(&hyi_process.tracing,            \
                                              memory_order_relaxed) != 0))     \
            hyi_trace_emit(hop, what);                                         \
    } while (0)

#endif
