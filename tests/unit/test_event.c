/* SPDX-License-Identifier: MIT
 *
 * test_event.c: the event: set, cleared, waited for, by processes that die.
 */
#include "sync/event.h"
#include "sync_unit.h"

static ramet_event *event;
static rmt_a64 *word;

static void set_and_clear(void)
{
    CHECK(ramet_event_is_set(event) == 0);
    CHECK(ramet_event_wait(event, at_once()) == -ETIMEDOUT);
    CHECK(ramet_event_wait(event, in_ms(20)) == -ETIMEDOUT);
    OK(ramet_event_set(event));
    OK(ramet_event_set(event));
    CHECK(ramet_event_is_set(event) == 1);
    OK(ramet_event_wait(event, at_once()));
    OK(ramet_event_wait(event, NULL));
    OK(ramet_event_clear(event));
    OK(ramet_event_clear(event));
    CHECK(ramet_event_is_set(event) == 0);
    CHECK(ramet_event_wait(event, at_once()) == -ETIMEDOUT);
    ramet_wait wait = {.size = 5};
    CHECK(ramet_event_wait(event, &wait) == -EINVAL);
}

static void a_ticket_outlives_a_pulse(void)
{
    struct rmt_self *self;
    struct rmt_event *shared = rmt_event_of(event);
    OK(rmt_self(&self));
    uint64_t ticket = rmt_event_ticket(shared);
    CHECK(rmt_event_wait(self, shared, event->object.at, ticket, at_once()) == -ETIMEDOUT);
    OK(ramet_event_set(event));
    OK(ramet_event_clear(event));
    OK(rmt_event_wait(self, shared, event->object.at, ticket, at_once()));
}

static void pass(void *arg)
{
    (void)arg;
    rmt_add64(&word[0], 1);
    OK(ramet_event_wait(event, NULL));
    rmt_add64(&word[1], 1);
}

/* Until all are asleep, or at least about to be: they have the flag WAITERS set and do not run. */
static void await_sleepers(uint64_t count)
{
    await_value(&word[0], count);
    while (!(rmt_load64(&rmt_event_of(event)->word) & RMT_EVENT_WAITERS))
        pause_ms(1);
    pause_ms(50);
}

static void a_pulse_releases_who_waits(void)
{
    enum { N = 5 };
    pid_t pids[N];
    rmt_store64(&word[0], 0);
    rmt_store64(&word[1], 0);
    for (int i = 0; i < N; i++)
        pids[i] = child(pass, NULL);
    await_sleepers(N);
    OK(ramet_event_set(event));
    OK(ramet_event_clear(event)); /* at once: they must have been let go all the same */
    for (int i = 0; i < N; i++)
        CHECK(finish(pids[i]) == 0);
    CHECK(rmt_load64(&word[1]) == N);
    CHECK(ramet_event_wait(event, at_once()) == -ETIMEDOUT);
}

static void dead_waiters_do_not_matter(void)
{
    rmt_store64(&word[0], 0);
    rmt_store64(&word[1], 0);
    pid_t victim = child(pass, NULL), other = child(pass, NULL);
    await_sleepers(2);
    kill_child(victim);
    OK(ramet_event_set(event));
    CHECK(finish(other) == 0);
    CHECK(rmt_load64(&word[1]) == 1);
    OK(ramet_event_clear(event));
}

static void ping(void *arg)
{
    ramet_event **both = arg;
    for (int i = 0; i < 2000; i++) {
        OK(ramet_event_wait(both[0], NULL));
        OK(ramet_event_clear(both[0]));
        OK(ramet_event_set(both[1]));
    }
}

static void to_and_fro(void)
{
    ramet_event *both[2] = {event, NULL};
    OK(ramet_event_create(NULL, &both[1]));
    pid_t pid = child(ping, both);
    for (int i = 0; i < 2000; i++) {
        OK(ramet_event_set(both[0]));
        OK(ramet_event_wait(both[1], NULL));
        OK(ramet_event_clear(both[1]));
    }
    CHECK(finish(pid) == 0);
    ramet_event_close(both[1]);
}

static void wait_interrupted(void *arg)
{
    (void)arg;
    interruptible();
    rmt_store64(&word[0], 1);
    CHECK(ramet_event_wait(event, NULL) == -EINTR);
}

static void a_signal_interrupts(void)
{
    rmt_store64(&word[0], 0);
    pid_t pid = child(wait_interrupted, NULL);
    await_value(&word[0], 1);
    int status;
    do {
        pause_ms(5);
        kill(pid, SIGUSR1);
    } while (waitpid(pid, &status, WNOHANG) == 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void opened_by_reference(void)
{
    ramet_ref ref = ramet_event_ref(event);
    ramet_event *other;
    OK(ramet_event_open(&ref, &other));
    OK(ramet_event_set(other));
    CHECK(ramet_event_is_set(event) == 1);
    OK(ramet_event_clear(event));
    ramet_event_close(other);
}

int main(void)
{
    watchdog();
    OK(ramet_join());
    word = words(2);
    uint64_t none = blocks_in_use();
    OK(ramet_event_create(NULL, &event));
    RUN(set_and_clear);
    RUN(a_ticket_outlives_a_pulse);
    RUN(a_pulse_releases_who_waits);
    RUN(dead_waiters_do_not_matter);
    RUN(to_and_fro);
    RUN(a_signal_interrupts);
    RUN(opened_by_reference);
    ramet_event_close(event);
    ramet_sweep();
    CHECK(blocks_in_use() == none);
    OK(ramet_arena_check(2));
    return 0;
}
