/*
 * weak_shared.c - the ring between processes (lib/ring/ring_shared.c): sleeping
 * on a bell, closing, and the claim of a side.
 *
 *      WEAK_CASE   producer            consumer              besides
 *      1           push                pop_wait
 *      2           push_wait, full     pop
 *      3           close               pop_wait, to its end
 *      4           push                pop twice             a third one closes
 *      5           push 2              pop_wait for 2        a mark
 *
 * The threads are of one process, which owns both sides.
 */
#define WEAK_OTHERS 2
#include "weak.h"

#define memset(ring, zero, bytes) ((void)(ring)) /* as it begins */

#include "../../lib/base/park.c"
#include "../../lib/ring/ring.c"
#include "../../lib/ring/ring_overwrite.c"
#include "../../lib/ring/ring_shared.c"
#include "../../lib/ring/ring_wait.c"

struct hyi_process hyi_process = {.identity = 7};

/* No slice ends: what is woken is woken by the bell. */
hy_deadline hy_after(uint64_t ns)
{
    (void)ns;
    return HY_FOREVER;
}

enum { CAPACITY = WEAK_CASE == 2 ? 1 : 2 };

static struct {
    hy_ring ring;
    uint64_t slots[CAPACITY];
} memory;

static hy_ring *const ring = &memory.ring;

/* Not NULL: nobody spins before sleeping. */
static const struct hyi_parker parker = {.now = hyi_os_now};

static void init(void)
{
    ring->mask = CAPACITY - 1;
    ring->item_bytes = ring->stride = sizeof(uint64_t);
    ring->lag = 1;
    ring->wake_items = WEAK_CASE == 5 ? 2 : 1;
    ring->wake_room = 1;
    ring->flags = HY_RING_SHARED;
    ring->producer.fenced = ring->consumer.fenced = true;
    ring->producer.limit = CAPACITY;
    atomic_init(&ring->producer.owner, 7);
    atomic_init(&ring->consumer.owner, 7);
    atomic_init(&ring->final, HYI_RING_UNDECIDED);
}

static void start(unsigned self)
{
    weak_begin(self);
    hyi_parker_self = &parker;
}

static int accepted, refused, popped;

static void push(uint64_t item)
{
    int r = hy_ring_push(ring, &item);

    if (r == 0)
        accepted++;
    else
        assert(r == -EPIPE), refused++;
}

static void *producer(void *unused)
{
    uint64_t item = 2;

    start(0);
#if WEAK_CASE == 2
    assert(hy_ring_push_wait(ring, &item, HY_FOREVER) == 0);
#else
    (void)item;
    if (WEAK_CASE == 3)
        hy_ring_close(ring);
    else
        push(1);
    if (WEAK_CASE == 5)
        push(2);
#endif
    weak_end();
    return unused;
}

static void *consumer(void *unused)
{
    uint64_t item = 0;
    int r;

    start(1);
#if WEAK_CASE == 1
    assert(hy_ring_pop_wait(ring, &item, HY_FOREVER) == 0 && item == 1);
#elif WEAK_CASE == 2
    assert(hy_ring_pop(ring, &item) == 0 && item == 1);
#elif WEAK_CASE == 3
    assert(hy_ring_pop_wait(ring, &item, HY_FOREVER) == -EPIPE);
#elif WEAK_CASE == 4
    for (int i = 0; i < 2 && (r = hy_ring_pop(ring, &item)) != -EPIPE; i++)
        popped += r == 0;
#elif WEAK_CASE == 5
    assert(hy_ring_pop_wait(ring, &item, HY_FOREVER) == 0 && item == 1);
#endif
    (void)r;
    (void)item;
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
    uint64_t item = 1;
    pthread_t t[3];
    int n = 0;

    init();
    if (WEAK_CASE == 2)
        push(item); /* full */
    pthread_create(&t[n++], NULL, producer, NULL);
    pthread_create(&t[n++], NULL, consumer, NULL);
    if (WEAK_CASE == 4)
        pthread_create(&t[n++], NULL, closer, NULL);
    while (n > 0)
        pthread_join(t[--n], NULL);
    if (WEAK_CASE == 4) {
        popped += hy_ring_pop(ring, &item) == 0;
        assert(hy_ring_pop(ring, &item) == -EPIPE);
        assert(popped == accepted && accepted + refused == 1);
    }
    if (WEAK_CASE == 2)
        assert(hy_ring_pop(ring, &item) == 0 && item == 2);
    return 0;
}
