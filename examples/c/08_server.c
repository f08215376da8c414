/* SPDX-License-Identifier: MIT
 *
 * 08_server.c: a server with one event loop goes on answering requests while a pool computes for
 * it.
 *
 *     08_server [fork|spawn|forkserver]
 *
 * The server listens on the loopback interface; its client is a child that sends small questions
 * until it is told to stop, and counts the answers.  The loop never waits for the pool: it asks
 * whether the job is done.
 */
#include "example.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define PARTS 8
#define LIMIT 400000

static int count_primes(const void *in, void *out, const void *arg, size_t arg_size)
{
    (void)arg;
    (void)arg_size;
    int first, count = 0;
    memcpy(&first, in, sizeof first);
    for (int n = first < 2 ? 2 : first; n < first + LIMIT / PARTS; n++) {
        int divisor = 2;
        while (divisor * divisor <= n && n % divisor != 0)
            divisor++;
        count += divisor * divisor > n;
    }
    memcpy(out, &count, sizeof count);
    return 0;
}

/* The client: asks '?' and expects '!', until it is answered with '.'.  Returns 0 if it had
 * answers. */
static int ask(const void *arg, size_t size)
{
    struct sockaddr_in address;
    if (size != sizeof address)
        return 1;
    memcpy(&address, arg, sizeof address);
    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (s < 0 || connect(s, (struct sockaddr *)&address, sizeof address) < 0)
        return 1;
    int answered = 0;
    char c;
    for (;;) {
        if (write(s, "?", 1) != 1 || read(s, &c, 1) != 1)
            return 1;
        if (c == '.')
            break;
        answered++;
    }
    printf("%s requests were answered during the computation\n", answered > 10 ? "many" : "few");
    return answered > 10 ? 0 : 1;
}

static const ramet_pool_task pool_tasks[] = {{"count_primes", count_primes}};
static const ramet_task tasks[] = {RAMET_POOL_WORKER, {"ask", ask}};

static int listen_on_loopback(struct sockaddr_in *ret_address)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s < 0 || bind(s, (struct sockaddr *)&address, sizeof address) < 0 || listen(s, 4) < 0 ||
        getsockname(s, (struct sockaddr *)&address, &length) < 0) {
        perror("listen");
        exit(1);
    }
    *ret_address = address;
    return s;
}

/* Answers the client until the job is done; the number of items that failed. */
static long serve(int client, ramet_job *job)
{
    static const ramet_wait now = {.size = sizeof now, .deadline = 0};
    for (;;) {
        long done = ramet_job_wait(job, &now);
        struct pollfd p = {.fd = client, .events = POLLIN};
        char c;
        if (poll(&p, 1, 1) == 1 && read(client, &c, 1) == 1 &&
            write(client, done == -ETIMEDOUT ? "!" : ".", 1) == 1 && done != -ETIMEDOUT)
            return MUST(done);
    }
}

int main(int argc, char **argv)
{
    ramet_pool_tasks(pool_tasks, 1);
    MUST(ramet_enter(argc, argv, tasks, 2));
    enum ramet_start_method method = method_of(argc, argv);
    ramet_pool_options options = {.size = sizeof options, .workers = 2, .method = method};
    ramet_pool *pool;
    MUST(ramet_pool_create(&options, &pool));

    struct sockaddr_in address;
    int listener = listen_on_loopback(&address);
    ramet_process_options client_options = {.size = sizeof client_options,
                                            .method = method,
                                            .task = "ask",
                                            .arg = &address,
                                            .arg_size = sizeof address,
                                            .daemon = 1};
    ramet_process *process;
    MUST(ramet_process_start(&client_options, &process));
    int client = accept(listener, NULL, NULL);

    int first[PARTS], count[PARTS], sum = 0;
    for (int i = 0; i < PARTS; i++)
        first[i] = i * (LIMIT / PARTS);
    ramet_job *job;
    MUST(ramet_pool_map(pool, "count_primes", first, sizeof(int), PARTS, count, sizeof(int), NULL,
                        &job));
    long failed = serve(client, job);
    ramet_job_free(job);
    for (int i = 0; i < PARTS; i++)
        sum += count[i];
    int code = join(process);
    printf("there are %d primes below %d\n", sum, LIMIT);
    close(client);
    close(listener);
    MUST(ramet_pool_free(pool));
    return failed == 0 && code == 0 && sum == 33860 ? 0 : 1;
}
