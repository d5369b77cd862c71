/*
 * 12_channels.c - a bakery: orders pass from the counter through two kneaders
 * and an oven to the shop window, each step a fiber, each arrow a channel.
 *
 *      counter --orders--> kneader --\
 *                   \----> kneader ---+--dough--> oven --bread--> window
 *                                                   ^
 *                             closing time ---------/
 *
 * Shown: channels between fibers on two workers, a producer that is slowed down
 * by a full channel, an order that has a deadline, a select over two channels
 * with a deadline, the end of a stream by closing, and cancelling a fiber that
 * waits in a channel.
 */
#include <errno.h>
#include <stdio.h>

#include <hyperion/hyperion.h>

#define MS 1000000ull

enum { ORDERS = 20, KNEADERS = 2 };

struct loaf {
    int order;
    hy_deadline wanted_by; /* later nobody wants it */
};

static struct {
    hy_chan *orders, *dough, *bread, *closing;
    int stale, baked, pauses, sold; /* each of one fiber */
} bakery;

static void counter(void *arg)
{
    (void)arg;
    for (int i = 1; i <= ORDERS; i++) {
        struct loaf loaf = {i, hy_after(1000 * MS)};

        if (i % 7 == 0)
            loaf.wanted_by = hy_now(); /* in too great a hurry */
        /* Three orders lie on the counter at most: more customers wait. */
        if (hy_chan_send(bakery.orders, &loaf, hy_after(1000 * MS)) != 0)
            break;
    }
    hy_chan_close(bakery.orders);
}

/* Both take from one channel: each order is kneaded once. */
static void kneader(void *kneaded)
{
    struct loaf loaf;

    while (hy_chan_recv(bakery.orders, &loaf, HY_FOREVER) == 0) {
        hy_fiber_sleep(hy_after(MS));
        if (hy_chan_send(bakery.dough, &loaf, HY_FOREVER) != 0)
            break;
        ++*(int *)kneaded;
    }
}

/* Bakes what comes until closing time; cools down when nothing comes. */
static void oven(void *arg)
{
    struct loaf loaf = {0, 0};
    int why = 0;
    hy_chan_case cases[] = {
        HY_CHAN_CASE_RECV(bakery.dough, &loaf),
        HY_CHAN_CASE_RECV(bakery.closing, &why),
    };

    (void)arg;
    for (;;) {
        size_t chosen;
        int r = hy_chan_select(&chosen, cases, 2, hy_after(5 * MS));

        if (r == -ETIMEDOUT) {
            bakery.pauses++;
            continue;
        }
        if (r != 0 || chosen == 1 || cases[0].result != 0)
            break;
        /* The window may be full; the loaf waits no longer than it is wanted.
         */
        r = hy_chan_send(bakery.bread, &loaf, loaf.wanted_by);
        if (r == 0)
            bakery.baked++;
        else
            bakery.stale++;
    }
    hy_chan_close(bakery.bread);
}

static void window(void *arg)
{
    struct loaf loaf;

    (void)arg;
    while (hy_chan_recv(bakery.bread, &loaf, HY_FOREVER) == 0)
        bakery.sold++;
}

/* Waits for what never comes, until it is cancelled. */
static void inspector(void *result)
{
    int nothing;

    *(int *)result = hy_chan_recv(bakery.closing, &nothing, HY_FOREVER);
}

static void day(void *arg)
{
    hy_fiber kneaders[KNEADERS], the_window, the_inspector;
    int kneaded[KNEADERS] = {0, 0}, inspected = 0, all = 0, r;

    r = hy_fiber_spawn(NULL, inspector, &inspected, NULL, &the_inspector);
    for (int i = 0; i < KNEADERS; i++)
        r |= hy_fiber_spawn(NULL, kneader, &kneaded[i], NULL, &kneaders[i]);
    r |= hy_fiber_spawn(NULL, oven, NULL, NULL, NULL);
    r |= hy_fiber_spawn(NULL, window, NULL, NULL, &the_window);
    r |= hy_fiber_spawn(NULL, counter, NULL, NULL, NULL);
    *(int *)arg = r;
    if (r != 0)
        return;
    for (int i = 0; i < KNEADERS; i++) {
        hy_fiber_join(kneaders[i], HY_FOREVER);
        printf("kneader %d kneaded %d\n", i + 1, kneaded[i]);
        all += kneaded[i];
    }
    hy_fiber_sleep(hy_after(12 * MS)); /* the oven finds nothing to do */
    hy_fiber_cancel(the_inspector);
    hy_fiber_join(the_inspector, HY_FOREVER);
    printf("the inspector was %s\n",
           inspected == -ECANCELED ? "sent away" : "heard");
    hy_chan_close(bakery.closing);
    hy_fiber_join(the_window, HY_FOREVER);
    printf("%d ordered, %d kneaded, %d baked, %d sold, %d nobody wanted\n",
           ORDERS, all, bakery.baked, bakery.sold, bakery.stale);
    printf("the oven was idle: %s\n", bakery.pauses > 0 ? "yes" : "no");
}

static int open_channel(hy_chan **out, size_t item_bytes, size_t capacity)
{
    hy_chan_options options = HY_CHAN_OPTIONS_INIT;

    options.item_bytes = item_bytes;
    options.capacity = capacity;
    return hy_chan_create(out, &options);
}

int main(void)
{
    hy_runtime_options options = HY_RUNTIME_OPTIONS_INIT;
    hy_runtime *rt = NULL;
    int r = 0, day_result = 0;

    options.workers = 2;
    r = r != 0 ? r : open_channel(&bakery.orders, sizeof(struct loaf), 3);
    r = r != 0 ? r : open_channel(&bakery.dough, sizeof(struct loaf), 2);
    r = r != 0 ? r : open_channel(&bakery.bread, sizeof(struct loaf), 0);
    r = r != 0 ? r : open_channel(&bakery.closing, sizeof(int), 0);
    r = r != 0 ? r : hy_runtime_init(&rt, &options);
    r = r != 0 ? r : hy_fiber_spawn(rt, day, &day_result, NULL, NULL);
    r = r != 0 ? r : hy_runtime_run(rt);
    r = r != 0 ? r : day_result;
    if (r != 0)
        fprintf(stderr, "the bakery stays closed: error %d\n", -r);
    hy_runtime_destroy(rt);
    hy_chan_destroy(bakery.orders);
    hy_chan_destroy(bakery.dough);
    hy_chan_destroy(bakery.bread);
    hy_chan_destroy(bakery.closing);
    return r == 0 && bakery.baked == bakery.sold &&
                   bakery.sold + bakery.stale == ORDERS
               ? 0
               : 1;
}
