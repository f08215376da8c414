/* SPDX-License-Identifier: MIT
 *
 * test_spare.c: the fork server's spares: that a start is given to one, what such a child has and
 * has not, and that no start is lost, or run twice, when spares or the server are killed or
 * stopped.
 */
#include "unit.h"
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pthread.h>
#include <ramet/arena.h>
#include <ramet/process.h>
#include <ramet/queue.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define MANY 16

static ramet_queue *ran; /* one item for each run of a task */
static ramet_ref ran_ref;

/* ---- tasks */

static int task_say(const void *arg, size_t size)
{
    ramet_queue *queue;
    pid_t pid = getpid();
    CHECK(size == sizeof(ramet_ref));
    OK(ramet_queue_open(arg, &queue));
    OK(ramet_queue_put(queue, &pid, sizeof pid, NULL));
    ramet_queue_close(queue);
    return 7;
}

/* A pidfd is the arena's own: of somebody whose death it has asked about. */
static bool is_pidfd(const char *fd)
{
    char path[300], name[64] = {0};
    snprintf(path, sizeof path, "/proc/self/fd/%s", fd);
    return readlink(path, name, sizeof name - 1) > 0 && strcmp(name, "anon_inode:[pidfd]") == 0;
}

/* What a child has: descriptors 0 to 2 and the arena's, no blocked signal, no tie to the server. */
static int task_look(const void *arg, size_t size)
{
    int tied = -1, count = 0;
    sigset_t blocked;
    struct rlimit limit;
    (void)arg;
    (void)size;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0); /* valgrind has its own above */
    DIR *d = opendir("/proc/self/fd");
    CHECK(d);
    const struct dirent *e;
    while ((e = readdir(d)) != NULL) {
        int fd = atoi(e->d_name);
        if (e->d_name[0] == '.' || fd == dirfd(d) || fd <= 2 || (rlim_t)fd >= limit.rlim_cur ||
            is_pidfd(e->d_name))
            continue;
        CHECK(fd == ramet_arena_fd());
        count++;
    }
    closedir(d);
    CHECK(count == 1);
    CHECK(prctl(PR_GET_PDEATHSIG, &tied) == 0 && tied == 0);
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &blocked) == 0);
    for (int s = 1; s < 32; s++)
        CHECK(sigismember(&blocked, s) == (s == SIGUSR1));
    return 5;
}

static int task_sleep(const void *arg, size_t size)
{
    task_say(arg, size);
    while (pause() < 0)
        ;
    return 0;
}

/* What is the parent's at the start, not when the server was started. */
static int task_limit(const void *arg, size_t size)
{
    struct rlimit limit;
    (void)arg;
    (void)size;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    return (int)limit.rlim_cur;
}

static int task_groups(const void *arg, size_t size)
{
    (void)arg;
    (void)size;
    return getgroups(0, NULL);
}

static int task_processors(const void *arg, size_t size)
{
    cpu_set_t cpus;
    (void)arg;
    (void)size;
    CHECK(sched_getaffinity(0, sizeof cpus, &cpus) == 0);
    return CPU_COUNT(&cpus);
}

static int task_policy(const void *arg, size_t size)
{
    (void)arg;
    (void)size;
    return (int)syscall(SYS_sched_getscheduler, 0);
}

#define SOME_CAPABILITY 22 /* CAP_SYS_BOOT, of which nothing here makes use */

static int task_bounds(const void *arg, size_t size)
{
    (void)arg;
    (void)size;
    return prctl(PR_CAPBSET_READ, SOME_CAPABILITY, 0, 0, 0);
}

static int task_ignores(const void *arg, size_t size)
{
    (void)arg;
    (void)size;
    return signal(SIGCHLD, SIG_DFL) == SIG_IGN;
}

static const ramet_task tasks[] = {
    {"limit", task_limit},   {"groups", task_groups},   {"processors", task_processors},
    {"policy", task_policy}, {"say", task_say},         {"look", task_look},
    {"sleep", task_sleep},   {"ignores", task_ignores}, {"bounds", task_bounds},
};

static ramet_process *start(const char *task)
{
    const ramet_process_options o = {.size = sizeof o,
                                     .method = RAMET_FORKSERVER,
                                     .task = task,
                                     .arg = &ran_ref,
                                     .arg_size = sizeof ran_ref,
                                     .refs = &ran_ref,
                                     .ref_count = 1,
                                     .daemon = strcmp(task, "sleep") == 0};
    ramet_process *p;
    OK(ramet_process_start(&o, &p));
    return p;
}

static int join(ramet_process *p)
{
    int code;
    OK(ramet_process_join(p, NULL, &code));
    OK(ramet_process_close(p));
    return code;
}

/* The child that said so; nobody else has. */
static pid_t said(void)
{
    ramet_item item;
    pid_t pid;
    OK(ramet_queue_get(ran, NULL, &item));
    CHECK(item.size == sizeof pid);
    memcpy(&pid, item.data, sizeof pid);
    ramet_item_release(&item);
    CHECK(ramet_queue_size(ran) == 0);
    return pid;
}

/* ---- who is there */

/* The letter of its state, and its parent; 0: there is none. */
static char state_of(const char *pid, int *ret_parent)
{
    char path[300], text[512] = {0}, state = 0;
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    if (read(fd, text, sizeof text - 1) > 0 && strrchr(text, ')'))
        sscanf(strrchr(text, ')') + 1, " %c %d", &state, ret_parent);
    close(fd);
    return state;
}

static bool alive(pid_t pid)
{
    char text[16];
    int parent;
    snprintf(text, sizeof text, "%d", (int)pid);
    char state = state_of(text, &parent);
    return state != 0 && state != 'Z' && state != 'X';
}

static int children_of(pid_t parent, pid_t *pids)
{
    int n = 0;
    DIR *d = opendir("/proc");
    const struct dirent *e;
    CHECK(d);
    while ((e = readdir(d)) != NULL) {
        int its = 0;
        if (e->d_name[0] < '1' || e->d_name[0] > '9')
            continue;
        char state = state_of(e->d_name, &its);
        if (its == parent && state != 'Z' && state != 'X' && n < MANY)
            pids[n++] = atoi(e->d_name);
    }
    closedir(d);
    return n;
}

static pid_t server(void)
{
    pid_t pids[MANY];
    while (children_of(getpid(), pids) != 1) /* one that was given up may be ending */
        usleep(1000);
    return pids[0];
}

static void until_spares(pid_t parent, int count, pid_t *pids)
{
    while (children_of(parent, pids) != count)
        usleep(1000);
}

/* The call to stop somebody returns before he is, and until then he may still take a request: then
 * it waits with him, as it would if he were stopped in the midst of the task. */
static void stop(pid_t pid)
{
    char text[16];
    int parent;
    snprintf(text, sizeof text, "%d", (int)pid);
    CHECK(kill(pid, SIGSTOP) == 0);
    while (state_of(text, &parent) != 'T')
        usleep(1000);
}

static void gone(pid_t pid)
{
    while (alive(pid))
        usleep(1000);
}

static void fresh_server(unsigned spares)
{
    const ramet_forkserver_options o = {.size = sizeof o, .spares = spares};
    pid_t pids[MANY];
    OK(ramet_forkserver_start(&o));
    until_spares(server(), (int)spares, pids);
}

/* With it end the spares, of which `child` is none. */
static void end_server(pid_t child)
{
    pid_t pids[MANY], old = server();
    int n = children_of(old, pids);
    siginfo_t info;
    CHECK(kill(old, SIGKILL) == 0);
    /* Not gone(): who has threads, as under qemu, is a zombie before it can be waited for. */
    CHECK(waitid(P_PID, (id_t)old, &info, WEXITED | WNOWAIT) == 0);
    for (int i = 0; i < n; i++) {
        if (pids[i] != child)
            gone(pids[i]);
    }
}

/* ---- tests */

static void bad_options(void)
{
    ramet_forkserver_options o = {.size = sizeof o, .spares = RAMET_SPARES_MAX + 1};
    CHECK(ramet_forkserver_start(&o) == -EINVAL);
    o = (ramet_forkserver_options){.size = 1};
    CHECK(ramet_forkserver_start(&o) == -EINVAL);
    int in = dup(0); /* its place would be taken by a descriptor of the server's */
    CHECK(in > 2 && close(0) == 0);
    CHECK(ramet_forkserver_start(NULL) == -EBADF);
    CHECK(dup2(in, 0) == 0 && close(in) == 0);
    OK(ramet_forkserver_start(NULL));
    CHECK(ramet_forkserver_start(NULL) == -EALREADY);
}

/* It runs in the spare that was there, which is replaced. */
static void a_start_is_given_to_a_spare(void)
{
    pid_t spare, next;
    pid_t parent = server();
    until_spares(parent, 1, &spare);
    for (int i = 0; i < 5; i++) {
        ramet_process *p = start("say");
        CHECK(ramet_process_pid(p) == spare);
        CHECK(said() == spare);
        CHECK(join(p) == 7);
        until_spares(parent, 1, &next);
        CHECK(next != spare);
        spare = next;
    }
}

static void a_spare_is_no_member(void)
{
    ramet_usage u = {.size = sizeof u};
    pid_t spare;
    until_spares(server(), 1, &spare);
    OK(ramet_arena_usage(&u));
    CHECK(u.members == 2); /* this process and the server */
}

static void what_a_child_has(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    ramet_process *other = start("sleep"); /* of whose status pipe the next must know nothing */
    said();
    for (int i = 0; i < 4; i++)
        CHECK(join(start("look")) == 5);
    CHECK(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
    OK(ramet_process_kill(other));
    CHECK(join(other) == -SIGKILL);
}

static bool ends_in_fork; /* this process, with what a fork reserves for its child */

/* Registered before the library's, so that it runs after. */
static void before_fork(void)
{
    if (ends_in_fork)
        raise(SIGKILL);
}

static void end_in_fork(void *unused)
{
    (void)unused;
    ends_in_fork = true;
    CHECK(fork() < 0); /* in vain: it does not come back */
}

/* It maps the arena and is nobody, as is a child between its fork and its first instruction; for
 * which it must not be taken. */
static void a_spare_is_nobodys_child(void)
{
    ramet_usage before = {.size = sizeof before}, now = before;
    pid_t spare;
    until_spares(server(), 1, &spare);
    OK(ramet_arena_usage(&before));
    pid_t pid = child(end_in_fork, NULL);
    CHECK(finish(pid) == -SIGKILL);
    ramet_reap(pid);
    do { /* the server may not have said yet whose child the spare is */
        OK(ramet_sweep());
        OK(ramet_arena_usage(&now));
    } while (now.blocks > before.blocks);
    CHECK(now.members <= before.members);
}

static void an_idle_spare_is_killed(void)
{
    for (int i = 0; i < 10; i++) {
        pid_t spare;
        until_spares(server(), 1, &spare);
        CHECK(kill(spare, SIGKILL) == 0);
        ramet_process *p = start("say"); /* before or after the server knows */
        CHECK(said() == ramet_process_pid(p));
        CHECK(join(p) == 7);
    }
}

static void an_idle_spare_is_stopped(void)
{
    pid_t spare, now[MANY];
    until_spares(server(), 1, &spare);
    stop(spare);
    ramet_process *p = start("say");
    CHECK(ramet_process_pid(p) != spare && said() != spare);
    CHECK(join(p) == 7);
    until_spares(server(), 2, now); /* a stopped one is not dead, but it is of no use */
    CHECK(kill(spare, SIGCONT) == 0);
    for (bool used = false; !used;) { /* and then it is again */
        p = start("say");
        used = said() == spare;
        CHECK(join(p) == 7);
    }
}

/* A Ctrl-C of long ago, which it slept through. */
static void an_idle_spare_is_sent_signals(void)
{
    pid_t spare;
    until_spares(server(), 1, &spare);
    CHECK(kill(spare, SIGINT) == 0);
    ramet_process *p = start("say");
    CHECK(said() == spare);
    CHECK(join(p) == 7);
}

/* As it is in the server from its start on. */
static void ends_are_told_with_sigchld_ignored(void)
{
    end_server(0);
    CHECK(signal(SIGCHLD, SIG_IGN) == SIG_DFL);
    fresh_server(1);
    CHECK(join(start("ignores")) == 1);
    CHECK(join(start("ignores")) == 1);
    CHECK(signal(SIGCHLD, SIG_DFL) == SIG_IGN);
    end_server(0);
    fresh_server(1);
    CHECK(join(start("ignores")) == 0);
}

static void the_server_is_stopped(void)
{
    pid_t spare, parent = server();
    until_spares(parent, 1, &spare);
    stop(parent);
    ramet_process *p = start("say");
    CHECK(said() == spare);
    CHECK(kill(parent, SIGCONT) == 0);
    CHECK(join(p) == 7);
}

static void the_server_is_killed(void)
{
    pid_t spare;
    until_spares(server(), 1, &spare);
    ramet_process *child = start("sleep");
    pid_t pid = said();
    end_server(pid);
    CHECK(alive(pid)); /* children that have begun go on */
    ramet_process *p = start("say");
    CHECK(said() == ramet_process_pid(p));
    CHECK(join(p) == 7);
    OK(ramet_process_kill(child));
    CHECK(join(child) == 255);
    /* Both at once, the start being under way. */
    for (int i = 0; i < 10; i++) {
        int r = ramet_forkserver_start(NULL); /* unless a spare that outlived it took the last */
        CHECK(r == 0 || r == -EALREADY);
        pid_t old = server();
        CHECK(kill(old, SIGKILL) == 0);
        p = start("say");
        CHECK(said() == ramet_process_pid(p));
        int code = join(p);
        CHECK(code == 7 || code == 255);
        gone(old);
    }
    int r = ramet_forkserver_start(NULL);
    CHECK(r == 0 || r == -EALREADY);
}

/* A server that has more, or less, is given up. */
static void limits_are_the_parents(void)
{
    struct rlimit before, now;
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    now = before;
    for (int soft = 60; soft < 64; soft++) {
        now.rlim_cur = (rlim_t)soft;
        CHECK(setrlimit(RLIMIT_NOFILE, &now) == 0);
        CHECK(join(start("limit")) == soft);
        CHECK(join(start("limit")) == soft);
    }
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
}

/* Nobody sends it anything any more, but its children run, and somebody waits for them. */
static void a_server_that_was_given_up_tells_the_ends(void)
{
    struct rlimit before, now;
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    now = before;
    now.rlim_cur = 65;
    ramet_process *p = start("sleep");
    pid_t child = said(), parent = server();
    CHECK(setrlimit(RLIMIT_NOFILE, &now) == 0);
    CHECK(join(start("limit")) == 65);
    CHECK(alive(parent) && alive(child));
    OK(ramet_process_kill(p));
    CHECK(join(p) == -SIGKILL);
    gone(parent);
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
}

static void groups_are_the_parents(void)
{
    gid_t before[NGROUPS_MAX];
    int count = getgroups(NGROUPS_MAX, before);
    const gid_t some[] = {1, 2, 3};
    if (count < 0 || setgroups(3, some) < 0)
        return; /* not root */
    CHECK(join(start("groups")) == 3);
    CHECK(setgroups(2, some) == 0);
    CHECK(join(start("groups")) == 2);
    CHECK(setgroups((size_t)count, before) == 0);
}

/* For good: a process of its own, which has its parent's server until then. */
static void drop_bound(void *unused)
{
    (void)unused;
    if (prctl(PR_CAPBSET_READ, SOME_CAPABILITY, 0, 0, 0) != 1)
        return;
    CHECK(join(start("bounds")) == 1);
    if (prctl(PR_CAPBSET_DROP, SOME_CAPABILITY, 0, 0, 0) == 0) /* root may */
        CHECK(join(start("bounds")) == 0);
}

static void capabilities_are_the_parents(void)
{
    CHECK(finish(child(drop_bound, NULL)) == 0);
}

static void processors_are_the_parents(void)
{
    cpu_set_t all, one;
    CHECK(sched_getaffinity(0, sizeof all, &all) == 0);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++) {
        if (CPU_ISSET(i, &all))
            CPU_SET(i, &one);
    }
    pid_t same = server();
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    CHECK(join(start("processors")) == 1);
    CHECK(sched_setaffinity(0, sizeof all, &all) == 0);
    CHECK(join(start("processors")) == CPU_COUNT(&all));
    CHECK(server() == same); /* a request carries them */
    CHECK(join(start("policy")) == syscall(SYS_sched_getscheduler, 0));
}

static void any_number_of_spares(void)
{
    static const unsigned numbers[] = {0, 3};
    for (int k = 0; k < 2; k++) {
        ramet_process *p[10];
        end_server(0);
        fresh_server(numbers[k]);
        for (int i = 0; i < 10; i++)
            p[i] = start("say");
        for (int i = 0; i < 10; i++)
            CHECK(join(p[i]) == 7);
        CHECK(ramet_queue_size(ran) == 10);
        for (int i = 0; i < 10; i++) {
            ramet_item item;
            OK(ramet_queue_get(ran, NULL, &item));
            ramet_item_release(&item);
        }
    }
}

int main(int argc, char **argv)
{
    OK(ramet_enter(argc, argv, tasks, sizeof tasks / sizeof tasks[0]));
    watchdog();
    CHECK(pthread_atfork(before_fork, NULL, NULL) == 0);
    for (int fd = 3; fd < 1024; fd++) /* what the test was started with is nobody's business */
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    OK(ramet_queue_create(NULL, &ran));
    ran_ref = ramet_queue_ref(ran);
    RUN(bad_options);
    RUN(a_start_is_given_to_a_spare);
    RUN(a_spare_is_no_member);
    RUN(a_spare_is_nobodys_child);
    RUN(what_a_child_has);
    RUN(an_idle_spare_is_killed);
    RUN(an_idle_spare_is_stopped);
    RUN(an_idle_spare_is_sent_signals);
    RUN(ends_are_told_with_sigchld_ignored);
    RUN(the_server_is_stopped);
    RUN(the_server_is_killed);
    RUN(processors_are_the_parents);
    RUN(limits_are_the_parents);
    RUN(a_server_that_was_given_up_tells_the_ends);
    RUN(groups_are_the_parents);
    RUN(capabilities_are_the_parents);
    RUN(any_number_of_spares);
    ramet_queue_close(ran);
    return 0;
}
