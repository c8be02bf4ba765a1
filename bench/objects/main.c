/* SPDX-License-Identifier: MIT
 *
 * objects-PEER CASE SIZE [PARAMETER]: one case of the object benchmarks under the peer it was compiled for. `--list`
 * names the cases it has. */
#include "peer.h"

static uint64_t number(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    if (end == text || *end != '\0') {
        fprintf(stderr, "objects-%s: '%s' is not a number\n", PEER_NAME, text);
        exit(2);
    }
    return value;
}

int main(int count, char **words)
{
    const struct bench_entry *const tables[] = {counts_cases, graphs_cases, pauses_cases, threads_cases};
    bool list = count == 2 && strcmp(words[1], "--list") == 0;
    if (!list && count != 3 && count != 4) {
        fprintf(stderr, "usage: objects-%s --list | CASE SIZE [PARAMETER]\n", PEER_NAME);
        return 2;
    }
#if defined(PEER_BOEHM)
    GC_INIT();
#endif
    for (size_t table = 0; table < sizeof tables / sizeof *tables; table++)
        for (const struct bench_entry *entry = tables[table]; entry->name != NULL; entry++)
            if (list) {
                puts(entry->name);
            } else if (strcmp(entry->name, words[1]) == 0) {
                entry->run(number(words[2]), count == 4 ? number(words[3]) : 0);
                return 0;
            }
    if (list)
        return 0;
    fprintf(stderr, "objects-%s: no case '%s'\n", PEER_NAME, words[1]);
    return 2;
}

#if defined(PEER_POOLOBJECT)
_Thread_local struct kinds kinds;

static po_type *make(const char *name, size_t size, const uint16_t *references, unsigned flags)
{
    po_type *type = po_type_create(kinds.heap, &(struct po_type_spec){
        .name = name, .size = size, .references = references, .flags = flags});
    if (type == NULL)
        abort();
    return type;
}

void peer_start(uint64_t max_pause_ns)
{
    static const uint16_t two[] = {0, 8, PO_END}, three[] = {0, 8, 16, PO_END};
    kinds.heap = po_heap_create(&(struct po_heap_options){.max_pause_ns = max_pause_ns});
    if (kinds.heap == NULL)
        abort();
    kinds.node = make("node", sizeof(struct node), two, 0);
    kinds.tree = make("tree", sizeof(struct tree), two, 0);
    kinds.leaf = make("leaf", sizeof(struct leaf), NULL, PO_ACYCLIC);
    kinds.text = make("text", sizeof(struct text), NULL, PO_ACYCLIC);
    kinds.value = make("value", sizeof(struct value), three, 0);
    kinds.request = make("request", sizeof(struct request), two, 0);
    kinds.hub = po_type_create(kinds.heap, &(struct po_type_spec){
        .name = "hub", .item_size = sizeof(void *), .items_are_references = true});
}

void peer_end(void)
{
    size_t left = po_heap_destroy(kinds.heap);
    if (left != 0) {
        fprintf(stderr, "objects-poolobject: %zu objects are still referenced\n", left);
        exit(1);
    }
}
#else
void peer_start(uint64_t max_pause_ns)
{
#if defined(PEER_BOEHM)
    if (max_pause_ns != 0)
        GC_enable_incremental();
#else
    (void)max_pause_ns;
#endif
}

void peer_end(void)
{
}
#endif
