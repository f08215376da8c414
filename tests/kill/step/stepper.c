/* SPDX-License-Identifier: MIT
 *
 * stepper.c: sees every store to the arena that the calling thread makes.  The first window is
 * mapped read-only; a store faults, its page is opened, the one instruction runs under the trap
 * flag, and what it changed is added to the hash of the state before the page is closed again.  The
 * hash is a sum over words, so that it depends on what the arena contains and not on the way there.
 */
#include "arena/local.h"
#include "step.h"

#include <sys/mman.h>
#include <ucontext.h>

#define PAGE 4096u
#define TRAP_FLAG 0x100
#define OPEN_MAX 4 /* pages that one instruction touches, at most two, and one to see an error */
#define STACK (512u << 10)

struct step_seen step_seen;

static struct {
    char *page;
    uint64_t before[PAGE / 8];
} opened[OPEN_MAX];
static int open_count;
static uintptr_t last_ip;
static bool stepping, every;
static bool to_syscall, past_syscall; /* single-stepping for one system call: step_over_futex */
static void (*on_change)(void);
static void (*on_syscall)(uintptr_t *registers);

uint64_t step_mix(uint64_t a, uint64_t b)
{
    uint64_t z = (a ^ b * 0x9e3779b97f4a7c15ull) + 0x9e3779b97f4a7c15ull; /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static char *window(void)
{
    return rmt_at(0);
}

static void protect(char *page, size_t size, int how)
{
    if (mprotect(page, size, how) < 0)
        _exit(3);
}

static void open_page(char *at)
{
    char *page = (char *)((uintptr_t)at & ~(uintptr_t)(PAGE - 1));
    memcpy(opened[open_count].before, page, PAGE);
    opened[open_count++].page = page;
    protect(page, PAGE, PROT_READ | PROT_WRITE);
}

static bool in_window(const char *at)
{
    return at >= window() && at < window() + RMT_WINDOW0;
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    ucontext_t *u = context;
    if (!stepping || !in_window(info->si_addr) || open_count == OPEN_MAX) {
        static const char text[] = "step: a fault that is no store to the arena\n";
        (void)!write(2, text, sizeof text - 1);
        _exit(4);
    }
    open_page(info->si_addr);
    last_ip = (uintptr_t)u->uc_mcontext.gregs[REG_RIP];
    u->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static bool close_page(int i)
{
    const uint64_t *before = opened[i].before, *now = (const uint64_t *)(void *)opened[i].page;
    uint64_t offset = (uint64_t)(opened[i].page - window());
    bool changed = false;
    for (unsigned w = 0; w < PAGE / 8; w++) {
        if (before[w] == now[w])
            continue;
        if (!changed)
            step_seen.offset = offset + w * 8;
        step_seen.state += step_mix(now[w], offset + w * 8) - step_mix(before[w], offset + w * 8);
        changed = true;
    }
    protect(opened[i].page, PAGE, PROT_READ);
    return changed;
}

static void on_trap(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    ucontext_t *u = context;
    if (past_syscall)
        to_syscall = past_syscall = false;
    if (!stepping || !(every || to_syscall))
        u->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
    if (!stepping)
        return;
    step_seen.steps++;
    bool changed = false;
    while (open_count > 0)
        changed |= close_page(--open_count);
    if (changed) {
        step_seen.ip = last_ip;
        step_seen.stores++;
        on_change();
    }
    const unsigned char *next = (const unsigned char *)u->uc_mcontext.gregs[REG_RIP];
    bool at_syscall = next[0] == 0x0f && next[1] == 0x05;
    if (to_syscall && at_syscall) {
        char *word = (char *)u->uc_mcontext.gregs[REG_RDI];
        if (in_window(word))
            open_page(word);
        past_syscall = true;
    } else if (every && on_syscall && at_syscall) {
        uintptr_t registers[3] = {(uintptr_t)u->uc_mcontext.gregs[REG_RAX],
                                  (uintptr_t)u->uc_mcontext.gregs[REG_RDI],
                                  (uintptr_t)u->uc_mcontext.gregs[REG_RSI]};
        on_syscall(registers);
    }
}

#define SET_TRAP_FLAG                                                                              \
    __asm__ __volatile__("lea -128(%%rsp), %%rsp\n\tpushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\t"    \
                         "lea 128(%%rsp), %%rsp" ::                                                \
                             : "memory", "cc")
#define CLEAR_TRAP_FLAG                                                                            \
    __asm__ __volatile__("lea -128(%%rsp), %%rsp\n\tpushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq\n\t"  \
                         "lea 128(%%rsp), %%rsp" ::                                                \
                             : "memory", "cc")

/* The kernel refuses a futex in a private page that cannot be written: the page is opened for the
 * system call that comes next. */
void step_over_futex(void)
{
    if (!stepping || every || to_syscall)
        return;
    to_syscall = true;
    SET_TRAP_FLAG;
}

static void catch(int signal, void (*fn)(int, siginfo_t *, void *))
{
    struct sigaction a = {.sa_sigaction = fn, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigfillset(&a.sa_mask);
    CHECK(sigaction(signal, &a, NULL) == 0);
}

void step_begin(bool every_instruction, void (*change)(void), void (*syscall)(uintptr_t *))
{
    static char *stack;
    if (!stack) {
        stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(stack != MAP_FAILED);
        const stack_t alternative = {.ss_sp = stack, .ss_size = STACK};
        CHECK(sigaltstack(&alternative, NULL) == 0);
    }
    /* It may be called from a handler of these (driver.c, the third death), which then go on below
     * it on the same stack. */
    sigset_t both;
    sigemptyset(&both);
    sigaddset(&both, SIGSEGV);
    sigaddset(&both, SIGTRAP);
    CHECK(pthread_sigmask(SIG_UNBLOCK, &both, NULL) == 0);
    catch(SIGSEGV, on_fault);
    catch(SIGTRAP, on_trap);
    to_syscall = past_syscall = false;
    every = every_instruction;
    on_change = change;
    on_syscall = syscall;
    protect(window(), RMT_WINDOW0, PROT_READ);
    stepping = true;
    if (every)
        SET_TRAP_FLAG;
}

void step_end(void)
{
    if (every)
        CLEAR_TRAP_FLAG;
    stepping = false;
    protect(window(), RMT_WINDOW0, PROT_READ | PROT_WRITE);
}
