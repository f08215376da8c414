/* SPDX-License-Identifier: MIT
 *
 * doorbell.pml: the doorbell of a pipe (channel/pipe.h, pipe_io.c, pipe_wait.c, doorbell.c): whenever a message
 * is there, the receiver's descriptor is readable.
 *
 * What happens. Two mortal senders send two messages each into a ring that holds two; a mortal
 * receiver takes messages and, since its descriptor is polled, hushes the bell when the way is
 * empty; another receiver, with the same end, goes on where it died. An observer that never acts
 * holds the three properties of pipe.h against every state:
 *   (1) at most `bound` bytes of the bell are in the socket;  (2) if sure, at least one is;
 *   (3) if the way is not empty, sure.
 * A receiver that polls goes on only if the descriptor is readable: in the end none may be left
 * asleep with a message in the way.
 *
 * Steps                    C
 *   lock, unlock           rmt_guard_lock, rmt_guard_unlock of way.put, taken over from the dead
 *                          (guard.pml)
 *   put                    rmt_pipe_put: fits, rmt_pipe_ring (each store and the send(2)
 *                          is a step), publish
 *   take                   rmt_pipe_take: the take guard's section is one step, its commit is one
 *                          store of head
 *   hush                   rmt_pipe_hush: sure = 0; rmt_doorbell_drain of at most `bound` bytes; bell = 0
 *
 * Abstracted. A message is one position. Inline messages: no commit record. Block messages have one
 * (guard.pml). send(2) and recv(2) are indivisible, as the kernel's are for one byte; draining
 * takes one byte a step. The socket takes CAPACITY bytes, then send says EAGAIN. Closing and
 * hanging up are left out.
 *
 * Memory order. Sequentially consistent. bell and tail are written under one guard; head is read by
 * senders with acquire, and a value that is too old hides room only. The unguarded looks at tail
 * and head by the receiver only decide whether to take the guard.
 *
 * run: deaths2 | -DKILLS=2 | safety
 * seed: AFTER_PUBLISHING | deaths2 | assertion | the bell is rung after publishing
 * seed: SURE_FIRST       | deaths2 | assertion | sure is set before the byte was sent
 * seed: NO_BOUND         | deaths2 | assertion | the bound is raised after the byte was sent
 * seed: NO_GUARD         | deaths2 | assertion | the receiver drains without the guard
 * seed: SURE_WHILE_DRAIN | deaths2 | assertion | sure is cleared after the bytes were taken
 * seed: EARLY_BOUND      | deaths2 | assertion | the bound is cleared before the bytes were taken
 */
#define MEMBERS 4
#define MORTAL(i) (i < 3)
#include "death.inc"

#define CAPACITY 2
#define ROOM 2
#define RECEIVER 2
#define HEIR 3

byte word;        /* put guard: owner + 1 */
byte tail, head;
byte bound = 1;   /* way.bell = 2 * bound + sure */
bool sure = true; /* born with a byte in the socket */
byte socket = 1;
bool ended[MEMBERS];

inline lock()
{
	STEP(word == 0 || dead[word - 1] -> word = me + 1)
}

inline unlock()
{
	STEP(word = 0)
}

inline ring()
{
	if
	:: !sure ->
#ifdef SEED_SURE_FIRST
		STEP(bound++; sure = true);
		STEP(if :: socket < CAPACITY -> socket++ :: else fi)
#else
#ifndef SEED_NO_BOUND
		STEP(bound++);
#endif
		atomic {
			if
			:: socket < CAPACITY -> socket++; refused = false
			:: socket == CAPACITY -> refused = true
			:: DIE
			fi
		};
#ifdef SEED_NO_BOUND
		STEP(if :: refused :: else -> bound++ fi);
		STEP(sure = true)
#else
		STEP(if :: refused -> bound-- :: else fi; sure = true; refused = false)
#endif
#endif
	:: else
	fi
}

proctype sender(byte me)
{
	byte n;
	bool refused;

	do
	:: n < 2 ->
		tail - head < ROOM; /* rmt_pipe_await_room */
		lock();
		if
		:: tail - head < ROOM ->
#ifdef SEED_AFTER_PUBLISHING
			STEP(tail++);
			ring();
#else
			ring();
			STEP(tail++);
#endif
			n++
		:: else
		fi;
		unlock()
	:: else -> break
	od;
	STEP(ended[me] = true);
died:
	skip
}

inline rmt_pipe_hush()
{
	if
	:: bound != 0 || sure ->
#ifndef SEED_NO_GUARD
		lock();
#endif
		if
		:: tail == head && (bound != 0 || sure) ->
#ifdef SEED_EARLY_BOUND
			STEP(n = bound; bound = 0);
#else
			n = bound;
#endif
#ifndef SEED_SURE_WHILE_DRAIN
			STEP(sure = false);
#endif
			do
			:: n > 0 && socket > 0 -> STEP(socket--; n--)
			:: else -> break
			od;
			n = 0;
			STEP(bound = 0; sure = false)
		:: else
		fi;
#ifndef SEED_NO_GUARD
		unlock()
#endif
	:: else
	fi
}

#define OVER(i) (ended[i] || dead[i])
#define NO_MORE (OVER(0) && OVER(1) && tail == head)

/* Polls, and takes one message or finds that there is none.  The heir starts when the receiver has died. */
proctype receiver(byte me)
{
	byte n;

	me == RECEIVER || dead[RECEIVER] || ended[RECEIVER];
end:	do
	:: atomic { NO_MORE -> break }
	:: socket > 0 && !NO_MORE ->
		if
		:: STEP(tail != head -> head++)
		:: else
		fi;
		if
		:: tail == head -> rmt_pipe_hush()
		:: else
		fi
	od;
	STEP(ended[me] = true);
died:
	skip
}

active proctype observer()
{
end:	atomic {
		socket > bound || (sure && socket == 0) || (tail != head && !sure) -> assert(false)
	}
}

init
{
	atomic {
		run sender(0);
		run sender(1);
		run receiver(RECEIVER);
		run receiver(HEIR)
	}
}
