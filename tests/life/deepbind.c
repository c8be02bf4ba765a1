/* SPDX-License-Identifier: MIT
 *
 * A program that opens a plugin with RTLD_DEEPBIND, by dlopen and dlmopen, and exchanges blocks with it, with libpoolmalloc
 * preloaded. But for that flag, dlopen has to be libc's in everything: the caller's RUNPATH and $ORIGIN, the other
 * flags, the errors. With a second argument, "kept", the flag is in force and blocks are not exchanged.
 */
#include "opener.h"
#include "support/check.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEEP = RTLD_LAZY | RTLD_DEEPBIND, THREADS = 4, ROUNDS = 50 };

struct plugin {
    void *handle;
    void *(*malloc)(size_t size);
    void *(*realloc)(void *block, size_t size);
    void (*free)(void *block);
    char *(*copy)(const char *text);
};

static int (*is_pooled)(const void *block);
static void *(*libc_dlopen)(const char *file, int flags);

static struct plugin
look_up(void *handle)
{
    REQUIRE(handle != NULL, "%s", dlerror());
    struct plugin plugin = {
        .handle = handle,
        .malloc = (void *(*)(size_t))dlsym(handle, "plugin_malloc"),
        .realloc = (void *(*)(void *, size_t))dlsym(handle, "plugin_realloc"),
        .free = (void (*)(void *))dlsym(handle, "plugin_free"),
        .copy = (char *(*)(const char *))dlsym(handle, "plugin_copy"),
    };
    REQUIRE(plugin.malloc != NULL && plugin.realloc != NULL && plugin.free != NULL && plugin.copy != NULL, "no plugin");
    return plugin;
}

/* ---- Blocks ---- */

static void
exchange(void *handle)
{
    struct plugin plugin = look_up(handle);
    void *block = plugin.malloc(100);
    REQUIRE(is_pooled(block), "the plugin has another malloc");
    plugin.free(block);
    for (size_t size = 1; size < 40000; size += size / 8 + 1) {
        plugin.free(malloc(size));
        free(plugin.malloc(size));
        free(realloc(plugin.realloc(realloc(plugin.malloc(size), size + 300), size * 3), size));
    }
    char *text = plugin.copy("a block of libc");
    REQUIRE(strcmp(text, "a block of libc") == 0, "\"%s\"", text);
    free(text);
    REQUIRE(dlclose(plugin.handle) == 0, "%s", dlerror());
}

static void *
exchange_again_and_again(void *path)
{
    for (int i = 0; i < ROUNDS; i++)
        exchange(dlopen(path, DEEP));
    return NULL;
}

static void
exchange_in_threads(char *path)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, exchange_again_and_again, path) == 0, "no thread");
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

/* The malloc of libc, or of another namespace. */
static void
keep_apart(void *handle)
{
    struct plugin plugin = look_up(handle);
    void *block = plugin.realloc(plugin.malloc(100), 200);
    REQUIRE(block != NULL && !is_pooled(block), "the plugin has the program's malloc");
    plugin.free(block);
    REQUIRE(dlclose(plugin.handle) == 0, "%s", dlerror());
}

/* ---- Everything else is libc's dlopen ---- */

static void
find_libc(void)
{
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    REQUIRE(libc != NULL, "%s", dlerror());
    libc_dlopen = (void *(*)(const char *, int))dlsym(libc, "dlopen");
    REQUIRE(libc_dlopen != NULL && libc_dlopen != dlopen, "poolmalloc has no dlopen");
}

#if defined(__x86_64__) && __GLIBC_PREREQ(2, 34)
/* As programs have it that were linked with the one and the other version of libc. */
extern void *old_dlopen(const char *file, int flags);
extern void *new_dlopen(const char *file, int flags);
__asm__(".symver old_dlopen, dlopen@GLIBC_2.2.5");
__asm__(".symver new_dlopen, dlopen@GLIBC_2.34");

static void
reach_every_version(const char *path)
{
    exchange(old_dlopen(path, DEEP));
    exchange(new_dlopen(path, DEEP));
}
#else
#define reach_every_version(path) (void)(path)
#endif

static void
require_same_error(const char *file, int flags)
{
    char expected[1000];
    REQUIRE(libc_dlopen(file, flags) == NULL, "%s, flags %#x: opened", file, (unsigned)flags);
    snprintf(expected, sizeof expected, "%s", dlerror());
    REQUIRE(dlopen(file, flags) == NULL, "%s, flags %#x: opened", file, (unsigned)flags);
    const char *found = dlerror();
    REQUIRE(found != NULL && strcmp(found, expected) == 0, "\"%s\" instead of \"%s\"", found, expected);
    REQUIRE(dlerror() == NULL, "a second error");
}

static void
fail_as_libc_does(const char *path)
{
    require_same_error("libno-such-library.so", DEEP);
    require_same_error("/no/such/library.so", RTLD_NOW | RTLD_DEEPBIND);
    require_same_error(path, RTLD_NOW | RTLD_DEEPBIND); /* an undefined symbol */
    require_same_error(path, RTLD_DEEPBIND);            /* neither lazy nor now */
    require_same_error("", 0);
}

static void
keep_the_other_flags(const char *path)
{
    REQUIRE(dlopen(path, DEEP | RTLD_NOLOAD) == NULL, "RTLD_NOLOAD opened it");
    void *local = dlopen(path, DEEP);
    REQUIRE(dlopen(path, DEEP | RTLD_NOLOAD) == local && dlclose(local) == 0, "RTLD_NOLOAD did not find it");
    REQUIRE(dlsym(RTLD_DEFAULT, "plugin_malloc") == NULL, "opened as RTLD_GLOBAL");
    REQUIRE(dlclose(local) == 0 && dlopen(path, DEEP | RTLD_NOLOAD) == NULL, "opened as RTLD_NODELETE");
    void *global = dlopen(path, DEEP | RTLD_GLOBAL | RTLD_NODELETE);
    REQUIRE(global != NULL && dlsym(RTLD_DEFAULT, "plugin_malloc") != NULL, "not opened as RTLD_GLOBAL");
    REQUIRE(dlclose(global) == 0 && dlopen(path, DEEP | RTLD_NOLOAD) == global, "not opened as RTLD_NODELETE");
    void *program = dlopen(NULL, DEEP);
    REQUIRE(program != NULL && dlsym(program, "malloc") == (void *)malloc && dlclose(program) == 0, "%s", dlerror());
}

static void
find_by_caller(int flags)
{
    static const char *const names[] = {"libplugin.so", "$ORIGIN/beside/libplugin.so"};
    REQUIRE(dlopen(names[0], flags) == NULL, "the program finds it by the RUNPATH of a library");
    for (size_t i = 0; i < 2; i++) {
        void *handle = opener_open(names[i], flags);
        REQUIRE(handle != NULL && dlclose(handle) == 0, "%s", dlerror());
    }
}

int
main(int count, char **arguments)
{
    REQUIRE(count >= 2, "which plugin?");
    char *path = arguments[1];
    is_pooled = (int (*)(const void *))dlsym(RTLD_DEFAULT, "pm_is_pooled");
    REQUIRE(is_pooled != NULL, "poolmalloc is not there");
    find_libc();
    find_by_caller(DEEP);
    find_by_caller(RTLD_LAZY);
    if (count > 2 && strcmp(arguments[2], "kept") == 0) {
        REQUIRE(!is_pooled(opener_early_block), "the flag was not kept in a constructor");
        keep_apart(dlopen(path, DEEP));
        keep_apart(dlmopen(LM_ID_BASE, path, DEEP));
        return 0;
    }
    REQUIRE(is_pooled(opener_early_block), "the flag was kept in a constructor");
    free(opener_early_block);
    fail_as_libc_does(path);
    exchange_again_and_again(path);
    exchange(dlmopen(LM_ID_BASE, path, DEEP));
    exchange(opener_open("libplugin.so", DEEP));
    reach_every_version(path);
    exchange_in_threads(path);
    keep_apart(dlmopen(LM_ID_NEWLM, path, DEEP));
    keep_the_other_flags(path); /* the plugin stays */
    return 0;
}
