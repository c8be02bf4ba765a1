/* SPDX-License-Identifier: MIT
 *
 * A program whose own object names malloc, for 100 blocks. */
#include <stdio.h>
#include <stdlib.h>

int
main(void)
{
    void *volatile blocks[100];
    for (int i = 0; i < 100; i++)
        blocks[i] = malloc(100);
    for (int i = 0; i < 100; i++)
        free(blocks[i]);
    puts("done");
    return 0;
}
