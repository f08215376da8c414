/* SPDX-License-Identifier: MIT
 *
 * base.c: the small public functions of ramet/base.h.
 */
#include "base/os.h"
#include <ramet/base.h>

int64_t ramet_now(void)
{
    return rmt_os_now();
}

ramet_wait ramet_within(int64_t ns)
{
    int64_t now = rmt_os_now();
    ramet_wait wait = {.size = sizeof wait, .deadline = RAMET_FOREVER};
    if (ns <= 0)
        wait.deadline = 0;
    else if (ns < RAMET_FOREVER - now)
        wait.deadline = now + ns;
    return wait;
}

const char *ramet_version(void)
{
    return RAMET_VERSION;
}
