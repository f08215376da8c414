/* SPDX-License-Identifier: MIT
 *
 * kill_spare.c: a death, or a stop, at each atomic operation and at each step between system calls
 * of a start by the fork server: of the server, of its first spare, of a child that it forks
 * because no spare is there, and of the client.  Meanwhile another process starts by the same
 * server.  Each task runs exactly once, or its starter is told that the child was killed, or the
 * starter is the dead one and it runs at most once; and nothing is left behind.
 */
#include "kill.h"
#include <ramet/arena.h>
#include <ramet/process.h>

#include "process/start.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#define STARTS 4 /* of which the peer makes the odd ones */
#define NO_CODE (-1000)
#define CODE 7
#define CODE_UNTOLD 255 /* the server was killed before it could tell */

enum who { NOBODY, SERVER, SPARE, CHILD, CLIENT };

static struct control { /* shared by all, outside the arena */
    atomic_int who, signal;
    atomic_ullong nth;
    atomic_int taken;   /* somebody is to die; nobody else */
    atomic_int reached; /* he did */
    atomic_int stopped; /* his pid, if he was to be stopped */
    atomic_int runs[STARTS];
    atomic_int code[STARTS];
} *control;

#define CONTROL_FD "RAMET_TEST_CONTROL"

/* ---- the victim */

static unsigned long long left;
static bool was_load;

/* A server's joining is like anybody's, and long: its own first step is where it begins. */
static bool before_first_step;

static void count(enum rmt_hook_kind kind, const volatile void *word)
{
    before_first_step &= kind != RMT_HOOK_STEP;
    if (before_first_step)
        return;
    (void)word;
    bool load = kind == RMT_HOOK_LOAD;
    bool again = load && was_load; /* nothing has changed since the last: the same point */
    was_load = load;
    if (again)
        return;
    if (--left > 0)
        return;
    rmt_hook = NULL;
    atomic_store(&control->reached, 1);
    if (atomic_load(&control->signal) == SIGSTOP)
        atomic_store(&control->stopped, getpid());
    raise(atomic_load(&control->signal));
}

static void arm_if(enum who who)
{
    rmt_hook = NULL;
    if ((enum who)atomic_load(&control->who) != who || atomic_exchange(&control->taken, 1))
        return;
    left = atomic_load(&control->nth);
    was_load = false;
    before_first_step = who == SERVER && !getenv("RAMET_LONG");
    rmt_hook = count;
}

/* ---- the program as the server, and its children */

static bool is_server;

static void in_child(void)
{
    if (is_server) {
        is_server = false;
        arm_if((enum who)atomic_load(&control->who) == CHILD ? CHILD : SPARE);
    }
}

static void map_control(int fd)
{
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(control != MAP_FAILED);
}

static void be_server(void)
{
    const char *fd = getenv(CONTROL_FD);
    CHECK(fd);
    map_control(atoi(fd));
    is_server = true;
    arm_if(SERVER);
}

static int task(const void *arg, size_t size)
{
    int id;
    CHECK(size == sizeof id);
    memcpy(&id, arg, size);
    atomic_fetch_add(&control->runs[id], 1);
    return CODE;
}

static const ramet_task tasks[] = {{"task", task}};

/* ---- the clients */

static void start_and_join(int id)
{
    const ramet_process_options o = {.size = sizeof o,
                                     .method = RAMET_FORKSERVER,
                                     .task = "task",
                                     .arg = &id,
                                     .arg_size = sizeof id};
    ramet_process *p;
    int code;
    OK(ramet_process_start(&o, &p));
    OK(ramet_process_join(p, NULL, &code));
    atomic_store(&control->code[id], code);
    OK(ramet_process_close(p));
}

static void start_some(int from)
{
    for (int id = from; id < STARTS; id += 2)
        start_and_join(id);
}

static void client(void *spares)
{
    const ramet_forkserver_options o = {.size = sizeof o, .spares = *(const unsigned *)spares};
    OK(ramet_forkserver_start(&o));
    pid_t peer = fork();
    CHECK(peer >= 0);
    if (peer == 0) {
        watchdog();
        start_some(1);
        _exit(0);
    }
    arm_if(CLIENT);
    start_some(0);
    rmt_hook = NULL;
    CHECK(finish(peer) == 0);
}

/* ---- the test */

static bool is_stopped(pid_t pid)
{
    char path[64], text[512] = {0};
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && read(fd, text, sizeof text - 1) > 0 && strrchr(text, ')'));
    close(fd);
    return strncmp(strrchr(text, ')'), ") T", 3) == 0;
}

/* Until every descendant is gone: they come to this process when their parents end.  The exit code
 * of `first`. */
static int wait_for_all(pid_t first)
{
    int status, code = NO_CODE;
    for (;;) {
        pid_t stopped = atomic_load(&control->stopped);
        if (stopped != 0 && is_stopped(stopped)) {
            atomic_store(&control->stopped, 0);
            usleep(2000); /* so that others meet him so */
            CHECK(kill(stopped, SIGCONT) == 0);
        }
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid < 0)
            break;
        if (pid == 0) {
            usleep(200);
            continue;
        }
        ramet_reap(pid);
        if (pid == first)
            code = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
    }
    CHECK(errno == ECHILD);
    return code;
}

static void verify_start(int id, enum who who, int signal)
{
    int runs = atomic_load(&control->runs[id]), code = atomic_load(&control->code[id]);
    bool killed = signal == SIGKILL;
    bool right = code == CODE          ? runs == 1
                 : code == CODE_UNTOLD ? runs == 1 && killed && who == SERVER
                 : code == -SIGKILL
                     ? runs <= 1 && killed && (who == SPARE || who == CHILD)
                     : code == NO_CODE && runs <= 1 && killed && who == CLIENT && id % 2 == 0;
    if (!right) {
        fprintf(stderr, "point %llu: start %d: ran %d times, exit code %d\n",
                atomic_load(&control->nth), id, runs, code);
        CHECK(!"exactly once, or reported");
    }
}

static uint64_t blocks(void)
{
    ramet_usage u = {.size = sizeof u};
    OK(ramet_sweep());
    OK(ramet_arena_usage(&u));
    return u.blocks;
}

/* True if nobody was at the point any more. */
static bool one(enum who who, int signal, unsigned spares, unsigned long long nth)
{
    memset(control, 0, sizeof *control);
    atomic_store(&control->who, (int)who);
    atomic_store(&control->signal, signal);
    atomic_store(&control->nth, nth);
    for (int id = 0; id < STARTS; id++)
        atomic_store(&control->code[id], NO_CODE);
    uint64_t before = blocks();
    int code = wait_for_all(child(client, &spares));
    CHECK(code == 0 || (code == -SIGKILL && who == CLIENT && signal == SIGKILL));
    for (int id = 0; id < STARTS; id++)
        verify_start(id, who, signal);
    OK(ramet_arena_check(2));
    CHECK(blocks() <= before);
    return !atomic_load(&control->reached);
}

/* With AddressSanitizer a process costs so much that the short form goes in strides, and so does
 * what is only stopped. */
static unsigned stride(int signal)
{
    if (getenv("RAMET_LONG"))
        return 1;
#if defined(__SANITIZE_ADDRESS__)
    return signal == SIGSTOP ? 31 : 7;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
    return signal == SIGSTOP ? 31 : 7;
#endif
#endif
    return signal == SIGSTOP ? 7 : 1;
}

static void each_point(const char *name, enum who who, int signal, unsigned spares)
{
    unsigned long long n = 1;
    alarm(600);
    (void)one(NOBODY, signal, spares, 1); /* what a first use allocates for good */
    while (!one(who, signal, spares, n)) {
        alarm(600); /* a hang at one point; not a limit for all of them */
        n += stride(signal);
    }
    printf("%-24s %s at points up to %llu, each task run once or reported\n", name,
           signal == SIGKILL ? "killed" : "stopped", n - 1);
    fflush(stdout);
    CHECK(n > 1);
}

int main(int argc, char **argv)
{
    CHECK(pthread_atfork(NULL, NULL, in_child) == 0);
    if (argc == 4 && strcmp(argv[1], RMT_SERVER_FLAG) == 0)
        be_server();
    OK(ramet_enter(argc, argv, tasks, sizeof tasks / sizeof tasks[0]));
    char text[16];
    int fd = memfd_create("control", 0);
    CHECK(fd >= 0 && ftruncate(fd, sizeof *control) == 0);
    snprintf(text, sizeof text, "%d", fd);
    CHECK(setenv(CONTROL_FD, text, 1) == 0);
    map_control(fd);
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    OK(ramet_join());
    static const int signals[] = {SIGKILL, SIGSTOP};
    for (int i = 0; i < 2; i++) {
        each_point("a spare", SPARE, signals[i], 1);
        each_point("a child without spares", CHILD, signals[i], 0);
        each_point("the server", SERVER, signals[i], 1);
        each_point("the server, no spares", SERVER, signals[i], 0);
        each_point("the client", CLIENT, signals[i], 1);
        each_point("the client, no spares", CLIENT, signals[i], 0);
    }
    return 0;
}
