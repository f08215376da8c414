/* SPDX-License-Identifier: MIT
 *
 * member.pml: the life of a member slot (arena/member.c, and become_recoverer and rmt_recover_slot
 * in arena/recover.c): nobody acts under another's name, no slot is used again before its recovery
 * is complete, and every dead member is recovered.
 *
 * What happens. One slot that all want. Run "join": two processes attach, one after or against the
 * other, hold something in it for a while, and end; ending is dying. Run "fork": a process reserves
 * the slot, gives the child that it will fork a hold in it, forks; the child claims the slot;
 * another process attaches later. Two members with slots of their own recover whom they find dead;
 * the first may itself die or stop caring.  In the run "once" each of them hears of each death once,
 * or the first never, and of X's only after that; what X left behind is looked after then.
 *
 * Steps                C
 *   take, join         rmt_member_take (load, CAS), rmt_member_join; settle
 *   reserve, claim     rmt_member_reserve, rmt_handles_copy (one hold), fork; rmt_member_claim
 *                      (CAS)
 *   look               slot_is_dead: rmt_dead, rmt_pid_gone, reservation_is_void (the state again
 *                      and the death of the parent; then is_nobody over all processes)
 *   become             become_recoverer: CAS of the state, load and CAS of recoverer, the state
 *                      again, the put-back and the look after it
 *   contents           recover_contents: the hold (looked at, then given back), the words, FREE
 *                      with the next epoch
 *
 * Abstracted. A name is the slot's epoch. The hold is given back by one step, which is a commit
 * (guard.pml); succeed() is in guard.pml. pid and start time: a process is its number, and is dead
 * or not; that pids come round again is the business of death.c. exec. The parent's own look at its
 * lifelines does as recovery after its death does.
 *
 * Memory order. Sequentially consistent. The state word is changed by CAS, or by a release store of
 * who alone may; what is written before it (identity, parent, recoverer = 0) is read after an
 * acquire load of it, and checked by a second load.
 *
 * run: join | -DKILLS=2 | safety
 * run: fork | -DKILLS=2 -DFORK | safety
 * run: once | -DKILLS=2 -DONCE | safety
 * seed: NO_EPOCH      | join | assertion | a slot that is free again has the epoch that it had
 * seed: FREE_EARLY    | join | assertion | the slot is free before the hold is given back
 * seed: JOIN_BLIND    | join | assertion | the slot is taken by a store
 * seed: NOT_ALONE     | join | assertion | who recovers does not ask whether somebody does already
 * seed: NO_THIRD_LOOK | join | assertion | who became recoverer does not look at the state again
 * seed: NO_PUT_BACK   | join | end       | who came too late leaves its name as recoverer
 * seed: NOT_RESUMED   | join | end       | a recovery whose recoverer died is nobody's
 * seed: NO_FOURTH_LOOK | once | assertion | nor, after putting it back, whether others have left it to him
 * seed: HOLD_STAYS    | join | assertion | the hold is not given back
 * seed: CHILD_FORGOTTEN | fork | assertion | a reservation is taken back though the child may still come
 * seed: CLAIM_BLIND   | fork | end       | and the child claims by a store
 */
#define MEMBERS 5
#define A 0 /* attaches; or forks */
#define B 1 /* attaches */
#define X 2 /* recovers; mortal */
#define Y 3 /* recovers; immortal */
#define K 4 /* the child */
#define MORTAL(i) (i != Y)
#include "death.inc"

#define FREE 0
#define JOINING 1
#define RESERVED 2
#define LIVE 3
#define DYING 4

/* The state word: changed as one. */
byte epoch, whose, state;
#define IS(e, p, s) (epoch == e && whose == p && state == s)
#ifdef SEED_NO_EPOCH
#define NEXT(e) e
#else
#define NEXT(e) (e + 1)
#endif
#define SET(e, p, s) epoch = e; whose = p; state = s

byte recoverer; /* + 1 */
byte parent;    /* + 1 */
bool hold, settled;
byte inherited; /* process-local: a fork copies it */
bool born, ended[MEMBERS];

/* Ghosts */
byte out;        /* how many holds were given and not given back */
bool used[4];    /* names that were used */
bool claimed;
byte inside;     /* who is inside recover_contents + 1 */

/* Every step of a member in its slot. */
#define ACT(...) STEP(assert(IS(mine, me, LIVE)); __VA_ARGS__)

inline settle()
{
	ACT(assert(!settled && !used[mine]); settled = true; used[mine] = true);
	ACT(out = (hold -> out - 1 : out + 1); hold = !hold);
	ACT(out = (hold -> out - 1 : out + 1); hold = !hold)
}

inline take()
{
	do
	:: STEP(state == FREE -> mine = epoch);
		atomic {
			if
#ifdef SEED_JOIN_BLIND
			:: true -> SET(mine, me, JOINING); break
#else
			:: epoch == mine && state == FREE -> SET(mine, me, JOINING); break
			:: !(epoch == mine && state == FREE)
#endif
			:: DIE
			fi
		}
	od
}

proctype joiner(byte me)
{
	byte mine;

	take();
	STEP(parent = 0);
	STEP(recoverer = 0);
	STEP(SET(mine, me, LIVE));
	settle();
	atomic { ended[me] = true; dead[me] = true };
died:
	skip
}

proctype forker(byte me)
{
	byte mine;

	take();
	STEP(parent = me + 1);
	STEP(recoverer = 0);
	STEP(SET(mine, me, RESERVED));
	STEP(hold = true; out++);
	STEP(born = true; inherited = mine);
	atomic { ended[me] = true; dead[me] = true };
died:
	skip
}

proctype child(byte me)
{
	byte mine;

end:	atomic { born -> mine = inherited };
	atomic {
		if
#ifdef SEED_CLAIM_BLIND
		:: true -> SET(mine, me, LIVE); claimed = true
#else
		:: IS(mine, A, RESERVED) -> SET(mine, me, LIVE); claimed = true
		:: !IS(mine, A, RESERVED) -> assert(false) /* never: an orphan, though it lives */
#endif
		:: DIE
		fi
	};
	settle();
	atomic { ended[me] = true; dead[me] = true };
died:
	skip
}

#define CHILD_MAY_COME (born && !claimed && !dead[K])
#define LOST ((state == LIVE || state == JOINING || state == RESERVED) && dead[whose] && (state != RESERVED || !CHILD_MAY_COME))
#ifdef SEED_NOT_RESUMED
#define LEFT (state == DYING && recoverer == 0)
#else
#define LEFT (state == DYING && (recoverer == 0 || dead[recoverer - 1]))
#endif

#ifdef FORK
#define OVER(i) dead[i]
#define DONE (OVER(A) && OVER(B) && (OVER(K) || !born))
#else
#define DONE (dead[A] && dead[B])
#endif

proctype member(byte me)
{
	byte e, p, s, who, looks;
#ifdef ONCE
	bool heard[MEMBERS];
#endif

look:
#ifdef ONCE
	if
	:: me == X -> STEP(ended[me] = true); goto died
	:: dead[A] && !heard[A] -> heard[A] = true
	:: dead[B] && !heard[B] -> heard[B] = true
	:: me == Y && dead[X] && !heard[X] -> heard[X] = true
	:: me == Y && DONE && heard[A] && heard[B] && (ended[X] || heard[X]) -> goto audit
	fi;
#else
	if
	:: me == X && looks == 2 -> STEP(ended[me] = true); goto died
	:: me == X && looks < 2 ->
		looks++;
		if
		:: LOST || LEFT
		:: DONE -> STEP(ended[me] = true); goto died
		fi
	:: me == Y ->
		if
		:: LOST || LEFT
		:: DONE && state == FREE && (ended[X] || dead[X]) -> goto audit
		fi
	fi;
#endif
	STEP(e = epoch; p = whose; s = state);
	if
	:: s == FREE || (s != DYING && !dead[p]) -> goto leave
	:: s == RESERVED ->
		/* reservation_is_void */
		STEP(who = (IS(e, p, s) && parent != 0 && dead[parent - 1] -> 1 : 0));
		if
		:: who == 0 -> goto leave
		:: else
		fi;
		who = 0;
#if !defined(SEED_CHILD_FORGOTTEN) && !defined(SEED_CLAIM_BLIND)
		if
		:: CHILD_MAY_COME -> goto leave
		:: else
		fi
#endif
	:: else
	fi;
	/* rmt_recover_slot */
	if
	:: s == JOINING -> STEP(if :: IS(e, p, s) -> SET(NEXT(e), 0, FREE) :: else fi); goto leave
	:: else
	fi;
become:	/* become_recoverer */
	if
	:: s != DYING ->
		atomic {
			if
			:: IS(e, p, s) -> SET(e, p, DYING)
			:: IS(e, p, DYING)
			:: else -> goto leave
			:: DIE
			fi
		}
	:: else
	fi;
	STEP(who = recoverer);
	if
#ifdef SEED_NOT_ALONE
	:: who == 99 -> skip
#else
#ifdef SEED_NOT_RESUMED
	:: who != 0 -> goto leave
#else
	:: who != 0 && (who == me + 1 || !dead[who - 1]) -> goto leave
#endif
#endif
	:: else
	fi;
	atomic {
		if
		:: recoverer == who -> recoverer = me + 1
		:: recoverer != who -> goto leave
		:: DIE
		fi
	};
#ifndef SEED_NO_THIRD_LOOK
	atomic {
		if
		:: IS(e, p, DYING)
		:: !IS(e, p, DYING) -> goto put_back
		:: DIE
		fi
	};
#endif
	/* recover_contents */
	STEP(assert(inside == 0 || dead[inside - 1]); inside = me + 1);
#define RECOVER(...) STEP(assert(IS(e, p, DYING) && dead[p] && inside == me + 1); __VA_ARGS__)
#ifdef SEED_FREE_EARLY
	RECOVER(SET(NEXT(e), 0, FREE); inside = 0);
	STEP(if :: hold -> hold = false; out-- :: else fi; settled = false);
#else
#ifndef SEED_HOLD_STAYS
	RECOVER(s = hold);
	if
	:: s -> RECOVER(hold = false; out--)
	:: else
	fi;
#endif
	RECOVER(settled = false);
	RECOVER(parent = 0);
	RECOVER(SET(NEXT(e), 0, FREE); inside = 0);
#endif
	goto leave;

put_back:
#ifndef SEED_NO_PUT_BACK
	STEP(if :: recoverer == me + 1 -> recoverer = 0 :: else fi);
#ifndef SEED_NO_FOURTH_LOOK
	STEP(e = epoch; p = whose; s = state);
	if
	:: s == DYING -> who = 0; goto become
	:: else
	fi;
#endif
#endif

leave:
	atomic { e = 0; p = 0; s = 0; who = 0 };
	goto look;

audit:
#ifdef ONCE
	assert(state == FREE);
#endif
	assert(!hold && out == 0 && !settled);
	goto died;
died:
	skip
}

init
{
	atomic {
#ifdef FORK
		run forker(A);
		run child(K);
#else
		run joiner(A);
#endif
		run joiner(B);
		run member(X);
		run member(Y)
	}
}
