// SPDX-License-Identifier: MIT
//
// A C++ program whose own object names no allocating function, and none that frees: the code of std::string that does,
// for 100 strings, is in the C++ runtime. The strings are never destroyed, since a destructor would name one.
#include <cstdio>
#include <new>
#include <string>

int
main()
{
    alignas(std::string) static char room[100][sizeof(std::string)];
    std::size_t size = 0;
    for (auto &place : room) {
        std::string *text = new (place) std::string;
        for (int i = 0; i < 20; i++)
            *text += "fifteen letters";
        size += text->size();
    }
    std::puts(size == 30000 ? "done" : "short");
    return 0;
}
