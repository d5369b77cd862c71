/*
 * sim_engine.c - simulated threads and the system below them (sim_engine.h).
 *
 *      thread 0   thread 1   thread 2      contexts on stacks of their own,
 *         |          |          |          one of which runs
 *         +-- point -+-- point -+          before each atomic: switch?
 *         |          |
 *      futex, mutex, join, clock, memory   simulated, by the linker's --wrap
 *
 * A seed decides all: at which points there is a switch, who goes on, whose
 * timeout comes early, and what the test draws. Three ways of deciding take
 * turns by the seed: a walk that switches at random with a mean distance of 2
 * to 32 points; and priorities with few changes (S. Burckhardt et al., "A
 * Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", ASPLOS
 * 2010), which find what needs few switches, but in the right places. In half
 * of the seeds a thread is now and then stalled for longer than others spin.
 *
 * Whoever waits is known to wait: when nobody can run and no deadline is left,
 * somebody was not woken. Time passes when all sleep, a little at each look,
 * and now and then up to a sleeper's deadline although others could run.
 *
 * Between two schedules everything is put back: memory came from an arena, the
 * library's process-wide state is one struct, and thread-local variables are
 * each thread's copy of the program's block of them. So a schedule can end
 * anywhere, and the next begins as the first did.
 *
 * Only sequentially consistent executions come about; weaker orders are the
 * models' matter.
 *
 * Invariant: one flow of control; everything here is touched by it alone, and
 * the thread-local block belongs to sim.at.
 * Upstream: sim_explore.c, the tests. Downstream: context.h.
 */
#include "sim_engine.h"

#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>

#include <hyperion/context.h>

#include "os.h"
#include "process.h"

enum {
    STACK_BYTES = 64 << 10,
    LOCAL_BYTES_MOST = 512, /* thread-local variables of the program */
    KEYS = 8,
    LOCKED_MOST = 16,
    POINTS_MOST = 200000,
    EARLY_ONE_IN = 32, /* switches at which a deadline may come early */
    NOW_STEP_NS = 40,
    ARENA_BYTES = 16 << 20,
    STALL_ONE_IN = 24, /* switches at which the thread is stalled, */
    STALL_MOST = 3000, /* for so many points: longer than anybody spins */
    CHANGES_MOST = 4,
    IN_A_ROW_MOST = 2000 /* points, by priorities: who spins must not starve
                            the one he waits for */
};
#define REGION_BYTES ((size_t)1 << 30)
#define CLOCK_BEGIN  ((uint64_t)1000000000)

enum state { FREE, RUNNABLE, ASLEEP, ENDED };

struct thread {
    hy_context context;
    enum state state;
    bool paused;    /* spins: others first */
    bool timed_out; /* the sleep that is over was */
    const void *on; /* what it sleeps for: a futex word, a mutex, a thread */
    const char *why, *here;
    hy_deadline until;
    uint64_t priority;
    uint64_t stalled; /* up to this point: the processor is somebody else's */
    void *(*entry)(void *arg);
    void *arg;
    int error; /* errno */
    void *specific[KEYS];
    char local[LOCAL_BYTES_MOST];
};

static struct {
    bool on;
    uint64_t random;
    uint64_t until_switch;         /* points */
    uint64_t planned;              /* the point where that was decided */
    uint64_t mean;                 /* of that; 0: by priorities */
    uint64_t change[CHANGES_MOST]; /* points where one's priority falls */
    unsigned changes;
    uint64_t lowest; /* priority given so far */
    uint64_t now;
    struct thread *at;
    struct thread thread[SIM_THREADS_MOST];
    unsigned threads;
    hy_context base;
    sigjmp_buf escape; /* from a crash */
    const void *locked[LOCKED_MOST];
    void (*destructor[KEYS])(void *);
    unsigned keys;
    bool no_barrier; /* the kernel has no membarrier */
    bool stalls;
    bool trace;
    char *arena, *arena_at, *region, *region_at;
    struct hyi_process process; /* as it was */
    char *local;                /* the program's block of thread-locals */
    size_t local_bytes;
    char local_first[LOCAL_BYTES_MOST];
    const struct sim_test *test;
    struct sim_result *result;
} sim;

static char stacks[SIM_THREADS_MOST][STACK_BYTES] __attribute__((aligned(64)));

/* --- numbers ----------------------------------------------------------------
 */

static uint64_t draw(void)
{
    uint64_t z = sim.random += 0x9e3779b97f4a7c15u; /* splitmix64 */

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t sim_draw(uint64_t limit)
{
    return draw() % limit;
}

/* --- the end of a schedule --------------------------------------------------
 */

static _Noreturn void leave(void)
{
    hy_context gone;

    sim.on = false;
    hy_context_switch(&gone, &sim.base, NULL);
    __builtin_unreachable();
}

static void keep_why(const char *format, va_list list)
{
    sim.result->failed = true;
    vsnprintf(sim.result->why, sizeof(sim.result->why), format, list);
}

void sim_fail(const char *format, ...)
{
    va_list list;

    sim.on = false;
    va_start(list, format);
    keep_why(format, list);
    va_end(list);
    leave();
}

static _Noreturn void fail_asleep(void)
{
    char text[360] = "";
    size_t length = 0;

    sim.on = false;
    for (unsigned i = 0; i < sim.threads; i++) {
        const struct thread *t = &sim.thread[i];

        if (t->state == ASLEEP && length < sizeof(text))
            length += (size_t)snprintf(text + length, sizeof(text) - length,
                                       "; thread %u: %s at %s", i, t->why,
                                       t->here != NULL ? t->here : "");
    }
    sim_fail("deadlock%s", text);
}

/* --- switching --------------------------------------------------------------
 */

static void plan_switch(void)
{
    sim.planned = sim.result->points;
    if (sim.mean != 0) {
        sim.until_switch = 1 + draw() % (2 * sim.mean);
        return;
    }
    sim.until_switch = IN_A_ROW_MOST;
    for (unsigned i = 0; i < sim.changes; i++)
        if (sim.change[i] > sim.result->points &&
            sim.change[i] - sim.result->points < sim.until_switch)
            sim.until_switch = sim.change[i] - sim.result->points;
}

static void go(struct thread *to)
{
    struct thread *from = sim.at;

    if (to == from)
        return;
    sim.result->switches++;
    sim.result->hash = (sim.result->hash ^ (uint64_t)(to - sim.thread + 1) ^
                        sim.result->points << 8) *
                       0x100000001b3u;
    if (sim.trace)
        fprintf(stderr, "%6llu: thread %d at %s -> thread %d at %s\n",
                (unsigned long long)sim.result->points,
                (int)(from - sim.thread), from->here, (int)(to - sim.thread),
                to->here != NULL ? to->here : "its begin");
    memcpy(from->local, sim.local, sim.local_bytes);
    memcpy(sim.local, to->local, sim.local_bytes);
    from->error = errno;
    sim.at = to;
    hy_context_switch(&from->context, &to->context, NULL);
    errno = from->error;
}

static void rouse(struct thread *t, bool timed_out)
{
    t->state = RUNNABLE;
    t->timed_out = timed_out;
    t->on = NULL;
    if (sim.mean == 0)
        sim.until_switch = 1; /* it may have the higher priority */
}

/* A sleeper's deadline comes. */
static bool pass_time(void)
{
    struct thread *first = NULL;

    for (unsigned i = 0; i < sim.threads; i++) {
        struct thread *t = &sim.thread[i];

        if (t->state == ASLEEP && t->until != HY_FOREVER &&
            (first == NULL || t->until < first->until))
            first = t;
    }
    if (first == NULL)
        return false;
    if (sim.now < first->until)
        sim.now = first->until;
    rouse(first, true);
    return true;
}

static bool can_run(const struct thread *t)
{
    return t->state == RUNNABLE && t->stalled <= sim.result->points;
}

/* Who is stalled for the shortest time, when all who could run are. */
static unsigned least_stalled(struct thread **out)
{
    unsigned count = 0;

    for (unsigned i = 0; i < sim.threads; i++) {
        struct thread *t = &sim.thread[i];

        if (t->state == RUNNABLE &&
            (count == 0 || t->stalled < out[0]->stalled)) {
            out[0] = t;
            count = 1;
        }
    }
    return count;
}

/* Whoever spins lets the others go first. */
static unsigned candidates(struct thread **out)
{
    unsigned count = 0;

    for (int pauses = 0; pauses < 2 && count == 0; pauses++)
        for (unsigned i = 0; i < sim.threads; i++)
            if (can_run(&sim.thread[i]) && (pauses || !sim.thread[i].paused))
                out[count++] = &sim.thread[i];
    return count != 0 ? count : least_stalled(out);
}

static struct thread *choose(void)
{
    struct thread *can[SIM_THREADS_MOST], *best;
    unsigned count;

    if (draw() % EARLY_ONE_IN == 0)
        pass_time();
    while ((count = candidates(can)) == 0)
        if (!pass_time())
            fail_asleep();
    for (unsigned i = 0; i < sim.threads; i++)
        sim.thread[i].paused = false;
    if (sim.mean != 0)
        return can[draw() % count];
    best = can[0];
    for (unsigned i = 1; i < count; i++)
        if (can[i]->priority > best->priority)
            best = can[i];
    return best;
}

static void reschedule(void)
{
    struct thread *next = choose();

    plan_switch();
    go(next);
}

static __attribute__((noinline)) void point_slowly(void)
{
    uint64_t at = sim.result->points;
    bool falls = at - sim.planned >= IN_A_ROW_MOST;

    for (unsigned i = 0; i < sim.changes; i++)
        falls |= sim.change[i] == at;
    if (falls)
        sim.at->priority = --sim.lowest;
    if (sim.stalls && draw() % STALL_ONE_IN == 0)
        sim.at->stalled = at + draw() % STALL_MOST;
    reschedule();
}

void sim_point(const char *here)
{
    if (!sim.on)
        return;
    sim.at->here = here;
    if (++sim.result->points > POINTS_MOST)
        sim_fail("no end after %d points; at %s", POINTS_MOST, here);
    if (--sim.until_switch == 0)
        point_slowly();
}

void sim_pause(const char *here)
{
    if (!sim.on)
        return;
    sim_point(here);
    sim.at->paused = true;
    if (sim.mean == 0)
        sim.at->priority = --sim.lowest;
    reschedule();
}

static bool sleep_on(const void *on, hy_deadline until, const char *why)
{
    struct thread *t = sim.at;

    t->state = ASLEEP;
    t->on = on;
    t->until = until;
    t->why = why;
    reschedule();
    return !t->timed_out;
}

/* In no order. */
static unsigned wake(const void *on, unsigned most)
{
    unsigned woken = 0, first = (unsigned)draw();

    for (unsigned i = 0; i < sim.threads && woken < most; i++) {
        struct thread *t = &sim.thread[(first + i) % sim.threads];

        if (t->state != ASLEEP || t->on != on)
            continue;
        rouse(t, false);
        woken++;
    }
    return woken;
}

/* --- threads ----------------------------------------------------------------
 */

static void call_destructors(struct thread *t)
{
    for (int round = 0; round < 4; round++)
        for (unsigned i = 0; i < sim.keys; i++) {
            void *value = t->specific[i];

            t->specific[i] = NULL;
            if (value != NULL && sim.destructor[i] != NULL)
                sim.destructor[i](value);
        }
}

static void thread_main(void *arg, void *value)
{
    struct thread *t = arg;

    (void)value;
    t->entry(t->arg);
    call_destructors(t);
    t->state = ENDED;
    wake(t, SIM_THREADS_MOST);
    reschedule();
    __builtin_unreachable();
}

static struct thread *add_thread(void *(*entry)(void *), void *arg)
{
    unsigned i = sim.threads;
    struct thread *t = &sim.thread[i];

    if (i == SIM_THREADS_MOST)
        sim_fail("more than %d threads", SIM_THREADS_MOST);
    memset(t, 0, offsetof(struct thread, local));
    memcpy(t->local, sim.local_first, sim.local_bytes);
    t->state = RUNNABLE;
    t->priority = draw() | (uint64_t)1 << 63;
    if (sim.mean == 0)
        sim.until_switch = 1;
    t->entry = entry;
    t->arg = arg;
    hy_context_make(&t->context, stacks[i], STACK_BYTES, thread_main, t);
    sim.threads++;
    return t;
}

static void join(struct thread *t)
{
    while (t->state != ENDED)
        sleep_on(t, HY_FOREVER, "joins a thread");
}

struct start {
    void (*entry)(void *arg);
    void *arg;
};

static void *call_start(void *arg)
{
    struct start *s = arg;

    s->entry(s->arg);
    return NULL;
}

int sim_start(void (*entry)(void *arg), void *arg)
{
    struct start *s = malloc(sizeof(*s));

    *s = (struct start){entry, arg};
    sim_point("a start");
    return (int)(add_thread(call_start, s) - sim.thread);
}

void sim_join(int thread)
{
    sim_point("a join");
    join(&sim.thread[thread]);
}

int __real_hyi_os_thread_start(void *, void *(*)(void *), void *);
int __real_pthread_join(pthread_t, void **);
int __wrap_hyi_os_thread_start(void *, void *(*)(void *), void *);
int __wrap_pthread_join(pthread_t, void **);

int __wrap_hyi_os_thread_start(void *thread, void *(*entry)(void *), void *arg)
{
    if (!sim.on)
        return __real_hyi_os_thread_start(thread, entry, arg);
    sim_point("a thread's start");
    *(pthread_t *)thread = (pthread_t)(add_thread(entry, arg) - sim.thread);
    return 0;
}

int __wrap_pthread_join(pthread_t thread, void **out)
{
    if (!sim.on)
        return __real_pthread_join(thread, out);
    sim_point("a thread's join");
    join(&sim.thread[thread]);
    return 0;
}

int __wrap_pthread_detach(pthread_t thread);
int __wrap_pthread_detach(pthread_t thread)
{
    (void)thread;
    return 0;
}

/* --- keys -------------------------------------------------------------------
 */

int __wrap_pthread_key_create(pthread_key_t *, void (*)(void *));
int __wrap_pthread_key_delete(pthread_key_t);
int __wrap_pthread_setspecific(pthread_key_t, const void *);
void *__wrap_pthread_getspecific(pthread_key_t);

int __wrap_pthread_key_create(pthread_key_t *out, void (*destructor)(void *))
{
    if (sim.keys == KEYS)
        return EAGAIN;
    sim.destructor[sim.keys] = destructor;
    *out = (pthread_key_t)sim.keys++;
    return 0;
}

int __wrap_pthread_key_delete(pthread_key_t key)
{
    sim.destructor[key] = NULL;
    return 0;
}

int __wrap_pthread_setspecific(pthread_key_t key, const void *value)
{
    union {
        const void *in;
        void *out;
    } u = {value};

    sim.at->specific[key] = u.out;
    return 0;
}

void *__wrap_pthread_getspecific(pthread_key_t key)
{
    return sim.at->specific[key];
}

/* --- mutexes ----------------------------------------------------------------
 */

int __real_pthread_mutex_lock(pthread_mutex_t *);
int __real_pthread_mutex_unlock(pthread_mutex_t *);
int __real_pthread_cond_broadcast(pthread_cond_t *);
int __wrap_pthread_mutex_lock(pthread_mutex_t *);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *);
int __wrap_pthread_cond_wait(pthread_cond_t *, pthread_mutex_t *);
int __wrap_pthread_cond_broadcast(pthread_cond_t *);

static const void **find_locked(const void *mutex)
{
    for (unsigned i = 0; i < LOCKED_MOST; i++)
        if (sim.locked[i] == mutex)
            return &sim.locked[i];
    return NULL;
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    const void **room;

    if (!sim.on)
        return __real_pthread_mutex_lock(mutex);
    sim_point("a mutex");
    while (find_locked(mutex) != NULL)
        sleep_on(mutex, HY_FOREVER, "locks a mutex");
    room = find_locked(NULL);
    if (room == NULL)
        sim_fail("more than %d mutexes are locked", LOCKED_MOST);
    *room = mutex;
    return 0;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    const void **at;

    if (!sim.on)
        return __real_pthread_mutex_unlock(mutex);
    sim_point("a mutex");
    at = find_locked(mutex);
    if (at == NULL)
        sim_fail("a mutex that is not locked was unlocked");
    *at = NULL;
    wake(mutex, 1);
    return 0;
}

int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    *find_locked(mutex) = NULL;
    wake(mutex, 1);
    sleep_on(cond, HY_FOREVER, "waits for a condition");
    return __wrap_pthread_mutex_lock(mutex);
}

int __wrap_pthread_cond_broadcast(pthread_cond_t *cond)
{
    if (!sim.on)
        return __real_pthread_cond_broadcast(cond);
    sim_point("a condition");
    wake(cond, SIM_THREADS_MOST);
    return 0;
}

/* --- clock and futex --------------------------------------------------------
 */

uint64_t __wrap_hyi_os_now(void);
int __wrap_hyi_os_futex_wait(const _Atomic uint32_t *, uint32_t, hy_deadline,
                             bool);
void __wrap_hyi_os_futex_wake(const _Atomic uint32_t *, unsigned, bool);
void __wrap_hyi_os_thread_yield(void);
int __wrap_hyi_os_barrier(void);
unsigned __wrap_hyi_os_cpu_count(void);

uint64_t __wrap_hyi_os_now(void)
{
    return sim.on ? sim.now += 1 + draw() % NOW_STEP_NS : CLOCK_BEGIN;
}

/* Between the look at the word and the sleep there is no point: the kernel has
   none there either. */
int __wrap_hyi_os_futex_wait(const _Atomic uint32_t *word, uint32_t expected,
                             hy_deadline until, bool shared)
{
    (void)shared;
    sim_point(sim.at->here);
    if (*word != expected)
        return -EAGAIN;
    if (draw() % EARLY_ONE_IN == 0)
        return -EINTR;
    return sleep_on(word, until, "sleeps") ? 0 : -ETIMEDOUT;
}

void __wrap_hyi_os_futex_wake(const _Atomic uint32_t *word, unsigned count,
                              bool shared)
{
    (void)shared;
    sim_point(sim.at->here);
    wake(word, count);
}

void __wrap_hyi_os_thread_yield(void)
{
    sim_pause(sim.at->here);
}

int __wrap_hyi_os_barrier(void)
{
    sim_point("a barrier");
    return sim.no_barrier ? -ENOTSUP : 0;
}

unsigned __wrap_hyi_os_cpu_count(void)
{
    return 1;
}

/* --- memory -----------------------------------------------------------------
 */

/* In front of each block. */
struct block {
    size_t bytes;
    size_t mark; /* BLOCK_LIVE or BLOCK_FREE */
    char pad[112];
};
#define BLOCK_LIVE ((size_t)0x6c697665)
#define BLOCK_FREE ((size_t)0x66726565)

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__real_aligned_alloc(size_t, size_t);
void __real_free(void *);
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);
void *__wrap_aligned_alloc(size_t, size_t);
void __wrap_free(void *);

/* Nothing is used twice: what was freed stays poisoned to the end. */
void *__wrap_malloc(size_t bytes)
{
    struct block *b = (struct block *)(void *)sim.arena_at;

    if (!sim.on)
        return __real_malloc(bytes);
    if (bytes > (size_t)(sim.arena + ARENA_BYTES - sim.arena_at) - sizeof(*b))
        sim_fail("the arena is full");
    sim.arena_at += sizeof(*b) + ((bytes + 127) & ~(size_t)127);
    b->bytes = bytes;
    b->mark = BLOCK_LIVE;
    memset(b + 1, 0xa5, bytes);
    return b + 1;
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    void *p;

    if (!sim.on)
        return __real_calloc(count, bytes);
    p = __wrap_malloc(count * bytes);
    memset(p, 0, count * bytes);
    return p;
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    if (!sim.on)
        return __real_aligned_alloc(alignment, bytes);
    if (alignment > sizeof(struct block))
        sim_fail("an alignment of %zu", alignment);
    return __wrap_malloc(bytes);
}

void __wrap_free(void *p)
{
    struct block *b = (struct block *)p - 1;

    if (!sim.on || p == NULL) {
        if ((char *)p < sim.arena || (char *)p >= sim.arena + ARENA_BYTES)
            __real_free(p);
        return;
    }
    if (b->mark != BLOCK_LIVE)
        sim_fail("freed twice, or never allocated");
    b->mark = BLOCK_FREE;
    memset(p, 0xdf, b->bytes);
}

void *__wrap_realloc(void *p, size_t bytes)
{
    void *q;

    if (!sim.on)
        return __real_realloc(p, bytes);
    q = __wrap_malloc(bytes);
    if (p != NULL) {
        size_t old = ((struct block *)p - 1)->bytes;

        memcpy(q, p, old < bytes ? old : bytes);
        __wrap_free(p);
    }
    return q;
}

int __wrap_hyi_os_reserve(void **, size_t, int, void *, bool);
int __wrap_hyi_os_release(void *, size_t);
int __wrap_hyi_os_guard(void *, size_t, size_t, size_t);
void __wrap_hyi_os_small_pages(void *, size_t);
int __wrap_hyi_fault_attach(void *, size_t, void *, void *);
void __wrap_hyi_fault_detach(void *);
int __wrap_hyi_fault_thread_prepare(void);

/* Did anybody write to what was freed? */
static void check_freed(void)
{
    struct block *b;

    for (char *at = sim.arena; at < sim.arena_at;
         at += sizeof(*b) + ((b->bytes + 127) & ~(size_t)127)) {
        const unsigned char *bytes = (unsigned char *)at + sizeof(*b);

        b = (struct block *)(void *)at;
        for (size_t i = 0; b->mark == BLOCK_FREE && i < b->bytes; i++)
            if (bytes[i] != 0xdf)
                sim_fail("%zu bytes were written to after they were freed, at "
                         "the %zuth",
                         b->bytes, i);
    }
}

int __wrap_hyi_os_reserve(void **out, size_t bytes, int protection, void *near,
                          bool fixed)
{
    (void)protection;
    (void)near;
    (void)fixed;
    bytes = (bytes + 4095) & ~(size_t)4095;
    if (bytes > (size_t)(sim.region + REGION_BYTES - sim.region_at))
        return -ENOMEM;
    *out = sim.region_at;
    sim.region_at += bytes;
    return 0;
}

int __wrap_hyi_os_release(void *address, size_t bytes)
{
    (void)address;
    (void)bytes;
    return 0;
}

int __wrap_hyi_os_guard(void *first, size_t guard_bytes, size_t stride,
                        size_t count)
{
    (void)first;
    (void)guard_bytes;
    (void)stride;
    (void)count;
    return 0;
}

void __wrap_hyi_os_small_pages(void *address, size_t bytes)
{
    (void)address;
    (void)bytes;
}

int __wrap_hyi_fault_attach(void *start, size_t bytes, void *handler, void *ctx)
{
    (void)start;
    (void)bytes;
    (void)handler;
    (void)ctx;
    return -ENOTSUP;
}

void __wrap_hyi_fault_detach(void *start)
{
    (void)start;
}

int __wrap_hyi_fault_thread_prepare(void)
{
    return 0;
}

/* --- one schedule -----------------------------------------------------------
 */

static void *run_test(void *arg)
{
    (void)arg;
    sim.test->run();
    return NULL;
}

/* Thread 0: the schedule ends when it and all others have. */
static void first_main(void *arg, void *value)
{
    (void)arg;
    (void)value;
    run_test(NULL);
    for (unsigned i = 1; i < sim.threads; i++)
        join(&sim.thread[i]);
    call_destructors(&sim.thread[0]);
    check_freed();
    leave();
}

static void put_back(void)
{
    memcpy((void *)&hyi_process, (void *)&sim.process, sizeof(hyi_process));
    memcpy(sim.local, sim.local_first, sim.local_bytes);
    memset(sim.locked, 0, sizeof(sim.locked));
    if (sim.region_at != sim.region)
        madvise(sim.region, (size_t)(sim.region_at - sim.region),
                MADV_DONTNEED);
    sim.region_at = sim.region;
    sim.arena_at = sim.arena;
    sim.threads = 0;
    sim.keys = 0;
    sim.now = CLOCK_BEGIN;
}

/* How this seed decides. */
static void draw_way(uint64_t seed)
{
    static const uint64_t spans[] = {64, 256, 1024, 4096};
    uint64_t span;

    sim.random = seed * 0x632be59bd9b4e019u;
    draw();
    sim.no_barrier = draw() % 8 == 0;
    sim.stalls = draw() % 2 == 0;
    sim.mean = (uint64_t)1 << (draw() % 6);
    sim.changes = 0;
    sim.lowest = (uint64_t)1 << 63;
    if (draw() % 3 != 0)
        return;
    sim.mean = 0;
    span = spans[draw() % 4];
    sim.changes = 1 + (unsigned)(draw() % CHANGES_MOST);
    for (unsigned i = 0; i < sim.changes; i++)
        sim.change[i] = 1 + draw() % span;
}

void sim_run(const struct sim_test *test, uint64_t seed, bool trace,
             struct sim_result *out)
{
    struct thread *first;

    put_back();
    draw_way(seed);
    *out = (struct sim_result){.hash = 0xcbf29ce484222325u};
    sim.result = out;
    sim.test = test;
    sim.trace = trace;
    first = add_thread(run_test, NULL);
    hy_context_make(&first->context, stacks[0], STACK_BYTES, first_main, NULL);
    sim.at = first;
    plan_switch();
    if (sigsetjmp(sim.escape, 0) == 0) {
        sim.on = true;
        hy_context_switch(&sim.base, &first->context, NULL);
    }
    sim.on = false;
    put_back();
}

/* --- crashes, and set-up ----------------------------------------------------
 */

static void on_crash(int number)
{
    sigset_t all;

    if (!sim.on) {
        signal(number, SIG_DFL);
        return;
    }
    sim.on = false;
    sim.result->failed = true;
    snprintf(sim.result->why, sizeof(sim.result->why),
             "signal %d in thread %d after %s", number,
             (int)(sim.at - sim.thread), sim.at->here);
    sigemptyset(&all);
    sigaddset(&all, number);
    sigprocmask(SIG_UNBLOCK, &all, NULL);
    siglongjmp(sim.escape, 1);
}

/* A loop without any atomic in it: no point has come since the last alarm. */
static void on_alarm(int number)
{
    static uint64_t points, now;

    if (sim.on && sim.result->points == points && sim.now == now)
        on_crash(number);
    points = sim.result != NULL ? sim.result->points : 0;
    now = sim.now;
}

static int find_local(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    (void)arg;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_TLS) {
            sim.local = info->dlpi_tls_data;
            sim.local_bytes = info->dlpi_phdr[i].p_memsz;
        }
    return 1; /* the program comes first */
}

static void *map(uintptr_t near, size_t bytes)
{
    void *p = mmap((void *)near, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    madvise(p, bytes, MADV_NOHUGEPAGE);
    return p;
}

void sim_init(void)
{
    static const int crashes[] = {SIGSEGV, SIGBUS,  SIGILL,
                                  SIGTRAP, SIGABRT, SIGFPE};
    static char signal_stack[64 << 10];
    stack_t stack = {.ss_sp = signal_stack, .ss_size = sizeof(signal_stack)};
    struct sigaction action = {.sa_handler = on_crash,
                               .sa_flags = SA_ONSTACK | SA_NODEFER};
    struct itimerval every = {{2, 0}, {2, 0}}; /* of the processor's time */

    sigaltstack(&stack, NULL);
    for (size_t i = 0; i < sizeof(crashes) / sizeof(crashes[0]); i++)
        sigaction(crashes[i], &action, NULL);
    action.sa_handler = on_alarm;
    action.sa_flags |= SA_RESTART;
    sigaction(SIGVTALRM, &action, NULL);
    setitimer(ITIMER_VIRTUAL, &every, NULL);
    /* The same addresses each time, where the system lets it. */
    sim.arena = sim.arena_at = map((uintptr_t)1 << 40, ARENA_BYTES);
    sim.region = sim.region_at = map((uintptr_t)1 << 41, REGION_BYTES);
    memcpy((void *)&sim.process, (void *)&hyi_process, sizeof(hyi_process));
    dl_iterate_phdr(find_local, NULL);
    if (sim.local == NULL || sim.local_bytes > LOCAL_BYTES_MOST) {
        fprintf(stderr, "%zu bytes of thread-local variables\n",
                sim.local_bytes);
        exit(2);
    }
    memcpy(sim.local_first, sim.local, sim.local_bytes);
}
