/* SPDX-License-Identifier: MIT
 *
 * fuzz_ref.c: references, opened as every noun.  Each is either any 24 bytes, or that of an object
 * (one that is there, or one that was) with some bytes changed.  Opening gives an error, or the
 * object that is there; nothing else changes.
 */
#include "arena/local.h"
#include "fuzz.h"
#include "process/task.h"

#include <ramet/ramet.h>

#define OBJECTS 16
static ramet_ref refs[OBJECTS];
static void *kept[OBJECTS]; /* for the leak checker */
static uint64_t blocks;

static uint64_t blocks_in_use(void)
{
    ramet_usage usage = {.size = sizeof usage};
    MUST(ramet_arena_usage(&usage) == 0);
    return usage.blocks;
}

/* Of each noun one that stays and, every second, one that is gone. */
#define MAKE(noun, create)                                                                         \
    do {                                                                                           \
        ramet_##noun *there, *gone;                                                                \
        MUST(create(&there) == 0 && create(&gone) == 0);                                           \
        kept[n] = there;                                                                           \
        refs[n++] = ramet_##noun##_ref(there);                                                     \
        refs[n++] = ramet_##noun##_ref(gone);                                                      \
        ramet_##noun##_close(gone);                                                                \
    } while (0)
#define LOCK(to) ramet_lock_create(NULL, to)
#define QUEUE(to) ramet_queue_create(NULL, to)
#define EVENT(to) ramet_event_create(NULL, to)
#define SMALL(to) ramet_data_create(100, to)
#define LARGE(to) ramet_data_create(1000000, to)

static void set_up(void)
{
    ramet_end *a, *b;
    size_t n = 0;
    MAKE(lock, LOCK);
    MAKE(queue, QUEUE);
    MAKE(event, EVENT);
    MAKE(data, SMALL);
    MAKE(data, LARGE);
    MUST(ramet_pipe_create(NULL, &a, &b) == 0);
    MUST(ramet_end_ref(a, &refs[n++]) == 0);
    MUST(ramet_end_ref(b, &refs[n++]) == 0);
    kept[n - 2] = a;
    kept[n - 1] = b;
    MUST(n <= OBJECTS);
    blocks = blocks_in_use();
}

#define OPEN(noun)                                                                                 \
    do {                                                                                           \
        ramet_##noun *opened;                                                                      \
        if (ramet_##noun##_open(ref, &opened) == 0)                                                \
            ramet_##noun##_close(opened);                                                          \
    } while (0)

static void open_as_all(const ramet_ref *ref)
{
    struct rmt_self *self;
    struct rmt_handle handle;
    ramet_end *end;
    OPEN(lock);
    OPEN(rlock);
    OPEN(semaphore);
    OPEN(event);
    OPEN(condition);
    OPEN(barrier);
    OPEN(queue);
    OPEN(data);
    if (ramet_end_open(ref, -1, &end) == 0)
        ramet_end_close(end);
    MUST(rmt_self(&self) == 0);
    if (rmt_handle_open(self, ref, RAMET_KIND_NONE, &handle) == 0) {
        MUST(rmt_block_at(handle.offset)->generation == ref->generation);
        rmt_handle_close(self, &handle);
    }
}

/* As text, as it stands in the command line of a child. */
static void parse(struct input *in)
{
    char text[RMT_REF_TEXT + 8] = {0};
    ramet_ref ref;
    take(in, text, sizeof text - 1);
    if (rmt_ref_parse(text, &ref) == 0)
        open_as_all(&ref);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned runs;
    struct input in = {data, size};
    if (refs[0].arena == 0)
        set_up();
    while (in.size > 0) {
        uint8_t what = take_byte(&in);
        ramet_ref ref, change;
        take(&in, &ref, sizeof ref);
        if (what == 255) {
            parse(&in);
            continue;
        }
        if (what < 4 * OBJECTS) {
            change = ref;
            ref = refs[what % OBJECTS];
            ref.offset ^= change.offset & 0xffffffff;
            ref.kind ^= change.kind & 31;
            ref.generation ^= change.generation & 15;
        } else if (what < 128) { /* else a foreign arena's, most probably */
            ref.arena = refs[0].arena;
            ref.offset &= 0x3ffffffffff;
        }
        open_as_all(&ref);
    }
    if (++runs % 512 == 0) {
        MUST(blocks_in_use() == blocks);
        MUST(ramet_arena_check(2) == 0);
    }
    return 0;
}
