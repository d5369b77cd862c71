/*
 * chan.c - channels and the select over them (chan.h), over park.h alone:
 * fibers and threads are the same to it.
 *
 *      hy_chan  | lock | closed | sent, received | read, write |
 *               | senders   first -> place <-> place <- last   |
 *               | receivers first -> place <- last             |
 *               | items:  | . | item | item | item | . | . |   |
 *                               read                 write
 *
 *      A place is one wait in one queue. A send or receive has it on its
 *      stack; a select has one in each of its cases, all of one sleeper:
 *
 *      sleeper | waiter | claim | result |
 *                         ^ OPEN, or 1 + the case that is served, or GAVE_UP
 *
 * Who can serve a place takes it out of the queue and claims its sleeper by one
 * compare-exchange. Several may try: through the other channels of a select, or
 * the sleeper itself, whose deadline has passed. One wins, and settles
 * everything (copies the item, sets the result) before the wake; to the others
 * the place is stale, and they go on to the next.
 *
 * A select that finds nothing ready locks all of its channels, in the order of
 * their addresses, looks again, and hangs its places into all queues before it
 * lets go. It is never visible in one queue while it looks at another: else it
 * would have to claim itself before it claims a partner, and give that claim
 * back if the partner was lost, in which time others would have passed it by.
 *
 * Invariant: under the lock, an open place waits among the receivers only if no
 * item is in the channel and no send waits, and among the senders only if the
 * channel is full and no receive waits (but for cases of one and the same
 * select). A place that was hung counts in `hung` until its claimer, or else
 * its sleeper, has taken it off: that is what keeps the channel alive. Whoever
 * has neither lock nor place does not touch the channel.
 *
 * Upstream: users. Downstream: park.h, lock.h.
 */
#include <hyperion/chan.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "options.h"

#define HYI_OVERLAY __attribute__((may_alias))

enum { OPEN = 0 };
#define GAVE_UP UINT32_MAX

struct sleeper {
    struct hyi_waiter waiter HYI_ONE_LINE;
    /* Relaxed throughout: what a claimer reads was published by the lock of
       the channel, and what it writes is published by the wake. */
    _Atomic uint32_t claim;
    int result;
};

struct place {
    struct place *next, *prev; /* while it is queued */
    struct sleeper *sleeper;
    void *item;
    uint32_t index; /* of its case */
    bool queued;
    /* A select's alone. */
    uint32_t turn;       /* index of the case that is looked at nth */
    struct place *above; /* the next in the order of locking */
} HYI_OVERLAY;

_Static_assert(sizeof(struct place) <= sizeof(((hy_chan_case *)0)->word),
               "a case has room for its place");

struct queue {
    struct place *first, *last;
};

struct hy_chan {
    struct hyi_lock lock;
    bool is_local, closed;
    unsigned char *read, *write; /* the oldest item, the next free room */
    size_t item_bytes, capacity;
    _Atomic uint64_t sent, received; /* written under the lock */
    struct queue senders, receivers;
    unsigned char *end; /* of items */
    size_t hung;        /* places whose sleepers or claimers will come back */
    uint64_t send_waits, recv_waits;
    unsigned flags;
    hy_report report;
    unsigned char items[] HYI_ALIGNED;
};

/* --- small parts; the lock is held ---------------------------------------- */

static void lock_chan(hy_chan *c)
{
    if (!c->is_local)
        hyi_lock(&c->lock);
}

/* Another may destroy the channel from here on. */
static void unlock_chan(hy_chan *c)
{
    if (!c->is_local)
        hyi_unlock(&c->lock);
}

/* Pointers and numbers are what most channels carry. */
static void copy(void *to, const void *from, size_t bytes)
{
    if (HYI_LIKELY(bytes == sizeof(uint64_t)))
        memcpy(to, from, sizeof(uint64_t));
    else
        memcpy(to, from, bytes);
}

static size_t count_of(const hy_chan *c)
{
    return (size_t)(atomic_load_explicit(&c->sent, memory_order_relaxed) -
                    atomic_load_explicit(&c->received, memory_order_relaxed));
}

static void put_in(hy_chan *c, const void *item)
{
    copy(c->write, item, c->item_bytes);
    c->write += c->item_bytes;
    if (c->write == c->end)
        c->write = c->items;
}

static void take_out(hy_chan *c, void *item)
{
    copy(item, c->read, c->item_bytes);
    c->read += c->item_bytes;
    if (c->read == c->end)
        c->read = c->items;
}

/* --- queues; the lock is held --------------------------------------------- */

static void append(struct queue *q, struct place *p)
{
    p->next = NULL;
    p->prev = q->last;
    if (q->last != NULL)
        q->last->next = p;
    else
        q->first = p;
    q->last = p;
    p->queued = true;
}

static void cut(struct queue *q, struct place *p)
{
    if (p->prev != NULL)
        p->prev->next = p->next;
    else
        q->first = p->next;
    if (p->next != NULL)
        p->next->prev = p->prev;
    else
        q->last = p->prev;
    p->queued = false;
}

static bool claim(struct sleeper *s, uint32_t by)
{
    uint32_t open = OPEN;

    return atomic_compare_exchange_strong_explicit(
        &s->claim, &open, by, memory_order_relaxed, memory_order_relaxed);
}

/* The first place that is still open; it is the caller's to serve and wake. A
   stale one is left to its sleeper, who will come to take it off `hung`. */
static struct place *claim_first(hy_chan *c, struct queue *q)
{
    struct place *p;

    while (HYI_UNLIKELY((p = q->first) != NULL)) {
        cut(q, p);
        if (claim(p->sleeper, p->index + 1)) {
            c->hung--;
            p->sleeper->result = 0;
            return p;
        }
    }
    return NULL;
}

static void hang(hy_chan *c, struct place *p, unsigned op)
{
    if (op == HY_CHAN_SEND) {
        append(&c->senders, p);
        c->send_waits++;
    } else {
        append(&c->receivers, p);
        c->recv_waits++;
    }
    c->hung++;
}

/* A place that was not claimed through this channel comes down. */
static void take_down(hy_chan *c, struct place *p, unsigned op)
{
    lock_chan(c);
    if (p->queued)
        cut(op == HY_CHAN_SEND ? &c->senders : &c->receivers, p);
    HYI_ASSERT(c->hung > 0);
    c->hung--;
    unlock_chan(c);
}

static void wake(struct sleeper *s)
{
    if (s != NULL)
        hyi_wake(&s->waiter);
}

/* --- what can be done at once; the lock is held --------------------------- */

/* Each gives 0, -EPIPE, or -EAGAIN; *served is to be woken once the lock is
   free. */
static inline int send_now(hy_chan *c, const void *item,
                           struct sleeper **served)
{
    struct place *p;

    if (HYI_UNLIKELY(c->closed))
        return -EPIPE;
    p = claim_first(c, &c->receivers);
    if (p != NULL) {
        copy(p->item, item, c->item_bytes);
        hyi_count(&c->sent);
        hyi_count(&c->received);
        *served = p->sleeper;
        return 0;
    }
    if (count_of(c) == c->capacity)
        return -EAGAIN;
    put_in(c, item);
    hyi_count(&c->sent);
    return 0;
}

static inline int recv_now(hy_chan *c, void *item, struct sleeper **served)
{
    bool held = count_of(c) != 0;
    struct place *p;

    if (held)
        take_out(c, item);
    p = claim_first(c, &c->senders);
    if (p != NULL) {
        if (held)
            put_in(c, p->item);
        else
            copy(item, p->item, c->item_bytes);
        hyi_count(&c->sent);
        *served = p->sleeper;
    } else if (!held) {
        return c->closed ? -EPIPE : -EAGAIN;
    }
    hyi_count(&c->received);
    return 0;
}

/* --- waiting -------------------------------------------------------------- */

static void sleeper_init(struct sleeper *s, enum hyi_wait wait)
{
    hyi_waiter_init(&s->waiter, wait);
    atomic_init(&s->claim, OPEN);
    s->result = 0;
}

/* Parks until somebody has claimed the sleeper and served it (0), or it has
   claimed itself: -ETIMEDOUT, -ECANCELED. */
static int wait_served(struct sleeper *s, hy_deadline until)
{
    int r = hyi_park(&s->waiter, until);

    if (r == 0 || claim(s, GAVE_UP))
        return r;
    hyi_park_claimed(&s->waiter); /* the wake is on its way */
    return 0;
}

static int refusal(void)
{
    return hy_fiber_check() != 0 ? -ECANCELED : -ETIMEDOUT;
}

/* The lock is held, and left. */
static __attribute__((noinline)) int wait_in(hy_chan *c, void *item,
                                             unsigned op, hy_deadline until)
{
    struct sleeper self;
    struct place place = {.sleeper = &self, .item = item};
    int r;

    if (until == HY_NOW) {
        unlock_chan(c);
        return refusal();
    }
    sleeper_init(&self,
                 op == HY_CHAN_SEND ? HYI_WAIT_CHAN_SEND : HYI_WAIT_CHAN_RECV);
    hang(c, &place, op);
    unlock_chan(c);
    r = wait_served(&self, until);
    if (r == 0)
        return self.result;
    take_down(c, &place, op);
    return r;
}

int hy_chan_send(hy_chan *chan, const void *item, hy_deadline until)
{
    struct sleeper *served = NULL;
    int r;

    if (chan == NULL || item == NULL)
        return -EINVAL;
    lock_chan(chan);
    r = send_now(chan, item, &served);
    if (r == -EAGAIN)
        return wait_in(chan, (void *)(uintptr_t)item, HY_CHAN_SEND, until);
    unlock_chan(chan);
    wake(served);
    return r;
}

int hy_chan_recv(hy_chan *chan, void *item, hy_deadline until)
{
    struct sleeper *served = NULL;
    int r;

    if (chan == NULL || item == NULL)
        return -EINVAL;
    lock_chan(chan);
    r = recv_now(chan, item, &served);
    if (r == -EAGAIN)
        return wait_in(chan, item, HY_CHAN_RECV, until);
    unlock_chan(chan);
    wake(served);
    return r;
}

/* --- select --------------------------------------------------------------- */

struct select {
    hy_chan_case *cases;
    size_t count, active;   /* cases; those that are not skipped */
    struct place *lowest;   /* of the active ones, by address of channel */
    struct sleeper *served; /* to be woken once no lock is held */
    struct sleeper self;
};

static struct place *place_of(const struct select *s, size_t index)
{
    return (struct place *)s->cases[index].word;
}

static hy_chan *chan_of(const struct select *s, const struct place *p)
{
    return s->cases[p->index].chan;
}

static int check_cases(const hy_chan_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (cases[i].op == HY_CHAN_SKIP)
            continue;
        if (cases[i].op != HY_CHAN_SEND && cases[i].op != HY_CHAN_RECV)
            return -EINVAL;
        if (cases[i].chan == NULL || cases[i].item == NULL)
            return -EINVAL;
    }
    return 0;
}

/* A number below `below`: of the worker, so that a seed gives one run again;
   outside fibers of the thread. */
static uint32_t random_below(uint32_t below)
{
    static _Thread_local uint64_t state
        __attribute__((tls_model("initial-exec")));
    uint64_t drawn;

    if (hyi_worker_self != NULL) {
        drawn = hyi_random(hyi_worker_self);
    } else {
        if (state == 0)
            state = hyi_os_now() ^ (uintptr_t)&state;
        state = state * 6364136223846793005u + 1442695040888963407u;
        drawn = state; /* an LCG's upper half is its good one */
    }
    return (uint32_t)((drawn >> 32) * below >> 32);
}

/* Readies the places, and draws the order in which they are looked at, each
   order as likely as any other (R. A. Fisher and F. Yates, 1938). */
static void deal(struct select *s)
{
    s->active = 0;
    for (size_t i = 0; i < s->count; i++) {
        struct place *p = place_of(s, i), *other;

        if (s->cases[i].op == HY_CHAN_SKIP)
            continue;
        p->sleeper = &s->self;
        p->item = s->cases[i].item;
        p->index = (uint32_t)i;
        p->queued = false;
        p = place_of(s, s->active);
        other = place_of(s, random_below((uint32_t)++s->active));
        p->turn = other->turn;
        other->turn = (uint32_t)i;
    }
}

/* Tries the case; its channel is locked. */
static int try_case(struct select *s, hy_chan_case *k)
{
    return k->op == HY_CHAN_SEND ? send_now(k->chan, k->item, &s->served)
                                 : recv_now(k->chan, k->item, &s->served);
}

/* The first case, by turn, that can be done is done; its index, or count. */
static size_t try_each(struct select *s, bool locked)
{
    for (size_t i = 0; i < s->active; i++) {
        hy_chan_case *k = &s->cases[place_of(s, i)->turn];
        int r;

        if (!locked)
            lock_chan(k->chan);
        r = try_case(s, k);
        if (!locked)
            unlock_chan(k->chan);
        if (r == -EAGAIN)
            continue;
        k->result = r;
        return (size_t)(k - s->cases);
    }
    return s->count;
}

/* Merges two lists that are in the order of their channels' addresses. */
static struct place *merge(const struct select *s, struct place *a,
                           struct place *b)
{
    struct place *first = NULL, **end = &first;

    while (a != NULL && b != NULL) {
        struct place **low =
            (uintptr_t)chan_of(s, a) <= (uintptr_t)chan_of(s, b) ? &a : &b;

        *end = *low;
        end = &(*low)->above;
        *low = (*low)->above;
    }
    *end = a != NULL ? a : b;
    return first;
}

/* Sorts by merging runs of 1, 2, 4 ...: run[k] is empty or has 2^k places. */
static void sort(struct select *s)
{
    struct place *run[17] = {NULL}, *p;
    unsigned k;

    for (size_t i = 0; i < s->count; i++) {
        if (s->cases[i].op == HY_CHAN_SKIP)
            continue;
        p = place_of(s, i);
        p->above = NULL;
        for (k = 0; run[k] != NULL; k++) {
            p = merge(s, run[k], p);
            run[k] = NULL;
        }
        run[k] = p;
    }
    s->lowest = NULL;
    for (k = 0; k < 17; k++)
        s->lowest = merge(s, run[k], s->lowest);
}

/* Each channel once, however many cases name it. In this order, so that no two
   selects hold what the other waits for. */
static void lock_all(struct select *s)
{
    hy_chan *last = NULL;

    for (struct place *p = s->lowest; p != NULL; p = p->above) {
        if (chan_of(s, p) != last)
            lock_chan(chan_of(s, p));
        last = chan_of(s, p);
    }
}

static void unlock_all(struct select *s)
{
    hy_chan *last = NULL;

    for (struct place *p = s->lowest; p != NULL; p = p->above) {
        if (chan_of(s, p) != last)
            unlock_chan(chan_of(s, p));
        last = chan_of(s, p);
    }
}

/* With all channels held, nothing being ready is a fact: the places are hung
   into it. */
static size_t try_or_hang(struct select *s, bool may_wait)
{
    size_t done;

    sort(s);
    lock_all(s);
    done = try_each(s, true);
    if (done == s->count && may_wait) {
        sleeper_init(&s->self, HYI_WAIT_CHAN_SELECT);
        for (struct place *p = s->lowest; p != NULL; p = p->above)
            hang(chan_of(s, p), p, s->cases[p->index].op);
    }
    unlock_all(s);
    return done;
}

static int wait_in_all(struct select *s, size_t *chosen, hy_deadline until)
{
    int r = wait_served(&s->self, until);
    uint32_t by = atomic_load_explicit(&s->self.claim, memory_order_relaxed);

    for (struct place *p = s->lowest; p != NULL; p = p->above)
        if (p->index + 1 != by)
            take_down(chan_of(s, p), p, s->cases[p->index].op);
    if (r != 0)
        return r;
    s->cases[by - 1].result = s->self.result;
    *chosen = by - 1;
    return 0;
}

int hy_chan_select(size_t *chosen, hy_chan_case *cases, size_t count,
                   hy_deadline until)
{
    struct select s = {.cases = cases, .count = count};
    size_t done;

    if (chosen == NULL || count > HY_CHAN_CASES_MAX ||
        (cases == NULL && count != 0) || check_cases(cases, count) != 0)
        return -EINVAL;
    deal(&s);
    if (s.active == 0 && until == HY_FOREVER)
        return -EDEADLK;
    done = try_each(&s, false);
    if (done == count)
        done = try_or_hang(&s, until != HY_NOW);
    if (done == count)
        return until == HY_NOW ? refusal() : wait_in_all(&s, chosen, until);
    wake(s.served);
    *chosen = done;
    return 0;
}

/* --- making, closing, ending ---------------------------------------------- */

static int plan(hy_chan_options *o, const hy_chan_options *options,
                size_t *bytes)
{
    size_t room = SIZE_MAX / 2 - sizeof(hy_chan);
    int r;

    if (options == NULL)
        return -EINVAL;
    r = hyi_options_read(o, sizeof(*o), options);
    if (r != 0)
        return r;
    if (o->item_bytes == 0 || (o->flags & ~(unsigned)HY_CHAN_LOCAL) != 0)
        return -EINVAL;
    if (o->item_bytes > room ||
        (o->capacity != 0 && o->item_bytes > room / o->capacity))
        return -EOVERFLOW;
    *bytes = (size_t)hyi_align_up(sizeof(hy_chan) + o->item_bytes * o->capacity,
                                  HYI_LINE_BYTES);
    return 0;
}

int hy_chan_create(hy_chan **out, const hy_chan_options *options)
{
    int saved = errno, r;
    hy_chan_options o;
    size_t bytes;
    hy_chan *c;

    if (out == NULL)
        return -EINVAL;
    r = plan(&o, options, &bytes);
    if (r != 0)
        return r;
    c = aligned_alloc(HYI_LINE_BYTES, bytes);
    errno = saved;
    if (c == NULL)
        return -ENOMEM;
    memset(c, 0, sizeof(*c));
    c->is_local = (o.flags & HY_CHAN_LOCAL) != 0;
    c->read = c->write = c->items;
    c->item_bytes = o.item_bytes;
    c->capacity = o.capacity;
    c->end = c->items + o.item_bytes * o.capacity;
    c->flags = o.flags;
    c->report = o.report;
    *out = c;
    return 0;
}

/* Takes everybody out of a queue; those that are still open are closed upon,
   and stand before `after` in the list that is returned. */
static struct hyi_waiter *refuse_all(hy_chan *c, struct queue *q,
                                     struct hyi_waiter *after)
{
    struct place *p;

    while ((p = claim_first(c, q)) != NULL) {
        p->sleeper->result = -EPIPE;
        p->sleeper->waiter.next = after;
        after = &p->sleeper->waiter;
    }
    return after;
}

int hy_chan_close(hy_chan *chan)
{
    struct hyi_waiter *waiter, *next;

    if (chan == NULL)
        return -EINVAL;
    lock_chan(chan);
    chan->closed = true;
    waiter = refuse_all(chan, &chan->senders, NULL);
    waiter = refuse_all(chan, &chan->receivers, waiter);
    unlock_chan(chan);
    for (; waiter != NULL; waiter = next) {
        next = waiter->next;
        hyi_wake(waiter);
    }
    return 0;
}

int hy_chan_destroy(hy_chan *chan)
{
    char message[80];
    size_t waiting;

    if (chan == NULL)
        return 0;
    /* A select may still hold the lock of a channel that it did not use. */
    lock_chan(chan);
    waiting = chan->hung;
    unlock_chan(chan);
    if (waiting == 0) {
        free(chan);
        return 0;
    }
    if (chan->report.write != NULL) {
        snprintf(message, sizeof(message),
                 "chan: not destroyed, %zu sends and receives wait in it",
                 waiting);
        chan->report.write(chan->report.ctx, HY_REPORT_ERROR, message);
    }
    return -EBUSY;
}

size_t hy_chan_count(const hy_chan *chan)
{
    uint64_t received, sent;

    if (chan == NULL)
        return 0;
    /* Without the lock the two need not fit each other. */
    received = atomic_load_explicit(&chan->received, memory_order_relaxed);
    sent = atomic_load_explicit(&chan->sent, memory_order_relaxed);
    if (sent <= received)
        return 0;
    return sent - received < chan->capacity ? (size_t)(sent - received)
                                            : chan->capacity;
}

size_t hy_chan_capacity(const hy_chan *chan)
{
    return chan == NULL ? 0 : chan->capacity;
}

int hy_chan_stats_get(hy_chan *chan, hy_chan_stats *out)
{
    hy_chan_stats s = {0};

    if (chan == NULL || out == NULL)
        return -EINVAL;
    s.capacity = chan->capacity;
    s.item_bytes = chan->item_bytes;
    s.flags = chan->flags;
    lock_chan(chan);
    s.count = count_of(chan);
    s.closed = chan->closed;
    s.sent = atomic_load_explicit(&chan->sent, memory_order_relaxed);
    s.received = atomic_load_explicit(&chan->received, memory_order_relaxed);
    s.send_waits = chan->send_waits;
    s.recv_waits = chan->recv_waits;
    s.waiting = chan->hung;
    unlock_chan(chan);
    return hyi_struct_fill(out, &s, sizeof(s));
}
