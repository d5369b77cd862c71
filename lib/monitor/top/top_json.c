/*
 * top_json.c - a sample as one JSON object on one line. Names are those of
 * hyperion/monitor.h, so that a script reads what the header documents.
 * Upstream: top_main.c. Downstream: top_figures.c.
 */
#include "top.h"

#include <string.h>

struct json {
    FILE *out;
    bool comma; /* something stands before in this object or array */
};

static void separate(struct json *j)
{
    if (j->comma)
        fputc(',', j->out);
    j->comma = true;
}

/* Bytes of the UTF-8 character at text; 0 when it is none. */
static size_t character(const unsigned char *text)
{
    size_t n = text[0] < 0x80   ? 1
               : text[0] < 0xc2 ? 0
               : text[0] < 0xe0 ? 2
               : text[0] < 0xf0 ? 3
               : text[0] < 0xf5 ? 4
                                : 0;

    for (size_t i = 1; i < n; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    if ((text[0] == 0xe0 && text[1] < 0xa0) ||
        (text[0] == 0xed && text[1] > 0x9f) ||
        (text[0] == 0xf0 && text[1] < 0x90) ||
        (text[0] == 0xf4 && text[1] > 0x8f))
        return 0;
    return n;
}

static void string(struct json *j, const char *value)
{
    const unsigned char *p = (const unsigned char *)value;

    fputc('"', j->out);
    while (*p != '\0') {
        size_t n = character(p);

        if (n == 0)
            fputs("\\ufffd", j->out);
        else if (*p < 0x20 || *p == 0x7f)
            fprintf(j->out, "\\u%04x", *p);
        else if (*p == '"' || *p == '\\')
            fprintf(j->out, "\\%c", *p);
        else
            fwrite(p, 1, n, j->out);
        p += n != 0 ? n : 1;
    }
    fputc('"', j->out);
}

static void key(struct json *j, const char *name)
{
    separate(j);
    string(j, name);
    fputc(':', j->out);
}

static void text(struct json *j, const char *name, const char *value)
{
    key(j, name);
    string(j, value);
}

static void number(struct json *j, const char *name, uint64_t value)
{
    key(j, name);
    fprintf(j->out, "%llu", (unsigned long long)value);
}

static void open(struct json *j, const char *name, char bracket)
{
    if (name != NULL)
        key(j, name);
    else
        separate(j);
    fputc(bracket, j->out);
    j->comma = false;
}

static void shut(struct json *j, char bracket)
{
    fputc(bracket, j->out);
    j->comma = true;
}

static void figures(struct json *j, const struct kind *k, const char *row)
{
    for (size_t i = 0; i < k->figure_count; i++)
        number(j, k->figures[i].name, figure_of(&k->figures[i], row));
}

static void fibers(struct json *j, const hy_monitor_sample *s,
                   const hy_monitor_runtime *rt)
{
    open(j, "fibers", '[');
    for (uint32_t i = 0; i < rt->fiber_count; i++) {
        const hy_monitor_fiber *f = &s->fibers[rt->fiber_index + i];

        open(j, NULL, '{');
        number(j, "id", f->id);
        text(j, "name", f->name);
        text(j, "state", fiber_state(f->state));
        text(j, "reason", f->reason);
        number(j, "worker", f->worker);
        number(j, "stack_bytes", f->stack_bytes);
        number(j, "stack_used_bytes", f->stack_used_bytes);
        number(j, "stack_peak_bytes", f->stack_peak_bytes);
        number(j, "switches", f->switches);
        number(j, "run_ns", f->run_ns);
        number(j, "wait_ns", f->wait_ns);
        number(j, "delay_ns", f->delay_ns);
        shut(j, '}');
    }
    shut(j, ']');
}

/* [least value, count] of each bucket that is not empty. */
static void buckets(struct json *j, const hy_histogram *h)
{
    open(j, "buckets", '[');
    for (size_t i = 0; i < HY_HISTOGRAM_BUCKETS; i++) {
        if (h->bucket[i] == 0)
            continue;
        separate(j);
        fprintf(j->out, "[%llu,%llu]",
                (unsigned long long)hy_histogram_floor(i),
                (unsigned long long)h->bucket[i]);
    }
    shut(j, ']');
}

static void measures(struct json *j, const hy_monitor_runtime *rt)
{
    open(j, "measures", '{');
    for (int i = 0; i < HY_MEASURES; i++) {
        const hy_histogram *h = &rt->measure[i];

        if (h->size == 0)
            continue;
        open(j, hy_measure_name((hy_measure)(i + 1)), '{');
        number(j, "count", h->count);
        number(j, "sum", h->sum);
        number(j, "max", h->max);
        number(j, "p50", hy_histogram_quantile(h, 0.5));
        number(j, "p90", hy_histogram_quantile(h, 0.9));
        number(j, "p99", hy_histogram_quantile(h, 0.99));
        number(j, "p999", hy_histogram_quantile(h, 0.999));
        buckets(j, h);
        shut(j, '}');
    }
    shut(j, '}');
}

static void runtime_extras(struct json *j, const hy_monitor_runtime *rt)
{
    open(j, "parked", '{');
    for (unsigned i = 0; i < HY_PARK_REASONS; i++)
        if (rt->parked[i] != 0)
            number(j, hy_park_reason(i), rt->parked[i]);
    shut(j, '}');
    measures(j, rt);
}

static void pager_extras(struct json *j, const hy_monitor_pager *p)
{
    text(j, "mechanism", p->mechanism);
    open(j, "fault_ns", '[');
    for (int i = 0; i < HY_MONITOR_LATENCY; i++) {
        separate(j);
        fprintf(j->out, "%llu", (unsigned long long)p->fault_ns[i]);
    }
    shut(j, ']');
    open(j, "heat", '[');
    for (uint32_t i = 0; i < p->heat_count; i++) {
        separate(j);
        fprintf(j->out, "%u", p->heat[i]);
    }
    shut(j, ']');
}

static void rows(struct json *j, const struct kind *k,
                 const hy_monitor_sample *s)
{
    open(j, k->plural, '[');
    for (uint32_t i = 0; i < kind_count(k, s); i++) {
        const char *row = kind_row(k, s, i);

        open(j, NULL, '{');
        text(j, "name", row);
        figures(j, k, row);
        if (strcmp(k->name, "runtime") == 0) {
            runtime_extras(j, &s->runtimes[i]);
            fibers(j, s, &s->runtimes[i]);
        }
        if (strcmp(k->name, "pager") == 0)
            pager_extras(j, &s->pagers[i]);
        if (strcmp(k->name, "code") == 0)
            text(j, "mechanism", s->codes[i].mechanism);
        shut(j, '}');
    }
    shut(j, ']');
}

void json_print(FILE *out, const hy_monitor_sample *s, bool alive)
{
    struct json j = {out, false};

    open(&j, NULL, '{');
    text(&j, "name", s->name);
    number(&j, "pid", s->pid);
    key(&j, "alive");
    fputs(alive ? "true" : "false", out);
    text(&j, "version", s->version);
    text(&j, "isa", s->isa);
    number(&j, "number", s->number);
    number(&j, "time_ns", s->time_ns);
    number(&j, "started_ns", s->started_ns);
    number(&j, "period_ns", s->period_ns);
    number(&j, "took_ns", s->took_ns);
    text(&j, "patch_mechanism", patch_way(s->patch_mechanism));
    figures(&j, &top_process, (const char *)s);
    for (const struct kind *k = top_kinds; k->name != NULL; k++)
        rows(&j, k, s);
    fputs("}\n", out);
}
