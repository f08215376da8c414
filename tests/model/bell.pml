/* SPDX-License-Identifier: MIT
 *
 * bell.pml: sleeping for items and waking those who sleep (channel/bell.h, rest.h, as queue.c uses
 * them): no wake is lost, with and without a death.
 *
 * What happens. Two getters take one item each, two putters put one each; each is a process that
 * may die anywhere. A parent recovers the dead, and in the end, when nothing can happen any more,
 * looks whether somebody sleeps although there is an item.
 *
 * Steps               C
 *   get               get_once: the whole section under the get guard is one step (queue.pml is
 *                     about what is in it)
 *   rest              rmt_rest without the spinning: the store of wakes, rmt_bell_arm, get_ready,
 *                     rmt_sleep
 *   rest_end          rmt_rest_end: arms again, looks, rings
 *   put               put_once: the store of wakes, the commit, then rmt_bell_ring after the guard
 *                     was released
 *   ring              rmt_bell_ring: load, CAS, FUTEX_WAKE
 *   recover           recover_thread: the wakes of `wakes` and `waits`, the holds (none here), the
 *                     wakes again
 *
 * What needs the slice and what does not:
 * - nobody sleeps while there is an item, if nobody dies: run "handshake": does not
 * - the same if one dies and is recovered, for all who were asleep by then: run "reaped": does not
 * - the same for one who had armed and was not yet asleep when recovery woke the word: run
 * "slices": does (SEED_NO_SLICE); recovery does not know what word it wakes, and so cannot change
 * it as one who rings does
 *
 * Abstracted. The guards; an item is a count. The put side of a bounded queue is the same protocol
 * with the roles exchanged. The bell's count of rings does not wrap.
 *
 * Memory order. Sequentially consistent. In C the two sides of "publish, then look for sleepers"
 * are separated by full barriers (the exchange that releases the guard or rmt_bell_barrier; the
 * seq_cst fetch-or of the arming), which is what makes the store and the later load of another word
 * a matter of interleaving, as here.
 *
 * run: handshake | -DKILLS=0 | safety
 * run: reaped    | -DKILLS=1 | safety
 * run: slices    | -DKILLS=1 -DSLICES -DFEW | liveness
 * seed: LOOK_FIRST   | handshake | assertion | the waiter looks at the condition, then arms
 * seed: NO_COUNT     | handshake | assertion | who rings clears the bit and does not change the rest of the word
 * seed: NO_REARM     | handshake | assertion | who was woken leaves without arming and looking again
 * seed: RING_FIRST   | handshake | assertion | the bell is rung before the item is published
 * seed: NO_RING      | handshake | assertion | nobody rings
 * seed: NO_NOTE      | reaped    | assertion | who waits, or is about to ring, does not note it for recovery
 * seed: NO_REPEAT    | reaped    | assertion | recovery does not repeat the wakes
 * seed: NO_SLICE     | slices    | acceptance | sleeps are not sliced
 */
#define MEMBERS 5
#define MORTAL(i) (i == 0 || i == 2) /* one of each; the others do the same */
#define PARENT 4
#include "death.inc"

#define ASLEEP 1

byte items, bell;
bool asleep[2];
bool wakes[4], waits[4];
bool recovered[4], ended[4];
bool armed[2], missed[2]; /* ghosts: between arming and sleeping; recovery woke the word meanwhile */

inline wake_all()
{
	asleep[0] = false;
	asleep[1] = false
}

inline wake_one()
{
	if
	:: asleep[0] -> asleep[0] = false
	:: asleep[1] -> asleep[1] = false
	:: !asleep[0] && !asleep[1]
	fi
}

inline ring()
{
	do
	:: STEP(v = bell);
		if
		:: (v & ASLEEP) == 0 -> break
		:: else
		fi;
		atomic {
			if
#ifdef SEED_NO_COUNT
			:: bell == v -> bell = v & 254
#else
			:: bell == v -> bell = (v & 254) + 2
#endif
			:: bell != v -> goto again
			:: DIE
			fi
		};
		STEP(wake_one());
		break;
again:		skip
	od;
	v = 0
}

inline arm()
{
	STEP(bell = bell | ASLEEP; v = bell; if :: me < 2 -> armed[me] = true; missed[me] = false :: else fi)
}

proctype getter(byte me)
{
	byte v;
	bool slept;

try:
	STEP(if :: items > 0 -> items--; goto got :: else fi);
#ifndef SEED_NO_NOTE
	STEP(wakes[me] = true);
#endif
#ifdef SEED_LOOK_FIRST
	if
	:: items > 0 -> goto try
	:: else
	fi;
	arm();
#else
	arm();
	if
	:: items > 0 -> goto try
	:: else
	fi;
#endif
	slept = true;
	STEP(waits[me] = true);
	STEP(asleep[me] = (bell == v); v = 0; armed[me] = false);
end:	atomic {
		if
		:: !asleep[me]
#if defined(SLICES) && !defined(SEED_NO_SLICE)
		:: asleep[me] -> asleep[me] = false
#endif
		:: DIE
		fi
	};
	STEP(waits[me] = false);
	goto try;

got: /* rest_end */
	if
#ifndef SEED_NO_REARM
	:: slept ->
		arm();
		if
		:: items > 0 -> goto pass_on
		:: else
		fi
#endif
	:: else
	fi;
over:
	v = 0;
	STEP(ended[me] = true);
	goto died;

pass_on:
	ring();
	goto over;
died:
	skip
}

proctype putter(byte me)
{
	byte v;

#ifdef SEED_RING_FIRST
	ring();
	STEP(items++);
#else
#ifndef SEED_NO_NOTE
	STEP(wakes[me] = true);
#endif
	STEP(items++);
#ifndef SEED_NO_RING
	ring();
#endif
#endif
	STEP(ended[me] = true);
died:
	skip
}

#define RESTS(i) (!asleep[i] || dead[i] || missed[i])
#define LOST(i) (dead[i] && !recovered[i])

proctype parent(byte me)
{
	byte d;

	do
	:: atomic { LOST(0) -> d = 0 }; goto recover
	:: atomic { LOST(1) -> d = 1 }; goto recover
	:: atomic { LOST(2) -> d = 2 }; goto recover
	:: atomic { LOST(3) -> d = 3 }; goto recover
	:: timeout ->
		assert(items == 0 || (RESTS(0) && RESTS(1)));
		break;
recover:
#ifndef SEED_NO_REPEAT
		if
		:: wakes[d] || waits[d] -> atomic { wake_all(); missed[0] = armed[0]; missed[1] = armed[1] }
		:: else
		fi;
#endif
		recovered[d] = true;
		d = 0
	od
}

#ifdef SLICES
#define OVER(i) (ended[i] || dead[i])
ltl nobody_sleeps_on { <> (OVER(2) && OVER(3) && (items == 0 || (OVER(0) && OVER(1)))) }
#endif

init
{
	atomic {
		run getter(0);
#ifndef FEW
		run getter(1);
		run putter(3);
#else
		ended[1] = true;
		ended[3] = true;
#endif
		run putter(2);
		run parent(PARENT)
	}
}
