/* SPDX-License-Identifier: MIT
 *
 * The system allocator as the program's own malloc: for the library with the pm_* interface only.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/auxv.h>

#include "system.h"

/* A static program need not contain them. */
extern int dladdr(const void *address, Dl_info *info) __attribute__((weak));
extern void *dlopen(const char *path, int mode) __attribute__((weak));

/* Where the linker puts the beginning of the object that this code is part of. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));

static bool stays;

#ifdef __GLIBC__
/* Weak: the archive may end in a program of another libc, which has no such functions. */
extern int malloc_trim(size_t pad) __attribute__((weak));
extern int mallopt(int parameter, int value) __attribute__((weak));
extern struct mallinfo2 mallinfo2(void) __attribute__((weak));

static void
own_info(struct pm_system_info *info)
{
    pm_system_info_of_glibc(info, mallinfo2());
}
#endif

void
pm_system_resolve(void)
{
    pm_system = (struct pm_system){
        .malloc = malloc,
        .free = free,
        .calloc = calloc,
        .realloc = realloc,
        .aligned_alloc = aligned_alloc,
        .usable_size = malloc_usable_size,
#ifdef __GLIBC__
        .trim = malloc_trim,
        .option = mallopt,
        .info = mallinfo2 != NULL ? own_info : NULL,
#endif
    };
}

/* The main program stays: its program headers follow the beginning of the object. */
bool
pm_system_may_go(void)
{
    return !stays && getauxval(AT_PHDR) - (uintptr_t)__ehdr_start >= 4096;
}

void
pm_system_stay(void)
{
    Dl_info info;
    if (dlopen == NULL || dladdr == NULL || !pm_system_may_go() || dladdr(&stays, &info) == 0)
        return;
    /* One reference, never given back, does it too where there is no RTLD_NODELETE. */
    stays = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE) != NULL;
}
