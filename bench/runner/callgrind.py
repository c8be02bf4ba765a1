# SPDX-License-Identifier: MIT
"""Instructions per malloc/free pair, counted by callgrind: exact and free of noise, where times are neither."""
import os
import re
import subprocess
import tempfile

from .measure import clean_environment

SIZES = [16, 40, 64, 128, 256, 512, 1024]
FEW, MANY = 1000, 11000


def count(program, allocator, size, operations, empty, directory):
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=" + os.path.join(directory, "out"), program,
               "--min", str(size), "--max", str(size), "--operations", str(operations)] + ["--empty"] * empty
    environment = clean_environment(allocator)
    if allocator.library:
        environment["LD_PRELOAD"] = allocator.library
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, cwd=directory)
    match = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not match:
        raise RuntimeError(done.stderr.strip()[-200:])
    return int(match.group(1))


def per_operation(program, allocator, size, empty, directory):
    """The difference between a long and a short run is free of start-up and of the first, slow call."""
    few, many = (count(program, allocator, size, operations, empty, directory) for operations in (FEW, MANY))
    return (many - few) / (MANY - FEW)


def pairs(program, allocators, say):
    """{allocator: {size: instructions}}; an allocator that does not run under valgrind is left out and named."""
    counted = {}
    with tempfile.TemporaryDirectory() as directory:
        for allocator in allocators:
            try:
                loop = per_operation(program, allocator, SIZES[0], True, directory)
                counted[allocator.name] = {
                    str(size): per_operation(program, allocator, size, False, directory) - loop for size in SIZES}
                say("instructions per pair under %s: %s" % (allocator.name, ", ".join(
                    "%s B %.1f" % item for item in counted[allocator.name].items())))
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                say("%s does not run under callgrind: %s" % (allocator.name, error))
    return counted
