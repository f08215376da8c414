/* SPDX-License-Identifier: MIT
 *
 * queue.c: many putters and getters, first without and then with random SIGKILLs among them;
 * afterwards every item is accounted for: delivered exactly once, or counted as lost, or still in
 * the queue.
 *
 * The ledger is plain memory that all share.  A putter draws an id, puts the item, notes that it
 * did; a getter notes the id, releases the item, notes that it did.  A kill between an act and its
 * note makes that one item uncertain, and the equations below say by how much.
 */
#include "channel/queue.h"

#include <ramet/arena.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #x);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

enum { MAX_IDS = 4000000, PUTTERS = 3, GETTERS = 3, WORKERS = PUTTERS + GETTERS };

struct ledger {
    rmt_a64 ids;  /* drawn */
    rmt_a32 stop; /* putters end */
    uint64_t limit;
    _Atomic uint8_t put[MAX_IDS], got[MAX_IDS], released[MAX_IDS];
};

static struct ledger *ledger;
static ramet_queue *queue;

static size_t size_of(uint64_t id)
{
    uint64_t h = id * 0x9e3779b97f4a7c15ull >> 40;
    if (h % 16 != 0)
        return 8 + h % (RMT_CELL_BYTES - 7);
    return h % 512 == 0 ? 30000 : 57 + h % 900;
}

static void putter(void)
{
    static uint8_t bytes[30000];
    while (rmt_load32(&ledger->stop) == 0) {
        uint64_t id = rmt_add64(&ledger->ids, 1);
        if (id >= ledger->limit)
            return;
        size_t size = size_of(id);
        memset(bytes, (int)(id & 255), size);
        memcpy(bytes, &id, sizeof id);
        CHECK(ramet_queue_put(queue, bytes, size, NULL) == 0);
        ledger->put[id] = 1;
    }
}

static uint64_t verify(const ramet_item *item)
{
    uint64_t id;
    CHECK(item->size >= sizeof id);
    memcpy(&id, item->data, sizeof id);
    CHECK(id < MAX_IDS && item->size == size_of(id));
    const uint8_t *bytes = item->data;
    for (size_t i = sizeof id; i < item->size; i++)
        CHECK(bytes[i] == (uint8_t)id);
    return id;
}

static void getter(void)
{
    ramet_item items[7];
    for (;;) {
        ptrdiff_t n = ramet_queue_get_many(queue, NULL, items, 7);
        if (n == -ESHUTDOWN)
            return;
        CHECK(n > 0);
        for (ptrdiff_t i = 0; i < n; i++) {
            uint64_t id = verify(&items[i]);
            CHECK(ledger->got[id]++ == 0);
            ramet_item_release(&items[i]);
            ledger->released[id] = 1;
        }
    }
}

static pid_t start(int role)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        alarm(600);
        if (role < PUTTERS)
            putter();
        else
            getter();
        _exit(0);
    }
    return pid;
}

/* True if it ended by itself. */
static bool reap(pid_t pid)
{
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    ramet_reap(pid);
    CHECK(WIFEXITED(status) ? WEXITSTATUS(status) == 0 : WTERMSIG(status) == SIGKILL);
    return WIFEXITED(status);
}

static void drain(void)
{
    static const ramet_wait now = {.size = sizeof(ramet_wait), .deadline = 0};
    ramet_item item;
    while (ramet_queue_get(queue, &now, &item) == 0) {
        uint64_t id = verify(&item);
        CHECK(ledger->got[id]++ == 0);
        ramet_item_release(&item);
        ledger->released[id] = 1;
    }
}

static void account(uint64_t kills)
{
    uint64_t put = 0, got = 0, released = 0;
    uint64_t ids = rmt_load64(&ledger->ids);
    for (uint64_t i = 0; i < ids && i < MAX_IDS; i++) {
        put += ledger->put[i];
        got += ledger->got[i];
        released += ledger->released[i];
        CHECK(!ledger->put[i] || ledger->got[i] ||
              kills > 0); /* nothing is missing without a reason */
    }
    uint64_t tail = rmt_load64(&queue->shared->tail);
    uint64_t lost = ramet_queue_lost(queue);
    printf("%llu put, %llu got, %llu lost, %llu kills\n", (unsigned long long)tail,
           (unsigned long long)got, (unsigned long long)lost, (unsigned long long)kills);
    CHECK(rmt_load64(&queue->shared->head) == tail);
    CHECK(put <= tail && tail - put <= kills); /* put, but killed before the note */
    CHECK(got - released <= kills);            /* got, but killed before the second note */
    uint64_t unseen = tail - got;              /* put, and no getter lived to note it */
    CHECK(unseen <= lost && lost <= unseen + (got - released));
    CHECK(kills > 0 || (lost == 0 && got == put && put == tail));
}

static uint64_t blocks(void)
{
    ramet_usage usage = {.size = sizeof usage};
    CHECK(ramet_arena_usage(&usage) == 0);
    return usage.blocks;
}

static void run(uint64_t max_items, uint64_t items, uint64_t kills)
{
    ramet_queue_options options = {.size = sizeof options, .max_items = max_items};
    uint64_t before = blocks();
    pid_t pids[WORKERS];
    memset(ledger, 0, sizeof *ledger);
    ledger->limit = items;
    CHECK(ramet_queue_create(&options, &queue) == 0);
    for (int i = 0; i < WORKERS; i++)
        pids[i] = start(i);
    for (uint64_t k = 0; k < kills; k++) {
        usleep((useconds_t)(random() % 3000));
        int victim = (int)(random() % WORKERS);
        kill(pids[victim], SIGKILL);
        reap(pids[victim]);
        pids[victim] = start(victim);
        CHECK(max_items == 0 || ramet_queue_size(queue) <= max_items);
    }
    if (kills > 0)
        rmt_store32(&ledger->stop, 1);
    for (int i = 0; i < PUTTERS; i++)
        CHECK(reap(pids[i]));
    CHECK(ramet_queue_shutdown(queue, 0) == 0);
    for (int i = PUTTERS; i < WORKERS; i++)
        CHECK(reap(pids[i]));
    ramet_sweep();
    drain();
    account(kills);
    CHECK(ramet_arena_check(2) == 0);
    ramet_queue_close(queue);
    CHECK(blocks() == before);
}

int main(int argc, char **argv)
{
    unsigned seed = argc > 1 ? (unsigned)atoi(argv[1]) : (unsigned)ramet_now();
    printf("seed %u\n", seed);
    fflush(stdout);
    srandom(seed);
    alarm(600);
    ledger = mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(ledger != MAP_FAILED);
    CHECK(ramet_queue_create(NULL, &queue) == 0); /* the table of handles is made with the first */
    ramet_queue_close(queue);
    run(0, 300000, 0);
    run(10, 100000, 0);
    run(0, MAX_IDS, 100);
    run(5, MAX_IDS, 100);
    return 0;
}
