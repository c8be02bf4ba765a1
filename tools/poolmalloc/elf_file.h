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

/* Has it a note of poolmalloc of that type (note.h)? */
bool pm_elf_has_note(struct pm_elf *elf, uint32_t type);

/* Does it bring a malloc that is poolmalloc's? */
bool pm_elf_is_poolmalloc(struct pm_elf *elf);

/* Does the file define `symbol`, for other objects to find? */
bool pm_elf_exports(struct pm_elf *elf, const char *symbol);

/* Does it use a `symbol` that another object is to define? */
bool pm_elf_imports(struct pm_elf *elf, const char *symbol);

/* Is it linked with -Bsymbolic: does it look for symbols in itself first? */
bool pm_elf_is_symbolic(struct pm_elf *elf);

/* The sanitizer that replaces malloc for the file, or that it is itself; NULL when there is none. */
const char *pm_elf_sanitizer(struct pm_elf *elf);

/* Calls `visit` with each imported function and the place, as the file says it, where the dynamic linker writes the
 * address that it has found for it. */
void pm_elf_each_import(struct pm_elf *elf, void (*visit)(const char *symbol, uint64_t place, void *), void *data);

/* The name of the libc among the libraries that it needs: "libc.so.6", "libc.musl-x86_64.so.1", ... or "" */
void pm_elf_libc(struct pm_elf *elf, char *name, size_t size);

/* A name for the allocator that the object brings along, NULL when there is none that we know. Looks at the names of
 * functions, exported or not, that only that allocator has. */
const char *pm_elf_known_allocator(struct pm_elf *elf);

#endif
