/*
 * lane.h - a pipeline's inside: its lanes, each a ring and a fiber.
 *
 *      ingest (id picks the lane)         lane's fiber
 *      push_lock -> ring ------------------> analyse -> library_lock -> library
 *      pushed++                              done++, wakes who flushes
 *
 * One id always goes through one lane, so its documents keep their order.
 */
#ifndef HYI_PIPELINE_LANE_H
#define HYI_PIPELINE_LANE_H

#include <hyperion/fiber.h>
#include <hyperion/pipeline.h>
#include <hyperion/ring.h>
#include <hyperion/sync.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "bits.h"
#include "library.h"
#include "process.h"

enum { LANES_MAX = 64 };

/* On its way through a ring; the text and the label follow. */
struct message {
    uint64_t id;
    size_t text_bytes, label_bytes;
    bool removes;
    char data[];
};

struct lane {
    struct hy_pipeline *pipeline;
    hy_ring *ring; /* of struct message * */
    hy_fiber fiber;
    float *vector; /* the fiber's own: one document's work */
    int8_t *codes;
    struct words words; /* of the same document */

    hy_mutex push_lock; /* makes many producers one; held while one waits */
    _Atomic uint64_t pushed; /* written under push_lock; relaxed: whoever reads
                                it waits for no push but those it knows of */

    hy_mutex done_lock;
    hy_cond done_cond;
    uint64_t done; /* under done_lock */
    int ended;     /* under done_lock: why the fiber has gone, or 0 */
};

struct hy_pipeline {
    uint32_t forks; /* of the process that it belongs to */
    struct library library;
    hy_mutex library_lock; /* documents, heap, the index's writer */
    hy_runtime *runtime;
    bool owns_runtime;
    unsigned lane_count;
    struct lane *lanes;

    _Atomic uint64_t ingested; /* relaxed, both: figures */
    _Atomic uint64_t failed;
    _Atomic int first_error; /* since the last flush, which takes it away; the
                                done_lock orders the two */
};

/* In a child of fork, which has neither its fibers nor its memory. */
static inline bool hyi_pipeline_is_stale(const struct hy_pipeline *pipeline)
{
    return pipeline->forks != hyi_process_forks();
}

int hyi_lane_init(struct lane *lane, struct hy_pipeline *pipeline,
                  size_t queue_capacity);

/* The fiber. Without it a lane only holds memory. */
int hyi_lane_start(struct lane *lane);

/* Closes the ring, waits for the fiber, frees what is left. A fiber that calls
 * it is shielded. */
void hyi_lane_destroy(struct lane *lane);

/* Takes ownership of the message when the result is 0. */
int hyi_lane_push(struct lane *lane, struct message *message,
                  hy_deadline until);

/* Waits until all that was pushed before is done. */
int hyi_lane_drain(struct lane *lane, hy_deadline until);

/* How many are pushed and not done. */
uint64_t hyi_lane_waiting(struct lane *lane);

/* analyse.c: the body of a lane's fiber. */
void hyi_analyse_run(void *lane);

#endif
