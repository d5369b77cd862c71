/*
 * weak_inline.c - the typed ring (include/hyperion/inline/ring.h): items in
 * their order, none torn, and all that were pushed before a close.
 *
 *      WEAK_CASE 1: push 3, pop 3, 2 slots     2: push, close; pop until closed
 */
#include "weak.h"

#include "hyperion/inline/ring.h"

HY_RING_DEFINE(weak_ring, uint64_t, 2);

static weak_ring ring;

static void *producer(void *unused)
{
    for (uint64_t item = 1; item <= (WEAK_CASE == 1 ? 3 : 1); item++)
        if (weak_ring_push(&ring, item) != 0)
            break;
    if (WEAK_CASE == 2)
        weak_ring_close(&ring);
    return unused;
}

static void *consumer(void *unused)
{
    uint64_t item, before = 0;
    int r = 0;

    for (int i = 0; i < 3 && r != -EPIPE; i++) {
        r = weak_ring_pop(&ring, &item);
        if (r != 0)
            continue;
        assert(item == before + 1);
        before = item;
    }
    if (r == -EPIPE)
        assert(before == 1);
    return unused;
}

int main(void)
{
    pthread_t one, two;

    ring.i.limit = 2;
    pthread_create(&one, NULL, producer, NULL);
    pthread_create(&two, NULL, consumer, NULL);
    pthread_join(one, NULL);
    pthread_join(two, NULL);
    return 0;
}
