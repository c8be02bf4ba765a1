/* SPDX-License-Identifier: MIT
 *
 * dlopen and dlmopen of the shared library: they drop RTLD_DEEPBIND. A library that is opened with it looks its symbols
 * up in itself and its dependencies first, libc among them, and so gets libc's malloc and free, while the rest of the
 * program has ours: the first block that one of them frees of the other ends the program. POOLMALLOC_DEEPBIND=1 keeps
 * the flag. Layer 5: uses process.h and options.h.
 *
 * Only the flag may change. libc's functions look at their return address to see who calls: the caller's RUNPATH, its
 * $ORIGIN and its namespace decide what is found. So they are reached by a jump and return to the caller directly; GCC
 * has no means to demand such a jump, hence the assembly. Every caller that was linked to dlopen comes here, whatever
 * version of it; one that asks dlvsym for a version by name gets libc's.
 *
 * musl ignores the flag. Only the shared library has this file: in an archive it would be in the way of a static
 * program's own dlopen.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>

#include "compiler.h"
#include "options.h"
#include "process.h"

#if defined(RTLD_DEEPBIND) && defined(__LP64__) && (defined(__x86_64__) || defined(__aarch64__))

/* In two registers: where to jump to, and with which flags. */
struct jump {
    void *target;
    long flags;
};

struct jump pm_override_dlopen(int flags);
struct jump pm_override_dlmopen(Lmid_t namespace, int flags);

/* Before glibc 2.34 a process may be without the library that has them. */
static void *
nobody(void)
{
    return NULL;
}

static void *
next(const char *name, _Atomic(void *) *known)
{
    void *found = atomic_load_explicit(known, memory_order_relaxed);
    if (PM_UNLIKELY(found == NULL)) {
        found = dlsym(RTLD_NEXT, name);
        if (found == NULL)
            return (void *)nobody;
        atomic_store_explicit(known, found, memory_order_relaxed);
    }
    return found;
}

static int
without_deepbind(int flags)
{
    pm_process_start(); /* reads the options */
    return pm_options.deepbind ? flags : flags & ~RTLD_DEEPBIND;
}

__attribute__((used)) struct jump
pm_override_dlopen(int flags)
{
    static _Atomic(void *) known;
    return (struct jump){next("dlopen", &known), without_deepbind(flags)};
}

/* Another namespace has a libc of its own, and this library is not in it. */
__attribute__((used)) struct jump
pm_override_dlmopen(Lmid_t namespace, int flags)
{
    static _Atomic(void *) known;
    return (struct jump){next("dlmopen", &known), namespace == LM_ID_BASE ? without_deepbind(flags) : flags};
}

#define FUNCTION(name)                                                                 \
    ".pushsection .text\n"                                                             \
    ".p2align 4\n"                                                                     \
    ".globl " name "\n"                                                                \
    ".type " name ", %function\n" name ":\n"                                           \
    ".cfi_startproc\n"
#define END(name)                                                                      \
    ".cfi_endproc\n"                                                                   \
    ".size " name ", .-" name "\n"                                                     \
    ".popsection\n"

#ifdef __x86_64__

/* The file in %rdi, the flags in %esi; the answer in %rax and %rdx. */
__asm__(FUNCTION("dlopen")
        "endbr64\n"
        "pushq %rdi\n"
        ".cfi_adjust_cfa_offset 8\n"
        "movl %esi, %edi\n"
        "call pm_override_dlopen\n"
        "popq %rdi\n"
        ".cfi_adjust_cfa_offset -8\n"
        "movl %edx, %esi\n"
        "jmp *%rax\n" END("dlopen"));

/* The namespace in %rdi, the file in %rsi, the flags in %edx, where the answer has them too. */
__asm__(FUNCTION("dlmopen")
        "endbr64\n"
        "pushq %rdi\n"
        ".cfi_adjust_cfa_offset 8\n"
        "pushq %rsi\n"
        ".cfi_adjust_cfa_offset 8\n"
        "subq $8, %rsp\n"
        ".cfi_adjust_cfa_offset 8\n"
        "movl %edx, %esi\n"
        "call pm_override_dlmopen\n"
        "addq $8, %rsp\n"
        ".cfi_adjust_cfa_offset -8\n"
        "popq %rsi\n"
        ".cfi_adjust_cfa_offset -8\n"
        "popq %rdi\n"
        ".cfi_adjust_cfa_offset -8\n"
        "jmp *%rax\n" END("dlmopen"));

#else

/* x16 is the register from which a function that begins with `bti c` (hint 34) may be jumped to. */
#define SAVE                                                                           \
    "hint #34\n"                                                                       \
    "stp x29, x30, [sp, #-32]!\n"                                                      \
    ".cfi_def_cfa_offset 32\n"                                                         \
    ".cfi_offset x29, -32\n"                                                           \
    ".cfi_offset x30, -24\n"                                                           \
    "mov x29, sp\n"                                                                    \
    "stp x0, x1, [sp, #16]\n"
#define RESTORE_AND_JUMP                                                               \
    "ldp x29, x30, [sp], #32\n"                                                        \
    ".cfi_restore x29\n"                                                               \
    ".cfi_restore x30\n"                                                               \
    ".cfi_def_cfa_offset 0\n"                                                          \
    "br x16\n"

/* The file in x0, the flags in w1, where the answer has them too. */
__asm__(FUNCTION("dlopen") SAVE
        "mov w0, w1\n"
        "bl pm_override_dlopen\n"
        "mov x16, x0\n"
        "ldr x0, [sp, #16]\n" RESTORE_AND_JUMP END("dlopen"));

/* The namespace in x0, the file in x1, the flags in w2. */
__asm__(FUNCTION("dlmopen") SAVE
        "mov w1, w2\n"
        "bl pm_override_dlmopen\n"
        "mov x16, x0\n"
        "mov w2, w1\n"
        "ldp x0, x1, [sp, #16]\n" RESTORE_AND_JUMP END("dlmopen"));

#endif
#endif
