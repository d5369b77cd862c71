/*
 * weak_inline.c - the typed ring (include/hyperion/inline/ring.h): items in
 * their order, none torn, and all that were pushed before a close.
 *
 *      WEAK_CASE 1: push 3, pop 3, 2 slots     2: push, close; pop until closed
 *      3: push 3, pop 3, of 8 slots: less is there than the head start of 2
 */
#include "weak.h"

#define HY_RING_PAUSE() ((void)0)

#include "hyperion/inline/ring.h"

enum { CAPACITY = WEAK_CASE == 3 ? 8 : 2 };

HY_RING_DEFINE(weak_ring, uint64_t, CAPACITY);

static weak_ring ring;

static void *producer(void *unused)
{
    for (uint64_t item = 1; item <= (WEAK_CASE == 2 ? 1 : 3); item++)
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

    ring.i.limit = CAPACITY;
    pthread_create(&one, NULL, producer, NULL);
    pthread_create(&two, NULL, consumer, NULL);
    pthread_join(one, NULL);
    pthread_join(two, NULL);
    return 0;
}
