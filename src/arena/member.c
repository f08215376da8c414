/* SPDX-License-Identifier: MIT
 *
 * member.c: member slots: taking one, joining in it, reserving one for a child.  The transitions of
 * the state word are in layout.h.  No guard: a process without a slot has no name to hold one with.
 */
#include "arena/local.h"
#include "base/os.h"

#include <errno.h>
#include <unistd.h>

static struct rmt_self bookkeeper; /* under the table lock */

struct rmt_self *rmt_bookkeeper(void)
{
    return &bookkeeper;
}

/* Makes slot `high` usable, where no other process has been faster. -EUSERS: all slots are in use.
 */
static int grow(uint64_t high)
{
    if (high >= RMT_SLOTS)
        return -EUSERS;
    uint64_t start = rmt_member_offset((uint32_t)high) & ~4095ull;
    int r = rmt_os_commit(rmt_local.fd, start, 4096);
    if (r < 0)
        return r;
    rmt_cas64(&rmt_header()->members_high, &high, high + 1); /* losing means that it has grown */
    return 0;
}

int rmt_member_take(uint32_t *ret_slot, uint32_t *ret_epoch)
{
    struct rmt_header *header = rmt_header();
    for (;;) {
        uint64_t high = rmt_load64(&header->members_high);
        uint64_t from = rmt_add64(&header->members_cursor, 1);
        for (uint64_t i = 0; i + 1 < high; i++) {
            uint32_t slot = (uint32_t)(1 + (from + i) % (high - 1));
            rmt_a64 *state = &rmt_member_at(slot)->state;
            uint64_t word = rmt_load64(state);
            uint32_t epoch = (uint32_t)(word >> 32);
            if (rmt_member_state_of(word) == RMT_MEMBER_FREE &&
                rmt_cas64(state, &word, rmt_member_word(epoch, getpid(), RMT_MEMBER_JOINING))) {
                *ret_slot = slot;
                *ret_epoch = epoch;
                return 0;
            }
        }
        int r = grow(high);
        if (r < 0)
            return r;
    }
}

/* In the process that is going to live there: who it is, before the store or CAS that makes it
 * LIVE. */
static void write_identity(struct rmt_member *m)
{
    rmt_store64_relaxed(&m->pid, (uint64_t)getpid());
    rmt_store64_relaxed(&m->start_time, rmt_os_ticks());
    rmt_poke64(&m->image, rmt_os_image());
    rmt_poke64(&m->looked, 0);
    rmt_store32_relaxed(&m->outside_count, 0);
    rmt_store64_relaxed(&m->watched, 0);
}

static void settle(uint32_t slot, uint32_t epoch)
{
    rmt_local.slot = slot;
    rmt_local.epoch = epoch;
    uint64_t offset = rmt_member_offset(slot) + offsetof(struct rmt_member, thread);
    bookkeeper = (struct rmt_self){
        .word = rmt_word(epoch, 0, slot), .offset = offset, .thread = rmt_at(offset)};
    rmt_store64(&bookkeeper.thread->word, bookkeeper.word);
}

int rmt_member_join(uint32_t slot, uint32_t epoch)
{
    struct rmt_member *m = rmt_member_at(slot);
    write_identity(m);
    rmt_store64_relaxed(&m->parent, 0);
    rmt_store64_relaxed(&m->recoverer, 0);
    /* Pid and start time before it.  pairs-with: member.state (release) */
    rmt_store64(&m->state, rmt_member_word(epoch, getpid(), RMT_MEMBER_LIVE));
    settle(slot, epoch);
    return 0;
}

int rmt_member_reserve(uint32_t slot, uint32_t epoch)
{
    struct rmt_member *m = rmt_member_at(slot);
    rmt_store64_relaxed(&m->parent, rmt_word(rmt_local.epoch, 0, rmt_local.slot));
    rmt_store64_relaxed(&m->recoverer, 0);
    rmt_store64(&m->state, rmt_member_word(epoch, getpid(), RMT_MEMBER_RESERVED));
    return 0;
}

int rmt_member_claim(uint32_t slot, uint32_t epoch, pid_t parent)
{
    struct rmt_member *m = rmt_member_at(slot);
    uint64_t reserved = rmt_member_word(epoch, parent, RMT_MEMBER_RESERVED);
    /* Losing: the parent was found dead and its reservation taken back before this child could say
     * that it lives.  Then the slot may be another's by now, whose identity must stay. */
    if (rmt_load64(&m->state) != reserved)
        return -ECHILD;
    write_identity(m);
    if (!rmt_cas64(&m->state, &reserved, rmt_member_word(epoch, getpid(), RMT_MEMBER_LIVE)))
        return -ECHILD; /* not -EOWNERDEAD, which says of a lock that it was got */
    settle(slot, epoch);
    return 0;
}
