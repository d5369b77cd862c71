/*
 * top_panels.c - a sample as panels of text: memory, faults, fibers, rings,
 * code. A panel without data says so; a rate is shown only when two samples
 * were read.
 * Upstream: top_plain.c, top_curses.c. Downstream: top_canvas.c.
 */
#include "top.h"

#include <string.h>

enum { SHORT = 16, WIDE = 60, BAR_COLUMNS = 20 };

/* --- how figures are written ---------------------------------------------- */

static const char *scaled(char *text, double value, double step,
                          const char *const *units)
{
    while (value >= step && units[1] != NULL) {
        value /= step;
        units++;
    }
    if (value == (double)(uint64_t)value && value < 10000)
        snprintf(text, SHORT, "%.0f%s", value, *units);
    else
        snprintf(text, SHORT, value < 10 ? "%.2f%s" : "%.1f%s", value, *units);
    return text;
}

static const char *bytes_text(char *text, uint64_t value)
{
    static const char *const units[] = {" B",   " KiB", " MiB", " GiB",
                                        " TiB", " PiB", NULL};

    return scaled(text, (double)value, 1024, units);
}

static const char *count_text(char *text, double value)
{
    static const char *const units[] = {"", "k", "M", "G", "T", NULL};

    return scaled(text, value, 1000, units);
}

static const char *time_text(char *text, uint64_t ns)
{
    static const char *const units[] = {" ns", " us", " ms", " s", NULL};

    return scaled(text, (double)ns, 1000, units);
}

static void show_bytes(struct canvas *c, const char *label, uint64_t value)
{
    char text[SHORT];

    canvas_item(c, PLAIN, label, "%s", bytes_text(text, value));
}

static void show_count(struct canvas *c, const char *label, uint64_t value)
{
    char text[SHORT];

    canvas_item(c, PLAIN, label, "%s", count_text(text, (double)value));
}

/* What must not be: shown in red when it is not 0. */
static void show_trouble(struct canvas *c, const char *label, uint64_t value)
{
    char text[SHORT];

    canvas_item(c, value != 0 ? BAD : PLAIN, label, "%s",
                count_text(text, (double)value));
}

/* A counter, and its rate if it is known. */
static void show_rate(struct canvas *c, const struct view *v, const char *label,
                      uint64_t now, const uint64_t *before)
{
    double s = (double)(v->now.time_ns - v->before.time_ns) / 1e9;
    char text[SHORT], rate[SHORT];

    if (!v->has_before || before == NULL || now < *before || s <= 0)
        canvas_item(c, PLAIN, label, "%s", count_text(text, (double)now));
    else
        canvas_item(c, PLAIN, label, "%s +%s/s", count_text(text, (double)now),
                    count_text(rate, (double)(now - *before) / s));
}

static void title(struct canvas *c, const char *text)
{
    canvas_line(c);
    canvas_put(c, TITLE, "-- %s ", text);
    while (c->column < c->width)
        canvas_put(c, TITLE, "-");
    canvas_line(c);
}

static void nothing(struct canvas *c, const char *what)
{
    canvas_put(c, DIM, "no %s is watched", what);
}

/* --- memory --------------------------------------------------------------- */

/* One column of the map: the hottest of the pieces that fall into it. */
static unsigned heat_of(const hy_monitor_pager *p, unsigned column,
                        unsigned columns)
{
    unsigned from = column * p->heat_count / columns;
    unsigned to = (column + 1) * p->heat_count / columns;
    unsigned most = p->heat[from];

    for (unsigned i = from + 1; i < to; i++)
        most = p->heat[i] > most ? p->heat[i] : most;
    return most;
}

static void draw_heat(struct canvas *c, const hy_monitor_pager *p)
{
    static const char ramp[] = " .:-=+*#%@";
    unsigned columns = c->width > 2 ? c->width - 2 : 1;

    canvas_line(c);
    if (p->heat_count == 0) {
        canvas_put(c, DIM, "heat is not told here");
        return;
    }
    if (columns > p->heat_count)
        columns = p->heat_count;
    canvas_put(c, DIM, "[");
    for (unsigned i = 0; i < columns; i++) {
        unsigned heat = heat_of(p, i, columns);
        unsigned step = heat == 0 ? 0 : 1 + heat * 8 / 255;

        canvas_put(c,
                   heat < 86    ? COLD
                   : heat < 171 ? WARM
                                : HOT,
                   "%c", ramp[step]);
    }
    canvas_put(c, DIM, "]");
}

static void draw_pager(struct canvas *c, const hy_monitor_pager *p)
{
    canvas_put(c, GOOD, "pager %s (%s)", p->name, p->mechanism);
    canvas_line(c);
    show_bytes(c, "reserved", p->reserved_bytes);
    show_bytes(c, "resident", p->resident_bytes);
    show_bytes(c, "dirty", p->dirty_bytes);
    show_bytes(c, "pinned", p->pinned_bytes);
    show_bytes(c, "log", p->log_bytes);
    show_count(c, "evicted", p->evictions);
    show_count(c, "written", p->write_backs);
    show_count(c, "checkpoints", p->checkpoints);
    show_count(c, "mappings", p->mappings);
    draw_heat(c, p);
}

static void draw_heap(struct canvas *c, const hy_monitor_heap *h)
{
    canvas_put(c, GOOD, "heap %s", h->name);
    canvas_line(c);
    show_bytes(c, "region", h->region_bytes);
    show_bytes(c, "used", h->used_bytes);
    show_bytes(c, "peak", h->peak_used_bytes);
    show_bytes(c, "largest free", h->largest_free_bytes);
    show_count(c, "blocks", h->allocations);
    show_trouble(c, "failed", h->failed_allocs);
    show_trouble(c, "bad frees", h->refused_frees);
    show_trouble(c, "damaged", h->damaged);
}

static void draw_slab(struct canvas *c, const hy_monitor_slab *s)
{
    canvas_put(c, GOOD, "slab %s", s->name);
    canvas_line(c);
    show_bytes(c, "object", s->object_bytes);
    show_count(c, "live", s->live_objects);
    show_bytes(c, "held", s->held_bytes);
    show_bytes(c, "peak", s->peak_held_bytes);
    show_count(c, "threads", s->caches);
    show_count(c, "freed afar", s->remote_frees);
    show_trouble(c, "failed", s->failed_allocs);
    show_trouble(c, "bad frees", s->refused_frees);
}

static void draw_memory(struct canvas *c, const struct view *v)
{
    title(c, "memory");
    if (v->now.resident_bytes != 0)
        show_bytes(c, "process", v->now.resident_bytes);
    else
        canvas_put(c, DIM, "resident memory is not told here");
    for (uint32_t i = 0; i < v->now.pager_count; i++) {
        canvas_line(c);
        draw_pager(c, &v->now.pagers[i]);
    }
    for (uint32_t i = 0; i < v->now.heap_count; i++) {
        canvas_line(c);
        draw_heap(c, &v->now.heaps[i]);
    }
    for (uint32_t i = 0; i < v->now.slab_count; i++) {
        canvas_line(c);
        draw_slab(c, &v->now.slabs[i]);
    }
    if (v->now.pager_count + v->now.heap_count + v->now.slab_count == 0) {
        canvas_line(c);
        nothing(c, "pager, heap or slab");
    }
}

/* --- faults --------------------------------------------------------------- */

/* The time below which this part of the faults stayed; 0 without any. */
static uint64_t quantile(const hy_monitor_pager *p, double part)
{
    uint64_t total = 0, sum = 0;

    for (int i = 0; i < HY_MONITOR_LATENCY; i++)
        total += p->fault_ns[i];
    for (int i = 0; total != 0 && i < HY_MONITOR_LATENCY; i++) {
        sum += p->fault_ns[i];
        if ((double)sum >= part * (double)total)
            return 2ull << i;
    }
    return 0;
}

static void show_quantile(struct canvas *c, const char *label, uint64_t ns)
{
    char text[SHORT];

    if (ns != 0)
        canvas_item(c, PLAIN, label, "< %s", time_text(text, ns));
    else
        canvas_item(c, DIM, label, "none yet");
}

static void draw_faults(struct canvas *c, const struct view *v)
{
    title(c, "faults");
    show_rate(c, v, "by kernel", v->now.minor_faults, &v->before.minor_faults);
    show_rate(c, v, "from disk", v->now.major_faults, &v->before.major_faults);
    for (uint32_t i = 0; i < v->now.pager_count; i++) {
        const hy_monitor_pager *p = &v->now.pagers[i];
        bool same = i < v->before.pager_count &&
                    strcmp(p->name, v->before.pagers[i].name) == 0;

        canvas_line(c);
        canvas_put(c, GOOD, "pager %s", p->name);
        canvas_line(c);
        show_rate(c, v, "trapped", p->faults,
                  same ? &v->before.pagers[i].faults : NULL);
        show_quantile(c, "half", quantile(p, 0.5));
        show_quantile(c, "99 %", quantile(p, 0.99));
    }
}

/* --- fibers --------------------------------------------------------------- */

static void draw_fiber(struct canvas *c, const hy_monitor_fiber *f)
{
    enum style style = f->state == HY_FIBER_RUNNING ? GOOD
                       : f->state == HY_FIBER_READY ? WARN
                                                    : PLAIN;
    bool wide = c->width >= WIDE;
    char used[SHORT], peak[SHORT], size[SHORT], switches[SHORT];

    canvas_line(c);
    canvas_put(c, PLAIN, "%-*.*s ", wide ? 16 : 10, wide ? 16 : 10,
               f->name[0] != '\0' ? f->name : "-");
    canvas_put(c, style, "%-7s ", fiber_state(f->state));
    canvas_put(c, PLAIN, "%-9.9s ", f->reason);
    canvas_put(c, f->stack_peak_bytes > f->stack_bytes / 8 * 7 ? BAD : PLAIN,
               "%9s %9s %9s ", bytes_text(used, f->stack_used_bytes),
               bytes_text(peak, f->stack_peak_bytes),
               bytes_text(size, f->stack_bytes));
    canvas_put(c, PLAIN, "%8s", count_text(switches, (double)f->switches));
}

/* then: the row of the picture before, or NULL; also below. */
static void draw_waits(struct canvas *c, const struct view *v,
                       const hy_monitor_runtime *rt,
                       const hy_monitor_runtime *then)
{
    canvas_line(c);
    if (rt->parks == 0)
        canvas_put(c, DIM, "no fiber has waited yet");
    for (unsigned i = 0; i < HY_PARK_REASONS; i++)
        if (rt->parked[i] != 0)
            show_rate(c, v, hy_park_reason(i), rt->parked[i],
                      then != NULL ? &then->parked[i] : NULL);
}

/* Times are those of between the two pictures, where both are there. */
static void draw_measure(struct canvas *c, const hy_monitor_runtime *rt,
                         const hy_monitor_runtime *then, int which)
{
    bool bytes = which + 1 == HY_MEASURE_STACK;
    const char *(*text)(char *, uint64_t) = bytes ? bytes_text : time_text;
    hy_histogram h = rt->measure[which];
    char count[SHORT], half[SHORT], rare[SHORT], most[SHORT];

    if (then != NULL && then->measure[which].size != 0 && !bytes)
        hy_histogram_subtract(&h, &then->measure[which]);
    canvas_line(c);
    canvas_put(c, PLAIN, "%-10s ", hy_measure_name((hy_measure)(which + 1)));
    if (h.count == 0) {
        canvas_put(c, DIM, "%9s", "none");
        return;
    }
    canvas_put(c, PLAIN, "%9s %10s %10s %10s",
               count_text(count, (double)h.count),
               text(half, hy_histogram_quantile(&h, 0.5)),
               text(rare, hy_histogram_quantile(&h, 0.99)), text(most, h.max));
}

static void draw_measures(struct canvas *c, const hy_monitor_runtime *rt,
                          const hy_monitor_runtime *then)
{
    canvas_line(c);
    if (rt->measure[0].size == 0) {
        canvas_put(c, DIM, "times are not measured (HY_RUNTIME_MEASURE)");
        return;
    }
    canvas_put(c, DIM, "%-10s %9s %10s %10s %10s",
               then != NULL ? "meanwhile" : "so far", "count", "half", "99 %",
               "most");
    for (int i = 0; i < HY_MEASURES; i++)
        draw_measure(c, rt, then, i);
}

static void draw_events(struct canvas *c, const struct view *v,
                        const hy_monitor_runtime *rt,
                        const hy_monitor_runtime *then)
{
    canvas_line(c);
    if ((rt->flags & HY_RUNTIME_TRACE) == 0) {
        canvas_put(c, DIM, "events are not recorded (HY_RUNTIME_TRACE)");
        return;
    }
    show_rate(c, v, "events", rt->events, then != NULL ? &then->events : NULL);
    show_rate(c, v, "dropped", rt->events_dropped,
              then != NULL ? &then->events_dropped : NULL);
}

static void draw_stacks(struct canvas *c, const struct view *v,
                        const hy_monitor_runtime *rt,
                        const hy_monitor_runtime *then)
{
    show_count(c, "stacks", rt->stacks);
    show_count(c, "guards", rt->guards_installed + rt->guards_protected);
    show_count(c, "kept", rt->stacks_kept);
    show_rate(c, v, "trimmed", rt->stacks_trimmed,
              then != NULL ? &then->stacks_trimmed : NULL);
    if (rt->huge_stack_bytes == 0)
        return;
    show_bytes(c, "huge stacks", rt->huge_stack_bytes);
    show_bytes(c, "in huge pages", rt->huge_page_bytes);
}

static void draw_runtime(struct canvas *c, const struct view *v, uint32_t i)
{
    const hy_monitor_runtime *rt = &v->now.runtimes[i];
    const hy_monitor_runtime *then = &v->before.runtimes[i];
    bool same =
        i < v->before.runtime_count && strcmp(rt->name, then->name) == 0;
    uint64_t live = rt->spawned > rt->ended ? rt->spawned - rt->ended : 0;

    canvas_put(c, GOOD, "runtime %s", rt->name);
    canvas_line(c);
    canvas_item(c, PLAIN, "workers", "%llu, %llu idle",
                (unsigned long long)rt->workers,
                (unsigned long long)rt->workers_idle);
    show_count(c, "live", live);
    show_count(c, "ready", rt->ready);
    show_count(c, "timers", rt->timers);
    show_rate(c, v, "spawned", rt->spawned, same ? &then->spawned : NULL);
    show_rate(c, v, "switches", rt->switches, same ? &then->switches : NULL);
    show_rate(c, v, "parks", rt->parks, same ? &then->parks : NULL);
    show_count(c, "steals", rt->steals);
    if (!v->has_before || !same)
        then = NULL;
    draw_stacks(c, v, rt, then);
    draw_waits(c, v, rt, then);
    draw_measures(c, rt, then);
    draw_events(c, v, rt, then);
    if (rt->fiber_count == 0)
        return;
    canvas_line(c);
    canvas_put(c, DIM, "%-*s state   waits for %9s %9s %9s %8s",
               c->width >= WIDE ? 16 : 10, "fiber", "stack", "peak", "size",
               "switches");
    for (uint32_t n = 0; n < rt->fiber_count; n++)
        draw_fiber(c, &v->now.fibers[rt->fiber_index + n]);
    if (live > rt->fiber_count) {
        canvas_line(c);
        canvas_put(c, DIM, "and %llu more",
                   (unsigned long long)(live - rt->fiber_count));
    }
}

static void draw_fibers(struct canvas *c, const struct view *v)
{
    title(c, "fibers");
    if (v->now.runtime_count == 0)
        nothing(c, "runtime");
    for (uint32_t i = 0; i < v->now.runtime_count; i++) {
        if (i != 0)
            canvas_line(c);
        draw_runtime(c, v, i);
    }
}

/* --- rings ---------------------------------------------------------------- */

static void draw_bar(struct canvas *c, uint64_t part, uint64_t whole)
{
    unsigned columns = c->width < BAR_COLUMNS + 4 ? 8 : BAR_COLUMNS;
    unsigned full =
        whole != 0 ? (unsigned)((double)part / (double)whole * columns) : 0;
    enum style style = full < columns / 2        ? GOOD
                       : full < columns * 9 / 10 ? WARN
                                                 : BAD;

    canvas_put(c, DIM, "[");
    for (unsigned i = 0; i < columns; i++)
        canvas_put(c, style, "%c", i < full ? '=' : ' ');
    canvas_put(c, DIM, "] ");
}

static void draw_ring(struct canvas *c, const struct view *v, uint32_t i)
{
    const hy_monitor_ring *r = &v->now.rings[i], *then = &v->before.rings[i];
    bool same = i < v->before.ring_count && strcmp(r->name, then->name) == 0;

    canvas_put(c, GOOD, "%s ", r->name);
    draw_bar(c, r->depth, r->capacity);
    canvas_line(c);
    canvas_item(c, PLAIN, "depth", "%llu of %llu", (unsigned long long)r->depth,
                (unsigned long long)r->capacity);
    show_bytes(c, "item", r->item_bytes);
    show_rate(c, v, "pushed", r->pushed, same ? &then->pushed : NULL);
    show_rate(c, v, "popped", r->popped, same ? &then->popped : NULL);
    show_trouble(c, "lost", r->lost);
    canvas_item(c, PLAIN, "slept", "%llu push, %llu pop",
                (unsigned long long)r->push_parks,
                (unsigned long long)r->pop_parks);
}

static void draw_rings(struct canvas *c, const struct view *v)
{
    title(c, "rings");
    if (v->now.ring_count == 0)
        nothing(c, "ring");
    for (uint32_t i = 0; i < v->now.ring_count; i++) {
        if (i != 0)
            canvas_line(c);
        draw_ring(c, v, i);
    }
}

/* --- code ----------------------------------------------------------------- */

static void draw_code(struct canvas *c, const struct view *v)
{
    const hy_monitor_sample *s = &v->now;
    char text[SHORT];

    title(c, "code");
    canvas_item(c, PLAIN, "patching", "%s", patch_way(s->patch_mechanism));
    canvas_item(c, PLAIN, "sites", "%llu, %llu decided",
                (unsigned long long)s->patch_sites,
                (unsigned long long)s->patch_decided);
    show_rate(c, v, "switched", s->patch_switches, &v->before.patch_switches);
    show_trouble(c, "refused", s->patch_failures);
    if (s->patch_max_ns != 0)
        canvas_item(c, PLAIN, "longest", "%s",
                    time_text(text, s->patch_max_ns));
    for (uint32_t i = 0; i < s->code_count; i++) {
        const hy_monitor_code *code = &s->codes[i];

        canvas_line(c);
        canvas_put(c, GOOD, "%s (%s)", code->name, code->mechanism);
        canvas_line(c);
        show_count(c, "kernels", code->kernels);
        show_bytes(c, "used", code->used_bytes);
        show_bytes(c, "mapped", code->mapped_bytes);
        show_count(c, "published", code->published);
        show_bytes(c, "emitted", code->emitted_bytes);
    }
    if (s->code_count == 0) {
        canvas_line(c);
        nothing(c, "code memory");
    }
}

/* --- pipelines ------------------------------------------------------------ */

static void draw_pipeline(struct canvas *c, const struct view *v, uint32_t i)
{
    const hy_monitor_pipeline *p = &v->now.pipelines[i];
    const hy_monitor_pipeline *then = &v->before.pipelines[i];
    bool same =
        i < v->before.pipeline_count && strcmp(p->name, then->name) == 0;

    canvas_put(c, GOOD, "pipeline %s", p->name);
    canvas_line(c);
    show_count(c, "documents", p->documents);
    show_bytes(c, "text", p->text_bytes);
    show_rate(c, v, "ingested", p->ingested, same ? &then->ingested : NULL);
    show_count(c, "waiting", p->waiting);
    show_trouble(c, "failed", p->failed);
    show_bytes(c, "store", p->used_bytes);
    show_bytes(c, "resident", p->resident_bytes);
    show_count(c, "dimensions", p->dim);
}

static void draw_pipelines(struct canvas *c, const struct view *v)
{
    title(c, "pipelines");
    if (v->now.pipeline_count == 0)
        nothing(c, "pipeline");
    for (uint32_t i = 0; i < v->now.pipeline_count; i++) {
        if (i != 0)
            canvas_line(c);
        draw_pipeline(c, v, i);
    }
}

void panels_draw(struct canvas *c, const struct view *v)
{
    const hy_monitor_sample *s = &v->now;
    char up[SHORT], took[SHORT];

    canvas_line(c);
    canvas_put(c, TITLE, "%s ", s->name);
    if (v->ended)
        canvas_put(c, BAD, "ENDED ");
    canvas_item(c, PLAIN, "pid", "%llu", (unsigned long long)s->pid);
    canvas_item(c, PLAIN, "for", "%s",
                time_text(up, s->time_ns - s->started_ns));
    canvas_item(c, PLAIN, "sample", "%llu", (unsigned long long)s->number);
    canvas_item(c, PLAIN, "took", "%s", time_text(took, s->took_ns));
    canvas_item(c, PLAIN, "libhyperion", "%s", s->version);
    canvas_item(c, PLAIN, "isa", "%s", s->isa);
    draw_memory(c, v);
    draw_faults(c, v);
    draw_fibers(c, v);
    draw_rings(c, v);
    draw_code(c, v);
    draw_pipelines(c, v);
}
