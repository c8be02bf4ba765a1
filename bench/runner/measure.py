# SPDX-License-Identifier: MIT
"""One run of one case under one allocator: start it, read what it says, prove which allocator served it."""
import glob
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile

BINDING = re.compile(r"binding file (.+?) \[\d+\] to (.+?) \[\d+\]: normal symbol `(malloc|calloc|realloc|free)'")
STDERR_TAIL = 300
CONFIGURATION = ("MALLOC_", "POOLMALLOC_", "POOLOBJECT_", "GC_", "MIMALLOC_", "TCMALLOC_", "TBB_MALLOC_")


def same_file(left, right):
    return os.path.realpath(left) == os.path.realpath(right)


def parse_output(text):
    """`name value unit` lines into metrics, `series:` lines into curves."""
    metrics, series, words = {}, {}, {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) != 3:
            continue
        name, value, unit = fields
        if name.startswith("series:"):
            series.setdefault(name[7:], []).append((float(value), float(unit)))
        elif name in ("malloc", "checksum"):
            words[name] = value
        else:
            try:
                metrics[name] = float(value)
            except ValueError:
                pass
    return metrics, series, words


def server_is_wrong(server, allocator):
    """Why the object that serves malloc in a workload is not the one that was asked for; None if it is."""
    if server is None:
        return "the workload did not say which object serves malloc"
    if allocator.library is None:
        return None if re.search(r"/(libc[.-]|ld-musl)", server) else "malloc is served by %s" % server
    return None if same_file(server, allocator.library) else "malloc is served by %s" % server


def bindings_are_wrong(logs, allocator):
    """Reads the dynamic linker's own record of a run: what uses malloc or free must be bound to the library.

    The library itself and libc are left out: a preloaded allocator looks up libc's malloc on purpose. A program at a
    fixed address lends its own PLT entry to libraries that take malloc's address; the entry leads where the program's
    malloc does, which is in the record too."""
    proved = False
    for log in logs:
        with open(log, errors="replace") as file:
            for line in file:
                match = BINDING.search(line)
                if match is None or "libc.so" in match.group(1):
                    continue
                user, server, function = match.groups()
                if ".so" not in os.path.basename(server):
                    continue
                if allocator.library is None:
                    if "libc.so" not in server:
                        return "%s takes %s from %s" % (os.path.basename(user), function, server)
                elif same_file(user, allocator.library) or same_file(server, user):
                    continue
                elif not same_file(server, allocator.library):
                    return "%s takes %s from %s" % (os.path.basename(user), function, server)
                proved = True
    return None if proved else "nothing in the process was seen to use malloc from the library"


def clean_environment(allocator):
    """The caller's environment without what would configure an allocator, and with what this one is to be given."""
    kept = {name: value for name, value in os.environ.items()
            if name not in ("LD_PRELOAD", "LD_DEBUG", "GLIBC_TUNABLES") and not name.startswith(CONFIGURATION)}
    return {**kept, **allocator.environment}


class Measurer:
    """Runs commands through the helper `measure` in a scratch directory of its own."""

    def __init__(self, helper):
        self.helper = helper
        self.scratch = tempfile.mkdtemp(prefix="bench-")

    def close(self):
        shutil.rmtree(self.scratch, ignore_errors=True)

    def run(self, case, allocator, command, timeout, prove=False):
        """A dictionary of what one run cost and said; `failure` tells what went wrong, if anything."""
        result_path = os.path.join(self.scratch, "result.json")
        trace = os.path.join(self.scratch, "bindings") if prove else None
        environment = {**clean_environment(allocator), **case.environment, "LC_ALL": "C", "TMPDIR": self.scratch}
        helper = [self.helper, "--output", result_path, "--timeout", str(timeout)]
        preload = ":".join(allocator.preload() + case.preload_after(allocator))
        if case.driver:
            environment.update(BENCH_PRELOAD=preload, BENCH_TRACE=trace or "", BENCH_MEASURE=self.helper)
        else:
            helper += ["--preload", preload] if preload else []
            helper += ["--trace", trace] if trace else []
        if os.path.exists(result_path):
            os.unlink(result_path)
        run = self.read(case, *self.start(helper + ["--"] + command, environment), result_path)
        wrong = None
        if prove:
            logs = glob.glob(trace + ".*")
            wrong = bindings_are_wrong(logs, allocator)
            for log in logs:
                os.unlink(log)
        elif case.workload:
            wrong = server_is_wrong(run.get("server"), allocator)
        if wrong and "failure" not in run:
            run["failure"] = "override not active: " + wrong
        return run

    def start(self, command, environment):
        """Exit status, output and complaints of the helper. It sits in a session of its own, so that an interrupt from
        the keyboard reaches the runner alone, which then ends the helper and, through it, all that it has started."""
        process = subprocess.Popen(command, env=environment, cwd=self.scratch, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        try:
            output, complaint = process.communicate()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        return process.returncode, output, complaint.decode(errors="replace").strip()

    def read(self, case, status, output, complaint, result_path):
        if status != 0 or not os.path.exists(result_path):
            return {"failure": "could not be measured: %s" % complaint[-STDERR_TAIL:]}
        with open(result_path) as file:
            outcome = json.load(file)
        run = {name: outcome[name] for name in ("wall", "user", "system", "peak_rss", "minor_faults", "major_faults",
                                                "switches")}
        if outcome["timed_out"]:
            run["failure"] = "no end after %.0f s" % outcome["wall"]
        elif outcome["signal"]:
            run["failure"] = "died of %s" % signal.Signals(outcome["signal"]).name
        elif outcome["exit"]:
            run["failure"] = "exit status %d" % outcome["exit"]
        if "failure" in run and complaint:
            run["stderr"] = complaint[-STDERR_TAIL:]
        if case.reports:
            metrics, series, words = parse_output(output.decode(errors="replace"))
            for name in [name for name in metrics if name in run]:
                run[name] = metrics.pop(name)
            run.update(metrics=metrics, server=words.get("malloc"), checksum=words.get("checksum"))
            if series:
                run["series"] = series
        else:
            run["checksum"] = hashlib.sha256(output).hexdigest()[:16]
        run["cpu"] = run["user"] + run["system"]
        return run
