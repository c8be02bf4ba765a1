/* SPDX-License-Identifier: MIT
 *
 * What the command wants to know of an ELF file: can the dynamic linker preload into it, which allocation functions
 * does it define. Reading is libelf's.
 */
#ifndef PM_ELF_FILE_H
#define PM_ELF_FILE_H

#include <gelf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pm_elf {
    int fd;
    Elf *elf;
    GElf_Ehdr header;
    char interpreter[256]; /* the dynamic linker; empty when the file names none */
    bool dynamic;          /* has a dynamic section */
};

/* False, with nothing to close, when it cannot be read (errno) or is no ELF file (errno 0). */
bool pm_elf_open(struct pm_elf *elf, const char *path);
void pm_elf_close(struct pm_elf *elf);

/* Of this machine's kind, 64 bits. */
bool pm_elf_is_native(const struct pm_elf *elf);

/* A program that the dynamic linker does not run. */
bool pm_elf_is_static_program(const struct pm_elf *elf);

/* Does the file define `symbol`? `exported`: for other objects to find; otherwise in its complete symbol table, which
 * stripped files lack. Stores its value when `value` is not NULL. */
bool pm_elf_defines(struct pm_elf *elf, const char *symbol, bool exported, uint64_t *value);

/* The name of the libc among the libraries that it needs: "libc.so.6", "libc.musl-x86_64.so.1", ... or "" */
void pm_elf_libc(struct pm_elf *elf, char *name, size_t size);

/* Where the file says its first byte is loaded: the lowest address of a loaded segment. */
uint64_t pm_elf_base(struct pm_elf *elf);

/* A name for the allocator that the object brings along, NULL when there is none that we know. Looks at the names of
 * functions, exported or not, that only that allocator has. */
const char *pm_elf_known_allocator(struct pm_elf *elf);

#endif
