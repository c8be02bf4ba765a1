/* SPDX-License-Identifier: MIT
 *
 * The parts of poolmalloc doctor: the objects that serve allocation symbols, a running process, the limits.
 */
#ifndef PM_DOCTOR_H
#define PM_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct pm_program;

/* Objects in the order in which the dynamic linker looks symbols up. */
struct pm_object {
    char *name; /* for people */
    char *path; /* to open it with */
};

struct pm_objects {
    struct pm_object *entries;
    size_t count;
};

void pm_objects_add(struct pm_objects *objects, const char *name, const char *path);
void pm_objects_free(struct pm_objects *objects);

/* The objects that the dynamic linker would load for a program, by its own word: it is run in the mode of ldd(1), in
 * which it stops before the program's first instruction. NULL, or, when it cannot be asked, one clause that says why;
 * the caller frees it. The program itself is in the list in any case. */
char *pm_objects_of_program(struct pm_objects *objects, const struct pm_program *program, const char *library);

/* A section that says which object serves which allocation functions, and which one stands behind poolmalloc. */
void pm_objects_print(const struct pm_objects *objects);

/* Is the first object that defines malloc poolmalloc? NULL when there is none, else its name in `*first`. */
bool pm_objects_are_poolmalloc(const struct pm_objects *objects, const char **first);

int pm_doctor_process(const char *pid);
void pm_doctor_hint_python(const char *binary, const char *variable, bool active);

/* A section on what the kernel allows: to this process (0) or another. */
void pm_limits_print(pid_t pid);

#endif
