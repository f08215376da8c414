/* SPDX-License-Identifier: MIT
 *
 * bench_boost.cc: see bench_boost.h.
 */
#include "bench_boost.h"

#include <boost/interprocess/ipc/message_queue.hpp>

using boost::interprocess::message_queue;

struct bench_boost {
    message_queue queue;
    bench_boost(const char *name, uint64_t bound)
        : queue(boost::interprocess::create_only, name, bound, sizeof(uint64_t))
    {
    }
};

struct bench_boost *bench_boost_create(const char *name, uint64_t bound)
{
    try {
        bench_boost *made = new bench_boost(name, bound);
        message_queue::remove(name);
        return made;
    } catch (const std::exception &) {
        message_queue::remove(name);
        return nullptr;
    }
}

void bench_boost_free(struct bench_boost *queue)
{
    delete queue;
}

int bench_boost_send(struct bench_boost *queue, uint64_t value)
{
    try {
        queue->queue.send(&value, sizeof value, 0);
        return 0;
    } catch (const std::exception &) {
        return -1;
    }
}

int bench_boost_receive(struct bench_boost *queue, uint64_t *ret_value)
{
    message_queue::size_type size;
    unsigned priority;
    try {
        queue->queue.receive(ret_value, sizeof *ret_value, size, priority);
        return size == sizeof *ret_value ? 0 : -1;
    } catch (const std::exception &) {
        return -1;
    }
}
