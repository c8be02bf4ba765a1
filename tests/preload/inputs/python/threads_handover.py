# SPDX-License-Identifier: MIT
"""Threads that make objects and others that drop them: most blocks are freed by a thread that did not allocate them."""
import hashlib
import queue
import sys
import threading

sys.setswitchinterval(0.0005)
PRODUCERS, BATCHES, BATCH = 4, 60, 400

handed_over = queue.Queue(maxsize=16)
digests = [None] * PRODUCERS


def produce(number):
    for batch in range(BATCHES):
        records = [{"id": i, "text": f"{number}-{batch}-" + "x" * (i * 7 % 600)} for i in range(BATCH)]
        handed_over.put((number, batch, records))


def consume(results):
    while (item := handed_over.get()) is not None:
        number, batch, records = item
        # Half of the batch is dropped here, half by whichever thread consumes the results.
        del records[::2]
        results.append((number, batch, records))


for repetition in range(2):
    results = []
    consumers = [threading.Thread(target=consume, args=(results,)) for _ in range(2)]
    producers = [threading.Thread(target=produce, args=(i,)) for i in range(PRODUCERS)]
    for thread in consumers + producers:
        thread.start()
    for thread in producers:
        thread.join()
    for _ in consumers:
        handed_over.put(None)
    for thread in consumers:
        thread.join()
    results.sort(key=lambda result: result[:2])
    digest = hashlib.sha256()
    for number, batch, records in results:
        digest.update(f"{number} {batch} {[r['id'] for r in records]} {[r['text'] for r in records]}".encode())
    print("handed over", len(results), digest.hexdigest())


# Very many short threads: each brings a heap into use and leaves it.
lock = threading.Lock()
kept = {}


def short(number):
    words = [f"{number}:{i}" * 5 for i in range(50)]
    with lock:
        kept[number] = words


for start in range(0, 1000, 20):
    threads = [threading.Thread(target=short, args=(start + i,)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print("short threads", len(kept), hashlib.sha256(repr(sorted(kept.items())).encode()).hexdigest())
