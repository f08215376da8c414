/* SPDX-License-Identifier: MIT
 *
 * 10_missing_enter.c: what happens without ramet_enter: nothing is started, and the error says so.
 *
 *     10_missing_enter [fork|spawn|forkserver]
 *
 * A spawned child is this program run again: without ramet_enter at the top of main it would do all
 * over what its parent does, and start children of its own.  So a start is refused.
 */
#include "example.h"

#include <errno.h>

int main(int argc, char **argv)
{
    /* Here should stand: ramet_enter(argc, argv, tasks, count); */
    ramet_process_options options = {
        .size = sizeof options, .method = method_of(argc, argv), .task = "work"};
    ramet_process *process;
    int r = ramet_process_start(&options, &process);
    printf("start: %s\n", r == -EINVAL
                              ? "refused: there is no task \"work\"; call ramet_enter first"
                              : strerror(-r));
    return r == -EINVAL ? 0 : 1;
}
