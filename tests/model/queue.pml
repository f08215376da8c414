/* SPDX-License-Identifier: MIT
 *
 * queue.pml: the queue (channel/queue_put.c, queue_get.c, queue_life.c, ring.h): two guards, one a side; a ring of
 * two cells (one, with two consumers) that grows by a second ring, the first being freed by a
 * getter; holds.
 *
 * What happens. Producers put items 1, 2, ... and consumers take them; each is a process that may
 * die anywhere. Producer 0 puts messages, which are blocks in its hold until they are put; producer
 * 1 puts bytes in the cell. A parent recovers the dead, at any time. In the end it counts: each
 * item that was put was delivered once, or is still in the queue, or was in a dead one's hold and
 * is counted as lost; each message and each ring was freed once, or not if it is in use.
 *
 * Steps                    C
 *   lock, unlock, replay   rmt_guard_lock, take_over, rmt_guard_unlock, rmt_replay
 *   producer               rmt_queue_put, put_once, put_locked; the load of head is find_room's;
 *                          link: prepare_link; a cell: write_cell; spare: make_spare,
 *                          rmt_block_free
 *   consumer               rmt_queue_get, get_once, get_locked; the copy of a cell: copy_cells;
 *                          moving on to the next ring; release: rmt_taken_keep and rmt_block_free
 *                          (one commit)
 *   destroy_ring           ring_destroy: through the put guard, then the block is free
 *   parent                 recover_thread: pass_through, then each hold by its tag; lose_item
 *
 * Abstracted. seen_head and seen_tail, which are old values of head and tail and so hide room or
 * items only. Batches: one item a time. Waiting: the guards block (guard.pml), bells are bell.pml.
 * The second ring has two cells, too, as no more than two items come after it is linked. Allocating
 * and freeing a block is one step with its hold, as it is one commit under another guard. Bounded
 * queues and shutdown. One recoverer that does not die: that recoveries may die is guard.pml and
 * member.pml. Preparing a record is one step: nobody reads it before it is armed.
 *
 * Memory order. Sequentially consistent; the one place where two threads look at each other's words
 * without a common guard is tail (release; acquire by getters: cells, end and next before it) and
 * head (release; acquire by putters: the copy out of the cells before it). A replay stores its
 * words in order, each with release, so that tail, the last, carries the others: TAIL_FIRST is that
 * seed.
 *
 * run: 2to1  | -DKILLS=1 -DPRODUCERS=2 -DCONSUMERS=1 | safety | long
 * run: 1to2  | -DKILLS=1 -DPRODUCERS=1 -DCONSUMERS=2 | safety
 * run: 1to1  | -DKILLS=2 -DPRODUCERS=1 -DCONSUMERS=1 | safety
 * seed: PUBLISH_FIRST | 1to2 | assertion | tail is stored before the cell is written
 * seed: TAIL_FIRST    | 1to2 | assertion | tail stands first in the record that links a ring
 * seed: HOLD_LATE     | 1to2 | assertion | the getter's hold is set after the commit of head
 * seed: HOLD_EARLY    | 1to2 | assertion | the getter's hold is set by a store before the commit of head
 * seed: COPY_LATE     | 1to1 | assertion | the cell is copied after the commit of head
 * seed: HOLD_STAYS    | 1to2 | assertion | the put does not empty the hold of the message
 * seed: RING_EARLY    | 1to1 | assertion | the ring is freed without passing through the put guard
 * seed: NOT_COUNTED   | 1to2 | assertion | a dead one's item is not counted as lost
 * seed: NO_REPLAY     | 1to2 | assertion | who takes a guard over does not apply the armed record
 * seed: NO_PASS       | 1to1 | assertion | recovery looks at holds without passing through the guard
 */
#define MEMBERS 4
#if PRODUCERS == 2
#define MORTAL(i) (i < 2)
#else
#if CONSUMERS == 2
#define MORTAL(i) (i == 1) /* the other one does the same */
#else
#define MORTAL(i) (i < 3)
#endif
#endif
#define PARENT 3
#include "death.inc"

#if PRODUCERS == 2
#define ITEMS(i) (i == 0 -> 2 : 1)
#define MESSAGES 2 /* the items of producer 0 */
#else
#if CONSUMERS == 2
#define ITEMS(i) 2 /* and rings of one cell, for fewer states */
#define CELLS 1
#else
#define ITEMS(i) 3
#endif
#define MESSAGES 3
#endif
#ifndef CELLS
#define CELLS 2
#endif
#define CONSUMER 2 /* the first; with one producer, the second is 1 */
#define IS_PRODUCER(i) (i == 0 || (i == 1 && PRODUCERS == 2))
#define OPEN 99

/* Words that records name. */
#define TAIL 0
#define PUT_RING 1
#define HEAD 2
#define GET_RING 3
#define LOST 4
#define END(r) (5 + r) /* 3 rings: the first, and a spare of each producer */
#define NEXT(r) (8 + r)
#define WHAT(i) (11 + i) /* holds: a consumer's only one, a producer's message */
#define ARG(i) (14 + i)  /* a producer's second hold: its spare ring */
#define WORDS 17

#define ITEM 100 /* hold: an item of the queue; others are blocks: */
#define RING(r) (50 + r)
#define IS_RING(w) (w >= 50 && w < 53)

#define PUT 0
#define GET 1
#define RECORD 6

byte mem[WORDS];
byte base[3];
byte cell[6];
byte word[2], armed[2];
byte at[12], value[12];
byte intent[MEMBERS]; /* thread.guard: guard + 1 */
bool ended[MEMBERS], recovered[MEMBERS];

/* Ghosts */
bool put[4];           /* item: its put was committed */
byte taken[MEMBERS];   /* the item that this one has, or had last */
byte delivered[4], lost[4], freed[4];
byte ring_made[3], ring_freed[3];

inline store(to, what)
{
	assert(!(to >= END(0) && to <= END(2)) || ring_freed[to - END(0)] == 0);
	assert(!(to >= NEXT(0) && to <= NEXT(2)) || ring_freed[to - NEXT(0)] == 0);
	mem[to] = what
}

inline forget(g)
{
	k = 0;
	do
	:: k < RECORD -> at[g * RECORD + k] = 0; value[g * RECORD + k] = 0; k++
	:: else -> break
	od;
	k = 0
}

inline replay(g)
{
	do
	:: i < n -> STEP(store(at[g * RECORD + i], value[g * RECORD + i]); i++)
	:: else -> break
	od;
	if
	:: n > 0 -> STEP(armed[g] = 0; forget(g); i = 0; n = 0)
	:: else
	fi
}

inline lock(g)
{
	STEP(intent[me] = g + 1);
	do
	:: STEP(word[g] == 0 || dead[word[g] - 1] -> seen = word[g]);
		atomic {
			if
			:: word[g] == seen -> word[g] = me + 1; break
			:: word[g] != seen
			:: DIE
			fi
		}
	od;
	if
#ifdef SEED_NO_REPLAY
	:: seen != 0 -> STEP(armed[g] = 0; forget(g); seen = 0)
#else
	:: seen != 0 -> STEP(n = armed[g]; seen = 0)
#endif
	:: else
	fi;
	replay(g)
}

inline unlock(g)
{
	STEP(word[g] = 0);
	STEP(intent[me] = 0)
}

inline redo(g, a, v)
{
	at[g * RECORD + n] = a;
	value[g * RECORD + n] = v;
	n++
}

inline destroy_ring()
{
#ifndef SEED_RING_EARLY
	lock(PUT);
	unlock(PUT)
#else
	skip
#endif
}

#define FREE_RING(hold) ring_freed[mem[hold] - RING(0)]++; mem[hold] = 0

inline prepare()
{
#ifdef SEED_TAIL_FIRST
	redo(PUT, TAIL, tail + 1);
#endif
	if
	:: to != ring ->
		redo(PUT, NEXT(ring), to);
		redo(PUT, END(ring), tail);
		redo(PUT, PUT_RING, to);
		redo(PUT, ARG(me), 0)
	:: else
	fi;
#ifndef SEED_HOLD_STAYS
	if
	:: me == 0 -> redo(PUT, WHAT(me), 0)
	:: else
	fi;
#endif
#ifndef SEED_TAIL_FIRST
	redo(PUT, TAIL, tail + 1)
#endif
}

#define NAME_OF(c) (me * MESSAGES + c + 1)

proctype producer(byte me)
{
	byte count, item, i, k, n, seen, head, tail, ring, to;

	do
	:: count < ITEMS(me) ->
		item = NAME_OF(count);
		if
		:: me == 0 -> STEP(mem[WHAT(me)] = item)
		:: else
		fi;
again:
		lock(PUT);
		atomic { tail = mem[TAIL]; ring = mem[PUT_RING]; to = ring };
		STEP(head = mem[HEAD]);
		if
		:: CELLS - (tail - (head > base[ring] -> head : base[ring])) == 0 ->
			if
			:: mem[ARG(me)] == 0 ->
				unlock(PUT);
				STEP(mem[ARG(me)] = RING(1 + me); ring_made[1 + me]++);
				goto again
			:: else -> to = 1 + me; base[to] = tail; mem[END(to)] = OPEN
			fi
		:: else
		fi;
#ifdef SEED_PUBLISH_FIRST
		STEP(mem[TAIL] = tail + 1; put[item] = true);
#endif
		STEP(assert(ring_freed[to] == 0); cell[to * CELLS + (tail - base[to]) % CELLS] = item);
		if
		:: to != ring || me == 0 ->
			STEP(prepare());
			STEP(armed[PUT] = n; put[item] = true);
			replay(PUT)
		:: else -> STEP(mem[TAIL] = tail + 1; put[item] = true)
		fi;
		atomic { to = 0; ring = 0; tail = 0; head = 0; item = 0; count++ };
		unlock(PUT)
	:: else -> break
	od;
	if
	:: mem[ARG(me)] != 0 -> destroy_ring(); STEP(FREE_RING(ARG(me)))
	:: else
	fi;
	STEP(ended[me] = true);
died:
	skip
}

#define OVER(i) (ended[i] || (dead[i] && recovered[i]))
#define NO_MORE ((!IS_PRODUCER(0) || ended[0] || dead[0]) && (!IS_PRODUCER(1) || ended[1] || dead[1]))

proctype consumer(byte me)
{
	byte i, k, n, seen, head, tail, end, ring, item;

	do
	:: mem[HEAD] != mem[TAIL] ->
		lock(GET);
		head = mem[HEAD];
		STEP(tail = mem[TAIL]);
		if
		:: head == tail -> atomic { head = 0; tail = 0 }; unlock(GET); goto next
		:: else -> tail = 0
		fi;
		ring = mem[GET_RING];
		assert(ring_freed[ring] == 0);
		STEP(end = mem[END(ring)]);
		if
		:: head == end ->
			STEP(redo(GET, WHAT(me), RING(ring)); redo(GET, GET_RING, mem[NEXT(ring)]));
			STEP(armed[GET] = n);
			replay(GET);
			atomic { head = 0; end = 0; ring = 0 };
			unlock(GET);
			destroy_ring();
			STEP(FREE_RING(WHAT(me)));
			goto next
		:: else
		fi;
		assert(head >= base[ring] && head - base[ring] < 4);
#ifdef SEED_COPY_LATE
		item = 1;
#else
		STEP(item = cell[ring * CELLS + (head - base[ring]) % CELLS]);
		assert(item != 0);
#endif
#ifdef SEED_HOLD_EARLY
		STEP(mem[ARG(me)] = (item <= MESSAGES -> item : 0); mem[WHAT(me)] = ITEM; taken[me] = item);
		STEP(mem[HEAD] = head + 1);
#else
#ifdef SEED_HOLD_LATE
		STEP(mem[HEAD] = head + 1; taken[me] = item);
		STEP(mem[ARG(me)] = (item <= MESSAGES -> item : 0); mem[WHAT(me)] = ITEM);
#else
		STEP(tail = (item <= MESSAGES -> item : 0); redo(GET, ARG(me), tail); redo(GET, WHAT(me), ITEM); redo(GET, HEAD, head + 1); tail = 0);
		STEP(armed[GET] = n; taken[me] = item);
		replay(GET);
#endif
#endif
#ifdef SEED_COPY_LATE
		STEP(item = cell[ring * CELLS + (head - base[ring]) % CELLS]; assert(item == head + 1));
#endif
		atomic { head = 0; end = 0; ring = 0 };
		unlock(GET);
		if
		:: item <= MESSAGES -> /* a message: of producer 0 */
			STEP(mem[WHAT(me)] = item; delivered[item]++);
			STEP(mem[WHAT(me)] = 0; freed[item]++; item = 0; mem[ARG(me)] = 0)
		:: else -> STEP(mem[WHAT(me)] = 0; delivered[item]++; item = 0)
		fi;
next:		skip
	:: NO_MORE && mem[HEAD] == mem[TAIL] -> break
	od;
	STEP(ended[me] = true);
died:
	skip
}

inline account(item)
{
	assert(delivered[item] + lost[item] + inside[item] == (put[item] -> 1 : 0));
	if
	:: item <= MESSAGES && put[item] -> assert(freed[item] == 1 - inside[item])
	:: item <= MESSAGES && !put[item] -> assert(freed[item] <= 1 && (freed[item] == 1 || mem[WHAT(0)] == 0))
	:: else
	fi
}

inline account_ring(r)
{
	assert(ring_freed[r] <= ring_made[r]);
	assert(r == mem[GET_RING] || r == mem[PUT_RING] || ring_freed[r] == ring_made[r]);
	assert((r != mem[GET_RING] && r != mem[PUT_RING]) || ring_freed[r] == 0)
}

proctype parent(byte me)
{
	byte d, i, k, n, seen, item, p, ring;
	bool inside[4];

	do
	:: atomic { dead[0] && !recovered[0] -> d = 0 }; goto recover
	:: atomic { dead[1] && !recovered[1] -> d = 1 }; goto recover
	:: atomic { dead[2] && !recovered[2] -> d = 2 }; goto recover
	:: OVER(0) && OVER(1) && OVER(2) -> break;
recover:
#ifndef SEED_NO_PASS
		if
		:: intent[d] == PUT + 1 -> lock(PUT); unlock(PUT)
		:: intent[d] == GET + 1 -> lock(GET); unlock(GET)
		:: intent[d] == 0
		fi;
#endif
		if
		:: mem[WHAT(d)] == ITEM -> /* lose_item */
			lock(GET);
			item = mem[ARG(d)];
			STEP(redo(GET, LOST, mem[LOST] + 1); redo(GET, WHAT(d), item));
			STEP(armed[GET] = n; lost[taken[d]]++);
#ifdef SEED_NOT_COUNTED
			atomic { value[GET * RECORD] = mem[LOST] };
#endif
			replay(GET);
			unlock(GET);
			item = 0
		:: else
		fi;
		if
		:: mem[WHAT(d)] == 0
		:: IS_RING(mem[WHAT(d)]) -> destroy_ring(); STEP(FREE_RING(WHAT(d)))
		:: else -> STEP(freed[mem[WHAT(d)]]++; mem[WHAT(d)] = 0)
		fi;
		if
		:: IS_RING(mem[ARG(d)]) -> destroy_ring(); STEP(FREE_RING(ARG(d)))
		:: else
		fi;
		STEP(recovered[d] = true; d = 0)
	od;
#ifndef SEED_NO_PASS
	assert(word[PUT] == 0 && word[GET] == 0 && armed[PUT] == 0 && armed[GET] == 0);
#endif
	atomic {
		p = mem[HEAD];
		ring = mem[GET_RING];
		do
		:: p < mem[TAIL] ->
			if
			:: p == mem[END(ring)] -> ring = mem[NEXT(ring)]; assert(base[ring] == p)
			:: else
			fi;
			item = cell[ring * CELLS + (p - base[ring]) % CELLS];
			assert(item != 0 && !inside[item]);
			inside[item] = true;
			p++
		:: else -> break
		od;
		account(1);
		account(2);
		account(3);
		account_ring(0);
		account_ring(1);
		account_ring(2);
		assert(mem[LOST] == lost[1] + lost[2] + lost[3]);
	};
	skip;
died:
	skip /* never: the parent is immortal */
}

init
{
	atomic {
		mem[END(0)] = OPEN;
		ring_made[0] = 1;
		run producer(0);
		run consumer(CONSUMER);
#if PRODUCERS == 2
		run producer(1);
#else
#if CONSUMERS == 2
		run consumer(1);
#else
		ended[1] = true;
#endif
#endif
		run parent(PARENT)
	}
}
