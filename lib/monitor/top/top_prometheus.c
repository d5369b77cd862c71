/*
 * top_prometheus.c - a sample in the text exposition format of Prometheus
 * (version 0.0.4): hyperion_<kind>_<figure>{monitor="...",name="..."}.
 * Upstream: top_main.c. Downstream: top_figures.c.
 */
#include "top.h"

static void label(FILE *out, const char *value)
{
    for (const char *p = value; *p != '\0'; p++) {
        if (*p == '\\' || *p == '"')
            fprintf(out, "\\%c", *p);
        else if (*p == '\n')
            fputs("\\n", out);
        else
            fputc(*p, out);
    }
}

static void type_line(FILE *out, const struct kind *k, const struct figure *f)
{
    fprintf(out, "# TYPE hyperion_%s_%s%s %s\n", k->name, f->name,
            f->counts ? "_total" : "", f->counts ? "counter" : "gauge");
}

static void value_line(FILE *out, const struct kind *k, const struct figure *f,
                       const char *monitor, const char *row, const char *name)
{
    fprintf(out, "hyperion_%s_%s%s{monitor=\"", k->name, f->name,
            f->counts ? "_total" : "");
    label(out, monitor);
    if (name != NULL) {
        fputs("\",name=\"", out);
        label(out, name);
    }
    fprintf(out, "\"} %llu\n", (unsigned long long)figure_of(f, row));
}

static void rows(FILE *out, const struct kind *k, const hy_monitor_sample *s)
{
    uint32_t count = kind_count(k, s);

    for (size_t i = 0; count != 0 && i < k->figure_count; i++) {
        const struct figure *f = &k->figures[i];

        type_line(out, k, f);
        for (uint32_t n = 0; n < count; n++)
            value_line(out, k, f, s->name, kind_row(k, s, n),
                       kind_row(k, s, n));
    }
}

/* How many trapped faults took less than le nanoseconds. The sum of all is not
 * measured, so this is no histogram in the sense of the format. */
static void latencies(FILE *out, const hy_monitor_sample *s)
{
    if (s->pager_count == 0)
        return;
    fputs("# TYPE hyperion_pager_faults_below_total counter\n", out);
    for (uint32_t i = 0; i < s->pager_count; i++) {
        uint64_t sum = 0;

        for (int row = 0; row < HY_MONITOR_LATENCY; row++) {
            sum += s->pagers[i].fault_ns[row];
            fputs("hyperion_pager_faults_below_total{monitor=\"", out);
            label(out, s->name);
            fputs("\",name=\"", out);
            label(out, s->pagers[i].name);
            fprintf(out, "\",le_ns=\"%llu\"} %llu\n", 2ull << row,
                    (unsigned long long)sum);
        }
    }
}

static void runtime_label(FILE *out, const hy_monitor_sample *s,
                          const hy_monitor_runtime *rt)
{
    fputs("{monitor=\"", out);
    label(out, s->name);
    fputs("\",name=\"", out);
    label(out, rt->name);
    fputc('"', out);
}

static void waits(FILE *out, const hy_monitor_sample *s,
                  const hy_monitor_runtime *rt)
{
    for (unsigned i = 0; i < HY_PARK_REASONS; i++) {
        if (hy_park_reason(i)[0] == '\0')
            continue;
        fputs("hyperion_runtime_parked_total", out);
        runtime_label(out, s, rt);
        fprintf(out, ",reason=\"%s\"} %llu\n", hy_park_reason(i),
                (unsigned long long)rt->parked[i]);
    }
}

/* One line for each power of two, so that a scrape stays small. */
static void histogram(FILE *out, const hy_monitor_sample *s,
                      const hy_monitor_runtime *rt, const char *name, int which)
{
    const hy_histogram *h = &rt->measure[which];
    uint64_t sum = 0;

    for (size_t i = 0; i < HY_HISTOGRAM_BUCKETS; i++) {
        sum += h->bucket[i];
        if (i % 4 != 3 || i + 1 == HY_HISTOGRAM_BUCKETS)
            continue;
        fprintf(out, "%s_bucket", name);
        runtime_label(out, s, rt);
        fprintf(out, ",le=\"%llu\"} %llu\n",
                (unsigned long long)hy_histogram_floor(i + 1) - 1,
                (unsigned long long)sum);
    }
    fprintf(out, "%s_bucket", name);
    runtime_label(out, s, rt);
    fprintf(out, ",le=\"+Inf\"} %llu\n", (unsigned long long)sum);
    fprintf(out, "%s_sum", name);
    runtime_label(out, s, rt);
    fprintf(out, "} %llu\n%s_count", (unsigned long long)h->sum, name);
    runtime_label(out, s, rt);
    fprintf(out, "} %llu\n", (unsigned long long)sum);
}

static void measures(FILE *out, const hy_monitor_sample *s)
{
    static const char *const names[HY_MEASURES] = {
        "hyperion_runtime_run_ns", "hyperion_runtime_wait_ns",
        "hyperion_runtime_delay_ns", "hyperion_runtime_stack_bytes"};

    for (int i = 0; i < HY_MEASURES; i++) {
        bool told = false;

        for (uint32_t n = 0; n < s->runtime_count; n++) {
            if (s->runtimes[n].measure[i].size == 0)
                continue;
            if (!told)
                fprintf(out, "# TYPE %s histogram\n", names[i]);
            told = true;
            histogram(out, s, &s->runtimes[n], names[i], i);
        }
    }
}

void prometheus_print(FILE *out, const hy_monitor_sample *s, bool alive)
{
    fputs("# TYPE hyperion_up gauge\nhyperion_up{monitor=\"", out);
    label(out, s->name);
    fprintf(out, "\",pid=\"%llu\"} %d\n", (unsigned long long)s->pid, alive);
    for (size_t i = 0; i < top_process.figure_count; i++) {
        type_line(out, &top_process, &top_process.figures[i]);
        value_line(out, &top_process, &top_process.figures[i], s->name,
                   (const char *)s, NULL);
    }
    for (const struct kind *k = top_kinds; k->name != NULL; k++)
        rows(out, k, s);
    if (s->runtime_count != 0)
        fputs("# TYPE hyperion_runtime_parked_total counter\n", out);
    for (uint32_t i = 0; i < s->runtime_count; i++)
        waits(out, s, &s->runtimes[i]);
    measures(out, s);
    latencies(out, s);
}
