/* SPDX-License-Identifier: MIT
 *
 * 15_meet.c: two programs that have nothing to do with each other meet in one arena.
 *
 *     15_meet host PATH       makes an arena and a queue, and lets one guest in
 *     15_meet guest PATH      joins it, and puts greetings
 *     15_meet                 starts both, in a temporary folder
 *
 * An arena has no name; who has its descriptor may join.  So the host passes it over a Unix socket
 * at PATH, whose permissions say who may come, and with it the reference of the queue.  (They must
 * live in one pid namespace: members know each other by their process ids.)  From then on they are
 * members like any others: if one of them dies, the other goes on.
 */
#include "example.h"

#include <errno.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define GREETINGS 1000

extern char **environ;

static _Noreturn void fail(const char *what)
{
    perror(what);
    exit(1);
}

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        fail(path);
    }
    memcpy(address.sun_path, path, strlen(path));
    return address;
}

/* One message on the socket: the reference, and beside it the descriptor. */
union control {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
};

static void pass(int s, ramet_ref ref, int fd)
{
    union control control = {0};
    struct iovec part = {&ref, sizeof ref};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    if (sendmsg(s, &message, MSG_NOSIGNAL) != sizeof ref)
        fail("sendmsg");
}

static ramet_ref receive(int s, int *ret_fd)
{
    ramet_ref ref;
    union control control;
    struct iovec part = {&ref, sizeof ref};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    if (recvmsg(s, &message, MSG_CMSG_CLOEXEC) != sizeof ref)
        fail("recvmsg");
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    if (!c || c->cmsg_type != SCM_RIGHTS)
        fail("no descriptor came");
    memcpy(ret_fd, CMSG_DATA(c), sizeof *ret_fd);
    return ref;
}

static int host(const char *path)
{
    struct sockaddr_un address = address_of(path);
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, 1) < 0)
        fail(path);
    ramet_queue *queue;
    MUST(ramet_queue_create(NULL, &queue)); /* the first object makes the arena */
    int s = accept(listener, NULL, NULL);
    if (s < 0)
        fail("accept");
    pass(s, ramet_queue_ref(queue), ramet_arena_fd());
    close(listener);

    long greetings = 0;
    for (;;) {
        ramet_item item;
        MUST(ramet_queue_get(queue, NULL, &item));
        int last = item.size == 0;
        greetings += !last;
        ramet_item_release(&item);
        if (last)
            break;
    }
    printf("the host got %ld greetings\n", greetings);
    close(s);
    ramet_queue_close(queue);
    return greetings == GREETINGS ? 0 : 1;
}

static int guest(const char *path)
{
    struct sockaddr_un address = address_of(path);
    int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), fd;
    while (s >= 0 && connect(s, (struct sockaddr *)&address, sizeof address) < 0) {
        if (errno != ENOENT && errno != ECONNREFUSED)
            fail(path);
        usleep(1000); /* the host is not there yet */
    }
    ramet_ref ref = receive(s, &fd);
    MUST(ramet_attach(fd));
    close(fd); /* the library has one of its own */
    ramet_queue *queue;
    MUST(ramet_queue_open(&ref, &queue));
    for (int i = 0; i < GREETINGS; i++)
        MUST(ramet_queue_put(queue, "good day", 8, NULL));
    MUST(ramet_queue_put(queue, NULL, 0, NULL));
    ramet_queue_close(queue); /* what was put stays in the host's queue */
    close(s);
    return 0;
}

/* Starts this program in another role; it knows nothing of ramet itself. */
static pid_t run(const char *role, const char *path)
{
    pid_t pid;
    char name[] = "15_meet";
    char *argv[] = {name, strdup(role), strdup(path), NULL};
    if (!argv[1] || !argv[2] || posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ) != 0)
        fail("15_meet");
    free(argv[1]);
    free(argv[2]);
    return pid;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "host") == 0)
        return host(argv[2]);
    if (argc == 3 && strcmp(argv[1], "guest") == 0)
        return guest(argv[2]);
    char folder[] = "/tmp/ramet-meet-XXXXXX", path[sizeof folder + 8];
    if (!mkdtemp(folder))
        fail(folder);
    snprintf(path, sizeof path, "%s/socket", folder);
    pid_t pids[] = {run("guest", path), run("host", path)};
    int bad = 0, status;
    for (int i = 0; i < 2; i++)
        bad |= waitpid(pids[i], &status, 0) != pids[i] || status != 0;
    unlink(path);
    rmdir(folder);
    return bad;
}
