/* SPDX-License-Identifier: MIT
 *
 * Where our own libraries are: beside the command as in a build directory, where the installation has its libraries, or
 * where the user says.
 */
#ifndef PM_LIBRARY_H
#define PM_LIBRARY_H

/* The absolute path of the library called `name`, or of `given` when that is not NULL. Ends the command when it is not
 * there or cannot be named in LD_PRELOAD. */
char *pm_library_find(const char *name, const char *given);

/* The same, but NULL instead of the end. */
char *pm_library_look(const char *name);

/* Puts the library in front of what LD_PRELOAD holds already; another libpoolmalloc*.so there goes away. */
void pm_library_preload(const char *library);

#define PM_LIBRARY_NAME "libpoolmalloc.so.1"
#define PM_LIBRARY_ADVISE_NAME "libpoolmalloc_advise.so"

#endif
