#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The installation, and those who use it from outside the source tree.

usage: package_test.py CASE SOURCE BUILD GENERATOR

CASE is one of the functions below whose names begin with case_. A consumer is built and run for each library, and must
prove that the pools served it. Each case works in a directory of its own that is gone afterwards."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

BLOCKS = 100  # which each program of tests/link takes at least
REPLACING = ["poolmalloc", "static", "wrap"]
OBJECTS = ("object", "object_static")


class Failed(Exception):
    pass


def require(condition, what):
    if not condition:
        raise Failed(what)


def run(*command, status=0, **options):
    """The output of a command, stderr included; Failed when it ends otherwise than expected."""
    command = [str(word) for word in command]
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    require((ran.returncode == 0) == (status == 0), f"{' '.join(command)} ended with {ran.returncode}:\n{ran.stdout}")
    return ran.stdout


def readme_line(source, beginning):
    lines = [line for line in (source / "README.md").read_text().splitlines() if line.startswith(beginning)]
    require(len(lines) == 1, f"README has {len(lines)} lines that begin with {beginning}")
    return lines[0]


def files_in(prefix):
    return {str(path.relative_to(prefix)) for path in prefix.rglob("*") if not path.is_dir()}


def require_served(program, libdir=None):
    """Runs a program of tests/link, whose statistics must say that the pools served it."""
    statistics = program.with_name(program.name + ".json")
    settings = dict(os.environ, POOLMALLOC_STATS="json", POOLMALLOC_STATS_FILE=str(statistics))
    if libdir is not None:
        settings["LD_LIBRARY_PATH"] = str(libdir)
    require(run(program, env=settings) == "done\n", f"{program} did not say that it is done")
    require(statistics.exists(), f"{program} runs without the pools")
    served = json.loads(statistics.read_text())["totals"]["blocks_refilled"]
    require(served >= BLOCKS, f"{program} got {served} blocks from the pools")
    print(f"ok  {program.name}: {served} blocks from the pools")


def require_own(program, libdir=None):
    """Runs tests/static/api.c, which looks itself where its blocks come from, or object.c, which looks for its objects."""
    said = run(program, env=dict(os.environ, LD_LIBRARY_PATH=str(libdir)) if libdir is not None else None)
    require(said.startswith("ok: "), f"{program} said {said}")
    print(f"ok  {program.name}: {said.strip()}")


class Package:
    def __init__(self, source, build, generator, directory):
        self.source, self.build, self.generator, self.directory = source, build, generator, directory
        self.programs = [source / "tests/link/names_malloc.c", source / "tests/link/names_no_malloc.c"]
        if shutil.which("c++"):
            self.programs.append(source / "tests/link/names_no_malloc.cpp")

    def install(self, prefix):
        run("cmake", "--install", self.build, "--prefix", prefix)
        return prefix

    def at_two_places(self, check, second="second"):
        """check(prefix) of an installation, and again when that has been moved."""
        prefix = self.install(self.directory / "first/place")
        check(prefix)
        moved = self.directory / second
        prefix.rename(moved)
        print("moved")
        check(moved)

    # ---- What is installed ----

    def case_files(self):
        prefix = self.install(self.directory / "prefix")
        libdir = next(prefix.rglob("libpoolmalloc.a")).parent
        lib = libdir.relative_to(prefix)
        doc = "share/doc/poolmalloc"
        expected = {f"{lib}/{name}" for name in (
            "libpoolmalloc.so", "libpoolmalloc.so.1", "libpoolmalloc.a", "libpoolmalloc_wrap.a", "libpoolmalloc_api.a",
            "poolmalloc.options", "poolmalloc_static.options", "poolmalloc_wrap.options",
            "pkgconfig/poolmalloc.pc", "pkgconfig/poolmalloc-static.pc", "pkgconfig/poolmalloc-wrap.pc",
            "libpoolobject.so", "libpoolobject.so.1", "libpoolobject.a", "pkgconfig/poolobject.pc",
            "pkgconfig/poolobject-static.pc",
            "pkgconfig/poolmalloc-api.pc", "cmake/poolmalloc/poolmallocConfig.cmake",
            "cmake/poolmalloc/poolmallocConfigVersion.cmake", "cmake/poolmalloc/poolmallocTargets.cmake")}
        expected |= {f"{doc}/{name}" for name in ("LICENSE", "README.md")}
        expected |= {f"include/{name}" for name in ("poolmalloc.h", "poolobject.h", "poolobject.hpp")}
        missing = expected - files_in(prefix)
        require(not missing, f"not installed: {sorted(missing)}")

        for name in ("libpoolmalloc.so", "libpoolobject.so"):
            link = libdir / name
            require(link.is_symlink() and os.readlink(link) == f"{name}.1", f"{link} does not point to .so.1")
            require(f"soname: [{name}.1]" in run("readelf", "-d", link, env=dict(os.environ, LC_ALL="C")),
                    f"{link} does not have the soname {name}.1")
        for path in prefix.rglob("*"):
            if path.suffix in (".pc", ".cmake", ".options"):
                for place in (self.source, self.build, self.directory, "/usr/local"):
                    require(str(place) not in path.read_text(), f"{path} names {place}")

        stage = self.directory / "stage"
        run("cmake", "--install", self.build, "--prefix", "/opt/pools", env=dict(os.environ, DESTDIR=str(stage)))
        require(files_in(stage / "opt/pools") == files_in(prefix), "DESTDIR changes what is installed")
        require(set(os.listdir(stage)) == {"opt"}, f"with DESTDIR there is {os.listdir(stage)}")

    def case_preload(self):
        """By each name of the library, and by the command, with what a package without development files leaves out."""
        program = self.directory / "program"
        run("cc", self.source / "tests/link/names_malloc.c", "-o", program)

        def check(prefix):
            libdir = next(prefix.rglob("libpoolmalloc.so.1")).parent
            for name in ("libpoolmalloc.so", "libpoolmalloc.so.1"):
                if (libdir / name).exists():
                    os.environ["LD_PRELOAD"] = str(libdir / name)
                    require_served(program)
                    del os.environ["LD_PRELOAD"]
            command = prefix / "bin/poolmalloc"
            if command.exists():
                preloaded = run(command, "run", "sh", "-c", "echo $LD_PRELOAD").strip()
                require(preloaded == str(libdir / "libpoolmalloc.so.1"), f"the command preloads {preloaded}")
            else:
                print("left out: the command is not built")
            (libdir / "libpoolmalloc.so").unlink(missing_ok=True)

        self.at_two_places(check)

    # ---- Who uses it ----

    def consumer(self, find_lines, link_line):
        """A CMake project outside the source tree, with each program on each library."""
        directory = self.directory / "consumer"
        directory.mkdir(exist_ok=True)
        languages = "C CXX" if len(self.programs) == 3 else "C"
        lines = ["cmake_minimum_required(VERSION 3.25)", f"project(consumer LANGUAGES {languages})",
                 "set(CMAKE_EXPORT_COMPILE_COMMANDS ON)", "include(CTest)", *find_lines]

        def add(name, source, library):
            lines.append(f'add_executable({name} "{source}")')
            lines.append(link_line.replace("(program ", f"({name} ").replace("::poolmalloc", f"::{library}"))

        for library in REPLACING:
            for source in self.programs:
                add(f"{library}_{source.name}", source, library)
        add("api_c", self.source / "tests/static/api.c", "api")
        for library in OBJECTS:
            add(f"{library}_c", self.source / "tests/package/object.c", library)
        (directory / "CMakeLists.txt").write_text("\n".join(lines) + "\n")
        return directory

    def build_and_run(self, consumer, build, *options):
        # The linker leaves out what it sees no need for, before and after link-time optimisation.
        configured = run("cmake", "-S", consumer, "-B", build, "-G", self.generator,
                         "-DCMAKE_EXE_LINKER_FLAGS=-Wl,--as-needed", *options)
        run("cmake", "--build", build)
        for library in REPLACING:
            for source in self.programs:
                require_served(build / f"{library}_{source.name}")
        require_own(build / "api_c")
        for library in OBJECTS:
            require_own(build / f"{library}_c")
        return configured

    def case_cmake(self):
        consumer = self.consumer([readme_line(self.source, "find_package(")],
                                 readme_line(self.source, "target_link_libraries("))

        def check(prefix):
            build = self.directory / f"build-{prefix.name}"
            optimisation = "-DCMAKE_INTERPROCEDURAL_OPTIMIZATION=" + ("ON" if " " in prefix.name else "OFF")
            self.build_and_run(consumer, build, f"-DCMAKE_PREFIX_PATH={prefix}", "-DCMAKE_BUILD_TYPE=Release",
                               optimisation)

        self.at_two_places(check, second="the second place")
        require("poolmallocConfig" in run("cmake", "-S", consumer, "-B", self.directory / "none", status=1),
                "the consumer finds another poolmalloc")

    def case_cmake_version(self):
        prefix = self.install(self.directory / "prefix")
        for version, status in (("0.1", 0), ("0.1.0", 0), ("0.2", 1), ("1", 1)):
            consumer = self.consumer([f"find_package(poolmalloc {version} REQUIRED)"],
                                     "target_link_libraries(program PRIVATE poolmalloc::poolmalloc)")
            run("cmake", "-S", consumer, "-B", self.directory / version, f"-DCMAKE_PREFIX_PATH={prefix}", status=status)
            print(f"ok  find_package(poolmalloc {version}) {'fails' if status else 'succeeds'}")

    def case_pkgconfig(self):
        if shutil.which("pkg-config") is None:
            print("skipped: pkg-config is not installed")
            sys.exit(77)
        line = readme_line(self.source, "cc program.o $(pkg-config")

        def link(package, source, libdir):
            program = self.directory / f"{package}_{source.name}"
            settings = dict(os.environ, PKG_CONFIG_PATH=str(libdir / "pkgconfig"))
            compiler = "command c++" if source.suffix == ".cpp" else "command cc"
            script = (f'cc() {{ {compiler} -Wl,--as-needed "$@" -o {program}; }}\n'
                      f'{compiler} -c $(pkg-config --cflags {package}) {source} -o program.o\n'
                      + line.replace("poolmalloc)", f"{package})"))
            run("bash", "-e", "-c", script, env=settings, cwd=self.directory)
            return program

        def check(prefix):
            libdir = next(prefix.rglob("libpoolmalloc.a")).parent
            for package in ("poolmalloc", "poolmalloc-static", "poolmalloc-wrap"):
                for source in self.programs:
                    require_served(link(package, source, libdir), libdir)
            require_own(link("poolmalloc-api", self.source / "tests/static/api.c", libdir))
            for package in ("poolobject", "poolobject-static"):
                require_own(link(package, self.source / "tests/package/object.c", libdir), libdir)

        self.at_two_places(check)

    def case_included(self):
        """In another project's build: the same targets, and nothing that the project did not ask for."""
        consumer = self.consumer(
            ["include(FetchContent)", f'FetchContent_Declare(poolmalloc SOURCE_DIR "{self.source}")',
             "FetchContent_MakeAvailable(poolmalloc)"], readme_line(self.source, "target_link_libraries("))
        build = self.directory / "build"
        configured = self.build_and_run(consumer, build, "-DCMAKE_INTERPROCEDURAL_OPTIMIZATION=ON")
        require("CMAKE_BUILD_TYPE:STRING=\n" in (build / "CMakeCache.txt").read_text(), "a build type is forced")
        require("riterion" not in configured and "libelf" not in configured, f"more is looked for:\n{configured}")
        require("Total Tests: 0" in run("ctest", "-N", cwd=build), "there are tests")
        require(not (build / "_deps/poolmalloc-build/poolmalloc").exists(), "the command is built")
        for command in json.loads((build / "compile_commands.json").read_text()):
            if "/tests/" in command["file"]:
                for flag in ("-Wshadow", "-fno-builtin", "-fvisibility", "-fno-lto", "-std="):
                    require(flag not in command["command"], f"the project is compiled with {flag}")
        run("cmake", "--install", build, "--prefix", self.directory / "nothing")
        require(not (self.directory / "nothing").exists(), "something is installed")
        run("cmake", build, "-DPOOLMALLOC_INSTALL=ON")
        run("cmake", "--install", build, "--prefix", self.directory / "asked")
        require(any(name.endswith("poolmallocConfig.cmake") for name in files_in(self.directory / "asked")),
                "nothing is installed when it is asked for")

    # ---- What a build needs ----

    def configure(self, *options, status=0, **variables):
        """Configures the project anew, as a build of its own, without what `variables` hide."""
        build = self.directory / "build"
        shutil.rmtree(build, ignore_errors=True)
        return run("cmake", "-S", self.source, "-B", build, "-G", self.generator, "-DCMAKE_BUILD_TYPE=Debug", *options,
                   status=status, env=dict(os.environ, **variables))

    def require_tests(self, present, absent):
        tests = run("ctest", "-N", cwd=self.directory / "build")
        for name in present:
            require(re.search(rf": {name}$", tests, re.MULTILINE), f"there is no test {name}")
        for name in absent:
            require(not re.search(rf": {name}$", tests, re.MULTILINE), f"there is a test {name}")

    no_cxx = {"CXX": "/nonexistent/c++"}
    no_criterion = ["-DPOOLMALLOC_BUILD_COMMAND=OFF", "-DCMAKE_IGNORE_PATH=/usr/include;/usr/local/include"]

    def case_without_cxx(self):
        """What needs no C++ is built and registered; the tests of the pools work."""
        said = self.configure(**self.no_cxx)
        require(said.count("Not all is built") == 1 and "tests without a C++ compiler (Debian: g++)" in said and
                "benchmarks without a C++ compiler" in said, said)
        run("cmake", "--build", self.directory / "build")
        self.require_tests(["static_glibc", "static_target_wrap_c", "bench.pair"],
                           ["static_target_wrap_cpp", "bench.containers", "thread_local_std"])
        run("ctest", "-R", "^static_target_|^bench.pair$|^life$|^crash$", "--output-on-failure",
            cwd=self.directory / "build")

    def case_without_criterion(self):
        said = self.configure(*self.no_criterion)
        require(said.count("Not all is built: tests without Criterion (Debian: libcriterion-dev)\n") == 1, said)
        self.require_tests(["static_glibc", "stats", "preload_lua", "bench.containers"], ["unit_pool", "api_std"])

    def case_without_either(self):
        said = self.configure(*self.no_criterion, **self.no_cxx)
        require(said.count("Not all is built") == 1 and "Criterion" in said and "C++" in said, said)
        self.require_tests(["static_glibc"], ["unit_pool"])
        said = self.configure(*self.no_criterion, "-DPOOLMALLOC_BUILD_TESTS=OFF", "-DPOOLMALLOC_BUILD_BENCH=OFF",
                              **self.no_cxx)
        require("Not all" not in said and "CXX" not in said, said)

    def case_required(self):
        """ON is a demand."""
        for option, options, variables, what in (
                ("POOLMALLOC_BUILD_TESTS=ON", self.no_criterion, {}, "Criterion (Debian: libcriterion-dev)"),
                ("POOLMALLOC_BUILD_TESTS=ON", [], self.no_cxx, "a C++ compiler (Debian: g++)"),
                ("POOLMALLOC_BUILD_BENCH=ON", [], self.no_cxx, "a C++ compiler (Debian: g++)")):
            said = " ".join(self.configure(f"-D{option}", *options, status=1, **variables).split())
            require(f"{option} needs {what}." in said, said)


def main():
    cases = {name.removeprefix("case_") for name in dir(Package) if name.startswith("case_")}
    if len(sys.argv) != 5 or sys.argv[1] not in cases:
        sys.exit(f"usage: package_test.py CASE SOURCE BUILD GENERATOR\ncases: {', '.join(sorted(cases))}")
    with tempfile.TemporaryDirectory(prefix="poolmalloc-package.") as directory:
        package = Package(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4],
                          pathlib.Path(directory).resolve())
        try:
            getattr(package, f"case_{sys.argv[1]}")()
        except Failed as failure:
            sys.exit(f"package_test.py: {failure}")


main()
