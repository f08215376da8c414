/* SPDX-License-Identifier: MIT
 *
 * The memo of an encode: which objects were met in this message. A hash table by address, emptied
 * in no time by counting its epoch up. The objects live as long as the message is being encoded,
 * so that an address means one object.
 */
#include "codec_format.h"

static struct rmt_memo_entry *memo_slot(struct rmt_scratch *s, const PyObject *obj)
{
    size_t at = (size_t)(((uint64_t)(uintptr_t)obj * UINT64_C(0x9e3779b97f4a7c15)) >> 32);
    for (;; at++) {
        struct rmt_memo_entry *entry = &s->memo[at & s->memo_mask];
        if (entry->epoch != s->memo_epoch || entry->object == obj)
            return entry;
    }
}

static int memo_grow(struct rmt_scratch *s)
{
    struct rmt_memo_entry *old = s->memo;
    size_t old_count = old ? s->memo_mask + 1 : 0;
    size_t count = old ? old_count * 2 : 128;

    s->memo = PyMem_Calloc(count, sizeof(*s->memo));
    if (!s->memo) {
        s->memo = old;
        PyErr_NoMemory();
        return -1;
    }
    if (!old)
        s->memo_epoch = 1; /* no entry of fresh memory is of this epoch */
    s->memo_mask = count - 1;
    for (size_t i = 0; i < old_count; i++) {
        if (old[i].epoch == s->memo_epoch)
            *memo_slot(s, old[i].object) = old[i];
    }
    PyMem_Free(old);
    return 0;
}

void rmt_memo_reset(struct rmt_scratch *s)
{
    s->memo_used = 0;
    s->memo_numbers = 0;
    if (++s->memo_epoch == 0 && s->memo) {
        memset(s->memo, 0, (s->memo_mask + 1) * sizeof(*s->memo));
        s->memo_epoch = 1;
    }
}

int rmt_memo_meet(struct rmt_scratch *s, const PyObject *obj, uint32_t number, uint32_t *ret_number)
{
    struct rmt_memo_entry *entry;

    if ((!s->memo || s->memo_used * 2 > s->memo_mask) && memo_grow(s) < 0)
        return -1;
    entry = memo_slot(s, obj);
    if (entry->epoch == s->memo_epoch) {
        *ret_number = entry->number;
        return 1;
    }
    *entry = (struct rmt_memo_entry){obj, s->memo_epoch, number};
    s->memo_used++;
    return 0;
}
