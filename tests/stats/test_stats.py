# SPDX-License-Identifier: MIT
"""The statistics of real processes, preloaded, as a user asks for them: PM_LIBRARY, PM_WORKLOAD and PM_SCHEMA say where,
PM_COMMAND where the command is, if it is built."""

import json
import os
import re
import select
import signal
import socket
import stat
import subprocess
import tempfile
import unittest
import unittest.mock

import dump

LIBRARY, WORKLOAD = os.environ["PM_LIBRARY"], os.environ["PM_WORKLOAD"]
GENEROUS = 120  # seconds that a wait may take before it counts as hanging
with open(os.environ["PM_SCHEMA"], encoding="ascii") as file:
    SCHEMA = json.load(file)


def start(*arguments, preload=LIBRARY, program=WORKLOAD, **settings):
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    names = ("stdin", "stdout", "stderr", "pass_fds", "umask")
    streams.update({name: settings.pop(name) for name in names if name in settings})
    environment = {name: value for name, value in os.environ.items() if not name.startswith("POOLMALLOC_")}
    environment.update({"POOLMALLOC_" + name: value for name, value in settings.items()})
    if preload:
        environment["LD_PRELOAD"] = preload
    return subprocess.Popen([program, *arguments], env=environment, text=True, **streams)


def read_to_end(fd):
    """What comes until nobody has the other end open any more; of a terminal too, which calls that an error."""
    text = b""
    while select.select([fd], [], [], GENEROUS)[0]:
        try:
            piece = os.read(fd, 65536)
        except OSError:
            piece = b""
        if not piece:
            return text.decode().replace("\r\n", "\n")
        text += piece
    raise AssertionError(f"somebody keeps it open; so far there was {text!r}")


class Case(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def run_workload(self, *arguments, status=0, **settings):
        process = start(*arguments, **settings)
        out, errors = process.communicate(timeout=GENEROUS)
        self.assertEqual(process.returncode, status, errors)
        return process.pid, out, errors

    def require_json(self, text, count, pid=None):
        dumps = dump.all_json(text)
        self.assertEqual(len(dumps), count)
        for one in dumps:
            dump.check_json(one, SCHEMA)
            if pid is not None:
                self.assertEqual(one["pid"], pid)
        return dumps


class AtExit(Case):
    def test_text(self):
        for value in ("1", "text"):
            pid, _, errors = self.run_workload("fill", STATS=value)
            dump.check_text(errors, pid)

    def test_json(self):
        pid, _, errors = self.run_workload("fill", STATS="json")
        found, = self.require_json(errors, 1, pid)
        self.assertEqual(len(found["classes"]), 33)  # 8, and all that malloc aligns to 16
        self.assertGreater(found["totals"]["live_bytes"], 1000000)

    def test_nothing_unasked(self):
        self.assertEqual(self.run_workload("fill"), (unittest.mock.ANY, "", ""))
        self.assertEqual(self.run_workload("fill", STATS="0")[2], "")

    def test_checking_mode_counts_calls(self):
        pid, _, errors = self.run_workload("fill", STATS="json", CHECK="1")
        found, = self.require_json(errors, 1, pid)
        # What fill() asks for, in Python: sizes and the classes they go to. libc's own few calls come on top.
        asked = [(i * 7919) % (4000 if i % 50 == 0 else 513) for i in range(20000)]
        asked = [size for size in asked if size <= 512]
        of_class = [8 if size <= 8 else (size + 15) // 16 * 16 for size in asked]
        for row in found["classes"]:
            expected = of_class.count(row["block_bytes"])
            self.assertLessEqual(expected, row["allocations"])
            self.assertLess(row["allocations"], expected + 20)
            lost = sum(given - size for size, given in zip(asked, of_class) if given == row["block_bytes"])
            self.assertLessEqual(lost, row["rounding_bytes"])
            self.assertLess(row["rounding_bytes"], lost + 20 * 16)
        dump.check_text(self.run_workload("fill", STATS="text", CHECK="1")[2], check=True)

    def test_compact_mode(self):
        _, _, errors = self.run_workload("fill", STATS="json", ALIGNMENT="8")
        self.assertEqual(len(self.require_json(errors, 1)[0]["classes"]), 64)

    def test_file(self):
        pid, _, errors = self.run_workload("fill", STATS="json", STATS_FILE=self.path("a.%p.%p"))
        self.assertEqual(errors, "")
        self.assertEqual(os.listdir(self.directory.name), [f"a.{pid}.{pid}"])
        with open(self.path(f"a.{pid}.{pid}"), encoding="ascii") as written:
            self.require_json(written.read(), 1, pid)

    def test_forked_children(self):
        pid, _, _ = self.run_workload("fork", STATS="json", STATS_FILE=self.path("name"))
        names = sorted(os.listdir(self.directory.name))
        self.assertEqual(len(names), 3, names)
        for name in names:
            with open(self.path(name), encoding="ascii") as written:
                found, = self.require_json(written.read(), 1)
            self.assertEqual(name, "name" if found["pid"] == pid else f"name.{found['pid']}")

    def test_from_atexit_with_stdio_closed(self):
        with open(self.path("out"), "w+b") as out:
            self.run_workload("atexit", str(out.fileno()), pass_fds=(out.fileno(),))
            out.seek(0)
            self.require_json(out.read().decode(), 1)


class Files(Case):
    """What becomes of the file that is named, if there is one already."""

    def write(self, name, mode=0o600):
        with open(self.path(name), "w", encoding="ascii") as file:
            file.write("what was there")
        os.chmod(self.path(name), mode)
        return self.path(name)

    def content(self, name):
        with open(self.path(name), encoding="ascii") as file:
            return file.read()

    def mode(self, name):
        return stat.S_IMODE(os.stat(self.path(name)).st_mode)

    def require_refused(self, path, why):
        _, _, errors = self.run_workload("fill", STATS="1", STATS_FILE=path)
        self.assertEqual(errors, f"poolmalloc: cannot write statistics to {path}{why}\n")

    def test_a_new_one_is_the_owners_alone(self):
        self.run_workload("fill", STATS="json", STATS_FILE=self.path("new"), umask=0)
        self.assertEqual(self.mode("new"), 0o600)
        self.require_json(self.content("new"), 1)

    def test_an_existing_one_is_emptied_and_keeps_its_mode(self):
        path = self.write("old", 0o640)
        for _ in range(2):
            self.assertEqual(self.run_workload("fill", STATS="json", STATS_FILE=path)[2], "")
            self.require_json(self.content("old"), 1)
        self.assertEqual(self.mode("old"), 0o640)

    def test_links_are_not_followed(self):
        target = self.write("target")
        os.symlink(target, self.path("link"))
        os.symlink(self.path("none"), self.path("dangling"))
        os.link(self.write("first"), self.path("second"))
        self.require_refused(self.path("link"), ": it is a symbolic link")
        self.require_refused(self.path("dangling"), ": it is a symbolic link")
        self.require_refused(self.path("second"), ": it has more than one name")
        self.assertFalse(os.path.exists(self.path("none")))
        for name in ("target", "first"):
            self.assertEqual(self.content(name), "what was there")

    @unittest.skipUnless(os.geteuid() == 0, "only root can make files for others")
    def test_other_users_files_are_left_alone(self):
        path = self.write("others", 0o666)
        os.chown(path, 65534, 65534)
        self.require_refused(path, ": it belongs to another user")
        self.assertEqual(self.content("others"), "what was there")

    def test_what_cannot_be_written(self):
        self.require_refused("/none/such", "")
        self.require_refused(self.directory.name, "")
        os.mkfifo(self.path("pipe"))
        self.require_refused(self.path("pipe"), ": nobody reads it")
        self.require_refused("/dev/fd/99", ": it was not open when the program started")
        self.require_refused("/dev/fd/2x", "")

    def test_a_pipe_that_somebody_reads(self):
        os.mkfifo(self.path("pipe"))
        reading = os.open(self.path("pipe"), os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reading)
        process = start("fill", STATS="json", STATS_FILE=self.path("pipe"))
        os.set_blocking(reading, True)
        text = read_to_end(reading)
        self.assertEqual(process.communicate(timeout=GENEROUS), ("", ""))
        self.require_json(text, 1, process.pid)

    def test_devices(self):
        self.assertEqual(self.run_workload("fill", STATS="1", STATS_FILE="/dev/null")[1:], ("", ""))

    def test_descriptors_by_name(self):
        """Also of a program that closes them; what was written there before stays."""
        for name in ("/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"):
            pid, _, errors = self.run_workload("fill", STATS="json", STATS_FILE=name)
            self.require_json(errors, 1, pid)
        with open(self.write("log"), "a", encoding="ascii") as log:
            process = start("/", program="/bin/ls", STATS="text", STATS_FILE="/dev/stdout", stdout=log)
            self.assertEqual(process.communicate(timeout=GENEROUS)[1], "")
        listed = self.content("log")
        self.assertTrue(listed.startswith("what was there") and "\nusr\n" in listed, listed)
        report = listed[listed.index("poolmalloc "):]
        self.assertIn(f"statistics of process {process.pid}\n", report)


class Daemons(Case):
    """A program that leaves a child behind, which closes what it has of the terminal."""

    def setUp(self):
        super().setUp()
        os.mkfifo(self.path("life"))

    def leave(self, stderr):
        return start("daemon", self.path("life"), stdout=subprocess.DEVNULL, stderr=stderr, STATS="json")

    def end_of_daemon(self):
        """It lives until here, or there would be nobody to read."""
        os.close(os.open(self.path("life"), os.O_WRONLY))

    def test_nobody_waits_for_the_child(self):
        """As in $(POOLMALLOC_STATS=1 daemon 2>&1), and of whatever else the end can be waited for."""
        master, terminal = os.openpty()
        here, there = socket.socketpair()
        for reading, writing in (os.pipe(), (master, terminal), (here.detach(), there.detach())):
            self.addCleanup(os.close, reading)
            process = self.leave(writing)
            os.close(writing)
            self.require_json(read_to_end(reading), 1, process.pid)
            self.assertEqual(process.wait(timeout=GENEROUS), 0)
            self.end_of_daemon()

    def test_a_file_gets_the_childs_statistics(self):
        reading, writing = os.pipe()
        with open(self.path("log"), "a", encoding="ascii") as log:
            process = start("daemon", self.path("life"), stdout=subprocess.DEVNULL, stderr=log, pass_fds=(writing,),
                            STATS="json")
        os.close(writing)
        self.assertEqual(process.wait(timeout=GENEROUS), 0)
        self.end_of_daemon()
        self.assertEqual(read_to_end(reading), "")  # the child is gone
        os.close(reading)
        with open(self.path("log"), encoding="ascii") as written:
            first, second = self.require_json(written.read(), 2)
        self.assertEqual(first["pid"], process.pid)
        self.assertNotEqual(second["pid"], process.pid)

    def test_children_that_keep_stderr_print_there(self):
        pid, _, errors = self.run_workload("fork_threads", STATS="json", STATS_SIGNAL="USR2")
        pids = [found["pid"] for found in self.require_json(errors, 41)]  # on a signal and at exit, and the parent's
        self.assertEqual((len(set(pids)), pids[-1]), (21, pid))


class Descriptors(Case):
    def test_stderr_closed_before_the_end(self):
        """coreutils close it in a handler of atexit, before the library's last word."""
        process = start("/", program="/bin/ls", STATS="1", STATS_SIGNAL="USR2")
        _, errors = process.communicate(timeout=GENEROUS)
        dump.check_text(errors, process.pid)

    def test_its_numbers_are_files_of_the_program(self):
        for way in ("fill", "reuse"):
            path = self.path("file")
            script = f'exec "{WORKLOAD}" {way} "{path}" 2>&-' if way == "fill" else f'exec "{WORKLOAD}" {way} "{path}"'
            process = start("-c", script, program="/bin/sh", STATS="1", STATS_SIGNAL="USR2")
            _, errors = process.communicate(timeout=GENEROUS)
            self.assertEqual((process.returncode, errors), (0, ""))
            if way == "reuse":
                self.assertEqual(os.path.getsize(path), 0)

    def test_nobody_reads(self):
        """A pipe without a reader: the program lives as it would without statistics."""
        for way in ("fill", "raise"):
            reading, writing = os.pipe()
            os.close(reading)
            process = start(way, STATS="1", STATS_SIGNAL="USR2", stderr=writing)
            os.close(writing)
            process.communicate(timeout=GENEROUS)
            self.assertEqual(process.returncode, 0)


class UnderAdvise(Case):
    @unittest.skipUnless(os.environ.get("PM_COMMAND"), "the command is not built")
    def test_the_library_says_nothing(self):
        """A program that has the library anyway, recorded by `poolmalloc advise`, whose own variable it sees."""
        script = f"""
            echo "$POOLMALLOC_ADVISE_DIRECTORY" >"{self.path('variable')}"
            LD_PRELOAD="{LIBRARY}:$LD_PRELOAD" exec "{WORKLOAD}" fill 2>"{self.path('errors')}"
        """
        process = start("advise", "--runs", "0", "--", "/bin/sh", "-c", script, preload=None,
                        program=os.environ["PM_COMMAND"])
        _, errors = process.communicate(timeout=GENEROUS)
        self.assertEqual(process.returncode, 0, errors)
        with open(self.path("variable"), encoding="ascii") as variable:
            self.assertNotEqual(variable.read(), "\n")
        with open(self.path("errors"), encoding="ascii") as written:
            self.assertEqual(written.read(), "")


class OnSignal(Case):
    def test_storm(self):
        _, _, errors = self.run_workload("storm", "400", STATS="json", STATS_SIGNAL="USR2")
        dumps = dump.all_json(errors)
        self.assertGreaterEqual(len(dumps), 400 // 4 + 1)  # one for signals to four threads, or more; and the exit
        for found in dumps:
            dump.check_json(found, SCHEMA)
        self.assertGreater(max(len(found["heaps"]) for found in dumps), 4)

    def test_storm_of_text(self):
        _, _, errors = self.run_workload("storm", "100", STATS_SIGNAL="SIGUSR2")
        texts = re.split("(?m)^(?=poolmalloc .* statistics)", errors)[1:]
        self.assertGreaterEqual(len(texts), 100 // 4)
        for text in texts:
            dump.check_text(text)

    def test_errno_is_kept(self):
        _, _, errors = self.run_workload("raise", STATS="json", STATS_SIGNAL="12")
        self.require_json(errors, 100)  # 99 signals and the exit

    def test_the_system_allocator_is_not_asked(self):
        _, _, errors = self.run_workload("raise", STATS="json", STATS_SIGNAL="USR2")
        asked = [found["system_allocator"]["obtained_bytes"] is not None for found in dump.all_json(errors)]
        self.assertEqual(asked, 99 * [False] + [True])

    def test_off_unless_asked_for(self):
        process = start("raise", STATS="1")
        process.communicate(timeout=GENEROUS)
        self.assertEqual(process.returncode, -signal.SIGUSR2)

    def test_the_program_installs_a_handler(self):
        _, _, errors = self.run_workload("own_handler", STATS_SIGNAL="USR2")
        self.assertEqual(errors, "")

    def test_the_program_had_a_handler(self):
        pid, _, errors = self.run_workload("late", LIBRARY, preload=None, STATS_SIGNAL="USR2")
        dump.check_text(errors, pid)

    def test_children_of_a_process_with_threads(self):
        self.run_workload("fork_threads", STATS="json", STATS_SIGNAL="USR2", STATS_FILE=self.path("x"))
        for name in os.listdir(self.directory.name):
            with open(self.path(name), encoding="ascii") as written:
                self.require_json(written.read(), 1)
        self.assertEqual(len(os.listdir(self.directory.name)), 21)

    def test_a_signal_from_outside(self):
        """And no dump at exit, when only the signal was asked for."""
        self.run_workload("fill", STATS_SIGNAL="HUP", STATS_FILE=self.path("x"))
        self.assertEqual(os.listdir(self.directory.name), [])
        process = start("-c", "print('ready', flush=True); input()", program="/usr/bin/python3", STATS_SIGNAL="HUP",
                        STATS_FILE=self.path("x"), stdin=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), "ready\n")
        process.send_signal(signal.SIGHUP)
        # The signal was there first: the handler has run before the program gets to see the line.
        self.assertEqual(process.communicate("\n", timeout=GENEROUS), ("", ""))
        self.assertEqual(process.returncode, 0)
        with open(self.path("x"), encoding="ascii") as written:
            dump.check_text(written.read(), process.pid)


class Account(Case):
    def test_resident_is_what_the_kernel_says(self):
        """A quiet process: its dump against what /proc says of it at the same time."""
        environment = {**os.environ, "PYTHONMALLOC": "malloc", "LD_PRELOAD": LIBRARY, "POOLMALLOC_STATS": "json",
                       "POOLMALLOC_STATS_SIGNAL": "USR1"}
        code = "x = [bytes(i % 400) for i in range(200000)]; del x[::3]; print(flush=True); input(); print(flush=True); input()"
        process = subprocess.Popen(["/usr/bin/python3", "-c", code], env=environment, text=True, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.readline()
        process.send_signal(signal.SIGUSR1)
        process.stdin.write("\n")  # the signal was there first
        process.stdin.flush()
        process.stdout.readline()
        with open(f"/proc/{process.pid}/smaps", encoding="ascii") as smaps:
            kernel = self.resident_by_kind(smaps.read())
        process.kill()
        found, = self.require_json(process.communicate()[1], 1, process.pid)
        parts = {part["part"]: part["bytes"] for part in found["resident"]["parts"]}
        # The dump has a mapping of its own while it is made, and its code and stack are there for the first time.
        self.assertLess(abs(found["resident"]["bytes"] - sum(kernel.values())), 16 * 4096)
        for part, kind in (("stack", "[stack]"), ("system_heap", "[heap]"), ("files", "files")):
            self.assertLess(abs(parts[part] - kernel[kind]), 4 * 4096 + 1, part)
            self.assertGreater(parts[part], 4 * 4096, part)
        live = found["totals"]["live_bytes"]
        self.assertGreater(live, 25000000)
        self.assertLess(abs(parts["live_blocks"] - live), live / 100)

    @staticmethod
    def resident_by_kind(smaps):
        kinds = {"[stack]": 0, "[heap]": 0, "files": 0, "": 0}
        for mapping in re.split("(?m)^(?=[0-9a-f]+-)", smaps)[1:]:
            name = (mapping.split("\n")[0].split(maxsplit=5) + [""])[5]
            rss = int(re.search(r"(?m)^Rss:\s+(\d+) kB", mapping)[1]) * 1024
            kinds[name if name in kinds else "files"] += rss
        return kinds

    def test_large_blocks_are_the_system_allocators(self):
        """Counted once: no more than the most that the process ever had, which the kernel counts in batches of 32 pages
        for each processor and each of the kinds of memory."""
        tolerance = 3 * 32 * 4096 * os.cpu_count() + 64 * 4096
        code = "import ctypes; p = ctypes.CDLL(None).malloc; p.restype = ctypes.c_void_p; ctypes.memset(p(60000000), 1, 60000000)"
        process = start("-c", code, program="/usr/bin/python3", STATS="json", STATS_FILE=self.path("x"))
        _, _, usage = os.wait4(process.pid, 0)
        process.stdout.close()
        process.stderr.close()
        process.returncode = 0
        with open(self.path("x"), encoding="ascii") as written:
            resident = self.require_json(written.read(), 1)[0]["resident"]
        self.assertLess(resident["bytes"], usage.ru_maxrss * 1024 + tolerance)
        self.assertLess(abs(resident["peak_bytes"] - usage.ru_maxrss * 1024), tolerance)


class Glibc(Case):
    def test_calls(self):
        _, _, errors = self.run_workload("glibc")
        small, large = map(int, re.match(r"small (\d+) large (\d+)\n", errors).groups())
        self.assertTrue(10000 * 112 <= small < 10000 * 112 + 50000, small)
        self.assertTrue(3000000 <= large < 3100000, large)
        used = int(re.search(r"in blocks in use +(\d+) bytes", errors)[1])
        self.assertGreater(used, 4000000)
        row = re.search(r'<class size="112" pools="(\d+)" used="(\d+)"', errors)
        self.assertGreaterEqual(int(row[2]), 10000)


if __name__ == "__main__":
    unittest.main(verbosity=2)
