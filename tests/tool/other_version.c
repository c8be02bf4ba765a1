/* SPDX-License-Identifier: MIT
 *
 * A library to preload that says it is a poolmalloc of another layout. */
#include "root.h"

extern const struct pm_root pm_root __attribute__((visibility("default")));
const struct pm_root pm_root = {.magic = PM_ROOT_MAGIC, .layout = PM_ROOT_LAYOUT + 1, .version = "9.8.7"};
