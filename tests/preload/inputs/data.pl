# SPDX-License-Identifier: MIT
#
# Hashes, arrays, strings, sorting, regular expressions, serialisation, forks and interpreter threads. Output does not
# depend on addresses or on the order of hashes.
use strict;
use warnings;
use threads;
use threads::shared;
use Data::Dumper;
use Digest::MD5 qw(md5_hex);
use Storable qw(freeze thaw dclone);

my $state = 2024;

sub random {
    my ($limit) = @_;
    $state = ($state * 1103515245 + 12345) % 2147483648;
    return int($state / 65536) % $limit;
}

# Slots replaced at random with strings around the pools' upper bound.
my @slots;
$slots[random(8000)] = chr(97 + random(26)) x random(900) . $_ for 1 .. 60_000;
print 'slots ', md5_hex(join ',', map { $_ // '' } @slots), "\n";

# Nested data, copied, serialised and compared.
my %people;
for my $i (1 .. 8_000) {
    my $name = sprintf 'person-%05d', random(30_000);
    push @{ $people{$name}{visits} }, { place => 'p' . random(50), day => $i };
    $people{$name}{score} += random(100);
}
my $copy = dclone(\%people);
delete $people{$_} for grep { $people{$_}{score} % 2 } keys %people;
my $thawed = thaw(freeze($copy));
$Data::Dumper::Sortkeys = 1;
$Data::Dumper::Indent   = 0;
print 'kept ', scalar(keys %people), ' of ', scalar(keys %$copy), "\n";
print 'same ', (Dumper($copy) eq Dumper($thawed) ? 'yes' : 'no'), ' ', md5_hex(Dumper($thawed)), "\n";

# Regular expressions and strings that grow.
my $text = '';
$text .= "key$_=value" . random(1000) . ";\n" for 1 .. 12_000;
my %pairs = $text =~ /^(\w+)=(\w+);$/mg;
(my $swapped = $text) =~ s/(\w+)=(\w+)/$2=$1/g;
print 'pairs ', scalar(keys %pairs), ' ', md5_hex($swapped), "\n";
print 'sorted ', md5_hex(join ' ', sort { $pairs{$a} cmp $pairs{$b} or $a cmp $b } keys %pairs), "\n";

# Children that go on with the parent's heap.
for my $child (1 .. 8) {
    pipe(my $reader, my $writer) or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        close $reader;
        my %own = map { $_ => "$child-$pairs{$_}" } keys %pairs;
        delete $own{"key$_"} for 1 .. 6_000;
        print {$writer} md5_hex(join ' ', map { $own{$_} } sort keys %own);
        close $writer;
        exit 0;
    }
    close $writer;
    my $answer = <$reader>;
    waitpid $pid, 0;
    print "child $child $answer status $?\n";
}

# Every thread clones the whole interpreter and destroys its copy; results are freed by the thread that joins.
undef %pairs;
undef %people;
undef $copy;
undef $thawed;
@slots = @slots[0 .. 499];
my $total : shared = 0;
for my $round (1 .. 3) {
    my @threads = map {
        my $number = $_;
        threads->create({ context => 'list' }, sub {
            my @words = map { "t$number-" . ($_ * $number) } 1 .. 2500;
            my %seen  = map { $_ => [split /-/] } @words, @slots[1 .. 100];
            { lock $total; $total += keys %seen; }
            return sort keys %seen;
        });
    } 1 .. 4;
    print "round $round thread $_ ", md5_hex(join ' ', $threads[$_ - 1]->join), "\n" for 1 .. 4;
}
print "total $total\n";
