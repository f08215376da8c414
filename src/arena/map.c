/* SPDX-License-Identifier: MIT
 *
 * map.c: the process's windows onto the arena file.  Touches only process-local state.
 */
#include "arena/map.h"
#include "arena/local.h"
#include "base/os.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

rmt_a64 rmt_window_base[RMT_WINDOWS];

uint64_t rmt_window_start(unsigned window)
{
    return window == 0 ? 0 : RMT_WINDOW0 << (window - 1);
}

uint64_t rmt_window_size(unsigned window)
{
    return window == 0 ? RMT_WINDOW0 : RMT_WINDOW0 << (window - 1);
}

int rmt_map_window(unsigned window)
{
    int r = 0;
    rmt_local_lock();
    if (rmt_load64_relaxed(&rmt_window_base[window]) == 0) {
        uint64_t start = rmt_window_start(window);
        void *p;
        r = rmt_os_map_shared(rmt_local.fd, start, rmt_window_size(window), &p);
        if (r ==
            0) /* release: pairs with nobody, a window is found by a thread that sees any value */
            rmt_store64(&rmt_window_base[window], (uint64_t)(uintptr_t)p - start);
    }
    rmt_local_unlock();
    return r;
}

void rmt_unmap_windows(void)
{
    rmt_local_lock();
    for (unsigned window = 0; window < RMT_WINDOWS; window++) {
        uint64_t start = rmt_window_start(window);
        uint64_t base = rmt_load64_relaxed(&rmt_window_base[window]);
        if (base != 0)
            (void)rmt_os_unmap((void *)(uintptr_t)(base + start), rmt_window_size(window));
        rmt_store64(&rmt_window_base[window], 0);
    }
    rmt_local_unlock();
}

int rmt_reach(uint64_t offset)
{
    if (offset >= rmt_local.size)
        return -ESTALE;
    unsigned window = rmt_window_of(offset);
    return rmt_load64_relaxed(&rmt_window_base[window]) != 0 ? 0 : rmt_map_window(window);
}

void *rmt_at_slow(uint64_t offset)
{
    int r = rmt_reach(offset);
    if (r < 0) {
        fprintf(stderr,
                "ramet: cannot map the arena at offset %#llx (error %d): "
                "raise the limit of address space (ulimit -v)\n",
                (unsigned long long)offset, -r);
        abort();
    }
    uint64_t base = rmt_load64_relaxed(&rmt_window_base[rmt_window_of(offset)]);
    return (void *)(uintptr_t)(base + offset);
}
