/*
 * weak_ring.c - the ring (lib/ring): items from a producer to a consumer, each
 * asleep when there is nothing to do, a close, and the ring that overwrites.
 *
 *      WEAK_CASE   producer            consumer              besides
 *      1           push 3              try 3 times           2 slots
 *      2           push                pop_wait              membarrier
 *      3           push_wait, full     pop                   membarrier
 *      4           push                pop_wait              fences
 *      5           push_wait, full     pop                   fences
 *      6           push                pop_wait, deadline    membarrier, clock
 *      7           push, close         pop_wait until end    membarrier
 *      8           push                pop until end         a third one closes
 *      9           push 3              pop 2                 overwrites 2 slots
 *      10          push 3              pop 2                 the same, 4 bytes
 *      11          push, close         pop until end         overwrites 2 slots
 *      12          makes the ring      attaches to it
 *      13          push, close         pop until end         fences
 *      14          push 3              try 3 times, lets the producer run ahead
 */
#define IS_FENCED (WEAK_CASE == 4 || WEAK_CASE == 5 || WEAK_CASE == 13)
#if WEAK_CASE == 11 || WEAK_CASE == 2 || WEAK_CASE == 6 || WEAK_CASE == 7 ||   \
    WEAK_CASE == 8
#define WEAK_INTERRUPTS 2 /* by thread 1, the consumer */
#elif WEAK_CASE == 3
#define WEAK_INTERRUPTS 1 /* by thread 0, the producer */
#endif
#define WEAK_OTHERS   2
#define IS_OVERWRITER (WEAK_CASE >= 9 && WEAK_CASE <= 11)
#include "weak.h"

#if WEAK_CASE == 14 /* nobody spins in it: a pause is time alone */
#undef hy_arch_pause
#define hy_arch_pause() ((void)0)
#endif

#undef memcpy /* items of four bytes lie in a word, too */
#define memcpy(to, from, bytes)                                                \
    (assert((bytes) == 8 || (bytes) == 4),                                     \
     *(uint64_t *)(void *)(to) = *(const uint64_t *)(const void *)(from))
#define memset(ring, zero, bytes) ((void)(ring)) /* as it begins */

#include "../../lib/base/park.c"
#include "../../lib/ring/ring.c"
#include "../../lib/ring/ring_attach.c"
#include "../../lib/ring/ring_overwrite.c"
#include "../../lib/ring/ring_shared.c"
#include "../../lib/ring/ring_wait.c"

struct hyi_process hyi_process;

enum {
    CAPACITY = WEAK_CASE == 3 || WEAK_CASE == 5 ? 1
               : WEAK_CASE == 14                ? 4
                                                : 2
};

static struct {
    hy_ring ring;
    struct {
        uint64_t sequence, word;
    } slots[CAPACITY];
} memory;

static hy_ring *const ring = &memory.ring;

/* Between the two steps of a close a consumer goes round without sleeping. */
enum { WAITS_MOST = 2 };

/* A parker that is not NULL keeps the sides from spinning before they park. */
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

static const struct hyi_parker parker = {hyi_os_now, parker_init, parker_park,
                                         NULL};

static void init(void)
{
    ring->mask = CAPACITY - 1;
    ring->item_bytes = WEAK_CASE == 10 ? 4 : sizeof(uint64_t);
    ring->stride = IS_OVERWRITER ? 16 : 8;
    ring->lag = 1;
    ring->run = WEAK_CASE == 14 ? 2 : 0;
    ring->wake_items = ring->wake_room = 1;
    ring->flags = IS_OVERWRITER ? HY_RING_OVERWRITE : 0;
    ring->producer.limit = IS_OVERWRITER ? 0 : CAPACITY;
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

static int accepted, closed_upon;

static void push(uint64_t item)
{
    int r = hy_ring_push(ring, &item);

    if (r == 0)
        accepted++;
    else
        assert(r == -EPIPE), closed_upon++;
}

static void *producer(void *unused)
{
    uint64_t item = 1;

    start(0);
#if WEAK_CASE == 1 || WEAK_CASE == 14
    for (; item <= 3; item++)
        if (hy_ring_push(ring, &item) != 0)
            break;
#elif WEAK_CASE == 3 || WEAK_CASE == 5
    item = 2;
    assert(hy_ring_push_wait(ring, &item, HY_FOREVER) == 0);
#elif WEAK_CASE == 7 || WEAK_CASE == 11 || WEAK_CASE == 13
    push(item);
    hy_ring_close(ring);
#elif WEAK_CASE == 12
    ring->mask = ring->item_bytes = ring->stride = 0;
    hyi_ring_fill(ring,
                  &(hy_ring_options){.capacity = CAPACITY, .item_bytes = 8},
                  sizeof(memory), 8, HYI_RING_MAGIC);
#elif WEAK_CASE == 9 || WEAK_CASE == 10
    for (; item <= 3; item++)
        push(item);
#else
    push(item);
#endif
    weak_end();
    return unused;
}

static int popped;

static void *consumer(void *unused)
{
    uint64_t item = 0, before = 0;
    int r;

    start(1);
#if WEAK_CASE == 1 || WEAK_CASE == 14
    for (int i = 0; i < 3; i++)
        if (hy_ring_pop(ring, &item) == 0) {
            assert(item == before + 1);
            before = item;
        }
#elif WEAK_CASE == 3 || WEAK_CASE == 5
    assert(hy_ring_pop(ring, &item) == 0 && item == 1);
#elif WEAK_CASE == 2 || WEAK_CASE == 4
    assert(hy_ring_pop_wait(ring, &item, HY_FOREVER) == 0 && item == 1);
#elif WEAK_CASE == 6
    r = hy_ring_pop_wait(ring, &item, WEAK_DUE);
    assert((r == 0 && item == 1) || r == -ETIMEDOUT);
#elif WEAK_CASE == 7
    assert(hy_ring_pop_wait(ring, &item, HY_FOREVER) == 0 && item == 1);
    assert(hy_ring_pop_wait(ring, &item, HY_FOREVER) == -EPIPE);
#elif WEAK_CASE == 8
    r = hy_ring_pop_wait(ring, &item, HY_FOREVER);
    assert(r == 0 || r == -EPIPE);
    popped = r == 0;
#elif WEAK_CASE == 11 || WEAK_CASE == 13
    for (int i = 0; i < 2 && (r = hy_ring_pop(ring, &item)) != -EPIPE; i++)
        popped += r == 0;
    assert(r != -EPIPE || popped == 1);
#elif WEAK_CASE == 12
    hy_ring *attached;

    r = hy_ring_attach(&attached, ring, sizeof(memory));
    assert(r == 0 || r == -EBADMSG);
    if (r == 0)
        assert(attached->mask == CAPACITY - 1 && attached->stride == 8);
#else
    for (int i = 0; i < 2; i++)
        if (hy_ring_pop(ring, &item) == 0) {
            assert(item > before && item <= 3);
            before = item;
        }
#endif
    weak_end();
    return unused;
}

static void *closer(void *unused)
{
    weak_begin(2);
    hy_ring_close(ring);
    weak_end();
    return unused;
}

int main(void)
{
    pthread_t t[3];
    int n = 0;

    uint64_t item = 1;

    if (WEAK_CASE != 12)
        init();
    if (WEAK_CASE == 3 || WEAK_CASE == 5)
        push(item); /* full */
    pthread_create(&t[n++], NULL, producer, NULL);
    pthread_create(&t[n++], NULL, consumer, NULL);
    if (WEAK_CASE == 8)
        pthread_create(&t[n++], NULL, closer, NULL);
    if (WEAK_CASE == 6)
        pthread_create(&t[n++], NULL, weak_clock, NULL);
    while (n > 0)
        pthread_join(t[--n], NULL);
    if (WEAK_CASE == 8) {
        assert(hy_ring_pop(ring, &item) == -EPIPE);
        assert(popped == accepted && accepted + closed_upon == 1);
    }
    if (WEAK_CASE == 3 || WEAK_CASE == 5)
        assert(hy_ring_pop(ring, &item) == 0 && item == 2);
    return 0;
}
