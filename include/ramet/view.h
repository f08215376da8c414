/* SPDX-License-Identifier: MIT
 *
 * ramet/view.h: looking at an arena from outside: who its members are, what their threads wait for
 * and since when, who holds which lock, how full each queue is, how far each job has come.
 *
 *     ramet_view *view;
 *     ramet_view_thread thread = {.size = sizeof thread};
 *     ramet_view_open(pid, &view);
 *     while (ramet_view_next_thread(view, &thread) == 1)
 *         printf("%d/%d %c\n", thread.pid, thread.tid, thread.state);
 *     ramet_view_close(view);
 *
 * The viewer is no member: it takes no lock, holds nobody up, writes nothing, and is not noticed.
 * What it sees may have changed since; what did not hold still while it was read says so
 * (RAMET_VIEW_MOVING).
 *
 * Iterating.  Each struct starts with its size, which the caller sets, and a cursor, which is 0
 * before the first call and then the library's.  The calls return 1 with the next one, 0 at the
 * end.
 *
 * Threads: a view is used by one thread at a time.  Fork: a child has the view, too.
 * If a participant dies: a dead one is shown until somebody of the family has recovered it.
 */
#ifndef RAMET_VIEW_H
#define RAMET_VIEW_H

#include <ramet/base.h>
#include <stdio.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ramet_view ramet_view;

/* Opens a view of the arena of which process `pid` is a member, and looks at its members (see
 * ramet_view_refresh).  -ESRCH: no such process; -ENODEV: it has no arena; -EPROTO: its arena has
 * another layout: look at it with the libramet that it uses; -EACCES, -EPERM: the kernel lets only
 * those look into a process who may trace it (ptrace(2): the same user, or root); -ENOMEM, -EMFILE.
 */
RAMET_API int ramet_view_open(pid_t pid, ramet_view **ret_view);

/* NULL is allowed. */
RAMET_API void ramet_view_close(ramet_view *view);

/* Looks at the members and threads anew.  Objects are always read when they are asked for; who
 * holds them, and who waits for them, is as of the last look.  -ENOMEM. */
RAMET_API int ramet_view_refresh(ramet_view *view);

enum ramet_view_flags {
    RAMET_VIEW_MOVING = 1,  /* it changed while it was read: its numbers may not fit together */
    RAMET_VIEW_WAITING = 2, /* thread: it sleeps */
    RAMET_VIEW_INSIDE = 4,  /* thread: in the midst of a change, inside a structure's guard */
    RAMET_VIEW_STOPPED = 8, /* thread: stopped.  Object: a stopped thread is inside its guard and
                               holds everybody up who comes to it */
    RAMET_VIEW_OWNER_DEAD = 16, /* lock: who held it is dead; the next to acquire it is told */
    RAMET_VIEW_SET = 32,        /* event: set.  Cancel object: fired */
    RAMET_VIEW_CLOSED = 64,     /* queue: shut down.  Pipe end: nobody sends to it.  Pool: closed */
    RAMET_VIEW_BROKEN = 128,    /* barrier */
    RAMET_VIEW_OPEN = 256,      /* job: more items may come */
    RAMET_VIEW_CANCELLED = 512  /* job: no more of its items are begun */
};

typedef struct ramet_view_arena {
    size_t size;       /* sizeof(ramet_view_arena) */
    uint64_t id;       /* as ramet_arena_id() says inside */
    uint64_t layout;   /* version of the layout */
    uint32_t members;  /* as of the last look */
    uint32_t threads;  /* that have used libramet; as of the last look */
    uint32_t poisoned; /* 1: it was found damaged, every call in it fails */
} ramet_view_arena;

/* Of the arena as a whole: 0, -EINVAL (size). */
RAMET_API int ramet_view_whole(ramet_view *view, ramet_view_arena *ret_arena);

enum ramet_view_state {
    RAMET_VIEW_JOINING = 1,
    RAMET_VIEW_RESERVED = 2, /* for a child that pid is about to fork */
    RAMET_VIEW_LIVE = 3,
    RAMET_VIEW_DYING = 4 /* dead, and being recovered */
};

typedef struct ramet_view_member {
    size_t size; /* sizeof(ramet_view_member) */
    uint64_t cursor;
    pid_t pid;
    uint32_t slot;    /* in the arena; reused */
    uint32_t epoch;   /* tells the lives of a slot apart */
    uint32_t state;   /* enum ramet_view_state */
    uint32_t threads; /* of it that have used libramet */
    uint32_t gone;    /* 1: there is no such process any more, and nobody has recovered it yet */
} ramet_view_member;

RAMET_API int ramet_view_next_member(ramet_view *view, ramet_view_member *ret_member);

typedef struct ramet_view_thread {
    size_t size; /* sizeof(ramet_view_thread) */
    uint64_t cursor;
    pid_t pid, tid;
    uint32_t flags; /* MOVING, WAITING, INSIDE, STOPPED */
    uint32_t holds; /* what it has in its hands: items, permits, blocks, claims */
    char state;     /* as in proc(5): R runs, S sleeps, T stopped, ...; 0 unknown */
    ramet_ref at;   /* where it waits, or inside which it stands: kind RAMET_KIND_NONE if that is no
                       object but the arena itself, or nowhere */
    pid_t owner_pid, owner_tid; /* for whom it waits; 0 nobody in particular */
    int64_t waited;             /* ns since the wait began; -1 if it does not wait */
} ramet_view_thread;

RAMET_API int ramet_view_next_thread(ramet_view *view, ramet_view_thread *ret_thread);

/* What the numbers mean:
 *
 *                depth                   limit         done              total         lost
 *     data       -                       bytes         -                 -             -
 *     lock       1 if held               1             -                 -             -
 *     rlock      how often               -             -                 -             -
 *     semaphore  permits that are there  maximum       permits owned     -             -
 *     condition  waiting                 -             notified, yet to go on          -
 *     event      -                       -             times cleared     -             -
 *     barrier    inside                  parties       -                 -             -
 *     queue      items waiting           bound, 0 none items taken       items put     items lost
 *     pipe end   bytes waiting for it    bytes of room -                 -             -
 *     pool       jobs                    workers       workers at work   workers there workers gone
 *     job        items begun, unfinished -             items finished    items         -
 *     cancel     -                       -             times reset       -             - */
typedef struct ramet_view_object {
    size_t size; /* sizeof(ramet_view_object) */
    uint64_t cursor;
    ramet_ref ref;
    uint32_t flags;               /* MOVING, STOPPED, OWNER_DEAD and what its kind has */
    uint32_t waiters;             /* threads that sleep at it */
    uint32_t inside;              /* threads inside its guards */
    pid_t holder_pid, holder_tid; /* lock, rlock; 0: nobody, or not known */
    uint64_t counts;              /* handles and messages that keep it */
    uint64_t bytes;               /* of its block, header included */
    uint64_t depth, limit, done, total, lost;
    ramet_ref of; /* condition: its lock; job: its pool; pipe end: what both ends share */
} ramet_view_object;

/* The objects in the order in which they lie in the arena, those made meanwhile or not.  Parts of
 * objects, and messages, are not listed. */
RAMET_API int ramet_view_next_object(ramet_view *view, ramet_view_object *ret_object);

/* The name of a kind: "lock", "queue", ...; "" for one that is unknown. */
RAMET_API const char *ramet_view_kind(uint32_t kind);

/* All of it as lines of text, one for the arena, and each member, thread and object.
 * -EIO: `to` is in a state of error. */
RAMET_API int ramet_view_print(ramet_view *view, FILE *to);

#ifdef __cplusplus
}
#endif
#endif
