/*
 * stress_kinds.c - the moves of actors (stress.h). Each checks at once what can
 * be seen from where it is; sums are checked at the end of the round.
 *
 * Upstream: stress_runtime.c. Downstream: public headers.
 */
#include <errno.h>
#include <fenv.h>
#include <string.h>

#include "stress.h"

enum { MS = 1000000, PATTERN = 256, LEAVES = 3, TREE = 3 };

_Atomic uint64_t moves[KINDS];
_Atomic uint64_t early;

uint64_t draw(struct actor *a, uint64_t below)
{
    uint64_t z = a->random += 0x9e3779b97f4a7c15u; /* splitmix64 */

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % below;
}

/* Mostly short, sometimes none, sometimes for ever. */
static hy_deadline some_time(struct actor *a)
{
    switch (draw(a, 8)) {
    case 0:
        return HY_NOW;
    case 1:
        return HY_FOREVER;
    default:
        return hy_after(draw(a, 2 * MS));
    }
}

/* The same, but it ends: for what nobody may ever come to serve. */
static hy_deadline some_time_at_most(struct actor *a)
{
    hy_deadline until = some_time(a);

    return until == HY_FOREVER ? hy_after(5 * MS) : until;
}

/* What a wait may say. */
static bool went(int r)
{
    if (r == 0)
        return true;
    EXPECT(r == -ETIMEDOUT || r == -ECANCELED);
    atomic_fetch_add(&early, 1);
    return false;
}

/* --- kinds -----------------------------------------------------------------
 */

/* Two accounts, locked in their order; owners of mutexes may yield. */
static void transfer(struct actor *a)
{
    struct round *r = a->round;
    unsigned from = (unsigned)draw(a, ACCOUNTS - 1);
    unsigned to = from + 1 + (unsigned)draw(a, ACCOUNTS - 1 - from);
    int64_t amount = (int64_t)draw(a, 1000);

    if (!went(hy_mutex_lock(&r->lock[from], some_time(a))))
        return;
    if (went(hy_mutex_lock(&r->lock[to], some_time(a)))) {
        r->account[from] -= amount;
        if (draw(a, 4) == 0)
            hy_fiber_yield();
        r->account[to] += amount;
        EXPECT(hy_mutex_unlock(&r->lock[to]) == 0);
    }
    EXPECT(hy_mutex_unlock(&r->lock[from]) == 0);
}

static void send_item(struct actor *a)
{
    struct round *r = a->round;
    uint64_t item = draw(a, 1u << 30);

    if (went(
            hy_chan_send(r->chan[draw(a, CHANS)], &item, some_time_at_most(a))))
        atomic_fetch_add(&r->sent, item);
}

static void receive_item(struct actor *a)
{
    struct round *r = a->round;
    uint64_t item;

    if (went(
            hy_chan_recv(r->chan[draw(a, CHANS)], &item, some_time_at_most(a))))
        atomic_fetch_add(&r->received, item);
}

static void select_item(struct actor *a)
{
    struct round *r = a->round;
    uint64_t out = draw(a, 1u << 30), in[CHANS];
    hy_chan_case cases[CHANS];
    size_t chosen = CHANS;

    for (unsigned i = 0; i < CHANS; i++)
        cases[i] = i == 0 ? (hy_chan_case)HY_CHAN_CASE_SEND(r->chan[i], &out)
                          : (hy_chan_case)HY_CHAN_CASE_RECV(r->chan[i], &in[i]);
    if (!went(hy_chan_select(&chosen, cases, CHANS, some_time_at_most(a))))
        return;
    EXPECT(chosen < CHANS && cases[chosen].result == 0);
    if (chosen == 0)
        atomic_fetch_add(&r->sent, out);
    else
        atomic_fetch_add(&r->received, in[chosen]);
}

static void hold_permit(struct actor *a)
{
    struct round *r = a->round;

    if (!went(hy_sem_wait(&r->permits, some_time(a))))
        return;
    EXPECT(atomic_fetch_add(&r->inside, 1) < PERMITS);
    hy_fiber_yield();
    atomic_fetch_sub(&r->inside, 1);
    EXPECT(hy_sem_post(&r->permits, 1) == 0);
}

static void nap(struct actor *a)
{
    uint64_t end = hy_now() + draw(a, 2 * MS);
    int r = hy_fiber_sleep(end);

    EXPECT(r == 0 || r == -ECANCELED);
    EXPECT(r != 0 || hy_now() >= end);
}

struct leaf {
    unsigned depth;
    _Atomic unsigned *count;
};

static void grow(void *arg)
{
    const struct leaf *l = arg;
    struct leaf child = {l->depth - 1, l->count};
    hy_fiber f[LEAVES];
    unsigned n = 0;

    atomic_fetch_add(l->count, 1);
    while (l->depth > 0 && n < LEAVES &&
           hy_fiber_spawn(NULL, grow, &child, NULL, &f[n]) == 0)
        n++;
    hy_fiber_shield(1); /* child is on this stack */
    while (n-- > 0)
        EXPECT(hy_fiber_join(f[n], HY_FOREVER) == 0);
    hy_fiber_shield(0);
}

/* A fork-join tree; all of it when there is room. */
static void tree(struct actor *a)
{
    _Atomic unsigned count = 0;
    struct leaf root = {TREE, &count};
    unsigned all = 0, level = 1;

    grow(&root);
    for (int i = 0; i <= TREE; i++, level *= LEAVES)
        all += level;
    EXPECT(count <= all && (a->round->bounded || count == all));
}

/* What is on the stack, in errno and in the rounding mode stays a fiber's. */
static void keep(struct actor *a)
{
    static const int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD,
                                FE_TOWARDZERO};
    volatile unsigned char pattern[PATTERN];
    unsigned char byte = (unsigned char)draw(a, 256);
    int mode = modes[draw(a, 4)];

    memset((void *)(uintptr_t)pattern, byte, PATTERN);
    fesetround(mode);
    for (int i = 0; i < 4; i++) {
        errno = byte;
        hy_fiber_yield();
        EXPECT(errno == byte);
    }
    EXPECT(fegetround() == mode);
    fesetround(FE_TONEAREST);
    for (int i = 0; i < PATTERN; i++)
        EXPECT(pattern[i] == byte);
}

static void wander(struct actor *a)
{
    volatile unsigned char pattern[PATTERN];
    unsigned char byte = (unsigned char)draw(a, 256);

    memset((void *)(uintptr_t)pattern, byte, PATTERN);
    for (int i = 0; i < 4; i++)
        hy_fiber_yield();
    nap(a);
    for (int i = 0; i < PATTERN; i++)
        EXPECT(pattern[i] == byte);
}

static void count_up(void *arg)
{
    _Atomic unsigned *count = arg;

    atomic_fetch_add(count, 1);
}

static void block(struct actor *a)
{
    _Atomic unsigned count = 0;
    int r = hy_offload(count_up, &count, some_time(a));

    EXPECT(r == 0 || r == -ETIMEDOUT || r == -ECANCELED || r == -EAGAIN);
    EXPECT(count == (r == 0)); /* 0: it has run; else it never will */
}

/* Spawns one, and cancels or joins one that others have spawned. */
static void meet(struct actor *a)
{
    struct round *r = a->round;
    hy_fiber mine, other;
    int e = stress_spawn(a, &mine);

    EXPECT(e == 0 || e == -EAGAIN);
    other.id = atomic_load(&r->recent[draw(a, RECENT)]);
    if (other.id == 0)
        return;
    if (draw(a, 2) == 0) {
        e = hy_fiber_cancel(other);
        EXPECT(e == 0 || e == -ESRCH);
        return;
    }
    e = hy_fiber_join(other, some_time_at_most(a));
    EXPECT(e == 0 || e == -ETIMEDOUT || e == -ECANCELED || e == -EDEADLK);
}

const struct kind kinds[KINDS] = {
    {"transfer", transfer, 0, true, false},
    {"send", send_item, 0, true, false},
    {"receive", receive_item, 0, true, false},
    {"select", select_item, 0, true, false},
    {"permit", hold_permit, 0, true, false},
    {"nap", nap, HY_FIBER_HUGE_STACK, true, false},
    {"tree", tree, 0, false, false},
    {"keep", keep, HY_FIBER_FP_ENV, false, false},
    {"wander", wander, HY_FIBER_MIGRATE, false, false},
    {"block", block, 0, false, true},
    {"meet", meet, 0, true, false},
};
