/*
 * word_watch.c - fibers that wait for a word in memory that other processes
 * share: a thread of the process waits for all of them at once.
 *
 *      hyi_process.words
 *        first -> fiber's word -> fiber's word -> ...    on the fibers' stacks
 *        changes    a word of its own: the list is another now
 *
 *      fiber:    joins the list, changes changes, parks
 *      watcher:  cuts out and wakes whose word has changed |
 *                waits for changes, and for the first 127 words, in one call
 *
 * Words beyond the 127th, and all of them where the system cannot wait for
 * several, are looked at once in a millisecond, for as long as there are any.
 *
 * Invariant: a fiber's word is looked at under the lock, while it is in the
 * list; who cuts it out wakes it, once. The kernel may know a word for longer,
 * which is harmless. Upstream: parker.c. Downstream: core.h, process.h, park.h.
 */
#include <errno.h>

#include "core.h"
#include "process.h"

#define LOOK_NS UINT64_C(1000000)

struct hyi_watched {
    const _Atomic uint32_t *word;
    uint32_t expected;
    hy_runtime *rt;
    bool listed;
    struct hyi_watched *next, *prev;
    struct hyi_waiter waiter HYI_ONE_LINE;
};

static void lock(void)
{
    hyi_process_lock(HYI_LOCK_WORDS);
}

static void unlock(void)
{
    hyi_process_unlock(HYI_LOCK_WORDS);
}

/* The child has no watcher, and its parent's fibers are none of its own. */
static void forget(void)
{
    struct hyi_words *p = &hyi_process.words;

    p->first = NULL;
    p->users = 0;
    p->runs = false;
}

static const struct hyi_fork_hooks hooks = {NULL, NULL, forget};

/* --- the list; the lock is held --------------------------------------------
 */

static void cut(struct hyi_watched *c)
{
    struct hyi_words *p = &hyi_process.words;

    c->listed = false;
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        p->first = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
}

static void join(struct hyi_watched *c)
{
    struct hyi_words *p = &hyi_process.words;

    c->listed = true;
    c->prev = NULL;
    c->next = p->first;
    if (p->first != NULL)
        p->first->prev = c;
    p->first = c;
}

/* The watcher looks at the list again. */
static void tell(void)
{
    struct hyi_words *p = &hyi_process.words;

    /* Relaxed: what it tells of is under the lock. */
    atomic_fetch_add_explicit(&p->changes, 1, memory_order_relaxed);
    hyi_os_futex_wake(&p->changes, INT32_MAX, false);
}

/* --- the watcher ------------------------------------------------------------
 */

/* Under the lock: wakes whose word has changed, and lists the others, behind
 * the one that is there. Returns how many; *more: not all. */
static unsigned look(struct hyi_os_word *words, bool *more)
{
    unsigned n = 1;

    *more = false;
    for (struct hyi_watched *c = hyi_process.words.first, *next; c != NULL;
         c = next) {
        next = c->next;
        /* Relaxed: hyi_wait_word acquires nothing. */
        if (atomic_load_explicit(c->word, memory_order_relaxed) !=
            c->expected) {
            cut(c);
            hyi_wake(&c->waiter);
        } else if (n < HYI_OS_WORDS_MOST) {
            words[n++] = (struct hyi_os_word){c->word, c->expected, true};
        } else {
            *more = true;
        }
    }
    return n;
}

static void *watch(void *arg)
{
    struct hyi_words *p = &hyi_process.words;
    struct hyi_os_word words[HYI_OS_WORDS_MOST];
    uintptr_t self = (uintptr_t)arg;
    unsigned n;
    bool more;

    lock();
    while (p->runs && p->watcher == self) {
        uint32_t changes =
            atomic_load_explicit(&p->changes, memory_order_relaxed);
        int r;

        words[0] = (struct hyi_os_word){&p->changes, changes, false};
        n = look(words, &more);
        unlock();
        r = hyi_os_futex_wait_any(words, n,
                                  more ? hyi_os_now() + LOOK_NS : HY_FOREVER);
        if (r == -ENOTSUP || r == -EFAULT || r == -ENOMEM)
            hyi_os_futex_wait(&p->changes, changes,
                              n > 1 ? hyi_os_now() + LOOK_NS : HY_FOREVER,
                              false);
        lock();
    }
    unlock();
    return NULL;
}

/* The runtime is being destroyed; its fibers do not run again. */
static void leave(void *arg)
{
    struct hyi_words *p = &hyi_process.words;
    hy_runtime *rt = arg;
    pthread_t thread;
    bool ends;

    lock();
    for (struct hyi_watched *c = p->first, *next; c != NULL; c = next) {
        next = c->next;
        if (c->rt == rt)
            cut(c);
    }
    rt->watches_words = false;
    atomic_store(&rt->outside, 0);
    p->users--; /* also of one whose fibers have had no watcher */
    ends = p->users == 0 && p->runs;
    if (ends)
        p->runs = false;
    thread = p->thread;
    tell();
    unlock();
    if (ends)
        pthread_join(thread, NULL);
}

/* Once for each runtime: there is a watcher until the last one leaves. Under
 * the lock. hy_runtime_init has seen to the watch on fork. */
static int enter(hy_runtime *rt)
{
    struct hyi_words *p = &hyi_process.words;
    int r = 0;

    hyi_process.lock[HYI_LOCK_WORDS].hooks = &hooks;
    if (!rt->watches_words) {
        r = hy_runtime_at_destroy(rt, leave, rt);
        rt->watches_words = r == 0;
        p->users += r == 0;
    }
    if (r != 0 || p->runs)
        return r;
    p->runs = true;
    r = hyi_os_thread_start(&p->thread, watch, (void *)++p->watcher);
    p->runs = r == 0;
    return r;
}

/* --- a fiber ----------------------------------------------------------------
 */

/* Without a watcher, or in a simulation, whose time is no thread's. */
static int look_again_later(hy_deadline until)
{
    struct hyi_waiter waiter HYI_ONE_LINE;
    hy_deadline end = hy_after(LOOK_NS);
    int r;

    hyi_waiter_init(&waiter, HYI_WAIT_RING);
    r = hyi_park(&waiter, end < until ? end : until);
    return r == -ETIMEDOUT && end < until ? 0 : r;
}

/* True when it was still listed, and is not any more. */
static bool withdraw(struct hyi_watched *c)
{
    bool listed;

    lock();
    listed = c->listed;
    if (listed)
        cut(c);
    unlock();
    return listed;
}

int hyi_words_wait(const _Atomic uint32_t *word, uint32_t expected,
                   hy_deadline until)
{
    hy_runtime *rt = hyi_worker_self->rt;
    struct hyi_watched c = {.word = word, .expected = expected, .rt = rt};
    int r = 1;

    if (rt->seed == 0) {
        lock();
        r = enter(rt);
        if (r == 0) {
            hyi_waiter_init(&c.waiter, HYI_WAIT_RING);
            join(&c);
            tell();
        }
        unlock();
    }
    if (r != 0)
        return look_again_later(until);
    /* Partner: verdict in idle.c, which comes after this fiber's park. */
    atomic_fetch_add(&rt->outside, 1);
    r = hyi_park(&c.waiter, until);
    if (r != 0 && !withdraw(&c)) {
        hyi_park_claimed(&c.waiter);
        r = 0;
    }
    atomic_fetch_sub(&rt->outside, 1);
    return r;
}
