/*
 * weak_marks.c - the marks of a ring: a sleeper that is woken only once so many
 * items, or so many free slots, are there, or when nothing more will come.
 *
 *      WEAK_CASE   producer            consumer              besides
 *      1           push 2              pop_wait for 2        membarrier
 *      2           push_wait for 2     pop 2, full at first  membarrier
 *      3           push 2              pop_wait for 2        fences
 *      4           push_wait for 2     pop 2, full at first  fences
 *      5           push, flush         pop_wait for 2        membarrier
 *      6           push, flush         pop_wait for 2        fences
 *      7           push, close         pop_wait for 2        fences
 *      8           push                pop_wait for 2, and   membarrier, clock
 *                                      a deadline
 *      9           push, waits for     pop_wait for 2        fences
 *                  all slots
 *
 * In 9 the producer sleeps although there is room, as that of a byte
 * ring does whose next record is a long one: the consumer must not wait for
 * more.
 */
#define IS_FENCED                                                              \
    (WEAK_CASE == 3 || WEAK_CASE == 4 || WEAK_CASE == 6 || WEAK_CASE == 7 ||   \
     WEAK_CASE == 9)
#if WEAK_CASE == 1 || WEAK_CASE == 5 || WEAK_CASE == 8
#define WEAK_INTERRUPTS 2 /* by thread 1, the consumer */
#elif WEAK_CASE == 2
#define WEAK_INTERRUPTS 1 /* by thread 0, the producer */
#endif
#define WEAK_OTHERS 2
#include "weak.h"

#define memset(ring, zero, bytes) ((void)(ring)) /* as it begins */

#include "../../lib/base/park.c"
#include "../../lib/ring/ring.c"
#include "../../lib/ring/ring_overwrite.c"
#include "../../lib/ring/ring_shared.c"
#include "../../lib/ring/ring_wait.c"

struct hyi_process hyi_process;

enum { CAPACITY = 2 };

static struct {
    hy_ring ring;
    uint64_t slots[CAPACITY];
} memory;

static hy_ring *const ring = &memory.ring;

/* A sleeper that is woken goes to sleep again at most once. */
enum { WAITS_MOST = 3 };

static void parker_init(struct hyi_waiter *waiter)
{
    static _Thread_local int waits;

    (void)waiter;
    __VERIFIER_assume(++waits <= WAITS_MOST);
}

static int parker_park(struct hyi_waiter *waiter, hy_deadline until,
                       bool cancellable)
{
    (void)cancellable;
    return park_thread(waiter, until);
}

/* Not NULL: nobody spins before parking. */
static const struct hyi_parker parker = {
    .now = hyi_os_now, .init = parker_init, .park = parker_park};

static void init(void)
{
    ring->mask = CAPACITY - 1;
    ring->item_bytes = ring->stride = sizeof(uint64_t);
    ring->lag = 1;
    ring->wake_items = WEAK_CASE == 2 || WEAK_CASE == 4 ? 1 : 2;
    ring->wake_room = 2;
    ring->producer.limit = CAPACITY;
    ring->producer.fenced = ring->consumer.fenced = IS_FENCED;
    ring->producer.quick = ring->consumer.quick =
        hyi_ring_is_quick(ring, IS_FENCED);
    atomic_init(&ring->final, HYI_RING_UNDECIDED);
}

static void start(unsigned self)
{
    weak_begin(self);
    hyi_parker_self = &parker;
}

static void push(uint64_t item)
{
    int r = hy_ring_push(ring, &item);

    assert(r == 0);
}

static void *producer(void *unused)
{
    uint64_t item = 3;

    (void)item;
    start(0);
#if WEAK_CASE == 1 || WEAK_CASE == 3
    push(1);
    push(2);
#elif WEAK_CASE == 2 || WEAK_CASE == 4
    assert(hy_ring_push_wait(ring, &item, HY_FOREVER) == 0);
#elif WEAK_CASE == 5 || WEAK_CASE == 6
    push(1);
    hy_ring_flush(ring);
#elif WEAK_CASE == 7
    push(1);
    hy_ring_close(ring);
#elif WEAK_CASE == 8
    push(1);
#else
    push(1);
    assert(hyi_ring_wait_room(ring, CAPACITY, HY_FOREVER) == 0);
#endif
    weak_end();
    return unused;
}

static void *consumer(void *unused)
{
    uint64_t item = 0;
    int r;

    (void)r;
    start(1);
#if WEAK_CASE == 2 || WEAK_CASE == 4
    assert(hy_ring_pop(ring, &item) == 0 && item == 1);
    assert(hy_ring_pop(ring, &item) == 0 && item == 2);
#elif WEAK_CASE == 8
    r = hy_ring_pop_wait(ring, &item, WEAK_DUE);
    assert((r == 0 && item == 1) || r == -ETIMEDOUT);
#else
    assert(hy_ring_pop_wait(ring, &item, HY_FOREVER) == 0 && item == 1);
#if WEAK_CASE == 7
    assert(hy_ring_pop_wait(ring, &item, HY_FOREVER) == -EPIPE);
#endif
#endif
    weak_end();
    return unused;
}

int main(void)
{
    pthread_t t[3];
    int n = 0;

    init();
    if (WEAK_CASE == 2 || WEAK_CASE == 4) {
        push(1);
        push(2);
    }
    pthread_create(&t[n++], NULL, producer, NULL);
    pthread_create(&t[n++], NULL, consumer, NULL);
    if (WEAK_CASE == 8)
        pthread_create(&t[n++], NULL, weak_clock, NULL);
    while (n > 0)
        pthread_join(t[--n], NULL);
    return 0;
}
