/*
 * stress.h - a round of the stress of the runtime: what its actors share.
 *
 *      round --- accounts under mutexes, channels, permits: each with a sum
 *        |       that must be right at the end, whatever was cancelled
 *        +------ actors: fibers that make moves of one kind; plain threads
 *
 * Invariant: a move leaves every sum right also when its waits end early.
 *
 * Upstream: stress_runtime.c. Downstream: stress_kinds.c, public headers.
 */
#ifndef STRESS_H
#define STRESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <hyperion/chan.h>
#include <hyperion/fiber.h>
#include <hyperion/offload.h>
#include <hyperion/runtime.h>
#include <hyperion/sync.h>

enum { ACCOUNTS = 8, CHANS = 3, PERMITS = 3, RECENT = 64 };

struct round {
    hy_runtime *rt;
    uint64_t seed;
    bool simulated; /* no thread, no signal, one worker */
    bool bounded;   /* so few fibers at most that spawns fail */
    hy_mutex lock[ACCOUNTS];
    int64_t account[ACCOUNTS];
    hy_chan *chan[CHANS];
    _Atomic uint64_t sent, received; /* sums of items */
    hy_sem permits;
    _Atomic int inside; /* of those who hold a permit */
    hy_wait_group threads;
    _Atomic bool over;              /* time is up: nothing new */
    _Atomic uint64_t spawned, done; /* actors */
    _Atomic uint64_t recent[RECENT];
};

/* Of one fiber or thread; its own. */
struct actor {
    struct round *round;
    uint64_t random;
};

struct kind {
    const char *name;
    void (*move)(struct actor *a);
    unsigned flags; /* enum hy_fiber_flag */
    bool outside;   /* plain threads may make it, too */
    bool real;      /* not in a simulation */
};
enum { KINDS = 11 };
extern const struct kind kinds[KINDS];
extern _Atomic uint64_t moves[KINDS];
extern _Atomic uint64_t early; /* waits that a deadline or a cancel ended */

/* Says what is wrong and ends the process: what was seen is still there. */
#define EXPECT(cond)                                                           \
    do {                                                                       \
        if (!(cond))                                                           \
            stress_fail(__FILE__, __LINE__, #cond);                            \
    } while (0)
_Noreturn void stress_fail(const char *file, int line, const char *what);

uint64_t draw(struct actor *a, uint64_t below);

/* A new actor of any kind in a fiber of its own; a negative errno value when
   there is no room for it. */
int stress_spawn(struct actor *by, hy_fiber *out);

#endif
