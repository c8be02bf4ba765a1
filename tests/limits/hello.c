/* SPDX-License-Identifier: MIT
 *
 * The least a program does: says that it started, uses the heap a little, says that it is done. `hello exhaust` takes
 * all memory in between. Also built without poolmalloc, to know what the program and the C library need by themselves.
 */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
say(const char *text)
{
    if (write(STDOUT_FILENO, text, strlen(text)) < 0)
        _exit(3);
}

/* 0 when malloc fails though there is memory, or succeeds with something that is none. */
static int
use_heap(void)
{
    void *volatile blocks[100];
    for (size_t i = 0; i < 100; i++) {
        size_t size = i * 13;
        blocks[i] = malloc(size);
        if (blocks[i] == NULL)
            return 0;
        memset(blocks[i], (int)i, malloc_usable_size(blocks[i]));
    }
    for (size_t i = 0; i < 100; i++) {
        if (i != 0 && *(unsigned char *)blocks[i] != i)
            return 0;
        free(blocks[i]);
    }
    return 1;
}

static int
exhaust(size_t size)
{
    void **list = NULL;
    void **block;
    errno = 0;
    while ((block = malloc(size)) != NULL) {
        memset(block, 1, size);
        *block = list;
        list = block;
    }
    int error = errno;
    while (list != NULL) {
        void **next = *list;
        free(list);
        list = next;
    }
    return error == ENOMEM;
}

int
main(int count, char **arguments)
{
    int all = count == 2 && strcmp(arguments[1], "exhaust") == 0;
    say("started\n");
    if (!use_heap())
        return 1;
    if (all && !(exhaust(64) && exhaust(2000) && exhaust(64) && use_heap()))
        return 1;
    say("done\n");
    return 0;
}
