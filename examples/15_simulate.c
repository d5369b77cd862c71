/*
 * 15_simulate.c - a test that fails under one schedule in many, found by
 * running it under many, and run again under that one.
 *
 * Shown: hy_sim_run and what it tells; a seed that fails the same way each
 * time; time that costs nothing; and that the repaired code passes.
 *
 * Two fibers take work out of a queue. The first version looks whether there
 * is some, and then takes it; whoever waits between the two may find that the
 * other was faster.
 */
#include <inttypes.h>
#include <stdio.h>

#include <hyperion/hyperion.h>

enum { JOBS = 3, WORKERS = 2, MINUTE_S = 60 };

struct queue {
    int jobs, done;
    int is_repaired;
    hy_mutex lock;
};

static void take_one(struct queue *q)
{
    HY_SIM_CHECK(q->jobs > 0);
    q->jobs--;
}

/* How long a job takes is drawn from the seed as well: 0 to 2 minutes, gone at
   once, because time here is virtual. */
static void do_job(struct queue *q)
{
    uint64_t minutes = hy_sim_draw(3);

    hy_fiber_sleep(hy_after(minutes * MINUTE_S * 1000000000));
    q->done++;
}

static void work_carelessly(struct queue *q)
{
    while (q->jobs > 0) {
        if (hy_sim_draw(64) == 0)
            hy_fiber_yield(); /* stands for what seldom waits: a log, a send */
        take_one(q);
        do_job(q);
    }
}

static void work_carefully(struct queue *q)
{
    int has_job;

    do {
        hy_mutex_lock(&q->lock, HY_FOREVER);
        has_job = q->jobs > 0;
        hy_fiber_yield();
        if (has_job)
            take_one(q);
        hy_mutex_unlock(&q->lock);
        if (has_job)
            do_job(q);
    } while (has_job);
}

static void worker(void *arg)
{
    struct queue *q = arg;

    if (q->is_repaired)
        work_carefully(q);
    else
        work_carelessly(q);
}

/* What is run under each schedule: it begins anew each time. */
static int test(void *arg)
{
    struct queue q = {.jobs = JOBS, .is_repaired = *(const int *)arg};
    hy_fiber fiber[WORKERS];

    for (int i = 0; i < WORKERS; i++)
        if (hy_fiber_spawn(NULL, worker, &q, NULL, &fiber[i]) != 0)
            return 1;
    for (int i = 0; i < WORKERS; i++)
        hy_fiber_join(fiber[i], HY_FOREVER);
    HY_SIM_CHECK(q.done == JOBS);
    return 0;
}

static int run(const char *what, int is_repaired, uint64_t seed, uint64_t count,
               hy_sim_result *result)
{
    hy_sim_options o = HY_SIM_OPTIONS_INIT;
    uint64_t start = hy_now();
    int r;

    o.seed = seed;
    o.count = count;
    result->size = sizeof(*result);
    r = hy_sim_run(test, &is_repaired, &o, result);
    if (r < 0) {
        fprintf(stderr, "no simulation: error %d\n", -r);
        return r;
    }
    printf("%-9s %5" PRIu64 " runs, %6" PRIu64 " switches, %3" PRIu64 " ms: ",
           what, result->ran, result->switches, (hy_now() - start) / 1000000);
    if (r == 1)
        printf("seed %" PRIu64 ": %s\n", result->seed, result->why);
    else
        printf("none failed\n");
    return r;
}

int main(void)
{
    hy_sim_result found, again, repaired;

    if (run("careless", 0, 1, 2000, &found) != 1)
        return 1;
    if (run("the same", 0, found.seed, 1, &again) != 1)
        return 1;
    return run("careful", 1, 1, 2000, &repaired) != 0;
}
