/*
 * explore.h - every interleaving of a small machine, and the main program of
 * its model: what a model_*.c includes after its struct state, its struct rules
 * (with a name) and its steps.
 *
 *      first --step 0--> state --step 2--> ...      each state once
 *            --step 1--> state  no step: an end     [table: seen already?]
 *
 * A state is bad when the model says so, told whether a thread can still move.
 * The rules in good have no bad state; those in broken, of which each lacks
 * something, have one: what they lack is needed, and the explorer looks.
 *
 * Invariant: a state has no padding, so that equal ones have equal bytes.
 *
 * Upstream: model_*.c. Downstream: nothing.
 */
#ifndef EXPLORE_H
#define EXPLORE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of the model. step: the nth of its steps; false when that cannot be made. */
static struct state first_state(const struct rules *r);
static bool step(struct state *s, const struct rules *r, size_t nth);
static bool is_bad(const struct state *s, const struct rules *r, bool can_move);

enum { EXPLORE_TABLE = 1 << 20 };

static struct state explore_seen[EXPLORE_TABLE], explore_left[EXPLORE_TABLE];
static bool explore_used[EXPLORE_TABLE];

static bool is_new(const struct state *s)
{
    const unsigned char *bytes = (const unsigned char *)s;
    uint64_t h = 14695981039346656037u; /* FNV-1a */

    for (size_t i = 0; i < sizeof(*s); i++)
        h = (h ^ bytes[i]) * 1099511628211u;
    for (h = (h ^ h >> 29) % EXPLORE_TABLE; explore_used[h];
         h = (h + 1) % EXPLORE_TABLE)
        if (memcmp(&explore_seen[h], s, sizeof(*s)) == 0)
            return false;
    explore_used[h] = true;
    explore_seen[h] = *s;
    return true;
}

/* Number of bad states; *states gets how many there are. */
static unsigned explore(const struct rules *r, size_t step_count,
                        unsigned *states)
{
    unsigned depth = 1, bad = 0;

    memset(explore_used, 0, sizeof(explore_used));
    explore_left[0] = first_state(r);
    is_new(&explore_left[0]);
    for (*states = 1; depth != 0;) {
        struct state from = explore_left[--depth];
        bool moved = false, ends = is_bad(&from, r, true);

        for (size_t i = 0; i < step_count && !ends; i++) {
            struct state to = from;

            if (!step(&to, r, i))
                continue;
            moved = true;
            if (is_new(&to)) {
                ++*states;
                explore_left[depth++] = to;
            }
        }
        bad += is_bad(&from, r, moved);
        if (*states > EXPLORE_TABLE / 2)
            abort();
    }
    return bad;
}

/* What main returns. */
static int explore_all(size_t step_count, const struct rules *good,
                       size_t good_count, const struct rules *broken,
                       size_t broken_count)
{
    unsigned states, bad;
    int failed = 0;

    for (size_t i = 0; i < good_count; i++) {
        bad = explore(&good[i], step_count, &states);
        printf("%-32s %7u states, %u bad\n", good[i].name, states, bad);
        failed |= bad != 0;
    }
    for (size_t i = 0; i < broken_count; i++) {
        bad = explore(&broken[i], step_count, &states);
        printf("broken: %-24s %7u states, %u bad%s\n", broken[i].name, states,
               bad, bad == 0 ? ": NOT FOUND" : "");
        failed |= bad == 0;
    }
    return failed;
}

#define EXPLORE_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
