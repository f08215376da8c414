/* SPDX-License-Identifier: MIT
 *
 * stress_handle.c: objects are made, opened by reference, sent along with items of a queue, and
 * closed, by all at once.  A reference opens the object that it names or none; what its maker wrote
 * into it is seen; nobody gets its memory before the last who had it open has closed it.
 */
#include "stress.h"

#include <ramet/data.h>
#include <ramet/lock.h>
#include <ramet/queue.h>

#include <errno.h>

enum { WORKERS = 4, PLACES = 6, ROUNDS = 12000, WORDS = 24 };

static struct table { /* under the lock */
    ramet_ref ref[PLACES];
    uint64_t number[PLACES];
} *table;

static struct counts {
    uint64_t made, opened, stale, received;
} *counts; /* of each worker */

static ramet_lock *lock;
static ramet_queue *queue;
static unsigned rounds;

struct note {
    ramet_ref ref;
    uint64_t number;
};

static void verify(const ramet_data *data, uint64_t number)
{
    const uint64_t *words = ramet_data_address(data);
    CHECK(ramet_data_size(data) == WORDS * sizeof *words);
    for (uint64_t i = 0; i < WORDS; i++)
        CHECK(words[i] == number + i);
}

/* A new object in a place of the table; its handle. */
static ramet_data *make(unsigned index, unsigned place, uint64_t *ret_number)
{
    ramet_data *data;
    uint64_t number = (++counts[index].made * WORKERS + index) * WORDS;
    OK(ramet_data_create(WORDS * sizeof(uint64_t), &data));
    uint64_t *words = ramet_data_address(data);
    for (uint64_t i = 0; i < WORDS; i++) {
        CHECK(words[i] == 0);
        words[i] = number + i;
    }
    OK(ramet_lock_acquire(lock, NULL));
    table->ref[place] = ramet_data_ref(data);
    table->number[place] = number;
    OK(ramet_lock_release(lock));
    *ret_number = number;
    return data;
}

/* What the table names may be gone, but never another. */
static void open_one(unsigned index, unsigned place)
{
    OK(ramet_lock_acquire(lock, NULL));
    struct note note = {table->ref[place], table->number[place]};
    OK(ramet_lock_release(lock));
    if (note.number == 0)
        return;
    ramet_data *data, *again;
    int r = ramet_data_open(&note.ref, &data);
    if (r == -ESTALE) {
        counts[index].stale++;
        return;
    }
    OK(r);
    verify(data, note.number);
    OK(ramet_data_open(&note.ref, &again)); /* it cannot go while it is open */
    ramet_data_close(data);
    verify(again, note.number);
    ramet_data_close(again);
    counts[index].opened++;
}

/* The item keeps the object, whose handle its sender closes at once. */
static void send(unsigned index)
{
    struct note note;
    ramet_data *data = make(index, index % PLACES, &note.number);
    note.ref = ramet_data_ref(data);
    OK(ramet_queue_put_refs(queue, &note, sizeof note, &note.ref, 1, NULL));
    ramet_data_close(data);
}

static void receive(unsigned index)
{
    static const ramet_wait now = {.size = sizeof(ramet_wait), .deadline = 0};
    ramet_item item;
    int r = ramet_queue_get(queue, &now, &item);
    if (r == -ETIMEDOUT)
        return;
    OK(r);
    CHECK(item.size == sizeof(struct note));
    struct note note = *(const struct note *)item.data;
    ramet_data *data;
    OK(ramet_data_open(&note.ref, &data));
    ramet_item_release(&item);
    verify(data, note.number);
    ramet_data_close(data);
    counts[index].received++;
}

static void work(unsigned index)
{
    ramet_data *own[PLACES] = {NULL};
    unsigned random = index;
    for (unsigned i = 0; i < rounds; i++) {
        unsigned place = stress_random(&random) % PLACES, act = stress_random(&random) % 6;
        uint64_t number;
        if (act == 0) {
            ramet_data_close(own[place]);
            own[place] = make(index, place, &number);
        } else if (act == 1) {
            send(index);
        } else if (act == 2) {
            receive(index);
        } else {
            open_one(index, place);
        }
    }
    for (int i = 0; i < PLACES; i++)
        ramet_data_close(own[i]);
}

int main(int argc, char **argv)
{
    stress_begin(argc, argv);
    rounds = stress_rounds(ROUNDS);
    table = stress_memory(sizeof *table);
    counts = stress_memory(WORKERS * sizeof *counts);
    OK(ramet_lock_create(NULL, &lock));
    uint64_t blocks = stress_blocks() - 1;
    OK(ramet_queue_create(NULL, &queue));
    stress_run(WORKERS, work);
    uint64_t opened = 0;
    for (unsigned i = 0; i < WORKERS; i++)
        opened += counts[i].opened + counts[i].received;
    CHECK(opened > 0);
    ramet_queue_close(queue); /* and what is in it */
    ramet_lock_close(lock);
    stress_end(blocks);
    return 0;
}
