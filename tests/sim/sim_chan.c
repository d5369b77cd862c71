/*
 * sim_chan.c - passing things on: channels, selects over several of them, rings
 * whose sides sleep.
 */
#include <stdatomic.h>

#include "sim_help.h"

enum { ITEMS = 3 };

static hy_chan *make_chan(void)
{
    hy_chan_options o = HY_CHAN_OPTIONS_INIT;
    hy_chan *chan = NULL;

    o.item_bytes = sizeof(int);
    o.capacity = sim_draw(3);
    SIM_CHECK_EQ(hy_chan_create(&chan, &o), 0);
    return chan;
}

/* Each item sent is received once, whoever gives up. */
struct passage {
    hy_chan *chan[2];
    atomic_int sent, received;
    atomic_int senders;
};

static void chan_send(struct passage *p)
{
    for (int i = 1; i <= ITEMS; i++) {
        int r = hy_chan_send(p->chan[0], &i, sim_deadline());

        SIM_CHECK(r == 0 || r == -ETIMEDOUT || r == -ECANCELED || r == -EPIPE);
        if (r == 0)
            atomic_fetch_add(&p->sent, i);
    }
    if (atomic_fetch_sub(&p->senders, 1) == 1)
        SIM_CHECK_EQ(hy_chan_close(p->chan[0]), 0);
}

static void chan_receive(struct passage *p)
{
    int item = 0, r = 0;

    while (r != -EPIPE) {
        r = hy_chan_recv(p->chan[0], &item,
                         sim_draw(2) ? HY_FOREVER : hy_after(sim_draw(300)));
        SIM_CHECK(r == 0 || r == -ETIMEDOUT || r == -EPIPE);
        if (r == 0)
            atomic_fetch_add(&p->received, item);
        if (sim_draw(16) != 0)
            continue;
        SIM_CHECK_EQ(hy_chan_close(p->chan[0]), 0); /* senders may wait */
        if (sim_draw(2) == 0)
            break; /* and nobody receives any more */
    }
}

static void chan_body(void *shared, int index)
{
    if (index < 2)
        chan_send(shared);
    else
        chan_receive(shared);
}

void sim_test_chan(void)
{
    struct passage p = {{make_chan(), NULL}, 0, 0, 2};
    int item;

    sim_crew(chan_body, &p, 3, sim_draw(4) == 0);
    while (hy_chan_recv(p.chan[0], &item, HY_NOW) == 0)
        p.received += item;
    SIM_CHECK_EQ(p.sent, p.received);
    SIM_CHECK_EQ(hy_chan_destroy(p.chan[0]), 0);
}

/* Two who name the same channels in opposite order, and one who feeds both. */
static void select_body(void *shared, int index)
{
    struct passage *p = shared;
    int item = 0;

    for (int i = 0; i < 2; i++) {
        hy_chan_case cases[] = {HY_CHAN_CASE_RECV(p->chan[index & 1], &item),
                                HY_CHAN_CASE_RECV(p->chan[~index & 1], &item)};
        size_t chosen = 2;
        int r;

        if (index == 2) {
            cases[0].op = cases[1].op = HY_CHAN_SEND;
            item = 1;
        }
        r = hy_chan_select(&chosen, cases, 2, HY_FOREVER);
        SIM_CHECK_EQ(r, 0);
        SIM_CHECK_EQ(cases[chosen].result, 0);
        atomic_fetch_add(index == 2 ? &p->sent : &p->received, item);
    }
}

static void select_crew(void *shared, int index)
{
    struct passage *p = shared;
    int item = 1;

    select_body(shared, index);
    if (index == 2) /* as many as the other two take */
        for (int i = 0; i < 2; i++)
            SIM_CHECK_EQ(hy_chan_send(p->chan[sim_draw(2)], &item, HY_FOREVER),
                         0);
}

void sim_test_select(void)
{
    struct passage p = {{make_chan(), make_chan()}, 2, 0, 0};

    sim_crew(select_crew, &p, 3, false);
    SIM_CHECK_EQ(p.sent, p.received);
    for (int i = 0; i < 2; i++)
        SIM_CHECK_EQ(hy_chan_destroy(p.chan[i]), 0);
}

/* --- ring -------------------------------------------------------------------
 */

static void ring_body(void *shared, int index)
{
    hy_ring *ring = shared;
    int expected = 0, item, r;

    if (index == 0) {
        while (expected < ITEMS) {
            r = hy_ring_push_wait(ring, &expected, sim_deadline());
            SIM_CHECK(r == 0 || r == -ETIMEDOUT || r == -EAGAIN);
            expected += r == 0;
        }
        hy_ring_close(ring);
        return;
    }
    for (;;) {
        r = hy_ring_pop_wait(ring, &item, sim_deadline());
        if (r == -EPIPE)
            break;
        SIM_CHECK(r == 0 || r == -ETIMEDOUT || r == -EAGAIN);
        if (r == 0)
            SIM_CHECK_EQ(item, expected++);
        else
            hy_fiber_yield();
    }
    SIM_CHECK_EQ(expected, ITEMS);
}

void sim_test_ring(void)
{
    hy_ring_options o = HY_RING_OPTIONS_INIT;
    hy_ring *ring = NULL;

    o.item_bytes = sizeof(int);
    o.capacity = 1 + sim_draw(2);
    SIM_CHECK_EQ(hy_ring_create(&ring, &o), 0);
    sim_crew(ring_body, ring, 2, false);
    hy_ring_destroy(ring);
}
