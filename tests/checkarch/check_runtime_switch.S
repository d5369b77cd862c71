/*
 * check_runtime_switch.S - fills every register that a called function must
 * keep, switches, and writes down what they hold afterwards.
 *
 *      void check_switch(void **from, void *to, const uint64_t *in,
 *                        uint64_t *out);
 *      void check_hop(the same);
 *
 * A C program at -O2 keeps few values in registers across a call: it would
 * miss most of what a switch could forget.
 */
#if defined(__APPLE__)
#define SYMBOL(name) _##name
#else
#define SYMBOL(name) name
#endif

        .text
        .globl  SYMBOL(check_switch)
        .globl  SYMBOL(check_hop)

#if defined(__x86_64__)
/* in, out: rbx rbp r12 r13 r14 r15 */
.macro  probe   function
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        pushq   %rcx
        movq    (%rdx), %rbx
        movq    8(%rdx), %rbp
        movq    16(%rdx), %r12
        movq    24(%rdx), %r13
        movq    32(%rdx), %r14
        movq    40(%rdx), %r15
        xorl    %edx, %edx
        call    \function
        popq    %rcx
        movq    %rbx, (%rcx)
        movq    %rbp, 8(%rcx)
        movq    %r12, 16(%rcx)
        movq    %r13, 24(%rcx)
        movq    %r14, 32(%rcx)
        movq    %r15, 40(%rcx)
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        ret
.endm

SYMBOL(check_switch):
        probe   SYMBOL(hy_arch_switch)
SYMBOL(check_hop):
        probe   SYMBOL(hy_arch_hop)
#elif defined(__aarch64__)
/* in, out: x19 .. x28 x29, d8 .. d15 */
.macro  probe   function
        sub     sp, sp, #176
        stp     x29, x30, [sp]
        stp     x19, x20, [sp, #16]
        stp     x21, x22, [sp, #32]
        stp     x23, x24, [sp, #48]
        stp     x25, x26, [sp, #64]
        stp     x27, x28, [sp, #80]
        stp     d8, d9, [sp, #96]
        stp     d10, d11, [sp, #112]
        stp     d12, d13, [sp, #128]
        stp     d14, d15, [sp, #144]
        str     x3, [sp, #160]
        ldp     x19, x20, [x2]
        ldp     x21, x22, [x2, #16]
        ldp     x23, x24, [x2, #32]
        ldp     x25, x26, [x2, #48]
        ldp     x27, x28, [x2, #64]
        ldr     x29, [x2, #80]
        ldp     d8, d9, [x2, #88]
        ldp     d10, d11, [x2, #104]
        ldp     d12, d13, [x2, #120]
        ldp     d14, d15, [x2, #136]
        mov     x2, xzr
        bl      \function
        ldr     x3, [sp, #160]
        stp     x19, x20, [x3]
        stp     x21, x22, [x3, #16]
        stp     x23, x24, [x3, #32]
        stp     x25, x26, [x3, #48]
        stp     x27, x28, [x3, #64]
        str     x29, [x3, #80]
        stp     d8, d9, [x3, #88]
        stp     d10, d11, [x3, #104]
        stp     d12, d13, [x3, #120]
        stp     d14, d15, [x3, #136]
        ldp     x29, x30, [sp]
        ldp     x19, x20, [sp, #16]
        ldp     x21, x22, [sp, #32]
        ldp     x23, x24, [sp, #48]
        ldp     x25, x26, [sp, #64]
        ldp     x27, x28, [sp, #80]
        ldp     d8, d9, [sp, #96]
        ldp     d10, d11, [sp, #112]
        ldp     d12, d13, [sp, #128]
        ldp     d14, d15, [sp, #144]
        add     sp, sp, #176
        ret
.endm

        .p2align 2
SYMBOL(check_switch):
        probe   SYMBOL(hy_arch_switch)
SYMBOL(check_hop):
        probe   SYMBOL(hy_arch_hop)
#else
#error "no register probe for this machine"
#endif

#if !defined(__APPLE__)
#if defined(__aarch64__)
        .section .note.GNU-stack, "", %progbits
#else
        .section .note.GNU-stack, "", @progbits
#endif
#endif
