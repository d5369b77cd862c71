/*
 * weak_slot.c - a fiber's slot (table.c, fiber.c): who joins or cancels by a
 * handle meets the fiber's end, and the next fiber in the same slot.
 *
 *      WEAK_CASE   the fiber's worker        others
 *      1           ends it                   join
 *      2           ends it, spawns another   join until a deadline, the clock
 *      3           ends it, spawns another   cancel
 *      4           ends it                   join; read the name
 *      5           has it stolen by another, cancel
 *                  where it starts and parks
 *      6           spawns                    a stop: fences
 *      7           spawns                    a stop: membarrier
 *      8           spawns                    a cancel at once
 *      9           as 5, and the fiber was ready there, and roams
 *      10          is late with its wake     has stolen it meanwhile: the fiber
 *                                            waits for that wake there
 */
#define WEAK_TABLE   4 /* slots */
#define WEAK_WORKERS (WEAK_CASE > 4 && WEAK_CASE != 8 ? 2 : 1)
#if WEAK_CASE == 7
#define WEAK_INTERRUPTS 2 /* by thread 1, which stops */
#define WEAK_OTHERS     2
#elif WEAK_CASE == 6
#define WEAK_BARRIER (-ENOTSUP)
#endif
#include "weak_worker.h"

enum { OTHER = 3 }; /* index of the slot that this is about */

static struct hyi_fiber *f;
static hy_fiber handle;
static int given; /* not atomic: what the fiber did before its end */
static _Atomic bool finished;
static struct hyi_waiter *waiter;

static void slot_init(void)
{
    f = &weak_fiber[OTHER];
    atomic_init(&f->life, weak_life(1, OTHER));
    atomic_init(&f->worker, &weak_worker[0]);
    atomic_init(&f->state, HY_FIBER_NEW);
    handle = hyi_fiber_id(&weak_rt,
                          atomic_load_explicit(&f->life, memory_order_relaxed));
    for (unsigned i = 0; i < WEAK_WORKERS; i++)
        weak_worker[i].pool[0].claims = 2;
}

static void entry(void *unused)
{
    (void)unused;
}

static void *owner(void *unused)
{
    struct hyi_worker *w = &weak_worker[0];

    weak_worker_begin(0);
#if WEAK_CASE <= 4
    given = 1;
    hyi_fiber_end(&weak_rt, w, f);
    if (WEAK_CASE == 2 || WEAK_CASE == 3) {
        assert(hy_fiber_spawn(&weak_rt, entry, NULL, NULL, NULL) == 0);
        hyi_worker_service(w);
    }
#elif WEAK_CASE == 10
    w->current = &w->base;
    given = 1;
    hyi_wake(waiter);
    if (w->ready.ring != NULL)
        free(w->ready.ring);
#elif WEAK_CASE == 5 || WEAK_CASE == 9
    while (atomic_load(&w->inbox) == 0 && !atomic_load(&finished))
        ;
    hyi_worker_service(w);
#else
    w->free = f;
    assert(hy_fiber_spawn(&weak_rt, entry, NULL, NULL, NULL) == 0);
#endif
    (void)w;
    weak_end();
    return unused;
}

static void *joiner(void *unused)
{
    int r;

    weak_begin(1);
    hyi_thread_token_known = 8 | HYI_TOKEN_FLAGS;
    r = hy_fiber_join(handle, WEAK_CASE == 2 ? WEAK_DUE : HY_FOREVER);
    assert(r == 0 || (WEAK_CASE == 2 && r == -ETIMEDOUT));
    if (r == 0)
        assert(given == 1);
    weak_end();
    return unused;
}

static void *canceller(void *unused)
{
    int r;

    weak_begin(2);
    r = hy_fiber_cancel(handle);
    assert(r == 0 || (WEAK_CASE != 5 && WEAK_CASE != 9 && r == -ESRCH));
    if (WEAK_CASE == 8 && r == 0)
        assert((f->life & HYI_LIFE_CANCELLED) != 0);
    weak_end();
    return unused;
}

static void *reader(void *unused)
{
    weak_begin(2);
    if (hyi_fiber_lock(f, 1)) {
        assert(f->name[0] == 'f');
        hyi_fiber_unlock(f);
    }
    weak_end();
    return unused;
}

/* Steals the fiber, gives it a stack if it has none, runs it: it parks, and is
   cancelled, or woken by who has claimed it before. */
static void *stealer(void *unused)
{
    static struct hyi_stack stack;
    struct hyi_worker *w = &weak_worker[1];
    struct hyi_waiter mine;

    weak_worker_begin(1);
    w->current = &w->base;
    assert(steal(w) && pick(w) == f);
    if (WEAK_CASE == 5)
        settle(w, f, &stack, (const char *)&stack);
    atomic_store_explicit(&f->state, HY_FIBER_RUNNING, memory_order_relaxed);
    w->current = f;
    if (WEAK_CASE == 10) {
        hyi_park_claimed(waiter);
        assert(given == 1);
        free(waiter);
    } else {
        hyi_waiter_init(&mine, HYI_WAIT_SLEEP);
        assert(hyi_park(&mine, HY_FOREVER) == -ECANCELED);
        atomic_store(&finished, true);
    }
    weak_end();
    return unused;
}

static void *stopper(void *unused)
{
    weak_worker_begin(1);
    atomic_store(&weak_rt.stop, 1);
    hyi_worker_service(&weak_worker[1]);
    weak_end();
    return unused;
}

static void init(void)
{
    weak_runtime_init();
    slot_init();
    if (WEAK_CASE == 4) {
        f->name = malloc(1);
        f->name[0] = 'f';
    }
    if (WEAK_CASE == 5) {
        atomic_store(&weak_worker[0].inbox, 0);
        assert(hyi_deque_push(&weak_worker[0].deque, f, 0) == 0);
    }
    if (WEAK_CASE >= 9) {
        f->flags = HY_FIBER_MIGRATE;
        atomic_init(&f->state, HY_FIBER_READY);
        assert(hyi_deque_push(&weak_worker[0].roaming, f, 0) == 0);
        waiter = malloc(sizeof(*waiter));
        hyi_waiter_init(waiter, HYI_WAIT_SLEEP); /* has given up */
        waiter->wake = hyi_wake_fiber;
        waiter->sleeper = f;
    }
    if (WEAK_CASE > 5 && WEAK_CASE < 9) {
        weak_rt.need_fence = WEAK_CASE == 6;
        weak_rt.spawns_slowly = weak_rt.need_fence;
        atomic_init(&f->worker, NULL);
        atomic_init(&f->life, weak_life(1, OTHER) & ~(uint64_t)HYI_LIFE_LIVE);
        atomic_init(&weak_rt.used_visible, OTHER + 1);
        for (unsigned i = 0; i < WEAK_WORKERS; i++)
            atomic_init(&weak_fiber[i].life, 0);
    }
}

int main(void)
{
    pthread_t t[3];
    int n = 0;

    init();
    pthread_create(&t[n++], NULL, owner, NULL);
    if (WEAK_CASE == 1 || WEAK_CASE == 2 || WEAK_CASE == 4)
        pthread_create(&t[n++], NULL, joiner, NULL);
    if (WEAK_CASE == 2)
        pthread_create(&t[n++], NULL, weak_clock, NULL);
    if (WEAK_CASE == 4)
        pthread_create(&t[n++], NULL, reader, NULL);
    if (WEAK_CASE == 3 || WEAK_CASE == 5 || WEAK_CASE == 8 || WEAK_CASE == 9)
        pthread_create(&t[n++], NULL, canceller, NULL);
    if (WEAK_CASE == 5 || WEAK_CASE >= 9)
        pthread_create(&t[n++], NULL, stealer, NULL);
    if (WEAK_CASE == 6 || WEAK_CASE == 7)
        pthread_create(&t[n++], NULL, stopper, NULL);
    while (n > 0)
        pthread_join(t[--n], NULL);
    if (WEAK_CASE == 3)
        assert(!(f->life & HYI_LIFE_CANCELLED) && hyi_generation(f->life) == 2);
    if (WEAK_CASE == 6 || WEAK_CASE == 7)
        assert((f->life & HYI_LIFE_CANCELLED) != 0);
    return 0;
}
