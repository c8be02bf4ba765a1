/* SPDX-License-Identifier: MIT
 *
 * The headers from C++: the smart pointer owns one reference, whatever is done with it.
 */
#include "poolobject.hpp"

#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            std::fprintf(stderr, "%s:%d: %s is not so\n", __FILE__, __LINE__, #condition);                             \
            std::abort();                                                                                              \
        }                                                                                                              \
    } while (0)

struct node {
    void *next;
    long number;
};

static void
use(po_type *type)
{
    po::ref<node> first = po::ref<node>::steal(po_new(type));
    first->number = 7;
    REQUIRE(first && po_refcount(first.get()) == 1);
    po::ref<node> second = first, third;
    REQUIRE(po_refcount(first.get()) == 2 && second == first && second != third);
    third = std::move(second);
    REQUIRE(!second && third->number == 7 && po_refcount(first.get()) == 2);
    third = third;
    REQUIRE(po_refcount(first.get()) == 2);
    third = nullptr;
    REQUIRE(po_refcount(first.get()) == 1);
    std::vector<po::ref<node>> many(100, first);
    REQUIRE(po_refcount(first.get()) == 101);
    many.clear();
    po_set_steal(&first->next, po::ref<node>::borrow(first.get()).release());
    REQUIRE(po_refcount(first.get()) == 2);
    po_clear(&first->next);
    first.reset();
    REQUIRE(!first);
}

int
main()
{
    static const uint16_t references[] = {0, PO_END};
    po_heap *heap = po_heap_create(nullptr);
    po_type_spec spec = {};
    spec.name = "node";
    spec.size = sizeof(node);
    spec.references = references;
    use(po_type_create(heap, &spec));
    REQUIRE(po_heap_destroy(heap) == 0);
    return 0;
}
