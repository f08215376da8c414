/* SPDX-License-Identifier: MIT
 *
 * bench_process.c: from the call that starts a process to its first instruction, by the fork
 * server with a spare ready, against fork and exec of /bin/true, with a small parent and with one
 * of 1 GB, and against the limit: a packet with as many descriptors to a process that sleeps for
 * it.
 */
#include "bench.h"
#include <ramet/process.h>
#include <ramet/queue.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define GIB (1ull << 30)
#define FDS 5 /* that a start sends */

/* Before each start, by whatever means: by then the next spare is there, and asleep. */
static void rest(void)
{
    usleep(2000);
}

static int first_instruction(const void *arg, size_t size)
{
    int64_t now = bench_now();
    ramet_queue *queue;
    if (size != sizeof(ramet_ref) || ramet_queue_open(arg, &queue) < 0)
        return 1;
    int r = ramet_queue_put(queue, &now, sizeof now, NULL);
    ramet_queue_close(queue);
    return r < 0;
}

static const ramet_task tasks[] = {{"first-instruction", first_instruction}};

static int64_t start_all(uint64_t count, enum ramet_start_method method)
{
    ramet_queue *queue;
    int64_t sum = 0;
    MUST(ramet_queue_create(NULL, &queue));
    ramet_ref ref = ramet_queue_ref(queue);
    ramet_process_options options = {.size = sizeof options,
                                     .method = method,
                                     .task = "first-instruction",
                                     .arg = &ref,
                                     .arg_size = sizeof ref};
    for (uint64_t i = 0; i <= count; i++) { /* the first also starts the server */
        ramet_process *process;
        ramet_item item;
        int code;
        rest();
        int64_t then, start = bench_now();
        MUST(ramet_process_start(&options, &process));
        MUST(ramet_queue_get(queue, NULL, &item));
        memcpy(&then, item.data, sizeof then);
        ramet_item_release(&item);
        sum += i > 0 ? then - start : 0;
        MUST(ramet_process_join(process, NULL, &code));
        MUST(ramet_process_close(process));
        if (code != 0)
            bench_fail(__FILE__, __LINE__, "the child");
    }
    ramet_queue_close(queue);
    return sum;
}

static int64_t forkserver(uint64_t count)
{
    return start_all(count, RAMET_FORKSERVER);
}

/* Until the exec has happened (its close-on-exec pipe ends), or until /bin/true has ended. */
static int64_t fork_exec(uint64_t count, int whole)
{
    int64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        int ends[2], status;
        char byte;
        MUST(pipe2(ends, O_CLOEXEC));
        rest();
        int64_t start = bench_now();
        pid_t pid = fork();
        MUST(pid);
        if (pid == 0) {
            execl("/bin/true", "true", (char *)NULL);
            _exit(1);
        }
        close(ends[1]);
        MUST(read(ends[0], &byte, 1));
        sum += whole ? 0 : bench_now() - start;
        MUST(waitpid(pid, &status, 0));
        sum += whole ? bench_now() - start : 0;
        close(ends[0]);
        if (status != 0)
            bench_fail(__FILE__, __LINE__, "/bin/true");
    }
    return sum;
}

static int64_t to_exec(uint64_t count)
{
    return fork_exec(count, 0);
}

static int64_t to_end(uint64_t count)
{
    return fork_exec(count, 1);
}

/* ---- the limit */

union control {
    char space[CMSG_SPACE(sizeof(int) * FDS)];
    struct cmsghdr align;
};

/* Says when it was woken, and closes what it was given. */
static _Noreturn void sleeper(int socket, int answer)
{
    for (;;) {
        char byte;
        union control control;
        struct iovec part = {&byte, 1};
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = &control,
                                 .msg_controllen = sizeof control};
        if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) <= 0)
            _exit(0);
        int64_t now = bench_now();
        int fds[FDS];
        memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fds);
        for (int i = 0; i < FDS; i++)
            close(fds[i]);
        if (write(answer, &now, sizeof now) != (ssize_t)sizeof now)
            _exit(1);
    }
}

static int64_t packet(uint64_t count)
{
    int pair[2], answer[2], status;
    int64_t sum = 0;
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
    MUST(pipe2(answer, O_CLOEXEC));
    pid_t pid = fork();
    MUST(pid);
    if (pid == 0) {
        close(pair[0]);
        sleeper(pair[1], answer[1]);
    }
    close(pair[1]);
    close(answer[1]);
    for (uint64_t i = 0; i < count; i++) {
        const int fds[FDS] = {0, 1, 2, 0, 1};
        union control control = {.space = {0}};
        char byte = 0;
        struct iovec part = {&byte, 1};
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = &control,
                                 .msg_controllen = sizeof control};
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fds);
        memcpy(CMSG_DATA(c), fds, sizeof fds);
        rest();
        int64_t then, start = bench_now();
        MUST(sendmsg(pair[0], &message, MSG_NOSIGNAL));
        if (read(answer[0], &then, sizeof then) != (ssize_t)sizeof then)
            bench_fail(__FILE__, __LINE__, "the sleeper");
        sum += then - start;
    }
    close(pair[0]);
    close(answer[0]);
    MUST(waitpid(pid, &status, 0));
    return sum;
}

/* ---- the same from a parent that has touched 1 GB.  The memory goes with each measurement, so
 * that the others of the round have a small parent. */

static int64_t large(int64_t (*run)(uint64_t), uint64_t count)
{
    char *memory = mmap(NULL, GIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return -1;
    for (uint64_t i = 0; i < GIB; i += 4096)
        memory[i] = 1;
    int64_t ns = run(count);
    MUST(munmap(memory, GIB));
    return ns;
}

static int64_t large_forkserver(uint64_t count)
{
    return large(forkserver, count);
}

static int64_t large_to_exec(uint64_t count)
{
    return large(to_exec, count);
}

static const struct bench_case cases[] = {
    {.name = "start to first instruction, forkserver",
     .count = 100,
     .subject = {{.name = "ramet", .run = forkserver},
                 {.name = "fork+exec of /bin/true", .most = 0.2, .run = to_exec},
                 {.name = "fork+exec+wait", .run = to_end},
                 {.name = "bare packet to a sleeper", .run = packet}}},
    {.name = "the same, parent of 1 GB",
     .count = 20,
     .subject = {{.name = "ramet", .run = large_forkserver},
                 {.name = "fork+exec of /bin/true", .most = 0.2, .run = large_to_exec},
                 {.name = "ramet, small parent", .run = forkserver}}},
};

int main(int argc, char **argv)
{
    MUST(ramet_enter(argc, argv, tasks, 1));
    return bench_main(argc, argv, cases, sizeof cases / sizeof *cases);
}
