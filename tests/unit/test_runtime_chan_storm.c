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

#include "runtime_test.h"

enum {
    CHANS = 4,
    ACTORS = 24,
    MOVES = 12,
    SEEDS = 1000,
    ITEMS = ACTORS * MOVES * CHANS, /* a move offers one a channel at most */
    THREADS = 2,
    ROUNDS = 40,
    SENDERS = 2,
    WORDS = 4096
};
#define LONG_NS 20000000000u /* so long only after a meeting was missed */

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
    hy_runtime *rt = make(.seed = seed);
    uint64_t digest = 0;

    begin(seed, 1500);
    spawn_actors(rt, ACTORS);
    run_to_the_end(rt);
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
    hy_runtime *rt = make(.workers = workers);
    pthread_t thread[THREADS];

    begin(seed, 60000);
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

/* --- threads that never rest ---------------------------------------------- */

struct mill_kind {
    size_t senders, capacity, words; /* of an item; the first and last count */
    uint64_t each;                   /* items of a sender */
    bool is_patient;                 /* waits for as long as it takes */
    unsigned pause;                  /* turns of a loop at most, between two */
};

static struct {
    struct mill_kind kind;
    hy_chan *chan[SENDERS];
    pthread_barrier_t start;
    uint64_t out[SENDERS][WORDS], in[SENDERS][WORDS];
    atomic_int missed;
} mill;

static hy_deadline mill_deadline(uint64_t *random)
{
    return mill.kind.is_patient ? hy_after(LONG_NS)
                                : hy_after(mix(random) % 8000);
}

/* About as long as a select takes, so that sends come at its every moment. */
static void pause_briefly(uint64_t *random)
{
    volatile unsigned turns =
        mill.kind.pause == 0 ? 0 : (unsigned)(mix(random) % mill.kind.pause);

    while (turns > 0)
        turns = turns - 1;
}

/* Sends 1, 2, 3 ... through a channel of its own, each until it has gone. */
static void *mill_send(void *arg)
{
    size_t self = *(size_t *)arg;
    uint64_t random = self, *item = mill.out[self];

    pthread_barrier_wait(&mill.start);
    for (uint64_t i = 1; i <= mill.kind.each; i++) {
        int r;

        pause_briefly(&random);
        item[0] = item[mill.kind.words - 1] = i;
        do {
            r = hy_chan_send(mill.chan[self], item, mill_deadline(&random));
            HY_CHECK(r == 0 || r == -ETIMEDOUT);
            if (r != 0 && mill.kind.is_patient)
                atomic_fetch_add(&mill.missed, 1);
        } while (r != 0);
    }
    HY_CHECK_EQ(hy_chan_close(mill.chan[self]), 0);
    return NULL;
}

/* From each channel that has a sender every number must come, in order. */
static void mill_recv(void)
{
    uint64_t last[SENDERS] = {0}, random = 77;
    size_t open = mill.kind.senders, n;
    hy_chan_case cases[SENDERS];

    for (size_t i = 0; i < SENDERS; i++)
        cases[i] = (hy_chan_case)HY_CHAN_CASE_RECV(mill.chan[i], mill.in[i]);
    pthread_barrier_wait(&mill.start);
    while (open > 0) {
        int r = hy_chan_select(&n, cases, SENDERS, mill_deadline(&random));

        HY_CHECK(r == 0 || (r == -ETIMEDOUT && !mill.kind.is_patient));
        if (r != 0)
            continue;
        if (cases[n].result == -EPIPE) {
            cases[n].op = HY_CHAN_SKIP;
            open--;
            continue;
        }
        last[n]++;
        HY_CHECK_EQ(mill.in[n][0], last[n]);
        HY_CHECK_EQ(mill.in[n][mill.kind.words - 1], last[n]);
    }
    for (size_t i = 0; i < mill.kind.senders; i++)
        HY_CHECK_EQ(last[i], mill.kind.each);
}

static void run_mill(struct mill_kind kind)
{
    size_t self[SENDERS];
    pthread_t thread[SENDERS];

    memset(&mill, 0, sizeof(mill));
    mill.kind = kind;
    pthread_barrier_init(&mill.start, NULL, (unsigned)kind.senders + 1);
    for (size_t i = 0; i < SENDERS; i++) {
        hy_chan_options o = HY_CHAN_OPTIONS_INIT;

        self[i] = i;
        o.item_bytes = kind.words * sizeof(uint64_t);
        o.capacity = kind.capacity;
        HY_CHECK_EQ(hy_chan_create(&mill.chan[i], &o), 0);
    }
    for (size_t i = 0; i < kind.senders; i++)
        HY_CHECK_EQ(pthread_create(&thread[i], NULL, mill_send, &self[i]), 0);
    mill_recv();
    for (size_t i = 0; i < kind.senders; i++)
        pthread_join(thread[i], NULL);
    for (size_t i = 0; i < SENDERS; i++)
        HY_CHECK_EQ(hy_chan_destroy(mill.chan[i]), 0);
    HY_CHECK_EQ(mill.missed, 0);
    pthread_barrier_destroy(&mill.start);
}

/* One sender alone: nobody else comes to set right what was missed. With room
   in the channel a missed item would come after its successor. */
HY_TEST(runtime_chan_storm, no_select_misses_a_sender)
{
    run_mill((struct mill_kind){1, 0, 1, 6000, true, 500});
    run_mill((struct mill_kind){1, 64, 1, 30000, true, 500});
    run_mill((struct mill_kind){2, 64, 1, 10000, true, 1000});
}

HY_TEST(runtime_chan_storm, claims_and_deadlines_race)
{
    run_mill((struct mill_kind){2, 0, 1, 8000, false, 500});
    run_mill((struct mill_kind){2, 0, 1, 8000, false, 200});
    run_mill((struct mill_kind){2, 2, 1, 6000, false, 0});
}

/* Large items: there is time between a claim and its wake. */
HY_TEST(runtime_chan_storm, who_is_claimed_waits_for_the_wake)
{
    run_mill((struct mill_kind){2, 0, WORDS, 2000, false, 0});
}
