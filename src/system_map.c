/* SPDX-License-Identifier: MIT
 *
 * Blocks with a mapping of their own: for requests too large for the pools that arrive while the system allocator is
 * still being looked up, and for static programs linked without --wrap, where there is none. Slow and simple.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "geometry.h"
#include "lock.h"
#include "magazine.h"
#include "options.h"
#include "os.h"
#include "system.h"

/* In the 64 bytes in front of the block. */
struct mapping {
    struct mapping *next, *previous;
    void *start;
    size_t size; /* of the mapping */
};

#define HEADER PM_CACHE_LINE

_Static_assert(sizeof(struct mapping) <= HEADER, "the header fits in front of the block");

struct pm_lock pm_map_lock;
size_t pm_map_count;
static struct mapping *mappings;
static size_t mapped_bytes;

/* Where these blocks have been so far, so that most frees of the system allocator's blocks see without the lock that
 * theirs is none. The bounds only ever widen, with the lock held, before the block is handed out; whoever frees it has
 * seen them. */
static _Atomic uintptr_t lowest_block = UINTPTR_MAX, highest_block;

struct pm_system pm_system = {
    .malloc = pm_map_malloc,
    .free = pm_map_free,
    .calloc = pm_map_calloc,
    .realloc = pm_map_realloc,
    .aligned_alloc = pm_map_memalign,
    .usable_size = pm_map_usable_size,
    .info = pm_map_info,
};

static struct mapping *
header_of(const void *block)
{
    return (struct mapping *)((uintptr_t)block - HEADER);
}

static void
link_mapping(struct mapping *mapping)
{
    pm_lock_acquire(&pm_map_lock);
    mapping->previous = NULL;
    mapping->next = mappings;
    if (mappings != NULL)
        mappings->previous = mapping;
    uintptr_t block = (uintptr_t)mapping + HEADER;
    if (block < atomic_load_explicit(&lowest_block, memory_order_relaxed))
        atomic_store_explicit(&lowest_block, block, memory_order_relaxed);
    if (block > atomic_load_explicit(&highest_block, memory_order_relaxed))
        atomic_store_explicit(&highest_block, block, memory_order_relaxed);
    __atomic_store_n(&mappings, mapping, __ATOMIC_RELEASE); /* whole, for pm_map_mend */
    pm_map_count++;
    mapped_bytes += mapping->size;
    pm_lock_release(&pm_map_lock);
}

static void
unlink_mapping(struct mapping *mapping)
{
    pm_lock_acquire(&pm_map_lock);
    if (mapping->previous != NULL)
        mapping->previous->next = mapping->next;
    else
        mappings = mapping->next;
    if (mapping->next != NULL)
        mapping->next->previous = mapping->previous;
    pm_map_count--;
    mapped_bytes -= mapping->size;
    pm_lock_release(&pm_map_lock);
}

/* The lock is a leaf, held for a few stores, and a fork does not take it. In the child a lost thread may have it. The
 * list is whole from its first entry on at every instant: one store puts a mapping on it or takes one off. What goes
 * with that is made anew. */
void
pm_map_mend(void)
{
    if (!pm_lock_fork_reclaim(&pm_map_lock))
        return;
    pm_map_count = 0;
    mapped_bytes = 0;
    struct mapping *previous = NULL;
    for (struct mapping *mapping = mappings; mapping != NULL; previous = mapping, mapping = mapping->next) {
        mapping->previous = previous;
        pm_map_count++;
        mapped_bytes += mapping->size;
    }
}

void *
pm_map_memalign(size_t alignment, size_t size)
{
    size_t before = alignment < HEADER ? HEADER : alignment;
    if (size > PTRDIFF_MAX || before > PTRDIFF_MAX - size - PM_POOL_SIZE) {
        errno = ENOMEM;
        return NULL;
    }
    /* Mappings begin at pages: a larger alignment needs room to move. */
    size_t slack = alignment > PM_POOL_SIZE ? alignment : 0;
    size_t total = pm_round_up(before + slack + size, PM_POOL_SIZE);
    char *start = pm_os_map(total);
    if (start == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    char *block = (char *)pm_round_up((uintptr_t)start + HEADER, before);
    *header_of(block) = (struct mapping){.start = start, .size = total};
    link_mapping(header_of(block));
    return block;
}

void *
pm_map_malloc(size_t size)
{
    return pm_map_memalign(PM_MALLOC_ALIGNMENT, size);
}

void *
pm_map_calloc(size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    return pm_map_malloc(total);
}

void
pm_map_free(void *block)
{
    if (block == NULL)
        return;
    struct mapping *mapping = header_of(block);
    unlink_mapping(mapping);
    pm_os_unmap(mapping->start, mapping->size);
}

size_t
pm_map_usable_size(void *block)
{
    const struct mapping *mapping = header_of(block);
    return (size_t)((char *)mapping->start + mapping->size - (char *)block);
}

void *
pm_map_realloc(void *block, size_t size)
{
    if (block == NULL)
        return pm_map_malloc(size);
    if (size > PTRDIFF_MAX - PM_POOL_SIZE) {
        errno = ENOMEM;
        return NULL;
    }
    struct mapping *mapping = header_of(block);
    size_t offset = (size_t)((char *)block - (char *)mapping->start);
    size_t total = pm_round_up(offset + size, PM_POOL_SIZE);
    if (total == mapping->size)
        return block;
    unlink_mapping(mapping);
    char *start = pm_os_remap(mapping->start, mapping->size, total);
    if (start == NULL) {
        link_mapping(mapping);
        errno = ENOMEM;
        return NULL;
    }
    mapping = header_of(start + offset);
    mapping->start = start;
    mapping->size = total;
    link_mapping(mapping);
    return start + offset;
}

bool
pm_map_owns(const void *block)
{
    pm_lock_acquire(&pm_map_lock);
    const struct mapping *mapping = mappings;
    while (mapping != NULL && mapping != header_of(block))
        mapping = mapping->next;
    pm_lock_release(&pm_map_lock);
    return mapping != NULL;
}

void
pm_map_info(struct pm_system_info *info)
{
    pm_lock_acquire(&pm_map_lock);
    *info = (struct pm_system_info){
        .obtained_bytes = mapped_bytes,
        .mapped_bytes = mapped_bytes,
        .mapped_blocks = pm_map_count,
        .used_bytes = mapped_bytes,
    };
    pm_lock_release(&pm_map_lock);
}

/* Blocks of before the table was filled may still be alive. Each is at a multiple of HEADER, which few of other
 * allocators are: none of glibc's. */
static bool
is_mapped(const void *block)
{
    uintptr_t address = (uintptr_t)block, lowest = atomic_load_explicit(&lowest_block, memory_order_relaxed);
    if (PM_LIKELY(address % HEADER != 0 || address < lowest ||
                  address > atomic_load_explicit(&highest_block, memory_order_relaxed)))
        return false;
    return pm_system.free != pm_map_free && pm_map_owns(block);
}

void
pm_system_free(void *block)
{
    if (is_mapped(block)) {
        pm_map_free(block);
        return;
    }
    /* glibc before 2.33 and other allocators may change it. */
    int saved = errno;
    pm_system.free(block);
    errno = saved;
}

void *
pm_system_realloc(void *block, size_t size)
{
    return is_mapped(block) ? pm_map_realloc(block, size) : pm_system.realloc(block, size);
}

size_t
pm_system_usable_size(void *block)
{
    return is_mapped(block) ? pm_map_usable_size(block) : pm_system.usable_size(block);
}

/* glibc returns the end of its heap to the kernel when more than 128 KiB are free there. Without small blocks there
 * nothing keeps the end in use, and a program that needs one large block again and again pays for it with two system
 * calls and a page fault for each page. glibc itself learns from a free of a block with a mapping of its own: from
 * then on it keeps twice as much. */
#define LESSON_BYTES ((size_t)256 << 10)

void
pm_system_probe(void)
{
    /* Allocators whose sizes do not go in steps of 16 may align small blocks to 8. */
    pm_system.unused_bits = PM_GRANULE - 1;
    pm_system.free(pm_system.malloc(LESSON_BYTES));
    /* An allocator with few size classes gives more than was asked for: its blocks would wait where no request
     * looks. */
    for (unsigned number = PM_CLASS_LAST + 1; number < PM_MAGAZINE_COUNT; number += PM_CACHED_STEPS - 1) {
        void *block = pm_system.malloc(pm_magazine_block_size(number));
        size_t size = block != NULL ? pm_system_usable_size(block) : 0;
        pm_system_free(block);
        if (size <= PM_SMALL_MAX || pm_magazine_of_system(size, false) != number)
            return;
    }
    /* With every free checked nothing waits, and no block is asked for its size: it may be the wrong one. */
    pm_system.keeps_sizes = !pm_options.check;
    pm_system.unused_bits = PM_SYSTEM_STEP - 1;
}

int
pm_system_option(int parameter, int value)
{
    return pm_system.option != NULL ? pm_system.option(parameter, value) : 0;
}
