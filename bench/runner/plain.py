# SPDX-License-Identifier: MIT
"""The report for a terminal: the same text with its tables in columns. The Markdown is for files."""
import re
import textwrap

GAP = "  "


def without_marks(text):
    text = re.sub(r"!\[(.*?)\]\((.*?)\)", r"\1: \2", text)
    return text.replace("**", "").replace("`", "")


def cells_of(line):
    return [without_marks(cell.strip()) for cell in line.strip().strip("|").split("|")]


def column_groups(widths, width):
    """The columns behind the first, cut into groups that fit beside it; one column at least."""
    groups, used = [[]], widths[0]
    for column in range(1, len(widths)):
        if groups[-1] and used + len(GAP) + widths[column] > width:
            groups.append([])
            used = widths[0]
        groups[-1].append(column)
        used += len(GAP) + widths[column]
    return groups


def table(lines, width):
    """Names to the left, figures to the right; what is too wide continues below, with the names again."""
    rows = [cells_of(line) for number, line in enumerate(lines) if number != 1]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    text = []
    for group in column_groups(widths, width):
        for number, row in enumerate(rows):
            cells = [row[0].ljust(widths[0])] + [row[column].rjust(widths[column]) for column in group]
            text.append(GAP.join(cells).rstrip())
            if number == 0:
                text.append("-" * len(GAP.join(cells)))
        text.append("")
    return text[:-1]


def plain(markdown, width):
    text, rows = [], []
    for line in markdown.splitlines() + [""]:
        if line.startswith("|"):
            rows.append(line)
            continue
        if rows:
            text += table(rows, width)
            rows = []
        if line.startswith("#"):
            title = without_marks(line.lstrip("# "))
            text += [title, "=" * len(title)]
        else:
            text += textwrap.wrap(without_marks(line), width, subsequent_indent="  " * line.startswith("- "),
                                  break_long_words=False, break_on_hyphens=False) or [""]
    return "\n".join(text).rstrip() + "\n"
