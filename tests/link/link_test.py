#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Links programs with README's own command lines, one compiler and one linker, and proves that the pools serve each.

usage: link_test.py README PREFIX COMPILER LINKER

PREFIX is an installation, COMPILER gcc or clang, LINKER bfd, gold or lld. Each line of README that links with files of
$lib is tried with each program of this folder, with and without -flto. The linker leaves out libraries that it sees no
need for (--as-needed), as it does by default on some systems. The proof is the program's own statistics: how many
blocks left the pools. Exit status 77: the compiler or the linker is not installed."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
BLOCKS = 100  # which each of these takes at least
PROGRAMS = ["names_malloc.c", "names_no_malloc.c", "names_no_malloc.cpp"]
CPLUSPLUS = {"gcc": "g++", "clang": "clang++"}
SKIPPED = 77


def command_lines(readme):
    """The lines `cc ... $lib...` of README, without comments: shared, archive, static, static with --wrap."""
    lines = [line.split("  #")[0].strip() for line in readme.read_text().splitlines()]
    lines = [line for line in lines if re.match(r"cc .*\$lib\b", line)]
    if len(lines) != 4:
        sys.exit(f"link_test.py: README should have four lines that link with files of $lib, not {len(lines)}: {lines}")
    return lines


def blocks_served(program, libdir):
    """How many blocks the pools gave the program; None when it runs without them."""
    statistics = program.with_suffix(".json")
    statistics.unlink(missing_ok=True)
    ran = subprocess.run([program], stdout=subprocess.PIPE, text=True, timeout=60, check=True, env=dict(
        os.environ, LD_LIBRARY_PATH=str(libdir), POOLMALLOC_STATS="json", POOLMALLOC_STATS_FILE=str(statistics)))
    if ran.stdout != "done\n":
        sys.exit(f"link_test.py: {program} said {ran.stdout!r}")
    return json.loads(statistics.read_text())["totals"]["blocks_refilled"] if statistics.exists() else None


def link(compiler, options, line, libdir, directory):
    """Runs a line of README in `directory`, where program.o is; what the linker says when it fails."""
    words = " ".join([compiler, *options])
    script = f'cc() {{ {words} "$@" -o program; }}\n{line}\n'
    ran = subprocess.run(["bash", "-c", script], cwd=directory, env=dict(os.environ, lib=str(libdir)), text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return None if ran.returncode == 0 else ran.stdout


class Combinations:
    def __init__(self, compiler, linker, libdir, directory):
        self.compiler, self.linker, self.libdir, self.directory = compiler, linker, libdir, directory
        self.failures = 0

    def result(self, source, lto, line, served_expected=True):
        """Links and runs one combination, program.o being there, and prints what became of it."""
        compiler = CPLUSPLUS[self.compiler] if source.endswith(".cpp") else self.compiler
        options = [f"-fuse-ld={self.linker}", "-O2", *lto, "-Wl,--as-needed"]
        failed = link(compiler, options, line, self.libdir, self.directory)
        served = None if failed else blocks_served(self.directory / "program", self.libdir)
        good = not failed and (served is not None and served >= BLOCKS) == served_expected
        what = f"{served} blocks from pools"
        if failed or served is None:
            what = "does not link" if failed else "runs without the pools"
        print(f"{'ok  ' if good else 'BAD '} {source:20} {' '.join(lto):6} {line}: {what}")
        if failed:
            print(failed)
        self.failures += not good

    def all_of(self, source, lto, lines):
        compiler = CPLUSPLUS[self.compiler] if source.endswith(".cpp") else self.compiler
        subprocess.run([compiler, "-O2", *lto, "-c", HERE / source, "-o", self.directory / "program.o"], check=True)
        for line in lines:
            self.result(source, lto, line)
        # That the proof can fail: the same without the library.
        self.result(source, lto, "cc program.o", served_expected=False)


def main():
    if len(sys.argv) != 5:
        sys.exit("usage: link_test.py README PREFIX COMPILER LINKER")
    readme, prefix, compiler, linker = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]).resolve(), *sys.argv[3:]
    for needed in (compiler, f"ld.{linker}"):
        if shutil.which(needed) is None:
            print(f"skipped: {needed} is not installed")
            sys.exit(SKIPPED)
    lines = command_lines(readme)
    libdir = next(iter(prefix.rglob("libpoolmalloc.a"))).parent
    with tempfile.TemporaryDirectory() as directory:
        combinations = Combinations(compiler, linker, libdir, pathlib.Path(directory))
        for lto in ([], ["-flto"]):
            if lto and (compiler, linker) == ("gcc", "lld"):
                print("left out: -flto, since lld cannot read GCC's intermediate code")
                continue
            for source in PROGRAMS:
                if source.endswith(".cpp") and shutil.which(CPLUSPLUS[compiler]) is None:
                    print(f"left out: {source}, since {CPLUSPLUS[compiler]} is not installed")
                    continue
                combinations.all_of(source, lto, lines)
    sys.exit(1 if combinations.failures else 0)


main()
