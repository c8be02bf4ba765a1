/* SPDX-License-Identifier: MIT
 *
 * The semantics of allocation: which allocator serves a request, and what the C and POSIX standards say of it.
 */
#include "alloc.h"

#include <errno.h>
#include <string.h>

#include "fast.h"
#include "options.h"
#include "os.h"
#include "poolmalloc.h"
#include "process.h"
#include "purge.h"
#include "report.h"
#include "root.h"
#include "stats.h"
#include "system.h"

static void *
fail(int error)
{
    errno = error;
    return NULL;
}

/* ---- The system allocator's share ---- */

/* More than a thread's magazines hold of the system allocator's blocks. */
#define WAITING_MAX ((size_t)8 << 20)

/* The system allocator has failed: what it lacks may be memory or address space that the pools have and do not need.
 * True when some was given up. A request that nothing could meet costs the thread nothing. */
static PM_SLOW bool
give_way(size_t size)
{
    bool gave = false;
    struct pm_heap *heap = pm_heap_current;
    if (size > WAITING_MAX && !pm_region_can_give(size - WAITING_MAX))
        return false;
    if (heap != &pm_heap_none && heap != &pm_heap_late) {
        gave = pm_magazine_flush_all(heap);
        pm_heap_drop_runs(heap);
    }
    return pm_region_decommit(size) || pm_region_shrink(size) || gave;
}

#define OR_AFTER_GIVING_WAY(size, request)                    \
    __extension__({                                           \
        void *answer = (request);                             \
        while (PM_UNLIKELY(answer == NULL) && give_way(size)) \
            answer = (request);                               \
        answer;                                               \
    })

/* Counts a request that goes to the system allocator, for a thread with a heap. It is one of the requests after which
 * a thread gets one. */
static void
count_system(size_t size)
{
    struct pm_heap *heap = pm_heap_current;
    if (PM_UNLIKELY(heap == &pm_heap_none))
        heap = pm_process_heap_for_block();
    if (PM_UNLIKELY(heap == NULL || heap == &pm_heap_late))
        return; /* nowhere to count without a race */
    pm_purge_tick(heap);
    heap->system_allocations++;
    heap->system_bytes += size;
}

/* A block that waits in the magazine for requests of `*size` bytes, more than 512. When there is none, NULL, and the
 * size to ask the system allocator for: the one that magazine is for, so that the block can wait there one day. */
static void *
take_waiting(size_t *size)
{
    if (*size > PM_CACHED_MAX)
        return NULL;
    unsigned number = pm_magazine_of_system(*size, true);
    struct pm_magazine *magazine = &pm_heap_current->magazines[number];
    void *block = pm_magazine_pop(magazine);
    if (PM_LIKELY(block != NULL))
        return block;
    if (magazine->turned)
        pm_magazine_missed(pm_heap_current, number);
    *size = pm_magazine_block_size(number);
    return NULL;
}

void *
pm_malloc_large(size_t size)
{
    if (PM_UNLIKELY(size > PTRDIFF_MAX))
        return fail(ENOMEM);
    void *block = take_waiting(&size);
    if (block != NULL)
        return block;
    count_system(size);
    return OR_AFTER_GIVING_WAY(size, pm_system.malloc(size));
}

/* ---- Slow paths ---- */

/* A thread without a heap has nowhere to keep the rest of a cache line, and another thread would get it, to write to.
 * So where several blocks make up a line, it takes one of that size. */
static unsigned
class_alone(unsigned class)
{
    return PM_CACHE_LINE % pm_class_size(class) == 0 ? PM_CACHE_LINE / PM_GRANULE : class;
}

static void *
take_from_pools(unsigned class)
{
    struct pm_heap *heap = pm_process_heap_for_block();
    if (PM_LIKELY(heap != NULL)) {
        pm_purge_tick(heap);
        return pm_magazine_refill(heap, class);
    }
    heap = pm_heap_first();
    if (heap == NULL)
        return NULL;
    void *block = pm_heap_take_one(heap, class_alone(class));
    /* Without a free pool for that, its own class may still have blocks. */
    return block != NULL || class_alone(class) == class ? block : pm_heap_take_one(heap, class);
}

/* In the checking mode every request comes by here, so that what rounding costs can be told (root.h). */
static void
count_request(const void *block, size_t size)
{
    if (!pm_region_contains(block))
        return;
    unsigned class = *pm_region_page(block);
    atomic_fetch_add_explicit(&pm_requests[class].count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&pm_requests[class].bytes, size, memory_order_relaxed);
}

/* A block of the class for `size` bytes, at a multiple of `alignment`; when no pool is to be had the system allocator
 * has the last word. */
static void *
allocate_class(unsigned class, size_t alignment, size_t size)
{
    void *block = take_from_pools(class);
    while (PM_UNLIKELY(block == NULL)) {
        block = alignment <= PM_MALLOC_ALIGNMENT ? pm_system.malloc(pm_class_size(class))
                                                 : pm_system.aligned_alloc(alignment, pm_class_size(class));
        if (block != NULL || !give_way(PM_SMALL_MAX))
            break;
        block = take_from_pools(class);
    }
    if (PM_UNLIKELY(pm_options.check))
        count_request(block, size);
    return block;
}

PM_NOINLINE void *
pm_malloc_slow(size_t size)
{
    if (PM_UNLIKELY(pm_heap_current == &pm_heap_none))
        pm_process_start(); /* the first call reads the options */
    size_t granules = (size + PM_GRANULE - 1) >> PM_GRANULE_SHIFT;
    unsigned number = pm_magazine_of_granules(granules, pm_options.alignment);
    return number <= PM_CLASS_LAST ? allocate_class(number, PM_GRANULE, size) : pm_malloc_large(size);
}

PM_NOINLINE void
pm_free_slow(void *block)
{
    unsigned class = *pm_region_page(block);
    if (PM_UNLIKELY(class == 0))
        pm_pool_report_fault("free", block, PM_FAULT_POOL_FREE, PM_FOUND_AT_ONCE);
    if (PM_UNLIKELY(pm_heap_current->magazines[class].last == block))
        pm_pool_report_fault("free", block, PM_FAULT_FREE, PM_FOUND_AT_ONCE);
    struct pm_heap *heap = pm_process_heap_for_block();
    if (PM_LIKELY(heap != NULL)) {
        pm_purge_tick(heap);
        pm_magazine_flush(heap, class, block);
    } else {
        pm_heap_return(&block, 1, PM_FOUND_AT_ONCE);
    }
}

/* ---- Blocks of the system allocator ---- */

/* What a waiting block of the system allocator begins with. It says that a second free is suspected, not that it is
 * one: the block may have been handed out again and freed unwritten. */
static uintptr_t
waiting_mark(const void *block)
{
    return (uintptr_t)block ^ (uintptr_t)UINT64_C(0x9e3779b97f4a7c15);
}

static void
check_not_waiting(const struct pm_magazine *magazine, const void *block)
{
    for (void **entry = pm_magazine_base(magazine); entry < magazine->top; entry++)
        if (*entry == block)
            pm_pool_report_fault("free", block, PM_FAULT_FREE, PM_FOUND_AT_ONCE);
}

/* Ends the program if the pointer is certainly no block of the system allocator. */
static void
check_outside(const void *block)
{
    if (PM_UNLIKELY(((uintptr_t)block & pm_system.unused_bits) != 0))
        pm_pool_report_fault("free", block, pm_region_contains(block) ? pm_pool_check(block) : PM_FAULT_MISALIGNED,
                             PM_FOUND_AT_ONCE);
    if (PM_UNLIKELY(pm_os_on_stack(block)))
        pm_pool_report_fault("free", block, PM_FAULT_STACK, PM_FOUND_AT_ONCE);
    if (PM_UNLIKELY(pm_region_in_front(block)))
        pm_pool_report_fault("free", block, PM_FAULT_POOL_FREE, PM_FOUND_AT_ONCE);
}

/* The magazine where a block of the system allocator can wait, 0 when there is none. Asking for its size reads what
 * the allocator keeps beside the block. */
static unsigned
waiting_place(void *block)
{
    if (!pm_system.keeps_sizes)
        return 0;
    /* From one step above 512 bytes to one below the step behind the last. */
    size_t size = pm_system_usable_size(block);
    if (size - (PM_SMALL_MAX + PM_SYSTEM_STEP) >= PM_CACHED_MAX - PM_SMALL_MAX)
        return 0;
    unsigned number = pm_magazine_of_system(size, false);
    return number < PM_MAGAZINE_COUNT ? number : 0;
}

/* False when the thread has no heap. */
static bool
let_wait(void *block, unsigned number)
{
    struct pm_magazine *magazine = &pm_heap_current->magazines[number];
    if (PM_UNLIKELY(*(uintptr_t *)block == waiting_mark(block)))
        check_not_waiting(magazine, block);
    *(uintptr_t *)block = waiting_mark(block);
    if (PM_LIKELY(pm_magazine_push(magazine, block)))
        return true;
    struct pm_heap *heap = pm_process_heap_for_block();
    if (heap != NULL)
        pm_magazine_flush(heap, number, block);
    return heap != NULL;
}

void
pm_free_outside(void *block)
{
    /* What this thread freed last by the system allocator. Freed again at once, it may lie where there is no memory any
     * more, so it is not asked for its size: the system allocator judges it, and has a message for it. */
    static PM_THREAD_LOCAL void *freed_last;
    if (block == NULL)
        return;
    check_outside(block);
    if (PM_UNLIKELY(pm_heap_current == &pm_heap_none))
        pm_process_start(); /* a block from before the library was opened; the start finds out whose */
    unsigned number = block != freed_last ? waiting_place(block) : 0;
    if (PM_LIKELY(number != 0) && let_wait(block, number))
        return;
    freed_last = block != freed_last ? block : NULL;
    pm_system_free(block);
}

/* ---- The interface ---- */

PM_EXPORT void *
pm_malloc(size_t size)
{
    return pm_fast_malloc(size);
}

PM_EXPORT void
pm_free(void *block)
{
    pm_fast_free(block);
}

PM_EXPORT void
pm_free_sized(void *block, size_t size)
{
    (void)size;
    pm_fast_free(block);
}

PM_EXPORT void
pm_free_aligned_sized(void *block, size_t alignment, size_t size)
{
    (void)alignment;
    (void)size;
    pm_fast_free(block);
}

static void *
malloc_class(unsigned class, size_t alignment, size_t size)
{
    void *block = pm_magazine_pop(&pm_heap_current->magazines[class]);
    return PM_LIKELY(block != NULL) ? block : allocate_class(class, alignment, size);
}

PM_EXPORT void *
pm_malloc8(size_t size)
{
    unsigned class = pm_class_of(size, PM_GRANULE);
    return class != 0 ? malloc_class(class, PM_GRANULE, size) : pm_fast_malloc(size);
}

PM_EXPORT void *
pm_calloc(size_t count, size_t size)
{
    size_t total;
    if (PM_UNLIKELY(__builtin_mul_overflow(count, size, &total)))
        return fail(ENOMEM);
    if (total > PM_TABLE_MAX) {
        if (PM_UNLIKELY(total > PTRDIFF_MAX))
            return fail(ENOMEM);
        size_t room = total;
        void *waiting = take_waiting(&room);
        if (waiting != NULL)
            return memset(waiting, 0, total);
        total = room;
        count_system(total);
        /* It knows which of its memory is zero already. */
        return OR_AFTER_GIVING_WAY(total, pm_system.calloc(1, total));
    }
    void *block = pm_fast_malloc(total);
    return PM_LIKELY(block != NULL) ? memset(block, 0, total) : NULL;
}

void *
pm_memalign(size_t alignment, size_t size)
{
    if (PM_UNLIKELY(size > PTRDIFF_MAX || alignment > PTRDIFF_MAX))
        return fail(ENOMEM);
    unsigned class = pm_class_of(size, alignment < PM_GRANULE ? PM_GRANULE : alignment);
    if (class != 0)
        return malloc_class(class, alignment, size);
    if (alignment <= PM_MALLOC_ALIGNMENT)
        return pm_fast_malloc(size);
    /* Some allocators insist on a multiple of the alignment. */
    size_t rounded = pm_round_up(size != 0 ? size : 1, alignment);
    if (PM_UNLIKELY(rounded > PTRDIFF_MAX))
        return fail(ENOMEM);
    count_system(rounded);
    return OR_AFTER_GIVING_WAY(rounded, pm_system.aligned_alloc(alignment, rounded));
}

PM_EXPORT void *
pm_aligned_alloc(size_t alignment, size_t size)
{
    if (PM_UNLIKELY(!pm_is_power_of_two(alignment)))
        return fail(EINVAL);
    return pm_memalign(alignment, size);
}

int
pm_posix_memalign(void **block, size_t alignment, size_t size)
{
    if (!pm_is_power_of_two(alignment) || alignment < sizeof(void *))
        return EINVAL;
    int saved = errno;
    void *aligned = pm_memalign(alignment, size);
    if (aligned == NULL)
        return ENOMEM;
    errno = saved;
    *block = aligned;
    return 0;
}

void *
pm_memalign_rounded(size_t alignment, size_t size)
{
    if (alignment > SIZE_MAX / 2 + 1)
        return fail(EINVAL);
    size_t rounded = PM_GRANULE;
    while (rounded < alignment)
        rounded *= 2;
    return pm_memalign(rounded, size);
}

void *
pm_valloc(size_t size)
{
    return pm_memalign(pm_os_page_size(), size);
}

void *
pm_pvalloc(size_t size)
{
    size_t page = pm_os_page_size();
    if (PM_UNLIKELY(size > PTRDIFF_MAX))
        return fail(ENOMEM);
    return pm_memalign(page, pm_round_up(size != 0 ? size : 1, page));
}

/* The usable size of a block, a wrong pointer recognised as far as it costs little. */
static size_t
usable_size(const char *call, const void *block)
{
    if (!pm_region_contains(block)) {
        if (PM_UNLIKELY(pm_region_in_front(block)))
            pm_pool_report_fault(call, block, PM_FAULT_POOL_FREE, PM_FOUND_AT_ONCE);
        if (PM_UNLIKELY(pm_heap_current == &pm_heap_none))
            pm_process_start();
        return pm_system_usable_size((void *)block);
    }
    enum pm_fault fault = pm_pool_check(block);
    if (PM_UNLIKELY(fault != PM_FAULT_NONE))
        pm_pool_report_fault(call, block, fault, PM_FOUND_AT_ONCE);
    return pm_class_size(*pm_region_page(block));
}

PM_EXPORT size_t
pm_usable_size(const void *block)
{
    return block != NULL ? usable_size("malloc_usable_size", block) : 0;
}

PM_EXPORT size_t
pm_good_size(size_t size)
{
    unsigned class = pm_class_of_malloc(size, pm_options.alignment != 0 ? pm_options.alignment : PM_MALLOC_ALIGNMENT);
    return class != 0 ? pm_class_size(class) : size;
}

PM_EXPORT int
pm_is_pooled(const void *block)
{
    return pm_region_contains(block);
}

/* A block that gets smaller moves when that saves at least half of it. */
static bool
stays(size_t old_size, size_t new_size)
{
    return new_size <= old_size && (new_size > old_size / 2 || pm_good_size(new_size) == old_size);
}

PM_EXPORT void *
pm_realloc(void *block, size_t size)
{
    if (block == NULL)
        return pm_fast_malloc(size);
    if (size == 0) {
        pm_fast_free(block);
        return NULL;
    }
    if (PM_UNLIKELY(size > PTRDIFF_MAX))
        return fail(ENOMEM);
    bool pooled = pm_region_contains(block);
    size_t old_size = usable_size("realloc", block);
    /* An allocator that does not tell sizes moves its blocks by itself. */
    if (!pooled && (size > PM_SMALL_MAX || old_size == 0)) {
        if (stays(old_size, size) && old_size <= PM_CACHED_MAX)
            return block;
        size_t wanted = size;
        void *waiting = old_size != 0 ? take_waiting(&size) : NULL;
        if (waiting != NULL) {
            memcpy(waiting, block, wanted < old_size ? wanted : old_size);
            pm_free_outside(block);
            return waiting;
        }
        count_system(size);
        return OR_AFTER_GIVING_WAY(size, pm_system_realloc(block, size));
    }
    /* A block of an odd class may be less aligned than the size asks for now. */
    size_t alignment = size <= PM_GRANULE ? PM_GRANULE : pm_options.alignment;
    bool fits = size <= old_size && ((uintptr_t)block & (alignment - 1)) == 0;
    if (fits && stays(old_size, size))
        return block;
    void *moved = pm_fast_malloc(size);
    if (PM_UNLIKELY(moved == NULL))
        return fits ? block : NULL; /* programs do not expect that a block cannot get smaller */
    memcpy(moved, block, size < old_size ? size : old_size);
    pm_fast_free(block);
    return moved;
}

PM_EXPORT void *
pm_reallocarray(void *block, size_t count, size_t size)
{
    size_t total;
    if (PM_UNLIKELY(__builtin_mul_overflow(count, size, &total)))
        return fail(ENOMEM);
    return pm_realloc(block, total);
}

/* ---- Memory ---- */

PM_EXPORT int
pm_trim(size_t pad)
{
    bool trimmed = pm_purge_now();
    if (pm_system.trim != NULL)
        trimmed |= pm_system.trim(pad) != 0;
    return trimmed;
}

PM_EXPORT const char *
pm_version(void)
{
    return PM_VERSION_STRING;
}

/* Here, since every program that allocates contains this file. */
__attribute__((destructor)) static void
finish(void)
{
    pm_stats_at_exit();
}
