/* SPDX-License-Identifier: MIT
 *
 * rights.h: what a fork server has from the moment when it was started and a request does not
 * carry.  A child of the server may have neither more nor less of it than its parent has at the
 * start, so a server serves only while its client's is what it was.
 */
#ifndef RMT_RIGHTS_H
#define RMT_RIGHTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>

#define RMT_RIGHTS_LIMITS 16 /* RLIM_NLIMITS of Linux */

struct rmt_rights { /* compared as bytes: filled with 0 first */
    uint64_t users[3], groups[3];
    uint64_t more_groups;     /* a hash of the list */
    uint64_t capabilities[5]; /* effective, permitted, inheritable, bounding, ambient */
    int64_t secure_bits;
    uint64_t limits[RMT_RIGHTS_LIMITS][2];
    uint64_t root[2];   /* of paths: device and inode */
    uint64_t variables; /* a hash of the environment's that are read when a program starts */
    int64_t no_new_privileges, filtered, filters;
    int64_t nice, policy;
};

/* Of the calling thread, with its file mode creation mask.  What cannot be found out is the same
 * each time.  One call at a time. */
void rmt_rights_now(struct rmt_rights *ret_rights, uint32_t *ret_umask);

bool rmt_rights_same(const struct rmt_rights *a, const struct rmt_rights *b);

#endif
