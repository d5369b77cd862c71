/*
 * 16_observe.c - how long fibers run, wait, and wait for their turn.
 *
 * Three kinds of fibers share a worker: one computes for a millisecond at a
 * time, others want to wake every two milliseconds, and two pass a mutex on.
 * The histograms show what the first does to the others. With a file's name as
 * argument each step is written there too, in a format that
 * https://ui.perfetto.dev and chrome://tracing draw.
 */
#include <hyperion/hyperion.h>

#include <stdio.h>
#include <string.h>

static hy_mutex mutex;

static void compute(void *arg)
{
    (void)arg;
    for (int i = 0; i < 50; i++) {
        uint64_t end = hy_now() + 1000000;

        while (hy_now() < end)
            ;
        hy_fiber_yield();
    }
}

static void tick(void *arg)
{
    (void)arg;
    for (int i = 0; i < 30; i++)
        hy_fiber_sleep(hy_after(2000000));
}

static void take_turns(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++) {
        hy_mutex_lock(&mutex, HY_FOREVER);
        hy_fiber_yield();
        hy_mutex_unlock(&mutex);
    }
}

static int spawn(hy_runtime *rt, void (*entry)(void *), const char *name)
{
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;

    o.name = name;
    return hy_fiber_spawn(rt, entry, NULL, &o, NULL);
}

static void show_times(const hy_runtime *rt)
{
    hy_runtime_stats s = {.size = sizeof(s)};

    printf("%-6s %8s %10s %10s %10s\n", "us", "count", "half", "99 %", "most");
    for (int i = HY_MEASURE_RUN; i <= HY_MEASURE_DELAY; i++) {
        hy_histogram h = HY_HISTOGRAM_INIT;

        if (hy_runtime_histogram_get(rt, (hy_measure)i, &h) != 0)
            return;
        printf("%-6s %8llu %10.1f %10.1f %10.1f\n",
               hy_measure_name((hy_measure)i), (unsigned long long)h.count,
               (double)hy_histogram_quantile(&h, 0.5) / 1000,
               (double)hy_histogram_quantile(&h, 0.99) / 1000,
               (double)h.max / 1000);
    }
    if (hy_runtime_stats_get(rt, &s) != 0)
        return;
    for (unsigned i = 0; i < HY_PARK_REASONS; i++)
        if (s.parked[i] != 0)
            printf("waited %llu times for: %s\n",
                   (unsigned long long)s.parked[i], hy_park_reason(i));
}

/* One row a fiber; a turn of it begins with RUN or START, and lasts until
   another fiber's begins or it waits or ends. */
struct drawing {
    FILE *out;
    uint64_t running; /* 0: none */
};

static void put(struct drawing *d, char phase, uint64_t fiber, uint64_t ns)
{
    fprintf(d->out,
            "{\"ph\":\"%c\",\"pid\":1,\"tid\":%llu,\"ts\":%llu.%03llu,"
            "\"name\":\"turn\"},\n",
            phase, (unsigned long long)(fiber & 0x3fffff),
            (unsigned long long)(ns / 1000), (unsigned long long)(ns % 1000));
}

static int draw(const hy_trace_event *e, void *arg)
{
    struct drawing *d = arg;
    int begins = e->kind == HY_TRACE_RUN || e->kind == HY_TRACE_START;

    if (d->running != 0 &&
        (begins || e->kind == HY_TRACE_PARK || e->kind == HY_TRACE_END)) {
        put(d, 'E', d->running, e->time_ns);
        d->running = 0;
    }
    if (begins) {
        put(d, 'B', e->fiber, e->time_ns);
        d->running = e->fiber;
    }
    return 0;
}

static int draw_all(hy_runtime *rt, const char *path)
{
    struct drawing d = {fopen(path, "w"), 0};
    uint64_t dropped = 0;

    if (d.out == NULL) {
        perror(path);
        return 1;
    }
    fputs("[\n", d.out);
    hy_runtime_trace(rt, draw, &d, &dropped);
    fputs("{}]\n", d.out);
    printf("%llu events were overwritten before they were read\n",
           (unsigned long long)dropped);
    return fclose(d.out) != 0;
}

int main(int argc, char **argv)
{
    hy_runtime_options o = HY_RUNTIME_OPTIONS_INIT;
    hy_runtime *rt = NULL;
    int r;

    o.workers = 1;
    o.flags = HY_RUNTIME_MEASURE | HY_RUNTIME_TRACE;
    r = hy_runtime_init(&rt, &o);
    if (r == 0)
        r = spawn(rt, compute, "compute");
    for (int i = 0; r == 0 && i < 3; i++)
        r = spawn(rt, tick, "tick");
    for (int i = 0; r == 0 && i < 2; i++)
        r = spawn(rt, take_turns, "turns");
    if (r == 0)
        r = hy_runtime_run(rt);
    if (r != 0) {
        fprintf(stderr, "observe: %s\n", strerror(-r));
        return 1;
    }
    show_times(rt);
    if (argc > 1)
        r = draw_all(rt, argv[1]);
    hy_runtime_destroy(rt);
    return r != 0;
}
