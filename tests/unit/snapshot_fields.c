/* SPDX-License-Identifier: MIT
 *
 * root.h: the list of the fields that readers read is complete, has nothing in it that nobody reads, and all of it goes
 * into the fingerprint. A snapshot is taken through a reader that garbles every byte of the structures that no listed
 * field covers, and says the same as one of the true memory; without any one row of the list it says something else.
 */
#include "dump.h"

#include "os.h"
#include "poolmalloc.h"
#include "process.h"
#include "support/check.h"
#include "support/random.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BLOCKS = 6000, MOST_READ = 1 << 16, MOST_WRITTEN = 1 << 20, NONE = -1 };

struct row {
    const char *type, *field;
    size_t offset, size;
};

#define ROW(type, field) {#type, #field, offsetof(struct type, field), sizeof((struct type *)0)->field},
#define NUMBER_ROW(name, value) {"", #name, 0, value},

static const struct row rows[] = {PM_ROOT_FIELDS(ROW) PM_ROOT_NUMBERS(NUMBER_ROW)};

static int left_out;          /* this row does not count */
static bool zeroed;           /* garbled bytes are 0, else they are others than they were */
static size_t garbled;        /* bytes */
static struct random garbage; /* the same for each snapshot */

static struct {
    uintptr_t address;
    size_t size;
    unsigned char hidden[MOST_READ]; /* one for each byte */
} reading;

/* ---- What is listed ---- */

static bool
is_listed(const char *type, size_t offset)
{
    for (int i = 0; i < PM_ROOT_ROWS; i++)
        if (i != left_out && offset - rows[i].offset < rows[i].size && strcmp(rows[i].type, type) == 0)
            return true;
    return false;
}

/* `count` structures of the type lie one after another: hides what of them is read now and is not listed. */
static void
hide(const char *type, const void *start, size_t size, size_t count)
{
    uintptr_t first = (uintptr_t)start, end = first + size * count;
    uintptr_t at = first > reading.address ? first : reading.address;
    for (; at < end && at < reading.address + reading.size; at++)
        if (!reading.hidden[at - reading.address] && !is_listed(type, (at - first) % size))
            reading.hidden[at - reading.address] = 1;
}

#define HIDE(type, start, count) hide(#type, start, sizeof(struct type), count)

static void
hide_heap(const struct pm_heap *heap)
{
    HIDE(pm_heap, heap, 1);
    HIDE(pm_class_pools, heap->classes, PM_CLASS_LAST + 1);
    for (unsigned class = 0; class <= PM_CLASS_LAST; class++)
        HIDE(pm_class_counts, &heap->classes[class].counts, 1);
    HIDE(pm_magazine, heap->magazines, PM_MAGAZINE_COUNT);
}

/* What lies in an arena's first page begins where the page does. */
static void
hide_descriptors(void)
{
    const char *page = (const char *)reading.address;
    if (!pm_region_arena_is_taken(reading.address) || reading.size != PM_POOL_SIZE)
        return;
    hide("pm_arena", page, PM_DESCRIPTOR_SIZE, 1);
    hide("pm_pool", page + PM_DESCRIPTOR_SIZE, PM_DESCRIPTOR_SIZE, PM_ARENA_POOLS - 1);
}

static bool
read_garbled(void *context, uintptr_t address, void *buffer, size_t size)
{
    unsigned char *bytes = buffer;
    (void)context;
    REQUIRE(size <= MOST_READ, "%zu bytes at once", size);
    if (!pm_os_read_process(getpid(), address, buffer, size))
        return false;
    reading.address = address;
    reading.size = size;
    memset(reading.hidden, 0, size);
    HIDE(pm_root, &pm_root, 1);
    HIDE(pm_region, &pm_region, 1);
    HIDE(pm_region_books, &pm_region_books, 1);
    HIDE(pm_region_counts, pm_region_books.counts, 1);
    HIDE(pm_options, &pm_options, 1);
    HIDE(pm_requests, pm_requests, PM_CLASS_LAST + 1);
    for (const struct pm_heap *heap = *pm_process_heaps; heap != NULL; heap = heap->next)
        hide_heap(heap);
    if (address % PM_ARENA_SIZE == 0 && pm_region_contains((const void *)address))
        hide_descriptors();
    for (size_t i = 0; i < size; i++)
        if (reading.hidden[i]) {
            bytes[i] = zeroed ? 0 : bytes[i] ^ (unsigned char)random_between(&garbage, 1, 255);
            garbled++;
        }
    return true;
}

static bool
read_true(void *context, uintptr_t address, void *buffer, size_t size)
{
    (void)context;
    return pm_os_read_process(getpid(), address, buffer, size);
}

/* ---- What a reader makes of it ---- */

/* Two heaps, one of them parked, blocks of every class and of the system allocator, and arenas that were given back. */
static void *
fill(void *seed)
{
    static void *blocks[BLOCKS];
    struct random random = {(uintptr_t)seed};
    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = pm_malloc(random_below(&random, i % 100 == 0 ? 2000 : 513));
    for (int i = 0; i < BLOCKS; i++)
        if (i < BLOCKS / 2 || random_below(&random, 3) != 0)
            pm_free(blocks[i]);
    return NULL;
}

static void
fill_two_heaps(void)
{
    pthread_t thread;
    fill((void *)(uintptr_t)1);
    REQUIRE(pthread_create(&thread, NULL, fill, (void *)(uintptr_t)2) == 0, "no thread");
    pthread_join(thread, NULL);
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        pm_requests[class].count = 10 * class;
        pm_requests[class].bytes = 73 * class;
    }
}

/* Everything that is printed of a snapshot; "" when there is none. */
static void
describe(bool (*read)(void *, uintptr_t, void *, size_t), char *text)
{
    const struct pm_reader reader = {.read = read};
    struct pm_text out;
    int file = memfd_create("dump", MFD_CLOEXEC);
    REQUIRE(file >= 0, "memfd_create");
    garbled = 0;
    garbage.state = 1;
    struct pm_view *view = pm_view_create(&reader, (uintptr_t)&pm_root, NULL);
    if (view != NULL && pm_view_take(view, &reader, (uintptr_t)&pm_root) == PM_SNAPSHOT_TAKEN) {
        pm_text_start(&out, file);
        pm_dump_text(&out, view);
        pm_dump_json(&out, view);
        pm_text_flush(&out);
    }
    ssize_t length = pread(file, text, MOST_WRITTEN - 1, 0);
    REQUIRE(length >= 0 && length < MOST_WRITTEN - 1, "%zd bytes of text", length);
    text[length] = '\0';
    if (view != NULL)
        pm_view_destroy(view);
    close(file);
}

static char expected[MOST_WRITTEN], found[MOST_WRITTEN];

/* Whether garbling what is not listed changes nothing. Requests show when readers believe in the checking mode only. */
static bool
is_enough(void)
{
    bool same = true;
    for (pm_options.check = 0; pm_options.check <= 1; pm_options.check++) {
        describe(read_true, expected);
        for (int way = 0; way < 2; way++) {
            zeroed = way == 1;
            describe(read_garbled, found);
            same = same && strcmp(found, expected) == 0;
        }
    }
    return same;
}

Test(snapshot_fields, nothing_else_is_read, .init = fill_two_heaps)
{
    left_out = NONE;
    REQUIRE(is_enough(), "a field is read that is not in the list; with it garbled: %s", found);
    REQUIRE(garbled > 10000, "only %zu bytes were hidden", garbled);
    REQUIRE(strstr(expected, "parked") != NULL && strlen(expected) > 10000, "a poor snapshot: %s", expected);
}

Test(snapshot_fields, each_of_them_is_read, .init = fill_two_heaps)
{
    for (left_out = 0; left_out < PM_ROOT_ROWS; left_out++) {
        const struct row *row = &rows[left_out];
        bool is_number = row->type[0] == '\0';
        REQUIRE(is_number || !is_enough(), "%s.%s is in the list, and nobody reads it", row->type, row->field);
    }
}

/* ---- The fingerprint ---- */

static uint64_t
fingerprint_of(const struct row *list)
{
    uint64_t sum = 0;
    for (uint64_t place = 0; place < PM_ROOT_ROWS; place++)
        sum += PM_ROOT_ROW(place, list[place].offset, list[place].size);
    return sum;
}

Test(snapshot_fields, every_row_counts_for_the_fingerprint)
{
    struct row changed[PM_ROOT_ROWS];
    _Static_assert(sizeof rows == sizeof changed, "the rows are those of the lists");
    REQUIRE(pm_root.fingerprint == fingerprint_of(rows), "another sum");
    memcpy(changed, rows, sizeof rows);
    for (int i = 0; i < PM_ROOT_ROWS; i++) {
        changed[i].size++;
        REQUIRE(fingerprint_of(changed) != pm_root.fingerprint, "%s.%s may grow", rows[i].type, rows[i].field);
        changed[i].size--;
        changed[i].offset++;
        REQUIRE(fingerprint_of(changed) != pm_root.fingerprint, "%s.%s may move", rows[i].type, rows[i].field);
        changed[i].offset--;
        /* Two fields that change places. */
        changed[i] = rows[(i + 1) % PM_ROOT_ROWS];
        changed[(i + 1) % PM_ROOT_ROWS] = rows[i];
        bool same = rows[i].offset == changed[i].offset && rows[i].size == changed[i].size;
        REQUIRE(same || fingerprint_of(changed) != pm_root.fingerprint, "%s.%s may be exchanged for the next one",
                rows[i].type, rows[i].field);
        memcpy(changed, rows, sizeof rows);
    }
}
