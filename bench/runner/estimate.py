# SPDX-License-Identifier: MIT
"""How long a comparison will take, said before it starts and while it runs.

What each case takes stands in a table, measured once under glibc with two 2.5 GHz cores. This machine is faster or
slower: the first run of all is a calibration, and each further run says how far the table is off here. A case that has
run is expected to take what it took.
"""

DEFAULT = (1.0, 0.2)  # of a case that is not in the table
START = 0.03          # seconds to start a run, whatever it does

# Elapsed seconds of a full and of a quick run.
SECONDS = {
    "pair-40": (0.5, 0.08), "pair-all": (0.5, 0.5), "batch-lifo": (0.5, 0.5), "batch-fifo": (0.5, 0.5),
    "batch-random": (0.5, 0.08), "batch-large": (1.6, 1.6), "batch-64": (0.5, 0.5), "replace-1": (0.5, 0.5),
    "replace-2": (0.9, 0.2), "replace-real": (0.8, 0.8), "replace-large": (1.1, 1.1), "prodcons-1-1": (0.9, 0.1),
    "prodcons-4-4": (0.5, 0.5), "handoff": (0.9, 0.9), "false-sharing": (0.5, 0.5), "false-sharing-passive": (0.6, 0.6),
    "threads": (0.6, 0.1), "start": (0.3, 0.12), "trees": (0.4, 0.1), "lists": (0.7, 0.3), "hashes": (0.7, 0.7),
    "strings-400": (0.6, 0.1), "containers": (0.9, 0.1), "replace-1000": (0.5, 0.5), "replace-1024": (0.5, 0.15),
    "replace-8000-log": (0.6, 0.6), "replace-8000-linear": (0.7, 0.7), "strings-4000": (0.2, 0.2),
    "batch-real": (0.7, 0.7), "burst-all": (1.5, 1.5), "burst-200": (1.4, 0.4), "burst-2000": (1.6, 1.6),
    "burst-random": (3.3, 3.3), "burst-200-threads": (1.3, 1.3), "burst-random-threads": (2.1, 2.1),
    "burst-all-threads": (1.2, 1.2), "ageing": (3.1, 0.5), "ageing-threads": (2.0, 2.0), "sawtooth": (3.5, 0.6),
    "churn": (2.0, 2.0), "idle": (0.1, 0.1), "idle-1000": (0.1, 0.1), "idle-freed": (0.1, 0.1),
    "python-objects": (7.3, 7.3), "python-objects-pymalloc": (4.1, 4.1), "python-json": (4.6, 0.3),
    "python-json-pymalloc": (3.2, 3.2), "lua-trees": (0.6, 0.1), "perl-hashes": (1.3, 0.3), "python-text": (1.2, 1.2),
    "python-text-pymalloc": (0.9, 0.9), "sqlite": (1.3, 0.1), "gcc": (2.2, 0.2), "g++": (3.4, 3.4), "redis": (2.5, 0.4),
    "git-log": (0.3, 0.3), "git-pack": (0.6, 0.6),
}


class Estimate:
    def __init__(self, quick):
        self.quick = quick
        self.costs = {}      # case -> {allocator: seconds of the latest run}
        self.took = 0.0      # all runs together, and what the table says of them
        self.expected = 0.0

    def table(self, case):
        return SECONDS.get(case.name, DEFAULT)[self.quick] + START

    def calibrate(self, case, seconds):
        """A run that is no part of the comparison."""
        self.took += seconds
        self.expected += self.table(case)

    def learn(self, case, allocator, seconds):
        self.calibrate(case, seconds)
        self.costs.setdefault(case.name, {})[allocator.name] = seconds

    def run(self, case, allocator):
        """Seconds of one run: what it took last time, or what the case took under others, or the table's, scaled."""
        known = self.costs.get(case.name)
        if known:
            return known.get(allocator.name, sum(known.values()) / len(known))
        return self.table(case) * (self.took / self.expected if self.expected else 1.0)

    def case_for_calibration(self, cases):
        """A short one that computes: not so short that its start is all there is of it."""
        return min(cases, key=lambda case: (not case.workload, self.table(case) < 0.1, self.table(case)))


def rounds_that_fit(done, rounds, seconds_left, seconds_a_round):
    """How many rounds there will be in all, the warm-up not counted: two at least, whatever time they take."""
    return max(2, done, min(rounds, done + int(max(0.0, seconds_left) / max(0.1, seconds_a_round))))
