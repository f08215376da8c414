/* SPDX-License-Identifier: MIT
 *
 * condition_handle.c: the condition's handle: its object, its lock, and the wait as a whole.
 */
#include "arena/kind.h"
#include "sync/condition.h"
#include <ramet/view.h>

#include <errno.h>
#include <limits.h>

/* ---- the lock */

static struct rmt_lock *plain(const ramet_condition *condition)
{
    return condition->lock.shared;
}

static struct rmt_rlock *recursive(const ramet_condition *condition)
{
    return condition->lock_kind == RAMET_KIND_RLOCK ? condition->lock.shared : NULL;
}

bool rmt_condition_owned(const ramet_condition *condition, const struct rmt_self *self)
{
    /* A recursive lock starts with its lock. */
    return rmt_lock_owner(plain(condition)) == self->word;
}

int rmt_condition_unlock(const ramet_condition *condition, struct rmt_self *self,
                         uint64_t *ret_count)
{
    uint64_t at = condition->lock.at;
    if (!rmt_condition_owned(condition, self))
        return -EPERM;
    if (recursive(condition))
        return rmt_rlock_release_all(self, recursive(condition), at, ret_count);
    int r = rmt_lock_release(self, plain(condition), at);
    if (r >= 0)
        *ret_count = 1;
    return r;
}

int rmt_condition_relock(const ramet_condition *condition, struct rmt_self *self, uint64_t count)
{
    uint64_t at = condition->lock.at;
    const rmt_a64 *cancel = rmt_cancel_mask(self); /* who waited comes back with the lock */
    int r;
    if (recursive(condition))
        r = rmt_rlock_restore(self, recursive(condition), at, count);
    else
        r = rmt_lock_acquire(self, plain(condition), at, NULL);
    rmt_cancel_unmask(self, cancel);
    return r;
}

int ramet_condition_acquire(ramet_condition *condition, const ramet_wait *wait)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    if (recursive(condition))
        return rmt_rlock_acquire(self, recursive(condition), condition->lock.at, wait);
    return rmt_lock_acquire(self, plain(condition), condition->lock.at, wait);
}

int ramet_condition_release(ramet_condition *condition)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    if (recursive(condition))
        return rmt_rlock_release(self, recursive(condition), condition->lock.at);
    return rmt_lock_release(self, plain(condition), condition->lock.at);
}

/* ---- waiting and notifying */

int ramet_condition_wait(ramet_condition *condition, const ramet_wait *wait)
{
    struct rmt_condition_wait cw;
    struct rmt_self *self;
    uint64_t count;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    if (wait && wait->size != sizeof *wait)
        return -EINVAL;
    if (!rmt_condition_owned(condition, self))
        return -EPERM;
    r = rmt_condition_begin(&cw, self, rmt_condition_of(condition), condition->object.at);
    if (r < 0)
        return r;
    r = rmt_condition_unlock(condition, self, &count);
    if (r < 0) { /* another thread released it just now */
        if (rmt_condition_leave(&cw) == 1)
            rmt_condition_end(&cw, false);
        return r;
    }
    int slept = rmt_condition_sleep(&cw, wait);
    int notified = rmt_condition_leave(&cw);
    do {
        r = rmt_condition_relock(condition, self, count);
    } while (r == -EINTR);
    if (r < 0 && r != -EOWNERDEAD)
        return r;
    if (notified < 0)
        return notified;
    if (notified) {
        int ended = rmt_condition_end(&cw, true);
        if (ended < 0)
            return ended;
        slept = 0;
    }
    return r == -EOWNERDEAD ? r : slept;
}

int ramet_condition_notify(ramet_condition *condition, uint64_t count)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    if (!rmt_condition_owned(condition, self))
        return -EPERM;
    return rmt_condition_notify(self, rmt_condition_of(condition), condition->object.at, count);
}

int ramet_condition_waiters(const ramet_condition *condition)
{
    uint64_t waiting = rmt_load64_relaxed(&rmt_condition_of(condition)->waiting);
    return waiting > INT_MAX ? INT_MAX : (int)waiting;
}

/* ---- the object */

static int init(struct rmt_self *self, void *shared, uint64_t at, const void *arg)
{
    const struct rmt_object *lock = arg;
    struct rmt_condition *c = shared;
    rmt_guard_init(&c->guard, at + offsetof(struct rmt_condition, guard));
    rmt_store64_relaxed(&c->head, 0);
    rmt_store64_relaxed(&c->tail, 0);
    rmt_store64_relaxed(&c->waiting, 0);
    rmt_store64_relaxed(&c->pending, 0);
    rmt_store64_relaxed(&c->lock, 0);
    return rmt_count_add(self, at + offsetof(struct rmt_condition, lock), lock->handle.offset);
}

/* Gives the handle of a condition a handle of the lock that the condition keeps alive. */
static int attach_lock(ramet_condition *condition)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    uint64_t block = rmt_load64_relaxed(&rmt_condition_of(condition)->lock);
    struct rmt_object *lock = &condition->lock;
    r = rmt_reach(block);
    if (r >= 0)
        r = rmt_handle_of(self, block, &lock->handle);
    if (r < 0)
        return r;
    lock->at = block + RMT_BLOCK_HEADER;
    lock->shared = rmt_at(lock->at);
    condition->lock_kind = rmt_block_at(block)->kind;
    return 0;
}

static int create(const struct rmt_object *lock, ramet_condition **ret_condition)
{
    struct rmt_object *object;
    int r = rmt_object_create(sizeof(ramet_condition), RAMET_KIND_CONDITION,
                              sizeof(struct rmt_condition), init, lock, &object);
    if (r < 0)
        return r;
    ramet_condition *condition = (ramet_condition *)object;
    r = attach_lock(condition);
    if (r < 0) {
        rmt_object_close(object);
        return r;
    }
    *ret_condition = condition;
    return 0;
}

int ramet_condition_create(const ramet_condition_options *options, ramet_condition **ret_condition)
{
    if (options) {
        if (options->size != sizeof *options || !options->lock == !options->rlock)
            return -EINVAL;
        return create(options->lock ? &options->lock->object : &options->rlock->object,
                      ret_condition);
    }
    ramet_rlock *rlock;
    int r = ramet_rlock_create(NULL, &rlock);
    if (r < 0)
        return r;
    r = create(&rlock->object, ret_condition);
    ramet_rlock_close(rlock);
    return r;
}

int ramet_condition_open(const ramet_ref *ref, ramet_condition **ret_condition)
{
    struct rmt_object *object;
    int r = rmt_object_open(sizeof(ramet_condition), RAMET_KIND_CONDITION, ref, &object);
    if (r < 0)
        return r;
    ramet_condition *condition = (ramet_condition *)object;
    r = attach_lock(condition);
    if (r < 0) {
        rmt_object_close(object);
        return r;
    }
    *ret_condition = condition;
    return 0;
}

ramet_ref ramet_condition_ref(const ramet_condition *condition)
{
    return rmt_handle_ref(&condition->object.handle);
}

void ramet_condition_close(ramet_condition *condition)
{
    struct rmt_self *self;
    if (!condition)
        return;
    if (rmt_self(&self) >= 0)
        rmt_handle_close(self, &condition->lock.handle);
    rmt_object_close((struct rmt_object *)condition);
}

/* ---- the kind */

static void destroy(struct rmt_self *self, uint64_t offset)
{
    struct rmt_condition *c = rmt_payload(offset);
    if (rmt_load64_relaxed(&c->lock) != 0)
        rmt_count_drop(self, offset + RMT_BLOCK_HEADER + offsetof(struct rmt_condition, lock));
}

static int check(uint64_t offset)
{
    const struct rmt_condition *c = rmt_payload(offset);
    uint64_t at = offset + RMT_BLOCK_HEADER, length = 0, prev = 0;
    uint64_t waiting = rmt_load64_relaxed(&c->waiting);
    for (uint64_t t = rmt_load64_relaxed(&c->head); t != 0;) {
        const struct rmt_thread *thread = rmt_at(t);
        if (length++ == waiting || rmt_load64_relaxed(&thread->list_of) != at ||
            rmt_load64_relaxed(&thread->list_prev) != prev)
            return -ENOTRECOVERABLE;
        prev = t;
        t = rmt_load64_relaxed(&thread->list_next);
    }
    return length == waiting && rmt_load64_relaxed(&c->tail) == prev ? 0 : -ENOTRECOVERABLE;
}

static void describe(const struct rmt_source *source, const struct rmt_block *block,
                     uint64_t offset, const void *payload, size_t size, struct rmt_facts *facts)
{
    (void)source;
    (void)block;
    (void)offset;
    const struct rmt_condition *c = payload;
    if (size < sizeof *c)
        return;
    facts->depth = rmt_load64_relaxed(&c->waiting);
    facts->done = rmt_load64_relaxed(&c->pending);
    facts->of = rmt_load64_relaxed(&c->lock);
}

static const struct rmt_kind kind = {
    .id = RAMET_KIND_CONDITION,
    .name = "condition",
    .clear = sizeof(struct rmt_condition),
    .destroy = destroy,
    .check = check,
    .describe = describe,
};

__attribute__((constructor)) static void register_kind(void)
{
    rmt_kind_register(&kind);
}
