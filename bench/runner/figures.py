# SPDX-License-Identifier: MIT
"""Everything derived from the raw runs. Nothing here measures; the same JSON file always gives the same figures.

A figure is the median of its runs. Its spread is the interval that holds the true median with at least 95 per cent
(order statistics of the sign test, no assumption about the distribution); with fewer than six runs no such interval
exists and the whole range stands for it. Ratios between allocators are taken within each round and their median is
reported, so that a slow minute of the machine, which touches all allocators of a round alike, cancels out.
"""
import statistics
from dataclasses import dataclass
from math import comb

from .allocators import GLIBC, OURS
from .cases import GROUPS

CONFIDENCE = 0.95


@dataclass
class Figure:
    median: float
    low: float
    high: float
    count: int

    def spread(self):
        """Half the interval, relative to the median."""
        return (self.high - self.low) / 2 / self.median if self.median else 0.0


def figure(values):
    """Median and interval of some values; None of none."""
    if not values:
        return None
    ordered = sorted(values)
    count = len(ordered)
    skip, outside = 0, 0.5 ** (count - 1)  # the chance that the median is beyond the outermost values
    while skip + 1 < (count + 1) // 2 and outside + 2 * comb(count, skip + 1) / 2**count <= 1 - CONFIDENCE:
        skip += 1
        outside += 2 * comb(count, skip) / 2**count
    return Figure(statistics.median(ordered), ordered[skip], ordered[count - 1 - skip], count)


class Results:
    """The runs of one JSON file by case, allocator and round."""

    def __init__(self, data):
        self.data = data
        self.cases = data["cases"]            # name -> description
        self.allocators = list(data["allocators"])
        self.failures = {}                    # (case, allocator) -> text
        self.good = {}                        # (case, allocator) -> {round: run}
        self.series = {}                      # (case, allocator) -> curves
        for run in data["runs"]:
            key = (run["case"], run["allocator"])
            if "failure" in run:
                self.failures[key] = run["failure"]
            elif run["round"] > 0:
                self.good.setdefault(key, {})[run["round"]] = run
            if "series" in run:
                self.series[key] = run["series"]
        self.check_outputs()

    def check_outputs(self):
        """An allocator under which a case computes something else than under glibc has failed it."""
        for case in self.cases:
            known = [(allocator, {run.get("checksum") for run in self.good[case, allocator].values()})
                     for allocator in self.allocators if (case, allocator) in self.good]
            if not known:
                continue
            want = dict(known).get(GLIBC, known[0][1])
            if len(want) != 1:
                self.failures[case, known[0][0]] = "the output differs from run to run"
            for allocator, sums in known:
                if sums - want:
                    self.failures[case, allocator] = "the output differs from that under %s" % known[0][0]

    def failure(self, case, allocator):
        return self.failures.get((case, allocator))

    def by_round(self, case, allocator, metric):
        """Values of a metric, a run's own or one the workload reported, by round; none where the allocator failed."""
        if self.failure(case, allocator):
            return {}
        found = {}
        for number, run in self.good.get((case, allocator), {}).items():
            value = run["metrics"].get(metric) if metric in run.get("metrics", {}) else run.get(metric)
            if value is not None:
                found[number] = value
        return found

    def figure(self, case, allocator, metric):
        return figure(list(self.by_round(case, allocator, metric).values()))

    def ratios_by_round(self, case, allocator, other, metric):
        ours, theirs = self.by_round(case, allocator, metric), self.by_round(case, other, metric)
        return {number: ours[number] / theirs[number] for number in ours if theirs.get(number)}

    def ratio(self, case, allocator, other, metric):
        return figure(list(self.ratios_by_round(case, allocator, other, metric).values()))

    def metrics(self, case):
        """All metrics any run of the case has reported."""
        names = {}
        for allocator in self.allocators:
            for run in self.good.get((case, allocator), {}).values():
                names.update(dict.fromkeys(run.get("metrics", {})))
        return list(names)

    def best_other(self, case, metric, than=OURS):
        """The allocator other than `than` with the least median; None when there is none."""
        known = [(self.figure(case, name, metric), name) for name in self.allocators if name != than]
        known = [(found.median, name) for found, name in known if found]
        return min(known)[1] if known else None

    def time_metric(self, case):
        return self.cases[case]["time"]

    def in_group(self, group, wanted="time"):
        """Cases of a group (all groups when None) that have the wanted kind of comparison."""
        return [name for name, case in self.cases.items() if group in (None, case["group"]) and case[wanted]]

    def geometric_mean(self, cases, allocator, other, metric_of):
        """Of the ratios to `other`, over the cases in which both succeeded; with how many of them there were."""
        ratios = {case: self.ratio(case, allocator, other, metric_of(case)) for case in cases}
        usable = [case for case in cases if ratios[case]]
        if not usable:
            return None, 0
        by_round = [self.ratios_by_round(case, allocator, other, metric_of(case)) for case in usable]
        rounds = set.intersection(*map(set, by_round))
        middle = statistics.geometric_mean([ratios[case].median for case in usable])
        spread = figure([statistics.geometric_mean([found[number] for found in by_round]) for number in rounds])
        spread = spread or Figure(middle, middle, middle, 0)
        return Figure(middle, spread.low, spread.high, len(rounds)), len(usable)

    def groups(self):
        present = {case["group"] for case in self.cases.values()}
        return [group for group in GROUPS if group in present]


SMALLEST_CHANGE = 0.02  # a change below this is not called one, however quiet the machine was
FEWEST_RUNS = 5         # the range of five runs holds the median with 94 %; that of fewer says too little


@dataclass
class Change:
    case: str
    what: str
    old: Figure
    new: Figure
    relative: bool  # figures are ratios to glibc's of the same round
    verdict: str

    def factor(self):
        return self.new.median / self.old.median


def verdict(old, new):
    """Better or worse only when the intervals do not touch and the change is worth mentioning."""
    if min(old.count, new.count) < FEWEST_RUNS:
        return "too few runs"
    factor = new.median / old.median if old.median else 1.0
    if abs(factor - 1) < SMALLEST_CHANGE or (new.low <= old.high and old.low <= new.high):
        return "same"
    return "better" if factor < 1 else "worse"


def changes(old, new, allocator=OURS):
    """What changed for an allocator between two results, case by case.

    Both are put in relation to glibc's figure of their own round: glibc is the same program both times, so its figure
    takes out what the machine did in between."""
    found = []
    relative = GLIBC in old.allocators and GLIBC in new.allocators and allocator != GLIBC
    for case in new.cases:
        description, before = new.cases[case], old.cases.get(case, {})
        if old.data["quick"] != new.data["quick"] or any(description[key] != before.get(key)
                                                         for key in ("full", "quick", "time")):
            continue
        wanted = [("time", description["time"])] if description["time"] else []
        wanted += [("memory", "peak_rss")] if description["peak"] else []
        wanted += [(name, name) for name in new.metrics(case) if name.split(":")[0] == "held"]
        for what, metric in wanted:
            pairs = [results.ratio(case, allocator, GLIBC, metric) if relative
                     else results.figure(case, allocator, metric) for results in (old, new)]
            if all(pairs):
                found.append(Change(case, what, *pairs, relative, verdict(*pairs)))
    return found
