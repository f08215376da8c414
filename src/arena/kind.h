/* SPDX-License-Identifier: MIT
 *
 * kind.h: what the arena knows of the objects of the layers above: a table of functions per kind,
 * filled by constructors before main.  The one upward arrow, and it is data.
 */
#ifndef RMT_KIND_H
#define RMT_KIND_H

#include "arena/self.h"

#include <sys/types.h>

enum {
    RMT_KIND_HANDLES = RAMET_KIND_INTERNAL, /* chunk of a member's handle entries */
    RMT_KIND_THREADS,                       /* chunk of a member's further sub-slots */
    RMT_KIND_RING,                          /* segment of a queue's cells */
    RMT_KIND_PART,                          /* any other part of an object */
    RMT_KINDS = 32
};

/* What there is to say of an object; the members mean for each kind what ramet/view.h says. */
struct rmt_facts {
    uint64_t owner; /* rmt_word of who holds it; 0 nobody */
    uint64_t depth, limit, done, total, lost;
    uint64_t of;     /* offset of the block that it belongs to; 0 none */
    uint32_t flags;  /* RAMET_VIEW_* */
    uint64_t at;     /* its words lie here: who sleeps on one of them waits for it */
    uint64_t length; /* bytes */
};

struct rmt_source; /* source.h */

struct rmt_kind {
    uint32_t id;
    const char *name;
    /* Bytes of the payload that rmt_block_alloc clears.  A death right after the allocation leaves
     * a block with a cleared start to destroy(), which must then do nothing.  SIZE_MAX: all of it.
     */
    size_t clear;
    /* Before the block is freed: gives back what it owns.  The caller has the block in a hold;
     * nobody else has it.  May be killed anywhere and run again.  Takes no process-local mutex (it
     * may run inside fork's handlers).  NULL: owns nothing. */
    void (*destroy)(struct rmt_self *self, uint64_t offset);
    /* Whether `word` is one of the object's bells: futex words of which nothing counts but that
     * they have changed.  Recovery rings those that a dead thread may have owed a ring.  NULL: it
     * has none, since its sleepers sleep on the word that changes. */
    bool (*is_bell)(uint64_t offset, uint64_t word);
    /* Structure checks while nobody works on it: 0 or -ENOTRECOVERABLE.  NULL: none. */
    int (*check)(uint64_t offset);
    /* Says what the object at `offset` is at, from a copy of its header and of the first `size`
     * bytes of its payload; `source` reads more.  Others change the object meanwhile, perhaps in
     * another family of processes: nothing in it may be believed, least of all an offset.  `facts`
     * is cleared but for its range, the block.  NULL: the view does not list the kind. */
    void (*describe)(const struct rmt_source *source, const struct rmt_block *block,
                     uint64_t offset, const void *payload, size_t size, struct rmt_facts *facts);
};

void rmt_kind_register(const struct rmt_kind *kind);
const struct rmt_kind *rmt_kind_get(uint32_t id); /* NULL if unknown */

/* Called by recovery after a member's holds and handles were given back, so that layers can mend
 * and tell (dead processes of pools, ends of pipes).  `word`: the dead process. */
typedef void rmt_death_fn(struct rmt_self *self, uint64_t word, pid_t pid);
void rmt_death_register(rmt_death_fn *fn);

#endif
