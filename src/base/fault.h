/* SPDX-License-Identifier: MIT
 *
 * fault.h: fault injection.  In the test build (RAMET_HOOKS) a system call in os.c first asks
 * rmt_fault(site) whether it shall fail; a test arms a site with the number of the call that fails.
 */
#ifndef RMT_FAULT_H
#define RMT_FAULT_H

enum rmt_fault_site {
    RMT_FAULT_MEMFD,
    RMT_FAULT_TRUNCATE,
    RMT_FAULT_COMMIT,
    RMT_FAULT_MAP,
    RMT_FAULT_PIDFD,
    RMT_FAULT_FORK,
    RMT_FAULT_SOCKETPAIR,
    RMT_FAULT_SENDMSG,
    RMT_FAULT_EVENTFD,
    RMT_FAULT_MALLOC,
    RMT_FAULT_SITES
};

#ifdef RAMET_HOOKS
int rmt_fault(enum rmt_fault_site site); /* 0, or the negative errno to fail with */
void rmt_fault_arm(enum rmt_fault_site site, int nth, int error); /* nth >= 1; error < 0 */
void rmt_fault_disarm(void);
#else
static inline int rmt_fault(enum rmt_fault_site site)
{
    (void)site;
    return 0;
}
#endif

#endif
