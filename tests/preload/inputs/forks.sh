# SPDX-License-Identifier: MIT
#
# Hundreds of forks of a shell whose heap is full of variables: subshells, command substitutions, pipelines, jobs.
declare -A table
for ((i = 0; i < 2000; i++)); do
    printf -v "table[key$i]" '%*d' $((i % 300 + 1)) "$i"
done

# Children that change their copy of the heap; the parent's must not notice.
total=0
for ((i = 0; i < 150; i++)); do
    answer=$(
        for ((k = i; k < 2000; k += 50)); do unset "table[key$k]"; done
        words=("${table[@]# }")
        echo "${#table[@]} ${#words[@]}"
    )
    ((total += ${answer% *}))
done
echo "substitutions $total ${#table[@]}"

for ((i = 0; i < 60; i++)); do
    (
        exit $((${#table[key$i]} % 120))
    )
    echo -n "$? "
done
echo

for ((i = 0; i < 40; i++)); do
    printf '%s\n' "${table[@]:0:200}" | while read -r number; do echo "${number}x"; done | sort | tail -n 1
done | sort | uniq -c

# Jobs that run at the same time, nested three deep.
for ((i = 0; i < 30; i++)); do
    ( ( ( echo "$i ${table[key$((i * 10))]// /}" >"job$i" ) & wait ) & wait ) &
done
wait
cat job{0..29}

fibonacci() {
    (($1 < 2)) && echo "$1" || echo $(($(fibonacci $(($1 - 1))) + $(fibonacci $(($1 - 2)))))
}
fibonacci 9
trap 'echo "done with ${#table[@]}"' EXIT
