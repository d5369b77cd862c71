/*
 * bench_fibers_chan.c - channels between fibers of one worker, beside those of
 * Boost.Fiber: an item sent and received by one fiber, one sent from fiber to
 * fiber through a buffer, and one handed over.
 *
 * Upstream: bench_fibers.c. Downstream: chan.h.
 */
#include "bench_fibers.h"

#include <hyperion/chan.h>
#include <hyperion/fiber.h>
#include <hyperion/runtime.h>

struct chan_load {
    uint64_t count; /* of items */
    size_t capacity;
    unsigned flags;
};

static struct {
    hy_chan *chan[2];
    uint64_t count, sum, start, end;
} line;

static hy_chan *chan_of(size_t capacity, unsigned flags)
{
    hy_chan_options o = HY_CHAN_OPTIONS_INIT;
    hy_chan *chan = NULL;

    o.item_bytes = sizeof(uint64_t);
    o.capacity = capacity;
    o.flags = flags;
    if (hy_chan_create(&chan, &o) != 0)
        bench_wrong("no channel");
    return chan;
}

static void send_and_recv(void *arg)
{
    (void)arg;
    line.start = bench_now();
    for (uint64_t i = 0; i < line.count; i++) {
        uint64_t item = i;

        hy_chan_send(line.chan[0], &item, HY_FOREVER);
        hy_chan_recv(line.chan[0], &item, HY_FOREVER);
        line.sum += item;
    }
    line.end = bench_now();
}

static void select_and_recv(void *arg)
{
    uint64_t out, in = 0;
    hy_chan_case cases[2] = {HY_CHAN_CASE_SEND(line.chan[0], &out),
                             HY_CHAN_CASE_SEND(line.chan[1], &out)};

    (void)arg;
    line.start = bench_now();
    for (out = 0; out < line.count; out++) {
        size_t n = 0;

        hy_chan_select(&n, cases, 2, HY_FOREVER);
        hy_chan_recv(line.chan[n], &in, HY_FOREVER);
        line.sum += in;
    }
    line.end = bench_now();
}

static void produce(void *arg)
{
    (void)arg;
    line.start = bench_now();
    for (uint64_t i = 0; i < line.count; i++)
        hy_chan_send(line.chan[0], &i, HY_FOREVER);
    hy_chan_close(line.chan[0]);
}

static void consume(void *arg)
{
    uint64_t item;

    (void)arg;
    while (hy_chan_recv(line.chan[0], &item, HY_FOREVER) == 0)
        line.sum += item;
    line.end = bench_now();
}

static double run(const struct chan_load *load, void (*first)(void *),
                  void (*second)(void *))
{
    hy_runtime_options o = HY_RUNTIME_OPTIONS_INIT;
    uint64_t n = load->count;
    hy_runtime *rt = NULL;

    o.workers = 1;
    line.count = n;
    line.sum = 0;
    line.chan[0] = chan_of(load->capacity, load->flags);
    line.chan[1] = chan_of(load->capacity, load->flags);
    if (hy_runtime_init(&rt, &o) != 0 ||
        hy_fiber_spawn(rt, first, NULL, NULL, NULL) != 0 ||
        (second != NULL && hy_fiber_spawn(rt, second, NULL, NULL, NULL) != 0) ||
        hy_runtime_run(rt) != 0 || hy_runtime_destroy(rt) != 0)
        bench_wrong("run");
    hy_chan_destroy(line.chan[0]);
    hy_chan_destroy(line.chan[1]);
    if (line.sum != n * (n - 1) / 2)
        bench_wrong("what came through the channel");
    return (double)(line.end - line.start) / (double)n;
}

static double one_fiber(void *load)
{
    return run((const struct chan_load *)load, send_and_recv, NULL);
}

static double one_fiber_select(void *load)
{
    return run((const struct chan_load *)load, select_and_recv, NULL);
}

static double two_fibers(void *load)
{
    return run((const struct chan_load *)load, produce, consume);
}

static void row(const char *what, const char *target, double (*run_)(void *),
                size_t capacity, double (*boost)(void *))
{
    struct chan_load ours = {bench_scale(2000000), capacity, 0};
    struct chan_load local = {ours.count, capacity, HY_CHAN_LOCAL};
    struct bench_row r = {.what = what, .unit = "ns/item", .target = target};
    struct bench_contender c[] = {{"hy_chan", run_, &ours, NULL},
                                  {"hy_chan, local", run_, &local, NULL},
                                  {"Boost.Fiber", boost, &ours.count, NULL}};

    if (boost == NULL)
        c[2].absent = "not on this system";
    bench_row_run(&r, c, run_ == one_fiber_select ? 2 : 3);
}

void rows_chan(void)
{
    row("channel of 64, send and receive in one fiber", "25 ns at most",
        one_fiber, 64, boost_chan_one);
    row("channel of 64, from fiber to fiber", "", two_fibers, 64,
        boost_chan_two);
    row("channel of 0, from fiber to fiber", "", two_fibers, 0,
        boost_chan_hand_over);
    row("select of two ready channels, and a receive", "", one_fiber_select, 64,
        NULL);
}
