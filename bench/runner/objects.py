# SPDX-License-Identifier: MIT
"""bench/run --objects: poolobject beside other ways to count references and to collect garbage.

The method is that of the allocators' comparison (session.py, figures.py): rounds are the outer loop, peers take turns
within a case, a figure is the median over the rounds, and a ratio is taken within each round. Times are processor time,
of all threads, by the program's own clock around the part that is measured.
"""
import datetime
import fnmatch
import json
import os
import shutil
import sys

from . import UserError, figures, machine, plots
from .measure import Measurer
from .session import Session

OURS = "poolobject"
BOUNDED = "poolobject-2ms"
QUICK_SECONDS = 95
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
HERE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "objects")
M, K = 1000000, 1000
# Guile compiles the script in memory, rather than leave a compiled copy in the user's directories or interpret it.
GUILE = ("(begin (set-program-arguments (cdr (command-line)))"
         " ((@ (system base compile) compile-and-load) (car (command-line))))")


class Peer:
    """One way to manage objects. For the measurer it is an allocator that nothing needs to be preloaded for."""
    library, environment, version = None, {}, ""

    def __init__(self, name, what, install, program=None, interpreter=None, script=None, bounded=False):
        self.name, self.what, self.install, self.bounded = name, what, install, bounded
        self.program, self.interpreter, self.script = program or "objects-" + name, interpreter, script

    def preload(self):
        return []

    def command(self, build):
        """The words that start it; None if it is not there."""
        if self.interpreter:
            found = shutil.which(self.interpreter[0])
            return [found, *self.interpreter[1:], os.path.join(HERE, self.script)] if found else None
        path = os.path.join(build, "bench", self.program)
        return [path] if os.access(path, os.X_OK) else None


PEERS = [
    Peer(OURS, "this library", "cmake --build build"),
    Peer(BOUNDED, "this library, max_pause_ns 2 ms", "cmake --build build", program="objects-poolobject", bounded=True),
    Peer("bare", "no object at all: the bare operation, or glibc's malloc and free", "cmake --build build",
         program="objects-intrusive"),
    Peer("intrusive", "a count in the object, glibc's malloc", "cmake --build build"),
    Peer("shared_ptr", "std::shared_ptr and make_shared, glibc's malloc", "cmake --build build"),
    Peer("glib", "GLib's g_rc_box and interned GRefString", "apt-get install libglib2.0-dev pkg-config"),
    Peer("boehm", "Boehm GC", "apt-get install libgc-dev"),
    Peer("boehm-inc", "Boehm GC, incremental", "apt-get install libgc-dev", program="objects-boehm", bounded=True),
    Peer("cpython", "CPython", "apt-get install python3", interpreter=["python3"], script="objects.py"),
    Peer("lua", "Lua 5.4", "apt-get install lua5.4", interpreter=["lua5.4"], script="objects.lua"),
    Peer("guile", "Guile 3 (Boehm GC)", "apt-get install guile-3.0",
         interpreter=["guile", "--no-auto-compile", "-c", GUILE], script="objects.scm"),
    Peer("php", "PHP", "apt-get install php-cli", interpreter=["php", "-d", "memory_limit=-1"], script="objects.php"),
    Peer("nim", "Nim, ORC", "apt-get install nim"),
]
COUNTED = ("intrusive", "shared_ptr", "glib")
SCRIPTS = ("cpython", "lua")
OTHERS = ("guile", "php", "nim")
COLLECTED = ("boehm", "cpython", "lua")

GROUPS = {"operation": "Single operations", "graph": "Graphs", "cycle": "Cycles and collections",
          "pause": "Pauses", "thread": "Threads"}


class Case:
    """A row of the table: `full` and `quick` are (size, parameter); `bare` names the bare operation's own case."""
    environment, driver, workload, reports = {}, False, False, True

    def __init__(self, group, name, title, program, full, quick, peers, bare=None, rounds=1000, metric="each"):
        self.group, self.name, self.title, self.program, self.bare = group, name, title, program, bare
        self.full, self.quick, self.most_rounds, self.metric = full, quick, rounds, metric
        self.peers = (OURS, *(("bare",) if bare else ()), *peers)

    def preload_after(self, peer):
        return []

    def words(self, peer, quick):
        size, parameter = self.quick if quick and self.quick else self.full
        if peer.bounded:
            parameter += 1000
        return [self.bare if peer.name == "bare" else self.program, str(size), str(parameter)]

    def command(self, quick):  # the session's own; see ObjectSession
        raise NotImplementedError


PAUSED = (BOUNDED, "boehm", "boehm-inc", "cpython", "lua")
CASES = [
    Case("operation", "count", "retain and release one object", "count", (50 * M, 0), (20 * M, 0), COUNTED,
         "count-plain"),
    Case("operation", "count-shared", "the same, atomically", "count", (20 * M, 1), (10 * M, 1), ("shared_ptr",),
         "count-plain"),
    Case("operation", "leaf", "make and release a leaf of 16 bytes", "pair-leaf", (20 * M, 0), (5 * M, 0),
         (*COUNTED, "boehm"), "pair-malloc"),
    Case("operation", "leaf-batch", "make a thousand leaves, release them", "pair-leaf", (20 * M, 1), None,
         (*COUNTED, "boehm"), "pair-malloc"),
    Case("operation", "tracked", "make and release a node of two references", "pair-tracked", (20 * M, 0), (5 * M, 0),
         (*COUNTED, "boehm"), "pair-malloc"),
    Case("operation", "tracked-batch", "make a thousand nodes, release them", "pair-tracked", (20 * M, 1), (5 * M, 1),
         (*COUNTED, "boehm"), "pair-malloc"),
    Case("operation", "intern-50", "intern, 50 of 100 are known", "intern", (2 * M, 50), (200 * K, 50),
         ("glib", *SCRIPTS)),
    Case("operation", "intern-99", "intern, 99 of 100 are known", "intern", (2 * M, 99), (200 * K, 99),
         ("glib", *SCRIPTS)),
    Case("operation", "weak", "an object, a weak reference to it, dead", "weak", (2 * M, 0), (200 * K, 0),
         ("shared_ptr", "cpython")),
    Case("operation", "weak-get", "look through a weak reference", "weak-get", (20 * M, 0), (2 * M, 0),
         ("shared_ptr", "cpython")),
    Case("operation", "finalize", "objects with finalizers, released", "finalize", (2 * M, 0), (200 * K, 0),
         ("shared_ptr", *COLLECTED)),
    Case("graph", "trees", "binary trees", "trees", (15, 0), (12, 0), (*COUNTED, *COLLECTED, *OTHERS)),
    Case("graph", "gcbench", "GCBench", "gcbench", (16, 0), (13, 0), (*COUNTED, *COLLECTED)),
    Case("graph", "list", "lists of ten thousand nodes", "list", (4 * M, 10000), (400 * K, 10000),
         (*COUNTED, *COLLECTED, *OTHERS)),
    Case("graph", "json", "a document built, edited, dropped", "json", (20, 5), (10, 4), (*COUNTED, *COLLECTED)),
    Case("graph", "flood", "a million nodes without cycles, retained and released", "flood", (1 * M, 0), (200 * K, 0),
         (*COUNTED, *COLLECTED)),
    Case("graph", "growth", "growth to ten million live nodes", "growth", (10 * M, 0), (500 * K, 0),
         (*COUNTED, *COLLECTED), rounds=2),
    Case("cycle", "full-order", "full collections of ten million live, in order", "full", (10 * M, 0), (500 * K, 0),
         COLLECTED, rounds=2),
    Case("cycle", "full-random", "full collections of ten million live, at random", "full", (10 * M, 1), (500 * K, 1),
         COLLECTED, rounds=2),
    Case("cycle", "rings-1", "nodes that refer to themselves", "rings", (2 * M, 1), (200 * K, 1), (*COLLECTED, *OTHERS)),
    Case("cycle", "rings-10", "rings of ten", "rings", (2 * M, 10), (200 * K, 10), (*COLLECTED, *OTHERS)),
    Case("cycle", "rings-1000", "rings of a thousand", "rings", (2 * M, 1000), (200 * K, 1000), (*COLLECTED, *OTHERS)),
    Case("cycle", "rings-1m", "rings of a million", "rings", (2 * M, 1 * M), None, (*COLLECTED, "guile", "nim")),
    Case("cycle", "hub", "small rings through a hub of 100,000", "hub", (2 * M, 100 * K), (200 * K, 100 * K), COLLECTED),
    Case("cycle", "request", "requests: rings of five with 50 KB", "request", (50 * K, 0), (3 * K, 0), COLLECTED,
         rounds=3),
    Case("cycle", "finalize-rings", "objects with finalizers in rings", "finalize", (2 * M, 1), (200 * K, 1),
         COLLECTED),
    Case("pause", "pauses-100k", "100,000 live, 1 of 100 in rings", "pauses", (100 * K, 1), (100 * K, 1), PAUSED,
         rounds=3),
    Case("pause", "pauses-1m", "1,000,000 live, 1 of 100 in rings", "pauses", (1 * M, 1), None, PAUSED, rounds=3),
    Case("pause", "pauses-10m", "10,000,000 live, 1 of 100 in rings", "pauses", (10 * M, 1), None, PAUSED, rounds=2),
    Case("pause", "pauses-rings-1m", "1,000,000 live, all in rings", "pauses", (1 * M, 100), None, PAUSED, rounds=3),
    Case("pause", "floating-100k", "garbage that floats, 100,000 live, all in rings", "floating", (100 * K, 100),
         (100 * K, 100), (BOUNDED,), rounds=3, metric="floating"),
    Case("pause", "floating-1m", "garbage that floats, 1,000,000 live, all in rings", "floating", (1 * M, 100), None,
         (BOUNDED,), rounds=3, metric="floating"),
    Case("thread", "threads-own", "binary trees in two threads", "threads-own", (14, 0), (12, 0),
         ("intrusive", "shared_ptr", "glib", "boehm"), metric="speedup"),
    Case("thread", "threads-shared", "two threads count one object", "threads-shared", (5 * M, 0), (1 * M, 0),
         ("intrusive", "shared_ptr", "glib")),
]


class ObjectSession(Session):
    """The session's rounds; what differs is that a peer has a command of its own and takes part in some cases only."""

    def __init__(self, commands, *arguments):
        super().__init__(*arguments)
        self.commands = commands

    def is_over(self, case, peer, round_number):
        """Cases of many seconds need no warming up, in a full run."""
        if round_number == 0 and case.most_rounds == 2 and not self.quick:
            return True
        return peer.name not in case.peers or super().is_over(case, peer, round_number)

    def calibrate(self):
        """Peers differ by more than the machine does: what each takes shows in the first round."""
        self.progress.say("%d cases, %d peers, up to %d rounds" % (len(self.cases), len(self.allocators), self.rounds))

    def one(self, case, peer, round_number):
        case.command = lambda quick: self.commands[peer.name] + case.words(peer, quick)
        super().one(case, peer, round_number)


class ObjectResults(figures.Results):
    def check_outputs(self):
        """A peer that computed something else than poolobject has failed; not all have something to compute."""
        for case in self.cases:
            sums = {peer: {run["checksum"] for run in self.good.get((case, peer), {}).values() if run.get("checksum")}
                    for peer in self.allocators}
            known = [peer for peer in self.allocators if sums[peer]]
            for peer in known:
                if sums[peer] != sums[known[0]] or len(sums[peer]) != 1:
                    self.failures[case, peer] = "the result differs from that of %s" % known[0]


# ---- What is asked for ----

def reject_options(arguments):
    for name in ("allocator", "library", "compare", "callgrind", "syscalls"):
        if getattr(arguments, name):
            raise UserError("--%s does not go with --objects" % name)
    if arguments.metric != "wall":
        raise UserError("--metric does not go with --objects, which compares processor time")


def choose(arguments):
    """Peers that are there, what is missing, and the cases."""
    wanted = arguments.against.split(",") if arguments.against else None
    unknown = set(wanted or []) - {peer.name for peer in PEERS}
    if unknown:
        raise UserError("--against %s: there are %s" % (",".join(sorted(unknown)), ", ".join(p.name for p in PEERS)))
    peers = [peer for peer in PEERS if wanted is None or peer.name in wanted]
    commands = {peer.name: peer.command(arguments.build) for peer in peers}
    missing = list(dict.fromkeys((peer.what, peer.install) for peer in peers if commands[peer.name] is None))
    found = [peer for peer in peers if commands[peer.name] is not None]
    chosen = [case for case in CASES if not arguments.only or any(
        fnmatch.fnmatch(word, pattern) for pattern in arguments.only for word in (case.name, case.group))]
    if not chosen:
        raise UserError("--only %s matches no case; --list names them" % " ".join(arguments.only))
    chosen = [case for case in chosen if not arguments.quick or case.quick]
    if not chosen:
        raise UserError("no case can be run in --quick")
    return found, commands, missing, chosen


def measure(arguments, output):
    found, commands, missing, chosen = choose(arguments)
    if arguments.list:
        print("Cases:")
        for case in chosen:
            print("  %-16s %-10s %s%s" % (case.name, case.group, case.title, " (also quick)" if case.quick else ""))
        print("Peers:")
        for peer in found:
            print("  %-16s %s" % (peer.name, peer.what))
        for what, how in missing:
            print("Missing: %s (%s)" % (what, how))
        return None
    for what, how in missing:
        print("not installed: %s (%s)" % (what, how), file=sys.stderr)
    os.makedirs(output, exist_ok=True)
    header = {
        "format": 1, "objects": True, "date": datetime.date.today().isoformat(), "quick": arguments.quick,
        "machine": machine.describe(), "allocators": {p.name: {"library": None, "version": p.what} for p in found},
        "cases": {c.name: {"group": c.group, "title": c.title, "metric": c.metric, "peers": list(c.peers)}
                  for c in chosen},
        "missing": missing,
    }
    path = os.path.join(output, "objects.json")
    measurer = Measurer(os.path.join(arguments.build, "bench", "measure"))
    budget = QUICK_SECONDS if arguments.quick and not arguments.runs else None
    try:
        session = ObjectSession(commands, measurer, chosen, found, path, header, arguments.quick, budget,
                                arguments.runs or 5)
        session.run()
        session.save(force=True)
    finally:
        measurer.close()
    return path


def read(path):
    try:
        with open(path) as file:
            data = json.load(file)
        if not data.get("objects"):
            raise ValueError
        return ObjectResults(data)
    except OSError as error:
        raise UserError("cannot read %s: %s" % (path, error.strerror)) from None
    except (ValueError, KeyError, TypeError):
        raise UserError("%s is not a file of results of --objects" % path) from None


# ---- The report ----

def number(value):
    return "%.0f" % value if value >= 100 else "%.1f" % value if value >= 10 else "%.2f" % value


def spread(figure):
    return "±%.0f %%" % (100 * figure.spread()) if figure.count > 1 else "(once)"


def table(head, rows):
    lines = ["| %s |" % " | ".join(head), "| --- |%s" % (" ---: |" * (len(head) - 1))]
    return lines + ["| %s |" % " | ".join(row) for row in rows]


def cell(results, case, peer, metric, scale=1.0):
    """A figure; for a peer also poolobject's ratio to it."""
    if results.failure(case, peer):
        return "**failed**"
    figure = results.figure(case, peer, metric)
    if figure is None:
        return ""
    if peer == OURS:
        return "**%s** %s" % (number(figure.median * scale), spread(figure))
    ratio = results.ratio(case, OURS, peer, metric)
    return number(figure.median * scale) + (
        " (%s)" % " ".join([number(ratio.median)] + [spread(ratio)] * (ratio.count > 1)) if ratio else "")


def comparison(results, cases, metric_of, scale=1.0):
    peers = [peer for peer in results.allocators
             if any(results.figure(case, peer, metric_of(case)) or results.failure(case, peer) for case in cases)]
    return table(["case", *peers], [[case] + [cell(results, case, peer, metric_of(case), scale) for peer in peers]
                                    for case in cases])


class Aim:
    """A line of the table of aims: how a figure is made of the results, and what it must not exceed (or fall below)."""

    def __init__(self, text, limit, case, figure, least=False, unit="", peers=(), scale=1.0):
        self.text, self.limit, self.case, self.figure, self.least, self.unit = text, limit, case, figure, least, unit
        self.peers, self.scale = peers, scale

    def row(self, results):
        figure = self.figure(results) if self.case in results.cases else None
        if figure is None:
            return [self.text, "", "not measured", "", "`--only %s`" % self.case]
        reached = figure.median >= self.limit if self.least else figure.median <= self.limit
        sign = "≥" if self.least else "≤"
        return [self.text, "%s %s%s" % (sign, number(self.limit), self.unit),
                "%s%s %s" % (number(figure.median), self.unit, spread(figure)), "yes" if reached else "**no**",
                "`--only %s`" % self.case]


def against(case, peer, metric="each"):
    return lambda results: results.ratio(case, OURS, peer, metric)


def plain(case, peer, metric, factor=1.0):
    def find(results):
        values = [value * factor for value in results.by_round(case, peer, metric).values()]
        return figures.figure(values)
    return find


def floats(case, peer):
    """What floats, as a part of what may."""
    def find(results):
        live, most = results.by_round(case, peer, "live"), results.by_round(case, peer, "floating")
        return figures.figure([most[k] / max(2 * 2**20, live[k] / 4) for k in most if k in live])
    return find


def least_memory(case):
    def find(results):
        other = min(((f.median, peer) for peer in results.allocators if peer not in (OURS, BOUNDED)
                     for f in [results.figure(case, peer, "peak_rss")] if f), default=None)
        return results.ratio(case, OURS, other[1], "peak_rss") if other else None
    return find


AIMS = [
    Aim("node of two references", 24, "growth", plain("growth", OURS, "bytes-each"), unit=" bytes"),
    Aim("for the collector, while one runs, an object", 2.25, "full-order", plain("full-order", OURS, "collector-bytes"),
        unit=" bytes"),
    Aim("incref + decref : bare increment and decrement", 1.2, "count", against("count", "bare")),
    Aim("the same, shared : two atomic operations", 1.2, "count-shared", against("count-shared", "bare")),
    Aim("new + release, leaf : malloc + free", 0.5, "leaf", against("leaf", "bare")),
    Aim("new + release, tracked : malloc + free", 0.7, "tracked", against("tracked", "bare")),
    Aim("binary trees : shared_ptr", 0.7, "trees", against("trees", "shared_ptr")),
    Aim("binary trees : Boehm GC", 1.0, "trees", against("trees", "boehm")),
    Aim("binary trees : CPython", 0.15, "trees", against("trees", "cpython")),
    Aim("full collection, in order : CPython's", 0.25, "full-order", against("full-order", "cpython")),
    Aim("full collection, at random : CPython's", 0.25, "full-random", against("full-random", "cpython")),
    Aim("longest pause, 10 million live, 2 ms asked for", 5, "pauses-10m", plain("pauses-10m", BOUNDED, "longest", 1e-3),
        unit=" ms"),
    Aim("floating garbage : what may, 100,000 live", 1, "floating-100k", floats("floating-100k", OURS)),
    Aim("floating garbage : what may, 1,000,000 live", 1, "floating-1m", floats("floating-1m", OURS)),
    Aim("the same with max_pause_ns 2 ms", 1, "floating-1m", floats("floating-1m", BOUNDED)),
    Aim("two threads with heaps of their own : one", 1.9, "threads-own", plain("threads-own", OURS, "speedup"),
        least=True),
    Aim("the same, in processor time", 1.9, "threads-own", plain("threads-own", OURS, "speedup-cpu"), least=True),
    Aim("peak memory, binary trees : the lowest of the others", 1, "trees", least_memory("trees")),
    Aim("peak memory, GCBench : the lowest of the others", 1, "gcbench", least_memory("gcbench")),
]


def pauses(results):
    rows = []
    for case, description in results.cases.items():
        if not case.startswith("pauses"):
            continue
        for peer in results.allocators:
            figure = [results.figure(case, peer, metric) for metric in ("p50", "p99", "p999", "longest", "each")]
            if figure[3]:
                rows.append([case, peer] + [number(f.median) for f in figure[:3]] + [
                    "%s %s" % (number(figure[3].median), spread(figure[3])), number(figure[4].median)])
            elif results.failure(case, peer):
                rows.append([case, peer, "**failed**", "", "", "", ""])
    head = ["case", "peer", "median, µs", "99th, µs", "99.9th, µs", "longest, µs", "ns a replaced pair"]
    return table(head, rows)


def markdown(results, drawn):
    data = results.data
    rounds = max((run["round"] for run in data["runs"]), default=0)
    lines = ["%s, %d round(s)%s, interleaved; medians." % (data["date"], rounds, ", quick" if data["quick"] else ""), "",
             machine.text(data["machine"]) + ".", "",
             "Peers: %s." % ", ".join("%s (%s)" % (name, about["version"]) for name, about in data["allocators"].items()),
             ""]
    if data["missing"]:
        lines += ["Missing: %s." % ", ".join("%s (`%s`)" % tuple(item) for item in data["missing"]), ""]
    lines += ["### What was aimed at", ""] + table(["what", "aim", "measured", "reached", "`bench/run --objects`"],
                                                   [aim.row(results) for aim in AIMS]) + [""]
    lines += ["### Time", "", "Nanoseconds of processor time for one operation or object. In brackets poolobject's ratio "
              "to the peer: below 1, poolobject is faster.", ""]
    for group in ("operation", "graph", "cycle"):
        cases = [case for case, about in results.cases.items() if about["group"] == group]
        if cases:
            lines += ["**%s**" % GROUPS[group], ""] + comparison(results, cases, lambda case: "each") + [""]
    if any(case.startswith("pauses") for case in results.cases):
        lines += ["### Pauses", "", "The time of a step, which replaces ten pairs of nodes among the live ones.", ""]
        lines += pauses(results) + [""]
    lines += ["![%s](%s)\n" % item for item in drawn]
    floating = [case for case in results.cases if case.startswith("floating")]
    if floating:
        lines += ["### Garbage that floats", "", "At most, in MB.", ""]
        lines += comparison(results, floating, lambda case: "floating", 1e-6) + [""]
    threads = [case for case, about in results.cases.items() if about["group"] == "thread"]
    if threads:
        lines += ["### Threads", "", "`threads-own`: how often as much two threads do as one, by elapsed time, then by "
                  "processor time, which other processes disturb less. `threads-shared`: nanoseconds of each thread for "
                  "one pair of operations.", ""]
        rows = [("threads-own", "speedup"), ("threads-own", "speedup-cpu"), ("threads-shared", "each")]
        peers = [peer for peer in results.allocators
                 if any(results.figure(case, peer, metric) for case, metric in rows)]
        lines += table(["case", *peers], [["%s, %s" % row] + [
            "" if figure is None else "%s %s" % (number(figure.median), spread(figure))
            for peer in peers for figure in [results.figure(*row[:1], peer, row[1])]] for row in rows]) + [""]
    memory = [case for case, about in results.cases.items() if about["group"] in ("graph", "cycle")]
    if memory:
        lines += ["### Peak memory", "", "Peak resident memory of the process in MiB, the interpreters' own included; "
                  "in brackets poolobject's ratio to the peer.", ""]
        lines += comparison(results, memory, lambda case: "peak_rss", 1 / 2**20) + [""]
    if results.failures:
        failures = ["- %s under %s: %s" % (*key, text) for key, text in results.failures.items()]
        lines += ["### Failures", ""] + failures + [""]
    return "\n".join(lines)


COLOURS = {OURS: "#D55E00", BOUNDED: "#E69F00", "boehm": "#0072B2", "boehm-inc": "#56B4E9", "cpython": "#009E73",
           "lua": "#CC79A7"}


def draw(results, directory):
    """The pauses of each case: median, 99th, 99.9th percentile and the longest, one line for each peer."""
    cases = [case for case in results.cases if case.startswith("pauses")]
    if not cases:
        return []
    pyplot = plots.load()
    os.makedirs(directory, exist_ok=True)
    figure, grid = pyplot.subplots(1, len(cases), figsize=(1.5 + 2.6 * len(cases), 3.2), sharey=True, squeeze=False)
    metrics = ("p50", "p99", "p999", "longest")
    for axes, case in zip(grid.flat, cases):
        for peer in results.allocators:
            found = [results.figure(case, peer, metric) for metric in metrics]
            if all(found):
                axes.plot(range(len(metrics)), [f.median / 1e3 for f in found], "o-", markersize=4, label=peer,
                          color=COLOURS.get(peer, "#555555"), linewidth=2 if peer in (OURS, BOUNDED) else 1.1)
        axes.axhline(2, color="#888888", linewidth=0.8, linestyle=":")
        axes.set_yscale("log")
        axes.set_xticks(range(len(metrics)), ["50 %", "99 %", "99.9 %", "longest"])
        axes.set_title(case, loc="left", fontsize=9)
        axes.grid(axis="y", color="#eeeeee", linewidth=0.6)
    grid[0][0].set_ylabel("ms of a step")
    handles, labels = max((axes.get_legend_handles_labels() for axes in grid.flat), key=lambda found: len(found[1]))
    figure.legend(handles, labels, loc="upper center", ncol=6, frameon=False, bbox_to_anchor=(0.5, 0.02))
    figure.tight_layout()
    return [("Steps of a program with many live objects", plots.save(pyplot, figure, directory, "pauses.svg"))]


def write_readme(results):
    path = os.path.join(HERE, "README.md")
    with open(path) as file:
        text = file.read()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise UserError("bench/objects/README.md has lost its markers %s and %s" % (BEGIN, END))
    drawn = [(title, os.path.relpath(file, HERE)) for title, file in try_draw(results, os.path.join(HERE, "results"))]
    before, rest = text.split(BEGIN)
    with open(path, "w") as file:
        file.write(before + BEGIN + "\n\n" + markdown(results, drawn) + "\n" + END + rest.split(END)[1])
    print("wrote bench/objects/README.md", file=sys.stderr)


def try_draw(results, directory):
    try:
        return draw(results, directory)
    except UserError as error:
        print("bench/run: %s" % error, file=sys.stderr)
        return []


def main(arguments, build):
    """The exit status: 0, or 1 when a case failed or the run was interrupted."""
    reject_options(arguments)
    if not arguments.source:
        build(arguments.build, "objects-poolobject")
    output = arguments.output or (os.path.dirname(os.path.abspath(arguments.source)) if arguments.source
                                  else os.path.join(arguments.build, "bench-results"))
    path = arguments.source or measure(arguments, output)
    if path is None:
        return 0
    results = read(path)
    os.makedirs(output, exist_ok=True)
    drawn = [(title, os.path.basename(file)) for title, file in try_draw(results, output)]
    text = markdown(results, drawn)
    with open(os.path.join(output, "objects.md"), "w") as file:
        file.write(text)
    print(text)
    print("wrote %s, %s" % (path, os.path.join(output, "objects.md")), file=sys.stderr)
    if arguments.readme:
        write_readme(results)
    return 1 if results.failures or results.data.get("interrupted") else 0
