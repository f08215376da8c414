/* SPDX-License-Identifier: MIT
 *
 * view_busy.c: the test of 16_view: a busy family, looked at by the program that is the argument.
 * Two threads put and get, one holds a lock for which another one waits, and a pool works on a job;
 * the lines that the viewer prints of them must be there.
 */
#include "example.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static ramet_queue *queue, *filled;
static ramet_lock *lock;
static ramet_event *seen;

static void *work(void *unused)
{
    (void)unused;
    ramet_item item = {.size = sizeof(item)};
    for (;;) {
        MUST(ramet_queue_put(queue, "something", 9, NULL));
        int r = ramet_queue_get(queue, NULL, &item);
        if (r == 0)
            ramet_item_release(&item);
    }
    return NULL;
}

static void *hold(void *unused)
{
    (void)unused;
    MUST(ramet_lock_acquire(lock, NULL));
    MUST(ramet_event_wait(seen, NULL));
    return NULL;
}

static void *want(void *unused)
{
    (void)unused;
    while (ramet_lock_state(lock) != RAMET_LOCK_MY_PROCESS)
        usleep(1000);
    MUST(ramet_lock_acquire(lock, NULL));
    return NULL;
}

/* The last of the items waits for ever: until the pool is terminated. */
static int task(const void *in, void *out, const void *arg, size_t arg_size)
{
    (void)out;
    (void)arg;
    (void)arg_size;
    int number;
    memcpy(&number, in, sizeof(number));
    while (number == 3)
        pause();
    return 0;
}

static const ramet_pool_task pool_tasks[] = {{"task", task}};
static const ramet_task tasks[] = {RAMET_POOL_WORKER};

static void expect(const char *text, const char *line)
{
    if (strstr(text, line))
        return;
    fprintf(stderr, "missing: %s\nin:\n%s", line, text);
    exit(1);
}

/* What `viewer` prints of this process. */
static char *view(const char *viewer)
{
    static char text[1 << 16];
    char command[4096];
    snprintf(command, sizeof(command), "'%s' %d", viewer, (int)getpid());
    FILE *f = popen(command, "r");
    if (!f)
        exit(1);
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    text[n] = 0;
    int status = pclose(f);
    if (status != 0) {
        fprintf(stderr, "%s: status %d\n", command, status);
        exit(1);
    }
    return text;
}

static void check_lines(const char *text)
{
    char line[200];
    ramet_ref ref = ramet_lock_ref(lock);
    snprintf(line, sizeof(line), "lock      %8" PRIx64 "    1 waiting  held by %d/", ref.offset,
             (int)getpid());
    expect(text, line);
    snprintf(line, sizeof(line), " s at lock %" PRIx64 " for %d", ref.offset, (int)getpid());
    expect(text, line);
    ref = ramet_queue_ref(filled);
    snprintf(line, sizeof(line), "queue     %8" PRIx64 "    0 waiting  depth 5, 0 taken",
             ref.offset);
    expect(text, line);
    ref = ramet_queue_ref(queue);
    snprintf(line, sizeof(line), "queue     %8" PRIx64 " ", ref.offset);
    expect(text, line);
    expect(text, "  3 of 4 finished");
    expect(text, "  1 of 1 workers at work");
    expect(text, " 2 processes, ");
}

int main(int argc, char **argv)
{
    static const int items[4] = {0, 1, 2, 3};
    pthread_t thread, holder, waiter;
    ramet_pool *pool;
    ramet_job *job;
    ramet_pool_tasks(pool_tasks, 1);
    MUST(ramet_enter(argc, argv, tasks, 1));
    if (argc < 2)
        return 2;
    alarm(240);
    MUST(ramet_queue_create(NULL, &queue));
    MUST(ramet_queue_create(NULL, &filled));
    MUST(ramet_lock_create(NULL, &lock));
    MUST(ramet_event_create(NULL, &seen));
    for (int i = 0; i < 5; i++)
        MUST(ramet_queue_put(filled, "item", 4, NULL));
    MUST(ramet_pool_create(&(ramet_pool_options){.size = sizeof(ramet_pool_options),
                                                 .workers = 1,
                                                 .method = RAMET_FORK},
                           &pool));
    ramet_map_options one = {.size = sizeof(one), .chunk = 1};
    MUST(ramet_pool_map(pool, "task", items, sizeof(items[0]), 4, NULL, 0, &one, &job));
    if (pthread_create(&holder, NULL, hold, NULL) != 0 ||
        pthread_create(&waiter, NULL, want, NULL) != 0 ||
        pthread_create(&thread, NULL, work, NULL) != 0 ||
        pthread_create(&thread, NULL, work, NULL) != 0)
        return 1;
    /* When it has been on its way for a while: between two slices a waiter is awake, and a result
     * may not be published yet. */
    char *text;
    do {
        ramet_wait a_while = ramet_within(50000000);
        int r = ramet_job_wait(job, &a_while);
        if (r != -ETIMEDOUT && r != -EINTR)
            return 1;
        text = view(argv[1]);
    } while (!strstr(text, "  3 of 4 finished") || !strstr(text, " s at lock "));
    check_lines(text);
    MUST(ramet_event_set(seen));
    MUST(ramet_pool_terminate(pool));
    ramet_job_free(job);
    MUST(ramet_pool_free(pool));
    return 0;
}
