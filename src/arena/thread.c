/* SPDX-License-Identifier: MIT
 *
 * thread.c: registering the calling thread: its sub-slot in the member, and its process-local
 * rmt_self. Sub-slots 1 and 2 lie in the member slot, further ones in chunks of 15 that hang on it.
 * Under the table lock, by this process alone.
 */
#include "arena/block.h"
#include "arena/kind.h"
#include "arena/local.h"
#include "arena/wait.h"
#include "base/os.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CHUNK_THREADS RMT_THREAD_CHUNK
#define CHUNKS_MAX ((1u << RMT_THREAD_BITS) / CHUNK_THREADS)
#define SPIN_START 10000u /* ns */

struct thread_chunk { /* payload of a block of kind RMT_KIND_THREADS */
    rmt_a64 next;     /* older chunk; written before the chunk is listed */
    uint64_t spare[7];
    struct rmt_thread thread[CHUNK_THREADS];
};
_Static_assert(sizeof(struct thread_chunk) == RMT_THREAD_CHUNK_BYTES, "view_look.c reads it");

_Thread_local struct rmt_self *rmt_self_now;
static _Thread_local struct rmt_self self_storage;

static uint64_t chunks[CHUNKS_MAX]; /* payload offsets, oldest first */
static uint32_t chunk_count;
static pthread_key_t exit_key; /* under the table lock, as all of this */
static bool have_exit_key;

/* ---- locks of threads that ended.  The word of a thread stands in the locks that it owns, so it
 * must not be another thread's while it does.  A thread counts the locks that it took less those
 * that it gave back, its fellows those that they gave back for it: when both are equal it owns
 * none.  What other processes give back for it is not counted: then the sub-slot stays unused. */
static rmt_a32 relieved[1u << RMT_THREAD_BITS]; /* reset under the table lock, counted by anybody */
static struct {
    bool yes;       /* it has ended and owned so many more than `relieved`: under the table lock */
    uint32_t locks; /* its own count */
} kept[1u << RMT_THREAD_BITS];

static uint64_t sub_slot(uint32_t index)
{
    if (index < RMT_MEMBER_THREADS)
        return rmt_member_offset(rmt_local.slot) + offsetof(struct rmt_member, thread) +
               index * sizeof(struct rmt_thread);
    uint32_t i = index - RMT_MEMBER_THREADS;
    return chunks[i / CHUNK_THREADS] + offsetof(struct thread_chunk, thread) +
           (i % CHUNK_THREADS) * sizeof(struct rmt_thread);
}

static int add_chunk(void)
{
    if (chunk_count == CHUNKS_MAX)
        return -EUSERS;
    struct rmt_self *self = rmt_bookkeeper();
    int hold;
    uint64_t block;
    int r = rmt_block_alloc(self, sizeof(struct thread_chunk), RMT_KIND_THREADS, &hold, &block);
    if (r < 0)
        return r;
    struct thread_chunk *chunk = rmt_payload(block);
    memset(chunk, 0, sizeof *chunk);
    uint64_t list = rmt_member_offset(rmt_local.slot) + offsetof(struct rmt_member, threads);
    struct rmt_guard *g = &rmt_header()->tables_guard;
    r = rmt_guard_lock(self, g);
    if (r < 0)
        return r;
    rmt_store64_relaxed(&chunk->next, rmt_load64_relaxed((rmt_a64 *)rmt_at(list)));
    rmt_redo(g, 0, list, block);
    rmt_redo(g, 1, rmt_hold_what(self, hold), 0);
    rmt_commit(g, 2);
    rmt_guard_unlock(self, g);
    chunks[chunk_count++] = block + RMT_BLOCK_HEADER;
    return 0;
}

static int find_sub_slot(uint32_t *ret_index)
{
    for (uint32_t i = 1;; i++) {
        if (i >= RMT_MEMBER_THREADS + chunk_count * CHUNK_THREADS) {
            int r = add_chunk();
            if (r < 0)
                return r;
        }
        struct rmt_thread *t = rmt_at(sub_slot(i));
        if (rmt_load64_relaxed(&t->word) == 0 ||
            (kept[i].yes && rmt_load32(&relieved[i]) == kept[i].locks)) {
            *ret_index = i;
            return 0;
        }
    }
}

static bool holds_something(const struct rmt_thread *thread)
{
    for (int i = 0; i < RMT_HOLDS; i++) {
        if (rmt_load64_relaxed(&thread->hold[i].what) != 0)
            return true;
    }
    return false;
}

/* A thread that ends with something in its hands keeps its sub-slot, for recovery to find; one that
 * ends with a lock that nobody else can give back keeps it for good, and says so. */
static void at_thread_exit(void *unused)
{
    (void)unused;
    struct rmt_self *self = rmt_self_now;
    if (!self)
        return;
    rmt_self_now = NULL;
    if (rmt_load32_relaxed(rmt_member_mark) == 0)
        return; /* the child of a raw clone: the sub-slot is its parent's */
    uint32_t index = rmt_word_thread(self->word);
    bool keeps = holds_something(self->thread) || self->rlocks != 0;
    rmt_table_lock();
    if (self->rlocks != 0)
        rmt_store32(&self->thread->tid, 0);
    rmt_store64_relaxed(&self->thread->waits, 0);
    rmt_store64_relaxed(&self->thread->wakes, 0);
    rmt_store64_relaxed(&self->thread->wakes_too, 0);
    kept[index].yes = !keeps && self->locks != rmt_load32(&relieved[index]);
    kept[index].locks = self->locks;
    if (!keeps && !kept[index].yes)
        rmt_store64(&self->thread->word, 0);
    rmt_table_unlock();
}

static int is_thread(uint64_t offset, void *arg)
{
    const struct rmt_thread *t = rmt_at(offset);
    if (rmt_load64(&t->word) != *(const uint64_t *)arg)
        return 0;
    return rmt_load32(&t->tid) == 0 ? 1 : 2;
}

/* Where the process dies meanwhile, what is read may be stale: then so is the question. */
bool rmt_thread_ended(uint64_t word)
{
    return rmt_threads_each(rmt_word_slot(word), is_thread, &word) == 1;
}

void rmt_thread_relieved(uint64_t word)
{
    rmt_add32(&relieved[rmt_word_thread(word)], 1);
}

/* Under the table lock: the calling thread's end will be told.  Without that it does not join: its
 * sub-slot would never be used again. */
static int watch_thread_exit(void)
{
    int r = have_exit_key ? 0 : pthread_key_create(&exit_key, at_thread_exit);
    if (r != 0)
        return -r;
    have_exit_key = true;
    return -pthread_setspecific(exit_key, &self_storage);
}

static void settle(uint32_t index)
{
    uint64_t offset = sub_slot(index);
    self_storage = (struct rmt_self){
        .word = rmt_word(rmt_local.epoch, index, rmt_local.slot),
        .offset = offset,
        .thread = rmt_at(offset),
        .spin = rmt_os_multiprocessor() ? SPIN_START : 0,
    };
    kept[index].yes = false;
    rmt_store32_relaxed(&relieved[index], 0);
    rmt_store64_relaxed(&self_storage.thread->cancel, 0);
    rmt_store32(&self_storage.thread->tid, (uint32_t)syscall(SYS_gettid));
    rmt_store64(&self_storage.thread->word, self_storage.word);
    rmt_self_now = &self_storage;
}

int rmt_self_slow(struct rmt_self **ret_self)
{
    rmt_table_lock();
    int r = rmt_local.error;
    if (r == 0 && rmt_local.slot != 0 && rmt_load32_relaxed(rmt_member_mark) == 0)
        r = -ECHILD; /* made by a raw clone: it has its parent's memory, but no name of its own */
    if (r == 0)
        r = rmt_join_locked();
    if (r == 0 && rmt_load64_relaxed(&rmt_header()->poisoned) != 0)
        r = -ENOTRECOVERABLE;
    uint32_t index = 0;
    if (r == 0 && !rmt_self_now) {
        r = watch_thread_exit();
        if (r == 0)
            r = find_sub_slot(&index);
        if (r == 0)
            settle(index);
    }
    rmt_table_unlock();
    if (r < 0)
        return r;
    *ret_self = rmt_self_now;
    return 0;
}

/* In a forked child, whose only thread this is; the process has settled in its new slot. */
void rmt_thread_after_fork(void)
{
    for (uint32_t i = 0; i < RMT_MEMBER_THREADS + chunk_count * CHUNK_THREADS; i++)
        kept[i].yes = false; /* those were its parent's */
    chunk_count = 0;
    bool registered = rmt_self_now != NULL;
    rmt_self_now = NULL;
    if (registered && rmt_local.slot != 0)
        settle(1);
}

int rmt_hold_find_slow(const struct rmt_self *self)
{
    for (int i = 1; i < RMT_HOLDS; i++) {
        if (rmt_load64_relaxed(&self->thread->hold[i].what) == 0)
            return i;
    }
    return -ENOSPC;
}

int rmt_threads_each(uint32_t slot, int (*fn)(uint64_t thread_offset, void *arg), void *arg)
{
    int r = 0;
    const rmt_a64 *state = &rmt_member_at(slot)->state;
    uint64_t began = rmt_load64(state);
    uint64_t at = rmt_member_offset(slot) + offsetof(struct rmt_member, thread);
    for (unsigned i = 0; i < RMT_MEMBER_THREADS && r == 0; i++)
        r = fn(at + i * sizeof(struct rmt_thread), arg);
    uint64_t block = rmt_load64(&rmt_member_at(slot)->threads);
    /* Chunks are freed when the member is recovered: a link that was read before the state was seen
     * unchanged led to one.  It may be freed now; then what is read is stale, but it is memory. */
    while (block != 0 && r == 0 && rmt_load64(state) == began) {
        const struct thread_chunk *chunk = rmt_payload(block);
        at = block + RMT_BLOCK_HEADER + offsetof(struct thread_chunk, thread);
        for (unsigned i = 0; i < CHUNK_THREADS && r == 0; i++)
            r = fn(at + i * sizeof(struct rmt_thread), arg);
        block = rmt_load64(&chunk->next);
    }
    return r;
}

static bool mapped(uint64_t offset)
{
    return offset < rmt_local.size &&
           rmt_load64_relaxed(&rmt_window_base[rmt_window_of(offset)]) != 0;
}

static void wake_if_cancelled(const struct rmt_thread *t, uint64_t at)
{
    if (rmt_load64_relaxed(&t->cancel) != at)
        return;
    uint64_t waits = rmt_load64(&t->waits);
    if (waits != 0 && waits % 4 == 0 && mapped(waits))
        rmt_wake(rmt_at(waits), INT32_MAX);
}

/* As rmt_threads_each over all members, but it stops where a window is not mapped yet: mapping
 * takes a mutex that the thread which a signal handler interrupted may have.  Those who are not
 * reached find out after a slice.  What a chunk says that is being freed is not believed: at worst
 * somebody is woken for nothing. */
void rmt_cancel_wake(uint64_t at)
{
    rmt_fence(); /* pairs with the one in wait.c, cancelled() */
    uint64_t high = rmt_load64(&rmt_header()->members_high);
    for (uint32_t slot = 1; slot < high && slot < RMT_SLOTS; slot++) {
        const struct rmt_member *m = rmt_member_at(slot);
        uint64_t began = rmt_load64(&m->state);
        if (rmt_member_state_of(began) != RMT_MEMBER_LIVE)
            continue;
        for (unsigned i = 1; i < RMT_MEMBER_THREADS; i++)
            wake_if_cancelled(&m->thread[i], at);
        uint64_t block = rmt_load64(&m->threads);
        while (block != 0 && rmt_load64(&m->state) == began && mapped(block)) {
            const struct thread_chunk *chunk = rmt_payload(block);
            for (unsigned i = 0; i < CHUNK_THREADS; i++)
                wake_if_cancelled(&chunk->thread[i], at);
            block = rmt_load64(&chunk->next);
        }
    }
}

static const struct rmt_kind kind = {.id = RMT_KIND_THREADS, .name = "threads"};

__attribute__((constructor)) static void setup(void)
{
    rmt_kind_register(&kind);
}
