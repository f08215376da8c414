/* SPDX-License-Identifier: MIT
 *
 * pipe_wait.c: how who waits at a pipe comes to know: by the doorbell, whose descriptor can be
 * polled, and by the bells.  The rules are in pipe.h and bell.h.
 */
#include "channel/doorbell.h"
#include "channel/pipe_entry.h"

#include <errno.h>

#define SLICE_THOROUGH                                                                             \
    100000000 /* ns: sleeps of this length are followed by a sweep for deaths                      \
               */

/* ---- the doorbell, under the put guard: see pipe.h */

int rmt_pipe_ring(const ramet_end *end, bool *ret_hung_up)
{
    struct rmt_pipe_way *way = end->out.way;
    uint64_t bell = rmt_load64_relaxed(&way->bell);
    if (RMT_LIKELY((bell & RMT_PIPE_BELL_SURE) != 0))
        return 0;
    if (end->fd < 0)
        return -ENOTCONN;
    rmt_store64(&way->bell, bell + 2);
    int r = rmt_doorbell_ring(end->fd);
    if (r == 0)
        rmt_store64(&way->bell, (bell + 2) | RMT_PIPE_BELL_SURE);
    else if (r == -EAGAIN) /* full: readable as it is */
        rmt_store64(&way->bell, bell | RMT_PIPE_BELL_SURE);
    else if (r == -EPIPE) /* there is no descriptor any more that could be polled, for ever */
        rmt_store64(&way->bell, bell | RMT_PIPE_BELL_SURE);
    else
        return r;
    *ret_hung_up = r == -EPIPE;
    return 0;
}

/* Takes the bytes out of the receiver's socket if the way is empty and polled.  It waits for the
 * guard even where that is a sender's who has published and not yet left: without it the byte would
 * stay when we have taken his message, and a program that relies on poll(2) would wait for the next
 * one in recv. */
int rmt_pipe_hush(struct rmt_self *self, const ramet_end *end)
{
    struct rmt_pipe_way *way = end->in.way;
    if (RMT_LIKELY(rmt_load32_relaxed(&way->polled) == 0) || end->fd < 0 ||
        rmt_load64_relaxed(&way->bell) == 0)
        return 0;
    int r = rmt_guard_lock(self, &way->put);
    if (r < 0)
        return r;
    uint64_t bell = rmt_load64_relaxed(&way->bell);
    uint64_t tail = rmt_load64_relaxed(&way->tail);
    if (rmt_pipe_position(tail) == rmt_pipe_position(rmt_load64(&way->head)) && bell != 0) {
        rmt_store64(&way->bell, bell & ~RMT_PIPE_BELL_SURE);
        rmt_doorbell_drain(end->fd, bell / 2);
        rmt_store64(&way->bell, 0);
    }
    rmt_guard_unlock(self, &way->put);
    return 0;
}

int rmt_pipe_listen(struct rmt_self *self, ramet_end *end)
{
    rmt_store32(&end->in.way->polled, 1);
    return rmt_pipe_hush(self, end);
}

/* ---- waiting */

/* After a sleep that brought nothing: recovers what is dead, so that the end of it shows.  A pipe
 * that is hung up while its other side counts as open is one whose other side is dying, has called
 * exec, or is on its way into a process. */
static void look_for_the_dead(const ramet_end *end, const struct rmt_waiter *w)
{
    bool hung_up = end->fd >= 0 && rmt_doorbell_hung_up(end->fd);
    if (hung_up && w->slice >= SLICE_THOROUGH)
        rmt_sweep_thorough(w->self);
    else if (hung_up || w->slice >= SLICE_THOROUGH)
        rmt_sweep_holders(w->self);
}

/* Sleeps while *word is `seen`; both sides move positions and then ring. */
static int await(const ramet_end *end, struct rmt_waiter *w, rmt_a64 *word, uint64_t seen,
                 rmt_a32 *bell, uint64_t bell_offset)
{
    if (w->spins > 0)
        return rmt_sleep(w, rmt_low32(word), (uint32_t)seen, 0, 0);
    uint32_t v = rmt_bell_arm(bell);
    if (rmt_load64(word) != seen)
        return 0;
    uint32_t before = w->slept;
    int r = rmt_sleep(w, bell, v, bell_offset, 0);
    if (w->slept != before && rmt_load64_relaxed(word) == seen)
        look_for_the_dead(end, w);
    return r;
}

int rmt_pipe_await_news(ramet_end *end, struct rmt_waiter *w)
{
    struct rmt_pipe_way *way = end->in.way;
    uint64_t tail = rmt_load64(&way->tail);
    if (rmt_pipe_position(tail) != rmt_pipe_position(rmt_load64(&way->head)) ||
        (tail & RMT_PIPE_CLOSED))
        return 0;
    return await(end, w, &way->tail, tail, &way->news, RMT_PIPE_FIELD(end->in, news));
}

int rmt_pipe_await_room(ramet_end *end, struct rmt_waiter *w)
{
    struct rmt_pipe_way *way = end->out.way;
    uint64_t head = rmt_load64(&way->head);
    return await(end, w, &way->head, head, &way->room, RMT_PIPE_FIELD(end->out, room));
}

/* With `head` as it was seen. */
static int taken(const struct rmt_pipe_way *way, uint64_t head, uint64_t behind)
{
    bool closed = (head & RMT_PIPE_CLOSED) != 0;
    if ((closed ? rmt_load64_relaxed(&way->received) : rmt_pipe_position(head)) >= behind)
        return 1;
    return closed ? -EPIPE : 0;
}

int rmt_pipe_taken(const ramet_end *end, uint64_t behind)
{
    const struct rmt_pipe_way *way = end->out.way;
    return taken(way, rmt_load64(&way->head), behind); /* pairs-with: pipe.head (acquire) */
}

int rmt_pipe_await_taken(ramet_end *end, struct rmt_waiter *w, uint64_t behind)
{
    struct rmt_pipe_way *way = end->out.way;
    uint64_t head = rmt_load64(&way->head);
    if (taken(way, head, behind) != 0)
        return 0;
    return await(end, w, &way->head, head, &way->room, RMT_PIPE_FIELD(end->out, room));
}

static bool ready(const struct rmt_pipe_way *way)
{
    uint64_t tail = rmt_load64(&way->tail);
    return rmt_pipe_position(tail) != rmt_pipe_position(rmt_load64(&way->head)) ||
           (tail & RMT_PIPE_CLOSED);
}

int rmt_pipe_ready(struct rmt_self *self, ramet_end *end)
{
    if (ready(end->in.way))
        return 1;
    int r = rmt_pipe_hush(self, end);
    if (r < 0)
        return r;
    if (end->fd >= 0 && rmt_doorbell_hung_up(end->fd))
        rmt_sweep_holders(self);
    return ready(end->in.way);
}
