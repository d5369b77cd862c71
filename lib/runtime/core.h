/*
 * core.h - what a runtime is made of.
 *
 *      hy_runtime --+-- worker 0 --- ready ring, unstarted deque, wheel, inbox
 *                   +-- worker 1 --- ...
 *                   +-- table: slots of fibers, in segments that double
 *                   +-- stacks
 *
 *      a fiber's id:   | generation 34 | runtime slot 8 | index 22 |
 *      fiber.life:     | generation 34 | 4 zero bits | index 22 | flags 4 |
 *
 * Invariant: a handle names a live fiber exactly when the generations agree.
 * Slots, and runtime slots, are never freed: a handle may be looked up for
 * ever. After a runtime's end its table reads as zero, which no handle matches.
 *
 * A started fiber belongs to its worker: only that thread changes its fields,
 * moves it, or looks at the waiter on its stack. Others post to the inbox.
 */
#ifndef HYI_CORE_H
#define HYI_CORE_H

#include <hyperion/fiber.h>
#include <hyperion/runtime.h>

#include <pthread.h>
#include <stdatomic.h>

#include "arch.h"
#include "bits.h"
#include "check.h"
#include "deque.h"
#include "lock.h"
#include "os.h"
#include "park.h"
#include "process.h"
#include "stack.h"
#include "thread.h"
#include "wheel.h"

enum {
    HYI_INDEX_BITS = 22,
    HYI_RUNTIME_BITS = 8,
    HYI_GENERATION_SHIFT = HYI_INDEX_BITS + HYI_RUNTIME_BITS,
    HYI_FIBERS_MOST = 1 << HYI_INDEX_BITS,
    HYI_WORKERS_MOST = 256,
    HYI_TABLE_FIRST_LOG2 = 12,
    HYI_TABLE_SEGMENTS = HYI_INDEX_BITS - HYI_TABLE_FIRST_LOG2 + 1,
    HYI_NAME_BYTES = 32,
    HYI_CLAIM_CHUNK = 32
};
#define HYI_GENERATION_LAST (((uint64_t)1 << 34) - 1)

/* Flags of fiber.life. Whoever holds LOCKED may store the word; the others
   change it by compare-exchange, and only while it is not locked. */
enum {
    HYI_LIFE_LOCKED = 1, /* somebody looks at the joiners or the name */
    HYI_LIFE_JOINED = 2, /* joiners is not empty */
    HYI_LIFE_CANCELLED = 4,
    HYI_LIFE_LIVE = 8,
    HYI_LIFE_FLAGS_LOG2 = 4
};

/* Bits of fiber.posted: why it stands in an inbox, if not for a wake. */
enum { HYI_POST_CANCEL = 1, HYI_POST_SPAWN = 2 };

/* In fiber.flags, beside enum hy_fiber_flag: has a hyi_fiber_extra; has a
   canary below its stack that is looked at; is where it must not wait; is a
   worker's base. */
enum {
    HYI_FIBER_EXTRA = 0x80,
    HYI_FIBER_CANARY = 0x40,
    HYI_FIBER_CRITICAL = 0x20,
    HYI_FIBER_BASE = 0x10
};

struct hyi_worker;
struct hyi_observer;

struct hyi_fiber {
    /* First line: what a switch touches. */
    union {
        void *sp;              /* once it has a stack; */
        void *_Atomic sp_seen; /* by others */
        void (*entry)(void *arg);
    };
    union {
        struct hyi_waiter *_Atomic waiter; /* parked on; its worker's alone */
        void *arg;
    };
    struct hyi_worker *_Atomic worker; /* known before the fiber is LIVE */
    struct hyi_stack *_Atomic stack;
    uint64_t _Atomic switches;
    uint32_t top;           /* low half of the stack's upper end */
    uint32_t _Atomic peak;  /* most bytes seen in use at a switch */
    _Atomic uint8_t state;  /* enum hy_fiber_state, 0 when free */
    uint8_t class;          /* of its stack */
    uint8_t result;         /* errno value of the last park, or 0 */
    uint8_t flags;          /* enum hy_fiber_flag */
    uint16_t shield;        /* depth */
    bool pinned;            /* spawned for one worker */
    bool cancellable;       /* the park under way */
    bool woken;             /* ready after a wait, not after a yield */
    _Atomic uint8_t posted; /* HYI_POST_..., partner: drain in inbox.c */
    _Atomic uint8_t wait;   /* enum hyi_wait, while parked */
    uint8_t critical;       /* depth; HYI_FIBER_CRITICAL when it is not 0 */
    int error;              /* errno, while it does not run */

    /* Second line. */
    _Atomic uint64_t life;
    struct hyi_waiter *joiners; /* under HYI_LIFE_LOCKED */
    uintptr_t link;             /* behind whom it stands in an inbox */
    struct hyi_fiber *next;     /* in a list of its worker, or of free slots */
    char *name;                 /* under HYI_LIFE_LOCKED; NULL = none */
    union {
        struct hyi_timer timer;
        uint64_t spawned; /* unstarted and observed: ticks or virtual ns, and in
                             bit 0 whether a worker has told of it */
    };
};

_Static_assert(sizeof(struct hyi_fiber) == 128 || sizeof(void *) != 8,
               "a slot is two lines, so that a switch touches one");

/* At the top of a stack, when the fiber is observed (observer.h) or has a
   floating-point environment of its own. */
struct hyi_fiber_extra {
    _Atomic uint64_t run_ns, wait_ns, delay_ns;
    uint64_t since;    /* ticks: when it began what it does */
    uint64_t woken_at; /* ticks: by another thread; 0 = not */
    bool away;         /* its turn has ended */
    uint64_t fp_env;
};

/* What libstdc++ and libc++ keep for a thread's exceptions (Itanium C++ ABI,
   2.2.2): the stack of caught ones and the count of uncaught ones. */
struct hyi_cxx_globals {
    void *caught;
    unsigned uncaught;
};

/* One that is ready (turn.h). */
struct hyi_turn {
    uintptr_t fiber;   /* | HYI_TURN_IN_SLOT: the rest but sp is there */
    void *sp;          /* where it goes on; of one in its slot, about */
    int error;         /* errno, while it does not run */
    uint32_t switches; /* not in its slot's count yet */
    /* Low halves of addresses: of its lowest stack pointer meanwhile, and, in
       the high half, of a dense stack's lower end, or 0. One word, since a load
       of two that were stored apart has to wait for both. */
    uint64_t depths;
};

_Static_assert(sizeof(struct hyi_turn) == 32 || sizeof(void *) != 8,
               "two turns are a line");

struct hyi_ready {
    struct hyi_turn *ring; /* count of a power of two; NULL at first */
    uint32_t mask;
    _Atomic uint32_t head, tail; /* the owner's; others count what is ready */
    struct hyi_fiber *spill_first, *spill_last; /* when it could not grow */
};

/* How many are in the ring; by any thread. */
static inline uint32_t hyi_ready_count(const struct hyi_ready *q)
{
    uint32_t head, tail;
    int tries = 4;

    /* Of one moment, as a rule: the owner may go on between two loads. */
    do {
        head = atomic_load_explicit(&q->head, memory_order_relaxed);
        tail = atomic_load_explicit(&q->tail, memory_order_relaxed);
    } while (head != atomic_load_explicit(&q->head, memory_order_relaxed) &&
             --tries > 0);
    return (int32_t)(tail - head) > 0 ? tail - head : 0;
}

struct hyi_worker {
    /* For ever: a waker that is late may still look, after the runtime's end.
       So workers are never freed, and sleep is never reset but by exchange. */
    hy_runtime *rt;
    unsigned index;
    struct hyi_worker *older;           /* of worker 0: the array it replaced */
    _Atomic uint32_t sleep HYI_ALIGNED; /* HYI_AWAKE ... */

    /* The owner's alone; zero at each start of a runtime. */
    struct hyi_turn here HYI_ALIGNED; /* of the last plain turn (turn.h) */
    union {
        struct hyi_fiber *current; /* &base while in the scheduler */
        struct hyi_fiber *_Atomic current_seen; /* by others */
    };
    unsigned tick;             /* picks left until timers are looked at */
    unsigned streak;           /* picks in a row from the preferred queue */
    bool newest_first;         /* unstarted fibers: a tree is being walked */
    uint32_t woken;            /* fibers among the ready that were woken */
    struct hyi_fiber *put_off; /* for want of a thread: its start was told */
    bool special;           /* bounded, simulated or observed: pick_special */
    bool plain;             /* a yield need not look at what is_plain does */
    bool bounded;           /* in hy_runtime_poll: pick may say no more, */
    bool bound_reached;     /* and did; */
    unsigned picks_left;    /* after so many picks (0: no limit), */
    hy_deadline poll_until; /* or at this time */
    int *errno_at;
    struct hyi_cxx_globals *cxx;   /* the thread's, */
    struct hyi_cxx_globals no_cxx; /* or, without a C++ runtime, this */
    struct hyi_stack_note *left;   /* the stack that was just switched from */
    struct hyi_stack *in_hand;     /* of one that has ended: in no pool yet */
    uint64_t fp_env;               /* of the fibers without one of their own */
    struct hyi_ready ready;
    bool roams;                /* there may be something in roaming, */
    bool roams_turn;           /* which is due before all others */
    struct hyi_fiber *yielded; /* roaming, has just left for the base */
    struct hyi_fiber *fixed_first, *fixed_last; /* unstarted, for this worker */
    struct hyi_fiber *free;                     /* slots */
    unsigned free_count;
    struct hyi_observer *observer; /* NULL: observes nothing */
    uint64_t virtual_now;
    uint64_t random;
    struct hyi_stack_pool pool[HYI_STACK_CLASSES];
    struct hyi_stack_pool *usual; /* of stacks of the runtime's default size */
    struct hyi_fiber base;        /* stands for the thread's own stack, */
    struct hyi_fiber last;        /* and for one whose fiber has ended */
    struct hyi_stack_note base_note;
    struct hyi_wheel wheel;
    pthread_t thread;
    bool thread_runs;

    /* Counted by the owner, read by all. */
    _Atomic uint64_t spawned, ended, switches, steals;
    _Atomic uint64_t parked[HYI_WAITS]; /* by reason */

    /* The owner's: who was first in the deque, for how many services. */
    int64_t oldest;
    unsigned oldest_waits;

    /* Written by others. */
    struct hyi_deque deque HYI_ALIGNED;
    struct hyi_deque roaming HYI_ALIGNED; /* ready, with HY_FIBER_MIGRATE */
    _Atomic uintptr_t inbox HYI_ALIGNED;  /* the newest letter, or 0 */
};

/* Values of worker.sleep; whoever finds more than AWAKE wakes it. */
enum { HYI_AWAKE, HYI_ASLEEP, HYI_OUTSIDE /* of hy_runtime_poll */ };

/* How a runtime is driven. */
enum hyi_phase {
    HYI_PHASE_NONE,
    HYI_PHASE_RUN,
    HYI_PHASE_START,
    HYI_PHASE_POLL,
    HYI_PHASE_ENDED
};

struct hyi_at_destroy {
    void (*function)(void *arg);
    void *arg;
    struct hyi_at_destroy *next;
};

struct hy_runtime {
    unsigned slot;                            /* in hyi_process.runtime */
    const struct hyi_debugger_word *debugger; /* read by debuggers alone */
    bool in_use;                              /* under HYI_LOCK_RUNTIME */
    bool stale; /* in a child of fork: the parent's */
    unsigned worker_count;
    _Atomic unsigned active; /* of them; 1 when polled */
    unsigned flags;
    unsigned fiber_flags; /* that every fiber gets */
    bool spawns_slowly;   /* with such a flag, or a fence */
    size_t stack_bytes, fibers_max;
    unsigned slots_kept; /* by a worker at most; 0: fibers_max is exact */
    unsigned class;      /* of a default stack */
    uint64_t seed;
    hy_report report;
    char name[HYI_NAME_BYTES];
    struct hyi_worker *worker; /* worker_count of them */
    unsigned worker_room;      /* that the array has; it is kept */
    struct hyi_stacks *stacks;

    _Atomic int phase;        /* enum hyi_phase */
    _Atomic int stop;         /* 0, 1 asked for, 2 all fibers are cancelled */
    _Atomic int over;         /* 0, 1 all ended, or -EDEADLK */
    bool need_fence;          /* no membarrier: a spawn fences */
    bool offloads;            /* has offloaded; under the lock of offload.c */
    bool watches_words;       /* the same of word_watch.c */
    _Atomic unsigned outside; /* fibers whose calls others make for them */

    struct hyi_lock idle_lock; /* changes of idle, and the last one's look */
    _Atomic unsigned idle HYI_ALIGNED;
    _Atomic unsigned waking; /* 1: an idle worker is on its way to search */

    struct hyi_lock table_lock HYI_ALIGNED; /* free, used, out */
    struct hyi_fiber *free;
    size_t used; /* slots ever handed out */
    size_t out;  /* slots not in the free list */
    _Atomic uint64_t foreign_spawned;
    _Atomic unsigned next_worker;
    _Atomic size_t used_visible;
    uint64_t generation_first; /* of slots that read as zero */
    _Atomic(struct hyi_fiber *) table[HYI_TABLE_SEGMENTS];

    _Atomic bool tracing; /* in hy_runtime_trace */

    struct hyi_lock wait_lock; /* waiters */
    struct hyi_waiter *waiters;
    struct hyi_at_destroy *at_destroy; /* under wait_lock, the latest first */
    unsigned threads_left;             /* of hy_runtime_start */

    struct hyi_os_event event; /* of hy_runtime_fd; fd 0 = none */
    _Atomic bool has_event;
    _Atomic unsigned signalling; /* threads about to write to the event */
    _Atomic unsigned cancelling; /* threads inside hy_fiber_cancel */

    struct hyi_sim *sim; /* the run of hy_sim_run that this is (sim.c) */
};

extern _Thread_local struct hyi_worker *hyi_worker_self
    __attribute__((tls_model("initial-exec")));

/* The running fiber, or NULL on a plain thread. */
static inline struct hyi_fiber *hyi_fiber_running(void)
{
    struct hyi_worker *w = hyi_worker_self;

    return w == NULL || w->current == &w->base ? NULL : w->current;
}

static inline void hyi_current_set(struct hyi_worker *w, struct hyi_fiber *f)
{
    atomic_store_explicit(&w->current_seen, f, memory_order_relaxed);
}

static inline uint64_t hyi_generation(uint64_t life_or_id)
{
    return life_or_id >> HYI_GENERATION_SHIFT;
}

static inline hy_fiber hyi_fiber_id(const hy_runtime *rt, uint64_t life)
{
    return (hy_fiber){hyi_generation(life) << HYI_GENERATION_SHIFT |
                      (uint64_t)rt->slot << HYI_INDEX_BITS |
                      (life >> HYI_LIFE_FLAGS_LOG2 & (HYI_FIBERS_MOST - 1))};
}

/* A counter of the owner that others read. */
static inline void hyi_count(_Atomic uint64_t *counter)
{
    hy_arch_count(counter);
}

static inline struct hyi_fiber_extra *
hyi_extra_on(const struct hyi_stack *stack)
{
    return (struct hyi_fiber_extra *)(void *)(hyi_stack_top(stack) -
                                              sizeof(struct hyi_fiber_extra));
}

/* Of a started fiber with HYI_FIBER_EXTRA. */
static inline struct hyi_fiber_extra *hyi_extra_of(const struct hyi_fiber *f)
{
    return hyi_extra_on(atomic_load_explicit(&f->stack, memory_order_relaxed));
}

static inline bool hyi_fiber_is_cancelled(const struct hyi_fiber *f)
{
    /* Partner: the compare-exchange in hy_fiber_cancel. */
    return f->shield == 0 &&
           (atomic_load_explicit(&f->life, memory_order_seq_cst) &
            HYI_LIFE_CANCELLED) != 0;
}

/* --- debugger.c -------------------------------------------------------------
 */

/* A name, and a number or a pointer. bytes: of a field at that offset, or 0. */
struct hyi_debugger_word {
    char name[28];
    uint32_t bytes;
    union {
        uintptr_t number;
        const void *pointer;
    };
};

extern const struct hyi_debugger_word hyi_debugger_words[];

/* --- table.c ----------------------------------------------------------------
 */

/* How many free slots a worker may keep. */
unsigned hyi_slots_kept(size_t fibers_max, unsigned workers);

/* A free slot for a fiber spawned by the worker, or by a thread (NULL). */
int hyi_slot_take(hy_runtime *rt, struct hyi_worker *w, struct hyi_fiber **out);
void hyi_slot_give(hy_runtime *rt, struct hyi_worker *w, struct hyi_fiber *f);

/* What a fiber waits for (waits.h): behind the slots of a segment there is one
   agent for each. Of a slot with this life, which is not zero. */
static inline struct hyi_agent *hyi_fiber_agent_of(const struct hyi_fiber *f,
                                                   uint64_t life)
{
    size_t index = life >> HYI_LIFE_FLAGS_LOG2 & (HYI_FIBERS_MOST - 1);
    unsigned log2 = HYI_TABLE_FIRST_LOG2;

    if (HYI_UNLIKELY(index >> HYI_TABLE_FIRST_LOG2 != 0)) {
        log2 = hyi_log2_floor(index);
        index -= (size_t)1 << log2;
    }
    f += ((size_t)1 << log2) - index;
    return (struct hyi_agent *)(uintptr_t)f + index;
}

/* A slot that reads as zero, after its runtime's end, has none. Any pointer to
   a slot will do, however old. */
static inline struct hyi_agent *hyi_fiber_agent(const struct hyi_fiber *f)
{
    uint64_t life = atomic_load_explicit(&f->life, memory_order_relaxed);

    return hyi_generation(life) == 0 ? NULL : hyi_fiber_agent_of(f, life);
}

static inline struct hyi_fiber *hyi_fiber_at(hy_runtime *rt, size_t index)
{
    size_t group = index >> HYI_TABLE_FIRST_LOG2;
    unsigned segment = 0;
    struct hyi_fiber *base;

    if (group != 0) {
        segment = hyi_log2_floor(group) + 1;
        index -= (size_t)1 << (HYI_TABLE_FIRST_LOG2 + segment - 1);
    }
    /* Acquire: pairs with the release in fresh_slot. */
    base = atomic_load_explicit(&rt->table[segment], memory_order_acquire);
    return base == NULL ? NULL : base + index;
}

/* The slot that an id names, NULL when there was never one. */
static inline struct hyi_fiber *hyi_fiber_find(hy_fiber fiber, hy_runtime **out)
{
    unsigned slot =
        (unsigned)(fiber.id >> HYI_INDEX_BITS) & ((1u << HYI_RUNTIME_BITS) - 1);
    /* Acquire: pairs with the release in hy_runtime_init. */
    hy_runtime *rt =
        atomic_load_explicit(&hyi_process.runtime[slot], memory_order_acquire);

    if (rt == NULL)
        return NULL;
    *out = rt;
    return hyi_fiber_at(rt, (size_t)fiber.id & (HYI_FIBERS_MOST - 1));
}

/* Takes the slot's lock if it still holds the generation. */
bool hyi_fiber_lock(struct hyi_fiber *f, uint64_t generation);
void hyi_fiber_unlock(struct hyi_fiber *f);

/* The slot's life once nobody holds its lock. Acquire: pairs with the release
   of the unlock. */
uint64_t hyi_fiber_unlocked(const struct hyi_fiber *f);

/* Ends a fiber: its handle is void from here on, its slot free, its joiners
   are woken. */
void hyi_fiber_end_slowly(hy_runtime *rt, struct hyi_worker *w,
                          struct hyi_fiber *f);

/* The word of a slot whose fiber has ended. */
static inline uint64_t hyi_life_after(uint64_t life)
{
    return (life & ~(uint64_t)((1 << HYI_LIFE_FLAGS_LOG2) - 1)) +
           ((uint64_t)1 << HYI_GENERATION_SHIFT);
}

/* Nobody looks at the fiber, and it has neither joiners nor a name: its handle
   is void then. A name is read under the lock, so it is freed under the lock.
   Release: what the fiber did is seen by whoever finds it ended. */
static inline bool hyi_fiber_end_unseen(struct hyi_fiber *f, uint64_t life,
                                        uint64_t after)
{
    return f->name == NULL && !(life & (HYI_LIFE_LOCKED | HYI_LIFE_JOINED)) &&
           atomic_compare_exchange_strong_explicit(&f->life, &life, after,
                                                   memory_order_acq_rel,
                                                   memory_order_relaxed);
}

/* The same, straight where there is nothing special about it: nobody waits for
   the end, and the worker has room for the slot, which can be used again. */
static inline void hyi_fiber_end(hy_runtime *rt, struct hyi_worker *w,
                                 struct hyi_fiber *f)
{
    uint64_t life = atomic_load_explicit(&f->life, memory_order_relaxed);
    uint64_t after = hyi_life_after(life);

    atomic_store_explicit(&f->state, 0, memory_order_relaxed);
    if (HYI_UNLIKELY(w->free_count >= rt->slots_kept ||
                     after >= HYI_GENERATION_LAST << HYI_GENERATION_SHIFT ||
                     !hyi_fiber_end_unseen(f, life, after))) {
        hyi_fiber_end_slowly(rt, w, f);
        return;
    }
    f->next = w->free;
    w->free = f;
    w->free_count++;
}

/* Empties the table of a runtime that ends. */
void hyi_table_reset(hy_runtime *rt);

/* --- worker.c ---------------------------------------------------------------
 */

void hyi_worker_init(struct hyi_worker *w, hy_runtime *rt, unsigned index);
void hyi_worker_deinit(struct hyi_worker *w);

/* Makes the calling thread the worker, and undoes it. */
struct hyi_entry {
    struct hyi_worker *worker;
    const struct hyi_parker *parker;
};
void hyi_worker_enter(struct hyi_worker *w, struct hyi_entry *before);
void hyi_worker_leave(struct hyi_worker *w, const struct hyi_entry *before);

/* The calling thread is no worker's any more. */
void hyi_worker_forget(void);

/* Runs fibers until none is ready, or the bound of a poll is reached. */
void hyi_worker_run(struct hyi_worker *w);

void hyi_yield(struct hyi_worker *w);

/* The current fiber, which somebody will make ready, goes: the next one runs.
   Returns when its turn comes. */
void hyi_worker_next(struct hyi_worker *w);

/* The same for one that roams. It may be continued by another worker. */
void hyi_leave_for_base(struct hyi_worker *w);

/* hy_fiber_join on a worker, without a deadline, of the newest in its deque,
   whose cell this is: in place, if nothing speaks against it. */
int hyi_join_newest(struct hyi_worker *w, const struct hyi_deque_cell *newest,
                    hy_fiber fiber);

/* The same in all cases. */
int hyi_join_any(hy_fiber fiber, hy_deadline until);

uint64_t hyi_worker_now(struct hyi_worker *w);
uint64_t hyi_random(struct hyi_worker *w);

/* --- parker.c ---------------------------------------------------------------
 */

extern const struct hyi_parker hyi_worker_parker;

/* word_watch.c: wait_word of fibers (park.h). */
int hyi_words_wait(const _Atomic uint32_t *word, uint32_t expected,
                   hy_deadline until);

/* Of a waiter that is a fiber: makes it ready. */
void hyi_wake_fiber(struct hyi_waiter *waiter);

/* --- queues.c ---------------------------------------------------------------
 */

/* An unstarted fiber that nobody may steal. */
void hyi_worker_fix(struct hyi_worker *w, struct hyi_fiber *f);

/* A ready fiber that was taken from another worker. */
void hyi_worker_adopt(struct hyi_worker *w, struct hyi_fiber *f);

/* --- inbox.c ----------------------------------------------------------------
 */

/* Puts the reason into the inbox of the fiber's worker. */
void hyi_post(struct hyi_fiber *f, unsigned reason);

/* The same for a wake: the waiter was found parked, at its home. */
void hyi_post_wake(struct hyi_waiter *waiter);

/* Gives what stands in the inbox of a worker without a thread to whom it may
   concern: unstarted fibers to worker 0. */
void hyi_worker_redirect(struct hyi_worker *w);

/* Has each choice of a fiber looked at, if there is a reason to. */
void hyi_worker_look(struct hyi_worker *w);

/* Inbox, timers, a stop that was asked for. */
void hyi_worker_service(struct hyi_worker *w);

/* Which worker gets an unstarted fiber; w is the caller's, or NULL. target: a
   worker's index, or -1 for any. */
struct hyi_worker *hyi_worker_for(hy_runtime *rt, struct hyi_worker *w,
                                  int target);

/* Hands an unstarted fiber over to its worker; w is the caller's, or NULL. */
void hyi_worker_spawned(hy_runtime *rt, struct hyi_worker *w,
                        struct hyi_fiber *f);

/* --- fiber.c ----------------------------------------------------------------
 */

/* Cancels every live fiber. */
void hyi_cancel_all(hy_runtime *rt);

/* --- idle.c -----------------------------------------------------------------
 */

/* Nothing to run: searches, sleeps. False: the runtime is over. */
bool hyi_worker_idle(struct hyi_worker *w);

/* There is something to steal: wakes a worker unless one is on its way. */
void hyi_notify(hy_runtime *rt);

/* The heavy half of hyi_notify and of hy_fiber_spawn's look at stop: what
   others stored before a load that is over is seen after this. */
void hyi_barrier(const hy_runtime *rt);

/* Whom to give a fiber spawned from outside: an idle worker, or the next. */
unsigned hyi_idle_worker(hy_runtime *rt);

/* The worker has lain down, and nobody waits for it: until it is woken, or
   until then, it gives back memory of free stacks above the watermark. */
void hyi_worker_trim(struct hyi_worker *w, hy_deadline until);

/* (S) Wakes a sleeping worker; false when it was awake. */
bool hyi_worker_kick(struct hyi_worker *w);

/* Spawned and not ended. */
uint64_t hyi_runtime_live(const hy_runtime *rt);

/* Tells the report callback who waits for what. */
void hyi_report_deadlock(hy_runtime *rt);

void hyi_report(const hy_runtime *rt, int level, const char *message);

#endif
