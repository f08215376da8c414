/* SPDX-License-Identifier: MIT
 *
 * pool.pml: the claims of a pool's workers (pool/claim.c, publish.c) and what becomes of them when a worker
 * dies (pool/recover.c): every item is done exactly once, or begun once and reported as failed.
 *
 * What happens. One job of three items; mortal workers claim ranges of two, begin items, complete
 * them, publish results and claim again, first from what a dead one left. An immortal worker works,
 * too. A parent recovers the dead. In the end every item is accounted for.
 *
 * Steps             C
 *   claim           try_claim: finish, then claim_returned or claim_queued; prepare, and the commit
 *   begin           rmt_worker_begin: the store of current, then the function
 *   done            rmt_worker_done: the result is written, then the store of pack.state
 *   flush           flush and publish_pack within a range; may come after any item
 *   settle ...      recover_claim: settle (the complete results; the notice of the item that was
 *                   begun), then the record becomes RETURNED, or is discarded; each a commit of its
 *                   own
 *   lock, replay    rmt_guard_lock, take_over, rmt_replay
 *
 * Abstracted. One job, so that the queue of jobs is `next < TOTAL`, and no end of the job. Records
 * are not blocks of a list but one for each worker, whose state says whether it is in it; a record
 * that is RETURNED and used up is freed by the commit that takes the last of it (its hold:
 * queue.pml shows the like). Result blocks are counts. Wakes are bell.pml's. The recoverer may die
 * with the first recovery: then the parent goes on. A record is prepared in one step: nobody reads
 * it before it is armed.
 *
 * Memory order. Sequentially consistent. current, pack.state and the results are written by the
 * worker and read after the proof of its death. All else is read and written under the pool's
 * guard.
 *
 * run: deaths1 | -DKILLS=1 | safety
 * run: deaths2 | -DKILLS=2 | safety | long
 * seed: TWO_STORES    | deaths1 | assertion | the record is made ACTIVE and next is moved by two stores
 * seed: NEXT_FIRST    | deaths1 | end | next is moved by a store before the record is made ACTIVE
 * seed: BEGIN_FIRST   | deaths1 | assertion | the function begins before current says so
 * seed: DONE_FIRST    | deaths1 | assertion | the result is counted before it is written
 * seed: NOT_RETURNED  | deaths1 | end | what was not begun is not given back
 * seed: WHOLE_RANGE   | deaths1 | assertion | the whole range fails and not only the item that was begun
 * seed: NO_NOTICE     | deaths1 | assertion | the item that was begun is given back like the others
 * seed: FIRST_STAYS   | deaths2 | assertion | recovery publishes results and does not move `first` with the same commit
 * seed: NO_SECOND_LOOK | deaths2 | assertion | a recoverer passes through no guard of the one before it, nor looks at the hold again
 * seed: NO_REPLAY     | deaths1 | assertion | who takes the guard over does not apply the armed record
 */
#define MEMBERS 4
#define IMMORTAL 1  /* the worker that does not die; with two workers 0 is mortal */
#define RECOVERER 2 /* mortal, recovers worker 0 */
#define PARENT 3
#define MORTAL(i) (i == 0 || i == RECOVERER)
#include "death.inc"

#define TOTAL 3
#define CHUNK 2
#define NO_ITEM 9

#define IDLE 0
#define ACTIVE 1
#define RETURNED 2
#define GONE 3

/* Words that records name: */
#define NEXT 0
#define FINISHED 1
#define DEPARTED 2
#define HOLD(w) (3 + w) /* hold of worker w: its record */
#define STATE(w) (5 + w)
#define FIRST(w) (7 + w)
#define RESULTS(w) (9 + w) /* 1: the result block is the worker's */
#define WORDS 11

byte mem[WORDS];
byte end[2], current[2], done[2]; /* done: pack.state of the result block */
byte word, armed;
byte at[4], value[4];
bool intent[MEMBERS];
bool ended[MEMBERS], recovered[MEMBERS];

/* Ghosts. */
byte begun[TOTAL], written[TOTAL], published[TOTAL], failed[TOTAL];

inline forget()
{
	at[0] = 0;
	at[1] = 0;
	at[2] = 0;
	at[3] = 0;
	value[0] = 0;
	value[1] = 0;
	value[2] = 0;
	value[3] = 0
}

inline replay()
{
	do
	:: i < n -> STEP(mem[at[i]] = value[i]; i++)
	:: else -> break
	od;
	if
	:: n > 0 -> STEP(armed = 0; forget(); i = 0; n = 0)
	:: else
	fi
}

inline lock()
{
	STEP(intent[me] = true);
	STEP(word == 0 || dead[word - 1] -> taken_over = (word != 0); word = me + 1);
	if
#ifdef SEED_NO_REPLAY
	:: taken_over -> STEP(armed = 0; forget(); taken_over = false)
#else
	:: taken_over -> STEP(n = armed; taken_over = false)
#endif
	:: else
	fi;
	replay()
}

inline unlock()
{
	STEP(word = 0);
	STEP(intent[me] = false)
}

inline redo(a, v)
{
	at[n] = a;
	value[n] = v;
	n++
}

/* Ghost: items [from, from + count) are published as results, or fail. */
inline publish_items(from, count)
{
	k = from;
	do
	:: k < from + count ->
		assert(written[k] == 1);
		published[k]++;
		assert(published[k] + failed[k] == 1);
		k++
	:: else -> break
	od;
	k = 0
}

inline fail_items(from, count)
{
	k = from;
	do
	:: k < from + count ->
		assert(k == current[0] && begun[k] <= 1);
		failed[k]++;
		assert(published[k] + failed[k] == 1);
		k++
	:: else -> break
	od;
	k = 0
}

#define LESS(a, b) (a < b -> a : b)
#define REST (other < 2 && mem[STATE(other)] == RETURNED)

inline take_queued()
{
	/* prepare: the record is IDLE, nobody looks at these */
	STEP(first = mem[NEXT]; mem[FIRST(me)] = first; last = LESS(first + CHUNK, TOTAL); end[me] = last; current[me] = NO_ITEM);
#ifdef SEED_TWO_STORES
	STEP(mem[STATE(me)] = ACTIVE);
	STEP(mem[NEXT] = last)
#else
#ifdef SEED_NEXT_FIRST
	STEP(mem[NEXT] = last);
	STEP(mem[STATE(me)] = ACTIVE)
#else
	STEP(redo(STATE(me), ACTIVE); redo(NEXT, last));
	STEP(armed = n);
	replay()
#endif
#endif
}

/* One item of what the other left. */
inline take_returned()
{
	STEP(first = mem[FIRST(other)]; mem[FIRST(me)] = first; last = first + 1; end[me] = last; current[me] = NO_ITEM);
	STEP(redo(STATE(me), ACTIVE);
		if
		:: last < end[other] -> redo(FIRST(other), last)
		:: else -> redo(STATE(other), GONE)
		fi);
	STEP(armed = n);
	replay()
}

/* Under the guard: the results that are complete go to the job. */
inline publish(over)
{
	if
	:: done[me] > 0 || over ->
		STEP(
			if
			:: done[me] > 0 -> redo(RESULTS(me), 0); redo(FINISHED, mem[FINISHED] + done[me])
			:: else
			fi;
			if
			:: over -> redo(STATE(me), IDLE)
			:: else -> redo(FIRST(me), mem[FIRST(me)] + done[me])
			fi);
		STEP(armed = n; publish_items(mem[FIRST(me)], done[me]));
		replay();
		STEP(done[me] = 0)
	:: else
	fi
}

proctype worker(byte me)
{
	byte i, k, n, first, last, other = 1 - me;
	bool taken_over;

claim:
	lock();
	if
	:: mem[STATE(me)] == ACTIVE -> publish(true)
	:: else
	fi;
	if
	:: REST -> take_returned()
	:: !REST && mem[NEXT] < TOTAL -> take_queued()
	:: else -> unlock(); goto idle
	fi;
	unlock();
	do
	:: first < last ->
#ifdef SEED_BEGIN_FIRST
		STEP(begun[first]++; assert(begun[first] == 1));
		STEP(current[me] = first);
#else
		STEP(current[me] = first);
		STEP(begun[first]++; assert(begun[first] == 1));
#endif
		/* the result block, if there is none: rmt_worker_room */
		if
		:: mem[RESULTS(me)] == 0 -> STEP(mem[RESULTS(me)] = 1)
		:: else
		fi;
#ifdef SEED_DONE_FIRST
		STEP(done[me]++);
		STEP(written[first]++);
#else
		STEP(written[first]++);
		STEP(done[me]++);
#endif
		first++;
		if
		:: first < last -> lock(); publish(false); unlock()
		:: true
		fi
	:: else -> break
	od;
	goto claim;

idle:
	first = 0;
	last = 0;
	if
	:: atomic { REST || mem[NEXT] < TOTAL -> goto claim }
	:: mem[FINISHED] == TOTAL
	fi;
	STEP(ended[me] = true);
died:
	skip
}

/* Worker 0 is the only one that may die. */
#ifdef SEED_NOT_RETURNED
#define GIVEN_BACK false
#else
#define GIVEN_BACK (mem[STATE(0)] == ACTIVE && mem[FIRST(0)] < end[0])
#endif
#ifdef SEED_FIRST_STAYS
#define PAST(c) skip
#else
#define PAST(c) redo(FIRST(0), mem[FIRST(0)] + c)
#endif

/* recover_claim of worker 0, by `me` */
inline recover()
{
	if
	:: intent[0] -> lock(); unlock()
	:: else
	fi;
	if
	:: mem[HOLD(0)] == 1 ->
		lock();
		if
#ifndef SEED_NO_SECOND_LOOK
		:: mem[HOLD(0)] == 0 -> goto settled
#endif
		:: else
		fi;
		if
		:: mem[STATE(0)] == ACTIVE ->
			if
			:: mem[RESULTS(0)] == 1 && done[0] > 0 ->
				STEP(redo(RESULTS(0), 0); redo(FINISHED, mem[FINISHED] + done[0]); PAST(done[0]));
				STEP(armed = n; publish_items(mem[FIRST(0)], done[0]));
				replay()
#ifdef SEED_FIRST_STAYS
				;
				STEP(mem[FIRST(0)] = mem[FIRST(0)] + done[0])
#endif
			:: else
			fi;
			if
#ifndef SEED_NO_NOTICE
			:: current[0] != NO_ITEM && current[0] >= mem[FIRST(0)] ->
#ifdef SEED_WHOLE_RANGE
				b = end[0] - mem[FIRST(0)];
#else
				b = 1;
#endif
				STEP(redo(FINISHED, mem[FINISHED] + b); redo(FIRST(0), mem[FIRST(0)] + b));
				STEP(armed = n; fail_items(mem[FIRST(0)], b); b = 0);
				replay()
#endif
			:: else
			fi
		:: else
		fi;
		STEP(
			if
			:: GIVEN_BACK -> redo(STATE(0), RETURNED)
			:: else -> redo(STATE(0), GONE)
			fi;
			redo(HOLD(0), 0);
			redo(DEPARTED, mem[DEPARTED] + 1));
		STEP(armed = n);
		replay();
settled:
		unlock()
	:: else
	fi
}

/* The first to recover, who may die. */
proctype recoverer(byte me)
{
	byte i, k, n, b;
	bool taken_over;

	if
	:: dead[0]
	:: ended[0] -> goto over
	fi;
	recover();
	STEP(recovered[0] = true);
over:
	STEP(ended[me] = true);
died:
	skip
}

/* Goes on where the first one died (become_recoverer lets nobody else in before). */
proctype parent(byte me)
{
	byte i, k, n, b;
	bool taken_over;

	if
	:: dead[RECOVERER] && dead[0] && !recovered[0] ->
#ifndef SEED_NO_SECOND_LOOK
		if
		:: intent[RECOVERER] -> lock(); unlock() /* succeed */
		:: else
		fi;
#endif
		recover();
		recovered[0] = true
	:: ended[0] || recovered[0]
	fi;
	(ended[0] || dead[0]) && ended[IMMORTAL];
	lock();
	assert(mem[FINISHED] == TOTAL && mem[NEXT] == TOTAL);
	assert(published[0] + failed[0] == 1 && published[1] + failed[1] == 1);
	assert(published[2] + failed[2] == 1);
	assert(failed[0] + failed[1] + failed[2] <= (dead[0] -> 1 : 0));
	assert(mem[DEPARTED] == (dead[0] -> 1 : 0));
	skip;
died:
	skip /* never: the parent is immortal */
}

init
{
	atomic {
		mem[HOLD(0)] = 1;
		mem[HOLD(1)] = 1;
		run worker(0);
		run worker(IMMORTAL);
		run recoverer(RECOVERER);
		run parent(PARENT)
	}
}
