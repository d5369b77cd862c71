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
    latencies(out, s);
}
