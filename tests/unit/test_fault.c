/* SPDX-License-Identifier: MIT
 *
 * test_fault.c: every system call that the arena makes fails once, in turn: the Nth, for N = 1, 2,
 * ... until the whole sequence succeeds.  Each time the caller gets that error, and what was done
 * before stays sound.
 */
#include "arena/handle.h"
#include "base/fault.h"
#include "unit.h"
#include <dirent.h>
#include <ramet/arena.h>

static int descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;
    CHECK(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* 0, or the first error.  Uses everything of the arena that makes system calls. */
static int sequence(void)
{
    int r = ramet_join();
    if (r < 0)
        return r;
    struct rmt_self *self;
    int hold;
    uint64_t offset;
    struct rmt_handle handle;
    r = rmt_self(&self);
    if (r < 0)
        return r;
    r = rmt_block_alloc(self, 1000, RAMET_KIND_DATA, &hold, &offset);
    if (r < 0)
        return r;
    r = rmt_handle_create(self, hold, &handle);
    if (r < 0) {
        rmt_block_free(self, hold);
        return r;
    }
    r = rmt_block_alloc(self, 100 << 20, RAMET_KIND_DATA, &hold,
                        &offset); /* needs another window */
    if (r == 0)
        rmt_block_free(self, hold);
    rmt_handle_close(self, &handle);
    return r;
}

static enum rmt_fault_site site;
static int nth;
#define INJECTED (-EDQUOT) /* an error that nothing here gives by itself */

static void works(void *unused)
{
    (void)unused;
    OK(sequence());
}

static void fail_once(void *through)
{
    int before = descriptors();
    rmt_fault_arm(site, nth, INJECTED);
    int r = sequence();
    CHECK(r == 0 || r == INJECTED);
    rmt_fault_disarm();
    if (r == 0)
        CHECK(write(*(int *)through, "x", 1) == 1);
    /* What failed left nothing in the way: the same works now, in a child of no member as well. */
    if (ramet_arena_fd() < 0)
        CHECK(finish(child(works, NULL)) == 0);
    OK(sequence());
    OK(ramet_arena_check(2));
    CHECK(descriptors() == before + 1); /* the arena's */
}

int main(void)
{
    watchdog();
    static const enum rmt_fault_site sites[] = {RMT_FAULT_MEMFD, RMT_FAULT_TRUNCATE,
                                                RMT_FAULT_COMMIT, RMT_FAULT_MAP};
    for (size_t i = 0; i < sizeof sites / sizeof sites[0]; i++) {
        site = sites[i];
        bool through = false;
        for (nth = 1; !through; nth++) {
            int fds[2];
            char c;
            CHECK(pipe(fds) == 0);
            pid_t pid = child(fail_once, &fds[1]);
            close(fds[1]);
            through = read(fds[0], &c, 1) == 1;
            close(fds[0]);
            CHECK(finish(pid) == 0);
        }
        fprintf(stderr, "site %d: failed %d times\n", (int)site, nth - 2);
        CHECK(nth > 2); /* it was called at all */
    }
    return 0;
}
