/* SPDX-License-Identifier: MIT
 *
 * tries.c: what is tried at a state of the victim: recovery, with a second death at each store of
 * it, and for some of those a third.  A try that fails prints why, and where the victim had come
 * to.
 */
#include "arena/local.h"
#include "driver.h"
#include <ramet/arena.h>

#include <sys/mman.h>

#define WAITS_ENOUGH 40 /* of an actor that ought to go on: many slices */
#define STRIDE_SHORT 37 /* the short form makes one in so many second deaths */
#define STRIDE_THIRD 97 /* one in so many second deaths is stepped for third ones */

bool victim_is_dead, driver_is_dead, second_is_dead;
enum hook_does hook_does;

/* ---- who is dead */

int is_dead(pid_t pid)
{
    return (victim_is_dead && pid == victim) || (driver_is_dead && pid == driver.pid) ||
           (second_is_dead && pid == second.pid);
}

/* ---- the hook */

static uint64_t woken[STEP_WAKES * 4]; /* futex words that recovery woke */
static unsigned woken_count;
static unsigned waits; /* sleeps since the victim died */

void enough_waits(void)
{
    if (++waits == WAITS_ENOUGH) {
        fprintf(stderr, "still asleep after %d slices\n", WAITS_ENOUGH);
        _exit(1);
    }
}

void hook(enum rmt_hook_kind kind, const volatile void *word)
{
    if (hook_does == HOOK_FALL_ASLEEP && kind == RMT_HOOK_FUTEX_WAIT) {
        actor_yield();
        return;
    }
    if (kind == RMT_HOOK_FUTEX_WAKE && hook_does != HOOK_NOTHING &&
        woken_count < sizeof woken / sizeof woken[0])
        woken[woken_count++] = (uint64_t)((const volatile char *)word - (char *)rmt_at(0));
    if (hook_does == HOOK_PAIR || hook_does == HOOK_STAND)
        pair_hook(kind);
    else if (kind == RMT_HOOK_FUTEX_WAIT && hook_does == HOOK_RECOVER) {
        enough_waits();
        step_over_futex();
    }
}

/* ---- one try */

void take_copy(void)
{
    alarm(TRY_LIMIT);
    void *p = mmap(rmt_at(0), RMT_WINDOW0, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
                   rmt_local.fd, 0);
    CHECK(p == rmt_at(0));
    rmt_store32_relaxed((rmt_a32 *)(uintptr_t)rmt_member_mark, 1);
    step_self()->spin = 0;
}

void recover(void)
{
    while (rmt_sweep(step_self()) > 0)
        ;
}

uint64_t handle_chunks(uint32_t slot)
{
    uint64_t n = 0;
    for (uint64_t b = rmt_load64(&rmt_member_at(slot)->handles); b != 0; n++)
        b = rmt_load64(&((struct rmt_handle_chunk *)rmt_payload(b))->next);
    return n;
}

static bool was_woken(uint64_t word)
{
    for (unsigned i = 0; i < woken_count; i++)
        if (woken[i] == word)
            return true;
    for (uint64_t i = 0; i < step_shared->woken; i++)
        if (step_shared->wake[i] == word)
            return true;
    return false;
}

/* The wake oracle: whoever may go on has been woken since he might. */
static void check_sleeper(void)
{
    uint64_t word = rmt_load64(&sleeper.self.thread->waits);
    if (word == 0)
        return;
    if (!the_case->enabled()) {
        the_case->enable();
        CHECK(the_case->enabled());
    }
    bool owed = !the_case->owes_later || step_shared->did[0];
    if (owed && !was_woken(word)) {
        fprintf(stderr, "the sleeper on %#lx may go on, and nobody has woken it\n",
                (unsigned long)word);
        _exit(1);
    }
    __atomic_add_fetch(&tally->wakes, 1, __ATOMIC_RELAXED);
    waits = 0;
    while (!sleeper.done)
        actor_resume(&sleeper);
}

void check_all(void)
{
    hook_does = HOOK_RECOVER;
    OK(ramet_arena_check(2));
    CHECK(actor_slot_of(victim) == 0);
    if (driver_is_dead)
        CHECK(actor_slot_of(driver.pid) == 0);
    if (second_is_dead)
        CHECK(actor_slot_of(second.pid) == 0);
    if (the_case->sleeps)
        check_sleeper();
    the_case->verify();
    OK(ramet_arena_check(2));
    uint64_t expected = blocks_before - (driver_is_dead ? chunks_of_driver : 0) -
                        (second_is_dead ? chunks_of_second : 0);
    if (step_blocks() != expected)
        fprintf(stderr, "%ld blocks too many\n", (long)(step_blocks() - expected));
    CHECK(step_blocks() == expected);
}

void where(const char *what)
{
    fprintf(stderr, "%s: %s: after store %lu, instruction %lu, at +%#lx, which changed %#lx\n",
            the_case->name, what, (unsigned long)step_shared->stores,
            (unsigned long)step_shared->steps, (unsigned long)step_shared->at,
            (unsigned long)step_shared->offset_at);
}

int judge(pid_t pid, const char *what)
{
    int status = finish(pid);
    if (status == 0 || status == 2)
        return status;
    if (status < 0)
        fprintf(stderr, "ended by signal %d\n", -status);
    where(what);
    __atomic_add_fetch(&tally->bad, 1, __ATOMIC_RELAXED);
    return status;
}

/* ---- the second death: the recoverer's, at each of its own changes; and the third */

static bool is_new(uint64_t key)
{
    if (key == 0)
        key = 1;
    uint64_t i = key;
    for (; tally->seen[i % SEEN] != 0; i++)
        if (tally->seen[i % SEEN] == key)
            return false;
    CHECK(++tally->seen_count < SEEN / 2);
    tally->seen[i % SEEN] = key;
    return true;
}

/* What makes a state of the recoverer: the arena, and what those judge by who try it. */
static uint64_t key_of(uint64_t nth_death)
{
    uint64_t key = step_mix(step_seen.state + step_shared->state, nth_death);
    for (unsigned i = 0; i < sizeof step_shared->did / sizeof step_shared->did[0]; i++)
        key = step_mix(key, step_shared->did[i]);
    return step_mix(step_mix(key, step_shared->woken), woken_count);
}

/* In the name of `heir`: the one who did so far is dead. */
static void recover_as(struct actor *heir, void (*change)(void))
{
    alarm(TRY_LIMIT);
    step_end();
    rmt_store32_relaxed((rmt_a32 *)(uintptr_t)rmt_member_mark, 1);
    actor_become(heir);
    step_self()->spin = 0;
    if (change)
        step_begin(false, change, NULL);
    recover();
    if (change)
        step_end();
    check_all();
    _exit(0);
}

static uint64_t second_store; /* at which the second death was */

/* In the signal handler of the second recoverer, within that of the first. */
static void die_a_third_time(void)
{
    if (tally->bad >= BAD_ENOUGH || !is_new(key_of(3)))
        return;
    tally->third++;
    pid_t pid = _Fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        second_is_dead = true;
        recover_as(&recoverer, NULL);
    }
    char what[120];
    snprintf(what, sizeof what,
             "recoverers dead after store %lu of the first and %lu of both, to %#lx",
             (unsigned long)second_store, (unsigned long)step_seen.stores,
             (unsigned long)step_seen.offset);
    judge(pid, what);
}

/* In the recoverer's signal handler, after a store: nothing process-local of the arena layer is
 * held there, since recovery takes no mutex over a store. */
static void die_again(void)
{
    /* The short form: a few at each state, others at the next, and the same in every run. */
    bool skipped = !long_form && (step_seen.stores + tally->states * 5) % STRIDE_SHORT != 0;
    if (skipped || tally->bad >= BAD_ENOUGH || !is_new(key_of(2)))
        return;
    bool again = tally->second++ % STRIDE_THIRD == STRIDE_THIRD / 2;
    pid_t pid = _Fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        driver_is_dead = true;
        second_store = step_seen.stores;
        recover_as(&second, again ? die_a_third_time : NULL);
    }
    char what[80];
    snprintf(what, sizeof what, "recoverer dead after its store %lu, to %#lx",
             (unsigned long)step_seen.stores, (unsigned long)step_seen.offset);
    judge(pid, what);
}

void try_recovery(bool again)
{
    tally->states++;
    pid_t pid = _Fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        take_copy();
        victim_is_dead = true;
        hook_does = HOOK_RECOVER;
        if (again)
            step_begin(false, die_again, NULL);
        recover();
        if (again)
            step_end();
        check_all();
        _exit(0);
    }
    judge(pid, "recovery");
}
