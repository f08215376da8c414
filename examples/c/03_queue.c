/* SPDX-License-Identifier: MIT
 *
 * 03_queue.c: a producer puts five numbers into a queue, a consumer prints until it is empty.
 *
 *     03_queue [fork|spawn|forkserver]
 *
 * What a process has put stays in the queue after the process has ended.
 */
#include "example.h"

static ramet_queue *open_queue(const void *arg)
{
    ramet_queue *queue;
    MUST(ramet_queue_open(arg, &queue));
    return queue;
}

static int produce(const void *arg, size_t size)
{
    (void)size;
    ramet_queue *queue = open_queue(arg);
    for (int number = 0; number < 5; number++) {
        MUST(ramet_queue_put(queue, &number, sizeof number, NULL));
        printf("put %d\n", number);
    }
    ramet_queue_close(queue);
    return 0;
}

static int consume(const void *arg, size_t size)
{
    (void)size;
    ramet_queue *queue = open_queue(arg);
    while (!ramet_queue_empty(queue)) {
        ramet_item item;
        int number;
        MUST(ramet_queue_get(queue, NULL, &item));
        memcpy(&number, item.data, sizeof number);
        ramet_item_release(&item);
        printf("got %d\n", number);
    }
    printf("the queue is empty\n");
    ramet_queue_close(queue);
    return 0;
}

static const ramet_task tasks[] = {{"produce", produce}, {"consume", consume}};

int main(int argc, char **argv)
{
    MUST(ramet_enter(argc, argv, tasks, 2));
    ramet_queue *queue;
    MUST(ramet_queue_create(NULL, &queue));
    ramet_ref ref = ramet_queue_ref(queue);
    for (int i = 0; i < 2; i++) {
        if (join(start(method_of(argc, argv), tasks[i].name, &ref, 1)) != 0)
            return 1;
    }
    ramet_queue_close(queue);
    return 0;
}
