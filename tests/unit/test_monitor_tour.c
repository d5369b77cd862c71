/*
 * test_monitor_tour.c - sends one document through the whole library with a
 * listener on its tracepoints, and compares the hops with docs/tour.md: their
 * order, and that the files it names emit them. One worker runs it all, so that
 * the order is the program's.
 */
#include <errno.h>
#include <stdatomic.h>

#include <hyperion/fiber.h>
#include <hyperion/monitor.h>
#include <hyperion/pipeline.h>

#include "hy_test.h"

enum { HOPS_MAX = 64, NAME_MAX_BYTES = 32 };

struct hops {
    char name[HOPS_MAX][NAME_MAX_BYTES];
    char file[HOPS_MAX][128];
    _Atomic size_t count;
};

/* Hops follow one another, so that only the slot must be taken atomically. */
static void hear(void *ctx, const char *hop, uint64_t what)
{
    struct hops *hops = ctx;
    size_t at = atomic_fetch_add(&hops->count, 1);

    (void)what;
    if (at < HOPS_MAX)
        snprintf(hops->name[at], NAME_MAX_BYTES, "%s", hop);
}

/* Rows of the form "| `hop` | call | [file](...) | ...". */
static void read_tour(struct hops *tour)
{
    FILE *f = fopen(HY_SOURCE_DIR "/docs/tour.md", "r");
    char line[1024];

    HY_CHECK(f != NULL);
    while (fgets(line, sizeof(line), f) != NULL) {
        size_t at = atomic_load(&tour->count);

        if (sscanf(line, "| `%31[a-z]` |", tour->name[at]) != 1)
            continue;
        HY_CHECK(strchr(line, '[') != NULL);
        HY_CHECK_EQ(sscanf(strchr(line, '['), "[%127[^]]]", tour->file[at]), 1);
        atomic_fetch_add(&tour->count, 1);
    }
    fclose(f);
}

static bool file_emits(const char *file, const char *hop)
{
    char path[512], wanted[64], line[512];
    bool found = false;
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", HY_SOURCE_DIR, file);
    snprintf(wanted, sizeof(wanted), "HYI_TRACE(\"%s\"", hop);
    f = fopen(path, "r");
    if (f == NULL)
        return false;
    while (!found && fgets(line, sizeof(line), f) != NULL)
        found = strstr(line, wanted) != NULL;
    fclose(f);
    return found;
}

struct walk {
    hy_pipeline *p;
    struct hops heard;
};

/* The first document also makes the index; the second one is the tour's. */
static void send_documents(void *arg)
{
    static const char text[] = "Otters hold hands while they sleep.";
    struct walk *walk = arg;

    HY_CHECK_EQ(hy_pipeline_ingest(walk->p, 1, "first", 5, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_pipeline_flush(walk->p, HY_FOREVER), 0);
    hy_trace_set(hear, &walk->heard);
    HY_CHECK_EQ(
        hy_pipeline_ingest(walk->p, 2, text, sizeof(text) - 1, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_pipeline_flush(walk->p, HY_FOREVER), 0);
}

static void end_pipeline(void *arg)
{
    struct walk *walk = arg;

    hy_pipeline_close(walk->p);
}

HY_TEST(tour, a_documents_hops_are_those_of_the_tour)
{
    static struct hops tour;
    static struct walk walk;
    static hy_monitor_sample sample;
    hy_runtime_options ro = HY_RUNTIME_OPTIONS_INIT;
    hy_pipeline_options po = HY_PIPELINE_OPTIONS_INIT;
    hy_runtime *rt = NULL;
    hy_monitor *m = NULL;
    hy_fiber sender;

    read_tour(&tour);
    ro.workers = 1;
    po.lanes = 1;
    HY_CHECK_EQ(hy_runtime_init(&rt, &ro), 0);
    po.reserve_bytes = (uint64_t)64 << 20; /* emulators pay for each */
    HY_CHECK_EQ(hy_pipeline_open(&walk.p, rt, &po), 0);
    HY_CHECK_EQ(hy_monitor_create(&m, NULL), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, send_documents, &walk, NULL, &sender), 0);
    while (hy_fiber_join(sender, HY_NOW) == -ETIMEDOUT)
        hy_runtime_poll(rt, HY_NOW);
    sample.size = sizeof(sample);
    HY_CHECK_EQ(hy_monitor_snapshot(m, &sample), 0);
    hy_trace_set(NULL, NULL);

    HY_CHECK(atomic_load(&tour.count) >= 10);
    for (size_t i = 0; i < atomic_load(&tour.count); i++) {
        HY_CHECK_STR(walk.heard.name[i], tour.name[i]);
        HY_CHECK_MSG(file_emits(tour.file[i], tour.name[i]),
                     "%s does not emit %s", tour.file[i], tour.name[i]);
    }
    HY_CHECK_EQ(atomic_load(&walk.heard.count), atomic_load(&tour.count));
    HY_CHECK_EQ(hy_monitor_destroy(m), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, end_pipeline, &walk, NULL, NULL), 0);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}
