/* SPDX-License-Identifier: MIT
 *
 * A program that is to be started: which file the kernel would run for a name, through the PATH and the first lines of
 * scripts, and whether the dynamic linker would preload a library into it.
 */
#ifndef PM_PROGRAM_H
#define PM_PROGRAM_H

#include <limits.h>
#include <stdbool.h>

enum pm_verdict {
    PM_PRELOADABLE,
    PM_NO_PROGRAM,         /* there is no such file */
    PM_NOT_EXECUTABLE,     /* no permission, a directory, an unknown format */
    PM_STATIC_PROGRAM,     /* no dynamic linker runs it */
    PM_STATIC_POOLMALLOC,  /* the same, but poolmalloc is linked in */
    PM_PRIVILEGED_PROGRAM, /* setuid, setgid or with capabilities: the dynamic linker ignores LD_PRELOAD */
    PM_OTHER_MACHINE,      /* 32-bit, or of another processor */
    PM_SANITIZED_PROGRAM,  /* a sanitizer replaces malloc, and fails when another does */
    PM_OTHER_LIBC,         /* the library needs another libc than the program */
    PM_OWN_MALLOC,         /* the program itself defines malloc, and comes before what is preloaded */
    PM_OWN_POOLMALLOC,     /* the same, and it is poolmalloc */
};

struct pm_program {
    char path[PATH_MAX];   /* what the name led to */
    char binary[PATH_MAX]; /* the ELF file: path itself, or what runs the script */
    bool script;
    bool own_functions;    /* poolmalloc is linked into the binary with its own functions alone */
    const char *allocator; /* one that is linked into the binary, NULL when we know none */
    enum pm_verdict verdict;
    char reason[2 * PATH_MAX]; /* one clause about the verdict, when it is not PM_PRELOADABLE */
};

/* `library`: the one that would be preloaded. */
void pm_program_examine(struct pm_program *program, const char *name, const char *library);

#endif
