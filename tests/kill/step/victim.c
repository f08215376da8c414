/* SPDX-License-Identifier: MIT
 *
 * victim.c: the victim's half of step.h: attaches, prepares, does its operation under the stepper,
 * and stops at every state that it has not shown before until the driver has tried it.
 */
#include "arena/local.h"
#include "step.h"
#include <ramet/arena.h>

#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define STATES (1u << 18) /* of the table; a power of two */
#define WAITS_ENOUGH 3    /* sleeps in a row: it waits for the peer, who stands still */

struct step_shared *step_shared;

static const struct step_case *the_case;
static int line; /* to the driver */
static uint64_t shown[STATES];
static uint64_t shown_count;
extern const char __executable_start[];

static void tell(char what)
{
    char answer;
    if (write(line, &what, 1) != 1 || read(line, &answer, 1) != 1 || answer != 'g')
        _exit(5);
}

/* True for the first time. */
static bool is_new(uint64_t key)
{
    if (key == 0)
        key = 1;
    uint64_t i = key;
    while (shown[i % STATES] != 0) {
        if (shown[i % STATES] == key)
            return false;
        i++;
    }
    if (++shown_count > STATES / 2) {
        static const char text[] = "step: too many states\n";
        (void)!write(2, text, sizeof text - 1);
        _exit(6);
    }
    shown[i % STATES] = key;
    return true;
}

static void report(void)
{
    step_shared->state = step_seen.state;
    step_shared->steps = step_seen.steps;
    step_shared->stores = step_seen.stores;
    step_shared->at = step_seen.ip - (uintptr_t)__executable_start;
    step_shared->offset_at = step_seen.offset;
}

/* What the driver judges by is part of the state: how far the victim is, and whom it woke. */
static void show(void)
{
    report();
    uint64_t key = step_seen.state;
    for (unsigned i = 0; i < sizeof step_shared->did / sizeof step_shared->did[0]; i++)
        key = step_mix(key, step_shared->did[i]);
    if (is_new(step_mix(key, step_shared->woken)))
        tell('s');
}

/* Where a peer stands inside, the victim may come to wait for it: then there is no later state. */
static void may_sleep(void)
{
    static uint64_t waits;
    if (step_shared->peer_first && ++waits == WAITS_ENOUGH)
        tell('w');
}

static void on_syscall(uintptr_t *registers)
{
    if (registers[0] == SYS_futex && (registers[2] & 127) == FUTEX_WAIT_BITSET)
        may_sleep();
    if (registers[0] != SYS_futex || (registers[2] & 127) != FUTEX_WAKE || !the_case->enabled)
        return;
    uint64_t offset = registers[1] - (uintptr_t)rmt_at(0);
    if (offset >= RMT_WINDOW0 || !the_case->enabled() || step_shared->woken == STEP_WAKES)
        return;
    step_shared->wake[step_shared->woken] = offset;
    step_shared->woken++;
}

/* Of all members, once for all: that is thousands of instructions without a store to the arena, and
 * would else be done at the first question whether one is dead, under the trap flag. */
static void open_pidfds(void)
{
    uint64_t high = rmt_load64(&rmt_header()->members_high);
    for (uint32_t slot = 1; slot < high; slot++) {
        uint64_t state = rmt_load64(&rmt_member_at(slot)->state);
        if (rmt_member_state_of(state) == RMT_MEMBER_LIVE)
            (void)rmt_dead(rmt_word((uint32_t)(state >> 32), 0, slot));
    }
}

static void *operate(void *key)
{
    if (key)
        CHECK(pthread_setspecific(*(pthread_key_t *)key, key) == 0);
    step_begin(true, show, on_syscall);
    the_case->operate();
    return NULL;
}

/* Called after the library's, whose key is older: the thread has left the arena.  What the C
 * library does after that, with all signals blocked, cannot be stepped. */
static void at_thread_exit(void *unused)
{
    (void)unused;
    step_end();
    CHECK(rmt_self_now == NULL);
}

static void operate_in_thread(void)
{
    static pthread_key_t key;
    pthread_t thread;
    CHECK(pthread_key_create(&key, at_thread_exit) == 0);
    CHECK(pthread_create(&thread, NULL, operate, &key) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

/* victim, case, descriptors of the shared page, of the arena, and of the line to the driver */
int main(int argc, char **argv)
{
    CHECK(argc == 5);
    watchdog();
    the_case = &step_cases[atoi(argv[1])];
    line = atoi(argv[4]);
    void *p = mmap(NULL, sizeof *step_shared, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(argv[2]), 0);
    CHECK(p != MAP_FAILED);
    step_shared = p;
    OK(ramet_attach(atoi(argv[3])));
    step_self()->spin = 0; /* no spinning: it is no part of what is tried */
    open_pidfds();
    the_case->prepare();
    tell('p');
    alarm(0);  /* from here on it is the driver that says how long it may take */
    tell('s'); /* nothing has been done yet */
    if (the_case->in_thread) {
        operate_in_thread();
    } else {
        operate(NULL);
        step_end();
    }
    show(); /* it has come back */
    report();
    tell('e');
    return 0;
}

bool step_peer_ran;
uint64_t step_blocks_less;

struct rmt_self *step_self(void)
{
    struct rmt_self *self;
    OK(rmt_self(&self));
    return self;
}

uint64_t step_blocks(void)
{
    ramet_usage u = {.size = sizeof u};
    OK(ramet_arena_usage(&u));
    return u.blocks;
}

uint64_t step_members(void)
{
    return 0; /* asked by the driver's side alone */
}

pid_t step_idle(void (*first)(void))
{
    (void)first;
    return -1; /* nor this */
}
