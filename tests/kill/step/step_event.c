/* SPDX-License-Identifier: MIT
 *
 * step_event.c: a death at each store of the operations of an event.
 */
#include "step.h"
#include "sync/event.h"

static ramet_event *event;
static const ramet_wait try = {.size = sizeof try, .deadline = 0};
static bool slept;

static void clear_one(void)
{
    OK(ramet_event_create(NULL, &event));
    step_shared->ref[0] = ramet_event_ref(event);
}

static void set_one(void)
{
    clear_one();
    OK(ramet_event_set(event));
}

static void open_it(void)
{
    OK(ramet_event_open(&step_shared->ref[0], &event));
}

static void set(void)
{
    OK(ramet_event_set(event));
    step_shared->did[0] = 1;
}

static void clear(void)
{
    OK(ramet_event_clear(event));
    step_shared->did[0] = 1;
}

/* Announces itself as a sleeper, and gives up. */
static void wait_late(void)
{
    ramet_wait soon = {.size = sizeof soon, .deadline = 1};
    CHECK(ramet_event_wait(event, &soon) == -ETIMEDOUT);
    step_shared->did[0] = 1;
}

static void use(void)
{
    OK(ramet_event_clear(event));
    CHECK(!ramet_event_is_set(event) && ramet_event_wait(event, &try) == -ETIMEDOUT);
    OK(ramet_event_set(event));
    CHECK(ramet_event_is_set(event) && ramet_event_wait(event, &try) == 0);
}

static void after_set(void)
{
    CHECK(ramet_event_is_set(event) || !step_shared->did[0]);
    use();
}

static void after_clear(void)
{
    CHECK(!ramet_event_is_set(event) || !step_shared->did[0]);
    use();
}

static void peer_looks(void)
{
    int r = ramet_event_wait(event, &try);
    CHECK(r == 0 || r == -ETIMEDOUT);
}

static void peer_sets(void)
{
    OK(ramet_event_set(event));
}

static void after_peer(void)
{
    CHECK(ramet_event_is_set(event) || !step_peer_ran);
    use();
}

static void sleeps(void)
{
    OK(ramet_event_wait(event, NULL));
    slept = true;
}

static bool enabled(void)
{
    return ramet_event_is_set(event);
}

static void after_sleep(void)
{
    CHECK(slept);
    use();
}

#define CASE(title, made, act, check)                                                              \
    .name = "event " title, .setup = made, .prepare = open_it, .operate = act, .verify = check

const struct step_case step_cases[] = {
    {CASE("set", clear_one, set, after_set), .peer = peer_looks},
    {CASE("set, of a set one", set_one, set, after_set), .peer = peer_looks},
    {CASE("clear", set_one, clear, after_clear), .peer = peer_looks},
    {CASE("wait, too late", clear_one, wait_late, after_peer), .peer = peer_sets},
    {CASE("set, to a sleeper", clear_one, set, after_sleep), .sleeps = sleeps, .enabled = enabled,
     .enable = peer_sets},
};
const int step_case_count = sizeof step_cases / sizeof step_cases[0];
