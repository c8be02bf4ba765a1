/* SPDX-License-Identifier: MIT
 *
 * A shared library whose constructor and destructor use the heap. It is linked to nothing but the C library: the malloc
 * it gets is the program's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *text;
static void *blocks[100];

static void
say(const char *name)
{
    if (write(STDOUT_FILENO, name, strlen(name)) < 0)
        abort();
}

__attribute__((constructor)) static void
begin(void)
{
    for (size_t i = 0; i < 100; i++) {
        blocks[i] = calloc(1, i * 12);
        if (blocks[i] == NULL)
            abort();
    }
    if (asprintf(&text, "library %s\n", "constructor") < 0)
        abort();
    say(text);
}

__attribute__((destructor)) static void
end(void)
{
    text = realloc(text, 600);
    for (size_t i = 0; i < 100; i++)
        free(blocks[i]);
    say(text != NULL && strcmp(text, "library constructor\n") == 0 ? "library destructor\n" : "contents lost\n");
    free(text);
}
