# SPDX-License-Identifier: MIT
# git on a repository it makes itself: history, diffs, merges, threaded packing. Names and dates are fixed, so every
# object, and with them the pack, has the same name in both runs.
needs_program git git
min_blocks=10000
min_processes=20

git() {
    program git -C repository "$@"
}

# A stream for fast-import: 400 commits, each changing one of 40 files.
history_stream() {
    local commit file line
    for ((commit = 1; commit <= 400; commit++)); do
        file=$((commit * 7 % 40))
        printf 'commit refs/heads/main\n'
        printf 'committer Test <test@example.org> %d +0000\n' $((1700000000 + commit * 60))
        printf 'data <<END\nChange %d\n\nFile %d gets its text number %d.\nEND\n' $commit $file $commit
        printf 'M 100644 inline directory%d/file%d.txt\ndata <<END\n' $((file % 5)) $file
        for ((line = 0; line < 60; line++)); do
            printf 'line %d of file %d says %d\n' $line $file $((line % 9 == commit % 9 ? commit : file))
        done
        printf 'END\n\n'
    done
}

prepare() {
    history_stream >stream
    cat >"$HOME/.gitconfig" <<END
[user]
    name = Test
    email = test@example.org
[gc]
    auto = 0
[maintenance]
    auto = false
[init]
    defaultBranch = main
END
}

run() {
    export GIT_AUTHOR_DATE='1710000000 +0000' GIT_COMMITTER_DATE='1710000000 +0000' GIT_CONFIG_NOSYSTEM=1 GIT_PAGER=cat
    mkdir repository
    git init --quiet
    git fast-import --quiet <"$input/stream"
    git checkout --quiet main

    # Commits with index, hooks and merge machinery; two branches change different files.
    git checkout --quiet -b topic main~20
    sed -i 's/says/shouts/' repository/directory*/file1*.txt
    git commit --quiet -a -m 'Shout in the files of ten'
    git rm --quiet directory1/file6.txt
    git commit --quiet -m 'Drop a file'
    git checkout --quiet main
    git merge --quiet --no-edit -X ours topic
    git log --format=raw --stat | sha256sum
    git log -p -M --topo-order | sha256sum
    git log --oneline -n 3
    git blame directory2/file7.txt | sha256sum
    git diff main~50 main --shortstat
    git grep -c 'shouts' | sha256sum

    # Threads that search for deltas may find different ones; what must be the same is every object. One thread packs
    # deterministically.
    git -c pack.threads=2 repack -a -d -f -q --depth=30 --window=30
    git fsck --full --strict 2>&1
    git -c pack.threads=1 repack -a -d -f -q
    (cd repository/.git/objects/pack && sha256sum ./*.pack)
    git rev-list --objects --all | sort | sha256sum
    git archive --format=tar main | sha256sum
    git clone --quiet --bare --no-local . copy.git
    git -C copy.git fsck --full 2>&1
    git rev-parse HEAD 'HEAD^{tree}'
}
