/* SPDX-License-Identifier: MIT
 *
 * test_handle.c: counts on objects: references, stale ones, fork with live handles, exec, deaths.
 */
#include "arena/handle.h"
#include "arena/kind.h"
#include "arena/local.h"
#include "unit.h"
#include <fcntl.h>
#include <ramet/arena.h>

static struct rmt_self *self;

static uint64_t blocks(void)
{
    ramet_usage u = {.size = sizeof u};
    OK(ramet_arena_usage(&u));
    return u.blocks;
}

static struct rmt_handle make(size_t size)
{
    int hold;
    uint64_t offset;
    struct rmt_handle h;
    OK(rmt_block_alloc(self, size, RAMET_KIND_DATA, &hold, &offset));
    memset(rmt_payload(offset), 7, size);
    OK(rmt_handle_create(self, hold, &h));
    return h;
}

static void a_reference_opens_until_the_last_handle_closes(void)
{
    struct rmt_handle a = make(64), b, c;
    ramet_ref ref = rmt_handle_ref(&a);
    OK(rmt_handle_open(self, &ref, RAMET_KIND_DATA, &b));
    CHECK(rmt_handle_open(self, &ref, RAMET_KIND_QUEUE, &c) == -EINVAL);
    uint64_t n = blocks();
    rmt_handle_close(self, &a);
    rmt_handle_close(self, &a); /* closing twice is harmless */
    CHECK(blocks() == n);
    OK(rmt_handle_dup(self, &b, &c));
    rmt_handle_close(self, &b);
    rmt_handle_close(self, &c);
    CHECK(blocks() == n - 1);
    CHECK(rmt_handle_open(self, &ref, RAMET_KIND_DATA, &b) == -ESTALE);
    /* The same place, another life. */
    a = make(64);
    CHECK(a.offset == ref.offset);
    CHECK(rmt_handle_open(self, &ref, RAMET_KIND_DATA, &b) == -ESTALE);
    rmt_handle_close(self, &a);
}

static void foreign_references_are_stale(void)
{
    struct rmt_handle a = make(64), b;
    ramet_ref good = rmt_handle_ref(&a), ref = good;
    ref.arena ^= 2;
    CHECK(rmt_handle_open(self, &ref, RAMET_KIND_DATA, &b) == -ESTALE);
    for (uint64_t offset = 0; offset < (128ull << 20); offset += 4096 * 13 + 64) {
        ref = good;
        ref.offset = offset;
        if (offset != good.offset)
            CHECK(rmt_handle_open(self, &ref, RAMET_KIND_DATA, &b) == -ESTALE);
    }
    rmt_handle_close(self, &a);
}

static void many_handles(void)
{
    enum { N = 2000 };
    static struct rmt_handle h[N];
    struct rmt_handle extra;
    uint64_t before = blocks();
    for (int i = 0; i < N; i++)
        h[i] = make(32);
    OK(rmt_handle_dup(self, &h[0], &extra));
    for (int i = 0; i < N; i++)
        rmt_handle_close(self, &h[i]);
    rmt_handle_close(self, &extra);
    CHECK(blocks() <= before + 5); /* chunks of the table stay */
    OK(ramet_arena_check(2));
}

static struct rmt_handle inherited;
static uint64_t parent_word;

static void use_inherited(void *arg)
{
    struct rmt_self *me;
    OK(rmt_self(&me));
    CHECK(me->word != parent_word);
    CHECK(*(unsigned char *)rmt_payload(inherited.offset) == 7);
    if (arg) { /* closes it: the parent's count is not touched */
        rmt_handle_close(me, &inherited);
    } else {
        raise(SIGKILL);
    }
}

static void a_forked_child_has_its_own_count(void)
{
    for (int kind = 0; kind < 2; kind++) {
        parent_word = self->word;
        inherited = make(4096);
        ramet_ref ref = rmt_handle_ref(&inherited);
        uint64_t n = blocks();
        pid_t pid = child(use_inherited, kind ? &kind : NULL);
        CHECK(finish(pid) == (kind ? 0 : -SIGKILL));
        CHECK(ramet_reap(pid) == 1);
        CHECK(blocks() == n);
        CHECK(*(unsigned char *)rmt_payload(inherited.offset) == 7);
        rmt_handle_close(self, &inherited);
        struct rmt_handle again;
        CHECK(rmt_handle_open(self, &ref, RAMET_KIND_DATA, &again) == -ESTALE);
    }
    OK(ramet_arena_check(2));
}

static void outlive(void *arg)
{
    int *fds = arg;
    char c;
    CHECK(read(fds[0], &c, 1) == 1); /* the parent has closed */
    CHECK(*(unsigned char *)rmt_payload(inherited.offset) == 7);
}

static void a_childs_count_keeps_it_alive(void)
{
    inherited = make(4096);
    uint64_t n = blocks();
    int fds[2];
    CHECK(pipe(fds) == 0);
    pid_t pid = child(outlive, fds);
    rmt_handle_close(self, &inherited);
    CHECK(blocks() >= n); /* alive: the child's; and the child's chunk */
    CHECK(write(fds[1], "x", 1) == 1);
    CHECK(finish(pid) == 0);
    CHECK(ramet_reap(pid) == 1);
    CHECK(blocks() == n - 1);
    close(fds[0]);
    close(fds[1]);
}

/* A daemon's double fork: the one in between ends at once, and may be recovered before its child
 * ran. */
static void fork_and_quit(void *arg)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid > 0)
        _exit(0);
    watchdog();
    struct rmt_self *me;
    OK(rmt_self(&me));
    CHECK(*(unsigned char *)rmt_payload(inherited.offset) == 7);
    rmt_handle_close(me, &inherited);
    CHECK(write(((int *)arg)[1], "x", 1) == 1);
    _exit(0);
}

static void a_grandchild_survives_its_parents_recovery(void)
{
    inherited = make(4096);
    uint64_t n = blocks();
    for (int i = 0; i < 200; i++) {
        int fds[2];
        char c;
        CHECK(pipe(fds) == 0);
        pid_t pid = child(fork_and_quit, fds);
        close(fds[1]);
        CHECK(finish(pid) == 0);
        CHECK(ramet_reap(pid) == 1);
        CHECK(read(fds[0], &c, 1) == 1); /* it came through */
        CHECK(read(fds[0], &c, 1) == 0);
        close(fds[0]);
        while (ramet_sweep() == 0 && blocks() != n)
            usleep(100); /* the pipe ends a moment before its last holder is dead */
    }
    CHECK(blocks() == n);
    CHECK(rmt_load64(&rmt_block_at(inherited.offset)->refs) == 1);
    rmt_handle_close(self, &inherited);
}

static void quit(void *arg)
{
    (void)arg;
}

static void slots_are_reused_late(void)
{
    uint64_t n = blocks();
    for (int i = 0; i < 200; i++) {
        pid_t pid = child(quit, NULL);
        CHECK(finish(pid) == 0);
        CHECK(ramet_reap(pid) == 1);
    }
    CHECK(blocks() == n);
    CHECK(rmt_load64(&rmt_header()->members_high) < 10);
}

static void words_of_objects_count(void)
{
    struct rmt_handle owner = make(64), a = make(64), b;
    uint64_t word = owner.offset + RMT_BLOCK_HEADER;
    memset(rmt_payload(owner.offset), 0, 64);
    OK(rmt_count_add(self, word, a.offset));
    uint64_t n = blocks();
    ramet_ref ref = rmt_handle_ref(&a);
    rmt_handle_close(self, &a);
    CHECK(blocks() == n);
    OK(rmt_handle_open(self, &ref, RAMET_KIND_NONE, &b));
    rmt_handle_close(self, &b);
    rmt_count_drop(self, word);
    rmt_count_drop(self, word); /* an empty word: nothing */
    CHECK(blocks() == n - 1);
    rmt_handle_close(self, &owner);
}

/* A program that was started by exec joins by the descriptor; the one that called exec is a member
 * no more. */
static int joined_by_exec(const char *fd, const char *ref_text)
{
    OK(ramet_attach(atoi(fd)));
    CHECK(ramet_attach(atoi(fd)) == 0);
    ramet_ref ref;
    CHECK(sscanf(ref_text, "%lx:%lx:%x:%x", &ref.arena, &ref.offset, &ref.kind, &ref.generation) ==
          4);
    OK(rmt_self(&self));
    struct rmt_handle h;
    OK(rmt_handle_open(self, &ref, RAMET_KIND_DATA, &h));
    CHECK(*(unsigned char *)rmt_payload(h.offset) == 7);
    memset(rmt_payload(h.offset), 8, 64);
    return 0;
}

static void exec_self(void *arg)
{
    char fd[16], text[80];
    const ramet_ref *ref = arg;
    snprintf(fd, sizeof fd, "%d", fcntl(ramet_arena_fd(), F_DUPFD, 50));
    snprintf(text, sizeof text, "%lx:%lx:%x:%x", ref->arena, ref->offset, ref->kind,
             ref->generation);
    char name[] = "test_handle", *argv[] = {name, fd, text, NULL};
    execve("/proc/self/exe", argv, environ);
    _exit(127);
}

static void exec_joins_by_descriptor(void)
{
    struct rmt_handle a = make(64);
    ramet_ref ref = rmt_handle_ref(&a);
    pid_t pid = child(exec_self, &ref);
    CHECK(finish(pid) == 0);
    CHECK(*(unsigned char *)rmt_payload(a.offset) == 8);
    CHECK(ramet_sweep() == 1); /* the program; it has recovered who called exec, when it joined */
    rmt_handle_close(self, &a);
}

static void not_an_arena(void)
{
    int fd = open("/dev/null", O_RDWR);
    CHECK(ramet_attach(fd) == -EPROTO);
    close(fd);
    CHECK(ramet_attach(-1) == -EBADF);
}

int main(int argc, char **argv)
{
    watchdog();
    if (argc == 3)
        return joined_by_exec(argv[1], argv[2]);
    OK(ramet_join());
    OK(rmt_self(&self));
    RUN(a_reference_opens_until_the_last_handle_closes);
    RUN(foreign_references_are_stale);
    RUN(many_handles);
    RUN(a_forked_child_has_its_own_count);
    RUN(a_childs_count_keeps_it_alive);
    RUN(a_grandchild_survives_its_parents_recovery);
    RUN(slots_are_reused_late);
    RUN(words_of_objects_count);
    RUN(exec_joins_by_descriptor);
    RUN(not_an_arena);
    return 0;
}
