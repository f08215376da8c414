/* SPDX-License-Identifier: MIT
 *
 * spare.h: between server.c and spare.c: children of the fork server, from the fork to the task.
 */
#ifndef RMT_SPARE_H
#define RMT_SPARE_H

#include "process/packet.h"

#include <sys/types.h>

#define RMT_SPARES_DEFAULT 1

/* In a child that nothing of the server's is open in but `fds`: settles in what the client has
 * sent, says that it begins, and runs the task. */
_Noreturn void rmt_child_begin(const struct rmt_server_request *request,
                               const int fds[RMT_SERVER_FDS]);

/* In a spare, just forked by process `server`: waits at the client's socket for a request, tells
 * the server on `report`, and becomes that child.  Ends with the server, and with the last client.
 */
_Noreturn void rmt_spare_run(int socket, int report, pid_t server);

#endif
