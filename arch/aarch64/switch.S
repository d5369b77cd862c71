/*
 * switch.S - from one stack to another (AAPCS64 calling convention).
 *
 * A suspended context is its stack pointer. What lies there:
 *
 *      sp + 160  caller's frame ...
 *      sp + 144  x19 x20               (made: entry, arg)
 *      sp + 128  x21 x22
 *      sp + 112  x23 x24
 *      sp +  96  x25 x26
 *      sp +  80  x27 x28
 *      sp +  64  d8  d9
 *      sp +  48  d10 d11
 *      sp +  32  d12 d13
 *      sp +  16  d14 d15
 *      sp +   0  x29 x30               (made: 0, first_step)
 *
 * x18 belongs to the platform and is left alone. Invariant: the switch is
 * entered by a call and left by a ret on both sides, so that the return
 * predictor stays in step; and the frame has one layout before and after the
 * stack pointer changes, so that the unwind information is true throughout.
 *
 * Upstream: lib/runtime. Downstream: nothing.
 */
#if defined(__APPLE__)
#define SYMBOL(name) _##name
#else
#define SYMBOL(name) name
#endif

#define BTI_C hint #34          /* bti c where there is BTI, else nothing */
#define BTI_J hint #36          /* bti j: for jumps, not for calls */

        .text
#if defined(__APPLE__)
        .globl  SYMBOL(hy_arch_switch)
        .private_extern SYMBOL(hy_arch_switch)
        .globl  SYMBOL(hy_arch_hop)
        .private_extern SYMBOL(hy_arch_hop)
        .globl  SYMBOL(hy_arch_hop_resumed)
        .private_extern SYMBOL(hy_arch_hop_resumed)
        .globl  SYMBOL(hy_arch_context_make)
        .private_extern SYMBOL(hy_arch_context_make)
        .globl  SYMBOL(hy_arch_inline_make)
        .private_extern SYMBOL(hy_arch_inline_make)
#else
        .globl  hy_arch_switch
        .hidden hy_arch_switch
        .type   hy_arch_switch, %function
        .globl  hy_arch_hop
        .hidden hy_arch_hop
        .type   hy_arch_hop, %function
        .globl  hy_arch_hop_resumed
        .hidden hy_arch_hop_resumed
        .globl  hy_arch_context_make
        .hidden hy_arch_context_make
        .type   hy_arch_context_make, %function
        .type   first_step, %function
        .globl  hy_arch_inline_make
        .hidden hy_arch_inline_make
        .type   hy_arch_inline_make, %function
        .type   first_inline_step, %function
#endif

/* The frame above: what a called function must keep. */
.macro  save_registers
        sub     sp, sp, #160
        .cfi_def_cfa_offset 160
        stp     x29, x30, [sp]
        .cfi_offset x29, -160
        .cfi_offset x30, -152
        stp     x19, x20, [sp, #144]
        .cfi_offset x19, -16
        .cfi_offset x20, -8
        stp     x21, x22, [sp, #128]
        .cfi_offset x21, -32
        .cfi_offset x22, -24
        stp     x23, x24, [sp, #112]
        .cfi_offset x23, -48
        .cfi_offset x24, -40
        stp     x25, x26, [sp, #96]
        .cfi_offset x25, -64
        .cfi_offset x26, -56
        stp     x27, x28, [sp, #80]
        .cfi_offset x27, -80
        .cfi_offset x28, -72
        stp     d8, d9, [sp, #64]
        .cfi_offset d8, -96
        .cfi_offset d9, -88
        stp     d10, d11, [sp, #48]
        .cfi_offset d10, -112
        .cfi_offset d11, -104
        stp     d12, d13, [sp, #32]
        .cfi_offset d12, -128
        .cfi_offset d13, -120
        stp     d14, d15, [sp, #16]
        .cfi_offset d14, -144
        .cfi_offset d15, -136
.endm

.macro  restore_registers
        ldp     x29, x30, [sp]
        ldp     x19, x20, [sp, #144]
        ldp     x21, x22, [sp, #128]
        ldp     x23, x24, [sp, #112]
        ldp     x25, x26, [sp, #96]
        ldp     x27, x28, [sp, #80]
        ldp     d8, d9, [sp, #64]
        ldp     d10, d11, [sp, #48]
        ldp     d12, d13, [sp, #32]
        ldp     d14, d15, [sp, #16]
        add     sp, sp, #160
        .cfi_def_cfa_offset 0
        .cfi_restore x29
        .cfi_restore x30
        .cfi_restore x19
        .cfi_restore x20
        .cfi_restore x21
        .cfi_restore x22
        .cfi_restore x23
        .cfi_restore x24
        .cfi_restore x25
        .cfi_restore x26
        .cfi_restore x27
        .cfi_restore x28
        .cfi_restore d8
        .cfi_restore d9
        .cfi_restore d10
        .cfi_restore d11
        .cfi_restore d12
        .cfi_restore d13
        .cfi_restore d14
        .cfi_restore d15
.endm

/* void *hy_arch_switch(void **from: x0, void *to: x1, void *value: x2) */
        .p2align 6
SYMBOL(hy_arch_switch):
        .cfi_startproc
        BTI_C
        save_registers
        mov     x9, sp
        str     x9, [x0]
        mov     sp, x1
        mov     x0, x2
        restore_registers
        ret
        .cfi_endproc
#if !defined(__APPLE__)
        .size   hy_arch_switch, . - hy_arch_switch
#endif

/* void hy_arch_hop(void **from: x0, void *to: x1, void *(*main)(void): x2)
   The call on a new stack is answered by main's return, and the call of whoever
   is resumed then by the ret below. */
        .p2align 6
SYMBOL(hy_arch_hop):
        .cfi_startproc
        BTI_C
        save_registers
        mov     x9, sp
        str     x9, [x0]
        cbnz    x2, 2f
        mov     sp, x1
SYMBOL(hy_arch_hop_resumed):
1:      restore_registers
        ret
        .cfi_endproc
        .cfi_startproc  /* nobody called what runs on a new stack */
        .cfi_undefined x30
2:      mov     sp, x1
        mov     x29, xzr
        blr     x2
        mov     sp, x0
        b       1b
        .cfi_endproc
#if !defined(__APPLE__)
        .size   hy_arch_hop, . - hy_arch_hop
#endif

/* Where a made context begins: entry(arg, value). Nobody called it, which is
   what an undefined return address tells the unwinder. */
        .p2align 4
first_step:
        .cfi_startproc
        .cfi_undefined x30
        mov     x1, x0
        mov     x0, x20
        blr     x19
        brk     #1
        .cfi_endproc
#if !defined(__APPLE__)
        .size   first_step, . - first_step
#endif

/* void *hy_arch_context_make(void *stack: x0, size_t bytes: x1,
                              entry: x2, void *arg: x3) */
        .p2align 4
SYMBOL(hy_arch_context_make):
        .cfi_startproc
        BTI_C
        add     x0, x0, x1
        and     x0, x0, #-16
        sub     x0, x0, #176
        adr     x4, first_step
        stp     xzr, x4, [x0]
        stp     xzr, xzr, [x0, #16]
        stp     xzr, xzr, [x0, #32]
        stp     xzr, xzr, [x0, #48]
        stp     xzr, xzr, [x0, #64]
        stp     xzr, xzr, [x0, #80]
        stp     xzr, xzr, [x0, #96]
        stp     xzr, xzr, [x0, #112]
        stp     xzr, xzr, [x0, #128]
        stp     x2, x3, [x0, #144]
        stp     xzr, xzr, [x0, #160]
        ret
        .cfi_endproc
#if !defined(__APPLE__)
        .size   hy_arch_context_make, . - hy_arch_context_make
#endif

/* Where a context for the inline switch begins: entry in x19, value in x0, arg
   at the stack pointer. */
        .p2align 4
first_inline_step:
        .cfi_startproc
        .cfi_undefined x30
        BTI_J
        mov     x1, x0
        ldr     x0, [sp]
        blr     x19
        brk     #1
        .cfi_endproc
#if !defined(__APPLE__)
        .size   first_inline_step, . - first_inline_step
#endif

/* bool hy_arch_inline_make(void **words: x0, void *stack: x1,
                            size_t bytes: x2, entry: x3, void *arg: x4) */
        .p2align 4
SYMBOL(hy_arch_inline_make):
        .cfi_startproc
        BTI_C
        add     x1, x1, x2
        and     x1, x1, #-16
        sub     x1, x1, #16
        stp     x4, xzr, [x1]
        adr     x5, first_inline_step
        stp     x1, x5, [x0]
        stp     xzr, x3, [x0, #16]
        mov     w0, #1
        ret
        .cfi_endproc
#if !defined(__APPLE__)
        .size   hy_arch_inline_make, . - hy_arch_inline_make
#endif

#if !defined(__APPLE__)
/* Every indirect branch target here is a landing pad (BTI). */
        .section .note.gnu.property, "a", %note
        .p2align 3
        .long   4, 16, 5
        .asciz  "GNU"
        .long   0xc0000000, 4, 1, 0
        .section .note.GNU-stack, "", %progbits
#endif
