/*
 * weak_table.c - the table of fibers (table.c, fiber.c) while it grows, and
 * those who look into it: by a handle, at all of them, in a stop's walk; a
 * worker that gets a post for a slot whose fiber is at another worker by now;
 * the table's end.
 *
 *      WEAK_CASE   one                             another
 *      1           spawns the table's first        lists the fibers
 *      2           the same                        a stop's walk
 *      3           the same                        cancels it by its handle
 *      4           makes a runtime                 looks for a fiber of it
 *      5           starts a fiber, which parks     lists the fibers
 *      6           steals a fiber, which parks     takes the post of a cancel
 *                  shielded and ends; spawns the
 *                  next one in its slot for the
 *                  other, and cancels it
 *      7           the same, parked in a join      the same
 *      8           ends the runtime                cancels a fiber of it
 */
#define WEAK_TABLE   2
#define WEAK_WORKERS (WEAK_CASE == 6 || WEAK_CASE == 7 ? 2 : 1)
#define WEAK_BASE(w) in_the_meantime(w)
struct hyi_worker;
static void in_the_meantime(struct hyi_worker *w);
#include "weak_worker.h"

#undef hy_arch_pause
#define hy_arch_pause() __VERIFIER_assume(false)
#include "../../lib/runtime/waits.c"

static struct hyi_fiber *f;
static struct hyi_stack stack;
static struct hyi_waiter *waiter; /* goes with the fiber */
static _Atomic uint64_t handle;   /* given on without any order */

static void entry(void *unused)
{
    (void)unused;
}

/* A new mapping: the table's first segment. */
int hyi_os_reserve(void **out, size_t bytes, int protection, void *near,
                   bool fixed)
{
    struct hyi_fiber *base = aligned_alloc(HYI_LINE_BYTES, bytes);

    (void)protection;
    (void)near;
    (void)fixed;
    weak_slot_init(base, 0);
    *out = base;
    return 0;
}

/* Its life may be looked at for ever; nobody may post to it any more. */
int hyi_os_decommit(void *address, size_t bytes)
{
    struct hyi_fiber *base = address;

    (void)bytes;
    atomic_init(&base->posted, 0);
    atomic_store_explicit(&base->life, 0, memory_order_relaxed);
    return 0;
}

int hyi_stack_claim(struct hyi_stacks *s, unsigned class, unsigned count)
{
    (void)s;
    (void)class;
    (void)count;
    return 0;
}

/* What hy_fiber_spawn comes to: GenMC cannot copy its options. */
static void spawn(void)
{
    struct hyi_fiber *fresh;

    assert(make(&weak_rt, NULL, 0, NULL, &fresh) == 0);
    enliven(&weak_rt, fresh, hyi_worker_for(&weak_rt, NULL, -1), entry, NULL,
            0);
    look_for_stop(&weak_rt, fresh);
    hyi_worker_spawned(&weak_rt, NULL, fresh);
    atomic_store_explicit(&handle, (uint64_t)1 << HYI_GENERATION_SHIFT,
                          memory_order_relaxed);
}

/* As take_slot in runtime.c. */
static void publish(void)
{
    hy_runtime *rt = malloc(sizeof(*rt));

    rt->stale = false;
    atomic_init(&rt->cancelling, 0);
    atomic_init(&rt->table[0], NULL);
    atomic_store_explicit(&hyi_process.runtime[0], rt, memory_order_release);
}

/* The fiber's own thread wakes it. */
static void in_the_meantime(struct hyi_worker *w)
{
    (void)w;
    hyi_wake(waiter);
}

static void begin_here(struct hyi_worker *w)
{
    settle(w, f, &stack, (const char *)&stack);
    atomic_store_explicit(&f->state, HY_FIBER_RUNNING, memory_order_relaxed);
    hyi_current_set(w, f);
}

static void run_here(struct hyi_worker *w)
{
    begin_here(w);
    hyi_waiter_init(waiter, HYI_WAIT_SLEEP);
    assert(hyi_park(waiter, HY_FOREVER) == 0);
    free(waiter);
}

static void run_stolen(struct hyi_worker *w)
{
    waiter = malloc(sizeof(*waiter));
    hyi_current_set(w, &w->base);
    assert(steal(w) && pick(w) == f);
    if (WEAK_CASE == 6) {
        f->shield = 1;
        run_here(w);
    } else {
        begin_here(w);
        park_here(w, f, waiter);
        atomic_store_explicit(&f->state, HY_FIBER_RUNNING,
                              memory_order_relaxed);
        free(waiter);
    }
    hyi_current_set(w, &w->base);
    hyi_fiber_end(&weak_rt, w, f);
    assert(w->free == f);
    f->shield = 0;
    enliven(&weak_rt, f, &weak_worker[0], entry, NULL, 0);
    assert(cancel(f, 2) == 0);
}

static void *one(void *unused)
{
#if WEAK_CASE <= 3
    weak_begin(0);
    spawn();
#elif WEAK_CASE == 4
    weak_begin(0);
    publish();
#elif WEAK_CASE == 5
    weak_worker_begin(0);
    waiter = malloc(sizeof(*waiter));
    run_here(&weak_worker[0]);
#elif WEAK_CASE == 6 || WEAK_CASE == 7
    weak_worker_begin(1);
    run_stolen(&weak_worker[1]);
#else
    weak_begin(0);
    hyi_table_reset(&weak_rt);
#endif
    weak_end();
    return unused;
}

static int visit(const hy_fiber_info *info, void *unused)
{
    (void)unused;
    assert(info->state <= (WEAK_CASE == 5 ? HY_FIBER_PARKED : HY_FIBER_NEW));
    return 0;
}

static void cancel_it(void)
{
    hy_fiber fiber;
    int r;

    fiber.id = atomic_load_explicit(&handle, memory_order_relaxed);
    r = hy_fiber_cancel(fiber);
    assert(r == 0 || r == -ESRCH);
}

static void *another(void *unused)
{
#if WEAK_CASE == 1 || WEAK_CASE == 5
    weak_begin(1);
    assert(hy_fiber_each(&weak_rt, visit, NULL) == 0);
#elif WEAK_CASE == 2
    weak_begin(1);
    hyi_cancel_all(&weak_rt);
#elif WEAK_CASE == 6 || WEAK_CASE == 7
    weak_worker_begin(0);
    hyi_current_set(&weak_worker[0], &weak_worker[0].base);
    hyi_worker_service(&weak_worker[0]);
#else
    weak_begin(1);
    cancel_it();
#endif
    weak_end();
    return unused;
}

/* Slot 0 has the fiber, not yet started. */
static void fiber_init(void)
{
    f = &weak_fiber[0];
    atomic_init(&f->state, HY_FIBER_NEW);
    atomic_init(&weak_rt.used_visible, 1);
    weak_rt.used = 1;
    atomic_init(&handle, (uint64_t)1 << HYI_GENERATION_SHIFT);
    if (WEAK_CASE != 6 && WEAK_CASE != 7)
        return;
    atomic_init(&f->life, weak_life(1, 0) | HYI_LIFE_CANCELLED);
    atomic_init(&f->posted, HYI_POST_CANCEL);
    atomic_init(&weak_worker[0].inbox, (uintptr_t)f | LAST);
    assert(hyi_deque_push(&weak_worker[0].deque, f, 0) == 0);
}

int main(void)
{
    pthread_t t[2];

    weak_runtime_init();
    weak_rt.generation_first = 1;
    if (WEAK_CASE <= 3)
        atomic_init(&weak_rt.table[0], NULL);
    else if (WEAK_CASE == 4)
        atomic_init(&hyi_process.runtime[0], NULL);
    else
        fiber_init();
    if (WEAK_CASE == 4)
        atomic_init(&handle, (uint64_t)1 << HYI_GENERATION_SHIFT);
    pthread_create(&t[0], NULL, one, NULL);
    pthread_create(&t[1], NULL, another, NULL);
    pthread_join(t[0], NULL);
    pthread_join(t[1], NULL);
    if (WEAK_CASE == 8)
        assert(f->posted == 0);
    return 0;
}
