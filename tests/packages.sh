#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# tools/packages.sh with made-up commands of Debian's: what apt-get says is shown when it fails, and only then, and it is
# written to no file whose name somebody could know beforehand.
set -eu
tools=$(cd "$(dirname "$0")/../tools" && pwd)
directory=$(mktemp -d)
trap 'rm -rf "$directory" "/tmp/poolmalloc-packages.$$"' EXIT
mkdir "$directory/bin" "$directory/temporary"
cd "$directory"

fail() {
    echo "packages.sh: $*" >&2
    exit 1
}
command_is() {
    printf '#!/bin/sh\n%s\n' "$2" >"bin/$1"
    chmod +x "bin/$1"
}

command_is dpkg-query 'exit 1'
command_is sudo 'exec "$@"'
PATH=$directory/bin:$PATH
export TMPDIR=$directory/temporary
echo untouched >victim
ln -s "$directory/victim" "/tmp/poolmalloc-packages.$$"
. "$tools/packages.sh"

command_is apt-get 'echo "what apt-get says: $1"'
need one two >out 2>errors || fail "an installation that succeeds failed"
[ "$(cat out)" = 'installing: one two' ] && [ ! -s errors ] || fail "it wrote $(cat out errors)"

command_is apt-get 'echo "what apt-get says: $1"; [ "$1" = update ]'
! need one two >out 2>errors || fail "an installation that fails succeeded"
grep -q '^what apt-get says: install$' errors || fail "apt-get's words are lost: $(cat errors)"
grep -q 'could not be installed: one two$' errors || fail "it wrote $(cat errors)"

[ "$(cat victim)" = untouched ] || fail "it wrote through a link that somebody else may have made"
[ -z "$(ls "$TMPDIR")" ] || fail "it leaves files behind: $(ls "$TMPDIR")"
echo ok
