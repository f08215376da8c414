/* SPDX-License-Identifier: MIT
 *
 * 09_coordinator.c: a coordinator hands tasks to workers over one queue and collects results from
 * another.
 *
 *     09_coordinator [fork|spawn|forkserver]
 *
 * Shutting the queue of tasks down lets the workers finish what is in it, and then end.
 */
#include "example.h"

#include <errno.h>

#define WORKERS 3
#define TASKS 12

struct result {
    long number, cube;
};

static int work(const void *arg, size_t size)
{
    (void)size;
    const ramet_ref *refs = arg;
    ramet_queue *tasks, *results;
    ramet_item item;
    MUST(ramet_queue_open(&refs[0], &tasks));
    MUST(ramet_queue_open(&refs[1], &results));
    int r;
    while ((r = ramet_queue_get(tasks, NULL, &item)) == 0) {
        struct result result;
        memcpy(&result.number, item.data, sizeof result.number);
        ramet_item_release(&item);
        result.cube = result.number * result.number * result.number;
        MUST(ramet_queue_put(results, &result, sizeof result, NULL));
    }
    return r == -ESHUTDOWN ? 0 : 1;
}

static const ramet_task task_table[] = {{"work", work}};

int main(int argc, char **argv)
{
    MUST(ramet_enter(argc, argv, task_table, 1));
    ramet_queue *tasks, *results;
    MUST(ramet_queue_create(NULL, &tasks));
    MUST(ramet_queue_create(NULL, &results));
    const ramet_ref refs[] = {ramet_queue_ref(tasks), ramet_queue_ref(results)};
    ramet_process *worker[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        worker[i] = start(method_of(argc, argv), "work", refs, 2);
    for (long number = 0; number < TASKS; number++)
        MUST(ramet_queue_put(tasks, &number, sizeof number, NULL));
    MUST(ramet_queue_shutdown(tasks, 0));
    long cubes[TASKS] = {0};
    for (int i = 0; i < TASKS; i++) {
        ramet_item item;
        struct result result;
        MUST(ramet_queue_get(results, NULL, &item));
        memcpy(&result, item.data, sizeof result);
        ramet_item_release(&item);
        cubes[result.number] = result.cube;
    }
    for (int i = 0; i < WORKERS; i++) {
        if (join(worker[i]) != 0)
            return 1;
    }
    for (long number = 0; number < TASKS; number++) {
        printf("%ld cubed is %ld\n", number, cubes[number]);
        if (cubes[number] != number * number * number)
            return 1;
    }
    ramet_queue_close(tasks);
    ramet_queue_close(results);
    return 0;
}
