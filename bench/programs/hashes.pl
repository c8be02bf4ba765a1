# SPDX-License-Identifier: MIT
#
# Counts words in hashes, builds hashes of arrays of hashes, sorts and deletes.
#
# Models the perl script everyone has: a log file read line by line, counted, grouped and printed. Each scalar, each key
# and each hash entry is a block of its own, of a dozen different small sizes. The input is made here by a linear
# congruential generator, the same in every run; perl's hash order plays no part in what is printed.
use strict;
use warnings;
use integer;

my $lines = shift // 150000;
my $seed  = 42;

sub next_number {
    $seed = ($seed * 1103515245 + 12345) & 0x7fffffff;
    return $seed >> 8;
}

my (%count, %group, @log);
for my $i (1 .. $lines) {
    my $user = 'user' . next_number() % 5000;
    my $path = '/' . join '/', map { 'dir' . next_number() % 40 } 1 .. 1 + next_number() % 4;
    push @log, "$i $user $path " . next_number() % 100000;
}
for my $line (@log) {
    my ($id, $user, $path, $bytes) = split / /, $line;
    $count{$path}++;
    push @{ $group{$user} }, { id => $id, path => $path, bytes => $bytes };
}
my $total = 0;
for my $user (sort keys %group) {
    my @largest = sort { $b->{bytes} <=> $a->{bytes} || $a->{id} <=> $b->{id} } @{ $group{$user} };
    $total += $largest[0]{bytes} + length $largest[-1]{path};
    delete $group{$user} if $total % 3 == 0;
}
my @top = (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0 .. 4];
print scalar(keys %count), ' ', scalar(keys %group), " $total @top\n";
