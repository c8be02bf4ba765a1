# SPDX-License-Identifier: MIT
"""multiprocessing with all three ways to start a process; forks happen while other threads allocate."""
import hashlib
import multiprocessing
import os
import threading


def work(number):
    table = {f"{number}-{i}": "v" * (i % 500) for i in range(3000)}
    for i in range(0, 3000, 3):
        del table[f"{number}-{i}"]
    return number, hashlib.sha256(repr(sorted(table.items())).encode()).hexdigest()


def echo(connection):
    while (item := connection.recv()) is not None:
        connection.send([str(part)[::-1] for part in item])
    connection.close()


def fork_while_allocating():
    stop = threading.Event()

    def churn():
        slots = [None] * 2000
        i = 0
        while not stop.is_set():
            slots[i * 7919 % 2000] = bytes(i % 700)
            i += 1

    churners = [threading.Thread(target=churn) for _ in range(3)]
    for thread in churners:
        thread.start()
    statuses = []
    for _ in range(60):
        pid = os.fork()
        if pid == 0:
            # The child has one thread and the heaps of four.
            own = [bytearray(i) for i in range(0, 1200, 3)]
            os._exit(0 if sum(map(len, own)) == 239400 else 1)
        statuses.append(os.waitpid(pid, 0)[1])
    stop.set()
    for thread in churners:
        thread.join()
    return statuses


if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            for number, digest in pool.map(work, range(8)):
                print(method, number, digest)
        ours, theirs = context.Pipe()
        child = context.Process(target=echo, args=(theirs,))
        child.start()
        for i in range(50):
            ours.send(list(range(i, i + 200)))
            print(method, "echo", hashlib.sha256(repr(ours.recv()).encode()).hexdigest()[:16])
        ours.send(None)
        child.join()
        print(method, "exit", child.exitcode)
    statuses = fork_while_allocating()
    print("forked while allocating", len(statuses), "failed", sum(status != 0 for status in statuses))
