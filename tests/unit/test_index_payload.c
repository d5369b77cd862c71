/*
 * test_index_payload.c - payloads that lead somewhere: told of once each, never
 * while pinned, and in spite of a process that ends in between.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include <hyperion/index.h>

#include "hy_test.h"

enum { IDS = 100, RESERVE = 64 << 20 };

/* How often each payload from 1 to IDS was told of. */
struct told {
    unsigned times[IDS + 1];
    unsigned all, wrong;
};

static void tell(void *ctx, uint64_t id, uint64_t payload)
{
    struct told *told = ctx;

    if (payload == 0 || payload > IDS || id != payload % 10)
        told->wrong++;
    else
        told->times[payload]++;
    told->all++;
}

static hy_index *make(const char *path, struct told *told)
{
    hy_index_options o = HY_INDEX_OPTIONS_INIT;
    hy_index *index = NULL;

    o.dim = 2;
    o.metric = HY_METRIC_L2;
    o.path = path;
    o.reserve_bytes = RESERVE;
    HY_CHECK_EQ(hy_index_create(&index, &o), 0);
    HY_CHECK_EQ(hy_index_release_set(index, tell, told), 0);
    return index;
}

/* Ten ids, each replaced by the payload ten higher. */
static void put(hy_index *index, uint64_t payload)
{
    float v[2] = {(float)payload, 1};
    int8_t codes[2];
    hy_sq8 q = hy_vec_sq8_encode(v, 2, codes);

    HY_CHECK_EQ(
        hy_index_insert_encoded(index, payload % 10, v, q, codes, payload), 0);
}

static void check_all_told_once(const struct told *told, uint64_t last)
{
    HY_CHECK_EQ(told->wrong, 0);
    HY_CHECK_EQ(told->all, last);
    for (uint64_t i = 1; i <= last; i++)
        HY_CHECK_EQ(told->times[i], 1);
}

HY_TEST(index_payload, a_search_gives_payloads)
{
    struct told told = {{0}, 0, 0};
    hy_index *index = make(NULL, &told);
    float v[2] = {17, 1};
    uint64_t payloads[3] = {0, 0, 0};
    hy_hit hits[3];
    size_t count = 0;

    for (uint64_t i = 11; i <= 20; i++)
        put(index, i);
    HY_CHECK_EQ(
        hy_index_search_payloads(index, v, 3, NULL, hits, payloads, &count), 0);
    HY_CHECK_EQ(count, 3);
    HY_CHECK_EQ(hits[0].id, 7);
    HY_CHECK_EQ(payloads[0], 17);
    HY_CHECK_EQ(payloads[1], 16);
    HY_CHECK_EQ(payloads[2], 18);
    HY_CHECK_EQ(
        hy_index_search_payloads(NULL, v, 3, NULL, hits, payloads, &count),
        -EINVAL);
    HY_CHECK_EQ(hy_index_release_set(NULL, tell, NULL), -EINVAL);
    HY_CHECK_EQ(hy_index_reclaim(NULL), -EINVAL);
    HY_CHECK_EQ(hy_index_destroy(index), 0);
    HY_CHECK_EQ(told.all, 0); /* what is found is not released */
}

HY_TEST(index_payload, what_was_replaced_or_removed_is_told_once)
{
    struct told told = {{0}, 0, 0};
    hy_index *index = make(NULL, &told);

    for (uint64_t i = 1; i <= 60; i++)
        put(index, i);
    HY_CHECK(told.all >= 45); /* some changes later at most */
    HY_CHECK_EQ(hy_index_reclaim(index), 0);
    check_all_told_once(&told, 50);
    HY_CHECK_EQ(hy_index_checkpoint(index), 0);
    check_all_told_once(&told, 50);
    for (uint64_t id = 0; id < 10; id++)
        HY_CHECK_EQ(hy_index_remove(index, id), 0);
    HY_CHECK_EQ(hy_index_destroy(index), 0);
    check_all_told_once(&told, 60);
}

HY_TEST(index_payload, nothing_is_told_while_it_is_pinned)
{
    struct told told = {{0}, 0, 0};
    hy_index *index = make(NULL, &told);
    uint64_t first, second;

    for (uint64_t i = 1; i <= 10; i++)
        put(index, i);
    first = hy_index_pin(index);
    for (uint64_t i = 11; i <= 50; i++)
        put(index, i);
    HY_CHECK_EQ(hy_index_checkpoint(index), 0);
    HY_CHECK_EQ(told.all, 0);
    second = hy_index_pin(index); /* may see 41 to 50 */
    hy_index_unpin(index, first);
    for (uint64_t i = 51; i <= 60; i++)
        put(index, i);
    HY_CHECK_EQ(hy_index_checkpoint(index), 0);
    for (uint64_t i = 41; i <= 60; i++)
        HY_CHECK_EQ(told.times[i], 0);
    hy_index_unpin(index, second);
    HY_CHECK_EQ(hy_index_checkpoint(index), 0);
    check_all_told_once(&told, 50);
    HY_CHECK_EQ(hy_index_destroy(index), 0);
    check_all_told_once(&told, 50);
}

/* Is killed with removed payloads in the file that nobody was told of. */
static void be_killed(void *path)
{
    static struct told told;
    hy_index *index = make(path, &told);

    for (uint64_t i = 1; i <= 30; i++)
        put(index, i);
    hy_index_checkpoint(index);
    hy_index_pin(index);
    for (uint64_t i = 31; i <= 40; i++)
        put(index, i);
    hy_index_remove(index, 3);
    if (hy_index_checkpoint(index) == 0 && told.all == 20)
        kill(getpid(), SIGKILL);
}

HY_TEST(index_payload, the_rest_is_told_after_a_kill)
{
    struct told told = {{0}, 0, 0};
    hy_index *index;
    char path[200], log[210];
    int status;

    snprintf(path, sizeof(path), "/tmp/hy-payload-%d", (int)getpid());
    snprintf(log, sizeof(log), "%s.log", path);
    unlink(path);
    status = hy_test_child(be_killed, path);
    HY_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    index = make(path, &told);
    HY_CHECK_EQ(hy_index_checkpoint(index), 0);
    HY_CHECK_EQ(told.wrong, 0);
    HY_CHECK_EQ(told.all, 11);
    for (uint64_t i = 21; i <= 30; i++)
        HY_CHECK_EQ(told.times[i], 1);
    HY_CHECK_EQ(told.times[33], 1);
    for (uint64_t i = 41; i <= 50; i++)
        put(index, i);
    HY_CHECK_EQ(hy_index_destroy(index), 0);
    index = make(path, &told); /* and never again */
    HY_CHECK_EQ(hy_index_destroy(index), 0);
    HY_CHECK_EQ(told.all, 20);
    unlink(path);
    unlink(log);
}

HY_TEST(index_payload, who_only_looks_leaves_the_rest_to_be_told)
{
    struct told told = {{0}, 0, 0};
    hy_index_options o = HY_INDEX_OPTIONS_INIT;
    hy_index *index;
    char path[200], log[210];
    int status;

    snprintf(path, sizeof(path), "/tmp/hy-payload-%d", (int)getpid());
    snprintf(log, sizeof(log), "%s.log", path);
    unlink(path);
    status = hy_test_child(be_killed, path);
    HY_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    o.metric = HY_METRIC_L2;
    o.path = path;
    HY_CHECK_EQ(hy_index_create(&index, &o), 0);
    HY_CHECK_EQ(hy_index_destroy(index), 0); /* told nobody */
    index = make(path, &told);
    HY_CHECK_EQ(hy_index_destroy(index), 0);
    HY_CHECK_EQ(told.wrong, 0);
    HY_CHECK_EQ(told.all, 11);
    unlink(path);
    unlink(log);
}

/* --- beside a writer -------------------------------------------------------
 */

enum { CELLS = 4096, LOOKS = 3000 };

/* What a payload leads to: a cell that holds its id until it is released. */
struct cells {
    hy_index *index;
    _Atomic uint64_t
        ids[CELLS]; /* id + 1; 0: free. Relaxed: the index orders */
    _Atomic int stop, wrong;
};

static void empty_cell(void *ctx, uint64_t id, uint64_t payload)
{
    struct cells *cells = ctx;
    uint64_t was =
        atomic_exchange_explicit(&cells->ids[payload], 0, memory_order_relaxed);

    if (was != id + 1)
        atomic_store(&cells->wrong, 1);
}

static void *follow_payloads(void *arg)
{
    struct cells *cells = arg;
    uint64_t payloads[10];
    hy_hit hits[10];
    size_t count;

    for (int i = 0; i < LOOKS; i++) {
        uint64_t pin = hy_index_pin(cells->index);

        if (hy_index_search_payloads(cells->index, (float[]){3, 1}, 10, NULL,
                                     hits, payloads, &count) != 0)
            atomic_store(&cells->wrong, 1);
        for (size_t k = 0; k < count; k++)
            if (atomic_load_explicit(&cells->ids[payloads[k]],
                                     memory_order_relaxed) != hits[k].id + 1)
                atomic_store(&cells->wrong, 1);
        hy_index_unpin(cells->index, pin);
    }
    atomic_store(&cells->stop, 1);
    return NULL;
}

static void put_cell(struct cells *cells, uint64_t id, uint64_t at)
{
    float v[2] = {(float)id, (float)at / CELLS};
    int8_t codes[2];
    hy_sq8 q = hy_vec_sq8_encode(v, 2, codes);

    atomic_store_explicit(&cells->ids[at], id + 1, memory_order_relaxed);
    HY_CHECK_EQ(hy_index_insert_encoded(cells->index, id, v, q, codes, at), 0);
}

HY_TEST(index_payload, can_be_followed_beside_a_writer)
{
    static struct cells cells;
    hy_index_options o = HY_INDEX_OPTIONS_INIT;
    pthread_t reader;
    uint64_t at = 0;

    memset(&cells, 0, sizeof(cells));
    o.dim = 2;
    o.metric = HY_METRIC_L2;
    o.reserve_bytes = RESERVE;
    HY_CHECK_EQ(hy_index_create(&cells.index, &o), 0);
    HY_CHECK_EQ(hy_index_release_set(cells.index, empty_cell, &cells), 0);
    for (uint64_t id = 0; id < 10; id++)
        put_cell(&cells, id, ++at);
    HY_CHECK_EQ(pthread_create(&reader, NULL, follow_payloads, &cells), 0);
    for (uint64_t id = 0; !atomic_load(&cells.stop); id = (id + 1) % 10) {
        at = at % (CELLS - 1) + 1;
        /* A reader that sleeps keeps them all: room comes with its unpin. */
        while (atomic_load_explicit(&cells.ids[at], memory_order_relaxed) != 0)
            HY_CHECK_EQ(hy_index_checkpoint(cells.index), 0);
        put_cell(&cells, id, at);
    }
    pthread_join(reader, NULL);
    HY_CHECK_EQ(atomic_load(&cells.wrong), 0);
    HY_CHECK_EQ(hy_index_destroy(cells.index), 0);
}
