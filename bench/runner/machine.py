# SPDX-License-Identifier: MIT
"""What the measurements ran on: enough to judge them, nothing that identifies a host."""
import os
import platform
import re
import subprocess


def first_line(path, pattern=None):
    try:
        with open(path) as file:
            for line in file:
                match = re.match(pattern or "(.*)", line)
                if match:
                    return match.group(1).strip()
    except OSError:
        pass
    return "unknown"


def compiler():
    try:
        return subprocess.run(["cc", "--version"], capture_output=True, text=True).stdout.splitlines()[0]
    except (OSError, IndexError):
        return "unknown"


def describe():
    kib = re.sub(r"\D", "", first_line("/proc/meminfo", r"MemTotal:(.*)")) or "0"
    return {
        "processor": first_line("/proc/cpuinfo", r"model name\s*:(.*)"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": int(kib) * 1024,
        "kernel": platform.release(),
        "system": first_line("/etc/os-release", r'PRETTY_NAME="(.*)"'),
        "libc": os.confstr("CS_GNU_LIBC_VERSION"),
        "compiler": compiler(),
        "huge_pages": re.sub(r".*\[(.*)\].*", r"\1", first_line("/sys/kernel/mm/transparent_hugepage/enabled")),
        "hypervisor": "hypervisor" in first_line("/proc/cpuinfo", r"flags\s*:(.*)").split(),
    }


def text(machine):
    return "%s, %d cores%s, %.0f GiB, %s, Linux %s, %s, transparent huge pages: %s" % (
        machine["processor"], machine["cores"], " (virtual)" if machine["hypervisor"] else "",
        machine["memory_bytes"] / 2**30, machine["system"], machine["kernel"], machine["libc"], machine["huge_pages"])
