/* SPDX-License-Identifier: MIT
 *
 * event.h (internal): the event's shared word.  The public side is ramet/event.h.
 *
 *   63..2  generation: grows with each clear that took a set flag back.  With the flag it tells a
 * waiter whether the event was set since it came: then the flag is up, or the generation another.
 *   1      WAITERS: somebody sleeps, or slept, on the low half.  Set by who is going to sleep;
 * taken by set, which then wakes all.  One too many costs a system call. 0      the flag
 */
#ifndef RMT_EVENT_H
#define RMT_EVENT_H

#include "arena/wait.h"
#include "sync/object.h"
#include "sync/watch.h"
#include <ramet/event.h>

#define RMT_EVENT_SET UINT64_C(1)
#define RMT_EVENT_WAITERS UINT64_C(2)
#define RMT_EVENT_GENERATION UINT64_C(4)

struct rmt_event {
    rmt_a64 word;
};

struct ramet_event {
    struct rmt_object object;
};

static inline struct rmt_event *rmt_event_of(const ramet_event *event)
{
    return event->object.shared;
}

void rmt_event_set(struct rmt_self *self, struct rmt_event *event, uint64_t at);
void rmt_event_clear(struct rmt_event *event);

static inline bool rmt_event_is_set(const struct rmt_event *event)
{
    return rmt_load64(&event->word) & RMT_EVENT_SET; /* pairs-with: event.word (acquire) */
}

/* What to wait with: the same ticket goes on waiting where an interrupted wait stopped. */
static inline uint64_t rmt_event_ticket(const struct rmt_event *event)
{
    return rmt_load64(&event->word) & ~(RMT_EVENT_SET | RMT_EVENT_WAITERS);
}

/* Waits until the event is set, or was since the ticket was taken: as ramet_event_wait. */
int rmt_event_wait(struct rmt_self *self, struct rmt_event *event, uint64_t at, uint64_t ticket,
                   const ramet_wait *wait);

/* Whether the event is set, or was since the ticket was taken. */
static inline bool rmt_event_passed(const struct rmt_event *event, uint64_t ticket)
{
    /* pairs-with: event.word (acquire) */
    return (rmt_load64(&event->word) & ~RMT_EVENT_WAITERS) != ticket;
}

/* Fills a watch that is ready when the event is set, or was since the watch was last settled. */
void rmt_event_watch(struct rmt_event *event, struct rmt_watch *ret_watch);

#endif
