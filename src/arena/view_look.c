/* SPDX-License-Identifier: MIT
 *
 * view_look.c: the members and threads of an arena as one process sees them from outside.
 *
 * A slot is read between two reads of its state word, which names one life of it, and a sub-slot
 * twice: what says the same both times was so at an instant in between, unless it was changed there
 * and back, which for a wait means the same wait again.  A thread that the kernel shows as stopped
 * between the two does not move, so that the words of one stopped inside a guard fit together.
 */
#include "arena/kind.h"
#include "arena/local.h"
#include "arena/view.h"
#include "base/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TRIES 4
#define CHUNKS 1100 /* more chunks of threads than a member can have: a loop is not followed */

/* Room for one more. */
static int make_room(void **array, size_t *room, size_t count, size_t size)
{
    if (count < *room)
        return 0;
    size_t more = *room ? 2 * *room : 64;
    void *grown = realloc(*array, more * size);
    if (!grown)
        return -ENOMEM;
    *array = grown;
    *room = more;
    return 0;
}

static bool same(const struct rmt_thread *a, const struct rmt_thread *b)
{
    return rmt_load64_relaxed(&a->word) == rmt_load64_relaxed(&b->word) &&
           rmt_load64_relaxed(&a->guard) == rmt_load64_relaxed(&b->guard) &&
           rmt_load64_relaxed(&a->waits) == rmt_load64_relaxed(&b->waits) &&
           rmt_load64_relaxed(&a->waits_owner) == rmt_load64_relaxed(&b->waits_owner) &&
           rmt_load64_relaxed(&a->list_of) == rmt_load64_relaxed(&b->list_of);
}

/* From the copy `t` of the sub-slot at `offset`. */
static void interpret(const struct rmt_source *source, uint64_t offset, const struct rmt_thread *t,
                      struct rmt_seen_thread *seen)
{
    uint64_t waits = rmt_load64_relaxed(&t->waits), guard = rmt_load64_relaxed(&t->guard);
    seen->at = waits;
    if (waits - offset < sizeof *t) /* a condition's waiter sleeps on its own sub-slot */
        seen->at = rmt_load64_relaxed(&t->list_of);
    if (waits != 0)
        seen->flags |= RAMET_VIEW_WAITING;
    seen->waits_owner = waits ? rmt_load64_relaxed(&t->waits_owner) & ~RMT_FLAGS : 0;
    seen->since = rmt_load64_relaxed(&t->since);
    seen->holds = 0;
    for (int i = 0; i < RMT_HOLDS; i++)
        seen->holds += rmt_load64_relaxed(&t->hold[i].what) != 0;
    seen->guard = 0;
    if (guard != 0 && (rmt_source_word(source, guard) & ~RMT_FLAGS) == seen->word) {
        seen->guard = guard;
        seen->flags |= RAMET_VIEW_INSIDE;
    }
    if (seen->state == 'T' || seen->state == 't')
        seen->flags |= RAMET_VIEW_STOPPED;
}

/* 1 seen, 0 nobody is there. */
static int look_at_thread(const struct rmt_source *source, const struct rmt_seen_member *member,
                          uint64_t offset, struct rmt_seen_thread *seen)
{
    struct rmt_thread before, after;
    if (rmt_source_read(source, offset, &before, sizeof before) < 0)
        return 0;
    for (int i = 0;; i++) {
        uint64_t word = rmt_load64_relaxed(&before.word);
        if (rmt_word_slot(word) != member->slot ||
            rmt_word_epoch(word) != (uint32_t)(member->state >> 32) || rmt_word_thread(word) == 0)
            return 0;
        *seen = (struct rmt_seen_thread){.word = word & ~RMT_FLAGS, .pid = member->pid};
        seen->tid = (pid_t)rmt_load32_relaxed(&before.tid);
        seen->state = rmt_os_thread_state(seen->pid, seen->tid);
        interpret(source, offset, &before, seen);
        if (rmt_source_read(source, offset, &after, sizeof after) < 0)
            return 0;
        if (same(&before, &after))
            return 1;
        if (i == TRIES) {
            seen->flags |= RAMET_VIEW_MOVING;
            return 1;
        }
        before = after;
    }
}

static int add_threads(ramet_view *view, struct rmt_seen_member *member, uint64_t at, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        int r = make_room((void **)&view->thread, &view->thread_room, view->threads,
                          sizeof *view->thread);
        if (r < 0)
            return r;
        r = look_at_thread(&view->source, member, at + i * sizeof(struct rmt_thread),
                           &view->thread[view->threads]);
        view->threads += r > 0;
        member->threads += r > 0;
    }
    return 0;
}

/* Those in the slot, and those in the chunks that hang on it. */
static int add_threads_of(ramet_view *view, struct rmt_seen_member *member)
{
    const struct rmt_source *source = &view->source;
    uint64_t slot = rmt_member_offset(member->slot),
             at = slot + offsetof(struct rmt_member, thread);
    int r = add_threads(view, member, at + sizeof(struct rmt_thread), RMT_MEMBER_THREADS - 1);
    uint64_t chunk = rmt_source_word(source, slot + offsetof(struct rmt_member, threads));
    for (int i = 0; r == 0 && chunk != 0 && i < CHUNKS; i++) {
        struct rmt_block block;
        if (rmt_source_block(source, chunk, &block) < 0 || block.kind != RMT_KIND_THREADS ||
            block.capacity < RMT_THREAD_CHUNK_BYTES)
            break;
        r = add_threads(view, member, chunk + RMT_BLOCK_HEADER + 64, RMT_THREAD_CHUNK);
        chunk = rmt_source_word(source, chunk + RMT_BLOCK_HEADER);
    }
    return r;
}

/* What was found of a member whose slot has changed meanwhile is dropped. */
static int add_member(ramet_view *view, uint32_t slot)
{
    const struct rmt_source *source = &view->source;
    uint64_t at = rmt_member_offset(slot) + offsetof(struct rmt_member, state);
    uint64_t state = rmt_source_word(source, at);
    enum rmt_member_state is = rmt_member_state_of(state);
    if (is == RMT_MEMBER_FREE || is > RMT_MEMBER_DYING)
        return 0;
    int r =
        make_room((void **)&view->member, &view->member_room, view->members, sizeof *view->member);
    if (r < 0)
        return r;
    size_t threads = view->threads;
    struct rmt_seen_member *member = &view->member[view->members];
    *member = (struct rmt_seen_member){
        .state = state, .pid = rmt_member_pid_of(state), .slot = slot, .threads = 0};
    if (is == RMT_MEMBER_LIVE || is == RMT_MEMBER_DYING) {
        uint64_t start = rmt_source_word(source, rmt_member_offset(slot) +
                                                     offsetof(struct rmt_member, start_time));
        member->gone = (uint32_t)rmt_pid_gone(member->pid, start);
        r = add_threads_of(view, member);
    }
    if (rmt_source_word(source, at) == state)
        view->members++;
    else
        view->threads = threads;
    return r;
}

static int by_word(const void *a, const void *b)
{
    uint64_t x = ((const struct rmt_seen_thread *)a)->word;
    uint64_t y = ((const struct rmt_seen_thread *)b)->word;
    return (x > y) - (x < y);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

int rmt_view_look(ramet_view *view)
{
    view->error = 0;
    uint64_t high = rmt_source_word(&view->source, offsetof(struct rmt_header, members_high));
    int r = 0;
    view->members = view->threads = view->sleepers = 0;
    view->words_at = view->slab = 0;
    for (uint32_t slot = 1; r == 0 && slot < high && slot < RMT_SLOTS; slot++)
        r = add_member(view, slot);
    if (r == 0)
        r = view->error;
    if (r < 0) { /* nobody rather than some */
        view->members = view->threads = 0;
        return r;
    }
    free(view->sleeping);
    view->sleeping = calloc(view->threads + 1, sizeof *view->sleeping);
    if (!view->sleeping) {
        view->members = view->threads = 0;
        return -ENOMEM;
    }
    if (view->threads > 0)
        qsort(view->thread, view->threads, sizeof *view->thread, by_word);
    for (size_t i = 0; i < view->threads; i++)
        if (view->thread[i].at != 0)
            view->sleeping[view->sleepers++] = view->thread[i].at;
    qsort(view->sleeping, view->sleepers, sizeof *view->sleeping, by_value);
    return 0;
}

const struct rmt_seen_thread *rmt_view_thread(const ramet_view *view, uint64_t word)
{
    const struct rmt_seen_thread key = {.word = word & ~RMT_FLAGS};
    if (view->threads == 0 || key.word == 0)
        return NULL;
    return bsearch(&key, view->thread, view->threads, sizeof key, by_word);
}

pid_t rmt_view_process(const ramet_view *view, uint64_t word)
{
    for (size_t i = 0; i < view->members; i++) {
        const struct rmt_seen_member *m = &view->member[i];
        if (m->slot == rmt_word_slot(word) && (uint32_t)(m->state >> 32) == rmt_word_epoch(word))
            return m->pid;
    }
    return 0;
}
