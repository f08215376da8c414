/* SPDX-License-Identifier: MIT
 *
 * test_view.c: what a view shows of another family of processes, busy, stopped and dead; that it
 * changes nothing and survives anything that it may read; ramet_dump and ramet_check.
 */
#include "arena/local.h"
#include "arena/view.h"
#include "channel/queue.h"
#include "sync/lock.h"
#include "sync/semaphore.h"
#include "sync_unit.h"
#include <ramet/inspect.h>
#include <ramet/ramet.h>
#include <ramet/view.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* Outside any arena: where a subject tells the viewer, who is no member, that it is ready. */
static struct {
    rmt_a64 ready;
    rmt_a64 held;     /* the lock has its holder */
    rmt_a64 at_third; /* the pool's worker is at its third item: two are finished */
    pid_t tid[4];
    ramet_ref ref[16];
} *told;

enum { LOCK, RLOCK, SEMAPHORE, CONDITION, EVENT, BARRIER, QUEUE, BOUNDED, POOL, CANCEL, DATA, END };

static ramet_lock *lock;
static ramet_rlock *rlock;
static ramet_queue *queue;
static ramet_condition *condition;

/* ---- the subject: a family of its own, which stands still where the test wants it to */

static void *hold(void *unused)
{
    (void)unused;
    OK(ramet_lock_acquire(lock, NULL));
    OK(ramet_rlock_acquire(rlock, NULL));
    OK(ramet_rlock_acquire(rlock, NULL));
    told->tid[0] = (pid_t)syscall(SYS_gettid);
    rmt_store64(&told->held, 1);
    rmt_add64(&told->ready, 1);
    for (;;)
        pause();
    return NULL;
}

static void *want_lock(void *unused)
{
    (void)unused;
    while (rmt_load64(&told->held) == 0)
        pause_ms(1);
    told->tid[1] = (pid_t)syscall(SYS_gettid);
    rmt_add64(&told->ready, 1);
    for (;;)
        (void)ramet_lock_acquire(lock, NULL);
    return NULL;
}

static void *want_item(void *unused)
{
    (void)unused;
    told->tid[2] = (pid_t)syscall(SYS_gettid);
    ramet_item item = {.size = sizeof item};
    rmt_add64(&told->ready, 1);
    for (;;)
        (void)ramet_queue_get(queue, NULL, &item);
    return NULL;
}

static void *want_notification(void *unused)
{
    (void)unused;
    OK(ramet_condition_acquire(condition, NULL));
    rmt_add64(&told->ready, 1);
    for (;;)
        (void)ramet_condition_wait(condition, NULL);
    return NULL;
}

static int nap(const void *in, void *out, const void *arg, size_t arg_size)
{
    (void)out;
    (void)arg;
    CHECK(arg_size == 0);
    int number;
    memcpy(&number, in, sizeof number);
    if (number == 2) {
        rmt_store64(&told->at_third, 1);
        for (;;)
            pause();
    }
    return 0;
}

static const ramet_pool_task pool_tasks[] = {{"nap", nap}};
static const ramet_task tasks[] = {RAMET_POOL_WORKER};

static void make_pool(void)
{
    static const int items[5] = {0, 1, 2, 3, 4};
    ramet_pool *pool;
    ramet_job *job;
    ramet_map_options each = {.size = sizeof each, .chunk = 1};
    OK(ramet_pool_create(&(ramet_pool_options){.size = sizeof(ramet_pool_options),
                                               .workers = 1,
                                               .method = RAMET_FORK},
                         &pool));
    OK(ramet_pool_map(pool, "nap", items, sizeof items[0], 5, NULL, 0, &each, &job));
    while (rmt_load64(&told->at_third) == 0)
        pause_ms(1);
}

static void subject(void *unused)
{
    (void)unused;
    pthread_t thread;
    ramet_semaphore *semaphore;
    ramet_event *event;
    ramet_barrier *barrier;
    ramet_queue *bounded;
    ramet_cancel *cancel;
    ramet_data *data;
    ramet_end *a, *b;
    OK(prctl(PR_SET_PDEATHSIG, SIGKILL));
    OK(ramet_lock_create(NULL, &lock));
    OK(ramet_rlock_create(NULL, &rlock));
    OK(ramet_semaphore_create(
        &(ramet_semaphore_options){.size = sizeof(ramet_semaphore_options), .value = 4, .max = 5},
        &semaphore));
    OK(ramet_condition_create(NULL, &condition));
    OK(ramet_event_create(NULL, &event));
    OK(ramet_event_set(event));
    OK(ramet_barrier_create(
        &(ramet_barrier_options){.size = sizeof(ramet_barrier_options), .parties = 3}, &barrier));
    OK(ramet_queue_create(NULL, &queue));
    OK(ramet_queue_create(
        &(ramet_queue_options){.size = sizeof(ramet_queue_options), .max_items = 7}, &bounded));
    OK(ramet_cancel_create(NULL, &cancel));
    OK(ramet_data_create(1000, &data));
    OK(ramet_pipe_create(NULL, &a, &b));
    OK(ramet_semaphore_acquire_owned(semaphore, NULL));
    ramet_item item = {.size = sizeof item};
    for (int i = 0; i < 3; i++)
        OK(ramet_queue_put(bounded, "item", 4, NULL));
    OK(ramet_queue_get(bounded, NULL, &item));
    OK(ramet_end_send(a, "0123456789", 10, NULL));
    told->ref[LOCK] = ramet_lock_ref(lock);
    told->ref[RLOCK] = ramet_rlock_ref(rlock);
    told->ref[SEMAPHORE] = ramet_semaphore_ref(semaphore);
    told->ref[CONDITION] = ramet_condition_ref(condition);
    told->ref[EVENT] = ramet_event_ref(event);
    told->ref[BARRIER] = ramet_barrier_ref(barrier);
    told->ref[QUEUE] = ramet_queue_ref(queue);
    told->ref[BOUNDED] = ramet_queue_ref(bounded);
    told->ref[CANCEL] = ramet_cancel_ref(cancel);
    told->ref[DATA] = ramet_data_ref(data);
    OK(ramet_end_ref(b, &told->ref[END]));
    make_pool();
    void *(*const threads[])(void *) = {hold, want_lock, want_item, want_notification};
    for (size_t i = 0; i < 4; i++)
        CHECK(pthread_create(&thread, NULL, threads[i], NULL) == 0);
    OK(ramet_barrier_wait(barrier, NULL, NULL, NULL, NULL)); /* the other two never come */
}

static pid_t start_subject(void (*fn)(void *), uint64_t ready)
{
    rmt_store64(&told->ready, 0);
    rmt_store64(&told->held, 0);
    rmt_store64(&told->at_third, 0);
    pid_t pid = child(fn, NULL);
    while (rmt_load64(&told->ready) < ready)
        pause_ms(1);
    return pid;
}

/* ---- looking for something in a view */

static bool find_object(ramet_view *view, const ramet_ref *ref, ramet_view_object *ret_object)
{
    ramet_view_object o = {.size = sizeof o};
    bool found = false;
    while (OK(ramet_view_next_object(view, &o)) == 1) {
        if (o.ref.offset == ref->offset) {
            CHECK(o.ref.kind == ref->kind && o.ref.generation == ref->generation && !found);
            CHECK(o.ref.arena == ref->arena);
            *ret_object = o;
            found = true;
        }
    }
    return found;
}

static ramet_view_object object_of(ramet_view *view, int which)
{
    ramet_view_object o = {0};
    CHECK(find_object(view, &told->ref[which], &o));
    return o;
}

static bool find_thread(ramet_view *view, pid_t tid, ramet_view_thread *ret_thread)
{
    ramet_view_thread t = {.size = sizeof t};
    while (OK(ramet_view_next_thread(view, &t)) == 1) {
        if (t.tid == tid) {
            *ret_thread = t;
            return true;
        }
    }
    return false;
}

/* All are asleep sooner or later, and between two slices one is awake for a moment. */
static void look_until_asleep(ramet_view *view, uint32_t sleepers)
{
    for (;;) {
        ramet_view_thread t = {.size = sizeof t};
        uint32_t n = 0;
        OK(ramet_view_refresh(view));
        while (OK(ramet_view_next_thread(view, &t)) == 1)
            n += (t.flags & RAMET_VIEW_WAITING) != 0;
        if (n >= sleepers)
            return;
        pause_ms(1);
    }
}

static void a_family_is_shown(void)
{
    ramet_view *view;
    ramet_view_thread t;
    pid_t pid = start_subject(subject, 4);
    OK(ramet_view_open(pid, &view));
    look_until_asleep(view, 4);                       /* lock, queue, condition, barrier */
    CHECK(ramet_arena_id() == 0 && rmt_local.fd < 0); /* the viewer has joined nothing */

    ramet_view_arena arena = {.size = sizeof arena};
    OK(ramet_view_whole(view, &arena));
    CHECK(arena.id == told->ref[LOCK].arena && arena.members == 2 && arena.poisoned == 0);
    CHECK(arena.layout == RMT_LAYOUT_VERSION && arena.threads == 6);
    ramet_view_member m = {.size = sizeof m};
    CHECK(OK(ramet_view_next_member(view, &m)) == 1);
    CHECK(m.pid == pid && m.state == RAMET_VIEW_LIVE && m.threads == 5 && m.gone == 0);
    CHECK(OK(ramet_view_next_member(view, &m)) == 1 && m.pid != pid && m.threads == 1);
    CHECK(OK(ramet_view_next_member(view, &m)) == 0);

    CHECK(find_thread(view, told->tid[1], &t));
    CHECK(t.pid == pid && (t.flags & RAMET_VIEW_WAITING) && t.at.offset == told->ref[LOCK].offset);
    CHECK(t.owner_pid == pid && t.owner_tid == told->tid[0] && t.waited >= 0 && t.state != 0);
    CHECK(find_thread(view, told->tid[2], &t) && t.at.offset == told->ref[QUEUE].offset);
    CHECK(t.at.kind == RAMET_KIND_QUEUE && t.owner_pid == 0);
    CHECK(find_thread(view, told->tid[0], &t));
    CHECK(!(t.flags & (RAMET_VIEW_WAITING | RAMET_VIEW_INSIDE)) && t.waited == -1);
    CHECK(find_thread(view, pid, &t) &&
          t.holds == 3); /* a permit, an item, a place in the barrier */

    ramet_view_object o = object_of(view, LOCK);
    CHECK(o.holder_pid == pid && o.holder_tid == told->tid[0] && o.waiters == 1 && o.depth == 1);
    o = object_of(view, RLOCK);
    CHECK(o.holder_tid == told->tid[0] && o.waiters == 0 && o.depth == 2);
    o = object_of(view, SEMAPHORE);
    CHECK(o.depth == 3 && o.limit == 5 && o.done == 1);
    o = object_of(view, CONDITION);
    CHECK(o.depth == 1 && o.waiters == 1 && o.of.kind == RAMET_KIND_RLOCK);
    CHECK(object_of(view, EVENT).flags == RAMET_VIEW_SET);
    o = object_of(view, BARRIER);
    CHECK(o.depth == 1 && o.limit == 3 && o.waiters == 1 && o.flags == 0);
    o = object_of(view, QUEUE);
    CHECK(o.depth == 0 && o.limit == 0 && o.waiters == 1);
    o = object_of(view, BOUNDED);
    CHECK(o.depth == 2 && o.limit == 7 && o.total == 3 && o.done == 1 && o.lost == 0);
    o = object_of(view, END);
    CHECK(o.depth >= 10 && o.depth < o.limit && o.of.offset != 0 && o.waiters == 0);
    CHECK(object_of(view, CANCEL).flags == 0 && object_of(view, DATA).limit == 1000);
    o = (ramet_view_object){.size = sizeof o};
    unsigned pools = 0, jobs = 0;
    while (OK(ramet_view_next_object(view, &o)) == 1) {
        if (o.ref.kind == RAMET_KIND_POOL) {
            pools++;
            CHECK(o.depth == 1 && o.limit == 1 && o.total == 1 && o.done == 1 && o.lost == 0);
        } else if (o.ref.kind == RAMET_KIND_JOB) {
            jobs++;
            CHECK(o.total == 5 && o.done == 2 && o.depth == 1 && o.of.kind == RAMET_KIND_POOL);
        }
    }
    CHECK(pools == 1 && jobs == 1);

    FILE *null = fopen("/dev/null", "w");
    CHECK(null);
    OK(ramet_view_print(view, null));
    fclose(null);
    kill_child(pid);
    OK(ramet_view_refresh(view)); /* the arena stays as long as it is viewed */
    m = (ramet_view_member){.size = sizeof m};
    CHECK(OK(ramet_view_next_member(view, &m)) == 1 && m.pid == pid && m.gone == 1);
    ramet_view_close(view);
}

/* ---- stopped inside a guard; dead */

static void stand_in_guard(void *unused)
{
    struct rmt_self *self;
    (void)unused;
    OK(prctl(PR_SET_PDEATHSIG, SIGKILL));
    OK(ramet_queue_create(NULL, &queue));
    OK(rmt_self(&self));
    told->ref[QUEUE] = ramet_queue_ref(queue);
    OK(rmt_guard_lock(self, &queue->shared->put));
    rmt_store64(&told->ready, 1);
    for (;;)
        pause();
}

static void a_thread_stopped_inside_is_shown(void)
{
    ramet_view *view;
    ramet_view_thread t;
    pid_t pid = start_subject(stand_in_guard, 1);
    OK(ramet_view_open(pid, &view));
    CHECK(find_thread(view, pid, &t));
    CHECK((t.flags & RAMET_VIEW_INSIDE) && !(t.flags & RAMET_VIEW_STOPPED));
    stop_child(pid);
    do {
        OK(ramet_view_refresh(view));
        CHECK(find_thread(view, pid, &t));
    } while (t.state != 'T');
    CHECK(t.flags == (RAMET_VIEW_INSIDE | RAMET_VIEW_STOPPED));
    CHECK(t.at.offset == told->ref[QUEUE].offset);
    ramet_view_object o = object_of(view, QUEUE);
    CHECK(o.inside == 1 && (o.flags & RAMET_VIEW_STOPPED));
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    CHECK(f);
    OK(ramet_view_print(view, f));
    fclose(f);
    CHECK(strstr(text, "stopped, inside queue ") && strstr(text, "held up by a stopped thread"));
    free(text);
    kill_child(pid);
    ramet_view_close(view);
}

/* ---- busy: whatever it reads, it ends, and what it says can be true */

static void *put_and_get(void *unused)
{
    static const char bytes[300];
    (void)unused;
    ramet_item item = {.size = sizeof item};
    for (;;) {
        for (int i = 0; i < 20; i++)
            OK(ramet_queue_put(queue, "0123456789", 10, NULL));
        for (int i = 0; i < 20; i++) {
            OK(ramet_queue_get(queue, NULL, &item));
            ramet_item_release(&item);
        }
        OK(ramet_lock_acquire(lock, NULL));
        OK(ramet_lock_release(lock));
        ramet_queue *other;
        OK(ramet_queue_create(NULL, &other));
        OK(ramet_queue_put(other, bytes, sizeof bytes, NULL));
        ramet_queue_close(other);
        rmt_add64(&told->ready, 1);
    }
    return NULL;
}

static void be_busy(void *unused)
{
    pthread_t thread;
    OK(prctl(PR_SET_PDEATHSIG, SIGKILL));
    OK(ramet_queue_create(NULL, &queue));
    OK(ramet_lock_create(NULL, &lock));
    told->ref[QUEUE] = ramet_queue_ref(queue);
    CHECK(pthread_create(&thread, NULL, put_and_get, NULL) == 0);
    put_and_get(unused);
}

static void a_busy_family_is_shown(void)
{
    ramet_view *view;
    pid_t pid = start_subject(be_busy, 10);
    uint64_t taken = 0, until = rmt_load64(&told->ready) + 300;
    OK(ramet_view_open(pid, &view));
    while (rmt_load64(&told->ready) < until) {
        OK(ramet_view_refresh(view));
        ramet_view_object o = object_of(view, QUEUE);
        CHECK(o.depth <= 80 && o.done >= taken && o.total >= o.done && o.lost == 0);
        taken = o.done;
    }
    kill_child(pid);
    ramet_view_close(view);
}

/* ---- an arena full of nonsense */

static void scribble(int fd, unsigned seed)
{
    char *p = mmap(NULL, 64u << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED);
    /* Not the constant part of the header, without which it is no arena at all. */
    uint64_t *words = (uint64_t *)(void *)p, high = 64;
    size_t from = offsetof(struct rmt_header, poisoned) / 8;
    memcpy(p + offsetof(struct rmt_header, members_high), &high, sizeof high);
    for (int i = 0; i < 4000; i++) {
        seed = seed * 1103515245 + 12345;
        size_t places[] = {from + seed / 64 % 900, RMT_MEMBERS_AT / 8 + seed / 64 % 4096,
                           RMT_PAGES_AT / 8 + seed / 64 % 2048,
                           (rmt_window_first_page(0) * RMT_PAGE_SIZE) / 8 + seed / 64 % 100000};
        size_t at = places[seed / 16 % 4];
        if (at * 8 == offsetof(struct rmt_header, members_high))
            continue;
        uint64_t kinds[] = {seed, (uint64_t)seed << 20, words[at] ^ (1ull << (seed / 32 % 64)),
                            UINT64_MAX};
        words[at] = kinds[seed / 8 % 4];
    }
    munmap(p, 64u << 20);
}

static void nothing_is_believed(void)
{
    pid_t pid = start_subject(subject, 4);
    ramet_view *view;
    OK(ramet_view_open(pid, &view));
    stop_child(pid); /* the family must not stumble over what is done to it */
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", view->source.fd);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    for (unsigned round = 0; round < 30; round++) {
        scribble(fd, round);
        FILE *null = fopen("/dev/null", "w");
        CHECK(null);
        int r = ramet_view_refresh(view);
        CHECK(r == 0 || r == -ENOMEM);
        (void)ramet_view_print(view, null);
        fclose(null);
    }
    close(fd);
    kill_child(pid);
    ramet_view_close(view);
}

/* ---- who cannot be viewed */

static void wait_for_the_end(void *unused)
{
    (void)unused;
    OK(prctl(PR_SET_PDEATHSIG, SIGKILL));
    rmt_store64(&told->ready, 1);
    for (;;)
        pause();
}

static void of_another_layout(void *unused)
{
    OK(ramet_join());
    struct rmt_header *header = rmt_header();
    header->version++;
    wait_for_the_end(unused);
}

static void with_no_leave_to_look(void *unused)
{
    OK(ramet_join());
    OK(prctl(PR_SET_DUMPABLE, 0)); /* as a program that has set-user-id */
    wait_for_the_end(unused);
}

static void open_as_nobody(void *pid)
{
    ramet_view *view = NULL;
    CHECK(setgid(65534) == 0 && setuid(65534) == 0);
    int r = ramet_view_open(*(pid_t *)pid, &view);
    CHECK((r == -EACCES || r == -EPERM) && view == NULL);
}

static void errors(void)
{
    ramet_view *view = NULL;
    ramet_view_member m = {.size = 1};
    pid_t pid = start_subject(wait_for_the_end, 1);
    CHECK(ramet_view_open(pid, &view) == -ENODEV);
    kill_child(pid);
    CHECK(ramet_view_open(pid, &view) == -ESRCH && ramet_view_open(-1, &view) == -ESRCH);
    pid = start_subject(of_another_layout, 1);
    CHECK(ramet_view_open(pid, &view) == -EPROTO && view == NULL);
    kill_child(pid);
    pid = start_subject(with_no_leave_to_look, 1);
    if (geteuid() == 0)
        CHECK(finish(child(open_as_nobody, &pid)) == 0);
    kill_child(pid);
    pid = start_subject(be_busy, 1);
    OK(ramet_view_open(pid, &view));
    CHECK(ramet_view_next_member(view, &m) == -EINVAL);
    kill_child(pid);
    ramet_view_close(view);
    ramet_view_close(NULL);
    CHECK(strcmp(ramet_view_kind(RAMET_KIND_LOCK), "lock") == 0 && !*ramet_view_kind(99));
}

/* ---- one's own: from here on this process is a member */

static void expect_dump(const ramet_ref *ref, const char *part)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    CHECK(f);
    OK(ramet_dump(ref, f));
    fclose(f);
    if (!strstr(text, part))
        fprintf(stderr, "%s\nin %s", part, text);
    CHECK(strstr(text, part));
    if (ref)
        CHECK(strchr(text, '\n') == text + size - 1);
    free(text);
}

static void dumps(void)
{
    char line[64];
    OK(ramet_lock_create(NULL, &lock));
    ramet_ref ref = ramet_lock_ref(lock);
    expect_dump(&ref, ": free, 0 waiters, 1 counts\n");
    OK(ramet_lock_acquire(lock, NULL));
    snprintf(line, sizeof line, ": held by %d/%d", getpid(), getpid());
    expect_dump(&ref, line);
    expect_dump(NULL, line);
    snprintf(line, sizeof line, "member %d: live", getpid());
    expect_dump(NULL, line);
    OK(ramet_lock_release(lock));
    OK(ramet_lock_acquire(lock, NULL));
    OK(ramet_lock_mark_dead(lock));
    expect_dump(&ref, ": its holder died");
    ramet_lock_close(lock);
    CHECK(ramet_dump(&ref, stderr) == -ESTALE && ramet_check(&ref, 2) == -ESTALE);
    FILE *full = fopen("/dev/full", "w");
    if (full) {
        setvbuf(full, NULL, _IONBF, 0);
        CHECK(ramet_dump(NULL, full) == -EIO);
        fclose(full);
    }
}

static void checks(void)
{
    ramet_semaphore *semaphore;
    ramet_queue *other;
    OK(ramet_semaphore_create(NULL, &semaphore));
    OK(ramet_semaphore_acquire_owned(semaphore, NULL));
    OK(ramet_lock_create(NULL, &lock));
    OK(ramet_queue_create(NULL, &other));
    ramet_ref s = ramet_semaphore_ref(semaphore), l = ramet_lock_ref(lock);
    ramet_ref q = ramet_queue_ref(other);
    OK(ramet_check(&s, 2));
    OK(ramet_check(&l, 2));
    OK(ramet_check(&q, 2));
    OK(ramet_check(NULL, 2));
    rmt_store64(&rmt_semaphore_of(semaphore)->owned, 2); /* one more than is held */
    CHECK(ramet_check(&s, -1) == -ENOTRECOVERABLE && ramet_check(NULL, -1) == -ENOTRECOVERABLE);
    rmt_store64(&rmt_semaphore_of(semaphore)->owned, 1);
    rmt_store64(&rmt_lock_of(lock)->word, rmt_word(1, 1, 16000));
    CHECK(ramet_check(&l, -1) == -ENOTRECOVERABLE);
    rmt_store64(&rmt_lock_of(lock)->word, 0);
    rmt_store64(&other->shared->done, 1);
    CHECK(ramet_check(&q, -1) == -ENOTRECOVERABLE);
    rmt_store64(&other->shared->done, 0);
    OK(ramet_check(NULL, 2));
    l.kind = RAMET_KIND_QUEUE;
    CHECK(ramet_check(&l, 2) == -EINVAL);
    OK(ramet_semaphore_release_owned(semaphore));
    ramet_semaphore_close(semaphore);
    ramet_lock_close(lock);
    ramet_queue_close(other);
}

int main(int argc, char **argv)
{
    ramet_pool_tasks(pool_tasks, 1);
    OK(ramet_enter(argc, argv, tasks, 1));
    watchdog();
    told = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(told != MAP_FAILED);
    RUN(a_family_is_shown);
    RUN(a_thread_stopped_inside_is_shown);
    RUN(a_busy_family_is_shown);
    RUN(nothing_is_believed);
    RUN(errors);
    RUN(dumps);
    RUN(checks);
    return 0;
}
