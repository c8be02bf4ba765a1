/* SPDX-License-Identifier: MIT
 *
 * What bypasses poolmalloc where it is active: libraries that are bound to another malloc, so that a block of one
 * allocator may reach the free of the other. In a process the tables say it into which the dynamic linker has written
 * addresses. Of a program that is not running only what may happen can be told.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "doctor.h"
#include "elf_file.h"
#include "printable.h"
#include "target.h"

static const char *const names[] = {"malloc",        "calloc",         "realloc",           "free", "memalign",
                                    "aligned_alloc", "posix_memalign", "malloc_usable_size"};

#define NAME_COUNT (sizeof names / sizeof names[0])
#define NOT_A_NAME NAME_COUNT

struct search {
    const struct pm_objects *objects;
    const struct pm_object *server; /* poolmalloc */
    const struct pm_object *caller; /* whose table is read */
    uint64_t bias;                  /* of the caller */
    uint64_t (*addresses)[NAME_COUNT]; /* of each object's functions, 0 for those that it does not define */
    const struct pm_object *found[NAME_COUNT];
    bool printed;
};

static void
print_heading(struct search *search)
{
    if (!search->printed)
        puts("\nwhat bypasses poolmalloc");
    search->printed = true;
}

static size_t
number_of(const char *symbol)
{
    size_t name = 0;
    while (name < NAME_COUNT && strcmp(names[name], symbol) != 0)
        name++;
    return name;
}

/* Only an address that is exactly that of another object's function counts: what is not bound yet leads into the caller
 * itself. */
static void
check_import(const char *symbol, uint64_t place, void *data)
{
    struct search *search = data;
    const struct pm_objects *objects = search->objects;
    size_t name = number_of(symbol);
    uint64_t bound;
    if (name == NOT_A_NAME ||
        !pm_target_read(search->caller->target, search->bias + place, &bound, sizeof bound) || bound == 0)
        return;
    for (size_t i = 0; i < objects->count; i++)
        if (search->addresses[i][name] == bound && &objects->entries[i] != search->server)
            search->found[name] = &objects->entries[i];
}

static void
print_found(struct search *search)
{
    for (size_t first = 0; first < NAME_COUNT; first++) {
        const struct pm_object *other = search->found[first];
        if (other == NULL)
            continue;
        print_heading(search);
        printf("  %s calls ", search->caller->name);
        for (size_t name = first; name < NAME_COUNT; name++)
            if (search->found[name] == other) {
                printf("%s%s", name > first ? ", " : "", names[name]);
                search->found[name] = NULL;
            }
        printf("\n      of %s: %s\n", other == search->caller ? "its own" : other->name,
               other == search->caller ? "linked with -Bsymbolic, or opened with RTLD_DEEPBIND"
                                       : "opened with RTLD_DEEPBIND, or before poolmalloc");
    }
}

/* Objects with a malloc that are not in the list that symbols are looked up in. */
static void
find_apart(struct search *search, const struct pm_target *target)
{
    for (size_t i = 0; i < target->mapping_count; i++) {
        const struct pm_mapping *mapping = &target->mappings[i];
        bool listed = mapping->offset != 0 || !mapping->readable || mapping->path[0] != '/';
        for (size_t j = 0; j < search->objects->count && !listed; j++)
            listed = search->objects->entries[j].start == mapping->start;
        if (listed || !pm_target_is_loaded(target, mapping) || pm_target_symbol(target, mapping->start, "malloc") == 0)
            continue;
        print_heading(search);
        printf("  %s, loaded apart\n      for libraries in a namespace of their own (dlmopen, LD_AUDIT)\n",
               pm_printable(mapping->path));
    }
}

void
pm_bypass_print_process(const struct pm_objects *objects, const struct pm_target *target)
{
    struct search search = {.objects = objects, .server = pm_objects_server(objects, "malloc", NULL)};
    if (search.server == NULL || !search.server->poolmalloc)
        return;
    search.addresses = pm_command_allocate(objects->count * sizeof *search.addresses);
    for (size_t i = 0; i < objects->count; i++)
        for (size_t name = 0; name < NAME_COUNT; name++)
            search.addresses[i][name] = pm_target_symbol(target, objects->entries[i].start, names[name]);
    /* The system allocator may call itself. */
    const struct pm_object *behind = pm_objects_server(objects, "malloc", search.server);
    for (size_t i = 0; i < objects->count; i++) {
        struct pm_elf elf;
        search.caller = &objects->entries[i];
        if (search.caller == search.server || search.caller == behind ||
            !pm_target_bias(target, search.caller->start, &search.bias) || !pm_elf_open(&elf, search.caller->path))
            continue;
        pm_elf_each_import(&elf, check_import, &search);
        pm_elf_close(&elf);
        print_found(&search);
    }
    find_apart(&search, target);
    free(search.addresses);
}

void
pm_bypass_print_program(const struct pm_objects *objects)
{
    struct search search = {.objects = objects, .server = pm_objects_server(objects, "malloc", NULL)};
    if (search.server == NULL || !search.server->poolmalloc)
        return;
    const struct pm_object *behind = pm_objects_server(objects, "malloc", search.server);
    for (size_t i = 0; i < objects->count; i++) {
        const struct pm_object *object = &objects->entries[i];
        struct pm_elf elf;
        if (!pm_elf_open(&elf, object->path))
            continue;
        if (object != search.server && object != behind && pm_elf_is_symbolic(&elf) && pm_elf_exports(&elf, "free")) {
            print_heading(&search);
            printf("  %s\n      is linked with -Bsymbolic, and has malloc or free itself\n", object->name);
        }
        /* libpoolmalloc.so takes RTLD_DEEPBIND from what is opened; in a program that it is linked into nobody does. */
        if (i == 0 && object == search.server && pm_elf_imports(&elf, "dlopen")) {
            print_heading(&search);
            puts("  libraries that it opens with RTLD_DEEPBIND, if it does: it imports dlopen");
        }
        if (i == 0 && pm_elf_imports(&elf, "dlmopen")) {
            print_heading(&search);
            puts("  libraries that it opens in a namespace of their own, if it does: it imports dlmopen");
        }
        pm_elf_close(&elf);
    }
}
