/*
 * model_ring.c - the ring's sleep and close protocol (lib/ring/ring_wait.c),
 * explored in every interleaving of a producer, a consumer and a third thread
 * that closes, on a machine with store buffers.
 *
 *      producer --tail--> [store buffer] --any time later--> memory
 *
 * The producer's plain stores of tail wait in a first-in-first-out buffer, so
 * that its look at the reader's word overtakes them: the one reordering that
 * the protocol has to survive. (A machine that also delays loads shows nothing
 * new here: there is one load, and it may be arbitrarily early already.)
 * Read-modify-writes empty the buffer; membarrier empties everybody's.
 *
 * What must hold in every state and at every end:
 *      - nobody sleeps for ever while items are in, or after a close;
 *      - a waiter is woken only while its frame lives, and at most once;
 *      - items accepted from the producer == items given to the consumer.
 *
 * Each rule of the protocol can be broken; then the explorer must find a bad
 * end. That shows that the rule is needed and that the explorer looks.
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { ITEMS = 3, UNDECIDED = 9, WAITER = 2, CLOSED = 1 };

/* --- the protocol's rules, each of which can be broken -------------------- */

struct rules {
    const char *name;
    bool fenced;        /* both sides fence, instead of membarrier */
    bool no_barrier;    /* the sleeper runs none */
    bool no_fence;      /* fenced, but the producer's store is a plain one */
    bool no_recheck;    /* parks without a second look */
    bool plain_take;    /* the waker reads and clears the word in two steps */
    bool no_late_wait;  /* gives up without waiting for a wake on its way */
    bool no_close_wake; /* close sets its bit and wakes nobody */
    bool no_seal_order; /* the consumer seals without a barrier */
    bool no_decision;   /* each side decides alone where the stream ends */
    bool may_close, may_time_out;
};

/* --- one state of the machine --------------------------------------------- */

enum consumer_at {
    C_POP,
    C_SEAL_ORDER,
    C_SEAL_LOOK,
    C_SEAL,
    C_PUT,
    C_ORDER,
    C_RECHECK,
    C_PARK,
    C_TAKE_BACK,
    C_LATE,
    C_DONE
};

enum producer_at {
    P_PUSH,
    P_STORE,
    P_LOOK,
    P_TAKE,
    P_CLEAR, /* second half of a plain take */
    P_WAKE,
    P_DECIDE,
    P_DONE
};

enum closer_at { X_READER, X_WRITER, X_TAKE, X_WAKE, X_DONE };

struct state {
    /* memory */
    uint8_t tail, reader, writer, final, woken;
    /* producer: its index, its buffer of tails, what it took from reader */
    uint8_t p_at, p_tail, buffer[ITEMS], buffered, p_word, accepted;
    /* consumer */
    uint8_t c_at, head, sealed;
    /* closer */
    uint8_t x_at, x_word;
    uint8_t bad; /* a property is broken */
};

static void flush_one(struct state *s)
{
    s->tail = s->buffer[0];
    memmove(s->buffer, s->buffer + 1, ITEMS - 1);
    s->buffer[--s->buffered] = 0;
}

static void flush_all(struct state *s)
{
    while (s->buffered != 0)
        flush_one(s);
}

static bool is_frame_alive(const struct state *s)
{
    return s->c_at > C_PUT && s->c_at < C_DONE;
}

static void wake(struct state *s)
{
    if (!is_frame_alive(s) || s->woken)
        s->bad = 1;
    s->woken = 1;
}

/* --- steps: each returns false when its thread cannot move ---------------- */

static void producer_store(struct state *s, const struct rules *r)
{
    s->buffer[s->buffered++] = ++s->p_tail;
    if (r->fenced && !r->no_fence)
        flush_all(s);
    s->p_at = P_LOOK;
}

static void producer_took(struct state *s)
{
    s->p_at = s->p_word & WAITER ? P_WAKE : P_DECIDE;
}

static void producer_decide(struct state *s, const struct rules *r)
{
    s->p_at = P_PUSH;
    if ((s->p_word & CLOSED) == 0 || r->no_decision) {
        s->accepted = s->p_tail;
        return;
    }
    if (s->final == UNDECIDED)
        s->final = s->p_tail;
    if (s->final >= s->p_tail)
        s->accepted = s->p_tail;
}

static bool producer_step(struct state *s, const struct rules *r)
{
    switch (s->p_at) {
    case P_PUSH:
        s->p_at =
            s->p_tail == ITEMS || (s->reader & CLOSED) != 0 ? P_DONE : P_STORE;
        return true;
    case P_STORE:
        producer_store(s, r);
        return true;
    case P_LOOK:
        s->p_at = s->reader != 0 ? P_TAKE : P_PUSH;
        if (s->reader == 0)
            s->accepted = s->p_tail;
        return true;
    case P_TAKE:
        flush_all(s);
        s->p_word = s->reader;
        if (r->plain_take) {
            s->p_at = P_CLEAR;
            return true;
        }
        s->reader &= CLOSED;
        producer_took(s);
        return true;
    case P_CLEAR:
        s->reader &= CLOSED;
        producer_took(s);
        return true;
    case P_WAKE:
        wake(s);
        s->p_at = P_DECIDE;
        return true;
    case P_DECIDE:
        producer_decide(s, r);
        return true;
    default:
        return false;
    }
}

static void order(struct state *s, const struct rules *r, bool broken)
{
    if (!r->fenced && !broken)
        flush_all(s);
}

static bool consumer_sleep_step(struct state *s, const struct rules *r)
{
    switch (s->c_at) {
    case C_PUT:
        s->reader |= WAITER;
        s->woken = 0;
        s->c_at = C_ORDER;
        return true;
    case C_ORDER:
        order(s, r, r->no_barrier);
        s->c_at = r->no_recheck ? C_PARK : C_RECHECK;
        return true;
    case C_RECHECK:
        s->c_at = s->tail != s->head || (s->reader & CLOSED) != 0 ? C_TAKE_BACK
                                                                  : C_PARK;
        return true;
    case C_PARK:
        if (s->woken)
            s->c_at = C_POP;
        return s->woken;
    case C_TAKE_BACK:
        s->c_at = s->reader & WAITER ? C_POP : C_LATE;
        if (r->no_late_wait)
            s->c_at = C_POP;
        s->reader &= CLOSED;
        return true;
    default: /* C_LATE */
        if (s->woken)
            s->c_at = C_POP;
        return s->woken;
    }
}

static bool consumer_step(struct state *s, const struct rules *r)
{
    switch (s->c_at) {
    case C_POP:
        if (s->head == ITEMS && !r->may_close)
            s->c_at = C_DONE;
        else if (s->tail != s->head)
            s->head++;
        else
            s->c_at = s->writer & CLOSED ? C_SEAL_ORDER : C_PUT;
        return true;
    case C_SEAL_ORDER:
        order(s, r, r->no_seal_order);
        s->c_at = C_SEAL_LOOK;
        return true;
    case C_SEAL_LOOK:
        s->c_at = s->tail != s->head ? C_POP : C_SEAL;
        return true;
    case C_SEAL:
        if (s->final == UNDECIDED || r->no_decision)
            s->final = s->head;
        s->c_at = s->final == s->head ? C_DONE : C_POP;
        return true;
    case C_DONE:
        return false;
    default:
        return consumer_sleep_step(s, r);
    }
}

static bool closer_step(struct state *s, const struct rules *r)
{
    if (!r->may_close)
        return false;
    switch (s->x_at) {
    case X_READER:
        s->reader |= CLOSED;
        s->x_at = X_WRITER;
        return true;
    case X_WRITER:
        s->writer |= CLOSED;
        s->x_at = r->no_close_wake ? X_DONE : X_TAKE;
        return true;
    case X_TAKE:
        s->x_word = s->reader;
        s->reader &= CLOSED;
        s->x_at = s->x_word & WAITER ? X_WAKE : X_DONE;
        return true;
    case X_WAKE:
        wake(s);
        s->x_at = X_DONE;
        return true;
    default:
        return false;
    }
}

static bool buffer_step(struct state *s, const struct rules *r)
{
    (void)r;
    if (s->buffered == 0)
        return false;
    flush_one(s);
    return true;
}

static bool timeout_step(struct state *s, const struct rules *r)
{
    if (!r->may_time_out || s->c_at != C_PARK || s->woken)
        return false;
    s->c_at = C_TAKE_BACK;
    return true;
}

static bool (*const steps[])(struct state *, const struct rules *) = {
    producer_step, consumer_step, closer_step, buffer_step, timeout_step};

/* --- what is explored ----------------------------------------------------- */

#include "explore.h"

static struct state first_state(const struct rules *r)
{
    (void)r;
    return (struct state){.final = UNDECIDED};
}

static bool step(struct state *s, const struct rules *r, size_t nth)
{
    return steps[nth](s, r);
}

static bool is_bad(const struct state *s, const struct rules *r, bool can_move)
{
    if (s->bad || can_move)
        return s->bad;
    if (s->c_at != C_DONE || s->p_at != P_DONE)
        return true;
    if (r->may_close)
        return s->head != s->accepted;
    return s->head != ITEMS || s->accepted != ITEMS;
}

static const struct rules good[] = {
    {.name = "membarrier"},
    {.name = "membarrier, deadlines", .may_time_out = true},
    {.name = "membarrier, close", .may_close = true},
    {.name = "membarrier, close, deadlines",
     .may_close = true,
     .may_time_out = true},
    {.name = "fences", .fenced = true},
    {.name = "fences, close, deadlines",
     .fenced = true,
     .may_close = true,
     .may_time_out = true},
};

static const struct rules broken[] = {
    {.name = "no barrier", .no_barrier = true},
    {.name = "no fence", .fenced = true, .no_fence = true},
    {.name = "no second look", .no_recheck = true},
    {.name = "plain take", .plain_take = true, .may_time_out = true},
    {.name = "late wake ignored", .no_late_wait = true, .may_time_out = true},
    {.name = "close without wake", .no_close_wake = true, .may_close = true},
    {.name = "seal without barrier", .no_seal_order = true, .may_close = true},
    {.name = "no common decision", .no_decision = true, .may_close = true},
};

int main(void)
{
    return explore_all(EXPLORE_COUNT(steps), good, EXPLORE_COUNT(good), broken,
                       EXPLORE_COUNT(broken));
}
