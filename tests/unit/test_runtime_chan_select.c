/*
 * test_runtime_chan_select.c - the select over channels: which case is chosen,
 * how it waits and gives up, and that no other case is done with it.
 */
#include <errno.h>
#include <stdatomic.h>

#include <hyperion/chan.h>
#include <hyperion/fiber.h>
#include <hyperion/runtime.h>

#include "runtime_test.h"

enum { DRAWS = 10000 };

static hy_chan *chan_of(size_t capacity)
{
    hy_chan_options o = HY_CHAN_OPTIONS_INIT;
    hy_chan *chan = NULL;

    o.item_bytes = 8;
    o.capacity = capacity;
    HY_CHECK_EQ(hy_chan_create(&chan, &o), 0);
    return chan;
}

static size_t waiting_in(hy_chan *chan)
{
    hy_chan_stats s = {.size = sizeof(s)};

    HY_CHECK_EQ(hy_chan_stats_get(chan, &s), 0);
    return s.waiting;
}

static void destroy(hy_chan *const *chans, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        HY_CHECK_EQ(waiting_in(chans[i]), 0);
        HY_CHECK_EQ(hy_chan_destroy(chans[i]), 0);
    }
}

static int send_now(hy_chan *chan, uint64_t item)
{
    return hy_chan_send(chan, &item, HY_NOW);
}

static void run_fiber(void (*entry)(void *), void *arg, uint64_t seed)
{
    hy_runtime *rt = make(.workers = 1, .seed = seed);

    spawn(rt, entry, arg);
    run_to_the_end(rt);
}

/* --- bad input, and cases that are none ----------------------------------- */

HY_TEST(runtime_chan_select, arguments_are_checked)
{
    static hy_chan_case many[HY_CHAN_CASES_MAX + 1];
    hy_chan *chan = chan_of(1);
    uint64_t item = 1;
    hy_chan_case one = HY_CHAN_CASE_SEND(chan, &item);
    size_t chosen = 77;

    HY_CHECK_EQ(hy_chan_select(NULL, &one, 1, HY_NOW), -EINVAL);
    HY_CHECK_EQ(hy_chan_select(&chosen, NULL, 1, HY_NOW), -EINVAL);
    one.op = 3;
    HY_CHECK_EQ(hy_chan_select(&chosen, &one, 1, HY_NOW), -EINVAL);
    one.op = HY_CHAN_SEND;
    one.item = NULL;
    HY_CHECK_EQ(hy_chan_select(&chosen, &one, 1, HY_NOW), -EINVAL);
    one.item = &item;
    one.chan = NULL;
    HY_CHECK_EQ(hy_chan_select(&chosen, &one, 1, HY_NOW), -EINVAL);
    HY_CHECK_EQ(hy_chan_select(&chosen, many, HY_CHAN_CASES_MAX + 1, HY_NOW),
                -EINVAL);
    HY_CHECK_EQ(hy_chan_select(&chosen, many, HY_CHAN_CASES_MAX, HY_NOW),
                -ETIMEDOUT);
    HY_CHECK_EQ(chosen, 77);
    HY_CHECK_EQ(hy_chan_count(chan), 0);
    HY_CHECK_EQ(hy_chan_destroy(chan), 0);
}

HY_TEST(runtime_chan_select, without_cases_there_is_only_the_deadline)
{
    hy_chan_case skipped[2] = {{0}, {0}};
    size_t chosen = 77;
    uint64_t start = hy_now();

    HY_CHECK_EQ(hy_chan_select(&chosen, NULL, 0, HY_FOREVER), -EDEADLK);
    HY_CHECK_EQ(hy_chan_select(&chosen, skipped, 2, HY_FOREVER), -EDEADLK);
    HY_CHECK_EQ(hy_chan_select(&chosen, NULL, 0, HY_NOW), -ETIMEDOUT);
    HY_CHECK_EQ(hy_chan_select(&chosen, skipped, 2, hy_after(MS)), -ETIMEDOUT);
    HY_CHECK(hy_now() - start >= MS);
    HY_CHECK_EQ(chosen, 77);
}

/* --- which one ------------------------------------------------------------ */

enum { CHANS = 5 };

/* Of five cases those in the set are ready; each must be chosen its share of
   the times, 10 % off at most. */
static void draw(unsigned ready, unsigned share)
{
    unsigned chosen_often[CHANS] = {0};
    hy_chan_case cases[CHANS];
    uint64_t item = 1;
    hy_chan *chans[CHANS];

    for (unsigned i = 0; i < CHANS; i++) {
        chans[i] = chan_of(1);
        /* Sends and receives in turn: a full one is ready to be received from.
         */
        cases[i] = i % 2 == 0
                       ? (hy_chan_case)HY_CHAN_CASE_SEND(chans[i], &item)
                       : (hy_chan_case)HY_CHAN_CASE_RECV(chans[i], &item);
        if ((ready >> i & 1) != i % 2)
            continue;
        HY_CHECK_EQ(send_now(chans[i], 1), 0);
    }
    for (int i = 0; i < DRAWS; i++) {
        size_t n = 77;

        HY_CHECK_EQ(hy_chan_select(&n, cases, CHANS, HY_FOREVER), 0);
        HY_CHECK(n < CHANS && (ready >> n & 1) != 0);
        HY_CHECK_EQ(cases[n].result, 0);
        chosen_often[n]++;
        if (n % 2 == 0)
            HY_CHECK_EQ(hy_chan_recv(chans[n], &item, HY_NOW), 0);
        else
            HY_CHECK_EQ(send_now(chans[n], 1), 0);
    }
    for (unsigned i = 0; i < CHANS; i++)
        if (ready >> i & 1)
            HY_CHECK_MSG(chosen_often[i] > share - share / 10 &&
                             chosen_often[i] < share + share / 10,
                         "case %u was chosen %u times, not about %u", i,
                         chosen_often[i], share);
    destroy(chans, CHANS);
}

static int draws_done;

static void draw_all(void *arg)
{
    (void)arg;
    draw(1 << 3, DRAWS);
    draw(1 << 1 | 1 << 2, DRAWS / 2);
    draw(1 << 0 | 1 << 1 | 1 << 4, DRAWS / 3);
    draw((1 << CHANS) - 1, DRAWS / CHANS);
    draws_done++;
}

HY_TEST(runtime_chan_select, ready_cases_are_chosen_alike)
{
    draws_done = 0;
    draw_all(NULL);
    run_fiber(draw_all, NULL, 0);
    run_fiber(draw_all, NULL, 4711);
    HY_CHECK_EQ(draws_done, 3);
}

static void draw_sequence(void *arg)
{
    char *sequence = arg;
    uint64_t item = 1;
    hy_chan *chans[2] = {chan_of(64), chan_of(64)};
    hy_chan_case cases[2] = {HY_CHAN_CASE_SEND(chans[0], &item),
                             HY_CHAN_CASE_SEND(chans[1], &item)};

    for (int i = 0; i < 64; i++) {
        size_t n = 0;

        HY_CHECK_EQ(hy_chan_select(&n, cases, 2, HY_NOW), 0);
        sequence[i] = (char)('0' + n);
    }
    destroy(chans, 2);
}

HY_TEST(runtime_chan_select, a_seed_gives_the_same_choices)
{
    char sequence[3][65] = {{0}};

    run_fiber(draw_sequence, sequence[0], 5);
    run_fiber(draw_sequence, sequence[1], 5);
    run_fiber(draw_sequence, sequence[2], 6);
    HY_CHECK_STR(sequence[0], sequence[1]);
    HY_CHECK(strcmp(sequence[0], sequence[2]) != 0);
}

/* --- waiting -------------------------------------------------------------- */

static struct {
    hy_chan *in[3], *out; /* receives from the three, or sends to out */
    hy_deadline until;
    int result;
    size_t chosen;
    uint64_t item[4];
    hy_chan_case cases[4];
    bool done;
} wish;

static void start_wish(size_t capacity)
{
    memset(&wish, 0, sizeof(wish));
    wish.until = HY_FOREVER;
    wish.out = chan_of(capacity);
    for (int i = 0; i < 3; i++)
        wish.in[i] = chan_of(capacity);
}

static void end_wish(void)
{
    hy_chan *all[4] = {wish.in[0], wish.in[1], wish.in[2], wish.out};

    destroy(all, 4);
}

static void select_wish(void *arg)
{
    (void)arg;
    wish.done = false;
    for (int i = 0; i < 3; i++)
        wish.cases[i] =
            (hy_chan_case)HY_CHAN_CASE_RECV(wish.in[i], &wish.item[i]);
    wish.cases[3] = (hy_chan_case)HY_CHAN_CASE_SEND(wish.out, &wish.item[3]);
    wish.item[3] = 99;
    wish.chosen = 77;
    for (int i = 0; i < 4; i++)
        wish.cases[i].result = 55;
    wish.result = hy_chan_select(&wish.chosen, wish.cases, 4, wish.until);
    wish.done = true;
}

static void serve_each_case(void *arg)
{
    uint64_t got = 0;

    (void)arg;
    for (size_t i = 0; i < 4; i++) {
        spawn(NULL, select_wish, NULL);
        hy_fiber_yield();
        HY_CHECK(!wish.done);
        for (int k = 0; k < 3; k++)
            HY_CHECK_EQ(waiting_in(wish.in[k]), 1);
        HY_CHECK_EQ(waiting_in(wish.out), 1);
        if (i < 3)
            HY_CHECK_EQ(send_now(wish.in[i], 100 + i), 0);
        else
            HY_CHECK_EQ(hy_chan_recv(wish.out, &got, HY_NOW), 0);
        /* It is served, though it has not run: nobody else is to meet it. */
        HY_CHECK_EQ(send_now(wish.in[(i + 1) % 3], 1), -ETIMEDOUT);
        HY_CHECK_EQ(hy_chan_recv(wish.out, &got, HY_NOW), -ETIMEDOUT);
        /* And where it still has a place, it comes back to. */
        HY_CHECK_EQ(hy_chan_destroy(wish.in[(i + 1) % 3]), -EBUSY);
        hy_fiber_yield();
        HY_CHECK(wish.done);
        HY_CHECK_EQ(wish.result, 0);
        HY_CHECK_EQ(wish.chosen, i);
        for (size_t k = 0; k < 4; k++)
            HY_CHECK_EQ(wish.cases[k].result, k == i ? 0 : 55);
        HY_CHECK_EQ(i < 3 ? wish.item[i] : got, i < 3 ? 100 + i : 99);
    }
}

HY_TEST(runtime_chan_select, it_waits_in_all_and_is_served_in_one)
{
    start_wish(0);
    run_fiber(serve_each_case, NULL, 0);
    end_wish();
}

static void give_up(void *arg)
{
    uint64_t start = hy_now(), got;
    hy_fiber f;

    (void)arg;
    HY_CHECK_EQ(send_now(wish.out, 1), 0);
    wish.until = HY_NOW;
    select_wish(NULL);
    HY_CHECK_EQ(wish.result, -ETIMEDOUT);
    wish.until = hy_after(2 * MS);
    select_wish(NULL);
    HY_CHECK_EQ(wish.result, -ETIMEDOUT);
    HY_CHECK(hy_now() - start >= 2 * MS);
    HY_CHECK_EQ(wish.chosen, 77);
    HY_CHECK_EQ(wish.cases[0].result, 55);
    wish.until = HY_FOREVER;
    f = spawn(NULL, select_wish, NULL);
    hy_fiber_yield();
    HY_CHECK(!wish.done);
    HY_CHECK_EQ(hy_fiber_cancel(f), 0);
    HY_CHECK_EQ(hy_fiber_join(f, HY_FOREVER), 0);
    HY_CHECK_EQ(wish.result, -ECANCELED);
    /* Cancelled before it begins, it may do what needs no waiting. */
    HY_CHECK_EQ(hy_chan_recv(wish.out, &got, HY_NOW), 0);
    f = spawn(NULL, select_wish, NULL);
    HY_CHECK_EQ(hy_fiber_cancel(f), 0);
    HY_CHECK_EQ(hy_fiber_join(f, HY_FOREVER), 0);
    HY_CHECK_EQ(wish.result, 0);
    HY_CHECK_EQ(wish.chosen, 3);
    wish.until = HY_NOW;
    f = spawn(NULL, select_wish, NULL);
    HY_CHECK_EQ(hy_fiber_cancel(f), 0);
    HY_CHECK_EQ(hy_fiber_join(f, HY_FOREVER), 0);
    HY_CHECK_EQ(wish.result, -ECANCELED);
}

HY_TEST(runtime_chan_select, it_gives_up_everywhere)
{
    start_wish(1);
    run_fiber(give_up, NULL, 0);
    end_wish();
}

static void serve_then_cancel(void *arg)
{
    hy_fiber f = spawn(NULL, select_wish, NULL);

    (void)arg;
    hy_fiber_yield();
    HY_CHECK_EQ(send_now(wish.in[1], 5), 0);
    HY_CHECK_EQ(hy_fiber_cancel(f), 0);
    HY_CHECK_EQ(hy_fiber_join(f, HY_FOREVER), 0);
    HY_CHECK_EQ(wish.result, 0);
    HY_CHECK_EQ(wish.chosen, 1);
    HY_CHECK_EQ(wish.item[1], 5);
}

HY_TEST(runtime_chan_select, a_cancel_after_the_hand_over_is_late)
{
    start_wish(0);
    run_fiber(serve_then_cancel, NULL, 0);
    end_wish();
}

/* --- closed channels ------------------------------------------------------ */

static void close_upon_it(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < 4; i++) {
        start_wish(0);
        spawn(NULL, select_wish, NULL);
        hy_fiber_yield();
        HY_CHECK_EQ(hy_chan_close(i < 3 ? wish.in[i] : wish.out), 0);
        hy_fiber_yield();
        HY_CHECK(wish.done);
        HY_CHECK_EQ(wish.result, 0);
        HY_CHECK_EQ(wish.chosen, i);
        HY_CHECK_EQ(wish.cases[i].result, -EPIPE);
        /* It was closed before: at once. */
        wish.until = HY_NOW;
        select_wish(NULL);
        HY_CHECK_EQ(wish.result, 0);
        HY_CHECK_EQ(wish.chosen, i);
        HY_CHECK_EQ(wish.cases[i].result, -EPIPE);
        end_wish();
    }
}

HY_TEST(runtime_chan_select, a_closed_channel_is_ready)
{
    run_fiber(close_upon_it, NULL, 0);
}

/* --- selects among themselves --------------------------------------------- */

static hy_chan *both[2];
static hy_fiber meeting[4]; /* id 0: has ended */
static unsigned met;

/* Sends to one and receives from the other; so does its partner, the other way
   round or the same: they always find one way to meet. */
static void meet(unsigned self)
{

    for (unsigned i = 0; i < 100; i++) {
        uint64_t out = self * 1000 + i, in = 0;
        hy_chan_case cases[3] = {
            HY_CHAN_CASE_SEND(both[self & 1], &out),
            HY_CHAN_CASE_RECV(both[(self & 1) ^ 1], &in),
            HY_CHAN_CASE_RECV(both[self & 1], &in),
        };
        size_t n = 77;
        int r = hy_chan_select(&n, cases, 3, HY_FOREVER);

        HY_CHECK(r == 0 || (r == -ECANCELED && i >= 50));
        if (r != 0)
            continue;
        if (n == 0)
            met++;
        else
            HY_CHECK(in / 1000 != self);
    }
}

/* The last one has nobody to meet any more, and is told. */
static void meet_and_end(void *arg)
{
    hy_fiber *me = arg, last = {0};
    int left = 0;

    meet((unsigned)(me - meeting));
    me->id = 0;
    for (int i = 0; i < 4; i++)
        if (meeting[i].id != 0) {
            last = meeting[i];
            left++;
        }
    if (left == 1)
        HY_CHECK_EQ(hy_fiber_cancel(last), 0);
}

static void meet_by_two(void *arg)
{
    (void)arg;
    for (int i = 0; i < 4; i++)
        meeting[i] = spawn(NULL, meet_and_end, &meeting[i]);
}

HY_TEST(runtime_chan_select, selects_meet_each_other_and_never_themselves)
{
    both[0] = chan_of(0);
    both[1] = chan_of(0);
    met = 0;
    run_fiber(meet_by_two, NULL, 0);
    HY_CHECK(met >= 100 && met <= 200);
    destroy(both, 2);
}

static void select_alone(void *arg)
{
    hy_chan *chan = *(hy_chan **)arg;
    uint64_t out = 1, in = 2;
    hy_chan_case cases[2] = {HY_CHAN_CASE_SEND(chan, &out),
                             HY_CHAN_CASE_RECV(chan, &in)};
    size_t n = 77;

    HY_CHECK_EQ(hy_chan_select(&n, cases, 2, hy_after(MS)), -ETIMEDOUT);
    HY_CHECK_EQ(in, 2);
    HY_CHECK_EQ(waiting_in(chan), 0);
}

HY_TEST(runtime_chan_select, it_does_not_meet_itself)
{
    hy_chan *chan = chan_of(0);

    run_fiber(select_alone, &chan, 0);
    select_alone(&chan);
    destroy(&chan, 1);
}

/* --- many cases ----------------------------------------------------------- */

enum { MANY = 300 };

static hy_chan *field[MANY];
static hy_chan_case field_cases[MANY * 2];
static uint64_t field_item;
static size_t field_chosen;

static void select_in_field(void *arg)
{
    (void)arg;
    HY_CHECK_EQ(
        hy_chan_select(&field_chosen, field_cases, MANY * 2, HY_FOREVER), 0);
}

/* Each channel twice, and by addresses in no order. */
static void serve_field(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < MANY * 2; i++)
        field_cases[i] = (hy_chan_case)HY_CHAN_CASE_RECV(
            field[i * 7919u % MANY], &field_item);
    for (unsigned i = 0; i < MANY; i++) {
        hy_fiber f = spawn(NULL, select_in_field, NULL);

        while (waiting_in(field[0]) != 2)
            hy_fiber_yield();
        HY_CHECK_EQ(send_now(field[i], i), 0);
        HY_CHECK_EQ(hy_fiber_join(f, HY_FOREVER), 0);
        HY_CHECK(field_cases[field_chosen].chan == field[i]);
        HY_CHECK_EQ(field_item, i);
        HY_CHECK_EQ(waiting_in(field[i]), 0);
    }
}

HY_TEST(runtime_chan_select, many_cases_and_one_channel_in_several)
{
    for (unsigned i = 0; i < MANY; i++)
        field[i] = chan_of(0);
    run_fiber(serve_field, NULL, 0);
    destroy(field, MANY);
}
