/*
 * test_runtime_wheel.c - the timing wheel against a sorted array.
 */
#include <stdlib.h>

#include "hy_test.h"
#include "wheel.h"

enum { TIMERS = 400, STEPS = 20000 };

static uint64_t state;

static uint64_t draw(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static struct hyi_wheel wheel;
static struct hyi_timer timer[TIMERS];
static unsigned long order_of[TIMERS]; /* when it was inserted */

/* The oracle: the earliest armed timer, equal ones first in, first out. */
static struct hyi_timer *earliest(void)
{
    struct hyi_timer *best = NULL;

    for (int i = 0; i < TIMERS; i++) {
        struct hyi_timer *t = &timer[i];

        if (!hyi_timer_is_armed(t))
            continue;
        if (best == NULL || t->deadline < best->deadline ||
            (t->deadline == best->deadline &&
             order_of[i] < order_of[best - timer]))
            best = t;
    }
    return best;
}

static uint64_t some_distance(void)
{
    uint64_t bits = draw() % 44;

    return draw() % 8 == 0 ? 5 : draw() & (((uint64_t)1 << bits) - 1);
}

static void advance(uint64_t now)
{
    struct hyi_timer *t, *expected;

    do {
        expected = earliest();
        if (expected != NULL && expected->deadline > now)
            expected = NULL;
        t = hyi_wheel_pop(&wheel, now);
        HY_CHECK(t == expected);
        HY_CHECK(t == NULL || !hyi_timer_is_armed(t));
    } while (t != NULL);
    expected = earliest();
    if (expected == NULL)
        HY_CHECK(hyi_wheel_next(&wheel) == UINT64_MAX);
    else
        HY_CHECK(hyi_wheel_next(&wheel) <= expected->deadline &&
                 hyi_wheel_next(&wheel) > now);
}

HY_TEST(runtime_wheel, agrees_with_a_sorted_array)
{
    uint64_t now = 0;
    unsigned long inserted = 0;

    memset(&wheel, 0, sizeof(wheel));
    memset(timer, 0, sizeof(timer));
    state = 88172645463325252u;
    for (int step = 0; step < STEPS; step++) {
        struct hyi_timer *t = &timer[draw() % TIMERS];

        if (hyi_timer_is_armed(t)) {
            if (draw() % 3 == 0)
                hyi_wheel_remove(&wheel, t);
        } else {
            t->deadline = now + some_distance();
            order_of[t - timer] = inserted++;
            hyi_wheel_insert(&wheel, t);
        }
        if (step % 16 == 0) {
            now += some_distance();
            advance(now);
        }
    }
    advance(UINT64_MAX - 1);
    HY_CHECK_EQ(wheel.count, 0);
    HY_CHECK_EQ(wheel.levels, 0);
}

HY_TEST(runtime_wheel, the_ends_of_time)
{
    struct hyi_timer last = {.deadline = UINT64_MAX - 1};
    struct hyi_timer past = {.deadline = 3};

    memset(&wheel, 0, sizeof(wheel));
    HY_CHECK(hyi_wheel_next(&wheel) == UINT64_MAX);
    HY_CHECK(hyi_wheel_pop(&wheel, 1000) == NULL);
    hyi_wheel_insert(&wheel, &last);
    HY_CHECK(hyi_wheel_next(&wheel) == UINT64_MAX - 1);
    HY_CHECK(hyi_wheel_pop(&wheel, (uint64_t)1 << 60) == NULL);
    hyi_wheel_insert(&wheel, &past);
    HY_CHECK(hyi_wheel_pop(&wheel, (uint64_t)1 << 60) == &past);
    hyi_wheel_remove(&wheel, &past);
    HY_CHECK(hyi_wheel_pop(&wheel, UINT64_MAX) == &last);
    HY_CHECK_EQ(wheel.count, 0);
}

/* Each second one is taken out again; the others come in order. */
HY_TEST(runtime_wheel, a_million_are_pending)
{
    enum { MILLION = 1000000 };
    struct hyi_timer *many = calloc(MILLION, sizeof(*many)), *t;
    uint64_t last = 0;
    size_t popped = 0;

    HY_CHECK(many != NULL);
    memset(&wheel, 0, sizeof(wheel));
    state = 11;
    for (size_t i = 0; i < MILLION; i++) {
        many[i].deadline = 1 + some_distance();
        hyi_wheel_insert(&wheel, &many[i]);
    }
    HY_CHECK_EQ(hyi_wheel_count(&wheel), MILLION);
    for (size_t i = 0; i < MILLION; i += 2)
        hyi_wheel_remove(&wheel, &many[i]);
    while ((t = hyi_wheel_pop(&wheel, UINT64_MAX)) != NULL) {
        HY_CHECK(t->deadline >= last && (t - many) % 2 == 1);
        last = t->deadline;
        popped++;
    }
    HY_CHECK_EQ(popped, MILLION / 2);
    HY_CHECK_EQ(hyi_wheel_count(&wheel), 0);
    free(many);
}
