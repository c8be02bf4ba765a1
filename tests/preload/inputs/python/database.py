# SPDX-License-Identifier: MIT
"""sqlite3 in the process: its own allocations, callbacks into Python, and connections used by several threads."""
import hashlib
import sqlite3
import threading

connection = sqlite3.connect("library.db")
connection.execute("CREATE TABLE book (id INTEGER PRIMARY KEY, title TEXT, author TEXT, pages INTEGER, cover BLOB)")
with connection:
    connection.executemany(
        "INSERT INTO book (title, author, pages, cover) VALUES (?, ?, ?, ?)",
        (
            (f"title {i * 7919 % 30011}", f"author {i % 311}", i * 31 % 900, bytes([i % 256]) * (i % 700))
            for i in range(20000)
        ),
    )
connection.execute("CREATE INDEX book_author ON book (author, pages)")


class Digest:
    def __init__(self):
        self.digest = hashlib.sha256()

    def step(self, text):
        self.digest.update(text.encode())

    def finalize(self):
        return self.digest.hexdigest()


connection.create_aggregate("digest", 1, Digest)
connection.create_function("backwards", 1, lambda text: text[::-1], deterministic=True)
connection.create_collation("by_end", lambda a, b: (a[::-1] > b[::-1]) - (a[::-1] < b[::-1]))
print(connection.execute("SELECT digest(title) FROM (SELECT title FROM book ORDER BY title COLLATE by_end, id)").fetchone())
print(connection.execute("SELECT count(DISTINCT backwards(title)), sum(length(cover)) FROM book").fetchone())
for row in connection.execute("SELECT author, count(*), sum(pages) FROM book GROUP BY author ORDER BY 3 DESC, 1 LIMIT 10"):
    print(row)

answers = {}


def read(number):
    with sqlite3.connect("library.db") as own:
        rows = own.execute("SELECT * FROM book WHERE id % 4 = ? ORDER BY author, id", (number,)).fetchall()
    own.close()
    answers[number] = len(rows), hashlib.sha256(repr(rows).encode()).hexdigest()


threads = [threading.Thread(target=read, args=(i,)) for i in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sorted(answers.items()))
copy = sqlite3.connect(":memory:")
connection.backup(copy)
print(copy.execute("PRAGMA integrity_check").fetchone(), hashlib.sha256("\n".join(copy.iterdump()).encode()).hexdigest())
