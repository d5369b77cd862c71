/*
 * runtime_test.h - what the tests of the runtime share: making runtimes and
 * fibers with a word, and waiting for what is to come.
 *
 *      hy_runtime *rt = make(.workers = 2, .flags = HY_RUNTIME_CLOSED);
 *
 *      spawn(rt, count_up, &count);
 *      run_to_the_end(rt);
 */
#ifndef RUNTIME_TEST_H
#define RUNTIME_TEST_H

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include <hyperion/fiber.h>
#include <hyperion/runtime.h>

#include "hy_test.h"

enum { MS = 1000000 };
#define SECOND ((uint64_t)1000 * MS)

/* --- runtimes ------------------------------------------------------------- */

static inline hy_runtime *make_runtime(const hy_runtime_options *o)
{
    hy_runtime *rt = NULL;

    HY_CHECK_EQ(hy_runtime_init(&rt, o), 0);
    return rt;
}

/* With these options, as initialisers of their fields. */
#define make(...)                                                              \
    make_runtime(&(hy_runtime_options){.size = sizeof(hy_runtime_options),     \
                                       __VA_ARGS__})

static inline void run_to_the_end(hy_runtime *rt)
{
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

static inline hy_runtime_stats stats_of(const hy_runtime *rt)
{
    hy_runtime_stats s = {.size = sizeof(s)};

    HY_CHECK_EQ(hy_runtime_stats_get(rt, &s), 0);
    return s;
}

/* A report callback: writes what is fatal to the descriptor at fd. */
static inline void report_fatal(void *fd, int level, const char *message)
{
    ssize_t n = 0;

    if (level == HY_REPORT_FATAL)
        n = write(*(int *)fd, message, strlen(message));
    (void)n;
}

/* --- fibers --------------------------------------------------------------- */

/* rt NULL: the caller's own, here and below. */
static inline hy_fiber spawn(hy_runtime *rt, void (*entry)(void *), void *arg)
{
    hy_fiber f = {0};

    HY_CHECK_EQ(hy_fiber_spawn(rt, entry, arg, NULL, &f), 0);
    return f;
}

/* worker: from 1; 0 is any. */
static inline hy_fiber spawn_on(hy_runtime *rt, int worker,
                                void (*entry)(void *), void *arg)
{
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;
    hy_fiber f = {0};

    o.worker = worker;
    HY_CHECK_EQ(hy_fiber_spawn(rt, entry, arg, &o, &f), 0);
    return f;
}

static inline void nothing(void *arg)
{
    (void)arg;
}

static inline void count_up(void *counter)
{
    atomic_fetch_add((atomic_int *)counter, 1);
}

static inline void yield_for_ever(void *arg)
{
    (void)arg;
    for (;;)
        hy_fiber_yield();
}

/* --- waiting -------------------------------------------------------------- */

/* Until cond holds, in a fiber or a thread; a minute is for ever. It need not
   hold for long: it is not looked at again. */
#define AWAIT(cond)                                                            \
    do {                                                                       \
        hy_deadline await_until_ = hy_after(60 * SECOND);                      \
        bool came_;                                                            \
                                                                               \
        while (!(came_ = (cond)) && hy_now() < await_until_)                   \
            hy_fiber_sleep(hy_after(MS / 4));                                  \
        HY_CHECK_MSG(came_, "%s has not come", #cond);                         \
    } while (0)

#endif
