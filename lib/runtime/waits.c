/*
 * waits.c - cycles in who waits for whom (waits.h).
 *
 *      walk     A -> B -> C -> D -> A     from the caller, once
 *      confirm  A <- B <- C <- D <- A     each edge after the one it leads to
 *
 * Why backwards: the caller does not run, so it lets go of nothing. Whoever is
 * seen waiting for it stays where he is, and lets go of nothing either; so the
 * one who is then seen waiting for him stays; and so on. When the last edge has
 * been seen, the caller's own, all of them are there. Only a deadline or a
 * cancel can undo one.
 *
 * Why every cycle is found: an agent owns what others wait for before it
 * publishes that it waits itself. So when the last one of a cycle publishes,
 * all its edges are there, and stay; there is one way to go, and it leads back.
 *
 * An agent in hy_cond_wait waits for its mutex from before it unlocks it until
 * it owns it again, signalled or not. That closes no cycle, since whoever gets
 * the mutex from it runs; and so nobody has to be refused there, where nothing
 * can be. The cycle is closed when the new owner, or one whom he waits for by
 * then, waits in his turn, in a call that can be refused: one that began after
 * he got the mutex. (So conditions alone make no cycle: each of them would have
 * begun after the one before.) He sees the edge because the unlock published
 * it.
 *
 * Invariant: an agent's waits names a mutex only while the agent is inside a
 * call that uses the mutex.
 *
 * Upstream: sync.c, fiber.c, idle.c. Downstream: table.c, thread.c, process.h.
 */
#include "waits.h"

#include <stdio.h>

#include "options.h"
#include "process.h"

enum { AT_ONCE = 32 /* tokens that one round of confirming keeps */ };

/* Waits for whoever does something short. */
static void pause_for_other(unsigned *spins)
{
    if (++*spins % 64 == 0)
        hyi_os_thread_yield();
    else
        hy_arch_pause();
}

void hyi_waits_end(struct hyi_agent *a)
{
    uintptr_t waits;
    unsigned spins = 0;

    if (a == NULL)
        return;
    for (;;) {
        waits = atomic_load_explicit(&a->waits, memory_order_relaxed) &
                ~(uintptr_t)HYI_WAITS_HELD;
        /* Acquire and release: pairs with both exchanges in owner_of. */
        if (atomic_compare_exchange_strong_explicit(&a->waits, &waits, 0,
                                                    memory_order_acq_rel,
                                                    memory_order_relaxed))
            return;
        pause_for_other(&spins);
    }
}

/* --- one step ---------------------------------------------------------------
 */

static uintptr_t joined_by(const struct hyi_agent *a)
{
    hy_fiber id = {atomic_load_explicit(&a->joined, memory_order_relaxed)};
    struct hyi_fiber *f;
    hy_runtime *rt;
    uint64_t life;

    f = id.id != 0 ? hyi_fiber_find(id, &rt) : NULL;
    if (f == NULL)
        return 0;
    /* Relaxed: whoever joins it has seen it alive, and published that. */
    life = atomic_load_explicit(&f->life, memory_order_relaxed);
    return hyi_generation(life) == hyi_generation(id.id) &&
                   (life & HYI_LIFE_LIVE) != 0
               ? (uintptr_t)f
               : 0;
}

/* The owner of the mutex that the agent waits for; false when it is held by
   another, or waits no more. */
static bool owner_of(struct hyi_agent *a, uintptr_t waits, uintptr_t *owner)
{
    uintptr_t held = waits | HYI_WAITS_HELD;

    /* Acquire: the mutex is there while the agent is held. */
    if ((waits & HYI_WAITS_HELD) ||
        !atomic_compare_exchange_strong_explicit(&a->waits, &waits, held,
                                                 memory_order_acquire,
                                                 memory_order_relaxed))
        return false;
    *owner = atomic_load_explicit((const _Atomic uintptr_t *)waits,
                                  memory_order_acquire) &
             ~(uintptr_t)1;
    /* Release: the look is over when the agent sees this, in hyi_waits_end. It
       fails when the table of a runtime that ends was emptied meanwhile. */
    atomic_compare_exchange_strong_explicit(
        &a->waits, &held, waits, memory_order_release, memory_order_relaxed);
    return true;
}

uintptr_t hyi_waits_next(uintptr_t token)
{
    struct hyi_agent *a = hyi_token_agent(token);
    uintptr_t waits, owner;

    for (unsigned spins = 0; a != NULL; pause_for_other(&spins)) {
        waits = atomic_load_explicit(&a->waits, memory_order_acquire);
        if (waits == 0)
            return 0;
        if (waits == HYI_WAITS_JOIN)
            return joined_by(a);
        if (owner_of(a, waits, &owner))
            return owner == token ? 0 : owner;
    }
    return 0;
}

/* --- walking ----------------------------------------------------------------
 */

/* How many steps lead from the caller back to him; 0: none do. The way may
   enter a cycle of others: R. P. Brent, "An Improved Monte Carlo Factorization
   Algorithm", 1980, finds that in few more steps than the cycle has. */
static size_t steps_back(uintptr_t me, uintptr_t first)
{
    uintptr_t at = first, mark = first;
    size_t steps = 1, next_mark = 2;

    while (at != 0 && at != me) {
        at = hyi_waits_next(at);
        steps++;
        if (at == mark && at != me)
            return 0;
        if (steps == next_mark) {
            mark = at;
            next_mark *= 2;
        }
    }
    return at == me ? steps : 0;
}

bool hyi_waits_return(uintptr_t me, uintptr_t first)
{
    return steps_back(me, first) != 0;
}

/* --- confirming -------------------------------------------------------------
 */

void hyi_waits_confirm_begin(void)
{
    hyi_process_lock(HYI_LOCK_WAITS);
}

void hyi_waits_confirm_end(void)
{
    hyi_process_unlock(HYI_LOCK_WAITS);
}

/* The tokens of steps first to last from the caller, each as it is now. */
static bool follow(uintptr_t me, size_t first, size_t last, uintptr_t *token)
{
    uintptr_t at = me;

    for (size_t i = 0; i <= last && at != 0; i++) {
        if (i >= first)
            token[i - first] = at;
        if (i == last)
            return true;
        at = hyi_waits_next(at);
    }
    return false;
}

/* In rounds from the end, so that a little memory does for any length. */
bool hyi_waits_confirm(uintptr_t me)
{
    uintptr_t token[AT_ONCE + 1], sure = me;
    size_t last = steps_back(me, hyi_waits_next(me)), first;

    for (; last > 0; last = first) {
        first = last > AT_ONCE ? last - AT_ONCE : 0;
        if (!follow(me, first, last, token) || token[last - first] != sure)
            return false;
        for (size_t i = last - first; i > 0; i--)
            if (hyi_waits_next(token[i - 1]) != token[i])
                return false;
        sure = token[0];
        if (first == 0)
            return true;
    }
    return false;
}

/* --- telling ----------------------------------------------------------------
 */

void hyi_fiber_describe(struct hyi_fiber *f, char *out, size_t bytes)
{
    uint64_t life = hyi_fiber_unlocked(f);
    struct hyi_worker *w =
        atomic_load_explicit(&f->worker, memory_order_relaxed);
    char name[HYI_NAME_BYTES] = "";

    if (w == NULL || !(life & HYI_LIFE_LIVE) ||
        !hyi_fiber_lock(f, hyi_generation(life))) {
        snprintf(out, bytes, "a fiber that has ended");
        return;
    }
    if (f->name != NULL)
        hyi_name_copy(name, sizeof(name), f->name);
    hyi_fiber_unlock(f);
    snprintf(out, bytes, "fiber \"%s\" (%#llx)", name,
             (unsigned long long)hyi_fiber_id(w->rt, life).id);
}

void hyi_waits_describe(const struct hyi_fiber *f, char *out, size_t bytes)
{
    enum hyi_wait wait =
        (enum hyi_wait)atomic_load_explicit(&f->wait, memory_order_relaxed);
    uintptr_t token = 0;
    char whom[HYI_FIBER_TEXT];

    if (wait == HYI_WAIT_MUTEX || wait == HYI_WAIT_JOIN)
        token = hyi_waits_next((uintptr_t)f);
    if (token == 0) {
        snprintf(out, bytes, "%s", hyi_wait_name(wait));
        return;
    }
    if (token & HYI_TOKEN_THREAD)
        snprintf(whom, sizeof(whom), "a thread");
    else
        hyi_fiber_describe((struct hyi_fiber *)token, whom, sizeof(whom));
    snprintf(out, bytes, "%s, %s %s", hyi_wait_name(wait),
             wait == HYI_WAIT_MUTEX ? "owned by" : "of", whom);
}
