/* SPDX-License-Identifier: MIT
 *
 * The dump as JSON. The schema is in docs/statistics.schema.json.
 */
#include "dump.h"

#include "geometry.h"

/* `comma` says whether a member went before. Every member ends with the state true. */
struct json {
    struct pm_text *text;
    bool comma;
};

static void
begin(struct json *json, const char *name, const char *bracket)
{
    pm_text_string(json->text, json->comma ? ",\n" : "\n");
    if (name != NULL) {
        pm_text_string(json->text, "\"");
        pm_text_string(json->text, name);
        pm_text_string(json->text, "\": ");
    }
    pm_text_string(json->text, bracket);
    json->comma = false;
}

static void
end(struct json *json, const char *bracket)
{
    pm_text_string(json->text, bracket);
    json->comma = true;
}

static void
name_member(struct json *json, const char *name)
{
    pm_text_string(json->text, json->comma ? ", \"" : "\"");
    pm_text_string(json->text, name);
    pm_text_string(json->text, "\": ");
    json->comma = true;
}

static void
member(struct json *json, const char *name, uint64_t number)
{
    name_member(json, name);
    pm_text_number(json->text, number);
}

static void
member_if(struct json *json, const char *name, bool known, uint64_t number)
{
    name_member(json, name);
    if (known)
        pm_text_number(json->text, number);
    else
        pm_text_string(json->text, "null");
}

static void
member_bool(struct json *json, const char *name, bool value)
{
    name_member(json, name);
    pm_text_string(json->text, value ? "true" : "false");
}

/* Names here are plain: nothing in them needs escaping. */
static void
member_string(struct json *json, const char *name, const char *value)
{
    name_member(json, name);
    pm_text_string(json->text, "\"");
    pm_text_string(json->text, value);
    pm_text_string(json->text, "\"");
}

static void
member_address(struct json *json, const char *name, uintptr_t address)
{
    name_member(json, name);
    pm_text_string(json->text, "\"");
    pm_text_hex(json->text, address);
    pm_text_string(json->text, "\"");
}

static void
put_head(struct json *json, const struct pm_view *view)
{
    const struct pm_snapshot *snapshot = &view->snapshot;
    pm_text_string(json->text, "{");
    member_string(json, "schema", "poolmalloc-statistics");
    member(json, "schema_version", PM_DUMP_SCHEMA);
    member_string(json, "version", snapshot->version);
    member(json, "pid", (uint64_t)view->pid);
    member(json, "alignment", snapshot->alignment);
    member_bool(json, "check", snapshot->check != 0);
    member_bool(json, "complete", !snapshot->incomplete);
    begin(json, "region", "{");
    member_address(json, "address", snapshot->region.base);
    member(json, "reserved_bytes", snapshot->counts.reserved_bytes);
    member(json, "accessible_bytes", snapshot->counts.committed_bytes);
    member(json, "arenas_peak", snapshot->counts.arenas_peak);
    member(json, "arenas_given_back", snapshot->counts.arenas_free);
    member(json, "arenas_given_back_dirty", snapshot->free_arenas_dirty);
    end(json, "}");
}

static void
put_counts(struct json *json, const struct pm_class_counts *counts)
{
    member(json, "blocks_refilled", counts->refilled);
    member(json, "blocks_flushed", counts->flushed);
    member(json, "blocks_flushed_remote", counts->flushed_remote);
    member(json, "refills", counts->refills);
    member(json, "flushes", counts->flushes);
}

static void
put_class(struct json *json, const struct pm_snapshot *snapshot, unsigned class)
{
    const struct pm_class_row *row = &snapshot->classes[class];
    bool exact = snapshot->check != 0;
    begin(json, NULL, "{");
    member(json, "block_bytes", row->block_bytes);
    member(json, "pools", row->pools);
    member(json, "pool_blocks", pm_class_blocks(class));
    member(json, "blocks_in_use", row->blocks_in_use);
    member(json, "blocks_in_magazines", row->blocks_magazine);
    member(json, "blocks_free", row->blocks_free);
    put_counts(json, &row->counts);
    member_if(json, "allocations", exact, row->counts.refilled);
    member_if(json, "frees", exact, row->counts.flushed);
    member_if(json, "rounding_bytes", exact, pm_snapshot_rounding(row));
    end(json, "}");
}

static void
put_arena(struct json *json, const struct pm_arena_row *row)
{
    begin(json, NULL, "{");
    member_address(json, "address", row->address);
    member_address(json, "heap", row->heap);
    member(json, "pools_descriptors", row->pools[PM_POOL_DESCRIPTORS]);
    member(json, "pools_maps", row->pools[PM_POOL_MAPS]);
    member(json, "pools_used", row->pools[PM_POOL_ASSIGNED]);
    member(json, "pools_reserved", row->pools[PM_POOL_RESERVED]);
    member(json, "pools_free_dirty", row->pools[PM_POOL_FREE_DIRTY]);
    member(json, "pools_given_back", row->pools[PM_POOL_FREE]);
    member(json, "taken_bytes", row->taken_bytes);
    member(json, "free_bytes", row->free_bytes);
    end(json, "}");
}

static void
put_heap(struct json *json, const struct pm_heap_row *row)
{
    begin(json, NULL, "{");
    member_address(json, "address", row->address);
    member_string(json, "state", row->parked ? "parked" : "owned");
    member(json, "arenas", row->arenas);
    member(json, "pools", row->pools);
    member(json, "magazine_blocks", row->magazine_blocks);
    member(json, "magazine_bytes", row->magazine_bytes);
    member(json, "system_magazine_blocks", row->system_magazine_blocks);
    member(json, "system_magazine_bytes", row->system_magazine_bytes);
    member(json, "system_requests", row->system_allocations);
    member(json, "system_requested_bytes", row->system_bytes);
    member(json, "table_bytes", row->table_bytes);
    end(json, "}");
}

static void
put_rows(struct json *json, const struct pm_snapshot *snapshot)
{
    begin(json, "classes", "[");
    for (unsigned class = 1; class <= PM_CLASS_LAST; class++)
        if (snapshot->classes[class].pools != 0 || snapshot->classes[class].counts.refilled != 0)
            put_class(json, snapshot, class);
    end(json, "]");
    begin(json, "arenas", "[");
    for (size_t i = 0; i < snapshot->arenas; i++)
        put_arena(json, &snapshot->arena_rows[i]);
    end(json, "]");
    begin(json, "heaps", "[");
    for (size_t i = 0; i < snapshot->heaps; i++)
        put_heap(json, &snapshot->heap_rows[i]);
    end(json, "]");
}

static void
put_totals(struct json *json, const struct pm_view *view)
{
    const struct pm_sums *sums = &view->sums;
    const struct pm_snapshot *snapshot = &view->snapshot;
    begin(json, "totals", "{");
    member(json, "live_bytes", sums->live_bytes);
    member(json, "magazine_bytes", sums->magazine_bytes);
    member(json, "free_block_bytes", sums->free_bytes);
    member(json, "remainder_bytes", sums->remainder_bytes);
    member_if(json, "rounding_bytes", snapshot->check != 0, sums->rounding_bytes);
    member(json, "pools_used", sums->pools[PM_POOL_ASSIGNED]);
    member(json, "pools_maps", sums->pools[PM_POOL_MAPS]);
    member(json, "pools_reserved", sums->pools[PM_POOL_RESERVED]);
    member(json, "pools_free_dirty", sums->pools[PM_POOL_FREE_DIRTY]);
    member(json, "pools_given_back", sums->pools[PM_POOL_FREE]);
    member(json, "arenas", snapshot->arenas);
    member(json, "heaps", snapshot->heaps);
    member(json, "heaps_parked", snapshot->heaps_parked);
    member(json, "arena_table_bytes", sums->arena_table_bytes);
    member(json, "heap_table_bytes", sums->heap_table_bytes);
    put_counts(json, &sums->counts);
    end(json, "}");
    begin(json, "system_allocator", "{");
    member(json, "requests", sums->system_allocations);
    member(json, "requested_bytes", sums->system_bytes);
    member(json, "magazine_blocks", sums->system_magazine_blocks);
    member(json, "magazine_bytes", sums->system_magazine_bytes);
    member_if(json, "obtained_bytes", view->system_known, view->system.obtained_bytes);
    member_if(json, "used_bytes", view->system_known, view->system.used_bytes);
    member_if(json, "free_bytes", view->system_known, view->system.free_bytes);
    end(json, "}");
}

static void
put_account(struct json *json, const struct pm_view *view)
{
    const struct pm_account *account = &view->account;
    if (!account->known) {
        begin(json, "resident", "null");
        json->comma = true;
        return;
    }
    begin(json, "resident", "{");
    member(json, "bytes", account->resident_bytes);
    member(json, "peak_bytes", account->peak_bytes);
    member(json, "swapped_bytes", account->swapped_bytes);
    begin(json, "parts", "[");
    for (unsigned part = 0; part < PM_PARTS; part++) {
        begin(json, NULL, "{");
        member_string(json, "part", pm_part_names[part].key);
        member(json, "bytes", account->parts[part]);
        member_string(json, "meaning", pm_part_meaning(part, view->system_known));
        end(json, "}");
    }
    end(json, "]");
    end(json, "}");
}

void
pm_dump_json(struct pm_text *text, const struct pm_view *view)
{
    struct json json = {text, false};
    put_head(&json, view);
    put_rows(&json, &view->snapshot);
    put_totals(&json, view);
    put_account(&json, view);
    pm_text_string(text, "}\n");
}
