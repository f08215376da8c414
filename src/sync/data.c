/* SPDX-License-Identifier: MIT
 *
 * data.c: plain shared memory: a block of kind DATA behind a handle.  (Not synchronisation, but
 * what synchronisation is for; it lives here because this is where handles of objects do.)
 */
#include "arena/kind.h"
#include "sync/object.h"
#include <ramet/data.h>
#include <ramet/view.h>

#include <string.h>

struct ramet_data {
    struct rmt_object object;
};

static int init(struct rmt_self *self, void *shared, uint64_t at, const void *arg)
{
    (void)self;
    (void)at;
    memset(shared, 0, *(const size_t *)arg);
    return 0;
}

int ramet_data_create(size_t size, ramet_data **ret_data)
{
    struct rmt_object *object;
    int r = rmt_object_create(sizeof(ramet_data), RAMET_KIND_DATA, size, init, &size, &object);
    if (r >= 0)
        *ret_data = (ramet_data *)object;
    return r;
}

int ramet_data_open(const ramet_ref *ref, ramet_data **ret_data)
{
    struct rmt_object *object;
    int r = rmt_object_open(sizeof(ramet_data), RAMET_KIND_DATA, ref, &object);
    if (r >= 0)
        *ret_data = (ramet_data *)object;
    return r;
}

ramet_ref ramet_data_ref(const ramet_data *data)
{
    return rmt_handle_ref(&data->object.handle);
}

void ramet_data_close(ramet_data *data)
{
    rmt_object_close((struct rmt_object *)data);
}

void *ramet_data_address(const ramet_data *data)
{
    return data->object.shared;
}

size_t ramet_data_size(const ramet_data *data)
{
    return rmt_block_at(data->object.handle.offset)->size;
}

static void describe(const struct rmt_source *source, const struct rmt_block *block,
                     uint64_t offset, const void *payload, size_t size, struct rmt_facts *facts)
{
    (void)source;
    (void)offset;
    (void)payload;
    (void)size;
    facts->limit = block->size;
}

static const struct rmt_kind kind = {.id = RAMET_KIND_DATA, .name = "data", .describe = describe};

__attribute__((constructor)) static void register_kind(void)
{
    rmt_kind_register(&kind);
}
