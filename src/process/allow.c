/* SPDX-License-Identifier: MIT
 *
 * allow.c: the parent's word that a request may be run, in the request itself.  It is given after
 * the packet was sent: what the parent must look at first (rights.h) it looks at while the child
 * wakes up.
 *
 * The word, rmt_request.allowed, is attempt << 1 | SLEEPER.  The parent numbers its attempts to
 * start the one request from 1 on and writes here which of them may run: 0 none yet.  It only
 * grows, so an attempt that finds a higher number than its own was given up.  An attempt that was
 * allowed is never followed by another before it is known to be dead.  SLEEPER is set by the child
 * that is going to sleep, and taken by the parent, who then wakes it.
 */
#include "arena/wait.h"
#include "channel/message.h"
#include "process/task.h"

#include <errno.h>

#define SLEEPER 1u

/* The offset of that word; 0: it is no request. */
static uint64_t find(const struct rmt_handle *handle, struct rmt_request **ret_request)
{
    const uint8_t *data;
    size_t size;
    if (rmt_message_data(handle->offset, &data, &size) < 0 ||
        !rmt_request_sound((const void *)data, size))
        return 0;
    *ret_request = (struct rmt_request *)(uintptr_t)data;
    return handle->offset + RMT_BLOCK_HEADER +
           (uint64_t)(data - (const uint8_t *)rmt_payload(handle->offset)) +
           offsetof(struct rmt_request, allowed);
}

void rmt_request_allow(struct rmt_self *self, const struct rmt_handle *handle, uint32_t attempt,
                       uint32_t umask)
{
    struct rmt_request *request;
    uint64_t at = find(handle, &request);
    if (at == 0)
        return;             /* then no child runs it, either */
    request->umask = umask; /* read only by the attempt that is allowed here */
    uint32_t seen = rmt_load32(&request->allowed);
    rmt_store64(&self->thread->wakes, at); /* before the CAS: recovery repeats the wake */
    while (!rmt_cas32(&request->allowed, &seen, attempt << 1))
        ;               /* pairs-with: request.allowed (release) */
    if (seen & SLEEPER) /* one that was given up may sleep there, too */
        rmt_wake(&request->allowed, INT32_MAX);
}

int rmt_request_allowed(struct rmt_self *self, const struct rmt_handle *handle, uint32_t attempt)
{
    struct rmt_request *request;
    struct rmt_waiter w;
    uint64_t at = find(handle, &request);
    uint32_t slot = at == 0 ? 0 : rmt_word_slot(request->asker);
    if (slot == 0 || slot >= rmt_load64(&rmt_header()->members_high))
        return -EPROTO;
    int r = rmt_wait_start(&w, self, NULL);
    while (r >= 0 || r == -EINTR) {
        /* The mask is read after it.  pairs-with: request.allowed (acquire) */
        uint32_t seen = rmt_load32(&request->allowed);
        if (seen >> 1 == attempt)
            return 0;
        if (seen >> 1 > attempt || r == RMT_OWNER_DIED)
            return -ESRCH;
        if (w.spins > 0)
            rmt_sleep(&w, &request->allowed, seen, 0, 0); /* spins only */
        else if (seen & SLEEPER)
            r = rmt_sleep(&w, &request->allowed, seen, at, request->asker);
        else
            (void)rmt_cas32(&request->allowed, &seen, seen | SLEEPER);
    }
    return r;
}
