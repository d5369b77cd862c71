/*
 * code.h - writing machine code: what expressions and patch sites share.
 *
 *      bytes in a buffer --hyi_code_publish--> span of executable memory
 *
 *      dual:    memfd page  <- written at hyi_code_view.write
 *                           <- executed at hyi_code_view.execute
 *      toggle:  page(s) of one span: written, then made executable
 *
 * Nothing here ever maps a page writable and executable.
 */
#ifndef HYI_CODE_H
#define HYI_CODE_H

#include <hyperion/jit.h>
#include <stdbool.h>

/* One stretch of memory at the address to execute it and that to write it. */
struct hyi_code_view {
    uint8_t *execute;
    uint8_t *write;
    size_t bytes;
    long process; /* that mapped it, and alone unmaps write */
};

/*
 * Maps bytes (whole pages) of fresh memory twice: read and execute, read and
 * write. The memory is shared with forked children at .execute and absent in
 * them at .write. 0 or a negative errno value.
 */
int hyi_code_view_map(struct hyi_code_view *out, const char *name,
                      size_t bytes);
void hyi_code_view_unmap(const struct hyi_code_view *view);

/*
 * After bytes at execute were written (at whichever address): makes them
 * visible to instruction fetch of every core, but for what a core has already
 * fetched (a new function is safe; a function that may be running needs more).
 */
void hyi_code_sync(void *execute, size_t bytes);

/* Code that was published: opaque to all but code.c. */
struct hyi_code_span {
    struct hyi_code_region *region;
    uint32_t first, units; /* in units of the region */
    uint8_t *execute;
    size_t bytes;
};

/*
 * Copies position-independent code into executable memory of code and takes a
 * hold on it. 0; -ENOTSUP when code is HY_CODE_NONE; -ENOSPC at its limit; the
 * error of mapping. Any thread.
 */
int hyi_code_publish(hy_code *code, const void *bytes, size_t count,
                     struct hyi_code_span *out);

/* The mapping that holds it. */
const struct hyi_code_view *
hyi_code_span_view(const struct hyi_code_span *span);

/* False for HY_CODE_NONE. */
bool hyi_code_is_writable(const hy_code *code);

/* Frees the span, and code with its last hold. No thread runs it any more. */
void hyi_code_retract(hy_code *code, const struct hyi_code_span *span);

/* Tries the mechanisms out; hy_code_caps keeps the answer. */
unsigned hyi_code_probe(void);

/* Whether expressions have a native back end on this processor. */
bool hyi_expr_native_usable(void);

#endif
