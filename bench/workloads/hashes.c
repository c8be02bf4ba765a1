/* SPDX-License-Identifier: MIT
 *
 * hashes: a chained hash table with string keys that is filled, searched, emptied in part, refilled and torn down.
 *
 * Models symbol tables, caches and dictionaries of C programs: for every entry a node and a key of their own, in two
 * different size classes, and an array of buckets that doubles now and then and is too large for the pools. The
 * searches come in random order and are timed by themselves as `walk`: each touches a node and a key. Tables of this
 * kind are in Knuth's third volume and in the inner loop of every interpreter; the program is written for this
 * directory. */
#include "common.h"

static uint64_t entries = 300000, rounds = 2, searches = 600000, seed = 1;
static struct bench_sizes sizes;

struct entry {
    struct entry *next;
    char *key;
    uint64_t id; /* the key is made from it */
    uint32_t length, value;
};

static struct {
    struct entry **buckets;
    uint64_t bucket_count, used;
    uint64_t next_id; /* entries leave at random and are never made again */
} table;

static uint64_t mix(uint64_t id)
{
    struct bench_rng rng = {id ^ seed << 40};
    return bench_random(&rng);
}

static uint32_t length_of(uint64_t id)
{
    return (uint32_t)bench_size_of(&sizes, (uint32_t)(mix(id) >> 32));
}

/* The text of a key: its identity in the first eight bytes, letters that depend on it behind. */
static void write_key(char *key, uint64_t id, uint32_t length)
{
    uint64_t bits = mix(id);
    memset(key, 'a' + (int)(bits % 26), length);
    bench_mark(key, length, bits);
}

static struct entry **bucket_of(uint64_t id)
{
    return &table.buckets[mix(id) >> 3 & (table.bucket_count - 1)];
}

static void grow(void)
{
    struct entry **old = table.buckets;
    uint64_t old_count = table.bucket_count;
    table.bucket_count = old_count > 0 ? old_count * 2 : 64;
    table.buckets = calloc(table.bucket_count, sizeof *table.buckets);
    if (table.buckets == NULL)
        bench_fail("calloc returned NULL");
    for (uint64_t i = 0; i < old_count; i++) {
        for (struct entry *entry = old[i], *next; entry != NULL; entry = next) {
            next = entry->next;
            struct entry **bucket = bucket_of(entry->id);
            entry->next = *bucket;
            *bucket = entry;
        }
    }
    free(old);
}

static void insert(void)
{
    uint64_t id = table.next_id++;
    if (table.used == table.bucket_count)
        grow();
    struct entry *entry = bench_malloc(sizeof *entry);
    struct entry **bucket = bucket_of(id);
    uint32_t length = length_of(id);
    *entry = (struct entry){*bucket, bench_malloc(length), id, length, (uint32_t)mix(id)};
    write_key(entry->key, id, length);
    *bucket = entry;
    table.used++;
}

/* The link that leads to the entry with the same key, or to NULL. */
static struct entry **find(uint64_t id)
{
    static char wanted[BENCH_SIZE_MAX];
    uint32_t length = length_of(id);
    struct entry **link = bucket_of(id);
    write_key(wanted, id, length);
    while (*link != NULL && ((*link)->length != length || memcmp((*link)->key, wanted, length) != 0))
        link = &(*link)->next;
    return link;
}

static void drop(struct entry **link)
{
    struct entry *entry = *link;
    *link = entry->next;
    bench_check(entry->key, entry->length, mix(entry->id));
    bench_free(entry->key);
    bench_free(entry);
    table.used--;
}

/* One of the youngest `entries` identities: most of them are in the table. */
static uint64_t random_id(struct bench_rng *rng)
{
    return table.next_id - 1 - bench_below(rng, (uint32_t)entries);
}

static uint64_t search(struct bench_rng *rng)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < searches; i++) {
        struct entry *entry = *find(random_id(rng));
        if (entry != NULL)
            sum = sum * 3 + entry->value;
    }
    return sum;
}

/* Some of the entries leave, chosen at random, as many new ones come. */
static void change(struct bench_rng *rng)
{
    for (uint64_t i = 0; i < entries / 2; i++) {
        struct entry **link = find(random_id(rng));
        if (*link != NULL)
            drop(link);
    }
    while (table.used < entries)
        insert();
}

static void tear_down(void)
{
    for (uint64_t i = 0; i < table.bucket_count; i++)
        while (table.buckets[i] != NULL)
            drop(&table.buckets[i]);
    free(table.buckets);
}

int main(int argc, char **argv)
{
    static const struct bench_option options[] = {
        {"entries", BENCH_COUNT, &entries, "entries in the table", 16, UINT32_MAX / 2, NULL},
        {"sizes", BENCH_SIZES, &sizes, "lengths of the keys", 0, 0, "8-60"},
        {"rounds", BENCH_COUNT, &rounds, "rounds of change", 0, 1000000, NULL},
        {"searches", BENCH_COUNT, &searches, "searches after each round", 0, UINT32_MAX, NULL},
        {"seed", BENCH_COUNT, &seed, "seed of keys and order", 0, UINT64_MAX, NULL},
        {0},
    };
    bench_start(argc, argv, "a chained hash table filled, searched, changed, torn down", options);

    struct bench_rng rng = bench_rng_stream(seed, 0);
    uint64_t checksum = 0;
    double walking = 0, start = bench_now();
    while (table.used < entries)
        insert();
    for (uint64_t round = 0; round <= rounds; round++) {
        if (round > 0)
            change(&rng);
        double before = bench_now();
        checksum = checksum * 5 + search(&rng);
        walking += bench_now() - before;
    }
    tear_down();
    double end = bench_now();
    bench_report("walk", walking, "s");
    bench_report_time(end - start, table.next_id);
    bench_report_checksum(checksum);
    return 0;
}
