/* SPDX-License-Identifier: MIT
 *
 * test_message.c: messages are what their segments were, own their counts, and give them back.
 */
#include "channel/message.h"
#include "channel/queue.h"

#include <ramet/arena.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #x);                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static struct rmt_self *self;

static uint64_t blocks(void)
{
    ramet_usage usage = {.size = sizeof usage};
    CHECK(ramet_arena_usage(&usage) == 0);
    return usage.blocks;
}

static void segments(void)
{
    const size_t sizes[] = {0, 1, 55, 64, 4000, 40000, 3u << 20};
    uint64_t before = blocks();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t n = sizes[i];
        uint8_t *bytes = malloc(n + 1);
        CHECK(bytes);
        for (size_t k = 0; k < n; k++)
            bytes[k] = (uint8_t)(k * 7 + i);
        struct iovec iov[3] = {{bytes, n / 3}, {bytes + n / 3, 0}, {bytes + n / 3, n - n / 3}};
        int hold;
        uint64_t offset;
        CHECK(rmt_message_build(self, iov, 3, NULL, 0, &hold, &offset) == 0);
        const uint8_t *data;
        size_t size;
        CHECK(rmt_message_data(offset, &data, &size) == 0);
        CHECK(size == n && memcmp(data, bytes, n) == 0);
        CHECK((uintptr_t)data % 64 == 0);
        CHECK(blocks() == before + 1);
        rmt_block_free(self, hold);
        CHECK(blocks() == before);
        free(bytes);
    }
}

static void references(void)
{
    uint64_t before = blocks();
    struct ramet_queue a, b;
    CHECK(rmt_queue_create(self, NULL, &a) == 0);
    CHECK(rmt_queue_create(self, NULL, &b) == 0);
    uint64_t refs[] = {a.offset, b.offset, a.offset};
    struct iovec iov = {(void *)(uintptr_t)"abc", 3};
    int hold;
    uint64_t offset;
    CHECK(rmt_message_build(self, &iov, 1, refs, 3, &hold, &offset) == 0);
    ramet_ref ref = rmt_handle_ref(&a.handle);
    rmt_queue_close(self, &a);
    rmt_queue_close(self, &b);
    CHECK(blocks() == before + 5); /* two queues with a ring each, and the message */

    struct ramet_queue again;
    CHECK(rmt_queue_open(self, &ref, &again) == 0);
    rmt_queue_close(self, &again);
    rmt_block_free(self, hold);
    CHECK(blocks() == before);
    CHECK(rmt_queue_open(self, &ref, &again) == -ESTALE);
}

static void too_large(void)
{
    uint64_t before = blocks();
    struct iovec iov[2] = {{NULL, SIZE_MAX / 2 + 1}, {NULL, SIZE_MAX / 2 + 1}};
    int hold;
    uint64_t offset;
    CHECK(rmt_message_build(self, iov, 2, NULL, 0, &hold, &offset) == -ENOMEM);
    CHECK(rmt_message_build(self, iov, 1, NULL, 0, &hold, &offset) == -ENOMEM);
    CHECK(blocks() == before);
}

/* What a maker who dies early leaves behind is freed, and frees nothing else. */
static void half_made(void)
{
    uint64_t before = blocks();
    struct ramet_queue q;
    CHECK(rmt_queue_create(self, NULL, &q) == 0);
    int hold;
    uint64_t offset;
    CHECK(rmt_block_alloc(self, 4000, RAMET_KIND_MESSAGE, &hold, &offset) == 0);
    rmt_block_free(self, hold);
    struct iovec iov = {NULL, 0};
    CHECK(rmt_message_build(self, &iov, 1, &q.offset, 1, &hold, &offset) == 0);
    struct rmt_message *m = rmt_payload(offset);
    rmt_count_drop(self, offset + RMT_BLOCK_HEADER + offsetof(struct rmt_message, ref));
    CHECK(rmt_load64(&m->ref[0]) == 0); /* the state in which destroying it was interrupted */
    rmt_block_free(self, hold);
    ramet_ref ref = rmt_handle_ref(&q.handle);
    struct ramet_queue again;
    CHECK(rmt_queue_open(self, &ref, &again) == 0);
    rmt_queue_close(self, &again);
    rmt_queue_close(self, &q);
    CHECK(blocks() == before);
}

static void damaged(void)
{
    struct iovec iov = {(void *)(uintptr_t)"abc", 3};
    int hold;
    uint64_t offset;
    const uint8_t *data;
    size_t size;
    CHECK(rmt_message_build(self, &iov, 1, NULL, 0, &hold, &offset) == 0);
    struct rmt_message *m = rmt_payload(offset);
    rmt_store64(&m->size, 1u << 20);
    CHECK(rmt_message_data(offset, &data, &size) == -EPROTO);
    rmt_store64(&m->size, 3);
    CHECK(rmt_message_data(offset, &data, &size) == 0);
    rmt_block_free(self, hold);
}

int main(void)
{
    alarm(600);
    CHECK(ramet_join() == 0);
    CHECK(rmt_self(&self) == 0);
    struct ramet_queue first; /* the table of handles is made with the first, and stays */
    CHECK(rmt_queue_create(self, NULL, &first) == 0);
    rmt_queue_close(self, &first);
    segments();
    references();
    too_large();
    half_made();
    damaged();
    CHECK(ramet_arena_check(2) == 0);
    return 0;
}
