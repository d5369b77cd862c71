/*
 * thread.c - records of plain threads (thread.h).
 *
 *      hyi_process.threads -> | 16 records | -> | 16 records | ->
 *
 * Taken and given without a lock, so that a fork at any moment leaves nothing
 * locked behind: a record belongs to whoever turned its in_use.
 *
 * Invariant: blocks are only ever added; a record is in use from its thread's
 * first need of it until the last round of that thread's destructors.
 *
 * Upstream: sync.c, waits.c, local.c. Downstream: process.h.
 */
#include "thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "annotate.h"
#include "process.h"

enum {
    RECORDS = 16,
    ROUNDS = 3 /* of destructors; POSIX promises four */
};

struct hyi_thread_block {
    struct hyi_thread record[RECORDS];
    struct hyi_thread_block *next;
};

_Thread_local uintptr_t hyi_thread_token_known
    __attribute__((tls_model("initial-exec")));

static _Thread_local struct hyi_thread *known
    __attribute__((tls_model("initial-exec")));
static _Thread_local char opaque
    __attribute__((tls_model("initial-exec"), aligned(8)));

static int key_find(pthread_key_t *out);

/* Other destructors may lock and unlock after this one: it asks to be called
   again, and lets go in the last round. */
static void at_exit(void *arg)
{
    struct hyi_thread *t = arg;
    pthread_key_t key;

    hyi_locals_round(&t->locals);
    if (++t->exits < ROUNDS && key_find(&key) == 0 &&
        pthread_setspecific(key, t) == 0)
        return;
    hyi_locals_discard(&t->locals);
    known = NULL;
    hyi_thread_token_known = 0;
    /* Release: pairs with the acquire in take_from. */
    atomic_store_explicit(&t->in_use, false, memory_order_release);
}

/* The key whose destructor gives records back. Two threads may both make one:
   the second is deleted. */
static int key_find(pthread_key_t *out)
{
    /* Acquire: pairs with the release below. */
    uintptr_t key =
        atomic_load_explicit(&hyi_process.thread_key, memory_order_acquire);

    if (key == 0) {
        if (pthread_key_create(out, at_exit) != 0)
            return -EAGAIN;
        if (atomic_compare_exchange_strong_explicit(
                &hyi_process.thread_key, &key, (uintptr_t)*out + 1,
                memory_order_acq_rel, memory_order_acquire))
            return 0;
        pthread_key_delete(*out);
    }
    *out = (pthread_key_t)(key - 1);
    return 0;
}

static struct hyi_thread *take_from(struct hyi_thread_block *b)
{
    for (unsigned i = 0; i < RECORDS; i++) {
        struct hyi_thread *t = &b->record[i];

        if (!atomic_load_explicit(&t->in_use, memory_order_relaxed) &&
            !atomic_exchange_explicit(&t->in_use, true, memory_order_acquire))
            return t;
    }
    return NULL;
}

static struct hyi_thread *take(void)
{
    struct hyi_thread_block *first, *b;
    struct hyi_thread *t;

    /* Acquire: pairs with the release of whoever added a block. */
    first = atomic_load_explicit(&hyi_process.threads, memory_order_acquire);
    for (b = first; b != NULL; b = b->next) {
        t = take_from(b);
        if (t != NULL)
            return t;
    }
    b = aligned_alloc(HYI_LINE_BYTES, sizeof(*b));
    if (b == NULL)
        return NULL;
    hyi_zero((void *)b, sizeof(*b));
    t = &b->record[0];
    atomic_init(&t->in_use, true);
    b->next = first;
    while (!atomic_compare_exchange_weak_explicit(
        &hyi_process.threads, &b->next, b, memory_order_release,
        memory_order_relaxed))
        ;
    return t;
}

int hyi_thread_record(struct hyi_thread **out)
{
    struct hyi_thread *t = known;
    pthread_key_t key;
    int r, saved = errno;

    if (t != NULL) {
        *out = t;
        return 0;
    }
    r = key_find(&key);
    if (r != 0)
        return r;
    t = take();
    errno = saved;
    if (t == NULL)
        return -ENOMEM;
    if (pthread_setspecific(key, t) != 0) {
        atomic_store_explicit(&t->in_use, false, memory_order_release);
        return -ENOMEM;
    }
    t->exits = 0;
    known = t;
    *out = t;
    return 0;
}

struct hyi_thread *hyi_thread_record_known(void)
{
    return known;
}

uintptr_t hyi_thread_token_find(void)
{
    struct hyi_thread *t;

    if (hyi_thread_record(&t) == 0)
        hyi_thread_token_known = (uintptr_t)t | HYI_TOKEN_THREAD;
    else
        hyi_thread_token_known = (uintptr_t)&opaque | HYI_TOKEN_FLAGS;
    /* Release: pairs with the acquires of those who find the token in a mutex
       (sync.c, waits.c), where no release stores it: they see a whole record.
     */
    atomic_thread_fence(memory_order_release);
    return hyi_thread_token_known;
}
