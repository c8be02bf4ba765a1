/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "loader.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const names[] = {
#if defined(__x86_64__)
    "ld-linux-x86-64.so.2",
    "ld-musl-x86_64.so.1",
#elif defined(__aarch64__)
    "ld-linux-aarch64.so.1",
    "ld-musl-aarch64.so.1",
#endif
    NULL,
};

static const char *const directories[] = {"/lib64", "/lib", "/usr/lib64", "/usr/lib", NULL};
static const char *const stores[] = {"/nix/store/", "/gnu/store/", NULL};

static bool
is_in(const char *word, size_t length, const char *const *list)
{
    for (; *list != NULL; list++)
        if (strlen(*list) == length && strncmp(word, *list, length) == 0)
            return true;
    return false;
}

static bool
is_in_store(const char *path)
{
    for (const char *const *store = stores; *store != NULL; store++)
        if (strncmp(path, *store, strlen(*store)) == 0)
            return true;
    return false;
}

/* The file and the directories above it: who can write to one of these can put another file there. A sticky directory
 * keeps what others own. */
static bool
is_writable_by_others(const char *file)
{
    char path[PATH_MAX];
    struct stat status;
    strcpy(path, file);
    for (;;) {
        if (stat(path[0] != '\0' ? path : "/", &status) != 0)
            return true;
        bool kept = S_ISDIR(status.st_mode) && (status.st_mode & S_ISVTX) != 0;
        if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0 && !kept)
            return true;
        char *slash = strrchr(path, '/');
        if (slash == NULL)
            return false;
        *slash = '\0';
    }
}

bool
pm_loader_may_run(const char *interpreter, char file[PATH_MAX], const char **reason)
{
    struct stat status;
    const char *base = strrchr(interpreter, '/');
    size_t length = base != NULL ? (size_t)(base - interpreter) : 0;
    bool named = base != NULL && is_in(base + 1, strlen(base + 1), names);
    bool stored = named && is_in_store(interpreter);
    *reason = "is none that this command knows, and it runs no other";
    if (!named || (!stored && !is_in(interpreter, length, directories)))
        return false;
    *reason = "is not there";
    if (realpath(interpreter, file) == NULL || stat(file, &status) != 0 || !S_ISREG(status.st_mode))
        return false;
    /* A store belongs to root, or to the user who installed it: another user's is not trusted. */
    *reason = "lies outside of the store, or belongs to another user";
    if (stored && (!is_in_store(file) || (status.st_uid != 0 && status.st_uid != geteuid())))
        return false;
    *reason = "could be replaced by other users";
    return !is_writable_by_others(file);
}
