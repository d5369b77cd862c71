/*
 * weak_join.c - a cycle of waits with a join in it (fiber.c, sync.c, waits.c):
 * a thread owns a mutex and joins a fiber, which locks the mutex. One of the
 * two calls, and one alone, is refused.
 *
 *      WEAK_CASE 1: this         2: one walks past a thread that joins a fiber,
 *                                   and has joined another before
 */
#define WEAK_TABLE   2
#define WEAK_WORKERS 1
#define WEAK_SLEEPLESS
#include "weak_worker.h"

#undef hy_arch_pause
#define hy_arch_pause() __VERIFIER_assume(false)
#include "../../lib/runtime/waits.c"
#define hand_over unlock_to /* others have theirs */
#define wake_all  wake_them
#include "../../lib/runtime/sync.c"
#include "weak_waits.h"

static struct object mutex;
static struct hyi_thread record;
static int refused[2], joined, locked;

static void *fiber(void *unused)
{
    struct hyi_worker *w = &weak_worker[0];
    int r;

    weak_worker_begin(0);
    r = hy_mutex_lock((hy_mutex *)&mutex, HY_FOREVER);
    assert(r == 0 || r == -EDEADLK);
    refused[0] = r != 0;
    if (r == 0) {
        locked = 1;
        assert(hy_mutex_unlock((hy_mutex *)&mutex) == 0);
    }
    w->current = &w->base;
    hyi_fiber_end(&weak_rt, w, &weak_fiber[0]);
    weak_worker_end(0);
    return unused;
}

static void *joiner(void *unused)
{
    hy_fiber handle = {(uint64_t)1 << HYI_GENERATION_SHIFT};
    int r;

    weak_begin(1);
    hyi_thread_token_known = (uintptr_t)&record | HYI_TOKEN_THREAD;
    r = hy_fiber_join(handle, HY_FOREVER);
    assert(r == 0 || r == -EDEADLK);
    refused[1] = r == -EDEADLK;
    joined = r == 0;
    assert(hy_mutex_unlock((hy_mutex *)&mutex) == 0);
    weak_end();
    return unused;
}

static void *walker(void *unused)
{
    uintptr_t token;

    weak_begin(0);
    token = hyi_waits_next((uintptr_t)&record | HYI_TOKEN_THREAD);
    assert(token == 0 || token == (uintptr_t)&weak_fiber[1]);
    weak_end();
    return unused;
}

static void *one_that_joins(void *unused)
{
    weak_begin(1);
    hyi_waits_join(&record.agent,
                   (uint64_t)1 << HYI_GENERATION_SHIFT | 1 /* weak_fiber[1] */);
    hyi_waits_end_join(&record.agent);
    weak_end();
    return unused;
}

static void other_case(void)
{
    pthread_t t[2];

    atomic_init(&weak_fiber[1].life, weak_life(1, 1));
    atomic_init(&record.agent.joined, (uint64_t)1 << HYI_GENERATION_SHIFT);
    pthread_create(&t[0], NULL, walker, NULL);
    pthread_create(&t[1], NULL, one_that_joins, NULL);
    pthread_join(t[0], NULL);
    pthread_join(t[1], NULL);
}

int main(void)
{
    pthread_t t[2];

    weak_runtime_init();
    if (WEAK_CASE == 2) {
        other_case();
        return 0;
    }
    atomic_init(&mutex.value, (uintptr_t)&record | HYI_TOKEN_THREAD);
    pthread_mutex_init(&confirming, NULL);
    pthread_create(&t[0], NULL, fiber, NULL);
    pthread_create(&t[1], NULL, joiner, NULL);
    pthread_join(t[0], NULL);
    pthread_join(t[1], NULL);
    assert(refused[0] + refused[1] == 1);
    assert(joined == refused[0] && locked != refused[0]);
    return 0;
}
