/* SPDX-License-Identifier: MIT
 *
 * C++ objects with thread storage duration: their destructors run at the end of the thread, before key destructors, and
 * free what the thread allocated, or allocate for the first time.
 */
#include "support/blocks.h"
#include "support/check.h"
#include "support/measure.h"
#include "support/names.h"
#include "support/suite.h"

#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace
{

std::atomic<int> destroyed{0};

/* Holds blocks of the heap under test; the destructor frees them, and takes and gives back others. */
struct holder {
    std::vector<void *> blocks;

    void
    hold(std::size_t size)
    {
        void *block = mem.malloc(size);
        pattern_write(block, size, size);
        blocks.push_back(block);
    }

    ~holder()
    {
        std::size_t size = 0;
        for (void *block : blocks) {
            size += 30;
            REQUIRE(pattern_holds(block, size, size, size), "%zu bytes were overwritten", size);
            mem.free(block);
        }
        for (size = 1; size < 2000; size += 100)
            mem.free(mem.calloc(1, size));
        std::map<int, std::string> words;
        for (int i = 0; i < 20; i++)
            words[i] = std::string(static_cast<std::size_t>(i) * 20, 'x');
        destroyed++;
    }
};

thread_local holder held;

void
use()
{
    for (std::size_t size = 30; size < 1500; size += 30)
        held.hold(size);
}

/* Constructs the object, but allocates nothing before its destructor runs. */
void
touch()
{
    REQUIRE(held.blocks.empty(), "a new thread holds blocks");
}

} // namespace

Test(thread_local_objects, destructors_free_and_allocate)
{
    constexpr int threads = TEST_SANITIZED ? 300 : 3000;
    std::size_t resident = 0;
    for (int i = 0; i < threads; i++) {
        if (i == threads / 10)
            resident = resident_bytes();
        std::thread first(use);
        std::thread second(touch);
        first.join();
        second.join();
    }
    REQUIRE(destroyed == 2 * threads, "%d objects destroyed by %d threads", destroyed.load(), 2 * threads);
    require_growth_below(resident, 3 << 20, "threads with thread-local objects");
}
