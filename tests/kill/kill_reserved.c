/* SPDX-License-Identifier: MIT
 *
 * kill_reserved.c: a parent is killed at each atomic operation of preparing a fork, and the slot
 * that it had reserved for its child is come upon before its own.  A record of the parent that
 * names words of that slot is applied before the slot is somebody else's.
 */
#include "arena/handle.h"
#include "arena/local.h"
#include "kill.h"
#include <ramet/arena.h>

#include <fcntl.h>

static struct rmt_handle object;
static int alive[2]; /* a pipe that ends when the victim and its child have */
static uint64_t blocks_before;

static uint64_t blocks(void)
{
    ramet_usage u = {.size = sizeof u};
    OK(ramet_arena_usage(&u));
    return u.blocks;
}

static void idle(void *unused)
{
    (void)unused;
}

static void fork_once(void *nth)
{
    OK(ramet_join());
    close(alive[0]);
    kill_arm(*(const uint64_t *)nth);
    pid_t pid = fork();
    kill_disarm();
    CHECK(pid >= 0);
    if (pid == 0)
        _exit(0);
    int status = finish(pid);
    CHECK(status == 0 || status == -SIGKILL);
    if (status != 0)
        raise(SIGKILL); /* not yet through: the count went on in the child */
}

/* All others are gone and recovered. */
static bool alone(void)
{
    ramet_usage u = {.size = sizeof u};
    OK(ramet_arena_usage(&u));
    return u.members == 1;
}

static void check_slots(void)
{
    uint64_t high = rmt_load64(&rmt_header()->members_high);
    for (uint32_t slot = 1; slot < high; slot++) {
        const struct rmt_member *m = rmt_member_at(slot);
        if (slot == rmt_local.slot)
            continue;
        CHECK(rmt_member_state_of(rmt_load64(&m->state)) == RMT_MEMBER_FREE);
        CHECK(rmt_load64(&m->handles) == 0 && rmt_load64(&m->threads) == 0);
    }
}

/* True if the victim came through. */
static bool one(uint64_t nth, int turn)
{
    char c;
    CHECK(pipe2(alive, O_CLOEXEC) == 0);
    for (int i = 0; i < turn; i++) {
        pid_t pid = child(idle, NULL);
        CHECK(finish(pid) == 0);
        ramet_reap(pid);
    }
    int status = finish(child(fork_once, &nth));
    CHECK(status == 0 || status == -SIGKILL);
    close(alive[1]);
    CHECK(read(alive[0], &c, 1) == 0);
    close(alive[0]);
    /* The pipe ends a moment before its last holder is dead. */
    while (OK(ramet_sweep()) > 0 || !alone())
        usleep(1000);
    OK(ramet_arena_check(2));
    check_slots();
    CHECK(blocks() == blocks_before);
    CHECK(rmt_load64(&rmt_block_at(object.offset)->refs) == 1);
    return status == 0;
}

int main(void)
{
    struct rmt_self *self;
    uint64_t offset, n = 1;
    int hold;
    OK(ramet_join());
    OK(rmt_self(&self));
    OK(rmt_block_alloc(self, 100, RAMET_KIND_DATA, &hold, &offset));
    OK(rmt_handle_create(self, hold, &object));
    blocks_before = blocks();
    for (bool through = false; !through; n++) {
        alarm(600);
        through = one(n, 0);
        (void)one(n, 1);
    }
    printf("%-24s killed at %lu points\n", "fork, slots reversed", (unsigned long)(n - 2));
    return 0;
}
