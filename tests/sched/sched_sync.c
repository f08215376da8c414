/* SPDX-License-Identifier: MIT
 *
 * sched_sync.c: permits, events and notifications that go from one to another.  Owned permits come
 * back, plain ones are where they were put; who waits for an event passes once it was set; a
 * notification comes to one who waits, and if that one dies, to the next.
 */
#include "arena/guard.h"
#include "schedule.h"
#include "sync/condition.h"
#include "sync/event.h"
#include "sync/semaphore.h"

static const ramet_wait try = {.size = sizeof try, .deadline = 0};

static uint64_t word_of(const volatile void *word)
{
    return (uint64_t)((const volatile char *)word - (const char *)rmt_at(0));
}

/* ---- a semaphore with one owned permit */

static ramet_semaphore *semaphore;

static void one_permit(void)
{
    ramet_semaphore_options options = {.size = sizeof options, .value = 1, .max = 3};
    OK(ramet_semaphore_create(&options, &semaphore));
}

static void own(void)
{
    for (int i = 0; i < 2; i++) {
        OK(ramet_semaphore_acquire_owned(semaphore, NULL));
        OK(ramet_semaphore_release_owned(semaphore));
    }
}

static bool may_not_sleep(int i, uint64_t word)
{
    (void)i;
    (void)word;
    return false;
}

static void nothing(void) {}

static void all_are_back(void)
{
    CHECK(ramet_semaphore_value(semaphore) == 1);
    CHECK(rmt_load64(&rmt_semaphore_of(semaphore)->waiting) == 0);
    CHECK(rmt_load64(&rmt_semaphore_of(semaphore)->owned) == 0);
    OK(ramet_semaphore_acquire_owned(semaphore, &try));
    CHECK(ramet_semaphore_acquire(semaphore, &try) == -ETIMEDOUT);
    OK(ramet_semaphore_release_owned(semaphore));
}

/* ---- a semaphore by which one signals to two */

static int begun, given, asked, taken; /* releases, acquires */

static void no_permit(void)
{
    ramet_semaphore_options options = {.size = sizeof options, .value = 0, .max = 3};
    OK(ramet_semaphore_create(&options, &semaphore));
}

static void give(void)
{
    for (int i = 0; i < 2; i++) {
        begun++;
        OK(ramet_semaphore_release(semaphore, 1));
        given++;
    }
}

static void take(void)
{
    asked++;
    OK(ramet_semaphore_acquire(semaphore, NULL));
    taken++;
}

static bool no_value(int i, uint64_t word)
{
    (void)i;
    const struct rmt_semaphore *s = rmt_semaphore_of(semaphore);
    return word == word_of(rmt_low32(&rmt_semaphore_of(semaphore)->value)) &&
           rmt_load64(&s->value) == 0;
}

static void give_one(void)
{
    begun++;
    OK(ramet_semaphore_release(semaphore, 1));
    given++;
}

/* A dead one's last release or acquire was, or was not. */
static void permits_add_up(void)
{
    int value = ramet_semaphore_value(semaphore);
    CHECK(value >= given - asked && value <= begun - taken);
    CHECK(rmt_load64(&rmt_semaphore_of(semaphore)->waiting) == 0);
    while (ramet_semaphore_acquire(semaphore, &try) == 0)
        value--;
    CHECK(value == 0);
}

/* ---- an event that is set, and cleared again, while two wait for it */

static ramet_event *event;
static bool was_set; /* surely */

static void an_event(void)
{
    OK(ramet_event_create(NULL, &event));
}

static void set_and_clear(void)
{
    OK(ramet_event_set(event));
    was_set = true;
    OK(ramet_event_clear(event));
}

static void set_only(void)
{
    OK(ramet_event_set(event));
    was_set = true;
}

static void wait_for_event(void)
{
    OK(ramet_event_wait(event, NULL));
}

/* Who came after it was cleared; the model of it is in the event's own word, but who slept before
 * it was set must have been woken: its word has changed since. */
static bool not_set(int i, uint64_t word)
{
    (void)i;
    return word == word_of(rmt_low32(&rmt_event_of(event)->word)) && ramet_event_is_set(event) == 0;
}

static void set_event(void)
{
    OK(ramet_event_set(event));
}

static void event_goes_on(void)
{
    OK(ramet_event_clear(event));
    CHECK(ramet_event_is_set(event) == 0);
    CHECK(ramet_event_wait(event, &try) == -ETIMEDOUT);
    OK(ramet_event_set(event));
    OK(ramet_event_wait(event, &try));
}

/* ---- a condition: one makes two things, two wait for one each */

static ramet_condition *condition;
static int things, wanted;

static void a_condition(void)
{
    OK(ramet_condition_create(NULL, &condition));
}

static void enter(void)
{
    int r = ramet_condition_acquire(condition, NULL);
    CHECK(r == 0 || r == -EOWNERDEAD);
}

static void make_thing(void)
{
    enter();
    things++;
    OK(ramet_condition_notify(condition, 1));
    OK(ramet_condition_release(condition));
}

static void make_two(void)
{
    make_thing();
    make_thing();
}

static void await_thing(void)
{
    enter();
    while (things == 0) {
        wanted++;
        int r = ramet_condition_wait(condition, NULL);
        CHECK(r == 0 || r == -EOWNERDEAD);
        wanted--;
    }
    things--;
    OK(ramet_condition_release(condition));
}

/* In the list, and not notified; and there is nothing for it, unless its maker died before it said
 * so. */
static bool in_list(int i, uint64_t word)
{
    (void)i;
    const struct rmt_condition *c = rmt_condition_of(condition);
    bool anybody_dead = false;
    for (int a = 0; a < SCHED_WORKERS; a++)
        anybody_dead |= sched_is_dead(a);
    for (uint64_t at = rmt_load64(&c->head); at != 0;) {
        struct rmt_thread *t = rmt_at(at);
        if (word == word_of(rmt_low32(&t->list_of)))
            return rmt_load64(&t->list_of) != 0 && (things == 0 || anybody_dead);
        at = rmt_load64(&t->list_next);
    }
    return false;
}

static void condition_goes_on(void)
{
    CHECK(ramet_condition_waiters(condition) == 0);
    CHECK(rmt_load64(&rmt_condition_of(condition)->pending) == 0);
    enter();
    OK(ramet_condition_notify(condition, 2));
    OK(ramet_condition_release(condition));
    OK(ramet_condition_acquire(condition, &try));
    OK(ramet_condition_release(condition));
}

const struct sched_case sched_cases[] = {
    {.name = "semaphore, owned",
     .setup = one_permit,
     .actor = {{"the first", own}, {"the second", own}},
     .may_sleep = may_not_sleep,
     .enable = nothing,
     .verify = all_are_back,
     .brief = {1, 0, -1},
     .full = {2, 1, 0},
     .stride = 32},
    {.name = "semaphore, signals",
     .setup = no_permit,
     .actor = {{"the giver", give}, {"the first taker", take}, {"the second taker", take}},
     .may_sleep = no_value,
     .enable = give_one,
     .verify = permits_add_up,
     .brief = {1, 0, -1},
     .full = {2, 1, -1},
     .stride = 4},
    {.name = "event, set and cleared",
     .setup = an_event,
     .actor = {{"the setter", set_and_clear},
               {"the first waiter", wait_for_event},
               {"the second waiter", wait_for_event}},
     .may_sleep = not_set,
     .enable = set_event,
     .verify = event_goes_on,
     .brief = {1, 0, -1},
     .full = {3, 1, -1},
     .stride = 2},
    {.name = "event, set by two",
     .setup = an_event,
     .actor = {{"the first setter", set_only},
               {"the second setter", set_and_clear},
               {"the waiter", wait_for_event}},
     .may_sleep = not_set,
     .enable = set_event,
     .verify = event_goes_on,
     .brief = {1, 0, -1},
     .full = {3, 1, -1}},
    {.name = "condition, two things",
     .setup = a_condition,
     .actor = {{"the maker", make_two},
               {"the first waiter", await_thing},
               {"the second waiter", await_thing}},
     .may_sleep = in_list,
     .enable = make_thing,
     .verify = condition_goes_on,
     .brief = {1, 0, -1},
     .full = {2, 1, -1},
     .stride = 16,
     .large = true},
};
const int sched_case_count = sizeof sched_cases / sizeof sched_cases[0];
