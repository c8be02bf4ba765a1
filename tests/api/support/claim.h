/* SPDX-License-Identifier: MIT
 *
 * Which addresses belong to a live block: one bit for every 8 bytes of the address space, in a two-level table that is
 * mapped, not allocated. A block that is handed out is claimed, a block that is given back is released before it is;
 * an address claimed twice belongs to two live blocks at once.
 *
 * The bits are set by relaxed atomic operations, so the table orders nothing between threads: it must not hide a
 * missing synchronisation in the allocator, neither from the processor nor from ThreadSanitizer.
 */
#ifndef TEST_CLAIM_H
#define TEST_CLAIM_H

#include <stddef.h>

/* Claims [block, block + bytes). Fails the test when another live block holds any of it. */
void claim(const void *block, size_t bytes);

/* Ends a claim. Fails the test when it was not whole. */
void release(const void *block, size_t bytes);

#endif
