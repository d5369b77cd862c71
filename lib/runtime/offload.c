/*
 * offload.c - helper threads that make blocking calls for fibers (offload.h).
 *
 *      hyi_process.offload
 *        first -> call -> call -> call <- last     on the fibers' stacks
 *        idle --> helper -> helper                 each in its park
 *        all ---> helper -> helper -> helper       rt: whose call it runs
 *
 *      fiber: queue the call, wake or start a helper, park
 *      helper: take the first call | run it | wake its fiber | rt = NULL
 *
 * Invariant: a call is in the queue, under the lock, or it was claimed by a
 * helper, or by the one who failed to start any, and its fiber is woken exactly
 * once. A runtime is not given back while a helper's rt names it.
 *
 * Upstream: users. Downstream: core.h, process.h, park.h.
 */
#include <hyperion/offload.h>

#include <errno.h>
#include <stdlib.h>

#include "core.h"
#include "options.h"
#include "process.h"

enum { THREADS = 64, THREADS_MOST = 1024, STATS_BYTES_MIN = 16 };
#define IDLE_NS ((uint64_t)10 * 1000 * 1000 * 1000)

struct hyi_call {
    void (*fn)(void *arg);
    void *arg;
    hy_runtime *rt;
    int result;
    bool queued;
    struct hyi_call *next, *prev;
    struct hyi_waiter waiter HYI_ONE_LINE;
};

struct hyi_helper {
    struct hyi_waiter waiter; /* user: 1 in the list of idle ones */
    struct hyi_helper *idle;  /* the next one there */
    struct hyi_helper *next;  /* of all */
    hy_runtime *rt;           /* whose call it runs */
    pthread_t thread;
    bool dismissed; /* ends, and is joined by who dismissed it */
};

/* --- the lock, and fork -----------------------------------------------------
 */

static void lock(void)
{
    hyi_process_lock(HYI_LOCK_OFFLOAD);
}

static void unlock(void)
{
    hyi_process_unlock(HYI_LOCK_OFFLOAD);
}

/* The child has no helpers, and its parent's fibers are none of its own. */
static void forget(void)
{
    struct hyi_offload *p = &hyi_process.offload;

    p->first = p->last = NULL;
    p->idle = p->all = NULL;
    p->threads = p->threads_idle = p->users = p->queued = 0;
    pthread_cond_init(&p->ran_one, NULL);
}

static const struct hyi_fork_hooks hooks = {NULL, NULL, forget};

/* --- the queue; the lock is held --------------------------------------------
 */

static void append(struct hyi_call *c)
{
    struct hyi_offload *p = &hyi_process.offload;

    c->queued = true;
    c->next = NULL;
    c->prev = p->last;
    if (p->last != NULL)
        p->last->next = c;
    else
        p->first = c;
    p->last = c;
    p->queued++;
}

static void cut(struct hyi_call *c)
{
    struct hyi_offload *p = &hyi_process.offload;

    c->queued = false;
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        p->first = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    else
        p->last = c->prev;
    p->queued--;
}

static struct hyi_helper *take_idle(void)
{
    struct hyi_offload *p = &hyi_process.offload;
    struct hyi_helper *h = p->idle;

    if (h != NULL) {
        p->idle = h->idle;
        p->threads_idle--;
        h->waiter.user = 0;
    }
    return h;
}

static void leave_idle(struct hyi_helper *h)
{
    struct hyi_helper **link = &hyi_process.offload.idle;

    while (*link != h)
        link = &(*link)->idle;
    *link = h->idle;
    hyi_process.offload.threads_idle--;
    h->waiter.user = 0;
}

static void leave_all(struct hyi_helper *h)
{
    struct hyi_helper **link = &hyi_process.offload.all;

    while (*link != h)
        link = &(*link)->next;
    *link = h->next;
    hyi_process.offload.threads--;
}

/* --- a helper ---------------------------------------------------------------
 */

static uint64_t idle_ns(void)
{
    uint64_t ns = hyi_process.offload.idle_ns;

    return ns != 0 ? ns : IDLE_NS;
}

static unsigned threads_most(void)
{
    unsigned most = hyi_process.offload.threads_most;

    return most != 0 ? most : THREADS;
}

/* Under the lock, let go meanwhile. False: there was nothing to do for too
   long. */
static bool rest(struct hyi_helper *h)
{
    struct hyi_offload *p = &hyi_process.offload;
    hy_deadline until = hy_after(idle_ns());
    int r;

    if (p->users == 0 || p->threads > threads_most())
        return false;
    hyi_waiter_init(&h->waiter, HYI_WAIT_OFFLOAD);
    h->waiter.user = 1;
    h->idle = p->idle;
    p->idle = h;
    p->threads_idle++;
    unlock();
    r = hyi_park(&h->waiter, until);
    lock();
    if (r == 0)
        return true;
    if (h->waiter.user != 0) {
        leave_idle(h);
        return false;
    }
    unlock();
    hyi_park_claimed(&h->waiter);
    lock();
    return true;
}

/* Under the lock, let go meanwhile. False, and not under it: the call has
   forked, and this is the child, whose helper this thread is not. */
static bool run(struct hyi_helper *h, struct hyi_call *c)
{
    struct hyi_offload *p = &hyi_process.offload;
    uint32_t forks = hyi_process_forks();

    cut(c);
    h->rt = c->rt;
    unlock();
    c->fn(c->arg);
    if (hyi_process_forks() != forks)
        return false;
    hyi_wake(&c->waiter);
    lock();
    h->rt = NULL;
    p->ran++;
    pthread_cond_broadcast(&p->ran_one);
    return true;
}

static void *help(void *arg)
{
    struct hyi_offload *p = &hyi_process.offload;
    struct hyi_helper *h = arg;

    lock();
    do
        while (!h->dismissed && p->first != NULL)
            if (!run(h, p->first)) {
                free(h);
                return NULL;
            }
    while (!h->dismissed && rest(h));
    if (!h->dismissed) {
        leave_all(h);
        pthread_detach(h->thread);
        free(h);
    }
    unlock();
    return NULL;
}

/* --- starting one -----------------------------------------------------------
 */

/* There is nobody to serve the queue, nor will there be: all in it are told. */
static void fail_all(int error)
{
    struct hyi_call *c;

    while ((c = hyi_process.offload.first) != NULL) {
        cut(c);
        c->result = error;
        hyi_wake(&c->waiter);
    }
}

/* Under the lock, so that the thread finds itself in the list of all. */
static void start_one(void)
{
    struct hyi_offload *p = &hyi_process.offload;
    int r = -ENOMEM, saved = errno;
    struct hyi_helper *h = calloc(1, sizeof(*h));

    if (h != NULL)
        r = hyi_os_thread_start(&h->thread, help, h);
    errno = saved;
    if (r == 0) {
        h->next = p->all;
        p->all = h;
        p->threads++;
        return;
    }
    free(h);
    if (p->threads == 0)
        fail_all(r);
}

static void submit(struct hyi_call *c)
{
    struct hyi_offload *p = &hyi_process.offload;
    struct hyi_helper *h;

    lock();
    append(c);
    h = take_idle();
    if (h == NULL && p->threads < threads_most())
        start_one();
    unlock();
    if (h != NULL)
        hyi_wake(&h->waiter);
}

/* --- runtimes that use it ---------------------------------------------------
 */

static bool runs_for(const hy_runtime *rt)
{
    for (const struct hyi_helper *h = hyi_process.offload.all; h != NULL;
         h = h->next)
        if (h->rt == rt)
            return true;
    return false;
}

/* Under the lock: nobody is left who could need them. */
static struct hyi_helper *dismiss_idle(void)
{
    struct hyi_helper *dismissed = NULL, *h;

    while ((h = take_idle()) != NULL) {
        leave_all(h);
        h->dismissed = true;
        h->next = dismissed;
        dismissed = h;
    }
    for (h = dismissed; h != NULL; h = h->next)
        hyi_wake(&h->waiter);
    return dismissed;
}

/* The runtime is being destroyed; its fibers do not run again. */
static void leave(void *arg)
{
    struct hyi_offload *p = &hyi_process.offload;
    struct hyi_helper *dismissed = NULL, *h;
    hy_runtime *rt = arg;

    lock();
    for (struct hyi_call *c = p->first, *next; c != NULL; c = next) {
        next = c->next;
        if (c->rt == rt)
            cut(c);
    }
    while (runs_for(rt))
        pthread_cond_wait(&p->ran_one,
                          &hyi_process.lock[HYI_LOCK_OFFLOAD].mutex);
    rt->offloads = false;
    atomic_store(&rt->outside, 0);
    if (--p->users == 0)
        dismissed = dismiss_idle();
    unlock();
    while ((h = dismissed) != NULL) {
        dismissed = h->next;
        pthread_join(h->thread, NULL);
        free(h);
    }
}

/* Once for each runtime; hy_runtime_init has seen to the watch on fork. */
static int enter(hy_runtime *rt)
{
    int r = 0;

    lock();
    hyi_process.lock[HYI_LOCK_OFFLOAD].hooks = &hooks;
    if (!rt->offloads) {
        r = hy_runtime_at_destroy(rt, leave, rt);
        rt->offloads = r == 0;
        hyi_process.offload.users += r == 0;
    }
    unlock();
    return r;
}

/* --- the public calls -------------------------------------------------------
 */

/* True when the call was still in the queue, and is not any more. */
static bool withdraw(struct hyi_call *c)
{
    bool queued;

    lock();
    queued = c->queued;
    if (queued)
        cut(c);
    unlock();
    return queued;
}

static int call_elsewhere(struct hyi_call *c, hy_deadline until)
{
    int r;

    hyi_waiter_init(&c->waiter, HYI_WAIT_OFFLOAD);
    /* Partner: verdict in idle.c, which comes after this fiber's park. */
    atomic_fetch_add(&c->rt->outside, 1);
    submit(c);
    r = hyi_park(&c->waiter, until);
    if (r != 0 && !withdraw(c)) {
        hyi_park_claimed(&c->waiter);
        r = 0;
    }
    atomic_fetch_sub(&c->rt->outside, 1);
    return r != 0 ? r : c->result;
}

int hy_offload(void (*fn)(void *arg), void *arg, hy_deadline until)
{
    struct hyi_fiber *f = hyi_fiber_running();
    struct hyi_call c = {.fn = fn, .arg = arg};
    int r;

    if (fn == NULL)
        return -EINVAL;
    if (f == NULL) {
        fn(arg);
        return 0;
    }
    if (hyi_fiber_is_cancelled(f))
        return -ECANCELED;
    if (until != HY_FOREVER && (until == HY_NOW || until <= hyi_now()))
        return -ETIMEDOUT;
    c.rt = hyi_worker_self->rt;
    if (c.rt->seed != 0) {
        fn(arg);
        return 0;
    }
    r = enter(c.rt);
    return r != 0 ? r : call_elsewhere(&c, until);
}

int hy_offload_limit(unsigned threads, uint64_t ns)
{
    if (threads > THREADS_MOST)
        return -EINVAL;
    lock();
    hyi_process.offload.threads_most = threads;
    hyi_process.offload.idle_ns = ns;
    unlock();
    return 0;
}

int hy_offload_stats_get(hy_offload_stats *out)
{
    const struct hyi_offload *p = &hyi_process.offload;
    hy_offload_stats s = {.size = sizeof(s)};

    if (out == NULL || out->size < STATS_BYTES_MIN)
        return -EINVAL;
    lock();
    s.threads = p->threads;
    s.threads_idle = p->threads_idle;
    s.threads_most = threads_most();
    s.queued = p->queued;
    s.ran = p->ran;
    unlock();
    return hyi_struct_fill(out, &s, sizeof(s));
}
