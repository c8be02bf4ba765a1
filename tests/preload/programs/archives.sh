# SPDX-License-Identifier: MIT
# tar, xz and zstd: a tree of files is packed, compressed with two threads, unpacked and compared. The archives have to be
# the same to the last byte.
needs_program tar tar
needs_program xz xz-utils
needs_program zstd zstd
min_blocks=1000
# tar starts the compressors itself in two of the calls.
min_processes=12

prepare() {
    local i
    mkdir -p tree/{0,1,2}/{an-empty-directory,two}
    for ((i = 0; i < 1200; i++)); do
        printf "%0$((i * 53 % 2000 + 1))d\n%s\n" "$i" "$((i * 7919 % 1009)) again" >"tree/$((i % 3))/two/file-$i"
    done
    seq 1 300000 >tree/2/numbers
    ln -s ../2/numbers tree/0/link
    ln tree/2/numbers tree/1/same
    find tree -exec touch -h -d @1700000000 {} +
}

run() {
    local fixed=(--sort=name --owner=0 --group=0 --numeric-owner --mtime=@1700000000 --format=pax
        '--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime')
    program tar "${fixed[@]}" -C "$input" -cf tree.tar tree
    program xz -T2 -3 --block-size=512KiB -k tree.tar
    program zstd -q -T2 -9 -k tree.tar
    program tar "${fixed[@]}" -C "$input" --xz -cf again.tar.xz tree
    program tar "${fixed[@]}" -C "$input" --zstd -cf again.tar.zst tree
    sha256sum ./*

    mkdir from_xz from_zstd
    program xz -dc -T2 tree.tar.xz | program tar -C from_xz -xf -
    program tar -C from_zstd --zstd -xf tree.tar.zst
    program xz -t again.tar.xz
    program zstd -q -t again.tar.zst
    diff -r --no-dereference "$input/tree" from_xz/tree
    diff -r --no-dereference "$input/tree" from_zstd/tree
    program tar -tf again.tar.xz | wc -l
}
