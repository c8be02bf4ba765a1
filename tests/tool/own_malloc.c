/* SPDX-License-Identifier: MIT
 *
 * A program with a malloc of its own, which comes before any that is preloaded. */
#include <stddef.h>
#include <unistd.h>

static _Alignas(16) char memory[1 << 20];
static size_t used;

void *malloc(size_t size)
{
    size_t start = used;
    used += (size + 15) & ~(size_t)15;
    return used <= sizeof memory ? memory + start : NULL;
}

void free(void *block)
{
    (void)block;
}

int main(int count, char **arguments)
{
    (void)arguments;
    if (count > 1)
        pause();
    return 5;
}
