/* SPDX-License-Identifier: MIT
 *
 * pipe.c: making, opening and closing the ends of a pipe, and what happens when an end is gone. How
 * messages move is in pipe_io.c, the structures and their rules in pipe.h.
 */
#include "channel/pipe.h"
#include "arena/kind.h"
#include "arena/source.h"
#include "base/fault.h"
#include "base/nocancel.h"
#include "channel/doorbell.h"
#include "channel/pipe_entry.h"
#include <ramet/view.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct rmt_pipe *core_at(uint64_t offset)
{
    return rmt_payload(offset);
}

/* The pipe has that lane. */
static struct rmt_pipe_lane lane_at(uint64_t core, unsigned i)
{
    struct rmt_pipe *pipe = core_at(core);
    return (struct rmt_pipe_lane){
        .way = &pipe->way[i],
        .ring = (uint8_t *)pipe + sizeof *pipe + i * pipe->bytes,
        .offset = core + RMT_BLOCK_HEADER + offsetof(struct rmt_pipe, way) +
                  i * sizeof(struct rmt_pipe_way),
    };
}

static struct rmt_pipe_lane lane_of(uint64_t core, unsigned i)
{
    return i < core_at(core)->ways ? lane_at(core, i) : (struct rmt_pipe_lane){NULL, NULL, 0};
}

/* ---- the last handle is gone, or the block was never finished: may run again after a death
 * anywhere */

static void end_destroy(struct rmt_self *self, uint64_t offset)
{
    struct rmt_pipe_end *payload = rmt_payload(offset);
    uint64_t core = rmt_load64(&payload->core);
    if (core == 0)
        return;
    unsigned side = (unsigned)payload->side & 1;
    struct rmt_pipe_lane out = lane_of(core, 1 - side);
    struct rmt_pipe_lane in = lane_of(core, side);
    if (out.way)
        rmt_pipe_close_tail(self, out);
    if (in.way)
        rmt_pipe_close_head(self, in, core_at(core)->bytes);
    rmt_count_drop(self, offset + RMT_BLOCK_HEADER + offsetof(struct rmt_pipe_end, core));
}

static bool end_is_bell(uint64_t offset, uint64_t word)
{
    uint64_t core = rmt_load64(&((struct rmt_pipe_end *)rmt_payload(offset))->core);
    for (unsigned i = 0; core != 0 && i < core_at(core)->ways; i++) {
        struct rmt_pipe_lane lane = lane_at(core, i);
        if (word == RMT_PIPE_FIELD(lane, news) || word == RMT_PIPE_FIELD(lane, room))
            return true;
    }
    return false;
}

static int end_check(uint64_t offset)
{
    struct rmt_pipe_end *payload = rmt_payload(offset);
    uint64_t core = rmt_load64(&payload->core);
    if (core == 0)
        return 0;
    if (!rmt_block_valid(core) || payload->side > 1)
        return -ENOTRECOVERABLE;
    struct rmt_pipe *pipe = core_at(core);
    if (pipe->ways < 1 || pipe->ways > 2 || pipe->bytes % 64 != 0 || pipe->limit >= pipe->bytes ||
        sizeof *pipe + pipe->ways * pipe->bytes > rmt_block_at(core)->capacity)
        return -ENOTRECOVERABLE;
    for (unsigned i = 0; i < pipe->ways; i++) {
        int r = rmt_pipe_check_lane(lane_of(core, i), pipe->bytes);
        if (r < 0)
            return r;
    }
    return 0;
}

static void end_describe(const struct rmt_source *source, const struct rmt_block *block,
                         uint64_t offset, const void *payload, size_t size, struct rmt_facts *facts)
{
    (void)block;
    (void)offset;
    const struct rmt_pipe_end *end = payload;
    struct rmt_pipe pipe;
    if (size < sizeof *end)
        return;
    uint64_t core = rmt_load64_relaxed(&end->core);
    unsigned side = (unsigned)end->side & 1;
    struct rmt_block header;
    if (core == 0 || rmt_source_block(source, core, &header) < 0 || header.kind != RMT_KIND_PART ||
        rmt_source_read(source, core + RMT_BLOCK_HEADER, &pipe, sizeof pipe) < 0)
        return;
    facts->of = core;
    if (side >= pipe.ways)
        return; /* this end only sends */
    const struct rmt_pipe_way *way = &pipe.way[side];
    uint64_t tail = rmt_load64_relaxed(&way->tail);
    uint64_t waiting =
        (tail & RMT_PIPE_POSITION) - (rmt_load64_relaxed(&way->head) & RMT_PIPE_POSITION);
    facts->depth = waiting > pipe.bytes ? 0 : waiting; /* words of different moments */
    facts->limit = pipe.bytes;
    facts->flags = (tail & RMT_PIPE_CLOSED) ? RAMET_VIEW_CLOSED : 0;
    facts->at = core + RMT_BLOCK_HEADER + offsetof(struct rmt_pipe, way) + side * sizeof *way;
    facts->length = sizeof *way;
}

__attribute__((constructor)) static void pipe_register(void)
{
    static const struct rmt_kind kind = {
        .id = RAMET_KIND_PIPE,
        .name = "pipe end",
        .clear = sizeof(struct rmt_pipe_end),
        .destroy = end_destroy,
        .is_bell = end_is_bell,
        .check = end_check,
        .describe = end_describe,
    };
    rmt_kind_register(&kind);
}

/* ---- process-local handles */

static ramet_end *end_new(void)
{
    if (rmt_fault(RMT_FAULT_MALLOC) < 0)
        return NULL;
    ramet_end *end = malloc(sizeof *end);
    if (end)
        *end = (ramet_end){.fd = -1};
    return end;
}

/* Caches what lies behind end->handle. */
static void end_bind(ramet_end *end)
{
    struct rmt_pipe_end *payload = rmt_payload(end->handle.offset);
    uint64_t core = rmt_load64(&payload->core);
    unsigned side = (unsigned)payload->side & 1;
    end->bytes = core_at(core)->bytes;
    end->limit = core_at(core)->limit;
    end->in = lane_of(core, side);
    end->out = lane_of(core, 1 - side);
}

void ramet_end_close(ramet_end *end)
{
    RMT_NO_CANCEL;
    struct rmt_self *self;
    if (!end)
        return;
    /* The end of file first, then the hang-up: who sees that finds the other. */
    if (rmt_self(&self) == 0)
        rmt_handle_close(self, &end->handle);
    if (end->fd >= 0)
        close(end->fd);
    free(end);
}

int ramet_end_open(const ramet_ref *ref, int fd, ramet_end **ret_end)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    ramet_end *end = end_new();
    if (!end)
        return -ENOMEM;
    r = rmt_handle_open(self, ref, RAMET_KIND_PIPE, &end->handle);
    if (r < 0) {
        free(end);
        return r;
    }
    end_bind(end);
    end->fd = fd;
    *ret_end = end;
    return 0;
}

int ramet_end_ref(const ramet_end *end, ramet_ref *ret_ref)
{
    *ret_ref = rmt_handle_ref(&end->handle);
    return 0;
}

int ramet_end_socket(const ramet_end *end)
{
    return end->fd < 0 ? -EBADF : end->fd;
}

int ramet_end_fd(ramet_end *end)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    if (end->fd < 0)
        return -EBADF;
    if (end->in.way) {
        r = rmt_pipe_listen(self, end);
        if (r < 0)
            return r;
    }
    return end->fd;
}

/* ---- making a pipe */

static int core_make(struct rmt_self *self, uint64_t bytes, unsigned ways,
                     struct rmt_handle *ret_handle)
{
    int hold;
    uint64_t offset;
    int r = rmt_block_alloc(self, sizeof(struct rmt_pipe) + ways * bytes, RMT_KIND_PART, &hold,
                            &offset);
    if (r < 0)
        return r;
    struct rmt_pipe *pipe = core_at(offset);
    memset(pipe, 0, sizeof *pipe);
    pipe->bytes = bytes;
    pipe->limit = RMT_PIPE_INLINE < bytes / 4 ? RMT_PIPE_INLINE : bytes / 4;
    pipe->ways = ways;
    for (unsigned i = 0; i < ways; i++) {
        struct rmt_pipe_lane lane = lane_at(offset, i);
        rmt_guard_init(&lane.way->put, lane.offset + offsetof(struct rmt_pipe_way, put));
        rmt_guard_init(&lane.way->take, lane.offset + offsetof(struct rmt_pipe_way, take));
        rmt_store64_relaxed(&lane.way->bell, 2 * 1 + RMT_PIPE_BELL_SURE);
    }
    r = rmt_handle_create(self, hold, ret_handle);
    if (r < 0)
        rmt_block_free(self, hold);
    return r;
}

static int end_make(struct rmt_self *self, uint64_t core, unsigned side, int fd,
                    ramet_end **ret_end)
{
    ramet_end *end = end_new();
    if (!end)
        return -ENOMEM;
    int hold;
    uint64_t offset;
    int r = rmt_block_alloc(self, sizeof(struct rmt_pipe_end), RAMET_KIND_PIPE, &hold, &offset);
    if (r < 0)
        goto fail;
    struct rmt_pipe_end *payload = rmt_payload(offset);
    payload->side = side; /* before the count: end_destroy() needs it once there is one */
    r = rmt_count_add(self, offset + RMT_BLOCK_HEADER + offsetof(struct rmt_pipe_end, core), core);
    if (r == 0)
        r = rmt_handle_create(self, hold, &end->handle);
    if (r < 0) {
        rmt_block_free(self, hold);
        goto fail;
    }
    end_bind(end);
    end->fd = fd;
    *ret_end = end;
    return 0;
fail:
    free(end);
    return r;
}

/* On success the descriptors belong to the ends. */
static int ends_make(struct rmt_self *self, uint64_t bytes, unsigned ways, const int fds[2],
                     ramet_end **ret_a, ramet_end **ret_b)
{
    struct rmt_handle core;
    ramet_end *a = NULL, *b = NULL;
    int r = core_make(self, bytes, ways, &core);
    if (r < 0)
        return r;
    r = end_make(self, core.offset, 0, fds[0], &a);
    if (r == 0)
        r = end_make(self, core.offset, 1, fds[1], &b);
    rmt_handle_close(self, &core); /* the ends' counts keep it */
    if (r < 0) {
        if (a)
            a->fd = -1;
        ramet_end_close(a);
        return r;
    }
    *ret_a = a;
    *ret_b = b;
    return 0;
}

static int options_read(const ramet_pipe_options *options, uint64_t *ret_bytes, unsigned *ret_ways)
{
    uint64_t bytes = 0;
    unsigned ways = 2;
    if (options) {
        if (options->size != sizeof *options || options->bytes > RMT_PIPE_BYTES_MAX)
            return -EINVAL;
        bytes = options->bytes;
        ways = options->duplex ? 2 : 1;
    }
    if (bytes == 0)
        bytes = RMT_PIPE_BYTES;
    if (bytes < RMT_PIPE_BYTES_MIN)
        bytes = RMT_PIPE_BYTES_MIN;
    *ret_bytes = (bytes + 63) & ~63ull;
    *ret_ways = ways;
    return 0;
}

int ramet_pipe_create(const ramet_pipe_options *options, ramet_end **ret_a, ramet_end **ret_b)
{
    RMT_NO_CANCEL;
    struct rmt_self *self;
    uint64_t bytes;
    unsigned ways;
    int fds[2];
    int r = options_read(options, &bytes, &ways);
    if (r < 0)
        return r;
    r = rmt_self(&self);
    if (r < 0)
        return r;
    r = rmt_doorbell_pair(fds);
    if (r < 0)
        return r;
    /* The byte that is in each socket from the start: ring[1] is heard at fds[0]. */
    r = rmt_doorbell_ring(fds[1]);
    if (r == 0 && ways == 2)
        r = rmt_doorbell_ring(fds[0]);
    if (r == 0)
        r = ends_make(self, bytes, ways, fds, ret_a, ret_b);
    if (r < 0) {
        close(fds[0]);
        close(fds[1]);
    }
    return r;
}
