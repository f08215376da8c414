/* SPDX-License-Identifier: MIT
 *
 * recover.pml: who goes on with a recovery whose recoverer died (become_recoverer, rmt_recover_slot
 * and attend_to_the_left in arena/recover.c), with several recoverers at once: what the dead one
 * had in its hands is given back before the thing that it is part of, and no dead member is
 * forgotten although each is told of each death once.
 *
 * What happens. D is dead. It had an item of a queue in its hands, and the last handle of that
 * queue. Giving back the item takes two steps: into the hands of who recovers, and into the queue.
 * Dropping the handle frees the queue. X and Y hear of a death once or never, and may die anywhere;
 * Z hears of each death once, at any time after it, and lives.  In the run "other", Z also looks
 * once, at any time, after what was left because of a death that has nothing to do with these.
 * In the run "exec" X does not die but calls exec in another thread: whoever asks may be told that
 * it lives, until Z has looked at its memory map.
 *
 * Steps                C
 *   recover              rmt_recover_slot; rmt_recover for the recoverer before (pushed)
 *   become               become_recoverer: CAS of the state, load of recoverer, its death, its
 *                        recovery, rmt_dead_known, CAS of recoverer, the state again
 *   contents             recover_contents: recover_thread, rmt_handles_drop_all, FREE
 *   scan                 attend_to_the_left, by the outermost recovery: again if a slot became free
 *                        in it
 *
 * Abstracted. Epochs, and slots that live again: member.pml. A commit is one step: guard.pml. Who
 * finds a dead owner in a guard on the way, and the reservations of the dead, are left out: they
 * only add to those who hear of a death.
 *
 * Memory order. Sequentially consistent. What Z's scan must see was stored before the death that it
 * has proof of; the state words are acquire loads, CAS and release stores.
 *
 * run: deaths2 | -DKILLS=2 | safety
 * run: other   | -DKILLS=2 -DOTHER | safety | long
 * run: exec    | -DKILLS=2 -DEXEC | safety
 * seed: NOT_FIRST | deaths2 | assertion | the recoverer that died is not recovered first
 * seed: GOES_ON   | deaths2 | assertion | who finds somebody else at that goes on at once
 * seed: NOT_LEFT  | deaths2 | assertion | nobody looks after the slots that were left
 * seed: OWN_ONLY  | deaths2 | assertion | only after those left by the very process that was recovered
 * seed: NOT_SEEN  | exec    | assertion | nobody looks at the memory map of who called exec
 * seed: ONE_ROUND | other | assertion | not again where another slot has become free on the way
 */
#define MEMBERS 4
#define D 0
#define X 1
#define Y 2
#define Z 3
#define MORTAL(i) (i == X || i == Y)
#include "death.inc"

#define LIVE 0
#define DYING 1
#define FREED 2

byte state[MEMBERS];
byte recoverer[MEMBERS]; /* + 1 */
bool hold[MEMBERS];      /* an item of the queue */
bool handle = true;      /* D's, the last one */
bool items;              /* the item is in the queue again */
bool ended[MEMBERS];
bool told[MEMBERS];      /* Z has heard of it */

#define QUEUE assert(handle)
#define OVER(i) (ended[i] || (dead[i] && told[i]))
#ifdef SEED_NOT_SEEN
#define DONE (told[D] && (OVER(X) || dead[X]) && OVER(Y))
#define HEARS_OF_X false
#else
#define DONE (told[D] && OVER(X) && OVER(Y))
#define HEARS_OF_X true
#endif

proctype member(byte me)
{
	byte d, who, s;
	byte outer[5], outer_who[5], depth; /* recoveries that wait for that of their recoverer */
	byte at, base;
#ifdef SEED_OWN_ONLY
	byte scanned;
#define SCANNED(i) scanned = i
#else
#define SCANNED(i) skip
#endif
	bool scanning, again, heard[3];
#ifdef OTHER
	bool other;
#endif

next:
	if
	:: dead[D] && !heard[D] -> atomic { heard[D] = true; told[D] = told[D] || me == Z; d = D; goto recover }
	:: HEARS_OF_X && dead[X] && !heard[X] -> atomic { heard[X] = true; told[X] = told[X] || me == Z; d = X; goto recover }
	:: dead[Y] && !heard[Y] -> atomic { heard[Y] = true; told[Y] = told[Y] || me == Z; d = Y; goto recover }
#ifdef OTHER
	:: me == Z && !other -> atomic { other = true; SCANNED(Z + 1); goto attend }
#endif
	:: me != Z -> STEP(ended[me] = true); goto died
	:: me == Z && DONE -> goto audit
	fi;

recover: /* become_recoverer */
	STEP(s = state[d]);
	if
	:: s == FREED -> goto leave
	:: s == LIVE -> STEP(if :: state[d] == LIVE -> state[d] = DYING :: else fi)
	:: s == DYING
	fi;
	STEP(who = recoverer[d]);
	if
	:: who == 0
	:: who != 0 && (who == me + 1 || !dead[who - 1]) -> goto leave
#ifdef EXEC
	:: who == X + 1 && me != X && dead[X] && state[X] == LIVE && !told[X] -> goto leave
#endif
	:: who != 0 && who != me + 1 && dead[who - 1] ->
#ifndef SEED_NOT_FIRST
		atomic { outer[depth] = d; outer_who[depth] = who; depth++; d = who - 1; who = 0; goto recover };
back:
		atomic { depth--; d = outer[depth]; who = outer_who[depth]; outer[depth] = 0; outer_who[depth] = 0 };
#ifndef SEED_GOES_ON
		STEP(s = state[who - 1]);
		if
		:: s != FREED -> goto leave
		:: else
		fi
#endif
#endif
	fi;
	atomic {
		if
		:: recoverer[d] == who -> recoverer[d] = me + 1
		:: recoverer[d] != who -> goto leave
		:: DIE
		fi
	};
	STEP(s = state[d]);
	if
	:: s != DYING -> goto leave /* and puts it back: member.pml */
	:: else
	fi;

	/* recover_contents */
	STEP(s = hold[d]; who = 0);
	if
	:: s ->
		STEP(if :: hold[d] -> QUEUE; hold[d] = false; hold[me] = true :: else fi);
		if
		:: hold[me] -> STEP(QUEUE; assert(!items); items = true; hold[me] = false)
		:: else
		fi
	:: else
	fi;
	if
	:: d == D -> STEP(handle = false)
	:: else
	fi;
	STEP(state[d] = FREED; again = true; SCANNED(d + 1));

#ifndef SEED_NOT_LEFT
	if
	:: !scanning
	:: else -> goto leave
	fi;
attend:
	atomic { scanning = true; again = false; base = depth; at = 0 };
scan:
	if
#ifndef SEED_ONE_ROUND
	:: at == Z && again -> atomic { again = false; at = 0; goto scan }
	:: at == Z && !again -> atomic { scanning = false; at = 0; base = 0; SCANNED(0) }
#else
	:: at == Z -> atomic { scanning = false; again = false; at = 0; base = 0; SCANNED(0) }
#endif
	:: else ->
#ifdef SEED_OWN_ONLY
		STEP(s = (state[at] == DYING && recoverer[at] == scanned -> DYING : LIVE));
#else
		STEP(s = state[at]);
#endif
		at++;
		if
		:: s == DYING -> atomic { d = at - 1; goto recover }
		:: else -> goto scan
		fi
	fi;
#endif

leave:
	atomic { who = 0; s = 0 };
#ifndef SEED_NOT_LEFT
	if
	:: scanning && depth == base -> goto scan
	:: else
	fi;
#endif
	if
#ifndef SEED_NOT_FIRST
	:: depth > 0 -> goto back
#endif
	:: depth == 0 -> atomic { d = 0; goto next }
	fi;

audit:
	assert(state[D] == FREED && !handle && items);
	assert((!dead[X] || state[X] == FREED) && (!dead[Y] || state[Y] == FREED));
	assert(!hold[D] && !hold[X] && !hold[Y] && !hold[Z]);
died:
	skip
}

init
{
	atomic {
		dead[D] = true;
		hold[D] = true;
		run member(X);
		run member(Y);
		run member(Z)
	}
}
