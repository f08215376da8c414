/* SPDX-License-Identifier: MIT
 *
 * pipe_look.h: looks at a pipe's end from outside: what poll(2) says, and what is there.
 */
#ifndef RMT_TEST_PIPE_LOOK_H
#define RMT_TEST_PIPE_LOOK_H

#include "channel/pipe.h"

#include <poll.h>
#include <stdbool.h>

static inline bool readable(const ramet_end *end)
{
    struct pollfd p = {.fd = ramet_end_socket(end), .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

/* Without a look that sets the bell right. */
static inline bool holds_messages(const ramet_end *end)
{
    const struct rmt_pipe_way *way = end->in.way;
    uint64_t tail = rmt_load64(&way->tail), head = rmt_load64(&way->head);
    return (tail & RMT_PIPE_POSITION) != (head & RMT_PIPE_POSITION);
}

#endif
