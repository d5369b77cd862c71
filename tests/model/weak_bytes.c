/*
 * weak_bytes.c - the ring of records: lengths and content come with the index,
 * and sleepers wait for as much room as a record needs.
 *
 *      WEAK_CASE   producer              consumer             besides
 *      1           reserve, commit 3     try 3 times          2 records fit
 *      2           reserve, commit       peek_wait            membarrier
 *      3           reserve_wait, full,   peek, release 2      membarrier
 *                  for all the room
 *      4           reserve, commit       peek_wait            fences
 *      5           reserve_wait, full,   peek, release 2      fences
 *                  for all the room
 *      6           stage, commit         peek, next, release
 *      7           stage, reserve all    peek_wait            fences
 *      8           commit, close         peek until end       fences
 *      9           reserve_wait, full,   peek, release        membarrier
 *                  after one for more
 *
 * The data is an array, mapped once: records here are words, which end where it
 * ends.
 */
#define IS_FENCED                                                              \
    (WEAK_CASE == 4 || WEAK_CASE == 5 || WEAK_CASE == 7 || WEAK_CASE == 8)
#if WEAK_CASE == 2
#define WEAK_INTERRUPTS 2 /* by thread 1, the consumer */
#elif WEAK_CASE == 3 || WEAK_CASE == 9
#define WEAK_INTERRUPTS 1 /* by thread 0, the producer */
#endif
#define WEAK_OTHERS 2
#include "weak.h"

#define memset(ring, zero, bytes) ((void)(ring)) /* as it begins */

#include "../../lib/base/park.c"
#include "../../lib/ring/ring.c"
#include "../../lib/ring/ring_bytes.c"
#include "../../lib/ring/ring_overwrite.c"
#include "../../lib/ring/ring_shared.c"
#include "../../lib/ring/ring_wait.c"

struct hyi_process hyi_process;

/* Two records of a word, each with its length. */
enum { CAPACITY = 32 };

static struct header header;
static _Alignas(8) uint64_t data[CAPACITY / 8];
static hy_byte_ring handle;
static hy_byte_ring *const b = &handle;

enum { WAITS_MOST = 2 };

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
    hy_ring *ring = &header.ring;

    ring->mask = CAPACITY - 1;
    ring->item_bytes = ring->stride = 1;
    ring->lag = 1;
    ring->wake_items = ring->wake_room = 1;
    ring->producer.limit = CAPACITY;
    ring->producer.fenced = ring->consumer.fenced = IS_FENCED;
    atomic_init(&ring->final, HYI_RING_UNDECIDED);
    b->header = &header;
    b->ring = ring;
    b->data = (unsigned char *)data;
    b->mask = CAPACITY - 1;
}

static void start(unsigned self)
{
    weak_begin(self);
    hyi_parker_self = &parker;
}

/* One word; after the wait if that is there. */
static int push_word(uint64_t word, hy_deadline until)
{
    void *span;
    int r = until == HY_NOW ? hy_byte_ring_reserve(b, 8, &span)
                            : hy_byte_ring_reserve_wait(b, 24, &span, until);

    if (r != 0)
        return r;
    *(uint64_t *)span = word;
    return hy_byte_ring_commit(b, 8);
}

static void stage(uint64_t word)
{
    void *span;

    assert(hy_byte_ring_reserve(b, 8, &span) == 0);
    *(uint64_t *)span = word;
    assert(hy_byte_ring_stage(b, 8) == 0);
}

static void *producer(void *unused)
{
    start(0);
#if WEAK_CASE == 1
    for (uint64_t word = 1; word <= 3; word++)
        if (push_word(word, HY_NOW) != 0)
            break;
#elif WEAK_CASE == 2 || WEAK_CASE == 4
    assert(push_word(1, HY_NOW) == 0);
#elif WEAK_CASE == 3 || WEAK_CASE == 5
    assert(push_word(3, HY_FOREVER) == 0);
#elif WEAK_CASE == 9
    void *span;

    assert(hy_byte_ring_reserve_wait(b, 8, &span, HY_FOREVER) == 0);
#elif WEAK_CASE == 6
    stage(1);
    assert(push_word(2, HY_NOW) == 0);
#elif WEAK_CASE == 7
    void *span;

    stage(1);
    assert(hy_byte_ring_reserve(b, 24, &span) == -EAGAIN);
#else
    assert(push_word(1, HY_NOW) == 0);
    hy_byte_ring_close(b);
#endif
    weak_end();
    return unused;
}

static void *consumer(void *unused)
{
    const void *record;
    size_t bytes;
    int r = 0, n = 0;

    (void)r;
    (void)n;
    start(1);
#if WEAK_CASE == 1
    for (int i = 0; i < 3; i++)
        if (hy_byte_ring_peek(b, &record, &bytes) == 0) {
            assert(bytes == 8 && *(const uint64_t *)record == (uint64_t)++n);
            hy_byte_ring_release(b);
        }
#elif WEAK_CASE == 2 || WEAK_CASE == 4 || WEAK_CASE == 7
    assert(hy_byte_ring_peek_wait(b, &record, &bytes, HY_FOREVER) == 0);
    assert(bytes == 8 && *(const uint64_t *)record == 1);
    hy_byte_ring_release(b);
#elif WEAK_CASE == 3 || WEAK_CASE == 5
    for (; n < 2; n++) {
        assert(hy_byte_ring_peek(b, &record, &bytes) == 0);
        assert(bytes == 8 && *(const uint64_t *)record == (uint64_t)n + 1);
        hy_byte_ring_release(b);
    }
#elif WEAK_CASE == 9
    assert(hy_byte_ring_peek(b, &record, &bytes) == 0);
    hy_byte_ring_release(b);
#elif WEAK_CASE == 6
    if (hy_byte_ring_peek(b, &record, &bytes) == 0) {
        assert(bytes == 8 && *(const uint64_t *)record == 1);
        assert(hy_byte_ring_next(b, &record, &bytes) == 0);
        assert(bytes == 8 && *(const uint64_t *)record == 2);
        hy_byte_ring_release(b);
    }
#else
    for (int i = 0; i < 2; i++) {
        r = hy_byte_ring_peek(b, &record, &bytes);
        if (r == -EPIPE)
            break;
        if (r == 0) {
            assert(bytes == 8 && *(const uint64_t *)record == 1);
            hy_byte_ring_release(b);
            n++;
        }
    }
    assert(r != -EPIPE || n == 1);
#endif
    weak_end();
    return unused;
}

int main(void)
{
    pthread_t t[2];
    const void *record;
    size_t bytes;

    init();
    if (WEAK_CASE == 9) /* it slept for all the room, until a deadline */
        atomic_init(&header.ring.writer_at, CAPACITY);
    if (WEAK_CASE == 3 || WEAK_CASE == 5 || WEAK_CASE == 9) {
        assert(push_word(1, HY_NOW) == 0);
        assert(push_word(2, HY_NOW) == 0);
    }
    pthread_create(&t[0], NULL, producer, NULL);
    pthread_create(&t[1], NULL, consumer, NULL);
    pthread_join(t[0], NULL);
    pthread_join(t[1], NULL);
    if (WEAK_CASE == 3 || WEAK_CASE == 5) {
        assert(hy_byte_ring_peek(b, &record, &bytes) == 0);
        assert(bytes == 8 && *(const uint64_t *)record == 3);
    }
    return 0;
}
