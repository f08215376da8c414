/* SPDX-License-Identifier: MIT
 *
 * task.c: the task table, and requests: built by the parent, run by the child.
 */
#include "process/task.h"
#include "base/nocancel.h"
#include "base/os.h"
#include "channel/message.h"
#include "process/start.h"
#include <ramet/arena.h>

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

const ramet_task *rmt_tasks;
size_t rmt_task_count;
char **rmt_argv;

const ramet_task *rmt_task_find(const char *name)
{
    for (size_t i = 0; name && i < rmt_task_count; i++) {
        if (strcmp(rmt_tasks[i].name, name) == 0)
            return &rmt_tasks[i];
    }
    return NULL;
}

void rmt_ref_format(const ramet_ref *ref, char text[RMT_REF_TEXT])
{
    snprintf(text, RMT_REF_TEXT, "%016llx.%llx.%x.%x", (unsigned long long)ref->arena,
             (unsigned long long)ref->offset, ref->kind, ref->generation);
}

int rmt_ref_parse(const char *text, ramet_ref *ret_ref)
{
    unsigned long long arena, offset;
    unsigned kind, generation;
    int end = 0;
    if (sscanf(text, "%llx.%llx.%x.%x%n", &arena, &offset, &kind, &generation, &end) != 4 ||
        text[end] != 0)
        return -EINVAL;
    *ret_ref = (ramet_ref){arena, offset, kind, generation};
    return 0;
}

/* ---- the parent's side */

static uint64_t blocked_signals(void)
{
    sigset_t set;
    uint64_t mask = 0;
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    for (int s = 1; s <= 64; s++) {
        if (sigismember(&set, s) == 1)
            mask |= 1ull << (s - 1);
    }
    return mask;
}

/* All strings of the environment, each with its 0. */
static int pack_environment(char **ret_text, size_t *ret_size)
{
    size_t size = 0;
    for (char **e = environ; e && *e; e++)
        size += strlen(*e) + 1;
    char *text = malloc(size + 1);
    if (!text)
        return -ENOMEM;
    char *to = text;
    for (char **e = environ; e && *e && to < text + size; e++)
        to = stpcpy(to, *e) + 1;
    *ret_text = text;
    *ret_size = (size_t)(to - text);
    return 0;
}

static int open_refs(struct rmt_self *self, const ramet_process_options *o,
                     struct rmt_handle *handles, uint64_t *offsets)
{
    for (size_t i = 0; i < o->ref_count; i++) {
        int r = rmt_handle_open(self, &o->refs[i], RAMET_KIND_NONE, &handles[i]);
        if (r < 0) {
            while (i-- > 0)
                rmt_handle_close(self, &handles[i]);
            return r;
        }
        offsets[i] = handles[i].offset;
    }
    return 0;
}

static int build(struct rmt_self *self, const ramet_process_options *o, const uint64_t *offsets,
                 struct rmt_handle *ret_handle)
{
    struct rmt_request request = {
        .size = sizeof request,
        .name_size = strlen(o->task) + 1,
        .arg_size = o->arg_size,
        .parent = getpid(),
        .parent_alive = rmt_os_ticks(),
        .daemon = o->daemon != 0,
        .pdeathsig = gettid() == getpid() && o->method != RAMET_FORKSERVER,
        .signal_mask = blocked_signals(),
        .asker = self->word,
    };
    cpu_set_t cpus;
    _Static_assert(sizeof cpus == sizeof request.affinity, "");
    if (o->method == RAMET_FORKSERVER && sched_getaffinity(0, sizeof cpus, &cpus) == 0) {
        memcpy(request.affinity, &cpus, sizeof cpus);
        request.affinity_size = sizeof cpus;
    }
    char *environment = NULL;
    size_t environment_size = 0;
    int r = o->method == RAMET_FORKSERVER ? pack_environment(&environment, &environment_size) : 0;
    if (r < 0)
        return r;
    request.environment_size = environment_size;
    const struct iovec parts[] = {
        {&request, sizeof request},
        {(void *)(uintptr_t)o->task, request.name_size},
        {(void *)(uintptr_t)o->arg, o->arg_size},
        {environment, environment_size},
    };
    int hold;
    uint64_t offset;
    r = rmt_message_build(self, parts, 4, offsets, o->ref_count, &hold, &offset);
    free(environment);
    if (r < 0)
        return r;
    r = rmt_handle_create(self, hold, ret_handle);
    if (r < 0)
        rmt_block_free(self, hold);
    return r;
}

int rmt_request_make(struct rmt_self *self, const ramet_process_options *o,
                     struct rmt_handle *ret_handle)
{
    struct rmt_handle *handles = calloc(o->ref_count + 1, sizeof *handles);
    uint64_t *offsets = calloc(o->ref_count + 1, sizeof *offsets);
    int r = handles && offsets ? open_refs(self, o, handles, offsets) : -ENOMEM;
    if (r == 0) {
        r = build(self, o, offsets, ret_handle);
        for (size_t i = 0; i < o->ref_count; i++) /* the message has counts of its own now */
            rmt_handle_close(self, &handles[i]);
    }
    free(handles);
    free(offsets);
    return r;
}

/* ---- the child's side */

/* The parent's environment in the place of this process's, whose strings stay: somebody may have
 * kept pointers to them. */
static int set_environment(const char *text, size_t size)
{
    size_t count = 0;
    for (const char *at = text; at < text + size; at += strnlen(at, size) + 1)
        count++;
    char **list = malloc((count + 1) * sizeof *list + size + 1);
    if (!list)
        return -ENOMEM;
    char *copy = (char *)(list + count + 1);
    memcpy(copy, text, size);
    copy[size] = 0;
    size_t n = 0;
    for (char *at = copy; at < copy + size; at += strlen(at) + 1) {
        if (strchr(at, '='))
            list[n++] = at;
    }
    list[n] = NULL;
    environ = list; /* it stays: it is the environment from now on */
    return 0;
}

static int restore_affinity(const struct rmt_request *request)
{
    cpu_set_t now, cpus;
    if (request->affinity_size != sizeof cpus)
        return 0;
    memcpy(&cpus, request->affinity, sizeof cpus);
    if (sched_getaffinity(0, sizeof now, &now) == 0 && CPU_EQUAL(&now, &cpus))
        return 0;
    return sched_setaffinity(0, sizeof cpus, &cpus) < 0 ? -errno : 0;
}

static int restore(const struct rmt_request *request, const char *environment)
{
    int r = restore_affinity(request);
    if (r < 0)
        return r;
    sigset_t set;
    sigemptyset(&set);
    for (int s = 1; s <= 64; s++) {
        if (request->signal_mask >> (s - 1) & 1)
            sigaddset(&set, s);
    }
    pthread_sigmask(SIG_SETMASK, &set, NULL);
    umask((mode_t)request->umask);
    return set_environment(environment, request->environment_size);
}

bool rmt_request_sound(const struct rmt_request *r, size_t size)
{
    if (size < sizeof *r || r->size != sizeof *r)
        return false;
    size -= sizeof *r;
    return r->name_size > 0 && r->name_size <= size && r->arg_size <= size - r->name_size &&
           r->environment_size == size - r->name_size - r->arg_size &&
           ((const char *)(r + 1))[r->name_size - 1] == 0;
}

int rmt_request_run(const ramet_ref *ref, uint32_t attempt)
{
    struct rmt_self *self;
    struct rmt_handle handle;
    const uint8_t *data;
    size_t size;
    int r = rmt_self(&self);
    if (r == 0)
        r = rmt_handle_open(self, ref, RAMET_KIND_MESSAGE, &handle);
    if (r == 0)
        r = rmt_message_data(handle.offset, &data, &size);
    if (r < 0)
        return RMT_EXIT_LOST;
    const struct rmt_request *request = (const struct rmt_request *)(const void *)data;
    if (!rmt_request_sound(request, size))
        return RMT_EXIT_LOST;
    const char *name = (const char *)(request + 1);
    const char *arg = name + request->name_size;
    if (attempt != 0 && (rmt_request_allowed(self, &handle, attempt) < 0 ||
                         restore(request, arg + request->arg_size) < 0))
        return RMT_EXIT_LOST;
    if (request->daemon &&
        rmt_follow(request->parent, request->parent_alive, request->pdeathsig != 0) < 0)
        return RMT_EXIT_LOST;
    const ramet_task *task = rmt_task_find(name);
    if (!task) {
        RMT_NO_CANCEL;
        fprintf(stderr, "ramet: no task \"%s\" in the table of this program\n", name);
        return RMT_EXIT_LOST;
    }
    void *copy = malloc(request->arg_size + 1); /* aligned for any type, and the task's own */
    if (!copy)
        return RMT_EXIT_LOST;
    memcpy(copy, arg, request->arg_size);
    int code = task->run(copy, request->arg_size);
    free(copy);
    rmt_handle_close(self, &handle);
    return code;
}

#define WARM_HEAP 32768

void rmt_request_warm(void)
{
    char *environment;
    size_t size;
    if (pack_environment(&environment, &size) == 0)
        free(environment);
    (void)blocked_signals();
    char *heap = malloc(WARM_HEAP);
    if (heap)
        explicit_bzero(heap, WARM_HEAP); /* which no compiler leaves out */
    free(heap);
}

_Noreturn void rmt_child_exit(int code)
{
    RMT_NO_CANCEL;
    fflush(NULL);
    _exit(code & 255);
}

static void drop(int fd)
{
    RMT_NO_CANCEL;
    close(fd);
}

int ramet_enter(int argc, char **argv, const ramet_task *tasks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!tasks[i].name || !tasks[i].run || strlen(tasks[i].name) > 63)
            return -EINVAL;
    }
    rmt_tasks = tasks;
    rmt_task_count = count;
    rmt_argv = argv;
    if (argc == 4 && strcmp(argv[1], RMT_CHILD_FLAG) == 0) {
        int fd = atoi(argv[2]);
        ramet_ref ref;
        int r = rmt_ref_parse(argv[3], &ref);
        if (r == 0)
            r = ramet_attach(fd);
        drop(fd);
        rmt_child_exit(r < 0 ? RMT_EXIT_LOST : rmt_request_run(&ref, 0));
    }
    if (argc == 4 && strcmp(argv[1], RMT_SERVER_FLAG) == 0) {
        int fd = atoi(argv[2]), socket;
        unsigned spares;
        if (sscanf(argv[3], "%d:%u", &socket, &spares) != 2 || ramet_attach(fd) < 0)
            rmt_child_exit(RMT_EXIT_LOST);
        drop(fd);
        rmt_server_run(socket, spares);
    }
    return 0;
}
