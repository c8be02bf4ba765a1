/* SPDX-License-Identifier: MIT */
#ifndef TEST_OPENER_H
#define TEST_OPENER_H

/* dlopen, called by the library. */
void *opener_open(const char *name, int flags);

/* What the plugin allocated when the library's constructor opened it. */
extern void *opener_early_block;

#endif
