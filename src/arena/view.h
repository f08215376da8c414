/* SPDX-License-Identifier: MIT
 *
 * view.h (internal): what an open view has: where it reads, the members and threads as of the last
 * look, and the page that is being walked.  Process-local.  The public side is ramet/view.h.
 */
#ifndef RMT_VIEW_H
#define RMT_VIEW_H

#include "arena/source.h"
#include <ramet/view.h>

struct rmt_seen_member {
    uint64_t state; /* of the slot; one word, so it fits together */
    pid_t pid;
    uint32_t slot, threads, gone;
};

struct rmt_seen_thread {
    uint64_t word;
    uint64_t guard;       /* inside this one; 0 none */
    uint64_t at;          /* the word on which it sleeps, or the object in whose list; 0 none */
    uint64_t waits_owner; /* for whom */
    uint64_t since;
    pid_t pid, tid;
    uint32_t flags, holds;
    char state;
};

struct ramet_view {
    struct rmt_source source;
    int error;   /* of reading, in the present call; source.error points here */
    bool own_fd; /* close it in the end */
    struct rmt_seen_member *member;
    size_t members, member_room;
    struct rmt_seen_thread *thread; /* sorted by word without flags */
    size_t threads, thread_room;
    uint64_t *sleeping; /* `at` of those that wait, sorted */
    size_t sleepers;
    uint64_t words_at; /* offset of the page words that are in `words`; 0 none */
    uint64_t words[512];
    uint64_t slab; /* offset of the page whose bitmap is in `bitmap`; 0 none */
    uint64_t block_bytes;
    uint64_t bitmap[10];
};

#define RMT_VIEW_PAYLOAD 2048u /* bytes of an object's payload that its kind's describe() gets */

/* A view of what `fd` shows, which stays the caller's if `own` is false. */
int rmt_view_of(int fd, bool own, ramet_view **ret_view);

/* The members and threads.  -ENOMEM. */
int rmt_view_look(ramet_view *view);

/* The thread of an owner's word, or NULL; flags in it do not matter. */
const struct rmt_seen_thread *rmt_view_thread(const ramet_view *view, uint64_t word);

/* The process of an owner's word: its pid, or 0 if that life of the slot is over. */
pid_t rmt_view_process(const ramet_view *view, uint64_t word);

/* The first object at *cursor or after it whose kind is listed: 1, 0 none.  *cursor: after it. */
int rmt_view_walk(ramet_view *view, uint64_t *cursor, uint64_t *ret_offset,
                  struct rmt_block *ret_block);

/* Describes the object at `offset`: 1, 0 if it has gone. */
int rmt_view_describe(ramet_view *view, uint64_t offset, const struct rmt_block *block,
                      ramet_view_object *ret_object);

/* As text: a line each. */
void rmt_view_print_object(const ramet_view_object *object, FILE *to);

#endif
