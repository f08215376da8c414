/* SPDX-License-Identifier: MIT
 *
 * 06_event_semaphore.c: an event releases all who wait for it; a semaphore of two never lets a
 * third one in.
 *
 *     06_event_semaphore [fork|spawn|forkserver]
 */
#include "example.h"

#include <unistd.h>

#define PROCESSES 4
#define VISITS 10

struct shared {
    int released, inside, most;
};
enum { EVENT, READY, SEMAPHORE, LOCK, DATA, REFS };

static ramet_lock *lock;
static struct shared *shared;

static void add(int *to, int by)
{
    MUST(ramet_lock_acquire(lock, NULL));
    *to += by;
    if (shared->inside > shared->most)
        shared->most = shared->inside;
    MUST(ramet_lock_release(lock));
}

static int run(const void *arg, size_t size)
{
    (void)size;
    const ramet_ref *refs = arg;
    ramet_event *event;
    ramet_semaphore *ready, *two;
    ramet_data *data;
    MUST(ramet_event_open(&refs[EVENT], &event));
    MUST(ramet_semaphore_open(&refs[READY], &ready));
    MUST(ramet_semaphore_open(&refs[SEMAPHORE], &two));
    MUST(ramet_lock_open(&refs[LOCK], &lock));
    MUST(ramet_data_open(&refs[DATA], &data));
    shared = ramet_data_address(data);
    MUST(ramet_semaphore_release(ready, 1));
    MUST(ramet_event_wait(event, NULL));
    add(&shared->released, 1);
    for (int i = 0; i < VISITS; i++) {
        MUST(ramet_semaphore_acquire_owned(two,
                                           NULL)); /* comes back even if this process is killed */
        add(&shared->inside, 1);
        usleep(1000);
        add(&shared->inside, -1);
        MUST(ramet_semaphore_release_owned(two));
    }
    return 0; /* what it has open is closed by its end */
}

static const ramet_task tasks[] = {{"run", run}};

int main(int argc, char **argv)
{
    MUST(ramet_enter(argc, argv, tasks, 1));
    ramet_event *event;
    ramet_semaphore *ready, *two;
    ramet_data *data;
    ramet_semaphore_options none = {.size = sizeof none, .value = 0, .max = RAMET_SEMAPHORE_MAX};
    ramet_semaphore_options pair = {.size = sizeof pair, .value = 2, .max = 2};
    MUST(ramet_event_create(NULL, &event));
    MUST(ramet_semaphore_create(&none, &ready));
    MUST(ramet_semaphore_create(&pair, &two));
    MUST(ramet_lock_create(NULL, &lock));
    MUST(ramet_data_create(sizeof *shared, &data));
    shared = ramet_data_address(data);
    const ramet_ref refs[REFS] = {ramet_event_ref(event), ramet_semaphore_ref(ready),
                                  ramet_semaphore_ref(two), ramet_lock_ref(lock),
                                  ramet_data_ref(data)};
    ramet_process *process[PROCESSES];
    for (int i = 0; i < PROCESSES; i++)
        process[i] = start(method_of(argc, argv), "run", refs, REFS);
    for (int i = 0; i < PROCESSES; i++)
        MUST(ramet_semaphore_acquire(ready, NULL));
    int before = shared->released;
    MUST(ramet_event_set(event));
    for (int i = 0; i < PROCESSES; i++) {
        if (join(process[i]) != 0)
            return 1;
    }
    printf("before the event %d processes had gone on, after it %d\n", before, shared->released);
    printf("%d visits, never more than %d at once\n", PROCESSES * VISITS, shared->most);
    int right = before == 0 && shared->released == PROCESSES && shared->most <= 2;
    ramet_data_close(data);
    ramet_lock_close(lock);
    ramet_semaphore_close(two);
    ramet_semaphore_close(ready);
    ramet_event_close(event);
    return right ? 0 : 1;
}
