/* SPDX-License-Identifier: MIT
 *
 * A plugin that contains libpoolmalloc_api.a. What its host calls is reached through pointers, which the host gets
 * before the library in here starts.
 */
#include "pools_plugin.h"

#include <poolmalloc.h>

void host_publish(const struct pools *pools) __attribute__((weak));

static const struct pools pools = {pm_malloc, pm_free, pm_is_pooled};

__attribute__((constructor(101))) static void
publish(void)
{
    if (host_publish != NULL)
        host_publish(&pools);
}

/* The last of the plugin's own code. Its blocks are still there. */
static void *kept;

__attribute__((constructor)) static void
keep(void)
{
    kept = pm_malloc(300);
}

__attribute__((destructor)) static void
give(void)
{
    pm_free(kept);
}
