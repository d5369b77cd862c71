/*
 * test_runtime_chan.c - channels: order, capacity, handing over, closing,
 * deadlines, cancels, and many senders and receivers, fibers and threads.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include <hyperion/chan.h>
#include <hyperion/fiber.h>
#include <hyperion/runtime.h>

#include "fail.h"
#include "runtime_test.h"

static hy_chan *chan_of(size_t item_bytes, size_t capacity)
{
    hy_chan_options o = HY_CHAN_OPTIONS_INIT;
    hy_chan *chan = NULL;

    o.item_bytes = item_bytes;
    o.capacity = capacity;
    HY_CHECK_EQ(hy_chan_create(&chan, &o), 0);
    return chan;
}

static hy_chan_stats chan_stats(hy_chan *chan)
{
    hy_chan_stats s = {.size = sizeof(s)};

    HY_CHECK_EQ(hy_chan_stats_get(chan, &s), 0);
    return s;
}

/* --- bad input ------------------------------------------------------------ */

HY_TEST(runtime_chan, options_are_checked)
{
    struct {
        hy_chan_options known;
        uint64_t newer;
    } o = {HY_CHAN_OPTIONS_INIT, 0};
    hy_chan *const untouched = (hy_chan *)&o, *chan = untouched;

    HY_CHECK_EQ(hy_chan_create(&chan, NULL), -EINVAL);
    HY_CHECK_EQ(hy_chan_create(&chan, &o.known), -EINVAL);
    o.known.item_bytes = 8;
    HY_CHECK_EQ(hy_chan_create(NULL, &o.known), -EINVAL);
    o.known.flags = 1u << 5;
    HY_CHECK_EQ(hy_chan_create(&chan, &o.known), -EINVAL);
    o.known.flags = 0;
    o.known.size = 3;
    HY_CHECK_EQ(hy_chan_create(&chan, &o.known), -EINVAL);
    o.known.size = sizeof(o);
    o.newer = 1;
    HY_CHECK_EQ(hy_chan_create(&chan, &o.known), -E2BIG);
    o.newer = 0;
    o.known.capacity = SIZE_MAX;
    HY_CHECK_EQ(hy_chan_create(&chan, &o.known), -EOVERFLOW);
    o.known.capacity = SIZE_MAX / 8 + 1;
    HY_CHECK_EQ(hy_chan_create(&chan, &o.known), -EOVERFLOW);
    o.known.item_bytes = SIZE_MAX;
    o.known.capacity = 1;
    HY_CHECK_EQ(hy_chan_create(&chan, &o.known), -EOVERFLOW);
    o.known.capacity = 0;
    HY_CHECK_EQ(hy_chan_create(&chan, &o.known), -EOVERFLOW);
    HY_CHECK(chan == untouched);
    o.known.item_bytes = 8;
    HY_CHECK_EQ(hy_chan_create(&chan, &o.known), 0);
    HY_CHECK_EQ(hy_chan_destroy(chan), 0);
}

HY_TEST(runtime_chan, want_of_memory_is_told)
{
    hy_chan_options o = HY_CHAN_OPTIONS_INIT;
    hy_chan *chan = NULL;

    o.item_bytes = 8;
    o.capacity = 8;
    errno = 77;
    hy_fail_at(HY_FAIL_ALIGNED_ALLOC, 1, ENOMEM);
    HY_CHECK_EQ(hy_chan_create(&chan, &o), -ENOMEM);
    HY_CHECK_EQ(hy_fail_hits(), 1);
    hy_fail_none();
    HY_CHECK_EQ(errno, 77);
    HY_CHECK(chan == NULL);
}

HY_TEST(runtime_chan, arguments_are_checked)
{
    hy_chan *chan = chan_of(8, 1);
    hy_chan_stats s = {0};
    uint64_t item = 0;

    HY_CHECK_EQ(hy_chan_send(NULL, &item, HY_NOW), -EINVAL);
    HY_CHECK_EQ(hy_chan_send(chan, NULL, HY_NOW), -EINVAL);
    HY_CHECK_EQ(hy_chan_recv(NULL, &item, HY_NOW), -EINVAL);
    HY_CHECK_EQ(hy_chan_recv(chan, NULL, HY_NOW), -EINVAL);
    HY_CHECK_EQ(hy_chan_close(NULL), -EINVAL);
    HY_CHECK_EQ(hy_chan_destroy(NULL), 0);
    HY_CHECK_EQ(hy_chan_count(NULL), 0);
    HY_CHECK_EQ(hy_chan_capacity(NULL), 0);
    HY_CHECK_EQ(hy_chan_stats_get(chan, NULL), -EINVAL);
    HY_CHECK_EQ(hy_chan_stats_get(chan, &s), -EINVAL);
    s.size = sizeof(s);
    HY_CHECK_EQ(hy_chan_stats_get(NULL, &s), -EINVAL);
    HY_CHECK_EQ(hy_chan_destroy(chan), 0);
}

/* --- order and capacity --------------------------------------------------- */

static void fill(unsigned char *item, size_t bytes, unsigned nth)
{
    for (size_t i = 0; i < bytes; i++)
        item[i] = (unsigned char)(nth * 31 + i * 7 + 1);
}

/* Keeps it between empty and full, so that every position is passed. */
static void pass_through(hy_chan *chan, size_t bytes, size_t capacity)
{
    unsigned char in[1000], out[1000], left_alone[1000];
    unsigned sent = 0, received = 0;

    fill(left_alone, bytes, 999);
    for (unsigned round = 0; round < 50; round++) {
        size_t goal = round % (capacity + 1);

        for (; sent - received < capacity; sent++) {
            fill(in, bytes, sent);
            HY_CHECK_EQ(hy_chan_send(chan, in, HY_NOW), 0);
        }
        HY_CHECK_EQ(hy_chan_send(chan, in, HY_NOW), -ETIMEDOUT);
        for (; sent - received > goal; received++) {
            fill(in, bytes, received);
            HY_CHECK_EQ(hy_chan_recv(chan, out, HY_NOW), 0);
            HY_CHECK(memcmp(in, out, bytes) == 0);
        }
        HY_CHECK_EQ(hy_chan_count(chan), goal);
        memcpy(out, left_alone, bytes);
        if (goal == 0)
            HY_CHECK_EQ(hy_chan_recv(chan, out, HY_NOW), -ETIMEDOUT);
        HY_CHECK(memcmp(out, left_alone, bytes) == 0);
    }
}

HY_TEST(runtime_chan, items_come_whole_and_in_order)
{
    static const size_t bytes[] = {1, 3, 4, 8, 24, 1000};

    for (unsigned i = 0; i < 6; i++)
        for (size_t capacity = 1; capacity <= 5; capacity++) {
            hy_chan *chan = chan_of(bytes[i], capacity);

            HY_CHECK_EQ(hy_chan_capacity(chan), capacity);
            pass_through(chan, bytes[i], capacity);
            HY_CHECK_EQ(chan_stats(chan).item_bytes, bytes[i]);
            HY_CHECK_EQ(chan_stats(chan).capacity, capacity);
            HY_CHECK_EQ(hy_chan_destroy(chan), 0);
        }
}

HY_TEST(runtime_chan, a_local_channel_needs_no_lock)
{
    hy_chan_options o = HY_CHAN_OPTIONS_INIT;
    hy_chan *chan = NULL;

    o.item_bytes = 8;
    o.capacity = 4;
    o.flags = HY_CHAN_LOCAL;
    HY_CHECK_EQ(hy_chan_create(&chan, &o), 0);
    pass_through(chan, 8, 4);
    HY_CHECK_EQ(chan_stats(chan).flags, HY_CHAN_LOCAL);
    HY_CHECK_EQ(hy_chan_destroy(chan), 0);
}

/* --- waiting -------------------------------------------------------------- */

static struct {
    hy_chan *chan;
    char log[64];
    int checks;
} at;

static void note(char c)
{
    size_t n = strlen(at.log);

    at.log[n] = c;
    at.log[n + 1] = '\0';
}

static void start_at(hy_chan *chan)
{
    memset(&at, 0, sizeof(at));
    at.chan = chan;
}

static void send_one(void *letter)
{
    uint64_t item = *(const unsigned char *)letter;

    HY_CHECK_EQ(hy_chan_send(at.chan, &item, HY_FOREVER), 0);
    note((char)item);
}

static void recv_one(void *arg)
{
    uint64_t item = 0;

    (void)arg;
    HY_CHECK_EQ(hy_chan_recv(at.chan, &item, HY_FOREVER), 0);
    note((char)item);
}

static void hand_over(void *arg)
{
    uint64_t item = 'x';

    (void)arg;
    HY_CHECK_EQ(hy_chan_send(at.chan, &item, HY_NOW), -ETIMEDOUT);
    HY_CHECK_EQ(hy_chan_recv(at.chan, &item, HY_NOW), -ETIMEDOUT);
    spawn(NULL, send_one, "a");
    hy_fiber_yield();
    HY_CHECK_STR(at.log, "");
    HY_CHECK_EQ(hy_chan_count(at.chan), 0);
    HY_CHECK_EQ(hy_chan_recv(at.chan, &item, HY_NOW), 0);
    HY_CHECK_EQ(item, 'a');
    hy_fiber_yield();
    HY_CHECK_STR(at.log, "a");
    spawn(NULL, recv_one, NULL);
    hy_fiber_yield();
    item = 'b';
    HY_CHECK_EQ(hy_chan_send(at.chan, &item, HY_NOW), 0);
    HY_CHECK_EQ(hy_chan_send(at.chan, &item, HY_NOW), -ETIMEDOUT);
    hy_fiber_yield();
    HY_CHECK_STR(at.log, "ab");
    at.checks++;
}

HY_TEST(runtime_chan, without_capacity_it_hands_over)
{
    hy_runtime *rt = make(.workers = 1);

    start_at(chan_of(8, 0));
    spawn(rt, hand_over, NULL);
    run_to_the_end(rt);
    HY_CHECK_EQ(at.checks, 1);
    HY_CHECK_EQ(chan_stats(at.chan).sent, 2);
    HY_CHECK_EQ(chan_stats(at.chan).received, 2);
    HY_CHECK_EQ(chan_stats(at.chan).send_waits, 1);
    HY_CHECK_EQ(chan_stats(at.chan).recv_waits, 1);
    HY_CHECK_EQ(hy_chan_destroy(at.chan), 0);
}

static void serve_receivers(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++)
        spawn(NULL, recv_one, NULL);
    hy_fiber_yield();
    HY_CHECK_EQ(chan_stats(at.chan).waiting, 3);
    for (uint64_t item = '1'; item <= '4'; item++)
        HY_CHECK_EQ(hy_chan_send(at.chan, &item, HY_NOW), 0);
    /* The fourth stays: the others have theirs, though none has run yet. */
    HY_CHECK_EQ(hy_chan_count(at.chan), 1);
    hy_fiber_yield();
    HY_CHECK_STR(at.log, "123");
    at.checks++;
}

static void serve_senders(void *arg)
{
    static const char letters[] = "abcde";
    uint64_t item = 0;

    (void)arg;
    for (int i = 0; i < 5; i++)
        spawn(NULL, send_one, (void *)(uintptr_t)&letters[i]);
    hy_fiber_yield();
    HY_CHECK_EQ(chan_stats(at.chan).waiting, 4);
    for (int i = 0; i < 5; i++) {
        HY_CHECK_EQ(hy_chan_recv(at.chan, &item, HY_NOW), 0);
        HY_CHECK_EQ(item, letters[i]);
    }
    HY_CHECK_EQ(hy_chan_recv(at.chan, &item, HY_NOW), -ETIMEDOUT);
    hy_fiber_yield();
    HY_CHECK_STR(at.log, letters);
    at.checks++;
}

HY_TEST(runtime_chan, waiters_are_served_in_order)
{
    void (*const entry[])(void *) = {serve_receivers, serve_senders};

    for (int i = 0; i < 2; i++) {
        hy_runtime *rt = make(.workers = 1);

        start_at(chan_of(8, 1));
        spawn(rt, entry[i], NULL);
        run_to_the_end(rt);
        HY_CHECK_EQ(at.checks, 1);
        HY_CHECK_EQ(hy_chan_destroy(at.chan), 0);
    }
}

/* --- deadlines and cancels ------------------------------------------------ */

static void wait_in_vain(void *arg)
{
    uint64_t item = 7, start = hy_now();

    (void)arg;
    HY_CHECK_EQ(hy_chan_recv(at.chan, &item, hy_after(2 * MS)), -ETIMEDOUT);
    HY_CHECK(hy_now() - start >= 2 * MS);
    HY_CHECK_EQ(item, 7);
    HY_CHECK_EQ(hy_chan_recv(at.chan, &item, start), -ETIMEDOUT);
    /* What can be done at once is done, however late. */
    HY_CHECK_EQ(hy_chan_send(at.chan, &item, 1), 0);
    start = hy_now();
    HY_CHECK_EQ(hy_chan_send(at.chan, &item, hy_after(2 * MS)), -ETIMEDOUT);
    HY_CHECK(hy_now() - start >= 2 * MS);
    HY_CHECK_EQ(hy_chan_recv(at.chan, &item, 1), 0);
    HY_CHECK_EQ(hy_chan_recv(at.chan, &item, HY_NOW), -ETIMEDOUT);
    HY_CHECK_EQ(chan_stats(at.chan).waiting, 0);
    at.checks++;
}

HY_TEST(runtime_chan, deadlines_hold_for_fibers_and_threads)
{
    hy_runtime *rt = make(.workers = 1);

    start_at(chan_of(8, 1));
    spawn(rt, wait_in_vain, NULL);
    run_to_the_end(rt);
    wait_in_vain(NULL);
    HY_CHECK_EQ(at.checks, 2);
    HY_CHECK_EQ(hy_chan_destroy(at.chan), 0);
}

static void be_cancelled(void *arg)
{
    uint64_t item = 7;

    (void)arg;
    HY_CHECK_EQ(hy_chan_recv(at.chan, &item, HY_FOREVER), -ECANCELED);
    HY_CHECK_EQ(hy_chan_recv(at.chan, &item, HY_FOREVER), -ECANCELED);
    HY_CHECK_EQ(hy_chan_recv(at.chan, &item, HY_NOW), -ECANCELED);
    HY_CHECK_EQ(hy_chan_send(at.chan, &item, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_chan_send(at.chan, &item, HY_FOREVER), -ECANCELED);
    HY_CHECK_EQ(hy_chan_send(at.chan, &item, HY_NOW), -ECANCELED);
    hy_fiber_shield(1);
    HY_CHECK_EQ(hy_chan_send(at.chan, &item, hy_after(MS)), -ETIMEDOUT);
    HY_CHECK_EQ(hy_chan_send(at.chan, &item, HY_NOW), -ETIMEDOUT);
    hy_fiber_shield(0);
    HY_CHECK_EQ(hy_chan_recv(at.chan, &item, HY_FOREVER), 0);
    HY_CHECK_EQ(item, 7);
    HY_CHECK_EQ(chan_stats(at.chan).waiting, 0);
    at.checks++;
}

/* Served, then cancelled before it could run: the item is its own. */
static void recv_though_cancelled(void *arg)
{
    uint64_t item = 0;

    (void)arg;
    HY_CHECK_EQ(hy_chan_recv(at.chan, &item, HY_FOREVER), 0);
    HY_CHECK_EQ(item, 9);
    HY_CHECK_EQ(hy_fiber_check(), -ECANCELED);
    at.checks++;
}

static void cancel_them(void *arg)
{
    uint64_t item = 9;
    hy_fiber f = spawn(NULL, be_cancelled, NULL);

    (void)arg;
    hy_fiber_yield();
    HY_CHECK_EQ(hy_fiber_cancel(f), 0);
    HY_CHECK_EQ(hy_fiber_join(f, HY_FOREVER), 0);
    f = spawn(NULL, recv_though_cancelled, NULL);
    hy_fiber_yield();
    HY_CHECK_EQ(hy_chan_send(at.chan, &item, HY_NOW), 0);
    HY_CHECK_EQ(hy_fiber_cancel(f), 0);
    HY_CHECK_EQ(hy_fiber_join(f, HY_FOREVER), 0);
    at.checks++;
}

HY_TEST(runtime_chan, a_cancelled_fiber_does_not_wait)
{
    hy_runtime *rt = make(.workers = 1);

    start_at(chan_of(8, 1));
    spawn(rt, cancel_them, NULL);
    run_to_the_end(rt);
    HY_CHECK_EQ(at.checks, 3);
    HY_CHECK_EQ(hy_chan_destroy(at.chan), 0);
}

static void keep_message(void *ctx, int level, const char *message)
{
    (void)level;
    if (strlen(ctx) + strlen(message) < 500)
        strcat(ctx, message);
}

static void recv_for_ever(void *arg)
{
    uint64_t item;

    (void)arg;
    hy_chan_recv(at.chan, &item, HY_FOREVER);
}

HY_TEST(runtime_chan, a_deadlock_is_reported_with_its_reason)
{
    static char log[512];
    hy_runtime *rt = make(.workers = 1, .flags = HY_RUNTIME_CLOSED,
                          .report = {keep_message, log});

    log[0] = '\0';
    start_at(chan_of(8, 1));
    spawn(rt, recv_for_ever, NULL);
    HY_CHECK_EQ(hy_runtime_run(rt), -EDEADLK);
    HY_CHECK(strstr(log, "chan recv") != NULL);
    HY_CHECK_EQ(hy_chan_close(at.chan), 0);
    run_to_the_end(rt);
    HY_CHECK_EQ(hy_chan_destroy(at.chan), 0);
}

/* --- closing and destroying ----------------------------------------------- */

static void send_to_closed(void *arg)
{
    uint64_t item = 1;

    (void)arg;
    HY_CHECK_EQ(hy_chan_send(at.chan, &item, HY_FOREVER), -EPIPE);
    note('s');
}

static void recv_from_closed(void *arg)
{
    uint64_t item = 1;

    (void)arg;
    HY_CHECK_EQ(hy_chan_recv(at.chan, &item, HY_FOREVER), -EPIPE);
    HY_CHECK_EQ(item, 1);
    note('r');
}

static void close_upon_them(void *arg)
{
    uint64_t item = 5;

    (void)arg;
    for (int i = 0; i < 3; i++)
        spawn(NULL, recv_from_closed, NULL);
    hy_fiber_yield();
    HY_CHECK_EQ(hy_chan_close(at.chan), 0);
    hy_fiber_yield();
    HY_CHECK_STR(at.log, "rrr");
    HY_CHECK_EQ(hy_chan_destroy(at.chan), 0);

    at.chan = chan_of(8, 2);
    at.log[0] = '\0';
    HY_CHECK_EQ(hy_chan_send(at.chan, &item, HY_NOW), 0);
    item++;
    HY_CHECK_EQ(hy_chan_send(at.chan, &item, HY_NOW), 0);
    for (int i = 0; i < 3; i++)
        spawn(NULL, send_to_closed, NULL);
    hy_fiber_yield();
    HY_CHECK_EQ(chan_stats(at.chan).closed, 0);
    HY_CHECK_EQ(hy_chan_close(at.chan), 0);
    HY_CHECK_EQ(hy_chan_close(at.chan), 0);
    HY_CHECK_EQ(chan_stats(at.chan).closed, 1);
    HY_CHECK_EQ(hy_chan_send(at.chan, &item, HY_FOREVER), -EPIPE);
    hy_fiber_yield();
    HY_CHECK_STR(at.log, "sss");
    for (uint64_t i = 5; i <= 6; i++) {
        HY_CHECK_EQ(hy_chan_recv(at.chan, &item, HY_FOREVER), 0);
        HY_CHECK_EQ(item, i);
    }
    HY_CHECK_EQ(hy_chan_recv(at.chan, &item, HY_FOREVER), -EPIPE);
    HY_CHECK_EQ(hy_chan_recv(at.chan, &item, HY_NOW), -EPIPE);
    HY_CHECK_EQ(hy_chan_destroy(at.chan), 0);
    at.checks++;
}

HY_TEST(runtime_chan, a_closed_channel_drains)
{
    hy_runtime *rt = make(.workers = 1);

    start_at(chan_of(8, 0));
    spawn(rt, close_upon_them, NULL);
    run_to_the_end(rt);
    HY_CHECK_EQ(at.checks, 1);
}

static void destroy_under_waiters(void *log)
{
    hy_chan_options o = HY_CHAN_OPTIONS_INIT;

    o.item_bytes = 8;
    o.report = (hy_report){keep_message, log};
    HY_CHECK_EQ(hy_chan_create(&at.chan, &o), 0);
    spawn(NULL, recv_from_closed, NULL);
    spawn(NULL, recv_from_closed, NULL);
    hy_fiber_yield();
    HY_CHECK_EQ(hy_chan_destroy(at.chan), -EBUSY);
    HY_CHECK(strstr(log, "2 sends and receives") != NULL);
    HY_CHECK_EQ(hy_chan_close(at.chan), 0);
    HY_CHECK_EQ(hy_chan_destroy(at.chan), 0);
    at.checks++;
}

HY_TEST(runtime_chan, it_is_not_destroyed_under_waiters)
{
    static char log[512];
    hy_runtime *rt = make(.workers = 1);

    log[0] = '\0';
    start_at(NULL);
    spawn(rt, destroy_under_waiters, log);
    run_to_the_end(rt);
    HY_CHECK_EQ(at.checks, 1);
}

static void *send_once(void *arg)
{
    uint64_t item = 3;

    HY_CHECK_EQ(hy_chan_send(arg, &item, HY_FOREVER), 0);
    return NULL;
}

/* The sender may still be on its way out of the call. */
HY_TEST(runtime_chan, who_received_the_last_may_destroy)
{
    for (int i = 0; i < 300; i++) {
        hy_chan *chan = chan_of(8, (size_t)i % 2);
        uint64_t item = 0;
        pthread_t t;

        HY_CHECK_EQ(pthread_create(&t, NULL, send_once, chan), 0);
        HY_CHECK_EQ(hy_chan_recv(chan, &item, HY_FOREVER), 0);
        HY_CHECK_EQ(hy_chan_destroy(chan), 0);
        HY_CHECK_EQ(item, 3);
        pthread_join(t, NULL);
    }
}

/* --- many to many --------------------------------------------------------- */

enum { SENDERS = 6, RECEIVERS = 5, THREADS = 2, EACH = 400 };

static struct {
    hy_chan *chan;
    _Atomic uint8_t sent[SENDERS + THREADS][EACH];
    _Atomic uint8_t received[SENDERS + THREADS][EACH];
    atomic_int next, senders;
    bool until_closed;
} crowd;

/* Sends 0, 1, 2 ... of its own until all are sent, or the channel closes. */
static void send_many(void *arg)
{
    unsigned self = (unsigned)atomic_fetch_add(&crowd.next, 1);

    (void)arg;
    for (unsigned i = 0; i < EACH; i++) {
        uint32_t item[3] = {self, i, self ^ ~i};
        int r = hy_chan_send(crowd.chan, item, HY_FOREVER);

        if (r == -EPIPE && crowd.until_closed)
            break;
        HY_CHECK_EQ(r, 0);
        atomic_store(&crowd.sent[self][i], 1);
        if (i % 5 == self)
            hy_fiber_yield();
    }
    /* The last one out closes. */
    if (atomic_fetch_sub(&crowd.senders, 1) == 1)
        HY_CHECK_EQ(hy_chan_close(crowd.chan), 0);
}

/* What one receiver gets of one sender is in order. */
static void recv_many(void *arg)
{
    int last[SENDERS + THREADS];
    uint32_t item[3];
    int r;

    (void)arg;
    memset(last, -1, sizeof(last));
    while ((r = hy_chan_recv(crowd.chan, item, HY_FOREVER)) == 0) {
        HY_CHECK(item[0] < SENDERS + THREADS && item[1] < EACH);
        HY_CHECK_EQ(item[2], item[0] ^ ~item[1]);
        HY_CHECK((int)item[1] > last[item[0]]);
        last[item[0]] = (int)item[1];
        atomic_fetch_add(&crowd.received[item[0]][item[1]], 1);
    }
    HY_CHECK_EQ(r, -EPIPE);
}

static void *send_in_a_thread(void *arg)
{
    send_many(arg);
    return NULL;
}

static void *recv_in_a_thread(void *arg)
{
    recv_many(arg);
    return NULL;
}

static void *close_soon(void *arg)
{
    hy_fiber_sleep(hy_after(*(uint64_t *)arg));
    HY_CHECK_EQ(hy_chan_close(crowd.chan), 0);
    return NULL;
}

static void check_crowd(void)
{
    uint64_t sent = 0;

    for (int i = 0; i < SENDERS + THREADS; i++)
        for (int k = 0; k < EACH; k++) {
            HY_CHECK_EQ(crowd.received[i][k], crowd.sent[i][k]);
            sent += crowd.sent[i][k];
        }
    HY_CHECK_EQ(chan_stats(crowd.chan).sent, sent);
    HY_CHECK_EQ(chan_stats(crowd.chan).received, sent);
    HY_CHECK_EQ(chan_stats(crowd.chan).waiting, 0);
    if (!crowd.until_closed)
        HY_CHECK_EQ(sent, EACH * (SENDERS + THREADS));
    HY_CHECK_EQ(hy_chan_destroy(crowd.chan), 0);
}

static void run_crowd(unsigned workers, size_t capacity, uint64_t close_ns)
{
    hy_runtime *rt = make(.workers = workers);
    pthread_t sender[THREADS], receiver[THREADS], closer;

    memset(&crowd, 0, sizeof(crowd));
    crowd.chan = chan_of(12, capacity);
    crowd.senders = SENDERS + THREADS;
    crowd.until_closed = close_ns != 0;
    for (int i = 0; i < SENDERS; i++)
        spawn(rt, send_many, NULL);
    for (int i = 0; i < RECEIVERS; i++)
        spawn(rt, recv_many, NULL);
    if (close_ns != 0)
        HY_CHECK_EQ(pthread_create(&closer, NULL, close_soon, &close_ns), 0);
    for (int i = 0; i < THREADS; i++) {
        HY_CHECK_EQ(pthread_create(&sender[i], NULL, send_in_a_thread, NULL),
                    0);
        HY_CHECK_EQ(pthread_create(&receiver[i], NULL, recv_in_a_thread, NULL),
                    0);
    }
    run_to_the_end(rt);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(sender[i], NULL);
        pthread_join(receiver[i], NULL);
    }
    if (close_ns != 0)
        pthread_join(closer, NULL);
    check_crowd();
}

HY_TEST(runtime_chan, many_send_and_many_receive)
{
    for (unsigned workers = 1; workers <= 3; workers++)
        for (size_t capacity = 0; capacity <= 8; capacity = capacity * 3 + 1)
            run_crowd(workers, capacity, 0);
}

HY_TEST(runtime_chan, a_close_under_load_loses_nothing)
{
    for (uint64_t i = 1; i <= 8; i++)
        run_crowd(1 + (unsigned)i % 2, (size_t)i % 4, i * 100000);
}
