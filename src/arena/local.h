/* SPDX-License-Identifier: MIT
 *
 * local.h: the arena layer's process-local state, shared by its files and by nobody above.
 *
 * One mutex guards all of it; it is a leaf: nothing blocks and no guard is waited for under it,
 * except that the growth of the handle and sub-slot tables allocates blocks under `table_lock`,
 * which is taken first.  Fork takes both (fork.c).
 */
#ifndef RMT_LOCAL_H
#define RMT_LOCAL_H

#include "arena/self.h"

#include <pthread.h>

struct rmt_local {
    int fd;        /* of the arena file; -1 not joined.  Written once */
    uint64_t id;   /* of the arena; 0 not joined */
    uint64_t size; /* of the file */
    uint64_t dev, ino;
    uint32_t slot; /* this process's member slot; 0 none */
    uint32_t epoch;
    int error; /* negative: why this process cannot be a member (an orphaned fork, poison) */
};
extern struct rmt_local rmt_local;

void rmt_local_lock(void);
void rmt_local_unlock(void);
void rmt_table_lock(void); /* tables of handles and sub-slots: may allocate under it */
void rmt_table_unlock(void);

#define RMT_MEMFD_NAME "ramet" /* by which the view finds it */

/* arena.c: the constant part of the header of the file behind fd, if it is an arena that this build
 * can share; -EPROTO. */
int rmt_read_header(int fd, struct rmt_header *ret_header);

/* map.c */
uint64_t rmt_window_start(unsigned window);
uint64_t rmt_window_size(unsigned window);
int rmt_map_window(unsigned window);
void rmt_unmap_windows(void); /* of an arena that this process could not enter: nobody uses them */

/* member.c: slots */
static inline uint64_t rmt_member_offset(uint32_t slot)
{
    return RMT_MEMBERS_AT + (uint64_t)slot * sizeof(struct rmt_member);
}
static inline struct rmt_member *rmt_member_at(uint32_t slot)
{
    return rmt_at(rmt_member_offset(slot));
}
static inline uint64_t rmt_member_word(uint32_t epoch, pid_t pid, enum rmt_member_state state)
{
    return (uint64_t)epoch << 32 | (uint64_t)(uint32_t)pid << 4 | (uint64_t)state;
}
static inline enum rmt_member_state rmt_member_state_of(uint64_t word)
{
    return (enum rmt_member_state)(word & 15);
}
static inline pid_t rmt_member_pid_of(uint64_t word)
{
    return (pid_t)((uint32_t)word >> 4);
}
int rmt_member_take(uint32_t *ret_slot, uint32_t *ret_epoch); /* FREE -> JOINING by this process */
int rmt_member_join(uint32_t slot, uint32_t epoch); /* JOINING -> LIVE: this process lives there */
int rmt_member_reserve(uint32_t slot, uint32_t epoch); /* JOINING -> RESERVED for a child */
int rmt_member_claim(uint32_t slot, uint32_t epoch,
                     pid_t parent);    /* RESERVED -> LIVE, in the child */
struct rmt_self *rmt_bookkeeper(void); /* sub-slot 0 of this process; under the table lock */
int rmt_join_locked(void);             /* under the table lock */
void rmt_arena_leave(void); /* forgets the arena, of which this process is no member yet; same */

/* thread.c */
#define RMT_THREAD_CHUNK 15u /* sub-slots in a chunk, after 64 bytes that start with the link */
#define RMT_THREAD_CHUNK_BYTES (64 + RMT_THREAD_CHUNK * sizeof(struct rmt_thread))
void rmt_thread_after_fork(void);
int rmt_threads_each(uint32_t slot, int (*fn)(uint64_t thread_offset, void *arg), void *arg);

/* handle.c: the member's table */
#define RMT_CHUNK_ENTRIES 500
struct rmt_handle_chunk { /* payload of a block of kind RMT_KIND_HANDLES */
    rmt_a64 next;         /* older chunk */
    rmt_a64 entry[RMT_CHUNK_ENTRIES];
};
int rmt_handles_copy(struct rmt_self *self,
                     uint32_t to_slot); /* counts for a child about to be forked */
void rmt_handles_after_fork(void);
void rmt_handles_drop_all(struct rmt_self *self, uint32_t slot); /* of a dead or abandoned member */

/* death.c */
int rmt_dead_known(uint64_t word);   /* 1 if found dead before, recovered or not; no system call */
int rmt_left_by_exec(uint64_t word); /* 1 if the live process of `word` does not map the arena */
void rmt_death_forget(void);         /* closes what was open of members that are no more */
int rmt_pid_gone(pid_t pid, uint64_t before); /* 1 none that started by then; 0: at any time */
#ifdef RAMET_HOOKS /* tests: whom this process takes for dead although he lives; NULL nobody */
typedef int rmt_dead_hook_fn(pid_t pid);
extern rmt_dead_hook_fn *rmt_dead_hook;
#endif
void rmt_death_before_fork(void);
void rmt_death_after_fork(void);

/* recover.c */
void rmt_recover_slot(struct rmt_self *self, uint32_t slot,
                      uint64_t state); /* proven dead by the caller */

/* Whether a reservation is void: its maker is dead, and the child cannot come any more. */
bool rmt_reservation_is_void(const struct rmt_member *m, uint64_t state);

/* sweep.c: as those in self.h, by pidfd alone; also under the table lock */
int rmt_sweep(struct rmt_self *self);

/* fork.c */
int rmt_fork_setup(void);
void rmt_lifelines_look(void); /* takes back what was reserved for children that are gone; takes the
                                  table lock */

/* page.c */
struct rmt_page_place { /* where an offset's page word stands */
    unsigned window;
    uint64_t index; /* of the page in its window */
    uint64_t word;  /* offset of its word */
};
#define RMT_PAGE_FREE 0u
#define RMT_PAGE_SPAN 1u     /* first page of a block of its own */
#define RMT_PAGE_SLAB 2u     /* a page of small blocks */
#define RMT_PAGE_RESERVED 3u /* the arena's own */
#define RMT_PAGE_WORD(type, class, pages)                                                          \
    ((uint64_t)(pages) << 32 | (uint64_t)(class) << 8 | (uint64_t)(type))
static inline uint32_t rmt_page_type(uint64_t word)
{
    return (uint32_t)word & 255;
}
static inline uint32_t rmt_page_class(uint64_t word)
{
    return (uint32_t)(word >> 8) & 255;
}
static inline uint64_t rmt_page_count(uint64_t word)
{
    return word >> 32;
}
struct rmt_page_table { /* at the start of a window; in window 0 at RMT_PAGES_AT */
    uint64_t pages;     /* in the window, constant */
    rmt_a64 free;       /* pages whose word is 0 and that no span covers; changed by commit */
    rmt_a64 lowest;     /* cache: no free page lies below this index */
    uint64_t spare[5];
    rmt_a64 word[]; /* per page; then one bit per page: committed (see rmt_page_commit) */
};
void rmt_page_place(uint64_t offset, struct rmt_page_place *ret_place);
struct rmt_page_table *rmt_page_table(unsigned window);
uint64_t rmt_page_table_at(unsigned window);
uint64_t rmt_window_first_page(unsigned window); /* index of the first page that is not reserved */
rmt_a64 *rmt_page_committed_word(unsigned window, uint64_t index);
int rmt_page_window_init(struct rmt_self *self, unsigned window);
int rmt_span_alloc(struct rmt_self *self, uint64_t pages, uint32_t type, uint32_t class_index,
                   int *ret_hold, uint64_t *ret_offset);
void rmt_span_free(struct rmt_self *self, uint64_t thread_offset, int hold, uint64_t offset,
                   uint64_t next_what);

/* block.c: slab pages */
#define RMT_SLAB_HEADER 256
struct rmt_slab { /* at the start of a slab page; all words under the class's guard */
    uint64_t class_index;
    rmt_a64 next, prev; /* in the class's list of pages with free blocks */
    rmt_a64 used;       /* allocated blocks */
    rmt_a64 bitmap[10]; /* bit i: block i is allocated */
    uint64_t spare[18];
};
void rmt_classes_init(struct rmt_header *header);
bool rmt_classes_sound(const struct rmt_header *header); /* of an arena to attach to */

#endif
