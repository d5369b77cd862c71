/*
 * table.c - slots of fibers: found by number, never freed, used again.
 *
 *      index 0 .. 4095      4096 .. 8191   8192 .. 16383   ...
 *      table[0]             table[1]       table[2]        each one mapping
 *
 *      a mapping: | slots ... | agents ... |      as many of the one as of the
 *                                                 other (hyi_fiber_agent)
 *
 * A worker keeps a few free slots, so that spawning and ending touch nothing
 * shared. Small limits (fibers_max below 1,024 a worker) are kept exactly: then
 * a slot goes back at once.
 *
 * Invariant: a slot's life is changed by compare-exchange alone, and its
 * generation only rises; a slot whose generations are used up is retired.
 *
 * Upstream: fiber.c, worker.c. Downstream: os.h.
 */
#include "core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch.h"
#include "process.h"
#include "waits.h"

enum { EXACT_BELOW = 1024 };

static unsigned segment_of(size_t index, size_t *offset)
{
    size_t group = index >> HYI_TABLE_FIRST_LOG2;
    unsigned segment = group == 0 ? 0 : hyi_log2_floor(group) + 1;

    *offset = segment == 0
                  ? index
                  : index - ((size_t)1 << (HYI_TABLE_FIRST_LOG2 + segment - 1));
    return segment;
}

static size_t segment_bytes(unsigned segment)
{
    unsigned log2 = HYI_TABLE_FIRST_LOG2 + (segment == 0 ? 0 : segment - 1);

    return (sizeof(struct hyi_fiber) + sizeof(struct hyi_agent)) << log2;
}

/* --- taking and giving; table_lock is held in these three ------------------
 */

static int fresh_slot(hy_runtime *rt, struct hyi_fiber **out)
{
    size_t offset;
    unsigned segment = segment_of(rt->used, &offset);
    struct hyi_fiber *base =
        atomic_load_explicit(&rt->table[segment], memory_order_relaxed);
    struct hyi_fiber *f;

    if (base == NULL) {
        void *p;
        int r = hyi_os_reserve(&p, segment_bytes(segment),
                               HYI_OS_READ | HYI_OS_WRITE, NULL, false);

        if (r != 0)
            return -ENOMEM;
        base = p;
        atomic_store_explicit(&rt->table[segment], base, memory_order_release);
    }
    f = base + offset;
    atomic_store_explicit(&f->life,
                          rt->generation_first << HYI_GENERATION_SHIFT |
                              (uint64_t)rt->used++ << HYI_LIFE_FLAGS_LOG2,
                          memory_order_relaxed);
    atomic_store_explicit(&rt->used_visible, rt->used, memory_order_release);
    *out = f;
    return 0;
}

static int take_shared(hy_runtime *rt, struct hyi_fiber **out)
{
    int r = 0;

    if (rt->out >= rt->fibers_max)
        return -EAGAIN;
    if (rt->free != NULL) {
        *out = rt->free;
        rt->free = (*out)->next;
    } else if (rt->used < HYI_FIBERS_MOST) {
        r = fresh_slot(rt, out);
    } else {
        r = -EAGAIN;
    }
    if (r == 0)
        rt->out++;
    return r;
}

static void give_shared(hy_runtime *rt, struct hyi_fiber *f)
{
    uint64_t life = atomic_load_explicit(&f->life, memory_order_relaxed);

    rt->out--;
    if (hyi_generation(life) == HYI_GENERATION_LAST)
        return;
    f->next = rt->free;
    rt->free = f;
}

unsigned hyi_slots_kept(size_t fibers_max, unsigned workers)
{
    return fibers_max < (size_t)EXACT_BELOW * workers ? 0 : 2 * HYI_CLAIM_CHUNK;
}

int hyi_slot_take(hy_runtime *rt, struct hyi_worker *w, struct hyi_fiber **out)
{
    unsigned extra = w == NULL ? 0 : rt->slots_kept / 2;
    struct hyi_fiber *f;
    int r;

    if (w != NULL && w->free != NULL) {
        *out = w->free;
        w->free = w->free->next;
        w->free_count--;
        return 0;
    }

    hyi_lock(&rt->table_lock);
    r = take_shared(rt, out);
    for (; r == 0 && extra > 0 && take_shared(rt, &f) == 0; extra--) {
        f->next = w->free;
        w->free = f;
        w->free_count++;
    }
    hyi_unlock(&rt->table_lock);
    return r;
}

static inline bool keep_slot(const hy_runtime *rt, struct hyi_worker *w,
                             struct hyi_fiber *f)
{
    if (w->free_count >= rt->slots_kept ||
        hyi_generation(atomic_load_explicit(&f->life, memory_order_relaxed)) ==
            HYI_GENERATION_LAST)
        return false;
    f->next = w->free;
    w->free = f;
    w->free_count++;
    return true;
}

void hyi_slot_give(hy_runtime *rt, struct hyi_worker *w, struct hyi_fiber *f)
{
    if (w != NULL && keep_slot(rt, w, f))
        return;
    hyi_lock(&rt->table_lock);
    give_shared(rt, f);
    while (w != NULL && w->free_count > rt->slots_kept / 2) {
        f = w->free;
        w->free = f->next;
        w->free_count--;
        give_shared(rt, f);
    }
    hyi_unlock(&rt->table_lock);
}

/* --- a slot's lock, and a fiber's end ---------------------------------------
 */

uint64_t hyi_fiber_unlocked(const struct hyi_fiber *f)
{
    for (unsigned spins = 1;; spins++) {
        uint64_t life = atomic_load_explicit(&f->life, memory_order_acquire);

        if (HYI_LIKELY(!(life & HYI_LIFE_LOCKED)))
            return life;
        if (spins % 64 == 0)
            hyi_os_thread_yield();
        else
            hy_arch_pause();
    }
}

bool hyi_fiber_lock(struct hyi_fiber *f, uint64_t generation)
{
    uint64_t life;

    do {
        life = hyi_fiber_unlocked(f);
        if (hyi_generation(life) != generation || !(life & HYI_LIFE_LIVE))
            return false;
        /* Acquire: pairs with the releases in unlock and end. */
    } while (!atomic_compare_exchange_weak_explicit(
        &f->life, &life, life | HYI_LIFE_LOCKED, memory_order_acquire,
        memory_order_relaxed));
    return true;
}

/* A store: nobody else changes the word meanwhile. Release: pairs with the
   acquires of hyi_fiber_unlocked, and of the exchange in bury. */
void hyi_fiber_unlock(struct hyi_fiber *f)
{
    uint64_t life = atomic_load_explicit(&f->life, memory_order_relaxed) &
                    ~(uint64_t)(HYI_LIFE_LOCKED | HYI_LIFE_JOINED);

    if (f->joiners != NULL)
        life |= HYI_LIFE_JOINED;
    atomic_store_explicit(&f->life, life, memory_order_release);
}

/* The handle is void afterwards. Gives the joiners. */
static struct hyi_waiter *bury(struct hyi_fiber *f)
{
    struct hyi_waiter *joiners;
    uint64_t life;
    bool locked;

    life = atomic_load_explicit(&f->life, memory_order_relaxed);
    if (hyi_fiber_end_unseen(f, life, hyi_life_after(life)))
        return NULL;
    life = atomic_load_explicit(&f->life, memory_order_relaxed);
    locked = hyi_fiber_lock(f, hyi_generation(life));
    HYI_ASSERT(locked);
    joiners = f->joiners;
    f->joiners = NULL;
    free(f->name);
    f->name = NULL;
    atomic_store_explicit(&f->life, hyi_life_after(life), memory_order_release);
    return joiners;
}

static void wake_all(struct hyi_waiter *joiner)
{
    while (joiner != NULL) {
        struct hyi_waiter *next = joiner->next;

        hyi_wake(joiner);
        joiner = next;
    }
}

void hyi_fiber_end_slowly(hy_runtime *rt, struct hyi_worker *w,
                          struct hyi_fiber *f)
{
    struct hyi_waiter *joiners;

    /* With an exact limit, whoever sees the end may spawn the next. */
    if (rt->slots_kept == 0) {
        hyi_lock(&rt->table_lock);
        joiners = bury(f);
        give_shared(rt, f);
        hyi_unlock(&rt->table_lock);
    } else {
        joiners = bury(f);
        hyi_slot_give(rt, w, f);
    }
    wake_all(joiners);
}

/* Of a fiber that was parked, or has never started. */
static void discard_stack(struct hyi_fiber *f)
{
    struct hyi_stack *stack =
        atomic_load_explicit(&f->stack, memory_order_relaxed);

    if (stack == NULL)
        return;
    hyi_locals_discard(&stack->locals);
    hy_arch_hop_drop(f->sp, hyi_worker_forget);
}

void hyi_table_reset(hy_runtime *rt)
{
    uint64_t last = rt->generation_first;

    for (size_t i = 0; i < rt->used; i++) {
        struct hyi_fiber *f = hyi_fiber_at(rt, i);
        uint64_t life = atomic_load_explicit(&f->life, memory_order_relaxed);

        if (life & HYI_LIFE_LIVE) {
            hyi_waits_end(hyi_fiber_agent(f));
            discard_stack(f);
            wake_all(bury(f));
            life = atomic_load_explicit(&f->life, memory_order_relaxed);
        }
        if (hyi_generation(life) > last)
            last = hyi_generation(life);
    }
    /* Whoever found one of them alive may be about to post to it: a bit that
       was left in a slot would hide what is posted to its next fiber. Fence:
       the lives before the count; the partner is hy_fiber_cancel. */
    atomic_thread_fence(memory_order_seq_cst);
    while (atomic_load(&rt->cancelling) != 0)
        hyi_os_thread_yield();
    for (unsigned i = 0; i < HYI_TABLE_SEGMENTS; i++) {
        struct hyi_fiber *base =
            atomic_load_explicit(&rt->table[i], memory_order_relaxed);

        /* Refused where the host locks its memory. */
        if (base != NULL && hyi_os_decommit(base, segment_bytes(i)) != 0)
            memset((void *)base, 0, segment_bytes(i));
    }
    rt->generation_first = last + 1;
    rt->free = NULL;
    rt->used = rt->out = 0;
    atomic_store_explicit(&rt->used_visible, 0, memory_order_release);
}
