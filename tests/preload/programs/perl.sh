# SPDX-License-Identifier: MIT
# Perl frees nearly everything one by one, forks with a full heap, and clones and destroys interpreters in threads.
needs_success perl perl -Mthreads -MData::Dumper -MDigest::MD5 -MStorable -e 1
min_blocks=100000
min_processes=9

run() {
    PERL_HASH_SEED=0 program perl "$inputs/data.pl"
}
