/*
 * test_slab_threads.c - object caches between threads: who frees what, threads
 * that end, fork; and a heap with a lock.
 */
#include <errno.h>
#include <hyperion/heap.h>
#include <hyperion/slab.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hy_test.h"

static hy_slab_stats stats_of(hy_slab *slab)
{
    hy_slab_stats s = HY_SLAB_STATS_INIT;

    HY_CHECK_EQ(hy_slab_stats_get(slab, &s), 0);
    return s;
}

/* A check that fails in a thread that is not the test's: counted, and checked
 * where it can be. */
static _Atomic int wrong;

#define EXPECT(cond) ((cond) ? (void)0 : (void)atomic_fetch_add(&wrong, 1))

static void in_thread(void *(*entry)(void *), void *arg)
{
    pthread_t thread;

    HY_CHECK_EQ(pthread_create(&thread, NULL, entry, arg), 0);
    pthread_join(thread, NULL);
}

/* --- a free of what is free already --------------------------------------- */

struct batch {
    hy_slab *slab;
    void **objects;
    int count, expected;
};

static void *free_batch(void *arg)
{
    struct batch *b = arg;

    for (int i = 0; i < b->count; i++)
        EXPECT(hy_slab_free(b->slab, b->objects[i]) == b->expected);
    return NULL;
}

static void *alloc_batch(void *arg)
{
    struct batch *b = arg;

    for (int i = 0; i < b->count; i++) {
        b->objects[i] = hy_slab_alloc(b->slab);
        EXPECT(b->objects[i] != NULL);
    }
    return NULL;
}

enum { MANY = 10000 };
static void *many[MANY];

/* The first free is by this thread or another, the second by the other or a
 * third; the chunk is its owner's, used up, or of a thread that has ended. */
HY_TEST(slab_threads, refuses_a_second_free_from_anywhere)
{
    for (int way = 0; way < 8; way++) {
        static const int counts[] = {1, 2, 70, MANY};

        for (int k = 0; k < 4; k++) {
            struct batch b = {.objects = many, .count = counts[k]};

            HY_CHECK_EQ(hy_slab_create(&b.slab, 64, NULL), 0);
            if (way & 1)
                in_thread(alloc_batch, &b);
            else
                alloc_batch(&b);
            if (way & 2)
                in_thread(free_batch, &b);
            else
                free_batch(&b);
            HY_CHECK_EQ(stats_of(b.slab).live_objects, 0);
            b.expected = -EINVAL;
            if (way & 4)
                in_thread(free_batch, &b);
            else
                free_batch(&b);
            in_thread(free_batch, &b);
            HY_CHECK_EQ(stats_of(b.slab).refused_frees, 2 * b.count);
            HY_CHECK_EQ(atomic_load(&wrong), 0);
            hy_slab_destroy(b.slab);
        }
    }
}

/* What another thread frees twice, as the front of an owner that lives. */
HY_TEST(slab_threads, refuses_the_front_of_another)
{
    struct batch b = {.objects = many, .count = 1, .expected = -EINVAL};

    HY_CHECK_EQ(hy_slab_create(&b.slab, 64, NULL), 0);
    alloc_batch(&b);
    HY_CHECK_EQ(hy_slab_free(b.slab, many[0]), 0);
    in_thread(free_batch, &b);
    HY_CHECK(hy_slab_alloc(b.slab) == many[0]);
    b.expected = 0;
    in_thread(free_batch, &b);
    HY_CHECK_EQ(hy_slab_free(b.slab, many[0]), -EINVAL);
    HY_CHECK_EQ(atomic_load(&wrong), 0);
    hy_slab_destroy(b.slab);
}

/* The front of an owner whose chunk had to go to the pool. */
HY_TEST(slab_threads, refuses_a_front_whose_chunk_has_left)
{
    enum { CHUNKS = 12 };
    static void *objects[CHUNKS * 4096 + 1];
    struct batch b = {.objects = objects, .count = CHUNKS * 4096 + 1};

    HY_CHECK_EQ(hy_slab_create(&b.slab, 64, NULL), 0);
    HY_CHECK_EQ(stats_of(b.slab).chunk_bytes, 4096 * 64);
    alloc_batch(&b);
    for (int i = 0; i < CHUNKS; i++)
        HY_CHECK_EQ(hy_slab_free(b.slab, objects[i * 4096]), 0);
    b.count = 1;
    b.expected = -EINVAL;
    in_thread(free_batch, &b);
    HY_CHECK_EQ(atomic_load(&wrong), 0);
    HY_CHECK_EQ(stats_of(b.slab).live_objects, (CHUNKS * 4095) + 1);
    hy_slab_destroy(b.slab);
}

/* What is left of a chunk after its last object stays no object, also when
 * others have freed beside it. */
HY_TEST(slab_threads, refuses_the_rest_of_a_chunk)
{
    struct batch b = {.objects = many};
    hy_slab_stats s;
    char *rest;

    HY_CHECK_EQ(hy_slab_create(&b.slab, 192, NULL), 0);
    s = stats_of(b.slab);
    b.count = (int)(s.chunk_bytes / s.object_bytes);
    HY_CHECK(b.count % 64 != 0 && b.count < MANY);
    alloc_batch(&b);
    rest = (char *)many[b.count - 1] + s.object_bytes;
    HY_CHECK_EQ(hy_slab_free(b.slab, rest), -EINVAL);
    in_thread(free_batch, &b);
    alloc_batch(&b);
    HY_CHECK_EQ(stats_of(b.slab).chunks, 1);
    HY_CHECK_EQ(hy_slab_free(b.slab, rest), -EINVAL);
    free_batch(&b);
    HY_CHECK_EQ(atomic_load(&wrong), 0);
    HY_CHECK_EQ(hy_slab_trim(b.slab, NULL), 0);
    HY_CHECK_EQ(stats_of(b.slab).chunks, 0);
    hy_slab_destroy(b.slab);
}

/* --- memory comes back ---------------------------------------------------- */

/* One thread allocates, another frees, again and again: what is held stays
 * where it was after the first round. */
HY_TEST(slab_threads, memory_freed_by_others_is_used_again)
{
    struct batch b = {.objects = many, .count = MANY};
    uint64_t held = 0;

    HY_CHECK_EQ(hy_slab_create(&b.slab, 64, NULL), 0);
    for (int round = 0; round < 20; round++) {
        alloc_batch(&b);
        in_thread(free_batch, &b);
        held = round == 1 ? stats_of(b.slab).held_bytes : held;
    }
    HY_CHECK_EQ(stats_of(b.slab).held_bytes, held);
    HY_CHECK(stats_of(b.slab).adopted_chunks > 0);
    /* The other way round. */
    for (int round = 0; round < 20; round++) {
        in_thread(alloc_batch, &b);
        free_batch(&b);
    }
    HY_CHECK(stats_of(b.slab).held_bytes <= held + 3 * (256 << 10));
    HY_CHECK_EQ(stats_of(b.slab).live_objects, 0);
    HY_CHECK_EQ(hy_slab_trim(b.slab, NULL), 0);
    HY_CHECK_EQ(stats_of(b.slab).chunks, 0);
    hy_slab_destroy(b.slab);
}

struct scatter {
    hy_slab *slab;
    void **objects;
    size_t count;
    _Atomic int turn; /* 0: fill, 1: free every other one, 2: stop */
};

static void *free_scattered(void *arg)
{
    struct scatter *s = arg;

    for (;;) {
        int turn = atomic_load(&s->turn);

        if (turn == 2)
            return NULL;
        if (turn == 0)
            continue;
        for (size_t i = 0; i < s->count; i += 2)
            EXPECT(hy_slab_free(s->slab, s->objects[i]) == 0);
        atomic_store(&s->turn, 0);
    }
}

/* A thread that lives and frees every other object does not keep their room. */
HY_TEST(slab_threads, room_in_many_chunks_is_shared)
{
    enum { COUNT = 200000 };
    static void *objects[COUNT];
    struct scatter s = {.objects = objects, .count = COUNT};
    pthread_t thread;
    uint64_t held;

    HY_CHECK_EQ(hy_slab_create(&s.slab, 64, NULL), 0);
    HY_CHECK_EQ(pthread_create(&thread, NULL, free_scattered, &s), 0);
    for (size_t i = 0; i < COUNT; i++)
        HY_CHECK((objects[i] = hy_slab_alloc(s.slab)) != NULL);
    held = stats_of(s.slab).held_bytes;
    for (int round = 0; round < 3; round++) {
        atomic_store(&s.turn, 1);
        while (atomic_load(&s.turn) != 0)
            continue;
        for (size_t i = 0; i < COUNT; i += 2)
            HY_CHECK((objects[i] = hy_slab_alloc(s.slab)) != NULL);
    }
    atomic_store(&s.turn, 2);
    pthread_join(thread, NULL);
    HY_CHECK_EQ(atomic_load(&wrong), 0);
    HY_CHECK(stats_of(s.slab).held_bytes <= held + 10 * (256 << 10));
    HY_CHECK(stats_of(s.slab).remote_frees > 0);
    hy_slab_destroy(s.slab);
}

static void *alloc_some_and_end(void *arg)
{
    struct batch *b = arg;

    for (int i = 0; i < 100; i++)
        b->objects[i] = hy_slab_alloc(b->slab);
    for (int i = 0; i < 100; i += 2)
        EXPECT(hy_slab_free(b->slab, b->objects[i]) == 0);
    return NULL;
}

HY_TEST(slab_threads, what_dead_threads_held_is_adopted)
{
    struct batch b = {.objects = many};
    hy_slab_stats s;

    HY_CHECK_EQ(hy_slab_create(&b.slab, 64, NULL), 0);
    for (int i = 0; i < 300; i++) {
        in_thread(alloc_some_and_end, &b);
        for (int k = 1; k < 100; k += 2)
            HY_CHECK_EQ(hy_slab_free(b.slab, many[k]), 0);
    }
    s = stats_of(b.slab);
    HY_CHECK_EQ(s.live_objects, 0);
    HY_CHECK(s.chunks <= 3);
    HY_CHECK(s.caches <= 1);
    HY_CHECK_EQ(atomic_load(&wrong), 0);
    hy_slab_destroy(b.slab);
}

/* --- ends of threads ------------------------------------------------------ */

static pthread_key_t late_key;
static hy_slab *late_slab;

static void late_free(void *object)
{
    void *p;

    EXPECT(hy_slab_free(late_slab, object) == 0);
    EXPECT((p = hy_slab_alloc(late_slab)) != NULL);
    EXPECT(hy_slab_free(late_slab, p) == 0);
    /* By a cache that is this thread's, not one that the next may get. */
    EXPECT(stats_of(late_slab).caches == 1);
}

static void *leave_an_object(void *arg)
{
    (void)arg;
    pthread_setspecific(late_key, hy_slab_alloc(late_slab));
    return NULL;
}

/* Both a key that is older than the library's and one that is newer. */
HY_TEST(slab_threads, destructors_may_free_after_the_end)
{
    pthread_key_t keys[8];

    HY_CHECK_EQ(hy_slab_create(&late_slab, 64, NULL), 0);
    for (int i = 0; i < 8; i++) {
        HY_CHECK_EQ(pthread_key_create(&keys[i], late_free), 0);
        late_key = keys[i];
        for (int k = 0; k < 20; k++)
            in_thread(leave_an_object, NULL);
    }
    HY_CHECK_EQ(atomic_load(&wrong), 0);
    HY_CHECK_EQ(stats_of(late_slab).live_objects, 0);
    HY_CHECK(stats_of(late_slab).chunks <= 3);
    for (int i = 0; i < 8; i++)
        pthread_key_delete(keys[i]);
    hy_slab_destroy(late_slab);
}

static void *use_and_outlive(void *arg)
{
    _Atomic int *step = arg;
    hy_slab *slab;

    EXPECT(hy_slab_free(late_slab, hy_slab_alloc(late_slab)) == 0);
    atomic_store(step, 1);
    while (atomic_load(step) != 2)
        continue;
    EXPECT(hy_slab_create(&slab, 64, NULL) == 0);
    EXPECT(hy_slab_free(slab, hy_slab_alloc(slab)) == 0);
    EXPECT(hy_slab_destroy(slab) == 0);
    return NULL;
}

HY_TEST(slab_threads, a_slab_may_go_before_its_threads)
{
    _Atomic int step = 0;
    pthread_t thread;

    HY_CHECK_EQ(hy_slab_create(&late_slab, 64, NULL), 0);
    HY_CHECK_EQ(pthread_create(&thread, NULL, use_and_outlive, &step), 0);
    while (atomic_load(&step) != 1)
        continue;
    hy_slab_destroy(late_slab);
    atomic_store(&step, 2);
    pthread_join(thread, NULL);
    HY_CHECK_EQ(atomic_load(&wrong), 0);
}

/* --- all at once ---------------------------------------------------------- */

enum { MAILBOXES = 512, THREADS = 4 };

struct storm {
    hy_slab *slab;
    _Atomic(uint64_t *) boxes[MAILBOXES];
    _Atomic int stop;
    int steps;
    uint64_t seed;
};

/* Objects carry their own address, mixed, for as long as they are live. */
static uint64_t mark_of(const void *p)
{
    return (uintptr_t)p * 0x9e3779b97f4a7c15u;
}

static void storm_free(struct storm *s, uint64_t *p)
{
    if (p == NULL)
        return;
    EXPECT(p[0] == mark_of(p) && p[7] == ~mark_of(p));
    p[0] = p[7] = 0;
    EXPECT(hy_slab_free(s->slab, p) == 0);
}

static void *storm_run(void *arg)
{
    struct storm *s = arg;
    uint64_t x = mark_of(&arg) | 1;

    for (int i = 0; i < s->steps && !atomic_load(&s->stop); i++) {
        uint64_t *p = NULL;

        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        if (x >> 60 != 0) { /* else only free */
            p = hy_slab_alloc(s->slab);
            EXPECT(p != NULL);
            if (p == NULL)
                continue;
            EXPECT(p[0] == 0 || p[0] != mark_of(p));
            p[0] = mark_of(p);
            p[7] = ~p[0];
        }
        /* The exchange hands the object over. */
        storm_free(s, atomic_exchange(&s->boxes[x % MAILBOXES], p));
    }
    return NULL;
}

static void run_storm(size_t bytes, const hy_slab_options *options, int steps)
{
    static struct storm s;
    pthread_t threads[THREADS];

    memset(&s, 0, sizeof(s));
    s.steps = steps;
    HY_CHECK_EQ(hy_slab_create(&s.slab, bytes, options), 0);
    for (int i = 0; i < THREADS; i++)
        HY_CHECK_EQ(pthread_create(&threads[i], NULL, storm_run, &s), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < MAILBOXES; i++)
        storm_free(&s, atomic_load(&s.boxes[i]));
    HY_CHECK_EQ(atomic_load(&wrong), 0);
    HY_CHECK_EQ(stats_of(s.slab).live_objects, 0);
    HY_CHECK_EQ(hy_slab_trim(s.slab, NULL), 0);
    HY_CHECK_EQ(stats_of(s.slab).chunks, 0);
    hy_slab_destroy(s.slab);
}

/* Small chunks, so that they change hands often. */
HY_TEST(slab_threads, storm)
{
    hy_slab_options o = HY_SLAB_OPTIONS_INIT;

    run_storm(64, NULL, 50000);
    o.limit_bytes = 1 << 20; /* 16 KiB */
    run_storm(64, &o, 50000);
    run_storm(1000, &o, 50000);
    run_storm(256 << 10, NULL, 20000); /* one object a chunk */
}

struct duel {
    hy_slab *slab;
    _Atomic(void *) object;
    _Atomic int over;
};

static void *free_at_once(void *arg)
{
    struct duel *d = arg;

    for (;;) {
        int over = atomic_load(&d->over); /* before the last look */
        void *object = atomic_exchange(&d->object, NULL);

        if (object != NULL)
            EXPECT(hy_slab_free(d->slab, object) == 0);
        else if (over)
            return NULL;
    }
}

/* One object a chunk: each alloc leaves the chunk of the one before, which is
 * just being freed. A chunk that neither side took back would stay. */
HY_TEST(slab_threads, a_chunk_left_while_it_is_freed_in_is_not_lost)
{
    struct duel d = {.object = NULL};
    pthread_t thread;

    HY_CHECK_EQ(hy_slab_create(&d.slab, 256 << 10, NULL), 0);
    HY_CHECK_EQ(pthread_create(&thread, NULL, free_at_once, &d), 0);
    for (int i = 0; i < 50000; i++) {
        void *object = hy_slab_alloc(d.slab);

        HY_CHECK(object != NULL);
        for (volatile int k = i % 97; k > 0; k--)
            continue;
        object = atomic_exchange(&d.object, object);
        if (object != NULL)
            HY_CHECK_EQ(hy_slab_free(d.slab, object), 0);
    }
    atomic_store(&d.over, 1);
    pthread_join(thread, NULL);
    HY_CHECK_EQ(atomic_load(&wrong), 0);
    HY_CHECK_EQ(stats_of(d.slab).live_objects, 0);
    HY_CHECK_EQ(hy_slab_trim(d.slab, NULL), 0);
    HY_CHECK_EQ(stats_of(d.slab).chunks, 0);
    hy_slab_destroy(d.slab);
}

static _Atomic int racers;
static _Atomic int accepted;

static void *race_to_free(void *arg)
{
    struct batch *b = arg;

    for (int i = 0; i < b->count; i++) {
        atomic_fetch_add(&racers, 1);
        while (atomic_load(&racers) < 2 * (i + 1))
            continue;
        if (hy_slab_free(b->slab, b->objects[i]) == 0)
            atomic_fetch_add(&accepted, 1);
    }
    return NULL;
}

/* Of two strangers that race to free an object of a third thread's chunk, one
 * is refused. */
HY_TEST(slab_threads, one_of_two_racing_strangers_is_refused)
{
    struct batch b = {.objects = many, .count = 1000};
    pthread_t threads[2];

    atomic_store(&racers, 0);
    atomic_store(&accepted, 0);
    HY_CHECK_EQ(hy_slab_create(&b.slab, 64, NULL), 0);
    alloc_batch(&b);
    for (int i = 0; i < 2; i++)
        HY_CHECK_EQ(pthread_create(&threads[i], NULL, race_to_free, &b), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    HY_CHECK_EQ(atomic_load(&accepted), b.count);
    HY_CHECK_EQ(stats_of(b.slab).live_objects, 0);
    hy_slab_destroy(b.slab);
}

/* --- fork ----------------------------------------------------------------- */

struct family {
    struct storm *storm;
    hy_heap *heap;
    void **kept;
};

static void in_child(void *arg)
{
    struct family *f = arg;
    static void *p[5000];
    void *q;

    alarm(60); /* a lock that nobody holds any more would be for ever */
    if (stats_of(f->storm->slab).caches != 1)
        _exit(7);
    /* What this thread holds is as it was; what the others hold is usable. */
    for (int i = 0; i < 100; i++) {
        if (hy_slab_free(f->storm->slab, f->kept[i]) != 0 ||
            hy_slab_free(f->storm->slab, f->kept[i]) != -EINVAL)
            _exit(1);
    }
    for (int i = 0; i < 5000; i++)
        if ((p[i] = hy_slab_alloc(f->storm->slab)) == NULL)
            _exit(2);
    for (int i = 0; i < 5000; i++)
        if (hy_slab_free(f->storm->slab, p[i]) != 0)
            _exit(3);
    if (hy_slab_trim(f->storm->slab, NULL) != 0)
        _exit(4);
    q = hy_heap_alloc(f->heap, 1000);
    if (q == NULL || hy_heap_free(f->heap, q) != 0 ||
        hy_heap_check(f->heap) != 0)
        _exit(5);
    f->storm->steps = 2000; /* in the child's copy */
    storm_run(f->storm);
    _exit(atomic_load(&wrong) != 0 ? 6 : 0);
}

/* Holds the slab's lock nearly all the time. */
static void *stats_run(void *arg)
{
    struct storm *s = arg;

    while (!atomic_load(&s->stop))
        (void)stats_of(s->slab);
    return NULL;
}

static void *heap_run(void *arg)
{
    struct family *f = arg;
    void *p[16] = {NULL};

    for (unsigned i = 0; !atomic_load(&f->storm->stop); i++) {
        EXPECT(p[i % 16] == NULL || hy_heap_free(f->heap, p[i % 16]) == 0);
        p[i % 16] = hy_heap_alloc(f->heap, i * 37 % 3000);
        EXPECT(p[i % 16] != NULL);
    }
    for (int i = 0; i < 16; i++)
        EXPECT(hy_heap_free(f->heap, p[i]) == 0);
    return NULL;
}

HY_TEST(slab_threads, a_forked_child_goes_on)
{
    static struct storm s;
    struct family f = {&s, NULL, many};
    hy_heap_options o = HY_HEAP_OPTIONS_INIT;
    pthread_t threads[4];

    memset(&s, 0, sizeof(s));
    s.steps = 1 << 30;
    o.bytes = 1 << 20;
    o.flags = HY_HEAP_SHARED;
    HY_CHECK_EQ(hy_heap_create(&f.heap, &o), 0);
    HY_CHECK_EQ(hy_slab_create(&s.slab, 64, NULL), 0);
    for (int i = 0; i < 100; i++)
        many[i] = hy_slab_alloc(s.slab);
    for (int i = 0; i < 2; i++)
        HY_CHECK_EQ(pthread_create(&threads[i], NULL, storm_run, &s), 0);
    HY_CHECK_EQ(pthread_create(&threads[2], NULL, heap_run, &f), 0);
    HY_CHECK_EQ(pthread_create(&threads[3], NULL, stats_run, &s), 0);
    for (int i = 0; i < 10; i++) {
        int status = hy_test_child(in_child, &f);

        HY_CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child: %x",
                     (unsigned)status);
    }
    atomic_store(&s.stop, 1);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < MAILBOXES; i++)
        storm_free(&s, atomic_load(&s.boxes[i]));
    for (int i = 0; i < 100; i++)
        HY_CHECK_EQ(hy_slab_free(s.slab, many[i]), 0);
    HY_CHECK_EQ(stats_of(s.slab).live_objects, 0);
    HY_CHECK_EQ(hy_heap_check(f.heap), 0);
    HY_CHECK_EQ(atomic_load(&wrong), 0);
    hy_slab_destroy(s.slab);
    hy_heap_destroy(f.heap);
}

/* A backing whose memory children do not have, as a pager's. */
static void *lend_ours(void *ctx, size_t bytes, size_t align)
{
    char *memory;

    (void)ctx;
    memory = mmap(NULL, bytes + align, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    madvise(memory, bytes + align, MADV_DONTFORK);
    return (void *)(((uintptr_t)memory + align - 1) & ~(uintptr_t)(align - 1));
}

static void take_nothing_back(void *ctx, void *memory, size_t bytes)
{
    (void)ctx, (void)memory, (void)bytes;
}

static void use_another(void *arg)
{
    hy_slab *slab = NULL;

    (void)arg;
    if (hy_slab_create(&slab, 64, NULL) != 0 || hy_slab_alloc(slab) == NULL)
        _exit(1);
}

HY_TEST(slab_threads, a_child_without_the_backings_memory_lives)
{
    hy_backing backing = {sizeof(backing), lend_ours, take_nothing_back, NULL};
    hy_slab_options o = HY_SLAB_OPTIONS_INIT;
    hy_slab *slab;
    void *objects[100];
    struct batch b;

    o.backing = &backing;
    HY_CHECK_EQ(hy_slab_create(&slab, 64, &o), 0);
    b = (struct batch){slab, objects, 100, 0};
    in_thread(alloc_batch, &b); /* leaves its chunk to the slab */
    HY_CHECK(hy_slab_alloc(slab) != NULL);
    HY_CHECK_EQ(hy_test_child(use_another, NULL), 0);
    in_thread(free_batch, &b);
    HY_CHECK_EQ(stats_of(slab).live_objects, 1);
    hy_slab_destroy(slab);
}

/* --- a heap with a lock --------------------------------------------------- */

static void *heap_worker(void *arg)
{
    hy_heap *heap = arg;
    uint64_t *p[64] = {NULL}, x = mark_of(&arg) | 1;

    for (int i = 0; i < 20000; i++) {
        unsigned k;

        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        k = x % 64;
        if (p[k] != NULL) {
            EXPECT(p[k][0] == mark_of(p[k]));
            EXPECT(hy_heap_free(heap, p[k]) == 0);
            p[k] = NULL;
        } else if ((p[k] = hy_heap_alloc(heap, 8 + (x >> 52))) != NULL) {
            p[k][0] = mark_of(p[k]);
        }
    }
    for (int i = 0; i < 64; i++)
        EXPECT(hy_heap_free(heap, p[i]) == 0);
    return NULL;
}

HY_TEST(slab_threads, a_shared_heap)
{
    hy_heap_options o = HY_HEAP_OPTIONS_INIT;
    hy_heap_stats s = HY_HEAP_STATS_INIT;
    pthread_t threads[THREADS];
    hy_heap *heap;

    o.bytes = 1 << 20;
    o.flags = HY_HEAP_SHARED;
    HY_CHECK_EQ(hy_heap_create(&heap, &o), 0);
    for (int i = 0; i < THREADS; i++)
        HY_CHECK_EQ(pthread_create(&threads[i], NULL, heap_worker, heap), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    HY_CHECK_EQ(atomic_load(&wrong), 0);
    HY_CHECK_EQ(hy_heap_check(heap), 0);
    HY_CHECK_EQ(hy_heap_stats_get(heap, &s), 0);
    HY_CHECK(s.free_blocks == 1 && s.used_bytes == 0);
    hy_heap_destroy(heap);
}
