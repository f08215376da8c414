/* SPDX-License-Identifier: MIT
 *
 * packet.h: packets with descriptors, over a socket of type SOCK_SEQPACKET, and what stands in
 * those between a client, its fork server and the server's children.  Nothing here is believed
 * because of who sent it: length and number of descriptors are those that were expected, or the
 * packet is none.
 */
#ifndef RMT_PACKET_H
#define RMT_PACKET_H

#include <ramet/base.h>

#define RMT_PACKET_FDS 5 /* at most */

/* 0, or a negative errno, -EPIPE if nobody is there to receive it. */
int rmt_packet_send(int socket, const void *data, size_t size, const int *fds, int count);

/* `flags` as of recvmsg(2).  1 a packet of `size` bytes with `count` descriptors, which are the
 * caller's from now on; 0 the end; -EPROTO what is none; -EMFILE a packet whose descriptors
 * this process could not take: they are closed; -EAGAIN nothing is there; <0.  What it writes on
 * failure means nothing, but for the data with -EMFILE. */
int rmt_packet_receive(int socket, void *data, size_t size, int *fds, int count, int flags);

/* From the client to the server or a spare, with the descriptors {status pipe, 0, 1, 2, working
 * directory}. */
#define RMT_SERVER_FDS 5
struct rmt_server_request {
    ramet_ref request;
    uint32_t attempt; /* from 1 on: allow.c */
    uint32_t zero;
};
static inline int rmt_server_receive(int socket, struct rmt_server_request *ret_request,
                                     int fds[RMT_SERVER_FDS], int flags)
{
    return rmt_packet_receive(socket, ret_request, sizeof *ret_request, fds, RMT_SERVER_FDS, flags);
}

/* From a spare to the server: it has been given a request, with this status pipe. */
struct rmt_spare_report {
    int32_t pid;
};

/* On the status pipe, each smaller than PIPE_BUF and so whole.  The child itself writes the first
 * as its last act before the task; the server the other, when it has waited for the child, or
 * instead of both if it could make none. */
struct rmt_server_reply {
    int32_t pid; /* or minus errno: there is no child */
    int32_t ended;
    int32_t code; /* of one that has ended, as ramet_process_join gives it */
};

#endif
