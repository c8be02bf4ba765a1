/* SPDX-License-Identifier: MIT
 *
 * The table of claimed addresses: see claim.h.
 */
#include "claim.h"

#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

enum {
    ADDRESS_BITS = 47, /* user space on x86-64; arm64 with 48 bits uses the lower half first */
    GRANULE = 8,       /* bytes per bit */
    WINDOW_SHIFT = 20, /* a second-level table describes 1 MiB */
    WINDOW_WORDS = (1 << WINDOW_SHIFT) / GRANULE / 64, /* 2048 */
};

typedef _Atomic uint64_t word;

static _Atomic(word *) *directory; /* 2^27 entries, 1 GiB of address space of which a few pages are ever touched */

static void *
map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(memory != MAP_FAILED, "no %zu bytes for the table of claims", bytes);
    return memory;
}

static void
map_directory(void)
{
    directory = map(((size_t)1 << (ADDRESS_BITS - WINDOW_SHIFT)) * sizeof *directory);
}

static word *
window_of(uintptr_t address)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, map_directory);
    REQUIRE(address >> ADDRESS_BITS == 0, "%#zx is not an address of user space", (size_t)address);
    _Atomic(word *) *entry = &directory[address >> WINDOW_SHIFT];
    word *window = atomic_load_explicit(entry, memory_order_acquire);
    if (window == NULL) {
        word *fresh = map(WINDOW_WORDS * sizeof *fresh);
        if (atomic_compare_exchange_strong(entry, &window, fresh))
            return fresh;
        munmap(fresh, WINDOW_WORDS * sizeof *fresh);
    }
    return window;
}

/* Flips the bits of a range from `from` to its opposite, word by word. */
static void
flip(const void *block, size_t bytes, int claimed, const char *fault)
{
    uintptr_t granule = (uintptr_t)block / GRANULE;
    uintptr_t end = ((uintptr_t)block + bytes + GRANULE - 1) / GRANULE;
    while (granule < end) {
        unsigned first = granule % 64;
        unsigned count = end - granule < 64 - first ? (unsigned)(end - granule) : 64 - first;
        uint64_t mask = (count == 64 ? ~UINT64_C(0) : (UINT64_C(1) << count) - 1) << first;
        uintptr_t address = granule * GRANULE;
        word *bits = &window_of(address)[address % (1 << WINDOW_SHIFT) / GRANULE / 64];
        uint64_t before = claimed ? atomic_fetch_or_explicit(bits, mask, memory_order_relaxed)
                                  : atomic_fetch_and_explicit(bits, ~mask, memory_order_relaxed);
        REQUIRE((before & mask) == (claimed ? 0 : mask), "%s: %p, %zu bytes, near %#zx", fault, block, bytes,
                (size_t)address);
        granule += count;
    }
}

void
claim(const void *block, size_t bytes)
{
    flip(block, bytes, 1, "overlaps another live block");
}

void
release(const void *block, size_t bytes)
{
    flip(block, bytes, 0, "the claim of a block changed while it was live");
}
