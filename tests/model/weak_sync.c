/*
 * weak_sync.c - mutex, condition, semaphore, event and wait group (sync.c)
 * between threads, wakes against deadlines included, and cycles of waits
 * (waits.c). What is waited for is handed over: never lost, never given twice.
 *
 *      WEAK_CASE
 *      1   two lock, count, unlock; the last unlock frees the mutex
 *      2   one holds a mutex, another waits until a deadline
 *      3   cond: wait for a flag, signal under the mutex
 *      4   cond: wait until a deadline, broadcast
 *      5   sem: one waits until a deadline, one posts
 *      6   event: set, wait; the woken one frees the event
 *      7   wait group: two done, one waits
 *      8   mutexes a, b and b, a: one call alone is refused
 *      9   one makes a mutex, waits for it, frees it; another walks past
 *      10  one, new as a thread, locks a mutex; another waits for it
 */
#define WEAK_LOCK
#include "weak.h"

#include "../../lib/base/park.c"
#include "../../lib/runtime/sync.c"
#undef OPEN
#include "../../lib/runtime/waits.c"

struct hyi_process hyi_process;
#if WEAK_CASE == 10
/* The first block's first record is all that is made. */
#define memset(to, zero, bytes)                                                \
    (atomic_init(&b->record[0].agent.waits, 0),                                \
     atomic_init(&b->record[0].agent.joined, 0), b->record[0].locals = NULL,   \
     b->record[0].exits = 0)
#define pthread_key_create(key, function) (*(key) = 1, (void)(function), 0)
#define pthread_key_delete(key)           ((void)(key))
#define pthread_setspecific(key, value)   ((void)(key), (void)(value), 0)
#include "../../lib/runtime/thread.c"
#else
_Thread_local uintptr_t hyi_thread_token_known;
#endif
_Thread_local struct hyi_worker *hyi_worker_self;
#include "weak_waits.h"

static struct hyi_thread thread_record[3];

int hy_fiber_check(void)
{
    return 0;
}

static void begin(unsigned self)
{
    weak_begin(self);
    if (WEAK_CASE == 10 && self == 0)
        return;
    hyi_thread_token_known =
        (uintptr_t)&thread_record[self] |
        (WEAK_CASE >= 8 ? HYI_TOKEN_THREAD : HYI_TOKEN_FLAGS);
}

static hy_mutex *m; /* and whatever else the case is about */
static hy_mutex other;
static int data, left;
static struct object *_Atomic made;

static void lock(hy_mutex *mutex)
{
    assert(hy_mutex_lock(mutex, HY_FOREVER) == 0);
}

static void unlock(hy_mutex *mutex)
{
    assert(hy_mutex_unlock(mutex) == 0);
}

static void counted(void)
{
    bool last;

    lock(m);
    data++;
    last = --left == 0;
    unlock(m);
    if (last)
        free(m);
}

/* A mutex of the second thread, for which this one waits. */
static void make_and_wait(void)
{
    struct object *o = malloc(sizeof(*o));

    atomic_init(&o->value, (uintptr_t)&thread_record[1] | HYI_TOKEN_THREAD);
    atomic_init(&o->queue.lock.word, 0);
    o->queue.first = o->queue.last = NULL;
    atomic_store_explicit(&made, o, memory_order_release);
    lock((hy_mutex *)o);
    unlock((hy_mutex *)o);
    free(o);
}

static void *first(void *unused)
{
    int r = 0;

    begin(0);
#if WEAK_CASE == 1
    counted();
#elif WEAK_CASE == 2
    lock(m);
    data++;
    unlock(m);
#elif WEAK_CASE == 3 || WEAK_CASE == 4
    lock(m);
    if (data == 0) /* nothing wakes without a signal */
        r = hy_cond_wait((hy_cond *)&other, m,
                         WEAK_CASE == 4 ? WEAK_DUE : HY_FOREVER);
    assert(r == 0 || r == -ETIMEDOUT);
    if (r == 0)
        assert(data == 1);
    unlock(m);
#elif WEAK_CASE == 5
    r = hy_sem_wait((hy_sem *)m, WEAK_DUE);
    assert(r == -ETIMEDOUT || (r == 0 && data == 1));
    left = r == 0;
#elif WEAK_CASE == 6
    assert(hy_event_wait((hy_event *)m, HY_FOREVER) == 0);
    assert(data == 1);
    free(m);
#elif WEAK_CASE == 7
    assert(hy_wait_group_wait((hy_wait_group *)m, HY_FOREVER) == 0);
    assert(data == 1 && left == 1);
    free(m);
#elif WEAK_CASE == 9
    make_and_wait();
#elif WEAK_CASE == 10
    lock(m);
    unlock(m);
#else
    lock(m);
    r = hy_mutex_lock(&other, HY_FOREVER);
    assert(r == 0 || r == -EDEADLK);
    if (r == 0)
        unlock(&other);
    unlock(m);
    if (r != 0)
        data = 1;
#endif
    (void)r;
    weak_end();
    return unused;
}

static void *second(void *unused)
{
    int r = 0;

    begin(1);
#if WEAK_CASE == 1
    counted();
#elif WEAK_CASE == 2
    r = hy_mutex_lock(m, WEAK_DUE);
    assert(r == 0 || r == -ETIMEDOUT);
    if (r == 0) {
        data++;
        unlock(m);
    }
#elif WEAK_CASE == 3 || WEAK_CASE == 4
    lock(m);
    data = 1;
    if (WEAK_CASE == 3)
        hy_cond_signal((hy_cond *)&other);
    else
        hy_cond_broadcast((hy_cond *)&other);
    unlock(m);
#elif WEAK_CASE == 5
    data = 1;
    assert(hy_sem_post((hy_sem *)m, 1) == 0);
#elif WEAK_CASE == 6
    data = 1;
    assert(hy_event_set((hy_event *)m) == 0);
#elif WEAK_CASE == 7
    data = 1;
    assert(hy_wait_group_done((hy_wait_group *)m) == 0);
#elif WEAK_CASE == 9
    struct object *o;

    while ((o = atomic_load_explicit(&made, memory_order_acquire)) == NULL)
        ;
    unlock((hy_mutex *)o);
#elif WEAK_CASE == 10
    lock(m);
    unlock(m);
#else
    lock(&other);
    r = hy_mutex_lock(m, HY_FOREVER);
    assert(r == 0 || r == -EDEADLK);
    if (r == 0)
        unlock(m);
    unlock(&other);
    if (r != 0)
        left = 1;
#endif
    (void)r;
    weak_end();
    return unused;
}

static void *third(void *unused)
{
    begin(2);
#if WEAK_CASE == 9
    hyi_waits_next((uintptr_t)&thread_record[0] | HYI_TOKEN_THREAD);
#else
    left = 1;
    assert(hy_wait_group_done((hy_wait_group *)m) == 0);
#endif
    weak_end();
    return unused;
}

static bool has_third(void)
{
    return WEAK_CASE == 7 || WEAK_CASE == 9;
}

static bool has_clock(void)
{
    return WEAK_CASE == 2 || WEAK_CASE == 4 || WEAK_CASE == 5;
}

int main(void)
{
    struct object *o = malloc(sizeof(*o));
    pthread_t t[4];
    int n = 0;

    m = (hy_mutex *)o;
    atomic_init(&o->value, WEAK_CASE == 7 ? 2 : 0);
    atomic_init(&o->queue.lock.word, 0);
    o->queue.first = o->queue.last = NULL;
    left = WEAK_CASE == 1 ? 2 : 0;
    pthread_mutex_init(&confirming, NULL);
    pthread_create(&t[n++], NULL, first, NULL);
    pthread_create(&t[n++], NULL, second, NULL);
    if (has_third())
        pthread_create(&t[n++], NULL, third, NULL);
    if (has_clock())
        pthread_create(&t[n++], NULL, weak_clock, NULL);
    while (n > 0)
        pthread_join(t[--n], NULL);
    if (WEAK_CASE == 5) /* the unit was taken, or is still there */
        assert(atomic_load_explicit(&o->value, memory_order_relaxed) +
                   (uintptr_t)left ==
               1);
    if (WEAK_CASE == 8)
        assert(data + left <= 1);
    if (WEAK_CASE == 1)
        assert(data == 2);
    return 0;
}
