/* SPDX-License-Identifier: MIT
 *
 * Which dynamic linkers the command runs to ask them what they would load. The name of one stands in the program's
 * file, where anything may stand: a file that is only looked at must not decide what is executed.
 */
#ifndef PM_LOADER_H
#define PM_LOADER_H

#include <limits.h>
#include <stdbool.h>

/* May the dynamic linker that a program names be run? Yes for those of glibc and musl, under the names that systems
 * have for them or in the stores of Nix and Guix, when nobody but their owner can change or replace them. Stores the
 * file that the name leads to, or one clause that says why not. */
bool pm_loader_may_run(const char *interpreter, char file[PATH_MAX], const char **reason);

#endif
