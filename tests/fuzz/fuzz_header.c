/* SPDX-License-Identifier: MIT
 *
 * fuzz_header.c: attaching to a file whose header another build has written, or is damaged, or that
 * was cut off.  It starts as a sound one; the input says which words are changed to what, and how
 * long the file is.  Attaching gives an error and leaves nothing behind, or makes this process a
 * member; then it leaves again.
 */
#include "arena/local.h"
#include "base/os.h"
#include "fuzz.h"

#include <errno.h>
#include <ramet/arena.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SOUND_BYTES ((sizeof(struct rmt_header) + 4095) & ~4095ull)
static _Alignas(struct rmt_header) uint8_t sound[SOUND_BYTES];

/* Made by joining an arena and leaving it: the library's own. */
static void set_up(void)
{
    rmt_table_lock();
    MUST(rmt_join_locked() == 0);
    memcpy(sound, rmt_header(), sizeof(struct rmt_header));
    rmt_arena_leave();
    rmt_table_unlock();
}

static void write_file(struct input *in, int fd)
{
    static uint8_t bytes[SOUND_BYTES];
    memcpy(bytes, sound, sizeof bytes);
    uint8_t changes = take_byte(in) % 8;
    uint64_t size = ((struct rmt_header *)(void *)sound)->size;
    switch (take_byte(in) % 4) {
    case 0:
        size = take_word(in) % (4 * RMT_SIZE);
        break;
    case 1:
        size = take_word(in) % (2 * SOUND_BYTES);
        break;
    default:
        break;
    }
    for (unsigned i = 0; i < changes; i++) {
        uint16_t at;
        take(in, &at, sizeof at);
        uint64_t value = take_word(in);
        size_t word = at % 2 ? at / 2 % 24 : at / 2 % (sizeof(struct rmt_header) / 8);
        memcpy(bytes + word * 8, &value, 8);
    }
    size_t n = size < sizeof bytes ? (size_t)size : sizeof bytes;
    MUST(n == 0 || pwrite(fd, bytes, n, 0) == (ssize_t)n);
    MUST(ftruncate(fd, (off_t)size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    if (sound[0] == 0)
        set_up();
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    MUST(fd >= 0);
    write_file(&in, fd);
    int r = ramet_attach(fd);
    MUST(r <= 0);
    if (r == 0) {
        rmt_table_lock();
        rmt_arena_leave();
        rmt_table_unlock();
    }
    close(fd);
    int next = dup(2); /* descriptors are given out lowest first: none is left open */
    MUST(next == fd);
    close(next);
    return 0;
}
