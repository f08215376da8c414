/* SPDX-License-Identifier: MIT
 *
 * lock.pml: the lock (sync/lock.c) with its sleepers, and the wait loop (arena/wait.c): mutual
 * exclusion, who is told of a dead owner, and that no wake is lost. The guard's word has the same
 * handshake.
 *
 * What happens. Three threads, each of a process of its own that may die anywhere, acquire the lock
 * once each, one of them with a deadline, and release it; one that is told that the owner died may
 * put the lock back in that state. A dead process is recovered by whoever finds it; its slot is
 * taken by another process at once, which lives.
 *
 * Steps               C
 *   acquire           rmt_lock_try, then rmt_lock_acquire_slow and take
 *   found_dead        found_dead: rmt_dead, then rmt_recover
 *   sleep             rmt_sleep: rmt_dead_known; the stores of waits_owner and waits (one step:
 *                     they are looked at together); FUTEX_WAIT, which compares and sleeps
 *                     indivisibly; the store of waits
 *   give_up           give_up, after a deadline
 *   release           rmt_lock_release (its first CAS) and rmt_lock_release_slow
 *   put_back          rmt_lock_mark_dead
 *   recover           rmt_recover_slot: wakes of `wakes` and `waits`, look_at_others
 *                     (wake_who_waits_for), the slot
 *
 * The slice is a step of the sleeper that is always possible (with SLICES) and comes in the end,
 * since who could always go on does (weak fairness). What needs it and what does not:
 * - safety (mutual exclusion; the next one is told of a dead owner): in every run: does not
 * - nobody sleeps for ever while nobody dies: run "handshake": does not
 * - nobody sleeps for ever on a lock that is free, if one dies and somebody reaps: run "reaped":
 * does not
 * - nobody sleeps for ever on a lock whose owner is dead: run "slices": does. SEED_NO_SLICE shows
 * it: the owner dies and is recovered between the sleeper's look at him and its sleep, and the word
 * does not change by that
 * - the same, and nobody reaps: run "slices": does
 *
 * Abstracted. Spinning (a load that is repeated) and -EINTR (a deadline in all that matters here)
 * are left out, and so is the release by somebody who is not the owner, which by intent excludes
 * nobody. The word is compared as a whole, where the futex compares its low half without the epoch:
 * another life of a slot in the same word is an owner who sees the flag WAITERS and wakes.
 * FUTEX_WAKE wakes any sleeper. A wake and the deadline may come together, and the sleeper then
 * does not know that it was woken: weaker than Linux, which tells, and without that give_up would
 * do nothing.
 *
 * Memory order. Sequentially consistent. Every change of the word is a seq_cst CAS, and the kernel
 * orders the futex calls with it; waits, waits_owner and wakes are only hints for recovery, read
 * after the proof of death of their writer or, in look_at_others, racily: that race is in the
 * model, and is one of those that the slice is for.
 *
 * run: handshake | -DKILLS=0 -DDEADLINES | safety
 * run: reaped    | -DKILLS=1 -DDEADLINES -DREAPER | safety
 * run: slices    | -DKILLS=2 -DSLICES | liveness | long
 * seed: NO_WAKE        | handshake | assertion  | release does not wake
 * seed: NO_FLAG        | handshake | assertion  | who has slept takes the lock without the flag WAITERS
 * seed: FLAG_DROPPED   | reaped    | assertion  | a lock is taken over without the flag that stands there
 * seed: NO_GIVE_UP     | handshake | assertion  | who gives up takes a wake with it
 * seed: PLAIN_RELEASE  | handshake | assertion  | release looks at the flag, then stores 0
 * seed: NO_SLICE       | slices    | acceptance | sleeps are not sliced
 * seed: NO_EPOCH       | slices    | acceptance | the owner's name has no epoch: who lives in his slot now is asked
 * seed: NOT_TOLD       | reaped    | assertion  | a lock that is put back is free instead of OWNER_DEAD
 * seed: BLIND_TAKEOVER | slices    | assertion  | a dead owner's lock is taken by a store
 * seed: IMPATIENT      | slices    | assertion  | a slice that has passed is taken for a death
 * seed: NO_REPEAT      | reaped    | assertion  | recovery does not repeat the wakes that the dead one owed
 * seed: WOKEN_DIES     | reaped    | assertion  | who is woken and dies before it takes the lock leaves no trace of that
 */
#define THREADS 3
#define MEMBERS 4
#define PARENT 3
#define MORTAL(i) (i < 3)
#include "death.inc"

#define WAITERS 1
#define DEAD 2
#define NAME(i) ((i + 1) * 4)
#define OWNER(w) (w / 4) /* thread + 1, 0 nobody */
#define FLAG(w, f) ((w & f) != 0)

#define LIVE 0
#define DYING 1
#define FREED 2

byte word; /* owner * 4 | flags */
bool asleep[MEMBERS];
bool wakes[MEMBERS];
bool waits[MEMBERS];
byte waits_owner[MEMBERS];
byte state[MEMBERS];
byte recoverer[MEMBERS];
bool ended[MEMBERS];

/* What the lock is for: */
byte inside;  /* who has it + 1, dead or alive */
bool damaged; /* it was put back as OWNER_DEAD */

#ifdef SEED_NO_EPOCH
#define KNOWN_DEAD(o) (state[o - 1] == DYING)
#define IS_DEAD(o) (state[o - 1] != FREED && dead[o - 1])
#else
#define KNOWN_DEAD(o) (state[o - 1] != LIVE)
#define IS_DEAD(o) dead[o - 1]
#endif
#define OVER(i) (ended[i] || dead[i])
#define SLEEPS(i) (!dead[i] && !ended[i] && asleep[i])
#define UNATTENDED(d) (dead[d] && state[d] != FREED && (recoverer[d] == 0 || dead[recoverer[d] - 1]))

inline wake_all()
{
	asleep[0] = false;
	asleep[1] = false;
	asleep[2] = false
}

inline wake_one()
{
	if
	:: asleep[0] -> asleep[0] = false
	:: asleep[1] -> asleep[1] = false
	:: asleep[2] -> asleep[2] = false
	:: !asleep[0] && !asleep[1] && !asleep[2]
	fi
}

/* The ghost's side of taking the lock, in the same step. */
inline enter(told_of_death)
{
	assert(inside == 0 || dead[inside - 1]);
	assert(told_of_death || (inside == 0 && !damaged));
	inside = me + 1;
	damaged = false
}

inline take(extra)
{
#ifdef SEED_FLAG_DROPPED
	word = NAME(me) | extra
#else
	word = NAME(me) | extra | (seen & WAITERS)
#endif
}

#ifdef SEED_NO_FLAG
#define SLEPT false
#else
#define SLEPT slept
#endif
#ifdef SEED_BLIND_TAKEOVER
#define SAME (word == seen || OWNER(seen) != 0)
#else
#define SAME (word == seen)
#endif

proctype thread(byte me)
{
	byte seen, known, checked, d;
	bool slept, told, timed_out, leaving;

	if
	:: me == PARENT -> goto parent
	:: else
	fi;
acquire:
	atomic {
		if
		:: word == 0 -> word = NAME(me); enter(false); goto got
		:: word != 0
		:: DIE
		fi
	};
look:
	STEP(seen = word);
	if
	:: OWNER(seen) == 0 || OWNER(seen) == known ->
		atomic {
			if
			:: SAME ->
				told = OWNER(seen) != 0 || FLAG(seen, DEAD);
				enter(told);
#ifdef SEED_FLAG_DROPPED
				take((SLEPT -> WAITERS : 0));
#else
				take((OWNER(seen) != 0 || SLEPT -> WAITERS : 0));
#endif
				goto got
			:: else -> goto look
			:: DIE
			fi
		}
	:: else
	fi;
	if
	:: OWNER(seen) != checked ->
		checked = OWNER(seen);
		if
		:: IS_DEAD(checked) -> atomic { known = checked; d = known; goto recover }
		:: else
		fi
	:: else
	fi;
	if
	:: !FLAG(seen, WAITERS) ->
		atomic {
			if
			:: word == seen -> word = word | WAITERS; seen = word
			:: word != seen -> goto look
			:: DIE
			fi
		}
	:: else
	fi;

	/* rmt_sleep */
	if
	:: KNOWN_DEAD(OWNER(seen)) -> atomic { known = OWNER(seen); d = known; goto recover }
	:: else
	fi;
#ifndef SEED_WOKEN_DIES
	STEP(wakes[me] = true);
#endif
	STEP(waits_owner[me] = OWNER(seen); waits[me] = true);
	STEP(asleep[me] = (word == seen); slept = true);
end:	atomic { /* for the runs without slices; the parent looks at those who sleep for ever */
		if
		:: !asleep[me]
#if defined(SLICES) && !defined(SEED_NO_SLICE)
		:: asleep[me] ->
			asleep[me] = false;
#ifdef SEED_IMPATIENT
			known = OWNER(seen)
#else
			if
			:: IS_DEAD(OWNER(seen)) -> known = OWNER(seen); d = known
			:: else
			fi
#endif
#endif
#ifdef DEADLINES
		:: me == 0 -> asleep[me] = false; timed_out = true /* also if it was woken: see above */
#endif
		:: DIE
		fi
	};
	STEP(waits[me] = false; waits_owner[me] = 0);
	if
	:: timed_out -> goto give_up
	:: d != 0 -> goto recover
	:: !timed_out && d == 0 -> goto look
	fi;

give_up:
#ifdef SEED_NO_GIVE_UP
	goto over;
#endif
	STEP(seen = word);
	if
	:: OWNER(seen) == 0 ->
		atomic {
			if
			:: word == seen -> told = FLAG(seen, DEAD); enter(told); take(WAITERS); goto got
			:: word != seen -> goto give_up
			:: DIE
			fi
		}
	:: FLAG(seen, WAITERS) && OWNER(seen) != 0 -> goto over
	:: else ->
		atomic {
			if
			:: word == seen -> word = word | WAITERS; goto over
			:: word != seen -> goto give_up
			:: DIE
			fi
		}
	fi;

got:
	known = 0;
	checked = 0;
	slept = false;
	STEP(wakes[me] = true);
	if
	:: told ->
		/* put_back: rmt_lock_mark_dead */
		told = false;
		STEP(seen = word);
		atomic {
			if
			:: word == seen ->
				damaged = true;
				inside = 0;
#ifdef SEED_NOT_TOLD
				word = 0
#else
				word = DEAD
#endif
			:: word != seen -> told = true; goto got
			:: DIE
			fi
		}
	:: true ->
		told = false;
#ifdef SEED_PLAIN_RELEASE
		STEP(seen = word);
		STEP(word = 0; inside = 0)
#else
		atomic {
			if
			:: word == NAME(me) -> seen = 0; word = 0; inside = 0; goto over
			:: word != NAME(me)
			:: DIE
			fi
		};
		do
		:: STEP(seen = word);
			assert(OWNER(seen) == me + 1);
			atomic {
				if
				:: word == seen -> word = 0; inside = 0; break
				:: word != seen
				:: DIE
				fi
			}
		od
#endif
	fi;
#ifndef SEED_NO_WAKE
	if
	:: FLAG(seen, WAITERS) -> STEP(wake_one())
	:: else
	fi;
#endif
over:
	STEP(ended[me] = true);
	goto died;

recover: /* rmt_recover of d */
	if
	:: state[d - 1] == FREED -> goto recovered
	:: else
	fi;
	STEP(state[d - 1] = DYING);
	atomic {
		if
		:: recoverer[d - 1] == 0 || dead[recoverer[d - 1] - 1] -> recoverer[d - 1] = me + 1
		:: else -> goto recovered
		:: DIE
		fi
	};
#ifndef SEED_NO_REPEAT
	STEP(if :: wakes[d - 1] || waits[d - 1] -> wake_all() :: else fi);
#endif
	STEP(if :: waits[0] && waits_owner[0] == d -> wake_all() :: else fi);
	STEP(if :: waits[1] && waits_owner[1] == d -> wake_all() :: else fi);
	STEP(if :: waits[2] && waits_owner[2] == d -> wake_all() :: else fi);
	STEP(state[d - 1] = FREED);
recovered:
	d = 0;
	if
	:: me != PARENT -> goto look
	:: else
	fi;

parent: /* in the end, when nothing can happen any more, it looks whether anybody was forgotten */
	if
#ifdef REAPER
	:: atomic { UNATTENDED(0) -> d = 1; goto recover }
	:: atomic { UNATTENDED(1) -> d = 2; goto recover }
	:: atomic { UNATTENDED(2) -> d = 3; goto recover }
#endif
	:: timeout ->
		assert(OWNER(word) != 0 || (!SLEEPS(0) && !SLEEPS(1) && !SLEEPS(2)));
#if KILLS == 0
		assert(word == 0 || word == DEAD);
		assert(ended[0] && ended[1] && ended[2]);
#endif
	fi;

died:
	skip
}

#define SLEEPS(i) (!dead[i] && !ended[i] && asleep[i])

#ifdef SLICES
ltl all_go_on { <> (OVER(0) && OVER(1) && OVER(2)) }
#endif

init
{
	atomic {
		run thread(0);
		run thread(1);
		run thread(2);
		run thread(PARENT)
	}
}
