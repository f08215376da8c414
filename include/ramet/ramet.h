/* SPDX-License-Identifier: MIT
 *
 * ramet/ramet.h: all of libramet's public headers.
 */
#ifndef RAMET_RAMET_H
#define RAMET_RAMET_H

#include <ramet/arena.h>
#include <ramet/barrier.h>
#include <ramet/base.h>
#include <ramet/cancel.h>
#include <ramet/condition.h>
#include <ramet/data.h>
#include <ramet/event.h>
#include <ramet/inspect.h>
#include <ramet/lock.h>
#include <ramet/pipe.h>
#include <ramet/pool.h>
#include <ramet/process.h>
#include <ramet/queue.h>
#include <ramet/rlock.h>
#include <ramet/semaphore.h>
#include <ramet/view.h>

#endif
