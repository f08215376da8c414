/* SPDX-License-Identifier: MIT
 *
 * kill_double.c: a death at each atomic operation of a recovery.  A victim dies with something in
 * its hands; a recoverer is killed at its Nth operation; then the parent recovers both, in the
 * order of their slots, which is now the one and now the other.  Or two others do, the first of
 * whom is stopped somewhere in it until the second can do no more: both are recovered between them,
 * whichever left what to whom.  Nothing may be given back twice, or not at all.
 */
#include "arena/handle.h"
#include "arena/local.h"
#include "kill.h"
#include <ramet/arena.h>
#include <ramet/barrier.h>
#include <ramet/condition.h>
#include <ramet/pipe.h>
#include <ramet/queue.h>
#include <ramet/semaphore.h>

#define DENSE 150 /* from here on not every point: most are empty entries of tables */
#define STRIDE 7
#define STOPS 211 /* at one of so many operations the first of two recoverers is stopped */
#define TURNS 12  /* stops for each point, in the long form */

struct double_case {
    const char *name;
    void (*setup)(void);
    void (*victim)(void); /* does not come back alive */
    bool (*ready)(void);  /* the victim may be killed from outside; NULL: it does so itself */
    void (*verify)(void);
};

static const ramet_wait try = {.size = sizeof try, .deadline = 0};
static uint64_t blocks_before;

static uint64_t blocks(void)
{
    ramet_usage u = {.size = sizeof u};
    OK(ramet_arena_usage(&u));
    return u.blocks;
}

static void die(void)
{
    kill(getpid(), SIGKILL);
}

/* A child takes the next free slot: so this turns the order of the slots of the next ones. */
static void idle(void *unused)
{
    (void)unused;
}

static void skip_a_slot(void)
{
    pid_t pid = child(idle, NULL);
    CHECK(finish(pid) == 0);
    ramet_reap(pid);
}

static void run_victim(void *arg)
{
    struct rmt_self *self;
    OK(rmt_self(&self));
    ((const struct double_case *)arg)->victim();
}

static void run_recoverer(void *arg)
{
    struct rmt_self *self;
    OK(rmt_self(&self));
    kill_arm(*(const uint64_t *)arg);
    rmt_sweep(self);
    kill_disarm();
}

/* ---- two recoverers at once */

static void run_stopped(void *arg)
{
    struct rmt_self *self;
    OK(rmt_self(&self));
    kill_arm_stop(*(const uint64_t *)arg);
    rmt_sweep(self);
    kill_disarm();
}

static void run_other(void *unused)
{
    struct rmt_self *self;
    (void)unused;
    OK(rmt_self(&self));
    raise(SIGSTOP);
    rmt_sweep(self);
}

/* Whether the process has ended, or sleeps. */
static bool is_at_rest(pid_t pid)
{
    siginfo_t info = {0};
    CHECK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0);
    if (info.si_pid == pid)
        return true;
    char path[64], state = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *stat = fopen(path, "r");
    CHECK(stat != NULL);
    CHECK(fscanf(stat, "%*d (%*[^)]) %c", &state) == 1);
    fclose(stat);
    return state == 'S';
}

static bool has_a_slot(pid_t pid)
{
    uint64_t high = rmt_load64(&rmt_header()->members_high);
    for (uint32_t slot = 1; slot < high; slot++) {
        uint64_t state = rmt_load64(&rmt_member_at(slot)->state);
        if (rmt_member_state_of(state) != RMT_MEMBER_FREE && rmt_member_pid_of(state) == pid)
            return true;
    }
    return false;
}

/* Two processes recover `victim` and its recoverer `dead`, the first stopped at its Nth operation
 * until the second has ended or can not go on.  (The parent could not fork meanwhile: it may be in
 * a guard that the first is stopped.) */
static void recover_by_two(pid_t victim, pid_t dead, uint64_t nth)
{
    int status;
    pid_t second = child(run_other, NULL);
    CHECK(waitpid(second, &status, WUNTRACED) == second && WIFSTOPPED(status));
    pid_t first = child(run_stopped, &nth);
    CHECK(waitpid(first, &status, WUNTRACED) == first);
    bool stopped = WIFSTOPPED(status);
    CHECK(stopped || status == 0);
    CHECK(kill(second, SIGCONT) == 0);
    while (!is_at_rest(second))
        usleep(100);
    CHECK(!stopped || kill(first, SIGCONT) == 0);
    CHECK(!stopped || finish(first) == 0);
    CHECK(finish(second) == 0);
    CHECK(!has_a_slot(victim) && !has_a_slot(dead));
}

/* ---- one point of a case */

/* True if the recoverer came through. */
static bool one(const struct double_case *c, uint64_t nth, uint64_t turn)
{
    if (c->setup)
        c->setup();
    for (uint64_t i = 0; i < nth % 3; i++)
        skip_a_slot();
    pid_t victim = child(run_victim, (void *)(uintptr_t)c);
    while (c->ready && !c->ready())
        usleep(100);
    if (c->ready)
        kill(victim, SIGKILL);
    CHECK(finish(victim) == -SIGKILL);
    pid_t recoverer = child(run_recoverer, &nth);
    int status = finish(recoverer);
    CHECK(status == 0 || status == -SIGKILL);
    if (status != 0 && (nth + turn) % 2)
        recover_by_two(victim, recoverer, 1 + (nth * 37 + turn * 16) % STOPS);
    while (OK(ramet_sweep()) > 0)
        ;
    OK(ramet_arena_check(2));
    if (c->verify)
        c->verify();
    if (blocks() != blocks_before)
        fprintf(stderr, "%s, point %lu: %ld blocks too many\n", c->name, (unsigned long)nth,
                (long)(blocks() - blocks_before));
    CHECK(blocks() == blocks_before);
    return status == 0;
}

static void run(const struct double_case *c)
{
    /* Once before, so that what a first use allocates for good is there. */
    blocks_before = blocks();
    if (c->setup)
        c->setup();
    if (c->verify)
        c->verify();
    blocks_before = blocks();
    uint64_t n = 1, points = 0, turns = getenv("RAMET_LONG") ? TURNS : 1;
    for (; alarm(600), !one(c, n, 0); points++) {
        for (uint64_t turn = 1; turn < turns; turn++)
            one(c, n, turn);
        n += n < DENSE ? 1 : STRIDE;
    }
    printf("%-24s recoverer killed at %lu of %lu points\n", c->name, (unsigned long)points,
           (unsigned long)n);
    fflush(stdout);
}

/* ---- blocks and handles */

static void hold_blocks(void)
{
    struct rmt_self *self;
    int hold, second;
    uint64_t offset, other;
    OK(rmt_self(&self));
    OK(rmt_block_alloc(self, 40, RAMET_KIND_DATA, &hold, &offset));
    OK(rmt_block_alloc(self, 32000, RAMET_KIND_DATA, &hold, &offset));
    OK(rmt_block_alloc(self, 32000, RAMET_KIND_DATA, &hold, &offset));
    OK(rmt_block_alloc(self, 32000, RAMET_KIND_DATA, &hold, &offset));
    OK(rmt_block_alloc(self, 100, RAMET_KIND_DATA, &hold, &offset));
    OK(rmt_block_alloc(self, 90000, RAMET_KIND_DATA, &second, &other));
    OK(rmt_block_chain(self, offset, second));
    OK(rmt_block_alloc(self, 70000, RAMET_KIND_DATA, &second, &other));
    OK(rmt_block_chain(self, offset, second));
    die();
}

static void hold_handles(void)
{
    struct rmt_self *self;
    struct rmt_handle a, b;
    int hold;
    uint64_t offset;
    OK(rmt_self(&self));
    OK(rmt_block_alloc(self, 1000, RAMET_KIND_DATA, &hold, &offset));
    OK(rmt_handle_create(self, hold, &a));
    OK(rmt_handle_dup(self, &a, &b));
    OK(rmt_block_alloc(self, 100000, RAMET_KIND_DATA, &hold, &offset));
    OK(rmt_handle_create(self, hold, &a));
    die();
}

/* ---- queue, pipe */

static ramet_queue *queue;

static void make_queue(void)
{
    char large[300] = "";
    OK(ramet_queue_create(NULL, &queue));
    OK(ramet_queue_put(queue, large, sizeof large, NULL));
    OK(ramet_queue_put(queue, large, 8, NULL));
    OK(ramet_queue_put(queue, large, sizeof large, NULL));
}

static void hold_items(void)
{
    ramet_item a, b;
    ramet_queue *own;
    OK(ramet_queue_get(queue, NULL, &a));
    OK(ramet_queue_get(queue, NULL, &b));
    OK(ramet_queue_create(NULL, &own));
    ramet_ref ref = ramet_queue_ref(queue);
    char large[300] = "";
    OK(ramet_queue_put_refs(own, large, 200, &ref, 1, NULL));
    for (int i = 0; i < 70; i++) /* more than a ring */
        OK(ramet_queue_put(own, large, i % 30 ? 8 : 200, NULL));
    die();
}

static bool untouched;

static void queue_is_right(void)
{
    ramet_item item;
    uint64_t lost = ramet_queue_lost(queue);
    CHECK(lost == 2 || (lost == 0 && untouched));
    untouched = false;
    for (uint64_t i = lost; i < 3; i++) {
        CHECK(ramet_queue_get(queue, &try, &item) == 0);
        ramet_item_release(&item);
    }
    CHECK(ramet_queue_get(queue, &try, &item) == -ETIMEDOUT);
    ramet_queue_close(queue);
}

static ramet_end *a_end, *b_end;

static void make_pipe(void)
{
    OK(ramet_pipe_create(NULL, &a_end, &b_end));
}

static void hold_pipe(void)
{
    static char large[9000];
    ramet_end *c, *d;
    OK(ramet_pipe_create(NULL, &c, &d));
    OK(ramet_end_send(c, large, sizeof large, NULL));
    OK(ramet_end_send(c, large, 10, NULL));
    OK(ramet_end_send(d, large, sizeof large, NULL));
    OK(ramet_end_send(a_end, large, sizeof large, NULL));
    die();
}

static void pipe_is_right(void)
{
    ramet_end_close(a_end);
    char buffer[9000];
    size_t size;
    int r = ramet_end_recv(b_end, buffer, sizeof buffer, &size, &try);
    CHECK(r == 0 || untouched);
    untouched = false;
    CHECK(ramet_end_recv(b_end, buffer, sizeof buffer, &size, &try) == -ENODATA);
    ramet_end_close(b_end);
}

/* ---- permits, and standing in line */

static ramet_semaphore *semaphore;
static ramet_barrier *barrier;
static ramet_condition *condition;

static void make_sync(void)
{
    ramet_semaphore_options options = {.size = sizeof options, .value = 5, .max = 5};
    ramet_barrier_options two = {.size = sizeof two, .parties = 2};
    OK(ramet_semaphore_create(&options, &semaphore));
    OK(ramet_barrier_create(&two, &barrier));
    OK(ramet_condition_create(NULL, &condition));
}

static void hold_permits(void)
{
    for (int i = 0; i < 3; i++)
        OK(ramet_semaphore_acquire_owned(semaphore, NULL));
    die();
}

static void permits_are_right(void)
{
    CHECK(ramet_semaphore_value(semaphore) == 5);
    ramet_semaphore_close(semaphore);
    ramet_barrier_close(barrier);
    ramet_condition_close(condition);
}

static void stay_in_barrier(void)
{
    ramet_barrier_wait(barrier, NULL, NULL, NULL, NULL);
}

static bool is_in_barrier(void)
{
    return ramet_barrier_waiting(barrier) == 1;
}

static void barrier_is_right(void)
{
    if (!untouched)
        CHECK(ramet_barrier_broken(barrier));
    untouched = false;
    OK(ramet_barrier_reset(barrier));
    CHECK(ramet_barrier_waiting(barrier) == 0);
    permits_are_right();
}

static void wait_in_condition(void)
{
    OK(ramet_condition_acquire(condition, NULL));
    ramet_condition_wait(condition, NULL);
}

static bool is_in_condition(void)
{
    return ramet_condition_waiters(condition) == 1;
}

static void condition_is_right(void)
{
    CHECK(ramet_condition_waiters(condition) == 0);
    permits_are_right();
}

int main(void)
{
    OK(ramet_join());
    run(&(struct double_case){"blocks", NULL, hold_blocks, NULL, NULL});
    run(&(struct double_case){"handles", NULL, hold_handles, NULL, NULL});
    untouched = true;
    run(&(struct double_case){"queues", make_queue, hold_items, NULL, queue_is_right});
    untouched = true;
    run(&(struct double_case){"pipes", make_pipe, hold_pipe, NULL, pipe_is_right});
    run(&(struct double_case){"owned permits", make_sync, hold_permits, NULL, permits_are_right});
    untouched = true;
    run(&(struct double_case){"in a barrier", make_sync, stay_in_barrier, is_in_barrier,
                              barrier_is_right});
    run(&(struct double_case){"in a condition", make_sync, wait_in_condition, is_in_condition,
                              condition_is_right});
    return 0;
}
