/* SPDX-License-Identifier: MIT
 *
 * fault_arena.c: making an arena and joining one, threads, memory of each size, handles, finding
 * the dead: while each call fails in turn.
 */
#include "arena/block.h"
#include "arena/local.h"
#include "fault_run.h"

#include <fcntl.h>
#include <pthread.h>
#include <ramet/arena.h>
#include <ramet/data.h>
#include <stdint.h>

static void joined(void)
{
    OK(ramet_join());
}

/* ---- another process's arena */

static char other_arena[64];
static pid_t other;

static void own_arena(void *to)
{
    char path[64] = {0};
    OK(ramet_join());
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)getpid(), ramet_arena_fd());
    CHECK(write(*(int *)to, path, sizeof path) == (ssize_t)sizeof path);
    pause();
}

static void start_other(void)
{
    int fds[2];
    CHECK(pipe(fds) == 0);
    other = child(own_arena, &fds[1]);
    CHECK(read(fds[0], other_arena, sizeof other_arena) == (ssize_t)sizeof other_arena);
    close(fds[0]);
    close(fds[1]);
}

static int attach_fd;

static void open_other(void)
{
    attach_fd = open(other_arena, O_RDWR | O_CLOEXEC);
    CHECK(attach_fd >= 0);
}

static int attach(void)
{
    return ramet_attach(attach_fd);
}

/* ---- threads: so many that the next needs a chunk of sub-slots */

static pthread_barrier_t all_here;

static void *stand(void *unused)
{
    (void)unused;
    OK(ramet_join());
    pthread_barrier_wait(&all_here);
    pause();
    return NULL;
}

static void all_places_taken(void)
{
    OK(ramet_join());
    CHECK(pthread_barrier_init(&all_here, NULL, 2) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, stand, NULL) == 0);
    pthread_barrier_wait(&all_here);
}

static void *join_thread(void *ret)
{
    *(int *)ret = ramet_join();
    return NULL;
}

static int thread_joins(void)
{
    pthread_t thread;
    int r = 0, error = pthread_create(&thread, NULL, join_thread, &r);
    if (error == 0)
        error = pthread_join(thread, NULL);
    return error != 0 ? -error : r;
}

/* ---- memory */

static ramet_data *data;

static int create(size_t size)
{
    int r = ramet_data_create(size, &data);
    if (r == 0) /* it is memory */
        memset(ramet_data_address(data), 1, size < 4096 ? size : 4096);
    return r;
}

static void free_data(void)
{
    ramet_data_close(data);
}

#define CREATE(name, size)                                                                         \
    static int create_##name(void)                                                                 \
    {                                                                                              \
        return create(size);                                                                       \
    }
CREATE(small, 1)
CREATE(middle, 5000)
CREATE(slab, 32000)
CREATE(page, 40000)
CREATE(large, 5 << 20)

/* Untouched, so that its size costs little. */
static int allocate(size_t size)
{
    struct rmt_self *self;
    int hold;
    uint64_t offset;
    int r = rmt_self(&self);
    if (r == 0)
        r = rmt_block_alloc(self, size, RAMET_KIND_DATA, &hold, &offset);
    if (r == 0)
        rmt_block_free(self, hold);
    return r;
}

/* The first window has less than half of its 64 MiB to give. */
static int in_another_window(void)
{
    return allocate(33 << 20);
}

/* More than is kept warm: it goes back to the machine. */
static int more_than_is_kept(void)
{
    return allocate(257 << 20);
}

/* ---- handles: so many that the table grows over its first room */

#define FIRST_ROOM (4 * RMT_CHUNK_ENTRIES)
#define MORE 3
static ramet_data *handles[FIRST_ROOM + MORE];
static ramet_ref shared;

static void many_handles(void)
{
    OK(ramet_join());
    OK(ramet_data_create(8, &data));
    shared = ramet_data_ref(data);
    for (int i = 0; i < FIRST_ROOM - 2; i++)
        OK(ramet_data_open(&shared, &handles[i]));
}

static int open_more(void)
{
    int n = 0, r = 0;
    while (n < MORE && (r = ramet_data_open(&shared, &handles[FIRST_ROOM + n])) == 0)
        n++;
    while (n > 0)
        ramet_data_close(handles[FIRST_ROOM + --n]);
    return r;
}

/* ---- the dead */

static void die(void *unused)
{
    (void)unused;
    ramet_data *lost;
    OK(ramet_data_create(1000, &lost));
    raise(SIGKILL);
}

static void some_dead(void)
{
    OK(ramet_join());
    for (int i = 0; i < 2; i++)
        CHECK(finish(child(die, NULL)) == -SIGKILL);
}

static int sweep(void)
{
    int r = ramet_sweep();
    return r < 0 ? r : 0;
}

static const struct operation operations[] = {
    {"make an arena", NULL, ramet_join, NULL, {0}, NULL},
    {"attach", open_other, attach, NULL, {0}, NULL},
    {"a thread joins", joined, thread_joins, NULL, {0}, NULL},
    {"a thread joins where there is no place", all_places_taken, thread_joins, NULL, {0}, NULL},
    {"a block of 1 byte", joined, create_small, free_data, {0}, NULL},
    {"a block of 5000 bytes", joined, create_middle, free_data, {0}, NULL},
    {"a block of half a page", joined, create_slab, free_data, {0}, NULL},
    {"a block of a page", joined, create_page, free_data, {0}, NULL},
    {"a block of 5 MiB", joined, create_large, free_data, {0}, NULL},
    {"a block in another window", joined, in_another_window, NULL, {0}, NULL},
    {"more handles than the table has room for", many_handles, open_more, NULL, {0}, NULL},
    {"finding the dead", some_dead, sweep, NULL, {0}, NULL},
};

static const struct operation long_operations[] = {
    {"more memory than is kept", joined, more_than_is_kept, NULL, {0}, NULL},
};

int main(void)
{
    start_other();
    FAIL_EACH_CALL(operations);
    if (getenv("RAMET_LONG"))
        FAIL_EACH_CALL(long_operations);
    CHECK(kill(other, SIGKILL) == 0);
    CHECK(finish(other) == -SIGKILL);
    return 0;
}
