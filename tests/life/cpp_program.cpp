/* SPDX-License-Identifier: MIT
 *
 * A C++ program, linked once to the shared and once to the static library: static objects, exceptions, threads, streams;
 * and new gives blocks of the pools in both.
 */
#include "support/check.h"

#include <iostream>
#include <map>
#include <memory>
#include <poolmalloc.h>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

/* Constructed before main, destroyed after it. */
struct table {
    std::map<std::string, std::vector<int>> entries;

    table()
    {
        for (int i = 0; i < 100; i++)
            entries[std::to_string(i) + " is a key too long for the string's own buffer"].resize(
                static_cast<std::size_t>(i) * 7);
    }

    ~table()
    {
        std::size_t items = 0;
        for (const auto &entry : entries)
            items += entry.second.size();
        std::cout << "destroyed with " << items << " items" << std::endl;
    }
};

table before_main;

void throw_and_catch(int depth)
{
    std::unique_ptr<std::string> text = std::make_unique<std::string>(static_cast<std::size_t>(depth) * 10, 'x');
    if (depth == 0)
        throw std::runtime_error("from the bottom, with a message that needs memory");
    throw_and_catch(depth - 1);
}

void work(int *caught)
{
    for (int i = 0; i < 200; i++) {
        try {
            throw_and_catch(i % 40);
        } catch (const std::runtime_error &error) {
            *caught += error.what()[0] == 'f';
        }
    }
}

} // namespace

int main()
{
    void *block = ::operator new(100);
    REQUIRE(pm_is_pooled(block), "new is not served by the pools");
    ::operator delete(block);
    struct alignas(128) wide {
        char bytes[256];
    };
    auto aligned = std::make_unique<wide>();
    REQUIRE(reinterpret_cast<std::size_t>(aligned.get()) % 128 == 0 && pm_is_pooled(aligned.get()), "%p",
            static_cast<void *>(aligned.get()));

    int caught[4] = {0, 0, 0, 0};
    std::vector<std::thread> threads;
    for (int &mine : caught)
        threads.emplace_back(work, &mine);
    for (std::thread &thread : threads)
        thread.join();
    std::cout << "caught " << caught[0] + caught[1] + caught[2] + caught[3] << std::endl;
    return 0;
}
