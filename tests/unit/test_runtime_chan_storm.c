/*
 * test_runtime_chan_storm.c - sends, receives and selects that meet deadlines,
 * cancels and closes at every moment: whatever happens, an item whose send gave
 * 0 is received exactly once, and no other is.
 *
 *      actor --- 0..11 moves on four channels --- each sends items of its own
 *        fiber: may be cancelled; thread: only its deadlines end its waits
 *
 * Run with seeds (one worker, virtual time, the schedule and every choice drawn
 * from the seed) and with workers and threads.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include <hyperion/chan.h>
#include <hyperion/fiber.h>
#include <hyperion/runtime.h>

#include "hy_test.h"

enum {
    CHANS = 4,
    ACTORS = 24,
    MOVES = 12,
    SEEDS = 1000,
    ITEMS = ACTORS * MOVES * CHANS, /* a move offers one a channel at most */
    THREADS = 2,
    ROUNDS = 40
};

struct item {
    uint64_t id, check[2];
};

static struct {
    hy_chan *chan[CHANS];
    _Atomic uint8_t sent[ITEMS], received[ITEMS];
    atomic_int next, cancelled, timed_out, refused;
    hy_fiber actor[ACTORS];
    uint64_t seed, patience_ns;
    bool closes;
} storm;

static uint64_t mix(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static struct item item_of(uint64_t id)
{
    return (struct item){id, {~id, id * 3}};
}

static void count_received(const struct item *item)
{
    HY_CHECK(item->id < ITEMS);
    HY_CHECK(item->check[0] == ~item->id && item->check[1] == item->id * 3);
    atomic_fetch_add(&storm.received[item->id], 1);
}

static void count_result(int r)
{
    HY_CHECK(r == 0 || r == -ECANCELED || r == -ETIMEDOUT || r == -EPIPE);
    if (r == -ECANCELED)
        atomic_fetch_add(&storm.cancelled, 1);
    else if (r == -ETIMEDOUT)
        atomic_fetch_add(&storm.timed_out, 1);
    else if (r == -EPIPE)
        atomic_fetch_add(&storm.refused, 1);
}

static hy_deadline some_deadline(uint64_t *random)
{
    return mix(random) % 4 == 0 ? HY_NOW
                                : hy_after(mix(random) % storm.patience_ns);
}

static void move_one(uint64_t *random, uint64_t id)
{
    hy_chan *chan = storm.chan[mix(random) % CHANS];
    struct item item = item_of(id);
    int r;

    if (mix(random) % 2 == 0) {
        r = hy_chan_send(chan, &item, some_deadline(random));
        if (r == 0)
            atomic_fetch_add(&storm.sent[id], 1);
    } else {
        r = hy_chan_recv(chan, &item, some_deadline(random));
        if (r == 0)
            count_received(&item);
    }
    count_result(r);
}

/* Each case sends an item of its own or receives. */
static void move_by_select(uint64_t *random, uint64_t first_id)
{
    struct item item[CHANS];
    hy_chan_case cases[CHANS];
    size_t count = 1 + mix(random) % CHANS, n = 0;
    int r;

    for (size_t i = 0; i < count; i++) {
        hy_chan *chan = storm.chan[mix(random) % CHANS];

        item[i] = item_of(first_id + i);
        cases[i] = mix(random) % 2 == 0
                       ? (hy_chan_case)HY_CHAN_CASE_SEND(chan, &item[i])
                       : (hy_chan_case)HY_CHAN_CASE_RECV(chan, &item[i]);
    }
    r = hy_chan_select(&n, cases, count, some_deadline(random));
    if (r == 0) {
        HY_CHECK(n < count);
        r = cases[n].result;
        if (r == 0 && cases[n].op == HY_CHAN_SEND)
            atomic_fetch_add(&storm.sent[first_id + n], 1);
        else if (r == 0)
            count_received(&item[n]);
    }
    /* What was not received into is as it was. */
    for (size_t i = 0; i < count; i++)
        HY_CHECK((i == n && r == 0) || item[i].id == first_id + i);
    count_result(r);
}

static void act(void *arg)
{
    unsigned self = (unsigned)atomic_fetch_add(&storm.next, 1);
    uint64_t random = storm.seed * 1000 + self;

    (void)arg;
    for (unsigned i = 0; i < MOVES; i++) {
        uint64_t id = (self * MOVES + i) * CHANS;

        if (mix(&random) % 3 != 0)
            move_by_select(&random, id);
        else
            move_one(&random, id);
        if (mix(&random) % 4 == 0)
            hy_fiber_yield();
    }
}

static void *act_in_a_thread(void *arg)
{
    act(arg);
    return NULL;
}

/* Cancels some of the actors, at some times; may close a channel. */
static void disturb(void *arg)
{
    uint64_t random = storm.seed * 1000 + 999;

    (void)arg;
    for (int i = 0; i < ACTORS / 3; i++) {
        hy_fiber_sleep(hy_after(mix(&random) % storm.patience_ns));
        hy_fiber_cancel(storm.actor[mix(&random) % (ACTORS - THREADS)]);
        if (storm.closes && i == 0)
            HY_CHECK_EQ(hy_chan_close(storm.chan[mix(&random) % CHANS]), 0);
    }
}

static void begin(uint64_t seed, uint64_t patience_ns)
{
    memset(&storm, 0, sizeof(storm));
    storm.seed = seed;
    storm.patience_ns = patience_ns;
    storm.closes = seed % 3 == 0;
    for (size_t i = 0; i < CHANS; i++) {
        hy_chan_options o = HY_CHAN_OPTIONS_INIT;

        o.item_bytes = sizeof(struct item);
        o.capacity = i; /* 0 to 3 */
        HY_CHECK_EQ(hy_chan_create(&storm.chan[i], &o), 0);
    }
}

/* Takes out what is left, and settles the account. */
static void settle(void)
{
    for (size_t i = 0; i < CHANS; i++) {
        hy_chan_stats s = {.size = sizeof(s)};
        struct item item;

        HY_CHECK_EQ(hy_chan_stats_get(storm.chan[i], &s), 0);
        HY_CHECK_EQ(s.waiting, 0);
        HY_CHECK_EQ(s.sent - s.received, s.count);
        HY_CHECK_EQ(hy_chan_close(storm.chan[i]), 0);
        while (hy_chan_recv(storm.chan[i], &item, HY_FOREVER) == 0) {
            count_received(&item);
            s.count--;
        }
        HY_CHECK_EQ(s.count, 0);
        HY_CHECK_EQ(hy_chan_destroy(storm.chan[i]), 0);
    }
    for (int i = 0; i < ITEMS; i++)
        HY_CHECK_MSG(storm.sent[i] <= 1 && storm.sent[i] == storm.received[i],
                     "seed %d: item %d was sent %d times, received %d times",
                     (int)storm.seed, i, storm.sent[i], storm.received[i]);
}

static void spawn_actors(hy_runtime *rt, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        HY_CHECK_EQ(hy_fiber_spawn(rt, act, NULL, NULL, &storm.actor[i]), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, disturb, NULL, NULL, NULL), 0);
}

/* --- with seeds ----------------------------------------------------------- */

/* What the run was: equal for equal seeds. */
static uint64_t run_seed(uint64_t seed)
{
    hy_runtime_options o = HY_RUNTIME_OPTIONS_INIT;
    uint64_t digest = 0;
    hy_runtime *rt = NULL;

    begin(seed, 1500);
    o.seed = seed;
    HY_CHECK_EQ(hy_runtime_init(&rt, &o), 0);
    spawn_actors(rt, ACTORS);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    for (unsigned i = 0; i < ITEMS; i++)
        if (storm.sent[i] != 0)
            digest = (digest ^ i) * 0x100000001b3u;
    digest = digest * 1000 + (uint64_t)storm.cancelled;
    digest = digest * 1000 + (uint64_t)storm.timed_out;
    settle();
    return digest;
}

HY_TEST(runtime_chan_storm, no_schedule_loses_an_item)
{
    int cancelled = 0, timed_out = 0, refused = 0;

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        run_seed(seed);
        cancelled += storm.cancelled;
        timed_out += storm.timed_out;
        refused += storm.refused;
    }
    /* All of it did happen. */
    HY_CHECK(cancelled > SEEDS && timed_out > SEEDS && refused > SEEDS);
}

HY_TEST(runtime_chan_storm, a_seed_gives_the_same_run)
{
    for (uint64_t seed = 1; seed <= 5; seed++)
        HY_CHECK(run_seed(seed) == run_seed(seed));
    HY_CHECK(run_seed(1) != run_seed(2));
}

/* --- with workers and threads --------------------------------------------- */

static void run_workers(uint64_t seed, unsigned workers)
{
    hy_runtime_options o = HY_RUNTIME_OPTIONS_INIT;
    hy_runtime *rt = NULL;
    pthread_t thread[THREADS];

    begin(seed, 60000);
    o.workers = workers;
    HY_CHECK_EQ(hy_runtime_init(&rt, &o), 0);
    spawn_actors(rt, ACTORS - THREADS);
    for (int i = 0; i < THREADS; i++)
        HY_CHECK_EQ(pthread_create(&thread[i], NULL, act_in_a_thread, NULL), 0);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    settle();
}

HY_TEST(runtime_chan_storm, no_race_loses_an_item)
{
    for (uint64_t i = 0; i < ROUNDS; i++)
        run_workers(i, 1 + (unsigned)i % 3);
}
