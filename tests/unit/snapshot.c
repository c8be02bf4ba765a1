/* SPDX-License-Identifier: MIT
 *
 * snapshot.h: what a reader is told, pool by pool; and that nothing it can read, torn, damaged or missing, makes an
 * impossible number, an endless loop or a crash.
 */
#include "dump.h"

#include "os.h"
#include "poolmalloc.h"
#include "reader.h"
#include "support/check.h"
#include "support/random.h"
#include "unit.h"

#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

enum { BLOCKS = 30000 };

static void *blocks[BLOCKS];

static void
fill(void)
{
    struct random random = {5};
    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = pm_malloc(random_below(&random, 513));
    for (int i = 0; i < BLOCKS; i++)
        if (random_below(&random, 3) != 0) {
            pm_free(blocks[i]);
            blocks[i] = NULL;
        }
}

static struct pm_view *
view_of_self(void)
{
    struct pm_process_reader process;
    pm_reader_open(&process, getpid(), true);
    struct pm_view *view = pm_view_create(&process.reader, (uintptr_t)&pm_root, NULL);
    REQUIRE(view != NULL, "no view");
    REQUIRE(pm_view_take(view, &process.reader, (uintptr_t)&pm_root) == PM_SNAPSHOT_TAKEN, "not taken");
    pm_reader_close(&process);
    return view;
}

static void
require_possible_arenas(const struct pm_snapshot *snapshot, size_t assigned)
{
    size_t pools = 0;
    for (size_t i = 0; i < snapshot->arenas; i++) {
        const struct pm_arena_row *row = &snapshot->arena_rows[i];
        unsigned sum = 0;
        for (unsigned state = 0; state < PM_POOL_STATES; state++)
            sum += row->pools[state];
        REQUIRE(sum == 64, "%u pools in an arena", sum);
        REQUIRE(row->free_bytes + row->taken_bytes <= 63 * 4096, "%u and %u bytes", row->free_bytes, row->taken_bytes);
        REQUIRE(i == 0 || row->address > row[-1].address, "an arena twice, or out of order");
        pools += row->pools[PM_POOL_ASSIGNED];
    }
    REQUIRE(pools == assigned, "%zu pools in the arenas, %zu in the classes", pools, assigned);
}

static void
require_possible(const struct pm_snapshot *snapshot)
{
    size_t assigned = 0;
    REQUIRE(snapshot->arenas <= snapshot->arena_room && snapshot->heaps <= snapshot->heap_room, "too many rows");
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++) {
        const struct pm_class_row *row = &snapshot->classes[class];
        size_t capacity = row->pools * pm_class_blocks(class);
        REQUIRE(row->blocks_free <= capacity && row->blocks_magazine <= capacity - row->blocks_free &&
                    row->blocks_in_use + row->blocks_magazine + row->blocks_free == capacity,
                "class %u: %zu, %zu and %zu of %zu", class, row->blocks_in_use, row->blocks_magazine, row->blocks_free,
                capacity);
        assigned += row->pools;
    }
    require_possible_arenas(snapshot, assigned);
}

/* ---- The truth ---- */

static size_t
require_pools_of(const struct pm_arena *arena, const struct pm_pool_row rows[PM_ARENA_POOLS])
{
    size_t assigned = 0;
    for (unsigned index = 1; index < PM_ARENA_POOLS; index++) {
        const struct pm_pool_row *row = &rows[index];
        const char *page = pm_arena_pool(arena, index);
        const struct pm_pool *pool = pm_pool_at(page);
        bool is_free = arena->free_pools >> index & 1;
        REQUIRE((row->state == PM_POOL_FREE || row->state == PM_POOL_FREE_DIRTY) == is_free, "pool %u: free", index);
        REQUIRE((row->state == PM_POOL_ASSIGNED) == (*pm_region_page(page) != 0), "pool %u: assigned", index);
        REQUIRE((row->state == PM_POOL_MAPS) == (index == arena->wide_maps && !is_free), "pool %u: maps", index);
        if (row->state != PM_POOL_ASSIGNED)
            continue;
        REQUIRE(row->class == pool->class && row->blocks == pool->block_count && row->free == pool->free_count,
                "class %u: %u of %u free", pool->class, row->free, row->blocks);
        assigned++;
    }
    return assigned;
}

/* Each pool of each arena against its descriptor, the live bytes against the blocks. */
Test(snapshot, pools_are_as_their_descriptors_say, .init = fill)
{
    struct pm_pool_row rows[PM_ARENA_POOLS];
    struct pm_process_reader process;
    size_t assigned = 0, in_use = 0;
    struct pm_view *view = view_of_self();
    pm_reader_open(&process, getpid(), true);
    for (size_t i = 0; i < view->snapshot.arenas; i++) {
        uintptr_t address = view->snapshot.arena_rows[i].address;
        REQUIRE(pm_snapshot_pools(&process.reader, &view->snapshot, address, rows), "arena %zu", i);
        assigned += require_pools_of((const struct pm_arena *)address, rows);
    }
    for (unsigned i = 0; i < BLOCKS; i++)
        in_use += blocks[i] != NULL ? pm_usable_size(blocks[i]) : 0;
    REQUIRE(assigned == view->sums.pools[PM_POOL_ASSIGNED] && assigned > 500, "%zu pools", assigned);
    REQUIRE(view->sums.live_bytes == in_use, "%zu bytes live, %zu allocated", view->sums.live_bytes, in_use);
    require_possible(&view->snapshot);
    pm_reader_close(&process);
    pm_view_destroy(view);
}

/* The page map and the descriptor were read at different moments: the pool is in between, and no one's. */
Test(snapshot, a_pool_on_its_way)
{
    struct pm_pool_row rows[PM_ARENA_POOLS];
    struct pm_process_reader process;
    void *block = pm_malloc(48);
    struct pm_view *view = view_of_self();
    pm_reader_open(&process, getpid(), false);
    uint8_t *page = pm_region_page(block);
    unsigned index = pm_pool_index(pm_pool_at(block));
    uintptr_t arena = pm_arena_of(block);
    REQUIRE(pm_snapshot_pools(&process.reader, &view->snapshot, arena, rows), "unreadable");
    REQUIRE(rows[index].state == PM_POOL_ASSIGNED && rows[index].class == 6, "state %u", rows[index].state);
    *page = 9;
    REQUIRE(pm_snapshot_pools(&process.reader, &view->snapshot, arena, rows), "unreadable");
    REQUIRE(rows[index].state == PM_POOL_RESERVED && rows[index].class == 0, "state %u", rows[index].state);
    *page = 6;
    pm_reader_close(&process);
    pm_view_destroy(view);
}

/* ---- Whatever is read ---- */

static struct random damage;
static unsigned one_in;  /* so many bytes is wrong */
static unsigned refused; /* one read in so many fails; 0: none */

static bool
read_damaged(void *context, uintptr_t address, void *buffer, size_t size)
{
    unsigned char *bytes = buffer;
    (void)context;
    if (refused != 0 && random_below(&damage, refused) == 0)
        return false;
    if (!pm_os_read_process(getpid(), address, buffer, size))
        return false;
    if (address - (uintptr_t)&pm_root < sizeof pm_root)
        return true; /* the root is constant */
    for (size_t i = random_below(&damage, one_in); i < size; i += 1 + random_below(&damage, 2 * one_in))
        bytes[i] = (unsigned char)random_below(&damage, 256);
    return true;
}

Test(snapshot, damaged_memory, .init = fill, .timeout = 60)
{
    static const struct pm_reader damaged = {.read = read_damaged};
    static const unsigned rates[] = {3, 50, 1000, 20000};
    struct pm_text text;
    size_t taken = 0;
    for (unsigned round = 0; round < 400; round++) {
        struct pm_view *view = view_of_self(); /* with room as for sound memory */
        damage.state = round + 1;
        one_in = rates[round % 4];
        refused = round % 8 < 4 ? 0 : 50;
        taken += pm_view_take(view, &damaged, (uintptr_t)&pm_root) == PM_SNAPSHOT_TAKEN;
        require_possible(&view->snapshot);
        pm_text_start(&text, -1);
        pm_dump_text(&text, view);
        pm_dump_json(&text, view);
        pm_view_destroy(view);
    }
    REQUIRE(taken > 200, "only %zu of 400 snapshots were taken", taken);
}

Test(snapshot, no_root)
{
    struct pm_root root = pm_root, found;
    struct pm_process_reader process;
    pm_reader_open(&process, getpid(), false);
    const struct pm_reader *reader = &process.reader;
    REQUIRE(pm_snapshot_root(reader, (uintptr_t)&root, &found) == PM_SNAPSHOT_TAKEN, "a copy is as good");
    REQUIRE(strcmp(found.version, PM_VERSION_STRING) == 0, "version %s", found.version);
    root.fingerprint++;
    REQUIRE(pm_snapshot_root(reader, (uintptr_t)&root, &found) == PM_SNAPSHOT_OTHER, "another shape");
    REQUIRE(strcmp(found.version, PM_VERSION_STRING) == 0, "its version is %s", found.version);
    root = pm_root;
    root.layout++;
    REQUIRE(pm_snapshot_root(reader, (uintptr_t)&root, &found) == PM_SNAPSHOT_OTHER, "another layout");
    root.magic[0]++;
    REQUIRE(pm_snapshot_root(reader, (uintptr_t)&root, &found) == PM_SNAPSHOT_NO_ROOT, "no root");
    REQUIRE(pm_snapshot_root(reader, 4096, &found) == PM_SNAPSHOT_UNREADABLE, "nothing there");
    pm_reader_close(&process);
}

/* The rest is left out, of the rows and of the totals, and the snapshot says so. */
Test(snapshot, too_little_room, .init = fill)
{
    struct pm_process_reader process;
    struct pm_view *view = view_of_self();
    REQUIRE(view->snapshot.arenas > 1 && !view->snapshot.incomplete, "%zu arenas", view->snapshot.arenas);
    view->snapshot.arena_room = 1;
    pm_reader_open(&process, getpid(), false);
    REQUIRE(pm_view_take(view, &process.reader, (uintptr_t)&pm_root) == PM_SNAPSHOT_TAKEN, "not taken");
    REQUIRE(view->snapshot.incomplete && view->snapshot.arenas == 1, "%zu arenas", view->snapshot.arenas);
    require_possible(&view->snapshot);
    pm_reader_close(&process);
    pm_view_destroy(view);
}

/* ---- The account ---- */

Test(snapshot, the_account_adds_up, .init = fill)
{
    struct pm_view *view = view_of_self();
    const struct pm_account *account = &view->account;
    pm_view_account(view, getpid(), NULL);
    size_t sum = 0, pools = 0;
    REQUIRE(account->known, "no /proc");
    for (unsigned part = 0; part < PM_PARTS; part++)
        sum += account->parts[part];
    for (unsigned part = PM_PART_LIVE; part <= PM_PART_TABLES; part++)
        pools += account->parts[part];
    REQUIRE(sum == account->resident_bytes && account->peak_bytes >= sum, "%zu of %zu", sum, account->resident_bytes);
    /* Blocks that were never written need not have memory. */
    REQUIRE(account->parts[PM_PART_LIVE] <= view->sums.live_bytes, "%zu live", account->parts[PM_PART_LIVE]);
    REQUIRE(pools >= view->snapshot.arenas * PM_POOL_SIZE, "%zu bytes of the pools", pools);
    REQUIRE(account->parts[PM_PART_SYSTEM_MAPPINGS] == 0, "nobody asked the system allocator");
    pm_view_destroy(view);
}
