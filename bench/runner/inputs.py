# SPDX-License-Identifier: MIT
"""Input files of the programs, made here: nothing is downloaded, and every machine makes the same ones.

There is one exception: `large.ii` is what the C++ compiler's own headers preprocess to, so it is the same on one
machine, but not on machines with different compilers.
"""
import os
import shutil
import subprocess

from . import UserError


class Numbers:
    """A linear congruential generator (Knuth's MMIX constants), the same in every version of Python."""

    def __init__(self, seed):
        self.state = seed

    def below(self, bound):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % bound

    def choice(self, items):
        return items[self.below(len(items))]


# ---- A large C file, already preprocessed --------------------------------------------------------------------------

def expression(numbers, names, depth):
    kind = numbers.below(6) if depth > 0 else 5
    if kind < 3:
        return "(%s %s %s)" % (expression(numbers, names, depth - 1), numbers.choice(["+", "-", "*", "^", "&", "|"]),
                               expression(numbers, names, depth - 1))
    if kind == 3:
        return "(%s ? %s : %s)" % (expression(numbers, names, 0), expression(numbers, names, depth - 1),
                                   expression(numbers, names, depth - 1))
    return numbers.choice(names) if kind == 4 or numbers.below(3) else str(numbers.below(1000))


def c_function(numbers, index):
    names = ["a", "b", "s->first", "s->count", "total"]
    lines = ["struct item%d { struct item%d *next; unsigned first, count; char name[%d]; };" % (
        index, index, 8 + numbers.below(24)),
        "unsigned work%d(struct item%d *s, unsigned a, unsigned b)" % (index, index), "{", "    unsigned total = a;"]
    for _ in range(3 + numbers.below(5)):
        kind = numbers.below(4)
        value = expression(numbers, names, 3)
        if kind == 0:
            lines.append("    for (unsigned i = 0; i < (b & 15); i++)\n        total += %s + i;" % value)
        elif kind == 1:
            lines.append("    if (%s)\n        s->count = %s;" % (expression(numbers, names, 2), value))
        elif kind == 2:
            lines.append("    switch (%s & 3) {\n    case 0: total ^= %s; break;\n    case 1: return total;\n"
                         "    default: b += %d;\n    }" % (value, expression(numbers, names, 2), numbers.below(99)))
        else:
            callee = numbers.below(index) if index else None
            lines.append("    total += %s;" % (value if callee is None else
                                               "work%d((struct item%d *)s, a + 1, %s)" % (callee, callee, value)))
    return "\n".join(lines + ["    return s->next ? total + s->next->count : total;", "}", ""])


def c_source(path, functions):
    numbers = Numbers(7)
    with open(path, "w") as file:
        file.write('# 1 "large.c"\n')
        for index in range(functions):
            file.write(c_function(numbers, index) + "\n")


# ---- A large C++ file, preprocessed from the standard headers ------------------------------------------------------

CXX_SOURCE = """
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <regex>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>
template <int N> struct Shape { std::map<int, std::vector<std::string>> parts; std::variant<int, std::string> tag; };
template <int N> std::size_t use(Shape<N> &shape)
{
    for (int i = 0; i < N; i++)
        shape.parts[i].push_back(std::to_string(i));
    std::unordered_map<std::string, std::shared_ptr<Shape<N>>> index;
    std::function<void(int)> add = [&](int i) { index[std::to_string(i)] = std::make_shared<Shape<N>>(shape); };
    add(N);
    std::sort(shape.parts[0].begin(), shape.parts[0].end());
    return index.size() + std::regex_match("a1", std::regex("[a-z][0-9]"));
}
"""


def cxx_source(path, instances):
    source = CXX_SOURCE + "".join("std::size_t use%d() { Shape<%d> shape; return use(shape); }\n" % (number, number)
                                  for number in range(1, instances + 1))
    subprocess.run(["g++", "-std=c++17", "-x", "c++", "-E", "-o", path, "-"], input=source.encode(), check=True)


# ---- A git history -------------------------------------------------------------------------------------------------

def text_lines(numbers, count):
    return ["%s %d %s" % (numbers.choice(["alpha", "beta", "gamma", "delta"]), numbers.below(100000),
                          "word" * numbers.below(6)) for _ in range(count)]


def git_stream(files, commits):
    """A fast-import stream: files of some dozen lines, of which every commit changes, adds or renames a few."""
    numbers = Numbers(11)
    contents = {"dir%d/file%d.txt" % (i % 20, i): text_lines(numbers, 20 + numbers.below(60)) for i in range(files)}
    pending = dict(contents)
    for commit in range(commits):
        message = "Commit %d" % commit
        yield "commit refs/heads/main\ncommitter A <a@example.com> %d +0000\ndata %d\n%s\n" % (
            1500000000 + 600 * commit, len(message), message)
        for name, lines in pending.items():
            data = "\n".join(lines) + "\n"
            yield "M 100644 inline %s\ndata %d\n%s" % (name, len(data), data)
        pending = {}
        for _ in range(1 + numbers.below(5)):
            name = numbers.choice(list(contents))
            lines = contents[name]
            lines[numbers.below(len(lines)):][:2] = text_lines(numbers, 1)
            place = numbers.below(len(lines))
            lines[place:place + 2] = text_lines(numbers, 1 + numbers.below(4))
            pending[name] = lines


def git_history(path, files, commits):
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", path], check=True, env=environment)
    stream = "".join(git_stream(files, commits)).encode()
    subprocess.run(["git", "--git-dir", path, "fast-import", "--quiet"], input=stream, check=True, env=environment)


# Name -> (what makes it at a path, the executable that needs, its package).
MAKERS = {
    "large.i": (lambda path: c_source(path, 300), None, None),
    "small.i": (lambda path: c_source(path, 20), None, None),
    "large.ii": (lambda path: cxx_source(path, 3), "g++", "g++"),
    "history.git": (lambda path: git_history(path, 400, 1500), "git", "git"),
}


def make(names, directory, say):
    """Makes the files that are not there yet; under another name first, so that an interrupt leaves no half of one."""
    os.makedirs(directory, exist_ok=True)
    for name in dict.fromkeys(names):
        path = os.path.join(directory, name)
        if os.path.exists(path):
            continue
        maker, executable, package = MAKERS[name]
        if executable and shutil.which(executable) is None:
            raise UserError("%s is missing to make %s (apt-get install %s)" % (executable, name, package))
        say("making the input %s" % name)
        unfinished = path + ".new"
        shutil.rmtree(unfinished, ignore_errors=True)
        maker(unfinished)
        os.rename(unfinished, path)
