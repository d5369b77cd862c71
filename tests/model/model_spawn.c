/*
 * model_spawn.c - a cancel of a fiber in the moment of its spawn (fiber.c,
 * inbox.c), explored in every interleaving on a machine with store buffers.
 *
 *      spawner, worker 0                     canceller
 *      worker = 0    --> [store buffer]      life: LIVE -> LIVE | CANCELLED
 *      life = LIVE   --> [store buffer]      post to the worker
 *      begin: cancelled?                     worker 0, or 1: takes the post,
 *      park, take posts                      fiber parked here? gives up
 *
 * Plain stores wait in a first-in-first-out buffer of their thread, so that its
 * loads overtake them; read-modify-writes empty it. The slot is a fresh one, or
 * its last fiber was of another worker. The fiber may be stolen before it
 * begins.
 *
 * What must hold at every end: a fiber that was cancelled does not stay parked.
 *
 * Each rule of the protocol can be broken; then the explorer must find a bad
 * end. That shows that the rule is needed and that the explorer looks.
 */
#include <stdbool.h>
#include <stdint.h>

/* --- the protocol's rules, each of which can be broken -------------------- */

struct rules {
    const char *name;
    bool used_slot;    /* its last fiber was of worker 1 */
    bool late_post;    /* a cancel of that fiber is in its inbox */
    bool may_steal;    /* worker 1 may begin it */
    bool live_first;   /* the worker is stored after the fiber is live */
    bool plain_settle; /* the thief stores the worker without an exchange */
    bool no_pass_on;   /* a post for another worker's fiber is dropped */
    bool no_look;      /* the fiber does not look before it parks */
};

/* --- one state of the machine --------------------------------------------- */

enum { LIVE = 1, CANCELLED = 2, PARKED = 1, NOBODY = 2, BUFFER = 5 };
enum word { WORKER, LIFE, STATE, PUSHED, WORDS };

enum worker_at {
    W_STORE_1, /* worker 0 spawns */
    W_STORE_2,
    W_PUSH,
    W_SETTLE, /* begins the fiber */
    W_LOOK,
    W_PARK,
    W_POSTED, /* has the fiber out of its inbox */
    W_WHOSE,
    W_PASS_ON,
    W_QUEUE,
    W_LOOP /* takes posts, or the fiber to begin it; else sleeps */
};

enum canceller_at { C_MARK, C_POST, C_QUEUE, C_DONE };

struct state {
    uint8_t memory[WORDS], posted, in_inbox[2];
    struct {
        uint8_t at, buffered, word[BUFFER], value[BUFFER];
    } w[2];
    uint8_t canceller, cancelled, begun, ended, bad;
};

static uint8_t load(const struct state *s, int me, enum word word)
{
    for (int i = s->w[me].buffered; i-- > 0;)
        if (s->w[me].word[i] == word)
            return s->w[me].value[i];
    return s->memory[word];
}

static void store(struct state *s, int me, enum word word, uint8_t value)
{
    int i = s->w[me].buffered++;

    s->w[me].word[i] = (uint8_t)word;
    s->w[me].value[i] = value;
}

static void write_oldest(struct state *s, int me)
{
    int left = --s->w[me].buffered;

    s->memory[s->w[me].word[0]] = s->w[me].value[0];
    for (int i = 0; i < left; i++) {
        s->w[me].word[i] = s->w[me].word[i + 1];
        s->w[me].value[i] = s->w[me].value[i + 1];
    }
    s->w[me].word[left] = s->w[me].value[left] = 0;
}

/* What a read-modify-write does first. */
static void flush(struct state *s, int me)
{
    while (s->w[me].buffered != 0)
        write_oldest(s, me);
}

/* --- steps: each returns false when its thread cannot move ---------------- */

static void spawn(struct state *s, int me, const struct rules *r)
{
    bool first = s->w[me].at == W_STORE_1;

    if (first != r->live_first)
        store(s, me, WORKER, 0);
    else
        store(s, me, LIFE, LIVE);
    s->w[me].at++;
}

static void settle(struct state *s, int me, const struct rules *r)
{
    s->w[me].at = r->no_look ? W_PARK : W_LOOK;
    if (load(s, me, WORKER) == me)
        return;
    store(s, me, WORKER, (uint8_t)me);
    if (!r->plain_settle)
        flush(s, me);
}

static void look(struct state *s, int me)
{
    s->w[me].at = W_PARK;
    if (load(s, me, LIFE) & CANCELLED) {
        s->w[me].at = W_LOOP;
        s->ended = 1;
    }
}

/* A fiber that is parked here and cancelled gives up. */
static void whose(struct state *s, int me, const struct rules *r)
{
    s->w[me].at = W_LOOP;
    if (load(s, me, WORKER) != me)
        s->w[me].at = r->no_pass_on ? W_LOOP : W_PASS_ON;
    else if (load(s, me, STATE) == PARKED &&
             (load(s, me, LIFE) & CANCELLED) != 0)
        s->ended = 1;
}

/* Whoever finds nothing posted queues the fiber. */
static bool post(struct state *s)
{
    bool queues = s->posted == 0;

    s->posted = 1;
    return queues;
}

static void queue(struct state *s, uint8_t worker)
{
    if (worker == NOBODY)
        s->bad = 1;
    else
        s->in_inbox[worker] = 1;
}

static bool go_on(struct state *s, int me, const struct rules *r)
{
    switch (s->w[me].at) {
    case W_STORE_1:
    case W_STORE_2:
        spawn(s, me, r);
        return true;
    case W_PUSH:
        store(s, me, PUSHED, 1);
        s->w[me].at = W_LOOP;
        return true;
    case W_SETTLE:
        settle(s, me, r);
        return true;
    case W_LOOK:
        look(s, me);
        return true;
    case W_PARK: /* an exchange on the waiter comes first */
        flush(s, me);
        store(s, me, STATE, PARKED);
        s->w[me].at = W_LOOP;
        return true;
    case W_POSTED:
        flush(s, me);
        s->posted = 0;
        s->w[me].at = W_WHOSE;
        return true;
    case W_WHOSE:
        whose(s, me, r);
        return true;
    case W_PASS_ON:
        flush(s, me);
        s->w[me].at = post(s) ? W_QUEUE : W_LOOP;
        return true;
    case W_QUEUE:
        queue(s, load(s, me, WORKER));
        s->w[me].at = W_LOOP;
        return true;
    default:
        return false;
    }
}

static bool take_post(struct state *s, int me, const struct rules *r)
{
    (void)r;
    if (s->w[me].at != W_LOOP || s->in_inbox[me] == 0)
        return false;
    flush(s, me);
    s->in_inbox[me] = 0;
    s->w[me].at = W_POSTED;
    return true;
}

/* The owner of a deque that nobody steals from takes without an exchange. */
static bool take_fiber(struct state *s, int me, const struct rules *r)
{
    if (s->w[me].at != W_LOOP || s->begun || load(s, me, PUSHED) == 0 ||
        (me == 1 && !r->may_steal))
        return false;
    if (r->may_steal)
        flush(s, me);
    s->begun = 1;
    s->w[me].at = W_SETTLE;
    return true;
}

static bool write_later(struct state *s, int me, const struct rules *r)
{
    (void)r;
    if (s->w[me].buffered == 0)
        return false;
    write_oldest(s, me);
    return true;
}

static bool cancel(struct state *s, int me, const struct rules *r)
{
    (void)me;
    switch (s->canceller) {
    case C_MARK:
        if (s->memory[LIFE] != LIVE)
            return false;
        s->memory[LIFE] |= CANCELLED;
        s->cancelled = 1;
        s->canceller = C_POST;
        return true;
    case C_POST:
        /* Nobody to post to: the fiber will see it when it begins. */
        if (r->live_first && s->memory[WORKER] == NOBODY)
            s->canceller = C_DONE;
        else
            s->canceller = post(s) ? C_QUEUE : C_DONE;
        return true;
    case C_QUEUE:
        queue(s, s->memory[WORKER]);
        s->canceller = C_DONE;
        return true;
    default:
        return false;
    }
}

static const struct {
    bool (*step)(struct state *s, int me, const struct rules *r);
    int me;
} steps[] = {{go_on, 0},       {go_on, 1},       {take_post, 0},
             {take_post, 1},   {take_fiber, 0},  {take_fiber, 1},
             {write_later, 0}, {write_later, 1}, {cancel, 0}};

/* --- what is explored ----------------------------------------------------- */

#include "explore.h"

static struct state first_state(const struct rules *r)
{
    struct state s = {0};

    s.memory[WORKER] = r->used_slot ? 1 : NOBODY;
    s.posted = s.in_inbox[1] = r->late_post;
    s.w[1].at = W_LOOP;
    return s;
}

static bool step(struct state *s, const struct rules *r, size_t nth)
{
    return steps[nth].step(s, steps[nth].me, r);
}

static bool is_bad(const struct state *s, const struct rules *r, bool can_move)
{
    (void)r;
    return s->bad || (!can_move && s->cancelled && !s->ended);
}

static const struct rules good[] = {
    {.name = "fresh slot"},
    {.name = "fresh slot, theft", .may_steal = true},
    {.name = "used slot", .used_slot = true},
    {.name = "used slot, theft", .used_slot = true, .may_steal = true},
    {.name = "used slot, late post", .used_slot = true, .late_post = true},
    {.name = "used slot, late post, theft",
     .used_slot = true,
     .late_post = true,
     .may_steal = true},
};

static const struct rules broken[] = {
    {.name = "live before worker", .live_first = true},
    {.name = "the same, used slot", .live_first = true, .used_slot = true},
    {.name = "settled by a store", .plain_settle = true, .may_steal = true},
    {.name = "posts not passed on",
     .no_pass_on = true,
     .used_slot = true,
     .late_post = true},
    {.name = "no look before the park", .no_look = true},
};

int main(void)
{
    return explore_all(EXPLORE_COUNT(steps), good, EXPLORE_COUNT(good), broken,
                       EXPLORE_COUNT(broken));
}
