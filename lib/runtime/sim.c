/*
 * sim.c - a test run under one seed after another (sim.h).
 *
 *      for each seed   a new runtime | test, as its first fiber
 *                      poll, poll, ... until no fiber is left, or it failed
 *                      destroyed, with whoever still lives
 *
 * Polled rather than run, so that it comes back between bounded pieces of work
 * and can count them.
 *
 * Invariant: a runtime's sim is set exactly while hy_sim_run drives it, and is
 * touched by that thread alone.
 *
 * Upstream: users. Downstream: runtime.c, fiber.c.
 */
#include <hyperion/sim.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core.h"
#include "options.h"

enum {
    COUNT_DEFAULT = 1000,
    SWITCHES_DEFAULT = 1000000,
    RESULT_BYTES_MIN = sizeof(size_t)
};

/* One run. */
struct hyi_sim {
    int (*test)(void *arg);
    void *arg;
    const hy_sim_options *options;
    int returned;
    bool failed; /* by hy_sim_fail */
    char why[sizeof(((hy_sim_result *)0)->why)];
};

/* --- what a test says -------------------------------------------------------
 */

static void keep_why(struct hyi_sim *sim, const char *why)
{
    if (sim->why[0] == '\0')
        hyi_name_copy(sim->why, sizeof(sim->why), why);
}

void hy_sim_fail(const char *why)
{
    struct hyi_worker *w = hyi_worker_self;

    if (hyi_fiber_running() == NULL || w->rt->sim == NULL)
        return;
    w->rt->sim->failed = true;
    keep_why(w->rt->sim, why);
    w->bound_reached = true; /* the poll picks nobody any more */
}

uint64_t hy_sim_draw(uint64_t limit)
{
    struct hyi_worker *w = hyi_worker_self;

    if (hyi_fiber_running() == NULL || w->rt->seed == 0)
        return 0;
    return limit == 0 ? hyi_random(w) : hyi_random(w) % limit;
}

/* --- one run ----------------------------------------------------------------
 */

static void report_of_run(void *ctx, int level, const char *message)
{
    struct hyi_sim *sim = ctx;

    if (level >= HY_REPORT_ERROR)
        keep_why(sim, message);
    if (sim->options->report.write != NULL)
        sim->options->report.write(sim->options->report.ctx, level, message);
}

static void first_fiber(void *arg)
{
    struct hyi_sim *sim = arg;

    sim->returned = sim->test(sim->arg);
    if (sim->returned != 0)
        hyi_worker_self->bound_reached = true;
}

/* 0, or why it failed. */
static int drive(hy_runtime *rt, struct hyi_sim *sim)
{
    const _Atomic uint64_t *switches = &rt->worker[0].switches;
    int r;

    do {
        r = hy_runtime_poll(rt, HY_NOW);
        if (sim->failed)
            return -EINTR;
        if (sim->returned != 0)
            return sim->returned;
        if (r < 0)
            return r;
        if (atomic_load_explicit(switches, memory_order_relaxed) >
            sim->options->switches_max)
            return -ELOOP;
    } while (r == 1 || hyi_runtime_live(rt) != 0);
    return 0;
}

static void describe(struct hyi_sim *sim, int error)
{
    char why[64] = "";

    if (error == -ELOOP)
        snprintf(why, sizeof(why), "no end after %llu switches",
                 (unsigned long long)sim->options->switches_max);
    else
        snprintf(why, sizeof(why), "the test returned %d", error);
    keep_why(sim, why);
}

/* Negative: it could not be run. *error: whether it failed. */
static int run_seed(struct hyi_sim *sim, uint64_t seed, uint64_t *switches,
                    int *error)
{
    hy_runtime_options o = HY_RUNTIME_OPTIONS_INIT;
    char name[HYI_NAME_BYTES];
    hy_runtime *rt = NULL;
    int r;

    snprintf(name, sizeof(name), "seed %llu", (unsigned long long)seed);
    o.seed = seed;
    o.name = name;
    o.stack_bytes = sim->options->stack_bytes;
    o.report.write = report_of_run;
    o.report.ctx = sim;
    r = hy_runtime_init(&rt, &o);
    if (r != 0)
        return r;
    rt->sim = sim;
    r = hy_fiber_spawn(rt, first_fiber, sim, NULL, NULL);
    if (r == 0) {
        *error = drive(rt, sim);
        *switches +=
            atomic_load_explicit(&rt->worker[0].switches, memory_order_relaxed);
    }
    rt->sim = NULL;
    hy_runtime_destroy(rt);
    return r;
}

/* --- all of them ------------------------------------------------------------
 */

static int read_options(const hy_sim_options *src, hy_sim_options *o)
{
    int r = hyi_options_read(o, sizeof(*o), src);

    if (r != 0)
        return r;
    if (o->seed == 0)
        o->seed = 1;
    if (o->count == 0)
        o->count = COUNT_DEFAULT;
    if (o->switches_max == 0)
        o->switches_max = SWITCHES_DEFAULT;
    return o->count - 1 > UINT64_MAX - o->seed ? -EINVAL : 0;
}

static void tell(const struct hyi_sim *sim, uint64_t seed)
{
    char message[sizeof(sim->why) + 32];

    if (sim->options->report.write == NULL)
        return;
    snprintf(message, sizeof(message), "seed %llu failed: %s",
             (unsigned long long)seed, sim->why);
    sim->options->report.write(sim->options->report.ctx, HY_REPORT_ERROR,
                               message);
}

int hy_sim_run(int (*test)(void *arg), void *arg, const hy_sim_options *options,
               hy_sim_result *out)
{
    hy_sim_result result = {.size = sizeof(result)};
    hy_sim_options o;
    int r;

    if (test == NULL || (out != NULL && out->size < RESULT_BYTES_MIN))
        return -EINVAL;
    if (hyi_fiber_running() != NULL)
        return -EBUSY;
    r = read_options(options, &o);
    for (uint64_t i = 0; r == 0 && i < o.count && result.seed == 0; i++) {
        struct hyi_sim sim = {.test = test, .arg = arg, .options = &o};

        r = run_seed(&sim, o.seed + i, &result.switches, &result.error);
        result.ran++;
        if (r != 0 || result.error == 0)
            continue;
        result.seed = o.seed + i;
        describe(&sim, result.error);
        memcpy(result.why, sim.why, sizeof(result.why));
        tell(&sim, result.seed);
    }
    if (r == 0 && out != NULL)
        r = hyi_struct_fill(out, &result, sizeof(result));
    return r != 0 ? r : result.seed != 0;
}
