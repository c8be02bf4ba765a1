# SPDX-License-Identifier: MIT
"""System calls per run, counted by strace in a run of its own: the times of a traced run mean nothing."""
import os
import subprocess
import tempfile

from .measure import clean_environment

MEMORY_CALLS = {"brk", "mmap", "munmap", "mremap", "mprotect", "madvise"}


def read_summary(path):
    """(calls that manage memory, all calls) from the table of strace -c -U calls,name."""
    memory = total = 0
    with open(path) as file:
        for line in file:
            fields = line.split()
            if len(fields) == 2 and fields[0].isdigit() and fields[1] != "total":
                total += int(fields[0])
                memory += int(fields[0]) if fields[1] in MEMORY_CALLS else 0
    return memory, total


def count(case, allocator, quick, directory):
    """None when the case does not run under strace."""
    summary = os.path.join(directory, "summary")
    command = ["strace", "-f", "-qq", "-c", "-U", "calls,name", "-o", summary]
    preload = allocator.preload() + case.preload_after(allocator)
    command += ["-E", "LD_PRELOAD=" + ":".join(preload)] if preload else []
    environment = {**clean_environment(allocator), **case.environment}
    try:
        done = subprocess.run(command + case.command(quick), env=environment, cwd=directory, timeout=600,
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return None
    return read_summary(summary) if done.returncode == 0 else None


def count_all(cases, allocators, quick, show):
    """{case: {allocator: [memory calls, all calls]}}; a driver's server is not traced, so drivers are left out."""
    counted = {}
    with tempfile.TemporaryDirectory() as directory:
        for case in cases:
            for allocator in allocators if not case.driver else []:
                show("system calls of %s under %s" % (case.name, allocator.name))
                found = count(case, allocator, quick, directory)
                if found:
                    counted.setdefault(case.name, {})[allocator.name] = list(found)
    return counted
