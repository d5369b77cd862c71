/*
 * weak_worker.h - workers for models: worker.c, queues.c, inbox.c, parker.c,
 * hop.c, idle.c, wheel.c, table.c and fiber.c as they are. Each worker is a
 * thread of the model, with one fiber that runs from the start.
 *
 *      parker_park -> go -> hop -> weak_hop, as the base: pick, idle, pick ...
 *                                      the fiber is picked: back, all the way
 *
 * Where the real hop changes stacks this one calls: there is one fiber on a
 * worker, so the base's loop can run inside that fiber's hop.
 */
#ifndef WEAK_WORKER_H
#define WEAK_WORKER_H

#define WEAK_LOCK
#include "weak.h"

#define hy_arch_hop weak_hop
static void weak_hop(void **from, void *to, void *(*main)(void));

#include "../../lib/runtime/hop.c"

#include "../../lib/runtime/queues.c"

#include "../../lib/runtime/inbox.c"

#include "../../lib/runtime/parker.c"

#include "../../lib/runtime/worker.c"

#undef hy_arch_pause
#define hy_arch_pause() break /* looks before the sleep: the last will do */
#include "../../lib/runtime/idle.c"
#undef hy_arch_pause

#include "../../lib/runtime/wheel.c"

/* In hyi_fiber_unlocked, whose loop counts and so would never end. */
#define hy_arch_pause() weak_await_unlocked(f)
static inline void weak_await_unlocked(const struct hyi_fiber *f)
{
    while (__c11_atomic_load(&f->life, memory_order_relaxed) & HYI_LIFE_LOCKED)
        ;
    weak_be_back();
}

#include "../../lib/runtime/table.c"

#include "../../lib/runtime/fiber.c"

#include "../../lib/base/park.c"

struct hyi_process hyi_process;
_Thread_local uintptr_t hyi_thread_token_known;

static hy_runtime weak_rt;
static struct hyi_stacks weak_stacks;
static struct hyi_worker weak_worker[WEAK_WORKERS];
#ifdef WEAK_TABLE
static struct hyi_fiber *weak_fiber; /* the first segment of the table */
#else
static struct hyi_fiber weak_fiber[WEAK_WORKERS];
#endif
static int weak_worker_errno[WEAK_WORKERS];

bool hyi_stack_trim(struct hyi_stacks *s, size_t keep_bytes)
{
    (void)s;
    (void)keep_bytes;
    return false;
}

/* Nobody observes. */
bool hyi_is_observed(const struct hyi_worker *w)
{
    (void)w;
    return false;
}

void hyi_observe_sleep(struct hyi_worker *w)
{
    (void)w;
}

void hyi_observe_awake(struct hyi_worker *w)
{
    (void)w;
}

void hyi_observe_steal(struct hyi_worker *w, const struct hyi_fiber *f)
{
    (void)w;
    (void)f;
}

/* What a scenario has a worker do before it looks for something to run. */
#ifndef WEAK_BASE
#define WEAK_BASE(w) ((void)(w))
#endif

/* And when there is nothing: it lies down or, with WEAK_SLEEPLESS, where that
   would take too long, waits for a post. */
static bool weak_idle(struct hyi_worker *w)
{
#ifdef WEAK_SLEEPLESS
    weak_be_quiet();
    while (atomic_load_explicit(&w->inbox, memory_order_relaxed) == 0)
        ;
    weak_be_back();
    return true;
#else
    return hyi_worker_idle(w);
#endif
}

static void weak_hop(void **from, void *to, void *(*main)(void))
{
    struct hyi_worker *w = hyi_worker_self;
    struct hyi_fiber *f;

    (void)to;
    assert(main == NULL);
    if (w->current != &w->base)
        return;
    WEAK_BASE(w);
    while ((f = pick(w)) == NULL)
        assert(weak_idle(w));
    assert(from == &f->sp);
    go(w, f);
}

static uint64_t weak_life(uint64_t generation, uint64_t index)
{
    return generation << HYI_GENERATION_SHIFT | index << HYI_LIFE_FLAGS_LOG2 |
           HYI_LIFE_LIVE;
}

#ifdef WEAK_TABLE
/* Zero, field by field: GenMC tells apart how memory was written. */
static void weak_slot_init(struct hyi_fiber *f, uint64_t index)
{
    f->sp = NULL;
    atomic_init(&f->waiter, NULL);
    atomic_init(&f->worker, NULL);
    atomic_init(&f->stack, NULL);
    atomic_init(&f->switches, 0);
    f->top = 0;
    atomic_init(&f->peak, 0);
    atomic_init(&f->state, 0);
    f->class = f->result = f->flags = 0;
    f->shield = 0;
    f->pinned = f->cancellable = f->woken = false;
    atomic_init(&f->posted, 0);
    atomic_init(&f->wait, 0);
    f->error = 0;
    atomic_init(&f->life, weak_life(1, index));
    f->joiners = NULL;
    f->link = 0;
    f->next = NULL;
    f->name = NULL;
    f->timer.deadline = 0;
    f->timer.next = f->timer.prev = NULL;
    atomic_init(&hyi_fiber_agent(f)->waits, 0);
    atomic_init(&hyi_fiber_agent(f)->joined, 0);
    atomic_init(&f->life, 0);
}
#endif

static void weak_runtime_init(void)
{
#ifdef WEAK_TABLE
    weak_fiber = aligned_alloc(HYI_LINE_BYTES, segment_bytes(0));
    for (int i = 0; i < WEAK_TABLE; i++)
        weak_slot_init(&weak_fiber[i], (uint64_t)i);
    atomic_init(&weak_rt.table[0], weak_fiber);
    atomic_init(&hyi_process.runtime[0], &weak_rt);
    weak_rt.fibers_max = HYI_FIBERS_MOST;
    weak_rt.slots_kept = 4;
#endif
    weak_rt.stacks = &weak_stacks;
    weak_rt.worker = weak_worker;
    weak_rt.worker_count = WEAK_WORKERS;
    atomic_init(&weak_rt.active, WEAK_WORKERS);
    atomic_init(&weak_rt.phase, HYI_PHASE_RUN);
    for (unsigned i = 0; i < WEAK_WORKERS; i++) {
        struct hyi_worker *w = &weak_worker[i];
        struct hyi_fiber *f = &weak_fiber[i];

        w->rt = &weak_rt;
        w->index = i;
        w->current = f;
        w->errno_at = &weak_worker_errno[i];
        w->cxx = &w->no_cxx;
        w->usual = &w->pool[0];
        w->tick = TICK;
        atomic_init(&w->spawned, 1);
        atomic_init(&f->life, weak_life(1, i));
        atomic_init(&f->worker, w);
        atomic_init(&f->state, HY_FIBER_RUNNING);
    }
}

static void weak_worker_begin(unsigned index)
{
    weak_begin(index);
    hyi_worker_self = &weak_worker[index];
    hyi_parker_self = &hyi_worker_parker;
}

static void weak_worker_end(unsigned index)
{
    free(weak_worker[index].ready.ring);
    weak_end();
}

#endif
