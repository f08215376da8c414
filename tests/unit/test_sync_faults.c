/* SPDX-License-Identifier: MIT
 *
 * test_sync_faults.c: making, opening and closing each noun while the Nth call of each kind fails:
 * an error, or what was asked for, and nothing left behind in either case.
 */
#include "base/fault.h"
#include "sync_unit.h"
#include <ramet/barrier.h>
#include <ramet/condition.h>
#include <ramet/event.h>
#include <ramet/semaphore.h>

/* Each makes an object, opens it by its reference and closes both. */

#define MAKE(noun, options)                                                                        \
    static int make_##noun(void)                                                                   \
    {                                                                                              \
        ramet_##noun *made, *opened;                                                               \
        int r = ramet_##noun##_create(options, &made);                                             \
        if (r < 0)                                                                                 \
            return r;                                                                              \
        ramet_ref ref = ramet_##noun##_ref(made);                                                  \
        r = ramet_##noun##_open(&ref, &opened);                                                    \
        if (r >= 0)                                                                                \
            ramet_##noun##_close(opened);                                                          \
        ramet_##noun##_close(made);                                                                \
        return r;                                                                                  \
    }

static const ramet_barrier_options two = {.size = sizeof two, .parties = 2};

MAKE(lock, NULL)
MAKE(rlock, NULL)
MAKE(semaphore, NULL)
MAKE(event, NULL)
MAKE(condition, NULL)
MAKE(barrier, &two)
MAKE(data, 1 << 20)

static int (*const makers[])(void) = {make_lock,      make_rlock,   make_semaphore, make_event,
                                      make_condition, make_barrier, make_data};

static void fail_each(int (*make)(void))
{
    for (int site = 0; site < RMT_FAULT_SITES; site++) {
        int failed = 0;
        for (int nth = 1;; nth++) {
            uint64_t before = blocks_in_use();
            rmt_fault_arm((enum rmt_fault_site)site, nth, -ENOMEM);
            int r = make();
            rmt_fault_disarm();
            CHECK(r == 0 || r == -ENOMEM);
            CHECK(blocks_in_use() == before);
            OK(ramet_arena_check(2));
            if (r == 0)
                break;
            failed++;
        }
        if (site == RMT_FAULT_MALLOC)
            CHECK(failed >= 2); /* the handle made, and the one opened */
    }
}

int main(void)
{
    watchdog();
    OK(ramet_join());
    OK(make_condition()); /* the table of handles takes a block, once */
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++)
        fail_each(makers[i]);
    return 0;
}
