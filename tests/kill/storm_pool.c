/* SPDX-License-Identifier: MIT
 *
 * storm_pool.c: a pool beside the storm, whose workers are killed, too: each item of a job has its
 * result, or failed because its worker was killed at it; none is begun twice.
 */
#include "storm.h"

#include <ramet/pool.h>

enum { SPIN = 20000, PIDS = 256 };

uint64_t storm_pool_jobs, storm_pool_failed;

static ramet_pool *pool;
static ramet_job *job;
static uint64_t in[STORM_JOB_ITEMS], out[STORM_JOB_ITEMS];
static pid_t killed[PIDS]; /* during the present job */
static size_t killed_count;

static int twice(const void *in_item, void *out_item, const void *arg, size_t arg_size)
{
    (void)arg;
    (void)arg_size;
    uint64_t i = *(const uint64_t *)in_item;
    static int place = -1;
    for (int p = 0; p < STORM_POOL_WORKERS && place < 0; p++) {
        uint32_t none = 0;
        if (rmt_cas32(&storm_shared->pool_pid[p], &none, (uint32_t)getpid()))
            place = p;
    }
    atomic_fetch_add(&storm_shared->executed[i], 1);
    for (volatile int n = 0; n < SPIN; n++)
        ;
    *(uint64_t *)out_item = 2 * i + 1;
    return 0;
}

static const ramet_pool_task functions[] = {{"twice", twice}};
static const ramet_task tasks[] = {RAMET_POOL_WORKER};

void storm_pool_enter(int argc, char **argv)
{
    ramet_pool_tasks(functions, 1);
    OK(ramet_enter(argc, argv, tasks, 1));
    for (uint64_t i = 0; i < STORM_JOB_ITEMS; i++)
        in[i] = i;
}

void storm_pool_start(void)
{
    ramet_pool_options options = {
        .size = sizeof options, .workers = STORM_POOL_WORKERS, .method = RAMET_FORK};
    OK(ramet_pool_create(&options, &pool));
}

static void submit(void)
{
    memset(out, 0, sizeof out);
    for (int i = 0; i < STORM_JOB_ITEMS; i++)
        atomic_store(&storm_shared->executed[i], 0);
    killed_count = 0;
    OK(ramet_pool_map(pool, "twice", in, sizeof *in, STORM_JOB_ITEMS, out, sizeof *out, NULL,
                      &job));
}

static bool was_killed(pid_t pid)
{
    for (size_t i = 0; i < killed_count; i++)
        if (killed[i] == pid)
            return true;
    return false;
}

static void verify(int failed)
{
    ramet_failure failures[STORM_JOB_ITEMS];
    bool lost[STORM_JOB_ITEMS] = {false};
    CHECK(ramet_job_failures(job, failures, STORM_JOB_ITEMS) == failed);
    for (int i = 0; i < failed; i++) {
        CHECK(failures[i].item < STORM_JOB_ITEMS && !lost[failures[i].item]);
        CHECK(failures[i].result == 0 && failures[i].code == -SIGKILL);
        CHECK(was_killed(failures[i].pid));
        lost[failures[i].item] = true;
        for (int k = 0; k < i; k++) /* a worker is at one item at a time */
            CHECK(failures[k].pid != failures[i].pid);
    }
    for (uint64_t i = 0; i < STORM_JOB_ITEMS; i++) {
        uint32_t times = atomic_load(&storm_shared->executed[i]);
        CHECK(times == 1 || (times == 0 && lost[i]));
        CHECK(out[i] == (lost[i] ? 0 : 2 * i + 1));
    }
    storm_pool_jobs++;
    storm_pool_failed += (uint64_t)failed;
}

/* Waits a little; true if there is no job any more. */
static bool wait_for_job(const ramet_wait *wait)
{
    int r = ramet_job_wait(job, wait);
    if (r == -ETIMEDOUT || r == -EINTR)
        return false;
    OK(r);
    verify(r);
    ramet_job_free(job);
    job = NULL;
    return true;
}

void storm_pool_turn(void)
{
    ramet_wait soon = ramet_within(500000);
    if (!job)
        submit();
    wait_for_job(&soon);
}

/* Its child, and not somebody else who has the pid now. */
static bool is_child(pid_t pid)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

bool storm_pool_kill(uint64_t which)
{
    rmt_a32 *word = &storm_shared->pool_pid[which % STORM_POOL_WORKERS];
    pid_t pid = (pid_t)atomic_load(word);
    if (pid == 0 || !job || killed_count == PIDS)
        return false;
    bool mine = is_child(pid);
    if (mine) {
        killed[killed_count++] = pid;
        CHECK(kill(pid, SIGKILL) == 0);
    }
    atomic_store(word, 0); /* for its successor */
    return mine;
}

void storm_pool_end(void)
{
    while (job) {
        ramet_wait soon = ramet_within(100000000);
        wait_for_job(&soon);
    }
    OK(ramet_pool_close(pool));
    OK(ramet_pool_join(pool, NULL));
    OK(ramet_pool_free(pool));
    for (int i = 0; i < STORM_POOL_WORKERS; i++)
        atomic_store(&storm_shared->pool_pid[i], 0);
}
