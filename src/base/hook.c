/* SPDX-License-Identifier: MIT
 *
 * hook.c: the test build's hooks: the atomics' hook and fault injection.  Empty in the normal
 * build.
 */
#include "base/atomic.h"
#include "base/fault.h"

typedef int rmt_hook_not_empty; /* ISO C forbids an empty translation unit */

#ifdef RAMET_HOOKS
rmt_hook_fn *rmt_hook;

static rmt_a32 fault_site; /* site + 1; 0 disarmed */
static rmt_a32 fault_left; /* calls until the one that fails */
static int fault_error;

void rmt_fault_arm(enum rmt_fault_site site, int nth, int error)
{
    fault_error = error;
    atomic_store(&fault_left, (uint32_t)nth);
    atomic_store(&fault_site, (uint32_t)site + 1);
}

void rmt_fault_disarm(void)
{
    atomic_store(&fault_site, 0);
}

int rmt_fault(enum rmt_fault_site site)
{
    if (atomic_load(&fault_site) != (uint32_t)site + 1)
        return 0;
    if (atomic_fetch_sub(&fault_left, 1) != 1)
        return 0;
    atomic_store(&fault_site, 0);
    return fault_error;
}
#endif
