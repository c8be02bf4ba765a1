/* SPDX-License-Identifier: MIT
 *
 * The parts of poolmalloc doctor: the objects that serve allocation symbols, a running process, the limits.
 */
#ifndef PM_DOCTOR_H
#define PM_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct pm_program;
struct pm_target;

/* Objects in the order in which the dynamic linker looks symbols up. */
struct pm_object {
    char *name; /* for people */
    char *path; /* to open it with */
    const struct pm_target *target; /* the process that it is loaded in, else NULL */
    uint64_t start;                 /* its first address there */
    bool poolmalloc;                /* its malloc is poolmalloc's */
};

struct pm_objects {
    struct pm_object *entries;
    size_t count;
};

struct pm_object *pm_objects_add(struct pm_objects *objects, const char *name, const char *path);
void pm_objects_free(struct pm_objects *objects);

/* The objects that the dynamic linker would load for a program, by its own word: it is run in the mode of ldd(1), in
 * which it stops before the program's first instruction. `library` is preloaded if it is not NULL. The answer is NULL,
 * or, when it cannot be asked, one clause that says why; the caller frees it. The program itself is in the list in any
 * case. */
char *pm_objects_of_program(struct pm_objects *objects, const struct pm_program *program, const char *library);

/* A section that says which object serves which allocation functions, and which one stands behind poolmalloc. */
void pm_objects_print(const struct pm_objects *objects);

/* The first object behind `after` that defines the symbol, NULL when there is none. `after` NULL: the first of all. */
const struct pm_object *pm_objects_server(const struct pm_objects *objects, const char *symbol,
                                          const struct pm_object *after);

/* The name of the sanitizer whose runtime one of them is, NULL when none is. */
const char *pm_objects_sanitizer(const struct pm_objects *objects);

/* A section on what does not use poolmalloc although it is active; nothing when there is nothing to say. */
void pm_bypass_print_process(const struct pm_objects *objects, const struct pm_target *target);
void pm_bypass_print_program(const struct pm_objects *objects);

int pm_doctor_process(const char *pid);
void pm_doctor_hint_python(const char *binary, const char *variable, bool active);

/* Whose limits: those of this process (0), as a program started from it would have them, or of another one. */
struct pm_limits {
    pid_t pid;
    uint64_t pools_start, pools_end; /* the region of its pools, as far as it is known */
    bool no_huge_pages;              /* it was told not to ask for any */
};

/* A section on what the kernel allows. */
void pm_limits_print(const struct pm_limits *of);

#endif
