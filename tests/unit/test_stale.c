/* SPDX-License-Identifier: MIT
 *
 * test_stale.c: a stale reference whose page gets another use while it is being opened, and then
 * holds data that look like the header of what was there.  Its opener sees that it is stale and
 * writes nothing there.
 */
#include "arena/handle.h"
#include "arena/local.h"
#include "unit.h"
#include <ramet/arena.h>

#define ONE_PAGE (RMT_PAGE_SIZE - RMT_BLOCK_HEADER)

static struct rmt_block *image; /* the header that the data show */
static uint64_t victim;         /* offset of the page's block, in both processes */
static int to_owner[2], from_owner[2];
static bool given_away;

static void say(int fd)
{
    CHECK(write(fd, "", 1) == 1);
}

static void hear(int fd)
{
    char c;
    CHECK(read(fd, &c, 1) == 1);
}

/* Has two blocks of a page each, side by side; when told, has one block of both pages with data
 * that show the header where the second began. */
static void own(void *unused)
{
    struct rmt_self *self;
    int first, second;
    uint64_t at[2], both;
    (void)unused;
    close(to_owner[1]); /* so that it does not outlive a test that fails */
    OK(rmt_self(&self));
    OK(rmt_block_alloc(self, ONE_PAGE, RAMET_KIND_DATA, &first, &at[0]));
    do { /* as long as they are not neighbours the first stays */
        OK(rmt_block_alloc(self, ONE_PAGE, RAMET_KIND_DATA, &second, &at[1]));
        if (at[1] != at[0] + RMT_PAGE_SIZE) {
            first = second;
            at[0] = at[1];
        }
    } while (at[1] != at[0] + RMT_PAGE_SIZE);
    CHECK(write(from_owner[1], &at[1], sizeof at[1]) == sizeof at[1]);
    hear(to_owner[0]);
    rmt_block_free(self, first);
    rmt_block_free(self, second);
    OK(rmt_block_alloc(self, ONE_PAGE + RMT_PAGE_SIZE, RAMET_KIND_DATA, &first, &both));
    CHECK(both == at[0]);
    memcpy(rmt_at(at[1]), image, sizeof *image);
    say(from_owner[1]);
    hear(to_owner[0]);
    CHECK(memcmp(rmt_at(at[1]), image, sizeof *image) == 0); /* the data are as they were */
    rmt_block_free(self, first);
}

/* Between the look at the page and that at the header. */
static void give_away(enum rmt_hook_kind kind, const volatile void *word)
{
    if (given_away || kind != RMT_HOOK_LOAD || word != &rmt_block_at(victim)->refs)
        return;
    given_away = true;
    say(to_owner[1]);
    hear(from_owner[0]);
}

int main(void)
{
    struct rmt_self *self;
    struct rmt_handle handle = {0};
    watchdog();
    OK(ramet_join());
    OK(rmt_self(&self));
    image = calloc(1, sizeof *image);
    CHECK(image && pipe(to_owner) == 0 && pipe(from_owner) == 0);
    image->kind = RAMET_KIND_DATA;
    image->generation = 12345;
    image->size = 1000;
    rmt_store64(&image->refs, 1);
    pid_t pid = child(own, NULL);
    CHECK(read(from_owner[0], &victim, sizeof victim) == sizeof victim);
    ramet_ref ref = {.arena = ramet_arena_id(),
                     .offset = victim,
                     .kind = image->kind,
                     .generation = image->generation};
    rmt_hook = give_away;
    CHECK(rmt_handle_open(self, &ref, RAMET_KIND_DATA, &handle) == -ESTALE);
    rmt_hook = NULL;
    CHECK(given_away && handle.offset == 0);
    say(to_owner[1]);
    CHECK(finish(pid) == 0);
    ramet_reap(pid);
    OK(ramet_arena_check(2));
    free(image);
    return 0;
}
