/* SPDX-License-Identifier: MIT
 *
 * guard.pml: the guard with its commit record (arena/guard.h, guard.c), and the recovery of a dead
 * owner (arena/recover.c), which may itself die, with several recoverers at once.
 *
 * What happens. Two mortal workers each take a permit under the guard and give it back, as an owned
 * semaphore does: each change is a commit of two words, the permits that are taken and the worker's
 * own hold. A worker recovers whom it found dead in the guard; an immortal parent recovers at any
 * time, until everybody is done or recovered. Two deaths, anywhere.
 *
 * Steps                    C
 *   guard_lock             rmt_guard_lock (the store of thread.guard, then the CAS) and _lock_slow
 *   take-over in it        take_over: CAS dead owner -> me, load of armed, rmt_replay
 *   commit                 rmt_redo (one step: nobody reads a record that is not armed),
 *                          rmt_commit, rmt_replay
 *   guard_unlock           rmt_guard_unlock: exchange, then thread.guard = 0; _unlock_slow: recover
 *   become                 become_recoverer, and first the recoverer before us, nested (epochs:
 *                          member.pml; who goes on when several recover: recover.pml)
 *   pass_through           pass_through: takes the guard and releases it
 *   give_back              recover_permit of sync/semaphore.c: looks at the hold again under the
 *                          guard
 *   recover ... contents   rmt_recover_slot, recover_thread
 *
 * Abstracted. Waiting for the guard is blocking until it is free or its owner is dead: the futex
 * handshake is that of the lock (lock.pml), and here only who gets in matters. One guard: what two
 * have to do with each other is in recover.pml. The checks of a record's soundness and the poison
 * are left out: memory is not damaged here. Two redo words of six: the record is a loop over words.
 *
 * Memory order. The model is sequentially consistent. In C the redo words are relaxed stores before
 * the release store of `armed`, which the acquire load in take_over pairs with; what is done under
 * the guard is ordered by the CAS and the exchange on its word. All else that others look at here
 * (hold, intent) is written by one thread and read after its process is proven dead, that is, after
 * all of its stores.
 *
 * run: deaths2 | -DKILLS=2 | safety
 * run: deaths1 | -DKILLS=1 | safety
 * seed: ARM_FIRST      | deaths1 | assertion | commit before its payload: `armed` is stored before the record
 * seed: TWO_STORES     | deaths1 | assertion | no record: the two words are stored one after the other
 * seed: HOLD_LATER     | deaths1 | assertion | the hold is not in the record but stored after the commit
 * seed: NO_REPLAY      | deaths1 | assertion | who takes over does not apply the armed record
 * seed: RELATIVE       | deaths2 | assertion | the record says "one less", so that to apply it again is wrong
 * seed: NO_PASS        | deaths2 | assertion | recovery looks at holds without passing through the guard, nor again under it
 * seed: DISARM_LATE    | deaths1 | assertion | the guard is released before the record is disarmed
 * seed: BLIND_TAKEOVER | deaths2 | assertion | taking over is a store and not a compare-and-swap
 * seed: SLEEPING_DEAD  | deaths1 | assertion | a process that is stopped is taken for dead
 * seed: NOT_GIVEN_BACK | deaths1 | assertion | recovery forgets the permit
 */
#define WORKERS 2
#define PARENT 2
#define MEMBERS 3
#define MORTAL(i) (i < 2)
#include "death.inc"

#define LIVE 0
#define DYING 1
#define FREED 2

byte word;  /* of the guard: owner + 1, 0 free */
byte armed; /* number of redo words */
byte at[2]; /* redo words: which word of mem ... */
byte value[2];
byte mem[1 + MEMBERS]; /* [0] permits that are taken; [1 + i] hold of member i */
bool intent[MEMBERS];  /* thread.guard: there is only one guard */
byte state[MEMBERS];
byte recoverer[MEMBERS];
bool ended[MEMBERS];

#ifdef SEED_SLEEPING_DEAD
#define SEEMS_DEAD(w) (w != 0)
#else
#define SEEMS_DEAD(w) (w != 0 && dead[w - 1])
#endif
#define LOST(d) (dead[d] && state[d] != FREED)
#define UNATTENDED(d) (LOST(d) && (recoverer[d] == 0 || dead[recoverer[d] - 1]))
#define OVER(d) (ended[d] || (dead[d] && state[d] == FREED))

#ifdef SEED_RELATIVE
#define LESS 0 /* relative, and one too high */
#define MORE 2
#else
#define LESS (mem[0] - 1)
#define MORE (mem[0] + 1)
#endif

/* What stands in a record that is not armed is read by nobody: kept at 0, for fewer states. */
#define FORGET at[0] = 0; value[0] = 0; at[1] = 0; value[1] = 0

#define TAKE 1 /* what to do inside the guard */
#define GIVE 2
#define PASS 3

/* The guard with what is done inside it: a subroutine, once in the text of a process, to which `then`
 * says where to go on. */
inline guard_lock()
{
	STEP(intent[me] = 1);
	do
	:: STEP(word == 0 || SEEMS_DEAD(word) -> seen = word);
		atomic {
			if
#ifdef SEED_BLIND_TAKEOVER
			:: seen != 0 || word == 0 -> word = me + 1; break
#else
			:: word == seen -> word = me + 1; break
#endif
			:: else
			:: DIE
			fi
		}
	od;
	if
	:: seen != 0 ->
#ifdef SEED_NO_REPLAY
		STEP(armed = 0; found = seen; seen = 0)
#else
		STEP(n = armed; found = seen; seen = 0)
#endif
	:: else
	fi
}

inline prepare()
{
#ifdef SEED_ARM_FIRST
	STEP(armed = 2);
#endif
	STEP(at[0] = 0; value[0] = (kind == TAKE -> MORE : LESS); at[1] = 1 + who; value[1] = (kind == TAKE -> 1 : 0))
}

inline replay()
{
	do
	:: n > i ->
#ifdef SEED_RELATIVE
		STEP(if :: at[i] == 0 -> mem[0] = mem[0] + value[i] - 1 :: else -> mem[at[i]] = value[i] fi; i++);
#else
		STEP(mem[at[i]] = value[i]; i++);
#endif
	:: else -> break
	od;
#ifndef SEED_DISARM_LATE
	if
	:: n > 0 -> STEP(armed = 0; FORGET; n = 0; i = 0)
	:: else
	fi
#endif
}

inline change()
{
	prepare();
#ifdef SEED_TWO_STORES
	STEP(mem[0] = value[0]);
	STEP(mem[at[1]] = value[1])
#else
#ifdef SEED_HOLD_LATER
	STEP(armed = 1; n = 1);
	replay();
	STEP(mem[1 + who] = value[1])
#else
	STEP(armed = 2; n = 2);
	replay()
#endif
#endif
}

proctype member(byte me)
{
	byte i, n, seen, found, before, kind, who, then, d, outer, program;

next: /* nothing is held, nothing is being done */
	if
	:: found != 0 -> atomic { d = found; found = 0; goto recover }
	:: else
	fi;
	if
	:: me < WORKERS && program == 0 -> atomic { program++; kind = TAKE; who = me; goto section }
	:: me < WORKERS && program == 1 ->
		atomic {
			program++;
			assert(mem[1 + me] == 1);
			kind = GIVE;
			who = me;
			goto section
		}
	:: me < WORKERS && program == 2 -> assert(mem[1 + me] == 0); STEP(ended[me] = true); goto died
	:: me == PARENT && program == 0 ->
		if
		:: atomic { UNATTENDED(0) -> d = 1; goto recover }
		:: atomic { UNATTENDED(1) -> d = 2; goto recover }
		:: atomic { OVER(0) && OVER(1) -> program++; kind = PASS; goto section }
		fi
	:: me == PARENT && program == 1 ->
		assert(word == 0 && armed == 0);
		assert(mem[0] == 0 && mem[1] == 0 && mem[2] == 0);
		goto died
	fi;

section:
	guard_lock();
	replay();
	if
	:: kind == TAKE -> change()
	:: kind == GIVE ->
		if
		:: mem[1 + who] == 1 -> change()
		:: else
		fi
	:: kind == PASS
	fi;
	STEP(word = 0);
#ifdef SEED_DISARM_LATE
	STEP(armed = 0; n = 0; i = 0);
#endif
	STEP(intent[me] = 0; kind = 0; who = 0);
	if
	:: then == 0 -> goto next
	:: then == 1 -> then = 0; goto passed_own
	:: then == 2 -> then = 0; goto given_back
	fi;

recover: /* become_recoverer */
	if
	:: d - 1 == me || state[d - 1] == FREED -> goto leave
	:: else
	fi;
	STEP(if :: state[d - 1] == LIVE -> state[d - 1] = DYING :: else fi);
	STEP(before = recoverer[d - 1]);
	if
	:: before == 0
	:: before != 0 && !dead[before - 1] -> goto leave
	:: before != 0 && dead[before - 1] ->
		assert(outer == 0);
		atomic { outer = d; d = before; before = 0; goto recover };
back:
		atomic { before = d; d = outer; outer = 0 };
		if
		:: state[before - 1] != FREED -> goto leave
		:: else
		fi
	fi;
	atomic {
		if
		:: recoverer[d - 1] == before -> recoverer[d - 1] = me + 1
		:: recoverer[d - 1] != before -> goto leave
		:: DIE
		fi
	};
	if
	:: state[d - 1] != DYING -> goto leave /* somebody else was done in between: see member.pml */
	:: else
	fi;
	before = 0;

	/* recover_thread */
#ifndef SEED_NO_PASS
	if
	:: intent[d - 1] -> atomic { kind = PASS; then = 1; goto section }
	:: else
	fi;
#endif
passed_own:
#ifndef SEED_NOT_GIVEN_BACK
	if
	:: mem[d] == 1 -> atomic { kind = GIVE; who = d - 1; then = 2; goto section }
	:: else
	fi;
#endif
given_back:
	STEP(state[d - 1] = FREED);

leave:
	before = 0;
	if
	:: outer != 0 -> goto back
	:: else -> atomic { d = 0; goto next }
	fi;
died:
	skip
}

/* Whenever nobody is inside, all of a change has happened or nothing of it. */
active proctype monitor()
{
end:	atomic {
		word == 0 && (armed != 0 || mem[0] != mem[1] + mem[2]) -> assert(false)
	}
}

init
{
	atomic {
		run member(0);
		run member(1);
		run member(PARENT)
	}
}
