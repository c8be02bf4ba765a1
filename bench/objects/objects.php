<?php
// SPDX-License-Identifier: MIT
// objects.php CASE SIZE [PARAMETER]: a few of the object benchmarks in PHP. The graphs are those of graphs.c.
final class Node
{
    public ?Node $left = null;
    public ?Node $right = null;
}

function cpu(): float
{
    $usage = getrusage();
    return $usage["ru_utime.tv_sec"] + $usage["ru_stime.tv_sec"]
        + ($usage["ru_utime.tv_usec"] + $usage["ru_stime.tv_usec"]) * 1e-6;
}

function each_one(float $seconds, int $operations): void
{
    printf("each %.6f ns\n", $seconds * 1e9 / $operations);
}

function build(int $depth): Node
{
    $node = new Node;
    if ($depth > 0) {
        $node->left = build($depth - 1);
        $node->right = build($depth - 1);
    }
    return $node;
}

function check(Node $node): int
{
    return $node->left === null ? 1 : 1 + check($node->left) + check($node->right);
}

function trees(int $depth): void
{
    $start = cpu();
    $nodes = check(build($depth + 1));
    $lasting = build($depth);
    for ($small = 4; $small <= $depth; $small += 2)
        for ($i = 0; $i < 1 << ($depth - $small + 4); $i++)
            $nodes += check(build($small));
    $nodes += check($lasting);
    each_one(cpu() - $start, $nodes);
    echo "checksum $nodes -\n";
}

function linked_list(int $total, int $length): void
{
    $walked = 0;
    $start = cpu();
    for ($done = 0; $done < $total; $done += $length) {
        $first = null;
        for ($i = 0; $i < $length; $i++) {
            $node = new Node;
            $node->right = $first;
            $first = $node;
        }
        for ($node = $first; $node !== null; $node = $node->right)
            $walked++;
    }
    each_one(cpu() - $start, $total);
    echo "checksum $walked -\n";
}

function rings(int $total, int $length): void
{
    $start = cpu();
    for ($done = 0; $done < $total; $done += $length) {
        $first = $last = new Node;
        for ($i = 1; $i < $length; $i++) {
            $last->right = new Node;
            $last = $last->right;
        }
        $last->right = $first;
    }
    unset($first, $last);
    gc_collect_cycles();
    each_one(cpu() - $start, $total);
}

$cases = ["trees" => "trees", "list" => "linked_list", "rings" => "rings"];
if ($argc < 3 || !isset($cases[$argv[1]])) {
    fwrite(STDERR, "usage: objects.php CASE SIZE [PARAMETER]\n");
    exit(2);
}
$cases[$argv[1]]((int)$argv[2], (int)($argv[3] ?? 0));
