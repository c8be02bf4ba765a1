# SPDX-License-Identifier: MIT
"""The rounds of a comparison.

Round 0 warms up (page cache, branch predictors' tables of the machine, the programs' inputs) and proves that each
allocator is active; its figures are not used. Each later round runs every case under every allocator. The order of the
allocators is rotated from round to round and from case to case and turned round in every other round, so that none of
them always comes first, last, or after the same other one. Rounds are the outer loop: a slow minute of the machine
touches all allocators alike, and an interrupted comparison has complete rounds.
"""
import json
import os
import signal
import sys
import time

from .estimate import Estimate, rounds_that_fit

SAVE_EVERY = 5  # seconds between two writes of the JSON file
TRIES = 2       # failed runs after which a case is not tried again under that allocator


class Interrupted(Exception):
    pass


def raise_interrupted(signal_number, frame):
    raise Interrupted


def order_of(allocators, round_number, case_number):
    shift = (round_number + case_number) % len(allocators)
    order = allocators[shift:] + allocators[:shift]
    return order[::-1] if round_number % 2 else order


def duration(seconds):
    return "%d:%02d" % divmod(int(seconds + 0.5), 60)


class Progress:
    """One line that is rewritten on a terminal, a line now and then elsewhere."""

    def __init__(self, stream=sys.stderr):
        self.stream = stream
        self.live = stream.isatty()
        self.last = 0.0

    def show(self, text, force=False):
        if self.live:
            self.stream.write("\r\033[K" + text[:118])
        elif force or time.monotonic() - self.last > 15:
            self.last = time.monotonic()
            self.stream.write(text + "\n")
        self.stream.flush()

    def say(self, text):
        self.stream.write(("\r\033[K" if self.live else "") + text + "\n")
        self.stream.flush()


class Session:
    def __init__(self, measurer, cases, allocators, path, header, quick, budget, rounds):
        self.measurer = measurer
        self.cases = cases
        self.allocators = allocators
        self.path = path
        self.quick = quick
        self.budget = budget
        self.rounds = rounds
        self.data = dict(header, runs=[])
        self.estimate = Estimate(quick)
        self.start = 0.0
        self.failures = {}  # (case, allocator) -> failed runs so far
        self.saved = 0.0
        self.progress = Progress()

    def save(self, force=False):
        """Writes the JSON file as a whole, under another name first, so that a reader never sees half of it."""
        if not force and time.monotonic() - self.saved < SAVE_EVERY:
            return
        with open(self.path + ".new", "w") as file:
            json.dump(self.data, file, indent=None, separators=(",", ":"))
        os.replace(self.path + ".new", self.path)
        self.saved = time.monotonic()

    def timeout(self, case):
        """Generous, but bounded by what the case takes elsewhere: a hang must not cost an hour."""
        known = list(self.estimate.costs.get(case.name, {}).values())
        return int(max(60, 20 * min(known))) if known else 300

    def is_over(self, case, allocator, round_number):
        """Nothing more to run: it has failed too often, or the case needs no more rounds."""
        return self.failures.get((case.name, allocator.name), 0) >= TRIES or round_number > case.most_rounds

    def one(self, case, allocator, round_number):
        start = time.monotonic()
        command = case.command(self.quick)
        prove = round_number == 0 and not case.workload
        run = self.measurer.run(case, allocator, command, self.timeout(case), prove)
        run.update(case=case.name, allocator=allocator.name, round=round_number)
        key = (case.name, allocator.name)
        self.estimate.learn(case, allocator, time.monotonic() - start)
        if "failure" in run:
            slow = "no end" in run["failure"] or "override" in run["failure"]
            self.failures[key] = self.failures.get(key, 0) + (TRIES if slow else 1)
            self.progress.say("%s under %s: %s%s" % (case.name, allocator.name, run["failure"],
                                                     ": " + run["stderr"] if "stderr" in run else ""))
        if "series" in run:  # the latest curve is enough
            for other in self.data["runs"]:
                if other["case"] == case.name and other["allocator"] == allocator.name:
                    other.pop("series", None)
        self.data["runs"].append(run)
        self.save()

    def case_costs(self):
        """Seconds that each case takes in a round, over all allocators that have not failed it."""
        return [sum(self.estimate.run(case, a) for a in self.allocators if not self.is_over(case, a, 0))
                for case in self.cases]

    def left(self, round_number, case_number):
        """Seconds until the end, from within a round; with a budget, of as many rounds as will fit into it."""
        costs = self.case_costs()
        rest = sum(cost for case, cost in list(zip(self.cases, costs))[case_number:]
                   if round_number <= case.most_rounds)
        rounds = self.rounds
        if self.budget:
            unspent = self.budget - (time.monotonic() - self.start) - rest
            rounds = rounds_that_fit(round_number, rounds, unspent, sum(costs))
        return rest + sum(cost * max(0, min(rounds, case.most_rounds) - round_number)
                          for case, cost in zip(self.cases, costs))

    def calibrate(self):
        """Says how long all of it will take, after one run that tells how fast this machine is."""
        case = self.estimate.case_for_calibration(self.cases)
        start = time.monotonic()
        self.measurer.run(case, self.allocators[0], case.command(self.quick), 300)
        self.estimate.calibrate(case, time.monotonic() - start)
        self.progress.say("%d case%s, %d allocator%s, up to %d round%s and a warm-up: about %s minutes" % (
            len(self.cases), "s" * (len(self.cases) != 1), len(self.allocators), "s" * (len(self.allocators) != 1),
            self.rounds, "s" * (self.rounds != 1), duration(self.left(0, 0))))

    def round(self, round_number):
        for number, case in enumerate(self.cases):
            for allocator in order_of(self.allocators, round_number, number):
                if self.is_over(case, allocator, round_number):
                    continue
                what = "warm-up" if round_number == 0 else "round %d of %d" % (round_number, self.rounds)
                self.progress.show("%s, %d of %d: %s under %s, %s left" % (
                    what, number + 1, len(self.cases), case.name, allocator.name,
                    duration(self.left(round_number, number))))
                self.one(case, allocator, round_number)

    def fit_into_budget(self, done):
        """Fewer rounds if those left would take longer than they may."""
        if self.budget:
            unspent = self.budget - (time.monotonic() - self.start)
            self.rounds = rounds_that_fit(done, self.rounds, unspent, sum(self.case_costs()))

    def run(self):
        """All rounds; an interrupt ends them early and keeps what there is. True when all were done."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, raise_interrupted)
        self.start = time.monotonic()
        try:
            self.calibrate()
            round_number = 0
            while round_number <= self.rounds:
                self.round(round_number)
                self.save(force=True)
                self.fit_into_budget(round_number)
                round_number += 1
            return True
        except Interrupted:
            self.data["interrupted"] = True
            self.progress.say("interrupted: keeping the runs made so far")
            return False
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            self.save(force=True)
            self.progress.show("")
            signal.signal(signal.SIGINT, signal.default_int_handler)
