/*
 * bench_slab_heap.c - object caches and the boundary-tag heap beside glibc,
 * mimalloc, jemalloc and tcmalloc.
 *
 *      pairs        alloc, free, alloc, free ...
 *      random       10,000 alive, freed in random order
 *      handed over  one thread allocates, another frees
 *      mixed        16 B to 64 KiB, 10,000 alive, each run in a process of its
 *                   own, which also tells its memory and its worst operation
 *      in a file    the heap inside a pager's file, and opening it again
 *
 * Every block is written when it is handed out and checked when it is freed.
 * Upstream: bench.h, bench_slab_heap.h. Downstream: slab.h, heap.h.
 */
#include "bench_slab_heap.h"

#include <hyperion/heap.h>
#include <hyperion/inline/ring.h>
#include <hyperion/pager.h>
#include <hyperion/slab.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum { OBJECT_BYTES = 64, ALIVE = 10000, ABROAD = 100000 };
enum { HEAP_BYTES = 1 << 30, REOPENED = 100000 };

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

static hy_slab *slab;

static void slab_open(void)
{
    if (slab == NULL && hy_slab_create(&slab, OBJECT_BYTES, NULL) != 0)
        bench_wrong("no slab");
}

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
PAIRS(pairs_slab, hy_slab_alloc(slab), hy_slab_free(slab, p))
SCATTERED(scattered_slab, hy_slab_alloc(slab), hy_slab_free(slab, p))

/* --- handed over ---------------------------------------------------------- */

HY_RING_DEFINE(pointer_ring, void *, 1024);

static pointer_ring handed;

struct hand_over {
    const struct allocator *a; /* NULL: the slab */
    uint64_t count;
};

static void *take_one(const struct allocator *a)
{
    return a == NULL ? hy_slab_alloc(slab) : a->alloc(OBJECT_BYTES);
}

static void give_one(const struct allocator *a, void *p)
{
    if (a == NULL)
        hy_slab_free(slab, p);
    else
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

/*
 * What the slab held at most, over the bytes that lived at most: another thread
 * frees all objects, again and again.
 */
static void *free_all(void *arg)
{
    uint64_t **objects = (uint64_t **)arg;

    for (uint64_t i = 0; i < ABROAD; i++)
        if (*objects[i] != i || hy_slab_free(slab, objects[i]) != 0)
            bench_wrong("freed abroad");
    return NULL;
}

static double hand_over_memory(void *arg)
{
    static uint64_t *objects[ABROAD];
    hy_slab_stats stats = HY_SLAB_STATS_INIT;
    pthread_t t;

    (void)arg;
    hy_slab_destroy(slab);
    slab = NULL;
    slab_open();
    for (int round = 0; round < 20; round++) {
        for (uint64_t i = 0; i < ABROAD; i++) {
            objects[i] = (uint64_t *)hy_slab_alloc(slab);
            *objects[i] = i;
        }
        if (pthread_create(&t, NULL, free_all, objects) != 0)
            bench_wrong("no thread");
        pthread_join(t, NULL);
    }
    hy_slab_stats_get(slab, &stats);
    return (double)stats.peak_held_bytes / ((double)ABROAD * OBJECT_BYTES);
}

/* --- mixed ---------------------------------------------------------------- */

enum { TRACE_QUICK = 100000, TRACE = 400000, PASSES = 3 };

/* What a process of its own found out. */
struct report {
    double ns, memory_over_live;
    double worst_ns, p9999_ns; /* least of each operation over the passes */
    double first_p99_ns;       /* of the first pass: memory is used first */
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

static int compare_ns(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/* Of count times in sorted order, without what it takes to look at a clock. */
static double percentile(uint32_t *sorted, uint64_t count, double part,
                         uint64_t clock)
{
    return (double)sorted[(uint64_t)((double)(count - 1) * part)] -
           (double)clock;
}

static uint64_t clock_cost(void)
{
    uint64_t start = bench_now();

    for (int i = 0; i < 1000; i++)
        bench_now();
    return (bench_now() - start) / 1000;
}

static struct report run_mixed(const struct allocator *a)
{
    static struct trace t;
    uint64_t count = bench_is_quick() ? TRACE_QUICK : TRACE;
    uint64_t before, clock = clock_cost();
    uint32_t *first = calloc(count, sizeof(*first));
    struct report r = {0};

    t.least = calloc(count, sizeof(*t.least));
    if (t.least == NULL || first == NULL)
        bench_wrong("no memory");
    memset(t.least, 1, count * sizeof(*t.least));
    memset(first, 1, count * sizeof(*first));
    before = resident_bytes();
    for (int pass = 0; pass < PASSES; pass++) {
        uint64_t ns = run_pass(&t, a, count, before, pass == 0);

        r.ns = (double)ns / (double)count - (double)clock;
        if (pass == 0)
            memcpy(first, t.least, count * sizeof(*first));
    }
    qsort(first, count, sizeof(*first), compare_ns);
    qsort(t.least, count, sizeof(*t.least), compare_ns);
    r.first_p99_ns = percentile(first, count, 0.99, clock);
    r.p9999_ns = percentile(t.least, count, 0.9999, clock);
    r.worst_ns = percentile(t.least, count, 1, clock);
    r.memory_over_live = (double)t.peak_resident / (double)t.peak_live;
    free(first);
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

static double mixed_p9999(void *arg)
{
    return ((const struct report *)arg)->p9999_ns;
}

static double mixed_first_p99(void *arg)
{
    return ((const struct report *)arg)->first_p99_ns;
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

/* The same of a slab with a million live objects. */
static double slab_overhead(void *arg)
{
    enum { MANY = 1000000 };
    hy_slab_stats stats = HY_SLAB_STATS_INIT;
    hy_slab *full = NULL;
    double payload = (double)MANY * OBJECT_BYTES;

    (void)arg;
    if (hy_slab_create(&full, OBJECT_BYTES, NULL) != 0)
        bench_wrong("no slab");
    for (int i = 0; i < MANY; i++)
        if (hy_slab_alloc(full) == NULL)
            bench_wrong("fill");
    hy_slab_stats_get(full, &stats);
    hy_slab_destroy(full);
    return ((double)stats.held_bytes - payload) * 100 /
           (double)stats.held_bytes;
}

/* --- a heap in a file ----------------------------------------------------- */

static const char file_path[] = "bench_heap.store";
static hy_pager *file_pager;
static hy_heap *file_heap;

static void file_open(unsigned flags)
{
    hy_pager_options o = HY_PAGER_OPTIONS_INIT;

    o.path = file_path;
    o.flags = flags;
    if (hy_pager_reserve(&file_pager, 64 << 20, &o) != 0)
        bench_wrong("store");
}

static void file_close(void)
{
    hy_heap_destroy(file_heap);
    hy_pager_release(file_pager);
}

static void file_format(void)
{
    unlink(file_path);
    file_open(HY_PAGER_CREATE);
    if (hy_heap_format(&file_heap, hy_pager_base(file_pager), 64 << 20) != 0)
        bench_wrong("format");
}

static void *file_alloc(size_t bytes)
{
    return hy_heap_alloc(file_heap, bytes);
}

static void file_free(void *p)
{
    if (hy_heap_free(file_heap, p) != 0)
        bench_wrong("file free");
}

static const struct allocator our_file = {"hy_heap in a file", true, file_alloc,
                                          file_free};

static double scattered_in_file(void *arg)
{
    double ns;

    (void)arg;
    file_format();
    ns = scattered_called((void *)(uintptr_t)&our_file);
    file_close();
    unlink(file_path);
    return ns;
}

/* ms from opening the file to a heap of 100,000 blocks that can be used. */
static double file_reopen(void *arg)
{
    uint64_t start, *p = NULL;

    (void)arg;
    file_format();
    for (uint64_t i = 0; i < REOPENED; i++) {
        p = (uint64_t *)hy_heap_alloc(file_heap, 100 + i % 400);
        if (p == NULL)
            bench_wrong("fill");
        *p = i;
    }
    hy_heap_root_set(file_heap, 0, hy_heap_offset(file_heap, p));
    if (hy_pager_checkpoint(file_pager) != 0)
        bench_wrong("checkpoint");
    file_close();
    start = bench_now();
    file_open(0);
    if (hy_heap_attach(&file_heap, hy_pager_base(file_pager), 64 << 20) != 0)
        bench_wrong("attach");
    p = (uint64_t *)hy_heap_pointer(file_heap, hy_heap_root_get(file_heap, 0));
    if (*p != REOPENED - 1 || hy_heap_free(file_heap, p) != 0)
        bench_wrong("reopened");
    start = bench_now() - start;
    file_close();
    unlink(file_path);
    return (double)start / 1e6;
}

/* --- the table ------------------------------------------------------------ */

static size_t with_peers(struct bench_contender *c, size_t count,
                         double (*run)(void *))
{
    for (int i = 0; i < PEERS; i++) {
        const struct allocator *a = &peer_allocators()[i];

        c[count++] =
            (struct bench_contender){a->name, run, (void *)(uintptr_t)a,
                                     a->is_there ? NULL : BENCH_ABSENT};
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
                              .target = "2.5x mimalloc, 0.95x snmalloc",
                              .gated = true};
    struct bench_row memory = {.what = "the same: peak memory over live",
                               .unit = "times",
                               .target = "1.1 at most",
                               .counted = true};
    struct bench_contender c[PEERS + 2];
    void *any = (void *)(uintptr_t)&our_heap;

    heap_open();
    slab_open();
    c[0] = (struct bench_contender){"hy_slab", pairs_slab, NULL, NULL};
    c[1] = (struct bench_contender){"hy_heap", pairs_called, any, NULL};
    bench_row_run(&row, c, with_peers(c, 2, pairs_called));
    c[0].run = scattered_slab;
    c[1].run = scattered_called;
    bench_row_run(&random, c, with_peers(c, 2, scattered_called));
    random.what = "the same, in bulk";
    random.target = "1.5x mimalloc";
    bench_row_skip(&random, "no calls for many objects at once yet");
    c[0].run = hand_over;
    if (bench_cpu_count() < 2)
        bench_row_skip(&other, "one processor only");
    else
        bench_row_run(&other, c, with_peers(c, 1, hand_over));
    c[0].run = hand_over_memory;
    bench_row_run(&memory, c, 1);
}

/* What the processes of the mixed load told. */
static void row_report(const char *what, const char *unit, const char *target,
                       double (*tell)(void *))
{
    struct bench_row row = {
        .what = what, .unit = unit, .target = target, .counted = true};
    struct bench_contender c[PEERS + 1];

    c[0] = (struct bench_contender){"hy_heap", tell, &reports[PEERS], NULL};
    with_peers(c, 1, tell);
    for (int i = 0; i < PEERS; i++)
        c[i + 1].arg = &reports[i];
    bench_row_run(&row, c, COUNT(c));
}

static void rows_mixed(void)
{
    struct bench_row row = {.what = "mixed 16 B to 64 KiB, free and alloc",
                            .unit = "ns",
                            .target = "0.75x mimalloc",
                            .repeats = 5};
    struct bench_contender c[PEERS + 1];

    c[0] = (struct bench_contender){"hy_heap", mixed,
                                    (void *)(uintptr_t)&our_heap, NULL};
    bench_row_run(&row, c, with_peers(c, 1, mixed));
    row_report("the same: peak memory over live", "times", "1.12 at most",
               mixed_memory);
    row_report("the same: worst operation, least of 3 passes", "ns",
               "o1heap's at most (300)", mixed_worst);
    row_report("the same: 99.99 % of operations, least of 3 passes", "ns",
               "150 at most", mixed_p9999);
    row_report("the same: 99 % of operations, first pass", "ns", "60 at most",
               mixed_first_p99);
    row.what = "mixed, a preset for speed";
    row.target = "1.15x mimalloc at 1.30";
    bench_row_skip(&row, "no such preset yet");
}

static void rows_own(void)
{
    struct bench_row overhead = {.what = "heap overhead, blocks of 64 B",
                                 .unit = "percent",
                                 .target = "1.6 at most",
                                 .counted = true};
    struct bench_row errors = {.what = "memory errors caught, 116 programs",
                               .unit = "programs",
                               .target = "68; hardened 95"};
    struct bench_contender a = {"hy_heap", heap_overhead, NULL, NULL};
    struct bench_contender b = {"hy_slab", slab_overhead, NULL, NULL};

    bench_row_run(&overhead, &a, 1);
    overhead.what = "slab overhead, objects of 64 B";
    overhead.target = "0.5 at most";
    bench_row_run(&overhead, &b, 1);
    bench_row_skip(&errors, "not measured: mimalloc-bench's security set is "
                            "not packaged, and the heap replaces no malloc");
}

static void rows_file(void)
{
    struct bench_row row = {.what = "heap in a file, 10,000 blocks of 64 B "
                                    "freed in random order",
                            .unit = "ns",
                            .target = "1.0x metall (21.6)",
                            .repeats = 5};
    struct bench_row reopen = {.what = "reopening it with 100,000 blocks",
                               .unit = "ms",
                               .target = "metall's 0.31",
                               .repeats = 5};
    struct bench_contender a[] = {
        {"hy_heap in a file", scattered_in_file, NULL, NULL},
        {"hy_heap in memory", scattered_called, (void *)(uintptr_t)&our_heap,
         NULL}};
    struct bench_contender b = {"hy_heap", file_reopen, NULL, NULL};

    bench_row_run(&row, a, COUNT(a));
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
    rows_file();
    bench_note("Peers are called through pointers. The mixed load runs in a "
               "process of its own for each allocator; time is of free and "
               "alloc alone, without the clock's; memory is the resident set "
               "above that of the start. An operation in a file is not durable "
               "until the pager's checkpoint. Debian does not package "
               "snmalloc, hardened_malloc, o1heap, TLSF and metall.");
    return bench_end();
}
