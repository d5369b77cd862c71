/*
 * sim_engine.h - simulated threads, one running at a time, which change places
 * at the atomics of the code under test as a seed has it (sim_engine.c), and
 * what the tests that run in them use.
 */
#ifndef SIM_ENGINE_H
#define SIM_ENGINE_H

#include <hyperion/base.h>
#include <stdbool.h>

enum { SIM_THREADS_MOST = 10 };

/* One program to be run under many schedules. It begins in thread 0, and ends
   with no thread but that. */
struct sim_test {
    const char *name;
    void (*run)(void);
};

struct sim_result {
    bool failed;
    uint64_t points;   /* places where it might have switched */
    uint64_t switches; /* and did */
    uint64_t hash;     /* of all of them */
    char why[400];
};

/* --- for whoever explores ---------------------------------------------------
 */

void sim_init(void);

/* One schedule. trace: each switch goes to standard error. */
void sim_run(const struct sim_test *test, uint64_t seed, bool trace,
             struct sim_result *out);

/* --- for sim_atomic.h -------------------------------------------------------
 */

/* here: "file.c:12", for traces and reports. */
void sim_point(const char *here);
void sim_pause(const char *here);

/* --- for tests --------------------------------------------------------------
 */

/* Ends the schedule, from any thread or fiber. */
_Noreturn void sim_fail(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

#define SIM_CHECK(cond)                                                        \
    ((cond) ? (void)0 : sim_fail("%s:%d: %s", __FILE__, __LINE__, #cond))
#define SIM_CHECK_EQ(a, b)                                                     \
    do {                                                                       \
        long long sim_a_ = (long long)(a), sim_b_ = (long long)(b);            \
        if (sim_a_ != sim_b_)                                                  \
            sim_fail("%s:%d: %s is %lld, not %lld", __FILE__, __LINE__, #a,    \
                     sim_a_, sim_b_);                                          \
    } while (0)

/* A number below limit, from the seed. */
uint64_t sim_draw(uint64_t limit);

/* Another thread; its number. */
int sim_start(void (*entry)(void *arg), void *arg);
void sim_join(int thread);

#endif
