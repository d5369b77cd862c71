/*
 * sim_help.h - what several of the tests share: bodies that run half as plain
 * threads and half as fibers of a runtime with two workers.
 *
 *      crew_run(body, shared, count)
 *        body(shared, 0)  body(shared, 1) ...   each a thread or a fiber, as
 *                                               the seed has it
 */
#ifndef SIM_HELP_H
#define SIM_HELP_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <hyperion/chan.h>
#include <hyperion/fiber.h>
#include <hyperion/offload.h>
#include <hyperion/ring.h>
#include <hyperion/runtime.h>
#include <hyperion/sync.h>

#include "sim_engine.h"
#include "sim_tests.h"

enum { SIM_CREW_MOST = 4 };

typedef void (*sim_body)(void *shared, int index);

/* Returns when all have ended. cancels: one of the fibers is cancelled. */
void sim_crew(sim_body body, void *shared, int count, bool cancels);

/* Never, at once, or in up to 300 ns. */
hy_deadline sim_deadline(void);

/* As hy_fiber_spawn; half of them may change workers after their start. */
int sim_spawn(hy_runtime *rt, void (*entry)(void *), void *arg, hy_fiber *out);

hy_runtime *sim_runtime(unsigned workers, unsigned flags);

#endif
