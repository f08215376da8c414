/* SPDX-License-Identifier: MIT
 *
 * square.h: what the workers of the pool's tests do: item i is the number i, its result i * i.
 */
#ifndef RMT_TEST_SQUARE_H
#define RMT_TEST_SQUARE_H

#include "../unit/unit.h"
#include "channel/message.h"
#include "pool/claim.h"

#include <string.h>

static inline void square(struct rmt_worker *w, uint64_t i)
{
    uint64_t packet, first, value;
    const uint8_t *data;
    size_t size;
    uint8_t *to;
    OK(rmt_worker_packet(w, i, &packet, &first));
    OK(rmt_message_data(packet, &data, &size));
    memcpy(&value, data + (i - first) * 8, 8);
    CHECK(value == i);
    value *= value;
    OK(rmt_worker_room(w, 8, &to));
    memcpy(to, &value, 8);
    rmt_worker_done(w, 8);
}

#endif
