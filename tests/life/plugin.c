/* SPDX-License-Identifier: MIT
 *
 * A library that is opened with RTLD_DEEPBIND and exchanges blocks with whoever opened it. It can only be opened lazily:
 * one of its functions calls one that nobody defines.
 */
#include <stdlib.h>
#include <string.h>

void *plugin_malloc(size_t size);
void *plugin_realloc(void *block, size_t size);
void plugin_free(void *block);
char *plugin_copy(const char *text);
void plugin_unresolved(void);
void no_such_function(void);

void *
plugin_malloc(size_t size)
{
    return malloc(size);
}

void *
plugin_realloc(void *block, size_t size)
{
    return realloc(block, size);
}

void
plugin_free(void *block)
{
    free(block);
}

/* A block that libc allocates. */
char *
plugin_copy(const char *text)
{
    return strdup(text);
}

void
plugin_unresolved(void)
{
    no_such_function();
}
