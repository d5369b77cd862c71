/*
 * fault.c - what portable C can tell of a fault: its address.
 * Upstream: arch.h (fault).
 */
#include "arch.h"

#include <signal.h>

void hy_arch_fault_read(struct hy_arch_fault *out, const void *info,
                        const void *context)
{
    (void)context;
    out->address = ((const siginfo_t *)info)->si_addr;
    out->pc = NULL;
    out->sp = NULL;
    out->write = false;
}
