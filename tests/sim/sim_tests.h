/*
 * sim_tests.h - the programs that are run under many schedules. Each is short,
 * draws its own shape from the seed, and checks what its primitive promises.
 */
#ifndef SIM_TESTS_H
#define SIM_TESTS_H

#define SIM_TESTS(X)                                                           \
    X(park)                                                                    \
    X(lock)                                                                    \
    X(mutex)                                                                   \
    X(cond)                                                                    \
    X(sem)                                                                     \
    X(event)                                                                   \
    X(cycle)                                                                   \
    X(chan)                                                                    \
    X(select)                                                                  \
    X(ring)                                                                    \
    X(inbox)                                                                   \
    X(steal)                                                                   \
    X(help)                                                                    \
    X(tree)                                                                    \
    X(reuse)                                                                   \
    X(timers)                                                                  \
    X(stop)                                                                    \
    X(cancel)                                                                  \
    X(closed)                                                                  \
    X(poll)                                                                    \
    X(offload)

#define SIM_DECLARE(name) void sim_test_##name(void);
SIM_TESTS(SIM_DECLARE)
#undef SIM_DECLARE

#endif
