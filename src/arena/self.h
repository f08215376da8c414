/* SPDX-License-Identifier: MIT
 *
 * self.h: who the calling thread is in the arena (process-local), its holds, and whether others
 * live.
 *
 * Every public operation starts with   struct rmt_self *self;  int r = rmt_self(&self);  if (r < 0)
 * return r;
 */
#ifndef RMT_SELF_H
#define RMT_SELF_H

#include "arena/layout.h"
#include "arena/map.h"

#include <sys/types.h>

struct rmt_self {
    uint64_t word;             /* rmt_word of this thread, flags 0 */
    uint64_t offset;           /* of its shared sub-slot */
    struct rmt_thread *thread; /* the shared sub-slot */
    uint64_t found_dead; /* word of a process found dead inside a guard; recovered at unlock */
    uint32_t in_guard;   /* 1 while this thread holds a guard: guards never nest */
    uint32_t recovering; /* 1 while this thread runs a recovery: whom it finds dead then waits */
    uint32_t spin;       /* ns that spinning is worth now (wait.c adapts it) */
    uint32_t freed;     /* 1 where this thread has freed a member slot: recover.c looks once more */
    uint32_t recovered; /* dead members that this thread has recovered so far: sweep.c counts */
    uint64_t wake_later; /* futex word of one who was notified and cannot go on before this thread
                            gives its lock back: woken then (sync/lock.h); 0 none */
    uint32_t generation, generations; /* the next for a block, and how many from there on are this
                                         thread's own (block.c) */
    uint32_t locks;        /* locks that this thread took less those that it gave back (thread.c) */
    uint32_t rlocks;       /* those of them that it alone can give back, and still has */
    uint32_t sleeps;       /* sleeps so far: every now and then wait.c tries spinning again */
    const rmt_a64 *cancel; /* word of the cancel object that ends this thread's waits; NULL none */
    void *cancel_handle;   /* the handle by which it was given (sync/cancel.c) */
};

/* NULL until the thread is registered.  initial-exec: one load, also from a shared object. */
extern _Thread_local struct rmt_self *rmt_self_now __attribute__((tls_model("initial-exec")));

/* A word that is 1 in a process that is a member and 0 in a child that was made behind our back:
 * its page is wiped on fork (MADV_WIPEONFORK), and only the fork handler sets it again. */
extern const rmt_a32 *rmt_member_mark;

/* Registers process and thread where needed.  0, -ENOMEM, -ENOTRECOVERABLE, -EMFILE, ... */
int rmt_self_slow(struct rmt_self **ret_self);
static inline int rmt_self(struct rmt_self **ret_self)
{
    struct rmt_self *s = rmt_self_now;
    if (RMT_LIKELY(s != NULL && atomic_load_explicit(rmt_member_mark, memory_order_relaxed) &&
                   atomic_load_explicit(&rmt_header()->poisoned, memory_order_relaxed) == 0)) {
        *ret_self = s;
        return 0;
    }
    return rmt_self_slow(ret_self);
}

/* ---- holds: what this thread has in its hands.  Recovery of a dead thread gives each back through
 * the tag's function.  Tags are the low 6 bits of hold.what. */
enum rmt_hold_tag {
    RMT_HOLD_BLOCK = 1,  /* offset: a block (with its chain) to destroy and free */
    RMT_HOLD_ITEM = 2,   /* offset: the queue; arg: the block taken from it, or 0.  Reported lost */
    RMT_HOLD_PERMIT = 3, /* offset: the semaphore; arg: permits.  Given back */
    RMT_HOLD_CLAIM = 4,  /* offset: the job's claim record.  Failed and given back */
    RMT_HOLD_WAITER = 5, /* offset: object in whose waiter list this thread stands */
    RMT_HOLD_OWNED =
        6, /* offset: lock block; arg free.  For kinds that want to hear of the owner's death */
    RMT_HOLD_PAGE = 7, /* offset: a run of pages that is not, or no longer, a block (page.c) */
    RMT_HOLD_TAGS = 16
};
#define RMT_TAG_MASK 63ull

/* Index of an empty hold, or -ENOSPC. */
int rmt_hold_find_slow(const struct rmt_self *self);
static inline int rmt_hold_find(const struct rmt_self *self)
{
    if (RMT_LIKELY(rmt_load64_relaxed(&self->thread->hold[0].what) == 0))
        return 0;
    return rmt_hold_find_slow(self);
}
static inline uint64_t rmt_hold_what(const struct rmt_self *self, int i) /* offset of the word */
{
    return self->offset + offsetof(struct rmt_thread, hold) + (uint64_t)i * sizeof(struct rmt_hold);
}
static inline uint64_t rmt_hold_arg(const struct rmt_self *self, int i)
{
    return rmt_hold_what(self, i) + offsetof(struct rmt_hold, arg);
}

/* The holds `what` of all threads in whose arg, shifted right, stands that generation; `low` is the
 * sum of the low halves of their args.  For check(), which runs while nobody works. */
struct rmt_hold_sum {
    uint64_t what;
    unsigned shift;
    uint32_t generation;
    uint64_t count, low;
};
void rmt_hold_sum(struct rmt_hold_sum *sum);

/* What recovery does with one hold of a dead thread: give it back and empty the hold, by a commit.
 * `dead` is the dead thread's sub-slot at offset `dead_offset`; `self` is the recovering thread.
 * May be killed anywhere and run again by somebody else. */
typedef void rmt_hold_fn(struct rmt_self *self, uint64_t dead_offset, int index);
void rmt_hold_register(enum rmt_hold_tag tag, rmt_hold_fn *fn); /* before main, by constructors */

/* ---- death.  1: the process of `word` is proven dead (or its slot has another life); 0: not. */
int rmt_dead(uint64_t word);

/* As rmt_dead, and 1 also if it left by exec.  That is asked once in RMT_LOOK_PERIOD of each
 * member, by all processes together, and else answered with 0: who gets a 0 has to ask again. */
#define RMT_LOOK_PERIOD 250000000 /* ns */
int rmt_dead_thorough(uint64_t word);

/* Of a process that is proven dead, where the caller cannot recover it here and now: from then on
 * everybody's rmt_dead says so, and whoever sweeps, or is done with a recovery, recovers it.  Makes
 * no system call, takes no guard. */
void rmt_mark_dying(uint64_t word);

/* Whether the thread of `word` has ended with a lock that it alone could give back.  If so, no
 * other thread has its word as long as its process lives. */
bool rmt_thread_ended(uint64_t word);

/* A thread of this process gave back a lock that was owned by `word`, another thread of it. */
void rmt_thread_relieved(uint64_t word);

/* Recovers what the dead process of `word` held; no-op if it was done or is being done by a live
 * one. Not while holding a guard. */
void rmt_recover(struct rmt_self *self, uint64_t word);

/* Look at all members and recover the dead; each returns how many this thread recovered.
 * Thorough: finds who left by exec as well, which costs some 100 us a member.  Holders: so does
 * this for members that others may wait for, because they hold something or stand inside a guard,
 * but asks about each of them only now and then, whoever of the family does.  Not while holding a
 * guard, nor under the table lock. */
int rmt_sweep_thorough(struct rmt_self *self);
int rmt_sweep_holders(struct rmt_self *self);

/* Sets the poison: everybody's next call fails. */
void rmt_poison(const char *why);

/* ---- fork: layers above register what they must do around fork (process-local mutexes and
 * caches). prepare in reverse order of registration, parent and child in order.  Any may be NULL.
 */
struct rmt_fork_hook {
    void (*prepare)(void);
    void (*parent)(void);
    void (*child)(void);
};
void rmt_fork_register(const struct rmt_fork_hook *hook);

/* fork(2) whose child maps the arena like its parent, but is no member, and has nothing open, until
 * it first asks for its rmt_self: it costs no slot while it waits for work.  The parent notes it in
 * its own slot, so that nobody takes it for a child for which a slot is reserved (recover.c), until
 * it says that this is over: the child is going to ask, or has been waited for. */
pid_t rmt_fork_outside(void);
void rmt_outside_over(pid_t pid);

/* Reads what every member needs, so that this process, just forked, has the pages mapped. */
void rmt_arena_touch(void);

#endif
