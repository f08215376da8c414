/* SPDX-License-Identifier: MIT
 *
 * view_print.c: a view as lines of text; the format is in docs/inspecting.md.
 */
#include "arena/view.h"
#include "base/nocancel.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static const char *name_of(uint32_t kind)
{
    const char *name = ramet_view_kind(kind);
    return *name ? name : "block";
}

static void print_ref(const ramet_ref *ref, FILE *to)
{
    RMT_NO_CANCEL;
    fprintf(to, "%s %" PRIx64 ".%" PRIu32, name_of(ref->kind), ref->offset, ref->generation);
}

static void print_member(const ramet_view_member *m, FILE *to)
{
    RMT_NO_CANCEL;
    static const char *const states[] = {"free", "joining", "reserved", "live", "dying"};
    fprintf(to, "member %d: %s%s, slot %" PRIu32 ", epoch %" PRIu32 ", %" PRIu32 " threads\n",
            (int)m->pid, states[m->state <= RAMET_VIEW_DYING ? m->state : 0],
            m->gone ? " (gone)" : "", m->slot, m->epoch, m->threads);
}

static void print_thread(const ramet_view_thread *t, FILE *to)
{
    RMT_NO_CANCEL;
    fprintf(to, "thread %d/%d: ", (int)t->pid, (int)t->tid);
    if (t->flags & RAMET_VIEW_STOPPED)
        fprintf(to, "stopped, ");
    if (t->flags & RAMET_VIEW_WAITING)
        fprintf(to, "waits at ");
    else
        fprintf(to, t->flags & RAMET_VIEW_INSIDE ? "inside " : "runs");
    if (t->flags & (RAMET_VIEW_WAITING | RAMET_VIEW_INSIDE)) {
        if (t->at.offset != 0)
            print_ref(&t->at, to);
        else
            fprintf(to, "the arena");
    }
    if (t->waited >= 0)
        fprintf(to, " for %.3f s", (double)t->waited / 1e9);
    if (t->owner_pid != 0)
        fprintf(to, ", on %d/%d", (int)t->owner_pid, (int)t->owner_tid);
    if (t->holds != 0)
        fprintf(to, ", %" PRIu32 " in hand", t->holds);
    fprintf(to, "%s\n", t->flags & RAMET_VIEW_MOVING ? ", moving" : "");
}

static void print_numbers(const ramet_view_object *o, FILE *to)
{
    RMT_NO_CANCEL;
    switch ((enum ramet_kind)o->ref.kind) {
    case RAMET_KIND_DATA:
        fprintf(to, "%" PRIu64 " bytes", o->limit);
        break;
    case RAMET_KIND_SEMAPHORE:
        fprintf(to, "%" PRIu64 " of %" PRIu64 ", %" PRIu64 " owned", o->depth, o->limit, o->done);
        break;
    case RAMET_KIND_CONDITION:
        fprintf(to, "%" PRIu64 " waiting, %" PRIu64 " notified, with ", o->depth, o->done);
        print_ref(&o->of, to);
        break;
    case RAMET_KIND_EVENT:
        fprintf(to, "%s, cleared %" PRIu64 " times", o->flags & RAMET_VIEW_SET ? "set" : "not set",
                o->done);
        break;
    case RAMET_KIND_CANCEL:
        fprintf(to, "%s, reset %" PRIu64 " times",
                o->flags & RAMET_VIEW_SET ? "fired" : "not fired", o->done);
        break;
    case RAMET_KIND_BARRIER:
        fprintf(to, "%" PRIu64 " of %" PRIu64 " inside%s", o->depth, o->limit,
                o->flags & RAMET_VIEW_BROKEN ? ", broken" : "");
        break;
    case RAMET_KIND_QUEUE:
        fprintf(to, "depth %" PRIu64, o->depth);
        if (o->limit != 0)
            fprintf(to, " of %" PRIu64, o->limit);
        fprintf(to, ", %" PRIu64 " put, %" PRIu64 " taken, %" PRIu64 " lost", o->total, o->done,
                o->lost);
        break;
    case RAMET_KIND_PIPE:
        fprintf(to, "%" PRIu64 " of %" PRIu64 " bytes, of ", o->depth, o->limit);
        print_ref(&o->of, to);
        break;
    case RAMET_KIND_POOL:
        fprintf(to,
                "%" PRIu64 " jobs, %" PRIu64 " of %" PRIu64 " workers at work (%" PRIu64
                " wanted), %" PRIu64 " gone",
                o->depth, o->done, o->total, o->limit, o->lost);
        break;
    case RAMET_KIND_JOB:
        fprintf(to, "%" PRIu64 " of %" PRIu64 "%s items finished, %" PRIu64 " begun, of ", o->done,
                o->total, o->flags & RAMET_VIEW_OPEN ? " or more" : "", o->depth);
        print_ref(&o->of, to);
        break;
    default:
        break;
    }
}

static void print_lock(const ramet_view_object *o, FILE *to)
{
    RMT_NO_CANCEL;
    if (o->flags & RAMET_VIEW_OWNER_DEAD)
        fprintf(to, "its holder died");
    else if (o->depth == 0)
        fprintf(to, "free");
    else
        fprintf(to, "held by %d/%d", (int)o->holder_pid, (int)o->holder_tid);
    if (o->ref.kind == RAMET_KIND_RLOCK && o->depth > 0)
        fprintf(to, ", depth %" PRIu64, o->depth);
}

void rmt_view_print_object(const ramet_view_object *o, FILE *to)
{
    RMT_NO_CANCEL;
    print_ref(&o->ref, to);
    fprintf(to, ": ");
    if (o->ref.kind == RAMET_KIND_LOCK || o->ref.kind == RAMET_KIND_RLOCK)
        print_lock(o, to);
    else
        print_numbers(o, to);
    if (o->flags & RAMET_VIEW_CLOSED)
        fprintf(to, ", closed");
    if (o->flags & RAMET_VIEW_CANCELLED)
        fprintf(to, ", cancelled");
    fprintf(to, ", %" PRIu32 " waiters, %" PRIu64 " counts", o->waiters, o->counts);
    if (o->inside != 0)
        fprintf(to, ", %" PRIu32 " inside", o->inside);
    if (o->flags & RAMET_VIEW_STOPPED)
        fprintf(to, ", held up by a stopped thread");
    fprintf(to, "%s\n", o->flags & RAMET_VIEW_MOVING ? ", moving" : "");
}

int ramet_view_print(ramet_view *view, FILE *to)
{
    RMT_NO_CANCEL;
    ramet_view_arena arena = {.size = sizeof arena};
    ramet_view_member member = {.size = sizeof member};
    ramet_view_thread thread = {.size = sizeof thread};
    ramet_view_object object = {.size = sizeof object};
    int r = ramet_view_whole(view, &arena);
    if (r < 0)
        return r;
    fprintf(
        to, "arena %" PRIx64 ": layout %" PRIu64 ", %" PRIu32 " members, %" PRIu32 " threads%s\n",
        arena.id, arena.layout, arena.members, arena.threads, arena.poisoned ? ", damaged" : "");
    while ((r = ramet_view_next_member(view, &member)) == 1)
        print_member(&member, to);
    while (r == 0 && (r = ramet_view_next_thread(view, &thread)) == 1) {
        print_thread(&thread, to);
        r = 0;
    }
    while (r == 0 && (r = ramet_view_next_object(view, &object)) == 1) {
        rmt_view_print_object(&object, to);
        r = 0;
    }
    if (r == 0 && ferror(to))
        r = -EIO;
    return r;
}
