/* SPDX-License-Identifier: MIT
 *
 * storm.c: the conductor of the storm: starts workers, kills them at random, by SIGKILL from
 * outside or by a fuse at a random atomic operation, and puts others in their places; stops some
 * for a while; and after each round has everything accounted for.  See storm.h.
 *
 *     storm [--kills N | --seconds S] [--seed X]
 *
 * Prints its seed; the same seed makes the same choices (who is killed, when, and what each worker
 * does turn by turn), though not the same interleaving of the processes.
 */
#include "storm.h"
#include "arena/local.h"

#include <ramet/arena.h>

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>

enum { ROUND = 60 /* deaths in a round */, SHORT_KILLS = 600, LONG_SECONDS = 120 };

struct storm_shared *storm_shared;
struct storm_objects storm_objects;

static pid_t pid_of[STORM_WORKERS];
static uint64_t sequence;
static struct storm_toll toll;
static uint64_t deaths, stops, execs, pool_kills; /* of all rounds */

uint64_t storm_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

/* A worker ends by SIGKILL, from us or from its fuse, or with 0 when it is told to. */
static void check_end(int i, int status, bool told)
{
    if (status == SIGKILL || (told && status == 0))
        return;
    if (WIFSIGNALED(status))
        fprintf(stderr, "storm: worker %d ended by signal %d%s\n", i, WTERMSIG(status),
                WTERMSIG(status) == SIGALRM ? ": it hung" : "");
    else
        fprintf(stderr, "storm: worker %d ended with %d\n", i, WEXITSTATUS(status));
    exit(1);
}

static void hung(int signal)
{
    static const char text[] = "storm: it hangs\n";
    (void)signal;
    if (write(2, text, sizeof text - 1) < 0) {
    }
    _exit(1);
}

static void start_worker(int i)
{
    uint64_t fate = storm_random(&sequence);
    struct storm_life life = {.index = i, .parent = getpid(), .sequence = storm_random(&sequence)};
    if (fate % 2 == 0)
        life.fuse = 1 + (fate >> 8) % (1u << (9 + (fate >> 4) % 10));
    if (fate >> 1 & 1 && fate % 7 == 0)
        life.exec_after = 20 + (fate >> 32) % 200;
    life.without_main = (fate >> 40) % 5 == 0;
    fflush(stdout);
    pid_of[i] = fork();
    CHECK(pid_of[i] >= 0);
    if (pid_of[i] == 0)
        storm_work(&life);
}

/* The worker has ended, and has been waited for unless it lives on as another program: notes what
 * it may have had in its hands. */
static void note_death(int i)
{
    struct storm_slot *slot = &storm_shared->slot[i];
    toll.deaths++;
    deaths++;
    for (int l = 0; l < STORM_LOCKS; l++) {
        toll.held[l] += atomic_load(&slot->lock[l]) == STORM_SURELY;
        toll.perhaps_held[l] += atomic_load(&slot->lock[l]) == STORM_PERHAPS;
    }
    uint32_t receiving = atomic_load(&slot->receiving);
    if (receiving != 0)
        toll.receiving[receiving - 1]++;
    memset(slot, 0, sizeof *slot);
}

/* Told at once, or left for those to find out who need to know. */
static void bury(int i)
{
    pid_t pid = pid_of[i];
    note_death(i);
    if (storm_random(&sequence) % 2 == 0)
        ramet_reap(pid);
    pid_of[i] = 0;
}

static bool is_member(pid_t pid)
{
    uint64_t high = rmt_load64(&rmt_header()->members_high);
    for (uint32_t slot = 1; slot < high; slot++) {
        uint64_t state = rmt_load64(&rmt_member_at(slot)->state);
        if (rmt_member_state_of(state) == RMT_MEMBER_LIVE && rmt_member_pid_of(state) == pid)
            return true;
    }
    return false;
}

/* Worker i has said that it is about to exec: waits until its membership is seen to have ended
 * though it lives, then ends it.  It may also have been killed on its way. */
static void follow_exec(int i)
{
    struct rmt_self *self;
    OK(rmt_self(&self));
    int status;
    for (;;) {
        pid_t done = waitpid(pid_of[i], &status, WNOHANG);
        CHECK(done >= 0);
        if (done != 0) {
            check_end(i, status, false);
            break;
        }
        if (!is_member(pid_of[i])) {
            execs++;
            CHECK(kill(pid_of[i], SIGKILL) == 0);
            CHECK(finish(pid_of[i]) == -SIGKILL);
            break;
        }
        rmt_sweep_thorough(self);
        usleep(1000);
    }
    bury(i);
}

/* Those who ended by themselves get successors. */
static void look_after(void)
{
    for (int i = 0; i < STORM_WORKERS; i++) {
        int status;
        if (pid_of[i] == 0)
            continue;
        if (atomic_load(&storm_shared->slot[i].execs)) {
            follow_exec(i);
        } else {
            pid_t done = waitpid(pid_of[i], &status, WNOHANG);
            CHECK(done >= 0);
            if (done == 0)
                continue;
            check_end(i, status, false);
            bury(i);
        }
        start_worker(i);
    }
}

static void kill_one(int i)
{
    int status;
    CHECK(kill(pid_of[i], SIGKILL) == 0);
    CHECK(waitpid(pid_of[i], &status, 0) == pid_of[i]);
    check_end(i, status, false);
    bury(i);
    start_worker(i);
}

/* A stopped process is not dead, however long others wait for what it holds.  Nothing here may wait
 * for it meanwhile. */
static void stop_one(int i)
{
    int status;
    bool member = is_member(pid_of[i]);
    CHECK(kill(pid_of[i], SIGSTOP) == 0);
    CHECK(waitpid(pid_of[i], &status, WUNTRACED) == pid_of[i]);
    if (!WIFSTOPPED(status)) { /* its fuse was quicker */
        check_end(i, status, false);
        bury(i);
        start_worker(i);
        return;
    }
    usleep((useconds_t)(storm_random(&sequence) % 8000));
    CHECK(!member || atomic_load(&storm_shared->slot[i].execs) || is_member(pid_of[i]));
    CHECK(kill(pid_of[i], SIGCONT) == 0);
    stops++;
}

static void step(void)
{
    uint64_t choice = storm_random(&sequence);
    int i = (int)(choice >> 8) % STORM_WORKERS;
    i = i < 0 ? -i : i;
    usleep((useconds_t)((choice >> 32) % 6000));
    atomic_store(&storm_shared->filling, (choice >> 56) % 3 == 0);
    look_after();
    if (choice % 8 < 5)
        kill_one(i);
    else if (choice % 8 == 5)
        stop_one(i);
    else if (choice % 8 == 6)
        pool_kills += storm_pool_kill(choice >> 16);
    storm_pool_turn();
}

/* The workers' own children may have outlived them. */
static void wait_for_orphans(void)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, 0)) >= 0 || errno == EINTR) {
        CHECK(pid < 0 || status == 0 || status == SIGKILL);
        if (pid > 0)
            ramet_reap(pid);
    }
    CHECK(errno == ECHILD);
}

static void end_workers(void)
{
    atomic_store(&storm_shared->stop, 1);
    for (int i = 0; i < STORM_WORKERS; i++) {
        while (pid_of[i] != 0) {
            int status;
            if (atomic_load(&storm_shared->slot[i].execs)) {
                follow_exec(i);
                continue;
            }
            pid_t done = waitpid(pid_of[i], &status, WNOHANG);
            CHECK(done >= 0);
            if (done == 0) {
                usleep(500);
                continue;
            }
            check_end(i, status, true);
            bury(i);
        }
    }
}

static void round_of(uint64_t kills)
{
    alarm(600); /* a hang; not a limit for the whole */
    toll = (struct storm_toll){0};
    storm_make();
    storm_pool_start();
    for (int i = 0; i < STORM_WORKERS; i++)
        start_worker(i);
    while (toll.deaths < kills)
        step();
    end_workers();
    storm_pool_end();
    wait_for_orphans();
    struct rmt_self *self;
    OK(rmt_self(&self));
    while (OK(ramet_sweep()) > 0)
        ;
    rmt_sweep_thorough(self);
    storm_settle(&toll);
}

static uint64_t number(const char *text)
{
    char *end;
    uint64_t n = strtoull(text, &end, 0);
    if (*text == 0 || *end != 0) {
        fprintf(stderr, "storm: not a number: %s\n", text);
        exit(2);
    }
    return n;
}

struct arguments {
    uint64_t kills, seconds, seed;
};

static struct arguments parse(int argc, char **argv)
{
    struct arguments a = {.kills = SHORT_KILLS, .seed = 1};
    if (getenv("RAMET_LONG")) {
        a = (struct arguments){.seconds = LONG_SECONDS};
        CHECK(getrandom(&a.seed, sizeof a.seed, 0) == sizeof a.seed);
    }
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 < argc && strcmp(argv[i], "--kills") == 0) {
            a.kills = number(argv[i + 1]);
            a.seconds = 0;
        } else if (i + 1 < argc && strcmp(argv[i], "--seconds") == 0) {
            a.seconds = number(argv[i + 1]);
        } else if (i + 1 < argc && strcmp(argv[i], "--seed") == 0) {
            a.seed = number(argv[i + 1]);
        } else {
            fprintf(stderr, "usage: storm [--kills N | --seconds S] [--seed X]\n");
            exit(2);
        }
    }
    return a;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--bystander") == 0)
        for (;;)
            pause(); /* the watchdog's alarm goes on after exec */
    storm_pool_enter(argc, argv);
    struct arguments a = parse(argc, argv);
    printf("storm: seed %#lx\n", (unsigned long)a.seed);
    fflush(stdout);
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0);
    OK(ramet_join());
    void *p =
        mmap(NULL, sizeof *storm_shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    storm_shared = p;
    int64_t end = ramet_now() + (int64_t)a.seconds * 1000000000;
    sequence = a.seed;
    signal(SIGALRM, hung);
    round_of(2); /* what a first use allocates for good is there then */
    storm_baseline(true);
    uint64_t rounds = 0;
    for (; a.seconds != 0 ? ramet_now() < end : deaths < a.kills; rounds++) {
        round_of(ROUND);
        storm_baseline(false);
    }
    printf("storm: %lu rounds, %lu deaths (%lu by exec), %lu stopped for a while\n",
           (unsigned long)rounds, (unsigned long)deaths, (unsigned long)execs,
           (unsigned long)stops);
    printf("storm: %lu items delivered, %lu lost in dead hands; %lu told of a dead owner\n",
           (unsigned long)storm_total.delivered, (unsigned long)storm_total.lost,
           (unsigned long)storm_total.told);
    printf("storm: pool: %lu jobs, %lu workers killed, %lu items failed; all accounted for\n",
           (unsigned long)storm_pool_jobs, (unsigned long)pool_kills,
           (unsigned long)storm_pool_failed);
    return 0;
}
