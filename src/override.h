/* SPDX-License-Identifier: MIT
 *
 * PM_NAME(name): how the override layer defines a standard name. It is the name itself, or, in the objects for fully
 * static programs, the one that the linker's --wrap gives it: there the libc that the program contains goes on serving
 * as the system allocator. Layer 5: uses nothing.
 */
#ifndef PM_OVERRIDE_H
#define PM_OVERRIDE_H

#if PM_WRAP
#define PM_NAME(name) __wrap_##name
/* The names of --wrap are in no header. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#else
#define PM_NAME(name) name
#endif

#endif
