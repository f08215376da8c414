/* SPDX-License-Identifier: MIT
 *
 * fault_run.c: see fault_run.h.  Looks at the arena through its public calls and, for the member
 * slots and holds, through the arena layer's headers.
 */
#include "fault_run.h"
#include "arena/local.h"
#include "fault_calls.h"

#include <dirent.h>
#include <fcntl.h>
#include <ramet/arena.h>
#include <time.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RAMET_FAULT_ASAN 1
#endif
#endif

#define PATIENCE 30 /* seconds until what should end by itself counts as left behind */

struct state {
    uint64_t blocks, bytes;
    int descriptors, members, holds, children;
    long allocations;
};

struct outcome {
    struct state state;
    char call[40]; /* that failed; empty: none */
    int result;
};

static int descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;
    CHECK(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static int members(void)
{
    int n = 0;
    uint64_t high = rmt_load64(&rmt_header()->members_high);
    for (uint32_t slot = 1; slot < high; slot++)
        n += rmt_member_state_of(rmt_load64(&rmt_member_at(slot)->state)) != RMT_MEMBER_FREE;
    return n;
}

/* Those that have ended and were not waited for, too. */
static int children(void)
{
    DIR *d = opendir("/proc");
    const struct dirent *entry;
    int n = 0;
    CHECK(d);
    while ((entry = readdir(d)) != NULL) {
        char path[300], text[512] = {0};
        int parent = 0;
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        int fd = entry->d_name[0] > '0' && entry->d_name[0] <= '9' ? open(path, O_RDONLY) : -1;
        if (fd < 0)
            continue;
        if (read(fd, text, sizeof text - 1) > 0 && strrchr(text, ')'))
            sscanf(strrchr(text, ')') + 1, " %*c %d", &parent);
        close(fd);
        n += parent == getpid();
    }
    closedir(d);
    return n;
}

static struct state look(void)
{
    struct state s = {0};
    ramet_usage usage = {.size = sizeof usage};
    struct rmt_self *self;
    long allocations = fault_allocations(); /* before ours */
    OK(rmt_self(&self));
    OK(ramet_sweep());
    OK(ramet_arena_usage(&usage));
    s.blocks = usage.blocks;
    s.bytes = usage.bytes_in_use;
    s.descriptors = descriptors();
    s.members = members();
    for (int i = 0; i < RMT_HOLDS; i++)
        s.holds += rmt_load64(&self->thread->hold[i].what) != 0;
    s.children = children();
    s.allocations = allocations;
    return s;
}

static bool no_more(const struct state *a, const struct state *b)
{
    return a->blocks <= b->blocks && a->bytes <= b->bytes && a->descriptors <= b->descriptors &&
           a->members <= b->members && a->holds <= b->holds && a->children <= b->children &&
           a->allocations <= b->allocations;
}

static void say(const char *what, const struct state *s)
{
    fprintf(stderr,
            "  %-9s %llu blocks, %llu bytes, %d descriptors, %d members, %d holds, %ld "
            "allocations, %d children\n",
            what, (unsigned long long)s->blocks, (unsigned long long)s->bytes, s->descriptors,
            s->members, s->holds, s->allocations, s->children);
}

static void undo(const struct operation *o)
{
    if (o->undo)
        o->undo();
}

/* What a fork server or a killed child has still to do is waited for.  What goes away when the same
 * is done again is not left behind, but kept. */
static void must_become(const struct operation *o, const struct state *expected)
{
    time_t began = time(NULL);
    for (unsigned looks = 1;; looks++) {
        struct state now = look();
        if (no_more(&now, expected))
            return;
        if (time(NULL) - began > PATIENCE) {
            say("expected", expected);
            say("is", &now);
            CHECK(!"something is left behind");
        }
        if (looks % 100 == 0) {
            OK(o->run());
            undo(o);
        }
        const struct timespec moment = {.tv_nsec = 2000000};
        nanosleep(&moment, NULL);
    }
}

struct attempt {
    const struct operation *operation;
    unsigned nth; /* 0: none fails, and what is left is the measure */
    const struct state *expected;
    int to;
};

static struct fault run_failing(const struct operation *o, unsigned nth, int *ret_result)
{
    if (o->where)
        fault_arm_elsewhere(o->where, nth);
    else
        fault_arm(nth);
    *ret_result = o->run();
    return o->where ? fault_elsewhere_done() : fault_disarm();
}

static void attempt(void *arg)
{
    const struct attempt *a = arg;
    const struct operation *o = a->operation;
    struct outcome outcome = {0};
    if (o->before)
        o->before();
    struct fault fault = run_failing(o, a->nth, &outcome.result);
    if (fault.call)
        snprintf(outcome.call, sizeof outcome.call, "%s", fault.call);
    if (outcome.result < 0) {
        if (!fault.call || (outcome.result != fault.error && outcome.result != o->other_error[0] &&
                            outcome.result != o->other_error[1])) {
            fprintf(stderr, "  %s failed: error %d\n", fault.call ? fault.call : "nothing",
                    -outcome.result);
            CHECK(!"the error is that of the call that failed");
        }
        if (ramet_arena_id() != 0) /* the failure was not that of joining */
            OK(ramet_arena_check(2));
        OK(o->run());
    }
    undo(o);
    OK(o->run());
    undo(o);
    OK(ramet_arena_check(2));
    if (a->expected)
        must_become(o, a->expected);
    else
        outcome.state = look();
    CHECK(write(a->to, &outcome, sizeof outcome) == (ssize_t)sizeof outcome);
}

static struct outcome try_it(const struct operation *o, unsigned nth, const struct state *expected)
{
    int fds[2];
    struct outcome outcome;
    CHECK(pipe2(fds, O_CLOEXEC) == 0);
    struct attempt a = {o, nth, expected, fds[1]};
    pid_t pid = child(attempt, &a);
    close(fds[1]);
    ssize_t n = read(fds[0], &outcome, sizeof outcome);
    int code = finish(pid);
    close(fds[0]);
    if (n != (ssize_t)sizeof outcome || code != 0) {
        fprintf(stderr, "%s: with the failure of call %u: exit code %d\n", o->name, nth, code);
        CHECK(!"an attempt");
    }
    return outcome;
}

/* With AddressSanitizer a process costs so much that the short form goes in strides. */
static unsigned stride(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(RAMET_FAULT_ASAN)
    return getenv("RAMET_LONG") ? 1 : 5;
#else
    return 1;
#endif
}

void fail_each_call(const struct operation *o)
{
    struct state measure = try_it(o, 0, NULL).state;
    unsigned errors = 0, nth = 1;
    for (;; nth += stride()) {
        struct outcome outcome = try_it(o, nth, &measure);
        if (outcome.call[0] == 0)
            break;
        errors += outcome.result < 0;
    }
    fprintf(stderr, "%s: up to call %u failed, one at a time; %u errors\n", o->name, nth - 1,
            errors);
    CHECK(nth > 1);
}
