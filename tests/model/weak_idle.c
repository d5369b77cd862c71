/*
 * weak_idle.c - a spawn and workers that lie down (idle.c, hyi_worker_spawned):
 * whoever sleeps, or is about to, gets what was spawned. The membarrier
 * protocol with its interrupts, and the one with fences.
 *
 *      WEAK_CASE   fibers spawned   workers without work
 *      1           1                1, membarrier
 *      2           1                1, fences
 *      3           1, by a foreign thread, through the inbox
 *      4           the same, and another worker has work: nobody is the last
 * one
 */
#define WEAK_WORKERS (WEAK_CASE == 3 ? 1 : 2)
#if WEAK_CASE == 1
#define WEAK_INTERRUPTS 2 /* by thread 1, the worker */
#define WEAK_OTHERS     2
#elif WEAK_CASE == 2
#define WEAK_BARRIER (-ENOTSUP)
#endif
#include "weak_worker.h"

static struct hyi_fiber fresh;
static int given; /* not atomic: seen by who runs the fiber */

static void spawn(struct hyi_worker *w)
{
    struct hyi_fiber *f = &fresh;

    atomic_init(&f->life, weak_life(1, 4));
    atomic_init(&f->state, HY_FIBER_NEW);
    atomic_init(&f->worker, WEAK_CASE == 4 ? &weak_worker[0]
                                           : hyi_worker_for(&weak_rt, w, -1));
    given = 1;
    hyi_worker_spawned(&weak_rt, w, f);
}

static void *spawner(void *unused)
{
    if (WEAK_CASE >= 3) {
        weak_begin(1);
        spawn(NULL);
    } else {
        weak_worker_begin(0);
        spawn(&weak_worker[0]);
    }
    weak_end();
    return unused;
}

/* Gets the fiber, and runs it: it is not looked at any more. */
static void *worker(void *index)
{
    struct hyi_worker *w = &weak_worker[(long)index];
    struct hyi_fiber *f;

    weak_worker_begin((unsigned)(long)index);
    w->current = &w->base;
    while ((f = pick(w)) == NULL)
        assert(hyi_worker_idle(w));
    assert(f == &fresh && given == 1);
    given = 2;
    weak_end();
    return NULL;
}

int main(void)
{
    pthread_t t[2];

    weak_runtime_init();
    weak_rt.need_fence = WEAK_CASE != 1;
    weak_rt.spawns_slowly = weak_rt.need_fence;
    pthread_create(&t[0], NULL, spawner, NULL);
    pthread_create(&t[1], NULL, worker, (void *)(WEAK_CASE >= 3 ? 0l : 1l));
    pthread_join(t[0], NULL);
    pthread_join(t[1], NULL);
    assert(given == 2);
    return 0;
}
