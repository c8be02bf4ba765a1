#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of the command poolmalloc, as a user runs it. Every bad input gives its own exit status and one line on stderr.

CMake passes where things are in TOOL_COMMAND, TOOL_LIBRARY, TOOL_PROGRAMS, and how often to look in TOOL_ROUNDS.
"""
import codecs
import fcntl
import json
import os
import pathlib
import pty
import re
import resource
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import time
import unittest
import xml.etree.ElementTree as ElementTree

COMMAND = os.environ["TOOL_COMMAND"]
LIBRARY = os.environ["TOOL_LIBRARY"]
PROGRAMS = pathlib.Path(os.environ["TOOL_PROGRAMS"])
ROUNDS = int(os.environ["TOOL_ROUNDS"])
CHURN = str(PROGRAMS / "tool_churn")
PYTHON = "/usr/bin/python3"

NO_PROCESS, NO_PERMISSION, NOT_POOLMALLOC, OTHER_VERSION, BAD_CORE = 112, 113, 114, 115, 116
NOT_PRELOADABLE, NO_LIBRARY, NO_OUTPUT, NO_RESULT, USAGE, NOT_EXECUTABLE, NOT_FOUND = 117, 118, 119, 120, 125, 126, 127
NOBODY = 65534


def environment(**more):
    names = {name: value for name, value in os.environ.items() if not name.startswith("POOLMALLOC_")}
    names.pop("LD_PRELOAD", None)
    return {**names, **more}


class Case(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.directory.chmod(0o755)

    def command(self, *arguments, **options):
        options.setdefault("env", environment())
        return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, **options)

    def good(self, *arguments, **options):
        result = self.command(*arguments, **options)
        self.assertEqual((result.returncode, result.stderr), (0, ""), result.stdout)
        return result.stdout

    def bad(self, status, pattern, *arguments, **options):
        result = self.command(*arguments, **options)
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        self.assertRegex(result.stderr, "^poolmalloc" + (f" {arguments[0]}: " if arguments[:1] and
                         arguments[0] in ("run", "stat", "map", "advise", "doctor") else ": "))
        self.assertRegex(result.stderr, pattern)

    def start(self, *command, ready=True, **options):
        options.setdefault("env", environment())
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, **options)
        self.addCleanup(self.stop, process)
        if ready:
            self.assertEqual(process.stdout.readline(), "ready\n")
        return process

    @staticmethod
    def stop(process):
        process.kill()
        process.wait()
        process.stdout.close()

    def start_churn(self, threads=4, *options):
        return self.start(COMMAND, "run", *options, "--", CHURN, threads)

    def terminal(self, columns, rows, *arguments, **variables):
        """The command on a terminal of that size."""
        terminal = Terminal(columns, rows, arguments, variables)
        self.addCleanup(terminal.close)
        return terminal


class Terminal:
    """A terminal with what the command needs of one: the other screen, lines that wrap and scroll, sequences that move,
    erase, and colour. What it does not know is an error."""

    def __init__(self, columns, rows, arguments, variables):
        self.master, self.slave = pty.openpty()
        self.rows, self.scrolled, self.wrapping, self.other = [], 0, True, False
        self.decoder, self.rest = codecs.getincrementaldecoder("utf-8")(), ""
        self.resize(columns, rows)
        shown = environment(**{"TERM": "xterm", "LC_ALL": "C.UTF-8", **variables})
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            if name not in variables:
                shown.pop(name, None)
        self.mode = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            [COMMAND, *map(str, arguments)], stdin=self.slave, stdout=self.slave, stderr=self.slave, env=shown,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def resize(self, columns, rows):
        self.columns, self.height = columns, rows
        self.clear()
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def clear(self):
        self.rows, self.row, self.column = [""] * self.height, 0, 0

    def type(self, keys):
        os.write(self.master, keys)

    def text(self):
        return "\n".join(row.rstrip() for row in self.rows).rstrip("\n")

    def wait(self, condition):
        """Reads until the condition holds; fails when it does not come to hold."""
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end, self.text()
            if select.select([self.master], [], [], 0.05)[0]:
                self.take(self.decoder.decode(os.read(self.master, 65536)))

    def ended(self):
        """Has ended, and all it wrote has been read."""
        return self.process.poll() is not None and not select.select([self.master], [], [], 0.1)[0]

    def newline(self):
        self.row += 1
        if self.row == self.height:
            self.scrolled += self.other
            self.rows = self.rows[1:] + [""]
            self.row -= 1

    def put(self, character):
        if self.column == self.columns:
            if not self.wrapping:
                self.column -= 1
            else:
                self.column = 0
                self.newline()
        row = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = row[:self.column] + character + row[self.column + 1:]
        self.column += 1

    def take(self, text):
        text = self.rest + text
        self.rest = ""
        while text:
            sequence = re.match(r"\x1b\[(\??)([0-9;]*)([a-zA-Z])", text)
            if text[0] == "\x1b" and not sequence:
                self.rest = text
                return
            if sequence:
                self.obey(*sequence.groups())
            elif text[0] == "\r":
                self.column = 0
            elif text[0] == "\n":
                self.newline()
            else:
                self.put(text[0])
            text = text[sequence.end() if sequence else 1:]

    def obey(self, private, numbers, letter):
        if private and numbers == "7":
            self.wrapping = letter == "h"
        elif private and numbers == "1049":
            self.other = letter == "h"
            self.clear()
        elif letter == "H":
            self.row, self.column = 0, 0
        elif letter in "JK":
            if numbers == "2":
                self.rows = [""] * self.height
            else:
                self.rows[self.row] = self.rows[self.row][:min(self.column, self.columns - 1)]
                if letter == "J":
                    self.rows[self.row + 1:] = [""] * (self.height - self.row - 1)
        elif letter != "m" and not (private and numbers == "25"):
            raise AssertionError(f"unknown sequence {private}{numbers}{letter}")


class Frame(Case):
    def test_usage(self):
        self.bad(USAGE, "name a subcommand")
        self.bad(USAGE, "no subcommand bogus", "bogus")
        self.bad(USAGE, "no option --bogus", "--bogus")
        for subcommand in ("run", "stat", "map", "advise", "doctor"):
            self.bad(USAGE, "no option --bogus", subcommand, "--bogus")
            self.bad(USAGE, "no option -x", subcommand, "-x")
            if subcommand != "doctor":
                self.bad(USAGE, ": ", subcommand)

    def test_help(self):
        table = self.good("--help")
        for status in (NO_PROCESS, NO_PERMISSION, NOT_POOLMALLOC, OTHER_VERSION, BAD_CORE, NOT_PRELOADABLE, NO_LIBRARY,
                       NO_OUTPUT, NO_RESULT, USAGE, NOT_EXECUTABLE, NOT_FOUND):
            self.assertRegex(table, rf"\n +{status}  \w")
        for subcommand in ("run", "stat", "map", "advise", "doctor"):
            text = self.good(subcommand, "--help")
            self.assertTrue(text.startswith(f"usage: poolmalloc {subcommand} "))
            self.assertEqual(text, self.good("help", subcommand))
            self.assertLessEqual(max(map(len, text.splitlines())), 120)
        self.assertRegex(self.good("--version"), r"^poolmalloc \d+\.\d+\.\d+\n$")

    def test_short_options_that_all_have(self):
        version = self.good("--version")
        self.assertEqual(self.good("-V"), version)
        self.assertEqual(self.good("-h"), self.good("--help"))
        for subcommand in ("run", "stat", "map", "advise", "doctor"):
            text = self.good(subcommand, "--help")
            self.assertEqual(self.good(subcommand, "-h"), text)
            for option in ("-V", "--version"):
                self.assertEqual(self.good(subcommand, option), version)
        self.assertEqual(self.good("stat", "--watch", "1", "-h"), self.good("stat", "--help"))
        self.assertEqual(self.good("run", "echo", "-h"), "-h\n")  # the program's
        self.bad(USAGE, "no option --version", "stat", "--version=1")

    def test_values(self):
        self.bad(USAGE, "--alignment cannot be '7'", "run", "--alignment", "7", "true")
        self.bad(USAGE, "--stats cannot be 'xml'", "run", "--stats=xml", "true")
        self.bad(USAGE, "--region takes", "run", "--region", "lots", "true")
        self.bad(USAGE, "--alignment needs a value", "run", "--alignment")
        self.bad(USAGE, "--check takes no value", "run", "--check=1", "true")
        self.bad(USAGE, "--preload-only is", "run", "--preload-only", "--stats", "true")
        self.bad(USAGE, "PID takes a number", "stat", "12x")
        self.bad(USAGE, "PID takes a number", "stat", "0")
        self.bad(USAGE, "--watch takes seconds", "stat", "--watch", "0", "1")
        self.bad(USAGE, "--watch takes seconds", "stat", "--watch", "nan", "1")
        self.bad(USAGE, "--count goes with --watch", "stat", "--count", "2", "1")
        self.bad(USAGE, "ends in .svg", "map", "-o", "heap.png", "1")
        self.bad(USAGE, "either one PID or --core", "map", "--core", "file", "1")
        self.bad(USAGE, "--runs takes a number", "advise", "--runs", "100", "true")

    def test_output_that_cannot_be_written(self):
        for arguments in (["--help"], ["doctor"]):
            with open("/dev/full", "w") as full:
                result = subprocess.run([COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True)
            self.assertEqual(result.returncode, NO_OUTPUT, result.stderr)


class Run(Case):
    def test_status_and_signals_are_the_programs(self):
        self.assertEqual(self.command("run", "sh", "-c", "exit 7").returncode, 7)
        self.assertEqual(self.command("run", "--", "sh", "-c", "kill -TERM $$").returncode, -signal.SIGTERM)
        process = self.start_churn(1)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(30), 0)

    def test_library_is_active(self):
        maps = self.good("run", "cat", "/proc/self/maps")
        self.assertIn(LIBRARY, maps)
        result = self.command("run", "--stats", PYTHON, "-c", "pass")
        self.assertRegex(result.stderr, "^poolmalloc .* statistics of process")
        result = self.command("run", "--stats=json", PYTHON, "-c", "pass")
        self.assertTrue(json.loads(result.stderr)["classes"])

    def test_options_reach_the_library(self):
        name = self.directory / "stats.%p"
        self.good("run", "--stats=json", "--stats-file", name, "--alignment", "8", "--region", "64M",
                  PYTHON, "-c", "pass")
        files = list(self.directory.iterdir())
        self.assertEqual(len(files), 1)
        stats = json.loads(files[0].read_text())
        self.assertEqual((stats["alignment"], stats["region"]["reserved_bytes"]), (8, 64 << 20))

    def test_preload_only(self):
        show = [PYTHON, "-c", "import os; print([n for n in os.environ if n.startswith('POOLMALLOC')])"]
        dirty = environment(POOLMALLOC_ALIGNMENT="8", POOLMALLOC_STATS="1")
        self.assertEqual(self.good("run", "--preload-only", *show, env=dirty), "[]\n")

    def test_other_preloads_stay(self):
        show = ["sh", "-c", "echo $LD_PRELOAD"]
        other = str(PROGRAMS / "libtool_other_version.so")
        earlier = self.directory / "libpoolmalloc.so"
        shutil.copy(LIBRARY, earlier)
        seen = self.good("run", *show, env=environment(LD_PRELOAD=f"{earlier}:{other}"))
        self.assertEqual(seen.splitlines()[-1], f"{LIBRARY}:{other}")

    def test_what_cannot_be_preloaded(self):
        self.bad(NOT_PRELOADABLE, "statically linked", "run", PROGRAMS / "tool_plain_static", "1")
        self.bad(NOT_PRELOADABLE, "defines malloc itself", "run", PROGRAMS / "tool_own_malloc")
        self.assertEqual(self.command("run", "--force", PROGRAMS / "tool_own_malloc").returncode, 5)

    @unittest.skipIf(os.getuid() != 0, "only root can make a setuid program for another user")
    def test_setuid(self):
        program = self.directory / "setuid"
        shutil.copy("/bin/true", program)
        program.chmod(0o4755)
        self.bad(NOT_PRELOADABLE, "setuid", "run", program, user=NOBODY, group=NOBODY, extra_groups=[])
        result = self.command("doctor", "--", program, user=NOBODY, group=NOBODY, extra_groups=[])
        self.assertEqual(result.returncode, 1)
        self.assertIn("is setuid", result.stdout)
        self.good("run", program)  # for root itself nothing changes

    def test_what_cannot_be_run(self):
        self.bad(NOT_FOUND, "no such program", "run", "no-such-program-anywhere")
        self.bad(NOT_FOUND, "no such program", "run", "/no/such/program")
        self.bad(NOT_EXECUTABLE, "directory", "run", "/tmp")
        self.bad(NOT_EXECUTABLE, "Permission denied", "run", "/etc/passwd")
        text = self.directory / "text"
        text.write_text("#!/no/such/interpreter\n")
        text.chmod(0o755)
        self.bad(NOT_EXECUTABLE, "interpreter", "run", text)

    def test_library(self):
        self.bad(NO_LIBRARY, "there is no library", "run", "--library", "/no/lib.so", "true")
        self.bad(NO_LIBRARY, "not a shared library", "run", "--library", "/etc/passwd", "true")
        self.bad(NO_LIBRARY, "is not poolmalloc", "run", "--library", PROGRAMS / "libtool_other_version.so", "true")
        odd = self.directory / "with blank.so"
        shutil.copy(LIBRARY, odd)
        self.bad(NO_LIBRARY, "blank", "run", "--library", odd, "true")

    def test_scripts(self):
        script = self.directory / "script"
        script.write_text("#!/usr/bin/env sh\nexit 9\n")
        script.chmod(0o755)
        self.assertEqual(self.command("run", script).returncode, 9)
        script.write_text(f"#!{PROGRAMS / 'tool_plain_static'}\n")
        self.bad(NOT_PRELOADABLE, "statically linked", "run", script)


class Doctor(Case):
    def test_program(self):
        text = self.good("doctor", "--", PYTHON)
        self.assertIn("poolmalloc would be active", text)
        self.assertRegex(text, rf"malloc, calloc, realloc, free,[^/]*\n +{re.escape(LIBRARY)}")
        self.assertRegex(text, r"behind poolmalloc.*\n.*libc")
        self.assertIn("PYTHONMALLOC", text)
        self.assertIn("address space", text)

    def test_program_that_cannot(self):
        for program, reason in (("tool_plain_static", "statically linked"),
                                ("tool_own_malloc", "defines malloc itself")):
            result = self.command("doctor", "--", PROGRAMS / program)
            self.assertEqual((result.returncode, result.stderr), (1, ""))
            self.assertIn(reason, result.stdout)
        self.assertIn("is linked into it", self.good("doctor", "--", PROGRAMS / "tool_churn_static"))

    def test_process(self):
        self.assertIn("poolmalloc is active", self.good("doctor", self.start_churn(1).pid))
        self.assertIn("poolmalloc is active", self.good("doctor", self.start(PROGRAMS / "tool_churn_static", 1).pid))
        for command, reason in (((CHURN, 1), "LD_PRELOAD is not in its environment"),
                                ((PROGRAMS / "tool_plain_static", 1), "statically linked")):
            result = self.command("doctor", self.start(*command).pid)
            self.assertEqual((result.returncode, result.stderr), (1, ""))
            self.assertIn("poolmalloc is not active", result.stdout)
            self.assertIn(reason, result.stdout)

    def test_dropped_variable(self):
        script = f"env -u LD_PRELOAD {CHURN} 1 & echo $! >{self.directory}/pid; wait"
        process = self.start(COMMAND, "run", "sh", "-c", script)
        pid = int((self.directory / "pid").read_text())
        self.addCleanup(os.kill, pid, signal.SIGTERM)
        result = self.command("doctor", pid)
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stdout,
                         rf"LD_PRELOAD names poolmalloc in process {process.pid} .*\n.*wrapper has dropped")

    def test_bad(self):
        self.bad(NO_PROCESS, "there is no process", "doctor", "4194304")
        self.bad(NOT_FOUND, "no such program", "doctor", "--", "no-such-program-anywhere")

    def test_limits(self):
        text = self.good("doctor", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30)))
        self.assertRegex(text, r"address space +8388608 KiB")


class Advise(Case):
    def test_program(self):
        text = self.good("advise", "--runs", "1", "--", PYTHON, "-c", "x = [bytes(100) for _ in range(300000)]",
                         env=environment(PYTHONMALLOC="malloc"))
        self.assertRegex(text, r"up to 512 B +6\d\d k, 9\d\.\d% of the requests")
        self.assertRegex(text, r"\n +129 to 256 +3\d\d k ")  # 100 bytes and the object's 33
        self.assertRegex(text, r"half of them")
        self.assertRegex(text, r"time +\d")
        # One run shows no spread, so there is no verdict, unless nothing could be measured at all.
        self.assertRegex(text, r"\n\n(No verdict: one run .*at least 3|No advice: the program runs for)[^$]*\Z")

    def advice(self, *pairs, program="cc1", others=0):
        """What it says of pairs of runs: seconds on the system's malloc and on poolmalloc, and MiB."""
        result = subprocess.run([PROGRAMS / "tool_advice", program, str(others),
                                 *(":".join(map(str, (*pair, 100, 100)[:4])) for pair in pairs)],
                                env=environment(COLUMNS="1000"), capture_output=True, text=True, check=True)
        return result.stdout.strip()

    def test_no_verdict_without_a_spread(self):
        for pairs in ([(10, 8.7)], [(10, 8.7), (10, 8.9)]):
            self.assertRegex(self.advice(*pairs), "^No verdict: (one run|two runs) .* at least 3 ")
        self.assertRegex(self.advice(*[(10, 8.7), (10, 8.9), (10, 8.8)]),
                         r"^Use it: 90% of its .* 0\.88 .* \(0\.87 to 0\.89 in 3 pairs of runs\) and 1\.00 of ")

    def test_no_verdict_when_the_ratios_overlap(self):
        self.assertRegex(self.advice((10, 8.7), (10, 10.6), (10, 9.5)),
                         r"^No verdict: in 3 pairs .* 0\.87 to 1\.06 .*; about \d+ runs .* tell \(--runs \d+\)")
        # All on one side, but by chance once in four times.
        self.assertRegex(self.advice((10, 8), (10, 9.9), (10, 9.8)), "^No verdict: ")
        self.assertRegex(self.advice((10, 3), (10, 30), (10, 10)), "^No verdict: .*not even 99 runs")
        # As many as it asked for, of the same spread, do tell.
        pairs = [(10, 8.5), (10, 9.8), (10, 9.1), (10, 10.1)]
        needed = int(re.search(r"--runs (\d+)", self.advice(*pairs))[1])
        self.assertRegex(self.advice(*(pairs * needed)[:max(needed, 8)]), "^Use it: ")

    def test_what_pairs_have_in_common_is_not_their_spread(self):
        # The machine got slower by half from run to run; within each pair poolmalloc was a tenth faster.
        self.assertRegex(self.advice((10, 9), (15, 13.6), (22, 19.7)), r"^Use it: .* 0\.90 .*\(0\.90 to 0\.91 ")

    def test_verdicts(self):
        self.assertRegex(self.advice((10, 12), (10, 12.2), (10, 12.1)), "^Do not use it: it takes 1.21 ")
        self.assertRegex(self.advice((10, 10), (10, 10.1), (10, 9.9)), "^No reason .*no difference in time ")
        self.assertRegex(self.advice((10, 8, 100, 130), (10, 8, 100, 130), (10, 8.1, 100, 130)), "^Use it where time ")
        self.assertRegex(self.advice((10, 10, 100, 70), (10, 10.1, 100, 70), (10, 9.9, 100, 72)),
                         "^Use it for the memory: it takes 0.71 .* same time")
        self.assertRegex(self.advice((10, 8, 100, 70), (10, 13, 100, 70), (10, 10, 100, 72)),
                         "^Use it for the memory: .* cannot tell")
        self.assertRegex(self.advice((200, 150), (200, 250), (200, 200)), "^No reason .* it allocates so little")
        self.assertRegex(self.advice((0.01, 0.005)), "^No advice: ")
        self.assertRegex(self.advice(), "^Worth measuring: ")
        self.assertRegex(self.advice((10, 8), (10, 8), (10, 8), others=3),
                         "90% of cc1's requests .* the command takes 0.80")
        for variable, hint in ((None, True), ("malloc", False)):
            os.environ.pop("PYTHONMALLOC", None)
            if variable:
                os.environ["PYTHONMALLOC"] = variable
                self.addCleanup(os.environ.pop, "PYTHONMALLOC", None)
            self.assertEqual("PYTHONMALLOC=malloc" in self.advice((10, 8), program="python3.11"), hint)

    def test_program_behind_a_launcher(self):
        script = self.directory / "python3"
        script.write_text("#!/bin/bash\nfor i in {1..10}; do\n"
                          "  words=$(for j in {1..300}; do echo word$j; done)\n"
                          f"  : $(echo ${{#words}} $(basename $0))\ndone\nexec {PYTHON} \"$@\"\n")
        script.chmod(0o755)
        # Its small objects are Python's own, so that the shell makes more requests.
        text = self.good("advise", "--runs", "1", "--", script, "-c", "x = [str(i) for i in range(300000)]",
                         env=environment(PYTHONMALLOC=""))
        found = re.search(r"^Recorded: (\d+) processes; python3 \(process \d+\) allocates most\n", text)
        self.assertTrue(found, text)
        self.assertGreater(int(found[1]), 20)
        self.assertRegex(text, r"\n  bash +\d+ processes ")
        self.assertIn("\nOf python3 alone:\n", text)
        self.assertRegex(text, r"\nPython's own pools served [^$]* PYTHONMALLOC=malloc in the\s")

    def test_counts_are_exact(self):
        base = self.records("x = 1")
        more = self.records("import ctypes; m = ctypes.CDLL(None).malloc; [m(777) for _ in range(5000)]")
        self.assertGreaterEqual(more - base, 5000)
        self.assertLess(more - base, 5500)

    def records(self, code):
        text = self.good("advise", "--runs", "0", "--", PYTHON, "-c", code)
        found = re.search(r"513 to 1023 +([\d.]+)( k)?", text)
        return float(found[1]) * (1000 if found[2] else 1)

    def test_threads(self):
        for threads, low, high in (("1", 0, 0), ("4", 2, 80)):  # at most three quarters; less when they run one by one
            text = self.good("advise", "--for", "1", CHURN, threads)
            share = float(re.search(r"([\d.]+)% of the frees come from another thread", text)[1])
            self.assertTrue(low <= share <= high, text)

    def test_children_are_counted(self):
        text = self.good("advise", "--runs", "0", "sh", "-c", f"{PYTHON} -c 'x = 1'; {PYTHON} -c 'x = 1'")
        self.assertRegex(text, r"Recorded: 3 processes; python3 \(process \d+\) allocates most\n"
                               r"  python3 +2 processes .*\n  sh +1 process ")

    def test_process_that_becomes_another_program(self):
        text = self.good("advise", "--runs", "0", "sh", "-c", f"exec {PYTHON} -c 'x = 1'")
        self.assertRegex(text, r"Recorded: 1 process; python3 \(process \d+\) allocates most\n"
                               r"  python3 +1 process .*\n  sh +1 process .*\n\nOf python3 alone:\n")

    def test_bad(self):
        self.bad(NOT_PRELOADABLE, "statically linked", "advise", PROGRAMS / "tool_plain_static", "1")
        self.bad(NOT_FOUND, "no such program", "advise", "no-such-program-anywhere")
        self.bad(NO_RESULT, "killed by signal 11", "advise", "sh", "-c", "kill -SEGV $$")
        self.bad(NO_OUTPUT, "cannot make a directory", "advise", "true", env=environment(TMPDIR="/no/such"))


def check_dump(test, stats):
    """No impossible number: rows add up, and a pool is counted once."""
    arenas = stats["arenas"]
    test.assertEqual(len({arena["address"] for arena in arenas}), len(arenas))
    for row in stats["classes"]:
        blocks = row["blocks_in_use"] + row["blocks_in_magazines"] + row["blocks_free"]
        test.assertEqual(blocks, row["pools"] * row["pool_blocks"], row)
        for name in ("blocks_in_use", "blocks_in_magazines", "blocks_free"):
            test.assertGreaterEqual(row[name], 0)
    for arena in arenas:
        test.assertEqual(sum(arena[name] for name in arena if name.startswith("pools_")), 64, arena)
    test.assertEqual(sum(row["pools"] for row in stats["classes"]), sum(arena["pools_used"] for arena in arenas))
    live_bytes = sum(row["blocks_in_use"] * row["block_bytes"] for row in stats["classes"])
    test.assertEqual(live_bytes, stats["totals"]["live_bytes"])
    test.assertEqual(sum(part["bytes"] for part in stats["resident"]["parts"]), stats["resident"]["bytes"])


class Stat(Case):
    def test_text_and_json(self):
        pid = self.start_churn().pid
        text = self.good("stat", pid)
        self.assertRegex(text, rf"^poolmalloc \S+ statistics of process {pid}\n")
        self.assertLessEqual(max(map(len, text.splitlines())), 100)
        stats = json.loads(self.good("stat", "--json", pid))
        self.assertEqual(stats["pid"], pid)
        check_dump(self, stats)
        while len(stats["heaps"]) < 5:  # the last thread may still be about to start
            stats = json.loads(self.good("stat", "--json", pid))
        self.assertEqual(len(stats["heaps"]), 5)

    def test_same_as_from_inside(self):
        code = "import sys; x = [bytes(50) for _ in range(20000)]; print('ready', flush=True); sys.stdin.read()"
        process = self.start(COMMAND, "run", "--stats=json", "--stats-file", self.directory / "inside",
                             PYTHON, "-c", code, env=environment(PYTHONMALLOC="malloc"), stdin=subprocess.PIPE)
        outside = {row["block_bytes"]: row for row in json.loads(self.good("stat", "--json", process.pid))["classes"]}
        self.assertGreaterEqual(outside[96]["blocks_in_use"], 20000)  # 50 bytes and the object's 33
        process.stdin.close()
        self.assertEqual(process.wait(30), 0)
        inside = json.loads((self.directory / "inside").read_text())
        self.assertLessEqual(outside[96]["blocks_refilled"], {row["block_bytes"]: row for row in inside["classes"]}[96]
                             ["blocks_refilled"])

    def test_watch(self):
        pid = self.start_churn().pid
        lines = self.good("stat", "--watch", "0.2", "--count", "4", pid).splitlines()
        self.assertEqual(len(lines), 5)
        self.assertGreater(int(lines[-1].split()[5]), 1000)  # refilled a second
        documents = self.good("stat", "--json", "--watch", "0.1", "--count", "3", pid)
        self.assertEqual(documents.count('"schema_version"'), 3)

    def watch(self, columns, rows, *options, **variables):
        process = self.start_churn()
        return process, self.terminal(columns, rows, "stat", "--watch", "0.1", *options, process.pid, **variables)

    def check_screen(self, terminal):
        """A whole frame, whose lines neither wrap nor scroll."""
        self.assertTrue(terminal.other and terminal.scrolled == 0)
        text = terminal.text()
        self.assertRegex(text, r"^poolmalloc \S+, pr")
        self.assertLessEqual(max(map(len, text.splitlines())), terminal.columns)
        return text

    def finish(self, terminal):
        """It ends well, and leaves the terminal as it was."""
        terminal.wait(terminal.ended)
        self.assertEqual(terminal.process.returncode, 0, terminal.text())
        self.assertFalse(terminal.other)
        self.assertTrue(terminal.wrapping)
        self.assertEqual(termios.tcgetattr(terminal.slave), terminal.mode)
        return terminal.text()

    def test_watch_on_a_terminal(self):
        for columns, rows, seen, unseen in (
                (100, 30, ("live blocks", "magazines", "others/s", "peak"), "mem "),
                (80, 24, ("live", "magazines", "others/s", "peak", "mem "), "live blocks"),
                (40, 10, ("resident", "live", "refilled/s", "… "), "others/s"),
                (24, 4, ("resident", "bytes", "… "), "peak")):
            _, terminal = self.watch(columns, rows)
            terminal.wait(lambda: re.search(r"\d [kM]|\n… |\d +\d+%", terminal.text()))
            text = self.check_screen(terminal)
            for word in seen:
                self.assertIn(word, text)
            self.assertNotIn(unseen, text)
            self.assertEqual(len(text.splitlines()), rows)
            self.assertEqual("q quits" in text, columns > 40)
            terminal.type(b"q")
            self.assertIn("bytes", self.finish(terminal))  # the last frame stays

    def test_watch_adapts_to_a_resize(self):
        process = self.start_churn()
        # An interval that does not pass here: it is the resize that paints.
        terminal = self.terminal(100, 30, "stat", "--watch", "3600", process.pid)
        terminal.wait(lambda: "more" in terminal.text())
        for columns, rows in ((60, 12), (120, 28), (40, 10), (80, 24)):
            terminal.resize(columns, rows)
            terminal.wait(lambda: re.fullmatch("… \\d+ more *", terminal.rows[-1]))
            self.check_screen(terminal)
        terminal.type(b"xyzq")
        self.finish(terminal)

    def test_watch_ends_in_order(self):
        for end in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, b"\x03", b"q"):
            _, terminal = self.watch(80, 24)
            terminal.wait(lambda: "refilled/s" in terminal.text())
            terminal.type(end) if isinstance(end, bytes) else terminal.process.send_signal(end)
            self.finish(terminal)
        _, terminal = self.watch(80, 24, "--count", "2")
        self.assertIn("refilled/s", self.finish(terminal))

    def test_watch_stops_and_goes_on(self):
        _, terminal = self.watch(80, 24)
        terminal.wait(lambda: "refilled/s" in terminal.text())
        # No shell is there to continue it, and the kernel does not stop what has none by a key.
        terminal.process.send_signal(signal.SIGTSTP)
        terminal.wait(lambda: not terminal.other)
        stat = pathlib.Path(f"/proc/{terminal.process.pid}/stat")
        terminal.wait(lambda: stat.read_text().rsplit(")", 1)[1].split()[0] == "T")
        self.assertEqual(termios.tcgetattr(terminal.slave), terminal.mode)
        terminal.process.send_signal(signal.SIGCONT)
        terminal.wait(lambda: terminal.other and "refilled/s" in terminal.text())
        terminal.type(b"q")
        self.finish(terminal)

    def test_watch_of_a_process_that_ends(self):
        process = self.start_churn()
        terminal = self.terminal(80, 24, "stat", "--watch", "3600", process.pid)
        terminal.wait(lambda: "refilled/s" in terminal.text())
        process.kill()
        process.wait()
        terminal.wait(terminal.ended)  # long before the interval has passed
        self.assertEqual(terminal.process.returncode, NO_PROCESS)
        self.assertFalse(terminal.other)
        self.assertEqual(termios.tcgetattr(terminal.slave), terminal.mode)
        self.assertEqual(terminal.text().splitlines()[-1], f"poolmalloc stat: process {process.pid} has ended")

    def test_watch_on_a_dumb_terminal(self):
        for variables in (dict(TERM="dumb"), dict(TERM="")):
            pid = self.start_churn().pid
            terminal = self.terminal(80, 24, "stat", "--watch", "0.05", "--count", "5", pid, **variables)
            seen = []
            take, terminal.take = terminal.take, lambda text: (seen.append(text), take(text))
            self.assertEqual(self.finish(terminal).count("\n"), 5)
            self.assertNotIn("\x1b", "".join(seen))
            lines = "".join(seen).split("\r\n")
            self.assertEqual([len(line) for line in lines], [len(lines[0])] * 6 + [0])
            self.assertLessEqual(len(lines[0]), 80)

    def test_library_that_is_gone(self):
        copy = self.directory / "libpoolmalloc.so"
        shutil.copy(LIBRARY, copy)
        pid = self.start_churn(2, "--library", copy).pid
        copy.unlink()
        check_dump(self, json.loads(self.good("stat", "--json", pid)))
        self.assertIn("(deleted since)", self.command("doctor", pid).stdout)
        shutil.copy("/bin/true", copy)
        check_dump(self, json.loads(self.good("stat", "--json", pid)))

    def test_static_program(self):
        check_dump(self, json.loads(self.good("stat", "--json", self.start(PROGRAMS / "tool_churn_static", 2).pid)))

    def test_process_that_ends(self):
        process = self.start_churn(1)
        watch = subprocess.Popen([COMMAND, "stat", "--watch", "0.1", str(process.pid)], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True, env=environment())
        watch.stdout.readline()
        process.kill()
        _, errors = watch.communicate(timeout=20)
        self.assertEqual((watch.returncode, errors),
                         (NO_PROCESS, f"poolmalloc stat: process {process.pid} has ended\n"))
        self.bad(NO_PROCESS, "has ended", "stat", process.pid)  # not waited for yet
        process.wait()
        self.bad(NO_PROCESS, "there is no process", "stat", process.pid)

    def test_bad(self):
        for subcommand in ("stat", "map"):
            self.bad(NO_PROCESS, "there is no process", subcommand, "4194304")
            self.bad(NOT_POOLMALLOC, "does not run on poolmalloc", subcommand, self.start(CHURN, 1).pid)
            other = self.start(CHURN, 1, env=environment(LD_PRELOAD=str(PROGRAMS / "libtool_other_version.so")))
            self.bad(OTHER_VERSION, r"poolmalloc 9\.8\.7", subcommand, other.pid)

    @unittest.skipIf(os.getuid() != 0, "needs two users")
    def test_permission(self):
        pid = self.start_churn(1).pid
        for subcommand in ("stat", "map", "doctor"):
            self.bad(NO_PERMISSION, "no permission", subcommand, pid, user=NOBODY, group=NOBODY, extra_groups=[])


class Map(Case):
    def test_letters(self):
        text = self.good("map", self.start_churn().pid, env=environment(COLUMNS="100"))
        rows = re.findall(r"^0x[0-9a-f]+ +(#.{63})$", text, re.MULTILINE)
        self.assertEqual(len(rows), int(re.search(r"(\d+) arenas", text)[1]))
        self.assertNotIn("\x1b", text)
        self.assertRegex(text, r"other pools\n  # +\d+ descriptors")

    def start_sizes(self, blocks):
        """Blocks of all size classes, those of 8, 24, 40, ... bytes as well."""
        code = ("import ctypes, sys; malloc = ctypes.CDLL(None).malloc\n"
                f"for size in range(8, 513, 8): [malloc(size) for _ in range({blocks})]\n"
                "print('ready', flush=True); sys.stdin.read()")
        return self.start(COMMAND, "run", "--alignment", "8", PYTHON, "-c", code, stdin=subprocess.PIPE)

    def test_each_class_has_its_letter(self):
        process = self.start_sizes(40)
        self.addCleanup(process.stdin.close)
        text = self.good("map", process.pid, env=environment(COLUMNS="80"))
        legend = re.findall(r"(?:^| )  (\S) +(\d+) B +\d+ +\d+%", text, re.MULTILINE)
        self.assertEqual(sorted(int(size) for _, size in legend), list(range(8, 513, 8)))
        letters = {letter for letter, _ in legend}
        self.assertEqual(len(letters), 64)
        others = set(re.findall(r"^  (\S) +\d+ [a-z8]", text, re.MULTILINE))
        self.assertEqual(len(others), 4)
        drawn = set("".join(re.findall(r"^0x[0-9a-f]+ (.*)$", text, re.MULTILINE)))
        self.assertFalse(letters & others)
        self.assertTrue(letters <= drawn <= letters | others | {" "}, drawn)

    def test_narrow(self):
        process = self.start_sizes(40)
        self.addCleanup(process.stdin.close)
        for columns, in_row in ((80, 64), (79, 64), (78, 32), (47, 32), (46, 16), (31, 16)):
            text = self.good("map", process.pid, env=environment(COLUMNS=str(columns)))
            self.assertLessEqual(max(map(len, text.splitlines())), columns)
            rows = re.findall(r"^0x[0-9a-f]{12} (.*)$", text, re.MULTILINE)
            self.assertEqual({len(row) for row in rows}, {in_row})
        self.bad(NO_OUTPUT, "needs 31 columns, and there are 30", "map", process.pid, env=environment(COLUMNS="30"))

    def test_colours(self):
        pid = self.start_churn(1).pid
        for variables, coloured in ((dict(TERM="xterm"), True), (dict(TERM="xterm", NO_COLOR="1"), False),
                                    (dict(TERM="dumb"), False)):
            master, slave = pty.openpty()
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
            shown = environment(LC_ALL="C.UTF-8", **variables)
            for name in ("COLUMNS", "NO_COLOR"):
                if name not in variables:
                    shown.pop(name, None)
            process = subprocess.Popen([COMMAND, "map", str(pid)], stdout=slave, env=shown)
            os.close(slave)
            seen = b""
            while True:
                try:
                    part = os.read(master, 65536)
                except OSError:
                    break
                if not part:
                    break
                seen += part
            os.close(master)
            self.assertEqual(process.wait(20), 0)
            self.assertEqual(b"\x1b[48;5;" in seen, coloured, variables)
            plain = re.sub(r"\x1b\[[0-9;]*m", "", seen.decode())
            cells = [line for line in plain.split("\r\n") if line.startswith("0x")]
            self.assertTrue(cells and all(len(line) <= 60 for line in cells), cells)

    def test_svg(self):
        pid = self.start_churn().pid
        picture = self.directory / "heap.svg"
        self.assertEqual(self.good("map", pid, "-o", picture), "")
        tree = ElementTree.parse(picture)
        titles = [title.text for title in tree.iter("{http://www.w3.org/2000/svg}title")]
        self.assertTrue(any(re.fullmatch(r"0x[0-9a-f]+: \d+ bytes, \d+ of \d+ taken", title) for title in titles))
        for title in titles:
            found = re.fullmatch(r"0x[0-9a-f]+: (\d+) bytes, (\d+) of (\d+) taken", title)
            if found:
                size, taken, blocks = map(int, found.groups())
                self.assertEqual(blocks, 4096 // size)
                self.assertLessEqual(taken, blocks)
        self.assertTrue(ElementTree.fromstring(self.good("map", pid, "-o", "-")).tag.endswith("svg"))
        self.check_picture(picture.read_text())
        self.bad(NO_OUTPUT, "No such file", "map", pid, "-o", "/no/such/heap.svg")

    def check_picture(self, text):
        """Title, totals and legend above the cells, of which each has a place of its own."""
        space = "{http://www.w3.org/2000/svg}"
        tree = ElementTree.fromstring(text)
        width, height = int(tree.get("width")), int(tree.get("height"))
        boxes, used = [], set()
        for path in tree.iter(space + "path"):
            if path.find(space + "title") is not None:
                x, y, length, depth = map(int, re.match(r"M(\d+) (\d+)h(\d+)v(\d+)h", path.get("d")).groups())
                self.assertLessEqual((x + length > width, y + depth > height), (False, False))
                boxes.append((x, y))
                for column in range(x, x + length):
                    self.assertNotIn((column, y), used)
                    used.add((column, y))
        first = min(y for _, y in boxes)
        labels = {label.text: int(label.get("y")) for label in tree.iter(space + "text")}
        for word in ("process", "arenas of 256 KiB", "Size of blocks", "bytes: ", "descriptors: ", "given back: "):
            found = [y for label, y in labels.items() if word in label]
            self.assertTrue(found and max(found) < first, word)
        return width, height

    def test_thousands_of_arenas(self):
        code = "x = [bytes(470) for _ in range(620000)]; print('ready', flush=True); import time; time.sleep(100)"
        pid = self.start(COMMAND, "run", PYTHON, "-c", code, env=environment(PYTHONMALLOC="malloc")).pid
        text = self.good("map", pid)
        self.assertRegex(text, r"a cell is \d+ neighbouring pools")
        self.assertLessEqual(len(re.findall("^0x", text, re.MULTILINE)), 64)
        arenas, pools = int(re.search(r"(\d+) arenas", text)[1]), int(re.search(r"a cell is (\d+)", text)[1])
        rows = re.findall(r"^0x[0-9a-f]+ +(\S.*)$", self.good("map", pid, "--rows", "5"), re.MULTILINE)
        self.assertLessEqual(sum(map(len, rows)), 5 * 64)
        self.assertGreater(pools * 64 * 64, arenas)
        picture = self.good("map", pid, "-o", "-", "--rows", "100")
        self.assertLess(len(picture), 2 << 20)
        for picture in (picture, self.good("map", pid, "-o", "-")):
            width, height = self.check_picture(picture)
            self.assertTrue(width * 0.3 < height < width * 1.3, (width, height))


class Core(Case):
    def check_core(self, core, pid):
        text = self.good("map", "--core", core)
        self.assertRegex(text, rf"core of process {pid}\): \d+ arenas")
        self.assertRegex(text, r"\n   *d +64 B")
        ElementTree.fromstring(self.good("map", "--core", core, "-o", "-"))

    @unittest.skipUnless(shutil.which("gcore"), "gcore is not installed (Debian: gdb)")
    def test_gcore(self):
        pid = self.start_churn().pid
        subprocess.run(["gcore", "-o", self.directory / "core", str(pid)], check=True, capture_output=True,
                       preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30)))
        core = self.directory / f"core.{pid}"
        self.check_core(core, pid)
        self.assertLess(core.stat().st_size, 500 << 20)  # not the reserved address space
        whole = core.read_bytes()
        for length in (0, 100, 4000, len(whole) // 2, len(whole) - 100000):
            core.write_bytes(whole[:length])
            self.bad(BAD_CORE, "truncated|not a core|damaged", "map", "--core", core)

    @unittest.skipUnless(pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip() in ("core", "core.%p"),
                         "the kernel's core files go elsewhere on this machine")
    def test_kernel(self):
        limit = 1 << 30
        process = self.start(COMMAND, "run", CHURN, 4, cwd=self.directory,
                             preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (limit, limit)))
        time.sleep(0.3)
        process.send_signal(signal.SIGSEGV)
        self.assertEqual(process.wait(60), -signal.SIGSEGV)
        self.check_core(next(self.directory.glob("core*")), process.pid)

    def test_bad(self):
        self.bad(BAD_CORE, "No such file", "map", "--core", "/no/such/core")
        self.bad(BAD_CORE, "not a core file", "map", "--core", "/etc/passwd")
        self.bad(BAD_CORE, "not a core file of", "map", "--core", "/bin/true")
        self.bad(BAD_CORE, "not a file", "map", "--core", "/tmp")


class Storm(Case):
    """stat and map on a process that allocates in four threads at full speed: no crash, no impossible number."""

    def test_storm(self):
        process = self.start_churn(4)
        for _ in range(ROUNDS):
            check_dump(self, json.loads(self.good("stat", "--json", process.pid)))
            text = self.good("map", process.pid)
            for line in re.findall(r"^0x[0-9a-f]+ +(.*)$", text, re.MULTILINE):
                self.assertEqual((len(line), line[0]), (64, "#"))
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(30), 0)


if __name__ == "__main__":
    unittest.main()
