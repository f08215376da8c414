/* SPDX-License-Identifier: MIT
 *
 * Receiving: from a message in the arena, that a thread has taken into a hold, to a Python object.
 */
#ifndef RMT_PY_VIEW_H
#define RMT_PY_VIEW_H

#include "module.h"

#include "channel/message.h"

/* From this size on, an out-of-band buffer is seen through a mapping; below, it is copied. */
#define RMT_PY_VIEW_MIN (1u << 20)

/*
 * Decodes the message in hold `hold` of this thread (whatever the hold's tag is) and empties the
 * hold, also on failure. Buffers of at least RMT_PY_VIEW_MIN arrive as views: private,
 * copy-on-write mappings, which keep the message's block. Needs the GIL; runs any Python code, that
 * of the pickle.
 */
PyObject *rmt_py_receive(struct rmt_py_state *st, struct rmt_self *self, uint64_t message,
                         int hold);

#endif
