// SPDX-License-Identifier: MIT
//
// Much standard library in little text: what costs a C++ compiler memory. Prints what is the same everywhere.
#include <algorithm>
#include <array>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <unordered_map>
#include <variant>
#include <vector>

using value = std::variant<int, double, std::string, std::vector<int>>;

template <int N> struct chain : chain<N - 1> {
    std::map<std::string, std::array<value, N>> table;
    int depth() const { return chain<N - 1>::depth() + 1; }
};
template <> struct chain<0> {
    int depth() const { return 0; }
};

struct node {
    std::string name;
    std::vector<std::unique_ptr<node>> children;
    int count() const {
        return std::accumulate(children.begin(), children.end(), 1,
                               [](int sum, const auto &child) { return sum + child->count(); });
    }
};

static std::unique_ptr<node> grow(int depth, const std::string &name) {
    auto made = std::make_unique<node>();
    made->name = name;
    for (int i = 0; i < depth; i++)
        made->children.push_back(grow(depth - 1, name + "/" + std::to_string(i)));
    return made;
}

int main() {
    std::cout << "chain " << chain<8>().depth() << '\n';
    std::cout << "tree " << grow(8, "root")->count() << '\n';

    std::unordered_map<std::string, std::set<int>> words;
    std::istringstream text("it was the best of times it was the worst of times");
    int position = 0;
    for (std::string word; text >> word; position++)
        words[word].insert(position);
    std::map<std::string, std::set<int>> sorted(words.begin(), words.end());
    for (const auto &[word, positions] : sorted)
        std::cout << word << ' ' << positions.size() << '\n';

    std::vector<std::thread> threads;
    std::vector<std::shared_ptr<std::string>> results(8);
    for (int i = 0; i < 8; i++)
        threads.emplace_back([&results, i] {
            std::function<std::string(int)> repeat = [&](int n) {
                return n == 0 ? std::string() : std::to_string(i) + repeat(n - 1);
            };
            results[i] = std::make_shared<std::string>(repeat(200));
        });
    for (auto &thread : threads)
        thread.join();
    size_t length = 0;
    for (const auto &result : results)
        length += result->size();
    std::cout << "threads " << length << '\n';

    try {
        std::vector<value> values{1, 2.5, std::string("three"), std::vector<int>{4}};
        std::cout << "variant " << std::get<double>(values.at(1)) << '\n';
        values.at(4);
    } catch (const std::out_of_range &) {
        std::cout << "out of range" << '\n';
    }
}
