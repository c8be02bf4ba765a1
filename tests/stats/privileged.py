# SPDX-License-Identifier: MIT
"""A real setuid program whose caller sets every variable: it does what it does without them, and says nothing.

The arguments are programs made from privileged.c, each with the library inside. Takes root, and a file system that knows
setuid: without them it is skipped (77). POOLMALLOC_HUGE_PAGES shows in nothing that a program without huge pages could
say; tests/unit/options.c has it.
"""

import os
import shutil
import struct
import subprocess
import sys
import tempfile

NOBODY = 65534
NET_RAW = 1 << 13
VARIABLES = {"ALIGNMENT": "8", "CHECK": "1", "REGION": "32M", "PURGE": "eager", "PURGE_THREAD": "1",
             "HUGE_PAGES": "0", "STATS": "1", "STATS_SIGNAL": "USR2", "HELP": "1", "NONE": "1"}


def run(program, user, variables):
    environment = {"POOLMALLOC_" + name: value for name, value in variables.items()}
    done = subprocess.run([program], env=environment, user=user, group=user, extra_groups=[], capture_output=True,
                          text=True, timeout=120, check=False)
    if done.returncode != 0:
        sys.exit(f"{program} as user {user} ended with {done.returncode}: {done.stderr}")
    return dict(line.rsplit(" ", 1) for line in done.stdout.splitlines()), done.stderr


def setuid(path, owner, mode):
    os.chown(path, owner, owner)
    os.chmod(path, mode)


def with_capability(path):
    setuid(path, 0, 0o755)
    os.setxattr(path, "security.capability", struct.pack("<5I", 0x02000001, NET_RAW, 0, 0, 0))


# How the program gets more rights than its caller; who calls it.
WAYS = {
    "root's setuid, called by nobody": (lambda path: setuid(path, 0, 0o4755), NOBODY),
    "nobody's setuid, called by root": (lambda path: setuid(path, NOBODY, 0o4755), 0),
    "root's setgid, called by nobody": (lambda path: setuid(path, 0, 0o2755), NOBODY),
    "a capability, called by nobody": (with_capability, NOBODY),
}


def require(condition, *what):
    if not condition:
        sys.exit("privileged.py: " + " ".join(map(str, what)))


def examine(directory, program):
    """How many of the ways could be tried."""
    copy, report = os.path.join(directory, "program"), os.path.join(directory, "report")
    shutil.copy(program, copy)
    plain, errors = run(copy, NOBODY, {})
    require(plain.pop("secure") == "0" and errors == "", "without variables:", plain, errors)

    # Without privileges each of them counts, or this would be no test.
    changed, errors = run(copy, NOBODY, {**VARIABLES, "STATS_FILE": report})
    require(changed.pop("secure") == "0" and not plain.items() & changed.items(), plain, changed)
    require(os.path.exists(report) and "POOLMALLOC_NONE is not" in errors and "environment variables" in errors, errors)
    os.unlink(report)

    tried = 0
    for name, (prepare, user) in WAYS.items():
        try:
            prepare(copy)
        except OSError as error:
            print(f"not tried: {name}: {error}")
            continue
        if run(copy, user, {})[0]["secure"] == "0":
            print(f"not tried: {name}: it gives no rights here")
            continue
        for variables in (VARIABLES, {**VARIABLES, "STATS_FILE": report}):
            found, errors = run(copy, user, variables)
            require(errors == "", f"{name}: it wrote", errors)
            require(found.pop("secure") == "1" and found == plain, f"{name}: {found} instead of {plain}")
            require(not os.path.exists(report), f"{name}: it wrote a file")
        print(f"{os.path.basename(program)}: {name}: as without variables")
        tried += 1
    return tried


def main():
    if os.geteuid() != 0:
        print("skipped: only root can make a program setuid for others")
        return 77
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        tried = [examine(directory, program) for program in sys.argv[1:]]
    if min(tried) == 0:
        print("skipped: nothing gives a program more rights here")
        return 77
    return 0


if __name__ == "__main__":
    sys.exit(main())
