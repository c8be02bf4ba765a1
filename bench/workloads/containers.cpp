/* SPDX-License-Identifier: MIT
 *
 * containers: the C++ standard library's maps, strings, vectors and lists.
 *
 * Models an ordinary C++ program: words are counted in an ordered and a hashed map, an index from each word to the
 * lines it stands in is built, vectors of strings are sorted, shared objects are held in a list and dropped. Node-based
 * containers allocate one block per element and strings one per value beyond 15 characters, so nearly all the time goes
 * to malloc, free and the cache misses between elements. The pattern is common (the libstdc++ performance tests and
 * rust's and LLVM's "map of strings" micro-benchmarks have it); the program is written for this directory. The look-ups
 * are timed by themselves as `walk`. */
#include "common.h"

#include <algorithm>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

std::uint64_t words = 30000, repeats = 3, seed = 1;

std::uint64_t hash_of(const std::string &text)
{
    std::uint64_t hash = 14695981039346656037u; /* FNV-1a, the same under every standard library */
    for (unsigned char c : text)
        hash = (hash ^ c) * 1099511628211u;
    return hash;
}

std::string make_word(bench_rng *rng)
{
    std::uint64_t bits = bench_random(rng);
    std::string word;
    for (std::uint64_t i = 0, length = 4 + bits % 40; i < length; i++)
        word.push_back(static_cast<char>('a' + (bits >> (i % 56)) % 26));
    return word;
}

using Index = std::unordered_map<std::string, std::vector<std::uint32_t>>;

struct Text {
    std::vector<std::string> lines;
    std::map<std::string, std::uint64_t> counts;
    Index index;
};

Text build(bench_rng *rng)
{
    Text text;
    std::vector<std::string> vocabulary;
    for (std::uint64_t i = 0; i < words; i++)
        vocabulary.push_back(make_word(rng));
    for (std::uint64_t line = 0; line < words; line++) {
        std::string joined;
        for (int i = 0; i < 5; i++) {
            /* The square prefers the words at the front, as texts do. */
            std::uint64_t a = bench_below(rng, static_cast<std::uint32_t>(words));
            const std::string &word = vocabulary[a * a / words];
            text.counts[word]++;
            text.index[word].push_back(static_cast<std::uint32_t>(line));
            joined += word;
            joined += ' ';
        }
        text.lines.push_back(std::move(joined));
    }
    return text;
}

std::uint64_t look_up(const Text &text, bench_rng *rng)
{
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < words; i++) {
        const std::string &line = text.lines[bench_below(rng, static_cast<std::uint32_t>(words))];
        std::string word = line.substr(0, line.find(' '));
        sum += text.counts.at(word) * text.index.at(word).size() + text.index.at(word).back();
    }
    for (const auto &entry : text.counts)
        sum = sum * 31 + hash_of(entry.first) + entry.second;
    return sum;
}

/* Copies, sorts and drops: strings move, nodes die in an order unlike that of their birth. */
std::uint64_t rearrange(Text &text)
{
    std::uint64_t sum = 0;
    std::vector<std::string> sorted = text.lines;
    std::sort(sorted.begin(), sorted.end());
    for (std::size_t i = 0; i < sorted.size(); i += 16)
        sum = sum * 31 + hash_of(sorted[i]);
    std::map<std::uint64_t, std::string> by_hash;
    for (const auto &entry : text.index)
        by_hash.emplace(hash_of(entry.first), entry.first);
    for (const auto &entry : by_hash)
        if (entry.first % 4 == 0)
            text.index.erase(entry.second);
    return sum * 31 + text.index.size();
}

std::uint64_t share(const Text &text)
{
    struct Record {
        std::string name;
        std::shared_ptr<Record> next;
        std::uint64_t value;
    };
    std::list<std::shared_ptr<Record>> records;
    std::uint64_t sum = 0;
    for (const auto &entry : text.counts) {
        auto record = std::make_shared<Record>(Record{entry.first, nullptr, entry.second});
        if (!records.empty() && entry.second % 3 == 0)
            record->next = std::make_shared<Record>(Record{entry.first + "'", nullptr, entry.second});
        records.push_back(std::move(record));
    }
    records.remove_if([](const std::shared_ptr<Record> &record) { return record->value % 2 == 0; });
    for (const auto &record : records)
        sum += record->value * record->name.size() + (record->next ? record->next->name.size() : 0);
    return sum;
}

} // namespace

int main(int argc, char **argv)
{
    static const bench_option options[] = {
        {"words", BENCH_COUNT, &words, "words in the vocabulary, and lines of five of them", 16, 100000000, nullptr},
        {"repeats", BENCH_COUNT, &repeats, "texts, one after the other", 1, 1000000, nullptr},
        {"seed", BENCH_COUNT, &seed, "seed of the words", 0, UINT64_MAX, nullptr},
        {},
    };
    bench_start(argc, argv, "maps, strings, vectors and lists of the C++ standard library", options);

    bench_rng rng = bench_rng_stream(seed, 0);
    std::uint64_t checksum = 0;
    double walking = 0, start = bench_now();
    for (std::uint64_t i = 0; i < repeats; i++) {
        Text text = build(&rng);
        double built = bench_now();
        checksum = checksum * 31 + look_up(text, &rng);
        walking += bench_now() - built;
        checksum = checksum * 31 + rearrange(text);
        checksum = checksum * 31 + share(text);
    }
    bench_report("walk", walking, "s");
    bench_report_time(bench_now() - start, words * repeats * 5);
    bench_report_checksum(checksum);
    return 0;
}
