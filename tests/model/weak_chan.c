/*
 * weak_chan.c - channels and select (lib/runtime/chan.c): each item that a send
 * says it gave was got, once, and nobody waits while a partner does.
 *
 *      WEAK_CASE
 *      1   send and recv through a channel without room
 *      2   select {recv a, send b} against select {send a, recv b}
 *      3   select {recv a, recv b} against a send to a and one to b, neither of
 *          which waits; then the channels close
 *      4   recv until a deadline against a send that does not wait
 *      5   select {recv a, send b} against a close of a
 */
#define WEAK_LOCK
#include "weak.h"

#include "../../lib/base/park.c"
#include "../../lib/runtime/chan.c"

_Thread_local struct hyi_worker *hyi_worker_self;

int hy_fiber_check(void)
{
    return 0;
}

static hy_chan chan[2];
static uint64_t got[2]; /* not atomic: written by the partner */
static uint64_t unsent = 7, five = 5, six = 6;
static int sent[2];

/* The case that was done; the other's item is untouched. */
static size_t choose(unsigned op_0, uint64_t *item_0, unsigned op_1,
                     uint64_t *item_1)
{
    static hy_chan_case of[2][2];
    hy_chan_case *cases = of[weak_self];
    size_t chosen;
    int result;

    cases[0].chan = &chan[0];
    cases[0].op = op_0;
    cases[0].item = item_0;
    cases[1].chan = &chan[1];
    cases[1].op = op_1;
    cases[1].item = item_1;
    assert(hy_chan_select(&chosen, cases, 2, HY_FOREVER) == 0);
    result = cases[chosen].result;
    assert(result == 0 || (result == -EPIPE && WEAK_CASE != 2));
    return result == 0 ? chosen : 2;
}

static void *first(void *unused)
{
    int r = 0;

    weak_begin(0);
#if WEAK_CASE == 1
    assert(hy_chan_recv(&chan[0], &got[0], HY_FOREVER) == 0 && got[0] == 5);
#elif WEAK_CASE == 2 || WEAK_CASE == 5
    r = (int)choose(HY_CHAN_RECV, &got[0], HY_CHAN_SEND, &unsent);
    sent[1] = r == 1;
    if (r == 0)
        assert(got[0] == 5);
#elif WEAK_CASE == 3
    r = (int)choose(HY_CHAN_RECV, &got[0], HY_CHAN_RECV, &got[1]);
    if (r < 2)
        assert(got[r] == five + (uint64_t)r);
#else
    r = hy_chan_recv(&chan[0], &got[0], WEAK_DUE);
    assert((r == 0 && got[0] == 5) || (r == -ETIMEDOUT && got[0] == 0));
#endif
    (void)r;
    weak_end();
    return unused;
}

static void *second(void *unused)
{
    weak_begin(1);
#if WEAK_CASE == 1
    assert(hy_chan_send(&chan[0], &five, HY_FOREVER) == 0);
#elif WEAK_CASE == 2
    if (choose(HY_CHAN_SEND, &five, HY_CHAN_RECV, &got[1]) == 0)
        sent[0] = 1;
    else
        assert(got[1] == 7);
#elif WEAK_CASE == 5
    hy_chan_close(&chan[0]);
#else
    sent[0] = hy_chan_send(&chan[0], &five, HY_NOW) == 0;
    if (WEAK_CASE == 3)
        hy_chan_close(&chan[0]);
#endif
    weak_end();
    return unused;
}

static void *third(void *unused)
{
    weak_begin(2);
    sent[1] = hy_chan_send(&chan[1], &six, HY_NOW) == 0;
    weak_end();
    return unused;
}

int main(void)
{
    pthread_t t[3];
    int n = 0;

    for (int i = 0; i < 2; i++) {
        chan[i].item_bytes = sizeof(uint64_t);
        chan[i].read = chan[i].write = chan[i].end = chan[i].items;
    }
    pthread_create(&t[n++], NULL, first, NULL);
    pthread_create(&t[n++], NULL, second, NULL);
    if (WEAK_CASE == 3)
        pthread_create(&t[n++], NULL, third, NULL);
    if (WEAK_CASE == 4)
        pthread_create(&t[n++], NULL, weak_clock, NULL);
    while (n > 0)
        pthread_join(t[--n], NULL);
    if (WEAK_CASE == 2)
        assert(sent[0] + sent[1] == 1 && (got[0] == 5) == sent[0] &&
               (got[1] == 7) == sent[1]);
    if (WEAK_CASE == 3 || WEAK_CASE == 4)
        assert(sent[0] == (got[0] == 5) && sent[1] == (got[1] == 6));
    return 0;
}
