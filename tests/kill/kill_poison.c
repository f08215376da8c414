/* SPDX-License-Identifier: MIT
 *
 * kill_poison.c: a dead process leaves a commit record that cannot be true: the arena is poisoned,
 * and nobody gets the guard, now or later, though it was the only one that stood in it.
 */
#include "arena/guard.h"
#include "kill.h"
#include <ramet/arena.h>

static void damage(void *unused)
{
    struct rmt_self *self;
    struct rmt_guard *g = &rmt_header()->pages_guard;
    (void)unused;
    OK(rmt_self(&self));
    OK(rmt_guard_lock(self, g));
    rmt_redo(g, 0, 12345, 1); /* no word stands there */
    rmt_store64(&g->armed, 1);
    kill(getpid(), SIGKILL);
}

int main(void)
{
    struct rmt_self *self;
    watchdog();
    OK(ramet_join());
    OK(rmt_self(&self));
    CHECK(finish(child(damage, NULL)) == -SIGKILL);
    for (int i = 0; i < 3; i++)
        CHECK(rmt_guard_lock(self, &rmt_header()->pages_guard) == -ENOTRECOVERABLE);
    CHECK(rmt_load64(&rmt_header()->poisoned) != 0);
    ramet_sweep(); /* does not hang, either */
    printf("%-24s keeps everybody out\n", "a damaged record");
    return 0;
}
