/*
 * switch.S - from one stack to another (System V x86-64 calling convention).
 *
 * A suspended context is its stack pointer. What lies there:
 *
 *      sp + 56   caller's frame ...
 *      sp + 48   return address        (made: first_step)
 *      sp + 40   rbp                   (made: 0, the end of the chain)
 *      sp + 32   rbx                   (made: entry)
 *      sp + 24   r12                   (made: arg)
 *      sp + 16   r13
 *      sp +  8   r14
 *      sp +  0   r15
 *
 * Invariant: the switch is entered by a call and left by a ret, on both sides,
 * with nothing between, so that the return predictor stays in step; and the
 * frame has one layout before and after the stack pointer changes, so that the
 * unwind information is true at every instruction.
 *
 * Upstream: lib/runtime. Downstream: nothing.
 */
#if defined(__APPLE__)
#define SYMBOL(name) _##name
#else
#define SYMBOL(name) name
#endif

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
        .type   hy_arch_switch, @function
        .globl  hy_arch_hop
        .hidden hy_arch_hop
        .type   hy_arch_hop, @function
        .globl  hy_arch_hop_resumed
        .hidden hy_arch_hop_resumed
        .globl  hy_arch_context_make
        .hidden hy_arch_context_make
        .type   hy_arch_context_make, @function
        .type   first_step, @function
        .globl  hy_arch_inline_make
        .hidden hy_arch_inline_make
        .type   hy_arch_inline_make, @function
        .type   first_inline_step, @function
#endif

/* The frame above: what a called function must keep. */
.macro  save_registers
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbp, 0
        pushq   %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbx, 0
        pushq   %r12
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r12, 0
        pushq   %r13
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r13, 0
        pushq   %r14
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r14, 0
        pushq   %r15
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r15, 0
.endm

.macro  restore_registers
        popq    %r15
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r15
        popq    %r14
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r14
        popq    %r13
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r13
        popq    %r12
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r12
        popq    %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbx
        popq    %rbp
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbp
.endm

/* void *hy_arch_switch(void **from: rdi, void *to: rsi, void *value: rdx) */
        .p2align 6
SYMBOL(hy_arch_switch):
        .cfi_startproc
        endbr64
        save_registers
        movq    %rsp, (%rdi)
        movq    %rsi, %rsp
        movq    %rdx, %rax
        restore_registers
        ret
        .cfi_endproc
#if !defined(__APPLE__)
        .size   hy_arch_switch, . - hy_arch_switch
#endif

/* void hy_arch_hop(void **from: rdi, void *to: rsi, void *(*main)(void): rdx)
   The call on a new stack is answered by main's return, and the call of whoever
   is resumed then by the ret below. */
        .p2align 6
SYMBOL(hy_arch_hop):
        .cfi_startproc
        endbr64
        save_registers
        movq    %rsp, (%rdi)
        testq   %rdx, %rdx
        jnz     2f
        movq    %rsi, %rsp
SYMBOL(hy_arch_hop_resumed):
1:      restore_registers
        ret
        .cfi_endproc
        .cfi_startproc  /* nobody called what runs on a new stack */
        .cfi_undefined %rip
2:      movq    %rsi, %rsp
        xorl    %ebp, %ebp
        callq   *%rdx
        movq    %rax, %rsp
        jmp     1b
        .cfi_endproc
#if !defined(__APPLE__)
        .size   hy_arch_hop, . - hy_arch_hop
#endif

/* Where a made context begins: entry(arg, value). Nobody called it, which is
   what an undefined return address tells the unwinder. */
        .p2align 4
first_step:
        .cfi_startproc
        .cfi_undefined %rip
        movq    %r12, %rdi
        movq    %rax, %rsi
        callq   *%rbx
        ud2
        .cfi_endproc
#if !defined(__APPLE__)
        .size   first_step, . - first_step
#endif

/* void *hy_arch_context_make(void *stack: rdi, size_t bytes: rsi,
                              entry: rdx, void *arg: rcx) */
        .p2align 4
SYMBOL(hy_arch_context_make):
        .cfi_startproc
        endbr64
        leaq    (%rdi,%rsi), %rax
        andq    $-16, %rax
        subq    $72, %rax
        xorl    %esi, %esi
        movq    %rsi, 64(%rax)
        movq    %rsi, 56(%rax)
        leaq    first_step(%rip), %rdi
        movq    %rdi, 48(%rax)
        movq    %rsi, 40(%rax)
        movq    %rdx, 32(%rax)
        movq    %rcx, 24(%rax)
        movq    %rsi, 16(%rax)
        movq    %rsi, 8(%rax)
        movq    %rsi, (%rax)
        ret
        .cfi_endproc
#if !defined(__APPLE__)
        .size   hy_arch_context_make, . - hy_arch_context_make
#endif

/* Where a context for the inline switch begins: entry in rbx, value in rax, arg
   at the stack pointer, which is aligned. */
        .p2align 4
first_inline_step:
        .cfi_startproc
        .cfi_undefined %rip
        endbr64
        movq    (%rsp), %rdi
        movq    %rax, %rsi
        callq   *%rbx
        ud2
        .cfi_endproc
#if !defined(__APPLE__)
        .size   first_inline_step, . - first_inline_step
#endif

/* bool hy_arch_inline_make(void **words: rdi, void *stack: rsi,
                            size_t bytes: rdx, entry: rcx, void *arg: r8) */
        .p2align 4
SYMBOL(hy_arch_inline_make):
        .cfi_startproc
        endbr64
        leaq    (%rsi,%rdx), %rax
        andq    $-16, %rax
        subq    $16, %rax
        xorl    %esi, %esi
        movq    %r8, (%rax)
        movq    %rsi, 8(%rax)
        movq    %rax, (%rdi)
        leaq    first_inline_step(%rip), %rax
        movq    %rax, 8(%rdi)
        movq    %rsi, 16(%rdi)
        movq    %rcx, 24(%rdi)
        movl    $1, %eax
        ret
        .cfi_endproc
#if !defined(__APPLE__)
        .size   hy_arch_inline_make, . - hy_arch_inline_make
#endif

#if !defined(__APPLE__)
/* Indirect branches land on endbr64 here (IBT). A shadow stack is not
   switched, so SHSTK is not claimed. */
        .section .note.gnu.property, "a", @note
        .p2align 3
        .long   4, 16, 5
        .asciz  "GNU"
        .long   0xc0000002, 4, 1, 0
        .section .note.GNU-stack, "", @progbits
#endif
