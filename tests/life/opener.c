/* SPDX-License-Identifier: MIT
 *
 * A library that opens libplugin.so, which only its own RUNPATH, relative to its own $ORIGIN, leads to. It does so in its
 * constructor too, which runs before that of a preloaded library.
 */
#include <dlfcn.h>
#include <stdlib.h>

#include "opener.h"

void *opener_early_block;

/* The loader has to see this library as the caller, so the call must not be the function's last act. */
void *
opener_open(const char *name, int flags)
{
    void *volatile handle = dlopen(name, flags);
    return handle;
}

__attribute__((constructor)) static void
open_early(void)
{
    void *handle = opener_open("libplugin.so", RTLD_LAZY | RTLD_DEEPBIND);
    void *(*take)(size_t) = handle != NULL ? (void *(*)(size_t))dlsym(handle, "plugin_malloc") : NULL;
    if (take == NULL)
        abort();
    opener_early_block = take(100);
    dlclose(handle);
}
