/* SPDX-License-Identifier: MIT
 *
 * Recognisable contents: see blocks.h.
 */
#include "blocks.h"

#include <string.h>

enum { WHOLE_UP_TO = 16384, END_BYTES = 4096, PAGE = 4096, WORD = 8 };

static uint64_t
word_at(uint64_t seed, size_t offset)
{
    return (seed + offset) * UINT64_C(0x9e3779b97f4a7c15);
}

static void
write_stretch(unsigned char *block, size_t from, size_t to, uint64_t seed)
{
    for (; from + WORD <= to; from += WORD) {
        uint64_t word = word_at(seed, from);
        memcpy(block + from, &word, WORD);
    }
    uint64_t last = word_at(seed, from);
    memcpy(block + from, &last, to - from);
}

static int
stretch_holds(const unsigned char *block, size_t from, size_t to, uint64_t seed)
{
    for (; from + WORD <= to; from += WORD) {
        uint64_t word = word_at(seed, from);
        if (memcmp(block + from, &word, WORD) != 0)
            return 0;
    }
    uint64_t last = word_at(seed, from);
    return from >= to || memcmp(block + from, &last, to - from) == 0;
}

/* The stretches that are written in a block of `bytes` bytes, in ascending order; 0 after the last one. */
static int
next_stretch(size_t bytes, size_t *from, size_t *to)
{
    size_t tail = (bytes - END_BYTES) / WORD * WORD;
    if (bytes <= WHOLE_UP_TO) {
        *from = 0;
        *to = *to == 0 ? bytes : 0;
        return *to != 0;
    }
    if (*to == bytes)
        return 0;
    *from = *to == 0 ? 0 : (*to + PAGE - 1) / PAGE * PAGE;
    *to = *to == 0 ? END_BYTES : *from + 2 * WORD;
    if (*to >= tail) {
        *from = tail;
        *to = bytes;
    }
    return 1;
}

void
pattern_write(void *block, size_t bytes, uint64_t seed)
{
    for (size_t from = 0, to = 0; next_stretch(bytes, &from, &to);)
        write_stretch(block, from, to, seed);
}

int
pattern_holds(const void *block, size_t bytes, size_t limit, uint64_t seed)
{
    for (size_t from = 0, to = 0; next_stretch(bytes, &from, &to) && from < limit;)
        if (!stretch_holds(block, from, to < limit ? to : limit, seed))
            return 0;
    return 1;
}

int
all_zero(const void *block, size_t bytes)
{
    const unsigned char *byte = block;
    return bytes == 0 || (byte[0] == 0 && memcmp(byte, byte + 1, bytes - 1) == 0);
}
