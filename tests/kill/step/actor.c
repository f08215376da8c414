/* SPDX-License-Identifier: MIT
 *
 * actor.c: see actor.h.  Knows what of the arena layer is process-local: rmt_self, the bookkeeper,
 * rmt_local.slot and epoch, the table of handles.
 */
#include "actor.h"
#include "arena/local.h"
#include "step.h"

#include <sys/mman.h>

#define STACK (512u << 10)

struct actor *actor_now;

uint32_t actor_slot_of(pid_t pid)
{
    uint64_t high = rmt_load64(&rmt_header()->members_high);
    for (uint32_t slot = 1; slot < high; slot++) {
        uint64_t state = rmt_load64(&rmt_member_at(slot)->state);
        if (rmt_member_pid_of(state) == pid && rmt_member_state_of(state) == RMT_MEMBER_LIVE)
            return slot;
    }
    return 0;
}

void actor_first(struct actor *a)
{
    *a = (struct actor){.pid = getpid(), .slot = rmt_local.slot, .epoch = rmt_local.epoch};
    step_self()->spin = 0;
    actor_now = a;
}

static void name(struct actor *a)
{
    a->slot = actor_slot_of(a->pid);
    CHECK(a->slot != 0);
    a->epoch = (uint32_t)(rmt_load64(&rmt_member_at(a->slot)->state) >> 32);
    uint64_t at = rmt_member_offset(a->slot) + offsetof(struct rmt_member, thread);
    a->keeper = (struct rmt_self){
        .word = rmt_word(a->epoch, 0, a->slot), .offset = at, .thread = rmt_at(at)};
    at += sizeof(struct rmt_thread); /* where a forked child's only thread settles */
    a->self = (struct rmt_self){
        .word = rmt_word(a->epoch, 1, a->slot), .offset = at, .thread = rmt_at(at)};
    CHECK(rmt_load64(&a->self.thread->word) == a->self.word);
}

static pid_t idle[8];
static int idle_count;

pid_t step_idle(void (*first)(void))
{
    int fds[2];
    char c;
    CHECK(idle_count < (int)(sizeof idle / sizeof idle[0]) && pipe(fds) == 0);
    pid_t parent = getpid(), pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        if (first)
            first();
        CHECK(write(fds[1], "", 1) == 1);
        close(fds[1]);
        while (getppid() == parent) /* and no longer than it, whatever becomes of that one */
            usleep(100000);
        _exit(0);
    }
    close(fds[1]);
    CHECK(read(fds[0], &c, 1) == 1); /* it has its name by then */
    close(fds[0]);
    idle[idle_count++] = pid;
    return pid;
}

void actor_end_idle(void)
{
    while (idle_count > 0) {
        pid_t pid = idle[--idle_count];
        kill(pid, SIGKILL);
        CHECK(finish(pid) == -SIGKILL);
    }
}

void actor_make(struct actor *a)
{
    *a = (struct actor){.pid = step_idle(NULL)};
    name(a);
}

static void put_on(struct actor *a)
{
    *rmt_self_now = a->self;
    *rmt_bookkeeper() = a->keeper;
    rmt_local.slot = a->slot;
    rmt_local.epoch = a->epoch;
    actor_now = a;
}

static void change_to(struct actor *a)
{
    actor_now->self = *rmt_self_now;
    actor_now->keeper = *rmt_bookkeeper();
    put_on(a);
}

void actor_become(struct actor *a)
{
    a->back = actor_now->back;
    put_on(a);
    rmt_handles_after_fork();
}

static void run(void)
{
    actor_now->fn();
    actor_now->done = true;
    for (;;)
        actor_yield();
}

void actor_resume(struct actor *a)
{
    struct actor *from = actor_now;
    a->back = from;
    change_to(a);
    CHECK(swapcontext(&from->context, &a->context) == 0);
}

void actor_start(struct actor *a, void (*fn)(void))
{
    void *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(stack != MAP_FAILED);
    CHECK(getcontext(&a->context) == 0);
    a->context.uc_stack.ss_sp = stack;
    a->context.uc_stack.ss_size = STACK;
    a->context.uc_link = NULL;
    a->fn = fn;
    a->done = false;
    makecontext(&a->context, run, 0);
    actor_resume(a);
}

void actor_yield(void)
{
    struct actor *from = actor_now, *to = from->back;
    change_to(to);
    CHECK(swapcontext(&from->context, &to->context) == 0);
}
