/*
 * switch_threads.c - contexts where libc has no ucontext: each is a thread that
 * waits for its turn, and exactly one of those that switch to each other runs.
 * Slower by four system calls a switch: two of the futex, two of the signal
 * mask.
 *
 *      upper end of a made stack:   | struct context | until its thread begins,
 *                                   below it (a hop) or on a stack of its own
 *      a suspended stack:           a struct context in the frame of its switch
 *
 * What a context has of its thread, it keeps: thread-local variables, the
 * signal mask. errno and the rounding mode travel, as with any other switch.
 * A context may be left for ever and its memory be used again, while its thread
 * is still on the way to its wait: so that has a stack of its own and a word of
 * its own to wait on, and takes no signal there. What hops has to be ended.
 *
 * Invariant: sp always points to the struct whose turn resumes it. A thread
 * that ends is joined by whom it made run, before anybody uses its stack again.
 *
 * Upstream: lib/runtime. Downstream: libc.
 */
#include "arch.h"

#include <errno.h>
#include <fenv.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>

struct context {
    sem_t *turn;
    pthread_t thread; /* that waits for it */
    sigset_t mask;    /* when it runs */
    void *value;
    int rounding, error; /* as the one who switches here leaves them */
    bool is_new;         /* takes the mask of the one who switches here */
    bool has_ended;      /* ended has switched here for good */
    pthread_t ended;     /* to be joined */
    void (*drop)(void);  /* not to be resumed but to end, after this call */
    void *(*main)(void); /* a hop's */
    void (*entry)(void *arg, void *value); /* a switch's */
    void *arg;
    void *carried;
    sem_t *is_up; /* its thread waits */
};

static _Thread_local void *carried;
static _Thread_local bool has_turn;
static _Thread_local sem_t turn;

static sem_t *own_turn(void)
{
    if (!has_turn)
        has_turn = sem_init(&turn, 0, 0) == 0;
    return &turn;
}

static void wait_for(sem_t *sem)
{
    while (sem_wait(sem) != 0)
        ;
}

/* All but faults: a switch may be where a stack ends. */
static void block_signals(sigset_t *before)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    sigset_t most;

    sigfillset(&most);
    for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        sigdelset(&most, faults[i]);
    pthread_sigmask(SIG_SETMASK, &most, before);
}

/* The caller's signals are blocked; mask is what they were. */
static void make_run(struct context *there, const sigset_t *mask)
{
    there->rounding = fegetround();
    there->carried = carried;
    if (there->is_new)
        there->mask = *mask;
    sem_post(there->turn);
}

/* Somebody has switched here. errno is this thread's own again. */
static void arrive(struct context *here)
{
    if (here->drop != NULL) {
        here->drop();
        pthread_exit(NULL);
    }
    if (here->has_ended)
        pthread_join(here->ended, NULL);
    fesetround(here->rounding);
    carried = here->carried;
    pthread_sigmask(SIG_SETMASK, &here->mask, NULL);
    errno = here->error;
}

static void *body(void *arg)
{
    struct context *here = arg, *there;
    sem_t *own = own_turn();
    sigset_t mask;
    int error;

    here->turn = own;
    sem_post(here->is_up);
    wait_for(own); /* here may be gone, if nobody switches to it */
    arrive(here);
    if (here->main == NULL) {
        here->entry(here->arg, here->value);
        __builtin_trap();
    }
    there = here->main();
    error = errno;
    block_signals(&mask);
    there->error = error;
    there->ended = pthread_self();
    there->has_ended = true;
    make_run(there, &mask);
    return NULL;
}

/* Where on a stack the first struct lies. */
static struct context *first_context(void *top)
{
    return (struct context *)(((uintptr_t)top - sizeof(struct context)) &
                              ~(uintptr_t)63);
}

/* A stack of libc's, or (0 bytes) that below the struct. Any has more than the
   least, but so small a one libc does not use for its own records, if it can
   choose. */
static int place(pthread_attr_t *attr, struct context *c, size_t bytes)
{
    size_t least = (size_t)PTHREAD_STACK_MIN;

    if (bytes == 0)
        return pthread_attr_setstack(attr, (char *)c - least, least);
    return pthread_attr_setstacksize(attr, bytes < least ? least : bytes);
}

static int start_thread(struct context *c, size_t bytes)
{
    pthread_attr_t attr;
    sigset_t mask;
    sem_t is_up;
    int r = pthread_attr_init(&attr);

    if (r != 0)
        return r;
    c->is_new = true;
    c->has_ended = false;
    c->drop = NULL;
    c->is_up = &is_up;
    sem_init(&is_up, 0, 0);
    r = place(&attr, c, bytes);
    block_signals(&mask);
    if (r == 0)
        r = pthread_create(&c->thread, &attr, body, c);
    if (r == 0)
        wait_for(&is_up);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    sem_destroy(&is_up);
    pthread_attr_destroy(&attr);
    return r;
}

void *hy_arch_context_make(void *stack, size_t bytes,
                           void (*entry)(void *arg, void *value), void *arg)
{
    struct context *c = first_context((char *)stack + bytes);
    int saved = errno, r;

    c->main = NULL;
    c->entry = entry;
    c->arg = arg;
    r = start_thread(c, bytes);
    errno = saved;
    return r == 0 ? c : NULL;
}

static void *exchange(void **from, struct context *there, void *value)
{
    struct context here = {.turn = own_turn(), .thread = pthread_self()};

    there->error = errno;
    there->value = value;
    block_signals(&here.mask);
    *from = &here;
    make_run(there, &here.mask);
    wait_for(here.turn);
    arrive(&here);
    return here.value;
}

void *hy_arch_switch(void **from, void *to, void *value)
{
    return exchange(from, to, value);
}

/* --- hops ----------------------------------------------------------------- */

const unsigned char hy_arch_hop_resumed[] = {0};

bool hy_arch_hop_prepare(void *top)
{
    int saved = errno;
    int r = start_thread(first_context(top), 0);

    errno = saved;
    return r == 0;
}

void hy_arch_hop_carry(void *word)
{
    carried = word;
}

void *hy_arch_hop_carried(void)
{
    return carried;
}

void hy_arch_hop(void **from, void *to, void *(*main)(void))
{
    struct context *there = to;

    if (main != NULL) {
        there = first_context(to);
        there->main = main;
    }
    exchange(from, there, NULL);
}

void hy_arch_hop_drop(void *sp, void (*last)(void))
{
    struct context *c = sp;
    pthread_t thread = c->thread;

    c->drop = last;
    sem_post(c->turn);
    pthread_join(thread, NULL);
}

bool hy_arch_inline_make(void *words[4], void *stack, size_t bytes,
                         void (*entry)(void *arg, void *value), void *arg)
{
    (void)words;
    (void)stack;
    (void)bytes;
    (void)entry;
    (void)arg;
    return false;
}
