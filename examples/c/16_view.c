/* SPDX-License-Identifier: MIT
 *
 * 16_view.c: looks at the arena of another process and says what goes on in it: which threads wait
 * for what and since when, who holds which lock, how full the queues are, how far the jobs have
 * come.
 *
 *     16_view PID       of the family of which PID is a member
 *     16_view fork      of a small family that it starts for the purpose (or spawn, forkserver)
 *
 * The viewer is no member of what it looks at: it takes no lock, writes nothing, and is not
 * noticed.
 */
#include "example.h"

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

static void show_threads(ramet_view *view)
{
    ramet_view_thread t = {.size = sizeof(t)};
    while (MUST(ramet_view_next_thread(view, &t)) == 1) {
        printf("%7d %7d %c ", (int)t.pid, (int)t.tid, t.state ? t.state : '?');
        if (t.flags & RAMET_VIEW_WAITING)
            printf("waits %.3f s at %s %" PRIx64, (double)t.waited / 1e9,
                   ramet_view_kind(t.at.kind), t.at.offset);
        else if (t.flags & RAMET_VIEW_INSIDE)
            printf("changes %s %" PRIx64, ramet_view_kind(t.at.kind), t.at.offset);
        else
            printf("runs");
        if (t.owner_pid != 0)
            printf(" for %d", (int)t.owner_pid);
        if ((t.flags & RAMET_VIEW_INSIDE) && (t.flags & RAMET_VIEW_STOPPED))
            printf(": STOPPED, and holds the others up");
        printf("\n");
    }
}

static void show_objects(ramet_view *view)
{
    ramet_view_object o = {.size = sizeof(o)};
    while (MUST(ramet_view_next_object(view, &o)) == 1) {
        if (o.ref.kind == RAMET_KIND_DATA)
            continue;
        printf("%-9s %8" PRIx64 "  %3" PRIu32 " waiting", ramet_view_kind(o.ref.kind), o.ref.offset,
               o.waiters);
        if (o.holder_pid != 0)
            printf("  held by %d/%d", (int)o.holder_pid, (int)o.holder_tid);
        if (o.flags & RAMET_VIEW_OWNER_DEAD)
            printf("  its holder died");
        if (o.ref.kind == RAMET_KIND_QUEUE)
            printf("  depth %" PRIu64 ", %" PRIu64 " taken", o.depth, o.done);
        if (o.ref.kind == RAMET_KIND_JOB)
            printf("  %" PRIu64 " of %" PRIu64 " finished", o.done, o.total);
        if (o.ref.kind == RAMET_KIND_POOL)
            printf("  %" PRIu64 " of %" PRIu64 " workers at work", o.done, o.total);
        printf("\n");
    }
}

static int show(pid_t pid)
{
    ramet_view *view;
    ramet_view_arena arena = {.size = sizeof(arena)};
    int r = ramet_view_open(pid, &view);
    if (r < 0) {
        fprintf(stderr, "process %d: %s\n", (int)pid,
                r == -ENODEV ? "uses no arena" : strerror(-r));
        return 1;
    }
    MUST(ramet_view_whole(view, &arena));
    printf("arena %" PRIx64 ", %" PRIu32 " processes, %" PRIu32 " threads%s\n", arena.id,
           arena.members, arena.threads, arena.poisoned ? ", DAMAGED" : "");
    show_threads(view);
    show_objects(view);
    ramet_view_close(view);
    return 0;
}

/* ---- something to look at: a child that waits for a message */

static int receive(const void *arg, size_t size)
{
    ramet_queue *queue;
    ramet_item item = {.size = sizeof(item)};
    (void)size;
    MUST(ramet_queue_open(arg, &queue));
    MUST(ramet_queue_get(queue, NULL, &item));
    ramet_item_release(&item);
    ramet_queue_close(queue);
    return 0;
}

static const ramet_task tasks[] = {{"receive", receive}};

int main(int argc, char **argv)
{
    MUST(ramet_enter(argc, argv, tasks, 1));
    if (argc > 1 && atoi(argv[1]) > 0)
        return show((pid_t)atoi(argv[1]));

    ramet_queue *queue;
    MUST(ramet_queue_create(NULL, &queue));
    ramet_ref ref = ramet_queue_ref(queue);
    ramet_process *process = start(method_of(argc, argv), "receive", &ref, 1);
    int shown = show(getpid());
    MUST(ramet_queue_put(queue, "go", 2, NULL));
    int code = join(process);
    ramet_queue_close(queue);
    return shown != 0 || code != 0;
}
