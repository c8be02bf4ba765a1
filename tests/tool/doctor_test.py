#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of what poolmalloc doctor sees, and of files and processes that were made to mislead the command.

CMake passes the same variables as for command_test.py, whose helpers these tests use.
"""
import json
import os
import pathlib
import random
import re
import shutil
import struct
import subprocess
import unittest
import xml.etree.ElementTree as ElementTree

import command_test as tool
from command_test import CHURN, COMMAND, LIBRARY, PROGRAMS

LIBRARIES = pathlib.Path(LIBRARY).parent
SOURCES = pathlib.Path(__file__).parents[2]
CHECKED = str(PROGRAMS / "tool_command_checked")
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE = 1, 2, 3, 4


class Elf:
    """The headers of a 64-bit ELF file, to read and to change in a copy."""

    header_fields = dict(e_phoff=(32, "Q"), e_shoff=(40, "Q"), e_ehsize=(52, "H"), e_phentsize=(54, "H"),
                         e_phnum=(56, "H"), e_shentsize=(58, "H"), e_shnum=(60, "H"), e_shstrndx=(62, "H"))
    segment_fields = dict(p_type=(0, "I"), p_flags=(4, "I"), p_offset=(8, "Q"), p_vaddr=(16, "Q"), p_paddr=(24, "Q"),
                          p_filesz=(32, "Q"), p_memsz=(40, "Q"), p_align=(48, "Q"))

    def __init__(self, path):
        self.data = bytearray(pathlib.Path(path).read_bytes())

    def get(self, field):
        offset, kind = self.header_fields[field]
        return struct.unpack_from("<" + kind, self.data, offset)[0]

    def place(self, number, field):
        offset, kind = self.segment_fields[field]
        return self.get("e_phoff") + 56 * number + offset, kind

    def segment(self, number, field):
        offset, kind = self.place(number, field)
        return struct.unpack_from("<" + kind, self.data, offset)[0]

    def set_segment(self, number, field, value):
        offset, kind = self.place(number, field)
        struct.pack_into("<" + kind, self.data, offset, value)

    def segments(self, kind):
        return [i for i in range(self.get("e_phnum")) if self.segment(i, "p_type") == kind]

    def save(self, path):
        pathlib.Path(path).write_bytes(self.data)
        pathlib.Path(path).chmod(0o755)
        return path


class Loader(tool.Case):
    """The dynamic linker is asked what it would load: only one that the command knows, whatever a file names."""

    def program(self, interpreter):
        elf = Elf(CHURN)
        number, = elf.segments(PT_INTERP)
        name = os.fsencode(interpreter) + b"\0"
        elf.set_segment(number, "p_offset", len(elf.data))
        elf.set_segment(number, "p_filesz", len(name))
        elf.data += name
        return elf.save(self.directory / "program")

    def refuses(self, interpreter, reason):
        result = self.command("doctor", "--", self.program(interpreter))
        self.assertEqual((result.returncode, result.stderr), (1, ""), result.stdout)
        self.assertIn("whether poolmalloc would be active is not known", result.stdout)
        why, = [line for line in result.stdout.splitlines() if line.startswith("  why")]
        self.assertIn(f"its dynamic linker {interpreter} {reason}", why)
        self.assertNotIn("who serves what", result.stdout)

    def real_loader(self):
        elf = Elf(CHURN)
        number, = elf.segments(PT_INTERP)
        start = elf.segment(number, "p_offset")
        return bytes(elf.data[start:start + elf.segment(number, "p_filesz") - 1]).decode()

    def test_unknown_one_is_not_run(self):
        mark = self.directory / "mark"
        script = self.directory / "script"
        script.write_text(f"#!/bin/sh\n>{mark}\n")
        script.chmod(0o755)
        self.refuses(script, "is none that this command knows")
        named = self.directory / os.path.basename(self.real_loader())
        shutil.copy(script, named)
        self.refuses(named, "is none that this command knows")
        self.refuses(f"/lib64/..{named}", "is none that this command knows")
        self.refuses(f"/nix/store/../..{named}", "")
        self.refuses("ld-linux-x86-64.so.2", "is none that this command knows")
        self.assertFalse(mark.exists())

    def test_missing_one(self):
        base = os.path.basename(self.real_loader())
        directory = next(name for name in ("/usr/lib64", "/lib64", "/lib", "/usr/lib")
                         if not os.path.exists(f"{name}/{base}"))
        self.refuses(f"{directory}/{base}", "is not there")

    def test_known_one_is_run(self):
        text = self.good("doctor", "--", self.program(self.real_loader()))
        self.assertIn("poolmalloc would be active", text)
        self.assertRegex(text, r"who serves what\n  malloc, ")


class Core(tool.Case):
    """Headers of a core file that say something else than they did: a picture or one line, and nothing read where
    nothing is. The command under test here is compiled to notice that."""

    numbers = (0, 1, 3, 55, 56, 0xffff, 0x7fffffff, 0xfffffffe, 0xffffffff, (1 << 63) - 1, 1 << 63, (1 << 64) - 4096,
               (1 << 64) - 112, (1 << 64) - 56, (1 << 64) - 1)
    variants = 400

    def core(self, *command):
        process = self.start(*command)
        subprocess.run(["gcore", "-o", self.directory / "core", str(process.pid)], check=True, capture_output=True)
        process.kill()
        return self.directory / f"core.{process.pid}"

    @staticmethod
    def places(core):
        """Where the headers are: the core's own, its notes', and those of the ELF images whose first page it keeps."""
        elf = Elf(core)
        images = [0]
        for number in elf.segments(PT_LOAD):
            start = elf.segment(number, "p_offset")
            if elf.segment(number, "p_filesz") >= 4096 and elf.data[start:start + 4] == b"\x7fELF":
                images.append(start)
        for image in images:
            for offset, kind in Elf.header_fields.values():
                yield image + offset, kind
            table, = struct.unpack_from("<Q", elf.data, image + 32)
            count, = struct.unpack_from("<H", elf.data, image + 56)
            for number in range(min(count, 12)):
                for offset, kind in Elf.segment_fields.values():
                    yield image + table + 56 * number + offset, kind
        for number in elf.segments(PT_NOTE):
            offset = elf.segment(number, "p_offset")
            end = offset + elf.segment(number, "p_filesz")
            while offset + 12 <= end:
                name, size, _ = struct.unpack_from("<III", elf.data, offset)
                description = offset + 12 + (name + 3 & ~3)
                yield from ((offset, "I"), (offset + 4, "I"), (offset + 8, "I"))
                for word in range(0, min(size, 96) - 7, 8):
                    yield description + word, "Q"
                offset = description + (size + 3 & ~3)

    def look(self, core):
        result = subprocess.run([CHECKED, "map", "--core", core], capture_output=True, text=True, timeout=120,
                                errors="replace", env=tool.environment(ASAN_OPTIONS="detect_leaks=0"))
        self.assertNotRegex(result.stderr, "Sanitizer|runtime error")
        self.assertRegex(result.stderr, r"\A(poolmalloc map: [^\n]+\n)*\Z")
        if result.returncode == 0:
            self.assertRegex(result.stdout, r"core of process \d+\): \d+ arenas? of 256 KiB")
        else:
            self.assertIn(result.returncode, (tool.BAD_CORE, tool.NOT_POOLMALLOC, tool.OTHER_VERSION), result.stderr)
            self.assertEqual(result.stdout, "")
            self.assertNotEqual(result.stderr, "")
        return result.returncode

    @unittest.skipUnless(shutil.which("gcore"), "gcore is not installed (Debian: gdb)")
    def test_damaged_headers(self):
        core = self.core(COMMAND, "run", CHURN, 1)
        self.assertEqual(self.look(core), 0)
        choices = [(place, number) for place in self.places(core) for number in self.numbers]
        outcomes = set()
        with core.open("r+b", buffering=0) as file:
            for (offset, kind), number in random.Random(21).sample(choices, self.variants):
                size = struct.calcsize(kind)
                file.seek(offset)
                saved = file.read(size)
                file.seek(offset)
                file.write((number & (1 << 8 * size) - 1).to_bytes(size, "little"))
                with self.subTest(offset=offset, kind=kind, number=hex(number)):
                    outcomes.add(self.look(core))
                file.seek(offset)
                file.write(saved)
        self.assertEqual(self.look(core), 0)
        self.assertTrue({0, tool.BAD_CORE} <= outcomes, outcomes)

    def made_core(self, files, memory):
        """A core with these files, as (start, end, path), and this memory, as {address: bytes}."""
        note = struct.pack("<QQ", len(files), 1) + b"".join(struct.pack("<QQQ", *file[:2], 0) for file in files)
        note += b"".join(os.fsencode(file[2]) + b"\0" for file in files)
        note += b"\0" * (-len(note) % 4)
        notes = struct.pack("<III8s", 5, len(note), 0x46494c45, b"CORE\0\0\0\0") + note
        offset = 64 + 56 * (1 + len(memory))
        header = self.image_header(4, 64, 1 + len(memory))
        segments = struct.pack("<IIQQQQQQ", PT_NOTE, 0, offset, 0, 0, len(notes), 0, 4)
        contents = notes
        for address, data in memory.items():
            segments += struct.pack("<IIQQQQQQ", PT_LOAD, 4, offset + len(contents), address, 0, len(data), len(data),
                                    1)
            contents += data
        core = self.directory / "core"
        core.write_bytes(header + segments + contents)
        return core

    @staticmethod
    def image_header(kind, table, count):
        return b"\x7fELF\2\1\1".ljust(16, b"\0") + struct.pack("<HHIQQQIHHHHHH", kind, 62, 1, 0, table, 0, 0, 64, 56,
                                                               count, 0, 0, 0)

    def test_file_that_is_none(self):
        """A core that names a pipe where a program should be does not keep the command waiting."""
        pipe = self.directory / "pipe"
        os.mkfifo(pipe)
        self.assertEqual(self.look(self.made_core([(0x400000, 0x500000, pipe)], {})), tool.NOT_POOLMALLOC)

    def test_image_whose_table_wraps_around(self):
        """An image is kept twice; its tables lead into the file, and the second copy's table lies before it."""
        file = self.directory / "file"
        file.write_bytes(b"something else" * 1000)
        dynamic = struct.pack("<QQQQQQQQ", 0x6ffffef5, 0x2000, 5, 0x2100, 6, 0x2200, 0, 0)
        good = self.image_header(3, 64, 2) + struct.pack("<IIQQQQQQ", PT_LOAD, 4, 0, 0, 0, 4096, 4096, 4096)
        good += struct.pack("<IIQQQQQQ", PT_DYNAMIC, 4, 0x200, 0x200, 0, len(dynamic), len(dynamic), 8)
        good = good.ljust(0x200, b"\0") + dynamic
        files = [(0x400000, 0x410000, file), (0x500000, 0x501000, file)]
        for table, count in (((1 << 64) - 56, 3), ((1 << 64) - 4096, 100), (4080, 2), (1 << 63, 1)):
            bad = self.image_header(3, table, count).ljust(4096, b"\1")
            core = self.made_core(files, {0x400000: good.ljust(4096, b"\0"), 0x500000: bad})
            self.assertEqual(self.look(core), tool.NOT_POOLMALLOC)


class Linked(tool.Case):
    """Programs that poolmalloc is linked into, without their symbols, are seen by all subcommands alike."""

    def link(self, compiler, *arguments):
        program = self.directory / "program"
        if program.exists():
            program.unlink()
        subprocess.run([compiler, "-O1", "-s", "-pthread", "-Wl,--gc-sections", SOURCES / "tests/tool/churn.c",
                        *arguments, "-o", program], check=True)
        return program

    def check(self, program):
        text = self.good("doctor", "--", program)
        self.assertRegex(text, ": poolmalloc is linked into it\n")
        process = self.start(program, 2)
        text = self.good("doctor", process.pid)
        self.assertRegex(text, ": poolmalloc is active\n")
        self.assertIn(f"  inside       {program}\n", text)
        tool.check_dump(self, json.loads(self.good("stat", "--json", process.pid)))
        self.good("map", process.pid)
        return process

    def all_ways(self, libraries, compiler):
        wrap = [f"-Wl,@{SOURCES}/src/poolmalloc_wrap.options", libraries / "libpoolmalloc_wrap.a"]
        whole = [libraries / "libpoolmalloc.a"]
        for name, arguments in (("wrap", ["-static", *wrap]), ("static", ["-static", *whole]),
                                ("static, moved about", ["-static-pie", *wrap]), ("dynamic", ["-pie", *whole]),
                                ("dynamic, in its place", ["-no-pie", *whole])):
            if "-static-pie" in arguments and compiler == "musl-gcc":
                continue  # which knows no such option, and makes a dynamic program
            with self.subTest(name):
                self.check(self.link(compiler, *arguments))


class Inside(Linked):
    """With the libraries as they were built, and what else can be seen of a program with poolmalloc in it."""

    def test_as_built(self):
        self.all_ways(LIBRARIES, "cc")

    def test_shared_library(self):
        program = self.link("cc", f"-L{LIBRARIES}", f"-Wl,-rpath,{LIBRARIES}", "-Wl,--no-as-needed", "-lpoolmalloc")
        self.assertIn("poolmalloc would be active", self.good("doctor", "--", program))
        pid = self.start(program, 1).pid
        self.assertIn("poolmalloc is active", self.good("doctor", pid))
        self.good("stat", pid)

    @unittest.skipUnless(shutil.which("gcore"), "gcore is not installed (Debian: gdb)")
    def test_core(self):
        wrap = [f"-Wl,@{SOURCES}/src/poolmalloc_wrap.options", LIBRARIES / "libpoolmalloc_wrap.a"]
        for arguments in (["-static", *wrap], ["-pie", LIBRARIES / "libpoolmalloc.a"]):
            process = self.start(self.link("cc", *arguments), 1)
            subprocess.run(["gcore", "-o", self.directory / "core", str(process.pid)], check=True, capture_output=True)
            text = self.good("map", "--core", f"{self.directory}/core.{process.pid}")
            self.assertIn(f"core of process {process.pid})", text)

    def test_own_functions_alone(self):
        """Beside the program's malloc: stat sees its heap, and doctor says that it is not what serves malloc."""
        source = self.directory / "beside.c"
        source.write_text("#include <poolmalloc.h>\n#include <stdio.h>\n#include <unistd.h>\n"
                          "int main(void) { char *block = pm_malloc(40); block[0] = 1; puts(\"ready\"); "
                          "fflush(stdout); pause(); return 0; }\n")
        for kind in ("-static", "-pie"):
            program = self.directory / "beside"
            subprocess.run(["cc", "-s", kind, f"-I{SOURCES}/include", source, LIBRARIES / "libpoolmalloc_api.a", "-o",
                            program], check=True)
            pid = self.start(program).pid
            tool.check_dump(self, json.loads(self.good("stat", "--json", pid)))
            result = self.command("doctor", pid)
            self.assertEqual((result.returncode, result.stderr), (1, ""))
            self.assertIn("poolmalloc is not active", result.stdout)
            self.assertIn(f"  inside       {program} (with its own functions alone", result.stdout)
            result = self.command("doctor", "--", program)
            self.assertEqual((result.returncode, result.stderr), (0 if kind == "-pie" else 1, ""))
            self.assertIn("own functions (pm_malloc and so on) are linked into the program", result.stdout)
            program.unlink()

    def test_library_that_is_gone(self):
        copy = self.directory / "libpoolmalloc.so"
        shutil.copy(LIBRARY, copy)
        pid = self.start(COMMAND, "run", "--library", copy, CHURN, 1).pid
        copy.unlink()
        self.assertIn("poolmalloc is active", self.good("doctor", pid))


class Builds(Linked):
    """The same with libraries that another compiler built, or this one in another way."""

    def other_build(self, compiler, flags=""):
        if not shutil.which(compiler):
            self.skipTest(f"{compiler} is not installed")
        build = self.directory / "build"
        for command in (["-S", SOURCES, "-B", build, "-G", "Ninja", f"-DCMAKE_C_COMPILER={compiler}",
                         f"-DCMAKE_C_FLAGS={flags}", "-DPOOLMALLOC_BUILD_TESTS=OFF", "-DPOOLMALLOC_BUILD_BENCH=OFF",
                         "-DPOOLMALLOC_BUILD_COMMAND=OFF"],
                        ["--build", build, "--target", "poolmalloc_static", "poolmalloc_wrap"]):
            result = subprocess.run(["cmake", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            self.assertEqual(result.returncode, 0, result.stdout)
        self.all_ways(build, compiler)

    def test_link_time_optimisation(self):
        self.other_build("gcc", "-flto -fno-fat-lto-objects")

    def test_clang(self):
        self.other_build("clang", "-ffunction-sections -fdata-sections")

    def test_musl(self):
        self.other_build("musl-gcc")


class Sanitizer(tool.Case):
    """Programs that a preloaded malloc breaks."""

    source = "#include <stdio.h>\n#include <unistd.h>\nint main(void) { puts(\"ready\"); fflush(stdout); pause(); }\n"

    def build(self, compiler, kind, *arguments):
        source = self.directory / "source.c"
        source.write_text(self.source)
        program = self.directory / f"{compiler}-{kind}{len(arguments)}"
        result = subprocess.run([compiler, f"-fsanitize={kind}", *arguments, source, "-o", program],
                                stderr=subprocess.PIPE, text=True)
        if result.returncode != 0 and compiler == "clang":
            self.skipTest("clang's sanitizers are not installed (Debian: libclang-rt-dev of its version)")
        self.assertEqual(result.returncode, 0, result.stderr)
        return program

    def refused(self, program, name):
        self.bad(tool.NOT_PRELOADABLE, f"is built with {name}", "run", program)
        self.bad(tool.NOT_PRELOADABLE, f"is built with {name}", "advise", program)
        result = self.command("doctor", "--", program)
        self.assertEqual((result.returncode, result.stderr), (1, ""))
        self.assertIn(f"  why not      it is built with {name}", result.stdout)
        result = self.command("doctor", self.start(program).pid)
        self.assertEqual((result.returncode, result.stderr), (1, ""))
        self.assertIn(f"  why not      it runs with {name}", result.stdout)

    def test_gcc(self):
        for kind, name in (("address", "AddressSanitizer"), ("thread", "ThreadSanitizer"), ("leak", "LeakSanitizer")):
            self.refused(self.build("gcc", kind), name)
        self.bad(tool.NOT_PRELOADABLE, "defines malloc itself", "run",
                 self.build("gcc", "address", "-static-libasan", "-s"))
        self.good("doctor", "--", self.build("gcc", "undefined"))  # leaves malloc alone

    @unittest.skipUnless(shutil.which("clang"), "clang is not installed")
    def test_clang(self):
        for kind, name in (("address", "AddressSanitizer"), ("thread", "ThreadSanitizer"),
                           ("memory", "MemorySanitizer")):
            self.refused(self.build("clang", kind, "-s"), name)

    def test_library(self):
        """The program itself has nothing of it, but a library that it needs does."""
        library = self.directory / "libsanitized.so"
        source = self.directory / "library.c"
        source.write_text("int sanitized(int *p) { return *p; }\n")
        subprocess.run(["gcc", "-fsanitize=address", "-shared", "-fPIC", source, "-o", library], check=True)
        program = self.directory / "program"
        (self.directory / "program.c").write_text("int main(void) { return 0; }\n")
        subprocess.run(["gcc", f"{program}.c", "-Wl,--no-as-needed", library, "-o", program], check=True)
        result = self.command("doctor", "--", program)
        self.assertEqual((result.returncode, result.stderr), (1, ""))
        self.assertIn("  why not      AddressSanitizer is loaded with it", result.stdout)


class Proc(tool.Case):
    """Without /proc, or with one that does not show the process, that is said, and not that it has ended."""

    def inside(self, setup, *arguments, namespaces=("--mount",), **options):
        """Runs the command in namespaces of its own, after a shell's `setup`."""
        own = [] if os.getuid() == 0 else ["--map-root-user"]
        result = subprocess.run(["unshare", *own, *namespaces, "true"], capture_output=True, text=True)
        if result.returncode != 0:
            self.skipTest("no namespaces here: " + result.stderr.strip())
        script = f'{setup} || {{ echo no setup >&2; exit 99; }}; exec "$@"'
        result = subprocess.run(["unshare", *own, *namespaces, "sh", "-c", script, "sh", COMMAND,
                                 *map(str, arguments)], capture_output=True, text=True, env=tool.environment(),
                                **options)
        if result.returncode == 99:
            self.skipTest("nothing can be mounted here: " + result.stderr.strip())
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        return result.returncode, result.stderr

    def test_no_proc(self):
        pid = self.start_churn(1).pid
        for subcommand in ("stat", "map", "doctor"):
            self.assertEqual(self.inside("mount -t tmpfs none /proc", subcommand, pid),
                             (tool.NO_PERMISSION, f"poolmalloc {subcommand}: cannot look into process {pid}: "
                              "/proc is not mounted here\n"))
            self.assertEqual(self.inside("mount -t tmpfs none /proc", subcommand, 4194304),
                             (tool.NO_PROCESS, f"poolmalloc {subcommand}: there is no process 4194304\n"))

    def test_program_without_proc(self):
        self.assertEqual(self.inside("mount -t tmpfs none /proc", "run", "/no/such/program"),
                         (tool.NOT_FOUND, "poolmalloc run: /no/such/program: there is no such program\n"))

    def test_other_namespace(self):
        """The command's own number is 1 or so there, and /proc counts differently."""
        status, error = self.inside("true", "stat", 1, namespaces=("--mount", "--pid", "--fork"))
        self.assertEqual(status, tool.NO_PERMISSION)
        self.assertIn("/proc shows the processes of another PID namespace", error)

    @unittest.skipIf(os.getuid() != 0, "needs two users")
    def test_hidden(self):
        pid = self.start_churn(1).pid
        status, error = self.inside("mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid 65534 --regid 65534 "
                                    '--clear-groups "$@"', "stat", pid)
        self.assertEqual(status, tool.NO_PERMISSION)
        self.assertIn("/proc hides it", error)


class Bypass(tool.Case):
    """Libraries that use another malloc although poolmalloc is active."""

    def compile(self, name, text, *arguments):
        source = self.directory / (name + ".c")
        source.write_text(text)
        subprocess.run(["cc", "-O0", source, *arguments, "-o", self.directory / name], check=True)
        return self.directory / name

    def programs(self, call, *arguments):
        """A program that opens a library with that call, and the library."""
        library = self.compile("libplugin.so", "#include <stdlib.h>\nvoid *make(void) { return malloc(40); }\n"
                               "void drop(void *block) { free(block); }\n", "-shared", "-fPIC")
        return library, self.compile(
            "opener", "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <stdio.h>\n"
            "#include <stdlib.h>\n#include <unistd.h>\n"
            f"int main(void) {{ free(malloc(40)); if (!{call.format(library=json.dumps(str(library)))}) return 1; "
            'puts("ready"); fflush(stdout); pause(); return 0; }\n', *arguments)

    def test_deep_binding(self):
        for flag, bypasses in (("RTLD_DEEPBIND", True), ("0", False)):
            library, program = self.programs(f"dlopen({{library}}, RTLD_NOW | {flag})", LIBRARIES / "libpoolmalloc.a")
            text = self.good("doctor", self.start(program).pid)
            self.assertIn("poolmalloc is active", text)
            self.assertEqual("what bypasses poolmalloc" in text, bypasses, text)
            if bypasses:
                self.assertRegex(text, rf"  {library} calls malloc, free\n      of \S*libc\S*: opened with RTLD_DEEP")
            self.assertIn("it imports dlopen", self.good("doctor", "--", program))

    def test_namespace(self):
        library, program = self.programs("dlmopen(LM_ID_NEWLM, {library}, RTLD_NOW)")
        text = self.good("doctor", self.start(COMMAND, "run", program).pid)
        self.assertRegex(text, r"what bypasses poolmalloc\n  \S*libc\S*, loaded apart\n +for libraries in a namespace")
        self.assertIn("it imports dlmopen", self.good("doctor", "--", program))

    def test_symbolic(self):
        library = self.compile("libown.so", "#include <stddef.h>\nvoid *malloc(size_t size) { return NULL; }\n"
                               "void free(void *block) { }\nvoid *make(void) { return malloc(40); }\n"
                               "void drop(void *block) { free(block); }\n",
                               "-shared", "-fPIC", "-fno-builtin", "-Wl,-Bsymbolic")
        plain = "int main(void) { return 0; }\n"
        # The first malloc behind poolmalloc is its system allocator; this one comes after another.
        other = self.compile("libother.so", "#include <stddef.h>\nvoid *malloc(size_t size) { return NULL; }\n",
                             "-shared", "-fPIC", "-fno-builtin")
        program = self.compile("program", plain, "-Wl,--no-as-needed", other, library)
        text = self.good("doctor", "--", program)
        self.assertRegex(text, rf"what bypasses poolmalloc\n  {library}\n      is linked with -Bsymbolic")

    def test_nothing(self):
        linked = self.compile("linked", "#include <stdlib.h>\nint main(void) { free(malloc(40)); return 0; }\n",
                              LIBRARIES / "libpoolmalloc.a")
        self.assertNotIn("bypasses", self.good("doctor", "--", linked))
        for arguments in (("--", tool.PYTHON), (self.start_churn(1).pid,)):
            self.assertNotIn("bypasses", self.good("doctor", *arguments))


class Limits(tool.Case):
    """What the limits of the system mean for a process whose heap can be read."""

    def test_mappings(self):
        pid = self.start_churn(1).pid
        text = self.good("doctor", pid)
        found = re.search(r"\n  mappings +(\d+) of (\d+) +(\d+) are the pools'\n", text)
        count, most, pools = map(int, found.groups())
        self.assertEqual(most, int(pathlib.Path("/proc/sys/vm/max_map_count").read_text()))
        region = json.loads(self.good("stat", "--json", pid))["region"]["reserved_bytes"]
        ranges = [[int(part, 16) for part in line.split()[0].split("-")]
                  for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()]
        self.assertLessEqual(abs(count - len(ranges)), 8)  # its threads have heaps of libc's that come and go
        # The pools' are as many neighbours as make up the region.
        runs = [ranges[i:i + pools] for i in range(len(ranges) - pools + 1)]
        self.assertTrue(any(run[-1][1] - run[0][0] == region for run in runs), (pools, region))
        self.assertNotIn("pools'", self.command("doctor", self.start(CHURN, 1).pid).stdout)

    def test_huge_pages(self):
        setting = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
        if not setting.exists() or "[never]" in setting.read_text():
            self.skipTest("the kernel has no huge pages to give")
        def line(pid):
            return re.search(r"\n  huge pages +\w+ +(.*)\n", self.good("doctor", pid))[1]
        self.assertIn("24 MiB in pools ask for them", line(self.start_churn(1).pid))
        switched_off = self.start(COMMAND, "run", CHURN, 1, env=tool.environment(POOLMALLOC_HUGE_PAGES="0"))
        self.assertIn("POOLMALLOC_HUGE_PAGES is 0: the pools use small pages", line(switched_off.pid))


class Text(tool.Case):
    """What a process says of itself reaches no terminal as it is, and no JSON or SVG."""

    name = "\x1b[2Jx<&\"\x9b\n"

    def start_named(self, library=LIBRARY):
        code = ("import time; x = [bytes(200) for _ in range(1000)]; "
                f"open('/proc/self/comm', 'wb').write({self.name.encode('latin-1')!r}); "
                "print('ready', flush=True); time.sleep(300)")
        return self.start(COMMAND, "run", "--library", library, tool.PYTHON, "-c", code,
                          env=tool.environment(PYTHONMALLOC="malloc")).pid

    def check(self, text):
        self.assertFalse([character for character in text if not character.isprintable() and character != "\n"], text)

    def test_name(self):
        pid = self.start_named()
        for locale in ("C", "C.UTF-8"):
            variables = tool.environment(LC_ALL=locale)
            for arguments in (("doctor", pid), ("stat", pid), ("map", pid), ("map", "-o", "-", pid)):
                text = self.good(*arguments, env=variables)
                self.check(text)
                if arguments[0] != "stat":
                    self.assertIn("?[2Jx", text)
        ElementTree.fromstring(text)
        screen = subprocess.run(["script", "-qc", f"{COMMAND} stat --watch 0.1 --count 1 {pid}", "/dev/null"],
                                capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
                                env=tool.environment(TERM="xterm"), timeout=60).stdout
        self.assertIn("(?[2Jx", screen)

    def test_version(self):
        library = self.directory / "libpoolmalloc.so"
        data = bytearray(pathlib.Path(LIBRARY).read_bytes())
        start = re.search(rb"pmroot\n\0.{16}(?=\d+\.\d)", data, re.DOTALL).end()
        data[start:start + 16] = b'\x1b[2J"\\\x9b\n'.ljust(16, b"x")
        library.write_bytes(data)
        pid = self.start_named(library)
        self.check(self.good("stat", pid))
        self.assertEqual(json.loads(self.good("stat", "--json", pid))["version"], "?[2J????xxxxxxx")
        data[start - 16:start - 12] = b"\xff\xff\xff\xff"  # another layout
        library.unlink()
        library.write_bytes(data)
        for subcommand in ("stat", "map"):
            result = self.command(subcommand, self.start_named(library))
            self.assertEqual((result.returncode, result.stdout), (tool.OTHER_VERSION, ""))
            self.check(result.stderr)
            self.assertIn(r"?[2J????xxxxxxx", result.stderr)

    def test_path(self):
        library = self.directory / "libpoolmalloc\x1b[2J.so"
        shutil.copy(LIBRARY, library)
        text = self.good("doctor", self.start_named(library))
        self.check(text)
        self.assertIn("libpoolmalloc?[2J.so", text)


if __name__ == "__main__":
    unittest.main()
