/* SPDX-License-Identifier: MIT
 *
 * step_message.c: a death at each store of putting, getting and throwing away messages that keep
 * objects alive.  As long as a message is in the queue the objects that it mentions can be opened;
 * when it is gone, be it with who got it, they have one count less.
 *
 * There are two objects: a lock, which the driver has open, too, and an event, which nobody has but
 * the victim and the messages.
 */
#include "arena/local.h"
#include "step.h"
#include <ramet/ramet.h>

enum { PREFILLED = 2, VICTIM = 100, PEER = 200, LAST = 300, SIZE_BLOCK = 300 };

struct message { /* which it is, and what it keeps */
    uint64_t id;
    ramet_ref lock, event;
};

static ramet_queue *queue;
static ramet_lock *lock;
static ramet_event *event;
static const ramet_wait try = {.size = sizeof try, .deadline = 0};
static bool event_gone; /* found to be, by the check */
static uint64_t got_of_victim, got_before, put_by_peer, got_of_peer;

static int put(uint64_t id, size_t size)
{
    char bytes[SIZE_BLOCK] = {0};
    struct message m = {.id = id, .lock = step_shared->ref[1]};
    if (!event_gone)
        m.event = step_shared->ref[2];
    memcpy(bytes, &m, sizeof m);
    const ramet_ref refs[2] = {m.lock, m.event};
    return ramet_queue_put_refs(queue, bytes, size, refs, m.event.offset != 0 ? 2 : 1, &try);
}

/* What the message mentions is there while it is held. */
static void look_into(const ramet_item *item)
{
    struct message m;
    ramet_lock *l;
    ramet_event *e;
    CHECK(item->size == sizeof m || item->size == SIZE_BLOCK);
    memcpy(&m, item->data, sizeof m);
    OK(ramet_lock_open(&m.lock, &l));
    ramet_lock_close(l);
    if (m.event.offset != 0) {
        OK(ramet_event_open(&m.event, &e));
        ramet_event_close(e);
    }
    got_before += m.id <= PREFILLED;
    got_of_victim += m.id == VICTIM;
    got_of_peer += m.id == PEER;
}

static bool get(void)
{
    ramet_item item;
    int r = ramet_queue_get(queue, &try, &item);
    CHECK(r == 0 || r == -ETIMEDOUT || r == -ESHUTDOWN);
    if (r < 0)
        return false;
    look_into(&item);
    ramet_item_release(&item);
    return true;
}

/* ---- the queue and the lock are the driver's */

static void empty(void)
{
    OK(ramet_queue_create(NULL, &queue));
    OK(ramet_lock_create(NULL, &lock));
    step_shared->ref[0] = ramet_queue_ref(queue);
    step_shared->ref[1] = ramet_lock_ref(lock);
}

/* The event has no handle: the messages alone keep it. */
static void some(void)
{
    uint64_t before;
    empty();
    before = step_blocks();
    OK(ramet_event_create(NULL, &event));
    step_shared->ref[2] = ramet_event_ref(event);
    OK(put(1, sizeof(struct message)));
    OK(put(2, SIZE_BLOCK));
    ramet_event_close(event);
    step_blocks_less = step_blocks() - before;
}

static void open_both(void)
{
    OK(ramet_queue_open(&step_shared->ref[0], &queue));
    OK(ramet_lock_open(&step_shared->ref[1], &lock));
}

static void have_event(void)
{
    open_both();
    OK(ramet_event_create(NULL, &event));
    step_shared->ref[2] = ramet_event_ref(event);
}

static void have_event_gone(void)
{
    have_event();
    ramet_event_close(event);
}

/* ---- operations.  did[0]: put; did[1]: got; did[2]: released; did[3]: shut. */

static void put_it(void)
{
    OK(put(VICTIM, SIZE_BLOCK));
    step_shared->did[0] = 1;
}

/* From then on the message alone keeps it. */
static void put_and_close(void)
{
    put_it();
    ramet_event_close(event);
}

static void put_stale(void)
{
    CHECK(put(VICTIM, SIZE_BLOCK) == -ESTALE);
}

static void get_it(void)
{
    ramet_item item;
    int r = ramet_queue_get(queue, &try, &item);
    CHECK(r == 0 || (r == -ETIMEDOUT && step_shared->peer_first));
    if (r < 0)
        return;
    step_shared->did[1] = 1;
    ramet_item_release(&item);
    step_shared->did[2] = 1;
}

static void shut_now(void)
{
    OK(ramet_queue_shutdown(queue, 1));
    step_shared->did[3] = 1;
}

/* ---- the driver's side */

static void peer_gets(void)
{
    get();
    get();
}

static void peer_puts(void)
{
    int r = put(PEER, SIZE_BLOCK);
    CHECK(r == 0 || r == -ESHUTDOWN || r == -ESTALE);
    put_by_peer += r == 0;
}

/* With all messages gone the lock has the counts of who has it open, and the event none. */
static void after_all(void)
{
    while (get())
        ;
    const struct rmt_block *b = rmt_block_at(step_shared->ref[1].offset);
    CHECK(rmt_load64(&b->refs) == step_members());
    if (step_shared->ref[2].offset != 0) {
        ramet_event *e;
        CHECK(ramet_event_open(&step_shared->ref[2], &e) == -ESTALE);
    }
    event_gone = true;
}

static void use(void)
{
    for (int i = 0; i < 3; i++) {
        OK(put(LAST, i % 2 ? SIZE_BLOCK : sizeof(struct message)));
        CHECK(get());
    }
    CHECK(!get());
}

static void after_put(void)
{
    after_all();
    CHECK(got_of_victim <= 1 && got_of_victim >= step_shared->did[0]);
    use();
}

static void after_stale(void)
{
    after_all();
    CHECK(got_of_victim == 0);
    use();
}

static void after_get(void)
{
    after_all();
    uint64_t missing = PREFILLED - got_before + put_by_peer - got_of_peer,
             lost = ramet_queue_lost(queue);
    CHECK(missing >= step_shared->did[1] && lost <= missing && missing <= 1);
    CHECK(missing - lost >= step_shared->did[2] && missing - lost <= step_shared->did[1]);
    CHECK(got_of_peer == put_by_peer || (got_of_peer < put_by_peer && step_shared->peer_first));
    use();
}

static void after_shut(void)
{
    after_all();
    CHECK(got_before <= PREFILLED && !(step_shared->did[3] && got_before > 0 && !step_peer_ran));
}

#define CASE(title, made, have, act, check)                                                        \
    .name = "message " title, .setup = made, .prepare = have, .operate = act, .verify = check

const struct step_case step_cases[] = {
    {CASE("put, with references", empty, have_event, put_it, after_put), .peer = peer_gets},
    {CASE("put, and close what it keeps", empty, have_event, put_and_close, after_put),
     .peer = peer_gets, .large = true},
    {CASE("put, of what is gone", empty, have_event_gone, put_stale, after_stale),
     .peer = peer_gets},
    {CASE("get, with references", some, open_both, get_it, after_get), .peer = peer_gets},
    {CASE("get, beside a putter", some, open_both, get_it, after_get), .peer = peer_puts,
     .large = true},
    {CASE("shutdown now, with references", some, open_both, shut_now, after_shut), .large = true},
};
const int step_case_count = sizeof step_cases / sizeof step_cases[0];
