/* SPDX-License-Identifier: MIT
 *
 * bell.h: how those who wait for a condition on shared words are woken by those who make it true,
 * without a system call where nobody sleeps.  A bell is one futex word in shared memory.
 *
 *   bit 0      somebody sleeps, or is about to (set by sleepers, cleared by who rings)
 *   bits 1..31 how often the bell was rung; only grows (and wraps)
 *
 *     waiter:  while (!condition) {                  ringer:  make the condition true (release);
 *                  v = rmt_bell_arm(b);                       full barrier (unlock of a guard);
 *                  if (condition) break;                      rmt_bell_ring(b, n);
 *                  rmt_sleep(w, b, v, ...);
 *              }
 *              if (slept) { rmt_bell_arm(b); if (more) rmt_bell_ring(b, 1); }
 *
 * No lost wake.  (1) The arming is a sequentially consistent read-modify-write before the waiter's
 * look at the condition, and the ringer has a full barrier between his store and his look at the
 * bell: so either the waiter sees the condition, or the ringer sees bit 0.  (2) In the second case
 * the ringer changes the word before he wakes: a waiter that armed before and is not asleep yet
 * finds it changed, and looks at the condition again.  It cannot come back to the old value within
 * 2^31 rings.  (3) A ringer wakes one and clears bit 0 though others may sleep.  So whoever
 * returned from a sleep, for whatever reason, arms again: to sleep again or before it goes, and
 * then looks at the condition and rings if there is more to do.  Invariant: if anybody sleeps and
 * bit 0 is clear, then one that was woken is on its way to set it.  (4) If that one dies on its
 * way, its sub-slot says so (`waits` while it sleeps, `wakes_too` before and after) and recovery
 * rings; as it does where a ringer dies between his store and his ring (`wakes`).  It changes the
 * word, too: a waiter may have looked before that store, and sleep only after the recovery.  And
 * each sleep is sliced, so that even a wake that nobody remembers is made good after a slice.
 */
#ifndef RMT_BELL_H
#define RMT_BELL_H

#include "arena/wait.h"

#include <limits.h>

#define RMT_BELL_ASLEEP 1u

/* The barrier between a locked instruction (the exchange that released the guard; the arming) and a
 * later load.  On x86-64 the instruction itself is one; elsewhere C11 does not promise it. */
static inline void rmt_bell_barrier(void)
{
#if !defined(__x86_64__)
    rmt_fence();
#endif
}

/* The value to sleep on. */
static inline uint32_t rmt_bell_arm(rmt_a32 *bell)
{
    /* Before the look at the condition.  pairs-with: bell (acquire) */
    uint32_t v = rmt_or32(bell, RMT_BELL_ASLEEP) | RMT_BELL_ASLEEP;
    rmt_bell_barrier();
    return v;
}

/* After a guard was released: wakes up to `count` sleepers if there may be any. */
static inline void rmt_bell_ring(rmt_a32 *bell, int count)
{
    rmt_bell_barrier(); /* after the condition was made true.  pairs-with: bell (release) */
    uint32_t v = rmt_load32(bell);
    while (RMT_UNLIKELY((v & RMT_BELL_ASLEEP) != 0)) {
        if (rmt_cas32(bell, &v, (v & ~RMT_BELL_ASLEEP) + 2)) {
            rmt_wake(bell, count);
            return;
        }
    }
}

#endif
