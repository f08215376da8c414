/* SPDX-License-Identifier: MIT
 *
 * fault_view.c: looking at arenas, one's own and another process's, and checking objects: while
 * each call fails in turn.  What is told is all that is to be told, or an error: never a part.
 */
#include "fault_run.h"

#include <ramet/ramet.h>
#include <stdint.h>

#define QUEUES 3 /* that the other process has, beside a lock that it holds */

static pid_t other;

/* ---- the process that is looked at */

static void live(void *to)
{
    ramet_queue *queue;
    ramet_lock *lock;
    OK(ramet_lock_create(NULL, &lock));
    OK(ramet_lock_acquire(lock, NULL));
    for (int i = 0; i < QUEUES; i++) {
        OK(ramet_queue_create(NULL, &queue));
        OK(ramet_queue_put(queue, "item", 4, NULL));
    }
    CHECK(write(*(int *)to, "", 1) == 1);
    pause();
}

static void start_other(void)
{
    int fds[2];
    char c;
    CHECK(pipe(fds) == 0);
    other = child(live, &fds[1]);
    CHECK(read(fds[0], &c, 1) == 1);
    close(fds[0]);
    close(fds[1]);
}

/* ---- its view */

static ramet_view *view;

static void joined(void)
{
    OK(ramet_join());
}

static void viewing(void)
{
    joined();
    OK(ramet_view_open(other, &view));
}

static int open_view(void)
{
    ramet_view *untouched = (ramet_view *)(uintptr_t)64, *opened = untouched;
    int r = ramet_view_open(other, &opened);
    CHECK((opened == untouched) == (r < 0));
    ramet_view_close(r < 0 ? NULL : opened);
    return r;
}

static int open_view_of_nobody(void)
{
    CHECK(ramet_view_open(-1, &view) == -ESRCH);
    return ramet_view_open(other, &view);
}
static void close_view(void)
{
    ramet_view_close(view);
}

static int whole(void)
{
    ramet_view_arena arena = {.size = sizeof arena, .id = 64};
    int r = ramet_view_whole(view, &arena);
    CHECK(r == 0 ? arena.id != 64 && arena.layout > 0 && arena.members == 1 : arena.id == 64);
    return r;
}

/* Each iteration to its end. */
#define ITERATE(noun)                                                                              \
    static int count_##noun##s(int *ret_count)                                                     \
    {                                                                                              \
        ramet_view_##noun one = {.size = sizeof one};                                              \
        int n = 0, r;                                                                              \
        while ((r = ramet_view_next_##noun(view, &one)) == 1)                                      \
            n++;                                                                                   \
        if (r == 0)                                                                                \
            *ret_count = n;                                                                        \
        return r;                                                                                  \
    }
ITERATE(member)
ITERATE(thread)
ITERATE(object)

/* All members and threads are there after it, or none. */
static int refresh(void)
{
    int members = -1, threads = -1, r = ramet_view_refresh(view);
    OK(count_members(&members));
    OK(count_threads(&threads));
    CHECK(members == (r == 0) && threads == (r == 0));
    return r;
}

static int objects(void)
{
    int n = -1;
    int r = count_objects(&n);
    CHECK(r < 0 || n == QUEUES + 1);
    return r;
}

/* ---- as text, into memory that does not fail by itself */

static char text[20000];
static FILE *to;

static void viewing_as_text(void)
{
    viewing();
    to = fmemopen(text, sizeof text, "w");
    CHECK(to && setvbuf(to, NULL, _IOFBF, sizeof text) == 0);
}

static int lines_of(const char *what)
{
    int n = 0;
    fflush(to);
    for (const char *p = text; (p = strstr(p, what)) != NULL; p++)
        n++;
    rewind(to);
    return n;
}

static int print(void)
{
    int r = ramet_view_print(view, to), lines = lines_of("\nqueue ");
    CHECK(r < 0 || lines == QUEUES);
    return r;
}

/* ---- one's own objects */

static ramet_queue *queue;
static ramet_ref ref;

static void own_queue(void)
{
    viewing_as_text();
    ramet_view_close(view);
    OK(ramet_queue_create(NULL, &queue));
    ref = ramet_queue_ref(queue);
}

static int check_all(void)
{
    return ramet_check(NULL, 2);
}

static int dump_one(void)
{
    int r = ramet_dump(&ref, to), lines = lines_of("queue ");
    CHECK(r < 0 || lines == 1);
    return r;
}

static int dump_all(void)
{
    int r = ramet_dump(NULL, to), lines = lines_of("\nqueue ");
    CHECK(r < 0 || lines == 1);
    return r;
}

static int usage(void)
{
    ramet_usage u = {.size = sizeof u, .blocks = 64};
    int r = ramet_arena_usage(&u);
    CHECK(r == 0 || u.blocks == 64);
    return r;
}

static const struct operation operations[] = {
    {"open a view", joined, open_view, NULL, {0}, NULL},
    {"open a view, no member", NULL, open_view_of_nobody, close_view, {0}, NULL},
    {"refresh a view", viewing, refresh, NULL, {0}, NULL},
    {"the arena in a view", viewing, whole, NULL, {0}, NULL},
    {"objects in a view", viewing, objects, NULL, {0}, NULL},
    {"print a view", viewing_as_text, print, NULL, {0}, NULL},
    {"dump an object", own_queue, dump_one, NULL, {0}, NULL},
    {"dump an arena", own_queue, dump_all, NULL, {0}, NULL},
    {"join, to check it", NULL, check_all, NULL, {0}, NULL},
    {"join, to know what is in use", NULL, usage, NULL, {0}, NULL},
};

int main(void)
{
    start_other();
    FAIL_EACH_CALL(operations);
    CHECK(kill(other, SIGKILL) == 0);
    CHECK(finish(other) == -SIGKILL);
    return 0;
}
