# SPDX-License-Identifier: MIT
# PHP opens its extensions with RTLD_DEEPBIND: each would get libc's malloc and free if poolmalloc's dlopen did not drop the
# flag. Once with PHP's own allocator on top, once with every block from malloc.
needs_program php php-cli
needs_success "php-mbstring, php-xml or php-sqlite3" \
    php -r 'exit(array_diff(["mbstring", "dom", "sqlite3"], get_loaded_extensions()) ? 1 : 0);'
min_blocks=20000
min_processes=3

run() {
    program php -r 'echo 1, "\n";'
    program php "$inputs/extensions.php"
    program env USE_ZEND_ALLOC=0 php "$inputs/extensions.php"
}
