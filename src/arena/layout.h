/* SPDX-License-Identifier: MIT
 *
 * layout.h: the shared structures at the start of every arena, word by word: who writes each, and
 * when a read without a lock is legal.  Process-local state is in self.h and map.h.
 *
 *   offset 0          struct rmt_header            window 0, page 0 ...
 *   RMT_MEMBERS_AT    struct rmt_member[]          sparse; committed slot by slot
 *   RMT_PAGES_AT      page words of window 0, then pages; every later window starts with its page
 * words
 *
 * Invariants
 *   - Only committed words are truth: page words, block bitmaps, reference counts, holds, handle
 *     entries, and each object's own.  Multi-word changes are made by a guard's commit record
 * (guard.h).
 *   - A block is, at each instant, exactly one of: free; in one thread's holds; counted (refs > 0);
 * part of an object or message that is one of these.
 */
#ifndef RMT_LAYOUT_H
#define RMT_LAYOUT_H

#include "base/atomic.h"
#include <ramet/base.h>

#define RMT_MAGIC 0x74656d6172a7e7a1ULL
#define RMT_LAYOUT_VERSION 5u

/* ---- words that say who.  0 is nobody.
 *   63..32 epoch   of the member slot: differs for each process that ever had the slot
 *   31..18 thread  index in the member, 1..16383
 *   17..4  slot    of the member, 1..16383
 *    3..0  flags   of the lock in which the word stands
 */
#define RMT_FLAG_WAITERS 1ull /* somebody sleeps, or slept, on the low half of this word */
#define RMT_FLAG_DEAD 2ull    /* the owner died; the next to acquire is told */
#define RMT_FLAGS 15ull
#define RMT_SLOT_BITS 14
#define RMT_THREAD_BITS 14
#define RMT_SLOTS (1u << RMT_SLOT_BITS)

static inline uint64_t rmt_word(uint32_t epoch, uint32_t thread, uint32_t slot)
{
    return (uint64_t)epoch << 32 | (uint64_t)thread << 18 | (uint64_t)slot << 4;
}
static inline uint32_t rmt_word_slot(uint64_t word)
{
    return (uint32_t)(word >> 4) & (RMT_SLOTS - 1);
}
static inline uint32_t rmt_word_thread(uint64_t word)
{
    return (uint32_t)(word >> 18) & ((1u << RMT_THREAD_BITS) - 1);
}
static inline uint32_t rmt_word_epoch(uint64_t word)
{
    return (uint32_t)(word >> 32);
}
/* The owner without thread: two words with the same process belong to one life of one process. */
static inline uint64_t rmt_word_process(uint64_t word)
{
    return word & ~(RMT_FLAGS | (((1ull << RMT_THREAD_BITS) - 1) << 18));
}

/* ---- guard: the lock of a shared structure with its commit record; rules in guard.h */
#define RMT_REDO_WORDS 6
struct rmt_guard {
    rmt_a64 word;  /* owner | flags; 0 free */
    rmt_a64 armed; /* number of redo words that are committed but perhaps not applied; 0 none */
    rmt_a64 self;  /* this guard's own offset, written once by rmt_guard_init */
    rmt_a64 dirty; /* structures with unbounded caches: nonzero while a cache is being changed */
    struct {
        rmt_a64 offset, value;
    } redo[RMT_REDO_WORDS];
} __attribute__((aligned(64)));

/* ---- thread: one per thread that uses the arena.  Written by that thread alone, or by a commit
 * under a guard that the thread holds; after the process's proven death by the recovering member
 * alone. */
#define RMT_HOLDS 26
struct rmt_hold {
    rmt_a64 what; /* offset | tag (enum rmt_hold_tag); 0 empty.  Stored last when set, first when
                     cleared */
    rmt_a64 arg;
};
struct rmt_thread {
    rmt_a64 word;        /* rmt_word of the thread; 0: the sub-slot is free */
    rmt_a64 guard;       /* the guard this thread is taking, holds or is releasing; 0 none */
    rmt_a64 wakes;       /* futex word whose sleepers this thread may owe a wake; 0 none */
    rmt_a64 waits;       /* futex word this thread sleeps on; 0 awake */
    rmt_a64 waits_owner; /* rmt_word of whom it waits for; 0 unknown */
    rmt_a32 wake;        /* private futex: set to non-zero to wake this thread (condition) */
    rmt_a32 tid; /* kernel thread id, for the live view; 0: it ended as owner of a recursive lock */
    rmt_a64 list_next; /* links of the waiter list this thread stands in (condition); 0 end */
    rmt_a64 list_prev;
    rmt_a64 list_of;   /* offset of the object whose list it is; 0: in none */
    rmt_a64 cancel;    /* payload of the cancel object that ends this thread's waits; 0 none */
    rmt_a64 since;     /* when the present wait began: CLOCK_MONOTONIC, ns; for the view only */
    rmt_a64 wakes_too; /* a second such word as `wakes`, of an operation that owes two; 0 none */
    struct rmt_hold hold[RMT_HOLDS];
}; /* 512 bytes */

/* ---- member: one per process.  The state word is changed by CAS alone and names one life of the
 * slot: 63..32 epoch, 31..4 pid (of the process that joins or reserves), 3..0 state FREE(e) ->
 * JOINING(e, pid) -> LIVE(e, pid)                     a process that attaches FREE(e) -> JOINING(e,
 * pid) -> RESERVED(e, pid) -> LIVE(e, pid) a child to be forked by pid, claims itself LIVE or
 * RESERVED -> DYING(e, pid) -> FREE(e + 1)               recovery JOINING(e, pid) -> FREE(e + 1)
 * pid died while joining: it had nothing The other words are written by the process that is
 * joining, or lives, in the slot; in DYING by `recoverer` alone. */
enum rmt_member_state {
    RMT_MEMBER_FREE = 0,
    RMT_MEMBER_JOINING = 1,
    RMT_MEMBER_RESERVED = 2,
    RMT_MEMBER_LIVE = 3,
    RMT_MEMBER_DYING = 4,
};
#define RMT_OUTSIDERS 64
#define RMT_MEMBER_THREADS 3 /* in the slot itself; [0] is for the library's own bookkeeping */
struct rmt_member {
    rmt_a64 state;
    rmt_a64 pid;        /* of the process that lives here; written before LIVE */
    rmt_a64 start_time; /* it had started by then: clock ticks since boot; written before LIVE */
    rmt_a64 parent;     /* process word of the reserving parent, written before RESERVED; else 0 */
    rmt_a64
        recoverer; /* rmt_word of who recovers it; CAS while DYING; 0 set before LIVE or RESERVED */
    rmt_a64 handles; /* first chunk of handle entries (block of kind RMT_KIND_HANDLES); 0 none */
    rmt_a64 threads; /* first chunk of further sub-slots (block of kind RMT_KIND_THREADS); 0 none */
    uint64_t image;  /* of the program that lives here: another after exec; written before LIVE */
    uint64_t looked; /* CLOCK_MONOTONIC, ns, of the last look at whether it called exec; by anybody,
                        peek and poke: who reads an old value looks once too often */
    /* Of a process that watches words (sync/watch.h); what a dead one left does no harm. */
    rmt_a64 watched;    /* bit n: a word of which rmt_watch_bit is n; by this process */
    rmt_a64 watch_hits; /* bits of words that were woken; set by who wakes, taken by the watcher */
    rmt_a32 watch;      /* the watcher sleeps here: a bell, see channel/bell.h; rung by who wakes */
    /* Children that are to be no members yet (fork.c): by this process, its count 0 before LIVE. */
    rmt_a32 outside_count;          /* of these words; only grows */
    rmt_a32 outside[RMT_OUTSIDERS]; /* pid; 0 none */
    uint64_t spare[20];
    struct rmt_thread thread[RMT_MEMBER_THREADS];
}; /* 2048 bytes */

/* ---- header */
#define RMT_CLASSES 27
#define RMT_REF_GUARDS 16
#define RMT_WINDOWS 16
struct rmt_class { /* blocks of one size, in pages of their own */
    struct rmt_guard guard;
    rmt_a64 partial; /* first page with free blocks: list through page headers; changed by commit */
    uint64_t block_size; /* constant: bytes per block, header included */
    uint64_t blocks;     /* constant: blocks per page */
    uint64_t spare[5];
};
struct rmt_header {
    uint64_t magic; /* written last when the arena is made */
    uint64_t version;
    uint64_t digest;  /* of the layout's sizes and offsets */
    uint64_t id;      /* random, not 0 */
    uint64_t size;    /* of the file: fixed */
    rmt_a64 poisoned; /* non-zero: a check failed; every call fails with -ENOTRECOVERABLE.  Each
                         reads it: this line is written for nothing else */
    uint64_t spare[2];
    rmt_a64 generation; /* add n to get n generations for new blocks */
    rmt_a64 warm;       /* cache: free pages that are committed, about */
    rmt_a64
        members_cursor; /* where the search for a free slot starts: round robin, so reuse is late */
    rmt_a64 members_high; /* slots 1..high-1 were used and are committed; only grows, by CAS */
    struct rmt_guard tables_guard; /* lists of chunks that hang on members */
    struct rmt_guard pages_guard;  /* page words, of all windows */
    rmt_a64 watchers; /* no slot from this on has ever watched words; 0 none has; only grows */
    rmt_a64 windows;  /* windows whose page words are committed: 0..n-1 */
    rmt_a64 watched;  /* bits that have ever stood in a member's `watched`; only grows */
    struct rmt_guard refs_guard[RMT_REF_GUARDS]; /* counts of blocks, by offset */
    struct rmt_class classes[RMT_CLASSES];
};

/* ---- block: 64 bytes before each payload.  Fields are written by the allocating thread while the
 * block is in its holds, `refs` under the block's reference guard. */
struct rmt_block {
    uint32_t kind;       /* enum ramet_kind or a kind of kind.h */
    uint32_t generation; /* unique among the lives of this offset; who opens a stale reference looks
                            at it while a new block is being made here: peek, poke */
    rmt_a64 refs;        /* handles and messages that count it; 0: only in a hold, or a part */
    uint64_t size;       /* payload bytes that were asked for */
    uint64_t capacity;   /* payload bytes that there are */
    rmt_a64 next;        /* chain: freed together with this one; 0 end */
    uint64_t arg[3];     /* free for the kind */
};
#define RMT_BLOCK_HEADER 64

/* After the kind's fields: whoever finds the kind set after a death finds them, too (the holder's
 * stores are ordered among themselves, and a death publishes all of them or none after some point).
 */
static inline void rmt_kind_store(struct rmt_block *block, uint32_t kind)
{
    rmt_fence_release();
    rmt_poke32(&block->kind, kind);
}

_Static_assert(offsetof(struct rmt_header, generation) == 64, "a line of its own");
_Static_assert(sizeof(struct rmt_guard) == 128, "guard");
_Static_assert(sizeof(struct rmt_thread) == 512, "thread");
_Static_assert(sizeof(struct rmt_member) == 2048, "member");
_Static_assert(sizeof(struct rmt_block) == RMT_BLOCK_HEADER, "block");

#define RMT_PAGE_SIZE 65536ull
#define RMT_WINDOW0 (64ull << 20)
#define RMT_MEMBERS_AT (64ull << 10)
#define RMT_PAGES_AT (RMT_MEMBERS_AT + RMT_SLOTS * 2048ull)
#define RMT_SIZE (RMT_WINDOW0 << (RMT_WINDOWS - 1)) /* 2 TiB, sparse */

#endif
