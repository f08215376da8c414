/* SPDX-License-Identifier: MIT
 *
 * source.c: see source.h.  Every offset is held against the size of the file before it is used.
 */
#include "arena/source.h"
#include "arena/local.h"
#include "base/os.h"

#include <errno.h>

int rmt_source_read(const struct rmt_source *source, uint64_t offset, void *to, size_t length)
{
    if (offset >= source->size || length > source->size - offset)
        return -ESTALE;
    int r = rmt_os_read_at(source->fd, offset, to, length);
    if (r < 0 && r != -ENODATA && source->error && *source->error == 0)
        *source->error = r; /* what is past the end is not there, and no error */
    return r;
}

uint64_t rmt_source_word(const struct rmt_source *source, uint64_t offset)
{
    uint64_t word;
    if (offset % 8 != 0 || rmt_source_read(source, offset, &word, sizeof word) < 0)
        return 0;
    return word;
}

int rmt_source_block(const struct rmt_source *source, uint64_t offset, struct rmt_block *ret_block)
{
    struct rmt_block block;
    if (offset < RMT_PAGES_AT || offset % 64 != 0)
        return -ESTALE;
    int r = rmt_source_read(source, offset, &block, sizeof block);
    if (r < 0)
        return r;
    if (block.size > block.capacity || block.capacity > source->size - offset - RMT_BLOCK_HEADER)
        return -ESTALE;
    *ret_block = block;
    return 0;
}

uint64_t rmt_source_find(const struct rmt_source *source, uint64_t offset,
                         struct rmt_block *ret_block)
{
    if (offset < RMT_PAGES_AT || offset >= source->size)
        return 0;
    struct rmt_page_place place;
    rmt_page_place(offset, &place);
    uint64_t page = rmt_window_start(place.window) + place.index * RMT_PAGE_SIZE;
    uint64_t word = rmt_source_word(source, place.word), at = page;
    if (rmt_page_type(word) == RMT_PAGE_SLAB) {
        uint32_t class_index = rmt_page_class(word);
        if (class_index >= RMT_CLASSES || offset < page + RMT_SLAB_HEADER)
            return 0;
        uint64_t bytes = rmt_source_word(source, offsetof(struct rmt_header, classes) +
                                                     class_index * sizeof(struct rmt_class) +
                                                     offsetof(struct rmt_class, block_size));
        if (bytes < RMT_BLOCK_HEADER || bytes > RMT_PAGE_SIZE)
            return 0;
        at = page + RMT_SLAB_HEADER + (offset - page - RMT_SLAB_HEADER) / bytes * bytes;
    } else if (rmt_page_type(word) != RMT_PAGE_SPAN) {
        return 0; /* words for which somebody waits stand on the first page of their block */
    }
    return rmt_source_block(source, at, ret_block) < 0 ? 0 : at;
}
