/* SPDX-License-Identifier: MIT
 *
 * explore.c: all schedules of a case, the ones with fewer preemptions first (iterative context
 * bounding: Musuvathi & Qadeer, PLDI 2007).  See schedule.h.
 *
 * A schedule is a list of choices that differ from "who goes on goes on".  Each is run in a process
 * of its own and tells at which points there was a choice; the schedules that make one more, after
 * its last, come from it.  So each is made once.  A choice where who would go on could is a
 * preemption or a kill, and is counted; where he could not, it is neither.  From a schedule that
 * comes to a state that was seen (trace.c) nothing more is made there: what saw it first had no
 * more preemptions behind it, since these are done in order, and all that follows comes from that.
 */
#include "schedule.h"

#include <sys/mman.h>

#define BAD_ENOUGH 3
#define CHOICES_MOST 256
#define STRIDE_SHORT 7 /* the short form of a large case kills at one in so many points */

struct node {        /* a schedule: its parent's choices and one more */
    uint32_t parent; /* index; 0: that of no choices */
    struct sched_choice choice;
    uint8_t preemptions, kills;
};

struct list { /* of schedules to be run */
    uint32_t *index;
    size_t count, room;
};

bool sched_long;

static struct node *nodes;
static size_t node_count, node_room;
static const struct sched_case *the_case;
static uint64_t schedules, deepest, bad;
static uint64_t mixed; /* schedules that would be the first with a preemption and a kill */
enum { MOST = 16 };    /* preemptions */
static struct list lists[MOST + 1][SCHED_KILLS + 1];

static void *more(void *of, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return of;
    *room = *room ? 2 * *room : 256;
    of = realloc(of, *room * size);
    CHECK(of);
    return of;
}

static int bound(unsigned kills)
{
    int most = (sched_long ? the_case->full : the_case->brief)[kills];
    CHECK(most <= MOST);
    return most;
}

static unsigned stride(void)
{
    return the_case->stride ? the_case->stride : 1;
}

static void add(uint32_t parent, struct sched_choice choice, unsigned preemptions, unsigned kills)
{
    if (kills > SCHED_KILLS || (int)preemptions > bound(kills))
        return;
    bool mixes = preemptions > 0 && kills > 0 &&
                 (nodes[parent].preemptions == 0 || nodes[parent].kills == 0);
    if (mixes && mixed++ % stride() != 0)
        return;
    nodes = more(nodes, node_count, &node_room, sizeof *nodes);
    CHECK(node_count < UINT32_MAX);
    nodes[node_count] = (struct node){.parent = parent,
                                      .choice = choice,
                                      .preemptions = (uint8_t)preemptions,
                                      .kills = (uint8_t)kills};
    struct list *l = &lists[preemptions][kills];
    l->index = more(l->index, l->count, &l->room, sizeof *l->index);
    l->index[l->count++] = (uint32_t)node_count++;
}

/* The choices of a schedule, in order. */
static unsigned choices_of(uint32_t index, struct sched_choice *choices)
{
    unsigned n = 0;
    for (uint32_t i = index; i != 0; i = nodes[i].parent)
        n++;
    CHECK(n <= CHOICES_MOST);
    for (uint32_t i = index, at = n; i != 0; i = nodes[i].parent)
        choices[--at] = nodes[i].choice;
    return n;
}

/* 12b,40!,40c: at point 12 actor b goes on, at 40 who would is killed. */
static void print_choices(FILE *to, const struct sched_choice *choices, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        fprintf(to, "%s%u%c", i ? "," : "", choices[i].at,
                choices[i].choice == SCHED_KILL ? '!' : 'a' + choices[i].choice);
    if (count == 0)
        fputs("-", to);
}

static unsigned parse_choices(const char *s, struct sched_choice *choices)
{
    unsigned n = 0;
    for (; *s >= '0' && *s <= '9' && n < CHOICES_MOST; n++) {
        char *end;
        choices[n].at = (uint16_t)strtoul(s, &end, 10);
        choices[n].choice = (uint8_t)(*end == '!' ? SCHED_KILL : *end - 'a');
        s = *end && end[1] == ',' ? end + 2 : end + (*end != 0);
    }
    CHECK(*s == 0 || strcmp(s, "-") == 0);
    return n;
}

static int run(const struct sched_choice *choices, unsigned count, bool say)
{
    sched_told->points = 0;
    fflush(stdout);
    pid_t pid = _Fork();
    CHECK(pid >= 0);
    if (pid == 0)
        sched_run(choices, count, say);
    return finish(pid);
}

/* Runs one, and adds what comes of it. */
static void try(uint32_t index)
{
    struct sched_choice choices[CHOICES_MOST];
    unsigned count = choices_of(index, choices);
    schedules++;
    int r = run(choices, count, false);
    if (r != 0) {
        bad++;
        if (r < 0)
            fprintf(stderr, "ended by signal %d\n", -r);
        fprintf(stderr, "%s: bad schedule: --replay '%s' ", the_case->name, the_case->name);
        print_choices(stderr, choices, count);
        fprintf(stderr, "\n");
        return;
    }
    unsigned preemptions = nodes[index].preemptions, kills = nodes[index].kills;
    if (sched_told->points > deepest)
        deepest = sched_told->points;
    for (uint32_t at = count ? choices[count - 1].at + 1u : 0; at < sched_told->points; at++) {
        struct sched_point p = sched_told->point[at];
        if (!seen_add(p.state))
            return;
        for (unsigned i = 0; i < SCHED_ACTORS; i++)
            if (p.others >> i & 1)
                add(index, (struct sched_choice){(uint16_t)at, (uint8_t)i}, preemptions + p.costs,
                    kills);
        if (p.killable && (sched_long || !the_case->large || at % STRIDE_SHORT == 0))
            add(index, (struct sched_choice){(uint16_t)at, SCHED_KILL}, preemptions, kills + 1);
    }
}

static void explore(void)
{
    node_count = 0;
    for (unsigned p = 0; p <= MOST; p++)
        for (unsigned k = 0; k <= SCHED_KILLS; k++)
            lists[p][k].count = 0;
    add(0, (struct sched_choice){0, 0}, 0, 0);
    for (unsigned p = 0; p <= MOST; p++)
        for (unsigned k = 0; k <= SCHED_KILLS; k++)
            for (struct list *l = &lists[p][k]; l->count > 0 && bad < BAD_ENOUGH;)
                try(l->index[--l->count]);
}

static void print_bounds(void)
{
    char of_both[24] = "";
    printf(" preemptions <=");
    for (unsigned k = 0; k <= SCHED_KILLS && bound(k) >= 0; k++)
        printf("%s%d", k ? "/" : "", bound(k));
    if (stride() > 1 && bound(1) > 0)
        snprintf(of_both, sizeof of_both, "(one in %u)", stride());
    printf(" %-11s", of_both);
}

/* In a process of its own, since the arena is. */
static int one_case(const char *replay)
{
    pid_t pid = _Fork();
    CHECK(pid >= 0);
    if (pid > 0)
        return finish(pid);
    sched_prepare(the_case);
    if (replay) {
        struct sched_choice choices[CHOICES_MOST];
        bad = run(choices, parse_choices(replay, choices), true) != 0;
    } else {
        explore();
        printf("%-28s", the_case->name);
        print_bounds();
        printf(" %8lu schedules %8lu kills %9lu states %5lu points at most %3lu bad\n",
               (unsigned long)schedules, (unsigned long)sched_told->kills,
               (unsigned long)seen_count(), (unsigned long)deepest, (unsigned long)bad);
    }
    fflush(stdout);
    sched_end();
    _exit(bad != 0);
}

/* [case]: only that one.  --replay case schedule: only that schedule, aloud.  RAMET_LONG=1: the
 * long form. */
int main(int argc, char **argv)
{
    const char *form = getenv("RAMET_LONG");
    sched_long = form && strcmp(form, "1") == 0;
    const char *replay = argc == 4 && strcmp(argv[1], "--replay") == 0 ? argv[3] : NULL;
    const char *only = replay ? argv[2] : argc == 2 ? argv[1] : NULL;
    sched_told =
        mmap(NULL, sizeof *sched_told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(sched_told != MAP_FAILED);
    int failed = 0, found = 0;
    for (int i = 0; i < sched_case_count; i++) {
        the_case = &sched_cases[i];
        if (only && strcmp(only, the_case->name) != 0)
            continue;
        found++;
        memset(sched_told, 0, sizeof *sched_told);
        seen_make();
        failed += one_case(replay) != 0;
    }
    if (found == 0)
        fprintf(stderr, "no such case: %s\n", only);
    return failed != 0 || found == 0;
}
