/*
 * inline/patch.h - what a patch site looks like: HY_PATCH_IF.
 *
 *   in line                            at the end of the function's section
 *   -------                            ------------------------------------
 *   site:  jmp head      asks          head:  test $yes, %eax    loads
 *      or  test $head, %eax  passes       or  jmp yes            takes
 *   back:  ...                                mov  ref, %r11
 *          the branch not taken               cmpb $0, (%r11)
 *                                             jne  yes
 *   yes:   the branch taken                   jmp  back
 *
 * A site that asks under a head that loads is undecided: it reads the key's
 * byte, and is right whatever the key says. This is how the compiler leaves
 * it. The library decides a site whose key is off by letting it pass, and one
 * whose key is on by letting its head take the branch: then no memory is read.
 * On x86-64 either is a change of one byte, 0xe9 (jmp rel32) to 0xa9 (test
 * imm32) or back, in an instruction within one aligned 8 bytes whose other
 * bytes never change. On AArch64 it is a B or a NOP, which may be exchanged
 * under execution. HY_PATCH_IF_LIKELY turns the roles around: a site that
 * passes is one whose key is on.
 *
 * Beside the code, the section hy_patch_sites has a record for each site (same
 * COMDAT group and linked to the section of the code, so that they live and
 * die together), reaching the key through one pointer a file, since only that
 * can be relocated in every kind of program; and one constructor and one
 * destructor a module hand the table to the library.
 *
 * Invariant: a decided site agrees with its key; an undecided one need not.
 * Upstream: patch.h. Downstream: lib/jit/patch.c, arch/ISA/jit_patch.c.
 * The layout of a site, of a record and of a key is ABI (HY_PATCH_ABI).
 */
#ifndef HYPERION_INLINE_PATCH_H
#define HYPERION_INLINE_PATCH_H

#include <hyperion/patch.h>

/** Where a site, its head and the pointer to its key lie, each relative to the
 * member itself. Bit 0 of key: the site passes when its key is on. */
struct hy_patch_record {
    int32_t site;
    int32_t head;
    int32_t key;
};

/** HY_PATCH_SITES is 1 where sites are code that can be rewritten, and 0 where
 * HY_PATCH_IF is a plain load and branch. */
#if defined(__GNUC__) && defined(__ELF__) && defined(__LP64__) &&              \
    !defined(HY_NO_ASM) && (defined(__x86_64__) || defined(__AARCH64EL__))
#define HY_PATCH_SITES 1
#else
#define HY_PATCH_SITES 0
#endif

#if HY_PATCH_SITES

/* inline: the compiler counts a site as one instruction when it decides what
 * to inline; it would take each line for one. */
#if defined(__clang__)
#if __clang_major__ >= 11
#define HY_PATCH_ASM_ __asm__ __inline__ goto
#endif
#elif __GNUC__ >= 9
#define HY_PATCH_ASM_ __asm__ __inline__ goto
#endif
#ifndef HY_PATCH_ASM_
#define HY_PATCH_ASM_ __asm__ goto
#endif

#if defined(__x86_64__)

#define HY_PATCH_CLOBBERS_ "cc", "r11"

/* Needs at most 4 bytes of padding for 5 bytes within an aligned 8. */
#define HY_PATCH_SITE_                                                         \
    ".p2align 3, , 4\n"                                                        \
    ".Lhy_site%=: .byte 0xe9\n"                                                \
    ".long .Lhy_head%= - . - 4\n"

#define HY_PATCH_HEAD_(ref, likely)                                            \
    ".p2align 3, , 4\n"                                                        \
    ".Lhy_head%=: .byte 0xa9\n"                                                \
    ".long %l[hy_taken_] - . - 4\n"                                            \
    "{movq " ref "(%%rip), %%r11|mov r11, " ref "[rip]}\n"                     \
    "{cmpb $0, (%%r11)|cmp byte ptr [r11], 0}\n" HY_PATCH_JUMP_##likely        \
        " %l[hy_taken_]\n"                                                     \
        "jmp .Lhy_back%=\n"

#define HY_PATCH_JUMP_0 "jne"
#define HY_PATCH_JUMP_1 "je"

#define HY_PATCH_ENTER_                                                        \
    ".byte 0xf3, 0x0f, 0x1e, 0xfa\n" /* endbr64 */                             \
    "{leaq __start_hy_patch_sites(%%rip), %%rdi|"                              \
    "lea rdi, __start_hy_patch_sites[rip]}\n"                                  \
    "{leaq __stop_hy_patch_sites(%%rip), %%rsi|"                               \
    "lea rsi, __stop_hy_patch_sites[rip]}\n"                                   \
    "jmp hy_patch_attach@PLT\n"
#define HY_PATCH_LEAVE_                                                        \
    ".byte 0xf3, 0x0f, 0x1e, 0xfa\n"                                           \
    "{leaq __start_hy_patch_sites(%%rip), %%rdi|"                              \
    "lea rdi, __start_hy_patch_sites[rip]}\n"                                  \
    "jmp hy_patch_detach@PLT\n"

#else /* AArch64 */

#define HY_PATCH_CLOBBERS_ "x16"

#define HY_PATCH_SITE_ ".Lhy_site%=: b .Lhy_head%=\n"

/* The head that takes is a branch to its own last instruction, 6 words on: the
 * same word for every site. */
#define HY_PATCH_HEAD_(ref, likely)                                            \
    ".Lhy_head%=: nop\n"                                                       \
    "adrp x16, " ref "\n"                                                      \
    "ldr x16, [x16, :lo12:" ref "]\n"                                          \
    "ldrb w16, [x16]\n" HY_PATCH_JUMP_##likely " w16, .+8\n"                   \
                                               "b .Lhy_back%=\n"               \
                                               "b %l[hy_taken_]\n"

#define HY_PATCH_JUMP_0 "cbnz"
#define HY_PATCH_JUMP_1 "cbz"

#define HY_PATCH_ENTER_                                                        \
    "hint #34\n" /* bti c */                                                   \
    "adrp x0, __start_hy_patch_sites\n"                                        \
    "add x0, x0, :lo12:__start_hy_patch_sites\n"                               \
    "adrp x1, __stop_hy_patch_sites\n"                                         \
    "add x1, x1, :lo12:__stop_hy_patch_sites\n"                                \
    "b hy_patch_attach\n"
#define HY_PATCH_LEAVE_                                                        \
    "hint #34\n"                                                               \
    "adrp x0, __start_hy_patch_sites\n"                                        \
    "add x0, x0, :lo12:__start_hy_patch_sites\n"                               \
    "b hy_patch_detach\n"

#endif

/* Once a file: the pointer to the key. */
#define HY_PATCH_REF_(name)                                                    \
    ".ifndef .Lhy_patch_ref_" #name "\n"                                       \
    ".pushsection .data.rel.ro.hy_patch, \"aw\", %%progbits\n"                 \
    ".balign 8\n"                                                              \
    ".Lhy_patch_ref_" #name ": .quad " #name "\n"                              \
    ".popsection\n"                                                            \
    ".endif\n"

/* Once a file, and by its COMDAT group once a module. Priority 101: before
 * constructors that start threads. */
#define HY_PATCH_MODULE_                                                       \
    ".ifndef hy_patch_module_enter\n"                                          \
    ".hidden __start_hy_patch_sites\n"                                         \
    ".hidden __stop_hy_patch_sites\n"                                          \
    ".pushsection .text.hy_patch_module, \"axG\", %%progbits, "                \
    "hy_patch_module_enter, comdat\n"                                          \
    ".weak hy_patch_module_enter\n"                                            \
    ".hidden hy_patch_module_enter\n"                                          \
    ".type hy_patch_module_enter, %%function\n"                                \
    ".p2align 4\n"                                                             \
    "hy_patch_module_enter:\n" HY_PATCH_ENTER_                                 \
    ".size hy_patch_module_enter, . - hy_patch_module_enter\n"                 \
    ".weak hy_patch_module_leave\n"                                            \
    ".hidden hy_patch_module_leave\n"                                          \
    ".type hy_patch_module_leave, %%function\n"                                \
    ".p2align 4\n"                                                             \
    "hy_patch_module_leave:\n" HY_PATCH_LEAVE_                                 \
    ".size hy_patch_module_leave, . - hy_patch_module_leave\n"                 \
    ".popsection\n"                                                            \
    ".pushsection .init_array.00101, \"awG\", %%init_array, "                  \
    "hy_patch_module_enter, comdat\n"                                          \
    ".balign 8\n"                                                              \
    ".quad hy_patch_module_enter\n"                                            \
    ".popsection\n"                                                            \
    ".pushsection .fini_array.00101, \"awG\", %%fini_array, "                  \
    "hy_patch_module_enter, comdat\n"                                          \
    ".balign 8\n"                                                              \
    ".quad hy_patch_module_leave\n"                                            \
    ".popsection\n"                                                            \
    ".endif\n"

#define HY_PATCH_RECORD_(name, likely)                                         \
    ".pushsection hy_patch_sites, \"ao?\", %%progbits, .Lhy_site%=\n"          \
    ".balign 4\n"                                                              \
    ".long .Lhy_site%= - .\n"                                                  \
    ".long .Lhy_head%= - .\n"                                                  \
    ".long .Lhy_patch_ref_" #name " - . + " #likely "\n"                       \
    ".popsection\n"

#define HY_PATCH_GOTO_(name, likely)                                           \
    HY_PATCH_ASM_(HY_PATCH_MODULE_ HY_PATCH_REF_(name) HY_PATCH_SITE_          \
                  ".Lhy_back%=:\n"                                             \
                  ".subsection 1\n" HY_PATCH_HEAD_(                            \
                      ".Lhy_patch_ref_" #name,                                 \
                      likely) ".previous\n" HY_PATCH_RECORD_(name, likely)     \
                  :                                                            \
                  :                                                            \
                  : HY_PATCH_CLOBBERS_                                         \
                  : hy_taken_)

/* 1 when the branch out of line is taken. In C++ a function of its own: clang
 * before 17 takes each asm goto of a function for a jump to the labels of all
 * others, which must not pass by an initialisation there. */
#ifdef __cplusplus
#define HY_PATCH_TAKEN_(name, likely)                                          \
    ([]() __attribute__((always_inline))->int {                                \
        HY_PATCH_GOTO_(name, likely);                                          \
        return 0;                                                              \
    hy_taken_:                                                                 \
        return 1;                                                              \
    }())
#else
#define HY_PATCH_TAKEN_(name, likely)                                          \
    (__extension__({                                                           \
        __label__ hy_taken_;                                                   \
        int hy_is_taken_ = 0;                                                  \
        HY_PATCH_GOTO_(name, likely);                                          \
        if (0) {                                                               \
        hy_taken_:                                                             \
            hy_is_taken_ = 1;                                                  \
        }                                                                      \
        hy_is_taken_;                                                          \
    }))
#endif

#define HY_PATCH_IF_(name)        HY_PATCH_TAKEN_(name, 0)
#define HY_PATCH_IF_LIKELY_(name) (!HY_PATCH_TAKEN_(name, 1))

#elif defined(__GNUC__)

#define HY_PATCH_IF_(name)        (__atomic_load_n(&(name).on, __ATOMIC_RELAXED) != 0)
#define HY_PATCH_IF_LIKELY_(name) HY_PATCH_IF_(name)

#else

#define HY_PATCH_IF_(name)        (*(const volatile uint8_t *)&(name).on != 0)
#define HY_PATCH_IF_LIKELY_(name) HY_PATCH_IF_(name)

#endif

/**
 * 1 when the key is on, else 0: an expression for the condition of an if. The
 * code of the branch is moved out of the way; a site that is off costs one
 * instruction. name is the bare name of a key.
 */
#define HY_PATCH_IF(name) HY_PATCH_IF_(name)

/** The same for a key that is mostly on: then it is the branch of an on key
 * that costs one instruction. */
#define HY_PATCH_IF_LIKELY(name) HY_PATCH_IF_LIKELY_(name)

#endif
