/*
 * fault.c - the machine context of a fault on AArch64. The syndrome register
 * tells a write by WnR (bit 6) of a data abort (Arm ARM, ESR_EL1). Linux hands
 * it over as a record behind the registers, and may leave it out.
 * Upstream: arch.h (fault). Downstream: the layout of ucontext_t.
 */
#include "arch.h"

#include <signal.h>
#include <string.h>
#include <ucontext.h>

static bool syndrome_is_write(uint64_t esr)
{
    const uint64_t data_abort_lower = 0x24, data_abort_same = 0x25;
    uint64_t class = esr >> 26 & 0x3f;

    return (class == data_abort_lower || class == data_abort_same) &&
           (esr & (uint64_t)1 << 6) != 0;
}

#if defined(__APPLE__)

void hy_arch_fault_read(struct hy_arch_fault *out, const void *info,
                        const void *context)
{
    const ucontext_t *uc = context;

    out->address = ((const siginfo_t *)info)->si_addr;
    out->pc = (void *)uc->uc_mcontext->__ss.__pc;
    out->sp = (void *)uc->uc_mcontext->__ss.__sp;
    out->write = syndrome_is_write(uc->uc_mcontext->__es.__esr);
}

#else

struct record {
    uint32_t magic;
    uint32_t bytes;
};

static bool is_write(const void *records, size_t limit)
{
    const uint32_t esr_magic = 0x45535201;
    const char *at = records, *end = at + limit;
    struct record head;
    uint64_t esr;

    while (at + sizeof(head) + sizeof(esr) <= end) {
        memcpy(&head, at, sizeof(head));
        if (head.magic == esr_magic) {
            memcpy(&esr, at + sizeof(head), sizeof(esr));
            return syndrome_is_write(esr);
        }
        if (head.magic == 0 || head.bytes < sizeof(head) ||
            head.bytes > (size_t)(end - at))
            return false;
        at += head.bytes;
    }
    return false;
}

void hy_arch_fault_read(struct hy_arch_fault *out, const void *info,
                        const void *context)
{
    const ucontext_t *uc = context;

    out->address = ((const siginfo_t *)info)->si_addr;
    out->pc = (void *)uc->uc_mcontext.pc;
    out->sp = (void *)uc->uc_mcontext.sp;
    out->write = is_write(uc->uc_mcontext.__reserved,
                          sizeof(uc->uc_mcontext.__reserved));
}

#endif
