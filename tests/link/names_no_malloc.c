/* SPDX-License-Identifier: MIT
 *
 * A program whose own object names no allocating function: libc allocates its 100 streams. */
#include <stdio.h>

enum { STREAMS = 100 };

int
main(void)
{
    FILE *files[STREAMS];
    for (int i = 0; i < STREAMS; i++)
        if ((files[i] = tmpfile()) == NULL || fputs("done\n", files[i]) == EOF)
            return 1;
    rewind(files[STREAMS - 1]);
    char line[10];
    if (fgets(line, sizeof line, files[STREAMS - 1]) == NULL)
        return 1;
    fputs(line, stdout);
    for (int i = 0; i < STREAMS; i++)
        fclose(files[i]);
    return 0;
}
