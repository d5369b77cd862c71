/*
 * test_monitor.c - what a monitor shows equals what was done; segments that
 * are stale, damaged, taken or refused; readers.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <hyperion/fiber.h>
#include <hyperion/heap.h>
#include <hyperion/jit.h>
#include <hyperion/monitor.h>
#include <hyperion/pager.h>
#include <hyperion/patch.h>
#include <hyperion/pipeline.h>
#include <hyperion/ring.h>
#include <hyperion/slab.h>

#include "fail.h"
#include "hy_test.h"
#include "os.h"
#include "segment.h"

/* Too large for a stack. */
static hy_monitor_sample sample;

static hy_monitor *create_slow(const char *name, uint64_t period_ms)
{
    hy_monitor_options o = HY_MONITOR_OPTIONS_INIT;
    hy_monitor *m = NULL;
    int r;

    o.name = name;
    o.period_ns = period_ms * 1000000;
    r = hy_monitor_create(&m, &o);
    HY_CHECK_EQ(r, 0);
    return m;
}

static hy_monitor *create(const char *name)
{
    return create_slow(name, 5);
}

/* A name of this process alone: tests run beside each other. */
static const char *unique(const char *what)
{
    static char name[HY_MONITOR_NAME];

    snprintf(name, sizeof(name), "t-%s-%d", what, (int)getpid());
    return name;
}

static void nap(uint64_t ms)
{
    hy_fiber_sleep(hy_after(ms * 1000000));
}

static void snapshot(hy_monitor *m)
{
    memset(&sample, 0xa5, sizeof(sample));
    sample.size = sizeof(sample);
    HY_CHECK_EQ(hy_monitor_snapshot(m, &sample), 0);
}

/* --- what is shown -------------------------------------------------------- */

HY_TEST(monitor, watches_nothing_at_first)
{
    hy_monitor *m = create(NULL);

    errno = 77;
    snapshot(m);
    HY_CHECK_EQ(errno, 77);
    HY_CHECK_EQ(sample.runtime_count + sample.fiber_count + sample.ring_count,
                0);
    HY_CHECK_EQ(sample.pager_count + sample.heap_count + sample.code_count, 0);
    HY_CHECK_EQ(sample.pid, getpid());
    HY_CHECK_EQ(sample.number, 1);
    HY_CHECK(sample.minor_faults > 0);
    HY_CHECK_STR(sample.version, hy_version());
    HY_CHECK_EQ(sample.patch_mechanism, hy_patch_caps());
    HY_CHECK_EQ(hy_monitor_destroy(m), 0);
    HY_CHECK_EQ(hy_monitor_destroy(NULL), 0);
}

HY_TEST(monitor, a_ring_shows_what_was_pushed)
{
    hy_ring_options o = {.size = sizeof(o), .item_bytes = 8, .capacity = 16};
    hy_monitor *m = create(NULL);
    hy_ring *ring = NULL;
    uint64_t item = 7;

    HY_CHECK_EQ(hy_ring_create(&ring, &o), 0);
    HY_CHECK_EQ(hy_monitor_watch(m, HY_MONITOR_RING, ring, "work"), 0);
    for (int i = 0; i < 11; i++)
        HY_CHECK_EQ(hy_ring_push(ring, &item), 0);
    for (int i = 0; i < 4; i++)
        HY_CHECK_EQ(hy_ring_pop(ring, &item), 0);
    snapshot(m);
    HY_CHECK_EQ(sample.ring_count, 1);
    HY_CHECK_STR(sample.rings[0].name, "work");
    HY_CHECK_EQ(sample.rings[0].capacity, 16);
    HY_CHECK_EQ(sample.rings[0].item_bytes, 8);
    HY_CHECK_EQ(sample.rings[0].pushed, 11);
    HY_CHECK_EQ(sample.rings[0].popped, 4);
    HY_CHECK_EQ(sample.rings[0].depth, 7);
    HY_CHECK_EQ(hy_monitor_unwatch(m, ring), 0);
    HY_CHECK_EQ(hy_monitor_unwatch(m, ring), -ENOENT);
    hy_ring_destroy(ring);
    snapshot(m);
    HY_CHECK_EQ(sample.ring_count, 0);
    hy_monitor_destroy(m);
}

static void sleep_long(void *arg)
{
    (void)arg;
    hy_fiber_sleep(HY_FOREVER);
}

static void look(void *arg)
{
    hy_fiber_yield(); /* the sleeper has gone to sleep */
    snapshot(arg);
    hy_fiber_yield();
}

HY_TEST(monitor, a_runtime_shows_its_fibers)
{
    hy_runtime_options o = HY_RUNTIME_OPTIONS_INIT;
    hy_fiber_options sleeper = HY_FIBER_OPTIONS_INIT;
    hy_monitor *m = create(NULL);
    hy_runtime *rt = NULL;
    hy_fiber f;
    int parked = 0, running = 0;

    o.workers = 1;
    o.name = "shop";
    sleeper.name = "sleeper";
    HY_CHECK_EQ(hy_runtime_init(&rt, &o), 0);
    HY_CHECK_EQ(hy_monitor_watch(m, HY_MONITOR_RUNTIME, rt, NULL), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, sleep_long, NULL, &sleeper, &f), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, look, m, NULL, NULL), 0);
    while (hy_runtime_poll(rt, HY_NOW) == 1)
        ;
    HY_CHECK_EQ(sample.runtime_count, 1);
    HY_CHECK_STR(sample.runtimes[0].name, "shop");
    HY_CHECK_EQ(sample.runtimes[0].spawned, 2);
    HY_CHECK_EQ(sample.runtimes[0].ended, 0);
    HY_CHECK_EQ(sample.runtimes[0].fiber_count, 2);
    HY_CHECK_EQ(sample.fiber_count, 2);
    for (int i = 0; i < 2; i++) {
        const hy_monitor_fiber *row = &sample.fibers[i];

        HY_CHECK(row->stack_bytes >= 8192);
        HY_CHECK(row->stack_used_bytes <= row->stack_bytes);
        running += row->state == HY_FIBER_RUNNING;
        if (row->id != f.id)
            continue;
        parked++;
        HY_CHECK_EQ(row->state, HY_FIBER_PARKED);
        HY_CHECK_STR(row->name, "sleeper");
        HY_CHECK_STR(row->reason, "sleep");
        HY_CHECK(row->stack_used_bytes > 0);
    }
    HY_CHECK_EQ(parked, 1);
    HY_CHECK_EQ(running, 1);
    snapshot(m);
    HY_CHECK_EQ(sample.runtimes[0].ended, 1);
    HY_CHECK_EQ(sample.runtimes[0].fiber_count, 1);
    HY_CHECK_EQ(hy_monitor_unwatch(m, rt), 0);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    hy_monitor_destroy(m);
}

static void end_at_once(void *arg)
{
    (void)arg;
}

HY_TEST(monitor, more_fibers_than_rows_are_counted)
{
    hy_runtime_options o = HY_RUNTIME_OPTIONS_INIT;
    hy_monitor *m = create(NULL);
    hy_runtime *rt = NULL;

    o.workers = 1;
    HY_CHECK_EQ(hy_runtime_init(&rt, &o), 0);
    HY_CHECK_EQ(hy_monitor_watch(m, HY_MONITOR_RUNTIME, rt, "many"), 0);
    for (int i = 0; i < HY_MONITOR_FIBERS + 44; i++)
        HY_CHECK_EQ(hy_fiber_spawn(rt, end_at_once, NULL, NULL, NULL), 0);
    snapshot(m);
    HY_CHECK_EQ(sample.runtimes[0].spawned, HY_MONITOR_FIBERS + 44);
    HY_CHECK_EQ(sample.fiber_count, HY_MONITOR_FIBERS);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    snapshot(m);
    HY_CHECK_EQ(sample.runtimes[0].ended, HY_MONITOR_FIBERS + 44);
    HY_CHECK_EQ(sample.fiber_count, 0);
    hy_monitor_destroy(m);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

HY_TEST(monitor, a_pager_shows_heat_where_it_was_touched)
{
    hy_monitor *m = create(NULL);
    hy_pager *pager = NULL;
    hy_pager_stats stats = {.size = sizeof(stats)};
    const hy_monitor_pager *row = &sample.pagers[0];
    uint64_t bytes = 64 << 20;
    uint8_t *base;

    HY_CHECK_EQ(hy_pager_reserve(&pager, bytes, NULL), 0);
    HY_CHECK_EQ(hy_monitor_watch(m, HY_MONITOR_PAGER, pager, NULL), 0);
    base = hy_pager_base(pager);
    memset(base + bytes / 2, 1, bytes / HY_MONITOR_HEAT);
    snapshot(m);
    HY_CHECK_EQ(hy_pager_stats_get(pager, &stats), 0);
    HY_CHECK_EQ(sample.pager_count, 1);
    HY_CHECK_STR(row->name, "pager");
    HY_CHECK_EQ(row->reserved_bytes, bytes);
    HY_CHECK_EQ(row->resident_bytes, stats.resident_bytes);
    HY_CHECK_EQ(row->faults, stats.faults);
    HY_CHECK(row->mechanism[0] != '\0');
    if (row->heat_count != 0) {
        HY_CHECK_EQ(row->heat_count, HY_MONITOR_HEAT);
        HY_CHECK_EQ(row->heat[HY_MONITOR_HEAT / 2], 255);
        HY_CHECK_EQ(row->heat[0], 0);
        HY_CHECK_EQ(row->heat[HY_MONITOR_HEAT - 1], 0);
    }
    hy_monitor_destroy(m);
    HY_CHECK_EQ(hy_pager_release(pager), 0);
}

HY_TEST(monitor, a_heap_and_code_show_their_bytes)
{
    hy_heap_options o = HY_HEAP_OPTIONS_INIT;
    hy_monitor *m = create(NULL);
    hy_heap_stats stats = HY_HEAP_STATS_INIT;
    hy_code *code = NULL;
    hy_heap *heap = NULL;

    o.flags = HY_HEAP_SHARED;
    HY_CHECK_EQ(hy_heap_create(&heap, &o), 0);
    HY_CHECK_EQ(hy_code_create(&code, NULL), 0);
    HY_CHECK_EQ(hy_monitor_watch(m, HY_MONITOR_HEAP, heap, "objects"), 0);
    HY_CHECK_EQ(hy_monitor_watch(m, HY_MONITOR_CODE, code, NULL), 0);
    HY_CHECK(hy_heap_alloc(heap, 1000) != NULL);
    HY_CHECK(hy_heap_alloc(heap, 500) != NULL);
    HY_CHECK_EQ(hy_heap_free(heap, &stats), -EINVAL);
    snapshot(m);
    HY_CHECK_EQ(hy_heap_stats_get(heap, &stats), 0);
    HY_CHECK_EQ(sample.heap_count, 1);
    HY_CHECK_EQ(sample.heaps[0].allocations, 2);
    HY_CHECK_EQ(sample.heaps[0].refused_frees, 1);
    HY_CHECK_EQ(sample.heaps[0].used_bytes, stats.used_bytes);
    HY_CHECK_EQ(sample.code_count, 1);
    HY_CHECK_STR(sample.codes[0].name, "code");
    HY_CHECK_EQ(sample.codes[0].kernels, 0);
    hy_monitor_destroy(m);
    HY_CHECK_EQ(hy_heap_destroy(heap), 0);
    HY_CHECK_EQ(hy_code_destroy(code), 0);
}

HY_TEST(monitor, a_slab_shows_its_objects)
{
    hy_slab_options o = HY_SLAB_OPTIONS_INIT;
    hy_monitor *m = create(NULL);
    hy_slab *slab = NULL;
    void *object[5];

    o.name = "orders";
    HY_CHECK_EQ(hy_slab_create(&slab, 64, &o), 0);
    HY_CHECK_EQ(hy_monitor_watch(m, HY_MONITOR_SLAB, slab, NULL), 0);
    for (int i = 0; i < 5; i++)
        HY_CHECK((object[i] = hy_slab_alloc(slab)) != NULL);
    HY_CHECK_EQ(hy_slab_free(slab, object[0]), 0);
    HY_CHECK_EQ(hy_slab_free(slab, object[0]), -EINVAL);
    snapshot(m);
    HY_CHECK_EQ(sample.slab_count, 1);
    HY_CHECK_STR(sample.slabs[0].name, "orders");
    HY_CHECK_EQ(sample.slabs[0].live_objects, 4);
    HY_CHECK_EQ(sample.slabs[0].refused_frees, 1);
    HY_CHECK(sample.slabs[0].held_bytes >= sample.slabs[0].chunk_bytes);
    HY_CHECK_EQ(hy_monitor_unwatch(m, slab), 0);
    HY_CHECK_EQ(hy_slab_destroy(slab), 0);
    snapshot(m);
    HY_CHECK_EQ(sample.slab_count, 0);
    hy_monitor_destroy(m);
}

HY_TEST(monitor, a_pipeline_shows_its_documents)
{
    hy_runtime_options run = HY_RUNTIME_OPTIONS_INIT;
    hy_monitor *m = create(NULL);
    hy_runtime *rt = NULL;
    hy_pipeline_options po = HY_PIPELINE_OPTIONS_INIT;
    hy_pipeline *p = NULL;

    run.workers = 1;
    HY_CHECK_EQ(hy_runtime_init(&rt, &run), 0);
    HY_CHECK_EQ(hy_runtime_start(rt), 0);
    po.reserve_bytes = (uint64_t)64 << 20; /* emulators pay for each */
    HY_CHECK_EQ(hy_pipeline_open(&p, rt, &po), 0);
    HY_CHECK_EQ(hy_monitor_watch(m, HY_MONITOR_PIPELINE, p, "library"), 0);
    HY_CHECK_EQ(hy_pipeline_ingest(p, 1, "one fish", 8, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_pipeline_ingest(p, 2, "two fish", 8, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_pipeline_flush(p, HY_FOREVER), 0);
    snapshot(m);
    HY_CHECK_EQ(sample.pipeline_count, 1);
    HY_CHECK_STR(sample.pipelines[0].name, "library");
    HY_CHECK_EQ(sample.pipelines[0].documents, 2);
    HY_CHECK_EQ(sample.pipelines[0].ingested, 2);
    HY_CHECK_EQ(sample.pipelines[0].waiting, 0);
    HY_CHECK_EQ(sample.pipelines[0].text_bytes, 16);
    hy_monitor_destroy(m);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
    HY_CHECK_EQ(hy_runtime_stop(rt), 0);
    HY_CHECK_EQ(hy_runtime_wait(rt, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

HY_TEST(monitor, bad_arguments_are_refused)
{
    hy_monitor_options o = HY_MONITOR_OPTIONS_INIT;
    static const char *const bad[] = {"", "a/b", "..", "a b",
                                      "12345678901234567890123456789012"};
    hy_monitor *m = NULL;
    int objects[HY_MONITOR_CODES + 1];

    for (unsigned i = 0; i < 5; i++) {
        o.name = bad[i];
        if (strcmp(bad[i], "..") != 0)
            HY_CHECK_EQ(hy_monitor_create(&m, &o), -EINVAL);
    }
    HY_CHECK(m == NULL);
    o.name = NULL;
    o.period_ns = 10;
    HY_CHECK_EQ(hy_monitor_create(&m, &o), -EINVAL);
    HY_CHECK_EQ(hy_monitor_create(NULL, NULL), -EINVAL);
    m = create(NULL);
    HY_CHECK_EQ(hy_monitor_watch(NULL, HY_MONITOR_RING, objects, "x"), -EINVAL);
    HY_CHECK_EQ(hy_monitor_watch(m, HY_MONITOR_RING, NULL, "x"), -EINVAL);
    HY_CHECK_EQ(hy_monitor_watch(m, (hy_monitor_kind)99, objects, "x"),
                -EINVAL);
    for (int i = 0; i < HY_MONITOR_CODES; i++)
        HY_CHECK_EQ(hy_monitor_watch(m, HY_MONITOR_CODE, &objects[i], "x"), 0);
    HY_CHECK_EQ(hy_monitor_watch(m, HY_MONITOR_CODE, &objects[0], "x"),
                -EEXIST);
    HY_CHECK_EQ(
        hy_monitor_watch(m, HY_MONITOR_CODE, &objects[HY_MONITOR_CODES], "x"),
        -ENOSPC);
    for (int i = 0; i < HY_MONITOR_CODES; i++)
        HY_CHECK_EQ(hy_monitor_unwatch(m, &objects[i]), 0);
    HY_CHECK_EQ(hy_monitor_snapshot(m, NULL), -EINVAL);
    sample.size = 3;
    HY_CHECK_EQ(hy_monitor_snapshot(m, &sample), -EINVAL);
    HY_CHECK_EQ(hy_monitor_publish(NULL, "x"), -EINVAL);
    HY_CHECK_EQ(hy_monitor_each(NULL, NULL), -EINVAL);
    HY_CHECK_EQ(hy_monitor_remove(NULL), -EINVAL);
    HY_CHECK_EQ(hy_monitor_remove("a/b"), -EINVAL);
    hy_monitor_destroy(m);
}

/* --- publishing ----------------------------------------------------------- */

static int read_soon(hy_monitor_reader *r)
{
    int result = -EAGAIN;

    sample.size = sizeof(sample);
    for (int i = 0; result == -EAGAIN && i < 20000; i++) {
        result = hy_monitor_read(r, &sample);
        if (result == -EAGAIN)
            nap(1);
    }
    return result;
}

HY_TEST(monitor, a_reader_sees_what_is_published)
{
    hy_ring_options o = {.size = sizeof(o), .item_bytes = 4, .capacity = 8};
    const char *name = unique("pub");
    hy_monitor_reader *reader = NULL, *by_pid = NULL;
    hy_monitor *m = create(name);
    hy_ring *ring = NULL;
    char pid[24];
    uint64_t number;

    HY_CHECK_EQ(hy_ring_create(&ring, &o), 0);
    HY_CHECK_EQ(hy_monitor_watch(m, HY_MONITOR_RING, ring, "r"), 0);
    HY_CHECK_EQ(hy_ring_push(ring, "abcd"), 0);
    HY_CHECK_EQ(hy_monitor_attach(&reader, name), 0);
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    HY_CHECK_EQ(hy_monitor_attach(&by_pid, pid), 0);
    hy_monitor_detach(by_pid);
    HY_CHECK_EQ(read_soon(reader), 0);
    number = sample.number;
    for (int i = 0;
         i < 20000 && (sample.number < number + 2 || sample.ring_count == 0);
         i++) {
        nap(1);
        HY_CHECK_EQ(read_soon(reader), 0);
    }
    HY_CHECK(sample.number >= number + 2);
    HY_CHECK_STR(sample.name, name);
    HY_CHECK_EQ(sample.ring_count, 1);
    HY_CHECK_EQ(sample.rings[0].depth, 1);
    hy_monitor_destroy(m);
    HY_CHECK_EQ(read_soon(reader), 1); /* the last one, and no more */
    HY_CHECK_EQ(sample.ring_count, 1);
    hy_monitor_detach(reader);
    HY_CHECK_EQ(hy_monitor_attach(&reader, name), -ENOENT);
    HY_CHECK_EQ(hy_monitor_attach(&reader, "a/b"), -EINVAL);
    HY_CHECK_EQ(hy_monitor_attach(NULL, name), -EINVAL);
    hy_monitor_detach(NULL);
    hy_ring_destroy(ring);
}

HY_TEST(monitor, a_runtime_ends_its_publication)
{
    const char *name = unique("rt");
    hy_monitor_reader *reader = NULL;
    hy_runtime_options o = HY_RUNTIME_OPTIONS_INIT;
    hy_runtime *rt = NULL;

    o.workers = 1;
    o.name = name;
    HY_CHECK_EQ(hy_runtime_init(&rt, &o), 0);
    HY_CHECK_EQ(hy_monitor_publish(rt, NULL), 0);
    HY_CHECK_EQ(hy_monitor_publish(rt, name), -EEXIST);
    HY_CHECK_EQ(hy_monitor_attach(&reader, name), 0);
    HY_CHECK_EQ(read_soon(reader), 0);
    HY_CHECK_STR(sample.name, name);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    HY_CHECK_EQ(read_soon(reader), 1);
    hy_monitor_detach(reader);
    HY_CHECK_EQ(hy_monitor_attach(&reader, name), -ENOENT);
}

HY_TEST(monitor, only_the_owner_has_access)
{
    const char *name = unique("mode");
    char path[HYI_SEGMENT_PATH];
    hy_monitor_reader *reader = NULL;
    hy_monitor *m = create(name);
    struct stat s;
    int fd;

    hyi_segment_path(path, name);
    fd = shm_open(path, O_RDWR, 0);
    HY_CHECK(fd >= 0);
    HY_CHECK_EQ(fstat(fd, &s), 0);
    HY_CHECK_EQ(s.st_mode & 0777, 0600);
    HY_CHECK_EQ(fchmod(fd, 0644), 0); /* not as we made it */
    HY_CHECK_EQ(hy_monitor_attach(&reader, name), -EACCES);
    close(fd);
    hy_monitor_destroy(m);
}

/* --- dead, damaged, refused ----------------------------------------------- */

/* Dies once something of it can be read. */
static void publish_and_die(void *arg)
{
    hy_monitor_reader *reader = NULL;

    create(arg);
    HY_CHECK_EQ(hy_monitor_attach(&reader, arg), 0);
    HY_CHECK_EQ(read_soon(reader), 0);
    raise(SIGKILL);
}

HY_TEST(monitor, the_segment_of_a_killed_process_is_removed_by_the_next)
{
    const char *name = unique("dead");
    hy_monitor_reader *reader = NULL;
    hy_monitor *m;
    int status = hy_test_child(publish_and_die, (void *)(uintptr_t)name);

    HY_CHECK(WIFSIGNALED(status));
    HY_CHECK_EQ(hy_monitor_attach(&reader, name), 0);
    HY_CHECK_EQ(read_soon(reader), 1);
    HY_CHECK(sample.pid != (uint64_t)getpid());
    hy_monitor_detach(reader);
    m = create(name);
    HY_CHECK_EQ(hy_monitor_attach(&reader, name), 0);
    HY_CHECK_EQ(read_soon(reader), 0);
    HY_CHECK_EQ(sample.pid, getpid());
    hy_monitor_detach(reader);
    hy_monitor_destroy(m);
}

HY_TEST(monitor, a_living_name_is_taken)
{
    const char *name = unique("live");
    hy_monitor_options o = HY_MONITOR_OPTIONS_INIT;
    hy_monitor *m = create(name), *other = NULL;

    o.name = name;
    HY_CHECK_EQ(hy_monitor_create(&other, &o), -EEXIST);
    HY_CHECK(other == NULL);
    hy_monitor_destroy(m);
    HY_CHECK_EQ(hy_monitor_create(&other, &o), 0);
    hy_monitor_destroy(other);
}

static void destroy_in_child(void *arg)
{
    hy_monitor_destroy(arg);
}

HY_TEST(monitor, a_forked_child_leaves_the_segment_alone)
{
    const char *name = unique("fork");
    hy_monitor_reader *reader = NULL;
    hy_monitor *m = create(name);

    HY_CHECK_EQ(hy_test_child(destroy_in_child, m), 0);
    HY_CHECK_EQ(hy_monitor_attach(&reader, name), 0);
    HY_CHECK_EQ(read_soon(reader), 0);
    hy_monitor_detach(reader);
    hy_monitor_destroy(m);
}

/* Writes the file of a segment, whole or in part. */
static void put(const char *name, const void *bytes, size_t count)
{
    char path[HYI_SEGMENT_PATH];
    int fd;

    hyi_segment_path(path, name);
    fd = shm_open(path, O_CREAT | O_TRUNC | O_RDWR, 0600);
    HY_CHECK(fd >= 0);
    HY_CHECK_EQ(write(fd, bytes, count), count);
    close(fd);
}

static struct hyi_segment damaged;

/* A copy of what a living process publishes; one sample, so that none is
 * written under it. */
static void copy_living(const char *name)
{
    hy_monitor *m = create_slow(name, 60000);
    char path[HYI_SEGMENT_PATH];
    hy_monitor_reader *reader = NULL;
    int fd;

    HY_CHECK_EQ(hy_monitor_attach(&reader, name), 0);
    HY_CHECK_EQ(read_soon(reader), 0);
    hy_monitor_detach(reader);
    hyi_segment_path(path, name);
    fd = shm_open(path, O_RDONLY, 0);
    HY_CHECK_EQ(read(fd, &damaged, sizeof(damaged)), sizeof(damaged));
    close(fd);
    hy_monitor_destroy(m);
    damaged.header.state = HYI_SEGMENT_LIVE;
}

static int read_damaged(const char *name)
{
    hy_monitor_reader *reader = NULL;
    int r;

    put(name, &damaged, sizeof(damaged));
    r = hy_monitor_attach(&reader, name);
    if (r != 0)
        return r;
    sample.size = sizeof(sample);
    r = hy_monitor_read(reader, &sample);
    hy_monitor_detach(reader);
    return r;
}

HY_TEST(monitor, damage_is_named)
{
    const char *name = unique("dmg");
    struct hyi_segment good;
    hy_monitor_sample *last;
    hy_monitor_reader *reader = NULL;
    hy_monitor *m;

    copy_living(name);
    last = (hy_monitor_sample *)(void *)&damaged
               .slot[damaged.header.published & 1];
    HY_CHECK_EQ(read_damaged(name), 0);
    memcpy(&good, &damaged, sizeof(good));
#define DAMAGED(change, error)                                                 \
    do {                                                                       \
        change;                                                                \
        HY_CHECK_EQ(read_damaged(name), error);                                \
        memcpy(&damaged, &good, sizeof(good));                                 \
    } while (0)
    DAMAGED(damaged.header.magic ^= 1, -EBADMSG);
    DAMAGED(damaged.header.version++, -EPROTO);
    DAMAGED(damaged.header.sample_bytes--, -EPROTO);
    DAMAGED(damaged.header.bytes++, -EBADMSG);
    DAMAGED(damaged.header.state = 9, -EBADMSG);
    DAMAGED(memset(damaged.header.name, 'x', HY_MONITOR_NAME), -EBADMSG);
    DAMAGED(damaged.header.published = 0, -EAGAIN);
    DAMAGED(last->size = 8, -EBADMSG);
    DAMAGED(last->pid++, -EBADMSG);
    DAMAGED(last->fiber_count = HY_MONITOR_FIBERS + 1, -EBADMSG);
    DAMAGED(last->ring_count = UINT32_MAX, -EBADMSG);
    DAMAGED(memset(last->isa, 'x', sizeof(last->isa)), -EBADMSG);
    DAMAGED((last->pager_count = 1, last->pagers[0].heat_count = 1000),
            -EBADMSG);
    DAMAGED((last->runtime_count = 1, last->runtimes[0].fiber_index = 1),
            -EBADMSG);
    DAMAGED(last->slab_count = HY_MONITOR_SLABS + 1, -EBADMSG);
    DAMAGED(last->pipeline_count = UINT32_MAX, -EBADMSG);
    DAMAGED((last->ring_count = 1, last->rings[0].depth = 1), -EBADMSG);
    DAMAGED(damaged.header.process_start++, 1); /* the number was used again */

    put(name, "short", 5);
    HY_CHECK_EQ(hy_monitor_attach(&reader, name), -EBADMSG);
    m = create_slow(name, 60000); /* what is damaged is nobody's */
    HY_CHECK_EQ(hy_monitor_attach(&reader, name), 0);
    HY_CHECK_EQ(read_soon(reader), 0); /* and now it sleeps */
    put(name, "shrunk", 6);            /* under a reader's hands */
    HY_CHECK_EQ(hy_monitor_read(reader, &sample), -EBADMSG);
    hy_monitor_detach(reader);
    put(name, &good, sizeof(good)); /* it will write into its header */
    hy_monitor_destroy(m);
}

HY_TEST(monitor, only_what_is_nobodys_is_removed)
{
    const char *name = unique("rm");
    char path[HYI_SEGMENT_PATH];
    hy_monitor_reader *reader = NULL;
    hy_monitor *m = create(name);
    int fd;

    HY_CHECK_EQ(hy_monitor_remove(name), -EEXIST);
    HY_CHECK_EQ(hy_monitor_attach(&reader, name), 0);
    hy_monitor_detach(reader);
    hy_monitor_destroy(m);
    HY_CHECK_EQ(hy_monitor_remove(name), -ENOENT);

    HY_CHECK(
        WIFSIGNALED(hy_test_child(publish_and_die, (void *)(uintptr_t)name)));
    /* No error is taken for success. */
    for (unsigned nth = 1; nth <= 3; nth++) {
        hy_fail_at(HY_FAIL_SHM_OPEN, nth, EMFILE);
        HY_CHECK_EQ(hy_monitor_remove(name), -EMFILE);
        HY_CHECK_EQ(hy_fail_hits(), nth);
    }
    hy_fail_none();
    HY_CHECK_EQ(hy_monitor_remove(name), 0);
    HY_CHECK_EQ(hy_monitor_attach(&reader, name), -ENOENT);

    copy_living(name);
    damaged.header.version++;
    put(name, &damaged, sizeof(damaged));
    HY_CHECK_EQ(hy_monitor_remove(name), -EPROTO);
    put(name, "short", 5);
    hyi_segment_path(path, name);
    fd = shm_open(path, O_RDWR, 0);
    HY_CHECK_EQ(hyi_os_file_lock(fd, true), 0); /* as who makes it does */
    HY_CHECK_EQ(hy_monitor_remove(name), -EBUSY);
    close(fd);
    HY_CHECK_EQ(hy_monitor_remove(name), 0);
    HY_CHECK_EQ(hy_monitor_remove(name), -ENOENT);
}

/* A writer that died while it wrote the other slot. */
HY_TEST(monitor, half_a_sample_hides_behind_the_one_before)
{
    const char *name = unique("half");
    char path[HYI_SEGMENT_PATH];
    uint64_t n;

    copy_living(name);
    n = damaged.header.published;
    memset(&damaged.slot[(n + 1) & 1], 0xff, sizeof(damaged.slot[0]));
    HY_CHECK_EQ(read_damaged(name), 0);
    HY_CHECK_EQ(sample.pid, getpid());
    hyi_segment_path(path, name);
    HY_CHECK_EQ(hyi_os_shm_remove(path), 0);
}

struct look {
    const char *name;
    int seen, alive;
};

static int see(const hy_monitor_info *info, void *arg)
{
    struct look *l = arg;

    if (strcmp(info->name, l->name) == 0) {
        l->seen++;
        l->alive = info->alive;
    }
    return 0;
}

HY_TEST(monitor, segments_are_found)
{
    struct look l = {unique("each"), 0, 0};
    hy_monitor *m = create(l.name);

    HY_CHECK_EQ(hy_monitor_each(see, &l), 0);
    HY_CHECK_EQ(l.seen, 1);
    HY_CHECK_EQ(l.alive, 1);
    hy_monitor_destroy(m);
    HY_CHECK_EQ(hy_monitor_each(see, &l), 0);
    HY_CHECK_EQ(l.seen, 1);
}

static int reports;

static void count_reports(void *ctx, int level, const char *message)
{
    (void)ctx;
    if (level == HY_REPORT_ERROR && message[0] != '\0')
        reports++;
}

HY_TEST(monitor, refused_calls_leave_nothing_behind)
{
    static const struct {
        enum hy_fail_call call;
        int error;
    } rows[] = {
        {HY_FAIL_CALLOC, ENOMEM},    {HY_FAIL_SHM_OPEN, EACCES},
        {HY_FAIL_SHM_OPEN, EMFILE},  {HY_FAIL_FTRUNCATE, ENOSPC},
        {HY_FAIL_FALLOCATE, ENOSPC}, {HY_FAIL_PTHREAD_CREATE, EAGAIN},
        {HY_FAIL_MMAP, ENOMEM},
    };
    hy_monitor_options o = HY_MONITOR_OPTIONS_INIT;
    hy_monitor_reader *reader = NULL;
    hy_monitor *m = NULL;

    o.name = unique("fail");
    o.report.write = count_reports;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        hy_fail_at(rows[i].call, 1, rows[i].error);
        errno = 77;
        HY_CHECK_EQ(hy_monitor_create(&m, &o), -rows[i].error);
        HY_CHECK_EQ(errno, 77);
        HY_CHECK_EQ(hy_fail_hits(), 1);
        hy_fail_none();
        HY_CHECK(m == NULL);
        HY_CHECK_EQ(hy_monitor_attach(&reader, o.name), -ENOENT);
    }
    HY_CHECK(reports >= 5);
    HY_CHECK_EQ(hy_monitor_create(&m, &o), 0);
    hy_fail_at(HY_FAIL_CALLOC, 1, ENOMEM);
    HY_CHECK_EQ(hy_monitor_attach(&reader, o.name), -ENOMEM);
    hy_fail_none();
    hy_fail_at(HY_FAIL_SHM_OPEN, 1, EACCES);
    HY_CHECK_EQ(hy_monitor_attach(&reader, o.name), -EACCES);
    hy_fail_none();
    hy_monitor_destroy(m);
}

HY_TEST(monitor, a_publication_without_memory_is_none)
{
    const char *name = unique("nomem");
    hy_runtime_options o = HY_RUNTIME_OPTIONS_INIT;
    hy_monitor_reader *reader = NULL;
    hy_runtime *rt = NULL;

    o.workers = 1;
    HY_CHECK_EQ(hy_runtime_init(&rt, &o), 0);
    hy_fail_at(HY_FAIL_MALLOC, 1, ENOMEM);
    HY_CHECK_EQ(hy_monitor_publish(rt, name), -ENOMEM);
    hy_fail_none();
    HY_CHECK_EQ(hy_monitor_attach(&reader, name), -ENOENT);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

/* --- a reader never sees a torn sample ------------------------------------ */

static atomic_int churn_stop;

static void *churn(void *arg)
{
    while (!atomic_load(&churn_stop)) {
        static hy_monitor_sample s;
        static uint64_t n;

        n++;
        s.size = sizeof(s);
        s.pid = (uint64_t)getpid();
        s.number = s.minor_faults = s.major_faults = n;
        for (int i = 0; i < HY_MONITOR_FIBERS; i++)
            s.fibers[i].switches = n;
        hyi_segment_write(arg, &s);
    }
    return NULL;
}

HY_TEST(monitor, samples_are_whole)
{
    const char *name = unique("whole");
    struct hyi_segment *segment = NULL;
    hy_monitor_reader *reader = NULL;
    uint64_t end = hyi_os_now() + 200000000, reads = 0;
    pthread_t thread;

    atomic_store(&churn_stop, 0);
    HY_CHECK_EQ(hyi_segment_create(&segment, name), 0);
    HY_CHECK_EQ(hyi_os_thread_start(&thread, churn, segment), 0);
    HY_CHECK_EQ(hy_monitor_attach(&reader, name), 0);
    do {
        int r = read_soon(reader);

        if (r == -EAGAIN)
            continue; /* lapped all the time */
        HY_CHECK_EQ(r, 0);
        reads++;
        HY_CHECK_EQ(sample.minor_faults, sample.number);
        for (int i = 0; i < HY_MONITOR_FIBERS; i++)
            HY_CHECK_EQ(sample.fibers[i].switches, sample.number);
    } while (hyi_os_now() < end || reads == 0);
    atomic_store(&churn_stop, 1);
    pthread_join(thread, NULL);
    hy_monitor_detach(reader);
    hyi_segment_close(segment, true);
}
