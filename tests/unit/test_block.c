/* SPDX-License-Identifier: MIT
 *
 * test_block.c: allocation: sizes, reuse, contents, accounting, many processes, what a killed
 * holder held.
 */
#include "arena/block.h"
#include "unit.h"
#include <ramet/arena.h>

static struct rmt_self *self;

static ramet_usage usage(void)
{
    ramet_usage u = {.size = sizeof u};
    OK(ramet_arena_usage(&u));
    return u;
}

static void each_size_is_usable_and_comes_back(void)
{
    uint64_t before = usage().blocks;
    for (size_t size = 0; size < (1 << 20); size = size * 5 / 4 + 1) {
        int hold;
        uint64_t offset;
        OK(rmt_block_alloc(self, size, RAMET_KIND_DATA, &hold, &offset));
        CHECK(offset % 64 == 0 && rmt_block_valid(offset));
        CHECK(rmt_block_at(offset)->capacity >= size && rmt_block_at(offset)->size == size);
        memset(rmt_payload(offset), 0xa5, rmt_block_at(offset)->capacity);
        CHECK(usage().blocks == before + 1);
        OK(ramet_arena_check(2));
        rmt_block_free(self, hold);
        CHECK(usage().blocks == before);
    }
    OK(ramet_arena_check(2));
}

static unsigned next_random(unsigned *state)
{
    *state = *state * 1103515245u + 12345u;
    return *state >> 8;
}

/* Allocates and frees at random with up to 20 blocks in its hands, and checks that nobody else
 * writes there. */
static void churn(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    struct rmt_self *me;
    OK(rmt_self(&me));
    struct {
        int hold;
        uint64_t offset;
        size_t size;
        unsigned char fill;
    } live[20] = {0};
    for (int round = 0; round < 20000; round++) {
        int i = (int)(next_random(&seed) % 20);
        if (live[i].offset != 0) {
            unsigned char *p = rmt_payload(live[i].offset);
            for (size_t k = 0; k < live[i].size; k += 61)
                CHECK(p[k] == live[i].fill);
            rmt_block_free(me, live[i].hold);
            live[i].offset = 0;
            continue;
        }
        live[i].size = next_random(&seed) % (round % 16 == 0 ? 200000 : 3000);
        live[i].fill = (unsigned char)next_random(&seed);
        OK(rmt_block_alloc(me, live[i].size, RAMET_KIND_DATA, &live[i].hold, &live[i].offset));
        memset(rmt_payload(live[i].offset), live[i].fill, live[i].size);
    }
    for (int i = 0; i < 20; i++)
        if (live[i].offset != 0)
            rmt_block_free(me, live[i].hold);
}

static void processes_do_not_meet(void)
{
    uint64_t before = usage().blocks;
    pid_t pids[3];
    for (int i = 0; i < 3; i++)
        pids[i] = child(churn, (void *)(uintptr_t)(i + 1));
    churn((void *)(uintptr_t)99);
    for (int i = 0; i < 3; i++) {
        CHECK(finish(pids[i]) == 0);
        CHECK(ramet_reap(pids[i]) == 1);
    }
    OK(ramet_arena_check(2));
    CHECK(usage().blocks == before);
}

static void hold_and_wait(void *arg)
{
    int fd = *(int *)arg;
    struct rmt_self *me;
    OK(rmt_self(&me));
    int hold;
    uint64_t offset, second;
    OK(rmt_block_alloc(me, 100, RAMET_KIND_DATA, &hold, &offset));
    OK(rmt_block_alloc(me, 100000, RAMET_KIND_DATA, &hold, &second));
    OK(rmt_block_chain(me, offset, hold));
    OK(rmt_block_alloc(me, 1000, RAMET_KIND_DATA, &hold, &second));
    CHECK(write(fd, "x", 1) == 1);
    pause();
}

static void a_killed_holder_loses_what_it_held(void)
{
    uint64_t before = usage().blocks;
    int fds[2];
    char c;
    CHECK(pipe(fds) == 0);
    pid_t pid = child(hold_and_wait, &fds[1]);
    CHECK(read(fds[0], &c, 1) == 1);
    CHECK(usage().blocks >= before + 3);
    CHECK(usage().members == 2);
    CHECK(ramet_reap(pid) == 0); /* it lives */
    CHECK(usage().members == 2);
    kill(pid, SIGKILL);
    CHECK(finish(pid) == -SIGKILL);
    CHECK(ramet_reap(pid) == 1);
    CHECK(ramet_reap(pid) == 0);
    CHECK(usage().blocks == before);
    CHECK(usage().members == 1);
    OK(ramet_arena_check(2));
}

static void a_stopped_holder_keeps_it(void)
{
    uint64_t before = usage().blocks;
    int fds[2];
    char c;
    CHECK(pipe(fds) == 0);
    pid_t pid = child(hold_and_wait, &fds[1]);
    CHECK(read(fds[0], &c, 1) == 1);
    kill(pid, SIGSTOP);
    int status;
    CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    CHECK(ramet_sweep() == 0);
    CHECK(ramet_reap(pid) == 0);
    CHECK(usage().blocks >= before + 3);
    kill(pid, SIGKILL);
    CHECK(finish(pid) == -SIGKILL);
    CHECK(ramet_sweep() == 1);
    CHECK(usage().blocks == before);
}

static void too_much_is_an_error(void)
{
    int hold;
    uint64_t offset;
    CHECK(rmt_block_alloc(self, SIZE_MAX, RAMET_KIND_DATA, &hold, &offset) == -ENOMEM);
    CHECK(rmt_block_alloc(self, 1ull << 38, RAMET_KIND_DATA, &hold, &offset) == -ENOMEM);
    OK(ramet_arena_check(2));
    OK(rmt_block_alloc(self, 100, RAMET_KIND_DATA, &hold, &offset));
    rmt_block_free(self, hold);
}

static void invalid_offsets_are_refused(void)
{
    int hold;
    uint64_t offset;
    OK(rmt_block_alloc(self, 100, RAMET_KIND_DATA, &hold, &offset));
    CHECK(rmt_block_valid(offset));
    CHECK(!rmt_block_valid(offset + 64) && !rmt_block_valid(offset + 1) && !rmt_block_valid(0));
    CHECK(!rmt_block_valid(UINT64_MAX) && !rmt_block_valid(1ull << 40));
    rmt_block_free(self, hold);
    CHECK(!rmt_block_valid(offset));
}

int main(void)
{
    watchdog();
    OK(ramet_join());
    OK(rmt_self(&self));
    RUN(each_size_is_usable_and_comes_back);
    RUN(processes_do_not_meet);
    RUN(a_killed_holder_loses_what_it_held);
    RUN(a_stopped_holder_keeps_it);
    RUN(too_much_is_an_error);
    RUN(invalid_offsets_are_refused);
    return 0;
}
