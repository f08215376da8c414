/* SPDX-License-Identifier: MIT
 *
 * 05_value.c: four processes add 100,000 each to one number, under a lock: not one addition is
 * lost.
 *
 *     05_value [fork|spawn|forkserver]
 */
#include "example.h"

#define PROCESSES 4
#define ADDITIONS 100000

static int add(const void *arg, size_t size)
{
    (void)size;
    const ramet_ref *refs = arg;
    ramet_lock *lock;
    ramet_data *data;
    MUST(ramet_lock_open(&refs[0], &lock));
    MUST(ramet_data_open(&refs[1], &data));
    int *counter = ramet_data_address(data);
    for (int i = 0; i < ADDITIONS; i++) {
        MUST(ramet_lock_acquire(lock, NULL));
        *counter += 1;
        MUST(ramet_lock_release(lock));
    }
    ramet_data_close(data);
    ramet_lock_close(lock);
    return 0;
}

static const ramet_task tasks[] = {{"add", add}};

int main(int argc, char **argv)
{
    MUST(ramet_enter(argc, argv, tasks, 1));
    ramet_lock *lock;
    ramet_data *data;
    MUST(ramet_lock_create(NULL, &lock));
    MUST(ramet_data_create(sizeof(int), &data));
    const ramet_ref refs[] = {ramet_lock_ref(lock), ramet_data_ref(data)};
    ramet_process *process[PROCESSES];
    for (int i = 0; i < PROCESSES; i++)
        process[i] = start(method_of(argc, argv), "add", refs, 2);
    for (int i = 0; i < PROCESSES; i++) {
        if (join(process[i]) != 0)
            return 1;
    }
    int counter = *(const int *)ramet_data_address(data);
    printf("%d processes added %d each: %d\n", PROCESSES, ADDITIONS, counter);
    ramet_data_close(data);
    ramet_lock_close(lock);
    return counter == PROCESSES * ADDITIONS ? 0 : 1;
}
