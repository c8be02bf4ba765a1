/* SPDX-License-Identifier: MIT
 *
 * A program that opens and closes a library again and again, also from threads; its constructor and destructor use the
 * heap while the loader holds its lock. The argument is the library.
 */
#include "support/check.h"

#include <dlfcn.h>
#include <poolmalloc.h>
#include <pthread.h>
#include <stdlib.h>

static void *
open_and_close(void *path)
{
    for (int i = 0; i < 20; i++) {
        void *library = dlopen(path, i % 2 == 0 ? RTLD_NOW : RTLD_LAZY);
        REQUIRE(library != NULL, "%s", dlerror());
        REQUIRE(dlsym(library, "no_such_symbol") == NULL && dlerror() != NULL, "a symbol nobody defines");
        free(malloc(700));
        REQUIRE(dlclose(library) == 0, "%s", dlerror());
    }
    return NULL;
}

int
main(int count, char **arguments)
{
    REQUIRE(count == 2, "which library?");
    open_and_close(arguments[1]);
    for (int i = 0; i < 5; i++) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, open_and_close, arguments[1]) == 0, "no thread");
        pthread_join(thread, NULL);
    }
    void *block = malloc(24);
    REQUIRE(pm_is_pooled(block), "the pools are not in use");
    free(block);
    return 0;
}
