/* SPDX-License-Identifier: MIT
 *
 * nocancel.h: no function of the library is a cancellation point (pthreads(7)).  A thread that is
 * cancelled in the midst of an operation would leave it half done, and nobody would take it over,
 * because its process lives.  Waits on shared words are no such points by nature (syscall(2)).
 *
 *     RMT_NO_CANCEL;     at the start of each function that makes a call which is one
 *
 * holds until the function returns; it costs some ns.  tools/check_cancel.py holds that.  Not in a
 * function that calls what the user wrote.
 */
#ifndef RMT_NOCANCEL_H
#define RMT_NOCANCEL_H

#include <pthread.h>

static inline int rmt_cancel_off(void)
{
    int was = PTHREAD_CANCEL_ENABLE;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was); /* fails for a bad argument only */
    return was;
}

static inline void rmt_cancel_back(const int *was)
{
    int disabled;
    pthread_setcancelstate(*was, &disabled);
}

#define RMT_NO_CANCEL                                                                              \
    __attribute__((cleanup(rmt_cancel_back), unused)) const int rmt_cancel_was = rmt_cancel_off()

#endif
