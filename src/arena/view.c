/* SPDX-License-Identifier: MIT
 *
 * view.c: opening a view of another process's arena, and the iterations of ramet/view.h.
 */
#include "arena/view.h"
#include "arena/kind.h"
#include "arena/local.h"
#include "base/nocancel.h"
#include "base/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- opening */

struct search {
    pid_t pid;
    int fd;    /* the best arena so far; -1 none */
    int error; /* of an arena that cannot be shown; 0 none */
};

/* Whether the arena has a live member with that pid: 1, 0, or negative. */
static int is_member(int fd, const struct rmt_header *header, pid_t pid)
{
    int error = 0;
    const struct rmt_source source = {.fd = fd, .size = header->size, .error = &error};
    uint64_t high = rmt_source_word(&source, offsetof(struct rmt_header, members_high));
    for (uint32_t slot = 1; slot < high && slot < RMT_SLOTS; slot++) {
        uint64_t state = rmt_source_word(&source, rmt_member_offset(slot));
        if (rmt_member_state_of(state) == RMT_MEMBER_LIVE && rmt_member_pid_of(state) == pid)
            return 1;
    }
    return error;
}

/* A process may have descriptors of several: the one of which it is a member is meant. */
static int consider(int fd, void *arg)
{
    RMT_NO_CANCEL;
    struct search *s = arg;
    struct rmt_header header;
    int r = rmt_read_header(fd, &header);
    int member = r < 0 ? r : is_member(fd, &header, s->pid);
    if (member < 0)
        s->error = member;
    if (member < 0 || (s->fd >= 0 && !member)) {
        close(fd);
        return 0;
    }
    if (s->fd >= 0)
        close(s->fd);
    s->fd = fd;
    return member;
}

int rmt_view_of(int fd, bool own, ramet_view **ret_view)
{
    struct rmt_header header;
    int r = rmt_read_header(fd, &header);
    if (r < 0)
        return r;
    ramet_view *view = calloc(1, sizeof *view);
    if (!view)
        return -ENOMEM;
    view->source =
        (struct rmt_source){.fd = fd, .id = header.id, .size = header.size, .error = &view->error};
    r = rmt_view_look(view);
    if (r < 0) {
        ramet_view_close(view);
        return r;
    }
    view->own_fd = own;
    *ret_view = view;
    return 0;
}

int ramet_view_open(pid_t pid, ramet_view **ret_view)
{
    RMT_NO_CANCEL;
    struct search s = {.pid = pid, .fd = -1};
    if (pid <= 0)
        return -ESRCH;
    int r = rmt_os_each_memfd(pid, RMT_MEMFD_NAME, consider, &s);
    if (s.fd < 0) {
        if (s.error < 0)
            return s.error;
        return r == -ENOENT ? -ESRCH : r < 0 ? r : -ENODEV;
    }
    r = rmt_view_of(s.fd, true, ret_view);
    if (r < 0)
        close(s.fd);
    return r;
}

void ramet_view_close(ramet_view *view)
{
    RMT_NO_CANCEL;
    if (!view)
        return;
    if (view->own_fd)
        close(view->source.fd);
    free(view->member);
    free(view->thread);
    free(view->sleeping);
    free(view);
}

int ramet_view_refresh(ramet_view *view)
{
    return rmt_view_look(view);
}

/* ---- the iterations */

int ramet_view_whole(ramet_view *view, ramet_view_arena *ret_arena)
{
    const struct rmt_source *source = &view->source;
    if (ret_arena->size != sizeof *ret_arena)
        return -EINVAL;
    view->error = 0;
    const ramet_view_arena arena = {
        .size = sizeof *ret_arena,
        .id = source->id,
        .layout = rmt_source_word(source, offsetof(struct rmt_header, version)),
        .members = (uint32_t)view->members,
        .threads = (uint32_t)view->threads,
        .poisoned = rmt_source_word(source, offsetof(struct rmt_header, poisoned)) != 0,
    };
    if (view->error < 0)
        return view->error;
    *ret_arena = arena;
    return 0;
}

int ramet_view_next_member(ramet_view *view, ramet_view_member *ret_member)
{
    uint64_t i = ret_member->cursor;
    if (ret_member->size != sizeof *ret_member)
        return -EINVAL;
    if (i >= view->members)
        return 0;
    const struct rmt_seen_member *m = &view->member[i];
    *ret_member = (ramet_view_member){
        .size = sizeof *ret_member,
        .cursor = i + 1,
        .pid = m->pid,
        .slot = m->slot,
        .epoch = (uint32_t)(m->state >> 32),
        .state = rmt_member_state_of(m->state),
        .threads = m->threads,
        .gone = m->gone,
    };
    return 1;
}

/* The object in which the word at `offset` stands; nothing if it is none that is listed. */
static ramet_ref object_at(const ramet_view *view, uint64_t offset)
{
    struct rmt_block block;
    uint64_t at = offset != 0 ? rmt_source_find(&view->source, offset, &block) : 0;
    if (at == 0)
        return (ramet_ref){0};
    return (ramet_ref){
        .arena = view->source.id, .offset = at, .kind = block.kind, .generation = block.generation};
}

int ramet_view_next_thread(ramet_view *view, ramet_view_thread *ret_thread)
{
    uint64_t i = ret_thread->cursor;
    if (ret_thread->size != sizeof *ret_thread)
        return -EINVAL;
    if (i >= view->threads)
        return 0;
    const struct rmt_seen_thread *t = &view->thread[i];
    const struct rmt_seen_thread *owner = rmt_view_thread(view, t->waits_owner);
    bool waits = (t->flags & RAMET_VIEW_WAITING) != 0;
    int64_t waited = rmt_os_now() - (int64_t)t->since;
    view->error = 0;
    const ramet_view_thread thread = {
        .size = sizeof *ret_thread,
        .cursor = i + 1,
        .pid = t->pid,
        .tid = t->tid,
        .flags = t->flags,
        .holds = t->holds,
        .state = t->state,
        .at = object_at(view, waits ? t->at : t->guard),
        .owner_pid = owner ? owner->pid : rmt_view_process(view, t->waits_owner),
        .owner_tid = owner ? owner->tid : 0,
        .waited = !waits       ? -1
                  : waited < 0 ? 0
                               : waited,
    };
    if (view->error < 0)
        return view->error;
    *ret_thread = thread;
    return 1;
}

int ramet_view_next_object(ramet_view *view, ramet_view_object *ret_object)
{
    uint64_t cursor = ret_object->cursor, offset;
    struct rmt_block block;
    if (ret_object->size != sizeof *ret_object)
        return -EINVAL;
    view->error = 0;
    while (rmt_view_walk(view, &cursor, &offset, &block) == 1) {
        ramet_view_object object = {.size = sizeof object, .cursor = cursor};
        if (rmt_view_describe(view, offset, &block, &object) == 0 && view->error == 0)
            continue;
        if (view->error < 0)
            break;
        *ret_object = object;
        return 1;
    }
    if (view->error < 0) {
        view->words_at = view->slab = 0; /* what was read in part is read again */
        return view->error;
    }
    ret_object->cursor = cursor;
    return 0;
}

const char *ramet_view_kind(uint32_t kind)
{
    const struct rmt_kind *k = rmt_kind_get(kind);
    return k ? k->name : "";
}
