#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of what poolmalloc doctor sees, and of files and processes that were made to mislead the command.

CMake passes the same variables as for command_test.py, whose helpers these tests use.
"""
import os
import pathlib
import shutil
import struct
import unittest

import command_test as tool
from command_test import CHURN, COMMAND, LIBRARY, PROGRAMS

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


if __name__ == "__main__":
    unittest.main()
