# SPDX-License-Identifier: MIT
# The C compiler, its assembler and its linker: a machine-made program of many functions, with debug information and with
# link-time optimisation. Assembly, objects and programs have to be the same to the last byte.
needs_program gcc gcc
min_blocks=10000
# Three drivers, each with the programs it starts.
min_processes=8

prepare() {
    local i
    {
        printf '#include <stdio.h>\n#include <string.h>\nchar *volatile copy;\n'
        for ((i = 0; i < 200; i++)); do
            printf 'struct s%d { int a[%d]; const char *name; double d; };\n' $i $((i % 13 + 1))
            printf 'static long f%d(struct s%d *s, long x) {\n' $i $i
            printf '    for (int i = 0; i < %d; i++) s->a[i] += (int)(x * %d %% (i + 7));\n' \
                $((i % 13 + 1)) $((i * 37 % 101))
            printf '    switch (x %% 5) { case 0: s->d += %d; break; case 1: s->d *= %d.5; break;\n' $i $i
            printf '        default: s->name = "name %d"; }\n' $i
            if ((i > 0)); then
                printf '    struct s%d t = { .name = "t" };\n' $((i - 1))
                printf '    if (x > %d) { copy = strdup(t.name); return f%d(&t, x - 1) + copy[0]; }\n' $((200 - i)) $((i - 1))
            fi
            printf '    return x + s->a[0];\n}\n'
        done
        printf 'int main(void) { struct s199 s = { .name = "s" }; printf("%%ld\\n", f199(&s, 1000)); return 0; }\n'
    } >many_functions.c
}

run() {
    program gcc -std=gnu11 -O2 -S "$input/many_functions.c" -o many_functions.s
    program gcc -std=gnu11 -O1 -g3 "$input/many_functions.c" -o many_functions
    program gcc -std=gnu11 -O2 -flto=1 -frandom-seed=1 "$input/many_functions.c" -o many_functions_lto
    sha256sum many_functions*
    program ./many_functions
    program ./many_functions_lto
}
