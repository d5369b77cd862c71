/*
 * check_runtime_inline.S - the other side of an inline switch, by hand: a
 * context that fills every register there is and resumes the one that resumed
 * it, for ever.
 *
 *      void check_inline_fill(void *arg, void *value);    entry of a context
 *
 *      arg    0  its own hy_inline_context       64  not 0: wide registers too
 *            32  the one that it resumes         72  mistakes that it found
 *
 * The value travels through it, one higher each time. When it is resumed it
 * finds rbx and rbp (x19 and x29) as they were, or counts a mistake. A program
 * in C that keeps more values than there are registers notices when the
 * compiler was not told of one of them.
 */
#if defined(__APPLE__)
#define SYMBOL(name) _##name
#else
#define SYMBOL(name) name
#endif

        .text
        .globl  SYMBOL(check_inline_fill)

#if defined(__x86_64__)
        .macro  fill_wide nth
        vpternlogd $255, %zmm\nth, %zmm\nth, %zmm\nth
        .endm

SYMBOL(check_inline_fill):
        pushq   %rdi
        movq    %rsi, %rax
again:
        movq    (%rsp), %rdi
        cmpl    $0, 64(%rdi)
        je      narrow
        .irp    nth, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        fill_wide \nth
        .endr
        .irp    nth, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29
        fill_wide \nth
        .endr
        fill_wide 30
        fill_wide 31
        .irp    nth, 0, 1, 2, 3, 4, 5, 6, 7
        kxnorw  %k\nth, %k\nth, %k\nth
        .endr
        vzeroupper
narrow:
        .irp    nth, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        pcmpeqd %xmm\nth, %xmm\nth
        .endr
        .irp    nth, 0, 1, 2, 3, 4, 5, 6, 7
        pcmpeqd %mm\nth, %mm\nth
        .endr
        emms
        movq    $0x1234567, %rbx
        movq    $0x7654321, %rbp
        .irp    nth, cx, 8, 9, 10, 11, 12, 13, 14, 15
        movq    $-1, %r\nth
        .endr
        leaq    32(%rdi), %rsi
        leaq    back(%rip), %rdx
        movq    %rsp, (%rdi)
        movq    %rdx, 8(%rdi)
        movq    %rbp, 16(%rdi)
        movq    %rbx, 24(%rdi)
        incq    %rax
        movq    $-1, %rdx
        movq    (%rsi), %rsp
        movq    16(%rsi), %rbp
        movq    24(%rsi), %rbx
        jmpq    *8(%rsi)
back:
        endbr64
        movq    (%rsp), %rdi
        cmpq    $0x1234567, %rbx
        je      1f
        incq    72(%rdi)
1:      cmpq    $0x7654321, %rbp
        je      again
        incq    72(%rdi)
        jmp     again

#elif defined(__aarch64__)
        .p2align 2
SYMBOL(check_inline_fill):
        str     x0, [sp, #-16]!
        mov     x0, x1
again:
        ldr     x1, [sp]
        .irp    nth, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        movi    v\nth\().16b, #255
        .endr
        .irp    nth, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29
        movi    v\nth\().16b, #255
        .endr
        movi    v30.16b, #255
        movi    v31.16b, #255
        .irp    nth, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 15, 17, 20, 21, 22
        mov     x\nth, #-1
        .endr
        .irp    nth, 23, 24, 25, 26, 27, 28, 30
        mov     x\nth, #-1
        .endr
#if !defined(__APPLE__)
        mov     x18, #-1        /* the platform's elsewhere */
#endif
        mov     x19, #0x1234
        mov     x29, #0x4321
        add     x2, x1, #32
        adr     x10, back
        mov     x9, sp
        stp     x9, x10, [x1]
        stp     x29, x19, [x1, #16]
        ldp     x9, x16, [x2]
        mov     sp, x9
        ldp     x29, x19, [x2, #16]
        add     x0, x0, #1
        mov     x9, #-1
        mov     x10, #-1
        br      x16
back:
        hint    #36             /* bti j */
        ldr     x1, [sp]
        ldr     x3, [x1, #72]
        mov     x4, #0x1234
        cmp     x19, x4
        cinc    x3, x3, ne
        mov     x4, #0x4321
        cmp     x29, x4
        cinc    x3, x3, ne
        str     x3, [x1, #72]
        b       again
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
