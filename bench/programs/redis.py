# SPDX-License-Identifier: MIT
"""redis-server under an allocator, driven over a unix socket by redis-benchmark and by a fixed set of commands.

Models a cache and data-structure server: small keys, small values, hash tables, lists and sorted sets, one thread. Only
the server runs under the allocator that BENCH_PRELOAD names; it is started through the helper that BENCH_MEASURE names.
The time is redis-benchmark's; memory, faults and processor time are the server's, over its whole life. Fixed commands
come last and their answers are the checksum, because redis-benchmark draws its keys from the clock.
"""
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time

COMMANDS = "set,get,incr,lpush,rpop,sadd,hset,zadd,lrange_100,mset"


def start_server(directory, socket):
    helper = [os.environ["BENCH_MEASURE"], "--output", os.path.join(directory, "cost")]
    if os.environ.get("BENCH_PRELOAD"):
        helper += ["--preload", os.environ["BENCH_PRELOAD"]]
    if os.environ.get("BENCH_TRACE"):
        helper += ["--trace", os.environ["BENCH_TRACE"]]
    server = subprocess.Popen(helper + ["--", "redis-server", "--port", "0", "--unixsocket", socket, "--save", "",
                                        "--appendonly", "no", "--dir", directory], stdout=subprocess.DEVNULL)
    for _ in range(500):
        if server.poll() is not None:
            sys.exit("redis-server ended before it could be asked anything")
        if ask(socket, "ping", check=False) == b"PONG\n":
            return server
        time.sleep(0.02)
    sys.exit("redis-server does not answer")


def ask(socket, *words, text=None, check=True):
    done = subprocess.run(["redis-cli", "-s", socket, *words], input=text, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, check=check)
    return done.stdout


def benchmark(socket, requests):
    subprocess.run(["redis-benchmark", "-s", socket, "-q", "-n", str(requests), "-r", "100000", "-c", "20", "-P", "16",
                    "-d", "60", "-t", COMMANDS], stdout=subprocess.DEVNULL, check=True)


def fixed_commands(socket, count):
    lines = ["FLUSHALL"]
    for i in range(count):
        lines += ["SET key:%d value-%d" % (i * 7919 % count, i), "HSET hash:%d field%d %d" % (i % 1000, i % 37, i),
                  "RPUSH list:%d element-%d" % (i % 500, i), "ZADD sorted:%d %d member%d" % (i % 100, i, i % 977)]
        if i % 3 == 0:
            lines.append("DEL key:%d" % (i * 31 % count))
    lines += ["DBSIZE", "HGETALL hash:7", "LRANGE list:3 0 -1", "ZRANGE sorted:5 0 50", "STRLEN key:100"]
    return hashlib.sha256(ask(socket, text="\n".join(lines).encode())).hexdigest()[:16]


def main():
    requests, count = int(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as directory:
        socket = os.path.join(directory, "socket")
        server = start_server(directory, socket)
        start = time.monotonic()
        benchmark(socket, requests)
        benchmarked = time.monotonic()
        checksum = fixed_commands(socket, count)
        ask(socket, "shutdown", "nosave", check=False)
        server.wait()
        with open(os.path.join(directory, "cost")) as file:
            cost = json.load(file)
    if cost["signal"] or cost["exit"]:
        sys.exit("redis-server ended with exit status %d, signal %d" % (cost["exit"], cost["signal"]))
    print("time %.6f s" % (benchmarked - start))
    for name in ("user", "system", "peak_rss", "minor_faults", "major_faults", "switches"):
        print(name, cost[name], "-")
    print("checksum", checksum, "-")


main()
