/* SPDX-License-Identifier: MIT
 *
 * Contents of blocks that can be recognised later: every 8-byte word is a function of a seed and its place, so a block
 * that was overwritten, shifted, or copied short differs from what was written.
 */
#ifndef TEST_BLOCKS_H
#define TEST_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Writes the pattern of `seed` to `bytes` bytes. Of blocks above 16 KiB only both ends and some words of each page. */
void pattern_write(void *block, size_t bytes, uint64_t seed);

/* 1 when the first `limit` bytes are what pattern_write(block, bytes, seed) left there (`limit` at most `bytes`). */
int pattern_holds(const void *block, size_t bytes, size_t limit, uint64_t seed);

/* 1 when all bytes are zero. */
int all_zero(const void *block, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
