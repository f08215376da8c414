/* SPDX-License-Identifier: MIT
 *
 * kill_fork.c: a death at each atomic operation around a fork with live handles: of the parent
 * before and after it, and of the child while it becomes itself.  No count may be left, and none be
 * taken twice; a child whose parent died under it works or gets an error.
 */
#include "arena/handle.h"
#include "kill.h"
#include <ramet/arena.h>

#include <fcntl.h>

static uint64_t blocks_before;
static struct rmt_handle object, view;
static int alive[2]; /* a pipe that ends when the victim and its children have */

static uint64_t blocks(void)
{
    ramet_usage u = {.size = sizeof u};
    OK(ramet_arena_usage(&u));
    return u.blocks;
}

static struct rmt_handle make(size_t size)
{
    struct rmt_self *self;
    struct rmt_handle h;
    int hold;
    uint64_t offset;
    OK(rmt_self(&self));
    OK(rmt_block_alloc(self, size, RAMET_KIND_DATA, &hold, &offset));
    memset(rmt_payload(offset), 7, size);
    OK(rmt_handle_create(self, hold, &h));
    return h;
}

static void setup(void)
{
    if (object.offset == 0) {
        object = make(64);
        view = make(300000);
    }
    blocks_before = blocks();
    CHECK(pipe2(alive, O_CLOEXEC) == 0);
}

static void use(void)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0) {
        CHECK(r == -ECHILD);
        return;
    }
    CHECK(*(unsigned char *)rmt_payload(view.offset) == 7);
    struct rmt_handle h;
    OK(rmt_handle_dup(self, &object, &h));
    rmt_handle_close(self, &h);
    rmt_handle_close(self, &view);
}

static void victim(void)
{
    close(alive[0]);
    pid_t pid = fork(); /* the count goes on in both */
    CHECK(pid >= 0);
    if (pid == 0) {
        use();
        _exit(0);
    }
    use();
    kill_disarm();
    int status = finish(pid);
    CHECK(status == 0 || status == -SIGKILL);
    if (status != 0)
        raise(SIGKILL); /* not yet through */
}

static void verify(bool finished)
{
    (void)finished;
    char c;
    close(alive[1]);
    CHECK(read(alive[0], &c, 1) == 0); /* orphans have ended, too */
    close(alive[0]);
    struct rmt_self *self;
    OK(rmt_self(&self));
    /* The pipe ends a moment before its last holder is dead. */
    for (int i = 0; OK(ramet_sweep()) > 0 || (blocks() != blocks_before && i < 10000); i++)
        usleep(1000);
    OK(ramet_arena_check(2));
    CHECK(blocks() == blocks_before);
    CHECK(rmt_load64(&rmt_block_at(object.offset)->refs) == 1);
    CHECK(rmt_load64(&rmt_block_at(view.offset)->refs) == 1);
}

int main(void)
{
    OK(ramet_join());
    kill_run(&(struct kill_case){"fork with live handles", setup, victim, NULL, verify});
    return 0;
}
