/*
 * sim_sync.c - waiting for each other: parks and late wakes, mutexes, condition
 * variables, semaphores, events, wait groups, cycles of waits.
 */
#include <stdatomic.h>

#include "lock.h"
#include "park.h"
#include "sim_help.h"

enum { ROUNDS = 2 };

/* --- park -------------------------------------------------------------------
 * The protocol of park.h with a queue of one. What a late waker must not touch
 * is overwritten at once.
 */

struct slot {
    _Atomic(struct hyi_waiter *) waiter;
    atomic_int wakes, woken;
};

static void park_once(struct slot *s)
{
    union {
        struct hyi_waiter waiter;
        char bytes[sizeof(struct hyi_waiter)];
    } u;
    struct hyi_waiter *mine = &u.waiter;
    int r;

    hyi_waiter_init(&u.waiter, HYI_WAIT_SLEEP);
    atomic_store(&s->waiter, mine);
    r = hyi_park(&u.waiter, sim_deadline());
    if (r != 0 && !atomic_compare_exchange_strong(&s->waiter, &mine, NULL)) {
        hyi_park_claimed(&u.waiter);
        r = 0;
    }
    SIM_CHECK(r == 0 || r == -ETIMEDOUT || r == -ECANCELED);
    if (r == 0)
        atomic_fetch_add(&s->woken, 1);
    memset(u.bytes, 0xdf, sizeof(u.bytes));
}

static void park_body(void *shared, int index)
{
    struct slot *s = shared;
    struct hyi_waiter *w;

    if (index == 0) {
        for (int i = 0; i < ROUNDS; i++)
            park_once(s);
        atomic_store(&s->wakes, -1);
        return;
    }
    while (atomic_load(&s->wakes) >= 0) {
        w = atomic_exchange(&s->waiter, NULL);
        if (w != NULL)
            hyi_wake(w);
        else
            hy_fiber_yield();
    }
}

void sim_test_park(void)
{
    struct slot s = {NULL, 0, 0};

    sim_crew(park_body, &s, 2, sim_draw(4) == 0);
    SIM_CHECK(s.woken <= ROUNDS);
}

/* --- the small lock under all of them ---------------------------------------
 */

struct small {
    struct hyi_lock lock;
    atomic_int inside;
};

static void lock_body(void *arg)
{
    struct small *s = arg;

    for (int i = 0; i < ROUNDS; i++) {
        hyi_lock(&s->lock);
        SIM_CHECK_EQ(atomic_fetch_add(&s->inside, 1), 0);
        SIM_CHECK_EQ(atomic_fetch_sub(&s->inside, 1), 1);
        hyi_unlock(&s->lock);
    }
}

void sim_test_lock(void)
{
    struct small s = {.inside = 0};
    int thread[3];

    for (int i = 0; i < 3; i++)
        thread[i] = sim_start(lock_body, &s);
    for (int i = 0; i < 3; i++)
        sim_join(thread[i]);
    SIM_CHECK_EQ(s.lock.word, 0);
}

/* --- mutex ------------------------------------------------------------------
 */

struct counted {
    hy_mutex lock;
    hy_cond changed;
    int count, inside, done;
};

static bool locked(struct counted *c)
{
    int r = hy_mutex_lock(&c->lock, sim_deadline());

    SIM_CHECK(r == 0 || r == -ETIMEDOUT || r == -ECANCELED);
    return r == 0;
}

/* The last one frees it, at once. */
static void let_go(struct counted *c)
{
    bool is_last;

    hy_fiber_shield(1);
    SIM_CHECK_EQ(hy_mutex_lock(&c->lock, HY_FOREVER), 0);
    is_last = --c->count == 0;
    SIM_CHECK_EQ(hy_mutex_unlock(&c->lock), 0);
    hy_fiber_shield(0);
    if (is_last)
        free(c);
}

static void mutex_body(void *shared, int index)
{
    struct counted *c = shared;

    (void)index;
    for (int i = 0; i < ROUNDS; i++) {
        if (!locked(c))
            continue;
        SIM_CHECK_EQ(c->inside++, 0);
        if (sim_draw(2) == 0)
            hy_fiber_yield();
        SIM_CHECK_EQ(--c->inside, 0);
        SIM_CHECK_EQ(hy_mutex_unlock(&c->lock), 0);
    }
    let_go(c);
}

void sim_test_mutex(void)
{
    struct counted *c = calloc(1, sizeof(*c));

    c->count = 3;
    sim_crew(mutex_body, c, 3, sim_draw(4) == 0);
}

/* --- cond: one item at a time -----------------------------------------------
 */

static void put_items(struct counted *c)
{
    for (int i = 0; i < ROUNDS; i++) {
        SIM_CHECK_EQ(hy_mutex_lock(&c->lock, HY_FOREVER), 0);
        while (c->count == 1)
            hy_cond_wait(&c->changed, &c->lock, HY_FOREVER);
        c->count = 1;
        hy_cond_broadcast(&c->changed);
        hy_mutex_unlock(&c->lock);
    }
}

static void take_items(struct counted *c, int most)
{
    for (int i = 0; i < most; i++) {
        SIM_CHECK_EQ(hy_mutex_lock(&c->lock, HY_FOREVER), 0);
        while (c->count == 0)
            hy_cond_wait(&c->changed, &c->lock, hy_after(sim_draw(300)));
        c->count = 0;
        c->done++;
        hy_cond_broadcast(&c->changed);
        hy_mutex_unlock(&c->lock);
    }
}

static void cond_body(void *shared, int index)
{
    if (index == 0)
        put_items(shared);
    else
        take_items(shared, ROUNDS / 2);
}

void sim_test_cond(void)
{
    struct counted c = {.count = 0};

    sim_crew(cond_body, &c, 3, false);
    SIM_CHECK_EQ(c.done, ROUNDS);
    SIM_CHECK_EQ(c.count, 0);
}

/* --- sem: units are neither lost nor made -----------------------------------
 */

struct units {
    hy_sem sem;
    atomic_int posted, taken;
};

static void sem_body(void *shared, int index)
{
    struct units *u = shared;
    int r;

    for (int i = 0; i < ROUNDS; i++) {
        if (index == 0) {
            atomic_fetch_add(&u->posted, 2);
            SIM_CHECK_EQ(hy_sem_post(&u->sem, 2), 0);
            continue;
        }
        r = hy_sem_wait(&u->sem, index == 1 ? HY_FOREVER : sim_deadline());
        SIM_CHECK(r == 0 || (index == 2 && r == -ETIMEDOUT));
        if (r == 0)
            atomic_fetch_add(&u->taken, 1);
    }
}

void sim_test_sem(void)
{
    struct units u = {.posted = 0};

    sim_crew(sem_body, &u, 3, false);
    while (hy_sem_wait(&u.sem, HY_NOW) == 0)
        u.taken++;
    SIM_CHECK_EQ(u.posted, u.taken);
}

/* --- event and wait group: the frame goes when the wait is over -------------
 */

struct gate {
    hy_event event;
    hy_wait_group group;
};

static void event_body(void *shared, int index)
{
    struct gate *g = shared;

    if (index == 0)
        SIM_CHECK_EQ(hy_event_set(&g->event), 0);
    else
        SIM_CHECK_EQ(hy_event_wait(&g->event, HY_FOREVER), 0);
    SIM_CHECK_EQ(hy_wait_group_done(&g->group), 0);
}

static void event_waiter(void *arg)
{
    struct gate **g = arg;

    SIM_CHECK_EQ(hy_wait_group_wait(&(*g)->group, HY_FOREVER), 0);
    memset(*g, 0xdf, sizeof(**g));
    free(*g);
}

void sim_test_event(void)
{
    struct gate *g = calloc(1, sizeof(*g));
    int waiter;

    SIM_CHECK_EQ(hy_wait_group_add(&g->group, 3), 0);
    waiter = sim_start(event_waiter, &g);
    sim_crew(event_body, g, 3, false);
    sim_join(waiter);
}

/* --- cycles: of those who close one, exactly one is told --------------------
 */

struct ring_of_locks {
    hy_mutex lock[3];
    hy_wait_group all;
    int count;
    atomic_int told;
};

static void cycle_body(void *shared, int index)
{
    struct ring_of_locks *c = shared;
    hy_mutex *own = &c->lock[index], *next = &c->lock[(index + 1) % c->count];
    int r;

    SIM_CHECK_EQ(hy_mutex_lock(own, HY_FOREVER), 0);
    hy_wait_group_done(&c->all);
    SIM_CHECK_EQ(hy_wait_group_wait(&c->all, HY_FOREVER), 0);
    r = hy_mutex_lock(next, HY_FOREVER);
    if (r == 0)
        SIM_CHECK_EQ(hy_mutex_unlock(next), 0);
    else
        SIM_CHECK_EQ(r, -EDEADLK);
    atomic_fetch_add(&c->told, r == -EDEADLK);
    SIM_CHECK_EQ(hy_mutex_unlock(own), 0);
}

void sim_test_cycle(void)
{
    struct ring_of_locks c = {.count = 2 + (int)sim_draw(2)};

    hy_wait_group_add(&c.all, (unsigned)c.count);
    sim_crew(cycle_body, &c, c.count, false);
    SIM_CHECK_EQ(c.told, 1);
}
