/*
 * bench_slab_heap.c - object caches and the boundary-tag heap beside glibc,
 * mimalloc, jemalloc and tcmalloc.
 *
 *      pairs        alloc, free, alloc, free ...
 *      random       10,000 alive, freed in random order
 *      handed over  one thread allocates, another frees
 *      mixed        16 B to 64 KiB, 10,000 alive, each run in a process of its
 *                   own, which also tells its memory and its worst operation
 *
 * Every block is written when it is handed out and checked when it is freed.
 * Upstream: bench.h, bench_slab_heap.h. Downstream: slab.h, heap.h.
 */
#include "bench_slab_heap.h"

#include <hyperion/heap.h>
#include <hyperion/inline/ring.h>
#include <hyperion/slab.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__has_include)
#if __has_include(<hyperion/inline/slab.h>)
#include <hyperion/inline/slab.h>
#endif
#endif

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum { OBJECT_BYTES = 64, ALIVE = 10000, HEAP_BYTES = 1 << 30 };

static const char absent[] = "not on this system";

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* --- ours as allocators --------------------------------------------------- */

static hy_heap *heap;

static void heap_open(void)
{
    hy_heap_options o = HY_HEAP_OPTIONS_INIT;

    hy_heap_destroy(heap);
    heap = NULL;
    o.bytes = HEAP_BYTES;
    if (hy_heap_create(&heap, &o) != 0)
        bench_wrong("no heap");
}

static void *heap_alloc(size_t bytes)
{
    return hy_heap_alloc(heap, bytes);
}

static void heap_free(void *p)
{
    if (hy_heap_free(heap, p) != 0)
        bench_wrong("heap free");
}

static const struct allocator our_heap = {"hy_heap", true, heap_alloc,
                                          heap_free};

#ifdef HY_SLAB_OPTIONS_INIT

static hy_slab *slab;

static void slab_open(void)
{
    if (slab == NULL && hy_slab_create(&slab, OBJECT_BYTES, NULL) != 0)
        bench_wrong("no slab");
}

#endif

/* --- pairs ---------------------------------------------------------------- */

/* The same loop for each allocator; ALLOC and FREE are seen by the compiler. */
#define PAIRS(name, ALLOC, FREE)                                               \
    static double name(void *arg)                                              \
    {                                                                          \
        const struct allocator *a = (const struct allocator *)arg;             \
        uint64_t n = bench_scale(5000000), start = bench_now();                \
        (void)a;                                                               \
        for (uint64_t i = 0; i < n; i++) {                                     \
            uint64_t *p = (uint64_t *)ALLOC;                                   \
            *p = i;                                                            \
            BENCH_USE(p);                                                      \
            if (*p != i)                                                       \
                bench_wrong("block");                                          \
            FREE;                                                              \
        }                                                                      \
        return (double)(bench_now() - start) / (double)n;                      \
    }

/* ns of one alloc and one free, among ALIVE blocks freed in random order. */
#define SCATTERED(name, ALLOC, FREE)                                           \
    static double name(void *arg)                                              \
    {                                                                          \
        static uint64_t *blocks[ALIVE];                                        \
        const struct allocator *a = (const struct allocator *)arg;             \
        uint64_t rounds = bench_scale(100), total = 0, start;                  \
        (void)a;                                                               \
        for (uint64_t r = 0; r < rounds; r++) {                                \
            start = bench_now();                                               \
            for (uint64_t i = 0; i < ALIVE; i++) {                             \
                uint64_t *p = (uint64_t *)ALLOC;                               \
                *p = i;                                                        \
                blocks[i] = p;                                                 \
            }                                                                  \
            total += bench_now() - start;                                      \
            shuffle(blocks);                                                   \
            start = bench_now();                                               \
            for (uint64_t i = 0; i < ALIVE; i++) {                             \
                uint64_t *p = blocks[i];                                       \
                FREE;                                                          \
            }                                                                  \
            total += bench_now() - start;                                      \
        }                                                                      \
        return (double)total / (double)(rounds * ALIVE);                       \
    }

static void shuffle(uint64_t **blocks)
{
    static uint64_t state = 88172645463325252u;
    uint64_t sum = 0;

    for (size_t i = ALIVE; i > 1; i--) {
        size_t k = random_next(&state) % i;
        uint64_t *p = blocks[i - 1];

        blocks[i - 1] = blocks[k];
        blocks[k] = p;
    }
    for (size_t i = 0; i < ALIVE; i++)
        sum += *blocks[i];
    if (sum != (uint64_t)ALIVE * (ALIVE - 1) / 2)
        bench_wrong("blocks");
}

PAIRS(pairs_called, a->alloc(OBJECT_BYTES), a->free(p))
SCATTERED(scattered_called, a->alloc(OBJECT_BYTES), a->free(p))

#ifdef HY_SLAB_OPTIONS_INIT
PAIRS(pairs_slab, hy_slab_alloc(slab), hy_slab_free(slab, p))
SCATTERED(scattered_slab, hy_slab_alloc(slab), hy_slab_free(slab, p))
#endif

/* --- handed over ---------------------------------------------------------- */

HY_RING_DEFINE(pointer_ring, void *, 1024);

static pointer_ring handed;

struct hand_over {
    const struct allocator *a; /* NULL: the slab */
    uint64_t count;
};

static void *take_one(const struct allocator *a)
{
#ifdef HY_SLAB_OPTIONS_INIT
    if (a == NULL)
        return hy_slab_alloc(slab);
#endif
    return a->alloc(OBJECT_BYTES);
}

static void give_one(const struct allocator *a, void *p)
{
#ifdef HY_SLAB_OPTIONS_INIT
    if (a == NULL) {
        hy_slab_free(slab, p);
        return;
    }
#endif
    a->free(p);
}

static void *free_handed(void *arg)
{
    const struct hand_over *h = (const struct hand_over *)arg;
    void *p[32];

    bench_pin(1);
    for (uint64_t i = 0; i < h->count;) {
        size_t n = pointer_ring_pop_n(&handed, p, COUNT(p));

        for (size_t k = 0; k < n; k++, i++) {
            if (*(uint64_t *)p[k] != i)
                bench_wrong("handed over");
            give_one(h->a, p[k]);
        }
    }
    return NULL;
}

static double hand_over(void *arg)
{
    struct hand_over h = {(const struct allocator *)arg, bench_scale(2000000)};
    void *p[32];
    pthread_t t;
    uint64_t start;

    h.count = h.count / COUNT(p) * COUNT(p);
    pointer_ring_init(&handed);
    bench_pin(0);
    start = bench_now();
    if (pthread_create(&t, NULL, free_handed, &h) != 0)
        bench_wrong("no thread");
    for (uint64_t i = 0; i < h.count;) {
        size_t done = 0;

        for (size_t k = 0; k < COUNT(p); k++, i++) {
            p[k] = take_one(h.a);
            *(uint64_t *)p[k] = i;
        }
        while (done < COUNT(p))
            done += pointer_ring_push_n(&handed, p + done, COUNT(p) - done);
    }
    pthread_join(t, NULL);
    return (double)(bench_now() - start) / (double)h.count;
}

/* --- mixed ---------------------------------------------------------------- */

enum { TRACE_QUICK = 100000, TRACE = 400000, PASSES = 3 };

/* What a process of its own found out. */
struct report {
    double ns, memory_over_live, worst_ns;
};

static struct report reports[PEERS + 1];

static uint64_t resident_bytes(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    if (file == NULL || fscanf(file, "%*d %ld", &pages) != 1)
        pages = 0;
    if (file != NULL)
        fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* 16 B to 64 KiB, each doubling as likely as the next. */
static size_t mixed_bytes(uint64_t x)
{
    size_t low = (size_t)16 << x % 12;

    return low + (size_t)(x >> 32) % low;
}

struct live {
    unsigned char *p;
    size_t bytes;
};

struct trace {
    struct live live[ALIVE];
    uint64_t live_bytes, peak_live, peak_resident;
    uint32_t *least; /* of each operation, over the passes */
};

static void check_and_free(struct trace *t, const struct allocator *a,
                           struct live *l)
{
    if (l->p[0] != (unsigned char)l->bytes ||
        l->p[l->bytes - 1] != (unsigned char)l->bytes)
        bench_wrong("mixed block");
    t->live_bytes -= l->bytes;
    a->free(l->p);
    l->p = NULL;
}

static void allocate(struct trace *t, const struct allocator *a, struct live *l,
                     uint64_t x)
{
    l->bytes = mixed_bytes(x);
    l->p = (unsigned char *)a->alloc(l->bytes);
    if (l->p == NULL)
        bench_wrong("no memory");
    t->live_bytes += l->bytes;
}

/* All of it, as a program would: pages are not touched by the allocator. */
static void touch(struct live *l)
{
    for (size_t i = 0; i < l->bytes; i += 4096)
        l->p[i] = (unsigned char)l->bytes;
    l->p[0] = l->p[l->bytes - 1] = (unsigned char)l->bytes;
}

static uint32_t replace(struct trace *t, const struct allocator *a, uint64_t x)
{
    struct live *l = &t->live[(x >> 8) % ALIVE];
    uint64_t start = bench_now();

    if (l->p != NULL)
        check_and_free(t, a, l);
    allocate(t, a, l, x);
    start = bench_now() - start;
    touch(l);
    return start > UINT32_MAX ? UINT32_MAX : (uint32_t)start;
}

static uint64_t run_pass(struct trace *t, const struct allocator *a,
                         uint64_t count, uint64_t before, bool is_first)
{
    uint64_t state = 4101842887655102017u, total = 0;

    for (uint64_t i = 0; i < count; i++) {
        uint32_t ns = replace(t, a, random_next(&state));

        total += ns;
        if (is_first || ns < t->least[i])
            t->least[i] = ns;
        if (t->live_bytes > t->peak_live)
            t->peak_live = t->live_bytes;
        if (i % 1024 == 0) {
            uint64_t now = resident_bytes() - before;

            t->peak_resident = now > t->peak_resident ? now : t->peak_resident;
        }
    }
    for (int i = 0; i < ALIVE; i++)
        if (t->live[i].p != NULL)
            check_and_free(t, a, &t->live[i]);
    return total;
}

static struct report run_mixed(const struct allocator *a)
{
    static struct trace t;
    uint64_t count = bench_is_quick() ? TRACE_QUICK : TRACE, before, clock;
    struct report r = {0};

    t.least = calloc(count, sizeof(*t.least));
    if (t.least == NULL)
        bench_wrong("no memory");
    memset(t.least, 1, count * sizeof(*t.least));
    before = resident_bytes();
    clock = bench_now();
    for (int i = 0; i < 1000; i++)
        bench_now();
    clock = (bench_now() - clock) / 1000;
    for (int pass = 0; pass < PASSES; pass++)
        r.ns =
            (double)run_pass(&t, a, count, before, pass == 0) / (double)count -
            (double)clock;
    for (uint64_t i = 0; i < count; i++)
        if (t.least[i] > r.worst_ns)
            r.worst_ns = t.least[i];
    r.worst_ns -= (double)clock;
    r.memory_over_live = (double)t.peak_resident / (double)t.peak_live;
    free(t.least);
    return r;
}

static double mixed(void *arg)
{
    const struct allocator *a = (const struct allocator *)arg;
    struct report *r =
        a == &our_heap ? &reports[PEERS] : &reports[a - peer_allocators()];
    int fds[2], status = 1;
    pid_t child;

    if (pipe(fds) != 0)
        bench_wrong("pipe");
    fflush(stdout);
    child = fork();
    if (child == 0) {
        struct report mine;

        if (a == &our_heap)
            heap_open();
        mine = run_mixed(a);
        _exit(write(fds[1], &mine, sizeof(mine)) == sizeof(mine) ? 0 : 1);
    }
    close(fds[1]);
    if (read(fds[0], r, sizeof(*r)) != sizeof(*r) ||
        waitpid(child, &status, 0) != child || status != 0)
        bench_wrong("mixed run");
    close(fds[0]);
    return r->ns;
}

static double mixed_memory(void *arg)
{
    return ((const struct report *)arg)->memory_over_live;
}

static double mixed_worst(void *arg)
{
    return ((const struct report *)arg)->worst_ns;
}

/* --- our own figures ------------------------------------------------------ */

/* Percent of a region full of 64-byte blocks that is not payload. */
static double heap_overhead(void *arg)
{
    size_t bytes = 64 << 20, blocks = 0;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    hy_heap *h = NULL;

    (void)arg;
    if (memory == MAP_FAILED || hy_heap_format(&h, memory, bytes) != 0)
        bench_wrong("format");
    while (hy_heap_alloc(h, OBJECT_BYTES) != NULL)
        blocks++;
    hy_heap_destroy(h);
    munmap(memory, bytes);
    return (double)(bytes - blocks * OBJECT_BYTES) * 100 / (double)bytes;
}

/* Opening a formatted heap of 100,000 blocks again, in ms. */
static double heap_reopen(void *arg)
{
    size_t bytes = 64 << 20;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    hy_heap *h = NULL;
    uint64_t start;

    (void)arg;
    if (memory == MAP_FAILED || hy_heap_format(&h, memory, bytes) != 0)
        bench_wrong("format");
    for (int i = 0; i < 100000; i++)
        if (hy_heap_alloc(h, 100 + (size_t)i % 400) == NULL)
            bench_wrong("fill");
    hy_heap_destroy(h);
    start = bench_now();
    if (hy_heap_attach(&h, memory, bytes) != 0)
        bench_wrong("attach");
    start = bench_now() - start;
    hy_heap_destroy(h);
    munmap(memory, bytes);
    return (double)start / 1e6;
}

/* --- the table ------------------------------------------------------------ */

static size_t with_peers(struct bench_contender *c, size_t count,
                         double (*run)(void *))
{
    for (int i = 0; i < PEERS; i++) {
        const struct allocator *a = &peer_allocators()[i];

        c[count++] = (struct bench_contender){
            a->name, run, (void *)(uintptr_t)a, a->is_there ? NULL : absent};
    }
    return count;
}

static void rows_objects(void)
{
    struct bench_row row = {.what = "64 B alloc and free, one after the other",
                            .unit = "ns",
                            .target = "3.3x mimalloc, 4.5x glibc"};
    struct bench_row random = {.what = "10,000 of them freed in random order",
                               .unit = "ns",
                               .target = "0.85x mimalloc"};
    struct bench_row other = {.what = "freed by another thread",
                              .unit = "ns",
                              .target = "2.5x mimalloc",
                              .gated = true};
    struct bench_contender c[PEERS + 2];
    void *any = (void *)(uintptr_t)&our_heap;

    heap_open();
#ifdef HY_SLAB_OPTIONS_INIT
    slab_open();
    c[0] = (struct bench_contender){"hy_slab", pairs_slab, NULL, NULL};
    c[1] = (struct bench_contender){"hy_heap", pairs_called, any, NULL};
    bench_row_run(&row, c, with_peers(c, 2, pairs_called));
    c[0].run = scattered_slab;
    c[1].run = scattered_called;
    bench_row_run(&random, c, with_peers(c, 2, scattered_called));
    c[0].run = hand_over;
    if (bench_cpu_count() >= 2)
        bench_row_run(&other, c, with_peers(c, 1, hand_over));
#else
    (void)other;
    c[0] = (struct bench_contender){"hy_heap", pairs_called, any, NULL};
    bench_row_run(&row, c, with_peers(c, 1, pairs_called));
    c[0].run = scattered_called;
    bench_row_run(&random, c, with_peers(c, 1, scattered_called));
    c[0].run = hand_over;
#endif
}

static void rows_mixed(void)
{
    struct bench_row row = {.what = "mixed 16 B to 64 KiB, free and alloc",
                            .unit = "ns",
                            .target = "0.75x mimalloc",
                            .repeats = 5};
    struct bench_row memory = {.what = "the same: peak memory over live",
                               .unit = "times",
                               .target = "1.12 at most"};
    struct bench_row worst = {.what = "the same: worst operation, least of 3 "
                                      "passes",
                              .unit = "ns",
                              .target = "o1heap's at most"};
    struct bench_contender c[PEERS + 1];

    c[0] = (struct bench_contender){"hy_heap", mixed,
                                    (void *)(uintptr_t)&our_heap, NULL};
    bench_row_run(&row, c, with_peers(c, 1, mixed));
    for (int i = 0; i <= PEERS; i++) {
        c[i].run = mixed_memory;
        c[i].arg = &reports[i == 0 ? PEERS : i - 1];
    }
    bench_row_run(&memory, c, COUNT(c));
    for (int i = 0; i <= PEERS; i++)
        c[i].run = mixed_worst;
    bench_row_run(&worst, c, COUNT(c));
}

static void rows_own(void)
{
    struct bench_row overhead = {.what = "heap overhead, blocks of 64 B",
                                 .unit = "percent",
                                 .target = "1.6 at most",
                                 .repeats = 5};
    struct bench_row reopen = {.what = "reopening a heap of 100,000 blocks",
                               .unit = "ms",
                               .target = "metall's 0.31",
                               .repeats = 5};
    struct bench_contender a = {"hy_heap", heap_overhead, NULL, NULL};
    struct bench_contender b = {"hy_heap", heap_reopen, NULL, NULL};

    bench_row_run(&overhead, &a, 1);
    bench_row_run(&reopen, &b, 1);
}

/*
 * jemalloc keeps so much thread-local data that it can be loaded late only when
 * the loader was told to leave room: by a variable that it reads at the start.
 */
static void leave_room_for_late_libraries(char **argv)
{
    static const char variable[] = "GLIBC_TUNABLES";

    if (getenv(variable) != NULL)
        return;
    setenv(variable, "glibc.rtld.optional_static_tls=65536", 1);
    execv("/proc/self/exe", argv);
}

int main(int argc, char **argv)
{
    leave_room_for_late_libraries(argv);
    bench_begin(argc, argv, "slab and heap");
    rows_objects();
    rows_mixed();
    rows_own();
    bench_note("Peers are called through pointers. The mixed load runs in a "
               "process of its own for each allocator; time is of free and "
               "alloc alone, without the clock's; memory is the resident set "
               "above that of the start.");
    return bench_end();
}
