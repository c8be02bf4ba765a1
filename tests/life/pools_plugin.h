/* SPDX-License-Identifier: MIT */
#ifndef POOLS_PLUGIN_H
#define POOLS_PLUGIN_H

#include <stddef.h>

struct pools {
    void *(*malloc)(size_t size);
    void (*free)(void *block);
    int (*is_pooled)(const void *block);
};

/* The host has it. */
void host_publish(const struct pools *pools);

#endif
