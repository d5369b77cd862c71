/*
 * weak_many.c - many producers on one ring (lib/ring/ring_many.c): turns on the
 * producer's side, asleep when somebody else has it; waiting for room, one
 * behind the other; a close.
 *
 *      WEAK_CASE   producers 0 and 1       besides
 *      1           push_mp each            membarrier
 *      2           push_mp each            fences
 *      3           push_mp 2, push_mp      a consumer tries twice, quick
 *      4           are the front once      whoever is the front is it alone
 *      5           waits for room, full    pops, pushes by push_mp, pops
 *      6           are the front once      a clock: a deadline for producer 1
 *      7           push_mp each            a third one closes
 *
 * In 1 and 2 a producer that does not get its turn falls asleep at once; in the
 * others it waits awake, as they are about what turns guard.
 */
#define SLEEPS (WEAK_CASE == 1 || WEAK_CASE == 2)
#if WEAK_CASE == 1
#define WEAK_INTERRUPTS 3 /* by each of them */
#endif
#define WEAK_OTHERS 2
#define IS_FENCED   (WEAK_CASE != 1 && WEAK_CASE != 3)
#include "weak.h"

#define memset(ring, zero, bytes) ((void)(ring)) /* as it begins */

#include "../../lib/base/park.c"
#include "../../lib/ring/ring.c"

#undef hy_arch_pause
#if SLEEPS
#define hy_arch_pause() break
#else
/* Until the turn is free: a loop that counts would never end. */
#define hy_arch_pause() weak_await_turn(p)
static inline void weak_await_turn(const struct hyi_ring_producer *p)
{
    while (__c11_atomic_load(&p->lock, memory_order_relaxed) != 0)
        ;
    weak_be_back();
}
#endif
#include "../../lib/ring/ring_many.c"
#undef hy_arch_pause
#define hy_arch_pause() __VERIFIER_assume(false)
#include "../../lib/ring/ring_attach.c"
#include "../../lib/ring/ring_overwrite.c"
#include "../../lib/ring/ring_shared.c"
#include "../../lib/ring/ring_wait.c"

struct hyi_process hyi_process;

enum {
    IS_FULL = WEAK_CASE == 5,
    CAPACITY = WEAK_CASE == 3   ? 4
               : WEAK_CASE == 5 ? 1
                                : 2
};

static struct {
    hy_ring ring;
    uint64_t slots[CAPACITY];
} memory;

static hy_ring *const ring = &memory.ring;

/* A parker that is not NULL keeps the sides from spinning before they park. */
static void parker_init(struct hyi_waiter *waiter)
{
    (void)waiter;
}

static int parker_park(struct hyi_waiter *waiter, hy_deadline until,
                       bool cancellable)
{
    (void)cancellable;
    return park_thread(waiter, until);
}

static const struct hyi_parker parker = {hyi_os_now, parker_init, parker_park,
                                         NULL};

static void init(void)
{
    ring->mask = CAPACITY - 1;
    ring->item_bytes = ring->stride = 8;
    ring->lag = 1;
    ring->wake_items = ring->wake_room = 1;
    ring->producer.limit = CAPACITY;
    ring->producer.fenced = ring->consumer.fenced = IS_FENCED;
    ring->producer.quick = ring->consumer.quick =
        hyi_ring_is_quick(ring, IS_FENCED);
    atomic_init(&ring->final, HYI_RING_UNDECIDED);
}

static int result[2];

static void produce(unsigned self)
{
    uint64_t item = 10 * (self + 1);

#if WEAK_CASE == 3
    assert(hy_ring_push_mp(ring, &item) == 0);
    item++;
    if (self == 0)
        assert(hy_ring_push_mp(ring, &item) == 0);
#elif WEAK_CASE == 4 || WEAK_CASE == 6
    bool is_front;

    result[self] = become_front(
        ring, WEAK_CASE == 6 && self == 1 ? WEAK_DUE : HY_FOREVER, &is_front);
    assert(is_front || result[self] == -ETIMEDOUT);
    if (!is_front)
        return;
    ring->many.spins++; /* the front's alone: not atomic */
    leave_front(ring);
#elif WEAK_CASE == 5
    result[self] = hyi_ring_wait_for_room(ring, HY_FOREVER);
#else
    result[self] = hy_ring_push_mp(ring, &item);
#endif
}

static void *producer(void *self)
{
    weak_begin((unsigned)(uintptr_t)self);
    hyi_parker_self = &parker;
    produce((unsigned)(uintptr_t)self);
    weak_end();
    return self;
}

static void *the_other(void *unused)
{
    uint64_t item = 0;

    weak_begin(2);
    (void)item;
#if WEAK_CASE == 3
    uint64_t before = 0;

    for (int i = 0; i < 2; i++)
        if (hy_ring_pop(ring, &item) == 0) {
            /* Each in order: 11 only after 10. */
            assert(item == 10 || item == 20 || item == 11);
            assert(item != before && (item != 11 || before != 0));
            before = item;
        }
#elif WEAK_CASE == 5
    assert(hy_ring_pop(ring, &item) == 0 && item == 1);
    item = 20;
    result[1] = hy_ring_push_mp(ring, &item);
    assert(hy_ring_pop(ring, &item) == 0 && item == 20);
#elif WEAK_CASE == 7
    hy_ring_close(ring);
#endif
    weak_end();
    return unused;
}

/* What came out, as a sum, until nothing is left. */
static uint64_t drain(void)
{
    uint64_t item, sum = 0;

    for (int i = 0; i < 4 && hy_ring_pop(ring, &item) == 0; i++)
        sum += item;
    return sum;
}

static void check_ends(void)
{
    uint64_t sum = drain();

#if WEAK_CASE == 4 || WEAK_CASE == 6
    assert(sum == 0 && (result[1] == 0 || WEAK_CASE == 6));
    assert(result[0] == 0);
#elif WEAK_CASE == 3
    assert(ring->tail == 3);
#elif WEAK_CASE == 5
    assert(sum == 0 && result[0] == 0 && result[1] == 0);
#else
    assert(WEAK_CASE == 7 || (result[0] == 0 && result[1] == 0));
    assert(sum == (result[0] == 0 ? 10u : 0u) + (result[1] == 0 ? 20u : 0u));
#endif
    assert(ring->many.front == 0 && ring->many.first == NULL);
    assert(ring->producer.lock == 0);
}

int main(void)
{
    pthread_t t[4];
    int n = 0;

    init();
    for (uint64_t item = 1; IS_FULL && item <= CAPACITY; item++)
        assert(hy_ring_push(ring, &item) == 0);
    pthread_create(&t[n++], NULL, producer, (void *)0);
    if (WEAK_CASE != 5)
        pthread_create(&t[n++], NULL, producer, (void *)1);
    if (WEAK_CASE == 3 || WEAK_CASE == 5 || WEAK_CASE == 7)
        pthread_create(&t[n++], NULL, the_other, NULL);
    if (WEAK_CASE == 6)
        pthread_create(&t[n++], NULL, weak_clock, NULL);
    while (n > 0)
        pthread_join(t[--n], NULL);
    check_ends();
    return 0;
}
