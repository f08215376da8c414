/* SPDX-License-Identifier: MIT
 *
 * storm_work.c: what the workers of the storm do, turn after turn; see storm.h.
 */
#include "storm.h"

#include <ramet/arena.h>
#include <ramet/data.h>

#include <pthread.h>
#include <sys/prctl.h>

enum { LARGEST = 6000, BATCH = 8, VIEW = 100000, MOST = 2000 };

static uint64_t fuse;

static void burn(enum rmt_hook_kind kind, const volatile void *word)
{
    (void)kind;
    (void)word;
    if (--fuse == 0)
        kill(getpid(), SIGKILL);
}

/* ---- items */

/* The size of an item follows from its id, and so do its bytes. */
static size_t size_of(uint64_t id, enum storm_channel channel)
{
    switch (channel) {
    case STORM_INLINE:
        return 8 + id % (RAMET_ITEM_INLINE - 7);
    case STORM_BLOCKS:
        return 60 + id % (LARGEST - 60);
    default:
        return id % 3 == 0 ? 60 + id % (LARGEST - 60) : 8 + id % 40;
    }
}

static void fill(unsigned char *bytes, uint64_t id, size_t size)
{
    memset(bytes, (int)(id % 251), size);
    memcpy(bytes, &id, sizeof id);
}

static struct storm_item *item_of(const unsigned char *bytes, size_t size,
                                  enum storm_channel channel)
{
    uint64_t id;
    CHECK(size >= sizeof id);
    memcpy(&id, bytes, sizeof id);
    CHECK(id < STORM_ITEMS && size == size_of(id, channel));
    for (size_t i = sizeof id; i < size; i++)
        CHECK(bytes[i] == id % 251);
    struct storm_item *item = &storm_shared->item[id];
    CHECK(atomic_load(&item->channel) == channel);
    uint8_t put = atomic_load(&item->put);
    CHECK(put == STORM_PUT_BEGUN || put == STORM_PUT_DONE);
    return item;
}

/* Draws `count` ids and notes that they are about to be put; false: they are used up. */
static bool draw(enum storm_channel channel, uint64_t *ids, uint32_t count)
{
    if (atomic_load(&storm_shared->next_item) + count > STORM_ITEMS)
        return false;
    uint32_t first = atomic_fetch_add(&storm_shared->next_item, count);
    if (first + count > STORM_ITEMS)
        return false; /* drawn and not used: says nothing */
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = first + i;
        atomic_store(&storm_shared->item[ids[i]].channel, (uint8_t)channel);
        atomic_store(&storm_shared->item[ids[i]].put, STORM_PUT_BEGUN);
    }
    return true;
}

static void note_put(uint64_t id, bool done)
{
    atomic_store(&storm_shared->item[id].put, done ? STORM_PUT_DONE : STORM_PUT_REFUSED);
}

static void put(enum storm_channel channel, const ramet_wait *wait)
{
    unsigned char bytes[LARGEST];
    uint64_t id;
    if (!draw(channel, &id, 1))
        return;
    size_t size = size_of(id, channel);
    fill(bytes, id, size);
    int r = channel < STORM_QUEUES
                ? ramet_queue_put(storm_objects.queue[channel], bytes, size, wait)
                : ramet_end_send(storm_objects.out[channel - STORM_QUEUES], bytes, size, wait);
    CHECK(r == 0 || r == -ETIMEDOUT || r == -EINTR);
    note_put(id, r == 0);
}

static void put_many(enum storm_channel channel, const ramet_wait *wait)
{
    static unsigned char bytes[BATCH][LARGEST];
    uint64_t ids[BATCH];
    ramet_bytes many[BATCH];
    if (!draw(channel, ids, BATCH))
        return;
    for (int i = 0; i < BATCH; i++) {
        many[i] = (ramet_bytes){bytes[i], size_of(ids[i], channel)};
        fill(bytes[i], ids[i], many[i].size);
    }
    ptrdiff_t n = ramet_queue_put_many(storm_objects.queue[channel], many, BATCH, wait);
    CHECK(n > 0 || n == -ETIMEDOUT || n == -EINTR);
    for (int i = 0; i < BATCH; i++)
        note_put(ids[i], i < n);
}

/* With an object of its own that nobody else knows: it goes when the message does. */
static void put_object(const ramet_wait *wait)
{
    unsigned char bytes[LARGEST];
    uint64_t id;
    ramet_data *data;
    if (!draw(STORM_BLOCKS, &id, 1))
        return;
    OK(ramet_data_create(64 + id % 2000, &data));
    fill(bytes, id, size_of(id, STORM_BLOCKS));
    ramet_ref ref = ramet_data_ref(data);
    int r = ramet_queue_put_refs(storm_objects.queue[STORM_BLOCKS], bytes,
                                 size_of(id, STORM_BLOCKS), &ref, 1, wait);
    CHECK(r == 0 || r == -ETIMEDOUT || r == -EINTR);
    note_put(id, r == 0);
    ramet_data_close(data);
}

static void note_got(struct storm_item *item)
{
    CHECK(atomic_fetch_add(&item->got, 1) == 0);
}

static void release(ramet_item *item, struct storm_item *note)
{
    ramet_item_release(item);
    CHECK(atomic_fetch_add(&note->released, 1) == 0);
}

static int get_from_queue(enum storm_channel channel, const ramet_wait *wait)
{
    ramet_item item;
    int r = ramet_queue_get(storm_objects.queue[channel], wait, &item);
    if (r == -ETIMEDOUT || r == -EINTR)
        return 0;
    CHECK(r == 0);
    struct storm_item *note = item_of(item.data, item.size, channel);
    note_got(note);
    release(&item, note);
    return 1;
}

static int get_from_pipe(enum storm_channel channel, const ramet_wait *wait)
{
    unsigned char bytes[LARGEST];
    size_t size;
    int r =
        ramet_end_recv(storm_objects.in[channel - STORM_QUEUES], bytes, sizeof bytes, &size, wait);
    if (r == -ETIMEDOUT || r == -EINTR)
        return 0;
    CHECK(r == 0);
    struct storm_item *note = item_of(bytes, size, channel);
    note_got(note);
    CHECK(atomic_fetch_add(&note->released, 1) == 0);
    return 1;
}

int storm_get(struct storm_slot *me, enum storm_channel channel, const ramet_wait *wait)
{
    atomic_store(&me->receiving, (uint32_t)channel + 1);
    int got = channel < STORM_QUEUES ? get_from_queue(channel, wait) : get_from_pipe(channel, wait);
    atomic_store(&me->receiving, 0);
    return got;
}

static void get_many(struct storm_slot *me, enum storm_channel channel, const ramet_wait *wait)
{
    ramet_item items[BATCH];
    struct storm_item *notes[BATCH];
    atomic_store(&me->receiving, (uint32_t)channel + 1);
    ptrdiff_t n = ramet_queue_get_many(storm_objects.queue[channel], wait, items, BATCH);
    CHECK(n > 0 || n == -ETIMEDOUT || n == -EINTR);
    for (ptrdiff_t i = 0; i < n; i++) {
        notes[i] = item_of(items[i].data, items[i].size, channel);
        note_got(notes[i]);
    }
    atomic_store(&me->receiving, 0);
    for (ptrdiff_t i = 0; i < n; i++)
        release(&items[i], notes[i]);
}

/* ---- locks and semaphores */

void storm_count(struct storm_slot *me, int lock)
{
    struct storm_guarded *g = &storm_shared->guarded[lock];
    int r;
    atomic_store(&me->lock[lock], STORM_PERHAPS);
    do {
        r = ramet_lock_acquire(storm_objects.lock[lock], NULL);
    } while (r == -EINTR);
    CHECK(r == 0 || r == -EOWNERDEAD);
    if (r == -EOWNERDEAD)
        atomic_fetch_add(&g->taken_over, 1);
    atomic_store(&me->lock[lock], STORM_SURELY);
    CHECK(g->first == g->second || (r == -EOWNERDEAD && g->first == g->second + 1));
    uint64_t value = g->first;
    g->second = value; /* finishes what a dead owner began */
    g->first = value + 1;
    for (int i = 0; i < 20; i++)
        rmt_pause();
    CHECK(g->first == value + 1 && g->second == value); /* nobody else is here */
    g->second = value + 1;
    atomic_fetch_add(&g->counted, 1);
    atomic_store(&me->lock[lock], STORM_PERHAPS);
    OK(ramet_lock_release(storm_objects.lock[lock]));
    atomic_store(&me->lock[lock], STORM_NO);
}

static void use_permit(struct storm_slot *me, uint64_t which)
{
    int r;
    do {
        r = ramet_semaphore_acquire_owned(storm_objects.permits, NULL);
    } while (r == -EINTR);
    CHECK(r == 0);
    if (which % 3 == 0)
        storm_count(me, (int)(which / 3 % STORM_LOCKS));
    OK(ramet_semaphore_release_owned(storm_objects.permits));
}

static void signal_or_take(uint64_t which, const ramet_wait *wait)
{
    if (which % 2 == 0) {
        atomic_fetch_add(&storm_shared->signals_begun, 1);
        OK(ramet_semaphore_release(storm_objects.signals, 1));
        atomic_fetch_add(&storm_shared->signals_done, 1);
        return;
    }
    atomic_fetch_add(&storm_shared->takes_begun, 1);
    int r = ramet_semaphore_acquire(storm_objects.signals, wait);
    CHECK(r == 0 || r == -ETIMEDOUT || r == -EINTR);
    if (r == 0)
        atomic_fetch_add(&storm_shared->takes_done, 1);
    else
        atomic_fetch_sub(&storm_shared->takes_begun, 1);
}

/* ---- life */

/* A queue of one's own that is not emptied, and one more handle of a common one. */
static void make_and_close(void)
{
    static const ramet_wait now = {.size = sizeof now, .deadline = 0};
    static const char bytes[500];
    ramet_queue *own, *again;
    ramet_queue_options options = {.size = sizeof options, .max_items = 3};
    OK(ramet_queue_create(&options, &own));
    OK(ramet_queue_put(own, bytes, 9, &now));
    OK(ramet_queue_put(own, bytes, sizeof bytes, &now));
    ramet_ref ref = ramet_queue_ref(own);
    OK(ramet_queue_open(&ref, &again));
    ramet_queue_close(own);
    ramet_queue_close(again);
}

/* A child that sees what its parent made, and that may outlive it, or be killed by its fuse. */
static void fork_with_view(void)
{
    static const ramet_wait now = {.size = sizeof now, .deadline = 0};
    ramet_data *data;
    int status;
    OK(ramet_data_create(VIEW, &data));
    unsigned char *bytes = ramet_data_address(data);
    memset(bytes, 7, VIEW);
    pid_t pid = fork();
    if (pid < 0) /* too many processes, or the arena has no place for one more */
        CHECK(errno == EAGAIN || errno == ENOMEM);
    if (pid == 0) {
        watchdog();
        if (ramet_join() == -ECHILD)
            _exit(0); /* its parent died while it forked */
        for (size_t i = 0; i < VIEW; i += 1000)
            CHECK(bytes[i] == 7);
        put(STORM_INLINE, &now);
        ramet_data_close(data);
        _exit(0);
    }
    ramet_data_close(data);
    if (pid > 0) {
        while (waitpid(pid, &status, 0) < 0)
            CHECK(errno == EINTR);
        CHECK(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
        ramet_reap(pid);
    }
}

/* Becomes a program that knows nothing of the arena, with a lock, a permit and an item in hand. */
static void become_another(struct storm_slot *me)
{
    ramet_item item;
    ramet_wait wait = ramet_within(1000000);
    atomic_store(&me->receiving, STORM_BLOCKS + 1);
    if (ramet_queue_get(storm_objects.queue[STORM_BLOCKS], &wait, &item) == 0)
        note_got(item_of(item.data, item.size, STORM_BLOCKS));
    int r;
    do {
        r = ramet_semaphore_acquire_owned(storm_objects.permits, NULL);
    } while (r == -EINTR);
    CHECK(r == 0);
    atomic_store(&me->lock[0], STORM_PERHAPS);
    do {
        r = ramet_lock_acquire(storm_objects.lock[0], NULL);
    } while (r == -EINTR);
    CHECK(r == 0 || r == -EOWNERDEAD);
    if (r == -EOWNERDEAD)
        atomic_fetch_add(&storm_shared->guarded[0].taken_over, 1);
    atomic_store(&me->lock[0], STORM_SURELY);
    atomic_store(&me->execs, 1);
    /* Not /proc/self: the main thread may have ended. */
    execl("/proc/thread-self/exe", "storm", "--bystander", (char *)NULL);
    CHECK(!"exec");
}

static void turn(struct storm_slot *me, uint64_t what)
{
    ramet_wait soon = ramet_within((int64_t)(what >> 40 & 2047) * 1000);
    enum storm_channel channel = (enum storm_channel)(what >> 8 & 0xff) % STORM_CHANNELS;
    enum storm_channel queue = (enum storm_channel)(what >> 8 & 0xff) % STORM_QUEUES;
    unsigned kind = (unsigned)(what & 0xff);
    /* The queues grow and shrink in turns. */
    if (kind >= 56 && kind < 140 && atomic_load(&storm_shared->filling) &&
        ramet_queue_size(storm_objects.queue[queue]) < MOST)
        kind = 120;
    if (kind < 56)
        put(channel, &soon);
    else if (kind < 120)
        storm_get(me, channel, &soon);
    else if (kind < 128)
        put_many(queue, &soon);
    else if (kind < 140)
        get_many(me, queue, &soon);
    else if (kind < 152)
        put_object(&soon);
    else if (kind < 200)
        storm_count(me, (int)(what >> 8 & 0xff) % STORM_LOCKS);
    else if (kind < 225)
        use_permit(me, what >> 8 & 0xff);
    else if (kind < 245)
        signal_or_take(what >> 8, &soon);
    else if (kind < 254)
        make_and_close();
    else
        fork_with_view();
}

static void *live(void *arg)
{
    const struct storm_life *life = arg;
    struct storm_slot *me = &storm_shared->slot[life->index];
    uint64_t sequence = life->sequence;
    for (uint64_t turns = 1; !atomic_load(&storm_shared->stop); turns++) {
        if (turns == life->exec_after)
            become_another(me);
        turn(me, storm_random(&sequence));
    }
    _exit(0); /* of the process */
}

_Noreturn void storm_work(const struct storm_life *life)
{
    static struct storm_life mine;
    mine = *life;
    signal(SIGALRM, SIG_DFL);
    watchdog();
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != life->parent)
        _exit(1);
    if (life->fuse != 0) {
        fuse = life->fuse;
        rmt_hook = burn;
    }
    if (life->without_main) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, live, &mine) == 0);
        pthread_exit(NULL);
    }
    live(&mine);
    _exit(1);
}
