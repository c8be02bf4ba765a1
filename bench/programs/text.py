# SPDX-License-Identifier: MIT
"""Text processing: tokens by regular expression, counting, classes, sorting, string building.

Models scripts and templating: short-lived strings of many lengths, tuples, match objects and instances. The text comes
from a linear congruential generator; a digest of what was found is printed.
"""
import hashlib
import re
import sys

TOKEN = re.compile(r"(?P<word>[a-z]+)|(?P<number>[0-9]+)|(?P<mark>[^\sa-z0-9])")


def make_text(lines):
    state, words = 9, ["alpha", "be", "gammas", "delta", "e", "zetazetazeta", "12", "40961", ",", ";"]
    for _ in range(lines):
        picked = []
        for _ in range(12):
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            picked.append(words[(state >> 40) % len(words)] + str((state >> 50) % 200))
        yield " ".join(picked)


class Token:
    __slots__ = ("kind", "text", "line")

    def __init__(self, kind, text, line):
        self.kind, self.text, self.line = kind, text, line


def main():
    lines = list(make_text(int(sys.argv[1])))
    tokens = [Token(match.lastgroup, match.group(), number)
              for number, line in enumerate(lines) for match in TOKEN.finditer(line)]
    counts = {}
    for token in tokens:
        key = (token.kind, token.text)
        counts[key] = counts.get(key, 0) + 1
    ordered = sorted(tokens, key=lambda token: (token.text, token.line))
    out = []
    for token in ordered:
        out.append("%s:%s@%d" % (token.kind, token.text.upper(), token.line))
    text = "\n".join(out)
    print(len(tokens), len(counts), hashlib.sha256(text.encode()).hexdigest()[:16])


main()
