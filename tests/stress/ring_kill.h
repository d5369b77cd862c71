/*
 * ring_kill.h - what a kind of ring is, for stress_ring_kill.c to kill the
 * processes at its ends, and the board on which these tell what they did.
 *
 * Invariant: a side tells the board of a call after it returned; so the board
 * is behind the ring by at most one call.
 */
#ifndef RING_KILL_H
#define RING_KILL_H

#include <hyperion/ring.h>
#include <stdatomic.h>
#include <stdint.h>

/* Items of one call, at most. */
enum { BATCH = 7 };

/* Long against any delay: who waits for so long was forgotten. */
#define PATIENCE_NS UINT64_C(10000000000)

/* One writer each, but for line. */
struct board {
    _Atomic int line; /* of the first thing that was wrong; 0: nothing */
    const char *_Atomic file;
    _Atomic long long got;
    _Atomic int stop;
    _Atomic uint64_t reported; /* items pushed, by calls that returned */
    _Atomic uint64_t taken;    /* items popped, likewise */
    _Atomic uint64_t seen;     /* of these, or of a span: looked at */
    _Atomic uint64_t unreported_pushes, unreported_pops, again, told;
};

extern struct board *board;

struct kind {
    const char *name, *items;
    const hy_ring *(*make)(void); /* NULL: an error; for looking at */
    void (*destroy)(void);
    void (*produce)(uint64_t seed); /* in a process of its own, as the next */
    void (*consume)(uint64_t seed);
    uint64_t (*index_of)(uint64_t number); /* at which the ring has it */
};

extern const struct kind kill_items, kill_records;

#define EXPECT(good, got)                                                      \
    expect_at((good), (long long)(got), __FILE__, __LINE__)

/* Ends the process when it is not so. */
void expect_at(int good, long long got, const char *file, int line);
void count(_Atomic uint64_t *counter, uint64_t by);
/* Of a call that waited: whether it did what it was to do. */
int is_over(int r, hy_deadline until);
uint64_t random_next(uint64_t *state);

/* Of a side that begins: items in, or out, by what the ring says. */
void check_pushed(uint64_t in);
void check_popped(uint64_t out);

#endif
