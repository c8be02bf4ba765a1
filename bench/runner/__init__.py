# SPDX-License-Identifier: MIT
"""The benchmark runner behind bench/run.

allocators  which libraries are compared and where they are
cases       the table of what is measured
measure     one run of one case under one allocator, and the proof that the allocator was active
session     the rounds: order, warm-up, progress, interruption, the JSON file
estimate    how long it will take
figures     medians, spreads, ratios, geometric means, verdicts: everything derived from the raw runs
report      the Markdown
plain       the same for a terminal
plots       the SVG files, if matplotlib is there
callgrind   instructions per malloc/free pair
syscalls    system calls per run
inputs      the files the programs read
machine     what the machine is
objects     bench/run --objects, the whole of it
"""


class UserError(Exception):
    """Something the caller got wrong or has not installed: one line, no traceback."""
