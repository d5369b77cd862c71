/*
 * fault.c - the machine context of a fault on x86-64. Bit 1 of the page-fault
 * error code tells a write (Intel SDM vol. 3, 4.7).
 * Upstream: arch.h (fault). Downstream: the layout of ucontext_t.
 */
#include "arch.h"

#include <signal.h>
#include <ucontext.h>

enum { PAGE_FAULT_WRITE = 1 << 1 };

void hy_arch_fault_read(struct hy_arch_fault *out, const void *info,
                        const void *context)
{
    const ucontext_t *uc = context;

    out->address = ((const siginfo_t *)info)->si_addr;
#if defined(__APPLE__)
    out->pc = (void *)uc->uc_mcontext->__ss.__rip;
    out->sp = (void *)uc->uc_mcontext->__ss.__rsp;
    out->write = (uc->uc_mcontext->__es.__err & PAGE_FAULT_WRITE) != 0;
#else
    out->pc = (void *)uc->uc_mcontext.gregs[REG_RIP];
    out->sp = (void *)uc->uc_mcontext.gregs[REG_RSP];
    out->write = (uc->uc_mcontext.gregs[REG_ERR] & PAGE_FAULT_WRITE) != 0;
#endif
}
