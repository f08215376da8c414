/* SPDX-License-Identifier: MIT
 *
 * atomic.h: every access to a word that another process may read or write goes through here.  The
 * only user of stdatomic in the tree.
 *
 * In the test build (RAMET_HOOKS) each of these operations calls rmt_hook first, so that a test can
 * kill, stop or schedule at each of them.
 *
 * Orders: a plain name is an acquire load or a release store; _relaxed says so; exchanges,
 * additions and compare-and-swaps are sequentially consistent, because each is also a side of the
 * "publish, then look for sleepers" handshake (see docs/architecture.md, Memory orders).
 */
#ifndef RMT_ATOMIC_H
#define RMT_ATOMIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef _Atomic uint64_t rmt_a64;
typedef _Atomic uint32_t rmt_a32;

enum rmt_hook_kind {
    RMT_HOOK_LOAD,
    RMT_HOOK_STORE,
    RMT_HOOK_CAS,
    RMT_HOOK_XCHG,
    RMT_HOOK_ADD,
    RMT_HOOK_FUTEX_WAIT,
    RMT_HOOK_FUTEX_WAKE,
    RMT_HOOK_BELL,
    RMT_HOOK_STEP, /* between two system calls whose order matters; no word */
};

#ifdef RAMET_HOOKS
typedef void rmt_hook_fn(enum rmt_hook_kind kind, const volatile void *word);
extern rmt_hook_fn *rmt_hook; /* process-local; set by tests, NULL otherwise */
#define RMT_HOOK(kind, p)                                                                          \
    do {                                                                                           \
        if (rmt_hook)                                                                              \
            rmt_hook((kind), (p));                                                                 \
    } while (0)
#else
#define RMT_HOOK(kind, p) ((void)0)
#endif
#define RMT_STEP() RMT_HOOK(RMT_HOOK_STEP, NULL)

#define RMT_DEFINE_ATOMICS(N)                                                                      \
    static inline uint##N##_t rmt_load##N(const rmt_a##N *p)                                       \
    {                                                                                              \
        RMT_HOOK(RMT_HOOK_LOAD, p);                                                                \
        return atomic_load_explicit(p, memory_order_acquire);                                      \
    }                                                                                              \
    static inline uint##N##_t rmt_load##N##_relaxed(const rmt_a##N *p)                             \
    {                                                                                              \
        RMT_HOOK(RMT_HOOK_LOAD, p);                                                                \
        return atomic_load_explicit(p, memory_order_relaxed);                                      \
    }                                                                                              \
    static inline void rmt_store##N(rmt_a##N *p, uint##N##_t v)                                    \
    {                                                                                              \
        RMT_HOOK(RMT_HOOK_STORE, p);                                                               \
        atomic_store_explicit(p, v, memory_order_release);                                         \
    }                                                                                              \
    static inline void rmt_store##N##_relaxed(rmt_a##N *p, uint##N##_t v)                          \
    {                                                                                              \
        RMT_HOOK(RMT_HOOK_STORE, p);                                                               \
        atomic_store_explicit(p, v, memory_order_relaxed);                                         \
    }                                                                                              \
    static inline bool rmt_cas##N(rmt_a##N *p, uint##N##_t *expected, uint##N##_t desired)         \
    {                                                                                              \
        RMT_HOOK(RMT_HOOK_CAS, p);                                                                 \
        return atomic_compare_exchange_strong(p, expected, desired);                               \
    }                                                                                              \
    static inline uint##N##_t rmt_xchg##N(rmt_a##N *p, uint##N##_t v)                              \
    {                                                                                              \
        RMT_HOOK(RMT_HOOK_XCHG, p);                                                                \
        return atomic_exchange(p, v);                                                              \
    }                                                                                              \
    static inline uint##N##_t rmt_add##N(rmt_a##N *p, uint##N##_t v)                               \
    {                                                                                              \
        RMT_HOOK(RMT_HOOK_ADD, p);                                                                 \
        return atomic_fetch_add(p, v);                                                             \
    }                                                                                              \
    static inline uint##N##_t rmt_or##N(rmt_a##N *p, uint##N##_t v)                                \
    {                                                                                              \
        RMT_HOOK(RMT_HOOK_ADD, p);                                                                 \
        return atomic_fetch_or(p, v);                                                              \
    }                                                                                              \
    static inline uint##N##_t rmt_and##N(rmt_a##N *p, uint##N##_t v)                               \
    {                                                                                              \
        RMT_HOOK(RMT_HOOK_ADD, p);                                                                 \
        return atomic_fetch_and(p, v);                                                             \
    }

RMT_DEFINE_ATOMICS(64)
RMT_DEFINE_ATOMICS(32)

/* Of a word that is plain to who owns it, and that others look at who do not know yet whether what
 * they look for is still there: relaxed, and no hook, since nothing follows from it alone. */
static inline uint32_t rmt_peek32(const uint32_t *p)
{
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline uint64_t rmt_peek64(const uint64_t *p)
{
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline void rmt_poke64(uint64_t *p, uint64_t v)
{
    __atomic_store_n(p, v, __ATOMIC_RELAXED);
}

static inline void rmt_poke32(uint32_t *p, uint32_t v)
{
    __atomic_store_n(p, v, __ATOMIC_RELAXED);
}

/* An acquire load without the hook, of a word that says whether others want to be told of what was
 * done: where it says no, nothing happens between what stands before it and what comes after. */
static inline uint64_t rmt_glance64(const rmt_a64 *p)
{
    return atomic_load_explicit(p, memory_order_acquire);
}

/* ThreadSanitizer does not know stand-alone fences.  None of ours is a side of a labelled pair,
 * that is, makes plain data visible: rmt_fence orders a store before a load of another word, and
 * rmt_fence_release the holder's own stores for whoever finds him dead.  So there they are the
 * processor's instructions, which order the same and which it ignores; a read-modify-write of some
 * common word would do as well, and would hide races, since it orders all who come by. */
#if defined(__SANITIZE_THREAD__)
#define RMT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RMT_TSAN 1
#endif
#endif

/* What is ordered by way of another process, which ThreadSanitizer does not see: all that was
 * before the one is before what comes after the other, of the same address. */
#ifdef RMT_TSAN
void __tsan_release(void *address);
void __tsan_acquire(void *address);
#define RMT_TSAN_RELEASE(address) __tsan_release(address)
#define RMT_TSAN_ACQUIRE(address) __tsan_acquire(address)
#endif

static inline void rmt_fence(void)
{
#if !defined(RMT_TSAN)
    atomic_thread_fence(memory_order_seq_cst);
#elif defined(__x86_64__)
    __asm__ __volatile__("mfence" ::: "memory");
#elif defined(__aarch64__)
    __asm__ __volatile__("dmb ish" ::: "memory");
#else
#error "ThreadSanitizer: no fence for this machine"
#endif
}

static inline void rmt_fence_release(void)
{
#ifdef RMT_TSAN
    rmt_fence();
#else
    atomic_thread_fence(memory_order_release);
#endif
}

/* The half of a 64-bit word that holds its low 32 bits: futexes are 32 bits wide. */
static inline rmt_a32 *rmt_low32(rmt_a64 *p)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return (rmt_a32 *)(void *)p;
#else
    return (rmt_a32 *)(void *)p + 1;
#endif
}

static inline void rmt_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* Fetches the cache line at p ahead of a load, or of a store: then without a copy elsewhere.  Any
 * address may be given.  (Asked for a store, gcc emits x86-64's prefetchw only where told that the
 * processor has it; those that do not take it for a no-op.) */
static inline void rmt_prefetch_load(const void *p)
{
    __builtin_prefetch(p, 0);
}

static inline void rmt_prefetch_store(const void *p)
{
#if defined(__x86_64__)
    __asm__ __volatile__("prefetchw %0" : : "m"(*(const char *)p));
#else
    __builtin_prefetch(p, 1);
#endif
}

#define RMT_LIKELY(x) __builtin_expect(!!(x), 1)
#define RMT_UNLIKELY(x) __builtin_expect(!!(x), 0)

#endif
