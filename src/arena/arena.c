/* SPDX-License-Identifier: MIT
 *
 * arena.c: making an arena, and joining one.
 */
#include "arena/guard.h"
#include "arena/local.h"
#include "base/fault.h"
#include "base/nocancel.h"
#include "base/os.h"
#include <ramet/arena.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

struct rmt_local rmt_local = {.fd = -1};
static rmt_a32 unmarked;
const rmt_a32 *rmt_member_mark = &unmarked;

static pthread_mutex_t local_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t table_mutex = PTHREAD_MUTEX_INITIALIZER;

void rmt_local_lock(void)
{
    pthread_mutex_lock(&local_mutex);
}
void rmt_local_unlock(void)
{
    pthread_mutex_unlock(&local_mutex);
}
void rmt_table_lock(void)
{
    pthread_mutex_lock(&table_mutex);
}
void rmt_table_unlock(void)
{
    pthread_mutex_unlock(&table_mutex);
}

/* What two builds must agree on to share an arena. */
static uint64_t digest(void)
{
    const uint64_t facts[] = {sizeof(struct rmt_header),
                              sizeof(struct rmt_member),
                              sizeof(struct rmt_thread),
                              sizeof(struct rmt_guard),
                              sizeof(struct rmt_block),
                              RMT_MEMBERS_AT,
                              RMT_PAGES_AT,
                              RMT_PAGE_SIZE,
                              RMT_CLASSES,
                              RMT_HOLDS};
    uint64_t h = 14695981039346656037ull; /* FNV-1a, 64 bits */
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++)
        h = (h ^ facts[i]) * 1099511628211ull;
    return h;
}

/* The file is as large as it may ever get, and sparse; a limit on file sizes makes it smaller. */
static uint64_t file_size(void)
{
    struct rlimit limit;
    uint64_t size = RMT_SIZE;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        while (size > limit.rlim_cur && size > RMT_WINDOW0)
            size /= 2;
    }
    return size;
}

static void init_header(uint64_t id, uint64_t size)
{
    struct rmt_header *h = rmt_header();
    h->version = RMT_LAYOUT_VERSION;
    h->digest = digest();
    h->id = id;
    h->size = size;
    rmt_store64_relaxed(&h->members_high, 1);
    rmt_store64_relaxed(&h->generation, 1);
    rmt_guard_init(&h->tables_guard, offsetof(struct rmt_header, tables_guard));
    rmt_guard_init(&h->pages_guard, offsetof(struct rmt_header, pages_guard));
    for (unsigned i = 0; i < RMT_REF_GUARDS; i++)
        rmt_guard_init(&h->refs_guard[i],
                       offsetof(struct rmt_header, refs_guard) + i * sizeof(struct rmt_guard));
    rmt_classes_init(h);
    h->magic = RMT_MAGIC;
}

static int settle_local(int fd, uint64_t id, uint64_t size)
{
    int r = rmt_os_identity(fd, &rmt_local.dev, &rmt_local.ino);
    if (r < 0)
        return r;
    rmt_local.fd = fd;
    rmt_local.id = id;
    rmt_local.size = size;
    r = rmt_map_window(0);
    if (r < 0)
        rmt_local.fd = -1;
    return r;
}

static int make_mark(void)
{
    if (rmt_member_mark != &unmarked) { /* its parent's, who was no member either: wiped */
        rmt_store32_relaxed((rmt_a32 *)rmt_member_mark, 1);
        return 0;
    }
    void *page;
    int r = rmt_os_wipe_on_fork_page(&page);
    if (r < 0)
        return r;
    rmt_store32_relaxed((rmt_a32 *)page, 1);
    rmt_member_mark = page;
    return 0;
}

/* Another member with this process's pid that is another program: this process before it called
 * exec, or one that had the pid earlier.  No map would tell: this one maps the arena again. */
static void recover_earlier_life(uint32_t slot)
{
    uint64_t high = rmt_load64(&rmt_header()->members_high);
    for (uint32_t i = 1; i < high; i++) {
        const struct rmt_member *m = rmt_member_at(i);
        uint64_t state = rmt_load64(&m->state); /* pairs-with: member.state (acquire) */
        if (i != slot && rmt_member_state_of(state) == RMT_MEMBER_LIVE &&
            rmt_member_pid_of(state) == getpid() && rmt_peek64(&m->image) != rmt_os_image())
            rmt_recover_slot(rmt_bookkeeper(), i, state);
    }
}

/* From a mapped arena to a member of it. */
static int enter(void)
{
    int r = make_mark();
    if (r == 0)
        r = rmt_fork_setup();
    if (r < 0)
        return r;
    uint32_t slot, epoch;
    r = rmt_member_take(&slot, &epoch);
    if (r == 0)
        r = rmt_member_join(slot, epoch);
    if (r == 0)
        recover_earlier_life(slot);
    return r;
}

/* Only what is committed: a read of a hole would commit it. */
void rmt_arena_touch(void)
{
    const struct rmt_header *h = rmt_header();
    for (size_t at = 0; at < sizeof *h; at += 4096)
        (void)*(const volatile uint8_t *)((const uint8_t *)h + at);
    for (uint64_t slot = 1; slot < rmt_load64(&h->members_high) && slot < 64; slot++)
        (void)rmt_load64(&rmt_member_at((uint32_t)slot)->state);
    (void)rmt_load64(&rmt_page_table(0)->free);
}

void rmt_arena_leave(void)
{
    RMT_NO_CANCEL;
    rmt_unmap_windows();
    close(rmt_local.fd);
    rmt_local = (struct rmt_local){.fd = -1, .error = rmt_local.error};
}

static int create(void)
{
    RMT_NO_CANCEL;
    uint64_t id, size = file_size();
    int fd;
    int r = rmt_os_random(&id, sizeof id);
    if (r == 0)
        r = rmt_os_memfd(RMT_MEMFD_NAME, size, &fd);
    if (r < 0)
        return r;
    r = rmt_os_commit(fd, 0, (sizeof(struct rmt_header) + 4095) & ~4095ull);
    if (r == 0)
        r = settle_local(fd, id | 1, size);
    if (r < 0) {
        close(fd);
        return r;
    }
    init_header(id | 1, size);
    r = enter();
    if (r < 0)
        rmt_arena_leave();
    return r;
}

int rmt_join_locked(void)
{
    if (rmt_local.slot != 0 || rmt_local.error != 0)
        return rmt_local.error;
    return rmt_local.fd < 0 ? create() : enter();
}

int ramet_join(void)
{
    struct rmt_self *self;
    return rmt_self(&self);
}

static int read_exactly(int fd, void *to, size_t want)
{
    RMT_NO_CANCEL;
    for (size_t have = 0; have < want;) {
        ssize_t n = pread(fd, (char *)to + have, want - have, (off_t)have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EPROTO;
        have += (size_t)n;
    }
    return 0;
}

/* Whether a build with this one's layout made it: the rest of the header is read after that. */
static bool same_layout(const struct rmt_header *h)
{
    return h->magic == RMT_MAGIC && h->version == RMT_LAYOUT_VERSION && h->digest == digest();
}

static bool guard_sound(const struct rmt_guard *g, size_t offset)
{
    return rmt_load64_relaxed(&g->self) == offset &&
           rmt_load64_relaxed(&g->armed) <= RMT_REDO_WORDS;
}

/* What is constant in a header, and the bounds of what is not: others may be writing there. */
static bool header_sound(const struct rmt_header *h)
{
    if (h->id == 0 || h->size < RMT_WINDOW0 || h->size > RMT_SIZE || (h->size & (h->size - 1)) != 0)
        return false;
    uint64_t high = rmt_load64_relaxed(&h->members_high);
    uint64_t windows = rmt_load64_relaxed(&h->windows);
    if (high == 0 || high > RMT_SLOTS || windows > RMT_WINDOWS ||
        (windows > 0 && rmt_window_start((unsigned)windows - 1) >= h->size))
        return false;
    bool sound = guard_sound(&h->tables_guard, offsetof(struct rmt_header, tables_guard)) &&
                 guard_sound(&h->pages_guard, offsetof(struct rmt_header, pages_guard));
    for (unsigned i = 0; i < RMT_REF_GUARDS; i++)
        sound &= guard_sound(&h->refs_guard[i], offsetof(struct rmt_header, refs_guard) +
                                                    i * sizeof(struct rmt_guard));
    return sound && rmt_classes_sound(h);
}

/* The header of the file behind fd, if it is an arena that this build can share.  A file that was
 * cut off would be a SIGBUS later. */
int rmt_read_header(int fd, struct rmt_header *ret_header)
{
    RMT_NO_CANCEL;
    struct stat st;
    int r = read_exactly(fd, ret_header, offsetof(struct rmt_header, poisoned));
    if (r < 0)
        return r;
    if (!same_layout(ret_header))
        return -EPROTO;
    r = read_exactly(fd, ret_header, sizeof *ret_header);
    if (r < 0)
        return r;
    if (fstat(fd, &st) < 0)
        return -errno;
    return header_sound(ret_header) && (uint64_t)st.st_size >= ret_header->size ? 0 : -EPROTO;
}

static int attach_locked(int fd, const struct rmt_header *header)
{
    RMT_NO_CANCEL;
    if (rmt_local.error != 0)
        return rmt_local.error;
    if (rmt_local.fd >= 0)
        return rmt_local.id == header->id ? rmt_join_locked() : -EALREADY;
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (own < 0)
        return -errno;
    int r = settle_local(own, header->id, header->size);
    if (r < 0) {
        close(own);
        return r;
    }
    r = enter();
    if (r < 0)
        rmt_arena_leave();
    return r;
}

int ramet_attach(int fd)
{
    struct rmt_header header;
    int r = rmt_read_header(fd, &header);
    if (r < 0)
        return r == -EISDIR || r == -ESPIPE || r == -EINVAL ? -EPROTO : r;
    rmt_table_lock();
    r = attach_locked(fd, &header);
    rmt_table_unlock();
    return r;
}

int ramet_arena_fd(void)
{
    return rmt_local.slot == 0 ? -ENODEV : rmt_local.fd;
}

uint64_t ramet_arena_id(void)
{
    return rmt_local.slot == 0 ? 0 : rmt_local.id;
}
