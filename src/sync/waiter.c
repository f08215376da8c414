/* SPDX-License-Identifier: MIT
 *
 * waiter.c: dead waiters, and looking for them; see waiter.h.
 */
#include "sync/waiter.h"
#include "arena/block.h"
#include "arena/kind.h"
#include "base/os.h"

#include <errno.h>

#define WATCH_PERIOD 500000000 /* ns between two looks of one process while it sleeps */
#define TRY_PERIOD 20000000    /* the same for those who do not sleep */

static rmt_waiter_fn *waiter_fns[RMT_KINDS]; /* written before main */
static rmt_a64 last_look;                    /* process-local: when members were last looked at */

void rmt_waiter_register(uint32_t kind, rmt_waiter_fn *fn)
{
    waiter_fns[kind] = fn;
}

bool rmt_object_lives(uint64_t at, uint32_t kind, uint32_t generation)
{
    uint64_t block = at - RMT_BLOCK_HEADER;
    if (at <= RMT_BLOCK_HEADER || !rmt_block_valid(block))
        return false;
    /* Peeks: if it does not live, somebody may be making another block here.  If it does, both were
     * written before the hold that names it, and that hold before the death that the caller has
     * proof of. */
    const struct rmt_block *header = rmt_block_at(block);
    return rmt_peek32(&header->generation) == generation &&
           (kind == 0 || rmt_peek32(&header->kind) == kind);
}

static void recover_waiter(struct rmt_self *self, uint64_t dead_offset, int index)
{
    rmt_a64 *what = rmt_at(rmt_hold_what_of(dead_offset, index));
    uint64_t at = rmt_load64(what) & ~RMT_TAG_MASK;
    uint64_t generation = rmt_load64_relaxed(rmt_at(rmt_hold_arg_of(dead_offset, index)));
    if (rmt_object_lives(at, 0, (uint32_t)generation)) {
        uint32_t kind = rmt_peek32(&rmt_block_at(at - RMT_BLOCK_HEADER)->kind);
        if (kind < RMT_KINDS && waiter_fns[kind]) {
            waiter_fns[kind](self, at, dead_offset, index);
            return;
        }
    }
    rmt_store64(what, 0); /* the object went before its waiter did */
}

/* One thread of the process looks per period; it is the only one that gets past the CAS. */
static bool look(struct rmt_self *self, int64_t period)
{
    uint64_t last = rmt_load64_relaxed(&last_look);
    int64_t now = rmt_os_now();
    if (last != 0 && now - (int64_t)last < period)
        return false;
    if (!rmt_cas64(&last_look, &last, (uint64_t)now))
        return false;
    return rmt_sweep_holders(self) > 0;
}

bool rmt_look_for_dead(struct rmt_self *self)
{
    return look(self, TRY_PERIOD);
}

int rmt_sleep_watching(struct rmt_waiter *w, rmt_a32 *word, uint32_t seen, uint64_t offset)
{
    uint32_t slept = w->slept;
    int r = rmt_sleep(w, word, seen, offset, 0);
    /* Not after the first slices, which are short: most sleeps end in them.  But whoever waits a
     * short while again and again gets no further than them. */
    if ((r == 0 && slept > 4) || r == -ETIMEDOUT)
        look(w->self, WATCH_PERIOD);
    return r;
}

__attribute__((constructor)) static void register_hold(void)
{
    rmt_hold_register(RMT_HOLD_WAITER, recover_waiter);
}
