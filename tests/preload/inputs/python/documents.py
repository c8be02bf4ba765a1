# SPDX-License-Identifier: MIT
"""json and re: the two modules that allocate most in everyday programs."""
import hashlib
import json
import random
import re

generator = random.Random(7)


def value(depth):
    kind = generator.randrange(6 if depth else 4)
    if kind == 0:
        return generator.randrange(10**9)
    if kind == 1:
        return "".join(generator.choices("abcdefghij \u00e4\u4e2d\U0001f600", k=generator.randrange(120)))
    if kind == 2:
        return generator.random()
    if kind == 3:
        return generator.choice([None, True, False])
    if kind == 4:
        return [value(depth - 1) for _ in range(generator.randrange(12))]
    return {f"key{generator.randrange(1000)}": value(depth - 1) for _ in range(generator.randrange(12))}


documents = [value(5) for _ in range(600)]
text = json.dumps(documents)
for _ in range(3):
    parsed = json.loads(text)
    assert parsed == documents
    text = json.dumps(parsed)
print("json", len(text), hashlib.sha256(text.encode()).hexdigest())
print("indented", hashlib.sha256(json.dumps(documents, indent=1, sort_keys=True).encode()).hexdigest())

strings = re.findall(r'"((?:[^"\\]|\\.)*)"', text)
print("strings", len(strings), hashlib.sha256("|".join(strings).encode()).hexdigest())
found = re.finditer(r"(?P<whole>\d+)(?:\.(?P<part>\d+))?", text)
numbers = [match.group("whole") + "," + (match.group("part") or "") for match in found]
print("numbers", len(numbers), hashlib.sha256(";".join(numbers).encode()).hexdigest())
substituted = re.sub(r"key(\d)(\d*)", lambda match: match[2] + "-" + match[1], text)
print("substituted", hashlib.sha256(substituted.encode()).hexdigest())
for i in range(400):
    assert re.compile(rf"(a{{{i % 9}}}b|[c-{chr(100 + i % 20)}]+){{1,{1 + i % 5}}}x{i}").search("cc" * 20 + f"x{i}")
    re.purge()
print("split", hashlib.sha256(repr(re.split(r"[\[\]{},:]\s*", text)).encode()).hexdigest())
