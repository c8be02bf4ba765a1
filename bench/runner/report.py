# SPDX-License-Identifier: MIT
"""The Markdown report: results in, text out."""
import statistics

from . import machine
from .allocators import GLIBC, OURS
from .cases import GROUPS
from .figures import changes


def seconds(value):
    if value >= 1:
        return "%.2f s" % value
    return "%.0f ms" % (value * 1e3) if value >= 0.1 else "%.1f ms" % (value * 1e3)


def size(value):
    for unit, limit in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= limit:
            return "%.*f %s" % (1 if value < 100 * limit else 0, value / limit, unit)
    return "%.0f B" % value


def percent(figure):
    """The spread behind a figure; a single run has none, which is not the same as a spread of nothing."""
    if figure.count < 2:
        return "±?"
    return "±%.*f %%" % (0 if figure.spread() >= 0.0995 else 1, figure.spread() * 100)


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "| " + " | ".join(["---"] + ["---:"] * (len(header) - 1)) + " |"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows] + [""]


def others(results):
    return [name for name in results.allocators if name != GLIBC]


def cell(results, case, allocator, metric, unit):
    """An absolute figure for glibc, a ratio to it for everyone else, a failure for whoever failed."""
    failure = results.failure(case, allocator)
    if failure:
        return "**failed**"
    if allocator == GLIBC or GLIBC not in results.allocators or not results.figure(case, GLIBC, metric):
        figure = results.figure(case, allocator, metric)
        return "%s %s" % (unit(figure.median), percent(figure)) if figure else "–"
    ratio = results.ratio(case, allocator, GLIBC, metric)
    return "%.2f %s" % (ratio.median, percent(ratio)) if ratio else "–"


def against_best(results, case, metric):
    best = results.best_other(case, metric)
    ratio = results.ratio(case, OURS, best, metric) if best and OURS in results.allocators else None
    return "%.2f (%s)" % (ratio.median, best) if ratio else "–"


def comparison(results, cases, metric_of, unit, phases=False):
    """One table: a row per case, glibc's figure, everyone's ratio to it, ours to the best of the others."""
    names = [GLIBC] * (GLIBC in results.allocators) + others(results)
    ours = OURS in results.allocators
    header = ["case"] + names + (["%s : best other" % OURS] if ours else [])
    rows = []
    for case in cases:
        metrics = [(case, metric_of(case))]
        if phases:
            metrics += [("%s, %s alone" % (case, phase), phase) for phase in results.cases[case]["phases"]]
        for label, metric in metrics:
            rows.append([label] + [cell(results, case, name, metric, unit) for name in names]
                        + ([against_best(results, case, metric)] if ours else []))
    mean = mean_row(results, cases, metric_of, names)
    return table(header, rows + [mean + ["" ] * ours]) if GLIBC in names and len(cases) > 1 else table(header, rows)


def mean_row(results, cases, metric_of, names):
    row = ["**geometric mean**"]
    for name in names:
        mean, count = results.geometric_mean(cases, name, GLIBC, metric_of)
        text = "–" if mean is None else "1" if name == GLIBC else "**%.3f** %s" % (mean.median, percent(mean))
        row.append(text + (" (%d of %d)" % (count, len(cases)) if mean and count < len(cases) else ""))
    return row


def times(results):
    lines = ["### Time", "",
             "glibc's time%s, everyone else's as a ratio to it (below 1 is faster), each with the spread of its "
             "median. The last column sets poolmalloc against the fastest of the others in that row."
             % (" (user and system)" if results.data.get("metric") == "cpu" else ""), ""]
    for group in results.groups():
        cases = results.in_group(group)
        if cases:
            lines += ["**%s**" % GROUPS[group], ""]
            lines += comparison(results, cases, results.time_metric, seconds, phases=True)
    return lines


def memory(results):
    cases = results.in_group(None, "peak")
    if not cases:
        return []
    return ["### Peak resident memory", "",
            "Of the whole process, the benchmark's own arrays included; ratios as above.", ""] \
        + comparison(results, cases, lambda case: "peak_rss", size)


def phase_names(results, case):
    """'' for a case that reports `held`, the names of its phases for one that reports `held:phase`."""
    return [name[4:] for name in results.metrics(case) if name == "held" or name.startswith("held:")]


def held_cell(results, case, allocator, suffix):
    if results.failure(case, allocator):
        return "**failed**"
    held, floor = (results.figure(case, allocator, name + suffix) for name in ("held", "floor"))
    trimmed = results.figure(case, allocator, "held_after_trim" + suffix)
    if not held:
        return "–"
    text = size(held.median)
    if floor and floor.median:
        text += " = %.2f × %s" % (held.median / floor.median, size(floor.median))
    return text + (" → %s" % size(trimmed.median) if trimmed else "")


def held(results):
    cases = [case for case in results.cases if phase_names(results, case)]
    if not cases:
        return []
    names = results.allocators
    rows = []
    for case in cases:
        for suffix in phase_names(results, case):
            live = [results.figure(case, name, "live" + suffix) for name in names]
            live = [found.median for found in live if found]
            rows.append([case + suffix.replace(":", ", "), size(live[0]) if live else "–"]
                        + [held_cell(results, case, name, suffix) for name in names])
    return ["### Memory held after the frees", "",
            "Resident memory less what the process had before its first block, = how many times the allocator's own "
            "page floor (the 4 KiB pages that hold at least one live block), → what is held after `malloc_trim(0)`.",
            ""] + table(["case", "live"] + names, rows)


def single_values(results):
    """Metrics that stand for themselves, such as bytes per idle thread."""
    rows = []
    for case in results.cases:
        for metric in ("per_thread",):
            if metric in results.metrics(case):
                values = [results.figure(case, name, metric) for name in results.allocators]
                rows.append(["%s, %s" % (case, metric.replace("_", " "))]
                            + ["%s %s" % (size(v.median), percent(v)) if v else "–" for v in values])
    return ["### Memory per idle thread", ""] + table(["case"] + results.allocators, rows) if rows else []


def costs(results):
    rows = []
    for case in results.cases:
        row = [case]
        for name in results.allocators:
            user, system, faults = (results.figure(case, name, metric)
                                    for metric in ("user", "system", "minor_faults"))
            row.append("%.2f + %.2f s, %.0f" % (user.median, system.median, faults.median) if user
                       else "**failed**" if results.failure(case, name) else "–")
        rows.append(row)
    return ["### User and system time, page faults", "", "Of the whole process: user + system seconds, minor faults.",
            ""] + table(["case"] + results.allocators, rows)


def system_calls(results):
    counted = results.data.get("system_calls")
    if not counted:
        return []
    rows = [[case] + ["%d of %d" % tuple(values[name]) if name in values else "–" for name in results.allocators]
            for case, values in counted.items()]
    return ["### System calls per run", "",
            "Those that manage memory (brk, mmap, munmap, mremap, mprotect, madvise) of all; one run of each under "
            "strace.", ""] + table(["case"] + results.allocators, rows)


def failures(results):
    found = ["- %s under %s: %s" % (case, name, text) for (case, name), text in sorted(results.failures.items())]
    return ["### Failures", ""] + found + [""] if found else []


def instructions(results):
    counted = results.data.get("instructions")
    if not counted:
        return []
    sizes = list(dict.fromkeys(size for values in counted.values() for size in values))
    rows = [["%s bytes" % size] + ["%.1f" % counted[name][size] if size in counted.get(name, {}) else "–"
                                   for name in results.allocators] for size in sizes]
    return ["### Instructions per malloc/free pair", "",
            "Counted by callgrind: the pair loop less the same loop without malloc and free. Calls and jumps through "
            "the PLT are part of it.", ""] + table(["pair"] + results.allocators, rows)


def headline(results):
    """The answer in three lines, before the tables."""
    if OURS not in results.allocators or GLIBC not in results.allocators:
        return []
    lines = []
    for group in results.groups():
        cases = results.in_group(group)
        means = [(results.geometric_mean(cases, name, GLIBC, results.time_metric)[0], name)
                 for name in others(results)]
        means = sorted((mean.median, name) for mean, name in means if mean)
        if means and any(name == OURS for _, name in means):
            lines.append("- %s, geometric mean of the time to glibc's: %s" % (
                GROUPS[group], ", ".join("%s%s %.2f%s" % ("**" * (name == OURS), name, mean, "**" * (name == OURS))
                                         for mean, name in means)))
    return lines + [""] if lines else []


def comparison_with(results, old):
    """The verdicts of --compare."""
    found = changes(old, results)
    if not found:
        return ["### Compared with the earlier results", "", "Nothing in common to compare.", ""]
    relative = " as ratios to glibc's of the same run" if found[0].relative else ""
    rows = [[change.case, change.what, "%.4g %s" % (change.old.median, percent(change.old)),
             "%.4g %s" % (change.new.median, percent(change.new)), "%.3f" % change.factor(),
             "**%s**" % change.verdict if change.verdict in ("better", "worse") else change.verdict]
            for change in found]
    lines = ["### Compared with the earlier results", "",
             "poolmalloc's figures%s, before and now. A change is called one when the spreads of at least five runs "
             "each do not touch and it is at least 2 %%." % relative, ""]
    lines += table(["case", "what", "before", "now", "factor", "verdict"], rows)
    for what in ("time", "memory"):
        factors = [change.factor() for change in found if change.what == what]
        if factors:
            verdicts = [change.verdict for change in found if change.what == what]
            lines.append("%s: geometric mean of the factors %.3f; %d better, %d worse, %d the same, %d of too few runs."
                         % (what, statistics.geometric_mean(factors),
                            *(verdicts.count(kind) for kind in ("better", "worse", "same", "too few runs"))))
    return lines + [""]


def markdown(results, missing=(), plots=(), old=None):
    """The whole report. `plots` are (title, path) pairs."""
    data = results.data
    versions = ["%s%s" % (name, " (%s)" % entry["version"] if entry.get("version") else "")
                for name, entry in data["allocators"].items()]
    done = max([run["round"] for run in data["runs"]], default=0)
    interrupted = " (interrupted)" * data.get("interrupted", False)
    lines = ["%s%s, %d round%s%s, interleaved; medians." % (
        data["date"], ", quick sizes" * data["quick"], done, "s" * (done != 1), interrupted), "",
        machine.text(data["machine"]) + ".", "", "Allocators: " + ", ".join(versions) + ".", ""]
    lines += headline(results)
    for title, path in plots:
        lines += ["![%s](%s)" % (title, path), ""]
    if old is not None:
        lines += comparison_with(results, old)
    lines += times(results) + memory(results) + held(results) + single_values(results) + instructions(results)
    lines += system_calls(results) + costs(results) + failures(results)
    if missing:
        lines += ["### Not measured", ""] + ["- %s is not installed: `%s`" % tuple(item) for item in missing] + [""]
    titles = ["- `%s`: %s" % (name, case["title"]) for name, case in results.cases.items()]
    return "\n".join(lines + ["### Cases", ""] + titles) + "\n"
