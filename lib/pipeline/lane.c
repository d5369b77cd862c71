/*
 * lane.c - a ring with many callers on one side and one fiber on the other
 * (lane.h has the picture).
 *
 * Invariant: a message that was pushed is done, being analysed, or in the ring,
 * unless the fiber has ended; then the ring's rest is freed.
 * Upstream: pipeline.c. Downstream: ring.h, sync.h, analyse.c.
 */
#include "lane.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { QUEUE_DEFAULT = 1024, STACK_BYTES = 128 * 1024 };

int hyi_lane_init(struct lane *lane, struct hy_pipeline *pipeline,
                  size_t queue_capacity)
{
    hy_ring_options ring = HY_RING_OPTIONS_INIT;
    size_t dim = pipeline->library.dim;
    int r;

    memset(lane, 0, sizeof(*lane));
    lane->pipeline = pipeline;
    lane->vector = malloc(dim * sizeof(float));
    lane->codes = malloc(dim);
    ring.item_bytes = sizeof(struct message *);
    ring.capacity = queue_capacity != 0 ? queue_capacity : QUEUE_DEFAULT;
    r = lane->vector == NULL || lane->codes == NULL
            ? -ENOMEM
            : hy_ring_create(&lane->ring, &ring);
    if (r != 0)
        hyi_lane_destroy(lane);
    return r;
}

int hyi_lane_start(struct lane *lane)
{
    hy_fiber_options fiber = HY_FIBER_OPTIONS_INIT;

    fiber.name = "analyse";
    fiber.stack_bytes = STACK_BYTES;
    return hy_fiber_spawn(lane->pipeline->runtime, hyi_analyse_run, lane,
                          &fiber, &lane->fiber);
}

void hyi_lane_destroy(struct lane *lane)
{
    struct message *message;

    if (lane->ring != NULL) {
        hy_ring_close(lane->ring);
        if (lane->fiber.id != 0)
            hy_fiber_join(lane->fiber, HY_FOREVER);
        while (hy_ring_pop(lane->ring, &message) == 0)
            free(message);
        hy_ring_destroy(lane->ring);
    }
    free(lane->vector);
    free(lane->codes);
    memset(lane, 0, sizeof(*lane));
}

int hyi_lane_push(struct lane *lane, struct message *message, hy_deadline until)
{
    int r = hy_mutex_lock(&lane->push_lock, until);

    if (r != 0)
        return r;
    r = hy_ring_push_wait(lane->ring, &message, until);
    if (r == 0)
        atomic_fetch_add_explicit(&lane->pushed, 1, memory_order_relaxed);
    hy_mutex_unlock(&lane->push_lock);
    return r == -EPIPE ? -ECANCELED : r;
}

int hyi_lane_drain(struct lane *lane, hy_deadline until)
{
    uint64_t target = atomic_load_explicit(&lane->pushed, memory_order_relaxed);
    int r = hy_mutex_lock(&lane->done_lock, until);

    if (r != 0)
        return r;
    while (r == 0 && lane->done < target)
        r = lane->ended != 0
                ? lane->ended
                : hy_cond_wait(&lane->done_cond, &lane->done_lock, until);
    hy_mutex_unlock(&lane->done_lock);
    return r;
}

uint64_t hyi_lane_waiting(struct lane *lane)
{
    uint64_t pushed, done;

    if (hy_mutex_lock(&lane->done_lock, HY_FOREVER) != 0)
        return 0;
    done = lane->done;
    hy_mutex_unlock(&lane->done_lock);
    pushed = atomic_load_explicit(&lane->pushed, memory_order_relaxed);
    return pushed > done ? pushed - done : 0; /* done may be counted first */
}
