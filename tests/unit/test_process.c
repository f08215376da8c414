/* SPDX-License-Identifier: MIT
 *
 * test_process.c: children by fork, spawn and forkserver: arguments, exit codes, signals,
 * references, what they inherit, and their end with their parent.
 */
#include "arena/handle.h"
#include "unit.h"
#include <fcntl.h>
#include <poll.h>
#include <ramet/arena.h>
#include <ramet/lock.h>
#include <ramet/process.h>
#include <sys/stat.h>

static enum ramet_start_method method;

static ramet_process *start_with(const char *task, const void *arg, size_t size,
                                 const ramet_ref *refs, size_t ref_count, int daemon)
{
    ramet_process_options o = {.size = sizeof o,
                               .method = method,
                               .task = task,
                               .arg = arg,
                               .arg_size = size,
                               .refs = refs,
                               .ref_count = ref_count,
                               .daemon = daemon};
    ramet_process *p;
    OK(ramet_process_start(&o, &p));
    return p;
}

static ramet_process *start(const char *task, const void *arg, size_t size)
{
    return start_with(task, arg, size, NULL, 0, 0);
}

static int join(ramet_process *p)
{
    int code, again;
    OK(ramet_process_join(p, NULL, &code));
    OK(ramet_process_join(p, NULL, &again));
    CHECK(code == again);
    OK(ramet_process_close(p));
    return code;
}

/* ---- tasks */

static int task_sum(const void *arg, size_t size)
{
    const unsigned char *bytes = arg;
    int sum = 0;
    for (size_t i = 0; i < size; i++)
        sum += bytes[i];
    return sum & 127;
}

static int task_sleep(const void *arg, size_t size)
{
    (void)arg;
    (void)size;
    while (pause() < 0)
        ;
    return 0;
}

static int task_abort(const void *arg, size_t size)
{
    (void)arg;
    (void)size;
    raise(SIGKILL);
    return 0;
}

static int task_bump(const void *arg, size_t size)
{
    CHECK(size == 2 * sizeof(ramet_ref));
    ramet_ref refs[2];
    memcpy(refs, arg, sizeof refs);
    ramet_lock *lock;
    struct rmt_self *self;
    struct rmt_handle counter;
    OK(ramet_lock_open(&refs[0], &lock));
    OK(rmt_self(&self));
    OK(rmt_handle_open(self, &refs[1], RAMET_KIND_DATA, &counter));
    volatile uint64_t *n = rmt_payload(counter.offset);
    for (int i = 0; i < 1000; i++) {
        OK(ramet_lock_acquire(lock, NULL));
        *n += 1;
        OK(ramet_lock_release(lock));
    }
    ramet_lock_close(lock);
    return 0;
}

static int task_look(const void *arg, size_t size)
{
    char here[256];
    (void)size;
    CHECK(getcwd(here, sizeof here) && strcmp(here, "/usr") == 0);
    CHECK(getenv("RAMET_TEST_LATER") && strcmp(getenv("RAMET_TEST_LATER"), "yes") == 0);
    mode_t mask = umask(0);
    CHECK(mask == 027);
    CHECK(write(1, arg, 1) == 1);
    return 3;
}

static int task_parent(const void *arg, size_t size)
{
    /* Starts a daemonic child that holds the write end of the test's pipe, says so, and waits to
     * die. */
    CHECK(size == sizeof(int));
    method = *(const int *)arg;
    ramet_process *p = start_with("sleep", NULL, 0, NULL, 0, 1);
    CHECK(ramet_process_pid(p) > 0);
    CHECK(write(1, "x", 1) == 1);
    while (pause() < 0)
        ;
    return 0;
}

static const ramet_task tasks[] = {
    {"sum", task_sum},   {"sleep", task_sleep}, {"abort", task_abort},
    {"bump", task_bump}, {"look", task_look},   {"parent", task_parent},
};

/* ---- tests */

static void arguments_and_exit_codes(void)
{
    unsigned char bytes[5000];
    memset(bytes, 1, sizeof bytes);
    CHECK(join(start("sum", bytes, 42)) == 42);
    CHECK(join(start("sum", bytes, 5000)) == (5000 & 127));
    CHECK(join(start("sum", NULL, 0)) == 0);
    CHECK(join(start("abort", NULL, 0)) == -SIGKILL);
}

static void join_times_out(void)
{
    ramet_process *p = start("sleep", NULL, 0);
    ramet_wait wait = ramet_within(20000000);
    int code = 77;
    CHECK(ramet_process_join(p, &wait, &code) == -ETIMEDOUT && code == 77);
    CHECK(ramet_process_close(p) == -EBUSY);
    struct pollfd fd = {.fd = ramet_process_sentinel(p), .events = POLLIN};
    CHECK(poll(&fd, 1, 0) == 0);
    OK(ramet_process_terminate(p));
    CHECK(poll(&fd, 1, -1) == 1);
    OK(ramet_process_join(p, NULL, &code));
    CHECK(code == -SIGTERM);
    OK(ramet_process_kill(p)); /* it has ended: nothing to do */
    OK(ramet_process_close(p));
    p = start("sleep", NULL, 0);
    OK(ramet_process_kill(p));
    CHECK(join(p) == -SIGKILL);
}

static void references_travel(void)
{
    ramet_lock *lock;
    struct rmt_self *self;
    struct rmt_handle counter;
    int hold;
    uint64_t offset;
    OK(ramet_lock_create(NULL, &lock));
    OK(rmt_self(&self));
    OK(rmt_block_alloc(self, 64, RAMET_KIND_DATA, &hold, &offset));
    memset(rmt_payload(offset), 0, 64);
    OK(rmt_handle_create(self, hold, &counter));
    ramet_ref refs[2] = {ramet_lock_ref(lock), rmt_handle_ref(&counter)};
    struct rmt_handle watch;
    OK(rmt_handle_dup(self, &counter, &watch));
    ramet_process *p[3];
    for (int i = 0; i < 3; i++)
        p[i] = start_with("bump", refs, sizeof refs, refs, 2, 0);
    ramet_lock_close(lock); /* the children's requests keep it alive */
    rmt_handle_close(self, &counter);
    for (int i = 0; i < 3; i++)
        CHECK(join(p[i]) == 0);
    CHECK(*(uint64_t *)rmt_payload(watch.offset) == 3000);
    rmt_handle_close(self, &watch);
    CHECK(rmt_handle_open(self, &refs[0], RAMET_KIND_LOCK, &watch) == -ESTALE);
}

static void bad_options(void)
{
    ramet_process *p = NULL;
    ramet_process_options o = {.size = sizeof o, .method = method, .task = "nope"};
    CHECK(ramet_process_start(&o, &p) == -EINVAL);
    o.task = NULL;
    CHECK(ramet_process_start(&o, &p) == -EINVAL);
    o.task = "sum";
    o.method = (enum ramet_start_method)9;
    CHECK(ramet_process_start(&o, &p) == -EINVAL);
    o.method = method;
    o.arg_size = 5;
    CHECK(ramet_process_start(&o, &p) == -EINVAL);
    o.size = 3;
    CHECK(ramet_process_start(&o, &p) == -EINVAL && !p);
    CHECK(ramet_process_start(NULL, &p) == -EINVAL && !p);
}

/* What changed after the server was started is seen by its children. */
static void the_parents_present_state(void)
{
    char here[256], c;
    CHECK(getcwd(here, sizeof here));
    CHECK(chdir("/usr") == 0);
    CHECK(setenv("RAMET_TEST_LATER", "yes", 1) == 0);
    mode_t mask = umask(027);
    int fds[2];
    CHECK(pipe(fds) == 0);
    int out = dup(1);
    CHECK(dup2(fds[1], 1) == 1);
    ramet_process *p = start("look", "!", 1);
    CHECK(dup2(out, 1) == 1);
    CHECK(join(p) == 3);
    CHECK(read(fds[0], &c, 1) == 1 && c == '!');
    umask(mask);
    unsetenv("RAMET_TEST_LATER");
    CHECK(chdir(here) == 0);
    close(fds[0]);
    close(fds[1]);
    close(out);
}

static void a_daemon_ends_with_its_parent(void)
{
    for (int inner = RAMET_FORK; inner <= RAMET_FORKSERVER; inner++) {
        int fds[2], out = dup(1);
        char c;
        CHECK(pipe2(fds, O_CLOEXEC) == 0);
        CHECK(dup2(fds[1], 1) == 1); /* inherited by both: they are gone when it ends */
        close(fds[1]);
        ramet_process *p = start("parent", &inner, sizeof inner);
        CHECK(dup2(out, 1) == 1);
        close(out);
        CHECK(read(fds[0], &c, 1) == 1);
        OK(ramet_process_kill(p));
        CHECK(join(p) == -SIGKILL);
        CHECK(read(fds[0], &c, 1) == 0);
        close(fds[0]);
    }
}

int main(int argc, char **argv)
{
    OK(ramet_enter(argc, argv, tasks, sizeof tasks / sizeof tasks[0]));
    watchdog();
    for (int m = RAMET_FORK; m <= RAMET_FORKSERVER; m++) {
        method = (enum ramet_start_method)m;
        fprintf(stderr, "start method %d\n", m);
        RUN(arguments_and_exit_codes);
        RUN(join_times_out);
        RUN(references_travel);
        RUN(bad_options);
        RUN(the_parents_present_state);
        RUN(a_daemon_ends_with_its_parent);
    }
    OK(ramet_arena_check(2));
    return 0;
}
