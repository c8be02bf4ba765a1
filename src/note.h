/* SPDX-License-Identifier: MIT
 *
 * Notes in ELF files that say that poolmalloc is inside. They are loaded with the program, so they are found in a file,
 * a process and a core alike, by the program headers alone: also in stripped and in static programs. The linker keeps
 * notes whatever else it drops, and they need no relocation. Layer 0: uses nothing.
 */
#ifndef PM_NOTE_H
#define PM_NOTE_H

#define PM_NOTE_OWNER "poolmalloc"

/* Types. ROOT: 8 bytes, the address of the root (root.h) minus the address of these 8 bytes. MALLOC: nothing more to
 * say; the file has malloc and its relatives from poolmalloc, not its own functions alone. */
#define PM_NOTE_ROOT 0x201
#define PM_NOTE_MALLOC 0x202

#define PM_NOTE_TEXT_(number) #number
#define PM_NOTE_TEXT(number) PM_NOTE_TEXT_(number)
#define PM_NOTE_ASSEMBLY(type, description)                                                              \
    ".pushsection .note.poolmalloc, \"a\", %%note\n"                                                     \
    "    .balign 4\n"                                                                                      \
    "    .long 2f - 1f, 4f - 3f, " PM_NOTE_TEXT(type) "\n"                                                 \
    "1:  .asciz \"" PM_NOTE_OWNER "\"\n"                                                                   \
    "2:  .balign 4\n"                                                                                      \
    "3:  " description "\n"                                                                                \
    "4:  .balign 4\n"                                                                                      \
    ".popsection"

/* The constraint for the address of an object in position-independent code. */
#if defined(__aarch64__)
#define PM_NOTE_ADDRESS "S"
#else
#define PM_NOTE_ADDRESS "i"
#endif

/* Statements, for a function that is kept with the attribute `used`. The object is an operand, and so it is found under
 * whatever name link-time optimisation gives it; it must be one of the same file, without a name outside. */
#define PM_NOTE_OF_OBJECT(type, object) \
    __asm__ volatile(PM_NOTE_ASSEMBLY(type, ".quad %c0 - 3b") : : PM_NOTE_ADDRESS(&(object)))
#define PM_NOTE_ALONE(type) __asm__ volatile(PM_NOTE_ASSEMBLY(type, "") : : "i"(0))

#endif
