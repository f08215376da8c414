/* SPDX-License-Identifier: MIT
 *
 * fault_process.c: starting a child by fork, by spawn and by the fork server, and waiting for it,
 * while each call fails in turn: in the parent, in the child, and in the server.
 */
#include "fault_calls.h"
#include "fault_run.h"
#include "process/start.h"

#include <pthread.h>
#include <ramet/ramet.h>
#include <sched.h>

int __real_sched_setaffinity(pid_t pid, size_t size, const cpu_set_t *cpus);

/* What no call gives: the child could not begin (exit code 120), so that it is as if it had failed.
 */
#define NOT_BEGUN (-EPERM)
#define SERVER_GONE (-EPIPE) /* which a start gives, or exit code 255 stands for */

static ramet_event *ran;
static ramet_ref ran_ref;

static int task(const void *arg, size_t size)
{
    ramet_ref ref;
    ramet_event *event;
    if (size != sizeof ref)
        return 1;
    memcpy(&ref, arg, sizeof ref);
    fault_disarm(); /* what a task does is its own business */
    if (ramet_event_open(&ref, &event) < 0)
        return 2;
    OK(ramet_event_set(event));
    ramet_event_close(event);
    return 0;
}

static int stay(const void *arg, size_t size)
{
    task(arg, size);
    while (pause() < 0)
        ;
    return 0;
}

static const ramet_task tasks[] = {{"task", task}, {"stay", stay}};

static void die(void *unused)
{
    (void)unused;
    OK(ramet_join());
    raise(SIGKILL);
}

static void prepare(void)
{
    OK(ramet_join());
    CHECK(finish(child(die, NULL)) == -SIGKILL);
    CHECK(ramet_sweep() == 1); /* now there is a cache of pidfds, once and for all */
    OK(ramet_event_create(NULL, &ran));
    ran_ref = ramet_event_ref(ran);
}

/* As a member that has started others before: its fork server is there. */
static int start(enum ramet_start_method method, int daemon);
static void prepare_with_server(void)
{
    prepare();
    OK(start(RAMET_FORKSERVER, 0));
}

static int start(enum ramet_start_method method, int daemon)
{
    const ramet_process_options options = {
        .size = sizeof options,
        .method = method,
        .task = "task",
        .arg = &ran_ref,
        .arg_size = sizeof ran_ref,
        .refs = &ran_ref,
        .ref_count = 1,
        .daemon = daemon,
    };
    ramet_process *process;
    int code;
    OK(ramet_event_clear(ran));
    int r = ramet_process_start(&options, &process);
    if (r < 0)
        return r;
    while ((r = ramet_process_join(process, NULL, &code)) == -ENOMEM)
        ; /* of poll: it can be called again */
    OK(r);
    OK(ramet_process_close(process));
    if (code == 120)
        return NOT_BEGUN;
    if (code == 255)
        return SERVER_GONE;
    CHECK(code == 0 && ramet_event_is_set(ran) == 1);
    return 0;
}

/* Each start is a fork of the server's, then. */
static int start_without_spares(int daemon)
{
    const ramet_forkserver_options none = {.size = sizeof none, .spares = 0};
    int r = ramet_forkserver_start(&none);
    return r < 0 && r != -EALREADY ? r : start(RAMET_FORKSERVER, daemon);
}

/* By a member that is bound to one processor since its server was started. */
static int start_bound(void)
{
    cpu_set_t all, one;
    int r = ramet_forkserver_start(NULL);
    if (r < 0 && r != -EALREADY)
        return r;
    CHECK(sched_getaffinity(0, sizeof all, &all) == 0);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++) {
        if (CPU_ISSET(i, &all))
            CPU_SET(i, &one);
    }
    CHECK(__real_sched_setaffinity(0, sizeof one, &one) == 0);
    r = start(RAMET_FORKSERVER, 0);
    CHECK(__real_sched_setaffinity(0, sizeof all, &all) == 0);
    return r;
}

static const ramet_wait now = {.size = sizeof now, .deadline = 0};

/* A child that has been started ends only by being killed; one that has not must not be there. */
static int start_to_stay(enum ramet_start_method method)
{
    const ramet_process_options options = {
        .size = sizeof options,
        .method = method,
        .task = "stay",
        .arg = &ran_ref,
        .arg_size = sizeof ran_ref,
        .refs = &ran_ref,
        .ref_count = 1,
    };
    ramet_process *process;
    OK(ramet_event_clear(ran));
    int r = ramet_process_start(&options, &process);
    if (r < 0)
        return r;
    const ramet_wait soon = ramet_within(1000000);
    while (ramet_event_wait(ran, &soon) < 0 && ramet_process_join(process, &now, NULL) < 0)
        ; /* it begins, or cannot */
    OK(ramet_process_kill(process));
    while ((r = ramet_process_join(process, NULL, NULL)) == -ENOMEM)
        ;
    OK(r);
    OK(ramet_process_close(process));
    return 0;
}

static int stay_by_fork(void)
{
    return start_to_stay(RAMET_FORK);
}
static int stay_by_spawn(void)
{
    return start_to_stay(RAMET_SPAWN);
}
static int stay_by_server(void)
{
    return start_to_stay(RAMET_FORKSERVER);
}

#define START(name, method, daemon)                                                                \
    static int name(void)                                                                          \
    {                                                                                              \
        return start(method, daemon);                                                              \
    }
START(by_fork, RAMET_FORK, 0)
START(by_spawn, RAMET_SPAWN, 0)
START(by_server, RAMET_FORKSERVER, 0)
START(daemon_by_fork, RAMET_FORK, 1)
START(daemon_by_server, RAMET_FORKSERVER, 1)

static int by_forks(void)
{
    return start_without_spares(0);
}
static int daemon_by_forks(void)
{
    return start_without_spares(1);
}

static const struct operation operations[] = {
    {"fork", prepare, by_fork, NULL, {NOT_BEGUN}, NULL},
    {"spawn", prepare, by_spawn, NULL, {0}, NULL},
    {"forkserver", prepare, by_server, NULL, {0}, NULL},
    {"forkserver that is there", prepare_with_server, by_server, NULL, {0}, NULL},
    {"forkserver without spares", prepare, by_forks, NULL, {0}, NULL},
    {"fork of a child that stays", prepare, stay_by_fork, NULL, {0}, NULL},
    {"spawn of a child that stays", prepare, stay_by_spawn, NULL, {0}, NULL},
    {"forkserver, a child that stays", prepare_with_server, stay_by_server, NULL, {0}, NULL},
    {"fork: the child", prepare, by_fork, NULL, {NOT_BEGUN}, "forked"},
    {"fork: a daemonic child", prepare, daemon_by_fork, NULL, {NOT_BEGUN}, "forked"},
    {"spawn: the child", prepare, by_spawn, NULL, {NOT_BEGUN}, "spawned"},
    {"forkserver: the server", prepare, by_server, NULL, {NOT_BEGUN, SERVER_GONE}, "server"},
    {"forkserver: the child", prepare, by_server, NULL, {NOT_BEGUN}, "served"},
    {"forkserver: the child, bound", prepare, start_bound, NULL, {NOT_BEGUN}, "served"},
    {"no spares: the server", prepare, by_forks, NULL, {NOT_BEGUN, SERVER_GONE}, "server"},
    {"no spares: the child", prepare, by_forks, NULL, {NOT_BEGUN}, "served"},
    {"no spares: a daemonic child", prepare, daemon_by_forks, NULL, {NOT_BEGUN}, "served"},
    {"forkserver: a daemonic child", prepare, daemon_by_server, NULL, {NOT_BEGUN}, "served"},
};

static const char *children_are = "forked";

static void in_child(void)
{
    fault_start(children_are);
}

/* Of the server: its first child only. */
static void in_server(void)
{
    if (strcmp(children_are, "served") == 0)
        fault_no_more();
}

int main(int argc, char **argv)
{
    CHECK(pthread_atfork(NULL, in_server, in_child) == 0);
    if (argc == 4 && strcmp(argv[1], RMT_CHILD_FLAG) == 0)
        fault_start("spawned");
    if (argc == 4 && strcmp(argv[1], RMT_SERVER_FLAG) == 0) {
        children_are = "served";
        fault_start("server");
    }
    OK(ramet_enter(argc, argv, tasks, sizeof tasks / sizeof *tasks));
    FAIL_EACH_CALL(operations);
    return 0;
}
