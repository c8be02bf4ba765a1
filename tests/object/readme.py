#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The examples of README.md's section poolobject, compiled and run as printed.

    readme.py README.md LIBRARY.a INCLUDES CC CXX [FLAG...]    CXX may be empty

The section's C program must compile without a warning and print what the README shows behind it; its C++ program must
compile and succeed. What the README shows of POOLOBJECT_DEBUG=leak must be what the C program prints then, with the line
taken out that the README says to take out.
"""
import os
import re
import subprocess
import sys
import tempfile

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror"]


def fail(text):
    sys.exit("readme.py: " + text)


def blocks_of(readme):
    """(language, text) of each block of the section."""
    with open(readme, encoding="utf-8") as file:
        section = re.search(r"^## poolobject$(.*?)^## ", file.read(), re.M | re.S)
    if section is None:
        fail(f"{readme} has no section poolobject")
    return re.findall(r"^```(\w*)\n(.*?)^```$", section.group(1), re.M | re.S)


def build(compiler, standard, source, suffix, folder, library, includes, flags):
    name = os.path.join(folder, "example" + suffix)
    with open(name, "w", encoding="utf-8") as file:
        file.write(source)
    program = name + ".out"
    command = [compiler, standard, *WARNINGS, "-I", includes, name, library, "-pthread", *flags, "-o", program]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0 or done.stderr:
        fail(f"{' '.join(command)}: status {done.returncode}\n{done.stderr}")
    return program


def run(program, status, debug=None):
    environment = {name: value for name, value in os.environ.items() if name != "POOLOBJECT_DEBUG"}
    if debug is not None:
        environment["POOLOBJECT_DEBUG"] = debug
    done = subprocess.run([program], capture_output=True, text=True, env=environment, timeout=120)
    if done.returncode != status:
        fail(f"{program}: status {done.returncode}, {status} expected\n{done.stderr}")
    return done.stdout, done.stderr


def compare(what, got, expected):
    if got != expected:
        fail(f"{what}: the README shows\n{expected}and the program prints\n{got}")


def main():
    if len(sys.argv) < 6:
        sys.exit(__doc__)
    readme, library, includes, cc, cxx, *flags = sys.argv[1:]
    blocks = blocks_of(readme)
    languages = [language for language, _ in blocks]
    if languages.count("c") != 1 or languages.count("cpp") != 1:
        fail(f"one block of C and one of C++ expected, not {languages}")
    at = languages.index("c")
    source, output = blocks[at][1], blocks[at + 1][1]
    leak = [text for _, text in blocks if text.startswith("poolobject: leak")]
    lost = "    po_decref(ann);"
    if len(leak) != 1 or source.count(lost) != 1:
        fail("no report of a leak, or not one line that begins with " + lost.strip())
    with tempfile.TemporaryDirectory() as folder:
        shared = (folder, library, includes, flags)
        program = build(cc, "-std=c11", source, ".c", *shared)
        stdout, stderr = run(program, 0)
        compare("output", stdout, output)
        compare("stderr", stderr, "")
        compare("stderr under debug", run(program, 0, "torture,verify,thread,leak")[1], "")
        without = "".join(line for line in source.splitlines(True) if not line.startswith(lost))
        leaking = build(cc, "-std=c11", without, "_leak.c", *shared)
        compare("leak", run(leaking, 1, "leak")[1], leak[0])
        if cxx:
            run(build(cxx, "-std=c++14", blocks[languages.index("cpp")][1], ".cpp", *shared), 0)


main()
