/* SPDX-License-Identifier: MIT
 *
 * The standard names by which a program limits its own address space. The kernel counts the whole region against that
 * limit, so the program could map nothing more, start no thread and load no library, long before a malloc fails. What
 * the region does not use goes back to the kernel here, right after the limit was set (region.h). Forwarders only.
 * Layer 5.
 *
 * In a file of its own: in a static program it is linked when the program calls one of these, and only then.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "compiler.h"
#include "os.h"
#include "override.h"
#include "region.h"

#ifdef __GLIBC__
typedef __rlimit_resource_t resource_type;
#else
typedef int resource_type;
#endif

static int
set(pid_t pid, int resource, const struct rlimit *limit, struct rlimit *former)
{
    int error = pm_os_limit(pid, resource, limit, former);
    if (error != 0) {
        errno = error;
        return -1;
    }
    /* Whoever's limit it was: if it was not ours, ours is as it was, and nothing happens. The child of a vfork does this
     * in its parent's memory, which then grows by chunks, and loses nothing else. */
    if (resource == RLIMIT_AS && limit != NULL)
        pm_region_obey_limit();
    return 0;
}

PM_EXPORT int
PM_NAME(setrlimit)(resource_type resource, const struct rlimit *limit)
{
    return set(0, (int)resource, limit, NULL);
}

PM_EXPORT int
PM_NAME(prlimit)(pid_t pid, resource_type resource, const struct rlimit *limit, struct rlimit *former)
{
    return set(pid, (int)resource, limit, former);
}

/* On a 64-bit machine these are the same, but for the names of their types. */

#ifdef __GLIBC__

_Static_assert(sizeof(struct rlimit) == sizeof(struct rlimit64), "one layout");

PM_EXPORT int
PM_NAME(setrlimit64)(resource_type resource, const struct rlimit64 *limit)
{
    return set(0, (int)resource, (const struct rlimit *)limit, NULL);
}

PM_EXPORT int
PM_NAME(prlimit64)(pid_t pid, resource_type resource, const struct rlimit64 *limit, struct rlimit64 *former)
{
    return set(pid, (int)resource, (const struct rlimit *)limit, (struct rlimit *)former);
}

#endif
