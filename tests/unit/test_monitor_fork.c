/*
 * test_monitor_fork.c - what a child of fork may use while other threads of its
 * parent are in the middle of every component: nothing hangs, what it has goes
 * on, and what it has not is an error.
 */
#include <errno.h>
#include <hyperion/hyperion.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "hy_test.h"
#include "os.h"

enum { FORKS = 200, PATIENCE_S = 60 };
#define FORKS_NS UINT64_C(6000000000) /* enough where everything is slow */

HY_PATCH_DEFINE(site, 0);

/* All that threads hammer, and a child finds. */
static struct {
    hy_slab *slab;
    hy_heap *heap;
    hy_code *code;
    hy_expr *expr;
    hy_kernel *kernel;
    hy_runtime *rt; /* started */
    hy_fiber sleeper;
    hy_ring *ring;
    hy_pager *pager;
    hy_index *index;
    hy_pipeline *pipeline;
    hy_monitor *monitor;
    _Atomic int stop;
} all;

/* --- what went wrong ------------------------------------------------------ */

/* In threads and in children no check of the test can be: they leave a note.
 * Texts are constants, and so at the same address in a child. */
struct note {
    _Atomic int line; /* of the first thing that was wrong; 0: nothing */
    const char *_Atomic what;
    _Atomic long long got;
    const char *_Atomic doing; /* a child's step, which it may not survive */
};

static struct note of_threads;
static struct note *of_child; /* shared with it */
static struct note *my_note = &of_threads;

static bool expect(bool good, long long got, const char *what, int line)
{
    int none = 0;

    if (!good && atomic_compare_exchange_strong(&my_note->line, &none, line)) {
        atomic_store(&my_note->got, got);
        atomic_store(&my_note->what, what);
    }
    return good;
}

static bool expect_eq(long long got, long long wanted, const char *what,
                      int line)
{
    return expect(got == wanted, got, what, line);
}

#define EXPECT(cond)      expect((cond), 0, #cond, __LINE__)
#define EXPECT_EQ(got, n) expect_eq((got), (n), #got " == " #n, __LINE__)

static void describe(char *out, size_t bytes, const struct note *note)
{
    const char *what = atomic_load(&note->what);
    const char *doing = atomic_load(&note->doing);
    int line = atomic_load(&note->line);
    int used = 0;

    *out = '\0';
    if (doing != NULL)
        used = snprintf(out, bytes, "in %s; ", doing);
    if (line == 0)
        snprintf(out + used, bytes - (size_t)used, "no value was wrong");
    else
        snprintf(out + used, bytes - (size_t)used, "line %d: %s, got %lld",
                 line, what != NULL ? what : "?", atomic_load(&note->got));
}

/* How a child ended, and what it left; empty when all is well. */
static void describe_child(char *out, size_t bytes, int status)
{
    char note[256];

    *out = '\0';
    if (status == 0)
        return;
    if (status == -1) {
        snprintf(out, bytes, "fork made no child");
        return;
    }
    describe(note, sizeof(note), of_child);
    if (WIFSIGNALED(status))
        snprintf(out, bytes, "a child ended by signal %d%s, %s",
                 WTERMSIG(status),
                 WTERMSIG(status) == SIGALRM ? " (it hung)" : "", note);
    else
        snprintf(out, bytes, "a child ended with status %#x, %s",
                 (unsigned)status, note);
}

static __attribute__((noinline)) int ask_site(void)
{
    if (HY_PATCH_IF(site))
        return 1;
    return 0;
}

/* --- what everybody does -------------------------------------------------- */

static void use_slab(unsigned i)
{
    static _Thread_local void *kept[64];
    void **p = &kept[i % 64];
    hy_slab_stats s = {.size = sizeof(s)};

    if (*p != NULL)
        EXPECT_EQ(hy_slab_free(all.slab, *p), 0);
    *p = hy_slab_alloc(all.slab);
    EXPECT(*p != NULL);
    if (i % 64 == 0)
        EXPECT_EQ(hy_slab_stats_get(all.slab, &s), 0);
    if (i % 1024 == 0)
        EXPECT_EQ(hy_slab_trim(all.slab, NULL), 0);
}

static void make_slab(unsigned i)
{
    hy_slab *slab = NULL;
    void *p;

    (void)i;
    if (!EXPECT_EQ(hy_slab_create(&slab, 48, NULL), 0))
        return;
    p = hy_slab_alloc(slab);
    if (EXPECT(p != NULL))
        EXPECT_EQ(hy_slab_free(slab, p), 0);
    hy_slab_destroy(slab);
}

static void use_heap(unsigned i)
{
    void *p = hy_heap_alloc(all.heap, 64 + i % 4000);

    if (EXPECT(p != NULL))
        EXPECT_EQ(hy_heap_free(all.heap, p), 0);
}

static void use_code(unsigned i)
{
    int32_t b = (int32_t)i, out = 0;
    const void *const data[] = {&b};
    hy_kernel *k = NULL;

    if (!EXPECT_EQ(hy_expr_compile(&k, all.code, all.expr, NULL), 0))
        return;
    EXPECT_EQ(hy_kernel_eval(k, data, NULL, &out, 1), 0);
    EXPECT_EQ(out - b, 5);
    hy_kernel_release(k);
    EXPECT_EQ(hy_kernel_eval(all.kernel, data, NULL, &out, 1), 0);
    EXPECT_EQ(out - b, 5);
}

static void use_patch(unsigned i)
{
    EXPECT_EQ(hy_patch_switch(&site, (int)(i & 1)), 0);
    EXPECT_EQ(ask_site(), (int)(i & 1));
}

static void add_one(void *arg)
{
    ++*(unsigned *)arg;
    hy_fiber_yield();
}

static void make_runtime(unsigned i)
{
    hy_runtime_options o = HY_RUNTIME_OPTIONS_INIT;
    hy_runtime *rt = NULL;
    unsigned count = 0;

    (void)i;
    o.workers = 1;
    if (!EXPECT_EQ(hy_runtime_init(&rt, &o), 0))
        return;
    EXPECT_EQ(hy_fiber_spawn(rt, add_one, &count, NULL, NULL), 0);
    EXPECT_EQ(hy_runtime_run(rt), 0);
    EXPECT_EQ(count, 1);
    EXPECT_EQ(hy_runtime_destroy(rt), 0);
}

/* By the name valgrind knows that it is meant, here and below. */
static void touch_new_pager(unsigned i)
{
    hy_pager_options o = HY_PAGER_OPTIONS_INIT;
    hy_pager *pager = NULL;
    volatile char *base;

    o.mechanism = HY_PAGER_SIGNAL;
    if (!EXPECT_EQ(hy_pager_reserve(&pager, 1 << 20, &o), 0))
        return;
    base = hy_pager_base(pager);
    base[i % (1 << 20)] = 1;
    EXPECT_EQ(base[i % (1 << 20)], 1);
    EXPECT_EQ(hy_pager_release(pager), 0);
}

static void make_ring(unsigned i)
{
    hy_ring_options o = HY_RING_OPTIONS_INIT;
    hy_ring *ring = NULL;
    uint64_t item = i;

    o.item_bytes = sizeof(item);
    o.capacity = 4;
    if (!EXPECT_EQ(hy_ring_create(&ring, &o), 0))
        return;
    EXPECT_EQ(hy_ring_push(ring, &item), 0);
    EXPECT_EQ(hy_ring_pop_wait(ring, &item, HY_FOREVER), 0);
    EXPECT_EQ(item, i);
    hy_ring_destroy(ring);
}

/* --- what the parent's threads do besides --------------------------------- */

static void nothing(void *arg)
{
    (void)arg;
}

static void use_runtime(unsigned i)
{
    hy_fiber fiber;

    (void)i;
    if (EXPECT_EQ(hy_fiber_spawn(all.rt, nothing, NULL, NULL, &fiber), 0))
        EXPECT_EQ(hy_fiber_join(fiber, HY_FOREVER), 0);
}

static void touch_pager(unsigned i)
{
    volatile char *base = hy_pager_base(all.pager);
    uint64_t at = (uint64_t)(i % 256) << 12;
    hy_pager_stats s = {.size = sizeof(s)};

    base[at] = 1;
    EXPECT_EQ(hy_pager_pin(all.pager, at, 1), 0);
    EXPECT_EQ(hy_pager_unpin(all.pager, at, 1), 0);
    EXPECT_EQ(hy_pager_decommit(all.pager, 0, 1 << 20), 0);
    EXPECT_EQ(hy_pager_stats_get(all.pager, &s), 0);
}

static void use_monitor(unsigned i)
{
    static hy_monitor_sample sample = {.size = sizeof(sample)};

    (void)i;
    sample.size = sizeof(sample);
    EXPECT_EQ(hy_monitor_snapshot(all.monitor, &sample), 0);
}

static void use_pipeline(unsigned i)
{
    char text[64];
    int n = snprintf(text, sizeof(text), "the document number %u of all", i);

    EXPECT_EQ(
        hy_pipeline_ingest(all.pipeline, i % 64, text, (size_t)n, HY_FOREVER),
        0);
}

/* What a child may use, too, comes first; then what takes addresses, which a
 * sanitizer remembers as what the parent had there; then what it may not. */
static const struct use {
    void (*run)(unsigned i);
    const char *name;
} uses[] = {
    {use_slab, "use_slab"},         {make_slab, "make_slab"},
    {use_heap, "use_heap"},         {use_code, "use_code"},
    {use_patch, "use_patch"},       {make_ring, "make_ring"},
    {make_runtime, "make_runtime"}, {touch_new_pager, "touch_new_pager"},
    {use_runtime, "use_runtime"},   {touch_pager, "touch_pager"},
    {use_monitor, "use_monitor"},   {use_pipeline, "use_pipeline"}};
enum { USES = sizeof(uses) / sizeof(uses[0]), OWN = HY_TEST_SANITIZER ? 6 : 8 };

/* With rests, so that the forks get a processor among so many threads. */
static void *hammer(void *arg)
{
    const struct use *use = arg;
    static const _Atomic uint32_t never = 0;

    for (unsigned i = 0; !atomic_load(&all.stop); i++) {
        use->run(i);
        if (i % 32 == 31)
            hyi_os_futex_wait(&never, 0, hyi_os_now() + 50000, false);
    }
    return NULL;
}

/* --- the child ------------------------------------------------------------ */

static void check_runtime_is_not_there(void)
{
    hy_runtime_stats s = {.size = sizeof(s)};

    EXPECT_EQ(hy_runtime_run(all.rt), -ESTALE);
    EXPECT_EQ(hy_runtime_start(all.rt), -ESTALE);
    EXPECT_EQ(hy_runtime_poll(all.rt, HY_FOREVER), -ESTALE);
    EXPECT_EQ(hy_runtime_wait(all.rt, HY_FOREVER), -ESTALE);
    EXPECT_EQ(hy_runtime_stop(all.rt), -ESTALE);
    EXPECT_EQ(hy_runtime_fd(all.rt), -ESTALE);
    EXPECT_EQ(hy_runtime_stats_get(all.rt, &s), -ESTALE);
    EXPECT_EQ(hy_runtime_destroy(all.rt), -ESTALE);
    EXPECT_EQ(hy_fiber_spawn(all.rt, nothing, NULL, NULL, NULL), -ESTALE);
    EXPECT_EQ(hy_fiber_join(all.sleeper, HY_FOREVER), -ESTALE);
    EXPECT_EQ(hy_fiber_cancel(all.sleeper), -ESTALE);
}

static void check_memory_is_not_there(void)
{
    hy_pager_stats s = {.size = sizeof(s)};
    hy_pipeline_stats p = {.size = sizeof(p)};
    hy_index_stats x = {.size = sizeof(x)};
    float vector[4] = {1, 2, 3, 4};
    hy_hit hits[1];
    size_t count = 1;

    EXPECT_EQ(hy_pager_commit(all.pager, 0, 4096), -ESTALE);
    EXPECT_EQ(hy_pager_pin(all.pager, 0, 4096), -ESTALE);
    EXPECT_EQ(hy_pager_checkpoint(all.pager), -ESTALE);
    EXPECT_EQ(hy_pager_freeze(all.pager), -ESTALE);
    EXPECT_EQ(hy_pager_thaw(all.pager), -ESTALE);
    EXPECT_EQ(hy_pager_stats_get(all.pager, &s), -ESTALE);
    EXPECT_EQ(hy_pager_release(all.pager), 0);
    EXPECT_EQ(hy_index_insert(all.index, 1, vector), -ESTALE);
    EXPECT_EQ(hy_index_search(all.index, vector, 1, NULL, hits, &count),
              -ESTALE);
    EXPECT_EQ(hy_index_remove(all.index, 1), -ESTALE);
    EXPECT_EQ(hy_index_checkpoint(all.index), -ESTALE);
    EXPECT_EQ(hy_index_stats_get(all.index, &x), -ESTALE);
    EXPECT_EQ(hy_index_destroy(all.index), 0);
    EXPECT_EQ(hy_pipeline_ingest(all.pipeline, 1, "a", 1, HY_FOREVER), -ESTALE);
    EXPECT_EQ(hy_pipeline_remove(all.pipeline, 1, HY_FOREVER), -ESTALE);
    EXPECT_EQ(hy_pipeline_flush(all.pipeline, HY_FOREVER), -ESTALE);
    EXPECT_EQ(
        hy_pipeline_query(all.pipeline, "a", 1, 1, hits, &count, HY_FOREVER),
        -ESTALE);
    EXPECT_EQ(hy_pipeline_stats_get(all.pipeline, &p), -ESTALE);
    EXPECT_EQ(hy_pipeline_close(all.pipeline), 0);
}

static void check_monitor_is_not_there(void)
{
    static hy_monitor_sample sample;

    sample.size = sizeof(sample);
    EXPECT_EQ(hy_monitor_snapshot(all.monitor, &sample), -ESTALE);
    EXPECT_EQ(hy_monitor_watch(all.monitor, HY_MONITOR_SLAB, all.slab, NULL),
              -ESTALE);
    EXPECT_EQ(hy_monitor_unwatch(all.monitor, all.slab), -ESTALE);
    EXPECT_EQ(hy_monitor_destroy(all.monitor), 0);
}

static void doing(const char *step)
{
    atomic_store(&my_note->doing, step);
}

static void be_a_child(void *arg)
{
    (void)arg;
    my_note = of_child; /* what threads of the parent met is not its own */
    alarm(PATIENCE_S);  /* a lock that nobody gives back would be for ever */
    doing("check_runtime_is_not_there");
    check_runtime_is_not_there();
    doing("check_memory_is_not_there");
    check_memory_is_not_there();
    doing("check_monitor_is_not_there");
    check_monitor_is_not_there();
    for (unsigned i = 0; i < 4; i++)
        for (unsigned u = 0; u < OWN; u++) {
            doing(uses[u].name);
            uses[u].run(i);
        }
    _exit(atomic_load(&my_note->line) != 0);
}

/* --- the test ------------------------------------------------------------- */

/*
 * AddressSanitizer's malloc, unlike libc's, leaves its locks as they are over a
 * fork: one for each class of sizes, held while a thread that has run out of
 * such pieces gets more. A child gets on without if the thread that forks has
 * some left. So this one makes before what its children will make.
 */
static void fill_own_cache_of_malloc(void)
{
    for (unsigned i = 0; HY_TEST_SANITIZER && i < 4; i++)
        for (unsigned u = 0; u < OWN; u++)
            uses[u].run(i);
}

static void sleep_long(void *arg)
{
    (void)arg;
    hy_fiber_sleep(HY_FOREVER);
}

static void make_things(void)
{
    static const hy_column columns[] = {{"b", HY_I32}};
    hy_schema schema = {sizeof(schema), columns, 1, NULL, 0};
    hy_heap_options heap = HY_HEAP_OPTIONS_INIT;
    hy_runtime_options runtime = HY_RUNTIME_OPTIONS_INIT;
    hy_pager_options pager = HY_PAGER_OPTIONS_INIT;
    hy_index_options index = HY_INDEX_OPTIONS_INIT;
    hy_pipeline_options pipeline = HY_PIPELINE_OPTIONS_INIT;
    hy_monitor_options monitor = HY_MONITOR_OPTIONS_INIT;

    void *shared = NULL;

    memset(&all, 0, sizeof(all));
    memset(&of_threads, 0, sizeof(of_threads));
    shared = mmap(NULL, sizeof(*of_child), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    HY_CHECK(shared != MAP_FAILED);
    of_child = shared;
    HY_CHECK_EQ(hy_slab_create(&all.slab, 64, NULL), 0);
    heap.bytes = 1 << 20;
    heap.flags = HY_HEAP_SHARED;
    HY_CHECK_EQ(hy_heap_create(&all.heap, &heap), 0);
    HY_CHECK_EQ(hy_code_create(&all.code, NULL), 0);
    HY_CHECK_EQ(hy_expr_parse(&all.expr, "b + 5", &schema, NULL), 0);
    HY_CHECK_EQ(hy_expr_compile(&all.kernel, all.code, all.expr, NULL), 0);
    runtime.workers = 2;
    HY_CHECK_EQ(hy_runtime_init(&all.rt, &runtime), 0);
    HY_CHECK_EQ(hy_fiber_spawn(all.rt, sleep_long, NULL, NULL, &all.sleeper),
                0);
    HY_CHECK_EQ(hy_runtime_start(all.rt), 0);
    pager.mechanism = HY_PAGER_SIGNAL;
    HY_CHECK_EQ(hy_pager_reserve(&all.pager, 1 << 20, &pager), 0);
    index.dim = 4;
    index.reserve_bytes = 64 << 20;
    HY_CHECK_EQ(hy_index_create(&all.index, &index), 0);
    pipeline.lanes = 1;
    pipeline.dim = 64;
    pipeline.reserve_bytes = 64 << 20;
    HY_CHECK_EQ(hy_pipeline_open(&all.pipeline, all.rt, &pipeline), 0);
    HY_CHECK_EQ(hy_monitor_create(&all.monitor, &monitor), 0);
    HY_CHECK_EQ(hy_monitor_watch(all.monitor, HY_MONITOR_SLAB, all.slab, NULL),
                0);
}

static void end_things(void)
{
    HY_CHECK_EQ(hy_monitor_destroy(all.monitor), 0);
    HY_CHECK_EQ(hy_pipeline_close(all.pipeline), 0);
    HY_CHECK_EQ(hy_index_destroy(all.index), 0);
    HY_CHECK_EQ(hy_pager_release(all.pager), 0);
    HY_CHECK_EQ(hy_runtime_stop(all.rt), 0);
    HY_CHECK_EQ(hy_runtime_wait(all.rt, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_runtime_destroy(all.rt), 0);
    hy_kernel_release(all.kernel);
    hy_expr_destroy(all.expr);
    hy_code_destroy(all.code);
    HY_CHECK_EQ(hy_heap_check(all.heap), 0);
    hy_heap_destroy(all.heap);
    hy_slab_destroy(all.slab);
    munmap(of_child, sizeof(*of_child));
}

HY_TEST(monitor_fork, a_child_finds_everything_free_whatever_threads_do)
{
    uint64_t start = hyi_os_now();
    char child[400] = "", parent[256];
    pthread_t threads[USES];

    make_things();
    fill_own_cache_of_malloc();
    for (unsigned i = 0; i < USES; i++)
        HY_CHECK_EQ(pthread_create(&threads[i], NULL, hammer,
                                   (void *)(uintptr_t)&uses[i]),
                    0);
    for (int i = 0; i < FORKS && *child == '\0'; i++) {
        describe_child(child, sizeof(child), hy_test_child(be_a_child, NULL));
        if (hyi_os_now() - start > FORKS_NS)
            break;
    }
    atomic_store(&all.stop, 1);
    for (unsigned i = 0; i < USES; i++)
        pthread_join(threads[i], NULL);
    describe(parent, sizeof(parent), &of_threads);
    HY_CHECK_MSG(*child == '\0', "%s; in the parent: %s", child, parent);
    HY_CHECK_MSG(atomic_load(&of_threads.line) == 0, "in the parent: %s",
                 parent);
    end_things();
}
