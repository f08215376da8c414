/* SPDX-License-Identifier: MIT
 *
 * bench_boost.h: the message_queue of Boost.Interprocess, which is C++, for bench_queue.c, which is
 * not.  Only where Boost and a C++ compiler were found (BENCH_BOOST).
 */
#ifndef RAMET_BENCH_BOOST_H
#define RAMET_BENCH_BOOST_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bench_boost;

/* A queue of up to `bound` messages of 8 bytes, which forked children share; its name is gone at
 * once.  NULL: it cannot be had. */
struct bench_boost *bench_boost_create(const char *name, uint64_t bound);
void bench_boost_free(struct bench_boost *queue);

/* Both wait; -1: they failed. */
int bench_boost_send(struct bench_boost *queue, uint64_t value);
int bench_boost_receive(struct bench_boost *queue, uint64_t *ret_value);

#ifdef __cplusplus
}
#endif
#endif
