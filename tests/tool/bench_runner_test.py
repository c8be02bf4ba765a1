#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of the parts of bench/run that need no measuring: its estimate, its report for terminals, its plot. What takes
time is made up."""
import importlib.util
import os
import pathlib
import re
import sys
import tempfile
import types
import unittest
from unittest import mock
from xml.etree import ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))
from runner import allocators, cases, estimate, figures, plain, plots, report, session  # noqa: E402

NAMES = ["glibc", "poolmalloc", "jemalloc", "mimalloc", "tcmalloc", "tbbmalloc"]


class Clock:
    """Time that passes only in runs."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


class Measurer:
    """Takes for each run what the table says, times what machine and allocator make of it."""

    def __init__(self, clock, slowness):
        self.clock, self.slowness = clock, slowness

    def run(self, case, allocator, command, timeout, prove=False):
        speed = {"glibc": 1.1, "poolmalloc": 0.7, "tbbmalloc": 1.2}.get(allocator.name, 0.9)
        quick = "full" not in command
        self.clock.now += self.slowness * speed * estimate.SECONDS[case.name][quick] + estimate.START
        return {"wall": 1.0, "metrics": {}}


class Estimate(unittest.TestCase):
    def run_session(self, chosen, quick, budget, rounds, slowness):
        """What it said at first, and what it took."""
        clock, said = Clock(), []
        found = [allocators.Allocator(name, None) for name in NAMES]
        with tempfile.TemporaryDirectory() as directory, mock.patch.object(session, "time", clock), \
                mock.patch.object(session.Session, "save", lambda self, force=False: None), \
                mock.patch.object(session.Progress, "say", lambda self, text: said.append(text)), \
                mock.patch.object(session.Progress, "show", lambda self, text, force=False: None), \
                mock.patch.object(cases.Case, "command", lambda self, quick: ["quick" if quick else "full"]):
            run = session.Session(Measurer(clock, slowness), chosen, found, os.path.join(directory, "results.json"), {},
                                  quick, budget, rounds)
            self.assertTrue(run.run())
        minutes, seconds = re.search(r"about (\d+):(\d\d) minutes", said[0]).groups()
        return 60 * int(minutes) + int(seconds), clock.now

    def test_it_is_what_it_takes(self):
        quick = [case for case in cases.ALL if case.quick]
        for chosen, is_quick, budget, rounds in (
                (quick, True, 105, 5), (cases.ALL, False, None, 7), (quick[:3], True, None, 5),
                (cases.PROGRAMS, False, None, 3)):
            for slowness in (0.5, 1, 4):
                said, took = self.run_session(chosen, is_quick, budget, rounds, slowness)
                self.assertTrue(took / 1.5 <= said + 1 and said - 1 <= took * 1.5, (len(chosen), slowness, said, took))

    def test_quick_is_within_its_budget(self):
        quick = [case for case in cases.ALL if case.quick]
        _, took = self.run_session(quick, True, 105, 5, 1)
        self.assertLess(took, 120)

    def test_all_cases_are_in_the_table(self):
        self.assertEqual({case.name for case in cases.ALL}, set(estimate.SECONDS))


class Plain(unittest.TestCase):
    MARKDOWN = "\n".join(
        ["2 rounds, interleaved; medians.", "", "![Time per case](time.svg)", "", "### Time", "", "**Small**", ""]
        + report.table(["case"] + NAMES, [["pair-40"] + ["%d ms ±0.%d %%" % (10 ** n, n) for n in range(6)],
                                          ["**geometric mean**", "1", "**0.600** ±1 %"] + ["–"] * 4])
        + ["### Cases", "", "- `pair-40`: " + "long words " * 20])

    def test_columns_are_aligned(self):
        for width in (40, 80, 200):
            lines = plain.plain(self.MARKDOWN, width).splitlines()
            self.assertLessEqual(max(map(len, lines)), width)
            self.assertFalse([line for line in lines if re.search(r"[|`]|\*\*|---:|^#|\]\(", line)])
            heads = [number for number, line in enumerate(lines) if line.startswith("case ")]
            self.assertEqual(sum(len(lines[number].split()) - 1 for number in heads), 6)
            for number in heads:
                ends = [match.end() for match in re.finditer(r"\S+", lines[number])][1:]
                row = lines[number + 2]
                self.assertTrue(row.startswith("pair-40"))
                self.assertEqual([row[end - 1] for end in ends], ["%"] * len(ends))
                self.assertTrue(lines[number + 3].startswith("geometric mean"))
        self.assertIn("Time\n====", plain.plain(self.MARKDOWN, 80))


@unittest.skipUnless(importlib.util.find_spec("matplotlib"), "matplotlib is not installed (Debian: python3-matplotlib)")
class Plot(unittest.TestCase):
    def test_titles_and_floors(self):
        shown = [case for case in cases.MEMORY if case.name.startswith("burst")]
        mib = 2**20
        results = types.SimpleNamespace(
            allocators=NAMES, cases={case.name: {"title": case.title} for case in shown},
            series={(case.name, name): {"resident": [(0, 0), (1, 400 * mib)], "trimmed": [(1.2, 50 * mib)]}
                    for case in shown for name in NAMES},
            figure=lambda case, name, metric: figures.figure([(40 + 20 * NAMES.index(name)) * mib]))
        with tempfile.TemporaryDirectory() as directory:
            path = plots.curves(plots.load(), results, directory, "resident.svg")
            tree = ElementTree.parse(path)
        space = "{http://www.w3.org/2000/svg}"
        # A floor of its own colour for each allocator in each panel.
        dotted = [line.get("style") for line in tree.iter(space + "path") if "dasharray" in line.get("style", "")]
        for name in NAMES:
            colour = plots.STYLES[name][0].lower()
            self.assertEqual(sum("stroke: %s" % colour in line for line in dotted), len(shown), name)
        # No title reaches into the next panel; 8 points high, a character is less than 5 wide on average.
        panel = 4.6 * 72
        titles = [label.text for label in tree.iter(space + "text") if label.text]
        for case in shown:
            self.assertIn(case.name, titles)
            self.assertFalse([title for title in titles if title in case.title and len(title) * 4.6 > panel])


if __name__ == "__main__":
    unittest.main()
