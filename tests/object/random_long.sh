#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The random operations of random.c against their model: many seeds, every mode.
#
#   tests/object/random_long.sh build/tests/object/object_random [OPERATIONS [SEEDS [JOBS]]]
#
# By default a million operations, seeds 1 to 100, as many jobs as there are processors: some four hours of two
# processors. Each failure is printed with the command that repeats it; the status is then 1. SECONDS_MAX in the
# environment ends the run after about so many seconds, and says how far it came; the status is then 3.
set -u

program=${1:?"usage: $0 PROGRAM [OPERATIONS [SEEDS [JOBS]]]"}
operations=${2:-1000000}
seeds=${3:-100}
jobs=${4:-$(nproc)}
limit=${SECONDS_MAX:-0}
for number in "$operations" "$seeds" "$jobs" "$limit"; do
    case $number in
    '' | *[!0-9]*) echo "$0: not a number: '$number'" >&2; exit 2 ;;
    esac
done
if [ ! -x "$program" ]; then
    echo "$0: no such program: $program" >&2
    exit 2
fi
if [ "$operations" -eq 0 ] || [ "$seeds" -eq 0 ] || [ "$jobs" -eq 0 ]; then
    echo "$0: operations, seeds and jobs are 1 or more" >&2
    exit 2
fi

# A debug mode in front of a colon is for POOLOBJECT_DEBUG. Torture collects at each operation that allocates, over all
# objects, and takes three times as long.
modes='plain
finalizers
steps
freeze
memory
transfer
automatic
automatic steps finalizers
finalizers steps freeze memory
transfer automatic steps memory
verify,thread:finalizers steps freeze
torture,verify,thread:automatic finalizers freeze'

folder=$(mktemp -d) || exit 2
: > "$folder/passed"
: > "$folder/failed"
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
export program operations limit folder
end=0
[ "$limit" -eq 0 ] || end=$(($(date +%s) + limit))
export end

# Each line is "SEED|DEBUG|MODES": all modes of a seed, then the next seed.
seed=1
while [ "$seed" -le "$seeds" ]; do
    echo "$modes" | sed "/:/!s/^/:/; s/^\([^:]*\):/$seed|\1|/"
    seed=$((seed + 1))
done > "$folder/list"

tr '\n' '\0' < "$folder/list" | xargs -0 -n 1 -P "$jobs" sh -c '
    seed=${1%%|*} rest=${1#*|}
    debug=${rest%%|*} words=${rest#*|}
    [ "$end" -eq 0 ] || [ "$(date +%s)" -lt "$end" ] || exit 0
    if output=$(POOLOBJECT_DEBUG=$debug "$program" "$seed" "$operations" $words 2>&1) && [ -z "$output" ]; then
        echo . >> "$folder/passed"
        exit 0
    fi
    echo "$output" >&2
    echo "FAILED: POOLOBJECT_DEBUG=$debug $program $seed $operations $words" >&2
    echo . >> "$folder/failed"' sh
passed=$(cat "$folder/passed" | wc -l)
failed=$(cat "$folder/failed" | wc -l)
all=$(wc -l < "$folder/list")
echo "$passed of $all runs of $operations operations passed, $failed failed"
[ "$failed" -eq 0 ] || exit 1
[ "$passed" -eq "$all" ] || exit 3
