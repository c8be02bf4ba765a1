# SPDX-License-Identifier: MIT
"""The SVG plots. Needs matplotlib; without it there are none, and the report says so."""
import os
import textwrap

from . import UserError
from .allocators import GLIBC, OURS
from .cases import GROUPS

INSTALL = "apt-get install python3-matplotlib"

# Okabe and Ito's palette, told apart by colour-blind readers too; markers tell them apart in print.
STYLES = {GLIBC: ("#555555", "|"), OURS: ("#D55E00", "o"), "jemalloc": ("#0072B2", "s"), "mimalloc": ("#009E73", "^"),
          "tcmalloc": ("#CC79A7", "D"), "tbbmalloc": ("#E69F00", "v")}
SPARE = [("#56B4E9", "P"), ("#000000", "X"), ("#8B4513", "*"), ("#7F3C8D", "h")]


def load():
    """matplotlib's pyplot set up for files, or a UserError that says how to get it."""
    try:
        import matplotlib
        matplotlib.use("svg")
        import matplotlib.pyplot as pyplot
    except ImportError:
        raise UserError("no plots: matplotlib is missing (%s)" % INSTALL) from None
    pyplot.rcParams.update({"svg.hashsalt": "poolmalloc", "svg.fonttype": "none", "font.size": 9,
                            "font.family": "sans-serif", "axes.spines.top": False, "axes.spines.right": False,
                            "figure.facecolor": "white"})
    return pyplot


def style(results, name):
    if name in STYLES:
        return STYLES[name]
    strangers = [other for other in results.allocators if other not in STYLES]
    return SPARE[strangers.index(name) % len(SPARE)]


def save(pyplot, figure, directory, name):
    path = os.path.join(directory, name)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
    return path


LANE = 0.13  # vertical distance between the marks of two allocators in a row


def rows_of(results, wanted, metric_of):
    """(label, case) from the bottom of the plot to its top, with the groups' names as headings."""
    rows = []
    for group in results.groups():
        cases = [case for case in results.in_group(group, wanted)
                 if any(results.ratio(case, name, GLIBC, metric_of(case)) for name in results.allocators)]
        if cases:
            rows += [(GROUPS[group], None)] + [(case, case) for case in cases]
    return rows[::-1]


def ratios(pyplot, results, wanted, metric_of, title, directory, name):
    """One row per case, one mark per allocator at its ratio to glibc, with its spread."""
    rows = rows_of(results, wanted, metric_of)
    if not rows:
        return None
    figure, axes = pyplot.subplots(figsize=(8.5, 1.2 + 0.27 * len(rows)))
    others = [other for other in results.allocators if other != GLIBC]
    for lane, name_of in enumerate(others):
        colour, marker = style(results, name_of)
        shift = ((len(others) - 1) / 2 - lane) * LANE
        points = [(y + shift, results.ratio(case, name_of, GLIBC, metric_of(case)))
                  for y, (_, case) in enumerate(rows) if case]
        points = [(y, ratio) for y, ratio in points if ratio]
        xs = [ratio.median for _, ratio in points]
        errors = [[max(0, r.median - r.low) for _, r in points], [max(0, r.high - r.median) for _, r in points]]
        axes.errorbar(xs, [y for y, _ in points], xerr=errors, fmt=marker, color=colour, markersize=5,
                      elinewidth=0.7, label=name_of, zorder=4 if name_of == OURS else 3, alpha=0.9)
    axes.axvline(1, color=STYLES[GLIBC][0], linewidth=1)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    between = (0.7, 0.9, 1.1, 1.2) if high / low < 5 else ()
    ticks = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5, 2, 3, 5, 10, *between]
    axes.xaxis.set_major_locator(pyplot.FixedLocator(ticks))
    axes.xaxis.set_minor_locator(pyplot.NullLocator())
    axes.xaxis.set_major_formatter(pyplot.FuncFormatter(lambda value, _: "%g" % value))
    axes.set_yticks(range(len(rows)), [label if case else "" for label, case in rows])
    for y, (label, case) in enumerate(rows):
        if case is None:
            axes.text(0.003, y - 0.1, label, transform=axes.get_yaxis_transform(), fontweight="bold", va="center")
            axes.axhline(y - 0.45, color="#bbbbbb", linewidth=0.6)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_title(title, loc="left")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.9 / len(rows) - 0.02), ncol=6, frameon=False)
    return save(pyplot, figure, directory, name)


TITLE_COLUMNS = 62  # characters of a panel's title in a line
FLOOR = (0.94, 1.0)  # where the marks of the page floors lie between a panel's left and right edge


def title_of(results, case):
    """The case's name, and below it what it does, in lines that end within the panel."""
    return "\n".join([case] + textwrap.wrap(results.cases[case]["title"], TITLE_COLUMNS))


def floors(axes, results, case):
    """A mark at each allocator's own page floor: they differ, and one may hold less than another's floor."""
    for allocator in results.allocators:
        floor = results.figure(case, allocator, "floor")
        if floor:
            axes.plot(FLOOR, [floor.median / 2**20] * 2, color=style(results, allocator)[0], linestyle=(0, (1, 1)),
                      linewidth=2.4 if allocator == OURS else 1.6, transform=axes.get_yaxis_transform(), zorder=2)


def curves(pyplot, results, directory, name):
    """Resident memory over time, one panel per case that reported it."""
    cases = [case for case in results.cases
             if any("resident" in results.series.get((case, n), {}) for n in results.allocators)]
    if not cases:
        return None
    columns = min(2, len(cases))
    lines = (len(cases) + columns - 1) // columns
    figure, grid = pyplot.subplots(lines, columns, figsize=(4.6 * columns, 2.9 * lines), squeeze=False)
    for axes, case in zip(grid.flat, cases):
        for allocator in results.allocators:
            points = results.series.get((case, allocator), {}).get("resident")
            if points:
                axes.plot([x for x, _ in points], [y / 2**20 for _, y in points], color=style(results, allocator)[0],
                          linewidth=2 if allocator == OURS else 1.1, label=allocator,
                          zorder=4 if allocator == OURS else 3)
            for x, y in results.series.get((case, allocator), {}).get("trimmed", []):
                axes.plot([x], [y / 2**20], "x", color=style(results, allocator)[0], markersize=5, zorder=5)
        right = axes.get_xlim()[1]
        axes.set_xlim(right=right * 1.07)  # room for the marks
        floors(axes, results, case)
        axes.set_title(title_of(results, case), loc="left", fontsize=8)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("seconds", fontsize=8)
        axes.set_ylabel("MiB resident", fontsize=8)
        axes.grid(color="#eeeeee", linewidth=0.6)
    for axes in list(grid.flat)[len(cases):]:
        axes.set_visible(False)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.tight_layout()
    figure.legend(handles, labels, loc="upper center", ncol=6, frameon=False, bbox_to_anchor=(0.5, 0.0),
                  title="× is what is held after malloc_trim(0). Dots at the right edge are the page floor of the "
                        "allocator\nof that colour: its own pages that hold a live block. It can hold less than "
                        "another's floor, not than its own.")
    return save(pyplot, figure, directory, name)


def draw(results, directory):
    """All plots of a result as (title, path)."""
    pyplot = load()
    os.makedirs(directory, exist_ok=True)
    drawn = []
    if GLIBC in results.allocators and len(results.allocators) > 1:
        drawn.append(("Time per case, as a ratio to glibc's", ratios(
            pyplot, results, "time", results.time_metric, "Time as a ratio to glibc's (left is faster)", directory,
            "time.svg")))
        drawn.append(("Peak resident memory per case, as a ratio to glibc's", ratios(
            pyplot, results, "peak", lambda case: "peak_rss",
            "Peak resident memory as a ratio to glibc's (left is smaller)", directory, "memory.svg")))
    drawn.append(("Resident memory over time", curves(pyplot, results, directory, "resident.svg")))
    return [(title, path) for title, path in drawn if path]
